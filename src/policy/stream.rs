//! `stream`: how long bytes may wait, a stream be silent, and how old it may get.

use std::sync::Arc;
use std::time::Duration;

use crate::call::Call;
use crate::config::fault::Diag;
use crate::config::raw::Raw;
use crate::policy::Check;
use crate::policy::Enforced;
use crate::policy::Kind;
use crate::policy::Policy;

/// The slot `stream`.
pub(super) struct Stream;

impl Kind for Stream {
    fn slot(&self) -> &'static str {
        "stream"
    }

    fn compile(&self, raw: &Raw, _: &mut Diag) -> Option<Arc<dyn Policy>> {
        let time = |key: &str| raw.get(key).and_then(Raw::duration);
        Some(Arc::new(Times { stall: time("stall"), idle: time("idle"), age: time("age") }))
    }

    fn unset(&self) -> Option<Arc<dyn Policy>> {
        Some(Arc::new(Times { stall: Some(STALL_DEFAULT), idle: None, age: None }))
    }

    fn enforced(&self) -> Enforced {
        Enforced::Instead
    }
}

#[derive(Debug)]
struct Times {
    stall: Option<Duration>,
    idle: Option<Duration>,
    age: Option<Duration>,
}

impl Policy for Times {
    fn slot(&self) -> &'static str {
        "stream"
    }

    fn check(&self, call: &mut Call) -> Check {
        let bounds = &mut call.bounds;
        bounds.stall = self.stall;
        bounds.idle = self.idle;
        bounds.age = self.age;
        Check::Pass
    }
}

/// How long bytes may wait for a peer that takes none.
const STALL_DEFAULT: Duration = Duration::from_secs(60);

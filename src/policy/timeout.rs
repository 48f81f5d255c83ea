//! `timeout`: how long a call may take.

use std::sync::Arc;
use std::time::Duration;

use crate::call::Call;
use crate::call::Kind as MethodKind;
use crate::config::fault::Diag;
use crate::config::raw::Raw;
use crate::policy::Check;
use crate::policy::Enforced;
use crate::policy::Kind;
use crate::policy::Policy;

/// The slot `timeout`.
pub(super) struct Timeout;

impl Kind for Timeout {
    fn slot(&self) -> &'static str {
        "timeout"
    }

    fn compile(&self, raw: &Raw, _: &mut Diag) -> Option<Arc<dyn Policy>> {
        let default = match raw.get("default") {
            Some(raw) if raw.is_written() => raw.duration().map_or(Default::Off, Default::Every),
            _ => Default::Unary,
        };
        Some(Arc::new(Limit { default, max: raw.get("max").and_then(Raw::duration) }))
    }

    fn unset(&self) -> Option<Arc<dyn Policy>> {
        Some(Arc::new(Limit { default: Default::Unary, max: None }))
    }

    fn enforced(&self) -> Enforced {
        Enforced::Instead
    }
}

#[derive(Debug)]
struct Limit {
    default: Default,
    max: Option<Duration>,
}

/// The time of calls whose client gives none.
#[derive(Debug, Clone, Copy)]
enum Default {
    /// [`UNARY_DEFAULT`] for unary calls, none for streams.
    Unary,
    /// The same for all.
    Every(Duration),
    /// None.
    Off,
}

impl Policy for Limit {
    fn slot(&self) -> &'static str {
        "timeout"
    }

    fn check(&self, call: &mut Call) -> Check {
        let bounds = &mut call.bounds;
        match bounds.asked {
            // The upstream is told the capped time too: it is what the call has.
            Some(asked) => bounds.asked = Some(self.max.map_or(asked, |max| asked.min(max))),
            None => {
                bounds.given = match self.default {
                    Default::Every(time) => Some(time),
                    Default::Unary => (call.method.kind == MethodKind::Unary).then_some(UNARY_DEFAULT),
                    Default::Off => None,
                }
            }
        }
        Check::Pass
    }
}

/// What a unary call gets whose client gives no time.
const UNARY_DEFAULT: Duration = Duration::from_secs(15);

//! What the Admin API asks of the process: to show what serves, and to change it.

use std::sync::Arc;
use std::sync::Weak;

use crate::admin::Change;
use crate::admin::Plane;
use crate::admin::Refused;
use crate::admin::Resources;
use crate::admin::Standing;
use crate::admin::pb;
use crate::server::control::Control;
use crate::snapshot::Modules;
use crate::snapshot::Snapshot;
use crate::store::Store;

/// The process as the Admin API holds it: the Admin API is part of what it holds.
pub(super) struct Held(Weak<Control>);

impl Held {
    pub(super) fn new(control: Weak<Control>) -> Self {
        Self(control)
    }
}

impl Plane for Held {
    fn store(&self) -> Option<Arc<dyn Store>> {
        self.0.upgrade()?.store()
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.upgrade().map_or_else(|| Arc::new(Snapshot::empty()), |control| control.snapshot())
    }

    fn modules(&self) -> Modules {
        self.snapshot().modules.clone()
    }

    fn resources(&self) -> Arc<Resources> {
        self.0.upgrade().map(|control| control.resources()).unwrap_or_default()
    }

    fn change(
        &self,
        decide: &mut dyn FnMut(&Standing<'_>) -> Result<Change, Refused>,
    ) -> Result<u64, Refused> {
        match self.0.upgrade() {
            Some(control) => control.change(decide),
            None => Err(tonic::Status::unavailable("the gateway is ending: try again").into()),
        }
    }

    fn status(&self) -> pb::GetStatusResponse {
        self.0.upgrade().map(|control| control.status()).unwrap_or_default()
    }
}

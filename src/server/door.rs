//! The gateway of the Admin API: a snapshot of its own, with services in the process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::admin;
use crate::admin::Door;
use crate::admin::access;
use crate::admin::access::Access;
use crate::admin::access::Gate;
use crate::builtin;
use crate::config::types::Admin;
use crate::gateway::Buffers;
use crate::gateway::Gateway;
use crate::observe::Metrics;
use crate::observe::Observe;
use crate::outbound::acme::Challenges;
use crate::policy;
use crate::policy::Policy;
use crate::server::StartError;
use crate::server::control::Control;
use crate::server::plane::Held;
use crate::server::view::Served;
use crate::server::view::own_service;
use crate::snapshot;
use crate::snapshot::Current;
use crate::snapshot::Inputs;
use crate::snapshot::Labels;
use crate::snapshot::Shadows;
use crate::snapshot::Snapshot;
use crate::upstream::InProcess;
use crate::upstream::Specs;

/// The Admin API's own gateway. It counts for itself: its calls are none of the teams'.
pub(super) struct Doorway {
    current: Arc<Current>,
    access: Arc<access::Current>,
    metrics: Arc<Metrics>,
    generations: Arc<watch::Sender<u64>>,
    door: Door,
}

impl Doorway {
    /// A door that nobody stands behind yet.
    pub(super) fn new(admin: &Admin) -> Self {
        let current = Arc::new(Current::from_pointee(Snapshot::empty()));
        let access = Arc::new(ArcSwap::from_pointee(Access::new(admin)));
        let metrics = Metrics::new(1);
        let observe = Arc::new(Observe { metrics: metrics.clone(), access: None });
        // Uploads are held whole while they are compiled.
        let buffers = Buffers::new(admin.max_upload.saturating_mul(UPLOADS_HELD));
        let gateway = Gateway::new(0, current.clone(), observe, buffers, Arc::new(Challenges::default()));
        let door = Door { gateway, access: access.clone() };
        Self { current, access, metrics, generations: Arc::new(watch::Sender::new(0)), door }
    }

    pub(super) fn door(&self) -> Door {
        self.door.clone()
    }

    /// Lets in whom a new configuration names.
    pub(super) fn admit(&self, admin: &Admin) {
        self.access.store(Arc::new(Access::new(admin)));
    }

    /// Puts the Admin API of a process behind the door.
    pub(super) fn open(&self, control: Weak<Control>, admin: &Admin) -> Result<(), StartError> {
        let ours = |why: String| StartError::Ours("the Admin API can't be served", why);
        let config = admin::own_configuration(admin.max_upload)?;
        let schema = admin::own_schema()
            .map_err(|all| ours(all.first().map(ToString::to_string).unwrap_or_default()))?;
        let api: Arc<dyn InProcess> =
            Arc::new(admin::Api::new(Arc::new(Held::new(control)), self.access.clone()));
        let view = Arc::new(Served::new(&self.current, &self.generations));
        let own: Vec<_> = builtin::reflection(view).into_iter().map(own_service).collect();
        let gate: Arc<dyn Policy> = Arc::new(Gate::new(self.access.clone()));
        let snapshot = snapshot::compile(&Inputs {
            config: Arc::new(config),
            modules: &[(admin::NAME.to_owned(), Labels::live(schema))].into(),
            rules: &HashMap::new(),
            before: None,
            own: &own,
            kinds: policy::TABLE,
            extra: &[gate],
            documents: &[],
            in_process: &[(admin::NAME.to_owned(), api)].into(),
            specs: &Specs::new(1, self.metrics.clone()),
            upstream_tls: &HashMap::new(),
            shadows: &Shadows::new(self.metrics.clone()),
            metrics: &self.metrics,
            generation: 1,
        })?;
        self.current.store(Arc::new(snapshot));
        self.generations.send_replace(1);
        Ok(())
    }
}

/// Uploads of the largest size that are held at once.
const UPLOADS_HELD: u64 = 4;

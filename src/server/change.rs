//! Changes through the Admin API: decided under the writer's lock, built beside, written down, and then served.

use std::sync::Arc;
use std::time::Instant;
use std::time::UNIX_EPOCH;

use crate::admin;
use crate::admin::Change;
use crate::admin::Refused;
use crate::admin::Resources;
use crate::admin::Standing;
use crate::admin::pb;
use crate::server::control::Control;
use crate::server::control::State;
use crate::server::opened::Opened;
use crate::snapshot::Modules;
use crate::store::Store;
use crate::upstream::Upstream;

impl Control {
    /// Decides on a change and makes it: see [`admin::Plane::change`].
    pub(super) fn change(
        &self,
        decide: &mut dyn FnMut(&Standing<'_>) -> Result<Change, Refused>,
    ) -> Result<u64, Refused> {
        let away = |why: &str| Refused::from(tonic::Status::unavailable(why));
        let mut state = self.lock();
        let opened = self.opened().ok_or_else(|| away("this gateway has no store"))?;
        let parts = state.parts.as_ref().ok_or_else(|| away("no configuration is loaded yet: try again"))?;
        let serving = self.snapshot();
        let change = decide(&Standing {
            config: &parts.config,
            resources: &state.resources,
            modules: &serving.modules,
            store: &*opened.store,
            generation: state.generation,
        })?;
        let mut pushed = state.pushed.clone();
        for (module, label, schema) in &change.labels {
            let labels = pushed.entry(module.clone()).or_default();
            match schema {
                Some(schema) => labels.set(label, schema.clone()),
                None => drop(labels.remove(label)),
            }
            if labels.iter().next().is_none() {
                pushed.remove(module);
            }
        }
        match change.resources {
            Some(ref resources) => self.change_resources(&mut state, opened, resources, pushed, &change),
            None if change.labels.is_empty() => {
                if !change.dry_run && !change.batch.is_empty() {
                    opened.store.commit(&change.batch)?;
                }
                Ok(state.generation)
            }
            None => {
                let snapshot = self.build(&state, parts, &pushed)?;
                if change.dry_run {
                    return Ok(state.generation);
                }
                opened.store.commit(&change.batch)?;
                state.pushed = pushed;
                Ok(self.swap(&mut state, snapshot))
            }
        }
    }

    fn change_resources(
        &self,
        state: &mut State,
        opened: &Opened,
        resources: &Resources,
        pushed: Modules,
        change: &Change,
    ) -> Result<u64, Refused> {
        let file = self.config().map(|config| config.file.clone()).unwrap_or_default();
        let config = opened.load(&file, resources, &change.gone)?;
        admin::reachable(&config)?;
        let prepared = self.prepare(state, config, &pushed)?;
        if change.dry_run {
            return Ok(state.generation);
        }
        opened.store.commit(&change.batch)?;
        state.pushed = pushed;
        state.resources = Arc::new(resources.clone());
        Ok(self.commit(state, prepared))
    }

    pub(super) fn store(&self) -> Option<Arc<dyn Store>> {
        self.opened().map(|opened| opened.store.clone())
    }

    pub(super) fn resources(&self) -> Arc<Resources> {
        self.lock().resources.clone()
    }

    /// What the process does.
    pub(super) fn status(&self) -> pb::GetStatusResponse {
        let snapshot = self.snapshot();
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let started = self.started().duration_since(UNIX_EPOCH).unwrap_or_default();
        let apis = || snapshot.apis.iter().filter(|api| !api.name.is_empty());
        let mut upstreams: Vec<pb::UpstreamStatus> = Vec::new();
        for api in apis() {
            let Some(Upstream::Network(spec)) = &api.upstream else { continue };
            if upstreams.iter().any(|known| known.name == *spec.name) {
                continue;
            }
            let endpoints = spec.endpoints(now()).into_iter();
            let endpoints =
                endpoints.map(|(address, usable)| pb::EndpointStatus { address: address.into(), usable });
            upstreams
                .push(pb::UpstreamStatus { name: spec.name.to_string(), endpoints: endpoints.collect() });
        }
        let methods = apis().map(|api| {
            let services = api.services.iter().filter_map(|name| api.schema.service(name));
            services.map(|service| service.methods.len()).sum::<usize>()
        });
        pb::GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            generation: snapshot.generation,
            started: Some(prost_types::Timestamp {
                seconds: i64::try_from(started.as_secs()).unwrap_or(i64::MAX),
                nanos: 0,
            }),
            listeners: self.listeners().statuses(),
            upstreams,
            store: self.opened().map(|opened| opened.path.display().to_string()).unwrap_or_default(),
            modules: count(snapshot.modules.len()),
            apis: count(apis().count()),
            methods: count(methods.sum()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "health is asked for this moment")]
fn now() -> Instant {
    Instant::now()
}

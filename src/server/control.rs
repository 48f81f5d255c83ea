//! The configuration that serves: built beside, swapped once, and the old one retired.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::admin;
use crate::admin::Readiness;
use crate::admin::Resources;
use crate::builtin;
use crate::config;
use crate::config::At;
use crate::config::Config;
use crate::config::Diag;
use crate::config::Report;
use crate::observe::Observe;
use crate::outbound::acme;
use crate::outbound::acme::Acme;
use crate::policy;
use crate::policy::Policy;
use crate::schema::Schema;
use crate::schema::http::ServiceConfig;
use crate::server::Setup;
use crate::server::door::Doorway;
use crate::server::listeners;
use crate::server::listeners::Listeners;
use crate::server::modules;
use crate::server::modules::Loaded;
use crate::server::opened::Opened;
use crate::server::retire::Retiring;
use crate::server::view::Served;
use crate::server::view::own_service;
use crate::snapshot;
use crate::snapshot::Current;
use crate::snapshot::Document;
use crate::snapshot::Inputs;
use crate::snapshot::LIVE;
use crate::snapshot::Labels;
use crate::snapshot::Modules;
use crate::snapshot::OwnService;
use crate::snapshot::ShadowReport;
use crate::snapshot::Shadows;
use crate::upstream::Specs;
use crate::upstream::Tls;
use crate::upstream::tls;

/// The one writer of the snapshot.
pub(super) struct Control {
    current: Arc<Current>,
    observe: Arc<Observe>,
    specs: Specs,
    shadows: Shadows,
    listeners: Listeners,
    acme: Acme,
    doorway: Doorway,
    /// Where resources of the Admin API live.
    store: Option<Opened>,
    started: SystemTime,
    readiness: Arc<Readiness>,
    policies: Vec<Arc<dyn Policy>>,
    documents: Vec<Document>,
    reflection: Vec<OwnService>,
    health: Vec<OwnService>,
    state: Mutex<State>,
    /// Counts snapshots, for those who watch what is published.
    generations: Arc<watch::Sender<u64>>,
    retiring: Retiring,
}

/// What the writer takes over at the start.
pub(super) struct Owned {
    pub(super) listeners: Listeners,
    pub(super) acme: Acme,
    pub(super) readiness: Arc<Readiness>,
    pub(super) doorway: Doorway,
    pub(super) store: Option<Opened>,
}

/// What the writer remembers between snapshots.
pub(super) struct State {
    pub(super) generation: u64,
    /// What serves; `None` before the first configuration.
    pub(super) parts: Option<Parts>,
    /// Descriptors that the embedding program gave.
    given: Modules,
    /// Descriptors that labels of the store point at.
    pub(super) pushed: Modules,
    /// The resources of the store.
    pub(super) resources: Arc<Resources>,
    /// Descriptors that servers told, by module and server.
    told: HashMap<String, Schema>,
}

/// A snapshot that was built beside the one that serves, and the sockets and orders that go with it.
pub(super) struct Prepared {
    parts: Parts,
    snapshot: snapshot::Snapshot,
    listeners: listeners::Prepared,
    acme: acme::Prepared,
}

/// What a configuration names, as it was read for it.
pub(super) struct Parts {
    pub(super) config: Arc<Config>,
    /// Descriptors from files.
    read: HashMap<String, Loaded>,
    rules: Rules,
    upstream_tls: HashMap<String, Arc<Tls>>,
}

/// Service configurations by module.
type Rules = HashMap<String, Arc<ServiceConfig>>;

impl Control {
    /// The writer of `current`; `doorway` is opened to it.
    ///
    /// # Errors
    /// Where the Admin API can't be served.
    pub(super) fn new(
        current: Arc<Current>,
        observe: Arc<Observe>,
        workers: usize,
        setup: Setup,
        owned: Owned,
    ) -> Arc<Self> {
        let generations = Arc::new(watch::Sender::new(0));
        let view = Arc::new(Served::new(&current, &generations));
        let own = |all: Vec<builtin::Own>| all.into_iter().map(own_service).collect();
        let Owned { listeners, acme, readiness, doorway, store } = owned;
        let (pushed, resources) = match &store {
            Some(opened) => (opened.pushed.clone(), Arc::new(opened.resources.clone())),
            None => (Modules::new(), Arc::default()),
        };
        Arc::new(Self {
            specs: Specs::new(workers, observe.metrics.clone()),
            shadows: Shadows::new(observe.metrics.clone()),
            current,
            observe,
            listeners,
            acme,
            doorway,
            store,
            started: SystemTime::now(),
            readiness,
            policies: setup.policies,
            documents: setup.documents,
            reflection: own(builtin::reflection(view.clone())),
            health: own(builtin::health(view)),
            state: Mutex::new(State {
                generation: 0,
                parts: None,
                given: setup.modules,
                pushed,
                resources,
                told: HashMap::new(),
            }),
            generations,
            retiring: Retiring::default(),
        })
    }

    pub(super) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Builds a snapshot of `config` beside the one that serves, and swaps it in.
    pub(super) fn apply(&self, config: Config) -> Result<u64, Report> {
        let mut state = self.lock();
        let pushed = state.pushed.clone();
        let prepared = self.prepare(&state, config, &pushed)?;
        Ok(self.commit(&mut state, prepared))
    }

    /// Builds all that a configuration asks for, and changes nothing.
    pub(super) fn prepare(
        &self,
        state: &State,
        config: Config,
        pushed: &Modules,
    ) -> Result<Prepared, Report> {
        let mut diag = Diag::new();
        let config = Arc::new(config);
        self.check_store(&config, &mut diag);
        let (no_files, no_tls) = (HashMap::new(), HashMap::new());
        let before = state.parts.as_ref();
        let others = others(state, pushed);
        let read = modules::read(&config, before.map_or(&no_files, |parts| &parts.read), &others, &mut diag);
        let rules = modules::rules(&config, &mut diag);
        let acme = self.acme.prepare(&config, &mut diag);
        let upstream_tls = tls::read(&config, before.map_or(&no_tls, |parts| &parts.upstream_tls), &mut diag);
        let listeners = self.listeners.prepare(&config, &acme, &mut diag);
        let parts = Parts { config, read, rules, upstream_tls };
        let snapshot = diag.join(self.build(state, &parts, pushed));
        let snapshot = snapshot.inspect_err(|_| self.observe.metrics.snapshot_failures.increment())?;
        Ok(Prepared { parts, snapshot, listeners, acme })
    }

    /// Lets serve what was prepared.
    pub(super) fn commit(&self, state: &mut State, prepared: Prepared) -> u64 {
        let Prepared { parts, snapshot, listeners, acme } = prepared;
        let config = parts.config.clone();
        state.parts = Some(parts);
        self.doorway.admit(&config.admin);
        self.serve(state, snapshot);
        // Who connects to a new listener finds what is published there.
        self.listeners.commit(listeners, &config);
        // An authority comes to see the listeners.
        self.acme.commit(acme);
        self.announce(state)
    }

    /// The store is opened once.
    fn check_store(&self, config: &Config, diag: &mut Diag) {
        let opened = self.store.as_ref().map(|opened| opened.path.as_path());
        let asked = config.store.as_ref().map(|store| store.path.as_path());
        if opened == asked {
            return;
        }
        let at = config.store.as_ref().map_or_else(|| At::file(&config.file), |store| store.at.clone());
        diag.fault(&at, "the store can't be changed while the gateway runs", "start it again for that");
    }

    /// Takes descriptors that a server told, or the embedding program gives.
    pub(super) fn publish(&self, module: &str, schema: Schema) -> Result<u64, Report> {
        self.renew(|state| {
            state.given.entry(module.into()).or_default().set(LIVE, schema);
        })
    }

    /// Takes descriptors that a server told.
    pub(super) fn told(&self, module: &str, schema: Schema) -> Result<u64, Report> {
        self.renew(|state| {
            state.told.insert(module.into(), schema);
        })
    }

    /// Builds the same configuration again, with other descriptors.
    fn renew(&self, change: impl FnOnce(&mut State)) -> Result<u64, Report> {
        let mut state = self.lock();
        let before = (state.given.clone(), state.told.clone());
        change(&mut state);
        let Some(parts) = &state.parts else { return Ok(state.generation) };
        match self.build(&state, parts, &state.pushed) {
            Ok(snapshot) => Ok(self.swap(&mut state, snapshot)),
            Err(report) => {
                self.observe.metrics.snapshot_failures.increment();
                (state.given, state.told) = before;
                Err(report)
            }
        }
    }

    /// Builds what serves with these descriptors pushed.
    pub(super) fn build(
        &self,
        state: &State,
        parts: &Parts,
        pushed: &Modules,
    ) -> Result<snapshot::Snapshot, Report> {
        let Parts { config, read, rules, upstream_tls } = parts;
        let mut all = others(state, pushed);
        for module in &config.modules {
            let found = match read.get(&module.name) {
                Some(loaded) => Some(&loaded.schema),
                None => state.told.get(&module.name),
            };
            if let Some(schema) = found {
                all.insert(module.name.clone(), Labels::live(schema.clone()));
            }
        }
        if let Err(status) = admin::sound(config, &all) {
            let mut diag = Diag::new();
            diag.collision(&At::file(&config.file), status.message(), "");
            diag.finish()?;
        }
        let mut own = Vec::new();
        if config.server.reflection {
            own.extend(self.reflection.iter().cloned());
        }
        if config.server.health {
            own.extend(self.health.iter().cloned());
        }
        snapshot::compile(&Inputs {
            config: config.clone(),
            modules: &all,
            rules,
            before: Some(&self.current.load()),
            own: &own,
            kinds: policy::TABLE,
            extra: &self.policies,
            documents: &self.documents,
            in_process: &HashMap::new(),
            specs: &self.specs,
            shadows: &self.shadows,
            upstream_tls,
            metrics: &self.observe.metrics,
            generation: state.generation + 1,
        })
    }

    pub(super) fn swap(&self, state: &mut State, snapshot: snapshot::Snapshot) -> u64 {
        self.serve(state, snapshot);
        self.announce(state)
    }

    fn serve(&self, state: &mut State, snapshot: snapshot::Snapshot) {
        state.generation = snapshot.generation;
        self.retiring.take(self.current.swap(Arc::new(snapshot)));
        self.readiness.loaded();
    }

    /// Tells that a generation serves, once all of it does.
    fn announce(&self, state: &State) -> u64 {
        self.observe.metrics.snapshot_generation.set(state.generation);
        self.generations.send_replace(state.generation);
        state.generation
    }

    /// Reads the configuration file again; a faulty one is reported and changes nothing.
    pub(super) fn reload(&self) {
        let Some(path) = self.config().map(|config| config.file.clone()) else { return };
        let mut state = self.lock();
        let outcome = self.load(&path, &state.resources).and_then(|config| {
            let pushed = state.pushed.clone();
            let prepared = self.prepare(&state, config, &pushed)?;
            Ok(self.commit(&mut state, prepared))
        });
        drop(state);
        match outcome {
            Ok(generation) => tracing::info!(generation, "the configuration was reloaded"),
            Err(report) => tracing::error!("the configuration stays as it was:\n{report}"),
        }
    }

    /// Reads the configuration file with these resources.
    pub(super) fn load(&self, path: &Path, resources: &Resources) -> Result<Config, Report> {
        let loaded = match &self.store {
            Some(opened) => opened.load(path, resources, &[]),
            None => config::load(path, &environment),
        };
        loaded.inspect_err(|_| self.observe.metrics.snapshot_failures.increment())
    }

    /// The configuration that serves.
    pub(super) fn config(&self) -> Option<Arc<Config>> {
        self.current.load().config.clone()
    }

    /// TLS of an upstream.
    pub(super) fn upstream_tls(&self, upstream: &str) -> Option<Arc<Tls>> {
        self.lock().parts.as_ref()?.upstream_tls.get(upstream).cloned()
    }

    pub(super) fn doorway(&self) -> &Doorway {
        &self.doorway
    }

    pub(super) fn opened(&self) -> Option<&Opened> {
        self.store.as_ref()
    }

    pub(super) fn snapshot(&self) -> Arc<snapshot::Snapshot> {
        self.current.load_full()
    }

    pub(super) fn started(&self) -> SystemTime {
        self.started
    }

    /// What is to be watched for changes.
    pub(super) fn sources(&self) -> Vec<PathBuf> {
        self.config().map(|config| config::sources(&config)).unwrap_or_default()
    }

    /// What the versions in shadows saw.
    pub(super) fn shadows(&self) -> Vec<ShadowReport> {
        let current = self.current.load();
        current.apis.iter().filter_map(|api| Some(api.shadow.as_ref()?.report())).collect()
    }

    /// Sees each new snapshot.
    pub(super) fn generations(&self) -> watch::Receiver<u64> {
        self.generations.subscribe()
    }

    /// What no longer serves.
    pub(super) fn retiring(&self) -> &Retiring {
        &self.retiring
    }

    pub(super) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Descriptors that don't come from files: those that were pushed go before those that the embedding program gave.
fn others(state: &State, pushed: &Modules) -> Modules {
    let mut all = state.given.clone();
    for (name, labels) in pushed {
        match all.get_mut(name) {
            Some(given) => labels.iter().for_each(|(label, schema)| given.set(label, schema.clone())),
            None => drop(all.insert(name.clone(), labels.clone())),
        }
    }
    all
}

/// A variable of the environment.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

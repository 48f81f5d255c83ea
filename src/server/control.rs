//! The configuration that serves: built beside, swapped once, and the old one retired.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::sync::watch;

use crate::admin::Readiness;
use crate::builtin;
use crate::config;
use crate::config::Config;
use crate::config::Diag;
use crate::config::Report;
use crate::observe::Observe;
use crate::outbound::acme::Acme;
use crate::policy;
use crate::policy::Policy;
use crate::schema::Schema;
use crate::schema::http::ServiceConfig;
use crate::server::Setup;
use crate::server::listeners::Listeners;
use crate::server::modules;
use crate::server::modules::Loaded;
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

/// What the writer remembers between snapshots.
struct State {
    generation: u64,
    config: Option<Arc<Config>>,
    /// Descriptors that the embedding program gave.
    given: Modules,
    /// Descriptors that servers told, by module and server.
    told: HashMap<String, Schema>,
    /// Descriptors that were read from files.
    read: HashMap<String, Loaded>,
    /// Service configurations that were read from files.
    rules: Rules,
    /// TLS of the upstreams.
    upstream_tls: HashMap<String, Arc<Tls>>,
}

/// Service configurations by module.
type Rules = HashMap<String, Arc<ServiceConfig>>;

impl Control {
    pub(super) fn new(
        current: Arc<Current>,
        observe: Arc<Observe>,
        workers: usize,
        setup: Setup,
        listeners: Listeners,
        acme: Acme,
        readiness: Arc<Readiness>,
    ) -> Arc<Self> {
        let generations = Arc::new(watch::Sender::new(0));
        let view = Arc::new(Served::new(&current, &generations));
        let own = |all: Vec<builtin::Own>| all.into_iter().map(own_service).collect();
        Arc::new(Self {
            specs: Specs::new(workers, observe.metrics.clone()),
            shadows: Shadows::new(observe.metrics.clone()),
            current,
            observe,
            listeners,
            acme,
            readiness,
            policies: setup.policies,
            documents: setup.documents,
            reflection: own(builtin::reflection(view.clone())),
            health: own(builtin::health(view)),
            state: Mutex::new(State {
                generation: 0,
                config: None,
                given: setup.modules,
                told: HashMap::new(),
                read: HashMap::new(),
                rules: Rules::new(),
                upstream_tls: HashMap::new(),
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
        let config = Arc::new(config);
        let mut diag = Diag::new();
        let read = modules::read(&config, &state.read, &mut diag);
        let rules = modules::rules(&config, &mut diag);
        let acme = self.acme.prepare(&config, &mut diag);
        let upstream_tls = tls::read(&config, &state.upstream_tls, &mut diag);
        let prepared = self.listeners.prepare(&config, &acme, &mut diag);
        let built = diag.join(self.build(&state, &config, &read, &rules, &upstream_tls));
        let snapshot = built.inspect_err(|_| self.observe.metrics.snapshot_failures.increment())?;
        state.read = read;
        state.rules = rules;
        state.upstream_tls = upstream_tls;
        state.config = Some(config.clone());
        let generation = self.swap(&mut state, snapshot);
        // Who connects to a new listener finds what is published there.
        self.listeners.commit(prepared, &config);
        // An authority comes to see the listeners.
        self.acme.commit(acme);
        Ok(generation)
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
        let Some(config) = state.config.clone() else { return Ok(state.generation) };
        match self.build(&state, &config, &state.read, &state.rules, &state.upstream_tls) {
            Ok(snapshot) => Ok(self.swap(&mut state, snapshot)),
            Err(report) => {
                self.observe.metrics.snapshot_failures.increment();
                (state.given, state.told) = before;
                Err(report)
            }
        }
    }

    fn build(
        &self,
        state: &State,
        config: &Arc<Config>,
        read: &HashMap<String, Loaded>,
        rules: &Rules,
        upstream_tls: &HashMap<String, Arc<Tls>>,
    ) -> Result<snapshot::Snapshot, Report> {
        let mut all: Modules = state.given.clone();
        for module in &config.modules {
            let found = match read.get(&module.name) {
                Some(loaded) => Some(&loaded.schema),
                None => state.told.get(&module.name),
            };
            if let Some(schema) = found {
                all.insert(module.name.clone(), Labels::live(schema.clone()));
            }
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

    fn swap(&self, state: &mut State, snapshot: snapshot::Snapshot) -> u64 {
        state.generation = snapshot.generation;
        self.observe.metrics.snapshot_generation.set(snapshot.generation);
        self.retiring.take(self.current.swap(Arc::new(snapshot)));
        self.readiness.loaded();
        self.generations.send_replace(state.generation);
        state.generation
    }

    /// Reads the configuration file again; a faulty one is reported and changes nothing.
    pub(super) fn reload(&self) {
        let Some(path) = self.config().map(|config| config.file.clone()) else { return };
        let outcome = config::load(&path, &|name| std::env::var(name).ok())
            .inspect_err(|_| self.observe.metrics.snapshot_failures.increment())
            .and_then(|config| self.apply(config));
        match outcome {
            Ok(generation) => tracing::info!(generation, "the configuration was reloaded"),
            Err(report) => tracing::error!("the configuration stays as it was:\n{report}"),
        }
    }

    /// The configuration that serves.
    pub(super) fn config(&self) -> Option<Arc<Config>> {
        self.lock().config.clone()
    }

    /// TLS of an upstream.
    pub(super) fn upstream_tls(&self, upstream: &str) -> Option<Arc<Tls>> {
        self.lock().upstream_tls.get(upstream).cloned()
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Assembles everything: threads, listeners, the configuration that serves, and the drain.

mod change;
mod control;
mod door;
mod listeners;
mod modules;
mod opened;
mod plane;
mod pushed;
mod reload;
mod retire;
mod view;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::admin::Readiness;
use crate::admin::Resources;
use crate::config;
use crate::config::Config;
use crate::config::Report;
use crate::config::types::LogPath;
use crate::gateway::Buffers;
use crate::gateway::Gateway;
use crate::listen::Lanes;
use crate::listen::Meter;
use crate::listen::tls;
use crate::listen::worker;
use crate::observe::AccessLog;
use crate::observe::Limits as LogLimits;
use crate::observe::Metrics;
use crate::observe::Observe;
use crate::observe::Target;
use crate::outbound::acme;
use crate::outbound::acme::Acme;
use crate::outbound::acme::Challenges;
use crate::policy::Policy;
use crate::server::control::Control;
use crate::server::control::Owned;
use crate::server::control::environment;
use crate::server::door::Doorway;
use crate::server::listeners::Listeners;
use crate::server::opened::Opened;
use crate::snapshot;
use crate::snapshot::Current;
use crate::snapshot::Document;
use crate::snapshot::Labels;
use crate::snapshot::Modules;
use crate::snapshot::ShadowReport;
use crate::snapshot::Snapshot;
use crate::store::StoreError;

/// What a server is started with.
#[derive(Default)]
pub struct Setup {
    /// Descriptors of modules whose configuration names no source.
    pub modules: Modules,
    /// Policies of the embedding program, for every API, after the slots.
    pub policies: Vec<Arc<dyn Policy>>,
    /// Documents of the embedding program, served before anything that APIs publish.
    pub documents: Vec<Document>,
    /// Whether the files of the configuration are watched.
    pub watch: Watch,
    /// How orders of certificates that failed are tried again.
    pub acme: acme::Pace,
}

/// Whether the files of the configuration are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watch {
    /// They are read once.
    #[default]
    No,
    /// A valid change goes live.
    Yes,
}

/// Why a server didn't start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is at fault.
    Config(Report),
    /// The system didn't give what is needed.
    Io(&'static str, io::Error),
    /// The store can't be used.
    Store(StoreError),
    /// A fault of Transom itself.
    Ours(&'static str, String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(report) => report.fmt(f),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Store(error) => error.fmt(f),
            Self::Ours(what, why) => write!(f, "{what}: {why}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Report> for StartError {
    fn from(report: Report) -> Self {
        Self::Config(report)
    }
}

/// A running server. Dropping it without [`Server::drain`] leaves its threads to the process.
pub struct Server {
    control: Arc<Control>,
    /// Held here, not in `control`, whose last owner may be a task: those can't end a runtime.
    accepting: Runtime,
    runtime: Runtime,
    drain_timeout: Duration,
    observe: Arc<Observe>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts serving `config`.
    ///
    /// # Errors
    /// Every fault of the configuration, an address that can't be bound among them.
    pub fn start(config: Config, setup: Setup) -> Result<Self, StartError> {
        match &config.store {
            Some(store) => {
                let (path, store) = (config.file.clone(), Opened::at(&store.path)?);
                Self::with_store(&path, store, setup)
            }
            None => Self::run(config, None, Resources::new(), setup),
        }
    }

    /// Starts serving a configuration file, with what its store has.
    ///
    /// # Errors
    /// Every fault of the file, an address that can't be bound among them, or that the store can't be used.
    pub fn open(path: &Path, setup: Setup) -> Result<Self, StartError> {
        match config::store_path(path, &environment) {
            Some(store) => Self::with_store(path, Opened::at(&store)?, setup),
            None => Self::start(config::load(path, &environment)?, setup),
        }
    }

    fn with_store(path: &Path, store: Opened, setup: Setup) -> Result<Self, StartError> {
        let mut left = store.resources.clone();
        let config = store.load_sound(path, &mut left)?;
        Self::run(config, Some(store), left, setup)
    }

    /// `left` are the resources of the store that `config` was read with.
    fn run(
        mut config: Config,
        store: Option<Opened>,
        mut left: Resources,
        setup: Setup,
    ) -> Result<Self, StartError> {
        raise_open_files();
        let workers = config.server.workers.map_or_else(cores, NonZeroUsize::get);
        let observe = Arc::new(observe(&config, workers)?);
        let current = Arc::new(Current::from_pointee(Snapshot::empty()));
        let buffers = Buffers::new(config.server.buffer_bytes);
        let challenges = Arc::new(Challenges::default());
        let mut threads = Vec::new();
        let (lanes, queues) = Lanes::new(workers);
        for (index, queue) in queues.into_iter().enumerate() {
            let (current, observe) = (current.clone(), observe.clone());
            let meter = observe.metrics.polls(index).map(Meter::new);
            let gateway = Gateway::new(index, current, observe, buffers.clone(), challenges.clone());
            let gateway = Arc::new(gateway);
            threads.push(thread(format!("transom-worker-{index}"), move || {
                run(worker::run(queue, gateway, meter));
            })?);
        }
        let accepting = runtime("transom-accept", || ())?;
        // What is compiled there takes what workers leave.
        let runtime = runtime("transom-control", snapshot::step_back)?;
        let readiness = Arc::new(Readiness::default());
        let drain_timeout = config.server.drain_timeout;
        let doorway = Doorway::new(&config.admin);
        let listeners = Listeners::new(
            accepting.handle().clone(),
            runtime.handle().clone(),
            lanes,
            readiness.clone(),
            observe.clone(),
            doorway.door(),
        );
        let watch = setup.watch;
        let acme = Acme::new(runtime.handle().clone(), challenges, observe.metrics.clone(), setup.acme);
        let owned = Owned { listeners, acme, readiness, doorway, store };
        let control = Control::new(current, observe.clone(), workers, setup, owned);
        control.doorway().open(Arc::downgrade(&control), &config.admin)?;
        while let Err(report) = control.apply(config.clone()) {
            let Some(opened) = control.opened() else { return Err(report.into()) };
            opened::shed(report, &mut left)?;
            config = opened.load_sound(&config.file, &mut left)?;
        }
        control.clone().spawn_upkeep(runtime.handle(), watch)?;
        Ok(Self { control, accepting, runtime, drain_timeout, observe, threads })
    }

    /// Where the listener of that name listens.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.control.listeners().address(listener)
    }

    /// Where probes, metrics and the Admin API are answered.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.control.listeners().admin()
    }

    /// Where probes and metrics alone are answered.
    pub fn status(&self) -> Option<SocketAddr> {
        self.control.listeners().status()
    }

    /// Open client connections of each worker.
    pub fn connections(&self) -> Vec<usize> {
        self.control.listeners().connections()
    }

    /// Everything that is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.observe.metrics
    }

    /// What the versions in the shadow of APIs would not have read as those that serve do.
    pub fn shadows(&self) -> Vec<ShadowReport> {
        self.control.shadows()
    }

    /// Replaces the configuration that serves; running calls go on under the old one.
    ///
    /// # Errors
    /// Every fault of the new one; the old one serves on.
    pub fn apply(&self, config: Config) -> Result<u64, Report> {
        self.control.apply(config)
    }

    /// Replaces the descriptors of a module whose configuration names no source.
    ///
    /// # Errors
    /// Every fault of the snapshot that they would give; the old one serves on.
    pub fn publish(&self, module: &str, schema: crate::schema::Schema) -> Result<u64, Report> {
        self.control.publish(module, schema)
    }

    /// Reads the configuration file again, as SIGHUP does.
    pub fn reload(&self) {
        self.control.reload();
    }

    /// Fails `/readyz`, lets running calls end, and ends what is left at `drain_timeout`.
    pub fn drain(self) {
        let Self { control, accepting, runtime, drain_timeout, observe, threads } = self;
        runtime.block_on(control.listeners().drain(drain_timeout));
        for thread in threads {
            // A worker that panicked outside of a call has said so already.
            let _ = thread.join();
        }
        if let Some(access) = &observe.access
            && access.close(LOG_CLOSE).is_err()
        {
            tracing::warn!("the access log's last lines could not be written in {LOG_CLOSE:?}");
        }
        accepting.shutdown_background();
        runtime.shutdown_background();
    }
}

fn observe(config: &Config, workers: usize) -> Result<Observe, StartError> {
    let metrics = Metrics::new(workers);
    let access = match &config.observe.access_log {
        None => None,
        Some(log) => {
            let target = match &log.path {
                LogPath::Stdout => Target::Stdout,
                LogPath::File(path) => Target::File(path.clone()),
            };
            let dropped = metrics.access_lines_dropped.clone();
            let log = AccessLog::start(target, workers, dropped, LogLimits::default());
            Some(log.map_err(|error| StartError::Io("the access log can't be opened", error))?)
        }
    };
    Ok(Observe { metrics, access })
}

/// Runs one worker's world on this thread.
fn run(world: impl Future<Output = ()>) {
    match tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(APART_THREADS)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(world),
        Err(error) => tracing::error!(%error, "a worker has no runtime: it serves nothing"),
    }
}

fn thread(name: String, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let started = std::thread::Builder::new().name(name).spawn(work);
    started.map_err(|error| StartError::Io("no thread for a worker", error))
}

/// A runtime with one thread of its own, beside the workers.
fn runtime(name: &str, begin: impl Fn() + Send + Sync + 'static) -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(16)
        .thread_name(name)
        .on_thread_start(begin)
        .enable_all()
        .build()
        .map_err(|error| StartError::Io("no runtime for the control plane", error))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Each connection is a descriptor: the soft limit is often 1,024.
fn raise_open_files() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// What a worker has beside it for long work on messages.
const APART_THREADS: usize = 2;
/// How long the access log may take to write its last lines.
const LOG_CLOSE: Duration = Duration::from_secs(2);

/// Compiles a configuration without serving it, as `transom check` does.
///
/// # Errors
/// Every fault, those of descriptors among them.
pub fn check(config: &Config) -> Result<(), Report> {
    compile(config).map(|_| ())
}

/// The APIs of a configuration that publish a method.
///
/// # Errors
/// Every fault of the configuration.
pub fn publishers<'a>(
    config: &'a Config,
    service: &str,
    method: &str,
) -> Result<Vec<&'a config::types::Api>, Report> {
    let snapshot = compile(config)?;
    let path = format!("/{service}/{method}");
    let names: Vec<_> = snapshot
        .served
        .routes
        .iter()
        .filter(|(known, _, _)| *known == path)
        .map(|(_, _, plan)| plan.api.name.clone())
        .collect();
    Ok(config.apis.iter().filter(|api| names.iter().any(|name| **name == *api.name)).collect())
}

fn compile(config: &Config) -> Result<Snapshot, Report> {
    let metrics = Metrics::new(1);
    let mut diag = config::Diag::new();
    let read = modules::read(config, &std::collections::HashMap::new(), &Modules::new(), &mut diag);
    let rules = modules::rules(config, &mut diag);
    let acme = acme::check(config, &mut diag);
    tls::read(config, &std::collections::HashMap::new(), &acme, &mut diag);
    let upstream_tls = crate::upstream::tls::read(config, &std::collections::HashMap::new(), &mut diag);
    let modules: Modules =
        read.into_iter().map(|(name, loaded)| (name, Labels::live(loaded.schema))).collect();
    let compiled = snapshot::compile(&snapshot::Inputs {
        config: Arc::new(config.clone()),
        modules: &modules,
        rules: &rules,
        before: None,
        own: &[],
        kinds: crate::policy::TABLE,
        extra: &[],
        documents: &[],
        in_process: &std::collections::HashMap::new(),
        specs: &crate::upstream::Specs::new(1, metrics.clone()),
        shadows: &snapshot::Shadows::new(metrics.clone()),
        upstream_tls: &upstream_tls,
        metrics: &metrics,
        generation: 1,
    });
    diag.join(compiled)
}

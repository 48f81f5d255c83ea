//! Upstreams by identity, and each worker's own connections to them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Instant;

use http::uri::Scheme;
use tokio_util::task::TaskTracker;

use crate::call::Reason;
use crate::call::Refusal;
use crate::call::Retry;
use crate::config::types;
use crate::config::types::Authority;
use crate::observe::Counters;
use crate::observe::Metrics;
use crate::policy::Admitted;
use crate::upstream::balance;
use crate::upstream::balance::Picker;
use crate::upstream::connection::Lease;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::endpoint::Unreachable;
use crate::upstream::in_process::InProcess;
use crate::upstream::tls::Tls;
use crate::upstream::trouble::Trouble;

/// Where the calls of a method go.
#[derive(Clone)]
pub enum Upstream {
    /// Over the network.
    Network(Arc<Spec>),
    /// To a service of this process.
    InProcess(Arc<dyn InProcess>),
}

impl Upstream {
    /// Whether calls of both go to the same.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Network(a), Self::Network(b)) => Arc::ptr_eq(a, b),
            (Self::InProcess(a), Self::InProcess(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(spec) => write!(f, "Network({})", spec.name),
            Self::InProcess(_) => f.write_str("InProcess"),
        }
    }
}

/// One upstream as configured, kept as long as a snapshot or a call needs it.
pub struct Spec {
    /// Its name.
    pub name: Arc<str>,
    /// Which `:authority` its endpoints see.
    pub authority: Authority,
    /// Attempts after the first, by why.
    pub retries: Counters,
    pub(super) config: types::Upstream,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) metrics: Arc<Metrics>,
    /// Of each endpoint, what its log was told.
    troubles: Box<[Arc<Trouble>]>,
    pools: Box<[OnceLock<Arc<Pool>>]>,
}

impl Spec {
    /// The `:scheme` that its endpoints see.
    pub fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// The connections of one worker.
    pub fn pool(&self, worker: usize) -> &Arc<Pool> {
        let at = worker.min(self.pools.len() - 1);
        self.pools[at].get_or_init(|| Arc::new(Pool::new(self)))
    }

    /// Whether some worker finds some endpoint usable, or none was tried yet.
    pub fn is_usable(&self, now: Instant) -> bool {
        let mut tried = self.pools.iter().filter_map(OnceLock::get).peekable();
        tried.peek().is_none() || tried.any(|pool| pool.is_usable(now))
    }
}

impl Spec {
    /// Each endpoint as it was written, and whether some worker finds it usable, or none has tried it yet.
    pub fn endpoints(&self, now: Instant) -> Vec<(&str, bool)> {
        let pools: Vec<&Arc<Pool>> = self.pools.iter().filter_map(OnceLock::get).collect();
        let is_usable = |at: usize| {
            let mut tried = pools.iter().filter_map(|pool| pool.endpoints.get(at)).peekable();
            tried.peek().is_none() || tried.any(|endpoint| endpoint.is_usable(now))
        };
        let endpoints = self.config.endpoints.iter().enumerate();
        endpoints.map(|(at, endpoint)| (endpoint.address.as_str(), is_usable(at))).collect()
    }
}

/// All upstreams of the process, by name and content.
pub struct Specs {
    workers: usize,
    metrics: Arc<Metrics>,
    known: Mutex<HashMap<String, Weak<Spec>>>,
}

impl Specs {
    /// None yet, for this many workers.
    pub fn new(workers: usize, metrics: Arc<Metrics>) -> Self {
        Self { workers: workers.max(1), metrics, known: Mutex::default() }
    }

    /// The upstream of this configuration and its TLS: the one there is, if both say the same.
    ///
    /// One whose certificates or authorities have changed is another: calls to come connect anew, and those
    /// that run end where they are.
    pub fn of(&self, config: &types::Upstream, tls: Option<&Arc<Tls>>) -> Arc<Spec> {
        let identity = identity(config, tls);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, spec| spec.strong_count() > 0);
        if let Some(spec) = known.get(&identity).and_then(Weak::upgrade) {
            return spec;
        }
        let spec = Arc::new(Spec {
            name: config.name.as_str().into(),
            authority: config.authority.clone(),
            retries: self.metrics.upstream_retries(&config.name),
            config: config.clone(),
            tls: tls.cloned(),
            troubles: config.endpoints.iter().map(|_| Arc::default()).collect(),
            metrics: self.metrics.clone(),
            pools: (0..self.workers).map(|_| OnceLock::new()).collect(),
        });
        known.insert(identity, Arc::downgrade(&spec));
        spec
    }
}

/// What an upstream says, but for where it was written.
fn identity(config: &types::Upstream, tls: Option<&Arc<Tls>>) -> String {
    let endpoints: Vec<_> = config.endpoints.iter().map(|e| (&e.address, e.weight, &e.tags)).collect();
    format!(
        "{:?}",
        (
            &config.name,
            endpoints,
            config.protocol,
            &config.authority,
            config.balance,
            &config.pool,
            tls.map(|tls| tls.digest())
        )
    )
}

/// One worker's connections to one upstream.
pub struct Pool {
    endpoints: Box<[Arc<Endpoint>]>,
    picker: Box<dyn Picker>,
}

impl Pool {
    fn new(spec: &Spec) -> Self {
        let tasks = TaskTracker::new();
        let endpoint = |(endpoint, trouble): (&types::Endpoint, &Arc<Trouble>)| {
            Endpoint::new(endpoint, spec, trouble.clone(), tasks.clone())
        };
        let weights: Vec<u32> = spec.config.endpoints.iter().map(|e| e.weight.get()).collect();
        Self {
            endpoints: spec.config.endpoints.iter().zip(&spec.troubles).map(endpoint).collect(),
            picker: balance::build(spec.config.balance, &weights),
        }
    }

    /// A place for an admitted call on a connection to an endpoint that it hasn't tried.
    ///
    /// # Errors
    /// When no endpoint gives one.
    pub async fn lease(&self, _: &Admitted, tried: &mut Tried, now: Instant) -> Result<Lease, Refusal> {
        let fresh = |at: usize| !tried.has(at);
        let picked = self
            .picker
            .pick(&|at| fresh(at) && self.endpoints[at].is_usable(now))
            // All rest after failures: waiting for one of them would only be slower than asking.
            .or_else(|| self.picker.pick(&fresh));
        let Some(at) = picked else {
            return Err(Refusal::new(
                Reason::NoHealthyUpstream,
                "no endpoint can take the call: try again later",
            )
            .with_retry(Retry::Never));
        };
        tried.add(at);
        self.endpoints[at].lease().await.map_err(|why| match why {
            Unreachable::Failed(_) => {
                Refusal::new(Reason::UpstreamUnreachable, "the service can't be reached: try again later")
                    .logged(why.to_string())
            }
            Unreachable::Full => Refusal::new(Reason::Overloaded, "the service is full: try again later")
                .logged(why.to_string())
                .with_retry(Retry::IfUnsent),
        })
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there is no endpoint.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    fn is_usable(&self, now: Instant) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.is_usable(now))
    }
}

/// The endpoints that a call has tried. Beyond the first 64 of an upstream, none counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tried(u64);

impl Tried {
    /// Forgets all, so that each may be tried once more.
    pub fn clear(&mut self) {
        self.0 = 0;
    }

    fn has(self, at: usize) -> bool {
        at < 64 && self.0 & (1 << at) != 0
    }

    fn add(&mut self, at: usize) {
        if at < 64 {
            self.0 |= 1 << at;
        }
    }
}

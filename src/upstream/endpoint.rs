//! One endpoint of an upstream as one worker knows it: its connections and its failures.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use http::uri::Authority;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::config::types::Pool as Settings;
use crate::observe::EndpointMetrics;
use crate::upstream::connect;
use crate::upstream::connect::Connected;
use crate::upstream::connect::Driver;
use crate::upstream::connection::Connection;
use crate::upstream::connection::Lease;
use crate::upstream::connection::State;
use crate::upstream::failure::Failure;
use crate::upstream::pool::Spec;
use crate::upstream::tls::Tls;
use crate::upstream::trouble::Trouble;

/// One endpoint.
pub struct Endpoint {
    /// `host:port`, as configured.
    pub address: Arc<str>,
    /// The same as `:authority`.
    pub authority: Option<Authority>,
    host: String,
    port: u16,
    settings: Settings,
    tls: Option<Arc<Tls>>,
    metrics: EndpointMetrics,
    trouble: Arc<Trouble>,
    tasks: TaskTracker,
    links: Mutex<Links>,
}

#[derive(Default)]
struct Links {
    open: Vec<Connection>,
    connecting: Option<Arc<Attempt>>,
    failures: u32,
    rests_until: Option<Instant>,
}

/// One attempt to connect, for which any number of calls may wait.
#[derive(Default)]
struct Attempt {
    done: Notify,
    outcome: OnceLock<Result<(), Arc<str>>>,
}

/// Why an endpoint gives no connection.
#[derive(Debug, Clone)]
pub enum Unreachable {
    /// The attempt to connect failed.
    Failed(Arc<str>),
    /// Every stream of every connection that it may have is in use.
    Full,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => f.write_str(why),
            Self::Full => write!(f, "all streams of {CONNECTIONS_MAX} connections are in use"),
        }
    }
}

impl Endpoint {
    pub(super) fn new(
        endpoint: &crate::config::types::Endpoint,
        spec: &Spec,
        trouble: Arc<Trouble>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        Arc::new(Self {
            address: endpoint.address.as_str().into(),
            authority: endpoint.address.parse().ok(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            settings: spec.config.pool.clone(),
            tls: spec.tls.clone(),
            metrics: spec.metrics.endpoint(&spec.name, &endpoint.address),
            trouble,
            tasks,
            links: Mutex::default(),
        })
    }

    /// A place on a connection, a new one where none has room.
    ///
    /// # Errors
    /// When none can be had.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease, Unreachable> {
        loop {
            let attempt = match self.try_lease()? {
                Leased::Now(lease) => return Ok(lease),
                Leased::After(attempt) => attempt,
            };
            let done = attempt.done.notified();
            let outcome = match attempt.outcome.get() {
                Some(outcome) => outcome.clone(),
                None => {
                    done.await;
                    attempt.outcome.get().cloned().unwrap_or(Ok(()))
                }
            };
            outcome.map_err(Unreachable::Failed)?;
        }
    }

    /// Whether the endpoint is worth a try: it didn't fail to connect a moment ago.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        self.lock().rests_until.is_none_or(|until| until <= now)
    }

    fn try_lease(self: &Arc<Self>) -> Result<Leased, Unreachable> {
        let mut links = self.lock();
        links.open.retain(|connection| !connection.state.is_closed());
        let best = links.open.iter().min_by_key(|connection| connection.state.active());
        let leased = best.and_then(|best| {
            let max = best.sender.current_max_send_streams().min(self.settings.max_streams.get() as usize);
            let active = best.state.active();
            (active < max).then(|| (best.lease(self), active))
        });
        match leased {
            Some((lease, active)) => {
                if active >= SPREAD_FROM && links.open.len() < self.settings.connections.get() {
                    self.attempt(&mut links);
                }
                Ok(Leased::Now(lease))
            }
            None if links.open.len() >= CONNECTIONS_MAX => Err(Unreachable::Full),
            None => Ok(Leased::After(self.attempt(&mut links))),
        }
    }

    /// The attempt under way, or a new one.
    fn attempt(self: &Arc<Self>, links: &mut Links) -> Arc<Attempt> {
        if let Some(attempt) = &links.connecting {
            return attempt.clone();
        }
        let attempt = Arc::new(Attempt::default());
        links.connecting = Some(attempt.clone());
        self.tasks.spawn(self.clone().connect(attempt.clone()));
        attempt
    }

    /// Connects, and goes on as the task of the connection.
    async fn connect(self: Arc<Self>, attempt: Arc<Attempt>) {
        let connected = connect::connect(&self.host, self.port, self.tls.as_ref(), &self.settings).await;
        let driving = self.connected(connected, &attempt);
        attempt.done.notify_waiters();
        let counted = self.metrics.connections.hold();
        // The task must not keep the endpoint: when its last user is gone, so is the last
        // sender, and the connection closes.
        drop((self, attempt));
        if let Some((driver, state)) = driving {
            driver.run(state, counted).await;
        }
    }

    fn connected(
        &self,
        connected: Result<Connected, Failure>,
        attempt: &Attempt,
    ) -> Option<(Driver, Arc<State>)> {
        let mut links = self.lock();
        links.connecting = None;
        match connected {
            Ok(connected) => {
                self.metrics.connects.increment("ok");
                (links.failures, links.rests_until) = (0, None);
                let state = Arc::new(State::default());
                links.open.push(Connection { sender: connected.sender, state: state.clone() });
                let _ = attempt.outcome.set(Ok(()));
                Some((connected.driver, state))
            }
            Err(failure) => {
                let now = now();
                self.metrics.connects.increment(failure.outcome);
                links.failures = links.failures.saturating_add(1);
                links.rests_until = Some(now + backoff(links.failures));
                self.trouble.tell(&self.address, &failure, now);
                let _ = attempt.outcome.set(Err(format!("{}: {failure}", self.address).into()));
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Leased {
    Now(Lease),
    After(Arc<Attempt>),
}

/// 100 ms, doubling to 5 s.
fn backoff(failures: u32) -> Duration {
    (BACKOFF_FIRST * 2u32.saturating_pow(failures.saturating_sub(1).min(10))).min(BACKOFF_MAX)
}

#[expect(clippy::disallowed_methods, reason = "the edge to an endpoint: a failure is remembered from now on")]
fn now() -> Instant {
    Instant::now()
}

/// Calls on a connection from which another of the kept ones is opened beside it.
const SPREAD_FROM: usize = 100;
/// Connections of one worker to one endpoint, however many calls run.
const CONNECTIONS_MAX: usize = 64;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

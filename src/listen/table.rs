//! The open connections of one listener: counted, bounded, and told when to go.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use futures_util::task::AtomicWaker;
use http::HeaderValue;
use tokio::sync::Notify;

use crate::call::Connection;
use crate::call::Secured;
use crate::listen::Limits;
use crate::listen::Terms;
use crate::observe::Counters;
use crate::observe::Held;
use crate::observe::ListenerMetrics;

/// How far a connection's life is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// New calls are welcome.
    Serving = 0,
    /// No new calls; those that run may end.
    Draining = 1,
    /// Calls that still run are refused in their own words.
    Ending = 2,
    /// Closed, whatever runs.
    Closed = 3,
}

/// The connections of one listener.
#[derive(Debug)]
pub struct Table {
    listener: Arc<str>,
    open: Mutex<Open>,
    metrics: ListenerMetrics,
    resets: Counters,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    stage: u8,
    connections: BTreeMap<u64, Arc<Control>>,
    /// Connections whose TLS handshake isn't done.
    shaking: BTreeSet<u64>,
    addresses: HashMap<IpAddr, usize>,
}

/// What the table and a connection share.
#[derive(Debug)]
struct Control {
    stage: AtomicU8,
    /// The connection's task.
    task: AtomicWaker,
    /// Calls ever carried.
    carried: AtomicU64,
    /// HTTP/1.1 requests under way.
    running: AtomicUsize,
}

/// Why a connection isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// `max_connections`, and each of them carries calls.
    Listener,
    /// `max_connections_per_address`.
    Address,
    /// The listener drains.
    Draining,
}

impl Full {
    /// The word in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listener => "max_connections",
            Self::Address => "max_connections_per_address",
            Self::Draining => "draining",
        }
    }
}

impl Table {
    /// An empty table of the listener of that name.
    pub fn new(listener: &str, metrics: ListenerMetrics, resets: Counters) -> Arc<Self> {
        Arc::new(Self {
            listener: listener.into(),
            open: Mutex::default(),
            metrics,
            resets,
            emptied: Notify::new(),
        })
    }

    /// Takes a connection in. At the limit, the oldest one that never carried a call gives
    /// way; so does the oldest handshake where too many are under way.
    ///
    /// # Errors
    /// When there is no room.
    pub fn admit(self: &Arc<Self>, peer: SocketAddr, terms: &Terms) -> Result<Place, Full> {
        let limits = &terms.limits;
        let header_count_max = limits.header_count.get();
        let connection =
            Connection::new(peer, self.listener.clone(), header_count_max, terms.trusted.clone());
        let mut open = self.lock();
        if open.stage >= Stage::Ending as u8 {
            return Err(Full::Draining);
        }
        let address = open.counted(&connection, limits)?;
        if open.connections.len() >= limits.max_connections.get() {
            let unused = |(_, control): &(&u64, &Arc<Control>)| control.carried.load(Ordering::Relaxed) == 0;
            let Some((&id, _)) = open.connections.iter().find(unused) else {
                return Err(Full::Listener);
            };
            open.close(id);
        }
        if let Some(tls) = &terms.tls
            && open.shaking.len() >= tls.max_handshakes.get()
            && let Some(&id) = open.shaking.first()
        {
            open.close(id);
        }
        open.count(address);
        let id = open.next;
        open.next += 1;
        let control = Arc::new(Control {
            stage: AtomicU8::new(Stage::Serving as u8),
            task: AtomicWaker::new(),
            carried: AtomicU64::new(0),
            running: AtomicUsize::new(0),
        });
        open.connections.insert(id, control.clone());
        if terms.tls.is_some() {
            open.shaking.insert(id);
        }
        drop(open);
        let slot = Slot { table: self.clone(), id, address, _counted: self.metrics.connections.hold() };
        Ok(Place {
            connection: Arc::new(connection),
            seen: Stage::Serving as u8,
            carried: Carried(control),
            slot,
        })
    }

    /// Whether handshakes under way are many of those that may be.
    pub(crate) fn is_loaded(&self, terms: &Terms) -> bool {
        let max = terms.tls.as_ref().map_or(0, |tls| tls.max_handshakes.get());
        self.lock().shaking.len() * RETRY_SHARE >= max
    }

    /// Moves every connection on, and those that come later.
    pub fn tell(&self, stage: Stage) {
        let mut open = self.lock();
        open.stage = open.stage.max(stage as u8);
        for control in open.connections.values() {
            control.tell(stage);
        }
    }

    /// The name of the listener.
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// Waits until no connection is open.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// How many connections are open.
    pub fn len(&self) -> usize {
        self.lock().connections.len()
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// The address that a connection counts for, if there is room. A trusted proxy's counts for none: it carries
    /// the calls of many.
    fn counted(&self, connection: &Connection, limits: &Limits) -> Result<Option<IpAddr>, Full> {
        if connection.is_trusted() {
            return Ok(None);
        }
        let address = connection.peer.ip().to_canonical();
        match (self.addresses.get(&address), limits.max_connections_per_address) {
            (Some(count), Some(max)) if *count >= max.get() => Err(Full::Address),
            _ => Ok(Some(address)),
        }
    }

    fn count(&mut self, address: Option<IpAddr>) {
        if let Some(address) = address {
            *self.addresses.entry(address).or_insert(0) += 1;
        }
    }

    fn uncount(&mut self, address: Option<IpAddr>) {
        if let Some(address) = address
            && let Entry::Occupied(mut count) = self.addresses.entry(address)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Closes a connection. It is out of the counts at once; its own drop finds nothing left to do.
    fn close(&mut self, id: u64) {
        self.shaking.remove(&id);
        if let Some(control) = self.connections.remove(&id) {
            control.tell(Stage::Closed);
        }
    }
}

impl Control {
    fn tell(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::Release);
        self.task.wake();
    }
}

/// A connection's place in its listener's table; dropping it gives the place back.
pub struct Place {
    /// What its calls know of it.
    pub connection: Arc<Connection>,
    /// What it has carried.
    pub(crate) carried: Carried,
    seen: u8,
    slot: Slot,
}

impl Place {
    /// The stage that the connection has newly come to, if any.
    ///
    /// The task is registered before each look, so that no stage is missed.
    pub(crate) fn poll_stage(&mut self, cx: &mut Context<'_>) -> Option<Stage> {
        let stage = self.look(cx);
        if stage == self.seen {
            return None;
        }
        self.seen = stage;
        Some(match stage {
            0 => Stage::Serving,
            1 => Stage::Draining,
            2 => Stage::Ending,
            _ => Stage::Closed,
        })
    }

    /// Ready once a connection that carries nothing yet is to be closed.
    pub(crate) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.look(cx) >= Stage::Ending as u8 { Poll::Ready(()) } else { Poll::Pending }
    }

    fn look(&self, cx: &Context<'_>) -> u8 {
        self.carried.0.task.register(cx.waker());
        self.carried.0.stage.load(Ordering::Acquire)
    }

    /// Takes what TLS says of the connection.
    ///
    /// # Errors
    /// When somebody knows the connection already, which nobody does before its handshake is done.
    pub(crate) fn secured(&mut self, secured: Secured) -> Result<(), &'static str> {
        let connection = Arc::get_mut(&mut self.connection).ok_or("failed")?;
        connection.secured = Some(secured);
        Ok(())
    }

    /// What responses say of other ways to the same service. Nobody else has the connection yet.
    pub(crate) fn offer(&mut self, alt_svc: HeaderValue) {
        if let Some(connection) = Arc::get_mut(&mut self.connection) {
            connection.alt_svc = Some(alt_svc);
        }
    }

    /// Takes what a trusted proxy says of its client.
    ///
    /// # Errors
    /// When the client has too many connections already; the word in metrics.
    pub(crate) fn told(&mut self, peer: SocketAddr, limits: &Limits) -> Result<(), &'static str> {
        let connection = Arc::get_mut(&mut self.connection).ok_or("failed")?;
        connection.tell_peer(peer);
        let table = &self.slot.table;
        let mut open = table.lock();
        let counted = open.counted(connection, limits).map_err(|full| {
            table.metrics.refused.increment(full.name());
            full.name()
        })?;
        open.count(counted);
        open.uncount(std::mem::replace(&mut self.slot.address, counted));
        Ok(())
    }

    /// The PROXY header is read, with this outcome.
    pub(crate) fn introduced(&self, outcome: &'static str) {
        self.slot.table.metrics.proxy_headers.increment(outcome);
    }

    /// The handshake is over, with this outcome.
    pub(crate) fn shaken(&self, outcome: &'static str) {
        self.slot.table.lock().shaking.remove(&self.slot.id);
        self.slot.table.metrics.handshakes.increment(outcome);
    }

    /// Counts a connection that was closed for what its client did.
    pub(crate) fn count_reset(&self, why: &'static str) {
        self.slot.table.resets.increment(why);
    }
}

/// Counts what a connection carries.
#[derive(Debug, Clone)]
pub(crate) struct Carried(Arc<Control>);

impl Carried {
    /// One more call. Only the connection's own task writes it.
    pub(crate) fn mark(&self) {
        self.0.carried.store(self.calls() + 1, Ordering::Relaxed);
    }

    /// Calls ever carried.
    pub(crate) fn calls(&self) -> u64 {
        self.0.carried.load(Ordering::Relaxed)
    }

    /// Requests under way, where the connection's codec doesn't tell.
    pub(crate) fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }

    /// A request under way until the value drops.
    pub(crate) fn run(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        Running(self.clone())
    }
}

/// One request under way.
#[derive(Debug)]
pub(crate) struct Running(Carried);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Slot {
    table: Arc<Table>,
    id: u64,
    /// The address that it counts for.
    address: Option<IpAddr>,
    _counted: Held,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.table.lock();
        open.connections.remove(&self.id);
        open.shaking.remove(&self.id);
        if open.connections.is_empty() {
            self.table.emptied.notify_waiters();
        }
        open.uncount(self.address);
    }
}
/// Addresses must be proven once a quarter of the handshakes that may be under way are.
const RETRY_SHARE: usize = 4;

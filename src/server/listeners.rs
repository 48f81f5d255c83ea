//! The sockets that are open: reconciled with each configuration, drained at the end.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::admin::Door;
use crate::admin::Readiness;
use crate::admin::Scope;
use crate::admin::Surface;
use crate::admin::pb::ListenerStatus;
use crate::call::Trusted;
use crate::config::At;
use crate::config::Config;
use crate::config::Diag;
use crate::config::types::Listener;
use crate::listen::Acceptor;
use crate::listen::Bound;
use crate::listen::Lanes;
use crate::listen::Limits;
use crate::listen::ProxyProtocol;
use crate::listen::Stage;
use crate::listen::Terms;
use crate::listen::Tls;
use crate::listen::accept::Stop;
use crate::listen::endpoint;
use crate::listen::table::Table;
use crate::listen::tls;
use crate::listen::tls::ADMIN;
use crate::listen::worker;
use crate::observe::Counter;
use crate::observe::Counters;
use crate::observe::Observe;
use crate::outbound::acme;

/// Every open socket.
pub(super) struct Listeners {
    accepting: Handle,
    control: Handle,
    observe: Arc<Observe>,
    readiness: Arc<Readiness>,
    door: Door,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    lanes: Option<Lanes>,
    open: HashMap<String, Open>,
    /// Tables of listeners that were removed, until their connections are gone.
    leaving: Vec<Arc<Table>>,
}

struct Open {
    asked: SocketAddr,
    terms: Arc<ArcSwap<Terms>>,
    bound: SocketAddr,
    table: Arc<Table>,
    stop: watch::Sender<Stop>,
    /// Ends accepting over QUIC, where that is spoken.
    quic: Option<watch::Sender<Stop>>,
    accepted: Counter,
    refused: Counters,
}

/// Sockets that are bound, not yet accepted from.
pub(super) struct Prepared {
    fresh: Vec<Fresh>,
    kept: Vec<Kept>,
}

struct Fresh {
    name: String,
    asked: SocketAddr,
    terms: Terms,
    bound: Bound,
    quic: Option<UdpSocket>,
    kind: Kind,
}

/// A listener that stays, with the terms of connections to come.
struct Kept {
    name: String,
    terms: Terms,
    /// The socket of HTTP/3 where it is new.
    quic: Option<UdpSocket>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gateway,
    Own(Scope),
}

impl Prepared {
    fn keeps(&self, name: &str) -> bool {
        self.kept.iter().any(|kept| kept.name == name)
    }
}

struct Wanted<'a> {
    name: String,
    address: SocketAddr,
    at: &'a At,
    terms: Terms,
    http3: bool,
    kind: Kind,
}

impl Listeners {
    pub(super) fn new(
        accepting: Handle,
        control: Handle,
        lanes: Lanes,
        readiness: Arc<Readiness>,
        observe: Arc<Observe>,
        door: Door,
    ) -> Self {
        let inner = Mutex::new(Inner { lanes: Some(lanes), ..Inner::default() });
        Self { accepting, control, observe, readiness, door, inner }
    }

    /// Reads certificates, and binds what a configuration adds, before anything is changed.
    pub(super) fn prepare(&self, config: &Config, acme: &acme::Prepared, diag: &mut Diag) -> Prepared {
        let secured = tls::read(config, &self.secured(), acme, diag);
        let inner = self.lock();
        let (mut fresh, mut kept) = (Vec::new(), Vec::new());
        for Wanted { name, address, at, mut terms, http3, kind } in wanted(config, &secured) {
            if let Some(open) = inner.open.get(&name).filter(|open| open.asked == address) {
                terms.alt_svc = http3.then(|| alt_svc(open.bound.port()));
                let quic = match open.quic {
                    None if http3 => bind_udp(open.bound, at, diag),
                    _ => None,
                };
                kept.push(Kept { name, terms, quic });
                continue;
            }
            if let Some((bound, quic)) = bind(address, http3, at, diag) {
                terms.alt_svc = http3.then(|| alt_svc(bound.address.port()));
                fresh.push(Fresh { name, asked: address, terms, bound, quic, kind });
            }
        }
        Prepared { fresh, kept }
    }

    /// Accepts on the new sockets, and closes those that are no longer wanted.
    pub(super) fn commit(&self, prepared: Prepared, config: &Config) {
        let mut inner = self.lock();
        let Some(lanes) = inner.lanes.clone() else { return };
        let gone: Vec<String> = inner.open.keys().filter(|name| !prepared.keeps(name)).cloned().collect();
        for name in gone {
            if let Some(mut open) = inner.open.remove(&name) {
                open.close();
                open.table.tell(Stage::Draining);
                inner.leaving.push(open.table);
            }
        }
        inner.leaving.retain(|table| !table.is_empty());
        for Kept { name, terms, quic } in prepared.kept {
            if let Some(open) = inner.open.get_mut(&name) {
                open.terms.store(Arc::new(terms));
                if let Some(socket) = quic {
                    open.quic = Some(self.open_quic(open.acceptor(), socket, &lanes));
                }
            }
        }
        self.readiness.status_apart(config.status.is_some());
        for fresh in prepared.fresh {
            let name = fresh.name.clone();
            inner.open.insert(name, self.open(fresh, &lanes, config));
        }
    }

    fn open(&self, fresh: Fresh, lanes: &Lanes, config: &Config) -> Open {
        let Fresh { name, asked, terms, bound, quic, kind } = fresh;
        let metrics = self.observe.metrics.listener(&name);
        let resets = self.observe.metrics.client_resets.clone();
        let table = Table::new(&name, metrics.clone(), resets);
        let terms = Arc::new(ArcSwap::from_pointee(terms));
        let (stop, stopped) = watch::channel(Stop::No);
        let (accepted, refused) = (metrics.accepted, metrics.refused);
        let mut open =
            Open { asked, terms, bound: bound.address, table, stop, quic: None, accepted, refused };
        let acceptor = open.acceptor();
        let own = match kind {
            Kind::Gateway => None,
            Kind::Own(scope) => {
                let shown = config.observe.metrics.then(|| self.observe.metrics.clone());
                Some(Arc::new(Surface::new(scope, self.readiness.clone(), shown, self.door.clone())))
            }
        };
        match own {
            None => {
                self.accepting.spawn(accept(acceptor, bound, lanes.clone(), stopped));
            }
            Some(surface) => {
                let (lanes, queues) = Lanes::new(1);
                for queue in queues {
                    self.control.spawn(worker::run(queue, surface.clone(), None));
                }
                self.control.spawn(accept(acceptor, bound, lanes, stopped));
            }
        }
        open.quic = quic.map(|socket| self.open_quic(open.acceptor(), socket, lanes));
        let (address, http3) = (open.bound, open.quic.is_some());
        tracing::info!(listener = %name, %address, http3, "listening");
        open
    }

    /// Accepts over QUIC until what is returned says so, or is dropped.
    fn open_quic(&self, acceptor: Acceptor, socket: UdpSocket, lanes: &Lanes) -> watch::Sender<Stop> {
        let (stop, stopped) = watch::channel(Stop::No);
        let lanes = lanes.clone();
        self.accepting.spawn(async move {
            if let Err(error) = acceptor.run_quic(socket, lanes, stopped).await {
                tracing::error!(%error, "HTTP/3 of a listener has ended");
            }
        });
        stop
    }

    /// TLS of the open listeners, by name.
    fn secured(&self) -> HashMap<String, Arc<Tls>> {
        let inner = self.lock();
        let secured =
            inner.open.iter().filter_map(|(name, open)| Some((name.clone(), open.terms.load().tls.clone()?)));
        secured.collect()
    }

    pub(super) fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.lock().open.get(listener).map(|open| open.bound)
    }

    pub(super) fn admin(&self) -> Option<SocketAddr> {
        self.address(ADMIN)
    }

    pub(super) fn status(&self) -> Option<SocketAddr> {
        self.address(STATUS)
    }

    /// Each open listener: its name, where it listens, how many connections it has, and whether it has TLS and HTTP/3.
    pub(super) fn statuses(&self) -> Vec<ListenerStatus> {
        let inner = self.lock();
        let mut all: Vec<ListenerStatus> = inner
            .open
            .iter()
            .map(|(name, open)| ListenerStatus {
                name: name.clone(),
                address: open.bound.to_string(),
                connections: i64::try_from(open.table.len()).unwrap_or(i64::MAX),
                tls: open.terms.load().tls.is_some(),
                http3: open.quic.is_some(),
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    pub(super) fn connections(&self) -> Vec<usize> {
        self.lock().lanes.as_ref().map(Lanes::open).unwrap_or_default()
    }

    /// The drain of the whole process, in its steps.
    pub(super) async fn drain(&self, timeout: Duration) {
        self.readiness.draining();
        let end = tokio::time::Instant::now() + timeout;
        // Who hasn't heard of it yet may still connect for a moment, and is served.
        self.tell(Stage::Draining, Own::Kept);
        tokio::time::sleep(GRACE.min(timeout / 4)).await;
        for open in self.lock().open.values_mut().filter(|open| !open.is_own()) {
            open.close();
        }
        self.tell(Stage::Draining, Own::Kept);
        if tokio::time::timeout_at(end, self.emptied()).await.is_err() {
            self.tell(Stage::Ending, Own::Kept);
            let _ = tokio::time::timeout(LAST_WORDS, self.emptied()).await;
        }
        self.tell(Stage::Closed, Own::Closed);
        let mut inner = self.lock();
        inner.open.values_mut().for_each(Open::close);
        inner.open.clear();
        inner.lanes = None;
    }

    fn tell(&self, stage: Stage, own: Own) {
        let inner = self.lock();
        for open in inner.open.values() {
            if !open.is_own() || own == Own::Closed {
                open.table.tell(stage);
            }
        }
        for table in &inner.leaving {
            table.tell(stage);
        }
    }

    async fn emptied(&self) {
        let tables: Vec<Arc<Table>> = {
            let inner = self.lock();
            let open = inner.open.values().filter(|open| !open.is_own()).map(|open| open.table.clone());
            open.chain(inner.leaving.iter().cloned()).collect()
        };
        for table in tables {
            table.emptied().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of probes and metrics during a drain: they are answered to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Kept,
    Closed,
}

impl Open {
    fn acceptor(&self) -> Acceptor {
        Acceptor {
            table: self.table.clone(),
            terms: self.terms.clone(),
            accepted: self.accepted.clone(),
            refused: self.refused.clone(),
        }
    }

    /// Takes no more connections.
    fn close(&mut self) {
        let _ = self.stop.send(Stop::Yes);
        self.quic = None;
    }

    fn is_own(&self) -> bool {
        matches!(self.table.listener(), ADMIN | STATUS)
    }
}

async fn accept(acceptor: Acceptor, bound: Bound, lanes: Lanes, stopped: watch::Receiver<Stop>) {
    if let Err(error) = acceptor.run(bound, lanes, stopped).await {
        tracing::error!(%error, "a listener has ended");
    }
}

fn wanted<'a>(config: &'a Config, secured: &HashMap<String, Arc<Tls>>) -> Vec<Wanted<'a>> {
    let trusted = Trusted::new(&config.server.trusted_proxies);
    let gateway = |listener: &'a Listener| Wanted {
        name: listener.name.clone(),
        address: listener.address,
        at: &listener.address_at,
        terms: Terms {
            limits: listener.limits.clone(),
            tls: secured.get(&listener.name).cloned(),
            alt_svc: None,
            proxy_protocol: listener.proxy_protocol,
            trusted: trusted.clone(),
        },
        http3: listener.http3,
        kind: Kind::Gateway,
    };
    let mut all: Vec<Wanted<'_>> = config.listeners.iter().map(gateway).collect();
    let terms = Terms {
        limits: own_limits(),
        tls: None,
        alt_svc: None,
        proxy_protocol: ProxyProtocol::No,
        trusted: Trusted::default(),
    };
    let admin = &config.admin;
    all.push(Wanted {
        name: ADMIN.into(),
        address: admin.address,
        at: &admin.address_at,
        terms: Terms {
            // Uploads are large, and come from afar.
            limits: Limits { stream_window: 1 << 20, connection_window: 4 << 20, ..own_limits() },
            tls: secured.get(ADMIN).cloned(),
            ..terms.clone()
        },
        http3: false,
        kind: Kind::Own(Scope::Admin),
    });
    if let Some(status) = &config.status {
        all.push(Wanted {
            name: STATUS.into(),
            address: status.address,
            at: &status.address_at,
            terms,
            http3: false,
            kind: Kind::Own(Scope::Status),
        });
    }
    all
}

/// Binds the sockets of a new listener; `None` where a fault was reported.
fn bind(address: SocketAddr, http3: bool, at: &At, diag: &mut Diag) -> Option<(Bound, Option<UdpSocket>)> {
    // A free port of TCP may be taken in UDP: with port 0 another one does as well.
    let attempts = if http3 && address.port() == 0 { FREE_PORT_ATTEMPTS } else { 1 };
    for attempt in 1..=attempts {
        let bound = match Bound::bind(address) {
            Ok(bound) => bound,
            Err(error) => {
                diag.fault(at, format!("can't listen on {address}: {error}"), IN_USE);
                return None;
            }
        };
        if !http3 {
            return Some((bound, None));
        }
        match endpoint::bind(bound.address) {
            Ok(quic) => return Some((bound, Some(quic))),
            Err(_) if attempt < attempts => {}
            Err(error) => return unbound(bound.address, &error, at, diag),
        }
    }
    None
}

fn bind_udp(address: SocketAddr, at: &At, diag: &mut Diag) -> Option<UdpSocket> {
    endpoint::bind(address).map_or_else(|error| unbound(address, &error, at, diag), Some)
}

fn unbound<T>(address: SocketAddr, error: &io::Error, at: &At, diag: &mut Diag) -> Option<T> {
    diag.fault(at, format!("can't listen on {address} over UDP, for HTTP/3: {error}"), IN_USE);
    None
}

/// Tells clients of HTTP/3 on a port, for a day (RFC 9114, section 3.1.1).
fn alt_svc(port: u16) -> HeaderValue {
    let text = format!("h3=\":{port}\"; ma=86400");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("clear"))
}

fn own_limits() -> Limits {
    Limits {
        max_connections: std::num::NonZeroUsize::MIN.saturating_add(255),
        max_connections_per_address: None,
        max_streams: std::num::NonZeroU32::MIN.saturating_add(99),
        stream_window: 64 << 10,
        connection_window: 256 << 10,
        header_bytes: 16 << 10,
        header_count: std::num::NonZeroUsize::MIN.saturating_add(99),
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
    }
}

/// What to do about an address that is taken.
/// How often a port is looked for that is free in TCP and UDP.
const FREE_PORT_ATTEMPTS: usize = 16;
const IN_USE: &str = "choose another address, or end what uses this one";
/// The names of the gateway's own listeners in logs and metrics.
const STATUS: &str = "status";
/// How long new connections are taken after a drain has begun.
const GRACE: Duration = Duration::from_secs(1);
/// How long calls that are ended at the end of a drain may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(2);

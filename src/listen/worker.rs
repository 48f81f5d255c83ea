//! One worker: takes the connections that are handed to it and serves them to their end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::call::Service;
use crate::listen::Limits;
use crate::listen::Place;
use crate::listen::ProxyProtocol;
use crate::listen::Terms;
use crate::listen::guarded::Guard;
use crate::listen::guarded::Guarded;
use crate::listen::h1;
use crate::listen::h2;
use crate::listen::h3;
use crate::listen::held::Meter;
use crate::listen::held::Metered;
use crate::listen::proxied::Introduced;
use crate::listen::proxied::introduce;
use crate::listen::tls::Shaken;
use crate::listen::tls::Spoken;
use crate::listen::tls::Tls;
use crate::listen::tls::shake;
use crate::wire::h1_guard::H1Guard;
use crate::wire::h1_guard::Limits as H1Limits;

/// A connection on its way to its worker.
pub struct Accepted {
    pub(crate) carrier: Carrier,
    pub(crate) place: Place,
    pub(crate) terms: Arc<Terms>,
    pub(crate) counted: Counted,
}

/// What carries a connection.
pub(crate) enum Carrier {
    /// A socket, not blocking and not registered with a runtime yet.
    Tcp(std::net::TcpStream),
    /// A client that greeted a QUIC endpoint, and how it is shaken hands for.
    Quic(Box<quinn::Incoming>, Arc<quinn::ServerConfig>),
}

/// The ways to the workers; a connection takes the one with the fewest.
#[derive(Clone)]
pub struct Lanes(Arc<[Lane]>);

struct Lane {
    open: Arc<AtomicUsize>,
    queue: mpsc::Sender<Accepted>,
}

impl Lanes {
    /// Ways to `workers` workers, and the end of each where its worker waits.
    pub fn new(workers: usize) -> (Self, Vec<mpsc::Receiver<Accepted>>) {
        let mut ends = Vec::with_capacity(workers);
        let lanes = (0..workers).map(|_| {
            let (queue, end) = mpsc::channel(QUEUE_MAX);
            ends.push(end);
            Lane { open: Arc::default(), queue }
        });
        (Self(lanes.collect()), ends)
    }

    /// Open connections of each worker.
    pub fn open(&self) -> Vec<usize> {
        self.0.iter().map(|lane| lane.open.load(Ordering::Relaxed)).collect()
    }

    /// Hands a connection to the worker that has the fewest.
    pub(crate) fn hand(&self, carrier: Carrier, place: Place, terms: Arc<Terms>) -> Handed {
        let Some(lane) = self.0.iter().min_by_key(|lane| lane.open.load(Ordering::Relaxed)) else {
            return Handed::NoRoom;
        };
        lane.open.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(lane.open.clone());
        match lane.queue.try_send(Accepted { carrier, place, terms, counted }) {
            Ok(()) => Handed::Over,
            Err(_) => Handed::NoRoom,
        }
    }
}

/// Whether a worker took a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handed {
    Over,
    NoRoom,
}

/// One open connection in a worker's count.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves what comes until the ways to this worker are closed and the last connection is. A worker that has its
/// thread alone may have a meter.
pub async fn run<S: Service>(
    mut queue: mpsc::Receiver<Accepted>,
    service: Arc<S>,
    meter: Option<Arc<Meter>>,
) {
    let mut connections = JoinSet::new();
    let mut open = true;
    // Arming a timer that is earlier than all others costs the runtime a write to its own event descriptor.
    // With one that is always near, the deadlines of calls never are.
    let mut near = tokio::time::interval(NEAR);
    near.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while open || !connections.is_empty() {
        tokio::select! {
            accepted = queue.recv(), if open => match accepted {
                Some(accepted) => {
                    connections.spawn(Metered::new(meter.clone(), serve(accepted, service.clone())));
                }
                None => open = false,
            },
            _ = near.tick() => {}
            // A connection that panicked took only itself down.
            _ = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn serve<S: Service>(accepted: Accepted, service: Arc<S>) {
    let Accepted { carrier, mut place, terms, counted } = accepted;
    let socket = match carrier {
        Carrier::Tcp(socket) => socket,
        Carrier::Quic(incoming, server) => {
            if let Some(tls) = &terms.tls {
                Box::pin(h3::serve(*incoming, server, tls, service, place, &terms.limits)).await;
            }
            drop(counted);
            return;
        }
    };
    let Ok(mut socket) = TcpStream::from_std(socket) else { return };
    if terms.proxy_protocol == ProxyProtocol::Required
        && Box::pin(introduce(&mut socket, &mut place, &terms.limits)).await == Introduced::No
    {
        return;
    }
    match &terms.tls {
        None => converse(socket, Spoken::Unsaid, service, place, &terms.limits).await,
        // On the heap, so that connections in the clear are no larger for it.
        Some(tls) => Box::pin(secure(socket, tls, service, place, &terms.limits)).await,
    }
    drop(counted);
}

async fn secure<S: Service>(
    socket: TcpStream,
    tls: &Tls,
    service: Arc<S>,
    mut place: Place,
    limits: &Limits,
) {
    if let Some(Shaken { io, spoken }) = shake(socket, tls, &mut place).await {
        converse(io, spoken, service, place, limits).await;
    }
}

async fn converse<S, T>(mut io: T, spoken: Spoken, service: Arc<S>, place: Place, limits: &Limits)
where
    S: Service,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let told = match spoken {
        Spoken::H2 => Some((Version::H2, Bytes::new())),
        Spoken::H1 | Spoken::Unsaid => tokio::select! {
            told = tell(&mut io, limits) => told,
            () = std::future::poll_fn(|cx| place.poll_closed(cx)) => None,
        },
    };
    match told {
        Some((Version::H2, ahead)) if spoken != Spoken::H1 => {
            h2::serve(Guarded::new(io, ahead, Guard::h2()), service, place, limits).await;
        }
        Some((_, ahead)) => {
            let guard = Guard::h1(H1Guard::new(h1_limits(limits)));
            h1::serve(Guarded::new(io, ahead, guard), service, place, limits).await;
        }
        None => end(&mut io),
    }
}

/// Ends what is said in order, as TLS wants it (RFC 8446, section 6.1), if the socket takes it at once.
pub(crate) fn end<T: AsyncWrite + Unpin>(io: &mut T) {
    let _ = Pin::new(io).poll_shutdown(&mut Context::from_waker(Waker::noop()));
}

fn h1_limits(limits: &Limits) -> H1Limits {
    H1Limits {
        header_bytes: limits.header_bytes as usize,
        header_count: limits.header_count.get(),
        ..H1Limits::default()
    }
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    H1,
    H2,
}

/// Reads until the first bytes say which HTTP it is; `None` when the client left, or took too long. One that has
/// said nothing yet keeps its connection ready for a call, and is as idle as after one.
async fn tell<T: AsyncRead + Unpin>(io: &mut T, limits: &Limits) -> Option<(Version, Bytes)> {
    let mut ahead = BytesMut::with_capacity(PREFACE.len());
    let first = tokio::time::timeout(limits.idle_timeout, io.read_buf(&mut ahead)).await.ok()?.ok()?;
    if first == 0 {
        return None;
    }
    tokio::time::timeout(limits.header_timeout, go_on(io, ahead)).await.ok()?
}

/// Reads until the first bytes say which HTTP it is.
pub(crate) async fn read_version<T: AsyncRead + Unpin>(io: &mut T) -> Option<(Version, Bytes)> {
    let mut ahead = BytesMut::with_capacity(PREFACE.len());
    if io.read_buf(&mut ahead).await.ok()? == 0 { None } else { go_on(io, ahead).await }
}

async fn go_on<T: AsyncRead + Unpin>(io: &mut T, mut ahead: BytesMut) -> Option<(Version, Bytes)> {
    loop {
        let seen = ahead.len().min(PREFACE.len());
        if ahead[..seen] != PREFACE[..seen] {
            return Some((Version::H1, ahead.freeze()));
        }
        if seen == PREFACE.len() {
            return Some((Version::H2, ahead.freeze()));
        }
        if io.read_buf(&mut ahead).await.ok()? == 0 {
            return None;
        }
    }
}

/// The client connection preface (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How far the nearest timer of a worker is at most.
const NEAR: Duration = Duration::from_secs(1);
/// Connections that may wait for one worker; more are refused.
const QUEUE_MAX: usize = 1024;

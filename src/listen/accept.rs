//! Accepts connections and hands them to the workers.

use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::Domain;
use socket2::Protocol;
use socket2::Socket;
use socket2::Type;
use tokio::sync::watch;

use crate::listen::Lanes;
use crate::listen::ProxyProtocol;
use crate::listen::Terms;
use crate::listen::table::Table;
use crate::listen::worker::Carrier;
use crate::listen::worker::Handed;
use crate::net::set_up;
use crate::observe::Counter;
use crate::observe::Counters;

/// A listening socket that nobody accepts from yet.
#[derive(Debug)]
pub struct Bound {
    socket: TcpListener,
    /// Where it listens; the port is the real one where 0 was asked for.
    pub address: SocketAddr,
}

impl Bound {
    /// Binds `address`.
    ///
    /// # Errors
    /// As the system says, most often because the port is in use.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }
}

/// Accepts from one socket.
pub struct Acceptor {
    /// Where it listens, its limits, and whose connections it counts.
    pub table: Arc<Table>,
    /// What holds for each connection to come.
    pub terms: Arc<ArcSwap<Terms>>,
    /// Connections taken.
    pub accepted: Counter,
    /// Connections refused, by reason.
    pub refused: Counters,
}

impl Acceptor {
    /// Accepts until `stop` says so or its sender is gone.
    ///
    /// # Errors
    /// When the socket can't be registered with the runtime.
    pub async fn run(self, bound: Bound, lanes: Lanes, mut stop: watch::Receiver<Stop>) -> io::Result<()> {
        let socket = tokio::net::TcpListener::from_std(bound.socket)?;
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop == Stop::Yes) => return Ok(()),
                accepted = socket.accept() => accepted,
            };
            // The worker registers the socket with its own runtime.
            match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
                Ok((stream, peer)) => self.take(stream, peer, &lanes),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Out of descriptors or memory: nothing is gained by asking again at once.
                    self.refused.increment("accept_failed");
                    tracing::warn!(%error, "accepting pauses for {PAUSE:?}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn take(&self, socket: TcpStream, peer: SocketAddr, lanes: &Lanes) {
        let terms = self.terms.load_full();
        if terms.proxy_protocol == ProxyProtocol::Required && !terms.trusted.has(peer.ip()) {
            return self.refused.increment("untrusted_peer");
        }
        let mut place = match self.table.admit(peer, &terms) {
            Ok(place) => place,
            Err(full) => return self.refused.increment(full.name()),
        };
        if set_up(&socket).is_err() {
            return self.refused.increment("socket_gone");
        }
        if let Some(alt_svc) = &terms.alt_svc {
            place.offer(alt_svc.clone());
        }
        match lanes.hand(Carrier::Tcp(socket), place, terms) {
            Handed::Over => self.accepted.increment(),
            Handed::NoRoom => self.refused.increment("workers_busy"),
        }
    }
}

/// Whether an acceptor is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It goes on.
    No,
    /// It ends, and its socket closes.
    Yes,
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

/// Connections that the system keeps until they are accepted.
const BACKLOG: i32 = 4096;
/// How long accepting rests when the system is out of something.
const PAUSE: Duration = Duration::from_millis(100);

//! Accepts HTTP/3 connections: one UDP socket an address, whose connections are handed to the workers.
//!
//! The endpoint reads the socket and knows the connections by their IDs, so a client that moves to another
//! address stays with its worker.

use std::io;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn::IdleTimeout;
use quinn::Incoming;
use quinn::TransportConfig;
use quinn::VarInt;
use socket2::Domain;
use socket2::Protocol;
use socket2::Socket;
use socket2::Type;
use tokio::sync::watch;

use crate::listen::Acceptor;
use crate::listen::Lanes;
use crate::listen::Limits;
use crate::listen::Terms;
use crate::listen::accept::Stop;
use crate::listen::worker::Carrier;
use crate::listen::worker::Handed;

/// Binds the UDP socket of a listener.
///
/// # Errors
/// As the system says, most often because the port is in use.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // All connections of an address share it. The system gives what it allows.
    let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl Acceptor {
    /// Accepts HTTP/3 connections until `stop` says so or its sender is gone. While the terms have none of it,
    /// connections are refused; the socket is kept, since those that were open go on.
    ///
    /// # Errors
    /// When the socket can't be registered with the runtime.
    pub async fn run_quic(
        self,
        socket: UdpSocket,
        lanes: Lanes,
        mut stop: watch::Receiver<Stop>,
    ) -> io::Result<()> {
        let mut terms = self.terms.load_full();
        let mut server = server(&terms, None);
        let runtime = Arc::new(quinn::TokioRuntime);
        let config = quinn::EndpointConfig::default();
        let endpoint = quinn::Endpoint::new(config, server.as_deref().cloned(), socket, runtime)?;
        loop {
            let incoming = tokio::select! {
                _ = stop.wait_for(|stop| *stop == Stop::Yes) => break,
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            let now = self.terms.load();
            if !Arc::ptr_eq(&terms, &now) {
                terms = now.clone();
                server = self::server(&terms, server.as_deref());
                endpoint.set_server_config(server.as_deref().cloned());
            }
            match &server {
                Some(server) => self.take_quic(incoming, server, &terms, &lanes),
                None => incoming.refuse(),
            }
        }
        // What is open goes on; the rest is refused.
        endpoint.set_server_config(None);
        Ok(())
    }

    fn take_quic(
        &self,
        incoming: Incoming,
        server: &Arc<quinn::ServerConfig>,
        terms: &Arc<Terms>,
        lanes: &Lanes,
    ) {
        // Addresses may be forged. Under load a client proves its own before anything is kept of it.
        if !incoming.remote_address_validated() && self.table.is_loaded(terms) {
            if incoming.retry().is_ok() {
                self.refused.increment("retry");
            }
            return;
        }
        let place = match self.table.admit(incoming.remote_address(), terms) {
            Ok(place) => place,
            Err(full) => {
                incoming.refuse();
                return self.refused.increment(full.name());
            }
        };
        let carrier = Carrier::Quic(Box::new(incoming), server.clone());
        match lanes.hand(carrier, place, terms.clone()) {
            Handed::Over => self.accepted.increment(),
            Handed::NoRoom => self.refused.increment("workers_busy"),
        }
    }
}

/// How connections of these terms are shaken hands for; `None` where HTTP/3 isn't spoken.
///
/// The keys of Retry tokens are those of `before`: a client that was sent one comes back with it after a change too.
fn server(terms: &Terms, before: Option<&quinn::ServerConfig>) -> Option<Arc<quinn::ServerConfig>> {
    terms.alt_svc.as_ref()?;
    let quic = terms.tls.as_ref()?.quic.clone();
    let mut server = match before {
        Some(before) => before.clone(),
        None => quinn::ServerConfig::with_crypto(quic.clone()),
    };
    server.crypto = quic;
    server.transport_config(Arc::new(transport(&terms.limits)));
    Some(Arc::new(server))
}

fn transport(limits: &Limits) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.max_streams.get()))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(limits.stream_window))
        .receive_window(VarInt::from_u32(limits.connection_window))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(DEAD_MS))))
        .keep_alive_interval(Some(PROBE_EVERY));
    transport
}

/// What a socket may hold, in each direction.
const SOCKET_BYTES: usize = 4 << 20;
/// Streams of the codec's own: control and two of QPACK, and some that mean nothing.
const UNI_STREAMS_MAX: u32 = 8;
/// Bytes of one connection that are sent and not acknowledged.
const SEND_WINDOW: u64 = 1 << 20;
/// A client that is silent for so long is dead, in milliseconds.
const DEAD_MS: u32 = 30_000;
/// A silent client is asked this often whether it lives.
const PROBE_EVERY: Duration = Duration::from_secs(10);

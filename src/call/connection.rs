//! What is known of the client's connection, shared by all its calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use http::HeaderValue;

use crate::call::ClientCertificate;
use crate::call::Origin;
use crate::call::Scheme;
use crate::call::Secured;
use crate::call::Trusted;

/// One client connection.
#[derive(Debug)]
pub struct Connection {
    /// Who connected: the other end of the socket, or whom a trusted proxy named in a PROXY header.
    pub peer: SocketAddr,
    /// The other end of the socket itself.
    pub socket: SocketAddr,
    /// The name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The most header fields that a request may have.
    pub header_count_max: usize,
    /// What TLS says of it; `None` is in the clear.
    pub secured: Option<Secured>,
    /// What responses say of other ways to the same service (RFC 7838).
    pub alt_svc: Option<HeaderValue>,
    /// Who may say on whose behalf it calls, as it was when the connection began.
    pub trusted: Trusted,
    /// Whether the peer is one of them.
    is_trusted: bool,
    /// The peer's address as text.
    peer_text: HeaderValue,
    ending: AtomicBool,
}

impl Connection {
    /// A connection that goes on.
    pub fn new(peer: SocketAddr, listener: Arc<str>, header_count_max: usize, trusted: Trusted) -> Self {
        Self {
            peer,
            socket: peer,
            listener,
            header_count_max,
            secured: None,
            alt_svc: None,
            is_trusted: trusted.has(peer.ip()),
            trusted,
            peer_text: text(peer),
            ending: AtomicBool::new(false),
        }
    }

    /// A trusted proxy at the other end of the socket says who connected to it.
    pub fn tell_peer(&mut self, peer: SocketAddr) {
        self.peer = peer;
        self.is_trusted = self.trusted.has(peer.ip());
        self.peer_text = text(peer);
    }

    /// Whether the peer may say on whose behalf it calls.
    pub fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// The peer's address, as upstreams are told of it.
    pub fn peer_text(&self) -> &HeaderValue {
        &self.peer_text
    }

    /// Who calls, where no header says it.
    pub fn origin(&self) -> Origin {
        let scheme = if self.secured.is_some() { Scheme::Https } else { Scheme::Http };
        Origin { address: self.peer.ip().to_canonical(), scheme }
    }

    /// The client's certificate, if it showed one.
    pub fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.secured.as_ref()?.client.as_deref()
    }

    /// Tells the calls, at their next poll, that their time is over.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether the calls of this connection are to end now.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }
}

/// The address of a peer without its port.
fn text(peer: SocketAddr) -> HeaderValue {
    let text = peer.ip().to_canonical().to_string();
    HeaderValue::try_from(text).expect("digits, letters, dots and colons")
}

//! What is known of the client's connection, shared by all its calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use http::HeaderValue;

use crate::call::ClientCertificate;
use crate::call::Secured;

/// One client connection.
#[derive(Debug)]
pub struct Connection {
    /// The address of the other end of the socket.
    pub peer: SocketAddr,
    /// The name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The most header fields that a request may have.
    pub header_count_max: usize,
    /// What TLS says of it; `None` is in the clear.
    pub secured: Option<Secured>,
    /// What responses say of other ways to the same service (RFC 7838).
    pub alt_svc: Option<HeaderValue>,
    ending: AtomicBool,
}

impl Connection {
    /// A connection that goes on.
    pub fn new(peer: SocketAddr, listener: Arc<str>, header_count_max: usize) -> Self {
        Self {
            peer,
            listener,
            header_count_max,
            secured: None,
            alt_svc: None,
            ending: AtomicBool::new(false),
        }
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

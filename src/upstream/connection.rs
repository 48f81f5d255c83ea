//! One connection to an endpoint, and the places on it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use h2::client::SendRequest;
use http::Request;

use crate::upstream::endpoint::Endpoint;

/// What a connection, its task and its leases share.
#[derive(Debug, Default)]
pub(super) struct State {
    active: AtomicUsize,
    closed: AtomicBool,
}

impl State {
    /// Calls that run on it.
    pub(super) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Takes no more calls.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// One open connection.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) state: Arc<State>,
}

impl Connection {
    /// A place for one call.
    pub(super) fn lease(&self, endpoint: &Arc<Endpoint>) -> Lease {
        self.state.active.fetch_add(1, Ordering::Relaxed);
        Lease { sender: self.sender.clone(), state: self.state.clone(), endpoint: endpoint.clone() }
    }
}

/// A place for one call on a connection; dropping it gives the place back.
pub struct Lease {
    sender: SendRequest<Bytes>,
    state: Arc<State>,
    endpoint: Arc<Endpoint>,
}

impl Lease {
    /// Opens the stream of the call.
    ///
    /// # Errors
    /// When the connection takes no new streams; nothing was sent then.
    pub fn open(
        &mut self,
        head: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.sender.send_request(head, end).inspect_err(|_| self.state.close())
    }

    /// The connection takes no more calls: its endpoint said so, or it broke.
    pub fn retire(&self) {
        self.state.close();
    }

    /// Where it leads.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.state.active.fetch_sub(1, Ordering::Relaxed);
    }
}

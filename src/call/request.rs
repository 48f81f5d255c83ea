//! One RPC in gRPC terms, whatever the client spoke.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use http::HeaderMap;
use http::uri::Authority;

use crate::call::Connection;
use crate::call::Dialect;
use crate::call::Method;
use crate::call::Origin;

/// A call as the policies see it and the upstream gets it.
#[derive(Debug)]
pub struct Call {
    /// What is called.
    pub method: Arc<Method>,
    /// What the client speaks.
    pub dialect: Dialect,
    /// The host that the client asked for.
    pub authority: Option<Authority>,
    /// The client's connection.
    pub connection: Arc<Connection>,
    /// Who calls, as far as it is believed: the peer of the connection, or whom trusted proxies name.
    pub origin: Origin,
    /// Request metadata, `content-type` and `grpc-encoding` included, as it goes upstream.
    pub metadata: HeaderMap,
    /// When the head was read.
    pub started: Instant,
    /// What bounds the call in time and size.
    pub bounds: Bounds,
}

/// The bounds of one call. A bridge sets what the client asks, policies tighten it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The time the client gave, from `started`. What is left of it goes upstream.
    pub asked: Option<Duration>,
    /// The time the gateway gives, from `started`. Enforced here alone.
    pub given: Option<Duration>,
    /// How long bytes may wait for a peer that takes none.
    pub stall: Option<Duration>,
    /// How long a stream may be silent both ways.
    pub idle: Option<Duration>,
    /// How old a stream may get.
    pub age: Option<Duration>,
    /// The largest message, in bytes, either way.
    pub message_bytes_max: Option<u32>,
}

impl Bounds {
    /// The moment at which the call is over, if there is one.
    pub fn deadline(&self, started: Instant) -> Option<Instant> {
        let time = match (self.asked, self.given) {
            (Some(asked), Some(given)) => asked.min(given),
            (asked, given) => asked.or(given)?,
        };
        started.checked_add(time)
    }
}

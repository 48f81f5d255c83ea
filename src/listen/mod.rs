//! Sockets: whatever the HTTP version, what comes out is one `http::Request`.
//!
//! A PROXY header is read, and hands are shaken for TLS, in the connection's own task: a slow client holds up
//! nobody.
//!
//! Each address has one listening socket, without SO_REUSEPORT: a port in use is an error.
//! An accepted connection goes to the worker that has the fewest, and stays there.

pub mod accept;
pub mod endpoint;
mod guarded;
mod h1;
mod h2;
mod h3;
mod held;
mod leftover;
mod pace;
mod proxied;
mod switched;
pub mod table;
pub mod tls;
mod watchdog;
pub mod worker;

use std::sync::Arc;

use http::HeaderValue;

use crate::call::Trusted;

pub use accept::Acceptor;
pub use accept::Bound;
pub use held::Meter;
pub use table::Place;
pub use table::Stage;
pub use tls::Tls;
pub use worker::Lanes;

pub use crate::config::types::ListenerLimits as Limits;
pub use crate::config::types::ProxyProtocol;

/// What holds for the connections to come of one listener.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What clients may hold.
    pub limits: Limits,
    /// Speaks TLS; `None` is in the clear.
    pub tls: Option<Arc<Tls>>,
    /// What responses over TCP say of HTTP/3, where it is spoken.
    pub alt_svc: Option<HeaderValue>,
    /// Whether TCP connections begin with a PROXY header.
    pub proxy_protocol: ProxyProtocol,
    /// Whose PROXY headers and whose word on their clients is believed.
    pub trusted: Trusted,
}

//! Sockets: whatever the HTTP version, what comes out is one `http::Request`.
//!
//! Each address has one listening socket, without SO_REUSEPORT: a port in use is an error.
//! An accepted connection goes to the worker that has the fewest, and stays there.

pub mod accept;
mod guarded;
mod h1;
mod h2;
mod leftover;
mod pace;
mod switched;
pub mod table;
mod watchdog;
pub mod worker;

pub use accept::Acceptor;
pub use accept::Bound;
pub use table::Place;
pub use table::Stage;
pub use worker::Lanes;

pub use crate::config::types::ListenerLimits as Limits;

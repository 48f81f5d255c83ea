//! Where calls go: named sets of endpoints, and the connections to them.
//!
//! What is configured is a [`Spec`], process-wide and kept by identity, so that it outlives
//! the snapshot it came from. Each worker has a [`Pool`] of its own for it. Only an
//! admitted call gets a [`Lease`] on a connection.

pub mod balance;
mod connect;
mod connection;
mod dial;
mod endpoint;
mod failure;
pub mod in_process;
mod pool;
pub mod stream;
pub mod tls;
mod trouble;

pub use connection::Lease;
pub use dial::Stream;
pub use dial::dial;
pub use endpoint::Endpoint;
pub use endpoint::Unreachable;
pub use failure::Failure;
pub use in_process::InProcess;
pub use pool::Pool;
pub use pool::Spec;
pub use pool::Specs;
pub use pool::Tried;
pub use pool::Upstream;
pub use tls::Tls;

//! The vocabulary of a call: what every room speaks, with no I/O and no runtime.

pub mod body;
pub mod code;
pub mod connect;
pub mod connection;
pub mod deadline;
pub mod dialect;
pub mod handover;
pub mod metadata;
pub mod method;
pub mod nearest;
pub mod refusal;
pub mod request;
pub mod service;

pub use body::Body;
pub use body::BodyFault;
pub use body::H2Body;
pub use code::Code;
pub use connection::Connection;
pub use dialect::Dialect;
pub use handover::Handover;
pub use method::Idempotency;
pub use method::Kind;
pub use method::Method;
pub use method::Streams;
pub use nearest::nearest;
pub use refusal::Reason;
pub use refusal::Refusal;
pub use refusal::Retry;
pub use refusal::Side;
pub use refusal::Violation;
pub use request::Bounds;
pub use request::Call;
pub use service::Abort;
pub use service::Reply;
pub use service::Service;

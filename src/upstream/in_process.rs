//! Endpoints inside the process: tonic services that calls reach without a socket.

use std::future::Future;
use std::pin::Pin;

use http::Request;
use http::Response;
use tonic::body::Body;

/// The reply of a service inside the process.
pub type Replying = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// A gRPC service inside the process.
pub trait InProcess: Send + Sync {
    /// Answers one call.
    fn call(&self, request: Request<Body>) -> Replying;
}

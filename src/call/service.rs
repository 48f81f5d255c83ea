//! The contract between what listens and what answers.

use std::future::Future;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http::Response;
use http_body::Frame;

use crate::call::Body;
use crate::call::Connection;

/// What answers requests: the gateway, or the admin surface. One for each worker.
pub trait Service: Send + Sync + 'static {
    /// The body of its responses.
    type Reply: Reply;

    /// Answers one request, which began at `now`. Dropping the future cancels the call.
    fn call(
        &self,
        connection: &Arc<Connection>,
        request: Request<Body>,
        now: Instant,
    ) -> impl Future<Output = Response<Self::Reply>> + Send;
}

/// A response body that also works while nobody reads it. Dropping it cancels the call.
pub trait Reply: Send + Unpin + 'static {
    /// The next frame, `None` at the end.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>>;

    /// To be polled while the client takes no bytes: the request still flows and the timers
    /// still run. Once it is ready, bytes that the client hasn't taken are to be given up,
    /// and `poll_frame` says how the response ends.
    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether no frame will follow.
    fn is_end(&self) -> bool;

    /// How many bytes will follow, where that is known: HTTP/1.1 then says so.
    fn size(&self) -> Option<u64> {
        self.is_end().then_some(0)
    }
}

/// A response that must not look complete: the stream is reset with this code, or the
/// connection closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abort(pub h2::Reason);

impl std::fmt::Display for Abort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the response was broken off: {}", self.0)
    }
}

impl std::error::Error for Abort {}

//! Reads on, for a moment, what is left of an HTTP/1.1 request body that nobody wants any more.
//!
//! A client that is refused before its body was read is often still sending it. Were the connection closed
//! under its hands, it would see a broken pipe instead of the refusal. Where so much may follow that the
//! connection is given up, the answer says so: otherwise the client would send its next request on it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tokio::time::Sleep;

/// A request body. Dropped before its end, it is left to its connection.
pub(super) struct Lent {
    incoming: Option<Incoming>,
    to: Leftover,
    waits: Waits,
}

/// Whether the client waits to be asked for its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// It sends it at once.
    No,
    /// It does, so nothing of it comes once the call has ended.
    Yes,
}

/// Where a connection finds the body that was dropped before its end. There is one request at a time.
#[derive(Clone, Default)]
pub(super) struct Leftover(Arc<Shared>);

#[derive(Default)]
struct Shared {
    dropped: Mutex<Option<Incoming>>,
    /// Whether more of the body may follow than is read after its call.
    is_open: AtomicBool,
}

impl Leftover {
    /// Lends a body of this connection.
    pub(super) fn lend(&self, incoming: Incoming, waits: Waits) -> Lent {
        let is_small = incoming.size_hint().exact().is_some_and(|bytes| bytes <= BYTES_MAX as u64);
        self.0.is_open.store(!is_small || waits == Waits::Yes, Ordering::Relaxed);
        Lent { incoming: Some(incoming), to: self.clone(), waits }
    }

    /// A request came that has no body.
    pub(super) fn nothing(&self) {
        self.0.is_open.store(false, Ordering::Relaxed);
    }

    /// Whether the connection may have to be given up for what is left of the body.
    pub(super) fn is_open(&self) -> bool {
        self.0.is_open.load(Ordering::Relaxed)
    }

    fn take(&self) -> Option<Incoming> {
        self.0.dropped.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, incoming: Incoming) {
        *self.0.dropped.lock().unwrap_or_else(PoisonError::into_inner) = Some(incoming);
    }
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        if incoming.is_end_stream() || matches!(polled, Poll::Ready(None)) {
            self.to.nothing();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let incoming = self.incoming.take().filter(|incoming| !incoming.is_end_stream());
        if let Some(incoming) = incoming
            && self.waits == Waits::No
        {
            self.to.put(incoming);
        }
    }
}

/// Reads what is left of a connection's bodies, each no further and no longer than the limits say.
pub(super) struct Discard {
    leftover: Leftover,
    /// What is read now, and how many bytes more.
    reading: Option<(Incoming, usize)>,
    timer: Pin<Box<Sleep>>,
    given_up: bool,
}

impl Discard {
    pub(super) fn new(leftover: Leftover) -> Self {
        let timer = Box::pin(tokio::time::sleep(TIME_MAX));
        Self { leftover, reading: None, timer, given_up: false }
    }

    /// Reads what has come. Where the rest takes too long, or is too much, its body is dropped, and HTTP
    /// then closes the connection.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        if let Some(incoming) = self.leftover.take() {
            self.reading = Some((incoming, BYTES_MAX));
            self.timer.as_mut().reset(Instant::now() + TIME_MAX);
        }
        let Some((incoming, bytes_left)) = &mut self.reading else { return };
        let enough = loop {
            match Pin::new(&mut *incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    let Some(left) = bytes_left.checked_sub(bytes) else { break true };
                    *bytes_left = left;
                }
                Poll::Ready(Some(Err(_)) | None) => {
                    self.reading = None;
                    return;
                }
                Poll::Pending => break self.timer.as_mut().poll(cx).is_ready(),
            }
        };
        if enough {
            self.reading = None;
            self.given_up = true;
        }
    }

    /// Lets a client whose body was not read to its end read its answer: it does so only if nobody resets the
    /// connection while it is still sending.
    pub(super) async fn end(&self, io: &mut (impl AsyncRead + Unpin)) {
        if self.given_up {
            let mut nowhere = tokio::io::sink();
            let _ = tokio::time::timeout(TIME_MAX, tokio::io::copy(io, &mut nowhere)).await;
        }
    }
}

/// What is read of a body after its call has ended, before the connection is given up.
const BYTES_MAX: usize = 256 << 10;
/// How long it may take to come.
const TIME_MAX: Duration = Duration::from_secs(1);

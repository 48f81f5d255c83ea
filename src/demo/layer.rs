//! Wraps the library's calls: echoes metadata, adds the trailer, and counts calls that run and that were cut off.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Request;
use http::Response;
use http_body::Body as _;
use http_body::Frame;
use http_body_util::BodyExt;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::demo::deadline;

/// The service inside, with its calls watched.
#[derive(Clone)]
pub(crate) struct Watched<S> {
    inner: S,
    counts: Arc<Counts>,
}

/// Calls of this backend.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    running: AtomicI64,
    cancelled: AtomicI64,
}

/// What the layer saw of a call before the service did; it is in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) authority: String,
    pub(crate) path: String,
    /// What is left of the deadline, as announced.
    pub(crate) left: Option<Duration>,
    counts: Arc<Counts>,
}

/// Counts a call from here until it is dropped.
struct Running {
    counts: Arc<Counts>,
    ended: bool,
}

const PREFIX: &str = "/transom.demo.v1.Library/";
/// How much before its deadline a call is given up, so that this layer is sooner than tonic, which would
/// answer CANCELLED where gRPC wants DEADLINE_EXCEEDED.
const MARGIN: Duration = Duration::from_millis(3);

impl<S> Watched<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, counts: Arc::default() }
    }
}

impl Seen {
    pub(crate) fn running(&self) -> i64 {
        self.counts.running.load(Ordering::Relaxed)
    }

    pub(crate) fn cancelled(&self) -> i64 {
        self.counts.cancelled.load(Ordering::Relaxed)
    }
}

impl Running {
    fn start(counts: Arc<Counts>) -> Self {
        counts.running.fetch_add(1, Ordering::Relaxed);
        Self { counts, ended: false }
    }

    /// The call came to its end: it was not cut off. A method, so that closures capture the whole guard.
    fn end(&mut self) {
        self.ended = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.counts.running.fetch_sub(1, Ordering::Relaxed);
        if !self.ended {
            self.counts.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S> Service<Request<Body>> for Watched<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if !request.uri().path().starts_with(PREFIX) {
            return Box::pin(self.inner.call(request));
        }
        let running = Running::start(Arc::clone(&self.counts));
        let mut leading = picked(request.headers(), "x-echo-");
        let mut trailing = picked(request.headers(), "x-trail-");
        leading.insert("x-library", HeaderValue::from_static("open"));
        trailing.insert("x-library-trailer", HeaderValue::from_static("mind the step"));
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let left = deadline::left(request.headers());
        let counts = Arc::clone(&self.counts);
        let seen = Seen { authority, path: request.uri().path().to_owned(), left, counts };
        request.extensions_mut().insert(seen);
        let reply = self.inner.call(request);
        Box::pin(async move {
            let Some(left) = left else { return Ok(finish(reply.await?, leading, trailing, running)) };
            match tokio::time::timeout(left.saturating_sub(MARGIN), reply).await {
                Ok(reply) => Ok(finish(reply?, leading, trailing, running)),
                Err(_) => Ok(Status::deadline_exceeded("the library was not done in time").into_http()),
            }
        })
    }
}

/// Adds the headers and trailers, and keeps the call counted until its last frame.
fn finish(
    mut reply: Response<Body>,
    leading: HeaderMap,
    trailing: HeaderMap,
    mut running: Running,
) -> Response<Body> {
    append(reply.headers_mut(), leading);
    if reply.body().is_end_stream() {
        // An error without messages: one block that is head and trailers alike.
        append(reply.headers_mut(), trailing);
        running.end();
        return reply;
    }
    let mut trailing = Some(trailing);
    reply.map(|body| {
        Body::new(body.map_frame(move |frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                append(&mut trailers, trailing.take().unwrap_or_default());
                running.end();
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        }))
    })
}

/// The headers whose names begin so, in their order.
fn picked(headers: &HeaderMap, prefix: &str) -> HeaderMap {
    let own = headers.iter().filter(|(name, _)| name.as_str().starts_with(prefix));
    let mut picked = HeaderMap::new();
    for (name, value) in own {
        picked.append(name.clone(), value.clone());
    }
    picked
}

fn append(to: &mut HeaderMap, from: HeaderMap) {
    let mut last: Option<HeaderName> = None;
    for (name, value) in from {
        // A name is given once, before the first of its values.
        last = name.or(last);
        if let Some(name) = &last {
            to.append(name.clone(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_headers_are_all_echoed_in_order() {
        let mut headers = HeaderMap::new();
        for value in ["1", "2", "3"] {
            headers.append("x-echo-n", HeaderValue::from_static(value));
        }
        headers.append("x-other", HeaderValue::from_static("no"));
        let mut to = HeaderMap::new();
        append(&mut to, picked(&headers, "x-echo-"));
        let got: Vec<_> = to.get_all("x-echo-n").iter().collect();
        assert_eq!(got, ["1", "2", "3"]);
        assert_eq!(to.len(), 3);
    }

    #[test]
    fn a_call_that_is_dropped_counts_as_cancelled() {
        let counts = Arc::new(Counts::default());
        let mut whole = Running::start(Arc::clone(&counts));
        let cut = Running::start(Arc::clone(&counts));
        assert_eq!(counts.running.load(Ordering::Relaxed), 2);
        whole.end();
        drop((whole, cut));
        assert_eq!(counts.running.load(Ordering::Relaxed), 0);
        assert_eq!(counts.cancelled.load(Ordering::Relaxed), 1);
    }
}

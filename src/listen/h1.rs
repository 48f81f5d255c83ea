//! Drives one HTTP/1.1 connection of a client.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body::Body as _;
use http_body::Frame;
use http_body::SizeHint;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio::time::Sleep;

use crate::call::Abort;
use crate::call::Body;
use crate::call::BodyFault;
use crate::call::Handover;
use crate::call::Reply;
use crate::call::Service;
use crate::listen::Limits;
use crate::listen::Place;
use crate::listen::Stage;
use crate::listen::guarded::Guarded;
use crate::listen::guarded::Phase;
use crate::listen::guarded::Wait;
use crate::listen::leftover::Discard;
use crate::listen::leftover::Leftover;
use crate::listen::leftover::Waits;
use crate::listen::switched;
use crate::listen::switched::Wire;
use crate::listen::table::Running;

/// Serves `io` until the client goes, the drain is over, or a fault closes it.
pub(crate) async fn serve<S, T>(io: Guarded<T>, service: Arc<S>, mut place: Place, limits: &Limits)
where
    S: Service,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = place.connection.clone();
    let carried = place.carried.clone();
    let phase = io.phase();
    let switch = Switch { phase: phase.clone(), wire: Wire::new(), reply: Arc::default() };
    let offering = switch.clone();
    let leftover = Leftover::default();
    let mut discard = Discard::new(leftover.clone());
    let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
        carried.mark();
        let (service, connection, running) = (service.clone(), connection.clone(), carried.run());
        let switch = offering.clone();
        let mut request = lend(request, &leftover);
        let leftover = leftover.clone();
        Box::pin(async move {
            let offer = switch.offer(&mut request);
            let mut response = service.call(&connection, request, now()).await;
            if leftover.is_open() {
                // RFC 9112, section 9.6: a connection that is to be closed is not for the next request.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            let phase = switch.phase.clone();
            let response = response.map(|reply| H1Body { reply: Some((reply, running)), phase });
            Ok::<_, Infallible>(switch.answer(offer, response))
        })
    });
    let mut patience = Patience::new(phase.clone(), limits);
    let mut leaving: Option<Pin<Box<Sleep>>> = None;
    let mut serving = http(limits).serve_connection(TokioIo::new(io), answer);
    let ended = std::future::poll_fn(|cx| {
        match place.poll_stage(cx) {
            None | Some(Stage::Serving) => {}
            Some(Stage::Draining) => Pin::new(&mut serving).graceful_shutdown(),
            Some(Stage::Ending) => place.connection.end(),
            Some(Stage::Closed) => return Poll::Ready(None),
        }
        let served = serving.poll_without_shutdown(cx);
        discard.poll(cx);
        match served {
            Poll::Ready(Ok(())) => Poll::Ready(None),
            Poll::Ready(Err(_)) => {
                // A switch that the client never heard of.
                switch.take();
                Poll::Ready(None)
            }
            Poll::Pending if phase.is_told() => Poll::Ready(None),
            Poll::Pending if phase.is_broken() => {
                let time = leaving.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_TIMEOUT)));
                time.as_mut().poll(cx).map(|()| None)
            }
            Poll::Pending if place.carried.running() > 0 => Poll::Pending,
            Poll::Pending => patience.poll(cx, place.carried.calls()).map(Some),
        }
    })
    .await;
    let parts = serving.into_parts();
    let mut io = parts.io.into_inner();
    if let Some((reply, _running)) = switch.take()
        && ended.is_none()
    {
        return switched::drive(switch.wire, io, parts.read_buf, reply, place).await;
    }
    part(&mut io, ended, &place).await;
    discard.end(&mut io).await;
}

fn http(limits: &Limits) -> hyper::server::conn::http1::Builder {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.header_read_timeout(None)
        .max_headers(limits.header_count.get())
        .max_buf_size((limits.header_bytes as usize).max(BUFFER_BYTES_MIN))
        .half_close(false);
    http
}

/// Ends a connection; a client that did wrong is told so first.
async fn part<T: AsyncRead + AsyncWrite + Unpin>(io: &mut Guarded<T>, ended: Option<RanOut>, place: &Place) {
    let refusal = match (io.fault(), ended) {
        (Some(fault), _) => Some((fault.status, fault.problem)),
        (None, Some(RanOut::Head)) => Some((408, "the request head took too long")),
        (None, _) => None,
    };
    if let Some((status, problem)) = refusal {
        place.count_reset(problem);
        let text = refuse(status, problem);
        // The client may be gone already; nothing is owed to it then.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, io.write_all(text.as_bytes())).await;
    }
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, io.shutdown()).await;
}

/// The whole answer to bytes that aren't a request: there is no dialect to answer in.
fn refuse(status: u16, problem: &str) -> String {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let reason = status.canonical_reason().unwrap_or("Bad Request");
    let length = problem.len() + 1;
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{problem}\n",
        status.as_u16()
    )
}

/// Waits for a request head, and for the next request, no longer than the limits say.
struct Patience {
    phase: Phase,
    seen: Option<Wait>,
    /// Calls carried when the timer was set.
    calls: u64,
    timer: Pin<Box<Sleep>>,
    header_timeout: Duration,
    idle_timeout: Duration,
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RanOut {
    /// A request head, from the connection's start or its first byte.
    Head,
    /// The next request.
    Idle,
}

impl Patience {
    fn new(phase: Phase, limits: &Limits) -> Self {
        let timer = Box::pin(tokio::time::sleep(limits.header_timeout));
        let (header_timeout, idle_timeout) = (limits.header_timeout, limits.idle_timeout);
        Self { phase, seen: Some(Wait::Head), calls: 0, timer, header_timeout, idle_timeout }
    }

    /// Ready when the client has taken too long. `calls` were ever carried.
    ///
    /// The timer isn't set anew for each request: it looks when it fires at whether there was one.
    fn poll(&mut self, cx: &mut Context<'_>, calls: u64) -> Poll<RanOut> {
        let now = self.phase.wait();
        let (time, ran_out) = match now {
            Some(Wait::Head) => (self.header_timeout, RanOut::Head),
            Some(Wait::Idle) => (self.idle_timeout, RanOut::Idle),
            None => {
                self.seen = None;
                return Poll::Pending;
            }
        };
        loop {
            if now != self.seen {
                self.seen = now;
                self.calls = calls;
                self.timer.as_mut().reset(Instant::now() + time);
            }
            std::task::ready!(self.timer.as_mut().poll(cx));
            if calls == self.calls {
                return Poll::Ready(ran_out);
            }
            self.seen = None;
        }
    }
}

/// A request with its body under hyper.
fn lend(request: Request<Incoming>, leftover: &Leftover) -> Request<Body> {
    let waits = if request.headers().contains_key(header::EXPECT) { Waits::Yes } else { Waits::No };
    request.map(|incoming| {
        if incoming.is_end_stream() {
            leftover.nothing();
            return Body::Empty;
        }
        let fault = |error: hyper::Error| BodyFault::Connection(error.to_string());
        Body::Other(Box::pin(leftover.lend(incoming, waits).map_err(fault)))
    })
}

/// What there is for a request that may switch the connection to another protocol.
struct Switch<R, T> {
    phase: Phase,
    wire: Wire<Guarded<T>>,
    /// The reply that goes on after 101.
    reply: Arc<Mutex<Option<(R, Running)>>>,
}

impl<R, T> Clone for Switch<R, T> {
    fn clone(&self) -> Self {
        Self { phase: self.phase.clone(), wire: self.wire.clone(), reply: self.reply.clone() }
    }
}

/// Whether a request may switch the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    No,
    Made,
}

impl<R: Reply, T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Switch<R, T> {
    /// Offers the connection to a request that the guard let have it.
    fn offer(&self, request: &mut Request<Body>) -> Offer {
        if !self.phase.is_detached() {
            return Offer::No;
        }
        request.extensions_mut().insert(Handover::new(self.wire.body()));
        Offer::Made
    }

    /// Keeps the reply that goes on after a switch. Without one the connection ends here: what
    /// follows the request may be anything, and nobody guards it.
    fn answer(&self, offer: Offer, response: Response<H1Body<R>>) -> Response<H1Body<R>> {
        let (mut head, mut body) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            *self.reply.lock().unwrap_or_else(PoisonError::into_inner) = body.reply.take();
            return Response::from_parts(head, body);
        }
        if offer == Offer::Made {
            head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Response::from_parts(head, body)
    }

    fn take(&self) -> Option<(R, Running)> {
        self.reply.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A reply under hyper, which polls it only while the client takes bytes; `None` says nothing.
struct H1Body<R> {
    reply: Option<(R, Running)>,
    phase: Phase,
}

impl<R: Reply> http_body::Body for H1Body<R> {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        if self.phase.is_broken() {
            return Poll::Pending;
        }
        let Some((reply, _)) = &mut self.reply else { return Poll::Ready(None) };
        match reply.poll_frame(cx) {
            // hyper would drop what it hasn't written yet. It is told nothing more, and the connection is
            // closed once all of it is out.
            Poll::Ready(Some(Err(_))) => {
                self.phase.break_off();
                Poll::Pending
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.phase.is_broken() && self.reply.as_ref().is_none_or(|(reply, _)| reply.is_end())
    }

    fn size_hint(&self) -> SizeHint {
        let size = self.reply.as_ref().map_or(Some(0), |(reply, _)| reply.size());
        size.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[expect(clippy::disallowed_methods, reason = "a listener is an edge: calls begin here")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// The least that hyper works with.
const BUFFER_BYTES_MIN: usize = 8 << 10;
/// How long a client may take to read its refusal, or the last of a response that was broken off.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

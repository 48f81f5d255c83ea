//! Drives one HTTP/3 connection of a client: one task for it and all its calls.
//!
//! As over HTTP/2 the calls live in the connection's task, and are cancelled with it.

mod quic;
mod shake;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h3::error::Code;
use h3::error::StreamError;
use h3::server::RequestResolver;
use h3::server::RequestStream;
use http::Response;
use http::Version;
use http_body::Frame;
use tokio::time::Instant;
use tokio::time::Sleep;

use crate::call::Abort;
use crate::call::Body;
use crate::call::BodyFault;
use crate::call::Connection;
use crate::call::Reply;
use crate::call::Service;
use crate::listen::Limits;
use crate::listen::Place;
use crate::listen::Stage;
use crate::listen::h3::quic::Last;
use crate::listen::h3::quic::Receiving;
use crate::listen::h3::quic::Sending;
use crate::listen::h3::quic::Stopped;
use crate::listen::h3::shake::shake;
use crate::listen::tls::Tls;

/// Serves a connection until the client goes, the drain is over, or a limit closes it.
pub(crate) async fn serve<S: Service>(
    incoming: quinn::Incoming,
    server: Arc<quinn::ServerConfig>,
    tls: &Tls,
    service: Arc<S>,
    mut place: Place,
    limits: &Limits,
) {
    let Some(connection) = shake(incoming, server, tls, &mut place).await else { return };
    let (held_max, last) = (u64::from(limits.header_bytes), Last::default());
    let streams = quic::Connection::new(connection.clone(), held_max, last.clone());
    let mut builder = h3::server::builder();
    let building = builder.max_field_section_size(held_max).send_grease(false).build(streams);
    let Ok(Ok(h3)) = tokio::time::timeout(limits.header_timeout, building).await else { return };
    let idle = Box::pin(tokio::time::sleep(limits.idle_timeout));
    let mut driver = Driver {
        h3,
        quic: connection.clone(),
        calls: FuturesUnordered::new(),
        service,
        place,
        last,
        head_timeout: limits.header_timeout,
        idle_timeout: limits.idle_timeout,
        idle,
        seen: 0,
        flood: Flood::default(),
        way: Way::Open,
        arriving: FuturesUnordered::new(),
        over: Over::No,
    };
    std::future::poll_fn(|cx| driver.poll(cx)).await;
    drop(driver);
    connection.close(NO_ERROR, b"");
}

type Running = Pin<Box<dyn Future<Output = (Ended, Option<Stopped>)> + Send>>;

/// How far a connection is on its way to its end.
enum Way {
    Open,
    /// The client is told to send no more requests, and those that may be on their way are taken.
    Leaving(Pin<Box<Sleep>>),
    /// No more are taken. It is closed once the client had the time to hear of that, and the last reply has arrived.
    Ended(Pin<Box<Sleep>>),
}

/// How a call ended for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It had an answer, or was there for a while.
    Kept,
    /// The client took it back at once.
    TakenBack,
}

/// Counts what a client takes back at once, which costs it nothing and an upstream much.
#[derive(Debug, Default)]
struct Flood {
    kept: u32,
    taken_back: u32,
}

impl Flood {
    fn count(&mut self, ended: Ended) {
        let count = match ended {
            Ended::Kept => &mut self.kept,
            Ended::TakenBack => &mut self.taken_back,
        };
        *count = count.saturating_add(1);
    }

    fn is_too_much(&self) -> bool {
        self.taken_back >= TAKEN_BACK_MAX && self.taken_back > self.kept
    }
}

struct Driver<S> {
    h3: h3::server::Connection<quic::Connection, Bytes>,
    quic: quinn::Connection,
    calls: FuturesUnordered<Running>,
    service: Arc<S>,
    place: Place,
    last: Last,
    head_timeout: Duration,
    idle_timeout: Duration,
    idle: Pin<Box<Sleep>>,
    /// Calls carried when the timer was set.
    seen: u64,
    flood: Flood,
    way: Way,
    /// Replies that are said, and that the client may not have yet.
    arriving: FuturesUnordered<Stopped>,
    /// Whether the client asks for nothing more.
    over: Over,
}

impl<S: Service> Driver<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.obey(cx) || self.accept(cx) {
            return Poll::Ready(());
        }
        while let Poll::Ready(Some((ended, arriving))) = self.calls.poll_next_unpin(cx) {
            self.flood.count(ended);
            if !matches!(self.way, Way::Open) {
                self.arriving.extend(arriving);
            }
        }
        if self.flood.is_too_much() {
            self.place.count_reset("rapid_reset");
            self.quic.close(quinn::VarInt::from_u32(EXCESSIVE_LOAD), b"too many requests were taken back");
            return Poll::Ready(());
        }
        self.poll_way(cx)
    }

    /// Ready when the connection is to be closed: it would drop what the client doesn't have yet.
    fn poll_way(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.way {
                Way::Open => {
                    std::task::ready!(self.poll_idle(cx));
                    self.leave(cx);
                }
                Way::Leaving(until) => {
                    std::task::ready!(until.as_mut().poll(cx));
                    self.last.end();
                    self.go_away(cx, 1);
                    self.way = Way::Ended(self.hearing());
                }
                Way::Ended(until) => {
                    if !until.is_elapsed() {
                        std::task::ready!(until.as_mut().poll(cx));
                    }
                    while let Poll::Ready(Some(())) = self.arriving.poll_next_unpin(cx) {}
                    let is_over = self.calls.is_empty() && self.arriving.is_empty();
                    return if is_over { Poll::Ready(()) } else { Poll::Pending };
                }
            }
        }
    }

    /// Follows the stage of the connection; true once it is to be closed.
    fn obey(&mut self, cx: &mut Context<'_>) -> bool {
        match self.place.poll_stage(cx) {
            None | Some(Stage::Serving) => false,
            Some(Stage::Draining) => {
                self.leave(cx);
                false
            }
            Some(Stage::Ending) => {
                self.leave(cx);
                self.place.connection.end();
                // Every call is polled once more, and sees that its time is over.
                for call in std::mem::take(&mut self.calls) {
                    self.calls.push(call);
                }
                false
            }
            Some(Stage::Closed) => true,
        }
    }

    /// Begins to end the connection: in two steps, as requests may be on their way (RFC 9114, section 5.2).
    fn leave(&mut self, cx: &mut Context<'_>) {
        if matches!(self.way, Way::Open) {
            if self.place.carried.calls() == 0 {
                // The codec says that none is taken where none was.
                self.last.end();
            }
            self.go_away(cx, REQUESTS_ON_THEIR_WAY);
            self.way = Way::Leaving(self.hearing());
        }
    }

    /// The time that a client may need to hear of something.
    fn hearing(&self) -> Pin<Box<Sleep>> {
        Box::pin(tokio::time::sleep(2 * self.quic.rtt() + LINGER))
    }

    /// Tells that no more than so many requests but one are taken after the last one. The codec would take one more,
    /// which the streams below don't let through. The frame fits into the window of a new stream, so one turn is
    /// enough.
    fn go_away(&mut self, cx: &mut Context<'_>, requests: usize) {
        let _ = std::pin::pin!(self.h3.shutdown(requests)).poll(cx);
    }

    /// Takes new requests in; true once the connection is over.
    fn accept(&mut self, cx: &mut Context<'_>) -> bool {
        while self.over == Over::No {
            let accepted = std::pin::pin!(self.h3.accept()).poll(cx);
            match accepted {
                Poll::Pending => return false,
                Poll::Ready(Ok(Some(resolver))) => {
                    self.place.carried.mark();
                    let (service, connection) = (self.service.clone(), self.place.connection.clone());
                    if let Some(stopped) = self.last.take() {
                        let call = answer(
                            service,
                            connection,
                            resolver,
                            stopped,
                            self.quic.clone(),
                            self.head_timeout,
                        );
                        self.calls.push(Box::pin(call));
                    }
                }
                Poll::Ready(Ok(None)) => {
                    self.over = Over::Yes;
                    self.leave(cx);
                }
                Poll::Ready(Err(_)) => return true,
            }
        }
        self.quic.close_reason().is_some()
    }

    /// Ready when nothing was asked for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            std::task::ready!(self.idle.as_mut().poll(cx));
            let carried = self.place.carried.calls();
            if self.calls.is_empty() && carried == self.seen {
                return Poll::Ready(());
            }
            self.seen = carried;
            self.idle.as_mut().reset(Instant::now() + self.idle_timeout);
        }
    }
}

/// One call, from its head to the last frame of its reply.
async fn answer<S: Service>(
    service: Arc<S>,
    connection: Arc<Connection>,
    resolver: RequestResolver<quic::Connection, Bytes>,
    mut stopped: Stopped,
    quic: quinn::Connection,
    head_timeout: Duration,
) -> (Ended, Option<Stopped>) {
    let begun = Instant::now();
    let gone = || (if begun.elapsed() < AT_ONCE { Ended::TakenBack } else { Ended::Kept }, None);
    // The codec answers or closes where a head is wrong.
    let Ok(Ok((request, stream))) = tokio::time::timeout(head_timeout, resolver.resolve_request()).await
    else {
        return gone();
    };
    let (send, receive) = stream.split();
    let mut request = request.map(|()| Body::Other(Box::pin(Incoming { stream: receive, over: Over::No })));
    *request.version_mut() = Version::HTTP_3;
    let response = {
        let mut call = std::pin::pin!(service.call(&connection, request, now()));
        let answered = std::future::poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => stopped.as_mut().poll(cx).map(|()| None),
        });
        // A client that wants no answer cancels the call; the stream is reset as it drops.
        let Some(response) = answered.await else { return gone() };
        response
    };
    (Ended::Kept, reply(send, response, stopped, &quic).await)
}

/// Sends a response to its last frame, as the client takes it. Where all of it is said, what is returned is ready
/// when it has arrived.
async fn reply<R: Reply>(
    mut send: RequestStream<Sending, Bytes>,
    response: Response<R>,
    mut stopped: Stopped,
    quic: &quinn::Connection,
) -> Option<Stopped> {
    let (head, mut reply) = response.into_parts();
    if let Err(StreamError::HeaderTooBig { .. }) = send.send_response(Response::from_parts(head, ())).await {
        send.stop_stream(Code::H3_INTERNAL_ERROR);
        return None;
    }
    while let Next::Frame(frame) = next(&mut reply, &mut stopped).await {
        match frame {
            // An error means that the client left before the end.
            None => return send.finish().await.is_ok().then_some(stopped),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    if deliver(&mut send, data, &mut reply, &mut stopped).await == Delivered::No {
                        return None;
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers()
                        && send.send_trailers(trailers).await.is_ok()
                        && send.finish().await.is_ok()
                    {
                        return Some(stopped);
                    }
                    return None;
                }
            },
            Some(Err(Abort(reason))) => {
                drop(reply);
                linger(quic, &mut stopped).await;
                send.stop_stream(code(reason));
                return None;
            }
        }
    }
    None
}

/// Leaves a client the time to read what was written before the reset that follows: a reset overtakes it, and what
/// a receiver hasn't read by then is dropped (RFC 9000, section 3.2). Nothing tells when it was read.
async fn linger(quic: &quinn::Connection, stopped: &mut Stopped) {
    // The outcome doesn't matter: the stream is reset either way.
    let _ = tokio::time::timeout(2 * quic.rtt() + LINGER, stopped).await;
}

enum Next {
    Frame(Option<Result<Frame<Bytes>, Abort>>),
    /// The client wants none.
    Stopped,
}

async fn next<R: Reply>(reply: &mut R, stopped: &mut Stopped) -> Next {
    std::future::poll_fn(|cx| match reply.poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(Next::Frame(frame)),
        Poll::Pending => stopped.as_mut().poll(cx).map(|()| Next::Stopped),
    })
    .await
}

#[derive(PartialEq, Eq)]
enum Delivered {
    Yes,
    /// The client went, or took nothing for too long. What was begun of a frame can't be ended in order.
    No,
}

/// Sends some bytes as the client takes them.
async fn deliver<R: Reply>(
    send: &mut RequestStream<Sending, Bytes>,
    data: Bytes,
    reply: &mut R,
    stopped: &mut Stopped,
) -> Delivered {
    let mut sending = std::pin::pin!(send.send_data(data));
    std::future::poll_fn(|cx| match sending.as_mut().poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Delivered::Yes),
        Poll::Ready(Err(_)) => Poll::Ready(Delivered::No),
        Poll::Pending if reply.poll_blocked(cx).is_ready() => Poll::Ready(Delivered::No),
        Poll::Pending => stopped.as_mut().poll(cx).map(|()| Delivered::No),
    })
    .await
}

/// The body of a request.
struct Incoming {
    stream: RequestStream<Receiving, Bytes>,
    over: Over,
}

#[derive(PartialEq, Eq)]
enum Over {
    No,
    Yes,
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if self.over == Over::Yes {
            return Poll::Ready(None);
        }
        let received = std::task::ready!(self.stream.poll_recv_data(cx));
        let received = received.map(|data| data.map(|mut data| data.copy_to_bytes(data.remaining())));
        Poll::Ready(match received {
            Ok(Some(data)) => Some(Ok(Frame::data(data))),
            Ok(None) => {
                self.over = Over::Yes;
                None
            }
            Err(error) => {
                self.over = Over::Yes;
                Some(Err(BodyFault::Connection(error.to_string())))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.over == Over::Yes
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.over == Over::No {
            //= https://www.rfc-editor.org/rfc/rfc9114#section-4.1
            //# servers MUST NOT discard complete responses as a result of having their request terminated abruptly
            self.stream.stop_sending(Code::H3_NO_ERROR);
        }
    }
}

/// The code of HTTP/3 for one of HTTP/2 (RFC 9114, appendix A.4).
fn code(reason: h2::Reason) -> Code {
    match reason {
        h2::Reason::NO_ERROR => Code::H3_NO_ERROR,
        h2::Reason::CANCEL => Code::H3_REQUEST_CANCELLED,
        h2::Reason::REFUSED_STREAM => Code::H3_REQUEST_REJECTED,
        h2::Reason::ENHANCE_YOUR_CALM => Code::H3_EXCESSIVE_LOAD,
        _ => Code::H3_INTERNAL_ERROR,
    }
}

#[expect(clippy::disallowed_methods, reason = "a listener is an edge: calls begin here")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// What is taken after a client is told to send no more: what it may have sent before it heard of it.
const REQUESTS_ON_THEIR_WAY: usize = 1_000;
/// For the other side itself, beside two round trips.
const LINGER: Duration = Duration::from_millis(100);
/// Requests that a client may take back at once; beyond, it is cut off if it keeps fewer.
const TAKEN_BACK_MAX: u32 = 500;
/// A request that was there for so long wasn't taken back at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// H3_EXCESSIVE_LOAD (RFC 9114, section 8.1).
const EXCESSIVE_LOAD: u32 = 0x107;
/// H3_NO_ERROR (RFC 9114, section 8.1).
const NO_ERROR: quinn::VarInt = quinn::VarInt::from_u32(0x100);

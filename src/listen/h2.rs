//! Drives one HTTP/2 connection of a client: one task for it and all its calls.
//!
//! The calls live in the connection's task: when it is dropped, so are they, which cancels
//! them. Whatever a wake-up makes them say leaves in one write.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::Reason;
use h2::RecvStream;
use h2::SendStream;
use h2::server::SendResponse;
use http::Request;
use http::Response;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::call::Abort;
use crate::call::Body;
use crate::call::Connection;
use crate::call::Reply;
use crate::call::Service;
use crate::listen::Limits;
use crate::listen::Place;
use crate::listen::Stage;
use crate::listen::guarded::Guarded;
use crate::listen::pace::Pace;
use crate::listen::watchdog::Due;
use crate::listen::watchdog::Watchdog;
use crate::listen::worker::end;
use crate::wire::coalesce::Coalesce;
use crate::wire::coalesce::Flusher;
use crate::wire::coalesce::coalesce;
use crate::wire::send::Last;
use crate::wire::send::poll_send;

/// Serves `io` until the client goes, the drain is over, or a limit closes it.
pub(crate) async fn serve<S, T>(io: Guarded<T>, service: Arc<S>, place: Place, limits: &Limits)
where
    S: Service,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (codec, flusher) = coalesce(io);
    let mut handshake = Box::pin(builder(limits).handshake::<_, Bytes>(codec));
    let shaken = tokio::time::timeout(
        limits.header_timeout,
        std::future::poll_fn(|cx| {
            let shaken = handshake.as_mut().poll(cx);
            // The settings go out while the client's are awaited.
            let _ = flusher.poll_flush(cx);
            shaken
        }),
    );
    let Ok(Ok(h2)) = shaken.await else { return flusher.with(end) };
    let watchdog = Watchdog::new(limits.idle_timeout);
    let (calls, broken) = (FuturesUnordered::new(), Vec::new());
    let (pace, flood) = (Pace::new(), Flood::None);
    let mut driver = Driver { h2, flusher, calls, broken, service, place, watchdog, pace, flood };
    std::future::poll_fn(|cx| driver.poll(cx)).await;
    driver.flusher.with(end);
}

fn builder(limits: &Limits) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_concurrent_streams(limits.max_streams.get())
        .max_header_list_size(limits.header_bytes)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(Some(OWN_RESETS_MAX))
        .enable_connect_protocol();
    builder
}

type Running = Pin<Box<dyn Future<Output = Option<Broken>> + Send>>;

/// A stream whose response was broken off, and is yet to be reset.
struct Broken {
    stream: SendStream<Bytes>,
    reason: Reason,
}

struct Driver<S, T> {
    h2: h2::server::Connection<Coalesce<Guarded<T>>, Bytes>,
    flusher: Flusher<Guarded<T>>,
    calls: FuturesUnordered<Running>,
    broken: Vec<Broken>,
    service: Arc<S>,
    place: Place,
    watchdog: Watchdog,
    pace: Pace,
    flood: Flood,
}

/// Whether the client was found flooding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flood {
    None,
    Counted,
}

impl<S: Service, T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Driver<S, T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut closed = self.obey(cx) || self.accept(cx);
        self.reset_broken(cx);
        if let Some(why) = self.flusher.with(|io| io.calm()) {
            self.count_flood(why);
            self.h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            closed = self.h2.poll_closed(cx).is_ready();
        }
        let waiting = self.broken.len();
        while let Poll::Ready(Some(ended)) = self.calls.poll_next_unpin(cx) {
            self.pace.turned();
            self.broken.extend(ended);
        }
        if waiting < self.broken.len() {
            cx.waker().wake_by_ref();
        }
        if closed {
            let _ = self.flusher.poll_flush(cx);
            return Poll::Ready(());
        }
        if self.flush(cx).is_err() {
            return Poll::Ready(());
        }
        self.watch(cx)
    }

    /// Resets streams that were broken off in an earlier turn: a reset drops what the codec still holds of a
    /// stream, and their last bytes say why they end.
    fn reset_broken(&mut self, cx: &mut Context<'_>) {
        if self.broken.is_empty() || self.flusher.poll_flush(cx).is_pending() {
            return;
        }
        for mut broken in self.broken.drain(..) {
            broken.stream.send_reset(broken.reason);
        }
    }

    /// Writes what was gathered, when it is time to.
    fn flush(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        let heard = self.flusher.with(|io| io.heard());
        if self.pace.poll(cx, self.flusher.gathered(), heard).is_ready()
            && let Poll::Ready(flushed) = self.flusher.poll_flush(cx)
        {
            return flushed;
        }
        Ok(())
    }

    /// Counts what closes the connection, once.
    fn count_flood(&mut self, why: &'static str) {
        if self.flood == Flood::None {
            self.flood = Flood::Counted;
            self.place.count_reset(why);
        }
    }

    /// Follows the stage of the connection; true once it is to be closed.
    fn obey(&mut self, cx: &mut Context<'_>) -> bool {
        match self.place.poll_stage(cx) {
            None | Some(Stage::Serving) => false,
            Some(Stage::Draining) => {
                self.h2.graceful_shutdown();
                false
            }
            Some(Stage::Ending) => {
                self.h2.graceful_shutdown();
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

    /// Takes new requests in; true once the connection is closed.
    fn accept(&mut self, cx: &mut Context<'_>) -> bool {
        let mut clock = None;
        loop {
            match self.h2.poll_accept(cx) {
                Poll::Pending => return false,
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let now = *clock.get_or_insert_with(now);
                    self.place.carried.mark();
                    self.pace.turned();
                    let service = self.service.clone();
                    let connection = self.place.connection.clone();
                    self.calls.push(Box::pin(answer(service, connection, request, respond, now)));
                }
                Poll::Ready(Some(Err(error))) => {
                    // The codec has a limit of its own, and may come to it before the guard.
                    if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                        self.count_flood("rapid_reset");
                    }
                    return true;
                }
                Poll::Ready(None) => return true,
            }
        }
    }

    /// Acts on the timers; ready when the connection is to be closed.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match std::task::ready!(self.watchdog.poll(cx, self.calls.len(), self.place.carried.calls())) {
                Due::Ping => {
                    if self.watchdog.ping(&mut self.h2).is_err() {
                        return Poll::Ready(());
                    }
                }
                Due::Idle => self.h2.graceful_shutdown(),
                Due::Dead => return Poll::Ready(()),
            }
            // What the timer said goes out now.
            if self.accept(cx) || matches!(self.flusher.poll_flush(cx), Poll::Ready(Err(_))) {
                return Poll::Ready(());
            }
        }
    }
}

/// One call, from its head to the last frame of its reply.
async fn answer<S: Service>(
    service: Arc<S>,
    connection: Arc<Connection>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    now: Instant,
) -> Option<Broken> {
    let request = request.map(Body::h2);
    let response = {
        let mut answer = std::pin::pin!(service.call(&connection, request, now));
        let answered = std::future::poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => respond.poll_reset(cx).map(|_| None),
        });
        answered.await?
    };
    let (head, mut reply) = response.into_parts();
    let end = reply.is_end();
    let mut stream = respond.send_response(Response::from_parts(head, ()), end).ok()?;
    if end {
        return None;
    }
    let mut pending = Bytes::new();
    let aborted = std::future::poll_fn(|cx| pump(&mut reply, &mut stream, &mut pending, cx)).await;
    aborted.map(|abort| Broken { stream, reason: abort.0 })
}

/// Moves a reply into its stream as the client takes it. Ready with the abort where one ends it.
fn pump<R: Reply>(
    reply: &mut R,
    stream: &mut SendStream<Bytes>,
    pending: &mut Bytes,
    cx: &mut Context<'_>,
) -> Poll<Option<Abort>> {
    loop {
        if !pending.is_empty() {
            match poll_send(stream, pending, Last::No, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending => {
                    if reply.poll_blocked(cx).is_pending() {
                        return stream.poll_reset(cx).map(|_| None);
                    }
                    pending.clear();
                }
            }
        }
        match reply.poll_frame(cx) {
            Poll::Pending => return stream.poll_reset(cx).map(|_| None),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => *pending = data,
                Err(frame) => {
                    // An error means that the client left before the end.
                    let _ = frame.into_trailers().map(|trailers| stream.send_trailers(trailers));
                    return Poll::Ready(None);
                }
            },
            Poll::Ready(Some(Err(abort))) => return Poll::Ready(Some(abort)),
            Poll::Ready(None) => {
                let _ = stream.send_data(Bytes::new(), true);
                return Poll::Ready(None);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a listener is an edge: calls begin here")]
fn now() -> Instant {
    Instant::now()
}

/// The default of RFC 9113: larger frames only hold others up.
const FRAME_BYTES_MAX: u32 = 16 << 10;
/// What one stream may queue behind the client's window.
const SEND_BUFFER_BYTES: usize = 32 << 10;
/// Streams that were reset before they were accepted.
const PENDING_RESETS_MAX: usize = 100;
/// Streams that a client made us reset by breaking the protocol (MadeYouReset).
const OWN_RESETS_MAX: usize = 100;

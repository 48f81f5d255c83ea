//! A call under way: both directions, its timers, and the client's words for what happens.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::Response;
use http_body::Frame;
use tokio::time::Instant;
use tokio::time::Sleep;

use crate::bridge::Encode;
use crate::bridge::Ending;
use crate::bridge::Event;
use crate::bridge::Out;
use crate::call::Abort;
use crate::call::Code;
use crate::call::Connection;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::Reply;
use crate::gateway::apart::APART_BYTES;
use crate::gateway::apart::Apart;
use crate::gateway::buffers::Buffers;
use crate::gateway::buffers::Share;
use crate::gateway::downlink::Downlink;
use crate::gateway::downlink::Next;
use crate::gateway::tally::Moved;
use crate::gateway::tally::Tally;
use crate::gateway::timers::Blocked;
use crate::gateway::timers::Timers;
use crate::gateway::uplink::Uplink;
use crate::policy::Holds;
use crate::upstream::Lease;

/// One call from its admission to its end.
pub struct Exchange {
    pub(super) connection: Arc<Connection>,
    pub(super) uplink: Uplink,
    pub(super) downlink: Option<Downlink>,
    pub(super) timers: Timers,
    pub(super) holds: Holds,
    pub(super) lease: Option<Lease>,
    pub(super) tally: Tally,
    encoder: Apart<Box<dyn Encode>, Written>,
    share: Share,
    beat: Option<(Pin<Box<Sleep>>, Duration)>,
    out: Out,
    phase: Phase,
}

/// What was written apart, and whether it was the reply's end.
type Written = (Out, Result<(), Refusal>, bool);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Both directions go on.
    Running,
    /// What is in `out` is all that follows.
    Over,
}

impl Exchange {
    pub(super) fn new(
        connection: Arc<Connection>,
        uplink: Uplink,
        timers: Timers,
        holds: Holds,
        tally: Tally,
        encoder: Box<dyn Encode>,
        buffers: Arc<Buffers>,
    ) -> Self {
        let (downlink, lease, out, phase) = (None, None, Out::default(), Phase::Running);
        let beat = encoder.heartbeat().map(|every| (Box::pin(tokio::time::sleep(every)), every));
        let (encoder, share) = (Apart::new(encoder), Share::new(buffers));
        Self { connection, uplink, downlink, timers, holds, lease, tally, encoder, share, beat, out, phase }
    }

    /// Everything but the reply: the request goes on, and the timers run. Ready with the
    /// refusal that ends the call.
    pub(super) fn poll_drive(&mut self, cx: &mut Context<'_>, blocked: Blocked) -> Poll<Refusal> {
        if self.connection.is_ending() {
            return Poll::Ready(Refusal::new(Reason::Draining, "the gateway is shutting down: try again"));
        }
        if let Poll::Ready(Err(refusal)) = self.uplink.poll(cx, &mut self.holds) {
            return Poll::Ready(refusal);
        }
        if let Err(refusal) = self.hold() {
            return Poll::Ready(refusal);
        }
        let blocked = if self.uplink.is_blocked() { Blocked::Yes } else { blocked };
        let moved = self.uplink.lane().bytes() + self.tally.reply.bytes;
        self.timers.poll(cx, moved, blocked)
    }

    /// Reads until the first request bytes are here, and judged.
    pub(super) fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        match self.uplink.poll_first(cx, &mut self.holds) {
            Poll::Pending => self.timers.poll(cx, 0, Blocked::No).map(Err),
            ready => ready,
        }
    }

    /// Counts what the call holds of messages.
    fn hold(&mut self) -> Result<(), Refusal> {
        let Some(encoder) = self.encoder.here() else { return Ok(()) };
        let reply = self.downlink.as_ref().map_or(0, |downlink| downlink.lane().held());
        self.share.hold(self.uplink.held() + reply + encoder.held())
    }

    /// Hands an event to the client's dialect.
    pub(super) fn push(&mut self, event: Event<'_>) {
        if let Some(encoder) = self.encoder.here() {
            let pushed = encoder.push(event, &mut self.out);
            self.pushed(pushed);
        }
    }

    /// The same for what may be a lot of work; the last event ends the call.
    fn write(&mut self, event: Event<'static>) {
        let is_end = matches!(event, Event::End(_));
        let Some(encoder) = self.encoder.here() else { return };
        if encoder.work(&event) < APART_BYTES {
            self.push(event);
            if is_end {
                self.finish();
            }
            return;
        }
        self.encoder.send(move |encoder| {
            let mut out = Out::default();
            let pushed = encoder.push(event, &mut out);
            (out, pushed, is_end)
        });
    }

    fn pushed(&mut self, pushed: Result<(), Refusal>) {
        if let Err(refusal) = pushed {
            self.refuse(&refusal);
        } else if self.out.end.is_some() && self.phase == Phase::Running {
            // A dialect may know the end before the upstream is done: HEAD wants no body.
            if self.tally.end().is_none() {
                self.tally.ended(Code::Ok);
            }
            self.finish();
        }
    }

    /// Ends the call in the gateway's own words.
    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        self.tally.refused(refusal);
        self.out.data = None;
        // A refusal can be told in every dialect.
        if let Some(encoder) = self.encoder.here() {
            let _ = encoder.push(Event::Refused(refusal), &mut self.out);
        }
        self.finish();
    }

    /// Ends the call as the upstream said.
    fn end(&mut self, trailers: HeaderMap) {
        self.tally.ended(status_of(&trailers));
        self.write(Event::End(trailers));
    }

    /// Ends the call with a status that has nothing before it.
    pub(super) fn only(&mut self, headers: HeaderMap) {
        self.tally.ended(status_of(&headers));
        self.push(Event::Only(headers));
        self.finish();
    }

    /// Waits for the first frames of the reply, for a dialect that holds its head until
    /// then.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Response<()>> {
        loop {
            if let Some(head) = self.out.head.take() {
                return Poll::Ready(head);
            }
            if self.phase == Phase::Over {
                return Poll::Ready(Response::new(()));
            }
            std::task::ready!(self.poll_step(cx));
        }
    }

    /// One step of a running call; ready when something happened.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((out, pushed, is_end)) = std::task::ready!(self.encoder.poll_back(cx)) {
            self.out = out;
            self.pushed(pushed);
            if is_end {
                self.finish();
            }
            return Poll::Ready(());
        }
        if let Poll::Ready(refusal) = self.poll_drive(cx, Blocked::No) {
            self.refuse(&refusal);
            return Poll::Ready(());
        }
        let Some(downlink) = &mut self.downlink else { return Poll::Pending };
        let Poll::Ready(next) = downlink.poll_next(cx, &mut self.holds) else { return self.poll_beat(cx) };
        self.beat_again();
        match next {
            Ok(Next::Frames(bytes)) => {
                self.tally.reply.bytes += bytes.len() as u64;
                self.write(Event::Frames(bytes));
            }
            Ok(Next::Trailers(trailers)) => self.end(trailers),
            Err(refusal) => self.refuse(&refusal),
        }
        Poll::Ready(())
    }

    /// Ready when a reply was silent for long enough to say so.
    fn poll_beat(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((timer, _)) = &mut self.beat else { return Poll::Pending };
        std::task::ready!(timer.as_mut().poll(cx));
        self.beat_again();
        self.push(Event::Silence);
        Poll::Ready(())
    }

    fn beat_again(&mut self) {
        if let Some((timer, every)) = &mut self.beat {
            timer.as_mut().reset(Instant::now() + *every);
        }
    }

    /// What is left of the response, where all of it is known.
    pub(super) fn size(&self) -> Option<u64> {
        let whole = self.phase == Phase::Over && matches!(self.out.end, Some(Ending::Done) | None);
        whole.then(|| self.out.data.as_ref().map_or(0, |data| data.len() as u64))
    }

    fn finish(&mut self) {
        if self.phase == Phase::Over {
            return;
        }
        self.phase = Phase::Over;
        let request = self.uplink.lane();
        self.tally.request = Moved { bytes: request.bytes(), messages: request.messages() };
        if let Some(downlink) = &self.downlink {
            self.tally.reply.messages = downlink.lane().messages();
        }
        if !self.holds.is_empty()
            && let Some(end) = self.tally.end()
        {
            self.holds.on_end(&end);
        }
        // The upstream is let go at once: it sees a reset if it wasn't done.
        self.downlink = None;
        self.uplink.let_go();
        self.lease = None;
        // Less is always granted.
        let _ = self.share.hold(0);
    }

    fn next_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        loop {
            if let Some(data) = self.out.data.take() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if self.phase == Phase::Over {
                return Poll::Ready(match self.out.end.take() {
                    Some(Ending::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                    Some(Ending::Abort(reason)) => Some(Err(Abort(reason))),
                    Some(Ending::Done) | None => None,
                });
            }
            std::task::ready!(self.poll_step(cx));
        }
    }

    /// A fault of ours ends this call, and no other.
    fn panicked(&mut self) {
        self.tally.panicked();
        self.refuse(&Refusal::new(Reason::Internal, "the gateway failed: this is logged"));
    }
}

impl Reply for Exchange {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        match catch_unwind(AssertUnwindSafe(|| self.next_frame(cx))) {
            Ok(polled) => polled,
            Err(_) => {
                self.panicked();
                self.next_frame(cx)
            }
        }
    }

    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Work on the reply is short, and has all it needs.
        if self.phase == Phase::Over || self.encoder.is_away() {
            return Poll::Pending;
        }
        match catch_unwind(AssertUnwindSafe(|| self.poll_drive(cx, Blocked::Yes))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(refusal)) => {
                self.refuse(&refusal);
                Poll::Ready(())
            }
            Err(_) => {
                self.panicked();
                Poll::Ready(())
            }
        }
    }

    fn is_end(&self) -> bool {
        self.phase == Phase::Over
            && self.out.data.is_none()
            && matches!(self.out.end, Some(Ending::Done) | None)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.phase == Phase::Running {
            let request = self.uplink.lane();
            self.tally.request = Moved { bytes: request.bytes(), messages: request.messages() };
        }
    }
}

fn status_of(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Unknown, |status| Code::from_header(status.as_bytes()))
}

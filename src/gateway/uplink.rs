//! The request of a call, from the client to the upstream.

use std::collections::VecDeque;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;

use crate::call::Kind;
use crate::call::Reason;
use crate::call::Refusal;
use crate::gateway::lane::Lane;
use crate::gateway::lane::LaneFault;
use crate::gateway::lane::Way;
use crate::gateway::lane::refuse_frame;
use crate::gateway::source::Source;
use crate::policy::Holds;
use crate::upstream::stream::Sending;
use crate::wire::send::Last;

/// The request's way.
pub(super) struct Uplink {
    source: Source,
    lane: Lane,
    kind: Kind,
    pending: Bytes,
    state: State,
    sending: Option<Sending>,
    replay: Replay,
    again: VecDeque<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes may follow.
    Open,
    /// The client is done; what it sent isn't passed on yet.
    Ended,
    /// Everything is passed on, or nobody takes it any more.
    Done,
}

/// What was sent, as long as the call may have to be sent again.
enum Replay {
    /// All of it.
    Kept(Vec<Bytes>, usize),
    /// Too much, or a reply has begun.
    Gone,
}

impl Uplink {
    pub(super) fn new(source: Source, lane: Lane, kind: Kind) -> Self {
        Self {
            source,
            lane,
            kind,
            pending: Bytes::new(),
            state: State::Open,
            sending: None,
            replay: Replay::Kept(Vec::new(), 0),
            again: VecDeque::new(),
        }
    }

    pub(super) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Bytes that are held of messages.
    pub(super) fn held(&self) -> usize {
        self.source.held() + self.lane.held()
    }

    /// Sends to this stream from now on, from the first byte.
    pub(super) fn attach(&mut self, sending: Sending) {
        self.sending = Some(sending);
        if let Replay::Kept(sent, _) = &self.replay {
            self.again = sent.iter().cloned().collect();
            self.pending = self.again.pop_front().unwrap_or_default();
            if self.state == State::Done {
                self.state = State::Ended;
            }
        }
    }

    /// Whether everything that was sent can be sent again.
    pub(super) fn can_repeat(&self) -> bool {
        matches!(self.replay, Replay::Kept(..))
    }

    /// A reply has begun: the call won't be repeated.
    pub(super) fn settle(&mut self) {
        self.replay = Replay::Gone;
        if self.sending.is_none() {
            self.let_go();
        }
    }

    /// The call is over: the upstream's stream is let go.
    pub(super) fn let_go(&mut self) {
        self.sending = None;
        self.pending = Bytes::new();
        self.again.clear();
        self.state = State::Done;
    }

    /// What the client may still send, once the call is over.
    pub(super) fn take_source(&mut self) -> Source {
        std::mem::replace(&mut self.source, Source::empty())
    }

    /// Whether bytes wait for the upstream to take them.
    pub(super) fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Reads until the first bytes to be passed on are here.
    pub(super) fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        holds: &mut Holds,
    ) -> Poll<Result<(), Refusal>> {
        if self.pending.is_empty() && self.state == State::Open {
            return self.poll_take(cx, holds);
        }
        Poll::Ready(Ok(()))
    }

    /// Passes on what comes. Ready once nothing is left to do.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, holds: &mut Holds) -> Poll<Result<(), Refusal>> {
        loop {
            if !self.pending.is_empty() {
                std::task::ready!(self.poll_send(cx));
                continue;
            }
            if let Some(again) = self.again.pop_front() {
                self.pending = again;
                continue;
            }
            match self.state {
                State::Open => std::task::ready!(self.poll_take(cx, holds))?,
                State::Ended => {
                    // Without a stream yet, the end waits for one as bytes do.
                    let Some(sending) = &mut self.sending else { return Poll::Pending };
                    sending.end();
                    self.state = State::Done;
                }
                State::Done => return self.source.poll_rest(cx).map_err(refuse),
            }
        }
    }

    /// Sends what is pending; what nobody takes any more is dropped.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sending) = &mut self.sending else { return Poll::Pending };
        let all = self.state == State::Ended && self.again.is_empty();
        let last = if all { Last::Yes } else { Last::No };
        match sending.poll_send(&mut self.pending, last, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => {
                if all {
                    self.state = State::Done;
                }
                Poll::Ready(())
            }
            Poll::Ready(Err(_)) => {
                // The reply, or its absence, says why. Until then the call may have to be
                // sent again, and the client isn't done because this stream is.
                if self.can_repeat() {
                    self.sending = None;
                    self.pending = Bytes::new();
                    self.again.clear();
                } else {
                    self.let_go();
                }
                Poll::Ready(())
            }
        }
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, holds: &mut Holds) -> Poll<Result<(), Refusal>> {
        let source = &mut self.source;
        match std::task::ready!(self.lane.poll_next(cx, holds, |cx| source.poll_chunk(cx))) {
            Some(Ok(chunk)) => {
                if self.kind.one_request() && self.lane.begun() > 1 {
                    return Poll::Ready(Err(cardinality("a second message came: send exactly one")));
                }
                self.keep(&chunk);
                self.pending = chunk;
                // The last bytes carry the end with them, which spares a frame.
                if self.source.is_end() && self.lane.is_whole() {
                    self.state = State::Ended;
                    return Poll::Ready(self.check_end());
                }
                Poll::Ready(Ok(()))
            }
            Some(Err(fault)) => Poll::Ready(Err(refuse(fault))),
            None => {
                self.state = State::Ended;
                Poll::Ready(self.check_end())
            }
        }
    }

    fn check_end(&self) -> Result<(), Refusal> {
        if self.kind.one_request() && self.lane.messages() == 0 {
            return Err(cardinality("no message came: send exactly one"));
        }
        Ok(())
    }

    fn keep(&mut self, chunk: &Bytes) {
        if let Replay::Kept(sent, bytes) = &mut self.replay {
            *bytes += chunk.len();
            if *bytes > REPLAY_BYTES_MAX {
                self.replay = Replay::Gone;
            } else {
                sent.push(chunk.clone());
            }
        }
    }
}

fn cardinality(told: &'static str) -> Refusal {
    Refusal::new(Reason::Cardinality, told)
}

fn refuse(fault: LaneFault) -> Refusal {
    match fault {
        LaneFault::Frame(fault) => refuse_frame(fault, Way::Request),
        LaneFault::Refused(refusal) => refusal,
        LaneFault::Body(fault) => {
            Refusal::new(Reason::ClientCancelled, "the client went away").logged(fault.to_string())
        }
    }
}

/// What is kept of a request for a second attempt.
const REPLAY_BYTES_MAX: usize = 64 << 10;

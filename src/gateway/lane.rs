//! One direction of a call: watches its frames, and shows messages to the policies that
//! read them.

use std::collections::VecDeque;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;

use crate::bridge::frames;
use crate::call::BodyFault;
use crate::call::Refusal;
use crate::gateway::tap::Tap;
use crate::policy::Holds;
use crate::policy::Message;
use crate::policy::Needs;
use crate::policy::Passing;
use crate::policy::Waiting;
use crate::snapshot::Direction;
use crate::snapshot::MethodPlan;
use crate::wire::frame::Deframer;
use crate::wire::frame::Frame;
use crate::wire::frame::FrameFault;
use crate::wire::frame::Rules;
use crate::wire::frame::Scan;
use crate::wire::frame::encode_header;

/// One direction.
pub(super) struct Lane {
    way: Way,
    scan: Scan,
    reading: Option<Box<Reading>>,
    tap: Option<Box<Tap>>,
    bytes: u64,
}

/// Which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the client.
    Request,
    /// To the client.
    Reply,
}

/// Why a direction can't go on.
pub(super) enum LaneFault {
    /// The bytes aren't gRPC frames, or break a limit.
    Frame(FrameFault),
    /// The stream broke.
    Body(BodyFault),
    /// A policy refuses a message.
    Refused(Refusal),
}

impl From<BodyFault> for LaneFault {
    fn from(fault: BodyFault) -> Self {
        Self::Body(fault)
    }
}

/// Messages on their way past the policies.
struct Reading {
    deframer: Deframer,
    ready: VecDeque<Bytes>,
    waiting: Option<(Frame, Waiting<()>, usize)>,
    ended: bool,
    left: Left,
}

/// How many messages are still to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    First,
    None,
    All,
}

impl Lane {
    /// A direction whose frames keep to `rules` and whose messages are read and copied as `plan` says.
    pub(super) fn new(way: Way, rules: Rules, plan: &MethodPlan, message_bytes_default: u32) -> Self {
        let left = match (plan.needs, way) {
            (Needs::Head, _) | (Needs::FirstMessage, Way::Reply) => Left::None,
            (Needs::FirstMessage, Way::Request) => Left::First,
            (Needs::Messages, _) => Left::All,
        };
        let reading = (left != Left::None).then(|| {
            // What is held has a limit, also where none is set.
            let max = rules.message_bytes_max.unwrap_or(message_bytes_default);
            Box::new(Reading {
                deframer: Deframer::new(rules.compressed, max),
                ready: VecDeque::new(),
                waiting: None,
                ended: false,
                left,
            })
        });
        let direction = match way {
            Way::Request => Direction::Request,
            Way::Reply => Direction::Reply,
        };
        let tap = plan.shadow.clone().map(|watched| Box::new(Tap::new(watched, direction)));
        Self { way, scan: Scan::new(rules), reading, tap, bytes: 0 }
    }

    /// Messages begun so far.
    pub(super) fn begun(&self) -> u64 {
        self.scan.begun()
    }

    /// Whole messages so far.
    pub(super) fn messages(&self) -> u64 {
        self.scan.messages()
    }

    /// Whether nothing that came is held back or unfinished.
    pub(super) fn is_whole(&self) -> bool {
        self.reading.is_none() && self.scan.is_between()
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that are held of messages.
    pub(super) fn held(&self) -> usize {
        self.reading.as_ref().map_or(0, |reading| reading.deframer.held_bytes())
    }

    /// The next bytes to pass on, `None` at the end of the direction.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        holds: &mut Holds,
        mut source: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, LaneFault>>>,
    ) -> Poll<Option<Result<Bytes, LaneFault>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                match reading.poll_ready(cx, holds, self.way) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(outcome)) => return Poll::Ready(Some(outcome)),
                    Poll::Ready(None) if reading.ended => return Poll::Ready(None),
                    Poll::Ready(None) => {}
                }
            }
            let chunk = match std::task::ready!(source(cx)) {
                Some(Ok(chunk)) => chunk,
                Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
                None => {
                    if let Err(fault) = self.scan.finish() {
                        return Poll::Ready(Some(Err(LaneFault::Frame(fault))));
                    }
                    match &mut self.reading {
                        Some(reading) => {
                            reading.ended = true;
                            continue;
                        }
                        None => return Poll::Ready(None),
                    }
                }
            };
            self.bytes += chunk.len() as u64;
            if let Err(fault) = self.scan.feed(&chunk) {
                return Poll::Ready(Some(Err(LaneFault::Frame(fault))));
            }
            if let Some(tap) = &mut self.tap {
                tap.see(&chunk);
            }
            match &mut self.reading {
                Some(reading) if reading.left != Left::None => reading.deframer.feed(chunk),
                _ if chunk.is_empty() => {}
                _ => return Poll::Ready(Some(Ok(chunk))),
            }
        }
    }
}

impl Reading {
    /// The next message that all policies let pass; `None` when more bytes are needed.
    fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        holds: &mut Holds,
        way: Way,
    ) -> Poll<Option<Result<Bytes, LaneFault>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            let (frame, from) = match self.waiting.take() {
                Some((frame, mut until, next)) => match until.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.waiting = Some((frame, until, next));
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(refusal)) => return refused(refusal),
                    Poll::Ready(Ok(())) => (frame, next),
                },
                None => match self.deframer.next_frame() {
                    Ok(Some(frame)) => (frame, 0),
                    Ok(None) => return Poll::Ready(None),
                    Err(fault) => return Poll::Ready(Some(Err(LaneFault::Frame(fault)))),
                },
            };
            let message = Message { compressed: frame.compressed, payload: frame.payload.clone() };
            let passing = match way {
                Way::Request => holds.on_request(&message, from),
                Way::Reply => holds.on_reply(&message, from),
            };
            match passing {
                Ok(Passing::Through) => self.pass(frame),
                Ok(Passing::Waiting { until, next }) => self.waiting = Some((frame, until, next)),
                Err(refusal) => return refused(refusal),
            }
        }
    }

    /// Puts a message back into its frame; after the first one that was needed, the rest
    /// goes through unread.
    fn pass(&mut self, frame: Frame) {
        // A frame came with a length of 32 bits, so it has one.
        let len = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
        self.ready.push_back(Bytes::copy_from_slice(&encode_header(frame.compressed, len)));
        if !frame.payload.is_empty() {
            self.ready.push_back(frame.payload);
        }
        if self.left == Left::First {
            self.left = Left::None;
            self.ready.extend(self.deframer.take_rest());
        }
    }
}

fn refused(refusal: Refusal) -> Poll<Option<Result<Bytes, LaneFault>>> {
    Poll::Ready(Some(Err(LaneFault::Refused(refusal))))
}

/// The refusal of a call whose frames are at fault; `way` says whose they are.
pub(super) fn refuse_frame(fault: FrameFault, way: Way) -> Refusal {
    match way {
        Way::Request => frames::refuse_frame(fault),
        Way::Reply => {
            let told = match fault {
                FrameFault::TooLarge { .. } => fault.to_string(),
                _ => "the service sent a malformed reply".into(),
            };
            let reason = frames::refuse_frame(fault).reason;
            let mut refusal = Refusal::new(reason, told).logged(fault.to_string());
            refusal.side = crate::call::Side::Upstream;
            refusal
        }
    }
}

//! The timers of one call. One that isn't needed costs nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use tokio::time::Sleep;

use crate::call::Bounds;
use crate::call::Reason;
use crate::call::Refusal;

/// Deadline, age, silence and stalls of one call.
pub(super) struct Timers {
    started: Instant,
    bounds: Bounds,
    /// The deadline or the age, whichever comes first.
    end: Option<(Pin<Box<Sleep>>, Over)>,
    idle: Option<Watch>,
    stall: Option<Watch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Deadline,
    Age,
}

/// A timer that starts again whenever something happens.
struct Watch {
    timer: Pin<Box<Sleep>>,
    /// What had happened when the timer was set, in bytes both ways.
    seen: u64,
}

impl Timers {
    pub(super) fn new(started: Instant, bounds: Bounds) -> Self {
        let deadline = bounds.deadline(started);
        let age = bounds.age.and_then(|age| started.checked_add(age));
        let end = match (deadline, age) {
            (Some(deadline), Some(age)) if age < deadline => Some((age, Over::Age)),
            (Some(deadline), _) => Some((deadline, Over::Deadline)),
            (None, age) => age.map(|age| (age, Over::Age)),
        };
        let end = end.map(|(at, over)| (Box::pin(tokio::time::sleep_until(at.into())), over));
        Self { started, bounds, end, idle: None, stall: None }
    }

    /// The largest message, in bytes, either way.
    pub(super) fn message_bytes_max(&self) -> Option<u32> {
        self.bounds.message_bytes_max
    }

    /// What is left of the time that the client gave.
    pub(super) fn asked_left(&self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        let asked = self.bounds.asked?;
        Some(asked.saturating_sub(now().saturating_duration_since(self.started)))
    }

    /// The refusal of a call whose time is over. `moved` counts bytes both ways; `blocked`
    /// says whether bytes wait for a peer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, moved: u64, blocked: Blocked) -> Poll<Refusal> {
        if let Some((timer, over)) = &mut self.end
            && timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(match over {
                Over::Deadline => self.late(),
                Over::Age => drained("the stream has reached its greatest age: open a new one"),
            });
        }
        if let Some(idle) = self.bounds.idle
            && poll_watch(&mut self.idle, idle, moved, cx).is_ready()
        {
            return Poll::Ready(drained("the stream was silent for too long: open a new one"));
        }
        match (blocked, self.bounds.stall) {
            (Blocked::Yes, Some(stall)) => {
                if poll_watch(&mut self.stall, stall, moved, cx).is_ready() {
                    return Poll::Ready(drained("bytes waited too long to be taken: read faster"));
                }
            }
            _ => self.stall = None,
        }
        Poll::Pending
    }

    fn late(&self) -> Refusal {
        let told = match (self.bounds.asked, self.bounds.given) {
            (Some(asked), _) => format!("the deadline of {asked:?} is over"),
            (None, Some(given)) => {
                format!("the call took longer than {given:?}: send a longer grpc-timeout if it needs more")
            }
            (None, None) => "the deadline is over".into(),
        };
        Refusal::new(Reason::DeadlineExceeded, told)
    }
}

/// Whether bytes wait for a peer to take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocked {
    /// None do.
    No,
    /// Some do.
    Yes,
}

fn poll_watch(watch: &mut Option<Watch>, time: Duration, moved: u64, cx: &mut Context<'_>) -> Poll<()> {
    let watch = watch.get_or_insert_with(|| Watch { timer: Box::pin(tokio::time::sleep(time)), seen: moved });
    if watch.seen != moved {
        watch.seen = moved;
        watch.timer.as_mut().reset(tokio::time::Instant::now() + time);
    }
    watch.timer.as_mut().poll(cx)
}

fn drained(told: &'static str) -> Refusal {
    Refusal::new(Reason::Draining, told)
}

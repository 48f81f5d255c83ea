//! Tells resets of young streams from those of old ones, and counts them over a sliding window.

use std::time::Duration;
use std::time::Instant;

use crate::wire::h2_guard::Limits;

/// Streams and their young resets over a ring of slots, each [`Limits::young`] long.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    slots: [Slot; SLOTS_MAX],
    /// Slots in use: the window.
    len: usize,
    /// The slot of now, and when it began.
    at: usize,
    began_at: Instant,
    /// Sums over the slots.
    opened: u32,
    resets: u32,
    /// Half the streams that left the window without a young reset, less what was used of it.
    credit: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// A stream with this id or a higher one was opened in this slot or later.
    first: u32,
    opened: u32,
    resets: u32,
}

impl Streams {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            slots: [Slot::default(); SLOTS_MAX],
            len: usize::from(limits.window).clamp(1, SLOTS_MAX),
            at: 0,
            began_at: now,
            opened: 0,
            resets: 0,
            credit: 0,
        }
    }

    pub(super) fn open(&mut self, stream: u32) {
        debug_assert!(self.slots[self.at].first <= stream, "ids only grow");
        self.slots[self.at].opened = self.slots[self.at].opened.saturating_add(1);
        self.opened = self.opened.saturating_add(1);
    }

    /// Whether a stream was opened in this slot or the one before, or never.
    pub(super) fn is_young(&self, stream: u32) -> bool {
        self.slots[self.before()].first <= stream
    }

    /// Counts a young stream's reset where the stream was opened; false when it is one too many.
    pub(super) fn reset_young(&mut self, stream: u32, limits: &Limits) -> bool {
        let slot = if self.slots[self.at].first <= stream { self.at } else { self.before() };
        self.slots[slot].resets = self.slots[slot].resets.saturating_add(1);
        self.resets = self.resets.saturating_add(1);
        if self.resets <= limits.resets_max || self.resets <= self.opened / 2 {
            return true;
        }
        let paid = 0 < self.credit;
        self.credit = self.credit.saturating_sub(1);
        paid
    }

    /// Begins the slots that time has reached; `next` is the lowest id that may still be opened.
    pub(super) fn turn(&mut self, limits: &Limits, now: Instant, next: u32) {
        let young = limits.young.max(YOUNG_MIN);
        let gone = now.saturating_duration_since(self.began_at);
        if gone < young {
            return;
        }
        let turns = usize::try_from(gone.as_nanos() / young.as_nanos()).unwrap_or(usize::MAX);
        self.began_at = if turns < self.len {
            self.began_at + young.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX))
        } else {
            now
        };
        for _ in 0..turns.min(self.len) {
            self.at = (self.at + 1) % self.len;
            let left =
                std::mem::replace(&mut self.slots[self.at], Slot { first: next, opened: 0, resets: 0 });
            self.opened = self.opened.saturating_sub(left.opened);
            self.resets = self.resets.saturating_sub(left.resets);
            let good = left.opened.saturating_sub(left.resets);
            self.credit = self.credit.saturating_add(good / 2).min(limits.reset_credit_max);
        }
    }

    fn before(&self) -> usize {
        (self.at + self.len - 1) % self.len
    }
}

const SLOTS_MAX: usize = 16;
/// The shortest slot: the guard doesn't look at the time more often.
const YOUNG_MIN: Duration = Duration::from_millis(100);

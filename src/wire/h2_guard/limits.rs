//! How many HTTP/2 frames of each kind a client may send, and the floods that are told apart.

use std::fmt;
use std::time::Duration;

/// How many frames of each kind are too many. Rates are a second; `burst` is what may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A stream is young for this long at least and twice as long at most; 1 s.
    pub young: Duration,
    /// Resets and streams are counted over this many times [`Limits::young`], 1 to 16; 10, so over 10 s.
    pub window: u8,
    /// Young resets in a window that are always borne; 200.
    pub resets_max: u32,
    /// The most young resets beyond [`Limits::resets_max`] that a past of good streams allows; 1,000.
    pub reset_credit_max: u32,
    /// Bytes of one header block, compressed, over HEADERS and CONTINUATION; 64 KiB.
    pub header_block_bytes_max: u32,
    /// CONTINUATION frames of one header block; 32.
    pub continuations_max: u32,
    /// Empty DATA without END_STREAM, empty HEADERS, empty CONTINUATION; 100, then 10 a second.
    pub empty: Allowance,
    /// PING and its acknowledgement; 1,000, then 100 a second, and one for each 33 bytes written.
    pub ping: Allowance,
    /// SETTINGS and its acknowledgement; 100, then 10 a second.
    pub settings: Allowance,
    /// PRIORITY, unknown kinds, GOAWAY and second HEADERS of a stream; 200, then 20 a second and four a new stream.
    pub side: Allowance,
    /// WINDOW_UPDATE; 10,000, then 10,000 a second, and one for each 4 bytes written.
    pub window_update: Allowance,
}

/// An allowance of frames: `burst` at once, refilled with `per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Frames that may come at once.
    pub burst: u32,
    /// Frames that a second brings back.
    pub per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            young: Duration::from_secs(1),
            window: 10,
            resets_max: 200,
            reset_credit_max: 1_000,
            header_block_bytes_max: 64 * 1024,
            continuations_max: 32,
            empty: Allowance { burst: 100, per_second: 10 },
            ping: Allowance { burst: 1_000, per_second: 100 },
            settings: Allowance { burst: 100, per_second: 10 },
            side: Allowance { burst: 200, per_second: 20 },
            window_update: Allowance { burst: 10_000, per_second: 10_000 },
        }
    }
}

/// The kind of flood that a client is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flood {
    /// Streams opened and reset at once, by the client or by its fault.
    RapidReset,
    /// A header block of too many CONTINUATION frames.
    Continuation,
    /// A header block of too many bytes.
    HeaderBlock,
    /// Frames that carry nothing.
    Empty,
    /// PING.
    Ping,
    /// SETTINGS.
    Settings,
    /// PRIORITY and other frames beside the calls.
    Side,
    /// WINDOW_UPDATE.
    WindowUpdate,
}

impl Flood {
    /// The name in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid_reset",
            Self::Continuation => "continuation",
            Self::HeaderBlock => "header_block",
            Self::Empty => "empty_frames",
            Self::Ping => "ping",
            Self::Settings => "settings",
            Self::Side => "side_frames",
            Self::WindowUpdate => "window_update",
        }
    }
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RapidReset => "too many streams reset soon after they opened, cancel fewer calls",
            Self::Continuation => "too many continuation frames in one header block, send fuller frames",
            Self::HeaderBlock => "header block too large, send fewer or shorter headers",
            Self::Empty => "too many empty frames, send data in them",
            Self::Ping => "too many pings, ping less often",
            Self::Settings => "too many settings frames, change settings less often",
            Self::Side => "too many priority or unknown frames, send fewer",
            Self::WindowUpdate => "too many window updates, send fewer and larger ones",
        })
    }
}

/// The verdict that ends a connection: GOAWAY with ENHANCE_YOUR_CALM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calm {
    /// What there was too much of; its text suits the debug data of the GOAWAY.
    pub why: Flood,
}

/// What is left of an allowance, in units of its cost; never over the burst.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    left: u32,
    full: u32,
}

impl Level {
    pub(super) fn full(allowance: Allowance, cost: u32) -> Self {
        let full = allowance.burst.saturating_mul(cost);
        Self { left: full, full }
    }

    /// Takes `cost`; false when there is less.
    #[inline]
    pub(super) fn spend(&mut self, cost: u32) -> bool {
        let enough = cost <= self.left;
        self.left = self.left.saturating_sub(cost);
        enough
    }

    #[inline]
    pub(super) fn add(&mut self, units: u32) {
        self.left = self.left.saturating_add(units).min(self.full);
    }

    pub(super) fn refill(&mut self, per_second: u32, millis: u32) {
        let units = u64::from(per_second) * u64::from(millis) / 1_000;
        self.add(u32::try_from(units).unwrap_or(u32::MAX));
    }
}

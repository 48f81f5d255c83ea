//! Counts the frames of an inbound HTTP/2 connection and says when its client must be told to calm down.
//!
//! The guard reads the bytes beside the HTTP/2 implementation and judges only what that has no counter for. It never
//! changes or holds a byte; what is malformed it leaves to the implementation.
//!
//! # Orphans
//! Once the last stream of a connection that ends is told, the implementation ignores later ones, whose HEADERS may
//! have crossed with that. But a WINDOW_UPDATE of such a stream it takes for an error of the whole connection, and
//! with it would end all calls that may still run there. [`H2Guard::orphans`] names these frames, so that they can
//! be made ones of a type that nobody knows.
//!
//! # Rapid reset
//! A reset costs a client nothing and the gateway a call, as the next stream may begin at once. What tells abuse from
//! use is the age of the stream: one that was open for over [`Limits::young`] has held one of the connection's stream
//! slots all that time, so `max_streams` already bounds how many can be reset so, and those are never counted. An
//! honest client may so drop a thousand long streams at once. Resets of *young* streams are refused when, within
//! [`Limits::window`], there are more than [`Limits::resets_max`] of them and they are more than half of the streams
//! opened. Streams that were not reset young leave a credit of one reset for two streams, up to
//! [`Limits::reset_credit_max`], so that a client with a past of good calls survives one burst of cancelled calls. A
//! connection without a past is ended at its `resets_max + 1`st reset.
//!
//! # Floods
//! Each other kind of frame draws on an allowance that time refills. Where honest clients answer what the gateway
//! sends (a PING or a WINDOW_UPDATE for each DATA frame), the bytes it wrote refill the allowance too: see
//! [`H2Guard::wrote`].

mod limits;
mod resets;

use std::time::Duration;
use std::time::Instant;

use crate::wire::h2_guard::limits::Level;
use crate::wire::h2_guard::resets::Streams;

pub use limits::Allowance;
pub use limits::Calm;
pub use limits::Flood;
pub use limits::Limits;

/// Totals since the connection began, for metrics and for a budget over many connections of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames whose header was read.
    pub frames: u64,
    /// Streams opened by the client.
    pub opened: u64,
    /// Streams reset while young, by the client or by its fault.
    pub young_resets: u64,
    /// Streams reset when they were no longer young.
    pub old_resets: u64,
}

/// Watches one inbound connection from its first byte on.
#[derive(Clone, Debug)]
pub struct H2Guard {
    limits: Limits,
    /// The first bytes of a frame (9 of the header, up to 8 of the payload) when they arrive in pieces.
    head: [u8; HEAD_BYTES + PEEK_BYTES],
    have: usize,
    /// Bytes until the next thing to read: payload that is of no interest.
    skip: usize,
    preface: Preface,
    block: Option<Block>,
    last_stream: u32,
    streams: Streams,
    empty: Level,
    ping: Level,
    settings: Level,
    side: Level,
    window_update: Level,
    /// When the allowances were last refilled, and when the youngest slot of streams began.
    refilled_at: Instant,
    counts: Counts,
    verdict: Option<Calm>,
    /// The last stream that was opened when the client had heard of the end.
    ended_after: Option<u32>,
    /// Where in the bytes that were fed last orphans have their type.
    orphans: Vec<usize>,
}

/// How much of the client's preface is read.
#[derive(Clone, Copy, Debug)]
enum Preface {
    Read(usize),
    Whole,
    /// Not HTTP/2: nothing that follows can be read, and the implementation refuses it.
    Broken,
}

/// An open header block: CONTINUATION frames must follow.
#[derive(Clone, Copy, Debug)]
struct Block {
    bytes: u32,
    continuations: u32,
}

impl H2Guard {
    /// A guard for a connection that begins now.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            head: [0; HEAD_BYTES + PEEK_BYTES],
            have: 0,
            skip: 0,
            preface: Preface::Read(0),
            block: None,
            last_stream: 0,
            streams: Streams::new(&limits, now),
            empty: Level::full(limits.empty, 1),
            ping: Level::full(limits.ping, PING_COST),
            settings: Level::full(limits.settings, 1),
            side: Level::full(limits.side, 1),
            window_update: Level::full(limits.window_update, WINDOW_UPDATE_COST),
            refilled_at: now,
            counts: Counts::default(),
            verdict: None,
            ended_after: None,
            orphans: Vec::new(),
        }
    }

    /// Reads the next inbound bytes. Ask [`H2Guard::verdict`] before they are handed on.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8], now: Instant) {
        if self.verdict.is_some() {
            return;
        }
        self.orphans.clear();
        self.refill(now);
        let mut rest = bytes;
        if !matches!(self.preface, Preface::Whole) {
            self.read_preface(&mut rest);
        }
        while !rest.is_empty() && self.verdict.is_none() {
            let skipped = self.skip.min(rest.len());
            (self.skip, rest) = (self.skip - skipped, &rest[skipped..]);
            match rest.first_chunk::<HEAD_BYTES>() {
                Some(head) if self.have == 0 => {
                    let head = *head;
                    let (len, kind) = (frame_len(head), head[3]);
                    let peek = peek_bytes(kind, head[4], len);
                    if rest.len() < HEAD_BYTES + peek {
                        self.collect(&mut rest);
                    } else {
                        let peeked = &rest[HEAD_BYTES..HEAD_BYTES + peek];
                        self.frame(head, peeked);
                        if self
                            .ended_after
                            .is_some_and(|last| kind == kind::WINDOW_UPDATE && last < stream_of(head))
                        {
                            self.orphans.push(bytes.len() - rest.len() + KIND_AT);
                        }
                        rest = &rest[HEAD_BYTES..];
                        self.skip = len;
                    }
                }
                _ => self.collect(&mut rest),
            }
        }
    }

    /// Tells that the gateway wrote bytes to the client, so that it may answer them with PING and WINDOW_UPDATE.
    /// Without it only time refills those allowances.
    #[inline]
    pub fn wrote(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.ping.add(bytes);
        self.window_update.add(bytes);
    }

    /// Counts a reset that the gateway sent for a fault of the client, as if the client had sent it: a client may
    /// provoke resets as cheaply as it sends them. Not for resets that end a refused or answered call.
    pub fn provoked_reset(&mut self, stream: u32, now: Instant) {
        self.refill(now);
        self.reset(stream);
    }

    /// Why the connection must be closed with ENHANCE_YOUR_CALM, if it must. A verdict is final.
    #[inline]
    pub fn verdict(&self) -> Option<Calm> {
        self.verdict
    }

    /// Where in the bytes that were fed last frames of ignored streams have their type (one byte), each told once.
    /// One whose header came in two pieces is missed.
    pub fn orphans(&mut self) -> impl Iterator<Item = usize> + '_ {
        self.orphans.drain(..)
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn read_preface(&mut self, rest: &mut &[u8]) {
        let Preface::Read(have) = self.preface else {
            *rest = &[];
            return;
        };
        let step = (PREFACE.len() - have).min(rest.len());
        let (some, after) = rest.split_at(step);
        *rest = after;
        self.preface = match have + step {
            _ if some != &PREFACE[have..have + step] => Preface::Broken,
            have if have == PREFACE.len() => Preface::Whole,
            have => Preface::Read(have),
        };
        if matches!(self.preface, Preface::Broken) {
            *rest = &[];
        }
    }

    /// Gathers a frame's header, and the payload bytes to peek at, from several pieces.
    #[cold]
    fn collect(&mut self, rest: &mut &[u8]) {
        while let Some((&byte, after)) = rest.split_first() {
            self.head[self.have] = byte;
            self.have += 1;
            *rest = after;
            let Some(head) = self.head[..self.have].first_chunk::<HEAD_BYTES>().copied() else { continue };
            let len = frame_len(head);
            let peek = peek_bytes(head[3], head[4], len);
            if self.have == HEAD_BYTES + peek {
                self.have = 0;
                self.skip = len - peek;
                let peeked = self.head;
                self.frame(head, &peeked[HEAD_BYTES..HEAD_BYTES + peek]);
                return;
            }
        }
    }

    /// Judges one frame by its header and the first bytes of its payload.
    #[inline]
    fn frame(&mut self, head: [u8; HEAD_BYTES], peeked: &[u8]) {
        self.counts.frames += 1;
        let (len, flags, stream) = (frame_len(head), head[4], stream_of(head));
        match head[3] {
            kind::DATA => {
                let padding = peeked.first().map_or(0, |&pad| usize::from(pad) + 1);
                if len <= padding && flags & flag::END_STREAM == 0 {
                    self.spend(Flood::Empty);
                }
            }
            kind::HEADERS => self.headers(stream, flags, len),
            kind::RST_STREAM => self.reset(stream),
            kind::SETTINGS => self.spend(Flood::Settings),
            kind::PING => {
                self.spend(Flood::Ping);
                if flags & flag::ACK != 0 && peeked == SHUTDOWN {
                    self.ended_after = Some(self.last_stream);
                }
            }
            kind::WINDOW_UPDATE => {
                self.spend(Flood::WindowUpdate);
                // An increment of zero makes the implementation reset the stream.
                if stream != 0 && is_zero(peeked) {
                    self.reset(stream);
                }
            }
            kind::CONTINUATION => self.continuation(flags, len),
            _ => self.spend(Flood::Side),
        }
    }

    fn headers(&mut self, stream: u32, flags: u8, len: usize) {
        if self.last_stream < stream && stream & 1 == 1 {
            self.last_stream = stream;
            self.counts.opened += 1;
            self.streams.open(stream);
            self.side.add(SIDE_PER_STREAM);
        } else {
            self.spend(Flood::Side);
        }
        if len == 0 {
            self.spend(Flood::Empty);
        }
        self.block = None;
        if flags & flag::END_HEADERS == 0 {
            self.block = Some(Block { bytes: as_u32(len), continuations: 0 });
        }
        if self.limits.header_block_bytes_max < as_u32(len) {
            self.end(Flood::HeaderBlock);
        }
    }

    fn continuation(&mut self, flags: u8, len: usize) {
        let block = self.block.get_or_insert(Block { bytes: 0, continuations: 0 });
        block.continuations += 1;
        block.bytes = block.bytes.saturating_add(as_u32(len));
        let Block { bytes, continuations } = *block;
        if self.limits.continuations_max < continuations {
            self.end(Flood::Continuation);
        } else if self.limits.header_block_bytes_max < bytes {
            self.end(Flood::HeaderBlock);
        }
        if len == 0 {
            self.spend(Flood::Empty);
        }
        if flags & flag::END_HEADERS != 0 {
            self.block = None;
        }
    }

    fn reset(&mut self, stream: u32) {
        if !self.streams.is_young(stream) {
            self.counts.old_resets += 1;
            // Each stream can be reset once, so more old resets than streams is a flood too.
            if self.counts.opened + u64::from(self.limits.resets_max) < self.counts.old_resets {
                self.end(Flood::RapidReset);
            }
            return;
        }
        self.counts.young_resets += 1;
        if !self.streams.reset_young(stream, &self.limits) {
            self.end(Flood::RapidReset);
        }
    }

    #[inline]
    fn spend(&mut self, on: Flood) {
        let (level, cost) = match on {
            Flood::Empty => (&mut self.empty, 1),
            Flood::Ping => (&mut self.ping, PING_COST),
            Flood::Settings => (&mut self.settings, 1),
            Flood::WindowUpdate => (&mut self.window_update, WINDOW_UPDATE_COST),
            _ => (&mut self.side, 1),
        };
        if !level.spend(cost) {
            self.end(on);
        }
    }

    #[cold]
    fn end(&mut self, why: Flood) {
        self.verdict.get_or_insert(Calm { why });
    }

    #[inline]
    fn refill(&mut self, now: Instant) {
        let gone = now.saturating_duration_since(self.refilled_at);
        if REFILL_EVERY <= gone {
            self.refill_all(now, gone);
        }
    }

    #[cold]
    fn refill_all(&mut self, now: Instant, gone: Duration) {
        self.refilled_at = now;
        let millis = u32::try_from(gone.as_millis()).unwrap_or(u32::MAX);
        self.empty.refill(self.limits.empty.per_second, millis);
        self.ping.refill(self.limits.ping.per_second.saturating_mul(PING_COST), millis);
        self.settings.refill(self.limits.settings.per_second, millis);
        self.side.refill(self.limits.side.per_second, millis);
        self.window_update
            .refill(self.limits.window_update.per_second.saturating_mul(WINDOW_UPDATE_COST), millis);
        self.streams.turn(&self.limits, now, self.last_stream.saturating_add(1));
    }
}

#[inline]
fn frame_len(head: [u8; HEAD_BYTES]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}

#[inline]
fn stream_of(head: [u8; HEAD_BYTES]) -> u32 {
    u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1)
}

/// Payload bytes that must be seen before a frame of this kind can be judged.
#[inline]
fn peek_bytes(kind: u8, flags: u8, len: usize) -> usize {
    match kind {
        kind::DATA if flags & flag::PADDED != 0 => len.min(1),
        kind::WINDOW_UPDATE => len.min(4),
        kind::PING if flags & flag::ACK != 0 => len.min(PEEK_BYTES),
        _ => 0,
    }
}

/// Whether a window increment is nothing but its reserved bit.
#[inline]
fn is_zero(increment: &[u8]) -> bool {
    increment.iter().enumerate().all(|(at, &byte)| byte == 0 || (at == 0 && byte == 128))
}

fn as_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

//= https://www.rfc-editor.org/rfc/rfc9113#section-3.4
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_BYTES: usize = 9;
const PEEK_BYTES: usize = 8;
/// Where a frame header has the type.
const KIND_AT: usize = 3;
/// A type that no specification gives a meaning, and everyone ignores (RFC 9113, section 4.1).
pub const UNKNOWN_KIND: u8 = 0xfb;
/// The PING by which the implementation finds out that the client has heard of the end.
const SHUTDOWN: &[u8] = &[0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54];
/// Twice the acknowledgement of 17 bytes that every PING makes the gateway write, less one: a flood of PINGs doesn't
/// pay for itself, and one PING for a DATA frame of a few bytes with its trailers does.
const PING_COST: u32 = 33;
const WINDOW_UPDATE_COST: u32 = 4;
const SIDE_PER_STREAM: u32 = 4;
const REFILL_EVERY: Duration = Duration::from_millis(100);

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

mod flag {
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const ACK: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
    pub(super) const PADDED: u8 = 8;
}

/// Runs a script over two guards, one fed whole chunks and one fed single bytes, and checks their laws; for the
/// fuzzer and the tests.
///
/// Each group of five bytes is an operation: kind, flags, stream, length and what to do with them; every eighth kind
/// is raw bytes, and time passes by the last byte.
///
/// # Panics
/// When a law is broken: the cut of the bytes doesn't matter, and every frame is counted once.
pub fn drive(script: &[u8], now: Instant) {
    let limits = Limits { resets_max: 4, reset_credit_max: 3, continuations_max: 3, ..Limits::default() };
    let mut whole = H2Guard::new(limits, now);
    let mut split = whole.clone();
    let mut stream = PREFACE.to_vec();
    let mut now = now;
    whole.feed(PREFACE, now);
    PREFACE.iter().for_each(|&byte| split.feed(&[byte], now));
    for op in script.chunks_exact(5) {
        let [kind, flags, id, len, how] = [op[0], op[1], op[2], op[3], op[4]];
        let payload = vec![how & 1; usize::from(len)];
        let chunk = match kind % 16 {
            15 => op.to_vec(),
            kind => [&[0, 0, len, kind, flags, 0, 0, 0, id][..], &payload].concat(),
        };
        now += Duration::from_millis(u64::from(how >> 4) * 50);
        stream.extend_from_slice(&chunk);
        whole.feed(&chunk, now);
        chunk.iter().for_each(|&byte| split.feed(&[byte], now));
        assert_eq!(whole.verdict(), split.verdict(), "the cut doesn't matter to the verdict");
        assert_eq!(whole.counts(), split.counts(), "the cut doesn't matter to the counts");
        if whole.verdict().is_some() {
            return;
        }
        let (frames, opened, resets) = recount(&stream);
        let counts = whole.counts();
        assert_eq!(counts.frames, frames, "every frame is counted once");
        assert_eq!(counts.opened, opened, "every stream is counted once");
        assert_eq!(counts.young_resets + counts.old_resets, resets, "every reset is counted once");
    }
}

/// Counts frames, streams and resets in the plainest way, from the whole stream.
fn recount(stream: &[u8]) -> (u64, u64, u64) {
    let (mut at, mut frames, mut opened, mut resets, mut last) = (PREFACE.len(), 0, 0, 0, 0);
    while let Some(head) = stream.get(at..).and_then(|rest| rest.first_chunk::<HEAD_BYTES>()) {
        let len = frame_len(*head);
        let payload = &stream[at + HEAD_BYTES..];
        let peek = peek_bytes(head[3], head[4], len);
        if payload.len() < peek {
            break;
        }
        let id = u32::from_be_bytes([head[5] & 127, head[6], head[7], head[8]]);
        frames += 1;
        match head[3] {
            kind::HEADERS if last < id && id % 2 == 1 => (last, opened) = (id, opened + 1),
            kind::RST_STREAM => resets += 1,
            kind::WINDOW_UPDATE if id != 0 && is_zero(&payload[..peek]) => resets += 1,
            _ => (),
        }
        at += HEAD_BYTES + len;
    }
    (frames, opened, resets)
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "an instant can only be had from the clock; the tests step it themselves"
)]
mod tests {
    use super::*;

    const HEADERS: u8 = kind::HEADERS;
    const END: u8 = flag::END_STREAM | flag::END_HEADERS;

    /// A frame whose payload is so many bytes of 1.
    fn frame(kind: u8, flags: u8, stream: u32, len: usize) -> Vec<u8> {
        let [_, a, b, c] = as_u32(len).to_be_bytes();
        [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), &vec![1; len]].concat()
    }

    /// A connection with its preface read, and a clock of its own.
    struct Client {
        guard: H2Guard,
        now: Instant,
        next: u32,
    }

    impl Client {
        fn new() -> Self {
            let now = Instant::now();
            let mut guard = H2Guard::new(Limits::default(), now);
            guard.feed(PREFACE, now);
            Self { guard, now, next: 1 }
        }

        fn send(&mut self, frame: Vec<u8>) -> Option<Flood> {
            self.guard.feed(&frame, self.now);
            self.guard.verdict().map(|calm| calm.why)
        }

        fn open(&mut self) -> u32 {
            let id = self.next;
            self.next += 2;
            self.send(frame(HEADERS, END, id, 20));
            id
        }

        fn reset(&mut self, id: u32) -> Option<Flood> {
            self.send(frame(kind::RST_STREAM, 0, id, 4))
        }

        fn pass(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }

        /// Sends so many of the same frame; the verdict, and how many it took.
        fn flood(&mut self, frame: &[u8], times: usize) -> Option<(Flood, usize)> {
            (1..=times).find_map(|sent| self.send(frame.to_vec()).map(|why| (why, sent)))
        }
    }

    #[test]
    fn rapid_reset_ends_at_once() {
        let mut client = Client::new();
        let ended = (1..100_000).find(|_| {
            let id = client.open();
            client.reset(id).is_some()
        });
        assert_eq!(ended, Some(201));
        assert_eq!(client.guard.verdict(), Some(Calm { why: Flood::RapidReset }));
        assert_eq!(client.guard.counts().opened, 201);
    }

    #[test]
    fn rapid_reset_over_seconds_ends_too() {
        let mut client = Client::new();
        let ended = (1..10_000).find(|_| {
            client.pass(40); // 25 a second: 250 in a window
            let id = client.open();
            client.reset(id).is_some()
        });
        assert!(matches!(ended, Some(200..=260)), "{ended:?}");
    }

    #[test]
    fn resets_of_up_to_half_the_streams_are_borne() {
        let mut client = Client::new();
        for _ in 0..10_000 {
            client.open();
            let id = client.open();
            assert_eq!(client.reset(id), None);
            client.pass(1);
        }
    }

    #[test]
    fn a_thousand_old_streams_may_go_at_once() {
        let mut client = Client::new();
        let ids: Vec<u32> = (0..1_000).map(|_| client.open()).collect();
        client.pass(2_100);
        for id in ids {
            assert_eq!(client.reset(id), None);
        }
        assert_eq!(client.guard.counts().old_resets, 1_000);
        assert_eq!(client.guard.counts().young_resets, 0);
    }

    #[test]
    fn a_good_past_pays_for_one_burst() {
        let mut client = Client::new();
        for _ in 0..4_000 {
            client.open();
            client.pass(5);
        }
        client.pass(30_000);
        for round in 0..2 {
            let ids: Vec<u32> = (0..1_000).map(|_| client.open()).collect();
            let ended = ids.into_iter().find_map(|id| client.reset(id));
            assert_eq!(ended, (round == 1).then_some(Flood::RapidReset), "round {round}");
        }
    }

    #[test]
    fn streams_reset_young_earn_no_credit() {
        let mut client = Client::new();
        // 150 a window are borne for ever; were they good streams, they would have earned 1,000 by now.
        for _ in 0..2_000 {
            let id = client.open();
            client.pass(70);
            assert_eq!(client.reset(id), None);
        }
        client.pass(30_000);
        let ended = (1..1_000).find(|_| {
            let id = client.open();
            client.reset(id).is_some()
        });
        assert_eq!(ended, Some(201));
    }

    #[test]
    fn resets_that_no_stream_explains_end_it() {
        let mut client = Client::new();
        let id = client.open();
        client.pass(5_000);
        let ended = client.flood(&frame(kind::RST_STREAM, 0, id, 4), 1_000);
        assert_eq!(ended, Some((Flood::RapidReset, 202)), "a stream that is gone");
        let ended = Client::new().flood(&frame(kind::RST_STREAM, 0, 999, 4), 1_000);
        assert_eq!(ended, Some((Flood::RapidReset, 201)), "a stream that never was");
    }

    #[test]
    fn provoked_resets_count_like_sent_ones() {
        let mut client = Client::new();
        let ended = (1..1_000).find(|_| {
            let id = client.open();
            let zero = [&[0, 0, 4, kind::WINDOW_UPDATE, 0][..], &id.to_be_bytes(), &[128, 0, 0, 0]].concat();
            client.send(zero).is_some()
        });
        assert_eq!(ended, Some(201));
        let mut client = Client::new();
        let ended = (1..1_000).find(|_| {
            let id = client.open();
            client.guard.provoked_reset(id, client.now);
            client.guard.verdict().is_some()
        });
        assert_eq!(ended, Some(201));
    }

    #[test]
    fn header_blocks_are_bounded_in_frames_and_bytes() {
        let mut client = Client::new();
        client.send(frame(HEADERS, 0, 1, 10));
        assert_eq!(client.flood(&frame(kind::CONTINUATION, 0, 1, 1), 1_000), Some((Flood::Continuation, 33)));
        let mut client = Client::new();
        client.send(frame(HEADERS, 0, 1, 16_384));
        assert_eq!(client.flood(&frame(kind::CONTINUATION, 0, 1, 16_384), 10), Some((Flood::HeaderBlock, 4)));
        let mut client = Client::new();
        for id in (1..2_000).step_by(2) {
            client.send(frame(HEADERS, 0, id, 16_384));
            client.send(frame(kind::CONTINUATION, 0, id, 16_384));
            assert_eq!(client.send(frame(kind::CONTINUATION, flag::END_HEADERS, id, 16_384)), None);
        }
    }

    #[test]
    fn empty_continuations_end_it_over_many_blocks() {
        let mut client = Client::new();
        let ended = (0..1_000u32).find(|stream| {
            client.send(frame(HEADERS, 0, stream * 2 + 1, 5));
            client.send(frame(kind::CONTINUATION, 0, stream * 2 + 1, 0));
            client.send(frame(kind::CONTINUATION, flag::END_HEADERS, stream * 2 + 1, 1)).is_some()
        });
        assert_eq!(ended, Some(100));
        assert_eq!(client.guard.verdict(), Some(Calm { why: Flood::Empty }));
    }

    #[test]
    fn floods_end_after_their_burst() {
        let padded = [&[0, 0, 4, kind::DATA, flag::PADDED, 0, 0, 0, 1, 3][..], &[0; 3]].concat();
        for (flood, sent, frame) in [
            (Flood::Empty, 101, frame(kind::DATA, 0, 1, 0)),
            (Flood::Empty, 101, padded),
            (Flood::Empty, 101, frame(HEADERS, END, 1, 0)),
            (Flood::Side, 202, frame(HEADERS, END, 1, 9)),
            (Flood::Side, 201, frame(2, 0, 1, 5)),
            (Flood::Side, 201, frame(7, 0, 0, 8)),
            (Flood::Side, 201, frame(99, 0, 0, 0)),
            (Flood::Settings, 101, frame(kind::SETTINGS, 0, 0, 6)),
            (Flood::Settings, 101, frame(kind::SETTINGS, 1, 0, 0)),
            (Flood::Ping, 1_001, frame(kind::PING, 0, 0, 8)),
            (Flood::Ping, 1_001, frame(kind::PING, 1, 0, 8)),
            (Flood::WindowUpdate, 10_001, frame(kind::WINDOW_UPDATE, 0, 0, 4)),
        ] {
            assert_eq!(Client::new().flood(&frame, 100_000), Some((flood, sent)), "{frame:?}");
        }
    }

    #[test]
    fn pings_do_not_pay_for_themselves_with_their_answers() {
        let mut client = Client::new();
        let ended = (1..10_000).find(|_| {
            let ended = client.send(frame(kind::PING, 0, 0, 8)).is_some();
            client.guard.wrote(17);
            ended
        });
        assert!(matches!(ended, Some(1_900..=2_200)), "{ended:?}");
    }

    #[test]
    fn honest_traffic_is_never_ended() {
        let mut client = Client::new();
        for round in 0..50_000 {
            let id = client.open();
            client.send(frame(kind::DATA, 0, id, 7));
            client.send(frame(kind::DATA, flag::END_STREAM, id, 0));
            // A reply of a few bytes, answered with a probe of the bandwidth and two window updates.
            client.guard.wrote(9 + 20 + 9 + 6 + 9 + 10);
            client.send(frame(kind::PING, 0, 0, 8));
            client.guard.wrote(17);
            client.send(frame(kind::WINDOW_UPDATE, 0, 0, 4));
            client.send(frame(kind::WINDOW_UPDATE, 0, id, 4));
            client.send(frame(2, 0, id, 5));
            assert_eq!(client.guard.verdict(), None, "round {round}");
        }
    }

    #[test]
    fn time_refills_allowances() {
        let mut client = Client::new();
        for _ in 0..3_600 {
            client.pass(1_000);
            assert_eq!(client.flood(&frame(kind::PING, 0, 0, 8), 90), None);
            assert_eq!(client.flood(&frame(kind::SETTINGS, 0, 0, 6), 9), None);
            assert_eq!(client.flood(&frame(kind::DATA, 0, 1, 0), 9), None);
        }
    }

    #[test]
    fn what_is_not_http2_is_left_alone() {
        let now = Instant::now();
        let mut guard = H2Guard::new(Limits::default(), now);
        guard.feed(b"PRI * HTTP/2.0\r\n\r\nXX", now);
        guard.feed(&frame(kind::PING, 0, 0, 8).repeat(10_000), now);
        assert_eq!((guard.counts(), guard.verdict()), (Counts::default(), None));
    }

    #[test]
    fn the_largest_frame_is_skipped_in_pieces() {
        let mut client = Client::new();
        client.send(frame(kind::DATA, 0, 1, 0xff_ffff));
        client.send(frame(kind::PING, 0, 0, 8));
        assert_eq!(client.guard.counts().frames, 2);
        for piece in frame(kind::DATA, 0, 1, 70_000).chunks(999) {
            client.send(piece.to_vec());
        }
        client.send(frame(kind::PING, 0, 0, 8));
        assert_eq!(client.guard.counts().frames, 4);
    }

    #[test]
    fn a_split_at_every_byte_counts_the_same() {
        let mut stream = PREFACE.to_vec();
        for id in [1, 3, 5] {
            stream.extend(frame(HEADERS, 0, id, 20));
            stream.extend(frame(kind::CONTINUATION, flag::END_HEADERS, id, 3));
            stream.extend(frame(kind::DATA, flag::PADDED, id, 12));
            stream.extend(frame(kind::WINDOW_UPDATE, 0, id, 4));
            stream.extend(frame(kind::RST_STREAM, 0, id, 4));
        }
        let now = Instant::now();
        for at in 0..=stream.len() {
            let mut guard = H2Guard::new(Limits::default(), now);
            guard.feed(&stream[..at], now);
            guard.feed(&stream[at..], now);
            let counts = Counts { frames: 15, opened: 3, young_resets: 3, old_resets: 0 };
            assert_eq!((guard.counts(), guard.verdict()), (counts, None), "split at {at}");
        }
    }

    #[test]
    fn seeded_scripts_keep_the_laws() {
        let (now, mut random) = (Instant::now(), 0x2545_f491_4f6c_dd1du64);
        let mut script = Vec::new();
        for _ in 0..200_000 {
            script.clear();
            for _ in 0..8 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let [kind, flags, id, len, how, ..] = random.to_le_bytes();
                script.extend([kind, flags, id % 32, len % 6, how]);
            }
            drive(&script, now);
        }
    }
}

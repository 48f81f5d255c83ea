//! Splits a byte stream into gRPC frames, or only watches where they begin and end.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;

use bytes::Bytes;

/// Bytes before each message: one flag and a length of four bytes, big endian.
pub const HEADER_BYTES: usize = 5;

/// What a peer's frames must keep to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether the peer announced a message encoding other than `identity` (`grpc-encoding`).
    pub compressed: bool,
    /// The longest payload, in bytes as sent; `None` is the protocol's own limit of 4 GiB - 1.
    pub message_bytes_max: Option<u32>,
}

/// Why a stream of frames can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// The flag byte is neither 0 nor 1.
    Flag(u8),
    /// The flag says compressed, but the peer announced no encoding.
    CompressedWithoutEncoding,
    /// The header announces more payload bytes than the limit.
    TooLarge {
        /// Payload bytes announced.
        len: u32,
        /// Payload bytes allowed.
        max: u32,
    },
    /// The body ended inside a message.
    Truncated {
        /// Bytes that arrived: of the payload, or of the header when `len` is `None`.
        have: u32,
        /// Payload bytes announced; `None` when the body ended inside the header.
        len: Option<u32>,
    },
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "frame flag is {flag}, send 0 or 1"),
            Self::CompressedWithoutEncoding => {
                f.write_str("frame is flagged compressed without an encoding, name it in the head")
            }
            Self::TooLarge { len, max } => {
                write!(f, "message of {len} bytes, the limit is {max}, send a smaller one")
            }
            Self::Truncated { have, len: Some(len) } => {
                write!(f, "body ended after {have} of the {len} bytes of a message, send all of it")
            }
            Self::Truncated { have, len: None } => {
                write!(f, "body ended after {have} of the 5 bytes of a frame header, send all of it")
            }
        }
    }
}

impl Error for FrameFault {}

/// The five bytes before a message of `len` bytes.
pub fn encode_header(compressed: bool, len: u32) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = len.to_be_bytes();
    [u8::from(compressed), a, b, c, d]
}

/// Watches the frames of a stream that is forwarded as it is: reads headers, skips payloads, copies nothing.
///
/// A fault is final: every later [`Scan::feed`] and [`Scan::finish`] reports it again.
#[derive(Clone, Debug)]
pub struct Scan {
    rules: Rules,
    head: Head,
    /// Payload bytes of the open message that are still to come.
    left: u32,
    begun: u64,
    completed: u64,
    payload_bytes: u64,
    /// Bytes of all chunks that were fed without a fault.
    fed_bytes: u64,
    whole_bytes: u64,
    fault: Option<FrameFault>,
}

impl Scan {
    /// A scan at the beginning of a body.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            head: Head::default(),
            left: 0,
            begun: 0,
            completed: 0,
            payload_bytes: 0,
            fed_bytes: 0,
            whole_bytes: 0,
            fault: None,
        }
    }

    /// Reads the headers in the next bytes of the body.
    ///
    /// # Errors
    /// The first header against the rules, as soon as the byte that shows it is there. The chunk must not be
    /// forwarded then, but for the [`Scan::whole_in_chunk`] bytes before the fault.
    #[inline]
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), FrameFault> {
        // The usual case by far: the chunk is one whole message.
        if self.left == 0
            && self.head.have == 0
            && self.fault.is_none()
            && let Some((head, payload)) = chunk.split_first_chunk::<HEADER_BYTES>()
            && let Some(len) = good_len(*head, self.rules)
            && len as usize == payload.len()
        {
            self.begun += 1;
            self.completed += 1;
            self.payload_bytes += u64::from(len);
            self.fed_bytes += chunk.len() as u64;
            self.whole_bytes = self.fed_bytes;
            return Ok(());
        }
        self.feed_any(chunk)
    }

    /// Says whether the body may end here.
    ///
    /// # Errors
    /// [`FrameFault::Truncated`] inside a message, or the fault found before.
    pub fn finish(&self) -> Result<(), FrameFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        truncated(&self.head, self.left)
    }

    /// Messages whose last byte was fed.
    pub fn messages(&self) -> u64 {
        self.completed
    }

    /// Messages whose header was fed whole; at most one more than [`Scan::messages`].
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Payload bytes fed, without the headers.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Whether the stream stands between two messages.
    pub fn is_between(&self) -> bool {
        self.left == 0 && self.head.have == 0 && self.fault.is_none()
    }

    /// Where the last complete message ended, in bytes from the beginning of the body.
    pub fn whole_bytes(&self) -> u64 {
        self.whole_bytes
    }

    /// After a fault: how many bytes of the refused chunk belong to whole messages before it, or end one that
    /// began in an earlier chunk.
    pub fn whole_in_chunk(&self) -> usize {
        usize::try_from(self.whole_bytes.saturating_sub(self.fed_bytes)).unwrap_or(usize::MAX)
    }

    fn feed_any(&mut self, chunk: &[u8]) -> Result<(), FrameFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.left == 0 {
                match self.head.take(&mut rest, self.rules) {
                    Err(fault) => {
                        self.fault = Some(fault);
                        return Err(fault);
                    }
                    Ok(None) => break,
                    Ok(Some((_, len))) => {
                        self.begun += 1;
                        self.left = len;
                    }
                }
            }
            let step = (self.left as usize).min(rest.len());
            rest = &rest[step..];
            self.left -= as_u32(step);
            self.payload_bytes += step as u64;
            if self.left == 0 {
                self.completed += 1;
                self.whole_bytes = self.fed_bytes + (chunk.len() - rest.len()) as u64;
            }
        }
        self.fed_bytes += chunk.len() as u64;
        Ok(())
    }
}

/// One message with its flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether the payload is compressed by the announced encoding.
    pub compressed: bool,
    /// The message, as sent.
    pub payload: Bytes,
}

/// Cuts a body into whole frames under a limit.
///
/// A payload that lies in one chunk is a slice of it; one that spans chunks is copied once, into a buffer that
/// grows with what has arrived, never with what is announced. The caller takes all frames after each chunk: then
/// what is held stays under the limit. A fault is final.
#[derive(Debug)]
pub struct Deframer {
    rules: Rules,
    chunks: VecDeque<Bytes>,
    head: Head,
    open: Option<Open>,
    held: usize,
    fault: Option<FrameFault>,
}

/// A message whose header is read.
#[derive(Debug)]
struct Open {
    compressed: bool,
    len: usize,
    /// The payload so far; empty while the message may still lie in one chunk.
    part: Vec<u8>,
}

impl Deframer {
    /// A deframer at the beginning of a body. `compressed`: the peer announced a message encoding;
    /// `message_bytes_max`: the longest payload, in bytes as sent.
    pub fn new(compressed: bool, message_bytes_max: u32) -> Self {
        let rules = Rules { compressed, message_bytes_max: Some(message_bytes_max) };
        Self { rules, chunks: VecDeque::new(), head: Head::default(), open: None, held: 0, fault: None }
    }

    /// Takes the next bytes of the body.
    pub fn feed(&mut self, chunk: Bytes) {
        if chunk.is_empty() || self.fault.is_some() {
            return;
        }
        self.held += chunk.len();
        self.chunks.push_back(chunk);
    }

    /// The next whole frame, or `None` until more is fed.
    ///
    /// # Errors
    /// The first header against the rules.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        loop {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => match self.read_head() {
                    Ok(Some((compressed, len))) => Open { compressed, len, part: Vec::new() },
                    Ok(None) => return Ok(None),
                    Err(fault) => return Err(self.fail(fault)),
                },
            };
            if let Some(payload) = self.fill(&mut open) {
                self.held -= HEADER_BYTES + open.len;
                return Ok(Some(Frame { compressed: open.compressed, payload }));
            }
            self.open = Some(open);
            if self.chunks.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Says whether the body may end here; to be asked when [`Deframer::next_frame`] has no more.
    ///
    /// # Errors
    /// [`FrameFault::Truncated`] inside a message, or the fault found before.
    pub fn finish(&self) -> Result<(), FrameFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let Some(open) = &self.open else { return truncated(&self.head, 0) };
        Err(FrameFault::Truncated { have: as_u32(open.part.len()), len: Some(as_u32(open.len)) })
    }

    /// The bytes after the frame that was given out last, for a body that is read no further.
    pub fn take_rest(&mut self) -> VecDeque<Bytes> {
        self.held = 0;
        std::mem::take(&mut self.chunks)
    }

    /// Bytes fed and not yet given out, headers included.
    pub fn held_bytes(&self) -> usize {
        self.held
    }

    /// Reads a header out of the chunks.
    fn read_head(&mut self) -> Result<Option<(bool, usize)>, FrameFault> {
        while let Some(chunk) = self.chunks.front_mut() {
            let mut rest = &chunk[..];
            let head = self.head.take(&mut rest, self.rules)?;
            let used = chunk.len() - rest.len();
            self.advance(used);
            if let Some((compressed, len)) = head {
                return Ok(Some((compressed, len as usize)));
            }
        }
        Ok(None)
    }

    /// Moves payload from the chunks to the open message; the payload when it is whole.
    fn fill(&mut self, open: &mut Open) -> Option<Bytes> {
        if open.len == 0 {
            return Some(Bytes::new());
        }
        while let Some(chunk) = self.chunks.front_mut() {
            let due = open.len - open.part.len();
            if open.part.is_empty() && due <= chunk.len() {
                let payload = chunk.split_to(due);
                self.advance(0);
                return Some(payload);
            }
            let step = due.min(chunk.len());
            grow(&mut open.part, step, open.len);
            open.part.extend_from_slice(&chunk[..step]);
            self.advance(step);
            if step == due {
                return Some(Bytes::from(std::mem::take(&mut open.part)));
            }
        }
        None
    }

    /// Drops `used` bytes of the first chunk, and the chunk when nothing is left of it.
    fn advance(&mut self, used: usize) {
        if let Some(chunk) = self.chunks.front_mut() {
            bytes::Buf::advance(chunk, used);
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
    }

    fn fail(&mut self, fault: FrameFault) -> FrameFault {
        self.chunks.clear();
        self.held = 0;
        self.fault = Some(fault);
        fault
    }
}

/// A header that arrives in pieces.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    bytes: [u8; HEADER_BYTES],
    have: usize,
}

impl Head {
    /// Moves bytes from `rest` to the header; flag and length when it is whole.
    fn take(&mut self, rest: &mut &[u8], rules: Rules) -> Result<Option<(bool, u32)>, FrameFault> {
        let step = (HEADER_BYTES - self.have).min(rest.len());
        self.bytes[self.have..self.have + step].copy_from_slice(&rest[..step]);
        self.have += step;
        *rest = &rest[step..];
        if 0 < self.have {
            judge_flag(self.bytes[0], rules)?;
        }
        if self.have < HEADER_BYTES {
            return Ok(None);
        }
        self.have = 0;
        Ok(Some((self.bytes[0] == 1, judge(self.bytes, rules)?)))
    }
}

/// The payload length of a header that keeps to the rules.
#[inline]
fn judge(head: [u8; HEADER_BYTES], rules: Rules) -> Result<u32, FrameFault> {
    judge_flag(head[0], rules)?;
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    match rules.message_bytes_max {
        Some(max) if max < len => Err(FrameFault::TooLarge { len, max }),
        _ => Ok(len),
    }
}

/// The payload length of a header that keeps to the rules, for those who need no reason when it doesn't.
#[inline]
fn good_len([flag, a, b, c, d]: [u8; HEADER_BYTES], rules: Rules) -> Option<u32> {
    let len = u32::from_be_bytes([a, b, c, d]);
    (flag <= u8::from(rules.compressed) && len <= rules.message_bytes_max.unwrap_or(u32::MAX)).then_some(len)
}

#[inline]
fn judge_flag(flag: u8, rules: Rules) -> Result<(), FrameFault> {
    match flag {
        0 => Ok(()),
        1 if rules.compressed => Ok(()),
        1 => Err(FrameFault::CompressedWithoutEncoding),
        flag => Err(FrameFault::Flag(flag)),
    }
}

/// The fault of a body that ends with this much of a header, or with `left` payload bytes missing.
fn truncated(head: &Head, left: u32) -> Result<(), FrameFault> {
    match (left, head.have) {
        (0, 0) => Ok(()),
        (0, have) => Err(FrameFault::Truncated { have: as_u32(have), len: None }),
        (left, _) => {
            let [_, a, b, c, d] = head.bytes; // kept since the header was whole
            let len = u32::from_be_bytes([a, b, c, d]);
            Err(FrameFault::Truncated { have: len - left, len: Some(len) })
        }
    }
}

/// Makes room for `step` more bytes by doubling, but never beyond the payload itself.
fn grow(part: &mut Vec<u8>, step: usize, len: usize) {
    let need = part.len() + step;
    if part.capacity() < need {
        let target = need.max(part.capacity() * 2).min(len);
        part.reserve_exact(target - part.len());
    }
}

fn as_u32(len: usize) -> u32 {
    u32::try_from(len).expect("is at most a payload length, which is read from 32 bits")
}

/// Runs a script over [`Scan`] and [`Deframer`] together and checks their laws; for the fuzzer and the tests.
///
/// The first byte sets the rules. Then each byte is an operation: below 128 it feeds that many raw bytes of the
/// script in one chunk, from 128 on a well-formed message with the low bits as its length, and 255 takes no frames
/// until the next operation.
///
/// # Panics
/// When a law is broken: bytes in are bytes out and bytes held, and both readers tell the same story.
pub fn drive(script: &[u8]) {
    let Some((&first, mut script)) = script.split_first() else { return };
    let rules = Rules { compressed: first & 1 == 1, message_bytes_max: Some(u32::from(first >> 1) * 4) };
    let mut scan = Scan::new(rules);
    let mut deframer = Deframer::new(rules.compressed, u32::from(first >> 1) * 4);
    let (mut stream, mut rebuilt, mut frames) = (Vec::new(), Vec::new(), 0u64);
    while let Some((&op, rest)) = script.split_first() {
        let (raw, rest) = rest.split_at(usize::from(op & 127).min(rest.len()));
        script = rest;
        let chunk = match op {
            0..128 => raw.to_vec(),
            _ => [&encode_header(false, as_u32(raw.len())), raw].concat(),
        };
        stream.extend_from_slice(&chunk);
        let scanned = scan.feed(&chunk);
        deframer.feed(Bytes::from(chunk));
        if op == 255 && scanned.is_ok() {
            continue;
        }
        let end = loop {
            match deframer.next_frame() {
                Ok(Some(frame)) => {
                    frames += 1;
                    rebuilt.extend(encode_header(frame.compressed, as_u32(frame.payload.len())));
                    rebuilt.extend(frame.payload);
                }
                Ok(None) => break Ok(()),
                Err(fault) => break Err(fault),
            }
        };
        assert_eq!(scanned, end, "both readers judge alike");
        assert_eq!(scan.messages(), frames, "both readers count alike");
        assert_eq!(scan.whole_bytes(), rebuilt.len() as u64, "whole messages end where the frames do");
        assert!(stream.starts_with(&rebuilt), "frames are the stream, cut");
        assert_eq!(scan.finish(), deframer.finish(), "both readers see the same end");
        if end.is_err() {
            assert_eq!(scan.feed(b"x"), end, "a fault is final");
            return;
        }
        assert_eq!(
            stream.len(),
            rebuilt.len() + deframer.held_bytes(),
            "bytes in are bytes out and bytes held"
        );
        assert_eq!(scan.is_between(), deframer.held_bytes() == 0, "nothing is held between messages");
        assert!(scan.begun() - scan.messages() <= 1, "one message is open at a time");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FREE: Rules = Rules { compressed: true, message_bytes_max: None };

    fn message(compressed: bool, payload: &[u8]) -> Vec<u8> {
        [&encode_header(compressed, as_u32(payload.len())), payload].concat()
    }

    fn all(deframer: &mut Deframer) -> Result<Vec<Frame>, FrameFault> {
        std::iter::from_fn(|| deframer.next_frame().transpose()).collect()
    }

    #[test]
    fn scan_counts_whole_messages() {
        let mut scan = Scan::new(FREE);
        scan.feed(&message(false, b"abc")).unwrap();
        scan.feed(&[message(true, b""), message(false, b"de")].concat()).unwrap();
        assert_eq!((scan.messages(), scan.begun(), scan.payload_bytes(), scan.whole_bytes()), (3, 3, 5, 20));
        assert!(scan.is_between());
        assert_eq!(scan.finish(), Ok(()));
    }

    #[test]
    fn scan_knows_what_is_open() {
        let mut scan = Scan::new(FREE);
        scan.feed(&message(false, b"abcd")[..3]).unwrap();
        assert_eq!(scan.finish(), Err(FrameFault::Truncated { have: 3, len: None }));
        scan.feed(&message(false, b"abcd")[3..7]).unwrap();
        assert_eq!(scan.finish(), Err(FrameFault::Truncated { have: 2, len: Some(4) }));
        assert_eq!((scan.messages(), scan.begun(), scan.whole_bytes()), (0, 1, 0));
        assert!(!scan.is_between());
    }

    #[test]
    fn faults_are_told_by_the_header_alone() {
        let rules = Rules { compressed: false, message_bytes_max: Some(10) };
        for (bytes, fault) in [
            (&b"\x02"[..], FrameFault::Flag(2)),
            (b"\x80\0\0\0\0", FrameFault::Flag(128)),
            (b"\x01", FrameFault::CompressedWithoutEncoding),
            (b"\0\0\0\0\x0b", FrameFault::TooLarge { len: 11, max: 10 }),
            (b"\0\xff\xff\xff\xff0123456789", FrameFault::TooLarge { len: u32::MAX, max: 10 }),
        ] {
            let mut scan = Scan::new(rules);
            assert_eq!(scan.feed(bytes), Err(fault));
            assert_eq!(scan.finish(), Err(fault), "a fault is final");
            let mut deframer = Deframer::new(false, 10);
            deframer.feed(Bytes::copy_from_slice(bytes));
            assert_eq!(deframer.next_frame(), Err(fault));
            assert_eq!(deframer.next_frame(), Err(fault), "a fault is final");
            assert_eq!(deframer.held_bytes(), 0);
        }
    }

    #[test]
    fn a_fault_leaves_the_whole_messages_before_it() {
        let mut scan = Scan::new(FREE);
        scan.feed(&message(false, b"abc")[..4]).unwrap();
        let chunk = [&message(false, b"abc")[4..], &message(false, b"d"), b"\x07rest"].concat();
        assert_eq!(scan.feed(&chunk), Err(FrameFault::Flag(7)));
        assert_eq!(scan.whole_in_chunk(), 4 + 6);
        assert_eq!(scan.messages(), 2);
    }

    #[test]
    fn four_gigabytes_announced_allocate_nothing() {
        let mut deframer = Deframer::new(false, u32::MAX);
        deframer.feed(Bytes::from_static(b"\0\xff\xff\xff\xff0123456789"));
        assert_eq!(deframer.next_frame(), Ok(None));
        let open = deframer.open.as_ref().expect("the header is read");
        assert!(open.part.capacity() <= 16, "{}", open.part.capacity());
        assert_eq!(deframer.finish(), Err(FrameFault::Truncated { have: 10, len: Some(u32::MAX) }));
    }

    #[test]
    fn a_frame_in_one_chunk_is_not_copied() {
        let chunk = Bytes::from([message(false, b"first"), message(false, b"second")].concat());
        let mut deframer = Deframer::new(false, 100);
        deframer.feed(chunk.clone());
        let frames = all(&mut deframer).unwrap();
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].payload.as_ptr(), chunk[5..].as_ptr());
        assert_eq!(frames[1].payload.as_ptr(), chunk[15..].as_ptr());
    }

    #[test]
    fn a_spanning_frame_is_held_in_its_own_length() {
        let payload = vec![7; 1000];
        let mut deframer = Deframer::new(false, 1000);
        for byte in message(false, &payload) {
            assert_eq!(deframer.next_frame(), Ok(None));
            deframer.feed(Bytes::copy_from_slice(&[byte]));
            assert!(deframer.open.as_ref().is_none_or(|open| open.part.capacity() <= 1000));
        }
        assert_eq!(all(&mut deframer).unwrap(), [Frame { compressed: false, payload: payload.into() }]);
    }

    #[test]
    fn seeded_scripts_keep_the_laws() {
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random.to_le_bytes()
        };
        let mut script = Vec::new();
        for _ in 0..200_000 {
            let [first, len, shape, ..] = next();
            script.clear();
            script.push(first);
            while script.len() < usize::from(len % 64) {
                let bytes = next();
                // Half of the scripts keep to plausible headers, or nearly all would end at their first flag.
                script.extend(if shape & 1 == 0 { bytes.map(|b| b & 131) } else { bytes });
            }
            drive(&script);
        }
    }

    proptest! {
        #[test]
        fn every_split_tells_the_same(
            payloads in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..6),
            tail in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let body: Vec<u8> = payloads.iter().flat_map(|(flag, payload)| message(*flag, payload)).chain(tail).collect();
            let mut whole = Deframer::new(true, 30);
            whole.feed(Bytes::from(body.clone()));
            let (once, end) = loop_out(&mut whole);
            for at in 0..=body.len() {
                let mut split = Deframer::new(true, 30);
                let mut scan = Scan::new(Rules { compressed: true, message_bytes_max: Some(30) });
                let mut frames = Vec::new();
                let mut fault = None;
                for part in [&body[..at], &body[at..]] {
                    split.feed(Bytes::copy_from_slice(part));
                    let (some, here) = loop_out(&mut split);
                    frames.extend(some);
                    prop_assert_eq!(scan.feed(part).err(), here);
                    fault = here;
                }
                prop_assert_eq!(&frames, &once);
                prop_assert_eq!(fault, end);
                prop_assert_eq!(scan.messages(), frames.len() as u64);
                prop_assert_eq!(scan.finish(), split.finish());
            }
        }
    }

    fn loop_out(deframer: &mut Deframer) -> (Vec<Frame>, Option<FrameFault>) {
        let mut frames = Vec::new();
        loop {
            match deframer.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return (frames, None),
                Err(fault) => return (frames, Some(fault)),
            }
        }
    }
}

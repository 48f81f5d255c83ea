//! Takes the messages out of an upstream's reply.

use bytes::Bytes;
use http::HeaderMap;

use crate::bridge::frames::Coded;
use crate::bridge::frames::Uncoded;
use crate::bridge::frames::malformed;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::Side;
use crate::wire::compress::Encoding;
use crate::wire::frame::Deframer;
use crate::wire::frame::FrameFault;
use crate::wire::frame::HEADER_BYTES;

/// The frames of a reply.
pub(super) struct Replies {
    deframer: Option<Deframer>,
    coded: Coded,
    bytes_max: usize,
}

impl Replies {
    pub(super) fn new() -> Self {
        Self { deframer: None, coded: Coded::Known(Encoding::Identity), bytes_max: 0 }
    }

    /// Sets the largest message, as it comes and decompressed.
    pub(super) fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Reads what the head says of the messages.
    pub(super) fn head(&mut self, headers: &HeaderMap) {
        let max = u32::try_from(self.bytes_max).unwrap_or(u32::MAX);
        self.coded = Coded::of(headers);
        self.deframer = Some(Deframer::new(self.coded.announces(), max));
    }

    /// How many messages a chunk is made of, if it is nothing but whole ones that need no reading.
    pub(super) fn whole(&self, chunk: &[u8]) -> Option<u64> {
        if self.deframer.as_ref().is_none_or(|deframer| deframer.held_bytes() > 0) {
            return None;
        }
        let (mut rest, mut count) = (chunk, 0);
        while !rest.is_empty() {
            let ([flag, length @ ..], after) = rest.split_first_chunk::<HEADER_BYTES>()?;
            let len = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            if *flag != 0 || self.bytes_max < len {
                return None;
            }
            rest = after.get(len..)?;
            count += 1;
        }
        Some(count)
    }

    /// Takes the next bytes; the messages are to be taken out before more of them.
    pub(super) fn feed(&mut self, bytes: Bytes) {
        if let Some(deframer) = &mut self.deframer {
            deframer.feed(bytes);
        }
    }

    /// Bytes of a message that isn't whole.
    pub(super) fn held(&self) -> usize {
        self.deframer.as_ref().map_or(0, Deframer::held_bytes)
    }

    /// Whether a message may have to be decompressed.
    pub(super) fn is_coded(&self) -> bool {
        self.coded.announces()
    }

    /// The next message, as it was before it was compressed.
    ///
    /// # Errors
    /// What can't be told to a client.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(deframer) = &mut self.deframer else { return Ok(None) };
        match deframer.next_frame().map_err(refuse_frame)? {
            Some(frame) => self.coded.plain(frame, self.bytes_max).map(Some).map_err(Uncoded::malformed),
            None => Ok(None),
        }
    }
}

fn refuse_frame(fault: FrameFault) -> Refusal {
    match fault {
        FrameFault::TooLarge { .. } => {
            let mut refusal = Refusal::new(Reason::MessageTooLarge, fault.to_string());
            refusal.side = Side::Upstream;
            refusal
        }
        _ => malformed(&fault.to_string()),
    }
}

//! JSON in gRPC frames: each message transcoded on its way.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::bridge::inflow::append_frame;
use crate::bridge::inflow::refuse_coding;
use crate::bridge::rest::Method;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::Side;
use crate::wire::compress;
use crate::wire::compress::CodingFault;
use crate::wire::compress::Encoding;
use crate::wire::frame::Deframer;
use crate::wire::frame::Frame;
use crate::wire::frame::FrameFault;

/// How the messages of one direction are compressed, as `grpc-encoding` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coded {
    /// Not at all, or in a way that the gateway knows.
    Known(Encoding),
    /// In another one, which a message that isn't compressed doesn't need.
    Unknown,
}

impl Coded {
    /// Reads a head.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match headers.get("grpc-encoding") {
            Some(name) => Encoding::from_name(name.as_bytes()).map_or(Self::Unknown, Self::Known),
            None => Self::Known(Encoding::Identity),
        }
    }

    /// Whether messages may be flagged as compressed.
    pub(super) fn announces(self) -> bool {
        self != Self::Known(Encoding::Identity)
    }

    /// A message as it was before it was compressed.
    ///
    /// # Errors
    /// A compression that isn't known, or bytes that are not of it.
    pub(super) fn plain(self, frame: Frame, bytes_max: usize) -> Result<Bytes, Uncoded> {
        if !frame.compressed {
            return Ok(frame.payload);
        }
        let Self::Known(coding) = self else { return Err(Uncoded::Unknown) };
        let mut plain = Vec::new();
        let limits = compress::Limits::bytes(bytes_max as u64);
        compress::decode(&[coding], &frame.payload, limits, &mut plain).map_err(Uncoded::Fault)?;
        Ok(plain.into())
    }
}

/// Why a message can't be decompressed.
pub(super) enum Uncoded {
    /// Nobody here knows how.
    Unknown,
    /// It isn't what it is said to be, or grows too large.
    Fault(CodingFault),
}

impl Uncoded {
    /// The refusal of a call whose upstream sends such a message.
    pub(super) fn malformed(self) -> Refusal {
        match self {
            Self::Unknown => malformed("compressed in a way that the gateway doesn't know"),
            Self::Fault(fault) => outgrown(fault).unwrap_or_else(|| malformed(&fault.to_string())),
        }
    }
}

/// Turns a client's frames of JSON into frames of protobuf.
pub(super) struct JsonRequests {
    method: Arc<Method>,
    coded: Coded,
    deframer: Option<Deframer>,
    bytes_max: usize,
}

impl JsonRequests {
    /// A reader of frames that are compressed as `headers` say.
    ///
    /// # Errors
    /// A compression that the gateway doesn't know.
    pub(super) fn new(method: Arc<Method>, headers: &HeaderMap) -> Result<Self, Refusal> {
        let coded = Coded::of(headers);
        if coded == Coded::Unknown {
            let told = format!("this grpc-encoding is not known: send one of {ENCODINGS}");
            return Err(Refusal::new(Reason::EncodingUnsupported, told).offering(ENCODINGS));
        }
        Ok(Self { method, coded, deframer: None, bytes_max: 0 })
    }

    /// Sets the largest message, as it comes and decompressed, in bytes.
    pub(super) fn limit(&mut self, bytes_max: usize) {
        let max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
        self.bytes_max = bytes_max;
        self.deframer = Some(Deframer::new(self.coded.announces(), max));
    }

    /// Takes the next bytes and appends the frames that they complete.
    ///
    /// # Errors
    /// Frames or JSON that aren't right.
    pub(super) fn push(&mut self, chunk: Bytes, frames: &mut Vec<u8>) -> Result<(), Refusal> {
        let Some(deframer) = &mut self.deframer else { return Ok(()) };
        deframer.feed(chunk);
        while let Some(frame) = deframer.next_frame().map_err(refuse_frame)? {
            let json = self.coded.plain(frame, self.bytes_max).map_err(refuse_message)?;
            append_frame(frames, self.bytes_max, |out| self.method.read(&json, out))?;
        }
        Ok(())
    }

    /// Bytes of a message that isn't whole.
    pub(super) fn held(&self) -> usize {
        self.deframer.as_ref().map_or(0, Deframer::held_bytes)
    }

    /// Says whether the body may end here.
    ///
    /// # Errors
    /// A frame that isn't whole.
    pub(super) fn end(&self) -> Result<(), Refusal> {
        self.deframer.as_ref().map_or(Ok(()), |deframer| deframer.finish().map_err(refuse_frame))
    }
}

/// Turns an upstream's frames of protobuf into frames of JSON.
pub(super) struct JsonReplies {
    method: Arc<Method>,
    coded: Coded,
    deframer: Option<Deframer>,
    bytes_max: usize,
}

impl JsonReplies {
    /// A writer for the replies of a method.
    pub(super) fn new(method: Arc<Method>) -> Self {
        Self { method, coded: Coded::Known(Encoding::Identity), deframer: None, bytes_max: 0 }
    }

    /// Sets the largest message, as it comes and decompressed, in bytes.
    pub(super) fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Takes the reply's head, and from it what speaks of the protobuf messages.
    pub(super) fn head(&mut self, headers: &mut HeaderMap) {
        self.coded = Coded::of(headers);
        headers.remove("grpc-encoding");
        let max = u32::try_from(self.bytes_max).unwrap_or(u32::MAX);
        self.deframer = Some(Deframer::new(self.coded.announces(), max));
    }

    /// Bytes of a message that isn't whole.
    pub(super) fn held(&self) -> usize {
        self.deframer.as_ref().map_or(0, Deframer::held_bytes)
    }

    /// The frames that the next bytes complete.
    ///
    /// # Errors
    /// A reply that can't be told as JSON.
    pub(super) fn push(&mut self, chunk: Bytes) -> Result<Bytes, Refusal> {
        let mut frames = Vec::new();
        let Some(deframer) = &mut self.deframer else { return Ok(Bytes::new()) };
        deframer.feed(chunk);
        while let Some(frame) = deframer.next_frame().map_err(|fault| malformed(&fault.to_string()))? {
            let message = self.coded.plain(frame, self.bytes_max).map_err(Uncoded::malformed)?;
            // The options of the method bound the JSON of a reply.
            append_frame(&mut frames, usize::MAX, |out| {
                self.method.write(&message, out).map_err(|error| malformed(&error.to_string()))
            })?;
        }
        Ok(frames.into())
    }
}

/// The refusal of a call whose client sends wrong frames.
pub fn refuse_frame(fault: FrameFault) -> Refusal {
    let reason = match fault {
        FrameFault::TooLarge { .. } => Reason::MessageTooLarge,
        _ => Reason::FrameInvalid,
    };
    Refusal::new(reason, fault.to_string())
}

fn refuse_message(fault: Uncoded) -> Refusal {
    match fault {
        Uncoded::Unknown => Refusal::new(Reason::EncodingUnsupported, "this grpc-encoding is not known"),
        Uncoded::Fault(fault) => refuse_coding(fault),
    }
}

/// The refusal of a call whose reply can't be told.
pub(super) fn malformed(why: &str) -> Refusal {
    Refusal::new(Reason::UpstreamReplyInvalid, "the service sent a malformed reply").logged(why)
}

/// The refusal of a reply that grows too large when it is decompressed; nothing for other faults.
pub(super) fn outgrown(fault: CodingFault) -> Option<Refusal> {
    let told = match fault {
        CodingFault::TooLarge { bytes_max } => {
            format!("the reply is over {bytes_max} bytes when decompressed: ask for less")
        }
        CodingFault::Ratio { ratio_max } => {
            format!("the reply grows more than {ratio_max} times when decompressed: ask for less")
        }
        _ => return None,
    };
    let mut refusal = Refusal::new(Reason::MessageTooLarge, told);
    refusal.side = Side::Upstream;
    Some(refusal)
}

/// The compressions that requests may use.
const ENCODINGS: &str = "identity, gzip, br, zstd";

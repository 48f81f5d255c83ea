//! Bodies on their way in: decompressed and gathered under a limit, then put into gRPC frames.

use bytes::Bytes;

use crate::call::Reason;
use crate::call::Refusal;
use crate::wire::compress;
use crate::wire::compress::CodingFault;
use crate::wire::compress::Encoding;
use crate::wire::frame::HEADER_BYTES;
use crate::wire::frame::encode_header;

/// Undoes the content codings of a body, and counts what comes out.
pub(super) struct Inflow {
    codings: Vec<Encoding>,
    decoder: Option<compress::Decoder>,
    bytes_max: usize,
}

impl Inflow {
    /// A body whose codings were applied in this order.
    pub(super) fn new(codings: Vec<Encoding>) -> Self {
        Self { codings, decoder: None, bytes_max: 0 }
    }

    /// Bounds each message, and what comes out altogether.
    ///
    /// # Errors
    /// Where there is no memory for a codec.
    pub(super) fn limit(&mut self, bytes_max: usize, all: u64) -> Result<(), Refusal> {
        self.bytes_max = bytes_max;
        if !self.codings.is_empty() {
            let limits = compress::Limits::bytes(all);
            self.decoder = Some(compress::Decoder::new(&self.codings, limits).map_err(refuse_coding)?);
        }
        Ok(())
    }

    /// The largest message.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// How many bytes the next push, of so many bytes, has to write, about.
    pub(super) fn work(&self, next: usize) -> usize {
        if self.codings.is_empty() { 0 } else { next.saturating_mul(CODED_RATIO) }
    }

    /// The next bytes as they were before they were compressed.
    ///
    /// # Errors
    /// What the coding or its limits don't allow.
    pub(super) fn push(&mut self, chunk: Bytes) -> Result<Bytes, Refusal> {
        let Some(decoder) = &mut self.decoder else { return Ok(chunk) };
        let mut plain = Vec::new();
        decoder.push(&chunk, &mut plain).map_err(refuse_coding)?;
        Ok(plain.into())
    }

    /// The body is over.
    ///
    /// # Errors
    /// Where it ends inside a coding.
    pub(super) fn end(&mut self) -> Result<(), Refusal> {
        match &mut self.decoder {
            Some(decoder) => decoder.finish().map_err(refuse_coding),
            None => Ok(()),
        }
    }
}

/// Bytes that come in few pieces: the first is kept as it is.
#[derive(Default)]
pub(super) struct Collected {
    first: Bytes,
    more: Vec<u8>,
}

impl Collected {
    pub(super) fn push(&mut self, chunk: Bytes) {
        if self.first.is_empty() && self.more.is_empty() {
            self.first = chunk;
            return;
        }
        if self.more.is_empty() {
            self.more.extend_from_slice(&self.first);
        }
        self.more.extend_from_slice(&chunk);
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        if self.more.is_empty() { &self.first } else { &self.more }
    }
}

/// Appends one gRPC frame whose message `fill` appends.
///
/// # Errors
/// What `fill` returns, or a message over `bytes_max`.
pub(super) fn append_frame(
    frames: &mut Vec<u8>,
    bytes_max: usize,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let start = frames.len();
    frames.extend_from_slice(&[0; HEADER_BYTES]);
    fill(frames)?;
    let len = frames.len() - start - HEADER_BYTES;
    if bytes_max < len {
        return Err(too_large(bytes_max));
    }
    let len = u32::try_from(len).map_err(|_| too_large(u32::MAX as usize))?;
    frames[start..start + HEADER_BYTES].copy_from_slice(&encode_header(false, len));
    Ok(())
}

/// The refusal of bytes that are not what their coding says, or grow too much.
pub(super) fn refuse_coding(fault: CodingFault) -> Refusal {
    match fault {
        CodingFault::TooLarge { .. } | CodingFault::Ratio { .. } => {
            Refusal::new(Reason::MessageTooLarge, fault.to_string())
        }
        CodingFault::Codec(_) => Refusal::new(Reason::Overloaded, fault.to_string()),
        _ => Refusal::new(Reason::RequestInvalid, fault.to_string()),
    }
}

/// The refusal of a message over its limit.
pub(super) fn too_large(bytes_max: usize) -> Refusal {
    Refusal::new(
        Reason::MessageTooLarge,
        format!("the message is over {bytes_max} bytes: send a smaller one"),
    )
}

/// How much larger text is before it is compressed.
const CODED_RATIO: usize = 8;

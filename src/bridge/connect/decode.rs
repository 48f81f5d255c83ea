//! Reads the request messages of Connect: bare in a body or a query, or in envelopes.

use bytes::Bytes;

use crate::bridge::Decode;
use crate::bridge::connect::Messages;
use crate::bridge::frames::refuse_frame;
use crate::bridge::inflow::Collected;
use crate::bridge::inflow::Inflow;
use crate::bridge::inflow::append_frame;
use crate::bridge::inflow::refuse_coding;
use crate::bridge::inflow::too_large;
use crate::call::Reason;
use crate::call::Refusal;
use crate::wire::compress;
use crate::wire::compress::Encoding;
use crate::wire::frame::Deframer;
use crate::wire::frame::Frame;

/// Reads a body that is one message.
pub(super) struct Whole {
    messages: Messages,
    inflow: Inflow,
    body: Collected,
    /// Bytes that came, before they were decompressed.
    taken: usize,
}

impl Whole {
    pub(super) fn new(messages: Messages, coding: Encoding) -> Self {
        let codings = if coding == Encoding::Identity { Vec::new() } else { vec![coding] };
        Self { messages, inflow: Inflow::new(codings), body: Collected::default(), taken: 0 }
    }
}

impl Decode for Whole {
    fn limit(&mut self, bytes_max: usize) -> Result<(), Refusal> {
        self.inflow.limit(bytes_max, bytes_max as u64)
    }

    fn push(&mut self, chunk: Bytes, _: &mut Vec<u8>) -> Result<(), Refusal> {
        let bytes_max = self.inflow.bytes_max();
        self.taken = self.taken.saturating_add(chunk.len());
        if bytes_max < self.taken {
            return Err(too_large(bytes_max));
        }
        let plain = self.inflow.push(chunk)?;
        self.body.push(plain);
        Ok(())
    }

    fn end(&mut self, frames: &mut Vec<u8>) -> Result<(), Refusal> {
        //= https://connectrpc.com/docs/protocol/#unary-request
        //# Servers must not attempt to decompress zero-length HTTP request content.
        if self.taken > 0 {
            self.inflow.end()?;
        }
        let body = std::mem::take(&mut self.body);
        append_frame(frames, self.inflow.bytes_max(), |out| self.messages.read(body.bytes(), out))
    }

    fn held(&self) -> usize {
        self.body.len()
    }

    fn work(&self, next: Option<usize>) -> usize {
        next.map_or(self.body.len(), |next| self.inflow.work(next))
    }
}

/// Reads a request whose message came with its head.
pub(super) struct Given {
    whole: Whole,
    message: Bytes,
}

impl Given {
    pub(super) fn new(whole: Whole, message: Bytes) -> Self {
        Self { whole, message }
    }
}

impl Decode for Given {
    fn limit(&mut self, bytes_max: usize) -> Result<(), Refusal> {
        self.whole.limit(bytes_max)
    }

    fn push(&mut self, chunk: Bytes, _: &mut Vec<u8>) -> Result<(), Refusal> {
        if chunk.is_empty() {
            return Ok(());
        }
        Err(Refusal::new(Reason::RequestInvalid, "a body came with GET: send the message in the query alone"))
    }

    fn end(&mut self, frames: &mut Vec<u8>) -> Result<(), Refusal> {
        let message = std::mem::take(&mut self.message);
        self.whole.push(message, frames)?;
        self.whole.end(frames)
    }

    fn held(&self) -> usize {
        self.message.len()
    }
}

/// Reads envelopes, each as soon as it is whole.
pub(super) struct Stream {
    messages: Messages,
    coding: Encoding,
    deframer: Option<Deframer>,
    bytes_max: usize,
}

impl Stream {
    pub(super) fn new(messages: Messages, coding: Encoding) -> Self {
        Self { messages, coding, deframer: None, bytes_max: 0 }
    }
}

impl Decode for Stream {
    fn limit(&mut self, bytes_max: usize) -> Result<(), Refusal> {
        self.bytes_max = bytes_max;
        let max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
        self.deframer = Some(Deframer::new(self.coding != Encoding::Identity, max));
        Ok(())
    }

    fn push(&mut self, chunk: Bytes, frames: &mut Vec<u8>) -> Result<(), Refusal> {
        let Some(deframer) = &mut self.deframer else { return Ok(()) };
        deframer.feed(chunk);
        while let Some(frame) = deframer.next_frame().map_err(refuse_frame)? {
            let payload = plain(self.coding, frame, self.bytes_max)?;
            append_frame(frames, self.bytes_max, |out| self.messages.read(&payload, out))?;
        }
        Ok(())
    }

    fn end(&mut self, _: &mut Vec<u8>) -> Result<(), Refusal> {
        self.deframer.as_ref().map_or(Ok(()), |deframer| deframer.finish().map_err(refuse_frame))
    }

    fn held(&self) -> usize {
        self.deframer.as_ref().map_or(0, Deframer::held_bytes)
    }
}

/// A message as it was before the client compressed it; nothing at all never was.
fn plain(coding: Encoding, frame: Frame, bytes_max: usize) -> Result<Bytes, Refusal> {
    if !frame.compressed || frame.payload.is_empty() {
        return Ok(frame.payload);
    }
    let mut plain = Vec::new();
    let limits = compress::Limits::bytes(bytes_max as u64);
    compress::decode(&[coding], &frame.payload, limits, &mut plain).map_err(refuse_coding)?;
    Ok(plain.into())
}

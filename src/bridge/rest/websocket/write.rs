//! Writes the reply of a call into a WebSocket.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::bridge::Encode;
use crate::bridge::Ending;
use crate::bridge::Event;
use crate::bridge::Out;
use crate::bridge::frames::Coded;
use crate::bridge::is_compressed;
use crate::bridge::rest::endpoint::Endpoint;
use crate::bridge::rest::errors::ErrorForm;
use crate::bridge::rest::errors::Failure;
use crate::bridge::rest::faults;
use crate::bridge::rest::websocket::call::Form;
use crate::bridge::rest::websocket::call::Line;
use crate::call::Reason;
use crate::call::Refusal;
use crate::wire::compress::Encoding;
use crate::wire::frame::Deframer;

/// The writer of one call. The response's head is sent before the call begins, so the reply's metadata aren't
/// told.
pub(super) struct Writer {
    endpoint: Arc<Endpoint>,
    line: Line,
    bytes_max: usize,
    deframer: Option<Deframer>,
    coded: Coded,
    /// The message of a reply that has one, until the status is known.
    message: Option<Bytes>,
    /// What was written before the message that can't be.
    unsent: Vec<u8>,
}

impl Writer {
    pub(super) fn new(endpoint: Arc<Endpoint>, line: Line) -> Self {
        let coded = Coded::Known(Encoding::Identity);
        Self { endpoint, line, bytes_max: 0, deframer: None, coded, message: None, unsent: Vec::new() }
    }

    fn head(&mut self, headers: &HeaderMap) {
        let max = u32::try_from(self.bytes_max).unwrap_or(u32::MAX);
        self.deframer = Some(Deframer::new(is_compressed(headers), max));
        self.coded = Coded::of(headers);
    }

    fn frames(&mut self, bytes: Bytes, out: &mut Vec<u8>) -> Result<(), Refusal> {
        if let Some(deframer) = &mut self.deframer {
            deframer.feed(bytes);
        }
        while let Some(deframer) = &mut self.deframer {
            let next = deframer.next_frame().map_err(faults::frame)?;
            let Some(frame) = next else { break };
            let message = self.coded.plain(frame, self.bytes_max).map_err(faults::uncoded)?;
            if !self.endpoint.kind().one_reply() {
                self.message(&message, out)?;
            } else if self.message.replace(message).is_some() {
                return Err(faults::invalid("the service sent a second message where one is due"));
            }
        }
        Ok(())
    }

    /// A message in the form that the client uses.
    fn message(&self, message: &Bytes, out: &mut Vec<u8>) -> Result<(), Refusal> {
        // The reader may be at work meanwhile.
        let form = self.line.lock().form;
        if form == Form::Binary
            && let Some(message) = self.endpoint.write_protobuf(message).map_err(faults::malformed)?
        {
            self.line.lock().socket.binary(&message, out);
            return Ok(());
        }
        let mut json = Vec::with_capacity(message.len() * 2 + 16);
        let bytes_max = self.endpoint.method.options.write.bytes_max;
        self.endpoint
            .write(message, &mut json)
            .map_err(|error| faults::unwritten(&error, json.len(), bytes_max))?;
        self.line.lock().socket.text(&json, out);
        Ok(())
    }

    fn end(&mut self, trailers: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Refusal> {
        if let Some(failure) = Failure::from_trailers(trailers) {
            self.fail(&failure, out);
            return Ok(());
        }
        if self.endpoint.kind().one_reply() {
            let message =
                self.message.take().ok_or_else(|| faults::invalid("the service sent no message"))?;
            self.message(&message, out)?;
        }
        self.line.lock().socket.end(out);
        Ok(())
    }

    fn fail(&self, failure: &Failure, out: &mut Vec<u8>) {
        let mut status = Vec::new();
        failure.write(ErrorForm::Status, &*self.endpoint, &mut status);
        self.line.lock().socket.fail(&status, failure.code, &failure.message, out);
    }

    fn refused(&self, refusal: &Refusal, out: &mut Vec<u8>) {
        if refusal.reason != Reason::ClientCancelled {
            return self.fail(&Failure::of(refusal), out);
        }
        // Nobody listens any more, but for the answer to a close.
        let mut state = self.line.lock();
        if state.socket.is_closed_by_us() {
            out.append(&mut state.owed);
        }
    }
}

impl Encode for Writer {
    fn push(&mut self, event: Event<'_>, out: &mut Out) -> Result<(), Refusal> {
        let mut bytes = std::mem::take(&mut self.unsent);
        let is_end = matches!(event, Event::End(_) | Event::Only(_) | Event::Refused(_));
        match event {
            Event::Head(headers) => self.head(&headers),
            Event::Frames(frames) => {
                if let Err(refusal) = self.frames(frames, &mut bytes) {
                    self.unsent = bytes;
                    return Err(refusal);
                }
            }
            Event::End(trailers) | Event::Only(trailers) => self.end(&trailers, &mut bytes)?,
            Event::Silence => {}
            Event::Refused(refusal) => self.refused(refusal, &mut bytes),
        }
        if !bytes.is_empty() {
            out.data = Some(bytes.into());
        }
        if is_end {
            out.end = Some(Ending::Done);
        }
        Ok(())
    }

    fn limit(&mut self, message_bytes_max: usize) {
        self.bytes_max = message_bytes_max;
    }

    fn held(&self) -> usize {
        let part = self.deframer.as_ref().map_or(0, Deframer::held_bytes);
        part + self.message.as_ref().map_or(0, Bytes::len)
    }
}

//! Reads the body of a REST request: JSON, forms and raw bytes become gRPC frames.

use std::sync::Arc;

use bytes::Bytes;

use crate::bridge::Decode;
use crate::bridge::Standing;
use crate::bridge::inflow::Collected;
use crate::bridge::inflow::Inflow;
use crate::bridge::inflow::append_frame;
use crate::bridge::inflow::too_large;
use crate::bridge::rest::endpoint::Endpoint;
use crate::bridge::rest::endpoint::Taken;
use crate::bridge::rest::negotiate::BodyForm;
use crate::bridge::rest::streams::SplitLimits;
use crate::bridge::rest::streams::SplitShape;
use crate::bridge::rest::streams::Splitter;
use crate::call::Reason;
use crate::call::Refusal;
use crate::wire::compress::Encoding;

/// What a request says of its body, and what its target binds.
pub(super) struct Asked {
    pub(super) endpoint: Arc<Endpoint>,
    /// Decoded captures, in the order of the rule's variables.
    pub(super) captures: Vec<String>,
    /// The raw query.
    pub(super) query: String,
    /// What the body is.
    pub(super) form: BodyForm,
    /// Its media type as it came, for raw bodies.
    pub(super) content_type: String,
    /// How it is compressed, in the order in which it was.
    pub(super) codings: Vec<Encoding>,
}

/// Reads a body that is one message: all of it is needed.
pub(super) struct Whole {
    asked: Asked,
    inflow: Inflow,
    body: Collected,
}

impl Whole {
    pub(super) fn new(mut asked: Asked) -> Self {
        let inflow = Inflow::new(std::mem::take(&mut asked.codings));
        Self { asked, inflow, body: Collected::default() }
    }
}

impl Decode for Whole {
    fn limit(&mut self, bytes_max: usize) -> Result<(), Refusal> {
        self.inflow.limit(bytes_max, bytes_max as u64)
    }

    fn push(&mut self, chunk: Bytes, _: &mut Vec<u8>) -> Result<(), Refusal> {
        let plain = self.inflow.push(chunk)?;
        if self.inflow.bytes_max() - self.body.len() < plain.len() {
            return Err(too_large(self.inflow.bytes_max()));
        }
        self.body.push(plain);
        Ok(())
    }

    fn end(&mut self, frames: &mut Vec<u8>) -> Result<(), Refusal> {
        self.inflow.end()?;
        let body = std::mem::take(&mut self.body);
        self.asked.frame(body.bytes(), self.inflow.bytes_max(), frames)
    }

    fn held(&self) -> usize {
        self.body.len()
    }

    fn work(&self, next: Option<usize>) -> usize {
        next.map_or(self.body.len(), |next| self.inflow.work(next))
    }
}

/// Reads a body that is many messages, each as soon as it is whole.
pub(super) struct Stream {
    asked: Asked,
    inflow: Inflow,
    splitter: Option<Splitter>,
    standing: Standing,
}

impl Stream {
    pub(super) fn new(mut asked: Asked) -> Self {
        let inflow = Inflow::new(std::mem::take(&mut asked.codings));
        Self { asked, inflow, splitter: None, standing: Standing::Open }
    }

    /// Appends the messages that are whole, until they are enough at once: what the target binds goes into each of
    /// them, so that a small body may make large frames.
    fn take(&mut self, frames: &mut Vec<u8>) -> Result<(), Refusal> {
        self.standing = Standing::Open;
        let Some(splitter) = &mut self.splitter else { return Ok(()) };
        while let Some(value) = splitter.next_text().map_err(|fault| fault.refusal())? {
            self.asked.frame(&value, self.inflow.bytes_max(), frames)?;
            if frames.len() >= FRAMES_BYTES {
                self.standing = Standing::Held;
                break;
            }
        }
        Ok(())
    }
}

impl Decode for Stream {
    fn limit(&mut self, bytes_max: usize) -> Result<(), Refusal> {
        let shape = match self.asked.form {
            _ if self.asked.endpoint.taken != Taken::Text => None,
            BodyForm::Json => Some(SplitShape::Array),
            BodyForm::Lines => Some(SplitShape::Lines),
            _ => return Err(Refusal::new(Reason::ContentTypeUnsupported, STREAM_TYPES)),
        };
        let limits = SplitLimits { message_bytes_max: bytes_max, depth_max: DEPTH_MAX };
        self.splitter = shape.map(|shape| Splitter::new(shape, limits));
        self.inflow.limit(bytes_max, u64::MAX)
    }

    fn push(&mut self, chunk: Bytes, frames: &mut Vec<u8>) -> Result<(), Refusal> {
        let plain = self.inflow.push(chunk)?;
        let bytes_max = self.inflow.bytes_max();
        let Some(splitter) = &mut self.splitter else {
            // Raw bytes become a message a chunk.
            return plain
                .chunks(bytes_max.max(1))
                .try_for_each(|part| self.asked.frame(part, usize::MAX, frames));
        };
        if !plain.is_empty() {
            splitter.push(plain);
        }
        self.take(frames)
    }

    fn end(&mut self, frames: &mut Vec<u8>) -> Result<(), Refusal> {
        self.inflow.end()?;
        let Some(splitter) = &mut self.splitter else { return Ok(()) };
        splitter.end();
        self.take(frames)
    }

    fn held(&self) -> usize {
        self.splitter.as_ref().map_or(0, Splitter::held_bytes)
    }

    fn work(&self, next: Option<usize>) -> usize {
        let next = next.unwrap_or(0);
        self.held() + next.max(self.inflow.work(next))
    }

    fn standing(&self) -> Standing {
        self.standing
    }
}

impl Asked {
    /// Appends the gRPC frame of one message, made of a body and of what the target binds.
    fn frame(&self, body: &[u8], bytes_max: usize, frames: &mut Vec<u8>) -> Result<(), Refusal> {
        append_frame(frames, bytes_max, |out| self.endpoint.read(self, body, out))
    }
}

const STREAM_TYPES: &str =
    "a stream of messages is sent as application/x-ndjson or as a JSON array: send one of them";
/// Frames that are passed on before more are made.
const FRAMES_BYTES: usize = 64 << 10;
/// Brackets within each other in one message.
const DEPTH_MAX: u32 = 200;

//! The bytes of a request as gRPC frames, whatever the dialect of its body.

use std::task::Context;
use std::task::Poll;

use bytes::Bytes;

use crate::bridge::Decode;
use crate::bridge::Standing;
use crate::call::Body;
use crate::call::Refusal;
use crate::gateway::apart::APART_BYTES;
use crate::gateway::apart::Apart;
use crate::gateway::lane::LaneFault;

/// A request body and what reads it.
pub(super) struct Source {
    body: Body,
    decoding: Option<Decoding>,
}

struct Decoding {
    decoder: Apart<Box<dyn Decode>, Read>,
    /// What it holds, as far as is known.
    held: usize,
    frames: Vec<u8>,
    over: Over,
}

/// The frames that were read, and the fault after them.
type Read = (Vec<u8>, Result<(), Refusal>);

#[derive(PartialEq, Eq)]
enum Over {
    No,
    Yes,
}

impl Source {
    /// A body of which nothing was read; without a decoder it is frames already.
    pub(super) fn new(body: Body, decoder: Option<Box<dyn Decode>>) -> Self {
        let decoding = decoder.map(|decoder| {
            let decoder = Apart::new(decoder);
            Decoding { decoder, held: 0, frames: Vec::new(), over: Over::No }
        });
        Self { body, decoding }
    }

    /// The next bytes of frames, `None` at the end.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LaneFault>>> {
        let Some(decoding) = &mut self.decoding else {
            return self.body.poll_chunk(cx).map(|chunk| chunk.map(|chunk| chunk.map_err(LaneFault::from)));
        };
        while decoding.over == Over::No || decoding.decoder.is_away() {
            if let Err(fault) = std::task::ready!(decoding.poll_read(&mut self.body, cx)) {
                return Poll::Ready(Some(Err(fault)));
            }
            if !decoding.frames.is_empty() {
                return Poll::Ready(Some(Ok(std::mem::take(&mut decoding.frames).into())));
            }
        }
        Poll::Ready(None)
    }

    /// A body that is over.
    pub(super) fn empty() -> Self {
        Self { body: Body::Empty, decoding: None }
    }

    /// Reads on when nothing is taken any more, for as long as the dialect has something to say about it.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LaneFault>> {
        let Some(decoding) = &mut self.decoding else { return Poll::Ready(Ok(())) };
        while decoding.decoder.here().is_none_or(|decoder| decoder.lingers()) {
            std::task::ready!(decoding.poll_read(&mut self.body, cx))?;
            decoding.frames.clear();
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes that are held of messages.
    pub(super) fn held(&self) -> usize {
        self.decoding.as_ref().map_or(0, |decoding| decoding.held)
    }

    /// Whether the end is known to be reached.
    pub(super) fn is_end(&self) -> bool {
        match &self.decoding {
            Some(decoding) => {
                decoding.over == Over::Yes && decoding.frames.is_empty() && !decoding.decoder.is_away()
            }
            None => self.body.is_end(),
        }
    }
}

impl Decoding {
    /// One step of the decoder.
    fn poll_read(&mut self, body: &mut Body, cx: &mut Context<'_>) -> Poll<Result<(), LaneFault>> {
        if let Some((frames, read)) = std::task::ready!(self.decoder.poll_back(cx)) {
            self.frames = frames;
            return Poll::Ready(self.took(read));
        }
        let Some(decoder) = self.decoder.here() else { return Poll::Pending };
        let chunk = match decoder.standing() {
            Standing::Held => Some(Bytes::new()),
            _ => std::task::ready!(body.poll_chunk(cx)).transpose()?,
        };
        if chunk.is_none() {
            self.over = Over::Yes;
        }
        if decoder.work(chunk.as_ref().map(Bytes::len)) >= APART_BYTES {
            let mut frames = std::mem::take(&mut self.frames);
            self.decoder.send(move |decoder| {
                let read = step(&mut **decoder, chunk, &mut frames);
                (frames, read)
            });
            return self.poll_read(body, cx);
        }
        let read = step(&mut **decoder, chunk, &mut self.frames);
        Poll::Ready(self.took(read))
    }

    fn took(&mut self, read: Result<(), Refusal>) -> Result<(), LaneFault> {
        if let Some(decoder) = self.decoder.here() {
            self.held = decoder.held();
            if decoder.standing() == Standing::Whole {
                self.over = Over::Yes;
            }
        }
        read.map_err(LaneFault::Refused)
    }
}

fn step(decoder: &mut dyn Decode, chunk: Option<Bytes>, frames: &mut Vec<u8>) -> Result<(), Refusal> {
    match chunk {
        Some(chunk) => decoder.push(chunk, frames),
        None => decoder.end(frames),
    }
}

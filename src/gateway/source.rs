//! The bytes of a request as gRPC frames, whatever the dialect of its body.

use std::task::Context;
use std::task::Poll;

use bytes::Bytes;

use crate::bridge::Decode;
use crate::bridge::Standing;
use crate::call::Body;
use crate::gateway::lane::LaneFault;

/// A request body and what reads it.
pub(super) struct Source {
    body: Body,
    decoding: Option<Decoding>,
}

struct Decoding {
    decoder: Box<dyn Decode>,
    frames: Vec<u8>,
    over: Over,
}

#[derive(PartialEq, Eq)]
enum Over {
    No,
    Yes,
}

impl Source {
    /// A body of which nothing was read; without a decoder it is frames already.
    pub(super) fn new(body: Body, decoder: Option<Box<dyn Decode>>) -> Self {
        let decoding = decoder.map(|decoder| Decoding { decoder, frames: Vec::new(), over: Over::No });
        Self { body, decoding }
    }

    /// The next bytes of frames, `None` at the end.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LaneFault>>> {
        let Some(decoding) = &mut self.decoding else {
            return self.body.poll_chunk(cx).map(|chunk| chunk.map(|chunk| chunk.map_err(LaneFault::from)));
        };
        while decoding.over == Over::No {
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
        let Some(decoding) = self.decoding.as_mut().filter(|decoding| decoding.decoder.lingers()) else {
            return Poll::Ready(Ok(()));
        };
        loop {
            std::task::ready!(decoding.poll_read(&mut self.body, cx))?;
            decoding.frames.clear();
        }
    }

    /// Whether the end is known to be reached.
    pub(super) fn is_end(&self) -> bool {
        match &self.decoding {
            Some(decoding) => decoding.over == Over::Yes && decoding.frames.is_empty(),
            None => self.body.is_end(),
        }
    }
}

impl Decoding {
    /// One step of the decoder.
    fn poll_read(&mut self, body: &mut Body, cx: &mut Context<'_>) -> Poll<Result<(), LaneFault>> {
        let chunk = match self.decoder.standing() {
            Standing::Held => Some(Bytes::new()),
            _ => std::task::ready!(body.poll_chunk(cx)).transpose()?,
        };
        let read = match chunk {
            Some(chunk) => self.decoder.push(chunk, &mut self.frames),
            None => {
                self.over = Over::Yes;
                self.decoder.end(&mut self.frames)
            }
        };
        if self.decoder.standing() == Standing::Whole {
            self.over = Over::Yes;
        }
        Poll::Ready(read.map_err(LaneFault::Refused))
    }
}

//! The bytes of a request as gRPC frames, whatever the dialect of its body.

use std::task::Context;
use std::task::Poll;

use bytes::Bytes;

use crate::bridge::Decode;
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
            let read = match std::task::ready!(self.body.poll_chunk(cx)) {
                Some(Ok(chunk)) => decoding.decoder.push(chunk, &mut decoding.frames),
                Some(Err(fault)) => return Poll::Ready(Some(Err(fault.into()))),
                None => {
                    decoding.over = Over::Yes;
                    decoding.decoder.end(&mut decoding.frames)
                }
            };
            if let Err(refusal) = read {
                return Poll::Ready(Some(Err(LaneFault::Refused(refusal))));
            }
            if !decoding.frames.is_empty() {
                return Poll::Ready(Some(Ok(std::mem::take(&mut decoding.frames).into())));
            }
        }
        Poll::Ready(None)
    }

    /// Whether the end is known to be reached.
    pub(super) fn is_end(&self) -> bool {
        match &self.decoding {
            Some(decoding) => decoding.over == Over::Yes && decoding.frames.is_empty(),
            None => self.body.is_end(),
        }
    }
}

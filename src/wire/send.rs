//! Sends bytes into an HTTP/2 stream as its window opens.

use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use h2::SendStream;

/// Sends as much of `chunk` as the peer's window takes, and keeps the rest in it.
///
/// Ready once `chunk` is empty; pending while the window is closed. `last` ends the stream
/// with the last byte. An error means that the stream or its connection is gone.
pub fn poll_send(
    stream: &mut SendStream<Bytes>,
    chunk: &mut Bytes,
    last: Last,
    cx: &mut Context<'_>,
) -> Poll<Result<(), h2::Error>> {
    while !chunk.is_empty() {
        if stream.capacity() < chunk.len() {
            stream.reserve_capacity(chunk.len());
        }
        let mut room = stream.capacity();
        if room == 0 {
            match std::task::ready!(stream.poll_capacity(cx)) {
                Some(Ok(opened)) => room = opened,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                // The stream can't send any more: say so as a reset of it would.
                None => return Poll::Ready(Err(h2::Reason::CANCEL.into())),
            }
        }
        if room > 0 {
            let part = chunk.split_to(room.min(chunk.len()));
            let end = chunk.is_empty() && last == Last::Yes;
            stream.send_data(part, end)?;
        }
    }
    Poll::Ready(Ok(()))
}

/// Whether a chunk is the last of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// More may follow.
    No,
    /// The stream ends with it.
    Yes,
}

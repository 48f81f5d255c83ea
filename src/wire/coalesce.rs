//! Gathers what a connection writes, so that one wake-up costs one write.
//!
//! The `h2` crate flushes after every large DATA frame. [`Coalesce`] stands between it and
//! the socket: its `poll_flush` does nothing, and the task that drives the connection calls
//! [`Flusher::poll_flush`] once at the end of each of its polls.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;

use bytes::Buf;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

/// The side that the connection's codec reads and writes.
pub struct Coalesce<T>(Arc<Mutex<Gathered<T>>>);

/// The side that the connection's task flushes.
pub struct Flusher<T>(Arc<Mutex<Gathered<T>>>);

struct Gathered<T> {
    io: T,
    out: BytesMut,
    /// Read but not yet asked for.
    ahead: Bytes,
    /// Bytes that a read before the last one returned fill the codec's buffer.
    filled: bool,
}

/// Wraps `io` and gives both sides.
pub fn coalesce<T>(io: T) -> (Coalesce<T>, Flusher<T>) {
    let shared =
        Arc::new(Mutex::new(Gathered { io, out: BytesMut::new(), ahead: Bytes::new(), filled: false }));
    (Coalesce(shared.clone()), Flusher(shared))
}

impl<T: AsyncWrite + Unpin> Flusher<T> {
    /// Writes what was gathered. Pending while the socket takes no more.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_drain(cx)
    }

    /// Looks at the wrapped stream.
    pub fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut lock(&self.0).io)
    }
}

impl<T: AsyncWrite + Unpin> Gathered<T> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = std::task::ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        if self.out.capacity() > KEEP_BYTES {
            self.out = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> Gathered<T> {
    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() && self.filled {
            // The codec reads 8 KiB at a time; a busy connection has more waiting than that.
            let mut ahead = BytesMut::with_capacity(READ_BYTES);
            let mut room = ahead.limit(READ_BYTES);
            let read = tokio_util::io::poll_read_buf(Pin::new(&mut self.io), cx, &mut room);
            ahead = room.into_inner();
            let read = std::task::ready!(read)?;
            self.filled = read == READ_BYTES;
            self.ahead = ahead.freeze();
        } else if self.ahead.is_empty() {
            let room = buf.remaining();
            let before = buf.filled().len();
            std::task::ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
            self.filled = buf.filled().len() - before == room;
            return Poll::Ready(Ok(()));
        }
        let take = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(take));
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Coalesce<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_fill(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Coalesce<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut gathered = lock(&self.0);
        if gathered.out.len() + buf.len() > GATHER_BYTES {
            std::task::ready!(gathered.poll_drain(cx))?;
            if buf.len() >= GATHER_BYTES {
                return Pin::new(&mut gathered.io).poll_write(cx, buf);
            }
        }
        gathered.out.put_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = lock(&self.0);
        std::task::ready!(gathered.poll_drain(cx))?;
        Pin::new(&mut gathered.io).poll_shutdown(cx)
    }
}

fn lock<T>(shared: &Mutex<Gathered<T>>) -> MutexGuard<'_, Gathered<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is gathered before the socket must take some.
const GATHER_BYTES: usize = 64 << 10;
/// The write buffer that a quiet connection may keep.
const KEEP_BYTES: usize = 16 << 10;
/// What is read ahead on a busy connection.
const READ_BYTES: usize = 32 << 10;

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
    ahead: Ahead,
}

/// Wraps `io` and gives both sides.
pub fn coalesce<T>(io: T) -> (Coalesce<T>, Flusher<T>) {
    let shared = Arc::new(Mutex::new(Gathered { io, out: BytesMut::new(), ahead: Ahead::default() }));
    (Coalesce(shared.clone()), Flusher(shared))
}

impl<T: AsyncWrite + Unpin> Flusher<T> {
    /// Writes what was gathered. Pending while the socket takes no more.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_drain(cx)
    }

    /// Bytes gathered and not yet written.
    pub fn gathered(&self) -> usize {
        lock(&self.0).out.len()
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
        // TLS takes more than it could write yet.
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

impl<T: AsyncRead + Unpin> Gathered<T> {
    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            if !self.ahead.wanted {
                let before = buf.filled().len();
                std::task::ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
                self.ahead.judge(buf.filled().len() - before);
                return Poll::Ready(Ok(()));
            }
            // The codec asks for 8 KiB at a time; a busy connection has more than that.
            let mut room = ReadBuf::new(self.ahead.room());
            std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut room))?;
            let read = room.filled().len();
            self.ahead.filled(read);
        }
        self.ahead.give(buf);
        Poll::Ready(Ok(()))
    }
}

/// Bytes that were read ahead of the codec, while a connection is busy.
#[derive(Default)]
struct Ahead {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
    wanted: bool,
}

impl Ahead {
    fn is_empty(&self) -> bool {
        self.from == self.to
    }

    fn room(&mut self) -> &mut [u8] {
        self.bytes.resize(READ_BYTES, 0);
        &mut self.bytes
    }

    fn filled(&mut self, read: usize) {
        (self.from, self.to) = (0, read);
        self.judge(read);
    }

    /// A read that brought much will be followed by another; one that brought little ends
    /// that.
    fn judge(&mut self, read: usize) {
        self.wanted = read >= if self.wanted { QUIET_BYTES } else { BUSY_BYTES };
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let take = (self.to - self.from).min(buf.remaining());
        buf.put_slice(&self.bytes[self.from..self.from + take]);
        self.from += take;
        if self.is_empty() && !self.wanted {
            // A quiet connection keeps no buffer.
            self.bytes = Vec::new();
        }
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
const READ_BYTES: usize = 64 << 10;
/// A read of this much says that a connection is busy.
const BUSY_BYTES: usize = 4 << 10;
/// A read of less than this says that it no longer is.
const QUIET_BYTES: usize = 1 << 10;

//! Stands between a socket and its protocol's codec, and counts what comes in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Instant;

use bytes::Buf;
use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::wire::h1_guard::H1Fault;
use crate::wire::h1_guard::H1Guard;
use crate::wire::h1_guard::Place;
use crate::wire::h2_guard::H2Guard;
use crate::wire::h2_guard::UNKNOWN_KIND;

/// A byte stream under guard, with what was read of it to tell its protocol.
pub(crate) struct Guarded<T> {
    io: T,
    ahead: Bytes,
    guard: Guard,
    heard: u64,
}

/// What watches the bytes that come in.
pub(crate) enum Guard {
    /// HTTP/1.1: bytes after a fault never reach the codec.
    H1(Box<H1Guard>, Option<H1Fault>, Phase),
    /// HTTP/2: floods are counted.
    H2(Box<H2Guard>),
}

impl<T> Guarded<T> {
    /// `ahead` was read already, and is guarded as well.
    pub(crate) fn new(io: T, ahead: Bytes, guard: Guard) -> Self {
        Self { io, ahead, guard, heard: 0 }
    }

    /// Bytes that came in so far.
    pub(crate) fn heard(&self) -> u64 {
        self.heard
    }

    /// Why an HTTP/2 client is to be closed with ENHANCE_YOUR_CALM.
    pub(crate) fn calm(&self) -> Option<&'static str> {
        match &self.guard {
            Guard::H2(guard) => guard.verdict().map(|calm| calm.why.label()),
            Guard::H1(..) => None,
        }
    }

    /// What an HTTP/1.1 client is waited for.
    pub(crate) fn phase(&self) -> Phase {
        match &self.guard {
            Guard::H1(_, _, phase) => phase.clone(),
            Guard::H2(_) => Phase::default(),
        }
    }

    /// What an HTTP/1.1 client did wrong.
    pub(crate) fn fault(&self) -> Option<&H1Fault> {
        match &self.guard {
            Guard::H1(_, fault, _) => fault.as_ref(),
            Guard::H2(_) => None,
        }
    }
}

/// How far an HTTP/1.1 connection is: what its client is waited for, and whether a response was broken off.
#[derive(Debug, Clone, Default)]
pub(crate) struct Phase(Arc<State>);

#[derive(Debug, Default)]
struct State {
    wait: AtomicU8,
    breach: AtomicU8,
}

/// One thing that a client may be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The rest of a request head.
    Head,
    /// The next request.
    Idle,
}

impl Phase {
    fn set(&self, place: Place) {
        let number = match place {
            Place::Between => 1,
            Place::Head => 2,
            Place::Body => 0,
            Place::Detached => 3,
        };
        self.0.wait.store(number, Ordering::Relaxed);
    }

    /// Whether the last request may switch the connection: what follows it isn't read as HTTP, so
    /// no request may follow it either.
    pub(crate) fn is_detached(&self) -> bool {
        self.0.wait.load(Ordering::Relaxed) == 3
    }

    /// `None` while a request is under way.
    pub(crate) fn wait(&self) -> Option<Wait> {
        match self.0.wait.load(Ordering::Relaxed) {
            1 => Some(Wait::Idle),
            2 => Some(Wait::Head),
            _ => None,
        }
    }

    /// A response must not look complete: nothing follows what was said of it.
    pub(crate) fn break_off(&self) {
        self.0.breach.store(BROKEN, Ordering::Relaxed);
    }

    /// Whether a response was broken off.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.breach.load(Ordering::Relaxed) != UNBROKEN
    }

    /// Whether all that was said of the broken response has left.
    pub(crate) fn is_told(&self) -> bool {
        self.0.breach.load(Ordering::Relaxed) == TOLD
    }

    /// The codec has written all that it had.
    fn flushed(&self) {
        if self.is_broken() {
            self.0.breach.store(TOLD, Ordering::Relaxed);
        }
    }
}

impl Guard {
    /// A guard of HTTP/2 for a connection that begins now.
    pub(crate) fn h2() -> Self {
        Self::H2(Box::new(H2Guard::new(crate::wire::h2_guard::Limits::default(), now())))
    }

    /// A guard of HTTP/1.1; the head is waited for from the start.
    pub(crate) fn h1(guard: H1Guard) -> Self {
        let phase = Phase::default();
        phase.set(Place::Head);
        Self::H1(Box::new(guard), None, phase)
    }

    /// How many of these bytes may pass.
    fn admit(&mut self, bytes: &mut [u8]) -> usize {
        match self {
            Self::H1(guard, fault, phase) => {
                let fed = guard.feed(bytes);
                phase.set(guard.place());
                match fed {
                    Ok(good) => good,
                    Err(found) => {
                        let good = found.good;
                        *fault = Some(found);
                        good
                    }
                }
            }
            Self::H2(guard) => {
                guard.feed(bytes, now());
                for kind in guard.orphans() {
                    bytes[kind] = UNKNOWN_KIND;
                }
                bytes.len()
            }
        }
    }

    fn is_shut(&self) -> bool {
        matches!(self, Self::H1(_, Some(_), _))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.guard.is_shut() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = buf.filled().len();
        if this.ahead.is_empty() {
            std::task::ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        } else {
            let take = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..take]);
            this.ahead.advance(take);
        }
        this.heard += (buf.filled().len() - before) as u64;
        let good = this.guard.admit(&mut buf.filled_mut()[before..]);
        if good == 0 && this.guard.is_shut() {
            buf.set_filled(before);
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        buf.set_filled(before + good);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = std::task::ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
        if let Guard::H2(guard) = &mut this.guard {
            guard.wrote(written);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        std::task::ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        if let Guard::H1(_, _, phase) = &this.guard {
            phase.flushed();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// The states of a breach.
const UNBROKEN: u8 = 0;
const BROKEN: u8 = 1;
const TOLD: u8 = 2;

#[expect(clippy::disallowed_methods, reason = "a socket is an edge: floods are counted by its clock")]
fn now() -> Instant {
    Instant::now()
}

//! Drives a connection that was switched from HTTP/1.1 to another protocol by 101.
//!
//! One request has the connection to itself then: what the client sends is its body, and its
//! response's body is all that is sent. There is no framing left, so where a response can't be
//! ended in order the connection is closed.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use http_body::Frame;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::time::Instant;
use tokio::time::Sleep;

use crate::call::Body;
use crate::call::BodyFault;
use crate::call::Reply;
use crate::listen::Place;
use crate::listen::Stage;

/// The connection, for the body that reads it and the driver that writes it. Both are in one
/// task; before the switch it is hyper's, and nothing can be read.
pub(crate) struct Wire<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    io: Option<T>,
    /// What hyper read behind the request's head.
    ahead: Bytes,
    waiting: Option<Waker>,
}

impl<T> Clone for Wire<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Wire<T> {
    /// A connection that isn't switched yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { io: None, ahead: Bytes::new(), waiting: None })))
    }

    /// What comes after the switch, read as it is asked for.
    pub(crate) fn body(&self) -> Body {
        Body::Other(Box::pin(WireBody(self.clone())))
    }

    /// The connection is switched.
    fn open(&self, io: T, ahead: Bytes) {
        let mut state = self.lock();
        state.io = Some(io);
        state.ahead = ahead;
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut state = self.lock();
        if !state.ahead.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut state.ahead)));
        }
        let Some(io) = &mut state.io else {
            state.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        };
        // On the stack, so that a connection that says nothing holds no buffer.
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut bytes);
        std::task::ready!(Pin::new(io).poll_read(cx, &mut read))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(read.filled())))
    }

    fn poll_write(&self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.lock().io {
            Some(io) => Pin::new(io).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// TLS takes more than it could write yet.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.lock().io {
            Some(io) => Pin::new(io).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.lock().io {
            Some(io) => Pin::new(io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct WireBody<T>(Wire<T>);

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> http_body::Body for WireBody<T> {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        Poll::Ready(match std::task::ready!(self.0.poll_read(cx)) {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Some(Ok(Frame::data(bytes))),
            Err(error) => Some(Err(BodyFault::Connection(error.to_string()))),
        })
    }
}

/// Serves the one call of a connection that is switched now, to its end.
pub(crate) async fn drive<R, T>(wire: Wire<T>, io: T, ahead: Bytes, reply: R, place: Place)
where
    R: Reply,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    wire.open(io, ahead);
    let stalled = Box::pin(tokio::time::sleep(STALL_MAX));
    let mut driver = Driver { wire, reply, place, gathered: BytesMut::new(), phase: Phase::Talking, stalled };
    if std::future::poll_fn(|cx| driver.poll(cx)).await == Over::Broken {
        return;
    }
    // A close with bytes unread would be a reset, which may overtake our last words.
    let wire = driver.wire;
    let close = async {
        std::future::poll_fn(|cx| wire.poll_shutdown(cx)).await?;
        while !std::future::poll_fn(|cx| wire.poll_read(cx)).await?.is_empty() {}
        Ok::<_, io::Error>(())
    };
    // The client may be gone already, or not care; nothing is owed to it then.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, close).await;
}

struct Driver<R, T> {
    wire: Wire<T>,
    reply: R,
    place: Place,
    /// What the reply said, until it is written.
    gathered: BytesMut,
    phase: Phase,
    /// Since when the last bytes of an ended reply aren't taken.
    stalled: Pin<Box<Sleep>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The reply goes on.
    Talking,
    /// What is gathered is all that follows.
    Ended,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Everything was said.
    Said,
    /// It is closed as it is.
    Broken,
}

impl<R: Reply, T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Driver<R, T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        match self.place.poll_stage(cx) {
            // A stream may end by itself while the listener drains.
            None | Some(Stage::Serving | Stage::Draining) => {}
            Some(Stage::Ending) => self.place.connection.end(),
            Some(Stage::Closed) => return Poll::Ready(Over::Broken),
        }
        loop {
            if self.gather(cx).is_err() {
                return Poll::Ready(Over::Broken);
            }
            if self.gathered.is_empty() {
                return match (self.wire.poll_flush(cx), self.phase) {
                    (Poll::Ready(Err(_)), _) => Poll::Ready(Over::Broken),
                    (_, Phase::Talking) => Poll::Pending,
                    (Poll::Ready(Ok(())), Phase::Ended) => Poll::Ready(Over::Said),
                    (Poll::Pending, Phase::Ended) => self.stalled.as_mut().poll(cx).map(|()| Over::Broken),
                };
            }
            match self.wire.poll_write(&self.gathered, cx) {
                Poll::Ready(Ok(written @ 1..)) => {
                    self.gathered.advance(written);
                    self.stalled.as_mut().reset(Instant::now() + STALL_MAX);
                }
                Poll::Ready(_) => return Poll::Ready(Over::Broken),
                Poll::Pending => match self.phase {
                    Phase::Ended => return self.stalled.as_mut().poll(cx).map(|()| Over::Broken),
                    Phase::Talking => {
                        std::task::ready!(self.reply.poll_blocked(cx));
                        self.gathered.clear();
                    }
                },
            }
        }
    }

    /// Takes what the reply has to say, up to what is worth a write.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<(), crate::call::Abort> {
        while self.phase == Phase::Talking && self.gathered.len() < ENOUGH_BYTES {
            match self.reply.poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.phase = Phase::Ended,
                Poll::Ready(Some(frame)) => {
                    if let Ok(bytes) = frame?.into_data() {
                        self.gathered.extend_from_slice(&bytes);
                    }
                }
            }
        }
        Ok(())
    }
}

/// What is read at once.
const READ_BYTES: usize = 8 << 10;
/// What is worth a write at any time.
const ENOUGH_BYTES: usize = 32 << 10;
/// How long a client may take nothing of what is left of an ended reply.
const STALL_MAX: Duration = Duration::from_secs(30);
/// How long a client may take to close after us.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::call::Trusted;
    use crate::listen::ProxyProtocol;
    use crate::listen::Terms;
    use crate::listen::table::Table;
    use crate::observe::Metrics;

    /// Takes everything at once and, as TLS may, sends nothing before it is flushed.
    struct Lazy {
        taken: Vec<u8>,
        sent: Arc<Mutex<Vec<u8>>>,
    }

    impl AsyncRead for Lazy {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Lazy {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.taken.extend_from_slice(buf);
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let this = self.get_mut();
            this.sent.lock().unwrap().append(&mut this.taken);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Says one thing, and goes on.
    struct One(Option<Bytes>);

    impl Reply for One {
        fn poll_frame(
            &mut self,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, crate::call::Abort>>> {
            self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
        }

        fn poll_blocked(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }

        fn is_end(&self) -> bool {
            false
        }
    }

    fn place() -> Place {
        let text = "listeners: [{ name: a, address: '127.0.0.1:0' }]";
        let config = crate::config::parse(text, Path::new("t.yaml"), &|_| None).unwrap();
        let metrics = Metrics::new(1);
        let of = metrics.listener("a");
        let table = Table::new("a", of, metrics.client_resets.clone());
        let terms = Terms {
            limits: config.listeners[0].limits.clone(),
            tls: None,
            alt_svc: None,
            proxy_protocol: ProxyProtocol::No,
            trusted: Trusted::default(),
        };
        table.admit("127.0.0.1:1".parse().unwrap(), &terms).unwrap()
    }

    #[tokio::test]
    async fn what_is_said_is_flushed_while_the_call_goes_on() {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let io = Lazy { taken: Vec::new(), sent: sent.clone() };
        let mut driving =
            Box::pin(drive(Wire::new(), io, Bytes::new(), One(Some(Bytes::from_static(b"said"))), place()));
        let polled = std::future::poll_fn(|cx| Poll::Ready(driving.as_mut().poll(cx)));
        assert!(polled.await.is_pending(), "the call goes on");
        assert_eq!(*sent.lock().unwrap(), b"said");
    }
}

//! QUIC streams as the HTTP/3 codec takes them: bounded, reset where they are dropped, and known to be stopped.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use futures_util::Stream;
use futures_util::stream;
use h3::error::Code;
use h3::quic;
use h3::quic::ConnectionErrorIncoming;
use h3::quic::StreamErrorIncoming;
use h3::quic::StreamId;
use h3::quic::WriteBuf;
use quinn::VarInt;

use crate::wire::h3_scan::FrameScan;

/// Ready when a client wants no more of a response, or has all of it.
pub(super) type Stopped = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The request's stream that came last: the codec takes streams one by one, and lets nobody see them.
#[derive(Clone, Default)]
pub(super) struct Last(Arc<Mutex<Streams>>);

#[derive(Default)]
struct Streams {
    /// What tells that the client stopped the last one.
    stopped: Option<Stopped>,
    /// The ID of the next one, in its order.
    next: u64,
    /// The first ID that is no longer taken.
    end: Option<u64>,
}

impl Last {
    /// Takes a stream in, or says that it came too late.
    fn put(&self, id: u64, stopped: impl FnOnce() -> Stopped) -> Result<(), TooLate> {
        let mut streams = self.lock();
        if streams.end.is_some_and(|end| end <= id) {
            return Err(TooLate);
        }
        streams.next = streams.next.max(id + IDS_APART);
        streams.stopped = Some(stopped());
        Ok(())
    }

    /// That of the stream that was just accepted, once.
    pub(super) fn take(&self) -> Option<Stopped> {
        self.lock().stopped.take()
    }

    /// Rejects what comes after the last one.
    pub(super) fn end(&self) {
        let mut streams = self.lock();
        streams.end = Some(streams.next);
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct TooLate;

type Accepts<T> = Pin<Box<dyn Stream<Item = Result<T, quinn::ConnectionError>> + Send>>;

/// A client's connection.
pub(super) struct Connection {
    opener: Opener,
    bidi: Accepts<(quinn::SendStream, quinn::RecvStream)>,
    uni: Accepts<quinn::RecvStream>,
    last: Last,
    /// The largest frame that the codec holds.
    held_max: u64,
}

impl Connection {
    pub(super) fn new(connection: quinn::Connection, held_max: u64, last: Last) -> Self {
        let bidi = Box::pin(stream::unfold(connection.clone(), |connection| async {
            Some((connection.accept_bi().await, connection))
        }));
        let uni = Box::pin(stream::unfold(connection.clone(), |connection| async {
            Some((connection.accept_uni().await, connection))
        }));
        Self { opener: Opener { connection, opening: None }, bidi, uni, last, held_max }
    }
}

impl quic::Connection<Bytes> for Connection {
    type RecvStream = Receiving;
    type OpenStreams = Opener;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Receiving, ConnectionErrorIncoming>> {
        match std::task::ready!(self.uni.as_mut().poll_next(cx)) {
            // The codec bounds what it reads of these by itself.
            Some(accepted) => Poll::Ready(accepted.map(|stream| Receiving::new(stream, None)).map_err(lost)),
            None => Poll::Ready(Err(ConnectionErrorIncoming::Timeout)),
        }
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Both, ConnectionErrorIncoming>> {
        loop {
            let Some(accepted) = std::task::ready!(self.bidi.as_mut().poll_next(cx)) else {
                return Poll::Ready(Err(ConnectionErrorIncoming::Timeout));
            };
            let (mut send, mut receive) = match accepted {
                Ok(halves) => halves,
                Err(error) => return Poll::Ready(Err(lost(error))),
            };
            let taken = self.last.put(u64::from(send.id()), || {
                let stopped = send.stopped();
                Box::pin(async move {
                    // Either way nobody reads on.
                    let _ = stopped.await;
                })
            });
            if let Err(TooLate) = taken {
                // RFC 9114, section 5.2: the client may send it again, elsewhere.
                let rejected = number(Code::H3_REQUEST_REJECTED.value());
                // One that the client took back already needs neither.
                let _ = (send.reset(rejected), receive.stop(rejected));
                continue;
            }
            let receiving = Receiving::new(receive, Some(FrameScan::new(self.held_max)));
            return Poll::Ready(Ok(Both { sending: Sending::new(send), receiving }));
        }
    }

    fn opener(&self) -> Opener {
        Opener { connection: self.opener.connection.clone(), opening: None }
    }
}

impl quic::OpenStreams<Bytes> for Connection {
    type BidiStream = Both;
    type SendStream = Sending;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Both, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Sending, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opener.close(code, reason);
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<quinn::SendStream, quinn::ConnectionError>> + Send>>;

/// Opens the codec's own streams.
pub(super) struct Opener {
    connection: quinn::Connection,
    opening: Option<Opening>,
}

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = Both;
    type SendStream = Sending;

    fn poll_open_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<Both, StreamErrorIncoming>> {
        // Servers open none (RFC 9114, section 6.1).
        Poll::Ready(Err(StreamErrorIncoming::Unknown("servers open no bidirectional streams".into())))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Sending, StreamErrorIncoming>> {
        let connection = self.connection.clone();
        let opening =
            self.opening.get_or_insert_with(|| Box::pin(async move { connection.open_uni().await }));
        let opened = std::task::ready!(opening.as_mut().poll(cx));
        self.opening = None;
        Poll::Ready(
            opened.map(Sending::new).map_err(|error| StreamErrorIncoming::ConnectionErrorIncoming {
                connection_error: lost(error),
            }),
        )
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(number(code.value()), reason);
    }
}

/// One request's stream.
pub(super) struct Both {
    sending: Sending,
    receiving: Receiving,
}

impl quic::BidiStream<Bytes> for Both {
    type SendStream = Sending;
    type RecvStream = Receiving;

    fn split(self) -> (Sending, Receiving) {
        (self.sending, self.receiving)
    }
}

impl quic::SendStream<Bytes> for Both {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sending.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.sending.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sending.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.sending.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.sending.send_id()
    }
}

impl quic::RecvStream for Both {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receiving.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.receiving.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.receiving.recv_id()
    }
}

/// What goes to the client on a stream. Dropped before its end it is reset: what was sent never looks complete.
pub(super) struct Sending {
    stream: quinn::SendStream,
    writing: Option<WriteBuf<Bytes>>,
    ended: Ended,
}

#[derive(PartialEq, Eq)]
enum Ended {
    No,
    Yes,
}

impl Sending {
    fn new(stream: quinn::SendStream) -> Self {
        Self { stream, writing: None, ended: Ended::No }
    }
}

impl quic::SendStream<Bytes> for Sending {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        if let Some(writing) = &mut self.writing {
            while writing.has_remaining() {
                let written = Pin::new(&mut self.stream).poll_write(cx, writing.chunk());
                writing.advance(std::task::ready!(written).map_err(unwritten)?);
            }
            self.writing = None;
        }
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.ended = Ended::Yes;
        let finished = self.stream.finish();
        Poll::Ready(finished.map_err(|error| StreamErrorIncoming::Unknown(Box::new(error))))
    }

    fn reset(&mut self, code: u64) {
        self.ended = Ended::Yes;
        // One that is over already needs none.
        let _ = self.stream.reset(number(code));
    }

    fn send_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.ended == Ended::No {
            let _ = self.stream.reset(number(Code::H3_REQUEST_CANCELLED.value()));
        }
    }
}

/// What comes from the client on a stream. Its window opens as it is read.
pub(super) struct Receiving {
    stream: quinn::RecvStream,
    /// None where the codec's own bounds do.
    scan: Option<FrameScan>,
    room: BytesMut,
}

impl Receiving {
    fn new(stream: quinn::RecvStream, scan: Option<FrameScan>) -> Self {
        Self { stream, scan, room: BytesMut::new() }
    }
}

impl quic::RecvStream for Receiving {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.room.resize(READ_BYTES, 0);
        let read = match self.stream.poll_read(cx, &mut self.room) {
            Poll::Ready(Ok(read)) => read,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(unread(error))),
            Poll::Pending => return Poll::Pending,
        };
        if read == 0 {
            return Poll::Ready(Ok(None));
        }
        let bytes = self.room.split_to(read).freeze();
        if let Some(scan) = &mut self.scan
            && scan.feed(&bytes).is_err()
        {
            let code = Code::H3_EXCESSIVE_LOAD.value();
            self.stop_sending(code);
            return Poll::Ready(Err(StreamErrorIncoming::StreamTerminated { error_code: code }));
        }
        Poll::Ready(Ok(Some(bytes)))
    }

    fn stop_sending(&mut self, code: u64) {
        // One that is over already needs none.
        let _ = self.stream.stop(number(code));
    }

    fn recv_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

fn id(id: quinn::StreamId) -> StreamId {
    StreamId::try_from(u64::from(id)).expect("62 bits")
}

fn number(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

fn lost(error: quinn::ConnectionError) -> ConnectionErrorIncoming {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into_inner() }
        }
        quinn::ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        error => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}

fn unread(error: quinn::ReadError) -> StreamErrorIncoming {
    match error {
        quinn::ReadError::Reset(code) => {
            StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() }
        }
        quinn::ReadError::ConnectionLost(error) => {
            StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) }
        }
        error => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}

fn unwritten(error: quinn::WriteError) -> StreamErrorIncoming {
    match error {
        quinn::WriteError::Stopped(code) => {
            StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() }
        }
        quinn::WriteError::ConnectionLost(error) => {
            StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) }
        }
        error => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}

/// How far the IDs of two streams of one kind are apart (RFC 9000, section 2.1).
const IDS_APART: u64 = 4;
/// What is read at once.
const READ_BYTES: usize = 8 << 10;

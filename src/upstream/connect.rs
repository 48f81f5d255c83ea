//! Makes one HTTP/2 connection to an endpoint, and drives it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::Ping;
use h2::PingPong;
use h2::client::SendRequest;
use tokio::time::Sleep;

use crate::config::types::Pool as Settings;
use crate::observe::Held;
use crate::upstream::connection::State;
use crate::upstream::dial::Stream;
use crate::upstream::dial::dial_until;
use crate::upstream::failure::Failure;
use crate::upstream::tls::Tls;
use crate::wire::coalesce::Coalesce;
use crate::wire::coalesce::Flusher;
use crate::wire::coalesce::coalesce;

/// A connection that is up, and the task that keeps it so.
pub(super) struct Connected {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) driver: Driver,
}

/// Connects, and waits until the endpoint has proved that it speaks HTTP/2: an answered
/// PING also means that its settings are known, its stream limit among them, and over TLS that it took what
/// the gateway showed of itself.
pub(super) async fn connect(
    host: &str,
    port: u16,
    tls: Option<&Arc<Tls>>,
    settings: &Settings,
) -> Result<Connected, Failure> {
    let timeout = settings.connect_timeout;
    let end = tokio::time::Instant::now() + timeout;
    let stream = dial_until(host, port, tls, (end, timeout)).await?;
    match tokio::time::timeout_at(end, handshake(stream, settings)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::late("HTTP/2 answer", timeout)),
    }
}

async fn handshake(stream: Stream, settings: &Settings) -> Result<Connected, Failure> {
    let (codec, flusher) = coalesce(stream);
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .initial_max_send_streams(settings.max_streams.get() as usize)
        .enable_push(false);
    let (sender, mut h2) = builder.handshake::<_, Bytes>(codec).await.map_err(io::Error::other)?;
    let mut ping_pong = h2.ping_pong().ok_or_else(|| io::Error::other("no PING to be had"))?;
    ping_pong.send_ping(Ping::opaque()).map_err(io::Error::other)?;
    std::future::poll_fn(|cx| {
        let proved = poll_proof(&mut h2, &flusher, &mut ping_pong, cx);
        proved.map_err(|error| flusher.with(|stream| stream.failure(error, cx)))
    })
    .await?;
    let keepalive = settings.keepalive.map(|every| Keepalive {
        ping_pong,
        every,
        timer: Box::pin(tokio::time::sleep(every)),
        sent: Sent::No,
    });
    Ok(Connected { sender, driver: Driver { h2, flusher, keepalive } })
}

/// Ready once the PING is answered.
fn poll_proof(
    h2: &mut h2::client::Connection<Coalesce<Stream>, Bytes>,
    flusher: &Flusher<Stream>,
    ping_pong: &mut PingPong,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let ended = Pin::new(h2).poll(cx);
    std::task::ready!(flusher.poll_flush(cx))?;
    if let Poll::Ready(pong) = ping_pong.poll_pong(cx) {
        return Poll::Ready(pong.map(|_| ()).map_err(io::Error::other));
    }
    match ended {
        Poll::Ready(Ok(())) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(io::Error::other(error))),
        Poll::Pending => Poll::Pending,
    }
}

/// What keeps a connection going: reads, and one write a wake-up.
pub(super) struct Driver {
    h2: h2::client::Connection<Coalesce<Stream>, Bytes>,
    flusher: Flusher<Stream>,
    keepalive: Option<Keepalive>,
}

impl Driver {
    /// Runs until the connection is over: closed by the endpoint, broken, found dead, or
    /// without anyone who could still use it.
    pub(super) async fn run(mut self, state: Arc<State>, counted: Held) {
        let why = std::future::poll_fn(|cx| self.poll(cx, &state)).await;
        state.close();
        if let Err(error) = why {
            tracing::debug!(%error, "an upstream connection ended");
        }
        drop(counted);
    }

    fn poll(&mut self, cx: &mut Context<'_>, state: &State) -> Poll<io::Result<()>> {
        if let Some(keepalive) = &mut self.keepalive
            && keepalive.poll_dead(cx, state).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let ended = Pin::new(&mut self.h2).poll(cx);
        if let Poll::Ready(Err(error)) = self.flusher.poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        ended.map_err(io::Error::other)
    }
}

/// Asks a connection with open calls, now and then, whether its endpoint is there.
struct Keepalive {
    ping_pong: PingPong,
    every: Duration,
    timer: Pin<Box<Sleep>>,
    sent: Sent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    No,
    Yes,
}

impl Keepalive {
    /// Ready once a PING stayed unanswered.
    fn poll_dead(&mut self, cx: &mut Context<'_>, state: &State) -> Poll<()> {
        if self.sent == Sent::Yes && self.ping_pong.poll_pong(cx).is_ready() {
            self.rest(Sent::No, self.every);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.sent == Sent::Yes {
                return Poll::Ready(());
            }
            if state.active() > 0 && self.ping_pong.send_ping(Ping::opaque()).is_ok() {
                self.rest(Sent::Yes, PONG_TIMEOUT);
            } else {
                self.rest(Sent::No, self.every);
            }
        }
        Poll::Pending
    }

    fn rest(&mut self, sent: Sent, time: Duration) {
        self.sent = sent;
        self.timer.as_mut().reset(tokio::time::Instant::now() + time);
    }
}

/// What one upstream stream may send ahead of its client.
const STREAM_WINDOW: u32 = 256 << 10;
/// What all streams of one upstream connection may send ahead.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// The largest head or trailers that an endpoint may send.
const HEADER_BYTES_MAX: u32 = 64 << 10;
/// What one stream may queue behind the endpoint's window.
const SEND_BUFFER_BYTES: usize = 32 << 10;
/// How long an endpoint may take to answer a PING.
const PONG_TIMEOUT: Duration = Duration::from_secs(20);

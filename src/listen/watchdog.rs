//! Finds client connections that are idle or dead.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use h2::Ping;
use h2::PingPong;
use tokio::time::Instant;
use tokio::time::Sleep;

/// The one timer of a connection.
///
/// It wakes once in [`PING_INTERVAL`], whatever the traffic is, and looks then at what
/// happened since: a call costs it nothing.
pub(crate) struct Watchdog {
    timer: Pin<Box<Sleep>>,
    idle_timeout: Duration,
    ping_pong: Option<PingPong>,
    ping: PingState,
    /// Since when, as far as the timer saw, no call was open.
    idle_from: Instant,
    /// Calls carried when the timer last looked.
    seen: u64,
}

/// What is to be done about a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Ask whether the client is there.
    Ping,
    /// It has carried nothing for the idle time.
    Idle,
    /// It didn't answer.
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PingState {
    Quiet,
    Sent,
    Closing,
}

impl Watchdog {
    /// A watchdog for a connection that begins now.
    pub(crate) fn new(idle_timeout: Duration) -> Self {
        let now = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(now + PING_INTERVAL.min(idle_timeout)));
        Self { timer, idle_timeout, idle_from: now, ping_pong: None, ping: PingState::Quiet, seen: 0 }
    }

    /// Ready when something is due. `open` calls run; `carried` were ever taken in.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, open: usize, carried: u64) -> Poll<Due> {
        if self.ping == PingState::Sent
            && let Some(ping_pong) = &mut self.ping_pong
            && ping_pong.poll_pong(cx).is_ready()
        {
            self.ping = PingState::Quiet;
            self.rest(PING_INTERVAL);
        }
        loop {
            std::task::ready!(self.timer.as_mut().poll(cx));
            if self.ping != PingState::Quiet {
                return Poll::Ready(Due::Dead);
            }
            let now = Instant::now();
            if open > 0 || carried != self.seen {
                (self.idle_from, self.seen) = (now, carried);
            }
            if open > 0 {
                self.ping = PingState::Sent;
                self.rest(PING_TIMEOUT);
                return Poll::Ready(Due::Ping);
            }
            let left = self.idle_timeout.saturating_sub(now - self.idle_from);
            if left.is_zero() {
                self.ping = PingState::Closing;
                self.rest(CLOSE_GRACE);
                return Poll::Ready(Due::Idle);
            }
            self.rest(left.min(PING_INTERVAL));
        }
    }

    /// Sends a PING on the connection.
    pub(crate) fn ping<T, B>(&mut self, h2: &mut h2::server::Connection<T, B>) -> Result<(), h2::Error>
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
        B: bytes::Buf,
    {
        if self.ping_pong.is_none() {
            self.ping_pong = h2.ping_pong();
        }
        self.ping_pong.as_mut().map_or(Ok(()), |ping_pong| ping_pong.send_ping(Ping::opaque()))
    }

    fn rest(&mut self, time: Duration) {
        self.timer.as_mut().reset(Instant::now() + time);
    }
}

/// How often a client with open calls is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// How long it may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an idle client has to close after GOAWAY.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

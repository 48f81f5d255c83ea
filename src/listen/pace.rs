//! Decides when what was gathered for a client is written.
//!
//! A write costs more than the frames in it: the kernel runs the whole way to the client's
//! socket. A connection that only sends, and has written a moment ago, writes again a
//! moment later: a fast stream then costs a write for many messages, and none waits for
//! longer than one tick of the timer. Whoever waits for an answer isn't made to: after a
//! call began or ended, or the client sent anything, what there is leaves at once.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::Sleep;

/// When one connection wrote, and what happened since.
pub(crate) struct Pace {
    wrote_at: Instant,
    /// When a call last began or ended.
    turned_at: Instant,
    /// Bytes that the client had sent when the connection last wrote.
    heard: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// The pace of a connection that begins now.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { wrote_at: now, turned_at: now, heard: 0, timer: None }
    }

    /// A call began or ended.
    pub(crate) fn turned(&mut self) {
        self.turned_at = Instant::now();
    }

    /// Ready when `gathered` bytes are to be written now; `heard` counts what the client
    /// ever sent. The task is woken when their time has come.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, gathered: usize, heard: u64) -> Poll<()> {
        if gathered == 0 {
            return Poll::Ready(());
        }
        let now = Instant::now();
        let hurried = gathered >= ENOUGH_BYTES
            || heard != self.heard
            || now - self.turned_at < AFTER_TURN
            || now - self.wrote_at >= REST;
        if !hurried {
            let due = self.wrote_at + REST;
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if timer.deadline() < self.wrote_at {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        (self.wrote_at, self.heard) = (now, heard);
        Poll::Ready(())
    }
}

/// What is worth a write at any time.
const ENOUGH_BYTES: usize = 32 << 10;
/// How long a connection that only sends rests after a write; the timer makes it up to 1 ms
/// more.
const REST: Duration = Duration::from_micros(500);
/// How long after the beginning or the end of a call nothing is held back.
const AFTER_TURN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use tokio::time::Duration;

    use super::ENOUGH_BYTES;
    use super::Pace;

    async fn asks(pace: &mut Pace, gathered: usize, heard: u64) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(pace.poll(cx, gathered, heard).is_ready())).await
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_connection_that_only_sends_is_paced() {
        let mut pace = Pace::new();
        tokio::time::advance(Duration::from_millis(5)).await;
        assert!(asks(&mut pace, 100, 0).await, "a quiet connection writes at once");
        assert!(!asks(&mut pace, 100, 0).await, "a second write so soon waits");
        assert!(asks(&mut pace, 100, 1).await, "the client sent something");
        assert!(asks(&mut pace, ENOUGH_BYTES, 1).await, "there is enough for a write");
        pace.turned();
        assert!(asks(&mut pace, 100, 1).await, "a call began or ended");
        tokio::time::advance(Duration::from_millis(2)).await;
        assert!(asks(&mut pace, 100, 1).await);
        assert!(!asks(&mut pace, 100, 1).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_written_when_its_time_has_come() {
        let mut pace = Pace::new();
        tokio::time::advance(Duration::from_millis(5)).await;
        for _ in 0..3 {
            assert!(asks(&mut pace, 1, 0).await);
            let began = tokio::time::Instant::now();
            std::future::poll_fn(|cx| pace.poll(cx, 1, 0)).await;
            assert!(began.elapsed() <= Duration::from_millis(2), "{:?}", began.elapsed());
            tokio::time::advance(Duration::from_millis(2)).await;
        }
    }
}

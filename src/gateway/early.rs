//! A response that begins before its call does, and says things beside the reply.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Instant;
use tokio::time::Sleep;

use crate::bridge::Aside;
use crate::call::Abort;
use crate::call::Reply;
use crate::gateway::exchange::Exchange;
use crate::gateway::source::Source;

/// The body of such a response.
pub struct Early {
    stage: Stage,
    aside: Box<dyn Aside>,
    beat: Pin<Box<Sleep>>,
    every: Duration,
}

/// The way of a call to the reply's first event, or to its refusal; `None` where it panicked.
pub(super) type Beginning = Pin<Box<dyn Future<Output = Option<Box<Exchange>>> + Send>>;

enum Stage {
    /// The upstream hasn't answered.
    Beginning(Beginning),
    /// The call goes on, or is over.
    Running(Box<Exchange>),
    /// It is over, and the client is waited for.
    Closing(Source, Pin<Box<Sleep>>),
    /// Nothing follows.
    Over,
    /// The response can't be ended in order.
    Cut(h2::Reason),
}

impl Early {
    /// A call that begins when the response's body is first asked for.
    pub(super) fn new(beginning: Beginning, aside: Box<dyn Aside>) -> Self {
        let every = aside.every();
        let beat = Box::pin(tokio::time::sleep(every));
        Self { stage: Stage::Beginning(beginning), aside, beat, every }
    }

    /// The call is over, and is let go.
    fn close(&mut self) {
        self.stage = match &mut self.stage {
            Stage::Running(exchange) if self.aside.awaits() => {
                let source = exchange.uplink.take_source();
                Stage::Closing(source, Box::pin(tokio::time::sleep(CLOSE_TIMEOUT)))
            }
            _ => Stage::Over,
        };
    }

    /// Ends the response once the client has answered the end, left, or taken too long.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        if let Stage::Closing(source, timer) = &mut self.stage
            && source.poll_rest(cx).is_pending()
        {
            std::task::ready!(timer.as_mut().poll(cx));
        }
        self.stage = Stage::Over;
        Poll::Ready(None)
    }
}

impl Reply for Early {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        loop {
            if let Some(owed) = self.aside.owed() {
                return say(owed);
            }
            let polled = match &mut self.stage {
                Stage::Beginning(beginning) => match beginning.as_mut().poll(cx) {
                    Poll::Ready(Some(exchange)) => {
                        self.stage = Stage::Running(exchange);
                        continue;
                    }
                    Poll::Ready(None) => {
                        self.stage = Stage::Cut(h2::Reason::INTERNAL_ERROR);
                        continue;
                    }
                    Poll::Pending => Poll::Pending,
                },
                Stage::Running(exchange) => exchange.poll_frame(cx),
                Stage::Closing(..) | Stage::Over => return self.poll_close(cx),
                Stage::Cut(reason) => return Poll::Ready(Some(Err(Abort(*reason)))),
            };
            match polled {
                Poll::Ready(None) => {
                    self.close();
                    continue;
                }
                Poll::Ready(frame) => return Poll::Ready(frame),
                Poll::Pending => {}
            }
            // What was just read may want an answer.
            if let Some(owed) = self.aside.owed() {
                return say(owed);
            }
            std::task::ready!(self.beat.as_mut().poll(cx));
            self.beat.as_mut().reset(Instant::now() + self.every);
            if let Some(beat) = self.aside.beat() {
                return say(beat);
            }
        }
    }

    /// Bytes that are given up end somewhere within what the dialect says, and nothing can be said after them.
    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.stage {
            Stage::Beginning(beginning) => {
                match std::task::ready!(beginning.as_mut().poll(cx)) {
                    Some(exchange) => self.stage = Stage::Running(exchange),
                    None => {
                        self.stage = Stage::Cut(h2::Reason::INTERNAL_ERROR);
                        return Poll::Ready(());
                    }
                }
                self.poll_blocked(cx)
            }
            Stage::Running(exchange) => {
                std::task::ready!(exchange.poll_blocked(cx));
                self.stage = Stage::Cut(h2::Reason::CANCEL);
                Poll::Ready(())
            }
            // All is said; it waits to be taken.
            Stage::Closing(..) | Stage::Over => Poll::Pending,
            Stage::Cut(_) => Poll::Ready(()),
        }
    }

    fn is_end(&self) -> bool {
        false
    }
}

fn say(bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
    Poll::Ready(Some(Ok(Frame::data(bytes))))
}

/// How long a client may take to answer the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::time::Instant;

    use crate::bridge::Aside;
    use crate::call::Reply;
    use crate::gateway::early::Early;

    /// Says `.` every 30 s, and `!` where something is owed.
    struct Said {
        owed: usize,
    }

    impl Aside for Said {
        fn owed(&mut self) -> Option<Bytes> {
            self.owed = self.owed.checked_sub(1)?;
            Some(Bytes::from_static(b"!"))
        }

        fn beat(&mut self) -> Option<Bytes> {
            Some(Bytes::from_static(b"."))
        }

        fn every(&self) -> Duration {
            Duration::from_secs(30)
        }

        fn awaits(&self) -> bool {
            false
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_has_not_begun_says_what_is_owed_and_then_beats() {
        let mut early = Early::new(Box::pin(std::future::pending()), Box::new(Said { owed: 2 }));
        let started = Instant::now();
        for (text, seconds) in [("!", 0), ("!", 0), (".", 30), (".", 60), (".", 90)] {
            let frame = std::future::poll_fn(|cx| early.poll_frame(cx)).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), text);
            assert_eq!(started.elapsed().as_secs(), seconds, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_panicked_is_not_ended_in_order() {
        let mut early = Early::new(Box::pin(std::future::ready(None)), Box::new(Said { owed: 0 }));
        let frame = std::future::poll_fn(|cx| early.poll_frame(cx)).await.unwrap();
        assert_eq!(frame.unwrap_err().0, h2::Reason::INTERNAL_ERROR);
    }
}

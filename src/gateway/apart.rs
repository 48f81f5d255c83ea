//! Work that would hold up all calls of a worker, done on threads beside it.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use tokio::task::JoinHandle;

/// Something that works here, or for a while on another thread.
pub(super) struct Apart<T, R> {
    here: Option<T>,
    away: Option<JoinHandle<(T, std::thread::Result<R>)>>,
}

impl<T: Send + 'static, R: Send + 'static> Apart<T, R> {
    pub(super) fn new(worker: T) -> Self {
        Self { here: Some(worker), away: None }
    }

    /// The worker, unless it is away.
    pub(super) fn here(&mut self) -> Option<&mut T> {
        self.here.as_mut()
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Sends the worker away with something to do; one that is away already is not disturbed.
    pub(super) fn send(&mut self, work: impl FnOnce(&mut T) -> R + Send + 'static) {
        let Some(mut worker) = self.here.take() else { return };
        // The runtime bounds the threads; calls that wait for one are bounded as all calls are.
        self.away = Some(tokio::task::spawn_blocking(move || {
            let done = catch_unwind(AssertUnwindSafe(|| work(&mut worker)));
            (worker, done)
        }));
    }

    /// What was done, once the worker is back; `None` where it was not away. A panic goes on here.
    pub(super) fn poll_back(&mut self, cx: &mut Context<'_>) -> Poll<Option<R>> {
        let Some(away) = &mut self.away else { return Poll::Ready(None) };
        // Only a runtime that ends cancels what it runs, and with it the task that waits here.
        let Ok((worker, done)) = std::task::ready!(Pin::new(away).poll(cx)) else { return Poll::Pending };
        self.away = None;
        self.here = Some(worker);
        Poll::Ready(Some(done.unwrap_or_else(|panic| resume_unwind(panic))))
    }
}

/// What is too much for a worker's turn, in bytes to read or write: a millisecond at 256 MB/s.
pub(super) const APART_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::Apart;

    #[tokio::test]
    async fn a_worker_comes_back_with_what_it_did() {
        let mut apart = Apart::new(vec![1]);
        assert!(std::future::poll_fn(|cx| apart.poll_back(cx)).await.is_none());
        apart.send(|list: &mut Vec<u8>| {
            list.push(2);
            std::thread::current().id()
        });
        assert!(apart.is_away() && apart.here().is_none());
        let thread = std::future::poll_fn(|cx| apart.poll_back(cx)).await;
        assert_ne!(thread, Some(std::thread::current().id()));
        assert_eq!(apart.here(), Some(&mut vec![1, 2]));
    }

    #[tokio::test]
    async fn a_panic_comes_back_with_the_worker() {
        let mut apart = Apart::<_, ()>::new(7);
        apart.send(|_| panic!("a test's"));
        let waiting = std::panic::AssertUnwindSafe(std::future::poll_fn(|cx| apart.poll_back(cx)));
        let ended = futures_util::FutureExt::catch_unwind(waiting).await;
        assert!(ended.is_err());
        assert_eq!(apart.here(), Some(&mut 7));
    }
}

//! Measures how long each poll of a connection keeps its worker's thread busy.
//!
//! The thread's own CPU clock is a system call of about 260 ns, the monotonic clock is read in about 40 ns. Two
//! readings of the first around each poll would cost over 2 % of a call, so the value is an upper bound that
//! needs few of them:
//!
//! - A poll never takes more CPU time than wall time. Below `SLOW` the wall time is what is told.
//! - From `SLOW` on the CPU clock is read after the poll, and the last earlier reading is taken off. That one
//!   is made at the start of a poll once the one before is older than `STALE`. What is told is the smaller of
//!   this difference and the wall time.
//!
//! So what is told is never less than the CPU time of the poll (but for what slewing of the monotonic clock
//! takes from the wall time, at most 0.05 %), and from `SLOW` on at most `STALE` more, whoever else runs on the
//! machine: no poll in a bucket over 5 ms means that no poll took over 5 ms.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use rustix::time::ClockId;
use rustix::time::clock_gettime;

use crate::observe::Polls;

/// Where time is read, in nanoseconds from any start.
pub trait Clock: Send + Sync + 'static {
    /// Time that passes for all.
    fn monotonic(&self) -> u64;

    /// CPU time that the calling thread has had.
    fn thread_cpu(&self) -> u64;
}

/// The clocks of the system.
#[derive(Debug, Default)]
pub struct System;

impl Clock for System {
    fn monotonic(&self) -> u64 {
        nanos(ClockId::Monotonic)
    }

    fn thread_cpu(&self) -> u64 {
        nanos(ClockId::ThreadCPUTime)
    }
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos)
}

/// Measures the polls of one worker. Only its thread may use it.
#[derive(Debug)]
pub struct Meter<C = System> {
    polls: Arc<Polls>,
    clock: C,
    /// The last reading of the CPU clock, and when it was made; the thread's first is its start.
    read_at: AtomicU64,
    cpu: AtomicU64,
}

impl Meter {
    /// Tells `polls`.
    pub fn new(polls: Arc<Polls>) -> Arc<Self> {
        Arc::new(Self::with_clock(polls, System))
    }
}

impl<C: Clock> Meter<C> {
    fn with_clock(polls: Arc<Polls>, clock: C) -> Self {
        Self { polls, clock, read_at: AtomicU64::new(0), cpu: AtomicU64::new(0) }
    }

    /// Measures until what it returns is dropped.
    #[inline]
    fn start(&self) -> Measured<'_, C> {
        let since = self.clock.monotonic();
        if STALE < since.saturating_sub(self.read_at.load(Ordering::Relaxed)) {
            self.read_cpu(since);
        }
        Measured { meter: self, since }
    }

    /// `now` was read before, so that what the thread does in between is counted, never left out.
    fn read_cpu(&self, now: u64) -> u64 {
        let cpu = self.clock.thread_cpu();
        self.read_at.store(now, Ordering::Relaxed);
        self.cpu.store(cpu, Ordering::Relaxed);
        cpu
    }
}

/// A poll under way, also one that panics.
struct Measured<'m, C: Clock> {
    meter: &'m Meter<C>,
    since: u64,
}

impl<C: Clock> Drop for Measured<'_, C> {
    #[inline]
    fn drop(&mut self) {
        let now = self.meter.clock.monotonic();
        let mut took = now.saturating_sub(self.since);
        if SLOW <= took {
            let before = self.meter.cpu.load(Ordering::Relaxed);
            took = took.min(self.meter.read_cpu(now).saturating_sub(before));
        }
        self.meter.polls.took(Duration::from_nanos(took));
    }
}

/// A future each of whose polls is measured, where there is a meter.
pub(crate) struct Metered<F, C = System> {
    meter: Option<Arc<Meter<C>>>,
    /// On the heap: what holds it may move.
    future: Pin<Box<F>>,
}

impl<F, C> Metered<F, C> {
    pub(crate) fn new(meter: Option<Arc<Meter<C>>>, future: F) -> Self {
        Self { meter, future: Box::pin(future) }
    }
}

impl<F: Future, C: Clock> Future for Metered<F, C> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let _measured = this.meter.as_deref().map(Meter::start);
        this.future.as_mut().poll(cx)
    }
}

/// The wall time from which on the CPU time of a poll is of interest.
const SLOW: u64 = 200_000;
/// How old the reading of the CPU clock may be when a poll starts. A thread that is busy all the time reads it
/// at most 4,000 times a second for this, which is 0.1 % of its time.
const STALE: u64 = 250_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Metrics;
    use std::sync::atomic::AtomicU32;
    use std::task::Waker;

    /// Clocks that a test sets, and how often the dear one was read.
    #[derive(Default)]
    struct Set {
        wall: AtomicU64,
        cpu: AtomicU64,
        cpu_reads: AtomicU32,
    }

    impl Set {
        fn pass(&self, wall_us: u64, cpu_us: u64) {
            self.wall.fetch_add(wall_us * 1_000, Ordering::Relaxed);
            self.cpu.fetch_add(cpu_us * 1_000, Ordering::Relaxed);
        }
    }

    impl Clock for Arc<Set> {
        fn monotonic(&self) -> u64 {
            self.wall.load(Ordering::Relaxed)
        }

        fn thread_cpu(&self) -> u64 {
            self.cpu_reads.fetch_add(1, Ordering::Relaxed);
            self.cpu.load(Ordering::Relaxed)
        }
    }

    struct World {
        set: Arc<Set>,
        metrics: Arc<Metrics>,
        meter: Arc<Meter<Arc<Set>>>,
    }

    impl World {
        fn new() -> Self {
            let set = Arc::new(Set::default());
            set.pass(10_000_000, 3_000_000);
            let metrics = Metrics::new(1);
            let polls = metrics.polls(0).unwrap();
            Self { meter: Arc::new(Meter::with_clock(polls, set.clone())), set, metrics }
        }

        /// One poll of a task that takes this long.
        fn poll(&self, wall_us: u64, cpu_us: u64) {
            let set = self.set.clone();
            let work = std::future::poll_fn(move |_| {
                set.pass(wall_us, cpu_us);
                Poll::<()>::Pending
            });
            let mut metered = Metered::new(Some(self.meter.clone()), work);
            let polled = Pin::new(&mut metered).poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(polled, Poll::Pending);
        }

        /// How many polls were told, and their microseconds.
        fn told(&self) -> (u64, f64) {
            let page = self.metrics.render();
            let value = |name: &str| page.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let sum = value("transom_worker_poll_cpu_seconds_sum ").parse::<f64>().unwrap();
            (value("transom_worker_poll_cpu_seconds_count ").parse().unwrap(), (sum * 1e6).round())
        }

        fn reads(&self) -> u32 {
            self.set.cpu_reads.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_short_poll_is_bounded_by_its_wall_time_without_the_cpu_clock() {
        let world = World::new();
        world.poll(100, 40);
        assert_eq!(world.told(), (1, 100.0));
        assert_eq!(world.reads(), 1, "the reading before was old");
        world.poll(100, 40);
        assert_eq!(world.told(), (2, 200.0));
        assert_eq!(world.reads(), 1, "it is fresh enough still");
    }

    #[test]
    fn a_poll_that_waited_for_the_processor_is_told_by_its_cpu_time() {
        let world = World::new();
        world.poll(60_000, 300);
        assert_eq!(world.told(), (1, 300.0), "the reading is that of its start");
        assert_eq!(world.reads(), 2);
    }

    #[test]
    fn what_ran_since_the_last_reading_is_added_and_never_left_out() {
        let world = World::new();
        world.poll(150, 150);
        // 50 us of other work; the reading is 200 us old, so no new one is made.
        world.set.pass(50, 50);
        world.poll(60_000, 3_000);
        let (polls, micros) = world.told();
        assert_eq!((polls, micros), (2, 150.0 + 3_000.0 + 200.0));
        assert_eq!(world.reads(), 2);
        // The reading at its end is where the next one starts.
        world.poll(7_000, 6_000);
        assert_eq!(world.told(), (3, micros + 6_000.0));
        assert_eq!(world.reads(), 3);
    }

    #[test]
    fn the_bound_is_never_over_the_wall_time() {
        let world = World::new();
        world.poll(190, 190);
        world.poll(300, 300);
        assert_eq!(world.told(), (2, 490.0), "not the 490 us since the reading");
    }

    #[test]
    fn the_bound_holds_whatever_runs_when() {
        let world = World::new();
        let mut seed = 7_u64;
        let mut below = |max: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % max
        };
        let (mut before, mut worst) = (0.0, 0.0_f64);
        for _ in 0..2_000 {
            let idle = below(600);
            world.set.pass(idle, below(idle + 1));
            let (scale, share) = (below(3) + 1, below(101));
            let wall = below(100 * 10_u64.pow(u32::try_from(scale).unwrap()));
            let cpu = wall * share / 100;
            world.poll(wall, cpu);
            let (_, sum) = world.told();
            let told = sum - before;
            before = sum;
            assert!(cpu as f64 <= told, "{told} us were told of {cpu} us");
            assert!(told <= wall as f64);
            if 200 <= wall {
                worst = worst.max(told - cpu as f64);
            }
        }
        assert!(0.0 < worst && worst <= 250.0, "{worst} us too many");
    }

    #[test]
    fn a_poll_that_panics_is_counted() {
        let world = World::new();
        let set = world.set.clone();
        let work = std::future::poll_fn(move |_| -> Poll<()> {
            set.pass(9_000, 8_000);
            panic!("as the test wants it")
        });
        let mut metered = Metered::new(Some(world.meter.clone()), work);
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = Pin::new(&mut metered).poll(&mut Context::from_waker(Waker::noop()));
        }));
        assert!(polled.is_err());
        assert_eq!(world.told(), (1, 8_000.0));
    }

    #[test]
    fn the_clocks_of_the_system_go_on_and_are_the_threads_own() {
        let (wall, cpu) = (System.monotonic(), System.thread_cpu());
        let mut work = 0_u64;
        while System.thread_cpu() < cpu + 2_000_000 {
            work = std::hint::black_box(work + 1);
        }
        assert!(wall + 1_900_000 < System.monotonic(), "CPU time needs time");
        let other = std::thread::spawn(|| System.thread_cpu()).join().unwrap();
        assert!(other < System.thread_cpu());
    }
}

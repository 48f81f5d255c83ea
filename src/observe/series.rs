//! Counts the calls of one method: one cell a worker, written without a lock and summed when asked.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::call::Code;
use crate::call::Dialect;

/// The worker index of whoever is no worker. Any number of threads may tell as this one; it costs them
/// locked instructions.
pub const ANYWHERE: usize = usize::MAX;

/// The upper bounds of the duration histogram in microseconds, each with its text in seconds.
pub(super) const DURATION_BOUNDS: [(u64, &str); 15] = [
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
    (30_000_000, "30"),
    (60_000_000, "60"),
];

/// The upper bounds of the size histograms in bytes: the powers of 4 from 64 to 16 MiB.
pub(super) const SIZE_BOUNDS: [&str; 10] =
    ["64", "256", "1024", "4096", "16384", "65536", "262144", "1048576", "4194304", "16777216"];

const DURATION_BUCKETS: usize = DURATION_BOUNDS.len() + 1;
const SIZE_BUCKETS: usize = SIZE_BOUNDS.len() + 1;
const DIALECTS: usize = Dialect::ALL.len();
const FAILURE_CODES: usize = Code::ALL.len() - 1;

/// What a call was, when it has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// What the client spoke.
    pub dialect: Dialect,
    /// How it ended.
    pub code: Code,
    /// From the head of the request to the end of the reply.
    pub duration: Duration,
    /// Bytes of the request body, as the client sent it.
    pub request_bytes: u64,
    /// Bytes of the reply body, as the client got it.
    pub reply_bytes: u64,
    /// Messages of the client.
    pub request_messages: u64,
    /// Messages to the client.
    pub reply_messages: u64,
}

/// The counts of one method of one API. Whoever holds it keeps it from being forgotten.
///
/// A method without calls costs about 280 bytes in all. One with calls costs 16 bytes a worker and, for
/// each worker that served one, 512 bytes, and 640 more once one of them failed.
#[derive(Debug)]
pub struct Series {
    api: Arc<str>,
    method: Arc<str>,
    workers: usize,
    /// One a worker, and the last for `ANYWHERE`; absent before the first call.
    cells: OnceLock<Box<[OnceLock<Box<Cell>>]>>,
    /// When it was last looked up, in look-ups.
    pub(super) looked_up: AtomicU64,
}

impl Series {
    pub(super) fn new(api: Arc<str>, method: Arc<str>, workers: usize) -> Self {
        Self { api, method, workers, cells: OnceLock::new(), looked_up: AtomicU64::new(0) }
    }

    /// The name of the API.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// The method, as it was registered.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Counts a call as open. Every call that started must end, whatever becomes of it: tell so on drop.
    pub fn started(&self, worker: usize) {
        let (cell, writer) = self.cell(worker);
        writer.add(&cell.started, 1);
    }

    /// Counts a call that had started.
    pub fn ended(&self, worker: usize, ended: &Ended) {
        let (cell, writer) = self.cell(worker);
        let dialect = ended.dialect as usize;
        let count = match (ended.code as usize).checked_sub(1) {
            None => &cell.ok[dialect],
            Some(code) => &cell.failures.get_or_init(Box::default).0[dialect][code],
        };
        writer.add(count, 1);
        let micros = rounded_micros(ended.duration);
        writer.add(&cell.duration[duration_bucket(micros)], 1);
        writer.add(&cell.duration_us, micros);
        writer.add(&cell.request_sizes[size_bucket(ended.request_bytes)], 1);
        writer.add(&cell.request_bytes, ended.request_bytes);
        writer.add(&cell.reply_sizes[size_bucket(ended.reply_bytes)], 1);
        writer.add(&cell.reply_bytes, ended.reply_bytes);
        writer.add(&cell.request_messages, ended.request_messages);
        writer.add(&cell.reply_messages, ended.reply_messages);
        writer.add_last(&cell.ended, 1);
    }

    /// The sums over all workers; `None` before the first call.
    pub(super) fn totals(&self) -> Option<Totals> {
        let cells: Vec<&Cell> = self.cells.get()?.iter().filter_map(OnceLock::get).map(Box::as_ref).collect();
        let mut totals = Totals::default();
        // All ends are read before any start: a call between the two is one that is open, not minus one.
        for cell in &cells {
            totals.ended = totals.ended.wrapping_add(cell.ended.load(Ordering::Acquire));
        }
        for cell in &cells {
            totals.add(cell);
        }
        (totals.started != 0).then_some(totals)
    }

    #[inline]
    fn cell(&self, worker: usize) -> (&Cell, Writer) {
        let cells = self.cells.get_or_init(|| (0..=self.workers).map(|_| OnceLock::new()).collect());
        let (at, writer) =
            if worker < self.workers { (worker, Writer::Only) } else { (self.workers, Writer::OneOfMany) };
        (cells[at].get_or_init(Box::default), writer)
    }
}

/// What one worker counted of one method. 128 bytes: x86 fetches cache lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell {
    started: AtomicU64,
    ended: AtomicU64,
    ok: [AtomicU64; DIALECTS],
    failures: OnceLock<Box<Failures>>,
    duration: [AtomicU64; DURATION_BUCKETS],
    /// Microseconds: 10,000 streams that never end would overflow nanoseconds within three weeks.
    duration_us: AtomicU64,
    request_sizes: [AtomicU64; SIZE_BUCKETS],
    request_bytes: AtomicU64,
    reply_sizes: [AtomicU64; SIZE_BUCKETS],
    reply_bytes: AtomicU64,
    request_messages: AtomicU64,
    reply_messages: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Failures([[AtomicU64; FAILURE_CODES]; DIALECTS]);

/// Whether a cell has other writers; without any, an addition needs no locked instruction.
#[derive(Clone, Copy)]
enum Writer {
    Only,
    OneOfMany,
}

impl Writer {
    #[inline]
    fn add(self, to: &AtomicU64, n: u64) {
        match self {
            Self::Only => to.store(to.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed),
            Self::OneOfMany => _ = to.fetch_add(n, Ordering::Relaxed),
        }
    }

    /// As `add`; who reads the new value with `Acquire` sees everything added before.
    #[inline]
    fn add_last(self, to: &AtomicU64, n: u64) {
        match self {
            Self::Only => to.store(to.load(Ordering::Relaxed).wrapping_add(n), Ordering::Release),
            Self::OneOfMany => _ = to.fetch_add(n, Ordering::Release),
        }
    }
}

/// What all workers counted of one method.
#[derive(Debug, Default)]
pub(super) struct Totals {
    started: u64,
    ended: u64,
    /// By dialect, then code.
    pub(super) calls: [[u64; Code::ALL.len()]; DIALECTS],
    pub(super) duration: [u64; DURATION_BUCKETS],
    pub(super) duration_us: u64,
    pub(super) request_sizes: [u64; SIZE_BUCKETS],
    pub(super) request_bytes: u64,
    pub(super) reply_sizes: [u64; SIZE_BUCKETS],
    pub(super) reply_bytes: u64,
    pub(super) request_messages: u64,
    pub(super) reply_messages: u64,
}

impl Totals {
    /// Calls that started and have not ended.
    pub(super) fn open(&self) -> u64 {
        self.started.saturating_sub(self.ended)
    }

    fn add(&mut self, cell: &Cell) {
        sum(std::slice::from_mut(&mut self.started), std::slice::from_ref(&cell.started));
        for (dialect, calls) in self.calls.iter_mut().enumerate() {
            let [ok, failures @ ..] = calls;
            sum(std::slice::from_mut(ok), std::slice::from_ref(&cell.ok[dialect]));
            if let Some(counted) = cell.failures.get() {
                sum(failures, &counted.0[dialect]);
            }
        }
        sum(&mut self.duration, &cell.duration);
        sum(&mut self.request_sizes, &cell.request_sizes);
        sum(&mut self.reply_sizes, &cell.reply_sizes);
        for (total, counted) in [
            (&mut self.duration_us, &cell.duration_us),
            (&mut self.request_bytes, &cell.request_bytes),
            (&mut self.reply_bytes, &cell.reply_bytes),
            (&mut self.request_messages, &cell.request_messages),
            (&mut self.reply_messages, &cell.reply_messages),
        ] {
            sum(std::slice::from_mut(total), std::slice::from_ref(counted));
        }
    }
}

fn sum(totals: &mut [u64], counted: &[AtomicU64]) {
    for (total, counted) in totals.iter_mut().zip(counted) {
        *total = total.wrapping_add(counted.load(Ordering::Relaxed));
    }
}

fn rounded_micros(duration: Duration) -> u64 {
    let nanos = u64::from(duration.subsec_nanos()) + 500;
    duration.as_secs().saturating_mul(1_000_000).saturating_add(nanos / 1_000)
}

fn duration_bucket(micros: u64) -> usize {
    DURATION_BOUNDS.iter().position(|(bound, _)| micros <= *bound).unwrap_or(DURATION_BOUNDS.len())
}

/// A bound 4^n holds what has at most 2n bits after one is taken off.
fn size_bucket(bytes: u64) -> usize {
    let bits = u64::BITS - bytes.saturating_sub(1).leading_zeros();
    (bits.div_ceil(2).saturating_sub(3) as usize).min(SIZE_BOUNDS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(workers: usize) -> Series {
        Series::new("pets".into(), "/p.S/M".into(), workers)
    }

    fn ended(code: Code) -> Ended {
        Ended {
            dialect: Dialect::Grpc,
            code,
            duration: Duration::from_micros(700),
            request_bytes: 65,
            reply_bytes: 0,
            request_messages: 1,
            reply_messages: 2,
        }
    }

    #[test]
    fn costs_what_its_documentation_says() {
        assert_eq!(size_of::<Cell>(), 512);
        assert_eq!(size_of::<Failures>(), 640);
        assert_eq!(size_of::<OnceLock<Box<Cell>>>(), 16);
        assert!(size_of::<Series>() <= 96);
        assert!(series(64).cells.get().is_none(), "nothing is allocated before the first call");
    }

    #[test]
    fn every_size_falls_into_the_first_bucket_that_holds_it() {
        let bounds: Vec<u64> = SIZE_BOUNDS.iter().map(|bound| bound.parse().unwrap()).collect();
        let near = bounds.iter().flat_map(|bound| [bound - 1, *bound, bound + 1]);
        for bytes in near.chain([0, 1, 2, u64::MAX]) {
            let expected = bounds.iter().position(|bound| bytes <= *bound).unwrap_or(bounds.len());
            assert_eq!(size_bucket(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn durations_are_rounded_and_never_overflow() {
        assert_eq!(rounded_micros(Duration::from_nanos(1_499)), 1);
        assert_eq!(rounded_micros(Duration::from_nanos(1_500)), 2);
        assert_eq!(rounded_micros(Duration::MAX), u64::MAX);
        assert_eq!(duration_bucket(1_000), 0);
        assert_eq!(duration_bucket(1_001), 1);
        assert_eq!(duration_bucket(60_000_001), DURATION_BOUNDS.len());
        for (bound, text) in DURATION_BOUNDS {
            assert_eq!(Duration::from_secs_f64(text.parse().unwrap()), Duration::from_micros(bound));
        }
    }

    #[test]
    fn sums_what_workers_and_others_told() {
        let series = series(2);
        assert!(series.totals().is_none());
        for worker in [0, 1, ANYWHERE, 2] {
            series.started(worker);
            series.started(worker);
            series.ended(worker, &ended(Code::Ok));
        }
        series.ended(1, &ended(Code::Unauthenticated));
        let totals = series.totals().unwrap();
        assert_eq!(totals.open(), 3);
        assert_eq!(totals.calls[Dialect::Grpc as usize][0], 4);
        assert_eq!(totals.calls[Dialect::Grpc as usize][16], 1);
        assert_eq!(totals.calls.as_flattened().iter().sum::<u64>(), 5);
        assert_eq!(totals.duration[0], 5);
        assert_eq!(totals.duration_us, 3500);
        assert_eq!(totals.request_sizes[1], 5);
        assert_eq!(totals.request_bytes, 325);
        assert_eq!(totals.reply_sizes[0], 5);
        assert_eq!((totals.request_messages, totals.reply_messages), (5, 10));
    }
}

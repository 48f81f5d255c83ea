//! Counts how long single polls keep a worker's thread busy: one cell a worker, summed when asked.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::text::Text;
use super::text::Type;

/// The upper bounds of the histogram in nanoseconds, each with its text in seconds.
const BOUNDS: [(u64, &str); 6] = [
    (100_000, "0.0001"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (50_000_000, "0.05"),
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// The polls of one worker's connections. Only its thread may tell.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Polls {
    counts: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Polls {
    /// Counts a poll that took at most `cpu` of the thread's CPU time.
    #[inline]
    pub fn took(&self, cpu: Duration) {
        let nanos = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|(bound, _)| nanos <= *bound).unwrap_or(BOUNDS.len());
        add(&self.counts[bucket], 1);
        add(&self.nanos, nanos);
    }
}

/// There is no other writer, so it takes no locked instruction.
#[inline]
fn add(to: &AtomicU64, n: u64) {
    to.store(to.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// Adds the sums over all workers to a page.
pub(super) fn render(all: &[Arc<Polls>], page: &mut Text) {
    let mut counts = [0_u64; BUCKETS];
    let mut nanos = 0_u64;
    for polls in all {
        for (sum, count) in counts.iter_mut().zip(&polls.counts) {
            *sum = sum.wrapping_add(count.load(Ordering::Relaxed));
        }
        nanos = nanos.wrapping_add(polls.nanos.load(Ordering::Relaxed));
    }
    page.family(
        NAME,
        Type::Histogram,
        "CPU time of a worker's thread that one poll of a client connection took at most.",
    );
    let sum = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    page.histogram(NAME, "", (BOUNDS.iter().map(|(_, text)| *text), &counts), sum);
}

const NAME: &str = "transom_worker_poll_cpu_seconds";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_workers_are_summed() {
        let all = [Arc::new(Polls::default()), Arc::new(Polls::default())];
        all[0].took(Duration::ZERO);
        all[0].took(Duration::from_nanos(100_000));
        all[1].took(Duration::from_nanos(100_001));
        all[1].took(Duration::from_millis(5));
        all[1].took(Duration::from_secs(2));
        let mut page = Text::default();
        render(&all, &mut page);
        let page = page.finish();
        let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            r#"transom_worker_poll_cpu_seconds_bucket{le="0.0001"} 2"#,
            r#"transom_worker_poll_cpu_seconds_bucket{le="0.0005"} 3"#,
            r#"transom_worker_poll_cpu_seconds_bucket{le="0.001"} 3"#,
            r#"transom_worker_poll_cpu_seconds_bucket{le="0.005"} 4"#,
            r#"transom_worker_poll_cpu_seconds_bucket{le="0.01"} 4"#,
            r#"transom_worker_poll_cpu_seconds_bucket{le="0.05"} 4"#,
            r#"transom_worker_poll_cpu_seconds_bucket{le="+Inf"} 5"#,
            "transom_worker_poll_cpu_seconds_sum 2.005200001",
            "transom_worker_poll_cpu_seconds_count 5",
        ];
        assert_eq!(lines, expected);
    }
}

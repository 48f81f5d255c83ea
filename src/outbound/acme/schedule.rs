//! When a certificate is renewed, and how long to wait after a failure.

use std::time::Duration;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;

use crate::outbound::acme::certificate::Validity;

/// How an order that failed is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The wait after the first failure; it doubles with each one that follows.
    pub first_retry: Duration,
    /// The longest wait.
    pub retry_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first_retry: Duration::from_secs(60), retry_max: Duration::from_secs(6 * 3600) }
    }
}

/// When two thirds of a certificate's life are over, or up to a thirtieth of it earlier: gateways that began
/// together don't all come back together. `jitter` is from 0 to 1.
pub(super) fn renewal(valid: Validity, jitter: f64) -> SystemTime {
    let life = valid.until.duration_since(valid.from).unwrap_or_default();
    let share = 2.0 / 3.0 - jitter.clamp(0.0, 1.0) / 30.0;
    valid.from.checked_add(life.mul_f64(share)).unwrap_or(valid.until)
}

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }

    /// The wait after one more failure: a quarter of it is jitter, and an authority that says when to come again
    /// is obeyed up to the longest wait.
    pub(super) fn next(&mut self, pace: Pace, retry_after: Option<Duration>, jitter: f64) -> Duration {
        let doubled = pace.first_retry.saturating_mul(1 << self.0.min(DOUBLINGS_MAX));
        self.0 = self.0.saturating_add(1);
        let wait = doubled.min(pace.retry_max).mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 4.0);
        wait.max(retry_after.unwrap_or_default().min(pace.retry_max))
    }
}

/// A number from 0 to 1.
pub(super) fn random(provider: &CryptoProvider) -> f64 {
    let mut bytes = [0; 4];
    match provider.secure_random.fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        // Without jitter it works as well.
        Err(_) => 0.0,
    }
}

const DOUBLINGS_MAX: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    #[test]
    fn renewal_comes_at_two_thirds_or_somewhat_earlier() {
        let from = SystemTime::UNIX_EPOCH + hours(1000);
        let valid = Validity { from, until: from + hours(90 * 24) };
        let after = |jitter: f64| renewal(valid, jitter).duration_since(from).unwrap().as_secs();
        assert_eq!(after(0.0), hours(60 * 24).as_secs());
        assert_eq!(after(1.0), hours(57 * 24).as_secs());
        assert!((after(1.0)..after(0.0)).contains(&after(0.5)));
        let odd = Validity { from, until: from };
        assert_eq!(renewal(odd, 0.5), from);
    }

    #[test]
    fn waits_double_up_to_the_longest_one() {
        let (pace, mut backoff) = (Pace::default(), Backoff::default());
        let minutes: Vec<u64> = (0..40).map(|_| backoff.next(pace, None, 0.0).as_secs() / 60).collect();
        assert_eq!(minutes[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 360]);
        assert_eq!(minutes[39], 360);
        backoff.reset();
        assert_eq!(backoff.next(pace, None, 1.0), Duration::from_secs(45));
    }

    #[test]
    fn an_authority_that_says_when_is_obeyed_up_to_the_longest_wait() {
        let (pace, mut backoff) = (Pace::default(), Backoff::default());
        assert_eq!(backoff.next(pace, Some(hours(1)), 0.0), hours(1));
        assert_eq!(backoff.next(pace, Some(Duration::from_secs(1)), 0.0), Duration::from_secs(120));
        assert_eq!(backoff.next(pace, Some(hours(10_000)), 0.0), hours(6));
    }

    #[test]
    fn random_numbers_are_within_their_bounds_and_differ() {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let all: Vec<f64> = (0..100).map(|_| random(&provider)).collect();
        assert!(all.iter().all(|one| (0.0..=1.0).contains(one)));
        assert!(all.iter().any(|one| (one - all[0]).abs() > 1e-6));
    }
}

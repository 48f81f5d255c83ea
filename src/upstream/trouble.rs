//! Tells the log that an endpoint can't be reached: once, and then now and then, whatever all workers find.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::upstream::failure::Failure;

/// What the log was told of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<(&'static str, Instant)>>);

impl Trouble {
    /// Tells the log, where it is worth a line.
    pub(super) fn tell(&self, endpoint: &str, failure: &Failure, now: Instant) {
        if self.is_due(failure.outcome, now) {
            tracing::warn!(endpoint, outcome = failure.outcome, "an endpoint can't be reached: {failure}");
        } else {
            tracing::debug!(endpoint, outcome = failure.outcome, "connecting failed: {failure}");
        }
    }

    fn is_due(&self, outcome: &'static str, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|(told, at)| {
            let rest = if told == outcome { SAME_AFTER } else { OTHER_AFTER };
            now.saturating_duration_since(at) >= rest
        });
        if is_due {
            *last = Some((outcome, now));
        }
        is_due
    }
}

/// When the same outcome is told again.
const SAME_AFTER: Duration = Duration::from_secs(60);
/// When another outcome is told after the last.
const OTHER_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test reads the clock")]
    fn one_line_a_minute_and_one_a_change() {
        let trouble = Trouble::default();
        let start = Instant::now();
        let told = |outcome, millis| trouble.is_due(outcome, start + Duration::from_millis(millis));
        assert!(told("refused", 0));
        assert!(!told("refused", 10) && !told("timeout", 20) && !told("refused", 59_999));
        assert!(told("timeout", 59_999) && !told("refused", 60_000));
        assert!(told("timeout", 119_999));
    }
}

//! Why the path, the query or the form of a request is refused, all of it at once.

use std::error::Error;
use std::fmt;

/// What is wrong with the parameters of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindError {
    /// Field path and sentence of each fault, in the order in which they were met, up to a limit. The path
    /// is as the client wrote it, and empty where the request as a whole is meant.
    pub violations: Vec<(String, String)>,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.violations.first() {
            Some((path, what)) if path.is_empty() => f.write_str(what),
            Some((path, what)) => write!(f, "{path}: {what}"),
            None => f.write_str("the parameters are refused"),
        }
    }
}

impl Error for BindError {}

/// The faults that were met so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    violations: Vec<(String, String)>,
}

impl Faults {
    #[cold]
    pub(super) fn push(&mut self, path: &str, what: impl Into<String>) {
        if !self.is_full() {
            self.violations.push((cut(path, PATH_SHOWN_MAX), what.into()));
        }
    }

    /// Whether a fault may still be told at length: one request must not buy long work many times.
    pub(super) fn is_lavish(&self) -> bool {
        self.violations.len() < LAVISH_MAX
    }

    /// Whether another fault would not be told any more.
    pub(super) fn is_full(&self) -> bool {
        VIOLATIONS_MAX <= self.violations.len()
    }

    pub(super) fn finish(self) -> Result<(), BindError> {
        if self.violations.is_empty() {
            return Ok(());
        }
        Err(BindError { violations: self.violations })
    }
}

/// The only fault of a request.
#[cold]
pub(super) fn refused(path: &str, what: impl Into<String>) -> BindError {
    let mut faults = Faults::default();
    faults.push(path, what);
    BindError { violations: faults.violations }
}

/// A value as a sentence shows it.
#[cold]
pub(super) fn shown(value: &str) -> String {
    format!("{:?}", cut(value, VALUE_SHOWN_MAX))
}

/// At most the first `max` characters.
fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

const VIOLATIONS_MAX: usize = 20;
const LAVISH_MAX: usize = 3;
const PATH_SHOWN_MAX: usize = 100;
const VALUE_SHOWN_MAX: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_first_faults_and_shows_the_first() {
        let mut faults = Faults::default();
        for index in 0..50 {
            faults.push(&format!("f{index}"), "is bad");
        }
        assert!(faults.is_full());
        let error = faults.finish().unwrap_err();
        assert_eq!(error.violations.len(), VIOLATIONS_MAX);
        assert_eq!(error.to_string(), "f0: is bad");
        assert_eq!(refused("", "is bad").to_string(), "is bad");
        assert_eq!(Faults::default().finish(), Ok(()));
    }

    #[test]
    fn cuts_what_a_client_sent() {
        assert_eq!(refused(&"ä".repeat(101), "x").violations[0].0, format!("{}…", "ä".repeat(100)));
        assert_eq!(shown("a\"b"), r#""a\"b""#);
    }
}

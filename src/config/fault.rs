//! Faults of a configuration: where, what is wrong, and what to do instead.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::resource::Kind;

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The way to the value, such as `apis[0].policies.timeout`; empty for the file itself.
    pub path: String,
    /// The file, as given on the command line; for a resource its list and its name, `upstreams/pets`.
    pub file: Arc<Path>,
    /// From 1; 0 in a resource, which has no lines that anybody saw.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl At {
    /// The file itself, for faults that have no line.
    pub fn file(file: &Path) -> Self {
        Self { path: String::new(), file: file.into(), line: 1, column: 1 }
    }

    /// A resource itself.
    pub(super) fn resource_of(file: &Path) -> Self {
        Self { line: 0, ..Self::file(file) }
    }

    /// The kind and the name of the resource that it is in, whose `path` starts there; `None` in a file.
    pub fn resource(&self) -> Option<(Kind, &str)> {
        resource(&self.file, self.line)
    }

    /// `transom.yaml:14`, or `upstreams/pets`.
    pub fn file_and_line(&self) -> String {
        match self.line {
            0 => self.file.display().to_string(),
            line => format!("{}:{line}", self.file.display()),
        }
    }

    /// The place of the first byte after `before`.
    pub(super) fn after(file: &Path, before: &str) -> Self {
        let (lines, last) = match before.rsplit_once('\n') {
            Some((lines, last)) => (lines.matches('\n').count() + 2, last),
            None => (1, before),
        };
        let line = u32::try_from(lines).unwrap_or(u32::MAX);
        let column = u32::try_from(last.chars().count() + 1).unwrap_or(u32::MAX);
        Self { line, column, ..Self::file(file) }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display())?,
            line => write!(f, "{}:{line}:{}", self.file.display(), self.column)?,
        }
        if self.path.is_empty() { Ok(()) } else { write!(f, ": {}", self.path) }
    }
}

/// The resource that a place of this line in this file is in.
pub(super) fn resource(file: &Path, line: u32) -> Option<(Kind, &str)> {
    let (list, name) = file.to_str().filter(|_| line == 0)?.split_once('/')?;
    Some((Kind::named(list)?, name))
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub at: At,
    /// What is wrong: lower case, no full stop.
    pub problem: String,
    /// What to do instead.
    pub help: Option<String>,
    /// What it is.
    pub kind: FaultKind,
}

/// What a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FaultKind {
    /// Something is written wrongly.
    #[default]
    Wrong,
    /// Two publish the same: each is right without the other.
    Collision,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.problem)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// Collects the faults of one run, so that all of them are reported together.
#[derive(Debug, Default)]
pub struct Diag {
    faults: Vec<Fault>,
    dropped: usize,
}

impl Diag {
    /// An empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault; an empty `help` is none. Those past `FAULTS_MAX` are only counted.
    pub fn fault(&mut self, at: &At, problem: impl Into<String>, help: impl Into<String>) {
        self.add(FaultKind::Wrong, at, problem.into(), help.into());
    }

    /// Adds a fault of two that publish the same.
    pub fn collision(&mut self, at: &At, problem: impl Into<String>, help: impl Into<String>) {
        self.add(FaultKind::Collision, at, problem.into(), help.into());
    }

    fn add(&mut self, kind: FaultKind, at: &At, problem: String, help: String) {
        if self.is_full() {
            self.dropped += 1;
            return;
        }
        let help = Some(help).filter(|help| !help.is_empty());
        self.faults.push(Fault { at: at.clone(), problem, help, kind });
    }

    /// Ends the run with the outcome of another one.
    ///
    /// # Errors
    /// The report of both.
    pub fn join<T>(mut self, other: Result<T, Report>) -> Result<T, Report> {
        match other {
            Ok(value) => self.finish().map(|()| value),
            Err(report) => {
                self.extend(report);
                Err(self.into_report())
            }
        }
    }

    /// Adds the faults of another run.
    fn extend(&mut self, report: Report) {
        self.dropped += report.dropped;
        for fault in report.faults {
            if self.is_full() {
                self.dropped += 1;
            } else {
                self.faults.push(fault);
            }
        }
    }

    /// Whether nothing is wrong so far.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether further faults would only be counted.
    pub(super) fn is_full(&self) -> bool {
        FAULTS_MAX <= self.faults.len()
    }

    /// Counts a fault whose text nobody will read.
    pub(super) fn count(&mut self) {
        self.dropped += 1;
    }

    /// Ends the run.
    ///
    /// # Errors
    /// The report of all faults, in file order, if there is any.
    pub fn finish(self) -> Result<(), Report> {
        if self.is_clean() { Ok(()) } else { Err(self.into_report()) }
    }

    fn into_report(self) -> Report {
        let mut faults = self.faults;
        faults
            .sort_by(|a, b| (&a.at.file, a.at.line, a.at.column).cmp(&(&b.at.file, b.at.line, b.at.column)));
        Report { faults, dropped: self.dropped }
    }
}

/// Every fault of one run; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    faults: Vec<Fault>,
    dropped: usize,
}

impl Report {
    /// A report of one fault that concerns the whole file.
    pub fn of_file(file: &Path, problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self::of(At::file(file), problem, help)
    }

    /// A report of one fault.
    pub fn of(at: At, problem: impl Into<String>, help: impl Into<String>) -> Self {
        let help = Some(help.into()).filter(|help| !help.is_empty());
        Self { faults: vec![Fault { at, problem: problem.into(), help, kind: FaultKind::Wrong }], dropped: 0 }
    }

    /// The faults, in file order; at most `FAULTS_MAX`.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The files that have faults, each once.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.faults.iter().map(|fault| fault.at.file.to_path_buf()).collect();
        files.sort();
        files.dedup();
        files
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        match (self.faults.len() + self.dropped, self.dropped) {
            (1, _) => write!(f, "1 fault"),
            (all, 0) => write!(f, "{all} faults"),
            (all, _) => write!(f, "{all} faults, the first {} are shown", self.faults.len()),
        }
    }
}

impl std::error::Error for Report {}

/// Faults shown of one run: a hostile file must not make a report of gigabytes.
pub const FAULTS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32) -> At {
        At { path: "a.b".into(), file: Path::new("t.yaml").into(), line, column: 3 }
    }

    #[test]
    fn a_report_is_in_file_order_with_a_count() {
        let mut diag = Diag::new();
        diag.fault(&at(9), "second", "");
        diag.fault(&at(2), "first", "do this");
        let report = diag.finish().unwrap_err();
        assert_eq!(
            report.to_string(),
            "t.yaml:2:3: a.b: first\n  help: do this\nt.yaml:9:3: a.b: second\n2 faults"
        );
    }

    #[test]
    fn faults_past_the_bound_are_counted() {
        let mut diag = Diag::new();
        for _ in 0..FAULTS_MAX + 7 {
            diag.fault(&at(1), "x", "");
        }
        let report = diag.finish().unwrap_err();
        assert_eq!(report.faults().len(), FAULTS_MAX);
        assert!(report.to_string().ends_with("507 faults, the first 500 are shown"));
    }

    #[test]
    fn runs_are_reported_together() {
        let mut diag = Diag::new();
        diag.fault(&at(9), "second", "");
        let mut other = Diag::new();
        (0..FAULTS_MAX + 2).for_each(|_| other.fault(&at(2), "first", ""));
        diag.extend(other.finish().unwrap_err());
        let report = diag.finish().unwrap_err();
        assert_eq!((report.faults().len(), &*report.faults()[0].problem), (FAULTS_MAX, "first"));
        assert!(report.to_string().ends_with("503 faults, the first 500 are shown"));
    }

    #[test]
    fn no_faults_is_no_report() {
        assert_eq!(Diag::new().finish(), Ok(()));
    }
}

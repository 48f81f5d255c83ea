//! Says what is wrong with a set of descriptors, where, and what to do about it.

use std::fmt;

/// One reason why descriptors were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Import name of the file, or the path of what was read where no single file is to blame.
    pub file: String,
    /// Line in that file, counted from 1; none where the source has no lines or they are not known.
    pub line: Option<u32>,
    /// What is wrong, naming the symbol, in lower case.
    pub problem: String,
    /// What to do, in lower case.
    pub help: String,
}

impl Fault {
    /// A fault of a whole file.
    pub fn new(file: impl Into<String>, problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self { file: file.into(), line: None, problem: problem.into(), help: help.into() }
    }

    /// The same fault, at a line counted from 1.
    pub fn at(mut self, line: Option<u32>) -> Self {
        self.line = line;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.problem)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// Sorts faults for a reader, drops repeats, and ends a list that is too long by saying so.
pub(super) fn tidy(mut faults: Vec<Fault>, faults_max: usize) -> Vec<Fault> {
    faults.sort_by(|a, b| (&a.file, a.line, &a.problem).cmp(&(&b.file, b.line, &b.problem)));
    faults.dedup();
    if faults_max < faults.len() {
        faults.truncate(faults_max);
        faults.push(Fault::new("(all files)", "there are more faults than are listed", "mend these first"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_one_sentence() {
        let fault = Fault::new("pets/v1/pets.proto", "type \"Foo\" is not defined", "define it").at(Some(12));
        assert_eq!(fault.to_string(), "pets/v1/pets.proto:12: type \"Foo\" is not defined; define it");
        let fault = Fault::new("a.proto", "it is empty", "");
        assert_eq!(fault.to_string(), "a.proto: it is empty");
    }

    #[test]
    fn a_long_list_ends_by_saying_so() {
        let one = |line| Fault::new("a.proto", "bad", "mend it").at(Some(line));
        let listed = tidy((1..=9).chain(1..=9).map(one).collect(), 4);
        assert_eq!(listed.len(), 5);
        assert_eq!(listed[4].problem, "there are more faults than are listed");
    }
}

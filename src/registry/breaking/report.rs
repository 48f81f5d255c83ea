//! Gathers findings, and knows where in the new files they stand.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::collections::HashSet;

use prost_reflect::FileDescriptor;
use prost_reflect::Kind;
use prost_reflect::MessageDescriptor;

use crate::registry::breaking::Category;
use crate::registry::breaking::Finding;
use crate::registry::breaking::rules::Rule;
use crate::schema::Schema;

/// One comparison under way.
pub(super) struct Check<'a> {
    pub(super) old: &'a Schema,
    pub(super) new: &'a Schema,
    category: Category,
    findings: Vec<Finding>,
    /// Paths of map fields of the new version, by the full names of their entries, once they are asked for.
    maps: OnceCell<HashMap<String, Vec<i32>>>,
    /// Of the new version.
    packages: HashSet<String>,
}

/// Where a finding stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: String,
    line: Option<u32>,
}

impl<'a> Check<'a> {
    pub(super) fn new(old: &'a Schema, new: &'a Schema, category: Category) -> Self {
        let packages = new.pool().files().map(|file| file.package_name().to_owned()).collect();
        Self { old, new, category, findings: Vec::new(), maps: OnceCell::new(), packages }
    }

    pub(super) fn finish(self) -> Vec<Finding> {
        let mut findings = self.findings;
        findings.sort_by(|a, b| {
            let key = |finding: &Finding| (finding.line, finding.rule);
            a.file.cmp(&b.file).then_with(|| key(a).cmp(&key(b))).then_with(|| a.element.cmp(&b.element))
        });
        findings
    }

    /// Whether a rule counts at all: what is costly to find out is not looked for otherwise.
    pub(super) fn wants(&self, rule: &Rule) -> bool {
        rule.categories.contains(&self.category)
    }

    pub(super) fn report(
        &mut self,
        rule: &Rule,
        place: Place,
        element: impl Into<String>,
        problem: impl Into<String>,
    ) {
        if !self.wants(rule) {
            return;
        }
        let Place { file, line } = place;
        let (element, problem, breaks) = (element.into(), problem.into(), rule.breaks.to_owned());
        self.findings.push(Finding { rule: rule.id, file, line, element, problem, breaks });
    }

    /// A path in a file of the new version.
    pub(super) fn at(&self, file: &FileDescriptor, path: &[i32]) -> Place {
        Place { file: file.name().to_owned(), line: self.new.line(file.name(), path) }
    }

    /// A part of what a path points at.
    pub(super) fn at_part(&self, file: &FileDescriptor, path: &[i32], part: &[i32]) -> Place {
        self.at(file, &[path, part].concat())
    }

    /// A message of the new version. The entries of maps are written nowhere; they stand at their map.
    pub(super) fn at_message(&self, message: &MessageDescriptor) -> Place {
        let map = if message.is_map_entry() { self.map_of(message.full_name()) } else { None };
        self.at(&message.parent_file(), map.unwrap_or_else(|| message.path()))
    }

    /// The path of the map field whose entries are of this message.
    pub(super) fn map_of(&self, entry: &str) -> Option<&[i32]> {
        let maps = self.maps.get_or_init(|| {
            let messages = self.new.pool().all_messages();
            let mut maps = HashMap::new();
            for message in messages {
                for field in message.fields() {
                    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
                        maps.insert(entry.full_name().to_owned(), field.path().to_vec());
                    }
                }
            }
            maps
        });
        maps.get(entry).map(Vec::as_slice)
    }

    /// Whether any file of the new version is in this package.
    pub(super) fn has_package(&self, package: &str) -> bool {
        self.packages.contains(package)
    }
}

impl Place {
    /// A file, which may be gone.
    pub(super) fn file(name: &str) -> Self {
        Self { file: name.to_owned(), line: None }
    }

    pub(super) fn is_whole_file(&self) -> bool {
        self.line.is_none()
    }
}

/// Whether the module itself supplied the file.
pub(super) fn is_own(schema: &Schema, file: &FileDescriptor) -> bool {
    schema.file(file.name()).is_some_and(|file| file.own)
}

/// The full name of what is declared in a package or message.
pub(super) fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// Someone else's text, fit for a message.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_debug).collect();
    let rest = if text.chars().nth(QUOTED_CHARS_MAX).is_some() { "..." } else { "" };
    format!("\"{shown}{rest}\"")
}

const QUOTED_CHARS_MAX: usize = 100;

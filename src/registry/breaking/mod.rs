//! Finds what a new version of a module breaks for those who use the old one, in the manner of `buf breaking`.
//!
//! [`compare`] is a pure function of two schemas. A rule has the id and the meaning that it has in buf, and stands
//! in the same categories; those that begin with `TRANSOM_` are about what a gateway serves whatever the category:
//! services and methods by their names, and HTTP bindings. Streaming kinds and idempotency levels have no rules
//! here but buf's `RPC_SAME_*`, which stand in every category already.
//!
//! What only some code generators look at and a descriptor says in extensions, `(pb.cpp)` and `(pb.java)` of
//! editions, is not compared.

mod allowed;
mod deleted;
mod enums;
mod field;
mod fields;
mod files;
mod http;
mod messages;
mod ranges;
mod report;
mod rules;
mod services;
mod types;

use std::fmt;

pub use crate::registry::breaking::allowed::Allowed;
pub use crate::registry::breaking::allowed::Verdict;
pub use crate::registry::breaking::allowed::split;

use crate::registry::breaking::report::Check;
use crate::schema::Schema;
use crate::schema::http::ServiceConfig;

/// Who shall not be broken. Each one refuses all that the one before refuses, if sometimes by another rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Category {
    /// Those who read and write the binary form.
    Wire,
    /// Those who read and write JSON, too.
    #[default]
    WireJson,
    /// Code generated for packages, too.
    Package,
    /// Code generated for single files, too.
    File,
}

/// One change that breaks somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about, such as `FIELD_SAME_TYPE`.
    pub rule: &'static str,
    /// Import name of the new file, or of the old one if it is gone.
    pub file: String,
    /// Line in the new file, counted from 1, of the element or of what surrounded it.
    pub line: Option<u32>,
    /// Full name, such as `pets.v1.Pet.name`: the one that the old version has, if it has it. Else a file or a
    /// package.
    pub element: String,
    /// What changed.
    pub problem: String,
    /// What breaks, and for whom.
    pub breaks: String,
}

impl Category {
    /// All, the most lenient first.
    pub const ALL: [Self; 4] = [Self::Wire, Self::WireJson, Self::Package, Self::File];

    /// By the name that buf has for it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.name() == name)
    }

    /// The name that buf has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wire => "WIRE",
            Self::WireJson => "WIRE_JSON",
            Self::Package => "PACKAGE",
            Self::File => "FILE",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}: {}, which breaks {} ({})", self.element, self.problem, self.breaks, self.rule)
    }
}

/// The ids of all rules.
pub fn rule_ids() -> impl Iterator<Item = &'static str> {
    rules::TABLE.iter().map(|rule| rule.id)
}

/// What of the old version's own files the new version breaks, by file, line, rule and element. The rules of
/// service configs count as annotations do.
pub fn compare(
    old: &Schema,
    new: &Schema,
    old_rules: Option<&ServiceConfig>,
    new_rules: Option<&ServiceConfig>,
    category: Category,
) -> Vec<Finding> {
    let mut check = Check::new(old, new, category);
    files::compare(&mut check);
    deleted::compare(&mut check);
    messages::compare(&mut check);
    fields::compare(&mut check);
    enums::compare(&mut check);
    services::compare(&mut check);
    http::compare(&mut check, old_rules, new_rules);
    check.finish()
}

//! How the table of keys is written: shapes, sections and their rows.

use crate::config::scalar::Kind;

/// What has names that other keys refer to.
pub(super) use crate::config::resource::Kind as Thing;

/// What a value must look like.
pub(super) enum Shape {
    /// `true` or `false`.
    Bool,
    /// A whole number in these bounds, both included.
    Integer(u64, u64),
    /// A number from 0 to 1.
    Ratio,
    /// A size in these bounds, in bytes, both included.
    Size(u64, u64),
    /// A text of this kind.
    Scalar(&'static Kind),
    /// One of these words.
    Choice(&'static [Word]),
    /// A name that the file itself defines.
    Name(Thing),
    /// Values of this shape, at least so many.
    List(&'static Self, usize),
    /// Free keys of this kind with values of this shape.
    Map(&'static Kind, &'static Self),
    /// Known keys.
    Section(&'static Section),
    /// One of these words, or a value of this shape.
    Or(&'static [&'static str], &'static Self),
    /// A scalar of the first shape, or a list or section of the second.
    Either(&'static Self, &'static Self),
}

/// One word of a choice.
pub(super) struct Word {
    pub(super) name: &'static str,
    pub(super) stage: Stage,
}

/// Whether this version obeys it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Built,
    /// Checked like the rest, but a fault when used: nothing is ignored in silence.
    Later,
}

/// A map with known keys.
pub(super) struct Section {
    /// In the order of the reference.
    pub(super) keys: &'static [Key],
    /// What must hold between keys.
    pub(super) rules: &'static [Rule],
    /// Keys that people write here and what to write instead.
    pub(super) wrong: &'static [(&'static str, &'static str)],
}

/// One key of a section.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) need: Need,
    pub(super) stage: Stage,
    pub(super) help: &'static str,
}

/// What its absence means.
#[derive(Clone, Copy)]
pub(super) enum Need {
    /// A fault.
    Must,
    /// Nothing.
    May,
    /// The same as this text; `{}` and `[]` are the empty section and list.
    Or(&'static str),
}

/// What must hold between keys of one section.
pub(super) enum Rule {
    /// Exactly one of these.
    One(&'static [&'static str]),
    /// At most one of these.
    AtMostOne(&'static [&'static str]),
    /// At least one of these.
    Some(&'static [&'static str]),
    /// The first needs the second.
    Needs(&'static str, &'static str),
}

/// A row of a key that this version obeys.
pub(super) const fn key(name: &'static str, shape: Shape, need: Need, help: &'static str) -> Key {
    Key { name, shape, need, stage: Stage::Built, help }
}

/// A row of a key that is checked but not built yet; what is below it says `key` all the same.
pub(super) const fn later(name: &'static str, shape: Shape, need: Need, help: &'static str) -> Key {
    Key { name, shape, need, stage: Stage::Later, help }
}

/// A word that this version obeys.
pub(super) const fn word(name: &'static str) -> Word {
    Word { name, stage: Stage::Built }
}

/// A word that is not built yet.
pub(super) const fn later_word(name: &'static str) -> Word {
    Word { name, stage: Stage::Later }
}

/// A section without rules.
pub(super) const fn section(keys: &'static [Key]) -> Section {
    Section { keys, rules: &[], wrong: &[] }
}

impl Section {
    /// The row of a key.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The keys, in the order of the reference.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }

    /// What a key means; empty where there is none.
    pub(super) fn help(&self, name: &str) -> &'static str {
        self.key(name).map_or("", |key| key.help)
    }
}

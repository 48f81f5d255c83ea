//! A configuration value as it was written, and where: read by accessors once it is checked.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::fault;
use crate::config::fault::At;
use crate::config::resource::Kind as ResourceKind;
use crate::config::scalar;

/// A located value. After the check, accessors that fit its shape return `Some`.
#[derive(Clone, PartialEq)]
pub struct Raw {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// What kind of node it is.
#[derive(Clone, PartialEq)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Raw>),
    Map(Vec<Entry>),
    /// Already reported: fits every shape, so that one mistake is one fault.
    Faulty,
}

/// Text of a leaf.
#[derive(Clone, PartialEq)]
pub(super) struct Scalar {
    /// After replacement of `${...}`.
    pub(super) text: String,
    /// Before it, where anything was replaced: what a fault may show, since the text may be a secret.
    pub(super) source: Option<Box<str>>,
    /// Quotes and blocks make text, never a number or a boolean; replaced values count as plain.
    pub(super) quoted: bool,
}

/// One `key: value` of a map.
#[derive(Clone, PartialEq)]
pub struct Entry {
    pub(super) name: Arc<str>,
    pub(super) place: Place,
    pub(super) value: Raw,
}

/// Where a node is; the path is a chain, so that a million nodes share their prefixes.
#[derive(Clone, PartialEq)]
pub(super) struct Place {
    pub(super) file: Arc<Path>,
    pub(super) step: Option<Arc<Step>>,
    /// From 1; 0 in a resource.
    pub(super) line: u32,
    pub(super) column: u32,
    /// False for a default that nobody wrote.
    pub(super) written: bool,
}

/// The last part of a path and the way to it.
#[derive(PartialEq)]
pub(super) struct Step {
    pub(super) parent: Option<Arc<Self>>,
    pub(super) part: Part,
}

/// One part of a path.
#[derive(PartialEq)]
pub(super) enum Part {
    Key(Arc<str>),
    Index(usize),
}

impl Raw {
    /// Where it was written; for a default, where the section around it was.
    pub fn at(&self) -> At {
        self.place.at()
    }

    /// Whether somebody wrote it; false for a default.
    pub fn is_written(&self) -> bool {
        self.place.written
    }

    /// The value of a key of a map.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| &*entry.name == name).map(|entry| &entry.value)
    }

    /// The entries of a map in file order, then defaults; empty for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; empty for anything else.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar, whatever it looks like.
    pub fn text(&self) -> Option<&str> {
        self.scalar().map(|scalar| scalar.text.as_str())
    }

    /// Whether it is exactly this word.
    pub fn is_word(&self, word: &str) -> bool {
        self.text() == Some(word)
    }

    /// `true` or `false`, not quoted.
    pub fn boolean(&self) -> Option<bool> {
        match self.plain()? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// A whole number, not quoted.
    pub fn integer(&self) -> Option<u64> {
        scalar::integer(self.plain()?).ok()
    }

    /// A number from 0 to 1, not quoted.
    pub fn ratio(&self) -> Option<f64> {
        scalar::ratio(self.plain()?).ok()
    }

    /// A duration such as `250ms`.
    pub fn duration(&self) -> Option<Duration> {
        scalar::duration(self.text()?).ok()
    }

    /// A size in bytes, such as `4MiB`.
    pub fn size(&self) -> Option<u64> {
        scalar::size(self.text()?).ok()
    }

    /// A path; a relative one starts at the file it is written in.
    pub fn path(&self) -> Option<PathBuf> {
        Some(beside(&self.place.file, self.text()?))
    }

    /// A map without keys, at the start of a file.
    pub(super) fn empty_map(file: &Path) -> Self {
        let place = Place { file: file.into(), step: None, line: 1, column: 1, written: true };
        Self { value: Value::Map(Vec::new()), place }
    }

    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    pub(super) fn is_faulty(&self) -> bool {
        matches!(self.value, Value::Faulty)
    }

    /// What a fault may show of it.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::Scalar(scalar) if scalar.is_null() => "nothing".into(),
            Value::Scalar(scalar) => scalar.shown(),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
            Value::Faulty => "a faulty value".into(),
        }
    }

    fn plain(&self) -> Option<&str> {
        self.scalar().filter(|scalar| !scalar.quoted).map(|scalar| scalar.text.as_str())
    }
}

impl Scalar {
    /// Whether nothing is written, or the word for it.
    pub(super) fn is_null(&self) -> bool {
        !self.quoted && self.source.is_none() && matches!(self.text.as_str(), "" | "~" | "null")
    }

    /// Quoted and short; never what was put in for `${...}`.
    pub(super) fn shown(&self) -> String {
        let text = self.source.as_deref().unwrap_or(&self.text);
        if self.quoted { format!("{:?}", clip(text)) } else { format!("`{}`", clip(text)) }
    }
}

impl Entry {
    /// The key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the key was written.
    pub fn at(&self) -> At {
        self.place.at()
    }

    /// The value.
    pub fn value(&self) -> &Raw {
        &self.value
    }
}

impl Place {
    /// The resource that it is in; `None` in a file.
    pub(super) fn resource(&self) -> Option<(ResourceKind, &str)> {
        fault::resource(&self.file, self.line)
    }

    /// Where the other of two is, for a fault.
    pub(super) fn whereabouts(&self) -> String {
        match self.resource() {
            Some(_) => format!("`{}`", self.file.display()),
            None => format!("on line {}", self.line),
        }
    }

    /// That of a key of a map here.
    pub(super) fn below_key(&self, name: &str) -> Self {
        let step = Step { parent: self.step.clone(), part: Part::Key(name.into()) };
        Self { step: Some(Arc::new(step)), ..self.clone() }
    }

    pub(super) fn at(&self) -> At {
        let mut parts = Vec::new();
        let mut next = self.step.as_ref();
        while let Some(step) = next {
            parts.push(&step.part);
            next = step.parent.as_ref();
        }
        let mut path = String::new();
        for part in parts.into_iter().rev() {
            match part {
                Part::Index(index) => path.push_str(&format!("[{index}]")),
                Part::Key(name) if is_simple(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
                Part::Key(name) => path.push_str(&format!("[{:?}]", clip(name))),
            }
        }
        At { path, file: Arc::clone(&self.file), line: self.line, column: self.column }
    }
}

/// Hides what was put in for `${...}`, which may be a secret.
impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Scalar(scalar) => f.write_str(&scalar.shown()),
            Value::List(items) => f.debug_list().entries(items).finish(),
            Value::Map(entries) => {
                f.debug_map().entries(entries.iter().map(|e| (&e.name, &e.value))).finish()
            }
            Value::Faulty => f.write_str("faulty"),
        }
    }
}

/// As one line of YAML, defaults included; values that were replaced are shown as they were written.
impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Map(entries) => {
                f.write_str("{ ")?;
                for (at, entry) in entries.iter().enumerate() {
                    write!(f, "{}{}: {}", if at == 0 { "" } else { ", " }, entry.name, entry.value)?;
                }
                f.write_str(" }")
            }
            _ => fmt::Debug::fmt(self, f),
        }
    }
}

/// A path written in `file`.
pub(super) fn beside(file: &Path, written: &str) -> PathBuf {
    file.parent().unwrap_or_else(|| Path::new("")).join(written)
}

/// At most `SHOWN_CHARS_MAX` characters, for faults.
pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into(),
    }
}

fn is_simple(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

const SHOWN_CHARS_MAX: usize = 80;

//! The versions of one module that its labels point at.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::schema::Schema;

/// The versions that labels of one module point at. A clone costs one reference count.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    by_label: Arc<BTreeMap<Box<str>, Schema>>,
}

impl Labels {
    /// One version alone, which is [`LIVE`].
    pub fn live(schema: Schema) -> Self {
        let mut labels = Self::default();
        labels.set(LIVE, schema);
        labels
    }

    /// The version that a label points at.
    pub fn get(&self, label: &str) -> Option<&Schema> {
        self.by_label.get(label)
    }

    /// Lets a label point at a version, whatever it pointed at before.
    pub fn set(&mut self, label: &str, schema: Schema) {
        Arc::make_mut(&mut self.by_label).insert(label.into(), schema);
    }

    /// Takes a label away.
    pub fn remove(&mut self, label: &str) -> Option<Schema> {
        Arc::make_mut(&mut self.by_label).remove(label)
    }

    /// Whether both are copies of one, and neither has changed since.
    pub(super) fn shares(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.by_label, &other.by_label)
    }

    /// All labels, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Schema)> {
        self.by_label.iter().map(|(label, schema)| (&**label, schema))
    }
}

/// The label that an API serves where it names none, and the only one of modules that nobody pushes.
pub const LIVE: &str = "live";

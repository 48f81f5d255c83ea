//! Finds descriptors among the modules that are published on one host.

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Arc;

use crate::schema::Digest;
use crate::schema::File;
use crate::schema::Schema;

/// What one host shows. Modules may hold different files of one name, so each look-up says in which module
/// it found something.
pub(super) struct Visible {
    services: Vec<(Schema, Arc<str>)>,
    /// Each module once, in the order of services.
    schemas: Vec<Schema>,
    /// Where the client found the last thing: what it asks next most likely belongs to that.
    last: Option<Digest>,
}

/// A file, and the module in which it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) schema: &'a Schema,
    pub(super) file: &'a File,
}

impl Visible {
    pub(super) fn new(services: Vec<(Schema, Arc<str>)>, last: Option<Digest>) -> Self {
        let mut seen = HashSet::new();
        let schemas = services.iter().map(|(schema, _)| schema);
        let schemas = schemas.filter(|schema| seen.insert(schema.digest())).cloned().collect();
        Self { services, schemas, last }
    }

    pub(super) fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.services.iter().map(|(_, name)| name)
    }

    pub(super) fn file(&self, name: &str) -> Option<Found<'_>> {
        self.pick(|schema| schema.file(name))
    }

    /// A published service or its method is sought where it is published; other modules may declare it too.
    pub(super) fn symbol(&self, symbol: &str) -> Option<Found<'_>> {
        let is_of = |name: &str| {
            symbol.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let published = self.services.iter().filter(|(_, name)| is_of(name)).find_map(|(schema, _)| {
            let file = schema.file_of_symbol(symbol)?;
            Some(Found { schema, file })
        });
        published.or_else(|| self.pick(|schema| schema.file_of_symbol(symbol)))
    }

    pub(super) fn extension(&self, extendee: &str, number: u32) -> Option<Found<'_>> {
        self.pick(|schema| schema.file_of_extension(extendee, number))
    }

    /// Of all modules together; `None` if none has the message type.
    pub(super) fn extension_numbers(&self, extendee: &str) -> Option<BTreeSet<u32>> {
        let mut known =
            self.schemas.iter().filter_map(|schema| schema.extension_numbers(extendee)).peekable();
        known.peek()?;
        Some(known.flatten().collect())
    }

    /// From the module of the last answer, or else from one that supplied the file, or else from any.
    fn pick<'a>(&'a self, find: impl Fn(&'a Schema) -> Option<&'a File>) -> Option<Found<'a>> {
        let found = self.schemas.iter().filter_map(|schema| Some(Found { schema, file: find(schema)? }));
        found.min_by_key(|found| (self.last != Some(found.schema.digest()), !found.file.own))
    }
}

//! Where resources, versions and the audit log live: tables of keys and values, changed in whole batches.
//!
//! [`Embedded`] keeps them in one file of this machine. Whatever implements [`Store`] promises three things:
//! a batch is there wholly or not at all, a batch that was answered with `Ok` outlives a crash, and a batch whose
//! expectations don't hold changes nothing.

pub mod archive;
pub mod embedded;
pub mod error;

pub use embedded::Embedded;
pub use error::StoreError;

/// The tables of a store. A name is part of the stored format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Resources of the Admin API by kind and name.
    Resources,
    /// Versions of modules by module and digest, without their descriptors.
    Versions,
    /// Descriptors by their SHA-256, each stored once.
    Blobs,
    /// Which version a label of a module names.
    Labels,
    /// Every move of a label, in order.
    History,
    /// The audit log, in order.
    Audit,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 6] =
        [Self::Resources, Self::Versions, Self::Blobs, Self::Labels, Self::History, Self::Audit];

    /// The name in the stored format.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resources => "resources",
            Self::Versions => "versions",
            Self::Blobs => "blobs",
            Self::Labels => "labels",
            Self::History => "history",
            Self::Audit => "audit",
        }
    }

    /// The table of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Tables of keys and values. All calls block: they are made beside the workers.
pub trait Store: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// Where the store can't be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `limit` entries whose keys begin with `prefix` and come after the key `after`, in the order of keys.
    ///
    /// # Errors
    /// Where the store can't be read.
    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;

    /// The entry with the greatest key of a table that begins with `prefix`.
    ///
    /// # Errors
    /// Where the store can't be read.
    fn last(&self, table: Table, prefix: &[u8]) -> Result<Option<Entry>, StoreError>;

    /// Makes a batch true, wholly or not at all. After `Ok` it outlives a crash of the process and of the machine.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] for an expectation that doesn't hold, or where the store can't be written.
    fn commit(&self, batch: &Batch) -> Result<(), StoreError>;
}

/// Changes that are made together, if what they were decided upon still holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    expected: Vec<Cell>,
    written: Vec<Cell>,
}

/// A key of a table with its value; `None` for a key that isn't there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell {
    table: Table,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Batch {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Expects a key to have exactly this value, or none, before the batch.
    pub fn expect(&mut self, table: Table, key: impl Into<Vec<u8>>, value: Option<Vec<u8>>) -> &mut Self {
        self.expected.push(Cell { table, key: key.into(), value });
        self
    }

    /// Sets a key.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.written.push(Cell { table, key: key.into(), value: Some(value.into()) });
        self
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) -> &mut Self {
        self.written.push(Cell { table, key: key.into(), value: None });
        self
    }
}

//! What a store answers when it can't do what it was asked for.

use std::error::Error;
use std::fmt;
use std::fmt::Display;
use std::path::PathBuf;

use super::Table;

/// Why a store can't be opened, read or written. Displayed, it says what to do.
#[derive(Debug)]
pub enum StoreError {
    /// An expectation of a batch doesn't hold: somebody else was faster. Nothing was changed.
    Conflict {
        /// The table of the key.
        table: Table,
        /// The key.
        key: Vec<u8>,
    },
    /// Another process has the file open.
    InUse(PathBuf),
    /// The file was written by a newer Transom.
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its format.
        found: u64,
        /// The newest version that this program reads.
        known: u64,
    },
    /// The file is damaged, or no store at all.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What was to be imported isn't a whole archive.
    Archive(String),
    /// The system refuses to read or write.
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
}

impl Display for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { table, key } => write!(
                out,
                "{} {} was changed meanwhile: read it again and repeat the change",
                table.name(),
                key.escape_ascii()
            ),
            Self::InUse(path) => write!(
                out,
                "the store {} is open in another process: stop that one, or give each gateway its own path",
                path.display()
            ),
            Self::Newer { path, found, known } => write!(
                out,
                "the store {} has format {found}, and this Transom reads up to format {known}: start the version \
                 that wrote it, or import its export",
                path.display()
            ),
            Self::Damaged { path, reason } => write!(
                out,
                "the store {} is damaged: {reason}; put a backup in its place, or move it away to begin anew",
                path.display()
            ),
            Self::Archive(reason) => write!(out, "the archive can't be imported: {reason}"),
            Self::Io { path, reason } => write!(out, "the store {}: {reason}", path.display()),
        }
    }
}

impl Error for StoreError {}

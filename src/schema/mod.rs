//! Descriptors of one module: compiled from `.proto` text or descriptor sets, checked, immutable.
//!
//! Everything that comes in is hostile until it is linked: [`Limits`] bound it before any parser sees
//! it, and the linking runs on a thread of its own whose end, even by a panic, is only a [`Fault`].

mod bundled;
mod comments;
pub mod compile;
mod draft;
mod editions;
mod fault;
mod features;
pub mod http;
mod imports;
mod lines;
mod link;
mod model;
mod options;
mod ranges;
mod scan;
pub mod source;
mod symbols;
mod traits;

pub use bundled::is_bundled;
pub use draft::name_and_imports;
pub use fault::Fault;
pub use model::Digest;
pub use model::File;
pub use model::Rpc;
pub use model::Schema;
pub use model::Service;
pub use traits::Traits;

/// What one set of descriptors may cost. The defaults suit a monorepo's worth of files.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files of the set.
    pub files_max: usize,
    /// Bytes of one file.
    pub file_bytes_max: usize,
    /// Bytes of all files.
    pub bytes_max: usize,
    /// Messages, fields, enum values, methods and the like, in all files.
    pub declarations_max: usize,
    /// Fields of one message, values of one enum, methods of one service.
    pub members_max: usize,
    /// Messages within messages.
    pub depth_max: usize,
    /// Braces within braces in the value of one option.
    pub option_depth_max: usize,
    /// Imports of all files, the public imports of imports counted.
    pub imports_max: usize,
    /// Directories below the one that is read.
    pub directory_depth_max: usize,
    /// Faults reported in one run.
    pub faults_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            files_max: 20_000,
            file_bytes_max: 16 << 20,
            bytes_max: 64 << 20,
            declarations_max: 500_000,
            members_max: 20_000,
            depth_max: 31,
            option_depth_max: 32,
            imports_max: 1_000_000,
            directory_depth_max: 32,
            faults_max: 100,
        }
    }
}

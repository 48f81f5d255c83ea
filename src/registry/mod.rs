//! Modules and their versions: where descriptors come from, when to read them again, and what is kept of them.

pub mod breaking;
pub mod catalog;
pub mod record;
pub mod reflection;
pub mod source;
pub mod upload;
pub mod watch;

pub use catalog::Catalog;
pub use source::Source;
pub use upload::Content;
pub use watch::Watcher;

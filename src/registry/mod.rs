//! Where the descriptors of modules come from, and when to read them again.

pub mod reflection;
pub mod source;
pub mod watch;

pub use source::Source;
pub use watch::Watcher;

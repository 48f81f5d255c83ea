//! Where the descriptors of modules come from, when to read them again, and what a new version breaks.

pub mod breaking;
pub mod reflection;
pub mod source;
pub mod watch;

pub use source::Source;
pub use watch::Watcher;

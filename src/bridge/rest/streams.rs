//! Streams over REST: how reply messages are framed, and how request messages are found in a body.

mod split;
mod write;

pub use split::SplitFault;
pub use split::SplitLimits;
pub use split::SplitShape;
pub use split::Splitter;
pub use write::Closing;
pub use write::StreamWriter;

//! The transcoding engine: JSON text to protobuf bytes and back in one pass, by compiled plans.
//!
//! A [`Plans`] knows the messages of a module, each compiled on first use. [`read()`] takes JSON, a
//! [`Binding`] paths, queries and forms; [`write()`] gives JSON. Nothing here does I/O, allocates ahead of
//! what came, or recurses deeper than its options allow.

mod bind;
mod bound;
mod names;
mod plan;
mod plan_compile;
mod read;
mod text;
mod write;

pub use bind::BindError;
pub use bind::BindOptions;
pub use bind::Binding;
pub use bind::Body;
pub use bind::BoundBody;
pub use bind::field_index;
pub use bind::patch_mask;
pub use bound::Bound;
pub use plan::Field;
pub use plan::Form;
pub use plan::Kind;
pub use plan::Message;
pub use plan::MessageId;
pub use plan::Plans;
pub use plan::Shape;
pub use read::ReadError;
pub use read::ReadOptions;
pub use read::Unknown;
pub use read::read;
pub use read::read_field;
pub use write::Cause;
pub use write::Int64;
pub use write::UnknownAny;
pub use write::WriteError;
pub use write::WriteOptions;
pub use write::check_fields;
pub use write::field_bytes;
pub use write::write;
pub use write::write_any;
pub use write::write_field;

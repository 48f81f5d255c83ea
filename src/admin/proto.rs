//! The messages and services of `protos/transom/admin/v1`, as they were compiled.

pub use generated::google::api::HttpBody;
pub use generated::transom::admin::v1 as pb;

#[expect(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/admin/mod.rs"));
}

/// The files of the Admin API and their imports: a serialized `google.protobuf.FileDescriptorSet` with comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/admin.binpb"));

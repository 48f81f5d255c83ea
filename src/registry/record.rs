//! What the store keeps of modules: its records and their keys.
//!
//! Names of modules and labels have no `/`, so it ends the first part of a key. Numbers in keys are big-endian:
//! their order is that of time.

use prost::Message;

/// A version of a module; its descriptors are blobs.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct VersionRecord {
    /// The name of the module.
    #[prost(string, tag = "1")]
    pub module: String,
    /// The 64 hex digits of the digest of its content, imports included.
    #[prost(string, tag = "2")]
    pub digest: String,
    /// The blob with its own files, a serialized `FileDescriptorSet`.
    #[prost(bytes = "vec", tag = "3")]
    pub own: Vec<u8>,
    /// The blob with the files of other modules that it imports; empty where there are none.
    #[prost(bytes = "vec", tag = "4")]
    pub imported: Vec<u8>,
    /// Where it is from, as the uploader says.
    #[prost(string, tag = "5")]
    pub source: String,
    /// Who uploaded it.
    #[prost(string, tag = "6")]
    pub uploader: String,
    /// When, in milliseconds since 1970.
    #[prost(uint64, tag = "7")]
    pub created_ms: u64,
    /// The versions of other modules that it was compiled with.
    #[prost(message, repeated, tag = "8")]
    pub deps: Vec<PinRecord>,
    /// Breaking changes that were let through, as RULE@element.
    #[prost(string, repeated, tag = "9")]
    pub allowed_breaking: Vec<String>,
    /// How many files of its own it has.
    #[prost(uint32, tag = "10")]
    pub file_count: u32,
    /// How many methods they declare.
    #[prost(uint32, tag = "11")]
    pub method_count: u32,
    /// Counts the versions of the module, from 1.
    #[prost(uint64, tag = "12")]
    pub number: u64,
}

/// A version of another module.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PinRecord {
    /// The name of the other module.
    #[prost(string, tag = "1")]
    pub module: String,
    /// The digest of its version.
    #[prost(string, tag = "2")]
    pub digest: String,
}

/// Which version a label names.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LabelRecord {
    /// The digest of the version.
    #[prost(string, tag = "1")]
    pub digest: String,
}

/// A move of a label.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MoveRecord {
    /// When, in milliseconds since 1970.
    #[prost(uint64, tag = "1")]
    pub time_ms: u64,
    /// The label.
    #[prost(string, tag = "2")]
    pub label: String,
    /// The digest before; empty where the label was new.
    #[prost(string, tag = "3")]
    pub before: String,
    /// The digest after; empty where the label was taken away.
    #[prost(string, tag = "4")]
    pub after: String,
    /// Who did it.
    #[prost(string, tag = "5")]
    pub actor: String,
    /// `push`, `promote`, `rollback` or `delete`.
    #[prost(string, tag = "6")]
    pub reason: String,
}

/// The first part of all keys of a module.
pub(super) fn of_module(module: &str) -> Vec<u8> {
    [module.as_bytes(), b"/"].concat()
}

/// The key of a version or a label of a module.
pub(super) fn in_module(module: &str, name: &str) -> Vec<u8> {
    [module.as_bytes(), b"/", name.as_bytes()].concat()
}

/// The key of a move of a module's labels.
pub(super) fn numbered(module: &str, number: u64) -> Vec<u8> {
    [module.as_bytes(), b"/", &number.to_be_bytes()].concat()
}

/// The two parts of a key of a version or a label.
pub(super) fn parts(key: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(key).ok()?.split_once('/')
}

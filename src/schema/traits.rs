//! Answers what a descriptor pool doesn't say: presence, open enums and checked strings, per file.

use std::collections::HashSet;
use std::sync::Arc;

use prost_reflect::Cardinality;
use prost_reflect::EnumDescriptor;
use prost_reflect::ExtensionDescriptor;
use prost_reflect::FieldDescriptor;
use prost_reflect::FileDescriptor;
use prost_reflect::Kind;
use prost_reflect::Syntax;

/// What a descriptor pool doesn't say by itself: protobuf features resolved per file. Cheap to clone.
///
/// Files of proto2 and proto3 are answered for by their syntax. Those of editions are not what they seem
/// in the pool, which has proto2 for them; for these the resolved features are kept here.
#[derive(Debug, Clone, Default)]
pub struct Traits {
    editions: Arc<Editions>,
}

/// Of files with an edition: where they are not as most are. Names are full names.
#[derive(Debug, Default)]
pub(super) struct Editions {
    /// Import names of the files.
    pub(super) files: HashSet<Box<str>>,
    /// Fields without presence.
    pub(super) implicit: HashSet<Box<str>>,
    /// Enums that have no values but those declared.
    pub(super) closed: HashSet<Box<str>>,
    /// Strings, extensions too, that may hold any bytes.
    pub(super) unverified: HashSet<Box<str>>,
    /// Messages and enums whose JSON is only a best effort.
    pub(super) legacy_json: HashSet<Box<str>>,
}

impl Traits {
    pub(super) fn new<'a>(files: impl Iterator<Item = &'a Editions>) -> Self {
        let mut all = Editions::default();
        for file in files {
            all.files.extend(file.files.iter().cloned());
            all.implicit.extend(file.implicit.iter().cloned());
            all.closed.extend(file.closed.iter().cloned());
            all.unverified.extend(file.unverified.iter().cloned());
            all.legacy_json.extend(file.legacy_json.iter().cloned());
        }
        Self { editions: Arc::new(all) }
    }

    /// Whether the field has no presence: absent and set to its default are one, and it is not written.
    /// Never true of repeated fields, messages, extensions and members of a oneof.
    pub fn is_implicit(&self, field: &FieldDescriptor) -> bool {
        if self.is_edition(&field.parent_file()) {
            return self.editions.implicit.contains(field.full_name());
        }
        field.cardinality() != Cardinality::Repeated && !field.supports_presence()
    }

    /// Whether the enum keeps numbers that it does not declare.
    pub fn is_open(&self, e: &EnumDescriptor) -> bool {
        let file = e.parent_file();
        if self.is_edition(&file) {
            return !self.editions.closed.contains(e.full_name());
        }
        file.syntax() == Syntax::Proto3
    }

    /// Whether the field is a string whose bytes must be UTF-8; a repeated one too. The fields of a map's
    /// entries answer for keys and values.
    pub fn verifies_utf8(&self, field: &FieldDescriptor) -> bool {
        field.kind() == Kind::String && self.checks(&field.parent_file(), field.full_name())
    }

    /// The same of an extension, in the file that declares it.
    pub fn extension_verifies_utf8(&self, extension: &ExtensionDescriptor) -> bool {
        extension.kind() == Kind::String && self.checks(&extension.parent_file(), extension.full_name())
    }

    /// Whether a message or enum of this file, by its full name, has a JSON form that the compiler vouches for.
    pub fn allows_json(&self, file: &FileDescriptor, full_name: &str) -> bool {
        if self.is_edition(file) {
            return !self.editions.legacy_json.contains(full_name);
        }
        file.syntax() == Syntax::Proto3
    }

    fn checks(&self, file: &FileDescriptor, full_name: &str) -> bool {
        if self.is_edition(file) {
            return !self.editions.unverified.contains(full_name);
        }
        file.syntax() == Syntax::Proto3
    }

    /// Whether the file has an edition instead of a syntax.
    pub fn is_edition(&self, file: &FileDescriptor) -> bool {
        self.editions.files.contains(file.name())
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;
    use prost_reflect::MessageDescriptor;

    use super::*;

    fn pool(text: &str) -> DescriptorPool {
        let file = protox::file::File::from_source("a.proto", text).unwrap();
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_proto(file.file_descriptor_proto().clone()).unwrap();
        pool
    }

    fn names(message: &MessageDescriptor, holds: impl Fn(&FieldDescriptor) -> bool) -> Vec<String> {
        message.fields().filter(|field| holds(field)).map(|field| field.name().to_owned()).collect()
    }

    const BODY: &str = "
        enum E { ZERO = 0; }
        message M {
          optional string maybe = 1; repeated string many = 2; map<string, bytes> map = 3;
          oneof choice { string chosen = 4; } optional M inner = 5; optional bytes raw = 6;
          IMPLICIT
        }";

    #[test]
    fn proto3_says_it_by_its_syntax() {
        let body = BODY.replace("IMPLICIT", "string plain = 7; E e = 8; M bare = 9; double d = 10;");
        let pool = pool(&format!("syntax = \"proto3\"; {body}"));
        let (traits, message) = (Traits::default(), pool.get_message_by_name("M").unwrap());
        assert_eq!(names(&message, |field| traits.is_implicit(field)), ["plain", "e", "d"]);
        assert_eq!(
            names(&message, |field| traits.verifies_utf8(field)),
            ["maybe", "many", "chosen", "plain"]
        );
        let entry = pool.get_message_by_name("M.MapEntry").unwrap();
        assert_eq!(names(&entry, |field| traits.verifies_utf8(field)), ["key"]);
        assert!(traits.is_open(&pool.get_enum_by_name("E").unwrap()));
    }

    #[test]
    fn proto2_says_it_by_its_syntax() {
        let body = BODY.replace("IMPLICIT", "required E e = 8; extensions 100 to max;")
            + "extend M { optional string x = 100; }";
        let pool = pool(&format!("syntax = \"proto2\"; {body}"));
        let (traits, message) = (Traits::default(), pool.get_message_by_name("M").unwrap());
        assert!(names(&message, |field| traits.is_implicit(field)).is_empty());
        assert!(names(&message, |field| traits.verifies_utf8(field)).is_empty());
        assert!(!traits.extension_verifies_utf8(&pool.get_extension_by_name("x").unwrap()));
        assert!(!traits.is_open(&pool.get_enum_by_name("E").unwrap()));
    }

    #[test]
    fn editions_are_looked_up() {
        let body = BODY.replace("IMPLICIT", "optional string plain = 7;");
        let pool = pool(&format!("syntax = \"proto2\"; {body}"));
        let set = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
        let mut editions = Editions { files: set(&["a.proto"]), ..Editions::default() };
        let message = pool.get_message_by_name("M").unwrap();
        let enumeration = pool.get_enum_by_name("E").unwrap();
        let bare = Editions { files: set(&["a.proto"]), ..Editions::default() };
        let all = Traits::new(std::iter::once(&bare));
        assert!(all.is_open(&enumeration));
        assert_eq!(names(&message, |field| all.verifies_utf8(field)), ["maybe", "many", "chosen", "plain"]);
        assert!(names(&message, |field| all.is_implicit(field)).is_empty());
        editions.implicit = set(&["M.plain"]);
        editions.closed = set(&["E"]);
        editions.unverified = set(&["M.maybe"]);
        let traits = Traits::new([&editions, &bare].into_iter());
        assert!(!traits.is_open(&enumeration));
        assert_eq!(names(&message, |field| traits.verifies_utf8(field)), ["many", "chosen", "plain"]);
        assert_eq!(names(&message, |field| traits.is_implicit(field)), ["plain"]);
    }
}

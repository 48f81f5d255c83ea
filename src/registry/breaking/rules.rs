//! All rules: which categories they stand in, and what breaks when they are.

use crate::registry::breaking::Category;
use crate::registry::breaking::Category::File;
use crate::registry::breaking::Category::Package;
use crate::registry::breaking::Category::Wire;
use crate::registry::breaking::Category::WireJson;

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: &'static str,
    pub(super) categories: &'static [Category],
    pub(super) breaks: &'static str,
}

/// The rule of an id.
pub(super) fn named(id: &str) -> Option<&'static Rule> {
    TABLE.iter().copied().find(|rule| rule.id == id)
}

macro_rules! rules {
    ($($id:ident in $categories:ident breaks $breaks:ident;)*) => {
        $(pub(super) static $id: Rule =
            Rule { id: stringify!($id), categories: $categories, breaks: $breaks };)*
        pub(super) static TABLE: &[&Rule] = &[$(&$id),*];
    };
}

const FILES: &[Category] = &[File];
const PACKAGES: &[Category] = &[Package];
const CODE: &[Category] = &[File, Package];
const JSON_AND_CODE: &[Category] = &[File, Package, WireJson];
const EVERY: &[Category] = &[File, Package, WireJson, Wire];
const JSON: &[Category] = &[WireJson];
const WIRES: &[Category] = &[WireJson, Wire];
const WIRE: &[Category] = &[Wire];

const IMPORTERS: &str = "files that import it, and the code generated for them";
const GENERATED: &str = "generated code";
const READERS: &str = "readers of old messages, and old readers of new ones";
const JSON_TOO: &str = "readers of old messages, and JSON and REST clients";
const JSON_NAMES: &str = "JSON and REST clients, which know it by its old name";
const NUMBERS: &str = "readers of old messages, should the number be used again";
const NAMES: &str = "JSON and REST clients that send it, or should the name be used again";
const DEFAULTS: &str = "readers, who take another value where none is sent";
const REQUIRED: &str = "readers that know the field as required, or writers that don't know it";
const RESERVED: &str = "readers of old messages, should it be used again";
const CALLERS: &str = "clients of the method, whatever the protocol";
const GETTERS: &str = "Connect clients that call it by GET, and clients that repeat it";
const SERVED: &str = "clients that call it, whatever the protocol";
const MOVED: &str = "generated code, and clients that call it unless another file has it now";
const REST: &str = "REST clients";

rules! {
    EXTENSION_NO_DELETE in FILES breaks IMPORTERS;
    SERVICE_NO_DELETE in FILES breaks MOVED;
    ENUM_NO_DELETE in FILES breaks IMPORTERS;
    FILE_NO_DELETE in FILES breaks IMPORTERS;
    MESSAGE_NO_DELETE in FILES breaks IMPORTERS;

    PACKAGE_ENUM_NO_DELETE in PACKAGES breaks GENERATED;
    PACKAGE_EXTENSION_NO_DELETE in PACKAGES breaks GENERATED;
    PACKAGE_MESSAGE_NO_DELETE in PACKAGES breaks GENERATED;
    PACKAGE_NO_DELETE in PACKAGES breaks GENERATED;
    PACKAGE_SERVICE_NO_DELETE in PACKAGES breaks SERVED;

    ENUM_SAME_TYPE in CODE breaks GENERATED;
    ENUM_VALUE_NO_DELETE in CODE breaks GENERATED;
    EXTENSION_MESSAGE_NO_DELETE in CODE breaks GENERATED;
    FIELD_NO_DELETE in CODE breaks GENERATED;
    FIELD_SAME_CARDINALITY in CODE breaks GENERATED;
    FIELD_SAME_CPP_STRING_TYPE in CODE breaks GENERATED;
    FIELD_SAME_JAVA_UTF8_VALIDATION in CODE breaks GENERATED;
    FIELD_SAME_JSTYPE in CODE breaks GENERATED;
    FIELD_SAME_TYPE in CODE breaks GENERATED;
    FIELD_SAME_UTF8_VALIDATION in CODE breaks READERS;
    FILE_SAME_CC_ENABLE_ARENAS in CODE breaks GENERATED;
    FILE_SAME_CC_GENERIC_SERVICES in CODE breaks GENERATED;
    FILE_SAME_CSHARP_NAMESPACE in CODE breaks GENERATED;
    FILE_SAME_GO_PACKAGE in CODE breaks GENERATED;
    FILE_SAME_JAVA_GENERIC_SERVICES in CODE breaks GENERATED;
    FILE_SAME_JAVA_MULTIPLE_FILES in CODE breaks GENERATED;
    FILE_SAME_JAVA_OUTER_CLASSNAME in CODE breaks GENERATED;
    FILE_SAME_JAVA_PACKAGE in CODE breaks GENERATED;
    FILE_SAME_OBJC_CLASS_PREFIX in CODE breaks GENERATED;
    FILE_SAME_OPTIMIZE_FOR in CODE breaks GENERATED;
    FILE_SAME_PHP_CLASS_PREFIX in CODE breaks GENERATED;
    FILE_SAME_PHP_METADATA_NAMESPACE in CODE breaks GENERATED;
    FILE_SAME_PHP_NAMESPACE in CODE breaks GENERATED;
    FILE_SAME_PY_GENERIC_SERVICES in CODE breaks GENERATED;
    FILE_SAME_RUBY_PACKAGE in CODE breaks GENERATED;
    FILE_SAME_SWIFT_PREFIX in CODE breaks GENERATED;
    FILE_SAME_SYNTAX in CODE breaks GENERATED;
    MESSAGE_NO_REMOVE_STANDARD_DESCRIPTOR_ACCESSOR in CODE breaks GENERATED;
    ONEOF_NO_DELETE in CODE breaks GENERATED;
    RPC_NO_DELETE in CODE breaks CALLERS;

    ENUM_SAME_JSON_FORMAT in JSON_AND_CODE breaks JSON_TOO;
    ENUM_VALUE_SAME_NAME in JSON_AND_CODE breaks JSON_NAMES;
    FIELD_SAME_JSON_NAME in JSON_AND_CODE breaks JSON_NAMES;
    FIELD_SAME_NAME in JSON_AND_CODE breaks JSON_NAMES;
    MESSAGE_SAME_JSON_FORMAT in JSON_AND_CODE breaks JSON_TOO;

    FIELD_SAME_DEFAULT in EVERY breaks DEFAULTS;
    FIELD_SAME_ONEOF in EVERY breaks READERS;
    FILE_SAME_PACKAGE in EVERY breaks SERVED;
    MESSAGE_SAME_REQUIRED_FIELDS in EVERY breaks REQUIRED;
    RESERVED_ENUM_NO_DELETE in EVERY breaks RESERVED;
    RESERVED_MESSAGE_NO_DELETE in EVERY breaks RESERVED;
    RPC_SAME_CLIENT_STREAMING in EVERY breaks CALLERS;
    RPC_SAME_IDEMPOTENCY_LEVEL in EVERY breaks GETTERS;
    RPC_SAME_REQUEST_TYPE in EVERY breaks CALLERS;
    RPC_SAME_RESPONSE_TYPE in EVERY breaks CALLERS;
    RPC_SAME_SERVER_STREAMING in EVERY breaks CALLERS;

    ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED in JSON breaks NAMES;
    FIELD_NO_DELETE_UNLESS_NAME_RESERVED in JSON breaks NAMES;
    FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY in JSON breaks JSON_TOO;
    FIELD_WIRE_JSON_COMPATIBLE_TYPE in JSON breaks JSON_TOO;

    ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED in WIRES breaks NUMBERS;
    FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED in WIRES breaks NUMBERS;

    FIELD_WIRE_COMPATIBLE_CARDINALITY in WIRE breaks READERS;
    FIELD_WIRE_COMPATIBLE_TYPE in WIRE breaks READERS;

    TRANSOM_HTTP_BINDING_NO_DELETE in EVERY breaks REST;
    TRANSOM_HTTP_BINDING_SAME in EVERY breaks REST;
    TRANSOM_RPC_NO_DELETE in WIRES breaks CALLERS;
    // Where another rule names the service already, this one is silent.
    TRANSOM_SERVICE_NO_DELETE in EVERY breaks SERVED;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_found() {
        for rule in TABLE {
            assert_eq!(TABLE.iter().filter(|other| other.id == rule.id).count(), 1, "{}", rule.id);
            assert!(named(rule.id).is_some() && !rule.categories.is_empty());
        }
        assert!(named("FIELD_SAME").is_none());
    }
}

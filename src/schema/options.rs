//! Bounds the options of a parsed file, whose values are parsed again when they are set, sets one, and knows where
//! some stand.

use prost_types::DescriptorProto;
use prost_types::EnumDescriptorProto;
use prost_types::FieldDescriptorProto;
use prost_types::FileDescriptorProto;
use prost_types::UninterpretedOption;

use crate::schema::Limits;

/// Says what is wrong with the first option that is nested too deeply, if there is one.
pub(super) fn check(file: &FileDescriptorProto, limits: &Limits) -> Result<(), String> {
    let mut check = Check { limits, found: None };
    check.options(file.options.as_ref().map(|options| &options.uninterpreted_option));
    file.message_type.iter().for_each(|message| check.message(message));
    file.enum_type.iter().for_each(|declared| check.enumeration(declared));
    for field in &file.extension {
        check.options(field.options.as_ref().map(|options| &options.uninterpreted_option));
    }
    for service in &file.service {
        check.options(service.options.as_ref().map(|options| &options.uninterpreted_option));
        for method in &service.method {
            check.options(method.options.as_ref().map(|options| &options.uninterpreted_option));
        }
    }
    check.found.map_or(Ok(()), Err)
}

/// Sets `packed`, which a linker that sets options last does not see when it asks how a list is written.
pub(super) fn set_packed(file: &mut FileDescriptorProto) {
    file.extension.iter_mut().for_each(set_packed_of);
    file.message_type.iter_mut().for_each(set_packed_in);
}

fn set_packed_in(message: &mut DescriptorProto) {
    message.field.iter_mut().chain(&mut message.extension).for_each(set_packed_of);
    // The parser has bounded how deeply messages nest.
    message.nested_type.iter_mut().for_each(set_packed_in);
}

fn set_packed_of(field: &mut FieldDescriptorProto) {
    let Some(options) = &mut field.options else { return };
    let is_packed = |option: &UninterpretedOption| match option.name.as_slice() {
        [part] => part.name_part == "packed" && !part.is_extension,
        _ => false,
    };
    let mut found = (0..).zip(&options.uninterpreted_option).filter(|(_, option)| is_packed(option));
    // What is no boolean, or set twice, is left for the linker to refuse.
    let (Some((at, option)), None) = (found.next(), found.next()) else { return };
    let packed = match option.identifier_value.as_deref() {
        Some("true") => true,
        Some("false") => false,
        _ => return,
    };
    options.uninterpreted_option.remove(at);
    options.packed = Some(packed);
}

/// The number of an option by its place among those that are not interpreted, if it is one whose line is asked for.
pub(super) fn number_at(file: &FileDescriptorProto, path: &[i32]) -> Option<i32> {
    let [outer @ .., _, UNINTERPRETED_OPTION, at] = path else { return None };
    let (options, known) = match outer {
        [] => (&file.options.as_ref()?.uninterpreted_option, OF_FILES),
        [4, at, inner @ ..] => options_within(item(&file.message_type, *at)?, inner)?,
        [6, at, 2, method] => {
            let method = item(&item(&file.service, *at)?.method, *method)?;
            (&method.options.as_ref()?.uninterpreted_option, OF_METHODS)
        }
        [7, at] => (&item(&file.extension, *at)?.options.as_ref()?.uninterpreted_option, OF_FIELDS),
        _ => return None,
    };
    let [part] = item(options, *at)?.name.as_slice() else { return None };
    let is_meant = |(name, _): &&(&str, i32)| *name == part.name_part && !part.is_extension;
    known.iter().find(is_meant).map(|(_, number)| *number)
}

type Known = &'static [(&'static str, i32)];

fn options_within<'a>(
    mut message: &'a DescriptorProto,
    mut path: &[i32],
) -> Option<(&'a Vec<UninterpretedOption>, Known)> {
    while let [3, at, inner @ ..] = path {
        message = item(&message.nested_type, *at)?;
        path = inner;
    }
    let field = match path {
        [] => return Some((&message.options.as_ref()?.uninterpreted_option, OF_MESSAGES)),
        [2, at] => item(&message.field, *at)?,
        [6, at] => item(&message.extension, *at)?,
        _ => return None,
    };
    Some((&field.options.as_ref()?.uninterpreted_option, OF_FIELDS))
}

fn item<T>(items: &[T], at: i32) -> Option<&T> {
    items.get(usize::try_from(at).ok()?)
}

struct Check<'a> {
    limits: &'a Limits,
    found: Option<String>,
}

impl Check<'_> {
    fn message(&mut self, message: &DescriptorProto) {
        self.options(message.options.as_ref().map(|options| &options.uninterpreted_option));
        for field in message.field.iter().chain(&message.extension) {
            self.options(field.options.as_ref().map(|options| &options.uninterpreted_option));
        }
        for oneof in &message.oneof_decl {
            self.options(oneof.options.as_ref().map(|options| &options.uninterpreted_option));
        }
        for range in &message.extension_range {
            self.options(range.options.as_ref().map(|options| &options.uninterpreted_option));
        }
        // The parser has bounded how deeply messages nest.
        message.nested_type.iter().for_each(|nested| self.message(nested));
        message.enum_type.iter().for_each(|declared| self.enumeration(declared));
    }

    fn enumeration(&mut self, declared: &EnumDescriptorProto) {
        self.options(declared.options.as_ref().map(|options| &options.uninterpreted_option));
        for value in &declared.value {
            self.options(value.options.as_ref().map(|options| &options.uninterpreted_option));
        }
    }

    fn options(&mut self, options: Option<&Vec<UninterpretedOption>>) {
        let Some(options) = options else { return };
        for option in options {
            let value = option.aggregate_value.as_deref().unwrap_or_default();
            let parts = option.name.len();
            let depth = depth(value);
            let openers = value.bytes().filter(|byte| matches!(byte, b'{' | b'<' | b'[')).count();
            let depth_max = self.limits.option_depth_max;
            // Whatever the count of nesting takes for text, no more openers than these can nest.
            if depth_max < parts.max(depth) || OPENERS_MAX < openers {
                let name = option.name.first().map(|part| part.name_part.as_str()).unwrap_or_default();
                let name = name.chars().take(100).collect::<String>();
                self.found.get_or_insert_with(|| {
                    format!("option \"{name}\" is nested more than {depth_max} levels deep")
                });
            }
        }
    }
}

/// How deeply braces nest in a value of the protobuf text format, strings left out.
fn depth(value: &str) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'<' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b'>' | b']' => depth = depth.saturating_sub(1),
            b'"' | b'\'' => {
                while let Some(inner) = bytes.next().filter(|inner| *inner != byte) {
                    if inner == b'\\' {
                        bytes.next();
                    }
                }
            }
            _ => (),
        }
    }
    deepest
}

/// In the options of anything.
const UNINTERPRETED_OPTION: i32 = 999;
/// Options whose lines are asked for, and their numbers.
const OF_FILES: Known = &[
    ("java_package", 1),
    ("java_outer_classname", 8),
    ("optimize_for", 9),
    ("java_multiple_files", 10),
    ("go_package", 11),
    ("cc_generic_services", 16),
    ("java_generic_services", 17),
    ("py_generic_services", 18),
    ("java_string_check_utf8", 27),
    ("cc_enable_arenas", 31),
    ("objc_class_prefix", 36),
    ("csharp_namespace", 37),
    ("swift_prefix", 39),
    ("php_class_prefix", 40),
    ("php_namespace", 41),
    ("php_metadata_namespace", 44),
    ("ruby_package", 45),
];
const OF_MESSAGES: Known = &[("no_standard_descriptor_accessor", 2)];
const OF_FIELDS: Known = &[("ctype", 1), ("jstype", 6)];
const OF_METHODS: Known = &[("idempotency_level", 34)];
/// Openers in one value. The thread that links has stack for this many levels.
const OPENERS_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_braces_but_not_those_in_strings() {
        assert_eq!(depth("get : \"/v1/{name=a/*}\" body : '{{{{'"), 0);
        assert_eq!(depth(r#"a { b < c : [ 1 ] > } d { s : "\"}}" e { } }"#), 3);
        assert_eq!(depth(&"a{".repeat(1000)), 1000);
        assert_eq!(depth("}}}} a { }"), 1);
    }

    #[test]
    fn packed_is_set_where_it_is_a_boolean() {
        let text = "syntax = \"proto2\"; message M { \
                    repeated int32 a = 1 [packed = true, deprecated = true]; repeated int32 b = 2 [packed = false]; \
                    message N { repeated int32 c = 1 [packed = true]; repeated int32 d = 2 [packed = 1]; \
                    repeated int32 e = 3 [packed = true, packed = false]; repeated int32 f = 4 [(packed) = true]; } }";
        let mut file =
            protox::file::File::from_source("a.proto", text).unwrap().file_descriptor_proto().clone();
        set_packed(&mut file);
        let message = &file.message_type[0];
        let seen = |message: &DescriptorProto| -> Vec<(Option<bool>, usize)> {
            let options = message.field.iter().map(|field| field.options.as_ref().unwrap());
            options.map(|options| (options.packed, options.uninterpreted_option.len())).collect()
        };
        assert_eq!(seen(message), [(Some(true), 1), (Some(false), 0)]);
        assert_eq!(seen(&message.nested_type[0]), [(Some(true), 0), (None, 1), (None, 2), (None, 1)]);
    }

    #[test]
    fn options_are_numbered_by_their_place() {
        let text = "syntax = \"proto2\"; option (x).go_package = 1; option go_package = \"a\"; message M { \
                    message N { option no_standard_descriptor_accessor = true; \
                    optional string a = 1 [deprecated = true, ctype = CORD]; } extend M { optional int64 b = 2 \
                    [jstype = JS_STRING]; } } extend M { optional int64 c = 3 [jstype = JS_STRING]; } \
                    service S { rpc R(M) returns (M) { option idempotency_level = IDEMPOTENT; } }";
        let file = protox::file::File::from_source("a.proto", text).unwrap();
        let number = |path: &[i32]| number_at(file.file_descriptor_proto(), path);
        assert_eq!(
            (number(&[8, 999, 0]), number(&[8, 999, 1]), number(&[8, 999, 2])),
            (None, Some(11), None)
        );
        assert_eq!(number(&[4, 0, 3, 0, 7, 999, 0]), Some(2));
        assert_eq!(number(&[4, 0, 3, 0, 2, 0, 8, 999, 0]), None);
        assert_eq!(number(&[4, 0, 3, 0, 2, 0, 8, 999, 1]), Some(1));
        assert_eq!(number(&[4, 0, 6, 0, 8, 999, 0]), Some(6));
        assert_eq!(number(&[7, 0, 8, 999, 0]), Some(6));
        assert_eq!(number(&[6, 0, 2, 0, 4, 999, 0]), Some(34));
        for nothing in [&[][..], &[999], &[8, 11], &[8, 999, -1], &[4, 9, 7, 999, 0], &[6, 0, 3, 999, 0]] {
            assert_eq!(number(nothing), None, "{nothing:?}");
        }
    }
}

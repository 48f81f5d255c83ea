//! Turns the validation rules of fields into keywords of JSON schema, where these say the same.
//!
//! The rules are those of protovalidate (`buf.validate`) and of its forerunner (`validate.rules`).

use prost_reflect::DynamicMessage;
use prost_reflect::EnumDescriptor;
use prost_reflect::FieldDescriptor;
use prost_reflect::Kind;
use prost_reflect::MessageDescriptor;
use prost_reflect::OneofDescriptor;
use prost_reflect::Value;

use crate::openapi::builder::Builder;
use crate::openapi::extensions;
use crate::openapi::node;
use crate::openapi::node::Node;
use crate::openapi::node::Object;

/// Adds the rules of a field to its schema; says in words what no keyword says.
pub(super) fn apply(builder: &Builder<'_>, field: &FieldDescriptor, schema: &mut Object) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(rules) = of(field) else { return notes };
    let mut apply = Apply { enums_as_numbers: builder.options.enums_as_numbers, notes: &mut notes };
    let kind = field.kind();
    if let Kind::Message(entry) = &kind
        && field.is_map()
    {
        apply.map(&rules, entry, schema);
    } else if field.is_list() {
        apply.list(&rules, &kind, schema);
    } else {
        apply.value(&rules, &kind, schema);
    }
    notes
}

/// Whether the rules of a field say that it must be there.
pub(super) fn is_required(field: &FieldDescriptor) -> bool {
    let Some(rules) = of(field) else { return false };
    let older =
        extensions::inner(&rules, "message").is_some_and(|rules| extensions::is_true(&rules, "required"));
    older || extensions::is_true(&rules, "required")
}

/// Whether the rules of a oneof say that one of its fields must be there.
pub(super) fn is_required_oneof(oneof: &OneofDescriptor) -> bool {
    let options = oneof.options();
    let newer = extensions::message_option(&options, "buf.validate.oneof");
    let older = extensions::option(&options, "validate.required").and_then(|value| value.as_bool());
    older.unwrap_or_default() || newer.is_some_and(|rules| extensions::is_true(&rules, "required"))
}

/// The choices that the rules of a message make of its fields: their proto names, and whether one of them
/// must be there.
pub(super) fn oneofs_of_message(message: &MessageDescriptor) -> Vec<(Vec<String>, bool)> {
    let Some(rules) = extensions::message_option(&message.options(), "buf.validate.message") else {
        return Vec::new();
    };
    let oneofs = extensions::set(&rules, "oneof");
    let oneofs = oneofs.as_ref().and_then(Value::as_list).unwrap_or_default();
    let oneofs = oneofs.iter().filter_map(Value::as_message).map(|oneof| {
        let names = extensions::texts(oneof, "fields");
        (names, extensions::is_true(oneof, "required"))
    });
    oneofs.collect()
}

/// The rules of a field. Those that hold only for some values are left out: no keyword says so.
fn of(field: &FieldDescriptor) -> Option<DynamicMessage> {
    let options = field.options();
    let newer = extensions::message_option(&options, "buf.validate.field");
    let rules = newer.or_else(|| extensions::message_option(&options, "validate.rules"))?;
    extensions::set(&rules, "ignore")
        .and_then(|value| value.as_enum_number())
        .is_none_or(|ignore| ignore == 0)
        .then_some(rules)
}

struct Apply<'a> {
    enums_as_numbers: bool,
    notes: &'a mut Vec<String>,
}

impl Apply<'_> {
    fn map(&mut self, rules: &DynamicMessage, entry: &MessageDescriptor, schema: &mut Object) {
        let Some(rules) = extensions::inner(rules, "map") else { return };
        count(&rules, "min_pairs", "minProperties", schema);
        count(&rules, "max_pairs", "maxProperties", schema);
        if let Some(keys) = extensions::inner(&rules, "keys")
            && entry.map_entry_key_field().kind() == Kind::String
        {
            let mut names = Object::new();
            self.value(&keys, &Kind::String, &mut names);
            if !names.is_empty() {
                schema.set("propertyNames", names);
            }
        }
        if let Some(values) = extensions::inner(&rules, "values")
            && let Some(Node::Object(value)) = schema.member_mut("additionalProperties")
        {
            self.value(&values, &entry.map_entry_value_field().kind(), value);
        }
    }

    fn list(&mut self, rules: &DynamicMessage, kind: &Kind, schema: &mut Object) {
        let Some(rules) = extensions::inner(rules, "repeated") else { return };
        count(&rules, "min_items", "minItems", schema);
        count(&rules, "max_items", "maxItems", schema);
        if extensions::is_true(&rules, "unique") {
            schema.set("uniqueItems", true);
        }
        if let Some(items) = extensions::inner(&rules, "items")
            && let Some(Node::Object(item)) = schema.member_mut("items")
        {
            self.value(&items, kind, item);
        }
    }

    /// The rules of one value, whose member of the `type` oneof is named as the type.
    fn value(&mut self, rules: &DynamicMessage, kind: &Kind, schema: &mut Object) {
        for (field, rules) in rules.fields() {
            let Value::Message(rules) = rules else { continue };
            match (field.name(), kind) {
                ("string", _) => self.string(rules, schema),
                ("bool", _) => listed(rules, schema, &|value| value.as_bool().map(|flag| vec![flag.into()])),
                ("enum", Kind::Enum(declared)) => self.enumeration(rules, declared, schema),
                (
                    "float" | "double" | "int32" | "int64" | "uint32" | "uint64" | "sint32" | "sint64"
                    | "fixed32" | "fixed64" | "sfixed32" | "sfixed64",
                    _,
                ) => self.number(rules, schema),
                _ => (),
            }
        }
    }

    fn string(&mut self, rules: &DynamicMessage, schema: &mut Object) {
        listed(rules, schema, &|value| value.as_str().map(|text| vec![text.to_owned().into()]));
        for (name, keywords) in [
            ("min_len", &["minLength"][..]),
            ("max_len", &["maxLength"]),
            ("len", &["minLength", "maxLength"]),
        ] {
            keywords.iter().for_each(|keyword| count(rules, name, keyword, schema));
        }
        for (name, format) in FORMATS.iter().filter(|(name, _)| extensions::is_true(rules, name)) {
            match format {
                Known::Format(format) => schema.set("format", *format),
                Known::Pattern(pattern) => schema.set("pattern", *pattern),
                Known::Words(words) => self.notes.push(format!("Must be {words} ({name}).")),
            }
        }
        let text = |name| match extensions::set(rules, name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        };
        // One keyword holds one pattern: the first of these; the others are told.
        let mut patterns = Vec::new();
        patterns.extend(text("pattern"));
        patterns.extend(text("prefix").map(|text| format!("^{}", quote(&text))));
        patterns.extend(text("suffix").map(|text| format!("{}$", quote(&text))));
        patterns.extend(text("contains").map(|text| quote(&text)));
        for pattern in patterns {
            if schema.member("pattern").is_none() && is_portable(&pattern) {
                schema.set("pattern", pattern);
            } else {
                self.notes.push(format!("Must match `{pattern}`."));
            }
        }
    }

    fn enumeration(&self, rules: &DynamicMessage, declared: &EnumDescriptor, schema: &mut Object) {
        listed(rules, schema, &|value| {
            let number = value.as_i32()?;
            if self.enums_as_numbers {
                return Some(vec![i64::from(number).into()]);
            }
            let named = declared.values().filter(|value| value.number() == number);
            Some(named.map(|value| value.name().to_owned().into()).collect())
        });
    }

    fn number(&mut self, rules: &DynamicMessage, schema: &mut Object) {
        let is_text = schema.text("type") == Some("string");
        listed(rules, schema, &|value| match number(value)? {
            Node::Number(number) if is_text => Some(vec![number.to_string().into()]),
            number => Some(vec![number]),
        });
        let bound = |names: [(&str, &'static str); 2]| {
            names.into_iter().find_map(|(name, keyword)| Some((keyword, extensions::set(rules, name)?)))
        };
        let above = bound([("gt", "exclusiveMinimum"), ("gte", "minimum")]);
        let below = bound([("lt", "exclusiveMaximum"), ("lte", "maximum")]);
        // Bounds the wrong way around mean what is outside of them.
        if let (Some((_, above)), Some((_, below))) = (&above, &below)
            && float(below) < float(above)
        {
            return;
        }
        for (keyword, value) in above.into_iter().chain(below) {
            match number(&value) {
                Some(Node::Number(number)) if is_text => {
                    let words = match keyword {
                        "exclusiveMinimum" => "greater than",
                        "minimum" => "at least",
                        "exclusiveMaximum" => "less than",
                        _ => "at most",
                    };
                    self.notes.push(format!("Must be {words} {number}."));
                }
                Some(number) => schema.set(keyword, number),
                None => (),
            }
        }
    }
}

/// `const`, `in` and `not_in`, whose values `make` writes, with all their names.
fn listed(rules: &DynamicMessage, schema: &mut Object, make: &dyn Fn(&Value) -> Option<Vec<Node>>) {
    let all = |name| {
        let values = extensions::set(rules, name);
        let values = values.as_ref().and_then(Value::as_list).unwrap_or_default();
        let mut nodes: Vec<Node> = Vec::new();
        for node in values.iter().filter_map(make).flatten() {
            // Values of an enum must be unique. A list that long says nothing to readers.
            if nodes.len() < LISTED_MAX && !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        Some(nodes).filter(|nodes| !nodes.is_empty() && values.len() <= LISTED_MAX)
    };
    if let Some(nodes) = extensions::set(rules, "const").and_then(|value| make(&value)) {
        match <[Node; 1]>::try_from(nodes) {
            Ok([lone]) => schema.set("const", lone),
            Err(nodes) if nodes.is_empty() => (),
            Err(nodes) => schema.set("enum", nodes),
        }
    }
    if let Some(nodes) = all("in") {
        schema.set("enum", nodes);
    }
    if let Some(nodes) = all("not_in") {
        schema.set("not", Object::new().with("enum", nodes));
    }
    if let Some(nodes) = all("example") {
        schema.set("examples", nodes);
    }
}

fn count(rules: &DynamicMessage, name: &str, keyword: &'static str, schema: &mut Object) {
    if let Some(count) = extensions::set(rules, name).and_then(|value| value.as_u64()) {
        schema.set(keyword, count);
    }
}

fn number(value: &Value) -> Option<Node> {
    match value {
        Value::I32(value) => Some(i64::from(*value).into()),
        Value::U32(value) => Some(u64::from(*value).into()),
        Value::I64(value) => Some((*value).into()),
        Value::U64(value) => Some((*value).into()),
        Value::F32(value) => node::number((*value).into()),
        Value::F64(value) => node::number(*value),
        _ => None,
    }
}

/// Near enough to tell which of two bounds is the greater.
#[expect(clippy::cast_precision_loss, reason = "for comparing only")]
fn float(value: &Value) -> f64 {
    match value {
        Value::I32(value) => (*value).into(),
        Value::U32(value) => (*value).into(),
        Value::I64(value) => *value as f64,
        Value::U64(value) => *value as f64,
        Value::F32(value) => (*value).into(),
        Value::F64(value) => *value,
        _ => 0.0,
    }
}

/// Whether a pattern of RE2 means the same to ECMA-262, which JSON schema has.
fn is_portable(pattern: &str) -> bool {
    const FOREIGN: [&str; 11] = ["(?P", "(?i", "(?s", "(?m", "(?U", "(?-", "(?<", "\\A", "\\z", "\\Q", "[[:"];
    pattern.len() <= PATTERN_BYTES_MAX
        && !FOREIGN.iter().any(|foreign| pattern.contains(foreign))
        && !["\\p", "\\P", "\\C", "\\a", "\\x{"].iter().any(|foreign| pattern.contains(foreign))
}

fn quote(text: &str) -> String {
    let mut quoted = String::new();
    for c in text.chars() {
        if r"\^$.|?*+()[]{}/".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

enum Known {
    Format(&'static str),
    Pattern(&'static str),
    Words(&'static str),
}

const FORMATS: &[(&str, Known)] = &[
    ("email", Known::Format("email")),
    ("hostname", Known::Format("hostname")),
    ("ipv4", Known::Format("ipv4")),
    ("ipv6", Known::Format("ipv6")),
    ("uri", Known::Format("uri")),
    ("uri_ref", Known::Format("uri-reference")),
    ("uuid", Known::Format("uuid")),
    ("tuuid", Known::Pattern("^[0-9a-fA-F]{32}$")),
    ("ulid", Known::Pattern("^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$")),
    ("ip", Known::Words("an IP address")),
    ("address", Known::Words("a host name or IP address")),
    ("ip_with_prefixlen", Known::Words("an IP address with the length of its prefix")),
    ("ipv4_with_prefixlen", Known::Words("an IPv4 address with the length of its prefix")),
    ("ipv6_with_prefixlen", Known::Words("an IPv6 address with the length of its prefix")),
    ("ip_prefix", Known::Words("an IP prefix")),
    ("ipv4_prefix", Known::Words("an IPv4 prefix")),
    ("ipv6_prefix", Known::Words("an IPv6 prefix")),
    ("host_and_port", Known::Words("a host and a port")),
];

/// Values that one list of a schema has at most.
const LISTED_MAX: usize = 1_000;
const PATTERN_BYTES_MAX: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_mean_something_else_elsewhere_are_told_apart() {
        for portable in ["^[a-z]+$", "^(?:a|b)$", r"^\d{3}\.$", "(?=a)"] {
            assert!(is_portable(portable), "{portable}");
        }
        for foreign in ["(?i)a", r"\Aa\z", "(?P<n>a)", r"^\p{L}$", "[[:alpha:]]", r"\x{10FFFF}"] {
            assert!(!is_portable(foreign), "{foreign}");
        }
        assert_eq!(quote("a.b/*"), r"a\.b\/\*");
    }
}

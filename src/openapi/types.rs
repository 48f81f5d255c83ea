//! The JSON schemas of fields, as ProtoJSON writes them.

use prost_reflect::FieldDescriptor;
use prost_reflect::Kind;
use prost_reflect::MessageDescriptor;

use crate::openapi::Int64;
use crate::openapi::builder::Builder;
use crate::openapi::extensions;
use crate::openapi::node::Node;
use crate::openapi::node::Object;
use crate::openapi::rules;

/// The schema of a field, with its rules and notes, of which the description is `comment` at first.
pub(super) fn field(builder: &mut Builder<'_>, field: &FieldDescriptor, comment: Option<String>) -> Object {
    let mut schema = shape(builder, field);
    let applied = rules::apply(builder, field, &mut schema);
    let mut notes = vec![comment];
    notes.extend(applied.into_iter().map(Some));
    let text = notes.into_iter().flatten().collect::<Vec<_>>().join("\n\n");
    builder.describe(&mut schema, Some(&text));
    if extensions::is_deprecated(&field.options()) {
        schema.set("deprecated", true);
    }
    let behavior = extensions::behavior(field);
    if behavior.output_only {
        schema.set("readOnly", true);
    }
    if behavior.input_only {
        schema.set("writeOnly", true);
    }
    extensions::property(field, &mut schema);
    schema
}

/// The schema of a field without rules and notes.
pub(super) fn shape(builder: &mut Builder<'_>, field: &FieldDescriptor) -> Object {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { return Object::new() };
        let value = kind(builder, &entry.map_entry_value_field().kind());
        return Object::of_type("object").with("additionalProperties", value);
    }
    let one = kind(builder, &field.kind());
    if field.is_list() { Object::of_type("array").with("items", one) } else { one }
}

/// The schema of one value.
pub(super) fn kind(builder: &mut Builder<'_>, kind: &Kind) -> Object {
    let integer = |format: &'static str| Object::of_type("integer").with("format", format);
    match kind {
        Kind::Bool => Object::of_type("boolean"),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => integer("int32"),
        Kind::Uint32 | Kind::Fixed32 => integer("uint32").with("minimum", 0_u64),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => match builder.options.int64 {
            Int64::String => Object::of_type("string").with("format", "int64"),
            Int64::Number => integer("int64"),
        },
        Kind::Uint64 | Kind::Fixed64 => match builder.options.int64 {
            Int64::String => Object::of_type("string").with("format", "uint64"),
            Int64::Number => integer("uint64").with("minimum", 0_u64),
        },
        Kind::Float => Object::of_type("number").with("format", "float"),
        Kind::Double => Object::of_type("number").with("format", "double"),
        Kind::String => Object::of_type("string"),
        Kind::Bytes => bytes(),
        Kind::Enum(declared) if declared.full_name() == "google.protobuf.NullValue" => {
            Object::of_type("null")
        }
        Kind::Enum(declared) => builder.enumeration(declared),
        Kind::Message(message) => self::message(builder, message),
    }
}

/// The schema of a message: a reference to it, or what ProtoJSON writes in its stead.
pub(super) fn message(builder: &mut Builder<'_>, message: &MessageDescriptor) -> Object {
    let Some(known) = WellKnown::of(message) else { return builder.message(message) };
    match known {
        WellKnown::Timestamp => Object::of_type("string").with("format", "date-time"),
        WellKnown::Duration => Object::of_type("string").with("pattern", r"^-?[0-9]+(\.[0-9]{1,9})?s$"),
        WellKnown::FieldMask => Object::of_type("string"),
        WellKnown::Empty | WellKnown::Struct => Object::of_type("object"),
        WellKnown::Value => Object::new(),
        WellKnown::ListValue => Object::of_type("array").with("items", Object::new()),
        WellKnown::Any => any(builder),
        WellKnown::Wrapper => match message.get_field(1) {
            Some(value) => kind(builder, &value.kind()),
            None => Object::new(),
        },
    }
}

/// Any message, with the name of its type.
pub(super) fn any(builder: &mut Builder<'_>) -> Object {
    builder.other("google.protobuf.Any", |_| {
        let name = Object::of_type("string")
            .with("description", "The type of the message, such as `type.googleapis.com/pkg.Message`.");
        Object::of_type("object")
            .with("description", "A message of any type: its own members beside `@type`, or `value`, where its type has a JSON form of its own.")
            .with("properties", Object::new().with("@type", name))
            .with("additionalProperties", true)
    })
}

/// Bytes as base64. `contentEncoding` is how OpenAPI 3.1 says it, `format` how 3.0 did.
fn bytes() -> Object {
    Object::of_type("string").with("format", "byte").with("contentEncoding", "base64")
}

/// A body of bytes as they are.
pub(super) fn binary() -> Object {
    Object::of_type("string").with("format", "binary")
}

/// A body that is a message's or field's JSON.
pub(super) fn content(schema: impl Into<Node>) -> Object {
    Object::new().with("schema", schema)
}

/// A message with a JSON form of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WellKnown {
    Timestamp,
    Duration,
    FieldMask,
    Empty,
    Struct,
    Value,
    ListValue,
    Any,
    Wrapper,
}

impl WellKnown {
    pub(super) fn of(message: &MessageDescriptor) -> Option<Self> {
        Some(match message.full_name().strip_prefix("google.protobuf.")? {
            "Timestamp" => Self::Timestamp,
            "Duration" => Self::Duration,
            "FieldMask" => Self::FieldMask,
            "Empty" => Self::Empty,
            "Struct" => Self::Struct,
            "Value" => Self::Value,
            "ListValue" => Self::ListValue,
            "Any" => Self::Any,
            "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value"
            | "BoolValue" | "StringValue" | "BytesValue" => Self::Wrapper,
            _ => return None,
        })
    }

    /// Whether it can be the text of a parameter.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Timestamp | Self::Duration | Self::FieldMask | Self::Wrapper)
    }
}

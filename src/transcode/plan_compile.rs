//! Compiles descriptors to plans.

use prost_reflect::Cardinality;
use prost_reflect::EnumDescriptor;
use prost_reflect::ExtensionDescriptor;
use prost_reflect::FieldDescriptor;
use prost_reflect::Kind as Declared;
use prost_reflect::MessageDescriptor;
use prost_reflect::OneofDescriptor;
use prost_reflect::Value;

use crate::schema::Traits;
use crate::transcode::plan::Enum;
use crate::transcode::plan::Field;
use crate::transcode::plan::Form;
use crate::transcode::plan::Key;
use crate::transcode::plan::Kind;
use crate::transcode::plan::Message;
use crate::transcode::plan::Plans;
use crate::transcode::plan::Presence;
use crate::transcode::plan::Shape;
use crate::transcode::plan::Tag;
use crate::transcode::text;
use crate::transcode::text::number::Whole;

pub(super) fn compile_message(plans: &Plans, message: &MessageDescriptor) -> Message {
    let oneofs: Vec<OneofDescriptor> = message.oneofs().filter(|oneof| !oneof.is_synthetic()).collect();
    let is_set = message.descriptor_proto().options.as_ref().is_some_and(|o| o.message_set_wire_format());
    let mut fields: Vec<Field> =
        message.fields().filter_map(|declared| field(plans, &declared, &oneofs)).collect();
    fields.extend(message.extensions().filter_map(|declared| extension(plans, &declared)));
    let form = if is_set { Form::MessageSet } else { form(message) };
    Message::new(message.full_name().into(), form, fields, oneofs.len())
}

pub(super) fn compile_enum(declared: &EnumDescriptor, traits: &Traits) -> Enum {
    // `values()` has them by number; of an alias and of the default it is the order in the file that counts.
    let values = &declared.enum_descriptor_proto().value;
    let values: Vec<(Box<str>, i32)> =
        values.iter().map(|value| (value.name().into(), value.number())).collect();
    Enum::new(declared.full_name().into(), traits.is_open(declared), &values)
}

fn field(plans: &Plans, declared: &FieldDescriptor, oneofs: &[OneofDescriptor]) -> Option<Field> {
    let utf8 = plans.traits().verifies_utf8(declared);
    let kind = kind(plans, declared.kind(), Coding { is_group: declared.is_group(), utf8 })?;
    let shape = match declared.kind() {
        Declared::Message(entry) if declared.is_map() => map(plans, &entry)?,
        _ if declared.cardinality() == Cardinality::Repeated => {
            Shape::Repeated { packed: declared.is_packed() && kind.is_packable() }
        }
        _ => Shape::Single,
    };
    let presence = if plans.traits().is_implicit(declared) { Presence::Implicit } else { Presence::Explicit };
    let oneof = declared.containing_oneof().and_then(|oneof| oneofs.iter().position(|known| *known == oneof));
    let names = Names { proto: declared.name().into(), json: declared.json_name().into() };
    let default = declared.field_descriptor_proto().default_value.is_some();
    let default = default.then(|| default_bytes(kind, &declared.default_value()));
    Some(Field { oneof, default, ..build(declared.number(), names, kind, shape, presence) })
}

fn extension(plans: &Plans, declared: &ExtensionDescriptor) -> Option<Field> {
    let utf8 = plans.traits().extension_verifies_utf8(declared);
    let kind = kind(plans, declared.kind(), Coding { is_group: declared.is_group(), utf8 })?;
    let shape = match declared.cardinality() {
        Cardinality::Repeated => Shape::Repeated { packed: declared.is_packed() && kind.is_packable() },
        _ => Shape::Single,
    };
    let name: Box<str> = declared.json_name().into();
    let names = Names { proto: name.clone(), json: name };
    let default = declared.field_descriptor_proto().default_value.is_some();
    let default = default.then(|| default_bytes(kind, &declared.default_value()));
    Some(Field { default, ..build(declared.number(), names, kind, shape, Presence::Explicit) })
}

/// The bytes of a declared default on the wire, without a tag and a length.
fn default_bytes(kind: Kind, default: &Value) -> Box<[u8]> {
    let whole = |negative: bool, magnitude: u64| {
        let mut out = Vec::new();
        // The compiler of the descriptors keeps defaults within the range of their type.
        text::write_whole(&kind, Whole { negative, magnitude }, &mut out).map(|()| out).unwrap_or_default()
    };
    let bytes = match default {
        Value::Bool(value) => vec![u8::from(*value)],
        Value::I32(value) => whole(*value < 0, u64::from(value.unsigned_abs())),
        Value::I64(value) => whole(*value < 0, value.unsigned_abs()),
        Value::U32(value) => whole(false, u64::from(*value)),
        Value::U64(value) => whole(false, *value),
        Value::F32(value) => value.to_le_bytes().to_vec(),
        Value::F64(value) => value.to_le_bytes().to_vec(),
        Value::String(value) => value.as_bytes().to_vec(),
        Value::Bytes(value) => value.to_vec(),
        Value::EnumNumber(number) => {
            let mut out = Vec::new();
            text::write_int32(*number, &mut out);
            out
        }
        // They have no defaults of their own.
        Value::Message(_) | Value::List(_) | Value::Map(_) => Vec::new(),
    };
    bytes.into()
}

struct Names {
    proto: Box<str>,
    json: Box<str>,
}

fn build(number: u32, names: Names, kind: Kind, shape: Shape, presence: Presence) -> Field {
    let wire_type = match shape {
        Shape::Repeated { packed: true } => 2,
        _ => kind.wire_type(),
    };
    Field {
        number,
        tag: Tag::new(number, wire_type),
        json_key: Key::new(&names.json),
        name_key: Key::new(&names.proto),
        name: names.proto,
        json_name: names.json,
        kind,
        shape,
        presence,
        oneof: None,
        default: None,
    }
}

fn map(plans: &Plans, entry: &MessageDescriptor) -> Option<Shape> {
    let of = |declared: &FieldDescriptor| {
        let utf8 = plans.traits().verifies_utf8(declared);
        kind(plans, declared.kind(), Coding { is_group: declared.is_group(), utf8 })
    };
    let key = of(&entry.map_entry_key_field())?;
    Some(Shape::Map { key, value: of(&entry.map_entry_value_field())? })
}

/// What a type alone doesn't say.
struct Coding {
    is_group: bool,
    utf8: bool,
}

/// `None` for a type that the pool doesn't hold, which a linked pool never names.
fn kind(plans: &Plans, declared: Declared, coding: Coding) -> Option<Kind> {
    Some(match declared {
        Declared::Bool => Kind::Bool,
        Declared::Int32 => Kind::Int32,
        Declared::Int64 => Kind::Int64,
        Declared::Uint32 => Kind::Uint32,
        Declared::Uint64 => Kind::Uint64,
        Declared::Sint32 => Kind::Sint32,
        Declared::Sint64 => Kind::Sint64,
        Declared::Fixed32 => Kind::Fixed32,
        Declared::Fixed64 => Kind::Fixed64,
        Declared::Sfixed32 => Kind::Sfixed32,
        Declared::Sfixed64 => Kind::Sfixed64,
        Declared::Float => Kind::Float,
        Declared::Double => Kind::Double,
        Declared::String => Kind::String { utf8: coding.utf8 },
        Declared::Bytes => Kind::Bytes,
        Declared::Enum(declared) => Kind::Enum(plans.find_enum(declared.full_name())?),
        Declared::Message(message) if coding.is_group => Kind::Group(plans.find(message.full_name())?),
        Declared::Message(message) => Kind::Message(plans.find(message.full_name())?),
    })
}

fn form(message: &MessageDescriptor) -> Form {
    if message.is_map_entry() {
        return Form::MapEntry;
    }
    match message.full_name() {
        "google.protobuf.Any" => Form::Any,
        "google.protobuf.Timestamp" => Form::Timestamp,
        "google.protobuf.Duration" => Form::Duration,
        "google.protobuf.FieldMask" => Form::FieldMask,
        "google.protobuf.Struct" => Form::Struct,
        "google.protobuf.Value" => Form::Value,
        "google.protobuf.ListValue" => Form::ListValue,
        "google.protobuf.BoolValue"
        | "google.protobuf.Int32Value"
        | "google.protobuf.Int64Value"
        | "google.protobuf.UInt32Value"
        | "google.protobuf.UInt64Value"
        | "google.protobuf.FloatValue"
        | "google.protobuf.DoubleValue"
        | "google.protobuf.StringValue"
        | "google.protobuf.BytesValue" => Form::Wrapper,
        _ => Form::Object,
    }
}

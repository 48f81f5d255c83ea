//! Reads the ProtoJSON text of scalars and well-known types into the bytes of the wire format.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::GeneralPurposeConfig;

use crate::transcode::plan::Enum;
use crate::transcode::plan::Form;
use crate::transcode::plan::Kind;
use crate::transcode::plan::MessageId;
use crate::transcode::plan::Plans;
use crate::transcode::text::number::Whole;
use crate::transcode::text::wire::WireType;

pub(crate) mod mask;
pub(crate) mod number;
pub(crate) mod time;
pub(crate) mod wire;

/// Why a text is not a value of its kind: the rest of a sentence that begins with the text or its field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem(Cow<'static, str>);

impl Problem {
    /// A problem that needs no detail.
    pub(crate) const fn fixed(what: &'static str) -> Self {
        Self(Cow::Borrowed(what))
    }

    /// A problem with a detail.
    pub(crate) fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which texts are booleans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Bools {
    /// `true` and `false`.
    #[default]
    Strict,
    /// `1` and `0` too.
    ZeroOne,
}

/// Whether a single text can be a value of `kind`, so that [`write_scalar`] takes it.
pub(crate) fn is_text(plans: &Plans, kind: &Kind) -> bool {
    match *kind {
        Kind::Message(id) => match plans.message(id).form {
            Form::Timestamp | Form::Duration | Form::FieldMask | Form::Wrapper => true,
            Form::Object
            | Form::MapEntry
            | Form::MessageSet
            | Form::Any
            | Form::Struct
            | Form::Value
            | Form::ListValue => false,
        },
        Kind::Group(_) => false,
        _ => true,
    }
}

/// Appends the value of `kind` that the bare text of a path, a query or a form is, without its tag.
///
/// Messages come with their length. A default value is written like any other.
///
/// # Errors
/// What is no value of `kind`, and kinds that no single text can be.
pub(crate) fn write_scalar(
    plans: &Plans,
    kind: &Kind,
    text: &str,
    bools: Bools,
    out: &mut Vec<u8>,
) -> Result<(), Problem> {
    match *kind {
        Kind::Bool => out.push(u8::from(boolean(text, bools)?)),
        Kind::Float => out.extend_from_slice(&number::float_text(text)?.to_le_bytes()),
        Kind::Double => out.extend_from_slice(&number::double_text(text)?.to_le_bytes()),
        Kind::String { .. } => wire::delimited(text.as_bytes(), out),
        Kind::Bytes => {
            let mut bytes = Vec::new();
            base64(text, &mut bytes)?;
            wire::delimited(&bytes, out);
        }
        Kind::Enum(id) => write_int32(enum_text(plans.enumeration(id), text)?, out),
        Kind::Message(id) => return write_message(plans, id, text, bools, out),
        Kind::Group(_) => return Err(NO_TEXT),
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Fixed32
        | Kind::Fixed64
        | Kind::Sfixed32
        | Kind::Sfixed64 => write_whole(kind, number::whole(text.as_bytes())?, out)?,
    }
    Ok(())
}

fn write_message(
    plans: &Plans,
    id: MessageId,
    text: &str,
    bools: Bools,
    out: &mut Vec<u8>,
) -> Result<(), Problem> {
    let message = plans.message(id);
    let mut body = Vec::new();
    match message.form {
        Form::Timestamp => write_seconds(time::timestamp(text)?, &mut body),
        Form::Duration => write_seconds(time::duration(text)?, &mut body),
        Form::FieldMask => mask::field_mask(text, &mut body)?,
        Form::Wrapper => {
            let inner = message.by_number(1).map(|(_, field)| &field.kind).ok_or(NO_TEXT)?;
            wire::tag(1, wire_type(inner), &mut body);
            write_scalar(plans, inner, text, bools, &mut body)?;
        }
        Form::Object
        | Form::MapEntry
        | Form::MessageSet
        | Form::Any
        | Form::Struct
        | Form::Value
        | Form::ListValue => return Err(NO_TEXT),
    }
    wire::delimited(&body, out);
    Ok(())
}

/// The wire type of one value of `kind`.
pub(crate) fn wire_type(kind: &Kind) -> WireType {
    match kind {
        Kind::Bool
        | Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Enum(_) => WireType::Varint,
        Kind::Fixed32 | Kind::Sfixed32 | Kind::Float => WireType::I32,
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => WireType::I64,
        Kind::String { .. } | Kind::Bytes | Kind::Message(_) => WireType::Len,
        Kind::Group(_) => WireType::Group,
    }
}

/// Appends the integer `whole` as a value of `kind`, without its tag.
///
/// # Errors
/// What is out of range for `kind`, and kinds that are no integers.
#[inline]
pub(crate) fn write_whole(kind: &Kind, whole: Whole, out: &mut Vec<u8>) -> Result<(), Problem> {
    match kind {
        Kind::Int32 => write_int32(whole.to_i32()?, out),
        Kind::Int64 => wire::varint(whole.to_i64()?.cast_unsigned(), out),
        Kind::Uint32 => wire::varint(u64::from(whole.to_u32()?), out),
        Kind::Uint64 => wire::varint(whole.to_u64()?, out),
        Kind::Sint32 => wire::varint(wire::zigzag(i64::from(whole.to_i32()?)), out),
        Kind::Sint64 => wire::varint(wire::zigzag(whole.to_i64()?), out),
        Kind::Fixed32 => out.extend_from_slice(&whole.to_u32()?.to_le_bytes()),
        Kind::Fixed64 => out.extend_from_slice(&whole.to_u64()?.to_le_bytes()),
        Kind::Sfixed32 => out.extend_from_slice(&whole.to_i32()?.to_le_bytes()),
        Kind::Sfixed64 => out.extend_from_slice(&whole.to_i64()?.to_le_bytes()),
        _ => return Err(Problem::fixed("is not an integer field")),
    }
    Ok(())
}

/// Appends an `int32` or the number of an enum value, without its tag.
#[inline]
pub(crate) fn write_int32(value: i32, out: &mut Vec<u8>) {
    wire::varint(i64::from(value).cast_unsigned(), out);
}

/// Appends the body of a `Timestamp` or a `Duration`.
pub(crate) fn write_seconds(value: time::Seconds, out: &mut Vec<u8>) {
    if value.seconds != 0 {
        wire::tag(1, WireType::Varint, out);
        wire::varint(value.seconds.cast_unsigned(), out);
    }
    if value.nanos != 0 {
        wire::tag(2, WireType::Varint, out);
        write_int32(value.nanos, out);
    }
}

/// Appends the bytes that `text` is in base64 of either alphabet, padded or not.
///
/// # Errors
/// What is not base64.
pub(crate) fn base64(text: &str, out: &mut Vec<u8>) -> Result<(), Problem> {
    let url_safe = text.bytes().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = if url_safe { &URL_SAFE } else { &STANDARD };
    engine.decode_vec(text, out).map_err(|_| BASE64)
}

/// The number of the enum value that `text` names.
///
/// # Errors
/// Unknown names.
pub(crate) fn enum_name(plan: &Enum, name: &str) -> Result<i32, Problem> {
    plan.number(name.as_bytes()).ok_or_else(|| {
        Problem::new(format!("is not a value of {}: write one of its names, exactly, or a number", plan.name))
    })
}

/// The number of an enum value, if the enum can hold it.
///
/// # Errors
/// Numbers beyond 32 bits, and numbers that a closed enum doesn't declare.
pub(crate) fn enum_number(plan: &Enum, whole: Whole) -> Result<i32, Problem> {
    let number = whole.to_i32()?;
    if plan.open || plan.name(number).is_some() {
        return Ok(number);
    }
    Err(Problem::new(format!(
        "is not a number of {}, which is a closed enum: write one of its names",
        plan.name
    )))
}

fn enum_text(plan: &Enum, text: &str) -> Result<i32, Problem> {
    match number::whole(text.as_bytes()) {
        Ok(whole) => enum_number(plan, whole),
        Err(_) => enum_name(plan, text),
    }
}

fn boolean(text: &str, bools: Bools) -> Result<bool, Problem> {
    match (text, bools) {
        ("true", _) | ("1", Bools::ZeroOne) => Ok(true),
        ("false", _) | ("0", Bools::ZeroOne) => Ok(false),
        _ => Err(Problem::fixed("is not a boolean: write true or false")),
    }
}

/// The last character may carry bits that no byte takes: the conformance suite wants `-_` read.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
const BASE64: Problem = Problem::fixed("is not base64");
const NO_TEXT: Problem = Problem::fixed("is a message, which no single text can be: set its fields");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Limits;
    use crate::schema::compile;

    const PROTO: &str = r#"
        syntax = "proto3"; package t;
        import "google/protobuf/any.proto"; import "google/protobuf/duration.proto"; import "google/protobuf/empty.proto";
        import "google/protobuf/field_mask.proto"; import "google/protobuf/struct.proto";
        import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
        enum Color { NONE = 0; RED = 1; BELOW = -1; }
        message All {
          int32 i32 = 1; int64 i64 = 2; uint32 u32 = 3; uint64 u64 = 4; sint32 s32 = 5; sint64 s64 = 6;
          fixed32 f32 = 7; fixed64 f64 = 8; sfixed32 sf32 = 9; sfixed64 sf64 = 10; float flt = 11; double dbl = 12;
          bool yes = 13; string text = 14; bytes raw = 15; Color color = 16; All all = 17;
          google.protobuf.Timestamp at = 18; google.protobuf.Duration span = 19; google.protobuf.FieldMask mask = 20;
          google.protobuf.Struct doc = 21; google.protobuf.Value value = 22; google.protobuf.ListValue list = 23;
          google.protobuf.Any any = 24; google.protobuf.Empty empty = 25; google.protobuf.StringValue w_text = 26;
          google.protobuf.Int64Value w_i64 = 27; google.protobuf.BoolValue w_yes = 28;
        }
    "#;

    fn plans() -> Plans {
        let files = vec![("t.proto".to_owned(), PROTO.as_bytes().to_vec())];
        let schema = compile::protos(files, &[], &Limits::default()).unwrap();
        Plans::new(schema.pool().clone(), schema.traits().clone())
    }

    fn written(plans: &Plans, field: &str, text: &str, bools: Bools) -> Result<Vec<u8>, Problem> {
        let all = plans.message(plans.find("t.All").unwrap());
        let (_, field) = all.by_name(field.as_bytes()).unwrap();
        let mut out = Vec::new();
        write_scalar(plans, &field.kind, text, bools, &mut out)?;
        assert!(is_text(plans, &field.kind));
        Ok(out)
    }

    #[test]
    fn writes_every_kind_of_text() {
        let plans = plans();
        let cases: &[(&str, &str, &[u8])] = &[
            ("i32", "-1", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            ("i64", "300", b"\xac\x02"),
            ("u32", "1e2", b"\x64"),
            ("u64", "0", b"\0"),
            ("s32", "-1", b"\x01"),
            ("s64", "1", b"\x02"),
            ("f32", "1", b"\x01\0\0\0"),
            ("f64", "1", b"\x01\0\0\0\0\0\0\0"),
            ("sf32", "-1", b"\xff\xff\xff\xff"),
            ("sf64", "-2", b"\xfe\xff\xff\xff\xff\xff\xff\xff"),
            ("flt", "1.5", b"\0\0\xc0\x3f"),
            ("dbl", "-Infinity", b"\0\0\0\0\0\0\xf0\xff"),
            ("yes", "true", b"\x01"),
            ("yes", "false", b"\0"),
            ("text", "", b"\0"),
            ("text", "\u{e4}", b"\x02\xc3\xa4"),
            ("raw", "-_8", b"\x02\xfb\xff"),
            ("raw", "+/8=", b"\x02\xfb\xff"),
            ("raw", "-_", b"\x01\xfb"),
            ("raw", "", b"\0"),
            ("color", "RED", b"\x01"),
            ("color", "-1", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            ("color", "77", b"\x4d"),
            ("at", "1970-01-01T00:00:01.000000002Z", b"\x04\x08\x01\x10\x02"),
            ("at", "1970-01-01T00:00:00Z", b"\0"),
            ("span", "1s", b"\x02\x08\x01"),
            ("mask", "aB,c", b"\x08\x0a\x03a_b\x0a\x01c"),
            ("w_text", "x", b"\x03\x0a\x01x"),
            ("w_i64", "5", b"\x02\x08\x05"),
            ("w_yes", "true", b"\x02\x08\x01"),
        ];
        for (field, text, expected) in cases {
            assert_eq!(written(&plans, field, text, Bools::Strict), Ok(expected.to_vec()), "{field} {text}");
        }
        for (text, expected) in [("1", b"\x01"), ("0", b"\0"), ("true", b"\x01"), ("false", b"\0")] {
            assert_eq!(written(&plans, "yes", text, Bools::ZeroOne), Ok(expected.to_vec()), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_text_of_the_kind() {
        let plans = plans();
        let cases = [
            ("i32", "2147483648"),
            ("i32", "1.5"),
            ("i32", ""),
            ("i32", " 1"),
            ("u32", "-1"),
            ("u64", "18446744073709551616"),
            ("flt", "1e39"),
            ("dbl", "inf"),
            ("yes", "1"),
            ("yes", "TRUE"),
            ("yes", ""),
            ("raw", "*"),
            ("raw", "-/8="),
            ("raw", "A"),
            ("raw", "AQI=="),
            ("color", "red"),
            ("color", ""),
            ("color", "1.5"),
            ("color", "2147483648"),
            ("at", "now"),
            ("span", "1"),
            ("mask", "a_b"),
            ("w_i64", "x"),
            ("w_yes", "1"),
        ];
        for (field, text) in cases {
            assert!(written(&plans, field, text, Bools::Strict).is_err(), "{field} {text}");
        }
        for text in ["2", "", "TRUE", "01"] {
            assert!(written(&plans, "yes", text, Bools::ZeroOne).is_err(), "{text}");
        }
        let all = plans.message(plans.find("t.All").unwrap());
        for field in ["all", "doc", "value", "list", "any", "empty"] {
            let (_, found) = all.by_name(field.as_bytes()).unwrap();
            assert!(!is_text(&plans, &found.kind), "{field}");
            assert!(written(&plans, field, "{}", Bools::Strict).is_err(), "{field}");
        }
    }
}

//! Writes protobuf bytes as JSON text by the rules of ProtoJSON, in one pass and without a message between.

mod any;
mod fault;
mod maps;
mod objects;
mod seen;
mod sets;
mod text;
mod values;
mod wire;
mod wkt;

pub use fault::Cause;
pub use fault::WriteError;

use crate::transcode::plan::Field;
use crate::transcode::plan::Form;
use crate::transcode::plan::Key;
use crate::transcode::plan::MessageId;
use crate::transcode::plan::Plans;
use crate::transcode::write::any::Told;
use crate::transcode::write::fault::Fault;
use crate::transcode::write::maps::Member;

/// How messages are written as JSON; the default is what ProtoJSON says.
#[derive(Debug, Clone, Copy)]
pub struct WriteOptions {
    /// Fields without presence are written where they have their default, and empty lists and maps.
    pub emit_defaults: bool,
    /// Fields are named as in the `.proto` file.
    pub preserve_names: bool,
    /// Enum values are numbers.
    pub enums_as_numbers: bool,
    /// How 64-bit integers are written.
    pub int64: Int64,
    /// What happens to an `Any` whose content can't be told.
    pub unknown_any: UnknownAny,
    /// Messages within each other; more than 200 are never written.
    pub depth_max: usize,
    /// Bytes of JSON from which on no more members are written; a few bytes of protobuf can make many.
    pub bytes_max: usize,
}

/// How 64-bit integers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Int64 {
    /// As strings, which lose nothing.
    #[default]
    String,
    /// As numbers; one that a double can't hold is an error.
    Number,
}

/// What happens to an `Any` of a type that the module doesn't have, or whose bytes are not of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownAny {
    /// The message can't be written, as ProtoJSON says.
    #[default]
    Refuse,
    /// It is shown as `{"@type": …, "value": base64}`, so that it never costs a reply.
    Bytes,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            emit_defaults: false,
            preserve_names: false,
            enums_as_numbers: false,
            int64: Int64::String,
            unknown_any: UnknownAny::Refuse,
            depth_max: 100,
            bytes_max: 256 << 20,
        }
    }
}

/// Appends the JSON of an encoded `root` to `out`.
///
/// # Errors
/// Bytes that are no `root`, and values that JSON can't express; what `out` has is of no use then.
pub fn write(
    plans: &Plans,
    root: MessageId,
    message: &[u8],
    options: &WriteOptions,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    // About what JSON takes, so that it isn't moved time and again as it grows.
    out.reserve(message.len().saturating_mul(2));
    writer(plans, options, out).message(root, message).map_err(Fault::into_error)
}

/// Appends the JSON of one field of an encoded `root`; where it is absent, what every accessor gives for it: the
/// default that it declares, the zero of its type, `null` for a message.
///
/// # Errors
/// As for [`write`].
pub fn write_field(
    plans: &Plans,
    root: MessageId,
    field: usize,
    message: &[u8],
    options: &WriteOptions,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    let plan = plans.message(root);
    writer(plans, options, out).only_field(plan, field, message).map_err(Fault::into_error)
}

/// Appends the JSON of an encoded `google.protobuf.Any`; false, and nothing is appended, where what it holds
/// can't be told.
pub fn write_any(plans: &Plans, any: &[u8], options: &WriteOptions, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let told = writer(plans, options, out).any(any).is_ok_and(|told| told == Told::Whole);
    if !told {
        out.truncate(start);
    }
    told
}

/// The bytes of one message field of an encoded `root`, all its occurrences merged.
///
/// # Errors
/// Bytes that are no message.
pub fn field_bytes(
    plans: &Plans,
    root: MessageId,
    field: usize,
    message: &[u8],
) -> Result<Vec<u8>, WriteError> {
    let number = plans.message(root).fields.get(field).map_or(0, |field| field.number);
    let mut merged = Vec::new();
    let mut wire = wire::Wire::new(message);
    while let Some((found, raw)) = wire.next().map_err(Fault::into_error)? {
        if found == number {
            merged.extend_from_slice(raw.bytes());
        }
    }
    Ok(merged)
}

/// Refuses bytes that don't end where a field does: what is appended to others is no field of its own.
///
/// # Errors
/// Bytes that are no fields, one after the other.
pub fn check_fields(message: &[u8]) -> Result<(), WriteError> {
    let mut wire = wire::Wire::new(message);
    while wire.next().map_err(Fault::into_error)?.is_some() {}
    Ok(())
}

/// What the writing of one message needs everywhere.
struct Writer<'p, 'o> {
    plans: &'p Plans,
    options: WriteOptions,
    depth_left: usize,
    /// Length of `out` from which on no more members are written.
    len_max: usize,
    /// Members of the maps that have begun.
    members: Vec<Member>,
    out: &'o mut Vec<u8>,
}

fn writer<'p, 'o>(plans: &'p Plans, options: &WriteOptions, out: &'o mut Vec<u8>) -> Writer<'p, 'o> {
    let depth_left = options.depth_max.min(DEPTH_CEILING);
    let len_max = out.len().saturating_add(options.bytes_max);
    Writer { plans, options: *options, depth_left, len_max, members: Vec::new(), out }
}

impl Writer<'_, '_> {
    /// The JSON of a message, whatever its form.
    fn message(&mut self, id: MessageId, bytes: &[u8]) -> Result<(), Fault> {
        let Some(left) = self.depth_left.checked_sub(1) else { return Err(Fault::too_deep()) };
        self.depth_left = left;
        let plan = self.plans.message(id);
        match plan.form {
            Form::Object | Form::MapEntry => self.object(plan, bytes)?,
            Form::MessageSet => self.message_set(plan, bytes)?,
            Form::Any => {
                self.any(bytes)?;
            }
            Form::Timestamp => self.timestamp(bytes)?,
            Form::Duration => self.duration(bytes)?,
            Form::FieldMask => self.field_mask(bytes)?,
            Form::Struct => self.structure(bytes)?,
            Form::Value => self.value(bytes)?,
            Form::ListValue => self.list(bytes)?,
            Form::Wrapper => self.wrapper(plan, bytes)?,
        }
        self.depth_left += 1;
        Ok(())
    }

    /// The key of a member, after a comma even if it is the first.
    #[inline]
    fn key(&mut self, field: &Field) -> Result<(), Fault> {
        self.check_len()?;
        self.key_of(field).write(self.out);
        Ok(())
    }

    #[inline]
    fn key_of<'f>(&self, field: &'f Field) -> &'f Key {
        if self.options.preserve_names { &field.name_key } else { &field.json_key }
    }

    /// Nothing is added to text that is over its limit.
    #[inline]
    fn check_len(&self) -> Result<(), Fault> {
        if self.is_over() { Err(Fault::too_long()) } else { Ok(()) }
    }

    #[inline]
    fn is_over(&self) -> bool {
        self.out.len() > self.len_max
    }

    #[inline]
    fn comma(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(b',');
        }
    }
}

/// What the stack of a worker carries with ease.
const DEPTH_CEILING: usize = 200;

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use crate::schema::Traits;
    use crate::transcode::text::wire as put;

    use super::*;

    const PROTO3: &str = r#"
        syntax = "proto3"; package t;
        import "google/protobuf/any.proto"; import "google/protobuf/struct.proto";
        import "google/protobuf/timestamp.proto"; import "google/protobuf/duration.proto";
        import "google/protobuf/field_mask.proto"; import "google/protobuf/wrappers.proto";
        import "google/protobuf/empty.proto"; import "p2.proto";
        enum Color { NONE = 0; RED = 1; }
        enum Alias { option allow_alias = true; NIL = 0; TEN_A = 10; MINUS = -1; TEN_B = 10; ZERO = 0; }
        message Aliased { Alias one = 1; repeated Alias many = 2; map<string, Alias> by_text = 3; }
        message All {
          int32 i32 = 1; int64 i64 = 2; uint32 u32 = 3; uint64 u64 = 4; sint32 s32 = 5; sint64 s64 = 6;
          fixed32 f32 = 7; fixed64 f64 = 8; sfixed32 sf32 = 9; sfixed64 sf64 = 10; float fl = 11; double db = 12;
          bool bo = 13; string st = 14; bytes by = 15; Color color = 16; All inner = 17; optional int32 maybe = 18;
          repeated int32 ints = 19; repeated string texts = 20; repeated All many = 21; repeated Color colors = 22;
          map<string, int32> by_text = 23; map<int64, string> by_long = 24; map<bool, All> by_bool = 25;
          oneof choice { int32 left = 26; string right = 27; All third = 28; }
          google.protobuf.Any any = 29; google.protobuf.Value value = 30; google.protobuf.Struct struct = 31;
          google.protobuf.ListValue list = 32; google.protobuf.Timestamp time = 33;
          google.protobuf.Duration lasts = 34; google.protobuf.FieldMask mask = 35;
          google.protobuf.Int64Value wrapped = 36; google.protobuf.Empty nothing = 37;
          google.protobuf.NullValue null = 38; p2.Old old = 39;
        }"#;

    const PROTO2: &str = r#"
        syntax = "proto2"; package p2;
        enum Closed { ONE = 1; TWO = 2; }
        message Old {
          optional Closed closed = 1; repeated Closed all = 2; map<string, Closed> named = 3;
          optional group Part = 4 { optional int32 n = 1; optional Old deeper = 2; }
          optional string text = 5; oneof choice { Closed c = 6; int32 n = 7; }
          optional Set set = 8; extensions 100 to 199;
        }
        message Declared {
          optional int32 i32 = 1 [default = -5]; optional sint64 s64 = 2 [default = -9223372036854775808];
          optional fixed32 f32 = 3 [default = 4294967295]; optional uint64 u64 = 4 [default = 18446744073709551615];
          optional sfixed64 sf64 = 5 [default = -2]; optional float fl = 6 [default = 1.5];
          optional double db = 7 [default = -inf]; optional bool bo = 8 [default = true];
          optional string st = 9 [default = "a\"b"]; optional bytes by = 10 [default = "\001\377"];
          optional Closed closed = 11 [default = TWO]; optional string plain = 12; optional Closed first = 13;
          oneof choice { int32 left = 14 [default = 7]; int32 right = 15; } extensions 100 to 199;
        }
        extend Declared { optional int32 far = 100 [default = 8]; }
        message Set { option message_set_wire_format = true; extensions 4 to max; }
        message Item { extend Set { optional Item item = 1000; } optional string text = 1; }
        extend Old { optional int32 more = 100; repeated Item items = 101; }"#;

    fn plans() -> Plans {
        let mut pool = DescriptorPool::global();
        for (name, text) in [("p2.proto", PROTO2), ("t.proto", PROTO3)] {
            let file = protox::file::File::from_source(name, text).unwrap();
            pool.add_file_descriptor_proto(file.file_descriptor_proto().clone()).unwrap();
        }
        Plans::new(pool, Traits::default())
    }

    fn json_of(name: &str, message: &[u8], options: &WriteOptions) -> Result<String, WriteError> {
        let plans = plans();
        let mut out = b">".to_vec();
        write(&plans, plans.find(name).unwrap(), message, options, &mut out)?;
        let text = String::from_utf8(out).unwrap();
        let text = text.strip_prefix('>').unwrap().to_owned();
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        Ok(text)
    }

    fn all(message: &[u8]) -> Result<String, WriteError> {
        json_of("t.All", message, &WriteOptions::default())
    }

    fn v(number: u32, value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put::tag(number, put::WireType::Varint, &mut out);
        put::varint(value, &mut out);
        out
    }

    fn l(number: u32, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        put::tag(number, put::WireType::Len, &mut out);
        put::delimited(bytes.as_ref(), &mut out);
        out
    }

    fn fixed(number: u32, bytes: &[u8]) -> Vec<u8> {
        let wire_type = if bytes.len() == 8 { put::WireType::I64 } else { put::WireType::I32 };
        let mut out = Vec::new();
        put::tag(number, wire_type, &mut out);
        out.extend_from_slice(bytes);
        out
    }

    fn group(number: u32, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put::varint(u64::from(number << 3 | 3), &mut out);
        out.extend_from_slice(content);
        put::varint(u64::from(number << 3 | 4), &mut out);
        out
    }

    fn negative(value: i64) -> u64 {
        value.cast_unsigned()
    }

    #[track_caller]
    fn check(message: &[u8], expected: &str) {
        assert_eq!(all(message).unwrap(), expected);
    }

    #[track_caller]
    fn refused(message: &[u8], cause: Cause, path: &str) {
        let error = all(message).expect_err("must be refused");
        assert_eq!((error.cause, &*error.path), (cause, path), "{error}");
    }

    #[test]
    fn writes_every_scalar() {
        check(b"", "{}");
        check(&v(1, 7), r#"{"i32":7}"#);
        check(&v(1, negative(-7)), r#"{"i32":-7}"#);
        check(&v(1, 0xffff_ffff_0000_0005), r#"{"i32":5}"#);
        check(&v(1, 0xffff_ffff_0000_0000), "{}");
        check(&v(2, negative(i64::MIN)), r#"{"i64":"-9223372036854775808"}"#);
        check(&v(3, u64::MAX), r#"{"u32":4294967295}"#);
        check(&v(4, u64::MAX), r#"{"u64":"18446744073709551615"}"#);
        check(&v(5, 3), r#"{"s32":-2}"#);
        check(&v(5, 0xffff_ffff), r#"{"s32":-2147483648}"#);
        check(&v(6, u64::MAX), r#"{"s64":"-9223372036854775808"}"#);
        check(&fixed(7, &[1, 0, 0, 0]), r#"{"f32":1}"#);
        check(&fixed(8, &[2, 0, 0, 0, 0, 0, 0, 0]), r#"{"f64":"2"}"#);
        check(&fixed(9, &[255; 4]), r#"{"sf32":-1}"#);
        check(&fixed(10, &[255; 8]), r#"{"sf64":"-1"}"#);
        check(&v(13, 256), r#"{"bo":true}"#);
        check(&l(14, "a\"\\\n\u{1}é\u{2028}"), "{\"st\":\"a\\\"\\\\\\n\\u0001é\u{2028}\"}");
        check(&l(15, [0xfb, 0xff, 0]), r#"{"by":"+/8A"}"#);
        check(&l(15, [0xfb]), r#"{"by":"+w=="}"#);
        check(&v(16, 1), r#"{"color":"RED"}"#);
        check(&v(16, negative(-3)), r#"{"color":-3}"#);
        check(&v(18, 0), r#"{"maybe":0}"#);
    }

    #[test]
    fn writes_floats_by_their_shortest_digits() {
        let float = |value: f32| fixed(11, &value.to_le_bytes());
        let double = |value: f64| fixed(12, &value.to_le_bytes());
        check(&float(0.1), r#"{"fl":0.1}"#);
        check(&float(f32::MAX), r#"{"fl":3.4028235e+38}"#);
        check(&float(f32::NAN), r#"{"fl":"NaN"}"#);
        check(&float(f32::NEG_INFINITY), r#"{"fl":"-Infinity"}"#);
        check(&double(0.1), r#"{"db":0.1}"#);
        check(&double(1.5), r#"{"db":1.5}"#);
        check(&double(-0.0), r#"{"db":-0}"#);
        check(&double(1e20), r#"{"db":1e+20}"#);
        check(&double(100.0), r#"{"db":100}"#);
        check(&double(f64::INFINITY), r#"{"db":"Infinity"}"#);
        check(&double(0.0), "{}");
        for value in [f64::MIN_POSITIVE, f64::MAX, 5e-324, 1.0 / 3.0, 123_456_789.125, 1e15, 1e16, 1e-7] {
            let text = all(&double(value)).unwrap();
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read["db"].as_f64(), Some(value), "{text}");
        }
    }

    #[test]
    fn writes_lists_packed_or_not() {
        check(&l(19, [1, 2, 3]), r#"{"ints":[1,2,3]}"#);
        check(&[v(19, 1), v(19, 2)].concat(), r#"{"ints":[1,2]}"#);
        check(&[v(19, 1), l(19, [2, 3]), v(19, 0)].concat(), r#"{"ints":[1,2,3,0]}"#);
        check(&l(19, []), "{}");
        check(&[l(20, "a"), l(20, "")].concat(), r#"{"texts":["a",""]}"#);
        check(&l(22, [0, 1, 5]), r#"{"colors":["NONE","RED",5]}"#);
        check(&[l(21, ""), l(21, v(1, 1))].concat(), r#"{"many":[{},{"i32":1}]}"#);
        refused(&l(19, [1, 0x80]), Cause::Malformed, "ints");
    }

    #[test]
    fn writes_maps_with_quoted_keys() {
        check(&l(23, [l(1, "a"), v(2, 1)].concat()), r#"{"byText":{"a":1}}"#);
        check(&l(23, ""), r#"{"byText":{"":0}}"#);
        check(&l(24, [v(1, negative(-1)), l(2, "x")].concat()), r#"{"byLong":{"-1":"x"}}"#);
        check(&[l(25, v(1, 1)), l(25, "")].concat(), r#"{"byBool":{"true":{},"false":{}}}"#);
        let entry = |key: &str, value| l(23, [l(1, key), v(2, value)].concat());
        check(&[entry("b", 1), entry("a", 2), entry("b", 3)].concat(), r#"{"byText":{"a":2,"b":3}}"#);
        // The parts of an entry come in any order, and twice.
        check(&l(23, [v(2, 1), l(1, "x"), v(2, 2), l(1, "y")].concat()), r#"{"byText":{"y":2}}"#);
        let halves = [v(1, 1), l(2, v(1, 5)), l(2, v(3, 6))].concat();
        check(&l(25, halves), r#"{"byBool":{"true":{"i32":5,"u32":6}}}"#);
        let many: Vec<u8> = (0..100).rev().flat_map(|at| entry(&format!("k{}", at % 40), at)).collect();
        let read: serde_json::Value = serde_json::from_str(&all(&many).unwrap()).unwrap();
        let expected: serde_json::Map<_, _> = (0..40).map(|at| (format!("k{at}"), at.into())).collect();
        assert_eq!(read["byText"], serde_json::Value::Object(expected));
    }

    #[test]
    fn fields_that_come_oddly_come_out_right() {
        check(&[v(1, 1), v(1, 2)].concat(), r#"{"i32":2}"#);
        check(&[v(1, 1), v(1, 0)].concat(), "{}");
        check(&[v(19, 1), v(1, 9), v(19, 2)].concat(), r#"{"i32":9,"ints":[1,2]}"#);
        check(&[l(17, v(1, 1)), l(17, v(3, 2))].concat(), r#"{"inner":{"i32":1,"u32":2}}"#);
        check(&[l(17, v(1, 1)), v(3, 3), l(17, v(1, 2))].concat(), r#"{"u32":3,"inner":{"i32":2}}"#);
        check(&[v(26, 1), l(27, "b")].concat(), r#"{"right":"b"}"#);
        check(&[l(27, "b"), v(26, 0)].concat(), r#"{"left":0}"#);
        let third = [l(28, v(1, 1)), v(26, 5), l(28, v(3, 2)), l(28, v(4, 3))].concat();
        check(&third, r#"{"third":{"u32":2,"u64":"3"}}"#);
        let entry = |key: &str, value| l(23, [l(1, key), v(2, value)].concat());
        let apart = [entry("a", 1), v(1, 1), entry("a", 2), entry("b", 3)].concat();
        check(&apart, r#"{"i32":1,"byText":{"a":2,"b":3}}"#);
        // A wire type that a field doesn't have makes it an unknown one.
        check(&[v(1, 4), l(1, "xx"), v(14, 3)].concat(), r#"{"i32":4}"#);
    }

    #[test]
    fn oddness_at_every_level_costs_no_more_than_twice() {
        // Each level has its message first and an integer twice; writing the message twice a level would
        // take 2^90 steps.
        let deep = (0..90).fold(Vec::new(), |inner, _| [l(17, inner), v(1, 1), v(1, 2)].concat());
        assert_eq!(all(&deep).unwrap().matches("\"i32\":2").count(), 90);
        let split = (0..90).fold(v(3, 1), |inner, _| [l(17, inner), l(17, v(1, 1))].concat());
        assert_eq!(all(&split).unwrap().matches("\"i32\":1").count(), 90);
    }

    #[test]
    fn closed_enums_have_no_other_numbers() {
        let old = |message: &[u8]| json_of("p2.Old", message, &WriteOptions::default()).unwrap();
        assert_eq!(old(&v(1, 9)), "{}");
        assert_eq!(old(&[v(1, 2), v(1, 9)].concat()), r#"{"closed":"TWO"}"#);
        assert_eq!(old(&[v(7, 3), v(6, 9)].concat()), r#"{"n":3}"#);
        assert_eq!(old(&[v(2, 1), l(2, [9, 2])].concat()), r#"{"all":["ONE","TWO"]}"#);
        let entry = |value| l(3, [l(1, "k"), v(2, value)].concat());
        assert_eq!(old(&[entry(2), entry(9)].concat()), r#"{"named":{"k":"TWO"}}"#);
        assert_eq!(old(&l(3, l(1, "k"))), r#"{"named":{"k":"ONE"}}"#);
        // All entries are unknown: the map is as good as absent, and what follows has no comma before it.
        assert_eq!(old(&entry(9)), "{}");
        assert_eq!(old(&[entry(9), l(5, "x")].concat()), r#"{"text":"x"}"#);
        assert_eq!(old(&[entry(9), l(5, "x"), entry(2)].concat()), r#"{"text":"x","named":{"k":"TWO"}}"#);
    }

    #[test]
    fn of_an_enum_the_first_declared_counts() {
        let options = WriteOptions { emit_defaults: true, ..WriteOptions::default() };
        let message = [l(2, [10, 0, 9]), v(2, u64::MAX), l(3, l(1, "k"))].concat();
        assert_eq!(
            json_of("t.Aliased", &message, &options).unwrap(),
            r#"{"many":["TEN_A","NIL",9,"MINUS"],"byText":{"k":"NIL"},"one":"NIL"}"#
        );
    }

    #[test]
    fn writes_groups_extensions_and_message_sets() {
        let old = |message: &[u8]| json_of("p2.Old", message, &WriteOptions::default());
        assert_eq!(old(&group(4, &v(1, 3))).unwrap(), r#"{"part":{"n":3}}"#);
        let nested = group(4, &l(2, group(4, b"")));
        assert_eq!(old(&nested).unwrap(), r#"{"part":{"deeper":{"part":{}}}}"#);
        let split = [group(4, &v(1, 3)), group(4, &l(2, ""))].concat();
        assert_eq!(old(&split).unwrap(), r#"{"part":{"n":3,"deeper":{}}}"#);
        assert_eq!(old(&v(100, 5)).unwrap(), r#"{"[p2.more]":5}"#);
        let items = [l(101, l(1, "a")), l(101, "")].concat();
        assert_eq!(old(&items).unwrap(), r#"{"[p2.items]":[{"text":"a"},{}]}"#);
        let item = group(1, &[l(3, l(1, "a")), v(2, 1000)].concat());
        let unknown = group(1, &[v(2, 2000), l(3, "")].concat());
        assert_eq!(
            old(&l(8, [unknown, item].concat())).unwrap(),
            r#"{"set":{"[p2.Item.item]":{"text":"a"}}}"#
        );
        // Without an order to check it, a proto2 string may be no UTF-8; JSON is.
        assert_eq!(old(&l(5, [0xff])).unwrap_err().cause, Cause::Inexpressible);
        assert_eq!(old(&group(4, b"")[..1]).unwrap_err().cause, Cause::Malformed);
        assert_eq!(old(&[0x23, 0x2c]).unwrap_err().cause, Cause::Malformed);
        assert_eq!(old(&[0x24]).unwrap_err().cause, Cause::Malformed);
    }

    #[test]
    fn skips_what_it_does_not_know() {
        let unknown = [v(1000, 1), l(1001, "x"), fixed(1002, &[0; 4]), fixed(1003, &[0; 8])].concat();
        let grouped = group(1004, &[group(5, &v(1, 1)), l(6, "x")].concat());
        check(&[unknown.clone(), v(1, 1), grouped].concat(), r#"{"i32":1}"#);
        let deep = |levels| (0..levels).fold(Vec::new(), |inner, _| group(1000, &inner));
        check(&deep(100), "{}");
        assert!(all(&deep(101)).is_err());
        assert!(all(&deep(100_000)).is_err());
    }

    #[test]
    fn refuses_bytes_that_are_no_message() {
        for bytes in [
            &[0x08][..],                                                               // no value
            &[0x00, 0x01],                                                             // field 0
            &[0x88, 0x80, 0x80, 0x80, 0x80, 0x00, 0x01],                               // a tag of six bytes
            &[0xff, 0xff, 0xff, 0xff, 0x7f, 0x01],                                     // a tag over 32 bits
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], // a varint of eleven
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],       // 65 bits
            &[0x72, 0x05, b'a'],                                                       // a string cut short
            &[0x72, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],       // 2^64 - 1 bytes
            &[0x3d, 0, 0, 0],             // fixed32 of three bytes
            &[0x41, 0, 0, 0, 0, 0, 0, 0], // fixed64 of seven
            &[0x0e],                      // wire type 6
            &[0x0c],                      // the end of no group
            &[0x80],                      // half a tag
        ] {
            refused(bytes, Cause::Malformed, "");
            refused(&l(17, bytes), Cause::Malformed, "inner");
            // Behind a field that comes twice, where all is gathered.
            refused(&[v(1, 1), v(1, 2), bytes.to_vec()].concat(), Cause::Malformed, "");
        }
        refused(&l(14, [0xff]), Cause::Malformed, "st");
        refused(&l(17, l(21, l(14, [0xc3]))), Cause::Malformed, "inner.many.st");
        check(&[0x88, 0x80, 0x80, 0x80, 0x00, 0x01], r#"{"i32":1}"#);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |levels| (1..levels).fold(Vec::new(), |inner, _| l(17, inner));
        assert!(all(&deep(100)).is_ok());
        let error = all(&deep(101)).unwrap_err();
        assert!(error.what.contains("nested too deeply"), "{error}");
        assert!(all(&deep(5_000)).is_err());
        let options = WriteOptions { depth_max: usize::MAX, ..WriteOptions::default() };
        let plans = plans();
        let is_written = |levels| {
            write(&plans, plans.find("t.All").unwrap(), &deep(levels), &options, &mut Vec::new()).is_ok()
        };
        assert!(is_written(DEPTH_CEILING) && !is_written(DEPTH_CEILING + 1));
        let lists = (0..300).fold(Vec::new(), |inner, _| l(6, l(1, inner)));
        assert!(all(&l(30, lists)).is_err());
    }

    #[test]
    fn length_is_bounded() {
        let options =
            WriteOptions { bytes_max: 1000, unknown_any: UnknownAny::Bytes, ..WriteOptions::default() };
        let long = |count| l(22, vec![1; count]);
        assert!(json_of("t.All", &long(100), &options).is_ok());
        for message in [long(1000), l(29, [l(1, "x/t.All"), l(2, long(1000))].concat())] {
            let error = json_of("t.All", &message, &options).unwrap_err();
            assert!(error.what.contains("bytes_max"), "{error}");
        }
    }

    #[test]
    fn writes_times_and_masks() {
        let time = |seconds, nanos| l(33, [v(1, negative(seconds)), v(2, negative(nanos))].concat());
        let lasts = |seconds, nanos| l(34, [v(1, negative(seconds)), v(2, negative(nanos))].concat());
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
            (253_402_300_799, 999_999_999, "9999-12-31T23:59:59.999999999Z"),
            (951_782_400, 10_000_000, "2000-02-29T00:00:00.010Z"),
            (1_709_251_199, 1_000, "2024-02-29T23:59:59.000001Z"),
            (-1, 1, "1969-12-31T23:59:59.000000001Z"),
        ] {
            check(&time(seconds, nanos), &format!("{{\"time\":\"{text}\"}}"));
        }
        for (seconds, nanos) in [(-62_135_596_801, 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000)] {
            refused(&time(seconds, nanos), Cause::Inexpressible, "time");
        }
        for (seconds, nanos, text) in [
            (0, 0, "0s"),
            (0, -500_000_000, "-0.500s"),
            (-3, -1, "-3.000000001s"),
            (315_576_000_000, 0, "315576000000s"),
            (1, 340_012, "1.000340012s"),
            (1, 340_000, "1.000340s"),
        ] {
            check(&lasts(seconds, nanos), &format!("{{\"lasts\":\"{text}\"}}"));
        }
        for (seconds, nanos) in [(315_576_000_001, 0), (i64::MIN, 0), (1, -1), (-1, 1), (0, 1_000_000_000)] {
            refused(&lasts(seconds, nanos), Cause::Inexpressible, "lasts");
        }
        check(&l(35, [l(1, "foo_bar.baz"), l(1, "x")].concat()), r#"{"mask":"fooBar.baz,x"}"#);
        check(&l(35, ""), r#"{"mask":""}"#);
        check(&l(35, [l(1, "*"), l(1, "by_id.12.*")].concat()), r#"{"mask":"*,byId.12.*"}"#);
        for path in
            ["fooBar", "foo__bar", "foo_3", "foo_", "_", "a,b", "", "a-b", ".a", "a.", "a..b", "a*", "**"]
        {
            refused(&l(35, l(1, path)), Cause::Inexpressible, "mask");
        }
    }

    #[test]
    fn writes_values_and_wrappers() {
        let double = |value: f64| fixed(2, &value.to_le_bytes());
        check(&l(30, v(1, 0)), r#"{"value":null}"#);
        check(&l(30, double(0.0)), r#"{"value":0}"#);
        check(&l(30, l(3, "x")), r#"{"value":"x"}"#);
        check(&l(30, v(4, 0)), r#"{"value":false}"#);
        let pair = |key: &str, value: Vec<u8>| l(1, [l(1, key), l(2, value)].concat());
        let object = [pair("a", double(1.5)), pair("b", l(6, l(1, v(1, 0))))].concat();
        check(&l(30, l(5, &object)), r#"{"value":{"a":1.5,"b":[null]}}"#);
        check(&l(31, &object), r#"{"struct":{"a":1.5,"b":[null]}}"#);
        check(&l(31, [pair("a", v(4, 1)), pair("a", v(4, 0))].concat()), r#"{"struct":{"a":false}}"#);
        check(
            &[l(31, pair("a", v(4, 1))), l(31, pair("b", v(4, 1)))].concat(),
            r#"{"struct":{"a":true,"b":true}}"#,
        );
        check(&l(32, [l(1, v(4, 1)), l(1, l(3, "s"))].concat()), r#"{"list":[true,"s"]}"#);
        check(&l(30, [l(3, "x"), v(4, 1)].concat()), r#"{"value":true}"#);
        check(
            &l(30, [l(5, pair("a", v(4, 1))), l(5, pair("b", v(4, 1)))].concat()),
            r#"{"value":{"a":true,"b":true}}"#,
        );
        refused(&l(30, ""), Cause::Inexpressible, "value");
        refused(&l(30, double(f64::NAN)), Cause::Inexpressible, "value");
        refused(&l(31, pair("a", Vec::new())), Cause::Inexpressible, "struct");
        check(&l(36, v(1, 5)), r#"{"wrapped":"5"}"#);
        check(&l(36, ""), r#"{"wrapped":"0"}"#);
        check(&l(37, ""), r#"{"nothing":{}}"#);
        check(&v(38, 1), r#"{"null":null}"#);
    }

    #[test]
    fn an_any_never_breaks_a_reply() {
        let any = |url: &str, content: Vec<u8>| l(29, [l(1, url), l(2, content)].concat());
        let options = WriteOptions { unknown_any: UnknownAny::Bytes, ..WriteOptions::default() };
        let check = |message: &[u8], expected: &str| {
            assert_eq!(json_of("t.All", message, &options).unwrap(), expected);
            // Otherwise what can't be told is refused.
            let is_told = !expected.contains("\"value\":") || expected.contains("90s");
            assert_eq!(all(message).is_ok(), is_told, "{expected}");
        };
        check(&l(29, ""), r#"{"any":{}}"#);
        check(&any("x/t.All", v(1, 1)), r#"{"any":{"@type":"x/t.All","i32":1}}"#);
        check(&any("x/t.All", Vec::new()), r#"{"any":{"@type":"x/t.All"}}"#);
        let second = v(1, 90);
        check(
            &any("x/google.protobuf.Duration", second),
            r#"{"any":{"@type":"x/google.protobuf.Duration","value":"90s"}}"#,
        );
        check(&any("x/no.Such", vec![1]), r#"{"any":{"@type":"x/no.Such","value":"AQ=="}}"#);
        check(&any("t.All", v(1, 1)), r#"{"any":{"@type":"t.All","value":"CAE="}}"#);
        check(&any("x/t.All", vec![8]), r#"{"any":{"@type":"x/t.All","value":"CA=="}}"#);
        check(&any("", vec![8]), r#"{"any":{"@type":"","value":"CA=="}}"#);
        let bad_time = [v(1, 1), l(33, v(2, u64::MAX))].concat();
        check(&any("x/t.All", bad_time), r#"{"any":{"@type":"x/t.All","value":"CAGKAgsQ////////////AQ=="}}"#);
        let inner = [l(1, "x/no.Such"), l(2, "")].concat();
        check(
            &any("x/google.protobuf.Any", inner),
            r#"{"any":{"@type":"x/google.protobuf.Any","value":{"@type":"x/no.Such","value":""}}}"#,
        );
        let deep =
            (0..150).fold(Vec::new(), |inner, _| [l(1, "x/google.protobuf.Any"), l(2, inner)].concat());
        assert!(json_of("t.All", &l(29, deep), &options).is_ok());
        let error = all(&any("x/t.All", l(17, l(33, v(2, u64::MAX))))).unwrap_err();
        assert_eq!((&*error.path, error.cause), ("any.inner.time", Cause::Inexpressible));
        let error = all(&any("x/no.Such", Vec::new())).unwrap_err().to_string();
        assert_eq!(error, "any: an Any holds \"x/no.Such\", a type that this API doesn't have");
        let plans = plans();
        let mut out = b"kept".to_vec();
        assert!(!write_any(
            &plans,
            &[l(1, "x/no.Such"), l(2, "a")].concat(),
            &WriteOptions::default(),
            &mut out
        ));
        assert!(!write_any(&plans, &[0x0f], &WriteOptions::default(), &mut out));
        assert_eq!(out, b"kept");
        assert!(write_any(&plans, &l(1, "x/t.All"), &WriteOptions::default(), &mut out));
        assert_eq!(out, br#"kept{"@type":"x/t.All"}"#);
    }

    #[test]
    fn a_string_that_is_replaced_is_utf8_too() {
        type Make<'a> = dyn Fn(&[u8]) -> Vec<u8> + 'a;
        let twice = |number, first: &[u8]| [l(number, first), l(number, "b")].concat();
        let odd = [v(1, 1), v(1, 2)].concat();
        let cases: [(&str, &Make<'_>); 10] = [
            ("st", &|first| twice(14, first)),
            ("st", &|first| [odd.clone(), twice(14, first)].concat()),
            // A message in between: what is ahead is looked at first.
            ("st", &|first| [l(17, ""), twice(14, first)].concat()),
            ("right", &|first| [l(17, ""), l(27, first), v(26, 1)].concat()),
            ("by_text", &|key| l(23, [twice(1, key), v(2, 1)].concat())),
            ("by_long", &|value| l(24, twice(2, value))),
            ("value", &|first| l(30, twice(3, first))),
            ("value", &|first| l(30, [l(3, first), v(4, 1)].concat())),
            ("struct", &|first| l(31, l(1, [twice(1, first), l(2, v(4, 1))].concat()))),
            ("any", &|first| l(29, [l(1, first), l(1, "x/t.All")].concat())),
        ];
        for (path, message) in cases {
            assert!(all(&message(b"a")).is_ok(), "{path}");
            let error = all(&message(b"\xff")).unwrap_err();
            assert_eq!((&*error.path, error.cause), (path, Cause::Malformed), "{error}");
            assert!(error.what.ends_with("is not UTF-8"), "{error}");
        }
        let plans = plans();
        let wrapped = plans.find("google.protobuf.StringValue").unwrap();
        let all = plans.find("t.All").unwrap();
        let (at, _) = plans.message(all).by_name(b"st").unwrap();
        let (options, mut out) = (WriteOptions::default(), Vec::new());
        for (first, is_good) in [(b"a", true), (b"\xff", false)] {
            let written = write(&plans, wrapped, &twice(1, first), &options, &mut out);
            assert_eq!(written.is_ok(), is_good);
            assert_eq!(write_field(&plans, all, at, &twice(14, first), &options, &mut out).is_ok(), is_good);
        }
        // A string of proto2 may be any bytes, as long as nobody writes it.
        let old = |first: &[u8]| {
            json_of("p2.Old", &[l(2, [1]), v(1, 1), v(1, 2), twice(5, first)].concat(), &options)
        };
        assert_eq!(old(b"\xff").unwrap(), r#"{"closed":"TWO","all":["ONE"],"text":"b"}"#);
    }

    #[test]
    fn options_change_the_text() {
        let with = |options: WriteOptions, message: &[u8]| json_of("t.All", message, &options);
        let plain = WriteOptions::default();
        let names = WriteOptions { preserve_names: true, ..plain };
        assert_eq!(with(names, &l(23, l(1, "a"))).unwrap(), r#"{"by_text":{"a":0}}"#);
        let numbers = WriteOptions { enums_as_numbers: true, ..plain };
        assert_eq!(
            with(numbers, &[v(16, 1), l(22, [0, 1])].concat()).unwrap(),
            r#"{"color":1,"colors":[0,1]}"#
        );
        let int64 = WriteOptions { int64: Int64::Number, ..plain };
        let safe = (1_u64 << 53) - 1;
        assert_eq!(with(int64, &v(2, safe)).unwrap(), r#"{"i64":9007199254740991}"#);
        assert_eq!(with(int64, &v(2, negative(-(1 << 53) + 1))).unwrap(), r#"{"i64":-9007199254740991}"#);
        assert_eq!(with(int64, &l(24, v(1, u64::MAX))).unwrap(), r#"{"byLong":{"-1":""}}"#);
        for message in [v(2, 1 << 53), v(4, u64::MAX), v(2, negative(i64::MIN)), fixed(8, &[255; 8])] {
            let error = with(int64, &l(17, message)).unwrap_err();
            assert!(error.path.starts_with("inner.") && error.cause == Cause::Inexpressible, "{error}");
        }
    }

    #[test]
    fn defaults_are_written_where_wanted() {
        let options = WriteOptions { emit_defaults: true, ..WriteOptions::default() };
        let read = |message: &[u8]| -> serde_json::Value {
            serde_json::from_str(&json_of("t.All", message, &options).unwrap()).unwrap()
        };
        let expected = serde_json::json!({
            "i32": 0, "i64": "0", "u32": 0, "u64": "0", "s32": 0, "s64": "0", "f32": 0, "f64": "0", "sf32": 0,
            "sf64": "0", "fl": 0, "db": 0, "bo": false, "st": "", "by": "", "color": "NONE", "ints": [],
            "texts": [], "many": [], "colors": [], "byText": {}, "byLong": {}, "byBool": {}, "null": null,
        });
        assert_eq!(read(b""), expected);
        let mut changed = expected.clone();
        changed["i32"] = 5.into();
        assert_eq!(read(&[v(1, 5), l(19, []), v(2, 0)].concat()), changed);
        // The same where all is gathered.
        assert_eq!(read(&[v(1, 4), l(19, []), v(2, 0), v(1, 5)].concat()), changed);
        changed["inner"] = expected;
        assert_eq!(read(&[v(1, 5), l(17, "")].concat()), changed);
        assert_eq!(json_of("p2.Old", b"", &options).unwrap(), r#"{"all":[],"named":{}}"#);
    }

    #[test]
    fn one_field_is_written_bare() {
        let plans = plans();
        let one = |root: &str, field: &str, message: &[u8]| {
            let id = plans.find(root).unwrap();
            let (at, _) = plans.message(id).by_name(field.as_bytes()).unwrap();
            let mut out = b">".to_vec();
            write_field(&plans, id, at, message, &WriteOptions::default(), &mut out)
                .map(|()| String::from_utf8(out).unwrap())
        };
        for (field, message, expected) in [
            ("i32", v(1, 5), ">5"),
            ("i32", v(2, 5), ">0"),
            ("i32", [v(1, 5), v(2, 1), v(1, 0)].concat(), ">0"),
            ("maybe", v(18, 0), ">0"),
            ("color", Vec::new(), ">\"NONE\""),
            ("st", l(14, "x"), ">\"x\""),
            ("ints", Vec::new(), ">[]"),
            ("ints", [v(19, 1), v(1, 2), l(19, [2, 3])].concat(), ">[1,2,3]"),
            ("byText", Vec::new(), ">{}"),
            ("byText", l(23, l(1, "a")), ">{\"a\":0}"),
            ("inner", Vec::new(), ">null"),
            ("inner", [l(17, v(1, 1)), l(17, v(3, 2))].concat(), ">{\"i32\":1,\"u32\":2}"),
            ("many", l(21, ""), ">[{}]"),
            ("left", [v(26, 5), l(27, "x")].concat(), ">0"),
            ("right", [v(26, 5), l(27, "x")].concat(), ">\"x\""),
            ("time", l(33, ""), ">\"1970-01-01T00:00:00Z\""),
        ] {
            assert_eq!(one("t.All", field, &message).unwrap(), expected, "{field}");
        }
        assert_eq!(one("p2.Old", "closed", &v(1, 9)).unwrap(), ">\"ONE\"");
        for (field, message, expected) in [
            ("i32", Vec::new(), ">-5"),
            ("i32", v(1, 0), ">0"),
            ("s64", v(1, 0), ">\"-9223372036854775808\""),
            ("f32", Vec::new(), ">4294967295"),
            ("u64", Vec::new(), ">\"18446744073709551615\""),
            ("sf64", Vec::new(), ">\"-2\""),
            ("fl", Vec::new(), ">1.5"),
            ("db", Vec::new(), ">\"-Infinity\""),
            ("bo", Vec::new(), ">true"),
            ("bo", v(8, 0), ">false"),
            ("st", Vec::new(), r#">"a\"b""#),
            ("st", l(9, ""), ">\"\""),
            ("by", Vec::new(), ">\"Af8=\""),
            ("closed", v(11, 9), ">\"TWO\""),
            ("plain", Vec::new(), ">\"\""),
            ("first", Vec::new(), ">\"ONE\""),
            ("left", v(15, 1), ">7"),
            ("right", v(15, 1), ">1"),
            ("[p2.far]", Vec::new(), ">8"),
        ] {
            assert_eq!(one("p2.Declared", field, &message).unwrap(), expected, "{field}");
        }
        // Within a message what is absent stays absent, whatever it declares.
        let emit = WriteOptions { emit_defaults: true, ..WriteOptions::default() };
        assert_eq!(json_of("p2.Declared", b"", &emit).unwrap(), "{}");
        assert_eq!(one("t.All", "st", &l(14, [0xff])).unwrap_err().path, "st");
        assert_eq!(one("t.All", "st", &[0x08]).unwrap_err().cause, Cause::Malformed);
        let all = plans.find("t.All").unwrap();
        assert!(write_field(&plans, all, 1000, b"", &WriteOptions::default(), &mut Vec::new()).is_err());
        let (inner, _) = plans.message(all).by_name(b"inner").unwrap();
        let split = [l(17, v(1, 1)), v(1, 9), l(17, v(3, 2))].concat();
        assert_eq!(field_bytes(&plans, all, inner, &split).unwrap(), [v(1, 1), v(3, 2)].concat());
    }
}

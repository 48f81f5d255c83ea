//! Compares the JSON writer with another implementation, prost-reflect's, on messages made at random.

#![expect(clippy::unwrap_used, reason = "a fixture that can't be built fails its test")]

use proptest::prelude::any;
use proptest::prelude::prop_assert;
use proptest::prelude::proptest;
use proptest::test_runner::Config;
use proptest::test_runner::TestCaseError;
use prost::encoding::WireType;
use prost::encoding::encode_key;
use prost::encoding::encode_varint;
use prost_reflect::DescriptorPool;
use prost_reflect::DynamicMessage;
use prost_reflect::FieldDescriptor;
use prost_reflect::Kind;
use prost_reflect::MessageDescriptor;
use prost_reflect::SerializeOptions;
use serde_json::Value;
use transom::schema::Traits;
use transom::transcode::Int64;
use transom::transcode::Plans;
use transom::transcode::WriteOptions;
use transom::transcode::write;

proptest! {
    #![proptest_config(Config { cases: 1500, ..Config::default() })]

    #[test]
    fn writes_what_another_writes(entropy in proptest::collection::vec(any::<u8>(), 0..900), options in 0..8_u8) {
        let world = World::new();
        let message = Maker { entropy: &entropy }.message(&world.root, 0);
        compare(&world, &message, options)?;
    }

    #[test]
    fn the_order_of_fields_does_not_matter(entropy in proptest::collection::vec(any::<u8>(), 0..600)) {
        let world = World::new();
        let mut maker = Maker { entropy: &entropy };
        // Each field once, or its values together: any order of them is one message.
        let fields: Vec<FieldDescriptor> = world.root.fields().collect();
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut oneofs = Vec::new();
        for field in fields {
            let oneof = field.containing_oneof().map(|oneof| oneof.full_name().to_owned());
            if maker.below(3) != 0 || oneof.as_ref().is_some_and(|oneof| oneofs.contains(oneof)) {
                continue;
            }
            oneofs.extend(oneof);
            parts.push(maker.once(&field, 0));
        }
        let straight = world.ours(&parts.concat(), &WriteOptions::default());
        maker.shuffle(&mut parts);
        let shuffled = world.ours(&parts.concat(), &WriteOptions::default());
        prop_assert!(straight.is_ok(), "{straight:?}");
        prop_assert!(same(&straight.unwrap(), &shuffled.unwrap()));
    }

    #[test]
    fn no_bytes_are_a_danger(
        entropy in proptest::collection::vec(any::<u8>(), 0..300),
        harm in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..5),
        cut in any::<u16>(),
    ) {
        let world = World::new();
        let mut message = Maker { entropy: &entropy }.message(&world.root, 0);
        for (at, byte) in harm {
            if !message.is_empty() {
                let at = usize::from(at) % message.len();
                message[at] = byte;
            }
        }
        message.truncate(message.len().min(usize::from(cut)));
        // `ours` reads the JSON back: what is written is always JSON.
        let _ = world.ours(&message, &WriteOptions::default());
        let _ = world.ours(&entropy, &WriteOptions { emit_defaults: true, ..WriteOptions::default() });
    }
}

/// Bit 0 of `options` is for proto names, bit 1 for enums as numbers, bit 2 for integers as numbers.
fn compare(world: &World, message: &[u8], options: u8) -> Result<(), TestCaseError> {
    let has = |bit: u8| options >> bit & 1 == 1;
    let ours = WriteOptions {
        preserve_names: has(0),
        enums_as_numbers: has(1),
        int64: if has(2) { Int64::Number } else { Int64::String },
        ..WriteOptions::default()
    };
    let theirs = SerializeOptions::new()
        .use_proto_field_name(has(0))
        .use_enum_numbers(has(1))
        .stringify_64_bit_integers(!has(2));
    let expected = world.theirs(message, &theirs);
    match (world.ours(message, &ours), expected) {
        (Ok(ours), Ok(theirs)) => {
            prop_assert!(same(&ours, &theirs), "ours:   {ours}\ntheirs: {theirs}\nof {message:02x?}");
        }
        // They write integers that most readers of JSON then round.
        (Err(ours), Ok(theirs)) => {
            prop_assert!(
                has(2) && ours.contains("2^53"),
                "ours: {ours}\ntheirs: {theirs}\nof {message:02x?}"
            );
        }
        // Only messages are made that have a text.
        (ours, Err(theirs)) => prop_assert!(false, "ours: {ours:?}\ntheirs: {theirs}\nof {message:02x?}"),
    }
    Ok(())
}

/// A schema with all there is, and both implementations for it.
struct World {
    root: MessageDescriptor,
    plans: Plans,
}

impl World {
    fn new() -> Self {
        static POOL: std::sync::OnceLock<DescriptorPool> = std::sync::OnceLock::new();
        let pool = POOL.get_or_init(|| {
            let file = protox::file::File::from_source("rich.proto", PROTO).unwrap();
            let mut pool = DescriptorPool::global();
            pool.add_file_descriptor_proto(file.file_descriptor_proto().clone()).unwrap();
            pool
        });
        let root = pool.get_message_by_name("rich.Rich").unwrap();
        Self { root, plans: Plans::new(pool.clone(), Traits::default()) }
    }

    fn ours(&self, message: &[u8], options: &WriteOptions) -> Result<Value, String> {
        let mut json = Vec::new();
        let root = self.plans.find("rich.Rich").unwrap();
        write(&self.plans, root, message, options, &mut json).map_err(|error| error.to_string())?;
        let text = String::from_utf8(json).expect("JSON is UTF-8");
        Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    fn theirs(&self, message: &[u8], options: &SerializeOptions) -> Result<Value, String> {
        let message =
            DynamicMessage::decode(self.root.clone(), message).map_err(|error| error.to_string())?;
        let mut json = Vec::new();
        let mut serializer = serde_json::Serializer::new(&mut json);
        message.serialize_with_options(&mut serializer, options).map_err(|error| error.to_string())?;
        serde_json::from_slice(&json).map_err(|error| error.to_string())
    }
}

/// Makes messages of random bytes; once these are used up, everything is zero.
struct Maker<'e> {
    entropy: &'e [u8],
}

impl Maker<'_> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.entropy.split_first() else { return 0 };
        self.entropy = rest;
        *byte
    }

    fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    /// Any number, the small and the extreme ones more often.
    fn number(&mut self) -> u64 {
        match self.byte() % 6 {
            0 => 0,
            1 => self.byte().into(),
            2 => u64::MAX - u64::from(self.byte()),
            3 => 1 << (self.byte() % 64),
            4 => (1 << 53) - 1 + u64::from(self.byte() % 3),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn text(&mut self) -> String {
        let some =
            ["", "a", "\"", "\\", "\n", "\u{0}", "é", "\u{2028}", "\u{1f600}", "some longer text / of words"];
        (0..self.below(4)).map(|_| some[self.below(some.len())]).collect()
    }

    fn shuffle(&mut self, parts: &mut [Vec<u8>]) {
        for at in (1..parts.len()).rev() {
            parts.swap(at, self.below(at + 1));
        }
    }

    /// Fields in any order and number.
    fn message(&mut self, of: &MessageDescriptor, depth: usize) -> Vec<u8> {
        self.parts(of, depth).concat()
    }

    fn parts(&mut self, of: &MessageDescriptor, depth: usize) -> Vec<Vec<u8>> {
        if let Some(parts) = self.well_known(of, depth) {
            return parts;
        }
        let fields: Vec<FieldDescriptor> = of.fields().collect();
        let mut parts = Vec::new();
        let count = match depth {
            _ if fields.is_empty() => 0,
            0 => 4 + self.below(20),
            _ => self.below(5),
        };
        for _ in 0..count {
            let field = &fields[self.below(fields.len())];
            parts.extend(self.some(field, depth));
            if self.byte() % 16 == 1 {
                parts.push(self.unknown());
            }
        }
        parts
    }

    /// What is written as text must have a text, so that the two can be compared.
    fn well_known(&mut self, of: &MessageDescriptor, depth: usize) -> Option<Vec<Vec<u8>>> {
        let varint = |number: u32, value: i64| {
            let mut out = Vec::new();
            encode_key(number, WireType::Varint, &mut out);
            encode_varint(value.cast_unsigned(), &mut out);
            out
        };
        let nanos = [0, 1, 1_000, 120_000_000, 999_999_999][self.below(5)];
        let seconds = i64::try_from(self.number() % 200_000_000_000).unwrap();
        Some(match of.full_name() {
            "google.protobuf.Timestamp" => vec![varint(1, seconds - 60_000_000_000), varint(2, nanos)],
            "google.protobuf.Duration" if self.byte().is_multiple_of(2) => {
                vec![varint(1, -seconds), varint(2, -nanos)]
            }
            "google.protobuf.Duration" => vec![varint(2, nanos), varint(1, seconds)],
            "google.protobuf.FieldMask" => {
                let some = ["a", "foo_bar", "a.b_c.d", "x1"];
                (0..self.below(4))
                    .map(|_| len_delimited(1, some[self.below(some.len())].as_bytes()))
                    .collect()
            }
            "google.protobuf.Value" => {
                let count = if depth > 6 { 4 } else { 6 };
                let field = of.get_field(u32::try_from(1 + self.below(count)).unwrap()).unwrap();
                let mut part = self.some(&field, depth + 1).concat();
                if field.number() == 2 {
                    part = [&[0x11][..], &f64::from(self.byte()).to_le_bytes()].concat();
                }
                vec![part]
            }
            "google.protobuf.Any" => {
                let held =
                    ["rich.Rich", "google.protobuf.Duration", "google.protobuf.StringValue", "rich.Small"];
                let held = held[self.below(held.len())];
                let held = of.parent_pool().get_message_by_name(held).unwrap();
                let content = if depth > 3 { Vec::new() } else { self.message(&held, depth + 1) };
                let url = format!("type.googleapis.com/{}", held.full_name());
                vec![len_delimited(1, url.as_bytes()), len_delimited(2, &content)]
            }
            _ => return None,
        })
    }

    fn unknown(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.byte() % 4 {
            0 => out.extend(len_delimited(3000, b"unknown")),
            1 => {
                encode_key(3001, WireType::Varint, &mut out);
                encode_varint(self.number(), &mut out);
            }
            2 => {
                encode_key(3002, WireType::StartGroup, &mut out);
                out.extend(len_delimited(1, b"x"));
                encode_key(3002, WireType::EndGroup, &mut out);
            }
            _ => {
                encode_key(3003, WireType::ThirtyTwoBit, &mut out);
                out.extend([1, 2, 3, 4]);
            }
        }
        out
    }

    /// Occurrences of one field: at times two of a singular one, or one message in two.
    fn some(&mut self, field: &FieldDescriptor, depth: usize) -> Vec<Vec<u8>> {
        let kind = field.kind();
        if let Kind::Message(inner) = &kind
            && !field.is_list()
            && !field.is_map()
            && self.byte().is_multiple_of(3)
        {
            // In two, as they may come; a whole message if it is one with a text of its own.
            let parts = if is_deep(inner, depth) { Vec::new() } else { self.parts(inner, depth + 1) };
            let (a, b) = parts.split_at(self.below(parts.len() + 1));
            return vec![
                len_delimited(field.number(), &a.concat()),
                len_delimited(field.number(), &b.concat()),
            ];
        }
        (0..1 + self.below(2)).map(|_| self.once(field, depth)).collect()
    }

    /// A value of a singular field, values of a repeated one, or entries of a map.
    fn once(&mut self, field: &FieldDescriptor, depth: usize) -> Vec<u8> {
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else { panic!("a map has entries") };
            let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            return (0..self.below(4))
                .flat_map(|_| {
                    let mut halves = vec![self.value(&key, depth), self.value(&value, depth + 1)];
                    // A half that isn't there is its default. A Value has none.
                    let needed =
                        matches!(value.kind(), Kind::Message(m) if m.full_name() == "google.protobuf.Value");
                    if !needed && self.byte() % 8 == 1 {
                        halves.remove(self.below(2));
                    }
                    self.shuffle(&mut halves);
                    len_delimited(field.number(), &halves.concat())
                })
                .collect();
        }
        if !field.is_list() {
            return self.value(field, depth);
        }
        let values: Vec<Vec<u8>> = (0..self.below(5)).map(|_| self.bare(field, depth)).collect();
        let packable = !matches!(field.kind(), Kind::String | Kind::Bytes | Kind::Message(_));
        if packable && self.byte().is_multiple_of(2) {
            return len_delimited(field.number(), &values.concat());
        }
        values.iter().flat_map(|value| tagged(field, value)).collect()
    }

    fn value(&mut self, field: &FieldDescriptor, depth: usize) -> Vec<u8> {
        let value = self.bare(field, depth);
        tagged(field, &value)
    }

    /// A value without tag and length.
    fn bare(&mut self, field: &FieldDescriptor, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        match field.kind() {
            Kind::String => out.extend(self.text().bytes()),
            Kind::Bytes => out.extend((0..self.below(9)).map(|_| self.byte())),
            Kind::Message(inner) if is_deep(&inner, depth) => {}
            Kind::Message(inner) => out = self.message(&inner, depth + 1),
            // prost-reflect writes null for NaN in a wrapper.
            Kind::Double if self.byte().is_multiple_of(2) || is_wrapper(field.parent_message()) => {
                out.extend(f64::from(self.byte()).to_le_bytes())
            }
            // It also takes the negative zero for the default.
            Kind::Double => out.extend((f64::from_bits(self.number()) + 0.0).to_le_bytes()),
            Kind::Float if self.byte().is_multiple_of(2) || is_wrapper(field.parent_message()) => {
                out.extend((f32::from(self.byte()) / 10.0).to_le_bytes())
            }
            Kind::Float => {
                let [_, _, a, b, c, d, ..] = self.number().to_le_bytes();
                out.extend((f32::from_le_bytes([a, b, c, d]) + 0.0).to_le_bytes());
            }
            Kind::Fixed64 | Kind::Sfixed64 => out.extend(self.number().to_le_bytes()),
            Kind::Fixed32 | Kind::Sfixed32 => out.extend(&self.number().to_le_bytes()[2..6]),
            Kind::Enum(of) if of.full_name() == "google.protobuf.NullValue" => out.push(0),
            Kind::Enum(_) => encode_varint(self.number() % 5, &mut out),
            _ => encode_varint(self.number(), &mut out),
        }
        out
    }
}

fn is_wrapper(message: &MessageDescriptor) -> bool {
    matches!(message.full_name(), "google.protobuf.FloatValue" | "google.protobuf.DoubleValue")
}

/// Whether an empty message must do. A Value or Any is never empty (an Any may be; prost-reflect refuses
/// it), and ends by itself.
fn is_deep(message: &MessageDescriptor, depth: usize) -> bool {
    depth > 4 && !matches!(message.full_name(), "google.protobuf.Value" | "google.protobuf.Any")
}

fn len_delimited(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut out);
    encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

fn tagged(field: &FieldDescriptor, value: &[u8]) -> Vec<u8> {
    let wire_type = match field.kind() {
        Kind::String | Kind::Bytes | Kind::Message(_) => return len_delimited(field.number(), value),
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => WireType::SixtyFourBit,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => WireType::ThirtyTwoBit,
        _ => WireType::Varint,
    };
    let mut out = Vec::new();
    encode_key(field.number(), wire_type, &mut out);
    out.extend_from_slice(value);
    out
}

/// Equal as JSON, numbers by value: one writes `1`, the other `1.0`.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

const PROTO: &str = r#"
    syntax = "proto3";
    package rich;
    import "google/protobuf/any.proto";
    import "google/protobuf/duration.proto";
    import "google/protobuf/empty.proto";
    import "google/protobuf/field_mask.proto";
    import "google/protobuf/struct.proto";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";
    enum Color { NONE = 0; RED = 1; BLUE = 2; }
    message Small { int32 number = 1; string some_text = 2; Small deeper = 3; repeated Small more = 4; }
    message Rich {
      double d = 1; float f = 2; int32 i32 = 3; int64 i64 = 4; uint32 u32 = 5; uint64 u64 = 6; sint32 s32 = 7;
      sint64 s64 = 8; fixed32 f32 = 9; fixed64 f64 = 10; sfixed32 sf32 = 11; sfixed64 sf64 = 12; bool b = 13;
      string some_text = 14; bytes some_bytes = 15; Color color = 16; Small small = 17; Rich rich = 18;
      repeated double r_d = 21; repeated float r_f = 22; repeated int32 r_i32 = 23; repeated int64 r_i64 = 24;
      repeated uint32 r_u32 = 25; repeated uint64 r_u64 = 26; repeated sint32 r_s32 = 27; repeated sint64 r_s64 = 28;
      repeated fixed32 r_f32 = 29; repeated fixed64 r_f64 = 30; repeated sfixed32 r_sf32 = 31;
      repeated sfixed64 r_sf64 = 32; repeated bool r_b = 33; repeated string r_text = 34; repeated bytes r_bytes = 35;
      repeated Color r_color = 36; repeated Small r_small = 37; repeated Rich r_rich = 38;
      repeated int32 unpacked = 39 [packed = false];
      optional int32 o_i32 = 41; optional string o_text = 42; optional Color o_color = 43; optional double o_d = 44;
      oneof first { int32 one_i32 = 51; string one_text = 52; Small one_small = 53; Color one_color = 54; }
      oneof second { Rich two_rich = 61; google.protobuf.Duration two_duration = 62; bytes two_bytes = 63; }
      map<string, string> m_text = 71; map<int32, double> m_i32 = 72; map<int64, Small> m_i64 = 73;
      map<uint32, bool> m_u32 = 74; map<uint64, bytes> m_u64 = 75; map<sint32, Color> m_s32 = 76;
      map<sint64, float> m_s64 = 77; map<fixed32, int64> m_f32 = 78; map<fixed64, uint64> m_f64 = 79;
      map<sfixed32, string> m_sf32 = 80; map<sfixed64, Rich> m_sf64 = 81; map<bool, int32> m_bool = 82;
      map<string, google.protobuf.Timestamp> m_time = 83;
      google.protobuf.Any any = 201; google.protobuf.Timestamp time = 202; google.protobuf.Duration lasts = 203;
      google.protobuf.FieldMask mask = 204; google.protobuf.Struct struct = 205; google.protobuf.Value value = 206;
      google.protobuf.ListValue list = 207; google.protobuf.Empty empty = 208; google.protobuf.NullValue null = 209;
      google.protobuf.BoolValue w_bool = 211; google.protobuf.Int32Value w_i32 = 212;
      google.protobuf.Int64Value w_i64 = 213; google.protobuf.UInt32Value w_u32 = 214;
      google.protobuf.UInt64Value w_u64 = 215; google.protobuf.FloatValue w_f = 216;
      google.protobuf.DoubleValue w_d = 217; google.protobuf.StringValue w_text = 218;
      google.protobuf.BytesValue w_bytes = 219; repeated google.protobuf.Int64Value r_w_i64 = 220;
      repeated google.protobuf.Timestamp r_time = 221; Small far = 2000;
    }
"#;

//! Compares the JSON reader with prost-reflect's, on random messages and on broken text.

#![expect(clippy::unwrap_used, reason = "a test may panic where its own fixture is wrong")]

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::DescriptorPool;
use prost_reflect::DeserializeOptions;
use prost_reflect::DynamicMessage;
use prost_reflect::FieldDescriptor;
use prost_reflect::Kind;
use prost_reflect::MapKey;
use prost_reflect::MessageDescriptor;
use prost_reflect::ReflectMessage as _;
use prost_reflect::SerializeOptions;
use prost_reflect::Value;
use serde_json::Value as Json;
use std::fmt::Write as _;
use std::sync::LazyLock;
use transom::schema::Limits;
use transom::schema::compile;
use transom::transcode::Bound;
use transom::transcode::MessageId;
use transom::transcode::Plans;
use transom::transcode::ReadError;
use transom::transcode::ReadOptions;
use transom::transcode::read;

const PROTO: &str = r#"
    syntax = "proto3"; package d;
    import "google/protobuf/any.proto"; import "google/protobuf/duration.proto"; import "google/protobuf/empty.proto";
    import "google/protobuf/field_mask.proto"; import "google/protobuf/struct.proto";
    import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
    enum Color { NONE = 0; RED = 1; DEEP_BLUE = 7; BELOW = -1; }
    message Item { int32 item_id = 1; string the_name = 2; repeated Item parts = 3; }
    message All {
      int32 i32_x = 1; int64 i64_x = 2; uint32 u32 = 3; uint64 u64 = 4; sint32 s32 = 5; sint64 s64 = 6;
      fixed32 f32 = 7; fixed64 f64 = 8; sfixed32 sf32 = 9; sfixed64 sf64 = 10; float flt = 11; double dbl_x = 12;
      bool yes = 13; string text_x = 14; bytes raw = 15; Color color = 16; Item item = 17; All all = 18;
      repeated int32 numbers = 20; repeated string words = 21; repeated Item items = 22; repeated Color colors = 23;
      repeated double dbls = 24; repeated fixed64 loose = 25 [packed = false]; repeated bytes raws = 26; repeated bool yeses = 27;
      map<string, int32> by_name = 30; map<int32, string> by_i32 = 31; map<bool, Color> by_bool = 32;
      map<uint64, Item> by_u64 = 33; map<sint64, double> by_s64 = 34; map<string, google.protobuf.Value> by_value = 35;
      oneof choice { int32 one = 40; string two = 41; Item three = 42; google.protobuf.Duration four = 43; }
      optional int32 maybe = 44; optional bytes maybe_raw = 45; optional Color maybe_color = 46;
      google.protobuf.Timestamp at = 50; google.protobuf.Duration span = 51; google.protobuf.FieldMask mask = 52;
      google.protobuf.Struct doc = 53; google.protobuf.Value value = 54; google.protobuf.ListValue list = 55;
      google.protobuf.Any any = 56; google.protobuf.Empty empty = 57; repeated google.protobuf.Timestamp ats = 58;
      google.protobuf.StringValue w_text = 60; google.protobuf.Int64Value w_i64 = 61; google.protobuf.BytesValue w_raw = 62;
      google.protobuf.BoolValue w_yes = 63; google.protobuf.FloatValue w_flt = 64; google.protobuf.UInt32Value w_u32 = 65;
      string far = 536870911;
    }
"#;

struct Fixture {
    pool: DescriptorPool,
    all: MessageDescriptor,
    plans: Plans,
    root: MessageId,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let files = vec![("d.proto".to_owned(), PROTO.as_bytes().to_vec())];
    let schema = compile::protos(files, &[], &Limits::default()).unwrap();
    let plans = Plans::new(schema.pool().clone(), schema.traits().clone());
    let root = plans.find("d.All").unwrap();
    let pool = schema.pool().clone();
    Fixture { all: pool.get_message_by_name("d.All").unwrap(), pool, plans, root }
});

impl Fixture {
    fn ours(&self, json: &[u8]) -> Result<DynamicMessage, ReadError> {
        let mut out = Vec::new();
        read(&self.plans, self.root, json, &Bound::empty(), &ReadOptions::default(), &mut out)?;
        let message =
            DynamicMessage::decode(self.all.clone(), out.as_slice()).expect("the bytes are a message");
        assert_eq!(message.unknown_fields().count(), 0);
        Ok(message)
    }

    fn theirs(&self, json: &[u8]) -> Result<DynamicMessage, serde_json::Error> {
        let mut text = serde_json::Deserializer::from_slice(json);
        let options = DeserializeOptions::new().deny_unknown_fields(true);
        let message = DynamicMessage::deserialize_with_options(self.all.clone(), &mut text, &options)?;
        text.end()?;
        Ok(message)
    }
}

/// Choices from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// An integer that is small, anything, or at the edge.
    fn bits(&mut self) -> u64 {
        match self.below(4) {
            0 => self.next() % 200,
            1 => self.next(),
            2 => self.pick(&[0, 1, u64::MAX, 1 << 63, i64::MAX as u64, i32::MAX as u64, 1 << 31, 1 << 53]),
            _ => self.next() >> self.below(64),
        }
    }

    fn text(&mut self) -> String {
        let long = if self.one_in(20) { 300 } else { 12 };
        let letters = [
            'a', 'Z', '"', '\\', '/', '\n', '\t', '\0', '\u{7f}', 'ä', '谷', '😀', ' ', '\u{2028}', 'u', '0',
        ];
        (0..self.below(long)).map(|_| self.pick(&letters)).collect()
    }

    fn double(&mut self) -> f64 {
        let float = match self.below(3) {
            0 => f64::from_bits(self.next()),
            1 => self.pick(&[
                0.0,
                1.5,
                -2.0,
                f64::MAX,
                f64::MIN_POSITIVE,
                f64::INFINITY,
                f64::NEG_INFINITY,
                5e-324,
                1e22,
            ]),
            _ => f64::from(u32::try_from(self.next() >> 40).unwrap()) / 100.0,
        };
        // NaN is unequal to itself, and the sign of a zero is lost on the way.
        if float.is_nan() || float == 0.0 { 0.0 } else { float }
    }
}

fn message(descriptor: &MessageDescriptor, dice: &mut Dice, depth_left: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    let mut set = |name: &str, value: Value| message.set_field_by_name(name, value);
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => {
            set(
                "seconds",
                Value::I64(i64::try_from(dice.next() % 315_537_897_600).unwrap() - 62_135_596_800),
            );
            set("nanos", Value::I32(i32::try_from(dice.next() % 1_000_000_000).unwrap()));
        }
        "google.protobuf.Duration" => {
            let sign = if dice.one_in(2) { -1 } else { 1 };
            set(
                "seconds",
                Value::I64(i64::from(sign) * i64::try_from(dice.next() % 315_576_000_000).unwrap()),
            );
            set("nanos", Value::I32(sign * i32::try_from(dice.next() % 1_000_000_000).unwrap()));
        }
        "google.protobuf.FieldMask" => {
            let paths = ["a", "the_name.item_id", "x_y_z", "w1"];
            set(
                "paths",
                Value::List((0..dice.below(4)).map(|_| Value::String(dice.pick(&paths).into())).collect()),
            );
        }
        "google.protobuf.Any" => {
            let name = dice.pick(&[
                "d.Item",
                "d.Item",
                "google.protobuf.Duration",
                "google.protobuf.Struct",
                "d.All",
            ]);
            let content = FIXTURE.pool.get_message_by_name(name).unwrap();
            let content = self::message(&content, dice, depth_left.saturating_sub(1));
            set("type_url", Value::String(format!("type.googleapis.com/{name}")));
            set("value", Value::Bytes(content.encode_to_vec().into()));
        }
        "google.protobuf.Value" => {
            let last = if depth_left == 0 { 4 } else { 6 };
            let number = Value::F64(Some(dice.double()).filter(|float| float.is_finite()).unwrap_or(1.0));
            match dice.below(last) {
                0 => set("null_value", Value::EnumNumber(0)),
                1 => set("number_value", number),
                2 => set("string_value", Value::String(dice.text())),
                3 => set("bool_value", Value::Bool(dice.one_in(2))),
                kind => {
                    let name = ["struct_value", "list_value"][kind - 4];
                    let Kind::Message(inner) = descriptor.get_field_by_name(name).unwrap().kind() else {
                        panic!()
                    };
                    set(name, Value::Message(self::message(&inner, dice, depth_left - 1)));
                }
            }
        }
        _ => fill(&mut message, dice, depth_left),
    }
    message
}

/// Sets some fields of a message without a JSON form of its own.
fn fill(message: &mut DynamicMessage, dice: &mut Dice, depth_left: usize) {
    for field in message.descriptor().fields() {
        let nests = matches!(field.kind(), Kind::Message(_)) && depth_left == 0;
        let taken = field
            .containing_oneof()
            .is_some_and(|oneof| oneof.fields().any(|field| message.has_field(&field)));
        let rare = message.descriptor().fields().len() > 10 && !dice.one_in(6);
        if nests || taken || rare {
            continue;
        }
        let value = if field.is_map() {
            let Kind::Message(entry) = field.kind() else { panic!("the entry of a map is a message") };
            let many = if dice.one_in(10) { 20 } else { 4 };
            let entries = 0..dice.below(many);
            Value::Map(
                entries
                    .map(|_| (key(&entry, dice), one(&entry.map_entry_value_field(), dice, depth_left)))
                    .collect(),
            )
        } else if field.is_list() {
            Value::List((0..dice.below(4)).map(|_| one(&field, dice, depth_left)).collect())
        } else {
            one(&field, dice, depth_left)
        };
        message.set_field(&field, value);
    }
}

fn one(field: &FieldDescriptor, dice: &mut Dice, depth_left: usize) -> Value {
    let bits = dice.bits();
    let (low, signed) = (u32::try_from(bits & 0xffff_ffff).unwrap(), bits.cast_signed());
    match field.kind() {
        Kind::Double => Value::F64(dice.double()),
        Kind::Float => {
            let float = f32::from_bits(u32::try_from(dice.next() >> 32).unwrap());
            Value::F32(if float.is_nan() || float == 0.0 { 1.5 } else { float })
        }
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(low.cast_signed()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(signed),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(low),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(bits),
        Kind::Bool => Value::Bool(bits.is_multiple_of(2)),
        Kind::String => Value::String(dice.text()),
        Kind::Bytes => Value::Bytes(dice.text().into_bytes().into()),
        Kind::Enum(_) => Value::EnumNumber(dice.pick(&[0, 1, 7, -1, 99])),
        Kind::Message(inner) => Value::Message(message(&inner, dice, depth_left.saturating_sub(1))),
    }
}

fn key(entry: &MessageDescriptor, dice: &mut Dice) -> MapKey {
    match one(&entry.map_entry_key_field(), dice, 0) {
        Value::Bool(key) => MapKey::Bool(key),
        Value::I32(key) => MapKey::I32(key),
        Value::I64(key) => MapKey::I64(key),
        Value::U32(key) => MapKey::U32(key),
        Value::U64(key) => MapKey::U64(key),
        Value::String(key) => MapKey::String(key),
        other => panic!("{other:?} is no key"),
    }
}

/// Writes JSON in another way that means the same: order, white space, names, quotes and escapes differ.
struct Rewriter<'d> {
    dice: &'d mut Dice,
    out: String,
}

/// What is known of the JSON that is written.
#[derive(Clone)]
enum Known {
    /// It belongs to a field, which may be a list or a map.
    Field(FieldDescriptor),
    /// It is one value of such a kind.
    Kind(Kind),
    Nothing,
}

impl Rewriter<'_> {
    fn space(&mut self) {
        let spaces = ["", "", "", " ", "\n", "\t \r\n"];
        self.out.push_str(self.dice.pick(&spaces));
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            if self.dice.one_in(8) {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(self.out, "\\u{unit:04x}").unwrap();
                }
            } else {
                let quoted = Json::from(character.to_string()).to_string();
                self.out.push_str(&quoted[1..quoted.len() - 1]);
            }
        }
        self.out.push('"');
    }

    fn value(&mut self, json: &Json, known: Known) {
        self.space();
        match (json, known) {
            (Json::Array(elements), known) => {
                let known = match known {
                    Known::Field(field) => Known::Kind(field.kind()),
                    _ => Known::Nothing,
                };
                self.out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    self.out.push_str(if at == 0 { "" } else { "," });
                    self.value(element, known.clone());
                }
                self.out.push(']');
            }
            (Json::Object(members), known) => self.object(members, &known),
            (Json::Number(number), Known::Kind(kind)) if is_numeric(&kind) && self.dice.one_in(3) => {
                write!(self.out, "\"{number}\"").unwrap();
            }
            (Json::String(text), Known::Kind(Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64))
                if self.dice.one_in(3) =>
            {
                self.out.push_str(text);
            }
            (Json::String(text), _) => self.string(text),
            (json, Known::Field(field)) => return self.value(json, Known::Kind(field.kind())),
            (json, _) => self.out.push_str(&json.to_string()),
        }
        self.space();
    }

    fn object(&mut self, members: &serde_json::Map<String, Json>, known: &Known) {
        let mut members: Vec<(&String, &Json)> = members.iter().collect();
        for at in (1..members.len()).rev() {
            members.swap(at, self.dice.below(at + 1));
        }
        self.out.push('{');
        for (at, (name, value)) in members.into_iter().enumerate() {
            self.out.push_str(if at == 0 { "" } else { "," });
            self.space();
            let (name, below) = self.member(name, known);
            self.string(&name);
            self.space();
            self.out.push(':');
            self.value(value, below);
        }
        self.out.push('}');
    }

    fn member(&mut self, name: &str, known: &Known) -> (String, Known) {
        let kind = match known {
            Known::Field(field) => field.kind(),
            Known::Kind(kind) => kind.clone(),
            Known::Nothing => return (name.to_owned(), Known::Nothing),
        };
        let Kind::Message(message) = kind else { return (name.to_owned(), Known::Nothing) };
        if message.is_map_entry() {
            return (name.to_owned(), Known::Kind(message.map_entry_value_field().kind()));
        }
        if message.full_name().starts_with("google.") {
            return (name.to_owned(), Known::Nothing);
        }
        let field = message.get_field_by_json_name(name).unwrap();
        let name = if self.dice.one_in(2) { field.name() } else { name };
        (
            name.to_owned(),
            if field.is_list() || field.is_map() {
                Known::Field(field.clone())
            } else {
                Known::Kind(field.kind())
            },
        )
    }
}

fn is_numeric(kind: &Kind) -> bool {
    !matches!(kind, Kind::Bool | Kind::String | Kind::Bytes | Kind::Enum(_) | Kind::Message(_))
}

/// JSON text of a random message, written in a random way, and the message.
fn sample(seed: u64, depth: usize) -> (String, DynamicMessage) {
    let mut dice = Dice(seed);
    let message = message(&FIXTURE.all, &mut dice, depth);
    let options = SerializeOptions::new().use_proto_field_name(false).skip_default_fields(dice.one_in(2));
    let json = message.serialize_with_options(serde_json::value::Serializer, &options).unwrap();
    let mut rewriter = Rewriter { dice: &mut dice, out: String::new() };
    rewriter.value(&json, Known::Kind(Kind::Message(FIXTURE.all.clone())));
    // A field without presence that is set to its default is as good as absent.
    let message = DynamicMessage::decode(FIXTURE.all.clone(), message.encode_to_vec().as_slice()).unwrap();
    (rewriter.out, message)
}

/// Breaks text in a few places.
fn mutate(text: &str, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    let splices: &[&[u8]] = &[
        b"null",
        b"true",
        b"0",
        b"-",
        b"1.0",
        b"1e5",
        b"0.5",
        b"\"",
        b"\\",
        b",",
        b":",
        b"{}",
        b"[]",
        b"{",
        b"]",
        b" ",
        b"+",
        b"\"1\"",
        b"\"NaN\"",
        b"NaN",
        b"\"x\"",
        b"99999999999999999999",
        b"e",
        b".",
        b"\xff",
        b"\n",
        b"_",
        b"A",
        b"Z",
        b"s",
    ];
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + dice.below(4)).min(bytes.len());
        let splice = match dice.below(3) {
            0 => Vec::new(),
            1 => dice.pick(splices).to_vec(),
            _ => {
                let from = dice.below(bytes.len() + 1);
                bytes[from..(from + dice.below(30)).min(bytes.len())].to_vec()
            }
        };
        bytes.splice(at..end, splice);
    }
    bytes
}

/// The message as JSON, which compares what an Any has inside by its value, and NaN with itself.
fn show(message: &DynamicMessage) -> String {
    match serde_json::to_value(message) {
        Ok(json) => unsigned_zeros(json).to_string(),
        Err(error) => error.to_string(),
    }
}

/// prost loses the sign of a zero where a default is not written.
fn unsigned_zeros(json: Json) -> Json {
    match json {
        Json::Number(number) if number.as_f64() == Some(0.0) => Json::from(0),
        Json::Array(elements) => elements.into_iter().map(unsigned_zeros).collect(),
        Json::Object(members) => {
            members.into_iter().map(|(key, value)| (key, unsigned_zeros(value))).collect()
        }
        other => other,
    }
}

fn cases(usual: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn reads_what_prost_reflect_writes(seed in any::<u64>(), depth in 0..4_usize) {
        let (json, message) = sample(seed, depth);
        match FIXTURE.ours(json.as_bytes()) {
            Ok(read) => prop_assert_eq!(show(&read), show(&message), "{}", json),
            Err(error) => return Err(TestCaseError::fail(format!("{error}: {json}"))),
        }
    }
}

proptest! {
    #![proptest_config(cases(4096))]

    #[test]
    fn refuses_what_prost_reflect_refuses(seed in any::<u64>()) {
        let (json, _) = sample(seed, 1);
        let json = mutate(&json, &mut Dice(seed ^ 1));
        let shown = String::from_utf8_lossy(&json);
        match (FIXTURE.ours(&json), FIXTURE.theirs(&json)) {
            (Err(_), Err(_)) => {}
            (Ok(ours), Ok(theirs)) => {
                let theirs = DynamicMessage::decode(FIXTURE.all.clone(), theirs.encode_to_vec().as_slice()).unwrap();
                prop_assert_eq!(show(&ours), show(&theirs), "{}", shown);
            }
            (Err(error), Ok(_)) => prop_assert!(is_too_lenient(&error), "only refused by us, {}: {}", error, shown),
            (Ok(_), Err(error)) => prop_assert!(is_too_strict(&error), "only refused by them, {}: {}", error, shown),
        }
    }

    #[test]
    fn never_panics(text in prop::collection::vec(prop_oneof![
        Just("{"), Just("}"), Just("["), Just("]"), Just(":"), Just(","), Just("\""), Just("\\"), Just("\"all\""),
        Just("\"any\""), Just("\"@type\""), Just("\"x/d.Item\""), Just("\"value\""), Just("\"at\""), Just("\"doc\""),
        Just("null"), Just("1"), Just("-"), Just("."), Just("e"), Just("\"by_name\""), Just("\"items\""), Just("ä"),
    ], 0..40)) {
        let _ = FIXTURE.ours(text.concat().as_bytes());
    }
}

/// What prost-reflect reads although ProtoJSON doesn't have it.
fn is_too_lenient(error: &ReadError) -> bool {
    const KNOWN: &[&str] = &[
        // Members and keys that come again.
        "is there twice",
        // Quoted numbers with a plus, leading zeros or nothing after the point; `inf` and `nan`.
        "is not an integer",
        "is not a number",
        // Quoted numbers that a float rounds to infinity, and integers that a double rounds.
        "is beyond the range of",
        "has a fraction",
        // Any text between the commas, spaces and underscores too.
        "is not a field mask",
        "has an underscore",
        // More than nine decimals.
        "is not a duration",
        "is not a timestamp",
    ];
    KNOWN.iter().any(|known| error.what.contains(known))
}

/// What prost-reflect refuses although ProtoJSON has it.
fn is_too_strict(error: &serde_json::Error) -> bool {
    const KNOWN: &[&str] = &[
        // Quoted integers with an exponent or a zero fraction, as values and as keys.
        "invalid digit found in string",
        // Numbers of enums that have a zero fraction.
        "invalid type: floating point",
    ];
    KNOWN.iter().any(|known| error.to_string().contains(known))
}

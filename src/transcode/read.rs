//! Reads JSON text into protobuf bytes by the rules of ProtoJSON, in one pass and without a tree.

use std::error::Error;
use std::fmt;

use crate::transcode::bound::Bound;
use crate::transcode::plan::MessageId;
use crate::transcode::plan::Plans;
use crate::transcode::read::cursor::Cursor;
use crate::transcode::read::fault::Fault;
use crate::transcode::read::fault::Read;
use crate::transcode::read::lengths::Lengths;
use crate::transcode::read::seen::Key;

mod any;
mod cursor;
mod fault;
mod lengths;
mod maps;
mod objects;
mod seen;
mod strings;
mod values;
mod wkt;

/// How JSON text is read, and what it may cost.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// What happens to members that the message doesn't have, and to names that an enum doesn't have.
    pub unknown_fields: Unknown,
    /// Objects and arrays within each other; more than 200 are never read.
    pub depth_max: usize,
    /// Array elements and members of one text, all together; those that are skipped don't count.
    pub elements_max: usize,
}

/// What happens to what the message or enum doesn't have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// The text is refused.
    #[default]
    Reject,
    /// It is left out; it must still be JSON.
    Ignore,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { unknown_fields: Unknown::Reject, depth_max: 100, elements_max: 1_000_000 }
    }
}

/// Where and why JSON text is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    /// The JSON path, such as `order.items[3].price`; empty where the text as a whole is meant.
    pub path: String,
    /// What is wrong, and what to do about it.
    pub what: String,
    /// Bytes from the begin of the text.
    pub offset: usize,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{} (byte {})", self.what, self.offset)
    }
}

impl Error for ReadError {}

/// Appends the message that `json` is to `out`, without a tag or length.
///
/// # Errors
/// Text that isn't the JSON of a `root`, or sets a field of `bound`; what `out` has is of no use then.
pub fn read(
    plans: &Plans,
    root: MessageId,
    json: &[u8],
    bound: &Bound,
    options: &ReadOptions,
    out: &mut Vec<u8>,
) -> Result<(), ReadError> {
    whole_text(plans, json, options, out, |reader| reader.message(root, bound))
}

/// Appends a field of `root`, tag and all, whose value `json` is.
///
/// # Errors
/// Text that isn't the JSON of the field, or sets a field of `bound`, which begins at `root` too; what
/// `out` has is of no use then.
pub fn read_field(
    plans: &Plans,
    root: MessageId,
    field: usize,
    json: &[u8],
    bound: &Bound,
    options: &ReadOptions,
    out: &mut Vec<u8>,
) -> Result<(), ReadError> {
    let message = plans.message(root);
    let Some(field) = message.fields.get(field) else {
        return Err(Fault::new(0, format!("{} has no such field", message.name)).into_error());
    };
    whole_text(plans, json, options, out, |reader| reader.body_field(message, field, bound))
}

/// What the reading of one text needs everywhere.
struct Reader<'p, 't, 'o> {
    plans: &'p Plans,
    cursor: Cursor<'t>,
    unknown_fields: Unknown,
    depth_left: usize,
    elements_left: usize,
    /// Bytes that may still be looked at ahead of their turn.
    ahead_left: usize,
    lengths: Lengths,
    /// Keys of the maps that have begun.
    keys: Vec<Key<'t>>,
    out: &'o mut Vec<u8>,
}

fn whole_text<'p, 't, 'o>(
    plans: &'p Plans,
    json: &'t [u8],
    options: &ReadOptions,
    out: &'o mut Vec<u8>,
    read: impl FnOnce(&mut Reader<'p, 't, 'o>) -> Read<()>,
) -> Result<(), ReadError> {
    let text = std::str::from_utf8(json).map_err(|error| {
        Fault::new(error.valid_up_to(), "this is not UTF-8: send the text in UTF-8").into_error()
    })?;
    if text.starts_with('\u{feff}') {
        return Err(Fault::new(0, "the text begins with a byte order mark: remove it").into_error());
    }
    // About what the message takes, so that it isn't moved time and again as it grows.
    out.reserve(text.len() / 2);
    let mut reader = Reader {
        plans,
        cursor: Cursor::new(text),
        unknown_fields: options.unknown_fields,
        depth_left: options.depth_max.min(DEPTH_CEILING),
        elements_left: options.elements_max,
        ahead_left: text.len().saturating_mul(AHEAD_FACTOR),
        lengths: Lengths::default(),
        keys: Vec::new(),
        out,
    };
    if reader.cursor.peek() == 0 && reader.cursor.offset() == text.len() {
        return Err(Fault::new(0, "the text is empty: send a JSON value").into_error());
    }
    read(&mut reader).map_err(|fault| fault.into_error())?;
    reader.cursor.peek();
    if reader.cursor.offset() != text.len() {
        return Err(Fault::new(reader.cursor.offset(), "more text after the end of the value: remove it")
            .into_error());
    }
    reader.lengths.finish(reader.out);
    Ok(())
}

/// What the stack of a worker carries with ease.
const DEPTH_CEILING: usize = 200;
/// How often the text may be looked at ahead, for `@type` members that come late.
const AHEAD_FACTOR: usize = 4;

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;
    use prost_reflect::DynamicMessage;
    use serde_json::Value;

    use super::*;
    use crate::schema::Limits;
    use crate::schema::compile;

    const PROTO3: &str = r#"
        syntax = "proto3"; package t;
        import "google/protobuf/any.proto"; import "google/protobuf/duration.proto";
        import "google/protobuf/empty.proto"; import "google/protobuf/field_mask.proto";
        import "google/protobuf/struct.proto"; import "google/protobuf/timestamp.proto";
        import "google/protobuf/wrappers.proto";
        enum Color { NONE = 0; RED = 1; BLUE = 2; BELOW = -1; }
        message Order {
          int32 i32 = 1; int64 i64 = 2; uint32 u32 = 3; uint64 u64 = 4; sint32 s32 = 5; sint64 s64 = 6;
          fixed32 f32 = 7; fixed64 f64 = 8; sfixed32 sf32 = 9; sfixed64 sf64 = 10; float flt = 11; double dbl = 12;
          bool yes = 13; string text = 14; bytes raw = 15; Color color = 16; Order inner = 17;
          repeated int32 numbers = 18; repeated string words = 19; repeated Order orders = 20;
          repeated Color colors = 21; repeated int32 loose = 22 [packed = false]; repeated bytes raws = 23;
          map<string, int32> by_name = 24; map<int32, string> by_number = 25; map<bool, Color> by_bool = 26;
          map<uint64, Order> by_id = 27; map<sint64, double> by_sint = 28; map<string, google.protobuf.Value> by_value = 29;
          oneof choice { int32 one = 30; string two = 31; google.protobuf.NullValue none = 32; Order three = 33; Color four = 36; }
          optional int32 maybe = 34; string odd = 35 [json_name = "@odd"];
          google.protobuf.Timestamp at = 40; google.protobuf.Duration span = 41; google.protobuf.FieldMask mask = 42;
          google.protobuf.Struct doc = 43; google.protobuf.Value value = 44; google.protobuf.ListValue list = 45;
          google.protobuf.Any any = 46; google.protobuf.Empty empty = 47; google.protobuf.NullValue null = 48;
          google.protobuf.StringValue w_text = 50; google.protobuf.Int64Value w_i64 = 51; google.protobuf.BytesValue w_raw = 52;
          google.protobuf.BoolValue w_yes = 53; google.protobuf.FloatValue w_flt = 54;
          repeated google.protobuf.Value values = 60; repeated google.protobuf.NullValue nulls = 61;
          repeated google.protobuf.Any anys = 62; repeated google.protobuf.StringValue w_texts = 63;
        }
    "#;

    const PROTO2: &str = r#"
        syntax = "proto2"; package t2;
        enum Closed { A = 0; B = 5; }
        message Old {
          required int32 id = 1; optional Closed closed = 2; repeated Closed many = 3; optional group Part = 4 { optional int32 x = 1; }
          repeated group Parts = 100 { optional string y = 1; } optional Set set = 6; repeated int32 list = 7;
          extensions 1000 to 2000;
        }
        message Set { option message_set_wire_format = true; extensions 4 to max; }
        message Item { optional int32 n = 1; extend Set { optional Item item = 100; } }
        extend Old { optional string note = 1000; repeated int32 marks = 1001 [packed = true]; }
    "#;

    struct Fixture {
        pool: DescriptorPool,
        plans: Plans,
    }

    impl Fixture {
        fn new() -> Self {
            let files = [("t.proto", PROTO3), ("t2.proto", PROTO2)];
            let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
            let schema = compile::protos(files.into(), &[], &Limits::default()).unwrap();
            let pool = schema.pool().clone();
            Self { plans: Plans::new(pool.clone(), schema.traits().clone()), pool }
        }

        fn bytes(&self, name: &str, json: &str, options: &ReadOptions) -> Result<Vec<u8>, ReadError> {
            let mut out = b"before".to_vec();
            read(
                &self.plans,
                self.plans.find(name).unwrap(),
                json.as_bytes(),
                &Bound::empty(),
                options,
                &mut out,
            )?;
            Ok(out.strip_prefix(b"before").unwrap().to_vec())
        }

        /// What prost-reflect makes of the bytes, as JSON.
        fn json(&self, name: &str, json: &str, options: &ReadOptions) -> Result<Value, ReadError> {
            let bytes = self.bytes(name, json, options)?;
            let descriptor = self.pool.get_message_by_name(name).unwrap();
            let message = DynamicMessage::decode(descriptor, bytes.as_slice()).unwrap();
            assert_eq!(message.unknown_fields().count(), 0, "{json}");
            Ok(serde_json::to_value(&message).unwrap())
        }

        fn order(&self, json: &str) -> Result<Value, ReadError> {
            self.json("t.Order", json, &ReadOptions::default())
        }

        #[track_caller]
        fn accepts(&self, cases: &[(&str, &str)]) {
            for (json, expected) in cases {
                let expected: Value = serde_json::from_str(expected).unwrap();
                assert_eq!(self.order(json), Ok(expected), "{json}");
            }
        }

        /// Each case: the text, the path of the fault, and a part of what it says.
        #[track_caller]
        fn refuses(&self, cases: &[(&str, &str, &str)]) {
            for (json, path, what) in cases {
                let error = self.order(json).expect_err(json);
                assert_eq!(error.path, *path, "{json}: {error}");
                assert!(error.what.contains(what), "{json}: {error}");
                assert!(error.offset <= json.len(), "{json}: {error}");
            }
        }
    }

    #[test]
    fn reads_scalars() {
        Fixture::new().accepts(&[
            ("{}", "{}"),
            (" {\n} \t", "{}"),
            (
                r#"{"i32":-1,"i64":"-1","u32":1,"u64":"18446744073709551615"}"#,
                r#"{"i32":-1,"i64":"-1","u32":1,"u64":"18446744073709551615"}"#,
            ),
            (
                r#"{"s32":-2147483648,"s64":-9223372036854775808}"#,
                r#"{"s32":-2147483648,"s64":"-9223372036854775808"}"#,
            ),
            (r#"{"f32":7,"f64":"7","sf32":-7,"sf64":"-7"}"#, r#"{"f32":7,"f64":"7","sf32":-7,"sf64":"-7"}"#),
            (
                r#"{"i32":1e5,"i64":"1e5","u32":10.0,"u64":"1.50e1"}"#,
                r#"{"i32":100000,"i64":"100000","u32":10,"u64":"15"}"#,
            ),
            (r#"{"i32":0,"u64":"0","dbl":0,"text":"","raw":"","yes":false,"color":"NONE"}"#, "{}"),
            (r#"{"flt":1.5,"dbl":"-2.5e-3"}"#, r#"{"flt":1.5,"dbl":-0.0025}"#),
            (r#"{"flt":"Infinity","dbl":"-Infinity"}"#, r#"{"flt":"Infinity","dbl":"-Infinity"}"#),
            (r#"{"flt":"NaN"}"#, r#"{"flt":"NaN"}"#),
            (r#"{"yes":true}"#, r#"{"yes":true}"#),
            (r#"{"text":"a\"\\\/\u00e4\ud83d\ude00ä"}"#, r#"{"text":"a\"\\/ä😀ä"}"#),
            (r#"{"raw":"-_8"}"#, r#"{"raw":"+/8="}"#),
            (r#"{"raw":"AQI\u003d"}"#, r#"{"raw":"AQI="}"#),
            (r#"{"color":"RED"}"#, r#"{"color":"RED"}"#),
            (r#"{"color":2}"#, r#"{"color":"BLUE"}"#),
            (r#"{"color":-1}"#, r#"{"color":"BELOW"}"#),
            (r#"{"color":123}"#, r#"{"color":123}"#),
            (r#"{"maybe":0,"one":0}"#, r#"{"maybe":0,"one":0}"#),
        ]);
    }

    #[test]
    fn reads_names_in_any_order() {
        Fixture::new().accepts(&[
            (r#"{"words":["a"],"byName":{"a":1},"i32":1}"#, r#"{"i32":1,"words":["a"],"byName":{"a":1}}"#),
            (r#"{"by_name":{"a":1}}"#, r#"{"byName":{"a":1}}"#),
            // By the alphabet, and the two orders mixed.
            (
                r#"{"any":null,"at":null,"byName":{"a":1},"color":"RED","dbl":1.5,"i32":1,"yes":true}"#,
                r#"{"byName":{"a":1},"color":"RED","dbl":1.5,"i32":1,"yes":true}"#,
            ),
            (
                r#"{"i32":1,"i64":"2","inner":{},"text":"a","raw":"AQ=="}"#,
                r#"{"i32":1,"i64":"2","inner":{},"text":"a","raw":"AQ=="}"#,
            ),
            (r#"{"@odd":"a"}"#, r#"{"@odd":"a"}"#),
            (r#"{"odd":"a"}"#, r#"{"@odd":"a"}"#),
            (r#"{"\u0069\u0033\u0032":1}"#, r#"{"i32":1}"#),
        ]);
    }

    #[test]
    fn reads_lists_maps_and_messages() {
        Fixture::new().accepts(&[
            (r#"{"numbers":[],"words":[],"byName":{},"orders":[]}"#, "{}"),
            (
                r#"{"numbers":[1,"2",3.0],"loose":[4,5],"colors":["RED",2]}"#,
                r#"{"numbers":[1,2,3],"loose":[4,5],"colors":["RED","BLUE"]}"#,
            ),
            (
                r#"{"orders":[{},{"i32":1},{"orders":[{"text":"x"}]}]}"#,
                r#"{"orders":[{},{"i32":1},{"orders":[{"text":"x"}]}]}"#,
            ),
            (r#"{"raws":["","AQ"],"words":["",""]}"#, r#"{"raws":["","AQ=="],"words":["",""]}"#),
            (
                r#"{"byNumber":{"-1":"a","2":""},"byBool":{"true":"RED","false":0}}"#,
                r#"{"byNumber":{"-1":"a","2":""},"byBool":{"true":"RED","false":"NONE"}}"#,
            ),
            (
                r#"{"byId":{"18446744073709551615":{"i32":1},"0":{}},"bySint":{"-5":"NaN"}}"#,
                r#"{"byId":{"18446744073709551615":{"i32":1},"0":{}},"bySint":{"-5":"NaN"}}"#,
            ),
            (r#"{"byValue":{"a":null,"b":[1]}}"#, r#"{"byValue":{"a":null,"b":[1.0]}}"#),
            (r#"{"inner":{},"empty":{}}"#, r#"{"inner":{},"empty":{}}"#),
        ]);
    }

    #[test]
    fn reads_null_as_absent_but_for_values_of_it() {
        Fixture::new().accepts(&[
            (r#"{"i32":null,"text":null,"numbers":null,"byName":null,"inner":null,"color":null,"at":null,"wText":null,"list":null}"#, "{}"),
            (r#"{"value":null}"#, r#"{"value":null}"#),
            (r#"{"one":null,"two":"x","three":null}"#, r#"{"two":"x"}"#),
            (r#"{"none":null,"two":null}"#, r#"{"none":null}"#),
            (r#"{"null":null}"#, "{}"),
            (r#"{"values":[null,1]}"#, r#"{"values":[null,1.0]}"#),
            (r#"{"nulls":[null,"NULL_VALUE",0]}"#, r#"{"nulls":[null,null,null]}"#),
        ]);
    }

    #[test]
    fn reads_well_known_types() {
        Fixture::new().accepts(&[
            (r#"{"at":"1969-12-31T16:00:01.5-08:00"}"#, r#"{"at":"1970-01-01T00:00:01.500Z"}"#),
            (
                r#"{"at":"1970-01-01T00:00:00\u005a","span":"0s","mask":""}"#,
                r#"{"at":"1970-01-01T00:00:00Z","span":"0s","mask":""}"#,
            ),
            (r#"{"span":"-1.5s"}"#, r#"{"span":"-1.500s"}"#),
            (r#"{"mask":"a.bC,d"}"#, r#"{"mask":"a.bC,d"}"#),
            (
                r#"{"doc":{"a":[1,"x",null,true,{"b":{}}],"":[]}}"#,
                r#"{"doc":{"a":[1.0,"x",null,true,{"b":{}}],"":[]}}"#,
            ),
            (r#"{"value":{"a":-1.5e300}}"#, r#"{"value":{"a":-1.5e300}}"#),
            (r#"{"list":[[],{},"",false,0]}"#, r#"{"list":[[],{},"",false,0.0]}"#),
            (
                r#"{"wText":"","wI64":"0","wRaw":"","wYes":false,"wFlt":0}"#,
                r#"{"wText":"","wI64":"0","wRaw":"","wYes":false,"wFlt":0.0}"#,
            ),
            (
                r#"{"wText":"a\nb","wI64":-5,"wTexts":["a",""]}"#,
                r#"{"wText":"a\nb","wI64":"-5","wTexts":["a",""]}"#,
            ),
        ]);
    }

    #[test]
    fn reads_any() {
        Fixture::new().accepts(&[
            (r#"{"any":{"@type":"x/t.Order"}}"#, r#"{"any":{"@type":"x/t.Order"}}"#),
            (r#"{"any":{"i32":1,"@type":"x/t.Order","inner":{"i32":2}}}"#,
             r#"{"any":{"@type":"x/t.Order","i32":1,"inner":{"i32":2}}}"#),
            (r#"{"any":{"inner":{"@odd":"@type"},"\u0040type":"x/t.Order"}}"#,
             r#"{"any":{"@type":"x/t.Order","inner":{"@odd":"@type"}}}"#),
            (r#"{"any":{"value":"1.5s","@type":"x/google.protobuf.Duration"}}"#,
             r#"{"any":{"@type":"x/google.protobuf.Duration","value":"1.500s"}}"#),
            (r#"{"any":{"@type":"x/google.protobuf.Value","value":null}}"#,
             r#"{"any":{"@type":"x/google.protobuf.Value","value":null}}"#),
            (r#"{"any":{"@type":"x/google.protobuf.Any","value":{"value":{"a":1},"@type":"x/google.protobuf.Struct"}}}"#,
             r#"{"any":{"@type":"x/google.protobuf.Any","value":{"@type":"x/google.protobuf.Struct","value":{"a":1.0}}}}"#),
            (r#"{"anys":[{"@type":"x/t.Order","text":"a"},{"@type":"x/google.protobuf.Int64Value","value":"7"}]}"#,
             r#"{"anys":[{"@type":"x/t.Order","text":"a"},{"@type":"x/google.protobuf.Int64Value","value":"7"}]}"#),
        ]);
        // Written in both ways by others; the one that prost-reflect writes proves nothing here.
        let (fixture, options) = (Fixture::new(), ReadOptions::default());
        assert_eq!(fixture.bytes("t.Order", r#"{"any":{}}"#, &options).unwrap(), b"\xf2\x02\0");
        let empty = b"\x0a\x17x/google.protobuf.Empty".to_vec();
        for json in
            [r#"{"@type":"x/google.protobuf.Empty"}"#, r#"{"@type":"x/google.protobuf.Empty","value":{}}"#]
        {
            assert_eq!(fixture.bytes("google.protobuf.Any", json, &options).unwrap(), empty, "{json}");
        }
    }

    #[test]
    fn refuses_what_is_no_json() {
        let fixture = Fixture::new();
        fixture.refuses(&[
            ("", "", "empty"),
            (" \n", "", "empty"),
            ("\u{feff}{}", "", "byte order mark"),
            ("null", "", "expected an object, found null"),
            ("[]", "", "expected an object, found an array"),
            ("{", "", "a member name in double quotes, found the end"),
            ("{}{}", "", "after the end"),
            ("{} x", "", "after the end"),
            (r#"{"i32":1,}"#, "", "a comma before the end"),
            (r#"{"i32":1 "i64":1}"#, "", "a comma or }"),
            (r#"{"i32" 1}"#, "", "a colon"),
            (r#"{i32:1}"#, "", "a member name in double quotes"),
            (r#"{'i32':1}"#, "", "a member name in double quotes"),
            (r#"{"i32":}"#, "i32", "expected an integer"),
            (r#"{"i32":nul}"#, "i32", "expected null"),
            (r#"{"numbers":[1,]}"#, "numbers", "a comma before the end"),
            (r#"{"numbers":[1 2]}"#, "numbers", "a comma or ]"),
            (r#"{"numbers":[,1]}"#, "numbers[0]", "expected an integer"),
            (r#"{"text":'a'}"#, "text", "expected a string"),
            ("{\"text\":\"a\nb\"}", "text", "control character"),
            (r#"{"text":"a"#, "text", "doesn't end"),
            (r#"{"text":"\x"}"#, "text", "no escape"),
            (r#"{"text":"\uD800"}"#, "text", "surrogate"),
            (r#"{"text":"\uDC00\uD800"}"#, "text", "surrogate"),
            (r#"{"\uD800":1}"#, "", "surrogate"),
            ("/**/{}", "", "expected an object"),
            ("{}//", "", "after the end"),
            ("{}\0", "", "after the end"),
        ]);
        let order = fixture.plans.find("t.Order").unwrap();
        let text = b"{\"text\":\"\xff\"}";
        let error =
            read(&fixture.plans, order, text, &Bound::empty(), &ReadOptions::default(), &mut Vec::new());
        assert_eq!(error.map_err(|error| (error.what.contains("UTF-8"), error.offset)), Err((true, 9)));
    }

    #[test]
    fn refuses_values_of_the_wrong_kind() {
        Fixture::new().refuses(&[
            (r#"{"i32":2147483648}"#, "i32", "2147483648 is out of range for 32 bits"),
            (r#"{"i32":"-2147483649"}"#, "i32", "-2147483649 is out of range"),
            (r#"{"u32":-1}"#, "u32", "out of range"),
            (r#"{"u64":"-1"}"#, "u64", "out of range"),
            (r#"{"i64":9223372036854775808}"#, "i64", "out of range"),
            (r#"{"u64":18446744073709551616}"#, "u64", "beyond 64 bits"),
            (r#"{"i32":0.5}"#, "i32", "fraction"),
            (r#"{"i32":"1 "}"#, "i32", "\"1 \" is not an integer"),
            (r#"{"i32":"+1"}"#, "i32", "not an integer"),
            (r#"{"i32":"01"}"#, "i32", "not an integer"),
            (r#"{"i32":""}"#, "i32", "not an integer"),
            (r#"{"i32":01}"#, "", "a comma or }"),
            (r#"{"i32":-}"#, "i32", "not a JSON number"),
            (r#"{"i32":+1}"#, "i32", "expected an integer, found '+'"),
            (r#"{"i32":true}"#, "i32", "expected an integer, found a boolean"),
            (r#"{"flt":3.5e38}"#, "flt", "range of float"),
            (r#"{"dbl":1e309}"#, "dbl", "range of double"),
            (r#"{"dbl":NaN}"#, "dbl", "expected a number, found 'N'"),
            (r#"{"dbl":"nan"}"#, "dbl", "not a number"),
            (r#"{"dbl":"1e999"}"#, "dbl", "range of double"),
            (r#"{"yes":"true"}"#, "yes", "expected true or false, found a string"),
            (r#"{"yes":1}"#, "yes", "found a number"),
            (r#"{"yes":True}"#, "yes", "found 'T'"),
            (r#"{"text":1}"#, "text", "expected a string, found a number"),
            (r#"{"raw":"@"}"#, "raw", "base64"),
            (r#"{"raw":"A"}"#, "raw", "base64"),
            (r#"{"raw":"A-/A"}"#, "raw", "base64"),
            (r#"{"color":"red"}"#, "color", "\"red\" is not a value of t.Color"),
            (r#"{"color":1.5}"#, "color", "fraction"),
            (r#"{"color":"1"}"#, "color", "not a value"),
            (r#"{"color":2147483648}"#, "color", "out of range"),
            (r#"{"color":true}"#, "color", "enum value, found a boolean"),
            (r#"{"inner":[]}"#, "inner", "expected an object, found an array"),
            (r#"{"numbers":1}"#, "numbers", "expected an array"),
            (r#"{"numbers":[1,false]}"#, "numbers[1]", "found a boolean"),
            (r#"{"words":["a",null]}"#, "words[1]", "found null"),
            (
                r#"{"orders":[{"inner":{"orders":[{},{"i32":"x"}]}}]}"#,
                "orders[0].inner.orders[1].i32",
                "not an integer",
            ),
            (r#"{"orders":[null]}"#, "orders[0]", "found null"),
            (r#"{"anys":[null]}"#, "anys[0]", "found null"),
            (r#"{"wTexts":[null]}"#, "wTexts[0]", "found null"),
            (r#"{"byName":{"a":null}}"#, "byName[\"a\"]", "found null"),
            (r#"{"byNumber":{"x":""}}"#, "byNumber", "\"x\" is not an integer"),
            (r#"{"byNumber":{"2147483648":""}}"#, "byNumber", "out of range"),
            (r#"{"byBool":{"TRUE":0}}"#, "byBool", "\"TRUE\" is not a boolean"),
        ]);
    }

    #[test]
    fn refuses_unknown_and_doubled_members() {
        Fixture::new().refuses(&[
            (r#"{"orders":[{"txet":1}]}"#, "orders[0]", "unknown field \"txet\": did you mean \"text\"?"),
            (r#"{"I32":1}"#, "", "did you mean \"i32\"?"),
            (r#"{"by_nmae":1}"#, "", "did you mean \"by_name\"?"),
            (r#"{"somethingElse":1}"#, "", "t.Order has no such field"),
            (r#"{"empty":{"x":1}}"#, "empty", "google.protobuf.Empty has no such field"),
            (r#"{"@type":"x/t.Order"}"#, "", "unknown field"),
            (r#"{"i32":1,"i32":1}"#, "i32", "twice"),
            (r#"{"i32":null,"i32":1}"#, "i32", "twice"),
            (r#"{"byName":{},"by_name":{}}"#, "byName", "twice"),
            (r#"{"wFlt":1,"w_flt":1}"#, "wFlt", "twice"),
            (r#"{"one":1,"two":""}"#, "two", "oneof"),
            (r#"{"one":1,"none":null}"#, "none", "oneof"),
            (r#"{"byName":{"a":1,"b":1,"\u0061":1}}"#, "byName[\"a\"]", "twice"),
            (r#"{"byNumber":{"1":"","1e0":""}}"#, "byNumber[\"1e0\"]", "twice"),
            (r#"{"byBool":{"true":0,"true":0}}"#, "byBool[\"true\"]", "twice"),
            (r#"{"doc":{"a":{"b":1,"b":1}}}"#, "doc[\"a\"][\"b\"]", "twice"),
        ]);
    }

    #[test]
    fn refuses_malformed_well_known_types() {
        Fixture::new().refuses(&[
            (r#"{"at":"2024-01-01"}"#, "at", "\"2024-01-01\" is not a timestamp"),
            (r#"{"at":1}"#, "at", "a timestamp in double quotes, found a number"),
            (r#"{"span":1}"#, "span", "a duration in double quotes"),
            (r#"{"span":"1h"}"#, "span", "not a duration"),
            (r#"{"mask":{"paths":["a"]}}"#, "mask", "the object form"),
            (r#"{"mask":"a_b"}"#, "mask", "underscore"),
            (r#"{"mask":["a"]}"#, "mask", "a field mask in double quotes"),
            (&format!(r#"{{"mask":"{}"}}"#, ["a"; 33].join(".")), "mask", "more than 32 parts"),
            (&format!(r#"{{"mask":"{}"}}"#, ["a"; 1001].join(",")), "mask", "more than 1000 paths"),
            (r#"{"doc":[]}"#, "doc", "expected an object"),
            (r#"{"list":{}}"#, "list", "expected an array"),
            (r#"{"list":[1,1e999]}"#, "list[1]", "range of double"),
            (r#"{"value":NaN}"#, "value", "expected a value"),
            (r#"{"wText":{"value":"x"}}"#, "wText", "expected a string, found an object"),
            (r#"{"wI64":"x"}"#, "wI64", "not an integer"),
            (r#"{"any":[]}"#, "any", "expected an object"),
            (r#"{"any":{"a":5}}"#, "any", "needs the member \"@type\""),
            (r#"{"any":{"@type":1}}"#, "any.@type", "the URL of a type"),
            (r#"{"any":{"@type":""}}"#, "any.@type", "no type URL"),
            (r#"{"any":{"@type":"t.Order"}}"#, "any.@type", "no type URL"),
            (r#"{"any":{"@type":"x/"}}"#, "any.@type", "no type URL"),
            (r#"{"any":{"@type":"x/no.Such"}}"#, "any.@type", "doesn't have"),
            (r#"{"any":{"@type":"x/t.Order","@type":"x/t.Order"}}"#, "any", "unknown field \"@type\""),
            (r#"{"any":{"@type":"x/google.protobuf.Duration"}}"#, "any", "in the member \"value\""),
            (
                r#"{"any":{"@type":"x/google.protobuf.Duration","seconds":1}}"#,
                "any",
                "unknown field \"seconds\"",
            ),
            (
                r#"{"any":{"@type":"x/google.protobuf.Duration","value":"1s","value":"1s"}}"#,
                "any.value",
                "twice",
            ),
            (
                r#"{"any":{"@type":"x/google.protobuf.Duration","@type":"x/google.protobuf.Duration"}}"#,
                "any.@type",
                "twice",
            ),
            (r#"{"any":{"@type":"x/t.Order","i32":"x"}}"#, "any.i32", "not an integer"),
        ]);
    }

    #[test]
    fn reads_proto2() {
        let fixture = Fixture::new();
        let options = ReadOptions::default();
        let cases: &[(&str, &[u8])] = &[
            // Required fields are the service's business.
            ("{}", b""),
            (r#"{"id":0,"closed":"A"}"#, b"\x08\0\x10\0"),
            (r#"{"closed":5,"list":[1,2]}"#, b"\x10\x05\x38\x01\x38\x02"),
            (r#"{"part":{"x":1}}"#, b"\x23\x08\x01\x24"),
            (r#"{"parts":[{"y":"a"},{}]}"#, b"\xa3\x06\x0a\x01a\xa4\x06\xa3\x06\xa4\x06"),
            (r#"{"[t2.note]":"n","[t2.marks]":[1,2]}"#, b"\xc2\x3e\x01n\xca\x3e\x02\x01\x02"),
            (r#"{"set":{"[t2.Item.item]":{"n":1}}}"#, b"\x32\x09\x0b\x10\x64\x1a\x02\x08\x01\x0c"),
        ];
        for (json, expected) in cases {
            let bytes = fixture.bytes("t2.Old", json, &options);
            // The set is 8 bytes long; its length stands before it.
            let mut expected = expected.to_vec();
            if json.contains("set") {
                expected[1] = u8::try_from(expected.len() - 2).unwrap();
            }
            assert_eq!(bytes, Ok(expected), "{json}");
        }
        let refused = [
            r#"{"closed":1}"#,
            r#"{"closed":"C"}"#,
            r#"{"many":[1]}"#,
            r#"{"[t2.no]":1}"#,
            r#"{"note":"n"}"#,
        ];
        for json in refused {
            assert!(fixture.bytes("t2.Old", json, &options).is_err(), "{json}");
        }
    }

    #[test]
    fn writes_the_shortest_wire_form() {
        let fixture = Fixture::new();
        let cases: &[(&str, &[u8])] = &[
            (r#"{"numbers":[1,-1]}"#, b"\x92\x01\x0b\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            (r#"{"loose":[1,2]}"#, b"\xb0\x01\x01\xb0\x01\x02"),
            (r#"{"s32":-1,"sf32":-1}"#, b"\x28\x01\x4d\xff\xff\xff\xff"),
            (r#"{"byName":{"a":0}}"#, b"\xc2\x01\x05\x0a\x01a\x10\0"),
            (r#"{"wText":"","wI64":"0"}"#, b"\x92\x03\0\x9a\x03\0"),
            (r#"{"at":"1970-01-01T00:00:00Z"}"#, b"\xc2\x02\0"),
            (r#"{"any":{"@type":"x/t.Order","i32":0}}"#, b"\xf2\x02\x0b\x0a\x09x/t.Order"),
        ];
        for (json, expected) in cases {
            assert_eq!(
                fixture.bytes("t.Order", json, &ReadOptions::default()),
                Ok(expected.to_vec()),
                "{json}"
            );
        }
    }

    #[test]
    fn ignores_what_is_unknown_on_demand() {
        let fixture = Fixture::new();
        let options = ReadOptions { unknown_fields: Unknown::Ignore, ..ReadOptions::default() };
        let cases = [
            (r#"{"x":{"a":[1,{"b":null,"b":""}]},"i32":1,"x":"\n"}"#, r#"{"i32":1}"#),
            (
                r#"{"color":"GREEN","colors":["RED","GREEN",2],"byBool":{"true":"GREEN","false":"RED"}}"#,
                r#"{"colors":["RED","BLUE"],"byBool":{"false":"RED"}}"#,
            ),
            (
                r#"{"any":{"x":1,"@type":"x/t.Order","y":{},"i32":1}}"#,
                r#"{"any":{"@type":"x/t.Order","i32":1}}"#,
            ),
            (
                r#"{"any":{"x":1,"@type":"x/google.protobuf.Duration","y":{},"value":"1s"}}"#,
                r#"{"any":{"@type":"x/google.protobuf.Duration","value":"1s"}}"#,
            ),
        ];
        for (json, expected) in cases {
            let expected: Value = serde_json::from_str(expected).unwrap();
            assert_eq!(fixture.json("t.Order", json, &options), Ok(expected), "{json}");
        }
        let deep = format!("{{\"x\":{}}}", "[".repeat(100_000));
        let refused = [
            r#"{"x":}"#,
            r#"{"x":{a:1}}"#,
            r#"{"x":[1,]}"#,
            r#"{"x":01}"#,
            r#"{"x":"\x"}"#,
            r#"{"x":nul}"#,
            &deep,
            r#"{"color":1.5}"#,
            r#"{"byBool":{"true":"GREEN","true":"RED"}}"#,
            r#"{"\uD800":1}"#,
        ];
        for json in refused {
            assert!(fixture.bytes("t.Order", json, &options).is_err(), "{json}");
        }
    }

    #[test]
    fn bounds_the_depth_of_everything() {
        let fixture = Fixture::new();
        let depth_max = 7;
        let options = ReadOptions { depth_max, ..ReadOptions::default() };
        // Each nests one level more a repetition, around an innermost value, within as many levels.
        let nests = [
            ("{\"inner\":", "{}", "}", 1),
            ("{\"orders\":[", "{}", "]}", 1),
            ("{\"value\":{\"a\":", "1", "}}", 0),
            ("{\"byId\":{\"1\":", "{}", "}}", 1),
        ];
        for (open, inner, close, inner_depth) in nests {
            let per_turn = open.matches(['{', '[']).count();
            let is_value = open.contains("value");
            for turns in 1..10 {
                let json = if is_value {
                    format!("{{\"value\":{}1{}}}", "{\"a\":".repeat(turns), "}".repeat(turns))
                } else {
                    format!("{}{inner}{}", open.repeat(turns), close.repeat(turns))
                };
                let depth = if is_value { 1 + turns } else { per_turn * turns + inner_depth };
                let read = fixture.bytes("t.Order", &json, &options);
                assert_eq!(read.is_ok(), depth <= depth_max, "{json} {read:?}");
            }
        }
        for open in ["[", "{\"a\":"] {
            for name in ["google.protobuf.Value", "google.protobuf.Struct", "google.protobuf.ListValue"] {
                assert!(fixture.bytes(name, &open.repeat(100_000), &ReadOptions::default()).is_err());
            }
        }
        let any = "{\"@type\":\"x/google.protobuf.Any\",\"value\":";
        assert!(fixture.bytes("google.protobuf.Any", &any.repeat(100_000), &ReadOptions::default()).is_err());
        // The options can't ask for more than the stack has.
        let options = ReadOptions { depth_max: usize::MAX, ..ReadOptions::default() };
        assert!(fixture.bytes("t.Order", &"{\"inner\":".repeat(100_000), &options).is_err());
        let json =
            format!("{}{{}}{}", "{\"inner\":".repeat(DEPTH_CEILING - 1), "}".repeat(DEPTH_CEILING - 1));
        assert!(fixture.bytes("t.Order", &json, &options).is_ok());
        let json = format!("{}1{}", "[".repeat(DEPTH_CEILING), "]".repeat(DEPTH_CEILING));
        assert!(fixture.bytes("google.protobuf.Value", &json, &options).is_ok());
    }

    #[test]
    fn bounds_the_elements_of_everything() {
        let fixture = Fixture::new();
        let options = ReadOptions { elements_max: 5, ..ReadOptions::default() };
        let good = [
            r#"{"numbers":[1,2,3,4]}"#,
            r#"{"doc":{"a":[1,2,3]}}"#,
            r#"{"byName":{"a":1,"b":1,"c":1,"d":1}}"#,
        ];
        let bad = [
            r#"{"numbers":[1,2,3,4,5]}"#,
            r#"{"doc":{"a":[1,2,3,4]}}"#,
            r#"{"byName":{"a":1,"b":1,"c":1,"d":1,"e":1}}"#,
            r#"{"orders":[{},{},{},{},{}]}"#,
            r#"{"i32":1,"i64":1,"u32":1,"u64":1,"s32":1,"s64":1}"#,
        ];
        for json in good {
            assert!(fixture.bytes("t.Order", json, &options).is_ok(), "{json}");
        }
        for json in bad {
            let error = fixture.bytes("t.Order", json, &options).expect_err(json);
            assert!(error.what.contains("too many"), "{error}");
        }
    }

    #[test]
    fn looks_ahead_for_types_a_few_times_only() {
        let fixture = Fixture::new();
        let options = ReadOptions::default();
        let nested = |turns: usize, filler: &str| {
            let begin = "{\"value\":".repeat(turns);
            let end = ",\"@type\":\"x/google.protobuf.Any\"}".repeat(turns);
            format!("{begin}{{\"text\":\"{filler}\",\"@type\":\"x/t.Order\"}}{end}")
        };
        assert!(fixture.bytes("google.protobuf.Any", &nested(2, &"a".repeat(1000)), &options).is_ok());
        let error =
            fixture.bytes("google.protobuf.Any", &nested(20, &"a".repeat(10_000)), &options).unwrap_err();
        assert!(error.what.contains("put it first"), "{error}");
    }

    #[test]
    fn refuses_what_the_path_sets() {
        let fixture = Fixture::new();
        let mut bound = Bound::empty();
        // text, inner.i32, inner.inner.text, one, wText.value
        for path in [&[14][..], &[17, 1], &[17, 17, 14], &[30], &[50, 1]] {
            assert!(bound.own(path));
        }
        let order = fixture.plans.find("t.Order").unwrap();
        let read = |json: &str| {
            read(&fixture.plans, order, json.as_bytes(), &bound, &ReadOptions::default(), &mut Vec::new())
        };
        let good = [
            "{}",
            r#"{"i32":1,"inner":{"text":"a","inner":{"i32":1,"inner":{"text":"a","one":1}}}}"#,
            r#"{"text":null}"#,
            r#"{"orders":[{"text":"a"}]}"#,
            r#"{"inner":{"one":1}}"#,
            r#"{"two":null}"#,
        ];
        for json in good {
            assert_eq!(read(json), Ok(()), "{json}");
        }
        let bad = [
            (r#"{"text":"a"}"#, "text"),
            (r#"{"text":""}"#, "text"),
            (r#"{"inner":{"i32":0}}"#, "inner.i32"),
            (r#"{"inner":{"inner":{"text":"a"}}}"#, "inner.inner.text"),
            (r#"{"one":1}"#, "one"),
            (r#"{"two":"a"}"#, "two"),
            (r#"{"three":{}}"#, "three"),
            (r#"{"wText":"a"}"#, "wText"),
        ];
        for (json, path) in bad {
            let error = read(json).expect_err(json);
            assert_eq!((&*error.path, error.what.contains("path")), (path, true), "{json}: {error}");
        }
    }

    #[test]
    fn reads_a_single_field() {
        let fixture = Fixture::new();
        let order = fixture.plans.find("t.Order").unwrap();
        let read = |number, json: &str, bound: &Bound| {
            let (field, _) = fixture.plans.message(order).by_number(number).unwrap();
            let mut out = Vec::new();
            let options = ReadOptions::default();
            read_field(&fixture.plans, order, field, json.as_bytes(), bound, &options, &mut out).map(|()| out)
        };
        let none = Bound::empty();
        assert_eq!(read(1, "5", &none), Ok(b"\x08\x05".to_vec()));
        assert_eq!(read(1, "null", &none), Ok(Vec::new()));
        assert_eq!(read(17, " {\"i32\":1} ", &none), Ok(b"\x8a\x01\x02\x08\x01".to_vec()));
        assert_eq!(read(18, "[1,2]", &none), Ok(b"\x92\x01\x02\x01\x02".to_vec()));
        assert_eq!(read(44, "null", &none), Ok(b"\xe2\x02\x02\x08\0".to_vec()));
        assert_eq!(read(1, "\"x\"", &none).unwrap_err().path, "i32");
        assert!(read(1, "5 5", &none).is_err());
        assert!(read(1, "", &none).is_err());
        let mut bound = Bound::empty();
        assert!(bound.own(&[17, 1]));
        assert!(read(17, "{\"i64\":1}", &bound).is_ok());
        assert_eq!(read(17, "{\"i32\":1}", &bound).unwrap_err().path, "inner.i32");
        let options = ReadOptions::default();
        assert!(read_field(&fixture.plans, order, 9999, b"1", &none, &options, &mut Vec::new()).is_err());
    }

    #[test]
    fn writes_long_lengths_at_any_depth() {
        let fixture = Fixture::new();
        for len in [0, 100, 127, 128, 200, 1000, 1100, 16_000, 17_000, 300_000] {
            let text = "x".repeat(len);
            let mut json = format!(r#"{{"text":"{text}","words":["\n{text}"],"byName":{{"{text}\t":1}}}}"#);
            for _ in 0..20 {
                json = format!(r#"{{"inner":{json},"orders":[{{"text":"{}"}}],"i32":1}}"#, "y".repeat(150));
            }
            let expected: Value = serde_json::from_str(&json).unwrap();
            let read = fixture.order(&json).unwrap();
            let mut innermost = (&read, &expected);
            for _ in 0..20 {
                assert_eq!(innermost.0["orders"], innermost.1["orders"]);
                assert_eq!(innermost.0["i32"], innermost.1["i32"]);
                innermost = (&innermost.0["inner"], &innermost.1["inner"]);
            }
            assert_eq!(innermost.0["words"], innermost.1["words"]);
            assert_eq!(innermost.0["byName"], innermost.1["byName"]);
        }
    }
}

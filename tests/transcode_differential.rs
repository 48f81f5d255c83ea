//! Compares the transcoding engine with prost-reflect over schemas, messages and texts that scripts make, and cuts the
//! bodies and replies of REST in every way.

#![expect(clippy::unwrap_used, reason = "a fixture that can't be built fails its test")]

#[path = "support/transcode/mod.rs"]
mod transcode;

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use transcode::exceptions;
use transcode::exceptions::Known;
use transcode::laws;
use transcode::schema::World;
use transcode::script::seeded;
use transcode::wire::cleaned;
use transom::transcode::WriteOptions;

/// Runs a law over scripts from seeds. `TRANSCODE_SCRIPTS` says how many, `TRANSCODE_SEED` where they begin.
fn run(usual: u64, law: fn(&[u8])) {
    let of = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let from = of("TRANSCODE_SEED").unwrap_or(0);
    for seed in from..from + of("TRANSCODE_SCRIPTS").unwrap_or(usual) {
        let len = 300 + usize::try_from(seed % 7).unwrap() * 300;
        let script = seeded(seed, len);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| law(&script))) {
            let what = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("seed {seed}: {what}");
        }
    }
}

#[test]
fn seeded_scripts_tell_the_same_as_prost_reflect() {
    run(4_000, transcode::drive);
}

#[test]
fn any_cut_of_a_body_or_reply_tells_the_same() {
    run(8_000, transcode::streams::drive);
}

#[test]
fn messages_that_come_together_with_a_bad_one_are_sent() {
    let messages: [&[u8]; 3] = [b"\x08\x01", b"\x08\x02", b"\x08"];
    let error = r#"{"error":{"code":13,"message":"the service sent a malformed reply"#;
    for (accept, before, end) in [
        ("application/json", "[{\"id\":1},{\"id\":2},", "abort"),
        ("application/x-ndjson", "{\"id\":1}\n{\"id\":2}\n", "done"),
    ] {
        let (body, ended) = transcode::streams::stream_of(accept, &messages);
        assert!(body.starts_with(&format!("{before}{error}")), "{body}");
        assert_eq!(ended, Some(end), "{body}");
    }
}

const OLD: &str = r#"
    syntax = "proto2"; package t; enum Closed { ONE = 1; }
    message Old { optional Closed closed = 1; optional int32 number = 2; map<int32, Closed> by_id = 3; }
"#;
const NEW: &str = r#"
    syntax = "proto3"; package t; import "old.proto"; import "google/protobuf/any.proto";
    import "google/protobuf/duration.proto"; import "google/protobuf/field_mask.proto";
    import "google/protobuf/struct.proto"; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
    enum Open { option allow_alias = true; NONE = 0; ONE_B = 1; ONE_A = 1; }
    message New {
      int32 i = 1; float f = 2; int64 l = 3; Open open = 4; Old old = 5; google.protobuf.Any any = 6;
      google.protobuf.Duration lasts = 7; google.protobuf.FieldMask mask = 8; google.protobuf.Value value = 9;
      google.protobuf.Timestamp at = 10; google.protobuf.NullValue null = 11; map<string, google.protobuf.Any> anys = 12;
      repeated float fs = 13; google.protobuf.FloatValue wrapped = 14; string text = 15; map<int32, int32> by_id = 16;
      repeated google.protobuf.Value values = 17; double d = 18; map<int32, float> floats = 19;
      oneof choice { New held = 20; int32 number = 21; string word = 24; }
      google.protobuf.StringValue named = 22; map<string, string> labels = 23; }
"#;

fn world() -> World {
    let old = protox::file::File::from_source("old.proto", OLD).unwrap();
    let new = protox::file::File::from_source("new.proto", NEW).unwrap();
    World::with([old, new].map(|file| file.file_descriptor_proto().clone()).into(), "t.New")
}

#[test]
fn exceptions_of_text_are_needed() {
    let world = world();
    let only_they_read = [
        (r#"{"i":1,"i":2}"#, Known::Twins),
        (r#"{"byId":{"0":1,"-0":2}}"#, Known::Twins),
        (r#"{"i":"+1"}"#, Known::RustInteger),
        (r#"{"byId":{"01":1}}"#, Known::RustInteger),
        (r#"{"f":"+1"}"#, Known::RustFloat),
        (r#"{"d":"inf"}"#, Known::RustFloat),
        (r#"{"f":"1e39"}"#, Known::RustFloat),
        (r#"{"l":9223372036854775808.0}"#, Known::RoundedInteger),
        (r#"{"l":9007199254740993.4}"#, Known::RoundedInteger),
        (r#"{"mask":"a b"}"#, Known::LooseMask),
        (r#"{"lasts":"1.0000000001s"}"#, Known::LongFraction),
        (r#"{"at":"2024-01-01T00:00:00.0000000001Z"}"#, Known::LongFraction),
        (r#"{"at":"2024-01-01T00:00:60Z"}"#, Known::LooseTime),
        (r#"{"old":{"closed":2}}"#, Known::ClosedEnum),
        (r#"{"any":{"@type":"x/.t.New"}}"#, Known::LeadingDot),
        (r#"{"any":{"i":true,"i":1,"@type":"x/t.New"}}"#, Known::Twins),
    ];
    for (text, known) in only_they_read {
        let error = laws::ours_of_text(&world, text.as_bytes()).expect_err(text);
        let theirs = laws::theirs_of_text(&world.root, text.as_bytes());
        assert!(theirs.is_ok(), "{text}: {theirs:?}");
        assert_eq!(exceptions::refused_by_us(text.as_bytes(), &error), Some(known), "{text}: {error}");
    }
    let only_we_read = [
        (r#"{"i":"1e2"}"#, Known::QuotedExponent),
        (r#"{"byId":{"1.0":1}}"#, Known::QuotedExponent),
        (r#"{"open":1.0}"#, Known::EnumFraction),
        (r#"{"null":0}"#, Known::NullNumber),
        (r#"{"any":{}}"#, Known::UnsetAny),
        (r#"{"f":3.4028235e38}"#, Known::LargestFloat),
    ];
    for (text, known) in only_we_read {
        assert!(laws::ours_of_text(&world, text.as_bytes()).is_ok(), "{text}");
        let error = laws::theirs_of_text(&world.root, text.as_bytes()).expect_err(text);
        assert_eq!(exceptions::refused_by_them(text.as_bytes(), &error), Some(known), "{text}: {error}");
    }
    for (text, known) in [
        (r#"{"l":9007199254740993.0}"#, Known::RoundedInteger),
        (r#"{"any":{"@type":"x/t.New","floats":{"1":-0.0}}}"#, Known::NegativeZero),
        (r#"{"values":null}"#, Known::NullList),
    ] {
        let ours = laws::ours_of_text(&world, text.as_bytes()).unwrap();
        let ours = prost_reflect::DynamicMessage::decode(world.root.clone(), ours.as_slice()).unwrap();
        let theirs = laws::theirs_of_text(&world.root, text.as_bytes()).unwrap();
        assert_ne!(laws::canon(&ours), laws::canon(&theirs), "{text}");
        assert_eq!(exceptions::reads_another(&world, text.as_bytes()), Some(known), "{text}");
    }
}

#[test]
fn exceptions_of_messages_are_needed() {
    let world = world();
    let options = WriteOptions::default();
    let ours = |bytes: &[u8]| laws::ours_of_bytes(&world, bytes, &options);
    let theirs = |bytes: &[u8]| laws::theirs_of_bytes(&world, bytes, &options);
    let only_they_write: [(&[u8], Known); 6] = [
        (b"\x32\x0a\x0a\x08x/.t.New", Known::LeadingDot),
        (b"\x4a\0", Known::UnsetValue),
        (b"\x52\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Known::NoText),
        (b"\x42\x03\x0a\x01-", Known::NoText),
        (b"\x88\x80\x80\x80\x80\0\x01", Known::LongTag),
        // Two entries of one key, the first with an Any that can't be told.
        (b"\x62\x08\x0a\x01a\x12\x03\x12\x01x\x62\x21\x0a\x01a\x12\x1c\x0a\x07x/t.New\x12\x11\x7a\x0faaaaaaaaaaaaaaa", Known::Replaced),
    ];
    for (bytes, known) in only_they_write {
        let error = ours(bytes).expect_err("must be refused");
        assert!(theirs(&cleaned(&world.root, bytes).unwrap()).is_ok(), "{known:?}");
        assert_eq!(exceptions::unwritten_by_us(&world, bytes, &error), Some(known), "{error}");
    }
    let only_we_write: [(&[u8], Known); 2] =
        [(b"\x32\0", Known::UnsetAny), (b"\xa2\x01\x01\xff\xa8\x01\x01", Known::Replaced)];
    for (bytes, known) in only_we_write {
        let text = ours(bytes).unwrap();
        let error = theirs(bytes).expect_err(&text);
        assert_eq!(exceptions::unwritten_by_them(&world, bytes, &text, &error), Some(known), "{error}");
    }
    // What the tests take out before they ask prost-reflect: another wire type, and numbers of closed enums.
    for (bytes, ours_is) in [(&b"\x09\0\0\0\0\0\0\0\0"[..], "{}"), (b"\x2a\x02\x08\x63", r#"{"old":{}}"#)] {
        let cleaned = cleaned(&world.root, bytes).unwrap();
        assert_eq!(ours(bytes).unwrap(), ours_is);
        assert_eq!(theirs(&cleaned).unwrap().to_string(), ours_is);
        assert_ne!(theirs(bytes).map(|json| json.to_string()), Ok(ours_is.to_owned()));
    }
    // What they write in another way: the negative zero, NaN in a wrapper, Empty in an Any.
    let other: [(&[u8], &str); 4] = [
        (b"\x15\0\0\0\x80", r#"{"f":-0}"#),
        (b"\x72\x05\x0d\0\0\xc0\x7f", r#"{"wrapped":"NaN"}"#),
        (b"\x32\x19\x0a\x17x/google.protobuf.Empty", r#"{"any":{"@type":"x/google.protobuf.Empty"}}"#),
        (b"\x20\x01", r#"{"open":"ONE_B"}"#),
    ];
    let mut differ = 0;
    for (bytes, text) in other {
        assert_eq!(ours(bytes).unwrap(), text);
        let (ours, theirs) = (serde_json::from_str(text).unwrap(), theirs(bytes).unwrap());
        differ += usize::from(ours != theirs);
        assert!(exceptions::same(&world, &ours, &theirs), "{theirs}");
        let changed =
            text.replace("-0", "1").replace("NaN", "NaNs").replace("Empty", "Value").replace("ONE_B", "NONE");
        assert!(!exceptions::same(&world, &serde_json::from_str(&changed).unwrap(), &theirs), "{theirs}");
    }
    assert!(differ >= 3, "they differ in {differ} of 4");
}

#[test]
fn a_string_that_is_not_utf8_is_refused_wherever_it_stands() {
    let world = world();
    let options = WriteOptions::default();
    let messages: [&[u8]; 12] = [
        // Alone, twice, after what comes oddly, and before and after a message.
        b"\x7a\x01\xff",
        b"\x7a\x01\xff\x7a\x01a",
        b"\x7a\x01a\x7a\x01\xff",
        b"\x08\x01\x08\x02\x7a\x01\xff\x7a\x01a",
        b"\xa2\x01\0\x7a\x01\xff\x7a\x01a",
        // Within a message, and in a oneof that another member takes.
        b"\xa2\x01\x0a\x08\x01\x08\x02\x7a\x01\xff\x7a\x01a",
        b"\x2a\0\xc2\x01\x01\xff\xa8\x01\x01",
        // In the key and the value of a map.
        b"\xba\x01\x09\x0a\x01\xff\x0a\x01a\x12\x01b",
        b"\xba\x01\x09\x0a\x01a\x12\x01\xff\x12\x01b",
        // In a wrapper, in a Value, and as the type of an Any.
        b"\xb2\x01\x06\x0a\x01\xff\x0a\x01a",
        b"\x4a\x05\x1a\x01\xff\x20\x01",
        b"\x32\x0c\x0a\x01\xff\x0a\x07x/t.New",
    ];
    for bytes in messages {
        let (ours, theirs) =
            (laws::ours_of_bytes(&world, bytes, &options), laws::theirs_of_bytes(&world, bytes, &options));
        assert!(ours.as_ref().is_err_and(|error| error.ends_with("is not UTF-8")), "{bytes:02x?}: {ours:?}");
        assert!(theirs.as_ref().is_err_and(|error| error.contains("UTF-8")), "{bytes:02x?}: {theirs:?}");
        let good: Vec<u8> = bytes.iter().map(|byte| if *byte == 0xff { b'z' } else { *byte }).collect();
        let ours = laws::ours_of_bytes(&world, &good, &options);
        assert!(ours.is_ok(), "{good:02x?}: {ours:?}");
    }
}

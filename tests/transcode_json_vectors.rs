//! Runs the facts of `vectors/json_mapping.json` through the JSON reader and writer.

#![expect(clippy::unwrap_used, reason = "a test may panic on a vector that is not as its file says")]

use std::env;
use std::fs;
use std::path::PathBuf;

use prost::Message as _;
use serde_json::Value;
use serde_json::json;
use transom::schema::Limits;
use transom::schema::compile;
use transom::transcode::Bound;
use transom::transcode::Plans;
use transom::transcode::ReadOptions;
use transom::transcode::Unknown;
use transom::transcode::WriteOptions;
use transom::transcode::read;
use transom::transcode::write;

#[test]
fn every_vector_holds() {
    let text = fs::read_to_string(folder().join("json_mapping.json")).unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    let plans = plans();
    let faults: Vec<String> = cases.iter().filter_map(|case| check(&plans, case).err()).collect();
    assert!(cases.len() > 100, "only {} cases", cases.len());
    assert!(faults.is_empty(), "{} of {} cases failed:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

fn check(plans: &Plans, case: &Value) -> Result<(), String> {
    let id = case["id"].as_str().unwrap();
    let options = &case["options"];
    let known = ["ignore_unknown_fields", "enums_as_ints", "emit_defaults", "preserve_proto_names"];
    if let Some(other) =
        options.as_object().and_then(|all| all.keys().find(|key| !known.contains(&key.as_str())))
    {
        return Err(format!("{id}: the option {other} is unknown here"));
    }
    let printed = match case["direction"].as_str() {
        Some("parse_then_serialize") => {
            parse(plans, case).and_then(|message| print(plans, options, &message))
        }
        Some("serialize") => print(plans, options, &in_memory(id, case["proto_in"].as_str().unwrap())),
        other => return Err(format!("{id}: the direction {other:?} is unknown here")),
    };
    let expected = &case["expect"];
    match (expected["kind"].as_str(), printed) {
        (Some("error"), Err(_)) => Ok(()),
        (Some("error"), Ok(printed)) => Err(format!("{id}: no error, but {printed}")),
        (Some("ok"), Err(error)) => Err(format!("{id}: {error}")),
        (Some("ok"), Ok(printed)) if id == "emit-defaults" => with_defaults(&printed),
        (Some("ok"), Ok(printed)) => {
            let wanted: Value = serde_json::from_str(expected["json_out"].as_str().unwrap()).unwrap();
            if same(&wanted, &printed) { Ok(()) } else { Err(format!("{id}: {printed} instead of {wanted}")) }
        }
        (other, _) => Err(format!("{id}: the expectation {other:?} is unknown here")),
    }
}

fn parse(plans: &Plans, case: &Value) -> Result<Vec<u8>, String> {
    let ignore = case["options"]["ignore_unknown_fields"] == json!(true);
    let unknown_fields = if ignore { Unknown::Ignore } else { Unknown::Reject };
    let options = ReadOptions { unknown_fields, ..ReadOptions::default() };
    let json = case["json_in"].as_str().unwrap().as_bytes();
    let mut message = Vec::new();
    let root = plans.find("vec2.All").unwrap();
    read(plans, root, json, &Bound::empty(), &options, &mut message).map_err(|error| error.to_string())?;
    Ok(message)
}

fn print(plans: &Plans, options: &Value, message: &[u8]) -> Result<Value, String> {
    let options = WriteOptions {
        emit_defaults: options["emit_defaults"] == json!(true),
        preserve_names: options["preserve_proto_names"] == json!(true),
        enums_as_numbers: options["enums_as_ints"] == json!(true),
        ..WriteOptions::default()
    };
    let mut json = Vec::new();
    let root = plans.find("vec2.All").unwrap();
    write(plans, root, message, &options, &mut json).map_err(|error| format!("not printed: {error:?}"))?;
    serde_json::from_slice(&json).map_err(|error| format!("printed what is no JSON: {error}"))
}

/// The message of a case that begins in memory, encoded.
fn in_memory(id: &str, described: &str) -> Vec<u8> {
    let timestamp = |seconds, nanos| (33, prost_types::Timestamp { seconds, nanos }.encode_to_vec());
    let duration = |seconds, nanos| (34, prost_types::Duration { seconds, nanos }.encode_to_vec());
    let (field, content): (u32, Vec<u8>) = match (id, described) {
        ("ser-01", "seconds=-62135596801") => timestamp(-62_135_596_801, 0),
        ("ser-02", "seconds=253402300800") => timestamp(253_402_300_800, 0),
        ("ser-03", "seconds=0 nanos=-1") => timestamp(0, -1),
        ("ser-05", "seconds=315576000001") => duration(315_576_000_001, 0),
        ("ser-08", "paths=[\"foo__bar\"]") => {
            (35, prost_types::FieldMask { paths: vec!["foo__bar".into()] }.encode_to_vec())
        }
        ("ser-10", "no kind set") => (37, Vec::new()),
        ("ser-12", "type_url unknown") => {
            let type_url = "type.googleapis.com/no.Such".into();
            (39, prost_types::Any { type_url, value: vec![8, 1] }.encode_to_vec())
        }
        other => panic!("the message of {other:?} is unknown here"),
    };
    let mut message = Vec::new();
    prost::encoding::bytes::encode(field, &content, &mut message);
    message
}

/// What `emit-defaults` says in words.
fn with_defaults(printed: &Value) -> Result<(), String> {
    let wanted = [
        ("i32", json!(0)),
        ("i64", json!("0")),
        ("s", json!("")),
        ("b", json!(false)),
        ("e", json!("COLOR_UNSPECIFIED")),
        ("rI32", json!([])),
        ("mapSi", json!({})),
    ];
    let missing =
        wanted.iter().find(|(name, value)| !printed.get(name).is_some_and(|found| same(found, value)));
    let absent = ["optI32", "optS", "oI", "oS", "m", "ts", "wI32", "st"];
    let extra = absent.iter().find(|name| printed.get(name).is_some());
    match (missing, extra) {
        (None, None) => Ok(()),
        (missing, extra) => {
            Err(format!("emit-defaults: {missing:?} missing, {extra:?} too much, of {printed}"))
        }
    }
}

/// Equal as JSON; numbers numerically.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// The folder of the vectors; `TRANSOM_VECTORS` names another one.
fn folder() -> PathBuf {
    match env::var_os("TRANSOM_VECTORS") {
        Some(folder) => folder.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"),
    }
}

fn plans() -> Plans {
    let files = vec![("vec2.proto".to_owned(), PROTO.as_bytes().to_vec())];
    let schema = compile::protos(files, &[], &Limits::default()).unwrap();
    Plans::new(schema.pool().clone(), schema.traits().clone())
}

/// The schema that the vectors describe.
const PROTO: &str = r#"
    syntax = "proto3";
    package vec2;
    import "google/protobuf/any.proto";
    import "google/protobuf/duration.proto";
    import "google/protobuf/empty.proto";
    import "google/protobuf/field_mask.proto";
    import "google/protobuf/struct.proto";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";
    enum Color { COLOR_UNSPECIFIED = 0; RED = 1; BLUE = 2; }
    message Nested { int32 a = 1; }
    message All {
      int32 i32 = 1; int64 i64 = 2; uint32 u32 = 3; uint64 u64 = 4; sint64 s64 = 5; fixed32 fx32 = 6; fixed64 fx64 = 7;
      bool b = 8; float f = 9; double d = 10; string s = 11; bytes by = 12; Color e = 13; Nested m = 14;
      repeated int32 r_i32 = 15; repeated string r_s = 16; repeated Nested r_m = 17; repeated Color r_e = 18;
      map<string, int32> map_si = 19; map<int32, int32> map_ii = 20; map<bool, bool> map_bb = 21;
      map<string, Nested> map_sm = 22; map<int64, int64> map_li = 23;
      oneof choice { int32 o_i = 24; string o_s = 25; }
      optional int32 opt_i32 = 26; optional string opt_s = 27;
      string cust = 28 [json_name = "Custom-Name"]; string snake_case_name = 29;
      google.protobuf.Timestamp ts = 33; google.protobuf.Duration du = 34; google.protobuf.FieldMask fm = 35;
      google.protobuf.Struct st = 36; google.protobuf.Value val = 37; google.protobuf.ListValue lv = 38;
      google.protobuf.Any any = 39; google.protobuf.Empty em = 40;
      google.protobuf.BoolValue w_b = 41; google.protobuf.Int32Value w_i32 = 42; google.protobuf.Int64Value w_i64 = 43;
      google.protobuf.StringValue w_s = 44; google.protobuf.BytesValue w_by = 45; google.protobuf.DoubleValue w_d = 46;
      google.protobuf.NullValue nv = 47;
    }
"#;

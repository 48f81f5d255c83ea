//! The laws: one message, or one refusal, whoever reads or writes it.

use prost_reflect::DeserializeOptions;
use prost_reflect::DynamicMessage;
use prost_reflect::Kind;
use prost_reflect::MapKey;
use prost_reflect::MessageDescriptor;
use prost_reflect::ReflectMessage as _;
use prost_reflect::SerializeOptions;
use prost_reflect::Value;
use serde_json::Value as Json;
use transom::transcode::Bound;
use transom::transcode::Int64;
use transom::transcode::ReadError;
use transom::transcode::ReadOptions;
use transom::transcode::WriteOptions;
use transom::transcode::read;
use transom::transcode::write;

use super::exceptions;
use super::exceptions::Known;
use super::json::Node;
use super::schema::World;
use super::wire::cleaned;
use super::wire::replaces;

/// Text is read as the same message by both, or refused by both.
///
/// # Panics
/// When it isn't, and no exception says so.
pub(crate) fn check_text(world: &World, text: &[u8]) {
    let ours = ours_of_text(world, text);
    if let Ok(bytes) = &ours {
        // What is read is in the form that is written, so it must be written again and mean the same.
        let message = decoded(world, bytes, text);
        check_round(world, bytes, &message, text);
    }
    match (ours, theirs_of_text(&world.root, text)) {
        (Err(_), Err(_)) => {}
        (Ok(ours), Ok(theirs)) => {
            let (ours, theirs) = (canon(&decoded(world, &ours, text)), canon(&theirs));
            if ours != theirs {
                assert!(
                    exceptions::reads_another(world, text).is_some(),
                    "read differently\nours:   {ours}\ntheirs: {theirs}\n{}",
                    shown(world, text)
                );
            }
        }
        (Err(error), Ok(_)) => assert!(
            exceptions::refused_by_us(text, &error).is_some(),
            "only we refuse it: {error}\n{}",
            shown(world, text)
        ),
        (Ok(_), Err(error)) => assert!(
            exceptions::refused_by_them(text, &error).is_some(),
            "only they refuse it: {error}\n{}",
            shown(world, text)
        ),
    }
}

/// A message is written as the same text by both, or refused by both; and our text is read as the message.
///
/// # Panics
/// When it isn't, and no exception says so.
pub(crate) fn check_bytes(world: &World, bytes: &[u8], options: WriteOptions) {
    let ours = ours_of_bytes(world, bytes, &options);
    let cleaned = cleaned(&world.root, bytes);
    if cleaned.is_none() {
        // prost-reflect reads the entries of maps whatever their wire type is.
        let is_refused = ours.is_err() || DynamicMessage::decode(world.root.clone(), bytes).is_err();
        assert!(
            is_refused || replaces(&world.root, bytes),
            "only the tests' own reader refuses it\n{}",
            shown(world, bytes)
        );
    }
    let theirs = match &cleaned {
        None => Err("malformed".to_owned()),
        Some(cleaned) => theirs_of_bytes(world, cleaned, &options),
    };
    match (&ours, theirs) {
        (Err(_), Err(_)) => {}
        (Ok(text), Ok(theirs)) => {
            let read: Json = serde_json::from_str(text).expect("JSON");
            assert!(
                exceptions::same(world, &read, &theirs),
                "written differently\nours:   {text}\ntheirs: {theirs}\n{}",
                shown(world, bytes)
            );
        }
        (Err(error), Ok(theirs)) => assert!(
            exceptions::unwritten_by_us(world, bytes, error).is_some(),
            "only we refuse it: {error}\ntheirs: {theirs}\n{}",
            shown(world, bytes)
        ),
        (Ok(text), Err(error)) => {
            let known = exceptions::unwritten_by_them(world, bytes, text, &error);
            assert!(known.is_some(), "only they refuse it: {error}\nours: {text}\n{}", shown(world, bytes));
            if known == Some(Known::Replaced) {
                return;
            }
        }
    }
    if let (Ok(text), Some(cleaned)) = (ours, cleaned)
        && let Ok(message) = DynamicMessage::decode(world.root.clone(), cleaned.as_slice())
    {
        check_back(world, &text, &message, bytes);
    }
}

/// What was read is written as text that is read as the same message.
fn check_round(world: &World, bytes: &[u8], message: &DynamicMessage, input: &[u8]) {
    match ours_of_bytes(world, bytes, &WriteOptions::default()) {
        Ok(text) => check_back(world, &text, message, input),
        Err(error) => panic!("what is read can't be written: {error}\n{}", shown(world, input)),
    }
}

fn check_back(world: &World, text: &str, message: &DynamicMessage, input: &[u8]) {
    let back = ours_of_text(world, text.as_bytes());
    let back =
        back.unwrap_or_else(|error| panic!("our text is refused: {error}\n{text}\n{}", shown(world, input)));
    let back = canon(&decoded(world, &back, text.as_bytes()));
    let message = canon(message);
    assert_eq!(back, message, "the way back leads elsewhere\n{text}\n{}", shown(world, input));
}

/// Bits of `choice`: proto names, enums as numbers, integers as numbers, defaults.
pub(crate) fn options(choice: u8) -> WriteOptions {
    let has = |bit: u8| choice >> bit & 1 == 1;
    WriteOptions {
        preserve_names: has(0),
        enums_as_numbers: has(1),
        int64: if has(2) { Int64::Number } else { Int64::String },
        emit_defaults: has(3),
        ..WriteOptions::default()
    }
}

pub(crate) fn ours_of_text(world: &World, text: &[u8]) -> Result<Vec<u8>, ReadError> {
    let mut out = Vec::new();
    read(&world.plans, world.id, text, &Bound::empty(), &ReadOptions::default(), &mut out)?;
    Ok(out)
}

pub(crate) fn theirs_of_text(root: &MessageDescriptor, text: &[u8]) -> Result<DynamicMessage, String> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(root.clone(), &mut json, &options)
        .map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    Ok(message)
}

pub(crate) fn ours_of_bytes(world: &World, bytes: &[u8], options: &WriteOptions) -> Result<String, String> {
    let mut out = Vec::new();
    write(&world.plans, world.id, bytes, options, &mut out).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).expect("JSON is UTF-8"))
}

pub(crate) fn theirs_of_bytes(world: &World, bytes: &[u8], options: &WriteOptions) -> Result<Json, String> {
    let message = DynamicMessage::decode(world.root.clone(), bytes).map_err(|error| error.to_string())?;
    let options = SerializeOptions::new()
        .use_proto_field_name(options.preserve_names)
        .use_enum_numbers(options.enums_as_numbers)
        .stringify_64_bit_integers(options.int64 == Int64::String)
        .skip_default_fields(!options.emit_defaults);
    let mut text = Vec::new();
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options)
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

fn decoded(world: &World, bytes: &[u8], input: &[u8]) -> DynamicMessage {
    let message = DynamicMessage::decode(world.root.clone(), bytes);
    let message = message
        .unwrap_or_else(|error| panic!("we made no message: {error} {bytes:02x?}\n{}", shown(world, input)));
    assert_eq!(message.unknown_fields().count(), 0, "we made unknown fields\n{}", shown(world, input));
    message
}

/// A message as text that is the same for the same message: floats by their bits, maps sorted, Anys by their content.
pub(crate) fn canon(message: &DynamicMessage) -> String {
    let descriptor = message.descriptor();
    if descriptor.full_name() == "google.protobuf.Any" {
        let of = |number| message.get_field_by_number(number).map(|value| value.into_owned());
        if let (Some(Value::String(url)), Some(Value::Bytes(content))) = (of(1), of(2))
            && let Some((_, name)) = url.rsplit_once('/')
            && let Some(held) = descriptor.parent_pool().get_message_by_name(name)
            && let Some(content) = cleaned(&held, &content)
            && let Ok(content) = DynamicMessage::decode(held, content.as_slice())
        {
            return format!("{url}{}", canon(&content));
        }
    }
    let mut parts: Vec<(u32, String)> = Vec::new();
    for (field, value) in message.fields() {
        // It has one value, and JSON has one for it.
        let is_null = match field.kind() {
            Kind::Message(entry) if field.is_map() => is_null_value(&entry.map_entry_value_field().kind()),
            kind => is_null_value(&kind),
        };
        if is_null && !field.supports_presence() && !field.is_list() && !field.is_map() {
            continue;
        }
        parts.push((field.number(), canon_value(value, is_null)));
    }
    for (field, value) in message.extensions() {
        let is_null = is_null_value(&field.kind());
        parts.push((field.number(), canon_value(value, is_null)));
    }
    parts.sort();
    let parts: Vec<String> = parts.into_iter().map(|(number, value)| format!("{number}:{value}")).collect();
    format!("{{{}}}", parts.join(" "))
}

fn is_null_value(kind: &Kind) -> bool {
    matches!(kind, Kind::Enum(declared) if declared.full_name() == "google.protobuf.NullValue")
}

fn canon_value(value: &Value, is_null: bool) -> String {
    match value {
        Value::F32(float) if float.is_nan() => "nan".to_owned(),
        Value::F64(float) if float.is_nan() => "nan".to_owned(),
        Value::F32(float) => format!("f{:08x}", float.to_bits()),
        Value::F64(float) => format!("d{:016x}", float.to_bits()),
        Value::EnumNumber(number) => {
            if is_null {
                "0".to_owned()
            } else {
                number.to_string()
            }
        }
        Value::Message(message) => canon(message),
        Value::List(values) => {
            let values: Vec<String> = values.iter().map(|value| canon_value(value, is_null)).collect();
            format!("[{}]", values.join(" "))
        }
        Value::Map(entries) => {
            let mut entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| {
                    let value = canon_value(value, is_null);
                    match key {
                        MapKey::String(key) => format!("{key:?}={value}"),
                        key => format!("{key:?}={value}"),
                    }
                })
                .collect();
            entries.sort();
            format!("<{}>", entries.join(" "))
        }
        other => format!("{other:?}"),
    }
}

/// What a broken law needs to be understood.
fn shown(world: &World, input: &[u8]) -> String {
    match std::str::from_utf8(input) {
        Ok(text) if matches!(Node::read(text), Node::Object(_)) => format!("text: {text}\n{world:?}"),
        _ => format!("bytes: {input:02x?}\n{world:?}"),
    }
}

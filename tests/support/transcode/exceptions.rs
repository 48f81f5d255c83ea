//! Where prost-reflect is known to differ from the specifications, each as narrow as can be told from the input.

use serde_json::Value as Json;
use transom::transcode::ReadError;

use super::json::Node;
use super::schema::World;
use super::wire::hides;
use super::wire::replaces;

/// One known difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// They take the last of members and keys that come again; we refuse (rule 21).
    Twins,
    /// They read quoted integers by Rust's rules: a plus, leading zeros.
    RustInteger,
    /// They read quoted floats by Rust's rules: a plus, bare points, `inf`, `nan`, infinity where it is too large.
    RustFloat,
    /// They read integers with a point or an exponent through a double, which rounds.
    RoundedInteger,
    /// They read field masks of any characters.
    LooseMask,
    /// They read more than nine decimals of a second.
    LongFraction,
    /// They read the second 60, and offsets that no zone has.
    LooseTime,
    /// They take all enums to be open.
    ClosedEnum,
    /// They read the URL of a type whose name begins with a dot.
    LeadingDot,
    /// They refuse quoted integers that are written with an exponent or a zero fraction, and a quoted `-0`.
    QuotedExponent,
    /// They refuse numbers of enums with a zero fraction.
    EnumFraction,
    /// They refuse the number of NullValue.
    NullNumber,
    /// They refuse an Any that is not set.
    UnsetAny,
    /// They want `value` of Empty in an Any, which is a message as others are.
    EmptyInAny,
    /// They lose the sign of a zero that is the value of a map in an Any, which they encode.
    NegativeZero,
    /// They take null for a list of values to be a null in the list.
    NullList,
    /// They refuse floats that round to the largest one.
    LargestFloat,
    /// They write a Value without a value as null, which struct.proto calls an error.
    UnsetValue,
    /// They write times and masks that have no text.
    NoText,
    /// We refuse numbers that a reader of JSON rounds, where the option asks for numbers.
    UnsafeNumber,
    /// We refuse tags that are longer than need be and than five bytes.
    LongTag,
    /// We don't look at messages that a later member of a oneof replaces, so we don't see that they are malformed,
    /// nor at strings of proto2 that a later value replaces, which may be any bytes; and of two entries with one key
    /// we look at both, so that the first must have a text too.
    Replaced,
}

/// Why we may refuse text that they read.
pub(crate) fn refused_by_us(text: &[u8], error: &ReadError) -> Option<Known> {
    let text = std::str::from_utf8(text).ok()?;
    let says = |what: &str| error.what.contains(what);
    let token = Node::read(text.get(error.offset..)?);
    let quoted = match &token {
        Node::String(text) => text.as_str(),
        _ => "",
    };
    let bare = match &token {
        Node::Bare(text) => text.as_str(),
        _ => "",
    };
    let tree = Node::read(text);
    // What stands before the type of an Any they gather first, and see only the last of each name.
    if (says("is there twice") || tree.any(&is_any)) && tree.any(&has_twins) {
        return Some(Known::Twins);
    }
    if says("is not an integer") && is_rust_integer(quoted) {
        return Some(Known::RustInteger);
    }
    if says("is not a number") && quoted.parse::<f64>().is_ok() {
        return Some(Known::RustFloat);
    }
    if says("is beyond the range of") && quoted.parse::<f32>().is_ok_and(f32::is_infinite) {
        return Some(Known::RustFloat);
    }
    let is_whole_double = bare.parse::<f64>().is_ok_and(|number| number.fract() == 0.0);
    if (says("has a fraction") && is_whole_double)
        || ((says("is out of range") || says("is beyond 64 bits")) && is_rounded(bare))
    {
        return Some(Known::RoundedInteger);
    }
    if says("is not a field mask") && !quoted.contains('_') {
        return Some(Known::LooseMask);
    }
    let decimals =
        quoted.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    if (says("is not a duration") || says("is not a timestamp")) && decimals > 9 {
        return Some(Known::LongFraction);
    }
    if says("is a type that this API doesn't have") && quoted.contains("/.") {
        return Some(Known::LeadingDot);
    }
    if says("is no point in time") && is_loose_time(quoted) {
        return Some(Known::LooseTime);
    }
    (says("which is a closed enum") && bare.parse::<i32>().is_ok()).then_some(Known::ClosedEnum)
}

/// Why they may refuse text that we read.
pub(crate) fn refused_by_them(text: &[u8], error: &str) -> Option<Known> {
    let tree = Node::read(std::str::from_utf8(text).ok()?);
    // Within an Any faults begin with a capital.
    let error = error.to_lowercase();
    let says = |what: &str| error.contains(what);
    let is_exponent =
        |text: &str| text.parse::<f64>().is_ok() && (text.contains(['e', 'E', '.']) || text == "-0");
    let has = |is: &dyn Fn(&Node) -> bool| tree.any(is);
    let strings = |node: &Node| match node {
        Node::String(text) => is_exponent(text),
        Node::Object(members) => members.iter().any(|(name, _)| is_exponent(name)),
        _ => false,
    };
    if says("invalid digit found in string") && has(&strings) {
        return Some(Known::QuotedExponent);
    }
    if says("invalid type")
        && says("floating point")
        && has(&|node| matches!(node, Node::Bare(text) if is_exponent(text)))
    {
        return Some(Known::EnumFraction);
    }
    let is_integer = |node: &Node| matches!(node, Node::Bare(text) if text.parse::<i32>().is_ok());
    if says("invalid type") && says("integer") && says("expected null") && has(&is_integer) {
        return Some(Known::NullNumber);
    }
    if says("expected '@type' field") && has(&|node| *node == Node::Object(Vec::new())) {
        return Some(Known::UnsetAny);
    }
    let is_empty_type =
        |node: &Node| matches!(node, Node::String(text) if text.ends_with("/google.protobuf.Empty"));
    if says("expected 'value' field") && has(&is_empty_type) {
        return Some(Known::EmptyInAny);
    }
    let is_largest = |node: &Node| {
        let Node::Bare(text) = node else { return false };
        text.parse::<f64>().is_ok_and(|number| number.abs() > f64::from(f32::MAX))
            && text.parse::<f32>().is_ok_and(|number| number.abs() == f32::MAX)
    };
    (says("float value out of range") && has(&is_largest)).then_some(Known::LargestFloat)
}

/// Why the two may read text as different messages.
pub(crate) fn reads_another(world: &World, text: &[u8]) -> Option<Known> {
    let tree = Node::read(std::str::from_utf8(text).ok()?);
    let is_null_list = |node: &Node| {
        let Node::Object(members) = node else { return false };
        members
            .iter()
            .any(|(name, value)| *value == Node::Bare("null".into()) && world.nullable.contains(name))
    };
    if tree.any(&is_null_list) {
        return Some(Known::NullList);
    }
    let is_zero = |text: &str| text.starts_with('-') && text.parse() == Ok(0.0_f64);
    let is_negative_zero =
        |node: &Node| matches!(node, Node::Bare(text) | Node::String(text) if is_zero(text));
    if tree.any(&is_any) && tree.any(&is_negative_zero) {
        return Some(Known::NegativeZero);
    }
    tree.any(&|node| matches!(node, Node::Bare(text) if is_rounded(text))).then_some(Known::RoundedInteger)
}

/// Whether a node is an Any with a type.
fn is_any(node: &Node) -> bool {
    matches!(node, Node::Object(members) if members.iter().any(|(name, _)| name == "@type"))
}

/// Why we may refuse a message that they write.
pub(crate) fn unwritten_by_us(world: &World, bytes: &[u8], error: &str) -> Option<Known> {
    let table = [
        ("a Value has no value", Known::UnsetValue),
        ("a Timestamp is outside of the years", Known::NoText),
        ("have different signs", Known::NoText),
        ("a path of a FieldMask", Known::NoText),
        ("2^53", Known::UnsafeNumber),
        ("a tag is malformed", Known::LongTag),
    ];
    if error.contains("an Any holds") && error.contains("/.") {
        return Some(Known::LeadingDot);
    }
    let named = table.iter().find(|(says, _)| error.contains(says)).map(|(_, known)| *known);
    // Of two entries with one key we write the first too, before we know of the second.
    named.or_else(|| replaces(&world.root, bytes).then_some(Known::Replaced))
}

/// Why they may refuse a message that we write.
pub(crate) fn unwritten_by_them(world: &World, bytes: &[u8], text: &str, error: &str) -> Option<Known> {
    let is_malformed = error == "malformed" || error.contains("failed to decode Protobuf message");
    if is_malformed && hides(&world.root, bytes) {
        return Some(Known::Replaced);
    }
    if error.contains("unsupported type url ''")
        && Node::read(text).any(&|node| *node == Node::Object(Vec::new()))
    {
        return Some(Known::UnsetAny);
    }
    None
}

/// Equal as JSON, numbers by value, but for what prost-reflect writes in a way of its own.
pub(crate) fn same(world: &World, ours: &Json, theirs: &Json) -> bool {
    match (ours, theirs) {
        (Json::Number(ours), Json::Number(theirs)) => {
            ours == theirs || (ours.as_f64() == theirs.as_f64() && (ours.is_f64() || theirs.is_f64()))
        }
        (Json::Array(ours), Json::Array(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(ours, theirs)| same(world, ours, theirs))
        }
        (Json::Object(ours), Json::Object(theirs)) => {
            let is_empty_any = |key: &str| {
                key == "value"
                    && theirs["value"] == Json::Object(serde_json::Map::new())
                    && theirs
                        .get("@type")
                        .and_then(Json::as_str)
                        .is_some_and(|url| url.ends_with("/google.protobuf.Empty"))
            };
            // They take the negative zero for the default.
            let is_negative_zero =
                |value: &Json| value.as_f64().is_some_and(|value| value == 0.0 && value.is_sign_negative());
            ours.iter().all(|(key, ours)| match theirs.get(key) {
                Some(theirs) => same(world, ours, theirs),
                None => is_negative_zero(ours),
            }) && theirs.keys().all(|key| ours.contains_key(key) || is_empty_any(key))
        }
        // They write null for what JSON has no number for, in wrappers.
        (Json::String(ours), Json::Null) => matches!(ours.as_str(), "NaN" | "Infinity" | "-Infinity"),
        // Of names with one number they take any, we the first declared.
        (Json::String(ours), Json::String(theirs)) if ours != theirs => {
            world.aliases.contains(ours) && world.aliases.contains(theirs)
        }
        _ => ours == theirs,
    }
}

/// Whether an object has two members under one name, or two keys for one number.
fn has_twins(node: &Node) -> bool {
    let Node::Object(members) = node else { return false };
    let plain = |name: &str| match name.parse::<f64>() {
        // A negative zero is zero.
        Ok(number) => (number + 0.0).to_string(),
        Err(_) => name.replace(|c: char| !c.is_ascii_digit(), ""),
    };
    let mut names: Vec<(String, String)> =
        members.iter().map(|(name, _)| (plain(name), name.clone())).collect();
    names.sort();
    // The fields of our schemas have numbers in their names, whichever of the two it is.
    names.windows(2).any(|pair| pair[0].0 == pair[1].0 && (pair[0].1 == pair[1].1 || !pair[0].0.is_empty()))
}

fn is_rust_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_odd = text.starts_with('+') || (digits.len() > 1 && digits.starts_with('0'));
    is_odd && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a number is read as a double, and may be another one then.
fn is_rounded(text: &str) -> bool {
    let is_double =
        text.contains(['.', 'e', 'E']) || (text.parse::<i64>().is_err() && text.parse::<u64>().is_err());
    is_double && text.parse::<f64>().is_ok_and(|number| number.abs() >= 4_503_599_627_370_496.0)
}

fn is_loose_time(text: &str) -> bool {
    text.contains(":60")
        || text.get(text.len().saturating_sub(6)..).is_some_and(|zone| zone.starts_with(['+', '-']))
}

//! Rewrites a file of an edition as one of proto2, and keeps apart what proto2 has no words for.
//!
//! prost-reflect knows two syntaxes and panics on the third. What it gets is a copy in which every
//! resolved feature is said the old way: labels, groups, `packed`. Presence, open enums and the checking
//! of strings can't be said so; they become [`Traits`](crate::schema::Traits).

use std::collections::HashMap;

use prost::encoding::encode_varint;

use crate::schema::features::Edition;
use crate::schema::features::Enums;
use crate::schema::features::Features;
use crate::schema::features::Json;
use crate::schema::features::Messages;
use crate::schema::features::Presence;
use crate::schema::features::Repeated;
use crate::schema::features::Unreadable;
use crate::schema::features::Utf8;
use crate::schema::features::field as features_of;
use crate::schema::scan;
use crate::schema::scan::Malformed;
use crate::schema::scan::Value;
use crate::schema::traits::Editions;

/// A file in the words of proto2.
#[derive(Debug)]
pub(super) struct Rewritten {
    /// A serialized `google.protobuf.FileDescriptorProto`.
    pub(super) bytes: Vec<u8>,
    /// What those bytes don't say of it.
    pub(super) traits: Editions,
}

/// Rewrites a serialized `google.protobuf.FileDescriptorProto`, which must have been measured: that bounds
/// how deep its messages nest.
pub(super) fn rewrite(file: &[u8], edition: Edition) -> Result<Rewritten, Unreadable> {
    let package = text(file, 2);
    let features = Features::of(edition).with(&all(file, 8)?, features_of::FILE)?;
    let mut rewrite = Rewrite { traits: Editions::default() };
    rewrite.traits.files.insert(text(file, scan::file::NAME).into());
    let scope = Scope { name: &package, features, oneofs: &[], entries: &HashMap::new() };
    let mut out = Vec::with_capacity(file.len() + 16);
    for field in scan::fields(file) {
        let field = field?;
        match (field.number, field.value) {
            (4, Value::Bytes(message)) => put(&mut out, 4, &rewrite.message(message, &scope)?),
            (5, Value::Bytes(declared)) => put(&mut out, 5, &rewrite.enumeration(declared, &scope)?),
            (6, Value::Bytes(service)) => put(&mut out, 6, &self::service(service)?),
            (7, Value::Bytes(extension)) => {
                put(&mut out, 7, &rewrite.field(extension, &scope, Place::Extension)?)
            }
            (8, Value::Bytes(options)) => put(&mut out, 8, &scan::without(options, &[features_of::FILE])?),
            (scan::file::SYNTAX | scan::file::EDITION_TEXT | scan::file::EDITION, _) => (),
            _ => out.extend_from_slice(field.raw),
        }
    }
    put(&mut out, scan::file::SYNTAX, b"proto2");
    Ok(Rewritten { bytes: out, traits: rewrite.traits })
}

struct Rewrite {
    traits: Editions,
}

/// What surrounds a declaration.
struct Scope<'a> {
    /// Full name of the package or message.
    name: &'a str,
    features: Features,
    /// Of the oneofs of the message, in their order.
    oneofs: &'a [Features],
    /// Of the maps of the message, which hand them on to keys and values: by the full name of the entry.
    entries: &'a HashMap<String, Features>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Message,
    MapEntry,
    Extension,
}

impl Rewrite {
    fn message(&mut self, message: &[u8], outer: &Scope<'_>) -> Result<Vec<u8>, Unreadable> {
        let options = all(message, 7)?;
        let name = join(outer.name, &text(message, 1));
        let map = outer.entries.get(&name).copied();
        let features = map.unwrap_or(outer.features).with(&options, features_of::MESSAGE)?;
        self.note_json(&name, features);
        let oneofs = oneofs(message, features)?;
        let entries = entries(message, &name, features)?;
        let scope = Scope { name: &name, features, oneofs: &oneofs, entries: &entries };
        let place = if is_map_entry(&options) { Place::MapEntry } else { Place::Message };
        let mut out = Vec::with_capacity(message.len());
        for field in scan::fields(message) {
            let field = field?;
            match (field.number, field.value) {
                (2, Value::Bytes(member)) => put(&mut out, 2, &self.field(member, &scope, place)?),
                (3, Value::Bytes(nested)) => put(&mut out, 3, &self.message(nested, &scope)?),
                (4, Value::Bytes(declared)) => put(&mut out, 4, &self.enumeration(declared, &scope)?),
                (5, Value::Bytes(range)) => {
                    put(&mut out, 5, &stripped(range, 3, features_of::EXTENSION_RANGE)?);
                }
                (6, Value::Bytes(extension)) => {
                    put(&mut out, 6, &self.field(extension, &scope, Place::Extension)?);
                }
                (7, Value::Bytes(options)) => {
                    put(&mut out, 7, &scan::without(options, &[features_of::MESSAGE])?);
                }
                (8, Value::Bytes(oneof)) => put(&mut out, 8, &stripped(oneof, 2, features_of::ONEOF)?),
                _ => out.extend_from_slice(field.raw),
            }
        }
        Ok(out)
    }

    fn field(&mut self, field: &[u8], scope: &Scope<'_>, place: Place) -> Result<Vec<u8>, Unreadable> {
        let options = all(field, field::OPTIONS)?;
        let oneof = if place == Place::Message { number(field, field::ONEOF_INDEX) } else { None };
        let features = oneof.and_then(|at| scope.oneofs.get(usize::try_from(at).ok()?));
        let features = features.unwrap_or(&scope.features).with(&options, features_of::FIELD)?;
        let kind = number(field, field::TYPE).unwrap_or_default();
        let message = matches!(kind, TYPE_MESSAGE | TYPE_GROUP);
        let repeated = number(field, field::LABEL) == Some(LABEL_REPEATED);
        let alone = place == Place::Message && oneof.is_none() && !repeated;

        let name = || join(scope.name, &text(field, field::NAME)).into();
        if alone && !message && features.presence == Presence::Implicit {
            self.traits.implicit.insert(name());
        }
        if kind == TYPE_STRING && features.utf8 == Utf8::Unchecked {
            self.traits.unverified.insert(name());
        }
        // Appended values replace those that came before.
        let mut out = scan::without(field, &[field::OPTIONS, field::PROTO3_OPTIONAL])?;
        if alone && features.presence == Presence::LegacyRequired {
            put_number(&mut out, field::LABEL, LABEL_REQUIRED);
        }
        let map = scope.entries.contains_key(text(field, field::TYPE_NAME).trim_start_matches('.'));
        let delimited = features.messages == Messages::Delimited && !map && place != Place::MapEntry;
        if kind == TYPE_MESSAGE && delimited {
            put_number(&mut out, field::TYPE, TYPE_GROUP);
        }
        let mut options = scan::without(&options, &[features_of::FIELD])?;
        if repeated && !message && !matches!(kind, TYPE_STRING | TYPE_BYTES) {
            let packed = features.repeated == Repeated::Packed;
            put_number(&mut options, OPTION_PACKED, packed.into());
        }
        if !options.is_empty() {
            put(&mut out, field::OPTIONS, &options);
        }
        Ok(out)
    }

    fn note_json(&mut self, name: &str, features: Features) {
        if features.json == Json::LegacyBestEffort {
            self.traits.legacy_json.insert(name.into());
        }
    }

    fn enumeration(&mut self, declared: &[u8], scope: &Scope<'_>) -> Result<Vec<u8>, Unreadable> {
        let features = scope.features.with(&all(declared, 3)?, features_of::ENUM)?;
        let name = join(scope.name, &text(declared, 1));
        self.note_json(&name, features);
        let first = members(declared, 2).next().transpose()?;
        match features.enums {
            Enums::Closed => {
                self.traits.closed.insert(name.into());
            }
            Enums::Open if first.is_some_and(|value| number(value, 2).unwrap_or_default() != 0) => {
                return Err(Unreadable::FirstValue(name));
            }
            Enums::Open => (),
        }
        let mut out = Vec::with_capacity(declared.len());
        for field in scan::fields(declared) {
            let field = field?;
            match (field.number, field.value) {
                (2, Value::Bytes(value)) => put(&mut out, 2, &stripped(value, 3, features_of::ENUM_VALUE)?),
                (3, Value::Bytes(options)) => {
                    put(&mut out, 3, &scan::without(options, &[features_of::ENUM])?);
                }
                _ => out.extend_from_slice(field.raw),
            }
        }
        Ok(out)
    }
}

fn oneofs(message: &[u8], features: Features) -> Result<Vec<Features>, Unreadable> {
    members(message, 8).map(|oneof| features.with(&all(oneof?, 2)?, features_of::ONEOF)).collect()
}

/// The features of the maps of a message, by the full name of their entries.
fn entries(message: &[u8], name: &str, features: Features) -> Result<HashMap<String, Features>, Unreadable> {
    let mut entries = HashMap::new();
    for nested in members(message, 3) {
        let nested = nested?;
        if is_map_entry(&all(nested, 7)?) {
            entries.insert(join(name, &text(nested, 1)), features);
        }
    }
    for member in members(message, 2) {
        let member = member?;
        if let Some(entry) = entries.get_mut(text(member, field::TYPE_NAME).trim_start_matches('.')) {
            *entry = features.with(&all(member, field::OPTIONS)?, features_of::FIELD)?;
        }
    }
    Ok(entries)
}

fn is_map_entry(options: &[u8]) -> bool {
    number(options, 7).is_some_and(|flag| flag != 0)
}

fn service(service: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(service.len());
    for field in scan::fields(service) {
        let field = field?;
        match (field.number, field.value) {
            (2, Value::Bytes(method)) => put(&mut out, 2, &stripped(method, 4, features_of::METHOD)?),
            (3, Value::Bytes(options)) => {
                put(&mut out, 3, &scan::without(options, &[features_of::SERVICE])?);
            }
            _ => out.extend_from_slice(field.raw),
        }
    }
    Ok(out)
}

/// A declaration without the features among its options.
fn stripped(declaration: &[u8], options: u64, features: u64) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(declaration.len());
    for field in scan::fields(declaration) {
        let field = field?;
        match field.value {
            Value::Bytes(value) if field.number == options => {
                put(&mut out, options, &scan::without(value, &[features])?);
            }
            _ => out.extend_from_slice(field.raw),
        }
    }
    Ok(out)
}

/// The length-delimited values of a field.
fn members(bytes: &[u8], number: u64) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    scan::fields(bytes).filter_map(move |field| match field {
        Ok(field) if field.number == number => match field.value {
            Value::Bytes(value) => Some(Ok(value)),
            Value::Varint(_) | Value::Fixed => None,
        },
        Ok(_) => None,
        Err(malformed) => Some(Err(malformed)),
    })
}

/// A message that may be there in several pieces, which is the same as all of them in a row.
fn all(bytes: &[u8], number: u64) -> Result<Vec<u8>, Malformed> {
    let mut joined = Vec::new();
    for piece in members(bytes, number) {
        joined.extend_from_slice(piece?);
    }
    Ok(joined)
}

fn text(bytes: &[u8], number: u64) -> String {
    String::from_utf8_lossy(scan::last(bytes, number).unwrap_or_default()).into_owned()
}

/// The last number of a field, which is the one that counts.
fn number(bytes: &[u8], number: u64) -> Option<u64> {
    let fields = scan::fields(bytes).map_while(Result::ok).filter(|field| field.number == number);
    let numbers = fields.filter_map(|field| match field.value {
        Value::Varint(value) => Some(value),
        Value::Bytes(_) | Value::Fixed => None,
    });
    numbers.last()
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

fn put(out: &mut Vec<u8>, number: u64, value: &[u8]) {
    encode_varint(number << 3 | 2, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn put_number(out: &mut Vec<u8>, number: u64, value: u64) {
    encode_varint(number << 3, out);
    encode_varint(value, out);
}

/// Field numbers of `google.protobuf.FieldDescriptorProto`.
mod field {
    pub(super) const NAME: u64 = 1;
    pub(super) const LABEL: u64 = 4;
    pub(super) const TYPE: u64 = 5;
    pub(super) const TYPE_NAME: u64 = 6;
    pub(super) const OPTIONS: u64 = 8;
    pub(super) const ONEOF_INDEX: u64 = 9;
    pub(super) const PROTO3_OPTIONAL: u64 = 17;
}

const LABEL_REQUIRED: u64 = 2;
const LABEL_REPEATED: u64 = 3;
const TYPE_STRING: u64 = 9;
const TYPE_GROUP: u64 = 10;
const TYPE_MESSAGE: u64 = 11;
const TYPE_BYTES: u64 = 12;
/// Of `google.protobuf.FieldOptions`.
const OPTION_PACKED: u64 = 2;

//! Makes messages in the wire format at random, in every order and form that it allows, and reads them strictly.

use prost::encoding::WireType;
use prost::encoding::encode_key;
use prost::encoding::encode_varint;
use prost_reflect::DynamicMessage;
use prost_reflect::EnumDescriptor;
use prost_reflect::ExtensionDescriptor;
use prost_reflect::FieldDescriptor;
use prost_reflect::Kind;
use prost_reflect::MessageDescriptor;
use prost_reflect::Syntax;

use super::script::Script;

/// A field or an extension.
pub(crate) enum Declared {
    Field(FieldDescriptor),
    Extension(ExtensionDescriptor),
}

impl Declared {
    pub(crate) fn all(message: &MessageDescriptor) -> Vec<Self> {
        message.fields().map(Self::Field).chain(message.extensions().map(Self::Extension)).collect()
    }

    pub(crate) fn number(&self) -> u32 {
        match self {
            Self::Field(field) => field.number(),
            Self::Extension(field) => field.number(),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Field(field) => field.kind(),
            Self::Extension(field) => field.kind(),
        }
    }

    pub(crate) fn is_list(&self) -> bool {
        match self {
            Self::Field(field) => field.is_list(),
            Self::Extension(field) => field.is_list(),
        }
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self, Self::Field(field) if field.is_map())
    }

    pub(crate) fn is_group(&self) -> bool {
        match self {
            Self::Field(field) => field.is_group(),
            Self::Extension(field) => field.is_group(),
        }
    }

    fn syntax(&self) -> Syntax {
        match self {
            Self::Field(field) => field.parent_file().syntax(),
            Self::Extension(field) => field.parent_file().syntax(),
        }
    }

    pub(crate) fn oneof(&self) -> Option<String> {
        match self {
            Self::Field(field) => field.containing_oneof().map(|oneof| oneof.name().to_owned()),
            Self::Extension(_) => None,
        }
    }

    pub(crate) fn names(&self) -> [String; 2] {
        match self {
            Self::Field(field) => [field.json_name().to_owned(), field.name().to_owned()],
            Self::Extension(field) => [field.json_name().to_owned(), field.json_name().to_owned()],
        }
    }
}

/// Makes messages; `odd` is how rarely it does what no writer would (0 is never).
pub(crate) struct WireMaker<'m, 's> {
    pub(crate) script: &'m mut Script<'s>,
    pub(crate) odd: usize,
}

impl WireMaker<'_, '_> {
    pub(crate) fn message(&mut self, of: &MessageDescriptor, depth: usize) -> Vec<u8> {
        let mut parts = Vec::new();
        match of.full_name() {
            "google.protobuf.Timestamp" | "google.protobuf.Duration" if !self.script.one_in(self.odd) => {
                self.time(of, &mut parts);
            }
            "google.protobuf.FieldMask" if !self.script.one_in(self.odd) => {
                let some = ["a", "foo_bar", "a.b_c.d", "x1"];
                for _ in 0..self.script.below(4) {
                    parts.push(delimited(1, self.script.pick(&some).as_bytes()));
                }
            }
            "google.protobuf.Any" if !self.script.one_in(self.odd) => self.any(of, depth, &mut parts),
            "google.protobuf.Value" if !self.script.one_in(self.odd) => {
                let field = of.fields().nth(self.script.below(if depth > 3 { 4 } else { 6 }));
                if let Some(field) = field {
                    match field.number() {
                        2 => {
                            parts.push(tagged(2, &Kind::Double, &f64::from(self.script.byte()).to_le_bytes()))
                        }
                        _ => parts.push(self.once(&Declared::Field(field), depth)),
                    }
                }
            }
            _ => self.fields(of, depth, &mut parts),
        }
        if self.script.one_in(6) {
            self.script.shuffle(&mut parts);
        }
        parts.concat()
    }

    fn time(&mut self, of: &MessageDescriptor, parts: &mut Vec<Vec<u8>>) {
        let nanos = self.script.pick(&[0, 1, 1_000, 120_000_000, 999_999_999]);
        let seconds = i64::try_from(self.script.bits() % 200_000_000_000).unwrap_or(0);
        let (seconds, nanos) = match of.name() {
            "Timestamp" => (seconds - 60_000_000_000, nanos),
            _ if self.script.one_in(2) => (-seconds, -nanos),
            _ => (seconds, nanos),
        };
        for (number, value) in [(1, seconds), (2, nanos)] {
            parts.push(tagged(number, &Kind::Int64, &varint(value.cast_unsigned())));
        }
    }

    fn any(&mut self, of: &MessageDescriptor, depth: usize, parts: &mut Vec<Vec<u8>>) {
        let pool = of.parent_pool();
        let some = [
            "three.M0",
            "two.M0",
            "google.protobuf.Duration",
            "google.protobuf.Any",
            "google.protobuf.Empty",
            "google.protobuf.Struct",
        ];
        let name = self.script.pick(&some[..if depth > 3 { 3 } else { 6 }]);
        let Some(held) = pool.get_message_by_name(name) else { return };
        let content = if depth > 4 { Vec::new() } else { self.message(&held, depth + 1) };
        parts.push(delimited(1, format!("type.googleapis.com/{name}").as_bytes()));
        parts.push(delimited(2, &content));
    }

    fn fields(&mut self, of: &MessageDescriptor, depth: usize, parts: &mut Vec<Vec<u8>>) {
        let fields = Declared::all(of);
        if fields.is_empty() {
            return;
        }
        let count = match depth {
            0 => 1 + self.script.below(14),
            1..4 => self.script.below(5),
            _ => self.script.below(2),
        };
        for _ in 0..count {
            let field = &fields[self.script.below(fields.len())];
            let part = self.part(field, depth);
            parts.extend(part);
            if self.script.one_in(12) {
                let number = 3000 + u32::from(self.script.byte());
                parts.push(self.foreign(number));
            }
            if self.script.one_in(self.odd) {
                // A known number, but the type of another field.
                parts.push(self.foreign(field.number()));
            }
        }
    }

    /// Occurrences of a field: a sub-message may come in two, and a text after one that is none.
    fn part(&mut self, field: &Declared, depth: usize) -> Vec<Vec<u8>> {
        if field.kind() == Kind::String && !field.is_list() && self.script.one_in(self.odd) {
            let text = self.script.text();
            return vec![
                delimited(field.number(), &[text.as_bytes(), &[0xff]].concat()),
                self.once(field, depth),
            ];
        }
        if let Kind::Message(inner) = field.kind()
            && !field.is_list()
            && !field.is_map()
            && depth < 4
            && !inner.full_name().starts_with("google.protobuf.")
            && self.script.one_in(3)
        {
            return (0..2)
                .map(|_| {
                    let content = self.message(&inner, depth + 1);
                    wrapped(field, &content)
                })
                .collect();
        }
        vec![self.once(field, depth)]
    }

    /// A value of a singular field, values of a repeated one, or entries of a map.
    fn once(&mut self, field: &Declared, depth: usize) -> Vec<u8> {
        let kind = field.kind();
        if field.is_map()
            && let Kind::Message(entry) = &kind
        {
            let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            let mut out = Vec::new();
            for _ in 0..self.script.below(4) {
                let mut halves = vec![
                    self.once(&Declared::Field(key.clone()), depth + 1),
                    self.once(&Declared::Field(value.clone()), depth + 1),
                ];
                let needed = super::schema::is_nullable(&value.kind()) && self.odd == 0;
                if !needed && self.script.one_in(8) {
                    halves.remove(self.script.below(2));
                }
                if self.script.one_in(4) {
                    halves.reverse();
                }
                out.extend(delimited(field.number(), &halves.concat()));
            }
            return out;
        }
        if !field.is_list() {
            return self.value(field, depth);
        }
        let count = self.script.below(4);
        if is_packable(&kind) && self.script.below(2) == 0 {
            let values: Vec<u8> = (0..count).flat_map(|_| self.bare(&kind, depth)).collect();
            return delimited(field.number(), &values);
        }
        (0..count).flat_map(|_| self.value(field, depth)).collect()
    }

    fn value(&mut self, field: &Declared, depth: usize) -> Vec<u8> {
        let kind = field.kind();
        let value = self.bare(&kind, depth);
        if matches!(kind, Kind::Message(_)) {
            wrapped(field, &value)
        } else {
            tagged(field.number(), &kind, &value)
        }
    }

    /// A value without tag and length.
    fn bare(&mut self, kind: &Kind, depth: usize) -> Vec<u8> {
        match kind {
            Kind::String => self.script.text().into_bytes(),
            Kind::Bytes => self.script.some_bytes(),
            Kind::Message(inner) if depth > 4 && !super::schema::is_nullable(kind) && self.odd > 0 => {
                let _ = inner;
                Vec::new()
            }
            Kind::Message(inner) => self.message(inner, depth + 1),
            Kind::Double => self.script.double().to_le_bytes().to_vec(),
            Kind::Float => self.script.float().to_le_bytes().to_vec(),
            Kind::Fixed64 | Kind::Sfixed64 => self.script.bits().to_le_bytes().to_vec(),
            Kind::Fixed32 | Kind::Sfixed32 => self.script.bits().to_le_bytes()[..4].to_vec(),
            Kind::Enum(declared) if declared.full_name() == "google.protobuf.NullValue" => vec![0],
            Kind::Enum(declared) => {
                let numbers: Vec<i32> = declared.values().map(|value| value.number()).collect();
                let number = if self.script.one_in(8) { 99 } else { self.script.pick(&numbers) };
                varint(i64::from(number).cast_unsigned())
            }
            _ => varint(self.script.bits()),
        }
    }

    /// A field of a random wire type.
    fn foreign(&mut self, number: u32) -> Vec<u8> {
        let mut out = Vec::new();
        match self.script.below(5) {
            0 => out = delimited(number, b"unknown"),
            1 => out = tagged(number, &Kind::Int64, &varint(self.script.bits())),
            2 => {
                encode_key(number, WireType::StartGroup, &mut out);
                out.extend(delimited(1, b"x"));
                encode_key(number, WireType::EndGroup, &mut out);
            }
            3 => out = tagged(number, &Kind::Fixed32, &[1, 2, 3, 4]),
            _ => out = tagged(number, &Kind::Fixed64, &[1, 2, 3, 4, 5, 6, 7, 8]),
        }
        out
    }
}

/// Breaks bytes in a few places.
pub(crate) fn mutate_bytes(bytes: &mut Vec<u8>, script: &mut Script<'_>) {
    for _ in 0..=script.below(3) {
        let at = script.below(bytes.len() + 1);
        match script.below(4) {
            0 if at < bytes.len() => bytes[at] ^= 1 << script.below(8),
            1 if at < bytes.len() => bytes[at] = script.byte(),
            2 => bytes.truncate(at),
            _ => bytes.insert(at, script.byte()),
        }
    }
}

/// A message without what isn't its own by the specification: numbers that it doesn't declare, values of another
/// wire type, and numbers that a closed enum doesn't have. `None` where the bytes are malformed.
///
/// prost refuses values of another wire type, and prost-reflect takes all enums to be open.
pub(crate) fn cleaned(of: &MessageDescriptor, mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut any: [Option<&[u8]>; 2] = [None, None];
    while !bytes.is_empty() {
        let (number, wire_type, value) = next_field(&mut bytes)?;
        let Some(field) = Declared::all(of).into_iter().find(|field| field.number() == number) else {
            continue;
        };
        let kind = field.kind();
        if of.full_name() == "google.protobuf.Any" && wire_type == 2 {
            any[usize::try_from(number).ok()? - 1] = Some(value);
        }
        let fits = wire_type == if field.is_group() { 3 } else { wire_type_of(&kind) };
        if wire_type == 2 && field.is_list() && is_packable(&kind) {
            let mut packed = Vec::new();
            let mut left = value;
            while !left.is_empty() {
                let one = take_value(&mut left, wire_type_of(&kind), number)?;
                if !is_undeclared(&kind, one) {
                    packed.extend_from_slice(one);
                }
            }
            if !packed.is_empty() {
                out.extend(delimited(number, &packed));
            }
        } else if !fits || is_undeclared(&kind, value) {
            continue;
        } else if let Kind::Message(inner) = &kind {
            // A number that a closed enum doesn't have makes the whole entry of a map an unknown field.
            if field.is_map() && has_undeclared_value(inner, value)? {
                continue;
            }
            out.extend(wrapped(&field, &cleaned(inner, value)?));
        } else {
            out.extend(tagged(number, &kind, value));
        }
    }
    if of.full_name() == "google.protobuf.Any" {
        let [url, content] = any;
        let name = std::str::from_utf8(url.unwrap_or_default()).ok()?.rsplit_once('/').map(|(_, name)| name);
        let held = name.and_then(|name| of.parent_pool().get_message_by_name(name));
        out = url.map(|url| delimited(1, url)).unwrap_or_default();
        if let Some(content) = content {
            let cleaned = held.and_then(|held| cleaned(&held, content));
            out.extend(delimited(2, &cleaned.unwrap_or_else(|| content.to_vec())));
        }
    }
    Some(out)
}

/// Whether a value is replaced by a later one, at any depth, as far as the bytes can be read: of a field that may be
/// there once, of a oneof, or of a key of a map.
pub(crate) fn replaces(of: &MessageDescriptor, bytes: &[u8]) -> bool {
    replaces_one(of, bytes, |_| true)
}

/// Whether a message is replaced, or comes in parts, or a string of proto2 is replaced.
pub(crate) fn hides(of: &MessageDescriptor, bytes: &[u8]) -> bool {
    replaces_one(of, bytes, |field| match field.kind() {
        Kind::Message(_) => !field.is_map(),
        Kind::String => field.syntax() == Syntax::Proto2,
        _ => false,
    })
}

/// The same of those fields whose first value `is` wanted.
fn replaces_one(of: &MessageDescriptor, mut bytes: &[u8], is: fn(&Declared) -> bool) -> bool {
    let fields = Declared::all(of);
    let mut seen: Vec<(String, &Declared)> = Vec::new();
    let (mut held, mut content) = (None, None);
    while let Some((number, wire_type, value)) = next_field(&mut bytes) {
        let Some(field) = fields.iter().find(|field| field.number() == number) else { continue };
        if of.full_name() == "google.protobuf.Any" && wire_type == 2 {
            match number {
                1 => {
                    held = std::str::from_utf8(value)
                        .ok()
                        .and_then(|url| url.rsplit_once('/'))
                        .map(|(_, name)| name)
                }
                _ => content = Some(value),
            }
        }
        let name = match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let key = DynamicMessage::decode(entry, value)
                    .ok()
                    .and_then(|entry| entry.get_field_by_number(1).map(|key| format!("{number} {key:?}")));
                key.unwrap_or_else(|| format!("{number} {value:?}"))
            }
            _ if field.is_list() => format!("{number} at {}", bytes.len()),
            _ => field.oneof().unwrap_or_else(|| number.to_string()),
        };
        if seen.iter().any(|(before, first)| *before == name && is(first)) {
            return true;
        }
        seen.push((name, field));
        if let Kind::Message(inner) = field.kind()
            && replaces_one(&inner, value, is)
        {
            return true;
        }
    }
    let held = held.and_then(|name| of.parent_pool().get_message_by_name(name));
    held.zip(content).is_some_and(|(held, content)| replaces_one(&held, content, is))
}

fn has_undeclared_value(entry: &MessageDescriptor, mut bytes: &[u8]) -> Option<bool> {
    let kind = entry.map_entry_value_field().kind();
    while !bytes.is_empty() {
        let (number, wire_type, value) = next_field(&mut bytes)?;
        if number == 2 && wire_type == 0 && is_undeclared(&kind, value) {
            return Some(true);
        }
    }
    Some(false)
}

fn is_undeclared(kind: &Kind, mut value: &[u8]) -> bool {
    let Kind::Enum(declared) = kind else { return false };
    let Some(bits) = take_varint(&mut value) else { return false };
    let [a, b, c, d, ..] = bits.to_le_bytes();
    is_closed(declared) && declared.get_value(i32::from_le_bytes([a, b, c, d])).is_none()
}

pub(crate) fn is_closed(declared: &EnumDescriptor) -> bool {
    declared.parent_file().syntax() == Syntax::Proto2
}

/// Number, wire type and value; of a value with a length or of a group what is inside.
fn next_field<'b>(bytes: &mut &'b [u8]) -> Option<(u32, u8, &'b [u8])> {
    let tag = u32::try_from(take_varint(bytes)?).ok().filter(|tag| tag >> 3 != 0)?;
    let wire_type = (tag & 7).to_le_bytes()[0];
    let value = match wire_type {
        2 => {
            let len = usize::try_from(take_varint(bytes)?).ok()?;
            let (value, rest) = bytes.split_at_checked(len)?;
            *bytes = rest;
            value
        }
        _ => take_value(bytes, wire_type, tag >> 3)?,
    };
    Some((tag >> 3, wire_type, value))
}

fn take_value<'b>(bytes: &mut &'b [u8], wire_type: u8, number: u32) -> Option<&'b [u8]> {
    let start = *bytes;
    let len = match wire_type {
        0 => {
            take_varint(bytes)?;
            start.len() - bytes.len()
        }
        1 => 8,
        5 => 4,
        3 => loop {
            let before = *bytes;
            let tag = u32::try_from(take_varint(bytes)?).ok()?;
            if tag & 7 == 4 {
                let len = start.len() - before.len();
                return (tag >> 3 == number).then_some(&start[..len]);
            }
            *bytes = before;
            next_field(bytes)?;
        },
        _ => return None,
    };
    let (value, rest) = start.split_at_checked(len)?;
    *bytes = rest;
    Some(value)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut copy = *bytes;
    let value = prost::encoding::decode_varint(&mut copy).ok()?;
    *bytes = copy;
    Some(value)
}

fn is_packable(kind: &Kind) -> bool {
    !matches!(kind, Kind::String | Kind::Bytes | Kind::Message(_))
}

fn wire_type_of(kind: &Kind) -> u8 {
    match kind {
        Kind::String | Kind::Bytes | Kind::Message(_) => 2,
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => 1,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => 5,
        _ => 0,
    }
}

fn varint(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_varint(value, &mut out);
    out
}

pub(crate) fn delimited(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut out);
    encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

/// A message as the value of its field.
fn wrapped(field: &Declared, content: &[u8]) -> Vec<u8> {
    if !field.is_group() {
        return delimited(field.number(), content);
    }
    let mut out = Vec::new();
    encode_key(field.number(), WireType::StartGroup, &mut out);
    out.extend_from_slice(content);
    encode_key(field.number(), WireType::EndGroup, &mut out);
    out
}

fn tagged(number: u32, kind: &Kind, value: &[u8]) -> Vec<u8> {
    let wire_type = match wire_type_of(kind) {
        2 => return delimited(number, value),
        1 => WireType::SixtyFourBit,
        5 => WireType::ThirtyTwoBit,
        _ => WireType::Varint,
    };
    let mut out = Vec::new();
    encode_key(number, wire_type, &mut out);
    out.extend_from_slice(value);
    out
}

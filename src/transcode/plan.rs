//! What the engine knows of each message: fields, names and forms, compiled from descriptors once.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasherDefault;
use std::sync::OnceLock;

use prost_reflect::DescriptorPool;
use prost_reflect::EnumDescriptor;
use prost_reflect::MessageDescriptor;

use crate::schema::Traits;
use crate::transcode::names::NameHasher;
use crate::transcode::plan_compile::compile_enum;
use crate::transcode::plan_compile::compile_message;

/// A message of one [`Plans`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(u32);

/// An enum of one [`Plans`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnumId(u32);

/// The messages of one module, each compiled on first use and shared by all workers.
pub struct Plans {
    traits: Traits,
    messages: Vec<(MessageDescriptor, OnceLock<Message>)>,
    enums: Vec<(EnumDescriptor, OnceLock<Enum>)>,
    message_ids: HashMap<Box<str>, MessageId>,
    enum_ids: HashMap<Box<str>, EnumId>,
}

impl Plans {
    /// The messages of a pool. Nothing is compiled yet.
    pub fn new(pool: DescriptorPool, traits: Traits) -> Self {
        let messages: Vec<_> = pool.all_messages().map(|message| (message, OnceLock::new())).collect();
        let enums: Vec<_> = pool.all_enums().map(|declared| (declared, OnceLock::new())).collect();
        let message_ids = (0..).zip(&messages).map(|(at, (m, _))| (m.full_name().into(), MessageId(at)));
        let enum_ids = (0..).zip(&enums).map(|(at, (e, _))| (e.full_name().into(), EnumId(at)));
        let (message_ids, enum_ids) = (message_ids.collect(), enum_ids.collect());
        Self { traits, messages, enums, message_ids, enum_ids }
    }

    /// A message by full name.
    pub fn find(&self, full_name: &str) -> Option<MessageId> {
        self.message_ids.get(full_name).copied()
    }

    /// An enum by full name.
    pub fn find_enum(&self, full_name: &str) -> Option<EnumId> {
        self.enum_ids.get(full_name).copied()
    }

    /// The plan of a message.
    pub fn message(&self, id: MessageId) -> &Message {
        let (descriptor, plan) = &self.messages[id.0 as usize];
        plan.get_or_init(|| compile_message(self, descriptor))
    }

    /// The plan of an enum.
    pub fn enumeration(&self, id: EnumId) -> &Enum {
        let (descriptor, plan) = &self.enums[id.0 as usize];
        plan.get_or_init(|| compile_enum(descriptor, &self.traits))
    }

    pub(super) fn traits(&self) -> &Traits {
        &self.traits
    }
}

impl fmt::Debug for Plans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plans").field("messages", &self.messages.len()).finish_non_exhaustive()
    }
}

/// One message.
#[derive(Debug)]
pub struct Message {
    /// Its full name.
    pub name: Box<str>,
    /// How it is written as JSON.
    pub form: Form,
    /// Its fields by ascending number, extensions of the pool included.
    pub fields: Box<[Field]>,
    /// How many oneofs it has, not counting those that `optional` makes.
    pub oneofs: usize,
    /// Whether any of its fields has messages within it.
    pub(super) recurses: bool,
    /// Index into `fields` by number, for small numbers; 0 is none, others are one more.
    dense: Box<[u16]>,
    /// Index into `fields` of the one that comes next by JSON name: after each field, and first of all the first.
    sorted: Box<[usize]>,
    /// Index into `fields` by each name.
    names: HashMap<Box<[u8]>, usize, BuildHasherDefault<NameHasher>>,
}

impl Message {
    pub(super) fn new(name: Box<str>, form: Form, mut fields: Vec<Field>, oneofs: usize) -> Self {
        fields.sort_by_key(|field| field.number);
        let last = fields.iter().map(|field| field.number).take_while(|number| *number <= DENSE_MAX).last();
        let mut dense = vec![0; last.map_or(0, |last| last as usize + 1)];
        let mut names = HashMap::with_capacity_and_hasher(fields.len() * 2, BuildHasherDefault::default());
        for (at, field) in fields.iter().enumerate() {
            if let (Some(slot), Ok(next)) = (dense.get_mut(field.number as usize), u16::try_from(at + 1)) {
                *slot = next;
            }
            // A JSON name goes before another field's proto name.
            names.insert(field.json_name.as_bytes().into(), at);
        }
        for (at, field) in fields.iter().enumerate() {
            names.entry(field.name.as_bytes().into()).or_insert(at);
        }
        let mut order: Vec<usize> = (0..fields.len()).collect();
        order.sort_by_key(|at| &fields[*at].json_name);
        let mut sorted = vec![fields.len(); fields.len() + 1];
        let mut last = 0;
        for at in order {
            sorted[last] = at;
            last = at + 1;
        }
        let recurses = fields.iter().any(Field::recurses);
        Self {
            name,
            form,
            fields: fields.into(),
            oneofs,
            recurses,
            dense: dense.into(),
            sorted: sorted.into(),
            names,
        }
    }

    /// The index and the field of a number.
    #[inline]
    pub fn by_number(&self, number: u32) -> Option<(usize, &Field)> {
        let at = match self.dense.get(number as usize) {
            Some(0) => return None,
            Some(next) => usize::from(*next) - 1,
            None => self.fields.binary_search_by_key(&number, |field| field.number).ok()?,
        };
        Some((at, &self.fields[at]))
    }

    /// The index and the field of a JSON name that is likely after the field before index `next`: many texts have
    /// members in the order of the fields, others by the alphabet.
    #[inline]
    pub(super) fn guess(&self, name: &str, next: usize) -> Option<(usize, &Field)> {
        let guesses = [Some(next), self.sorted.get(next).copied()];
        guesses.into_iter().flatten().find_map(|at| {
            let field = self.fields.get(at)?;
            (*field.json_name == *name).then_some((at, field))
        })
    }

    /// The index and the field of a JSON name, a proto name, or `[pkg.extension]`.
    #[inline]
    pub fn by_name(&self, name: &[u8]) -> Option<(usize, &Field)> {
        let at = *self.names.get(name)?;
        Some((at, &self.fields[at]))
    }
}

/// How a message is written as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An object of its fields.
    Object,
    /// A member of the object that a map is.
    MapEntry,
    /// An object of its extensions, in the wire format of proto2's message sets.
    MessageSet,
    /// `google.protobuf.Any`.
    Any,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// `google.protobuf.Duration`.
    Duration,
    /// `google.protobuf.FieldMask`.
    FieldMask,
    /// `google.protobuf.Struct`.
    Struct,
    /// `google.protobuf.Value`.
    Value,
    /// `google.protobuf.ListValue`.
    ListValue,
    /// A wrapper, such as `google.protobuf.Int32Value`: its field 1, bare.
    Wrapper,
}

impl Form {
    /// Whether `Any` holds it under `value`: its JSON is no object of its fields.
    pub fn is_special(self) -> bool {
        !matches!(self, Self::Object | Self::MapEntry | Self::MessageSet)
    }
}

/// One field.
#[derive(Debug)]
pub struct Field {
    /// Its number.
    pub number: u32,
    /// Its encoded tag, as Transom writes it.
    pub tag: Tag,
    /// Its proto name; `[pkg.extension]` for an extension.
    pub name: Box<str>,
    /// Its JSON name; `[pkg.extension]` for an extension.
    pub json_name: Box<str>,
    /// `,"jsonName":`, escaped.
    pub json_key: Key,
    /// `,"proto_name":`, escaped.
    pub name_key: Key,
    /// What it holds; of a map the entry message.
    pub kind: Kind,
    /// How often.
    pub shape: Shape,
    /// Whether absent and default differ.
    pub presence: Presence,
    /// Index of its oneof among those of the message.
    pub oneof: Option<usize>,
    /// The default that it declares, if any: on the wire, without a tag and a length.
    pub default: Option<Box<[u8]>>,
}

impl Field {
    /// Whether messages are within it, be it as the values of a map.
    #[inline]
    pub(super) fn recurses(&self) -> bool {
        let kind = match self.shape {
            Shape::Map { value, .. } => value,
            _ => self.kind,
        };
        matches!(kind, Kind::Message(_) | Kind::Group(_))
    }

    /// The message that it holds, if it holds one.
    pub fn message(&self) -> Option<MessageId> {
        match self.kind {
            Kind::Message(id) | Kind::Group(id) => Some(id),
            _ => None,
        }
    }
}

/// The name of a member as JSON text, between a comma and a colon.
#[derive(Debug)]
pub struct Key {
    text: Box<[u8]>,
    /// The begin of the text, or all of it.
    short: [u8; KEY_BYTES],
}

impl Key {
    /// The key of a name.
    pub fn new(name: &str) -> Self {
        let text = format!(",{}:", serde_json::Value::from(name)).into_bytes();
        let mut short = [0; KEY_BYTES];
        let len = text.len().min(KEY_BYTES);
        short[..len].copy_from_slice(&text[..len]);
        Self { text: text.into(), short }
    }

    /// All of it.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Appends it.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        if self.text.len() > KEY_BYTES {
            out.extend_from_slice(&self.text);
            return;
        }
        // As many bytes each time, so that nothing has to look at how many they are.
        let end = out.len() + self.text.len();
        out.extend_from_slice(&self.short);
        out.truncate(end);
    }
}

/// An encoded tag.
#[derive(Debug, Clone, Copy)]
pub struct Tag {
    bytes: [u8; 5],
    len: u8,
}

impl Tag {
    /// The tag of a field number and a wire type.
    pub fn new(number: u32, wire_type: u8) -> Self {
        let mut left = number << 3 | u32::from(wire_type);
        let mut tag = Self { bytes: [0; 5], len: 0 };
        loop {
            let low = left.to_le_bytes()[0] & 0x7f;
            left >>= 7;
            let at = usize::from(tag.len);
            tag.len += 1;
            if left == 0 {
                tag.bytes[at] = low;
                return tag;
            }
            tag.bytes[at] = low | 0x80;
        }
    }

    /// Its one to five bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// How often a field may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// At most once.
    Single,
    /// Any number of times.
    Repeated {
        /// Whether Transom writes it packed; both are read.
        packed: bool,
    },
    /// As the entries of a map.
    Map {
        /// What its keys are, a scalar.
        key: Kind,
        /// What its values are.
        value: Kind,
    },
}

/// Whether absent and default differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// They don't.
    Implicit,
    /// They do.
    Explicit,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "descriptor.proto is their documentation")]
pub enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Float,
    Double,
    String { utf8: bool },
    Bytes,
    Enum(EnumId),
    Message(MessageId),
    Group(MessageId),
}

impl Kind {
    /// The wire type of one value, not packed.
    pub fn wire_type(self) -> u8 {
        match self {
            Self::Fixed64 | Self::Sfixed64 | Self::Double => 1,
            Self::String { .. } | Self::Bytes | Self::Message(_) => 2,
            Self::Group(_) => 3,
            Self::Fixed32 | Self::Sfixed32 | Self::Float => 5,
            _ => 0,
        }
    }

    /// Whether repeated values may be packed.
    pub fn is_packable(self) -> bool {
        matches!(self.wire_type(), 0 | 1 | 5)
    }
}

/// One enum.
#[derive(Debug)]
pub struct Enum {
    /// Its full name.
    pub name: Box<str>,
    /// Whether it keeps numbers that it doesn't declare.
    pub open: bool,
    /// Whether it is `google.protobuf.NullValue`.
    pub null_value: bool,
    /// The number that is declared first, the default.
    pub first: i32,
    numbers: HashMap<Box<[u8]>, i32, BuildHasherDefault<NameHasher>>,
    /// By ascending number, the first declared of each.
    names: Box<[Named]>,
}

/// One number of an enum.
#[derive(Debug)]
struct Named {
    number: i32,
    name: Box<str>,
    /// The name as JSON text.
    quoted: Box<[u8]>,
}

impl Enum {
    pub(super) fn new(name: Box<str>, open: bool, values: &[(Box<str>, i32)]) -> Self {
        let numbers = values.iter().map(|(name, number)| (name.as_bytes().into(), *number)).collect();
        let named = |(name, number): &(Box<str>, i32)| Named {
            number: *number,
            name: name.clone(),
            quoted: format!("\"{name}\"").into_bytes().into(),
        };
        let mut names: Vec<Named> = values.iter().map(named).collect();
        // Stable, so that of two names the first declared stays first.
        names.sort_by_key(|named| named.number);
        names.dedup_by_key(|named| named.number);
        let null_value = &*name == "google.protobuf.NullValue";
        let first = values.first().map_or(0, |(_, number)| *number);
        Self { name, open, null_value, first, numbers, names: names.into() }
    }

    /// The number of a declared name.
    pub fn number(&self, name: &[u8]) -> Option<i32> {
        self.numbers.get(name).copied()
    }

    /// The first declared name of a number.
    pub fn name(&self, number: i32) -> Option<&str> {
        self.at(number).map(|named| &*named.name)
    }

    /// The same as JSON text, quoted.
    pub fn quoted(&self, number: i32) -> Option<&[u8]> {
        self.at(number).map(|named| &*named.quoted)
    }

    /// The names of all values.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.numbers.keys().filter_map(|name| std::str::from_utf8(name).ok())
    }

    fn at(&self, number: i32) -> Option<&Named> {
        // Most enums count from zero.
        if let Some(found) = usize::try_from(number).ok().and_then(|at| self.names.get(at))
            && found.number == number
        {
            return Some(found);
        }
        let at = self.names.binary_search_by_key(&number, |named| named.number).ok()?;
        self.names.get(at)
    }
}

/// Keys up to this length are written with one length.
const KEY_BYTES: usize = 24;
/// The largest field number that is looked up in a table.
const DENSE_MAX: u32 = 1023;

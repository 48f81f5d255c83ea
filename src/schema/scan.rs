//! Reads serialized descriptors just far enough to bound them before a real decoder sees them.
//!
//! A decoder builds a structure of some hundred bytes for a message of two, and prost-reflect panics on
//! editions, so size, depth and edition are judged on the wire.

use prost::encoding::decode_varint;

use crate::schema::Limits;
use crate::schema::features::Edition;

/// One field of a message as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) number: u64,
    pub(super) value: Value<'a>,
    /// Key and value together.
    pub(super) raw: &'a [u8],
}

/// What a field holds, as far as its wire type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// Walks the fields of one message; ends after the first that is cut off or malformed.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    broken: bool,
}

/// The bytes are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// What a serialized `FileDescriptorProto` is found to be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measure {
    /// None for proto2 and proto3.
    pub(super) edition: Option<Edition>,
    /// Declarations of all kinds.
    pub(super) declarations: usize,
    /// Locations of its source info.
    pub(super) locations: usize,
    /// Options that no compiler has set yet.
    pub(super) uninterpreted: usize,
}

/// Why a serialized `FileDescriptorProto` is not worth decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    Malformed,
    /// An edition that is not known, by its name.
    Edition(String),
    TooDeep,
    TooManyMembers,
}

impl From<Malformed> for Unfit {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The fields of a message.
pub(super) fn fields(bytes: &[u8]) -> Fields<'_> {
    Fields { rest: bytes, broken: false }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken || self.rest.is_empty() {
            return None;
        }
        let field = read(self.rest);
        match field {
            Ok(field) => self.rest = &self.rest[field.raw.len()..],
            Err(_) => self.broken = true,
        }
        Some(field)
    }
}

fn read(bytes: &[u8]) -> Result<Field<'_>, Malformed> {
    let mut rest = bytes;
    let key = decode_varint(&mut rest).map_err(|_| Malformed)?;
    let value = match key & 7 {
        0 => Value::Varint(decode_varint(&mut rest).map_err(|_| Malformed)?),
        1 => skip(&mut rest, 8)?,
        2 => {
            let length = decode_varint(&mut rest).map_err(|_| Malformed)?;
            let length = usize::try_from(length).map_err(|_| Malformed)?;
            let (value, after) = rest.split_at_checked(length).ok_or(Malformed)?;
            rest = after;
            Value::Bytes(value)
        }
        5 => skip(&mut rest, 4)?,
        _ => return Err(Malformed), // groups: no descriptor has any
    };
    let number = key >> 3;
    if number == 0 {
        return Err(Malformed);
    }
    Ok(Field { number, value, raw: &bytes[..bytes.len() - rest.len()] })
}

fn skip<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<Value<'a>, Malformed> {
    *rest = rest.get(bytes..).ok_or(Malformed)?;
    Ok(Value::Fixed)
}

/// The message without some of its fields.
pub(super) fn without(bytes: &[u8], numbers: &[u64]) -> Result<Vec<u8>, Malformed> {
    let mut kept = Vec::with_capacity(bytes.len());
    for field in fields(bytes) {
        let field = field?;
        if !numbers.contains(&field.number) {
            kept.extend_from_slice(field.raw);
        }
    }
    Ok(kept)
}

/// The last length-delimited value of a field, which is the one that counts.
pub(super) fn last(bytes: &[u8], number: u64) -> Option<&[u8]> {
    let values = fields(bytes).map_while(Result::ok).filter(|field| field.number == number);
    values.filter_map(|field| if let Value::Bytes(value) = field.value { Some(value) } else { None }).last()
}

/// Measures a serialized `FileDescriptorProto`, or says why it is not to be decoded.
pub(super) fn measure(bytes: &[u8], limits: &Limits) -> Result<Measure, Unfit> {
    let mut measure = Measure { edition: edition(bytes)?, ..Measure::default() };
    walk(bytes, Node::File, 0, limits, &mut measure)?;
    Ok(measure)
}

/// The edition of a serialized `FileDescriptorProto`, whichever field says it: some compilers write
/// `syntax` and a number, some the number alone, and early ones wrote a text in field 13.
fn edition(bytes: &[u8]) -> Result<Option<Edition>, Unfit> {
    let mut number = None;
    let mut named = None;
    for field in fields(bytes) {
        let field = field?;
        match (field.number, field.value) {
            (file::SYNTAX, Value::Bytes(b"editions")) => {
                named = named.or_else(|| Some("of this file".to_owned()));
            }
            (file::EDITION_TEXT, Value::Bytes(text)) => {
                named = Some(String::from_utf8_lossy(text).into_owned());
            }
            // 998 and 999 say proto2 and proto3 in the same terms.
            (file::EDITION, Value::Varint(value)) => number = Some(value),
            _ => (),
        }
    }
    match number.filter(|number| !matches!(number, 998 | 999)) {
        None => named.map_or(Ok(None), |named| Err(Unfit::Edition(named))),
        Some(number) => Edition::of_number(number).map(Some).ok_or_else(|| {
            // Numbers follow the order of editions, not their years.
            let name = if number == 1002 { "2026".to_owned() } else { number.to_string() };
            Unfit::Edition(name)
        }),
    }
}

/// What a message in a descriptor declares: which of its fields to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File,
    Message,
    Enum,
    Service,
    /// Has no children but options, in this field.
    Leaf(u64),
    Options,
    Info,
    /// Counted, not followed.
    Plain,
}

impl Node {
    fn child(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::File, 3) => Self::Plain,
            (Self::File, 4) | (Self::Message, 3) => Self::Message,
            (Self::File, 5) | (Self::Message, 4) => Self::Enum,
            (Self::File, 6) => Self::Service,
            (Self::File, 7) | (Self::Message, 2 | 6) => Self::Leaf(8),
            (Self::File, 8) | (Self::Message, 7) | (Self::Enum | Self::Service, 3) => Self::Options,
            (Self::File, 9) => Self::Info,
            (Self::Message, 5) => Self::Leaf(3),
            (Self::Message, 8) => Self::Leaf(2),
            (Self::Message, 9 | 10) | (Self::Enum, 4 | 5) => Self::Plain,
            (Self::Enum, 2) => Self::Leaf(3),
            (Self::Service, 2) => Self::Leaf(4),
            (Self::Leaf(options), number) if number == options => Self::Options,
            _ => return None,
        })
    }
}

fn walk(bytes: &[u8], node: Node, depth: usize, limits: &Limits, into: &mut Measure) -> Result<(), Unfit> {
    let mut members = 0;
    for field in fields(bytes) {
        let field = field?;
        let Value::Bytes(value) = field.value else { continue };
        if node == Node::Options && field.number == UNINTERPRETED_OPTION {
            into.uninterpreted += 1;
            continue;
        }
        if node == Node::Info {
            into.locations += 1;
            continue;
        }
        let Some(child) = node.child(field.number) else { continue };
        if !matches!(child, Node::Options | Node::Info) {
            into.declarations += 1;
            members += 1;
        }
        if node != Node::File && limits.members_max < members {
            return Err(Unfit::TooManyMembers);
        }
        let depth = depth + usize::from(child == Node::Message);
        if limits.depth_max < depth {
            return Err(Unfit::TooDeep);
        }
        if child != Node::Plain {
            walk(value, child, depth, limits, into)?;
        }
    }
    Ok(())
}

/// Field numbers of `google.protobuf.FileDescriptorProto`.
pub(super) mod file {
    pub(in crate::schema) const NAME: u64 = 1;
    pub(in crate::schema) const DEPENDENCY: u64 = 3;
    pub(in crate::schema) const SERVICE: u64 = 6;
    pub(in crate::schema) const SOURCE_CODE_INFO: u64 = 9;
    pub(in crate::schema) const PUBLIC_DEPENDENCY: u64 = 10;
    pub(in crate::schema) const WEAK_DEPENDENCY: u64 = 11;
    pub(in crate::schema) const SYNTAX: u64 = 12;
    pub(in crate::schema) const EDITION_TEXT: u64 = 13;
    pub(in crate::schema) const EDITION: u64 = 14;
    pub(in crate::schema) const OPTION_DEPENDENCY: u64 = 15;
}

const UNINTERPRETED_OPTION: u64 = 999;

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorProto;

    use super::*;

    fn nested(levels: usize) -> Vec<u8> {
        let mut message = Vec::new();
        for level in 0..levels {
            let mut outer = vec![if level + 1 == levels { 0x22 } else { 0x1a }];
            prost::encoding::encode_varint(message.len() as u64, &mut outer);
            outer.extend_from_slice(&message);
            message = outer;
        }
        message
    }

    #[test]
    fn depth_is_bounded_without_recursing_into_it() {
        let limits = Limits::default();
        assert_eq!(measure(&nested(31), &limits).map(|found| found.declarations), Ok(31));
        assert_eq!(measure(&nested(32), &limits), Err(Unfit::TooDeep));
        assert_eq!(measure(&nested(5_000), &limits), Err(Unfit::TooDeep));
    }

    #[test]
    fn every_way_to_say_an_edition_is_found() {
        let limits = Limits::default();
        let with = |field: &[u8]| {
            measure(&[b"\x0a\x07a.proto".as_slice(), field].concat(), &limits).map(|found| found.edition)
        };
        let unknown = |name: &str| Err(Unfit::Edition(name.to_owned()));
        assert_eq!(with(b"\x62\x08editions\x70\xe8\x07"), Ok(Some(Edition::Of2023)));
        assert_eq!(with(b"\x70\xe9\x07"), Ok(Some(Edition::Of2024)));
        assert_eq!(with(b"\x70\xe9\x07\x70\xe8\x07"), Ok(Some(Edition::Of2023)), "the last one counts");
        assert_eq!(with(b"\x62\x06proto3\x70\xe7\x07"), Ok(None));
        assert_eq!(with(b""), Ok(None));
        assert_eq!(with(b"\x62\x08editions"), unknown("of this file"));
        assert_eq!(with(b"\x62\x08editions\x70\xe7\x07"), unknown("of this file"));
        assert_eq!(with(b"\x6a\x042023"), unknown("2023"));
        assert_eq!(with(b"\x70\xea\x07"), unknown("2026"));
        assert_eq!(with(b"\x70\x9d\x8d\x06"), unknown("99997"));
    }

    #[test]
    fn garbage_is_malformed_and_not_a_panic() {
        for bytes in [
            &b"\xff"[..],
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0a\x05a",
            b"\x0b",
            b"\x00\x00",
        ] {
            assert_eq!(measure(bytes, &Limits::default()), Err(Unfit::Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn fields_can_be_taken_out() {
        let file = FileDescriptorProto {
            name: Some("a.proto".into()),
            dependency: vec!["b.proto".into()],
            syntax: Some("proto3".into()),
            ..FileDescriptorProto::default()
        };
        let kept = without(&file.encode_to_vec(), &[file::DEPENDENCY]).unwrap();
        let kept = FileDescriptorProto::decode(kept.as_slice()).unwrap();
        assert_eq!(kept, FileDescriptorProto { dependency: vec![], ..file.clone() });
        assert_eq!(last(&file.encode_to_vec(), file::NAME), Some(&b"a.proto"[..]));
    }

    #[test]
    fn members_are_counted_before_they_cost_memory() {
        let limits = Limits { members_max: 10, ..Limits::default() };
        let message = |fields: usize| {
            [&[0x22, u8::try_from(fields * 2).unwrap()][..], &[0x12, 0].repeat(fields)].concat()
        };
        assert_eq!(measure(&message(10), &limits).map(|found| found.declarations), Ok(11));
        assert_eq!(measure(&message(11), &limits), Err(Unfit::TooManyMembers));
    }
}

//! Maps: their entries as members of an object.

use std::ops::Range;

use crate::transcode::plan::Kind;
use crate::transcode::write::Writer;
use crate::transcode::write::fault::Fault;
use crate::transcode::write::values::check_replaced;
use crate::transcode::write::wire::Raw;
use crate::transcode::write::wire::Wire;

/// A map on its way out.
pub(super) struct Map {
    key: Kind,
    value: Kind,
    /// Once it has begun.
    begun: Option<Begun>,
}

/// Where the members of a map begin.
#[derive(Clone, Copy)]
struct Begun {
    /// In the output.
    out: usize,
    /// Among the members of all maps.
    members: usize,
}

/// Where one member was written: from its name to its end. Between members there is one comma.
#[derive(Debug)]
pub(super) struct Member {
    /// The first bytes of the name.
    begin: u64,
    name: Range<usize>,
    end: usize,
}

impl Map {
    pub(super) fn new((key, value): (Kind, Kind)) -> Self {
        Self { key, value, begun: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.begun.is_some()
    }

    pub(super) fn open(&mut self, out: &mut Vec<u8>, members: &[Member]) {
        out.push(b'{');
        self.begun = Some(Begun { out: out.len(), members: members.len() });
    }

    /// Takes back that it was begun, if it has no members; true if so.
    pub(super) fn abandon_if_empty(&mut self, members: &[Member]) -> bool {
        let is_empty = self.begun.is_some_and(|begun| begun.members == members.len());
        if is_empty {
            self.begun = None;
        }
        is_empty
    }

    /// Ends a map; false if none was begun. Of members with one name the last stays.
    pub(super) fn close(&mut self, out: &mut Vec<u8>, members: &mut Vec<Member>) -> bool {
        let Some(begun) = self.begun.take() else { return false };
        if has_twins(&mut members[begun.members..], out) {
            keep_last(begun.out, &mut members.split_off(begun.members), out);
        }
        members.truncate(begun.members);
        out.push(b'}');
        true
    }
}

/// Whether two members have one name. Equal keys are written in the same way.
fn has_twins(members: &mut [Member], out: &[u8]) -> bool {
    let ascend = |members: &[Member]| members.is_sorted_by(|a, b| a.compare(b, out).is_lt());
    if ascend(members) {
        return false;
    }
    members.sort_unstable_by(|a, b| a.compare(b, out));
    !ascend(members)
}

/// Takes the members back that a later one replaces.
fn keep_last(start: usize, members: &mut Vec<Member>, out: &mut Vec<u8>) {
    members.sort_unstable_by(|a, b| a.compare(b, out).then(b.end.cmp(&a.end)));
    members.dedup_by(|later, kept| later.compare(kept, out).is_eq());
    members.sort_unstable_by_key(|member| member.end);
    let written = out.split_off(start);
    for member in members {
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(&written[member.name.start - start..member.end - start]);
    }
}

impl Member {
    #[inline]
    fn new(name: Range<usize>, out: &[u8]) -> Self {
        // All names are quoted: what comes after the quote tells them apart.
        let text = &out[name.start + 1..name.end];
        let begin = text.first_chunk().map_or_else(
            || {
                let mut begin = [0; 8];
                begin[..text.len()].copy_from_slice(text);
                begin
            },
            |begin| *begin,
        );
        Self { begin: u64::from_be_bytes(begin), name, end: out.len() }
    }

    #[inline]
    fn compare(&self, other: &Self, out: &[u8]) -> std::cmp::Ordering {
        self.begin.cmp(&other.begin).then_with(|| out[self.name.clone()].cmp(&out[other.name.clone()]))
    }
}

impl Writer<'_, '_> {
    /// One entry of a map that has begun.
    pub(super) fn map_entry(&mut self, map: &Map, bytes: &[u8]) -> Result<(), Fault> {
        let mut wire = Wire::new(bytes);
        // Nearly all entries are a key and a value.
        if let Some((1, key)) = wire.next()?
            && map.key.fits(key)
            && let Some((2, value)) = wire.next()?
            && self.takes(map.value, value)
            && wire.is_end()
        {
            return self.map_member(map, key, value);
        }
        self.odd_entry(map, bytes)
    }

    /// An entry of anything: the last key and the last value count.
    #[inline(never)]
    fn odd_entry(&mut self, map: &Map, bytes: &[u8]) -> Result<(), Fault> {
        let mut key = map.key.zero();
        let mut value = self.zero(map.value);
        // Messages merge, of others the last counts.
        let mut merged = Vec::new();
        let mut is_set = false;
        let mut wire = Wire::new(bytes);
        while let Some((number, raw)) = wire.next()? {
            match number {
                1 if map.key.fits(raw) => {
                    check_replaced(map.key, key)?;
                    key = raw;
                }
                2 if self.takes(map.value, raw) => {
                    check_replaced(map.value, value)?;
                    if is_set && map.value.is_message() {
                        if merged.is_empty() {
                            merged.extend_from_slice(value.bytes());
                        }
                        merged.extend_from_slice(raw.bytes());
                    }
                    (value, is_set) = (raw, true);
                }
                // A number that a closed enum doesn't have makes the entry an unknown field.
                2 if map.value.fits(raw) => return Ok(()),
                _ => {}
            }
        }
        self.map_member(map, key, if merged.is_empty() { value } else { Raw::Bytes(&merged) })
    }

    fn map_member(&mut self, map: &Map, key: Raw<'_>, value: Raw<'_>) -> Result<(), Fault> {
        if map.begun.is_some_and(|begun| begun.out < self.out.len()) {
            self.check_len()?;
            self.out.push(b',');
        }
        let name = self.out.len();
        self.map_key(map.key, key)?;
        let member = Member::new(name..self.out.len(), self.out);
        self.out.push(b':');
        self.value_of(map.value, value)?;
        self.members.push(Member { end: self.out.len(), ..member });
        Ok(())
    }

    /// A key is always a string.
    fn map_key(&mut self, kind: Kind, raw: Raw<'_>) -> Result<(), Fault> {
        match kind {
            Kind::String { .. } => self.value_of(kind, raw),
            Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64 => {
                // Keys lose nothing, whatever the option says of values.
                let int64 = std::mem::take(&mut self.options.int64);
                let written = self.value_of(kind, raw);
                self.options.int64 = int64;
                written
            }
            _ => {
                self.out.push(b'"');
                self.value_of(kind, raw)?;
                self.out.push(b'"');
                Ok(())
            }
        }
    }
}

//! Maps: their entries as members of an object.

use std::ops::Range;

use crate::transcode::plan::Kind;
use crate::transcode::write::Writer;
use crate::transcode::write::fault::Fault;
use crate::transcode::write::wire::Raw;
use crate::transcode::write::wire::Wire;

/// A map on its way out.
pub(super) struct Map {
    key: Kind,
    value: Kind,
    /// Where its members begin in the output, once it has begun.
    start: Option<usize>,
    members: Vec<Member>,
}

/// Where one member was written: from its name to its end. Between members there is one comma.
struct Member {
    /// The first bytes of the name.
    begin: u64,
    name: Range<usize>,
    end: usize,
}

impl Map {
    pub(super) fn new((key, value): (Kind, Kind)) -> Self {
        Self { key, value, start: None, members: Vec::new() }
    }

    pub(super) fn is_open(&self) -> bool {
        self.start.is_some()
    }

    pub(super) fn open(&mut self, out: &mut Vec<u8>) {
        out.push(b'{');
        self.start = Some(out.len());
    }

    /// Ends a map; false if none was begun. Of members with one name the last stays.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(start) = self.start.take() else { return false };
        if self.has_twins(out) {
            self.keep_last(start, out);
        }
        out.push(b'}');
        true
    }

    fn push(&mut self, name: Range<usize>, out: &[u8]) {
        // All names are quoted: what comes after the quote tells them apart.
        let text = &out[name.start + 1..name.end];
        let mut begin = [0; 8];
        let len = text.len().min(8);
        begin[..len].copy_from_slice(&text[..len]);
        self.members.push(Member { begin: u64::from_be_bytes(begin), name, end: out.len() });
    }

    /// Whether two members have one name. Equal keys are written in the same way.
    fn has_twins(&mut self, out: &[u8]) -> bool {
        let ascend = |members: &[Member]| members.is_sorted_by(|a, b| a.compare(b, out).is_lt());
        if ascend(&self.members) {
            return false;
        }
        self.members.sort_unstable_by(|a, b| a.compare(b, out));
        !ascend(&self.members)
    }

    /// Takes the members back that a later one replaces.
    fn keep_last(&mut self, start: usize, out: &mut Vec<u8>) {
        let order = |a: &Member, b: &Member| a.compare(b, out).then(b.end.cmp(&a.end));
        self.members.sort_unstable_by(order);
        self.members.dedup_by(|later, kept| later.compare(kept, out).is_eq());
        self.members.sort_unstable_by_key(|member| member.end);
        let written = out.split_off(start);
        for member in &self.members {
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(&written[member.name.start - start..member.end - start]);
        }
    }
}

impl Member {
    #[inline]
    fn compare(&self, other: &Self, out: &[u8]) -> std::cmp::Ordering {
        self.begin.cmp(&other.begin).then_with(|| out[self.name.clone()].cmp(&out[other.name.clone()]))
    }
}

impl Writer<'_, '_> {
    /// One entry of a map that has begun.
    pub(super) fn map_entry(&mut self, map: &mut Map, bytes: &[u8]) -> Result<(), Fault> {
        let mut key = map.key.zero();
        let mut value = self.zero(map.value);
        // Messages merge, of others the last counts.
        let mut merged = Vec::new();
        let mut is_set = false;
        let mut wire = Wire::new(bytes);
        while let Some((number, raw)) = wire.next()? {
            match number {
                1 if map.key.fits(raw) => key = raw,
                2 if self.takes(map.value, raw) => {
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
        if !map.members.is_empty() {
            self.check_len()?;
            self.out.push(b',');
        }
        let name = self.out.len();
        self.map_key(map.key, key)?;
        let name = name..self.out.len();
        self.out.push(b':');
        self.value_of(map.value, if merged.is_empty() { value } else { Raw::Bytes(&merged) })?;
        map.push(name, self.out);
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

//! Objects: the fields of a message as they come, or gathered first where they come in an odd way.

use crate::transcode::plan::Field;
use crate::transcode::plan::Kind;
use crate::transcode::plan::Message;
use crate::transcode::plan::Presence;
use crate::transcode::plan::Shape;
use crate::transcode::write::Writer;
use crate::transcode::write::fault::Fault;
use crate::transcode::write::maps::Map;
use crate::transcode::write::seen::Seen;
use crate::transcode::write::values::check_replaced;
use crate::transcode::write::wire::Raw;
use crate::transcode::write::wire::Wire;

/// How the fields of a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// Each once, the values of a repeated one together: they are written.
    Once,
    /// Otherwise: what was written is to be taken back.
    Oddly,
}

impl Writer<'_, '_> {
    /// An object of a message's fields.
    pub(super) fn object(&mut self, plan: &Message, bytes: &[u8]) -> Result<(), Fault> {
        let start = self.out.len();
        self.members(plan, bytes)?;
        match self.out.get_mut(start) {
            // The comma before the first member.
            Some(comma) => *comma = b'{',
            None => self.out.push(b'{'),
        }
        self.out.push(b'}');
        Ok(())
    }

    /// The members of an object, each after a comma.
    pub(super) fn members(&mut self, plan: &Message, bytes: &[u8]) -> Result<(), Fault> {
        let start = self.out.len();
        let mut seen = Seen::new(plan);
        if self.pass(plan, bytes, &mut seen)? == Came::Oddly {
            self.out.truncate(start);
            seen = Seen::new(plan);
            self.gathered(plan, bytes, &mut seen)?;
        }
        if self.options.emit_defaults {
            self.defaults(plan, &seen)?;
        }
        Ok(())
    }

    /// Writes the fields as they come.
    fn pass(&mut self, plan: &Message, bytes: &[u8], seen: &mut Seen) -> Result<Came, Fault> {
        let mut wire = Wire::new(bytes);
        let mut looked_ahead = !plan.recurses;
        loop {
            let ahead = wire;
            let Some((number, raw)) = wire.next()? else { return Ok(Came::Once) };
            let Some((at, field)) = plan.by_number(number) else { continue };
            if !looked_ahead && field.recurses() {
                // No message is written twice: at each of many levels that would double the work.
                looked_ahead = true;
                if self.comes_oddly(plan, ahead, seen.clone())? {
                    return Ok(Came::Oddly);
                }
            }
            let came = match field.shape {
                Shape::Single => self.single(at, field, raw, seen),
                Shape::Repeated { .. } => self.run(at, field, raw, &mut wire, seen),
                Shape::Map { key, value } => {
                    self.map_run((key, value), field, raw, &mut wire).map(|any| !any || seen.enter(at))
                }
            };
            if !came.map_err(|fault| fault.within(&field.name))? {
                return Ok(Came::Oddly);
            }
        }
    }

    /// Whether any of the fields ahead were there already, or are there twice and not together.
    fn comes_oddly(&self, plan: &Message, mut ahead: Wire<'_>, mut seen: Seen) -> Result<bool, Fault> {
        let mut run = 0;
        while let Some((number, raw)) = ahead.next()? {
            if number == run {
                continue;
            }
            run = 0;
            let Some((at, field)) = plan.by_number(number) else { continue };
            if field.shape != Shape::Single {
                run = number;
            } else if !self.takes(field.kind, raw) {
                continue;
            }
            if field.oneof.is_some_and(|oneof| !seen.enter_oneof(oneof)) || !seen.enter(at) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One value of a singular field; false if it isn't the first of the field or its oneof.
    #[inline]
    fn single(&mut self, at: usize, field: &Field, raw: Raw<'_>, seen: &mut Seen) -> Result<bool, Fault> {
        if !self.takes(field.kind, raw) {
            return Ok(true);
        }
        if let Some(oneof) = field.oneof
            && !seen.enter_oneof(oneof)
        {
            return Ok(false);
        }
        if !seen.enter(at) {
            return Ok(false);
        }
        self.member(field, raw)?;
        Ok(true)
    }

    /// Writes a singular member, unless it is a default that is as good as absent.
    #[inline]
    fn member(&mut self, field: &Field, raw: Raw<'_>) -> Result<(), Fault> {
        if field.presence == Presence::Implicit && raw.is_default(field.kind) && !self.options.emit_defaults {
            return Ok(());
        }
        self.key(field)?;
        self.value_of(field.kind, raw)
    }

    /// All values of a repeated field that come together; false if others came before.
    fn run(
        &mut self,
        at: usize,
        field: &Field,
        raw: Raw<'_>,
        wire: &mut Wire<'_>,
        seen: &mut Seen,
    ) -> Result<bool, Fault> {
        let mut list = List::Closed;
        let mut next = Some(raw);
        while let Some(raw) = next {
            self.items(field, raw, &mut list)?;
            next = wire.next_of(field.number)?;
        }
        Ok(!self.close(list) || seen.enter(at))
    }

    /// All entries of a map that come together; false if there were none.
    fn map_run(
        &mut self,
        kinds: (Kind, Kind),
        field: &Field,
        raw: Raw<'_>,
        wire: &mut Wire<'_>,
    ) -> Result<bool, Fault> {
        let mut map = Map::new(kinds);
        let mut next = Some(raw);
        while let Some(raw) = next {
            self.entry(field, raw, &mut map)?;
            next = wire.next_of(field.number)?;
        }
        Ok(map.close(self.out, &mut self.members))
    }

    fn entry(&mut self, field: &Field, raw: Raw<'_>, map: &mut Map) -> Result<(), Fault> {
        let Raw::Bytes(bytes) = raw else { return Ok(()) };
        if map.is_open() {
            return self.map_entry(map, bytes);
        }
        let start = self.out.len();
        self.key(field)?;
        map.open(self.out, &self.members);
        self.map_entry(map, bytes)?;
        // The entry may be an unknown field: there is no map yet.
        if map.abandon_if_empty(&self.members) {
            self.out.truncate(start);
        }
        Ok(())
    }

    /// One value of a repeated field, or a pack of them.
    fn items(&mut self, field: &Field, raw: Raw<'_>, list: &mut List) -> Result<(), Fault> {
        if let Raw::Bytes(packed) = raw
            && field.kind.is_packable()
        {
            let mut wire = Wire::new(packed);
            while !wire.is_end() {
                let raw = field.kind.unpack(&mut wire)?;
                self.item(field, raw, list)?;
            }
            return Ok(());
        }
        if field.kind.fits(raw) { self.item(field, raw, list) } else { Ok(()) }
    }

    #[inline]
    fn item(&mut self, field: &Field, raw: Raw<'_>, list: &mut List) -> Result<(), Fault> {
        if self.is_unknown(field.kind, raw) {
            return Ok(());
        }
        if *list == List::Open {
            self.check_len()?;
            self.out.push(b',');
        } else {
            self.key(field)?;
            self.out.push(b'[');
            *list = List::Open;
        }
        self.value_of(field.kind, raw)
    }

    /// Ends a list; false if none was begun.
    fn close(&mut self, list: List) -> bool {
        if list == List::Open {
            self.out.push(b']');
        }
        list == List::Open
    }

    /// Gathers all values first: the last of a singular field counts, sub-messages merge, repeated ones add
    /// up, and of a oneof the last member stays. Inlined, it would slow down the messages that need none of it.
    #[cold]
    #[inline(never)]
    fn gathered(&mut self, plan: &Message, bytes: &[u8], seen: &mut Seen) -> Result<(), Fault> {
        let mut values: Vec<(usize, Raw<'_>)> = Vec::new();
        // Of each oneof the member that it has, and where in `values` that came in the place of another.
        let mut members: Vec<(usize, usize)> = vec![(usize::MAX, 0); plan.oneofs];
        let mut wire = Wire::new(bytes);
        while let Some((number, raw)) = wire.next()? {
            let Some((at, field)) = plan.by_number(number) else { continue };
            if field.shape == Shape::Single {
                if !self.takes(field.kind, raw) {
                    continue;
                }
                check_replaced(field.kind, raw).map_err(|fault| fault.within(&field.name))?;
            }
            if let Some(oneof) = field.oneof
                && members[oneof].0 != at
            {
                members[oneof] = (at, values.len());
            }
            values.push((at, raw));
        }
        let mut place = 0..;
        values.retain(|(at, _)| {
            let place = place.next().unwrap_or_default();
            plan.fields[*at].oneof.is_none_or(|oneof| *at == members[oneof].0 && members[oneof].1 <= place)
        });
        // Stable: those of one field stay in their order.
        values.sort_by_key(|(at, _)| *at);
        for values in values.chunk_by(|(a, _), (b, _)| a == b) {
            let at = values[0].0;
            let field = &plan.fields[at];
            let written = self.gathered_field(field, values);
            if written.map_err(|fault| fault.within(&field.name))? {
                seen.enter(at);
            }
        }
        Ok(())
    }

    /// Writes the values of one field, at least one; false if they are none that it has.
    fn gathered_field(&mut self, field: &Field, values: &[(usize, Raw<'_>)]) -> Result<bool, Fault> {
        match field.shape {
            Shape::Single => {
                let merged: Vec<u8>;
                let raw = match values {
                    [_, _, ..] if field.message().is_some() => {
                        merged = values.iter().flat_map(|(_, raw)| raw.bytes()).copied().collect();
                        Raw::Bytes(&merged)
                    }
                    _ => values.last().map_or(Raw::Bytes(&[]), |(_, raw)| *raw),
                };
                self.member(field, raw)?;
                Ok(true)
            }
            Shape::Repeated { .. } => {
                let mut list = List::Closed;
                values.iter().try_for_each(|(_, raw)| self.items(field, *raw, &mut list))?;
                Ok(self.close(list))
            }
            Shape::Map { key, value } => {
                let mut map = Map::new((key, value));
                values.iter().try_for_each(|(_, raw)| self.entry(field, *raw, &mut map))?;
                Ok(map.close(self.out, &mut self.members))
            }
        }
    }

    /// The fields without presence that weren't there.
    fn defaults(&mut self, plan: &Message, seen: &Seen) -> Result<(), Fault> {
        for (_, field) in plan.fields.iter().enumerate().filter(|(at, _)| !seen.has(*at)) {
            let is_extension = field.name.starts_with('[');
            let is_single = field.shape == Shape::Single;
            if is_extension || (is_single && field.presence == Presence::Explicit) {
                continue;
            }
            self.key(field)?;
            self.default_of(field)?;
        }
        Ok(())
    }

    /// What a field has when it isn't there.
    fn default_of(&mut self, field: &Field) -> Result<(), Fault> {
        let text: &[u8] = match (field.shape, field.kind) {
            (Shape::Repeated { .. }, _) => b"[]",
            (Shape::Map { .. }, _) => b"{}",
            (Shape::Single, Kind::Message(_) | Kind::Group(_)) => b"null",
            (Shape::Single, kind) => {
                let default = match &field.default {
                    Some(declared) if kind.is_packable() => kind.unpack(&mut Wire::new(declared))?,
                    Some(declared) => Raw::Bytes(declared),
                    None => self.zero(kind),
                };
                return self.value_of(kind, default);
            }
        };
        self.out.extend_from_slice(text);
        Ok(())
    }

    /// One field's value, bare.
    pub(super) fn only_field(&mut self, plan: &Message, at: usize, bytes: &[u8]) -> Result<(), Fault> {
        let Some(field) = plan.fields.get(at) else {
            return Err(Fault::new("the message has no such field"));
        };
        let mut values = Vec::new();
        let mut wire = Wire::new(bytes);
        while let Some((number, raw)) = wire.next()? {
            let Some((found, other)) = plan.by_number(number) else { continue };
            if other.shape == Shape::Single && !self.takes(other.kind, raw) {
                continue;
            }
            if found == at {
                if field.shape == Shape::Single {
                    check_replaced(field.kind, raw).map_err(|fault| fault.within(&field.name))?;
                }
                values.push((at, raw));
            } else if field.oneof.is_some() && other.oneof == field.oneof {
                values.clear();
            }
        }
        let start = self.out.len();
        if !values.is_empty() {
            self.gathered_field(field, &values).map_err(|fault| fault.within(&field.name))?;
        }
        if self.out.len() == start {
            return self.default_of(field);
        }
        // The key is not wanted.
        self.out.drain(start..start + self.key_of(field).text().len());
        Ok(())
    }
}

/// Whether a list has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Closed,
    Open,
}

//! Reads JSON objects as messages: member by member, each written as it comes.

use crate::transcode::bound::Bound;
use crate::transcode::plan::Field;
use crate::transcode::plan::Form;
use crate::transcode::plan::Kind;
use crate::transcode::plan::Message;
use crate::transcode::plan::MessageId;
use crate::transcode::plan::Presence;
use crate::transcode::plan::Shape;
use crate::transcode::read::Reader;
use crate::transcode::read::Unknown;
use crate::transcode::read::any;
use crate::transcode::read::cursor::Token;
use crate::transcode::read::fault;
use crate::transcode::read::fault::Fault;
use crate::transcode::read::fault::Read;
use crate::transcode::read::seen::Seen;
use crate::transcode::read::values::Value;
use crate::transcode::read::values::Zero;
use crate::transcode::text::wire;
use crate::transcode::text::wire::WireType;

/// Whether an object may have the member `@type`, which says nothing about its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TypeMember {
    None,
    Allowed,
}

impl<'p> Reader<'p, '_, '_> {
    /// The content of message `id`, whatever its form.
    pub(super) fn message(&mut self, id: MessageId, bound: &Bound) -> Read<()> {
        let message = self.plans.message(id);
        match message.form {
            Form::Object | Form::MapEntry | Form::MessageSet => self.object(message, bound, TypeMember::None),
            _ if !bound.is_empty() => Err(Fault::new(
                self.cursor.offset(),
                "a part of this value comes from the path: leave it out of the body",
            )),
            Form::Any => self.any(),
            Form::Timestamp => self.timestamp(),
            Form::Duration => self.duration(),
            Form::FieldMask => self.field_mask(),
            Form::Struct => self.structure(),
            Form::Value => self.dynamic_value(),
            Form::ListValue => self.list(),
            Form::Wrapper => self.wrapper(message),
        }
    }

    /// The members of an object, each a field of `message`.
    pub(super) fn object(&mut self, message: &'p Message, bound: &Bound, mut types: TypeMember) -> Read<()> {
        if self.begin(b'{', "an object")? {
            return Ok(());
        }
        let mut seen = Seen::default();
        let mut next = 0;
        loop {
            self.count()?;
            let key = self.cursor.key()?;
            match find(message, key, &mut next)? {
                Some((index, field)) => {
                    if !seen.insert(index) {
                        return Err(twice(field, key));
                    }
                    self.member(message, field, bound, &mut seen)
                        .map_err(|fault| fault.in_field(&field.json_name))?;
                }
                None if types == TypeMember::Allowed && key.text()? == any::TYPE => {
                    // Its value was read ahead; a second one is unknown like any other name.
                    types = TypeMember::None;
                    self.cursor.skip(self.depth_left)?;
                }
                None => self.unknown(message, key)?,
            }
            if !self.cursor.next_or(b'}')? {
                self.depth_left += 1;
                return Ok(());
            }
        }
    }

    /// The field that is the whole body of a request.
    pub(super) fn body_field(&mut self, message: &'p Message, field: &'p Field, bound: &Bound) -> Read<()> {
        self.member(message, field, bound, &mut Seen::default())
            .map_err(|fault| fault.in_field(&field.json_name))
    }

    /// Refuses or steps over a member that `message` doesn't have.
    pub(super) fn unknown(&mut self, message: &Message, key: Token<'_>) -> Read<()> {
        let name = key.text()?;
        if self.unknown_fields == Unknown::Ignore {
            return self.cursor.skip(self.depth_left);
        }
        Err(Fault::new(key.offset, fault::unknown_field(message, &name)))
    }

    /// Enters an object or array; true if it was empty and is left again.
    #[inline]
    pub(super) fn begin(&mut self, open: u8, wanted: &str) -> Read<bool> {
        if self.cursor.peek() != open {
            return Err(self.cursor.unexpected(wanted));
        }
        let depth_left = self.cursor.deeper(self.depth_left)?;
        self.cursor.take(open);
        if self.cursor.take(if open == b'{' { b'}' } else { b']' }) {
            return Ok(true);
        }
        self.depth_left = depth_left;
        Ok(false)
    }

    /// Counts an element or a member.
    #[inline]
    pub(super) fn count(&mut self) -> Read<()> {
        match self.elements_left.checked_sub(1) {
            Some(left) => self.elements_left = left,
            None => {
                let what = "the text has too many array elements and members: send it in parts";
                return Err(Fault::new(self.cursor.offset(), what));
            }
        }
        Ok(())
    }

    #[inline]
    fn member(&mut self, message: &Message, field: &'p Field, bound: &Bound, seen: &mut Seen) -> Read<()> {
        if self.cursor.peek() == b'n' && !self.takes_null(field) {
            return self.cursor.null();
        }
        let oneof = field.oneof.map(|oneof| message.fields.len() + oneof);
        if oneof.is_some_and(|oneof| !seen.insert(oneof)) {
            let what = "another member of the same oneof is set already: send only one";
            return Err(Fault::new(self.cursor.offset(), what));
        }
        let value = if bound.is_empty() {
            self.field(message, field, bound)?
        } else {
            self.bound_member(message, field, bound)?
        };
        if let (Value::Dropped, Some(oneof)) = (value, oneof) {
            seen.remove(oneof);
        }
        Ok(())
    }

    /// A member of a message of which the path sets a part.
    #[inline(never)]
    fn bound_member(&mut self, message: &Message, field: &'p Field, bound: &Bound) -> Read<Value> {
        let is_set = |field: &Field| bound.owns(field.number) || bound.child(field.number).is_some();
        let rivals = message.fields.iter().filter(|other| other.number != field.number);
        let has_rival =
            field.oneof.is_some() && rivals.filter(|other| other.oneof == field.oneof).any(is_set);
        if has_rival || bound.owns(field.number) {
            let what = "this is set by the path of the request: leave it out of the body";
            return Err(Fault::new(self.cursor.offset(), what));
        }
        match bound.child(field.number) {
            Some(below) => self.field(message, field, below),
            None => self.field(message, field, &Bound::empty()),
        }
    }

    fn field(&mut self, message: &Message, field: &'p Field, bound: &Bound) -> Read<Value> {
        match &field.shape {
            Shape::Single => {
                if message.form == Form::MessageSet
                    && let Kind::Message(id) = field.kind
                {
                    self.set_item(field.number, id, bound)?;
                    return Ok(Value::Taken);
                }
                let zero = match field.presence {
                    Presence::Implicit => Zero::Skip,
                    Presence::Explicit => Zero::Write,
                };
                return self.value(&field.kind, field.tag.bytes(), zero, bound);
            }
            Shape::Repeated { packed } => self.array(field, *packed)?,
            Shape::Map { key, value } => self.map(field, key, value)?,
        }
        Ok(Value::Taken)
    }

    /// The elements of a repeated field.
    fn array(&mut self, field: &'p Field, packed: bool) -> Read<()> {
        if self.begin(b'[', "an array")? {
            return Ok(());
        }
        let none = Bound::empty();
        let tag = field.tag.bytes();
        let mark = packed.then(|| {
            self.out.extend_from_slice(tag);
            self.lengths.open(self.out)
        });
        let tag = if packed { &[][..] } else { tag };
        let mut index = 0;
        loop {
            self.count()?;
            // One that is dropped has written nothing.
            let _ =
                self.value(&field.kind, tag, Zero::Write, &none).map_err(|fault| fault.in_element(index))?;
            index += 1;
            if !self.cursor.next_or(b']')? {
                break;
            }
        }
        self.depth_left += 1;
        if let Some(mark) = mark {
            self.lengths.close(&mark, self.out);
        }
        Ok(())
    }

    /// An extension of a MessageSet, whose wire form is its own.
    fn set_item(&mut self, number: u32, id: MessageId, bound: &Bound) -> Read<()> {
        self.out.extend_from_slice(&SET_ITEM_BEGIN);
        wire::varint(u64::from(number), self.out);
        wire::tag(3, WireType::Len, self.out);
        let mark = self.lengths.open(self.out);
        self.message(id, bound)?;
        self.lengths.close(&mark, self.out);
        self.out.push(SET_ITEM_END);
        Ok(())
    }

    /// Whether `null` is a value of the field instead of its absence.
    #[inline(never)]
    fn takes_null(&self, field: &Field) -> bool {
        matches!(field.shape, Shape::Single) && self.is_nullable(&field.kind)
    }
}

/// The field that a member sets: those that may well come after the last are tried first.
#[inline]
fn find<'p>(message: &'p Message, key: Token<'_>, next: &mut usize) -> Read<Option<(usize, &'p Field)>> {
    let found = if key.escaped {
        message.by_name(key.text()?.as_bytes())
    } else {
        message.guess(key.raw, *next).or_else(|| message.by_name(key.raw.as_bytes()))
    };
    if let Some((index, _)) = found {
        *next = index + 1;
    }
    Ok(found)
}

#[cold]
fn twice(field: &Field, key: Token<'_>) -> Box<Fault> {
    let what = "this member is there twice, under one name or two: send it once";
    Fault::new(key.offset, what).in_field(&field.json_name)
}

/// Group 1 begins, and field 2 has the number of the extension.
const SET_ITEM_BEGIN: [u8; 2] = [1 << 3 | 3, 2 << 3];
const SET_ITEM_END: u8 = 1 << 3 | 4;

//! Reads the well-known types that have a JSON form of their own.

use crate::transcode::bound::Bound;
use crate::transcode::plan::Message;
use crate::transcode::read::Reader;
use crate::transcode::read::fault::Fault;
use crate::transcode::read::fault::Read;
use crate::transcode::read::maps;
use crate::transcode::read::seen::Key;
use crate::transcode::read::seen::Keys;
use crate::transcode::read::values::Zero;
use crate::transcode::text;
use crate::transcode::text::mask;
use crate::transcode::text::number;
use crate::transcode::text::time;
use crate::transcode::text::wire;

impl<'t> Reader<'_, 't, '_> {
    pub(super) fn timestamp(&mut self) -> Read<()> {
        let token = self.cursor.string("a timestamp in double quotes")?;
        let text = token.text()?;
        let value =
            time::timestamp(&text).map_err(|problem| Fault::of_value(token.offset, &text, &problem))?;
        text::write_seconds(value, self.out);
        Ok(())
    }

    pub(super) fn duration(&mut self) -> Read<()> {
        let token = self.cursor.string("a duration in double quotes, as \"1.5s\"")?;
        let text = token.text()?;
        let value =
            time::duration(&text).map_err(|problem| Fault::of_value(token.offset, &text, &problem))?;
        text::write_seconds(value, self.out);
        Ok(())
    }

    pub(super) fn field_mask(&mut self) -> Read<()> {
        if self.cursor.peek() == b'{' {
            let what = "a field mask is one string, as \"name,user.displayName\": the object form \
                        {\"paths\": [..]} is not ProtoJSON";
            return Err(Fault::new(self.cursor.offset(), what));
        }
        let token = self.cursor.string("a field mask in double quotes")?;
        let text = token.text()?;
        mask::field_mask(&text, self.out).map_err(|problem| Fault::of_value(token.offset, &text, &problem))
    }

    /// A wrapper: the bare value of its only field.
    pub(super) fn wrapper(&mut self, message: &Message) -> Read<()> {
        let Some((_, field)) = message.by_number(1) else {
            return Err(Fault::new(self.cursor.offset(), format!("{} has no value field", message.name)));
        };
        self.value(&field.kind, field.tag.bytes(), Zero::Skip, &Bound::empty()).map(|_| ())
    }

    /// The content of a `Struct`.
    pub(super) fn structure(&mut self) -> Read<()> {
        if self.begin(b'{', "an object")? {
            return Ok(());
        }
        let mut keys = Keys::begin(&self.keys);
        loop {
            self.count()?;
            let key = self.cursor.key()?;
            let name = key.text()?;
            self.out.push(STRUCT_ENTRY);
            let entry = self.lengths.open(self.out);
            self.out.push(ENTRY_KEY);
            wire::delimited(name.as_bytes(), self.out);
            self.out.push(ENTRY_VALUE);
            let value = self.lengths.open(self.out);
            self.dynamic_value().map_err(|fault| fault.in_key(&name))?;
            self.lengths.close(&value, self.out);
            self.lengths.close(&entry, self.out);
            if !keys.insert(Key::Text(name), &mut self.keys) {
                return Err(maps::twice(key.offset, &key.text()?));
            }
            if !self.cursor.next_or(b'}')? {
                keys.end(&mut self.keys);
                self.depth_left += 1;
                return Ok(());
            }
        }
    }

    /// The content of a `ListValue`.
    pub(super) fn list(&mut self) -> Read<()> {
        if self.begin(b'[', "an array")? {
            return Ok(());
        }
        let mut index = 0;
        loop {
            self.count()?;
            self.out.push(LIST_VALUE);
            let value = self.lengths.open(self.out);
            self.dynamic_value().map_err(|fault| fault.in_element(index))?;
            self.lengths.close(&value, self.out);
            index += 1;
            if !self.cursor.next_or(b']')? {
                self.depth_left += 1;
                return Ok(());
            }
        }
    }

    /// The content of a `Value`: any JSON.
    pub(super) fn dynamic_value(&mut self) -> Read<()> {
        match self.cursor.peek() {
            b'n' => {
                self.cursor.null()?;
                self.out.extend_from_slice(&[VALUE_NULL, 0]);
            }
            b't' | b'f' => {
                let value = self.cursor.boolean()?;
                self.out.extend_from_slice(&[VALUE_BOOL, u8::from(value)]);
            }
            b'"' => self.string(&[VALUE_STRING], Zero::Write)?,
            b'{' => {
                self.out.push(VALUE_STRUCT);
                let mark = self.lengths.open(self.out);
                self.structure()?;
                self.lengths.close(&mark, self.out);
            }
            b'[' => {
                self.out.push(VALUE_LIST);
                let mark = self.lengths.open(self.out);
                self.list()?;
                self.lengths.close(&mark, self.out);
            }
            _ => {
                let offset = self.cursor.offset();
                let text = self.cursor.number("a value")?;
                let value =
                    number::double_of(text).map_err(|problem| Fault::of_value(offset, text, &problem))?;
                self.out.push(VALUE_NUMBER);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
        }
        Ok(())
    }
}

// Tags of google/protobuf/struct.proto: the field number, then the wire type in three bits.
const STRUCT_ENTRY: u8 = 1 << 3 | 2;
const ENTRY_KEY: u8 = 1 << 3 | 2;
const ENTRY_VALUE: u8 = 2 << 3 | 2;
const LIST_VALUE: u8 = 1 << 3 | 2;
const VALUE_NULL: u8 = 1 << 3;
const VALUE_NUMBER: u8 = 2 << 3 | 1;
const VALUE_STRING: u8 = 3 << 3 | 2;
const VALUE_BOOL: u8 = 4 << 3;
const VALUE_STRUCT: u8 = 5 << 3 | 2;
const VALUE_LIST: u8 = 6 << 3 | 2;

//! Reads JSON objects as map fields.

use std::borrow::Cow;

use crate::transcode::bound::Bound;
use crate::transcode::plan::Field;
use crate::transcode::plan::Kind;
use crate::transcode::read::Reader;
use crate::transcode::read::cursor::Token;
use crate::transcode::read::fault::Fault;
use crate::transcode::read::fault::Read;
use crate::transcode::read::seen::Key;
use crate::transcode::read::seen::Keys;
use crate::transcode::read::values::Value;
use crate::transcode::read::values::Zero;
use crate::transcode::text;
use crate::transcode::text::Problem;
use crate::transcode::text::number;
use crate::transcode::text::number::Whole;
use crate::transcode::text::wire;

impl<'t> Reader<'_, 't, '_> {
    /// The members of a map, each an entry of its field.
    pub(super) fn map(&mut self, field: &Field, key_kind: &Kind, value_kind: &Kind) -> Read<()> {
        if self.begin(b'{', "an object")? {
            return Ok(());
        }
        let key_tag = 1 << 3 | text::wire_type(key_kind) as u8;
        let value_tag = [2 << 3 | text::wire_type(value_kind) as u8];
        let none = Bound::empty();
        let mut keys = Keys::begin(&self.keys);
        loop {
            self.count()?;
            let key = self.cursor.key()?;
            let begin = self.out.len();
            self.tag(field.tag.bytes());
            let mark = self.lengths.open(self.out);
            self.out.push(key_tag);
            let name = key.text()?;
            self.key(key_kind, key, &name, &mut keys)?;
            let value = self.value(value_kind, &value_tag, Zero::Write, &none);
            match value.map_err(|fault| fault.in_key(&name))? {
                Value::Taken => self.lengths.close(&mark, self.out),
                Value::Dropped => {
                    self.lengths.abandon(&mark);
                    self.out.truncate(begin);
                }
            }
            if !self.cursor.next_or(b'}')? {
                keys.end(&mut self.keys);
                self.depth_left += 1;
                return Ok(());
            }
        }
    }

    #[expect(clippy::ptr_arg, reason = "a key is kept as it is, borrowed or not")]
    fn key(&mut self, kind: &Kind, token: Token<'t>, name: &Cow<'t, str>, keys: &mut Keys<'t>) -> Read<()> {
        let key = match kind {
            Kind::String { .. } => {
                wire::delimited(name.as_bytes(), self.out);
                Key::Text(name.clone())
            }
            Kind::Bool => {
                let value = match &**name {
                    "true" => true,
                    "false" => false,
                    _ => return Err(Fault::of_value(token.offset, name, &BOOL_KEY)),
                };
                self.out.push(u8::from(value));
                Key::Bits(u64::from(value))
            }
            _ => {
                let whole = number::whole(name.as_bytes());
                let whole = whole.and_then(|whole| text::write_whole(kind, whole, self.out).map(|()| whole));
                let whole = whole.map_err(|problem| Fault::of_value(token.offset, name, &problem))?;
                Key::Bits(bits(whole))
            }
        };
        if !keys.insert(key, &mut self.keys) {
            return Err(twice(token.offset, name));
        }
        Ok(())
    }
}

/// The fault of a key that a map has already.
#[cold]
pub(super) fn twice(offset: usize, key: &str) -> Box<Fault> {
    Fault::new(offset, "this key is there twice: send it once").in_key(key)
}

/// What no other number of the same kind has: those of one kind are within 64 bits, signed or not.
fn bits(whole: Whole) -> u64 {
    if whole.negative { whole.magnitude.wrapping_neg() } else { whole.magnitude }
}

const BOOL_KEY: Problem = Problem::fixed("is not a boolean: the keys of this map are \"true\" and \"false\"");

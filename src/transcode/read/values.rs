//! Reads one value of any kind, and writes it behind its tag.

use std::borrow::Cow;

use crate::transcode::bound::Bound;
use crate::transcode::plan::EnumId;
use crate::transcode::plan::Form;
use crate::transcode::plan::Kind;
use crate::transcode::plan::MessageId;
use crate::transcode::read::Reader;
use crate::transcode::read::Unknown;
use crate::transcode::read::cursor::Token;
use crate::transcode::read::fault::Fault;
use crate::transcode::read::fault::Read;
use crate::transcode::read::objects::TypeMember;
use crate::transcode::text;
use crate::transcode::text::Problem;
use crate::transcode::text::number;
use crate::transcode::text::number::Whole;
use crate::transcode::text::wire;

/// What happens to zeros, empty strings and the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    /// They are not written: the field has no presence.
    Skip,
    /// They are written as any other value.
    Write,
}

/// Whether a value was there for the message, or was left out because the message doesn't know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Value {
    Taken,
    Dropped,
}

impl Reader<'_, '_, '_> {
    /// One value, behind `tag`.
    #[inline]
    pub(super) fn value(&mut self, kind: &Kind, tag: &[u8], zero: Zero, bound: &Bound) -> Read<Value> {
        match *kind {
            Kind::Bool => {
                let value = self.cursor.boolean()?;
                if value || zero == Zero::Write {
                    self.tag(tag);
                    self.out.push(u8::from(value));
                }
            }
            Kind::Double => self.double(tag, zero)?,
            Kind::Float => self.float(tag, zero)?,
            Kind::String { .. } => self.string(tag, zero)?,
            Kind::Bytes => self.bytes(tag, zero)?,
            Kind::Enum(id) => return self.enumeration(id, tag, zero),
            Kind::Message(id) => self.submessage(id, tag, bound)?,
            Kind::Group(id) => self.group(id, tag, bound)?,
            Kind::Int32
            | Kind::Int64
            | Kind::Uint32
            | Kind::Uint64
            | Kind::Sint32
            | Kind::Sint64
            | Kind::Fixed32
            | Kind::Fixed64
            | Kind::Sfixed32
            | Kind::Sfixed64 => self.integer(kind, tag, zero)?,
        }
        Ok(Value::Taken)
    }

    /// Whether `null` is a value of `kind`.
    pub(super) fn is_nullable(&self, kind: &Kind) -> bool {
        match *kind {
            Kind::Message(id) => matches!(self.plans.message(id).form, Form::Value),
            Kind::Enum(id) => self.plans.enumeration(id).null_value,
            _ => false,
        }
    }

    /// The text of a string that is not copied as it is.
    pub(super) fn text(&mut self, wanted: &str) -> Read<(Token<'_>, Cow<'_, str>)> {
        let token = self.cursor.string(wanted)?;
        Ok((token, token.text()?))
    }

    #[inline]
    pub(super) fn tag(&mut self, tag: &[u8]) {
        match tag {
            [one] => self.out.push(*one),
            more => self.out.extend_from_slice(more),
        }
    }

    #[inline]
    pub(super) fn string(&mut self, tag: &[u8], zero: Zero) -> Read<()> {
        let token = self.cursor.string("a string")?;
        if token.raw.is_empty() && zero == Zero::Skip {
            return Ok(());
        }
        self.tag(tag);
        if !token.escaped {
            wire::delimited(token.raw.as_bytes(), self.out);
            return Ok(());
        }
        let mark = self.lengths.open(self.out);
        token.unescape(|piece| self.out.extend_from_slice(piece.as_bytes()))?;
        self.lengths.close(&mark, self.out);
        Ok(())
    }

    #[inline]
    fn submessage(&mut self, id: MessageId, tag: &[u8], bound: &Bound) -> Read<()> {
        self.tag(tag);
        let mark = self.lengths.open(self.out);
        self.message(id, bound)?;
        self.lengths.close(&mark, self.out);
        Ok(())
    }

    #[inline(never)]
    fn group(&mut self, id: MessageId, tag: &[u8], bound: &Bound) -> Read<()> {
        self.tag(tag);
        self.object(self.plans.message(id), bound, TypeMember::None)?;
        // The end of a group has its begin's number and another wire type, in the lowest bits of the first byte.
        if let Some((first, rest)) = tag.split_first() {
            self.out.push(first & !7 | 4);
            self.out.extend_from_slice(rest);
        }
        Ok(())
    }

    #[inline]
    fn integer(&mut self, kind: &Kind, tag: &[u8], zero: Zero) -> Read<()> {
        self.cursor.peek();
        let offset = self.cursor.offset();
        let whole = match self.cursor.plain_whole() {
            Some(whole) => whole,
            None => self.other_whole()?,
        };
        if whole.magnitude == 0 && zero == Zero::Skip {
            return Ok(());
        }
        self.tag(tag);
        text::write_whole(kind, whole, self.out).map_err(|problem| out_of_range(offset, whole, &problem))
    }

    /// An integer in quotes, with an exponent, or the like.
    #[inline(never)]
    fn other_whole(&mut self) -> Read<Whole> {
        if self.cursor.peek() == b'"' {
            let (token, text) = self.text("an integer")?;
            return number::whole(text.as_bytes())
                .map_err(|problem| Fault::of_value(token.offset, &text, &problem));
        }
        let offset = self.cursor.offset();
        let text = self.cursor.number("an integer")?;
        number::whole(text.as_bytes()).map_err(|problem| Fault::of_value(offset, text, &problem))
    }

    fn double(&mut self, tag: &[u8], zero: Zero) -> Read<()> {
        let value = self.float_of(number::double_of, number::double_text)?;
        if value.to_bits() != 0 || zero == Zero::Write {
            self.tag(tag);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }

    fn float(&mut self, tag: &[u8], zero: Zero) -> Read<()> {
        let value = self.float_of(number::float_of, number::float_text)?;
        if value.to_bits() != 0 || zero == Zero::Write {
            self.tag(tag);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }

    /// A number by `bare`, which is told only of JSON numbers, or in quotes by `quoted`.
    fn float_of<T>(
        &mut self,
        bare: impl FnOnce(&str) -> Result<T, Problem>,
        quoted: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Read<T> {
        if self.cursor.peek() == b'"' {
            let (token, text) = self.text("a number")?;
            return quoted(&text).map_err(|problem| Fault::of_value(token.offset, &text, &problem));
        }
        let offset = self.cursor.offset();
        let text = self.cursor.number("a number")?;
        bare(text).map_err(|problem| Fault::of_value(offset, text, &problem))
    }

    #[inline(never)]
    fn bytes(&mut self, tag: &[u8], zero: Zero) -> Read<()> {
        let token = self.cursor.string("a string of base64")?;
        let text = token.text()?;
        if text.is_empty() && zero == Zero::Skip {
            return Ok(());
        }
        self.tag(tag);
        let mark = self.lengths.open(self.out);
        text::base64(&text, self.out).map_err(|problem| Fault::of_value(token.offset, &text, &problem))?;
        self.lengths.close(&mark, self.out);
        Ok(())
    }

    fn enumeration(&mut self, id: EnumId, tag: &[u8], zero: Zero) -> Read<Value> {
        let plan = self.plans.enumeration(id);
        let number = match self.cursor.peek() {
            b'"' => {
                let token = self.cursor.string("an enum value")?;
                let name = token.text()?;
                match text::enum_name(plan, &name) {
                    Ok(number) => number,
                    Err(_) if self.unknown_fields == Unknown::Ignore => return Ok(Value::Dropped),
                    Err(problem) => return Err(Fault::of_value(token.offset, &name, &problem)),
                }
            }
            b'n' if plan.null_value => {
                self.cursor.null()?;
                0
            }
            b'-' | b'0'..=b'9' => {
                let offset = self.cursor.offset();
                let text = self.cursor.number("an enum value")?;
                let number = number::whole(text.as_bytes()).and_then(|whole| text::enum_number(plan, whole));
                number.map_err(|problem| Fault::of_value(offset, text, &problem))?
            }
            _ => return Err(self.cursor.unexpected("the name or number of an enum value")),
        };
        if number != 0 || zero == Zero::Write {
            self.tag(tag);
            text::write_int32(number, self.out);
        }
        Ok(Value::Taken)
    }
}

#[cold]
fn out_of_range(offset: usize, whole: Whole, problem: &Problem) -> Box<Fault> {
    let sign = if whole.negative { "-" } else { "" };
    Fault::new(offset, format!("{sign}{} {problem}", whole.magnitude))
}

//! Single values as JSON.

use crate::transcode::plan::Kind;
use crate::transcode::write::Int64;
use crate::transcode::write::Writer;
use crate::transcode::write::fault::Fault;
use crate::transcode::write::text;
use crate::transcode::write::wire::Raw;
use crate::transcode::write::wire::Wire;

impl Kind {
    /// Whether a raw value is one of this kind; others are unknown fields.
    #[inline]
    pub(super) fn fits(self, raw: Raw<'_>) -> bool {
        matches!(
            (self.wire_type(), raw),
            (0, Raw::Varint(_))
                | (1, Raw::Fixed64(_))
                | (2, Raw::Bytes(_))
                | (3, Raw::Group(_))
                | (5, Raw::Fixed32(_))
        )
    }

    /// The next value of a pack.
    #[inline]
    pub(super) fn unpack<'b>(self, wire: &mut Wire<'b>) -> Result<Raw<'b>, Fault> {
        match self.wire_type() {
            1 => wire.array().map(u64::from_le_bytes).map(Raw::Fixed64),
            5 => wire.array().map(u32::from_le_bytes).map(Raw::Fixed32),
            _ => wire.varint().map(Raw::Varint),
        }
    }

    /// Whether it is a message of any form.
    #[inline]
    pub(super) fn is_message(self) -> bool {
        matches!(self, Self::Message(_) | Self::Group(_))
    }

    /// The default of a scalar; of enums the number zero.
    pub(super) fn zero(self) -> Raw<'static> {
        match self.wire_type() {
            0 => Raw::Varint(0),
            1 => Raw::Fixed64(0),
            5 => Raw::Fixed32(0),
            _ => Raw::Bytes(&[]),
        }
    }
}

impl<'b> Raw<'b> {
    /// The bytes of a value that has any.
    pub(super) fn bytes(&self) -> &'b [u8] {
        match *self {
            Raw::Bytes(bytes) | Raw::Group(bytes) => bytes,
            _ => &[],
        }
    }

    /// Whether it is what `kind` has when it is absent. The negative zero is not.
    #[inline]
    pub(super) fn is_default(&self, kind: Kind) -> bool {
        match *self {
            Raw::Varint(value) => low_bits(kind, value) == 0,
            Raw::Fixed64(value) => value == 0,
            Raw::Fixed32(value) => value == 0,
            Raw::Bytes(bytes) => bytes.is_empty(),
            Raw::Group(_) => false,
        }
    }
}

impl Writer<'_, '_> {
    /// Whether a value is a number that a closed enum doesn't have: an unknown field.
    #[inline]
    pub(super) fn is_unknown(&self, kind: Kind, raw: Raw<'_>) -> bool {
        match (kind, raw) {
            (Kind::Enum(id), Raw::Varint(value)) => {
                let plan = self.plans.enumeration(id);
                !plan.open && plan.name(int32(value)).is_none()
            }
            _ => false,
        }
    }

    /// Whether a raw value is one that a kind has; others are unknown fields.
    #[inline]
    pub(super) fn takes(&self, kind: Kind, raw: Raw<'_>) -> bool {
        kind.fits(raw) && !self.is_unknown(kind, raw)
    }

    /// The default of a scalar; of enums the value that is declared first.
    pub(super) fn zero(&self, kind: Kind) -> Raw<'static> {
        match kind {
            Kind::Enum(id) => Raw::Varint(i64::from(self.plans.enumeration(id).first).cast_unsigned()),
            _ => kind.zero(),
        }
    }

    /// One value of a kind that it fits.
    #[inline]
    pub(super) fn value_of(&mut self, kind: Kind, raw: Raw<'_>) -> Result<(), Fault> {
        match (kind, raw) {
            (Kind::String { utf8 }, Raw::Bytes(bytes)) if !text::string(bytes, self.out) => {
                Err(not_utf8(utf8))
            }
            (Kind::String { .. }, _) => Ok(()),
            _ => self.other_value_of(kind, raw),
        }
    }

    #[inline(never)]
    fn other_value_of(&mut self, kind: Kind, raw: Raw<'_>) -> Result<(), Fault> {
        match raw {
            Raw::Varint(value) => self.varint_of(kind, value),
            Raw::Fixed64(value) => match kind {
                Kind::Double => {
                    text::double(f64::from_bits(value), self.out);
                    Ok(())
                }
                Kind::Sfixed64 => self.int64(value.cast_signed()),
                _ => self.uint64(value),
            },
            Raw::Fixed32(value) => {
                match kind {
                    Kind::Float => text::float(f32::from_bits(value), self.out),
                    Kind::Sfixed32 => text::integer(value.cast_signed(), self.out),
                    _ => text::integer(value, self.out),
                }
                Ok(())
            }
            Raw::Bytes(bytes) | Raw::Group(bytes) => self.bytes_of(kind, bytes),
        }
    }

    fn varint_of(&mut self, kind: Kind, value: u64) -> Result<(), Fault> {
        match kind {
            Kind::Bool => self.out.extend_from_slice(if value == 0 { b"false" } else { b"true" }),
            Kind::Int32 => text::integer(int32(value), self.out),
            Kind::Uint32 => text::integer(low_bits(kind, value), self.out),
            Kind::Sint32 => {
                let value = uint32(value);
                text::integer((value >> 1).cast_signed() ^ -(value & 1).cast_signed(), self.out);
            }
            Kind::Int64 => return self.int64(value.cast_signed()),
            Kind::Sint64 => return self.int64((value >> 1).cast_signed() ^ -(value & 1).cast_signed()),
            Kind::Enum(id) => {
                let plan = self.plans.enumeration(id);
                let number = int32(value);
                match plan.quoted(number) {
                    _ if plan.null_value => self.out.extend_from_slice(b"null"),
                    Some(name) if !self.options.enums_as_numbers => self.out.extend_from_slice(name),
                    _ => text::integer(number, self.out),
                }
            }
            _ => return self.uint64(value),
        }
        Ok(())
    }

    fn bytes_of(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), Fault> {
        match kind {
            Kind::Message(id) | Kind::Group(id) => return self.message(id, bytes),
            _ => text::base64(bytes, self.out),
        }
        Ok(())
    }

    fn int64(&mut self, value: i64) -> Result<(), Fault> {
        match self.options.int64 {
            Int64::String => text::quoted_integer(value, self.out),
            Int64::Number if value.unsigned_abs() <= SAFE_MAX => text::integer(value, self.out),
            Int64::Number => return Err(unsafe_number()),
        }
        Ok(())
    }

    fn uint64(&mut self, value: u64) -> Result<(), Fault> {
        match self.options.int64 {
            Int64::String => text::quoted_integer(value, self.out),
            Int64::Number if value <= SAFE_MAX => text::integer(value, self.out),
            Int64::Number => return Err(unsafe_number()),
        }
        Ok(())
    }
}

/// Refuses a string that is not UTF-8 in a place where a later value replaces it: it isn't written, and is of the
/// message all the same. Strings that need not be UTF-8 may be anything there.
#[cold]
#[inline(never)]
pub(super) fn check_replaced(kind: Kind, raw: Raw<'_>) -> Result<(), Fault> {
    match (kind, raw) {
        (Kind::String { utf8: true }, Raw::Bytes(bytes)) if std::str::from_utf8(bytes).is_err() => {
            Err(not_utf8(true))
        }
        _ => Ok(()),
    }
}

#[cold]
fn not_utf8(verified: bool) -> Fault {
    match verified {
        true => Fault::malformed("a string is not UTF-8"),
        false => Fault::new("a string is not UTF-8: declare it as bytes"),
    }
}

#[cold]
fn unsafe_number() -> Fault {
    Fault::new("an integer is beyond 2^53 - 1, which a JSON number can't hold: set `int64: string`")
}

/// What counts of a varint: the low 32 bits for the small kinds.
fn low_bits(kind: Kind, value: u64) -> u64 {
    match kind {
        Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Enum(_) => value & u64::from(u32::MAX),
        _ => value,
    }
}

fn uint32(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The low 32 bits, as every implementation takes them.
pub(super) fn int32(value: u64) -> i32 {
    uint32(value).cast_signed()
}

/// The largest integer that a double holds together with all smaller ones.
const SAFE_MAX: u64 = (1 << 53) - 1;

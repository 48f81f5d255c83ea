//! The well-known types that have a JSON form of their own.

use crate::transcode::plan::Kind;
use crate::transcode::plan::Message;
use crate::transcode::write::Writer;
use crate::transcode::write::fault::Fault;
use crate::transcode::write::maps::Map;
use crate::transcode::write::text;
use crate::transcode::write::values::check_replaced;
use crate::transcode::write::values::int32;
use crate::transcode::write::wire::Raw;
use crate::transcode::write::wire::Wire;

impl Writer<'_, '_> {
    /// A wrapper is its field 1, the default if that is absent.
    pub(super) fn wrapper(&mut self, plan: &Message, bytes: &[u8]) -> Result<(), Fault> {
        let Some((_, field)) = plan.by_number(1) else {
            return Err(Fault::new("the wrapper has no field 1"));
        };
        let mut value = None;
        let mut wire = Wire::new(bytes);
        while let Some((number, raw)) = wire.next()? {
            if number == 1
                && field.kind.fits(raw)
                && let Some(replaced) = value.replace(raw)
            {
                check_replaced(field.kind, replaced)?;
            }
        }
        self.value_of(field.kind, value.unwrap_or_else(|| field.kind.zero()))
    }

    /// RFC 3339 with as many digits as are needed, in groups of three.
    pub(super) fn timestamp(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let (seconds, nanos) = parts(bytes)?;
        if !(TIMESTAMP_MIN..=TIMESTAMP_MAX).contains(&seconds) || !(0..=NANOS_MAX).contains(&nanos) {
            return Err(Fault::new("a Timestamp is outside of the years 1 to 9999"));
        }
        let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = date(day);
        self.out.push(b'"');
        self.digits(year, 4);
        self.out.push(b'-');
        self.digits(month, 2);
        self.out.push(b'-');
        self.digits(day, 2);
        self.out.push(b'T');
        self.digits(second / 3600, 2);
        self.out.push(b':');
        self.digits(second / 60 % 60, 2);
        self.out.push(b':');
        self.digits(second % 60, 2);
        self.fraction(nanos);
        self.out.extend_from_slice(b"Z\"");
        Ok(())
    }

    /// Decimal seconds.
    pub(super) fn duration(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let (seconds, nanos) = parts(bytes)?;
        if DURATION_MAX < seconds.unsigned_abs() || !(-NANOS_MAX..=NANOS_MAX).contains(&nanos) {
            return Err(Fault::new("a Duration is beyond 315576000000 seconds or 999999999 nanoseconds"));
        }
        if (seconds < 0 && nanos > 0) || (seconds > 0 && nanos < 0) {
            return Err(Fault::new("the seconds and nanoseconds of a Duration have different signs"));
        }
        self.out.push(b'"');
        if seconds < 0 || nanos < 0 {
            self.out.push(b'-');
        }
        text::integer(seconds.unsigned_abs(), self.out);
        self.fraction(nanos.abs());
        self.out.extend_from_slice(b"s\"");
        Ok(())
    }

    /// A number with leading zeros.
    fn digits(&mut self, value: i64, width: u32) {
        for place in (0..width).rev() {
            let digit = value / 10_i64.pow(place) % 10;
            self.out.push(b'0' + digit.to_le_bytes()[0]);
        }
    }

    fn fraction(&mut self, nanos: i64) {
        if nanos == 0 {
            return;
        }
        self.out.push(b'.');
        match (nanos % 1_000_000, nanos % 1_000) {
            (0, _) => self.digits(nanos / 1_000_000, 3),
            (_, 0) => self.digits(nanos / 1_000, 6),
            _ => self.digits(nanos, 9),
        }
    }

    /// Paths in lowerCamelCase, joined by commas.
    pub(super) fn field_mask(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.out.push(b'"');
        let start = self.out.len();
        let mut wire = Wire::new(bytes);
        while let Some((number, raw)) = wire.next()? {
            let (1, Raw::Bytes(path)) = (number, raw) else { continue };
            let path = std::str::from_utf8(path)
                .map_err(|_| Fault::malformed("a path of a FieldMask is not UTF-8"))?;
            if self.out.len() > start {
                self.out.push(b',');
            }
            self.camel(path)?;
        }
        self.out.push(b'"');
        Ok(())
    }

    /// A path whose underscores become capitals; one that wouldn't come back the same is an error.
    fn camel(&mut self, path: &str) -> Result<(), Fault> {
        for (at, part) in path.split('.').enumerate() {
            if at > 0 {
                self.out.push(b'.');
            }
            match part {
                "" => return Err(Fault::new("a path of a FieldMask has an empty part")),
                // Masks use it for everything, and the reader has it too.
                "*" => self.out.push(b'*'),
                name => self.camel_name(name)?,
            }
        }
        Ok(())
    }

    fn camel_name(&mut self, name: &str) -> Result<(), Fault> {
        let mut bytes = name.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'_' => match bytes.next() {
                    Some(next @ b'a'..=b'z') => self.out.push(next.to_ascii_uppercase()),
                    _ => return Err(Fault::new("a path of a FieldMask has no lowerCamelCase form")),
                },
                b'a'..=b'z' | b'0'..=b'9' => self.out.push(byte),
                _ => return Err(Fault::new("a path of a FieldMask is not in snake_case")),
            }
        }
        Ok(())
    }

    /// `google.protobuf.Struct`: a map of values.
    pub(super) fn structure(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let id = self.plans.find("google.protobuf.Struct");
        let Some((_, field)) = id.and_then(|id| self.plans.message(id).by_number(1)) else {
            return Err(Fault::new("the module has no google.protobuf.Struct"));
        };
        let crate::transcode::plan::Shape::Map { key, value } = field.shape else {
            return Err(Fault::new("google.protobuf.Struct is not as protobuf declares it"));
        };
        let mut map = Map::new((key, value));
        map.open(self.out, &self.members);
        let mut wire = Wire::new(bytes);
        while let Some((number, raw)) = wire.next()? {
            if let (1, Raw::Bytes(entry)) = (number, raw) {
                self.map_entry(&map, entry)?;
            }
        }
        map.close(self.out, &mut self.members);
        Ok(())
    }

    /// `google.protobuf.ListValue`.
    pub(super) fn list(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let Some(value) = self.plans.find("google.protobuf.Value") else {
            return Err(Fault::new("the module has no google.protobuf.Value"));
        };
        self.out.push(b'[');
        let mut first = true;
        let mut wire = Wire::new(bytes);
        while let Some((number, raw)) = wire.next()? {
            let (1, Raw::Bytes(bytes)) = (number, raw) else { continue };
            self.comma(&mut first);
            self.message(value, bytes)?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// `google.protobuf.Value`: the last of its members; of messages those since another came.
    pub(super) fn value(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut last: Option<(u32, Raw<'_>)> = None;
        let mut merged = Vec::new();
        let mut wire = Wire::new(bytes);
        while let Some((number, raw)) = wire.next()? {
            let fits = matches!(
                (number, raw),
                (1 | 4, Raw::Varint(_)) | (2, Raw::Fixed64(_)) | (3 | 5 | 6, Raw::Bytes(_))
            );
            if !fits {
                continue;
            }
            match last {
                Some((3, replaced)) => check_replaced(TEXT, replaced)?,
                Some((before, first)) if before == number && number > 4 => {
                    if merged.is_empty() {
                        merged.extend_from_slice(first.bytes());
                    }
                    merged.extend_from_slice(raw.bytes());
                }
                _ => merged.clear(),
            }
            last = Some((number, raw));
        }
        match last {
            Some((1, _)) => self.out.extend_from_slice(b"null"),
            Some((2, Raw::Fixed64(bits))) => {
                let number = f64::from_bits(bits);
                if !number.is_finite() {
                    return Err(Fault::new("a Value is a number that JSON doesn't have"));
                }
                text::double(number, self.out);
            }
            Some((3, raw)) => return self.value_of(TEXT, raw),
            Some((4, raw)) => return self.value_of(Kind::Bool, raw),
            Some((number, raw)) => {
                let bytes = if merged.is_empty() { raw.bytes() } else { &merged };
                let name = if number == 5 { "google.protobuf.Struct" } else { "google.protobuf.ListValue" };
                let Some(id) = self.plans.find(name) else {
                    return Err(Fault::new("a Value holds an unknown type"));
                };
                return self.message(id, bytes);
            }
            None => return Err(Fault::new("a Value has no value")),
        }
        Ok(())
    }
}

/// Seconds and nanoseconds of a Timestamp or Duration.
fn parts(bytes: &[u8]) -> Result<(i64, i64), Fault> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut wire = Wire::new(bytes);
    while let Some((number, raw)) = wire.next()? {
        match (number, raw) {
            (1, Raw::Varint(value)) => seconds = value.cast_signed(),
            (2, Raw::Varint(value)) => nanos = i64::from(int32(value)),
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

/// Year, month and day of a day since 1970, in the proleptic Gregorian calendar.
///
/// Counted from 1 March of the year 0, so that leap days end a year; 146,097 days are 400 years.
fn date(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let next = i64::from(month <= 2);
    (era * 400 + year + next, month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// Strings of well-known types.
const TEXT: Kind = Kind::String { utf8: true };
/// 0001-01-01T00:00:00Z.
const TIMESTAMP_MIN: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z.
const TIMESTAMP_MAX: i64 = 253_402_300_799;
const DURATION_MAX: u64 = 315_576_000_000;
const NANOS_MAX: i64 = 999_999_999;

//! Reads the wire format of protobuf, field by field.

use crate::transcode::write::fault::Fault;

/// What is left of a message's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire<'b> {
    left: &'b [u8],
}

/// One value as it is on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Raw<'b> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'b [u8]),
    /// What stands between the two tags of a group.
    Group(&'b [u8]),
    Fixed32(u32),
}

impl<'b> Wire<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { left: bytes }
    }

    pub(super) fn is_end(&self) -> bool {
        self.left.is_empty()
    }

    /// The next field's number and value.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<(u32, Raw<'b>)>, Fault> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        Ok(Some((number, self.value(number, wire_type)?)))
    }

    /// The next field if it has this number; otherwise nothing is taken.
    #[inline(always)]
    pub(super) fn next_of(&mut self, number: u32) -> Result<Option<Raw<'b>>, Fault> {
        let before = *self;
        if !self.left.is_empty() {
            let (found, wire_type) = self.tag()?;
            if found == number {
                return self.value(number, wire_type).map(Some);
            }
        }
        *self = before;
        Ok(None)
    }

    #[inline(always)]
    fn tag(&mut self) -> Result<(u32, u8), Fault> {
        match *self.left {
            [a @ 8..0x80, ref left @ ..] => {
                self.left = left;
                Ok((u32::from(a >> 3), a & 7))
            }
            _ => self.long_tag(),
        }
    }

    #[inline(never)]
    fn long_tag(&mut self) -> Result<(u32, u8), Fault> {
        let before = self.left.len();
        let tag = self.varint()?;
        let is_overlong = TAG_BYTES_MAX < before - self.left.len();
        let Ok(tag) = u32::try_from(tag) else { return Err(Fault::malformed("a tag is over 32 bits")) };
        if is_overlong || tag >> 3 == 0 {
            return Err(Fault::malformed("a tag is malformed"));
        }
        Ok((tag >> 3, (tag & 7).to_le_bytes()[0]))
    }

    #[inline(always)]
    fn value(&mut self, number: u32, wire_type: u8) -> Result<Raw<'b>, Fault> {
        match wire_type {
            0 => Ok(Raw::Varint(self.varint()?)),
            2 => {
                let len = self.varint()?;
                Ok(Raw::Bytes(self.take(len)?))
            }
            _ => self.rare_value(number, wire_type),
        }
    }

    #[inline(never)]
    fn rare_value(&mut self, number: u32, wire_type: u8) -> Result<Raw<'b>, Fault> {
        match wire_type {
            1 => self.array().map(u64::from_le_bytes).map(Raw::Fixed64),
            3 => self.group(number).map(Raw::Group),
            5 => self.array().map(u32::from_le_bytes).map(Raw::Fixed32),
            _ => Err(Fault::malformed("a wire type is unknown, or a group ends that never began")),
        }
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        match *self.left {
            [a, ref left @ ..] if a < 0x80 => {
                self.left = left;
                Ok(u64::from(a))
            }
            [a, b, ref left @ ..] if b < 0x80 => {
                self.left = left;
                Ok(u64::from(a & 0x7f) | u64::from(b) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for (at, byte) in self.left.iter().take(VARINT_BYTES_MAX).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                if at == VARINT_BYTES_MAX - 1 && 1 < *byte {
                    break;
                }
                self.left = &self.left[at + 1..];
                return Ok(value);
            }
        }
        Err(Fault::malformed("a varint is over 64 bits or cut short"))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let Some((array, left)) = self.left.split_first_chunk() else { return Err(cut()) };
        self.left = left;
        Ok(*array)
    }

    #[inline]
    fn take(&mut self, len: u64) -> Result<&'b [u8], Fault> {
        let taken = usize::try_from(len).ok().and_then(|len| self.left.split_at_checked(len));
        let Some((taken, left)) = taken else { return Err(cut()) };
        self.left = left;
        Ok(taken)
    }

    /// What stands up to the end tag of group `number`, groups within it included.
    #[cold]
    fn group(&mut self, number: u32) -> Result<&'b [u8], Fault> {
        let start = self.left;
        let mut open = vec![number];
        loop {
            let len = start.len() - self.left.len();
            let (found, wire_type) = self.tag()?;
            match wire_type {
                3 if open.len() < GROUPS_MAX => open.push(found),
                3 => return Err(Fault::too_deep()),
                4 => {
                    if open.pop() != Some(found) {
                        return Err(Fault::malformed("a group ends that isn't the one begun last"));
                    }
                    if open.is_empty() {
                        return Ok(&start[..len]);
                    }
                }
                _ => {
                    self.value(found, wire_type)?;
                }
            }
        }
    }
}

#[cold]
fn cut() -> Fault {
    Fault::malformed("a value is cut short")
}

const TAG_BYTES_MAX: usize = 5;
const VARINT_BYTES_MAX: usize = 10;
/// Groups within each other.
const GROUPS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_varints_of_every_length() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                prost::encoding::encode_varint(value, &mut bytes);
                bytes.push(7);
                let mut wire = Wire::new(&bytes);
                assert_eq!(wire.varint().unwrap(), value);
                assert_eq!(wire.left, [7]);
                for cut in 0..bytes.len() - 1 {
                    assert!(Wire::new(&bytes[..cut]).varint().is_err(), "{value} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn another_field_is_left_where_it_is() {
        let bytes = [0x08, 1, 0x10, 2, 0x10];
        let mut wire = Wire::new(&bytes);
        assert!(matches!(wire.next_of(2), Ok(None)));
        assert!(matches!(wire.next_of(1), Ok(Some(Raw::Varint(1)))));
        assert!(matches!(wire.next(), Ok(Some((2, Raw::Varint(2))))));
        assert!(wire.next_of(2).is_err());
    }
}

//! Writes the scalars of the protobuf wire format.

/// The wire type of what a kind writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireType {
    /// A varint.
    Varint = 0,
    /// Eight bytes.
    I64 = 1,
    /// A length and as many bytes.
    Len = 2,
    /// The begin of a group.
    Group = 3,
    /// Four bytes.
    I32 = 5,
}

/// Appends `value` as a varint.
#[inline]
pub(crate) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends the tag of field `number`.
#[inline]
pub(crate) fn tag(number: u32, wire: WireType, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | u64::from(wire as u8), out);
}

/// Appends the length of `bytes` and the bytes.
#[inline]
pub(crate) fn delimited(bytes: &[u8], out: &mut Vec<u8>) {
    varint(bytes.len() as u64, out);
    append(bytes, out);
}

/// Appends bytes, of which there are mostly few.
///
/// Few go by words, of which the last two overlap: to look at lengths costs more than to copy.
#[inline]
pub(crate) fn append(bytes: &[u8], out: &mut Vec<u8>) {
    let (first, last) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) if bytes.len() <= 16 => (first, last),
        _ => return out.extend_from_slice(bytes),
    };
    let end = out.len() + bytes.len();
    out.extend_from_slice(first);
    out.truncate(end - 8);
    out.extend_from_slice(last);
}

/// The zigzag form of `value`, as `sint32` and `sint64` have it.
#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Bytes that [`varint`] appends for `value`.
#[inline]
pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_varints_as_long_as_it_says() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                varint(value, &mut out);
                assert_eq!(out.len(), varint_len(value), "{value}");
                assert_eq!(prost::encoding::decode_varint(&mut out.as_slice()), Ok(value));
            }
        }
    }

    #[test]
    fn zigzags_the_extremes() {
        for (value, expected) in [(0, 0), (-1, 1), (1, 2), (i64::MAX, u64::MAX - 1), (i64::MIN, u64::MAX)] {
            assert_eq!(zigzag(value), expected);
        }
    }
}

//! JSON text of strings, numbers and bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Appends a JSON string.
#[inline]
pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escaped(text, out);
    out.push(b'"');
}

/// Appends the inside of a JSON string.
#[inline]
fn escaped(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    // A block at a time is compared by vector instructions.
    let plain =
        blocks.iter().take_while(|block| block.iter().fold(0, |all, byte| all | odd(*byte)) == 0).count();
    if plain == blocks.len() && rest.iter().fold(0, |all, byte| all | odd(*byte)) == 0 {
        out.extend_from_slice(bytes);
    } else {
        escape_from(plain * BLOCK, bytes, out);
    }
}

/// 1 for a byte that JSON escapes in a string.
#[inline]
fn odd(byte: u8) -> u8 {
    u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\')
}

/// The bytes before `at` need no escape.
fn escape_from(at: usize, bytes: &[u8], out: &mut Vec<u8>) {
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate().skip(at) {
        let escape = ESCAPES[usize::from(*byte)];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        if escape == b'u' {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        } else {
            out.extend_from_slice(&[b'\\', escape]);
        }
    }
    out.extend_from_slice(&bytes[start..]);
}

/// Appends an integer.
#[inline]
pub(super) fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends an integer as a string.
#[inline]
pub(super) fn quoted_integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.push(b'"');
    integer(value, out);
    out.push(b'"');
}

/// Appends a double, by its shortest digits.
pub(super) fn double(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        number(zmij::Buffer::new().format_finite(value), out);
    } else {
        infinite(value, out);
    }
}

/// Appends a float, by the shortest digits that a float needs.
pub(super) fn float(value: f32, out: &mut Vec<u8>) {
    if value.is_finite() {
        number(zmij::Buffer::new().format_finite(value), out);
    } else {
        infinite(f64::from(value), out);
    }
}

/// Whole numbers need no fraction.
fn number(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
}

/// What JSON has no number for.
fn infinite(value: f64, out: &mut Vec<u8>) {
    let text: &[u8] = match (value.is_nan(), value.is_sign_negative()) {
        (true, _) => b"\"NaN\"",
        (false, true) => b"\"-Infinity\"",
        (false, false) => b"\"Infinity\"",
    };
    out.extend_from_slice(text);
}

/// Appends bytes as base64, padded, in the standard alphabet.
pub(super) fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The room is exactly what padded base64 takes.
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or_default();
    out.truncate(start + written);
    out.push(b'"');
}

/// What a byte is escaped with; 0 where it stands for itself, `u` for its number.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 0x20 {
        table[at] = b'u';
        at += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};
/// Bytes that are looked at together.
const BLOCK: usize = 32;
const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_back_the_same() {
        // An odd character at each place of texts about as long as some blocks.
        for odd in ["\"", "\\", "\u{0}", "\u{1f}", "\n", "\u{7f}", "é", "\u{2028}", "\u{1f600}"] {
            for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
                for at in 0..=len {
                    let text = format!("{}{odd}{}", "a".repeat(at), "b".repeat(len - at));
                    let mut out = Vec::new();
                    string(&text, &mut out);
                    assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
                }
            }
        }
    }

    #[test]
    fn bytes_are_read_back_the_same() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..=bytes.len() {
            let mut out = Vec::new();
            base64(&bytes[..len], &mut out);
            let text: String = serde_json::from_slice(&out).unwrap();
            assert_eq!(STANDARD.decode(text).unwrap(), bytes[..len]);
        }
    }
}

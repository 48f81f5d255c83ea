//! JSON text of strings, numbers and bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Appends a JSON string; false, and nothing is appended, if it is not UTF-8.
#[inline]
pub(super) fn string(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let plain = plain(bytes, out);
    if plain < bytes.len() && !pieces(&bytes[plain..], out) {
        out.truncate(start);
        return false;
    }
    out.push(b'"');
    true
}

/// Appends the bytes up to the first that is odd; how many they are.
///
/// Short strings go by words, of which the last two overlap: to look at lengths costs more than to copy.
#[inline]
fn plain(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let (start, len) = (out.len(), bytes.len());
    let mut at = if len < LONG { 0 } else { plain_blocks(bytes, out) };
    while let Some(word) = bytes[at..].first_chunk() {
        out.extend_from_slice(word);
        let plain = plain_of(*word);
        if plain < 8 {
            out.truncate(start + at + plain);
            return at + plain;
        }
        at += 8;
    }
    let plain = match (bytes.last_chunk(), bytes.first_chunk(), bytes.last_chunk()) {
        (Some(last), ..) => {
            out.truncate(start + len - 8);
            out.extend_from_slice(last);
            len - 8 + plain_of(*last)
        }
        (None, Some(head @ &[a, b, c, d]), Some(tail @ &[e, f, g, h])) => {
            out.extend_from_slice(head);
            out.truncate(start + len - 4);
            out.extend_from_slice(tail);
            let plain = plain_of([a, b, c, d, e, f, g, h]);
            if plain < 4 { plain } else { plain + len - 8 }
        }
        _ => {
            let plain = bytes.iter().take_while(|byte| !is_odd(**byte));
            plain.map(|byte| out.push(*byte)).count()
        }
    };
    out.truncate(start + plain);
    plain
}

/// Appends the blocks before the first that has an odd byte, or that isn't whole; how many bytes they are.
fn plain_blocks(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    // The compiler makes vector instructions of this.
    let is_plain = |block: &&[u8; BLOCK]| !block.iter().fold(false, |any, byte| any | is_odd(*byte));
    let len = bytes.as_chunks().0.iter().take_while(is_plain).count() * BLOCK;
    out.extend_from_slice(&bytes[..len]);
    len
}

/// Whether it is a byte that JSON escapes, or one beyond ASCII.
#[inline]
fn is_odd(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\') | (byte > 0x7f)
}

/// Bytes up to the first of a word that is odd.
#[inline]
fn plain_of(word: [u8; 8]) -> usize {
    let word = u64::from_le_bytes(word);
    // A byte of zero is found by the borrow of its subtraction; one above it may be found too, no other.
    let zero = |word: u64| word.wrapping_sub(EACH) & !word;
    let small = word.wrapping_sub(EACH * 0x20) & !word;
    let quote = zero(word ^ (EACH * u64::from(b'"')));
    let backslash = zero(word ^ (EACH * u64::from(b'\\')));
    let odd = (small | quote | backslash | word) & EACH << 7;
    odd.trailing_zeros() as usize / 8
}

/// Appends what begins with an odd byte; false if it is not UTF-8.
#[inline(never)]
fn pieces(mut rest: &[u8], out: &mut Vec<u8>) -> bool {
    while let Some((odd, after)) = rest.split_first() {
        if odd.is_ascii() {
            escape(*odd, out);
            rest = after;
        } else {
            let (wide, after) = rest.split_at(rest.iter().take_while(|byte| !byte.is_ascii()).count());
            if std::str::from_utf8(wide).is_err() {
                return false;
            }
            out.extend_from_slice(wide);
            rest = after;
        }
        rest = &rest[plain(rest, out)..];
    }
    true
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    match ESCAPES[usize::from(byte)] {
        b'u' => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
        escape => out.extend_from_slice(&[b'\\', escape]),
    }
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
/// Bytes that are looked at together in long strings.
const BLOCK: usize = 32;
/// Strings from here on are long.
const LONG: usize = 64;
/// One in each byte of a word.
const EACH: u64 = u64::from_le_bytes([1; 8]);
const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    /// An odd piece at each place of texts about as long as some blocks and words.
    fn with_each(odd: &[u8], check: impl Fn(&[u8])) {
        for len in (0..18).chain([BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5]) {
            for at in 0..=len {
                check(&[b"a".repeat(at).as_slice(), odd, "b".repeat(len - at).as_bytes()].concat());
            }
        }
    }

    #[test]
    fn strings_are_read_back_the_same() {
        let bytes = (0..=0x7f_u8).map(|byte| vec![byte]);
        let wide = ["é", "\u{2028}", "\u{1f600}", "é\"", "\u{0}é"].map(|text| text.as_bytes().to_vec());
        for odd in bytes.chain(wide) {
            with_each(&odd, |text| {
                let mut out = b">".to_vec();
                assert!(string(text, &mut out));
                assert_eq!(serde_json::from_slice::<String>(&out[1..]).unwrap().as_bytes(), text);
            });
        }
    }

    #[test]
    fn what_is_not_utf8_is_told() {
        for odd in [&[0x80][..], &[0xc3], &[0xff], &[0xed, 0xa0, 0x80], &[0xf0, 0x9f, 0x98], &[b'"', 0xfe]] {
            with_each(odd, |text| {
                let mut out = b">".to_vec();
                assert!(!string(text, &mut out));
                assert_eq!(out, b">");
            });
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

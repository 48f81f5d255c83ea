//! Percent-decoding of path segments, once, into UTF-8.

use std::borrow::Cow;
use std::fmt;

/// What happens to an encoded slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slash {
    /// `%2F` becomes `/`.
    Decode,
    /// `%2F` and `%2f` stay as they are written.
    Keep,
}

/// Why text can't be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// A `%` at this byte without two hex digits behind it.
    Escape(usize),
    /// What the escapes stand for is not UTF-8.
    NotUtf8,
    /// `%00` at this byte: no name needs it, and it ends texts in too many languages.
    Nul(usize),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Escape(_) => f.write_str("a % without two hex digits: write a % itself as %25"),
            Self::NotUtf8 => f.write_str("percent-encoded bytes that are not UTF-8: encode text as UTF-8"),
            Self::Nul(_) => f.write_str("%00, which no path may have: leave it out"),
        }
    }
}

/// The text that `encoded` stands for; borrowed if nothing in it is encoded.
///
/// # Errors
/// The first reason why it stands for no text.
pub fn decode(encoded: &str, slash: Slash) -> Result<Cow<'_, str>, Malformed> {
    let bytes = encoded.as_bytes();
    let Some(first) = memchr::memchr(b'%', bytes) else { return Ok(Cow::Borrowed(encoded)) };
    let mut decoded = Vec::with_capacity(bytes.len());
    decoded.extend_from_slice(&bytes[..first]);
    let mut at = first;
    while let Some(byte) = bytes.get(at).copied() {
        if byte != b'%' {
            decoded.push(byte);
            at += 1;
            continue;
        }
        let digits = bytes.get(at + 1).zip(bytes.get(at + 2));
        let value = digits.and_then(|(high, low)| Some(hex(*high)? << 4 | hex(*low)?));
        match value {
            None => return Err(Malformed::Escape(at)),
            Some(0) => return Err(Malformed::Nul(at)),
            Some(b'/') if slash == Slash::Keep => decoded.extend_from_slice(&bytes[at..at + 3]),
            Some(value) => decoded.push(value),
        }
        at += 3;
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| Malformed::NotUtf8)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_once_and_keeps_slashes_on_demand() {
        for (encoded, whole, kept) in [
            ("a-b", "a-b", "a-b"),
            ("a%20b+", "a b+", "a b+"),
            ("a%2Fb%2fc", "a/b/c", "a%2Fb%2fc"),
            ("100%25", "100%", "100%"),
            ("a%252Fb", "a%2Fb", "a%2Fb"),
            ("%E8%B0%B7é", "谷é", "谷é"),
        ] {
            assert_eq!(decode(encoded, Slash::Decode).unwrap(), whole);
            assert_eq!(decode(encoded, Slash::Keep).unwrap(), kept);
        }
        assert!(matches!(decode("plain", Slash::Keep), Ok(Cow::Borrowed("plain"))));
    }

    #[test]
    fn what_stands_for_no_text_is_refused() {
        for (encoded, why) in [
            ("a%", Malformed::Escape(1)),
            ("a%2", Malformed::Escape(1)),
            ("%G1", Malformed::Escape(0)),
            ("ab%1é", Malformed::Escape(2)),
            ("a%00", Malformed::Nul(1)),
            ("%FF", Malformed::NotUtf8),
            ("%E8%2F%B0", Malformed::NotUtf8),
            ("%C0%80", Malformed::NotUtf8),
            ("%ED%A0%80", Malformed::NotUtf8),
        ] {
            assert_eq!(decode(encoded, Slash::Decode), Err(why), "{encoded}");
            assert_eq!(decode(encoded, Slash::Keep), Err(why), "{encoded}");
        }
    }
}

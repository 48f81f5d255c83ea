//! Takes `application/x-www-form-urlencoded` text apart, as WHATWG's URL standard does, but strictly.

use std::borrow::Cow;

use crate::transcode::text::Problem;

/// One parameter, as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair<'t> {
    pub(super) name: &'t str,
    pub(super) value: &'t str,
}

/// The parameters of a query or a form. Only `&` is between them, and nothing between two `&` is nothing.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = Pair<'_>> {
    text.split('&').filter(|piece| !piece.is_empty()).map(|piece| {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        Pair { name, value }
    })
}

/// The text that a name or a value stands for: `+` is a space, `%2B` a plus.
///
/// # Errors
/// A `%` without two hexadecimal digits, which WHATWG's parser would keep, and what is not UTF-8 then, which
/// it would replace: two readers of one request must not see two values.
pub(super) fn decode(text: &str) -> Result<Cow<'_, str>, Problem> {
    let Some(first) = text.bytes().position(|byte| matches!(byte, b'%' | b'+')) else {
        return Ok(Cow::Borrowed(text));
    };
    let (plain, mut rest) = text.as_bytes().split_at(first);
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(plain);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let Some((digits, after)) = after.split_first_chunk::<2>() else { return Err(ESCAPE) };
                decoded.push(octet(*digits).ok_or(ESCAPE)?);
                rest = after;
            }
            _ => decoded.push(*byte),
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| UTF8)
}

fn octet([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

const ESCAPE: Problem = Problem::fixed("has a % without two hexadecimal digits: write a percent sign as %25");
const UTF8: Problem = Problem::fixed("is not UTF-8 once its % escapes are read: escape the bytes of UTF-8");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_ampersands_only() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("&&", &[]),
            ("a=1&b=2", &[("a", "1"), ("b", "2")]),
            ("&a=1&", &[("a", "1")]),
            ("a=b=c", &[("a", "b=c")]),
            ("a", &[("a", "")]),
            ("=1", &[("", "1")]),
            ("=", &[("", "")]),
            ("a;b=1", &[("a;b", "1")]),
            ("a%26b=1%3D2", &[("a%26b", "1%3D2")]),
        ];
        for (text, expected) in cases {
            let found: Vec<_> = pairs(text).map(|pair| (pair.name, pair.value)).collect();
            assert_eq!(found, *expected, "{text}");
        }
    }

    #[test]
    fn decodes_escapes() {
        let cases = [
            ("", ""),
            ("plain", "plain"),
            ("a+b", "a b"),
            ("a%20b", "a b"),
            ("%2b%2B", "++"),
            ("%25", "%"),
            ("%2525", "%25"),
            ("x%c3%A4", "xä"),
            ("ä+%c3%a4", "ä ä"),
            ("%00", "\0"),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text).unwrap(), expected, "{text}");
        }
        assert!(matches!(decode("plain"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn refuses_malformed_escapes_and_other_bytes() {
        for text in ["%", "a%", "%2", "%zz", "%2g", "%+1", "%-1", "% 1", "%ä", "%25%"] {
            assert_eq!(decode(text), Err(ESCAPE), "{text}");
        }
        for text in ["%ff", "%c3", "%c3x", "%ed%a0%80", "%c0%80", "%f4%90%80%80"] {
            assert_eq!(decode(text), Err(UTF8), "{text}");
        }
    }
}

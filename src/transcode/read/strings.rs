//! Finds the end of a JSON string, and resolves its escapes.

/// The offset of the first byte from `at` on that ends a run of plain characters: a quote, a
/// backslash, a control character, or the end of the text.
#[inline]
pub(super) fn plain_end(text: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let hits =
            (equal(word, b'"') | equal(word, b'\\') | word.wrapping_sub(ONES * 0x20) & !word) & HIGH_BITS;
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

/// Hands the characters of `raw`, the inside of a JSON string, to `take` piece by piece.
///
/// # Errors
/// The offset in `raw` of an escape that JSON doesn't have, and why.
pub(super) fn unescape(raw: &str, mut take: impl FnMut(&str)) -> Result<(), (usize, &'static str)> {
    let mut rest = raw;
    loop {
        let (plain, escaped) = rest.split_at(plain_end(rest.as_bytes(), 0));
        take(plain);
        if escaped.is_empty() {
            return Ok(());
        }
        rest = escaped;
        let offset = raw.len() - rest.len();
        let (character, len) = escape(rest.as_bytes()).map_err(|why| (offset, why))?;
        take(character.encode_utf8(&mut [0; 4]));
        rest = &rest[len..];
    }
}

/// The character of the escape at the begin of `text`, and how long the escape is.
fn escape(text: &[u8]) -> Result<(char, usize), &'static str> {
    let character = match text.get(1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode(text),
        _ => return Err("is no escape of JSON: write a backslash as \\\\"),
    };
    Ok((character, 2))
}

fn unicode(text: &[u8]) -> Result<(char, usize), &'static str> {
    let first = unit(text).ok_or(FOUR_DIGITS)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    let second = text.get(6..).and_then(unit).filter(|unit| (0xdc00..0xe000).contains(unit));
    let (0xd800..0xdc00, Some(second)) = (first, second) else {
        return Err("is half of a surrogate pair: write both halves, or the character itself");
    };
    let character = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    char::from_u32(character).map(|character| (character, 12)).ok_or(FOUR_DIGITS)
}

/// The number of a `\u1234` at the begin of `text`.
fn unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

/// The high bit of each byte of `word` that is `byte`; bytes above the first hit may be wrong.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    let zero = word ^ (ONES * u64::from(byte));
    zero.wrapping_sub(ONES) & !zero
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
const FOUR_DIGITS: &str = "is no escape of JSON: \\u takes four hex digits";

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn unescaped(raw: &str) -> Result<String, usize> {
        let mut text = String::new();
        unescape(raw, |piece| text.push_str(piece)).map_err(|(offset, _)| offset)?;
        Ok(text)
    }

    #[test]
    fn resolves_escapes() {
        let cases = [
            ("", ""),
            ("plain ä", "plain ä"),
            (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r"\u8C37\u6b4c", "谷歌"),
            (r"a\uD83D\uDE01b", "a😁b"),
            (r"\u0000", "\0"),
            (r"\uFFFF", "\u{ffff}"),
            (r"\\u0041", r"\u0041"),
        ];
        for (raw, expected) in cases {
            assert_eq!(unescaped(raw), Ok(expected.to_owned()), "{raw}");
        }
    }

    #[test]
    fn refuses_other_escapes() {
        let cases = [
            (r"ab\x", 2),
            (r"\", 0),
            (r"\u", 0),
            (r"\u12", 0),
            (r"\u12g4", 0),
            (r"\u+123", 0),
            (r"\uD800", 0),
            (r"\uDC00", 0),
            (r"\uDC00\uD800", 0),
            (r"\uD800\uD800", 0),
            (r"\uD800x", 0),
            (r"a\uD800\n", 1),
            (r"\uD83D\uDE0", 0),
            (r"\U0041", 0),
            ("\\ä", 0),
            ("\\'", 0),
            (r"\u00é9", 0),
        ];
        for (raw, offset) in cases {
            assert_eq!(unescaped(raw), Err(offset), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn finds_the_end_as_a_plain_loop_does(text in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'),
            Just(b'\\'), Just(0x1f), Just(0x20), Just(0x21), Just(0x80), Just(b'a')], 0..40), at in 0..40_usize) {
            let at = at.min(text.len());
            let expected = text[at..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            prop_assert_eq!(plain_end(&text, at), expected.map_or(text.len(), |found| at + found));
        }

        #[test]
        fn reads_what_serde_writes(text in any::<String>()) {
            let quoted = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(unescaped(&quoted[1..quoted.len() - 1]), Ok(text));
        }
    }
}

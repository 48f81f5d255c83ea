//! Walks over JSON text token by token and builds nothing.

use std::borrow::Cow;

use crate::transcode::read::fault::Fault;
use crate::transcode::read::fault::Read;
use crate::transcode::read::strings;
use crate::transcode::text::number;
use crate::transcode::text::number::Whole;

/// A place in JSON text. A copy is a way to look ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

/// A string as it stands in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'t> {
    /// What is between the quotes.
    pub(super) raw: &'t str,
    /// Whether there are escapes in it.
    pub(super) escaped: bool,
    /// Where the opening quote is.
    pub(super) offset: usize,
}

impl<'t> Token<'t> {
    /// The characters.
    #[inline]
    pub(super) fn text(self) -> Read<Cow<'t, str>> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.raw));
        }
        let mut text = String::with_capacity(self.raw.len());
        self.unescape(|piece| text.push_str(piece))?;
        Ok(Cow::Owned(text))
    }

    /// Hands the characters to `take` piece by piece.
    pub(super) fn unescape(self, take: impl FnMut(&str)) -> Read<()> {
        strings::unescape(self.raw, take)
            .map_err(|(offset, why)| Fault::new(self.offset + 1 + offset, format!("this {why}")))
    }
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// Bytes from the begin of the text.
    #[inline]
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// The next byte that is not white space; 0, which no token begins with, at the end.
    #[inline]
    pub(super) fn peek(&mut self) -> u8 {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return *byte,
                None => return 0,
            }
        }
    }

    /// Steps over `byte` if it comes next.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.at += usize::from(found);
        found
    }

    /// Steps over `,` and says so, or over `end`.
    #[inline]
    pub(super) fn next_or(&mut self, end: u8) -> Read<bool> {
        match self.peek() {
            b',' => {
                self.at += 1;
                if self.peek() == end {
                    return Err(Fault::new(self.at, "a comma before the end: remove it"));
                }
                Ok(true)
            }
            byte if byte == end => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.unexpected(if end == b'}' { "a comma or }" } else { "a comma or ]" })),
        }
    }

    /// The name of a member, and the colon after it.
    #[inline]
    pub(super) fn key(&mut self) -> Read<Token<'t>> {
        let token = self.string("a member name in double quotes")?;
        if !self.take(b':') {
            return Err(self.unexpected("a colon"));
        }
        Ok(token)
    }

    /// A string; `wanted` says in the fault what should be here.
    #[inline]
    pub(super) fn string(&mut self, wanted: &str) -> Read<Token<'t>> {
        if self.peek() != b'"' {
            return Err(self.unexpected(wanted));
        }
        let offset = self.at;
        let begin = offset + 1;
        let end = strings::plain_end(self.text.as_bytes(), begin);
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Token { raw: &self.text[begin..end], escaped: false, offset });
        }
        self.escaped_string(offset, end)
    }

    /// A JSON number as it stands in the text.
    pub(super) fn number(&mut self, wanted: &str) -> Read<&'t str> {
        let byte = self.peek();
        let rest = &self.text[self.at..];
        match number::number_len(rest.as_bytes()) {
            Some(len) => {
                self.at += len;
                Ok(&rest[..len])
            }
            None if byte == b'-' || byte.is_ascii_digit() => {
                Err(Fault::new(self.at, "this is not a JSON number"))
            }
            None => Err(self.unexpected(wanted)),
        }
    }

    /// An integer in its shortest and by far most frequent notation, if one comes next.
    #[inline]
    pub(super) fn plain_whole(&mut self) -> Option<Whole> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let negative = rest.first() == Some(&b'-');
        let digits = &rest[usize::from(negative)..];
        let mut magnitude = 0;
        let mut len = 0;
        while let Some(digit) =
            digits.get(len).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
        {
            if len == PLAIN_DIGITS_MAX {
                return None;
            }
            magnitude = magnitude * 10 + u64::from(digit);
            len += 1;
        }
        let is_plain = len > 0
            && (len == 1 || digits[0] != b'0')
            && !matches!(digits.get(len), Some(b'.' | b'e' | b'E'));
        if !is_plain {
            return None;
        }
        self.at += usize::from(negative) + len;
        Some(Whole { negative, magnitude })
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self) -> Read<bool> {
        match self.peek() {
            b't' => self.word("true").map(|()| true),
            b'f' => self.word("false").map(|()| false),
            _ => Err(self.unexpected("true or false")),
        }
    }

    /// `null`, whose first letter is next.
    pub(super) fn null(&mut self) -> Read<()> {
        self.word("null")
    }

    /// Steps over one value of any kind, which must still be JSON.
    pub(super) fn skip(&mut self, depth_left: usize) -> Read<()> {
        match self.peek() {
            b'"' => {
                let token = self.string("a string")?;
                if token.escaped { token.unescape(|_| ()) } else { Ok(()) }
            }
            b'{' => {
                let depth_left = self.deeper(depth_left)?;
                self.at += 1;
                if self.take(b'}') {
                    return Ok(());
                }
                loop {
                    let key = self.key()?;
                    if key.escaped {
                        key.unescape(|_| ())?;
                    }
                    self.skip(depth_left)?;
                    if !self.next_or(b'}')? {
                        return Ok(());
                    }
                }
            }
            b'[' => {
                let depth_left = self.deeper(depth_left)?;
                self.at += 1;
                if self.take(b']') {
                    return Ok(());
                }
                loop {
                    self.skip(depth_left)?;
                    if !self.next_or(b']')? {
                        return Ok(());
                    }
                }
            }
            b't' | b'f' => self.boolean().map(|_| ()),
            b'n' => self.null(),
            _ => self.number("a value").map(|_| ()),
        }
    }

    /// One level less, for the object or array that comes next.
    #[inline]
    pub(super) fn deeper(&self, depth_left: usize) -> Read<usize> {
        depth_left.checked_sub(1).ok_or_else(|| {
            Fault::new(self.at, "objects and arrays within each other are too many: nest less deeply")
        })
    }

    /// The fault that something else comes next than `wanted`.
    #[cold]
    pub(super) fn unexpected(&mut self, wanted: &str) -> Box<Fault> {
        let byte = self.peek();
        let found = match byte {
            b'"' => "a string",
            b'0'..=b'9' | b'-' => "a number",
            b'{' => "an object",
            b'[' => "an array",
            _ if self.text[self.at..].starts_with("null") => "null",
            _ if self.text[self.at..].starts_with("true") || self.text[self.at..].starts_with("false") => {
                "a boolean"
            }
            _ => {
                let found = self.text[self.at..].chars().next();
                let found = found
                    .map_or_else(|| "the end of the text".to_owned(), |character| format!("{character:?}"));
                return Fault::new(self.at, format!("expected {wanted}, found {found}"));
            }
        };
        Fault::new(self.at, format!("expected {wanted}, found {found}"))
    }

    #[inline(never)]
    fn escaped_string(&mut self, offset: usize, mut end: usize) -> Read<Token<'t>> {
        loop {
            match self.text.as_bytes().get(end) {
                Some(b'"') => {
                    self.at = end + 1;
                    return Ok(Token { raw: &self.text[offset + 1..end], escaped: true, offset });
                }
                // What the backslash escapes is looked at later, but a quote doesn't end the string.
                Some(b'\\') => {
                    let after = end
                        + 1
                        + usize::from(matches!(self.text.as_bytes().get(end + 1), Some(b'"' | b'\\')));
                    end = strings::plain_end(self.text.as_bytes(), after);
                }
                Some(_) => {
                    return Err(Fault::new(end, "a control character in a string: write it as an escape"));
                }
                None => {
                    return Err(Fault::new(
                        offset,
                        "a string that doesn't end: close it with a double quote",
                    ));
                }
            }
        }
    }

    fn word(&mut self, word: &str) -> Read<()> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Fault::new(self.at, format!("expected {word}, found something like it")));
        }
        self.at += word.len();
        Ok(())
    }
}

/// As many digits always fit into 64 bits.
const PLAIN_DIGITS_MAX: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_json(text: &str) -> bool {
        let mut cursor = Cursor::new(text);
        cursor.skip(DEPTH_MAX).is_ok() && cursor.peek() == 0 && cursor.offset() == text.len()
    }

    const DEPTH_MAX: usize = 10;

    #[test]
    fn skips_json_and_nothing_else() {
        let cases = [
            "{}",
            "[]",
            " { } ",
            "null",
            "true",
            "false",
            "0",
            "-0.5e+7",
            r#""""#,
            r#""\"""#,
            r#""\\""#,
            r#""a\\\"b""#,
            r#"{"a":[1,{"b":null}],"c":"d"}"#,
            "[[],[[]],{}]",
            "\t\r\n [ 1 , 2 ] \n",
            r#"{"\u0041":1}"#,
            "",
            "{",
            "[",
            "}",
            "]",
            "{]",
            "[}",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{a:1}",
            "{'a':1}",
            "{1:1}",
            "nul",
            "nulll",
            "NULL",
            "True",
            "tru",
            "NaN",
            "Infinity",
            "-",
            "+1",
            "01",
            "1.",
            ".1",
            "1e",
            "0x1",
            "--1",
            "1 1",
            "'a'",
            r#"""#,
            r#""\"#,
            r#""\""#,
            r#""\x""#,
            "\"\n\"",
            "\"\0\"",
            "// a\n1",
            "/* a */ 1",
            "1 // a",
            r#""\uD800""#,
            r#"{"\x":1}"#,
            "\u{a0}1",
            "[1\u{b}]",
            "\u{feff}{}",
        ];
        for text in cases {
            let serde = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(is_json(text), serde, "{text:?}");
        }
    }

    #[test]
    fn bounds_the_depth_of_what_it_skips() {
        let nest =
            |open: &str, close: &str, depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert!(is_json(&nest("[", "]", DEPTH_MAX)));
        assert!(!is_json(&nest("[", "]", DEPTH_MAX + 1)));
        assert!(is_json(&nest("{\"a\":", "}", DEPTH_MAX)));
        assert!(!is_json(&nest("{\"a\":", "}", DEPTH_MAX + 1)));
        assert!(!is_json(&"[".repeat(1_000_000)));
    }

    #[test]
    fn reads_plain_integers_or_leaves_them() {
        let read = |text| Cursor::new(text).plain_whole().map(|whole| (whole.negative, whole.magnitude));
        assert_eq!(read("0,"), Some((false, 0)));
        assert_eq!(read("-12}"), Some((true, 12)));
        assert_eq!(read("999999999999999999"), Some((false, 999_999_999_999_999_999)));
        for text in ["", "-", "01", "-01", "1.0", "1e5", "1E5", "9999999999999999999", "x", "+1", "\"1\""] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn says_what_it_wants_and_what_it_found() {
        let fault = Cursor::new("  [").string("a string").unwrap_err().into_error();
        assert_eq!((fault.offset, &*fault.what), (2, "expected a string, found an array"));
        let fault = Cursor::new("").string("a string").unwrap_err().into_error();
        assert_eq!(fault.what, "expected a string, found the end of the text");
        let fault = Cursor::new("ä").string("a string").unwrap_err().into_error();
        assert_eq!(fault.what, "expected a string, found 'ä'");
    }
}

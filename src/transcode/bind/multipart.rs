//! Takes a `multipart/form-data` body apart, as RFC 7578 and RFC 2046 describe it.

use std::borrow::Cow;

use memchr::memmem;

/// One part of a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'t> {
    pub(super) name: Cow<'t, str>,
    /// Whether it came with a file name, or as something other than plain text.
    pub(super) is_file: bool,
    pub(super) content_type: &'t str,
    /// Whether its text, if it is one, is said to be UTF-8.
    pub(super) is_utf8: bool,
    pub(super) content: &'t [u8],
}

/// The parts of a body, or a sentence about what is wrong with the next one, after which there are no more.
#[derive(Debug)]
pub(super) struct Parts<'t> {
    /// CR, LF, two hyphens, and the boundary.
    delimiter: Vec<u8>,
    rest: &'t [u8],
    /// Whether `rest` begins after a delimiter.
    is_open: bool,
}

impl<'t> Parts<'t> {
    pub(super) fn new(content_type: &str, body: &'t [u8]) -> Result<Self, &'static str> {
        let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
            return Err("the content type is not multipart/form-data");
        }
        let boundary = parameter(parameters, "boundary").ok_or(BOUNDARY)?;
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
        if !((1..=70).contains(&boundary.len()) && boundary.bytes().all(is_legal) && !boundary.ends_with(' '))
        {
            return Err(BOUNDARY);
        }
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        // What comes before the first delimiter is not meant for anyone.
        let begin = if body.starts_with(&delimiter[2..]) {
            delimiter.len() - 2
        } else {
            memmem::find(body, &delimiter).ok_or(UNFINISHED)? + delimiter.len()
        };
        Ok(Self { delimiter, rest: &body[begin..], is_open: true })
    }

    fn part(&mut self) -> Result<Option<Part<'t>>, &'static str> {
        if self.rest.starts_with(b"--") {
            return Ok(None);
        }
        let blank = self.rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let head = self.rest[blank..].strip_prefix(b"\r\n").ok_or(DELIMITER)?;
        let window = &head[..head.len().min(HEAD_BYTES_MAX)];
        let (lines, content) = if head.starts_with(b"\r\n") {
            (&head[..0], &head[2..])
        } else {
            let end = memmem::find(window, b"\r\n\r\n").ok_or(HEAD)?;
            (&head[..end], &head[end + 4..])
        };
        let part = part_of(std::str::from_utf8(lines).map_err(|_| HEAD)?)?;
        // A part without content may end right after its head, whose last line break is then the delimiter's.
        let len = if content.starts_with(&self.delimiter[2..]) {
            self.rest = &content[self.delimiter.len() - 2..];
            0
        } else {
            let len = memmem::find(content, &self.delimiter).ok_or(UNFINISHED)?;
            self.rest = &content[len + self.delimiter.len()..];
            len
        };
        Ok(Some(Part { content: &content[..len], ..part }))
    }
}

impl<'t> Iterator for Parts<'t> {
    type Item = Result<Part<'t>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.is_open {
            return None;
        }
        let part = self.part().transpose();
        self.is_open = matches!(part, Some(Ok(_)));
        part
    }
}

/// A part by its head; the content comes later.
fn part_of(lines: &str) -> Result<Part<'_>, &'static str> {
    let (mut disposition, mut content_type) = (None, None);
    for line in lines.split("\r\n") {
        let (name, value) = line.split_once(':').ok_or(HEAD)?;
        let value = value.trim();
        let slot = if name.eq_ignore_ascii_case("content-disposition") {
            &mut disposition
        } else if name.eq_ignore_ascii_case("content-type") {
            &mut content_type
        } else if name.eq_ignore_ascii_case("content-transfer-encoding") {
            let is_plain = ["7bit", "8bit", "binary"].iter().any(|plain| plain.eq_ignore_ascii_case(value));
            if is_plain {
                continue;
            }
            return Err("a part of the form has a content-transfer-encoding: send its bytes as they are");
        } else {
            continue;
        };
        if slot.replace(value).is_some() {
            return Err("a part of the form has the same header twice");
        }
    }
    let (kind, parameters) = disposition.and_then(|value| value.split_once(';')).ok_or(NAME)?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(NAME);
    }
    let name = parameter(parameters, "name").ok_or(NAME)?;
    let has_file_name = parameter(parameters, "filename").is_some();
    let (essence, parameters) =
        content_type.map_or(("text/plain", ""), |value| value.split_once(';').unwrap_or((value, "")));
    let is_file = has_file_name || !essence.trim().eq_ignore_ascii_case("text/plain");
    let charset = parameter(parameters, "charset");
    let is_utf8 = charset.is_none_or(|charset| {
        ["utf-8", "utf8", "us-ascii"].iter().any(|known| known.eq_ignore_ascii_case(&charset))
    });
    let untyped = if has_file_name { "application/octet-stream" } else { "text/plain" };
    Ok(Part { name, is_file, content_type: content_type.unwrap_or(untyped), is_utf8, content: &[] })
}

/// A parameter of a header, a token or a quoted string.
fn parameter<'t>(text: &'t str, wanted: &str) -> Option<Cow<'t, str>> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_string(quoted)?,
            None => {
                let (token, after) = after.split_at(after.find(';').unwrap_or(after.len()));
                (Cow::Borrowed(token.trim()), after)
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
}

/// What is before the closing quote, and after it.
fn quoted_string(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text.as_bytes()[end] == b'"' {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((Cow::Owned(value), &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(char),
        }
    }
    None
}

/// Of the head of one part.
const HEAD_BYTES_MAX: usize = 8192;
const BOUNDARY: &str =
    "the content type names no boundary: write multipart/form-data; boundary=\"…\", with 1 to 70 characters";
const UNFINISHED: &str = "the form has no closing boundary: it is cut off, or its boundary is another one";
const DELIMITER: &str = "a boundary of the form is not followed by a line break";
const HEAD: &str = "the head of a part of the form is malformed or longer than 8192 bytes";
const NAME: &str = "a part of the form has no name: send content-disposition: form-data; name=\"field\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(body: &str) -> Result<Vec<(String, bool, String, String)>, &'static str> {
        let parts = Parts::new("multipart/form-data; boundary=xx", body.as_bytes())?;
        parts
            .map(|part| {
                let part = part?;
                let content = String::from_utf8(part.content.to_vec()).unwrap();
                Ok((part.name.into_owned(), part.is_file, part.content_type.to_owned(), content))
            })
            .collect()
    }

    fn text(name: &str, content: &str) -> (String, bool, String, String) {
        (name.to_owned(), false, "text/plain".to_owned(), content.to_owned())
    }

    #[test]
    fn takes_forms_apart() {
        let body = "preamble\r\n--xx  \r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n--x\r\n--xx\r\n\
            content-disposition:form-data;filename=\"q\\\"; name=no\"; name=b\r\nX-Other: 1\r\n\
            Content-Type: image/png\r\n\r\n\r\n--xx\r\nContent-Disposition: form-data; name=c\r\n\r\n--xx--\r\nepilogue";
        let file = ("b".to_owned(), true, "image/png".to_owned(), String::new());
        assert_eq!(parts(body), Ok(vec![text("a", "1\r\n2\r\n--x"), file, text("c", "")]));
        assert_eq!(parts("--xx--"), Ok(Vec::new()));
    }

    #[test]
    fn says_what_is_a_file() {
        for (head, is_file, content_type) in [
            ("", false, "text/plain"),
            ("; filename=\"\"", true, "application/octet-stream"),
            ("\r\nContent-Type: Text/Plain; charset=x", false, "Text/Plain; charset=x"),
            ("\r\nContent-Type: application/json", true, "application/json"),
        ] {
            let body = format!("--xx\r\nContent-Disposition: form-data; name=a{head}\r\n\r\n1\r\n--xx--");
            let expected = ("a".to_owned(), is_file, content_type.to_owned(), "1".to_owned());
            assert_eq!(parts(&body), Ok(vec![expected]), "{head}");
        }
    }

    #[test]
    fn refuses_what_is_no_form() {
        let begin = "--xx\r\nContent-Disposition: form-data; name=a";
        let cases = [
            ("", UNFINISHED),
            ("--x", UNFINISHED),
            ("--xx", DELIMITER),
            ("--xxy\r\n\r\n--xx--", DELIMITER),
            ("--xx\n\n--xx--", DELIMITER),
            ("--xx\r\n", HEAD),
            ("--xx\r\n\r\n1\r\n--xx--", HEAD),
            ("--xx\r\nContent-Disposition: form-data\r\n\r\n1\r\n--xx--", NAME),
            ("--xx\r\nContent-Disposition: attachment; name=a\r\n\r\n1\r\n--xx--", NAME),
            ("--xx\r\nContent-Disposition: form-data; name=\"a\r\n\r\n1\r\n--xx--", NAME),
            ("--xx\r\nX: 1\r\n\r\n1\r\n--xx--", NAME),
            ("--xx\r\nno colon\r\n\r\n1\r\n--xx--", HEAD),
            (&format!("{begin}\r\n\r\n1"), UNFINISHED),
            (&format!("{begin}\r\n\r\n1\r\n--xx"), DELIMITER),
            (&format!("{begin}\r\nX: {}\r\n\r\n1\r\n--xx--", "a".repeat(HEAD_BYTES_MAX)), HEAD),
        ];
        for (body, expected) in cases {
            assert_eq!(parts(body), Err(expected), "{body:?}");
        }
        for encoding in ["base64", "quoted-printable"] {
            let body = format!("{begin}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n1\r\n--xx--");
            assert!(parts(&body).is_err());
        }
        let twice = format!("{begin}\r\nContent-Disposition: form-data; name=b\r\n\r\n1\r\n--xx--");
        assert!(parts(&twice).is_err());
    }

    #[test]
    fn reads_the_boundary() {
        for legal in ["boundary=xx", " charset=utf-8; Boundary=\"xx\"", "a=\";boundary=no\"; boundary=xx "] {
            let found =
                Parts::new(&format!("Multipart/Form-Data;{legal}"), b"--xx--").map(|mut parts| parts.next());
            assert_eq!(found.map_err(str::to_owned), Ok(None), "{legal}");
        }
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        for wrong in
            ["multipart/form-data", "multipart/mixed; boundary=xx", "multipart/form-data; boundary=", &long]
        {
            assert!(Parts::new(wrong, b"--xx--").is_err(), "{wrong}");
        }
    }
}

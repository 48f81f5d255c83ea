//! Entity tags of replies, `If-None-Match` and `Vary`.

use base64::Engine;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;
use xxhash_rust::xxh3::xxh3_64;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::bridge::rest::negotiate::members;
use crate::wire::compress::Encoding;

/// The strong entity tag of a representation: a hash of its bytes before they are coded, and the coding, since
/// each coding is a representation of its own (RFC 9110, section 8.8.3.3).
///
/// The hash is XXH3 of 128 bits: by chance nobody meets a second representation of the same tag, and whoever
/// makes one on purpose could as well have sent the first.
pub fn etag(content_type: &str, body: &[u8], coding: Encoding) -> HeaderValue {
    let hash = xxh3_128_with_seed(body, xxh3_64(content_type.as_bytes()));
    let mut text = String::from("\"");
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode_string(hash.to_be_bytes(), &mut text);
    if coding != Encoding::Identity {
        text.push('-');
        text.push_str(coding.name());
    }
    text.push('"');
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether `If-None-Match` holds the tag, so that a GET or HEAD is answered with 304.
///
/// What isn't an entity tag matches nothing.
pub fn is_none_matched(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    //= https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
    //# A recipient MUST use the weak comparison function when comparing entity tags for If-None-Match
    let mut members = headers.get_all(header::IF_NONE_MATCH).iter().flat_map(|value| tags(value.as_bytes()));
    members.any(|member| member == b"*" || opaque(member) == opaque(etag.as_bytes()))
}

/// Adds names to `Vary`, keeping what is there; `*` covers all of them.
pub fn vary(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        let is_there = members(headers, header::VARY)
            .any(|member| member == b"*" || member.eq_ignore_ascii_case(name.as_str().as_bytes()));
        if is_there {
            continue;
        }
        let mut value: Vec<u8> = members(headers, header::VARY).collect::<Vec<_>>().join(&b", "[..]);
        if !value.is_empty() {
            value.extend_from_slice(b", ");
        }
        value.extend_from_slice(name.as_str().as_bytes());
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.insert(header::VARY, value);
        }
    }
}

/// The members of a list of entity tags. A backslash escapes nothing in them, unlike in quoted strings.
fn tags(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    bytes
        .split(move |byte| {
            is_quoted ^= *byte == b'"';
            !is_quoted && *byte == b','
        })
        .map(<[u8]>::trim_ascii)
}

/// What is between the quotes of a tag, weak or strong; `None` for what is no tag, which equals no tag of ours.
fn opaque(tag: &[u8]) -> Option<&[u8]> {
    let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
    let inner = tag.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!inner.contains(&b'"')).then_some(inner)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::HeaderValue;
    use http::header;

    use super::etag;
    use super::is_none_matched;
    use super::vary;
    use crate::wire::compress::Encoding;

    #[test]
    fn each_representation_has_a_tag_of_its_own() {
        let mut tags = Vec::new();
        for (content_type, body) in [("a/b", "x"), ("a/b", "y"), ("a/bx", "")] {
            for coding in Encoding::ALL {
                let tag = etag(content_type, body.as_bytes(), coding);
                assert_eq!(tag, etag(content_type, body.as_bytes(), coding), "a tag is stable");
                let text = tag.to_str().unwrap();
                assert!(text.starts_with('"') && text.ends_with('"') && text.len() < 32, "{text}");
                assert!(!tags.contains(&tag), "{text}");
                tags.push(tag);
            }
        }
        assert!(etag("a/b", b"x", Encoding::Brotli).to_str().unwrap().ends_with("-br\""));
    }

    #[test]
    fn if_none_match_compares_weakly() {
        let tag = HeaderValue::from_static("\"abc-gzip\"");
        let table: [(&[&str], bool); 14] = [
            (&[], false),
            (&["*"], true),
            (&["\"abc-gzip\""], true),
            (&["W/\"abc-gzip\""], true),
            (&["w/\"abc-gzip\""], false),
            (&["\"x\", \"abc-gzip\""], true),
            (&["\"x\"", "W/\"y\" ,W/\"abc-gzip\""], true),
            (&["\"x,\"abc-gzip\""], false),
            (&["\"a,b\", \"abc-gzip\""], true),
            (&["\"\\\", \"abc-gzip\""], true),
            (&["abc-gzip"], false),
            (&["\"abc\""], false),
            (&["\"abc-br\""], false),
            (&[""], false),
        ];
        for (lines, want) in table {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::IF_NONE_MATCH, HeaderValue::from_str(line).unwrap());
            }
            assert_eq!(is_none_matched(&headers, &tag), want, "{lines:?}");
        }
    }

    #[test]
    fn vary_grows_and_names_nothing_twice() {
        let table: [(&[&str], &str); 4] = [
            (&[], "accept, accept-encoding"),
            (&["Origin"], "Origin, accept, accept-encoding"),
            (&["ACCEPT", "origin"], "ACCEPT, origin, accept-encoding"),
            (&["*"], "*"),
        ];
        for (lines, want) in table {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::VARY, HeaderValue::from_static(line));
            }
            for _ in 0..2 {
                vary(&mut headers, &[header::ACCEPT, header::ACCEPT_ENCODING]);
            }
            assert_eq!(headers.get_all(header::VARY).iter().count(), 1);
            assert_eq!(headers[header::VARY], want, "{lines:?}");
        }
    }
}

//! Reads `Content-Type` and `Content-Encoding` of requests.

use http::HeaderMap;
use http::header;

use crate::bridge::rest::negotiate::members;
use crate::bridge::rest::negotiate::split_unquoted;
use crate::call::Reason;
use crate::call::Refusal;
use crate::wire::compress::Encoding;

/// A media type: its essence in lower case and its charset, if it names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// `type/subtype`, in lower case.
    pub essence: String,
    /// The charset, in lower case.
    pub charset: Option<String>,
    /// The boundary of a multipart type, as it is written.
    pub boundary: Option<String>,
}

impl MediaType {
    /// Reads a media type; `None` where there is no `type/subtype` of tokens, or a parameter is repeated.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = split_unquoted(text.as_bytes(), b';');
        let essence = std::str::from_utf8(parts.next()?).ok()?.to_ascii_lowercase();
        let (family, kind) = essence.split_once('/')?;
        if !is_token(family) || !is_token(kind) || text.trim_start().starts_with(';') {
            return None;
        }
        let mut media = Self { essence, charset: None, boundary: None };
        for parameter in parts {
            // What isn't `name=value` is no parameter that anyone could mean.
            let Some((name, value)) = std::str::from_utf8(parameter).ok()?.split_once('=') else { continue };
            let slot = match name {
                _ if name.eq_ignore_ascii_case("charset") => &mut media.charset,
                _ if name.eq_ignore_ascii_case("boundary") => &mut media.boundary,
                _ => continue,
            };
            if slot.replace(unquoted(value)?).is_some() {
                return None;
            }
        }
        if let Some(charset) = &mut media.charset {
            charset.make_ascii_lowercase();
        }
        Some(media)
    }

    /// Whether text of this type is UTF-8.
    pub fn is_utf8(&self) -> bool {
        self.charset.as_deref().is_none_or(|charset| matches!(charset, "utf-8" | "utf8"))
    }
}

/// How a request body is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyForm {
    /// One JSON text, or a JSON array for a client stream.
    Json,
    /// One JSON text a line.
    Lines,
    /// `application/x-www-form-urlencoded`
    Form,
    /// Anything else: only a `google.api.HttpBody` takes it.
    Raw(MediaType),
}

/// What the content type of a request says; JSON where it says nothing.
///
/// Any `application/…+json` is JSON too (RFC 6839).
///
/// # Errors
/// 415 for a type that can't be read, and for text that is not UTF-8.
pub fn body_form(headers: &HeaderMap) -> Result<BodyForm, Refusal> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let Some(value) = values.next() else { return Ok(BodyForm::Json) };
    if values.next().is_some() {
        return Err(unsupported("content-type is there twice: send it once"));
    }
    let media = MediaType::parse(value.as_bytes());
    let media = media
        .ok_or_else(|| unsupported("content-type can't be read: send content-type: application/json"))?;
    let form = match &*media.essence {
        "application/json" | "text/json" => BodyForm::Json,
        "application/x-ndjson" | "application/jsonl" => BodyForm::Lines,
        "application/x-www-form-urlencoded" => BodyForm::Form,
        other if other.starts_with("application/") && other.ends_with("+json") => BodyForm::Json,
        _ => return Ok(BodyForm::Raw(media)),
    };
    if media.is_utf8() {
        Ok(form)
    } else {
        //= https://www.rfc-editor.org/rfc/rfc8259#section-8.1
        //# JSON text exchanged between systems that are not part of a closed ecosystem MUST be encoded
        //# using UTF-8
        Err(unsupported("the body's charset is not taken: send UTF-8"))
    }
}

/// The codings of a request body in the order in which they were applied, without `identity`.
///
/// # Errors
/// 415 with `Accept-Encoding` for one that is not among `known`, or for more than [`CODINGS_MAX`].
pub fn content_encodings(headers: &HeaderMap, known: &[Encoding]) -> Result<Vec<Encoding>, Refusal> {
    let refuse = |what: String| {
        let names: Vec<_> = known.iter().map(|coding| coding.name()).collect();
        let names = names.join(", ");
        let told = format!("{what}: send one of {names}");
        Refusal::new(Reason::EncodingUnsupported, told).offering(names)
    };
    let mut codings = Vec::new();
    for name in members(headers, header::CONTENT_ENCODING) {
        match Encoding::from_name(name).filter(|coding| known.contains(coding)) {
            Some(Encoding::Identity) => (),
            Some(coding) if codings.len() < CODINGS_MAX => codings.push(coding),
            Some(_) => return Err(refuse(format!("content-encoding names more than {CODINGS_MAX} codings"))),
            None => {
                let name = String::from_utf8_lossy(&name[..name.len().min(SHOWN_BYTES)]).into_owned();
                return Err(refuse(format!("content-encoding {name:?} is not taken")));
            }
        }
    }
    Ok(codings)
}

fn unsupported(told: &'static str) -> Refusal {
    Refusal::new(Reason::ContentTypeUnsupported, told).offering(ACCEPT_POST)
}

/// A token or a quoted string as the text that it means; `None` where it is neither.
fn unquoted(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else { return is_token(value).then(|| value.into()) };
    let inner = inner.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(next) = chars.next() {
        match next {
            '\\' => text.push(chars.next()?),
            '"' => return None,
            _ => text.push(next),
        }
    }
    Some(text)
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The most codings of one body: more are never meant, and each may multiply its size.
pub const CODINGS_MAX: usize = 2;
/// How much of a name that isn't known is shown to the client.
const SHOWN_BYTES: usize = 40;
const ACCEPT_POST: &str = "application/json, application/x-ndjson, application/jsonl";

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::BodyForm;
    use super::MediaType;
    use super::body_form;
    use super::content_encodings;
    use crate::call::Reason;
    use crate::wire::compress::Encoding;

    fn head(name: &'static str, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn content_types_say_how_a_body_is_read() {
        let table: [(&[&str], Option<BodyForm>); 19] = [
            (&[], Some(BodyForm::Json)),
            (&["application/json"], Some(BodyForm::Json)),
            (&["Application/JSON;charset=UTF-8"], Some(BodyForm::Json)),
            (&["application/json ; charset=\"utf-8\""], Some(BodyForm::Json)),
            (&["application/json; x; charset=utf8;"], Some(BodyForm::Json)),
            (&["application/merge-patch+json"], Some(BodyForm::Json)),
            (&["application/x-ndjson"], Some(BodyForm::Lines)),
            (&["application/jsonl; charset=utf-8"], Some(BodyForm::Lines)),
            (&["application/x-www-form-urlencoded"], Some(BodyForm::Form)),
            (&["application/json; charset=utf-16"], None),
            (&["application/json; charset=iso-8859-1"], None),
            (&["application/json; charset=\"utf-8"], None),
            (&["application/json; charset="], None),
            (&["application/json; charset=utf-8; charset=latin1"], None),
            (&["application/json", "text/plain"], None),
            (&[""], None),
            (&["json"], None),
            (&["application/"], None),
            (&[";application/json"], None),
        ];
        for (lines, want) in table {
            match body_form(&head("content-type", lines)) {
                Ok(form) => assert_eq!(Some(form), want, "{lines:?}"),
                Err(refusal) => {
                    assert_eq!(want, None, "{lines:?}");
                    assert_eq!(refusal.http_status(), 415);
                    assert!(refusal.offers.is_some());
                }
            }
        }
    }

    #[test]
    fn other_types_keep_what_a_raw_body_needs() {
        let raw = |line| match body_form(&head("content-type", &[line])) {
            Ok(BodyForm::Raw(media)) => media,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(raw("image/png").essence, "image/png");
        let media = raw("multipart/form-data; boundary=\"A;b, \\\"c\"");
        assert_eq!(media.boundary.as_deref(), Some("A;b, \"c"));
        assert_eq!(raw("Text/Plain; charset=ISO-8859-1").charset.as_deref(), Some("iso-8859-1"));
        assert_eq!(raw("application/octet-stream+jsonx").charset, None);
    }

    #[test]
    fn codings_are_listed_as_they_were_applied() {
        use Encoding::Brotli;
        use Encoding::Gzip;
        use Encoding::Zstd;
        let table: [(&[&str], Option<&[Encoding]>); 13] = [
            (&[], Some(&[])),
            (&[""], Some(&[])),
            (&["identity"], Some(&[])),
            (&["gzip"], Some(&[Gzip])),
            (&["X-GZIP"], Some(&[Gzip])),
            (&["br, gzip"], Some(&[Brotli, Gzip])),
            (&["zstd", "identity", "gzip"], Some(&[Zstd, Gzip])),
            (&["deflate"], None),
            (&["gzip, snappy"], None),
            (&["gzip;q=1"], None),
            (&["gzip, gzip, gzip"], None),
            (&["*"], None),
            (&["\u{e9}"], None),
        ];
        for (lines, want) in table {
            match content_encodings(&head("content-encoding", lines), &Encoding::ALL) {
                Ok(codings) => assert_eq!(Some(&*codings), want, "{lines:?}"),
                Err(refusal) => {
                    assert_eq!(want, None, "{lines:?}");
                    assert_eq!(
                        (refusal.reason, refusal.http_status().as_u16()),
                        (Reason::EncodingUnsupported, 415)
                    );
                    assert!(refusal.told.contains("br, zstd, gzip, identity"), "{}", refusal.told);
                    assert_eq!(refusal.offers.as_deref(), Some("br, zstd, gzip, identity"));
                }
            }
        }
        assert!(content_encodings(&head("content-encoding", &["br"]), &[Gzip]).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(value: Vec<u8>) {
            MediaType::parse(&value);
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert("content-type", value.clone());
                headers.insert("content-encoding", value);
                let _ = body_form(&headers);
                let _ = content_encodings(&headers, &Encoding::ALL);
            }
        }
    }
}

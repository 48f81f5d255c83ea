//! What a client and the gateway agree on: media types, codings, charsets and entity tags (RFC 9110).

mod accept;
mod content;
mod etag;

pub use accept::LinesName;
pub use accept::StreamForm;
pub use accept::accept_encoding;
pub use accept::accept_stream;
pub use content::BodyForm;
pub use content::CODINGS_MAX;
pub use content::MediaType;
pub use content::body_form;
pub use content::content_encodings;
pub use etag::etag;
pub use etag::is_none_matched;
pub use etag::vary;

use http::HeaderMap;
use http::HeaderName;

/// The members of a list field (RFC 9110, section 5.6.1), over all its lines. Commas inside quoted strings
/// separate nothing; empty members don't count.
pub(in crate::bridge) fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).iter().flat_map(|value| split_unquoted(value.as_bytes(), b','))
}

/// Splits at a byte, but not inside quoted strings; the parts are trimmed, and not empty.
fn split_unquoted(bytes: &[u8], at: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    bytes
        .split(move |byte| {
            let is_split = !is_quoted && *byte == at;
            if *byte == b'"' && !is_escaped {
                is_quoted = !is_quoted;
            }
            is_escaped = is_quoted && !is_escaped && *byte == b'\\';
            is_split
        })
        .map(<[u8]>::trim_ascii)
        .filter(|part| !part.is_empty())
}

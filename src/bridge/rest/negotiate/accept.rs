//! Reads `Accept` and `Accept-Encoding` (RFC 9110, section 12.5).

use http::HeaderMap;
use http::HeaderName;
use http::header;

use crate::bridge::rest::negotiate::members;
use crate::bridge::rest::negotiate::split_unquoted;
use crate::wire::compress::Encoding;

/// How a reply stream is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamForm {
    /// One JSON array.
    Array,
    /// One JSON text a line, under the name that the client used.
    Lines(LinesName),
    /// Server-sent events.
    Events,
}

/// The two names of newline-delimited JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinesName {
    /// `application/x-ndjson`
    Ndjson,
    /// `application/jsonl`
    Jsonl,
}

impl StreamForm {
    /// Every form, the one that the gateway likes best first.
    pub const ALL: [Self; 4] =
        [Self::Array, Self::Lines(LinesName::Ndjson), Self::Lines(LinesName::Jsonl), Self::Events];

    /// The content type of the reply.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Array => "application/json",
            Self::Lines(LinesName::Ndjson) => "application/x-ndjson",
            Self::Lines(LinesName::Jsonl) => "application/jsonl",
            Self::Events => "text/event-stream",
        }
    }
}

/// The framing of a reply stream that the client likes best.
///
/// Between equals the one that is named counts more than one that a wildcard covers, then the order of
/// [`StreamForm::ALL`]. Where nothing fits the array is sent all the same.
pub fn accept_stream(headers: &HeaderMap) -> StreamForm {
    //= https://www.rfc-editor.org/rfc/rfc9110#section-15.5.7
    //# a server MAY disregard the header field by treating the response as if it is not subject to
    //# content negotiation
    let mut best = (StreamForm::Array, Liking::default());
    for form in StreamForm::ALL {
        let liking = liking(headers, header::ACCEPT, |range| media_rank(range, form.content_type()));
        if liking.quality > 0 && best.1 < liking {
            best = (form, liking);
        }
    }
    best.0
}

/// The coding of the reply's body among those offered, given in the gateway's order of preference.
///
/// Where the client takes none of them, not even the bytes as they are, they are sent as they are.
pub fn accept_encoding(headers: &HeaderMap, offered: &[Encoding]) -> Encoding {
    let mut best: Option<(Encoding, Liking)> = None;
    for coding in offered.iter().copied().filter(|coding| *coding != Encoding::Identity) {
        let liking = coding_liking(headers, coding);
        if liking.quality > 0 && best.as_ref().is_none_or(|(_, best)| best.quality < liking.quality) {
            best = Some((coding, liking));
        }
    }
    //= https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
    //# If the representation has no content coding, then it is acceptable by default unless
    //# specifically excluded by the Accept-Encoding header field
    let identity = coding_liking(headers, Encoding::Identity);
    match best {
        Some((_, liking)) if identity.rank == NAMED && liking.quality < identity.quality => {
            Encoding::Identity
        }
        Some((coding, _)) => coding,
        //= https://www.rfc-editor.org/rfc/rfc9110#section-12.4.1
        //# disregard the header field by treating the response as if it is not subject to content
        //# negotiation for that request header field
        None => Encoding::Identity,
    }
}

/// How much a client likes something: the weight of the most specific member that covers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Liking {
    quality: u16,
    rank: u8,
}

fn coding_liking(headers: &HeaderMap, coding: Encoding) -> Liking {
    liking(headers, header::ACCEPT_ENCODING, |name| match name {
        b"*" => WILD,
        _ if Encoding::from_name(name) == Some(coding) => NAMED,
        _ => UNNAMED,
    })
}

/// `rank` says how specifically a member covers what is asked about.
fn liking(headers: &HeaderMap, name: HeaderName, rank: impl Fn(&[u8]) -> u8) -> Liking {
    let mut found = Liking::default();
    for member in members(headers, name) {
        let mut parts = split_unquoted(member, b';');
        let rank = parts.next().map_or(UNNAMED, &rank);
        // A member whose weight can't be read says nothing.
        let Some(quality) = quality(parts) else { continue };
        if rank > found.rank {
            found = Liking { quality, rank };
        } else if rank == found.rank && rank > UNNAMED {
            found.quality = found.quality.max(quality);
        }
    }
    found
}

/// The weight among the parameters, in thousandths; 1000 where none is given.
fn quality<'a>(parameters: impl Iterator<Item = &'a [u8]>) -> Option<u16> {
    for parameter in parameters {
        if let [b'q' | b'Q', b'=', weight @ ..] = parameter {
            return thousandths(weight);
        }
    }
    Some(1000)
}

fn thousandths(weight: &[u8]) -> Option<u16> {
    //= https://www.rfc-editor.org/rfc/rfc9110#section-12.4.2
    //# qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )
    let (whole, digits) = match weight {
        [whole @ (b'0' | b'1')] => (*whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] => (*whole, digits),
        _ => return None,
    };
    if digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let part = (0..3).fold(0, |sum, at| sum * 10 + u16::from(digits.get(at).map_or(0, |digit| digit - b'0')));
    let sum = u16::from(whole - b'0') * 1000 + part;
    (sum <= 1000).then_some(sum)
}

/// How specifically a media range covers a type. Its parameters other than the weight don't count.
fn media_rank(range: &[u8], of: &str) -> u8 {
    if range == b"*/*" {
        return WILD;
    }
    if range.eq_ignore_ascii_case(of.as_bytes()) {
        return NAMED;
    }
    match (range.strip_suffix(b"/*"), of.split_once('/')) {
        (Some(range), Some((family, _))) if range.eq_ignore_ascii_case(family.as_bytes()) => FAMILY,
        _ => UNNAMED,
    }
}

const UNNAMED: u8 = 0;
const WILD: u8 = 1;
const FAMILY: u8 = 2;
const NAMED: u8 = 3;

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::LinesName;
    use super::StreamForm;
    use super::accept_encoding;
    use super::accept_stream;
    use super::thousandths;
    use crate::wire::compress::Encoding;

    fn head(name: &'static str, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn streams_are_framed_as_accept_asks() {
        let (array, events) = (StreamForm::Array, StreamForm::Events);
        let (ndjson, jsonl) = (StreamForm::Lines(LinesName::Ndjson), StreamForm::Lines(LinesName::Jsonl));
        let table: [(&[&str], StreamForm); 25] = [
            (&[], array),
            (&[""], array),
            (&["*/*"], array),
            (&["application/json"], array),
            (&["application/x-ndjson"], ndjson),
            (&["Application/X-NDJSON; charset=utf-8"], ndjson),
            (&["application/jsonl"], jsonl),
            (&["text/event-stream"], events),
            (&["text/*"], events),
            (&["application/*"], array),
            (&["text/html,*/*"], array),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"], array),
            (&["text/event-stream, */*"], events),
            (&["text/event-stream, application/json"], array),
            (&["text/event-stream;q=0.5, application/json;q=0.4"], events),
            (&["text/event-stream", "application/x-ndjson;q=0.9"], events),
            (&["*/*;q=1, application/json;q=0.1"], ndjson),
            (&["*/*, application/json;q=0, application/*;q=0"], events),
            (&["application/x-ndjson;q=0, application/json;q=0.001"], array),
            (&["text/event-stream;q=0"], array),
            (&["text/event-stream;q=2, application/x-ndjson;q=0.1"], ndjson),
            (&["application/json;x=\"a,text/event-stream\";q=0.1, application/jsonl;q=0.2"], jsonl),
            (&["image/png"], array),
            (&["application/json;q=0"], array),
            (&["*"], array),
        ];
        for (lines, want) in table {
            assert_eq!(accept_stream(&head("accept", lines)), want, "{lines:?}");
        }
    }

    #[test]
    fn codings_are_chosen_by_weight_then_by_our_order() {
        use Encoding::Brotli;
        use Encoding::Gzip;
        use Encoding::Identity;
        use Encoding::Zstd;
        let table: [(&[&str], Encoding); 24] = [
            (&[], Identity),
            (&[""], Identity),
            (&["gzip"], Gzip),
            (&["x-gzip"], Gzip),
            (&["GZIP, Br"], Brotli),
            (&["gzip, deflate, br, zstd"], Brotli),
            (&["gzip", "zstd"], Zstd),
            (&["gzip;q=1.0, br;q=0.8"], Gzip),
            (&["gzip; q=0.5"], Gzip),
            (&["gzip;q=0.5, identity"], Identity),
            (&["gzip;q=0.5, identity;q=0.4"], Gzip),
            (&["gzip;q=0"], Identity),
            (&["deflate"], Identity),
            (&["deflate, identity;q=0"], Identity),
            (&["identity;q=0"], Identity),
            (&["*;q=0"], Identity),
            (&["*;q=0, identity"], Identity),
            (&["*;q=0, gzip;q=0.1"], Gzip),
            (&["*"], Brotli),
            (&["br;q=0, *"], Zstd),
            (&["*;q=0.5, gzip;q=0.6"], Gzip),
            (&["identity;q=0, zstd;q=0.001"], Zstd),
            (&["gzip;q=x"], Identity),
            (&["gzip;q=1.0000, br;q=0.1"], Brotli),
        ];
        for (lines, want) in table {
            assert_eq!(accept_encoding(&head("accept-encoding", lines), &Encoding::ALL), want, "{lines:?}");
        }
        let headers = head("accept-encoding", &["br, gzip;q=0.1"]);
        assert_eq!(accept_encoding(&headers, &[Gzip]), Gzip);
        assert_eq!(accept_encoding(&headers, &[]), Identity);
    }

    #[test]
    fn weights_have_at_most_three_digits() {
        let good =
            [("0", 0), ("0.", 0), ("0.5", 500), ("0.05", 50), ("0.999", 999), ("1", 1000), ("1.000", 1000)];
        for (text, want) in good {
            assert_eq!(thousandths(text.as_bytes()), Some(want), "{text}");
        }
        for odd in ["", "2", "1.001", "0.1234", ".5", "-0", "0,5", "0.5 ", "00", "1e0"] {
            assert_eq!(thousandths(odd.as_bytes()), None, "{odd:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_a_named_zero_is_never_chosen(text in "[ -~]{0,80}") {
            let mut headers = head("accept", &[&text]);
            accept_stream(&headers);
            headers.append("accept-encoding", HeaderValue::from_str(&text).unwrap());
            accept_encoding(&headers, &Encoding::ALL);
            let headers = head("accept-encoding", &["br;q=0, zstd;q=0, gzip;q=0"]);
            prop_assert_eq!(accept_encoding(&headers, &Encoding::ALL), Encoding::Identity);
        }
    }
}

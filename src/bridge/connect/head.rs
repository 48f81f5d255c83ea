//! Reads what the head of a Connect request says of version, time and compression.

use std::time::Duration;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

use crate::bridge::grpc;
use crate::bridge::rest::negotiate::members;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::connect;
use crate::call::metadata::adopt_reply;
use crate::call::metadata::adopt_request;
use crate::wire::compress::Encoding;

/// How the messages of a call are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Coding {
    /// Those of the request.
    pub(super) sent: Encoding,
    /// Those of the reply, where it pays.
    pub(super) wanted: Encoding,
}

impl Coding {
    /// Reads the two fields.
    ///
    /// # Errors
    /// A compression of the request that isn't known.
    pub(super) fn read(headers: &HeaderMap, sent: HeaderName, accept: HeaderName) -> Result<Self, Refusal> {
        let name = headers.get(&sent).map_or(&b""[..], HeaderValue::as_bytes);
        let sent = encoding(name, sent.as_str())?;
        //= https://connectrpc.com/docs/protocol/#unary-request
        //# If the client omits Accept-Encoding, servers must assume that the client accepts the
        //# Content-Encoding used for the request if present.
        Ok(Self { sent, wanted: accepted(headers, accept).unwrap_or(sent) })
    }
}

/// The compression of a name, which stands in `place`.
///
/// # Errors
/// One that isn't known.
pub(super) fn encoding(name: &[u8], place: &str) -> Result<Encoding, Refusal> {
    if name.is_empty() {
        return Ok(Encoding::Identity);
    }
    Encoding::from_name(name.trim_ascii()).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&name[..name.len().min(SHOWN_BYTES)]).into_owned();
        let told = format!("{place} {shown:?} is not known: send one of {ENCODINGS}");
        Refusal::new(Reason::EncodingUnsupported, told).offering(ENCODINGS)
    })
}

/// The compression that the client likes best of those that are known; `None` where it says nothing.
pub(super) fn accepted(headers: &HeaderMap, field: HeaderName) -> Option<Encoding> {
    if !headers.contains_key(&field) {
        return None;
    }
    //= https://connectrpc.com/docs/protocol/#unary-request
    //# Servers should treat Accept-Encoding as an ordered list, with the client's most preferred
    //# encoding first and least preferred encoding last.
    let liked = members(headers, field).find_map(|member| {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let coding = Encoding::from_name(parts.next()?)?;
        (!parts.any(is_zero_weight)).then_some(coding)
    });
    Some(liked.unwrap_or(Encoding::Identity))
}

/// Whether a parameter excludes what it belongs to. Browsers send weights all the same; others don't count.
fn is_zero_weight(parameter: &[u8]) -> bool {
    match parameter {
        [b'q' | b'Q', b'=', b'0', rest @ ..] => rest.iter().all(|byte| matches!(byte, b'.' | b'0')),
        _ => false,
    }
}

/// Checks the version of the protocol, where the client names it.
///
/// # Errors
/// Another one than 1.
pub(super) fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(VERSION) {
        Some(version) if version != "1" => {
            Err(Refusal::new(Reason::RequestInvalid, "connect-protocol-version is not known: send 1"))
        }
        _ => Ok(()),
    }
}

/// The time that the client gives, which is taken out of the head. gRPC's own field is read as well, as in all
/// dialects over HTTP.
///
/// # Errors
/// A value that isn't one.
pub(super) fn asked_time(headers: &mut HeaderMap) -> Result<Option<Duration>, Refusal> {
    if let Some(value) = headers.remove(TIMEOUT) {
        return connect::parse_timeout(value.as_bytes()).map(Some).ok_or_else(|| {
            Refusal::new(
                Reason::RequestInvalid,
                "connect-timeout-ms is malformed: send milliseconds in at most 10 digits",
            )
        });
    }
    grpc::asked_time(headers)
}

/// Leaves in a client's head what goes upstream.
pub(super) fn adopt(headers: &mut HeaderMap) {
    adopt_request(headers);
    remove_own(headers);
    unpad(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
}

/// Leaves in the metadata of an upstream what goes to the client.
pub(super) fn adopt_metadata(headers: &mut HeaderMap) {
    adopt_reply(headers);
    remove_own(headers);
    unpad(headers);
}

/// Removes the names that the protocol keeps for itself.
fn remove_own(headers: &mut HeaderMap) {
    let own = headers.keys().filter(|name| name.as_str().starts_with("connect-"));
    for name in own.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// Takes the padding off binary values.
fn unpad(headers: &mut HeaderMap) {
    //= https://connectrpc.com/docs/protocol/#unary-request
    //# implementations should emit unpadded base64-encoded values. Implementations must accept both
    //# padded and unpadded values.
    for (name, value) in headers.iter_mut() {
        if name.as_str().ends_with("-bin") && value.as_bytes().contains(&b'=') {
            let bytes: Vec<u8> = value.as_bytes().iter().copied().filter(|byte| *byte != b'=').collect();
            if let Ok(unpadded) = HeaderValue::from_bytes(&bytes) {
                *value = unpadded;
            }
        }
    }
}

pub(super) const VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
/// How the messages of a request stream are compressed.
pub(super) const STREAM_ENCODING: HeaderName = HeaderName::from_static("connect-content-encoding");
/// How those of a reply stream may be.
pub(super) const STREAM_ACCEPT: HeaderName = HeaderName::from_static("connect-accept-encoding");
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
/// The compressions that are known.
const ENCODINGS: &str = "gzip, br, zstd, identity";
/// How much of a name that isn't known is shown to the client.
const SHOWN_BYTES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_order_of_the_list_decides_and_weights_only_exclude() {
        let table = [
            ("gzip", Encoding::Gzip),
            ("zstd, gzip", Encoding::Zstd),
            ("snappy,br", Encoding::Brotli),
            ("gzip;q=0.1, br;q=1.0", Encoding::Gzip),
            ("gzip;q=0, br;q=0.000, zstd", Encoding::Zstd),
            ("identity, gzip", Encoding::Identity),
            ("*", Encoding::Identity),
            ("", Encoding::Identity),
        ];
        for (list, want) in table {
            let headers = headers(&[("accept-encoding", list)]);
            assert_eq!(accepted(&headers, header::ACCEPT_ENCODING), Some(want), "{list:?}");
        }
        assert_eq!(accepted(&HeaderMap::new(), header::ACCEPT_ENCODING), None);
        let lines = headers(&[("accept-encoding", "snappy"), ("accept-encoding", "br")]);
        assert_eq!(accepted(&lines, header::ACCEPT_ENCODING), Some(Encoding::Brotli));
    }

    #[test]
    fn without_a_list_the_compression_of_the_request_is_accepted() {
        let read = |fields| Coding::read(&headers(fields), STREAM_ENCODING, STREAM_ACCEPT);
        let same = read(&[("connect-content-encoding", "gzip")]).unwrap();
        assert_eq!((same.sent, same.wanted), (Encoding::Gzip, Encoding::Gzip));
        let other = read(&[("connect-content-encoding", "gzip"), ("connect-accept-encoding", "x")]).unwrap();
        assert_eq!((other.sent, other.wanted), (Encoding::Gzip, Encoding::Identity));
        let refusal = read(&[("connect-content-encoding", "snappy")]).unwrap_err();
        assert!(refusal.told.contains("gzip, br, zstd"), "{}", refusal.told);
    }

    #[test]
    fn times_are_taken_out_of_the_head() {
        let mut both = headers(&[("connect-timeout-ms", "1500"), ("grpc-timeout", "1S")]);
        assert_eq!(asked_time(&mut both).unwrap(), Some(Duration::from_millis(1500)));
        let mut other = headers(&[("grpc-timeout", "2S")]);
        assert_eq!(asked_time(&mut other).unwrap(), Some(Duration::from_secs(2)));
        assert!(other.is_empty());
        for odd in ["", "-1", "1s", "12345678901"] {
            assert!(asked_time(&mut headers(&[("connect-timeout-ms", odd)])).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn what_goes_upstream_is_metadata() {
        let mut head = headers(&[
            ("connect-protocol-version", "1"),
            ("connect-anything", "x"),
            ("content-encoding", "gzip"),
            ("accept-encoding", "gzip"),
            ("grpc-status", "0"),
            ("x-raw-bin", "AP8B"),
            ("x-raw-bin", "/w=="),
            ("x-plain", "a==b"),
        ]);
        adopt(&mut head);
        let names: Vec<_> =
            head.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let want = [
            ("x-raw-bin", "AP8B"),
            ("x-raw-bin", "/w"),
            ("x-plain", "a==b"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        assert_eq!(names.len(), want.len(), "{names:?}");
        assert!(want.iter().all(|field| names.contains(field)), "{names:?}");
    }
}

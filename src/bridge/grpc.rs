//! The native gRPC dialect: frames pass as they come.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http::request::Parts;

use crate::bridge::Bridge;
use crate::bridge::Encode;
use crate::bridge::Ending;
use crate::bridge::Event;
use crate::bridge::Opened;
use crate::bridge::Out;
use crate::bridge::details;
use crate::bridge::is_compressed;
use crate::bridge::plain;
use crate::call::Bounds;
use crate::call::Dialect;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::deadline::parse_timeout;
use crate::call::metadata::clean_request;

/// Native gRPC.
pub(super) struct Grpc;

impl Bridge for Grpc {
    fn dialect(&self) -> Dialect {
        Dialect::Grpc
    }

    fn open(&self, head: &mut Parts) -> Result<Opened, Refusal> {
        if head.version < http::Version::HTTP_2 {
            return Err(Refusal::new(
                Reason::HttpVersionUnsupported,
                "gRPC needs HTTP/2: connect with HTTP/2 prior knowledge",
            ));
        }
        if head.method != http::Method::POST {
            return Err(Refusal::new(Reason::MethodNotAllowed, "call gRPC methods by POST").offering("POST"));
        }
        let asked = asked_time(&mut head.headers)?;
        clean_request(&mut head.headers);
        //= https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests
        //# TE → "te" "trailers" # Used to detect incompatible proxies
        head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
        let compressed = is_compressed(&head.headers);
        Ok(Opened {
            bounds: Bounds { asked, ..Bounds::default() },
            compressed,
            decoder: None,
            encoder: Box::new(Encoder { begun: Begun::No }),
            early: None,
        })
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Bytes> {
        // These are answers of HTTP itself, in every dialect.
        if matches!(refusal.reason, Reason::ContentTypeUnsupported | Reason::HttpVersionUnsupported) {
            return plain::render(refusal);
        }
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        status_into(headers, refusal);
        response
    }
}

/// The time that `grpc-timeout` gives, which is taken out of the head.
///
/// # Errors
/// A value that isn't one.
pub(super) fn asked_time(headers: &mut HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(value) = headers.remove("grpc-timeout") else { return Ok(None) };
    match parse_timeout(value.as_bytes()) {
        Some(time) => Ok(Some(time)),
        None => Err(Refusal::new(
            Reason::RequestInvalid,
            "grpc-timeout is malformed: send at most 8 digits and one of H, M, S, m, u, n",
        )),
    }
}

struct Encoder {
    begun: Begun,
}

#[derive(PartialEq, Eq)]
enum Begun {
    No,
    Yes,
}

impl Encode for Encoder {
    fn push(&mut self, event: Event<'_>, out: &mut Out) -> Result<(), Refusal> {
        match event {
            Event::Head(headers) => {
                self.begun = Begun::Yes;
                out.head = Some(head(headers));
            }
            Event::Frames(bytes) => out.data = Some(bytes),
            Event::End(trailers) => out.end = Some(Ending::Trailers(trailers)),
            Event::Only(headers) => {
                out.head = Some(head(headers));
                out.end = Some(Ending::Done);
            }
            Event::Refused(refusal) if self.begun == Begun::Yes => {
                let mut trailers = HeaderMap::with_capacity(4);
                status_into(&mut trailers, refusal);
                out.end = Some(Ending::Trailers(trailers));
            }
            Event::Refused(refusal) => {
                out.head = Some(Grpc.refuse(refusal).map(|_| ()));
                out.end = Some(Ending::Done);
            }
            // A frame between others would be a message.
            Event::Silence => {}
        }
        Ok(())
    }
}

fn head(headers: HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::OK;
    *response.headers_mut() = headers;
    response
}

/// Writes the status of a refusal as headers or trailers.
fn status_into(headers: &mut HeaderMap, refusal: &Refusal) {
    headers.insert("grpc-status", HeaderValue::from_static(refusal.code.header()));
    if let Ok(message) = HeaderValue::from_str(&percent_encode(&refusal.told)) {
        headers.insert("grpc-message", message);
    }
    if let Ok(details) = HeaderValue::from_str(&details::base64(refusal)) {
        headers.insert("grpc-status-details-bin", details);
    }
    if let Some(after) = refusal.retry_after {
        headers.insert("grpc-retry-pushback-ms", HeaderValue::from(pushback_ms(after)));
    }
}

fn pushback_ms(after: Duration) -> u64 {
    u64::try_from(after.as_millis()).unwrap_or(u64::MAX)
}

/// Percent-encodes a status message.
fn percent_encode(text: &str) -> String {
    //= https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
    //# Percent-Byte-Unencoded → 1*( %x20-%x24 / %x26-%x7E ) ; space and VCHAR, except %
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, 0x20..=0x7e) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::percent_encode;

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encode("plain text, ~ and !"), "plain text, ~ and !");
        assert_eq!(percent_encode("100 %\r\nx: é"), "100 %25%0D%0Ax: %C3%A9");
    }
}

//! The native gRPC dialect: frames pass as they come.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http::request::Parts;

use crate::bridge::Bridge;
use crate::bridge::Codec;
use crate::bridge::Decode;
use crate::bridge::Encode;
use crate::bridge::Ending;
use crate::bridge::Event;
use crate::bridge::Opened;
use crate::bridge::Out;
use crate::bridge::details;
use crate::bridge::essence;
use crate::bridge::frames::JsonReplies;
use crate::bridge::frames::JsonRequests;
use crate::bridge::is_compressed;
use crate::bridge::plain;
use crate::bridge::rest::Method;
use crate::bridge::strip_prefix_ignoring_case;
use crate::bridge::unsupported;
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

    fn open(&self, head: &mut Parts, method: Option<&Arc<Method>>) -> Result<Opened, Refusal> {
        let codec = codec(head.headers.get(header::CONTENT_TYPE))?;
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
        let bounds = Bounds { asked, ..Bounds::default() };
        clean_request(&mut head.headers);
        //= https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests
        //# TE → "te" "trailers" # Used to detect incompatible proxies
        head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if codec == Codec::Json {
            return open_json(head, method, bounds);
        }
        let compressed = is_compressed(&head.headers);
        let encoder = Box::new(Encoder { begun: Begun::No, replies: None });
        Ok(Opened { bounds, compressed, decoder: None, encoder, early: None })
    }

    fn refuse(&self, refusal: &Refusal, content_type: Option<&HeaderValue>) -> Response<Bytes> {
        let codec = codec(content_type).unwrap_or(Codec::Proto);
        refuse_as_grpc(refusal, content_type_of(codec))
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

/// The whole answer to a call that ends before it has begun, in gRPC's headers.
pub(super) fn refuse_as_grpc(refusal: &Refusal, content_type: HeaderValue) -> Response<Bytes> {
    // These are answers of HTTP itself, in every dialect.
    if matches!(
        refusal.reason,
        Reason::ContentTypeUnsupported | Reason::HttpVersionUnsupported | Reason::Misdirected
    ) {
        return plain::render(refusal);
    }
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    status_into(headers, refusal);
    response
}

/// A call whose messages are JSON: the upstream gets protobuf.
fn open_json(head: &mut Parts, method: Option<&Arc<Method>>, bounds: Bounds) -> Result<Opened, Refusal> {
    let Some(method) = method else {
        return Err(unsupported("this method is called with protobuf only", ACCEPT_POST));
    };
    let requests = JsonRequests::new(method.clone(), &head.headers)?;
    head.headers.remove("grpc-encoding");
    head.headers.remove("grpc-accept-encoding");
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let encoder = Box::new(Encoder { begun: Begun::No, replies: Some(JsonReplies::new(method.clone())) });
    Ok(Opened {
        bounds,
        compressed: false,
        decoder: Some(Box::new(JsonDecoder(requests))),
        encoder,
        early: None,
    })
}

/// Reads the codec of a content type of this family.
fn codec(content_type: Option<&HeaderValue>) -> Result<Codec, Refusal> {
    let essence = content_type.map_or(&b""[..], essence);
    Codec::read(strip_prefix_ignoring_case(essence, b"application/grpc").unwrap_or_default(), ACCEPT_POST)
}

fn content_type_of(codec: Codec) -> HeaderValue {
    HeaderValue::from_static(match codec {
        Codec::Proto => "application/grpc",
        Codec::Json => "application/grpc+json",
    })
}

/// Reads frames of JSON.
struct JsonDecoder(JsonRequests);

impl Decode for JsonDecoder {
    fn limit(&mut self, message_bytes_max: usize) -> Result<(), Refusal> {
        self.0.limit(message_bytes_max);
        Ok(())
    }

    fn push(&mut self, chunk: Bytes, frames: &mut Vec<u8>) -> Result<(), Refusal> {
        self.0.push(chunk, frames)
    }

    fn end(&mut self, _: &mut Vec<u8>) -> Result<(), Refusal> {
        self.0.end()
    }

    fn held(&self) -> usize {
        self.0.held()
    }
}

struct Encoder {
    begun: Begun,
    /// What writes messages as JSON.
    replies: Option<JsonReplies>,
}

#[derive(PartialEq, Eq)]
enum Begun {
    No,
    Yes,
}

impl Encoder {
    fn codec(&self) -> Codec {
        if self.replies.is_some() { Codec::Json } else { Codec::Proto }
    }

    fn head(&self, mut headers: HeaderMap) -> Response<()> {
        if self.replies.is_some() {
            headers.insert(header::CONTENT_TYPE, content_type_of(Codec::Json));
        }
        head(headers)
    }
}

impl Encode for Encoder {
    fn limit(&mut self, message_bytes_max: usize) {
        if let Some(replies) = &mut self.replies {
            replies.limit(message_bytes_max);
        }
    }

    fn held(&self) -> usize {
        self.replies.as_ref().map_or(0, JsonReplies::held)
    }

    fn push(&mut self, event: Event<'_>, out: &mut Out) -> Result<(), Refusal> {
        match event {
            Event::Head(mut headers) => {
                if let Some(replies) = &mut self.replies {
                    replies.head(&mut headers);
                }
                self.begun = Begun::Yes;
                out.head = Some(self.head(headers));
            }
            Event::Frames(bytes) => {
                out.data = match &mut self.replies {
                    Some(replies) => Some(replies.push(bytes)?).filter(|frames| !frames.is_empty()),
                    None => Some(bytes),
                };
            }
            Event::End(trailers) => out.end = Some(Ending::Trailers(trailers)),
            Event::Only(headers) => {
                out.head = Some(self.head(headers));
                out.end = Some(Ending::Done);
            }
            Event::Refused(refusal) if self.begun == Begun::Yes => {
                let mut trailers = HeaderMap::with_capacity(4);
                status_into(&mut trailers, refusal);
                out.end = Some(Ending::Trailers(trailers));
            }
            Event::Refused(refusal) => {
                out.head = Some(refuse_as_grpc(refusal, content_type_of(self.codec())).map(|_| ()));
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
pub(super) fn status_into(headers: &mut HeaderMap, refusal: &Refusal) {
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

/// The media types that are taken (`Accept-Post` is W3C's).
pub(super) const ACCEPT_POST: &str = "application/grpc, application/grpc+proto, application/grpc+json";
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

//! Errors of Connect, and the message that ends its streams.

use base64::Engine;
use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use prost_types::Any;

use crate::bridge::Codec;
use crate::bridge::connect::JSON;
use crate::bridge::connect::head;
use crate::bridge::details;
use crate::bridge::plain;
use crate::bridge::rest::Method;
use crate::bridge::rest::errors::Failure;
use crate::call::Code;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::connect;
use crate::wire::frame::HEADER_BYTES;

/// The answer to a unary call that the gateway ends.
pub(super) fn refuse_unary(refusal: &Refusal, method: Option<&Method>) -> Response<Bytes> {
    if is_bare(refusal) {
        return refuse_bare(refusal);
    }
    let mut body = Vec::new();
    write_error(&Failure::of(refusal), method, &mut body);
    let mut response = plain::respond(refusal, body.into(), HeaderValue::from_static(JSON));
    *response.status_mut() = match refusal.reason {
        Reason::MethodUnknown => StatusCode::NOT_FOUND,
        _ => connect::http_status(refusal.code),
    };
    response
}

/// The answer to a stream that the gateway ends before it has begun.
pub(super) fn refuse_stream(refusal: &Refusal, codec: Codec) -> Response<Bytes> {
    if is_bare(refusal) {
        return refuse_bare(refusal);
    }
    let mut body = Vec::new();
    end_of_stream(Some(&Failure::of(refusal)), &HeaderMap::new(), None, &mut body);
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, stream_type(codec));
    offer(headers, refusal);
    response
}

/// Names the compressions that are known, where another one was refused.
pub(super) fn offer(headers: &mut HeaderMap, refusal: &Refusal) {
    if refusal.reason == Reason::EncodingUnsupported
        && let Some(offers) = refusal.offers.as_deref().and_then(|offers| HeaderValue::from_str(offers).ok())
    {
        headers.insert(head::STREAM_ACCEPT, offers);
    }
}

/// An answer of HTTP itself, without a body.
pub(super) fn refuse_bare(refusal: &Refusal) -> Response<Bytes> {
    let mut response = plain::respond(refusal, Bytes::new(), HeaderValue::from_static(JSON));
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

/// The content type of a stream.
pub(super) fn stream_type(codec: Codec) -> HeaderValue {
    HeaderValue::from_static(match codec {
        Codec::Proto => "application/connect+proto",
        Codec::Json => "application/connect+json",
    })
}

/// The HTTP status of a unary error that came from upstream.
pub(super) fn http_status(failure: &Failure) -> StatusCode {
    connect::http_status(code(failure))
}

/// Appends the JSON of an error.
pub(super) fn write_error(failure: &Failure, method: Option<&Method>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"code\":");
    details::write_string(connect::name(code(failure)).unwrap_or("unknown"), out);
    if !failure.message.is_empty() {
        out.extend_from_slice(b",\"message\":");
        details::write_string(&failure.message, out);
    }
    if !failure.details.is_empty() {
        out.extend_from_slice(b",\"details\":[");
        for (at, detail) in failure.details.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_detail(detail, method, out);
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// Appends the envelope that ends a stream.
pub(super) fn end_of_stream(
    failure: Option<&Failure>,
    metadata: &HeaderMap,
    method: Option<&Method>,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.extend_from_slice(&[END_OF_STREAM, 0, 0, 0, 0, b'{']);
    if let Some(failure) = failure {
        out.extend_from_slice(b"\"error\":");
        write_error(failure, method, out);
    }
    if !metadata.is_empty() {
        if failure.is_some() {
            out.push(b',');
        }
        out.extend_from_slice(b"\"metadata\":");
        write_metadata(metadata, out);
    }
    out.push(b'}');
    // Metadata and messages are bounded by what an upstream may send as headers.
    let len = u32::try_from(out.len() - start - HEADER_BYTES).unwrap_or(u32::MAX);
    out[start + 1..start + HEADER_BYTES].copy_from_slice(&len.to_be_bytes());
}

fn write_metadata(metadata: &HeaderMap, out: &mut Vec<u8>) {
    for (at, name) in metadata.keys().enumerate() {
        out.push(if at == 0 { b'{' } else { b',' });
        details::write_string(name.as_str(), out);
        for (at, value) in metadata.get_all(name).iter().enumerate() {
            out.extend_from_slice(if at == 0 { b":[" } else { b"," });
            details::write_string(&String::from_utf8_lossy(value.as_bytes()), out);
        }
        out.push(b']');
    }
    out.push(b'}');
}

fn write_detail(detail: &Any, method: Option<&Method>, out: &mut Vec<u8>) {
    //= https://connectrpc.com/docs/protocol/#error-end-stream
    //# The "type" field contains the fully-qualified Protobuf message name as a UTF-8 string, and the
    //# "value" field contains unpadded, base64-encoded binary Protobuf data.
    let name = detail.type_url.rsplit('/').next().unwrap_or_default();
    out.extend_from_slice(b"{\"type\":");
    details::write_string(name, out);
    out.extend_from_slice(b",\"value\":\"");
    let value = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&detail.value);
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
    let begun = out.len();
    out.extend_from_slice(b",\"debug\":");
    let is_shown = method.is_some_and(|method| method.print(name, &detail.value, out));
    if !is_shown {
        match details::own(detail) {
            Some(own) => out.extend_from_slice(own.to_string().as_bytes()),
            None => out.truncate(begun),
        }
    }
    out.push(b'}');
}

/// The code of a failure; numbers that nobody knows are UNKNOWN.
fn code(failure: &Failure) -> Code {
    let index = usize::try_from(failure.code).unwrap_or(usize::MAX);
    Code::ALL.get(index).copied().filter(|code| *code != Code::Ok).unwrap_or(Code::Unknown)
}

/// Whether HTTP answers in the dialect's place.
fn is_bare(refusal: &Refusal) -> bool {
    matches!(
        refusal.reason,
        Reason::MethodNotAllowed
            | Reason::ContentTypeUnsupported
            | Reason::HttpVersionUnsupported
            | Reason::Misdirected
    )
}

/// The flag of the envelope that ends a stream.
const END_OF_STREAM: u8 = 2;

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    fn failure(code: i32, message: &str, details: Vec<Any>) -> Failure {
        Failure { http: StatusCode::OK, code, message: message.into(), details }
    }

    fn any(type_url: &str, value: &[u8]) -> Any {
        Any { type_url: type_url.into(), value: value.into() }
    }

    #[test]
    fn errors_are_as_small_as_what_they_say() {
        let details = vec![
            any("type.googleapis.com/google.rpc.RetryInfo", &[0x0a, 2, 8, 60]),
            any("x.test/a.B", &[0, 255]),
            any("a.C", b""),
        ];
        let table = [
            (failure(5, "", Vec::new()), json!({ "code": "not_found" })),
            (failure(99, "100 % \"\n", Vec::new()), json!({ "code": "unknown", "message": "100 % \"\n" })),
            (
                failure(14, "m", details),
                json!({ "code": "unavailable", "message": "m", "details": [
                    { "type": "google.rpc.RetryInfo", "value": "CgIIPA", "debug": { "retryDelay": "60s" } },
                    { "type": "a.B", "value": "AP8" },
                    { "type": "a.C", "value": "" },
                ] }),
            ),
        ];
        for (failure, want) in table {
            let mut out = Vec::new();
            write_error(&failure, None, &mut out);
            assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), want);
        }
    }

    #[test]
    fn streams_end_with_status_and_metadata() {
        let mut metadata = HeaderMap::new();
        for (name, value) in [("b", &b"1"[..]), ("a-bin", b"AP8"), ("b", b"\x80\""), ("b", b"1")] {
            metadata.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let failure = failure(8, "", Vec::new());
        let error = json!({ "code": "resource_exhausted" });
        let told = json!({ "b": ["1", "\u{fffd}\"", "1"], "a-bin": ["AP8"] });
        let table = [
            (None, HeaderMap::new(), json!({})),
            (Some(&failure), HeaderMap::new(), json!({ "error": error })),
            (None, metadata.clone(), json!({ "metadata": told })),
            (Some(&failure), metadata, json!({ "error": error, "metadata": told })),
        ];
        for (failure, metadata, want) in table {
            let mut out = b"before".to_vec();
            end_of_stream(failure, &metadata, None, &mut out);
            let frame = out.strip_prefix(b"before").unwrap();
            assert_eq!(frame[0], 2);
            assert_eq!(frame[1..5], u32::try_from(frame.len() - 5).unwrap().to_be_bytes());
            assert_eq!(serde_json::from_slice::<Value>(&frame[5..]).unwrap(), want);
        }
    }

    #[test]
    fn refusals_have_the_statuses_of_connect() {
        let table = [
            (Reason::MethodUnknown, 404, "unimplemented"),
            (Reason::RequestInvalid, 400, "invalid_argument"),
            (Reason::EncodingUnsupported, 501, "unimplemented"),
            (Reason::Cardinality, 501, "unimplemented"),
            (Reason::FrameInvalid, 500, "internal"),
            (Reason::MessageTooLarge, 429, "resource_exhausted"),
            (Reason::UpstreamUnreachable, 503, "unavailable"),
            (Reason::DeadlineExceeded, 504, "deadline_exceeded"),
        ];
        for (reason, status, code) in table {
            let refusal = Refusal::new(reason, "told");
            let response = refuse_unary(&refusal, None);
            let body: Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(
                (response.status().as_u16(), body["code"].as_str()),
                (status, Some(code)),
                "{reason:?}"
            );
            assert_eq!(body["details"][0]["debug"]["reason"], reason.name());
            let response = refuse_stream(&refusal, Codec::Json);
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["content-type"], "application/connect+json");
            let body: Value = serde_json::from_slice(&response.body()[5..]).unwrap();
            assert_eq!((response.body()[0], body["error"]["code"].as_str()), (2, Some(code)), "{reason:?}");
        }
    }

    #[test]
    fn http_itself_answers_without_a_body() {
        let refusal = Refusal::new(Reason::ContentTypeUnsupported, "x").offering("a/b");
        for response in [refuse_unary(&refusal, None), refuse_stream(&refusal, Codec::Proto)] {
            assert_eq!((response.status().as_u16(), response.body().len()), (415, 0));
            assert_eq!(response.headers()["accept-post"], "a/b");
            assert!(!response.headers().contains_key("content-type"));
        }
    }
}

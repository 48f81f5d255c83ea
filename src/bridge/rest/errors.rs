//! Errors of REST: the status of an upstream or a refusal of the gateway, in three body forms.

use base64::Engine;
use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use prost::Message;
use prost_types::Any;
use tonic_types::pb;

use crate::bridge::details;
use crate::bridge::plain;
use crate::call::Code;
use crate::call::Reason;
use crate::call::Refusal;

pub use crate::bridge::details::PrintAny;

/// How an error body looks (`rest.errors`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorForm {
    /// `google.rpc.Status` as JSON.
    #[default]
    Status,
    /// AIP-193: the same inside `error`, with the HTTP status and the name of the code.
    Aip193,
    /// RFC 9457.
    Problem,
}

impl ErrorForm {
    /// Every form.
    pub const ALL: [Self; 3] = [Self::Status, Self::Aip193, Self::Problem];

    /// The name in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Aip193 => "aip193",
            Self::Problem => "problem",
        }
    }

    /// The content type of the body.
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Status | Self::Aip193 => "application/json",
            Self::Problem => "application/problem+json",
        })
    }
}

/// How a call ended, if not with OK.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The HTTP status.
    pub http: StatusCode,
    /// The number of the code, which may be none that gRPC knows.
    pub code: i32,
    /// The message, decoded.
    pub message: String,
    /// The details, each a message of its own type.
    pub details: Vec<Any>,
}

impl Failure {
    /// A refusal of the gateway itself.
    pub fn of(refusal: &Refusal) -> Self {
        Self {
            http: refusal.http_status(),
            code: refusal.code.number(),
            message: refusal.told.clone().into_owned(),
            details: details::messages(refusal),
        }
    }

    /// What the trailing metadata of an upstream say; `None` is OK. An upstream without a status broke the
    /// protocol, and is never OK.
    pub fn from_trailers(trailers: &HeaderMap) -> Option<Self> {
        let Some(status) = trailers.get("grpc-status") else {
            let told = "the service ended without a status: see its log";
            return Some(Self::of(&Refusal::new(Reason::UpstreamNoStatus, told)));
        };
        let code = Code::from_header(status.as_bytes());
        if code == Code::Ok {
            return None;
        }
        let number = if code == Code::Unknown { unknown_number(status) } else { code.number() };
        let mut message = trailers.get("grpc-message").map(|text| percent_decoded(text.as_bytes()));
        // A header that can't be read costs only the details.
        let rich = trailers.get("grpc-status-details-bin").and_then(|text| status_of(text.as_bytes()));
        let rich = rich.unwrap_or_default();
        if message.as_ref().is_none_or(String::is_empty) && rich.code == number {
            message = Some(rich.message);
        }
        let message = message.unwrap_or_default();
        Some(Self { http: code.http_status(), code: number, message, details: rich.details })
    }

    /// The name of the code in `google/rpc/code.proto`; UNKNOWN for others.
    pub fn code_name(&self) -> &'static str {
        let index = usize::try_from(self.code).unwrap_or(usize::MAX);
        Code::ALL.get(index).copied().unwrap_or(Code::Unknown).name()
    }

    /// Appends the body.
    pub fn write(&self, form: ErrorForm, printer: &dyn PrintAny, out: &mut Vec<u8>) {
        match form {
            ErrorForm::Status => {
                details::write_status(self.code, &self.message, &self.details, printer, out);
            }
            ErrorForm::Aip193 => {
                out.extend_from_slice(b"{\"error\":{\"code\":");
                out.extend_from_slice(self.http.as_str().as_bytes());
                out.extend_from_slice(b",\"message\":");
                details::write_string(&self.message, out);
                out.extend_from_slice(b",\"status\":");
                details::write_string(self.code_name(), out);
                out.extend_from_slice(b",\"details\":");
                details::write_details(&self.details, printer, out);
                out.extend_from_slice(b"}}");
            }
            ErrorForm::Problem => {
                //= https://www.rfc-editor.org/rfc/rfc9457#section-4.2.1
                //# When "about:blank" is used, the title SHOULD be the same as the recommended HTTP
                //# status phrase for that code
                out.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":");
                details::write_string(phrase(self.http), out);
                out.extend_from_slice(b",\"status\":");
                out.extend_from_slice(self.http.as_str().as_bytes());
                out.extend_from_slice(b",\"detail\":");
                details::write_string(&self.message, out);
                out.extend_from_slice(b",\"code\":");
                out.extend_from_slice(itoa::Buffer::new().format(self.code).as_bytes());
                out.extend_from_slice(b",\"details\":");
                details::write_details(&self.details, printer, out);
                out.push(b'}');
            }
        }
    }

    /// The whole response, with no headers but its content type.
    pub fn response(&self, form: ErrorForm, printer: &dyn PrintAny) -> Response<Bytes> {
        let mut body = Vec::new();
        self.write(form, printer, &mut body);
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.http;
        response.headers_mut().insert(http::header::CONTENT_TYPE, form.content_type());
        response
    }
}

/// A refusal of the gateway as a whole response, with the headers that its reason calls for.
pub fn refuse(refusal: &Refusal, form: ErrorForm, printer: &dyn PrintAny) -> Response<Bytes> {
    let mut body = Vec::new();
    Failure::of(refusal).write(form, printer, &mut body);
    plain::respond(refusal, Bytes::from(body), form.content_type())
}

/// The printer for where no schema is at hand: it knows no type, so only the gateway's own details are shown
/// as more than base64.
pub fn no_schema(any: &[u8], out: &mut Vec<u8>) -> bool {
    details::unknown(any, out)
}

/// The number of a status that gRPC doesn't know. What is no number, or a known one in a form that the
/// protocol doesn't allow, is UNKNOWN: it must not turn into OK.
fn unknown_number(status: &HeaderValue) -> i32 {
    let number = status.to_str().ok().and_then(|text| text.parse::<i32>().ok());
    let unknown = Code::Unknown.number();
    number.filter(|number| !(0..=16).contains(number)).unwrap_or(unknown)
}

/// Reads `grpc-message`.
fn percent_decoded(text: &[u8]) -> String {
    //= https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
    //# When decoding invalid values, implementations MUST NOT error or throw away the message.
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let pair = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match pair {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|odd| String::from_utf8_lossy(odd.as_bytes()).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Reads `grpc-status-details-bin`, padded or not.
fn status_of(text: &[u8]) -> Option<pb::Status> {
    pb::Status::decode(&*BASE64.decode(text.trim_ascii()).ok()?).ok()
}

fn phrase(http: StatusCode) -> &'static str {
    match http.as_u16() {
        499 => "Client Closed Request",
        _ => http.canonical_reason().unwrap_or("Error"),
    }
}

const BASE64: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use base64::Engine;
    use http::HeaderMap;
    use http::HeaderValue;
    use proptest::prelude::*;
    use prost::Message;
    use prost_types::Any;
    use serde_json::Value;
    use serde_json::json;
    use tonic_types::pb;

    use super::ErrorForm;
    use super::Failure;
    use super::no_schema;
    use super::percent_decoded;
    use super::refuse;
    use crate::call::Reason;
    use crate::call::Refusal;

    fn trailers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        fields.iter().map(|(name, text)| (name.parse().unwrap(), value(text))).collect()
    }

    fn body(failure: &Failure, form: ErrorForm) -> Value {
        let mut out = Vec::new();
        failure.write(form, &no_schema, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    fn not_found() -> Failure {
        let fields = trailers(&[("grpc-status", "5"), ("grpc-message", "no%20such %22pet%22")]);
        Failure::from_trailers(&fields).unwrap()
    }

    #[test]
    fn the_three_forms() {
        let message = "no such \"pet\"";
        assert_eq!(
            body(&not_found(), ErrorForm::Status),
            json!({ "code": 5, "message": message, "details": [] })
        );
        assert_eq!(
            body(&not_found(), ErrorForm::Aip193),
            json!({ "error": { "code": 404, "message": message, "status": "NOT_FOUND", "details": [] } })
        );
        assert_eq!(
            body(&not_found(), ErrorForm::Problem),
            json!({
                "type": "about:blank", "title": "Not Found", "status": 404, "detail": message, "code": 5,
                "details": [],
            })
        );
        let response = not_found().response(ErrorForm::Problem, &no_schema);
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }

    #[test]
    fn ok_is_no_failure_and_a_missing_status_is_one() {
        assert_eq!(Failure::from_trailers(&trailers(&[("grpc-status", "0")])), None);
        let missing = Failure::from_trailers(&HeaderMap::new()).unwrap();
        assert_eq!((missing.http.as_u16(), missing.code), (502, 13));
    }

    #[test]
    fn odd_statuses_are_never_ok_and_keep_their_number() {
        let table = [
            ("99", 99, 500),
            ("-1", -1, 500),
            ("17", 17, 500),
            ("2147483647", i32::MAX, 500),
            ("99999999999", 2, 500),
            ("00", 2, 500),
            ("+0", 2, 500),
            ("05", 2, 500),
            ("", 2, 500),
            ("x", 2, 500),
            ("\u{e9}", 2, 500),
        ];
        for (text, code, http) in table {
            let failure = Failure::from_trailers(&trailers(&[("grpc-status", text)])).unwrap();
            assert_eq!((failure.code, failure.http.as_u16()), (code, http), "{text:?}");
            assert!(["UNKNOWN", "OK"].contains(&failure.code_name()), "{text:?}");
            assert_ne!(failure.code_name(), "OK", "{text:?}");
        }
    }

    #[test]
    fn messages_are_decoded_and_never_thrown_away() {
        let table = [
            ("plain", "plain"),
            ("a%20b%0Ac", "a b\nc"),
            ("%e2%82%AC", "\u{20ac}"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%ff", "\u{fffd}"),
            ("%%41", "%A"),
            ("+", "+"),
        ];
        for (text, want) in table {
            assert_eq!(percent_decoded(text.as_bytes()), want, "{text:?}");
        }
    }

    #[test]
    fn details_are_read_padded_or_not() {
        let detail = Any { type_url: "x.test/a.B".into(), value: vec![8, 1] };
        let status = pb::Status { code: 5, message: "rich".into(), details: vec![detail] };
        let padded = base64::engine::general_purpose::STANDARD.encode(status.encode_to_vec());
        for text in [padded.as_str(), padded.trim_end_matches('=')] {
            let fields = trailers(&[("grpc-status", "5"), ("grpc-status-details-bin", text)]);
            let failure = Failure::from_trailers(&fields).unwrap();
            let want = json!({
                "code": 5, "message": "rich", "details": [{ "@type": "x.test/a.B", "value": "CAE=" }],
            });
            assert_eq!(body(&failure, ErrorForm::Status), want);
        }
        // A status that differs is not believed, only its details are shown.
        let fields =
            trailers(&[("grpc-status", "7"), ("grpc-message", "told"), ("grpc-status-details-bin", &padded)]);
        let failure = Failure::from_trailers(&fields).unwrap();
        assert_eq!((failure.code, &*failure.message, failure.details.len()), (7, "told", 1));
    }

    #[test]
    fn malformed_details_change_neither_status_nor_message() {
        for text in ["", "!", "####", "CAUaMw", "/////w==", "\u{e9}"] {
            let fields = trailers(&[
                ("grpc-status", "5"),
                ("grpc-message", "told"),
                ("grpc-status-details-bin", text),
            ]);
            let failure = Failure::from_trailers(&fields).unwrap();
            assert_eq!(
                (failure.http.as_u16(), failure.code, &*failure.message),
                (404, 5, "told"),
                "{text:?}"
            );
            assert_eq!(failure.details, [], "{text:?}");
        }
    }

    #[test]
    fn refusals_have_their_headers_in_every_form() {
        let refusal = Refusal::new(Reason::MethodNotAllowed, "use GET").offering("GET");
        for form in ErrorForm::ALL {
            let response = refuse(&refusal, form, &no_schema);
            assert_eq!(response.status(), 405);
            assert_eq!(response.headers()["allow"], "GET");
            assert_eq!(response.headers()["content-type"], form.content_type());
            let body: Value = serde_json::from_slice(response.body()).unwrap();
            let inner = if form == ErrorForm::Aip193 { &body["error"] } else { &body };
            assert_eq!(inner["details"][0]["reason"], "METHOD_NOT_ALLOWED", "{form:?}");
        }
        let refusal = Refusal::new(Reason::EncodingUnsupported, "x").offering("gzip");
        let response = refuse(&refusal, ErrorForm::Status, &no_schema);
        assert_eq!(
            (response.status().as_u16(), &response.headers()["accept-encoding"]),
            (415, &HeaderValue::from_static("gzip"))
        );
    }

    proptest! {
        #[test]
        fn any_trailers_make_valid_json(status: Vec<u8>, message: Vec<u8>, rich: Vec<u8>) {
            let mut fields = HeaderMap::new();
            for (name, bytes) in [("grpc-status", &status), ("grpc-message", &message)] {
                if let Ok(value) = HeaderValue::from_bytes(bytes) {
                    fields.insert(name, value);
                }
            }
            let rich = base64::engine::general_purpose::STANDARD_NO_PAD.encode(rich);
            fields.insert("grpc-status-details-bin", rich.parse().unwrap());
            if let Some(failure) = Failure::from_trailers(&fields) {
                for form in ErrorForm::ALL {
                    body(&failure, form);
                }
            }
        }
    }
}

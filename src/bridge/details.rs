//! A status and its details, as `google.rpc` messages and as JSON.

use std::time::Duration;

use base64::Engine;
use prost::Message;
use prost_types::Any;
use serde_json::Value;
use serde_json::json;
use tonic_types::pb;

use crate::call::Refusal;
use crate::call::Violation;

/// Prints a detail as JSON: whoever knows the schema of the service.
pub trait PrintAny {
    /// Appends the ProtoJSON of an encoded `google.protobuf.Any`; false where its type is not known or its
    /// bytes are not of that type. What was appended then is taken back.
    fn print(&self, any: &[u8], out: &mut Vec<u8>) -> bool;
}

impl<F: Fn(&[u8], &mut Vec<u8>) -> bool> PrintAny for F {
    fn print(&self, any: &[u8], out: &mut Vec<u8>) -> bool {
        self(any, out)
    }
}

/// `grpc-status-details-bin`: a `google.rpc.Status`, base64 without padding.
pub(super) fn base64(refusal: &Refusal) -> String {
    let status = pb::Status {
        code: refusal.code.number(),
        message: refusal.told.clone().into_owned(),
        details: messages(refusal),
    };
    BASE64.encode(status.encode_to_vec())
}

/// The details of a refusal.
pub(super) fn messages(refusal: &Refusal) -> Vec<Any> {
    let info = pb::ErrorInfo {
        reason: refusal.reason.name().into(),
        domain: DOMAIN.into(),
        metadata: Default::default(),
    };
    let mut all = vec![any(ERROR_INFO, &info)];
    if let Some(after) = refusal.retry_after {
        let info = pb::RetryInfo { retry_delay: prost_types::Duration::try_from(after).ok() };
        all.push(any(RETRY_INFO, &info));
    }
    if !refusal.violations.is_empty() {
        let violation = |one: &Violation| field_violation(one.field.clone(), one.description.clone());
        let field_violations = refusal.violations.iter().map(violation).collect();
        all.push(any(BAD_REQUEST, &pb::BadRequest { field_violations }));
    }
    all
}

fn field_violation(field: String, description: String) -> pb::bad_request::FieldViolation {
    pb::bad_request::FieldViolation { field, description, ..Default::default() }
}

fn any(type_url: &str, message: &impl Message) -> Any {
    Any { type_url: type_url.into(), value: message.encode_to_vec() }
}

/// A refusal as the JSON text of a `google.rpc.Status`.
pub(super) fn json(refusal: &Refusal) -> Vec<u8> {
    let mut out = Vec::new();
    write_status(refusal.code.number(), &refusal.told, &messages(refusal), &unknown, &mut out);
    out
}

/// Appends the JSON text of a `google.rpc.Status`.
pub(super) fn write_status(
    code: i32,
    message: &str,
    details: &[Any],
    printer: &dyn PrintAny,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"code\":");
    out.extend_from_slice(itoa::Buffer::new().format(code).as_bytes());
    out.extend_from_slice(b",\"message\":");
    write_string(message, out);
    out.extend_from_slice(b",\"details\":");
    write_details(details, printer, out);
    out.push(b'}');
}

/// Appends details as a JSON array.
pub(super) fn write_details(details: &[Any], printer: &dyn PrintAny, out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, detail) in details.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_any(detail, printer, out);
    }
    out.push(b']');
}

/// Appends a JSON string.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(Value::from(text).to_string().as_bytes());
}

/// A detail that nobody can print is shown as it came: it must not cost the status or the message.
fn write_any(any: &Any, printer: &dyn PrintAny, out: &mut Vec<u8>) {
    let begun = out.len();
    if printer.print(&any.encode_to_vec(), out) {
        return;
    }
    out.truncate(begun);
    let value = own(any).unwrap_or_else(|| json!({ "value": BASE64_PADDED.encode(&any.value) }));
    out.extend_from_slice(b"{\"@type\":");
    write_string(&any.type_url, out);
    for (name, value) in value.as_object().into_iter().flatten() {
        out.push(b',');
        write_string(name, out);
        out.push(b':');
        out.extend_from_slice(value.to_string().as_bytes());
    }
    out.push(b'}');
}

/// The members of the details that the gateway itself writes, which need no schema.
pub(super) fn own(any: &Any) -> Option<Value> {
    match &*any.type_url {
        ERROR_INFO => {
            let info = pb::ErrorInfo::decode(&*any.value).ok()?;
            let mut members = json!({ "reason": info.reason, "domain": info.domain });
            if !info.metadata.is_empty() {
                members["metadata"] = json!(info.metadata);
            }
            Some(members)
        }
        RETRY_INFO => {
            let info = pb::RetryInfo::decode(&*any.value).ok()?;
            let Some(delay) = info.retry_delay else { return Some(json!({})) };
            let delay = Duration::try_from(delay).ok()?;
            Some(json!({ "retryDelay": seconds(delay) }))
        }
        BAD_REQUEST => {
            let request = pb::BadRequest::decode(&*any.value).ok()?;
            // Others than the gateway's have members that only a schema knows.
            let is_own = |one: &pb::bad_request::FieldViolation| {
                *one == field_violation(one.field.clone(), one.description.clone())
            };
            if !request.field_violations.iter().all(is_own) {
                return None;
            }
            let violation = |one: &pb::bad_request::FieldViolation| json!({ "field": one.field, "description": one.description });
            let all: Vec<_> = request.field_violations.iter().map(violation).collect();
            Some(json!({ "fieldViolations": all }))
        }
        _ => None,
    }
}

/// The ProtoJSON text of a Duration: no, three, six or nine digits.
fn seconds(time: Duration) -> String {
    let (whole, nanos) = (time.as_secs(), time.subsec_nanos());
    match nanos {
        0 => format!("{whole}s"),
        _ if nanos % 1_000_000 == 0 => format!("{whole}.{:03}s", nanos / 1_000_000),
        _ if nanos % 1_000 == 0 => format!("{whole}.{:06}s", nanos / 1_000),
        _ => format!("{whole}.{nanos:09}s"),
    }
}

/// The printer that knows no type.
pub(super) fn unknown(_: &[u8], _: &mut Vec<u8>) -> bool {
    false
}

const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
const DOMAIN: &str = "transom";
const BASE64: base64::engine::GeneralPurpose = base64::engine::general_purpose::STANDARD_NO_PAD;
/// ProtoJSON pads.
const BASE64_PADDED: base64::engine::GeneralPurpose = base64::engine::general_purpose::STANDARD;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost::Message;
    use prost_types::Any;
    use serde_json::Value;
    use serde_json::json;

    use crate::call::Reason;
    use crate::call::Refusal;
    use crate::call::Violation;

    #[test]
    fn the_fields_at_fault_are_named() {
        let violation = Violation { field: "pet.id".into(), description: "send digits".into() };
        let refusal = Refusal::new(Reason::RequestInvalid, "x").violating(vec![violation]);
        let got: Value = serde_json::from_slice(&super::json(&refusal)).unwrap();
        let want = json!({
            "@type": super::BAD_REQUEST,
            "fieldViolations": [{ "field": "pet.id", "description": "send digits" }],
        });
        assert_eq!(got["details"][1], want);
    }

    #[test]
    fn a_refusal_is_a_status_as_json() {
        let mut refusal = Refusal::new(Reason::Draining, "try \"another\" one");
        refusal.retry_after = Some(Duration::from_millis(1500));
        let got: Value = serde_json::from_slice(&super::json(&refusal)).unwrap();
        let want = json!({
            "code": 14,
            "message": "try \"another\" one",
            "details": [
                { "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "DRAINING", "domain": "transom" },
                { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.500s" },
            ],
        });
        assert_eq!(got, want);
    }

    #[test]
    fn what_nobody_can_print_is_opaque() {
        let details = [
            Any { type_url: "x.test/un.\"known".into(), value: vec![0, 255, 16] },
            // A known type whose bytes are not of it.
            Any { type_url: super::ERROR_INFO.into(), value: vec![0x0a, 0x05, b'x'] },
            Any::default(),
        ];
        let mut out = Vec::new();
        super::write_details(&details, &super::unknown, &mut out);
        let want = json!([
            { "@type": "x.test/un.\"known", "value": "AP8Q" },
            { "@type": super::ERROR_INFO, "value": "CgV4" },
            { "@type": "", "value": "" },
        ]);
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), want);
    }

    #[test]
    fn a_printer_goes_first_and_leaves_nothing_behind_when_it_fails() {
        let details = [
            Any { type_url: "t/known".into(), value: vec![1] },
            Any { type_url: "t/broken".into(), value: vec![2] },
        ];
        let printer = |any: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(b"{\"seen\":true}");
            Any::decode(any).unwrap().type_url == "t/known"
        };
        let mut out = Vec::new();
        super::write_details(&details, &printer, &mut out);
        let want = json!([{ "seen": true }, { "@type": "t/broken", "value": "Ag==" }]);
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), want);
    }

    #[test]
    fn durations_have_the_digits_of_protojson() {
        let table = [
            (Duration::ZERO, "0s"),
            (Duration::new(1, 500_000_000), "1.500s"),
            (Duration::new(0, 1_000), "0.000001s"),
            (Duration::new(3, 1), "3.000000001s"),
        ];
        for (time, want) in table {
            assert_eq!(super::seconds(time), want);
        }
    }
}

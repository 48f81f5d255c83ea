//! The details of a refusal, as `google.rpc` messages and as JSON.

use std::time::Duration;

use base64::Engine;
use prost::Message;
use prost_types::Any;
use serde_json::json;
use tonic_types::pb;

use crate::call::Refusal;

/// `grpc-status-details-bin`: a `google.rpc.Status`, base64 without padding.
pub(super) fn base64(refusal: &Refusal) -> String {
    let status = pb::Status {
        code: refusal.code.number(),
        message: refusal.told.clone().into_owned(),
        details: messages(refusal),
    };
    BASE64.encode(status.encode_to_vec())
}

fn messages(refusal: &Refusal) -> Vec<Any> {
    let info = pb::ErrorInfo {
        reason: refusal.reason.name().into(),
        domain: DOMAIN.into(),
        metadata: Default::default(),
    };
    let mut all = vec![any("google.rpc.ErrorInfo", &info)];
    if let Some(after) = refusal.retry_after {
        let info = pb::RetryInfo { retry_delay: prost_types::Duration::try_from(after).ok() };
        all.push(any("google.rpc.RetryInfo", &info));
    }
    all
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

/// The same as the JSON text of a `google.rpc.Status`.
pub(super) fn json(refusal: &Refusal) -> String {
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": refusal.reason.name(),
        "domain": DOMAIN,
    })];
    if let Some(after) = refusal.retry_after {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": seconds(after),
        }));
    }
    json!({ "code": refusal.code.number(), "message": refusal.told, "details": details }).to_string()
}

/// The ProtoJSON text of a Duration.
fn seconds(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        millis => format!("{}.{millis:03}s", time.as_secs()),
    }
}

const DOMAIN: &str = "transom";
const BASE64: base64::engine::GeneralPurpose = base64::engine::general_purpose::STANDARD_NO_PAD;

//! HTTP that asks for no method in any dialect: it only ever sees refusals, as JSON.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::header;
use http::request::Parts;

use crate::bridge::Bridge;
use crate::bridge::Opened;
use crate::bridge::details;
use crate::bridge::plain_to_method;
use crate::bridge::rest::Method;
use crate::call::Dialect;
use crate::call::Reason;
use crate::call::Refusal;

/// Plain HTTP.
pub(super) struct Plain;

impl Bridge for Plain {
    fn dialect(&self) -> Dialect {
        Dialect::Plain
    }

    fn open(&self, head: &mut Parts, _: Option<&Arc<Method>>) -> Result<Opened, Refusal> {
        Err(plain_to_method(&head.method))
    }

    fn refuse(&self, refusal: &Refusal, _: Option<&HeaderValue>) -> Response<Bytes> {
        render(refusal)
    }
}

/// A refusal as a REST caller sees it: the HTTP status, and `google.rpc.Status` as JSON.
///
/// A content type that no dialect has is refused without a body: clients of Connect take any JSON that
/// comes with such a status for an error of Connect, whose form is another.
pub(super) fn render(refusal: &Refusal) -> Response<Bytes> {
    if refusal.reason == Reason::ContentTypeUnsupported {
        let mut response = respond(refusal, Bytes::new(), HeaderValue::from_static("text/plain"));
        response.headers_mut().remove(header::CONTENT_TYPE);
        return response;
    }
    respond(refusal, Bytes::from(details::json(refusal)), HeaderValue::from_static("application/json"))
}

/// A refusal with a body in any form, and the headers that its reason calls for.
pub(super) fn respond(refusal: &Refusal, body: Bytes, content_type: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = refusal.http_status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    let offers = refusal.offers.as_deref().and_then(|offers| HeaderValue::from_str(offers).ok());
    if let Some(offers) = offers {
        let name = match refusal.reason {
            Reason::MethodNotAllowed => header::ALLOW,
            Reason::CredentialMissing | Reason::CredentialInvalid => header::WWW_AUTHENTICATE,
            Reason::EncodingUnsupported => header::ACCEPT_ENCODING,
            Reason::RequestInvalid => header::SEC_WEBSOCKET_VERSION,
            _ => header::HeaderName::from_static("accept-post"),
        };
        headers.insert(name, offers);
    }
    if let Some(after) = refusal.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}

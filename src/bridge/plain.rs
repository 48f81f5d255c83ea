//! HTTP that asks for no method in any dialect: it only ever sees refusals, as JSON.

use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::header;
use http::request::Parts;

use crate::bridge::Bridge;
use crate::bridge::Opened;
use crate::bridge::details;
use crate::bridge::plain_to_method;
use crate::call::Dialect;
use crate::call::Reason;
use crate::call::Refusal;

/// Plain HTTP.
pub(super) struct Plain;

impl Bridge for Plain {
    fn dialect(&self) -> Dialect {
        Dialect::Plain
    }

    fn open(&self, head: &mut Parts) -> Result<Opened, Refusal> {
        Err(plain_to_method(&head.method))
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Bytes> {
        render(refusal)
    }
}

/// A refusal as a REST caller sees it: the HTTP status, and `google.rpc.Status` as JSON.
pub(super) fn render(refusal: &Refusal) -> Response<Bytes> {
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

//! HTTP that asks for no method in any dialect: it only ever sees refusals, as JSON.

use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::header;
use http::request::Parts;

use crate::bridge::Bridge;
use crate::bridge::Encode;
use crate::bridge::Ending;
use crate::bridge::Event;
use crate::bridge::Opened;
use crate::bridge::Out;
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

    fn encoder(&self) -> Box<dyn Encode> {
        Box::new(OnlyRefusals)
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Bytes> {
        render(refusal)
    }
}

/// No call gets as far as a reply; should one, its end is what a plain caller may see.
struct OnlyRefusals;

impl Encode for OnlyRefusals {
    fn push(&mut self, event: Event<'_>, out: &mut Out) {
        if let Event::Refused(refusal) = event {
            let (head, body) = render(refusal).into_parts();
            out.head = Some(Response::from_parts(head, ()));
            out.data = Some(body);
            out.end = Some(Ending::Done);
        }
    }
}

/// A refusal as a REST caller sees it: the HTTP status, and `google.rpc.Status` as JSON.
pub(super) fn render(refusal: &Refusal) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(details::json(refusal)));
    *response.status_mut() = refusal.http_status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(offers) = refusal.offers {
        let name = match refusal.reason {
            Reason::MethodNotAllowed => header::ALLOW,
            _ => header::HeaderName::from_static("accept-post"),
        };
        headers.insert(name, HeaderValue::from_static(offers));
    }
    if let Some(after) = refusal.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}

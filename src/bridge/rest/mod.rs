//! The REST dialect: JSON over HTTP by `google.api.http` rules.

mod decode;
mod encode;
mod endpoint;
pub mod errors;
mod faults;
pub mod negotiate;
mod raw;
pub mod streams;
pub mod websocket;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http::request::Parts;

pub use endpoint::Endpoint;
pub use endpoint::Method;
pub use endpoint::Options;

use crate::bridge::Bridge;
use crate::bridge::Decode;
use crate::bridge::Opened;
use crate::bridge::grpc::asked_time;
use crate::bridge::rest::decode::Asked;
use crate::bridge::rest::decode::Stream;
use crate::bridge::rest::decode::Whole;
use crate::bridge::rest::encode::Encoder;
use crate::bridge::rest::encode::Wanted;
use crate::bridge::rest::endpoint::Taken;
use crate::bridge::rest::negotiate::BodyForm;
use crate::call::Bounds;
use crate::call::Dialect;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::metadata::adopt_request;
use crate::wire::compress::Encoding;

/// REST, for one request whose rule is known.
pub struct Rest {
    endpoint: Arc<Endpoint>,
    /// Decoded, in the order of the rule's variables.
    captures: Vec<String>,
}

impl Rest {
    /// A request that fits the rule of `endpoint`.
    pub fn new(endpoint: Arc<Endpoint>, captures: Vec<String>) -> Self {
        Self { endpoint, captures }
    }

    /// How the body is read; what no field takes may be of any type.
    fn form(&self, head: &Parts) -> Result<BodyForm, Refusal> {
        match self.endpoint.taken {
            Taken::Nothing => Ok(BodyForm::Json),
            Taken::Raw => Ok(negotiate::body_form(&head.headers).unwrap_or(BodyForm::Json)),
            Taken::Text => match negotiate::body_form(&head.headers)? {
                BodyForm::Raw(media) if media.boundary.is_none() => Err(Refusal::new(
                    Reason::ContentTypeUnsupported,
                    format!("{} is not taken here: send content-type: application/json", media.essence),
                )
                .offering(ACCEPT_POST)),
                form => Ok(form),
            },
        }
    }
}

impl Bridge for Rest {
    fn dialect(&self) -> Dialect {
        Dialect::Rest
    }

    fn open(&self, head: &mut Parts, _: Option<&Arc<Method>>) -> Result<Opened, Refusal> {
        let form = self.form(head)?;
        let codings = negotiate::content_encodings(&head.headers, &Encoding::ALL)?;
        let coding = negotiate::accept_encoding(&head.headers, &Encoding::ALL);
        let text = |name: header::HeaderName| {
            head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let asked = Asked {
            endpoint: self.endpoint.clone(),
            captures: self.captures.clone(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            form,
            content_type: text(header::CONTENT_TYPE),
            codings,
        };
        let decoder: Box<dyn Decode> = if self.endpoint.method.kind.one_request() {
            Box::new(Whole::new(asked))
        } else {
            Box::new(Stream::new(asked))
        };
        let wanted = Wanted::new(self.endpoint.clone(), head, coding);
        Ok(Opened {
            bounds: adopt(head)?,
            compressed: false,
            decoder: Some(decoder),
            encoder: Box::new(Encoder::new(wanted)),
            early: None,
        })
    }

    fn refuse(&self, refusal: &Refusal, _: Option<&HeaderValue>) -> Response<Bytes> {
        errors::refuse(refusal, self.endpoint.method.options.errors, &*self.endpoint)
    }
}

/// Makes of a client's head what goes upstream, and reads the time that the client gives.
fn adopt(head: &mut Parts) -> Result<Bounds, Refusal> {
    let asked = asked_time(&mut head.headers)?;
    adopt_request(&mut head.headers);
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    Ok(Bounds { asked, ..Bounds::default() })
}

/// The answer to OPTIONS: what `Allow` says.
pub fn options(allow: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// The answer to GET and HEAD of a text that is served as it is; `headers` say what it is.
pub fn document(text: &Bytes, headers: &HeaderMap, head: &Parts) -> Response<Bytes> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let etag = negotiate::etag(content_type.unwrap_or_default(), text, Encoding::Identity);
    let mut response = Response::new(Bytes::new());
    response.headers_mut().clone_from(headers);
    response.headers_mut().insert(header::ETAG, etag.clone());
    if negotiate::is_none_matched(&head.headers, &etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().remove(header::CONTENT_TYPE);
        return response;
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    if head.method != http::Method::HEAD {
        *response.body_mut() = text.clone();
    }
    response
}

const ACCEPT_POST: &str = "application/json, application/x-www-form-urlencoded";

//! The Connect dialect: unary calls as plain HTTP by POST and GET, streams in envelopes.

mod decode;
mod encode;
mod errors;
mod head;
mod query;
mod replies;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::Method as Verb;
use http::Response;
use http::header;
use http::request::Parts;

use crate::bridge::Bridge;
use crate::bridge::Codec;
use crate::bridge::Decode;
use crate::bridge::Encode;
use crate::bridge::Opened;
use crate::bridge::connect::decode::Given;
use crate::bridge::connect::decode::Whole;
use crate::bridge::connect::encode::Stream;
use crate::bridge::connect::encode::Unary;
use crate::bridge::connect::encode::Wanted;
use crate::bridge::connect::head::Coding;
use crate::bridge::connect::query::Query;
use crate::bridge::essence;
use crate::bridge::frames::malformed;
use crate::bridge::rest::Method;
use crate::bridge::rest::negotiate::MediaType;
use crate::bridge::strip_prefix_ignoring_case;
use crate::bridge::unsupported;
use crate::call::Bounds;
use crate::call::Dialect;
use crate::call::Idempotency;
use crate::call::Kind;
use crate::call::Method as Called;
use crate::call::Reason;
use crate::call::Refusal;
use crate::wire::compress::Encoding;

/// Connect.
pub(super) struct Connect;

impl Bridge for Connect {
    fn dialect(&self) -> Dialect {
        Dialect::Connect
    }

    fn open(&self, head: &mut Parts, method: Option<&Arc<Method>>) -> Result<Opened, Refusal> {
        let content_type = head.headers.get(header::CONTENT_TYPE);
        match content_type.and_then(stream_codec) {
            Some(codec) => open_stream(head, codec?, method),
            None if matches!(head.method, Verb::GET | Verb::HEAD) => open_get(head, method),
            None => open_post(head, method),
        }
    }

    fn refuse(&self, refusal: &Refusal, content_type: Option<&HeaderValue>) -> Response<Bytes> {
        match content_type.and_then(stream_codec) {
            Some(Ok(codec)) => errors::refuse_stream(refusal, codec),
            // Nobody reads an envelope of a codec that isn't known.
            Some(Err(_)) => errors::refuse_bare(refusal),
            None => errors::refuse_unary(refusal, None),
        }
    }
}

/// How the messages of one call are written on the client's side, and what knows their types.
#[derive(Clone)]
struct Messages {
    codec: Codec,
    method: Option<Arc<Method>>,
}

impl Messages {
    /// Messages of a codec.
    ///
    /// # Errors
    /// JSON of a method whose types nobody knows.
    fn new(codec: Codec, method: Option<&Arc<Method>>) -> Result<Self, Refusal> {
        if codec == Codec::Json && method.is_none() {
            return Err(unsupported("this method is called with protobuf only", "application/proto"));
        }
        Ok(Self { codec, method: method.cloned() })
    }

    /// Appends the protobuf of a request message.
    ///
    /// # Errors
    /// JSON that isn't one.
    fn read(&self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        match (self.codec, &self.method) {
            (Codec::Json, Some(method)) => method.read(payload, out),
            _ => {
                out.extend_from_slice(payload);
                Ok(())
            }
        }
    }

    /// A reply message as the client reads it.
    ///
    /// # Errors
    /// One that JSON can't express.
    fn write(&self, message: Bytes) -> Result<Bytes, Refusal> {
        match (self.codec, &self.method) {
            (Codec::Json, Some(method)) => {
                let mut json = Vec::with_capacity(message.len() * 2 + 16);
                let written = method.write(&message, &mut json);
                written.map_err(|error| malformed(&error.to_string()))?;
                Ok(json.into())
            }
            _ => Ok(message),
        }
    }
}

/// Whether a request on the path of a method is for Connect to answer, be it by refusing it: it says so itself,
/// or is a bare message to a unary method.
pub fn takes(head: &Parts, method: &Called) -> bool {
    let is_bare = || match head.method {
        Verb::POST => head.headers.get(header::CONTENT_TYPE).is_some_and(|value| is_essence(value, JSON)),
        Verb::GET | Verb::HEAD => {
            method.idempotency == Idempotency::NoSideEffects && Query::has(&head.uri, "message")
        }
        _ => false,
    };
    is_named(head) || (method.kind == Kind::Unary && is_bare())
}

/// Whether a request can only mean Connect, whatever its path.
pub fn is_named(head: &Parts) -> bool {
    head.headers.contains_key(head::VERSION)
        || head.headers.get(header::CONTENT_TYPE).is_some_and(|value| is_essence(value, PROTO))
        || (matches!(head.method, Verb::GET | Verb::HEAD) && Query::has(&head.uri, "connect"))
}

/// A unary call with its message in the body.
fn open_post(head: &mut Parts, method: Option<&Arc<Method>>) -> Result<Opened, Refusal> {
    if head.method != Verb::POST {
        return Err(verb_refused(method));
    }
    let codec = unary_codec(head.headers.get(header::CONTENT_TYPE))?;
    if method.is_some_and(|method| method.kind != Kind::Unary) {
        return Err(unsupported("this method streams", STREAM_TYPES));
    }
    let messages = Messages::new(codec, method)?;
    head::check_version(&head.headers)?;
    let coding = Coding::read(&head.headers, header::CONTENT_ENCODING, header::ACCEPT_ENCODING)?;
    let decoder = Box::new(Whole::new(messages.clone(), coding.sent));
    let wanted = Wanted { messages, coding: coding.wanted, verb: head.method.clone() };
    opened(head, Some(decoder), Box::new(Unary::new(wanted)))
}

/// A unary call with its message in the query.
fn open_get(head: &mut Parts, method: Option<&Arc<Method>>) -> Result<Opened, Refusal> {
    if !method.is_some_and(|method| gets(method)) {
        return Err(verb_refused(method));
    }
    let query = Query::read(&head.uri)?;
    let messages = Messages::new(query.codec, method)?;
    head::check_version(&head.headers)?;
    let sent = head::encoding(&query.compression, "compression")?;
    let wanted = head::accepted(&head.headers, header::ACCEPT_ENCODING).unwrap_or(sent);
    let decoder = Box::new(Given::new(Whole::new(messages.clone(), sent), query.message));
    let wanted = Wanted { messages, coding: wanted, verb: head.method.clone() };
    opened(head, Some(decoder), Box::new(Unary::new(wanted)))
}

/// A call of envelopes.
fn open_stream(head: &mut Parts, codec: Codec, method: Option<&Arc<Method>>) -> Result<Opened, Refusal> {
    if head.method != Verb::POST {
        return Err(verb_refused(method));
    }
    if method.is_some_and(|method| method.kind == Kind::Unary) {
        return Err(unsupported("this method doesn't stream", UNARY_TYPES));
    }
    let messages = Messages::new(codec, method)?;
    head::check_version(&head.headers)?;
    let coding = Coding::read(&head.headers, head::STREAM_ENCODING, head::STREAM_ACCEPT)?;
    // Envelopes of protobuf are gRPC's own frames, and pass as they come.
    let decoder: Option<Box<dyn Decode>> = match (codec, coding.sent) {
        (Codec::Proto, Encoding::Identity) => None,
        _ => Some(Box::new(decode::Stream::new(messages.clone(), coding.sent))),
    };
    let wanted = Wanted { messages, coding: coding.wanted, verb: head.method.clone() };
    opened(head, decoder, Box::new(Stream::new(wanted)))
}

fn opened(
    head: &mut Parts,
    decoder: Option<Box<dyn Decode>>,
    encoder: Box<dyn Encode>,
) -> Result<Opened, Refusal> {
    let asked = head::asked_time(&mut head.headers)?;
    head::adopt(&mut head.headers);
    Ok(Opened {
        bounds: Bounds { asked, ..Bounds::default() },
        compressed: false,
        decoder,
        encoder,
        early: None,
    })
}

/// Whether a method may be called by GET.
fn gets(method: &Method) -> bool {
    method.kind == Kind::Unary && method.idempotency == Idempotency::NoSideEffects
}

fn verb_refused(method: Option<&Arc<Method>>) -> Refusal {
    let allow = if method.is_some_and(|method| gets(method)) { "GET, HEAD, POST" } else { "POST" };
    Refusal::new(Reason::MethodNotAllowed, format!("this method takes {allow}")).offering(allow)
}

/// The codec of a content type with envelopes; `None` for any other type.
fn stream_codec(content_type: &HeaderValue) -> Option<Result<Codec, Refusal>> {
    let name = strip_prefix_ignoring_case(essence(content_type), b"application/connect+")?;
    let refusal = || unsupported("the codec of this content type is not known", STREAM_TYPES);
    Some(codec(name).ok_or_else(refusal))
}

/// The codec of a content type without envelopes.
fn unary_codec(content_type: Option<&HeaderValue>) -> Result<Codec, Refusal> {
    let media = content_type.and_then(|value| MediaType::parse(value.as_bytes())).filter(MediaType::is_utf8);
    let name = media.as_ref().and_then(|media| media.essence.strip_prefix("application/"));
    let refusal = || unsupported("this content type is not taken", UNARY_TYPES);
    name.and_then(|name| codec(name.as_bytes())).ok_or_else(refusal)
}

fn codec(name: &[u8]) -> Option<Codec> {
    if name.eq_ignore_ascii_case(b"proto") {
        Some(Codec::Proto)
    } else if name.eq_ignore_ascii_case(b"json") {
        Some(Codec::Json)
    } else {
        None
    }
}

fn is_essence(value: &HeaderValue, name: &str) -> bool {
    essence(value).eq_ignore_ascii_case(name.as_bytes())
}

const PROTO: &str = "application/proto";
const JSON: &str = "application/json";
/// What unary methods take.
const UNARY_TYPES: &str = "application/json, application/proto";
/// What streaming methods take.
const STREAM_TYPES: &str = "application/connect+json, application/connect+proto";

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(verb: &str, target: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(verb).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn method(kind: Kind, idempotency: Idempotency) -> Called {
        Called { path: "/s/m".into(), service: "s".into(), name: "m".into(), kind, idempotency }
    }

    #[test]
    fn what_connect_answers_on_the_path_of_a_method() {
        let (unary, get) = (Idempotency::Unknown, Idempotency::NoSideEffects);
        let json = ("content-type", "application/json; charset=utf-8");
        let proto = ("content-type", "Application/Proto");
        let named = ("connect-protocol-version", "1");
        let table = [
            ("POST", "/s/m", Some(json), Kind::Unary, unary, true),
            ("POST", "/s/m", Some(proto), Kind::Unary, unary, true),
            ("POST", "/s/m", Some(proto), Kind::Bidi, unary, true),
            ("POST", "/s/m", Some(json), Kind::ServerStream, unary, false),
            ("POST", "/s/m", Some(named), Kind::ServerStream, unary, true),
            ("POST", "/s/m", None, Kind::Unary, unary, false),
            ("POST", "/s/m?message=x", None, Kind::Unary, get, false),
            ("DELETE", "/s/m", Some(json), Kind::Unary, unary, false),
            ("DELETE", "/s/m", Some(proto), Kind::Unary, unary, true),
            ("GET", "/s/m?a&message=", None, Kind::Unary, get, true),
            ("HEAD", "/s/m?message=", None, Kind::Unary, get, true),
            ("GET", "/s/m?message=x", None, Kind::Unary, unary, false),
            ("GET", "/s/m?message=x", None, Kind::ServerStream, get, false),
            ("GET", "/s/m?messages=x&xconnect=v1", None, Kind::Unary, get, false),
            ("GET", "/s/m?connect=v1", None, Kind::Unary, unary, true),
            ("GET", "/s/m?connect=v2", None, Kind::ServerStream, unary, true),
            ("GET", "/s/m", None, Kind::Unary, get, false),
        ];
        for (verb, target, field, kind, idempotency, want) in table {
            let head = head(verb, target, field.as_slice());
            let got = takes(&head, &method(kind, idempotency));
            assert_eq!(got, want, "{verb} {target} {field:?} {kind:?} {idempotency:?}");
        }
    }

    #[test]
    fn codecs_of_content_types() {
        let value = |text: &'static str| HeaderValue::from_static(text);
        let table = [
            ("application/proto", Some(Codec::Proto)),
            ("application/PROTO;x=y", Some(Codec::Proto)),
            ("application/json; charset=UTF-8", Some(Codec::Json)),
            ("application/json; charset=utf-16", None),
            ("application/x+json", None),
            ("application/", None),
            ("text/json", None),
        ];
        for (text, want) in table {
            assert_eq!(unary_codec(Some(&value(text))).ok(), want, "{text}");
        }
        assert!(unary_codec(None).is_err());
        let table = [
            ("application/connect+proto", Some(Some(Codec::Proto))),
            ("Application/Connect+JSON ; charset=utf-8", Some(Some(Codec::Json))),
            ("application/connect+", Some(None)),
            ("application/connect+thrift", Some(None)),
            ("application/connect", None),
            ("application/json", None),
        ];
        for (text, want) in table {
            assert_eq!(stream_codec(&value(text)).map(Result::ok), want, "{text}");
        }
    }
}

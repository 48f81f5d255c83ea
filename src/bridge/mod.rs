//! One file a dialect: each turns a client's head into a call, and what the upstream said
//! into the client's words. The only room that renders a [`Refusal`].

pub mod connect;
mod details;
pub mod frames;
mod grpc;
mod grpc_web;
mod inflow;
mod plain;
pub mod rest;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Method as Verb;
use http::Response;
use http::request::Parts;

use crate::call::Body;
use crate::call::Bounds;
use crate::call::Dialect;
use crate::call::Reason;
use crate::call::Refusal;

/// Every dialect that Transom speaks. A new one is a new file and one line here.
pub static TABLE: &[&dyn Bridge] = &[&grpc::Grpc, &grpc_web::GrpcWeb, &connect::Connect, &plain::Plain];

/// One client dialect.
pub trait Bridge: Sync {
    /// Which one.
    fn dialect(&self) -> Dialect;

    /// Reads what the client's head asks of the gateway, and leaves in it what goes
    /// upstream. `method` says how the messages are read; without it only protobuf is spoken.
    ///
    /// # Errors
    /// What the dialect doesn't allow.
    fn open(&self, head: &mut Parts, method: Option<&Arc<rest::Method>>) -> Result<Opened, Refusal>;

    /// The whole answer to a call that ends before it has begun; `content_type` is the request's.
    fn refuse(&self, refusal: &Refusal, content_type: Option<&HeaderValue>) -> Response<Bytes>;
}

/// What a client's head asks of the gateway.
pub struct Opened {
    /// The time that the client gives.
    pub bounds: Bounds,
    /// Whether request messages may be flagged as compressed.
    pub compressed: bool,
    /// What reads the request's body; `None` where it is gRPC frames already.
    pub decoder: Option<Box<dyn Decode>>,
    /// What writes the reply.
    pub encoder: Box<dyn Encode>,
    /// What there is where the response begins before the call does.
    pub early: Option<Early>,
}

/// A response whose head leaves as soon as the policies let the call pass: its client may wait
/// for it before it sends anything.
pub struct Early {
    /// The head.
    pub head: Response<()>,
    /// What is read instead of the request's body, where the connection is switched.
    pub body: Option<Body>,
    /// What is said beside the reply.
    pub aside: Box<dyn Aside>,
}

/// What a dialect says between the messages of a call, before the reply begins and after.
pub trait Aside: Send {
    /// The answer to what the client asked of the connection itself, if one is due.
    fn owed(&mut self) -> Option<Bytes>;

    /// What is said every [`Aside::every`], if there is anything.
    fn beat(&mut self) -> Option<Bytes>;

    /// How often.
    fn every(&self) -> Duration;

    /// Whether the client is yet to say that it has seen the end. The response ends when it did, and soon in any
    /// case.
    fn awaits(&self) -> bool;
}

/// One dialect's request reader: its body becomes gRPC frames.
pub trait Decode: Send {
    /// Sets the largest message, in bytes; called once, before any byte comes.
    ///
    /// # Errors
    /// When the gateway has no room for what the body needs.
    fn limit(&mut self, message_bytes_max: usize) -> Result<(), Refusal>;

    /// Takes the next bytes of the body and appends the frames that they complete.
    ///
    /// # Errors
    /// What the client did wrong; the call is over.
    fn push(&mut self, chunk: Bytes, frames: &mut Vec<u8>) -> Result<(), Refusal>;

    /// The body is over: appends the frames that are left.
    ///
    /// # Errors
    /// As for [`Decode::push`].
    fn end(&mut self, frames: &mut Vec<u8>) -> Result<(), Refusal>;

    /// Bytes of messages that aren't whole yet, or wait for the end of the body.
    fn held(&self) -> usize {
        0
    }

    /// How many bytes the next push, of so many bytes, or the end has to read, about.
    fn work(&self, next: Option<usize>) -> usize {
        self.held() + next.unwrap_or(0)
    }

    /// Where the reader stands after a push.
    fn standing(&self) -> Standing {
        Standing::Open
    }

    /// Whether the body is read to its end although no message is taken from it any more: after
    /// [`Standing::Whole`], or when the upstream wants no more.
    fn lingers(&self) -> bool {
        false
    }
}

/// Where a reader of request bodies stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The next bytes are needed.
    Open,
    /// Enough was appended at once: push nothing, for the rest of what came.
    Held,
    /// The last message is read, though the body goes on.
    Whole,
}

/// What the upstream said, in gRPC terms.
#[derive(Debug)]
pub enum Event<'a> {
    /// Leading metadata.
    Head(HeaderMap),
    /// Bytes of gRPC frames, as they came.
    Frames(Bytes),
    /// Trailing metadata, `grpc-status` among it.
    End(HeaderMap),
    /// A status with nothing before it: leading and trailing metadata are one.
    Only(HeaderMap),
    /// Nothing came for as long as [`Encode::heartbeat`] says.
    Silence,
    /// The gateway ends the call.
    Refused(&'a Refusal),
}

/// Parts of the HTTP response that are ready to go.
#[derive(Debug, Default)]
pub struct Out {
    /// The response's head.
    pub head: Option<Response<()>>,
    /// The next bytes of its body.
    pub data: Option<Bytes>,
    /// Its end; nothing follows.
    pub end: Option<Ending>,
}

/// How a response ends.
#[derive(Debug)]
pub enum Ending {
    /// With trailers.
    Trailers(HeaderMap),
    /// With its last byte.
    Done,
    /// Abnormally, so that it doesn't look complete.
    Abort(h2::Reason),
}

/// One dialect's reply writer. It alone decides when the head leaves, so that a unary
/// encoder can hold it until the status is known.
pub trait Encode: Send {
    /// Takes the next event. After an end or a refusal none follows.
    ///
    /// # Errors
    /// What can't be told in this dialect. The refusal comes back as [`Event::Refused`],
    /// which never fails.
    fn push(&mut self, event: Event<'_>, out: &mut Out) -> Result<(), Refusal>;

    /// Sets the largest message, in bytes; called once, before any event.
    fn limit(&mut self, _message_bytes_max: usize) {}

    /// Bytes of messages that aren't whole yet, or wait for the status.
    fn held(&self) -> usize {
        0
    }

    /// How many bytes the next push has to write, about.
    fn work(&self, event: &Event<'_>) -> usize {
        match event {
            Event::Frames(bytes) => self.held() + bytes.len(),
            Event::End(_) | Event::Only(_) => self.held(),
            Event::Head(_) | Event::Silence | Event::Refused(_) => 0,
        }
    }

    /// How often a silent reply must say something, so that nobody between takes it for
    /// dead.
    fn heartbeat(&self) -> Option<Duration> {
        None
    }
}

/// Whether a head announces an encoding of its messages.
pub fn is_compressed(headers: &HeaderMap) -> bool {
    headers.get("grpc-encoding").is_some_and(|encoding| encoding != "identity")
}

/// The bridge of a dialect; plain HTTP's for those that aren't built yet.
pub fn of(dialect: Dialect) -> &'static dyn Bridge {
    TABLE.iter().find(|bridge| bridge.dialect() == dialect).copied().unwrap_or(&plain::Plain)
}

/// Which dialect a client speaks, as far as its content type says. Pure and total: what is sent as
/// `application/json` or `application/proto`, or without a body, is told by its path as well.
pub fn dialect(content_type: Option<&HeaderValue>) -> Dialect {
    let essence = content_type.map_or(&b""[..], essence);
    let of = |prefix: &[u8]| strip_prefix_ignoring_case(essence, prefix);
    if of(b"application/grpc-web").is_some_and(is_type_end) {
        Dialect::GrpcWeb
    } else if of(b"application/grpc").is_some_and(is_type_end) {
        Dialect::Grpc
    } else if of(b"application/connect+").is_some() {
        Dialect::Connect
    } else {
        Dialect::Plain
    }
}

/// Whether a media type of a family ends here, or goes on with a form or a codec.
fn is_type_end(rest: &[u8]) -> bool {
    matches!(rest.first(), None | Some(b'+' | b'-'))
}

/// How messages are encoded: what follows the `+` of a content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    /// Protobuf's binary format.
    Proto,
    /// ProtoJSON.
    Json,
}

impl Codec {
    /// Reads what follows the name of a family: nothing is `+proto`.
    ///
    /// # Errors
    /// A codec or a form that isn't taken; `taken` says what is.
    fn read(suffix: &[u8], taken: &'static str) -> Result<Self, Refusal> {
        if suffix.is_empty() || suffix.eq_ignore_ascii_case(b"+proto") {
            Ok(Self::Proto)
        } else if suffix.eq_ignore_ascii_case(b"+json") {
            Ok(Self::Json)
        } else {
            Err(unsupported("the codec of this content type is not known", taken))
        }
    }
}

/// The answer to a plain HTTP request for a method that exists.
fn plain_to_method(verb: &Verb) -> Refusal {
    if verb == Verb::POST {
        unsupported("this method speaks gRPC here", grpc::ACCEPT_POST)
    } else {
        Refusal::new(Reason::MethodNotAllowed, "call this method by POST").offering("POST")
    }
}

/// The refusal of a content type; `taken` lists those that are taken, the best one first.
fn unsupported(why: &str, taken: &'static str) -> Refusal {
    let best = taken.split(',').next().unwrap_or(taken);
    Refusal::new(Reason::ContentTypeUnsupported, format!("{why}: send content-type: {best}")).offering(taken)
}

/// A media type without its parameters.
fn essence(value: &HeaderValue) -> &[u8] {
    let bytes = value.as_bytes();
    let end = memchr::memchr(b';', bytes).unwrap_or(bytes.len());
    bytes[..end].trim_ascii()
}

fn strip_prefix_ignoring_case<'a>(bytes: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::Codec;
    use crate::call::Dialect;

    #[test]
    fn content_types_tell_the_dialect() {
        let table = [
            ("application/grpc", Dialect::Grpc),
            ("application/grpc; charset=utf-8", Dialect::Grpc),
            ("Application/gRPC+Proto ;x=y", Dialect::Grpc),
            ("application/grpc+thrift", Dialect::Grpc),
            ("application/grpc-other", Dialect::Grpc),
            ("application/grpc-web", Dialect::GrpcWeb),
            ("application/grpc-web-text+json;x", Dialect::GrpcWeb),
            ("application/grpc-webx", Dialect::Grpc),
            ("application/connect+proto", Dialect::Connect),
            ("application/connect", Dialect::Plain),
            ("application/grpcx", Dialect::Plain),
            ("application/json", Dialect::Plain),
            ("text/html", Dialect::Plain),
            ("", Dialect::Plain),
        ];
        for (content_type, want) in table {
            assert_eq!(
                super::dialect(Some(&HeaderValue::from_static(content_type))),
                want,
                "{content_type:?}"
            );
        }
        assert_eq!(super::dialect(None), Dialect::Plain);
    }

    #[test]
    fn codecs_follow_a_plus() {
        let table = [
            ("", Some(Codec::Proto)),
            ("+PROTO", Some(Codec::Proto)),
            ("+json", Some(Codec::Json)),
            ("+", None),
            ("-x", None),
            ("+thrift", None),
        ];
        for (suffix, want) in table {
            assert_eq!(Codec::read(suffix.as_bytes(), "a/b, c/d").ok(), want, "{suffix:?}");
        }
    }
}

//! The gRPC-Web dialect, binary and text: gRPC frames whose trailers are a frame as well.

mod text;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::header;
use http::request::Parts;

use crate::bridge::Bridge;
use crate::bridge::Codec;
use crate::bridge::Decode;
use crate::bridge::Encode;
use crate::bridge::Ending;
use crate::bridge::Event;
use crate::bridge::Opened;
use crate::bridge::Out;
use crate::bridge::essence;
use crate::bridge::frames::JsonReplies;
use crate::bridge::frames::JsonRequests;
use crate::bridge::grpc::asked_time;
use crate::bridge::grpc::refuse_as_grpc;
use crate::bridge::grpc::status_into;
use crate::bridge::is_compressed;
use crate::bridge::rest::Method;
use crate::bridge::strip_prefix_ignoring_case;
use crate::bridge::unsupported;
use crate::call::Bounds;
use crate::call::Dialect;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::metadata::adopt_request;
use crate::call::metadata::clean_web_reply;
use crate::wire::frame::HEADER_BYTES;

/// gRPC-Web.
pub(super) struct GrpcWeb;

/// How frames and messages are written: what the content type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    wrap: Wrap,
    codec: Codec,
}

/// What the frames are wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrap {
    /// Nothing.
    Binary,
    /// Base64, for clients that can't read binary streams.
    Text,
}

impl Form {
    /// Reads a content type of this family.
    fn read(content_type: Option<&HeaderValue>) -> Result<Self, Refusal> {
        let essence = content_type.map_or(&b""[..], essence);
        let suffix = strip_prefix_ignoring_case(essence, b"application/grpc-web").unwrap_or_default();
        match strip_prefix_ignoring_case(suffix, b"-text") {
            Some(suffix) => Ok(Self { wrap: Wrap::Text, codec: Codec::read(suffix, ACCEPT_POST)? }),
            None => Ok(Self { wrap: Wrap::Binary, codec: Codec::read(suffix, ACCEPT_POST)? }),
        }
    }

    /// The form of the reply: that of the request, unless `Accept` asks for the other wrap.
    fn answer(self, headers: &HeaderMap) -> Self {
        let accepted =
            headers.get_all(header::ACCEPT).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
        for range in accepted {
            let Some(suffix) = strip_prefix_ignoring_case(range.trim_ascii(), b"application/grpc-web") else {
                continue;
            };
            let is_text = strip_prefix_ignoring_case(suffix, b"-text").is_some();
            return Self { wrap: if is_text { Wrap::Text } else { Wrap::Binary }, ..self };
        }
        self
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match (self.wrap, self.codec) {
            (Wrap::Binary, Codec::Proto) => "application/grpc-web+proto",
            (Wrap::Binary, Codec::Json) => "application/grpc-web+json",
            (Wrap::Text, Codec::Proto) => "application/grpc-web-text+proto",
            (Wrap::Text, Codec::Json) => "application/grpc-web-text+json",
        })
    }
}

impl Bridge for GrpcWeb {
    fn dialect(&self) -> Dialect {
        Dialect::GrpcWeb
    }

    fn open(&self, head: &mut Parts, method: Option<&Arc<Method>>) -> Result<Opened, Refusal> {
        let form = Form::read(head.headers.get(header::CONTENT_TYPE))?;
        if head.method != http::Method::POST {
            return Err(
                Refusal::new(Reason::MethodNotAllowed, "call gRPC-Web methods by POST").offering("POST")
            );
        }
        let asked = asked_time(&mut head.headers)?;
        let (requests, replies) = match form.codec {
            Codec::Proto => (None, None),
            Codec::Json => {
                let Some(method) = method else {
                    return Err(unsupported("this method is called with protobuf only", ACCEPT_POST));
                };
                (
                    Some(JsonRequests::new(method.clone(), &head.headers)?),
                    Some(JsonReplies::new(method.clone())),
                )
            }
        };
        let answer = form.answer(&head.headers);
        let compressed = form.codec == Codec::Proto && is_compressed(&head.headers);
        adopt(&mut head.headers, form.codec);
        let decoder: Option<Box<dyn Decode>> = match (form.wrap, requests) {
            // The frames are gRPC's own, and pass as they come.
            (Wrap::Binary, None) => None,
            (wrap, requests) => {
                let quanta = (wrap == Wrap::Text).then(text::Quanta::default);
                Some(Box::new(Decoder { quanta, requests }))
            }
        };
        Ok(Opened {
            bounds: Bounds { asked, ..Bounds::default() },
            compressed,
            decoder,
            encoder: Box::new(Encoder {
                form: answer,
                replies,
                begun: Begun::No,
                gathers: method.is_some_and(|method| method.kind.one_reply()),
                gathered: None,
            }),
            early: None,
        })
    }

    fn refuse(&self, refusal: &Refusal, content_type: Option<&HeaderValue>) -> Response<Bytes> {
        let form = Form::read(content_type).unwrap_or(Form { wrap: Wrap::Binary, codec: Codec::Proto });
        refuse_as_grpc(refusal, form.content_type())
    }
}

/// Leaves in a client's head what goes upstream.
fn adopt(headers: &mut HeaderMap, codec: Codec) {
    // Messages that pass as they come stay compressed as they are.
    let kept = |name: &'static str| (name, headers.get(name).cloned());
    let kept = [kept("grpc-encoding"), kept("grpc-accept-encoding")];
    adopt_request(headers);
    if codec == Codec::Proto {
        for (name, value) in kept {
            value.and_then(|value| headers.insert(name, value));
        }
    }
    //= https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md#protocol-differences-vs-grpc-over-http2
    //# User Agent and Server Headers: use the X-User-Agent header instead
    if let Some(agent) = headers.remove("x-user-agent") {
        headers.insert(header::USER_AGENT, agent);
    }
    headers.remove("x-grpc-web");
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
}

/// Reads a request's body.
struct Decoder {
    quanta: Option<text::Quanta>,
    requests: Option<JsonRequests>,
}

impl Decode for Decoder {
    fn limit(&mut self, message_bytes_max: usize) -> Result<(), Refusal> {
        if let Some(requests) = &mut self.requests {
            requests.limit(message_bytes_max);
        }
        Ok(())
    }

    fn push(&mut self, chunk: Bytes, frames: &mut Vec<u8>) -> Result<(), Refusal> {
        let mut bytes = Vec::new();
        let plain = match &mut self.quanta {
            Some(quanta) => {
                quanta.push(&chunk, &mut bytes).map_err(|_| not_base64())?;
                Bytes::from(bytes)
            }
            None => chunk,
        };
        match &mut self.requests {
            Some(requests) => requests.push(plain, frames),
            None => {
                frames.extend_from_slice(&plain);
                Ok(())
            }
        }
    }

    fn end(&mut self, _: &mut Vec<u8>) -> Result<(), Refusal> {
        if let Some(quanta) = &self.quanta {
            quanta.end().map_err(|_| not_base64())?;
        }
        self.requests.as_ref().map_or(Ok(()), JsonRequests::end)
    }

    fn held(&self) -> usize {
        self.requests.as_ref().map_or(0, JsonRequests::held)
    }
}

fn not_base64() -> Refusal {
    Refusal::new(
        Reason::FrameInvalid,
        "the body isn't base64: send whole quanta of the standard alphabet, padded",
    )
}

/// Writes the reply.
struct Encoder {
    form: Form,
    replies: Option<JsonReplies>,
    begun: Begun,
    /// Whether a small reply waits for its end, to be one body with a length.
    gathers: bool,
    gathered: Option<(Response<()>, Vec<u8>)>,
}

#[derive(PartialEq, Eq)]
enum Begun {
    No,
    Yes,
}

impl Encoder {
    fn head(&self, mut headers: HeaderMap) -> Response<()> {
        clean_web_reply(&mut headers);
        headers.insert(header::CONTENT_TYPE, self.form.content_type());
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        response
    }

    fn wrap(&self, bytes: Bytes) -> Bytes {
        match self.form.wrap {
            Wrap::Binary => bytes,
            Wrap::Text => text::encode(&bytes).into(),
        }
    }

    /// Keeps the next frames, or sends them with all that was kept.
    fn frames(&mut self, frames: Bytes, out: &mut Out) {
        let bytes = match self.gathered.take() {
            Some((head, mut bytes)) => {
                bytes.extend_from_slice(&frames);
                if bytes.len() <= GATHERED_BYTES_MAX {
                    self.gathered = Some((head, bytes));
                    return;
                }
                out.head = Some(head);
                bytes.into()
            }
            None => frames,
        };
        if !bytes.is_empty() {
            out.data = Some(self.wrap(bytes));
        }
    }

    fn trailers(&mut self, trailers: &HeaderMap, out: &mut Out) {
        let mut body = Vec::new();
        if let Some((head, bytes)) = self.gathered.take() {
            out.head = Some(head);
            body = bytes;
        }
        trailer_frame(trailers, &mut body);
        out.data = Some(self.wrap(body.into()));
        out.end = Some(Ending::Done);
    }
}

impl Encode for Encoder {
    fn limit(&mut self, message_bytes_max: usize) {
        if let Some(replies) = &mut self.replies {
            replies.limit(message_bytes_max);
        }
    }

    fn held(&self) -> usize {
        self.replies.as_ref().map_or(0, JsonReplies::held)
    }

    fn push(&mut self, event: Event<'_>, out: &mut Out) -> Result<(), Refusal> {
        match event {
            Event::Head(mut headers) => {
                if let Some(replies) = &mut self.replies {
                    replies.head(&mut headers);
                }
                self.begun = Begun::Yes;
                let head = self.head(headers);
                if self.gathers {
                    self.gathered = Some((head, Vec::new()));
                } else {
                    out.head = Some(head);
                }
            }
            Event::Frames(bytes) => {
                let frames = match &mut self.replies {
                    Some(replies) => replies.push(bytes)?,
                    None => bytes,
                };
                self.frames(frames, out);
            }
            Event::End(trailers) => self.trailers(&trailers, out),
            Event::Only(headers) => {
                out.head = Some(self.head(headers));
                out.end = Some(Ending::Done);
            }
            Event::Refused(refusal) if self.begun == Begun::Yes => {
                let mut trailers = HeaderMap::with_capacity(4);
                status_into(&mut trailers, refusal);
                self.trailers(&trailers, out);
            }
            Event::Refused(refusal) => {
                out.head = Some(refuse_as_grpc(refusal, self.form.content_type()).map(|_| ()));
                out.end = Some(Ending::Done);
            }
            // A frame between others would be a message.
            Event::Silence => {}
        }
        Ok(())
    }
}

/// Appends the frame of the trailers: a block of header lines.
fn trailer_frame(trailers: &HeaderMap, body: &mut Vec<u8>) {
    //= https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md#protocol-differences-vs-grpc-over-http2
    //# Trailers must be the last message of the response.
    let start = body.len();
    body.extend_from_slice(&[TRAILERS, 0, 0, 0, 0]);
    for (name, value) in trailers {
        body.extend_from_slice(name.as_str().as_bytes());
        body.extend_from_slice(b": ");
        body.extend_from_slice(value.as_bytes());
        body.extend_from_slice(b"\r\n");
    }
    // Trailers are bounded by the header limit of the upstream's connection.
    let len = u32::try_from(body.len() - start - HEADER_BYTES).unwrap_or(u32::MAX);
    body[start + 1..start + HEADER_BYTES].copy_from_slice(&len.to_be_bytes());
}

/// The largest reply that waits for its end. A longer one is sent as it comes.
const GATHERED_BYTES_MAX: usize = 16 << 10;
/// The flag of the frame that holds trailers.
const TRAILERS: u8 = 0x80;
/// The media types that are taken.
const ACCEPT_POST: &str = "application/grpc-web+proto, application/grpc-web, application/grpc-web+json, \
    application/grpc-web-text, application/grpc-web-text+proto, application/grpc-web-text+json";

//! Writes the reply of a REST call: JSON, streams of JSON, raw bytes, or an error.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http::request::Parts;

use crate::bridge::Encode;
use crate::bridge::Ending;
use crate::bridge::Event;
use crate::bridge::Out;
use crate::bridge::frames::Coded;
use crate::bridge::is_compressed;
use crate::bridge::rest::endpoint::Endpoint;
use crate::bridge::rest::errors;
use crate::bridge::rest::errors::ErrorForm;
use crate::bridge::rest::errors::Failure;
use crate::bridge::rest::faults;
use crate::bridge::rest::negotiate;
use crate::bridge::rest::negotiate::StreamForm;
use crate::bridge::rest::streams::Closing;
use crate::bridge::rest::streams::StreamWriter;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::metadata::adopt_reply;
use crate::wire::compress;
use crate::wire::compress::Encoding;
use crate::wire::frame::Deframer;

/// What the client wants of the reply.
pub(super) struct Wanted {
    endpoint: Arc<Endpoint>,
    verb: Verb,
    coding: Encoding,
    /// `If-None-Match` and nothing else.
    tags: HeaderMap,
    /// How a stream is framed; `None` for one message, and for raw bytes.
    framing: Option<StreamForm>,
}

/// What the HTTP method means for the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    /// It may be answered with 304.
    Get,
    /// The same, without a body.
    Head,
    /// Neither.
    Other,
}

impl Wanted {
    pub(super) fn new(endpoint: Arc<Endpoint>, head: &Parts, coding: Encoding) -> Self {
        let verb = match head.method {
            http::Method::GET => Verb::Get,
            http::Method::HEAD => Verb::Head,
            _ => Verb::Other,
        };
        let mut tags = HeaderMap::new();
        if verb != Verb::Other {
            for tag in head.headers.get_all(header::IF_NONE_MATCH) {
                tags.append(header::IF_NONE_MATCH, tag.clone());
            }
        }
        let is_framed = !endpoint.method.kind.one_reply() && !endpoint.raw_reply;
        let framing = is_framed.then(|| negotiate::accept_stream(&head.headers));
        Self { endpoint, verb, coding, tags, framing }
    }
}

/// The reply writer of one call.
pub(super) struct Encoder {
    wanted: Wanted,
    deframer: Option<Deframer>,
    bytes_max: usize,
    /// How the upstream compresses messages, which it may choose unasked.
    coded: Coded,
    /// Leading metadata, until the response's head is sent.
    metadata: HeaderMap,
    state: State,
    /// The message of a unary reply, once it is here.
    message: Option<Bytes>,
    writer: Option<StreamWriter>,
    /// What was written of a stream before the message that can't be.
    unsent: Vec<u8>,
    coder: Option<compress::Encoder>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The head isn't sent: everything can still be said.
    Held,
    /// It is.
    Begun,
}

impl Encoder {
    pub(super) fn new(wanted: Wanted) -> Self {
        let writer = wanted.framing.map(StreamWriter::new);
        Self {
            wanted,
            deframer: None,
            bytes_max: 0,
            coded: Coded::Known(Encoding::Identity),
            metadata: HeaderMap::new(),
            state: State::Held,
            message: None,
            writer,
            unsent: Vec::new(),
            coder: None,
        }
    }

    fn is_unary(&self) -> bool {
        self.wanted.endpoint.method.kind.one_reply()
    }

    fn head(&mut self, mut headers: HeaderMap) {
        let max = u32::try_from(self.bytes_max).unwrap_or(u32::MAX);
        self.deframer = Some(Deframer::new(is_compressed(&headers), max));
        self.coded = Coded::of(&headers);
        adopt_reply(&mut headers);
        self.metadata = headers;
    }

    fn frames(&mut self, bytes: Bytes, out: &mut Out) -> Result<(), Refusal> {
        let Some(deframer) = &mut self.deframer else { return Ok(()) };
        deframer.feed(bytes);
        let mut body = Vec::new();
        if let Err(refusal) = self.messages(&mut body, out) {
            self.unsent = body;
            return Err(refusal);
        }
        self.send(body, out)
    }

    /// Writes all messages that are whole.
    fn messages(&mut self, body: &mut Vec<u8>, out: &mut Out) -> Result<(), Refusal> {
        while out.end.is_none()
            && let Some(deframer) = &mut self.deframer
        {
            let Some(frame) = deframer.next_frame().map_err(faults::frame)? else {
                break;
            };
            let message = self.coded.plain(frame, self.bytes_max).map_err(faults::uncoded)?;
            if !self.is_unary() {
                self.stream_message(message, body, out)?;
            } else if self.message.replace(message).is_some() {
                return Err(faults::invalid("the service sent a second message where one is due"));
            }
        }
        Ok(())
    }

    /// The next message of a stream.
    fn stream_message(&mut self, message: Bytes, body: &mut Vec<u8>, out: &mut Out) -> Result<(), Refusal> {
        let endpoint = self.wanted.endpoint.clone();
        match &mut self.writer {
            Some(writer) => {
                writer.message(body, |body| json(&endpoint, &message, body))?;
                let content_type = HeaderValue::from_static(writer.form().content_type());
                self.begin(content_type, out);
            }
            None => {
                let raw = endpoint.write_raw(message).map_err(faults::malformed)?;
                body.extend_from_slice(&raw.data);
                self.begin(media_type(&raw.content_type), out);
            }
        }
        Ok(())
    }

    /// Sends the head of a stream, once.
    fn begin(&mut self, content_type: HeaderValue, out: &mut Out) {
        if self.state == State::Begun {
            return;
        }
        self.state = State::Begun;
        let mut response = Response::new(());
        let headers = response.headers_mut();
        *headers = std::mem::take(&mut self.metadata);
        headers.insert(header::CONTENT_TYPE, content_type.clone());
        let mut varies: Vec<HeaderName> = Vec::new();
        if self.writer.is_some() {
            varies.push(header::ACCEPT);
        }
        if is_compressible(&content_type) {
            varies.push(header::ACCEPT_ENCODING);
            // Events are few and small, and must not wait in anybody's window.
            let is_coded = self.wanted.coding != Encoding::Identity
                && self.wanted.framing != Some(StreamForm::Events)
                && self.wanted.verb != Verb::Head;
            self.coder = is_coded.then(|| compress::Encoder::new(self.wanted.coding).ok()).flatten();
        }
        if self.coder.is_some() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(self.wanted.coding.name()));
        }
        if self.wanted.framing == Some(StreamForm::Events) {
            headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        }
        negotiate::vary(headers, &varies);
        out.head = Some(response);
        if self.wanted.verb == Verb::Head {
            out.end = Some(Ending::Done);
        }
    }

    /// Sends bytes of a stream, which leave at once.
    fn send(&mut self, body: Vec<u8>, out: &mut Out) -> Result<(), Refusal> {
        if body.is_empty() || self.wanted.verb == Verb::Head {
            return Ok(());
        }
        let body = match &mut self.coder {
            Some(coder) => {
                let mut coded = Vec::new();
                coder.push(&body, &mut coded).and_then(|()| coder.flush(&mut coded)).map_err(|fault| {
                    Refusal::new(Reason::Internal, "the reply can't be compressed").logged(fault.to_string())
                })?;
                coded
            }
            None => body,
        };
        out.data = Some(body.into());
        Ok(())
    }

    /// Closes the coding of a stream whose last bytes are `body`.
    fn finish(&mut self, body: Vec<u8>, out: &mut Out) {
        if self.wanted.verb == Verb::Head {
            return;
        }
        let body = match self.coder.take() {
            Some(mut coder) => {
                let mut coded = Vec::new();
                // A codec that has no memory leaves the stream cut short, which clients see.
                let _ = coder.push(&body, &mut coded).and_then(|()| coder.finish(&mut coded));
                coded
            }
            None => body,
        };
        if !body.is_empty() {
            out.data = Some(body.into());
        }
    }

    fn end(&mut self, trailers: HeaderMap, out: &mut Out) -> Result<(), Refusal> {
        if let Some(failure) = Failure::from_trailers(&trailers) {
            self.fail(&failure, out);
            return Ok(());
        }
        if self.is_unary() {
            let Some(message) = self.message.take() else {
                return Err(faults::invalid("the service sent no message where one is due"));
            };
            return self.whole(message, out);
        }
        let mut body = Vec::new();
        match &self.writer {
            Some(writer) => {
                writer.end(&mut body);
                let content_type = HeaderValue::from_static(writer.form().content_type());
                self.begin(content_type, out);
            }
            None => self.begin(media_type(""), out),
        }
        self.finish(body, out);
        out.end = Some(Ending::Done);
        Ok(())
    }

    /// The one message of a unary reply, as a whole response.
    fn whole(&mut self, message: Bytes, out: &mut Out) -> Result<(), Refusal> {
        let endpoint = self.wanted.endpoint.clone();
        let (content_type, body) = if endpoint.raw_reply {
            let raw = endpoint.write_raw(message).map_err(faults::malformed)?;
            (media_type(&raw.content_type), raw.data)
        } else {
            let mut body = Vec::with_capacity(message.len() * 2 + 16);
            json(&endpoint, &message, &mut body)?;
            (JSON, body.into())
        };
        let mut response = Response::new(());
        *response.headers_mut() = std::mem::take(&mut self.metadata);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
        self.state = State::Begun;
        let body = self.represent(&content_type, body, &mut response);
        if response.status() != StatusCode::NOT_MODIFIED {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            if self.wanted.verb != Verb::Head && !body.is_empty() {
                out.data = Some(body);
            }
        }
        out.head = Some(response);
        out.end = Some(Ending::Done);
        Ok(())
    }

    /// Codes a body as the client likes, and tags it; 304 where the client has it already.
    fn represent(&self, content_type: &HeaderValue, body: Bytes, response: &mut Response<()>) -> Bytes {
        let may_code = is_compressible(content_type);
        let mut coding = Encoding::Identity;
        let mut coded = body.clone();
        if may_code && CODED_BYTES_MIN <= body.len() && self.wanted.coding != Encoding::Identity {
            let mut bytes = Vec::new();
            if compress::encode(self.wanted.coding, &body, &mut bytes).is_ok() {
                (coding, coded) = (self.wanted.coding, bytes.into());
            }
        }
        let headers = response.headers_mut();
        if may_code {
            negotiate::vary(headers, &[header::ACCEPT_ENCODING]);
        }
        if coding != Encoding::Identity {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        if self.wanted.verb == Verb::Other {
            return coded;
        }
        if !headers.contains_key(header::ETAG) {
            let name = content_type.to_str().unwrap_or_default();
            headers.insert(header::ETAG, negotiate::etag(name, &body, coding));
        }
        let matches =
            headers.get(header::ETAG).is_some_and(|tag| negotiate::is_none_matched(&self.wanted.tags, tag));
        if matches {
            headers.remove(header::CONTENT_TYPE);
            headers.remove(header::CONTENT_ENCODING);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        coded
    }

    /// Ends the call with an error: as a response of its own while the head is held, otherwise in the form
    /// that the stream has for it.
    fn fail(&mut self, failure: &Failure, out: &mut Out) {
        let endpoint = self.wanted.endpoint.clone();
        if self.state == State::Held {
            let response = failure.response(endpoint.method.options.errors, &*endpoint);
            self.respond(response, out);
            return;
        }
        let mut status = Vec::new();
        failure.write(ErrorForm::Status, &*endpoint, &mut status);
        let mut body = std::mem::take(&mut self.unsent);
        // Raw bytes have no form for an error.
        let closing = match &self.writer {
            Some(writer) => writer.error(&status, &mut body),
            None => Closing::Abort,
        };
        self.finish(body, out);
        out.end = Some(match closing {
            Closing::Done => Ending::Done,
            Closing::Abort => Ending::Abort(h2::Reason::INTERNAL_ERROR),
        });
    }

    /// A whole response of the error kind, with what metadata came before it.
    fn respond(&mut self, response: Response<Bytes>, out: &mut Out) {
        self.state = State::Begun;
        let (mut head, body) = response.into_parts();
        let mut metadata = std::mem::take(&mut self.metadata);
        for name in head.headers.keys() {
            metadata.remove(name);
        }
        head.headers.extend(metadata);
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        if self.wanted.verb != Verb::Head && !body.is_empty() {
            out.data = Some(body);
        }
        out.head = Some(Response::from_parts(head, ()));
        out.end = Some(Ending::Done);
    }
}

impl Encode for Encoder {
    fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    fn held(&self) -> usize {
        let part = self.deframer.as_ref().map_or(0, Deframer::held_bytes);
        part + self.message.as_ref().map_or(0, Bytes::len)
    }

    fn work(&self, event: &Event<'_>) -> usize {
        match event {
            // The message waits for the status.
            Event::Frames(_) if self.is_unary() && !self.coded.announces() => 0,
            Event::Frames(bytes) => self.held() + bytes.len(),
            Event::End(_) | Event::Only(_) => self.held(),
            Event::Head(_) | Event::Silence | Event::Refused(_) => 0,
        }
    }

    fn heartbeat(&self) -> Option<Duration> {
        (self.wanted.framing == Some(StreamForm::Events)).then_some(HEARTBEAT)
    }

    fn push(&mut self, event: Event<'_>, out: &mut Out) -> Result<(), Refusal> {
        match event {
            Event::Head(headers) => {
                self.head(headers);
                Ok(())
            }
            Event::Frames(bytes) => self.frames(bytes, out),
            Event::End(trailers) => self.end(trailers, out),
            Event::Only(headers) => {
                let trailers = headers.clone();
                self.head(headers);
                self.end(trailers, out)
            }
            Event::Silence => {
                let mut body = Vec::new();
                if let Some(writer) = &self.writer {
                    writer.heartbeat(&mut body);
                    let content_type = HeaderValue::from_static(writer.form().content_type());
                    // A page that waits for its first event learns at least that it is connected.
                    self.begin(content_type, out);
                }
                self.send(body, out)
            }
            Event::Refused(refusal) if self.state == State::Held => {
                let endpoint = self.wanted.endpoint.clone();
                let response = errors::refuse(refusal, endpoint.method.options.errors, &*endpoint);
                self.respond(response, out);
                Ok(())
            }
            Event::Refused(refusal) => {
                self.fail(&Failure::of(refusal), out);
                Ok(())
            }
        }
    }
}

/// Appends the JSON of a reply.
fn json(endpoint: &Endpoint, message: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let (start, bytes_max) = (out.len(), endpoint.method.options.write.bytes_max);
    endpoint.write(message, out).map_err(|error| faults::unwritten(&error, out.len() - start, bytes_max))
}

fn media_type(name: &str) -> HeaderValue {
    match HeaderValue::from_str(name) {
        Ok(value) if !name.is_empty() => value,
        _ => HeaderValue::from_static("application/octet-stream"),
    }
}

/// Whether a representation of this type gets smaller by a coding.
fn is_compressible(content_type: &HeaderValue) -> bool {
    let name = content_type.to_str().unwrap_or_default();
    let essence = name.split(';').next().unwrap_or_default().trim();
    essence.starts_with("text/")
        || essence.ends_with("json")
        || essence.ends_with("jsonl")
        || essence.ends_with("xml")
        || essence == "application/javascript"
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How often a silent stream of events says something.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Smaller bodies gain nothing.
const CODED_BYTES_MIN: usize = 512;

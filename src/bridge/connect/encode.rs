//! Writes the replies of Connect: bare messages and JSON errors, or envelopes.

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method as Verb;
use http::Response;
use http::StatusCode;
use http::header;

use crate::bridge::Codec;
use crate::bridge::Encode;
use crate::bridge::Ending;
use crate::bridge::Event;
use crate::bridge::Out;
use crate::bridge::connect::JSON;
use crate::bridge::connect::Messages;
use crate::bridge::connect::PROTO;
use crate::bridge::connect::errors;
use crate::bridge::connect::head;
use crate::bridge::connect::replies::Replies;
use crate::bridge::frames::malformed;
use crate::bridge::rest::errors::Failure;
use crate::bridge::rest::negotiate::vary;
use crate::call::Refusal;
use crate::wire::compress;
use crate::wire::compress::Encoding;
use crate::wire::frame::encode_header;

/// What the client wants of the reply.
pub(super) struct Wanted {
    pub(super) messages: Messages,
    pub(super) coding: Encoding,
    pub(super) verb: Verb,
}

impl Wanted {
    /// Whether messages need neither be written nor compressed.
    fn passes_on(&self) -> bool {
        self.messages.codec == Codec::Proto && self.coding == Encoding::Identity
    }

    /// A message compressed, where the client accepts it and it pays.
    fn compressed(&self, message: &[u8]) -> Option<Bytes> {
        if self.coding == Encoding::Identity || message.len() < CODED_BYTES_MIN {
            return None;
        }
        let mut coded = Vec::new();
        compress::encode(self.coding, message, &mut coded).ok()?;
        Some(coded.into())
    }
}

/// Writes the reply of a unary call, all of it at its end.
pub(super) struct Unary {
    wanted: Wanted,
    replies: Replies,
    /// Leading metadata, and trailing ones under their prefix.
    metadata: HeaderMap,
    message: Option<Bytes>,
}

impl Unary {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self { wanted, replies: Replies::new(), metadata: HeaderMap::new(), message: None }
    }

    fn frames(&mut self, bytes: Bytes) -> Result<(), Refusal> {
        self.replies.feed(bytes);
        while let Some(message) = self.replies.next()? {
            if self.message.replace(message).is_some() {
                return Err(malformed("a second message came where one is due"));
            }
        }
        Ok(())
    }

    fn end(&mut self, mut trailers: HeaderMap, out: &mut Out) -> Result<(), Refusal> {
        let failure = Failure::from_trailers(&trailers);
        head::adopt_metadata(&mut trailers);
        append_prefixed(&mut self.metadata, &trailers);
        let Some(failure) = failure else { return self.message(out) };
        let mut body = Vec::new();
        errors::write_error(&failure, self.wanted.messages.method.as_deref(), &mut body);
        let mut response = Response::new(body.into());
        *response.status_mut() = errors::http_status(&failure);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        self.respond(response, out);
        Ok(())
    }

    fn message(&mut self, out: &mut Out) -> Result<(), Refusal> {
        let Some(message) = self.message.take() else {
            return Err(malformed("the service sent no message"));
        };
        let message = self.wanted.messages.write(message)?;
        let mut response = Response::new(message);
        let content_type = match self.wanted.messages.codec {
            Codec::Proto => PROTO,
            Codec::Json => JSON,
        };
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(coded) = self.wanted.compressed(response.body()) {
            let name = HeaderValue::from_static(self.wanted.coding.name());
            response.headers_mut().insert(header::CONTENT_ENCODING, name);
            *response.body_mut() = coded;
        }
        self.respond(response, out);
        Ok(())
    }

    /// Sends a whole response, and with it what metadata came.
    fn respond(&mut self, response: Response<Bytes>, out: &mut Out) {
        let (mut own, body) = response.into_parts();
        let own_headers = std::mem::replace(&mut own.headers, std::mem::take(&mut self.metadata));
        // What the dialect itself says goes before what the upstream said under the same name.
        own.headers.extend(own_headers);
        own.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        if self.wanted.verb != Verb::POST {
            vary(&mut own.headers, &[header::ACCEPT_ENCODING]);
        }
        if self.wanted.verb != Verb::HEAD && !body.is_empty() {
            out.data = Some(body);
        }
        out.head = Some(Response::from_parts(own, ()));
        out.end = Some(Ending::Done);
    }
}

impl Encode for Unary {
    fn limit(&mut self, bytes_max: usize) {
        self.replies.limit(bytes_max);
    }

    fn held(&self) -> usize {
        self.replies.held() + self.message.as_ref().map_or(0, Bytes::len)
    }

    fn work(&self, event: &Event<'_>) -> usize {
        match event {
            Event::Frames(_) if !self.replies.is_coded() => 0,
            Event::End(_) if self.wanted.passes_on() => 0,
            Event::Frames(_) | Event::End(_) | Event::Only(_) => self.held(),
            Event::Head(_) | Event::Silence | Event::Refused(_) => 0,
        }
    }

    fn push(&mut self, event: Event<'_>, out: &mut Out) -> Result<(), Refusal> {
        match event {
            Event::Head(mut headers) => {
                self.replies.head(&headers);
                head::adopt_metadata(&mut headers);
                self.metadata = headers;
                Ok(())
            }
            Event::Frames(bytes) => self.frames(bytes),
            Event::End(trailers) | Event::Only(trailers) => self.end(trailers, out),
            Event::Refused(refusal) => {
                let response = errors::refuse_unary(refusal, self.wanted.messages.method.as_deref());
                self.respond(response, out);
                Ok(())
            }
            Event::Silence => Ok(()),
        }
    }
}

/// Writes the reply of a stream, each message as it comes.
pub(super) struct Stream {
    wanted: Wanted,
    replies: Replies,
    begun: Begun,
    /// Messages so far.
    count: u64,
    /// Envelopes that wait for those that came with them.
    ready: Vec<u8>,
}

/// Whether the head is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    No,
    Yes,
}

impl Stream {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self { wanted, replies: Replies::new(), begun: Begun::No, count: 0, ready: Vec::new() }
    }

    fn begin(&mut self, mut headers: HeaderMap, out: &mut Out) {
        if self.begun == Begun::Yes {
            return;
        }
        self.begun = Begun::Yes;
        head::adopt_metadata(&mut headers);
        headers.insert(header::CONTENT_TYPE, errors::stream_type(self.wanted.messages.codec));
        if self.wanted.coding != Encoding::Identity {
            headers.insert(head::STREAM_ENCODING, HeaderValue::from_static(self.wanted.coding.name()));
        }
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::OK;
        *response.headers_mut() = headers;
        out.head = Some(response);
    }

    fn frames(&mut self, bytes: Bytes, out: &mut Out) -> Result<(), Refusal> {
        // Frames of protobuf are envelopes already.
        let passes = self.wanted.messages.codec == Codec::Proto && self.wanted.coding == Encoding::Identity;
        if passes && let Some(count) = self.replies.whole(&bytes) {
            self.counted(count)?;
            out.data = Some(bytes);
            return Ok(());
        }
        self.replies.feed(bytes);
        while let Some(message) = self.replies.next()? {
            self.counted(1)?;
            self.envelope(message)?;
        }
        if !self.ready.is_empty() {
            out.data = Some(std::mem::take(&mut self.ready).into());
        }
        Ok(())
    }

    fn envelope(&mut self, message: Bytes) -> Result<(), Refusal> {
        let message = self.wanted.messages.write(message)?;
        let coded = self.wanted.compressed(&message);
        let is_coded = coded.is_some();
        let payload = coded.unwrap_or(message);
        let len = u32::try_from(payload.len());
        let len = len.map_err(|_| malformed("the message is over 4 GiB in the codec of the client"))?;
        self.ready.extend_from_slice(&encode_header(is_coded, len));
        self.ready.extend_from_slice(&payload);
        Ok(())
    }

    fn one_reply(&self) -> bool {
        self.wanted.messages.method.as_ref().is_some_and(|method| method.kind.one_reply())
    }

    fn counted(&mut self, more: u64) -> Result<(), Refusal> {
        self.count += more;
        if self.count > 1 && self.one_reply() {
            return Err(malformed("a second message came where one is due"));
        }
        Ok(())
    }

    fn end(&mut self, mut trailers: HeaderMap, out: &mut Out) -> Result<(), Refusal> {
        let failure = Failure::from_trailers(&trailers);
        if failure.is_none() && self.count == 0 && self.one_reply() {
            return Err(malformed("the service sent no message"));
        }
        head::adopt_metadata(&mut trailers);
        self.close(failure.as_ref(), &trailers, out);
        Ok(())
    }

    fn close(&mut self, failure: Option<&Failure>, metadata: &HeaderMap, out: &mut Out) {
        self.begin(HeaderMap::new(), out);
        let method = self.wanted.messages.method.as_deref();
        errors::end_of_stream(failure, metadata, method, &mut self.ready);
        out.data = Some(std::mem::take(&mut self.ready).into());
        out.end = Some(Ending::Done);
    }
}

impl Encode for Stream {
    fn limit(&mut self, bytes_max: usize) {
        self.replies.limit(bytes_max);
    }

    fn held(&self) -> usize {
        self.replies.held() + self.ready.len()
    }

    fn push(&mut self, event: Event<'_>, out: &mut Out) -> Result<(), Refusal> {
        match event {
            Event::Head(headers) => {
                self.replies.head(&headers);
                self.begin(headers, out);
                Ok(())
            }
            Event::Frames(bytes) => self.frames(bytes, out),
            Event::End(trailers) | Event::Only(trailers) => self.end(trailers, out),
            Event::Refused(refusal) => {
                self.close(Some(&Failure::of(refusal)), &HeaderMap::new(), out);
                if let Some(head) = &mut out.head {
                    errors::offer(head.headers_mut(), refusal);
                }
                Ok(())
            }
            Event::Silence => Ok(()),
        }
    }
}

/// Appends trailing metadata as headers.
fn append_prefixed(headers: &mut HeaderMap, trailers: &HeaderMap) {
    for (name, value) in trailers {
        if let Ok(name) = HeaderName::from_bytes(format!("trailer-{name}").as_bytes()) {
            headers.append(name, value.clone());
        }
    }
}

/// Smaller messages gain nothing.
const CODED_BYTES_MIN: usize = 512;

//! REST clients of both HTTP versions, and a service whose answers each test chooses.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use h2::RecvStream;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use prost::Message;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::Gateway;
use crate::support::RawClient;
use crate::support::RawUpstream;
use crate::support::frame;
use crate::support::grpc_head;
use crate::support::read_body;
use crate::support::soon;

/// The fields of `lab.v1.Probe` that tests set and look at.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Probe {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int64, tag = "2")]
    pub(crate) big_count: i64,
    #[prost(int32, tag = "3")]
    pub(crate) color: i32,
    #[prost(bool, tag = "4")]
    pub(crate) is_on: bool,
    #[prost(message, repeated, tag = "5")]
    pub(crate) children: Vec<Self>,
    #[prost(message, optional, tag = "6")]
    pub(crate) any: Option<prost_types::Any>,
    #[prost(double, tag = "9")]
    pub(crate) ratio: f64,
    #[prost(map = "string, string", tag = "10")]
    pub(crate) labels: HashMap<String, String>,
    #[prost(int32, repeated, tag = "11")]
    pub(crate) colors: Vec<i32>,
    #[prost(message, optional, tag = "12")]
    pub(crate) mask: Option<prost_types::FieldMask>,
    #[prost(bytes = "bytes", tag = "13")]
    pub(crate) blob: Bytes,
    #[prost(int32, tag = "14")]
    pub(crate) id: i32,
    #[prost(message, optional, boxed, tag = "15")]
    pub(crate) child: Option<Box<Self>>,
}

/// `lab.v1.PatchRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PatchRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) probe: Option<Probe>,
    #[prost(message, optional, tag = "2")]
    pub(crate) update_mask: Option<prost_types::FieldMask>,
}

/// `google.api.HttpBody`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HttpBody {
    #[prost(string, tag = "1")]
    pub(crate) content_type: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data: Bytes,
}

/// `lab.v1.UploadRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct UploadRequest {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) file: Option<HttpBody>,
}

/// A probe of that name.
pub(crate) fn named(name: &str) -> Probe {
    Probe { name: name.into(), ..Probe::default() }
}

/// What the service was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) messages: Vec<Bytes>,
}

impl Asked {
    /// The only message of a call.
    pub(crate) fn one<M: Message + Default>(&self) -> M {
        assert_eq!(self.messages.len(), 1, "{self:?}");
        M::decode(self.messages[0].clone()).expect("what the gateway sends decodes")
    }
}

/// What the service answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) head: Vec<(&'static str, &'static str)>,
    /// Whole frames, or what a test takes for them.
    pub(crate) frames: Vec<Bytes>,
    pub(crate) code: u8,
    pub(crate) message: &'static str,
}

impl Told {
    /// One message, and OK.
    pub(crate) fn one(message: &impl Message) -> Self {
        Self::bytes(&message.encode_to_vec())
    }

    /// One message as bytes, which may be none, and OK.
    pub(crate) fn bytes(message: &[u8]) -> Self {
        Self { frames: vec![frame(0, message)], ..Self::default() }
    }

    /// Messages, and OK.
    pub(crate) fn many(messages: &[Probe]) -> Self {
        let frames = messages.iter().map(|message| frame(0, &message.encode_to_vec())).collect();
        Self { frames, ..Self::default() }
    }

    /// The same with another end.
    pub(crate) fn failing(mut self, code: u8, message: &'static str) -> Self {
        (self.code, self.message) = (code, message);
        self
    }
}

/// The service behind the gateway.
pub(crate) struct Service {
    raw: RawUpstream,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Service {
    /// Serves every call by `answer`.
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Told + Clone + Send + Sync + 'static) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let all = asked.clone();
        let raw = RawUpstream::start(move |request, mut respond| {
            let (all, answer) = (all.clone(), answer.clone());
            Box::pin(async move {
                let (head, mut body) = request.into_parts();
                // A call that the client gave up, or that the gateway refused, isn't one.
                let Ok(body) = read_body(&mut body).await else { return };
                let asked =
                    Asked { path: head.uri.path().into(), headers: head.headers, messages: split(body) };
                let told = answer(&asked);
                all.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
                let mut response = grpc_head();
                for (name, value) in told.head {
                    response.headers_mut().append(name, HeaderValue::from_static(value));
                }
                let Ok(mut stream) = respond.send_response(response, false) else { return };
                for frame in told.frames {
                    if stream.send_data(frame, false).is_err() {
                        return;
                    }
                }
                let mut trailers = crate::support::trailers(told.code);
                trailers.insert("grpc-message", HeaderValue::from_static(told.message));
                // A gateway that has seen enough resets the stream.
                drop(stream.send_trailers(trailers));
            })
        })
        .await;
        Self { raw, asked }
    }

    /// A service that answers every call with the message that it gets.
    pub(crate) async fn echo() -> Self {
        Self::start(|asked| Told {
            frames: asked.messages.iter().map(|message| frame(0, message)).collect(),
            ..Told::default()
        })
        .await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.raw.address
    }

    /// What it was asked since the last look.
    pub(crate) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The only call since the last look.
    pub(crate) fn only(&self) -> Asked {
        let mut asked = self.take();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }
}

/// The messages of gRPC frames.
fn split(mut body: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while body.len() >= 5 {
        assert_eq!(body.get_u8(), 0, "the gateway compresses nothing of its own accord");
        let len = body.get_u32() as usize;
        messages.push(body.split_to(len));
    }
    assert!(body.is_empty(), "whole frames");
    messages
}

/// The path of a file of these tests.
pub(crate) fn path(name: &str) -> String {
    format!("{}/tests/rest/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A configuration that publishes the lab: keys of its module and of its API, and whole sections.
pub(crate) fn yaml(service: SocketAddr, module: &str, api: &str, top: &str) -> String {
    let and = |part: &str| if part.is_empty() { String::new() } else { format!(", {part}") };
    format!(
        "listeners: [{{ name: main, address: \"127.0.0.1:0\" }}]\n\
         modules: [{{ name: lab, protos: \"{}\"{} }}]\n\
         upstreams: [{{ name: lab, endpoints: [{{ address: \"{service}\" }}] }}]\n\
         apis: [{{ name: lab, module: lab, services: [lab.v1.Lab], upstream: lab{} }}]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         server: {{ drain_timeout: 1s, workers: 2 }}\n{top}\n",
        path("protos"),
        and(module),
        and(api),
    )
}

/// A gateway before a service, with keys of its API.
pub(crate) fn before(service: &Service, api: &str) -> Gateway {
    Gateway::start(&yaml(service.address(), "", api, ""))
}

/// An HTTP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    H1,
    H2,
}

/// Both.
pub(crate) const VERSIONS: [Version; 2] = [Version::H1, Version::H2];

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) verb: &'static str,
    pub(crate) target: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Bytes>,
}

/// A GET.
pub(crate) fn get(target: &str) -> Ask {
    ask("GET", target)
}

/// A POST of JSON.
pub(crate) fn post(target: &str, body: impl Into<Bytes>) -> Ask {
    ask("POST", target).with("content-type", "application/json").body(body)
}

/// A request without a body.
pub(crate) fn ask(verb: &'static str, target: &str) -> Ask {
    Ask { verb, target: target.into(), headers: Vec::new(), body: None }
}

impl Ask {
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }
}

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// In order.
    Whole,
    /// HTTP/1.1: the connection closed before the last chunk.
    Cut,
    /// HTTP/2.
    Reset(h2::Reason),
}

/// A whole response.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) end: End,
}

impl Answer {
    /// A header as text; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("headers are ASCII here"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// `ErrorInfo.reason` of a body that is a `google.rpc.Status`.
    pub(crate) fn reason(&self) -> String {
        let json = self.json();
        let details = json["details"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        let info = details.iter().find(|detail| detail["domain"] == "transom");
        info.map(|info| info["reason"].as_str().expect("a reason is text").to_owned()).unwrap_or_default()
    }

    /// The message of a body that is a `google.rpc.Status`.
    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }
}

/// A client with one connection.
pub(crate) enum Client {
    H1(H1),
    H2(RawClient, SocketAddr),
}

impl Client {
    pub(crate) async fn connect(version: Version, address: SocketAddr) -> Self {
        match version {
            Version::H1 => Self::H1(H1::connect(address).await),
            Version::H2 => Self::H2(RawClient::connect(address).await, address),
        }
    }

    /// Sends a request, and reads the head of the answer.
    pub(crate) async fn open(&mut self, ask: &Ask) -> (Answer, Reading<'_>) {
        match self {
            Self::H1(h1) => {
                let (answer, framing) = h1.ask(ask).await;
                (answer, Reading::H1(h1, framing))
            }
            Self::H2(h2, address) => {
                let mut request = http::Request::builder()
                    .method(ask.verb)
                    .uri(format!("http://{address}{}", ask.target))
                    .version(http::Version::HTTP_2);
                for (name, value) in &ask.headers {
                    request = request.header(*name, value);
                }
                let head = request.body(()).expect("the parts of the head are good");
                let (response, mut sending) = h2.open(head).await;
                let body = ask.body.clone().unwrap_or_default();
                // An answer may come, and close the stream, before the request is sent.
                drop(sending.send_data(body, true));
                let response = soon("a head", response).await.expect("a head comes");
                let (head, body) = response.into_parts();
                let answer = Answer {
                    status: head.status.as_u16(),
                    headers: head.headers,
                    body: Bytes::new(),
                    end: End::Whole,
                };
                (answer, Reading::H2(body))
            }
        }
    }

    /// Sends a request, and reads all of the answer.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Answer {
        let (mut answer, mut reading) = self.open(ask).await;
        let mut body = BytesMut::new();
        answer.end = loop {
            match soon("the rest of a response", reading.next()).await {
                Ok(chunk) => body.extend_from_slice(&chunk),
                Err(end) => break end,
            }
        };
        answer.body = body.freeze();
        answer
    }
}

/// One request on a connection of its own.
pub(crate) async fn once(version: Version, address: SocketAddr, ask: &Ask) -> Answer {
    Client::connect(version, address).await.ask(ask).await
}

/// The body of a response.
pub(crate) enum Reading<'c> {
    H1(&'c mut H1, Framing),
    H2(RecvStream),
}

impl Reading<'_> {
    /// The next bytes, or how the body ended.
    pub(crate) async fn next(&mut self) -> Result<Bytes, End> {
        match self {
            Self::H1(h1, framing) => h1.next(framing).await,
            Self::H2(body) => match body.data().await {
                Some(Ok(chunk)) => {
                    body.flow_control().release_capacity(chunk.len()).expect("it was taken");
                    Ok(chunk)
                }
                Some(Err(error)) => Err(End::Reset(error.reason().expect("a reset"))),
                None => match body.trailers().await {
                    Ok(None) => Err(End::Whole),
                    other => panic!("REST has no trailers: {other:?}"),
                },
            },
        }
    }

    /// Reads until the body so far ends with this text; all of the body since the last call.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let mut body = Vec::new();
        while !body.ends_with(text.as_bytes()) {
            let next = soon(text, self.next()).await;
            body.extend_from_slice(&next.unwrap_or_else(|end| panic!("{end:?} after {body:?}")));
        }
        String::from_utf8(body).expect("the body is text")
    }
}

/// What is left of an HTTP/1.1 body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    Over,
}

/// An HTTP/1.1 connection, byte by byte.
pub(crate) struct H1 {
    pub(crate) socket: TcpStream,
    read: BytesMut,
    address: SocketAddr,
    /// Times that the gateway had closed the connection when the next request came.
    pub(crate) reconnects: usize,
    is_used: bool,
}

impl H1 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("the gateway takes connections");
        socket.set_nodelay(true).expect("the option is known");
        Self { socket, read: BytesMut::new(), address, reconnects: 0, is_used: false }
    }

    /// Sends a request and reads the head of its answer. A connection that was closed after an earlier answer is
    /// replaced, as every client does.
    async fn ask(&mut self, ask: &Ask) -> (Answer, Framing) {
        loop {
            self.write(&h1_head(ask)).await;
            if let Some(body) = &ask.body {
                self.write(body).await;
            }
            if soon("a head", self.head_end()).await.is_some() || !self.is_used {
                self.is_used = true;
                return soon("a head", self.head(ask.verb)).await;
            }
            let reconnects = self.reconnects + 1;
            *self = Self { reconnects, ..Self::connect(self.address).await };
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        // A gateway that has refused already may have closed.
        drop(self.socket.write_all(bytes).await);
    }

    /// Reads a head; 1xx ones count.
    pub(crate) async fn head(&mut self, verb: &str) -> (Answer, Framing) {
        let end = self.head_end().await;
        let end = end.unwrap_or_else(|| panic!("closed before a head: {:?}", self.read));
        let head = self.read.split_to(end + 4);
        let head = std::str::from_utf8(&head).expect("heads are ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("{head:?}"));
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
            let name: HeaderName = name.parse().expect("a header's name");
            headers.append(name, value.parse().expect("a header's value"));
        }
        let length = headers.get("content-length").map(|length| {
            assert!(!headers.contains_key("transfer-encoding"), "{headers:?}");
            length.to_str().ok().and_then(|length| length.parse().ok()).expect("a number")
        });
        let framing = match length {
            _ if verb == "HEAD" || matches!(status, 100..200 | 204 | 304) => Framing::Over,
            Some(0) => Framing::Over,
            Some(length) => Framing::Length(length),
            None => {
                assert_eq!(headers.get("transfer-encoding").expect("some framing"), "chunked");
                Framing::Chunked
            }
        };
        (Answer { status, headers, body: Bytes::new(), end: End::Whole }, framing)
    }

    /// Where the head ends; none if the connection ended before.
    async fn head_end(&mut self) -> Option<usize> {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                return Some(end);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next bytes of a body, or how it ended.
    pub(crate) async fn next(&mut self, framing: &mut Framing) -> Result<Bytes, End> {
        match *framing {
            Framing::Over => Err(End::Whole),
            Framing::Length(left) => {
                if self.read.is_empty() && !self.more().await {
                    return Err(End::Cut);
                }
                let taken = self.read.split_to(left.min(self.read.len())).freeze();
                *framing =
                    if taken.len() == left { Framing::Over } else { Framing::Length(left - taken.len()) };
                Ok(taken)
            }
            Framing::Chunked => {
                let line = loop {
                    if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                        break self.read.split_to(end + 2);
                    }
                    if !self.more().await {
                        return Err(End::Cut);
                    }
                };
                let size = std::str::from_utf8(&line[..line.len() - 2]).expect("a size");
                let size = usize::from_str_radix(size, 16).expect("a size");
                while self.read.len() < size + 2 {
                    if !self.more().await {
                        return Err(End::Cut);
                    }
                }
                let chunk = self.read.split_to(size).freeze();
                assert_eq!(&self.read.split_to(2)[..], b"\r\n");
                if size > 0 {
                    return Ok(chunk);
                }
                *framing = Framing::Over;
                Err(End::Whole)
            }
        }
    }

    async fn more(&mut self) -> bool {
        // A connection that is reset is over as well.
        self.socket.read_buf(&mut self.read).await.is_ok_and(|read| read > 0)
    }
}

/// The bytes of a request's head.
pub(crate) fn h1_head(ask: &Ask) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\nhost: lab.test\r\n", ask.verb, ask.target);
    for (name, value) in &ask.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = &ask.body {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

//! A Connect client made of raw requests, over both HTTP versions: what it sends and gets can be looked at.

use std::net::SocketAddr;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_reflect::DynamicMessage;
use prost_reflect::MethodDescriptor;
use serde_json::Value;
use tonic::Code;
use tonic::Status;
use tonic::metadata::MetadataMap;
use transom::wire::compress;
use transom::wire::compress::Encoding;
use transom::wire::compress::Limits;

use crate::support::PATIENCE;
use crate::support::RawClient;
use crate::support::RawReply;
use crate::support::dialects::Ask;
use crate::support::dialects::Told;
use crate::support::frame;
use crate::support::send_cut;
use crate::support::soon;

/// An HTTP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Proto,
    Json,
}

impl Codec {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Proto => "proto",
            Self::Json => "json",
        }
    }
}

/// One way to speak Connect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) http: Http,
    pub(crate) codec: Codec,
    pub(crate) coding: Encoding,
}

/// A request, as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) verb: &'static str,
    pub(crate) target: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// Bytes of each chunk or DATA frame; 0 leaves the body whole.
    pub(crate) cut: usize,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Sent {
    pub(crate) fn new(verb: &'static str, target: &str) -> Self {
        Self { verb, target: target.into(), fields: Vec::new(), body: Bytes::new(), cut: 0 }
    }

    /// The same request with one more field.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it on a connection of its own, and reads the whole answer.
    pub(crate) async fn send(&self, http: Http, address: SocketAddr) -> Answer {
        match http {
            Http::One => self.send_one(address).await,
            Http::Two => self.send_two(address).await,
        }
    }

    /// As HTTP/1.1; `connection: close` marks the end of the answer.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut head =
            format!("{} {} HTTP/1.1\r\nhost: library.test\r\nconnection: close\r\n", self.verb, self.target);
        let mut body = self.body.to_vec();
        if self.cut != 0 {
            head += "transfer-encoding: chunked\r\n";
            let chunks = self.body.chunks(self.cut).chain([&b""[..]]);
            let chunks =
                chunks.map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
            body = chunks.collect::<Vec<_>>().concat();
        } else if self.verb != "GET" && self.verb != "HEAD" || !self.body.is_empty() {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        [head.as_bytes(), b"\r\n", &body].concat()
    }

    async fn send_one(&self, address: SocketAddr) -> Answer {
        use tokio::io::AsyncReadExt;
        use tokio::io::AsyncWriteExt;
        let mut socket = tokio::net::TcpStream::connect(address).await.expect("connections are taken");
        let (mut read, mut write) = socket.split();
        let bytes = self.bytes();
        // A gateway that refuses early reads no further; its answer is there all the same.
        let (_, read) = soon("an answer", async {
            let mut answer = Vec::new();
            let reading = async { read.read_to_end(&mut answer).await.map(|_| ()) };
            let (sent, came) = tokio::join!(write.write_all(&bytes), reading);
            (sent, came.map(|()| answer))
        })
        .await;
        Answer::parse(&read.expect("the connection ends in order"), self.verb)
    }

    async fn send_two(&self, address: SocketAddr) -> Answer {
        let client = RawClient::connect(address).await;
        let (response, mut sending) = client.open(self.head(address)).await;
        send_cut(&mut sending, self.body.clone(), self.cut);
        let reply = soon("the answer", RawReply::read(response)).await;
        let reply = reply.unwrap_or_else(|error| panic!("the stream broke: {error}: {self:?}"));
        assert!(reply.trailers.is_none(), "this dialect has no trailers of HTTP: {reply:?}");
        Answer { status: reply.status.as_u16(), headers: reply.headers, body: reply.body }
    }

    /// Its head for HTTP/2.
    pub(crate) fn head(&self, address: SocketAddr) -> http::Request<()> {
        let mut head = http::Request::builder()
            .method(self.verb)
            .uri(format!("http://{address}{}", self.target))
            .version(http::Version::HTTP_2);
        for (name, value) in &self.fields {
            head = head.header(name, value);
        }
        head.body(()).expect("the parts of the head are good")
    }
}

impl Answer {
    /// Reads an answer of HTTP/1.1.
    pub(crate) fn parse(bytes: &[u8], verb: &str) -> Self {
        let at = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let at = at.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
        let mut lines = head.split("\r\n");
        let status =
            lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status line");
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").expect("fields have names");
            let name: HeaderName = name.parse().expect("a good name");
            headers.append(name, value.parse().expect("a good value"));
        }
        let rest = &bytes[at + 4..];
        let body = match headers.get("transfer-encoding") {
            Some(_) => dechunked(rest),
            None => rest.to_vec(),
        };
        if let Some(length) = headers.get("content-length").filter(|_| verb != "HEAD") {
            assert_eq!(length.to_str().expect("digits"), body.len().to_string(), "the body is whole");
        }
        Self { status, headers, body: body.into() }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }

    /// All values of a field, in order.
    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().expect("ASCII")).collect()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The envelopes of a stream: flags and payloads as they came, the last one apart.
    pub(crate) fn envelopes(&self) -> (Vec<(u8, Bytes)>, Value) {
        assert_eq!(self.status, 200, "{self:?}");
        let (mut rest, mut all) = (self.body.clone(), Vec::new());
        while !rest.is_empty() {
            assert!(rest.len() >= 5, "an envelope is whole");
            let head = rest.split_to(5);
            let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            all.push((head[0], rest.split_to(usize::try_from(len).expect("a short payload"))));
        }
        let (flag, end) = all.pop().unwrap_or_else(|| panic!("no end of the stream: {self:?}"));
        assert_eq!(flag, 2, "the last envelope ends the stream");
        assert!(all.iter().all(|(flag, _)| *flag < 2), "no other one does");
        (all, serde_json::from_slice(&end).expect("the end is JSON"))
    }
}

/// The body of a chunked answer; it must have its last chunk.
fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let at = rest.windows(2).position(|two| two == b"\r\n").expect("a chunk has a size");
        let size =
            std::str::from_utf8(&rest[..at]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("a size is hexadecimal");
        rest = &rest[at + 2..];
        if size == 0 {
            assert_eq!(rest, b"\r\n", "no trailers and nothing more");
            return body;
        }
        body.extend_from_slice(&rest[..size]);
        rest = rest[size..].strip_prefix(b"\r\n").expect("a chunk ends");
    }
}

impl Way {
    /// A bare message to a unary method.
    pub(crate) fn unary(self, path: &str, message: &[u8]) -> Sent {
        let body = self.coded(self.written(path, message));
        let sent = Sent::new("POST", path)
            .with("content-type", &format!("application/{}", self.codec.name()))
            .with("connect-protocol-version", "1")
            .with("accept-encoding", self.coding.name())
            .body(body);
        if self.coding == Encoding::Identity {
            sent
        } else {
            sent.with("content-encoding", self.coding.name())
        }
    }

    /// The same by GET: always base64.
    pub(crate) fn get(self, path: &str, message: &[u8]) -> Sent {
        let message =
            base64::engine::general_purpose::URL_SAFE.encode(self.coded(self.written(path, message)));
        let query = format!(
            "?connect=v1&base64=1&compression={}&encoding={}&message={}",
            self.coding.name(),
            self.codec.name(),
            message.replace('=', "%3D"),
        );
        Sent::new("GET", &(path.to_owned() + &query)).with("accept-encoding", self.coding.name())
    }

    /// Envelopes to a streaming method.
    pub(crate) fn stream(self, path: &str, messages: &[Bytes]) -> Sent {
        let flag = u8::from(self.coding != Encoding::Identity);
        let envelopes = messages.iter().map(|message| frame(flag, &self.coded(self.written(path, message))));
        let envelopes: Vec<Bytes> = envelopes.collect();
        Sent::new("POST", path)
            .with("content-type", &format!("application/connect+{}", self.codec.name()))
            .with("connect-protocol-version", "1")
            .with("connect-content-encoding", self.coding.name())
            .with("connect-accept-encoding", self.coding.name())
            .body(envelopes.concat())
    }

    /// The reply of a unary call that succeeded, as protobuf.
    pub(crate) fn reply(self, path: &str, answer: &Answer) -> Bytes {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.field("content-type"), Some(&*format!("application/{}", self.codec.name())));
        let coding = answer.field("content-encoding").map_or(Encoding::Identity, |name| {
            Encoding::from_name(name.as_bytes()).expect("a compression that is known")
        });
        assert!([Encoding::Identity, self.coding].contains(&coding), "{coding:?} was not accepted");
        self.read(path, &decoded(coding, &answer.body))
    }

    /// The messages of a stream as protobuf, and its last envelope.
    pub(crate) fn replies(self, path: &str, answer: &Answer) -> (Vec<Bytes>, Value) {
        let content_type = format!("application/connect+{}", self.codec.name());
        assert_eq!(answer.field("content-type"), Some(&*content_type), "{answer:?}");
        let (envelopes, end) = answer.envelopes();
        let plain = |(flag, payload): &(u8, Bytes)| {
            if *flag == 0 {
                return self.read(path, payload);
            }
            assert_eq!(answer.field("connect-content-encoding"), Some(self.coding.name()));
            self.read(path, &decoded(self.coding, payload))
        };
        (envelopes.iter().map(plain).collect(), end)
    }

    /// A request message in the codec.
    pub(crate) fn written(self, path: &str, message: &[u8]) -> Vec<u8> {
        match self.codec {
            Codec::Proto => message.to_vec(),
            Codec::Json => {
                // Of methods that aren't there nobody knows the types.
                let Some(method) = method(path) else { return b"{}".to_vec() };
                let message = DynamicMessage::decode(method.input(), message).expect("a good message");
                serde_json::to_vec(&message).expect("it can be written")
            }
        }
    }

    /// A reply message as protobuf.
    pub(crate) fn read(self, path: &str, payload: &[u8]) -> Bytes {
        match self.codec {
            Codec::Proto => Bytes::copy_from_slice(payload),
            Codec::Json => {
                let output = method(path).expect("a method that answers").output();
                let mut json = serde_json::Deserializer::from_slice(payload);
                let message = DynamicMessage::deserialize(output, &mut json).expect("a good reply");
                json.end().expect("nothing more");
                message.encode_to_vec().into()
            }
        }
    }

    /// Bytes compressed; nothing at all stays so.
    pub(crate) fn coded(self, bytes: Vec<u8>) -> Vec<u8> {
        if bytes.is_empty() {
            return bytes;
        }
        let mut coded = Vec::new();
        compress::encode(self.coding, &bytes, &mut coded).expect("there is memory");
        coded
    }

    /// Makes a call as the matrix wants it.
    pub(crate) async fn call(self, address: SocketAddr, ask: Ask) -> Told {
        let method = method(&ask.path);
        let streams =
            |method: &MethodDescriptor| method.is_client_streaming() || method.is_server_streaming();
        let is_stream = method.as_ref().is_some_and(streams);
        let mut sent = match is_stream {
            true => self.stream(&ask.path, &ask.messages),
            false => self.unary(&ask.path, ask.messages.first().map_or(&[], |message| &**message)),
        };
        for (name, value) in &ask.metadata {
            sent = sent.with(name.as_str(), value.to_str().expect("ASCII"));
        }
        if let Some(timeout) = ask.timeout {
            sent = sent.with("connect-timeout-ms", &timeout.as_millis().to_string());
        }
        sent.cut = ask.cut;
        let answer = tokio::time::timeout(PATIENCE, sent.send(self.http, address)).await.expect("an answer");
        if is_stream { self.told_stream(&ask.path, answer) } else { self.told_unary(&ask.path, answer) }
    }

    fn told_stream(self, path: &str, answer: Answer) -> Told {
        let (messages, end) = self.replies(path, &answer);
        let mut trailing = HeaderMap::new();
        for (name, values) in end["metadata"].as_object().into_iter().flatten() {
            for value in values.as_array().expect("values are a list") {
                let value = HeaderValue::from_str(value.as_str().expect("text")).expect("a good value");
                trailing.append(HeaderName::from_bytes(name.as_bytes()).expect("a good name"), value);
            }
        }
        let status = status_of(end.get("error"), &trailing);
        Told { leading: answer.headers, messages, trailing, status }
    }

    fn told_unary(self, path: &str, answer: Answer) -> Told {
        let (mut leading, mut trailing) = (HeaderMap::new(), HeaderMap::new());
        for (name, value) in &answer.headers {
            match name.as_str().strip_prefix("trailer-") {
                Some(bare) => {
                    trailing.append(bare.parse::<HeaderName>().expect("a good name"), value.clone())
                }
                None => leading.append(name.clone(), value.clone()),
            };
        }
        if answer.status != 200 {
            let status = status_of(Some(&answer.json()), &trailing);
            return Told { leading, messages: Vec::new(), trailing, status };
        }
        let messages = vec![self.reply(path, &answer)];
        Told { leading, messages, trailing, status: Status::ok("") }
    }
}

/// A status in gRPC's terms.
fn status_of(error: Option<&Value>, metadata: &HeaderMap) -> Status {
    let Some(error) = error else { return Status::ok("") };
    let name = error["code"].as_str().expect("a code");
    let code = transom::call::connect::from_name(name).expect("a code of Connect");
    let message = error["message"].as_str().unwrap_or_default();
    let detail = |detail: &Value| prost_types::Any {
        type_url: format!("type.googleapis.com/{}", detail["type"].as_str().expect("a type")),
        value: STANDARD_NO_PAD.decode(detail["value"].as_str().expect("a value")).expect("base64 unpadded"),
    };
    let details = error["details"].as_array().into_iter().flatten().map(detail).collect();
    let all = tonic_types::pb::Status { code: code.number(), message: message.into(), details };
    let metadata = MetadataMap::from_headers(metadata.clone());
    Status::with_details_and_metadata(
        Code::from(code.number()),
        message,
        all.encode_to_vec().into(),
        metadata,
    )
}

/// Bytes as they were before they were compressed.
pub(crate) fn decoded(coding: Encoding, bytes: &[u8]) -> Vec<u8> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let (mut plain, limits) = (Vec::new(), Limits { bytes_max: 64 << 20, ratio_max: u32::MAX });
    compress::decode(&[coding], bytes, limits, &mut plain).expect("what is compressed can be read");
    plain
}

/// The declaration of a method of the demo.
pub(crate) fn method(path: &str) -> Option<MethodDescriptor> {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(transom::demo::FILE_DESCRIPTOR_SET).expect("the demo's descriptors are good")
    });
    let (service, name) = path.strip_prefix('/')?.split_once('/')?;
    POOL.get_service_by_name(service)?.methods().find(|method| method.name() == name)
}

//! gRPC-Web as a dialect of the matrix, binary and text, and gRPC whose messages are JSON: raw clients that cut
//! and pad what they send at odd places, and tonic's own.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::body::Body;
use tonic_web::GrpcWebCall;
use tonic_web::GrpcWebClientLayer;
use tower::Layer;
use transom::wire::compress::Encoding;

use crate::support::RawClient;
use crate::support::RawReply;
use crate::support::connect::Codec;
use crate::support::connect::Http;
use crate::support::connect::Sent;
use crate::support::connect::Way;
use crate::support::connect::decoded;
use crate::support::dialects::Ask;
use crate::support::dialects::Calling;
use crate::support::dialects::Compression;
use crate::support::dialects::Told;
use crate::support::dialects::call_over;
use crate::support::frame;
use crate::support::send_cut;
use crate::support::soon;

/// What frames are wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrap {
    /// Nothing: this is gRPC, whose trailers are HTTP's.
    Native,
    /// Nothing, and the trailers are a frame.
    Binary,
    /// Base64.
    Text,
}

/// One way to speak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) http: Http,
    pub(crate) wrap: Wrap,
    pub(crate) codec: Codec,
}

const BINARY: Form = Form { http: Http::One, wrap: Wrap::Binary, codec: Codec::Proto };
const TEXT: Form = Form { wrap: Wrap::Text, ..BINARY };

/// gRPC itself, from a client whose DATA frames can be chosen.
pub(crate) fn grpc(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    call(Form { http: Http::Two, wrap: Wrap::Native, codec: Codec::Proto }, address, compression, ask)
}

pub(crate) fn grpc_json(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    call(Form { http: Http::Two, wrap: Wrap::Native, codec: Codec::Json }, address, compression, ask)
}

pub(crate) fn binary(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    call(BINARY, address, compression, ask)
}

pub(crate) fn binary_h2(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    call(Form { http: Http::Two, ..BINARY }, address, compression, ask)
}

pub(crate) fn text(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    call(TEXT, address, compression, ask)
}

pub(crate) fn text_h2(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    call(Form { http: Http::Two, ..TEXT }, address, compression, ask)
}

pub(crate) fn json(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    call(Form { codec: Codec::Json, ..BINARY }, address, compression, ask)
}

pub(crate) fn text_json(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    call(Form { http: Http::Two, codec: Codec::Json, ..TEXT }, address, compression, ask)
}

/// tonic's client of gRPC-Web, over hyper's of HTTP/1.1.
pub(crate) fn tonic_web(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    Box::pin(async move {
        let socket = TcpStream::connect(address).await.expect("connections are taken");
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(socket));
        let (mut sender, connection) = handshake.await.expect("HTTP/1.1 needs no handshake");
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let web = GrpcWebClientLayer::new().layer(tower::service_fn(
            move |mut request: http::Request<GrpcWebCall<Body>>| {
                request.headers_mut().insert("host", HeaderValue::from_static("library.test"));
                sender.send_request(request)
            },
        ));
        call_over(web, compression, ask).await
    })
}

fn call(form: Form, address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    Box::pin(form.call(address, compression, ask))
}

impl Form {
    pub(crate) fn content_type(self) -> String {
        let family = match self.wrap {
            Wrap::Native => "application/grpc",
            Wrap::Binary => "application/grpc-web",
            Wrap::Text => "application/grpc-web-text",
        };
        match (self.wrap, self.codec) {
            (Wrap::Native, Codec::Proto) => family.into(),
            (_, codec) => format!("{family}+{}", codec.name()),
        }
    }

    /// A request whose body is these frames.
    pub(crate) fn sent(self, path: &str, frames: &[u8]) -> Sent {
        let body = match self.wrap {
            Wrap::Native | Wrap::Binary => frames.to_vec(),
            Wrap::Text => padded(frames).into_bytes(),
        };
        let sent = Sent::new("POST", path).with("content-type", &self.content_type()).body(body);
        match self.wrap {
            Wrap::Native => sent.with("te", "trailers"),
            Wrap::Binary | Wrap::Text => sent.with("accept", &self.content_type()).with("x-grpc-web", "1"),
        }
    }

    async fn call(self, address: SocketAddr, compression: Compression, ask: Ask) -> Told {
        let way = Way { http: self.http, codec: self.codec, coding: compression.encoding() };
        let is_coded = compression == Compression::Gzip;
        let frames = ask.messages.iter().map(|message| {
            let payload = way.coded(way.written(&ask.path, message));
            frame(u8::from(is_coded && !payload.is_empty()), &payload)
        });
        let frames: Vec<Bytes> = frames.collect();
        let mut sent = self.sent(&ask.path, &frames.concat());
        if is_coded {
            sent = sent.with("grpc-encoding", "gzip").with("grpc-accept-encoding", "gzip");
        }
        for (name, value) in &ask.metadata {
            sent = sent.with(name.as_str(), value.to_str().expect("ASCII"));
        }
        if let Some(timeout) = ask.timeout {
            sent = sent.with("grpc-timeout", &format!("{}m", timeout.as_millis()));
        }
        // Inside quanta as a rule, but not in more pieces than a test has time for.
        let odd = if self.wrap == Wrap::Text { sent.body.len() / 1000 * 4 + 7 } else { 0 };
        sent.cut = if ask.cut == 0 { odd } else { ask.cut };
        self.send(&sent, address).await.told(way, &ask.path)
    }

    /// Sends a request, and reads the answer as it is in this form.
    pub(crate) async fn send(self, sent: &Sent, address: SocketAddr) -> Answered {
        if self.wrap == Wrap::Native {
            let client = RawClient::connect(address).await;
            let (response, mut sending) = client.open(sent.head(address)).await;
            send_cut(&mut sending, sent.body.clone(), sent.cut);
            let reply = soon("the answer", RawReply::read(response)).await.expect("the stream ends in order");
            assert_eq!(reply.status, 200, "{reply:?}");
            return Answered::native(self, reply);
        }
        let answer = soon("the answer", sent.send(self.http, address)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Answered::web(self, answer.headers, &answer.body)
    }
}

/// A whole answer: frames, and where the status is.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) headers: HeaderMap,
    pub(crate) frames: Vec<(u8, Bytes)>,
    /// None where the status stands in the headers.
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answered {
    fn native(form: Form, reply: RawReply) -> Self {
        check_type(form, &reply.headers);
        let answered = Self { headers: reply.headers, frames: frames(reply.body), trailers: reply.trailers };
        answered.checked()
    }

    fn web(form: Form, headers: HeaderMap, body: &Bytes) -> Self {
        check_type(form, &headers);
        let body = match form.wrap {
            Wrap::Text => unpadded(body),
            Wrap::Native | Wrap::Binary => body.clone(),
        };
        let mut frames = frames(body);
        //= https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md#protocol-differences-vs-grpc-over-http2
        //# Trailers must be the last message of the response.
        let trailers = frames.pop_if(|(flag, _)| *flag == 0x80).map(|(_, block)| lines(&block));
        Self { headers, frames, trailers }.checked()
    }

    /// The status stands in one place, and nothing follows one in the headers.
    fn checked(self) -> Self {
        assert!(self.frames.iter().all(|(flag, _)| *flag < 2), "messages alone: {self:?}");
        let places = [Some(&self.headers), self.trailers.as_ref()];
        let statuses: Vec<_> = places.map(|map| map.map_or(0, count_statuses)).into();
        match self.trailers {
            Some(_) => assert_eq!(statuses, [0, 1], "{self:?}"),
            None => assert!(statuses == [1, 0] && self.frames.is_empty(), "{self:?}"),
        }
        self
    }

    /// The status, with its message and details.
    pub(crate) fn status(&self) -> Status {
        let fields = self.trailers.as_ref().unwrap_or(&self.headers);
        Status::from_header_map(fields).expect("there is a status")
    }

    fn told(self, way: Way, path: &str) -> Told {
        let status = self.status();
        let Some(trailing) = self.trailers else {
            return Told { leading: HeaderMap::new(), messages: Vec::new(), trailing: self.headers, status };
        };
        let plain = |(flag, payload): &(u8, Bytes)| {
            if *flag == 0 {
                return way.read(path, payload);
            }
            let coding = self.headers.get("grpc-encoding").map(HeaderValue::as_bytes);
            assert_eq!(coding, Some(&b"gzip"[..]), "what is compressed says so");
            way.read(path, &decoded(Encoding::Gzip, payload))
        };
        let messages = self.frames.iter().map(plain).collect();
        Told { leading: self.headers, messages, trailing, status }
    }
}

fn check_type(form: Form, headers: &HeaderMap) {
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok());
    assert_eq!(content_type, Some(&*form.content_type()), "{headers:?}");
}

fn count_statuses(fields: &HeaderMap) -> usize {
    fields.get_all("grpc-status").iter().count()
}

/// Whole frames.
fn frames(mut rest: Bytes) -> Vec<(u8, Bytes)> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        assert!(rest.len() >= 5, "a frame is whole");
        let head = rest.split_to(5);
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        all.push((head[0], rest.split_to(usize::try_from(len).expect("a short payload"))));
    }
    all
}

/// The fields of a frame of trailers.
fn lines(block: &[u8]) -> HeaderMap {
    let text = std::str::from_utf8(block).expect("trailers are text");
    assert!(text.is_empty() || text.ends_with("\r\n"), "each line ends: {text:?}");
    let mut fields = HeaderMap::new();
    for line in text.split_terminator("\r\n") {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}"));
        //= https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md#protocol-differences-vs-grpc-over-http2
        //# Use lower-case header/trailer names
        assert_eq!(name, name.to_ascii_lowercase());
        let name: HeaderName = name.parse().expect("a good name");
        fields.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a good value"));
    }
    fields
}

/// Base64 in pieces of odd sizes, each of them padded.
pub(crate) fn padded(bytes: &[u8]) -> String {
    let (mut text, mut rest) = (String::new(), bytes);
    for size in [1, 2, 4, 5, 3, 7, 64, 1000].into_iter().cycle() {
        let (piece, after) = rest.split_at(rest.len().min(size));
        STANDARD.encode_string(piece, &mut text);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    text
}

/// The bytes of such pieces.
pub(crate) fn unpadded(mut text: &[u8]) -> Bytes {
    assert_eq!(text.len() % 4, 0, "whole quanta");
    let mut bytes = Vec::new();
    while !text.is_empty() {
        let end = text.iter().position(|byte| *byte == b'=').map_or(text.len(), |at| at / 4 * 4 + 4);
        let (piece, after) = text.split_at(end);
        STANDARD.decode_vec(piece, &mut bytes).expect("base64");
        text = after;
    }
    bytes.into()
}

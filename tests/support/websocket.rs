//! A WebSocket client frame by frame, over HTTP/1.1 (RFC 6455) and HTTP/2 (RFC 8441).

#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::SocketAddr;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use h2::ext::Protocol;
use http::HeaderMap;
use http::Method;
use http::Request;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::eventually;
use crate::support::soon;

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;
const MASK: [u8; 4] = [0x12, 0xff, 0x00, 0x9b];
/// The example of RFC 6455.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A client's frame; `first` is its first byte.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ ..=125), _) => out.push(0x80 | len),
        (_, Ok(len)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

pub(crate) fn text(json: &str) -> Vec<u8> {
    frame(TEXT, json.as_bytes())
}

/// The client sends no more messages.
pub(crate) fn half_close() -> Vec<u8> {
    frame(TEXT, b"")
}

pub(crate) fn close(code: u16) -> Vec<u8> {
    frame(CLOSE, &code.to_be_bytes())
}

/// The carriers that everything runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
}

pub(crate) const BOTH: [Http; 2] = [Http::One, Http::Two];

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    Text(String),
    Binary(Bytes),
    Pong(Bytes),
    Ping,
    /// The code, if any, and the reason.
    Close(Option<u16>, String),
    /// The carrier ended in order.
    End,
    /// It broke.
    Broken(String),
}

/// What a handshake was answered with.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

enum Carrier {
    One(TcpStream),
    Two { send: h2::SendStream<Bytes>, receive: h2::RecvStream, _driver: JoinSet<Result<(), h2::Error>> },
}

/// An open WebSocket.
pub(crate) struct Ws {
    carrier: Carrier,
    read: BytesMut,
    pub(crate) headers: HeaderMap,
}

/// The head of a handshake over HTTP/1.1.
pub(crate) fn upgrade(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> String {
    let more: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

impl Ws {
    /// Opens one that must open.
    pub(crate) async fn open(http: Http, address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Self {
        match Self::ask(http, address, path, fields).await {
            Ok(ws) => ws,
            Err(refused) => panic!("{http:?} {path}: {refused:?}"),
        }
    }

    /// Asks for one.
    pub(crate) async fn ask(
        http: Http,
        address: SocketAddr,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Self, Refused> {
        match http {
            Http::One => Self::ask_raw(address, upgrade(address, path, fields).as_bytes()).await,
            Http::Two => Self::connect(address, path, "websocket", fields).await,
        }
    }

    /// Sends these bytes, which begin with a head, over HTTP/1.1.
    pub(crate) async fn ask_raw(address: SocketAddr, bytes: &[u8]) -> Result<Self, Refused> {
        let mut socket = TcpStream::connect(address).await.expect("connections are taken");
        socket.set_nodelay(true).expect("the option is known");
        socket.write_all(bytes).await.expect("the gateway reads");
        let mut read = BytesMut::new();
        let end = loop {
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            let n = soon("a head", socket.read_buf(&mut read)).await.expect("a head comes");
            assert_ne!(n, 0, "no head: {}", read.escape_ascii());
        };
        let head = String::from_utf8(read.split_to(end).to_vec()).expect("a head is text");
        let mut lines = head.lines();
        let status = lines.next().expect("a status line")[9..12].parse().expect("a status");
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let name: http::HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        if status == 101 {
            return Ok(Self { carrier: Carrier::One(socket), read, headers });
        }
        let mut body = read.to_vec();
        soon("the body", socket.read_to_end(&mut body)).await.expect("a body comes");
        Err(Refused { status, headers, body: String::from_utf8_lossy(&body).into() })
    }

    /// Asks for any protocol over HTTP/2.
    pub(crate) async fn connect(
        address: SocketAddr,
        path: &str,
        protocol: &'static str,
        fields: &[(&str, &str)],
    ) -> Result<Self, Refused> {
        let socket = TcpStream::connect(address).await.expect("connections are taken");
        socket.set_nodelay(true).expect("the option is known");
        let (h2, connection) = h2::client::handshake(socket).await.expect("HTTP/2 is spoken");
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let mut h2 = h2.ready().await.expect("there is room");
        let enabled = || h2.is_extended_connect_protocol_enabled();
        assert!(eventually(enabled).await, "the gateway doesn't take extended CONNECT");
        let mut request = Request::builder().method(Method::CONNECT).uri(format!("http://{address}{path}"));
        request = request.header("sec-websocket-version", "13");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).expect("the parts are good");
        request.extensions_mut().insert(Protocol::from_static(protocol));
        let (response, send) = h2.send_request(request, false).expect("a stream opens");
        let (head, mut receive) = soon("a head", response).await.expect("a head comes").into_parts();
        if head.status != 200 {
            let mut body = Vec::new();
            while let Some(chunk) = soon("the body", receive.data()).await {
                body.extend_from_slice(&chunk.expect("a body comes"));
            }
            let body = String::from_utf8_lossy(&body).into();
            return Err(Refused { status: head.status.as_u16(), headers: head.headers, body });
        }
        let carrier = Carrier::Two { send, receive, _driver: driver };
        Ok(Self { carrier, read: BytesMut::new(), headers: head.headers })
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        match &mut self.carrier {
            Carrier::One(socket) => socket.write_all(bytes).await.expect("the gateway reads"),
            Carrier::Two { send, .. } => {
                send.send_data(Bytes::copy_from_slice(bytes), false).expect("the stream is open");
            }
        }
    }

    /// Answers the gateway's close; the carrier must end then.
    pub(crate) async fn answer_close(&mut self) {
        let bytes = close(1000);
        match &mut self.carrier {
            // A gateway that saw a fault doesn't wait for the answer.
            Carrier::One(socket) => drop(socket.write_all(&bytes).await),
            Carrier::Two { send, .. } => drop(send.send_data(bytes.into(), false)),
        }
        assert_eq!(self.next().await, Got::End, "after the close");
    }

    /// The close of a call that ended with OK, and its answer.
    pub(crate) async fn end(&mut self) {
        assert_eq!(self.next().await, Got::Close(Some(1000), String::new()));
        self.answer_close().await;
    }

    /// Ends the carrier without a close.
    pub(crate) async fn finish(&mut self) {
        match &mut self.carrier {
            Carrier::One(socket) => socket.shutdown().await.expect("it is open"),
            Carrier::Two { send, .. } => send.send_data(Bytes::new(), true).expect("the stream is open"),
        }
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Got {
        loop {
            if let Some(got) = self.parse() {
                return got;
            }
            let more = match &mut self.carrier {
                Carrier::One(socket) => match soon("a frame", socket.read_buf(&mut self.read)).await {
                    Ok(0) => None,
                    Ok(_) => Some(Ok(())),
                    Err(error) => Some(Err(error.to_string())),
                },
                Carrier::Two { receive, .. } => match soon("a frame", receive.data()).await {
                    None => None,
                    Some(Ok(chunk)) => {
                        self.read.extend_from_slice(&chunk);
                        drop(receive.flow_control().release_capacity(chunk.len()));
                        Some(Ok(()))
                    }
                    Some(Err(error)) => Some(Err(error.to_string())),
                },
            };
            match more {
                None if self.read.is_empty() => return Got::End,
                None => return Got::Broken(format!("inside a frame: {}", self.read.escape_ascii())),
                Some(Ok(())) => {}
                Some(Err(error)) => return Got::Broken(error),
            }
        }
    }

    /// The next text.
    pub(crate) async fn text(&mut self) -> String {
        match self.next().await {
            Got::Text(text) => text,
            other => panic!("no text: {other:?}"),
        }
    }

    /// The JSON of the next text.
    pub(crate) async fn json(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.text().await).expect("texts are JSON")
    }

    /// The error that comes before the close, the close's code, and its reason; the carrier must end after it.
    pub(crate) async fn failure(&mut self) -> (serde_json::Value, u16, String) {
        let mut json = self.json().await;
        let Got::Close(Some(code), reason) = self.next().await else { panic!("no close after {json}") };
        self.answer_close().await;
        (json["error"].take(), code, reason)
    }

    fn parse(&mut self) -> Option<Got> {
        let [first, second, rest @ ..] = &self.read[..] else { return None };
        let (first, short) = (*first, usize::from(*second));
        assert!(short < 128, "servers don't mask");
        let (len, head) = match short {
            126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
            127 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).expect("it fits"), 10),
            len => (len, 2),
        };
        if self.read.len() < head + len {
            return None;
        }
        self.read.advance(head);
        let payload = self.read.split_to(len).freeze();
        let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text is UTF-8");
        Some(match first {
            TEXT => Got::Text(utf8(&payload)),
            BINARY => Got::Binary(payload),
            PING => Got::Ping,
            PONG => Got::Pong(payload),
            CLOSE => match payload.split_first_chunk() {
                Some((code, reason)) => Got::Close(Some(u16::from_be_bytes(*code)), utf8(reason)),
                None => Got::Close(None, String::new()),
            },
            other => panic!("a frame of kind {other:#x}"),
        })
    }
}

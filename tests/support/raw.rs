//! Raw clients, for what no gRPC library sends; raw upstreams are beside them.

#![allow(dead_code, reason = "each test file uses its own part")]

#[path = "upstream.rs"]
pub(crate) mod upstream;

use std::net::SocketAddr;

use base64::Engine as _;
use bytes::Bytes;
use bytes::BytesMut;
use h2::client::ResponseFuture;
use h2::client::SendRequest;
use http::HeaderMap;
use http::Request;
use prost::Message as _;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::Gateway;
use crate::support::eventually;
use crate::support::frame;
use crate::support::soon;

pub(crate) const UNARY: &str = "/transom.demo.v1.Library/GetBook";
pub(crate) const SERVER_STREAM: &str = "/transom.demo.v1.Library/ReadBook";
pub(crate) const BIDI: &str = "/transom.demo.v1.Library/Discuss";

/// Waits until a state holds that no event tells of.
pub(crate) async fn until(what: &str, holds: impl FnMut() -> bool) {
    assert!(eventually(holds).await, "in vain: {what}");
}

/// The sum of a metric, in whole numbers.
pub(crate) fn count(gateway: &Gateway, name: &str, labels: &[(&str, &str)]) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "tests count to thousands")]
    let sum = gateway.metric(name, labels) as i64;
    sum
}

/// A raw client.
pub(crate) struct Client {
    h2: SendRequest<Bytes>,
    driver: JoinSet<Result<(), h2::Error>>,
}

/// What a client asks for.
#[derive(Clone)]
pub(crate) struct Ask {
    path: &'static str,
    host: &'static str,
    headers: Vec<(&'static str, String)>,
    chunks: Vec<Bytes>,
    end: bool,
}

/// A call of `path` with one message, which then ends.
pub(crate) fn ask(path: &'static str) -> Ask {
    Ask { path, host: "library.test", headers: Vec::new(), chunks: vec![frame(0, b"\x0a\x01x")], end: true }
}

impl Ask {
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// This `:authority` instead.
    pub(crate) fn host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    /// These DATA frames instead.
    pub(crate) fn chunks(mut self, chunks: &[&[u8]]) -> Self {
        self.chunks = chunks.iter().map(|chunk| Bytes::copy_from_slice(chunk)).collect();
        self
    }

    /// The client doesn't end its half.
    pub(crate) fn open(mut self) -> Self {
        self.end = false;
        self
    }
}

/// A call under way.
pub(crate) struct Calling {
    pub(crate) sending: h2::SendStream<Bytes>,
    response: ResponseFuture,
}

/// All that a client saw of a call.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) http: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) data: Bytes,
    pub(crate) code: Option<i32>,
    pub(crate) told: String,
    /// `ErrorInfo.reason`.
    pub(crate) reason: String,
    /// Whether there is a RetryInfo.
    pub(crate) retry_info: bool,
    /// Whether the status came in the one HEADERS frame.
    pub(crate) at_once: bool,
    /// What broke the stream.
    pub(crate) error: Option<h2::Error>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("connections are taken")).await
    }

    /// Speaks HTTP/2 over a stream that is there already.
    pub(crate) async fn over<T>(io: T) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::over_with(io, &h2::client::Builder::new()).await
    }

    /// The same with the settings of a builder.
    pub(crate) async fn over_with<T>(io: T, builder: &h2::client::Builder) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (h2, connection) = builder.handshake(io).await.expect("HTTP/2 is spoken");
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Self { h2, driver }
    }

    /// Waits until the connection is over, while the client would still use it.
    pub(crate) async fn gone(mut self) -> Result<(), h2::Error> {
        let ended = self.driver.join_next().await.expect("there is one task");
        ended.expect("it doesn't panic")
    }

    /// Begins a call.
    pub(crate) async fn begin(&self, ask: &Ask) -> Result<Calling, h2::Error> {
        let mut request = Request::post(format!("http://{}{}", ask.host, ask.path))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        let mut h2 = self.h2.clone().ready().await?;
        let end = ask.end && ask.chunks.is_empty();
        let (response, mut sending) = h2.send_request(request.body(()).expect("the parts are good"), end)?;
        for (at, chunk) in ask.chunks.iter().enumerate() {
            let last = ask.end && at + 1 == ask.chunks.len();
            // A gateway that refused already takes no more.
            let _ = sending.send_data(chunk.clone(), last);
        }
        Ok(Calling { sending, response })
    }

    /// Makes a call, and waits for its end.
    pub(crate) async fn call(&self, ask: &Ask) -> Outcome {
        match soon("a stream", self.begin(ask)).await {
            Ok(calling) => calling.end().await,
            Err(error) => Outcome { error: Some(error), ..Outcome::default() },
        }
    }
}

impl Calling {
    /// Waits for the head and the first bytes of the reply.
    pub(crate) async fn first(&mut self) -> (h2::RecvStream, Bytes) {
        let mut body = soon("a head", &mut self.response).await.expect("a head comes").into_body();
        let data = soon("a message", body.data()).await.expect("data comes").expect("the stream is good");
        (body, data)
    }

    /// Waits for the end.
    pub(crate) async fn end(self) -> Outcome {
        let Self { sending, response } = self;
        let outcome = soon("the end of a call", collect(response)).await;
        drop(sending);
        outcome
    }
}

async fn collect(response: ResponseFuture) -> Outcome {
    let mut outcome = Outcome::default();
    let mut body = match response.await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            (outcome.http, outcome.headers) = (head.status.as_u16(), head.headers);
            body
        }
        Err(error) => return Outcome { error: Some(error), ..outcome },
    };
    if outcome.headers.contains_key("grpc-status") {
        outcome.at_once = true;
        let headers = outcome.headers.clone();
        outcome.status(&headers);
    }
    rest(&mut body, &mut outcome).await;
    outcome
}

/// Reads a reply to its end.
pub(crate) async fn rest(body: &mut h2::RecvStream, outcome: &mut Outcome) {
    let mut data = BytesMut::new();
    while let Some(chunk) = body.data().await {
        match chunk {
            Ok(chunk) => {
                let _ = body.flow_control().release_capacity(chunk.len());
                data.extend_from_slice(&chunk);
            }
            Err(error) => {
                outcome.error = Some(error);
                break;
            }
        }
    }
    outcome.data = data.freeze();
    if outcome.error.is_none() {
        match body.trailers().await {
            Ok(Some(trailers)) => outcome.status(&trailers),
            Ok(None) => {}
            Err(error) => outcome.error = Some(error),
        }
    }
}

impl Outcome {
    fn status(&mut self, headers: &HeaderMap) {
        let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        self.code = text("grpc-status").and_then(|code| code.parse().ok());
        self.told = text("grpc-message").unwrap_or_default().into();
        let Some(details) = text("grpc-status-details-bin") else { return };
        let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(details.trim_end_matches('='));
        let bytes = bytes.expect("the details are base64");
        let status = tonic_types::pb::Status::decode(&*bytes).expect("the details are a Status");
        assert_eq!(Some(status.code), self.code, "the details say the same code");
        for detail in &status.details {
            if detail.type_url.ends_with("google.rpc.ErrorInfo") {
                let info = tonic_types::pb::ErrorInfo::decode(&*detail.value).expect("an ErrorInfo");
                assert_eq!(info.domain, "transom");
                self.reason = info.reason;
            }
            self.retry_info |= detail.type_url.ends_with("google.rpc.RetryInfo");
        }
    }
}

/// Sends bytes to an HTTP/1.1 server, and reads until it closes.
pub(crate) async fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.expect("connections are taken");
    socket.write_all(bytes).await.expect("bytes are taken");
    let mut text = Vec::new();
    // A server that closes with bytes unread may reset the connection after its answer.
    let _ = soon("the end of a connection", socket.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// What GET of a path gives: the status and the body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let text =
        talk(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
            .await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status line"), body.into())
}

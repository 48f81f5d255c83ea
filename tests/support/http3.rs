//! HTTP/3 for the tests: a client, and a relay for clients that speak HTTP/2 in the clear.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::Request;
use http::Response;
use http::Uri;
use http::uri::Scheme;
use http_body::Body;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use quinn::crypto::rustls::QuicClientConfig;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::support::soon;
use crate::tls::Authority;
use crate::tls::Client as Tls;
use crate::tls::first_bytes;

type Sending = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;
type Sends = h3::client::RequestStream<h3_quinn::SendStream<Bytes>, Bytes>;
pub(crate) type Stream = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// One connection. Its tasks end with it.
pub(crate) struct Client {
    /// The socket, for those that move.
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) connection: quinn::Connection,
    /// Opens streams.
    pub(crate) sending: Sending,
    /// Ready when the connection is over, with what ended it.
    pub(crate) tasks: JoinSet<h3::error::ConnectionError>,
    address: SocketAddr,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Response<()>,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A QUIC connection that speaks no HTTP yet, and its endpoint.
pub(crate) type Dialed = (quinn::Endpoint, quinn::Connection);

/// Shakes hands with the server of that name.
pub(crate) async fn dial(
    address: SocketAddr,
    name: &str,
    tls: Tls<'_>,
) -> Result<Dialed, quinn::ConnectionError> {
    let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let connecting = endpoint.connect_with(config(tls), address, name).expect("the name is good");
    Ok((endpoint, soon("a connection", connecting).await?))
}

/// How such a client connects.
pub(crate) fn config(tls: Tls<'_>) -> quinn::ClientConfig {
    config_of(Arc::unwrap_or_clone(
        Tls { alpn: &["h3"], versions: &[&rustls::version::TLS13], ..tls }.config(),
    ))
}

pub(crate) fn config_of(tls: rustls::ClientConfig) -> quinn::ClientConfig {
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("QUIC has a suite")))
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, name: &str, trusts: &Authority) -> Self {
        let dialed = dial(address, name, Tls::of(trusts)).await.expect("hands are shaken");
        Self::over(dialed, address).await
    }

    pub(crate) async fn over((endpoint, connection): Dialed, address: SocketAddr) -> Self {
        let quic = h3_quinn::Connection::new(connection.clone());
        let (mut driver, sending) = h3::client::new(quic).await.expect("HTTP/3 is spoken");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        Self { endpoint, connection, sending, tasks, address }
    }

    /// Opens a stream with this head; its path is enough.
    pub(crate) async fn open(&mut self, head: Request<()>) -> Stream {
        let head = self.full(head);
        self.sending.send_request(head).await.expect("a stream opens")
    }

    /// The head with all that HTTP/3 asks for.
    pub(crate) fn full(&self, head: Request<()>) -> Request<()> {
        let (mut parts, ()) = head.into_parts();
        let mut uri = parts.uri.into_parts();
        uri.scheme = Some(Scheme::HTTPS);
        if uri.authority.is_none() {
            uri.authority = Some(self.address.to_string().parse().expect("an authority"));
        }
        parts.uri = uri.try_into().expect("a URI");
        parts.version = http::Version::HTTP_3;
        Request::from_parts(parts, ())
    }

    /// Sends a whole request, and reads the whole answer.
    pub(crate) async fn ask(&mut self, head: Request<()>, body: Bytes) -> Answer {
        let mut stream = self.open(head).await;
        if !body.is_empty() {
            // What refuses a body before its end may stop it.
            let _ = stream.send_data(body).await;
        }
        let _ = stream.finish().await;
        soon("an answer", answer(&mut stream)).await
    }
}

/// Reads the whole answer of a stream.
pub(crate) async fn answer(stream: &mut Stream) -> Answer {
    let head = stream.recv_response().await.expect("a head comes");
    let (body, trailers) = rest(stream).await;
    Answer { head, body, trailers }
}

/// Reads what follows a head.
pub(crate) async fn rest(stream: &mut Stream) -> (Bytes, Option<HeaderMap>) {
    let mut body = BytesMut::new();
    while let Some(mut data) = stream.recv_data().await.expect("a body comes") {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    (body.freeze(), stream.recv_trailers().await.expect("the stream ends in order"))
}

/// Takes HTTP/1.1 and HTTP/2 in the clear, and goes on with HTTP/3: a connection for each. It ends when dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub(crate) async fn start(to: SocketAddr, name: &'static str, trusts: &Arc<Authority>) -> Self {
        let trusts = trusts.clone();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut relayed = JoinSet::new();
            while let Ok((plain, _)) = listener.accept().await {
                let trusts = trusts.clone();
                relayed.spawn(async move {
                    let first = first_bytes(&plain).await;
                    let client = Client::connect(to, name, &trusts).await;
                    if first == *b"PRI" {
                        relay_h2(plain, client).await
                    } else {
                        relay_h1(plain, client).await
                    }
                });
            }
        });
        Self { address, _tasks: tasks }
    }
}

async fn relay_h1(plain: TcpStream, client: Client) {
    let client = Arc::new(Mutex::new(client));
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let client = client.clone();
        async move {
            let (mut head, body) = request.into_parts();
            for name in ["connection", "host", "transfer-encoding", "keep-alive"] {
                if let (Some(value), "host") = (head.headers.remove(name), name) {
                    let host = value.to_str().expect("a host").to_owned();
                    let path = head.uri.path_and_query().expect("a path").clone();
                    let uri = Uri::builder().scheme("https").authority(host).path_and_query(path);
                    head.uri = uri.build().expect("a URI");
                }
            }
            let stream = client.lock().await.open(Request::from_parts(head, ())).await;
            let (send, mut receive) = stream.split();
            let mut up = JoinSet::new();
            up.spawn(upload(send, body));
            let response = receive.recv_response().await?;
            let frames = futures_util::stream::unfold((receive, up), |(mut receive, up)| async {
                let data = receive.recv_data().await.transpose()?;
                let frame = data.map(|mut data| Frame::data(data.copy_to_bytes(data.remaining())));
                Some((frame, (receive, up)))
            });
            let (mut head, ()) = response.into_parts();
            head.version = http::Version::HTTP_11;
            Ok::<_, h3::error::StreamError>(Response::from_parts(head, StreamBody::new(Box::pin(frames))))
        }
    });
    // Either side may break off.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(plain), service).await;
}

async fn upload<B: Body<Data = Bytes> + Unpin>(mut send: Sends, mut body: B) {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return send.stop_stream(h3::error::Code::H3_REQUEST_CANCELLED) };
        let Ok(data) = frame.into_data() else { continue };
        if send.send_data(data).await.is_err() {
            return;
        }
    }
    // Who answered early may have stopped it.
    let _ = send.finish().await;
}

async fn relay_h2(plain: TcpStream, mut client: Client) {
    let mut builder = h2::server::Builder::new();
    // Clients of tests are trusted to send bodies byte by byte.
    builder.max_header_list_size(1 << 20).data_frame_budget(1 << 20);
    let Ok(mut h2) = builder.handshake(plain).await else { return };
    let mut calls = JoinSet::new();
    while let Some(Ok((request, respond))) = h2.accept().await {
        let (head, body) = request.into_parts();
        let stream = client.open(Request::from_parts(head, ())).await;
        calls.spawn(carry(stream, body, respond));
    }
}

async fn carry(stream: Stream, mut body: h2::RecvStream, mut respond: h2::server::SendResponse<Bytes>) {
    let (mut send, mut receive) = stream.split();
    let up = async move {
        while let Some(chunk) = body.data().await {
            let Ok(chunk) = chunk else {
                send.stop_stream(h3::error::Code::H3_REQUEST_CANCELLED);
                return false;
            };
            let _ = body.flow_control().release_capacity(chunk.len());
            if send.send_data(chunk).await.is_err() {
                return true;
            }
        }
        let _ = send.finish().await;
        true
    };
    let down = async move {
        let head = receive.recv_response().await.map_err(drop)?;
        let (mut head, ()) = head.into_parts();
        head.version = http::Version::HTTP_2;
        let mut stream = respond.send_response(Response::from_parts(head, ()), false).map_err(drop)?;
        loop {
            match receive.recv_data().await {
                Ok(Some(mut data)) => {
                    let mut data = data.copy_to_bytes(data.remaining());
                    while !data.is_empty() {
                        stream.reserve_capacity(data.len());
                        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                        let room = room.ok_or(())?.map_err(drop)?;
                        stream.send_data(data.split_to(room.min(data.len())), false).map_err(drop)?;
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    stream.send_reset(h2::Reason::INTERNAL_ERROR);
                    return Err(());
                }
            }
        }
        match receive.recv_trailers().await {
            Ok(Some(trailers)) => stream.send_trailers(trailers).map_err(drop),
            Ok(None) => stream.send_data(Bytes::new(), true).map_err(drop),
            Err(_) => {
                stream.send_reset(h2::Reason::INTERNAL_ERROR);
                Err(())
            }
        }
    };
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    tokio::select! {
        went_on = &mut up => if went_on {
            // Either way the call is over.
            let _: Result<(), ()> = down.await;
        },
        _ = &mut down => {}
    }
}

//! HTTP/3: every dialect over QUIC, and what only QUIC can do.

#[path = "support/http3.rs"]
mod http3;
mod support;
#[path = "support/tls.rs"]
mod tls;

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use h3::error::Code;
use h3::error::StreamError;
use http::Request;
use prost::Message;
use rustls::pki_types::CertificateDer;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use transom::demo::pb;
use transom::server::Watch;

use crate::http3::Answer;
use crate::http3::Client;
use crate::http3::Stream;
use crate::support::BOOK;
use crate::support::Backend;
use crate::support::Gateway;
use crate::support::LIBRARY;
use crate::support::Parts;
use crate::support::RawUpstream;
use crate::support::message;
use crate::support::soon;
use crate::support::yaml;
use crate::tls::Authority;
use crate::tls::Client as Tls;
use crate::tls::Files;

/// A gateway that speaks HTTP/3, and what it takes to call it.
struct Set {
    gateway: Gateway,
    authority: Authority,
    files: Files,
    _backend: Backend,
}

impl Set {
    fn start(parts: Parts<'_>) -> Self {
        Self::start_with("", parts)
    }

    /// `more` are keys of `tls`.
    fn start_with(more: &str, parts: Parts<'_>) -> Self {
        let backend = Backend::start();
        Self::before(backend.address, backend, more, parts, Files::new())
    }

    /// A gateway before some other service.
    fn before(service: SocketAddr, backend: Backend, more: &str, parts: Parts<'_>, files: Files) -> Self {
        let authority = Authority::new("servers");
        files.put("0", &authority.leaf(&["api.test"]));
        files.put("1", &authority.leaf(&["other.test"]));
        let listener =
            if parts.listener.is_empty() { String::new() } else { format!(", {}", parts.listener) };
        let pairs = format!("{}, {}", files.pair("0"), files.pair("1"));
        let listener = format!("tls: {{ certificates: [{pairs}]{more} }}, http3: true{listener}");
        let text = yaml(&[service], Parts { listener: &listener, ..parts });
        files.write("transom.yaml", &text);
        let config = transom::config::load(&files.path("transom.yaml"), &|_| None)
            .unwrap_or_else(|report| panic!("the test's configuration is at fault:\n{report}\n{text}"));
        Self { gateway: Gateway::of(config, Vec::new(), Watch::No), authority, files, _backend: backend }
    }

    /// A book over a new connection.
    async fn serves(&self) {
        let answer = self.client().await.ask(book(), Bytes::new()).await;
        assert_eq!(answer.head.status(), 200, "{answer:?}");
    }

    async fn client(&self) -> Client {
        Client::connect(self.gateway.address(), "api.test", &self.authority).await
    }

    async fn ends(&self) {
        self.gateway.until_metric("transom_open_calls", &[], 0.0).await;
        self.gateway.until_metric("transom_panics_total", &[], 0.0).await;
    }
}

fn book() -> Request<()> {
    Request::get(format!("https://api.test/v1/{BOOK}")).body(()).expect("the parts are good")
}

fn remark(id: usize) -> Bytes {
    message(&pb::Remark { id: id.to_string(), text: "so?".into(), times: 1, fail_with: 0 })
}

/// Sends a remark, and reads what is answered.
async fn discuss(stream: &mut Stream, id: usize) -> Bytes {
    stream.send_data(remark(id)).await.expect("the call is open");
    let mut data = soon("an answer", stream.recv_data()).await.expect("no fault").expect("it goes on");
    data.copy_to_bytes(data.remaining())
}

fn grpc(method: &str) -> Request<()> {
    let head = Request::post(format!("https://api.test/{LIBRARY}/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    head.body(()).expect("the parts are good")
}

fn read_book(pages: i32) -> Bytes {
    message(&pb::ReadBookRequest { name: BOOK.into(), pages, ..Default::default() })
}

/// The messages of gRPC frames.
fn unframed<M: Message + Default>(mut body: Bytes) -> Vec<M> {
    let mut all = Vec::new();
    while body.has_remaining() {
        assert_eq!(body.get_u8(), 0);
        let len = body.get_u32() as usize;
        all.push(M::decode(body.split_to(len)).expect("a message"));
    }
    all
}

fn status(answer: &Answer) -> &[u8] {
    let headers = answer.trailers.as_ref().unwrap_or_else(|| answer.head.headers());
    headers["grpc-status"].as_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn native_grpc_of_every_kind() {
    let set = Set::start(Parts::default());
    let mut client = set.client().await;
    let ask = message(&pb::GetBookRequest { name: BOOK.into() });
    let answer = client.ask(grpc("GetBook"), ask).await;
    assert_eq!((answer.head.status().as_u16(), status(&answer)), (200, &b"0"[..]), "{answer:?}");
    assert_eq!(answer.trailers.as_ref().unwrap()["x-library-trailer"], "mind the step");
    assert_eq!(unframed::<pb::Book>(answer.body)[0].author, "Ines Halloran");

    let answer = client.ask(grpc("ReadBook"), read_book(500)).await;
    assert_eq!(status(&answer), b"0");
    let pages: Vec<pb::Page> = unframed(answer.body);
    assert!(pages.iter().map(|page| page.number).eq(1..=500), "all pages, in order");

    let missing = message(&pb::GetBookRequest { name: "shelves/harbour/books/nope".into() });
    let answer = client.ask(grpc("GetBook"), missing).await;
    assert_eq!((status(&answer), answer.body.len()), (&b"5"[..], 0));

    // Both ways at once: each answer comes before the next remark.
    let mut stream = client.open(grpc("Discuss")).await;
    let mut seen = BytesMut::new();
    for id in 0..20 {
        let remark = pb::Remark { id: id.to_string(), text: "so?".into(), times: 1, fail_with: 0 };
        stream.send_data(message(&remark)).await.unwrap();
        if id == 0 {
            assert_eq!(soon("a head", stream.recv_response()).await.unwrap().status(), 200);
        }
        let before = seen.len();
        while seen.len() == before {
            let mut data = soon("an answer", stream.recv_data()).await.unwrap().expect("it goes on");
            seen.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
    }
    stream.finish().await.unwrap();
    while soon("the end", stream.recv_data()).await.unwrap().is_some() {}
    assert_eq!(stream.recv_trailers().await.unwrap().unwrap()["grpc-status"], "0");
    assert_eq!(unframed::<pb::Answer>(seen.freeze()).len(), 20);
    set.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_and_connect_and_where_http3_is() {
    let set = Set::start(Parts::default());
    let mut client = set.client().await;
    let answer = client.ask(Request::get(format!("/v1/{BOOK}")).body(()).unwrap(), Bytes::new()).await;
    assert_eq!(answer.head.status(), 200, "{answer:?}");
    assert!(!answer.head.headers().contains_key("alt-svc"));
    let book: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(book["author"], "Ines Halloran");
    let head = Request::post(format!("/{LIBRARY}/GetBook")).header("content-type", "application/json");
    let body = Bytes::from(format!("{{\"name\":\"{BOOK}\"}}"));
    let answer = client.ask(head.body(()).unwrap(), body).await;
    assert_eq!(answer.head.status(), 200, "{answer:?}");
    assert_eq!(answer.head.headers()["content-type"], "application/json");
    let answer = client.ask(Request::get("/v1/nothing").body(()).unwrap(), Bytes::new()).await;
    assert_eq!(answer.head.status(), 404);
    let answer =
        client.ask(Request::get("https://other.test/v1/nothing").body(()).unwrap(), Bytes::new()).await;
    assert_eq!(answer.head.status(), 421, "of another certificate");
    set.ends().await;

    // The others say where HTTP/3 is, until it isn't.
    let address = set.gateway.address();
    for (http3, told) in [(true, Some(format!("h3=\":{}\"; ma=86400", address.port()))), (false, None)] {
        for alpn in ["h2", "http/1.1"] {
            let tls = Tls { alpn: &[alpn], ..Tls::of(&set.authority) };
            let io = tls.connect(address, "api.test").await.unwrap();
            assert_eq!(alt_svc(io, alpn).await, told, "{alpn}");
        }
        if http3 {
            let text = std::fs::read_to_string(set.files.path("transom.yaml")).unwrap();
            set.files.write("transom.yaml", &text.replace("http3: true", "http3: false"));
            set.gateway.server().reload();
        }
    }
    // It comes back on the same port.
    let text = std::fs::read_to_string(set.files.path("transom.yaml")).unwrap();
    set.files.write("transom.yaml", &text.replace("http3: false", "http3: true"));
    set.gateway.server().reload();
    set.serves().await;
}

/// `alt-svc` of the answer to a GET.
async fn alt_svc(io: TlsStream<TcpStream>, alpn: &str) -> Option<String> {
    if alpn != "h2" {
        let mut io = io;
        let head = format!("GET /v1/{BOOK} HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n");
        io.write_all(head.as_bytes()).await.expect("it is taken");
        let mut said = String::new();
        soon("an answer", io.read_to_string(&mut said)).await.expect("text");
        return said.lines().find_map(|line| line.strip_prefix("alt-svc: ")).map(str::to_owned);
    }
    let (mut sending, connection) = h2::client::handshake(io).await.expect("HTTP/2 is spoken");
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let (response, _) = sending.send_request(book(), true).expect("a stream opens");
    let response = soon("an answer", response).await.expect("a head");
    response.headers().get("alt-svc").map(|told| told.to_str().expect("ASCII").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificates_are_verified_and_told() {
    let (clients, files) = (Authority::new("clients"), Files::new());
    files.write("clients.pem", &clients.pem);
    let ca = files.path("clients.pem");
    let more = format!(", client_ca: \"{}\", client_auth: required, forward_client_cert: true", ca.display());
    let backend = Backend::start();
    let set = Set::before(backend.address, backend, &more, Parts::default(), files);
    let address = set.gateway.address();
    let leaf = clients.client("mobile", &[]);
    let shows = Tls { shows: Some(&leaf), ..Tls::of(&set.authority) };
    let mut client = Client::over(http3::dial(address, "api.test", shows).await.unwrap(), address).await;
    let answer = client.ask(grpc("Inspect"), message(&pb::InspectRequest::default())).await;
    let seen = &unframed::<pb::InspectResponse>(answer.body)[0];
    let told = seen.metadata.iter().find(|entry| entry.key == "x-forwarded-client-cert").expect("it is told");
    assert!(told.value.ends_with(b";Subject=\"CN=mobile\""), "{told:?}");
    let stranger = Authority::new("clients").client("mobile", &[]);
    for (shown, outcome) in [(Some(&stranger), "certificate_invalid"), (None, "certificate_missing")] {
        let shows = Tls { shows: shown, ..Tls::of(&set.authority) };
        // The client's part of the handshake is over before the gateway looks.
        if let Ok((_endpoint, connection)) = http3::dial(address, "api.test", shows).await {
            soon("a close", connection.closed()).await;
        }
        set.gateway.until_metric("transom_tls_handshakes_total", &[("outcome", outcome)], 1.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_live_through_a_hundred_rotations() {
    let set = Set::start(Parts::default());
    let (mut clients, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let mut client = set.client().await;
        for _ in 0..50 {
            let mut stream = client.open(grpc("Discuss")).await;
            stream.send_data(remark(0)).await.unwrap();
            soon("a head", stream.recv_response()).await.unwrap();
            assert!(soon("an answer", stream.recv_data()).await.unwrap().is_some());
            streams.push(stream);
        }
        clients.push(client);
    }
    for round in 0..100 {
        let leaf = set.authority.leaf(&["api.test"]);
        set.files.put("0", &leaf);
        set.gateway.server().reload();
        let client = set.client().await;
        let shown = client.connection.peer_identity().unwrap().downcast::<Vec<CertificateDer<'_>>>().unwrap();
        assert_eq!(shown[0], leaf.der, "handshake after rotation {round}");
        for stream in streams.iter_mut().skip(round % 10).step_by(10) {
            assert!(!discuss(stream, round).await.is_empty());
        }
    }
    for mut stream in streams {
        stream.finish().await.unwrap();
        while soon("the end", stream.recv_data()).await.unwrap().is_some() {}
        assert_eq!(stream.recv_trailers().await.unwrap().unwrap()["grpc-status"], "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_addresses_are_proven_and_nobody_is_flooded() {
    let set = Set::start_with(", max_handshakes: 8, handshake_timeout: 1s", Parts::default());
    let address = set.gateway.address();
    // Clients that never hear what they are answered.
    let mutes = [Mute::start(address).await, Mute::start(address).await, Mute::start(address).await];
    let config = http3::config(Tls::of(&set.authority));
    let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let silent =
        mutes.iter().map(|mute| endpoint.connect_with(config.clone(), mute.address, "api.test").unwrap());
    let silent: Vec<_> = silent.collect();
    let refused = [("why", "retry")];
    // Clients that hear nothing ask again.
    let is_asked = || set.gateway.metric("transom_connections_refused_total", &refused) >= 1.0;
    assert!(support::eventually(is_asked).await, "nobody was asked to prove an address");
    // One that proves its address is served.
    set.serves().await;
    let refused = set.gateway.metric("transom_connections_refused_total", &refused);
    assert!(refused >= 2.0, "it was asked to: {refused}");
    set.gateway.until_metric("transom_tls_handshakes_total", &[("outcome", "timeout")], 2.0).await;
    for mute in &mutes {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8
        //# an endpoint MUST limit the amount of data it sends to the unvalidated address to three times the amount of data received from that address
        let (said, heard) = (mute.said.load(Ordering::SeqCst), mute.heard.load(Ordering::SeqCst));
        assert!(0 < heard && heard <= 3 * said, "{heard} bytes for {said}");
    }
    drop(silent);
}

/// Carries datagrams to the gateway, and none back.
struct Mute {
    address: SocketAddr,
    /// Bytes to the gateway, and from it.
    said: Arc<AtomicU64>,
    heard: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Mute {
    async fn start(to: SocketAddr) -> Self {
        let inner = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let outer = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        outer.connect(to).await.expect("an address");
        let address = inner.local_addr().expect("a bound socket has an address");
        let (said, heard) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (saying, hearing) = (said.clone(), heard.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let (mut here, mut there) = (vec![0; 65536], vec![0; 65536]);
            loop {
                tokio::select! {
                    Ok(len) = inner.recv(&mut here) => {
                        saying.fetch_add(len as u64, Ordering::SeqCst);
                        // The gateway may have closed its socket.
                        let _ = outer.send(&here[..len]).await;
                    }
                    Ok(len) = outer.recv(&mut there) => {
                        hearing.fetch_add(len as u64, Ordering::SeqCst);
                    }
                }
            }
        });
        Self { address, said, heard, _task: task }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_before_the_handshake() {
    let set = Set::start(Parts::default());
    let mut tls = Arc::unwrap_or_clone(
        Tls { alpn: &["h3"], versions: &[&rustls::version::TLS13], ..Tls::of(&set.authority) }.config(),
    );
    tls.enable_early_data = true;
    let config = http3::config_of(tls);
    let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = set.gateway.address();
    for round in 0..3 {
        let connecting = endpoint.connect_with(config.clone(), address, "api.test").unwrap();
        //= https://www.rfc-editor.org/rfc/rfc8470#section-3
        //# The server can reject all early data
        let Err(connecting) = connecting.into_0rtt() else {
            panic!("early data is offered in round {round}")
        };
        let connection = soon("a connection", connecting).await.unwrap();
        let mut client = Client::over((endpoint.clone(), connection), address).await;
        // A ticket has come by then.
        assert_eq!(client.ask(book(), Bytes::new()).await.head.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_everything_back_is_cut_off() {
    let set = Set::start(Parts::default());
    let (mut client, mut honest) = (set.client().await, set.client().await);
    let mut taken_back = 0;
    while client.connection.close_reason().is_none() && taken_back < 20_000 {
        let head = client.full(grpc("ReadBook"));
        let Ok(mut stream) = client.sending.send_request(head).await else { break };
        stream.stop_stream(Code::H3_REQUEST_CANCELLED);
        stream.stop_sending(Code::H3_REQUEST_CANCELLED);
        taken_back += 1;
        if taken_back % 100 == 0 {
            assert_eq!(honest.ask(book(), Bytes::new()).await.head.status(), 200, "others are served");
        }
    }
    let quinn::ConnectionError::ApplicationClosed(closed) = soon("a close", client.connection.closed()).await
    else {
        panic!("it is the gateway that closes");
    };
    assert_eq!(closed.error_code.into_inner(), Code::H3_EXCESSIVE_LOAD.value(), "{closed:?}");
    assert!(taken_back >= 500, "after {taken_back}");
    assert_eq!(set.gateway.metric("transom_client_resets_total", &[("why", "rapid_reset")]), 1.0);
    set.ends().await;
    // Those that get their answers may take back as many.
    for round in 0..1_200 {
        let mut stream = honest.open(grpc("ReadBook")).await;
        stream.stop_stream(Code::H3_REQUEST_CANCELLED);
        stream.stop_sending(Code::H3_REQUEST_CANCELLED);
        let answer = honest.ask(book(), Bytes::new()).await;
        assert_eq!(answer.head.status(), 200, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_fields_are_not_kept() {
    let set = Set::start(Parts::default());
    // A block that refers to a table which nobody has (RFC 9204, section 2.2.1).
    let client = set.client().await;
    let (mut send, _receive) = client.connection.open_bi().await.unwrap();
    // The gateway may close before all is sent.
    let _ = send.write_all(&[1, 3, 2, 0, 0x80]).await;
    let closed = soon("an end", client.connection.closed()).await;
    assert!(matches!(closed, quinn::ConnectionError::ApplicationClosed(_)), "{closed}");
    // An encoder that fills a table, and streams of a type that nobody knows.
    for kind in [2, 0x21, 0x40] {
        let (_endpoint, connection) =
            http3::dial(set.gateway.address(), "api.test", Tls::of(&set.authority)).await.unwrap();
        let mut send = connection.open_uni().await.unwrap();
        let sent = Arc::<AtomicU64>::default();
        let (sending, mut task) = (sent.clone(), JoinSet::new());
        task.spawn(async move {
            let mut piece = vec![0x40; 16 << 10];
            piece[0] = kind;
            while send.write_all(&piece).await.is_ok() {
                sending.fetch_add(piece.len() as u64, Ordering::SeqCst);
                if sending.load(Ordering::SeqCst) > 256 << 20 {
                    break;
                }
            }
        });
        until_stuck(&set, &sent).await;
        drop(task);
        let held = sent.load(Ordering::SeqCst);
        assert!(held < 8 << 20, "{held} bytes of type {kind}");
    }
}

/// Waits until no more is sent while others are served.
async fn until_stuck(set: &Set, sent: &AtomicU64) -> u64 {
    let mut client = set.client().await;
    loop {
        let before = sent.load(Ordering::SeqCst);
        for _ in 0..50 {
            let answer = client.ask(grpc("Inspect"), message(&pb::InspectRequest::default())).await;
            assert_eq!(status(&answer), b"0");
        }
        if sent.load(Ordering::SeqCst) == before {
            return before;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_holds_the_other_side_back() {
    const LONG: u64 = 64 << 20;
    const PIECE: usize = 16 << 10;
    let sent = Arc::<AtomicU64>::default();
    let start = Arc::new(Notify::new());
    let (counting, started) = (sent.clone(), start.clone());
    let upstream = RawUpstream::start(move |request, mut respond| {
        let (sent, start) = (counting.clone(), started.clone());
        Box::pin(async move {
            let mut stream = respond.send_response(support::grpc_head(), false).expect("the call is open");
            let path = request.uri().path();
            if path.ends_with("ReadBook") {
                let piece = support::frame(0, &[b'.'; PIECE - 5]);
                while sent.load(Ordering::SeqCst) < LONG {
                    support::send_as_taken(&mut stream, piece.clone(), &sent).await;
                }
            } else if path.ends_with("ImportBooks") {
                start.notified().await;
                let body = support::read_body(&mut request.into_body()).await.expect("no fault");
                assert_eq!(body.len() as u64, LONG);
                stream.send_data(support::frame(0, b""), false).expect("the call is open");
            } else {
                stream.send_data(support::frame(0, b""), false).expect("the call is open");
            }
            stream.send_trailers(support::trailers(0)).expect("the call is open");
        })
    })
    .await;
    let set = Set::before(upstream.address, Backend::start(), "", Parts::default(), Files::new());
    let mut client = set.client().await;
    let mut stream = client.open(grpc("ReadBook")).await;
    stream.send_data(support::frame(0, b"")).await.unwrap();
    stream.finish().await.unwrap();
    soon("a head", stream.recv_response()).await.unwrap();
    let stuck = until_stuck(&set, &sent).await;
    assert!(0 < stuck && stuck < 8 << 20, "{stuck} bytes were sent to a client that takes none");
    let answer = soon("the rest", http3::rest(&mut stream)).await;
    assert_eq!((answer.0.len() as u64, &answer.1.unwrap()["grpc-status"]), (LONG, &"0".parse().unwrap()));

    sent.store(0, Ordering::SeqCst);
    let (mut send, mut receive) = client.open(grpc("ImportBooks")).await.split();
    let (sending, mut task) = (sent.clone(), JoinSet::new());
    task.spawn(async move {
        let piece = support::frame(0, &[b'.'; PIECE - 5]);
        while sending.load(Ordering::SeqCst) < LONG {
            send.send_data(piece.clone()).await.expect("it is taken");
            sending.fetch_add(PIECE as u64, Ordering::SeqCst);
        }
        send.finish().await.expect("it is taken");
    });
    let stuck = until_stuck(&set, &sent).await;
    assert!(0 < stuck && stuck < 8 << 20, "{stuck} bytes were taken for a service that takes none");
    start.notify_one();
    soon("a head", receive.recv_response()).await.unwrap();
    while soon("the end", receive.recv_data()).await.unwrap().is_some() {}
    assert_eq!(receive.recv_trailers().await.unwrap().unwrap()["grpc-status"], "0");
    soon("all was sent", task.join_next()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_ends_the_call() {
    let set = Set::start(Parts::default());
    let mut client = set.client().await;
    let mut stream = client.open(grpc("ReadBook")).await;
    let slow = pb::ReadBookRequest {
        name: BOOK.into(),
        pages: 1_000_000,
        pause: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    stream.send_data(message(&slow)).await.unwrap();
    stream.finish().await.unwrap();
    soon("a head", stream.recv_response()).await.unwrap();
    set.gateway.until_metric("transom_open_calls", &[], 1.0).await;
    stream.stop_sending(Code::H3_REQUEST_CANCELLED);
    set.ends().await;
    // A connection that closes takes its calls along.
    let mut stream = client.open(grpc("ReadBook")).await;
    stream.send_data(message(&slow)).await.unwrap();
    stream.finish().await.unwrap();
    soon("a head", stream.recv_response()).await.unwrap();
    client.connection.close(0u32.into(), b"");
    set.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn either_side_may_take_back_what_it_says() {
    let set = Set::start(Parts::default());
    let mut client = set.client().await;
    // A request that is reset is cancelled for the service too: no end of it ever comes there.
    let import = pb::ImportBooksRequest { parent: "shelves/weather".into(), book: Some(pb::Book::default()) };
    let mut stream = client.open(grpc("ImportBooks")).await;
    stream.send_data(message(&import)).await.unwrap();
    set.gateway.until_metric("transom_open_calls", &[], 1.0).await;
    stream.stop_stream(Code::H3_REQUEST_CANCELLED);
    set.ends().await;
    set.gateway.until_metric("transom_calls_total", &[("code", "CANCELLED")], 1.0).await;
    // A request that is refused early is stopped, and its answer is whole.
    let mut stream = client.open(Request::post("/v1/nothing").body(()).unwrap()).await;
    let answer = soon("an answer", http3::answer(&mut stream)).await;
    assert_eq!(answer.head.status(), 404, "{answer:?}");
    assert!(answer.body.ends_with(b"}"), "{answer:?}");
    let stopped = loop {
        // As much as is taken, until the gateway says that it wants no more.
        if let Err(error) = soon("a stop", stream.send_data(Bytes::from(vec![b' '; 64 << 10]))).await {
            break error;
        }
    };
    let StreamError::RemoteTerminate { code, .. } = stopped else { panic!("{stopped}") };
    assert_eq!(code, Code::H3_NO_ERROR);
    // A reply that breaks off is reset and never looks whole, and says why before.
    let head = Request::post("/v1/discuss").header("content-type", "application/json");
    let mut stream = client.open(head.header("accept", "application/json").body(()).unwrap()).await;
    let remarks = r#"[{"id":"a","text":"so?","times":1},{"id":"b","text":"so?","times":1,"failWith":10}]"#;
    stream.send_data(Bytes::from_static(remarks.as_bytes())).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(soon("a head", stream.recv_response()).await.unwrap().status(), 200);
    let mut body = BytesMut::new();
    let end = loop {
        match soon("the end", stream.recv_data()).await {
            Ok(Some(mut data)) => body.extend_from_slice(&data.copy_to_bytes(data.remaining())),
            end => break end,
        }
    };
    let Err(StreamError::RemoteTerminate { code, .. }) = end else { panic!("{body:?} ends in order") };
    assert_eq!(code, Code::H3_INTERNAL_ERROR);
    assert!(body.windows(7).any(|text| text == b"\"error\""), "{body:?}");
    set.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_moves_goes_on() {
    let set = Set::start(Parts::default());
    let mut client = set.client().await;
    let mut stream = client.open(grpc("Discuss")).await;
    let mut seen = BytesMut::new();
    for id in 0..6 {
        let remark = pb::Remark { id: id.to_string(), text: "so?".into(), times: 1, fail_with: 0 };
        stream.send_data(message(&remark)).await.unwrap();
        if id == 0 {
            soon("a head", stream.recv_response()).await.unwrap();
        }
        let before = seen.len();
        while seen.len() == before {
            let mut data = soon("an answer", stream.recv_data()).await.unwrap().expect("it goes on");
            seen.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        client.endpoint.rebind(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap();
    }
    assert_eq!(unframed::<pb::Answer>(seen.freeze()).len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_end_their_stream_alone() {
    let set = Set::start(Parts::default());
    let mut client = set.client().await;
    // 40,000 fields in one frame, and one that announces 8 MiB.
    let (mut send, _receive) = client.connection.open_bi().await.unwrap();
    let fields = [&[0, 0][..], &b"\x21a\x01b".repeat(40_000)].concat();
    let mut frame = vec![1, 0x80];
    frame.extend_from_slice(&u32::try_from(fields.len()).unwrap().to_be_bytes()[1..]);
    frame.extend_from_slice(&fields);
    // It may be stopped before it is sent.
    let _ = send.write_all(&frame).await;
    let code = soon("a stop", send.stopped()).await.unwrap();
    assert_eq!(code.map(quinn::VarInt::into_inner), Some(Code::H3_EXCESSIVE_LOAD.value()));
    let (mut send, _receive) = client.connection.open_bi().await.unwrap();
    send.write_all(&[1, 0x80, 0x80, 0, 0]).await.unwrap();
    assert!(soon("a stop", send.stopped()).await.unwrap().is_some());
    let answer = client.ask(Request::get(format!("/v1/{BOOK}")).body(()).unwrap(), Bytes::new()).await;
    assert_eq!(answer.head.status(), 200);
    set.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_tells_the_last_request_and_waits_for_nobody_who_rests() {
    let Set { gateway, authority, files: _files, _backend } = Set::start(Parts::default());
    let address = gateway.address();
    let (_endpoint, connection) = http3::dial(address, "api.test", Tls::of(&authority)).await.unwrap();
    let mut control = soon("a control stream", connection.accept_uni()).await.unwrap();
    let mut kind = [1];
    control.read_exact(&mut kind).await.unwrap();
    assert_eq!(kind, [0], "it comes first");
    // GET https://api.test/, by the static table.
    let fields = [&[0, 0, 0xd1, 0xd7, 0xc1, 0x50, 8][..], b"api.test"].concat();
    let request = [&[1, u8::try_from(fields.len()).unwrap()][..], &fields].concat();
    for _ in 0..2 {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&request).await.unwrap();
        send.finish().unwrap();
        assert!(!soon("an answer", receive.read_to_end(1 << 20)).await.unwrap().is_empty());
    }
    let resting = Client::connect(address, "api.test", &authority).await;
    let mut draining = JoinSet::new();
    draining.spawn(gateway.drain());
    let mut frames = Vec::new();
    while let Ok(Some(chunk)) = soon("the end", control.read_chunk(1024, true)).await {
        frames.extend_from_slice(&chunk.bytes);
    }
    // Requests on their way are taken at first, and then the third one, on stream 8, would be too late.
    assert!(frames.ends_with(&[7, 1, 8]), "{frames:x?}");
    for connection in [&connection, &resting.connection] {
        let closed = soon("a close", connection.closed()).await;
        let quinn::ConnectionError::ApplicationClosed(closed) = closed else { panic!("{closed}") };
        assert_eq!(closed.error_code.into_inner(), Code::H3_NO_ERROR.value());
    }
    soon("the drain", draining.join_next()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_calls_end() {
    let set = Set::start(Parts::default());
    let mut client = set.client().await;
    let mut stream = client.open(grpc("Discuss")).await;
    let remark = pb::Remark { id: "a".into(), text: "so?".into(), times: 1, fail_with: 0 };
    stream.send_data(message(&remark)).await.unwrap();
    soon("a head", stream.recv_response()).await.unwrap();
    let Set { gateway, .. } = set;
    let draining = tokio::task::spawn_blocking(move || drop(gateway));
    let mut body = BytesMut::new();
    while let Some(mut data) = soon("the end", stream.recv_data()).await.unwrap() {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    assert_eq!(stream.recv_trailers().await.unwrap().unwrap()["grpc-status"], "14");
    soon("the end of the gateway", draining).await.unwrap();
}

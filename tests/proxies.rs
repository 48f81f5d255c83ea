//! Who calls, where proxies stand between: PROXY headers, and what is said of clients in HTTP.

#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/tls.rs"]
mod tls;

use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::Context;
use std::task::Poll;

use prost::Message as _;
use rustls::pki_types::ServerName;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use transom::call::Call;
use transom::call::Origin;
use transom::demo::pb;
use transom::policy::Check;
use transom::policy::Policy;

use crate::raw::Client as H2;
use crate::raw::ask;
use crate::raw::count;
use crate::support::Backend;
use crate::support::Gateway;
use crate::support::LIBRARY;
use crate::support::Parts;
use crate::support::config_of;
use crate::support::demo;
use crate::support::dialects::Ask;
use crate::support::dialects::Compression;
use crate::support::dialects::DIALECTS;
use crate::support::dialects_rest::HOST as REST_HOST;
use crate::support::frame;
use crate::support::soon;
use crate::support::yaml;
use crate::tls::Authority;
use crate::tls::Client;
use crate::tls::Files;

/// The clients of the tests come from here unless they say otherwise.
const TRUST: &str = "server: { drain_timeout: 1s, trusted_proxies: [\"127.0.0.1/32\", \"10.0.0.0/8\"] }";
const NO_TRUST: &str = "server: { drain_timeout: 1s, trusted_proxies: [\"10.0.0.0/8\"] }";
const TOLD: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";

/// A gateway that wants PROXY headers. `more` are keys of its listener.
fn start(more: &str) -> (Gateway, Backend) {
    let and = if more.is_empty() { "" } else { ", " };
    demo(Parts { listener: &format!("proxy_protocol: true{and}{more}"), top: TRUST, ..Parts::default() })
}

fn headers(gateway: &Gateway, outcome: &str) -> i64 {
    count(gateway, "transom_proxy_headers_total", &[("outcome", outcome)])
}

/// A connection from another address of this machine.
async fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("sockets are to be had");
    socket.bind((from, 0).into()).expect("all of 127.0.0.0/8 is this machine");
    socket.connect(to).await.expect("connections are taken")
}

/// A stream that puts a header before its first bytes, in one write with them.
struct Introduced {
    io: TcpStream,
    header: Vec<u8>,
}

impl Introduced {
    async fn connect(to: SocketAddr, header: &[u8]) -> Self {
        let io = TcpStream::connect(to).await.expect("connections are taken");
        io.set_nodelay(true).expect("the option is known");
        Self { io, header: header.to_vec() }
    }
}

impl AsyncRead for Introduced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Introduced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let both = [&*self.header, bytes].concat();
        let written = std::task::ready!(Pin::new(&mut self.io).poll_write(cx, &both))?;
        assert!(self.header.is_empty() || written == both.len(), "the first bytes are few");
        Poll::Ready(Ok(written - std::mem::take(&mut self.header).len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A proxy of TCP that puts a header before each connection. It ends when dropped.
struct Front {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Front {
    async fn start(to: SocketAddr, header: &'static [u8]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut relayed = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                relayed.spawn(async move {
                    let mut onward = Introduced::connect(to, header).await;
                    // Either side may break off.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut onward).await;
                });
            }
        });
        Self { address, _tasks: tasks }
    }
}

/// What the service was told of who calls, as sorted lines.
fn told(seen: &pb::InspectResponse) -> Vec<String> {
    let says = |key: &str| {
        let key = key.replace('_', "-");
        key.starts_with("x-forwarded-") || key == "forwarded" || key == "x-real-ip"
    };
    let told = seen.metadata.iter().filter(|entry| says(&entry.key));
    let mut told: Vec<String> =
        told.map(|entry| format!("{}: {}", entry.key, String::from_utf8_lossy(&entry.value))).collect();
    told.sort();
    told
}

async fn inspect(client: &H2, fields: &[(&'static str, &str)]) -> pb::InspectResponse {
    let asked = ask("/transom.demo.v1.Library/Inspect").chunks(&[&frame(0, b"")]);
    let asked = fields.iter().fold(asked, |asked, (name, value)| asked.header(name, value));
    let outcome = client.call(&asked).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    pb::InspectResponse::decode(&outcome.data[5..]).expect("a reply")
}

/// What the service hears first of all: the believed address.
async fn address_told(client: &H2) -> String {
    let told = told(&inspect(client, &[]).await);
    let address = told[0].strip_prefix("x-forwarded-for: ").expect("it is always told");
    assert_eq!(told.len(), 2, "{told:?}");
    address.to_owned()
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let len = u16::try_from(block.len()).expect("a short block").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &len, block].concat()
}

const INET: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];

/// Headers, the address that each tells of, and how each is counted.
fn good_headers() -> Vec<(&'static str, Vec<u8>, &'static str, &'static str)> {
    let mut inet6 = [0; 36];
    inet6[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
    inet6[15] = 1;
    let extended = [&INET[..], &[4, 0, 3, 1, 2, 3, 0x20, 0, 1, 9]].concat();
    let long = [&INET[..], &[4, 0x0f, 0xf0], &[7; 0xff0]].concat();
    let own = "127.0.0.1";
    vec![
        ("v1 TCP4", TOLD.into(), "192.0.2.7", "v1"),
        ("v1 TCP6", (*b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n").into(), "2001:db8::1", "v1"),
        ("v1 UNKNOWN", (*b"PROXY UNKNOWN\r\n").into(), own, "local"),
        ("v1 UNKNOWN with words", (*b"PROXY UNKNOWN 192.0.2.7 b c d\r\n").into(), own, "local"),
        ("v2 INET", v2(0x21, 0x11, &INET), "192.0.2.7", "v2"),
        ("v2 INET6", v2(0x21, 0x21, &inet6), "2001:db8::1", "v2"),
        ("v2 with TLVs", v2(0x21, 0x11, &extended), "192.0.2.7", "v2"),
        ("v2 with long TLVs", v2(0x21, 0x11, &long), "192.0.2.7", "v2"),
        ("v2 LOCAL", v2(0x20, 0x00, &[]), own, "local"),
        ("v2 LOCAL with addresses", v2(0x20, 0x11, &INET), own, "local"),
        ("v2 UNSPEC", v2(0x21, 0x00, &[]), own, "local"),
        ("v2 UDP", v2(0x21, 0x12, &INET), own, "local"),
        ("v2 UNIX", v2(0x21, 0x31, &[b'/'; 216]), own, "local"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_says_who_calls() {
    let (gateway, _backend) = start("");
    for (name, header, address, outcome) in good_headers() {
        let before = headers(&gateway, outcome);
        let client = H2::over(Introduced::connect(gateway.address(), &header).await).await;
        assert_eq!(address_told(&client).await, address, "{name}");
        assert_eq!(headers(&gateway, outcome), before + 1, "{name} is counted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_may_come_in_pieces() {
    let (gateway, _backend) = start("");
    for (name, header, address, _) in good_headers() {
        let request = b"POST /transom.demo.v1.Library/Inspect HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
            content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (pieces, rest) = header.split_at(header.len().min(300));
        for byte in pieces.iter().chain(rest.is_empty().then_some(request).into_iter().flatten()) {
            socket.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        if !rest.is_empty() {
            socket.write_all(&[rest, request].concat()).await.unwrap();
        }
        let mut answer = String::new();
        soon("an answer", socket.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{name}: {answer}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let base64 = |text: &str| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(text)
        };
        let seen = body["metadata"].as_array().unwrap();
        let seen = seen.iter().find(|entry| entry["key"] == "x-forwarded-for").expect("it is told");
        assert_eq!(seen["value"], base64(address), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_begins_behind_the_header() {
    let (authority, files) = (Authority::new("servers"), Files::new());
    files.put("own", &authority.leaf(&["api.test"]));
    let (gateway, _backend) = start(&format!("tls: {{ certificates: [{}] }}", files.pair("own")));
    for (name, header, address, _) in good_headers() {
        let socket = Introduced::connect(gateway.address(), &header).await;
        let connector = TlsConnector::from(Client::of(&authority).config());
        let shaking = connector.connect(ServerName::try_from("api.test").unwrap(), socket);
        let client = H2::over(soon("a handshake", shaking).await.unwrap()).await;
        let want = [format!("x-forwarded-for: {address}"), "x-forwarded-proto: https".into()];
        assert_eq!(told(&inspect(&client, &[]).await), want, "{name}");
    }
    // Without a header there is no TLS.
    assert!(Client::of(&authority).connect(gateway.address(), "api.test").await.is_err());
    assert_eq!(headers(&gateway, "missing"), 1);
    let full = count(&gateway, "transom_tls_handshakes_total", &[]);
    assert_eq!(full, i64::try_from(good_headers().len()).unwrap(), "no handshake is counted for it");
}

/// Reads until the other side closes or resets.
async fn until_closed(mut socket: TcpStream) -> Vec<u8> {
    let mut seen = Vec::new();
    let _ = soon("the end of a connection", socket.read_to_end(&mut seen)).await;
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_header_ends_the_connection() {
    let (gateway, _backend) = start("limits: { header_timeout: 1s }");
    let long_line = format!("PROXY TCP4 {}", "1".repeat(200));
    let long_block = [&v2(0x21, 0x11, &[])[..14], &[0x13, 0x88]].concat();
    let short_block = v2(0x21, 0x11, &INET[..11]);
    let cases: [(&str, &[u8], &str); 10] = [
        ("HTTP/1.1", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", "missing"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "missing"),
        ("TLS", b"\x16\x03\x01\x02\0\x01", "missing"),
        ("a line with nonsense", b"PROXY TCP4 a b c d\r\n", "malformed"),
        ("a line without CR", b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n", "malformed"),
        ("a version to come", &v2(0x31, 0x11, &INET), "malformed"),
        ("addresses cut short", &short_block, "malformed"),
        ("a long line", long_line.as_bytes(), "too_long"),
        ("a long block", &long_block, "too_long"),
        ("half of a header", &v2(0x21, 0x11, &INET)[..20], "timeout"),
    ];
    for (name, bytes, outcome) in cases {
        let before = headers(&gateway, outcome);
        let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        assert_eq!(until_closed(socket).await, b"", "{name}");
        assert_eq!(headers(&gateway, outcome), before + 1, "{name} is counted as {outcome}");
    }
    let silent = TcpStream::connect(gateway.address()).await.unwrap();
    assert_eq!(until_closed(silent).await, b"", "who says nothing is not waited for");
    assert_eq!(headers(&gateway, "timeout"), 2);
    for bytes in [&b""[..], b"PROXY TCP4 192"] {
        let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        assert_eq!(until_closed(socket).await, b"");
    }
    assert_eq!(headers(&gateway, "closed"), 2);
    assert_eq!(count(&gateway, "transom_calls_total", &[]), 0, "nothing was called");
    gateway.until_metric("transom_connections", &[("listener", "main")], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_may_not_connect_where_headers_are_due() {
    let (gateway, _backend) = start("");
    for bytes in [TOLD.as_bytes(), b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut socket = connect_from(Ipv4Addr::new(127, 0, 0, 2), gateway.address()).await;
        // It may be closed before this is written.
        let _ = socket.write_all(bytes).await;
        assert_eq!(until_closed(socket).await, b"");
    }
    let why = [("why", "untrusted_peer")];
    assert_eq!(count(&gateway, "transom_connections_refused_total", &why), 2);
    assert_eq!(count(&gateway, "transom_proxy_headers_total", &[]), 0, "nothing is read of them");
    assert_eq!(count(&gateway, "transom_calls_total", &[]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_count_for_the_address_that_is_told() {
    let (gateway, _backend) = start("limits: { max_connections_per_address: 1 }");
    let address = gateway.address();
    let called = async |header: &str| {
        let client = H2::over(Introduced::connect(address, header.as_bytes()).await).await;
        inspect(&client, &[]).await;
        client
    };
    let first = called(TOLD).await;
    let _second = called("PROXY TCP4 192.0.2.8 198.51.100.1 1 2\r\n").await;
    let _local = (called("PROXY UNKNOWN\r\n").await, called("PROXY UNKNOWN\r\n").await);
    let mut third = TcpStream::connect(address).await.unwrap();
    third.write_all(TOLD.as_bytes()).await.unwrap();
    assert_eq!(until_closed(third).await, b"");
    let why = [("why", "max_connections_per_address")];
    assert_eq!(count(&gateway, "transom_connections_refused_total", &why), 1);
    assert_eq!(headers(&gateway, "max_connections_per_address"), 1);
    drop(first);
    gateway.until_metric("transom_connections", &[("listener", "main")], 3.0).await;
    called(TOLD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_proxies_hold_as_many_connections_as_they_like() {
    let listener = "limits: { max_connections_per_address: 1 }";
    let (gateway, _backend) = demo(Parts { listener, top: TRUST, ..Parts::default() });
    let two = [H2::connect(gateway.address()).await, H2::connect(gateway.address()).await];
    for client in &two {
        inspect(client, &[]).await;
    }
}

/// What clients would like the service to believe, in every way that there is to say it.
const FORGED: [(&str, &str); 8] = [
    ("x-forwarded-for", "203.0.113.9, 192.0.2.7"),
    ("x-forwarded-for", "10.0.0.9"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "shop.example.com"),
    ("x_forwarded_for", "203.0.113.9"),
    ("forwarded", "for=203.0.113.9;proto=http"),
    ("grpc-metadata-x-forwarded-for", "203.0.113.9"),
    ("grpc-metadata-forwarded", "for=203.0.113.9"),
];

/// Makes a call in every dialect, and looks at what the service was told of who calls.
async fn in_every_dialect(address: SocketAddr, fields: &[(&'static str, &str)], want: &[&str]) {
    for dialect in DIALECTS {
        let ask = Ask::of("Inspect", &pb::InspectRequest::default());
        let ask = fields.iter().fold(ask, |ask, (name, value)| ask.with(name, value));
        let calling = (dialect.call)(address, Compression::None, ask);
        let seen = soon("the end of the call", calling).await.one::<pb::InspectResponse>();
        assert_eq!(told(&seen), want, "{} {}", dialect.name, dialect.form);
    }
}

/// A gateway that serves every dialect of the tests.
fn every_dialect(listener: &str, top: &str) -> (Gateway, Backend) {
    let api = format!(
        "hosts: [\"*\"] }}, {{ name: rest, module: demo, services: [{LIBRARY}], upstream: demo, \
         hosts: [{REST_HOST}], dialects: [rest]"
    );
    demo(Parts { api: &api, listener, top, ..Parts::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_hear_of_clients_from_trusted_proxies_in_every_dialect() {
    let (gateway, _backend) = every_dialect("", TRUST);
    let want = [
        "x-forwarded-for: 203.0.113.9, 192.0.2.7, 10.0.0.9, 127.0.0.1",
        "x-forwarded-host: shop.example.com",
        "x-forwarded-proto: https",
    ];
    in_every_dialect(gateway.address(), &FORGED, &want).await;
    let forwarded = [("forwarded", "for=192.0.2.7;proto=https, for=10.0.0.9")];
    let want = [
        "forwarded: for=192.0.2.7;proto=https, for=10.0.0.9, for=127.0.0.1;proto=http",
        "x-forwarded-for: 192.0.2.7, 127.0.0.1",
        "x-forwarded-proto: https",
    ];
    in_every_dialect(gateway.address(), &forwarded, &want).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_hear_nothing_of_what_strangers_say_in_every_dialect() {
    let (gateway, _backend) = every_dialect("", NO_TRUST);
    let want = ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"];
    in_every_dialect(gateway.address(), &FORGED, &want).await;
    in_every_dialect(gateway.address(), &[], &want).await;
    // Nor of what clients say through a proxy of TCP that is trusted.
    let (gateway, _backend) = every_dialect("proxy_protocol: true", TRUST);
    let front = Front::start(gateway.address(), TOLD.as_bytes()).await;
    let want = ["x-forwarded-for: 192.0.2.7", "x-forwarded-proto: http"];
    in_every_dialect(front.address, &FORGED, &want).await;
    // A proxy of HTTP may stand before that one.
    let front = Front::start(gateway.address(), b"PROXY TCP4 10.0.0.2 198.51.100.1 1 2\r\n").await;
    let want = ["x-forwarded-for: 192.0.2.7, 10.0.0.2", "x-forwarded-proto: http"];
    in_every_dialect(front.address, &[("x-forwarded-for", "192.0.2.7")], &want).await;
}

/// Keeps who calls, as policies see it.
#[derive(Debug, Default)]
struct Origins(Mutex<Vec<Origin>>);

impl Policy for Origins {
    fn slot(&self) -> &'static str {
        "test_origins"
    }

    fn check(&self, call: &mut Call) -> Check {
        self.0.lock().expect("nobody panics with it").push(call.origin);
        Check::Pass
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_and_the_log_know_who_calls() {
    let logs = Files::new();
    let log = logs.path("access.log");
    let top = format!("{TRUST}\nobserve: {{ access_log: {{ path: \"{}\" }} }}", log.display());
    let (origins, backend) = (Arc::new(Origins::default()), Backend::start());
    let text = yaml(&[backend.address], Parts { top: &top, ..Parts::default() });
    let gateway = Gateway::with_policies(&text, vec![origins.clone()]);
    let trusted = H2::connect(gateway.address()).await;
    let stranger = H2::over(connect_from(Ipv4Addr::new(127, 0, 0, 2), gateway.address()).await).await;
    let said = [("x-forwarded-for", "203.0.113.9, 192.0.2.7"), ("x-forwarded-proto", "https")];
    for client in [&trusted, &stranger] {
        inspect(client, &said).await;
    }
    let seen: Vec<String> = {
        let seen = origins.0.lock().expect("nobody panics with it");
        seen.iter().map(|origin| format!("{}://{}", origin.scheme.name(), origin.address)).collect()
    };
    assert_eq!(seen, ["https://192.0.2.7", "http://127.0.0.2"]);
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    assert!(support::eventually(|| lines().lines().count() == 2).await, "{}", lines());
    let lines: Vec<serde_json::Value> =
        lines().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let peer =
        |line: &serde_json::Value| line["peer"].as_str().unwrap().split(':').next().unwrap().to_owned();
    let trusted = lines.iter().find(|line| peer(line) == "127.0.0.1").expect("the first call is there");
    let stranger = lines.iter().find(|line| peer(line) == "127.0.0.2").expect("the second call is there");
    assert_eq!((&trusted["client"], &trusted["scheme"]), (&"192.0.2.7".into(), &"https".into()));
    assert_eq!((stranger.get("client"), &stranger["scheme"]), (None, &"http".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_peer_that_is_told() {
    let logs = Files::new();
    let log = logs.path("access.log");
    let top = format!("{TRUST}\nobserve: {{ access_log: {{ path: \"{}\" }} }}", log.display());
    let (gateway, _backend) = demo(Parts { listener: "proxy_protocol: true", top: &top, ..Parts::default() });
    let client = H2::over(Introduced::connect(gateway.address(), TOLD.as_bytes()).await).await;
    inspect(&client, &[]).await;
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    assert!(support::eventually(|| lines().lines().count() == 1).await, "{}", lines());
    let line: serde_json::Value = serde_json::from_str(lines().trim()).unwrap();
    assert_eq!((&line["peer"], line.get("client")), (&"192.0.2.7:56324".into(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_trust_holds_for_connections_to_come() {
    let backend = Backend::start();
    let text = |top| yaml(&[backend.address], Parts { top, ..Parts::default() });
    let gateway = Gateway::start(&text(NO_TRUST));
    let before = H2::connect(gateway.address()).await;
    let said = [("x-forwarded-for", "192.0.2.7")];
    assert_eq!(told(&inspect(&before, &said).await)[0], "x-forwarded-for: 127.0.0.1");
    gateway.server().apply(config_of(&text(TRUST))).expect("it is good");
    let after = H2::connect(gateway.address()).await;
    assert_eq!(told(&inspect(&after, &said).await)[0], "x-forwarded-for: 192.0.2.7, 127.0.0.1");
    assert_eq!(told(&inspect(&before, &said).await)[0], "x-forwarded-for: 127.0.0.1");
}

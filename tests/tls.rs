//! What TLS listeners do, with real clients.

#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/tls.rs"]
mod tls;
#[path = "support/websocket.rs"]
mod websocket;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use rustls::HandshakeKind;
use rustls::ProtocolVersion;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use transom::call::Call;
use transom::call::ClientCertificate;
use transom::call::ClientName;
use transom::policy::Check;
use transom::policy::Policy;
use transom::server::Watch;

use crate::raw::BIDI;
use crate::raw::Client as H2;
use crate::raw::UNARY;
use crate::raw::ask;
use crate::raw::count;
use crate::support::BOOK;
use crate::support::Backend;
use crate::support::Gateway;
use crate::support::Parts;
use crate::support::frame;
use crate::support::message;
use crate::support::soon;
use crate::support::yaml;
use crate::tls::Authority;
use crate::tls::Client;
use crate::tls::Files;
use crate::tls::Leaf;
use crate::tls::Relay;
use crate::tls::connect;
use crate::tls::shown;
use crate::websocket::Ws;

/// A gateway with one TLS listener, an authority that clients trust, and where its files are.
struct Set {
    gateway: Gateway,
    authority: Authority,
    files: Files,
    leaves: Vec<Leaf>,
    /// Its service.
    _backend: Backend,
}

impl Set {
    /// Certificates `0`, `1`, ... have these names. `more` are keys beside `certificates`.
    fn start(certificates: &[&[&str]], more: &str) -> Self {
        Self::start_with(certificates, more, Parts::default())
    }

    fn start_with(certificates: &[&[&str]], more: &str, parts: Parts<'_>) -> Self {
        Self::start_all(certificates, more, parts, Vec::new())
    }

    fn start_all(
        certificates: &[&[&str]],
        more: &str,
        parts: Parts<'_>,
        policies: Vec<Arc<dyn Policy>>,
    ) -> Self {
        let (authority, files) = (Authority::new("servers"), Files::new());
        let leaves: Vec<Leaf> = certificates.iter().map(|names| authority.leaf(names)).collect();
        let mut pairs = Vec::new();
        for (at, leaf) in leaves.iter().enumerate() {
            files.put(&at.to_string(), leaf);
            pairs.push(files.pair(&at.to_string()));
        }
        let backend = Backend::start();
        let tls = format!("tls: {{ certificates: [{}]{more} }}", pairs.join(", "));
        let listener = if parts.listener.is_empty() { tls } else { format!("{tls}, {}", parts.listener) };
        let text = yaml(&[backend.address], Parts { listener: &listener, ..parts });
        files.write("transom.yaml", &text);
        let path = files.path("transom.yaml");
        let config = transom::config::load(&path, &|_| None)
            .unwrap_or_else(|report| panic!("the test's configuration is at fault:\n{report}\n{text}"));
        let gateway = Gateway::of(config, policies, Watch::No);
        Self { gateway, authority, files, leaves, _backend: backend }
    }

    fn client(&self) -> Client<'_> {
        Client::of(&self.authority)
    }

    /// An HTTP/2 connection to the server of that name.
    async fn h2(&self, name: &str) -> H2 {
        H2::over(self.client().connect(self.gateway.address(), name).await.expect("hands are shaken")).await
    }

    /// Handshakes of that outcome.
    fn shaken(&self, outcome: &str) -> i64 {
        count(&self.gateway, "transom_tls_handshakes_total", &[("outcome", outcome)])
    }

    async fn until_shaken(&self, outcome: &str, times: f64) {
        let labels = [("outcome", outcome)];
        self.gateway.until_metric("transom_tls_handshakes_total", &labels, times).await;
    }
}

fn get_book() -> raw::Ask {
    let book = transom::demo::pb::GetBookRequest { name: BOOK.into() };
    ask(UNARY).chunks(&[&message(&book)])
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_and_both_protocols_are_spoken() {
    let set = Set::start(&[&["api.test"]], "");
    for (version, named) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        for (alpn, agreed) in [
            (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
            (&["http/1.1", "h2"], Some(b"h2")),
            (&["http/1.1"], Some(b"http/1.1")),
            (&[], None),
        ] {
            let client = Client { versions: &[version], alpn, ..set.client() };
            let mut io = client.connect(set.gateway.address(), "api.test").await.unwrap();
            let session = io.get_ref().1;
            assert_eq!((session.protocol_version(), session.alpn_protocol()), (Some(named), agreed));
            if agreed == Some(b"h2") {
                assert_eq!(H2::over(io).await.call(&get_book()).await.code, Some(0));
                continue;
            }
            io.write_all(b"GET /nowhere HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n")
                .await
                .unwrap();
            let mut said = String::new();
            soon("an answer", io.read_to_string(&mut said))
                .await
                .expect("the end is told before the socket's");
            assert!(said.starts_with("HTTP/1.1 404 "), "{said}");
        }
        // Without ALPN the first bytes tell.
        let client = Client { versions: &[version], alpn: &[], ..set.client() };
        let io = client.connect(set.gateway.address(), "api.test").await.unwrap();
        assert_eq!(H2::over(io).await.call(&get_book()).await.code, Some(0));
    }
    assert_eq!(set.shaken("full"), 10);
    let client = Client { alpn: &["spdy/3"], ..set.client() };
    client.connect(set.gateway.address(), "api.test").await.expect_err("there is no protocol in common");
    set.until_shaken("no_protocol", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_end_in_order() {
    let set = Set::start(&[&["api.test"]], "");
    for alpn in [&["h2"][..], &["http/1.1"], &[]] {
        for said in ["", "GET /nowhere HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n"] {
            let client = Client { alpn, ..set.client() };
            let mut io = client.connect(set.gateway.address(), "api.test").await.unwrap();
            io.write_all(said.as_bytes()).await.unwrap();
            if said.is_empty() {
                io.shutdown().await.unwrap();
            }
            let mut heard = Vec::new();
            let end = soon("the end", io.read_to_end(&mut heard)).await;
            assert!(end.is_ok(), "{alpn:?} after {said:?}: {end:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_than_the_least_is_refused() {
    let set = Set::start(&[&["api.test"]], ", min_version: \"1.3\"");
    let old = Client { versions: &[&rustls::version::TLS12], ..set.client() };
    old.connect(set.gateway.address(), "api.test").await.expect_err("1.2 is too old");
    set.until_shaken("incompatible", 1.0).await;
    assert_eq!(set.h2("api.test").await.call(&get_book()).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_is_never_mistaken_for_http_2_that_was_not_agreed() {
    let set = Set::start(&[&["api.test"]], "");
    let client = Client { alpn: &["http/1.1"], ..set.client() };
    let mut io = client.connect(set.gateway.address(), "api.test").await.unwrap();
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut said = String::new();
    soon("an answer", io.read_to_string(&mut said)).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 4") || said.starts_with("HTTP/1.1 505 "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_name_picks_the_certificate() {
    let names: &[&[&str]] = &[&["first.test"], &["*.wild.test"], &["exact.wild.test", "second.test"]];
    let set = Set::start(names, "");
    for (name, at) in [
        ("first.test", 0),
        ("second.test", 2),
        ("any.wild.test", 1),
        ("ANY.wild.test", 1),
        ("exact.wild.test", 2),
    ] {
        let io = set.client().connect(set.gateway.address(), name).await.unwrap();
        assert_eq!(shown(&io), set.leaves[at].der, "{name}");
    }
    // A wildcard is one label; the first certificate serves all others, and clients judge it.
    for name in ["a.b.wild.test", "wild.test", "nobody.test"] {
        set.client().connect(set.gateway.address(), name).await.expect_err("it has another name");
    }
    set.until_shaken("client_refused", 3.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_resumed_by_tickets_also_after_a_reload() {
    let set = Set::start(&[&["api.test"], &["other.test"]], "");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Client { versions: &[version], ..set.client() }.config();
        let mut kinds = Vec::new();
        for round in 0..3 {
            let io = connect(&config, set.gateway.address(), "api.test").await.unwrap();
            kinds.push(io.get_ref().1.handshake_kind().unwrap());
            // The ticket of TLS 1.3 comes with the first bytes.
            assert_eq!(H2::over(io).await.call(&get_book()).await.code, Some(0));
            if round == 1 {
                set.files.put("0", &set.authority.leaf(&["api.test"]));
                set.gateway.server().reload();
            }
        }
        assert!(kinds[0] != HandshakeKind::Resumed, "{kinds:?}");
        assert_eq!(kinds[1..], [HandshakeKind::Resumed, HandshakeKind::Resumed]);
        let other = connect(&config, set.gateway.address(), "other.test").await.unwrap();
        assert_ne!(other.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "of one server name");
    }
    assert_eq!(set.shaken("resumed"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_live_through_a_hundred_rotations() {
    let set = Set::start(&[&["api.test"]], "");
    let address = set.gateway.address();
    let clients = futures_util::future::join_all((0..4).map(|_| set.h2("api.test"))).await;
    let mut streams = Vec::new();
    for client in &clients {
        for _ in 0..50 {
            let mut calling = client.begin(&ask(BIDI).chunks(&[&remark()]).open()).await.unwrap();
            let (body, first) = calling.first().await;
            assert!(!first.is_empty());
            streams.push((calling, body));
        }
    }
    for round in 0..100 {
        let leaf = set.authority.leaf(&["api.test"]);
        set.files.put("0", &leaf);
        set.gateway.server().reload();
        let io = set.client().connect(address, "api.test").await.unwrap();
        assert_eq!(shown(&io), leaf.der, "handshake after rotation {round}");
        for (calling, body) in streams.iter_mut().skip(round % 10).step_by(10) {
            calling.sending.send_data(remark(), false).unwrap();
            let answer = soon("an answer", body.data()).await.expect("it goes on").expect("it is whole");
            body.flow_control().release_capacity(answer.len()).unwrap();
        }
    }
    for (mut calling, mut body) in streams {
        calling.sending.send_data(bytes::Bytes::new(), true).unwrap();
        let mut outcome = raw::Outcome::default();
        soon("the end", raw::rest(&mut body, &mut outcome)).await;
        assert_eq!((outcome.code, outcome.error.is_none()), (Some(0), true), "{outcome:?}");
    }
    assert_eq!(count(&set.gateway, "transom_snapshot_failures_total", &[]), 0);
}

fn remark() -> bytes::Bytes {
    message(&transom::demo::pb::Remark { id: "a".into(), text: "so?".into(), times: 1, fail_with: 0 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_pair_is_refused_and_the_old_one_serves() {
    let set = Set::start(&[&["api.test"]], "");
    let (old, new) = (set.leaves[0].clone(), set.authority.leaf(&["api.test"]));
    let other = set.authority.leaf(&["api.test"]);
    let cut = &new.cert[..new.cert.len() / 2];
    let broken: &[(&str, &str)] =
        &[(&new.cert, &other.key), (cut, &new.key), ("", &new.key), (&new.cert, ""), (&new.key, &new.cert)];
    for (at, (cert, key)) in (1..).zip(broken) {
        set.files.write("0.crt", cert);
        set.files.write("0.key", key);
        set.gateway.server().reload();
        assert_eq!(count(&set.gateway, "transom_snapshot_failures_total", &[]), at);
        let io = set.client().connect(set.gateway.address(), "api.test").await.unwrap();
        assert_eq!(shown(&io), old.der, "after broken pair {at}");
    }
    std::fs::remove_file(set.files.path("0.key")).unwrap();
    set.gateway.server().reload();
    let io = set.client().connect(set.gateway.address(), "api.test").await.unwrap();
    assert_eq!(shown(&io), old.der);
    set.files.put("0", &new);
    set.gateway.server().reload();
    let io = set.client().connect(set.gateway.address(), "api.test").await.unwrap();
    assert_eq!(shown(&io), new.der, "a good one is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_files_are_seen() {
    let (authority, files, backend) = (Authority::new("servers"), Files::new(), Backend::start());
    files.put("api", &authority.leaf(&["api.test"]));
    let certificates = files.pair("api").replacen('{', "{ name: api,", 1);
    let top = format!("certificates: [{certificates}]");
    let listener = "tls: { certificates: [api] }";
    let text = yaml(&[backend.address], Parts { listener, top: &top, ..Parts::default() });
    files.write("transom.yaml", &text);
    let config = transom::config::load(&files.path("transom.yaml"), &|_| None).unwrap();
    let gateway = Gateway::of(config, Vec::new(), Watch::Yes);
    let generation = || gateway.metric("transom_snapshot_generation", &[]);
    let before = generation();
    let leaf = authority.leaf(&["api.test"]);
    files.put("api", &leaf);
    assert!(support::eventually(|| generation() > before).await, "nothing was seen");
    let io = Client::of(&authority).connect(gateway.address(), "api.test").await.unwrap();
    assert_eq!(shown(&io), leaf.der);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_comes_and_goes_without_a_new_socket() {
    let set = Set::start(&[&["api.test"]], "");
    let secured = std::fs::read_to_string(set.files.path("transom.yaml")).unwrap();
    let from = secured.find(", tls: {").unwrap();
    let to = from + secured[from..].find("] }").unwrap() + 3;
    let plain = format!("{}{}", &secured[..from], &secured[to..]);
    let live = set.h2("api.test").await;
    assert_eq!(live.call(&get_book()).await.code, Some(0));
    set.files.write("transom.yaml", &plain);
    set.gateway.server().reload();
    assert_eq!(H2::connect(set.gateway.address()).await.call(&get_book()).await.code, Some(0));
    assert_eq!(live.call(&get_book()).await.code, Some(0), "running connections go on");
    set.files.write("transom.yaml", &secured);
    set.gateway.server().reload();
    assert_eq!(set.h2("api.test").await.call(&get_book()).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_and_slow_handshakes_are_ended() {
    let set = Set::start(&[&["api.test"]], ", handshake_timeout: 300ms");
    let begun = Instant::now();
    let mut silent = TcpStream::connect(set.gateway.address()).await.unwrap();
    let mut slow = TcpStream::connect(set.gateway.address()).await.unwrap();
    // The head of a record that never comes.
    slow.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let mut said = Vec::new();
    for socket in [&mut silent, &mut slow] {
        // A reset is an end as well.
        let _ = soon("a close", socket.read_to_end(&mut said)).await;
    }
    assert!(said.is_empty() && begun.elapsed() >= Duration::from_millis(300), "{said:?}");
    set.until_shaken("timeout", 2.0).await;
    set.gateway.until_metric("transom_connections", &[("listener", "main")], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_silent_clients_hold_up_nobody() {
    const ROUNDS: usize = 20;
    let files = rlimit::increase_nofile_limit(ROUNDS as u64 * 500 + 2_000).unwrap();
    assert!(files >= 12_000, "this test needs 12,000 open files, and may have {files} (ulimit -n)");
    let set = Set::start(&[&["api.test"]], ", max_handshakes: 100");
    let served = set.h2("api.test").await;
    assert_eq!(served.call(&get_book()).await.code, Some(0));
    let mut silent = Vec::new();
    for round in 0..ROUNDS {
        for _ in 0..500 {
            silent.push(TcpStream::connect(set.gateway.address()).await.unwrap());
        }
        assert_eq!(served.call(&get_book()).await.code, Some(0), "round {round}");
        let fresh = set.h2("api.test").await;
        assert_eq!(fresh.call(&get_book()).await.code, Some(0), "a new one, round {round}");
    }
    // The oldest have given way, the youngest still may speak.
    let open = count(&set.gateway, "transom_connections", &[("listener", "main")]);
    assert!(open <= 200, "{open} connections are held");
    let mut said = Vec::new();
    let _ = soon("a close", silent[0].read_to_end(&mut said)).await;
    assert!(said.is_empty());
    assert!(set.shaken("gave_way") >= 9_800, "{}", set.shaken("gave_way"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_the_clear_is_told_that_tls_is_spoken() {
    let set = Set::start(&[&["api.test"]], "");
    for request in
        ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"]
    {
        let answer = raw::talk(set.gateway.address(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("begin with https://\n"), "{answer}");
    }
    let socket = TcpStream::connect(set.gateway.address()).await.unwrap();
    let (_h2, connection) = h2::client::handshake(socket).await.unwrap();
    let error = soon("a GOAWAY", connection).await.expect_err("it says why");
    assert_eq!(error.reason(), Some(h2::Reason::INADEQUATE_SECURITY), "{error:?}");
    assert_eq!(raw::talk(set.gateway.address(), b"\0\x01\x02").await, "", "what is neither gets no word");
    set.until_shaken("not_tls", 4.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_records_is_the_end_of_one_connection() {
    let set = Set::start(&[&["api.test"]], "");
    let mut attacks = JoinSet::new();
    for seed in 0..64u8 {
        let address = set.gateway.address();
        attacks.spawn(async move {
            let mut socket = TcpStream::connect(address).await.expect("connections are taken");
            let noise =
                (0..512u16).map(|at| (at.wrapping_mul(31) >> 3).to_be_bytes()[1] ^ seed.wrapping_mul(7));
            let bytes: Vec<u8> = [22, 3, 1, 2, 0].into_iter().chain(noise).collect();
            let _ = socket.write_all(&bytes).await;
            let _ = soon("a close", socket.read_to_end(&mut Vec::new())).await;
        });
    }
    attacks.join_all().await;
    assert_eq!(count(&set.gateway, "transom_panics_total", &[]), 0);
    assert_eq!(set.h2("api.test").await.call(&get_book()).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_behind_when_the_socket_was_full() {
    let set = Set::start(&[&["api.test"]], "");
    // Each reply is a little larger, up to the first that doesn't fit into what buffers there are.
    for round in 1.. {
        let io = set.client().connect(set.gateway.address(), "api.test").await.unwrap();
        let (io, gate) = Gated::new(io);
        let mut builder = h2::client::Builder::new();
        let builder = builder.initial_window_size(64 << 20).initial_connection_window_size(64 << 20);
        let client = H2::over_with(io, builder).await;
        let inspect = transom::demo::pb::InspectRequest { padding: round * 16_000, ..Default::default() };
        let ask = ask("/transom.demo.v1.Library/Inspect").chunks(&[&message(&inspect)]);
        let calling = client.begin(&ask).await.unwrap();
        let ended = set.gateway.until_metric("transom_calls_total", &[("code", "OK")], f64::from(round));
        let has_ended = tokio::time::timeout(Duration::from_secs(1), ended).await.is_ok();
        gate.open();
        let outcome = calling.end().await;
        assert_eq!((outcome.code, outcome.data.len() > 16_000), (Some(0), true), "round {round}");
        if !has_ended {
            return;
        }
    }
}

/// A stream whose client reads nothing before its gate is open.
struct Gated<T> {
    io: T,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    open: AtomicBool,
    reader: AtomicWaker,
}

impl<T> Gated<T> {
    fn new(io: T) -> (Self, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        (Self { io, gate: gate.clone() }, gate)
    }
}

impl Gate {
    fn open(&self) {
        self.open.store(true, Ordering::Release);
        self.reader.wake();
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gated<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.gate.reader.register(cx.waker());
        if self.gate.open.load(Ordering::Acquire) {
            Pin::new(&mut self.io).poll_read(cx, buf)
        } else {
            Poll::Pending
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gated<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_carry_more_than_a_socket_takes_at_once() {
    const REMARKS: usize = 60;
    let set = Set::start(&[&["api.test"]], "");
    let relay = Relay::start(set.gateway.address(), "api.test", &set.authority).await;
    for http in websocket::BOTH {
        let mut ws = Ws::open(http, relay.address, "/transom.demo.v1.Library/Discuss", &[]).await;
        for _ in 0..REMARKS {
            ws.send(&websocket::text(r#"{"id":"1","text":"Is it raining?","times":1000}"#)).await;
        }
        ws.send(&websocket::half_close()).await;
        for number in 1..=REMARKS * 1000 {
            let answer = ws.text().await;
            assert!(answer.contains(&format!("\"number\":\"{number}\"")), "{number}: {answer}");
        }
        ws.end().await;
    }
}

/// A gateway that asks clients for certificates of the authority that comes with it.
fn with_clients(more: &str, parts: Parts<'_>) -> (Set, Authority) {
    with_all(more, parts, Vec::new())
}

fn with_all(more: &str, parts: Parts<'_>, policies: Vec<Arc<dyn Policy>>) -> (Set, Authority) {
    let clients = Authority::new("clients");
    let files = Files::new();
    files.write("clients.pem", &clients.pem);
    let more = format!(", client_ca: \"{}\"{more}", files.path("clients.pem").display());
    (Set::start_all(&[&["api.test"]], &more, parts, policies), clients)
}

/// Makes a call, or tells that there is no connection: TLS 1.3 says so only after the client's handshake.
async fn call_as(
    set: &Set,
    shows: Option<&Leaf>,
    version: &'static rustls::SupportedProtocolVersion,
) -> bool {
    let client = Client { shows, versions: &[version], ..set.client() };
    let Ok(io) = client.connect(set.gateway.address(), "api.test").await else { return false };
    let outcome = H2::over(io).await.call(&get_book()).await;
    assert!(outcome.code == Some(0) || outcome.error.is_some(), "{outcome:?}");
    outcome.code == Some(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificates_are_verified() {
    for auth in ["required", "optional"] {
        let (set, clients) = with_clients(&format!(", client_auth: {auth}"), Parts::default());
        let (good, stranger) =
            (clients.client("mobile", &[]), Authority::new("clients").client("mobile", &[]));
        let mut expired = tls::named("late", &[]);
        expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let expired = clients.sign(expired);
        for (at, version) in (1..).zip(tls::VERSIONS) {
            assert!(call_as(&set, Some(&good), version).await, "{auth}");
            assert!(!call_as(&set, Some(&stranger), version).await, "of another authority of that name");
            assert!(!call_as(&set, Some(&expired), version).await);
            assert_eq!(call_as(&set, None, version).await, auth == "optional");
            set.until_shaken("certificate_invalid", 2.0 * f64::from(at)).await;
        }
        if auth == "required" {
            set.until_shaken("certificate_missing", 2.0).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_client_is_refused_also_with_a_ticket() {
    let (clients, files) = (Authority::new("clients"), Files::new());
    let (good, bad) = (clients.client("good", &[]), clients.client("bad", &[]));
    files.write("ca.pem", &clients.pem);
    files.write("crl.pem", &clients.revoke(&[]));
    let shown = |name: &str| files.path(name).display().to_string();
    let more = format!(", client_ca: \"{}\", crl: \"{}\"", shown("ca.pem"), shown("crl.pem"));
    let set = Set::start(&[&["api.test"]], &more);
    let configs: Vec<_> = tls::VERSIONS
        .iter()
        .flat_map(|version| {
            [&good, &bad].map(|leaf| {
                (
                    leaf,
                    Client { shows: Some(leaf), versions: std::slice::from_ref(version), ..set.client() }
                        .config(),
                )
            })
        })
        .collect();
    for (_, config) in &configs {
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let io = connect(config, set.gateway.address(), "api.test").await.unwrap();
            let was = io.get_ref().1.handshake_kind().unwrap();
            assert_eq!(was == HandshakeKind::Resumed, kind == HandshakeKind::Resumed, "{was:?}");
            assert_eq!(H2::over(io).await.call(&get_book()).await.code, Some(0));
        }
    }
    files.write("crl.pem", &clients.revoke(&[&bad]));
    set.gateway.server().reload();
    for (leaf, config) in &configs {
        let Ok(io) = connect(config, set.gateway.address(), "api.test").await else {
            assert_eq!(leaf.serial, bad.serial);
            continue;
        };
        let outcome = H2::over(io).await.call(&get_book()).await;
        assert_eq!(outcome.code == Some(0), leaf.serial == good.serial, "{outcome:?}");
    }
    set.until_shaken("certificate_revoked", 2.0).await;
    files.write("crl.pem", "nothing");
    set.gateway.server().reload();
    assert_eq!(count(&set.gateway, "transom_snapshot_failures_total", &[]), 1);
    assert!(!call_as(&set, Some(&bad), &rustls::version::TLS13).await, "the old list holds");
}

async fn inspected(client: &H2, fields: &[(&'static str, &str)]) -> transom::demo::pb::InspectResponse {
    use prost::Message;
    let ask = fields
        .iter()
        .fold(ask("/transom.demo.v1.Library/Inspect").chunks(&[&frame(0, b"")]), |ask, (name, value)| {
            ask.header(name, value)
        });
    let outcome = client.call(&ask).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    transom::demo::pb::InspectResponse::decode(&outcome.data[5..]).expect("a reply")
}

/// What the service was told of the client's certificate.
fn told(seen: &transom::demo::pb::InspectResponse) -> Vec<String> {
    let named = seen.metadata.iter().filter(|entry| entry.key.replace('_', "-") == "x-forwarded-client-cert");
    named.map(|entry| String::from_utf8(entry.value.clone()).expect("ASCII")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_told_upstream_and_in_the_log() {
    let logs = Files::new();
    let top = format!("observe: {{ access_log: {{ path: \"{}\" }} }}", logs.path("access.log").display());
    let forged = [("x-forwarded-client-cert", "Hash=forged"), ("x_forwarded_client_cert", "Hash=forged")];
    let parts = Parts { top: &top, ..Parts::default() };
    let (set, clients) = with_clients(", client_auth: optional, forward_client_cert: true", parts);
    let mut params = tls::named("Jane, \"J\"", &["jane.example.com"]);
    params.subject_alt_names.push(rcgen::SanType::URI("spiffe://example.com/jane".try_into().unwrap()));
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
    let leaf = clients.sign(params);
    let fingerprint = fingerprint(&leaf);
    let client = Client { shows: Some(&leaf), ..set.client() };
    let io = client.connect(set.gateway.address(), "api.test").await.unwrap();
    let seen = inspected(&H2::over(io).await, &forged).await;
    let want = format!(
        "Hash={fingerprint};Subject=\"O=Example,CN=Jane\\\\, \\\\\\\"J\\\\\\\"\";DNS=\"jane.example.com\";URI=\"spiffe://example.com/jane\""
    );
    assert_eq!(told(&seen), [want]);
    assert!(told(&inspected(&set.h2("api.test").await, &forged).await).is_empty(), "none was shown");
    let log = logs.path("access.log");
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    assert!(support::eventually(|| lines().lines().count() == 2).await, "{}", lines());
    let lines = lines();
    let (first, second) = lines.split_once('\n').unwrap();
    let line: serde_json::Value = serde_json::from_str(first).unwrap();
    assert_eq!(line["client_subject"], "O=Example,CN=Jane\\, \\\"J\\\"");
    assert_eq!(line["client_fingerprint"], fingerprint);
    assert!(!second.contains("client_"), "{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_not_told_unasked() {
    let (set, clients) = with_clients("", Parts::default());
    let leaf = clients.client("mobile", &[]);
    let client = Client { shows: Some(&leaf), ..set.client() };
    let io = client.connect(set.gateway.address(), "api.test").await.unwrap();
    let seen = inspected(&H2::over(io).await, &[("x-forwarded-client-cert", "Hash=forged")]).await;
    assert!(told(&seen).is_empty());
}

/// Keeps what policies can know of a client.
#[derive(Debug, Default)]
struct Facts(Mutex<Vec<Option<ClientCertificate>>>);

impl Policy for Facts {
    fn slot(&self) -> &'static str {
        "test_facts"
    }

    fn check(&self, call: &mut Call) -> Check {
        let seen = call.connection.client_certificate().cloned();
        self.0.lock().expect("nobody panics with it").push(seen);
        Check::Pass
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_see_the_certificate() {
    let facts = Arc::new(Facts::default());
    let (set, clients) = with_all(", client_auth: optional", Parts::default(), vec![facts.clone()]);
    let mut params = tls::named("mobile", &["mobile.test", "10.1.2.3"]);
    let uri = "spiffe://example.com/mobile";
    params.subject_alt_names.push(rcgen::SanType::URI(uri.try_into().unwrap()));
    params.subject_alt_names.push(rcgen::SanType::Rfc822Name("ops@example.com".try_into().unwrap()));
    let leaf = clients.sign(params);
    for shows in [Some(&leaf), None] {
        for version in tls::VERSIONS {
            assert!(call_as(&set, shows, version).await);
        }
    }
    let want = ClientCertificate {
        subject: "CN=mobile".into(),
        names: vec![
            ClientName::Dns("mobile.test".into()),
            ClientName::Ip("10.1.2.3".parse().unwrap()),
            ClientName::Uri(uri.into()),
            ClientName::Email("ops@example.com".into()),
        ],
        fingerprint: fingerprint(&leaf).into(),
    };
    assert_eq!(*facts.0.lock().unwrap(), [Some(want.clone()), Some(want), None, None]);
}

/// SHA-256 in hex.
fn fingerprint(leaf: &Leaf) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(&leaf.der).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_another_certificate_is_misdirected() {
    let set = Set::start(&[&["a.test", "c.test"], &["b.test", "*.b.test"]], "");
    let client = set.h2("a.test").await;
    for (host, status) in [
        ("a.test", 200),
        ("c.test", 200),
        ("nobody.test", 200),
        ("b.test", 421),
        ("B.TEST:443", 421),
        ("x.b.test", 421),
        ("x.y.b.test", 200),
    ] {
        let outcome = client.call(&get_book().host(host)).await;
        assert_eq!(outcome.http, status, "{host}: {outcome:?}");
    }
    assert_eq!(count(&set.gateway, "transom_refusals_total", &[("reason", "MISDIRECTED")]), 3);
    let other = set.h2("x.b.test").await;
    assert_eq!(other.call(&get_book().host("b.test")).await.code, Some(0));
    assert_eq!(other.call(&get_book().host("a.test")).await.http, 421);
    // In HTTP/1.1 and for what is no call as well.
    let http1 = Client { alpn: &["http/1.1"], ..set.client() };
    for path in ["/nowhere", "/transom.demo.v1.Library/GetBook"] {
        let mut io = http1.connect(set.gateway.address(), "a.test").await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: b.test\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
        );
        io.write_all(head.as_bytes()).await.unwrap();
        let mut said = String::new();
        soon("an answer", io.read_to_string(&mut said)).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 421 "), "{said}");
    }
}

#[test]
fn faults_of_files_say_what_to_do() {
    let (authority, files) = (Authority::new("servers"), Files::new());
    let (one, two) = (authority.leaf(&["a.test"]), authority.leaf(&["b.test"]));
    files.put("one", &one);
    files.put("two", &two);
    files.write("none.pem", "");
    files.write("bad.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    files.write("der.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    files.write(
        "locked.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    files.write("authority.pem", &authority.pem);
    let faults = |tls: &str| {
        let text = format!(
            "listeners: [{{ name: a, address: \"127.0.0.1:0\", tls: {{ {tls} }} }}]\nadmin: {{ address: \"127.0.0.1:0\" }}\n"
        );
        files.write("transom.yaml", &text);
        let config = transom::config::load(&files.path("transom.yaml"), &|_| None).unwrap();
        let report = transom::server::check(&config).unwrap_err().to_string();
        report.replace(&format!("{}/", files.dir().display()), "")
    };
    let pair = |cert: &str, key: &str| format!("certificates: [{{ cert: {cert}, key: {key} }}]");
    for (tls, problem, help) in [
        (
            pair("gone.crt", "one.key"),
            "certificates[0].cert: gone.crt can't be read: there is no such file",
            "relative paths",
        ),
        (pair("none.pem", "one.key"), ".cert: none.pem has no certificate", "BEGIN CERTIFICATE"),
        (pair("bad.pem", "one.key"), ".cert: bad.pem is not PEM: a block is not base64", "BEGIN CERTIFICATE"),
        (pair("der.pem", "one.key"), ".cert: der.pem has no good certificate", "X.509"),
        (pair("one.key", "one.crt"), ".cert: one.key has no certificate", "write it as `key`"),
        (pair("one.crt", "one.crt"), ".key: one.crt has no private key", "write it as `cert`"),
        (pair("one.crt", "locked.pem"), ".key: the private key in locked.pem is encrypted", "openssl pkey"),
        (
            pair("one.crt", "two.key"),
            ".key: two.key is the key of another certificate than one.crt",
            "made with",
        ),
        (pair("one.crt", "one.key") + ", client_ca: gone.pem", "client_ca: gone.pem can't be read", ""),
        (pair("one.crt", "one.key") + ", client_ca: none.pem", "client_ca: none.pem has no certificate", ""),
        (
            pair("one.crt", "one.key") + ", client_ca: authority.pem, crl: none.pem",
            "crl: none.pem has no revocation list",
            "X509 CRL",
        ),
    ] {
        let report = faults(&tls);
        assert!(
            report.contains("transom.yaml:1:") && report.contains(problem) && report.contains(help),
            "{tls}\n{report}"
        );
        assert!(report.ends_with("1 fault"), "{report}");
    }
    let report = faults(
        "certificates: [{ cert: gone.crt, key: gone.key }, { cert: gone.crt, key: gone.key }], client_ca: gone.pem",
    );
    assert!(report.ends_with("2 faults"), "one file is one fault: {report}");
}

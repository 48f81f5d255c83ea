//! What TLS listeners do, with real clients.

#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/tls.rs"]
mod tls;

use std::time::Duration;

use rustls::HandshakeKind;
use rustls::ProtocolVersion;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
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
use crate::support::message;
use crate::support::soon;
use crate::support::yaml;
use crate::tls::Authority;
use crate::tls::Client;
use crate::tls::Files;
use crate::tls::Leaf;
use crate::tls::connect;
use crate::tls::shown;

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
        let gateway = Gateway::of(config, Vec::new(), Watch::No);
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
    let before = gateway.metric("transom_snapshot_generation", &[]);
    let leaf = authority.leaf(&["api.test"]);
    files.put("api", &leaf);
    gateway.until_metric("transom_snapshot_generation", &[], before + 1.0).await;
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
async fn a_thousand_silent_clients_hold_up_nobody() {
    let set = Set::start(&[&["api.test"]], ", max_handshakes: 100");
    let served = set.h2("api.test").await;
    assert_eq!(served.call(&get_book()).await.code, Some(0));
    let mut silent = Vec::new();
    for round in 0..10 {
        for _ in 0..100 {
            silent.push(TcpStream::connect(set.gateway.address()).await.unwrap());
        }
        assert_eq!(served.call(&get_book()).await.code, Some(0), "round {round}");
        assert_eq!(
            set.h2("api.test").await.call(&get_book()).await.code,
            Some(0),
            "a new one, round {round}"
        );
    }
    // The oldest have given way, the youngest still may speak.
    let open = count(&set.gateway, "transom_connections", &[("listener", "main")]);
    assert!(open <= 200, "{open} connections are held");
    let mut said = Vec::new();
    let _ = soon("a close", silent[0].read_to_end(&mut said)).await;
    assert!(said.is_empty());
    assert!(set.shaken("gave_way") >= 800, "{}", set.shaken("gave_way"));
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
async fn large_messages_pass_whole() {
    let api = "policies: { validate: { max_message: 16MiB } }";
    let set = Set::start_with(&[&["api.test"]], "", Parts { api, ..Parts::default() });
    let client = set.h2("api.test").await;
    let payload = vec![7; 4 << 20];
    let inspect = transom::demo::pb::InspectRequest { payload, ..Default::default() };
    let bytes = message(&inspect);
    let outcome = client.call(&ask("/transom.demo.v1.Library/Inspect").chunks(&[&bytes])).await;
    assert_eq!((outcome.code, outcome.data.len() > 4 << 20), (Some(0), true));
}

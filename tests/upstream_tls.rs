//! What TLS to upstreams does, with real servers behind it.

#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/tls.rs"]
mod tls;

use std::io::BufRead;
use std::net::SocketAddr;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rustls::HandshakeKind;
use rustls::ProtocolVersion;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use transom::demo::pb;
use transom::server::Watch;

use crate::raw::BIDI;
use crate::raw::Client as H2;
use crate::raw::Outcome;
use crate::raw::UNARY;
use crate::raw::ask;
use crate::raw::count;
use crate::support::BOOK;
use crate::support::Backend;
use crate::support::Gateway;
use crate::support::LIBRARY;
use crate::support::Parts;
use crate::support::RawUpstream;
use crate::support::eventually;
use crate::support::frame;
use crate::support::grpc_head;
use crate::support::message;
use crate::support::soon;
use crate::support::trailers;
use crate::support::yaml_of;
use crate::tls::Authority;
use crate::tls::Files;
use crate::tls::Front;
use crate::tls::Leaf;
use crate::tls::Server;
use crate::tls::named;

/// Authorities, their files, and a service without TLS.
struct World {
    /// Signs for servers; `ca.pem`.
    authority: Authority,
    /// Signs for the gateway.
    clients: Authority,
    files: Files,
    backend: Backend,
}

impl World {
    fn new() -> Self {
        let (authority, files) = (Authority::new("servers"), Files::new());
        files.write("ca.pem", &authority.pem);
        Self { authority, clients: Authority::new("clients"), files, backend: Backend::start() }
    }

    fn leaf(&self, name: &str) -> Leaf {
        self.authority.leaf(&[name])
    }

    /// TLS before the service.
    fn front(&self, server: Server<'_>) -> Front {
        Front::start(self.backend.address, server)
    }

    /// A gateway by a file, which trusts `ca.pem`; `tls` has more keys.
    fn gateway(&self, endpoint: &str, tls: &str) -> Gateway {
        self.write(endpoint, tls);
        let path = self.files.path("transom.yaml");
        let config = transom::config::load(&path, &|_| None).unwrap_or_else(|report| panic!("{report}"));
        Gateway::of(config, Vec::new(), Watch::No)
    }

    fn write(&self, endpoint: &str, tls: &str) {
        let upstream = format!("tls: {{ ca: ca.pem{tls} }}, pool: {{ connections: 1, connect_timeout: 5s }}");
        self.write_with(endpoint, &upstream);
    }

    fn write_with(&self, endpoint: &str, upstream: &str) {
        let log = self.files.path("access.log");
        let top = format!(
            "server: {{ drain_timeout: 1s, workers: 1 }}\nobserve: {{ access_log: {{ path: \"{}\" }} }}",
            log.display()
        );
        let endpoint = format!("{{ address: \"{endpoint}\" }}");
        self.files
            .write("transom.yaml", &yaml_of(&endpoint, Parts { upstream, top: &top, ..Parts::default() }));
    }

    /// The gateway's own certificate, in `gw.crt` and `gw.key`.
    fn own(&self, leaf: &Leaf) {
        self.files.put("gw", leaf);
    }

    /// A call fails as those do whose upstream can't be reached; its metrics have the outcome, and the access
    /// log these words.
    async fn fails(&self, gateway: Gateway, outcome: &str, words: &str) {
        let ended = call(&gateway).await;
        assert_eq!((ended.code, &*ended.reason), (Some(14), "UPSTREAM_UNREACHABLE"), "{ended:?}");
        assert_eq!(ended.told, "the service can't be reached: try again later", "clients see no more");
        let tried = count(&gateway, "transom_upstream_connects_total", &[("outcome", outcome)]);
        assert!(tried >= 1, "{outcome}: {}", gateway.server().metrics().render());
        gateway.drain().await;
        let log = std::fs::read_to_string(self.files.path("access.log")).expect("there is a log");
        assert!(log.contains(words), "no `{words}` in {log}");
    }
}

const OWN: &str = ", cert: gw.crt, key: gw.key";

fn get_book() -> raw::Ask {
    ask(UNARY).chunks(&[&message(&pb::GetBookRequest { name: BOOK.into() })])
}

async fn call(gateway: &Gateway) -> Outcome {
    H2::connect(gateway.address()).await.call(&get_book()).await
}

async fn works(gateway: &Gateway) {
    let ended = call(gateway).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

fn remark() -> Bytes {
    message(&pb::Remark { id: "a".into(), text: "so?".into(), times: 1, fail_with: 0 })
}

/// A stream that goes on.
struct Talk {
    calling: raw::Calling,
    body: h2::RecvStream,
}

impl Talk {
    async fn begin(client: &H2) -> Self {
        let mut calling = client.begin(&ask(BIDI).chunks(&[&remark()]).open()).await.expect("a stream opens");
        let (body, first) = calling.first().await;
        assert!(!first.is_empty());
        Self { calling, body }
    }

    async fn go_on(&mut self) {
        self.calling.sending.send_data(remark(), false).expect("the stream is open");
        let answer = soon("an answer", self.body.data()).await.expect("it goes on").expect("it is whole");
        self.body.flow_control().release_capacity(answer.len()).expect("it was taken");
    }

    async fn end(mut self) {
        self.calling.sending.send_data(Bytes::new(), true).expect("the stream is open");
        let mut outcome = Outcome::default();
        soon("the end", raw::rest(&mut self.body, &mut outcome)).await;
        assert_eq!((outcome.code, outcome.error.is_none()), (Some(0), true), "{outcome:?}");
    }
}

fn localhost(address: SocketAddr) -> String {
    format!("localhost:{}", address.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_of_the_endpoint_is_what_its_certificate_is_for() {
    let world = World::new();
    for (version, named) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let front =
            world.front(Server { versions: &[version], ..Server::of(&world.authority.leaf(&["localhost"])) });
        let gateway = world.gateway(&localhost(front.address), "");
        works(&gateway).await;
        let seen = front.seen();
        assert_eq!((seen[0].name.as_deref(), seen[0].version), (Some("localhost"), named));
        assert_eq!(count(&gateway, "transom_upstream_connects_total", &[("outcome", "ok")]), 1);
        assert!(seen[0].shown.is_none());
    }
    // An address has no name to send, and is looked for among the addresses of the certificate.
    let front = world.front(Server::of(&world.leaf("127.0.0.1")));
    works(&world.gateway(&front.address.to_string(), "")).await;
    assert_eq!(front.seen()[0].name, None);
    // A name of the configuration goes before the endpoint's.
    let front = world.front(Server::of(&world.leaf("pets.internal")));
    works(&world.gateway(&front.address.to_string(), ", server_name: Pets.Internal.")).await;
    assert_eq!(front.seen()[0].name.as_deref(), Some("pets.internal"));
    let front = world.front(Server::of(&world.leaf("127.0.0.1")));
    works(&world.gateway(&localhost(front.address), ", server_name: 127.0.0.1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_not_good_are_refused_with_the_reason() {
    let world = World::new();
    let stranger = Authority::new("strangers").leaf(&["localhost"]);
    let front = world.front(Server::of(&stranger));
    let gateway = world.gateway(&localhost(front.address), "");
    world.fails(gateway, "certificate_untrusted", "isn't signed by the authorities in").await;

    let leaf = world.leaf("other.test");
    let front = world.front(Server::of(&leaf));
    let gateway = world.gateway(&localhost(front.address), "");
    world.fails(gateway, "certificate_name", "is for other.test, not for localhost").await;
    let gateway = world.gateway(&front.address.to_string(), "");
    world
        .fails(gateway, "certificate_name", "is for other.test, not for 127.0.0.1: say in `server_name`")
        .await;

    for (from, to, words) in
        [(2000, 2001, "has expired: renew it"), (3000, 3001, "not valid yet: compare the clocks")]
    {
        let mut params = named("localhost", &["localhost"]);
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let front = world.front(Server::of(&world.authority.sign(params)));
        world.fails(world.gateway(&localhost(front.address), ""), "certificate_expired", words).await;
        assert!(front.seen().is_empty(), "nothing was said to it");
    }

    let mut params = named("localhost", &["localhost"]);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let front = world.front(Server::of(&world.authority.sign(params)));
    let gateway = world.gateway(&localhost(front.address), "");
    world.fails(gateway, "certificate_invalid", "shows an authority's certificate as its own").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificates_are_shown_and_missed() {
    let world = World::new();
    let (leaf, own) = (world.leaf("localhost"), world.clients.client("gateway", &["gateway.test"]));
    world.own(&own);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let asking = Server { versions: &[version], clients: Some(&world.clients), ..Server::of(&leaf) };
        let front = world.front(asking);
        let endpoint = localhost(front.address);
        let gateway = world.gateway(&endpoint, OWN);
        works(&gateway).await;
        assert_eq!(front.seen()[0].shown.as_ref(), Some(&own.der));
        drop(gateway);
        // TLS 1.3 says so when the handshake is done.
        let words = "asks for a client certificate: give one as `cert` and `key`";
        world.fails(world.gateway(&endpoint, ""), "client_certificate", words).await;
    }
    let strangers = Authority::new("strangers");
    world.own(&strangers.client("gateway", &["gateway.test"]));
    let front = world.front(Server { clients: Some(&world.clients), ..Server::of(&leaf) });
    let gateway = world.gateway(&localhost(front.address), OWN);
    world.fails(gateway, "client_certificate", "refuses the gateway's certificate").await;
    // A server that doesn't ask is shown nothing.
    let front = world.front(Server::of(&leaf));
    works(&world.gateway(&localhost(front.address), OWN)).await;
    assert!(front.seen()[0].shown.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_must_be_agreed_on() {
    let world = World::new();
    let leaf = world.leaf("localhost");
    // One refuses what it doesn't speak, the other ignores that it was asked.
    for alpn in [&["http/1.1"][..], &[]] {
        let front = world.front(Server { alpn, ..Server::of(&leaf) });
        let gateway = world.gateway(&localhost(front.address), "");
        world.fails(gateway, "no_h2", "doesn't agree on HTTP/2").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_without_tls_are_told_apart() {
    let world = World::new();
    // It says its settings at once, in the clear.
    let gateway = world.gateway(&localhost(world.backend.address), "");
    world.fails(gateway, "not_tls", "doesn't speak TLS: leave `tls` out").await;
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = world.gateway(&localhost(listener.local_addr().unwrap()), "");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut hello = [0; 5];
            socket.read_exact(&mut hello).await.unwrap();
            assert_eq!(hello[0], 22, "TLS begins with a handshake");
            let left = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
            socket.read_exact(&mut vec![0; left]).await.unwrap();
            socket.write_all(answer).await.unwrap();
        });
        let (outcome, words) = match answer {
            b"" => ("tls_failed", "broke off the TLS handshake"),
            _ => ("not_tls", "doesn't speak TLS"),
        };
        world.fails(gateway, outcome, words).await;
        tasks.join_next().await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_servers_cost_no_more_than_connect_timeout() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = localhost(listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    world.write_with(&endpoint, "tls: { ca: ca.pem }, pool: { connect_timeout: 200ms }");
    let config = transom::config::load(&world.files.path("transom.yaml"), &|_| None).unwrap();
    let gateway = Gateway::of(config, Vec::new(), Watch::No);
    let words = "no answer to the TLS handshake in connect_timeout (200ms)";
    world.fails(gateway, "timeout", words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_resumed() {
    let world = World::new();
    let leaf = world.leaf("localhost");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let front = world.front(Server { versions: &[version], ..Server::of(&leaf) });
        let gateway = world.gateway(&localhost(front.address), "");
        works(&gateway).await;
        for _ in 0..2 {
            front.break_off();
            gateway.until_metric("transom_upstream_connections", &[], 0.0).await;
            works(&gateway).await;
        }
        let kinds: Vec<_> = front.seen().iter().map(|seen| seen.kind).collect();
        assert!(kinds[0] != HandshakeKind::Resumed, "{kinds:?}");
        assert_eq!(kinds[1..], [HandshakeKind::Resumed, HandshakeKind::Resumed], "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_rotated_under_running_streams() {
    let world = World::new();
    let leaf = world.leaf("localhost");
    let own = |round: usize| world.clients.client(&format!("gateway {round}"), &["gateway.test"]);
    world.own(&own(0));
    let front = world.front(Server { clients: Some(&world.clients), ..Server::of(&leaf) });
    let gateway = world.gateway(&localhost(front.address), OWN);
    let client = H2::connect(gateway.address()).await;
    let (stop, stopped) = watch::channel(false);
    let address = gateway.address();
    let mut calls = JoinSet::new();
    calls.spawn(async move {
        let client = H2::connect(address).await;
        let mut made = 0;
        while !*stopped.borrow() {
            let ended = client.call(&get_book()).await;
            assert_eq!(ended.code, Some(0), "call {made}: {ended:?}");
            made += 1;
        }
        made
    });
    let mut talks = Vec::new();
    for round in 1..=10 {
        talks.push(Talk::begin(&client).await);
        // What says the same makes no new connection.
        let connected = front.seen().len();
        assert_eq!(connected, round);
        gateway.server().reload();
        works(&gateway).await;
        assert_eq!(front.seen().len(), connected, "the pool goes on");

        let next = own(round);
        world.own(&next);
        gateway.server().reload();
        works(&gateway).await;
        let seen = front.seen();
        assert_eq!(seen.len(), connected + 1, "one connection more in round {round}");
        assert_eq!(seen[connected].shown.as_ref(), Some(&next.der), "with the new certificate");
        for talk in &mut talks {
            talk.go_on().await;
        }
    }
    stop.send_replace(true);
    let made: usize = soon("the last call", calls.join_next()).await.unwrap().unwrap();
    assert!(made > 10, "only {made} calls went on beside the rotations");
    // Nobody uses the old connections any more.
    for talk in talks {
        talk.end().await;
    }
    gateway.until_metric("transom_upstream_connections", &[], 1.0).await;
    assert_eq!(count(&gateway, "transom_snapshot_failures_total", &[]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_are_rotated_under_running_streams() {
    let world = World::new();
    let (leaf, next) = (world.leaf("localhost"), Authority::new("next"));
    let front = world.front(Server::of(&leaf));
    let gateway = world.gateway(&localhost(front.address), "");
    let client = H2::connect(gateway.address()).await;
    let mut talk = Talk::begin(&client).await;
    // Both are trusted for a while, then only the new one.
    world.files.write("ca.pem", &format!("{}{}", world.authority.pem, next.pem));
    gateway.server().reload();
    works(&gateway).await;
    let new_leaf = next.leaf(&["localhost"]);
    front.change(Server::of(&new_leaf));
    world.files.write("ca.pem", &next.pem);
    gateway.server().reload();
    works(&gateway).await;
    assert_eq!(front.seen().len(), 3);
    // The other way about: a server that isn't trusted any more gets no new call.
    front.change(Server::of(&leaf));
    world.files.write("ca.pem", &Authority::new("third").pem);
    gateway.server().reload();
    let ended = call(&gateway).await;
    assert_eq!(&*ended.reason, "UPSTREAM_UNREACHABLE");
    talk.go_on().await;
    talk.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_files_are_refused_and_the_old_ones_serve() {
    let world = World::new();
    let leaf = world.leaf("localhost");
    let own = world.clients.client("gateway", &["gateway.test"]);
    let other = world.clients.client("gateway", &["gateway.test"]);
    world.own(&own);
    let front = world.front(Server { clients: Some(&world.clients), ..Server::of(&leaf) });
    let gateway = world.gateway(&localhost(front.address), OWN);
    works(&gateway).await;
    let good = world.authority.pem.clone();
    let broken: &[(&str, &str, &str)] = &[
        (&good, &own.cert, &other.key),
        (&good, "", &own.key),
        (&good, &own.cert, ""),
        ("", &own.cert, &own.key),
        (&good[..good.len() / 2], &own.cert, &own.key),
        (&own.key, &own.cert, &own.key),
    ];
    for (at, (ca, cert, key)) in (1..).zip(broken) {
        world.files.write("ca.pem", ca);
        world.files.write("gw.crt", cert);
        world.files.write("gw.key", key);
        gateway.server().reload();
        assert_eq!(count(&gateway, "transom_snapshot_failures_total", &[]), at);
        works(&gateway).await;
        assert_eq!(front.seen().len(), 1, "after broken files {at}");
    }
    world.files.write("ca.pem", &good);
    world.own(&other);
    gateway.server().reload();
    works(&gateway).await;
    assert_eq!(front.seen()[1].shown.as_ref(), Some(&other.der));
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_files_are_seen() {
    let world = World::new();
    let front = world.front(Server::of(&world.leaf("localhost")));
    world.write(&localhost(front.address), "");
    let config = transom::config::load(&world.files.path("transom.yaml"), &|_| None).unwrap();
    let gateway = Gateway::of(config, Vec::new(), Watch::Yes);
    works(&gateway).await;
    let generation = || gateway.metric("transom_snapshot_generation", &[]);
    let before = generation();
    world.files.write("ca.pem", &format!("{}{}", world.authority.pem, Authority::new("next").pem));
    assert!(eventually(|| generation() > before).await, "nothing was seen");
    works(&gateway).await;
    assert_eq!(front.seen().len(), 2);
}

#[test]
fn faults_of_files_say_where_and_what_to_do() {
    let files = Files::new();
    let authority = Authority::new("servers");
    let [own, other] = [(); 2].map(|()| authority.client("gateway", &["gateway.test"]));
    files.write("gw.crt", &own.cert);
    files.write("other.key", &other.key);
    files.write("empty.pem", "");
    let upstream = |name: &str, tls: &str| {
        format!("  - {{ name: {name}, endpoints: [{{ address: \"127.0.0.1:1\" }}], tls: {{ {tls} }} }}\n")
    };
    let text = "listeners: [{ name: a, address: \"127.0.0.1:0\" }]\nupstreams:\n".to_owned()
        + &upstream("a", "ca: none.pem")
        + &upstream("b", "ca: empty.pem, server_name: good.test")
        + &upstream("c", "ca: gw.crt, cert: gw.crt, key: other.key")
        + &upstream("d", "ca: gw.crt, cert: gw.crt, key: gw.crt");
    files.write("transom.yaml", &text);
    let config = transom::config::load(&files.path("transom.yaml"), &|_| None).unwrap();
    let report = transom::server::check(&config).unwrap_err().to_string();
    let report = report.replace(&format!("{}/", files.dir().display()), "");
    assert_eq!(
        report,
        "transom.yaml:3:68: upstreams[0].tls.ca: none.pem can't be read: there is no such file\n  \
         help: relative paths start at the configuration file\n\
         transom.yaml:4:68: upstreams[1].tls.ca: empty.pem has no certificate\n  \
         help: a certificate in PEM begins with `-----BEGIN CERTIFICATE-----`\n\
         transom.yaml:5:95: upstreams[2].tls.key: other.key is the key of another certificate than gw.crt\n  \
         help: give the key that the certificate was made with\n\
         transom.yaml:6:95: upstreams[3].tls.key: gw.crt has no private key\n  \
         help: it has a certificate: write it as `cert`, and the private key as `key`\n\
         4 faults"
    );
}

/// What is sent one way.
const LONG: u64 = 24 << 20;
/// What may be on the way between the two ends: their windows, and what is gathered between them.
const HELD_MAX: u64 = 2 << 20;

async fn pour(stream: &mut h2::SendStream<Bytes>, sent: &AtomicU64) {
    let piece = frame(0, &[b'.'; (64 << 10) - 5]);
    while sent.load(Ordering::SeqCst) < LONG {
        let mut rest = piece.clone();
        while !rest.is_empty() {
            stream.reserve_capacity(rest.len());
            let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
            let part = rest.split_to(room.expect("it is open").expect("no fault").min(rest.len()));
            sent.fetch_add(part.len() as u64, Ordering::SeqCst);
            stream.send_data(part, false).expect("the stream is open");
        }
    }
}

/// Takes all of it, and says how many bytes were on their way at most.
async fn drink(body: &mut h2::RecvStream, sent: &AtomicU64) -> u64 {
    let (mut taken, mut most) = (0, 0);
    while taken < LONG {
        most = most.max(sent.load(Ordering::SeqCst) - taken);
        let chunk = soon("more bytes", body.data()).await.expect("no end").expect("no fault");
        taken += chunk.len() as u64;
        body.flow_control().release_capacity(chunk.len()).expect("it was taken");
    }
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn much_goes_both_ways_and_no_faster_than_it_is_taken() {
    let world = World::new();
    let sent = Arc::new(AtomicU64::new(0));
    let counting = sent.clone();
    let upstream = RawUpstream::start(move |request, mut respond| {
        let sent = counting.clone();
        Box::pin(async move {
            assert_eq!(request.uri().scheme_str(), Some("https"));
            let mut stream = respond.send_response(grpc_head(), false).expect("the call is open");
            if request.uri().path().ends_with("ReadBook") {
                pour(&mut stream, &sent).await;
            } else {
                let most = drink(&mut request.into_body(), &sent).await;
                stream.send_data(frame(0, most.to_string().as_bytes()), false).expect("the call is open");
            }
            stream.send_trailers(trailers(0)).expect("the call is open");
        })
    })
    .await;
    let front = Front::start(upstream.address, Server::of(&world.leaf("localhost")));
    let gateway = world.gateway(&localhost(front.address), "");
    let client = support::RawClient::connect(gateway.address()).await;
    let (response, mut request) = client.open(client.head("ReadBook")).await;
    request.send_data(frame(0, b""), true).expect("the call is open");
    let mut body = soon("the head", response).await.unwrap().into_body();
    let most = drink(&mut body, &sent).await;
    assert!(most < HELD_MAX, "{most} bytes were on their way at once");
    let ended = soon("the trailers", body.trailers()).await.unwrap().unwrap();
    assert_eq!(ended["grpc-status"], "0");

    sent.store(0, Ordering::SeqCst);
    let (response, mut request) = client.open(client.head("ImportBooks")).await;
    let pouring = sent.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        pour(&mut request, &pouring).await;
        request.send_data(Bytes::new(), true).expect("the call is open");
    });
    let reply = soon("the reply", support::RawReply::read(response)).await.unwrap();
    assert_eq!(reply.code(), Some(0));
    let most: u64 = std::str::from_utf8(&reply.body[5..]).unwrap().parse().unwrap();
    assert!(most < 2 * HELD_MAX, "{most} bytes were on their way at once");
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(front.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_asked_for_descriptors_over_tls() {
    let world = World::new();
    let front = world.front(Server::of(&world.leaf("pets.internal")));
    let text = format!(
        "listeners: [{{ name: main, address: \"127.0.0.1:0\" }}]\n\
         modules: [{{ name: told, reflection: {{ upstream: up }} }}]\n\
         upstreams: [{{ name: up, endpoints: [{{ address: \"{}\" }}], \
         tls: {{ ca: ca.pem, server_name: pets.internal }} }}]\n\
         apis: [{{ name: told, module: told, services: [{LIBRARY}], upstream: up }}]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\nserver: {{ drain_timeout: 1s }}\n",
        front.address
    );
    world.files.write("transom.yaml", &text);
    let config = transom::config::load(&world.files.path("transom.yaml"), &|_| None).unwrap();
    let gateway = Gateway::of(config, Vec::new(), Watch::No);
    gateway.until_metric("transom_snapshot_generation", &[], 2.0).await;
    works(&gateway).await;
    assert!(front.seen().iter().all(|seen| seen.name.as_deref() == Some("pets.internal")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authorities_of_the_system_are_trusted_where_none_are_named() {
    let world = World::new();
    let front = world.front(Server::of(&world.leaf("localhost")));
    let endpoint = localhost(front.address);
    world.files.write("empty.pem", "");
    std::fs::write(world.files.path("demo.binpb"), transom::demo::FILE_DESCRIPTOR_SET).unwrap();
    let text = format!(
        "listeners: [{{ name: main, address: \"127.0.0.1:0\" }}]\n\
         modules: [{{ name: demo, descriptor_set: demo.binpb }}]\n\
         upstreams: [{{ name: demo, endpoints: [{{ address: \"{endpoint}\" }}], tls: {{}} }}]\n\
         apis: [{{ name: demo, module: demo, services: [{LIBRARY}], upstream: demo }}]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n"
    );
    world.files.write("transom.yaml", &text);
    let transom = |command: &str, roots: &str| {
        let mut run = Command::new(env!("CARGO_BIN_EXE_transom"));
        run.args([command, "-c", "transom.yaml"]).current_dir(world.files.dir());
        run.env("SSL_CERT_FILE", world.files.path(roots)).env_remove("SSL_CERT_DIR").env("RUST_LOG", "info");
        run
    };
    let checked = transom("check", "empty.pem").output().unwrap();
    let told = String::from_utf8(checked.stderr).unwrap();
    assert!(told.contains("upstreams[0].tls: the system has no authorities to trust"), "{told}");
    assert_eq!(checked.status.code(), Some(1));

    let child = transom("serve", "ca.pem").stderr(Stdio::piped()).spawn().unwrap();
    let mut child = Ended(child);
    let mut lines = std::io::BufReader::new(child.0.stderr.take().unwrap()).lines();
    let listening = lines.find_map(|line| {
        let line = line.unwrap();
        let address = line.split("address=").nth(1)?.split_whitespace().next()?.to_owned();
        line.contains("main").then(|| address.parse::<SocketAddr>().unwrap())
    });
    let ended = H2::connect(listening.expect("it listens")).await.call(&get_book()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// A process that ends with the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

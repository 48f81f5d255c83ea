//! Certificates from a real ACME authority: Debian's `pebble`, with `pebble-challtestsrv` as its DNS.
//!
//! Plain `cargo test` leaves this suite out; `tests/run.sh` installs what it needs and runs it.

#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/tls.rs"]
mod tls;

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::client::TlsStream;
use transom::config::Config;
use transom::outbound::acme::Pace;
use transom::server::Setup;

use crate::raw::BIDI;
use crate::raw::Client as H2;
use crate::raw::UNARY;
use crate::raw::ask;
use crate::raw::count;
use crate::support::Backend;
use crate::support::Gateway;
use crate::support::message;
use crate::support::soon;
use crate::tls::Authority;
use crate::tls::Client;
use crate::tls::Files;
use crate::tls::connect;
use crate::tls::shown;

/// A process that ends with its value.
struct Process(Child);

impl Process {
    fn start(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let spawned = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(spawned.unwrap_or_else(|error| {
            panic!(
                "`{program}` can't be run ({error}): install it (Debian and Ubuntu: apt-get install pebble)"
            )
        }))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address that nobody listens on at this time: pebble can't choose one by itself.
fn free() -> SocketAddr {
    let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.local_addr().expect("a bound socket has an address")
}

/// Where an authority is, or will be, and who signs for its server.
struct Place {
    directory: SocketAddr,
    management: SocketAddr,
    signs: Authority,
    files: Files,
}

/// What differs between authorities.
#[derive(Clone, Copy)]
struct Kind {
    /// Where it looks for TLS-ALPN-01 and HTTP-01.
    ports: [u16; 2],
    /// How long its certificates last.
    lasts: Duration,
}

/// A running authority.
struct Pebble {
    _pebble: Process,
    _dns: Process,
    root: CertificateDer<'static>,
}

impl Place {
    fn new() -> Self {
        let (signs, files) = (Authority::new("who signs for the directory"), Files::new());
        files.put("server", &signs.leaf(&["localhost"]));
        files.write("ca.pem", &signs.pem);
        Self { directory: free(), management: free(), signs, files }
    }

    /// Starts a new authority there, which knows nobody.
    async fn start(&self, kind: Kind) -> Pebble {
        let [tls, http] = kind.ports;
        let file = |name: &str| self.files.path(name).display().to_string();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": self.directory.to_string(),
            "managementListenAddress": self.management.to_string(),
            "certificate": file("server.crt"),
            "privateKey": file("server.key"),
            "httpPort": http,
            "tlsPort": tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "domainBlocklist": ["refused.test"],
            "certificateValidityPeriod": kind.lasts.as_secs(),
        }});
        self.files.write("pebble.json", &config.to_string());
        let (dns, control) = (free().to_string(), free().to_string());
        let names = Process::start(
            "pebble-challtestsrv",
            &[
                "-dns01",
                &dns,
                "-management",
                &control,
                "-defaultIPv4",
                "127.0.0.1",
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
            ],
            &[],
        );
        until_open(control.parse().expect("an address")).await;
        let pebble = Process::start(
            "pebble",
            &["-config", &file("pebble.json"), "-dnsserver", &dns],
            // One nonce in a hundred is refused, which is tried again at once.
            &[("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0"), ("PEBBLE_WFE_NONCEREJECT", "1")],
        );
        until_open(self.directory).await;
        until_open(self.management).await;
        Pebble { _pebble: pebble, _dns: names, root: self.root().await }
    }

    /// The root of what the authority that runs there issues.
    async fn root(&self) -> CertificateDer<'static> {
        let client = Client { alpn: &[], ..Client::of(&self.signs) };
        let mut io = client.connect(self.management, "localhost").await.expect("pebble speaks TLS");
        let request = b"GET /roots/0 HTTP/1.0\r\nhost: localhost\r\n\r\n";
        io.write_all(request).await.expect("pebble reads");
        let mut answer = Vec::new();
        soon("pebble's root", io.read_to_end(&mut answer)).await.expect("pebble answers");
        CertificateDer::from_pem_slice(&answer).expect("a certificate in PEM")
    }

    fn kept(&self) -> PathBuf {
        self.files.path("kept")
    }

    /// The files that the gateway keeps, by the end of their names.
    fn kept_files(&self, end: &str) -> Vec<PathBuf> {
        let all = std::fs::read_dir(self.kept()).expect("the directory is there");
        let mut all: Vec<PathBuf> = all.map(|entry| entry.expect("it is readable").path()).collect();
        all.retain(|path| path.to_string_lossy().ends_with(end));
        all
    }

    /// A section of a listener.
    fn acme(&self, domains: &str) -> String {
        format!(
            "acme: {{ directory: \"https://localhost:{}/dir\", domains: [{domains}], email: ops@a.test, \
             path: \"{}\", ca: \"{}\" }}",
            self.directory.port(),
            self.kept().display(),
            self.files.path("ca.pem").display()
        )
    }
}

async fn until_open(address: SocketAddr) {
    let opened = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("a process that listens", opened).await;
}

/// A gateway with a TLS listener `main` and others, and what is behind it.
struct Set {
    gateway: Gateway,
    backend: Backend,
}

impl Set {
    /// `tls` are the keys of the first listener's TLS, `others` are more listeners.
    fn start(tls: &str, others: &str) -> Self {
        let backend = Backend::start();
        let gateway =
            Gateway::of_setup(config(&backend, tls, others), Setup { acme: PACE, ..Setup::default() });
        Self { gateway, backend }
    }

    fn apply(&self, tls: &str, others: &str) {
        let config = config(&self.backend, tls, others);
        self.gateway.server().apply(config).expect("the configuration is good");
    }

    fn port(&self, listener: &str) -> u16 {
        self.gateway.server().address(listener).expect("the listener is there").port()
    }

    /// An authority of certificates that last, which looks here.
    fn kind(&self) -> Kind {
        Kind { ports: [self.port("main"), self.port("plain")], lasts: Duration::from_secs(24 * 3600) }
    }

    /// Orders with that outcome.
    fn orders(&self, outcome: &str) -> i64 {
        count(&self.gateway, "transom_acme_orders_total", &[("outcome", outcome)])
    }

    fn shaken(&self, outcome: &str) -> i64 {
        count(&self.gateway, "transom_tls_handshakes_total", &[("outcome", outcome)])
    }

    /// Waits for the first handshake with that outcome: the client may be ahead of the count.
    async fn until_shaken(&self, outcome: &str) {
        self.gateway.until_metric("transom_tls_handshakes_total", &[("outcome", outcome)], 1.0).await;
    }

    async fn until_orders(&self, outcome: &str, least: i64) {
        let came = async {
            while self.orders(outcome) < least {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let came = tokio::time::timeout(ORDER, came).await;
        let page = || self.gateway.server().metrics().render();
        let orders = || page().lines().filter(|line| line.contains("acme")).collect::<Vec<_>>().join("\n");
        assert!(came.is_ok(), "no order was {outcome} {least} times:\n{}", orders());
    }

    async fn connect(
        &self,
        trusts: &CertificateDer<'static>,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        connect(&trusting(trusts), self.gateway.address(), name).await
    }
}

fn config(backend: &Backend, tls: &str, others: &str) -> Config {
    let text = format!(
        "listeners:\n\
         - {{ name: main, address: \"127.0.0.1:0\", tls: {{ {tls} }} }}\n\
         - {{ name: plain, address: \"127.0.0.1:0\" }}\n\
         {others}\n\
         modules: [{{ name: demo }}]\n\
         upstreams: [{{ name: demo, endpoints: [{{ address: \"{}\" }}] }}]\n\
         apis: [{{ name: demo, module: demo, services: [{}], upstream: demo }}]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         server: {{ drain_timeout: 1s }}\n",
        backend.address,
        support::LIBRARY,
    );
    support::config_of(&text)
}

/// A client that trusts what an authority issues.
fn trusting(root: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("an authority is a root");
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the versions are known")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_ordered_by_tls_alpn_01_once_the_authority_is_there() {
    let place = Place::new();
    let set = Set::start(&place.acme("a.test, B.test."), "");
    // Nobody is there at the start: clients are refused, and the order is tried again.
    let nobody = Authority::new("nobody");
    set.connect(&nobody.der, "a.test").await.expect_err("there is no certificate yet");
    set.until_shaken("no_certificate").await;
    set.until_orders("unreachable", 1).await;
    let pebble = place.start(set.kind()).await;
    set.until_orders("issued", 1).await;
    assert!(set.shaken("acme_challenge") >= 2, "each domain was looked at");
    let mut certificates = Vec::new();
    for name in ["a.test", "b.test"] {
        let io = set.connect(&pebble.root, name).await.expect("the certificate is good for the name");
        certificates.push(shown(&io));
        let outcome = H2::over(io).await.call(&ask(UNARY).host(name)).await;
        assert_eq!(outcome.http, 200, "{outcome:?}");
    }
    assert_eq!(certificates[0], certificates[1], "one certificate for both");
    assert!(
        count(&set.gateway, "transom_acme_certificate_expiry_seconds", &[("domain", "a.test")])
            > 1_700_000_000
    );
    // What is kept is for the gateway alone.
    assert_eq!(mode(&place.kept()), 0o700);
    assert_eq!((place.kept_files(".pem").len(), place.kept_files(".json").len()), (1, 1));
    assert_eq!(place.kept_files("").len(), 2, "nothing else is left there");
    for file in place.kept_files("") {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    // A validation that no order asked for finds nothing.
    let client = Client { alpn: &["acme-tls/1"], ..Client::of(&nobody) };
    client.connect(set.gateway.address(), "a.test").await.expect_err("no challenge is open");
    set.until_shaken("no_protocol").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_01_proves_a_domain_that_tls_alpn_01_does_not() {
    let place = Place::new();
    let set = Set::start(&place.acme("a.test"), "");
    let kind = set.kind();
    let pebble = place.start(Kind { ports: [free().port(), kind.ports[1]], ..kind }).await;
    set.until_orders("challenge_failed", 1).await;
    set.until_orders("issued", 1).await;
    assert_eq!((set.orders("issued"), set.shaken("acme_challenge")), (1, 0));
    set.connect(&pebble.root, "a.test").await.expect("the certificate is good");
    // Without an order the path is like any other.
    let plain = set.gateway.server().address("plain").expect("the listener is there");
    let (status, body) = raw::get(plain, "/.well-known/acme-challenge/some-token").await;
    assert_eq!(status, 404, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_wants_client_certificates_is_validated_all_the_same() {
    let place = Place::new();
    let tls = format!("client_ca: \"{}\", {}", place.files.path("ca.pem").display(), place.acme("a.test"));
    let set = Set::start(&tls, "");
    let pebble = place.start(set.kind()).await;
    set.until_orders("issued", 1).await;
    assert_eq!(set.orders("challenge_failed"), 0);
    let io = set.connect(&pebble.root, "a.test").await;
    let refused = match io {
        Err(_) => true,
        // In TLS 1.3 the client hears of it only afterwards.
        Ok(mut io) => io.read_u8().await.is_err(),
    };
    assert!(refused, "clients without a certificate are refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_serves_after_a_restart_and_what_is_broken_is_ordered_anew() {
    let place = Place::new();
    let set = Set::start(&place.acme("a.test"), "");
    let pebble = place.start(set.kind()).await;
    set.until_orders("issued", 1).await;
    let first = shown(&set.connect(&pebble.root, "a.test").await.expect("it is good"));
    let Set { gateway, .. } = set;
    gateway.drain().await;
    let root = pebble.root.clone();
    drop(pebble);

    let set = Set::start(&place.acme("a.test"), "");
    let again = set.connect(&root, "a.test").await.expect("it serves at once, without an authority");
    assert_eq!(shown(&again), first);
    assert_eq!(set.gateway.metric("transom_acme_orders_total", &[]), 0.0, "nothing was ordered");
    let Set { gateway, .. } = set;
    gateway.drain().await;

    let [kept] = &place.kept_files(".pem")[..] else { panic!("one certificate is kept") };
    let text = std::fs::read_to_string(kept).expect("it is readable");
    std::fs::write(kept, &text[..text.len() / 2]).expect("it is writable");
    let set = Set::start(&place.acme("a.test"), "");
    set.connect(&root, "a.test").await.expect_err("there is no good certificate");
    // This authority has never heard of the account that is kept.
    let pebble = place.start(set.kind()).await;
    set.until_orders("issued", 1).await;
    let other = shown(&set.connect(&pebble.root, "a.test").await.expect("it is good"));
    assert_ne!(other, first);
    assert_eq!(set.orders("refused"), 0, "the account was made anew within the order");
    assert_ne!(std::fs::read_to_string(kept).expect("it is readable"), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_serves_new_handshakes_while_a_stream_goes_on() {
    let place = Place::new();
    let set = Set::start(&place.acme("a.test"), "");
    let pebble = place.start(Kind { lasts: Duration::from_secs(12), ..set.kind() }).await;
    set.until_orders("issued", 1).await;
    let io = set.connect(&pebble.root, "a.test").await.expect("it is good");
    let first = shown(&io);
    let client = H2::over(io).await;
    let remark =
        message(&transom::demo::pb::Remark { id: "a".into(), text: "so?".into(), times: 1, fail_with: 0 });
    let mut calling = client.begin(&ask(BIDI).chunks(&[&remark]).open()).await.expect("calls are taken");
    let (mut body, answer) = calling.first().await;
    assert!(!answer.is_empty());
    for round in 2..4 {
        set.until_orders("issued", round).await;
        let renewed = shown(&set.connect(&pebble.root, "a.test").await.expect("it is good"));
        assert_ne!(renewed, first, "round {round}");
        calling.sending.send_data(remark.clone(), false).expect("the stream is open");
        let answer = soon("an answer", body.data()).await.expect("it goes on").expect("it is whole");
        body.flow_control().release_capacity(answer.len()).expect("it was received");
    }
    calling.sending.send_data(bytes::Bytes::new(), true).expect("the stream is open");
    let mut outcome = raw::Outcome::default();
    soon("the end", raw::rest(&mut body, &mut outcome)).await;
    assert_eq!((outcome.code, outcome.error.is_none()), (Some(0), true), "{outcome:?}");
    // A renewal that fails leaves what serves.
    let root = pebble.root.clone();
    drop(pebble);
    set.until_orders("unreachable", 1).await;
    set.connect(&root, "a.test").await.expect("the last certificate serves for a third of its life");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_domain_is_tried_again_and_other_names_serve_on() {
    let place = Place::new();
    place.files.put("own", &place.signs.leaf(&["own.test"]));
    let tls = format!("certificates: [{}], {}", place.files.pair("own"), place.acme("refused.test"));
    let set = Set::start(&tls, "");
    let _pebble = place.start(set.kind()).await;
    set.until_orders("refused", 2).await;
    assert_eq!(set.orders("issued"), 0);
    let client = Client::of(&place.signs);
    client.connect(set.gateway.address(), "own.test").await.expect("its certificate serves");
    let other = client.connect(set.gateway.address(), "refused.test").await;
    assert!(other.is_err(), "the first certificate is shown, and isn't for that name");
    assert_eq!(set.shaken("no_certificate"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sections_that_are_the_same_share_one_order_and_reloads_keep_it() {
    let place = Place::new();
    let same = format!("- {{ name: second, address: \"127.0.0.1:0\", tls: {{ {} }} }}", place.acme("a.test"));
    let set = Set::start(&place.acme("a.test"), &same);
    let pebble = place.start(set.kind()).await;
    set.until_orders("issued", 1).await;
    let first = shown(&set.connect(&pebble.root, "a.test").await.expect("it is good"));
    let second = set.gateway.server().address("second").expect("the listener is there");
    let on_second = connect(&trusting(&pebble.root), second, "a.test").await.expect("it is good");
    assert_eq!(shown(&on_second), first);
    // The same again, and then one listener with another domain.
    set.apply(&place.acme("a.test"), &same);
    set.apply(&place.acme("b.test"), &same);
    set.until_orders("issued", 2).await;
    set.connect(&pebble.root, "b.test").await.expect("the new section's certificate serves");
    let on_second = connect(&trusting(&pebble.root), second, "a.test").await.expect("it is good");
    assert_eq!((shown(&on_second), set.orders("issued")), (first.clone(), 2), "nothing else was ordered");
    // What was kept serves when its section comes back.
    set.apply(&place.acme("b.test"), "");
    set.apply(&place.acme("a.test"), "");
    let back = set.connect(&pebble.root, "a.test").await.expect("it is good");
    assert_eq!((shown(&back), set.orders("issued")), (first, 2));
}

/// A server at the place of an authority that says the same to every request, until it is dropped.
async fn says(place: &Place, answer: Vec<u8>) -> JoinSet<()> {
    let leaf = place.signs.leaf(&["localhost"]);
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("a key in PEM");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![leaf.der], key))
        .expect("they belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let socket = TcpListener::bind(place.directory).await.expect("the port is free");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((io, _)) = socket.accept().await {
            let Ok(mut io) = acceptor.accept(io).await else { continue };
            // Requests are small, and the client may break off.
            let _ = io.read(&mut [0; 4096]).await;
            let _ = io.write_all(&answer).await;
            let _ = io.shutdown().await;
        }
    });
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_acme_end_the_order_and_nothing_else() {
    let place = Place::new();
    let set = Set::start(&place.acme("a.test"), "");
    let whole = |head: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
    };
    let urls =
        |url: &str| serde_json::json!({ "newNonce": url, "newAccount": url, "newOrder": url }).to_string();
    let own = format!("https://localhost:{}/", place.directory.port());
    let cases = [
        ("invalid", whole("200 OK", "{")),
        ("invalid", whole("200 OK", "<html>")),
        // The library takes these for URLs.
        ("invalid", whole("200 OK", &urls("no url at all\n"))),
        // Nothing is said in the clear.
        ("unreachable", whole("200 OK", &urls("http://localhost/"))),
        // Neither is there a nonce.
        ("invalid", whole("200 OK", &urls(&own))),
        ("unreachable", whole("503 Busy\r\nretry-after: 18446744073709551615", "<html>")),
        ("unreachable", whole("200 OK", &" ".repeat(2 << 20))),
        ("unreachable", b"220 smtp.example.com ESMTP\r\n".to_vec()),
        ("unreachable", Vec::new()),
    ];
    for (outcome, answer) in cases {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(100)]).into_owned();
        let mut server = says(&place, answer).await;
        let before = set.orders(outcome);
        // An order that began before this server was there counts as well, so one more is waited for.
        set.until_orders(outcome, before + 2).await;
        assert_eq!(set.gateway.metric("transom_panics_total", &[]), 0.0, "{shown}");
        server.shutdown().await;
    }
    let pebble = place.start(set.kind()).await;
    set.until_orders("issued", 1).await;
    set.connect(&pebble.root, "a.test").await.expect("it is good");
}

#[test]
fn a_directory_that_can_not_be_written_and_a_bad_ca_are_faults() {
    let place = Place::new();
    place.files.write("kept", "a file");
    place.files.write("ca.pem", "no certificate");
    let backend = Backend::start();
    let config = config(&backend, &place.acme("a.test"), "");
    let report = transom::server::check(&config).expect_err("it can't work").to_string();
    for part in
        ["tls.acme.path: certificates can't be kept in", "is no directory", "ca.pem has no certificate"]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
    let Err(error) = transom::server::Server::start(config, Setup::default()) else { panic!("it starts") };
    assert!(error.to_string().contains("certificates can't be kept in"), "{error}");
}

/// Failures are tried again soon: the first try is often before the authority is there.
const PACE: Pace = Pace { first_retry: Duration::from_millis(200), retry_max: Duration::from_secs(1) };
/// How long an order may take, the tries before it among that.
const ORDER: Duration = Duration::from_secs(60);

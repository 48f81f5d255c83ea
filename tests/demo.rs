//! `transom demo` as a user starts it: its page, and what the page may do.

#![expect(clippy::unwrap_used, reason = "a test ends at what it didn't expect")]

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::io::BufRead;
use std::io::BufReader;
use std::net::SocketAddr;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine;
use rustls::DigitallySignedStruct;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use sha2::Digest;

use crate::raw::talk;

/// The program, and where its gateway listens.
struct Demo {
    child: Child,
    address: SocketAddr,
    hints: String,
}

impl Demo {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_transom"))
            .args([
                "demo",
                "--listen",
                "127.0.0.1:0",
                "--listen-tls",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut hints = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            hints.push_str(&line.unwrap());
            hints.push('\n');
            if hints.contains("Ctrl-C") {
                break;
            }
        }
        let address = hints.strip_prefix("gateway  http://").and_then(|rest| rest.lines().next()).unwrap();
        Self { address: address.parse().unwrap(), child, hints }
    }

    /// The head and the body of an answer.
    async fn get(&self, path: &str, more: &str) -> (String, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n");
        let answer = talk(self.address, request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn field<'a>(head: &'a str, name: &str) -> &'a str {
    let found = head.lines().filter_map(|line| line.split_once(": ")).find(|(there, _)| *there == name);
    found.unwrap_or_else(|| panic!("no {name}: {head}")).1
}

#[tokio::test]
async fn the_page_is_served_and_may_do_no_more_than_it_needs() {
    let demo = Demo::start();
    assert!(demo.hints.contains(&format!("http://{}/demo\n", demo.address)), "{}", demo.hints);
    let (head, page) = demo.get("/demo", "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(field(&head, "content-type"), "text/html; charset=utf-8");
    assert_eq!(field(&head, "x-content-type-options"), "nosniff");
    let policy = field(&head, "content-security-policy");
    let (_, style) = page.split_once("<style>").unwrap();
    let (style, _) = style.split_once("</style>").unwrap();
    let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(style));
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        &format!("style-src 'sha256-{hash}'"),
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.split("; ").any(|there| there == part), "{part}: {policy}");
    }
    // The policy would stop what is written into the page itself.
    for inline in [" style=", " onclick=", "javascript:", "http://", "https://"] {
        assert!(!page.contains(inline), "{inline}");
    }
    assert_eq!(page.matches("<script").count(), 1);

    let (again, nothing) = demo.get("/demo", &format!("if-none-match: {}\r\n", field(&head, "etag"))).await;
    assert!(again.starts_with("HTTP/1.1 304 ") && nothing.is_empty(), "{again}");

    let (head, script) = demo.get("/demo/page.js", "").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && script.contains("fetch("), "{head}");
    assert_eq!(field(&head, "content-type"), "text/javascript; charset=utf-8");
}

#[tokio::test]
async fn what_the_page_names_is_there() {
    let demo = Demo::start();
    let (_, page) = demo.get("/demo", "").await;
    let parts = page.split("src=\"").skip(1).chain(page.split("href=\"").skip(1));
    let mut paths: Vec<&str> = parts.filter_map(|rest| rest.split('"').next()).collect();
    paths.extend([
        "/v1/shelves",
        "/v1/shelves/harbour/books",
        "/v1/shelves/harbour/books/the-lamp:read?pages=1",
    ]);
    for path in paths {
        let (head, body) = demo.get(path, "").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && !body.is_empty(), "{path}: {head}");
    }
    // Pages of other origins may use the demo as well.
    let (head, _) = demo.get("/v1/shelves", "origin: http://localhost:5173\r\n").await;
    assert_eq!(field(&head, "access-control-allow-origin"), "*");
}

#[tokio::test]
async fn the_demo_speaks_tls_with_a_certificate_of_its_own() {
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    let demo = Demo::start();
    let (_, rest) = demo.hints.split_once("\ntls      https://").unwrap();
    let address: SocketAddr = rest.lines().next().unwrap().parse().unwrap();
    assert!(demo.hints.contains(&format!("curl -k https://{address}/v1/shelves/")), "{}", demo.hints);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut io = connector.connect(name, socket).await.unwrap();
    io.write_all(
        b"GET /v1/shelves/harbour/books/the-lamp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    )
    .await
    .unwrap();
    let mut said = String::new();
    support::soon("an answer", io.read_to_string(&mut said)).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("Ines Halloran"), "{said}");
}

/// Trusts every certificate, as `curl -k` does.
#[derive(Debug)]
struct Any;

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn a_port_that_is_taken_names_the_flag_that_changes_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--listen-tls", "--admin"] {
        let free = |other: &'static str| {
            if other == flag { [other, taken.as_str()] } else { [other, "127.0.0.1:0"] }
        };
        let asked = [free("--listen"), free("--listen-tls"), free("--admin")].concat();
        let ended = Command::new(env!("CARGO_BIN_EXE_transom")).arg("demo").args(asked).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success());
        assert!(said.contains(&format!("can't listen on {taken}")), "{said}");
        assert!(said.trim_end().ends_with(&format!("choose another address with {flag}")), "{said}");
    }
}

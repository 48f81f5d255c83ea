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

use base64::Engine;
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
            .args(["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
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

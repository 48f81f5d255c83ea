//! What listeners take, and what they refuse before any call begins.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::raw::Client;
use crate::raw::UNARY;
use crate::raw::ask;
use crate::raw::count;
use crate::raw::talk;
use crate::raw::upstream::Upstream;
use crate::raw::upstream::When;
use crate::raw::upstream::block;
use crate::raw::upstream::frame_of;
use crate::raw::upstream::good;
use crate::support::Gateway;
use crate::support::Parts;
use crate::support::soon;
use crate::support::yaml;

/// A gateway with these limits, and an upstream that answers well.
fn start(limits: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::start(|_| (When::End, good()));
    let listener = format!("limits: {{ {limits} }}");
    let listener = if limits.is_empty() { "" } else { &listener };
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts { listener, ..Parts::default() }));
    (gateway, upstream)
}

/// Whether the gateway was asked for anything.
fn calls(gateway: &Gateway) -> i64 {
    count(gateway, "transom_calls_total", &[]) + count(gateway, "transom_open_calls", &[])
}

fn status_of(answer: &str) -> u16 {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no HTTP/1.1 answer: {answer:?}"))
}

const POST: &str = "POST /transom.demo.v1.Library/GetBook HTTP/1.1\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn smuggled_requests_are_refused_and_never_reach_the_gateway() {
    let inner = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let cases: Vec<(&str, u16, String)> = vec![
        (
            "CL.TE",
            400,
            format!(
                "{POST}Host: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"
            ),
        ),
        (
            "TE.CL",
            400,
            format!(
                "{POST}Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}"
            ),
        ),
        (
            "TE.TE",
            400,
            format!(
                "{POST}Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"
            ),
        ),
        ("an unknown coding", 400, format!("{POST}Host: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")),
        (
            "two lengths",
            400,
            format!("{POST}Host: x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n{inner}"),
        ),
        (
            "the same length twice",
            400,
            format!("{POST}Host: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde"),
        ),
        ("a signed length", 400, format!("{POST}Host: x\r\nContent-Length: +5\r\n\r\nabcde")),
        ("a bare LF", 400, "GET / HTTP/1.1\nHost: x\n\n".into()),
        ("a bare LF in a field", 400, "GET / HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n".into()),
        ("a bare CR", 400, "GET / HTTP/1.1\r\nHost: x\rX-A: b\r\n\r\n".into()),
        ("obs-fold", 400, "GET / HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n".into()),
        ("a space before the colon", 400, format!("{POST}Host: x\r\nContent-Length : 5\r\n\r\nabcde")),
        ("a vertical tab", 400, format!("{POST}Host: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n")),
        ("NUL in a value", 400, "GET / HTTP/1.1\r\nHost: x\r\nX-A: b\0c\r\n\r\n".into()),
        ("no host", 400, "GET / HTTP/1.1\r\n\r\n".into()),
        ("two hosts", 400, "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".into()),
    ];
    let (gateway, upstream) = start("");
    for (name, status, request) in &cases {
        let answer = talk(gateway.address(), request.as_bytes()).await;
        assert_eq!(status_of(&answer), *status, "{name}: {answer}");
        assert!(answer.contains("connection: close"), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: one answer, then the end: {answer}");
    }
    assert_eq!(calls(&gateway), 0, "the gateway was asked");
    assert_eq!(upstream.seen().calls, 0);
    let resets = count(&gateway, "transom_client_resets_total", &[]);
    assert_eq!(resets, i64::try_from(cases.len()).unwrap(), "each is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_good_request_is_guarded_too() {
    let (gateway, _upstream) = start("");
    let good = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
    for bad in ["GET / HTTP/1.1\nHost: x\n\n", "GET / HTTP/1.1\r\nHost : x\r\n\r\n"] {
        let before = calls(&gateway);
        let answer = talk(gateway.address(), format!("{good}{bad}").as_bytes()).await;
        assert!(answer.contains("HTTP/1.1 400 "), "{answer}");
        assert!(calls(&gateway) <= before + 1, "the bad one reached the gateway");
    }
    // The end of a chunked body is found as hyper finds it.
    let chunked = format!("{POST}Host: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0x0\r\n\r\n");
    let answer = talk(gateway.address(), chunked.as_bytes()).await;
    assert!(answer.contains("HTTP/1.1 400 "), "{answer}");
}

/// Sends one request with `connection: close`.
async fn once(address: SocketAddr, head: &str) -> (u16, String) {
    let answer = talk(address, format!("{head}Host: x\r\nConnection: close\r\n\r\n").as_bytes()).await;
    (status_of(&answer), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_callers_are_answered_in_http() {
    let (gateway, upstream) = start("");
    let address = gateway.address();
    let path = "/transom.demo.v1.Library/GetBook";
    let json = |answer: &str| -> serde_json::Value {
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    };

    let (status, answer) =
        once(address, &format!("POST {path} HTTP/1.1\r\nContent-Type: text/csv\r\nContent-Length: 0\r\n"))
            .await;
    assert_eq!(status, 415, "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\naccept-post: application/json"), "{answer}");
    let body = json(&answer);
    assert!(body["message"].is_string() && body["code"].is_number(), "a google.rpc.Status: {body}");
    assert_eq!(body["details"][0]["reason"], "CONTENT_TYPE_UNSUPPORTED", "{body}");

    let (status, answer) = once(address, &format!("GET {path} HTTP/1.1\r\n")).await;
    assert_eq!(status, 405, "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nallow: options, post\r\n"), "{answer}");

    let (status, answer) = once(address, "GET /nowhere HTTP/1.1\r\n").await;
    assert_eq!(status, 404, "{answer}");
    let body = json(&answer);
    assert_eq!(
        (&body["code"], &body["details"][0]["reason"]),
        (&12.into(), &"METHOD_UNKNOWN".into()),
        "{body}"
    );

    let (status, answer) = once(
        address,
        &format!("POST {path} HTTP/1.1\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n"),
    )
    .await;
    assert_eq!(status, 505, "{answer}");
    assert_eq!(upstream.seen().connections, 0, "none of it went upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_and_pipelined() {
    let (gateway, _upstream) = start("");
    let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
    let mut seen = String::new();
    for round in 1..=3 {
        socket.write_all(b"GET /kept HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        read_until(&mut socket, &mut seen, |seen| seen.matches("HTTP/1.1 404 ").count() == round).await;
    }
    let many = "GET /piped HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5);
    socket.write_all(many.as_bytes()).await.unwrap();
    read_until(&mut socket, &mut seen, |seen| seen.matches("HTTP/1.1 404 ").count() == 8).await;
    assert_eq!(count(&gateway, "transom_connections_total", &[("listener", "main")]), 1);
}

async fn read_until(socket: &mut TcpStream, seen: &mut String, enough: impl Fn(&str) -> bool) {
    soon("answers", async {
        let mut bytes = BytesMut::new();
        while !enough(seen) {
            assert_ne!(socket.read_buf(&mut bytes).await.expect("an answer"), 0, "closed too early: {seen}");
            seen.push_str(&String::from_utf8_lossy(&bytes));
            bytes.clear();
        }
    })
    .await;
}

/// The head of a request that is refused before its body is read.
fn refused_head(length: usize) -> String {
    format!("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_outlives_a_body_that_comes_after_its_refusal() {
    let (gateway, _upstream) = start("");
    let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
    let mut seen = String::new();
    for round in 1..=3 {
        socket.write_all(refused_head(5).as_bytes()).await.unwrap();
        read_until(&mut socket, &mut seen, |seen| seen.matches("HTTP/1.1 404 ").count() == round).await;
        socket.write_all(b"hello").await.unwrap();
    }
    assert_eq!(count(&gateway, "transom_connections_total", &[("listener", "main")]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_much_hears_why_it_is_refused() {
    let (gateway, _upstream) = start("");
    let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
    let body = vec![b'x'; 1 << 20];
    socket.write_all(refused_head(body.len()).as_bytes()).await.unwrap();
    soon("the body is taken", socket.write_all(&body)).await.expect("no broken pipe");
    let said = until_closed(socket).await;
    let said = String::from_utf8_lossy(&said);
    assert_eq!(status_of(&said), 404);
    assert!(said.contains("connection: close\r\n"), "it is not for the next request: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_an_end_in_sight_ends_the_connection_in_words() {
    let (gateway, _upstream) = start("");
    for (fields, closes) in [
        ("Transfer-Encoding: chunked", true),
        ("Content-Length: 262145", true),
        ("Content-Length: 5\r\nExpect: 100-continue", true),
        ("Content-Length: 262144", false),
    ] {
        let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
        let head = format!("POST /nowhere HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut seen = String::new();
        read_until(&mut socket, &mut seen, |seen| seen.contains("\r\n\r\n")).await;
        assert_eq!(status_of(&seen), 404, "{fields}");
        assert_eq!(seen.contains("connection: close\r\n"), closes, "{fields}: {seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_after_its_refusal_is_not_waited_for() {
    let (gateway, _upstream) = start("");
    let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
    socket.write_all(refused_head(5).as_bytes()).await.unwrap();
    let said = until_closed(socket).await;
    assert_eq!(status_of(&String::from_utf8_lossy(&said)), 404);
}

/// Waits for the server to close, and gives what it said.
async fn until_closed(mut socket: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset is an end as well.
    let _ = soon("a close", socket.read_to_end(&mut said)).await;
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_are_closed() {
    let (gateway, _upstream) = start("header_timeout: 200ms, idle_timeout: 500ms");
    let mut slow = TcpStream::connect(gateway.address()).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    let said = String::from_utf8(until_closed(slow).await).unwrap();
    assert_eq!(status_of(&said), 408, "{said}");
    // One that never says anything is idle: a client may keep it ready for a call. It has no version to be
    // answered in.
    let (mute, begun) = (TcpStream::connect(gateway.address()).await.unwrap(), Instant::now());
    assert_eq!(until_closed(mute).await, b"");
    assert!(begun.elapsed() >= Duration::from_millis(500), "it is closed after idle_timeout");
    let mut half = TcpStream::connect(gateway.address()).await.unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    assert_eq!(until_closed(half).await, b"");
    assert_eq!(calls(&gateway), 0);
    gateway.until_metric("transom_connections", &[("listener", "main")], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_the_oldest_unused_connection_gives_way() {
    let (gateway, _upstream) = start("max_connections: 3");
    let address = gateway.address();
    let used = Client::connect(address).await;
    assert_eq!(used.call(&ask(UNARY)).await.code, Some(0));
    let oldest = TcpStream::connect(address).await.unwrap();
    gateway.until_metric("transom_connections", &[("listener", "main")], 2.0).await;
    let mut younger = TcpStream::connect(address).await.unwrap();
    gateway.until_metric("transom_connections", &[("listener", "main")], 3.0).await;
    let fresh = Client::connect(address).await;
    assert_eq!(until_closed(oldest).await, b"", "the oldest unused one is closed");
    assert_eq!(fresh.call(&ask(UNARY)).await.code, Some(0));
    assert_eq!(used.call(&ask(UNARY)).await.code, Some(0), "the one that carried a call stays");
    younger.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut seen = String::new();
    read_until(&mut younger, &mut seen, |seen| seen.contains(" 404 ")).await;
    // Now all three have carried something: there is no room.
    let refused = TcpStream::connect(address).await.unwrap();
    assert_eq!(until_closed(refused).await, b"");
    assert_eq!(count(&gateway, "transom_connections_refused_total", &[("why", "max_connections")]), 1);
    assert_eq!(used.call(&ask(UNARY)).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_only_so_many_connections() {
    let (gateway, _upstream) = start("max_connections_per_address: 2");
    let address = gateway.address();
    let (one, two) = (Client::connect(address).await, Client::connect(address).await);
    assert_eq!((one.call(&ask(UNARY)).await.code, two.call(&ask(UNARY)).await.code), (Some(0), Some(0)));
    assert_eq!(until_closed(TcpStream::connect(address).await.unwrap()).await, b"");
    let why = [("why", "max_connections_per_address")];
    assert_eq!(count(&gateway, "transom_connections_refused_total", &why), 1);
    drop(one);
    gateway.until_metric("transom_connections", &[("listener", "main")], 1.0).await;
    let three = Client::connect(address).await;
    assert_eq!(three.call(&ask(UNARY)).await.code, Some(0), "a place that was given back is free");
}

/// The last GOAWAY of what a server said, and the highest stream it answered.
fn go_away(mut said: &[u8]) -> Option<(u32, u32)> {
    let mut found = None;
    while let Some(head) = said.get(..9) {
        let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = said.get(9..9 + len)?;
        if head[3] == 7 {
            let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
            found = Some((number(0), number(4)));
        }
        said = &said[9 + len..];
    }
    found
}

fn request_head() -> bytes::Bytes {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "library.test"),
        (":path", UNARY),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_crosses_with_the_end_spoils_no_other() {
    use raw::upstream::END_HEADERS;
    use raw::upstream::HEADERS;
    let (gateway, _upstream) = start("");
    let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
    let mut opening = BytesMut::from(raw::upstream::PREFACE);
    opening.extend_from_slice(&frame_of(raw::upstream::SETTINGS, 0, 0, &[]));
    opening.extend_from_slice(&frame_of(HEADERS, END_HEADERS, 1, &request_head()));
    socket.write_all(&opening).await.unwrap();
    gateway.until_metric("transom_open_calls", &[], 1.0).await;
    let mut draining = tokio::task::JoinSet::new();
    draining.spawn(gateway.drain());
    // GOAWAY, and the PING that asks whether it was heard.
    let mut said = Vec::new();
    let ping = loop {
        soon("a PING", socket.read_buf(&mut said)).await.unwrap();
        let at = said.windows(9).position(|head| head == [0, 0, 8, 6, 0, 0, 0, 0, 0]);
        if let Some(payload) = at.and_then(|at| said.get(at + 9..at + 17)) {
            break payload.to_vec();
        }
    };
    // Clients write the answer before what waits to be written.
    let mut crossing = BytesMut::from(&*frame_of(6, 1, 0, &ping));
    crossing.extend_from_slice(&frame_of(HEADERS, END_HEADERS, 3, &request_head()));
    for _ in 0..3 {
        crossing.extend_from_slice(&frame_of(8, 0, 3, &65_535u32.to_be_bytes()));
    }
    crossing.extend_from_slice(&frame_of(0, 1, 1, &[0; 5]));
    socket.write_all(&crossing).await.unwrap();
    soon("the end", socket.read_to_end(&mut said)).await.unwrap();
    assert_eq!(go_away(&said), Some((1, 0)), "the first call is the last, and nothing was wrong: {said:?}");
    let answered = said.windows(9).any(|head| head[3..9] == [HEADERS, END_HEADERS | 1, 0, 0, 0, 1]);
    assert!(answered, "the first call is answered: {said:?}");
    soon("the drain", draining.join_next()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_are_told_to_calm_down() {
    let (gateway, upstream) = start("");
    let mut flood = BytesMut::from(raw::upstream::PREFACE);
    flood.extend_from_slice(&frame_of(raw::upstream::SETTINGS, 0, 0, &[]));
    let head = request_head();
    for at in 0..1000 {
        let stream = 2 * at + 1;
        flood.extend_from_slice(&frame_of(raw::upstream::HEADERS, raw::upstream::END_HEADERS, stream, &head));
        flood.extend_from_slice(&frame_of(raw::upstream::RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
    // The gateway may close before it has read all.
    let _ = socket.write_all(&flood).await;
    let said = until_closed(socket).await;
    let Some((_, code)) = go_away(&said) else { panic!("no GOAWAY in {said:?}") };
    assert_eq!(code, 11, "ENHANCE_YOUR_CALM");
    gateway.until_metric("transom_client_resets_total", &[("why", "rapid_reset")], 1.0).await;
    assert!(upstream.seen().calls <= 500, "{:?}", upstream.seen());
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
    let client = Client::connect(gateway.address()).await;
    assert_eq!(client.call(&ask(UNARY)).await.code, Some(0), "others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_told_to_go() {
    let (gateway, _upstream) = start("idle_timeout: 1s");
    let client = Client::connect(gateway.address()).await;
    assert_eq!(client.call(&ask(UNARY)).await.code, Some(0));
    // GOAWAY without an error: the client closes by itself.
    soon("a GOAWAY", client.gone()).await.unwrap();
    gateway.until_metric("transom_connections", &[("listener", "main")], 0.0).await;
    let mut kept = TcpStream::connect(gateway.address()).await.unwrap();
    kept.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let said = String::from_utf8(until_closed(kept).await).unwrap();
    assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "closed between requests, without a word: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_with_requests_are_not_idle() {
    let (gateway, _upstream) = start("idle_timeout: 1s");
    let mut kept = TcpStream::connect(gateway.address()).await.unwrap();
    let from = Instant::now();
    let mut answers = 0;
    while from.elapsed() < Duration::from_millis(2500) {
        kept.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut said = [0; 4096];
        let read = soon("an answer", kept.read(&mut said)).await.unwrap();
        assert!(read > 0, "closed after {answers} answers, {:?} in", from.elapsed());
        answers += 1;
    }
    drop(until_closed(kept).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_limits() {
    let (gateway, upstream) = start("header_bytes: 8KiB, header_count: 20");
    let address = gateway.address();
    let many: String = (0..30).map(|at| format!("X-{at}: a\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "a".repeat(10_000));
    for fields in [&many, &long] {
        let answer = talk(address, format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes()).await;
        assert_eq!(status_of(&answer), 431, "{answer}");
    }
    let client = Client::connect(address).await;
    let outcome = client.call(&ask(UNARY).header("x-long", &"a".repeat(10_000))).await;
    // The codec answers this one itself, before there is a request.
    assert_eq!((outcome.http, outcome.code), (431, None), "{outcome:?}");
    let other = Client::connect(address).await;
    assert_eq!(other.call(&ask(UNARY)).await.code, Some(0));
    assert_eq!(upstream.seen().calls, 1, "only the good call went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_fields_are_too_many_in_http2() {
    let (gateway, upstream) = start("header_count: 20");
    let client = Client::connect(gateway.address()).await;
    let names: Vec<&'static str> =
        (0..30).map(|at| &*Box::leak(format!("x-{at}").into_boxed_str())).collect();
    let asked = names.iter().fold(ask(UNARY), |ask, name| ask.header(name, "a"));
    let outcome = client.call(&asked).await;
    assert_eq!((outcome.code, outcome.reason.as_str()), (Some(8), "HEADERS_TOO_LARGE"), "{outcome:?}");
    assert_eq!(upstream.seen().calls, 0);
}

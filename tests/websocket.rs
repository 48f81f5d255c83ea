//! WebSockets, byte by byte: bidi and client streams of REST over HTTP/1.1 and HTTP/2.

#![expect(clippy::unwrap_used, reason = "what helpers of tests can't do fails the test")]

#[path = "support/raw.rs"]
mod raw;
mod support;
#[path = "support/websocket.rs"]
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use prost::Message;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use transom::call::Call;
use transom::demo::pb;
use transom::policy::Check;
use transom::policy::Policy;
use transom::server::Watch;

use crate::raw::count;
use crate::raw::upstream::Act;
use crate::raw::upstream::Last;
use crate::raw::upstream::Upstream;
use crate::raw::upstream::When;
use crate::raw::upstream::good;
use crate::support::Backend;
use crate::support::Gateway;
use crate::support::LIBRARY;
use crate::support::Parts;
use crate::support::RawClient;
use crate::support::RawUpstream;
use crate::support::demo;
use crate::support::frame as grpc_frame;
use crate::support::grpc_head;
use crate::support::message;
use crate::support::policies::Gated;
use crate::support::policies::Panicking;
use crate::support::policies::RefusingFirst;
use crate::support::policies::RefusingMessage;
use crate::support::soon;
use crate::support::trailers;
use crate::support::yaml;
use crate::websocket::BINARY;
use crate::websocket::BOTH;
use crate::websocket::Got;
use crate::websocket::Http;
use crate::websocket::PING;
use crate::websocket::TEXT;
use crate::websocket::Ws;
use crate::websocket::close;
use crate::websocket::frame;
use crate::websocket::half_close;
use crate::websocket::text;
use crate::websocket::upgrade;

const DISCUSS: &str = "/v1/discuss";
const IMPORT: &str = "/v1/books:import";
const BY_NAME: &str = "/transom.demo.v1.Library/Discuss";

/// What the demo answers to a remark.
fn answer(id: &str, text: &str, number: u64) -> String {
    json!({ "id": id, "text": format!("Indeed: {text}"), "number": number.to_string() }).to_string()
}

fn same(got: &str, want: &str) {
    let value = |text| serde_json::from_str::<serde_json::Value>(text).expect("it is JSON");
    assert_eq!(value(got), value(want));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discussion_goes_both_ways_and_ends_with_1000() {
    let (gateway, _backend) = demo(Parts::default());
    for http in BOTH {
        for path in [DISCUSS, BY_NAME] {
            let mut ws = Ws::open(http, gateway.address(), path, &[]).await;
            for n in 1..=3 {
                ws.send(&text(&format!(r#"{{"id":"a","text":"n{n}"}}"#))).await;
                same(&ws.text().await, &answer("a", &format!("n{n}"), n));
            }
            ws.send(&text(r#"{"id":"b","text":"last","times":2}"#)).await;
            ws.send(&half_close()).await;
            same(&ws.text().await, &answer("b", "last", 4));
            same(&ws.text().await, &answer("b", "last", 5));
            ws.end().await;
        }
    }
    gateway.until_metric("transom_calls_total", &[("code", "OK"), ("dialect", "rest")], 4.0).await;
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_are_binary_where_the_first_message_was() {
    let (gateway, _backend) = demo(Parts::default());
    let remark = |id: &str| pb::Remark { id: id.into(), text: "so".into(), ..Default::default() };
    for http in BOTH {
        let mut ws = Ws::open(http, gateway.address(), DISCUSS, &[]).await;
        ws.send(&frame(BINARY, &remark("x").encode_to_vec())).await;
        let Got::Binary(bytes) = ws.next().await else { panic!("no binary reply") };
        let got = pb::Answer::decode(bytes).unwrap();
        assert_eq!((got.id.as_str(), got.number), ("x", 1));
        // Later messages may be of the other kind; the replies stay as they are. No bytes are a message too.
        ws.send(&text(r#"{"id":"y"}"#)).await;
        assert!(matches!(ws.next().await, Got::Binary(_)));
        ws.send(&frame(BINARY, b"")).await;
        assert!(matches!(ws.next().await, Got::Binary(_)));

        let mut ws = Ws::open(http, gateway.address(), DISCUSS, &[]).await;
        ws.send(&text(r#"{"id":"y"}"#)).await;
        ws.text().await;
        ws.send(&frame(BINARY, &remark("x").encode_to_vec())).await;
        same(&ws.text().await, &answer("x", "so", 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stream_gets_its_one_reply_and_1000() {
    let (gateway, _backend) = demo(Parts::default());
    for http in BOTH {
        let mut ws = Ws::open(http, gateway.address(), IMPORT, &[]).await;
        for _ in 0..20 {
            ws.send(&text(r#"{"parent":"shelves/nowhere","book":{"title":"T"}}"#)).await;
        }
        ws.send(&half_close()).await;
        assert_eq!(ws.json().await["rejected"], 20, "{http:?}");
        ws.end().await;
        // Without any message too.
        let mut ws = Ws::open(http, gateway.address(), IMPORT, &[]).await;
        ws.send(&half_close()).await;
        assert_eq!(ws.text().await, "{}");
        ws.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cut_of_the_bytes_does_not_matter() {
    let (gateway, _backend) = demo(Parts::default());
    let long = "x".repeat(70_000);
    let frames = [
        frame(0x01, br#"{"id":"a","te"#),
        frame(PING, b"between"),
        frame(0x00, b""),
        frame(0x80, "xt\":\"\u{20ac}\"}".as_bytes()),
        text(&format!(r#"{{"id":"b","text":"{}"}}"#, &long[..300])),
        half_close(),
    ]
    .concat();
    let whole = |frames: &[u8]| [upgrade(gateway.address(), DISCUSS, &[]).as_bytes(), frames].concat();
    let check = async |mut ws: Ws| {
        // The pong comes as soon as the ping was read, so before the answers.
        assert_eq!(ws.next().await, Got::Pong("between".into()));
        same(&ws.text().await, &answer("a", "\u{20ac}", 1));
        same(&ws.text().await, &answer("b", &long[..300], 2));
        ws.end().await;
    };
    // Everything in the packet of the handshake.
    check(Ws::ask_raw(gateway.address(), &whole(&frames)).await.unwrap()).await;
    // A byte at a time.
    for http in BOTH {
        let mut ws = Ws::open(http, gateway.address(), DISCUSS, &[]).await;
        for byte in &frames {
            ws.send(&[*byte]).await;
            tokio::task::yield_now().await;
        }
        check(ws).await;
    }
    // In two, at every byte.
    for at in 1..60 {
        let mut ws = Ws::ask_raw(gateway.address(), &whole(&frames[..at])).await.unwrap();
        ws.send(&frames[at..]).await;
        check(ws).await;
    }
    // One that no read takes at once.
    for http in BOTH {
        let mut ws = Ws::open(http, gateway.address(), DISCUSS, &[]).await;
        ws.send(&text(&format!(r#"{{"id":"c","text":"{long}"}}"#))).await;
        same(&ws.text().await, &answer("c", &long, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_does_wrong_ends_with_an_error_and_its_code() {
    let (gateway, _backend) =
        demo(Parts { top: "policies: { validate: { max_message: 1KiB } }", ..Parts::default() });
    let unmasked = [&[TEXT, 2][..], b"{}"].concat();
    let large = frame(TEXT, format!(r#"{{"text":"{}"}}"#, "x".repeat(2000)).as_bytes());
    let announced = [&[BINARY, 0xff][..], &(1u64 << 40).to_be_bytes(), b"mask"].concat();
    let table: Vec<(&str, Vec<u8>, u16, u64, &str)> = vec![
        ("not masked", unmasked, 1002, 3, "masked"),
        ("a reserved bit", frame(0xc1, b"{}"), 1002, 3, "reserved"),
        ("an unknown opcode", frame(0x83, b"{}"), 1002, 3, "opcode"),
        ("a continuation of nothing", frame(0x80, b"{}"), 1002, 3, "continu"),
        ("a long ping", frame(PING, &[0; 126]), 1002, 3, "125"),
        ("a close of one byte", frame(0x88, &[3]), 1002, 3, "close"),
        ("not UTF-8", frame(TEXT, b"\"\xff\""), 1007, 3, "UTF-8"),
        ("too large", large, 4008, 8, "1024"),
        ("too large, as announced", announced, 4008, 8, "1024"),
        ("no JSON", text("{"), 4003, 3, ""),
        ("an unknown field", text(r#"{"ided":"a"}"#), 4003, 3, "ided"),
        ("a list", text("[]"), 4003, 3, ""),
        ("deep", text(&"[".repeat(1000)), 4003, 3, ""),
        ("no protobuf", frame(BINARY, &[0x0a, 200]), 4003, 3, "protobuf"),
        ("a group without end", frame(BINARY, &[0x3b]), 4003, 3, "protobuf"),
        ("a message after the last", [half_close(), text("{}")].concat(), 4003, 3, "none after it"),
    ];
    for http in BOTH {
        for (name, bytes, close_code, code, word) in &table {
            let mut ws = Ws::open(http, gateway.address(), DISCUSS, &[]).await;
            ws.send(bytes).await;
            let (error, closed, reason) = ws.failure().await;
            assert_eq!(
                (closed, error["code"].as_u64()),
                (*close_code, Some(*code)),
                "{http:?} {name}: {error}"
            );
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(word), "{name}: {message}");
            assert!(message.starts_with(&reason) && !reason.is_empty(), "{name}: {reason}");
            assert_eq!(error["details"][0]["domain"], "transom", "{name}: {error}");
        }
    }
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_service_closes_with_its_code_and_details() {
    let (gateway, _backend) = demo(Parts::default());
    for http in BOTH {
        let mut ws = Ws::open(http, gateway.address(), DISCUSS, &[]).await;
        ws.send(&text(r#"{"id":"a","text":"first"}"#)).await;
        ws.text().await;
        ws.send(&text(r#"{"failWith":9,"text":"no"}"#)).await;
        let (error, code, reason) = ws.failure().await;
        assert_eq!((code, error["code"].as_u64()), (4009, Some(9)));
        assert_eq!(error["message"], reason);
        assert!(error["details"].is_array(), "{error}");
    }
    // Before any message, and without a service at all.
    let nowhere = Gateway::start(&yaml(&[SocketAddr::from(([127, 0, 0, 1], 1))], Parts::default()));
    for http in BOTH {
        let mut ws = Ws::open(http, nowhere.address(), DISCUSS, &[]).await;
        let (error, code, _) = ws.failure().await;
        assert_eq!((code, error["code"].as_u64()), (4014, Some(14)), "{error}");
        assert_eq!(error["details"][0]["reason"], "UPSTREAM_UNREACHABLE");
    }
}

/// A name, the path, further fields, and the status.
type Handshake<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16);

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_are_refused_as_plain_http() {
    let (gateway, _backend) = demo(Parts::default());
    let origin = ("origin", "http://elsewhere.test");
    let table: [Handshake<'_>; 7] = [
        ("an unknown path", "/v1/nothing", &[], 404),
        ("an unknown method", "/transom.demo.v1.Library/Nothing", &[], 404),
        ("a unary rule", "/v1/shelves", &[], 400),
        ("a server stream", "/transom.demo.v1.Library/ReadBook", &[], 400),
        ("a bad path", "/v1/%zz", &[], 400),
        ("another origin", DISCUSS, &[origin], 403),
        ("two credentials", DISCUSS, &[("sec-websocket-protocol", "bearer.a, bearer.b")], 400),
    ];
    for http in BOTH {
        for (name, path, fields, status) in table {
            let Err(refused) = Ws::ask(http, gateway.address(), path, fields).await else {
                panic!("{http:?} {name}: it opened")
            };
            assert_eq!(refused.status, status, "{http:?} {name}: {refused:?}");
            assert_eq!(refused.headers["content-type"], "application/json", "{name}");
            let body: serde_json::Value = serde_json::from_str(&refused.body).unwrap();
            assert!(body["message"].is_string(), "{name}: {body}");
        }
        let same_origin = format!("http://{}", gateway.address());
        Ws::open(http, gateway.address(), DISCUSS, &[("origin", &same_origin)]).await;
    }
    let version = upgrade(gateway.address(), DISCUSS, &[]).replace("Version: 13", "Version: 8");
    let refused = Ws::ask_raw(gateway.address(), version.as_bytes()).await.err().unwrap();
    assert_eq!((refused.status, &refused.headers["sec-websocket-version"]), (400, &"13".parse().unwrap()));
    let refused = Ws::connect(gateway.address(), DISCUSS, "connect-udp", &[]).await.err().unwrap();
    assert_eq!(refused.status, 501, "{refused:?}");
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_allowed_origins_open_sockets() {
    let cors = "policies: { cors: { origins: [\"https://app.test\", \"https://*.pages.test\"] } }";
    let (gateway, _backend) = demo(Parts { api: cors, ..Parts::default() });
    for http in BOTH {
        for origin in ["https://app.test", "https://a.pages.test"] {
            Ws::open(http, gateway.address(), DISCUSS, &[("origin", origin)]).await;
        }
        for origins in [&["http://app.test"][..], &["null"], &["https://app.test", "https://app.test"]] {
            let fields: Vec<_> = origins.iter().map(|origin| ("origin", *origin)).collect();
            let refused = Ws::ask(http, gateway.address(), DISCUSS, &fields).await.err().unwrap();
            assert_eq!(refused.status, 403, "{origins:?}: {refused:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_without_a_protocol_stays_refused() {
    let (gateway, _backend) = demo(Parts::default());
    let client = RawClient::connect(gateway.address()).await;
    let mut head = http::Request::new(());
    *head.method_mut() = http::Method::CONNECT;
    *head.uri_mut() = "elsewhere.test:443".parse().unwrap();
    let (response, _body) = client.open(head).await;
    assert_eq!(soon("an answer", response).await.unwrap().status(), 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_follows_a_refused_handshake_and_other_upgrades_are_ignored() {
    let (gateway, _backend) = demo(Parts::default());
    let address = gateway.address();
    let inner = format!("GET /v1/shelves HTTP/1.1\r\nHost: {address}\r\n\r\n");
    for handshake in [
        upgrade(address, "/v1/nothing", &[]),
        upgrade(address, "/v1/shelves", &[]),
        // No handshake for want of `connection: upgrade`: it is answered as a GET.
        format!("GET /v1/shelves HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\r\n"),
    ] {
        let answer = raw::talk(address, format!("{handshake}{inner}").as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{handshake} {answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    // One with a body is none.
    let with_body = upgrade(address, DISCUSS, &[("content-length", "3")]);
    let last = inner.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let answer = raw::talk(address, format!("{with_body}abc{last}").as_bytes()).await;
    assert!(answer.contains("HTTP/1.1 200 OK"), "what follows a body is a request: {answer}");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    for other in ["h2c", "TLS/1.2, h2c", "foo"] {
        let head = format!(
            "GET /v1/shelves HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             Upgrade: {other}\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
        );
        let answer = raw::talk(address, format!("{head}{last}").as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{other}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_is_chosen_and_the_credential_becomes_a_header() {
    #[derive(Debug)]
    struct Asks;
    impl Policy for Asks {
        fn slot(&self) -> &'static str {
            "test_asks"
        }
        fn check(&self, call: &mut Call) -> Check {
            let told = call.metadata.get("authorization").is_some_and(|value| value == "Bearer s3cr3t");
            let left = call.metadata.keys().any(|name| name.as_str().starts_with("sec-websocket"));
            if told && !left {
                return Check::Pass;
            }
            let told = format!("{:?}", call.metadata);
            assert!(!told.contains("s3cr3t"), "a credential would be logged: {told}");
            let reason = transom::call::Reason::CredentialMissing;
            Check::Refuse(Box::new(transom::call::Refusal::new(reason, "send a credential")))
        }
    }
    let backend = Backend::start();
    let gateway = Gateway::with_policies(&yaml(&[backend.address], Parts::default()), vec![Arc::new(Asks)]);
    for http in BOTH {
        let offer = [("sec-websocket-protocol", "transom.v1, bearer.s3cr3t")];
        let mut ws = Ws::open(http, gateway.address(), DISCUSS, &offer).await;
        assert_eq!(ws.headers["sec-websocket-protocol"], "transom.v1");
        ws.send(&text("{}")).await;
        ws.text().await;
        for offer in [&[][..], &[("sec-websocket-protocol", "transom.v1")], &[("authorization", "Bearer x")]]
        {
            let refused = Ws::ask(http, gateway.address(), DISCUSS, offer).await.err().unwrap();
            assert_eq!(refused.status, 401, "{http:?} {offer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_before_the_service_speaks_and_after_the_last_message() {
    let upstream = Upstream::start(|_| (When::Released, good()));
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    for (at, http) in (1..).zip(BOTH) {
        let mut ws = Ws::open(http, gateway.address(), DISCUSS, &[]).await;
        for last in [false, true] {
            if last {
                ws.send(&half_close()).await;
                upstream.until("the end of the request", |seen| seen.ended == at).await;
            }
            for n in 0..3u8 {
                ws.send(&frame(PING, &[n])).await;
                assert_eq!(ws.next().await, Got::Pong(vec![n].into()), "{http:?} {last}");
            }
        }
        // A client that asks in masses and reads nothing gets the last answer.
        ws.send(&(0..100u8).flat_map(|n| frame(PING, &[n])).collect::<Vec<_>>()).await;
        loop {
            match ws.next().await {
                Got::Pong(payload) if payload[..] == [99] => break,
                Got::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_or_vanishes_cancels_the_call() {
    let upstream = Upstream::start(|_| (When::Released, good()));
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    let mut calls = 0;
    for http in BOTH {
        for ended in [false, true] {
            for how in ["close", "end", "drop"] {
                let mut ws = Ws::open(http, gateway.address(), DISCUSS, &[]).await;
                ws.send(&text(r#"{"id":"a"}"#)).await;
                if ended {
                    ws.send(&half_close()).await;
                }
                calls += 1;
                upstream.until("the call", |seen| seen.calls == calls).await;
                match how {
                    "close" => {
                        ws.send(&close(1001)).await;
                        assert_eq!(ws.next().await, Got::Close(Some(1001), String::new()), "{http:?}");
                        assert_eq!(ws.next().await, Got::End, "{http:?}");
                    }
                    "end" => {
                        ws.finish().await;
                        assert_eq!(ws.next().await, Got::End, "{http:?}");
                    }
                    _ => drop(ws),
                }
                let seen = upstream.until("the reset", |seen| seen.resets == calls).await;
                assert_eq!(seen.reset_code, u32::from(h2::Reason::CANCEL), "{http:?} {ended} {how}");
            }
        }
    }
    gateway.until_metric("transom_calls_total", &[("code", "CANCELLED")], 12.0).await;
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_last_message_and_then_ends_in_order() {
    let (gateway, _backend) = demo(Parts::default());
    let mut open = Vec::new();
    for http in BOTH {
        let mut ws = Ws::open(http, gateway.address(), DISCUSS, &[]).await;
        ws.send(&text(r#"{"id":"a"}"#)).await;
        ws.text().await;
        open.push(ws);
    }
    let talk = async {
        let mut closed = Vec::new();
        for ws in &mut open {
            // Still served while the gateway drains.
            ws.send(&text(r#"{"id":"b"}"#)).await;
            ws.text().await;
        }
        for ws in &mut open {
            let (error, code, reason) = ws.failure().await;
            closed.push((error["details"][0]["reason"].as_str().unwrap().to_owned(), code, reason));
        }
        closed
    };
    let ((), closed) = tokio::join!(soon("the drain", gateway.drain()), talk);
    for (reason, code, told) in closed {
        assert_eq!((reason.as_str(), code), ("DRAINING", 4014));
        assert!(told.contains("shutting down"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_refuse_heads_by_http_and_messages_by_a_close() {
    let backend = Backend::start();
    let config = yaml(&[backend.address], Parts::default());
    let first = Gateway::with_policies(&config, vec![Arc::new(RefusingFirst { text: "secret" })]);
    let second = RefusingMessage { number: 2, seen: Arc::default() };
    for http in BOTH {
        let mut ws = Ws::open(http, first.address(), DISCUSS, &[]).await;
        ws.send(&text(r#"{"text":"the secret"}"#)).await;
        let (error, code, _) = ws.failure().await;
        assert_eq!((code, error["message"].as_str()), (4007, Some("that word is not said here")));
    }
    let second = Gateway::with_policies(&config, vec![Arc::new(second)]);
    let mut ws = Ws::open(Http::One, second.address(), DISCUSS, &[]).await;
    ws.send(&text(r#"{"id":"a"}"#)).await;
    ws.text().await;
    ws.send(&text(r#"{"id":"b"}"#)).await;
    assert_eq!(ws.failure().await.1, 4007);

    // A handshake waits for its policy, and a client that leaves meanwhile is noticed.
    let gated = Gated::closed();
    let (heads, seen) = (gated.heads.clone(), gated.seen.clone());
    let gateway = Gateway::with_policies(&config, vec![Arc::new(gated)]);
    let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
    socket.write_all(upgrade(gateway.address(), DISCUSS, &[]).as_bytes()).await.unwrap();
    raw::until("the policy is asked", || seen.heads() == 1).await;
    assert_eq!(socket.try_read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(socket);
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
    heads.add_permits(1);
    let _passed = Ws::open(Http::One, gateway.address(), DISCUSS, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_one_websocket() {
    let backend = Backend::start();
    let gateway =
        Gateway::with_policies(&yaml(&[backend.address], Parts::default()), vec![Arc::new(Panicking)]);
    for http in BOTH {
        let mut ws = Ws::open(http, gateway.address(), DISCUSS, &[("x-panic", "message")]).await;
        ws.send(&text("{}")).await;
        assert_eq!(ws.failure().await.1, 4013);
        let refused = Ws::ask(http, gateway.address(), DISCUSS, &[("x-panic", "head")]).await.err().unwrap();
        assert_eq!(refused.status, 500);
    }
    assert_eq!(count(&gateway, "transom_panics_total", &[]), 4);
    let mut ws = Ws::open(Http::One, gateway.address(), DISCUSS, &[]).await;
    ws.send(&text("{}")).await;
    ws.text().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_cannot_be_told_ends_with_an_error() {
    let reply = |messages: &'static [&[u8]]| {
        move |_| {
            let head = vec![(":status", "200"), ("content-type", "application/grpc")];
            let frames: Vec<_> = messages.iter().map(|message| grpc_frame(0, message)).collect();
            let acts = vec![
                Act::Headers(head, Last::No),
                Act::Data(frames.concat().into(), Last::No),
                Act::Headers(vec![("grpc-status", "0")], Last::Yes),
            ];
            (When::Head, acts)
        }
    };
    let upstream = Upstream::start(reply(&[b"\x0a\xff"]));
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    let mut ws = Ws::open(Http::One, gateway.address(), DISCUSS, &[]).await;
    assert_eq!(ws.failure().await.1, 4013);

    // What came with it and before it is heard first.
    let upstream = Upstream::start(reply(&[b"\x0a\x01y", b"\x0a\xff"]));
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    for http in BOTH {
        let mut ws = Ws::open(http, gateway.address(), DISCUSS, &[]).await;
        assert_eq!(ws.json().await["id"], "y", "{http:?}");
        assert_eq!(ws.failure().await.1, 4013);
    }

    // A reply that is over before the request is: the client hears it all the same.
    let upstream = Upstream::start(reply(&[b"\x0a\x01z"]));
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    for http in BOTH {
        let mut ws = Ws::open(http, gateway.address(), DISCUSS, &[]).await;
        assert_eq!(ws.json().await["id"], "z", "{http:?}");
        ws.end().await;
    }
}

/// A gateway that publishes the demo's discussion by these rules.
fn with_rules(backend: &Backend, rules: &str) -> (Gateway, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    std::fs::write(&file, format!("type: google.api.Service\nconfig_version: 3\nhttp:\n  rules:\n{rules}"))
        .unwrap();
    let set = directory.path().join("demo.binpb");
    std::fs::write(&set, transom::demo::FILE_DESCRIPTOR_SET).unwrap();
    let config = directory.path().join("transom.yaml");
    let text = yaml(&[backend.address], Parts::default());
    let module = format!("modules: [{{ name: demo, descriptor_set: {set:?}, rules: {file:?} }}]");
    std::fs::write(&config, text.replace("modules: [{ name: demo }]", &module)).unwrap();
    let config = transom::config::load(&config, &|_| None).unwrap_or_else(|report| panic!("{report}"));
    (Gateway::of(config, Vec::new(), Watch::No), directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_path_binds_is_nobody_elses() {
    let backend = Backend::start();
    let rule = format!(
        "    - {{ selector: {LIBRARY}.Discuss, post: '/v1/rooms/{{id}}:talk', body: '*', \
         additional_bindings: [{{ get: '/v1/quiet/{{id}}' }}, {{ post: '/v1/said/{{id}}', body: text }}] }}\n"
    );
    let (gateway, _directory) = with_rules(&backend, &rule);
    let remark = |id: &str, text: &str| pb::Remark { id: id.into(), text: text.into(), ..Default::default() };
    for http in BOTH {
        let mut ws = Ws::open(http, gateway.address(), "/v1/rooms/a%2Fb:talk", &[]).await;
        ws.send(&text(r#"{"text":"x"}"#)).await;
        same(&ws.text().await, &answer("a/b", "x", 1));
        ws.send(&frame(BINARY, &remark("forged", "y").encode_to_vec())).await;
        same(&ws.text().await, &answer("a/b", "y", 2));
        ws.send(&text(r#"{"id":"forged"}"#)).await;
        assert_eq!(ws.failure().await.1, 4003);
        // Bytes that would take in what the path binds.
        for open in [&[0x12, 5][..], &[0x3b], &[0x12, 0x80], &[0x1d, 0]] {
            let mut ws = Ws::open(http, gateway.address(), "/v1/rooms/a:talk", &[]).await;
            ws.send(&frame(BINARY, open)).await;
            assert_eq!(ws.failure().await.1, 4003, "{open:?}");
        }
        // A rule without a body takes whole messages; what the query says holds for all of them.
        let mut ws = Ws::open(http, gateway.address(), "/v1/quiet/q?times=2", &[]).await;
        for said in ["n1", "n2"] {
            ws.send(&text(&format!(r#"{{"text":"{said}"}}"#))).await;
            assert_eq!(ws.json().await["id"], "q");
            assert_eq!(ws.json().await["text"], format!("Indeed: {said}"));
        }
        // Where the body is a field, a message is that field.
        let mut ws = Ws::open(http, gateway.address(), "/v1/said/s", &[]).await;
        ws.send(&text(r#""just so""#)).await;
        same(&ws.text().await, &answer("s", "just so", 1));
        ws.send(&frame(BINARY, b"x")).await;
        let (error, code, _) = ws.failure().await;
        assert_eq!(code, 4003, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_messages_with_much_in_the_target_stay_in_order() {
    let backend = Backend::start();
    let rule = format!("    - {{ selector: {LIBRARY}.Discuss, get: '/v1/quiet/{{id}}' }}\n");
    let (gateway, _directory) = with_rules(&backend, &rule);
    let said = "s".repeat(5_000);
    let path = format!("/v1/quiet/q?text={said}");
    for http in BOTH {
        let mut ws = Ws::open(http, gateway.address(), &path, &[]).await;
        let mut all = Vec::new();
        for _ in 0..300 {
            all.extend(text("{}"));
        }
        all.extend(half_close());
        ws.send(&all).await;
        for n in 1..=300 {
            same(&ws.text().await, &answer("q", &said, n));
        }
        ws.end().await;
    }
}

/// An upstream that answers `Discuss` with as many messages as are taken, and `ImportBooks` once the test lets
/// it read; both count what went over.
async fn counting(sent: Arc<AtomicU64>, read: Arc<Notify>) -> RawUpstream {
    RawUpstream::start(move |request, mut respond| {
        let (sent, read) = (sent.clone(), read.clone());
        Box::pin(async move {
            let mut stream = respond.send_response(grpc_head(), false).expect("the call is open");
            match request.uri().path() {
                "/transom.demo.v1.Library/Discuss" => {
                    let piece = message(&pb::Answer { text: "p".repeat(16 << 10), ..Default::default() });
                    for _ in 0..MANY {
                        support::send_as_taken(&mut stream, piece.clone(), &AtomicU64::new(0)).await;
                        sent.fetch_add(1, Ordering::SeqCst);
                    }
                }
                "/transom.demo.v1.Library/ImportBooks" => {
                    read.notified().await;
                    let body = support::read_body(&mut request.into_body()).await.expect("no fault");
                    let import = pb::ImportBooksResponse {
                        imported: i32::try_from(body.len() >> 10).unwrap(),
                        ..Default::default()
                    };
                    stream.send_data(message(&import), false).expect("the call is open");
                }
                _ => stream.send_data(grpc_frame(0, b""), false).expect("the call is open"),
            }
            stream.send_trailers(trailers(0)).expect("the call is open");
        })
    })
    .await
}

/// Waits until nothing more goes over, though other calls do.
async fn until_stuck(gateway: &Gateway, sent: &AtomicU64) -> u64 {
    let client = RawClient::connect(gateway.address()).await;
    raw::until("a first message", || sent.load(Ordering::SeqCst) > 0).await;
    loop {
        let before = sent.load(Ordering::SeqCst);
        for _ in 0..50 {
            let reply = client.call(client.head("Inspect"), grpc_frame(0, b"")).await.expect("an answer");
            assert_eq!(reply.code(), Some(0));
        }
        if sent.load(Ordering::SeqCst) == before {
            return before;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_the_service_back() {
    let sent = Arc::new(AtomicU64::new(0));
    let upstream = counting(sent.clone(), Arc::default()).await;
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    for http in BOTH {
        sent.store(0, Ordering::SeqCst);
        let mut ws = Ws::open(http, gateway.address(), DISCUSS, &[]).await;
        let stuck = until_stuck(&gateway, &sent).await;
        assert!(stuck < MANY / 4, "{http:?}: {stuck} messages were taken for a client that takes none");
        // What it asks meanwhile is answered when it reads.
        ws.send(&frame(PING, b"p")).await;
        let (mut answers, mut pongs) = (0, 0);
        let code = loop {
            match ws.next().await {
                Got::Text(text) => {
                    answers += 1;
                    assert!(text.len() > 16 << 10);
                }
                Got::Pong(_) => pongs += 1,
                Got::Close(code, _) => break code,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((answers, pongs, code), (MANY, 1, Some(1000)), "{http:?}");
        ws.answer_close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_read_holds_the_client_back() {
    let read = Arc::new(Notify::new());
    let upstream = counting(Arc::default(), read.clone()).await;
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    let mut ws = Ws::open(Http::One, gateway.address(), IMPORT, &[]).await;
    let book = format!(r#"{{"parent":"{}"}}"#, "p".repeat(16 << 10));
    let mut rest: Bytes = [text(&book).repeat(usize::try_from(MANY).unwrap()), half_close()].concat().into();
    let all = rest.len();
    let sent = AtomicU64::new(0);
    let stuck = {
        let pour = async {
            while !rest.is_empty() {
                let part = rest.split_to(rest.len().min(16 << 10));
                ws.send(&part).await;
                sent.fetch_add(part.len() as u64, Ordering::SeqCst);
            }
        };
        let watch = async {
            let stuck = until_stuck(&gateway, &sent).await;
            read.notify_one();
            stuck
        };
        tokio::join!(soon("the rest", pour), watch).1
    };
    assert!(stuck < all as u64 / 2, "{stuck} bytes were taken for a service that takes none");
    let kib = ws.json().await["imported"].as_u64().unwrap();
    assert!(kib >= MANY * 16, "{kib} KiB came");
    ws.end().await;
}

/// Messages of 16 KiB that no buffers on the way hold.
const MANY: u64 = 2000;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_cut_off_by_the_stall_timer() {
    let top = "policies: { stream: { stall: 200ms } }";
    let (gateway, _backend) = demo(Parts { top, ..Parts::default() });
    let said = "s".repeat(20_000);
    for (at, http) in (1u32..).zip(BOTH) {
        let mut ws = Ws::open(http, gateway.address(), DISCUSS, &[]).await;
        ws.send(&text(&format!(r#"{{"id":"a","times":1000,"text":"{said}"}}"#))).await;
        let draining = [("code", "UNAVAILABLE"), ("dialect", "rest")];
        gateway.until_metric("transom_calls_total", &draining, at.into()).await;
        // What it had taken ends within a message, so nothing is said after it.
        let (mut got, mut last) = (0, ws.next().await);
        while let Got::Text(_) = last {
            got += 1;
            last = ws.next().await;
        }
        assert!(matches!(last, Got::Broken(_) | Got::End), "{http:?}: {last:?} after {got}");
        assert!(got < 1000, "{http:?}");
    }
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timers_and_places_of_a_listener_know_websockets() {
    let listener = "limits: { max_connections: 2, header_timeout: 200ms, idle_timeout: 200ms }";
    let (gateway, _backend) = demo(Parts { listener, ..Parts::default() });
    let address = gateway.address();
    let mut ws = Ws::open(Http::One, address, DISCUSS, &[]).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let get = format!("GET /v1/shelves HTTP/1.1\r\nHost: {address}\r\n\r\n");
    idle.write_all(get.as_bytes()).await.unwrap();
    gateway.until_metric("transom_connections", &[], 2.0).await;
    // Both places are taken, and both have carried a call.
    raw::until("the answer", || idle.try_read(&mut [0; 1]).is_ok()).await;
    let mut third = TcpStream::connect(address).await.unwrap();
    let read = soon("the refusal", third.read(&mut [0; 8])).await;
    assert!(read.is_err() || read.is_ok_and(|read| read == 0), "there is no third place");
    // The idle connection is closed, the WebSocket, older and as silent, is not.
    soon("the end of the idle one", idle.read_to_end(&mut Vec::new())).await.unwrap();
    ws.send(&text(r#"{"id":"a"}"#)).await;
    ws.text().await;
    ws.send(&half_close()).await;
    ws.end().await;
    gateway.until_metric("transom_connections", &[], 0.0).await;
    // A client that doesn't answer the close keeps its place for a moment only.
    let mut ws = Ws::open(Http::One, address, DISCUSS, &[]).await;
    ws.send(&half_close()).await;
    assert_eq!(ws.next().await, Got::Close(Some(1000), String::new()));
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
    assert_eq!(ws.next().await, Got::End);
    drop(ws);
    gateway.until_metric("transom_connections", &[], 0.0).await;
}

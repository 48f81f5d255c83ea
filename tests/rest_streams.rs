//! Streams over REST, message by message: their forms, their ends, slow peers, and clients that leave.

#![expect(clippy::unwrap_used, reason = "a test may fail at any step")]

#[path = "support/rest.rs"]
mod rest;
mod support;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use h2::RecvStream;
use h2::SendStream;
use h2::server::SendResponse;
use prost::Message;
use serde_json::json;
use tokio::sync::mpsc;
use transom::wire::compress;
use transom::wire::compress::Encoding;

use crate::rest::Client;
use crate::rest::End;
use crate::rest::H1;
use crate::rest::Probe;
use crate::rest::Reading;
use crate::rest::Service;
use crate::rest::Told;
use crate::rest::VERSIONS;
use crate::rest::Version;
use crate::rest::before;
use crate::rest::get;
use crate::rest::h1_head;
use crate::rest::named;
use crate::rest::once;
use crate::rest::post;
use crate::rest::yaml;
use crate::support::Gateway;
use crate::support::RawUpstream;
use crate::support::eventually;
use crate::support::frame;
use crate::support::grpc_head;
use crate::support::soon;
use crate::support::trailers;

/// A call that the test itself answers.
struct Opened {
    head: http::request::Parts,
    body: RecvStream,
    respond: SendResponse<Bytes>,
}

impl Opened {
    fn reply(&mut self) -> SendStream<Bytes> {
        self.respond.send_response(grpc_head(), false).unwrap()
    }
}

/// A service that hands each call to the test.
async fn handing() -> (RawUpstream, mpsc::Receiver<Opened>) {
    let (hand, handed) = mpsc::channel(8);
    let raw = RawUpstream::start(move |request, respond| {
        let hand = hand.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            // A test that is over takes no more calls.
            drop(hand.send(Opened { head, body, respond }).await);
        })
    })
    .await;
    (raw, handed)
}

fn framed(probe: &Probe) -> Bytes {
    frame(0, &probe.encode_to_vec())
}

const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";

#[tokio::test]
async fn the_forms_of_a_stream_to_the_byte() {
    let service = Service::start(|asked| {
        let count = usize::try_from(asked.one::<Probe>().id).unwrap();
        Told::many(&[named("a\nb"), Probe { id: 2, ..Probe::default() }][..count])
    })
    .await;
    let gateway = before(&service, "");
    let forms = [
        ("", "application/json", "[]", "[{\"name\":\"a\\nb\"},{\"id\":2}]"),
        ("*/*", "application/json", "[]", "[{\"name\":\"a\\nb\"},{\"id\":2}]"),
        (LINES, LINES, "", "{\"name\":\"a\\nb\"}\n{\"id\":2}\n"),
        ("application/jsonl", "application/jsonl", "", "{\"name\":\"a\\nb\"}\n{\"id\":2}\n"),
        (
            EVENTS,
            EVENTS,
            "event: end\ndata: {}\n\n",
            "id: 1\ndata: {\"name\":\"a\\nb\"}\n\nid: 2\ndata: {\"id\":2}\n\nevent: end\ndata: {}\n\n",
        ),
    ];
    for version in VERSIONS {
        let mut client = Client::connect(version, gateway.address()).await;
        for (accept, content_type, none, two) in forms {
            for (count, want) in [(0, none), (2, two)] {
                let mut ask = get(&format!("/v1/flow?id={count}"));
                if !accept.is_empty() {
                    ask = ask.with("accept", accept);
                }
                let answer = client.ask(&ask).await;
                assert_eq!((answer.status, answer.text(), answer.end), (200, want, End::Whole), "{accept}");
                assert_eq!(answer.header("content-type"), content_type);
                assert!(answer.header("vary").contains("accept"), "{:?}", answer.headers);
                assert!(!answer.headers.contains_key("etag"), "a stream has no tag");
            }
        }
        let head = client.ask(&rest::ask("HEAD", "/v1/flow?id=2").with("accept", LINES)).await;
        assert_eq!((head.status, head.header("content-type"), head.body.len()), (200, LINES, 0));
    }
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

#[tokio::test]
async fn each_message_is_here_before_the_next_one_is_sent() {
    let (service, mut calls) = handing().await;
    let gateway = Gateway::start(&yaml(service.address, "", "", ""));
    let forms = [("application/json", "}"), (LINES, "}\n"), (EVENTS, "}\n\n")];
    for version in VERSIONS {
        for (accept, ending) in forms {
            let mut client = Client::connect(version, gateway.address()).await;
            let ask = get("/v1/flow").with("accept", accept);
            let serve = async {
                let mut call = calls.recv().await.unwrap();
                let mut stream = call.reply();
                stream.send_data(framed(&named("message-0")), false).unwrap();
                (call, stream)
            };
            let ((_call, mut stream), (answer, mut reading)) = tokio::join!(serve, client.open(&ask));
            assert_eq!(answer.status, 200);
            for at in 0..5 {
                let text = reading.until(ending).await;
                assert!(text.contains(&format!("\"message-{at}\"")), "{version:?} {accept}: {text:?}");
                stream.send_data(framed(&named(&format!("message-{}", at + 1))), false).unwrap();
            }
            reading.until(ending).await;
            stream.send_trailers(trailers(0)).unwrap();
            let mut last = Vec::new();
            let end = loop {
                match soon("the end", reading.next()).await {
                    Ok(chunk) => last.extend_from_slice(&chunk),
                    Err(end) => break end,
                }
            };
            let want = match accept {
                LINES => "",
                EVENTS => "event: end\ndata: {}\n\n",
                _ => "]",
            };
            assert_eq!((std::str::from_utf8(&last).unwrap(), end), (want, End::Whole));
        }
    }
}

#[tokio::test]
async fn a_compressed_stream_waits_for_no_later_message() {
    let (service, mut calls) = handing().await;
    let gateway = Gateway::start(&yaml(service.address, "", "", ""));
    for version in VERSIONS {
        for coding in [Encoding::Gzip, Encoding::Brotli, Encoding::Zstd] {
            let mut client = Client::connect(version, gateway.address()).await;
            let ask = get("/v1/flow").with("accept", LINES).with("accept-encoding", coding.name());
            let serve = async {
                let mut call = calls.recv().await.unwrap();
                let mut stream = call.reply();
                stream.send_data(framed(&named("message-0")), false).unwrap();
                (call, stream)
            };
            let ((_call, mut stream), (answer, mut reading)) = tokio::join!(serve, client.open(&ask));
            assert_eq!(answer.header("content-encoding"), coding.name());
            let mut decoder = compress::Decoder::new(&[coding], compress::Limits::bytes(1 << 20)).unwrap();
            let mut text = Vec::new();
            for at in 0..3 {
                let line = format!("{{\"name\":\"message-{at}\"}}\n");
                while !text.ends_with(line.as_bytes()) {
                    let chunk = soon(&line, reading.next()).await.unwrap();
                    decoder.push(&chunk, &mut text).unwrap();
                }
                stream.send_data(framed(&named(&format!("message-{}", at + 1))), false).unwrap();
            }
            stream.send_trailers(trailers(0)).unwrap();
            while let Ok(chunk) = soon("the end", reading.next()).await {
                decoder.push(&chunk, &mut text).unwrap();
            }
            decoder.finish().unwrap();
            assert!(text.ends_with(b"{\"name\":\"message-3\"}\n"));
        }
    }
}

#[tokio::test]
async fn events_are_not_compressed_and_a_reconnect_says_what_it_had() {
    let service = Service::start(|_| Told::many(&[named("a")])).await;
    let gateway = before(&service, "");
    for version in VERSIONS {
        let ask = get("/v1/flow").with("accept", EVENTS).with("accept-encoding", "gzip, br");
        let first = once(version, gateway.address(), &ask).await;
        assert_eq!((first.header("content-encoding"), first.header("cache-control")), ("", "no-cache"));
        assert!(!service.only().headers.contains_key("last-event-id"));
        once(version, gateway.address(), &ask.with("Last-Event-ID", "41")).await;
        assert_eq!(service.only().headers["last-event-id"], "41");
    }
}

#[tokio::test]
async fn an_error_before_the_first_message_is_a_status() {
    let service = Service::start(|_| Told::default().failing(8, "too%20much")).await;
    let gateway = before(&service, "");
    for version in VERSIONS {
        for accept in ["application/json", LINES, EVENTS] {
            let answer = once(version, gateway.address(), &get("/v1/flow").with("accept", accept)).await;
            assert_eq!((answer.status, answer.end), (429, End::Whole), "{accept}");
            assert_eq!(answer.header("content-type"), "application/json");
            assert_eq!(answer.json(), json!({ "code": 8, "message": "too much", "details": [] }));
        }
    }
}

/// Its name, the frames that come, the reset after them, and the code and the reason that are told.
type Fault = (&'static str, Vec<Bytes>, Option<h2::Reason>, i32, &'static str);

#[tokio::test]
async fn an_error_after_a_message_is_never_silent() {
    let good = || framed(&named("a"));
    // What the service does after its first message, and what is told of it.
    let faults: [Fault; 4] = [
        ("a status", vec![good()], None, 10, ""),
        ("a reset", vec![good()], Some(h2::Reason::ENHANCE_YOUR_CALM), 8, "UPSTREAM_RESET"),
        ("a malformed message", vec![good(), frame(0, b"\x0a\xff")], None, 13, "UPSTREAM_REPLY_INVALID"),
        ("a malformed frame", vec![good(), frame(7, b"")], None, 13, "FRAME_INVALID"),
    ];
    let (service, mut calls) = handing().await;
    let gateway = Gateway::start(&yaml(service.address, "", "rest: { errors: aip193 }", ""));
    for version in VERSIONS {
        for (name, frames, reset, code, reason) in &faults {
            for accept in ["application/json", LINES, EVENTS] {
                let what = format!("{name}, {version:?}, {accept}");
                let serve = async {
                    let mut call = calls.recv().await.unwrap();
                    let mut stream = call.reply();
                    stream.send_data(frames[0].clone(), false).unwrap();
                    (call, stream)
                };
                let mut client = Client::connect(version, gateway.address()).await;
                let ask = get("/v1/flow").with("accept", accept);
                let ((_call, mut stream), (answer, mut reading)) = tokio::join!(serve, client.open(&ask));
                assert_eq!(answer.status, 200, "{what}");
                let first = soon(&what, reading.next()).await.unwrap();
                match (reset, frames.get(1)) {
                    (Some(reason), _) => stream.send_reset(*reason),
                    (None, Some(bad)) => stream.send_data(bad.clone(), false).unwrap(),
                    (None, None) => stream.send_trailers(trailers(10)).unwrap(),
                }
                let (mut body, mut end) = (first.to_vec(), End::Cut);
                while let Ok(chunk) = soon(&what, reading.next()).await.map_err(|over| end = over) {
                    body.extend_from_slice(&chunk);
                }
                let body = String::from_utf8(body).unwrap();
                let (before, after) = match accept {
                    LINES => ("{\"name\":\"a\"}\n{\"error\":", "}\n"),
                    _ => ("id: 1\ndata: {\"name\":\"a\"}\n\nevent: error\ndata: ", "\n\n"),
                };
                if accept == "application/json" {
                    assert!(
                        body.starts_with("[{\"name\":\"a\"}") && !body.ends_with(']'),
                        "{what}: {body:?}"
                    );
                    let want = match version {
                        Version::H1 => End::Cut,
                        Version::H2 => End::Reset(h2::Reason::INTERNAL_ERROR),
                    };
                    assert_eq!(end, want, "{what}");
                    continue;
                }
                let told = body.strip_prefix(before).and_then(|body| body.strip_suffix(after));
                let told = told.unwrap_or_else(|| panic!("{what}: {body:?}"));
                let told: serde_json::Value = serde_json::from_str(told).unwrap();
                assert_eq!(told["code"], *code, "{what}: {told}");
                if !reason.is_empty() {
                    assert_eq!(told["details"][0]["reason"], *reason, "{what}: {told}");
                }
                assert_eq!(end, End::Whole, "{what}");
                assert_eq!(
                    client.ask(&get("/v1/nothing")).await.status,
                    404,
                    "the connection goes on: {what}"
                );
            }
        }
    }
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
    gateway.until_metric("transom_calls_total", &[("code", "ABORTED")], 6.0).await;
    gateway.until_metric("transom_refusals_total", &[("reason", "UPSTREAM_REPLY_INVALID")], 6.0).await;
}

#[tokio::test]
async fn messages_before_one_that_has_no_json_are_told() {
    let service = Service::start(|_| {
        let mut told = Told::many(&[named("a"), named("b")]);
        told.frames.push(frame(0, b"\x0a\xff"));
        told.frames.push(framed(&named("c")));
        told
    })
    .await;
    let gateway = before(&service, "");
    for version in VERSIONS {
        // All of them come at once.
        for accept in [LINES, EVENTS] {
            let answer = once(version, gateway.address(), &get("/v1/flow").with("accept", accept)).await;
            let messages = match accept {
                LINES => "{\"name\":\"a\"}\n{\"name\":\"b\"}\n{\"error\":{\"code\":13,",
                _ => {
                    "id: 1\ndata: {\"name\":\"a\"}\n\nid: 2\ndata: {\"name\":\"b\"}\n\nevent: error\ndata: {\"code\":13,"
                }
            };
            assert_eq!((answer.status, answer.end), (200, End::Whole), "{answer:?}");
            assert!(answer.text().starts_with(messages), "{version:?}: {}", answer.text());
            assert!(!answer.text().contains("\"c\""), "nothing follows the end: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_client_stream_arrives_message_by_message() {
    let (service, mut calls) = handing().await;
    let gateway = Gateway::start(&yaml(service.address, "", "", ""));
    let forms: [(&str, [&str; 4]); 2] = [
        (LINES, ["{\"name\":\"0\"}\n", "{\"name\":\"1\"}\n", "{\"name\":\"2\"}\n", ""]),
        ("application/json", ["[{\"name\":\"0\"}", ",{\"name\":\"1\"}", ", {\"name\":\"2\"}", "]"]),
    ];
    for (content_type, parts) in forms {
        let mut client = H1::connect(gateway.address()).await;
        let head = format!(
            "POST /v1/talk HTTP/1.1\r\nhost: lab.test\r\ncontent-type: {content_type}\r\naccept: {LINES}\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        client.write(head.as_bytes()).await;
        let chunk = |part: &str| format!("{:x}\r\n{part}\r\n", part.len());
        client.write(chunk(parts[0]).as_bytes()).await;
        let mut call = soon("the call", calls.recv()).await.unwrap();
        let mut stream = call.reply();
        let mut framing = None;
        for (at, part) in parts[1..].iter().enumerate() {
            let message = soon("a message", call.body.data()).await.unwrap().unwrap();
            call.body.flow_control().release_capacity(message.len()).unwrap();
            assert_eq!(Probe::decode(&message[5..]).unwrap(), named(&at.to_string()), "{content_type}");
            // Both ways at once: the answer is here while the request goes on.
            stream.send_data(message, false).unwrap();
            if framing.is_none() {
                framing = Some(soon("the head", client.head("POST")).await.1);
            }
            let line = soon("the answer", client.next(framing.as_mut().unwrap())).await.unwrap();
            assert_eq!(line, format!("{{\"name\":\"{at}\"}}\n"));
            if !part.is_empty() {
                client.write(chunk(part).as_bytes()).await;
            }
        }
        client.write(b"0\r\n\r\n").await;
        assert!(soon("the end", call.body.data()).await.is_none_or(|last| last.unwrap().is_empty()));
        stream.send_trailers(trailers(0)).unwrap();
        assert_eq!(soon("the end", client.next(framing.as_mut().unwrap())).await, Err(End::Whole));
    }
}

#[tokio::test]
async fn a_fault_in_a_client_stream_ends_it_in_order() {
    let (service, mut calls) = handing().await;
    let gateway = Gateway::start(&yaml(service.address, "", "", ""));
    for version in VERSIONS {
        let mut client = Client::connect(version, gateway.address()).await;
        let body = "{\"name\":\"a\"}\n{\"name\":1}\n{\"name\":\"c\"}\n";
        let answer = client.ask(&post("/v1/pour", body).with("x-two", "1")).await;
        assert_eq!(answer.status, 400, "an array or one object is due: {}", answer.text());
        let ask = rest::ask("POST", "/v1/pour").with("content-type", LINES).body(body);
        let answer = client.ask(&ask).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "REQUEST_INVALID"));
        assert_eq!(answer.json()["details"][1]["fieldViolations"][0]["field"], "name");
        // Whatever of it went upstream was never completed.
        while let Ok(mut call) = calls.try_recv() {
            let end = soon("a reset", async {
                loop {
                    match call.body.data().await {
                        Some(Ok(_)) => {}
                        other => break other,
                    }
                }
            })
            .await;
            assert!(end.is_some_and(|end| end.is_err()), "the request came to its end");
        }
    }
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

/// Sends messages of 16 KiB as fast as they are taken, and counts the bytes.
async fn pour(stream: &mut SendStream<Bytes>, len: u64, sent: &AtomicU64) {
    let piece = framed(&Probe { blob: vec![0; PIECE].into(), ..Probe::default() });
    while sent.load(Ordering::SeqCst) < len {
        let mut rest = piece.clone();
        while !rest.is_empty() {
            stream.reserve_capacity(rest.len());
            let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
            let part = rest.split_to(room.min(rest.len()));
            sent.fetch_add(part.len() as u64, Ordering::SeqCst);
            stream.send_data(part, false).unwrap();
        }
    }
}

const PIECE: usize = 16 << 10;
const LONG: u64 = 128 << 20;
/// What may be on its way at once: the windows of both connections, and what the sockets hold.
const HELD_MAX: u64 = 24 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_stops_the_service_and_costs_nobody_else() {
    for version in VERSIONS {
        for accept in ["application/json", LINES, EVENTS] {
            let sent = Arc::new(AtomicU64::new(0));
            let counting = sent.clone();
            let service = RawUpstream::start(move |request, mut respond| {
                let sent = counting.clone();
                Box::pin(async move {
                    let mut stream = respond.send_response(grpc_head(), false).unwrap();
                    if request.uri().path().ends_with("Flow") {
                        pour(&mut stream, LONG, &sent).await;
                    } else {
                        stream.send_data(frame(0, b""), false).unwrap();
                    }
                    stream.send_trailers(trailers(0)).unwrap();
                })
            })
            .await;
            let gateway = Gateway::start(&yaml(service.address, "", "", ""));
            let mut client = Client::connect(version, gateway.address()).await;
            let (answer, mut reading) = client.open(&get("/v1/flow").with("accept", accept)).await;
            assert_eq!(answer.status, 200);
            let mut beside = Client::connect(version, gateway.address()).await;
            assert!(eventually(|| sent.load(Ordering::SeqCst) > 0).await);
            let stuck = loop {
                let before = sent.load(Ordering::SeqCst);
                for _ in 0..50 {
                    assert_eq!(beside.ask(&get("/v1/show")).await.status, 200, "others are served");
                }
                if sent.load(Ordering::SeqCst) == before {
                    break before;
                }
            };
            assert!(stuck < HELD_MAX, "{version:?} {accept}: {stuck} bytes for a client that reads none");
            let mut bytes = 0u64;
            let end = loop {
                match soon("more bytes", reading.next()).await {
                    Ok(chunk) => bytes += chunk.len() as u64,
                    Err(end) => break end,
                }
            };
            assert_eq!(end, End::Whole, "{version:?} {accept}");
            // In base64 each message is a third longer.
            assert!(bytes > LONG / 3 * 4, "{version:?} {accept}: {bytes}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_call_with_it() {
    let (service, mut calls) = handing().await;
    let gateway = Gateway::start(&yaml(service.address, "", "", ""));
    let mut cancelled = 0.0;
    for version in VERSIONS {
        for accept in ["application/json", LINES, EVENTS] {
            for begun in [false, true] {
                let mut client = Client::connect(version, gateway.address()).await;
                let ask = get("/v1/flow").with("accept", accept);
                let (mut call, mut stream);
                let mut unanswered = None;
                if begun {
                    let serve = async {
                        let mut call = calls.recv().await.unwrap();
                        let mut stream = call.reply();
                        stream.send_data(framed(&named("a")), false).unwrap();
                        (call, stream)
                    };
                    let (answer, reading);
                    ((call, stream), (answer, reading)) = tokio::join!(serve, client.open(&ask));
                    assert_eq!(answer.status, 200);
                    drop::<Reading<'_>>(reading);
                } else {
                    match &mut client {
                        Client::H1(h1) => h1.write(&h1_head(&ask)).await,
                        Client::H2(h2, address) => {
                            let head = http::Request::get(format!("http://{address}/v1/flow"))
                                .header("accept", accept)
                                .body(())
                                .unwrap();
                            let (response, mut sending) = h2.open(head).await;
                            sending.send_data(Bytes::new(), true).unwrap();
                            unanswered = Some(response);
                        }
                    }
                    call = soon("the call", calls.recv()).await.unwrap();
                    stream = call.reply();
                }
                assert_eq!(call.head.uri.path(), "/lab.v1.Lab/Flow");
                drop((client, unanswered));
                let reset = soon("a reset", std::future::poll_fn(|cx| stream.poll_reset(cx))).await;
                assert_eq!(reset.unwrap(), h2::Reason::CANCEL, "{version:?} {accept} {begun}");
                cancelled += 1.0;
                gateway.until_metric("transom_calls_total", &[("code", "CANCELLED")], cancelled).await;
            }
        }
    }
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

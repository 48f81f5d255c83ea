//! What clients and upstreams do wrong, frame by frame, and what the other side sees of it.

#[path = "support/raw.rs"]
mod raw;
mod support;

use bytes::Bytes;

use crate::raw::Ask;
use crate::raw::BIDI;
use crate::raw::Client;
use crate::raw::Outcome;
use crate::raw::SERVER_STREAM;
use crate::raw::UNARY;
use crate::raw::ask;
use crate::raw::count;
use crate::raw::until;
use crate::raw::upstream::Act;
use crate::raw::upstream::Last;
use crate::raw::upstream::Upstream;
use crate::raw::upstream::When;
use crate::raw::upstream::good;
use crate::support::Gateway;
use crate::support::Parts;
use crate::support::frame;
use crate::support::yaml;

/// A gateway before hand-written upstreams.
fn before(upstreams: &[&Upstream], parts: Parts<'_>) -> Gateway {
    let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
    Gateway::start(&yaml(&addresses, parts))
}

fn head(fields: &[(&'static str, &'static str)]) -> Act {
    Act::Headers(
        [(":status", "200"), ("content-type", "application/grpc")].iter().chain(fields).copied().collect(),
        Last::No,
    )
}

fn status(code: &'static str) -> Act {
    Act::Headers(vec![("grpc-status", code)], Last::Yes)
}

fn reply() -> Act {
    Act::Data(frame(0, b"\x0a\x01y"), Last::No)
}

#[track_caller]
fn refused(name: &str, outcome: &Outcome, code: i32, reason: &str) {
    let seen = (outcome.code, outcome.reason.as_str());
    assert_eq!(seen, (Some(code), reason), "{name}: {outcome:?}");
    assert!(outcome.error.is_none(), "{name}: {outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused_and_never_completed_upstream() {
    let whole = frame(0, b"\x0a\x01x");
    let huge = [&[0, 0xff, 0xff, 0xff, 0xff][..], &[7; 10]].concat();
    let twice = [&whole[..], &whole].concat();
    let cases: Vec<(&str, Ask, i32, &str)> = vec![
        ("flag 2", ask(UNARY).chunks(&[&frame(2, b"x")]), 13, "FRAME_INVALID"),
        ("flag 255 on a stream", ask(BIDI).chunks(&[&whole, &frame(255, b"x")]), 13, "FRAME_INVALID"),
        ("compressed, no encoding named", ask(UNARY).chunks(&[&frame(1, b"x")]), 13, "FRAME_INVALID"),
        ("ends in the header", ask(UNARY).chunks(&[&whole[..3]]), 13, "FRAME_INVALID"),
        ("ends in the payload", ask(UNARY).chunks(&[&whole[..6]]), 13, "FRAME_INVALID"),
        ("a stream ends in a message", ask(BIDI).chunks(&[&whole, &whole[..7]]), 13, "FRAME_INVALID"),
        ("4 GiB promised, 10 bytes sent", ask(UNARY).chunks(&[&huge]), 13, "FRAME_INVALID"),
        ("no message", ask(UNARY).chunks(&[]), 12, "CARDINALITY"),
        ("an empty body", ask(UNARY).chunks(&[b""]), 12, "CARDINALITY"),
        ("two messages at once", ask(UNARY).chunks(&[&twice]), 12, "CARDINALITY"),
        ("two messages one by one", ask(SERVER_STREAM).chunks(&[&whole, &whole]), 12, "CARDINALITY"),
    ];
    let upstream = Upstream::start(|_| (When::End, good()));
    let gateway = before(&[&upstream], Parts::default());
    let client = Client::connect(gateway.address()).await;
    for (name, ask, code, reason) in &cases {
        refused(name, &client.call(ask).await, *code, reason);
    }
    assert_eq!(client.call(&ask(UNARY)).await.code, Some(0), "the connection is still good");
    let seen = upstream.until("a reset for each bad call", |seen| seen.resets + 1 == seen.calls).await;
    assert_eq!(seen.ended, 1, "only the good request came to its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_size_is_refused_before_it_comes() {
    let upstream = Upstream::start(|_| (When::End, good()));
    let parts = Parts { top: "policies: { validate: { max_message: 1KiB } }", ..Parts::default() };
    let gateway = before(&[&upstream], parts);
    let client = Client::connect(gateway.address()).await;
    let huge = [&[0, 0xff, 0xff, 0xff, 0xff][..], &[7; 10]].concat();
    // The client's half stays open: the header alone decides.
    let outcome = client.call(&ask(UNARY).chunks(&[&huge]).open()).await;
    refused("4 GiB", &outcome, 8, "MESSAGE_TOO_LARGE");
    assert!(outcome.told.contains("4294967295") && outcome.told.contains("1024"), "{}", outcome.told);
    let just = client.call(&ask(UNARY).chunks(&[&frame(0, &[0; 1024])])).await;
    assert_eq!(just.code, Some(0), "the limit itself is allowed: {just:?}");
    upstream
        .until("no request but the good one", |seen| seen.ended == 1 && seen.resets + 1 == seen.calls)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_are_not_grpc_become_the_codes_of_the_table() {
    let html = |status: &'static str| {
        let head = Act::Headers(vec![(":status", status), ("content-type", "text/html")], Last::No);
        vec![head, Act::Data(Bytes::from_static(b"<html>secret-of-the-house</html>"), Last::Yes)]
    };
    let cases = [
        ("200", 2),
        ("400", 13),
        ("401", 16),
        ("403", 7),
        ("404", 12),
        ("429", 14),
        ("500", 2),
        ("502", 14),
        ("503", 14),
        ("504", 14),
    ];
    let upstream = Upstream::start(move |turn| (When::End, html(cases[turn.call].0)));
    let gateway = before(&[&upstream], Parts::default());
    let client = Client::connect(gateway.address()).await;
    for (name, code) in cases {
        let outcome = client.call(&ask(UNARY)).await;
        refused(name, &outcome, code, "UPSTREAM_NOT_GRPC");
        assert_eq!(outcome.http, 200);
        let all = format!("{outcome:?}");
        assert!(outcome.data.is_empty() && !all.contains("secret"), "the body leaked: {all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_replies_are_told_in_grpc() {
    let ok = || head(&[]);
    let data = |bytes: Bytes| Act::Data(bytes, Last::No);
    let cases: Vec<(&str, Vec<Act>, i32, &str)> = vec![
        (
            "headers alone",
            vec![Act::Headers(vec![(":status", "200"), ("content-type", "application/grpc")], Last::Yes)],
            13,
            "UPSTREAM_NO_STATUS",
        ),
        ("data, no trailers", vec![ok(), Act::Data(frame(0, b"x"), Last::Yes)], 13, "UPSTREAM_NO_STATUS"),
        (
            "trailers, no status",
            vec![ok(), Act::Headers(vec![("x-other", "1")], Last::Yes)],
            13,
            "UPSTREAM_NO_STATUS",
        ),
        ("flag 2", vec![ok(), data(frame(2, b"x")), status("0")], 13, "FRAME_INVALID"),
        ("compressed, no encoding named", vec![ok(), data(frame(1, b"x")), status("0")], 13, "FRAME_INVALID"),
        (
            "ends in a message",
            vec![ok(), data(frame(0, b"xyz").slice(..6)), status("0")],
            13,
            "FRAME_INVALID",
        ),
        ("reset CANCEL", vec![Act::Reset(8)], 1, "UPSTREAM_RESET"),
        ("reset ENHANCE_YOUR_CALM", vec![Act::Reset(11)], 8, "UPSTREAM_RESET"),
        ("reset INADEQUATE_SECURITY", vec![Act::Reset(12)], 7, "UPSTREAM_RESET"),
        ("reset INTERNAL_ERROR", vec![Act::Reset(2)], 13, "UPSTREAM_RESET"),
        ("reset NO_ERROR", vec![Act::Reset(0)], 13, "UPSTREAM_RESET"),
        ("reset of an unknown code", vec![Act::Reset(4242)], 13, "UPSTREAM_RESET"),
        ("reset after the head", vec![ok(), Act::Reset(11)], 8, "UPSTREAM_RESET"),
        ("reset after data", vec![ok(), reply(), Act::Reset(2)], 13, "UPSTREAM_RESET"),
        ("refused after data", vec![ok(), reply(), Act::Reset(7)], 14, "UPSTREAM_RESET"),
        ("connection lost after data", vec![ok(), reply(), Act::Close], 14, "UPSTREAM_RESET"),
        ("connection lost before the head", vec![Act::Close], 14, "UPSTREAM_RESET"),
    ];
    let scripts: Vec<_> = cases.iter().map(|case| case.1.clone()).collect();
    let upstream = Upstream::start(move |turn| (When::End, scripts[turn.call].clone()));
    let gateway = before(&[&upstream], Parts::default());
    let client = Client::connect(gateway.address()).await;
    for (name, _, code, reason) in &cases {
        let outcome = client.call(&ask(SERVER_STREAM)).await;
        refused(name, &outcome, *code, reason);
    }
    assert_eq!(upstream.seen().calls, cases.len(), "nothing that may have run was sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_of_the_upstream_pass_untouched() {
    let upstream = Upstream::start(|turn| {
        (
            When::End,
            match turn.call {
                0 => vec![
                    head(&[("x-lead", "a")]),
                    reply(),
                    Act::Headers(vec![("grpc-status", "9"), ("grpc-message", "no%20way")], Last::Yes),
                ],
                _ => vec![Act::Headers(
                    vec![
                        (":status", "200"),
                        ("content-type", "application/grpc"),
                        ("grpc-status", "5"),
                        ("x-lead", "b"),
                    ],
                    Last::Yes,
                )],
            },
        )
    });
    let gateway = before(&[&upstream], Parts::default());
    let client = Client::connect(gateway.address()).await;
    let first = client.call(&ask(SERVER_STREAM)).await;
    assert_eq!(
        (first.code, first.told.as_str(), &first.headers["x-lead"]),
        (Some(9), "no%20way", &"a".parse().unwrap())
    );
    assert_eq!(first.data, frame(0, b"\x0a\x01y"));
    let second = client.call(&ask(SERVER_STREAM)).await;
    assert!(second.at_once && second.code == Some(5) && second.headers["x-lead"] == "b", "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_stream_is_tried_elsewhere() {
    let refusing = Upstream::start(|_| (When::Head, vec![Act::Reset(7)]));
    let healthy = Upstream::start(|_| (When::End, good()));
    let gateway = before(&[&refusing, &healthy], Parts::default());
    let client = Client::connect(gateway.address()).await;
    for _ in 0..4 {
        let outcome = client.call(&ask(UNARY)).await;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
    assert!(refusing.seen().calls > 0, "the first endpoint had its turn");
    assert_eq!(healthy.seen().ended, 4);
    let retries = count(&gateway, "transom_upstream_retries_total", &[("why", "UPSTREAM_RESET")]);
    assert_eq!(retries, i64::try_from(refusing.seen().calls).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_everywhere_is_unavailable() {
    let script = |_| (When::Head, vec![Act::Reset(7)]);
    let (one, two) = (Upstream::start(script), Upstream::start(script));
    let gateway = before(&[&one, &two], Parts::default());
    let client = Client::connect(gateway.address()).await;
    let outcome = client.call(&ask(UNARY)).await;
    refused("all refuse", &outcome, 14, "UPSTREAM_RESET");
    assert_eq!((one.seen().calls, two.seen().calls), (1, 1), "each endpoint once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goaway_without_the_call_moves_it_to_a_new_connection() {
    // The old connection may close at once, or stay for calls that there are none of.
    for then in [vec![Act::GoAway(0, 0), Act::Close], vec![Act::GoAway(0, 0)]] {
        let upstream = Upstream::start(move |turn| match turn.connection {
            0 => (When::Head, then.clone()),
            _ => (When::End, good()),
        });
        let gateway = before(&[&upstream], Parts::default());
        let client = Client::connect(gateway.address()).await;
        for _ in 0..2 {
            let outcome = client.call(&ask(UNARY)).await;
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
        }
        let seen = upstream.seen();
        assert_eq!((seen.connections, seen.calls), (2, 3));
        let retries = count(&gateway, "transom_upstream_retries_total", &[("why", "UPSTREAM_UNREACHABLE")]);
        assert_eq!(retries, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_goaway_lets_calls_end() {
    let upstream = Upstream::start(|turn| {
        let mut acts = vec![Act::GoAwayAfter];
        acts.extend(good());
        (When::End, if turn.connection == 0 { acts } else { good() })
    });
    let gateway = before(&[&upstream], Parts::default());
    let client = Client::connect(gateway.address()).await;
    for _ in 0..3 {
        let outcome = client.call(&ask(UNARY)).await;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
    let seen = upstream.seen();
    assert_eq!((seen.connections, seen.calls, seen.resets), (2, 3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_never_answers_costs_only_its_own_calls() {
    let silent = Upstream::start(|_| (When::Released, Vec::new()));
    let healthy = Upstream::start(|_| (When::End, good()));
    let parts = Parts { upstream: "pool: { max_streams: 1, connections: 1 }", ..Parts::default() };
    let gateway = before(&[&silent, &healthy], parts);
    let client = Client::connect(gateway.address()).await;
    let mut codes = Vec::new();
    for _ in 0..12 {
        let outcome = client.call(&ask(UNARY).header("grpc-timeout", "60m")).await;
        if outcome.code == Some(4) {
            refused("silent", &outcome, 4, "DEADLINE_EXCEEDED");
        }
        codes.push(outcome.code);
    }
    assert_eq!(codes.iter().filter(|code| **code == Some(4)).count(), 6, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 6, "{codes:?}");
    silent.until("each late call is reset", |seen| seen.resets == 6).await;
    assert_eq!(silent.seen().connections, 1, "each place came back: {:?}", silent.seen());
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_more_end_at_the_deadline() {
    let upstream = Upstream::start(|_| (When::Head, vec![head(&[])]));
    let gateway = before(&[&upstream], Parts::default());
    let client = Client::connect(gateway.address()).await;
    let outcome = client.call(&ask(BIDI).header("grpc-timeout", "80m").open()).await;
    refused("headers only", &outcome, 4, "DEADLINE_EXCEEDED");
    assert!(!outcome.at_once, "the head was passed on before: {outcome:?}");
    upstream.until("a reset", |seen| seen.resets == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_speaks_no_http2_is_passed_over() {
    // It takes connections, and never says a word.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let healthy = Upstream::start(|_| (When::End, good()));
    let addresses = [mute.local_addr().unwrap(), healthy.address];
    let parts = Parts { upstream: "pool: { connect_timeout: 100ms }", ..Parts::default() };
    let gateway = Gateway::start(&yaml(&addresses, parts));
    let client = Client::connect(gateway.address()).await;
    for _ in 0..4 {
        let outcome = client.call(&ask(UNARY)).await;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
    assert!(count(&gateway, "transom_upstream_connects_total", &[("outcome", "timeout")]) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listening_is_unavailable() {
    // A socket that is bound but doesn't listen keeps the port from everyone else.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let gateway = Gateway::start(&yaml(&[address], Parts::default()));
    let client = Client::connect(gateway.address()).await;
    let outcome = client.call(&ask(UNARY)).await;
    refused("refused", &outcome, 14, "UPSTREAM_UNREACHABLE");
    assert!(!outcome.told.contains("127.0.0.1"), "addresses are for the log: {}", outcome.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_before_the_requests_end_resets_with_no_error() {
    let upstream = Upstream::start(|_| (When::Head, good()));
    let gateway = before(&[&upstream], Parts::default());
    let client = Client::connect(gateway.address()).await;
    let mut calling = client.begin(&ask(BIDI).open()).await.unwrap();
    let (mut body, data) = calling.first().await;
    assert_eq!(data, frame(0, b"\x0a\x01y"));
    let trailers = support::soon("trailers", body.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    //= https://www.rfc-editor.org/rfc/rfc9113#section-8.1
    //# the server MAY request that the client abort transmission of a request without error
    let reset = support::soon("a reset", std::future::poll_fn(|cx| calling.sending.poll_reset(cx))).await;
    assert_eq!(reset.unwrap(), h2::Reason::NO_ERROR);
    let seen = upstream.until("the upstream's stream is let go", |seen| seen.resets == 1).await;
    assert_ne!(seen.reset_code, 2, "an upstream that was done did nothing wrong");
}

/// How far a call is when its client goes.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Unanswered,
    MidStream,
    HalfClosed,
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_cancel_leave_nothing_behind() {
    const A_CONNECTION: usize = 100;
    let upstream = Upstream::start(|turn| {
        let acts = vec![head(&[]), reply()];
        match (turn.call / A_CONNECTION) % 3 {
            1 => (When::Head, acts),
            2 => (When::End, acts),
            _ => (When::Released, acts),
        }
    });
    let gateway = before(&[&upstream], Parts::default());
    let mut total = 0;
    for round in 0..20 {
        // More resets than these on one connection would be taken for an attack.
        let client = Client::connect(gateway.address()).await;
        let stage = [Stage::Unanswered, Stage::MidStream, Stage::HalfClosed][round % 3];
        let ask = if stage == Stage::HalfClosed { ask(BIDI) } else { ask(BIDI).open() };
        let mut calls = Vec::new();
        for _ in 0..A_CONNECTION {
            calls.push(client.begin(&ask).await.unwrap());
        }
        total += A_CONNECTION;
        if stage == Stage::Unanswered {
            upstream.until("all calls", |seen| seen.calls == total).await;
        } else {
            for call in &mut calls {
                drop(call.first().await);
            }
        }
        for call in &mut calls {
            call.sending.send_reset(h2::Reason::CANCEL);
        }
        upstream.until("all resets", |seen| seen.resets == total).await;
    }
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
    gateway.until_metric("transom_calls_total", &[("code", "CANCELLED")], 2000.0).await;
    assert!(upstream.seen().connections <= 2, "the places came back: {:?}", upstream.seen());
    gateway.until_metric("transom_connections", &[("listener", "main")], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_streams_in_order_and_no_unary_call() {
    const UNARY_CALLS: usize = 50;
    const STREAMS: usize = 200;
    const BEFORE: usize = UNARY_CALLS + STREAMS;
    let upstream = Upstream::start(|turn| match turn.call {
        0..UNARY_CALLS => (When::Released, good()),
        BEFORE.. => (When::End, good()),
        _ => (When::Head, vec![head(&[]), reply()]),
    });
    let parts = Parts { top: "server: { workers: 2, drain_timeout: 4s }", ..Parts::default() };
    let gateway = before(&[&upstream], parts);
    let (admin, address) = (gateway.admin(), gateway.address());
    let clients =
        [Client::connect(address).await, Client::connect(address).await, Client::connect(address).await];
    let mut unary = Vec::new();
    for _ in 0..UNARY_CALLS {
        unary.push(clients[0].begin(&ask(UNARY)).await.unwrap());
    }
    upstream.until("the unary calls", |seen| seen.ended == UNARY_CALLS).await;
    let mut streams = Vec::new();
    for at in 0..STREAMS {
        let mut call = clients[1 + at % 2].begin(&ask(BIDI).open()).await.unwrap();
        let (body, _) = call.first().await;
        streams.push((call, body));
    }
    assert_eq!(raw::get(admin, "/readyz").await, (200, "ready\n".into()));

    let mut drained = tokio::task::JoinSet::new();
    drained.spawn(gateway.drain());
    let mut ready = 200;
    support::soon("readiness to fail", async {
        while ready != 503 {
            ready = raw::get(admin, "/readyz").await.0;
        }
    })
    .await;
    let late = Client::connect(address).await;
    assert_eq!(late.call(&ask(UNARY)).await.code, Some(0), "who hasn't heard of it yet is served");
    assert_eq!(raw::get(admin, "/healthz").await.0, 200, "it still lives");
    upstream.release.send_replace(true);
    for call in unary {
        let outcome = call.end().await;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
    for (call, mut body) in streams {
        let mut outcome = Outcome::default();
        support::soon("the end of a stream", raw::rest(&mut body, &mut outcome)).await;
        refused("a drained stream", &outcome, 14, "DRAINING");
        assert!(outcome.retry_info, "{outcome:?}");
        drop(call);
    }
    support::soon("the end of the drain", drained.join_next()).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
    until("the upstream's connections close", || upstream.seen().open == 0).await;
}

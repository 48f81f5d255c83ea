//! What native gRPC callers get beside the laws of the matrix: untouched bytes, ends in time, hosts.

mod support;

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::Request;
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt;
use transom::demo::pb;
use transom::demo::pb::library_client::LibraryClient;

use crate::support::Backend;
use crate::support::Gateway;
use crate::support::PATIENCE;
use crate::support::Parts;
use crate::support::RawClient;
use crate::support::RawUpstream;
use crate::support::demo;
use crate::support::frame;
use crate::support::grpc_head;
use crate::support::message;
use crate::support::policies::lock;
use crate::support::read_body;
use crate::support::soon;
use crate::support::trailers;
use crate::support::yaml;

fn delayed(seconds: i64) -> pb::InspectRequest {
    pb::InspectRequest { delay: Some(prost_types::Duration { seconds, nanos: 0 }), ..Default::default() }
}

fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == "transom").map(|info| info.reason)
}

#[tokio::test]
async fn messages_of_any_encoding_pass_untouched() {
    let got: Arc<Mutex<Option<(HeaderMap, Bytes)>>> = Arc::default();
    let keep = got.clone();
    let upstream = RawUpstream::start(move |request, mut respond| {
        let keep = keep.clone();
        Box::pin(async move {
            let (head, mut body) = request.into_parts();
            let bytes = read_body(&mut body).await.expect("the request comes whole");
            *lock(&keep) = Some((head.headers, bytes));
            let mut head = grpc_head();
            head.headers_mut().insert("grpc-encoding", "odd".parse().expect("a good value"));
            let mut stream = respond.send_response(head, false).expect("the call is open");
            stream.send_data(frame(1, b"\0never gzip\xff"), false).expect("the call is open");
            stream.send_data(frame(0, b"plain"), false).expect("the call is open");
            stream.send_trailers(trailers(0)).expect("the call is open");
        })
    })
    .await;
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    let client = RawClient::connect(gateway.address()).await;
    let mut head = client.head("Discuss");
    head.headers_mut().insert("grpc-encoding", "odd".parse().expect("a good value"));
    head.headers_mut().insert("grpc-accept-encoding", "odd,gzip".parse().expect("a good value"));
    let body: Bytes = [frame(1, b"\xff\0not gzip"), frame(0, b""), frame(1, b"")].concat().into();
    let reply = client.call(head, body.clone()).await.expect("an answer");

    let (headers, bytes) = lock(&got).take().expect("the upstream was called");
    assert_eq!(bytes, body);
    assert_eq!(
        (&headers["grpc-encoding"], &headers["grpc-accept-encoding"]),
        (&"odd".parse().unwrap(), &"odd,gzip".parse().unwrap())
    );
    assert_eq!(reply.code(), Some(0));
    assert_eq!(reply.headers["grpc-encoding"], "odd");
    assert_eq!(reply.body, [frame(1, b"\0never gzip\xff"), frame(0, b"plain")].concat());
}

#[tokio::test]
async fn the_gateway_ends_a_call_at_the_clients_deadline() {
    let (told, mut tell) = mpsc::channel(1);
    let upstream = RawUpstream::start(move |request, mut respond| {
        let told = told.clone();
        Box::pin(async move {
            let timeout = request.headers().get("grpc-timeout").cloned();
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            told.send((timeout, reset)).await.expect("the test listens");
        })
    })
    .await;
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    let client = RawClient::connect(gateway.address()).await;
    let mut head = client.head("GetBook");
    head.headers_mut().insert("grpc-timeout", "150m".parse().expect("a good value"));
    let reply = client.call(head, message(&pb::GetBookRequest::default())).await.expect("an answer");
    assert_eq!((reply.code(), reply.reason().as_deref()), (Some(4), Some("DEADLINE_EXCEEDED")));
    assert!(reply.trailers.is_none(), "nothing came before it, so it is one block of headers");

    let (timeout, reset) = soon("the reset", tell.recv()).await.expect("the upstream was called");
    assert_eq!(reset.expect("a reset, not a lost connection"), h2::Reason::CANCEL);
    let timeout = transom::call::deadline::parse_timeout(timeout.expect("it was forwarded").as_bytes());
    let left = timeout.expect("it is well-formed");
    assert!(Duration::ZERO < left && left < Duration::from_millis(150), "{left:?} of 150 ms arrived");
}

#[tokio::test]
async fn malformed_deadlines_are_refused() {
    let (gateway, _backend) = demo(Parts::default());
    let client = RawClient::connect(gateway.address()).await;
    for timeout in ["", "5", "S", "123456789S", "-1S", "1.5S", "5 S"] {
        let mut head = client.head("Inspect");
        head.headers_mut().insert("grpc-timeout", timeout.parse().expect("a good value"));
        let reply = client.call(head, message(&pb::InspectRequest::default())).await.expect("an answer");
        assert_eq!(
            (reply.code(), reply.reason().as_deref()),
            (Some(3), Some("REQUEST_INVALID")),
            "{timeout:?}"
        );
    }
}

#[tokio::test]
async fn the_backend_sees_at_once_that_a_client_went_away() {
    let (gateway, backend) = demo(Parts::default());
    let mut direct = LibraryClient::new(support::channel(backend.address).await);
    let mut client = gateway.library().await;
    // One call that waits for its head, and one in the middle of its reply.
    let waiting = {
        let mut client = gateway.library().await;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { client.inspect(delayed(60)).await });
        tasks
    };
    let pause = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let read = pb::ReadBookRequest { name: support::BOOK.into(), pause, ..Default::default() };
    let mut pages = client.read_book(read).await.expect("the book is there").into_inner();
    assert!(pages.message().await.expect("a page").is_some());
    until_counts(&mut direct, (3, 0)).await;
    drop(waiting);
    until_counts(&mut direct, (2, 1)).await;
    drop(pages);
    until_counts(&mut direct, (1, 2)).await;
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
    assert!((gateway.metric("transom_calls_total", &[("code", "CANCELLED")]) - 2.0).abs() < 1e-9);
}

/// Waits until the backend counts so many calls that run, this one included, and that were cut off.
async fn until_counts(direct: &mut LibraryClient<Channel>, want: (i64, i64)) {
    let mut seen = (0, 0);
    let wait = async {
        while seen != want {
            let reply = direct.inspect(pb::InspectRequest::default()).await.expect("it answers").into_inner();
            seen = (reply.running, reply.cancelled);
        }
    };
    let came = tokio::time::timeout(PATIENCE, wait).await;
    assert!(came.is_ok(), "the backend counts {seen:?}, not {want:?}");
}

#[tokio::test]
async fn half_closing_ends_one_direction_alone() {
    let (gateway, _backend) = demo(Parts::default());
    let mut client = gateway.library().await;
    let (say, remarks) = mpsc::channel(1);
    let mut answers = client.discuss(ReceiverStream::new(remarks)).await.expect("it is open").into_inner();
    // Neither side waits for the other's end.
    for number in 1..=3 {
        say.send(pb::Remark { id: "a".into(), ..Default::default() }).await.expect("it is open");
        let answer = soon("an answer", answers.message()).await.expect("no fault").expect("no end");
        assert_eq!(answer.number, number);
    }
    say.send(pb::Remark { id: "b".into(), times: 1000, ..Default::default() }).await.expect("it is open");
    drop(say);
    let mut last = 3;
    while let Some(answer) = soon("an answer", answers.message()).await.expect("no fault") {
        last += 1;
        assert_eq!((answer.id.as_str(), answer.number), ("b", last));
    }
    assert_eq!(last, 1003);

    // The backend answers a stream of books at the client's end, not before.
    let (say, books) = mpsc::channel(1);
    let mut importing = tokio::task::JoinSet::new();
    importing.spawn(async move { client.import_books(ReceiverStream::new(books)).await });
    for _ in 0..3 {
        say.send(pb::ImportBooksRequest::default()).await.expect("it is open");
    }
    assert!(importing.try_join_next().is_none(), "the call has ended before its request");
    drop(say);
    let reply = soon("the reply", importing.join_next()).await.expect("a task").expect("no panic");
    assert_eq!(reply.expect("it succeeds").into_inner().rejected, 3);
}

#[tokio::test]
async fn the_upstream_sees_the_authority_of_the_configuration() {
    let backend = Backend::start();
    let asked = |upstream: &str| yaml(&[backend.address], Parts { upstream, ..Parts::default() });
    let cases = [
        ("", backend.address.to_string()),
        ("authority: endpoint", backend.address.to_string()),
        ("authority: client", "library.example:77".to_owned()),
        ("authority: inner.example", "inner.example".to_owned()),
    ];
    for (upstream, want) in cases {
        let gateway = Gateway::start(&asked(upstream));
        let mut client = client_of(&gateway, "library.example:77").await;
        let reply = client.inspect(pb::InspectRequest::default()).await.expect("it answers").into_inner();
        assert_eq!(reply.authority, want, "{upstream:?}");
    }
}

/// A client that says another `:authority` than the gateway's address.
async fn client_of(gateway: &Gateway, authority: &str) -> LibraryClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{}", gateway.address())).expect("a good URI");
    let origin = format!("http://{authority}").parse().expect("a good URI");
    let channel = endpoint.origin(origin).connect().await.expect("the gateway takes connections");
    LibraryClient::new(channel)
}

#[tokio::test]
async fn methods_are_found_on_their_hosts_alone() {
    let (gateway, _backend) =
        demo(Parts { api: "hosts: [api.example, \"*.inner.example\"]", ..Parts::default() });
    for host in ["api.example", "API.example:8080", "a.inner.example", "a.b.inner.example"] {
        let mut client = client_of(&gateway, host).await;
        client
            .inspect(pb::InspectRequest::default())
            .await
            .unwrap_or_else(|status| panic!("{host}: {status}"));
    }
    for host in ["other.example", "inner.example", "api.example.com", "xapi.example"] {
        let mut client = client_of(&gateway, host).await;
        let status = client.inspect(pb::InspectRequest::default()).await.expect_err(host);
        assert_eq!(
            (status.code(), reason(&status).as_deref()),
            (Code::Unimplemented, Some("METHOD_UNKNOWN"))
        );
        assert!(status.message().contains(host), "{}", status.message());
    }
}

#[tokio::test]
async fn the_longest_time_bounds_what_clients_give() {
    let (gateway, _backend) = demo(Parts { api: "policies: { timeout: { max: 2s } }", ..Parts::default() });
    let mut client = gateway.library().await;
    let mut request = Request::new(pb::InspectRequest::default());
    request.set_timeout(Duration::from_secs(3600));
    let left = client.inspect(request).await.expect("it answers").into_inner().deadline_ms;
    assert!(left.is_some_and(|left| (1..=2000).contains(&left)), "{left:?} of 2 s arrived");
}

#[tokio::test]
async fn empty_messages_and_many_in_one_chunk_arrive() {
    let (gateway, _backend) = demo(Parts::default());
    let client = RawClient::connect(gateway.address()).await;
    let body: Bytes = (0..500).flat_map(|_| frame(0, b"")).collect();
    let reply = client.call(client.head("Discuss"), body).await.expect("an answer");
    assert_eq!(reply.code(), Some(0));
    let mut rest = reply.body;
    let mut answers = 0;
    while !rest.is_empty() {
        let len = u32::from_be_bytes(rest[1..5].try_into().expect("four bytes")) as usize;
        let frame = rest.split_to(5 + len);
        answers += 1;
        assert_eq!(pb::Answer::decode(&frame[5..]).expect("an answer").number, answers);
    }
    assert_eq!(answers, 500);
}

#[tokio::test]
async fn a_request_without_messages_ends_though_no_connection_was_open() {
    let (gateway, _backend) = demo(Parts::default());
    let client = RawClient::connect(gateway.address()).await;
    // The end comes with the head, so it is known before the backend is connected.
    let reply = client.call(client.head("ImportBooks"), Bytes::new()).await.expect("an answer");
    assert_eq!(reply.code(), Some(0), "{:?}", reply.field("grpc-message"));
}

#[tokio::test]
async fn what_comes_between_two_attempts_is_sent_and_is_not_the_end() {
    let (tell, mut refused) = mpsc::channel(1);
    let first = RawUpstream::start(move |request, mut respond| {
        let tell = tell.clone();
        Box::pin(async move {
            let mut body = request.into_body();
            assert!(body.data().await.is_some_and(|chunk| chunk.is_ok()), "the first message comes");
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            tell.send(()).await.expect("the test listens");
        })
    })
    .await;
    // The second one can be connected to, but doesn't speak HTTP/2 until it is told to.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let second = listener.local_addr().expect("it is bound");
    let top = "server: { workers: 1, drain_timeout: 1s }";
    let gateway = Gateway::start(&yaml(&[first.address, second], Parts { top, ..Parts::default() }));
    let client = RawClient::connect(gateway.address()).await;
    let (response, mut request) = client.open(client.head("Discuss")).await;
    let (one, two, three) = (frame(0, b""), frame(0, b"\n\x01a"), frame(0, b"\n\x01b"));
    request.send_data(one.clone(), false).expect("it is open");
    soon("the refusal", refused.recv()).await.expect("the first one was called");
    let (socket, _) = soon("the second attempt", listener.accept()).await.expect("a connection");
    request.send_data(two.clone(), false).expect("it is open");
    // The gateway has read that once it answers what was sent after it.
    let unknown = support::head(gateway.address(), "/no.such.Service/Method");
    assert_eq!(client.call(unknown, Bytes::new()).await.expect("an answer").code(), Some(12));

    let mut tasks = tokio::task::JoinSet::new();
    let (got, mut got_all) = mpsc::channel(4);
    tasks.spawn(async move {
        let mut connection = h2::server::handshake(socket).await.expect("the gateway speaks HTTP/2");
        let (request, mut respond) = connection.accept().await.expect("a call").expect("no fault");
        let mut body = request.into_body();
        let mut calls = tokio::task::JoinSet::new();
        calls.spawn(async move {
            while let Some(chunk) = body.data().await {
                got.send(chunk.expect("no fault")).await.expect("the test listens");
            }
            let mut stream = respond.send_response(grpc_head(), false).expect("the call is open");
            stream.send_trailers(trailers(0)).expect("the call is open");
        });
        while connection.accept().await.is_some() {}
    });
    let mut all = Vec::new();
    while all.len() < one.len() + two.len() {
        let chunk = soon("what was sent before", got_all.recv()).await.expect("the request has not ended");
        all.extend_from_slice(&chunk);
    }
    request.send_data(three.clone(), true).expect("it is open");
    while let Some(chunk) = soon("the rest, and the end", got_all.recv()).await {
        all.extend_from_slice(&chunk);
    }
    assert_eq!(all, [one, two, three].concat());
    let reply = soon("the answer", support::RawReply::read(response)).await.expect("no reset");
    assert_eq!(reply.code(), Some(0));
    assert!((gateway.metric("transom_upstream_retries_total", &[]) - 1.0).abs() < 1e-9);
}

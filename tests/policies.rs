//! What policies can do with calls: wait, count, refuse, and fail without taking others down.

mod support;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::Request;
use tonic::Status;
use tonic_types::StatusExt;
use transom::demo::pb;
use transom::policy::Policy;

use crate::support::BOOK;
use crate::support::Backend;
use crate::support::Gateway;
use crate::support::Parts;
use crate::support::dialects::Ask;
use crate::support::dialects::Compression;
use crate::support::dialects::call_grpc;
use crate::support::eventually;
use crate::support::policies::Counting;
use crate::support::policies::Gated;
use crate::support::policies::Panicking;
use crate::support::policies::RefusingFirst;
use crate::support::policies::RefusingMessage;
use crate::support::policies::lock;
use crate::support::soon;
use crate::support::yaml;

fn gateway(policies: Vec<Arc<dyn Policy>>) -> (Gateway, Backend) {
    let backend = Backend::start();
    (Gateway::with_policies(&yaml(&[backend.address], Parts::default()), policies), backend)
}

fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == "transom").map(|info| info.reason)
}

fn remark(text: &str) -> pb::Remark {
    pb::Remark { id: "a".into(), text: text.into(), ..Default::default() }
}

fn code(code: Code) -> transom::call::Code {
    transom::call::Code::ALL[code as usize]
}

#[tokio::test]
async fn a_call_waits_for_its_policy_at_the_head_and_at_each_message() {
    let gated = Gated::closed();
    let (heads, requests, replies) = (gated.heads.clone(), gated.requests.clone(), gated.replies.clone());
    let seen = gated.seen.clone();
    let (gateway, _backend) = gateway(vec![Arc::new(gated)]);
    let mut client = gateway.library().await;
    let (say, remarks) = mpsc::channel(4);
    let mut opening = JoinSet::new();
    opening.spawn(async move { client.discuss(ReceiverStream::new(remarks)).await });
    say.send(remark("one")).await.unwrap();
    say.send(remark("two")).await.unwrap();
    assert!(eventually(|| seen.heads() == 1).await);
    assert_eq!(seen.messages(), (0, 0));
    assert!(gateway.metric("transom_upstream_connects_total", &[]) < 1.0, "a waiting call is not upstream");

    heads.add_permits(1);
    assert!(eventually(|| seen.messages() == (1, 0)).await, "{:?}", seen.messages());
    let mut answers = soon("the head", opening.join_next()).await.unwrap().unwrap().unwrap().into_inner();
    requests.add_permits(1);
    // The second remark comes to its gate, and the first one's answer to the other.
    assert!(eventually(|| seen.messages() == (2, 1)).await, "{:?}", seen.messages());
    replies.add_permits(1);
    assert_eq!(soon("an answer", answers.message()).await.unwrap().unwrap().text, "Indeed: one");
    assert_eq!(seen.messages(), (2, 1));
    replies.add_permits(1);
    requests.add_permits(1);
    assert_eq!(soon("an answer", answers.message()).await.unwrap().unwrap().text, "Indeed: two");
    drop(say);
    assert!(soon("the end", answers.message()).await.unwrap().is_none());
    assert!(eventually(|| seen.dropped() == 1).await);
    assert_eq!(seen.ends(), [code(Code::Ok)]);
}

#[tokio::test]
async fn the_deadline_is_over_for_a_call_that_still_waits() {
    let gated = Gated::closed();
    let seen = gated.seen.clone();
    let (gateway, _backend) = gateway(vec![Arc::new(gated)]);
    let client = support::RawClient::connect(gateway.address()).await;
    let mut head = client.head("Inspect");
    head.headers_mut().insert("grpc-timeout", "50m".parse().unwrap());
    let body = support::message(&pb::InspectRequest::default());
    let reply = client.call(head, body).await.unwrap();
    assert_eq!((reply.code(), reply.reason().as_deref()), (Some(4), Some("DEADLINE_EXCEEDED")));
    assert_eq!((seen.heads(), seen.messages()), (1, (0, 0)));
    assert!(gateway.metric("transom_upstream_connects_total", &[]) < 1.0);
}

#[tokio::test]
async fn a_client_that_leaves_frees_what_its_policies_hold() {
    let counting = Counting::default();
    let seen = counting.seen.clone();
    let (gateway, _backend) = gateway(vec![Arc::new(counting)]);
    let mut client = gateway.library().await;
    let pause = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let read = pb::ReadBookRequest { name: BOOK.into(), pause, ..Default::default() };
    let mut pages = client.read_book(read).await.unwrap().into_inner();
    assert!(soon("a page", pages.message()).await.unwrap().is_some());
    assert_eq!(seen.dropped(), 0);
    drop(pages);
    assert!(eventually(|| seen.dropped() == 1).await);
    assert!(seen.ends().is_empty(), "a call that was left has no end");
}

#[tokio::test]
async fn a_policy_sees_every_message_and_the_end() {
    for compression in [Compression::None, Compression::Gzip] {
        let counting = Counting::default();
        let seen = counting.seen.clone();
        let (gateway, _backend) = gateway(vec![Arc::new(counting)]);
        let channel = gateway.channel().await;
        let books = vec![pb::ImportBooksRequest::default(); 40];
        call_grpc(channel.clone(), compression, Ask::stream("ImportBooks", &books)).await;
        assert_eq!(seen.messages(), (40, 1));
        let read = pb::ReadBookRequest { name: BOOK.into(), pages: 300, ..Default::default() };
        let told = call_grpc(channel.clone(), compression, Ask::of("ReadBook", &read)).await;
        assert_eq!(told.messages.len(), 300);
        assert_eq!(seen.messages(), (41, 301));
        let failing = pb::InspectRequest { fail_with: 9, ..Default::default() };
        let told = call_grpc(channel, compression, Ask::of("Inspect", &failing)).await;
        assert_eq!(told.status.code(), Code::FailedPrecondition);
        assert_eq!(seen.messages(), (42, 301));
        let wanted = [Code::Ok, Code::Ok, Code::FailedPrecondition].map(code);
        assert_eq!(seen.ends(), wanted);
        let flagged = lock(&seen.requests).iter().all(|message| message.compressed);
        assert_eq!(flagged, compression == Compression::Gzip, "the flag comes with the message");
        assert!(eventually(|| seen.dropped() == 3).await);
    }
}

#[tokio::test]
async fn a_policy_refuses_a_stream_at_a_message() {
    let refusing = RefusingMessage { number: 3, seen: Arc::default() };
    let seen = refusing.seen.clone();
    let (gateway, backend) = gateway(vec![Arc::new(refusing)]);
    let mut client = gateway.library().await;
    let (say, remarks) = mpsc::channel(1);
    let mut answers = client.discuss(ReceiverStream::new(remarks)).await.unwrap().into_inner();
    for number in 1..=2 {
        say.send(remark("so?")).await.unwrap();
        assert_eq!(soon("an answer", answers.message()).await.unwrap().unwrap().number, number);
    }
    say.send(remark("so?")).await.unwrap();
    let status = soon("the refusal", answers.message()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_deref()), (Code::PermissionDenied, Some("ACCESS_DENIED")));
    assert_eq!(seen.messages(), (3, 2), "the third goes nowhere");
    assert_eq!(seen.ends(), [code(Code::PermissionDenied)]);
    // The backend's half is broken off, not left open.
    let mut direct = pb::library_client::LibraryClient::new(support::channel(backend.address).await);
    soon("the backend's end", async {
        loop {
            let seen = direct.inspect(pb::InspectRequest::default()).await.unwrap().into_inner();
            if (seen.running, seen.cancelled) == (1, 1) {
                break;
            }
        }
    })
    .await;
    assert!((gateway.metric("transom_refusals_total", &[("reason", "ACCESS_DENIED")]) - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_policy_refuses_a_first_message_before_anything_goes_upstream() {
    let (gateway, _backend) = gateway(vec![Arc::new(RefusingFirst { text: "secret" })]);
    let mut client = gateway.library().await;
    let asked = pb::InspectRequest { text: "the secret word".into(), ..Default::default() };
    let status = client.inspect(asked).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_deref()), (Code::PermissionDenied, Some("ACCESS_DENIED")));
    let remarks = tokio_stream::iter([remark("secret"), remark("not")]);
    let status = client.discuss(remarks).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(gateway.metric("transom_upstream_connects_total", &[]) < 1.0, "something went upstream");

    // Only the first is read: what it judges later is none of its business.
    let remarks = tokio_stream::iter([remark("open"), remark("secret")]);
    let mut answers = client.discuss(remarks).await.unwrap().into_inner();
    let mut texts = Vec::new();
    while let Some(answer) = soon("an answer", answers.message()).await.unwrap() {
        texts.push(answer.text);
    }
    assert_eq!(texts, ["Indeed: open", "Indeed: secret"]);
    // And a stream without any message is no fault.
    let none = tokio_stream::iter(Vec::<pb::Remark>::new());
    let mut answers = soon("the head", client.discuss(none)).await.unwrap().into_inner();
    assert!(soon("the end", answers.message()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_panic_takes_only_its_call_down() {
    let (gateway, _backend) = gateway(vec![Arc::new(Panicking)]);
    let mut client = gateway.library().await;
    let (say, remarks) = mpsc::channel(1);
    let mut answers = client.discuss(ReceiverStream::new(remarks)).await.unwrap().into_inner();
    for (when, panics) in [("check", 1.0), ("message", 2.0)] {
        let mut request = Request::new(pb::InspectRequest::default());
        request.metadata_mut().insert("x-panic", when.parse().unwrap());
        let status = soon("the answer", client.inspect(request)).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_deref()), (Code::Internal, Some("INTERNAL")), "{when}");
        assert!(!status.message().contains("as it was told to"), "the client sees what panicked");
        assert!((gateway.metric("transom_panics_total", &[]) - panics).abs() < 1e-9, "{when}");
        // The stream beside it, on the same connection, goes on.
        say.send(remark("so?")).await.unwrap();
        assert!(soon("an answer", answers.message()).await.unwrap().is_some());
    }
    client.inspect(pb::InspectRequest::default()).await.unwrap();
    drop((say, answers));
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

//! The laws that hold for every dialect, with and without compression, through real sockets.

#[path = "support/http3.rs"]
mod http3;
mod support;
#[path = "support/tls.rs"]
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tonic::Code;
use tonic_types::StatusExt;
use transom::demo::pb;

use crate::support::BOOK;
use crate::support::Backend;
use crate::support::Gateway;
use crate::support::LIBRARY;
use crate::support::Parts;
use crate::support::dialects::Ask;
use crate::support::dialects::COMPRESSIONS;
use crate::support::dialects::Compression;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Dialect;
use crate::support::dialects::Told;
use crate::support::dialects_rest::HOST as REST_HOST;
use crate::support::soon;
use crate::support::yaml;
use crate::tls::Authority;
use crate::tls::Files;
use crate::tls::Front;
use crate::tls::Relay;
use crate::tls::Server;

/// One cell of the matrix.
#[derive(Clone, Copy)]
struct Cell {
    gateway: SocketAddr,
    backend: SocketAddr,
    dialect: &'static Dialect,
    compression: Compression,
}

impl Cell {
    async fn call(self, ask: Ask) -> Told {
        soon("the end of the call", (self.dialect.call)(self.gateway, self.compression, ask)).await
    }

    /// Trailing metadata, where the dialect shows it.
    fn trails(self, told: &Told, name: &str, values: &[&[u8]]) {
        if self.dialect.has_trailers {
            assert_eq!(Told::values(&told.trailing, name), values, "{name}");
        }
    }
}

/// A law, and its name.
type Case = (&'static str, fn(Cell) -> Run);
type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Laws for a gateway whose API has no policies of its own.
const CASES: &[Case] = &[
    ("unary", |cell| Box::pin(unary(cell))),
    ("server_stream", |cell| Box::pin(server_stream(cell))),
    ("client_stream", |cell| Box::pin(client_stream(cell))),
    ("bidi_stream", |cell| Box::pin(bidi_stream(cell))),
    ("metadata_both_ways", |cell| Box::pin(metadata_both_ways(cell))),
    ("error_alone", |cell| Box::pin(error_alone(cell))),
    ("error_after_messages", |cell| Box::pin(error_after_messages(cell))),
    ("deadline_forwarded", |cell| Box::pin(deadline_forwarded(cell))),
    ("deadline_never_added", |cell| Box::pin(deadline_never_added(cell))),
    ("deadline_of_the_client", |cell| Box::pin(deadline_of_the_client(cell))),
    ("forged_identity", |cell| Box::pin(forged_identity(cell))),
    ("unknown_methods", |cell| Box::pin(unknown_methods(cell))),
    ("cut_anywhere", |cell| Box::pin(cut_anywhere(cell))),
];

/// Laws for a gateway whose API takes messages of up to 16 MiB.
const LARGE_CASES: &[Case] =
    &[("large_messages", |cell| Box::pin(large_messages(cell))), ("unary", |cell| Box::pin(unary(cell)))];

/// Laws for a gateway whose API takes messages of up to 1 KiB.
const SMALL_CASES: &[Case] = &[
    ("request_too_large", |cell| Box::pin(request_too_large(cell))),
    ("reply_too_large", |cell| Box::pin(reply_too_large(cell))),
    ("small_enough", |cell| Box::pin(small_enough(cell))),
];

/// Laws for a gateway that gives every call 200 ms.
const SHORT_CASES: &[Case] = &[
    ("deadline_of_the_gateway", |cell| Box::pin(deadline_of_the_gateway(cell))),
    ("longer_deadline_of_the_client", |cell| Box::pin(longer_deadline_of_the_client(cell))),
];

/// Between the clients and the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    /// A relay that speaks TLS to the gateway, in the version of HTTP that the client speaks.
    Tls,
    /// A relay that speaks HTTP/3.
    Quic,
    /// TLS between the gateway and the service.
    UpstreamTls,
}

async fn all(parts: Parts<'_>, cases: &[Case]) {
    all_over(Between::Nothing, parts, cases).await;
}

async fn all_over(between: Between, parts: Parts<'_>, cases: &[Case]) {
    // JSON on a method's own path is Connect's, but where an API leaves Connect out.
    let own = if parts.api.is_empty() { String::new() } else { format!(", {}", parts.api) };
    let api = format!(
        "hosts: [\"*\"]{own} }}, {{ name: rest, module: demo, services: [{LIBRARY}], upstream: demo, \
         hosts: [{REST_HOST}], dialects: [rest]{own}"
    );
    let (authority, files) = (Arc::new(Authority::new("servers")), Files::new());
    files.put("own", &authority.leaf(&["library.test"]));
    let listener = match between {
        Between::Nothing | Between::UpstreamTls => String::new(),
        Between::Tls => format!("tls: {{ certificates: [{}] }}", files.pair("own")),
        Between::Quic => format!("tls: {{ certificates: [{}] }}, http3: true", files.pair("own")),
    };
    let backend = Backend::start();
    let front = (between == Between::UpstreamTls)
        .then(|| Front::start(backend.address, Server::of(&authority.leaf(&["library.test"]))));
    files.write("ca.pem", &authority.pem);
    let upstream = match between {
        Between::UpstreamTls => {
            format!("tls: {{ ca: \"{}\", server_name: library.test }}", files.path("ca.pem").display())
        }
        _ => String::new(),
    };
    let reached = front.as_ref().map_or(backend.address, |front| front.address);
    let parts = Parts { api: &api, listener: &listener, upstream: &upstream, ..parts };
    let gateway = Gateway::start(&yaml(&[reached], parts));
    let (own, name) = (gateway.address(), "library.test");
    let (mut tls, mut quic) = (None, None);
    let address = match between {
        Between::Nothing | Between::UpstreamTls => own,
        Between::Tls => tls.insert(Relay::start(own, name, &authority).await).address,
        Between::Quic => quic.insert(http3::Relay::start(own, name, &authority).await).address,
    };
    for dialect in DIALECTS {
        for compression in COMPRESSIONS {
            for (name, case) in cases {
                println!("{name}, {} {}, {compression:?}", dialect.name, dialect.form); // shown where it fails
                case(Cell { gateway: address, backend: backend.address, dialect, compression }).await;
            }
        }
        let ended = gateway.metric("transom_calls_total", &[("dialect", dialect.name)]);
        assert!(ended >= 2.0, "calls are counted by dialect");
    }
}

#[tokio::test]
async fn every_dialect_keeps_the_laws() {
    all(Parts::default(), CASES).await;
}

#[tokio::test]
async fn every_dialect_keeps_the_laws_over_tls() {
    all_over(Between::Tls, Parts::default(), CASES).await;
}

#[tokio::test]
async fn every_dialect_keeps_the_laws_with_tls_to_the_service() {
    all_over(Between::UpstreamTls, Parts::default(), CASES).await;
}

#[tokio::test]
async fn every_dialect_carries_large_messages_with_tls_to_the_service() {
    let parts = Parts { api: "policies: { validate: { max_message: 16MiB } }", ..Parts::default() };
    all_over(Between::UpstreamTls, parts, LARGE_CASES).await;
}

#[tokio::test]
async fn every_dialect_carries_large_messages_over_tls() {
    let parts = Parts { api: "policies: { validate: { max_message: 16MiB } }", ..Parts::default() };
    all_over(Between::Tls, parts, LARGE_CASES).await;
}

#[tokio::test]
async fn every_dialect_keeps_the_laws_over_http3() {
    all_over(Between::Quic, Parts::default(), CASES).await;
}

#[tokio::test]
async fn every_dialect_carries_large_messages_over_http3() {
    let parts = Parts { api: "policies: { validate: { max_message: 16MiB } }", ..Parts::default() };
    all_over(Between::Quic, parts, LARGE_CASES).await;
}

#[tokio::test]
async fn every_dialect_carries_large_messages() {
    all(Parts { api: "policies: { validate: { max_message: 16MiB } }", ..Parts::default() }, LARGE_CASES)
        .await;
}

#[tokio::test]
async fn every_dialect_keeps_to_the_size_of_messages() {
    all(Parts { api: "policies: { validate: { max_message: 1KiB } }", ..Parts::default() }, SMALL_CASES)
        .await;
}

#[tokio::test]
async fn every_dialect_keeps_to_the_time_of_calls() {
    let api = "policies: { timeout: { default: 200ms } }";
    all(Parts { api, ..Parts::default() }, SHORT_CASES).await;
}

fn inspect() -> pb::InspectRequest {
    pb::InspectRequest { text: "hello".into(), ..Default::default() }
}

fn delayed(seconds: i64) -> pb::InspectRequest {
    pb::InspectRequest { delay: Some(prost_types::Duration { seconds, nanos: 0 }), ..inspect() }
}

/// The values of one key that the backend saw.
fn seen(reply: &pb::InspectResponse, key: &str) -> Vec<Vec<u8>> {
    reply.metadata.iter().filter(|entry| entry.key == key).map(|entry| entry.value.clone()).collect()
}

fn reason(told: &Told) -> Option<String> {
    told.status.get_details_error_info().filter(|info| info.domain == "transom").map(|info| info.reason)
}

async fn unary(cell: Cell) {
    let told = cell.call(Ask::of("GetBook", &pb::GetBookRequest { name: BOOK.into() })).await;
    assert_eq!(told.one::<pb::Book>().author, "Ines Halloran");
    let told = cell.call(Ask::of("Inspect", &inspect())).await;
    let reply: pb::InspectResponse = told.one();
    let path = "/transom.demo.v1.Library/Inspect";
    assert_eq!((reply.text.as_str(), reply.path.as_str()), ("hello", path));
    assert_eq!(reply.local, cell.backend.to_string());
    //= https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests
    //# TE → "te" "trailers" # Used to detect incompatible proxies
    assert_eq!(seen(&reply, "te"), [b"trailers"]);
    let passes = cell.compression == Compression::Gzip && cell.dialect.passes_compression;
    let encodings: &[&[u8]] = if passes { &[b"gzip"] } else { &[] };
    assert_eq!(seen(&reply, "grpc-encoding"), encodings);
    assert_eq!(Told::values(&told.leading, "grpc-encoding"), encodings);
}

async fn server_stream(cell: Cell) {
    let read = pb::ReadBookRequest { name: BOOK.into(), pages: 500, ..Default::default() };
    let pages: Vec<pb::Page> = cell.call(Ask::of("ReadBook", &read)).await.all();
    assert!(pages.iter().map(|page| page.number).eq(1..=500), "all pages, in order");
}

async fn client_stream(cell: Cell) {
    // None of them has a title, so nothing is shelved.
    let books: Vec<_> = (0..300)
        .map(|_| pb::ImportBooksRequest { parent: "shelves/weather".into(), book: Some(pb::Book::default()) })
        .collect();
    let reply: pb::ImportBooksResponse = cell.call(Ask::stream("ImportBooks", &books)).await.one();
    assert_eq!((reply.imported, reply.rejected), (0, 300));
    let none: [pb::ImportBooksRequest; 0] = [];
    let reply: pb::ImportBooksResponse = cell.call(Ask::stream("ImportBooks", &none)).await.one();
    assert_eq!((reply.imported, reply.rejected), (0, 0));
}

async fn bidi_stream(cell: Cell) {
    let remarks: Vec<_> = (0..200)
        .map(|n| pb::Remark { id: n.to_string(), text: "so?".into(), times: 2, fail_with: 0 })
        .collect();
    let answers: Vec<pb::Answer> = cell.call(Ask::stream("Discuss", &remarks)).await.all();
    let ids: Vec<_> = answers.iter().map(|answer| answer.id.parse::<i32>().expect("a number")).collect();
    assert!(ids.into_iter().eq((0..200).flat_map(|n| [n, n])), "all answers, in order");
}

async fn large_messages(cell: Cell) {
    // Larger than every window on the way, and not compressible to nothing.
    let payload: Vec<u8> =
        (0..cell.dialect.large).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let padding = i32::try_from(cell.dialect.large / 6).expect("it fits");
    let ask = pb::InspectRequest { payload: payload.clone(), padding, ..inspect() };
    let reply: pb::InspectResponse = cell.call(Ask::of("Inspect", &ask)).await.one();
    assert!(reply.payload == payload, "the payload comes back as it was");
    assert_eq!(reply.padding.len(), usize::try_from(padding).expect("not below zero"));
}

async fn metadata_both_ways(cell: Cell) {
    let ask = Ask::of("Inspect", &inspect())
        .with("x-echo-many", "1")
        .with("x-echo-many", "2, still 2")
        .with("x-echo-many", "1")
        .with("x-echo-raw-bin", "AP8B")
        .with("x-trail-many", "b")
        .with("x-trail-many", "a")
        .with("x-trail-raw-bin", "/wA")
        .with("authorization", "Bearer of news");
    let told = cell.call(ask).await;
    assert_eq!(Told::values(&told.leading, "x-echo-many"), [&b"1"[..], b"2, still 2", b"1"]);
    assert_eq!(Told::values(&told.leading, "x-echo-raw-bin"), [b"AP8B"]);
    assert_eq!(Told::values(&told.leading, "x-library"), [b"open"]);
    cell.trails(&told, "x-trail-many", &[b"b", b"a"]);
    cell.trails(&told, "x-trail-raw-bin", &[b"/wA"]);
    cell.trails(&told, "x-library-trailer", &[b"mind the step"]);
    assert!(!told.leading.contains_key("x-library-trailer") && !told.trailing.contains_key("x-library"));
    let reply: pb::InspectResponse = told.one();
    assert_eq!(seen(&reply, "x-echo-many"), [&b"1"[..], b"2, still 2", b"1"]);
    assert_eq!(seen(&reply, "x-echo-raw-bin"), [[0, 255, 1]]);
    assert_eq!(seen(&reply, "authorization"), [b"Bearer of news"]);
}

async fn error_alone(cell: Cell) {
    let missing = pb::GetBookRequest { name: "shelves/harbour/books/nope".into() };
    let told = cell.call(Ask::of("GetBook", &missing).with("x-trail-why", "because")).await;
    assert_eq!((told.status.code(), told.messages.len()), (Code::NotFound, 0));
    assert_eq!(told.status.message(), "no book shelves/harbour/books/nope");
    let details = told.status.get_error_details();
    assert_eq!(details.resource_info().expect("it is kept").resource_name, missing.name);
    assert_eq!(details.error_info().expect("it is kept").domain, "library.transom.demo");
    cell.trails(&told, "x-library-trailer", &[b"mind the step"]);
    cell.trails(&told, "x-trail-why", &[b"because"]);
}

async fn error_after_messages(cell: Cell) {
    let remark = |fail_with| pb::Remark { id: "a".into(), text: "so?".into(), times: 1, fail_with };
    let told = cell.call(Ask::stream("Discuss", &[remark(0), remark(0), remark(10)])).await;
    assert_eq!((told.status.code(), told.messages.len()), (Code::Aborted, 2));
    cell.trails(&told, "x-library-trailer", &[b"mind the step"]);
    assert!(told.status.get_details_error_info().is_some());
}

async fn deadline_forwarded(cell: Cell) {
    let told = cell.call(Ask::of("Inspect", &inspect()).within(Duration::from_secs(30))).await;
    let left = told.one::<pb::InspectResponse>().deadline_ms.expect("it is forwarded");
    // What is left goes on: the time in the gateway is taken off, and nothing more.
    assert!((25_000..30_000).contains(&left), "{left} ms of 30 s arrived");
}

async fn deadline_never_added(cell: Cell) {
    // The gateway's own 15 s for unary calls are its business alone.
    let reply: pb::InspectResponse = cell.call(Ask::of("Inspect", &inspect())).await.one();
    assert_eq!((reply.deadline_ms, seen(&reply, "grpc-timeout").len()), (None, 0));
}

async fn deadline_of_the_client(cell: Cell) {
    let told = cell.call(Ask::of("Inspect", &delayed(60)).within(Duration::from_millis(100))).await;
    // The client, the gateway and the backend watch the same moment; tonic's client says CANCELLED.
    assert!(matches!(told.status.code(), Code::DeadlineExceeded | Code::Cancelled), "{:?}", told.status);
}

async fn forged_identity(cell: Cell) {
    let ask = Ask::of("Inspect", &inspect())
        .with("x-consumer-name", "root")
        .with("x-consumer-groups", "admins")
        .with("x-credential-id", "1")
        .with("x_consumer_name", "root")
        .with("x-forwarded-client-cert", "Hash=00")
        .with("proxy-authorization", "Basic c2VjcmV0")
        .with("x-consumer-names", "not one of them");
    let reply: pb::InspectResponse = cell.call(ask).await.one();
    let gone = [
        "x-consumer-name",
        "x-consumer-groups",
        "x-credential-id",
        "x-forwarded-client-cert",
        "x_consumer_name",
        "proxy-authorization",
    ];
    for name in gone {
        assert!(seen(&reply, name).is_empty(), "{name} reached the backend");
    }
    assert_eq!(seen(&reply, "x-consumer-names"), [b"not one of them"]);
}

async fn unknown_methods(cell: Cell) {
    for path in
        ["/transom.demo.v1.Library/Nope", "/no.such.Service/Inspect", "/transom.demo.v1.Library/inspect"]
    {
        let ask = Ask { path: path.into(), messages: vec![Bytes::new()], ..Ask::default() };
        let told = cell.call(ask).await;
        assert_eq!(told.status.code(), Code::Unimplemented, "{path}");
        assert_eq!(reason(&told).as_deref(), Some("METHOD_UNKNOWN"));
        assert!(told.status.message().contains(path), "{}", told.status.message());
    }
}

async fn cut_anywhere(cell: Cell) {
    for (cut, len) in [(1, 20), (2, 20), (3, 20), (7, 50), (4096, 10_000)] {
        // Several pieces each, of one message or of many.
        let payload: Vec<u8> = (0..=u8::MAX).cycle().take(3 * cut + 20).collect();
        let ask = pb::InspectRequest { payload: payload.clone(), ..inspect() };
        let reply: pb::InspectResponse = cell.call(Ask::of("Inspect", &ask).cut(cut)).await.one();
        assert!(reply.payload == payload, "pieces of {cut}");
        let read = pb::ReadBookRequest { name: BOOK.into(), pages: 3, ..Default::default() };
        let pages: Vec<pb::Page> = cell.call(Ask::of("ReadBook", &read).cut(cut)).await.all();
        assert!(pages.iter().map(|page| page.number).eq(1..=3), "pieces of {cut}");
        let book = pb::Book { author: noise(len), ..Default::default() };
        let import = pb::ImportBooksRequest { parent: "shelves/weather".into(), book: Some(book) };
        let books = vec![import; 4];
        let reply: pb::ImportBooksResponse =
            cell.call(Ask::stream("ImportBooks", &books).cut(cut)).await.one();
        assert_eq!((reply.imported, reply.rejected), (0, 4), "pieces of {cut}");
        let text = noise(len);
        let remarks: Vec<_> = (0..4)
            .map(|n| pb::Remark { id: n.to_string(), text: text.clone(), times: 1, fail_with: 0 })
            .collect();
        let answers: Vec<pb::Answer> = cell.call(Ask::stream("Discuss", &remarks).cut(cut)).await.all();
        assert!(answers.iter().map(|answer| &*answer.id).eq(["0", "1", "2", "3"]), "pieces of {cut}");
    }
}

async fn request_too_large(cell: Cell) {
    let payload = noise(4096).into_bytes();
    let told = cell.call(Ask::of("Inspect", &pb::InspectRequest { payload, ..inspect() })).await;
    assert_eq!(told.status.code(), Code::ResourceExhausted);
    assert_eq!(reason(&told).as_deref(), Some("MESSAGE_TOO_LARGE"));
}

async fn reply_too_large(cell: Cell) {
    // The reply repeats the metadata, so that it is larger than the request.
    let told = cell.call(Ask::of("Inspect", &inspect()).with("x-noise", &noise(4096))).await;
    assert_eq!((told.status.code(), told.messages.len()), (Code::ResourceExhausted, 0), "{:?}", told.status);
    assert_eq!(reason(&told).as_deref(), Some("MESSAGE_TOO_LARGE"));
}

/// Letters that no compression makes much of: what counts is the size on the wire.
fn noise(len: u32) -> String {
    let letter = |n: u32| {
        let mixed = n.wrapping_add(1).wrapping_mul(2_654_435_761);
        let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x846c_a68b);
        char::from(b'!' + (mixed ^ (mixed >> 13)).to_be_bytes()[1] % 90)
    };
    (0..len).map(letter).collect()
}

async fn small_enough(cell: Cell) {
    let ask = pb::InspectRequest { payload: vec![7; 100], ..inspect() };
    assert_eq!(cell.call(Ask::of("Inspect", &ask)).await.one::<pb::InspectResponse>().payload.len(), 100);
}

async fn deadline_of_the_gateway(cell: Cell) {
    let told = cell.call(Ask::of("Inspect", &delayed(60))).await;
    assert_eq!(told.status.code(), Code::DeadlineExceeded);
    assert_eq!(reason(&told).as_deref(), Some("DEADLINE_EXCEEDED"));
    assert!(told.status.message().contains("200ms"), "{}", told.status.message());
    let pause = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let read = pb::ReadBookRequest { name: BOOK.into(), pause, ..Default::default() };
    let told = cell.call(Ask::of("ReadBook", &read)).await;
    assert_eq!((told.status.code(), told.messages.len()), (Code::DeadlineExceeded, 1));
}

async fn longer_deadline_of_the_client(cell: Cell) {
    let half = Some(prost_types::Duration { seconds: 0, nanos: 300_000_000 });
    let ask = pb::InspectRequest { delay: half, ..inspect() };
    let told = cell.call(Ask::of("Inspect", &ask).within(Duration::from_secs(30))).await;
    assert_eq!(told.one::<pb::InspectResponse>().text, "hello");
}

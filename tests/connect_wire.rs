//! Connect on the wire: every version, codec, compression and kind of call, byte for byte, and what is refused.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use prost::Message;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use transom::demo::pb;
use transom::wire::compress::Encoding;

use crate::raw::upstream::Act;
use crate::raw::upstream::Last;
use crate::raw::upstream::Upstream;
use crate::raw::upstream::When;
use crate::raw::upstream::good;
use crate::support::BOOK;
use crate::support::Gateway;
use crate::support::Parts;
use crate::support::RawClient;
use crate::support::connect::Answer;
use crate::support::connect::Codec;
use crate::support::connect::Http;
use crate::support::connect::Sent;
use crate::support::connect::Way;
use crate::support::demo;
use crate::support::frame;
use crate::support::soon;
use crate::support::yaml;

const GET_BOOK: &str = "/transom.demo.v1.Library/GetBook";
const CREATE_SHELF: &str = "/transom.demo.v1.Library/CreateShelf";
const INSPECT: &str = "/transom.demo.v1.Library/Inspect";
const READ_BOOK: &str = "/transom.demo.v1.Library/ReadBook";
const IMPORT_BOOKS: &str = "/transom.demo.v1.Library/ImportBooks";
const DISCUSS: &str = "/transom.demo.v1.Library/Discuss";

/// HTTP versions and codecs, without compression.
fn plain_ways() -> impl Iterator<Item = Way> {
    let codecs = [Codec::Proto, Codec::Json];
    let of = move |http| codecs.map(|codec| Way { http, codec, coding: Encoding::Identity });
    [Http::One, Http::Two].into_iter().flat_map(of)
}

/// All of them.
fn ways() -> impl Iterator<Item = Way> {
    plain_ways().flat_map(|way| Encoding::ALL.map(|coding| Way { coding, ..way }))
}

fn inspect() -> pb::InspectRequest {
    pb::InspectRequest { text: "hello".into(), ..Default::default() }
}

fn seen<'a>(reply: &'a pb::InspectResponse, key: &str) -> Vec<&'a [u8]> {
    reply.metadata.iter().filter(|entry| entry.key == key).map(|entry| &*entry.value).collect()
}

fn bytes_of(messages: &[impl Message]) -> Vec<Bytes> {
    messages.iter().map(|message| message.encode_to_vec().into()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn unary_calls_by_post_and_get() {
    let (gateway, _backend) = demo(Parts::default());
    for way in ways() {
        println!("{way:?}");
        let ask = pb::InspectRequest { padding: 2000, payload: vec![0xfb; 40], ..inspect() }.encode_to_vec();
        for sent in [way.unary(INSPECT, &ask), way.get(INSPECT, &ask)] {
            let sent = sent
                .with("x-echo-many", "1")
                .with("x-echo-many", "2, still 2")
                .with("x-echo-raw-bin", "/wA=")
                .with("x-trail-many", "b")
                .with("x-trail-many", "a")
                .with("x-trail-raw-bin", "AP8B")
                .with("connect-of-the-client", "x")
                .with("grpc-of-the-client", "x")
                .with("x-consumer-name", "root")
                .with("connect-timeout-ms", "30000");
            let answer = sent.send(way.http, gateway.address()).await;
            let reply = pb::InspectResponse::decode(way.reply(INSPECT, &answer)).expect("a reply");
            assert_eq!((&*reply.text, reply.payload.len(), reply.padding.len()), ("hello", 40, 2000));
            // Two thousand bytes are worth it.
            let coding = Some(way.coding.name()).filter(|name| *name != "identity");
            assert_eq!(answer.field("content-encoding"), coding);
            let vary = if sent.verb == "GET" { &["accept-encoding"][..] } else { &[] };
            assert_eq!(answer.fields("vary").iter().map(|f| f.to_lowercase()).collect::<Vec<_>>(), vary);
            assert_eq!(answer.fields("x-echo-many"), ["1", "2, still 2"]);
            assert_eq!(answer.fields("x-echo-raw-bin"), ["/wA"]);
            assert_eq!(answer.fields("trailer-x-trail-many"), ["b", "a"]);
            assert_eq!(answer.fields("trailer-x-trail-raw-bin"), ["AP8B"]);
            assert_eq!(answer.fields("trailer-x-library-trailer"), ["mind the step"]);
            assert!(answer.headers.keys().all(|name| !name.as_str().contains("grpc")), "{answer:?}");
            assert_eq!(seen(&reply, "x-echo-many"), [&b"1"[..], b"2, still 2"]);
            assert_eq!(seen(&reply, "te"), [b"trailers"]);
            let left = reply.deadline_ms.expect("it is forwarded");
            assert!((25_000..30_000).contains(&left), "{left} ms of 30 s arrived");
            let own = |key: &str| {
                key.starts_with("connect-")
                    || (key.starts_with("grpc-") && key != "grpc-timeout")
                    || ["content-encoding", "accept-encoding", "x-consumer-name"].contains(&key)
            };
            let odd: Vec<_> = reply.metadata.iter().filter(|entry| own(&entry.key)).collect();
            assert!(odd.is_empty(), "{odd:?}");
        }
        // Without a deadline none is added, and small replies aren't compressed.
        let answer = way.unary(INSPECT, b"").send(way.http, gateway.address()).await;
        let reply = pb::InspectResponse::decode(way.reply(INSPECT, &answer)).expect("a reply");
        assert_eq!((reply.deadline_ms, seen(&reply, "grpc-timeout").len()), (None, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_needs_no_base64_and_a_head_gets_no_body() {
    let (gateway, _backend) = demo(Parts::default());
    for http in [Http::One, Http::Two] {
        let way = Way { http, codec: Codec::Json, coding: Encoding::Identity };
        let query = "?message=%7B%22name%22%3A%22shelves%2Fharbour%2Fbooks%2Fthe-lamp%22%7D&encoding=json";
        let get = Sent::new("GET", &format!("{GET_BOOK}{query}"));
        let answer = get.send(http, gateway.address()).await;
        let book = pb::Book::decode(way.reply(GET_BOOK, &answer)).expect("a book");
        assert_eq!(book.author, "Ines Halloran");
        let head = Sent { verb: "HEAD", ..get.clone() }.send(http, gateway.address()).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.field("content-length"), Some(&*answer.body.len().to_string()));
        let head = Sent::new("HEAD", &format!("{GET_BOOK}?connect=v1&encoding=json&message=["));
        let head = head.send(http, gateway.address()).await;
        assert_eq!(
            (head.status, head.body.len(), head.field("content-type")),
            (400, 0, Some("application/json"))
        );
        let head = Sent::new("HEAD", &format!("{GET_BOOK}?connect=v2&encoding=json&message=x"));
        let head = head.send(http, gateway.address()).await;
        assert_eq!((head.status, head.body.len()), (400, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_own_services_speak_json() {
    let (gateway, _backend) = demo(Parts::default());
    for http in [Http::One, Http::Two] {
        let check = Sent::new("POST", "/grpc.health.v1.Health/Check")
            .with("content-type", "application/json")
            .body(&br#"{"service":"transom.demo.v1.Library"}"#[..]);
        let answer = check.send(http, gateway.address()).await;
        assert_eq!((answer.status, &*answer.body), (200, &br#"{"status":"SERVING"}"#[..]), "{answer:?}");
    }
}

/// The messages of a stream that ended well, and the metadata of its end.
fn streamed<M: Message + Default>(way: Way, path: &str, answer: &Answer) -> (Vec<M>, Value) {
    let (messages, end) = way.replies(path, answer);
    assert!(end.get("error").is_none(), "{end}");
    (
        messages.into_iter().map(|bytes| M::decode(bytes).expect("a message")).collect(),
        end["metadata"].clone(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_every_kind() {
    let (gateway, _backend) = demo(Parts::default());
    for way in ways() {
        println!("{way:?}");
        let read =
            pb::ReadBookRequest { name: BOOK.into(), pages: 20, page_bytes: 600, ..Default::default() };
        let sent = way.stream(READ_BOOK, &bytes_of(&[read]));
        let sent = sent.with("x-echo-a", "1").with("x-echo-a", "2").with("x-trail-b-bin", "AP8=");
        let answer = sent.send(way.http, gateway.address()).await;
        let (pages, metadata) = streamed::<pb::Page>(way, READ_BOOK, &answer);
        assert!(pages.iter().map(|page| page.number).eq(1..=20), "all pages, in order");
        assert_eq!(metadata, json!({ "x-library-trailer": ["mind the step"], "x-trail-b-bin": ["AP8"] }));
        assert_eq!((answer.fields("x-echo-a"), answer.fields("x-library")), (vec!["1", "2"], vec!["open"]));
        let flag = u8::from(way.coding != Encoding::Identity);
        assert!(answer.envelopes().0.iter().all(|(found, _)| *found == flag), "600 bytes are worth it");

        let books = |count| {
            let book =
                pb::ImportBooksRequest { parent: "shelves/weather".into(), book: Some(pb::Book::default()) };
            bytes_of(&vec![book; count])
        };
        for (count, rejected) in [(0, 0), (3, 3)] {
            let answer = way.stream(IMPORT_BOOKS, &books(count)).send(way.http, gateway.address()).await;
            let (replies, metadata) = streamed::<pb::ImportBooksResponse>(way, IMPORT_BOOKS, &answer);
            assert_eq!(replies.iter().map(|reply| reply.rejected).collect::<Vec<_>>(), [rejected]);
            assert_eq!(metadata["x-library-trailer"], json!(["mind the step"]));
        }

        let remark = |n: u32| pb::Remark { id: n.to_string(), text: "so?".into(), times: 2, fail_with: 0 };
        let remarks: Vec<_> = (0..5).map(remark).collect();
        let answer = way.stream(DISCUSS, &bytes_of(&remarks)).send(way.http, gateway.address()).await;
        let (answers, _) = streamed::<pb::Answer>(way, DISCUSS, &answer);
        assert!(answers.iter().map(|answer| answer.id.clone()).eq((0..10).map(|n| (n / 2).to_string())));
        // Without messages the end is all there is.
        let answer = way.stream(DISCUSS, &[]).send(way.http, gateway.address()).await;
        assert_eq!(streamed::<pb::Answer>(way, DISCUSS, &answer).0, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bidirectional_stream_answers_while_it_is_asked() {
    let (gateway, _backend) = demo(Parts::default());
    for codec in [Codec::Proto, Codec::Json] {
        let way = Way { http: Http::Two, codec, coding: Encoding::Gzip };
        let client = RawClient::connect(gateway.address()).await;
        let (response, mut sending) = client.open(way.stream(DISCUSS, &[]).head(gateway.address())).await;
        let remark = |id: &str| pb::Remark { id: id.into(), text: "so?".into(), ..Default::default() };
        let envelope = |id: &str| way.stream(DISCUSS, &bytes_of(&[remark(id)])).body;
        sending.send_data(envelope("a"), false).expect("the stream is open");
        let mut body = soon("a head", response).await.expect("a head").into_body();
        for next in ["b", "c"] {
            let data = soon("an answer", body.data()).await.expect("data").expect("the stream is good");
            assert_eq!(data[0], 0, "an answer comes before the next remark");
            sending.send_data(envelope(next), false).expect("the stream is open");
        }
        sending.send_data(Bytes::new(), true).expect("the stream is open");
        let rest = soon("the end", support::read_body(&mut body)).await.expect("the stream ends in order");
        assert_eq!(rest[0], 0, "the last answer");
        assert!(rest.windows(5).any(|five| five[0] == 2), "the end of the stream");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_carry_message_details_and_metadata() {
    let (gateway, _backend) = demo(Parts::default());
    for way in ways() {
        println!("{way:?}");
        let missing = pb::GetBookRequest { name: "shelves/harbour/books/nope".into() }.encode_to_vec();
        for sent in [way.unary(GET_BOOK, &missing), way.get(GET_BOOK, &missing)] {
            let answer = sent.with("x-trail-why", "because").send(way.http, gateway.address()).await;
            assert_eq!((answer.status, answer.field("content-type")), (404, Some("application/json")));
            assert_eq!(answer.fields("trailer-x-trail-why"), ["because"]);
            assert_eq!(answer.field("content-encoding"), None);
            let error = answer.json();
            let said = (&error["code"], &error["message"]);
            assert_eq!(said, (&json!("not_found"), &json!("no book shelves/harbour/books/nope")));
            let types: Vec<_> =
                error["details"].as_array().expect("details").iter().map(|d| &d["type"]).collect();
            assert!(types.contains(&&json!("google.rpc.ResourceInfo")), "{types:?}");
            let info = error["details"]
                .as_array()
                .and_then(|all| all.iter().find(|detail| detail["type"] == "google.rpc.ErrorInfo"));
            let info = info.expect("an ErrorInfo");
            let value =
                STANDARD_NO_PAD.decode(info["value"].as_str().expect("text")).expect("unpadded base64");
            let value = tonic_types::pb::ErrorInfo::decode(&*value).expect("an ErrorInfo");
            assert_eq!(value.domain, "library.transom.demo");
            assert_eq!(info["debug"]["domain"], "library.transom.demo");
        }
        let remark = |fail_with| pb::Remark { id: "a".into(), text: "so?".into(), times: 1, fail_with };
        let remarks = bytes_of(&[remark(0), remark(0), remark(10)]);
        let answer = way.stream(DISCUSS, &remarks).send(way.http, gateway.address()).await;
        let (messages, end) = way.replies(DISCUSS, &answer);
        assert_eq!((messages.len(), &end["error"]["code"]), (2, &json!("aborted")));
        assert_eq!(end["metadata"]["x-library-trailer"], json!(["mind the step"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_are_kept() {
    let (gateway, _backend) = demo(Parts::default());
    let minute = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    for way in plain_ways() {
        println!("{way:?}");
        let slow = pb::InspectRequest { delay: minute, ..inspect() }.encode_to_vec();
        let sent = way.unary(INSPECT, &slow).with("connect-timeout-ms", "100");
        let answer = sent.send(way.http, gateway.address()).await;
        assert_eq!((answer.status, &answer.json()["code"]), (504, &json!("deadline_exceeded")));
        let read = pb::ReadBookRequest { name: BOOK.into(), pause: minute, ..Default::default() };
        let sent = way.stream(READ_BOOK, &bytes_of(&[read])).with("connect-timeout-ms", "300");
        let answer = sent.send(way.http, gateway.address()).await;
        let (pages, end) = way.replies(READ_BOOK, &answer);
        assert_eq!((pages.len(), &end["error"]["code"]), (1, &json!("deadline_exceeded")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_its_call() {
    let (gateway, _backend) = demo(Parts::default());
    let minute = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let slow = pb::InspectRequest { delay: minute, ..inspect() }.encode_to_vec();
    let read = bytes_of(&[pb::ReadBookRequest { name: BOOK.into(), pause: minute, ..Default::default() }]);
    let mut gone = 0.0;
    for way in plain_ways() {
        for (sent, answers) in [(way.unary(INSPECT, &slow), false), (way.stream(READ_BOOK, &read), true)] {
            println!("{way:?} {}", sent.target);
            let labels = [("code", "CANCELLED"), ("dialect", "connect")];
            if way.http == Http::One {
                let mut socket = tokio::net::TcpStream::connect(gateway.address()).await.expect("it is open");
                socket.write_all(&sent.bytes()).await.expect("bytes are taken");
                if answers {
                    let mut first = [0; 1];
                    soon("a head", socket.read_exact(&mut first)).await.expect("a head");
                } else {
                    gateway.until_metric("transom_open_calls", &[], 1.0).await;
                }
            } else {
                let client = RawClient::connect(gateway.address()).await;
                let (response, mut sending) = client.open(sent.head(gateway.address())).await;
                sending.send_data(sent.body.clone(), true).expect("the stream is open");
                if answers {
                    soon("a head", response).await.expect("a head");
                } else {
                    gateway.until_metric("transom_open_calls", &[], 1.0).await;
                }
                sending.send_reset(h2::Reason::CANCEL);
            }
            gone += 1.0;
            gateway.until_metric("transom_calls_total", &labels, gone).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_bounded_before_and_after_decompression() {
    let api = "policies: { validate: { max_message: 1KiB } }";
    let (gateway, _backend) = demo(Parts { api, ..Parts::default() });
    let exhausted = |answer: &Answer, what: &str| {
        let error = if answer.status == 200 { answer.envelopes().1["error"].clone() } else { answer.json() };
        let said = (&error["code"], &error["details"][0]["debug"]["reason"]);
        assert_eq!(said, (&json!("resource_exhausted"), &json!("MESSAGE_TOO_LARGE")), "{what}: {error}");
        assert!([200, 429].contains(&answer.status), "{what}: {answer:?}");
    };
    for way in ways() {
        println!("{way:?}");
        // Sixty thousand zeros: a few bytes when compressed.
        let zeros = pb::InspectRequest { payload: vec![0; 60_000], ..inspect() }.encode_to_vec();
        let some = pb::InspectRequest { payload: vec![0; 4000], ..inspect() }.encode_to_vec();
        exhausted(&way.unary(INSPECT, &zeros).send(way.http, gateway.address()).await, "unary");
        exhausted(&way.get(INSPECT, &some).send(way.http, gateway.address()).await, "GET");
        let remark = pb::Remark { text: "0".repeat(60_000), ..Default::default() };
        let small = pb::Remark { id: "a".into(), ..Default::default() };
        let remarks = bytes_of(&[small, remark]);
        exhausted(&way.stream(DISCUSS, &remarks).send(way.http, gateway.address()).await, "stream");
        let padded = pb::InspectRequest { padding: 3000, ..inspect() }.encode_to_vec();
        exhausted(&way.unary(INSPECT, &padded).send(way.http, gateway.address()).await, "a reply");
        let read = pb::ReadBookRequest { name: BOOK.into(), page_bytes: 3000, ..Default::default() };
        let read = way.stream(READ_BOOK, &bytes_of(&[read]));
        exhausted(&read.send(way.http, gateway.address()).await, "a reply of a stream");
        // Four gigabytes promised, and ten bytes sent.
        let mut huge = way.stream(DISCUSS, &[]);
        huge.body = [&[0, 0xff, 0xff, 0xff, 0xff][..], &[7; 10]].concat().into();
        exhausted(&huge.send(way.http, gateway.address()).await, "four gigabytes");
        let fits = pb::InspectRequest { payload: vec![7; 300], ..inspect() }.encode_to_vec();
        let answer = way.unary(INSPECT, &fits).send(way.http, gateway.address()).await;
        let reply = pb::InspectResponse::decode(way.reply(INSPECT, &answer)).expect("a reply");
        assert_eq!(reply.payload.len(), 300);
    }
}

/// What a refusal looks like.
enum Want {
    /// HTTP alone: a status and a field.
    Bare(u16, &'static str, &'static str),
    /// A status, a code and a reason; 200 is a stream's.
    Error(u16, &'static str, &'static str),
}

fn check(name: &str, answer: &Answer, want: &Want) {
    match *want {
        Want::Bare(status, field, value) => {
            assert_eq!((answer.status, answer.field(field)), (status, Some(value)), "{name}: {answer:?}");
            assert_eq!((answer.body.len(), answer.field("content-type")), (0, None), "{name}: {answer:?}");
        }
        Want::Error(status, code, reason) => {
            assert_eq!(answer.status, status, "{name}: {answer:?}");
            let error = if status == 200 { answer.envelopes().1["error"].clone() } else { answer.json() };
            let said = (error["code"].as_str(), error["details"][0]["debug"]["reason"].as_str());
            assert_eq!(said, (Some(code), Some(reason)), "{name}: {error}");
            assert_eq!(error["details"][0]["type"], "google.rpc.ErrorInfo", "{name}");
            assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {error}");
        }
    }
}

const UNARY_TYPES: &str = "application/json, application/proto";
const STREAM_TYPES: &str = "application/connect+json, application/connect+proto";

/// What unary calls are refused for.
fn unary_refusals(way: Way) -> Vec<(&'static str, Sent, Want)> {
    use Want::Bare;
    use Want::Error;
    let message = pb::GetBookRequest { name: BOOK.into() }.encode_to_vec();
    let post = || way.unary(GET_BOOK, &message);
    let to = |target: &str| Sent { target: target.into(), ..post() };
    let of_type = |name: &str| {
        let mut sent = post();
        sent.fields[0].1 = name.into();
        sent
    };
    let get = |query: &str| Sent::new("GET", &format!("{GET_BOOK}?{query}"));
    let gzip = Way { coding: Encoding::Gzip, ..way }.unary(GET_BOOK, &message);
    let cut = gzip.body.slice(..gzip.body.len() - 1);
    let invalid = || Error(400, "invalid_argument", "REQUEST_INVALID");
    let mut all = vec![
        ("DELETE", Sent { verb: "DELETE", ..post() }, Bare(405, "allow", "GET, HEAD, POST")),
        (
            "GET of a method with effects",
            Sent::new("GET", &format!("{CREATE_SHELF}?connect=v1&encoding=json&message=%7B%7D")),
            Bare(405, "allow", "POST"),
        ),
        (
            "GET of a stream",
            Sent::new("GET", &format!("{READ_BOOK}?connect=v1&encoding=json&message=%7B%7D")),
            Bare(405, "allow", "POST"),
        ),
        ("an unknown path", to("/no.such.Service/Call"), Error(404, "unimplemented", "METHOD_UNKNOWN")),
        (
            "an unknown method",
            to("/transom.demo.v1.Library/Nope"),
            Error(404, "unimplemented", "METHOD_UNKNOWN"),
        ),
        ("another codec", of_type("application/thrift"), Bare(415, "accept-post", UNARY_TYPES)),
        ("another type", of_type("image/jpeg"), Bare(415, "accept-post", UNARY_TYPES)),
        ("UTF-16", of_type("application/json; charset=utf-16"), Bare(415, "accept-post", UNARY_TYPES)),
        ("envelopes", of_type("application/connect+proto"), Bare(415, "accept-post", UNARY_TYPES)),
        (
            "another codec by GET",
            get("connect=v1&encoding=x&message="),
            Bare(415, "accept-post", UNARY_TYPES),
        ),
        ("a bare message to a stream", to(READ_BOOK), Bare(415, "accept-post", STREAM_TYPES)),
        (
            "another encoding",
            post().with("content-encoding", "snappy"),
            Error(501, "unimplemented", "ENCODING_UNSUPPORTED"),
        ),
        (
            "another encoding by GET",
            get("encoding=json&message=%7B%7D&compression=snappy"),
            Error(501, "unimplemented", "ENCODING_UNSUPPORTED"),
        ),
        ("not what the encoding says", post().with("content-encoding", "gzip"), invalid()),
        ("cut short", gzip.clone().body(cut), invalid()),
        ("a GET without a message", get("connect=v1&encoding=json"), invalid()),
        ("a GET with two", get("encoding=json&message=1&message=2"), invalid()),
        ("a GET with a body", get("encoding=json&message=%7B%7D").body("x"), invalid()),
        ("a GET that is no base64", get("encoding=proto&base64=1&message=!"), invalid()),
        ("a timeout in words", post().with("connect-timeout-ms", "1s"), invalid()),
        ("a timeout of eleven digits", post().with("connect-timeout-ms", "10000000000"), invalid()),
    ];
    let mut version = post();
    version.fields[1].1 = "2".into();
    all.push(("another version", version, invalid()));
    all
}

/// Texts that are no JSON of a message.
fn json_refusals(way: Way) -> Vec<(&'static str, Sent, Want)> {
    if way.codec == Codec::Proto {
        return Vec::new();
    }
    let deep = format!("{{\"payload\":{}", "[".repeat(100_000));
    let bodies = [
        ("nothing", ""),
        ("a list", "[]"),
        ("another type", "{\"name\":1}"),
        ("an unknown member", "{\"nome\":\"x\"}"),
        ("two messages", "{} {}"),
        ("a byte order mark", "\u{feff}{}"),
        ("half a surrogate", "{\"name\":\"\\ud800\"}"),
        ("too deep", &deep),
    ];
    let of = |(name, body): (&'static str, &str)| {
        let sent = way.unary(GET_BOOK, &[]).body(body.to_owned());
        (name, sent, Want::Error(400, "invalid_argument", "REQUEST_INVALID"))
    };
    bodies.map(of).into()
}

/// What streams are refused for.
fn stream_refusals(way: Way) -> Vec<(&'static str, Sent, Want)> {
    use Want::Bare;
    use Want::Error;
    let book = way
        .written(READ_BOOK, &pb::ReadBookRequest { name: BOOK.into(), ..Default::default() }.encode_to_vec());
    let raw = |envelopes: &[(u8, &[u8])]| {
        let body: Vec<_> = envelopes.iter().map(|(flag, payload)| frame(*flag, payload)).collect();
        way.stream(READ_BOOK, &[]).body(body.concat())
    };
    let of_type = |name: &str| {
        let mut sent = raw(&[(0, &book)]);
        sent.fields[0].1 = name.into();
        sent
    };
    let coded = |name: &str, flag, payload: &[u8]| {
        let mut sent = raw(&[(flag, payload)]);
        sent.fields[2].1 = name.into();
        sent
    };
    let whole = frame(0, &book);
    let frame_invalid = || Error(200, "internal", "FRAME_INVALID");
    let cardinality = || Error(200, "unimplemented", "CARDINALITY");
    let mut version = raw(&[(0, &book)]);
    version.fields[1].1 = "0".into();
    vec![
        ("PUT", Sent { verb: "PUT", ..raw(&[(0, &book)]) }, Bare(405, "allow", "POST")),
        ("GET", Sent { verb: "GET", ..raw(&[]) }, Bare(405, "allow", "POST")),
        ("another codec", of_type("application/connect+thrift"), Bare(415, "accept-post", STREAM_TYPES)),
        (
            "an unknown method",
            Sent { target: "/transom.demo.v1.Library/Nope".into(), ..raw(&[(0, &book)]) },
            Error(200, "unimplemented", "METHOD_UNKNOWN"),
        ),
        ("another encoding", coded("snappy", 0, &book), Error(200, "unimplemented", "ENCODING_UNSUPPORTED")),
        (
            "not what the encoding says",
            coded("gzip", 1, &book),
            Error(200, "invalid_argument", "REQUEST_INVALID"),
        ),
        ("another version", version, Error(200, "invalid_argument", "REQUEST_INVALID")),
        ("no message", raw(&[]), cardinality()),
        ("two messages", raw(&[(0, &book), (0, &book)]), cardinality()),
        ("compressed, no encoding named", raw(&[(1, &book)]), frame_invalid()),
        ("the end of a stream", raw(&[(2, b"{}")]), frame_invalid()),
        ("a compressed end", coded("gzip", 3, b"{}"), frame_invalid()),
        ("a reserved flag", coded("gzip", 0x80, &book), frame_invalid()),
        ("ends in the header", raw(&[]).body(whole.slice(..3)), frame_invalid()),
        ("ends in the message", raw(&[]).body(whole.slice(..whole.len() - 1)), frame_invalid()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_and_never_completed_upstream() {
    // With REST beside it, and without.
    for api in ["dialects: [grpc, connect, rest]", "dialects: [connect]"] {
        let upstream = Upstream::start(|_| (When::End, good()));
        let gateway = Gateway::start(&yaml(&[upstream.address], Parts { api, ..Parts::default() }));
        for way in plain_ways() {
            for (name, sent, want) in
                unary_refusals(way).into_iter().chain(json_refusals(way)).chain(stream_refusals(way))
            {
                let name = format!("{name}, {way:?}, {api}");
                let answer = sent.send(way.http, gateway.address()).await;
                check(&name, &answer, &want);
                let known = [answer.field("accept-encoding"), answer.field("connect-accept-encoding")];
                let is_coding = matches!(want, Want::Error(_, _, "ENCODING_UNSUPPORTED"));
                assert_eq!(
                    known.contains(&Some("gzip, br, zstd, identity")),
                    is_coding,
                    "{name}: {answer:?}"
                );
            }
        }
        // Nobody serves what isn't Connect's.
        if api == "dialects: [connect]" {
            let picture = Sent::new("POST", GET_BOOK).with("content-type", "image/jpeg").body("12345678");
            let answer = picture.send(Http::Two, gateway.address()).await;
            check("a picture", &answer, &Want::Bare(415, "accept-post", UNARY_TYPES));
        }
        assert_eq!(upstream.seen().ended, 0, "no request came to its end");
        let refused = gateway.metric("transom_calls_total", &[("dialect", "connect")]);
        assert!(refused > 100.0, "{refused} refusals are counted");
        let message = pb::GetBookRequest { name: BOOK.into() }.encode_to_vec();
        for way in plain_ways() {
            let answer = way.unary(GET_BOOK, &message).send(way.http, gateway.address()).await;
            assert_eq!(pb::Book::decode(way.reply(GET_BOOK, &answer)).expect("a book").name, "y");
        }
        assert_eq!(upstream.seen().ended, 4, "and those that were well did");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_connect_the_json_form_is_rest() {
    let (gateway, _backend) = demo(Parts { api: "dialects: [grpc, rest]", ..Parts::default() });
    let way = Way { http: Http::Two, codec: Codec::Json, coding: Encoding::Identity };
    let message = pb::GetBookRequest { name: "shelves/harbour/books/nope".into() }.encode_to_vec();
    let answer = way.unary(GET_BOOK, &message).send(Http::Two, gateway.address()).await;
    assert_eq!((answer.status, &answer.json()["code"]), (404, &json!(5)));
    let answer = way.stream(READ_BOOK, &[]).send(Http::Two, gateway.address()).await;
    check("not published", &answer, &Want::Error(200, "unimplemented", "METHOD_UNKNOWN"));
}

/// A reply of hand-written blocks around frames.
fn reply(
    head: &[(&'static str, &'static str)],
    frames: &[Bytes],
    trailers: &[(&'static str, &'static str)],
) -> Vec<Act> {
    let fields = [(":status", "200"), ("content-type", "application/grpc")];
    let mut acts = vec![Act::Headers(fields.iter().chain(head).copied().collect(), Last::No)];
    acts.extend(frames.iter().map(|frame| Act::Data(frame.clone(), Last::No)));
    acts.push(Act::Headers(trailers.to_vec(), Last::Yes));
    acts
}

/// What a call of a gateway before an upstream with this reply gives, unary and as a stream.
async fn answers(way: Way, acts: Vec<Act>) -> (Answer, Answer) {
    let upstream = Upstream::start(move |_| (When::End, acts.clone()));
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    let unary = way.unary(GET_BOOK, b"\x0a\x01x").send(way.http, gateway.address()).await;
    let stream = way.stream(READ_BOOK, &[Bytes::from_static(b"\x0a\x01x")]);
    (unary, stream.send(way.http, gateway.address()).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_upstreams_are_told_in_full() {
    // A detail of a type of the module, one of nobody's, and one whose bytes aren't of its type.
    let detail = |url: &str, value: &[u8]| prost_types::Any { type_url: url.into(), value: value.into() };
    let book = pb::Book { title: "a \"<>".into(), ..Default::default() }.encode_to_vec();
    let details = vec![
        detail("type.googleapis.com/transom.demo.v1.Book", &book),
        detail("x.test/a.B", &[0, 255]),
        detail("type.googleapis.com/transom.demo.v1.Page", &[0x12, 5, b'x']),
    ];
    let all = tonic_types::pb::Status { code: 8, message: "not shown".into(), details };
    let encoded: &'static str = STANDARD_NO_PAD.encode(all.encode_to_vec()).leak();
    let fields = [
        ("grpc-status", "8"),
        ("grpc-message", "100%25 \u{22}so%0D%0Ax: %C3%A9%22"),
        ("x-many", "2"),
        ("x-many", "1"),
        ("connect-content-encoding", "gzip"),
        ("access-control-allow-origin", "*"),
    ];
    let error = json!({
        "code": "resource_exhausted",
        "message": "100% \"so\r\nx: é\"",
        "details": [
            { "type": "transom.demo.v1.Book", "value": STANDARD_NO_PAD.encode(&book), "debug": { "title": "a \"<>" } },
            { "type": "a.B", "value": "AP8" },
            { "type": "transom.demo.v1.Page", "value": "EgV4" },
        ],
    });
    for way in plain_ways() {
        let mut only = vec![(":status", "200"), ("content-type", "application/grpc")];
        only.extend(fields);
        only.push(("grpc-status-details-bin", encoded));
        let mut trailers = fields.to_vec();
        trailers.push(("grpc-status-details-bin", encoded));
        let leading = [("x-lead", "b"), ("x-lead", "a"), ("content-encoding", "br"), ("connect-x", "y")];
        let cases = [vec![Act::Headers(only, Last::Yes)], reply(&leading, &[], &trailers)];
        for (acts, leading) in cases.into_iter().zip([&[][..], &["b", "a"]]) {
            let (unary, stream) = answers(way, acts).await;
            assert_eq!((unary.status, unary.json()), (429, error.clone()));
            assert_eq!(
                (unary.fields("trailer-x-many"), unary.fields("x-lead")),
                (vec!["2", "1"], leading.to_vec())
            );
            let end = stream.envelopes().1;
            assert_eq!(end, json!({ "error": error, "metadata": { "x-many": ["2", "1"] } }));
            assert_eq!(stream.fields("x-lead"), leading);
            for answer in [&unary, &stream] {
                let odd = [
                    "content-encoding",
                    "connect-x",
                    "connect-content-encoding",
                    "access-control-allow-origin",
                ];
                assert!(odd.iter().all(|name| !answer.headers.contains_key(*name)), "{answer:?}");
                assert!(answer.headers.keys().all(|name| !name.as_str().contains("grpc-")), "{answer:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_replies_are_never_taken_for_good() {
    let book = frame(0, b"\x0a\x01y");
    let ok = [("grpc-status", "0")];
    let broken = |act: Act| {
        let head = vec![(":status", "200"), ("content-type", "application/grpc")];
        vec![Act::Headers(head, Last::No), Act::Data(book.slice(..6), Last::No), act]
    };
    let head = |fields: &[(&'static str, &'static str)]| vec![Act::Headers(fields.to_vec(), Last::Yes)];
    let grpc = ("content-type", "application/grpc");
    // What unary calls see, and what streams do.
    let cases = [
        ("no message", reply(&[], &[], &ok), ("internal", Some("UPSTREAM_REPLY_INVALID")), (None, None)),
        (
            "two messages",
            reply(&[], &[book.clone(), book.clone()], &ok),
            ("internal", Some("UPSTREAM_REPLY_INVALID")),
            (None, None),
        ),
        (
            "an unknown code",
            reply(&[], &[], &[("grpc-status", "99")]),
            ("unknown", None),
            (Some("unknown"), None),
        ),
        (
            "no status",
            reply(&[], std::slice::from_ref(&book), &[("x", "y")]),
            ("internal", Some("UPSTREAM_NO_STATUS")),
            (Some("internal"), Some("UPSTREAM_NO_STATUS")),
        ),
        (
            "a page",
            head(&[(":status", "502"), ("content-type", "text/html")]),
            ("unavailable", Some("UPSTREAM_NOT_GRPC")),
            (Some("unavailable"), Some("UPSTREAM_NOT_GRPC")),
        ),
        (
            "a reset in a message",
            broken(Act::Reset(2)),
            ("internal", Some("UPSTREAM_RESET")),
            (Some("internal"), Some("UPSTREAM_RESET")),
        ),
        (
            "an end in a message",
            broken(Act::Headers(ok.to_vec(), Last::Yes)),
            ("internal", Some("FRAME_INVALID")),
            (Some("internal"), Some("FRAME_INVALID")),
        ),
        (
            "an OK alone",
            head(&[(":status", "200"), grpc, ("grpc-status", "0")]),
            ("internal", Some("UPSTREAM_REPLY_INVALID")),
            (None, None),
        ),
    ];
    for way in plain_ways() {
        for (name, acts, unary, stream) in &cases {
            println!("{name}, {way:?}");
            let (bare, envelopes) = answers(way, acts.clone()).await;
            let error = bare.json();
            let reason = |error: &Value| error["details"][0]["debug"]["reason"].as_str().map(str::to_owned);
            assert_eq!(
                (error["code"].as_str(), reason(&error).as_deref()),
                (Some(unary.0), unary.1),
                "{error}"
            );
            let error = &envelopes.envelopes().1["error"];
            assert_eq!((error["code"].as_str(), reason(error).as_deref()), *stream, "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_compresses_unasked_is_decompressed() {
    for way in ways() {
        let gzip = Way { coding: Encoding::Gzip, ..way };
        let long = pb::Page { number: 7, text: "t".repeat(2000) }.encode_to_vec();
        let frames = [frame(1, &gzip.coded(long.clone())), frame(0, &long)];
        let acts = reply(&[("grpc-encoding", "gzip")], &frames, &[("grpc-status", "0")]);
        let (_, stream) = answers(way, acts).await;
        let (pages, end) = way.replies(READ_BOOK, &stream);
        assert_eq!((pages, end), (vec![Bytes::from(long.clone()), long.into()], json!({})));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_cut_of_a_request_or_a_reply_gives_the_same() {
    let (gateway, _backend) = demo(Parts::default());
    let page = frame(0, &pb::Page { number: 1, text: "one".into() }.encode_to_vec());
    let whole = [&page[..], &page, &page].concat();
    let replies = whole.clone();
    let upstream = Upstream::start(move |turn| {
        let (before, after) = replies.split_at(turn.call % (replies.len() + 1));
        let parts = [Bytes::copy_from_slice(before), Bytes::copy_from_slice(after)];
        (When::End, reply(&[], &parts, &[("grpc-status", "0")]))
    });
    let cutting = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    for (codec, coding) in
        [(Codec::Proto, Encoding::Identity), (Codec::Json, Encoding::Identity), (Codec::Json, Encoding::Gzip)]
    {
        let way = Way { http: Http::Two, codec, coding };
        let remarks = bytes_of(&["a", "b"].map(|id| pb::Remark { id: id.into(), ..Default::default() }));
        let sent = way.stream(DISCUSS, &remarks);
        let client = RawClient::connect(gateway.address()).await;
        for at in 0..=sent.body.len() {
            let (response, mut sending) = client.open(sent.head(gateway.address())).await;
            sending.send_data(sent.body.slice(..at), false).expect("the stream is open");
            sending.send_data(sent.body.slice(at..), true).expect("the stream is open");
            let reply =
                soon("the answer", support::RawReply::read(response)).await.expect("it ends in order");
            let answer = Answer { status: 200, headers: reply.headers, body: reply.body };
            let (answers, _) = streamed::<pb::Answer>(way, DISCUSS, &answer);
            assert!(answers.iter().map(|answer| &*answer.id).eq(["a", "b"]), "cut at {at}");
        }
        let client = RawClient::connect(cutting.address()).await;
        let sent = way.stream(READ_BOOK, &[Bytes::from_static(b"\x0a\x01x")]);
        for _ in 0..=whole.len() {
            let reply =
                client.call(sent.head(cutting.address()), sent.body.clone()).await.expect("it ends in order");
            let answer = Answer { status: 200, headers: reply.headers, body: reply.body };
            let (pages, _) = streamed::<pb::Page>(way, READ_BOOK, &answer);
            assert!(pages.iter().map(|page| &*page.text).eq(["one"; 3]), "{answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_a_connection() {
    let (gateway, _backend) = demo(Parts::default());
    let way = Way { http: Http::One, codec: Codec::Json, coding: Encoding::Identity };
    let mut requests = String::new();
    let bad = way.unary(GET_BOOK, b"").body("nonsense");
    let good = way.unary(GET_BOOK, &pb::GetBookRequest { name: BOOK.into() }.encode_to_vec());
    let read = pb::ReadBookRequest { name: BOOK.into(), pages: 2, ..Default::default() };
    let stream = way.stream(READ_BOOK, &bytes_of(&[read]));
    // Refusals, streams and replies leave the connection good for the next request.
    for sent in [&bad, &stream, &good, &bad, &good] {
        let text = String::from_utf8_lossy(&sent.bytes()).into_owned();
        write!(requests, "{}", text.replace("connection: close\r\n", "")).expect("text grows");
    }
    let last = String::from_utf8_lossy(&good.bytes()).into_owned();
    requests += &last;
    let text = raw::talk(gateway.address(), requests.as_bytes()).await;
    let statuses: Vec<_> = text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["400", "200", "200", "400", "200", "200"], "{text}");
}

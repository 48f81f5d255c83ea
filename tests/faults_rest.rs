//! What REST clients and the services behind them do wrong, through real sockets, and what it costs: nothing.

#![expect(clippy::unwrap_used, reason = "a test may fail at any step")]

#[path = "support/rest.rs"]
mod rest;
mod support;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use serde_json::json;
use tokio::sync::RwLock;
use transom::call::Call;
use transom::call::Reason;
use transom::call::Refusal;
use transom::policy::Check;
use transom::policy::Needs;
use transom::policy::Policy;
use transom::wire::compress;
use transom::wire::compress::Encoding;

use crate::rest::Answer;
use crate::rest::Ask;
use crate::rest::Client;
use crate::rest::End;
use crate::rest::HttpBody;
use crate::rest::Probe;
use crate::rest::Service;
use crate::rest::Told;
use crate::rest::VERSIONS;
use crate::rest::Version;
use crate::rest::ask;
use crate::rest::before;
use crate::rest::get;
use crate::rest::named;
use crate::rest::post;
use crate::rest::yaml;
use crate::support::Gateway;
use crate::support::RawClient;
use crate::support::frame;
use crate::support::head;

/// Those that measure the memory of the process run alone.
static ALONE: RwLock<()> = RwLock::const_new(());

/// A gateway under attack, and what it must look like afterwards.
struct Attacked {
    gateway: Gateway,
    service: Service,
    refused: std::collections::BTreeMap<String, f64>,
}

impl Attacked {
    fn new(gateway: Gateway, service: Service) -> Self {
        Self { gateway, service, refused: std::collections::BTreeMap::new() }
    }

    /// Makes the same bad request over each HTTP version, twice on one connection: the answers are the same to
    /// the byte, and the connection serves on.
    async fn refuses(&mut self, what: &str, bad: &Ask, status: u16, reason: &str) -> Answer {
        let mut first: Option<Answer> = None;
        for version in VERSIONS {
            let mut client = Client::connect(version, self.gateway.address()).await;
            for _ in 0..2 {
                let answer = client.ask(bad).await;
                assert_eq!((answer.status, answer.end), (status, End::Whole), "{what}: {answer:?}");
                assert_eq!(answer.header("content-type"), "application/json", "{what}");
                assert_eq!(answer.reason(), reason, "{what}: {}", answer.text());
                assert!(answer.body.len() < 16 << 10, "{what}: an answer of {} bytes", answer.body.len());
                *self.refused.entry(reason.to_owned()).or_default() += 1.0;
                if let Some(first) = &first {
                    assert_eq!(answer.text(), first.text(), "{what}");
                }
                first = Some(answer);
            }
        }
        first.unwrap()
    }

    /// The process lives, others are served, the counters say what happened, and nothing went upstream.
    async fn survives(self) {
        assert!(self.service.take().is_empty(), "a bad request went upstream");
        self.survives_with_calls().await;
    }

    /// The same where the service itself is at fault.
    async fn survives_with_calls(self) {
        for version in VERSIONS {
            let answer = Client::connect(version, self.gateway.address()).await;
            let good = { answer }.ask(&get("/v1/one/good")).await;
            assert_eq!((good.status, good.json()), (200, json!({ "name": "good" })));
        }
        for (reason, count) in &self.refused {
            let labels = [("reason", reason.as_str())];
            self.gateway.until_metric("transom_refusals_total", &labels, *count).await;
        }
        self.gateway.until_metric("transom_open_calls", &[], 0.0).await;
        self.gateway.until_metric("transom_panics_total", &[], 0.0).await;
    }
}

async fn attacked(api: &str) -> Attacked {
    let service = Service::echo().await;
    Attacked::new(before(&service, api), service)
}

/// Lets nobody call `Secret`.
#[derive(Debug)]
struct Guard;

impl Policy for Guard {
    fn slot(&self) -> &'static str {
        "test_guard"
    }

    fn needs(&self) -> Needs {
        Needs::Head
    }

    fn check(&self, call: &mut Call) -> Check {
        if call.method.path.ends_with("/Secret") {
            return Check::Refuse(Box::new(Refusal::new(Reason::AccessDenied, "nobody may")));
        }
        Check::Pass
    }
}

/// What a path leads to.
enum Leads {
    /// To `Show`, with this name.
    Show(&'static str),
    Refused(u16),
}

const PATHS: &[(&str, Leads)] = &[
    ("/v1/secret/x", Leads::Refused(403)),
    ("/v1/%73ecret/x", Leads::Refused(403)),
    ("/%76%31/secret/%78", Leads::Refused(403)),
    ("/v1/secret/x;a=b", Leads::Refused(403)),
    ("/v1/secret/..%2Fx", Leads::Refused(403)),
    ("/v1/secret/%2e%2e", Leads::Refused(403)),
    ("/v1/secret/x?name=y", Leads::Refused(403)),
    ("/v1/secret/x/", Leads::Refused(404)),
    ("/v1/secret/", Leads::Refused(404)),
    ("/v1/secret;a=b/x", Leads::Refused(404)),
    ("/v1;/secret/x", Leads::Refused(404)),
    ("/V1/secret/x", Leads::Refused(404)),
    ("//v1/secret/x", Leads::Refused(404)),
    ("/v1//secret/x", Leads::Refused(404)),
    ("/v1/secret//x", Leads::Refused(404)),
    ("/v1%2Fsecret/x", Leads::Refused(404)),
    ("/v1/secret%2Fx", Leads::Refused(404)),
    ("/v1%5Csecret%5Cx", Leads::Refused(404)),
    ("/v1\\secret\\x", Leads::Refused(404)),
    ("/v1/./secret/x", Leads::Refused(400)),
    ("/v1/one/../secret/x", Leads::Refused(400)),
    ("/v1/one/..", Leads::Refused(400)),
    ("/../v1/secret/x", Leads::Refused(400)),
    ("/v1/one/%2e%2e/secret/x", Leads::Refused(404)),
    ("/v1/one/..;/secret/x", Leads::Refused(404)),
    ("/v1/one/%00", Leads::Refused(400)),
    ("/v1/one/x%00.png", Leads::Refused(400)),
    ("/v1/one/%", Leads::Refused(400)),
    ("/v1/one/%2", Leads::Refused(400)),
    ("/v1/one/%zz", Leads::Refused(400)),
    ("/v1/one/%ff", Leads::Refused(400)),
    ("/v1/one/%c0%af", Leads::Refused(400)),
    ("/v1/one/%ed%a0%80", Leads::Refused(400)),
    ("/v1/one/..%2Fsecret%2Fx", Leads::Show("../secret/x")),
    ("/v1/one/..%5Csecret", Leads::Show("..\\secret")),
    ("/v1/one/..\\secret\\x", Leads::Show("..\\secret\\x")),
    ("/v1/one/%252e%252e%252fsecret", Leads::Show("%2e%2e%2fsecret")),
    ("/v1/one/%2e%2e", Leads::Show("..")),
    ("/v1/one/..;", Leads::Show("..;")),
    ("/v1/one/x;a=b;c", Leads::Show("x;a=b;c")),
    ("/v1/one/a+b", Leads::Show("a+b")),
    ("/v1/one/%C3%A9", Leads::Show("\u{e9}")),
    ("/v1/files/secret//x", Leads::Show("secret//x")),
    ("/v1/files/a%2F..%2fb", Leads::Show("a%2F..%2fb")),
    ("/v1/files/..;/x", Leads::Show("..;/x")),
    ("/v1/files/a/../b", Leads::Refused(400)),
    ("/v1/files/a/%00", Leads::Refused(400)),
    ("/v1/things/a%2Fb", Leads::Show("things/a%2Fb")),
    ("/v1/things/a/b", Leads::Refused(404)),
];

#[tokio::test]
async fn a_path_has_one_reading_and_that_is_what_is_guarded() {
    let _shared = ALONE.read().await;
    let service = Service::echo().await;
    let gateway = Gateway::with_policies(&yaml(service.address(), "", "", ""), vec![Arc::new(Guard)]);
    for version in VERSIONS {
        let mut client = Client::connect(version, gateway.address()).await;
        for (target, leads) in PATHS {
            let answer = client.ask(&get(target)).await;
            let asked = service.take();
            match leads {
                Leads::Show(name) => {
                    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
                    assert_eq!(asked.len(), 1, "{target}");
                    assert_eq!(asked[0].path, "/lab.v1.Lab/Show", "{target}");
                    assert_eq!(asked[0].one::<Probe>(), named(name), "{target}");
                }
                Leads::Refused(status) => {
                    assert_eq!((answer.status, answer.end), (*status, End::Whole), "{target}: {answer:?}");
                    assert!(asked.is_empty(), "{target} went upstream");
                }
            }
        }
        // The method's own path has one spelling too.
        let own = [
            ("/lab.v1.Lab/Secret", 403),
            ("/lab.v1.Lab%2FSecret", 404),
            ("/lab.v1.Lab/%53ecret", 404),
            ("/lab.v1.Lab//Secret", 404),
            ("//lab.v1.Lab/Secret", 404),
            ("/lab.v1.Lab/Secret/", 404),
            ("/lab.v1.Lab/../lab.v1.Lab/Secret", 400),
            ("/lab.v1.lab/Secret", 404),
        ];
        for (target, status) in own {
            assert_eq!(client.ask(&post(target, "{}")).await.status, status, "{target}");
        }
    }
    let grpc = RawClient::connect(gateway.address()).await;
    for (path, code) in
        [("/lab.v1.Lab/Secret", 7), ("/lab.v1.Lab%2FSecret", 12), ("/lab.v1.Lab/%53ecret", 12)]
    {
        let reply = grpc.call(head(gateway.address(), path), frame(0, b"")).await.unwrap();
        assert_eq!(reply.code(), Some(code), "{path}");
    }
    assert!(service.take().is_empty());
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

/// `open` a number of times, and `close` as often.
fn nested(open: &str, within: &str, close: &str, depth: usize) -> Bytes {
    [open.repeat(depth), within.into(), close.repeat(depth)].concat().into()
}

#[tokio::test]
async fn json_that_is_too_deep_is_refused_on_a_constant_stack() {
    let _shared = ALONE.read().await;
    const DEEP: usize = 100_000;
    let any = "{\"@type\":\"type.googleapis.com/lab.v1.Probe\",\"any\":";
    let bodies = [
        ("messages", nested("{\"child\":", "{}", "}", DEEP)),
        ("lists of messages", nested("{\"children\":[", "", "]}", DEEP)),
        ("never closed", Bytes::from("{\"child\":".repeat(DEEP))),
        (
            "objects in a Struct",
            [&b"{\"struct\":"[..], &nested("{\"a\":", "1", "}", DEEP), b"}"].concat().into(),
        ),
        ("arrays in a Value", [&b"{\"value\":"[..], &nested("[", "", "]", DEEP), b"}"].concat().into()),
        ("brackets alone", Bytes::from("[".repeat(DEEP))),
        ("Any in Any", [b"{\"any\":", &nested(any, "{}", "}", DEEP / 2)[..], b"}"].concat().into()),
        (
            "Any in Any, its type last",
            [
                b"{\"any\":",
                &nested("{\"any\":", "{}", ",\"@type\":\"type.googleapis.com/lab.v1.Probe\"}", DEEP / 2)[..],
                b"}",
            ]
            .concat()
            .into(),
        ),
    ];
    // What is unknown is skipped, and bounded all the same.
    let skipped = Bytes::from([b"{\"nobody\":", &nested("[", "", "]", DEEP)[..], b"}"].concat());
    let mut attacked = attacked("rest: { unknown_fields: ignore }").await;
    for (what, body) in &bodies {
        attacked.refuses(what, &post("/v1/put", body.clone()), 400, "REQUEST_INVALID").await;
        let line = ask("POST", "/v1/pour").with("content-type", "application/x-ndjson").body(body.clone());
        attacked.refuses(what, &line, 400, "REQUEST_INVALID").await;
    }
    attacked.refuses("skipped", &post("/v1/put", skipped), 400, "REQUEST_INVALID").await;
    // Near the limit, on both sides of it.
    let mut client = Client::connect(Version::H1, attacked.gateway.address()).await;
    let fits = client.ask(&post("/v1/put", nested("{\"child\":", "{}", "}", 90))).await;
    assert_eq!(fits.status, 200, "{}", fits.text());
    assert_eq!(attacked.service.take().len(), 1);
    let over = post("/v1/put", nested("{\"child\":", "{}", "}", 101));
    attacked.refuses("just over", &over, 400, "REQUEST_INVALID").await;
    attacked.survives().await;
}

#[tokio::test]
async fn json_that_is_odd_is_refused_the_same_way_every_time() {
    let _shared = ALONE.read().await;
    let many_digits = format!("{{\"ratio\":{}}}", "9".repeat(1 << 20));
    let bodies: [&[u8]; 42] = [
        br#"{"ratio":1e9999}"#,
        br#"{"ratio":-1e9999}"#,
        br#"{"ratio":"1e9999"}"#,
        many_digits.as_bytes(),
        br#"{"bigCount":9223372036854775808}"#,
        br#"{"bigCount":-9223372036854775809}"#,
        br#"{"bigCount":1e400}"#,
        br#"{"bigCount":"1e30"}"#,
        br#"{"bigCount":0.5}"#,
        br#"{"id":2147483648}"#,
        br#"{"id":1e2147483647}"#,
        br#"{"ratio":NaN}"#,
        br#"{"ratio":Infinity}"#,
        br#"{"id":01}"#,
        br#"{"id":+1}"#,
        br#"{"id":1.}"#,
        br#"{"id":0x10}"#,
        br#"{"name":"a","name":"b"}"#,
        br#"{"bigCount":1,"big_count":1}"#,
        br#"{"labels":{"a":"1","a":"2"}}"#,
        br#"{"struct":{"a":1,"a":2}}"#,
        b"{\"name\":\"\xff\"}",
        b"{\"name\":\"\xc0\xaf\"}",
        b"{\"name\":\"\xed\xa0\x80\"}",
        b"{\"name\":\"\xf5\x80\x80\x80\"}",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\0}\0",
        br#"{"name":"\ud800"}"#,
        br#"{"name":"\udc00\ud800"}"#,
        br#"{"name":"\ud800\u0041"}"#,
        br#"{"name":"\x41"}"#,
        b"{\"name\":\"a\nb\"}",
        b"{\"name\":\"\0\"}",
        br#"{"name":"a",}"#,
        br#"{'name':'a'}"#,
        br#"{name:"a"}"#,
        br#"{"name":"a"} {}"#,
        br#"{"name":"a"}]"#,
        br#"{"isOn":"true"}"#,
        br#"{"children":[null]}"#,
        br#"{"blob":"!!!!"}"#,
        b"{/**/}",
    ];
    let mut attacked = attacked("").await;
    for body in bodies {
        let what = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = attacked
            .refuses(&what, &post("/v1/put", Bytes::copy_from_slice(body)), 400, "REQUEST_INVALID")
            .await;
        assert_eq!(answer.json()["code"], 3, "{what}");
        assert!(answer.message().contains("(byte "), "it says where: {what}: {}", answer.message());
    }
    attacked.survives().await;
}

#[tokio::test]
async fn masks_and_queries_that_explode_are_refused() {
    let _shared = ALONE.read().await;
    let mut attacked = attacked("").await;
    let deep = format!("/v1/show?{}name=x", "child.".repeat(5_000));
    attacked.refuses("a path of 5,000 fields", &get(&deep), 400, "REQUEST_INVALID").await;
    let unknown = format!("/v1/show?{}=1", "a.b.c.".repeat(5_000));
    attacked.refuses("unknown names", &get(&unknown), 400, "REQUEST_INVALID").await;
    let many = format!("/v1/show?{}", "nobody=1&".repeat(5_000));
    let answer = attacked.refuses("5,000 unknown parameters", &get(&many), 400, "REQUEST_INVALID").await;
    let violations = answer.json()["details"][1]["fieldViolations"].as_array().unwrap().len();
    assert!(violations <= 20, "{violations}");
    let form = ask("POST", "/v1/put")
        .with("content-type", "application/x-www-form-urlencoded")
        .body("child.".repeat(100_000) + "name=x");
    attacked.refuses("a form of 100,000 fields", &form, 400, "REQUEST_INVALID").await;
    let twice = format!("/v1/show?mask={}a&mask=b", "aB,".repeat(10_000));
    attacked.refuses("a mask that is there twice", &get(&twice), 400, "REQUEST_INVALID").await;
    for (what, mask) in
        [("30,000 parts", ["a.b.c"; 10_000].join(".")), ("10,000 paths", ["a.b.c"; 10_000].join(","))]
    {
        // It would not fit into the head of a request as a whole.
        let query = format!("/v1/show?mask={}", &mask[..19_999]);
        let asks = [
            ("mask", post("/v1/put", format!("{{\"mask\":\"{mask}\"}}"))),
            ("child.mask", post("/v1/put", format!("{{\"child\":{{\"mask\":\"{mask}\"}}}}"))),
            ("mask", get(&query)),
        ];
        for (field, ask) in asks {
            let answer = attacked.refuses(what, &ask, 400, "REQUEST_INVALID").await;
            let violation = &answer.json()["details"][1]["fieldViolations"][0];
            assert_eq!(violation["field"], field, "{what}");
            assert!(violation["description"].as_str().unwrap().contains("more than"), "{what}: {violation}");
        }
    }
    // As much as is allowed is read.
    let most = [["a"; 32].join("."), ["a"; 999].join(",")].join(",");
    let mut client = Client::connect(Version::H1, attacked.gateway.address()).await;
    let fits = client.ask(&post("/v1/put", format!("{{\"mask\":\"{most}\"}}"))).await;
    assert_eq!((fits.status, fits.json()), (200, json!({ "mask": most })));
    assert_eq!(attacked.service.take().len(), 1);
    attacked.survives().await;
}

type Reply = (&'static str, Vec<u8>);

fn varint(value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(value as u64, &mut bytes);
    bytes
}

/// Messages within each other: each holds the one before it, and its length.
fn recursive(depth: usize) -> Vec<u8> {
    let mut lens = vec![0usize];
    for at in 0..depth {
        let len = lens[at];
        lens.push(1 + varint(len).len() + len);
    }
    let fields = lens[..depth].iter().rev().map(|len| [&[0x7a][..], &varint(*len)].concat());
    fields.collect::<Vec<_>>().concat()
}

fn bad_replies() -> Vec<Reply> {
    assert!(Probe::decode(&recursive(50)[..]).is_ok(), "it is a good message");
    vec![
        ("a varint of 11 bytes", [&[0x10][..], &[0xff; 10], &[1]].concat()),
        ("a varint over 64 bits", [&[0x10][..], &[0xff; 9], &[2]].concat()),
        ("a varint cut short", vec![0x10, 0x80]),
        ("a tag of field 0", vec![0x00, 0x00]),
        ("a tag over 32 bits", vec![0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("wire type 7", vec![0x0f]),
        ("a length beyond the end", vec![0x0a, 0x05, b'x']),
        ("a length of 2^64 - 1", [&[0x0a][..], &[0xff; 9], &[1]].concat()),
        ("a packed list that ends in a varint", vec![0x5a, 0x02, 0x01, 0x80]),
        ("a packed list longer than its message", vec![0x5a, 0x7f, 0x01]),
        ("a message longer than the one that holds it", vec![0x7a, 0x02, 0x7a, 0x09]),
        ("a fixed64 cut short", vec![0x49, 1, 2, 3]),
        ("a string that is not UTF-8", vec![0x0a, 0x01, 0xff]),
        ("a group that never ends", vec![0x83, 0x02]),
        ("a group that never began", vec![0x84, 0x02]),
        ("groups that end in another order", vec![0x83, 0x02, 0x8b, 0x02, 0x84, 0x02, 0x8c, 0x02]),
        ("100,000 groups within each other", [0x83, 0x02].repeat(100_000)),
        ("100,000 messages within each other", recursive(100_000)),
        ("101 messages within each other", recursive(101)),
    ]
}

fn good_replies() -> Vec<Reply> {
    vec![
        (
            "500,000 unknown fields",
            [&named("good").encode_to_vec()[..], &[0x80, 0x02, 1].repeat(500_000)].concat(),
        ),
        (
            "100,000 names of which the last counts",
            [[0x0a, 1, b'x'].repeat(100_000), named("good").encode_to_vec()].concat(),
        ),
    ]
}

#[tokio::test]
async fn replies_that_are_no_messages_are_a_bad_gateway() {
    let _shared = ALONE.read().await;
    let (bad, good) = (bad_replies(), good_replies());
    let replies: Vec<Bytes> = bad.iter().chain(&good).map(|(_, reply)| reply.clone().into()).collect();
    let service = Service::start(move |asked| {
        let probe: Probe = asked.one();
        match probe.id {
            0 => Told::one(&probe),
            at => Told::bytes(&replies[usize::try_from(at).unwrap() - 1]),
        }
    })
    .await;
    let gateway = before(&service, "dialects: [grpc, rest]");
    let mut attacked = Attacked::new(gateway, service);
    for (at, (what, _)) in bad.iter().enumerate() {
        let ask = get(&format!("/v1/show?id={}", at + 1));
        let answer = attacked.refuses(what, &ask, 502, "UPSTREAM_REPLY_INVALID").await;
        assert_eq!(answer.json()["code"], 13, "{what}");
        let whole =
            client_of(&attacked).await.ask(&post("/lab.v1.Lab/Show", format!("{{\"id\":{}}}", at + 1))).await;
        assert_eq!(whole.status, 502, "{what}");
        *attacked.refused.get_mut("UPSTREAM_REPLY_INVALID").unwrap() += 1.0;
    }
    for (at, (what, _)) in good.iter().enumerate() {
        let ask = get(&format!("/v1/show?id={}", bad.len() + at + 1));
        let answer = client_of(&attacked).await.ask(&ask).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "name": "good" })), "{what}");
    }
    attacked.survives_with_calls().await;
}

async fn client_of(attacked: &Attacked) -> Client {
    Client::connect(Version::H2, attacked.gateway.address()).await
}

#[tokio::test]
async fn replies_of_no_or_two_messages_and_odd_bodies_are_a_bad_gateway() {
    let _shared = ALONE.read().await;
    let service = Service::start(|asked| {
        if asked.path == "/lab.v1.Lab/Download" {
            return Told::bytes(b"\x0a\xff");
        }
        let probe: Probe = asked.one();
        match probe.id {
            1 => Told::default(),
            2 => Told::many(&[named("a"), named("b")]),
            3 => Told {
                head: vec![("grpc-encoding", "snappy")],
                frames: vec![frame(1, b"x")],
                ..Told::default()
            },
            4 => Told {
                head: vec![("grpc-encoding", "gzip")],
                frames: vec![frame(1, b"x")],
                ..Told::default()
            },
            _ => Told::one(&probe),
        }
    })
    .await;
    let mut attacked = Attacked::new(before(&service, ""), service);
    for (at, what) in (1..).zip(["no message", "two messages", "an unknown encoding", "not gzip"]) {
        let ask = get(&format!("/v1/show?id={at}"));
        let answer = attacked.refuses(what, &ask, 502, "UPSTREAM_REPLY_INVALID").await;
        assert!(answer.message().starts_with("the service"), "{what}: {}", answer.message());
    }
    attacked.refuses("no HttpBody", &get("/v1/download"), 502, "UPSTREAM_REPLY_INVALID").await;
    attacked.survives_with_calls().await;
}

#[tokio::test]
async fn all_calls_together_hold_only_so_much() {
    let _shared = ALONE.read().await;
    let service = Service::echo().await;
    let text = yaml(service.address(), "", "", "").replace("workers: 2", "workers: 2, buffer_bytes: 1MiB");
    let text = text.replace(":0\" }]", ":0\", limits: { stream_window: 64KiB } }]");
    let mut attacked = Attacked::new(Gateway::start(&text), service);
    let body = Bytes::from(format!("{{\"name\":\"{}\"}}", "x".repeat(900 << 10)));
    let (mut first, rest) = (body.clone(), Bytes::from_static(b" "));
    let client = RawClient::connect(attacked.gateway.address()).await;
    let head = http::Request::post("http://localhost/v1/put").header("content-type", "application/json");
    let (response, mut sending) = client.open(head.body(()).unwrap()).await;
    while !first.is_empty() {
        sending.reserve_capacity(first.len());
        let room = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await.unwrap().unwrap();
        sending.send_data(first.split_to(room.min(first.len())), false).unwrap();
    }
    // All of the first body but what is in its window is held now, so that there is no room for a second one.
    let answer =
        attacked.refuses("too much at once", &post("/v1/put", body.clone()), 503, "OVERLOADED").await;
    assert_eq!(answer.header("retry-after"), "1");
    sending.send_data(rest, true).unwrap();
    let (first, mut reply) = response.await.unwrap().into_parts();
    assert_eq!(first.status, 200);
    let again = client_of(&attacked).await.ask(&post("/v1/put", body)).await;
    assert_eq!(again.status, 200, "what one call held is free for the next");
    support::read_body(&mut reply).await.unwrap();
    attacked.survives_with_calls().await;
}

/// The most memory that this process had since the last call, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}

/// Begins to measure the peak anew.
fn measure() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    peak()
}

#[tokio::test]
async fn arrays_of_empty_objects_cost_a_few_times_their_bytes() {
    let _alone = ALONE.write().await;
    const OBJECTS: usize = 50_000_000;
    // More than what a message may have is never held.
    let list = Bytes::from(format!("{{\"children\":[{}{{}}]}}", "{},".repeat(1_300_000)));
    let huge = Bytes::from([b"{\"children\":[", &b"{},".repeat(OBJECTS)[..], b"{}]}"].concat());
    let mut small = attacked("").await;
    let before = measure();
    small.refuses("over the limit of elements", &post("/v1/put", list.clone()), 400, "REQUEST_INVALID").await;
    let grown = peak() - before;
    assert!(grown < 8 * list.len() as u64, "{grown} bytes for {}", list.len());
    let before = measure();
    small.refuses("50 million, 4 MiB taken", &post("/v1/put", huge.clone()), 413, "MESSAGE_TOO_LARGE").await;
    let grown = peak() - before;
    assert!(grown < 64 << 20, "{grown} bytes");
    small.survives().await;

    // Where as much is allowed, the elements are counted.
    let mut large = attacked("policies: { validate: { max_message: 256MiB } }").await;
    let before = measure();
    let mut client = Client::connect(Version::H1, large.gateway.address()).await;
    let answer = client.ask(&post("/v1/put", huge.clone())).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "REQUEST_INVALID"), "{}", answer.text());
    large.refused.insert("REQUEST_INVALID".into(), 1.0);
    let grown = peak() - before;
    assert!(grown < 4 * huge.len() as u64, "{grown} bytes for {}", huge.len());
    large.survives().await;
}

#[tokio::test]
async fn a_client_stream_of_empty_objects_holds_none_of_them() {
    let _alone = ALONE.write().await;
    const OBJECTS: usize = 2_000_000;
    let service = Service::start(|asked| {
        Told::one(&Probe { id: i32::try_from(asked.messages.len()).unwrap(), ..Probe::default() })
    })
    .await;
    let attacked = Attacked::new(before(&service, ""), service);
    let body = Bytes::from([b"[", &b"{},".repeat(OBJECTS - 1)[..], b"{}]"].concat());
    let mut client = Client::connect(Version::H2, attacked.gateway.address()).await;
    let answer = client.ask(&post("/v1/pour", body)).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "id": OBJECTS })));
    attacked.service.take();
}

#[tokio::test]
async fn compressed_bombs_burst_nothing() {
    let _alone = ALONE.write().await;
    const BYTES: usize = 256 << 20;
    let mut bombs = Vec::new();
    for coding in [Encoding::Gzip, Encoding::Brotli, Encoding::Zstd] {
        let mut encoder = compress::Encoder::new(coding).unwrap();
        let mut bomb = Vec::new();
        let zeros = vec![b' '; 1 << 20];
        for _ in 0..BYTES >> 20 {
            encoder.push(&zeros, &mut bomb).unwrap();
        }
        encoder.finish(&mut bomb).unwrap();
        bombs.push((coding, Bytes::from(bomb)));
    }
    let mut attacked = attacked("").await;
    let before = measure();
    for (coding, bomb) in &bombs {
        assert!(bomb.len() < BYTES / 500, "{coding:?}: {}", bomb.len());
        for target in ["/v1/put", "/v1/upload/x", "/v1/pour"] {
            let ask = post(target, bomb.clone()).with("content-encoding", coding.name());
            attacked.refuses(&format!("{target} {coding:?}"), &ask, 413, "MESSAGE_TOO_LARGE").await;
        }
    }
    let mut twice = Vec::new();
    compress::encode(Encoding::Gzip, &bombs[0].1, &mut twice).unwrap();
    let ask = post("/v1/put", twice).with("content-encoding", "gzip, gzip");
    attacked.refuses("twice", &ask, 413, "MESSAGE_TOO_LARGE").await;
    let ask = post("/v1/put", bombs[0].1.clone()).with("content-encoding", &"gzip, ".repeat(50));
    attacked.refuses("fifty codings", &ask, 415, "ENCODING_UNSUPPORTED").await;
    let half = bombs[0].1.slice(..bombs[0].1.len() / 2);
    let half = post("/v1/put", [b"".as_slice(), &half[..100]].concat()).with("content-encoding", "gzip");
    attacked.refuses("cut short", &half, 400, "REQUEST_INVALID").await;
    let odd = post("/v1/put", "{}").with("content-encoding", "zstd");
    attacked.refuses("no zstd", &odd, 400, "REQUEST_INVALID").await;
    let grown = peak() - before;
    assert!(grown < 64 << 20, "{grown} bytes for bombs of {BYTES}");
    attacked.survives_with_calls().await;
}

#[tokio::test]
async fn replies_that_are_bombs_are_refused() {
    let _alone = ALONE.write().await;
    let mut bomb = Vec::new();
    compress::encode(Encoding::Gzip, &vec![0; 256 << 20], &mut bomb).unwrap();
    let bomb = Bytes::from(bomb);
    let large = Bytes::from(vec![0; 5 << 20]);
    let service = Service::start(move |asked| {
        let probe: Probe = asked.one();
        match probe.id {
            1 => Told {
                head: vec![("grpc-encoding", "gzip")],
                frames: vec![frame(1, &bomb)],
                ..Told::default()
            },
            2 => Told::one(&Probe { blob: large.clone(), ..Probe::default() }),
            3 => Told::one(&HttpBody { data: large.clone(), ..HttpBody::default() }),
            _ => Told::one(&probe),
        }
    })
    .await;
    let mut attacked = Attacked::new(before(&service, ""), service);
    let before = measure();
    for (what, target) in [
        ("a bomb", "/v1/show?id=1"),
        ("over the limit", "/v1/show?id=2"),
        ("over the limit, as it is", "/v1/download?id=3"),
    ] {
        let answer = attacked.refuses(what, &get(target), 413, "MESSAGE_TOO_LARGE").await;
        assert_eq!(answer.json()["code"], 8, "{what}");
    }
    let grown = peak() - before;
    assert!(grown < 128 << 20, "{grown} bytes");
    attacked.survives_with_calls().await;
}

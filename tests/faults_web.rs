//! What clients do wrong in frames, in base64 and in fields: the same refusal in each dialect, in its own form.

#![expect(clippy::unwrap_used, reason = "a test may fail at any step")]

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;
use serde_json::Value;
use tonic_types::StatusExt;
use transom::demo::pb;
use transom::wire::compress;
use transom::wire::compress::Encoding;

use crate::raw::upstream;
use crate::raw::upstream::Act;
use crate::raw::upstream::Last;
use crate::raw::upstream::Script;
use crate::raw::upstream::Turn;
use crate::raw::upstream::Upstream;
use crate::raw::upstream::When;
use crate::raw::upstream::good;
use crate::support::Gateway;
use crate::support::Parts;
use crate::support::RawClient;
use crate::support::RawReply;
use crate::support::RawUpstream;
use crate::support::connect::Answer;
use crate::support::connect::Codec;
use crate::support::connect::Http;
use crate::support::connect::Sent;
use crate::support::connect::Way;
use crate::support::dialects_rest;
use crate::support::dialects_web::Answered;
use crate::support::dialects_web::Form;
use crate::support::dialects_web::Wrap;
use crate::support::dialects_web::padded;
use crate::support::dialects_web::unpadded;
use crate::support::frame;
use crate::support::grpc_head;
use crate::support::read_body;
use crate::support::soon;
use crate::support::trailers;
use crate::support::yaml;

const DISCUSS: &str = "/transom.demo.v1.Library/Discuss";

/// One way to send frames.
#[derive(Debug, Clone, Copy)]
enum Tongue {
    /// gRPC and gRPC-Web.
    Grpc(Form),
    /// Streams of Connect.
    Connect(Way),
}

/// A code and a reason.
type Refused = (i32, &'static str);

/// What a client was told.
#[derive(Debug)]
struct Said {
    code: i32,
    reason: String,
    message: String,
    frames: Vec<(u8, Bytes)>,
    /// Whether the status came before anything else could.
    is_alone: bool,
}

fn forms() -> impl Iterator<Item = Form> {
    let codecs = [Codec::Proto, Codec::Json];
    let native = codecs.map(|codec| Form { http: Http::Two, wrap: Wrap::Native, codec });
    let web = [Http::One, Http::Two].into_iter().flat_map(move |http| {
        let wraps = [Wrap::Binary, Wrap::Text].into_iter();
        wraps.flat_map(move |wrap| codecs.map(|codec| Form { http, wrap, codec }))
    });
    native.into_iter().chain(web)
}

fn tongues() -> impl Iterator<Item = Tongue> {
    let connect = [Http::One, Http::Two].into_iter().flat_map(|http| {
        [Codec::Proto, Codec::Json]
            .map(|codec| Tongue::Connect(Way { http, codec, coding: Encoding::Identity }))
    });
    forms().map(Tongue::Grpc).chain(connect)
}

impl Tongue {
    fn way(self) -> Way {
        match self {
            Self::Grpc(form) => Way { http: form.http, codec: form.codec, coding: Encoding::Identity },
            Self::Connect(way) => way,
        }
    }

    /// Whether the gateway reads messages of this form, rather than pass them as they are.
    fn is_read(self) -> bool {
        !matches!(self, Self::Grpc(Form { codec: Codec::Proto, .. }))
    }

    /// One message, framed.
    fn remark(self, id: &str) -> Bytes {
        let remark = pb::Remark { id: id.into(), ..Default::default() };
        frame(0, &self.way().written(DISCUSS, &remark.encode_to_vec()))
    }

    /// A request whose body is these frames, compressed in a way or in none.
    fn sent(self, frames: &[u8], coding: Encoding) -> Sent {
        match self {
            Self::Grpc(form) if coding == Encoding::Identity => form.sent(DISCUSS, frames),
            Self::Grpc(form) => form.sent(DISCUSS, frames).with("grpc-encoding", coding.name()),
            Self::Connect(way) => {
                let sent = Way { coding, ..way }.stream(DISCUSS, &[]);
                sent.body(Bytes::copy_from_slice(frames))
            }
        }
    }

    async fn say(self, sent: &Sent, gateway: &Gateway) -> Said {
        match self {
            Self::Grpc(form) => Said::of(form.send(sent, gateway.address()).await),
            Self::Connect(way) => Said::of_connect(&sent.send(way.http, gateway.address()).await),
        }
    }
}

impl Said {
    fn of(answered: Answered) -> Self {
        let status = answered.status();
        let info = status.get_details_error_info();
        assert!(info.as_ref().is_none_or(|info| info.domain == "transom"), "{answered:?}");
        assert!(!answered.headers.contains_key("x-evil"), "{answered:?}");
        assert!(answered.trailers.as_ref().is_none_or(|fields| !fields.contains_key("x-evil")));
        Self {
            code: status.code().into(),
            reason: info.map(|info| info.reason).unwrap_or_default(),
            message: status.message().into(),
            is_alone: answered.trailers.is_none(),
            frames: answered.frames,
        }
    }

    fn of_connect(answer: &Answer) -> Self {
        let (frames, end) = answer.envelopes();
        assert!(!answer.headers.contains_key("x-evil") && end["metadata"].get("x-evil").is_none());
        let error = &end["error"];
        let code = error["code"]
            .as_str()
            .map_or(0, |name| transom::call::connect::from_name(name).expect("a code of Connect").number());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let reason = text(&error["details"][0]["debug"]["reason"]);
        Self { code, reason, message: text(&error["message"]), is_alone: frames.is_empty(), frames }
    }
}

/// A gateway before a hand-written upstream, and what it has refused.
struct House {
    gateway: Gateway,
    upstream: Upstream,
    refused: BTreeMap<&'static str, f64>,
}

impl House {
    fn new(parts: Parts<'_>, script: impl Fn(Turn) -> Script + Send + Sync + 'static) -> Self {
        let upstream = Upstream::start(script);
        let gateway = Gateway::start(&yaml(&[upstream.address], parts));
        Self { gateway, upstream, refused: BTreeMap::new() }
    }

    async fn refuses(&mut self, what: &str, tongue: Tongue, sent: &Sent, (code, reason): Refused) -> Said {
        let said = tongue.say(sent, &self.gateway).await;
        self.refused(what, tongue, said, (code, reason))
    }

    fn refused(&mut self, what: &str, tongue: Tongue, said: Said, (code, reason): Refused) -> Said {
        assert_eq!((said.code, &*said.reason), (code, reason), "{what}, {tongue:?}: {said:?}");
        *self.refused.entry(reason).or_default() += 1.0;
        said
    }

    /// Others are served, the counters say what happened, and nothing is left.
    async fn serves_on(&self) {
        for tongue in tongues() {
            let said = tongue.say(&tongue.sent(&tongue.remark("x"), Encoding::Identity), &self.gateway).await;
            assert_eq!((said.code, said.frames.len()), (0, 1), "{tongue:?}: {said:?}");
        }
        self.is_well().await;
    }

    async fn is_well(&self) {
        for (reason, count) in &self.refused {
            self.gateway.until_metric("transom_refusals_total", &[("reason", reason)], *count).await;
        }
        self.gateway.until_metric("transom_open_calls", &[], 0.0).await;
        self.gateway.until_metric("transom_panics_total", &[], 0.0).await;
    }

    /// The same, and no bad request came to its end upstream.
    async fn survives(self) {
        assert_eq!(self.upstream.seen().ended, 0, "a bad request was completed");
        self.serves_on().await;
    }
}

fn answering(_: Turn) -> Script {
    (When::End, good())
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    compress::encode(Encoding::Gzip, bytes, &mut coded).unwrap();
    coded
}

/// Ten bytes of four gigabytes.
fn huge() -> Bytes {
    [&[0, 0xff, 0xff, 0xff, 0xff][..], &[7; 10]].concat().into()
}

/// Frames against the rules, with the encoding that the head names.
fn bad_frames(tongue: Tongue) -> Vec<(&'static str, Encoding, Vec<u8>, Refused)> {
    use Encoding::Gzip;
    use Encoding::Identity;
    let invalid = (13, "FRAME_INVALID");
    let too_large = (8, "MESSAGE_TOO_LARGE");
    let good = tongue.remark("a");
    let after = |bad: &[u8]| [&good, bad].concat();
    let trailers = frame(0x80, b"grpc-status: 0\r\n");
    vec![
        ("4 GiB", Identity, huge().into(), too_large),
        ("4 GiB after a message", Identity, after(&huge()), too_large),
        ("4 GiB, compressed", Gzip, [&[1], &huge()[1..]].concat(), too_large),
        ("flag 2", Identity, frame(2, b"x").into(), invalid),
        ("flag 4 after a message", Identity, after(&frame(4, b"x")), invalid),
        ("flag 3 of a compressed stream", Gzip, frame(3, &gzipped(b"x")).into(), invalid),
        ("flag 255", Identity, frame(255, b"").into(), invalid),
        ("compressed, no encoding named", Identity, frame(1, &gzipped(b"x")).into(), invalid),
        ("trailers from a client", Identity, trailers.to_vec(), invalid),
        ("trailers after a message", Identity, after(&trailers), invalid),
        ("a message after trailers", Identity, [&good[..], &trailers, &good].concat(), invalid),
        ("compressed trailers", Gzip, frame(0x81, &gzipped(b"x")).into(), invalid),
        ("ends in a header", Identity, after(&good[..3]), invalid),
        ("ends in a message", Identity, after(&good[..6]), invalid),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_against_the_rules_are_refused_alike() {
    let api = "policies: { validate: { max_message: 1KiB } }";
    let mut house = House::new(Parts { api, ..Parts::default() }, answering);
    let mut told: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for tongue in tongues() {
        for (what, coding, body, refusal) in bad_frames(tongue) {
            for cut in [0, 1] {
                let sent = Sent { cut, ..tongue.sent(&body, coding) };
                let said = house.refuses(what, tongue, &sent, refusal).await;
                assert!(said.is_alone, "{what}, {tongue:?}: {said:?}");
                // What ends in a message of JSON has another length.
                if what != "ends in a message" {
                    told.entry(what).or_default().insert(said.message);
                }
            }
        }
    }
    for (what, messages) in told {
        assert_eq!(messages.len(), 1, "{what}: {messages:?}");
    }
    house.survives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_is_announced_is_refused_before_it_comes_where_a_limit_holds() {
    let mut house = House::new(Parts::default(), answering);
    let address = house.gateway.address();
    for tongue in tongues() {
        // gRPC itself has no limit where none is set.
        if matches!(tongue, Tongue::Grpc(Form { wrap: Wrap::Native, codec: Codec::Proto, .. })) {
            continue;
        }
        let sent = tongue.sent(&huge(), Encoding::Identity);
        let answer = match tongue.way().http {
            Http::One => {
                let text = sent.bytes();
                let head = format!("content-length: {}\r\n", sent.body.len());
                let text = String::from_utf8_lossy(&text).replace(&head, "content-length: 5000000000\r\n");
                // The length that is announced isn't text, but for base64.
                let head = text.split_inclusive("\r\n\r\n").next().unwrap();
                let bytes = [head.as_bytes(), &sent.body].concat();
                Answer::parse(raw::talk(address, &bytes).await.as_bytes(), "POST")
            }
            Http::Two => {
                let client = RawClient::connect(address).await;
                let (response, mut sending) = client.open(sent.head(address)).await;
                sending.send_data(sent.body.clone(), false).unwrap();
                let reply = soon("a refusal", RawReply::read(response)).await.unwrap();
                Answer { status: reply.status.as_u16(), headers: reply.headers, body: reply.body }
            }
        };
        let said = match tongue {
            Tongue::Grpc(_) => {
                assert!(answer.body.is_empty(), "{tongue:?}: {answer:?}");
                Said::of(Answered { headers: answer.headers, frames: Vec::new(), trailers: None })
            }
            Tongue::Connect(_) => Said::of_connect(&answer),
        };
        house.refused("4 GiB", tongue, said, (8, "MESSAGE_TOO_LARGE"));
    }
    house.survives().await;
}

/// Answers each request with its own frames.
async fn echo() -> RawUpstream {
    RawUpstream::start(|request, mut respond| {
        Box::pin(async move {
            let (request, mut body) = request.into_parts();
            // A request that is refused is reset.
            let Ok(bytes) = read_body(&mut body).await else { return };
            let mut head = grpc_head();
            if let Some(encoding) = request.headers.get("grpc-encoding") {
                head.headers_mut().insert("grpc-encoding", encoding.clone());
            }
            let mut stream = respond.send_response(head, false).expect("the call is open");
            stream.send_data(bytes, false).expect("the call is open");
            stream.send_trailers(trailers(0)).expect("the call is open");
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_burst_are_refused_where_they_are_read() {
    let upstream = echo().await;
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    let bomb = gzipped(&vec![b' '; 64 << 20]);
    assert!(bomb.len() * 500 < 64 << 20, "{}", bomb.len());
    let frames = frame(1, &bomb);
    let mut refused = 0.0;
    for tongue in tongues() {
        let said = tongue.say(&tongue.sent(&frames, Encoding::Gzip), &gateway).await;
        if tongue.is_read() {
            let seen = (said.code, &*said.reason, said.frames.len());
            assert_eq!(seen, (8, "MESSAGE_TOO_LARGE", 0), "{tongue:?}: {}", said.message);
            refused += 1.0;
        } else {
            assert_eq!((said.code, said.frames.len()), (0, 1), "{tongue:?}: {}", said.message);
            assert!(said.frames[0] == (1, Bytes::from(bomb.clone())), "{tongue:?}: it passes as it is");
        }
    }
    let api = "dialects: [rest]";
    let rest = Gateway::start(&yaml(&[upstream.address], Parts { api, ..Parts::default() }));
    for http in [Http::One, Http::Two] {
        let sent = Sent::new("POST", DISCUSS)
            .with("content-type", "application/x-ndjson")
            .with("content-encoding", "gzip")
            .body(bomb.clone());
        let answer = sent.send(http, rest.address()).await;
        let status = dialects_rest::status(&answer.json());
        let reason = status.get_details_error_info().map(|info| info.reason);
        assert_eq!((i32::from(status.code()), reason.as_deref()), (8, Some("MESSAGE_TOO_LARGE")));
    }
    for (gateway, refused) in [(gateway, refused), (rest, 2.0)] {
        gateway.until_metric("transom_refusals_total", &[("reason", "MESSAGE_TOO_LARGE")], refused).await;
        gateway.until_metric("transom_open_calls", &[], 0.0).await;
        gateway.until_metric("transom_panics_total", &[], 0.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_burst_are_refused_where_they_are_read() {
    let bomb = gzipped(&vec![b' '; 64 << 20]);
    let reply = frame(1, &bomb);
    let mut house = House::new(Parts::default(), move |_| {
        let head = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", "gzip")];
        // A frame of HTTP/2 has 16 KiB at most.
        let data = reply.chunks(16 << 10).map(|part| Act::Data(Bytes::copy_from_slice(part), Last::No));
        let begin = std::iter::once(Act::Headers(head.into(), Last::No));
        (When::End, begin.chain(data).chain(good().into_iter().skip(2)).collect())
    });
    for tongue in tongues() {
        let sent = tongue.sent(&tongue.remark("x"), Encoding::Identity);
        if tongue.is_read() {
            let said = house.refuses("a bomb", tongue, &sent, (8, "MESSAGE_TOO_LARGE")).await;
            assert!(said.frames.is_empty() && said.message.contains("ask for less"), "{tongue:?}: {said:?}");
        } else {
            let said = tongue.say(&sent, &house.gateway).await;
            assert_eq!((said.code, said.frames.len()), (0, 1), "{tongue:?}: {}", said.message);
            assert!(said.frames[0] == (1, Bytes::from(bomb.clone())), "{tongue:?}: it passes as it is");
        }
    }
    house.is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_cut_of_a_request_gives_the_same() {
    let upstream = echo().await;
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    for tongue in tongues() {
        let body = ["a", "", "bc"].map(|id| tongue.remark(id)).concat();
        for coding in [Encoding::Identity, Encoding::Gzip] {
            // What isn't compressed may stand among what is.
            let flag = u8::from(coding == Encoding::Gzip);
            let more = frame(flag, &Way { coding, ..tongue.way() }.coded(tongue.remark("def")[5..].to_vec()));
            let sent = tongue.sent(&[&body[..], &more].concat(), coding);
            let whole = tongue.say(&sent, &gateway).await;
            assert_eq!((whole.code, whole.frames.len()), (0, 4), "{tongue:?} {coding:?}: {whole:?}");
            for cut in 1..=sent.body.len() {
                let said = tongue.say(&Sent { cut, ..sent.clone() }, &gateway).await;
                let same = said.code == 0 && said.frames == whole.frames;
                assert!(same, "{tongue:?} {coding:?} in pieces of {cut}: {said:?}");
            }
        }
    }
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
    gateway.until_metric("transom_refusals_total", &[], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_cut_of_a_reply_gives_the_same() {
    let answer = |id: &str| frame(0, &pb::Answer { id: id.into(), ..Default::default() }.encode_to_vec());
    let whole = [answer("a"), answer(""), answer("bcd")].concat();
    let len = whole.len();
    let house = House::new(Parts::default(), move |turn| {
        let (before, after) = whole.split_at(turn.call % (len + 1));
        let data = |part: &[u8]| Act::Data(Bytes::copy_from_slice(part), Last::No);
        let mut acts = good();
        acts.splice(1..2, [data(before), data(after)]);
        (When::End, acts)
    });
    for form in forms() {
        let tongue = Tongue::Grpc(form);
        let sent = tongue.sent(&tongue.remark("x"), Encoding::Identity);
        for at in 0..=len {
            let said = tongue.say(&sent, &house.gateway).await;
            let read = |(_, payload): &(u8, Bytes)| {
                pb::Answer::decode(tongue.way().read(DISCUSS, payload)).unwrap().id
            };
            assert!(said.frames.iter().map(read).eq(["a", "", "bcd"]), "{tongue:?}, {at}: {said:?}");
            assert_eq!(said.code, 0, "{tongue:?}, {at}: {said:?}");
        }
    }
    house.is_well().await;
}

/// Those that are base64.
fn texts() -> impl Iterator<Item = Tongue> {
    forms().filter(|form| form.wrap == Wrap::Text).map(Tongue::Grpc)
}

#[tokio::test(flavor = "multi_thread")]
async fn base64_against_the_rules_is_refused_wherever_it_is() {
    let bad = [
        "A",
        "AA",
        "AAA",
        "AA=",
        "====",
        "=AAA",
        "A=AA",
        "AA=A",
        "A AA",
        "AA\r\n",
        "AA-_",
        "AB==",
        "AAB=",
        "!!!!",
        "\0\0\0\0",
        "\u{e9}\u{e9}",
        "AA==A",
        "AA==AAA",
    ];
    let mut house = House::new(Parts::default(), answering);
    for tongue in texts() {
        let good = padded(&tongue.remark("a"));
        for bad in bad {
            for before in ["", &good] {
                for cut in [0, 1, 3] {
                    let body = format!("{before}{bad}");
                    let sent = Sent { cut, ..tongue.sent(b"", Encoding::Identity).body(body) };
                    let said = house.refuses(bad, tongue, &sent, (13, "FRAME_INVALID")).await;
                    assert!(said.message.contains("base64"), "{bad:?}: {said:?}");
                }
            }
        }
    }
    house.survives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_read_as_it_comes() {
    let (gateway, _backend) = support::demo(Parts::default());
    let client = RawClient::connect(gateway.address()).await;
    for tongue in texts().filter(|tongue| tongue.way().http == Http::Two) {
        let head = || tongue.sent(b"", Encoding::Identity).head(gateway.address());
        let (response, mut sending) = client.open(head()).await;
        let text = padded(&[tongue.remark("a"), tongue.remark("b")].concat());
        // The first message, and a part of the second that ends inside a quantum.
        let first = padded(&tongue.remark("a")).len() + 5;
        support::send_part(&mut sending, &text.as_bytes()[..first], 1);
        let mut body = soon("a head", response).await.unwrap().into_body();
        let data = soon("an answer", body.data()).await.unwrap().unwrap();
        assert_eq!(unpadded(&data)[0], 0, "the first answer comes before the second remark");
        support::send_part(&mut sending, &text.as_bytes()[first..], 1);
        let data = soon("an answer", body.data()).await.unwrap().unwrap();
        assert_eq!(unpadded(&data)[0], 0, "the second answer comes before the end");
        // What is wrong later is told in the trailers, at once.
        sending.send_data(Bytes::from_static(b"AA=A"), false).unwrap();
        let rest = unpadded(&soon("the end", read_body(&mut body)).await.unwrap());
        let said = String::from_utf8_lossy(&rest[5..]).into_owned();
        assert!(rest[0] == 0x80 && said.contains("grpc-status: 13\r\n") && said.contains("base64"), "{said}");
        // And in the headers, where nothing was said yet.
        let (response, mut sending) = client.open(head()).await;
        sending.send_data(Bytes::from_static(b"AAAA!"), false).unwrap();
        sending.send_data(Bytes::from_static(b"AAA"), false).unwrap();
        let reply = soon("a refusal", RawReply::read(response)).await.unwrap();
        assert_eq!((reply.code(), reply.reason().as_deref()), (Some(13), Some("FRAME_INVALID")), "{reply:?}");
    }
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
    gateway.until_metric("transom_panics_total", &[], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_breaks_off_has_its_trailers_all_the_same() {
    let begin = || good()[..2].to_vec();
    let then = |act| [begin(), vec![act]].concat();
    let endings = [
        ("no trailers", then(Act::Data(Bytes::new(), Last::Yes)), (13, "UPSTREAM_NO_STATUS")),
        (
            "trailers without a status",
            then(Act::Headers(vec![("x-other", "1")], Last::Yes)),
            (13, "UPSTREAM_NO_STATUS"),
        ),
        ("a reset", then(Act::Reset(2)), (13, "UPSTREAM_RESET")),
        ("a connection that closes", then(Act::Close), (14, "UPSTREAM_RESET")),
    ];
    for (what, acts, refusal) in endings {
        let mut house = House::new(Parts::default(), move |_| (When::End, acts.clone()));
        for tongue in tongues() {
            let sent = tongue.sent(&tongue.remark("x"), Encoding::Identity);
            let said = house.refuses(what, tongue, &sent, refusal).await;
            assert_eq!((said.frames.len(), said.is_alone), (1, false), "{what}, {tongue:?}: {said:?}");
        }
        house.is_well().await;
    }
}

const EVIL: &str = "a\r\nx-evil: 1\r\n\r\ngrpc-status: 0 100% \u{e9}";

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_write_is_told_without_new_fields() {
    let mut house = House::new(Parts::default(), answering);
    let json = serde_json::json!({ EVIL: 1 }).to_string();
    let mut told = BTreeSet::new();
    for tongue in tongues().filter(|tongue| tongue.way().codec == Codec::Json) {
        let sent = tongue.sent(&frame(0, json.as_bytes()), Encoding::Identity);
        told.insert(house.refuses("a name", tongue, &sent, (3, "REQUEST_INVALID")).await.message);
    }
    let api = "dialects: [rest]";
    let rest = Gateway::start(&yaml(&[house.upstream.address], Parts { api, ..Parts::default() }));
    for http in [Http::One, Http::Two] {
        let sent = Sent::new("POST", DISCUSS).with("content-type", "application/x-ndjson").body(json.clone());
        let answer = sent.send(http, rest.address()).await;
        assert!(!answer.headers.contains_key("x-evil"), "{answer:?}");
        let status = dialects_rest::status(&answer.json());
        let reason = status.get_details_error_info().map(|info| info.reason);
        assert_eq!((i32::from(status.code()), reason.as_deref()), (3, Some("REQUEST_INVALID")));
        assert!(status.message().contains("x-evil: 1"), "{status:?}");
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told.iter().all(|message| message.contains("x-evil: 1")), "{told:?}");
    house.survives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_services_say_is_told_without_new_fields() {
    // As gRPC has it, percent-encoded, before a message and after it; then raw, which HTTP/2 has not.
    let encoded = [("grpc-status", "9"), ("grpc-message", "a%0D%0Ax-evil: 1%0D%0A 100%25 %C3%A9")];
    let raw = [("grpc-status", "9"), ("grpc-message", "a\r\nx-evil: 1")];
    let raw_bin = [("grpc-status", "9"), ("x-note-bin", "AAAA\r\nx-evil: 1")];
    let alone = |fields: [(&'static str, &'static str); 2]| {
        let head = [(":status", "200"), ("content-type", "application/grpc")];
        vec![Act::Headers(head.into_iter().chain(fields).collect(), Last::Yes)]
    };
    let after = |fields: [(&'static str, &'static str); 2]| {
        [&good()[..2], &[Act::Headers(fields.into(), Last::Yes)]].concat()
    };
    // Some services don't encode; without a control there is nothing that it could break.
    let latin = [("grpc-status", "9"), ("grpc-message", "caf\u{e9}, 100%, %zz %")];
    let told = "a\r\nx-evil: 1\r\n 100% \u{e9}";
    let as_it_is = "caf\u{e9}, 100%, %zz %";
    for (acts, told) in
        [(alone(encoded), told), (after(encoded), told), (alone(latin), as_it_is), (after(latin), as_it_is)]
    {
        let house = House::new(Parts::default(), move |_| (When::End, acts.clone()));
        for tongue in tongues() {
            let sent = tongue.sent(&tongue.remark("x"), Encoding::Identity);
            let said = tongue.say(&sent, &house.gateway).await;
            assert_eq!((said.code, &*said.message), (9, told), "{tongue:?}: {said:?}");
        }
        house.is_well().await;
    }
    for acts in [alone(raw), after(raw), alone(raw_bin), after(raw_bin)] {
        let mut house = House::new(Parts::default(), move |_| (When::End, acts.clone()));
        for tongue in tongues() {
            let sent = tongue.sent(&tongue.remark("x"), Encoding::Identity);
            house.refuses("a raw line end", tongue, &sent, (14, "UPSTREAM_RESET")).await;
        }
        house.is_well().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_with_line_ends_never_come_in() {
    let house = House::new(Parts::default(), answering);
    let fields = [
        ("x-note", "a\r\nx-evil: 1"),
        ("x-note-bin", "AAAA\r\nx-evil: 1"),
        ("x-note-bin", "AAAA\nx-evil: 1"),
        ("grpc-timeout", "1S\r\nx-evil: 1"),
        ("grpc-metadata-x", "a\0b"),
    ];
    for tongue in tongues() {
        for field in fields {
            let sent = tongue.sent(&tongue.remark("x"), Encoding::Identity).with(field.0, field.1);
            match tongue.way().http {
                Http::One => {
                    let text = raw::talk(house.gateway.address(), &sent.bytes()).await;
                    // After CR LF there is another field, which is the client's to send.
                    let is_two = field.1.contains("\r\n");
                    let want = if is_two { "HTTP/1.1 200 " } else { "HTTP/1.1 400 " };
                    assert!(text.starts_with(want), "{tongue:?}, {field:?}: {text}");
                }
                Http::Two => {
                    let mut bytes = upstream::PREFACE.to_vec();
                    let mut list = vec![(":method", "POST"), (":scheme", "http"), (":path", DISCUSS)];
                    list.push((":authority", "library.test"));
                    list.extend(sent.fields.iter().map(|(name, value)| (&**name, &**value)));
                    let block = upstream::block(&list);
                    bytes.extend(upstream::frame_of(upstream::SETTINGS, 0, 0, &[]));
                    bytes.extend(upstream::frame_of(upstream::HEADERS, upstream::END_HEADERS, 1, &block));
                    bytes.extend(upstream::frame_of(upstream::DATA, upstream::END, 1, &sent.body));
                    let kinds = until_reset(&house.gateway, &bytes).await;
                    assert!(!kinds.contains(&upstream::HEADERS), "{tongue:?}, {field:?}: {kinds:?}");
                }
            }
        }
    }
    house.serves_on().await;
}

/// Sends bytes, and reads the kinds of frames until the stream or the connection is given up.
async fn until_reset(gateway: &Gateway, bytes: &[u8]) -> Vec<u8> {
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    const GOAWAY: u8 = 7;
    let mut socket = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut kinds = Vec::new();
    while !kinds.iter().any(|kind| [upstream::RST_STREAM, GOAWAY, upstream::HEADERS].contains(kind)) {
        let mut head = [0; 9];
        soon("a frame", socket.read_exact(&mut head)).await.unwrap();
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        soon("its payload", socket.read_exact(&mut payload)).await.unwrap();
        kinds.push(head[3]);
    }
    kinds
}

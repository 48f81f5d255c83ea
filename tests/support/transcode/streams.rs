//! Runs bodies and replies through the REST dialect, cut in different ways: any cut must tell the same.

use std::sync::Arc;
use std::sync::LazyLock;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Request;
use http::header;
use prost_reflect::MessageDescriptor;
use serde_json::Value as Json;
use transom::bridge::Bridge as _;
use transom::bridge::Ending;
use transom::bridge::Event;
use transom::bridge::Opened;
use transom::bridge::Out;
use transom::bridge::rest::Endpoint;
use transom::bridge::rest::Method;
use transom::bridge::rest::Options;
use transom::bridge::rest::Rest;
use transom::call::Idempotency;
use transom::call::Kind;
use transom::call::Refusal;
use transom::schema::Limits;
use transom::schema::compile;
use transom::transcode::Plans;
use transom::wire::compress;
use transom::wire::compress::Encoding;
use transom::wire::frame::encode_header;

use super::json::JsonMaker;
use super::json::mutate_text;
use super::script::Script;
use super::wire::WireMaker;
use super::wire::mutate_bytes;

/// Runs a script: a request body or a reply, then cuts of it as long as the script lasts.
///
/// # Panics
/// When two cuts tell different things, or a reply is not what its media type says.
pub(crate) fn drive(script: &[u8]) {
    let mut script = Script::new(script);
    if script.below(2) == 0 { request(&mut script) } else { reply(&mut script) }
}

const PROTO: &str = r#"
    syntax = "proto3"; package s;
    import "google/api/httpbody.proto"; import "google/protobuf/struct.proto"; import "google/protobuf/any.proto";
    message Note { int32 id = 1; string text = 2; repeated Note notes = 3; google.protobuf.Value value = 4;
      map<string, int64> counts = 5; bytes raw = 6; google.protobuf.Any any = 7; }
"#;

struct Fixture {
    note: MessageDescriptor,
    /// By kind: unary, client stream, server stream, both; then the same with raw bytes.
    endpoints: Vec<Arc<Endpoint>>,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let files = vec![("s.proto".to_owned(), PROTO.as_bytes().to_vec())];
    let schema = compile::protos(files, &[], &Limits::default()).expect("the schema compiles");
    let pool = schema.pool().clone();
    let plans = Arc::new(Plans::new(pool.clone(), schema.traits().clone()));
    let options = Arc::new(Options::default());
    let mut endpoints = Vec::new();
    for name in ["s.Note", "google.api.HttpBody"] {
        let id = plans.find(name).expect("the schema has it");
        for kind in [Kind::Unary, Kind::ClientStream, Kind::ServerStream, Kind::Bidi] {
            let method = Method {
                plans: plans.clone(),
                input: id,
                output: id,
                kind,
                idempotency: Idempotency::Unknown,
                options: options.clone(),
            };
            endpoints
                .push(Arc::new(Endpoint::without_rule(Arc::new(method)).expect("there is no rule to break")));
        }
    }
    Fixture { note: pool.get_message_by_name("s.Note").expect("the schema has it"), endpoints }
});

fn open(endpoint: &Arc<Endpoint>, headers: &[(header::HeaderName, &str)]) -> Opened {
    let mut request = Request::post("/s.S/M");
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let (mut head, ()) = request.body(()).expect("the head is well-formed").into_parts();
    let opened = Rest::new(endpoint.clone(), Vec::new()).open(&mut head, None);
    opened.unwrap_or_else(|refusal| panic!("the head is refused: {refusal:?}"))
}

/// A body cut in some way.
fn cut(script: &mut Script<'_>, body: &[u8], way: usize) -> Vec<Bytes> {
    let chunk_max = match way {
        0 => return vec![Bytes::copy_from_slice(body)],
        1 => return body.chunks(1).map(Bytes::copy_from_slice).collect(),
        2 => 3,
        _ => 1 + script.below(200),
    };
    let (mut rest, mut chunks) = (body, Vec::new());
    while !rest.is_empty() {
        let (now, later) =
            rest.split_at(script.below(chunk_max + 1).clamp(usize::from(script.is_over()), rest.len()));
        chunks.push(Bytes::copy_from_slice(now));
        rest = later;
    }
    chunks
}

fn request(script: &mut Script<'_>) {
    let content_type = script.pick(&["application/json", "application/x-ndjson"]);
    let kind = script.below(4);
    let body = request_body(script);
    let coding = script.pick(&[
        Encoding::Identity,
        Encoding::Identity,
        Encoding::Gzip,
        Encoding::Zstd,
        Encoding::Brotli,
    ]);
    let mut coded = Vec::new();
    compress::encode(coding, &body, &mut coded).expect("there is memory");
    let is_broken = coding != Encoding::Identity && script.one_in(6);
    if is_broken {
        mutate_bytes(&mut coded, script);
    }
    let bytes_max = script.pick(&[1 << 20, 1 << 20, 40]);
    let mut headers = vec![(header::CONTENT_TYPE, content_type)];
    if coding != Encoding::Identity {
        headers.push((header::CONTENT_ENCODING, coding.name()));
    }
    let run = |chunks: Vec<Bytes>| -> (Vec<u8>, Option<Refusal>) {
        let opened = open(&FIXTURE.endpoints[kind], &headers);
        let mut decoder = opened.decoder.expect("REST reads bodies");
        let mut frames = Vec::new();
        let read = decoder.limit(bytes_max).and_then(|()| {
            chunks
                .into_iter()
                .try_for_each(|chunk| decoder.push(chunk, &mut frames))
                .and_then(|()| decoder.end(&mut frames))
        });
        (frames, read.err())
    };
    let (frames, refusal) = run(cut(script, &coded, 0));
    for way in 1..WAYS {
        let (again, refused) = run(cut(script, &coded, way));
        let told = |refusal: &Option<Refusal>| {
            refusal.as_ref().map(|refusal| (refusal.reason, refusal.told.clone()))
        };
        let shown = String::from_utf8_lossy(&body);
        let case = format!(
            "{content_type} {coding:?} kind {kind} within {bytes_max} bytes, way {way}: {shown}\nas sent: {coded:02x?}"
        );
        // Of a broken coding and a fault in what it codes either may be seen first; and of a frame that comes whole
        // libzstd checks more, such as the size that its header gives.
        if !is_broken {
            assert_eq!(told(&refused), told(&refusal), "another cut, another refusal\n{case}");
        }
        if refusal.is_none() && refused.is_none() {
            assert!(again == frames, "another cut, other messages\n{again:02x?}\n{frames:02x?}\n{case}");
        }
    }
}

fn request_body(script: &mut Script<'_>) -> Vec<u8> {
    let odd = script.pick(&[0, 30, 6]);
    let separator = script.pick(&[",", "\n", "\n", " ", ""]);
    let mut body = if separator == "," { "[".to_owned() } else { String::new() };
    for at in 0..script.below(6) {
        body.push_str(if at == 0 { "" } else { separator });
        let mut maker = JsonMaker { script, odd, out: String::new() };
        maker.message(&FIXTURE.note, 0);
        // Lines hold no line breaks, but for some.
        let text = maker.out;
        body.push_str(&if script.one_in(8) { text } else { text.replace('\n', " ") });
    }
    if separator == "," {
        body.push(']');
    }
    let mut body = body.into_bytes();
    if script.one_in(3) {
        mutate_text(&mut body, script);
    }
    body
}

fn reply(script: &mut Script<'_>) {
    let kind = script.below(8);
    let accept = script.pick(&["application/json", "application/x-ndjson", "text/event-stream"]);
    let coding = script.pick(&["identity", "gzip", "zstd", "br"]);
    let upstream = script.pick(&[Encoding::Identity, Encoding::Gzip]);
    let (mut frames, mut messages) = (Vec::new(), 0);
    for _ in 0..script.below(5) {
        let odd = script.pick(&[0, 0, 30]);
        let mut message = WireMaker { script, odd }.message(&FIXTURE.note, 1);
        if script.one_in(8) {
            mutate_bytes(&mut message, script);
        }
        let is_compressed = upstream != Encoding::Identity && script.one_in(2);
        if is_compressed {
            let plain = std::mem::take(&mut message);
            compress::encode(upstream, &plain, &mut message).expect("there is memory");
        }
        frames.extend(encode_header(is_compressed, u32::try_from(message.len()).expect("it is small")));
        frames.extend(message);
        messages += 1;
    }
    if script.one_in(8) {
        mutate_bytes(&mut frames, script);
    }
    let status = script.pick(&["0", "0", "5"]);
    let bytes_max = script.pick(&[1 << 20, 1 << 20, 30]);
    let run = |chunks| answered(kind, [accept, coding], upstream, bytes_max, status, chunks);
    let case = |way: usize| {
        format!(
            "{accept} {coding} kind {kind} status {status} within {bytes_max} bytes, way {way}: {frames:02x?}"
        )
    };
    let whole = run(cut(script, &frames, 0));
    whole.check(accept, kind, messages, &case(0));
    for way in 1..WAYS {
        let again = run(cut(script, &frames, way));
        assert_eq!(again.head, whole.head, "another cut, another head\n{}", case(way));
        assert_eq!(again.end, whole.end, "another cut, another end\n{}", case(way));
        let text = |said: &Said| String::from_utf8_lossy(&said.plain()).into_owned();
        assert_eq!(text(&again), text(&whole), "another cut, another body\n{}", case(way));
    }
}

/// The response to a call: `accept` is what the client accepts, a type and a coding.
fn answered(
    kind: usize,
    accept: [&str; 2],
    upstream: Encoding,
    bytes_max: usize,
    status: &'static str,
    chunks: Vec<Bytes>,
) -> Said {
    let headers = [(header::ACCEPT, accept[0]), (header::ACCEPT_ENCODING, accept[1])];
    let mut opened = open(&FIXTURE.endpoints[kind], &headers);
    opened.encoder.limit(bytes_max);
    let mut said = Said::default();
    let mut head = HeaderMap::new();
    head.insert("grpc-encoding", HeaderValue::from_static(upstream.name()));
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    let frames = chunks.into_iter().map(Event::Frames);
    for event in std::iter::once(Event::Head(head)).chain(frames).chain([Event::End(trailers)]) {
        let mut out = Out::default();
        if let Err(refusal) = opened.encoder.push(event, &mut out) {
            let told = opened.encoder.push(Event::Refused(&refusal), &mut out);
            assert!(told.is_ok(), "a refusal is always told");
        }
        said.take(out);
        if said.end.is_some() {
            break;
        }
    }
    said
}

/// The body of a stream whose upstream sends these messages in one chunk, and its end.
pub(crate) fn stream_of(accept: &str, messages: &[&[u8]]) -> (String, Option<&'static str>) {
    let frame = |message: &&[u8]| {
        let len = u32::try_from(message.len()).expect("it is small");
        [&encode_header(false, len), *message].concat()
    };
    let frames: Vec<u8> = messages.iter().flat_map(frame).collect();
    let said = answered(2, [accept, "identity"], Encoding::Identity, 1000, "0", vec![frames.into()]);
    (String::from_utf8_lossy(&said.body).into_owned(), said.end)
}

/// What a client sees of a response.
#[derive(Debug, Default)]
struct Said {
    head: Option<(u16, Vec<(String, String)>)>,
    body: Vec<u8>,
    end: Option<&'static str>,
}

impl Said {
    fn take(&mut self, out: Out) {
        if let Some(head) = out.head {
            assert!(self.head.is_none(), "one head");
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers = head.headers().iter();
            let mut headers: Vec<_> = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
            headers.sort();
            self.head = Some((head.status().as_u16(), headers));
        }
        self.body.extend_from_slice(&out.data.unwrap_or_default());
        self.end = out.end.map(|end| match end {
            Ending::Trailers(_) => "trailers",
            Ending::Done => "done",
            Ending::Abort(_) => "abort",
        });
    }

    fn header(&self, wanted: &str) -> &str {
        let headers = self.head.as_ref().map(|(_, headers)| headers.as_slice()).unwrap_or_default();
        headers.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| value)
    }

    /// The body as it was before it was coded.
    fn plain(&self) -> Vec<u8> {
        let coding =
            Encoding::from_name(self.header("content-encoding").as_bytes()).unwrap_or(Encoding::Identity);
        let mut plain = Vec::new();
        compress::decode(&[coding], &self.body, compress::Limits::bytes(1 << 30), &mut plain)
            .expect("the body is whole");
        plain
    }

    /// The body is what the head says.
    fn check(&self, accept: &str, kind: usize, messages: usize, case: &str) {
        let status = self.head.as_ref().map(|(status, _)| *status).expect("a head comes before the end");
        assert!(self.end.is_some(), "there is an end\n{case}");
        let plain = self.plain();
        let is_json = |text: &[u8]| serde_json::from_slice::<Json>(text).is_ok();
        if status != 200 || kind == 0 || kind == 1 {
            assert_eq!(self.end, Some("done"), "{case}");
            assert!(kind > 3 || is_json(&plain), "{case}\n{}", String::from_utf8_lossy(&plain));
            return;
        }
        if kind > 3 {
            return;
        }
        let shown = String::from_utf8_lossy(&plain).into_owned();
        match accept {
            "application/json" => {
                let is_cut = self.end == Some("abort");
                let text = if is_cut { format!("{shown}]") } else { shown.clone() };
                let elements: Vec<Json> =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {shown}\n{case}"));
                let is_error = elements.last().is_some_and(|last| last.get("error").is_some());
                assert_eq!(is_error, is_cut, "{shown}\n{case}");
                assert!(elements.len() <= messages + usize::from(is_cut) || is_error, "{shown}\n{case}");
            }
            "application/x-ndjson" => {
                assert_eq!(self.end, Some("done"), "{case}");
                assert!(shown.is_empty() || shown.ends_with('\n'), "{shown}\n{case}");
                assert!(shown.lines().all(|line| is_json(line.as_bytes())), "{shown}\n{case}");
            }
            _ => {
                assert_eq!(self.end, Some("done"), "{case}");
                let events: Vec<&str> = shown.split_terminator("\n\n").collect();
                let last = events.last().copied().unwrap_or_default();
                assert!(
                    last.starts_with("event: end\n") || last.starts_with("event: error\n"),
                    "{shown}\n{case}"
                );
                for (at, event) in events[..events.len() - 1].iter().enumerate() {
                    assert!(event.starts_with(&format!("id: {}\ndata: ", at + 1)), "{shown}\n{case}");
                }
            }
        }
    }
}

/// Ways to cut a body.
const WAYS: usize = 5;

//! REST as a dialect of the matrix: messages as JSON on the method's own path, streams in each of their forms.

use std::net::SocketAddr;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_reflect::DynamicMessage;
use prost_reflect::MessageDescriptor;
use serde_json::Value;
use tonic::Code;
use tonic::Status;
use tonic_types::pb;
use transom::wire::compress;
use transom::wire::compress::Encoding;

use crate::support::RawClient;
use crate::support::dialects::Ask;
use crate::support::dialects::Calling;
use crate::support::dialects::Compression;
use crate::support::dialects::Told;
use crate::support::send_cut;

/// Where the API is that takes JSON as REST on the methods' own paths.
pub(crate) const HOST: &str = "rest.test";

/// How streams are framed, both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Array,
    Lines,
    /// Replies alone; requests are lines.
    Events,
}

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(transom::demo::FILE_DESCRIPTOR_SET).expect("the demo's own descriptors are good")
});

pub(crate) fn array(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    Box::pin(call(address, compression, ask, Form::Array))
}

pub(crate) fn lines(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    Box::pin(call(address, compression, ask, Form::Lines))
}

pub(crate) fn events(address: SocketAddr, compression: Compression, ask: Ask) -> Calling {
    Box::pin(call(address, compression, ask, Form::Events))
}

/// A method as its descriptor has it.
struct Shape {
    input: MessageDescriptor,
    output: MessageDescriptor,
    streams: (bool, bool),
}

fn shape(path: &str) -> Option<Shape> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let service = POOL.get_service_by_name(service)?;
    let method = service.methods().find(|found| found.name() == method)?;
    let streams = (method.is_client_streaming(), method.is_server_streaming());
    Some(Shape { input: method.input(), output: method.output(), streams })
}

async fn call(address: SocketAddr, compression: Compression, ask: Ask, form: Form) -> Told {
    let shape = shape(&ask.path);
    let (content_type, body) = request_body(shape.as_ref(), &ask.messages, form);
    let accept = match form {
        Form::Array => "application/json",
        Form::Lines => "application/x-ndjson",
        Form::Events => "text/event-stream",
    };
    let mut head = http::Request::post(format!("http://{HOST}{}", ask.path))
        .header("content-type", content_type)
        .header("accept", accept);
    let headers = head.headers_mut().expect("the parts are good");
    for (name, value) in &ask.metadata {
        headers.append(name, value.clone());
    }
    if let Some(timeout) = ask.timeout {
        head = head.header("grpc-timeout", format!("{}m", timeout.as_millis()));
    }
    let mut sent = body.into_bytes();
    if compression == Compression::Gzip {
        let mut coded = Vec::new();
        compress::encode(Encoding::Gzip, &sent, &mut coded).expect("there is memory");
        sent = coded;
        head = head.header("content-encoding", "gzip").header("accept-encoding", "gzip");
    }
    let client = RawClient::connect(address).await;
    let (response, mut sending) = client.open(head.body(()).expect("the parts are good")).await;
    send_cut(&mut sending, sent.into(), ask.cut);
    let (head, mut stream) = response.await.expect("a head comes").into_parts();
    let (mut body, mut is_whole) = (BytesMut::new(), true);
    while let Some(chunk) = stream.data().await {
        let Ok(chunk) = chunk else {
            is_whole = false;
            break;
        };
        stream.flow_control().release_capacity(chunk.len()).expect("it was taken");
        body.extend_from_slice(&chunk);
    }
    let coding = head.headers.get("content-encoding").map(http::HeaderValue::as_bytes);
    let body = match coding {
        Some(b"gzip") => {
            let mut plain = Vec::new();
            let limits = compress::Limits { bytes_max: 64 << 20, ratio_max: u32::MAX };
            compress::decode(&[Encoding::Gzip], &body, limits, &mut plain).expect("it is gzip");
            plain
        }
        Some(other) => panic!("{other:?} is not what was asked for"),
        None => body.to_vec(),
    };
    if head.status != 200 {
        let json = serde_json::from_slice(&body).expect("errors are JSON");
        return told(head.headers, Vec::new(), status(&json));
    }
    let shape = shape.expect("a method that answers is known");
    let (values, failed) = match (shape.streams.1, form) {
        (false, _) => (vec![serde_json::from_slice(&body).expect("the reply is JSON")], None),
        (true, Form::Array) => of_array(&body, is_whole),
        (true, Form::Lines) => of_lines(&body, is_whole),
        (true, Form::Events) => of_events(&body, is_whole),
    };
    let encoded = |value: Value| {
        let message = DynamicMessage::deserialize(shape.output.clone(), value).expect("it is such a message");
        Bytes::from(message.encode_to_vec())
    };
    let status = failed.map_or_else(|| Status::ok(""), |failed| status(&failed));
    told(head.headers, values.into_iter().map(encoded).collect(), status)
}

fn told(leading: HeaderMap, messages: Vec<Bytes>, status: Status) -> Told {
    Told { leading, messages, trailing: HeaderMap::new(), status }
}

fn request_body(shape: Option<&Shape>, messages: &[Bytes], form: Form) -> (&'static str, String) {
    let Some(shape) = shape else { return ("application/json", "{}".into()) };
    let texts = messages.iter().map(|message| {
        let message = DynamicMessage::decode(shape.input.clone(), message.clone()).expect("it was encoded");
        serde_json::to_string(&message).expect("it has a JSON form")
    });
    let texts: Vec<String> = texts.collect();
    match (shape.streams.0, form) {
        (false, _) => ("application/json", texts.concat()),
        (true, Form::Array) => ("application/json", format!("[{}]", texts.join(","))),
        (true, _) => ("application/x-ndjson", texts.iter().map(|text| format!("{text}\n")).collect()),
    }
}

/// The error that a last value is, where it is one.
fn split_error(mut values: Vec<Value>) -> (Vec<Value>, Option<Value>) {
    match values.last().and_then(|last| last.get("error")).cloned() {
        Some(error) => {
            values.pop();
            (values, Some(error))
        }
        None => (values, None),
    }
}

fn of_array(body: &[u8], is_whole: bool) -> (Vec<Value>, Option<Value>) {
    if is_whole {
        return (serde_json::from_slice(body).expect("the reply is an array"), None);
    }
    let mut rest = body.strip_prefix(b"[").expect("an array begins");
    let mut values = Vec::new();
    loop {
        let mut one = serde_json::Deserializer::from_slice(rest).into_iter::<Value>();
        values.push(one.next().expect("a value").expect("whole values"));
        let end = one.byte_offset();
        match rest[end..].split_first() {
            Some((b',', after)) => rest = after,
            None => break,
            other => panic!("{other:?} follows a value"),
        }
    }
    let (values, error) = split_error(values);
    (values, Some(error.expect("what is cut says why")))
}

fn of_lines(body: &[u8], is_whole: bool) -> (Vec<Value>, Option<Value>) {
    assert!(is_whole, "lines end in order");
    let lines = body.split_inclusive(|byte| *byte == b'\n');
    split_error(lines.map(|line| serde_json::from_slice(line).expect("each line is JSON")).collect())
}

fn of_events(body: &[u8], is_whole: bool) -> (Vec<Value>, Option<Value>) {
    assert!(is_whole, "events end in order");
    let text = std::str::from_utf8(body).expect("events are UTF-8");
    let mut values = Vec::new();
    for event in text.split_terminator("\n\n").filter(|event| !event.starts_with(':')) {
        let (kind, data) = event.split_once('\n').expect("two lines");
        let data = data.strip_prefix("data: ").expect("data follows");
        let data: Value = serde_json::from_str(data).expect("data is JSON");
        match kind {
            "event: end" => return (values, None),
            "event: error" => return (values, Some(data)),
            id => assert_eq!(id, format!("id: {}", values.len() + 1)),
        }
        values.push(data);
    }
    panic!("no event says how it ended: {text}");
}

/// A `google.rpc.Status` as JSON, with those of its details that the laws look at.
pub(crate) fn status(json: &Value) -> Status {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut details = Vec::new();
    for detail in json["details"].as_array().expect("details are a list") {
        let name = detail["@type"].as_str().expect("a detail has a type");
        let value = match detail["value"].as_str() {
            // One that the module doesn't declare.
            Some(opaque) => STANDARD.decode(opaque).expect("it is base64"),
            None if name.ends_with("google.rpc.ErrorInfo") => {
                let (reason, domain) = (text(&detail["reason"]), text(&detail["domain"]));
                pb::ErrorInfo { reason, domain, ..pb::ErrorInfo::default() }.encode_to_vec()
            }
            None if name.ends_with("google.rpc.ResourceInfo") => {
                let resource_name = text(&detail["resourceName"]);
                pb::ResourceInfo { resource_name, ..pb::ResourceInfo::default() }.encode_to_vec()
            }
            None => continue,
        };
        details.push(prost_types::Any { type_url: name.into(), value });
    }
    let code = i32::try_from(json["code"].as_i64().expect("a code")).expect("a small number");
    let message = text(&json["message"]);
    let whole = pb::Status { code, message: message.clone(), details };
    Status::with_details(Code::from(code), message, whole.encode_to_vec().into())
}

//! The testee of protobuf's conformance suite: Transom's transcoder behind the suite's protocol.
//!
//! `tests/conformance/protobuf/run.sh target/release/examples/conformance_testee` runs the suite on it.
//! Its last argument is the folder of the suite's `.proto` files, or a descriptor set of them.

use std::error::Error;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use prost::Message;
use prost_reflect::DynamicMessage;
use prost_reflect::FieldDescriptor;
use prost_reflect::Value;

use transom::schema::Fault;
use transom::schema::Limits;
use transom::schema::Schema;
use transom::schema::compile;
use transom::schema::source;
use transom::transcode::Bound;
use transom::transcode::Cause;
use transom::transcode::MessageId;
use transom::transcode::Plans;
use transom::transcode::ReadOptions;
use transom::transcode::Unknown;
use transom::transcode::WriteOptions;
use transom::transcode::read;
use transom::transcode::write;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().next_back().ok_or("name the suite's folder or descriptor set")?;
    let schema = load(Path::new(&path)).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        faults.join("\n")
    })?;
    let testee = Testee { plans: Plans::new(schema.pool().clone(), schema.traits().clone()), schema };
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    while let Some(request) = next(&mut input)? {
        let result = Some(testee.answer(Request::decode(request)?));
        let response = Response { result }.encode_to_vec();
        output.write_all(&u32::try_from(response.len())?.to_le_bytes())?;
        output.write_all(&response)?;
        output.flush()?;
    }
    Ok(())
}

fn load(path: &Path) -> Result<Schema, Vec<Fault>> {
    let limits = Limits::default();
    if path.is_file() {
        return compile::descriptor_set(&source::descriptor_set(path, &limits)?, &[], &limits);
    }
    let mut files = Vec::new();
    for name in
        ["conformance/messages/test_messages_proto2.proto", "conformance/messages/test_messages_proto3.proto"]
    {
        let read = source::protos(&path.join(name), &limits)?;
        files.extend(read.into_iter().map(|(_, text)| (name.to_owned(), text)));
    }
    compile::protos(files, &[], &limits)
}

/// The next request; none once the suite has no more.
fn next(input: &mut impl Read) -> io::Result<Option<Bytes>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_le_bytes(length);
    let mut request = Vec::new();
    input.take(length.into()).read_to_end(&mut request)?;
    let whole = u64::try_from(request.len()).is_ok_and(|read| read == u64::from(length));
    if whole { Ok(Some(request.into())) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

struct Testee {
    schema: Schema,
    plans: Plans,
}

impl Testee {
    fn answer(&self, request: Request) -> Answer {
        if request.message_type == "conformance.FailureSet" {
            return Answer::Protobuf(Vec::new()); // the failures that are expected: none
        }
        let Some(root) = self.plans.find(&request.message_type) else {
            return Answer::Skipped(format!("there is no message {}", request.message_type));
        };
        let unknown = match request.test_category {
            JSON_IGNORE_UNKNOWN_PARSING_TEST => Unknown::Ignore,
            _ => Unknown::Reject,
        };
        match (request.payload, request.requested_output_format) {
            (Some(Payload::Protobuf(bytes)), PROTOBUF) => self.again(&request.message_type, root, bytes),
            (Some(Payload::Protobuf(bytes)), JSON) => self.json(root, &bytes),
            (Some(Payload::Json(text)), format @ (PROTOBUF | JSON)) => {
                let mut bytes = Vec::new();
                let options = ReadOptions { unknown_fields: unknown, ..ReadOptions::default() };
                match read(&self.plans, root, text.as_bytes(), &Bound::empty(), &options, &mut bytes) {
                    Err(error) => Answer::ParseError(error.to_string()),
                    Ok(()) if format == PROTOBUF => Answer::Protobuf(bytes),
                    Ok(()) => self.json(root, &bytes),
                }
            }
            _ => Answer::Skipped("only binary and JSON are of concern to a gateway".to_owned()),
        }
    }

    fn json(&self, root: MessageId, message: &[u8]) -> Answer {
        let mut text = Vec::new();
        match write(&self.plans, root, message, &WriteOptions::default(), &mut text) {
            Err(error) if error.cause == Cause::Malformed => Answer::ParseError(error.to_string()),
            Err(error) => Answer::SerializeError(error.to_string()),
            Ok(()) => String::from_utf8(text)
                .map_or_else(|_| Answer::RuntimeError("the JSON is not UTF-8".to_owned()), Answer::Json),
        }
    }

    /// Protobuf that stays protobuf passes a gateway as it is. What is judged here is how descriptors are
    /// read, those of editions above all, and that the transcoder refuses what is malformed.
    fn again(&self, name: &str, root: MessageId, message: Bytes) -> Answer {
        if let answer @ Answer::ParseError(_) = self.json(root, &message) {
            return answer;
        }
        let Some(descriptor) = self.schema.pool().get_message_by_name(name) else {
            return Answer::RuntimeError(format!("there is no descriptor of {name}"));
        };
        match DynamicMessage::decode(descriptor, message) {
            Err(error) => Answer::ParseError(error.to_string()),
            Ok(mut message) => {
                self.clear_defaults(&mut message);
                Answer::Protobuf(message.encode_to_vec())
            }
        }
    }

    /// What has no presence is not written where it is the default. In the pool, fields of editions all
    /// have presence; whether they have is a trait.
    fn clear_defaults(&self, message: &mut DynamicMessage) {
        let traits = self.schema.traits();
        let idle: Vec<FieldDescriptor> = message
            .fields()
            .filter(|(field, value)| traits.is_implicit(field) && value.is_default(&field.kind()))
            .map(|(field, _)| field)
            .collect();
        idle.iter().for_each(|field| message.clear_field(field));
        message.fields_mut().for_each(|(_, value)| self.clear_defaults_in(value));
    }

    fn clear_defaults_in(&self, value: &mut Value) {
        match value {
            Value::Message(message) => self.clear_defaults(message),
            Value::List(values) => values.iter_mut().for_each(|value| self.clear_defaults_in(value)),
            Value::Map(values) => values.values_mut().for_each(|value| self.clear_defaults_in(value)),
            _ => (),
        }
    }
}

/// `conformance.ConformanceRequest`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(oneof = "Payload", tags = "1, 2, 7, 8")]
    payload: Option<Payload>,
    #[prost(int32, tag = "3")]
    requested_output_format: i32,
    #[prost(string, tag = "4")]
    message_type: String,
    #[prost(int32, tag = "5")]
    test_category: i32,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Payload {
    #[prost(bytes = "bytes", tag = "1")]
    Protobuf(Bytes),
    #[prost(string, tag = "2")]
    Json(String),
    #[prost(string, tag = "7")]
    Jspb(String),
    #[prost(string, tag = "8")]
    Text(String),
}

/// `conformance.ConformanceResponse`.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(oneof = "Answer", tags = "1, 2, 3, 4, 5, 6")]
    result: Option<Answer>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Answer {
    #[prost(string, tag = "1")]
    ParseError(String),
    #[prost(string, tag = "2")]
    RuntimeError(String),
    #[prost(bytes = "vec", tag = "3")]
    Protobuf(Vec<u8>),
    #[prost(string, tag = "4")]
    Json(String),
    #[prost(string, tag = "5")]
    Skipped(String),
    #[prost(string, tag = "6")]
    SerializeError(String),
}

/// Of `conformance.WireFormat`.
const PROTOBUF: i32 = 1;
const JSON: i32 = 2;
/// Of `conformance.TestCategory`.
const JSON_IGNORE_UNKNOWN_PARSING_TEST: i32 = 3;

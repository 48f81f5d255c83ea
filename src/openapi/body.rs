//! The bodies of requests and responses: what they hold, and in which content types.

use prost_reflect::FieldDescriptor;
use prost_reflect::Kind;
use prost_reflect::MessageDescriptor;

use crate::openapi::builder::Builder;
use crate::openapi::components;
use crate::openapi::node::Object;
use crate::openapi::types;
use crate::openapi::types::WellKnown;
use crate::schema::Rpc;
use crate::schema::http::BodyRule;
use crate::schema::http::Rule;

/// What the paths of an operation speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    Rest,
    Connect,
}

/// What a body holds: once, or once for each message of a stream.
enum Held {
    /// JSON of this schema.
    Json(Object),
    /// Bytes as they are: a `google.api.HttpBody`.
    Bytes,
}

/// The request body; none if the call has none.
pub(super) fn request(
    builder: &mut Builder<'_>,
    rpc: &Rpc,
    rule: Option<&Rule>,
    name: &str,
    speech: Speech,
) -> Option<Object> {
    let input = rpc.descriptor.input();
    let held = match rule.map(|rule| (rule, &rule.body)) {
        Some((_, BodyRule::None)) => return None,
        Some((rule, BodyRule::Field(field))) => {
            let taken = taken(rule, Some(field));
            match input.get_field_by_name(field) {
                Some(field) => of_field(builder, &field, &taken, name),
                None => Held::Json(Object::new()),
            }
        }
        Some((rule, BodyRule::All)) => of_message(builder, &input, &taken(rule, None), name),
        None => of_message(builder, &input, &[], name),
    };
    let is_stream = rpc.descriptor.is_client_streaming();
    let streams = is_stream || rpc.descriptor.is_server_streaming();
    let content = match (held, speech) {
        (Held::Json(schema), Speech::Connect) if streams => connect_stream(schema),
        (Held::Json(schema), Speech::Rest) if is_stream => Object::new()
            .with("application/x-ndjson", types::content(schema.clone()))
            .with("application/json", types::content(Object::of_type("array").with("items", schema))),
        (Held::Json(schema), _) => Object::new().with("application/json", types::content(schema)),
        (Held::Bytes, Speech::Rest) => bytes(),
        (Held::Bytes, Speech::Connect) => {
            let schema = builder.message(&input);
            if streams {
                connect_stream(schema)
            } else {
                Object::new().with("application/json", types::content(schema))
            }
        }
    };
    let mut body = Object::new();
    if is_stream && speech == Speech::Rest {
        body.set("description", "A stream of messages: one a line, or the items of an array.");
    }
    Some(body.with("content", content).with("required", true))
}

/// The response of a call that went well.
pub(super) fn response(builder: &mut Builder<'_>, rpc: &Rpc, rule: Option<&Rule>, speech: Speech) -> Object {
    let output = rpc.descriptor.output();
    let field = rule.and_then(|rule| rule.response_body.as_deref());
    let held = match field {
        Some(field) => match output.get_field_by_name(field) {
            Some(field) => of_field(builder, &field, &[], ""),
            None => Held::Json(Object::new()),
        },
        None => of_message(builder, &output, &[], ""),
    };
    let streams = rpc.descriptor.is_server_streaming();
    if speech == Speech::Connect {
        let schema = match held {
            Held::Json(schema) => schema,
            Held::Bytes => builder.message(&output),
        };
        let streams = streams || rpc.descriptor.is_client_streaming();
        let content = if streams {
            connect_stream(schema)
        } else {
            Object::new().with("application/json", types::content(schema))
        };
        return Object::new().with("description", "OK").with("content", content);
    }
    let content = match held {
        Held::Bytes => bytes(),
        Held::Json(schema) if streams => {
            let events = Object::of_type("string").with(
                "description",
                "One event for each message, its `data` the message as JSON, and in the end `event: end`, or `event: error` with a status.",
            );
            Object::new()
                .with(
                    "application/json",
                    types::content(Object::of_type("array").with("items", schema.clone())),
                )
                .with("application/x-ndjson", types::content(schema))
                .with("text/event-stream", types::content(events))
        }
        Held::Json(schema) => Object::new().with("application/json", types::content(schema)),
    };
    let description = match streams {
        true => "A stream of messages: the items of an array, one a line, or one an event, as `Accept` asks.",
        false => "OK",
    };
    Object::new().with("description", description).with("content", content)
}

fn of_field(builder: &mut Builder<'_>, field: &FieldDescriptor, taken: &[&[Box<str>]], name: &str) -> Held {
    match field.kind() {
        Kind::Message(message) if !field.is_list() && !field.is_map() => {
            of_message(builder, &message, taken, name)
        }
        _ => Held::Json(types::field(builder, field, None)),
    }
}

fn of_message(
    builder: &mut Builder<'_>,
    message: &MessageDescriptor,
    taken: &[&[Box<str>]],
    name: &str,
) -> Held {
    if message.full_name() == "google.api.HttpBody" {
        return Held::Bytes;
    }
    let is_whole = taken.is_empty() || WellKnown::of(message).is_some();
    // Where there is no room for a schema of its own, the whole message is near enough.
    if is_whole || !builder.spend(message.fields().len().saturating_mul(FIELD_BYTES)) {
        return Held::Json(types::message(builder, message));
    }
    Held::Json(builder.other(name, |builder| components::object(builder, message, taken)))
}

/// The fields of a body that its path has, which the gateway takes from nowhere else.
fn taken<'a>(rule: &'a Rule, field: Option<&str>) -> Vec<&'a [Box<str>]> {
    let paths = rule.template.variables.iter().map(|variable| &variable.path[..]);
    let paths = paths.filter_map(|path| match (field, path.split_first()) {
        (None, _) => Some(path),
        (Some(field), Some((first, below))) if **first == *field && !below.is_empty() => Some(below),
        _ => None,
    });
    paths.collect()
}

fn bytes() -> Object {
    Object::new().with("*/*", types::content(types::binary()))
}

fn connect_stream(message: Object) -> Object {
    Object::new().with("application/connect+json", types::content(message))
}

/// About what a field takes in a schema.
const FIELD_BYTES: usize = 200;

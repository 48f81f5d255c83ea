//! The responses of failed calls, in each of their forms.

use crate::openapi::Errors;
use crate::openapi::builder::Builder;
use crate::openapi::node::Object;
use crate::openapi::types;

/// A reference to the response of a failed call.
pub(super) fn response(builder: &mut Builder<'_>) -> Object {
    let (schema, media) = match builder.options.errors {
        Errors::Status => (status as fn(&mut Builder<'_>) -> Object, "application/json"),
        Errors::Aip193 => (aip193 as fn(&mut Builder<'_>) -> Object, "application/json"),
        Errors::Problem => (problem as fn(&mut Builder<'_>) -> Object, "application/problem+json"),
    };
    shared(builder, "Error", schema, media)
}

/// The same of the Connect protocol.
pub(super) fn connect_response(builder: &mut Builder<'_>) -> Object {
    shared(builder, "ConnectError", connect, "application/json")
}

fn shared(
    builder: &mut Builder<'_>,
    name: &'static str,
    schema: fn(&mut Builder<'_>) -> Object,
    media: &'static str,
) -> Object {
    if builder.responses.iter().all(|(known, _)| *known != name) {
        let content = types::content(schema(builder));
        let response = Object::new()
            .with("description", "The call failed. The HTTP status follows from the gRPC code.")
            .with("content", Object::new().with(media, content));
        builder.responses.push((name, response));
    }
    Object::new().with("$ref", format!("#/components/responses/{name}"))
}

fn status(builder: &mut Builder<'_>) -> Object {
    const NAME: &str = "google.rpc.Status";
    if let Some(message) = builder.schema.pool().get_message_by_name(NAME) {
        return builder.message(&message);
    }
    builder.other(NAME, |builder| {
        let properties = Object::new()
            .with("code", text_of("integer", "The gRPC code.").with("format", "int32"))
            .with("message", text_of("string", "What went wrong."))
            .with("details", details(builder));
        Object::of_type("object").with("description", "Why a call failed.").with("properties", properties)
    })
}

fn aip193(builder: &mut Builder<'_>) -> Object {
    let name = builder.free_name("Error");
    builder.other(&name, |builder| {
        let inner = Object::new()
            .with("code", text_of("integer", "The HTTP status.").with("format", "int32"))
            .with("status", text_of("string", "The name of the gRPC code, such as `NOT_FOUND`."))
            .with("message", text_of("string", "What went wrong."))
            .with("details", details(builder));
        let inner = Object::of_type("object").with("properties", inner);
        Object::of_type("object")
            .with("description", "Why a call failed, as AIP-193 has it.")
            .with("properties", Object::new().with("error", inner))
            .with("required", vec!["error"])
    })
}

fn problem(builder: &mut Builder<'_>) -> Object {
    let name = builder.free_name("Problem");
    builder.other(&name, |_| {
        let properties = Object::new()
            .with("type", text_of("string", "Names the kind of problem.").with("format", "uri-reference"))
            .with("title", text_of("string", "The kind of problem in words."))
            .with("status", text_of("integer", "The HTTP status.").with("format", "int32"))
            .with("detail", text_of("string", "What went wrong."))
            .with("instance", text_of("string", "Names this very problem.").with("format", "uri-reference"));
        Object::of_type("object")
            .with("description", "Why a call failed, as RFC 9457 has it.")
            .with("properties", properties)
            .with("additionalProperties", true)
    })
}

fn connect(builder: &mut Builder<'_>) -> Object {
    let name = builder.free_name("connect.Error");
    builder.other(&name, |_| {
        let detail = Object::new()
            .with("type", text_of("string", "The full name of the message's type."))
            .with("value", text_of("string", "The message, as base64 without padding."))
            .with("debug", Object::new().with("description", "The message as JSON."));
        let detail = Object::of_type("object").with("properties", detail);
        let properties = Object::new()
            .with("code", text_of("string", "The name of the code, such as `not_found`."))
            .with("message", text_of("string", "What went wrong."))
            .with("details", Object::of_type("array").with("items", detail));
        Object::of_type("object")
            .with("description", "Why a call failed, as the Connect protocol has it.")
            .with("properties", properties)
    })
}

fn details(builder: &mut Builder<'_>) -> Object {
    Object::of_type("array").with("items", types::any(builder))
}

fn text_of(kind: &'static str, description: &'static str) -> Object {
    Object::of_type(kind).with("description", description)
}

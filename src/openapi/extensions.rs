//! Reads the options that say something to readers of a document.
//!
//! These are field behaviour, deprecation, and the OpenAPI options of protoc-gen-openapiv2 and of gnostic.
//! Extensions are found by their names in the module's own pool, so that no version of them is built in.

use prost_reflect::DynamicMessage;
use prost_reflect::EnumDescriptor;
use prost_reflect::FieldDescriptor;
use prost_reflect::FileDescriptor;
use prost_reflect::MessageDescriptor;
use prost_reflect::MethodDescriptor;
use prost_reflect::ReflectMessage;
use prost_reflect::ServiceDescriptor;
use prost_reflect::Value;

use crate::openapi::node;
use crate::openapi::node::Node;
use crate::openapi::node::Object;

/// What `google.api.field_behavior` says of a field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Behavior {
    pub(super) required: bool,
    pub(super) output_only: bool,
    pub(super) input_only: bool,
}

/// The value of an option by the full name of its extension.
pub(super) fn option(options: &DynamicMessage, name: &str) -> Option<Value> {
    let found = options.extensions().find(|(extension, _)| extension.full_name() == name);
    found.map(|(_, value)| value.clone())
}

/// The same of an option that is a message.
pub(super) fn message_option(options: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    match option(options, name)? {
        Value::Message(message) => Some(message),
        _ => None,
    }
}

/// A field that is set.
pub(super) fn set(message: &DynamicMessage, name: &str) -> Option<Value> {
    let field = message.descriptor().get_field_by_name(name)?;
    message.has_field(&field).then(|| message.get_field(&field).into_owned())
}

/// A message in a field that is set.
pub(super) fn inner(message: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    match set(message, name)? {
        Value::Message(inner) => Some(inner),
        _ => None,
    }
}

/// Whether a field is set to true.
pub(super) fn is_true(message: &DynamicMessage, name: &str) -> bool {
    set(message, name).and_then(|value| value.as_bool()).unwrap_or_default()
}

/// The texts of a repeated field.
pub(super) fn texts(message: &DynamicMessage, name: &str) -> Vec<String> {
    let found = set(message, name);
    let texts = found.as_ref().and_then(Value::as_list).unwrap_or_default();
    texts.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub(super) fn is_deprecated(options: &DynamicMessage) -> bool {
    is_true(options, "deprecated")
}

pub(super) fn behavior(field: &FieldDescriptor) -> Behavior {
    let found = option(&field.options(), "google.api.field_behavior");
    let mut behavior = Behavior::default();
    for value in found.as_ref().and_then(Value::as_list).unwrap_or_default() {
        match value.as_enum_number() {
            Some(2) => behavior.required = true,
            Some(3) => behavior.output_only = true,
            Some(4) => behavior.input_only = true,
            _ => (),
        }
    }
    behavior
}

/// What the options of a file say of the whole document.
pub(super) fn info(file: &FileDescriptor, out: &mut Object) {
    const DOCUMENTS: [&str; 2] =
        ["grpc.gateway.protoc_gen_openapiv2.options.openapiv2_swagger", "openapi.v3.document"];
    let options = file.options();
    for document in DOCUMENTS.iter().filter_map(|name| message_option(&options, name)) {
        let Some(info) = inner(&document, "info") else { continue };
        copy(&info, INFO, out);
        if let Some(contact) = inner(&info, "contact") {
            let mut known = Object::new();
            copy(&contact, &[("name", "name"), ("url", "url"), ("email", "email")], &mut known);
            out.set("contact", known);
        }
        if let Some(license) = inner(&info, "license").filter(|license| set(license, "name").is_some()) {
            let mut known = Object::new();
            copy(&license, &[("name", "name"), ("url", "url")], &mut known);
            out.set("license", known);
        }
    }
}

/// What the options of a service say of its tag.
pub(super) fn tag(service: &ServiceDescriptor, out: &mut Object) {
    let options = service.options();
    if let Some(tag) = message_option(&options, "grpc.gateway.protoc_gen_openapiv2.options.openapiv2_tag") {
        copy(&tag, &[("description", "description")], out);
        external_docs(&tag, out);
    }
}

/// What the options of a method say of its operations. An operation id is for the first of them.
pub(super) fn operation(method: &MethodDescriptor, out: &mut Object) {
    const OPERATIONS: [&str; 2] =
        ["grpc.gateway.protoc_gen_openapiv2.options.openapiv2_operation", "openapi.v3.operation"];
    let options = method.options();
    for operation in OPERATIONS.iter().filter_map(|name| message_option(&options, name)) {
        let tags = texts(&operation, "tags");
        if !tags.is_empty() {
            out.set("tags", tags);
        }
        copy(&operation, OPERATION, out);
        external_docs(&operation, out);
    }
}

/// What the options of a message say of its schema, and the names of its fields that they require.
pub(super) fn schema(message: &MessageDescriptor, out: &mut Object) -> Vec<String> {
    let options = message.options();
    let mut required = Vec::new();
    if let Some(found) =
        message_option(&options, "grpc.gateway.protoc_gen_openapiv2.options.openapiv2_schema")
    {
        if let Some(schema) = inner(&found, "json_schema") {
            keywords(&schema, out);
            required.extend(texts(&schema, "required"));
        }
        example(&found, out);
        external_docs(&found, out);
    }
    if let Some(schema) = message_option(&options, "openapi.v3.schema") {
        keywords(&schema, out);
        required.extend(texts(&schema, "required"));
    }
    required
}

/// What the options of a field say of its schema.
pub(super) fn property(field: &FieldDescriptor, out: &mut Object) {
    const PROPERTIES: [&str; 2] =
        ["grpc.gateway.protoc_gen_openapiv2.options.openapiv2_field", "openapi.v3.property"];
    let options = field.options();
    for schema in PROPERTIES.iter().filter_map(|name| message_option(&options, name)) {
        keywords(&schema, out);
        example(&schema, out);
    }
}

/// What the options of an enum say of its schema.
pub(super) fn enumeration(declared: &EnumDescriptor, out: &mut Object) {
    let options = declared.options();
    if let Some(schema) = message_option(&options, "grpc.gateway.protoc_gen_openapiv2.options.openapiv2_enum")
    {
        copy(&schema, &[("title", "title"), ("description", "description")], out);
        example(&schema, out);
        external_docs(&schema, out);
    }
}

fn keywords(schema: &DynamicMessage, out: &mut Object) {
    copy(schema, SCHEMA, out);
    for (bound, exclusive, keyword) in [
        ("minimum", "exclusive_minimum", "exclusiveMinimum"),
        ("maximum", "exclusive_maximum", "exclusiveMaximum"),
    ] {
        if is_true(schema, exclusive)
            && let Some(value) = out.member(bound).cloned()
        {
            out.remove(bound);
            out.set(keyword, value);
        }
    }
}

/// An example is JSON text there, and what isn't JSON is a string.
fn example(holder: &DynamicMessage, out: &mut Object) {
    if let Some(Value::String(text)) = set(holder, "example") {
        let value = serde_json::from_str::<serde_json::Value>(&text).map_or_else(|_| text.into(), Node::from);
        out.set("examples", Node::List(vec![value]));
    }
}

fn external_docs(holder: &DynamicMessage, out: &mut Object) {
    if let Some(docs) = inner(holder, "external_docs").filter(|docs| set(docs, "url").is_some()) {
        let mut known = Object::new();
        copy(&docs, &[("description", "description"), ("url", "url")], &mut known);
        out.set("externalDocs", known);
    }
}

/// Copies the fields that are set and are texts, booleans or numbers.
fn copy(from: &DynamicMessage, table: &[(&str, &'static str)], out: &mut Object) {
    for (name, keyword) in table {
        let value = match set(from, name) {
            Some(Value::String(text)) => Some(text.into()),
            Some(Value::Bool(flag)) => Some(flag.into()),
            Some(Value::F64(value)) => node::number(value),
            Some(Value::F32(value)) => node::number(value.into()),
            Some(Value::U64(value)) => Some(value.into()),
            Some(Value::I64(value)) => Some(value.into()),
            Some(Value::U32(value)) => Some(u64::from(value).into()),
            Some(Value::I32(value)) => Some(i64::from(value).into()),
            _ => None,
        };
        if let Some(value) = value {
            out.set(keyword, value);
        }
    }
}

const INFO: &[(&str, &str)] = &[
    ("title", "title"),
    ("description", "description"),
    ("terms_of_service", "termsOfService"),
    ("version", "version"),
];

const OPERATION: &[(&str, &str)] = &[
    ("summary", "summary"),
    ("description", "description"),
    ("operation_id", "operationId"),
    ("deprecated", "deprecated"),
];

const SCHEMA: &[(&str, &str)] = &[
    ("title", "title"),
    ("description", "description"),
    ("deprecated", "deprecated"),
    ("read_only", "readOnly"),
    ("write_only", "writeOnly"),
    ("format", "format"),
    ("pattern", "pattern"),
    ("multiple_of", "multipleOf"),
    ("minimum", "minimum"),
    ("maximum", "maximum"),
    ("min_length", "minLength"),
    ("max_length", "maxLength"),
    ("min_items", "minItems"),
    ("max_items", "maxItems"),
    ("unique_items", "uniqueItems"),
    ("min_properties", "minProperties"),
    ("max_properties", "maxProperties"),
];

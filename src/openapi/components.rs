//! The schemas of messages and enums, each written once.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt::Write;

use prost_reflect::EnumDescriptor;
use prost_reflect::FieldDescriptor;
use prost_reflect::Kind;
use prost_reflect::MessageDescriptor;

use crate::openapi::builder::Builder;
use crate::openapi::builder::Component;
use crate::openapi::extensions;
use crate::openapi::node::Object;
use crate::openapi::notes;
use crate::openapi::rules;
use crate::openapi::types;
use crate::openapi::types::WellKnown;

/// Writes what has been asked for, and what that asks for in turn.
pub(super) fn write(mut builder: Builder<'_>) -> Object {
    builder.refill();
    while let Some(component) = builder.waiting.pop_front() {
        let (name, schema) = match component {
            Component::Message(message) => {
                (message.full_name().to_owned(), object(&mut builder, &message, &[]))
            }
            Component::Enum(declared) => {
                (declared.full_name().to_owned(), enumeration(&mut builder, &declared))
            }
        };
        builder.schemas.push((name, schema));
    }
    let Builder { mut schemas, mut responses, .. } = builder;
    schemas.sort_by(|a, b| a.0.cmp(&b.0));
    responses.sort_by_key(|(name, _)| *name);
    let mut known = Object::new();
    schemas.into_iter().for_each(|(name, schema)| known.push(name, schema));
    let mut failures = Object::new();
    responses.into_iter().for_each(|(name, response)| failures.push(name, response));
    let mut components = Object::new();
    if !known.is_empty() {
        components.set("schemas", known);
    }
    if !failures.is_empty() {
        components.set("responses", failures);
    }
    components
}

/// The schema of a message without the fields that `taken` leads to by their proto names.
pub(super) fn object(
    builder: &mut Builder<'_>,
    message: &MessageDescriptor,
    taken: &[&[Box<str>]],
) -> Object {
    let mut schema = Object::of_type("object");
    let comment = builder.comment(message.parent_file().name(), message.path());
    builder.describe(&mut schema, comment.as_deref());
    if extensions::is_deprecated(&message.options()) {
        schema.set("deprecated", true);
    }
    let stated: HashSet<String> = extensions::schema(message, &mut schema).into_iter().collect();
    let fields: Vec<FieldDescriptor> = message
        .fields()
        .filter(|field| !taken.iter().any(|path| matches!(path, [name] if **name == *field.name())))
        .collect();
    let mut properties = Object::new();
    let mut required = Vec::new();
    let mut known = HashSet::new();
    for field in &fields {
        let name = builder.name(field);
        // In proto2 fields may share a JSON name; the first is the one that is read.
        if !known.insert(name.clone()) {
            continue;
        }
        let is_stated = stated.contains(field.name()) || stated.contains(field.json_name());
        if is_stated || is_required(field) {
            required.push(name.clone());
        }
        let property = property(builder, field, taken);
        properties.push(name, property);
    }
    if !properties.is_empty() {
        schema.set("properties", properties);
    }
    if !required.is_empty() {
        schema.set("required", required);
    }
    choices(builder, message, &fields, &mut schema);
    schema
}

/// Whether a client must set the field.
pub(super) fn is_required(field: &FieldDescriptor) -> bool {
    field.is_required() || extensions::behavior(field).required || rules::is_required(field)
}

fn property(builder: &mut Builder<'_>, field: &FieldDescriptor, taken: &[&[Box<str>]]) -> Object {
    let below: Vec<&[Box<str>]> = taken
        .iter()
        .filter_map(|path| path.split_first().filter(|(name, _)| ***name == *field.name()))
        .map(|(_, below)| below)
        .collect();
    let comment = builder.field_comment(field);
    if let Kind::Message(message) = field.kind()
        && !below.is_empty()
        && !field.is_list()
        && WellKnown::of(&message).is_none()
    {
        let mut schema = object(builder, &message, &below);
        builder.describe(&mut schema, comment.as_deref());
        return schema;
    }
    let note = choice_note(builder, field);
    let text = match note {
        Some(note) => Some(notes::join(comment, &note)),
        None => comment,
    };
    types::field(builder, field, text)
}

/// Says of a member of a oneof what it can't be set beside.
fn choice_note(builder: &Builder<'_>, field: &FieldDescriptor) -> Option<String> {
    let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic() && oneof.fields().len() > 1)?;
    if CHOICE_NAMES_MAX < oneof.fields().len() {
        return Some(format!("At most one field of `{}` may be set.", oneof.name()));
    }
    let names: Vec<String> = oneof.fields().map(|field| format!("`{}`", builder.name(&field))).collect();
    Some(format!("At most one of {} may be set.", names.join(", ")))
}

/// Says of the oneofs of a message that their fields exclude each other, as long as that is short.
fn choices(
    builder: &Builder<'_>,
    message: &MessageDescriptor,
    fields: &[FieldDescriptor],
    schema: &mut Object,
) {
    // Proto names, and whether one of the fields must be there.
    let mut groups: Vec<(Vec<String>, bool)> = Vec::new();
    for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        let names = oneof.fields().map(|field| field.name().to_owned());
        groups.push((names.collect(), rules::is_required_oneof(&oneof)));
    }
    groups.extend(rules::oneofs_of_message(message));
    let here: HashMap<&str, &FieldDescriptor> = fields.iter().map(|field| (field.name(), field)).collect();
    let mut needed: Vec<Object> = Vec::new();
    let mut excluded: Vec<Object> = Vec::new();
    for (all, is_required) in groups.iter().filter(|(all, _)| all.len() <= CHOICE_NAMES_MAX) {
        let left = all.iter().filter_map(|name| here.get(&**name));
        let names: Vec<String> = left.map(|field| builder.name(field)).collect();
        // A field that the path has is the choice already.
        if *is_required && names.len() == all.len() && !names.is_empty() {
            needed.push(Object::new().with("anyOf", names.iter().map(|name| one(name)).collect::<Vec<_>>()));
        }
        for (at, name) in names.iter().enumerate() {
            let pairs = names[..at].iter().map(|other| vec![other.clone(), name.clone()]);
            excluded.extend(pairs.map(|pair| Object::new().with("required", pair)));
        }
    }
    if excluded.len() == 1 {
        schema.set("not", excluded.remove(0));
    } else if !excluded.is_empty() && excluded.len() <= EXCLUDED_PAIRS_MAX {
        schema.set("not", Object::new().with("anyOf", excluded));
    }
    if needed.len() == 1
        && let Some(choice) = needed[0].member("anyOf").cloned()
    {
        schema.set("anyOf", choice);
    } else if !needed.is_empty() {
        schema.set("allOf", needed);
    }
}

fn one(name: &str) -> Object {
    Object::new().with("required", vec![name.to_owned()])
}

fn enumeration(builder: &mut Builder<'_>, declared: &EnumDescriptor) -> Object {
    let file = declared.parent_file();
    let mut text = builder.comment(file.name(), declared.path());
    let mut values = String::new();
    for value in declared.values() {
        if let Some(comment) = builder.comment(file.name(), value.path()) {
            let comment = comment.split_whitespace().collect::<Vec<_>>().join(" ");
            writeln!(values, "- `{}`: {comment}", shown(builder, value.name(), value.number()))
                .expect("a string takes all text");
        }
    }
    if !values.is_empty() {
        text = Some(notes::join(text, values.trim_end()));
    }
    let names = declared.values().map(|value| value.name().to_owned());
    let mut schema = if builder.options.enums_as_numbers {
        let mut numbers: Vec<i32> = declared.values().map(|value| value.number()).collect();
        let mut known = HashSet::new();
        numbers.retain(|number| known.insert(*number));
        let varnames = numbers.iter().filter_map(|number| declared.get_value(*number));
        let varnames = varnames.map(|value| value.name().to_owned()).collect::<Vec<_>>();
        Object::of_type("integer")
            .with("format", "int32")
            .with("enum", numbers.into_iter().map(i64::from).collect::<Vec<_>>())
            .with("x-enum-varnames", varnames)
    } else {
        Object::of_type("string").with("enum", names.collect::<Vec<_>>())
    };
    builder.describe(&mut schema, text.as_deref());
    if extensions::is_deprecated(&declared.options()) {
        schema.set("deprecated", true);
    }
    extensions::enumeration(declared, &mut schema);
    schema
}

fn shown(builder: &Builder<'_>, name: &str, number: i32) -> String {
    if builder.options.enums_as_numbers { format!("{number}` `{name}") } else { name.to_owned() }
}

/// Members of a oneof that are told by name.
const CHOICE_NAMES_MAX: usize = 8;
/// Pairs of fields that a schema excludes.
const EXCLUDED_PAIRS_MAX: usize = 36;

//! The parameters of an operation, in its path and its query.

use prost_reflect::FieldDescriptor;
use prost_reflect::Kind;
use prost_reflect::MessageDescriptor;

use crate::openapi::builder::Builder;
use crate::openapi::components;
use crate::openapi::extensions;
use crate::openapi::node::Object;
use crate::openapi::notes;
use crate::openapi::paths;
use crate::openapi::types;
use crate::openapi::types::WellKnown;
use crate::schema::http::BodyRule;
use crate::schema::http::Rule;
use crate::schema::http::Segment;

/// The query parameters of a rule.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) parameters: Vec<Object>,
    /// Whether some are left out, of which there are too many.
    pub(super) is_cut: bool,
}

/// The parameters of the path, whose names are those of the document's path.
pub(super) fn path(
    builder: &mut Builder<'_>,
    input: &MessageDescriptor,
    rule: &Rule,
    names: &[String],
) -> Vec<Object> {
    let slots = paths::slots(&rule.template);
    let mut parameters = Vec::new();
    for (slot, name) in slots.iter().zip(names) {
        let mut parameter = Object::new().with("name", name.clone()).with("in", "path");
        let field = slot.variable.and_then(|variable| find(input, &variable.path));
        let comment = field.as_ref().and_then(|field| builder.field_comment(field));
        let is_whole = slot.variable.is_some_and(|variable| variable.segments.len() == 1);
        let mut text = comment;
        if let Some(variable) = slot.variable.filter(|_| !is_whole) {
            let shown = pattern(&rule.template.segments, variable.segments.clone(), names);
            let note = format!("Part of `{}`, which is `{shown}`.", variable.name());
            text = Some(text.map_or_else(|| note.clone(), |text| format!("{note} {text}")));
        }
        if slot.is_rest {
            text = Some(notes::join(text, "Any number of path segments: `/` in it stays as it is."));
        }
        builder.describe(&mut parameter, text.as_deref());
        parameter.set("required", true);
        let schema = match &field {
            Some(field) if is_whole => bare(types::field(builder, field, None)),
            _ => Object::of_type("string"),
        };
        parameters.push(parameter.with("schema", schema));
    }
    parameters
}

/// The query parameters: every field that is neither in the path nor in the body and has a text.
pub(super) fn query(builder: &mut Builder<'_>, input: &MessageDescriptor, rule: &Rule) -> Query {
    let mut walk = Walk { rule, query: Query::default(), path: Vec::new(), within: Vec::new(), seen: 0 };
    if rule.body != BodyRule::All {
        walk.message(builder, input, "", true);
    }
    walk.query
}

struct Walk<'a> {
    rule: &'a Rule,
    query: Query,
    /// Proto names of the fields that lead here.
    path: Vec<String>,
    /// Full names of the messages that lead here: none of them is entered again.
    within: Vec<String>,
    /// Fields seen so far: messages may nest widely and have no leaf.
    seen: usize,
}

impl Walk<'_> {
    /// Recursive, as deep as fields nest but for messages in themselves, and `DEPTH_MAX` at most.
    fn message(
        &mut self,
        builder: &mut Builder<'_>,
        message: &MessageDescriptor,
        prefix: &str,
        is_needed: bool,
    ) {
        if DEPTH_MAX <= self.within.len() || self.within.iter().any(|name| name == message.full_name()) {
            return;
        }
        self.within.push(message.full_name().to_owned());
        for field in message.fields().filter(|field| !extensions::behavior(field).output_only) {
            self.seen += 1;
            self.query.is_cut |= SEEN_MAX < self.seen || !builder.spend(SEEN_BYTES);
            if self.query.is_cut {
                break;
            }
            self.path.push(field.name().to_owned());
            if !self.is_elsewhere() {
                self.field(builder, &field, prefix, is_needed && components::is_required(&field));
            }
            self.path.pop();
        }
        self.within.pop();
    }

    fn field(&mut self, builder: &mut Builder<'_>, field: &FieldDescriptor, prefix: &str, is_needed: bool) {
        if field.is_map() {
            return;
        }
        let name = format!("{prefix}{}", builder.name(field));
        match field.kind() {
            Kind::Message(message) if WellKnown::of(&message).is_none_or(|known| !known.is_text()) => {
                if !field.is_list() && WellKnown::of(&message).is_none() {
                    self.message(builder, &message, &format!("{name}."), is_needed);
                }
            }
            _ => self.leaf(builder, field, name, is_needed),
        }
    }

    fn leaf(&mut self, builder: &mut Builder<'_>, field: &FieldDescriptor, name: String, is_needed: bool) {
        let is_room = self.query.parameters.len() < PARAMETERS_MAX;
        if !is_room || !builder.spend(name.len() + PARAMETER_BYTES) {
            self.query.is_cut = true;
            return;
        }
        let mut parameter = Object::new().with("name", name).with("in", "query");
        let comment = builder.field_comment(field);
        builder.describe(&mut parameter, comment.as_deref());
        if is_needed {
            parameter.set("required", true);
        }
        if extensions::is_deprecated(&field.options()) {
            parameter.set("deprecated", true);
        }
        if field.is_list() {
            parameter.set("style", "form");
            parameter.set("explode", true);
        }
        let schema = bare(types::field(builder, field, None));
        self.query.parameters.push(parameter.with("schema", schema));
    }

    /// Whether the field is taken from the path or the body.
    fn is_elsewhere(&self) -> bool {
        let mut variables = self.rule.template.variables.iter();
        let is_bound =
            variables.any(|variable| variable.path.iter().map(|name| &**name).eq(self.path.iter()));
        let is_body = match &self.rule.body {
            BodyRule::Field(body) => matches!(&self.path[..], [lone] if **lone == **body),
            BodyRule::None | BodyRule::All => false,
        };
        is_bound || is_body
    }
}

/// A field's schema without what a parameter says itself, or can't say.
fn bare(mut schema: Object) -> Object {
    ["deprecated", "readOnly", "writeOnly"].iter().for_each(|name| schema.remove(name));
    schema
}

fn find(input: &MessageDescriptor, path: &[Box<str>]) -> Option<FieldDescriptor> {
    let (last, before) = path.split_last()?;
    let mut message = input.clone();
    for name in before {
        let Kind::Message(inner) = message.get_field_by_name(name)?.kind() else { return None };
        message = inner;
    }
    message.get_field_by_name(last)
}

/// The part of a template that a variable takes, with the names of parameters.
fn pattern(segments: &[Segment], range: std::ops::Range<usize>, names: &[String]) -> String {
    let is_slot = |segment: &&Segment| !matches!(segment, Segment::Literal(_));
    let before = segments[..range.start].iter().filter(is_slot).count();
    let mut names = names.iter().skip(before);
    let shown = segments[range].iter().map(|segment| match segment {
        Segment::Literal(text) => text.to_string(),
        Segment::Star | Segment::StarStar => {
            format!("{{{}}}", names.next().map(String::as_str).unwrap_or_default())
        }
    });
    shown.collect::<Vec<_>>().join("/")
}

/// Messages within messages in one parameter's name.
const DEPTH_MAX: usize = 8;
/// Query parameters of one operation.
const PARAMETERS_MAX: usize = 300;
/// Fields looked at for the query parameters of one operation.
const SEEN_MAX: usize = 3_000;
/// What looking at a field costs of the budget for repeated text.
const SEEN_BYTES: usize = 16;
/// About what a parameter takes beside its name and description.
const PARAMETER_BYTES: usize = 200;

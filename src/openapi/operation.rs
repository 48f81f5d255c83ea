//! Writes one operation: what is called, with which parameters and body, and what comes back.

use std::collections::HashMap;

use prost_reflect::MethodDescriptor;

use crate::openapi::Bare;
use crate::openapi::body;
use crate::openapi::body::Speech;
use crate::openapi::builder::Builder;
use crate::openapi::errors;
use crate::openapi::extensions;
use crate::openapi::node::Object;
use crate::openapi::notes;
use crate::openapi::parameters;
use crate::openapi::paths::Path;
use crate::schema::Rpc;
use crate::schema::http::Rule;
use crate::schema::http::Verb;

/// The operations written so far.
#[derive(Debug, Default)]
pub(super) struct Operations {
    /// Methods by operation id.
    ids: HashMap<String, Box<str>>,
    /// How many operations each method has.
    methods: HashMap<Box<str>, usize>,
}

impl Operations {
    /// Writes the operation of a rule, or of `POST /pkg.Service/Method`. `untold` are the method's rules that
    /// have no place of their own.
    pub(super) fn write(
        &mut self,
        builder: &mut Builder<'_>,
        rpc: &Rpc,
        rule: Option<&Rule>,
        path: &Path,
        untold: &[&Rule],
    ) -> Object {
        let method = &rpc.descriptor;
        let speech = match (rule, builder.options.bare) {
            (None, Bare::Connect) => Speech::Connect,
            _ => Speech::Rest,
        };
        let count = self.count(method);
        let untold: Vec<String> = untold
            .iter()
            .take(if count == 1 { UNTOLD_MAX } else { 0 })
            .map(|rule| format!("`{} {}{}`", rule.verb, builder.options.prefix, rule.template))
            .collect();
        let mut operation = Object::new().with("tags", vec![rpc.method.service.to_string()]);
        heading(builder, method, &notes(rpc, rule, speech, &untold), &mut operation);
        let stated = operation.text("operationId").map(str::to_owned);
        let id = self.id(method, stated);
        operation.set("operationId", id);
        if let Some(rule) = rule {
            let input = method.input();
            let mut all = parameters::path(builder, &input, rule, &path.names);
            let query = parameters::query(builder, &input, rule);
            all.extend(query.parameters);
            if !all.is_empty() {
                operation.set("parameters", all);
            }
            if query.is_cut {
                operation.set("x-more-query-parameters", true);
            }
        }
        // Within a method's name nothing is declared, so that no message has this one.
        let mut name = format!("{}.Body", method.full_name());
        if count > 1 {
            name.push_str(&count.to_string());
        }
        if let Some(body) = body::request(builder, rpc, rule, &name, speech) {
            operation.set("requestBody", body);
        }
        let ok = body::response(builder, rpc, rule, speech);
        let failed = match speech {
            Speech::Rest => errors::response(builder),
            Speech::Connect => errors::connect_response(builder),
        };
        operation.set("responses", Object::new().with("200", ok).with("default", failed));
        if extensions::is_deprecated(&method.options())
            || extensions::is_deprecated(&method.parent_service().options())
        {
            operation.set("deprecated", true);
        }
        operation
    }

    /// An id that no other operation has: `Service_Method`, unless the options say otherwise. The further
    /// rules of a method are counted; a method whose namesake came first has its package in front.
    fn id(&mut self, method: &MethodDescriptor, stated: Option<String>) -> String {
        let service = method.parent_service();
        let short = stated.unwrap_or_else(|| format!("{}_{}", service.name(), method.name()));
        let is_own = self.ids.get(&short).is_none_or(|owner| **owner == *method.full_name());
        let full = || format!("{}_{}", service.full_name().replace('.', "_"), method.name());
        let base = if is_own { short } else { full() };
        let mut id = base.clone();
        let mut count = 1_usize;
        while self.ids.contains_key(&id) {
            count += 1;
            id = format!("{base}_{count}");
        }
        self.ids.insert(id.clone(), method.full_name().into());
        id
    }

    /// Counts the rules of a method, from 1.
    fn count(&mut self, method: &MethodDescriptor) -> usize {
        let count = self.methods.entry(method.full_name().into()).or_default();
        *count += 1;
        *count
    }
}

/// Tags, summary and description: of the options, or else of the comment; then the notes.
fn heading(builder: &mut Builder<'_>, method: &MethodDescriptor, notes: &[String], operation: &mut Object) {
    let comment = builder.comment(method.parent_file().name(), method.path());
    let (summary, description) = comment.map_or((None, None), |comment| notes::split(&comment));
    if let Some(summary) = summary.filter(|summary| builder.spend(summary.len())) {
        operation.set("summary", summary);
    }
    // Set even if it is empty, for its place.
    operation.set("description", description.unwrap_or_default());
    extensions::operation(method, operation);
    let text = operation.text("description").filter(|text| !text.is_empty()).map(str::to_owned);
    let text = notes.iter().fold(text, |text, note| Some(notes::join(text, note)));
    match text.filter(|text| builder.spend(text.len())) {
        Some(text) => operation.set("description", text),
        None => operation.remove("description"),
    }
}

/// What readers must know that OpenAPI has no word for.
fn notes(rpc: &Rpc, rule: Option<&Rule>, speech: Speech, untold: &[String]) -> Vec<String> {
    let mut notes = Vec::new();
    if rpc.descriptor.is_client_streaming() && speech == Speech::Rest {
        let words =
            "Also a WebSocket on this path: one JSON message in each text frame, an empty one to end.";
        notes.push(words.to_owned());
    }
    let streams = rpc.descriptor.is_client_streaming() || rpc.descriptor.is_server_streaming();
    if streams && speech == Speech::Connect {
        notes.push("Messages are enveloped as the Connect protocol has it.".to_owned());
    }
    if rule.is_some_and(|rule| rule.verb == Verb::Any) {
        notes.push("Every HTTP method does the same here.".to_owned());
    }
    if !untold.is_empty() {
        notes.push(format!("Also served as {}.", untold.join(", ")));
    }
    notes
}

/// Rules of one method that are told in a note.
const UNTOLD_MAX: usize = 20;

//! OpenAPI 3.1 documents of a module, from its descriptors, its comments and its HTTP rules.
//!
//! A document is text, and the same text for the same input. Each message and each enum is written once,
//! under its full name; what is written for each rule (parameters, bodies without the fields of the path,
//! descriptions) draws on a budget, so that a hostile module can't make a document without end.

mod body;
mod builder;
mod components;
mod errors;
mod extensions;
mod node;
mod notes;
mod operation;
mod parameters;
mod paths;
mod rules;
mod types;

use std::collections::HashSet;

use crate::openapi::builder::Builder;
use crate::openapi::node::Node;
use crate::openapi::node::Object;
use crate::openapi::operation::Operations;
use crate::openapi::paths::Route;
use crate::schema::Rpc;
use crate::schema::Schema;
use crate::schema::http::Rule;

/// What a document says beyond the descriptors, and how the gateway that it is for answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// The document's title. Where it is empty, that of the files' OpenAPI options, or the packages.
    pub title: &'a str,
    /// The document's version. Where it is empty, that of the files' OpenAPI options, or the digest.
    pub version: &'a str,
    /// What the API is for. Where it is empty, that of the files' OpenAPI options or of a lone service.
    pub description: &'a str,
    /// Base addresses, such as `https://api.example.com`; none for the one the document came from.
    pub servers: &'a [&'a str],
    /// Stands before the path of every rule, not before `/pkg.Service/Method`; `/api`, or empty.
    pub prefix: &'a str,
    /// Fields are named as in the `.proto` file, not in lowerCamelCase.
    pub preserve_names: bool,
    /// Enum values are numbers, not names.
    pub enums_as_numbers: bool,
    /// How 64-bit integers are written.
    pub int64: Int64,
    /// The body of a failed call.
    pub errors: Errors,
    /// What `POST /pkg.Service/Method` speaks.
    pub bare: Bare,
}

/// How 64-bit integers are written as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Int64 {
    /// As ProtoJSON has it.
    #[default]
    String,
    /// As numbers, for clients that were written for them.
    Number,
}

/// The body of a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Errors {
    /// `google.rpc.Status`.
    #[default]
    Status,
    /// `{"error": {"code", "status", "message", "details"}}`, as AIP-193 has it.
    Aip193,
    /// `application/problem+json`, RFC 9457.
    Problem,
}

/// What `POST /pkg.Service/Method`, the path of methods without a rule, speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bare {
    /// The Connect protocol.
    #[default]
    Connect,
    /// The same as the paths of rules.
    Rest,
    /// It isn't served: methods without a rule are left out.
    Absent,
}

/// Writes the document of these methods, as indented JSON. They and their rules are told in the order they
/// come in.
///
/// Where several rules make the same path and verb for OpenAPI, which knows no `**` and no verbs of its own,
/// the one that routing prefers is told; a method that loses all its rules so is told at
/// `POST /pkg.Service/Method`, and in its description the rules.
pub fn document<'a>(
    schema: &'a Schema,
    methods: impl IntoIterator<Item = (&'a Rpc, &'a [Rule])>,
    options: &Options<'a>,
) -> String {
    let methods: Vec<(&Rpc, &[Rule])> = methods.into_iter().collect();
    let mut builder = Builder::new(schema, *options);
    let mut operations = Operations::default();
    let mut items = Object::new();
    let places = paths::assign(&methods, options);
    for path in places.paths {
        let mut item = Object::new();
        for (verb, route) in &path.routes {
            let (rpc, rules) = methods[route.method()];
            let untold = &places.untold[route.method()];
            let untold: Vec<&Rule> = untold.iter().filter_map(|rule| rules.get(*rule)).collect();
            let rule = match route {
                Route::Rule { rule, .. } => rules.get(*rule),
                Route::Bare { .. } => None,
            };
            item.set(verb, operations.write(&mut builder, rpc, rule, &path, &untold));
        }
        items.push(path.text, item);
    }
    let tags = tags(&mut builder, &methods);
    let mut out = Object::new().with("openapi", "3.1.0").with("info", info(&mut builder, &methods));
    if !options.servers.is_empty() {
        let server = |url: &&str| Object::new().with("url", (*url).to_owned());
        out.set("servers", options.servers.iter().map(server).collect::<Vec<_>>());
    }
    if !tags.is_empty() {
        out.set("tags", tags);
    }
    out.set("paths", items);
    let components = components::write(builder);
    if !components.is_empty() {
        out.set("components", components);
    }
    out.pretty()
}

/// The services of the methods, each once, in their order.
fn tags(builder: &mut Builder<'_>, methods: &[(&Rpc, &[Rule])]) -> Vec<Node> {
    let mut tags = Vec::new();
    let mut known = HashSet::new();
    for (rpc, _) in methods {
        if known.insert(&*rpc.method.service) {
            let service = rpc.descriptor.parent_service();
            let mut tag = Object::new().with("name", rpc.method.service.to_string());
            let comment = builder.comment(service.parent_file().name(), service.path());
            builder.describe(&mut tag, comment.as_deref());
            extensions::tag(service, &mut tag);
            tags.push(tag.into());
        }
    }
    tags
}

fn info(builder: &mut Builder<'_>, methods: &[(&Rpc, &[Rule])]) -> Object {
    let mut services: Vec<_> = methods.iter().map(|(rpc, _)| rpc.descriptor.parent_service()).collect();
    services.dedup();
    let mut from_files = Object::new();
    let mut files = HashSet::new();
    for service in &services {
        let file = service.parent_file();
        if files.insert(file.name().to_owned()) {
            extensions::info(&file, &mut from_files);
        }
    }
    let options = builder.options;
    let given = |given: &str, name: &str, otherwise: &dyn Fn() -> String| {
        let found = if given.is_empty() { from_files.text(name) } else { Some(given) };
        found.map_or_else(otherwise, str::to_owned)
    };
    let packages = || {
        let mut packages: Vec<&str> = services.iter().map(|service| service.package_name()).collect();
        packages.sort_unstable();
        packages.dedup();
        let shown = packages.iter().take(TITLE_PACKAGES_MAX).copied().collect::<Vec<_>>().join(", ");
        if shown.is_empty() { "API".to_owned() } else { shown }
    };
    let mut info = Object::new()
        .with("title", given(options.title, "title", &packages))
        .with("version", given(options.version, "version", &|| builder.schema.digest().short()));
    let description = given(options.description, "description", &String::new);
    let comment = match &services[..] {
        [lone] if description.is_empty() => builder.comment(lone.parent_file().name(), lone.path()),
        _ => None,
    };
    let description = Some(description).filter(|text| !text.is_empty()).or(comment);
    builder.describe(&mut info, description.as_deref());
    for name in ["termsOfService", "contact", "license"] {
        if let Some(value) = from_files.member(name) {
            info.set(name, value.clone());
        }
    }
    info
}

/// Packages that a title names where nothing else gives one.
const TITLE_PACKAGES_MAX: usize = 5;

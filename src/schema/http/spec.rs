//! One `google.api.HttpRule` as it was written, and the [`Rule`]s that it makes.

use prost::Message;
use prost_reflect::MethodDescriptor;
use prost_reflect::ReflectMessage;

use crate::schema::Fault;
use crate::schema::http::BodyRule;
use crate::schema::http::Grammar;
use crate::schema::http::Rule;
use crate::schema::http::Source;
use crate::schema::http::Template;
use crate::schema::http::Verb;

/// `google.api.HttpRule`, less its selector.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Spec {
    #[prost(oneof = "Pattern", tags = "2, 3, 4, 5, 6, 8")]
    pub(super) pattern: Option<Pattern>,
    #[prost(string, tag = "7")]
    pub(super) body: String,
    #[prost(string, tag = "12")]
    pub(super) response_body: String,
    #[prost(message, repeated, tag = "11")]
    pub(super) additional_bindings: Vec<Self>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Pattern {
    #[prost(string, tag = "2")]
    Get(String),
    #[prost(string, tag = "3")]
    Put(String),
    #[prost(string, tag = "4")]
    Post(String),
    #[prost(string, tag = "5")]
    Delete(String),
    #[prost(string, tag = "6")]
    Patch(String),
    #[prost(message, tag = "8")]
    Custom(Custom),
}

/// `google.api.CustomHttpPattern`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Custom {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) path: String,
}

impl Spec {
    /// The annotation of a method. It is read from the bytes of the options, so it doesn't matter whether the
    /// module has `google/api/annotations.proto` nor what it declares there.
    pub(super) fn of_options(rpc: &MethodDescriptor) -> Result<Option<Self>, &'static str> {
        let options = rpc.options();
        let has_annotation = match options.descriptor().get_extension(HTTP) {
            Some(extension) => options.has_extension(&extension),
            None => options.unknown_fields().any(|field| field.number() == HTTP),
        };
        if !has_annotation {
            return Ok(None);
        }
        let read = MethodOptions::decode(options.encode_to_vec().as_slice());
        read.map(|options| options.http).map_err(|_| "the annotation is not a google.api.HttpRule")
    }

    /// The rule and its additional bindings, and the faults of those that can't be read.
    pub(super) fn rules(&self, source: &Source, grammar: Grammar) -> (Vec<Rule>, Vec<Fault>) {
        let mut rules = Vec::new();
        let mut faults = Vec::new();
        let count = 1 + self.additional_bindings.len();
        if BINDINGS_MAX < count {
            let problem = format!("{count} bindings, {BINDINGS_MAX} is the most");
            return (Vec::new(), vec![source.fault(problem, "remove some")]);
        }
        for (at, spec) in std::iter::once(self).chain(&self.additional_bindings).enumerate() {
            let read = match at {
                0 => spec.rule(source, grammar),
                _ if !spec.additional_bindings.is_empty() => Err((
                    "additional_bindings inside additional_bindings".into(),
                    "move them one level up".into(),
                )),
                _ => spec.rule(source, grammar),
            };
            match read {
                Ok(rule) => rules.push(rule),
                Err((problem, help)) if at == 0 => faults.push(source.fault(problem, help)),
                Err((problem, help)) => {
                    faults.push(source.fault(format!("additional_bindings[{}]: {problem}", at - 1), help));
                }
            }
        }
        (rules, faults)
    }

    fn rule(&self, source: &Source, grammar: Grammar) -> Result<Rule, (String, String)> {
        let (verb, path) = match &self.pattern {
            Some(Pattern::Get(path)) => (Verb::Get, path),
            Some(Pattern::Put(path)) => (Verb::Put, path),
            Some(Pattern::Post(path)) => (Verb::Post, path),
            Some(Pattern::Delete(path)) => (Verb::Delete, path),
            Some(Pattern::Patch(path)) => (Verb::Patch, path),
            Some(Pattern::Custom(custom)) => {
                let verb = Verb::parse(&custom.kind).map_err(|help| {
                    (format!("custom kind {} is no HTTP method", quoted(&custom.kind)), help.into())
                })?;
                (verb, &custom.path)
            }
            None => {
                let help = "write one of get, put, post, delete, patch and custom";
                return Err(("it has no path".into(), help.into()));
            }
        };
        let template = Template::parse(path, grammar).map_err(|error| {
            let problem = format!("template {} at character {}: {}", quoted(path), error.at, error.problem);
            (problem, error.help.to_owned())
        })?;
        let body = match self.body.as_str() {
            "" => BodyRule::None,
            "*" => BodyRule::All,
            name => BodyRule::Field(top_level(name, "body")?),
        };
        let response_body = match self.response_body.as_str() {
            "" => None,
            name => Some(top_level(name, "response_body")?),
        };
        Ok(Rule { verb, template, body, response_body, at: source.to_string().into() })
    }
}

#[derive(Clone, PartialEq, Message)]
struct MethodOptions {
    #[prost(message, optional, tag = "72295728")]
    http: Option<Spec>,
}

/// A field directly in the message: nothing else may be a body.
fn top_level(name: &str, option: &str) -> Result<Box<str>, (String, String)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.len() <= FIELD_BYTES_MAX
        && name.chars().all(is_name)
        && !name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Ok(name.into());
    }
    let field = match option {
        "body" => "write *, or a field directly in the request message",
        _ => "write a field directly in the response message",
    };
    let help = format!(
        "{field}, by its name in the .proto file; if the file is not yours, publish its service by an API of its own \
         whose `dialects` leave out rest"
    );
    Err((format!("{option} {} is not a field", quoted(name)), help))
}

/// Someone else's text, fit for a message.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_debug).collect();
    let rest = if text.chars().nth(QUOTED_CHARS_MAX).is_some() { "..." } else { "" };
    format!("\"{shown}{rest}\"")
}

/// The field of `google.protobuf.MethodOptions`.
const HTTP: u32 = 72_295_728;
/// Of one method.
const BINDINGS_MAX: usize = 200;
const FIELD_BYTES_MAX: usize = 512;
const QUOTED_CHARS_MAX: usize = 200;

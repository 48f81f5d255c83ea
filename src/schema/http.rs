//! The HTTP rules of methods: `google.api.http` annotations and the rules of a service config.

pub mod percent;
pub mod service_config;
pub mod template;

mod spec;
mod yaml;

use std::fmt;

use prost_reflect::MethodDescriptor;

pub use crate::schema::http::service_config::ServiceConfig;
pub use crate::schema::http::template::Grammar;
pub use crate::schema::http::template::Prefix;
pub use crate::schema::http::template::Segment;
pub use crate::schema::http::template::Template;
pub use crate::schema::http::template::TemplateError;
pub use crate::schema::http::template::Variable;

use crate::schema::Fault;
use crate::schema::http::spec::Spec;

/// One way to call a method by HTTP. Whether the fields that it names exist is for the binder to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The HTTP method.
    pub verb: Verb,
    /// The path.
    pub template: Template,
    /// What the request body is.
    pub body: BodyRule,
    /// The proto name of the reply's field that is the response body; none for the whole reply.
    pub response_body: Option<Box<str>>,
    /// Where the rule stands, for messages: `pets/v1/pets.proto: pets.v1.PetStore.GetPet`.
    pub at: Box<str>,
}

/// The HTTP method of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// GET.
    Get,
    /// PUT.
    Put,
    /// POST.
    Post,
    /// DELETE.
    Delete,
    /// PATCH.
    Patch,
    /// Any other method, as it is written: methods are case-sensitive.
    Custom(Box<str>),
    /// Every method: the custom kind `*`.
    Any,
}

impl Verb {
    /// The method's name; `*` for every method.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Custom(kind) => kind,
            Self::Any => "*",
        }
    }

    /// The method of a custom kind.
    ///
    /// # Errors
    /// Why there is no such HTTP method, and what to write.
    pub fn parse(kind: &str) -> Result<Self, &'static str> {
        let known = [Self::Get, Self::Put, Self::Post, Self::Delete, Self::Patch, Self::Any];
        if let Some(verb) = known.into_iter().find(|verb| verb.as_str() == kind) {
            return Ok(verb);
        }
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if KIND_BYTES_MAX < kind.len() || kind.is_empty() || !kind.bytes().all(is_token) {
            return Err("write an HTTP method such as HEAD, or * for all");
        }
        Ok(Self::Custom(kind.into()))
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the body of a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyRule {
    /// There is none; fields that the path leaves over are query parameters.
    None,
    /// Every field that the path leaves over; there are no query parameters.
    All,
    /// This field of the request message, by its proto name.
    Field(Box<str>),
}

/// The rules of a method in order: that of its annotation and its additional bindings, or, where `config` has
/// rules for the method, the last of those and its bindings instead. None if the method has no rule.
///
/// # Errors
/// Every rule that can't be read.
pub fn rules(
    rpc: &MethodDescriptor,
    grammar: Grammar,
    config: Option<&ServiceConfig>,
) -> Result<Vec<Rule>, Vec<Fault>> {
    match rules_and_faults(rpc, grammar, config) {
        (rules, faults) if faults.is_empty() => Ok(rules),
        (_, faults) => Err(faults),
    }
}

/// As [`rules`]: those that can be read, beside the faults of the others.
pub fn rules_and_faults(
    rpc: &MethodDescriptor,
    grammar: Grammar,
    config: Option<&ServiceConfig>,
) -> (Vec<Rule>, Vec<Fault>) {
    if let Some((spec, source)) = config.and_then(|config| config.rule(rpc.full_name())) {
        return spec.rules(&source, grammar);
    }
    let source = Source { file: rpc.parent_file().name().into(), line: None, method: rpc.full_name().into() };
    match Spec::of_options(rpc) {
        Ok(None) => (Vec::new(), Vec::new()),
        Ok(Some(spec)) => spec.rules(&source, grammar),
        Err(problem) => {
            (Vec::new(), vec![source.fault(problem, "write it as google/api/http.proto declares it")])
        }
    }
}

/// Where a rule was written.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    file: Box<str>,
    line: Option<u32>,
    method: Box<str>,
}

impl Source {
    fn fault(&self, problem: impl fmt::Display, help: impl Into<String>) -> Fault {
        Fault::new(&*self.file, format!("HTTP rule of {}: {problem}", self.method), help).at(self.line)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.method),
            None => write!(f, "{}: {}", self.file, self.method),
        }
    }
}

const KIND_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Limits;
    use crate::schema::Schema;
    use crate::schema::compile;

    fn schema(options: &str) -> Schema {
        let text = format!(
            r#"syntax = "proto3"; package a; import "google/api/annotations.proto";
            message M {{ string name = 1; }} service B {{ rpc C(M) returns (M) {{ {options} }} }}"#
        );
        compile::protos(vec![("a.proto".into(), text.into())], &[], &Limits::default()).unwrap()
    }

    fn read(options: &str, config: Option<&ServiceConfig>) -> Result<Vec<Rule>, Vec<Fault>> {
        rules(&schema(options).services()[0].methods[0].descriptor, Grammar::default(), config)
    }

    #[test]
    fn an_annotation_and_its_bindings_are_rules_in_order() {
        let found = read(
            r#"option (google.api.http) = { get: "/v1/{name=ms/*}" response_body: "name"
                additional_bindings { post: "/v1/ms" body: "*" }
                additional_bindings { put: "/v1/ms" body: "name" }
                additional_bindings { delete: "/v1/ms" }
                additional_bindings { patch: "/v1/ms" }
                additional_bindings { custom { kind: "*" path: "/v1/any" } }
                additional_bindings { custom { kind: "GET" path: "/v1/custom" } } };"#,
            None,
        )
        .unwrap();
        let seen: Vec<_> = found.iter().map(|rule| format!("{} {}", rule.verb, rule.template)).collect();
        assert_eq!(
            seen,
            [
                "GET /v1/{name=ms/*}",
                "POST /v1/ms",
                "PUT /v1/ms",
                "DELETE /v1/ms",
                "PATCH /v1/ms",
                "* /v1/any",
                "GET /v1/custom"
            ]
        );
        assert_eq!(found[0].body, BodyRule::None);
        assert_eq!(found[0].response_body.as_deref(), Some("name"));
        assert_eq!(found[1].body, BodyRule::All);
        assert_eq!(found[2].body, BodyRule::Field("name".into()));
        assert_eq!((&found[5].verb, &found[6].verb), (&Verb::Any, &Verb::Get));
        assert_eq!(&*found[6].at, "a.proto: a.B.C");
    }

    #[test]
    fn a_service_config_overrides_the_annotation() {
        let option = r#"option (google.api.http).get = "/v1/old";"#;
        let config =
            ServiceConfig::parse("http: {rules: [{selector: a.B.C, put: /v2/new}]}", "s.yaml").unwrap();
        let found = read(option, Some(&config)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(&*found[0].template.text, "/v2/new");
        assert_eq!(&*found[0].at, "s.yaml:1: a.B.C");
        let other =
            ServiceConfig::parse("http: {rules: [{selector: a.B.D, put: /v2/new}]}", "s.yaml").unwrap();
        assert_eq!(&*read(option, Some(&other)).unwrap()[0].template.text, "/v1/old");
        assert_eq!(read("", Some(&other)).unwrap(), []);
    }

    #[test]
    fn faults_name_the_method_and_say_what_to_do() {
        for (option, want) in [
            (
                r#"get: "/v1/x{a}""#,
                "a.proto: HTTP rule of a.B.C: template \"/v1/x{a}\" at character 6: `{` can't stand here; \
                 a variable or wildcard is a whole segment: put a / before it",
            ),
            (
                "",
                "a.proto: HTTP rule of a.B.C: it has no path; write one of get, put, post, delete, patch and custom",
            ),
            (
                r#"get: "/a" body: "a.b""#,
                "a.proto: HTTP rule of a.B.C: body \"a.b\" is not a field; write *, or a field directly in the \
                 request message, by its name in the .proto file; if the file is not yours, publish its service by \
                 an API of its own whose `dialects` leave out rest",
            ),
            (
                r#"get: "/a" response_body: "*""#,
                "a.proto: HTTP rule of a.B.C: response_body \"*\" is not a field; write a field directly in the \
                 response message, by its name in the .proto file; if the file is not yours, publish its service by \
                 an API of its own whose `dialects` leave out rest",
            ),
            (
                r#"custom { kind: "A B" path: "/a" }"#,
                "a.proto: HTTP rule of a.B.C: custom kind \"A B\" is no HTTP method; write an HTTP method such as \
                 HEAD, or * for all",
            ),
            (
                r#"get: "/a" additional_bindings { get: "/b" additional_bindings { get: "/c" } }"#,
                "a.proto: HTTP rule of a.B.C: additional_bindings[0]: additional_bindings inside \
                 additional_bindings; move them one level up",
            ),
        ] {
            let faults = read(&format!("option (google.api.http) = {{ {option} }};"), None).unwrap_err();
            assert_eq!(faults[0].to_string(), want, "{option}");
        }
        let many = r#"additional_bindings { get: "/b" } "#.repeat(200);
        let faults =
            read(&format!(r#"option (google.api.http) = {{ get: "/a" {many} }};"#), None).unwrap_err();
        assert_eq!(faults.len(), 1);
    }

    #[test]
    fn an_extension_that_is_no_http_rule_is_a_fault() {
        let read = |declared: &str, set: &str| {
            let text = format!(
                r#"syntax = "proto2"; package a; import "google/protobuf/descriptor.proto"; message M {{}}
                extend google.protobuf.MethodOptions {{ optional {declared} = 72295728; }}
                service B {{ rpc C(M) returns (M) {{ option (http) = {set}; }} }}"#
            );
            let schema =
                compile::protos(vec![("a.proto".into(), text.into())], &[], &Limits::default()).unwrap();
            rules(&schema.services()[0].methods[0].descriptor, Grammar::default(), None)
        };
        assert!(read("int32 http", "7").unwrap_err()[0].problem.contains("not a google.api.HttpRule"));
        assert!(read("bytes http", "\"\\xff\"").is_err());
        // The same bytes under another declaration are the same rule.
        assert_eq!(&*read("bytes http", "\"\\x12\\x02/x\"").unwrap()[0].template.text, "/x");
    }
}

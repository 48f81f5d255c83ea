//! The `http` part of a service config (`google.api.Service`), which overrides annotations.

use std::collections::HashMap;
use std::collections::HashSet;

use crate::call::nearest;
use crate::schema::Fault;
use crate::schema::http::Source;
use crate::schema::http::spec::Custom;
use crate::schema::http::spec::Pattern;
use crate::schema::http::spec::Spec;
use crate::schema::http::spec::quoted;
use crate::schema::http::yaml;
use crate::schema::http::yaml::Node;
use crate::schema::http::yaml::Value;

/// HTTP rules by method, and what holds for all of them.
#[derive(Debug, Default)]
pub struct ServiceConfig {
    file: Box<str>,
    /// By full method name, such as `pets.v1.PetStore.GetPet`.
    rules: HashMap<Box<str>, (u32, Spec)>,
    fully_decode: Option<bool>,
}

impl ServiceConfig {
    /// Reads a service config as YAML or JSON. Only its `http` is looked at; the last rule of a method counts.
    ///
    /// # Errors
    /// Every fault that can be found. Templates are read later, by [`rules`](crate::schema::http::rules).
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<Fault>> {
        let fault =
            |error: yaml::Unreadable| vec![Fault::new(file, error.problem, error.help).at(Some(error.line))];
        let mut reader = Reader { file, faults: Vec::new() };
        let mut config = Self { file: file.into(), ..Self::default() };
        if let Some(root) = yaml::read(text).map_err(fault)? {
            reader.root(root, &mut config);
        }
        if !reader.faults.is_empty() {
            return Err(reader.faults);
        }
        Ok(config)
    }

    /// `fully_decode_reserved_expansion`, if it is set: whether multi-segment captures decode `%2F` too.
    pub fn fully_decode_reserved_expansion(&self) -> Option<bool> {
        self.fully_decode
    }

    /// A fault for each rule whose selector is none of `methods`, the full names of all methods that rules can
    /// be for, naming the nearest of them. Rules for [`absent_mixins`](Self::absent_mixins) are none.
    pub fn unknown<'a>(&self, methods: impl Iterator<Item = &'a str> + Clone) -> Vec<Fault> {
        let mut unknown: Vec<(u32, &str)> =
            self.rules.iter().map(|(selector, (line, _))| (*line, &**selector)).collect();
        let known: HashSet<&str> = methods.clone().collect();
        let absent = self.absent_mixins(methods.clone());
        let is_absent =
            |selector: &str| service_of(selector).is_some_and(|service| absent.contains(&service));
        unknown.retain(|(_, selector)| !known.contains(selector) && !is_absent(selector));
        unknown.sort_unstable();
        unknown.truncate(FAULTS_MAX);
        let fault = |(line, selector): (u32, &str)| {
            let same_last =
                || methods.clone().find(|name| last_part(name).eq_ignore_ascii_case(last_part(selector)));
            let help = match nearest(selector, methods.clone()).or_else(same_last) {
                Some(near) => format!("did you mean {near}?"),
                None => "write the full name of a method of this module: pkg.Service.Method".into(),
            };
            Fault::new(&*self.file, format!("no method has the selector {}", quoted(selector)), help)
                .at(Some(line))
        };
        unknown.into_iter().map(fault).collect()
    }

    /// The common services of Google that have rules although no method of theirs is among `methods`, sorted:
    /// service configurations have rules for them whether or not the service comes with their files.
    pub fn absent_mixins<'a>(&self, methods: impl Iterator<Item = &'a str>) -> Vec<&'static str> {
        let present: HashSet<&str> = methods.filter_map(service_of).collect();
        let asked: HashSet<&str> = self.rules.keys().filter_map(|selector| service_of(selector)).collect();
        MIXINS.iter().copied().filter(|mixin| asked.contains(mixin) && !present.contains(mixin)).collect()
    }

    /// The rule of a method by its full name, and where it stands.
    pub(super) fn rule(&self, method: &str) -> Option<(&Spec, Source)> {
        let (line, spec) = self.rules.get(method)?;
        Some((spec, Source { file: self.file.clone(), line: Some(*line), method: method.into() }))
    }
}

/// The service of a method's full name.
fn service_of(method: &str) -> Option<&str> {
    method.rsplit_once('.').map(|(service, _)| service)
}

struct Reader<'a> {
    file: &'a str,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn root(&mut self, root: Node, config: &mut ServiceConfig) {
        let line = root.line;
        let Value::Map(entries) = root.value else {
            return self.fault(line, "a service config is a map", "write http: with rules: inside");
        };
        for (key, value) in entries {
            if &*key == "http" {
                self.http(value, config);
            }
        }
    }

    fn http(&mut self, node: Node, config: &mut ServiceConfig) {
        let line = node.line;
        let Value::Map(entries) = node.value else {
            return self.fault(line, "http is a map", "write rules: inside it");
        };
        for (key, value) in entries {
            match &*key {
                "rules" => self.rules(value, config),
                "fully_decode_reserved_expansion" | "fullyDecodeReservedExpansion" => {
                    let line = value.line;
                    match value.value {
                        Value::Scalar(text) if &*text == "true" => config.fully_decode = Some(true),
                        Value::Scalar(text) if &*text == "false" => config.fully_decode = Some(false),
                        _ => self.fault(line, format!("{key} is a boolean"), "write true or false"),
                    }
                }
                other => self.unknown_key(value.line, other, &["rules", "fully_decode_reserved_expansion"]),
            }
        }
    }

    fn rules(&mut self, node: Node, config: &mut ServiceConfig) {
        let line = node.line;
        let Value::List(items) = node.value else {
            return self.fault(line, "rules is a list", "begin each rule with - selector:");
        };
        for item in items {
            let line = item.line;
            let Some((selector, spec)) = self.rule(item, Level::Rule) else { continue };
            if selector.is_empty() {
                self.fault(line, "a rule without a selector", "write selector: pkg.Service.Method");
                continue;
            }
            if selector.contains(['*', ',', ' ']) {
                let problem = format!("the selector {} is a pattern", quoted(&selector));
                self.fault(line, problem, "write a rule for each method");
                continue;
            }
            // As google/api/http.proto has it, the last one wins.
            config.rules.insert(selector.into(), (line, spec));
        }
    }

    /// A rule with its selector; nothing where a fault says why.
    fn rule(&mut self, node: Node, level: Level) -> Option<(String, Spec)> {
        let line = node.line;
        let faults = self.faults.len();
        let Value::Map(entries) = node.value else {
            self.fault(line, "a rule is a map", "write get: /path, or another method");
            return None;
        };
        let mut selector = String::new();
        let mut spec = Spec::default();
        let mut seen = Vec::new();
        for (key, value) in entries {
            if seen.contains(&key) {
                self.fault(value.line, format!("{key} is here twice"), "keep one of them");
            }
            match &*key {
                "selector" => selector = self.text(&key, value),
                "body" => spec.body = self.text(&key, value),
                "response_body" | "responseBody" => spec.response_body = self.text(&key, value),
                "additional_bindings" | "additionalBindings" if level == Level::Binding => {
                    let problem = "additional_bindings inside additional_bindings";
                    self.fault(value.line, problem, "move them one level up");
                }
                "additional_bindings" | "additionalBindings" => self.bindings(value, &mut spec),
                "get" | "put" | "post" | "delete" | "patch" | "custom" => {
                    if spec.pattern.is_some() {
                        let help = "keep one; others are additional_bindings";
                        self.fault(value.line, "a second HTTP method in one rule", help);
                    }
                    spec.pattern = self.pattern(&key, value);
                }
                other => self.unknown_key(value.line, other, RULE_KEYS),
            }
            seen.push(key);
        }
        (self.faults.len() == faults).then_some((selector, spec))
    }

    fn bindings(&mut self, node: Node, spec: &mut Spec) {
        let line = node.line;
        let Value::List(items) = node.value else {
            return self.fault(line, "additional_bindings is a list", "begin each binding with -");
        };
        for item in items {
            if let Some((_, binding)) = self.rule(item, Level::Binding) {
                spec.additional_bindings.push(binding);
            }
        }
    }

    fn pattern(&mut self, key: &str, node: Node) -> Option<Pattern> {
        if key == "custom" {
            return self.custom(node);
        }
        let path = self.text(key, node);
        Some(match key {
            "get" => Pattern::Get(path),
            "put" => Pattern::Put(path),
            "post" => Pattern::Post(path),
            "delete" => Pattern::Delete(path),
            _ => Pattern::Patch(path),
        })
    }

    fn custom(&mut self, node: Node) -> Option<Pattern> {
        let line = node.line;
        let Value::Map(entries) = node.value else {
            self.fault(line, "custom is a map", "write kind: HEAD and path: /path inside it");
            return None;
        };
        let mut custom = Custom::default();
        for (key, value) in entries {
            match &*key {
                "kind" => custom.kind = self.text(&key, value),
                "path" => custom.path = self.text(&key, value),
                other => self.unknown_key(value.line, other, &["kind", "path"]),
            }
        }
        Some(Pattern::Custom(custom))
    }

    fn text(&mut self, key: &str, node: Node) -> String {
        if let Value::Scalar(text) = node.value {
            return text.into();
        }
        self.fault(node.line, format!("{key} is a text"), "write one value after the colon");
        String::new()
    }

    fn unknown_key(&mut self, line: u32, key: &str, known: &[&str]) {
        let help = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("write one of {}", known.join(", ")),
        };
        self.fault(line, format!("{} means nothing here", quoted(key)), help);
    }

    fn fault(&mut self, line: u32, problem: impl Into<String>, help: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault::new(self.file, problem, help).at(Some(line)));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Rule,
    Binding,
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

const RULE_KEYS: &[&str] = &[
    "selector",
    "get",
    "put",
    "post",
    "delete",
    "patch",
    "custom",
    "body",
    "response_body",
    "additional_bindings",
];
const FAULTS_MAX: usize = 100;
/// What `mixins` of a service config may name, sorted.
const MIXINS: &[&str] =
    &["google.cloud.location.Locations", "google.iam.v1.IAMPolicy", "google.longrunning.Operations"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::http::Grammar;
    use crate::schema::http::Rule;

    fn parse(text: &str) -> ServiceConfig {
        ServiceConfig::parse(text, "service.yaml").unwrap()
    }

    fn rules(config: &ServiceConfig, method: &str) -> Vec<Rule> {
        let (spec, source) = config.rule(method).unwrap();
        let (rules, faults) = spec.rules(&source, Grammar::default());
        assert!(faults.is_empty(), "{faults:?}");
        rules
    }

    const GOOD: &str = "
type: google.api.Service
config_version: 3
documentation: {rules: [{selector: a.*}]}
http:
  fully_decode_reserved_expansion: true
  rules:
  - selector: a.B.Get
    get: /v0/old
  - selector: a.B.Get
    get: '/v1/{name=b/*}'
    additional_bindings:
    - post: '/v1/{name=b/*}:get'
      body: '*'
    - custom: {kind: HEAD, path: '/v1/b'}
      response_body: part
  - {selector: a.B.Put, put: '/v1/b', body: b}
";

    #[test]
    fn the_last_rule_of_a_method_counts() {
        let config = parse(GOOD);
        assert_eq!(config.fully_decode_reserved_expansion(), Some(true));
        let got = rules(&config, "a.B.Get");
        let seen: Vec<_> = got.iter().map(|rule| format!("{} {}", rule.verb, rule.template)).collect();
        assert_eq!(seen, ["GET /v1/{name=b/*}", "POST /v1/{name=b/*}:get", "HEAD /v1/b"]);
        assert_eq!(got[2].response_body.as_deref(), Some("part"));
        assert_eq!(&*got[0].at, "service.yaml:10: a.B.Get");
        assert_eq!(rules(&config, "a.B.Put").len(), 1);
        assert!(config.rule("a.B.Delete").is_none());
    }

    #[test]
    fn json_and_other_parts_are_read_too() {
        let json = r#"{"name": "x", "http": {"rules": [{"selector": "a.B.C", "get": "/c", "responseBody": "r",
            "additionalBindings": [{"delete": "/c"}]}]}}"#;
        assert_eq!(rules(&parse(json), "a.B.C").len(), 2);
        for text in ["", "name: x", "http: {}"] {
            assert!(parse(text).rules.is_empty(), "{text}");
        }
    }

    #[test]
    fn unknown_selectors_name_the_nearest() {
        let config = parse(
            "http: {rules: [{selector: a.B.Gte, get: /a}, {selector: q.R.S, get: /b}, {selector: a.B.Get, get: /c}, \
                {selector: q.Pet.listpets, get: /d}]}",
        );
        let faults = config.unknown(["a.B.Get", "a.B.Put", "q.v2.Pets.ListPets"].into_iter());
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "service.yaml:1: no method has the selector \"a.B.Gte\"; did you mean a.B.Get?",
                "service.yaml:1: no method has the selector \"q.Pet.listpets\"; did you mean q.v2.Pets.ListPets?",
                "service.yaml:1: no method has the selector \"q.R.S\"; write the full name of a method of this module: pkg.Service.Method",
            ]
        );
    }

    #[test]
    fn rules_of_mixins_are_for_modules_that_have_them() {
        let config = parse(
            "http: {rules: [{selector: google.longrunning.Operations.GetOperation, get: /a},
            {selector: google.longrunning.Operations.Lits, get: /b}, {selector: google.iam.v1.IAMPolicy.X, get: /c}]}",
        );
        let absent = ["a.B.GetOperation"].into_iter();
        assert_eq!(
            config.absent_mixins(absent.clone()),
            ["google.iam.v1.IAMPolicy", "google.longrunning.Operations"]
        );
        assert_eq!(config.unknown(absent), []);
        let present =
            ["google.longrunning.Operations.List", "google.longrunning.Operations.GetOperation"].into_iter();
        assert_eq!(config.absent_mixins(present.clone()), ["google.iam.v1.IAMPolicy"]);
        let faults = config.unknown(present);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].help, "did you mean google.longrunning.Operations.List?");
    }

    #[test]
    fn faults_are_located_and_say_what_to_do() {
        for (text, want) in [
            ("[]", "service.yaml:1: a service config is a map; write http: with rules: inside"),
            ("http: 1", "service.yaml:1: http is a map; write rules: inside it"),
            ("http:\n  rule: []", "service.yaml:2: \"rule\" means nothing here; did you mean rules?"),
            (
                "http:\n  rules:\n  - get: /a",
                "service.yaml:3: a rule without a selector; write selector: pkg.Service.Method",
            ),
            (
                "http: {rules: [{selector: 'a.*', get: /a}]}",
                "service.yaml:1: the selector \"a.*\" is a pattern; write a rule for each method",
            ),
            (
                "http: {rules: [{selector: a.B.C, get: /a, put: /a}]}",
                "service.yaml:1: a second HTTP method in one rule; keep one; others are additional_bindings",
            ),
            (
                "http: {rules: [{selector: a.B.C, get: /a, additional_bindings: [{get: /b, additional_bindings: []}]}]}",
                "service.yaml:1: additional_bindings inside additional_bindings; move them one level up",
            ),
            (
                "http: {rules: [{selector: a.B.C, get: [/a]}]}",
                "service.yaml:1: get is a text; write one value after the colon",
            ),
            (
                "http: {rules: [{selector: a.B.C, get: /a, get: /b}]}",
                "service.yaml:1: get is here twice; keep one of them",
            ),
            (
                "http: {rules: [{selector: a.B.C, custom: GET}]}",
                "service.yaml:1: custom is a map; write kind: HEAD and path: /path inside it",
            ),
            (
                "http: {fully_decode_reserved_expansion: 1}",
                "service.yaml:1: fully_decode_reserved_expansion is a boolean; write true or false",
            ),
        ] {
            let faults = ServiceConfig::parse(text, "service.yaml").unwrap_err();
            assert_eq!(faults[0].to_string(), want, "{text}");
        }
        let many = format!("http: {{rules: [{}]}}", "{x: 1},".repeat(5_000));
        assert!(ServiceConfig::parse(&many, "x").unwrap_err().len() <= FAULTS_MAX);
    }
}

//! Finds what a call asks for under another label than the one that its API serves.
//!
//! A header only picks among versions that are published: whatever it says, the call stays with the hosts and the
//! policies of an API that lets it ask.

use http::HeaderValue;
use http::request::Parts;

use crate::call::Reason;
use crate::call::Refusal;
use crate::gateway::shown;
use crate::gateway::target;
use crate::gateway::target::Outcome;
use crate::gateway::target::Target;
use crate::snapshot::Api;
use crate::snapshot::Snapshot;

/// What `head` asks for; `served` is what it would get without asking for a label.
pub(super) fn find(snapshot: &Snapshot, head: &Parts, served: Target) -> Target {
    let asked = match &served.plan {
        Some(plan) => asked(&plan.api, head),
        // It may be published under that label alone.
        None if matches!(served.outcome, Outcome::Answer(_)) => None,
        None => snapshot.label_headers.iter().find_map(|name| head.headers.get(name)),
    };
    let Some(asked) = asked else { return served };
    if served.plan.as_ref().is_some_and(|plan| asked.as_bytes() == plan.api.label.as_bytes()) {
        return served;
    }
    // Other APIs may have other headers: this label is for those alone that are asked by theirs.
    let is_asked = |target: &Target| {
        let plan = target.plan.as_ref();
        plan.is_some_and(|plan| self::asked(&plan.api, head).is_some_and(|label| label == asked))
    };
    let tables = asked.to_str().ok().and_then(|label| snapshot.labelled.get(label));
    match tables.map(|tables| target::among(tables, head)).filter(is_asked) {
        Some(found) => found,
        None => match &served.plan {
            Some(plan) => {
                let refusal = unknown(snapshot, &plan.api, &plan.method.path, asked);
                Target { outcome: Outcome::Refuse(refusal), ..served }
            }
            None => served,
        },
    }
}

/// The label that a call of an API asks for.
fn asked<'h>(api: &Api, head: &'h Parts) -> Option<&'h HeaderValue> {
    head.headers.get(api.label_header.as_ref()?)
}

fn unknown(snapshot: &Snapshot, api: &Api, path: &str, asked: &HeaderValue) -> Refusal {
    let label = String::from_utf8_lossy(asked.as_bytes());
    let label = shown(&label);
    let labels = snapshot.modules.get(&*api.module);
    if labels.is_some_and(|labels| labels.get(label).is_some()) {
        return Refusal::new(Reason::MethodUnknown, format!("label \"{label}\" has no method {path}"));
    }
    let known = labels.into_iter().flat_map(|labels| labels.iter()).map(|(label, _)| format!("\"{label}\""));
    let known: Vec<String> = known.take(LABELS_SHOWN).collect();
    let told = format!("module \"{}\" has no label \"{label}\": ask for {}", api.module, known.join(" or "));
    Refusal::new(Reason::MethodUnknown, told)
}

/// Labels that a refusal names.
const LABELS_SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;
    use std::sync::Arc;

    use http::Request;

    use super::*;
    use crate::config;
    use crate::observe::Metrics;
    use crate::policy;
    use crate::schema::Limits;
    use crate::schema::Schema;
    use crate::schema::compile::protos;
    use crate::snapshot::Inputs;
    use crate::snapshot::Labels;
    use crate::snapshot::Shadows;
    use crate::snapshot::compile;
    use crate::upstream::Specs;

    const CONFIG: &str = "listeners: [{ name: l, address: '127.0.0.1:0' }]
upstreams: [{ name: u, endpoints: [{ address: '127.0.0.1:1' }] }]
modules: [{ name: pets }, { name: shops }, { name: later }]
apis:
  - { name: pets, module: pets, upstream: u, label_header: x-label, openapi: { path: /pets.json } }
  - { name: shops, module: shops, upstream: u }
  - { name: later, module: later, upstream: u, label_header: x-other }
";

    /// A module with a rule for each method.
    fn schema(package: &str, methods: &[&str]) -> Schema {
        let rpc = |name: &&str| {
            format!(
                "rpc {name}(M) returns (M) {{ option (google.api.http) = {{ get: '/{package}/{name}/{{id}}' }}; }}"
            )
        };
        let methods: String = methods.iter().map(rpc).collect();
        let text = format!(
            "syntax = 'proto3'; package {package}; import 'google/api/annotations.proto';
             message M {{ string id = 1; }} service S {{ {methods} }}"
        );
        protos(vec![("t.proto".into(), text.into())], &[], &Limits::default()).unwrap()
    }

    fn snapshot() -> Snapshot {
        let labels = |package: &str, versions: &[(&str, &[&str])]| {
            let mut labels = Labels::default();
            for (label, methods) in versions {
                labels.set(label, schema(package, methods));
            }
            (package.to_owned(), labels)
        };
        let modules = [
            labels("pets", &[("live", &["Get", "Old"]), ("canary", &["Get", "New"])]),
            labels("shops", &[("live", &["Get"]), ("canary", &["Get", "New"])]),
            labels("later", &[("canary", &["Get"])]),
        ];
        let metrics = Metrics::new(1);
        compile(&Inputs {
            config: Arc::new(config::parse(CONFIG, Path::new("t.yaml"), &|_| None).unwrap()),
            modules: &modules.into(),
            rules: &HashMap::new(),
            before: None,
            own: &[],
            kinds: policy::TABLE,
            extra: &[],
            documents: &[],
            in_process: &HashMap::new(),
            shadows: &Shadows::new(metrics.clone()),
            specs: &Specs::new(1, metrics.clone()),
            upstream_tls: &HashMap::new(),
            metrics: &metrics,
            generation: 1,
        })
        .unwrap()
    }

    /// What is found, in words.
    fn ask(snapshot: &Snapshot, path: &str, content_type: &str, header: (&str, &str)) -> String {
        let verb = if content_type.is_empty() { "GET" } else { "POST" };
        let mut request = Request::builder().method(verb).uri(path).header("host", "any.host");
        for (name, value) in [("content-type", content_type), header] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let target = target::find(snapshot, &head);
        match (target.outcome, target.plan) {
            (Outcome::Serve, Some(plan)) => {
                let known = plan.api.schema.method(&plan.method.path).is_some();
                assert!(known, "the plan and its API are of one version");
                format!("{} {} {}", plan.api.name, plan.api.label, plan.method.name)
            }
            (Outcome::Serve, None) => "nothing".into(),
            (Outcome::Answer(_), _) => "answered".into(),
            (Outcome::Refuse(refusal), _) => {
                assert_eq!(refusal.reason, Reason::MethodUnknown);
                refusal.told.to_string()
            }
        }
    }

    #[test]
    fn a_header_picks_a_label_of_an_api_that_names_it() {
        let snapshot = snapshot();
        let (live, canary) = (("x-label", "live"), ("x-label", "canary"));
        let none = ("x-label", "");
        let old = "label \"canary\" has no method /pets.S/Old";
        for (method, header, want) in [
            ("pets Get", none, "pets live Get"),
            ("pets Get", live, "pets live Get"),
            ("pets Get", canary, "pets canary Get"),
            ("pets New", none, "nothing"),
            ("pets New", live, "nothing"),
            ("pets New", canary, "pets canary New"),
            ("pets Old", none, "pets live Old"),
            ("pets Old", canary, old),
            // It is another API's header, or none that any API has.
            ("pets Get", ("x-other", "canary"), "pets live Get"),
            ("pets New", ("x-other", "canary"), "nothing"),
            ("pets Get", ("x-none", "canary"), "pets live Get"),
            ("shops Get", canary, "shops live Get"),
            ("shops New", canary, "nothing"),
            // Nothing is live yet.
            ("later Get", none, "nothing"),
            ("later Get", ("x-other", "canary"), "later canary Get"),
            ("later Get", ("x-label", "canary"), "nothing"),
        ] {
            let (package, method) = method.split_once(' ').unwrap();
            let path = format!("/{package}.S/{method}");
            for content_type in
                ["application/grpc", "application/grpc-web+proto", "application/proto", "application/json"]
            {
                assert_eq!(
                    ask(&snapshot, &path, content_type, header),
                    want,
                    "{path} {content_type} {header:?}"
                );
            }
            let path = format!("/{package}/{method}/7");
            assert_eq!(ask(&snapshot, &path, "", header), want, "{path} {header:?}");
        }
        assert_eq!(ask(&snapshot, "/pets.json", "", canary), "answered");
    }

    #[test]
    fn a_label_that_is_not_there_is_refused_with_those_that_are() {
        let snapshot = snapshot();
        let ask = |label: &str| ask(&snapshot, "/pets.S/Get", "application/grpc", ("x-label", label));
        assert_eq!(ask("canray"), "module \"pets\" has no label \"canray\": ask for \"canary\" or \"live\"");
        assert_eq!(ask("Live"), "module \"pets\" has no label \"Live\": ask for \"canary\" or \"live\"");
        let long = ask(&"x".repeat(10_000));
        assert!(long.len() < 400, "{long}");
    }

    #[test]
    fn without_such_an_api_nothing_is_looked_at() {
        assert!(Snapshot::empty().label_headers.is_empty());
        let snapshot = snapshot();
        assert_eq!(snapshot.label_headers.len(), 2);
        let labels: Vec<&str> = snapshot.labelled.keys().map(|label| &**label).collect();
        assert_eq!(labels, ["canary"]);
    }
}

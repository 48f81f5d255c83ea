//! Runs `path_templates.json`: what each path asks for. Another folder of vectors: `TRANSOM_VECTORS=DIR`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::Method;
use serde_json::Value;
use serde_json::json;
use transom::config::host::HostPattern;
use transom::route::Owner;
use transom::route::Rank;
use transom::route::rest::Found;
use transom::route::rest::Mount;
use transom::route::rest::RestTable;
use transom::schema::http::BodyRule;
use transom::schema::http::Grammar;
use transom::schema::http::Rule;
use transom::schema::http::Template;
use transom::schema::http::Verb;

#[test]
fn paths_ask_for_what_the_vectors_say() {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let folder = std::env::var_os("TRANSOM_VECTORS").map_or(own, PathBuf::from);
    let text = std::fs::read_to_string(folder.join("path_templates.json")).expect("the vectors are there");
    let vectors: Value = serde_json::from_str(&text).expect("the vectors are JSON");
    let cases = vectors["cases"].as_array().expect("a list of cases");
    assert!(100 < cases.len());
    let mut failures = Vec::new();
    let mut check = |case: &Value, grammar: Grammar, want: &Value, which: &str| {
        let got = run(case, grammar);
        if got != sorted(want.clone()) {
            failures.push(format!("{} ({which}): got {got}, want {want}", case["id"]));
        }
    };
    let lenient = Grammar { allow_mid_double_star: true, allow_root: true };
    for case in cases {
        check(case, Grammar::default(), &case["expect"], "strict");
        let want = case.get("lenient_expect").unwrap_or_else(|| &case["expect"]);
        check(case, lenient, want, "lenient");
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Publishes the routes in their order and asks; the answer looks like the `expect` of a case.
fn run(case: &Value, grammar: Grammar) -> Value {
    let mut table = RestTable::default();
    let rank = || Rank { owner: Owner::Team, host: HostPattern::Any };
    for route in case["routes"].as_array().expect("a list of routes") {
        let name = text(&route["name"]).to_owned();
        let Ok(template) = Template::parse(text(&route["template"]), grammar) else {
            return json!({"kind": "invalid_template", "route": name});
        };
        let names: Vec<String> = template.variables.iter().map(|variable| variable.name()).collect();
        let rule = Rule {
            verb: Verb::parse(text(&route["method"])).expect("a method"),
            template,
            body: BodyRule::None,
            response_body: None,
            at: name.clone().into(),
        };
        let target = (name.clone(), names);
        if let Err((there, _)) = table.publish(rank(), &Mount::default(), &rule, target) {
            return json!({"kind": "conflict", "routes": [there, name]});
        }
    }
    let method = Method::from_bytes(text(&case["request"]["method"]).as_bytes()).expect("a method");
    match table.find("api.example.com", &method, text(&case["request"]["path"])) {
        Found::Match { target: (name, fields), captures } => {
            assert_eq!(fields.len(), captures.len());
            let captures: BTreeMap<_, _> = fields.iter().zip(&captures).collect();
            json!({"kind": "match", "route": name, "captures": captures})
        }
        Found::NotFound => json!({"kind": "not_found"}),
        Found::MethodNotAllowed { allow } => json!({"kind": "method_not_allowed", "allow": allow}),
        Found::BadRequest(why) => {
            assert!(!why.to_string().is_empty());
            json!({"kind": "bad_request"})
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// `allow` is a set.
fn sorted(mut expect: Value) -> Value {
    if let Some(allow) = expect.get_mut("allow").and_then(Value::as_array_mut) {
        allow.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    expect
}

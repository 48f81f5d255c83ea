//! OpenAPI documents through the public door: goldens, and what must hold of every document.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;

use transom::openapi::Bare;
use transom::openapi::Errors;
use transom::openapi::Int64;
use transom::openapi::Options;
use transom::openapi::document;
use transom::schema::Limits;
use transom::schema::Rpc;
use transom::schema::Schema;
use transom::schema::compile;
use transom::schema::http::Grammar;
use transom::schema::http::Rule;
use transom::schema::http::rules;
use transom::schema::source;

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn compiled(files: Vec<(String, Vec<u8>)>) -> Schema {
    compile::protos(files, &[], &Limits::default()).expect("the files are well-formed")
}

fn garden() -> Schema {
    compiled(source::protos(&at("tests/openapi/protos"), &Limits::default()).expect("the files are there"))
}

fn library() -> Schema {
    let name = "transom/demo/v1/library.proto";
    let text = fs::read(at("protos").join(name)).expect("the file is there");
    compiled(vec![(name.to_owned(), text)])
}

fn text(proto: &str) -> Schema {
    compiled(vec![("a.proto".to_owned(), proto.as_bytes().to_vec())])
}

fn written(schema: &Schema, options: &Options<'_>) -> String {
    let methods: Vec<(&Rpc, Vec<Rule>)> = schema
        .services()
        .iter()
        .flat_map(|service| &service.methods)
        .map(|rpc| {
            (rpc, rules(&rpc.descriptor, Grammar::default(), None).expect("the rules are well-formed"))
        })
        .collect();
    document(schema, methods.iter().map(|(rpc, rules)| (*rpc, &rules[..])), options)
}

fn read(schema: &Schema, options: &Options<'_>) -> Value {
    serde_json::from_str(&written(schema, options)).expect("a document is JSON")
}

fn golden(name: &str, schema: &Schema, options: &Options<'_>) {
    let path = at("tests/openapi").join(name);
    let found = written(schema, options);
    assert_eq!(found, written(schema, options), "the same twice");
    check(&serde_json::from_str(&found).expect("a document is JSON"));
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &found).expect("goldens can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
    let line = differs.unwrap_or_else(|| found.lines().count().min(expected.lines().count())) + 1;
    assert!(found == expected, "{name} differs from line {line} on: BLESS=1 cargo test writes it anew");
}

/// What must hold of every document: references lead somewhere, ids are unique, paths differ by more than the
/// names of their parameters, and each has just the parameters it names.
fn check(document: &Value) {
    let mut references = BTreeSet::new();
    collect(document, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut ids = BTreeSet::new();
    let mut shapes = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("an object") {
        let mut names = BTreeSet::new();
        let mut shape = String::new();
        let mut rest = path.as_str();
        while let Some((before, inner)) = rest.split_once('{') {
            let (name, after) = inner.split_once('}').expect("braces come in pairs");
            assert!(names.insert(name.to_owned()), "{path} has {name} twice");
            shape = format!("{shape}{before}{{}}");
            rest = after;
        }
        assert!(shapes.insert(shape + rest), "{path} is another path by other names");
        for operation in item.as_object().expect("an object").values() {
            let id = operation["operationId"].as_str().expect("a text");
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            let mut in_path = BTreeSet::new();
            let mut all = BTreeSet::new();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().expect("a text").to_owned();
                let place = parameter["in"].as_str().expect("a text");
                assert!(all.insert((name.clone(), place)), "{id} has {name} twice");
                if place == "path" {
                    assert_eq!(parameter["required"], true);
                    in_path.insert(name);
                }
            }
            assert_eq!(in_path, names, "{path}");
        }
    }
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| collect(member, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => (),
    }
}

fn parameters(operation: &Value) -> Vec<&str> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters.map(|parameter| parameter["name"].as_str().expect("a text")).collect()
}

#[test]
fn the_library_is_as_it_was() {
    golden("library.json", &library(), &Options { version: "1", ..Options::default() });
}

#[test]
fn the_garden_is_as_it_was() {
    golden("garden.json", &garden(), &Options::default());
}

#[test]
fn the_garden_by_other_options_is_as_it_was() {
    let options = Options {
        title: "Garden, the old way",
        description: "As clients of the first version have it.",
        servers: &["https://garden.example.com"],
        prefix: "/api",
        preserve_names: true,
        enums_as_numbers: true,
        int64: Int64::Number,
        errors: Errors::Aip193,
        bare: Bare::Rest,
        ..Options::default()
    };
    golden("garden_numbers.json", &garden(), &options);
}

#[test]
fn the_garden_with_problems_is_as_it_was() {
    let options = Options { errors: Errors::Problem, bare: Bare::Absent, ..Options::default() };
    golden("garden_problem.json", &garden(), &options);
}

#[test]
fn a_field_is_in_the_path_the_body_or_the_query() {
    let document = read(&garden(), &Options::default());
    let paths = &document["paths"];
    let find = &paths["/v1/plants"]["get"];
    let expected = [
        "parent",
        "filter.text",
        "filter.inner.digest",
        "filter.inner.seed",
        "pageSize",
        "sorts",
        "age",
        "mask",
        "weight",
    ];
    assert_eq!(parameters(find), expected);
    assert_eq!(find["parameters"][5]["explode"], true);
    let in_bed = parameters(&paths["/v1/beds/{bed}/plants"]["get"]);
    assert_eq!((in_bed[0], in_bed.contains(&"parent")), ("bed", false));
    let create = &paths["/v1/beds/{bed}/plants"]["post"];
    assert_eq!(parameters(create), ["bed", "validateOnly"]);
    // Get came first and named it.
    let update = &paths["/v1/plants/{id}"]["patch"];
    assert_eq!(parameters(update), ["id", "updateMask"]);
    let body = &document["components"]["schemas"]["garden.v1.Garden.Update.Body"];
    assert!(body["properties"]["id"].is_null() && body["properties"]["sort"].is_object());
    let whole = &document["components"]["schemas"]["garden.v1.Garden.Update.Body2"];
    assert!(whole["properties"]["plant"]["properties"]["id"].is_null());
    assert!(whole["properties"]["plant"]["properties"]["sort"].is_object());
    assert_eq!(parameters(&paths["/v1/plants/{id}"]["put"]), ["id"]);
}

#[test]
fn rules_that_openapi_cannot_tell_apart_are_told_once() {
    let document = read(&garden(), &Options::default());
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths["/v1/plants/{id}"]["get"]["operationId"], "Garden_Get");
    let deep = &paths["/garden.v1.Garden/GetDeep"]["post"];
    assert!(deep["description"].as_str().unwrap().contains("Also served as `GET /v1/plants/{id=**}`."));
    let look = &paths["/v1/plants/{id}"]["head"];
    assert!(look["description"].as_str().unwrap().contains("Also served as `LOOK /v1/plants/{id}`."));
    assert!(!paths.contains_key("/garden.v1.Garden/Get"));
    let reversed = text(
        r#"syntax = "proto3"; import "google/api/annotations.proto"; message M { string id = 1; }
        service S {
          rpc Rest(M) returns (M) { option (google.api.http) = { get: "/{id=**}" }; }
          rpc Every(M) returns (M) { option (google.api.http) = { custom: { kind: "*" path: "/{id}" } }; }
          rpc One(M) returns (M) { option (google.api.http) = { get: "/{id}" }; }
        }"#,
    );
    let document = read(&reversed, &Options::default());
    check(&document);
    assert_eq!(document["paths"]["/{id}"]["get"]["operationId"], "S_One");
    assert_eq!(document["paths"]["/{id}"]["post"]["operationId"], "S_Every");
    assert_eq!(document["paths"]["/S/Rest"]["post"]["operationId"], "S_Rest");
}

#[test]
fn namesakes_of_other_packages_have_ids_of_their_own() {
    let file = |name: &str, package: &str| {
        let text = format!(
            "syntax = \"proto3\"; package {package}; message M {{}} service S {{ rpc A(M) returns (M); }}"
        );
        (name.to_owned(), text.into_bytes())
    };
    let document =
        read(&compiled(vec![file("a.proto", "a.v1"), file("b.proto", "b.v1")]), &Options::default());
    check(&document);
    assert_eq!(document["paths"]["/a.v1.S/A"]["post"]["operationId"], "S_A");
    assert_eq!(document["paths"]["/b.v1.S/A"]["post"]["operationId"], "b_v1_S_A");
    assert_eq!(document["info"]["title"], "a.v1, b.v1");
}

#[test]
fn a_choice_that_the_path_has_made_is_not_asked_for() {
    let schema = text(
        r#"syntax = "proto3"; import "google/api/annotations.proto"; import "buf/validate/validate.proto";
        message M {
          oneof key { option (buf.validate.oneof).required = true; string id = 1; string name = 2; }
          oneof other { option (buf.validate.oneof).required = true; string a = 3; string b = 4; }
          option (buf.validate.message).oneof = { fields: ["id", "c"], required: true };
          option (buf.validate.message).oneof = { fields: ["c", "d"], required: true };
          string c = 5; string d = 6;
        }
        service S { rpc A(M) returns (M) { option (google.api.http) = { post: "/m/{id}" body: "*" }; } }"#,
    );
    let document = read(&schema, &Options::default());
    check(&document);
    let one = |name: &str| serde_json::json!({ "required": [name] });
    let body = &document["components"]["schemas"]["S.A.Body"];
    let needed = serde_json::json!([
        { "anyOf": [one("a"), one("b")] },
        { "anyOf": [one("c"), one("d")] },
    ]);
    assert_eq!(body["allOf"], needed);
    let excluded = serde_json::json!({ "anyOf": [{ "required": ["a", "b"] }, { "required": ["c", "d"] }] });
    assert_eq!(body["not"], excluded);
    assert_eq!(document["components"]["schemas"]["M"]["allOf"].as_array().unwrap().len(), 4);
}

#[test]
fn own_schemas_give_way_to_those_of_the_module() {
    let schema = text(
        "syntax = \"proto3\"; package connect; message Error { string mine = 1; }
        service S { rpc A(Error) returns (Error); }",
    );
    let document = read(&schema, &Options::default());
    check(&document);
    let schemas = &document["components"]["schemas"];
    assert!(schemas["connect.Error"]["properties"]["mine"].is_object());
    assert!(schemas["connect.Error-1"]["properties"]["code"].is_object());
}

#[test]
fn a_hostile_module_makes_a_bounded_document() {
    use std::fmt::Write as _;
    let mut proto = "syntax = \"proto3\"; import \"google/api/annotations.proto\";\n".to_owned();
    // Each message has ten of the next: ten to the eighth leaves, were they all told.
    for level in 0..9 {
        writeln!(proto, "message L{level} {{").unwrap();
        for field in 1..=10 {
            let of = if level == 8 { "string".to_owned() } else { format!("L{}", level + 1) };
            writeln!(proto, "// {}\n{of} f{field} = {field};", "long ".repeat(2_000)).unwrap();
        }
        proto.push_str("}\n");
    }
    proto.push_str("service S {\n");
    for method in 0..500 {
        writeln!(
            proto,
            "rpc M{method}(L0) returns (L0) {{ option (google.api.http) = {{ get: \"/m{method}\" }}; }}"
        )
        .unwrap();
    }
    proto.push_str("}\n");
    let written = written(&text(&proto), &Options::default());
    assert!(written.len() < 150 << 20, "{} bytes", written.len());
    let document: Value = serde_json::from_str(&written).unwrap();
    check(&document);
    assert!(document["components"]["schemas"]["L8"].is_object());

    let flat: String = (1..=400).map(|field| format!("string f{field} = {field};")).collect();
    let proto = format!(
        "syntax = \"proto3\"; import \"google/api/annotations.proto\"; message M {{ {flat} }}
        service S {{ rpc A(M) returns (M) {{ option (google.api.http) = {{ get: \"/m\" }}; }} }}"
    );
    let document = read(&text(&proto), &Options::default());
    let operation = &document["paths"]["/m"]["get"];
    assert_eq!(operation["parameters"].as_array().unwrap().len(), 300);
    assert_eq!(operation["x-more-query-parameters"], true);
}

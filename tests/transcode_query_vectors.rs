//! Runs `query_params.json`: what path, query and body make of a request. Another folder: `TRANSOM_VECTORS=DIR`.

use std::path::PathBuf;

use prost_reflect::DescriptorPool;
use prost_reflect::DynamicMessage;
use prost_reflect::MessageDescriptor;
use protox::Compiler;
use protox::file::ChainFileResolver;
use protox::file::File;
use protox::file::FileResolver;
use protox::file::GoogleFileResolver;
use serde_json::Value;
use serde_json::json;
use transom::schema::Traits;
use transom::transcode::BindOptions;
use transom::transcode::Binding;
use transom::transcode::Body;
use transom::transcode::BoundBody;
use transom::transcode::Plans;
use transom::transcode::ReadOptions;
use transom::transcode::read;
use transom::transcode::read_field;

#[test]
fn requests_are_what_the_vectors_say() {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let folder = std::env::var_os("TRANSOM_VECTORS").map_or(own, PathBuf::from);
    let text = std::fs::read_to_string(folder.join("query_params.json")).expect("the vectors are there");
    let vectors: Value = serde_json::from_str(&text).expect("the vectors are JSON");
    let cases = vectors["cases"].as_array().expect("a list of cases");
    assert!(50 < cases.len());
    let (plans, request) = schema(&vectors["schema"]);
    let mut failures = Vec::new();
    for case in cases {
        let got = run(&plans, &request, case);
        let want = &case["expect"];
        let is_right = match (&got, want["kind"].as_str()) {
            (Ok(message), Some("ok")) => *message == want["message"],
            (Err(_), Some("error")) => true,
            _ => false,
        };
        if !is_right {
            failures.push(format!("{}: got {got:?}, want {want}", case["id"]));
        }
    }
    assert!(failures.is_empty(), "{} of {} fail:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// The request of a case as canonical JSON, or the sentence with which it is refused.
fn run(plans: &Plans, request: &MessageDescriptor, case: &Value) -> Result<Value, String> {
    let bindings = case["path_bindings"].as_object().cloned().unwrap_or_default();
    let names: Vec<Vec<Box<str>>> =
        bindings.keys().map(|path| path.split('.').map(Into::into).collect()).collect();
    let variables: Vec<&[Box<str>]> = names.iter().map(Vec::as_slice).collect();
    let captures: Vec<String> =
        bindings.values().map(|text| text.as_str().expect("captures are strings").to_owned()).collect();
    let body = match case["body"].as_str() {
        None => Body::None,
        Some("*") => Body::All,
        Some(field) => Body::Field(field),
    };
    let options = options(case);
    let root = plans.find(request.full_name()).expect("the message is in the pool");
    let binding = Binding::compile(plans, root, &variables, body, &options).expect("the rule is right");

    let json = case.get("body_json").map(Value::to_string).unwrap_or_default();
    binding.check_body(json.as_bytes()).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    if !json.is_empty() {
        let (json, bound, read_options) = (json.as_bytes(), binding.bound(), ReadOptions::default());
        match binding.body() {
            BoundBody::None => unreachable!("the body was refused"),
            BoundBody::All => read(plans, root, json, bound, &read_options, &mut out),
            BoundBody::Field(field) => read_field(plans, root, field, json, bound, &read_options, &mut out),
        }
        .map_err(|error| error.to_string())?;
    }
    let query = case["query"].as_str().expect("a query");
    binding.bind(plans, &captures, query, &mut out).map_err(|error| error.to_string())?;
    let message = DynamicMessage::decode(request.clone(), out.as_slice()).expect("it is protobuf");
    Ok(serde_json::to_value(&message).expect("it has a JSON form"))
}

/// An option that nothing here knows fails the test: the case would not be run as it is meant.
fn options(case: &Value) -> BindOptions {
    let mut options = BindOptions::default();
    for (name, value) in case["options"].as_object().into_iter().flatten() {
        match name.as_str() {
            "ignored_query_parameters" => {
                let names = value.as_array().expect("a list of names").iter();
                options.ignored_query_parameters =
                    names.map(|name| name.as_str().expect("a name").to_owned()).collect();
            }
            "ignore_unknown_query_parameters" | "ignore_unknown" if *value == json!(true) => {
                options.unknown_query = transom::transcode::Unknown::Ignore;
            }
            "lenient_bool" => options.lenient_bool = *value == json!(true),
            _ => panic!("{}: unknown option {name}", case["id"]),
        }
    }
    options
}

/// The schema that the vectors describe, as `.proto` text.
fn schema(described: &Value) -> (Plans, MessageDescriptor) {
    let mut source = IMPORTS.to_owned();
    source.push_str(&message("Req", &described["fields"]));
    source.push_str(&message("Nested", &described["vec.Nested"]));
    source.push_str("enum Color {\n");
    let values = described["vec.Color"].as_object().expect("the values of an enum").iter();
    let mut values: Vec<_> = values.filter_map(|(name, number)| Some((number.as_i64()?, name))).collect();
    values.sort_unstable();
    for (number, name) in values {
        source.push_str(&format!("  {name} = {number};\n"));
    }
    source.push_str("}\n");
    let mut resolver = ChainFileResolver::new();
    resolver.add(GoogleFileResolver::new());
    resolver.add(Source(source));
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_file(FILE).expect("the schema compiles");
    let pool = DescriptorPool::from_file_descriptor_set(compiler.file_descriptor_set()).expect("it links");
    let request = pool.get_message_by_name("vec.Req").expect("the request is there");
    (Plans::new(pool, Traits::default()), request)
}

/// The fields of a message, numbered as they come; those of a oneof say so after their type.
fn message(name: &str, fields: &Value) -> String {
    let (mut plain, mut chosen) = (String::new(), String::new());
    for (number, (field, declared)) in (1..).zip(fields.as_object().expect("the fields of a message")) {
        let declared = declared.as_str().expect("a type").replace("enum ", "");
        if let Some(declared) = declared.strip_suffix(" (oneof choice)") {
            chosen.push_str(&format!("    {declared} {field} = {number};\n"));
        } else if let Some((declared, options)) = declared.split_once(" [") {
            plain.push_str(&format!("  {declared} {field} = {number} [{options};\n"));
        } else {
            plain.push_str(&format!("  {declared} {field} = {number};\n"));
        }
    }
    let chosen = if chosen.is_empty() { chosen } else { format!("  oneof choice {{\n{chosen}  }}\n") };
    format!("message {name} {{\n{plain}{chosen}}}\n")
}

struct Source(String);

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == FILE {
            return File::from_source(name, &self.0);
        }
        Err(protox::Error::file_not_found(name))
    }
}

const FILE: &str = "vec.proto";
const IMPORTS: &str = r#"syntax = "proto3";
package vec;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
"#;

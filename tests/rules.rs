//! HTTP rules as operators see them: what is refused, all at once, and what serves where two claim a path.

#![expect(clippy::unwrap_used, reason = "a fixture that is missing ends the test")]

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use transom::config;
use transom::server;

#[test]
fn every_fault_of_rules_is_reported_in_one_run() {
    let config = config::load(Path::new("tests/rules/transom.yaml"), &|_| None).unwrap();
    let report = server::check(&config).unwrap_err().to_string() + "\n";
    let golden = Path::new("tests/rules/faults.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(golden, &report).unwrap();
    }
    assert_eq!(report, fs::read_to_string(golden).unwrap(), "BLESS=1 writes it anew");
}

fn in_directory(rest: [&str; 2]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let files = [
        (
            "one/one.proto",
            r#"syntax = "proto3"; package one; import "google/api/annotations.proto"; message M { string name = 1; }
            service S {
              rpc Last(M) returns (M) { option (google.api.http) = { get: "/v1/{name=items/*}" }; }
              rpc First(M) returns (M) { option (google.api.http) = { get: "/v1/items/{name}" }; }
            }"#,
        ),
        (
            "two/two.proto",
            r#"syntax = "proto3"; package two; import "google/api/annotations.proto"; message M { string name = 1; }
            service S {
              rpc Get(M) returns (M) { option (google.api.http) = { get: "/v1/items/{name}" }; }
              rpc Own(M) returns (M) { option (google.api.http) = { get: "/v1/own" }; }
            }"#,
        ),
    ];
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let [one, two] = rest;
    let yaml = format!(
        "listeners: [{{ name: plain, address: \"127.0.0.1:0\" }}]\n\
         upstreams: [{{ name: backend, endpoints: [{{ address: \"127.0.0.1:1\" }}] }}]\n\
         modules: [{{ name: one, protos: one }}, {{ name: two, protos: two }}]\n\
         apis:\n\
         \x20 - {{ name: one, module: one, upstream: backend, rest: {one} }}\n\
         \x20 - {{ name: two, module: two, upstream: backend, rest: {two} }}\n"
    );
    fs::write(directory.path().join("transom.yaml"), yaml).unwrap();
    directory
}

/// Exit code and standard error of `transom check`.
fn checked(directory: &TempDir) -> (i32, String) {
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_transom"))
        .args(["check", "-c", "transom.yaml"])
        .current_dir(directory)
        .env("RUST_LOG", "warn")
        .output()
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_first_of_two_rules_serves_where_that_is_asked_for() {
    let first = "{ conflicts: first }";
    let (code, told) = checked(&in_directory([first, first]));
    assert_eq!(code, 0, "{told}");
    let told: Vec<&str> = told.lines().map(|line| line.split_once(" WARN ").unwrap().1).collect();
    assert_eq!(
        told,
        [
            "GET /v1/items/{name} on every host is claimed by one.S.Last (one.proto, as /v1/{name=items/*}) and by \
             one.S.First (one.proto): one.S.Last serves, by `rest.conflicts: first` of API \"one\"",
            "GET /v1/items/{name} on every host is claimed by one.S.Last (one.proto, as /v1/{name=items/*}, API \
             \"one\" of module \"one\") and by two.S.Get (two.proto, API \"two\" of module \"two\"): one.S.Last \
             serves, by `rest.conflicts: first` of API \"two\"",
        ]
    );

    // Each API says for itself whether it gives way.
    let (code, told) = checked(&in_directory([first, "{}"]));
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("one.S.First (one.proto): one.S.Last serves"), "{told}");
    assert!(
        told.contains(
            "help: give one of the APIs other `hosts` or another `rest.prefix`, or set `rest.conflicts: first` on \
             API \"two\": one.S.Last serves then\n1 fault"
        ),
        "{told}"
    );
    let (code, told) = checked(&in_directory([first, "{ prefix: /two }"]));
    assert_eq!(code, 0, "{told}");
}

#[test]
fn the_path_of_a_document_is_claimed_once() {
    let first = |openapi: &str| format!("{{ conflicts: first }}, openapi: {{ path: \"{openapi}\" }}");
    let none = "{ conflicts: first }";
    let every = "transom.yaml:";
    // What the two APIs say, and where the fault is, what it says, and what it says to do.
    let faults: [(&str, &str, &str, &str, &str); 6] = [
        (
            &first("/docs"),
            &first("/docs"),
            "6:95: apis[1].openapi.path",
            "GET /docs on every host is claimed by the OpenAPI document of API \"one\" (transom.yaml:5) and by that of \
             API \"two\"",
            "give one of the APIs another `openapi.path` or other `hosts`",
        ),
        (
            &first("/v1/own"),
            none,
            "5:95: apis[0].openapi.path",
            "GET /v1/own on every host is claimed by the OpenAPI document of API \"one\" and by two.S.Own (two.proto, \
             API \"two\")",
            "give the document another `openapi.path`, or one of the APIs other `hosts`",
        ),
        (
            none,
            &first("/v1/%6fwn"),
            "6:95: apis[1].openapi.path",
            "GET /v1/%6fwn on every host is claimed by the OpenAPI document of API \"two\" and by two.S.Own (two.proto)",
            "give the document another `openapi.path`, or change the rule",
        ),
        (
            &first("/docs/"),
            none,
            "5:95: apis[0].openapi.path",
            "\"/docs/\" is no path for a document: at character 7: an empty segment",
            "write plain segments, such as /openapi.json",
        ),
        (
            &first("/docs/*"),
            none,
            "5:95: apis[0].openapi.path",
            "\"/docs/*\" is no path for a document: it has a wildcard",
            "write plain segments, such as /openapi.json",
        ),
        (
            &first("/docs/{name}"),
            none,
            "5:95: apis[0].openapi.path",
            "\"/docs/{name}\" is no path for a document: it has a wildcard",
            "write plain segments, such as /openapi.json",
        ),
    ];
    for (one, two, at, problem, help) in faults {
        let (code, told) = checked(&in_directory([one, two]));
        assert_eq!(code, 1, "{told}");
        assert!(told.ends_with(&format!("{every}{at}: {problem}\n  help: {help}\n1 fault\n")), "{told}");
    }
    // A path that rules only fit is a more specific one.
    for (one, two) in [
        (first("/v1/items/spec"), none.to_owned()),
        (first("/"), first("/docs:spec")),
        (none.to_owned(), format!("{}, hosts: [two.example]", first("/v1/own").replace("own", "items/own"))),
    ] {
        let (code, told) = checked(&in_directory([&one, &two]));
        assert_eq!(code, 0, "{told}");
    }
}

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
             \"one\") and by two.S.Get (two.proto): one.S.Last serves, by `rest.conflicts: first` of API \"two\"",
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

//! What operators see and do: probes, metrics, the access log, reloads, and the commands.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::path::Path;
use std::path::PathBuf;

use tempfile::TempDir;
use tonic::Code;
use transom::demo::pb::GetBookRequest;
use transom::demo::pb::ReadBookRequest;
use transom::server::Watch;

use crate::raw::BIDI;
use crate::raw::Client;
use crate::raw::SERVER_STREAM;
use crate::raw::UNARY;
use crate::raw::ask;
use crate::raw::count;
use crate::raw::get;
use crate::raw::until;
use crate::raw::upstream::Upstream;
use crate::raw::upstream::When;
use crate::raw::upstream::good;
use crate::support::BOOK;
use crate::support::Backend;
use crate::support::Gateway;
use crate::support::LIBRARY;
use crate::support::Parts;
use crate::support::metric;
use crate::support::soon;
use crate::support::yaml;

fn answering() -> Upstream {
    Upstream::start(|_| (When::End, good()))
}

/// Writes a file as editors do: beside, and then in place of the old one.
fn write(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("the directory is there");
    std::fs::rename(&beside, path).expect("the new file is there");
}

/// A gateway by a file that is watched.
fn watched(directory: &TempDir, text: &str) -> (Gateway, PathBuf) {
    let path = directory.path().join("transom.yaml");
    write(&path, text);
    let config = transom::config::load(&path, &|_| None).unwrap_or_else(|report| panic!("{report}"));
    (Gateway::of(config, Vec::new(), Watch::Yes), path)
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_was_called() {
    let (gateway, _backend) = support::demo(Parts::default());
    let mut library = gateway.library().await;
    for _ in 0..3 {
        library.get_book(GetBookRequest { name: BOOK.into() }).await.unwrap();
    }
    let missing = library.get_book(GetBookRequest { name: "shelves/harbour/books/none".into() }).await;
    assert_eq!(missing.unwrap_err().code(), Code::NotFound);
    let mut pages = library
        .read_book(ReadBookRequest { name: BOOK.into(), pages: 4, ..Default::default() })
        .await
        .unwrap();
    let mut read = 0;
    while soon("a page", pages.get_mut().message()).await.unwrap().is_some() {
        read += 1;
    }
    assert_eq!(read, 4);
    gateway.until_metric("transom_open_calls", &[], 0.0).await;

    assert_eq!(get(gateway.admin(), "/healthz").await, (200, "ok\n".into()));
    assert_eq!(get(gateway.admin(), "/readyz").await, (200, "ready\n".into()));
    assert_eq!(get(gateway.admin(), "/nothing").await.0, 403, "the Admin API is asked by its address alone");
    let (status, page) = get(gateway.admin(), "/metrics").await;
    assert_eq!(status, 200);
    let value = |name: &str, labels: &[(&str, &str)]| {
        #[expect(clippy::cast_possible_truncation, reason = "small counts")]
        let value = metric(&page, name, labels).round() as i64;
        value
    };
    let book = ("method", UNARY);
    let series = |code| [("api", "demo"), book, ("dialect", "grpc"), ("code", code)];
    assert_eq!(value("transom_calls_total", &series("OK")), 3, "{page}");
    assert_eq!(value("transom_calls_total", &series("NOT_FOUND")), 1, "{page}");
    assert_eq!(value("transom_call_duration_seconds_count", &[("api", "demo"), book]), 4);
    assert_eq!(value("transom_call_duration_seconds_bucket", &[book, ("le", "+Inf")]), 4);
    assert_eq!(value("transom_request_bytes_count", &[book]), 4);
    assert!(value("transom_reply_bytes_sum", &[book]) > 3 * 10, "{page}");
    let pages = ("method", SERVER_STREAM);
    assert_eq!(value("transom_messages_total", &[pages, ("direction", "reply")]), 4, "{page}");
    assert_eq!(value("transom_messages_total", &[pages, ("direction", "request")]), 1, "{page}");
    assert!(value("transom_upstream_connections", &[("upstream", "demo")]) > 0, "{page}");
    assert_eq!(value("transom_snapshot_generation", &[]), 1);
    // Each of them came with a poll of its connection at least.
    assert!(value("transom_worker_poll_cpu_seconds_count", &[]) > 3, "{page}");
    assert!(metric(&page, "transom_worker_poll_cpu_seconds_sum", &[]) > 0.0, "{page}");
    assert!(page.contains("transom_build_info{version=\"") && page.contains("process_resident_memory_bytes"));
    assert!(!page.contains("CreateShelf"), "series appear on first use: {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_methods_share_one_series() {
    let upstream = answering();
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    let client = Client::connect(gateway.address()).await;
    for path in ["/a.B/C", "/transom.demo.v1.Library/Nope", "/x"] {
        let outcome = client.call(&ask(path)).await;
        assert_eq!((outcome.code, outcome.reason.as_str()), (Some(12), "METHOD_UNKNOWN"), "{outcome:?}");
    }
    gateway
        .until_metric("transom_calls_total", &[("method", "unknown"), ("code", "UNIMPLEMENTED")], 3.0)
        .await;
    let page = gateway.server().metrics().render();
    assert!(!page.contains("a.B") && !page.contains("Nope"), "what strangers sent is no label: {page}");
    assert_eq!(count(&gateway, "transom_refusals_total", &[("reason", "METHOD_UNKNOWN")]), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_are_counted_while_they_are_open() {
    let upstream = Upstream::start(|_| (When::Head, good()[..2].to_vec()));
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    let client = Client::connect(gateway.address()).await;
    let mut calls = Vec::new();
    for _ in 0..3 {
        let mut call = client.begin(&ask(BIDI).open()).await.unwrap();
        let (body, _) = call.first().await;
        calls.push((call, body));
    }
    assert_eq!(count(&gateway, "transom_open_calls", &[("method", BIDI)]), 3);
    assert_eq!(count(&gateway, "transom_connections", &[("listener", "main")]), 1);
    drop(calls);
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_address_has_probes_and_metrics_to_itself() {
    let upstream = answering();
    let parts = Parts { top: "status: { address: \"127.0.0.1:0\" }", ..Parts::default() };
    let gateway = Gateway::start(&yaml(&[upstream.address], parts));
    let status = gateway.server().status().unwrap();
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(status, path).await.0, 200, "{path}");
        assert_eq!(get(gateway.admin(), path).await.0, 404, "{path} moved");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_one_line_of_the_access_log() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("access.log");
    let upstream = answering();
    let top = format!("observe: {{ access_log: {{ path: \"{}\" }} }}", path.display());
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts { top: &top, ..Parts::default() }));
    let client = Client::connect(gateway.address()).await;
    assert_eq!(client.call(&ask(UNARY).header("user-agent", "tests \"of\" transom")).await.code, Some(0));
    assert_eq!(client.call(&ask("/no.Such/Method")).await.code, Some(12));
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    until("two lines", || read().lines().count() == 2).await;
    let lines: Vec<serde_json::Value> = read()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let (good, bad) = (&lines[0], &lines[1]);
    let text = |key: &str| good[key].as_str().unwrap_or_default();
    assert_eq!(
        (text("api"), text("code"), text("dialect"), text("http")),
        ("demo", "OK", "grpc", "2"),
        "{good}"
    );
    assert_eq!((text("method"), text("host")), (UNARY, "library.test"), "{good}");
    assert_eq!(text("user_agent"), "tests \"of\" transom");
    assert_eq!(text("endpoint"), upstream.address.to_string());
    assert_eq!(
        (&good["attempts"], &good["request_messages"], &good["reply_messages"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert_eq!((&good["request_bytes"], &good["reply_bytes"]), (&8.into(), &8.into()), "{good}");
    assert!(good["duration_ms"].is_number() && text("peer").starts_with("127.0.0.1"), "{good}");
    assert_eq!(
        (bad["code"].as_str(), bad["reason"].as_str()),
        (Some("UNIMPLEMENTED"), Some("METHOD_UNKNOWN")),
        "{bad}"
    );
    assert_eq!(bad["method"], "/no.Such/Method");
}

fn hosts(upstream: &Upstream, hosts: &[&str]) -> String {
    let apis: Vec<_> = hosts
        .iter()
        .enumerate()
        .map(|(at, host)| format!("  - {{ name: api{at}, module: demo, services: [{LIBRARY}], hosts: [{host}], upstream: demo }}\n"))
        .collect();
    format!(
        "listeners: [{{ name: main, address: \"127.0.0.1:0\" }}]\n\
         modules: [{{ name: demo }}]\n\
         upstreams: [{{ name: demo, endpoints: [{{ address: \"{}\" }}] }}]\n\
         apis:\n{}\
         admin: {{ address: \"127.0.0.1:0\" }}\n",
        upstream.address,
        apis.concat()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_file_goes_live_and_a_fault_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let upstream = answering();
    let (gateway, path) = watched(&directory, &hosts(&upstream, &["a.test"]));
    let client = Client::connect(gateway.address()).await;
    let (to_a, to_b) = (ask(UNARY).host("a.test"), ask(UNARY).host("b.test"));
    assert_eq!(client.call(&to_a).await.code, Some(0));
    assert_eq!(client.call(&to_b).await.code, Some(12));

    write(&path, &hosts(&upstream, &["a.test", "b.test"]));
    gateway.until_metric("transom_snapshot_generation", &[], 2.0).await;
    assert_eq!(client.call(&to_b).await.code, Some(0), "the same connection reaches the new API");

    write(&path, &hosts(&upstream, &["a.test"]).replace("upstream: demo", "upstream: dmeo"));
    gateway.until_metric("transom_snapshot_failures_total", &[], 1.0).await;
    write(&path, &hosts(&upstream, &["a.test"]).replace("v1.Library", "v1.Libary"));
    gateway.until_metric("transom_snapshot_failures_total", &[], 2.0).await;
    assert_eq!(count(&gateway, "transom_snapshot_generation", &[]), 2);
    assert_eq!(client.call(&to_b).await.code, Some(0), "what served serves on");

    write(&path, &hosts(&upstream, &["b.test"]));
    gateway.until_metric("transom_snapshot_generation", &[], 3.0).await;
    assert_eq!(client.call(&to_a).await.code, Some(12), "the API is gone");
    assert_eq!(client.call(&to_b).await.code, Some(0));
    assert_eq!(upstream.seen().connections, 1, "the upstream didn't change, nor did its connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_comes_and_goes_with_the_file() {
    let directory = TempDir::new().unwrap();
    let upstream = answering();
    let text = hosts(&upstream, &["a.test"]);
    let (gateway, path) = watched(&directory, &text);
    let second = ", { name: second, address: \"127.0.0.1:0\" }]";
    write(&path, &text.replacen("]", second, 1));
    gateway.until_metric("transom_snapshot_generation", &[], 2.0).await;
    let address = gateway.server().address("second").unwrap();
    let client = Client::connect(address).await;
    assert_eq!(client.call(&ask(UNARY).host("a.test")).await.code, Some(0));
    write(&path, &text);
    gateway.until_metric("transom_snapshot_generation", &[], 3.0).await;
    soon("a GOAWAY", client.gone()).await.unwrap();
    assert_eq!(gateway.server().address("second"), None);
}

const PETS: &str = "syntax = \"proto3\";\npackage pets.v1;\nmessage Pet { string name = 1; }\n";

fn pets(methods: &[&str]) -> String {
    let methods: String = methods.iter().map(|name| format!("  rpc {name}(Pet) returns (Pet);\n")).collect();
    format!("{PETS}service Pets {{\n{methods}}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn proto_files_are_live() {
    let directory = TempDir::new().unwrap();
    let protos = directory.path().join("protos");
    std::fs::create_dir_all(protos.join("pets/v1")).unwrap();
    let file = protos.join("pets/v1/pets.proto");
    write(&file, &pets(&["Get"]));
    let upstream = answering();
    let text = format!(
        "listeners: [{{ name: main, address: \"127.0.0.1:0\" }}]\n\
         modules: [{{ name: pets, protos: protos }}]\n\
         upstreams: [{{ name: pets, endpoints: [{{ address: \"{}\" }}] }}]\n\
         apis: [{{ name: pets, module: pets, upstream: pets }}]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n",
        upstream.address
    );
    let (gateway, _) = watched(&directory, &text);
    let client = Client::connect(gateway.address()).await;
    let (old, new) = (ask("/pets.v1.Pets/Get"), ask("/pets.v1.Pets/Groom"));
    assert_eq!((client.call(&old).await.code, client.call(&new).await.code), (Some(0), Some(12)));

    write(&file, &pets(&["Get", "Groom"]));
    gateway.until_metric("transom_snapshot_generation", &[], 2.0).await;
    assert_eq!((client.call(&old).await.code, client.call(&new).await.code), (Some(0), Some(0)));

    write(
        &file,
        "syntax = \"proto3\";\npackage pets.v1;\nservice Pets { rpc Get(Nowhere) returns (Nowhere); }\n",
    );
    gateway.until_metric("transom_snapshot_failures_total", &[], 1.0).await;
    assert_eq!(client.call(&new).await.code, Some(0), "the last good one serves on");

    write(&file, &pets(&["Groom"]));
    gateway.until_metric("transom_snapshot_generation", &[], 3.0).await;
    assert_eq!((client.call(&old).await.code, client.call(&new).await.code), (Some(12), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_tells_its_own_descriptors() {
    let backend = Backend::start();
    let text = yaml(&[backend.address], Parts::default())
        .replace("{ name: demo }", "{ name: demo, reflection: { upstream: demo, refresh: 60s } }");
    let gateway = Gateway::start(&text);
    soon("readiness", async { while get(gateway.admin(), "/readyz").await.0 != 200 {} }).await;
    let mut library = gateway.library().await;
    let book = library.get_book(GetBookRequest { name: BOOK.into() }).await.unwrap();
    assert_eq!(book.get_ref().name, BOOK);
}

/// The program itself.
fn transom(directory: &TempDir, arguments: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_transom"));
    command
        .current_dir(directory.path())
        .env_remove("RUST_LOG")
        .timeout(support::PATIENCE)
        .args(arguments)
        .assert()
}

fn said(assert: &assert_cmd::assert::Assert) -> (String, String) {
    let output = assert.get_output();
    (String::from_utf8_lossy(&output.stdout).into(), String::from_utf8_lossy(&output.stderr).into())
}

fn in_directory(text: &str) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    std::fs::create_dir(directory.path().join("protos")).expect("the directory is ours");
    write(&directory.path().join("protos/pets.proto"), &pets(&["Get"]));
    write(&directory.path().join("transom.yaml"), text);
    directory
}

fn pets_yaml(address: &str) -> String {
    format!(
        "listeners: [{{ name: main, address: \"{address}\" }}]\n\
         modules: [{{ name: pets, protos: protos }}]\n\
         upstreams: [{{ name: pets, endpoints: [{{ address: \"127.0.0.1:1\" }}] }}]\n\
         policies: {{ timeout: {{ default: 3s }} }}\n\
         apis:\n\
         \x20 - name: pets\n\
         \x20   module: pets\n\
         \x20   upstream: pets\n\
         \x20   methods: {{ pets.v1.Pets/Get: {{ policies: {{ stream: {{ stall: 7s }} }} }} }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n"
    )
}

#[test]
fn check_says_no_faults_or_all_of_them() {
    let directory = in_directory(&pets_yaml("127.0.0.1:0"));
    let good = transom(&directory, &["check", "-c", "transom.yaml"]).success();
    assert_eq!(said(&good).0, "transom.yaml: no faults\n");

    let faulty = pets_yaml("127.0.0.1:0")
        .replace("upstream: pets", "upstream: pest")
        .replace("default: 3s", "default: 3");
    write(&directory.path().join("transom.yaml"), &faulty);
    let (_, told) = said(&transom(&directory, &["check"]).code(1));
    assert!(told.contains("transom.yaml:4:") && told.contains("policies.timeout.default"), "{told}");
    assert!(
        told.contains("transom.yaml:8:") && told.contains("did you mean `pets`?"),
        "the nearest name is suggested: {told}"
    );

    write(&directory.path().join("transom.yaml"), &pets_yaml("127.0.0.1:0"));
    write(
        &directory.path().join("protos/pets.proto"),
        "syntax = \"proto3\";\nmessage A { Nowhere b = 1; }\n",
    );
    let (_, told) = said(&transom(&directory, &["check"]).code(1));
    assert!(told.contains("pets.proto:2") && told.contains("Nowhere"), "{told}");

    let (_, told) = said(&transom(&directory, &["check", "-c", "absent.yaml"]).code(1));
    assert!(told.contains("absent.yaml"), "{told}");
}

#[test]
fn explain_says_where_each_policy_comes_from() {
    let directory = in_directory(&pets_yaml("127.0.0.1:0"));
    let (text, _) = said(&transom(&directory, &["explain", "pets.v1.Pets/Get"]).success());
    let line = |slot: &str| {
        let found = text.lines().find(|line| line.trim_start().starts_with(slot));
        found.unwrap_or_else(|| panic!("no {slot}: {text}")).to_owned()
    };
    assert!(text.starts_with("pets.v1.Pets/Get in API \"pets\"\n"), "{text}");
    assert!(line("timeout").contains("transom.yaml:4") && line("timeout").contains("3s"), "{text}");
    assert!(line("stream").contains("transom.yaml:9") && line("stream").contains("7s"), "{text}");
    assert!(line("validate").contains("built in"), "{text}");
    assert!(line("cors").contains("built in") && line("cors").ends_with("off"), "{text}");

    let (_, told) = said(&transom(&directory, &["explain", "pets.v1.Pets/Nope"]).code(1));
    assert!(told.contains("no API") && told.contains("pets.v1.Pets/Nope"), "{told}");
    let (_, told) = said(&transom(&directory, &["explain", "Get"]).code(1));
    assert!(told.contains("write pkg.Service/Method"), "{told}");
}

#[test]
fn serve_says_that_a_port_is_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = in_directory(&pets_yaml(&address));
    let (_, told) = said(&transom(&directory, &["serve", "-c", "transom.yaml"]).code(1));
    assert!(
        told.contains(&format!("can't listen on {address}")) && told.contains("transom.yaml:1:"),
        "{told}"
    );
    assert!(!told.contains("panicked"), "{told}");
}

//! A team pushes its `.proto` files to a gateway that runs: they serve at once, and the way back is short.

#![expect(clippy::unwrap_used, reason = "a test ends at what it didn't expect")]
#![expect(clippy::disallowed_methods, reason = "a test measures")]

#[path = "support/program.rs"]
mod program;
#[path = "support/raw.rs"]
mod raw;
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;
use tonic::Code;
use transom::demo::pb::DownloadBookRequest;
use transom::demo::pb::ListShelvesRequest;
use transom::demo::pb::library_client::LibraryClient;

use crate::program::Program;
use crate::raw::get;
use crate::support::BOOK;
use crate::support::Backend;
use crate::support::LIBRARY;
use crate::support::RawClient;
use crate::support::RawReply;
use crate::support::channel;
use crate::support::frame;
use crate::support::head;

/// A configuration that names a module of which nobody has pushed anything, and the module's files.
struct Team {
    directory: TempDir,
    _backend: Backend,
}

impl Team {
    fn new() -> Self {
        let (directory, backend) = (TempDir::new().unwrap(), Backend::start());
        let text = format!(
            "listeners: [{{ name: main, address: \"127.0.0.1:0\" }}]\n\
             modules: [{{ name: demo }}]\n\
             upstreams: [{{ name: demo, endpoints: [{{ address: \"{}\" }}] }}]\n\
             apis: [{{ name: demo, module: demo, upstream: demo }}]\n\
             admin: {{ address: \"127.0.0.1:0\" }}\n\
             store: {{ embedded: {{ path: data/store.redb }} }}\n\
             server: {{ drain_timeout: 1s }}\n",
            backend.address
        );
        std::fs::write(directory.path().join("transom.yaml"), text).unwrap();
        Self { directory, _backend: backend }
    }

    fn serve(&self) -> Program {
        Program::serve(&self.directory.path().join("transom.yaml"), &["main", "admin"])
    }

    /// A directory with the module's files, changed in the text of the service.
    fn protos(&self, name: &str, change: impl FnOnce(String) -> String) -> String {
        let root = self.directory.path().join(name);
        let file = root.join(FILE);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("protos").join(FILE);
        std::fs::write(file, change(std::fs::read_to_string(own).unwrap())).unwrap();
        root.to_str().unwrap().to_owned()
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("data/store.redb")
    }
}

/// The same file without a field, and without a method.
fn broken(text: String) -> String {
    let field = "  int32 book_count = 3 [(google.api.field_behavior) = OUTPUT_ONLY];\n";
    assert!(text.contains(field));
    let text = text.replace(field, "");
    let (before, rest) = text.split_once("  rpc DownloadBook(").unwrap();
    let (_, after) = rest.split_once("\n  }\n").unwrap();
    format!("{before}{after}")
}

async fn grpc_web(address: SocketAddr) -> RawReply {
    let mut head = head(address, &format!("/{LIBRARY}/ListShelves"));
    head.headers_mut().insert("content-type", "application/grpc-web+proto".parse().unwrap());
    RawClient::connect(address).await.call(head, frame(0, b"")).await.unwrap()
}

/// One call in each of three dialects, the first time that anybody asks; with whether the removed method is there.
async fn serves(address: SocketAddr, downloads: bool) {
    let mut library = LibraryClient::new(channel(address).await);
    let shelves = library.list_shelves(ListShelvesRequest::default()).await.unwrap().into_inner();
    assert!(shelves.shelves.iter().any(|shelf| shelf.name == "shelves/harbour"));
    let (status, body) = get(address, "/v1/shelves").await;
    assert!(status == 200 && body.contains("shelves/harbour"), "{status} {body}");
    let web = grpc_web(address).await;
    assert_eq!(web.status, 200);
    let held = |part: &[u8]| web.body.windows(part.len()).any(|window| window == part);
    assert!(held(b"shelves/harbour") && held(b"grpc-status"), "{web:?}");
    let asked = DownloadBookRequest { name: BOOK.into() };
    match library.download_book(asked).await {
        Ok(_) => assert!(downloads, "the method was removed"),
        Err(status) => assert!(!downloads && status.code() == Code::Unimplemented, "{status:?}"),
    }
}

/// `RULE@ELEMENT` of all that a directory would break.
fn allowances(gateway: &Program, protos: &str) -> Vec<String> {
    let ended = gateway.ask(&["diff", "demo", protos, "-o", "json"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let breaking = told["breaking"].as_array().unwrap().iter();
    breaking
        .flat_map(|found| {
            ["--allow-breaking".to_owned(), format!("{}@{}", text(&found["rule"]), text(&found["element"]))]
        })
        .collect()
}

fn digest(gateway: &Program, label: &str) -> String {
    let told: serde_json::Value =
        serde_json::from_str(&gateway.done(&["versions", "demo", "-o", "json"])).unwrap();
    let all = told["versions"].as_array().unwrap();
    let labelled = |version: &&serde_json::Value| match version["labels"].as_array() {
        Some(labels) => labels.iter().any(|known| known == label),
        None => label.is_empty(),
    };
    all.iter().find(labelled).unwrap()["digest"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_serves_at_once_in_every_dialect() {
    let team = Team::new();
    let gateway = team.serve();
    let address = gateway.address("main");
    let mut library = LibraryClient::new(channel(address).await);
    let refused = library.list_shelves(ListShelvesRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
    assert_eq!(get(address, "/v1/shelves").await.0, 404);
    let refused = grpc_web(address).await;
    let told = [&refused.body[..], format!("{:?}", refused.headers).as_bytes()].concat();
    assert!(String::from_utf8_lossy(&told).contains("12"), "{refused:?}");

    let protos = team.protos("protos", |text| text);
    let said = gateway.done(&["push", "demo", &protos]);
    let pushed = Instant::now();
    serves(address, true).await;
    let took = pushed.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(said.contains("1 file, 15 methods") && said.contains("live points at"), "{said}");
    // A connection from before the push has it as well.
    library.list_shelves(ListShelvesRequest::default()).await.unwrap();

    let said = gateway.done(&["push", "demo", &protos]);
    assert!(said.contains("unchanged"), "{said}");
    let ended = gateway.ask(&["diff", "demo", &protos]);
    assert!(ended.code == 0 && ended.stdout.contains("unchanged"), "{ended:?}");
    assert_eq!(gateway.ask(&["diff", "demo", "/nowhere"]).code, 2);
    assert_eq!(gateway.done(&["history", "demo"]).lines().count(), 2, "a head and one move");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_is_refused_until_it_is_let_through_and_the_way_back_is_short() {
    let team = Team::new();
    let gateway = team.serve();
    let address = gateway.address("main");
    gateway.done(&["push", "demo", &team.protos("one", |text| text)]);
    let first = digest(&gateway, "live");
    let protos = team.protos("two", broken);

    let refused = gateway.ask(&["push", "demo", &protos]);
    assert_eq!(refused.code, 1, "{refused:?}");
    for part in
        ["FIELD_NO_DELETE", "transom.demo.v1.Shelf.book_count", &format!("{FILE}:"), "BREAKING_CHANGE"]
    {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    // The flag that it names is one that it takes.
    let (_, flag) = refused.stderr.rsplit_once("--allow-breaking ").unwrap();
    let all = allowances(&gateway, &protos);
    assert!(all.iter().any(|known| known == flag.trim()), "{flag} is none of {all:?}");
    assert!(all.iter().any(|known| known.contains("RPC_NO_DELETE@")), "{all:?}");
    serves(address, true).await;
    assert_eq!(gateway.done(&["history", "demo"]).lines().count(), 2);

    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let partly = gateway.ask(&[&["push", "demo", &protos], &all[..2]].concat());
    assert_eq!(partly.code, 1, "one of several isn't all: {partly:?}");
    let said = gateway.done(&[&["push", "demo", &protos], &all[..]].concat());
    assert!(said.contains("let through: "), "{said}");
    serves(address, false).await;
    let second = digest(&gateway, "live");
    assert_ne!(first, second);

    let began = Instant::now();
    gateway.done(&["rollback", "demo"]);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    serves(address, true).await;
    assert_eq!(digest(&gateway, "live"), first);

    let refused = gateway.ask(&["promote", "demo", &second[..12]]);
    assert!(refused.code == 1 && refused.stderr.contains("BREAKING_CHANGE"), "{refused:?}");
    gateway.done(&[&["promote", "demo", &second[..12]], &all[..]].concat());
    serves(address, false).await;
    gateway.done(&["rollback", "demo"]);
    serves(address, true).await;
    let none = gateway.ask(&["rollback", "demo"]);
    assert!(none.code == 1 && none.stderr.contains("no version to go back to"), "{none:?}");
    let unknown = gateway.ask(&["promote", "demo", "0000000000"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("NOT_FOUND"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_serves_what_was_pushed() {
    let team = Team::new();
    let gateway = team.serve();
    gateway.done(&["push", "demo", &team.protos("one", |text| text), "--source", "rev 1"]);
    let protos = team.protos("two", broken);
    let all = allowances(&gateway, &protos);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    gateway.done(&[&["push", "demo", &protos, "--source", "rev 2"], &all[..]].concat());
    gateway.done(&["rollback", "demo"]);
    let tell = |gateway: &Program| {
        let asked: [&[&str]; 4] =
            [&["history", "demo"], &["versions", "demo"], &["audit"], &["audit", "--verify"]];
        asked.map(|arguments| gateway.done(arguments))
    };
    let before = tell(&gateway);
    let [history, versions, audit, verified] = &before;
    for reason in ["push", "rollback", "loopback"] {
        assert!(history.contains(reason), "{history}");
    }
    assert!(versions.contains("rev 1") && versions.contains("rev 2"), "{versions}");
    assert!(audit.contains("let through ") && audit.contains("Modules/Rollback"), "{audit}");
    assert!(verified.contains("entries 1 to 3 are whole"), "{verified}");
    let status = gateway.done(&["status"]);
    for part in ["1 module, 1 API, 15 methods", "store.redb", "main", "demo", "yes"] {
        assert!(status.contains(part), "{part}: {status}");
    }

    // A second gateway doesn't take the store from the first.
    let config = team.directory.path().join("transom.yaml");
    let second = program::run(program::transom().arg("serve").arg("-c").arg(&config));
    assert!(second.code == 1 && second.stderr.contains("is open in another process"), "{second:?}");

    let (ended, log) = gateway.terminate();
    assert!(ended.success(), "{ended}: {log}");
    let checked = program::run(program::transom().args(["store", "check"]).arg(team.store()));
    assert!(checked.code == 0 && checked.stdout.contains("no faults"), "{checked:?}");

    let gateway = team.serve();
    serves(gateway.address("main"), true).await;
    assert_eq!(tell(&gateway), before);
    let (ended, log) = gateway.terminate();
    assert!(ended.success() && !log.contains("ERROR"), "{log}");
}

const FILE: &str = "transom/demo/v1/library.proto";

//! The commands that ask an Admin API, as a user starts them: what they ask, what they print, how they end.

#![expect(clippy::unwrap_used, reason = "a test ends at what it didn't expect")]

#[path = "support/admin.rs"]
mod admin;
#[path = "cli/connection.rs"]
mod connection;
#[path = "cli/store.rs"]
mod store;
#[path = "support/tls.rs"]
mod tls;

use std::fs;
use std::io::Cursor;
use std::path::Path;

use prost_types::Struct;
use prost_types::Timestamp;
use prost_types::Value;
use prost_types::value;
use tempfile::TempDir;
use tonic::Code;
use tonic::Status;
use tonic_types::ErrorDetails;
use tonic_types::StatusExt;
use transom::admin::audit_hash;
use transom::admin::pb;

use crate::admin::Gateway;
use crate::admin::ended;

fn digest(digit: char) -> String {
    digit.to_string().repeat(64)
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 5 })
}

fn finding() -> pb::Finding {
    pb::Finding {
        rule: "FIELD_NO_DELETE".into(),
        file: "pets/v1/pets.proto".into(),
        line: 12,
        element: "pets.v1.Pet.name".into(),
        problem: "field 2 is gone".into(),
        breaks: "readers of JSON".into(),
    }
}

const FOUND: &str =
    "pets/v1/pets.proto:12: FIELD_NO_DELETE pets.v1.Pet.name: field 2 is gone (breaks readers of JSON)";
const LET_THROUGH: &str =
    "if nobody depends on it, let it through: --allow-breaking FIELD_NO_DELETE@pets.v1.Pet.name";

fn protos() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("pets/v1")).unwrap();
    fs::write(directory.path().join("pets/v1/pets.proto"), "syntax = \"proto3\";\n").unwrap();
    fs::write(directory.path().join("README.md"), "no descriptor\n").unwrap();
    directory
}

fn pushed() -> pb::CreateVersionResponse {
    let version = pb::Version {
        module: "pets".into(),
        digest: digest('3'),
        file_count: 1,
        method_count: 4,
        ..pb::Version::default()
    };
    pb::CreateVersionResponse {
        version: Some(version),
        promoted: true,
        generation: 7,
        ..pb::CreateVersionResponse::default()
    }
}

fn names(zip: &[u8]) -> Vec<String> {
    let archive = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
    archive.file_names().map(str::to_owned).collect()
}

#[test]
fn push_sends_a_directory_and_says_what_came_of_it() {
    let (gateway, directory) = (Gateway::start(), protos());
    let path = directory.path().to_str().unwrap();
    gateway.reply("create_version", pushed());
    let ended = ended(
        gateway.command(&["push", "pets", path, "--source", "v1"]).env("TRANSOM_ADMIN_TOKEN", "s3cret"),
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    assert_eq!(
        ended.stdout,
        "pets 333333333333: 1 file, 4 methods\nlive points at 333333333333, generation 7\n"
    );
    let (request, authorization) = gateway.asked_by::<pb::CreateVersionRequest>("create_version");
    assert_eq!(authorization.as_deref(), Some("Bearer s3cret"));
    let content = request.content.clone().unwrap();
    assert_eq!(content.content_type, "application/zip");
    assert_eq!(names(&content.data), ["pets/v1/pets.proto"]);
    let expected = pb::CreateVersionRequest {
        module: "pets".into(),
        content: Some(content),
        source: "v1".into(),
        ..pb::CreateVersionRequest::default()
    };
    assert_eq!(request, expected);
}

#[test]
fn push_sends_each_of_its_flags() {
    let (gateway, directory) = (Gateway::start(), protos());
    let set = directory.path().join("image.binpb");
    fs::write(&set, b"\x0a\x00").unwrap();
    let reply = pb::CreateVersionResponse {
        unchanged: true,
        promoted: false,
        dry_run: true,
        allowed: vec![finding()],
        ..pushed()
    };
    gateway.reply("create_version", reply.clone()).reply("create_version", reply);
    let arguments = [
        "push",
        "pets",
        set.to_str().unwrap(),
        "--allow-breaking",
        "A@b",
        "--allow-breaking",
        "C@d",
        "--dry-run",
        "--no-promote",
        "--label",
        "canary",
        "--update-deps",
        "--category",
        "FILE",
    ];
    let table = gateway.run(&arguments);
    assert_eq!(
        table.stdout,
        format!(
            "pets 333333333333: unchanged, it was there already\n\
             no label was moved: `transom promote pets 333333333333` moves one\n\
             let through: {FOUND}\n\
             nothing was kept: it was a dry run\n"
        )
    );
    let request: pb::CreateVersionRequest = gateway.asked("create_version");
    let content = request.content.clone().unwrap();
    assert_eq!(
        (content.content_type.as_str(), content.data.as_slice()),
        ("application/x-protobuf", &b"\x0a\x00"[..])
    );
    let expected = pb::CreateVersionRequest {
        module: "pets".into(),
        content: Some(content),
        source: String::new(),
        allow_breaking: vec!["A@b".into(), "C@d".into()],
        dry_run: true,
        promote: Some(false),
        label: "canary".into(),
        update_deps: true,
        category: "FILE".into(),
    };
    assert_eq!(request, expected);

    let json = gateway.run(&[&arguments[..], &["-o", "json"]].concat());
    let shown: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(shown["version"]["digest"], digest('3'));
    assert_eq!((&shown["unchanged"], &shown["generation"]), (&true.into(), &"7".into()));
    assert_eq!(shown["allowed"][0]["element"], "pets.v1.Pet.name");
}

#[test]
fn push_tells_the_commit_of_the_directory() {
    use std::os::unix::fs::PermissionsExt;

    let (gateway, directory, bin) = (Gateway::start(), protos(), tempfile::tempdir().unwrap());
    let oid = "0123456789abcdef0123456789abcdef01234567";
    let (git, answer) = (bin.path().join("git"), bin.path().join("answer"));
    fs::write(&git, format!("#!/bin/sh\n. {}\n", answer.display())).unwrap();
    fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
    let source = |script: &str| {
        fs::write(&answer, script).unwrap();
        gateway.reply("create_version", pushed());
        let mut command = gateway.command(&["push", "pets", directory.path().to_str().unwrap()]);
        assert_eq!(ended(command.env("PATH", bin.path())).code, 0);
        gateway.asked::<pb::CreateVersionRequest>("create_version").source
    };
    let clean =
        format!("echo \"$@\" > {}\necho '# branch.oid {oid}'\n", bin.path().join("arguments").display());
    assert_eq!(source(&clean), oid);
    let arguments = fs::read_to_string(bin.path().join("arguments")).unwrap();
    assert!(arguments.starts_with(&format!("-C {} ", directory.path().display())), "{arguments}");
    assert!(arguments.contains("status --porcelain=v2 --branch"), "{arguments}");
    assert_eq!(source(&format!("{clean}echo '? new.proto'\n")), format!("{oid}-dirty"));
    assert_eq!(source("echo 'fatal: not a git repository' >&2; exit 128\n"), "");
}

#[test]
fn a_push_that_breaks_is_told_with_the_way_past_it() {
    let (gateway, directory) = (Gateway::start(), protos());
    let path = directory.path().to_str().unwrap();
    let mut details = ErrorDetails::new();
    details.set_error_info("BREAKING_CHANGE", "transom", std::collections::HashMap::new());
    details.add_precondition_failure_violation("FIELD_NO_DELETE", "pets.v1.Pet.name", "field 2 is gone");
    gateway.refuse(
        "create_version",
        Status::with_error_details(Code::FailedPrecondition, "1 change breaks", details),
    );
    let ended = gateway.run(&["push", "pets", path]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert_eq!(
        ended.stderr,
        format!(
            "1 change breaks (FAILED_PRECONDITION, BREAKING_CHANGE)\n\
             \x20 FIELD_NO_DELETE pets.v1.Pet.name: field 2 is gone\n{LET_THROUGH}\n"
        )
    );

    let any = prost_types::Any {
        type_url: "type.googleapis.com/transom.admin.v1.Finding".into(),
        value: prost::Message::encode_to_vec(&finding()),
    };
    let status = tonic_types::pb::Status { details: vec![any; 100], ..Default::default() };
    let bytes = prost::Message::encode_to_vec(&status).into();
    gateway
        .refuse("create_version", Status::with_details(Code::FailedPrecondition, "100 changes break", bytes));
    let ended = gateway.run(&["push", "pets", path, "-o", "json"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert_eq!(ended.stderr.lines().next(), Some("100 changes break (FAILED_PRECONDITION)"));
    assert_eq!(ended.stderr.matches(FOUND).count(), 100);
    assert_eq!(ended.stderr.lines().next_back(), Some(LET_THROUGH));
}

#[test]
fn diff_ends_with_one_on_a_break_alone() {
    let (gateway, directory) = (Gateway::start(), protos());
    let path = directory.path().to_str().unwrap();
    let change = |kind: pb::change::Kind, what: &str, name: &str| pb::Change {
        kind: kind.into(),
        what: what.into(),
        name: name.into(),
    };
    let mut reply = pb::DiffResponse {
        digest: digest('4'),
        before: digest('3'),
        unchanged: false,
        changes: vec![
            change(pb::change::Kind::Added, "method", "pets.v1.Pets.List"),
            change(pb::change::Kind::Removed, "message", "pets.v1.Old"),
            change(pb::change::Kind::Changed, "file", "pets/v1/pets.proto"),
        ],
        breaking: vec![finding()],
        allowed: vec![],
    };
    gateway.reply("diff", reply.clone());
    let ended =
        gateway.run(&["diff", "pets", path, "--label", "canary", "--allow-breaking", "A@b", "--update-deps"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (1, ""));
    assert_eq!(
        ended.stdout,
        format!(
            "canary 333333333333 -> 444444444444\n+ method pets.v1.Pets.List\n- message pets.v1.Old\n\
             ~ file pets/v1/pets.proto\n{FOUND}\n1 breaking change; {LET_THROUGH}\n"
        )
    );
    let request: pb::DiffRequest = gateway.asked("diff");
    assert_eq!(names(&request.content.unwrap().data), ["pets/v1/pets.proto"]);
    assert_eq!(
        (request.module.as_str(), request.label.as_str(), request.category.as_str()),
        ("pets", "canary", "")
    );
    assert_eq!((request.allow_breaking, request.update_deps), (vec!["A@b".to_owned()], true));

    gateway.reply("diff", reply.clone());
    let json = gateway.run(&["diff", "pets", path, "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, &shown["changes"][0]["kind"]), (1, &"ADDED".into()));

    (reply.allowed, reply.breaking) = (reply.breaking, Vec::new());
    gateway.reply("diff", reply);
    let passed = gateway.run(&["diff", "pets", path]);
    assert_eq!(passed.code, 0);
    assert!(passed.stdout.ends_with(&format!("let through: {FOUND}\n")), "{passed:?}");

    gateway.refuse("diff", Status::not_found("there is no module \"pets\""));
    let refused = gateway.run(&["diff", "pets", path]);
    assert_eq!((refused.code, refused.stderr.as_str()), (2, "there is no module \"pets\" (NOT_FOUND)\n"));
}

#[test]
fn labels_are_moved_and_moved_back() {
    let gateway = Gateway::start();
    let mut reply = pb::PromoteResponse {
        module: "pets".into(),
        label: "live".into(),
        before: digest('3'),
        digest: digest('4'),
        generation: 8,
        allowed: vec![finding()],
    };
    gateway.reply("promote", reply.clone());
    let ended =
        gateway.run(&["promote", "pets", "44444444", "--allow-breaking", "A@b", "--category", "WIRE"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(
        ended.stdout,
        format!("pets: live 333333333333 -> 444444444444, generation 8\nlet through: {FOUND}\n")
    );
    let expected = pb::PromoteRequest {
        module: "pets".into(),
        version: "44444444".into(),
        label: "live".into(),
        allow_breaking: vec!["A@b".into()],
        dry_run: false,
        category: "WIRE".into(),
    };
    assert_eq!(gateway.asked::<pb::PromoteRequest>("promote"), expected);

    (reply.before, reply.allowed) = (reply.digest.clone(), Vec::new());
    gateway.reply("promote", reply.clone());
    let already = gateway.run(&["promote", "pets", "canary"]);
    assert_eq!(already.stdout, "pets: live points at 444444444444 already\n");
    let _: pb::PromoteRequest = gateway.asked("promote");

    (reply.label, reply.before) = ("canary".into(), String::new());
    gateway.reply("rollback", reply.clone());
    let back = gateway.run(&["rollback", "pets", "--label", "canary", "--dry-run"]);
    assert_eq!(
        back.stdout,
        "pets: canary nothing -> 444444444444, generation 8\nnothing was moved: it was a dry run\n"
    );
    let expected = pb::RollbackRequest { module: "pets".into(), label: "canary".into(), dry_run: true };
    assert_eq!(gateway.asked::<pb::RollbackRequest>("rollback"), expected);

    gateway.reply("rollback", reply);
    let json = gateway.run(&["rollback", "pets", "--output", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&shown["label"], &shown["generation"]), (&"canary".into(), &"8".into()));
}

#[test]
fn versions_are_listed_page_after_page() {
    let gateway = Gateway::start();
    let version = pb::Version {
        digest: digest('3'),
        labels: vec!["live".into(), "canary".into()],
        source: "v1".into(),
        uploader: "ci".into(),
        created: at(1_700_000_000),
        allowed_breaking: vec!["A@b".into()],
        file_count: 1,
        method_count: 4,
        ..pb::Version::default()
    };
    let page = |digit, token: &str| pb::ListVersionsResponse {
        versions: vec![pb::Version { digest: digest(digit), ..version.clone() }],
        next_page_token: token.into(),
    };
    let bare = pb::ListVersionsResponse {
        versions: vec![pb::Version { digest: digest('5'), ..pb::Version::default() }],
        next_page_token: "more".into(),
    };
    gateway.reply("list_versions", page('3', "next")).reply("list_versions", bare);
    let ended = gateway.run(&["versions", "pets", "--limit", "2"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, "there are more: --limit shows them\n"));
    assert_eq!(
        ended.stdout,
        "VERSION       LABELS       CREATED               BY  SOURCE  FILES  METHODS  LET THROUGH\n\
         333333333333  live,canary  2023-11-14T22:13:20Z  ci  v1      1      4        A@b\n\
         555555555555  -            -                     -   -       0      0        -\n"
    );
    let asked = |page_size, token: &str| pb::ListVersionsRequest {
        module: "pets".into(),
        page_size,
        page_token: token.into(),
    };
    assert_eq!(gateway.asked::<pb::ListVersionsRequest>("list_versions"), asked(2, ""));
    assert_eq!(gateway.asked::<pb::ListVersionsRequest>("list_versions"), asked(1, "next"));

    gateway.reply("list_versions", page('3', "next")).reply("list_versions", page('4', ""));
    let json = gateway.run(&["versions", "pets", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let digests: Vec<_> =
        shown["versions"].as_array().unwrap().iter().map(|version| &version["digest"]).collect();
    assert_eq!(digests, [&digest('3'), &digest('4')]);
    assert_eq!((&shown["nextPageToken"], json.stderr.as_str()), (&"".into(), ""));
    gateway.reply("list_versions", pb::ListVersionsResponse::default());
    assert_eq!(gateway.run(&["versions", "pets"]).stdout, "pets has no versions\n");
}

#[test]
fn moves_are_listed() {
    let gateway = Gateway::start();
    let one = pb::Move {
        time: at(1_700_000_000),
        label: "live".into(),
        before: String::new(),
        after: digest('3'),
        actor: "ci".into(),
        reason: "push".into(),
    };
    gateway
        .reply("list_history", pb::ListHistoryResponse { moves: vec![one], next_page_token: String::new() });
    let history = gateway.run(&["history", "pets"]);
    assert_eq!(
        history.stdout,
        "TIME                  LABEL  BEFORE  AFTER         BY  REASON\n\
         2023-11-14T22:13:20Z  live   -       333333333333  ci  push\n"
    );
    let expected =
        pb::ListHistoryRequest { module: "pets".into(), page_size: 100, page_token: String::new() };
    assert_eq!(gateway.asked::<pb::ListHistoryRequest>("list_history"), expected);
}

#[test]
fn apply_sends_the_file_and_shows_the_changes() {
    use pb::resource_change::Kind;

    let (gateway, directory) = (Gateway::start(), tempfile::tempdir().unwrap());
    let file = directory.path().join("resources.json");
    fs::write(&file, "{}").unwrap();
    let change = |change: Kind, name: &str, differences: &[&str]| pb::ResourceChange {
        change: change.into(),
        kind: "upstreams".into(),
        name: name.into(),
        differences: differences.iter().map(|text| (*text).to_owned()).collect(),
    };
    let reply = pb::ApplyConfigResponse {
        changes: vec![
            change(Kind::Created, "a", &[]),
            change(Kind::Updated, "b", &["endpoints[0].address: \"h:1\" -> \"h:2\""]),
            change(Kind::Deleted, "c", &[]),
        ],
        etag: "e2".into(),
        generation: 9,
        dry_run: false,
    };
    gateway.reply("apply_config", reply.clone());
    let arguments = ["apply", "-f", file.to_str().unwrap(), "--prune", "--etag", "e1"];
    let ended = gateway.run(&arguments);
    assert_eq!(ended.code, 0, "{ended:?}");
    let changes =
        "+ upstreams/a\n~ upstreams/b\n    endpoints[0].address: \"h:1\" -> \"h:2\"\n- upstreams/c\n";
    assert_eq!(ended.stdout, format!("{changes}3 changes, generation 9\n"));
    let request: pb::ApplyConfigRequest = gateway.asked("apply_config");
    let content = request.content.unwrap();
    assert_eq!((content.content_type.as_str(), content.data.as_slice()), ("application/json", &b"{}"[..]));
    assert_eq!((request.etag.as_str(), request.prune, request.dry_run), ("e1", true, false));

    gateway.reply("validate_config", reply);
    let mut command = gateway.command(&["apply", "-f", "-", "--dry-run"]);
    let dry = admin::ended(command.write_stdin("upstreams: []\n"));
    assert_eq!(dry.stdout, format!("{changes}nothing was changed: it was a dry run\n"));
    let request: pb::ApplyConfigRequest = gateway.asked("validate_config");
    let content = request.content.unwrap();
    assert_eq!(
        (content.content_type.as_str(), content.data.as_slice()),
        ("application/yaml", &b"upstreams: []\n"[..])
    );
    assert_eq!((request.prune, request.dry_run), (false, true));

    gateway.reply("apply_config", pb::ApplyConfigResponse { etag: "e3".into(), ..Default::default() });
    let same = gateway.run(&["apply", "-f", file.to_str().unwrap(), "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&same.stdout).unwrap();
    assert_eq!((&shown["etag"], shown["changes"].as_array().map(Vec::len)), (&"e3".into(), Some(0)));

    let missing = gateway.run(&["apply", "-f", "/nonexistent.yaml"]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.starts_with("/nonexistent.yaml can't be read: "), "{missing:?}");
}

fn resource(name: &str, origin: pb::Origin) -> pb::Resource {
    let text = |text: &str| Value { kind: Some(value::Kind::StringValue(text.into())) };
    let is_stored = origin == pb::Origin::Store;
    pb::Resource {
        kind: "upstreams".into(),
        name: name.into(),
        spec: Some(Struct { fields: [("balance".to_owned(), text("least_request"))].into() }),
        etag: if is_stored { "e1".into() } else { String::new() },
        origin: origin.into(),
        updated: at(1_700_000_000).filter(|_| is_stored),
    }
}

#[test]
fn resources_are_listed_and_shown() {
    let gateway = Gateway::start();
    let list = pb::ListResourcesResponse {
        resources: vec![resource("pets", pb::Origin::Store), resource("old", pb::Origin::File)],
        next_page_token: String::new(),
    };
    gateway.reply("list_resources", list);
    let ended = gateway.run(&["get", "upstream"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(
        ended.stdout,
        "NAME  WRITTEN IN  CHANGED               ETAG\n\
         pets  store       2023-11-14T22:13:20Z  e1\n\
         old   file        -                     -\n"
    );
    let expected =
        pb::ListResourcesRequest { kind: "upstreams".into(), page_size: 1000, page_token: String::new() };
    assert_eq!(gateway.asked::<pb::ListResourcesRequest>("list_resources"), expected);

    gateway.reply("get_resource", resource("pets", pb::Origin::Store));
    let one = gateway.run(&["get", "upstreams", "pets"]);
    assert_eq!(
        one.stdout,
        "# upstreams/pets, written in the store\n# changed 2023-11-14T22:13:20Z\n# etag e1\n\
         {\n  \"balance\": \"least_request\"\n}\n"
    );
    let expected = pb::GetResourceRequest { kind: "upstreams".into(), name: "pets".into() };
    assert_eq!(gateway.asked::<pb::GetResourceRequest>("get_resource"), expected);

    gateway.reply("get_resource", resource("pets", pb::Origin::Store));
    let json = gateway.run(&["get", "upstreams", "pets", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&shown["origin"], &shown["spec"]["balance"]),
        (&"ORIGIN_STORE".into(), &"least_request".into())
    );
    let _: pb::GetResourceRequest = gateway.asked("get_resource");

    for (kind, name) in
        [("module", "modules"), ("api", "apis"), ("consumer", "consumers"), ("certificate", "certificates")]
    {
        gateway.reply("list_resources", pb::ListResourcesResponse::default());
        assert_eq!(gateway.run(&["get", kind]).stdout, format!("there are no {name}\n"));
        assert_eq!(gateway.asked::<pb::ListResourcesRequest>("list_resources").kind, name);
    }

    assert!(gateway.was_asked_nothing_else());
}

#[test]
fn a_resource_is_removed_unless_it_is_in_use() {
    let gateway = Gateway::start();
    gateway.reply("delete_resource", pb::DeleteResourceResponse { generation: 9 });
    let gone = gateway.run(&["delete", "upstream", "pets", "--etag", "e1"]);
    assert_eq!(gone.stdout, "upstreams/pets is removed, generation 9\n");
    let expected = pb::DeleteResourceRequest {
        kind: "upstreams".into(),
        name: "pets".into(),
        etag: "e1".into(),
        dry_run: false,
    };
    assert_eq!(gateway.asked::<pb::DeleteResourceRequest>("delete_resource"), expected);

    let mut details = ErrorDetails::new();
    details.add_precondition_failure_violation("IN_USE", "apis/pets", "it names this upstream");
    gateway.refuse(
        "delete_resource",
        Status::with_error_details(Code::FailedPrecondition, "upstreams/pets is in use", details),
    );
    let used = gateway.run(&["delete", "upstreams", "pets", "--dry-run"]);
    assert_eq!(used.code, 1);
    assert_eq!(
        used.stderr,
        "upstreams/pets is in use (FAILED_PRECONDITION)\n  IN_USE apis/pets: it names this upstream\n"
    );
    assert!(gateway.asked::<pb::DeleteResourceRequest>("delete_resource").dry_run);
    assert!(gateway.was_asked_nothing_else());
}

#[test]
fn status_shows_listeners_and_upstreams() {
    let gateway = Gateway::start();
    let reply = pb::GetStatusResponse {
        version: "0.1.0".into(),
        generation: 7,
        started: at(1_700_000_000),
        listeners: vec![pb::ListenerStatus {
            name: "main".into(),
            address: "127.0.0.1:8080".into(),
            connections: 3,
            tls: true,
            http3: false,
        }],
        upstreams: vec![pb::UpstreamStatus {
            name: "pets".into(),
            endpoints: vec![
                pb::EndpointStatus { address: "127.0.0.1:1".into(), usable: true },
                pb::EndpointStatus { address: "127.0.0.1:2".into(), usable: false },
            ],
        }],
        store: "/var/lib/transom/store.redb".into(),
        modules: 1,
        apis: 2,
        methods: 3,
    };
    gateway.reply("get_status", reply.clone()).reply("get_status", reply);
    let ended = gateway.run(&["status"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(
        ended.stdout,
        "transom 0.1.0, generation 7, started 2023-11-14T22:13:20Z\n1 module, 2 APIs, 3 methods\n\
         store /var/lib/transom/store.redb\n\n\
         LISTENER  ADDRESS         TLS  HTTP/3  CONNECTIONS\n\
         main      127.0.0.1:8080  yes  no      3\n\n\
         UPSTREAM  ENDPOINT     USABLE\n\
         pets      127.0.0.1:1  yes\n\
         pets      127.0.0.1:2  no\n"
    );
    let json = gateway.run(&["status", "--output=json"]);
    let shown: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&shown["upstreams"][0]["endpoints"][1]["usable"], &shown["apis"]),
        (&false.into(), &2.into())
    );
    assert_eq!(shown["started"], "2023-11-14T22:13:20.000000005Z");
}

/// A log of three entries, the newest first.
fn log() -> Vec<pb::AuditEntry> {
    let mut log: Vec<pb::AuditEntry> = Vec::new();
    for sequence in 1..=3 {
        let mut entry = pb::AuditEntry {
            sequence,
            time: at(1_700_000_000),
            actor: "ci".into(),
            role: "developer".into(),
            peer: "10.0.0.1:5".into(),
            method: "transom.admin.v1.Modules/CreateVersion".into(),
            target: "modules/pets".into(),
            after: digest('3'),
            previous: log.last().map(|entry| entry.hash.clone()).unwrap_or_default(),
            ..pb::AuditEntry::default()
        };
        entry.hash = audit_hash(&entry).iter().map(|byte| format!("{byte:02x}")).collect();
        log.push(entry);
    }
    log.reverse();
    log
}

fn audit(entries: &[pb::AuditEntry], token: &str) -> pb::ListAuditResponse {
    pb::ListAuditResponse { entries: entries.to_vec(), next_page_token: token.into() }
}

#[test]
fn the_audit_log_is_listed_and_verified() {
    let (gateway, log) = (Gateway::start(), log());
    gateway.reply("list_audit", audit(&log[..1], ""));
    let ended = gateway.run(&["audit", "--limit", "5"]);
    assert_eq!(
        ended.stdout,
        "#  TIME                  BY  ROLE       FROM        METHOD                                  TARGET        \
         BEFORE  AFTER         NOTE\n\
         3  2023-11-14T22:13:20Z  ci  developer  10.0.0.1:5  transom.admin.v1.Modules/CreateVersion  modules/pets  \
         -       333333333333  -\n"
    );
    assert_eq!(gateway.asked::<pb::ListAuditRequest>("list_audit").page_size, 5);

    gateway.reply("list_audit", audit(&log[..2], "next")).reply("list_audit", audit(&log[2..], ""));
    let whole = gateway.run(&["audit", "--verify"]);
    assert_eq!(whole.code, 0);
    assert_eq!(whole.stdout, format!("entries 1 to 3 are whole; the hash of the last is {}\n", log[0].hash));
    let _: pb::ListAuditRequest = gateway.asked("list_audit");
    assert_eq!(gateway.asked::<pb::ListAuditRequest>("list_audit").page_token, "next");

    gateway.reply("list_audit", audit(&log, ""));
    let json = gateway.run(&["audit", "--verify", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&shown["entries"], shown["hash"].as_str()), (&"3".into(), Some(log[0].hash.as_str())));

    let mut changed = log.clone();
    changed[1].actor = "eve".into();
    gateway.reply("list_audit", audit(&changed, ""));
    let broken = gateway.run(&["audit", "--verify"]);
    assert_eq!((broken.code, broken.stdout.as_str()), (1, ""));
    assert_eq!(broken.stderr, "the log was changed: the hash of entry 2 isn't that of what it says\n");

    gateway.reply("list_audit", audit(&[], "next"));
    assert_eq!(
        gateway.run(&["audit", "--verify"]).stderr,
        "the gateway tells of a next page on an empty one\n"
    );
}

#[test]
fn tokens_come_from_files_too_and_their_lack_is_told() {
    let (gateway, directory) = (Gateway::start(), tempfile::tempdir().unwrap());
    let file = directory.path().join("token");
    fs::write(&file, "from-file\n").unwrap();
    gateway.reply("get_status", pb::GetStatusResponse::default());
    let ended = gateway.run(&["status", "--token-file", file.to_str().unwrap()]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let (_, authorization) = gateway.asked_by::<pb::GetStatusRequest>("get_status");
    assert_eq!(authorization.as_deref(), Some("Bearer from-file"));

    gateway.refuse("get_status", Status::unauthenticated("a token is needed"));
    let lacking = gateway.run(&["status"]);
    assert_eq!(lacking.code, 1);
    assert_eq!(
        lacking.stderr,
        "a token is needed (UNAUTHENTICATED)\ngive a token in TRANSOM_ADMIN_TOKEN, or in a file by --token-file\n"
    );
    let strange = ended_with_token(&gateway, "two words");
    assert_eq!(strange.code, 2);
    assert!(strange.stderr.contains("TRANSOM_ADMIN_TOKEN has no token") && !strange.stderr.contains("two"));
}

fn ended_with_token(gateway: &Gateway, token: &str) -> admin::Ended {
    ended(gateway.command(&["status"]).env("TRANSOM_ADMIN_TOKEN", token))
}

#[test]
fn what_a_gateway_says_can_not_move_the_cursor() {
    let gateway = Gateway::start();
    let mut resource = resource("a\x1b[2Jb", pb::Origin::Store);
    resource.etag = "e\r\n1".into();
    let list = pb::ListResourcesResponse { resources: vec![resource], next_page_token: String::new() };
    gateway.reply("list_resources", list);
    let ended = gateway.run(&["get", "upstreams"]);
    assert!(ended.stdout.contains("a\\u{1b}[2Jb  store"), "{ended:?}");
    assert!(ended.stdout.ends_with("e\\r\\n1\n"), "{ended:?}");
}

#[test]
fn commands_and_flags_are_checked_before_anything_is_asked() {
    let gateway = Gateway::start();
    let cases: &[(&[&str], &str)] = &[
        (&["push", "pets"], "DIR_OR_FILE"),
        (&["push", "pets", "/nonexistent"], "check the path"),
        (&["get", "things"], "modules, upstreams, apis, consumers, certificates"),
        (&["status", "--timeout", "5"], "30s"),
        (&["status", "--admin", "127.0.0.1:9900"], "http:// or https://"),
        (&["status", "--admin", "http://u:p@x"], "TRANSOM_ADMIN_TOKEN"),
        (&["status", "--cert", "x.pem"], "--key"),
        (&["status", "--ca", "x.pem"], "has no TLS"),
        (&["status", "-o", "yaml"], "table, json"),
        (&["versions", "pets", "--limit", "0"], "--limit"),
        (&["audit", "--limit", "-1"], "-1"),
        (&["status", "--token", "x"], "unexpected argument"),
        (&["frobnicate"], "frobnicate"),
    ];
    for (arguments, why) in cases {
        let ended = gateway.run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(why), "{arguments:?}: {ended:?}");
    }
    assert!(gateway.was_asked_nothing_else());
}

#[test]
fn help_has_groups_and_each_command_an_example() {
    let help = ended(admin::program().arg("--help"));
    assert_eq!(help.code, 0);
    for line in [
        "Publish descriptors:\n  push         Upload `.proto` files or a descriptor set as a new version of a module\n",
        "Run a gateway:\n  demo ",
        "TRANSOM_ADMIN_TOKEN",
    ] {
        assert!(help.stdout.contains(line), "{}", help.stdout);
    }
    let push = ended(admin::program().args(["push", "--help"]));
    for line in ["\n  transom push pets ./protos\n", "Exit codes:\n  0  done\n", "[env: TRANSOM_ADMIN="] {
        assert!(push.stdout.contains(line), "{}", push.stdout);
    }
    let diff = ended(admin::program().args(["diff", "--help"]));
    assert!(diff.stdout.contains("  1  something breaks\n"), "{}", diff.stdout);
}

#[test]
fn completions_are_there_for_three_shells() {
    for (shell, mark) in
        [("bash", "complete -F _transom"), ("zsh", "#compdef transom"), ("fish", "complete -c transom")]
    {
        let ended = ended(admin::program().args(["completions", shell]));
        assert_eq!(ended.code, 0);
        assert!(ended.stdout.contains(mark) && ended.stdout.contains("rollback"), "{shell}");
    }
    assert_eq!(ended(admin::program().args(["completions", "tcsh"])).code, 2);
}

#[test]
fn a_reader_that_left_is_no_fault_and_a_full_disk_is_one() {
    let run = |stdout: std::process::Stdio| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_transom"));
        command.args(["completions", "bash"]).stdout(stdout).output().unwrap()
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let left = run(writer.into());
    assert_eq!((left.status.code(), left.stderr.len()), (Some(0), 0));
    let full = run(fs::File::options().write(true).open(Path::new("/dev/full")).unwrap().into());
    assert_eq!(full.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&full.stderr).starts_with("the output can't be written: "));
}

//! Faults of the registry and attacks on the Admin API: stores that can't be read, swaps under load, and requests
//! that others make a browser, a proxy or the gateway itself send.

#![expect(clippy::unwrap_used, reason = "a test ends at what it didn't expect")]

#[path = "support/program.rs"]
mod program;
mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use sha2::Digest;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use transom::demo;
use transom::demo::pb::Remark;
use transom::schema::Limits;
use transom::schema::compile;
use transom::server::Setup;
use transom::snapshot::Labels;

use crate::program::Program;
use crate::program::http;
use crate::program::run;
use crate::program::transom;
use crate::program::zipped;
use crate::support::Backend;
use crate::support::Gateway;
use crate::support::Parts;
use crate::support::config_of;
use crate::support::soon;
use crate::support::yaml;

/// A directory with a configuration.
struct Home(TempDir);

impl Home {
    fn new(admin: &str, more: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let text = format!(
            "listeners: [{{ name: main, address: \"127.0.0.1:0\" }}]\n\
             admin: {{ {admin} }}\n\
             store: {{ embedded: {{ path: store.redb }} }}\n\
             server: {{ drain_timeout: 1s }}\n{more}\n"
        );
        std::fs::write(directory.path().join("transom.yaml"), text).unwrap();
        Self(directory)
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("transom.yaml")
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("store.redb")
    }

    fn serve(&self) -> Program {
        Program::serve(&self.config(), &["main", "admin"])
    }
}

const LOCAL: &str = "address: \"127.0.0.1:0\"";
const PETS: &str = "syntax = \"proto3\"; package pets.v1; message M { string a = 1; } \
                    service S { rpc Get(M) returns (M); }";

fn push(address: SocketAddr, fields: &[(&str, &str)]) -> program::Answer {
    let fields = [&[("content-type", "application/zip")], fields].concat();
    http(address, "POST /admin/v1/modules/pets/versions", &fields, &zipped(&[("pets.proto", PETS)]))
}

#[test]
fn a_store_that_cannot_be_read_is_refused_and_never_served_empty() {
    let home = Home::new(LOCAL, "");
    let gateway = home.serve();
    push(gateway.address("admin"), &[]).is(200, &[]);
    assert!(gateway.terminate().0.success());
    let whole = std::fs::read(home.store()).unwrap();
    let mut garbled = whole.clone();
    garbled[..4096].fill(0x55);
    let faults: [(&str, Vec<u8>, &str); 5] = [
        ("empty", Vec::new(), "is damaged: it is empty"),
        ("text", b"no store at all\n".repeat(1_000), "is damaged"),
        ("its first page is overwritten", garbled, "is damaged"),
        ("cut to a page", whole[..4096].to_vec(), "is damaged"),
        ("cut in half", whole[..whole.len() / 2].to_vec(), "is damaged"),
    ];
    for (what, bytes, told) in faults {
        std::fs::write(home.store(), &bytes).unwrap();
        let ended = run(transom().arg("serve").arg("-c").arg(home.config()));
        assert_eq!(ended.code, 1, "{what}: {ended:?}");
        assert!(ended.stderr.contains(told) && ended.stderr.contains("backup"), "{what}: {ended:?}");
        assert!(
            !ended.stderr.contains("listening") && !ended.stderr.contains("panicked at"),
            "{what}: {ended:?}"
        );
        // Nor does looking at it mend it into an empty one.
        let again = run(transom().arg("serve").arg("-c").arg(home.config()));
        assert!(again.code == 1 && again.stderr.contains("is damaged"), "{what}: {again:?}");
        let checked = run(transom().args(["store", "check"]).arg(home.store()));
        assert_eq!(checked.code, 1, "{what}: {checked:?}");
    }
    // The backup is put back, and all is there.
    std::fs::write(home.store(), &whole).unwrap();
    let gateway = home.serve();
    http(gateway.address("admin"), "GET /admin/v1/modules/pets", &[], b"").is(200, &["\"live\""]);
}

#[test]
fn a_page_that_the_disk_changed_costs_the_last_change_at_most() {
    let home = Home::new(LOCAL, "");
    let gateway = home.serve();
    let address = gateway.address("admin");
    push(address, &[]).is(200, &[]);
    let document = "upstreams: [{ name: u, endpoints: [{ address: \"127.0.0.1:1\" }] }]\n\
                    apis: [{ name: a, module: pets, upstream: u }]\n";
    let yaml = [("content-type", "application/yaml")];
    http(address, "POST /admin/v1/config:apply", &yaml, document.as_bytes()).is(200, &[]);
    assert!(gateway.terminate().0.success());
    let whole = std::fs::read(home.store()).unwrap();
    let mut refused = 0;
    for at in (0..whole.len()).step_by(PAGE).filter(|at| whole[*at..][..PAGE].iter().any(|byte| *byte != 0)) {
        let mut changed = whole.clone();
        changed[at + 64..at + PAGE].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(home.store(), &changed).unwrap();
        // Looking at it doesn't make less of it either.
        for start in 1..=2 {
            match Program::start(&home.config(), &["main", "admin"]) {
                Ok(gateway) => {
                    let status = http(gateway.address("admin"), "GET /admin/v1/status", &[], b"");
                    let status = status.is(200, &[]).json();
                    // After an end without a farewell, damage of the last change looks like one that was never
                    // finished: what was before it serves. Nothing less does.
                    assert_eq!(status["modules"], 1, "page at {at}, start {start}: {status}");
                }
                Err(log) => {
                    assert!(log.contains("is damaged"), "page at {at}: {log}");
                    refused += 1;
                }
            }
        }
    }
    assert!(0 < refused);
}

const PAGE: usize = 4_096;

#[test]
fn a_store_of_a_newer_transom_is_refused() {
    let home = Home::new(LOCAL, "");
    assert!(home.serve().terminate().0.success());
    let meta: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
    let database = redb::Database::open(home.store()).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(meta).unwrap().insert("format", 99).unwrap();
    write.commit().unwrap();
    drop(database);
    let ended = run(transom().arg("serve").arg("-c").arg(home.config()));
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("has format 99, and this Transom reads up to format 1"), "{ended:?}");
}

/// The demo's descriptors without the method `Discuss`.
fn without_discuss() -> transom::schema::Schema {
    let mut set = prost_types::FileDescriptorSet::decode(demo::FILE_DESCRIPTOR_SET).unwrap();
    let mut removed = 0;
    for method in set.file.iter_mut().flat_map(|file| &mut file.service).map(|service| &mut service.method) {
        let before = method.len();
        method.retain(|method| method.name() != "Discuss");
        removed += before - method.len();
    }
    assert_eq!(removed, 1);
    compile::descriptor_set(&Bytes::from(set.encode_to_vec()), &[], &Limits::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_outlive_the_version_that_they_began_with() {
    let backend = Backend::start();
    let pool = "pool: { connections: 4, max_streams: 1000 }";
    let config = config_of(&yaml(&[backend.address], Parts { upstream: pool, ..Parts::default() }));
    let old = support::demo_schema();
    let part = Arc::downgrade(&old.services()[0].file);
    let setup = Setup { modules: [("demo".to_owned(), Labels::live(old))].into(), ..Setup::default() };
    let gateway = Gateway::of_setup(config, setup);
    assert!(part.upgrade().is_some());
    let remark = |text: &str| Remark { text: text.into(), times: 1, ..Default::default() };
    let mut live = Vec::new();
    for _ in 0..STREAMS / A_CONNECTION {
        let library = gateway.library().await;
        for _ in 0..A_CONNECTION {
            let (sender, remarks) = mpsc::channel(4);
            sender.send(remark("before")).await.unwrap();
            let opened = library.clone().discuss(ReceiverStream::new(remarks)).await;
            let mut answers = opened.unwrap().into_inner();
            assert!(soon("an answer", answers.message()).await.unwrap().is_some());
            live.push((sender, answers));
        }
    }
    gateway.server().publish("demo", without_discuss()).unwrap();
    let mut library = gateway.library().await;
    let refused = library.discuss(tokio_stream::iter([remark("new")])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
    for (sender, _) in &live {
        sender.send(remark("after")).await.unwrap();
    }
    for (sender, mut answers) in live {
        let answer = soon("an answer", answers.message()).await.unwrap().unwrap();
        assert!(answer.text.contains("after"), "{answer:?}");
        drop(sender);
        assert!(soon("the end", answers.message()).await.unwrap().is_none());
    }
    drop(library);
    assert!(support::eventually(|| part.upgrade().is_none()).await, "the old version is held on to");
}

const STREAMS: usize = 1_000;
const A_CONNECTION: usize = 100;

#[test]
fn pages_of_others_and_names_of_others_reach_nothing() {
    let home = Home::new(
        "address: \"127.0.0.1:0\", hosts: [admin.example.com], origins: [\"https://console.example.com\"]",
        "",
    );
    let gateway = home.serve();
    let address = gateway.address("admin");
    let port = address.port();
    let ask = |fields: &[(&str, &str)]| http(address, "GET /admin/v1/status", fields, b"").status;
    // A name that was bound to this machine anew.
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "xadmin.example.com"] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            assert_eq!(ask(&[("host", &host)]), 403, "{host}");
            let answer = http(address, "GET /admin/v1/openapi.json", &[("host", &host)], b"");
            answer.is(403, &["this host is not one of the Admin API"]);
            // Probes ask by any name.
            http(address, "GET /healthz", &[("host", &host)], b"").is(200, &["ok"]);
        }
    }
    for host in ["localhost", "LOCALHOST.", "[::1]", "admin.example.com", "10.0.0.1"] {
        assert_eq!(ask(&[("host", &format!("{host}:{port}"))]), 200, "{host}");
    }
    // A page of somebody else: what a browser sends without asking first, too.
    let simple = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"];
    for kind in simple.iter().chain(&["application/zip", "application/json", "application/grpc-web"]) {
        for origin in
            ["https://evil.example", "null", "http://127.0.0.1:1", "https://console.example.com.evil"]
        {
            for target in ["POST /admin/v1/modules/pets/versions", "POST /admin/v1/config:apply"] {
                let answer = http(address, target, &[("origin", origin), ("content-type", kind)], b"{}");
                // gRPC-Web tells of it in its own words.
                let refused = answer.status == 403 || answer.field("grpc-status") == Some("7");
                assert!(
                    refused || answer.body.contains("grpc-status"),
                    "{kind} {origin} {target}: {answer:?}"
                );
            }
        }
        let fields = [("sec-fetch-site", "cross-site"), ("content-type", *kind)];
        let answer = http(address, "POST /admin/v1/config:apply", &fields, b"{}");
        let refused = answer.status == 403 || kind.contains("grpc") && answer.head.contains("grpc");
        assert!(refused, "{answer:?}");
    }
    let own = format!("http://{address}");
    assert_eq!(ask(&[("origin", &own)]), 200);
    assert_eq!(ask(&[("origin", "https://console.example.com")]), 200);
    // Where there are no tokens, nobody is let in through a proxy.
    for field in ["x-forwarded-for", "forwarded", "via", "x-real-ip", "x-forwarded-host"] {
        let answer = http(address, "GET /admin/v1/status", &[(field, "127.0.0.1")], b"");
        answer.is(403, &["came through a proxy"]);
    }
    let audit = http(address, "GET /admin/v1/audit", &[], b"").is(200, &[]).json();
    assert!(audit["entries"].as_array().is_none_or(Vec::is_empty), "nothing was changed: {audit}");
}

#[test]
fn the_gateway_is_no_way_to_its_own_admin_address() {
    // The port must be known to the configuration.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = Home::new(&format!("address: \"127.0.0.1:{port}\""), "");
    let gateway = home.serve();
    let address = gateway.address("admin");
    let put = |endpoint: &str| {
        let body = format!("{{\"endpoints\": [{{\"address\": \"{endpoint}\"}}]}}");
        let json = [("content-type", "application/json")];
        http(address, "PUT /admin/v1/upstreams/u", &json, body.as_bytes())
    };
    for host in ["127.0.0.1", "127.0.0.2", "localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
    {
        put(&format!("{host}:{port}")).is(400, &["endpoints[0].address"]);
    }
    for endpoint in
        ["169.254.169.254:80", "[fe80::1]:80", "metadata.google.internal:80", "[fd00:ec2::254]:80"]
    {
        put(endpoint).is(400, &["endpoints[0].address"]);
    }
    let body = format!("upstreams: [{{ name: u, endpoints: [{{ address: \"127.0.0.1:{port}\" }}] }}]");
    let yaml = [("content-type", "application/yaml")];
    let answer = http(address, "POST /admin/v1/config:apply", &yaml, body.as_bytes());
    answer.is(400, &["endpoints[0].address"]);
    put("127.0.0.1:50051").is(200, &[]);
}

#[test]
fn no_path_leads_past_the_token() {
    let hash: String = sha2::Sha256::digest("secret").iter().map(|byte| format!("{byte:02x}")).collect();
    let tokens =
        format!("{LOCAL}, tokens: [{{ name: ops, sha256: \"{hash}\", role: admin, modules: [\"*\"] }}]");
    let home = Home::new(&tokens, "");
    let gateway = home.serve();
    let (main, admin) = (gateway.address("main"), gateway.address("admin"));
    let targets = [
        "GET /admin/v1/status",
        "GET /admin/v1/audit",
        "GET /healthz/../admin/v1/status",
        "GET /healthz/%2e%2e/admin/v1/status",
        "GET //admin/v1/status",
        "GET /admin//v1/status",
        "GET /admin%2fv1%2fstatus",
        "GET /admin/v1/%73tatus",
        "GET /./admin/v1/status",
        "GET /admin/v1/status/",
        "GET /admin/v1/status;x",
        "GET /admin/v1/status%00",
        "GET /metrics/../admin/v1/modules",
        "GET /admin/v1/openapi.json/../status",
        "GET /ADMIN/v1/status",
        "POST /healthz/../admin/v1/config:apply",
        "POST /transom.admin.v1.Status/GetStatus",
        "POST //transom.admin.v1.Status/GetStatus",
        "POST /transom.admin.v1.Status%2fGetStatus",
        "POST /healthz/../transom.admin.v1.Status/GetStatus",
    ];
    for target in targets {
        let body: &[u8] = if target.starts_with("POST") { b"{}" } else { b"" };
        for kind in ["application/json", "application/x-protobuf", ""] {
            let json = [("content-type", kind)];
            let fields = if kind.is_empty() { &[][..] } else { &json[..] };
            let answer = http(admin, target, fields, body);
            assert!(400 <= answer.status, "{target} {kind}: {answer:?}");
            assert!(!answer.body.contains("generation"), "{target} {kind}: {answer:?}");
            // The listener of the teams has nothing of it.
            let answer = http(main, target, fields, body);
            assert!(
                400 <= answer.status && !answer.body.contains("generation"),
                "{target} {kind}: {answer:?}"
            );
        }
    }
    push(admin, &[]).is(401, &[]);
    push(admin, &[("authorization", "Bearer secret")]).is(200, &[]);
}

//! The Admin API of the real program: every dialect, roles, resources, uploads, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test ends at what it didn't expect")]

#[path = "support/program.rs"]
mod program;
mod support;

use std::fmt::Write;

use base64::Engine;
use bytes::Bytes;
use sha2::Digest;
use tempfile::TempDir;
use tonic::Code;
use tonic::metadata::MetadataValue;
use transom::admin::pb;
use transom::admin::pb::modules_client::ModulesClient;
use transom::admin::pb::status_client::StatusClient;

use crate::program::Answer;
use crate::program::Program;
use crate::program::http;
use crate::program::zipped;
use crate::support::RawClient;
use crate::support::channel;
use crate::support::frame;
use crate::support::head;

/// A gateway with a store, and what its file has besides.
struct Gateway {
    program: Option<Program>,
    directory: TempDir,
}

impl Gateway {
    fn start(admin: &str, top: &str) -> Self {
        Self::start_in(TempDir::new().unwrap(), admin, top)
    }

    /// The same store, with another file.
    fn again(mut self, top: &str) -> (Self, String) {
        let (ended, log) = self.program.take().unwrap().terminate();
        assert!(ended.success(), "{ended}: {log}");
        (Self::start_in(self.directory, "", top), log)
    }

    fn start_in(directory: TempDir, admin: &str, top: &str) -> Self {
        let config = directory.path().join("transom.yaml");
        let text = format!(
            "listeners: [{{ name: main, address: \"127.0.0.1:0\" }}]\n\
             admin: {{ address: \"127.0.0.1:0\"{admin} }}\n\
             store: {{ embedded: {{ path: store.redb }} }}\n\
             server: {{ drain_timeout: 1s }}\n{top}\n"
        );
        std::fs::write(&config, text).unwrap();
        let program = Some(Program::serve(&config, &["main", "admin"]));
        Self { program, directory }
    }

    fn program(&self) -> &Program {
        self.program.as_ref().unwrap()
    }

    /// A request of the Admin API: `GET /status`.
    fn ask_with(&self, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        let target = target.replacen(" /", " /admin/v1/", 1);
        http(self.program().address("admin"), &target, fields, body)
    }

    fn ask(&self, target: &str, body: &str) -> Answer {
        self.ask_with(target, &[("content-type", "application/json")], body.as_bytes())
    }

    fn push(&self, module: &str, query: &str, files: &[(&str, &str)]) -> Answer {
        self.upload(module, query, "application/zip", &zipped(files))
    }

    fn upload(&self, module: &str, query: &str, kind: &str, content: &[u8]) -> Answer {
        self.ask_with(&format!("POST /modules/{module}/versions{query}"), &[("content-type", kind)], content)
    }

    /// Ends it, and looks at its log.
    fn end(mut self) -> String {
        let (ended, log) = self.program.take().unwrap().terminate();
        assert!(ended.success(), "{ended}: {log}");
        assert!(!log.contains("panicked"), "{log}");
        log
    }
}

fn proto(package: &str, more: &str) -> String {
    format!(
        "syntax = \"proto3\"; package {package};\nmessage M {{ string a = 1; {more} }}\n\
         service S {{ rpc Get(M) returns (M); }}\n"
    )
}

fn hash(token: &str) -> String {
    sha2::Sha256::digest(token).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn it_speaks_every_dialect_and_describes_itself() {
    let gateway = Gateway::start("", "");
    let address = gateway.program().address("admin");
    assert_eq!(gateway.ask("GET /status", "").is(200, &[]).json()["generation"], "1");
    let status = StatusClient::new(channel(address).await).get_status(pb::GetStatusRequest {}).await.unwrap();
    assert_eq!(status.into_inner().generation, 1);
    let connect = [("content-type", "application/json"), ("connect-protocol-version", "1")];
    let answer = http(address, "POST /transom.admin.v1.Status/GetStatus", &connect, b"{}");
    assert_eq!(answer.is(200, &[]).json()["generation"], "1");
    let client = RawClient::connect(address).await;
    let mut web = head(address, "/transom.admin.v1.Status/GetStatus");
    web.headers_mut().insert("content-type", "application/grpc-web+proto".parse().unwrap());
    let answer = client.call(web, frame(0, b"")).await.unwrap();
    assert!(answer.status == 200 && answer.body.windows(11).any(|part| part == b"grpc-status"), "{answer:?}");
    // ServerReflectionRequest { list_services: "" }.
    let asked = head(address, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    let answer = client.call(asked, frame(0, &[0x3a, 0])).await.unwrap();
    let told = String::from_utf8_lossy(&answer.body).into_owned();
    for service in ["Configuration", "Modules", "Resources", "Status"] {
        assert!(told.contains(&format!("transom.admin.v1.{service}")), "{told}");
    }
    let document = gateway.ask("GET /openapi.json", "").is(200, &[]).json();
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/modules/{module}/versions",
        "/modules/{module}/versions/{version}",
        "/modules/{module}:diff",
        "/modules/{module}:promote",
        "/modules/{module}:rollback",
        "/modules/{module}/history",
        "/{kind}",
        "/{kind}/{name}",
        "/config",
        "/config:apply",
        "/config:validate",
        "/status",
        "/audit",
    ] {
        assert!(paths.contains_key(&format!("/admin/v1{path}")), "{path}: {:?}", paths.keys());
    }
}

/// Reads, changes of a module, and changes of the whole, with the least that is sent for them.
const READS: &[&str] = &[
    "GET /status",
    "GET /audit",
    "GET /modules",
    "GET /modules/team-a",
    "GET /modules/team-a/versions",
    "GET /modules/team-a/versions/live",
    "GET /modules/team-a/versions/live/descriptor_set",
    "GET /modules/team-a/history",
    "GET /modules/team-a/shadow",
    "GET /upstreams",
    "GET /upstreams/u",
    "GET /config",
];
const OF_MODULES: &[&str] = &[
    "POST /modules/NAME/versions",
    "POST /modules/NAME:diff",
    "POST /modules/NAME:promote",
    "POST /modules/NAME:rollback",
    "DELETE /modules/NAME/labels/canary",
];
const OF_ALL: &[&str] =
    &["PUT /upstreams/u", "DELETE /upstreams/u", "POST /config:apply", "POST /config:validate"];

/// The same roles over gRPC, where nobody is another by saying so.
async fn of_grpc(gateway: &Gateway, told: &mut String) {
    let zip = zipped(&[("m.proto", &proto("m.v1", ""))]);
    let maker = [("authorization", "bearer secret-of-maker"), ("content-type", "application/zip")];
    gateway.ask_with("POST /modules/team-b/versions", &maker, &zip).is(200, &["maker"]);
    gateway.ask_with("POST /modules/my-team-b/versions", &maker, &zip).is(403, &["maker may not change"]);
    let address = gateway.program().address("admin");
    let mut modules = ModulesClient::new(channel(address).await);
    let call = |bearer: Option<&str>| {
        let mut request =
            tonic::Request::new(pb::RollbackRequest { module: "other".into(), ..Default::default() });
        if let Some(bearer) = bearer {
            let value = MetadataValue::try_from(format!("Bearer {bearer}")).unwrap();
            request.metadata_mut().insert("authorization", value);
            // Nobody is another by saying so.
            request.metadata_mut().insert("transom-actor", MetadataValue::from_static("token:owner"));
        }
        request
    };
    for (bearer, code) in [
        (None, Code::Unauthenticated),
        (Some("secret-of-nobody"), Code::Unauthenticated),
        (Some("secret-of-looker"), Code::PermissionDenied),
        (Some("secret-of-maker"), Code::PermissionDenied),
        (Some("secret-of-idler"), Code::PermissionDenied),
        (Some("secret-of-owner"), Code::FailedPrecondition),
    ] {
        let status = modules.rollback(call(bearer)).await.unwrap_err();
        assert_eq!(status.code(), code, "{bearer:?}: {status:?}");
        told.push_str(status.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_may_what_they_may_and_no_more() {
    let token = |name: &str, role: &str, modules: &str| {
        let hash = hash(&format!("secret-of-{name}"));
        format!("{{ name: {name}, sha256: \"{hash}\", role: {role}, modules: [{modules}] }}")
    };
    let tokens = [
        token("looker", "viewer", "\"*\""),
        token("maker", "developer", "\"team-*\""),
        token("idler", "developer", ""),
        token("owner", "admin", "\"*\""),
    ];
    let gateway = Gateway::start(&format!(", tokens: [{}]", tokens.join(", ")), "");
    let send = |target: &str, bearer: Option<&str>| {
        let bearer = bearer.map(|token| format!("Bearer {token}"));
        let mut fields = vec![("content-type", "application/json")];
        fields.extend(bearer.as_deref().map(|value| ("authorization", value)));
        gateway.ask_with(target, &fields, if target.starts_with('P') { b"{}" } else { b"" })
    };
    let mut told = String::new();
    let of = |target: &str| [target.replace("NAME", "team-a"), target.replace("NAME", "other")];
    let changes = OF_MODULES.iter().flat_map(|target| of(target));
    let all: Vec<String> = READS
        .iter()
        .map(|target| (*target).to_owned())
        .chain(changes)
        .chain(OF_ALL.iter().map(|t| (*t).into()))
        .collect();
    for target in &all {
        for bearer in [None, Some("secret-of-nobody"), Some(&*hash("secret-of-owner"))] {
            let answer = send(target, bearer);
            assert_eq!(answer.status, 401, "{target}: {answer:?}");
            assert!(answer.field("www-authenticate").unwrap().starts_with("bearer realm="), "{answer:?}");
            told.push_str(&answer.body);
        }
        for name in ["looker", "maker", "idler", "owner"] {
            let answer = send(target, Some(&format!("secret-of-{name}")));
            let allowed = match name {
                _ if READS.contains(&target.as_str()) => true,
                "owner" => true,
                "maker" => target.contains("team-a"),
                _ => false,
            };
            if allowed {
                assert!(!matches!(answer.status, 401 | 403), "{name} {target}: {answer:?}");
            } else {
                answer.is(403, &[name]);
            }
            told.push_str(&answer.head);
            told.push_str(&answer.body);
        }
    }
    of_grpc(&gateway, &mut told).await;
    let log = gateway.end();
    for text in [&told, &log] {
        for name in ["looker", "maker", "idler", "owner"] {
            let token = format!("secret-of-{name}");
            assert!(!text.contains(&token) && !text.contains(&hash(&token)), "{text}");
        }
    }
}

const UPSTREAM: &str = "{\"endpoints\": [{\"address\": \"127.0.0.1:50051\"}]}";
const OTHER: &str = "{\"endpoints\": [{\"address\": \"127.0.0.1:50052\"}]}";

#[test]
fn a_resource_is_replaced_only_in_the_state_that_was_read() {
    let gateway =
        Gateway::start("", "upstreams: [{ name: filed, endpoints: [{ address: \"127.0.0.1:1\" }] }]");
    let put = |query: &str, etag: &str, body: &str| {
        let mut fields = vec![("content-type", "application/json")];
        if !etag.is_empty() {
            fields.push(("if-match", etag));
        }
        gateway.ask_with(&format!("PUT /upstreams/u{query}"), &fields, body.as_bytes())
    };
    put("", "*", UPSTREAM).is(409, &["isn't in that state"]);
    put("?dry_run=true", "", UPSTREAM).is(200, &[]);
    gateway.ask("GET /upstreams/u", "").is(404, &["there is no upstream"]);
    let made = put("", "", UPSTREAM);
    let tag = made.is(200, &[]).field("etag").unwrap().to_owned();
    let read = gateway.ask("GET /upstreams/u", "");
    assert_eq!(read.is(200, &["50051", "ORIGIN_STORE"]).field("etag"), Some(&*tag));
    assert_eq!(format!("\"{}\"", read.json()["etag"].as_str().unwrap()), tag);
    assert_eq!(put("", "", UPSTREAM).is(200, &[]).json()["unchanged"], true);
    put("?dry_run=true", &tag, OTHER).is(200, &[]);
    gateway.ask("GET /upstreams/u", "").is(200, &["50051"]);
    put("", "\"0000000000000000\"", OTHER).is(409, &["isn't in that state"]);
    let changed = put("", &tag, OTHER);
    let newer = changed.is(200, &["50052"]).field("etag").unwrap().to_owned();
    assert_ne!(newer, tag);
    put("", &tag, UPSTREAM).is(409, &["isn't in that state"]);
    put("", "*", UPSTREAM).is(200, &["50051"]);
    let delete = |etag: &str| gateway.ask_with("DELETE /upstreams/u", &[("if-match", etag)], b"");
    delete(&tag).is(409, &[]);
    gateway.ask("DELETE /upstreams/u?dry_run=true", "").is(200, &[]);
    gateway.ask("GET /upstreams/u", "").is(200, &[]);
    delete("*").is(200, &[]);
    gateway.ask("GET /upstreams/u", "").is(404, &[]);
    delete("*").is(404, &[]);
    for (target, body) in [("PUT /upstreams/filed", UPSTREAM), ("DELETE /upstreams/filed", "")] {
        gateway.ask(target, body).is(400, &["is in the configuration file", "IN_FILE"]);
    }
    gateway.ask("GET /upstreams/filed", "").is(200, &["ORIGIN_FILE"]);
    gateway.ask("GET /nothings", "").is(404, &["upstreams"]);
    let log = gateway.ask("GET /audit", "").is(200, &["PutResource", "DeleteResource"]).json();
    assert_eq!(log["entries"].as_array().unwrap().len(), 4, "dry runs and refusals are no entries: {log}");
}

#[test]
fn a_faulty_resource_is_refused_by_its_field_and_what_is_used_stays() {
    let gateway = Gateway::start("", "");
    gateway
        .ask(
            "PUT /upstreams/u",
            "{\"endpoints\": [{\"address\": \"127.0.0.1:1\"}, {\"address\": \"no port\"}]}",
        )
        .is(400, &["upstreams/u", "endpoints[1].address"]);
    gateway.ask("PUT /upstreams/u", "{\"endpoint\": []}").is(400, &["upstreams/u", "endpoint"]);
    gateway.ask("PUT /upstreams/u", "{\"name\": \"v\", \"endpoints\": []}").is(400, &["spec.name"]);
    gateway.ask("PUT /upstreams/u", "[1]").is(400, &[]);
    gateway.ask("PUT /upstreams/..%2fx", UPSTREAM).is(400, &["name"]);
    gateway.ask("PUT /upstreams/u", UPSTREAM).is(200, &[]);
    let api = "{\"module\": \"nothing\", \"upstream\": \"u\"}";
    gateway.ask("PUT /apis/a", api).is(400, &["apis/a", "nothing"]);
    gateway.push("m", "", &[("m.proto", &proto("m.v1", ""))]).is(200, &[]);
    gateway.ask("PUT /apis/a", &api.replace("nothing", "m")).is(200, &[]);
    gateway.ask("DELETE /upstreams/u", "").is(400, &["is used by", "\\\"a\\\"", "IN_USE"]);
    gateway.ask("DELETE /modules/m", "").is(400, &["is used by", "IN_USE"]);
    gateway.ask("DELETE /modules/m/labels/live", "").is(400, &["is used by API", "IN_USE"]);
    assert_eq!(gateway.ask("GET /status", "").json()["apis"], 1);
    for target in ["DELETE /apis/a", "DELETE /upstreams/u", "DELETE /modules/m"] {
        gateway.ask(target, "").is(200, &[]);
    }
    gateway.ask("GET /modules/m", "").is(404, &[]);
    gateway.end();
}

#[test]
fn lists_come_in_pages() {
    let gateway = Gateway::start("", "");
    for number in 0..7 {
        gateway.ask(&format!("PUT /upstreams/u{number}"), UPSTREAM).is(200, &[]);
    }
    let (mut names, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page =
            gateway.ask(&format!("GET /upstreams?page_size=3&page_token={token}"), "").is(200, &[]).json();
        let listed = page["resources"].as_array().unwrap();
        names.extend(listed.iter().map(|resource| resource["name"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["nextPageToken"].as_str() {
            Some(next) if !next.is_empty() => token = next.to_owned(),
            _ => break,
        }
    }
    assert_eq!((names.join(" "), pages), ("u0 u1 u2 u3 u4 u5 u6".into(), 3));
    gateway.push("m", "", &[("m.proto", &proto("m.v1", ""))]).is(200, &[]);
    let long = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode("9".repeat(1_000));
    for (list, numbered) in [
        ("/upstreams", false),
        ("/modules", false),
        ("/modules/m/versions", true),
        ("/modules/m/history", true),
        ("/audit", true),
    ] {
        gateway.ask(&format!("GET {list}?page_size=-1"), "").is(400, &["page_size"]);
        gateway.ask(&format!("GET {list}?page_size=2147483647"), "").is(200, &[]);
        for token in ["!!!", "%00", "_w", "%F0%9F%92%A9"] {
            gateway.ask(&format!("GET {list}?page_token={token}"), "").is(400, &["page_token"]);
        }
        let status = if numbered { 400 } else { 200 };
        assert_eq!(gateway.ask(&format!("GET {list}?page_token={long}"), "").status, status, "{list}");
    }
    gateway.end();
}

#[test]
fn a_document_is_applied_whole_or_not_at_all() {
    let gateway =
        Gateway::start("", "upstreams: [{ name: filed, endpoints: [{ address: \"127.0.0.1:1\" }] }]");
    let apply = |query: &str, text: &str| {
        let fields = [("content-type", "application/yaml")];
        gateway.ask_with(&format!("POST /config:{query}"), &fields, text.as_bytes())
    };
    let one = "upstreams:\n  - { name: a, endpoints: [{ address: \"127.0.0.1:1\" }] }\n  \
               - { name: b, endpoints: [{ address: \"127.0.0.1:2\" }] }\n";
    let faulty = one.replace("127.0.0.1:2", "nowhere");
    apply("apply", &faulty).is(400, &["upstreams/b", "endpoints[0].address"]);
    apply("apply", &one.replace("name: b", "name: filed")).is(400, &["IN_FILE"]);
    apply("apply", "listeners: []").is(400, &["listeners"]);
    apply("apply", "upstreams: [").is(400, &[]);
    assert_eq!(apply("validate", one).is(200, &["CREATED"]).json()["dryRun"], true);
    gateway.ask("GET /upstreams/a", "").is(404, &[]);
    apply("apply", one).is(200, &["CREATED"]);
    let state = gateway.ask("GET /config", "").is(200, &["127.0.0.1:2"]).json();
    let two = one.replace("127.0.0.1:2", "127.0.0.1:3").replace("name: a", "name: c");
    let etag = state["etag"].as_str().unwrap();
    apply("apply?etag=0000", &two).is(409, &["isn't in that state"]);
    let answer = apply(&format!("validate?prune=true&etag={etag}"), &two);
    answer.is(200, &["CREATED", "UPDATED", "DELETED", "127.0.0.1:2", "127.0.0.1:3"]);
    apply("apply", &two).is(200, &["CREATED", "UPDATED"]);
    gateway.ask("GET /upstreams/a", "").is(200, &[]);
    apply("apply?prune=true", &two).is(200, &["DELETED"]);
    gateway.ask("GET /upstreams/a", "").is(404, &[]);
    gateway.ask("GET /upstreams/filed", "").is(200, &[]);
    let again = apply("apply?prune=true", &two).is(200, &[]).json();
    assert!(again["changes"].as_array().is_none_or(Vec::is_empty), "{again}");
}

#[test]
fn two_teams_do_not_publish_the_same() {
    let gateway = Gateway::start("", "");
    let pets = proto("pets.v1", "");
    gateway.ask("PUT /upstreams/u", UPSTREAM).is(200, &[]);
    for module in ["one", "two"] {
        gateway.push(module, "", &[("pets.proto", &pets)]).is(200, &[]);
    }
    let api = |module: &str| format!("{{\"module\": \"{module}\", \"upstream\": \"u\"}}");
    gateway.ask("PUT /apis/first", &api("one")).is(200, &[]);
    for _ in 0..3 {
        // The same, however often it is asked.
        let answer = gateway.ask("PUT /apis/second", &api("two"));
        answer.is(409, &["pets.v1.S", "first", "second", "COLLISION"]);
    }
    gateway.ask("GET /apis/second", "").is(404, &[]);
    let apart = api("two").replace('}', ", \"hosts\": [\"two.example.com\"]}");
    gateway.ask("PUT /apis/second", &apart).is(200, &[]);
    // A push may collide as well: with what another API publishes on its hosts.
    gateway.push("three", "", &[("three.proto", &proto("three.v1", ""))]).is(200, &[]);
    gateway.ask("PUT /apis/third", &api("three")).is(200, &[]);
    let before = gateway.ask("GET /modules/three", "").body;
    let answer = gateway.push("three", "", &[("three.proto", &proto("three.v1", "")), ("pets.proto", &pets)]);
    answer.is(409, &["pets.v1.S", "first", "third", "COLLISION"]);
    assert_eq!(gateway.ask("GET /modules/three", "").body, before);

    gateway.ask("PUT /modules/owner", "{\"packages\": [\"owned.v1\"]}").is(200, &[]);
    let owned = [("o.proto", proto("owned.v1", ""))];
    let owned: Vec<_> = owned.iter().map(|(name, text)| (*name, text.as_str())).collect();
    gateway.push("thief", "", &owned).is(409, &["owned.v1.S", "\\\"owner\\\"", "COLLISION"]);
    gateway.push("owner", "", &owned).is(200, &[]);
    let answer = gateway.ask("PUT /modules/late", "{\"packages\": [\"pets.v1\"]}");
    answer.is(409, &["pets.v1.S", "reserved", "COLLISION"]);
    gateway.end();
}

#[test]
fn a_version_keeps_the_dependencies_that_it_was_compiled_with() {
    let gateway = Gateway::start("", "modules: [{ name: base }, { name: top, deps: [base] }]");
    let base =
        |more: &str| format!("syntax = \"proto3\"; package base.v1; message B {{ string a = 1; {more} }}");
    let top = |more: &str| {
        format!(
            "syntax = \"proto3\"; package top.v1; import \"base.proto\";\n\
             message T {{ base.v1.B b = 1; {more} }} service S {{ rpc Get(T) returns (T); }}"
        )
    };
    let answer = gateway.push("top", "", &[("top.proto", &top(""))]);
    answer.is(400, &["base", "has no version yet"]);
    let pin = |answer: &Answer| {
        answer.is(200, &[]).json()["version"]["deps"][0]["digest"].as_str().unwrap().to_owned()
    };
    let digest =
        |answer: &Answer| answer.is(200, &[]).json()["version"]["digest"].as_str().unwrap().to_owned();
    let one = digest(&gateway.push("base", "", &[("base.proto", &base(""))]));
    assert_eq!(pin(&gateway.push("top", "", &[("top.proto", &top(""))])), one);
    let two = digest(&gateway.push("base", "", &[("base.proto", &base("string b = 2;"))]));
    assert_eq!(pin(&gateway.push("top", "", &[("top.proto", &top("string c = 2;"))])), one);
    let more = top("string c = 2; string d = 3;");
    assert_eq!(pin(&gateway.push("top", "?update_deps=true", &[("top.proto", &more)])), two);
    // What isn't named as a dependency can't be imported.
    gateway.push("alone", "", &[("top.proto", &top(""))]).is(400, &["base.proto"]);
    gateway.end();
}

#[test]
fn an_upload_that_is_no_module_is_refused_and_the_last_good_stays() {
    let gateway = Gateway::start(
        ", max_upload: 1MiB",
        "modules: [{ name: filed, descriptor_set: set.binpb }]"
            .replace("filed, descriptor_set: set.binpb", "m")
            .as_str(),
    );
    let good = proto("m.v1", "");
    let first = gateway.push("m", "?source=rev-1", &[("m.proto", &good)]);
    first.is(200, &["rev-1", "promoted"]);
    let zip = zipped(&[("m.proto", &good)]);
    gateway.upload("m", "", "text/html", b"<p>").is(400, &["a module isn't uploaded as text/html"]);
    gateway.upload("m", "", "application/zip", b"").is(400, &["nothing was uploaded"]);
    gateway.upload("m", "", "application/zip", b"no zip").is(400, &["no zip archive"]);
    for cut in [5, 40, zip.len() / 2, zip.len() - 1] {
        gateway.upload("m", "", "application/zip", &zip[..cut]).is(400, &["no whole zip archive"]);
    }
    gateway.upload("m", "", "application/x-protobuf", b"\x0a\xff\xff").is(400, &[]);
    // It says that 1 GB follows.
    gateway.upload("m", "", "application/x-protobuf", b"\x0a\x80\x80\x80\x80\x04abc").is(400, &[]);
    let bomb = " ".repeat(200 << 20);
    let bomb = zipped(&[("bomb.proto", &bomb)]);
    assert!(bomb.len() < 1 << 20);
    gateway.upload("m", "", "application/zip", &bomb).is(400, &["bomb.proto", "it has more than"]);
    // A length that is far too large is refused once too much has come of it.
    let claim = [("content-type", "application/x-protobuf"), ("content-length", "1073741824")];
    let answer = gateway.ask_with("POST /modules/m/versions", &claim, &vec![0x0a; 2 << 20]);
    assert!(matches!(answer.status, 400 | 413 | 429), "{answer:?}");
    // An entry that says that it has 1 GB.
    let mut lies = zip.clone();
    let entry = lies.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    lies[entry + 24..entry + 28].copy_from_slice(&(1_u32 << 30).to_le_bytes());
    let answer = gateway.upload("other", "", "application/zip", &lies);
    assert!(matches!(answer.status, 200 | 400), "{answer:?}");
    let large = gateway.upload("m", "", "application/x-protobuf", &vec![0x0a; 2 << 20]);
    assert!(matches!(large.status, 400 | 413 | 429) && !large.body.is_empty(), "{large:?}");
    let file = |import: &str, name: &str| {
        format!("syntax = \"proto3\"; package c; import \"{import}\"; message {name} {{}}")
    };
    let (a, b) = (file("b.proto", "A"), file("a.proto", "B"));
    gateway.push("m", "", &[("a.proto", &a), ("b.proto", &b)]).is(400, &["a.proto", "b.proto"]);
    gateway.push("m", "", &[("a.proto", &file("gone/away.proto", "A"))]).is(400, &["gone/away.proto"]);
    let twice = [("a.proto", good.as_str()), ("b.proto", good.as_str())];
    gateway.push("m", "", &twice).is(400, &["m.v1.M"]);
    gateway
        .push("m", "", &[("a.proto", "syntax = \"proto3\"; message A {\n nonsense }")])
        .is(400, &["a.proto:2"]);
    let label = gateway.push("m", "?label=..%2fx", &[("m.proto", &good)]);
    label.is(400, &["label"]);
    let unknown = gateway.push("m", "?category=NONE", &[("m.proto", &proto("m.v1", "string z = 9;"))]);
    unknown.is(400, &["category"]);
    let source = format!("?source={}", "x".repeat(201));
    gateway.push("m", &source, &[("m.proto", &good)]).is(400, &["source"]);

    let now = gateway.ask("GET /modules/m", "").is(200, &[]).json();
    assert_eq!(now["labels"]["live"], first.json()["version"]["digest"]);
    assert_eq!(now["versions"], 1);
    let again = gateway.upload("m", "", "application/zip", &zip).is(200, &[]).json();
    assert_eq!(again["unchanged"], true);
    let history = gateway.ask("GET /modules/m/history", "").json();
    assert_eq!(history["moves"].as_array().unwrap().len(), 1);
    gateway.end();
}

#[test]
fn editions_are_taken_as_a_descriptor_set() {
    let gateway = Gateway::start("", "");
    let text = "edition = \"2023\"; package e.v1; message M { string a = 1; }";
    gateway.push("e", "", &[("e/e.proto", text)]).is(400, &["e/e.proto", "buf build"]);
    let set = prost_types::FileDescriptorSet {
        file: vec![prost_types::FileDescriptorProto {
            name: Some("e/e.proto".into()),
            package: Some("e.v1".into()),
            syntax: Some("editions".into()),
            ..Default::default()
        }],
    };
    let mut file = prost::Message::encode_to_vec(&set.file[0]);
    // FileDescriptorProto.edition, which this type doesn't have: EDITION_2023.
    file.extend([0x70, 0xe8, 0x07]);
    let mut bytes = Vec::new();
    prost::encoding::bytes::encode(1, &Bytes::from(file), &mut bytes);
    gateway.upload("e", "", "application/x-protobuf", &bytes).is(200, &["e/e.proto"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_takes_what_the_store_has_and_leaves_out_what_is_at_fault() {
    let upstream =
        |name: &str| format!("upstreams: [{{ name: {name}, endpoints: [{{ address: \"127.0.0.1:1\" }}] }}]");
    let gateway = Gateway::start("", &upstream("infile"));
    gateway.push("pets", "", &[("p.proto", &proto("pets.v1", ""))]).is(200, &[]);
    let stored = "{\"endpoints\":[{\"address\":\"127.0.0.1:2\"}]}";
    gateway.ask("PUT /upstreams/stored", stored).is(200, &[]);
    let api = |upstream: &str| {
        format!("{{\"module\":\"pets\",\"upstream\":\"{upstream}\",\"hosts\":[\"{upstream}.test\"]}}")
    };
    gateway.ask("PUT /apis/one", &api("infile")).is(200, &[]);
    gateway.ask("PUT /apis/two", &api("stored")).is(200, &[]);
    // The file names a module and an upstream that only the store has, and no longer the upstream of `one`.
    let (gateway, _) =
        gateway.again("apis: [{ name: three, module: pets, upstream: stored, hosts: [three.test] }]");
    let status = gateway.ask("GET /status", "").is(200, &[]).json();
    assert_eq!(status["apis"], 2, "two and three: {status}");
    gateway.ask("GET /apis/three", "").is(200, &["ORIGIN_FILE"]);
    let elsewhere = api("stored").replace("stored.test", "two.test");
    gateway.ask("PUT /apis/two", &elsewhere).is(400, &["apis/one", "infile"]);
    gateway.ask("PUT /apis/one", &api("stored").replace("stored.test", "one.test")).is(200, &[]);
    let status = gateway.ask("GET /status", "").is(200, &[]).json();
    assert_eq!(status["apis"], 3, "{status}");
    let log = gateway.end();
    assert!(log.contains("apis/one: upstream") && log.contains("mend it through the Admin API"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_were_not_told_are_not_written_back() {
    let gateway = Gateway::start("", "");
    let key = "-----BEGIN PRIVATE KEY-----";
    let told = format!("{{\"cert\":\"-----BEGIN CERTIFICATE-----\",\"key\":\"{key}\"}}");
    // What is no certificate is refused without being told again.
    let answer = gateway.ask("PUT /certificates/c", &told);
    assert!(answer.status == 400 && !answer.body.contains(key), "{answer:?}");
    let untold = "{\"cert\":\"-----BEGIN CERTIFICATE-----\",\"key\":\"...\"}";
    gateway.ask("PUT /certificates/c", untold).is(400, &["isn't told"]);
    gateway
        .ask("POST /config:apply", "{\"certificates\":[{\"name\":\"c\",\"cert\":\"x\",\"key\":\"...\"}]}")
        .is(400, &["isn't told"]);
    gateway.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_few() {
    let gateway = Gateway::start("", "");
    let files = [("p.proto", proto("pets.v1", ""))];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    for at in 0..64 {
        gateway.push("pets", &format!("?label=l{at}"), &files).is(200, &[]);
    }
    gateway.push("pets", "?label=more", &files).is(400, &["64 labels already"]);
    gateway.push("pets", "?label=l1", &files).is(200, &["\"unchanged\":true"]);
    gateway.ask("DELETE /modules/pets/labels/l1", "").is(200, &[]);
    gateway.push("pets", "?label=more", &files).is(200, &[]);
    gateway.end();
}

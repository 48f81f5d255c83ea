//! REST through the whole gateway, over HTTP/1.1 and HTTP/2: every option of `rest:`, and the manners of HTTP.

#![expect(clippy::unwrap_used, reason = "a test may fail at any step")]

#[path = "support/rest.rs"]
mod rest;
mod support;

use std::path::Path;

use bytes::Bytes;
use prost::Message;
use serde_json::json;
use transom::server::Server;
use transom::server::Setup;
use transom::server::Watch;
use transom::wire::compress;
use transom::wire::compress::Encoding;

use crate::rest::Client;
use crate::rest::End;
use crate::rest::H1;
use crate::rest::HttpBody;
use crate::rest::PatchRequest;
use crate::rest::Probe;
use crate::rest::Service;
use crate::rest::Told;
use crate::rest::UploadRequest;
use crate::rest::VERSIONS;
use crate::rest::Version;
use crate::rest::ask;
use crate::rest::before;
use crate::rest::get;
use crate::rest::named;
use crate::rest::once;
use crate::rest::path;
use crate::rest::post;
use crate::rest::yaml;
use crate::support::Gateway;
use crate::support::config_of;
use crate::support::eventually;
use crate::support::soon;

/// A probe that has something in every field that JSON writes in more than one way.
fn full() -> Probe {
    Probe { big_count: 9_007_199_254_740_993, color: 1, ..named("things/a") }
}

#[tokio::test]
async fn prefix_stands_before_rules_and_before_nothing_else() {
    let service = Service::echo().await;
    let gateway = before(&service, "rest: { prefix: \"/api/lab\" }");
    for version in VERSIONS {
        let mut client = Client::connect(version, gateway.address()).await;
        assert_eq!(client.ask(&get("/api/lab/v1/things/a")).await.json(), json!({ "name": "things/a" }));
        let asked = service.only();
        assert_eq!((asked.path.as_str(), asked.one::<Probe>()), ("/lab.v1.Lab/Show", named("things/a")));
        for target in ["/v1/things/a", "/api/v1/things/a", "/api/lab", "/api/lab/api/lab/v1/things/a"] {
            assert_eq!(client.ask(&get(target)).await.status, 404, "{target}");
        }
        assert!(service.take().is_empty());
        let without_rule = post("/lab.v1.Lab/Show", r#"{"name":"b"}"#);
        assert_eq!(client.ask(&without_rule).await.json(), json!({ "name": "b" }));
        assert_eq!(service.only().one::<Probe>(), named("b"));
        assert_eq!(client.ask(&post("/api/lab/lab.v1.Lab/Show", "{}")).await.status, 404);
    }
}

#[tokio::test]
async fn unknown_fields_are_refused_unless_they_are_ignored() {
    let service = Service::echo().await;
    let strict = before(&service, "");
    let lax = before(&service, "rest: { unknown_fields: ignore }");
    let bodies = [
        r#"{"name":"a","nmae":{"deep":[1]}}"#,
        r#"{"name":"a","color":"COLOR_NEW"}"#,
        r#"{"name":"a","children":[],"isOnn":true}"#,
    ];
    for version in VERSIONS {
        for body in bodies {
            let refused = once(version, strict.address(), &post("/v1/put", body)).await;
            assert_eq!((refused.status, refused.reason().as_str()), (400, "REQUEST_INVALID"), "{body}");
            assert!(service.take().is_empty(), "{body}");
            let served = once(version, lax.address(), &post("/v1/put", body)).await;
            assert_eq!(served.json(), json!({ "name": "a" }), "{body}");
            assert_eq!(service.only().one::<Probe>(), named("a"), "{body}");
        }
        // What is ignored must still be JSON, and what is known must still fit.
        for body in [r#"{"nmae":tru}"#, r#"{"nmae":1,"nmae":}"#, r#"{"name":1}"#] {
            assert_eq!(once(version, lax.address(), &post("/v1/put", body)).await.status, 400, "{body}");
        }
    }
}

#[tokio::test]
async fn unknown_query_parameters_are_refused_unless_they_are_ignored() {
    let service = Service::echo().await;
    let strict = before(&service, "");
    let lax = before(&service, "rest: { unknown_query: ignore }");
    let some = before(&service, "rest: { ignored_query_parameters: [utm_source, key] }");
    for version in VERSIONS {
        for target in ["/v1/show?name=a&utm_source=x", "/v1/show?name=a&key=1&key=2"] {
            let refused = once(version, strict.address(), &get(target)).await;
            assert_eq!((refused.status, refused.reason().as_str()), (400, "REQUEST_INVALID"), "{target}");
            assert!(service.take().is_empty(), "{target}");
            for gateway in [&lax, &some] {
                assert_eq!(
                    once(version, gateway.address(), &get(target)).await.json(),
                    json!({ "name": "a" })
                );
                assert_eq!(service.only().one::<Probe>(), named("a"));
            }
        }
        let other = get("/v1/show?name=a&utm_medium=x");
        assert_eq!(once(version, lax.address(), &other).await.status, 200);
        assert_eq!(once(version, some.address(), &other).await.status, 400, "only those that are named");
        // A field's value must fit, and belongs to one place, whatever is ignored.
        for target in ["/v1/show?id=x", "/v1/things/a?name=things/b"] {
            assert_eq!(once(version, lax.address(), &get(target)).await.status, 400, "{target}");
        }
        service.take();
    }
}

#[tokio::test]
async fn replies_are_written_as_the_options_say() {
    let service = Service::start(|_| Told::one(&full())).await;
    let spec = json!({ "name": "things/a", "bigCount": "9007199254740993", "color": "COLOR_RED" });
    let defaults = json!({
        "name": "things/a", "bigCount": "9007199254740993", "color": "COLOR_RED", "isOn": false,
        "children": [], "ratio": 0, "labels": {}, "colors": [], "blob": "", "id": 0,
    });
    let cases = [
        ("", spec),
        ("rest: { emit_defaults: true }", defaults),
        (
            "rest: { preserve_names: true }",
            json!({ "name": "things/a", "big_count": "9007199254740993", "color": "COLOR_RED" }),
        ),
        (
            "rest: { enums_as_numbers: true }",
            json!({ "name": "things/a", "bigCount": "9007199254740993", "color": 1 }),
        ),
    ];
    for (options, want) in cases {
        let gateway = before(&service, options);
        for version in VERSIONS {
            let answer = once(version, gateway.address(), &get("/v1/show")).await;
            assert_eq!((answer.status, answer.json()), (200, want.clone()), "{options}");
            let answer = once(version, gateway.address(), &post("/lab.v1.Lab/Put", "{}")).await;
            assert_eq!(answer.json(), want, "the same without a rule: {options}");
        }
    }
}

#[tokio::test]
async fn int64_is_a_number_only_where_it_loses_nothing() {
    let count = |asked: &rest::Asked| asked.one::<Probe>().big_count;
    let service =
        Service::start(move |asked| Told::one(&Probe { big_count: count(asked), ..Probe::default() })).await;
    let gateway = before(&service, "rest: { int64: number }");
    for version in VERSIONS {
        for sent in ["9007199254740991", "\"9007199254740991\""] {
            let body = format!("{{\"bigCount\":{sent}}}");
            let answer = once(version, gateway.address(), &post("/v1/put", body)).await;
            assert_eq!(answer.text(), "{\"bigCount\":9007199254740991}");
        }
        let lossy = post("/v1/put", "{\"bigCount\":\"9007199254740993\"}");
        let answer = once(version, gateway.address(), &lossy).await;
        assert_eq!((answer.status, answer.reason().as_str()), (502, "UPSTREAM_REPLY_INVALID"));
        assert_eq!(answer.json()["code"], 13);
        let message = answer.message();
        assert!(message.contains("big_count") && message.contains("int64: string"), "{message}");
    }
    gateway.until_metric("transom_refusals_total", &[("reason", "UPSTREAM_REPLY_INVALID")], 2.0).await;
}

#[tokio::test]
async fn lenient_bool_reads_what_forms_send() {
    let service = Service::echo().await;
    let strict = before(&service, "");
    let lenient = before(&service, "rest: { lenient_bool: true }");
    for version in VERSIONS {
        for (value, is_on) in [("1", true), ("0", false), ("true", true), ("false", false)] {
            let target = format!("/v1/show?isOn={value}");
            let answer = once(version, lenient.address(), &get(&target)).await;
            assert_eq!(answer.status, 200, "{value}: {}", answer.text());
            assert_eq!(service.only().one::<Probe>().is_on, is_on, "{value}");
            let status = once(version, strict.address(), &get(&target)).await.status;
            let is_spec = matches!(value, "true" | "false");
            assert_eq!((status, service.take().len()), if is_spec { (200, 1) } else { (400, 0) }, "{value}");
        }
        for odd in ["yes", "on", "2", "01", "TRUE"] {
            let target = format!("/v1/show?isOn={odd}");
            assert_eq!(once(version, lenient.address(), &get(&target)).await.status, 400, "{odd}");
        }
        // JSON has booleans of its own.
        assert_eq!(once(version, lenient.address(), &post("/v1/put", r#"{"isOn":1}"#)).await.status, 400);
    }
}

#[tokio::test]
async fn reserved_expansion_decides_about_encoded_slashes_of_several_segments() {
    let service = Service::echo().await;
    let keep = before(&service, "");
    let decode = before(&service, "rest: { reserved_expansion: decode_all }");
    let cases = [
        ("/v1/files/a%2Fb/c%2fd%20e", "a%2Fb/c%2fd e", "a/b/c/d e"),
        // One segment is decoded whole, and a template of two segments is one of several.
        ("/v1/one/a%2Fb", "a/b", "a/b"),
        ("/v1/things/a%2Fb", "things/a%2Fb", "things/a/b"),
    ];
    for version in VERSIONS {
        for (target, kept, decoded) in cases {
            for (gateway, want) in [(&keep, kept), (&decode, decoded)] {
                let answer = once(version, gateway.address(), &get(target)).await;
                assert_eq!((answer.status, service.only().one::<Probe>()), (200, named(want)), "{target}");
            }
        }
    }
}

#[tokio::test]
async fn patch_mask_is_made_of_the_body_and_never_replaces_one_that_is_sent() {
    let service = Service::start(|_| Told::one(&Probe::default())).await;
    let sent = before(&service, "");
    let made = before(&service, "rest: { patch_mask: true }");
    let patch = |target: &str| {
        ask("PATCH", target)
            .with("content-type", "application/json")
            .body(r#"{"bigCount":"2","child":{"id":1},"labels":{"a":"b"}}"#)
    };
    for version in VERSIONS {
        let plain = patch("/v1/things/a");
        assert_eq!(once(version, sent.address(), &plain).await.status, 200);
        assert_eq!(service.only().one::<PatchRequest>().update_mask, None);
        assert_eq!(once(version, made.address(), &plain).await.status, 200);
        let asked: PatchRequest = service.only().one();
        assert_eq!(asked.update_mask.unwrap().paths, ["big_count", "child.id", "labels"]);
        assert_eq!(asked.probe.unwrap().name, "things/a");
        let masked = patch("/v1/things/a?updateMask=child");
        assert_eq!(once(version, made.address(), &masked).await.status, 200);
        assert_eq!(service.only().one::<PatchRequest>().update_mask.unwrap().paths, ["child"]);
    }
}

/// Why a gateway doesn't start. It has threads of its own, which don't end inside of a runtime.
fn refused_to_start(text: &str) -> String {
    let config = config_of(text);
    let start = move || {
        let setup = Setup { watch: Watch::No, ..Setup::default() };
        Server::start(config, setup).err().map(|error| error.to_string())
    };
    std::thread::spawn(start).join().unwrap().expect("it must not start")
}

#[tokio::test]
async fn conflicts_refuse_to_start_unless_the_first_may_serve() {
    let service = Service::echo().await;
    let rules = format!("rules: \"{}\"", path("conflict.yaml"));
    let text = yaml(service.address(), &rules, "", "");
    let error = refused_to_start(&text);
    for part in ["GET /v1/one/{blob}", "is claimed by", "rest.conflicts: first"] {
        assert!(error.contains(part), "{part} is missing: {error}");
    }
    let text = yaml(service.address(), &rules, "rest: { conflicts: first }", "");
    let gateway = Gateway::start(&text);
    for version in VERSIONS {
        assert_eq!(once(version, gateway.address(), &get("/v1/one/YQ==")).await.status, 200);
        let asked = service.only();
        assert_eq!((asked.path.as_str(), asked.one::<Probe>()), ("/lab.v1.Lab/Show", named("YQ==")));
    }
}

#[tokio::test]
async fn errors_of_the_service_and_of_the_gateway_have_the_form_that_is_set() {
    let service = Service::start(|_| Told::default().failing(5, "no%20such%20probe")).await;
    let cases = [
        ("", "application/json", json!({ "code": 5, "message": "no such probe", "details": [] })),
        (
            "rest: { errors: aip193 }",
            "application/json",
            json!({ "error": { "code": 404, "status": "NOT_FOUND", "message": "no such probe", "details": [] } }),
        ),
        (
            "rest: { errors: problem }",
            "application/problem+json",
            json!({
                "type": "about:blank", "title": "Not Found", "status": 404, "detail": "no such probe",
                "code": 5, "details": [],
            }),
        ),
    ];
    for (options, content_type, want) in cases {
        let gateway = before(&service, options);
        for version in VERSIONS {
            let answer = once(version, gateway.address(), &get("/v1/show")).await;
            assert_eq!((answer.status, answer.header("content-type")), (404, content_type));
            assert_eq!(answer.json(), want);
            let refused = once(version, gateway.address(), &get("/v1/show?id=x")).await;
            assert_eq!((refused.status, refused.header("content-type")), (400, content_type));
            let body = refused.json();
            let inner = if options.contains("aip193") { &body["error"] } else { &body };
            assert_eq!(inner["details"][0]["reason"], "REQUEST_INVALID", "{body}");
            assert_eq!(inner["details"][1]["fieldViolations"][0]["field"], "id", "{body}");
        }
    }
}

#[tokio::test]
async fn errors_keep_all_of_the_metadata_before_them() {
    let head = vec![("x-note", "a"), ("x-note", "b"), ("x-other", "c")];
    let service =
        Service::start(move |_| Told { head: head.clone(), ..Told::default().failing(5, "gone") }).await;
    let gateway = before(&service, "");
    for version in VERSIONS {
        let answer = once(version, gateway.address(), &get("/v1/show")).await;
        let notes: Vec<_> =
            answer.headers.get_all("x-note").iter().map(|note| note.to_str().unwrap()).collect();
        assert_eq!((answer.status, notes, answer.header("x-other")), (404, vec!["a", "b"], "c"));
    }
}

#[tokio::test]
async fn the_openapi_document_is_served_where_it_is_set_and_changes_with_its_module() {
    let service = Service::echo().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("transom.yaml");
    let protos = folder.path().join("protos");
    std::fs::create_dir(&protos).unwrap();
    let proto = std::fs::read_to_string(path("protos/lab.proto")).unwrap();
    std::fs::write(protos.join("lab.proto"), &proto).unwrap();
    let text = yaml(service.address(), "", "openapi: { path: /docs/lab.json }, hosts: [lab.test]", "");
    std::fs::write(&file, text.replace(&path("protos"), protos.to_str().unwrap())).unwrap();
    let config = transom::config::load(&file, &|_| None).unwrap();
    let gateway = Gateway::of(config, Vec::new(), Watch::Yes);
    // Over HTTP/2 the host would be the address.
    let mut client = Client::connect(Version::H1, gateway.address()).await;
    let whole = client.ask(&get("/docs/lab.json")).await;
    assert_eq!((whole.status, whole.header("content-type")), (200, "application/json"));
    let document = whole.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{document}");
    assert!(document["paths"]["/v1/show"]["get"].is_object() && document["paths"]["/v3/new"].is_null());
    let head = client.ask(&ask("HEAD", "/docs/lab.json")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), whole.body.len().to_string());
    let tag = whole.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag == head.header("etag"), "{tag}");
    let again = client.ask(&get("/docs/lab.json").with("if-none-match", &tag)).await;
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag.as_str()));
    for target in ["/openapi.json", "/docs", "/docs/lab.json/", "/docs/lab.jso"] {
        assert_eq!(client.ask(&get(target)).await.status, 404, "{target}");
    }
    let elsewhere = once(Version::H2, gateway.address(), &get("/docs/lab.json")).await;
    assert_eq!(elsewhere.status, 404, "on another host");
    assert!(service.take().is_empty());

    let more = "get: \"/v1/show\"\n      additional_bindings { get: \"/v3/new\" }";
    std::fs::write(protos.join("lab.proto"), proto.replacen("get: \"/v1/show\"", more, 1)).unwrap();
    let changed = soon("the new document", async {
        loop {
            let now = client.ask(&get("/docs/lab.json").with("if-none-match", &tag)).await;
            if now.status == 200 {
                break now;
            }
        }
    })
    .await;
    assert!(changed.json()["paths"]["/v3/new"]["get"].is_object());
    assert_ne!(changed.header("etag"), tag);
    assert_eq!(client.ask(&get("/v3/new?name=x")).await.json(), json!({ "name": "x" }));
}

#[tokio::test]
async fn a_document_takes_get_and_leaves_its_path_to_other_rules() {
    let service = Service::echo().await;
    for (target, allow) in
        [("/docs/lab.json", "GET, HEAD, OPTIONS"), ("/v1/pour", "GET, HEAD, OPTIONS, POST")]
    {
        let gateway = before(&service, &format!("openapi: {{ path: {target} }}"));
        for version in VERSIONS {
            let mut client = Client::connect(version, gateway.address()).await;
            assert_eq!(client.ask(&get(target)).await.json()["info"]["title"], "lab.v1");
            assert_eq!(client.ask(&ask("HEAD", target)).await.status, 200);
            let options = client.ask(&ask("OPTIONS", target)).await;
            assert_eq!((options.status, options.header("allow")), (204, allow), "{target}");
            for verb in ["POST", "PUT", "PATCH", "DELETE"] {
                let answer =
                    client.ask(&ask(verb, target).with("content-type", "application/json").body("{}")).await;
                if allow.contains(verb) {
                    assert_eq!((answer.status, service.only().path.as_str()), (200, "/lab.v1.Lab/Pour"));
                    continue;
                }
                assert_eq!((answer.status, answer.header("allow")), (405, allow), "{verb} {target}");
                assert_eq!(answer.reason(), "METHOD_NOT_ALLOWED", "{verb} {target}");
            }
            assert!(service.take().is_empty());
        }
    }
}

#[tokio::test]
async fn of_two_documents_the_one_of_the_nearer_host_is_told() {
    let service = Service::echo().await;
    let text = yaml(service.address(), "", "hosts: [lab.test], openapi: { path: /docs.json }", "");
    let other = "{ name: other, module: lab, services: [lab.v1.Lab], upstream: lab, rest: { prefix: /other }, openapi: \
                 { path: /docs.json } }";
    let gateway = Gateway::start(&text.replace("apis: [", &format!("apis: [{other}, ")));
    // The client of HTTP/1.1 asks lab.test, that of HTTP/2 the address.
    for (version, path) in [(Version::H1, "/v1/show"), (Version::H2, "/other/v1/show")] {
        let document = once(version, gateway.address(), &get("/docs.json")).await.json();
        assert!(document["paths"][path].is_object(), "{version:?}: {document}");
    }
}

#[tokio::test]
async fn rules_of_a_service_configuration_are_added_and_replace() {
    let service = Service::start(|asked| {
        let mut probe: Probe = asked.one();
        probe.child.get_or_insert_default().id += 1;
        Told::one(&probe)
    })
    .await;
    let rules = format!("rules: \"{}\"", path("rules.yaml"));
    let gateway = Gateway::start(&yaml(service.address(), &rules, "", ""));
    for version in VERSIONS {
        let mut client = Client::connect(version, gateway.address()).await;
        let answer = client.ask(&post("/v1/ruled/a", r#"{"id":41,"name":"b"}"#)).await;
        assert_eq!(answer.json(), json!({ "id": 42, "name": "b" }), "body and response_body are `child`");
        let asked = service.only();
        assert_eq!(asked.path, "/lab.v1.Lab/Ruled");
        assert_eq!(asked.one::<Probe>().name, "a");
        assert_eq!(client.ask(&get("/v1/ruled?id=7")).await.json()["id"], 7);
        assert_eq!(client.ask(&get("/v2/show?name=a")).await.json()["name"], "a");
        service.take();
        for target in ["/v1/show", "/v1/things/a"] {
            let status = client.ask(&get(target)).await.status;
            assert!(matches!(status, 404 | 405), "{target} is replaced: {status}");
        }
        assert!(service.take().is_empty());
    }
}

#[tokio::test]
async fn faults_of_rules_and_of_mounts_are_told_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    let module = format!("rules: \"{}\"", file.display());
    let of = |rules: &str| {
        std::fs::write(&file, rules).unwrap();
        refused_to_start(&yaml("127.0.0.1:1".parse().unwrap(), &module, "", ""))
    };
    let rule = |rule: &str| format!("http:\n  rules:\n    - selector: lab.v1.Lab.Ruled\n      {rule}\n");
    let table = [
        ("http: [", "rules.yaml"),
        ("http: { rules: [{ get: /v1/x }] }", "selector"),
        (&rule("get: v1/x"), "v1/x"),
        (&rule("get: /v1/{nobody}"), "nobody"),
        (&rule("get: /v1/{name}\n      body: nobody"), "nobody"),
        (&rule("get: /v1/{name\n"), "/v1/{name"),
        (&rule("get: /v1/x\n      response_body: nobody"), "nobody"),
    ];
    for (rules, part) in table {
        let error = of(rules);
        assert!(error.contains(part) && error.contains("help: "), "{rules}: {error}");
    }
    let missing = format!("rules: \"{}\"", folder.path().join("none.yaml").display());
    let error = refused_to_start(&yaml("127.0.0.1:1".parse().unwrap(), &missing, "", ""));
    assert!(error.contains("none.yaml") && error.contains("module \"lab\""), "{error}");
    let error =
        refused_to_start(&yaml("127.0.0.1:1".parse().unwrap(), "", "rest: { prefix: \"/a/{b}\" }", ""));
    assert!(error.contains("`rest.prefix` of API \"lab\"") && error.contains("/api"), "{error}");
}

#[tokio::test]
async fn response_body_shows_one_field() {
    let answers =
        [Probe::default(), Probe { children: vec![named("b")], child: Some(named("c").into()), ..full() }];
    for (at, probe) in answers.iter().enumerate() {
        let probe = probe.clone();
        let service = Service::start(move |_| Told::one(&probe)).await;
        let gateway = before(&service, "");
        for version in VERSIONS {
            let mut client = Client::connect(version, gateway.address()).await;
            let mut of = async |field: &str| {
                let answer = client.ask(&get(&format!("/v1/part/{field}"))).await;
                assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
                answer.json()
            };
            let told = (of("children").await, of("name").await, of("child").await);
            let want = match at {
                0 => (json!([]), json!(""), json!(null)),
                _ => (json!([{ "name": "b" }]), json!("things/a"), json!({ "name": "c" })),
            };
            assert_eq!(told, want);
        }
    }
}

#[tokio::test]
async fn http_bodies_pass_as_they_are_both_ways() {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\xff{\"";
    let service = Service::start(|asked| match asked.path.as_str() {
        "/lab.v1.Lab/Upload" => Told::one(&Probe::default()),
        _ => {
            let data = Bytes::from(PNG.repeat(200));
            Told::one(&HttpBody { content_type: "image/png".into(), data })
        }
    })
    .await;
    let gateway = before(&service, "");
    for version in VERSIONS {
        let mut client = Client::connect(version, gateway.address()).await;
        for content_type in ["image/png", "text/csv; charset=latin1", "application/json", ""] {
            let mut upload = ask("POST", "/v1/upload/a%2Fb").body(PNG);
            if !content_type.is_empty() {
                upload = upload.with("content-type", content_type);
            }
            assert_eq!(client.ask(&upload).await.status, 200, "{content_type}");
            let file = HttpBody { content_type: content_type.into(), data: PNG.into() };
            assert_eq!(
                service.only().one::<UploadRequest>(),
                UploadRequest { name: "a/b".into(), file: Some(file) }
            );
        }
        let mut zipped = Vec::new();
        compress::encode(Encoding::Gzip, PNG, &mut zipped).unwrap();
        let upload = ask("POST", "/v1/upload/a").with("content-encoding", "gzip").body(zipped);
        assert_eq!(client.ask(&upload).await.status, 200);
        assert_eq!(service.only().one::<UploadRequest>().file.unwrap().data, PNG, "codings are HTTP's");
        let down = client.ask(&get("/v1/download").with("accept-encoding", "gzip")).await;
        assert_eq!((down.header("content-type"), &down.body[..]), ("image/png", &PNG.repeat(200)[..]));
        assert!(!down.headers.contains_key("content-encoding"), "a picture is compressed already");
        let head = client.ask(&ask("HEAD", "/v1/download")).await;
        assert_eq!((head.header("content-length"), head.body.len()), ("2600", 0));
        service.take();
    }
}

#[tokio::test]
async fn expect_continue_is_answered_before_the_body_comes() {
    let service = Service::echo().await;
    let gateway = before(&service, "");
    let mut client = H1::connect(gateway.address()).await;
    let body = r#"{"name":"late"}"#;
    let head = |target: &str, extra: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nhost: lab.test\r\nexpect: 100-continue\r\n{extra}content-length: {}\r\n\r\n",
            body.len()
        )
    };
    for _ in 0..2 {
        client.write(head("/v1/put", "").as_bytes()).await;
        let (interim, _) = soon("an interim answer", client.head("POST")).await;
        assert_eq!(interim.status, 100);
        assert!(service.take().is_empty(), "nothing came yet");
        client.write(body.as_bytes()).await;
        let (answer, mut framing) = soon("the answer", client.head("POST")).await;
        let text = soon("the body", client.next(&mut framing)).await.unwrap();
        assert_eq!((answer.status, &text[..]), (200, body.as_bytes()));
        let asked = service.only();
        assert!(!asked.headers.contains_key("expect"), "it is a word between the client and the gateway");
    }
    // What is refused by its head asks for no body.
    client.write(head("/v1/put", "content-type: text/html\r\n").as_bytes()).await;
    let (answer, _) = soon("the refusal", client.head("POST")).await;
    assert_eq!(answer.status, 415);
    assert!(service.take().is_empty());
}

#[tokio::test]
async fn a_connection_outlives_its_errors() {
    let service = Service::start(|asked| match asked.one::<Probe>().name.as_str() {
        "fail" => Told::default().failing(9, "not now"),
        "broken" => Told::bytes(b"\x0a\xff"),
        _ => Told::one(&named("good")),
    })
    .await;
    let gateway = before(&service, "");
    let errors = [
        (get("/v1/show?name=fail"), 400),
        (get("/v1/show?name=broken"), 502),
        (get("/v1/nothing/here"), 404),
        (get("/v1/show?nmae=x"), 400),
        (get("/v1/files/%zz"), 400),
        (ask("DELETE", "/v1/show"), 405),
        (post("/v1/put", "{"), 400),
        (post("/v1/put", "{\"name\":1}"), 400),
    ];
    for version in VERSIONS {
        let mut client = Client::connect(version, gateway.address()).await;
        for (error, status) in &errors {
            let answer = client.ask(error).await;
            assert_eq!((answer.status, answer.end), (*status, End::Whole), "{error:?}");
            assert_eq!(answer.header("content-type"), "application/json", "{error:?}");
            assert!(answer.json()["message"].as_str().is_some_and(|told| !told.is_empty()), "{error:?}");
            assert!(!answer.headers.contains_key("connection"), "{error:?}: {:?}", answer.headers);
            let good = client.ask(&get("/v1/show")).await;
            assert_eq!((good.status, good.json()), (200, json!({ "name": "good" })), "after {error:?}");
        }
        if let Client::H1(h1) = &client {
            assert_eq!(h1.reconnects, 0, "an error closed the connection");
        }
    }
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

#[tokio::test]
async fn bodies_are_compressed_both_ways_in_every_coding() {
    let service = Service::echo().await;
    let gateway = before(&service, "");
    let json = format!("{{\"name\":\"{}\"}}", "name".repeat(500));
    for version in VERSIONS {
        let mut client = Client::connect(version, gateway.address()).await;
        let plain = client.ask(&post("/v1/put", json.clone())).await;
        assert_eq!((plain.header("vary"), plain.header("content-encoding")), ("accept-encoding", ""));
        service.take();
        let mut tags = Vec::new();
        for coding in [Encoding::Gzip, Encoding::Brotli, Encoding::Zstd] {
            let mut sent = Vec::new();
            compress::encode(coding, json.as_bytes(), &mut sent).unwrap();
            let post = post("/v1/put", sent)
                .with("content-encoding", coding.name())
                .with("accept-encoding", coding.name());
            let answer = client.ask(&post).await;
            assert_eq!((answer.status, answer.header("content-encoding")), (200, coding.name()));
            assert_eq!(answer.header("content-length"), answer.body.len().to_string());
            let mut got = Vec::new();
            let limits = compress::Limits::bytes(1 << 20);
            compress::decode(&[coding], &answer.body, limits, &mut got).unwrap();
            assert_eq!(got, json.as_bytes());
            assert_eq!(service.only().one::<Probe>().name.len(), 2000);
            let target = format!("/v1/show?name={}", "n".repeat(600));
            let get = get(&target).with("accept-encoding", coding.name());
            let tag = client.ask(&get).await.header("etag").to_owned();
            let again = client.ask(&get.with("if-none-match", &tag)).await;
            assert_eq!((again.status, again.header("etag"), again.body.len()), (304, tag.as_str(), 0));
            tags.push(tag);
            service.take();
        }
        tags.dedup();
        assert_eq!(tags.len(), 3, "each representation has its own tag: {tags:?}");
    }
}

#[tokio::test]
async fn codings_that_exclude_everything_exclude_nothing() {
    let service = Service::echo().await;
    let gateway = before(&service, "");
    for version in VERSIONS {
        for codings in ["*;q=0", "identity;q=0", "deflate, identity;q=0"] {
            let ask = get("/v1/show?name=a").with("accept-encoding", codings);
            let answer = once(version, gateway.address(), &ask).await;
            assert_eq!((answer.status, answer.text()), (200, "{\"name\":\"a\"}"), "{codings}");
            assert_eq!(answer.header("content-encoding"), "", "{codings}");
        }
    }
}

#[tokio::test]
async fn a_method_is_what_its_request_line_says() {
    let service = Service::echo().await;
    let gateway = before(&service, "");
    for version in VERSIONS {
        let mut client = Client::connect(version, gateway.address()).await;
        for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
            let answer = client.ask(&post("/v1/show", "{}").with(name, "GET")).await;
            assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD, OPTIONS"), "{name}");
            assert!(service.take().is_empty(), "{name}");
            let answer = client.ask(&post("/v1/put", "{}").with(name, "DELETE")).await;
            assert_eq!(answer.status, 200, "{name}");
            assert_eq!(service.only().path, "/lab.v1.Lab/Put");
        }
    }
}

#[tokio::test]
async fn head_options_and_405_come_from_the_rules() {
    let service = Service::echo().await;
    let gateway = before(&service, "");
    for version in VERSIONS {
        let mut client = Client::connect(version, gateway.address()).await;
        let whole = client.ask(&get("/v1/things/a")).await;
        let head = client.ask(&ask("HEAD", "/v1/things/a")).await;
        assert_eq!((head.status, head.body.len(), head.end), (200, 0, End::Whole));
        for name in ["content-type", "content-length", "etag"] {
            assert_eq!(head.header(name), whole.header(name), "{name}");
        }
        let missing = client.ask(&ask("HEAD", "/v1/show?id=x")).await;
        assert_eq!((missing.status, missing.body.len()), (400, 0));
        service.take();
        let allow = [
            ("/v1/things/a", "GET, HEAD, OPTIONS, PATCH, PUT"),
            ("/v1/show", "GET, HEAD, OPTIONS"),
            ("/v1/pour", "OPTIONS, POST"),
            ("/lab.v1.Lab/Ruled", "OPTIONS, POST"),
        ];
        for (target, allow) in allow {
            let options = client.ask(&ask("OPTIONS", target)).await;
            assert_eq!((options.status, options.header("allow")), (204, allow), "{target}");
            let refused = client.ask(&ask("DELETE", target)).await;
            assert_eq!((refused.status, refused.header("allow")), (405, allow), "{target}");
            assert_eq!(refused.reason(), "METHOD_NOT_ALLOWED", "{target}");
        }
        assert_eq!(client.ask(&ask("OPTIONS", "/v1/nothing")).await.status, 404);
        assert!(service.take().is_empty());
    }
}

#[tokio::test]
async fn a_reply_of_more_json_than_anyone_takes_is_refused() {
    // Each byte of the list is a name of a hundred.
    const BYTES: usize = 3 << 20;
    let mut probe = vec![0x5a];
    prost::encoding::encode_varint(BYTES as u64, &mut probe);
    probe.resize(probe.len() + BYTES, 2);
    let colors = Probe::decode(&probe[..]).unwrap().colors;
    assert_eq!(colors.len(), BYTES, "it is a good message");
    let service = Service::start(move |_| Told::bytes(&probe)).await;
    let gateway = before(&service, "");
    let answer = once(Version::H1, gateway.address(), &get("/v1/show")).await;
    assert_eq!((answer.status, answer.reason().as_str()), (413, "MESSAGE_TOO_LARGE"));
    assert!(answer.message().contains("268435456 bytes as JSON"), "{}", answer.message());
    let good = once(Version::H2, gateway.address(), &get("/v1/nothing")).await;
    assert_eq!(good.status, 404, "the gateway goes on");
}

#[tokio::test]
async fn access_lines_name_why_a_reply_could_not_be_told() {
    let service = Service::start(|_| Told::bytes(b"\x0a\xff")).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let top = format!("observe: {{ access_log: {{ path: \"{}\", format: json }} }}", log.display());
    let gateway = Gateway::start(&yaml(service.address(), "", "", &top));
    let answer = once(Version::H1, gateway.address(), &get("/v1/show")).await;
    assert_eq!((answer.status, answer.reason().as_str()), (502, "UPSTREAM_REPLY_INVALID"));
    let lines = || std::fs::read_to_string(Path::new(&log)).unwrap_or_default();
    assert!(eventually(|| lines().ends_with('\n')).await);
    let line: serde_json::Value = serde_json::from_str(lines().lines().next().unwrap()).unwrap();
    assert_eq!(line["reason"], "UPSTREAM_REPLY_INVALID", "{line}");
    assert_eq!((&line["http_status"], &line["dialect"]), (&json!(502), &json!("rest")), "{line}");
    assert_eq!(line["api"], "lab", "{line}");
    assert_eq!((&line["method"], &line["path"]), (&json!("/lab.v1.Lab/Show"), &json!("/v1/show")), "{line}");
}

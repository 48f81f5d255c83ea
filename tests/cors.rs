//! Web pages of other origins: preflights, and what a page may read of every answer, over HTTP/1.1 and HTTP/2.

#![expect(clippy::unwrap_used, reason = "a test ends at what it didn't expect")]

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Request;
use prost::Message;
use transom::demo::pb;

use crate::raw::talk;
use crate::support::BOOK;
use crate::support::Backend;
use crate::support::Gateway;
use crate::support::LIBRARY;
use crate::support::Parts;
use crate::support::RawClient;
use crate::support::RawReply;
use crate::support::RawUpstream;
use crate::support::config_of;
use crate::support::demo;
use crate::support::frame;
use crate::support::grpc_head;
use crate::support::message;
use crate::support::policies::Panicking;
use crate::support::policies::RefusingFirst;
use crate::support::soon;
use crate::support::trailers;
use crate::support::yaml;

const APP: &str = "https://app.example.com";
/// What a page gets to read without being told of it is little.
const EXPOSED: [&str; 9] = [
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-policy",
    "ratelimit",
];

/// One request.
#[derive(Debug, Clone)]
struct Ask {
    verb: &'static str,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Bytes,
}

/// The head of an answer, and its body.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

fn ask(verb: &'static str, path: &str) -> Ask {
    Ask { verb, path: path.into(), headers: Vec::new(), body: Bytes::new() }
}

/// A preflight for a request of this HTTP method.
fn preflight(path: &str, verb: &'static str) -> Ask {
    ask("OPTIONS", path).with("origin", APP).with("access-control-request-method", verb)
}

impl Ask {
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.with("content-type", content_type)
    }

    /// Over HTTP/1.1 and HTTP/2.
    async fn both(&self, gateway: &Gateway) -> [Answer; 2] {
        [self.h1(gateway.address()).await, self.h2(gateway.address()).await]
    }

    async fn h1(&self, address: SocketAddr) -> Answer {
        let mut text =
            format!("{} {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n", self.verb, self.path);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            text.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        let answer = talk(address, &[text.as_bytes(), &self.body].concat()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
        }
        Answer { status, headers, body: body.to_owned().into() }
    }

    async fn h2(&self, address: SocketAddr) -> Answer {
        let client = RawClient::connect(address).await;
        let mut request = Request::builder()
            .method(self.verb)
            .uri(format!("http://{address}{}", self.path))
            .version(http::Version::HTTP_2);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        let (response, mut sending) = client.open(request.body(()).unwrap()).await;
        drop(sending.send_data(self.body.clone(), true));
        let reply = soon("the answer", RawReply::read(response)).await.unwrap();
        Answer { status: reply.status.as_u16(), headers: reply.headers, body: reply.body }
    }
}

impl Answer {
    fn get(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The members of a list, sorted.
    fn list(&self, name: &str) -> Vec<String> {
        let values = self.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
        let members =
            values.flat_map(|value| value.split(',')).map(|member| member.trim().to_ascii_lowercase());
        let mut all: Vec<String> = members.collect();
        all.sort();
        all
    }

    fn varies(&self, by: &str) -> bool {
        self.list("vary").iter().any(|name| name == by)
    }

    /// The names of all `Access-Control-*`, sorted.
    fn told(&self) -> Vec<&str> {
        let names = self.headers.keys().map(HeaderName::as_str);
        let mut all: Vec<&str> = names.filter(|name| name.starts_with("access-control-")).collect();
        all.sort_unstable();
        all
    }
}

/// A gateway whose API has this slot `cors`, and whose demo backend answers.
fn with(cors: &str) -> (Gateway, Backend) {
    demo(Parts {
        api: &format!("openapi: {{ path: /openapi.json }}, policies: {{ cors: {cors} }}"),
        ..Parts::default()
    })
}

fn method(name: &str) -> String {
    format!("/{LIBRARY}/{name}")
}

const LISTED: &str = "{ origins: [\"https://app.example.com\", \"https://*.pages.example\", \"null\"], methods: [PURGE], headers: [x-tenant], expose: [x-library], max_age: 10m }";

#[tokio::test]
async fn preflights_are_answered_from_the_routes() {
    let (gateway, _backend) = with(LISTED);
    let table: [(String, &'static str, &[&str]); 7] = [
        (method("CreateBook"), "POST", &["post", "purge"]),
        ("/v1/shelves".into(), "GET", &["get", "head", "post", "purge"]),
        ("/v1/shelves?page_size=1".into(), "POST", &["get", "head", "post", "purge"]),
        (format!("/v1/{BOOK}"), "PATCH", &["delete", "get", "head", "patch", "purge"]),
        (format!("/v1/{BOOK}:read"), "GET", &["get", "head", "purge"]),
        ("/openapi.json".into(), "GET", &["get", "head", "purge"]),
        // It is let through to see the 405.
        ("/v1/shelves".into(), "DELETE", &["delete", "purge"]),
    ];
    for (path, verb, methods) in table {
        for answer in preflight(&path, verb).both(&gateway).await {
            assert_eq!(answer.status, 204, "{verb} {path}");
            assert!(answer.body.is_empty() && answer.get("content-length").is_none(), "{answer:?}");
            assert_eq!(answer.get("access-control-allow-origin"), Some(APP));
            assert_eq!(answer.list("access-control-allow-methods"), methods, "{verb} {path}");
            assert_eq!(answer.get("access-control-max-age"), Some("600"));
            let headers = answer.list("access-control-allow-headers");
            for name in [
                "content-type",
                "authorization",
                "x-api-key",
                "x-grpc-web",
                "x-user-agent",
                "grpc-timeout",
                "connect-protocol-version",
                "connect-timeout-ms",
                "connect-content-encoding",
                "connect-accept-encoding",
                "x-tenant",
            ] {
                assert!(headers.iter().any(|header| header == name), "{name}: {headers:?}");
            }
            for name in ["origin", "access-control-request-method", "access-control-request-headers"] {
                assert!(answer.varies(name), "{name}: {answer:?}");
            }
            let told = ["headers", "methods", "origin"].map(|what| format!("access-control-allow-{what}"));
            let told = [told.as_slice(), &["access-control-max-age".to_owned()]].concat();
            assert_eq!(answer.told(), told, "no credentials, nothing to read");
        }
    }
    assert!(gateway.metric("transom_upstream_connects_total", &[]) < 1.0, "a preflight went upstream");
}

#[tokio::test]
async fn a_method_without_side_effects_is_asked_for_by_its_dialect() {
    let (gateway, _backend) = with(LISTED);
    for names in ["content-type,x-grpc-web,x-user-agent", "Content-Type, Connect-Protocol-Version"] {
        let asked = preflight(&method("GetBook"), "POST").with("access-control-request-headers", names);
        for answer in asked.both(&gateway).await {
            assert_eq!((answer.status, answer.get("access-control-allow-origin")), (204, Some(APP)));
            let methods = answer.list("access-control-allow-methods");
            assert!(methods.iter().any(|verb| verb == "post"), "{methods:?}");
        }
    }
}

#[tokio::test]
async fn origins_are_exact_suffixes_or_null() {
    let (gateway, _backend) = with(LISTED);
    let table = [
        (APP, true),
        ("https://a.pages.example", true),
        ("https://a.b.pages.example", true),
        ("null", true),
        ("https://pages.example", false),
        ("https://evil.example", false),
        ("https://app.example.com.evil.example", false),
        ("http://app.example.com", false),
        ("https://app.example.com:8443", false),
        ("https://evil.example/.pages.example", false),
    ];
    for (origin, allowed) in table {
        let asked = ask("OPTIONS", "/v1/shelves").with("origin", origin);
        let asked = asked.with("access-control-request-method", "GET");
        let asked = asked.with("access-control-request-private-network", "true");
        for answer in asked.both(&gateway).await {
            assert_eq!(answer.status, 204);
            assert_eq!(answer.get("access-control-allow-origin"), allowed.then_some(origin), "{origin}");
            assert_eq!(answer.get("access-control-allow-private-network"), allowed.then_some("true"));
            assert!(allowed || answer.told().is_empty(), "{origin}: {answer:?}");
            assert!(answer.varies("origin") && answer.varies("access-control-request-method"), "{origin}");
        }
        for answer in ask("GET", "/v1/shelves").with("origin", origin).both(&gateway).await {
            // The call is served: whoever is no browser could make it as well.
            assert_eq!(answer.status, 200);
            assert_eq!(answer.get("access-control-allow-origin"), allowed.then_some(origin), "{origin}");
            assert!(allowed || answer.told().is_empty(), "{origin}: {answer:?}");
            assert!(answer.varies("origin"), "{origin}: {answer:?}");
        }
    }
    let two = ask("GET", "/v1/shelves").with("origin", APP).with("origin", APP);
    for answer in two.both(&gateway).await {
        assert!(answer.told().is_empty() && answer.varies("origin"), "{answer:?}");
    }
    // A preflight that doesn't ask says nothing about private networks.
    for answer in preflight("/v1/shelves", "GET").both(&gateway).await {
        assert_eq!(answer.get("access-control-allow-private-network"), None);
    }
}

#[tokio::test]
async fn every_answer_can_be_read() {
    let cors = format!("policies: {{ cors: {LISTED} }}");
    let (gateway, _backend) =
        demo(Parts { api: "openapi: { path: /openapi.json }", top: &cors, ..Parts::default() });
    let book = pb::GetBookRequest { name: BOOK.into() };
    let missing = pb::GetBookRequest { name: "shelves/harbour/books/nope".into() };
    let read = pb::ReadBookRequest { name: BOOK.into(), pages: 3, ..Default::default() };
    let json = "application/json";
    let mut table = vec![
        (ask("GET", "/v1/shelves"), Some(200)),
        (ask("HEAD", "/v1/shelves"), Some(200)),
        (ask("GET", &format!("/v1/{BOOK}")).with("if-none-match", "*"), Some(304)),
        (ask("GET", &format!("/v1/{BOOK}:read")), Some(200)),
        (ask("GET", &format!("/v1/{BOOK}:read")).with("accept", "text/event-stream"), Some(200)),
        (ask("GET", "/v1/shelves/harbour/books/nope"), Some(404)),
        (ask("GET", "/v1/shelves?no_such=1"), Some(400)),
        (ask("GET", "/v1/../x"), Some(400)),
        (ask("POST", "/v1/inspect").body(json, "{"), Some(400)),
        (ask("POST", "/v1/inspect").body("text/odd", "{}"), Some(415)),
        (ask("DELETE", "/v1/shelves"), Some(405)),
        (ask("OPTIONS", "/v1/shelves"), Some(204)),
        (ask("GET", "/nothing/here"), Some(404)),
        (ask("GET", "/openapi.json"), Some(200)),
        (ask("DELETE", "/openapi.json"), Some(405)),
        (ask("POST", &method("GetBook")).body(json, format!("{{\"name\":\"{BOOK}\"}}")), Some(200)),
        (ask("PUT", &method("GetBook")).body(json, "{}"), Some(405)),
    ];
    // In each dialect a call, a fault of the service, a stream, and a method that isn't there.
    for family in [
        "application/grpc",
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
    ] {
        let calls = [
            ("GetBook", message(&book)),
            ("GetBook", message(&missing)),
            ("ReadBook", message(&read)),
            ("Nope", message(&book)),
            ("GetBook", frame(7, b"bad")),
        ];
        for (name, body) in calls {
            table.push((ask("POST", &method(name)).body(family, body).with("te", "trailers"), None));
        }
    }
    for (name, kind, body) in [
        ("GetBook", "application/proto", Bytes::from(book.encode_to_vec())),
        ("GetBook", "application/proto", Bytes::from(missing.encode_to_vec())),
        ("ReadBook", "application/connect+proto", message(&read)),
        ("ReadBook", "application/connect+odd", message(&read)),
        ("Nope", "application/connect+json", frame(0, b"{}")),
    ] {
        table.push((ask("POST", &method(name)).body(kind, body).with("connect-protocol-version", "1"), None));
    }
    for (asked, status) in table {
        for answer in asked.clone().with("origin", APP).both(&gateway).await {
            assert!(status.is_none_or(|status| status == answer.status), "{asked:?}: {answer:?}");
            assert_eq!(answer.get("access-control-allow-origin"), Some(APP), "{asked:?}: {answer:?}");
            let exposed = answer.list("access-control-expose-headers");
            for name in EXPOSED.iter().chain(&["x-library", "trailer-x-library"]) {
                assert!(exposed.iter().any(|header| header == name), "{name}: {asked:?}: {exposed:?}");
            }
            assert!(answer.varies("origin"), "{asked:?}: {answer:?}");
            assert_eq!(answer.told().len(), 2, "{asked:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn refusals_of_policies_can_be_read_and_never_meet_a_preflight() {
    let backend = Backend::start();
    let api = format!("policies: {{ cors: {LISTED} }}");
    let text = yaml(&[backend.address], Parts { api: &api, ..Parts::default() });
    let refusing = RefusingFirst { text: "secret" };
    let gateway = Gateway::with_policies(&text, vec![Arc::new(refusing), Arc::new(Panicking)]);
    let said = ask("POST", "/v1/inspect").body("application/json", "{\"text\":\"the secret\"}");
    for answer in said.with("origin", APP).both(&gateway).await {
        assert_eq!((answer.status, answer.get("access-control-allow-origin")), (403, Some(APP)));
    }
    let said = ask("GET", "/v1/shelves").with("x-panic", "check").with("origin", APP);
    for answer in said.both(&gateway).await {
        assert_eq!((answer.status, answer.get("access-control-allow-origin")), (500, Some(APP)));
        assert!(answer.varies("origin"));
    }
    for answer in preflight("/v1/shelves", "GET").with("x-panic", "check").both(&gateway).await {
        assert_eq!((answer.status, answer.get("access-control-allow-origin")), (204, Some(APP)));
    }
}

#[tokio::test]
async fn credentials_need_a_listed_origin_and_a_star_is_for_all() {
    let (gateway, _backend) = with("{ origins: [\"https://*.example.com\"], credentials: true }");
    for asked in [preflight("/v1/shelves", "GET"), ask("GET", "/v1/shelves").with("origin", APP)] {
        for answer in asked.both(&gateway).await {
            assert_eq!(answer.get("access-control-allow-origin"), Some(APP));
            assert_eq!(answer.get("access-control-allow-credentials"), Some("true"));
        }
    }
    for answer in preflight("/v1/shelves", "GET").both(&gateway).await {
        assert_eq!(answer.get("access-control-max-age"), Some("7200"));
    }
    let (gateway, _backend) = with("{ origins: [\"*\"] }");
    for origin in [APP, "null", "http://localhost:1234"] {
        for answer in ask("GET", "/v1/shelves").with("origin", origin).both(&gateway).await {
            assert_eq!(answer.get("access-control-allow-origin"), Some("*"));
            assert_eq!(answer.get("access-control-allow-credentials"), None);
        }
    }
}

#[tokio::test]
async fn answers_without_an_origin_say_only_that_they_vary() {
    let (gateway, _backend) = with(LISTED);
    for asked in [ask("GET", "/v1/shelves"), ask("DELETE", "/v1/shelves"), ask("OPTIONS", "/v1/shelves")] {
        for answer in asked.both(&gateway).await {
            assert!(answer.told().is_empty() && answer.varies("origin"), "{asked:?}: {answer:?}");
        }
    }
    // A native client has no cache of a browser between it and the gateway.
    let native =
        ask("POST", &method("GetBook")).body("application/grpc", message(&pb::GetBookRequest::default()));
    let answer = native.with("te", "trailers").h2(gateway.address()).await;
    assert!(answer.told().is_empty() && !answer.varies("origin"), "{answer:?}");

    let (gateway, _backend) = demo(Parts::default());
    for asked in [ask("GET", "/v1/shelves").with("origin", APP), ask("GET", "/nothing").with("origin", APP)] {
        for answer in asked.both(&gateway).await {
            assert!(answer.told().is_empty() && !answer.varies("origin"), "{asked:?}: {answer:?}");
        }
    }
    // Where CORS is off a preflight is an OPTIONS like any other.
    for answer in preflight("/v1/shelves", "GET").both(&gateway).await {
        assert!(answer.told().is_empty() && !answer.varies("origin"), "{answer:?}");
        assert_eq!((answer.status, answer.get("allow")), (204, Some("GET, HEAD, OPTIONS, POST")));
    }
}

#[tokio::test]
async fn the_nearest_level_wins_and_what_is_enforced_stays() {
    let of = |origin: &str| format!("cors: {{ origins: [\"https://{origin}.example\"] }}");
    let (api, method_level, top) = (of("api"), of("method"), of("top"));
    let api = format!(
        "policies: {{ {api} }}, methods: {{ \
         {LIBRARY}/GetShelf: {{ policies: {{ {method_level} }} }}, \
         {LIBRARY}/CreateShelf: {{ policies: {{ cors: off }} }} }}"
    );
    let backend = Backend::start();
    let text = |extra: &str| {
        let top = format!("policies: {{ {top} }}\n{extra}");
        yaml(&[backend.address], Parts { api: &api, top: &top, ..Parts::default() })
    };
    let gateway = Gateway::start(&text(""));
    // The path, the HTTP method, and whose origin is allowed there.
    let levels = [
        ("/v1/shelves", "GET", "https://api.example"),
        ("/v1/shelves/harbour", "GET", "https://method.example"),
        ("/v1/shelves", "POST", ""),
        ("/nothing/here", "GET", "https://top.example"),
        ("/nothing/here", "PUT", "https://top.example"),
    ];
    let origins =
        ["https://top.example", "https://api.example", "https://method.example", "https://enforced.example"];
    let check = async |gateway: &Gateway, levels: &[(&str, &'static str, &str)]| {
        for (path, verb, allowed) in levels {
            for origin in origins {
                let want = (origin == *allowed).then_some(origin);
                let asked = ask("OPTIONS", path).with("origin", origin);
                for answer in asked.with("access-control-request-method", verb).both(gateway).await {
                    assert_eq!(answer.get("access-control-allow-origin"), want, "{verb} {path} for {origin}");
                    if want.is_some() {
                        let methods = answer.list("access-control-allow-methods");
                        assert!(methods.contains(&verb.to_ascii_lowercase()), "{verb} {path}: {methods:?}");
                    }
                }
                for answer in ask(verb, path).with("origin", origin).both(gateway).await {
                    assert_eq!(answer.get("access-control-allow-origin"), want, "{verb} {path} of {origin}");
                }
            }
        }
    };
    check(&gateway, &levels).await;
    // A browser keeps an answer for every HTTP method in it: POST, which is off, isn't among them.
    for answer in preflight("/v1/shelves", "GET").with("origin", "x").both(&gateway).await {
        assert!(answer.told().is_empty(), "{answer:?}");
    }
    let asked = ask("OPTIONS", "/v1/shelves").with("origin", "https://api.example");
    for answer in asked.with("access-control-request-method", "GET").both(&gateway).await {
        assert_eq!(answer.list("access-control-allow-methods"), ["get", "head"]);
    }

    // A running gateway takes a change of it.
    let enforced = format!("enforced: {{ {} }}", of("enforced"));
    gateway.server().apply(config_of(&text(&enforced))).unwrap();
    check(&gateway, &levels.map(|(path, verb, _)| (path, verb, "https://enforced.example"))).await;
}

#[tokio::test]
async fn what_the_service_says_of_origins_never_reaches_a_client() {
    let upstream = RawUpstream::start(|_, mut respond| {
        Box::pin(async move {
            let mut head = grpc_head();
            for (name, value) in [
                ("access-control-allow-origin", "*"),
                ("access-control-expose-headers", "x-secret"),
                ("access-control-allow-credentials", "true"),
                ("vary", "x-tenant"),
            ] {
                head.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            let mut stream = respond.send_response(head, false).unwrap();
            stream.send_data(frame(0, b""), false).unwrap();
            let mut end = trailers(0);
            end.insert("access-control-allow-origin", HeaderValue::from_static("*"));
            stream.send_trailers(end).unwrap();
        })
    })
    .await;
    for cors in ["off", LISTED] {
        let api = format!("policies: {{ cors: {cors} }}");
        let gateway = Gateway::start(&yaml(&[upstream.address], Parts { api: &api, ..Parts::default() }));
        for answer in ask("GET", "/v1/shelves").with("origin", "https://evil.example").both(&gateway).await {
            assert_eq!((answer.status, answer.told().len()), (200, 0), "{cors}: {answer:?}");
            assert!(answer.varies("x-tenant"), "{answer:?}");
            assert_eq!(answer.varies("origin"), cors == LISTED, "{answer:?}");
        }
        let client = RawClient::connect(gateway.address()).await;
        let reply = client.call(client.head("GetBook"), frame(0, b"")).await.unwrap();
        let all = reply.headers.keys().chain(reply.trailers.as_ref().unwrap().keys());
        assert_eq!(
            (reply.code(), all.filter(|name| name.as_str().starts_with("access-")).count()),
            (Some(0), 0)
        );
    }
}

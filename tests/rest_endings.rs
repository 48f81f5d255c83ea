//! Responses that are broken off: what was said before is here, whichever HTTP version says it.

#[path = "support/rest.rs"]
mod rest;
mod support;

use bytes::Bytes;

use crate::rest::Client;
use crate::rest::End;
use crate::rest::HttpBody;
use crate::rest::Service;
use crate::rest::Told;
use crate::rest::VERSIONS;
use crate::rest::Version;
use crate::rest::before;
use crate::rest::get;
use crate::rest::named;
use crate::rest::once;
use crate::support::frame;

fn broken(version: Version) -> End {
    match version {
        Version::H1 => End::Cut,
        Version::H2 => End::Reset(h2::Reason::INTERNAL_ERROR),
    }
}

#[tokio::test]
async fn an_array_that_fails_says_why_in_its_last_element() {
    let service = Service::start(|asked| {
        let mut told = Told::many(&[named("a"), named("b")]);
        if asked.headers.contains_key("x-malformed") {
            told.frames.push(frame(0, b"\x0a\xff"));
        }
        told.failing(10, "no%20more")
    })
    .await;
    let gateway = before(&service, "");
    for version in VERSIONS {
        let messages = "[{\"name\":\"a\"},{\"name\":\"b\"},{\"error\":";
        // The whole reply comes at once, so that nothing has left when it is known to fail.
        for _ in 0..50 {
            let answer = once(version, gateway.address(), &get("/v1/flow")).await;
            assert_eq!((answer.status, answer.end), (200, broken(version)), "{answer:?}");
            let error = "{\"code\":10,\"message\":\"no more\",\"details\":[]}}";
            assert_eq!(answer.text(), format!("{messages}{error}"), "{version:?}");
        }
        let answer = once(version, gateway.address(), &get("/v1/flow").with("x-malformed", "1")).await;
        assert_eq!((answer.status, answer.end), (200, broken(version)));
        let error = answer.text().strip_prefix(messages).and_then(|rest| rest.strip_suffix('}'));
        let error: serde_json::Value =
            serde_json::from_str(error.unwrap_or_else(|| panic!("{answer:?}"))).expect("an error is JSON");
        assert_eq!(
            (&error["code"], &error["details"][0]["reason"]),
            (&13.into(), &"UPSTREAM_REPLY_INVALID".into())
        );
    }
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

#[tokio::test]
async fn raw_bytes_that_fail_are_here_and_incomplete() {
    let service = Service::start(|_| {
        let part = HttpBody { content_type: "text/plain".into(), data: Bytes::from_static(b"half") };
        Told::one(&part).failing(13, "lost")
    })
    .await;
    let gateway = before(&service, "");
    for version in VERSIONS {
        let answer = once(version, gateway.address(), &get("/v1/raw")).await;
        assert_eq!((answer.header("content-type"), answer.text()), ("text/plain", "half"), "{version:?}");
        assert_eq!(answer.end, broken(version));
        let answer = once(version, gateway.address(), &get("/v1/raw").with("accept-encoding", "gzip")).await;
        assert_eq!((answer.header("content-encoding"), answer.end), ("gzip", broken(version)), "{version:?}");
    }
}

#[tokio::test]
async fn an_http_2_connection_outlives_a_stream_that_was_broken_off() {
    let service = Service::start(|_| Told::many(&[named("a")]).failing(10, "")).await;
    let gateway = before(&service, "");
    let mut client = Client::connect(Version::H2, gateway.address()).await;
    for _ in 0..20 {
        let answer = client.ask(&get("/v1/flow")).await;
        assert!(answer.text().starts_with("[{\"name\":\"a\"},{\"error\":"), "{answer:?}");
        assert_eq!(client.ask(&get("/v1/nothing")).await.status, 404);
    }
}

//! What one of the gateway's own addresses answers: probes, metrics, and the Admin API.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;

use crate::admin::Readiness;
use crate::admin::access;
use crate::bridge;
use crate::call::Body;
use crate::call::Connection;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::Service;
use crate::gateway::Answer;
use crate::gateway::Gateway;
use crate::observe::Metrics;

/// Which of the paths an address answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Probes and metrics, for everyone who reaches the address.
    Status,
    /// The Admin API, and probes and metrics where they have no address of their own. While nobody has a token or
    /// a certificate, peers that aren't on this machine are refused.
    Admin,
}

/// The way to the Admin API.
#[derive(Clone)]
pub struct Door {
    /// What publishes it, in every dialect.
    pub gateway: Gateway,
    /// Who is let in.
    pub access: Arc<access::Current>,
}

/// Answers one address.
pub struct Surface {
    scope: Scope,
    readiness: Arc<Readiness>,
    /// `None` where `observe.metrics` is off.
    metrics: Option<Arc<Metrics>>,
    door: Door,
}

impl Surface {
    /// The surface of an address.
    pub fn new(scope: Scope, readiness: Arc<Readiness>, metrics: Option<Arc<Metrics>>, door: Door) -> Self {
        Self { scope, readiness, metrics, door }
    }

    /// Whether a path is one of those that the surface answers by itself.
    fn is_own(&self, path: &str) -> bool {
        match self.scope {
            Scope::Status => true,
            Scope::Admin => PROBES.contains(&path),
        }
    }

    fn probe(&self, method: &Method, path: &str) -> Response<Answer> {
        if self.scope == Scope::Admin && self.readiness.is_status_apart() {
            return page(StatusCode::NOT_FOUND, TEXT, "probes and metrics are on `status.address`\n");
        }
        if method != Method::GET && method != Method::HEAD {
            let mut response = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "ask by GET\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let mut response = match path {
            "/healthz" => page(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => match self.readiness.hindered() {
                None => page(StatusCode::OK, TEXT, "ready\n"),
                Some(why) => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
            },
            "/metrics" => match &self.metrics {
                Some(metrics) => page(StatusCode::OK, METRICS, metrics.render()),
                None => page(StatusCode::NOT_FOUND, TEXT, "metrics are off: set `observe.metrics: true`\n"),
            },
            _ => page(StatusCode::NOT_FOUND, TEXT, "there are /healthz, /readyz and /metrics here\n"),
        };
        if method == Method::HEAD {
            *response.body_mut() = Answer::Whole(Bytes::new());
        }
        response
    }
}

impl Service for Surface {
    type Reply = Answer;

    async fn call(
        &self,
        connection: &Arc<Connection>,
        request: Request<Body>,
        now: Instant,
    ) -> Response<Answer> {
        let access = self.door.access.load();
        let is_own = self.is_own(request.uri().path());
        let refused = match self.scope {
            Scope::Status => None,
            Scope::Admin if is_own => access.stranger(connection),
            Scope::Admin => access.intruder(connection, host(&request), request.headers()),
        };
        drop(access);
        if let Some(why) = refused {
            let content_type = request.headers().get(header::CONTENT_TYPE);
            let refusal = Refusal::new(Reason::AccessDenied, why);
            let bridge = bridge::of(bridge::dialect(content_type));
            return bridge.refuse(&refusal, content_type).map(Answer::Whole);
        }
        if is_own {
            return self.probe(request.method(), request.uri().path());
        }
        self.door.gateway.call(connection, request, now).await
    }
}

/// The host that a request names, in its target or its `Host`; empty where it names none.
fn host(request: &Request<Body>) -> &str {
    match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => {
            let host = request.headers().get(header::HOST);
            // What is no text is nobody's host.
            host.map_or("", |host| host.to_str().unwrap_or("?"))
        }
    }
}

fn page(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

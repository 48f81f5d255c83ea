//! What operators and probes ask: `/healthz`, `/readyz` and `/metrics`.

mod audit_hash;
mod proto;

pub use audit_hash::audit_hash;
pub use proto::FILE_DESCRIPTOR_SET;
pub use proto::HttpBody;
pub use proto::pb;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body::Frame;

use crate::call::Abort;
use crate::call::Body;
use crate::call::Connection;
use crate::call::Reply;
use crate::call::Service;
use crate::observe::Metrics;

/// Whether the process can take calls.
#[derive(Debug, Default)]
pub struct Readiness {
    loaded: AtomicBool,
    draining: AtomicBool,
    /// Modules whose server is yet to be asked for the first time.
    asking: AtomicU8,
    /// Probes have an address of their own.
    apart: AtomicBool,
}

impl Readiness {
    /// A snapshot serves.
    pub fn loaded(&self) {
        self.loaded.store(true, Ordering::Relaxed);
    }

    /// The process goes away.
    pub fn draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// This many modules are yet to be asked of their servers.
    pub fn asking(&self, modules: usize) {
        self.asking.store(u8::try_from(modules).unwrap_or(u8::MAX), Ordering::Relaxed);
    }

    /// Whether probes and metrics have an address of their own.
    pub fn status_apart(&self, apart: bool) {
        self.apart.store(apart, Ordering::Relaxed);
    }

    /// Why calls should go elsewhere; `None` when they may come.
    fn hindered(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Some("draining");
        }
        if !self.loaded.load(Ordering::Relaxed) {
            return Some("no configuration is loaded yet");
        }
        (self.asking.load(Ordering::Relaxed) > 0).then_some("descriptors are still asked of their servers")
    }
}

/// Which of the paths an address answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Probes and metrics, for everyone who reaches the address.
    Status,
    /// The Admin API, and probes and metrics where they have no address of their own. Peers
    /// that aren't on this machine are refused while there are no tokens.
    Admin,
}

/// Answers one address.
pub struct Surface {
    scope: Scope,
    readiness: Arc<Readiness>,
    /// `None` where `observe.metrics` is off.
    metrics: Option<Arc<Metrics>>,
}

impl Surface {
    /// The surface of an address.
    pub fn new(scope: Scope, readiness: Arc<Readiness>, metrics: Option<Arc<Metrics>>) -> Self {
        Self { scope, readiness, metrics }
    }

    fn answer(&self, connection: &Connection, method: &Method, path: &str) -> Response<Page> {
        if self.scope != Scope::Status && !connection.peer.ip().to_canonical().is_loopback() {
            return page(StatusCode::FORBIDDEN, TEXT, "without admin tokens only this machine is answered\n");
        }
        if self.scope == Scope::Admin && self.readiness.apart.load(Ordering::Relaxed) {
            return page(
                StatusCode::NOT_FOUND,
                TEXT,
                "the Admin API is not built yet; probes are on `status.address`\n",
            );
        }
        if method != Method::GET && method != Method::HEAD {
            let mut response = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "ask by GET\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
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
        }
    }
}

impl Service for Surface {
    type Reply = Page;

    async fn call(&self, connection: &Arc<Connection>, request: Request<Body>, _: Instant) -> Response<Page> {
        let mut response = self.answer(connection, request.method(), request.uri().path());
        if request.method() == Method::HEAD {
            response.body_mut().0 = Bytes::new();
        }
        response
    }
}

fn page(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Page> {
    let mut response = Response::new(Page(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The body of one answer.
pub struct Page(Bytes);

impl Reply for Page {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn poll_blocked(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn is_end(&self) -> bool {
        self.0.is_empty()
    }

    fn size(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

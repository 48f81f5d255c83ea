//! What is counted and written of one call: told once, however the call ends.

use std::sync::Arc;
use std::time::Instant;
use std::time::SystemTime;

use http::HeaderValue;
use http::Version;

use crate::call::Code;
use crate::call::Connection;
use crate::call::Dialect;
use crate::call::Origin;
use crate::call::Refusal;
use crate::observe::Ended;
use crate::observe::Entry;
use crate::observe::Observe;
use crate::observe::Series;
use crate::policy::End;
use crate::snapshot::MethodPlan;

/// One call's account. Dropped without an end, it tells of a client that went away.
pub(super) struct Tally {
    observe: Arc<Observe>,
    worker: usize,
    started: Instant,
    connection: Arc<Connection>,
    origin: Origin,
    series: Arc<Series>,
    planned: Planned,
    pub(super) dialect: Dialect,
    version: Version,
    /// Host, path and user agent, where a line is written.
    line: Option<Line>,
    pub(super) request: Moved,
    pub(super) reply: Moved,
    pub(super) endpoint: Option<Arc<str>>,
    pub(super) attempts: u32,
    http_status: Option<u16>,
    refusal: Option<Refusal>,
    code: Option<Code>,
}

/// Bytes and messages of one direction.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moved {
    pub(super) bytes: u64,
    pub(super) messages: u64,
}

/// Whether the method that was asked for is known.
#[derive(Clone, Copy)]
enum Planned {
    No,
    Yes,
}

struct Line {
    time: SystemTime,
    uri: http::Uri,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
}

impl Tally {
    /// Opens the account of a request that is known to ask for nothing yet.
    pub(super) fn open(
        observe: &Arc<Observe>,
        worker: usize,
        connection: &Arc<Connection>,
        origin: Origin,
        head: &http::request::Parts,
        started: Instant,
    ) -> Self {
        let line = observe.access.is_some().then(|| Line {
            time: SystemTime::now(),
            uri: head.uri.clone(),
            host: match head.uri.authority() {
                Some(_) => None,
                None => head.headers.get(http::header::HOST).cloned(),
            },
            user_agent: head.headers.get(http::header::USER_AGENT).cloned(),
        });
        Self {
            observe: observe.clone(),
            worker,
            started,
            connection: connection.clone(),
            origin,
            series: observe.metrics.unknown().clone(),
            planned: Planned::No,
            dialect: Dialect::Plain,
            version: head.version,
            line,
            request: Moved::default(),
            reply: Moved::default(),
            endpoint: None,
            attempts: 0,
            http_status: None,
            refusal: None,
            code: None,
        }
    }

    /// The method is known, or known not to exist: the call counts as open from here on.
    pub(super) fn begin(&mut self, plan: Option<&MethodPlan>) {
        if let Some(plan) = plan {
            self.series = plan.series.clone();
            self.planned = Planned::Yes;
        }
        self.series.started(self.worker);
    }

    /// The gateway ended the call.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.observe.metrics.refusals.increment(refusal.reason.name());
        self.code = Some(refusal.code);
        self.refusal = Some(refusal.clone());
    }

    /// The client sees this HTTP status beside the code.
    pub(super) fn http_status(&mut self, status: http::StatusCode) {
        self.http_status = (status != http::StatusCode::OK).then_some(status.as_u16());
    }

    /// The upstream ended the call.
    pub(super) fn ended(&mut self, code: Code) {
        self.code = Some(code);
    }

    /// The gateway panicked in this call.
    pub(super) fn panicked(&self) {
        self.observe.metrics.panics.increment();
    }

    /// How the call has ended, if it has.
    pub(super) fn end(&self) -> Option<End> {
        self.code.map(|code| End { code, duration: now().saturating_duration_since(self.started) })
    }

    fn write(&self, ended: &Ended) {
        let (Some(access), Some(line)) = (&self.observe.access, &self.line) else { return };
        let refusal = self.refusal.as_ref();
        let certificate = self.connection.client_certificate();
        let (path, method) = (line.uri.path(), self.series.method());
        let (method, path) = match self.planned {
            Planned::Yes if method == path => (method, ""),
            Planned::Yes => (method, path),
            Planned::No => (path, ""),
        };
        access.write(
            self.worker,
            &Entry {
                time: line.time,
                api: self.series.api(),
                method: method.as_bytes(),
                path: path.as_bytes(),
                dialect: self.dialect,
                version: self.version,
                host: match (line.uri.authority(), &line.host) {
                    (Some(authority), _) => authority.as_str().as_bytes(),
                    (None, Some(host)) => host.as_bytes(),
                    (None, None) => b"",
                },
                peer: Some(self.connection.peer),
                client: (self.origin.address != self.connection.peer.ip().to_canonical())
                    .then_some(self.origin.address),
                scheme: self.origin.scheme,
                code: ended.code,
                http_status: self.http_status,
                duration: ended.duration,
                request_bytes: ended.request_bytes,
                reply_bytes: ended.reply_bytes,
                request_messages: ended.request_messages,
                reply_messages: ended.reply_messages,
                endpoint: self.endpoint.as_deref().unwrap_or_default(),
                attempts: self.attempts,
                reason: refusal.map_or("", |refusal| refusal.reason.name()),
                logged: refusal.and_then(|refusal| refusal.logged.as_deref()).unwrap_or_default(),
                user_agent: line.user_agent.as_ref().map_or(b"", HeaderValue::as_bytes),
                trace_id: None,
                client_subject: certificate.map_or("", |certificate| &certificate.subject),
                client_fingerprint: certificate.map_or("", |certificate| &certificate.fingerprint),
            },
        );
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let ended = Ended {
            dialect: self.dialect,
            code: self.code.unwrap_or_else(unsaid),
            duration: now().saturating_duration_since(self.started),
            request_bytes: self.request.bytes,
            reply_bytes: self.reply.bytes,
            request_messages: self.request.messages,
            reply_messages: self.reply.messages,
        };
        self.series.ended(self.worker, &ended);
        self.write(&ended);
    }
}

/// The code of a call that ended without a word: a panic of ours, or a client that left.
fn unsaid() -> Code {
    if std::thread::panicking() { Code::Internal } else { Code::Cancelled }
}

#[expect(clippy::disallowed_methods, reason = "the end of a call is read off the clock once")]
fn now() -> Instant {
    Instant::now()
}

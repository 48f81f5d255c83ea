//! What a request asks for, and in which dialect: looked up before any policy runs.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use crate::bridge;
use crate::bridge::Bridge;
use crate::bridge::rest::Rest;
use crate::bridge::rest::websocket;
use crate::bridge::rest::websocket::WebSocket;
use crate::call::Code;
use crate::call::Dialect;
use crate::call::Reason;
use crate::call::Refusal;
use crate::gateway::host;
use crate::gateway::label;
use crate::route::rest::Found;
use crate::snapshot::Document;
use crate::snapshot::MethodPlan;
use crate::snapshot::RestTarget;
use crate::snapshot::Snapshot;
use crate::snapshot::Tables;

/// What a request asks for.
pub(super) struct Target {
    pub(super) plan: Option<Arc<MethodPlan>>,
    pub(super) speaker: Speaker,
    pub(super) outcome: Outcome,
}

impl Target {
    /// Something that isn't published, with its answer.
    pub(super) fn answered(answer: Response<Bytes>) -> Self {
        let speaker = Speaker::Known(bridge::of(Dialect::Plain));
        Self { plan: None, speaker, outcome: Outcome::Answer(answer) }
    }
}

/// What speaks with the client.
pub(super) enum Speaker {
    /// One of the table.
    Known(&'static dyn Bridge),
    /// REST, for one request.
    Rest(Box<dyn Bridge + Send>),
}

/// What the look-up alone shows.
pub(super) enum Outcome {
    /// The call may be served.
    Serve,
    /// HTTP's own question, answered.
    Answer(Response<Bytes>),
    /// It can't be.
    Refuse(Refusal),
}

impl Speaker {
    pub(super) fn bridge(&self) -> &dyn Bridge {
        match self {
            Self::Known(bridge) => *bridge,
            Self::Rest(rest) => &**rest,
        }
    }
}

/// Finds the method of a request, of the label that it asks for.
pub(super) fn find(snapshot: &Snapshot, head: &Parts) -> Target {
    let found = among(&snapshot.served, head);
    if snapshot.label_headers.is_empty() { found } else { label::find(snapshot, head, found) }
}

/// Finds the method of a request among what is published under one label.
pub(super) fn among(tables: &Tables, head: &Parts) -> Target {
    if let Some(asked) = websocket::asked(head) {
        return socket(tables, head, asked);
    }
    if head.method == http::Method::CONNECT {
        let refusal = Refusal::new(Reason::RequestInvalid, NO_TUNNEL).with_code(Code::Unimplemented);
        let speaker = Speaker::Known(bridge::of(Dialect::Plain));
        return Target { plan: None, speaker, outcome: Outcome::Refuse(refusal) };
    }
    let by_path = || tables.routes.find(host(head), head.uri.path()).cloned();
    match bridge::dialect(head.headers.get(http::header::CONTENT_TYPE)) {
        Dialect::Plain => plain(tables, head),
        dialect => {
            Target { plan: by_path(), speaker: Speaker::Known(bridge::of(dialect)), outcome: Outcome::Serve }
        }
    }
}

/// A request without a gRPC content type: REST, or nothing that is served.
fn plain(tables: &Tables, head: &Parts) -> Target {
    let path = head.uri.path();
    let found = match tables.rest.find(host(head), &head.method, path) {
        Found::Match { target: RestTarget::Rule(route), captures } => {
            let captures = captures.into_iter().map(Cow::into_owned).collect();
            let rest = Rest::new(route.endpoint.clone(), captures);
            return Target {
                plan: Some(route.plan.clone()),
                speaker: Speaker::Rest(Box::new(rest)),
                outcome: Outcome::Serve,
            };
        }
        Found::Match { target: RestTarget::Document(document), .. } => {
            return Target::answered(bridge::rest::document(&document.text, &document.headers, head));
        }
        found => found,
    };
    let plan = tables.routes.find(host(head), path).cloned();
    if plan.as_ref().is_some_and(|plan| is_connect(plan, head)) {
        let speaker = Speaker::Known(bridge::of(Dialect::Connect));
        return Target { plan, speaker, outcome: Outcome::Serve };
    }
    // Without a rule a method is called by POST on its own path.
    if let Some(endpoint) = plan.as_ref().and_then(|plan| plan.json.clone()) {
        let rest = Speaker::Rest(Box::new(Rest::new(endpoint, Vec::new())));
        let outcome = match head.method {
            http::Method::POST => Outcome::Serve,
            http::Method::OPTIONS => Outcome::Answer(bridge::rest::options(&allowed(&["POST"]))),
            _ => Outcome::Refuse(not_allowed(allowed(&["POST"]))),
        };
        return Target { plan, speaker: rest, outcome };
    }
    let outcome = match found {
        Found::MethodNotAllowed { allow } if head.method == http::Method::OPTIONS => {
            Outcome::Answer(bridge::rest::options(&allowed(&allow)))
        }
        Found::MethodNotAllowed { allow } => Outcome::Refuse(not_allowed(allowed(&allow))),
        Found::BadRequest(problem) => {
            Outcome::Refuse(Refusal::new(Reason::RequestInvalid, problem.to_string()))
        }
        _ => Outcome::Serve,
    };
    // What nobody else answers is refused in the words that the client, or else the API, knows.
    let speaks_connect = bridge::connect::is_named(head)
        || plan.as_ref().is_some_and(|plan| plan.api.dialects.contains(&Dialect::Connect));
    let dialect = match outcome {
        Outcome::Serve if speaks_connect => Dialect::Connect,
        _ => Dialect::Plain,
    };
    Target { plan, speaker: Speaker::Known(bridge::of(dialect)), outcome }
}

/// A handshake of a WebSocket: by the path of a rule, whatever its HTTP method, or by a method's own.
fn socket(tables: &Tables, head: &Parts, asked: websocket::Asked) -> Target {
    let path = head.uri.path();
    let takes_stream = |plan: &MethodPlan| !plan.method.kind.one_request();
    let streams = |target: &RestTarget| target.rule().is_some_and(|route| takes_stream(&route.plan));
    let mut found = tables.rest.find_any_method(host(head), path, streams);
    if matches!(found, Found::NotFound) {
        found = tables.rest.find_any_method(host(head), path, |target| target.rule().is_some());
    }
    let (plan, endpoint, captures) = match found {
        Found::Match { target: RestTarget::Rule(route), captures } => {
            let captures = captures.into_iter().map(Cow::into_owned).collect();
            (route.plan.clone(), Some(route.endpoint.clone()), captures)
        }
        Found::BadRequest(problem) => return refused(None, Reason::RequestInvalid, problem.to_string()),
        _ => match tables.routes.find(host(head), path) {
            Some(plan) => (plan.clone(), plan.json.clone(), Vec::new()),
            None => {
                let speaker = Speaker::Known(bridge::of(Dialect::Plain));
                return Target { plan: None, speaker, outcome: Outcome::Serve };
            }
        },
    };
    let Some(endpoint) = endpoint else {
        let told = format!("{} is not published for rest clients", plan.method.path);
        return refused(Some(plan), Reason::MethodUnknown, told);
    };
    let outcome = if takes_stream(&plan) {
        Outcome::Serve
    } else {
        let told = format!("{} takes one message and no WebSocket: send an HTTP request", plan.method.path);
        Outcome::Refuse(Refusal::new(Reason::RequestInvalid, told))
    };
    let speaker = Speaker::Rest(Box::new(WebSocket::new(endpoint, captures, asked)));
    Target { plan: Some(plan), speaker, outcome }
}

fn refused(plan: Option<Arc<MethodPlan>>, reason: Reason, told: impl Into<Cow<'static, str>>) -> Target {
    let speaker = Speaker::Known(bridge::of(Dialect::Plain));
    Target { plan, speaker, outcome: Outcome::Refuse(Refusal::new(reason, told)) }
}

/// Whether a request on a method's own path is for Connect to answer.
fn is_connect(plan: &MethodPlan, head: &Parts) -> bool {
    plan.api.dialects.contains(&Dialect::Connect) && bridge::connect::takes(head, &plan.method)
}

/// The document that a request of this HTTP method would ask for.
pub(super) fn document<'s>(
    snapshot: &'s Snapshot,
    head: &Parts,
    verb: &http::Method,
) -> Option<&'s Document> {
    match snapshot.served.rest.find(host(head), verb, head.uri.path()) {
        Found::Match { target: RestTarget::Document(document), .. } => Some(document),
        _ => None,
    }
}

/// The value of `Allow`: what rules name, and what HTTP adds to it.
fn allowed(verbs: &[&str]) -> String {
    let mut all = verbs.to_vec();
    if all.contains(&"GET") {
        all.push("HEAD");
    }
    all.push("OPTIONS");
    all.sort_unstable();
    all.dedup();
    all.join(", ")
}

fn not_allowed(allow: String) -> Refusal {
    Refusal::new(Reason::MethodNotAllowed, format!("this path takes {allow}")).offering(allow)
}

const NO_TUNNEL: &str = "CONNECT is for WebSockets alone: send `:protocol: websocket` with it";

//! What a request asks for, and in which dialect: looked up before any policy runs.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use crate::bridge;
use crate::bridge::Bridge;
use crate::bridge::rest::Rest;
use crate::call::Dialect;
use crate::call::Reason;
use crate::call::Refusal;
use crate::gateway::host;
use crate::route::rest::Found;
use crate::snapshot::Document;
use crate::snapshot::MethodPlan;
use crate::snapshot::Snapshot;

/// What a request asks for.
pub(super) struct Target {
    pub(super) plan: Option<Arc<MethodPlan>>,
    pub(super) speaker: Speaker,
    pub(super) outcome: Outcome,
}

/// What speaks with the client.
pub(super) enum Speaker {
    /// One of the table.
    Known(&'static dyn Bridge),
    /// REST, for one request.
    Rest(Box<Rest>),
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

/// Finds the method of a request.
pub(super) fn find(snapshot: &Snapshot, head: &Parts) -> Target {
    let by_path = || snapshot.routes.find(host(head), head.uri.path()).cloned();
    match bridge::dialect(head) {
        Ok(Dialect::Plain) => plain(snapshot, head),
        Ok(dialect) => {
            Target { plan: by_path(), speaker: Speaker::Known(bridge::of(dialect)), outcome: Outcome::Serve }
        }
        Err(refusal) => Target {
            plan: by_path(),
            speaker: Speaker::Known(bridge::of(Dialect::Plain)),
            outcome: Outcome::Refuse(refusal),
        },
    }
}

/// A request without a gRPC content type: REST, or nothing that is served.
fn plain(snapshot: &Snapshot, head: &Parts) -> Target {
    let path = head.uri.path();
    if let Some(document) = document(snapshot, head) {
        let speaker = Speaker::Known(bridge::of(Dialect::Plain));
        return Target {
            plan: None,
            speaker,
            outcome: Outcome::Answer(bridge::rest::document(&document, head)),
        };
    }
    let found = snapshot.rest.find(host(head), &head.method, path);
    if let Found::Match { target, captures } = found {
        let captures = captures.into_iter().map(Cow::into_owned).collect();
        let rest = Rest::new(target.endpoint.clone(), captures);
        return Target {
            plan: Some(target.plan.clone()),
            speaker: Speaker::Rest(Box::new(rest)),
            outcome: Outcome::Serve,
        };
    }
    let plan = snapshot.routes.find(host(head), path).cloned();
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
    Target { plan, speaker: Speaker::Known(bridge::of(Dialect::Plain)), outcome }
}

/// The OpenAPI document that a request asks for.
fn document(snapshot: &Snapshot, head: &Parts) -> Option<Bytes> {
    let of = |document: &&Document| {
        *document.path == *head.uri.path()
            && document.hosts.iter().any(|pattern| pattern.matches(host(head)))
            && matches!(head.method, http::Method::GET | http::Method::HEAD)
    };
    snapshot.documents.iter().find(of).map(|document| document.text.clone())
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

//! Answers preflights from the routes, and says with every other answer what a web page may read of it.

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Method as Verb;
use http::Response;
use http::StatusCode;
use http::header;
use http::request::Parts;

use crate::bridge;
use crate::bridge::rest::negotiate::vary;
use crate::call::Dialect;
use crate::call::Idempotency;
use crate::gateway::host;
use crate::gateway::target;
use crate::gateway::target::Outcome;
use crate::gateway::target::Speaker;
use crate::gateway::target::Target;
use crate::policy;
use crate::policy::Cors;
use crate::route::rest::Found;
use crate::snapshot::MethodPlan;
use crate::snapshot::RestTarget;
use crate::snapshot::Snapshot;

/// What an answer says to web pages, whatever it is.
pub(super) enum Page {
    /// Nothing.
    None,
    /// That it is another one for other origins.
    Varies,
    /// What pages of this origin may read.
    Open(Cors, HeaderValue),
}

/// Finds the method of a request, and what its page may read. A preflight is a question about another request,
/// and is answered before anything is asked of the caller.
pub(super) fn find(snapshot: &Snapshot, head: &Parts, page: &mut Page) -> Target {
    let Some((origin, verb)) = preflight(head) else {
        let target = target::find(snapshot, head);
        *page = Page::of(snapshot, head, &target);
        return target;
    };
    match asked_for(snapshot, head, &verb) {
        Some((cors, verbs)) => {
            let speaker = Speaker::Known(bridge::of(Dialect::Plain));
            let outcome = Outcome::Answer(permit(&cors, verbs, origin, head));
            Target { plan: None, speaker, outcome }
        }
        // Where CORS is off it is an OPTIONS like any other, and has nothing for a page.
        None => target::find(snapshot, head),
    }
}

impl Page {
    fn of(snapshot: &Snapshot, head: &Parts, target: &Target) -> Self {
        let origin = head.headers.get(header::ORIGIN);
        // What native clients get is kept by no cache that a browser asks.
        if origin.is_none() && target.speaker.bridge().dialect() == Dialect::Grpc {
            return Self::None;
        }
        let cors = match &target.plan {
            Some(plan) => plan.cors.as_ref(),
            None => match target::document(snapshot, head, &head.method) {
                Some(document) => document.cors.as_ref(),
                None => unserved(snapshot, head),
            },
        };
        match (cors, origin) {
            (None, _) => Self::None,
            (Some(cors), Some(origin)) if is_one(head) && cors.allows(origin) => {
                Self::Open(cors.clone(), origin.clone())
            }
            (Some(_), _) => Self::Varies,
        }
    }

    /// Writes it into the head of the answer.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        match self {
            Self::None => return,
            Self::Varies => {}
            Self::Open(cors, origin) => cors.expose(&origin, headers),
        }
        //= https://fetch.spec.whatwg.org/#cors-protocol-and-http-caches
        //# If CORS protocol requirements are more complicated than setting `Access-Control-Allow-Origin` to `*` or
        //# a static origin, `Vary` is to be used.
        vary(headers, &[header::ORIGIN]);
    }
}

/// Whose preflight this is, and for which HTTP method.
fn preflight(head: &Parts) -> Option<(&HeaderValue, Verb)> {
    if head.method != Verb::OPTIONS {
        return None;
    }
    let origin = head.headers.get(header::ORIGIN)?;
    let verb = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Some((origin, Verb::from_bytes(verb.as_bytes()).ok()?))
}

/// The answer to a preflight.
fn permit(cors: &Cors, verbs: Vec<String>, origin: &HeaderValue, head: &Parts) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    if is_one(head) && cors.allows(origin) {
        cors.permit(origin, verbs, headers);
        if head.headers.get(policy::REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true") {
            headers.insert(policy::ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
    }
    vary(headers, &policy::ASKED);
    response
}

/// The rules for a request of this HTTP method, and the HTTP methods that they hold for on its path.
fn asked_for(snapshot: &Snapshot, head: &Parts, asked: &Verb) -> Option<(Cors, Vec<String>)> {
    if let Some(document) = target::document(snapshot, head, asked) {
        return Some((document.cors.clone()?, vec!["GET".into(), "HEAD".into()]));
    }
    if let Some(plan) = served(snapshot, head, asked) {
        let cors = plan.cors.clone()?;
        let verbs = verbs(snapshot, head, asked, &cors);
        return Some((cors, verbs));
    }
    // The page is to see the 404 or the 405, not a fault of CORS.
    Some((unserved(snapshot, head)?.clone(), vec![asked.to_string()]))
}

/// The rules for a path under another HTTP method, and for nothing at all.
fn unserved<'s>(snapshot: &'s Snapshot, head: &Parts) -> Option<&'s Cors> {
    match at_path(snapshot, head) {
        Some(plan) => plan.cors.as_ref(),
        None => snapshot.cors.as_ref(),
    }
}

/// The method that a request of this HTTP method would find.
fn served<'s>(snapshot: &'s Snapshot, head: &Parts, verb: &Verb) -> Option<&'s MethodPlan> {
    let by_rule = || match snapshot.served.rest.find(host(head), verb, head.uri.path()) {
        Found::Match { target: RestTarget::Rule(route), .. } => Some(&*route.plan),
        _ => None,
    };
    let by_path = || {
        let plan = snapshot.served.routes.find(host(head), head.uri.path())?;
        let is_read = *verb == Verb::GET && plan.method.idempotency == Idempotency::NoSideEffects;
        let is_called = *verb == Verb::POST || (is_read && plan.api.dialects.contains(&Dialect::Connect));
        is_called.then_some(&**plan)
    };
    // These name the method by its path, whatever rules fit there.
    if names_dialect(head) { by_path().or_else(by_rule) } else { by_rule().or_else(by_path) }
}

/// Any method at the path, whatever the HTTP method.
fn at_path<'s>(snapshot: &'s Snapshot, head: &Parts) -> Option<&'s MethodPlan> {
    let path = head.uri.path();
    if let Some(plan) = snapshot.served.routes.find(host(head), path) {
        return Some(plan);
    }
    match snapshot.served.rest.find_any_method(host(head), path, |target| target.rule().is_some()) {
        Found::Match { target: RestTarget::Rule(route), .. } => Some(&route.plan),
        _ => None,
    }
}

/// The HTTP methods that the path serves under the same rules. One that isn't must be asked for by itself: a
/// browser keeps the answer for all that it names.
fn verbs(snapshot: &Snapshot, head: &Parts, asked: &Verb, cors: &Cors) -> Vec<String> {
    let mut all = snapshot.served.rest.allowed(host(head), head.uri.path());
    all.extend(["GET", "HEAD", "POST", asked.as_str()]);
    all.sort_unstable();
    all.dedup();
    let is_same = |verb: &&str| {
        let verb = Verb::from_bytes(verb.as_bytes()).ok().filter(|verb| *verb != *"*");
        let plan = verb.and_then(|verb| served(snapshot, head, &verb));
        plan.and_then(|plan| plan.cors.as_ref()).is_some_and(|other| other.is_same(cors))
    };
    all.into_iter().filter(is_same).map(str::to_owned).collect()
}

/// Whether the headers that a page wants to send are those of gRPC-Web or Connect.
fn names_dialect(head: &Parts) -> bool {
    let lists = head.headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let mut names = lists.flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
    names.any(|name| {
        let name = name.trim_ascii();
        name.eq_ignore_ascii_case(b"x-grpc-web") || name.eq_ignore_ascii_case(b"connect-protocol-version")
    })
}

/// Whether there is one origin: no browser sends more.
fn is_one(head: &Parts) -> bool {
    head.headers.get_all(header::ORIGIN).iter().count() == 1
}

//! All configuration and descriptors, compiled: immutable, and swapped whole.
//!
//! Each API is compiled into a [`Unit`] for each label that it serves. A change of modules compiles those units
//! anew that it touches, and the tables of the next snapshot share all else with those before: it costs by its
//! own size.

mod change;
mod compile;
mod conflict;
mod labels;
mod publish;
mod rest;
mod retired;
mod shadow;
mod unit;

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;

pub use compile::Inputs;
pub use compile::OwnService;
pub use compile::compile;
pub use labels::LIVE;
pub use labels::Labels;
pub use retired::Retired;
pub use shadow::Copy;
pub use shadow::Direction;
pub use shadow::Shadow;
pub use shadow::ShadowFailure;
pub use shadow::ShadowReport;
pub use shadow::Shadows;
pub use shadow::Watched;
pub(crate) use shadow::step_back;

use crate::bridge::rest::Endpoint;
use crate::bridge::rest::Method as Messages;
use crate::call::Dialect;
use crate::call::Method;
use crate::config::fault::At;
use crate::config::host::HostPattern;
use crate::config::types::Config;
use crate::observe::Series;
use crate::policy::Cors;
use crate::policy::Needs;
use crate::policy::Policy;
use crate::route::Table;
use crate::route::rest::RestTable;
use crate::schema::Schema;
use crate::schema::http::Rule;
use crate::snapshot::change::Basis;
use crate::snapshot::unit::Unit;
use crate::upstream::Upstream;

/// The snapshot that serves.
pub type Current = ArcSwap<Snapshot>;

/// One generation of everything.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts from 1; 0 is the empty one before the first.
    pub generation: u64,
    /// What is published.
    pub served: Tables,
    /// By label, what calls get that ask for it: other versions of APIs that have a `label_header`.
    pub labelled: HashMap<Arc<str>, Arc<Tables>>,
    /// The headers by which calls may ask for another label.
    pub label_headers: Arc<[HeaderName]>,
    /// What web pages may do where nothing is published.
    pub cors: Option<Cors>,
    /// What is published, the gateway's own services last.
    pub apis: Vec<Arc<Api>>,
    /// The descriptors of each module, by its name.
    pub modules: Modules,
    /// What it was compiled from.
    pub config: Option<Arc<Config>>,
    /// The parts of each API of the configuration, in their order.
    units: Vec<Versions>,
    /// The gateway's own services.
    own: Vec<Arc<Unit>>,
    /// Names of the APIs that meet others, or themselves, on some path.
    contested: Arc<HashSet<Arc<str>>>,
    /// What else it was compiled from.
    basis: Option<Arc<Basis>>,
}

/// What is published, by where it is. A copy costs little.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// Methods by path and host.
    pub routes: Table<Arc<MethodPlan>>,
    /// REST paths: the rules of the methods, and what is served as it is.
    pub rest: RestTable<RestTarget>,
}

/// The versions of one API.
#[derive(Debug, Clone, Default)]
struct Versions {
    /// Of the label that it serves; none where that has no version yet.
    served: Option<Arc<Unit>>,
    /// Of the labels that calls may ask for.
    others: Vec<Arc<Unit>>,
}

impl Snapshot {
    /// Nothing is published yet.
    pub fn empty() -> Self {
        Self {
            generation: 0,
            served: Tables::default(),
            labelled: HashMap::new(),
            label_headers: Arc::new([]),
            cors: None,
            apis: Vec::new(),
            modules: Modules::new(),
            config: None,
            units: Vec::new(),
            own: Vec::new(),
            contested: Arc::default(),
            basis: None,
        }
    }

    /// The APIs published on a host.
    pub fn on<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Arc<Api>> {
        self.apis.iter().filter(move |api| api.hosts.iter().any(|pattern| pattern.matches(host)))
    }
}

/// One version of an API, as the calls see it. A call holds it, not the snapshot.
#[derive(Debug)]
pub struct Api {
    /// Its name; empty for the gateway's own services.
    pub name: Arc<str>,
    /// The name of its module; empty for the gateway's own services.
    pub module: Arc<str>,
    /// The label whose version it is.
    pub label: Arc<str>,
    /// The header by which a call asks for another label.
    pub label_header: Option<HeaderName>,
    /// Where it answers.
    pub hosts: Vec<HostPattern>,
    /// What clients may speak.
    pub dialects: Vec<Dialect>,
    /// Full names of its services.
    pub services: Vec<Arc<str>>,
    /// What declares them.
    pub schema: Schema,
    /// Where its calls go; `None` for the gateway's own services.
    pub upstream: Option<Upstream>,
    /// The version that reads its messages beside the serving one.
    pub shadow: Option<Arc<Shadow>>,
}

/// Everything that a call of one method needs, found by one look-up.
#[derive(Debug)]
pub struct MethodPlan {
    /// What is called.
    pub method: Arc<Method>,
    /// Who publishes it.
    pub api: Arc<Api>,
    /// The effective policies, in their order.
    pub policies: Arc<[Arc<dyn Policy>]>,
    /// What they must see.
    pub needs: Needs,
    /// How its messages are read in the shadow too. It needs nothing of the call: it sees copies of what passes.
    pub shadow: Option<Arc<Watched>>,
    /// What they say about web pages.
    pub cors: Option<Cors>,
    /// Its counts.
    pub series: Arc<Series>,
    /// Where its calls go.
    pub upstream: Upstream,
    /// How its messages are read and written; `None` for what the gateway runs itself.
    pub messages: Option<Arc<Messages>>,
    /// How JSON is served on the method's own path, where its API speaks REST.
    pub json: Option<Arc<Endpoint>>,
}

/// What a REST path leads to.
#[derive(Debug, Clone)]
pub enum RestTarget {
    /// A rule of a method.
    Rule(RestRoute),
    /// What is served as it is, for GET.
    Document(Arc<Document>),
}

impl RestTarget {
    /// The rule, if it is one.
    pub fn rule(&self) -> Option<&RestRoute> {
        match self {
            Self::Rule(route) => Some(route),
            Self::Document(_) => None,
        }
    }
}

/// A rule of a method, as it is served.
#[derive(Debug, Clone)]
pub struct RestRoute {
    /// The method.
    pub plan: Arc<MethodPlan>,
    /// The rule of this path.
    pub endpoint: Arc<Endpoint>,
    /// The rule as it was written.
    pub rule: Arc<Rule>,
}

/// What is served as it is: the OpenAPI document of an API, or a page of the embedding program.
#[derive(Debug, Clone)]
pub struct Document {
    /// The name of the API; empty where there is none.
    pub api: Arc<str>,
    /// Where it is served, as it was written.
    pub path: Box<str>,
    /// On which hosts.
    pub hosts: Vec<HostPattern>,
    /// Where the path was written, for messages.
    pub at: At,
    /// Its text.
    pub text: Bytes,
    /// `Content-Type`, and what else is said with it.
    pub headers: HeaderMap,
    /// What web pages may do with it.
    pub cors: Option<Cors>,
}

/// Descriptors of modules by name.
pub type Modules = HashMap<String, Labels>;

#[cfg(test)]
pub(crate) use shadow::tests::losing;

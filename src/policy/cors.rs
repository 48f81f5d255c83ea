//! `cors`: which web pages may call, what they may send, and what of an answer they may read.
//!
//! It checks no call. A browser asks by a preflight, or looks at the answer's headers; the gateway writes both,
//! whatever the answer is, by the [`Cors`] of the method. A page of another origin than those listed gets no
//! such header, and its call is served like any other: whoever is no browser could make it as well.

use std::collections::HashSet;
use std::sync::Arc;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

use crate::call::Call;
use crate::config::fault::Diag;
use crate::config::raw::Raw;
use crate::policy::Check;
use crate::policy::Enforced;
use crate::policy::Kind;
use crate::policy::Policy;

/// The slot `cors`.
pub(super) struct Slot;

impl Kind for Slot {
    fn slot(&self) -> &'static str {
        SLOT
    }

    fn compile(&self, raw: &Raw, _: &mut Diag) -> Option<Arc<dyn Policy>> {
        Some(Arc::new(Cors::new(raw)))
    }

    fn unset_in_words(&self) -> &'static str {
        "off"
    }

    fn enforced(&self) -> Enforced {
        Enforced::Instead
    }
}

/// What web pages may do with the methods of one slot. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cors(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    origins: Origins,
    cookies: Cookies,
    /// HTTP methods that are allowed besides those of the routes.
    methods: Vec<String>,
    /// `Access-Control-Allow-Headers`.
    headers: HeaderValue,
    /// `Access-Control-Expose-Headers`.
    exposed: HeaderValue,
    /// `Access-Control-Max-Age`.
    max_age: HeaderValue,
}

#[derive(Debug)]
enum Origins {
    Any,
    Listed { exact: HashSet<String>, suffixes: Vec<Suffix> },
}

/// `https://*.example.com:8443`, around its star.
#[derive(Debug)]
struct Suffix {
    /// `https://`.
    before: String,
    /// `.example.com:8443`.
    after: String,
}

/// Whether a page's calls carry cookies and other credentials of the browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cookies {
    Omitted,
    Included,
}

impl Cors {
    fn new(raw: &Raw) -> Self {
        let texts = |key: &str| {
            let items = raw.get(key).map(Raw::items).unwrap_or_default();
            items.iter().filter_map(Raw::text).map(str::to_owned).collect::<Vec<_>>()
        };
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (mut headers, mut exposed) = (own(HEADERS), own(EXPOSED));
        headers.extend(texts("headers"));
        for name in texts("expose") {
            // Unary calls of Connect have their trailing metadata under this name.
            let trailing = (!name.starts_with(TRAILING)).then(|| format!("{TRAILING}{name}"));
            exposed.push(name);
            exposed.extend(trailing);
        }
        let is_included = raw.get("credentials").and_then(Raw::boolean).unwrap_or_default();
        let max_age = raw.get("max_age").and_then(Raw::duration).unwrap_or_default();
        Self(Arc::new(Rules {
            origins: Origins::new(&texts("origins")),
            cookies: if is_included { Cookies::Included } else { Cookies::Omitted },
            methods: texts("methods"),
            headers: list(headers),
            exposed: list(exposed),
            max_age: HeaderValue::from(max_age.as_secs()),
        }))
    }

    /// Whether pages of this origin may call.
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        match &self.0.origins {
            Origins::Any => true,
            Origins::Listed { exact, suffixes } => origin.to_str().is_ok_and(|origin| {
                exact.contains(origin) || suffixes.iter().any(|suffix| suffix.matches(origin))
            }),
        }
    }

    /// Writes what a page of this origin, which is allowed, may read of an answer.
    pub fn expose(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        self.open(origin, headers);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, self.0.exposed.clone());
    }

    /// Writes what a page of this origin, which is allowed, may send. `methods` are those that the path serves.
    pub fn permit(&self, origin: &HeaderValue, methods: Vec<String>, headers: &mut HeaderMap) {
        self.open(origin, headers);
        let methods: Vec<String> = methods.into_iter().chain(self.0.methods.iter().cloned()).collect();
        if !methods.is_empty() {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, list(methods));
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, self.0.headers.clone());
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.0.max_age.clone());
    }

    /// Whether both are of the same slot of the configuration.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn open(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        //= https://fetch.spec.whatwg.org/#http-access-control-allow-origin
        //# Indicates whether the response can be shared, via returning the literal value of the `Origin` request
        //# header (which can be `null`) or `*` in a response.
        let shared = match (&self.0.origins, self.0.cookies) {
            (Origins::Any, Cookies::Omitted) => HeaderValue::from_static("*"),
            _ => origin.clone(),
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, shared);
        if self.0.cookies == Cookies::Included {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

impl Policy for Cors {
    fn slot(&self) -> &'static str {
        SLOT
    }

    fn check(&self, _: &mut Call) -> Check {
        Check::Pass
    }

    fn cors(&self) -> Option<Cors> {
        Some(self.clone())
    }
}

impl Origins {
    /// Browsers write origins in lower case, so these are compared as they are.
    fn new(texts: &[String]) -> Self {
        let (mut exact, mut suffixes) = (HashSet::new(), Vec::new());
        for text in texts {
            let text = text.to_ascii_lowercase();
            match text.split_once('*') {
                Some(("", "")) => return Self::Any,
                Some((before, after)) => {
                    suffixes.push(Suffix { before: before.to_owned(), after: after.to_owned() });
                }
                None => {
                    exact.insert(text);
                }
            }
        }
        Self::Listed { exact, suffixes }
    }
}

impl Suffix {
    /// The star is one label or more. Nothing else may stand for it: no user, no port, no path.
    fn matches(&self, origin: &str) -> bool {
        let labels = origin.strip_prefix(&*self.before).and_then(|rest| rest.strip_suffix(&*self.after));
        let is_label = |label: &str| {
            let is_of_host =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
            !label.is_empty() && label.bytes().all(is_of_host)
        };
        labels.is_some_and(|labels| labels.split('.').all(is_label))
    }
}

/// A list of tokens, each once, in their order.
fn list(mut tokens: Vec<String>) -> HeaderValue {
    let mut seen = HashSet::new();
    tokens.retain(|token| seen.insert(token.clone()));
    // The configuration has none but tokens.
    HeaderValue::from_str(&tokens.join(", ")).unwrap_or(HeaderValue::from_static(""))
}

/// The headers of a preflight that its answer depends on.
pub const ASKED: [HeaderName; 4] = [
    header::ORIGIN,
    header::ACCESS_CONTROL_REQUEST_METHOD,
    header::ACCESS_CONTROL_REQUEST_HEADERS,
    REQUEST_PRIVATE_NETWORK,
];
/// A page of a public network asks for a server of a private one.
pub const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
/// It may.
pub const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

const SLOT: &str = "cors";
const TRAILING: &str = "trailer-";
/// Request headers that the dialects need.
const HEADERS: &[&str] = &[
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
];
/// Without these a page sees neither the status of a call nor how to wait.
const EXPOSED: &[&str] = &[
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::Cookies;
    use super::Cors;
    use super::Origins;
    use super::Rules;
    use super::list;

    fn cors(origins: &[&str]) -> Cors {
        let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
        let empty = HeaderValue::from_static("");
        Cors(std::sync::Arc::new(Rules {
            origins: Origins::new(&origins),
            cookies: Cookies::Omitted,
            methods: Vec::new(),
            headers: empty.clone(),
            exposed: empty.clone(),
            max_age: empty,
        }))
    }

    #[test]
    fn origins_are_exact_or_end_in_a_suffix() {
        let some =
            &["https://App.example.com", "http://localhost:3000", "https://*.pages.example", "null"][..];
        let ported = &["https://*.example.com:8443", "app://*.local"][..];
        let table = [
            (some, "https://app.example.com", true),
            (some, "http://app.example.com", false),
            (some, "https://app.example.com:444", false),
            (some, "https://app.example.com/", false),
            (some, "https://app.example.com.evil.example", false),
            (some, "https://evil-app.example.com", false),
            (some, "https://APP.example.com", false),
            (some, "http://localhost:3000", true),
            (some, "http://localhost", false),
            (some, "https://a.pages.example", true),
            (some, "https://a.b.pages.example", true),
            (some, "https://pages.example", false),
            (some, "https://.pages.example", false),
            (some, "https://a..pages.example", false),
            (some, "https://evil.example/.pages.example", false),
            (some, "https://evil.example#.pages.example", false),
            (some, "https://evil.example:1.pages.example", false),
            (some, "https://u@a.pages.example", false),
            (some, "https://a.pages.example:8443", false),
            (some, "http://a.pages.example", false),
            (some, "https://*.pages.example", false),
            (some, "null", true),
            (some, "", false),
            (ported, "https://a.example.com:8443", true),
            (ported, "https://a.example.com", false),
            (ported, "app://x.local", true),
            (ported, "null", false),
            (&["*"], "https://anything.example", true),
            (&["*"], "null", true),
            (&["https://a.example", "*"], "https://b.example", true),
        ];
        for (origins, origin, want) in table {
            let origin = HeaderValue::from_str(origin).unwrap();
            assert_eq!(cors(origins).allows(&origin), want, "{origin:?} of {origins:?}");
        }
        let odd = HeaderValue::from_bytes(b"https://\xff.pages.example").unwrap();
        assert!(!cors(some).allows(&odd));
    }

    #[test]
    fn lists_name_nothing_twice() {
        let tokens = ["a", "b", "a", "c", "b"].map(str::to_owned);
        assert_eq!(list(tokens.into()), "a, b, c");
    }
}

//! The services that the gateway serves itself: reflection and health of what is published.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::Request;
use http::Response;
use http::Uri;
use http::header;
use http::uri::PathAndQuery;
use tonic::body::Body;

use crate::schema::Limits;
use crate::schema::Schema;
use crate::schema::compile;

mod health;
mod reflection;
mod visible;

pub use health::health;
pub use reflection::reflection;

/// What is published, asked anew for each call, since it changes while streams run.
///
/// A host is what the client sent as `:authority` or `host`, with its port and in its case; it is empty
/// where the client sent none.
pub trait View: Send + Sync + 'static {
    /// Services published on `host`: the descriptors that declare each, and its full name. Sorted by name,
    /// the gateway's own included.
    fn published(&self, host: &str) -> Vec<(Schema, Arc<str>)>;

    /// Whether a service published on `host` can be reached; `None` where it isn't published. An empty name
    /// asks for the gateway itself.
    fn serving(&self, host: &str, service: &str) -> Option<bool>;

    /// Waits until the answers may have changed (a new snapshot, an endpoint's state) since this was called,
    /// not since the future was first polled. Cancel-safe. It may be ready for no reason, but not always:
    /// whoever watches asks again at once.
    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The reply of a service of the gateway's own.
pub type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Answers calls that never leave the gateway.
pub trait Answer: Send + Sync {
    /// Answers one call. Its URI has the path of the method, and the host that the client asked for; without
    /// the latter, the `host` header counts.
    fn call(&self, request: Request<Body>) -> Answering;
}

/// One service that the gateway serves itself.
#[derive(Clone)]
pub struct Own {
    /// Full name, such as `grpc.health.v1.Health`.
    pub service: Arc<str>,
    /// The descriptors that declare it.
    pub schema: Schema,
    /// Answers its calls.
    pub run: Arc<dyn Answer>,
}

impl Own {
    /// The descriptors are those that a library carries.
    fn new(service: &str, descriptor_set: &'static [u8], run: impl Answer + 'static) -> Self {
        let schema = compile::descriptor_set(&Bytes::from_static(descriptor_set), &[], &Limits::default())
            .expect("these bytes are constant, and the tests of this file compile each of them");
        Self { service: service.into(), schema, run: Arc::new(run) }
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own")
            .field("service", &self.service)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

/// The host that a client asked for, among the extensions of its request: tonic keeps those, but not the
/// URI.
#[derive(Debug, Clone)]
struct Host(Arc<str>);

impl Host {
    fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let header = || headers.get(header::HOST).and_then(|host| host.to_str().ok());
        Self(uri.authority().map(|authority| authority.as_str()).or_else(header).unwrap_or_default().into())
    }

    fn among(extensions: &http::Extensions) -> Arc<str> {
        extensions.get::<Self>().map(|host| host.0.clone()).unwrap_or_default()
    }
}

/// A tonic service that is told the host.
struct Hosted<S> {
    inner: S,
    alias: Option<Alias>,
}

/// A path that is served as another one.
#[derive(Debug, Clone, Copy)]
struct Alias {
    path: &'static str,
    served_as: &'static str,
}

impl Alias {
    fn apply(self, uri: &mut Uri) {
        if uri.path() != self.path {
            return;
        }
        let mut parts = mem::take(uri).into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static(self.served_as));
        *uri = Uri::from_parts(parts).unwrap_or_else(|_| Uri::from_static(self.served_as));
    }
}

impl<S, F> Answer for Hosted<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = F>
        + Clone
        + Send
        + Sync,
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    fn call(&self, mut request: Request<Body>) -> Answering {
        let host = Host::of(request.uri(), request.headers());
        request.extensions_mut().insert(host);
        if let Some(alias) = self.alias {
            alias.apply(request.uri_mut());
        }
        // Generated services are always ready.
        let reply = self.inner.clone().call(request);
        Box::pin(async move {
            match reply.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    }
}

/// What a stranger sent, as a message may repeat it.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect()
}

const SHOWN_CHARS_MAX: usize = 200;

#[cfg(test)]
mod fake;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::fake::Fake;

    #[test]
    fn each_service_brings_the_descriptors_that_declare_it() {
        let view = Arc::new(Fake::default());
        let own: Vec<Own> = reflection(view.clone()).into_iter().chain(health(view)).collect();
        let names: Vec<&str> = own.iter().map(|own| &*own.service).collect();
        let want = [
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            "grpc.health.v1.Health",
        ];
        assert_eq!(names, want);
        for own in own {
            assert!(own.schema.service(&own.service).is_some(), "{own:?}");
        }
    }

    #[test]
    fn the_host_is_the_authority_or_else_the_header() {
        let mut headers = HeaderMap::new();
        let host = |uri: &str, headers: &HeaderMap| Host::of(&uri.parse().unwrap(), headers).0;
        assert_eq!(&*host("/a.B/C", &headers), "");
        headers.insert(header::HOST, "header.example:1".parse().unwrap());
        assert_eq!(&*host("/a.B/C", &headers), "header.example:1");
        assert_eq!(&*host("http://uri.example:2/a.B/C", &headers), "uri.example:2");
    }

    #[test]
    fn an_alias_keeps_the_host_and_leaves_other_paths_alone() {
        let alias = Alias { path: "/a.B/C", served_as: "/d.E/F" };
        for (from, to) in [
            ("/a.B/C", "/d.E/F"),
            ("https://x:1/a.B/C", "https://x:1/d.E/F"),
            ("/a.B/C?q", "/d.E/F"),
            ("/a.B/Cc", "/a.B/Cc"),
        ] {
            let mut uri: Uri = from.parse().unwrap();
            alias.apply(&mut uri);
            assert_eq!(uri.to_string(), to);
        }
    }

    #[test]
    fn what_is_repeated_is_short_and_printable() {
        assert_eq!(shown("a\n\u{7}"), "a\\n\\u{7}");
        assert_eq!(shown(&"x".repeat(9000)).len(), SHOWN_CHARS_MAX);
    }
}

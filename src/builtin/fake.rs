//! A view that tests set, and clients that reach a service without a socket.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::Request;
use http::Response;
use http::Uri;
use tokio::sync::watch;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;

use crate::builtin::Own;
use crate::builtin::View;
use crate::schema::Limits;
use crate::schema::Schema;
use crate::schema::compile;

/// Services by host: their descriptors, name, and whether they can be reached.
pub(super) type Hosts = HashMap<String, Vec<(Schema, Arc<str>, bool)>>;

/// A view that tests set.
#[derive(Debug, Default)]
pub(super) struct Fake {
    pub(super) hosts: watch::Sender<Hosts>,
}

impl Fake {
    /// Publishes a service, or sets whether it can be reached.
    pub(super) fn publish(&self, host: &str, schema: &Schema, service: &str, serving: bool) {
        self.hosts.send_modify(|hosts| {
            let services = hosts.entry(host.to_owned()).or_default();
            services.retain(|(_, name, _)| &**name != service);
            services.push((schema.clone(), service.into(), serving));
            services.sort_by(|a, b| a.1.cmp(&b.1));
        });
    }
}

impl View for Fake {
    fn published(&self, host: &str) -> Vec<(Schema, Arc<str>)> {
        let hosts = self.hosts.borrow();
        let services = hosts.get(host).into_iter().flatten();
        services.map(|(schema, name, _)| (schema.clone(), name.clone())).collect()
    }

    fn serving(&self, host: &str, service: &str) -> Option<bool> {
        let hosts = self.hosts.borrow();
        hosts.get(host)?.iter().find(|(_, name, _)| &**name == service).map(|(.., serving)| *serving)
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut hosts = self.hosts.subscribe();
        Box::pin(async move { hosts.changed().await.expect("the test holds the view") })
    }
}

/// What a generated client calls.
pub(super) type Channel = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Reaches `service`.
pub(super) fn channel(own: &[Own], service: &str) -> Channel {
    let run = own.iter().find(|own| &*own.service == service).expect("it is there").run.clone();
    BoxCloneSyncService::new(tower::service_fn(move |request| {
        let reply = run.call(request);
        async move { Ok(reply.await) }
    }))
}

/// The origin that makes a client ask for `host`.
pub(super) fn origin(host: &str) -> Uri {
    format!("http://{host}").parse().expect("a test names a host")
}

/// Compiles texts, each with its name.
pub(super) fn schema(files: &[(&str, &str)]) -> Schema {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
    compile::protos(files, &[], &Limits::default()).expect("a test's files compile")
}

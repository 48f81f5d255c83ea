//! Shows the gateway's own services what is published.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;
use std::time::Instant;

use http::Request;
use tokio::sync::watch;
use tonic::body::Body;

use crate::builtin;
use crate::builtin::Answer;
use crate::builtin::View;
use crate::schema::Schema;
use crate::snapshot::Current;
use crate::snapshot::OwnService;
use crate::upstream::InProcess;
use crate::upstream::Upstream;
use crate::upstream::in_process::Replying;

/// What the current snapshot publishes. It doesn't keep the snapshot, which holds it.
pub(super) struct Served {
    current: Weak<Current>,
    generations: Weak<watch::Sender<u64>>,
}

impl Served {
    pub(super) fn new(current: &Arc<Current>, generations: &Arc<watch::Sender<u64>>) -> Self {
        Self { current: Arc::downgrade(current), generations: Arc::downgrade(generations) }
    }
}

impl View for Served {
    fn published(&self, host: &str) -> Vec<(Schema, Arc<str>)> {
        let Some(current) = self.current.upgrade() else { return Vec::new() };
        let snapshot = current.load();
        let mut all: Vec<(Schema, Arc<str>)> = Vec::new();
        for api in snapshot.on(host) {
            for service in &api.services {
                // The most specific API is what a call would reach; the descriptors of one
                // service are the same in all but a canary.
                if !all.iter().any(|(_, there)| there == service) {
                    all.push((api.schema.clone(), service.clone()));
                }
            }
        }
        all.sort_by(|(_, a), (_, b)| a.cmp(b));
        all
    }

    fn serving(&self, host: &str, service: &str) -> Option<bool> {
        let current = self.current.upgrade()?;
        let snapshot = current.load();
        if service.is_empty() {
            return Some(true);
        }
        let api = snapshot.on(host).find(|api| api.services.iter().any(|known| &**known == service))?;
        Some(match &api.upstream {
            Some(Upstream::Network(spec)) => spec.is_usable(now()),
            Some(Upstream::InProcess(_)) | None => true,
        })
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let receiver = self.generations.upgrade().map(|generations| generations.subscribe());
        Box::pin(async move {
            let Some(mut receiver) = receiver else { return std::future::pending().await };
            // Endpoints come and go without a snapshot; they are looked at now and then.
            let _ = tokio::time::timeout(LOOK_EVERY, receiver.changed()).await;
        })
    }
}

/// One of the gateway's own services as an upstream.
pub(super) fn own_service(own: builtin::Own) -> OwnService {
    OwnService { service: own.service, schema: own.schema, run: Arc::new(Within(own.run)) }
}

struct Within(Arc<dyn Answer>);

impl InProcess for Within {
    fn call(&self, request: Request<Body>) -> Replying {
        self.0.call(request)
    }
}

#[expect(clippy::disallowed_methods, reason = "health is asked for this moment")]
fn now() -> Instant {
    Instant::now()
}

/// How often a watcher of health looks at the endpoints.
const LOOK_EVERY: Duration = Duration::from_secs(2);

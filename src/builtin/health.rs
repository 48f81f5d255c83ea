//! Health checking: whether what is published on a host can be reached.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic_health::pb::FILE_DESCRIPTOR_SET;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::HealthCheckResponse;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server;
use tonic_health::pb::health_server::HealthServer;

use crate::builtin::Host;
use crate::builtin::Hosted;
use crate::builtin::Own;
use crate::builtin::View;
use crate::builtin::shown;

/// `grpc.health.v1.Health`.
///
/// # Panics
/// If the system starts no thread; so call it at the start, and once.
pub fn health(view: Arc<dyn View>) -> Vec<Own> {
    let inner = HealthServer::new(Health { view }).max_decoding_message_size(REQUEST_BYTES_MAX);
    vec![Own::new(health_server::SERVICE_NAME, FILE_DESCRIPTOR_SET, Hosted { inner, alias: None })]
}

struct Health {
    view: Arc<dyn View>,
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let asked = Asked::new(&self.view, request);
        let Some(status) = asked.status() else {
            let service = shown(&asked.service);
            return Err(Status::not_found(format!("service \"{service}\" is not published on this host")));
        };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watch = Watch { asked: Asked::new(&self.view, request), told: None };
        let states = stream::unfold(watch, |mut watch| async move {
            let status = watch.next().await;
            Some((Ok(HealthCheckResponse { status: status.into() }), watch))
        });
        Ok(Response::new(Box::pin(states)))
    }
}

/// What one client asks for.
struct Asked {
    view: Arc<dyn View>,
    host: Arc<str>,
    service: String,
}

impl Asked {
    fn new(view: &Arc<dyn View>, request: Request<HealthCheckRequest>) -> Self {
        let host = Host::among(request.extensions());
        Self { view: view.clone(), host, service: request.into_inner().service }
    }

    /// `None` where there is no such service.
    fn status(&self) -> Option<ServingStatus> {
        match self.view.serving(&self.host, &self.service) {
            Some(true) => Some(ServingStatus::Serving),
            Some(false) => Some(ServingStatus::NotServing),
            // The gateway answers here and now, so it is known.
            None => self.service.is_empty().then_some(ServingStatus::Serving),
        }
    }
}

/// One client that wants to hear of changes.
struct Watch {
    asked: Asked,
    told: Option<ServingStatus>,
}

impl Watch {
    /// The state now, if it isn't the one told last, or else the next that differs. A slow client misses what
    /// lies between.
    async fn next(&mut self) -> ServingStatus {
        loop {
            // Before the state is read, so that no change falls between the two.
            let changed = self.asked.view.changed();
            let status = self.asked.status().unwrap_or(ServingStatus::ServiceUnknown);
            if self.told.replace(status) != Some(status) {
                return status;
            }
            changed.await;
        }
    }
}

/// A request holds one name.
const REQUEST_BYTES_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tonic::Code;
    use tonic::Streaming;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;
    use crate::builtin::fake;
    use crate::builtin::fake::Fake;
    use crate::schema::Schema;

    const PETS: &str = "pets.v1.PetStore";

    fn schema() -> Schema {
        let text = r#"syntax = "proto3"; package pets.v1; message Pet {} service PetStore {}"#;
        fake::schema(&[("pets.proto", text)])
    }

    fn client(view: &Arc<Fake>, host: &str) -> HealthClient<fake::Channel> {
        let own = health(view.clone());
        HealthClient::with_origin(fake::channel(&own, health_server::SERVICE_NAME), fake::origin(host))
    }

    fn asked(service: &str) -> HealthCheckRequest {
        HealthCheckRequest { service: service.into() }
    }

    async fn check(view: &Arc<Fake>, host: &str, service: &str) -> Result<ServingStatus, Code> {
        let reply = client(view, host).check(asked(service)).await;
        reply.map(|reply| reply.get_ref().status()).map_err(|status| status.code())
    }

    async fn next(states: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
        states.message().await.unwrap().unwrap().status()
    }

    #[tokio::test]
    async fn a_check_answers_for_the_host_that_is_asked() {
        let view = Arc::new(Fake::default());
        view.publish("a.example", &schema(), PETS, true);
        view.publish("b.example", &schema(), PETS, false);
        view.publish("b.example", &schema(), "", false);
        for (host, service, want) in [
            ("a.example", PETS, Ok(ServingStatus::Serving)),
            ("a.example", "", Ok(ServingStatus::Serving)),
            ("a.example", "pets.v1", Err(Code::NotFound)),
            ("b.example", PETS, Ok(ServingStatus::NotServing)),
            ("b.example", "", Ok(ServingStatus::NotServing)),
            ("c.example", PETS, Err(Code::NotFound)),
            ("c.example", "", Ok(ServingStatus::Serving)),
        ] {
            assert_eq!(check(&view, host, service).await, want, "{host} {service}");
        }
        assert_eq!(check(&view, "a.example", &"x".repeat(REQUEST_BYTES_MAX)).await, Err(Code::OutOfRange));
    }

    #[tokio::test]
    async fn a_watch_tells_the_state_and_each_change_of_it() {
        let view = Arc::new(Fake::default());
        let mut states = client(&view, "a.example").watch(asked(PETS)).await.unwrap().into_inner();
        assert_eq!(next(&mut states).await, ServingStatus::ServiceUnknown);
        for (serving, want) in [(true, ServingStatus::Serving), (false, ServingStatus::NotServing)] {
            assert!(states.message().now_or_never().is_none());
            view.publish("a.example", &schema(), PETS, serving);
            assert_eq!(next(&mut states).await, want);
        }
        // Changes elsewhere, and one that is taken back before the client reads, are none.
        view.publish("b.example", &schema(), PETS, true);
        assert!(states.message().now_or_never().is_none());
        view.publish("a.example", &schema(), PETS, true);
        view.publish("a.example", &schema(), PETS, false);
        assert!(states.message().now_or_never().is_none());
        view.hosts.send_modify(std::collections::HashMap::clear);
        assert_eq!(next(&mut states).await, ServingStatus::ServiceUnknown);
    }

    #[tokio::test]
    async fn a_watch_of_the_gateway_begins_with_serving() {
        let view = Arc::new(Fake::default());
        let mut states = client(&view, "a.example").watch(asked("")).await.unwrap().into_inner();
        assert_eq!(next(&mut states).await, ServingStatus::Serving);
        assert!(states.message().now_or_never().is_none());
    }
}

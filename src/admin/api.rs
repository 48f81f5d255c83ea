//! The Admin API behind a gateway of its own: the services in the process, and the configuration that publishes them.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

use crate::admin::FILE_DESCRIPTOR_SET;
use crate::admin::access;
use crate::admin::configuration;
use crate::admin::desk::Desk;
use crate::admin::modules;
use crate::admin::pb::configuration_server::ConfigurationServer;
use crate::admin::pb::modules_server::ModulesServer;
use crate::admin::pb::resources_server::ResourcesServer;
use crate::admin::pb::status_server::StatusServer;
use crate::admin::plane::Plane;
use crate::admin::resources;
use crate::admin::status;
use crate::config;
use crate::config::Config;
use crate::config::Report;
use crate::schema::Fault;
use crate::schema::Limits;
use crate::schema::Schema;
use crate::schema::compile;
use crate::upstream::InProcess;
use crate::upstream::in_process::Replying;

/// The module, the API and the upstream of the Admin API in its own configuration.
pub const NAME: &str = "admin";

/// What the Admin API's own gateway serves: `max_upload` bounds a message, in bytes.
///
/// # Errors
/// A fault of ours: the tests parse it.
pub fn own_configuration(max_upload: u64) -> Result<Config, Report> {
    // What the slot takes at most.
    let max_upload = max_upload.min(u64::from(u32::MAX));
    let text = format!(
        "listeners: [{{ name: {NAME}, address: \"127.0.0.1:0\" }}]\n\
         modules: [{{ name: {NAME} }}]\n\
         upstreams: [{{ name: {NAME}, endpoints: [{{ address: \"127.0.0.1:1\" }}] }}]\n\
         apis: [{{ name: {NAME}, module: {NAME}, upstream: {NAME}, openapi: {{ path: /admin/v1/openapi.json }} }}]\n\
         policies: {{ validate: {{ max_message: {max_upload}B }}, timeout: {{ default: 120s }} }}\n"
    );
    config::parse(&text, Path::new("transom admin"), &|_| None)
}

/// The descriptors of the Admin API.
///
/// # Errors
/// A fault of ours: the tests compile them.
pub fn own_schema() -> Result<Schema, Vec<Fault>> {
    compile::descriptor_set(&Bytes::from_static(FILE_DESCRIPTOR_SET), &[], &Limits::default())
}

/// The services of the Admin API, for one process.
#[derive(Clone)]
pub struct Api(Routes);

impl Api {
    /// Serves `plane` to those whom the gate let in.
    pub fn new(plane: Arc<dyn Plane>, access: Arc<access::Current>) -> Self {
        let desk = Desk::new(plane, access);
        // The gateway in front bounds messages; these bounds are only not to be in its way.
        let modules = ModulesServer::new(modules::Service(desk.clone()))
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        let resources =
            ResourcesServer::new(resources::Service(desk.clone())).max_decoding_message_size(usize::MAX);
        let configuration = ConfigurationServer::new(configuration::Service(desk.clone()))
            .max_decoding_message_size(usize::MAX);
        let routes = Routes::new(modules)
            .add_service(resources)
            .add_service(configuration)
            .add_service(StatusServer::new(status::Service(desk)));
        Self(routes.prepare())
    }
}

impl InProcess for Api {
    fn call(&self, request: Request<Body>) -> Replying {
        let routes = self.0.clone();
        Box::pin(async move {
            let answered: Result<_, Infallible> = routes.oneshot(request).await;
            answered.unwrap_or_else(|never| match never {})
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_serves_is_sound() {
        let config = own_configuration(64 << 20).expect("it is parsed");
        assert_eq!(config.apis.len(), 1);
        let schema = own_schema().expect("it is compiled");
        let names: Vec<_> = schema.services().iter().map(|service| &*service.name).collect();
        for service in ["Configuration", "Modules", "Resources", "Status"] {
            assert!(names.contains(&&*format!("transom.admin.v1.{service}")), "{names:?}");
        }
    }
}

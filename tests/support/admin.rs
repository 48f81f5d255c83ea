//! An Admin API that records what it is asked and answers what a test told it to, and the program that asks it.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::collections::VecDeque;
use std::future::Future;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use prost::Message;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use transom::admin::HttpBody;
use transom::admin::pb;
use transom::admin::pb::configuration_server::Configuration;
use transom::admin::pb::configuration_server::ConfigurationServer;
use transom::admin::pb::modules_server::Modules;
use transom::admin::pb::modules_server::ModulesServer;
use transom::admin::pb::resources_server::Resources;
use transom::admin::pb::resources_server::ResourcesServer;
use transom::admin::pb::status_server::StatusServer;

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program without what the environment of the tests may say.
pub(crate) fn program() -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_transom"));
    for name in ["RUST_LOG", "TRANSOM_ADMIN", "TRANSOM_ADMIN_TOKEN", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.timeout(PATIENCE);
    command
}

pub(crate) fn ended(command: &mut assert_cmd::Command) -> Ended {
    let output = command.output().expect("the program starts");
    Ended {
        code: output.status.code().expect("the program ends by itself"),
        stdout: String::from_utf8(output.stdout).expect("it writes UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("it writes UTF-8"),
    }
}

/// What was asked.
#[derive(Debug)]
struct Asked {
    method: &'static str,
    authorization: Option<String>,
    message: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    asked: Vec<Asked>,
    replies: HashMap<&'static str, VecDeque<Result<Vec<u8>, Status>>>,
}

/// The services; a method without a reply never answers.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

impl Fake {
    async fn answer<Q: Message, R: Message + Default>(
        &self,
        method: &'static str,
        request: Request<Q>,
    ) -> Result<Response<R>, Status> {
        let authorization = request.metadata().get("authorization");
        let authorization = authorization.map(|value| value.to_str().expect("ASCII").to_owned());
        let reply = {
            let mut state = self.0.lock().expect("no panic");
            let message = request.into_inner().encode_to_vec();
            state.asked.push(Asked { method, authorization, message });
            state.replies.get_mut(method).and_then(VecDeque::pop_front)
        };
        match reply {
            Some(reply) => {
                Ok(Response::new(R::decode(reply?.as_slice()).expect("the reply is of this method")))
            }
            None => std::future::pending().await,
        }
    }
}

macro_rules! serve {
    ($service:path { $($method:ident($request:ident) -> $reply:ty;)* }) => {
        #[tonic::async_trait]
        impl $service for Fake {
            $(async fn $method(&self, request: Request<pb::$request>) -> Result<Response<$reply>, Status> {
                self.answer(stringify!($method), request).await
            })*
        }
    };
}

serve!(Modules {
    list_modules(ListModulesRequest) -> pb::ListModulesResponse;
    get_module(GetModuleRequest) -> pb::Module;
    list_versions(ListVersionsRequest) -> pb::ListVersionsResponse;
    get_version(GetVersionRequest) -> pb::Version;
    get_descriptor_set(GetVersionRequest) -> HttpBody;
    create_version(CreateVersionRequest) -> pb::CreateVersionResponse;
    diff(DiffRequest) -> pb::DiffResponse;
    promote(PromoteRequest) -> pb::PromoteResponse;
    rollback(RollbackRequest) -> pb::PromoteResponse;
    delete_label(DeleteLabelRequest) -> pb::DeleteLabelResponse;
    list_history(ListHistoryRequest) -> pb::ListHistoryResponse;
    get_shadow(GetShadowRequest) -> pb::GetShadowResponse;
});

serve!(Resources {
    list_resources(ListResourcesRequest) -> pb::ListResourcesResponse;
    get_resource(GetResourceRequest) -> pb::Resource;
    put_resource(PutResourceRequest) -> pb::PutResourceResponse;
    delete_resource(DeleteResourceRequest) -> pb::DeleteResourceResponse;
});

serve!(Configuration {
    get_config(GetConfigRequest) -> pb::GetConfigResponse;
    apply_config(ApplyConfigRequest) -> pb::ApplyConfigResponse;
    validate_config(ApplyConfigRequest) -> pb::ApplyConfigResponse;
});

serve!(pb::status_server::Status {
    get_status(GetStatusRequest) -> pb::GetStatusResponse;
    list_audit(ListAuditRequest) -> pb::ListAuditResponse;
});

/// An address that a test serves, on threads of its own.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Served {
    /// Gives each connection to `serve`.
    pub(crate) fn each<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::listen(|listener| async move {
            let mut tasks = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                tasks.spawn(serve(socket));
            }
        })
    }

    fn listen<F>(serve: impl FnOnce(TcpListener) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("threads are to be had");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        runtime.spawn(serve(listener));
        Self { address, runtime: Some(runtime) }
    }

    /// Runs something on the threads of the server.
    pub(crate) fn enter<T>(&self, what: impl FnOnce() -> T) -> T {
        let _inside = self.runtime.as_ref().expect("it runs").enter();
        what()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A gateway as far as the commands see it.
pub(crate) struct Gateway {
    pub(crate) served: Served,
    fake: Fake,
}

impl Gateway {
    pub(crate) fn start() -> Self {
        let fake = Fake::default();
        let of = fake.clone();
        let served = Served::listen(|listener| async move {
            let server = tonic::transport::Server::builder()
                .add_service(ModulesServer::new(of.clone()))
                .add_service(ResourcesServer::new(of.clone()))
                .add_service(ConfigurationServer::new(of.clone()))
                .add_service(StatusServer::new(of));
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.expect("it serves");
        });
        Self { served, fake }
    }

    /// Answers the next call of a method with this.
    pub(crate) fn reply(&self, method: &'static str, reply: impl Message) -> &Self {
        self.push(method, Ok(reply.encode_to_vec()))
    }

    /// Refuses the next call of a method.
    pub(crate) fn refuse(&self, method: &'static str, status: Status) -> &Self {
        self.push(method, Err(status))
    }

    fn push(&self, method: &'static str, reply: Result<Vec<u8>, Status>) -> &Self {
        self.fake.0.lock().expect("no panic").replies.entry(method).or_default().push_back(reply);
        self
    }

    /// A command that asks this gateway.
    pub(crate) fn command(&self, arguments: &[&str]) -> assert_cmd::Command {
        let mut command = program();
        command.env("TRANSOM_ADMIN", self.served.url()).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        ended(&mut self.command(arguments))
    }

    /// What the gateway was asked first of what wasn't looked at yet.
    pub(crate) fn asked<Q: Message + Default>(&self, method: &str) -> Q {
        self.asked_by(method).0
    }

    /// The same, and as whom.
    pub(crate) fn asked_by<Q: Message + Default>(&self, method: &str) -> (Q, Option<String>) {
        let mut state = self.fake.0.lock().expect("no panic");
        assert!(!state.asked.is_empty(), "nothing was asked");
        let asked = state.asked.remove(0);
        assert_eq!(asked.method, method);
        (Q::decode(asked.message.as_slice()).expect("the request is of this method"), asked.authorization)
    }

    pub(crate) fn was_asked_nothing_else(&self) -> bool {
        self.fake.0.lock().expect("no panic").asked.is_empty()
    }
}

/// Longer than any command takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

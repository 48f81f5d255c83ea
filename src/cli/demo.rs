//! `transom demo`: a sample service inside the process, and the gateway in front of it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::cli::fail;
use crate::cli::serve::Signals;
use crate::config;
use crate::config::At;
use crate::config::host::HostPattern;
use crate::demo;
use crate::demo::hints::hints;
use crate::demo::page;
use crate::schema::Limits;
use crate::schema::compile;
use crate::server::Server;
use crate::server::Setup;
use crate::snapshot::Document;

pub(super) fn run(listen: SocketAddr, admin: SocketAddr) -> ExitCode {
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return fail(&error),
    };
    match start(listen, admin) {
        Ok((server, backend)) => {
            let gateway = server.address(LISTENER).unwrap_or(listen);
            // Whoever read this may be gone already: the demo runs all the same.
            let _ = writeln!(std::io::stdout(), "{}", hints(gateway, server.admin().unwrap_or(admin)));
            let code = signals.until_ended(server);
            backend.stop();
            code
        }
        Err(error) => fail(&error),
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn start(listen: SocketAddr, admin: SocketAddr) -> Result<(Server, Backend), Failed> {
    let backend = Backend::start()?;
    let config =
        config::parse(&configuration(listen, admin, backend.address), Path::new("demo.yaml"), &|_| None)?;
    let set = Bytes::from_static(demo::FILE_DESCRIPTOR_SET);
    let schema = compile::descriptor_set(&set, &[], &Limits::default())
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let modules = [("demo".to_owned(), schema)].into();
    let setup = Setup { modules, documents: documents()?, ..Setup::default() };
    Ok((Server::start(config, setup)?, backend))
}

/// The page, as the gateway serves it.
fn documents() -> Result<Vec<Document>, Failed> {
    let mut documents = Vec::new();
    for file in page::FILES {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
        for (name, value) in page::headers() {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value)?);
        }
        documents.push(Document {
            api: "".into(),
            at: At { path: String::new(), file: Path::new("transom demo").into(), line: 0, column: 0 },
            path: file.path.into(),
            hosts: vec![HostPattern::Any],
            text: Bytes::from_static(file.text.as_bytes()),
            headers,
            cors: None,
        });
    }
    Ok(documents)
}

/// What one would write to publish the sample service. Pages of every origin may call it: it has nothing to hide.
fn configuration(listen: SocketAddr, admin: SocketAddr, backend: SocketAddr) -> String {
    format!(
        "listeners: [{{ name: {LISTENER}, address: \"{listen}\" }}]\n\
         modules: [{{ name: demo }}]\n\
         upstreams: [{{ name: demo, endpoints: [{{ address: \"{backend}\" }}] }}]\n\
         apis: [{{ name: demo, module: demo, services: [transom.demo.v1.Library], upstream: demo, openapi: {{ path: /openapi.json }} }}]\n\
         policies: {{ cors: {{ origins: [\"*\"], expose: [x-library, x-library-trailer] }} }}\n\
         admin: {{ address: \"{admin}\" }}\n"
    )
}

/// The sample service on a thread of its own.
struct Backend {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Backend {
    fn start() -> Result<Self, Failed> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            let until = async {
                // A dropped sender means the same as a message: it is over.
                let _ = stopped.await;
            };
            if let Err(error) = runtime.block_on(demo::serve(listener, until)) {
                tracing::error!(%error, "the sample service has ended");
            }
        };
        let thread = std::thread::Builder::new().name("demo-backend".into()).spawn(serve)?;
        Ok(Self { address, stop, thread })
    }

    fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

const LISTENER: &str = "gateway";

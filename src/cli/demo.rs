//! `transom demo`: a sample service inside the process, and the gateway in front of it.

use std::io::Write as _;
use std::net::IpAddr;
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
use crate::config::types::CertificateSource;
use crate::config::types::Given;
use crate::demo;
use crate::demo::hints::hints;
use crate::demo::page;
use crate::schema::Limits;
use crate::schema::compile;
use crate::server::Server;
use crate::server::Setup;
use crate::server::StartError;
use crate::snapshot::Document;
use crate::snapshot::Labels;

/// Where the demo listens.
pub(super) struct Addresses {
    pub(super) listen: SocketAddr,
    pub(super) listen_tls: SocketAddr,
    pub(super) admin: SocketAddr,
}

pub(super) fn run(asked: &Addresses) -> ExitCode {
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return fail(&error),
    };
    match start(asked) {
        Ok((server, backend)) => {
            let gateway = server.address(LISTENER).unwrap_or(asked.listen);
            let tls = server.address(TLS_LISTENER).unwrap_or(asked.listen_tls);
            let admin = server.admin().unwrap_or(asked.admin);
            // Whoever read this may be gone already: the demo runs all the same.
            let _ = writeln!(std::io::stdout(), "{}", hints(gateway, tls, admin));
            let code = signals.until_ended(server);
            backend.stop();
            code
        }
        Err(error) => fail(&told(&error)),
    }
}

/// Why the demo doesn't start: an address that can't be had is one of a flag, not of a file.
fn told(error: &Failed) -> String {
    let Some(StartError::Config(report)) = error.downcast_ref::<StartError>() else {
        return error.to_string();
    };
    let of_flags = report.faults().iter().map(|fault| {
        let flag = match fault.at.path.as_str() {
            "listeners[0].address" => "--listen",
            "listeners[1].address" => "--listen-tls",
            "admin.address" => "--admin",
            _ => return None,
        };
        Some(format!("{}: choose another address with {flag}", fault.problem))
    });
    let of_flags: Option<Vec<String>> = of_flags.collect();
    of_flags.map_or_else(|| report.to_string(), |faults| faults.join("\n"))
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn start(asked: &Addresses) -> Result<(Server, Backend), Failed> {
    let backend = Backend::start()?;
    let text = configuration(asked, backend.address);
    let mut config = config::parse(&text, Path::new("demo.yaml"), &|_| None).map_err(StartError::Config)?;
    let given = certificate(asked.listen_tls.ip())?;
    for tls in config.listeners.iter_mut().filter_map(|listener| listener.tls.as_mut()) {
        for certificate in &mut tls.certificates {
            certificate.source = CertificateSource::Given(given.clone());
        }
    }
    let set = Bytes::from_static(demo::FILE_DESCRIPTOR_SET);
    let schema = compile::descriptor_set(&set, &[], &Limits::default())
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let modules = [("demo".to_owned(), Labels::live(schema))].into();
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

/// A certificate that signs itself, for this machine and the address that is listened on. It and its key are
/// in memory alone.
fn certificate(address: IpAddr) -> Result<Given, Failed> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !address.is_unspecified() && !address.is_loopback() {
        names.push(address.to_string());
    }
    let mut params = rcgen::CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "transom demo");
    let key = rcgen::KeyPair::generate()?;
    let cert = params.self_signed(&key)?;
    Ok(Given { cert: cert.pem().into(), key: key.serialize_pem().into() })
}

/// What one would write to publish the sample service. Pages of every origin may call it: it has nothing to hide.
/// The certificate is put in place of the files.
fn configuration(asked: &Addresses, backend: SocketAddr) -> String {
    let Addresses { listen, listen_tls, admin } = asked;
    format!(
        "listeners:\n\
         - {{ name: {LISTENER}, address: \"{listen}\" }}\n\
         - {{ name: {TLS_LISTENER}, address: \"{listen_tls}\", tls: {{ certificates: [{{ cert: made, key: made }}] }}, http3: true }}\n\
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
const TLS_LISTENER: &str = "tls";

//! What the tests share: a gateway with a backend behind it, clients, raw HTTP/2, and metrics.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod connect;
pub(crate) mod dialects;
pub(crate) mod dialects_rest;
pub(crate) mod dialects_web;
pub(crate) mod policies;

use std::future::Future;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use h2::RecvStream;
use h2::client::SendRequest;
use h2::server::SendResponse;
use http::Request;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use transom::config;
use transom::config::Config;
use transom::demo;
use transom::demo::pb::library_client::LibraryClient;
use transom::policy::Policy;
use transom::schema::Schema;
use transom::server::Server;
use transom::server::Setup;
use transom::server::Watch;
use transom::snapshot::Labels;

/// The service of the demo backend.
pub(crate) const LIBRARY: &str = "transom.demo.v1.Library";
/// A book that the demo backend has from its start.
pub(crate) const BOOK: &str = "shelves/harbour/books/the-lamp";
/// The longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What differs between the gateways of the tests, as lines of YAML; each part may be empty.
/// Parts of a list's item are flow style (`authority: client, pool: { connections: 1 }`).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Parts<'a> {
    /// Keys of the listener.
    pub(crate) listener: &'a str,
    /// Keys of the upstream besides its name and endpoints.
    pub(crate) upstream: &'a str,
    /// Keys of the API besides its name, module, services and upstream.
    pub(crate) api: &'a str,
    /// Whole sections, one a line.
    pub(crate) top: &'a str,
}

/// A configuration that publishes the demo's service of these backends.
pub(crate) fn yaml(backends: &[SocketAddr], parts: Parts<'_>) -> String {
    let endpoints: Vec<_> = backends.iter().map(|at| format!("{{ address: \"{at}\" }}")).collect();
    yaml_of(&endpoints.join(", "), parts)
}

/// The same with the endpoints written out in flow style.
pub(crate) fn yaml_of(endpoints: &str, parts: Parts<'_>) -> String {
    let Parts { listener, upstream, api, top } = parts;
    let server = if top.contains("server:") { "" } else { "server: { drain_timeout: 1s }\n" };
    let and = |part: &str| if part.is_empty() { String::new() } else { format!(", {part}") };
    format!(
        "listeners: [{{ name: main, address: \"127.0.0.1:0\"{} }}]\n\
         modules: [{{ name: demo }}]\n\
         upstreams: [{{ name: demo, endpoints: [{endpoints}]{} }}]\n\
         apis: [{{ name: demo, module: demo, services: [{LIBRARY}], upstream: demo{} }}]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         {server}{top}\n",
        and(listener),
        and(upstream),
        and(api),
    )
}

/// The configuration of a text.
pub(crate) fn config_of(text: &str) -> Config {
    config::parse(text, Path::new("test.yaml"), &|_| None)
        .unwrap_or_else(|report| panic!("the test's configuration is at fault:\n{report}\n{text}"))
}

/// The descriptors of the demo's service.
pub(crate) fn demo_schema() -> Schema {
    let set = Bytes::from_static(demo::FILE_DESCRIPTOR_SET);
    transom::schema::compile::descriptor_set(&set, &[], &transom::schema::Limits::default())
        .expect("the demo's own descriptors are good")
}

/// A gateway in this process. Dropping it drains it behind the test's back.
pub(crate) struct Gateway {
    server: Option<Server>,
    address: SocketAddr,
}

impl Gateway {
    /// Starts one by a configuration that may name the module `demo` without a source.
    pub(crate) fn start(text: &str) -> Self {
        Self::start_with(text, Vec::new(), Watch::No)
    }

    /// Starts one with policies of the test.
    pub(crate) fn with_policies(text: &str, policies: Vec<Arc<dyn Policy>>) -> Self {
        Self::start_with(text, policies, Watch::No)
    }

    /// Starts one with everything that can be chosen.
    pub(crate) fn start_with(text: &str, policies: Vec<Arc<dyn Policy>>, watch: Watch) -> Self {
        Self::of(config_of(text), policies, watch)
    }

    /// Starts one by a configuration that was read already, from a file for instance.
    pub(crate) fn of(config: Config, policies: Vec<Arc<dyn Policy>>, watch: Watch) -> Self {
        Self::of_setup(config, Setup { policies, watch, ..Setup::default() })
    }

    /// Starts one with all that a program can choose; the module `demo` is added where there is none.
    pub(crate) fn of_setup(config: Config, mut setup: Setup) -> Self {
        let listener = config.listeners[0].name.clone();
        setup.modules.entry("demo".to_owned()).or_insert_with(|| Labels::live(demo_schema()));
        let server =
            Server::start(config, setup).unwrap_or_else(|error| panic!("the gateway didn't start: {error}"));
        let address = server.address(&listener).expect("the listener was started");
        Self { server: Some(server), address }
    }

    /// Where the first listener listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where probes and metrics are answered.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.server().admin().expect("every gateway has an admin address")
    }

    /// The running server.
    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("only `drain` takes the server")
    }

    /// Drains it to its end.
    pub(crate) async fn drain(mut self) {
        let server = self.server.take().expect("only `drain` takes the server");
        tokio::task::spawn_blocking(move || server.drain()).await.expect("draining doesn't panic");
    }

    /// A connection of its own.
    pub(crate) async fn channel(&self) -> Channel {
        channel(self.address).await
    }

    /// A client with a connection of its own.
    pub(crate) async fn library(&self) -> LibraryClient<Channel> {
        LibraryClient::new(self.channel().await)
    }

    /// The sum of all samples of that name whose labels include these (`("code", "OK")`).
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        metric(&self.server().metrics().render(), name, labels)
    }

    /// Waits until a metric has this value; it fails the test with the value seen last.
    pub(crate) async fn until_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let reached = || (self.metric(name, labels) - value).abs() < 1e-9;
        let page = || format!("{name}{labels:?} is {}, not {value}", self.metric(name, labels));
        assert!(eventually(reached).await, "{}", page());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            // A runtime can't be dropped on a thread that runs tasks.
            drop(std::thread::spawn(move || server.drain()));
        }
    }
}

/// The sum of all samples of that name whose labels include these, in Prometheus text.
pub(crate) fn metric(page: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    let of_name = page.lines().filter_map(|line| line.strip_prefix(name));
    of_name
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter(|rest| labels.iter().all(|label| rest.contains(label.as_str())))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Waits until `happened`, looking every 10 ms; false after [`PATIENCE`].
pub(crate) async fn eventually(mut happened: impl FnMut() -> bool) -> bool {
    let wait = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.is_ok()
}

/// What must come in [`PATIENCE`].
pub(crate) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, event).await;
    came.unwrap_or_else(|_| panic!("{what}: nothing in {PATIENCE:?}"))
}

/// A tonic connection.
pub(crate) async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address is a URI");
    soon("connecting", endpoint.connect()).await.expect("the gateway takes connections")
}

/// The demo's backend on a thread of its own.
pub(crate) struct Backend {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Backend {
    /// Starts one on a free port.
    pub(crate) fn start() -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Starts one at an address, that of one which was stopped for instance.
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("sockets are to be had");
        socket.set_reuseaddr(true).expect("the option is known");
        socket.bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime for the backend");
        let listener = {
            let _inside = runtime.enter();
            socket.listen(1024).expect("the socket listens")
        };
        let address = listener.local_addr().expect("a bound socket has an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            let served = runtime.block_on(demo::serve(listener, async { drop(stopped.await) }));
            served.expect("the backend serves");
        };
        let thread = std::thread::Builder::new().name("test-backend".into()).spawn(serve);
        let thread = thread.expect("a thread for the backend");
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    /// Lets its calls end, and waits for it.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        let thread = self.thread.take().expect("only `stop` takes the thread");
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        joined.expect("waiting doesn't panic").expect("the backend doesn't panic");
    }
}

/// A gateway with one demo backend.
pub(crate) fn demo(parts: Parts<'_>) -> (Gateway, Backend) {
    let backend = Backend::start();
    (Gateway::start(&yaml(&[backend.address], parts)), backend)
}

/// One gRPC frame.
pub(crate) fn frame(flag: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + payload.len());
    frame.put_u8(flag);
    frame.put_u32(u32::try_from(payload.len()).expect("a short payload"));
    frame.put_slice(payload);
    frame.freeze()
}

/// One gRPC frame with a message in it.
pub(crate) fn message(message: &impl prost::Message) -> Bytes {
    frame(0, &message.encode_to_vec())
}

/// A raw HTTP/2 client connection; its task ends with it.
pub(crate) struct RawClient {
    /// Opens streams.
    pub(crate) sender: SendRequest<Bytes>,
    /// The task that drives the connection; ready when the connection is over.
    pub(crate) tasks: JoinSet<Result<(), h2::Error>>,
    address: SocketAddr,
}

impl RawClient {
    /// Connects with h2's own settings.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &h2::client::Builder::new()).await
    }

    /// Connects with the settings of a builder.
    pub(crate) async fn connect_with(address: SocketAddr, builder: &h2::client::Builder) -> Self {
        let socket = TcpStream::connect(address).await.expect("the gateway takes connections");
        socket.set_nodelay(true).expect("the option is known");
        let (sender, connection) = builder.handshake(socket).await.expect("the gateway speaks HTTP/2");
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Self { sender, tasks, address }
    }

    /// The head of a call of one of the library's methods, as gRPC clients send it.
    pub(crate) fn head(&self, method: &str) -> Request<()> {
        head(self.address, &format!("/{LIBRARY}/{method}"))
    }

    /// Opens a stream with this head.
    pub(crate) async fn open(
        &self,
        head: Request<()>,
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let mut ready = soon("a place for a stream", self.sender.clone().ready()).await.expect("it is open");
        ready.send_request(head, false).expect("a stream opens")
    }

    /// Sends a whole call, and reads the whole answer.
    pub(crate) async fn call(&self, head: Request<()>, body: Bytes) -> Result<RawReply, h2::Error> {
        let (response, mut body_out) = self.open(head).await;
        // An answer may come, and close the stream, before the request is sent.
        drop(body_out.send_data(body, true));
        soon("the answer", RawReply::read(response)).await
    }
}

/// Sends bytes as the other side takes them, and counts them.
pub(crate) async fn send_as_taken(stream: &mut h2::SendStream<Bytes>, mut bytes: Bytes, sent: &AtomicU64) {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.expect("the stream is open").expect("the connection is open");
        let part = bytes.split_to(room.min(bytes.len()));
        sent.fetch_add(part.len() as u64, Ordering::SeqCst);
        stream.send_data(part, false).expect("the stream is open");
    }
}

/// Sends a part of a body in DATA frames of so many bytes.
pub(crate) fn send_part(sending: &mut h2::SendStream<Bytes>, part: &[u8], cut: usize) {
    for piece in part.chunks(cut) {
        sending.send_data(Bytes::copy_from_slice(piece), false).expect("the stream is open");
    }
}

/// Sends a body to its end in DATA frames of so many bytes, 0 for all in one.
pub(crate) fn send_cut(sending: &mut h2::SendStream<Bytes>, mut body: Bytes, cut: usize) {
    while cut != 0 && cut < body.len() {
        // An answer may come, and close the stream, before the request is sent.
        drop(sending.send_data(body.split_to(cut), false));
    }
    drop(sending.send_data(body, true));
}

/// The head of a gRPC call.
pub(crate) fn head(address: SocketAddr, path: &str) -> Request<()> {
    Request::post(format!("http://{address}{path}"))
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("the parts of the head are good")
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct RawReply {
    /// The HTTP status.
    pub(crate) status: http::StatusCode,
    /// Leading headers.
    pub(crate) headers: http::HeaderMap,
    /// All DATA.
    pub(crate) body: Bytes,
    /// Trailers; none for an answer that is one block of headers.
    pub(crate) trailers: Option<http::HeaderMap>,
}

impl RawReply {
    /// Reads an answer to its end, giving the window back.
    pub(crate) async fn read(response: h2::client::ResponseFuture) -> Result<Self, h2::Error> {
        let (head, mut body) = response.await?.into_parts();
        let bytes = read_body(&mut body).await?;
        let trailers = body.trailers().await?;
        Ok(Self { status: head.status, headers: head.headers, body: bytes, trailers })
    }

    /// The value of a field of the trailers, or else of the headers.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let trailing = self.trailers.as_ref().and_then(|trailers| trailers.get(name));
        trailing.or_else(|| self.headers.get(name)).and_then(|value| value.to_str().ok())
    }

    /// `grpc-status`, wherever it stands.
    pub(crate) fn code(&self) -> Option<u8> {
        self.field("grpc-status")?.parse().ok()
    }

    /// `ErrorInfo.reason` of the details.
    pub(crate) fn reason(&self) -> Option<String> {
        use base64::Engine;
        use prost::Message;
        let details = self.field("grpc-status-details-bin")?;
        let details = base64::engine::general_purpose::STANDARD_NO_PAD.decode(details.trim_end_matches('='));
        let status = tonic_types::pb::Status::decode(details.ok()?.as_slice()).ok()?;
        let infos = status.details.into_iter().filter(|any| any.type_url.ends_with("/google.rpc.ErrorInfo"));
        infos
            .filter_map(|any| tonic_types::pb::ErrorInfo::decode(any.value.as_slice()).ok())
            .next()
            .map(|i| i.reason)
    }
}

/// Reads all DATA of a stream, giving the window back.
pub(crate) async fn read_body(body: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut all = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

/// What a raw upstream does with one stream.
pub(crate) type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A raw HTTP/2 server; it ends when dropped.
pub(crate) struct RawUpstream {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    tasks: JoinSet<()>,
}

impl RawUpstream {
    /// Serves each stream by `answer`, which may be called for many at a time.
    pub(crate) async fn start<F>(answer: F) -> Self
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> Answering + Clone + Send + Sync + 'static,
    {
        Self::start_with(h2::server::Builder::new(), answer).await
    }

    /// The same with the settings of a builder.
    pub(crate) async fn start_with<F>(builder: h2::server::Builder, answer: F) -> Self
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> Answering + Clone + Send + Sync + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve_raw(socket, builder.clone(), answer.clone()));
            }
        });
        Self { address, tasks }
    }
}

async fn serve_raw<F>(socket: TcpStream, builder: h2::server::Builder, answer: F)
where
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> Answering,
{
    socket.set_nodelay(true).expect("the option is known");
    let Ok(mut connection) = builder.handshake(socket).await else { return };
    let mut calls = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        calls.spawn(answer(request, respond));
    }
}

/// The head of a gRPC answer that messages follow.
pub(crate) fn grpc_head() -> http::Response<()> {
    http::Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .expect("the parts of the head are good")
}

/// Trailers with a status.
pub(crate) fn trailers(code: u8) -> http::HeaderMap {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from(u16::from(code)));
    trailers
}

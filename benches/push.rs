//! What pushes do to calls: 1,000 streams and 2,000 calls a second, before and while 500 versions are pushed.
//!
//! `cargo bench --bench push` starts the sample service, the gateway with an empty store and the clients in one
//! process: what is told of calls is the clients' own clock, in windows of two seconds.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use transom::admin::HttpBody;
use transom::admin::pb::CreateVersionRequest;
use transom::admin::pb::PromoteRequest;
use transom::admin::pb::modules_client::ModulesClient;
use transom::config;
use transom::demo;
use transom::demo::pb::GetBookRequest;
use transom::demo::pb::Remark;
use transom::demo::pb::library_client::LibraryClient;
use transom::schema::Limits;
use transom::schema::compile;
use transom::server::Server;
use transom::server::Setup;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much is measured.
#[derive(Clone, Copy)]
struct Load {
    streams: usize,
    calls_a_second: u64,
    versions: usize,
    /// Windows before the pushes, at least during them, and after them.
    windows: usize,
    window: Duration,
}

impl Load {
    /// `cargo test` runs benches without `--bench`, to see that they work.
    fn asked() -> Self {
        let window = Duration::from_secs(2);
        match std::env::args().any(|arg| arg == "--bench") {
            true => Self { streams: 1_000, calls_a_second: 2_000, versions: 500, windows: 10, window },
            false => Self { streams: 10, calls_a_second: 50, versions: 3, windows: 1, window: window / 4 },
        }
    }
}

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = runtime(1);
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let backend = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let served = runtime.block_on(demo::serve(listener, std::future::pending()));
        served.expect("the sample service runs");
    });
    let server = start(directory.path(), backend);
    let (gateway, admin) = (server.address("main").expect("open"), server.admin().expect("open"));
    let runtime = self::runtime(1);
    runtime.block_on(measure(gateway, admin, Load::asked()));
    println!("{}", polls(&server));
}

fn runtime(threads: usize) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build().expect("a runtime")
}

fn start(directory: &Path, backend: SocketAddr) -> Server {
    let text = format!(
        "listeners: [{{ name: main, address: \"127.0.0.1:0\", limits: {{ max_streams: 2000 }} }}]\n\
         modules: [{{ name: demo }}]\n\
         upstreams: [{{ name: demo, endpoints: [{{ address: \"{backend}\" }}] }}]\n\
         apis: [{{ name: demo, module: demo, services: [transom.demo.v1.Library], upstream: demo }}]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         store: {{ embedded: {{ path: store.redb }} }}\n"
    );
    let path = directory.join("transom.yaml");
    std::fs::write(&path, text).expect("it is written");
    let config = config::load(&path, &|_| None).expect("it is valid");
    Server::start(config, Setup::default()).expect("it starts")
}

/// The sample service's files, with a message more for each version: no two are the same.
fn version(number: usize) -> HttpBody {
    let schema =
        compile::descriptor_set(&Bytes::from_static(demo::FILE_DESCRIPTOR_SET), &[], &Limits::default());
    let mut set: prost_types::FileDescriptorSet =
        prost::Message::decode(schema.expect("it is compiled").descriptor_set()).expect("it is a set");
    let mut extra = prost_types::FileDescriptorProto {
        name: Some("extra.proto".into()),
        package: Some("extra".into()),
        syntax: Some("proto3".into()),
        ..Default::default()
    };
    for at in 0..=number {
        let name = Some(format!("Extra{at}"));
        extra.message_type.push(prost_types::DescriptorProto { name, ..Default::default() });
    }
    set.file.push(extra);
    let data = prost::Message::encode_to_vec(&set);
    HttpBody { content_type: "application/x-protobuf".into(), data, extensions: Vec::new() }
}

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("it connects")
}

async fn measure(gateway: SocketAddr, admin: SocketAddr, load: Load) {
    let mut modules = ModulesClient::new(channel(admin).await).max_decoding_message_size(64 << 20);
    push(&mut modules, version(0)).await;
    let (ended, calls) = (Arc::new(AtomicU64::new(0)), channel(gateway).await);
    let mut streams = JoinSet::new();
    for _ in 0..load.streams {
        let mut client = LibraryClient::new(calls.clone());
        let (remarks, said) = mpsc::channel(1);
        let remark = Remark { id: "1".into(), text: "still there?".into(), times: 1, ..Default::default() };
        remarks.send(remark).await.expect("it is taken");
        let answers = client.discuss(ReceiverStream::new(said)).await.expect("a stream");
        let mut answers = answers.into_inner();
        answers.message().await.expect("an answer").expect("the first");
        let ended = ended.clone();
        streams.spawn(async move {
            while let Ok(Some(_)) = answers.message().await {}
            drop(remarks);
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }
    // All are there before and after, so that memory says what the gateway holds.
    let versions: Arc<[HttpBody]> = (1..=load.versions).map(version).collect();
    let failed = Arc::new(AtomicU64::new(0));
    let before = windows(calls.clone(), &failed, load, load.windows).await;
    let resident = resident_mib();
    let done = Arc::new(AtomicBool::new(false));
    let mut pushing = JoinSet::new();
    pushing.spawn({
        let (done, versions) = (done.clone(), versions.clone());
        async move {
            let begun = Instant::now();
            let mut every = tokio::time::interval(load.window / 50);
            for content in versions.iter() {
                every.tick().await;
                push(&mut modules, content.clone()).await;
            }
            done.store(true, Ordering::Relaxed);
            begun.elapsed()
        }
    });
    let mut during = Vec::new();
    while !done.load(Ordering::Relaxed) || during.len() < load.windows {
        during.extend(windows(calls.clone(), &failed, load, 1).await);
    }
    let took = pushing.join_next().await.expect("it was begun").expect("all are pushed");
    let after = windows(calls.clone(), &failed, load, load.windows).await;
    let of = |all: &[Duration]| median(all.to_vec());
    let Load { streams, calls_a_second, versions, .. } = load;
    println!("{streams} streams, {calls_a_second} calls a second, {versions} versions in {took:?}");
    println!(
        "median of the p99s: before {:?}, during {:?}, after {:?}",
        of(&before),
        of(&during),
        of(&after)
    );
    println!(
        "failed calls {}, ended streams {}",
        failed.load(Ordering::Relaxed),
        ended.load(Ordering::Relaxed)
    );
    println!("resident MiB: before {resident}, after {}", resident_mib());
    assert_eq!((failed.load(Ordering::Relaxed), ended.load(Ordering::Relaxed)), (0, 0), "no call fails");
}

/// Keeps a version without a label, and lets `live` point at it then.
async fn push(modules: &mut ModulesClient<Channel>, content: HttpBody) {
    let request = CreateVersionRequest {
        module: "demo".into(),
        content: Some(content),
        promote: Some(false),
        ..Default::default()
    };
    let answer = modules.create_version(request).await.expect("it is kept").into_inner();
    let version = answer.version.expect("it is told").digest;
    let request = PromoteRequest { module: "demo".into(), version, ..Default::default() };
    modules.promote(request).await.expect("it is promoted");
}

/// The p99 of calls in each of some windows. Calls begin when they are due, whatever those before take.
async fn windows(channel: Channel, failed: &Arc<AtomicU64>, load: Load, count: usize) -> Vec<Duration> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut calls = JoinSet::new();
        let total =
            load.calls_a_second * u64::try_from(load.window.as_millis()).expect("it is short") / 1_000;
        let begun = Instant::now();
        for at in 0..total {
            let due = begun + Duration::from_micros(at * 1_000_000 / load.calls_a_second);
            tokio::time::sleep_until(due).await;
            let (mut client, failed) = (LibraryClient::new(channel.clone()), failed.clone());
            calls.spawn(async move {
                let asked = GetBookRequest { name: "shelves/harbour/books/the-lamp".into() };
                if client.get_book(asked).await.is_err() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                due.elapsed()
            });
        }
        let mut times: Vec<Duration> = calls.join_all().await;
        times.sort_unstable();
        all.push(times[times.len() * 99 / 100]);
    }
    all
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// The histogram of how long polls held a worker.
fn polls(server: &Server) -> String {
    let page = server.metrics().render();
    let lines = page.lines().filter(|line| line.starts_with("transom_worker_poll_cpu_seconds"));
    lines.collect::<Vec<_>>().join("\n")
}

//! What pushes do to calls: 1,000 streams and 2,000 calls a second, before and while 500 versions are pushed.
//!
//! `cargo bench --bench push` starts the sample service, the gateway with an empty store and the clients in one
//! process: what is told of calls is the clients' own clock, in windows of a second.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;
use transom::admin::HttpBody;
use transom::admin::pb::CreateVersionRequest;
use transom::admin::pb::PromoteRequest;
use transom::admin::pb::modules_client::ModulesClient;
use transom::config;
use transom::demo;
use transom::demo::pb::GetBookRequest;
use transom::demo::pb::WatchShelfRequest;
use transom::demo::pb::library_client::LibraryClient;
use transom::schema::Limits;
use transom::schema::compile;
use transom::server::Server;
use transom::server::Setup;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STREAMS: usize = 1_000;
const CALLS_A_SECOND: u64 = 2_000;
const VERSIONS: usize = 500;
const WINDOWS: usize = 10;
const WINDOW: Duration = Duration::from_secs(2);

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
    runtime.block_on(measure(gateway, admin));
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

async fn measure(gateway: SocketAddr, admin: SocketAddr) {
    let mut modules = ModulesClient::new(channel(admin).await).max_decoding_message_size(64 << 20);
    push(&mut modules, version(0)).await;
    let (ended, calls) = (Arc::new(AtomicU64::new(0)), channel(gateway).await);
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        let mut client = LibraryClient::new(calls.clone());
        let asked = WatchShelfRequest { name: "shelves/harbour".into(), include_present: true, events: 0 };
        let mut events = client.watch_shelf(asked).await.expect("a stream").into_inner();
        events.message().await.expect("an event").expect("the first");
        let ended = ended.clone();
        streams.spawn(async move {
            while let Ok(Some(_)) = events.message().await {}
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }
    let failed = Arc::new(AtomicU64::new(0));
    let before = windows(calls.clone(), &failed, WINDOWS).await;
    let resident = resident_mib();
    let versions: Vec<HttpBody> = (1..=VERSIONS).map(version).collect();
    let done = Arc::new(AtomicBool::new(false));
    let mut pushing = JoinSet::new();
    pushing.spawn({
        let done = done.clone();
        async move {
            let begun = Instant::now();
            let mut every = tokio::time::interval(WINDOW * 10 / 500);
            for content in versions {
                every.tick().await;
                push(&mut modules, content).await;
            }
            done.store(true, Ordering::Relaxed);
            begun.elapsed()
        }
    });
    let mut during = Vec::new();
    while !done.load(Ordering::Relaxed) || during.len() < WINDOWS {
        during.extend(windows(calls.clone(), &failed, 1).await);
    }
    let took = pushing.join_next().await.expect("it was begun").expect("all are pushed");
    let after = windows(calls.clone(), &failed, WINDOWS).await;
    let of = |all: &[Duration]| median(all.to_vec());
    println!("{STREAMS} streams, {CALLS_A_SECOND} calls a second, {VERSIONS} versions in {took:?}");
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
async fn windows(channel: Channel, failed: &Arc<AtomicU64>, count: usize) -> Vec<Duration> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut calls = JoinSet::new();
        let total = CALLS_A_SECOND * WINDOW.as_secs();
        let begun = Instant::now();
        for at in 0..total {
            let due = begun + Duration::from_micros(at * 1_000_000 / CALLS_A_SECOND);
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

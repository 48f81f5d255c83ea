//! Streams under way: across swaps of the configuration, slow peers, restarts, and many workers.

mod support;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;
use transom::demo::pb;
use transom::demo::pb::library_client::LibraryClient;

use crate::support::Backend;
use crate::support::Gateway;
use crate::support::Parts;
use crate::support::RawClient;
use crate::support::RawUpstream;
use crate::support::config_of;
use crate::support::demo;
use crate::support::demo_schema;
use crate::support::eventually;
use crate::support::frame;
use crate::support::grpc_head;
use crate::support::message;
use crate::support::soon;
use crate::support::trailers;
use crate::support::yaml;
use crate::support::yaml_of;

/// One test at a time: they measure the memory of the process, and load the machine.
static ALONE: Mutex<()> = Mutex::const_new(());

/// How far the streams of a test have come.
#[derive(Default)]
struct Progress {
    rounds: AtomicU64,
    moved: Notify,
}

impl Progress {
    fn step(&self) {
        self.rounds.fetch_add(1, Ordering::SeqCst);
        self.moved.notify_one();
    }

    /// Waits until the streams have gone so many rounds from here.
    async fn further(&self, rounds: u64) {
        let goal = self.rounds.load(Ordering::SeqCst) + rounds;
        while self.rounds.load(Ordering::SeqCst) < goal {
            soon("the streams go on", self.moved.notified()).await;
        }
    }
}

/// Talks on one stream until `over`, and once more; every remark must be answered, in order.
async fn talk(
    mut client: LibraryClient<Channel>,
    id: usize,
    progress: Arc<Progress>,
    over: watch::Receiver<bool>,
) -> u64 {
    let id = id.to_string();
    let (say, remarks) = mpsc::channel(1);
    let mut answers = client.discuss(ReceiverStream::new(remarks)).await.expect("it is open").into_inner();
    let mut sent = 0;
    loop {
        let last = *over.borrow();
        sent += 1;
        say.send(pb::Remark { id: id.clone(), ..Default::default() }).await.expect("it is open");
        let answer = answers.message().await.expect("no fault").expect("no end");
        assert_eq!((answer.id.as_str(), answer.number), (id.as_str(), sent));
        progress.step();
        if last {
            break;
        }
    }
    drop(say);
    assert!(answers.message().await.expect("no fault").is_none());
    u64::try_from(sent).expect("not below zero")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_survive_a_hundred_swaps() {
    let _alone = ALONE.lock().await;
    let backend = Backend::start();
    let configs = [
        Parts::default(),
        Parts { api: "policies: { validate: { max_message: 1MiB } }", ..Parts::default() },
        Parts { upstream: "pool: { connections: 4 }", ..Parts::default() },
    ]
    .map(|parts| config_of(&yaml(&[backend.address], parts)));
    let gateway = Gateway::of(configs[0].clone(), Vec::new(), transom::server::Watch::No);
    let progress = Arc::new(Progress::default());
    let (end, over) = watch::channel(false);
    let mut streams = JoinSet::new();
    for connection in 0..STREAMS / STREAMS_PER_CONNECTION {
        let client = gateway.library().await;
        for stream in 0..STREAMS_PER_CONNECTION {
            let id = connection * STREAMS_PER_CONNECTION + stream;
            streams.spawn(talk(client.clone(), id, progress.clone(), over.clone()));
        }
    }
    let open = [("method", "/transom.demo.v1.Library/Discuss")];
    gateway.until_metric("transom_open_calls", &open, 1000.0).await;
    for swap in 0..100 {
        match swap % 5 {
            3 => gateway.server().publish("demo", demo_schema()),
            at => gateway.server().apply(configs[at % 3].clone()),
        }
        .unwrap_or_else(|report| panic!("{report}"));
        progress.further(100).await;
    }
    assert!(gateway.metric("transom_snapshot_generation", &[]) >= 101.0);
    end.send_replace(true);
    let mut messages = 0;
    while let Some(sent) = soon("the end of the streams", streams.join_next()).await {
        messages += sent.expect("no stream lost a message");
    }
    assert!(messages >= 100 * 100, "{messages}");
    let ended = [("method", "/transom.demo.v1.Library/Discuss"), ("code", "OK")];
    gateway.until_metric("transom_calls_total", &ended, 1000.0).await;
    gateway.until_metric("transom_open_calls", &[], 0.0).await;
}

const STREAMS: usize = 1000;
const STREAMS_PER_CONNECTION: usize = 100;

#[tokio::test]
async fn an_upstream_that_stays_as_it_was_keeps_its_connections() {
    let (gateway, backend) = demo(Parts::default());
    let mut client = gateway.library().await;
    let peer = client.inspect(pb::InspectRequest::default()).await.expect("it answers").into_inner().peer;
    for parts in
        [Parts::default(), Parts { api: "policies: { timeout: { default: 9s } }", ..Parts::default() }]
    {
        gateway.server().apply(config_of(&yaml(&[backend.address], parts))).expect("a good configuration");
        let seen = client.inspect(pb::InspectRequest::default()).await.expect("it answers").into_inner();
        assert_eq!(seen.peer, peer, "the connection is another");
    }
    // Another pool is another upstream: its first call connects anew, and the old connection closes.
    let parts = Parts { upstream: "pool: { connect_timeout: 3s }", ..Parts::default() };
    gateway.server().apply(config_of(&yaml(&[backend.address], parts))).expect("a good configuration");
    let seen = client.inspect(pb::InspectRequest::default()).await.expect("it answers").into_inner();
    assert_ne!(seen.peer, peer);
    gateway.until_metric("transom_upstream_connections", &[], 1.0).await;
}

#[tokio::test]
async fn a_changed_configuration_serves_the_next_call_and_a_faulty_one_changes_nothing() {
    let (gateway, backend) = demo(Parts::default());
    let mut client = gateway.library().await;
    let large = || pb::InspectRequest { payload: vec![1; 4096], ..Default::default() };
    client.inspect(large()).await.expect("nothing bounds it");
    let parts = Parts { api: "policies: { validate: { max_message: 1KiB } }", ..Parts::default() };
    gateway.server().apply(config_of(&yaml(&[backend.address], parts))).expect("a good configuration");
    let status = client.inspect(large()).await.expect_err("it is bounded now");
    assert_eq!(status.code(), Code::ResourceExhausted);
    // A service that the module doesn't have is only found when the snapshot is built.
    let text = yaml(&[backend.address], Parts::default()).replace("v1.Library]", "v1.Libary]");
    let report = gateway.server().apply(config_of(&text)).expect_err("it is at fault");
    assert!(report.to_string().contains("Library"), "{report}");
    let status = client.inspect(large()).await.expect_err("it is bounded still");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!((gateway.metric("transom_snapshot_failures_total", &[]) - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn connections_are_spread_over_the_workers() {
    let _alone = ALONE.lock().await;
    let (gateway, _backend) =
        demo(Parts { top: "server: { workers: 2, drain_timeout: 1s }", ..Parts::default() });
    let mut clients = Vec::new();
    for _ in 0..64 {
        let client = RawClient::connect(gateway.address()).await;
        let body = message(&pb::InspectRequest::default());
        assert_eq!(client.call(client.head("Inspect"), body).await.expect("an answer").code(), Some(0));
        clients.push(client);
    }
    let open = gateway.server().connections();
    assert_eq!((open.len(), open.iter().sum::<usize>()), (2, 64), "{open:?}");
    assert!(open[0].abs_diff(open[1]) <= 1, "{open:?}");
    clients.truncate(10);
    assert!(eventually(|| gateway.server().connections().iter().sum::<usize>() == 10).await);
    drop(clients);
    assert!(eventually(|| gateway.server().connections() == [0, 0]).await);
}

/// Sends `len` bytes in messages of [`PIECE`], as fast as the other side takes them, and counts them.
async fn pour(stream: &mut h2::SendStream<Bytes>, len: u64, sent: &AtomicU64) {
    let piece = frame(0, &vec![b'.'; PIECE - 5]);
    while sent.load(Ordering::SeqCst) < len {
        support::send_as_taken(stream, piece.clone(), sent).await;
    }
}

/// Takes `len` bytes, giving the window back, and says how many were on their way at most.
async fn drink(body: &mut h2::RecvStream, len: u64, sent: &AtomicU64) -> u64 {
    let (mut taken, mut most) = (0, 0);
    while taken < len {
        most = most.max(sent.load(Ordering::SeqCst) - taken);
        let chunk = soon("more bytes", body.data()).await.expect("no end").expect("no fault");
        taken += chunk.len() as u64;
        body.flow_control().release_capacity(chunk.len()).expect("it was taken");
    }
    assert_eq!(taken, len);
    most
}

/// Waits until nothing more is sent, though other calls go through beside it.
async fn until_stuck(gateway: &Gateway, sent: &AtomicU64) -> u64 {
    let client = RawClient::connect(gateway.address()).await;
    assert!(eventually(|| sent.load(Ordering::SeqCst) > 0).await);
    loop {
        let before = sent.load(Ordering::SeqCst);
        for _ in 0..50 {
            let reply = client.call(client.head("Inspect"), frame(0, b"")).await.expect("an answer");
            assert_eq!(reply.code(), Some(0));
        }
        if sent.load(Ordering::SeqCst) == before {
            return before;
        }
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("/proc is there");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("statm has pages");
    pages * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_stops_a_fast_upstream() {
    let _alone = ALONE.lock().await;
    let sent = Arc::new(AtomicU64::new(0));
    let counting = sent.clone();
    let upstream = RawUpstream::start(move |request, mut respond| {
        let sent = counting.clone();
        Box::pin(async move {
            let mut stream = respond.send_response(grpc_head(), false).expect("the call is open");
            if request.uri().path().ends_with("ReadBook") {
                pour(&mut stream, LONG, &sent).await;
            } else {
                stream.send_data(frame(0, b""), false).expect("the call is open");
            }
            stream.send_trailers(trailers(0)).expect("the call is open");
        })
    })
    .await;
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    let client = RawClient::connect(gateway.address()).await;
    let before = resident();
    let (response, mut request) = client.open(client.head("ReadBook")).await;
    request.send_data(frame(0, b""), true).expect("the call is open");
    let mut body = soon("the head", response).await.expect("it is gRPC").into_body();
    let stuck = until_stuck(&gateway, &sent).await;
    assert!(stuck < HELD_MAX, "{stuck} bytes were sent to a client that takes none");
    let most = drink(&mut body, LONG, &sent).await;
    assert!(most < HELD_MAX, "{most} bytes were on their way at once");
    let trailers = soon("the trailers", body.trailers()).await.expect("no fault").expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    let grown = resident().saturating_sub(before);
    assert!(grown < LONG / 4, "the process grew by {grown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_does_not_read_stops_a_fast_client() {
    let _alone = ALONE.lock().await;
    let sent = Arc::new(AtomicU64::new(0));
    let (counting, start) = (sent.clone(), Arc::new(Notify::new()));
    let started = start.clone();
    let upstream = RawUpstream::start(move |request, mut respond| {
        let (sent, start) = (counting.clone(), started.clone());
        Box::pin(async move {
            let mut stream = respond.send_response(grpc_head(), false).expect("the call is open");
            if request.uri().path().ends_with("ImportBooks") {
                start.notified().await;
                let most = drink(&mut request.into_body(), LONG, &sent).await;
                stream.send_data(frame(0, most.to_string().as_bytes()), false).expect("the call is open");
            } else {
                stream.send_data(frame(0, b""), false).expect("the call is open");
            }
            stream.send_trailers(trailers(0)).expect("the call is open");
        })
    })
    .await;
    let gateway = Gateway::start(&yaml(&[upstream.address], Parts::default()));
    let client = RawClient::connect(gateway.address()).await;
    let before = resident();
    let (response, mut request) = client.open(client.head("ImportBooks")).await;
    let pouring = sent.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        pour(&mut request, LONG, &pouring).await;
        request.send_data(Bytes::new(), true).expect("the call is open");
    });
    let mut body = soon("the head", response).await.expect("it is gRPC").into_body();
    let stuck = until_stuck(&gateway, &sent).await;
    assert!(stuck < HELD_MAX, "{stuck} bytes were taken for an upstream that takes none");
    start.notify_one();
    let reply = soon("the reply", support::read_body(&mut body)).await.expect("no fault");
    let most: u64 = std::str::from_utf8(&reply[5..]).expect("digits").parse().expect("a number");
    assert!(most < HELD_MAX, "{most} bytes were on their way at once");
    tasks.join_next().await.expect("a task").expect("all was sent");
    let grown = resident().saturating_sub(before);
    assert!(grown < LONG / 4, "the process grew by {grown} bytes");
}

/// What one message of a long stream has, its header included.
const PIECE: usize = 16 << 10;
/// The bytes of a long stream.
const LONG: u64 = 256 << 20;
/// What may be on its way at once: the windows of both connections, and what the sockets hold.
const HELD_MAX: u64 = 4 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_restart_one_after_the_other_and_no_call_fails() {
    let _alone = ALONE.lock().await;
    let mut backends = [Backend::start(), Backend::start()].map(Some);
    let addresses = [0, 1].map(|at: usize| backends[at].as_ref().expect("it runs").address);
    let gateway = Gateway::start(&yaml(&addresses, Parts::default()));
    let progress = Arc::new(Progress::default());
    let (end, over) = watch::channel(false);
    let mut load = JoinSet::new();
    for _ in 0..8 {
        let (mut client, over, progress) = (gateway.library().await, over.clone(), progress.clone());
        load.spawn(async move {
            while !*over.borrow() {
                client.inspect(pb::InspectRequest::default()).await.expect("no call fails");
                progress.step();
            }
        });
    }
    progress.further(200).await;
    for (at, backend) in backends.iter_mut().enumerate() {
        backend.take().expect("it runs").stop().await;
        progress.further(200).await;
        *backend = Some(Backend::start_at(addresses[at]));
        // It is used again before the other one goes.
        let mut client = gateway.library().await;
        soon("a call to the new one", async {
            while client
                .inspect(pb::InspectRequest::default())
                .await
                .expect("no call fails")
                .into_inner()
                .local
                != addresses[at].to_string()
            {}
        })
        .await;
    }
    progress.further(200).await;
    end.send_replace(true);
    while let Some(done) = load.join_next().await {
        done.expect("no call failed");
    }
    let calls = gateway.metric("transom_calls_total", &[]);
    assert!((calls - gateway.metric("transom_calls_total", &[("code", "OK")])).abs() < 1e-9);
}

#[tokio::test]
async fn endpoints_get_their_share_by_weight() {
    let backends = [Backend::start(), Backend::start(), Backend::start()];
    let weighted =
        |at: usize, weight| format!("{{ address: \"{}\", weight: {weight} }}", backends[at].address);
    let endpoints = [weighted(0, 5), weighted(1, 2), weighted(2, 1)].join(", ");
    let top = "server: { workers: 1, drain_timeout: 1s }";
    let gateway = Gateway::start(&yaml_of(&endpoints, Parts { top, ..Parts::default() }));
    let mut client = gateway.library().await;
    let mut shares = [0; 3];
    for _ in 0..160 {
        let local =
            client.inspect(pb::InspectRequest::default()).await.expect("it answers").into_inner().local;
        let at = backends.iter().position(|backend| backend.address.to_string() == local);
        shares[at.expect("one of the three")] += 1;
    }
    assert_eq!(shares, [100, 40, 20]);
}

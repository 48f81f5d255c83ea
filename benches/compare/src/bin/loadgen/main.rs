//! Closed-loop load on one gateway, every reply checked. Prints one JSON line: requests a
//! second, latency, and (with --pid) the gateway's own CPU time and memory per request.

mod h3;
mod secure;

use std::{
    cell::RefCell,
    fs,
    rc::Rc,
    time::{Duration, Instant},
};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use clap::{Parser, ValueEnum};
use gateway_perf::{WatchRequest, frame, order, order_json};
use h2::client::SendRequest;
use hdrhistogram::Histogram;
use http::Request;
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::LocalSet,
};

use crate::secure::{Io, Secure};

#[derive(Clone, Copy, PartialEq, Debug, ValueEnum)]
enum Mode {
    /// Native gRPC over h2c, unary echo.
    Grpc,
    /// Native gRPC server streaming; one request counts `--stream` messages.
    GrpcStream,
    /// gRPC-Web (binary) over HTTP/1.1.
    Web,
    /// gRPC-Web in base64 over HTTP/1.1.
    WebText,
    /// Connect over HTTP/1.1, unary, protobuf.
    Connect,
    /// Connect over HTTP/1.1, unary, JSON.
    ConnectJson,
    /// JSON over HTTP/1.1, POST echo.
    Json,
    /// JSON over HTTP/1.1, GET with two path parameters.
    JsonGet,
    /// JSON over h2c, POST echo.
    JsonH2,
    /// Native gRPC over HTTP/2 and TLS 1.3, unary echo.
    GrpcTls,
    /// JSON over HTTP/1.1 and TLS 1.3, POST echo.
    JsonTls,
    /// Native gRPC over HTTP/3, unary echo.
    GrpcH3,
    /// JSON over HTTP/3, POST echo.
    JsonH3,
    /// Full TLS 1.3 handshakes, a connection each; one counts as a message.
    Handshake,
}

impl Mode {
    fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcStream | Self::GrpcTls | Self::GrpcH3)
    }

    fn is_secure(self) -> bool {
        matches!(self, Self::GrpcTls | Self::JsonTls | Self::GrpcH3 | Self::JsonH3 | Self::Handshake)
    }

    /// The path and the body of a call over HTTP/2 or HTTP/3.
    fn call(self, args: &Args) -> (&'static str, Bytes) {
        match self {
            Self::GrpcStream => {
                let request = WatchRequest { count: args.stream };
                ("/bench.v1.Bench/Watch", frame(&request.encode_to_vec()))
            }
            _ if self.is_grpc() => ("/bench.v1.Bench/Echo", frame(&order(args.items).encode_to_vec())),
            _ => ("/v1/echo", Bytes::from(order_json(args.items))),
        }
    }

    /// The head of a call over HTTP/2 or HTTP/3.
    fn head(self, args: &Args, path: &str) -> Request<()> {
        let scheme = if self.is_secure() { "https" } else { "http" };
        let mut head = Request::post(format!("{scheme}://{}{path}", args.authority()));
        head = if self.is_grpc() {
            head.header("content-type", "application/grpc").header("te", "trailers")
        } else {
            head.header("content-type", "application/json")
        };
        for (name, value) in args.header.iter().filter_map(|h| h.split_once(':')) {
            head = head.header(name, value);
        }
        head.body(()).expect("head")
    }
}

#[derive(Parser, Clone)]
struct Args {
    #[arg(long)]
    target: String,
    #[arg(long, value_enum)]
    mode: Mode,
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Concurrent streams on each HTTP/2 connection.
    #[arg(long, default_value_t = 8)]
    streams: usize,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Line items of the order sent.
    #[arg(long, default_value_t = 4)]
    items: usize,
    /// Messages of one server stream.
    #[arg(long, default_value_t = 1000)]
    stream: i32,
    /// The gateway's process, for its CPU time and memory (children included).
    #[arg(long)]
    pid: Option<u32>,
    /// An extra request header, NAME:VALUE.
    #[arg(long)]
    header: Vec<String>,
    /// The certificate of the gateway, in PEM; it is for the host of `--name`.
    #[arg(long)]
    certificate: Option<std::path::PathBuf>,
    #[arg(long, default_value = "localhost")]
    name: String,
}

impl Args {
    fn authority(&self) -> &str {
        if self.mode.is_secure() { &self.name } else { &self.target }
    }
}

struct Tally {
    latency: Histogram<u64>,
    messages: u64,
    errors: u64,
    first_error: Option<String>,
    counting: bool,
    done: bool,
}

type Shared = Rc<RefCell<Tally>>;

impl Tally {
    fn record(&mut self, started: Instant, outcome: Result<u64, String>) {
        if !self.counting {
            return;
        }
        match outcome {
            Ok(messages) => {
                self.messages += messages;
                let _ = self.latency.record(started.elapsed().as_nanos() as u64 / 100);
            }
            Err(why) => {
                self.errors += 1;
                self.first_error.get_or_insert(why);
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args = Args::parse();
    LocalSet::new().run_until(run(args)).await;
}

async fn run(args: Args) {
    let tally: Shared = Rc::new(RefCell::new(Tally {
        latency: Histogram::new_with_bounds(1, 600_000_000, 3).expect("histogram"),
        messages: 0,
        errors: 0,
        first_error: None,
        counting: false,
        done: false,
    }));
    let secure = args.mode.is_secure().then(|| Secure::new(&args));
    let mut workers = Vec::new();
    for _ in 0..args.connections {
        match args.mode {
            Mode::GrpcH3 | Mode::JsonH3 => {
                let client = h3::connect(&args, secure.as_ref().expect("it is secure")).await;
                for _ in 0..args.streams {
                    workers.push(tokio::task::spawn_local(h3::worker(
                        args.clone(),
                        client.clone(),
                        tally.clone(),
                    )));
                }
            }
            Mode::Handshake => {
                let secure = secure.clone().expect("it is secure");
                workers.push(tokio::task::spawn_local(handshake_worker(args.clone(), secure, tally.clone())));
            }
            Mode::Grpc | Mode::GrpcStream | Mode::JsonH2 | Mode::GrpcTls => {
                let client = connect_h2(&args, secure.as_ref()).await;
                for _ in 0..args.streams {
                    workers.push(tokio::task::spawn_local(h2_worker(
                        args.clone(),
                        client.clone(),
                        tally.clone(),
                    )));
                }
            }
            _ => workers.push(tokio::task::spawn_local(h1_worker(args.clone(), secure.clone(), tally.clone()))),
        }
    }
    tokio::time::sleep(Duration::from_secs_f64(args.warmup)).await;
    let cpu_before = args.pid.map(cpu_seconds);
    let started = Instant::now();
    tally.borrow_mut().counting = true;
    tokio::time::sleep(Duration::from_secs_f64(args.seconds)).await;
    let elapsed = started.elapsed().as_secs_f64();
    tally.borrow_mut().counting = false;
    let cpu = args.pid.map(|pid| cpu_seconds(pid) - cpu_before.unwrap_or(0.0));
    let rss = args.pid.map(rss_mib);
    tally.borrow_mut().done = true;
    let t = tally.borrow();
    let quantile = |q| t.latency.value_at_quantile(q) as f64 / 10.0;
    let per_message = |seconds: f64| (seconds * 1e7 / t.messages.max(1) as f64).round() / 10.0;
    println!(
        "{}",
        serde_json::json!({
            "mode": format!("{:?}", args.mode), "messages": t.messages, "errors": t.errors,
            "first_error": t.first_error, "per_second": (t.messages as f64 / elapsed).round(),
            "p50_us": quantile(0.5), "p99_us": quantile(0.99), "p999_us": quantile(0.999),
            "gateway_cpu_us_per_message": cpu.map(per_message),
            "gateway_core_share": cpu.map(|c| (c / elapsed * 100.0).round() / 100.0),
            "gateway_rss_mib": rss,
        })
    );
    if t.errors > 0 || t.messages == 0 {
        std::process::exit(1);
    }
}

async fn connect_h2(args: &Args, secure: Option<&Secure>) -> SendRequest<Bytes> {
    let socket = secure::dial(args, secure, &[b"h2"]).await.expect("connect");
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake(socket)
        .await
        .expect("h2 handshake");
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    client
}

async fn h2_worker(args: Args, mut client: SendRequest<Bytes>, tally: Shared) {
    let grpc = args.mode.is_grpc();
    let (path, body) = args.mode.call(&args);
    let head = args.mode.head(&args, path);
    let want = if args.mode == Mode::GrpcStream || !grpc { 0 } else { body.len() };
    while !tally.borrow().done {
        let started = Instant::now();
        let outcome = h2_call(&mut client, &head, &body, grpc, want).await;
        let messages = if args.mode == Mode::GrpcStream { args.stream as u64 } else { 1 };
        let failed = outcome.is_err();
        tally.borrow_mut().record(started, outcome.map(|()| messages));
        if failed {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn h2_call(
    client: &mut SendRequest<Bytes>,
    head: &Request<()>,
    body: &Bytes,
    grpc: bool,
    want: usize,
) -> Result<(), String> {
    let text = |e: h2::Error| e.to_string();
    std::future::poll_fn(|cx| client.poll_ready(cx)).await.map_err(text)?;
    let (response, mut send) = client.send_request(head.clone(), false).map_err(text)?;
    send.send_data(body.clone(), true).map_err(text)?;
    let response = response.await.map_err(text)?;
    if response.status() != 200 {
        return Err(format!("http status {}", response.status()));
    }
    let in_head = response.headers().get("grpc-status").cloned();
    let mut stream = response.into_body();
    let mut size = 0;
    while let Some(chunk) = stream.data().await {
        let chunk = chunk.map_err(text)?;
        size += chunk.len();
        let _ = stream.flow_control().release_capacity(chunk.len());
    }
    if !grpc {
        return if size > 100 { Ok(()) } else { Err("short reply".into()) };
    }
    let trailers = stream.trailers().await.map_err(text)?;
    let status = in_head.or_else(|| trailers.and_then(|t| t.get("grpc-status").cloned()));
    match status {
        Some(s) if s == "0" && (want == 0 || size == want) => Ok(()),
        other => Err(format!("grpc-status {other:?}, {size} bytes")),
    }
}

async fn h1_worker(args: Args, secure: Option<Secure>, tally: Shared) {
    let (method, path, kind, body) = match args.mode {
        Mode::JsonGet => ("GET", "/v1/customers/cus-7f3a/orders/42", "application/json", Bytes::new()),
        Mode::Web => (
            "POST",
            "/bench.v1.Bench/Echo",
            "application/grpc-web+proto",
            frame(&order(args.items).encode_to_vec()),
        ),
        Mode::WebText => (
            "POST",
            "/bench.v1.Bench/Echo",
            "application/grpc-web-text+proto",
            Bytes::from(STANDARD.encode(frame(&order(args.items).encode_to_vec()))),
        ),
        Mode::Connect => (
            "POST",
            "/bench.v1.Bench/Echo",
            "application/proto",
            Bytes::from(order(args.items).encode_to_vec()),
        ),
        Mode::ConnectJson => {
            ("POST", "/bench.v1.Bench/Echo", "application/json", Bytes::from(order_json(args.items)))
        }
        _ => ("POST", "/v1/echo", "application/json", Bytes::from(order_json(args.items))),
    };
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: {kind}\r\n", args.authority());
    for (name, value) in args.header.iter().filter_map(|h| h.split_once(':')) {
        head += &format!("{name}: {value}\r\n");
    }
    if args.mode == Mode::WebText {
        head += &format!("accept: {kind}\r\n");
    }
    if method == "POST" {
        head += &format!("content-length: {}\r\n", body.len());
    }
    let mut request = BytesMut::from(head.as_bytes());
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(&body);
    let mut socket = secure::dial(&args, secure.as_ref(), &[b"http/1.1"]).await.expect("connect");
    let mut buffer = BytesMut::with_capacity(64 << 10);
    while !tally.borrow().done {
        let started = Instant::now();
        let outcome = async {
            socket.write_all(&request).await.map_err(|e| e.to_string())?;
            socket.flush().await.map_err(|e| e.to_string())?;
            let reply = h1_reply(&mut socket, &mut buffer).await?;
            check(args.mode, &reply, body.len())
        }
        .await;
        let failed = outcome.is_err();
        tally.borrow_mut().record(started, outcome.map(|()| 1));
        if failed {
            tokio::time::sleep(Duration::from_millis(20)).await;
            buffer.clear();
            if let Ok(fresh) = secure::dial(&args, secure.as_ref(), &[b"http/1.1"]).await {
                socket = fresh;
            }
        }
    }
}

async fn handshake_worker(args: Args, secure: Secure, tally: Shared) {
    while !tally.borrow().done {
        let started = Instant::now();
        let outcome = async {
            let mut socket = secure::dial(&args, Some(&secure), &[b"h2"]).await?;
            socket.shutdown().await?;
            // What the gateway says until it has seen the end: without it nothing tells that it was done.
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).await
        }
        .await;
        tally.borrow_mut().record(started, outcome.map(|_| 1).map_err(|error| error.to_string()));
    }
}

/// Checks the substance of the reply to a request with a body of `sent` bytes.
fn check(mode: Mode, reply: &[u8], sent: usize) -> Result<(), String> {
    let whole = match mode {
        Mode::Web => find(reply, b"grpc-status").is_some(),
        // Each flush is padded by itself.
        Mode::WebText => reply
            .chunks(4)
            .map(|quantum| STANDARD.decode(quantum))
            .collect::<Result<Vec<_>, _>>()
            .is_ok_and(|bytes| find(&bytes.concat(), b"grpc-status").is_some()),
        Mode::Connect => reply.len() == sent,
        _ => reply.len() > 100 && reply.ends_with(b"}"),
    };
    if whole { Ok(()) } else { Err(format!("a reply of {} bytes that is not whole", reply.len())) }
}

/// Reads one HTTP/1.1 reply (content-length or chunked) and checks its status.
async fn h1_reply(socket: &mut Box<dyn Io>, buffer: &mut BytesMut) -> Result<BytesMut, String> {
    let head_end = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        more(socket, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).to_ascii_lowercase();
    let _ = buffer.split_to(head_end);
    let length = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|v| v.trim().parse::<usize>().ok());
    let body = match length {
        Some(n) => {
            while buffer.len() < n {
                more(socket, buffer).await?;
            }
            buffer.split_to(n)
        }
        None if head.contains("transfer-encoding: chunked") => chunked(socket, buffer).await?,
        None => return Err("reply without a length".into()),
    };
    if !head.starts_with("http/1.1 200") {
        return Err(head.lines().next().unwrap_or_default().to_owned());
    }
    Ok(body)
}

async fn chunked(socket: &mut Box<dyn Io>, buffer: &mut BytesMut) -> Result<BytesMut, String> {
    let mut body = BytesMut::new();
    loop {
        let line_end = loop {
            if let Some(at) = find(buffer, b"\r\n") {
                break at;
            }
            more(socket, buffer).await?;
        };
        let size = std::str::from_utf8(&buffer[..line_end])
            .ok()
            .and_then(|s| usize::from_str_radix(s.trim(), 16).ok());
        let size = size.ok_or("bad chunk size")?;
        let _ = buffer.split_to(line_end + 2);
        while buffer.len() < size + 2 {
            more(socket, buffer).await?;
        }
        body.extend_from_slice(&buffer[..size]);
        let _ = buffer.split_to(size + 2);
        if size == 0 {
            return Ok(body);
        }
    }
}

async fn more(socket: &mut Box<dyn Io>, buffer: &mut BytesMut) -> Result<(), String> {
    match socket.read_buf(buffer).await {
        Ok(0) => Err("connection closed".into()),
        Ok(_) => Ok(()),
        Err(e) => Err(e.to_string()),
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

/// User and system CPU seconds of a process and all its threads.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = after.split(' ').skip(11).take(2).filter_map(|v| v.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn rss_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|v| v.trim().split(' ').next()?.parse::<f64>().ok());
    (kib.unwrap_or(0.0) / 102.4).round() / 10.0
}

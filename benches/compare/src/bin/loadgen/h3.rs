//! The load over HTTP/3, by quinn.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use http::Request;
use quinn::crypto::rustls::QuicClientConfig;

use crate::secure::Secure;
use crate::{Args, Shared};

type Client = SendRequest<h3_quinn::OpenStreams, Bytes>;

/// One connection, on a socket of its own.
pub async fn connect(args: &Args, secure: &Secure) -> Client {
    let crypto = QuicClientConfig::try_from(secure.config(&[b"h3"])).expect("a suite that QUIC begins with");
    let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a socket");
    let target = args.target.parse().expect("--target is an address");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connection = endpoint.connect_with(config, target, &args.name).expect("a good name").await.expect("connect");
    let (mut driver, client) = h3::client::new(h3_quinn::Connection::new(connection)).await.expect("HTTP/3");
    tokio::task::spawn_local(async move {
        let _ = std::future::poll_fn(|cx| driver.poll_close(cx)).await;
    });
    client
}

/// One stream after the other.
pub async fn worker(args: Args, mut client: Client, tally: Shared) {
    let grpc = args.mode.is_grpc();
    let (path, body) = args.mode.call(&args);
    let head = args.mode.head(&args, path);
    while !tally.borrow().done {
        let started = Instant::now();
        let outcome = call(&mut client, &head, &body, grpc).await;
        let failed = outcome.is_err();
        tally.borrow_mut().record(started, outcome.map(|()| 1));
        if failed {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn call(client: &mut Client, head: &Request<()>, body: &Bytes, grpc: bool) -> Result<(), String> {
    let text = |error: h3::error::StreamError| error.to_string();
    let mut stream = client.send_request(head.clone()).await.map_err(text)?;
    stream.send_data(body.clone()).await.map_err(text)?;
    stream.finish().await.map_err(text)?;
    let response = stream.recv_response().await.map_err(text)?;
    if response.status() != 200 {
        return Err(format!("http status {}", response.status()));
    }
    let mut size = 0;
    while let Some(chunk) = stream.recv_data().await.map_err(text)? {
        size += chunk.remaining();
    }
    let trailers = stream.recv_trailers().await.map_err(text)?;
    if !grpc {
        return if size > 100 { Ok(()) } else { Err("short reply".into()) };
    }
    let status = trailers.and_then(|trailers| trailers.get("grpc-status").cloned());
    match status.or_else(|| response.headers().get("grpc-status").cloned()) {
        Some(status) if status == "0" && size == body.len() => Ok(()),
        other => Err(format!("grpc-status {other:?}, {size} bytes")),
    }
}

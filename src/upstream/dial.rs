//! Opens the byte stream to an endpoint: TCP, and TLS where its upstream speaks it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use rustls::Error;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::BufReader;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::net::set_up_tokio;
use crate::upstream::failure::Failure;
use crate::upstream::failure::When;
use crate::upstream::tls::ALPN_H2;
use crate::upstream::tls::Tls;

/// Connects to an endpoint. Where there is TLS, hands are shaken and HTTP/2 is agreed on.
///
/// # Errors
/// Why that failed, or took longer than `timeout`.
pub async fn dial(
    host: &str,
    port: u16,
    tls: Option<&Arc<Tls>>,
    timeout: Duration,
) -> Result<Stream, Failure> {
    dial_until(host, port, tls, (Instant::now() + timeout, timeout)).await
}

/// The same with the end of the time as an instant, and the whole time for messages.
pub(super) async fn dial_until(
    host: &str,
    port: u16,
    tls: Option<&Arc<Tls>>,
    (end, timeout): (Instant, Duration),
) -> Result<Stream, Failure> {
    let late = |what| move |_| Failure::late(what, timeout);
    let socket = timeout_at(end, TcpStream::connect((host, port))).await.map_err(late("connection"))??;
    set_up_tokio(&socket)?;
    let Some(tls) = tls else { return Ok(Stream::Plain(socket)) };
    let Some(name) = tls.name_of(host) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no certificate can be valid for it").into());
    };
    // TLS reads 4 KiB at a time, a record has up to 16 KiB.
    let socket = BufReader::with_capacity(READ_BYTES, socket);
    let shaking = TlsConnector::from(tls.client().clone()).connect(name, socket);
    let shaken = timeout_at(end, shaking).await.map_err(late("answer to the TLS handshake"))?;
    let io = shaken.map_err(|error| match fault(&error) {
        Some(fault) => Failure::tls(fault, tls),
        None => Failure::broken_off(&error, When::Handshake, tls),
    })?;
    if io.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
        return Err(Failure::no_h2());
    }
    Ok(Stream::Tls(Box::new(Secured { io, tls: tls.clone(), fault: None })))
}

/// What TLS says of an error, if it is its own.
fn fault(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// The byte stream to an endpoint.
pub enum Stream {
    /// In the clear.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<Secured>),
}

/// A byte stream over TLS, which remembers what TLS found at fault: the HTTP/2 codec doesn't tell.
pub struct Secured {
    io: TlsStream<BufReader<TcpStream>>,
    tls: Arc<Tls>,
    fault: Option<Error>,
}

impl Stream {
    /// Why the stream broke before HTTP/2 was spoken, where `error` is what the codec says.
    pub(super) fn failure(&mut self, error: io::Error, cx: &mut Context<'_>) -> Failure {
        let Self::Tls(secured) = self else { return error.into() };
        // A server that refuses a client certificate says so after the handshake (RFC 8446, section 4.4.2.4),
        // and closes: a write may fail before its alert is read.
        let mut room = [0; 1024];
        for _ in 0..READS_MAX {
            let mut read = ReadBuf::new(&mut room);
            match secured.read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {}
                _ => break,
            }
        }
        match &secured.fault {
            Some(fault) => Failure::tls(fault, &secured.tls),
            None => Failure::broken_off(&error, When::After, &secured.tls),
        }
    }
}

impl Secured {
    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.noted(read)
    }

    fn noted<T>(&mut self, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &done
            && self.fault.is_none()
        {
            self.fault = fault(error).cloned();
        }
        done
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(secured) => secured.read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(secured) => {
                let written = Pin::new(&mut secured.io).poll_write(cx, buf);
                secured.noted(written)
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(secured) => {
                let flushed = Pin::new(&mut secured.io).poll_flush(cx);
                secured.noted(flushed)
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(secured) => Pin::new(&mut secured.io).poll_shutdown(cx),
        }
    }
}

/// What is read of a socket at once, below TLS.
const READ_BYTES: usize = 32 << 10;
/// Reads, of 1 KiB each, in search of a last word.
const READS_MAX: usize = 64;

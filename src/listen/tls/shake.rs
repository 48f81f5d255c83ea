//! One handshake with a client: bounded in time, counted by its outcome, and with a word for clients that
//! don't speak TLS.

use std::io;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::HandshakeKind;
use rustls::ProtocolVersion;
use rustls::ServerConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::Acceptor;
use rustls::server::ClientHello;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::call::Secured;
use crate::config::types::ForwardCertificate;
use crate::listen::Place;
use crate::listen::tls::ALPN_H1;
use crate::listen::tls::ALPN_H2;
use crate::listen::tls::Tls;
use crate::listen::tls::clients;
use crate::listen::tls::clients::Clients;
use crate::listen::worker::Version;
use crate::listen::worker::read_version;
use crate::outbound::acme;
use crate::outbound::acme::Challenges;

/// A connection whose handshake is done.
pub(crate) struct Shaken {
    pub(crate) io: TlsStream<TcpStream>,
    pub(crate) spoken: Spoken,
}

/// What client and listener agreed to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    H1,
    H2,
    /// The client didn't ask: its first bytes tell.
    Unsaid,
}

/// Shakes hands, and tells the place what TLS says of its connection. `None` where the connection is over.
pub(crate) async fn shake(socket: TcpStream, tls: &Tls, place: &mut Place) -> Option<Shaken> {
    let shaking = tokio::time::timeout(tls.handshake_timeout, attempt(socket, tls));
    let outcome = tokio::select! {
        shaken = shaking => shaken.unwrap_or(Err("timeout")),
        () = std::future::poll_fn(|cx| place.poll_closed(cx)) => Err("gave_way"),
    };
    let shaken = outcome.and_then(|(io, secured)| {
        let spoken = spoken(io.get_ref().1)?;
        place.secured(secured)?;
        Ok(Shaken { io, spoken })
    });
    place.shaken(match &shaken {
        Ok(shaken) if shaken.io.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) => "resumed",
        Ok(_) => "full",
        Err(why) => why,
    });
    shaken.ok()
}

async fn attempt(mut socket: TcpStream, tls: &Tls) -> Result<(TlsStream<TcpStream>, Secured), &'static str> {
    let mut first = [0];
    match socket.peek(&mut first).await {
        Ok(1) if first[0] == HANDSHAKE => {}
        Ok(1) => {
            explain(&mut socket).await;
            return Err("not_tls");
        }
        Ok(_) | Err(_) => return Err("closed"),
    }
    let io = match &tls.challenges {
        None => TlsAcceptor::from(tls.server.clone()).accept(socket).await.map_err(|error| why(&error))?,
        Some(challenges) => accept(socket, tls, challenges).await?,
    };
    let session = io.get_ref().1;
    let version = if session.protocol_version() == Some(ProtocolVersion::TLSv1_3) { "1.3" } else { "1.2" };
    let secured =
        secured(tls, version, session.server_name(), session.peer_certificates().unwrap_or_default())?;
    Ok((io, secured))
}

/// What a finished handshake says of its connection.
pub(crate) fn secured(
    tls: &Tls,
    version: &'static str,
    server_name: Option<&str>,
    shown: &[CertificateDer<'_>],
) -> Result<Secured, &'static str> {
    let client = shown.first().map(clients::inspect).transpose()?;
    let forwarded = match (&client, &tls.clients) {
        (Some(client), Some(Clients { forward: ForwardCertificate::Yes, .. })) => {
            Some(clients::forwarded(client).ok_or("certificate_invalid")?)
        }
        _ => None,
    };
    Ok(Secured {
        client: client.map(Arc::new),
        forwarded,
        version,
        server_name: server_name.map(|name| name.to_ascii_lowercase().into()),
        names: tls.names.clone(),
    })
}

/// Shakes hands where an authority may come to see whether a domain is served here.
async fn accept(
    socket: TcpStream,
    tls: &Tls,
    challenges: &Challenges,
) -> Result<TlsStream<TcpStream>, &'static str> {
    let begun = LazyConfigAcceptor::new(Acceptor::default(), socket).await.map_err(|error| why(&error))?;
    let hello = begun.client_hello();
    let proof = hello.server_name().filter(|_| is_validation(&hello)).and_then(|name| challenges.tls(name));
    if let Some(proof) = proof {
        let mut io = begun.into_stream(proof).await.map_err(|error| why(&error))?;
        // RFC 8737, section 3: nothing is said over it. The authority may close it first.
        let _ = io.shutdown().await;
        return Err("acme_challenge");
    }
    let is_served = tls.certificates.pick(hello.server_name()).is_some();
    let shaken = begun.into_stream(tls.server.clone()).await;
    shaken.map_err(|error| if is_served { why(&error) } else { "no_certificate" })
}

/// Whether the client names the protocol of validation alone (RFC 8737, section 4).
fn is_validation(hello: &ClientHello<'_>) -> bool {
    let mut protocols = hello.alpn().into_iter().flatten();
    protocols.next() == Some(acme::ALPN) && protocols.next().is_none()
}

fn spoken(session: &ServerConnection) -> Result<Spoken, &'static str> {
    match session.alpn_protocol() {
        Some(ALPN_H2) => Ok(Spoken::H2),
        Some(ALPN_H1) => Ok(Spoken::H1),
        Some(_) => Err("failed"),
        None => Ok(Spoken::Unsaid),
    }
}

/// Tells a client in its own protocol that TLS is spoken here.
async fn explain(socket: &mut TcpStream) {
    let answer = match read_version(socket).await {
        Some((Version::H1, ahead)) if ahead[0].is_ascii_uppercase() => IN_HTTP1,
        Some((Version::H2, _)) => IN_HTTP2,
        _ => return,
    };
    // The client may be gone already; nothing is owed to it then.
    if socket.write_all(answer).await.is_ok() && socket.shutdown().await.is_ok() {
        // A close with bytes unread would be a reset, which may overtake the answer.
        let _ = tokio::io::copy(&mut socket.take(UNREAD_BYTES_MAX), &mut tokio::io::sink()).await;
    }
}

/// The outcome of a handshake that failed, in a word for metrics.
fn why(error: &io::Error) -> &'static str {
    use rustls::Error;
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return "closed";
    };
    tracing::debug!(%error, "a handshake failed");
    match error {
        Error::InvalidMessage(_) => "not_tls",
        Error::NoCertificatesPresented => "certificate_missing",
        Error::InvalidCertificate(CertificateError::Revoked) => "certificate_revoked",
        Error::InvalidCertificate(_) => "certificate_invalid",
        Error::AlertReceived(_) => "client_refused",
        Error::PeerIncompatible(_) => "incompatible",
        Error::NoApplicationProtocol => "no_protocol",
        _ => "failed",
    }
}

/// The same of a code of QUIC's, which has the alert that was sent in its last byte (RFC 9001, section 4.8).
pub(crate) fn why_alert(code: u64) -> &'static str {
    match code.checked_sub(CRYPTO_ERROR) {
        Some(116) => "certificate_missing",
        Some(44) => "certificate_revoked",
        Some(42 | 43 | 45 | 46 | 48 | 51) => "certificate_invalid",
        Some(40 | 70 | 71 | 109) => "incompatible",
        Some(120) => "no_protocol",
        _ => "failed",
    }
}

/// The codes of QUIC that stand for alerts of TLS begin here (RFC 9000, section 20.1).
const CRYPTO_ERROR: u64 = 0x100;
/// The type of a record that begins a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
const IN_HTTP1: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 42\r\n\
    connection: close\r\n\r\nthis port speaks TLS: begin with https://\n";
/// Empty SETTINGS, and GOAWAY with INADEQUATE_SECURITY.
const IN_HTTP2: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x1c\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0cthis port speaks TLS";
/// What is read of a client that is being told.
const UNREAD_BYTES_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_the_clear_have_the_lengths_they_say() {
        let text = std::str::from_utf8(IN_HTTP1).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        let go_away = &IN_HTTP2[9..];
        assert_eq!(usize::from(go_away[2]), go_away[9..].len());
    }
}

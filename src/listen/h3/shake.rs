//! One handshake over QUIC: bounded in time, and counted by its outcome.

use std::sync::Arc;

use quinn::crypto::rustls::HandshakeData;
use rustls::pki_types::CertificateDer;

use crate::listen::Place;
use crate::listen::tls;
use crate::listen::tls::Tls;

/// Shakes hands, and tells the place what TLS says of its connection.
pub(super) async fn shake(
    incoming: quinn::Incoming,
    server: Arc<quinn::ServerConfig>,
    tls: &Tls,
    place: &mut Place,
) -> Option<quinn::Connection> {
    let shaking = async { incoming.accept_with(server)?.await };
    let outcome = tokio::select! {
        shaken = tokio::time::timeout(tls.handshake_timeout, shaking) => match shaken {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(why(&error)),
            Err(_) => Err("timeout"),
        },
        () = std::future::poll_fn(|cx| place.poll_closed(cx)) => Err("gave_way"),
    };
    let outcome = outcome.and_then(|connection| {
        let told = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        let server_name = told.and_then(|told| told.server_name);
        let shown = connection
            .peer_identity()
            .and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
        let shown = shown.map(|shown| *shown).unwrap_or_default();
        place.secured(tls::secured(tls, "1.3", server_name.as_deref(), &shown)?)?;
        Ok(connection)
    });
    place.shaken(outcome.as_ref().err().copied().unwrap_or("quic"));
    outcome.ok()
}

/// The outcome of a handshake that failed, in a word for metrics.
fn why(error: &quinn::ConnectionError) -> &'static str {
    tracing::debug!(%error, "a handshake failed");
    match error {
        quinn::ConnectionError::TransportError(error) => tls::why_alert(u64::from(error.code)),
        quinn::ConnectionError::ConnectionClosed(_) => "client_refused",
        quinn::ConnectionError::VersionMismatch => "incompatible",
        quinn::ConnectionError::TimedOut => "timeout",
        quinn::ConnectionError::Reset | quinn::ConnectionError::ApplicationClosed(_) => "closed",
        _ => "failed",
    }
}

//! TLS of listeners: what a configuration asks for, read and ready for handshakes.

mod certificates;
mod clients;
mod shake;

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::server::ProducesTickets;

use crate::call::Names;
use crate::config::Config;
use crate::config::Diag;
use crate::config::types::Tls as Asked;
use crate::config::types::TlsVersion;
use crate::listen::tls::certificates::Certificates;
use crate::listen::tls::clients::Clients;
use crate::outbound::acme::Challenges;
use crate::outbound::acme::Prepared;
use crate::tls::Pair;
use crate::tls::Reader;

pub(crate) use shake::Shaken;
pub(crate) use shake::Spoken;
pub(crate) use shake::secured;
pub(crate) use shake::shake;
pub(crate) use shake::why_alert;

/// TLS of one listener; a change of its files makes a new one, for handshakes to come.
pub struct Tls {
    server: Arc<ServerConfig>,
    /// The same for HTTP/3.
    pub(crate) quic: Arc<QuicServerConfig>,
    names: Arc<Names>,
    certificates: Arc<Certificates>,
    /// What is answered to authorities, where one is asked for a certificate.
    challenges: Option<Arc<Challenges>>,
    clients: Option<Clients>,
    tickets: Arc<dyn ProducesTickets>,
    pub(crate) handshake_timeout: Duration,
    /// Handshakes under way at the same time.
    pub max_handshakes: NonZeroUsize,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Reads the certificates and the authorities of a configuration, and makes TLS of each listener that asks for it, by name.
///
/// Faults are reported with the place that names the file. `before` is what serves, by listener: sessions
/// that clients keep outlive a change of certificates. `acme` has the places of certificates that authorities
/// issue: what comes there later serves without a new [`Tls`].
pub fn read(
    config: &Config,
    before: &HashMap<String, Arc<Tls>>,
    acme: &Prepared,
    diag: &mut Diag,
) -> HashMap<String, Arc<Tls>> {
    let mut reader = Reader::new(diag);
    for certificate in &config.certificates {
        reader.pair(certificate);
    }
    let mut all = HashMap::new();
    let listeners = config.listeners.iter().map(|listener| (listener.name.as_str(), &listener.tls));
    for (name, asked) in listeners.chain([(ADMIN, &config.admin.tls)]) {
        let Some(asked) = asked else { continue };
        let before = before.get(name).map(|tls| &**tls);
        if let Some(tls) = one(&mut reader, acme, name, asked, before) {
            all.insert(name.to_owned(), Arc::new(tls));
        }
    }
    all
}

fn one(
    reader: &mut Reader<'_>,
    acme: &Prepared,
    listener: &str,
    asked: &Asked,
    before: Option<&Tls>,
) -> Option<Tls> {
    let pairs: Vec<Option<Pair>> = asked.certificates.iter().map(|asked| reader.pair(asked)).collect();
    let clients = asked.clients.as_ref().map(|asked| Clients::read(asked, &reader.provider, reader.diag));
    let pairs: Vec<Pair> = pairs.into_iter().collect::<Option<_>>()?;
    let clients = match clients {
        Some(read) => Some(read?),
        None => None,
    };
    match build(&reader.provider, acme, asked, &pairs, clients, before) {
        Ok(tls) => Some(tls),
        Err(error) => {
            let problem = format!("TLS of listener \"{listener}\" can't be set up: {error}");
            reader.diag.fault(&asked.at, problem, "");
            None
        }
    }
}

fn build(
    provider: &Arc<CryptoProvider>,
    acme: &Prepared,
    asked: &Asked,
    pairs: &[Pair],
    clients: Option<Clients>,
    before: Option<&Tls>,
) -> Result<Tls, rustls::Error> {
    let versions: &[_] = match asked.min_version {
        TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let certificates =
        Arc::new(Certificates::new(pairs, asked.acme.as_ref().and_then(|asked| acme.slot(asked))));
    let names = certificates.names.clone();
    let server = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let server = match &clients {
        None => server.with_no_client_auth(),
        Some(clients) => server.with_client_cert_verifier(clients.verifier.clone()),
    };
    let mut server = server.with_cert_resolver(certificates.clone());
    // A ticket stands for a client that was verified: it is good only as long as the same clients are.
    let trust = |clients: &Option<Clients>| clients.as_ref().map(|clients| clients.digest);
    let tickets = match before {
        Some(before) if trust(&before.clients) == trust(&clients) => before.tickets.clone(),
        _ => aws_lc_rs::Ticketer::new()?,
    };
    server.alpn_protocols = vec![ALPN_H2.into(), ALPN_H1.into()];
    server.ticketer = tickets.clone();
    server.ignore_client_order = true;
    // Tickets alone: nothing is kept here for clients that may never come back.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    let mut over_quic = server.clone();
    over_quic.alpn_protocols = vec![ALPN_H3.into()];
    let quic = QuicServerConfig::try_from(over_quic)
        .map_err(|_| rustls::Error::General("no cipher suite that QUIC begins with".into()))?;
    Ok(Tls {
        quic: Arc::new(quic),
        server: Arc::new(server),
        names,
        certificates,
        challenges: asked.acme.is_some().then(|| acme.challenges().clone()),
        clients,
        tickets,
        handshake_timeout: asked.handshake_timeout,
        max_handshakes: asked.max_handshakes,
    })
}

/// The protocols that are negotiated (RFC 7301), the preferred one first.
const ALPN_H2: &[u8] = b"h2";
const ALPN_H1: &[u8] = b"http/1.1";
const ALPN_H3: &[u8] = b"h3";

/// What the listener of the Admin API is called.
pub const ADMIN: &str = "admin";

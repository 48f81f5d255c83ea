//! TLS towards the endpoints of an upstream: whom the gateway trusts, and what it shows.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use sha2::Digest;
use sha2::Sha256;

use crate::config::Config;
use crate::config::Diag;
use crate::config::types::Upstream;
use crate::config::types::UpstreamTls;
use crate::tls::Reader;
use crate::tls::authorities;
use crate::tls::system_authorities;

/// TLS of one upstream; a change of what its files say makes a new one.
pub struct Tls {
    client: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    /// For messages: the file of the authorities; `None` is the system's.
    ca: Option<Arc<str>>,
    shows: Shows,
    /// Of all that it was made from.
    digest: [u8; 32],
}

/// Whether the gateway has a certificate of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    Nothing,
    Certificate,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Two that are alike were made from the same.
    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    pub(super) fn client(&self) -> &Arc<ClientConfig> {
        &self.client
    }

    pub(super) fn shows(&self) -> Shows {
        self.shows
    }

    /// Who is trusted, for messages.
    pub(super) fn trusted(&self) -> String {
        match &self.ca {
            Some(file) => format!("the authorities in {file}"),
            None => "the system's authorities".into(),
        }
    }

    /// What the certificate of an endpoint must be valid for.
    pub(super) fn name_of(&self, host: &str) -> Option<ServerName<'static>> {
        self.server_name.clone().or_else(|| server_name(host))
    }
}

/// Reads authorities, certificates and keys, and makes TLS of each upstream that asks for it, by name.
///
/// Faults are reported with the place that names the file. What says the same as in `before` is taken over,
/// with the sessions that can be resumed.
pub fn read(
    config: &Config,
    before: &HashMap<String, Arc<Tls>>,
    diag: &mut Diag,
) -> HashMap<String, Arc<Tls>> {
    let mut reader = Reader::new(diag);
    let mut system = None;
    let mut all = HashMap::new();
    for upstream in &config.upstreams {
        let Some(asked) = &upstream.tls else { continue };
        if let Some(tls) = one(upstream, asked, &mut reader, &mut system) {
            let same = before.get(&upstream.name).filter(|before| before.digest == tls.digest);
            all.insert(upstream.name.clone(), same.cloned().unwrap_or_else(|| Arc::new(tls)));
        }
    }
    all
}

/// The system's authorities, and their digest.
type System = (Arc<RootCertStore>, [u8; 32]);

fn one(
    upstream: &Upstream,
    asked: &UpstreamTls,
    reader: &mut Reader<'_>,
    system: &mut Option<Option<System>>,
) -> Option<Tls> {
    let mut digest = Sha256::new();
    let named = match &asked.server_name {
        None => Some(None),
        Some(name) => {
            let parsed = server_name(&name.value);
            if parsed.is_none() {
                let problem = format!("\"{}\" can't be the name of a server", name.value);
                reader.diag.fault(&name.at, problem, "write a DNS name or an IP address");
            }
            digest.update(&name.value);
            parsed.map(Some)
        }
    };
    let endpoints = asked.server_name.is_some() || endpoints_are_names(upstream, reader.diag);
    digest.update([0]);
    let roots = match &asked.ca {
        Some(ca) => match authorities(&ca.value, &mut digest) {
            Ok(roots) => Some(Arc::new(roots)),
            Err(wrong) => {
                reader.diag.fault(&ca.at, wrong.problem, wrong.help);
                None
            }
        },
        None => match system.get_or_insert_with(|| of_system(asked, reader.diag)) {
            Some((roots, of_roots)) => {
                digest.update(*of_roots);
                Some(roots.clone())
            }
            None => None,
        },
    };
    digest.update([0]);
    let pair = match &asked.certificate {
        None => Some(None),
        Some(certificate) => reader.pair(certificate).map(Some),
    };
    let (roots, pair, server_name) = (roots?, pair?, named?);
    if !endpoints {
        return None;
    }
    let shows = if pair.is_some() { Shows::Certificate } else { Shows::Nothing };
    if let Some(pair) = &pair {
        pair.key.cert.iter().for_each(|certificate| digest.update(certificate));
    }
    let client = ClientConfig::builder_with_provider(reader.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12]);
    let client = match client {
        Ok(client) => client.with_root_certificates(roots),
        Err(error) => {
            let problem = format!("TLS of upstream \"{}\" can't be set up: {error}", upstream.name);
            reader.diag.fault(&asked.at, problem, "");
            return None;
        }
    };
    let mut client = match pair {
        None => client.with_no_client_auth(),
        Some(pair) => client.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.key))),
    };
    client.alpn_protocols = vec![ALPN_H2.into()];
    client.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    let ca = asked.ca.as_ref().map(|ca| ca.value.display().to_string().into());
    Some(Tls { client: Arc::new(client), server_name, ca, shows, digest: digest.finalize().into() })
}

/// Whether the host of each endpoint can be looked for in a certificate.
fn endpoints_are_names(upstream: &Upstream, diag: &mut Diag) -> bool {
    let mut good = true;
    for endpoint in &upstream.endpoints {
        if server_name(&endpoint.host).is_none() {
            let problem = format!("no certificate can be valid for \"{}\"", endpoint.host);
            diag.fault(&endpoint.at, problem, "say in `tls.server_name` whose certificate the server shows");
            good = false;
        }
    }
    good
}

/// The authorities of the system; `None` where a fault was reported.
fn of_system(asked: &UpstreamTls, diag: &mut Diag) -> Option<System> {
    let mut digest = Sha256::new();
    let roots = system_authorities(&mut digest);
    if roots.is_empty() {
        let help =
            "give the authorities of the upstream as `ca`, or install the system's (`ca-certificates`)";
        diag.fault(&asked.at, "the system has no authorities to trust", help);
        return None;
    }
    Some((Arc::new(roots), digest.finalize().into()))
}

/// An IP address with or without brackets, or a DNS name with or without the final dot.
fn server_name(text: &str) -> Option<ServerName<'static>> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(address) => Some(ServerName::from(address)),
        Err(_) => ServerName::try_from(text.strip_suffix('.').unwrap_or(text).to_owned()).ok(),
    }
}

/// The protocol that is offered (RFC 7301).
pub(super) const ALPN_H2: &[u8] = b"h2";
/// Names of servers whose sessions are kept; of each no more than a few.
const SESSIONS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_configurations_write_them() {
        let name = |text| server_name(text).map(|name| name.to_str().into_owned());
        assert_eq!(name("pets.internal.").as_deref(), Some("pets.internal"));
        assert_eq!(name("127.0.0.1").as_deref(), Some("127.0.0.1"));
        assert_eq!(name("[::1]").as_deref(), Some("::1"));
        assert!(matches!(server_name("::1"), Some(ServerName::IpAddress(_))));
        assert_eq!(name("a..b"), None);
    }
}

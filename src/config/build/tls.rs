//! Turns what is checked of TLS into types.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::path::PathBuf;

use crate::config::build::at;
use crate::config::build::boolean;
use crate::config::build::count;
use crate::config::build::duration;
use crate::config::build::path;
use crate::config::build::text;
use crate::config::host::HostPattern;
use crate::config::raw::Raw;
use crate::config::scalar;
use crate::config::types::Acme;
use crate::config::types::Certificate;
use crate::config::types::CertificateSource;
use crate::config::types::ClientAuth;
use crate::config::types::Clients;
use crate::config::types::ForwardCertificate;
use crate::config::types::Given;
use crate::config::types::Located;
use crate::config::types::Tls;
use crate::config::types::TlsVersion;
use crate::config::types::UpstreamTls;

/// The certificates of the whole configuration, by name.
pub(super) struct Named<'a>(HashMap<&'a str, &'a Raw>);

impl<'a> Named<'a> {
    pub(super) fn of(items: &'a [Raw]) -> Self {
        Self(items.iter().filter_map(|raw| Some((raw.get("name")?.text()?, raw))).collect())
    }

    /// The one that a list names, or the one that is written in the list itself.
    fn certificate(&self, item: &Raw) -> Certificate {
        let named = item.text().and_then(|name| self.0.get(name)).copied().unwrap_or(item);
        let found = certificate(named);
        // What is wrong with the text of a resource is for whoever wrote the resource.
        let at = if named.place.resource().is_some() { named.at() } else { item.at() };
        Certificate { at, ..found }
    }
}

pub(super) fn tls(raw: &Raw, named: &Named<'_>) -> Tls {
    let is = |name: &str, word: &str| raw.get(name).is_some_and(|value| value.is_word(word));
    Tls {
        at: raw.at(),
        certificates: raw
            .get("certificates")
            .map(Raw::items)
            .unwrap_or_default()
            .iter()
            .map(|item| named.certificate(item))
            .collect(),
        acme: raw.get("acme").map(acme),
        clients: located(raw, "client_ca").map(|ca| Clients {
            ca,
            crl: located(raw, "crl"),
            auth: if is("client_auth", "optional") { ClientAuth::Optional } else { ClientAuth::Required },
            forward: match boolean(raw, "forward_client_cert") {
                true => ForwardCertificate::Yes,
                false => ForwardCertificate::No,
            },
        }),
        min_version: if is("min_version", "1.3") { TlsVersion::V13 } else { TlsVersion::V12 },
        handshake_timeout: duration(raw, "handshake_timeout"),
        max_handshakes: count(raw, "max_handshakes"),
    }
}

fn acme(raw: &Raw) -> Acme {
    let domains = raw.get("domains").map(Raw::items).unwrap_or_default().iter();
    let domains = domains.filter_map(Raw::text).map(|name| name.trim_end_matches('.').to_ascii_lowercase());
    let domains: BTreeSet<String> = domains.collect();
    Acme {
        at: raw.at(),
        directory: text(raw, "directory"),
        domains: domains.into_iter().collect(),
        email: raw.get("email").and_then(Raw::text).map(str::to_owned),
        path: Located { value: path(raw, "path"), at: at(raw, "path") },
        ca: located(raw, "ca"),
    }
}

pub(super) fn located(raw: &Raw, name: &str) -> Option<Located<PathBuf>> {
    raw.get(name).and_then(|file| Some(Located { value: file.path()?, at: file.at() }))
}

pub(super) fn certificate(raw: &Raw) -> Certificate {
    let pem = |name: &str| {
        let text = raw.get(name).filter(|value| value.place.resource().is_some())?.text()?;
        text.starts_with(scalar::PEM_START).then(|| text.into())
    };
    if let (Some(cert), Some(key)) = (pem("cert"), pem("key")) {
        return Certificate { at: raw.at(), source: CertificateSource::Given(Given { cert, key }) };
    }
    let file = |name: &str| Located { value: path(raw, name), at: at(raw, name) };
    Certificate { at: raw.at(), source: CertificateSource::Files { cert: file("cert"), key: file("key") } }
}

pub(super) fn upstream_tls(raw: &Raw) -> UpstreamTls {
    let server_name = raw.get("server_name").and_then(|name| {
        let Ok(HostPattern::Exact(value)) = HostPattern::parse(name.text()?) else { return None };
        Some(Located { value, at: name.at() })
    });
    let certificate = raw.get("cert").map(|_| certificate(raw));
    UpstreamTls { at: raw.at(), ca: located(raw, "ca"), certificate, server_name }
}

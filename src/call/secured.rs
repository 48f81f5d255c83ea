//! What TLS says of a client's connection, as facts for policies and logs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;

/// A connection whose handshake is done.
#[derive(Debug, Clone)]
pub struct Secured {
    /// The version that is spoken, `1.2` or `1.3`.
    pub version: &'static str,
    /// The server name that the client asked for, in lower case.
    pub server_name: Option<Box<str>>,
    /// The certificate of the client, verified; `None` where it showed none.
    pub client: Option<Arc<ClientCertificate>>,
    /// What upstreams are told of it, where the listener tells them.
    pub forwarded: Option<HeaderValue>,
    /// Which certificate serves which host, as it was at the handshake.
    pub names: Arc<Names>,
}

impl Secured {
    /// Whether a request for this host belongs on a connection of its own: a certificate other than the one
    /// of this connection has the host's name (RFC 9110, section 7.4).
    ///
    /// A client that named no server may not be able to, and is not sent away.
    pub fn is_misdirected(&self, host: &str) -> bool {
        if self.names.certificates < 2 {
            return false;
        }
        let Some(server_name) = &self.server_name else { return false };
        let serves = self.names.find(server_name).unwrap_or_default();
        self.names.find(host).is_some_and(|other| other != serves)
    }
}

/// A client's certificate, signed by an authority that the listener trusts and not revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject as RFC 4514 writes it, such as `CN=mobile,O=Example`; in ASCII.
    pub subject: Box<str>,
    /// Its subject's alternative names.
    pub names: Vec<ClientName>,
    /// SHA-256 of the whole certificate, in lower-case hex.
    pub fingerprint: Box<str>,
}

/// One alternative name of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientName {
    /// A host.
    Dns(Box<str>),
    /// A URI, such as a SPIFFE ID.
    Uri(Box<str>),
    /// An e-mail address.
    Email(Box<str>),
    /// An address.
    Ip(IpAddr),
}

/// The names of a listener's certificates.
#[derive(Debug, Default)]
pub struct Names {
    certificates: usize,
    exact: HashMap<Box<str>, usize>,
    /// By what follows `*.`.
    wildcards: HashMap<Box<str>, usize>,
}

impl Names {
    /// Adds the next certificate, with its DNS names. Of two that have a name the first one keeps it.
    pub fn add<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            let name = lower(name);
            let (map, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcards, parent),
                None => (&mut self.exact, &*name),
            };
            map.entry(name.into()).or_insert(self.certificates);
        }
        self.certificates += 1;
    }

    /// Which certificate has the name of this host: exactly, or as a wildcard of one label.
    pub fn find(&self, host: &str) -> Option<usize> {
        let host = lower(host);
        let by_wildcard = || {
            let (label, parent) = host.split_once('.')?;
            if label.is_empty() { None } else { self.wildcards.get(parent) }
        };
        self.exact.get(&*host).or_else(by_wildcard).copied()
    }
}

/// As hosts are compared: case and a final dot don't count.
fn lower(name: &str) -> Box<str> {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(certificates: &[&[&str]]) -> Arc<Names> {
        let mut names = Names::default();
        certificates.iter().for_each(|all| names.add(all.iter().copied()));
        Arc::new(names)
    }

    #[test]
    fn exact_names_come_before_wildcards_of_one_label() {
        let names = names(&[&["*.example.com"], &["API.example.com.", "example.com"], &["api.example.com"]]);
        for (host, certificate) in [
            ("www.example.com", Some(0)),
            ("WWW.Example.com.", Some(0)),
            ("api.example.com", Some(1)),
            ("example.com", Some(1)),
            ("a.b.example.com", None),
            (".example.com", None),
            ("com", None),
            ("", None),
        ] {
            assert_eq!(names.find(host), certificate, "{host}");
        }
    }

    #[test]
    fn only_a_host_that_another_certificate_names_is_misdirected() {
        let names = names(&[&["a.test"], &["b.test", "*.c.test"]]);
        let on = |server_name: Option<&str>| Secured {
            version: "1.3",
            server_name: server_name.map(Into::into),
            client: None,
            forwarded: None,
            names: names.clone(),
        };
        assert!(!on(Some("a.test")).is_misdirected("a.test"));
        assert!(on(Some("a.test")).is_misdirected("B.test"));
        assert!(on(Some("a.test")).is_misdirected("x.c.test"));
        assert!(!on(Some("b.test")).is_misdirected("x.c.test"), "the same certificate has both names");
        assert!(!on(Some("a.test")).is_misdirected("nobody.test"), "no certificate has that name");
        assert!(on(Some("nobody.test")).is_misdirected("b.test"), "the first one serves it");
        assert!(!on(Some("nobody.test")).is_misdirected("a.test"));
        assert!(!on(None).is_misdirected("b.test"));
    }
}

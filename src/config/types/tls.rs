//! What a checked configuration says of TLS, on listeners and towards upstreams.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::fault::At;
use crate::config::types::Located;

/// TLS on one listener.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Where it was written.
    pub at: At,
    /// The client's server name picks one, the first serves all others; there is one at least, or `acme`.
    pub certificates: Vec<Certificate>,
    /// Asks an authority for a certificate beside these.
    pub acme: Option<Acme>,
    /// Whose certificates clients may show; `None` asks for none.
    pub clients: Option<Clients>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// For one whole handshake.
    pub handshake_timeout: Duration,
    /// Handshakes under way at the same time.
    pub max_handshakes: NonZeroUsize,
}

impl Tls {
    /// The files that it is read from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let of_clients =
            self.clients.iter().flat_map(|clients| std::iter::once(&clients.ca).chain(&clients.crl));
        let of_acme = self.acme.iter().filter_map(|acme| acme.ca.as_ref());
        let others = of_clients.chain(of_acme).map(|file| &*file.value);
        self.certificates.iter().flat_map(Certificate::files).chain(others)
    }
}

/// A certificate that is asked of an ACME authority (RFC 8555).
#[derive(Debug, Clone)]
pub struct Acme {
    /// Where it was written.
    pub at: At,
    /// The URL of the authority's directory.
    pub directory: String,
    /// What the certificate is for: names in lower case, sorted, each once, at least one.
    pub domains: Vec<String>,
    /// Whom the authority may write to.
    pub email: Option<String>,
    /// The directory where account and certificates are kept.
    pub path: Located<PathBuf>,
    /// Who signs for the directory's own server; `None` are the authorities that the system trusts.
    pub ca: Option<Located<PathBuf>>,
}

/// Certificates of clients on one listener.
#[derive(Debug, Clone)]
pub struct Clients {
    /// The authorities that sign them.
    pub ca: Located<PathBuf>,
    /// Which of them are revoked.
    pub crl: Option<Located<PathBuf>>,
    /// Whether each client needs one.
    pub auth: ClientAuth,
    /// Whether upstreams are told.
    pub forward: ForwardCertificate,
}

/// Whether clients need a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// One that is shown must be good.
    Optional,
    /// There is no connection without a good one.
    Required,
}

/// Whether upstreams are told of a client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardCertificate {
    /// They aren't.
    No,
    /// By `x-forwarded-client-cert`.
    Yes,
}

/// TLS towards the endpoints of one upstream.
#[derive(Debug, Clone)]
pub struct UpstreamTls {
    /// Where it was written.
    pub at: At,
    /// The authorities that sign for the endpoints; `None` is those of the system.
    pub ca: Option<Located<PathBuf>>,
    /// What the gateway shows where it is asked for a certificate.
    pub certificate: Option<Certificate>,
    /// Whose certificate each endpoint must show, a name or an IP address; `None` is the endpoint's host.
    pub server_name: Option<Located<String>>,
}

impl UpstreamTls {
    /// The files that it is read from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let ca = self.ca.iter().map(|file| &*file.value);
        ca.chain(self.certificate.iter().flat_map(Certificate::files))
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    V12,
    /// RFC 8446.
    V13,
}

/// A certificate with its chain, and its private key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Where it was written; for one of the file that is used by its name, where it is named.
    pub at: At,
    /// Where it comes from.
    pub source: CertificateSource,
}

impl Certificate {
    /// The files that it is read from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = match &self.source {
            CertificateSource::Files { cert, key } => [Some(&*cert.value), Some(&*key.value)],
            CertificateSource::Given(_) => [None, None],
        };
        files.into_iter().flatten()
    }
}

/// Where a certificate and its key come from.
#[derive(Debug, Clone)]
pub enum CertificateSource {
    /// Two files of PEM.
    Files {
        /// The certificate, and the chain behind it.
        cert: Located<PathBuf>,
        /// Its private key.
        key: Located<PathBuf>,
    },
    /// PEM itself, of a resource or of the embedding program; a file can't say it.
    Given(Given),
}

/// A certificate and its key in PEM.
#[derive(Clone)]
pub struct Given {
    /// The certificate, and the chain behind it.
    pub cert: Arc<str>,
    /// Its private key.
    pub key: Arc<str>,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given")
    }
}

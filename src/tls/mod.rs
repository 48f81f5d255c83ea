//! What TLS towards clients and towards upstreams has in common: certificates, keys and authorities from PEM.

mod pair;
pub mod pem;

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use sha2::Digest;
use sha2::Sha256;

use crate::config::Diag;
use crate::config::types::Certificate;
use crate::config::types::CertificateSource;
use crate::tls::pair::Of;
use crate::tls::pem::Wrong;

pub use pair::Pair;

/// Reads the certificates of a configuration: each file once, and each fault once.
pub struct Reader<'a> {
    /// The cryptography of all TLS here.
    pub provider: Arc<CryptoProvider>,
    /// Where faults go.
    pub diag: &'a mut Diag,
    read: HashMap<(PathBuf, PathBuf), Option<Pair>>,
}

impl<'a> Reader<'a> {
    /// One that has read nothing yet.
    pub fn new(diag: &'a mut Diag) -> Self {
        Self { provider: Arc::new(provider()), diag, read: HashMap::new() }
    }

    /// A certificate and its key; `None` where a fault was reported.
    pub fn pair(&mut self, certificate: &Certificate) -> Option<Pair> {
        let (cert, key) = match &certificate.source {
            CertificateSource::Files { cert, key } => (cert, key),
            CertificateSource::Given(given) => {
                let (cert, key) =
                    (("the certificate", given.cert.as_bytes()), ("the key", given.key.as_bytes()));
                return match Pair::read(cert, key, &self.provider) {
                    Ok(pair) => Some(pair),
                    Err((_, Wrong { problem, help })) => {
                        self.diag.fault(&certificate.at, problem, help);
                        None
                    }
                };
            }
        };
        let names = (cert.value.clone(), key.value.clone());
        if let Some(known) = self.read.get(&names) {
            return known.clone();
        }
        let shown = (cert.value.display().to_string(), key.value.display().to_string());
        let both = pem::read(&cert.value).map_err(|wrong| (Of::Cert, wrong)).and_then(|cert_pem| {
            let key_pem = pem::read(&key.value).map_err(|wrong| (Of::Key, wrong))?;
            Pair::read((&shown.0, &cert_pem), (&shown.1, &key_pem), &self.provider)
        });
        let pair = match both {
            Ok(pair) => Some(pair),
            Err((of, Wrong { problem, help })) => {
                let at = if of == Of::Cert { &cert.at } else { &key.at };
                self.diag.fault(at, problem, help);
                None
            }
        };
        if let Some(doubt) = pair.as_ref().and_then(|pair| pair.doubt) {
            tracing::warn!("{}: the certificate in {} {doubt}: it will be refused", cert.at, shown.0);
        }
        self.read.insert(names, pair.clone());
        pair
    }
}

/// The cryptography of all TLS here. AES-128 comes before AES-256, whose SHA-384 no machine helps with: a handshake
/// costs a tenth more with it.
pub fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        let name = suite.suite().as_str().unwrap_or_default();
        // The order is kept otherwise.
        (!name.starts_with("TLS13_"), name.contains("AES_256"))
    });
    provider
}

/// The authorities of a file, and their part of the digest of what is trusted.
///
/// # Errors
/// What is wrong with the file.
pub fn authorities(path: &Path, digest: &mut Sha256) -> Result<RootCertStore, Wrong> {
    let shown = path.display().to_string();
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(&pem::read(path)?, &shown)? {
        digest.update(&certificate);
        roots.add(certificate).map_err(|error| Wrong {
            problem: format!("{shown} has a certificate that is no authority's: {error}"),
            help: "give the certificates of those who sign for the other side",
        })?;
    }
    Ok(roots)
}

/// The authorities that the system trusts, and their part of the digest of what is trusted. None are there where
/// `ca-certificates` isn't installed.
pub fn system_authorities(digest: &mut Sha256) -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's authorities can't be read");
    }
    found.certs.iter().for_each(|certificate| digest.update(certificate));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

//! A certificate with its key, read from PEM and found to belong together.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::tls::pem;
use crate::tls::pem::Wrong;

/// A certificate with its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Both, ready to sign.
    pub key: Arc<CertifiedKey>,
    /// The DNS names of the certificate.
    pub names: Arc<[String]>,
    /// Why the other side won't take it as it is.
    pub doubt: Option<&'static str>,
}

impl Pair {
    /// Reads both from PEM; `cert` and `key` are what they are called in a fault.
    ///
    /// # Errors
    /// What is wrong, and with which of the two.
    pub fn read(
        (cert, cert_pem): (&str, &[u8]),
        (key, key_pem): (&str, &[u8]),
        provider: &CryptoProvider,
    ) -> Result<Self, (Of, Wrong)> {
        let chain = pem::certificates(cert_pem, cert).map_err(|wrong| (Of::Cert, wrong))?;
        let private = pem::key(key_pem, key).map_err(|wrong| (Of::Key, wrong))?;
        let (names, doubt) = inspect(&chain[0]).map_err(|why| {
            let help = "give an X.509 certificate in PEM, the own one first";
            (Of::Cert, Wrong { problem: format!("{cert} has no good certificate: {why}"), help })
        })?;
        let key = CertifiedKey::from_der(chain, private, provider).map_err(|error| {
            let mismatch = matches!(error, rustls::Error::InconsistentKeys(_));
            let (problem, help) = match mismatch {
                true => (
                    format!("{key} is the key of another certificate than {cert}"),
                    "give the key that the certificate was made with",
                ),
                false => (
                    format!("{key} has a key that can't be used: {error}"),
                    "give an RSA, ECDSA (P-256, P-384, P-521) or Ed25519 key",
                ),
            };
            (Of::Key, Wrong { problem, help })
        })?;
        Ok(Self { key: Arc::new(key), names: names.into(), doubt })
    }
}

/// Which of the two files a fault is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// That of the certificate.
    Cert,
    /// That of the key.
    Key,
}

/// The DNS names of a certificate, and why it isn't good at this time.
fn inspect(der: &CertificateDer<'_>) -> Result<(Vec<String>, Option<&'static str>), String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let alternatives = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = match alternatives {
        Some(alternatives) => {
            let dns = alternatives.value.general_names.iter().filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            });
            dns.collect()
        }
        None => certificate
            .subject()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok())
            .map(str::to_owned)
            .collect(),
    };
    let (now, validity) = (ASN1Time::now(), certificate.validity());
    let doubt = match (now < validity.not_before, now > validity.not_after) {
        (true, _) => Some("is not valid yet"),
        (_, true) => Some("has expired"),
        _ => None,
    };
    Ok((names, doubt))
}

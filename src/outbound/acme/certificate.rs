//! A certificate that an authority issued, and the place where listeners find it.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The certificate of one section, for handshakes to come: empty until there is one, then never again.
#[derive(Debug)]
pub struct Slot {
    domains: Vec<String>,
    key: ArcSwapOption<CertifiedKey>,
}

impl Slot {
    /// An empty one for these domains.
    pub fn new(domains: &[String]) -> Self {
        Self { domains: domains.into(), key: ArcSwapOption::empty() }
    }

    /// What its certificate is for.
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// The certificate that is served now.
    pub fn load(&self) -> Option<Arc<CertifiedKey>> {
        self.key.load_full()
    }

    pub(super) fn put(&self, issued: &Issued) {
        self.key.store(Some(issued.key.clone()));
    }
}

/// A certificate with its key, and from when to when it is good.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) valid: Validity,
}

/// When a certificate is good; both ends are part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

impl Issued {
    /// Reads a chain and its key from PEM; the first certificate is for these domains.
    pub(super) fn read(pem: &[u8], domains: &[String], provider: &CryptoProvider) -> Result<Self, String> {
        let chain = CertificateDer::pem_slice_iter(pem).take(CHAIN_MAX + 1);
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|_| "it is not PEM".to_owned())?;
        let first = chain.first().ok_or("it has no certificate")?;
        if chain.len() > CHAIN_MAX {
            return Err(format!("its chain has over {CHAIN_MAX} certificates"));
        }
        let valid = inspect(first, domains)?;
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| "it has no private key".to_owned())?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| error.to_string())?;
        Ok(Self { key: Arc::new(key), valid })
    }
}

fn inspect(der: &CertificateDer<'_>, domains: &[String]) -> Result<Validity, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let has = |domain: &String| {
        let mut names = names.iter();
        names.any(|name| matches!(name, GeneralName::DNSName(name) if name.eq_ignore_ascii_case(domain)))
    };
    if let Some(missing) = domains.iter().find(|domain| !has(domain)) {
        return Err(format!("it isn't for {missing}"));
    }
    let time = |seconds: i64| {
        let since = u64::try_from(seconds).ok().map(Duration::from_secs);
        since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)).ok_or("it has no good time")
    };
    let valid = certificate.validity();
    let valid =
        Validity { from: time(valid.not_before.timestamp())?, until: time(valid.not_after.timestamp())? };
    if valid.from < valid.until { Ok(valid) } else { Err("it is never good".into()) }
}

/// Authorities send two or three.
const CHAIN_MAX: usize = 20;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rcgen::CertificateParams;
    use rcgen::KeyPair;
    use rustls::crypto::aws_lc_rs;

    pub(crate) fn domains(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A certificate that anybody could have issued, good for so long from `from` on, with its key.
    pub(crate) fn pem(names: &[&str], from: SystemTime, lasts: Duration) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(domains(names)).unwrap();
        params.not_before = from.into();
        params.not_after = (from + lasts).into();
        format!("{}{}", params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    pub(crate) fn issued(names: &[&str], from: SystemTime, lasts: Duration) -> Issued {
        let pem = pem(names, from, lasts);
        Issued::read(pem.as_bytes(), &domains(names), &aws_lc_rs::default_provider()).unwrap()
    }

    #[test]
    fn what_is_read_is_for_its_domains_and_has_its_key() {
        let provider = aws_lc_rs::default_provider();
        let from = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let lasts = Duration::from_secs(3600);
        let good = pem(&["a.test", "B.test"], from, lasts);
        let read = |text: &str, names: &[&str]| Issued::read(text.as_bytes(), &domains(names), &provider);
        let valid = read(&good, &["a.test", "b.test"]).unwrap().valid;
        assert_eq!(valid, Validity { from, until: from + lasts });
        let why = |text: &str, names: &[&str]| read(text, names).unwrap_err();
        assert_eq!(why(&good, &["a.test", "c.test"]), "it isn't for c.test");
        assert_eq!(why("", &["a.test"]), "it has no certificate");
        assert_eq!(why(&good[..good.len() / 2], &["a.test"]), "it is not PEM");
        let (cert, _) = good.split_once("-----BEGIN PRIVATE KEY").unwrap();
        assert_eq!(why(cert, &["a.test"]), "it has no private key");
        let other = pem(&["a.test"], from, lasts);
        let (_, key) = other.split_once("-----BEGIN PRIVATE KEY").unwrap();
        let mixed = format!("{cert}-----BEGIN PRIVATE KEY{key}");
        assert!(read(&mixed, &["a.test"]).is_err(), "the key of another certificate");
        assert!(read(&cert.repeat(CHAIN_MAX + 1), &["a.test"]).is_err());
    }

    #[test]
    fn a_slot_keeps_what_it_serves_until_there_is_another() {
        let slot = Slot::new(&domains(&["a.test"]));
        assert!(slot.load().is_none());
        let issued = issued(&["a.test"], SystemTime::UNIX_EPOCH, Duration::from_secs(60));
        slot.put(&issued);
        assert!(Arc::ptr_eq(&slot.load().unwrap(), &issued.key));
    }
}

//! Whose certificates clients may show, and what a verified one says.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use sha2::Digest;
use sha2::Sha256;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use crate::call::ClientCertificate;
use crate::call::ClientName;
use crate::config::Diag;
use crate::config::types::ClientAuth;
use crate::config::types::Clients as Asked;
use crate::config::types::ForwardCertificate;
use crate::tls::authorities;
use crate::tls::pem;
use crate::tls::pem::Wrong;

/// Which clients a listener takes.
pub(super) struct Clients {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) forward: ForwardCertificate,
    /// Of all that decides whether a client is taken: sessions begun under another one aren't resumed.
    pub(super) digest: [u8; 32],
}

impl Clients {
    /// Reads authorities and revocation lists; `None` where a fault was reported.
    pub(super) fn read(asked: &Asked, provider: &Arc<CryptoProvider>, diag: &mut Diag) -> Option<Self> {
        let mut digest = Sha256::new();
        let authorities = authorities(&asked.ca.value, &mut digest);
        let lists = match &asked.crl {
            None => Ok(Vec::new()),
            Some(crl) => pem::read(&crl.value).and_then(|bytes| {
                let shown = crl.value.display().to_string();
                revocations(&bytes, &shown, &mut digest)
            }),
        };
        let mut good = |at, wrong: Wrong| {
            diag.fault(at, wrong.problem, wrong.help);
        };
        let (roots, lists) = match (authorities, lists, &asked.crl) {
            (Ok(roots), Ok(lists), _) => (roots, lists),
            (authorities, lists, crl) => {
                if let Err(wrong) = authorities {
                    good(&asked.ca.at, wrong);
                }
                if let (Err(wrong), Some(crl)) = (lists, crl) {
                    good(&crl.at, wrong);
                }
                return None;
            }
        };
        digest.update(match asked.auth {
            ClientAuth::Optional => b"optional",
            ClientAuth::Required => b"required",
        });
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let builder = match asked.auth {
            ClientAuth::Optional => builder.allow_unauthenticated(),
            ClientAuth::Required => builder,
        };
        match builder.with_crls(lists).build() {
            Ok(verifier) => Some(Self { verifier, forward: asked.forward, digest: digest.finalize().into() }),
            Err(error) => {
                let at = asked.crl.as_ref().map_or(&asked.ca.at, |crl| &crl.at);
                diag.fault(at, format!("client certificates can't be verified: {error}"), "");
                None
            }
        }
    }
}

fn revocations(
    bytes: &[u8],
    shown: &str,
    digest: &mut Sha256,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Wrong> {
    let help = "a revocation list in PEM begins with `-----BEGIN X509 CRL-----`; give one of each authority";
    let wrong = |problem| Wrong { problem, help };
    let mut all = Vec::new();
    for list in CertificateRevocationListDer::pem_slice_iter(bytes) {
        let list = list.map_err(|error| wrong(format!("{shown} is not PEM: {}", pem::told(&error))))?;
        let parsed = CertificateRevocationList::from_der(&list);
        let (_, parsed) =
            parsed.map_err(|error| wrong(format!("{shown} has no good revocation list: {error}")))?;
        if parsed.next_update().is_some_and(|next| next < ASN1Time::now()) {
            tracing::warn!("{shown}: a revocation list is out of date, it is used all the same");
        }
        digest.update(&list);
        all.push(list);
    }
    if all.is_empty() { Err(wrong(format!("{shown} has no revocation list"))) } else { Ok(all) }
}

/// What a verified certificate says. One that has expired since its session began is refused as well.
pub(super) fn inspect(der: &CertificateDer<'_>) -> Result<ClientCertificate, &'static str> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| "certificate_invalid")?;
    if !certificate.validity().is_valid() {
        return Err("certificate_invalid");
    }
    let subject = subject(certificate.subject());
    let alternatives = certificate.subject_alternative_name().map_err(|_| "certificate_invalid")?;
    let alternatives = alternatives.map(|found| found.value.general_names.as_slice()).unwrap_or_default();
    if subject.len() > SUBJECT_BYTES_MAX || alternatives.len() > NAMES_MAX {
        return Err("certificate_invalid");
    }
    let names = alternatives.iter().filter_map(name).collect();
    let fingerprint = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(ClientCertificate { subject: subject.into(), names, fingerprint: fingerprint.into() })
}

/// A name that can be told in a header; others are as good as none.
fn name(name: &GeneralName<'_>) -> Option<ClientName> {
    let told = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| text.into());
    match name {
        GeneralName::DNSName(name) => told(name).map(ClientName::Dns),
        GeneralName::URI(name) => told(name).map(ClientName::Uri),
        GeneralName::RFC822Name(name) => told(name).map(ClientName::Email),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => Some(ClientName::Ip(IpAddr::from(v4))),
            (_, Ok(v6)) => Some(ClientName::Ip(IpAddr::from(v6))),
            _ => None,
        },
        _ => None,
    }
}

/// A distinguished name as RFC 4514 writes it, in ASCII.
fn subject(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for part in parts.into_iter().rev() {
        for (at, attribute) in part.iter().enumerate() {
            if !text.is_empty() {
                text.push(if at == 0 { ',' } else { '+' });
            }
            let kind = attribute.attr_type().to_id_string();
            text.push_str(KINDS.iter().find(|(id, _)| *id == kind).map_or(&kind, |(_, short)| short));
            text.push('=');
            match attribute.as_str() {
                Ok(value) => escape(value, &mut text),
                Err(_) => {
                    text.push('#');
                    attribute.as_slice().iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
                }
            }
        }
    }
    text
}

fn escape(value: &str, text: &mut String) {
    for (at, byte) in value.bytes().enumerate() {
        let outer = at == 0 || at + 1 == value.len();
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' | b'=' => text.extend(['\\', char::from(byte)]),
            b' ' if outer => text.push_str("\\ "),
            b'#' if at == 0 => text.push_str("\\#"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\{byte:02X}")),
        }
    }
}

/// `x-forwarded-client-cert`, in the form that Envoy gave it.
pub(super) fn forwarded(certificate: &ClientCertificate) -> Option<HeaderValue> {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut text = format!("Hash={};Subject=\"{}\"", certificate.fingerprint, quoted(&certificate.subject));
    for name in &certificate.names {
        match name {
            ClientName::Uri(name) => text.push_str(&format!(";URI=\"{}\"", quoted(name))),
            ClientName::Dns(name) => text.push_str(&format!(";DNS=\"{}\"", quoted(name))),
            ClientName::Email(_) | ClientName::Ip(_) => {}
        }
        if text.len() > FORWARDED_BYTES_MAX {
            return None;
        }
    }
    HeaderValue::try_from(text).ok()
}

/// The short names of RFC 4514.
const KINDS: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];
/// A longer subject is refused: it is told with each call.
const SUBJECT_BYTES_MAX: usize = 2 << 10;
/// A certificate with more names is refused.
const NAMES_MAX: usize = 100;
/// The longest header that is told upstream; a certificate with more is refused where it is forwarded.
const FORWARDED_BYTES_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_escaped() {
        let escaped = |value: &str| {
            let mut text = String::new();
            escape(value, &mut text);
            text
        };
        assert_eq!(escaped("Jane Doe"), "Jane Doe");
        assert_eq!(escaped(" a,b+c=\"d\"\\ "), "\\ a\\,b\\+c\\=\\\"d\\\"\\\\\\ ");
        assert_eq!(escaped("#1\n"), "\\#1\\0A");
        assert_eq!(escaped("é"), "\\C3\\A9");
    }

    #[test]
    fn what_is_forwarded_is_one_element_whatever_the_names_say() {
        let certificate = ClientCertificate {
            subject: "CN=a\\,b\\\"".into(),
            names: vec![
                ClientName::Uri("spiffe://x/a;DNS=evil,Hash=\"".into()),
                ClientName::Dns("a.test".into()),
            ],
            fingerprint: "ab".into(),
        };
        assert_eq!(
            forwarded(&certificate).unwrap(),
            "Hash=ab;Subject=\"CN=a\\\\,b\\\\\\\"\";URI=\"spiffe://x/a;DNS=evil,Hash=\\\"\";DNS=\"a.test\""
        );
        let long = vec![ClientName::Dns("a".repeat(FORWARDED_BYTES_MAX).into())];
        assert_eq!(forwarded(&ClientCertificate { names: long, ..certificate }), None);
    }
}

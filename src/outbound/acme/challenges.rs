//! What proves to an authority that a domain reaches this gateway, as long as an order needs it.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use rcgen::CertificateParams;
use rcgen::CustomExtension;
use rcgen::DistinguishedName;
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;

/// The challenges that are open, for every listener. Reading takes no lock; each look-up is exact.
#[derive(Debug, Default)]
pub struct Challenges {
    /// HTTP-01 (RFC 8555, section 8.3): what is said, by token.
    tokens: Open<Bytes>,
    /// TLS-ALPN-01 (RFC 8737): how hands are shaken, by domain.
    handshakes: Open<Arc<ServerConfig>>,
}

type Open<T> = ArcSwap<HashMap<Box<str>, T>>;

impl Challenges {
    /// What a plaintext request for this path is answered with; `None` is for others to answer.
    pub fn http(&self, path: &str) -> Option<Bytes> {
        let token = path.strip_prefix(HTTP_PATH)?;
        self.tokens.load().get(token).cloned()
    }

    /// How a handshake that asks for this name by [`ALPN`] alone is shaken.
    pub fn tls(&self, name: &str) -> Option<Arc<ServerConfig>> {
        self.handshakes.load().get(&*name.to_ascii_lowercase()).cloned()
    }

    /// Answers an HTTP-01 challenge until what it returns is dropped.
    pub(super) fn answer_http(self: &Arc<Self>, token: &str, text: &str) -> Result<Answering, &'static str> {
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(is_base64url) {
            return Err("the authority's token is not base64url");
        }
        add(&self.tokens, token, Bytes::copy_from_slice(text.as_bytes()));
        Ok(Answering { challenges: self.clone(), of: Of::Token(token.into()) })
    }

    /// Answers a TLS-ALPN-01 challenge until what it returns is dropped. `digest` is the SHA-256 of the key
    /// authorization.
    pub(super) fn answer_tls(
        self: &Arc<Self>,
        domain: &str,
        digest: &[u8; 32],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Answering, String> {
        let config = Arc::new(handshake(domain, digest, provider)?);
        add(&self.handshakes, domain, config.clone());
        Ok(Answering { challenges: self.clone(), of: Of::Domain(domain.into(), config) })
    }
}

/// An answer that stands until this is dropped.
#[derive(Debug)]
pub(super) struct Answering {
    challenges: Arc<Challenges>,
    of: Of,
}

#[derive(Debug)]
enum Of {
    Token(Box<str>),
    Domain(Box<str>, Arc<ServerConfig>),
}

impl Drop for Answering {
    fn drop(&mut self) {
        match &self.of {
            Of::Token(token) => remove(&self.challenges.tokens, token, |_| true),
            // Another order may have put its own there since.
            Of::Domain(domain, own) => {
                remove(&self.challenges.handshakes, domain, |there| Arc::ptr_eq(there, own));
            }
        }
    }
}

fn add<T: Clone>(open: &Open<T>, key: &str, value: T) {
    open.rcu(|all| {
        let mut all = HashMap::clone(all);
        all.insert(key.into(), value.clone());
        all
    });
}

fn remove<T: Clone>(open: &Open<T>, key: &str, is_own: impl Fn(&T) -> bool) {
    open.rcu(|all| {
        let mut all = HashMap::clone(all);
        if all.get(key).is_some_and(&is_own) {
            all.remove(key);
        }
        all
    });
}

/// TLS with the certificate that proves a domain, and nothing to speak over it.
//= https://www.rfc-editor.org/rfc/rfc8737#section-3
//# a self-signed certificate that MUST contain an acmeIdentifier extension and a subjectAlternativeName extension
//# [RFC5280].  The subjectAlternativeName extension MUST contain a single dNSName entry where the value is the
//# domain name being validated.
fn handshake(
    domain: &str,
    digest: &[u8; 32],
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, String> {
    let mut params = CertificateParams::new([domain.to_owned()]).map_err(|error| error.to_string())?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
    let signing =
        provider.key_provider.load_private_key(PrivatePkcs8KeyDer::from(key.serialize_der()).into());
    let signing = signing.map_err(|error| error.to_string())?;
    // Not `with_single_cert`, which refuses critical extensions that it doesn't know.
    let key = CertifiedKey::new(vec![certificate.der().clone()], signing);
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        // Authorities show no certificate of a client, whatever the listener asks of others.
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN.into()];
    Ok(config)
}

/// The protocol that a validating authority names, and nothing else (RFC 8737, section 4).
pub const ALPN: &[u8] = b"acme-tls/1";
/// Where tokens are asked for (RFC 8555, section 8.3).
const HTTP_PATH: &str = "/.well-known/acme-challenge/";
/// A longer token is an authority's mistake.
const TOKEN_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::aws_lc_rs;

    #[test]
    fn a_token_is_answered_exactly_and_only_while_its_order_runs() {
        let challenges = Arc::new(Challenges::default());
        let path = "/.well-known/acme-challenge/tok-en_1";
        assert_eq!(challenges.http(path), None);
        let answering = challenges.answer_http("tok-en_1", "tok-en_1.thumb").unwrap();
        assert_eq!(challenges.http(path).unwrap(), "tok-en_1.thumb");
        for other in [
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/tok-en_",
            "/.well-known/acme-challenge/tok-en_1/",
            "/.well-known/acme-challenge//tok-en_1",
            "/.well-known/acme-challenge/TOK-EN_1",
            "/x/.well-known/acme-challenge/tok-en_1",
            "/tok-en_1",
        ] {
            assert_eq!(challenges.http(other), None, "{other}");
        }
        drop(answering);
        assert_eq!(challenges.http(path), None);
    }

    #[test]
    fn tokens_that_are_none_are_refused() {
        let challenges = Arc::new(Challenges::default());
        for token in ["", "../x", "a b", "ä", &"a".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(challenges.answer_http(token, "").is_err(), "{token}");
        }
    }

    #[test]
    fn a_domain_is_answered_while_its_order_runs_and_the_last_order_wins() {
        let (challenges, provider) =
            (Arc::new(Challenges::default()), Arc::new(aws_lc_rs::default_provider()));
        let first = challenges.answer_tls("a.test", &[1; 32], &provider).unwrap();
        let of_first = challenges.tls("A.test").unwrap();
        assert_eq!(of_first.alpn_protocols, [ALPN]);
        assert!(challenges.tls("b.test").is_none());
        let second = challenges.answer_tls("a.test", &[2; 32], &provider).unwrap();
        drop(first);
        assert!(!Arc::ptr_eq(&of_first, &challenges.tls("a.test").unwrap()), "the second one's stands");
        drop(second);
        assert!(challenges.tls("a.test").is_none());
    }
}

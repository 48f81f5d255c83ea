//! A listener's certificates, picked by the server name of a client.

use std::sync::Arc;

use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;

use crate::call::Names;
use crate::tls::Pair;

/// Picks a certificate by the server name that a client asks for.
#[derive(Debug)]
pub(super) struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    pub(super) names: Arc<Names>,
}

impl Certificates {
    pub(super) fn new(pairs: &[Pair]) -> Self {
        let mut names = Names::default();
        pairs.iter().for_each(|pair| names.add(pair.names.iter().map(String::as_str)));
        Self { keys: pairs.iter().map(|pair| pair.key.clone()).collect(), names: Arc::new(names) }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.names.find(name)).unwrap_or_default();
        self.keys.get(named).cloned()
    }
}

//! A listener's certificates, picked by the server name of a client.

use std::sync::Arc;

use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;

use crate::call::Names;
use crate::outbound::acme::Slot;
use crate::tls::Pair;

/// Picks a certificate by the server name that a client asks for.
#[derive(Debug)]
pub(super) struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    /// One that an authority issues, or will; it comes after the others.
    issued: Option<Arc<Slot>>,
    pub(super) names: Arc<Names>,
    /// Those of `keys` alone.
    own: Names,
}

impl Certificates {
    pub(super) fn new(pairs: &[Pair], issued: Option<Arc<Slot>>) -> Self {
        let (mut names, mut own) = (Names::default(), Names::default());
        for pair in pairs {
            for names in [&mut names, &mut own] {
                names.add(pair.names.iter().map(String::as_str));
            }
        }
        if let Some(issued) = &issued {
            names.add(issued.domains().iter().map(String::as_str));
        }
        let keys = pairs.iter().map(|pair| pair.key.clone()).collect();
        Self { keys, issued, names: Arc::new(names), own }
    }

    /// The certificate for a name; `None` where there is none yet. Until an authority has issued one, its names
    /// are served as any other name is.
    pub(super) fn pick(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let find = |names: &Names| name.and_then(|name| names.find(name)).unwrap_or_default();
        match self.keys.get(find(&self.names)) {
            Some(key) => Some(key.clone()),
            None => self
                .issued
                .as_ref()
                .and_then(|issued| issued.load())
                .or_else(|| self.keys.get(find(&self.own)).cloned()),
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pick(hello.server_name())
    }
}

//! Connections of the load generator, in the clear and over TLS 1.3.

use std::{fs, io, sync::Arc};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Args;

/// A connection.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// What it takes to speak TLS with the gateway. No session is resumed: each handshake is a full one, with
/// X25519, which every gateway has.
#[derive(Clone)]
pub struct Secure {
    config: ClientConfig,
    name: ServerName<'static>,
}

impl Secure {
    pub fn new(args: &Args) -> Self {
        let path = args.certificate.as_ref().expect("--certificate is needed for this mode");
        let pem = fs::read(path).expect("the certificate can be read");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("it can be trusted");
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3 is known")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Self { config, name: ServerName::try_from(args.name.clone()).expect("a server name") }
    }

    /// For these protocols.
    pub fn config(&self, alpn: &[&[u8]]) -> ClientConfig {
        let mut config = self.config.clone();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config
    }
}

/// Connects, and shakes hands where TLS is spoken.
pub async fn dial(args: &Args, secure: Option<&Secure>, alpn: &[&[u8]]) -> io::Result<Box<dyn Io>> {
    let socket = TcpStream::connect(&args.target).await?;
    socket.set_nodelay(true)?;
    let Some(secure) = secure else { return Ok(Box::new(socket)) };
    let connector = TlsConnector::from(Arc::new(secure.config(alpn)));
    Ok(Box::new(connector.connect(secure.name.clone(), socket).await?))
}

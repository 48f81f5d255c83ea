//! Where the Admin API is, and a connection to there with or without TLS.

use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use sha2::Digest;
use sha2::Sha256;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::cli::failure::Failure;
use crate::tls::Pair;
use crate::tls::pem;
use crate::tls::provider;
use crate::tls::system_authorities;

/// The URL of an Admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    shown: String,
    tls: bool,
    /// Without brackets.
    host: String,
    port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("{why}; write http://HOST:PORT or https://HOST:PORT");
        let uri: Uri = text.parse().map_err(|error| bad(&format!("it is no URL: {error}")))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad("it doesn't begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it has a user or a password: the token is read from TRANSOM_ADMIN_TOKEN"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("it has a path"));
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let after = authority.as_str().rsplit_once(']').map_or(authority.as_str(), |(_, after)| after);
        let port = match (authority.port_u16(), after.contains(':')) {
            (Some(port), _) if 0 < port => port,
            (None, false) if tls => 443,
            (None, false) => 80,
            _ => return Err(bad("its port is none of 1 to 65535")),
        };
        if host.is_empty() {
            return Err(bad("it names no host"));
        }
        let scheme = if tls { "https" } else { "http" };
        Ok(Self { shown: format!("{scheme}://{authority}"), tls, host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Files in PEM that TLS needs beside the system's.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Files<'a> {
    pub(super) ca: Option<&'a Path>,
    /// The certificate and the key of this side.
    pub(super) pair: Option<(&'a Path, &'a Path)>,
}

/// A stream of bytes to the gateway.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Address {
    /// Connects, and shakes hands where there is TLS.
    pub(super) async fn dial(&self, files: Files<'_>, wait: Duration) -> Result<Box<dyn Stream>, Failure> {
        if !self.tls && (files.ca.is_some() || files.pair.is_some()) {
            return Err(Failure::unasked(format_args!(
                "--ca and --cert are for https://, and {self} has no TLS"
            )));
        }
        let tls = if self.tls { Some((self.tls(files)?, self.name()?)) } else { None };
        let connecting = async {
            let tcp = TcpStream::connect((self.host.as_str(), self.port))
                .await
                .map_err(|error| self.away(&error))?;
            // A request is one write or a stream of large ones: nothing gains from waiting for more.
            let _ = tcp.set_nodelay(true);
            let Some((connector, name)) = tls else { return Ok(Box::new(tcp) as Box<dyn Stream>) };
            let stream = connector.connect(name, tcp).await.map_err(|error| self.distrusted(&error))?;
            if stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
                let why =
                    format!("{self} has no HTTP/2 over TLS: is that the Admin API? --admin says where it is");
                return Err(Failure::Unasked(why));
            }
            Ok(Box::new(stream) as Box<dyn Stream>)
        };
        tokio::time::timeout(wait, connecting).await.unwrap_or_else(|_| {
            let why = format!(
                "{self} didn't answer within {wait:?}: is the gateway running? --admin says where it is"
            );
            Err(Failure::Unasked(why))
        })
    }

    fn name(&self) -> Result<ServerName<'static>, Failure> {
        ServerName::try_from(self.host.clone())
            .map_err(|_| Failure::unasked(format_args!("no certificate can be valid for the host of {self}")))
    }

    fn tls(&self, files: Files<'_>) -> Result<TlsConnector, Failure> {
        let provider = Arc::new(provider());
        let roots = match files.ca {
            Some(ca) => authorities(ca)?,
            None => system_authorities(&mut Sha256::new()),
        };
        if roots.is_empty() {
            return Err(Failure::unasked("the system has no authorities to trust: give them as --ca"));
        }
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| Failure::unasked(format_args!("TLS can't be set up: {error}")))?
            .with_root_certificates(roots);
        let mut config = match files.pair {
            None => config.with_no_client_auth(),
            Some((cert, key)) => {
                let (cert_shown, key_shown) = (cert.display().to_string(), key.display().to_string());
                let pair = Pair::read((&cert_shown, &read(cert)?), (&key_shown, &read(key)?), &provider)
                    .map_err(|(_, wrong)| told(&wrong))?;
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.key)))
            }
        };
        config.alpn_protocols = vec![ALPN_H2.into()];
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn away(&self, error: &io::Error) -> Failure {
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            _ => error.to_string().to_lowercase(),
        };
        Failure::Unasked(format!(
            "nobody answers at {self} ({why}): is the gateway running? --admin says where it is"
        ))
    }

    fn distrusted(&self, error: &io::Error) -> Failure {
        use rustls::CertificateError as Certificate;
        use rustls::Error;

        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let why = match tls {
            Some(Error::InvalidCertificate(Certificate::UnknownIssuer)) => {
                "its certificate is signed by nobody that is trusted: give the authority as --ca".to_owned()
            }
            Some(Error::InvalidCertificate(error)) => {
                format!("its certificate isn't valid: {error}").to_lowercase()
            }
            Some(Error::InvalidMessage(_)) => {
                "it doesn't speak TLS: write http:// if that is meant".to_owned()
            }
            Some(
                Error::NoApplicationProtocol
                | Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol),
            ) => "it has no HTTP/2 over TLS: is that the Admin API?".to_owned(),
            _ => format!("the TLS handshake failed: {error}").to_lowercase(),
        };
        Failure::Unasked(format!("{self} isn't asked: {why}"))
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let shown = path.display().to_string();
    for certificate in pem::certificates(&read(path)?, &shown).map_err(|wrong| told(&wrong))? {
        roots.add(certificate).map_err(|error| {
            Failure::unasked(format_args!("{shown} has a certificate that is no authority's: {error}"))
        })?;
    }
    Ok(roots)
}

/// A small file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(read) if FILE_BYTES_MAX < read as u64 => {
            Err(Failure::unasked(format_args!("{shown} has more than {FILE_BYTES_MAX} bytes")))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(Failure::unasked(format_args!("{shown} can't be read: {error}"))),
    }
}

fn told(wrong: &pem::Wrong) -> Failure {
    Failure::unasked(format_args!("{}: {}", wrong.problem, wrong.help))
}

const ALPN_H2: &[u8] = b"h2";
const FILE_BYTES_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_urls_without_a_path() {
        let good = [
            ("http://127.0.0.1:9900", false, "127.0.0.1", 9900),
            ("http://[::1]:9900/", false, "::1", 9900),
            ("https://gw.example.com", true, "gw.example.com", 443),
            ("http://gw", false, "gw", 80),
            ("HTTP://gw:1", false, "gw", 1),
        ];
        for (text, tls, host, port) in good {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.tls, address.host.as_str(), address.port), (tls, host, port), "{text}");
            assert!(address.to_string().parse::<Address>().is_ok(), "{address}");
        }
        let bad = [
            ("", "no URL"),
            ("127.0.0.1:9900", "http:// or https://"),
            ("localhost", "http:// or https://"),
            ("ftp://x", "http:// or https://"),
            ("/x", "http:// or https://"),
            ("http://u:p@x", "a user or a password"),
            ("http://x/admin", "a path"),
            ("http://x/?a", "a path"),
            ("http://x:0", "1 to 65535"),
            ("http://x:65536", "1 to 65535"),
            ("http://x:", "1 to 65535"),
            ("http://[::1]:", "1 to 65535"),
            ("http://:80", "no"),
            ("http://x\ny", "no URL"),
        ];
        for (text, why) in bad {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}

//! TLS for the tests: authorities and their certificates, clients, and a relay for clients that speak none.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rustls::ClientConfig;
use rustls::HandshakeKind;
use rustls::ProtocolVersion;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::SupportedProtocolVersion;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Who signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) der: CertificateDer<'static>,
    /// The same in PEM.
    pub(crate) pem: String,
}

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) serial: Vec<u8>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = named(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("keys are to be had");
        let own = params.self_signed(&key).expect("the parameters are good");
        Self { der: own.der().clone(), pem: own.pem(), issuer: Issuer::new(params, key) }
    }

    /// A certificate for these names.
    pub(crate) fn leaf(&self, names: &[&str]) -> Leaf {
        self.sign(named(names.first().copied().unwrap_or("nobody"), names))
    }

    /// A client's certificate.
    pub(crate) fn client(&self, name: &str, names: &[&str]) -> Leaf {
        self.sign(named(name, names))
    }

    /// A list that revokes these, in PEM.
    pub(crate) fn revoke(&self, leaves: &[&Leaf]) -> String {
        let then = rcgen::date_time_ymd(2020, 1, 1);
        let revoked = leaves.iter().map(|leaf| rcgen::RevokedCertParams {
            serial_number: rcgen::SerialNumber::from_slice(&leaf.serial),
            revocation_time: then,
            reason_code: None,
            invalidity_date: None,
        });
        let list = rcgen::CertificateRevocationListParams {
            this_update: then,
            next_update: rcgen::date_time_ymd(3000, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).expect("the parameters are good")
    }

    /// A certificate of these parameters.
    pub(crate) fn sign(&self, params: CertificateParams) -> Leaf {
        let key = KeyPair::generate().expect("keys are to be had");
        let cert = params.signed_by(&key, &self.issuer).expect("the parameters are good");
        let serial = params.serial_number.as_ref().map(rcgen::SerialNumber::to_bytes).unwrap_or_default();
        Leaf { der: cert.der().clone(), cert: cert.pem(), key: key.serialize_pem(), serial }
    }
}

/// Parameters of a certificate of this name, valid for these names, with a serial number of its own.
pub(crate) fn named(name: &str, names: &[&str]) -> CertificateParams {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering;
    static SERIAL: AtomicU64 = AtomicU64::new(1);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("the names are good");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SERIAL.fetch_add(1, Ordering::Relaxed).into());
    params
}

/// A directory with certificates in it.
pub(crate) struct Files(tempfile::TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file as editors do: beside it, and then in its place.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let beside = self.path(&format!("{name}.new"));
        std::fs::write(&beside, text).expect("the directory is writable");
        std::fs::rename(&beside, self.path(name)).expect("the directory is writable");
    }

    /// Writes a certificate and its key.
    pub(crate) fn put(&self, name: &str, leaf: &Leaf) {
        self.write(&format!("{name}.crt"), &leaf.cert);
        self.write(&format!("{name}.key"), &leaf.key);
    }

    /// The entry of a list of certificates.
    pub(crate) fn pair(&self, name: &str) -> String {
        let shown = |path: PathBuf| path.display().to_string();
        let (cert, key) = (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")));
        format!("{{ cert: \"{}\", key: \"{}\" }}", shown(cert), shown(key))
    }

    pub(crate) fn dir(&self) -> &Path {
        self.0.path()
    }
}

/// Both versions.
pub(crate) static VERSIONS: &[&SupportedProtocolVersion] = rustls::ALL_VERSIONS;

/// What a client trusts, speaks and shows.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) trusts: &'a Authority,
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
    pub(crate) alpn: &'a [&'a str],
    pub(crate) shows: Option<&'a Leaf>,
}

impl<'a> Client<'a> {
    pub(crate) fn of(trusts: &'a Authority) -> Self {
        Self { trusts, versions: VERSIONS, alpn: &["h2"], shows: None }
    }

    pub(crate) fn config(self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusts.der.clone()).expect("an authority is a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(self.versions)
            .expect("the versions are known")
            .with_root_certificates(roots);
        let mut config = match self.shows {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                use rustls::pki_types::pem::PemObject;
                let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("a key in PEM");
                builder.with_client_auth_cert(vec![leaf.der.clone()], key).expect("they belong together")
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Connects, and shakes hands with the server of that name.
    pub(crate) async fn connect(self, address: SocketAddr, name: &str) -> io::Result<TlsStream<TcpStream>> {
        connect(&self.config(), address, name).await
    }
}

pub(crate) async fn connect(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    // Small, so that whoever sends much has to wait for the socket again and again.
    let socket = TcpSocket::new_v4().expect("sockets are to be had");
    socket.set_recv_buffer_size(RECEIVE_BYTES).expect("the option is known");
    let socket = socket.connect(address).await.expect("connections are taken");
    socket.set_nodelay(true).expect("the option is known");
    TlsConnector::from(config.clone()).connect(name, socket).await
}

/// What the server of a connection showed.
pub(crate) fn shown(io: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    io.get_ref().1.peer_certificates().expect("servers show one")[0].clone().into_owned()
}

/// Takes connections in the clear and goes on with TLS, in the version of HTTP that the client speaks. It ends
/// when dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub(crate) async fn start(to: SocketAddr, name: &'static str, trusts: &Authority) -> Self {
        let [h1, h2] = ["http/1.1", "h2"].map(|alpn| Client { alpn: &[alpn], ..Client::of(trusts) }.config());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut relayed = JoinSet::new();
            while let Ok((mut plain, _)) = listener.accept().await {
                let (h1, h2) = (h1.clone(), h2.clone());
                relayed.spawn(async move {
                    let config = if first_bytes(&plain).await == *b"PRI" { h2 } else { h1 };
                    let mut secured = connect(&config, to, name).await.expect("TLS is spoken");
                    // Either side may break off.
                    let _ = tokio::io::copy_bidirectional(&mut plain, &mut secured).await;
                });
            }
        });
        Self { address, _tasks: tasks }
    }
}

/// The first bytes of a connection, which tell HTTP/2 from HTTP/1.1; they are left there.
pub(crate) async fn first_bytes(socket: &TcpStream) -> [u8; 3] {
    let mut first = [0; 3];
    while socket.peek(&mut first).await.is_ok_and(|read| (1..3).contains(&read)) {
        tokio::task::yield_now().await;
    }
    first
}

/// How a server speaks TLS.
#[derive(Clone, Copy)]
pub(crate) struct Server<'a> {
    pub(crate) leaf: &'a Leaf,
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
    pub(crate) alpn: &'a [&'a str],
    /// Who signs for clients, each of which needs a certificate then.
    pub(crate) clients: Option<&'a Authority>,
}

impl<'a> Server<'a> {
    pub(crate) fn of(leaf: &'a Leaf) -> Self {
        Self { leaf, versions: VERSIONS, alpn: &["h2"], clients: None }
    }

    fn config(self) -> Arc<ServerConfig> {
        use rustls::pki_types::pem::PemObject;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .expect("the versions are known");
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der.clone()).expect("an authority is a root");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("there is an authority"))
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.leaf.key.as_bytes()).expect("a key in PEM");
        let config = builder.with_single_cert(vec![self.leaf.der.clone()], key);
        let mut config = config.expect("they belong together");
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.ticketer = aws_lc_rs::Ticketer::new().expect("a ticketer");
        Arc::new(config)
    }
}

/// What a front saw of a connection whose handshake was done.
#[derive(Debug, Clone)]
pub(crate) struct Greeted {
    pub(crate) name: Option<String>,
    pub(crate) version: ProtocolVersion,
    pub(crate) kind: HandshakeKind,
    pub(crate) shown: Option<CertificateDer<'static>>,
}

/// TLS before a server that speaks none. It ends when dropped.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    seen: Arc<Mutex<Vec<Greeted>>>,
    breaks: watch::Sender<()>,
    _tasks: JoinSet<()>,
}

impl Front {
    pub(crate) fn start(to: SocketAddr, server: Server<'_>) -> Self {
        let socket = TcpSocket::new_v4().expect("sockets are to be had");
        // Small, so that who sends much has to wait for the socket again and again.
        socket.set_recv_buffer_size(RECEIVE_BYTES).expect("the option is known");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let listener = socket.listen(64).expect("the socket listens");
        let address = listener.local_addr().expect("a bound socket has an address");
        let config = Arc::new(Mutex::new(server.config()));
        let (breaks, broken) = watch::channel(());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (used, told) = (config.clone(), seen.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut relayed = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (config, told) = (used.lock().expect("no panic").clone(), told.clone());
                let mut broken = broken.clone();
                broken.mark_unchanged();
                relayed.spawn(async move {
                    // A gateway may refuse what it is shown.
                    let Ok(mut secured) = TlsAcceptor::from(config).accept(socket).await else { return };
                    told.lock().expect("no panic").push(greeted(secured.get_ref().1));
                    let mut plain = TcpStream::connect(to).await.expect("the server is there");
                    plain.set_nodelay(true).expect("the option is known");
                    tokio::select! {
                        // Either side may break off.
                        _ = tokio::io::copy_bidirectional(&mut secured, &mut plain) => {}
                        _ = broken.changed() => {}
                    }
                });
            }
        });
        Self { address, config, seen, breaks, _tasks: tasks }
    }

    /// Connections so far, in their order.
    pub(crate) fn seen(&self) -> Vec<Greeted> {
        self.seen.lock().expect("no panic").clone()
    }

    /// Speaks TLS otherwise, on connections to come.
    pub(crate) fn change(&self, server: Server<'_>) {
        *self.config.lock().expect("no panic") = server.config();
    }

    /// Closes every connection.
    pub(crate) fn break_off(&self) {
        self.breaks.send_replace(());
    }
}

fn greeted(session: &ServerConnection) -> Greeted {
    let shown = session.peer_certificates().and_then(<[_]>::first);
    Greeted {
        name: session.server_name().map(str::to_owned),
        version: session.protocol_version().expect("hands are shaken"),
        kind: session.handshake_kind().expect("hands are shaken"),
        shown: shown.map(|shown| shown.clone().into_owned()),
    }
}

/// What the system keeps of what a client hasn't read.
const RECEIVE_BYTES: u32 = 8 << 10;

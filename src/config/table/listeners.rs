//! Keys of listeners and of what secures them.

use crate::config::scalar::ACME_DIRECTORY;
use crate::config::scalar::ACME_DOMAIN;
use crate::config::scalar::ADDRESS;
use crate::config::scalar::DURATION;
use crate::config::scalar::EMAIL;
use crate::config::scalar::NAME;
use crate::config::scalar::PATH;
use crate::config::scalar::PEM_PATH;
use crate::config::shape::Key;
use crate::config::shape::Need::May;
use crate::config::shape::Need::Must;
use crate::config::shape::Need::Or;
use crate::config::shape::Rule;
use crate::config::shape::Section;
use crate::config::shape::Shape;
use crate::config::shape::Thing;
use crate::config::shape::key;
use crate::config::shape::section;
use crate::config::shape::word;

/// One entry of `listeners`.
pub(in crate::config) static LISTENER: Section = Section {
    keys: &[
        key("name", Shape::Scalar(&NAME), Must, "names it in logs and metrics"),
        key("address", Shape::Scalar(&ADDRESS), Must, "IP address and port; port 0 takes a free one"),
        key("tls", Shape::Section(&TLS), May, "speaks TLS here; without it HTTP/1.1 and HTTP/2 in the clear"),
        key("http3", Shape::Bool, Or("false"), "HTTP/3 on the same port number, over UDP"),
        key(
            "proxy_protocol",
            Shape::Bool,
            Or("false"),
            "every TCP connection begins with a PROXY header, v1 or v2, and only `server.trusted_proxies` may connect",
        ),
        key("limits", Shape::Section(&LIMITS), Or("{}"), "what clients of this listener may hold"),
    ],
    rules: &[],
    wrong: &[
        ("port", "write it in `address`: `127.0.0.1:8080`"),
        ("host", "write it in `address`: `127.0.0.1:8080`"),
        ("bind", "it is called `address`"),
        ("listen", "it is called `address`"),
        ("protocol", "HTTP/1.1 and HTTP/2 share every port; leave it out"),
    ],
};

static LIMITS: Section = section(&[
    key("max_connections", Shape::Integer(1, 10_000_000), Or("10000"), "open connections of all clients"),
    key(
        "max_connections_per_address",
        Shape::Or(&["none"], &Shape::Integer(1, 10_000_000)),
        Or("none"),
        "open connections of one client address; those of `server.trusted_proxies` aren't counted",
    ),
    key("max_streams", Shape::Integer(1, 1_000_000), Or("128"), "concurrent streams of one connection"),
    key(
        "stream_window",
        Shape::Size(1 << 10, WINDOW_MAX),
        Or("1MiB"),
        "bytes in flight to the gateway on one stream",
    ),
    key(
        "connection_window",
        Shape::Size(65_535, WINDOW_MAX),
        Or("4MiB"),
        "bytes in flight to the gateway on one connection",
    ),
    key("header_bytes", Shape::Size(1 << 10, 16 << 20), Or("64KiB"), "all header fields of one request"),
    key("header_count", Shape::Integer(10, 10_000), Or("100"), "header fields of one request"),
    key(
        "header_timeout",
        Shape::Scalar(&DURATION),
        Or("10s"),
        "from the first byte of a request head to its last",
    ),
    key(
        "idle_timeout",
        Shape::Scalar(&DURATION),
        Or("5m"),
        "how long a connection without streams stays open",
    ),
]);

static TLS: Section = Section {
    keys: &[
        key("certificates", CERTIFICATES, May, CERTIFICATES_HELP),
        CLIENT_CA,
        CLIENT_AUTH,
        CRL,
        key(
            "forward_client_cert",
            Shape::Bool,
            Or("false"),
            "tells upstreams of the client's certificate by `x-forwarded-client-cert`",
        ),
        MIN_VERSION,
        HANDSHAKE_TIMEOUT,
        MAX_HANDSHAKES,
        key("acme", Shape::Section(&ACME), May, "gets certificates from an ACME authority"),
    ],
    rules: &[
        Rule::Some(&["certificates", "acme"]),
        Rule::Needs("client_auth", "client_ca"),
        Rule::Needs("crl", "client_ca"),
        Rule::Needs("forward_client_cert", "client_ca"),
    ],
    wrong: &[
        ("cert", "list it: `certificates: [{ cert: ..., key: ... }]`"),
        ("key", "list it: `certificates: [{ cert: ..., key: ... }]`"),
        ("ca", "authorities of clients are `client_ca`"),
    ],
};

// The Admin API has these too.
pub(in crate::config) const CERTIFICATES: Shape = Shape::List(&CERTIFICATE_OR_NAME, 1);
pub(in crate::config) const CERTIFICATES_HELP: &str =
    "files or names; the client's SNI picks one, and the first serves where it names none of them";
pub(in crate::config) const CLIENT_CA: Key =
    key("client_ca", Shape::Scalar(&PATH), May, "PEM of the authorities that sign client certificates");
pub(in crate::config) const CLIENT_AUTH: Key = key(
    "client_auth",
    Shape::Choice(&[word("optional"), word("required")]),
    May,
    "whether clients need a certificate; absent: they do where `client_ca` is set",
);
pub(in crate::config) const CRL: Key =
    key("crl", Shape::Scalar(&PATH), May, "PEM of revocation lists, one of each authority of clients");
pub(in crate::config) const MIN_VERSION: Key = key(
    "min_version",
    Shape::Choice(&[word("1.2"), word("1.3")]),
    Or("1.2"),
    "the oldest TLS version that is spoken",
);
pub(in crate::config) const HANDSHAKE_TIMEOUT: Key =
    key("handshake_timeout", Shape::Scalar(&DURATION), Or("5s"), "for one whole handshake");
pub(in crate::config) const MAX_HANDSHAKES: Key = key(
    "max_handshakes",
    Shape::Integer(1, 1_000_000),
    Or("1000"),
    "handshakes under way; at the limit the oldest gives way",
);

static CERTIFICATE_OR_NAME: Shape = Shape::Either(&Shape::Name(Thing::Certificate), &Shape::Section(&FILES));

static FILES: Section = section(&[
    key("cert", Shape::Scalar(&PATH), Must, "PEM of the certificate and its chain"),
    key("key", Shape::Scalar(&PATH), Must, "PEM of its private key"),
]);

/// One entry of the top-level `certificates`.
pub(in crate::config) static CERTIFICATE: Section = section(&[
    key("name", Shape::Scalar(&NAME), Must, "what listeners call it by"),
    key("cert", Shape::Scalar(&PEM_PATH), Must, "PEM of the certificate and its chain; watched and reloaded"),
    key("key", Shape::Scalar(&PEM_PATH), Must, "PEM of its private key"),
]);

static ACME: Section = section(&[
    key("directory", Shape::Scalar(&ACME_DIRECTORY), Must, "the authority's directory"),
    key(
        "domains",
        Shape::List(&Shape::Scalar(&ACME_DOMAIN), 1),
        Must,
        "hosts that one certificate is asked for; they must reach this gateway",
    ),
    key("email", Shape::Scalar(&EMAIL), May, "whom the authority may write to"),
    key(
        "path",
        Shape::Scalar(&PATH),
        Must,
        "directory of the account and its certificates, for the gateway alone",
    ),
    key(
        "ca",
        Shape::Scalar(&PATH),
        May,
        "PEM of the authorities that sign for the directory's own server; absent: the system's",
    ),
]);

/// RFC 9113 6.9.2.
const WINDOW_MAX: u64 = (1 << 31) - 1;

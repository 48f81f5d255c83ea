//! Keys of the Admin API and of who may use it.

use crate::config::scalar::ADDRESS;
use crate::config::scalar::MODULE_GLOB;
use crate::config::scalar::NAME;
use crate::config::scalar::PAGE_ORIGIN;
use crate::config::scalar::SAN;
use crate::config::scalar::SERVER_NAME;
use crate::config::scalar::SHA256;
use crate::config::shape::Need::May;
use crate::config::shape::Need::Must;
use crate::config::shape::Need::Or;
use crate::config::shape::Rule;
use crate::config::shape::Section;
use crate::config::shape::Shape;
use crate::config::shape::key;
use crate::config::shape::section;
use crate::config::shape::word;
use crate::config::table::listeners;

/// `admin`.
pub(in crate::config) static ADMIN: Section = Section {
    keys: &[
        key("address", Shape::Scalar(&ADDRESS), Or("127.0.0.1:9900"), "IP address and port of the Admin API"),
        key("max_upload", Shape::Size(1 << 10, 4 << 30), Or("64MiB"), "one upload of a module"),
        key("tls", Shape::Section(&TLS), May, "speaks TLS here; without it HTTP/1.1 and HTTP/2 in the clear"),
        key(
            "tokens",
            Shape::List(&Shape::Section(&TOKEN), 0),
            Or("[]"),
            "who may use it by a bearer token; without `tokens` and `clients` only loopback peers may",
        ),
        key(
            "clients",
            Shape::List(&Shape::Section(&CLIENT), 0),
            Or("[]"),
            "who may use it by a client certificate that `tls.client_ca` signed",
        ),
        key(
            "hosts",
            Shape::List(&Shape::Scalar(&SERVER_NAME), 0),
            Or("[]"),
            "names by which it may be asked, besides IP addresses and `localhost`",
        ),
        key(
            "origins",
            Shape::List(&Shape::Scalar(&PAGE_ORIGIN), 0),
            Or("[]"),
            "origins of web pages that may call it",
        ),
    ],
    rules: &[],
    wrong: &[
        ("port", "write it in `address`: `127.0.0.1:9900`"),
        ("token", "list it: `tokens: [{ name: ..., sha256: ... }]`"),
        ("client_ca", "write it in `tls`: `tls: { client_ca: ... }`"),
        ("cors", "list the pages: `origins: [\"https://console.example.com\"]`"),
    ],
};

static TLS: Section = Section {
    keys: &[
        key("certificates", listeners::CERTIFICATES, Must, listeners::CERTIFICATES_HELP),
        listeners::CLIENT_CA,
        listeners::CLIENT_AUTH,
        listeners::CRL,
        listeners::MIN_VERSION,
        listeners::HANDSHAKE_TIMEOUT,
        listeners::MAX_HANDSHAKES,
    ],
    rules: &[Rule::Needs("client_auth", "client_ca"), Rule::Needs("crl", "client_ca")],
    wrong: &[
        ("cert", "list it: `certificates: [{ cert: ..., key: ... }]`"),
        ("key", "list it: `certificates: [{ cert: ..., key: ... }]`"),
        ("ca", "authorities of clients are `client_ca`"),
        ("acme", "order certificates on a listener, and list their files here"),
    ],
};

static TOKEN: Section = section(&[
    key("name", Shape::Scalar(&NAME), Must, "names the holder in the audit log"),
    key("sha256", Shape::Scalar(&SHA256), Must, "hash of the token; the token itself is never kept"),
    key("role", ROLE, Must, "what the holder may do"),
    key("modules", MODULES, May, MODULES_HELP),
]);

static CLIENT: Section = section(&[
    key("name", Shape::Scalar(&NAME), Must, "names the holder in the audit log"),
    key("san", Shape::Scalar(&SAN), Must, "a DNS name, URI or e-mail of the certificate, exactly"),
    key("role", ROLE, Must, "what the holder may do"),
    key("modules", MODULES, May, MODULES_HELP),
]);

const ROLE: Shape = Shape::Choice(&[word("viewer"), word("developer"), word("admin")]);
const MODULES: Shape = Shape::List(&Shape::Scalar(&MODULE_GLOB), 0);
const MODULES_HELP: &str = "the only modules of the holder, such as `team-*`; absent: all of a viewer and an admin, none of a developer";

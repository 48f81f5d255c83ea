//! Keys of consumers and their credentials.

use crate::config::scalar::ARGON2;
use crate::config::scalar::HTTP_URL;
use crate::config::scalar::NAME;
use crate::config::scalar::SHA256;
use crate::config::scalar::TEXT;
use crate::config::shape::Need::May;
use crate::config::shape::Need::Must;
use crate::config::shape::Need::Or;
use crate::config::shape::Rule;
use crate::config::shape::Section;
use crate::config::shape::Shape;
use crate::config::shape::key;
use crate::config::shape::section;
use crate::config::table::policies::LIMITS;

/// One entry of `consumers`.
pub(in crate::config) static CONSUMER: Section = section(&[
    key("name", Shape::Scalar(&NAME), Must, "who it is in logs, limits and `authorize`"),
    key("groups", Shape::List(&Shape::Scalar(&NAME), 0), Or("[]"), "what `authorize` may ask for"),
    key("credentials", Shape::List(&Shape::Section(&CREDENTIAL), 0), Or("[]"), "by any of which it is known"),
    key(
        "policies",
        Shape::Section(&CONSUMER_SLOTS),
        Or("{}"),
        "limits of this consumer, added to the others",
    ),
]);

static CONSUMER_SLOTS: Section =
    section(&[key("limits", Shape::Or(&["off"], &LIMITS), May, "counted for this consumer alone")]);

static CREDENTIAL: Section = Section {
    keys: &[
        key("api_key", Shape::Section(&API_KEY), May, "a key in a header"),
        key("hmac", Shape::Section(&HMAC), May, "a secret that signs requests (RFC 9421)"),
        key("basic", Shape::Section(&BASIC), May, "a username and password"),
        key("certificate", Shape::Section(&CLIENT_CERTIFICATE), May, "a client certificate"),
        key("jwt", Shape::Section(&JWT), May, "a token of an issuer"),
    ],
    rules: &[Rule::One(&["api_key", "hmac", "basic", "certificate", "jwt"])],
    wrong: &[],
};

static API_KEY: Section =
    section(&[key("sha256", Shape::Scalar(&SHA256), Must, "hash of the key; the key itself is never kept")]);

static HMAC: Section = section(&[
    key("id", Shape::Scalar(&NAME), Must, "the `keyid` of its signatures"),
    key(
        "secret",
        Shape::Scalar(&TEXT),
        Must,
        "shared with the client; write it as `${NAME}` or `${file:PATH}`",
    ),
]);

static BASIC: Section = section(&[
    key("username", Shape::Scalar(&TEXT), Must, "unique among consumers"),
    key("argon2", Shape::Scalar(&ARGON2), Must, "hash of the password"),
]);

static CLIENT_CERTIFICATE: Section = Section {
    keys: &[
        key("san", Shape::Scalar(&TEXT), May, "a DNS name, URI or e-mail of the certificate"),
        key("subject", Shape::Scalar(&TEXT), May, "its distinguished name"),
        key("fingerprint", Shape::Scalar(&SHA256), May, "its SHA-256"),
    ],
    rules: &[Rule::One(&["san", "subject", "fingerprint"])],
    wrong: &[],
};

static JWT: Section = section(&[
    key("issuer", Shape::Scalar(&HTTP_URL), Must, "`iss` of its tokens"),
    key("subject", Shape::Scalar(&TEXT), Must, "`sub` of its tokens"),
]);

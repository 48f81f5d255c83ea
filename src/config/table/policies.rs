//! Keys of the policy slots, in the fixed order of slots.

use crate::config::scalar::CIDR;
use crate::config::scalar::DURATION;
use crate::config::scalar::HEADER;
use crate::config::scalar::HTTP_URL;
use crate::config::scalar::NAME;
use crate::config::scalar::ORIGIN;
use crate::config::scalar::PATH;
use crate::config::scalar::SERVICE;
use crate::config::scalar::TEXT;
use crate::config::scalar::VERB;
use crate::config::shape::Need::May;
use crate::config::shape::Need::Must;
use crate::config::shape::Need::Or;
use crate::config::shape::Rule;
use crate::config::shape::Section;
use crate::config::shape::Shape;
use crate::config::shape::Thing;
use crate::config::shape::key;
use crate::config::shape::later;
use crate::config::shape::section;
use crate::config::shape::word;
use crate::config::table::limits::LIMIT;

/// `policies` and `enforced`. The order of the rows is the order in which calls pass the slots.
pub(in crate::config) static SLOTS: Section = Section {
    keys: &[
        key("cors", Shape::Or(OFF, &Shape::Section(&CORS)), May, "which web pages may call"),
        later("ip", Shape::Or(OFF, &Shape::Section(&IP)), May, "which peer addresses may call"),
        later("auth", Shape::Or(OFF, &Shape::Section(&AUTH)), May, "who calls"),
        later("authorize", Shape::Or(OFF, &Shape::Section(&AUTHORIZE)), May, "whether this caller may"),
        later(
            "limits",
            Shape::Or(OFF, &LIMITS),
            May,
            "how many calls and messages; those of all levels are added",
        ),
        key("validate", Shape::Or(OFF, &Shape::Section(&VALIDATE)), May, "what messages may be like"),
        later(
            "transform",
            Shape::Or(OFF, &Shape::Section(&TRANSFORM)),
            May,
            "changes metadata, hides fields of replies",
        ),
        later(
            "cache",
            Shape::Or(OFF, &Shape::Section(&CACHE)),
            May,
            "keeps replies of methods without side effects",
        ),
        key("timeout", Shape::Or(OFF, &Shape::Section(&TIMEOUT)), May, "how long a call may take"),
        key(
            "stream",
            Shape::Or(OFF, &Shape::Section(&STREAM)),
            May,
            "how long a stream may stall, idle and live",
        ),
        later("retry", Shape::Or(OFF, &Shape::Section(&RETRY)), May, "when a failed call is sent again"),
    ],
    rules: &[],
    wrong: &[
        (
            "rate_limit",
            "it is an entry of `limits`: `limits: [{ rate: { per_second: 100, key: consumer } }]`",
        ),
        ("rate", "it is an entry of `limits`: `limits: [{ rate: { per_second: 100, key: consumer } }]`"),
        ("quota", "it is an entry of `limits`"),
        ("concurrency", "it is an entry of `limits`"),
        ("jwt", "it is a key of `auth`"),
        ("api_key", "it is a key of `auth`"),
        ("max_message", "write it in `validate`: `validate: { max_message: 4MiB }`"),
        ("headers", "it is called `transform`"),
        ("retries", "it is called `retry`"),
    ],
};

/// The value of `limits`.
pub(in crate::config) static LIMITS: Shape = Shape::List(&Shape::Section(&LIMIT), 0);

static CORS: Section = Section {
    keys: &[
        key(
            "origins",
            Shape::List(&Shape::Scalar(&ORIGIN), 1),
            Must,
            "pages that may call; `*` is every one",
        ),
        key(
            "methods",
            Shape::List(&Shape::Scalar(&VERB), 0),
            Or("[]"),
            "HTTP methods besides those the dialects need",
        ),
        key(
            "headers",
            Shape::List(&Shape::Scalar(&HEADER), 0),
            Or("[]"),
            "request headers besides those the dialects need",
        ),
        key("expose", Shape::List(&Shape::Scalar(&HEADER), 0), Or("[]"), "reply headers that pages may read"),
        key("credentials", Shape::Bool, Or("false"), "whether cookies are sent"),
        key("max_age", Shape::Scalar(&DURATION), Or("2h"), "how long browsers keep the answer"),
    ],
    rules: &[],
    wrong: &[
        ("allow_origins", "it is called `origins`"),
        ("allow_headers", "it is called `headers`"),
        ("allow_methods", "it is called `methods`"),
        ("expose_headers", "it is called `expose`"),
        ("exposed_headers", "it is called `expose`"),
        ("allow_credentials", "it is called `credentials`"),
    ],
};

static IP: Section = section(&[
    key("allow", Shape::List(&Shape::Scalar(&CIDR), 0), Or("[]"), "the only peers, where it is not empty"),
    key("deny", Shape::List(&Shape::Scalar(&CIDR), 0), Or("[]"), "never these, even where allowed"),
]);

static AUTH: Section = section(&[
    key("any_of", Shape::List(&AUTH_METHOD, 1), Must, "which credentials are taken, in this order"),
    key("anonymous", Shape::Bool, Or("false"), "serves callers without any credential"),
    key("keep_credentials", Shape::Bool, Or("false"), "sends them on to the upstream"),
    key("failures", Shape::Or(OFF, &Shape::Section(&FAILURES)), Or("{}"), "bounds guessing, by peer address"),
    key("api_key", Shape::Section(&API_KEY), Or("{}"), "where keys are"),
    key("jwt", Shape::Section(&JWT), May, "whose tokens are taken"),
    key("hmac", Shape::Section(&HMAC), Or("{}"), "what signatures must cover"),
    key(
        "introspection",
        Shape::Section(&INTROSPECTION),
        May,
        "asks an authorization server about tokens (RFC 7662)",
    ),
    key("oidc", Shape::Section(&OIDC), May, "sends browsers to a login page"),
]);

static AUTH_METHOD: Shape = Shape::Choice(&[
    word("api_key"),
    word("jwt"),
    word("basic"),
    word("hmac"),
    word("mtls"),
    word("introspection"),
    word("oidc"),
]);

static FAILURES: Section = section(&[key(
    "per_minute",
    Shape::Integer(1, 1_000_000),
    Or("60"),
    "bad credentials of one address in a minute",
)]);

static API_KEY: Section = section(&[
    key("header", Shape::Scalar(&HEADER), Or("x-api-key"), "the header that has it"),
    key(
        "query",
        Shape::Or(&["none"], &Shape::Scalar(&NAME)),
        Or("none"),
        "the query parameter that may have it; it ends up in logs",
    ),
]);

static JWT: Section = section(&[
    key("providers", Shape::List(&Shape::Section(&PROVIDER), 1), Must, "issuers"),
    key(
        "forward",
        Shape::Map(&TEXT, &Shape::Scalar(&HEADER)),
        Or("{}"),
        "claims that become metadata of the upstream",
    ),
    key("end_stream_at_expiry", Shape::Bool, Or("false"), "ends streams when their token ends"),
]);

static PROVIDER: Section = Section {
    keys: &[
        key("issuer", Shape::Scalar(&TEXT), Must, "`iss` of its tokens"),
        key("audiences", Shape::List(&Shape::Scalar(&TEXT), 1), Must, "any of these must be in `aud`"),
        key("jwks_url", Shape::Scalar(&HTTP_URL), May, "where its keys are"),
        key("jwks_file", Shape::Scalar(&PATH), May, "a file of its keys"),
        key("secret", Shape::Scalar(&TEXT), May, "the one key of HS256 and its kin"),
        key(
            "algorithms",
            Shape::List(&Shape::Scalar(&NAME), 1),
            May,
            "the only ones; absent: all that fit its keys",
        ),
    ],
    rules: &[Rule::One(&["jwks_url", "jwks_file", "secret"])],
    wrong: &[
        ("jwks", "it is called `jwks_url` or `jwks_file`"),
        ("audience", "list it: `audiences: [pets]`"),
    ],
};

static HMAC: Section = section(&[
    key(
        "body",
        Shape::Choice(&[word("signed"), word("unsigned")]),
        Or("signed"),
        "whether the body's digest is covered",
    ),
    key(
        "nonce",
        Shape::Choice(&[word("optional"), word("required")]),
        Or("optional"),
        "whether each request needs one of its own",
    ),
    key("max_age", Shape::Scalar(&DURATION), Or("300s"), "how old a signature may be"),
]);

static INTROSPECTION: Section = section(&[
    key("url", Shape::Scalar(&HTTP_URL), Must, "the authorization server"),
    key("client_id", Shape::Scalar(&TEXT), Must, "as whom the gateway asks"),
    key("client_secret", Shape::Scalar(&TEXT), Must, "its secret; write it as `${NAME}` or `${file:PATH}`"),
]);

static OIDC: Section = section(&[
    key("issuer", Shape::Scalar(&HTTP_URL), Must, "the identity provider"),
    key("client_id", Shape::Scalar(&TEXT), Must, "as whom the gateway logs people in"),
    key("client_secret", Shape::Scalar(&TEXT), Must, "its secret; write it as `${NAME}` or `${file:PATH}`"),
    key("scopes", Shape::List(&Shape::Scalar(&TEXT), 0), Or("[]"), "asked for besides `openid`"),
]);

static AUTHORIZE: Section = section(&[
    key("consumers", Shape::List(&Shape::Name(Thing::Consumer), 0), Or("[]"), "who may"),
    key("groups", Shape::List(&Shape::Scalar(&NAME), 0), Or("[]"), "whose members may"),
    key("scopes", Shape::List(&Shape::Scalar(&TEXT), 0), Or("[]"), "any of these scopes is needed"),
    key("deny", Shape::List(&Shape::Name(Thing::Consumer), 0), Or("[]"), "who never may"),
    key("cel", Shape::Scalar(&TEXT), Or(""), "an expression that must hold"),
    key("external", Shape::Section(&EXTERNAL), May, "asks a server of Envoy's ext_authz"),
]);

static EXTERNAL: Section = section(&[
    key("upstream", Shape::Name(Thing::Upstream), Must, "which server"),
    key("timeout", Shape::Scalar(&DURATION), Or("200ms"), "for its answer"),
    key("fail_open", Shape::Bool, Or("false"), "lets calls pass while it is away"),
]);

static VALIDATE: Section = section(&[
    later("rules", Shape::Bool, Or("false"), "obeys protovalidate rules of messages"),
    key(
        "max_message",
        Shape::Size(1, (1 << 32) - 1),
        Or("4MiB"),
        "one message; native ones are bounded only where it is written",
    ),
    later("max_depth", Shape::Integer(1, 1000), Or("100"), "levels of messages inside messages"),
]);

static TRANSFORM: Section = section(&[
    key("request", Shape::Section(&METADATA), Or("{}"), "metadata on the way to the upstream"),
    key("response", Shape::Section(&METADATA), Or("{}"), "metadata on the way to the client"),
    key(
        "redact",
        Shape::List(&Shape::Scalar(&SERVICE), 0),
        Or("[]"),
        "fields of replies that are emptied: `pets.v1.Pet.owner`",
    ),
]);

static METADATA: Section = section(&[
    key("set", Shape::Map(&HEADER, &Shape::Scalar(&TEXT)), Or("{}"), "replaced"),
    key("add", Shape::Map(&HEADER, &Shape::Scalar(&TEXT)), Or("{}"), "added"),
    key("remove", Shape::List(&Shape::Scalar(&HEADER), 0), Or("[]"), "removed"),
]);

static CACHE: Section = section(&[
    key("ttl", Shape::Scalar(&DURATION), Must, "how long a reply is kept"),
    key("vary", Shape::List(&Shape::Scalar(&HEADER), 0), Or("[]"), "metadata by which replies differ"),
    key("shared", Shape::Bool, Or("false"), "lets consumers read each other's replies"),
]);

static TIMEOUT: Section = Section {
    keys: &[
        key(
            "default",
            Shape::Or(&["none", "off"], &Shape::Scalar(&DURATION)),
            Or("15s"),
            "for unary calls whose client sets no deadline",
        ),
        key(
            "max",
            Shape::Or(NONE, &Shape::Scalar(&DURATION)),
            Or("none"),
            "the longest deadline a client may set",
        ),
    ],
    rules: &[],
    wrong: &[],
};

static STREAM: Section = section(&[
    key(
        "stall",
        Shape::Or(NONE, &Shape::Scalar(&DURATION)),
        Or("60s"),
        "how long bytes may wait for a peer that takes none",
    ),
    key(
        "idle",
        Shape::Or(NONE, &Shape::Scalar(&DURATION)),
        Or("none"),
        "how long a stream may be without a message",
    ),
    key("age", Shape::Or(NONE, &Shape::Scalar(&DURATION)), Or("none"), "how long a stream may live"),
]);

static RETRY: Section = Section {
    keys: &[
        key("attempts", Shape::Integer(1, 10), Or("3"), "how often a call is sent, the first time counted"),
        key(
            "codes",
            Shape::List(&CODE, 0),
            Or("[]"),
            "answers after which it is sent again, of methods marked idempotent",
        ),
        key("budget", Shape::Ratio, Or("0.2"), "which part of calls may be repeats"),
        key("hedge", Shape::Section(&HEDGE), May, "a second attempt before the first has failed"),
    ],
    rules: &[],
    wrong: &[("max_attempts", "it is called `attempts`"), ("on", "it is called `codes`")],
};

static HEDGE: Section =
    section(&[key("after", Shape::Scalar(&DURATION), Must, "how long the first attempt has alone")]);

static CODE: Shape = Shape::Choice(&[
    word("cancelled"),
    word("unknown"),
    word("deadline_exceeded"),
    word("resource_exhausted"),
    word("aborted"),
    word("internal"),
    word("unavailable"),
]);

/// Slots that hold with their defaults where no level sets them.
pub(in crate::config) static ALWAYS: &[&str] = &["validate", "timeout", "stream"];

const OFF: &[&str] = &["off"];
const NONE: &[&str] = &["none"];

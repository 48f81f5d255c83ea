//! Keys of upstreams.

use crate::config::scalar::DURATION;
use crate::config::scalar::ENDPOINT;
use crate::config::scalar::LIMIT_KEY;
use crate::config::scalar::NAME;
use crate::config::scalar::PATH;
use crate::config::scalar::SERVER_NAME;
use crate::config::scalar::TEXT;
use crate::config::shape::Need::May;
use crate::config::shape::Need::Must;
use crate::config::shape::Need::Or;
use crate::config::shape::Rule;
use crate::config::shape::Section;
use crate::config::shape::Shape;
use crate::config::shape::key;
use crate::config::shape::later;
use crate::config::shape::later_word;
use crate::config::shape::section;
use crate::config::shape::word;

/// One entry of `upstreams`.
pub(in crate::config) static UPSTREAM: Section = Section {
    keys: &[
        key("name", Shape::Scalar(&NAME), Must, "what APIs call it by"),
        key("endpoints", Shape::List(&Shape::Section(&ENDPOINT_KEYS), 1), May, "its servers"),
        later("discovery", Shape::Section(&DISCOVERY), May, "finds its servers, instead of `endpoints`"),
        key("protocol", Shape::Choice(&[word("h2"), later_word("rest")]), Or("h2"), "what its servers speak"),
        key(
            "authority",
            Shape::Or(&["endpoint", "client"], &Shape::Scalar(&AUTHORITY)),
            Or("endpoint"),
            "which `:authority` it sees: the endpoint's address, the client's, or this one",
        ),
        key("tls", Shape::Section(&TLS), May, "speaks TLS to it; `{}` trusts the system's authorities"),
        key("balance", Shape::Section(&BALANCE), Or("{}"), "how a server is picked for a call"),
        later(
            "health",
            Shape::Or(&["off"], &Shape::Section(&HEALTH)),
            Or("off"),
            "asks servers whether they are well",
        ),
        later(
            "outlier",
            Shape::Or(&["off"], &Shape::Section(&OUTLIER)),
            Or("off"),
            "leaves failing servers out for a while",
        ),
        later(
            "breaker",
            Shape::Or(&["off"], &Shape::Section(&BREAKER)),
            Or("off"),
            "refuses fast while most calls fail",
        ),
        key("pool", Shape::Section(&POOL), Or("{}"), "connections to each server"),
    ],
    rules: &[Rule::One(&["endpoints", "discovery"])],
    wrong: &[
        ("address", "list it: `endpoints: [{ address: \"127.0.0.1:50051\" }]`"),
        ("url", "list it: `endpoints: [{ address: \"127.0.0.1:50051\" }]`"),
        ("nodes", "they are called `endpoints`"),
        ("targets", "they are called `endpoints`"),
        ("lb", "it is called `balance`"),
        ("retry", "it is a slot of `policies`"),
        ("timeout", "it is a slot of `policies`"),
    ],
};

static AUTHORITY: crate::config::scalar::Kind = crate::config::scalar::Kind {
    what: "an authority",
    example: "`pets.internal` or `pets.internal:8443`",
    check: |text| match (text.contains(':'), SERVER_NAME.check) {
        (true, _) => (ENDPOINT.check)(text),
        (false, check) => check(text),
    },
};

static ENDPOINT_KEYS: Section = Section {
    keys: &[
        key("address", Shape::Scalar(&ENDPOINT), Must, "host and port of one server"),
        key("weight", Shape::Integer(1, 65_535), Or("1"), "its share of calls, relative to the others"),
        key(
            "tags",
            Shape::Map(&NAME, &Shape::Scalar(&TEXT)),
            Or("{}"),
            "words about it, such as its zone or version",
        ),
    ],
    rules: &[],
    wrong: &[
        ("port", "write it in `address`: `127.0.0.1:50051`"),
        ("host", "write it in `address`: `127.0.0.1:50051`"),
    ],
};

static DISCOVERY: Section = Section {
    keys: &[key("dns", Shape::Section(&DNS), May, "every address of a name is a server")],
    rules: &[Rule::One(&["dns"])],
    wrong: &[],
};

static DNS: Section = section(&[
    key("name", Shape::Scalar(&SERVER_NAME), Must, "the name that is looked up"),
    key("port", Shape::Integer(1, 65_535), Must, "the port of every server"),
    key("refresh", Shape::Scalar(&DURATION), Or("10s"), "how often it is looked up again"),
]);

static TLS: Section = Section {
    keys: &[
        key("ca", Shape::Scalar(&PATH), May, "PEM of the authorities that are trusted; absent: the system's"),
        key("cert", Shape::Scalar(&PATH), May, "PEM of the gateway's own certificate"),
        key("key", Shape::Scalar(&PATH), May, "PEM of its private key"),
        key(
            "server_name",
            Shape::Scalar(&SERVER_NAME),
            May,
            "which name its certificate must have; absent: the endpoint's host",
        ),
    ],
    rules: &[Rule::Needs("cert", "key"), Rule::Needs("key", "cert")],
    wrong: &[("insecure", "certificates are always verified; give the authority as `ca`")],
};

static BALANCE: Section = Section {
    keys: &[
        key(
            "kind",
            Shape::Choice(&[word("round_robin"), later_word("least_request"), later_word("ewma")]),
            Or("round_robin"),
            "in turn by weight, the less busy of two, or by latency",
        ),
        later("hash", Shape::Section(&HASH), May, "the same server for the same key, instead of `kind`"),
    ],
    rules: &[Rule::AtMostOne(&["kind", "hash"])],
    wrong: &[
        ("policy", "it is called `kind`"),
        ("type", "it is called `kind`"),
        ("key", "write it in `hash`: `hash: { key: header:x-user }`"),
    ],
};

static HASH: Section = section(&[key(
    "key",
    Shape::Scalar(&LIMIT_KEY),
    Must,
    "what is hashed, such as `header:x-user` or `consumer`",
)]);

static HEALTH: Section = Section {
    keys: &[
        key("grpc", Shape::Section(&HEALTH_GRPC), May, "calls `grpc.health.v1.Health/Check`"),
        key("tcp", Shape::Section(&HEALTH_TCP), May, "only connects"),
        key("interval", Shape::Scalar(&DURATION), Or("5s"), "between two checks"),
        key("timeout", Shape::Scalar(&DURATION), Or("1s"), "for one check"),
        key("healthy_after", Shape::Integer(1, 100), Or("2"), "good checks until a server is used again"),
        key("unhealthy_after", Shape::Integer(1, 100), Or("3"), "bad checks until a server is left out"),
    ],
    rules: &[Rule::One(&["grpc", "tcp"])],
    wrong: &[],
};

static HEALTH_GRPC: Section = section(&[key(
    "service",
    Shape::Scalar(&TEXT),
    Or(""),
    "which service is asked about; empty is the whole server",
)]);

static HEALTH_TCP: Section = section(&[]);

static OUTLIER: Section = section(&[
    key(
        "consecutive_failures",
        Shape::Integer(1, 1000),
        Or("5"),
        "failures in a row until a server is left out",
    ),
    key("base_ejection", Shape::Scalar(&DURATION), Or("30s"), "for how long, times how often it happened"),
    key("max_ejected_percent", Shape::Integer(0, 100), Or("50"), "how many of the servers at most"),
]);

static BREAKER: Section = section(&[
    key("failure_ratio", Shape::Ratio, Or("0.5"), "which part of calls must fail for it to open"),
    key("min_calls", Shape::Integer(1, 1_000_000), Or("20"), "calls in the window before it may open"),
    key("window", Shape::Scalar(&DURATION), Or("10s"), "over which calls are counted"),
    key("open_for", Shape::Scalar(&DURATION), Or("5s"), "how long calls are refused"),
    key("half_open_calls", Shape::Integer(1, 1000), Or("3"), "trial calls after that"),
]);

static POOL: Section = Section {
    keys: &[
        key(
            "connections",
            Shape::Integer(1, 1024),
            Or("2"),
            "kept by one worker to one server; more are opened while all their streams are in use",
        ),
        key(
            "max_streams",
            Shape::Integer(1, 1_000_000),
            Or("1000"),
            "calls on one connection, where the server allows them",
        ),
        key("connect_timeout", Shape::Scalar(&DURATION), Or("1s"), "for one connect"),
        key(
            "keepalive",
            Shape::Or(&["off"], &Shape::Scalar(&DURATION)),
            Or("off"),
            "PINGs while calls are open; many servers close connections pinged more often than every 5 min",
        ),
    ],
    rules: &[],
    wrong: &[("size", "it is called `connections`"), ("timeout", "it is called `connect_timeout`")],
};

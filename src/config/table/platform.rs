//! Keys of the process: server, status, store, Redis and what is observed.

use crate::config::scalar::ADDRESS;
use crate::config::scalar::CIDR;
use crate::config::scalar::DURATION;
use crate::config::scalar::DURATION_OR_ZERO;
use crate::config::scalar::HTTP_URL;
use crate::config::scalar::KEY_PREFIX;
use crate::config::scalar::PATH;
use crate::config::scalar::REDIS_URL;
use crate::config::scalar::TEXT;
use crate::config::shape::Need::May;
use crate::config::shape::Need::Must;
use crate::config::shape::Need::Or;
use crate::config::shape::Rule;
use crate::config::shape::Section;
use crate::config::shape::Shape;
use crate::config::shape::key;
use crate::config::shape::later;
use crate::config::shape::section;
use crate::config::shape::word;

/// `server`.
pub(in crate::config) static SERVER: Section = Section {
    keys: &[
        key("workers", Shape::Integer(0, 1024), Or("0"), "worker threads; 0 is one a core"),
        key(
            "drain_timeout",
            Shape::Scalar(&DURATION_OR_ZERO),
            Or("25s"),
            "how long running calls may take to end after SIGTERM",
        ),
        key(
            "trusted_proxies",
            Shape::List(&Shape::Scalar(&CIDR), 0),
            Or("[]"),
            "peers whose PROXY header, `X-Forwarded-For`, `Forwarded` and `X-Forwarded-Proto` are believed",
        ),
        key(
            "buffer_bytes",
            Shape::Size(1 << 20, 1 << 50),
            Or("512MiB"),
            "all messages held for decoding, together",
        ),
        key("reflection", Shape::Bool, Or("true"), "serves gRPC reflection of what is published"),
        key("health", Shape::Bool, Or("true"), "serves `grpc.health.v1` of what is published"),
    ],
    rules: &[],
    wrong: &[("threads", "it is called `workers`"), ("shutdown_timeout", "it is called `drain_timeout`")],
};

/// `redis`.
pub(in crate::config) static REDIS: Section = section(&[
    key("url", Shape::Scalar(&REDIS_URL), Must, "where it is"),
    key(
        "timeout",
        Shape::Scalar(&DURATION),
        Or("50ms"),
        "for one answer; after it limits are counted locally",
    ),
]);

/// `status`.
pub(in crate::config) static STATUS: Section = section(&[key(
    "address",
    Shape::Scalar(&ADDRESS),
    Must,
    "IP address and port of `/healthz`, `/readyz` and `/metrics` alone",
)]);

/// `store`.
pub(in crate::config) static STORE: Section = Section {
    keys: &[
        key("embedded", Shape::Section(&EMBEDDED), May, "a file of this gateway's own"),
        later("etcd", Shape::Section(&ETCD), May, "an etcd that several gateways share"),
    ],
    rules: &[Rule::One(&["embedded", "etcd"])],
    wrong: &[("path", "write it in `embedded`: `store: { embedded: { path: data/transom.redb } }`")],
};

static EMBEDDED: Section = section(&[key("path", Shape::Scalar(&PATH), Must, "the file, made when absent")]);

static ETCD: Section = section(&[
    key("endpoints", Shape::List(&Shape::Scalar(&HTTP_URL), 1), Must, "members of the cluster"),
    key("prefix", Shape::Scalar(&KEY_PREFIX), Or("/transom"), "below which its keys are"),
]);

/// `observe`.
pub(in crate::config) static OBSERVE: Section = section(&[
    key("access_log", Shape::Or(&["off"], &Shape::Section(&ACCESS_LOG)), Or("off"), "one line a call"),
    key("metrics", Shape::Bool, Or("true"), "serves Prometheus metrics at `/metrics`"),
    later("traces", Shape::Or(&["off"], &Shape::Section(&TRACES)), Or("off"), "spans, sent by OTLP"),
]);

static ACCESS_LOG: Section = section(&[
    key(
        "path",
        Shape::Or(&["-"], &Shape::Scalar(&PATH)),
        Or("-"),
        "a file that is appended to; `-` is standard output",
    ),
    key("format", Shape::Choice(&[word("json")]), Or("json"), "how a line is written"),
]);

static TRACES: Section = section(&[
    key("otlp", Shape::Scalar(&HTTP_URL), Must, "the collector, by gRPC"),
    key("sample", Shape::Ratio, Or("0.01"), "which part of calls is traced when the client doesn't say"),
    key(
        "propagate",
        Shape::List(&Shape::Choice(&[word("w3c"), word("b3")]), 1),
        Or("[]"),
        "header formats that are read and sent on",
    ),
    key("service_name", Shape::Scalar(&TEXT), Or("transom"), "what the collector calls this process"),
]);

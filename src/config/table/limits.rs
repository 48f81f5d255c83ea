//! Keys of the `limits` slot.

use crate::config::scalar::DURATION;
use crate::config::scalar::LIMIT_KEY;
use crate::config::scalar::TEXT;
use crate::config::shape::Need::May;
use crate::config::shape::Need::Must;
use crate::config::shape::Need::Or;
use crate::config::shape::Rule;
use crate::config::shape::Section;
use crate::config::shape::Shape;
use crate::config::shape::key;
use crate::config::shape::section;
use crate::config::shape::word;

/// One entry of `limits`.
pub(in crate::config) static LIMIT: Section = Section {
    keys: &[
        key("concurrency", Shape::Section(&CONCURRENCY), May, "calls at the same time"),
        key("rate", Shape::Section(&RATE), May, "calls in a time, by a token bucket"),
        key("quota", Shape::Section(&QUOTA), May, "calls in a long window"),
        key("messages", Shape::Section(&MESSAGES), May, "messages of streams in a time, each way"),
    ],
    rules: &[Rule::One(&["concurrency", "rate", "quota", "messages"])],
    wrong: &[("rps", "it is called `rate`: `rate: { per_second: 100 }`")],
};

static CONCURRENCY: Section = section(&[
    key("limit", Shape::Integer(1, COUNT_MAX), Must, "how many"),
    key("key", KEYS, Must, "what is counted apart"),
    key("streams", Shape::Integer(1, COUNT_MAX), May, "how many of them may be streams"),
]);

static RATE: Section = Section {
    keys: &[
        key("per_second", Shape::Integer(1, COUNT_MAX), May, "how many in a second"),
        key("per_minute", Shape::Integer(1, COUNT_MAX), May, "how many in a minute"),
        key("burst", Shape::Integer(1, COUNT_MAX), May, "how many at once; absent: as many as the rate"),
        key("key", KEYS, Must, "what is counted apart"),
        key(
            "cost",
            Shape::Scalar(&TEXT),
            May,
            "what one call counts: a number, or a CEL expression over the request",
        ),
    ],
    rules: &[Rule::One(&["per_second", "per_minute"])],
    wrong: RATE_WRONG,
};

static QUOTA: Section = section(&[
    key("limit", Shape::Integer(1, COUNT_MAX), Must, "how many in a window"),
    key("window", Shape::Scalar(&DURATION), Must, "how long a window is"),
    key(
        "kind",
        Shape::Choice(&[word("sliding"), word("fixed")]),
        Or("sliding"),
        "whether the window before counts by its weight",
    ),
    key("key", KEYS, Must, "what is counted apart"),
    key("store", Shape::Choice(&[word("local"), word("redis")]), Or("local"), "where it is counted"),
    key(
        "on_failure",
        Shape::Choice(&[word("local"), word("open"), word("closed")]),
        Or("local"),
        "what holds while Redis is away",
    ),
    key(
        "cost",
        Shape::Scalar(&TEXT),
        May,
        "what one call counts: a number, or a CEL expression over the request",
    ),
]);

static MESSAGES: Section = Section {
    keys: &[
        key("per_second", Shape::Integer(1, COUNT_MAX), Must, "how many in a second"),
        key("burst", Shape::Integer(1, COUNT_MAX), May, "how many at once; absent: as many as the rate"),
        key("key", KEYS, Must, "what is counted apart"),
        key(
            "action",
            Shape::Choice(&[word("wait"), word("refuse")]),
            Or("wait"),
            "holds the stream back, or ends it",
        ),
    ],
    rules: &[],
    wrong: RATE_WRONG,
};

const KEYS: Shape = Shape::Either(&Shape::Scalar(&LIMIT_KEY), &Shape::List(&Shape::Scalar(&LIMIT_KEY), 1));
const RATE_WRONG: &[(&str, &str)] = &[
    ("rps", "it is called `per_second`"),
    ("rate", "it is called `per_second`"),
    ("limit", "it is called `per_second`"),
    ("rpm", "it is called `per_minute`"),
];
const COUNT_MAX: u64 = 1_000_000_000;

//! Keys of APIs.

use crate::config::scalar::HEADER;
use crate::config::scalar::HOST;
use crate::config::scalar::METHOD;
use crate::config::scalar::NAME;
use crate::config::scalar::SERVICE;
use crate::config::scalar::TEXT;
use crate::config::scalar::URL_PATH;
use crate::config::scalar::URL_PREFIX;
use crate::config::shape::Need::May;
use crate::config::shape::Need::Must;
use crate::config::shape::Need::Or;
use crate::config::shape::Rule;
use crate::config::shape::Section;
use crate::config::shape::Shape;
use crate::config::shape::Thing;
use crate::config::shape::Word;
use crate::config::shape::key;
use crate::config::shape::later;
use crate::config::shape::section;
use crate::config::shape::word;
use crate::config::table::policies::SLOTS;

/// One entry of `apis`.
pub(in crate::config) static API: Section = Section {
    keys: &[
        key("name", Shape::Scalar(&NAME), Must, "names it in logs, metrics and limits"),
        key("module", Shape::Name(Thing::Module), Must, "whose services are published"),
        key("label", Shape::Scalar(&NAME), Or("live"), "which version of the module serves"),
        key("label_header", Shape::Scalar(&HEADER), May, "a header by which a call asks for another label"),
        key(
            "shadow",
            Shape::Scalar(&NAME),
            May,
            "a label whose version reads copies of all messages beside the serving one and reports what fails",
        ),
        key(
            "services",
            Shape::List(&Shape::Scalar(&SERVICE), 1),
            May,
            "the only services; absent: all of the module",
        ),
        key("hosts", Shape::List(&Shape::Scalar(&HOST), 1), May, "where they answer; absent: on every host"),
        key("upstream", Shape::Name(Thing::Upstream), May, "where their calls go"),
        later(
            "split",
            Shape::List(&Shape::Section(&SHARE), 1),
            May,
            "several upstreams by weight, instead of `upstream`",
        ),
        later(
            "mirror",
            Shape::Section(&MIRROR),
            May,
            "copies calls to another upstream, whose replies are dropped",
        ),
        key(
            "dialects",
            Shape::List(&Shape::Choice(DIALECTS), 1),
            May,
            "what clients may speak; absent: all that are built",
        ),
        key("openapi", Shape::Section(&OPENAPI), May, "serves an OpenAPI document of it"),
        key("rest", Shape::Section(&REST), Or("{}"), "how REST and JSON are read and written"),
        key("policies", Shape::Section(&SLOTS), Or("{}"), "slots of this API"),
        key(
            "methods",
            Shape::Map(&METHOD, &Shape::Section(&METHOD_KEYS)),
            Or("{}"),
            "what differs for single methods",
        ),
    ],
    rules: &[Rule::One(&["upstream", "split"])],
    wrong: &[
        ("host", "list it: `hosts: [api.example.com]`"),
        ("service", "list it: `services: [pets.v1.PetStore]`"),
        ("paths", "paths come from the `.proto` files of the module"),
        ("routes", "paths come from the `.proto` files of the module"),
        ("protocols", "they are called `dialects`"),
        ("limits", "write it in `policies`"),
        ("timeout", "write it in `policies`: `policies: { timeout: { default: 2s } }`"),
        ("auth", "write it in `policies`"),
    ],
};

/// What clients may speak.
pub(in crate::config) static DIALECTS: &[Word] =
    &[word("grpc"), word("grpc_web"), word("connect"), word("rest")];

static METHOD_KEYS: Section = Section {
    keys: &[
        key("idempotent", Shape::Bool, May, "whether it may be repeated; absent: what its declaration says"),
        key("policies", Shape::Section(&SLOTS), Or("{}"), "slots of this method"),
    ],
    rules: &[],
    wrong: &[("timeout", "write it in `policies`: `policies: { timeout: { default: 2s } }`")],
};

static SHARE: Section = section(&[
    key("upstream", Shape::Name(Thing::Upstream), Must, "where this share of calls goes"),
    key("weight", Shape::Integer(0, 65_535), Must, "its size, relative to the others"),
]);

static MIRROR: Section = section(&[
    key("upstream", Shape::Name(Thing::Upstream), Must, "where copies go"),
    key("percent", Shape::Integer(0, 100), Or("100"), "how many calls are copied"),
]);

static OPENAPI: Section = section(&[key("path", Shape::Scalar(&URL_PATH), Must, "where the document is")]);

static REST: Section = section(&[
    key(
        "prefix",
        Shape::Or(&[""], &Shape::Scalar(&URL_PREFIX)),
        Or(""),
        "before every path of the `google.api.http` rules",
    ),
    key(
        "unknown_fields",
        Shape::Choice(&[word("reject"), word("ignore")]),
        Or("reject"),
        "JSON fields that no message has",
    ),
    key(
        "unknown_query",
        Shape::Choice(&[word("reject"), word("ignore")]),
        Or("reject"),
        "query parameters that no message has",
    ),
    key(
        "ignored_query_parameters",
        Shape::List(&Shape::Scalar(&TEXT), 0),
        Or("[]"),
        "query parameters that are never fields",
    ),
    key("emit_defaults", Shape::Bool, Or("false"), "writes fields that have their default"),
    key("preserve_names", Shape::Bool, Or("false"), "writes `pet_id` instead of `petId`"),
    key("enums_as_numbers", Shape::Bool, Or("false"), "writes enum values as numbers"),
    key(
        "int64",
        Shape::Choice(&[word("string"), word("number")]),
        Or("string"),
        "how 64-bit integers are written",
    ),
    key(
        "lenient_bool",
        Shape::Bool,
        Or("false"),
        "reads `0` and `1` as booleans in paths, queries and forms",
    ),
    key(
        "reserved_expansion",
        Shape::Choice(&[word("keep_slash"), word("decode_all")]),
        Or("keep_slash"),
        "whether `%2F` in a path variable of several segments stays",
    ),
    key(
        "allow_mid_double_star",
        Shape::Bool,
        Or("false"),
        "takes templates that go on after `**`, which `google/api/http.proto` forbids",
    ),
    key("allow_root", Shape::Bool, Or("false"), "takes `/` alone as a template"),
    key("patch_mask", Shape::Bool, Or("false"), "makes the field mask of a PATCH from its body"),
    key("conflicts", Shape::Choice(&[word("refuse"), word("first")]), Or("refuse"), "two rules for one path"),
    key(
        "errors",
        Shape::Choice(&[word("status"), word("aip193"), word("problem")]),
        Or("status"),
        "`google.rpc.Status`, the form of AIP-193, or RFC 9457",
    ),
]);

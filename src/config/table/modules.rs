//! Keys of modules.

use crate::config::scalar::DURATION;
use crate::config::scalar::NAME;
use crate::config::scalar::PACKAGE;
use crate::config::scalar::PATH;
use crate::config::shape::Need::May;
use crate::config::shape::Need::Must;
use crate::config::shape::Need::Or;
use crate::config::shape::Rule;
use crate::config::shape::Section;
use crate::config::shape::Shape;
use crate::config::shape::Thing;
use crate::config::shape::key;
use crate::config::shape::section;

/// One entry of `modules`.
pub(in crate::config) static MODULE: Section = Section {
    keys: &[
        key("name", Shape::Scalar(&NAME), Must, "what APIs and uploads call it by"),
        key(
            "protos",
            Shape::Scalar(&PATH),
            May,
            "a directory of `.proto` files, watched; without any source it waits for an upload",
        ),
        key("descriptor_set", Shape::Scalar(&PATH), May, "a compiled `FileDescriptorSet`, watched"),
        key("reflection", Shape::Section(&REFLECTION), May, "asks an upstream for its descriptors"),
        key("deps", Shape::List(&Shape::Name(Thing::Module), 0), Or("[]"), "modules whose files it imports"),
        key(
            "packages",
            Shape::List(&Shape::Scalar(&PACKAGE), 0),
            Or("[]"),
            "packages reserved for it: no other module may define services in them",
        ),
        key("rules", Shape::Scalar(&PATH), May, "a service configuration with `google.api.http` rules"),
    ],
    rules: &[Rule::AtMostOne(&["protos", "descriptor_set", "reflection"])],
    wrong: &[
        ("proto", "it is called `protos`"),
        ("path", "say what is there: `protos` for `.proto` files, `descriptor_set` for a compiled set"),
        ("descriptor", "it is called `descriptor_set`"),
        ("descriptors", "it is called `descriptor_set`"),
    ],
};

static REFLECTION: Section = section(&[
    key("upstream", Shape::Name(Thing::Upstream), Must, "which serves `grpc.reflection.v1`"),
    key("refresh", Shape::Scalar(&DURATION), Or("60s"), "how often it is asked again"),
]);

//! The table of every key of the configuration: its shape, its default and its meaning.

pub(super) mod admin;
pub(super) mod apis;
pub(super) mod consumers;
pub(super) mod limits;
pub(super) mod listeners;
pub(super) mod modules;
pub(super) mod platform;
pub(super) mod policies;
pub(super) mod upstreams;

use crate::config::shape::Need::May;
use crate::config::shape::Need::Must;
use crate::config::shape::Need::Or;
use crate::config::shape::Section;
use crate::config::shape::Shape;
use crate::config::shape::key;
use crate::config::shape::later;

/// The whole file. A key is built when its row, and every row above it, says `key`.
pub(super) static FILE: Section = Section {
    keys: &[
        key(
            "listeners",
            Shape::List(&Shape::Section(&listeners::LISTENER), 1),
            Must,
            "where clients connect",
        ),
        key("server", Shape::Section(&platform::SERVER), Or("{}"), "process-wide settings"),
        key(
            "certificates",
            Shape::List(&Shape::Section(&listeners::CERTIFICATE), 0),
            Or("[]"),
            "TLS certificates by name, for any listener",
        ),
        key(
            "modules",
            Shape::List(&Shape::Section(&modules::MODULE), 0),
            Or("[]"),
            "whose `.proto` files are served",
        ),
        key(
            "upstreams",
            Shape::List(&Shape::Section(&upstreams::UPSTREAM), 0),
            Or("[]"),
            "where calls can go",
        ),
        key("apis", Shape::List(&Shape::Section(&apis::API), 0), Or("[]"), "what is published"),
        later(
            "consumers",
            Shape::List(&Shape::Section(&consumers::CONSUMER), 0),
            Or("[]"),
            "named callers and their credentials",
        ),
        later("redis", Shape::Section(&platform::REDIS), May, "counts limits for several gateways together"),
        key(
            "policies",
            Shape::Section(&policies::SLOTS),
            Or("{}"),
            "slots of every API that sets none of its own",
        ),
        key(
            "enforced",
            Shape::Section(&policies::SLOTS),
            Or("{}"),
            "slots that no API and no method may replace",
        ),
        key("admin", Shape::Section(&admin::ADMIN), Or("{}"), "the Admin API"),
        key(
            "status",
            Shape::Section(&platform::STATUS),
            May,
            "probes and metrics on an address of their own",
        ),
        key("store", Shape::Section(&platform::STORE), May, "where resources of the Admin API live"),
        key("observe", Shape::Section(&platform::OBSERVE), Or("{}"), "what is told about calls"),
    ],
    rules: &[],
    wrong: &[
        ("routes", "`apis` publish services; paths come from their `.proto` files"),
        ("services", "a service is part of a module: `modules` loads it, `apis` publishes it"),
        ("clusters", "a set of servers is an entry of `upstreams`"),
        ("backends", "a set of servers is an entry of `upstreams`"),
        ("plugins", "what is done to calls is a slot of `policies`"),
        ("tls", "TLS belongs to a listener: `listeners[].tls`"),
        ("metrics", "write it in `observe`: `observe: { metrics: true }`"),
        ("access_log", "write it in `observe`: `observe: { access_log: { path: \"-\" } }`"),
    ],
};

//! Transom, a gRPC-first API gateway.
//!
//! A team uploads its `.proto` files; from that moment clients reach its service through one
//! pipeline of policies and balancing. The rooms below are in the order of their layers: a
//! room uses only rooms above it (`tests/tidy.rs` holds the table). The story of one call is
//! `gateway::Gateway::handle`; ARCHITECTURE.md has the map and the invariants.

pub mod admin;
pub mod bridge;
pub mod builtin;
pub mod call;
pub mod cli;
pub mod config;
pub mod demo;
pub mod gateway;
pub mod listen;
pub mod net;
pub mod observe;
pub mod openapi;
pub mod outbound;
pub mod policy;
pub mod registry;
pub mod route;
pub mod schema;
pub mod server;
pub mod snapshot;
pub mod store;
pub mod tls;
pub mod transcode;
pub mod upstream;
pub mod wire;

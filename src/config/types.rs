//! What a checked configuration says, in types that cannot be wrong.

mod admin;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::config::fault::At;
use crate::config::host::HostPattern;
use crate::config::items::Items;
use crate::config::raw::Raw;
use crate::config::resource::Kind;

pub use admin::Admin;
pub use admin::AdminClient;
pub use admin::AdminToken;
pub use admin::Role;
pub use admin::Store;
pub use tls::Acme;
pub use tls::Certificate;
pub use tls::CertificateSource;
pub use tls::ClientAuth;
pub use tls::Clients;
pub use tls::ForwardCertificate;
pub use tls::Given;
pub use tls::Tls;
pub use tls::TlsVersion;
pub use tls::UpstreamTls;

/// One whole configuration file, checked: every name in it resolves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file, as given on the command line.
    pub file: PathBuf,
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Process-wide settings.
    pub server: Server,
    /// Certificates that listeners may name.
    pub certificates: Vec<Certificate>,
    /// Whose `.proto` files are served.
    pub modules: Vec<Module>,
    /// Where calls can go.
    pub upstreams: Vec<Upstream>,
    /// What is published.
    pub apis: Vec<Api>,
    /// Slots of every API that has none of its own.
    pub policies: Slots,
    /// Slots that no API and no method may replace.
    pub enforced: Slots,
    /// The Admin API.
    pub admin: Admin,
    /// Where probes and metrics are answered alone; absent: on the admin address.
    pub status: Option<Status>,
    /// Where resources of the Admin API and uploads live; absent: nowhere, they can't be changed.
    pub store: Option<Store>,
    /// What is told about calls.
    pub observe: Observe,
    /// Resources that were left out, because the file has one of that kind and name.
    pub shadowed: Vec<(Kind, String)>,
    /// Each item of the lists as it was written, and what refers to it.
    pub(super) items: Items,
    /// Files named in `${file:...}`: their change matters too.
    pub(super) read: Vec<PathBuf>,
}

/// A value and the place where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Located<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub at: At,
}

/// A TCP address that clients connect to.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Where it was written.
    pub at: At,
    /// Unique among listeners.
    pub name: String,
    /// The one address; port 0 asks the system for a free one.
    pub address: SocketAddr,
    /// Where the address was written, for a bind that fails.
    pub address_at: At,
    /// Speaks TLS; `None` is in the clear.
    pub tls: Option<Tls>,
    /// HTTP/3 on the same port number; only with TLS.
    pub http3: bool,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: ProxyProtocol,
    /// What one listener lets clients hold.
    pub limits: ListenerLimits,
}

/// Whether TCP connections begin with a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// They don't.
    No,
    /// All do; only trusted proxies may connect.
    Required,
}

/// Bounds of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Open connections of all clients.
    pub max_connections: NonZeroUsize,
    /// Open connections of one client address, trusted proxies apart; `None` is no bound of its own.
    pub max_connections_per_address: Option<NonZeroUsize>,
    /// Concurrent streams of one connection (RFC 9113 6.5.2).
    pub max_streams: NonZeroU32,
    /// Flow-control window of a stream, in bytes, at most 2^31-1 (RFC 9113 6.9.2).
    pub stream_window: u32,
    /// Flow-control window of a connection, in bytes, at most 2^31-1.
    pub connection_window: u32,
    /// All header fields of one request, in bytes as RFC 9113 6.5.2 counts them.
    pub header_bytes: u32,
    /// Header fields of one request.
    pub header_count: NonZeroUsize,
    /// From the connection's start to a whole request head.
    pub header_timeout: Duration,
    /// How long a connection without streams stays.
    pub idle_timeout: Duration,
}

/// Process-wide settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Worker threads; `None` is one a core.
    pub workers: Option<NonZeroUsize>,
    /// How long running calls may take to end after SIGTERM.
    pub drain_timeout: Duration,
    /// Proxies whose word on who their clients are is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Bytes of all messages held for decoding, together.
    pub buffer_bytes: u64,
    /// Whether gRPC reflection of what is published is served.
    pub reflection: bool,
    /// Whether `grpc.health.v1` of what is published is served.
    pub health: bool,
}

/// The `.proto` files of one team.
#[derive(Debug, Clone)]
pub struct Module {
    /// Where it was written.
    pub at: At,
    /// Unique among modules.
    pub name: String,
    /// Where its files come from.
    pub source: ModuleSource,
    /// Where the source was written (the module itself for `Upload`).
    pub source_at: At,
    /// Names in `Config::modules` whose files it imports; there is no cycle.
    pub deps: Vec<String>,
    /// Reserved for it: no other module may define services in them.
    pub packages: Vec<String>,
    /// A service configuration with `google.api.http` rules.
    pub rules: Option<Located<PathBuf>>,
}

/// Where a module's files come from.
#[derive(Debug, Clone)]
pub enum ModuleSource {
    /// The file only names it; versions come through the Admin API.
    Upload,
    /// A directory of `.proto` files, or one such file.
    Protos(PathBuf),
    /// A serialised `google.protobuf.FileDescriptorSet`.
    DescriptorSet(PathBuf),
    /// Asked of an upstream by gRPC reflection.
    Reflection {
        /// A name in `Config::upstreams`.
        upstream: String,
        /// How often it is asked again.
        refresh: Duration,
    },
}

/// A named set of endpoints that serve gRPC.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Where it was written.
    pub at: At,
    /// Unique among upstreams.
    pub name: String,
    /// At least one.
    pub endpoints: Vec<Endpoint>,
    /// What the endpoints speak.
    pub protocol: Protocol,
    /// Which `:authority` is sent.
    pub authority: Authority,
    /// TLS to its endpoints; `None` is in the clear.
    pub tls: Option<UpstreamTls>,
    /// How an endpoint is picked.
    pub balance: Balance,
    /// Connections to each endpoint.
    pub pool: Pool,
}

/// One address of an upstream.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where it was written.
    pub at: At,
    /// `host:port`, as written.
    pub address: String,
    /// A DNS name or an IP address, without the brackets of IPv6.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// Its share of calls, relative to the others.
    pub weight: NonZeroU32,
    /// Free words about it.
    pub tags: BTreeMap<String, String>,
}

/// What an upstream's endpoints speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC over HTTP/2: by ALPN where TLS is spoken, with prior knowledge in the clear.
    H2,
}

/// Which `:authority` an upstream sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// The endpoint's address, as written.
    Endpoint,
    /// What the client sent.
    Client,
    /// This one.
    Name(String),
}

/// How an endpoint is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn, smoothly by weight.
    RoundRobin,
}

/// Connections of one worker to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// How many are kept; more are opened while every stream of these is in use.
    pub connections: NonZeroUsize,
    /// Concurrent streams on each, at most; the endpoint may allow fewer.
    pub max_streams: NonZeroU32,
    /// For one connect: TCP, TLS where it is spoken, and the first answer of HTTP/2.
    pub connect_timeout: Duration,
    /// How often an open connection with calls is pinged; `None` is never.
    pub keepalive: Option<Duration>,
}

/// What is published: services of a module, on hosts, to an upstream, under policies.
#[derive(Debug, Clone, PartialEq)]
pub struct Api {
    /// Where it was written.
    pub at: At,
    /// Unique among APIs.
    pub name: String,
    /// A name in `Config::modules`.
    pub module: String,
    /// Where `module` was written.
    pub module_at: At,
    /// Which version serves.
    pub label: String,
    /// The label whose version decodes calls beside the serving one, and reports what fails.
    pub shadow: Option<String>,
    /// A header by which a call asks for another label.
    pub label_header: Option<HeaderName>,
    /// Full names of services; empty is all of the module.
    pub services: Vec<Located<String>>,
    /// On which hosts; never empty.
    pub hosts: Vec<Located<HostPattern>>,
    /// A name in `Config::upstreams`.
    pub upstream: String,
    /// Where `upstream` was written.
    pub upstream_at: At,
    /// What clients may speak; never empty.
    pub dialects: Vec<Dialect>,
    /// Where its OpenAPI document is served, if it is.
    pub openapi: Option<Located<String>>,
    /// How REST and JSON are read and written.
    pub rest: Rest,
    /// Slots of this API.
    pub policies: Slots,
    /// What differs for single methods.
    pub methods: Vec<MethodRule>,
}

/// A protocol that clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Native gRPC.
    Grpc,
    /// gRPC-Web, binary and text.
    GrpcWeb,
    /// Connect.
    Connect,
    /// REST and JSON by `google.api.http`.
    Rest,
}

/// How REST and JSON are read and written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// Before every path of the rules; empty, or without a final slash.
    pub prefix: String,
    /// JSON fields that no message has.
    pub unknown_fields: Unknown,
    /// Query parameters that no message has.
    pub unknown_query: Unknown,
    /// Query parameters that are never fields.
    pub ignored_query_parameters: Vec<String>,
    /// Writes fields that have their default.
    pub emit_defaults: bool,
    /// Writes `pet_id` instead of `petId`.
    pub preserve_names: bool,
    /// Writes enum values as numbers.
    pub enums_as_numbers: bool,
    /// Writes 64-bit integers as numbers, and refuses those that would lose digits.
    pub int64_as_number: bool,
    /// Reads `0` and `1` as booleans in paths, queries and forms.
    pub lenient_bool: bool,
    /// Decodes `%2F` in path variables of several segments as well.
    pub decode_slashes: bool,
    /// Takes templates that go on after `**`.
    pub allow_mid_double_star: bool,
    /// Takes `/` alone as a template.
    pub allow_root: bool,
    /// Makes the field mask of a PATCH from its body.
    pub patch_mask: bool,
    /// Of two rules for one path the first serves.
    pub first_of_conflicts: bool,
    /// The form of error bodies.
    pub errors: ErrorForm,
}

/// What happens to a name that no message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// The request is refused.
    Reject,
    /// It is left out.
    Ignore,
}

/// The form of the error bodies of REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorForm {
    /// `google.rpc.Status`.
    Status,
    /// `{"error": …}` (AIP-193).
    Aip193,
    /// `application/problem+json` (RFC 9457).
    Problem,
}

/// What differs for one method of an API.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodRule {
    /// Where its key was written.
    pub at: At,
    /// `pkg.Service`.
    pub service: String,
    /// `Name`.
    pub method: String,
    /// Whether it may be repeated; `None` is what its declaration says.
    pub idempotent: Option<bool>,
    /// Slots of this method.
    pub policies: Slots,
}

/// The policy slots of one level, in the fixed order of slots.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Slots {
    pub(super) set: Vec<Slot>,
}

/// One slot that is set.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// Its key in the table of slots.
    pub name: &'static str,
    /// Where its value was written.
    pub at: At,
    /// What it says.
    pub value: SlotValue,
}

/// What a slot says.
#[derive(Debug, Clone, PartialEq)]
pub enum SlotValue {
    /// `SLOT: off`: nothing from more general levels either.
    Off,
    /// Its checked value with defaults filled in; the policy of that name compiles it.
    Set(Raw),
}

impl Slots {
    /// The slot of this name, where this level sets it.
    pub fn get(&self, name: &str) -> Option<&Slot> {
        self.set.iter().find(|slot| slot.name == name)
    }

    /// Every slot that is set, in the fixed order.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.set.iter()
    }

    /// Whether this level sets nothing.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

/// Probes and metrics on an address of their own.
#[derive(Debug, Clone)]
pub struct Status {
    /// Where they are answered.
    pub address: SocketAddr,
    /// Where that was written.
    pub address_at: At,
}

/// What is told about calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observe {
    /// One line a call; `None` is off.
    pub access_log: Option<AccessLog>,
    /// Whether `/metrics` is served.
    pub metrics: bool,
}

/// Where access lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Standard output or a file.
    pub path: LogPath,
    /// How a line is written.
    pub format: LogFormat,
}

/// Where access lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPath {
    /// `-`.
    Stdout,
    /// Appended to.
    File(PathBuf),
}

/// How an access line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
}

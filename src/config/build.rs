//! Turns a checked tree into types. Shapes and ranges were checked, defaults are filled in.

mod admin;
mod tls;

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::num::NonZeroUsize;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::build::tls::Named;
use crate::config::build::tls::certificate;
use crate::config::build::tls::located;
use crate::config::build::tls::tls;
use crate::config::build::tls::upstream_tls;
use crate::config::fault::At;
use crate::config::host::HostPattern;
use crate::config::items::Items;
use crate::config::raw::Raw;
use crate::config::scalar;
use crate::config::shape::Stage;
use crate::config::table::apis::DIALECTS;
use crate::config::table::policies::SLOTS;
use crate::config::types::AccessLog;
use crate::config::types::Api;
use crate::config::types::Authority;
use crate::config::types::Balance;
use crate::config::types::Config;
use crate::config::types::Dialect;
use crate::config::types::Endpoint;
use crate::config::types::ErrorForm;
use crate::config::types::Listener;
use crate::config::types::ListenerLimits;
use crate::config::types::Located;
use crate::config::types::LogFormat;
use crate::config::types::LogPath;
use crate::config::types::MethodRule;
use crate::config::types::Module;
use crate::config::types::ModuleSource;
use crate::config::types::Observe;
use crate::config::types::Pool;
use crate::config::types::Protocol;
use crate::config::types::ProxyProtocol;
use crate::config::types::Rest;
use crate::config::types::Server;
use crate::config::types::Slot;
use crate::config::types::SlotValue;
use crate::config::types::Slots;
use crate::config::types::Status;
use crate::config::types::Unknown;
use crate::config::types::Upstream;

/// The whole file; `read` are the files that `${file:...}` named.
pub(super) fn config(root: &Raw, file: &Path, read: Vec<PathBuf>, items_of: Items) -> Config {
    let items = |name: &str| root.get(name).map(Raw::items).unwrap_or_default();
    let named = Named::of(items("certificates"));
    Config {
        file: file.into(),
        listeners: items("listeners").iter().map(|raw| listener(raw, &named)).collect(),
        server: section(root, "server", server),
        certificates: items("certificates").iter().map(certificate).collect(),
        modules: items("modules").iter().map(module).collect(),
        upstreams: items("upstreams").iter().map(upstream).collect(),
        apis: items("apis").iter().map(api).collect(),
        policies: section(root, "policies", slots),
        enforced: section(root, "enforced", slots),
        admin: section(root, "admin", |raw| admin::admin(raw, &named)),
        status: root.get("status").map(status),
        store: root.get("store").and_then(admin::store),
        observe: section(root, "observe", observe),
        shadowed: Vec::new(),
        items: items_of,
        read,
    }
}

/// The slots of one level, in the order of the table.
pub(super) fn slots(raw: &Raw) -> Slots {
    let set = SLOTS.keys.iter().filter_map(|key| {
        let value = raw.get(key.name)?;
        let at = value.at();
        let value = if value.is_word("off") { SlotValue::Off } else { SlotValue::Set(value.clone()) };
        Some(Slot { name: key.name, at, value })
    });
    Slots { set: set.collect() }
}

/// `named` are the certificates that listeners may name.
fn listener(raw: &Raw, named: &Named<'_>) -> Listener {
    let (address, address_at) = address(raw);
    let limits = section(raw, "limits", listener_limits);
    let tls = raw.get("tls").map(|raw| tls(raw, named));
    let http3 = boolean(raw, "http3");
    let proxy_protocol = match boolean(raw, "proxy_protocol") {
        true => ProxyProtocol::Required,
        false => ProxyProtocol::No,
    };
    Listener {
        at: raw.at(),
        name: text(raw, "name"),
        address,
        address_at,
        tls,
        http3,
        proxy_protocol,
        limits,
    }
}

fn listener_limits(raw: &Raw) -> ListenerLimits {
    ListenerLimits {
        max_connections: count(raw, "max_connections"),
        max_connections_per_address: unless(raw, "max_connections_per_address", "none", count),
        max_streams: count_u32(raw, "max_streams"),
        stream_window: size_u32(raw, "stream_window"),
        connection_window: size_u32(raw, "connection_window"),
        header_bytes: size_u32(raw, "header_bytes"),
        header_count: count(raw, "header_count"),
        header_timeout: duration(raw, "header_timeout"),
        idle_timeout: duration(raw, "idle_timeout"),
    }
}

fn server(raw: &Raw) -> Server {
    let trusted = raw.get("trusted_proxies").map(Raw::items).unwrap_or_default().iter();
    Server {
        workers: unless(raw, "workers", "0", count),
        drain_timeout: duration(raw, "drain_timeout"),
        trusted_proxies: trusted.filter_map(|item| item.text()?.parse().ok()).collect(),
        buffer_bytes: size(raw, "buffer_bytes"),
        reflection: boolean(raw, "reflection"),
        health: boolean(raw, "health"),
    }
}

fn module(raw: &Raw) -> Module {
    let keys = ["protos", "descriptor_set", "reflection"];
    let found = keys.iter().find_map(|key| Some((*key, raw.get(key)?)));
    let source = match found {
        Some(("protos", value)) => ModuleSource::Protos(value.path().unwrap_or_default()),
        Some(("descriptor_set", value)) => ModuleSource::DescriptorSet(value.path().unwrap_or_default()),
        Some((_, value)) => ModuleSource::Reflection {
            upstream: text(value, "upstream"),
            refresh: duration(value, "refresh"),
        },
        None => ModuleSource::Upload,
    };
    let source_at = found.map_or(raw, |(_, value)| value).at();
    Module {
        at: raw.at(),
        name: text(raw, "name"),
        source,
        source_at,
        deps: texts(raw, "deps"),
        packages: texts(raw, "packages"),
        rules: located(raw, "rules"),
    }
}

fn upstream(raw: &Raw) -> Upstream {
    let endpoints = raw.get("endpoints").map(Raw::items).unwrap_or_default();
    let authority = match text(raw, "authority") {
        word if word == "endpoint" => Authority::Endpoint,
        word if word == "client" => Authority::Client,
        name => Authority::Name(name),
    };
    Upstream {
        at: raw.at(),
        name: text(raw, "name"),
        endpoints: endpoints.iter().map(endpoint).collect(),
        protocol: Protocol::H2,
        authority,
        tls: raw.get("tls").map(upstream_tls),
        balance: Balance::RoundRobin,
        pool: section(raw, "pool", pool),
    }
}

fn endpoint(raw: &Raw) -> Endpoint {
    let address = text(raw, "address");
    let (host, port) = scalar::endpoint(&address).unwrap_or_default();
    let tags = raw.get("tags").map(Raw::entries).unwrap_or_default();
    let tag = |value: &Raw| value.text().unwrap_or_default().to_owned();
    Endpoint {
        at: raw.at(),
        host: host.to_owned(),
        port,
        weight: count_u32(raw, "weight"),
        tags: tags.iter().map(|entry| (entry.name().to_owned(), tag(entry.value()))).collect(),
        address,
    }
}

fn pool(raw: &Raw) -> Pool {
    Pool {
        connections: count(raw, "connections"),
        max_streams: count_u32(raw, "max_streams"),
        connect_timeout: duration(raw, "connect_timeout"),
        keepalive: unless(raw, "keepalive", "off", duration),
    }
}

fn api(raw: &Raw) -> Api {
    let items = |name: &str| raw.get(name).map(Raw::items).unwrap_or_default();
    let services = items("services").iter();
    let services =
        services.map(|item| Located { value: item.text().unwrap_or_default().to_owned(), at: item.at() });
    let host = |item: &Raw| {
        let value = item.text().and_then(|text| HostPattern::parse(text).ok()).unwrap_or(HostPattern::Any);
        Located { value, at: item.at() }
    };
    let hosts = match items("hosts") {
        [] => vec![Located { value: HostPattern::Any, at: raw.at() }],
        hosts => hosts.iter().map(host).collect(),
    };
    let dialects = match items("dialects") {
        [] => built_dialects(),
        dialects => dialects.iter().filter_map(|item| dialect(item.text()?)).collect(),
    };
    let methods = raw.get("methods").map(Raw::entries).unwrap_or_default();
    Api {
        at: raw.at(),
        name: text(raw, "name"),
        module: text(raw, "module"),
        module_at: at(raw, "module"),
        label: text(raw, "label"),
        shadow: raw.get("shadow").and_then(Raw::text).map(str::to_owned),
        label_header: raw.get("label_header").and_then(|name| name.text()?.parse().ok()),
        services: services.collect(),
        hosts,
        upstream: text(raw, "upstream"),
        upstream_at: at(raw, "upstream"),
        dialects,
        openapi: raw
            .get("openapi")
            .and_then(|openapi| openapi.get("path"))
            .map(|path| Located { value: path.text().unwrap_or_default().to_owned(), at: path.at() }),
        rest: section(raw, "rest", rest),
        policies: section(raw, "policies", slots),
        methods: methods.iter().map(|entry| method(entry.name(), entry.at(), entry.value())).collect(),
    }
}

fn rest(raw: &Raw) -> Rest {
    let is = |name: &str, word: &str| raw.get(name).is_some_and(|value| value.is_word(word));
    let unknown = |name: &str| if is(name, "ignore") { Unknown::Ignore } else { Unknown::Reject };
    Rest {
        prefix: text(raw, "prefix").trim_end_matches('/').to_owned(),
        unknown_fields: unknown("unknown_fields"),
        unknown_query: unknown("unknown_query"),
        ignored_query_parameters: texts(raw, "ignored_query_parameters"),
        emit_defaults: boolean(raw, "emit_defaults"),
        preserve_names: boolean(raw, "preserve_names"),
        enums_as_numbers: boolean(raw, "enums_as_numbers"),
        int64_as_number: is("int64", "number"),
        lenient_bool: boolean(raw, "lenient_bool"),
        decode_slashes: is("reserved_expansion", "decode_all"),
        allow_mid_double_star: boolean(raw, "allow_mid_double_star"),
        allow_root: boolean(raw, "allow_root"),
        patch_mask: boolean(raw, "patch_mask"),
        first_of_conflicts: is("conflicts", "first"),
        errors: match text(raw, "errors").as_str() {
            "aip193" => ErrorForm::Aip193,
            "problem" => ErrorForm::Problem,
            _ => ErrorForm::Status,
        },
    }
}

fn method(name: &str, at: At, raw: &Raw) -> MethodRule {
    let (service, method) = name.split_once('/').unwrap_or_default();
    MethodRule {
        at,
        service: service.to_owned(),
        method: method.to_owned(),
        idempotent: raw.get("idempotent").and_then(Raw::boolean),
        policies: section(raw, "policies", slots),
    }
}

fn built_dialects() -> Vec<Dialect> {
    let built = DIALECTS.iter().filter(|word| word.stage == Stage::Built);
    built.filter_map(|word| dialect(word.name)).collect()
}

fn dialect(word: &str) -> Option<Dialect> {
    match word {
        "grpc" => Some(Dialect::Grpc),
        "grpc_web" => Some(Dialect::GrpcWeb),
        "connect" => Some(Dialect::Connect),
        "rest" => Some(Dialect::Rest),
        _ => None,
    }
}

fn status(raw: &Raw) -> Status {
    let (address, address_at) = address(raw);
    Status { address, address_at }
}

fn observe(raw: &Raw) -> Observe {
    let log = |raw: &Raw, name: &str| {
        section(raw, name, |log| AccessLog {
            path: unless(log, "path", "-", path).map_or(LogPath::Stdout, LogPath::File),
            format: LogFormat::Json,
        })
    };
    Observe { access_log: unless(raw, "access_log", "off", log), metrics: boolean(raw, "metrics") }
}

/// Reads one key as a section. Sections without a `May` are always there once defaults are in.
fn section<T>(raw: &Raw, name: &str, read: impl FnOnce(&Raw) -> T) -> T {
    read(raw.get(name).unwrap_or(raw))
}

/// `None` for the word that stands for nothing.
fn unless<T>(raw: &Raw, name: &str, word: &str, read: impl FnOnce(&Raw, &str) -> T) -> Option<T> {
    let is_set = raw.get(name).is_some_and(|value| !value.is_word(word));
    is_set.then(|| read(raw, name))
}

fn at(raw: &Raw, name: &str) -> At {
    raw.get(name).unwrap_or(raw).at()
}

fn text(raw: &Raw, name: &str) -> String {
    raw.get(name).and_then(Raw::text).unwrap_or_default().to_owned()
}

fn texts(raw: &Raw, name: &str) -> Vec<String> {
    let items = raw.get(name).map(Raw::items).unwrap_or_default();
    items.iter().filter_map(Raw::text).map(str::to_owned).collect()
}

fn path(raw: &Raw, name: &str) -> PathBuf {
    raw.get(name).and_then(Raw::path).unwrap_or_default()
}

fn boolean(raw: &Raw, name: &str) -> bool {
    raw.get(name).and_then(Raw::boolean).unwrap_or_default()
}

fn duration(raw: &Raw, name: &str) -> Duration {
    raw.get(name).and_then(Raw::duration).unwrap_or_default()
}

fn size(raw: &Raw, name: &str) -> u64 {
    raw.get(name).and_then(Raw::size).unwrap_or_default()
}

fn size_u32(raw: &Raw, name: &str) -> u32 {
    u32::try_from(size(raw, name)).unwrap_or(u32::MAX)
}

fn count(raw: &Raw, name: &str) -> NonZeroUsize {
    let number = raw.get(name).and_then(Raw::integer).and_then(|number| usize::try_from(number).ok());
    number.and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN)
}

fn count_u32(raw: &Raw, name: &str) -> NonZeroU32 {
    let number = raw.get(name).and_then(Raw::integer).and_then(|number| u32::try_from(number).ok());
    number.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

fn address(raw: &Raw) -> (SocketAddr, At) {
    let address = raw.get("address").and_then(Raw::text).and_then(|text| text.parse().ok());
    (address.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0))), at(raw, "address"))
}

//! Raw configuration: text in, located values out; every fault reported with its path and help.
//!
//! A file is read into a tree of `Raw`, checked against `table`, where each key is one row, and
//! turned into `types`. Resources of a store are appended to its lists before that. Policy slots stay raw: each policy kind compiles its own.

mod build;
mod check;
mod cross;
mod difference;
pub mod fault;
pub mod host;
mod items;
mod json;
pub mod raw;
mod reference;
pub mod resource;
mod scalar;
mod shape;
mod stored;
mod substitute;
mod table;
pub mod types;
mod yaml;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use crate::config::cross::Names;
use crate::config::items::Gathered;
use crate::config::raw::Place;
use crate::config::raw::Value;
use crate::config::resource::Resource;
use crate::config::substitute::Values;

pub use difference::differences;
pub use difference::redacted;
pub use fault::At;
pub use fault::Diag;
pub use fault::Fault;
pub use fault::FaultKind;
pub use fault::Report;
pub use host::HostPattern;
pub use items::Origin;
pub use raw::Raw;
pub use reference::reference;
pub use types::Config;
pub use types::Slot;
pub use types::SlotValue;
pub use types::Slots;

/// Reads and checks a configuration file; `env` looks environment variables up.
///
/// # Errors
/// Every fault of the file, in file order.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Report> {
    load_with(path, env, &[])
}

/// Reads a configuration file and checks it together with resources that are kept elsewhere: they
/// are items of its lists, and either may refer to the other. Of two of one name the file's wins.
///
/// # Errors
/// Every fault of the file and the resources; `At::resource` tells which is whose.
pub fn load_with(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    resources: &[Resource],
) -> Result<Config, Report> {
    parse_with(&read_text(path)?, path, env, resources)
}

/// The store that a configuration file names, whatever else it says: what is in there may be all that makes the rest
/// right. `None` where it names none, and where it can't be told: loading the whole file says why.
pub fn store_path(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let mut diag = Diag::new();
    let mut root = yaml::read(&read_text(path).ok()?, path, &mut diag)?;
    Values::new(env).replace(&mut root, &mut diag);
    root.get("store")?.get("embedded")?.get("path")?.path()
}

fn read_text(path: &Path) -> Result<String, Report> {
    let failed = |error: std::io::Error| {
        Report::of_file(
            path,
            format!("can't be read: {}", substitute::reason(&error)),
            "give a YAML file with `-c`",
        )
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if FILE_BYTES_MAX < bytes.len() {
        return Err(too_large(path));
    }
    String::from_utf8(bytes).map_err(|error| {
        let (error, bytes) = (error.utf8_error(), error.into_bytes());
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        Report::of(At::after(path, &before), "not UTF-8", "save the file as UTF-8")
    })
}

/// Checks the text of a configuration; `path` is where it is from, for faults and relative paths.
///
/// # Errors
/// Every fault of the text, in its order.
pub fn parse(text: &str, path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Report> {
    parse_with(text, path, env, &[])
}

/// Checks the text of a configuration together with resources, as `load_with` does.
///
/// # Errors
/// Every fault of the text and the resources.
pub fn parse_with(
    text: &str,
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    resources: &[Resource],
) -> Result<Config, Report> {
    if FILE_BYTES_MAX < text.len() {
        return Err(too_large(path));
    }
    let mut diag = Diag::new();
    let Some(mut root) = yaml::read(text, path, &mut diag) else {
        diag.finish()?;
        return Err(Report::of_file(path, "can't be read", "write YAML"));
    };
    if root.scalar().is_some_and(raw::Scalar::is_null) {
        root.value = Value::Map(Vec::new());
    }
    let mut values = Values::new(env);
    values.replace(&mut root, &mut diag);
    let mut items = Gathered::of_file(&root);
    let shadowed = stored::add(&mut root, resources, &mut items, &mut diag);
    let names = Names::gather(&root);
    let references = check::check(&mut root, &table::FILE, &names, &mut diag);
    cross::check(&root, &mut diag);
    diag.finish()?;
    let items = items.used(&references, &root);
    Ok(Config { shadowed, ..build::config(&root, path, values.read, items) })
}

/// Every file and directory whose change matters: the file itself, what modules are read from,
/// certificates, and what `${file:...}` names.
pub fn sources(config: &Config) -> Vec<PathBuf> {
    let modules = config.modules.iter().filter_map(|module| match &module.source {
        types::ModuleSource::Protos(path) | types::ModuleSource::DescriptorSet(path) => Some(path.clone()),
        types::ModuleSource::Upload | types::ModuleSource::Reflection { .. } => None,
    });
    let rules =
        config.modules.iter().filter_map(|module| module.rules.as_ref().map(|rules| rules.value.clone()));
    let of_listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let with_tls = of_listeners.chain(&config.admin.tls);
    let secured = config.certificates.iter().flat_map(types::Certificate::files);
    let of_upstreams = config.upstreams.iter().filter_map(|upstream| upstream.tls.as_ref());
    let secured = secured.chain(with_tls.flat_map(types::Tls::files));
    let secured = secured.chain(of_upstreams.flat_map(types::UpstreamTls::files)).map(Path::to_owned);
    let mut all: Vec<PathBuf> = std::iter::once(config.file.clone())
        .chain(modules)
        .chain(rules)
        .chain(secured)
        .chain(config.read.clone())
        .collect();
    all.sort();
    all.dedup();
    all
}

/// The slots that hold where no level sets them, with their defaults: the most general level.
pub fn default_slots() -> Slots {
    let place = Place { file: Path::new("defaults").into(), step: None, line: 1, column: 1, written: false };
    let slot = |name: &&str| raw::Entry {
        name: (*name).into(),
        place: place.clone(),
        value: Raw { value: Value::Map(Vec::new()), place: place.clone() },
    };
    let entries = table::policies::ALWAYS.iter().map(slot).collect();
    let mut root = Raw { value: Value::Map(entries), place: place.clone() };
    let names = Names::gather(&root);
    check::check(&mut root, &table::policies::SLOTS, &names, &mut Diag::new());
    build::slots(&root)
}

fn too_large(path: &Path) -> Report {
    let problem = format!("larger than {}", scalar::size_text(FILE_BYTES_MAX as u64));
    Report::of_file(path, problem, "a configuration is text; keep descriptors and keys in files of their own")
}

/// A configuration file, in bytes.
const FILE_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::config::types::Authority;
    use crate::config::types::ClientAuth;
    use crate::config::types::Dialect;
    use crate::config::types::ForwardCertificate;
    use crate::config::types::LogPath;
    use crate::config::types::ModuleSource;
    use crate::config::types::Role;

    fn parsed(text: &str) -> Result<Config, Report> {
        parse(text, Path::new("dir/t.yaml"), &|name| (name == "PORT").then(|| "8081".to_owned()))
    }

    fn problems(text: &str) -> Vec<String> {
        parsed(text)
            .unwrap_err()
            .faults()
            .iter()
            .map(|fault| format!("{}: {}", fault.at.path, fault.problem))
            .collect()
    }

    #[test]
    fn a_minimal_file_has_the_documented_defaults() {
        let config = parsed("listeners: [{ name: a, address: '127.0.0.1:0' }]").unwrap();
        let limits = &config.listeners[0].limits;
        assert_eq!(limits.max_connections.get(), 10_000);
        assert_eq!(limits.max_connections_per_address, None);
        assert_eq!(limits.max_streams.get(), 128);
        assert_eq!((limits.stream_window, limits.connection_window), (1 << 20, 4 << 20));
        assert_eq!((limits.header_bytes, limits.header_count.get()), (64 << 10, 100));
        assert_eq!(
            (limits.header_timeout, limits.idle_timeout),
            (Duration::from_secs(10), Duration::from_secs(300))
        );
        assert_eq!(config.server.workers, None);
        assert_eq!(config.server.drain_timeout, Duration::from_secs(25));
        assert_eq!(config.server.buffer_bytes, 512 << 20);
        assert!(config.server.reflection && config.server.health && config.observe.metrics);
        assert_eq!(config.admin.address, SocketAddr::from(([127, 0, 0, 1], 9900)));
        assert_eq!(config.admin.max_upload, 64 << 20);
        assert!(config.status.is_none() && config.observe.access_log.is_none());
        assert!(config.policies.is_empty() && config.enforced.is_empty());
    }

    #[test]
    fn what_is_written_arrives_in_the_types() {
        let text = "
listeners: [{ name: a, address: '127.0.0.1:${PORT}', limits: { max_connections_per_address: 7 } }]
modules: [{ name: m, protos: protos/m }, { name: u }, { name: d, descriptor_set: /d.binpb }, { name: r, reflection: { upstream: up } }]
upstreams: [{ name: up, endpoints: [{ address: '[::1]:50051', weight: 3, tags: { zone: a } }], authority: client, pool: { keepalive: 6m } }]
apis:
  - { name: one, module: m, upstream: up, services: [p.S], hosts: ['*.Example.com'], methods: { p.S/Get: { idempotent: true, policies: { timeout: off } } } }
  - { name: two, module: u, upstream: up, dialects: [grpc] }
policies: { stream: { idle: 5m } }
status: { address: '127.0.0.1:0' }
observe: { access_log: {} }
";
        let config = parsed(text).unwrap();
        assert_eq!(config.listeners[0].address.port(), 8081);
        assert_eq!(config.listeners[0].limits.max_connections_per_address.unwrap().get(), 7);
        assert!(
            matches!(&config.modules[0].source, ModuleSource::Protos(path) if path == Path::new("dir/protos/m"))
        );
        assert!(matches!(&config.modules[1].source, ModuleSource::Upload));
        assert!(
            matches!(&config.modules[2].source, ModuleSource::DescriptorSet(path) if path == Path::new("/d.binpb"))
        );
        assert!(
            matches!(&config.modules[3].source, ModuleSource::Reflection { upstream, refresh } if upstream == "up" && refresh.as_secs() == 60)
        );
        let upstream = &config.upstreams[0];
        assert_eq!((upstream.endpoints[0].host.as_str(), upstream.endpoints[0].port), ("::1", 50051));
        assert_eq!(
            (upstream.endpoints[0].weight.get(), upstream.endpoints[0].tags["zone"].as_str()),
            (3, "a")
        );
        assert_eq!(
            (&upstream.authority, upstream.pool.keepalive),
            (&Authority::Client, Some(Duration::from_secs(360)))
        );
        let api = &config.apis[0];
        assert_eq!(
            (api.label.as_str(), api.services[0].value.as_str(), api.services[0].at.line),
            ("live", "p.S", 6)
        );
        assert_eq!(api.hosts[0].value, HostPattern::Suffix(".example.com".into()));
        assert_eq!((api.upstream_at.path.as_str(), api.module_at.line), ("apis[0].upstream", 6));
        assert_eq!((api.methods[0].service.as_str(), api.methods[0].method.as_str()), ("p.S", "Get"));
        assert_eq!(api.methods[0].idempotent, Some(true));
        assert_eq!(api.methods[0].at.path, "apis[0].methods[\"p.S/Get\"]");
        assert!(matches!(api.methods[0].policies.get("timeout").unwrap().value, SlotValue::Off));
        assert_eq!(
            (config.apis[1].dialects.as_slice(), &config.apis[1].hosts[0].value),
            ([Dialect::Grpc].as_slice(), &HostPattern::Any)
        );
        let SlotValue::Set(stream) = &config.policies.get("stream").unwrap().value else {
            panic!("the slot is set")
        };
        assert_eq!(stream.get("idle").and_then(Raw::duration), Some(Duration::from_secs(300)));
        assert_eq!(stream.get("stall").and_then(Raw::duration), Some(Duration::from_secs(60)));
        assert!(stream.get("age").unwrap().is_word("none"));
        assert!(stream.get("idle").unwrap().is_written() && !stream.get("age").unwrap().is_written());
        assert_eq!(config.observe.access_log.as_ref().unwrap().path, LogPath::Stdout);
        let sources = sources(&config);
        assert_eq!(sources, ["/d.binpb", "dir/protos/m", "dir/t.yaml"].map(PathBuf::from));
    }

    #[test]
    fn who_may_use_the_admin_api_arrives_in_the_types() {
        let text = "
listeners: [{ name: a, address: '127.0.0.1:0' }]
modules: [{ name: m, deps: [n], packages: [p.v1] }, { name: n }]
upstreams: [{ name: u, endpoints: [{ address: 'a:1' }] }]
apis: [{ name: a, module: m, upstream: u, shadow: next }]
admin:
  tls: { certificates: [{ cert: c.pem, key: k.pem }], client_ca: ca.pem, client_auth: optional }
  tokens:
    - { name: ops, sha256: E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B8ff, role: admin }
    - { name: ci, sha256: '${file:hash}', role: developer }
    - { name: team, sha256: 03B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855, role: developer, modules: [team-*] }
  clients: [{ name: see, san: a@b.c, role: viewer }]
  hosts: ['Admin.Example.com.:9900']
  origins: ['https://Console.example.com']
store: { embedded: { path: data/t.redb } }
";
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hash"), "ab".repeat(32)).unwrap();
        let config = parse(text, &dir.path().join("t.yaml"), &|_| None).unwrap();
        assert_eq!(
            (&config.modules[0].deps[..], &config.modules[0].packages[..]),
            (&["n".into()][..], &["p.v1".into()][..])
        );
        assert_eq!((config.apis[0].label.as_str(), config.apis[0].shadow.as_deref()), ("live", Some("next")));
        let admin = &config.admin;
        let tokens: Vec<_> =
            admin.tokens.iter().map(|token| (&*token.name, token.role, token.modules.join(" "))).collect();
        assert_eq!(
            tokens,
            [
                ("ops", Role::Admin, "*".into()),
                ("ci", Role::Developer, String::new()),
                ("team", Role::Developer, "team-*".into())
            ]
        );
        assert_eq!((admin.tokens[0].sha256[0], admin.tokens[0].sha256[31]), (0xe3, 0xff));
        assert!(Role::Viewer < Role::Developer && Role::Developer < Role::Admin);
        assert_eq!(
            (admin.clients[0].san.as_str(), admin.clients[0].modules.join(" ")),
            ("a@b.c", "*".into())
        );
        assert_eq!(
            (admin.hosts.join(" "), admin.origins.join(" ")),
            ("admin.example.com".into(), "https://console.example.com".into())
        );
        let clients = admin.tls.as_ref().unwrap().clients.as_ref().unwrap();
        assert_eq!((clients.auth, clients.forward), (ClientAuth::Optional, ForwardCertificate::No));
        assert_eq!(config.store.as_ref().unwrap().path, dir.path().join("data/t.redb"));
        let sources: Vec<PathBuf> =
            ["c.pem", "ca.pem", "hash", "k.pem", "t.yaml"].map(|name| dir.path().join(name)).into();
        assert_eq!(super::sources(&config), sources);
        assert!(!format!("{config:?}").contains("171, 171"), "the hash is shown");
    }

    #[test]
    fn the_default_slots_are_whole() {
        let slots = default_slots();
        let names: Vec<&str> = slots.iter().map(|slot| slot.name).collect();
        assert_eq!(names, ["validate", "timeout", "stream"]);
        let SlotValue::Set(timeout) = &slots.get("timeout").unwrap().value else { panic!("the slot is set") };
        assert_eq!(timeout.get("default").and_then(Raw::duration), Some(Duration::from_secs(15)));
        let SlotValue::Set(validate) = &slots.get("validate").unwrap().value else {
            panic!("the slot is set")
        };
        assert_eq!(validate.get("max_message").and_then(Raw::size), Some(4 << 20));
        assert!(!validate.get("max_message").unwrap().is_written());
    }

    #[test]
    fn what_was_put_in_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "hunter2\n").unwrap();
        let text = "
listeners: [{ name: '${file:secret}', address: '${file:secret}', http3: '${file:secret}', limits: { idle_timeout: '${file:secret}', max_streams: '1${file:secret}' } }]
upstreams: [{ name: u, protocol: '${file:secret}', endpoints: [{ address: '${file:secret}' }] }]
apis: [{ name: a, module: '${file:secret}', upstream: '${file:secret}', hosts: ['a/${file:secret}'] }]
modules: '${file:secret}'
policies: { timeout: '${file:secret}', validate: { max_message: '5${file:secret}' } }
";
        let report = parse(text, &dir.path().join("t.yaml"), &|_| None).unwrap_err();
        assert!(8 < report.faults().len(), "{report}");
        assert!(!report.to_string().contains("hunter2"), "{report}");
        let text = "{ listeners: [{ name: a, address: '127.0.0.1:0' }], policies: { timeout: { default: '${T}' } } }";
        let config = parse(text, Path::new("t.yaml"), &|_| Some("1977s".into())).unwrap();
        assert!(!format!("{config:?}").contains("1977"));
    }

    #[test]
    fn files_put_in_are_sources() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("port"), "8082\r\n").unwrap();
        let file = dir.path().join("t.yaml");
        std::fs::write(&file, "listeners: [{ name: a, address: '127.0.0.1:${file:port}' }]").unwrap();
        let config = load(&file, &|_| None).unwrap();
        assert_eq!(config.listeners[0].address.port(), 8082);
        assert_eq!(sources(&config), [dir.path().join("port"), file]);
    }

    #[test]
    fn a_hostile_file_costs_little() {
        let listeners = "listeners: [{ name: a, address: '127.0.0.1:0' }]\n";
        let many = 30_000;
        let lines = |line: &dyn Fn(usize) -> String| (0..many).map(line).collect::<String>();
        for text in [
            listeners.to_owned() + &lines(&|n| format!("unknown_key_{n}: 1\n")),
            listeners.to_owned() + "upstreams:\n" + &lines(&|_| "- { name: x, endpoints: [{}] }\n".into()),
            listeners.to_owned() + "modules:\n" + &lines(&|n| format!("- {{ name: m{n}, deps: [mm{n}] }}\n")),
            listeners.to_owned()
                + "modules:\n"
                + &lines(&|n| format!("- {{ name: m{n}, deps: [m{}, m{}] }}\n", (n + 1) % many, n / 2)),
            "listeners:\n".to_owned()
                + &lines(&|n| {
                    format!("- {{ name: l{n}, address: '127.0.{}.{}:80' }}\n", n / 250 % 100, n % 250)
                }),
            "a: &a [".to_owned() + &"&b [".repeat(62) + &"1,".repeat(200_000) + &"]".repeat(63),
            "[".repeat(1 << 20),
            "- ".repeat(1 << 20),
            "{".repeat(1 << 20),
            "? ".repeat(1 << 20),
            "a: ".repeat(1 << 20),
            "!".repeat(1 << 20),
            "&".repeat(1 << 20),
            "\"".to_owned() + &"\\".repeat(1 << 20),
            "x".repeat((16 << 20) + 1),
        ] {
            let report = parsed(&text).unwrap_err();
            assert!(report.to_string().len() < 1 << 20, "{}", &text[..60]);
        }
    }

    #[test]
    fn one_mistake_is_one_fault() {
        for (text, problem) in [
            (
                "listeners: [{ name: a, address: '${NONE}' }]",
                "listeners[0].address: the environment has no `NONE`",
            ),
            ("{}", ": `listeners` is missing"),
            (
                "listeners: [{ name: a, address: '0.0.0.0:9900' }]",
                "listeners[0].address: `0.0.0.0:9900` overlaps `127.0.0.1:9900`, the default of `admin.address`",
            ),
        ] {
            let found = problems(text);
            let quoted = problem.replace("`0.0.0.0:9900`", "\"0.0.0.0:9900\"");
            assert!(found == [problem.to_owned()] || found == [quoted], "{found:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-z:{}\\[\\],&*!|>'\"#%@`$ \n\t\\-?~0-9é]{0,200}") {
            let _ = parsed(&text);
            let _ = parsed(&format!("listeners: [{{ name: a, address: {text} }}]\npolicies: {text}"));
        }
    }
}

//! What a large registry costs: 100,000 methods in 2,000 modules, each with its API and HTTP rules. Shows the
//! time of a whole build, the time of one push, and memory. Run it with `cargo bench --bench registry`, or with
//! other numbers of modules and methods: `cargo bench --bench registry -- 200 50`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use transom::config;
use transom::config::Config;
use transom::observe::Metrics;
use transom::policy;
use transom::registry::Catalog;
use transom::registry::catalog::Move;
use transom::registry::record::VersionRecord;
use transom::schema::Limits;
use transom::schema::Schema;
use transom::schema::compile::protos;
use transom::server::Server;
use transom::server::Setup;
use transom::snapshot::Inputs;
use transom::snapshot::Labels;
use transom::snapshot::Modules;
use transom::snapshot::Shadows;
use transom::snapshot::Snapshot;
use transom::snapshot::compile;
use transom::store::Batch;
use transom::store::Embedded;
use transom::store::Store;
use transom::upstream::Specs;

fn main() {
    let given: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let (modules, methods) = match given[..] {
        [modules, methods, ..] => (modules.max(2), methods.max(2)),
        // `cargo test` runs benches without this, to see that they work.
        _ if std::env::args().all(|arg| arg != "--bench") => (20, 5),
        _ => (2_000, 50),
    };
    // What the first one freed serves the second again, whose memory says nothing.
    measure(modules, methods, Hosts::All, Memory::Told);
    measure(modules, methods, Hosts::Own, Memory::Untold);
    start(modules, methods);
}

/// Where the APIs answer.
#[derive(Debug, Clone, Copy)]
enum Hosts {
    /// Each on every host.
    All,
    /// Each on a host of its own.
    Own,
}

/// Whether the process began small enough that its growth says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    Told,
    Untold,
}

fn measure(modules: usize, methods: usize, hosts: Hosts, memory: Memory) {
    println!("{modules} modules of {methods} methods, hosts: {hosts:?}");
    let config = Arc::new(configuration(modules, hosts));
    let metrics = Metrics::new(2);
    let specs = Specs::new(2, metrics.clone());
    let shadows = Shadows::new(metrics.clone());
    let build = |modules: &Modules, before: Option<&Snapshot>| -> Snapshot {
        let inputs = Inputs {
            config: config.clone(),
            modules,
            rules: &HashMap::new(),
            before,
            own: &[],
            kinds: policy::TABLE,
            extra: &[],
            documents: &[],
            in_process: &HashMap::new(),
            shadows: &shadows,
            specs: &specs,
            upstream_tls: &HashMap::new(),
            metrics: &metrics,
            generation: before.map_or(1, |before| before.generation + 1),
        };
        compile(&inputs).unwrap_or_else(|report| panic!("{report}"))
    };
    let begun = resident();
    let (all, spent) = timed(|| -> Modules {
        (0..modules).map(|at| (format!("m{at}"), Labels::live(schema(at, methods, 0)))).collect()
    });
    tell("compiling the descriptors", spent);
    let compiled = resident();
    let (mut snapshot, spent) = timed(|| build(&all, None));
    tell("whole build", spent);
    let built = resident();
    if memory == Memory::Told {
        println!("  {:<34} {:>9.1} MB", "memory of the descriptors", megabytes(compiled - begun));
        println!("  {:<34} {:>9.1} MB", "memory of the snapshot", megabytes(built - compiled));
        let per_method = (built - compiled) / (modules * methods) as f64;
        println!("  {:<34} {per_method:>9.0} bytes", "of it, a method");
    }

    let (mut pushes, mut drops) = (Vec::new(), Vec::new());
    let mut now = all;
    for push in 1..=PUSHES {
        let at = push * 37 % modules;
        now.entry(format!("m{at}")).or_default().set("live", schema(at, methods, push));
        let (next, spent) = timed(|| build(&now, Some(&snapshot)));
        pushes.push(spent);
        let old = std::mem::replace(&mut snapshot, next);
        drops.push(timed(|| drop(old)).1);
    }
    check(&snapshot, PUSHES * 37 % modules, PUSHES);
    for (name, mut times) in [("one push", pushes), ("freeing the snapshot before", drops)] {
        times.sort();
        tell(&format!("{name}, median of {PUSHES}"), times[PUSHES / 2]);
        tell(&format!("{name}, worst"), times[PUSHES - 1]);
    }
    println!("  {:<34} {:>9.1} MB", "memory that the pushes left", megabytes(resident() - built));
}

/// Starts a gateway whose modules are all in its store.
fn start(modules: usize, methods: usize) {
    println!("a start from the store");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("transom.yaml");
    let store = "store: { embedded: { path: store.redb } }\nadmin: { address: '127.0.0.1:0' }\n";
    std::fs::write(&path, configured(modules, Hosts::All) + store).expect("it is written");
    let ((), spent) = timed(|| fill(&directory.path().join("store.redb"), modules, methods));
    tell("compiling and storing the modules", spent);
    let (server, spent) = timed(|| {
        let config = config::load(&path, &|_| None).unwrap_or_else(|report| panic!("{report}"));
        Server::start(config, Setup::default()).unwrap_or_else(|error| panic!("{error}"))
    });
    tell("from the configuration to serving", spent);
    println!("  {:<34} {:>9.1} MB", "memory of the process", megabytes(resident()));
    server.drain();
}

fn fill(path: &Path, modules: usize, methods: usize) {
    let store = Embedded::open(path).expect("a store is made");
    let catalog = Catalog::new(&store);
    for at in 0..modules {
        let (schema, module) = (schema(at, methods, 0), format!("m{at}"));
        let digest = schema.digest().hex();
        let record = VersionRecord { module: module.clone(), digest: digest.clone(), ..Default::default() };
        let mut batch = Batch::default();
        catalog.add(record, &schema, &mut batch).expect("it is read");
        let after = Some(digest.as_str());
        let moved = Move {
            module: &module,
            label: "live",
            before: None,
            after,
            actor: "bench",
            reason: "push",
            now_ms: 0,
        };
        catalog.move_label(moved, &mut batch).expect("it is read");
        store.commit(&batch).expect("it is written");
    }
}

/// The last push must be what serves.
fn check(snapshot: &Snapshot, module: usize, version: usize) {
    let path = format!("/m{module}.v1.Service/Version{version}");
    assert!(snapshot.served.routes.find(&format!("m{module}.example.com"), &path).is_some(), "no {path}");
}

fn configuration(modules: usize, hosts: Hosts) -> Config {
    let text = configured(modules, hosts);
    config::parse(&text, Path::new("bench.yaml"), &|_| None).unwrap_or_else(|report| panic!("{report}"))
}

fn configured(modules: usize, hosts: Hosts) -> String {
    let mut text = "listeners: [{ name: l, address: '127.0.0.1:0' }]\n\
                    upstreams: [{ name: u, endpoints: [{ address: '127.0.0.1:1' }] }]\nmodules:\n"
        .to_owned();
    for at in 0..modules {
        let _ = writeln!(text, "  - {{ name: m{at} }}");
    }
    text.push_str("apis:\n");
    for at in 0..modules {
        let host = match hosts {
            Hosts::All => String::new(),
            Hosts::Own => format!(", hosts: [m{at}.example.com]"),
        };
        let _ = writeln!(text, "  - {{ name: a{at}, module: m{at}, upstream: u{host} }}");
    }
    text
}

/// A module of resources, as APIs have them. Each version has a method of its own.
fn schema(module: usize, methods: usize, version: usize) -> Schema {
    let mut text = format!(
        "syntax = 'proto3'; package m{module}.v1; import 'google/api/annotations.proto';\n\
         message Thing {{ string name = 1; string text = 2; int64 count = 3; repeated string tags = 4; }}\n\
         service Service {{\n"
    );
    for at in 0..methods {
        let (verb, path) = match at % 4 {
            0 => ("get", format!("/m{module}/v1/{{name=kinds{at}/*}}")),
            1 => ("post", format!("/m{module}/v1/kinds{at}")),
            2 => ("get", format!("/m{module}/v1/kinds{at}")),
            _ => ("post", format!("/m{module}/v1/{{name=kinds{at}/*}}:act")),
        };
        let name = if at == 0 { format!("Version{version}") } else { format!("Method{at}") };
        let body = if verb == "post" { " body: '*'" } else { "" };
        let _ = writeln!(
            text,
            "rpc {name}(Thing) returns (Thing) {{ option (google.api.http) = {{ {verb}: '{path}'{body} }}; }}"
        );
    }
    text.push('}');
    let files = vec![("service.proto".to_owned(), text.into_bytes())];
    protos(files, &[], &Limits::default()).unwrap_or_else(|faults| panic!("{}", faults[0]))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let out = run();
    (out, start.elapsed())
}

fn tell(name: &str, spent: Duration) {
    println!("  {name:<34} {:>9.2} ms", spent.as_secs_f64() * 1e3);
}

/// Bytes of the process in memory, as Linux counts them; 0 elsewhere.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) * 1024.0
}

fn megabytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

const PUSHES: usize = 60;

//! A gateway that is killed amid pushes has, after its restart, all that it acknowledged and nothing by halves.

#![expect(clippy::unwrap_used, reason = "a test ends at what it didn't expect")]
#![expect(clippy::disallowed_methods, reason = "a test measures")]

#[path = "support/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use prost::Message;
use tempfile::TempDir;
use tonic::transport::Channel;
use transom::admin::HttpBody;
use transom::admin::audit_hash;
use transom::admin::pb;
use transom::admin::pb::modules_client::ModulesClient;
use transom::admin::pb::status_client::StatusClient;

use crate::program::Program;

/// Numbers by xorshift: whoever has the seed has them all again.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What was acknowledged: by module the numbers of its pushes and their digests, in their order.
#[derive(Default)]
struct Acknowledged(BTreeMap<String, Vec<(String, String)>>);

impl Acknowledged {
    fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

fn module(push: u64) -> String {
    format!("team-{}", push % MODULES)
}

/// Each version has a field more than the one before.
fn content(push: u64) -> HttpBody {
    let mut text = format!("syntax = \"proto3\";\npackage team{}.v1;\nmessage M {{\n", push % MODULES);
    for field in 0..=push / MODULES {
        text.push_str(&format!("  string f{field} = {};\n", field + 1));
    }
    text.push_str("}\nservice S { rpc Get(M) returns (M); }\n");
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("s.proto", options).unwrap();
    zip.write_all(text.as_bytes()).unwrap();
    let data = zip.finish().unwrap().into_inner();
    HttpBody { content_type: "application/zip".into(), data, extensions: Vec::new() }
}

async fn push(modules: &mut ModulesClient<Channel>, number: u64) -> Result<String, tonic::Status> {
    let request = pb::CreateVersionRequest {
        module: module(number),
        content: Some(content(number)),
        source: format!("push {number}"),
        ..Default::default()
    };
    let reply = modules.create_version(request).await?.into_inner();
    assert!(reply.promoted && !reply.unchanged, "push {number}: {reply:?}");
    Ok(reply.version.unwrap().digest)
}

/// Looks at all that is there; takes up the push under way where it is.
async fn check(channel: &Channel, known: &mut Acknowledged, under_way: Option<u64>) {
    let mut modules = ModulesClient::new(channel.clone());
    let mut moves = 0;
    let all = modules.list_modules(pb::ListModulesRequest::default()).await.unwrap().into_inner().modules;
    for there in &all {
        let name = &there.name;
        let asked = pb::ListVersionsRequest { module: name.clone(), page_size: 1_000, ..Default::default() };
        let mut versions = modules.list_versions(asked).await.unwrap().into_inner().versions;
        versions.reverse();
        let expected = known.0.entry(name.clone()).or_default();
        if expected.len() < versions.len() {
            let more = versions.last().unwrap();
            let number = under_way.expect("nothing more was pushed");
            assert_eq!((name, &more.source), (&module(number), &format!("push {number}")));
            expected.push((more.source.clone(), more.digest.clone()));
        }
        let found: Vec<_> = versions.iter().map(|v| (v.source.clone(), v.digest.clone())).collect();
        assert_eq!(found, *expected, "{name}");
        let (last, newest) = (versions.last().unwrap(), &expected.last().unwrap().1);
        assert_eq!(there.labels.get("live"), Some(newest), "{name}");
        assert_eq!(last.labels, ["live"]);
        // It is whole: the descriptors are there, and compile.
        let asked = pb::GetVersionRequest { module: name.clone(), version: newest.clone() };
        let whole = modules.get_version(asked.clone()).await.unwrap().into_inner();
        assert_eq!((whole.digest.as_str(), whole.services.len()), (newest.as_str(), 1));
        let set = modules.get_descriptor_set(asked).await.unwrap().into_inner().data;
        let set = prost_types::FileDescriptorSet::decode(set.as_slice()).unwrap();
        let own = set.file.iter().find(|file| file.name() == "s.proto").unwrap();
        assert_eq!(own.message_type[0].field.len(), expected.len());
        let asked = pb::ListHistoryRequest { module: name.clone(), page_size: 1_000, ..Default::default() };
        let history = modules.list_history(asked).await.unwrap().into_inner().moves;
        let after: Vec<&str> = history.iter().rev().map(|moved| moved.after.as_str()).collect();
        assert_eq!(after, expected.iter().map(|(_, digest)| digest.as_str()).collect::<Vec<_>>(), "{name}");
        let befores = history.iter().rev().map(|moved| moved.before.as_str()).skip(1);
        assert!(befores.eq(after.iter().copied().take(after.len() - 1)), "{name}");
        moves += history.len();
    }
    let names = all.iter().map(|module| &module.name);
    assert!(names.eq(known.0.keys()), "modules are missing: {:?}", known.0.keys());
    audit(channel, moves).await;
}

/// One entry for each push, each bound to the one before.
async fn audit(channel: &Channel, entries: usize) {
    let asked = pb::ListAuditRequest { page_size: 1_000, ..Default::default() };
    let mut log = StatusClient::new(channel.clone()).list_audit(asked).await.unwrap().into_inner().entries;
    log.reverse();
    assert_eq!(log.len(), entries);
    let mut previous = String::new();
    for (entry, number) in log.iter().zip(1..) {
        assert_eq!((entry.sequence, &entry.previous), (number, &previous));
        previous = audit_hash(entry).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(entry.hash, previous, "entry {number}");
    }
}

async fn connect(gateway: &Program) -> Channel {
    let uri = format!("http://{}", gateway.address("admin"));
    Channel::from_shared(uri).unwrap().connect().await.unwrap()
}

fn check_file(store: &Path) {
    let ended = program::run(program::transom().args(["store", "check"]).arg(store));
    assert!(ended.code == 0 && ended.stdout.contains("no faults"), "{ended:?}");
}

#[tokio::test]
async fn whatever_was_acknowledged_outlives_a_kill() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::try_from(now % u128::from(u64::MAX)).unwrap() | 1);
    println!("SEED={seed}");
    let mut random = Random(seed);
    let directory = TempDir::new().unwrap();
    let config = directory.path().join("transom.yaml");
    let text = "listeners: [{ name: main, address: \"127.0.0.1:0\" }]\n\
                admin: { address: \"127.0.0.1:0\" }\n\
                store: { embedded: { path: store.redb } }\n";
    std::fs::write(&config, text).unwrap();
    let store = directory.path().join("store.redb");
    let (mut known, mut under_way, mut number) = (Acknowledged::default(), None, 0);
    for round in 0.. {
        let mut gateway = Program::serve(&config, &["main", "admin"]);
        let channel = connect(&gateway).await;
        check(&channel, &mut known, under_way).await;
        // What wasn't kept is pushed again.
        number = if known.count() as u64 == number { number } else { number - 1 };
        assert_eq!(known.count() as u64, number);
        if PUSHES <= number {
            println!("{round} rounds");
            assert!(gateway.terminate().0.success());
            check_file(&store);
            return;
        }
        let mut modules = ModulesClient::new(channel);
        let (mut left, mut took) = (random.below(2 * PUSHES / ROUNDS), Duration::from_millis(20));
        under_way = None;
        while number < PUSHES && 0 < left {
            let began = Instant::now();
            let digest = push(&mut modules, number).await.unwrap();
            took = began.elapsed();
            known.0.entry(module(number)).or_default().push((format!("push {number}"), digest));
            (number, left) = (number + 1, left - 1);
        }
        if number < PUSHES {
            // Between before it begins and after it has ended.
            let moment = Duration::from_micros(random.below(1 + 3 * u64::from(took.subsec_micros()) / 2));
            let killing = async {
                tokio::time::sleep(moment).await;
                tokio::task::spawn_blocking(move || gateway.kill()).await.unwrap();
            };
            let (answer, ()) = tokio::join!(push(&mut modules, number), killing);
            match answer {
                Ok(digest) => {
                    known.0.entry(module(number)).or_default().push((format!("push {number}"), digest))
                }
                Err(_) => under_way = Some(number),
            }
            number += 1;
        } else {
            gateway.kill();
        }
        check_file(&store);
    }
}

const MODULES: u64 = 7;
const PUSHES: u64 = 200;
const ROUNDS: u64 = 12;

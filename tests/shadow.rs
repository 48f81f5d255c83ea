//! A version in the shadow of an API: it reads live calls beside the serving one, which it never touches.

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use prost_types::DescriptorProto;
use prost_types::FieldDescriptorProto;
use prost_types::FileDescriptorProto;
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;
use tonic::Code;
use transom::demo;
use transom::demo::pb;
use transom::schema::Limits;
use transom::schema::Schema;
use transom::schema::compile;
use transom::server::Setup;
use transom::snapshot::Direction;
use transom::snapshot::Labels;
use transom::snapshot::ShadowReport;

use crate::support::BOOK;
use crate::support::Backend;
use crate::support::Gateway;
use crate::support::LIBRARY;
use crate::support::Parts;
use crate::support::config_of;
use crate::support::demo_schema;
use crate::support::dialects::Ask;
use crate::support::dialects::Compression;
use crate::support::dialects::DIALECTS;
use crate::support::dialects::Dialect;
use crate::support::dialects::Told;
use crate::support::eventually;
use crate::support::soon;
use crate::support::yaml;

fn message<'f>(file: &'f mut FileDescriptorProto, name: &str) -> &'f mut DescriptorProto {
    file.message_type.iter_mut().find(|known| known.name() == name).expect("the demo declares it")
}

fn field<'f>(file: &'f mut FileDescriptorProto, of: &str, name: &str) -> &'f mut FieldDescriptorProto {
    let fields = &mut message(file, of).field;
    fields.iter_mut().find(|known| known.name() == name).expect("the demo declares it")
}

/// The demo's service as a careless team changes it.
fn careless() -> Schema {
    let mut set = FileDescriptorSet::decode(demo::FILE_DESCRIPTOR_SET).expect("the demo's own are good");
    let file = set.file.iter_mut().find(|file| file.package() == "transom.demo.v1");
    let file = file.expect("the demo's own file");
    message(file, "Book").field.retain(|field| field.name() != "title");
    field(file, "Page", "number").set_type(Type::Int64);
    field(file, "Remark", "text").set_type(Type::Int64);
    let mut later = field(file, "ImportBooksResponse", "imported").clone();
    (later.name, later.json_name, later.number) = (Some("later".into()), Some("later".into()), Some(9));
    message(file, "ImportBooksResponse").field.push(later);
    let methods = &mut file.service[0].method;
    methods.retain(|method| method.name() != "Inspect");
    let list = methods.iter_mut().find(|method| method.name() == "ListShelves").expect("it is there");
    list.server_streaming = Some(true);
    compile::descriptor_set(&set.encode_to_vec().into(), &[], &Limits::default())
        .unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn start(api: &str) -> (Gateway, Backend) {
    let backend = Backend::start();
    let mut labels = Labels::live(demo_schema());
    labels.set("canary", careless());
    let setup = Setup { modules: [("demo".to_owned(), labels)].into(), ..Setup::default() };
    let text = yaml(&[backend.address], Parts { api, ..Parts::default() });
    (Gateway::of_setup(config_of(&text), setup), backend)
}

fn report(gateway: &Gateway) -> ShadowReport {
    let mut all = gateway.server().shadows();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Waits until so many messages have been seen, be they read or skipped.
async fn until(gateway: &Gateway, messages: u64) -> ShadowReport {
    let seen = || report(gateway).messages + report(gateway).skipped;
    assert!(eventually(|| messages <= seen()).await, "{:?}", report(gateway));
    let report = report(gateway);
    assert_eq!(report.messages + report.skipped, messages, "{report:?}");
    report
}

fn remark(id: &str, text: &str) -> pb::Remark {
    pb::Remark { id: id.into(), text: text.into(), ..Default::default() }
}

/// Calls of every kind, and how many messages they are. The last one fails.
fn calls() -> ([Ask; 6], u64) {
    let read = pb::ReadBookRequest { name: BOOK.into(), pages: 3, ..Default::default() };
    let missing = pb::GetBookRequest { name: "shelves/harbour/books/none".into() };
    let calls = [
        Ask::of("GetBook", &pb::GetBookRequest { name: BOOK.into() }),
        Ask::of("ReadBook", &read),
        Ask::stream("ImportBooks", &[pb::ImportBooksRequest::default(), pb::ImportBooksRequest::default()]),
        Ask::stream("Discuss", &[remark("a", "one"), remark("b", "two")]),
        Ask::of("ListShelves", &pb::ListShelvesRequest::default()),
        Ask::of("GetBook", &missing),
    ];
    (calls, 2 + 4 + 3 + 4 + 2 + 1)
}

/// A reply in words that are the same however it was encoded.
fn words(path: &str, told: &Told) -> String {
    fn all<M: Message + Default + std::fmt::Debug>(messages: &[Bytes]) -> String {
        let messages = messages.iter().map(|message| M::decode(message.clone()).expect("a reply decodes"));
        format!("{:?}", messages.collect::<Vec<_>>())
    }
    let messages = match path.rsplit('/').next() {
        Some("GetBook") => all::<pb::Book>(&told.messages),
        Some("ReadBook") => all::<pb::Page>(&told.messages),
        Some("ImportBooks") => all::<pb::ImportBooksResponse>(&told.messages),
        Some("Discuss") => all::<pb::Answer>(&told.messages),
        Some("ListShelves") => all::<pb::ListShelvesResponse>(&told.messages),
        other => panic!("{other:?}"),
    };
    format!("{:?} {:?} {messages}", told.status.code(), told.status.message())
}

#[tokio::test]
async fn replies_are_unchanged_and_the_report_says_what_would_have_failed() {
    // JSON that is posted to the path of a method is Connect where an API speaks both.
    let is_rest = |dialect: &&Dialect| dialect.name == "rest";
    let (rest, other): (Vec<_>, Vec<_>) = DIALECTS.iter().partition(is_rest);
    assert!(!rest.is_empty() && !other.is_empty());
    unchanged("shadow: canary, dialects: [rest]", &rest).await;
    let (gateway, messages) = unchanged("shadow: canary, dialects: [grpc, grpc_web, connect]", &other).await;

    // A method that is gone.
    let ask = Ask::of("Inspect", &pb::InspectRequest { text: "still there?".into(), ..Default::default() });
    let told = (DIALECTS[0].call)(gateway.0.address(), Compression::None, ask).await;
    assert_eq!(told.one::<pb::InspectResponse>().text, "still there?");
    let gateway = &gateway.0;
    let report = until(gateway, messages + 2).await;
    let gone = report.failures.iter().filter(|failure| failure.method.ends_with("/Inspect"));
    let problems: Vec<_> = gone.map(|failure| (failure.count, &*failure.problem)).collect();
    assert_eq!(problems, [(1, "the version has no such method"); 2]);

    let count = |result: &str| {
        let labels = [("api", "demo"), ("label", "canary"), ("result", result)];
        gateway.metric("transom_shadow_messages_total", &labels)
    };
    let failed: u64 = report.failures.iter().map(|failure| failure.count).sum();
    assert!((count("failed") - failed as f64).abs() < 1e-9 && count("skipped").abs() < 1e-9);
    assert!((count("ok") - (report.messages - failed) as f64).abs() < 1e-9);
}

/// Makes every call in these dialects, and compares with the backend's own replies. What comes out are the
/// gateway with its backend, and the number of messages that passed.
async fn unchanged(api: &str, dialects: &[&'static Dialect]) -> ((Gateway, Backend), u64) {
    let (gateway, backend) = start(api);
    let mut messages = 0;
    for dialect in dialects {
        let (asks, seen) = calls();
        messages += seen;
        for ask in asks {
            let path = ask.path.clone();
            let served = (dialect.call)(gateway.address(), Compression::None, ask.clone());
            let served = soon("a reply through the gateway", served).await;
            let direct = (DIALECTS[0].call)(backend.address, Compression::None, ask);
            let direct = soon("a reply of the backend", direct).await;
            assert_eq!(words(&path, &served), words(&path, &direct), "{} {}", dialect.name, dialect.form);
        }
    }
    let report = until(&gateway, messages).await;
    assert_eq!((&*report.api, &*report.label, report.skipped), ("demo", "canary", 0));
    assert_eq!(report.digest, careless().digest());
    let found: BTreeMap<_, _> = report
        .failures
        .iter()
        .map(|failure| ((&*failure.method, failure.direction), (failure.count, &*failure.problem)))
        .collect();
    let dialects = dialects.len() as u64;
    let path = |method: &str| format!("/{LIBRARY}/{method}");
    let (book, read, say, list) = (path("GetBook"), path("ReadBook"), path("Discuss"), path("ListShelves"));
    let streams = "the method streams another way in this version";
    let wider = "reads differently at `number`: a number has become a string";
    let expected = BTreeMap::from([
        ((&*book, Direction::Reply), (dialects, "`title` would be dropped")),
        ((&*read, Direction::Reply), (3 * dialects, wider)),
        ((&*say, Direction::Request), (2 * dialects, "`text` would be dropped")),
        ((&*list, Direction::Request), (dialects, streams)),
        ((&*list, Direction::Reply), (dialects, streams)),
    ]);
    assert_eq!(found, expected);
    ((gateway, backend), messages)
}

#[tokio::test]
async fn what_is_too_large_or_compressed_passes_and_is_skipped() {
    let (gateway, _backend) = start("shadow: canary");
    let call = |compression, ask| (DIALECTS[0].call)(gateway.address(), compression, ask);
    // Native messages have no limit unless one is set, and a shadow sets none.
    let inspect = pb::InspectRequest { padding: 6_000_000, ..Default::default() };
    let told = soon("the end", call(Compression::None, Ask::of("Inspect", &inspect))).await;
    assert_eq!(told.one::<pb::InspectResponse>().padding.len(), 6_000_000);
    let report = until(&gateway, 2).await;
    assert_eq!((report.messages, report.skipped), (1, 1));
    let read = pb::ReadBookRequest { name: BOOK.into(), pages: 5, page_bytes: 300_000, ..Default::default() };
    let told = soon("the end", call(Compression::None, Ask::of("ReadBook", &read))).await;
    assert_eq!(told.all::<pb::Page>().len(), 5);
    let report = until(&gateway, 8).await;
    assert_eq!((report.messages, report.skipped), (2, 6));
    let ask = Ask::of("GetBook", &pb::GetBookRequest { name: BOOK.into() });
    let told = soon("the end", call(Compression::Gzip, ask)).await;
    assert_eq!(told.one::<pb::Book>().name, BOOK);
    assert_eq!(until(&gateway, 10).await.skipped, 8);
}

#[tokio::test]
async fn a_flood_reaches_its_client_whatever_the_shadow_can_read() {
    let (gateway, _backend) = start("shadow: canary");
    let read = pb::ReadBookRequest { name: BOOK.into(), pages: 30_000, ..Default::default() };
    let told = (DIALECTS[0].call)(gateway.address(), Compression::None, Ask::of("ReadBook", &read));
    let told = soon("the end", told).await;
    assert_eq!((told.status.code(), told.messages.len()), (Code::Ok, 30_000));
    let report = until(&gateway, 30_001).await;
    // What was read was read by the version in the shadow.
    let failed: u64 = report.failures.iter().map(|failure| failure.count).sum();
    assert!((1..=report.messages).contains(&failed), "{report:?}");
    assert!(report.messages - failed <= 1, "only the request reads alike");
}

#[tokio::test]
async fn what_a_shadow_saw_outlives_snapshots_until_it_is_taken_away() {
    let (gateway, backend) = start("shadow: canary");
    let config = |api: &str| config_of(&yaml(&[backend.address], Parts { api, ..Parts::default() }));
    let mut client = gateway.library().await;
    let mut get = async || {
        let asked = client.get_book(pb::GetBookRequest { name: BOOK.into() });
        assert_eq!(soon("a book", asked).await.expect("it is there").into_inner().name, BOOK);
    };
    get().await;
    assert_eq!(until(&gateway, 2).await.failures.len(), 1);
    gateway.server().apply(config("shadow: canary, dialects: [grpc]")).expect("it is good");
    get().await;
    let report = until(&gateway, 4).await;
    assert_eq!((report.failures.len(), report.failures[0].count), (1, 2));

    // Nothing can fail in what serves already, and a label may come later.
    for api in ["", "shadow: live", "shadow: canary, label: canary", "shadow: nightly"] {
        gateway.server().apply(config(api)).expect("it is good");
        get().await;
        assert_eq!(gateway.server().shadows(), [], "{api}");
    }
    gateway.server().apply(config("shadow: canary")).expect("it is good");
    assert_eq!(report_counts(&gateway), (0, 0), "it begins anew");
    get().await;
    until(&gateway, 2).await;
    gateway.drain().await;
}

fn report_counts(gateway: &Gateway) -> (u64, u64) {
    let report = report(gateway);
    (report.messages, report.skipped)
}

//! The version in the shadow of an API: it reads the messages of live calls beside the serving one, and reports
//! where it would not have read the same.
//!
//! Calls never wait for it. As a message passes, a worker copies it (`gateway::tap`) and hands the copy over
//! without a wait; one thread of a low priority reads it by both versions. What would be over a bound is left
//! out and counted: messages over `MESSAGE_BYTES_MAX`, compressed ones, and those that come faster than they
//! are read, so that more than `HELD_BYTES_MAX` or `QUEUE_MAX` of them would wait.

mod compare;
mod reader;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

pub use reader::Shadows;
pub(crate) use reader::step_back;

use crate::bridge::rest::Method as Messages;
use crate::config::types;
use crate::observe::Counters;
use crate::schema::Digest;
use crate::schema::Rpc;
use crate::schema::Schema;
use crate::snapshot::LIVE;
use crate::snapshot::Labels;
use crate::snapshot::compile::Build;
use crate::snapshot::shadow::compare::Side;
use crate::snapshot::shadow::reader::Job;
use crate::snapshot::unit::Version;
use crate::transcode::Plans;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To the service.
    Request,
    /// To the client.
    Reply,
}

impl Direction {
    /// `request` or `reply`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Reply => "reply",
        }
    }
}

/// One version in the shadow of one API, and what it saw. It outlives snapshots as long as the API's name, the
/// label and the digest are the same.
pub struct Shadow {
    api: Arc<str>,
    label: Arc<str>,
    digest: Digest,
    /// Its compiled messages.
    plans: Arc<Plans>,
    counts: Counters,
    read: AtomicU64,
    skipped: AtomicU64,
    failures: Mutex<Failures>,
    /// Gone once the gateway ends.
    queue: Weak<SyncSender<Job>>,
    held: Arc<AtomicUsize>,
}

/// What can't be read alike, by method and direction. Only one thread adds to it.
#[derive(Default)]
struct Failures(BTreeMap<(Arc<str>, Direction), (u64, String)>);

impl Failures {
    fn add(&mut self, method: &Arc<str>, direction: Direction, problem: String) {
        let key = (method.clone(), direction);
        let has_room = self.0.len() < FAILURES_MAX || self.0.contains_key(&key);
        if has_room {
            let (count, last) = self.0.entry(key).or_default();
            *count += 1;
            *last = problem;
        }
    }
}

/// What a version in the shadow saw since it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowReport {
    /// The API.
    pub api: Arc<str>,
    /// The label that names the version.
    pub label: Arc<str>,
    /// The version.
    pub digest: Digest,
    /// Messages that were read by both versions.
    pub messages: u64,
    /// Messages that were left out: too large, compressed, more than could be read in time, or none to the
    /// serving version either.
    pub skipped: u64,
    /// By method and direction; at most 1,000 methods.
    pub failures: Vec<ShadowFailure>,
}

/// Messages of one method that would not have been read alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowFailure {
    /// Such as `/pets.v1.PetStore/GetPet`.
    pub method: Arc<str>,
    /// Which way they went.
    pub direction: Direction,
    /// How many.
    pub count: u64,
    /// What was wrong with the last of them.
    pub problem: String,
}

impl Shadow {
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// What it saw so far.
    pub fn report(&self) -> ShadowReport {
        let failures = self.lock();
        let failures = failures.0.iter().map(|((method, direction), (count, problem))| ShadowFailure {
            method: method.clone(),
            direction: *direction,
            count: *count,
            problem: problem.clone(),
        });
        ShadowReport {
            failures: failures.collect(),
            api: self.api.clone(),
            label: self.label.clone(),
            digest: self.digest,
            messages: self.read.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
        }
    }

    fn skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
        self.counts.increment("skipped");
    }

    fn lock(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shadow({} {} {})", self.api, self.label, self.digest.short())
    }
}

/// One method whose messages are read in the shadow too.
#[derive(Debug)]
pub struct Watched {
    shadow: Arc<Shadow>,
    method: Arc<str>,
    serving: Side,
    beside: Beside,
}

/// What the version in the shadow makes of a method.
#[derive(Debug)]
enum Beside {
    /// It reads its messages.
    Reads(Side),
    /// None of its calls would work.
    Fails(&'static str),
}

impl Watched {
    /// The copy of a message that begins to pass; `None` where that is left out.
    pub fn copy(&self, compressed: bool, len: usize) -> Option<Copy> {
        if compressed || MESSAGE_BYTES_MAX < len {
            return None;
        }
        let mut copy = Copy { bytes: Vec::new(), held: Held { of: self.shadow.held.clone(), bytes: 0 } };
        copy.held.add(COPY_BYTES).then_some(copy)
    }

    /// A message has passed whole; `None` is one that was left out.
    pub fn passed(self: &Arc<Self>, direction: Direction, copy: Option<Copy>) {
        let taken = copy.zip(self.shadow.queue.upgrade()).is_some_and(|(copy, queue)| {
            queue.try_send(Job { watched: self.clone(), direction, copy }).is_ok()
        });
        if !taken {
            self.shadow.skipped();
        }
    }
}

/// The copy of one message, counted in what all copies hold.
pub struct Copy {
    bytes: Vec<u8>,
    held: Held,
}

impl Copy {
    /// Adds the next bytes; false, and the copy is of no use, where all copies together would hold too much.
    #[must_use]
    pub fn add(&mut self, part: &[u8]) -> bool {
        let has_room = self.held.add(part.len());
        if has_room {
            self.bytes.extend_from_slice(part);
        }
        has_room
    }
}

/// Bytes that are held until this drops.
struct Held {
    of: Arc<AtomicUsize>,
    bytes: usize,
}

impl Held {
    fn add(&mut self, bytes: usize) -> bool {
        let before = self.of.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before.saturating_add(bytes) <= HELD_BYTES_MAX
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The version in the shadow of an API that is compiled.
pub(super) struct Cast {
    pub(super) shadow: Arc<Shadow>,
    schema: Schema,
}

impl Cast {
    /// How the messages of a method are read beside the serving version.
    pub(super) fn watch(&self, rpc: &Rpc, serving: Option<&Messages>) -> Option<Arc<Watched>> {
        let serving = serving?;
        Some(Arc::new(Watched {
            shadow: self.shadow.clone(),
            method: rpc.method.path.clone(),
            serving: Side { plans: serving.plans.clone(), input: serving.input, output: serving.output },
            beside: self.beside(rpc),
        }))
    }

    fn beside(&self, rpc: &Rpc) -> Beside {
        let Some(known) = self.schema.method(&rpc.method.path) else {
            return Beside::Fails("the version has no such method");
        };
        if known.method.kind != rpc.method.kind {
            return Beside::Fails("the method streams another way in this version");
        }
        let plans = &self.shadow.plans;
        let id = |name: &str| plans.find(name);
        let input = id(known.descriptor.input().full_name());
        match input.zip(id(known.descriptor.output().full_name())) {
            Some((input, output)) => Beside::Reads(Side { plans: plans.clone(), input, output }),
            None => Beside::Fails("the version doesn't know the method's messages"),
        }
    }
}

impl<'a> Build<'a> {
    /// The version in the shadow of an API. There is none where the label isn't there yet, or where it points at
    /// what serves: nothing could fail.
    pub(super) fn beside(
        &mut self,
        api: &types::Api,
        labels: &'a Labels,
        serving: &Schema,
    ) -> Option<&'a Schema> {
        let label = api.shadow.as_deref()?;
        let schema = labels.get(label);
        if schema.is_none() {
            self.no_shadow(api, label);
        }
        schema.filter(|schema| schema.digest() != serving.digest())
    }

    /// What the methods of a version are compiled with, where another one is in its shadow.
    pub(super) fn cast(&mut self, version: Version<'_>) -> Option<Cast> {
        let (label, schema) = version.api.shadow.as_deref().zip(version.beside)?;
        let plans = self.plans(schema);
        let shadow = self.inputs.shadows.of(&version.api.name, label, schema.digest(), plans);
        Some(Cast { shadow, schema: schema.clone() })
    }

    /// The label may yet be pushed, but for modules that nobody pushes.
    fn no_shadow(&mut self, api: &types::Api, label: &str) {
        let module = self.inputs.config.modules.iter().find(|module| module.name == api.module);
        let is_pushed = module.is_none_or(|module| matches!(module.source, types::ModuleSource::Upload));
        if !is_pushed && label != LIVE {
            self.diag.fault(
                &api.at,
                format!(
                    "`shadow` of API \"{}\": module \"{}\" has no label \"{label}\"",
                    api.name, api.module
                ),
                "leave `shadow` out: only modules that are pushed have other labels than `live`",
            );
        }
    }
}

/// The largest message that is read in a shadow.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// What the copies of all messages may hold together, those included that wait to be read.
const HELD_BYTES_MAX: usize = 16 << 20;
/// What a copy costs beside its bytes.
const COPY_BYTES: usize = 256;
/// How many messages may wait to be read.
const QUEUE_MAX: usize = 4096;
/// Both directions of 1,000 methods.
const FAILURES_MAX: usize = 2_000;

#[cfg(test)]
pub(crate) mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::observe::Metrics;
    use crate::schema::Limits;
    use crate::schema::Traits;
    use crate::schema::compile;

    const TEXT: &str = "message M { string text = 1; }";

    fn side(text: &str) -> Side {
        let file = protox::file::File::from_source("t.proto", &format!("syntax = \"proto3\"; {text}"));
        let mut pool = DescriptorPool::global();
        pool.add_file_descriptor_proto(file.unwrap().file_descriptor_proto().clone()).unwrap();
        let plans = Plans::new(pool, Traits::default());
        let id = plans.find("M").unwrap();
        Side { plans: Arc::new(plans), input: id, output: id }
    }

    fn digest(text: &str) -> Digest {
        let text = format!("syntax = \"proto3\"; {text}");
        let file = protox::file::File::from_source("t.proto", &text).unwrap();
        let set = prost_types::FileDescriptorSet { file: vec![file.file_descriptor_proto().clone()] };
        let set = prost::Message::encode_to_vec(&set).into();
        compile::descriptor_set(&set, &[], &Limits::default()).unwrap().digest()
    }

    fn of(shadows: &Shadows, api: &str, label: &str, digest: Digest) -> Arc<Shadow> {
        shadows.of(api, label, digest, side(TEXT).plans)
    }

    fn watched(shadows: &Shadows, beside: Beside) -> Arc<Watched> {
        let shadow = of(shadows, "pets", "canary", digest(TEXT));
        Arc::new(Watched { shadow, method: "/p.S/M".into(), serving: side(TEXT), beside })
    }

    /// A method whose messages are `message M { string text = 1; }`, and lose their text in the shadow.
    pub(crate) fn losing(metrics: &Arc<Metrics>) -> (Shadows, Arc<Watched>) {
        let shadows = Shadows::new(metrics.clone());
        let watched = watched(&shadows, Beside::Reads(side("message M {}")));
        (shadows, watched)
    }

    impl Watched {
        /// What its shadow saw.
        pub(crate) fn report(&self) -> ShadowReport {
            self.shadow.report()
        }

        fn pass(self: &Arc<Self>, message: &[u8]) {
            let copy = self.copy(false, message.len());
            self.passed(Direction::Request, copy.and_then(|mut copy| copy.add(message).then_some(copy)));
        }

        fn held(&self) -> usize {
            self.shadow.held.load(Ordering::Relaxed)
        }
    }

    fn text(len: usize) -> Vec<u8> {
        let mut message = vec![0x0a];
        prost::encoding::encode_varint(len as u64, &mut message);
        message.resize(message.len() + len, b'x');
        message
    }

    fn counted(metrics: &Metrics, result: &str) -> u64 {
        let name =
            format!("transom_shadow_messages_total{{api=\"pets\",label=\"canary\",result=\"{result}\"}} ");
        let page = metrics.render();
        page.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    }

    #[test]
    fn what_differs_is_counted_by_method_and_direction_with_its_last_problem() {
        let metrics = Metrics::new(1);
        let (shadows, watched) = losing(&metrics);
        watched.pass(&text(3));
        watched.pass(b"");
        watched.pass(&text(4));
        watched.pass(b"\x0f");
        watched.passed(Direction::Reply, watched.copy(true, 3));
        let reply = watched.copy(false, 5).unwrap();
        watched.passed(Direction::Reply, Some(reply));
        shadows.drain();
        let report = watched.report();
        assert_eq!((report.messages, report.skipped), (4, 2), "a malformed one and a compressed one");
        let failure = ShadowFailure {
            method: "/p.S/M".into(),
            direction: Direction::Request,
            count: 2,
            problem: "`text` would be dropped".into(),
        };
        assert_eq!(report.failures, [failure]);
        assert_eq!((&*report.api, &*report.label, report.digest), ("pets", "canary", digest(TEXT)));
        let counts = ["ok", "failed", "skipped"].map(|result| counted(&metrics, result));
        assert_eq!((counts, watched.held()), ([2, 2, 2], 0));
    }

    #[test]
    fn a_flood_is_skipped_and_never_waits() {
        let metrics = Metrics::new(1);
        let (shadows, watched) = losing(&metrics);
        // The reader stops at the first message that fails, as long as this is held.
        let reading = watched.shadow.lock();
        let small = QUEUE_MAX + 100;
        (0..small).for_each(|_| watched.pass(&text(1)));
        let skipped = watched.shadow.skipped.load(Ordering::Relaxed);
        assert!((99..=100).contains(&skipped), "{skipped} of {small}: the reader has one at most");
        assert!(watched.held() <= HELD_BYTES_MAX);
        drop(reading);
        shadows.drain();
        assert_eq!((watched.report().messages, watched.report().skipped), (small as u64 - skipped, skipped));
        assert_eq!(watched.held(), 0);
    }

    #[test]
    fn large_messages_are_bounded_by_their_bytes() {
        let metrics = Metrics::new(1);
        let (shadows, watched) = losing(&metrics);
        let reading = watched.shadow.lock();
        let large = text(200 << 10);
        (0..100).for_each(|_| watched.pass(&large));
        let kept = HELD_BYTES_MAX / (large.len() + COPY_BYTES);
        assert_eq!(watched.shadow.skipped.load(Ordering::Relaxed), 100 - kept as u64);
        assert!(watched.held() <= HELD_BYTES_MAX);
        // Copies that are still being made count as well.
        let part = watched.copy(false, 10).map(|mut copy| copy.add(&large));
        assert_ne!(part, Some(true));
        drop(reading);
        shadows.drain();
        assert_eq!(watched.held(), 0);
        assert!(watched.copy(false, MESSAGE_BYTES_MAX).is_some());
        assert!(watched.copy(false, MESSAGE_BYTES_MAX + 1).is_none());
    }

    #[test]
    fn a_panic_is_counted_and_the_next_message_is_read() {
        let metrics = Metrics::new(1);
        let shadows = Shadows::new(metrics.clone());
        // An id of other plans that are longer.
        let far: String = (0..50).map(|at| format!("message Z{at} {{}}")).collect();
        let long = side(&format!("{far} {TEXT}"));
        let far = long.plans.find("Z49").unwrap();
        let broken = Side { input: far, ..side("message M {}") };
        let watched = watched(&shadows, Beside::Reads(broken));
        watched.pass(&text(1));
        watched.passed(Direction::Reply, watched.copy(false, 0));
        shadows.drain();
        let report = watched.report();
        assert_eq!((report.messages, report.failures.len(), report.failures[0].count), (2, 1, 1));
        assert!(report.failures[0].problem.contains("panicked"));
        assert_eq!(metrics.panics.value(), 1);
    }

    #[test]
    fn what_fails_whatever_it_says_needs_no_reading() {
        let metrics = Metrics::new(1);
        let shadows = Shadows::new(metrics.clone());
        let watched = watched(&shadows, Beside::Fails("the version has no such method"));
        watched.pass(b"\x0f");
        shadows.drain();
        assert_eq!(watched.report().failures[0].problem, "the version has no such method");
        assert_eq!(counted(&metrics, "failed"), 1);
    }

    #[test]
    fn failures_are_bounded() {
        let mut failures = Failures::default();
        for at in 0..FAILURES_MAX + 10 {
            failures.add(&format!("{at}").into(), Direction::Reply, String::new());
        }
        failures.add(&"0".into(), Direction::Reply, "again".into());
        failures.add(&"0".into(), Direction::Request, "new".into());
        assert_eq!(failures.0.len(), FAILURES_MAX);
        assert_eq!(failures.0[&("0".into(), Direction::Reply)], (2, "again".to_owned()));
    }

    #[test]
    fn a_shadow_lasts_as_long_as_someone_needs_it_and_nothing_of_it_changes() {
        let shadows = Shadows::new(Metrics::new(1));
        let (one, other) = (digest(TEXT), digest("message M {}"));
        let first = of(&shadows, "pets", "canary", one);
        assert!(Arc::ptr_eq(&first, &of(&shadows, "pets", "canary", one)));
        for (api, label, digest) in
            [("pets", "canary", other), ("pets", "next", one), ("birds", "canary", one)]
        {
            assert!(!Arc::ptr_eq(&first, &of(&shadows, api, label, digest)), "{api} {label}");
        }
        first.skipped();
        drop(first);
        assert_eq!(of(&shadows, "pets", "canary", one).report().skipped, 0);
    }

    #[test]
    fn without_the_gateway_everything_is_skipped() {
        let metrics = Metrics::new(1);
        let (shadows, watched) = losing(&metrics);
        let reading = watched.shadow.lock();
        (0..10).for_each(|_| watched.pass(&text(1)));
        drop(reading);
        // It ends with what it has, and doesn't read the rest.
        drop(shadows);
        let read = watched.report().messages;
        assert!(read <= 10);
        watched.pass(&text(1));
        assert_eq!((watched.report().messages, watched.report().skipped, watched.held()), (read, 1, 0));
    }

    #[test]
    fn what_a_label_points_at_is_followed_and_kept() {
        use crate::snapshot::change::tests::PLAIN;
        use crate::snapshot::change::tests::World;
        use crate::snapshot::change::tests::schema;
        let world = World::new(
            "listeners: [{ name: l, address: '127.0.0.1:0' }]
upstreams: [{ name: u, endpoints: [{ address: '127.0.0.1:1' }] }]
modules: [{ name: m0 }]
apis: [{ name: a, module: m0, upstream: u, shadow: canary, label_header: x-label }]",
        );
        let newer = PLAIN.replace("string id = 1;", "string id = 1; string more = 2;");
        let newest = PLAIN.replace("rpc Get", "rpc Take");
        let mut labels = Labels::live(schema(PLAIN));
        let mut before = world.compile(&[("m0".to_owned(), labels.clone())].into(), None).unwrap();
        let mut last: Option<Arc<Shadow>> = None;
        for canary in [PLAIN, &newer, &newest, &newest, PLAIN] {
            labels.set("canary", schema(canary));
            let after = world.compile(&[("m0".to_owned(), labels.clone())].into(), Some(&before)).unwrap();
            let api = after.apis.iter().find(|api| &*api.name == "a").unwrap();
            let plan = after.served.routes.find("a.com", "/m0.S/Get").unwrap();
            let shadow = api.shadow.clone();
            let wanted = (canary != PLAIN).then(|| schema(canary).digest());
            assert_eq!(shadow.as_ref().map(|shadow| shadow.digest), wanted);
            let watched = plan.shadow.as_ref();
            assert_eq!(watched.map(|watched| watched.shadow.digest), wanted);
            if let Some(watched) = watched {
                assert_eq!(matches!(watched.beside, Beside::Fails(_)), canary == newest);
            }
            if let Some((shadow, last)) = shadow.as_ref().zip(last.as_ref()) {
                assert_eq!(Arc::ptr_eq(shadow, last), shadow.digest == last.digest);
            }
            // Only what serves has a shadow, not what calls ask for.
            let asked = after.labelled["canary"].routes.iter().all(|(_, _, plan)| plan.shadow.is_none());
            assert!(asked, "the version in the shadow has none");
            (before, last) = (after, shadow);
        }
    }
}

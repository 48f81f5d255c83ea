//! Holds all counts of the process and renders them for Prometheus.
//!
//! Own code and not prometheus-client: its families cost a hash and a lock a look-up, and its counters are
//! shared atomics, which all workers would fight over. Here a worker adds to memory that only it writes, and
//! the look-up by labels happens once, when a snapshot is compiled. Names are those that OpenMetrics wants.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::call::Code;
use crate::call::Dialect;

use super::handle::Counter;
use super::handle::Counters;
use super::handle::Gauge;
use super::handle::Handles;
use super::polls;
use super::polls::Polls;
use super::process;
use super::series::DURATION_BOUNDS;
use super::series::SIZE_BOUNDS;
use super::series::Series;
use super::series::Totals;
use super::text;
use super::text::Text;
use super::text::Type;

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    workers: usize,
    methods: Mutex<Methods>,
    unknown: Arc<Series>,
    handles: Arc<Handles>,
    /// One a worker.
    polls: Box<[Arc<Polls>]>,
    /// Calls that the gateway itself ended, by reason: `transom_refusals_total{reason}`.
    pub refusals: Counters,
    /// Streams that clients reset, by why: `transom_client_resets_total{why}`.
    pub client_resets: Counters,
    /// `transom_snapshot_generation`.
    pub snapshot_generation: Gauge,
    /// Changes that could not be applied: `transom_snapshot_failures_total`.
    pub snapshot_failures: Counter,
    /// `transom_access_lines_dropped_total`.
    pub access_lines_dropped: Counter,
    /// Panics that were caught: `transom_panics_total`.
    pub panics: Counter,
}

/// What is counted of one listener.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    /// Open connections; hold it as long as one is: `transom_connections{listener}`.
    pub connections: Gauge,
    /// Accepted connections: `transom_connections_total{listener}`.
    pub accepted: Counter,
    /// Connections that were refused, by why: `transom_connections_refused_total{listener,why}`.
    pub refused: Counters,
    /// TLS handshakes, by outcome: `transom_tls_handshakes_total{listener,outcome}`.
    pub handshakes: Counters,
    /// PROXY headers, by outcome: `transom_proxy_headers_total{listener,outcome}`.
    pub proxy_headers: Counters,
}

/// What is counted of one endpoint of an upstream.
#[derive(Debug, Clone)]
pub struct EndpointMetrics {
    /// Open connections; hold it as long as one is: `transom_upstream_connections{upstream,endpoint}`.
    pub connections: Gauge,
    /// Attempts to connect, by outcome: `transom_upstream_connects_total{upstream,endpoint,outcome}`.
    pub connects: Counters,
}

impl Metrics {
    /// Metrics of a process whose workers have the indexes below `workers`.
    pub fn new(workers: usize) -> Arc<Self> {
        let handles = Arc::new(Handles::default());
        let counter = |name, help| handles.counter(name, help, &[]);
        let mut methods = Methods::default();
        Arc::new(Self {
            workers,
            unknown: methods.series("", UNKNOWN_METHOD, workers),
            methods: Mutex::new(methods),
            polls: (0..workers).map(|_| Arc::default()).collect(),
            refusals: handles.counters(
                "transom_refusals_total",
                "Calls that the gateway itself ended, by reason.",
                &[],
                "reason",
            ),
            client_resets: handles.counters(
                "transom_client_resets_total",
                "Streams that clients reset, by why.",
                &[],
                "why",
            ),
            snapshot_generation: handles.gauge(
                "transom_snapshot_generation",
                "The generation of the configuration that serves.",
                &[],
            ),
            snapshot_failures: counter(
                "transom_snapshot_failures_total",
                "Changes that could not be applied.",
            ),
            access_lines_dropped: counter(
                "transom_access_lines_dropped_total",
                "Lines of the access log that were not written: its target is too slow or fails.",
            ),
            panics: counter("transom_panics_total", "Panics that were caught; each is a bug worth a report."),
            handles,
        })
    }

    /// The series of one published method, the same one for the same names however often snapshots change.
    pub fn series(&self, api: &str, method: &str) -> Arc<Series> {
        let mut methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        methods.series(api, method, self.workers)
    }

    /// The one series of all calls that asked for no published method: API "", method "unknown".
    pub fn unknown(&self) -> &Arc<Series> {
        &self.unknown
    }

    /// Where the thread of that worker tells how long single polls took of it:
    /// `transom_worker_poll_cpu_seconds`. `None` for whoever is no worker.
    pub fn polls(&self, worker: usize) -> Option<Arc<Polls>> {
        self.polls.get(worker).cloned()
    }

    /// What is counted of one listener, by its name.
    pub fn listener(&self, listener: &str) -> ListenerMetrics {
        let labels = [("listener", listener)];
        ListenerMetrics {
            connections: self.gauge("transom_connections", "Open connections of clients.", &labels),
            accepted: self.counter(
                "transom_connections_total",
                "Connections of clients that were accepted.",
                &labels,
            ),
            refused: self.counters(
                "transom_connections_refused_total",
                "Connections of clients that were refused, by why.",
                &labels,
                "why",
            ),
            handshakes: self.counters(
                "transom_tls_handshakes_total",
                "TLS handshakes of clients, by outcome.",
                &labels,
                "outcome",
            ),
            proxy_headers: self.counters(
                "transom_proxy_headers_total",
                "PROXY headers at the start of connections, by outcome.",
                &labels,
                "outcome",
            ),
        }
    }

    /// What is counted of one endpoint, by the upstream's name and the endpoint's address.
    pub fn endpoint(&self, upstream: &str, endpoint: &str) -> EndpointMetrics {
        let labels = [("upstream", upstream), ("endpoint", endpoint)];
        EndpointMetrics {
            connections: self.gauge(
                "transom_upstream_connections",
                "Open connections to endpoints of upstreams.",
                &labels,
            ),
            connects: self.counters(
                "transom_upstream_connects_total",
                "Attempts to connect to endpoints of upstreams, by outcome.",
                &labels,
                "outcome",
            ),
        }
    }

    /// Attempts after the first at calls of one upstream, by why: `transom_upstream_retries_total`.
    pub fn upstream_retries(&self, upstream: &str) -> Counters {
        self.counters(
            "transom_upstream_retries_total",
            "Attempts after the first at a call, by why the one before failed.",
            &[("upstream", upstream)],
            "why",
        )
    }

    /// Messages that the version of that label in the shadow of an API read, by what came of it:
    /// `transom_shadow_messages_total{api,label,result}`.
    pub fn shadow_messages(&self, api: &str, label: &str) -> Counters {
        self.counters(
            "transom_shadow_messages_total",
            "Messages of live calls that a version in the shadow read, could not read alike, or skipped.",
            &[("api", api), ("label", label)],
            "result",
        )
    }

    /// Orders at ACME authorities, by outcome: `transom_acme_orders_total{outcome}`.
    pub fn acme_orders(&self) -> Counters {
        self.counters(
            "transom_acme_orders_total",
            "Certificates that were asked of ACME authorities, by outcome.",
            &[],
            "outcome",
        )
    }

    /// The end of a certificate of these domains, by the first of them:
    /// `transom_acme_certificate_expiry_seconds{domain}`. Keep it, or it isn't shown.
    pub fn acme_expiry(&self, domain: &str) -> Gauge {
        self.gauge(
            "transom_acme_certificate_expiry_seconds",
            "When a certificate from an ACME authority ends, in seconds since 1970; 0 where there is none.",
            &[("domain", domain)],
        )
    }

    /// A counter by name (ending in `_total`) and labels. Keep it: to find it takes a lock.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        self.handles.counter(name, help, labels)
    }

    /// A gauge by name and labels. Keep it: one with labels is shown as long as it or a `Held` lives.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        self.handles.gauge(name, help, labels)
    }

    /// Counters that differ in the value of `label`, for values only known when they count.
    pub fn counters(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        label: &'static str,
    ) -> Counters {
        self.handles.counters(name, help, labels, label)
    }

    /// Everything in the Prometheus text format (`text/plain; version=0.0.4`). It sums some hundred numbers a
    /// method and reads `/proc`: about 10 us a method that has had calls, so not on a worker.
    pub fn render(&self) -> String {
        let mut page = Text::default();
        self.render_counts(&mut page);
        process::render(&mut page);
        page.finish()
    }

    fn render_counts(&self, page: &mut Text) {
        let known: Vec<Arc<Series>> = {
            let methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
            methods.by_name.values().cloned().collect()
        };
        let mut used = Vec::new();
        let mut left_out = 0_u64;
        for series in known {
            match series.totals() {
                None => (),
                Some(_) if SERIES_SHOWN_MAX <= used.len() => left_out += 1,
                Some(totals) => {
                    used.push((text::labels(&[("api", series.api()), ("method", series.method())]), totals));
                }
            }
        }
        render_methods(page, &used);
        page.family(
            "transom_methods_left_out",
            Type::Gauge,
            "Methods with calls that are not on this page: it shows at most 10000.",
        );
        page.sample("transom_methods_left_out", "", left_out);
        polls::render(&self.polls, page);
        self.handles.render(page);
        page.family("transom_build_info", Type::Gauge, "The version of the program.");
        page.sample("transom_build_info", &text::labels(&[("version", env!("CARGO_PKG_VERSION"))]), 1);
    }
}

/// The series of all methods, those of earlier snapshots too: a total must not fall because a method was
/// unpublished and published again.
#[derive(Debug, Default)]
struct Methods {
    /// By API and method.
    by_name: BTreeMap<(Arc<str>, Arc<str>), Arc<Series>>,
    look_ups: u64,
    /// The number of series below which a search for some to forget is not worth its time.
    search_from: usize,
}

impl Methods {
    fn series(&mut self, api: &str, method: &str, workers: usize) -> Arc<Series> {
        self.look_ups += 1;
        let key = (Arc::<str>::from(api), Arc::<str>::from(method));
        if !self.by_name.contains_key(&key) && self.search_from.max(SERIES_MAX) <= self.by_name.len() {
            self.forget_some();
        }
        let series = self.by_name.entry(key).or_insert_with_key(|(api, method)| {
            Arc::new(Series::new(Arc::clone(api), Arc::clone(method), workers))
        });
        series.looked_up.store(self.look_ups, Ordering::Relaxed);
        Arc::clone(series)
    }

    /// Forgets the oldest of the series that nobody holds, an eighth of all at a time. What is published is
    /// held, and bounded by the registry.
    fn forget_some(&mut self) {
        let looked_up = |series: &Arc<Series>| series.looked_up.load(Ordering::Relaxed);
        let unheld = |series: &Arc<Series>| Arc::strong_count(series) == 1;
        let mut oldest: Vec<u64> =
            self.by_name.values().filter(|series| unheld(series)).map(looked_up).collect();
        oldest.sort_unstable();
        if let Some(newest) = oldest.get((SERIES_MAX / 8).min(oldest.len().saturating_sub(1))) {
            self.by_name.retain(|_, series| !unheld(series) || *newest < looked_up(series));
        }
        self.search_from = self.by_name.len() + SERIES_MAX / 8;
    }
}

fn render_methods(page: &mut Text, used: &[(String, Totals)]) {
    page.family("transom_calls_total", Type::Counter, "Calls that ended, by dialect and gRPC code.");
    for (labels, totals) in used {
        for (dialect, calls) in Dialect::ALL.iter().zip(&totals.calls) {
            for (code, count) in Code::ALL.iter().zip(calls).filter(|(_, count)| **count != 0) {
                let (dialect, code) = (dialect.name(), code.name());
                let labels = format!("{labels},dialect=\"{dialect}\",code=\"{code}\"");
                page.sample("transom_calls_total", &labels, count);
            }
        }
    }
    let name = "transom_call_duration_seconds";
    page.family(name, Type::Histogram, "Time from the head of the request to the end of the reply.");
    for (labels, totals) in used {
        let bounds = DURATION_BOUNDS.iter().map(|(_, text)| *text);
        let sum = format!("{}.{:06}", totals.duration_us / 1_000_000, totals.duration_us % 1_000_000);
        page.histogram(name, labels, (bounds, &totals.duration), sum);
    }
    let name = "transom_request_bytes";
    page.family(name, Type::Histogram, "Bytes of the request body of a call, as the client sent it.");
    for (labels, totals) in used {
        page.histogram(name, labels, (SIZE_BOUNDS.into_iter(), &totals.request_sizes), totals.request_bytes);
    }
    let name = "transom_reply_bytes";
    page.family(name, Type::Histogram, "Bytes of the reply body of a call, as the client got it.");
    for (labels, totals) in used {
        page.histogram(name, labels, (SIZE_BOUNDS.into_iter(), &totals.reply_sizes), totals.reply_bytes);
    }
    let name = "transom_messages_total";
    page.family(name, Type::Counter, "Messages of calls that ended.");
    for (labels, totals) in used {
        page.sample(name, &format!("{labels},direction=\"request\""), totals.request_messages);
        page.sample(name, &format!("{labels},direction=\"reply\""), totals.reply_messages);
    }
    page.family("transom_open_calls", Type::Gauge, "Calls that have not ended.");
    for (labels, totals) in used {
        page.sample("transom_open_calls", labels, totals.open());
    }
}

const UNKNOWN_METHOD: &str = "unknown";
/// Series above which those that nobody holds are forgotten.
const SERIES_MAX: usize = 100_000;
/// Methods on one page, at about 5 KB each: 50 MB are as much as a scrape should be.
const SERIES_SHOWN_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::ANYWHERE;
    use crate::observe::Ended;
    use std::path::Path;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    fn ended(dialect: Dialect, code: Code) -> Ended {
        Ended {
            dialect,
            code,
            duration: Duration::from_micros(1_500),
            request_bytes: 100,
            reply_bytes: 1 << 30,
            request_messages: 1,
            reply_messages: 3,
        }
    }

    fn counts(metrics: &Metrics) -> String {
        let mut page = Text::default();
        metrics.render_counts(&mut page);
        page.finish().replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }

    /// The value of one sample, where the page has it.
    fn sample(page: &str, name: &str) -> Option<u64> {
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    #[test]
    fn renders_the_golden_page() {
        let metrics = Metrics::new(2);
        let pets = metrics.series("pets", "/pets.v1.PetStore/GetPet");
        let idle = metrics.series("pets", "/pets.v1.PetStore/Idle");
        for (worker, dialect, code) in
            [(0, Dialect::Grpc, Code::Ok), (1, Dialect::Rest, Code::NotFound), (1, Dialect::Grpc, Code::Ok)]
        {
            pets.started(worker);
            pets.ended(worker, &ended(dialect, code));
        }
        pets.started(0);
        metrics.unknown().started(0);
        metrics.unknown().ended(0, &ended(Dialect::Plain, Code::Unimplemented));
        metrics.series("odd\"\\\n", "/a.B/C").started(ANYWHERE);
        metrics.refusals.increment("no_route");
        metrics.client_resets.increment("cancel");
        let listener = metrics.listener("plain");
        let _connection = listener.connections.hold();
        listener.accepted.increment();
        listener.refused.increment("limit");
        let endpoint = metrics.endpoint("pets", "127.0.0.1:50051");
        let _pooled = endpoint.connections.hold();
        endpoint.connects.increment("ok");
        metrics.upstream_retries("pets").increment("unavailable");
        metrics.shadow_messages("pets", "canary").increment("failed");
        metrics.snapshot_generation.set(7);
        metrics.access_lines_dropped.add(2);
        metrics.polls(0).unwrap().took(Duration::from_micros(40));
        metrics.polls(1).unwrap().took(Duration::from_micros(700));
        assert!(metrics.polls(2).is_none(), "that is no worker");
        let page = counts(&metrics);
        drop(idle);

        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/observe/golden/metrics.txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
            std::fs::write(&golden, &page).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap();
        assert!(page == expected, "{} differs; BLESS=1 rewrites it. Got:\n{page}", golden.display());
    }

    #[test]
    fn totals_survive_a_change_of_snapshots() {
        let metrics = Metrics::new(1);
        let old = metrics.series("pets", "/p.S/M");
        old.started(0);
        old.ended(0, &ended(Dialect::Grpc, Code::Ok));
        let new = metrics.series("pets", "/p.S/M");
        assert!(Arc::ptr_eq(&old, &new));
        assert!(!Arc::ptr_eq(&old, &metrics.series("pets-next", "/p.S/M")));
        drop((old, new));
        let name = r#"transom_calls_total{api="pets",method="/p.S/M",dialect="grpc",code="OK"}"#;
        assert_eq!(sample(&counts(&metrics), name), Some(1), "nobody holds it, yet it counts");
        let again = metrics.series("pets", "/p.S/M");
        again.started(0);
        again.ended(0, &ended(Dialect::Grpc, Code::Ok));
        assert_eq!(sample(&counts(&metrics), name), Some(2));
    }

    #[test]
    fn only_the_oldest_series_that_nobody_holds_are_forgotten_and_only_above_the_limit() {
        let metrics = Metrics::new(1);
        let name = |n: usize| format!("/p.S/{n}");
        let known = || metrics.methods.lock().unwrap().by_name.len();
        let held = metrics.series("a", &name(0));
        held.started(0);
        for n in 1..SERIES_MAX - 1 {
            metrics.series("a", &name(n));
        }
        assert_eq!(known(), SERIES_MAX, "with the unknown one");
        metrics.series("a", &name(1)).started(0);
        metrics.series("a", &name(1));
        assert_eq!(known(), SERIES_MAX, "known ones need no room");
        metrics.series("a", "one more");
        assert_eq!(known(), SERIES_MAX - SERIES_MAX / 8);
        assert!(Arc::ptr_eq(&held, &metrics.series("a", &name(0))));
        let page = counts(&metrics);
        assert_eq!(sample(&page, r#"transom_open_calls{api="a",method="/p.S/1"}"#), Some(1), "used last");
    }

    #[test]
    fn a_page_is_bounded() {
        let metrics = Metrics::new(1);
        for n in 0..SERIES_SHOWN_MAX + 2 {
            metrics.series("a", &format!("{n:05}")).started(ANYWHERE);
        }
        let page = counts(&metrics);
        assert_eq!(sample(&page, "transom_methods_left_out"), Some(2));
        assert_eq!(page.matches("transom_open_calls{").count(), SERIES_SHOWN_MAX);
    }

    #[test]
    fn scrapes_while_workers_count_are_never_ahead_and_the_sums_are_right() {
        const WORKERS: usize = 4;
        const CALLS: u64 = 20_000;
        let metrics = Metrics::new(WORKERS);
        let series = metrics.series("a", "m");
        let done = AtomicBool::new(false);
        let name = r#"transom_calls_total{api="a",method="m",dialect="connect",code="ABORTED"}"#;
        std::thread::scope(|scope| {
            let scraper = scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Acquire) {
                    let page = counts(&metrics);
                    let calls = sample(&page, name).unwrap_or(0);
                    assert!(last <= calls, "a counter fell");
                    last = calls;
                    let open = sample(&page, r#"transom_open_calls{api="a",method="m"}"#).unwrap_or(0);
                    let total = (WORKERS as u64 + 2) * CALLS;
                    assert!(open <= total && calls <= total);
                }
            });
            // The last two are no workers and share a cell.
            let tellers: Vec<_> = (0..WORKERS + 2)
                .map(|worker| {
                    let series = &series;
                    scope.spawn(move || {
                        for _ in 0..CALLS {
                            series.started(worker);
                            series.ended(worker, &ended(Dialect::Connect, Code::Aborted));
                        }
                    })
                })
                .collect();
            for teller in tellers {
                teller.join().unwrap();
            }
            done.store(true, Ordering::Release);
            scraper.join().unwrap();
        });
        let page = counts(&metrics);
        let calls = (WORKERS as u64 + 2) * CALLS;
        assert_eq!(sample(&page, name), Some(calls));
        assert_eq!(sample(&page, r#"transom_open_calls{api="a",method="m"}"#), Some(0));
        assert_eq!(sample(&page, r#"transom_call_duration_seconds_count{api="a",method="m"}"#), Some(calls));
        assert_eq!(sample(&page, r#"transom_request_bytes_sum{api="a",method="m"}"#), Some(100 * calls));
        let name = r#"transom_messages_total{api="a",method="m",direction="reply"}"#;
        assert_eq!(sample(&page, name), Some(3 * calls));
    }

    #[test]
    fn a_page_obeys_the_format() {
        let metrics = Metrics::new(1);
        metrics.series("a", "m").started(0);
        let page = metrics.render();
        let mut families = std::collections::HashSet::new();
        let mut family = "";
        for line in page.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                family = kind.split(' ').next().unwrap();
                assert!(families.insert(family), "{family} twice");
                assert_eq!(kind.ends_with(" counter"), family.ends_with("_total"), "{line}");
            } else if !line.starts_with('#') {
                assert!(line.starts_with(family), "{line} in {family}");
                let (_, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(page.ends_with('\n'));
    }
}

//! Counters and gauges that their callers keep: found once by name and labels, then one atomic each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use super::text;
use super::text::Text;
use super::text::Type;

/// Only grows. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<Value>);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What has been counted.
    pub fn value(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down. Clones are one gauge.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<Value>);

impl Gauge {
    /// Replaces the value. A gauge is either set or held, never both.
    pub fn set(&self, value: u64) {
        self.0.0.store(value, Ordering::Relaxed);
    }

    /// Adds one until what it returns is dropped.
    pub fn hold(&self) -> Held {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        Held(self.clone())
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }
}

/// One that a gauge counts as long as this lives.
#[derive(Debug)]
pub struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counters that differ in the value of one label, which is found without a lock. The values are few and
/// known to the program: after `VALUES_MAX` of them, the rest are counted as `other`.
#[derive(Debug, Clone)]
pub struct Counters(Arc<Inner>);

impl Counters {
    /// Adds one to the counter of `value`.
    pub fn increment(&self, value: &'static str) {
        self.of(value).increment();
    }

    /// The counter of `value`.
    pub fn of(&self, value: &'static str) -> &Counter {
        for slot in &self.0.slots {
            let (known, counter) = slot.get_or_init(|| (value, self.0.counter(value)));
            if *known == value {
                return counter;
            }
        }
        self.0.other.get_or_init(|| self.0.counter(OTHER))
    }
}

#[derive(Debug)]
struct Inner {
    handles: Arc<Handles>,
    name: &'static str,
    help: &'static str,
    fixed: Vec<(&'static str, String)>,
    label: &'static str,
    slots: [OnceLock<(&'static str, Counter)>; VALUES_MAX],
    other: OnceLock<Counter>,
}

impl Inner {
    fn counter(&self, value: &str) -> Counter {
        let mut labels: Vec<_> = self.fixed.iter().map(|(name, value)| (*name, value.as_str())).collect();
        labels.push((self.label, value));
        self.handles.counter(self.name, self.help, &labels)
    }
}

/// All families of counters and gauges, by name.
#[derive(Debug, Default)]
pub(super) struct Handles(Mutex<BTreeMap<&'static str, Family>>);

impl Handles {
    pub(super) fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        Counter(self.value(name, help, Type::Counter, labels))
    }

    pub(super) fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Gauge {
        Gauge(self.value(name, help, Type::Gauge, labels))
    }

    pub(super) fn counters(
        self: &Arc<Self>,
        name: &'static str,
        help: &'static str,
        fixed: &[(&'static str, &str)],
        label: &'static str,
    ) -> Counters {
        Counters(Arc::new(Inner {
            handles: Arc::clone(self),
            name,
            help,
            fixed: fixed.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            label,
            slots: [const { OnceLock::new() }; VALUES_MAX],
            other: OnceLock::new(),
        }))
    }

    pub(super) fn render(&self, page: &mut Text) {
        for (name, family) in &mut *self.lock() {
            family.forget_gauges();
            if family.sets.is_empty() {
                continue;
            }
            page.family(name, family.kind, family.help);
            for (labels, set) in &family.sets {
                page.sample(name, labels, set.value.0.load(Ordering::Relaxed));
            }
        }
    }

    fn value(
        &self,
        name: &'static str,
        help: &'static str,
        kind: Type,
        labels: &[(&'static str, &str)],
    ) -> Arc<Value> {
        let mut families = self.lock();
        let family = families.entry(name).or_insert_with(|| Family {
            kind,
            help,
            sets: BTreeMap::new(),
            look_ups: 0,
            search_from: 0,
        });
        debug_assert_eq!(family.kind, kind, "{name} is one kind of metric");
        family.value(labels)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Family {
    kind: Type,
    help: &'static str,
    /// By labels as text.
    sets: BTreeMap<String, Set>,
    look_ups: u64,
    /// The look-up before which a search for sets to forget is not worth its time.
    search_from: u64,
}

#[derive(Debug)]
struct Set {
    value: Arc<Value>,
    looked_up: u64,
}

/// Two in one pair of cache lines would slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Value(AtomicU64);

impl Family {
    fn value(&mut self, labels: &[(&'static str, &str)]) -> Arc<Value> {
        let mut key = text::labels(labels);
        if SETS_MAX <= self.sets.len() && !self.sets.contains_key(&key) && !self.forget_some() {
            let other: Vec<_> = labels.iter().map(|(name, _)| (*name, OTHER)).collect();
            key = text::labels(&other);
        }
        self.look_ups += 1;
        let set = self.sets.entry(key).or_insert_with(|| Set { value: Arc::default(), looked_up: 0 });
        set.looked_up = self.look_ups;
        Arc::clone(&set.value)
    }

    /// A labelled gauge that nobody holds any more tells of something that is gone.
    fn forget_gauges(&mut self) {
        if self.kind == Type::Gauge {
            self.sets.retain(|labels, set| labels.is_empty() || set.is_held());
        }
    }

    /// Makes room: forgets the oldest of the sets that nobody holds, an eighth of all at a time so that the
    /// search for them is rare. False if there is none.
    fn forget_some(&mut self) -> bool {
        if self.look_ups < self.search_from {
            return false;
        }
        self.search_from = self.look_ups + SETS_MAX as u64 / 8;
        self.forget_gauges();
        let mut unheld: Vec<_> =
            self.sets.values().filter(|set| !set.is_held()).map(|set| set.looked_up).collect();
        unheld.sort_unstable();
        if let Some(newest) = unheld.get((SETS_MAX / 8).min(unheld.len().saturating_sub(1))) {
            self.sets.retain(|_, set| set.is_held() || *newest < set.looked_up);
        }
        self.sets.len() < SETS_MAX
    }
}

impl Set {
    /// Handles are only made under the lock that the asker has, so a count of one stays one.
    fn is_held(&self) -> bool {
        1 < Arc::strong_count(&self.value)
    }
}

/// Values of the varying label of `Counters`.
const VALUES_MAX: usize = 48;
/// Label sets of one family. Endpoints come and go with discovery; a family must not grow with them.
pub(super) const SETS_MAX: usize = 10_000;
const OTHER: &str = "other";

#[cfg(test)]
mod tests {
    use super::*;

    fn page(handles: &Handles) -> String {
        let mut page = Text::default();
        handles.render(&mut page);
        page.finish()
    }

    #[test]
    fn one_identity_is_one_counter() {
        let handles = Handles::default();
        handles.counter("a_total", "help", &[("x", "1")]).add(2);
        handles.counter("a_total", "help", &[("x", "1")]).add(3);
        handles.counter("a_total", "help", &[("x", "2")]).increment();
        let expected =
            "# HELP a_total help\n# TYPE a_total counter\na_total{x=\"1\"} 5\na_total{x=\"2\"} 1\n";
        assert_eq!(page(&handles), expected);
    }

    #[test]
    fn a_gauge_falls_when_what_it_holds_goes_and_vanishes_with_its_last_handle() {
        let handles = Handles::default();
        let gauge = handles.gauge("g", "help", &[("x", "1")]);
        let (first, second) = (gauge.hold(), gauge.hold());
        drop(first);
        assert_eq!(gauge.value(), 1);
        drop(gauge);
        assert!(page(&handles).contains("g{x=\"1\"} 1\n"), "the second still holds it");
        drop(second);
        assert_eq!(page(&handles), "");
    }

    #[test]
    fn a_family_is_bounded_and_forgets_the_oldest_that_nobody_holds() {
        let handles = Handles::default();
        let name = |n: usize| n.to_string();
        let held = handles.counter("a_total", "", &[("x", &name(0))]);
        for n in 1..SETS_MAX + 1 {
            handles.counter("a_total", "", &[("x", &name(n))]).increment();
        }
        held.increment();
        let text = page(&handles);
        assert!(text.lines().count() <= SETS_MAX + 2);
        assert!(text.contains("{x=\"0\"} 1\n"), "held");
        assert!(!text.contains("{x=\"1\"}"), "the oldest");
        assert!(text.contains(&format!("{{x=\"{SETS_MAX}\"}} 1\n")), "the newest");
    }

    #[test]
    fn a_family_whose_sets_are_all_held_counts_the_rest_as_other() {
        let handles = Handles::default();
        let gauges: Vec<_> =
            (0..SETS_MAX).map(|n| handles.gauge("g", "", &[("x", &n.to_string()), ("y", "")])).collect();
        let (one, two) = (
            handles.gauge("g", "", &[("x", "a"), ("y", "")]),
            handles.gauge("g", "", &[("x", "b"), ("y", "")]),
        );
        let _held = (one.hold(), two.hold(), gauges[7].hold());
        let text = page(&handles);
        assert!(text.contains("g{x=\"other\",y=\"other\"} 2\n"));
        assert!(text.contains("g{x=\"7\",y=\"\"} 1\n"));
        assert_eq!(text.lines().count(), SETS_MAX + 3);
    }

    #[test]
    fn counters_find_their_value_and_are_bounded() {
        let handles = Arc::new(Handles::default());
        let counters = handles.counters("r_total", "", &[("a", "b")], "why");
        let same = handles.counters("r_total", "", &[("a", "b")], "why");
        let names: Vec<&'static str> =
            (0..VALUES_MAX + 2).map(|n| &*Box::leak(n.to_string().into_boxed_str())).collect();
        for name in &names {
            counters.increment(name);
        }
        same.increment("0");
        assert_eq!(counters.of("0").value(), 2);
        let text = page(&handles);
        assert!(text.contains("r_total{a=\"b\",why=\"0\"} 2\n"));
        assert!(text.contains("r_total{a=\"b\",why=\"other\"} 2\n"));
        assert_eq!(text.lines().count(), 2 + VALUES_MAX + 1);
    }
}

//! Keeps one certificate good: orders it, renews it in time, and tries again after failures.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use crate::observe::Counters;
use crate::observe::Gauge;
use crate::outbound::acme::certificate::Issued;
use crate::outbound::acme::certificate::Slot;
use crate::outbound::acme::schedule::Backoff;
use crate::outbound::acme::schedule::Pace;
use crate::outbound::acme::schedule::renewal;

/// Who issues certificates, and where the last one is kept.
pub(super) trait Authority: Send + Sync + 'static {
    /// Orders a certificate, keeps it, and returns it. `way` is tried where the authority offers it.
    fn order(self: Arc<Self>, way: Way) -> impl Future<Output = Result<Issued, Failure>> + Send;

    /// The certificate that is kept, by this process or another one. It blocks.
    fn stored(&self) -> Option<Issued>;
}

/// How a domain is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// TLS-ALPN-01 (RFC 8737): the listener itself is asked.
    TlsAlpn,
    /// HTTP-01 (RFC 8555, section 8.3): a listener in the clear is asked.
    Http,
}

impl Way {
    pub(super) fn other(self) -> Self {
        match self {
            Self::TlsAlpn => Self::Http,
            Self::Http => Self::TlsAlpn,
        }
    }
}

/// Why there is no new certificate.
#[derive(Debug)]
pub(super) struct Failure {
    /// In a word, for metrics.
    pub(super) outcome: &'static str,
    pub(super) why: String,
    /// When the authority wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(outcome: &'static str, why: impl Into<String>) -> Self {
        Self { outcome, why: why.into(), retry_after: None }
    }

    pub(super) fn of_store(error: &std::io::Error) -> Self {
        Self::new("store_failed", format!("the account can't be kept: {error}"))
    }

    /// What the operator can do.
    fn help(&self) -> &'static str {
        match self.outcome {
            "unreachable" | "timeout" => {
                "see whether the directory's server can be reached from here, and `acme.ca`"
            }
            "challenge_failed" => {
                "see whether each domain's port 443 reaches this listener, or port 80 one in the clear"
            }
            "rate_limited" => "the authority wants fewer orders; nothing is to be done but wait",
            "refused" => "see what the authority says against the domains and the account",
            "store_failed" => "let the gateway write the files of `acme.path`",
            _ => "see whether `acme.directory` is the URL of an ACME directory",
        }
    }
}

/// Where the task gets time and chance from.
pub(super) struct World {
    pub(super) now: Box<dyn Fn() -> SystemTime + Send + Sync>,
    /// From 0 to 1.
    pub(super) random: Box<dyn Fn() -> f64 + Send + Sync>,
}

/// What is told about one certificate.
pub(super) struct Told {
    pub(super) outcomes: Counters,
    /// When the certificate ends, in seconds since 1970; 0 where there is none.
    pub(super) expiry: Gauge,
}

/// One certificate's task.
pub(super) struct Keeper<A> {
    pub(super) authority: Arc<A>,
    pub(super) slot: Arc<Slot>,
    pub(super) pace: Pace,
    pub(super) told: Told,
    pub(super) world: World,
}

impl<A: Authority> Keeper<A> {
    /// Goes on until it is dropped. `stored` is the certificate that the slot has already.
    pub(super) async fn run(self, stored: Option<Issued>) {
        let mut due = stored.map(|stored| self.take(&stored));
        let (mut way, mut backoff) = (Way::TlsAlpn, Backoff::default());
        loop {
            if let Some(at) = due {
                self.wait_until(at).await;
                // Another gateway on the same directory may have been first.
                if let Some(theirs) = self.renewed_elsewhere().await {
                    due = Some(self.take(&theirs));
                    continue;
                }
            }
            match self.authority.clone().order(way).await {
                Ok(issued) => {
                    self.told.outcomes.increment("issued");
                    backoff.reset();
                    due = Some(self.take(&issued));
                    tracing::info!(domains = %self.domains(), "a certificate was issued");
                }
                Err(failure) => {
                    self.told.outcomes.increment(failure.outcome);
                    if failure.outcome == "challenge_failed" {
                        way = way.other();
                    }
                    let wait = backoff.next(self.pace, failure.retry_after, (self.world.random)());
                    self.tell(&failure, wait);
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Serves a certificate, and says when it is to be renewed.
    fn take(&self, issued: &Issued) -> SystemTime {
        self.slot.put(issued);
        let until = issued.valid.until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.told.expiry.set(until.as_secs());
        renewal(issued.valid, (self.world.random)())
    }

    /// Looks at the clock again and again: it may be set, and the machine may sleep.
    async fn wait_until(&self, at: SystemTime) {
        while let Ok(left) = at.duration_since((self.world.now)())
            && !left.is_zero()
        {
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
    }

    /// A certificate in the store that isn't due yet.
    async fn renewed_elsewhere(&self) -> Option<Issued> {
        let authority = self.authority.clone();
        let stored = tokio::task::spawn_blocking(move || authority.stored()).await.ok().flatten()?;
        // By the earliest time that it may be renewed at: the one that is due here is due by that as well.
        (renewal(stored.valid, 1.0) > (self.world.now)()).then_some(stored)
    }

    fn tell(&self, failure: &Failure, wait: Duration) {
        let serving =
            if self.slot.load().is_some() { "the one there is serves on" } else { "there is none yet" };
        tracing::warn!(
            domains = %self.domains(),
            outcome = failure.outcome,
            "no certificate was issued, {serving}: {}; it is tried again in {}s; {}",
            failure.why,
            wait.as_secs(),
            failure.help(),
        );
    }

    fn domains(&self) -> impl fmt::Display {
        self.slot.domains().join(", ")
    }
}

/// The longest sleep between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use tokio::time::Instant;

    use crate::observe::Metrics;
    use crate::outbound::acme::certificate::tests::domains;
    use crate::outbound::acme::certificate::tests::issued;

    /// An authority that answers as it was told to, and writes down when it was asked.
    struct Fake {
        start: Instant,
        answers: Mutex<VecDeque<Answer>>,
        asked: Mutex<Vec<(u64, Way)>>,
        told: tokio::sync::Notify,
        stored: Mutex<Option<Issued>>,
    }

    enum Answer {
        /// A certificate for so many seconds.
        Issue(u64),
        Fail(&'static str, Option<u64>),
    }

    impl Authority for Fake {
        async fn order(self: Arc<Self>, way: Way) -> Result<Issued, Failure> {
            self.asked.lock().unwrap().push((self.start.elapsed().as_secs(), way));
            self.told.notify_one();
            let answer = self.answers.lock().unwrap().pop_front();
            match answer {
                Some(Answer::Issue(lasts)) => Ok(lasting(self.start.elapsed(), lasts)),
                Some(Answer::Fail(outcome, retry_after)) => {
                    let retry_after = retry_after.map(Duration::from_secs);
                    Err(Failure { retry_after, ..Failure::new(outcome, "no") })
                }
                None => std::future::pending().await,
            }
        }

        fn stored(&self) -> Option<Issued> {
            self.stored.lock().unwrap().clone()
        }
    }

    fn began() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn lasting(from: Duration, lasts: u64) -> Issued {
        let from = began() + Duration::from_secs(from.as_secs());
        issued(&["a.test"], from, Duration::from_secs(lasts))
    }

    struct Run {
        fake: Arc<Fake>,
        slot: Arc<Slot>,
        metrics: Arc<Metrics>,
    }

    /// Runs until the authority was asked `times`.
    async fn run(answers: Vec<Answer>, stored: Option<Issued>, times: usize) -> Run {
        let start = Instant::now();
        let fake = Arc::new(Fake {
            start,
            answers: Mutex::new(answers.into()),
            asked: Mutex::default(),
            told: tokio::sync::Notify::new(),
            stored: Mutex::new(stored.clone()),
        });
        let slot = Arc::new(Slot::new(&domains(&["a.test"])));
        let metrics = Metrics::new(1);
        let keeper = Keeper {
            authority: fake.clone(),
            slot: slot.clone(),
            pace: Pace::default(),
            told: Told {
                outcomes: metrics.counters("transom_acme_orders_total", "x", &[], "outcome"),
                expiry: metrics.gauge("transom_acme_expiry", "x", &[("domain", "a.test")]),
            },
            world: World { now: Box::new(move || began() + start.elapsed()), random: Box::new(|| 0.0) },
        };
        let reached = async {
            while fake.asked.lock().unwrap().len() < times {
                fake.told.notified().await;
            }
        };
        tokio::select! {
            () = keeper.run(stored) => {}
            () = reached => {}
        }
        Run { fake, slot, metrics }
    }

    impl Run {
        fn asked(&self) -> Vec<(u64, Way)> {
            self.fake.asked.lock().unwrap().clone()
        }

        fn counted(&self, outcome: &str) -> bool {
            let line = format!("transom_acme_orders_total{{outcome=\"{outcome}\"}} 1\n");
            self.metrics.render().contains(&line)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_is_ordered_at_once_and_renewed_at_two_thirds_again_and_again() {
        let run = run(vec![Answer::Issue(9000), Answer::Issue(900)], None, 3).await;
        let way = Way::TlsAlpn;
        assert_eq!(run.asked(), [(0, way), (6000, way), (6600, way)]);
        assert!(run.slot.load().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_good_stored_certificate_serves_without_an_order_until_it_is_due() {
        let run = run(Vec::new(), Some(lasting(Duration::ZERO, 90 * 24 * 3600)), 1).await;
        assert_eq!(run.asked(), [(60 * 24 * 3600, Way::TlsAlpn)]);
        assert!(run.slot.load().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_and_the_certificate_in_service_stays() {
        let answers = vec![
            Answer::Issue(90),
            Answer::Fail("refused", None),
            Answer::Fail("rate_limited", Some(1000)),
            Answer::Fail("unreachable", None),
        ];
        let run = run(answers, None, 5).await;
        let times: Vec<u64> = run.asked().iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0, 60, 120, 1120, 1360]);
        assert!(run.slot.load().is_some(), "it has expired long ago, and is all there is");
        for outcome in ["issued", "refused", "rate_limited", "unreachable"] {
            assert!(run.counted(outcome), "{outcome}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_challenge_that_failed_makes_the_next_try_the_other_one() {
        let answers = vec![
            Answer::Fail("unreachable", None),
            Answer::Fail("challenge_failed", None),
            Answer::Fail("refused", None),
            Answer::Issue(900),
        ];
        let run = run(answers, None, 5).await;
        let ways: Vec<Way> = run.asked().iter().map(|(_, way)| *way).collect();
        assert_eq!(ways, [Way::TlsAlpn, Way::TlsAlpn, Way::Http, Way::Http, Way::Http]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_gateway_renewed_is_taken_without_an_order() {
        let start = Instant::now();
        let fake = Fake {
            start,
            answers: Mutex::default(),
            asked: Mutex::default(),
            told: tokio::sync::Notify::new(),
            stored: Mutex::new(Some(lasting(Duration::from_secs(500), 9000))),
        };
        let slot = Arc::new(Slot::new(&domains(&["a.test"])));
        let metrics = Metrics::new(1);
        let fake = Arc::new(fake);
        let keeper = Keeper {
            authority: fake.clone(),
            slot: slot.clone(),
            pace: Pace::default(),
            told: Told {
                outcomes: metrics.counters("transom_acme_orders_total", "x", &[], "outcome"),
                expiry: metrics.gauge("transom_acme_expiry", "x", &[("domain", "a.test")]),
            },
            world: World { now: Box::new(move || began() + start.elapsed()), random: Box::new(|| 0.0) },
        };
        let own = lasting(Duration::ZERO, 900);
        let _ = tokio::time::timeout(Duration::from_secs(6000), keeper.run(Some(own))).await;
        assert!(fake.asked.lock().unwrap().is_empty(), "the other's certificate is good until 6500 s");
        let theirs = fake.stored.lock().unwrap().clone().unwrap();
        assert!(Arc::ptr_eq(&slot.load().unwrap(), &theirs.key));
    }
}

//! The one thread that reads messages by the versions in the shadow.

use std::collections::HashMap;
use std::io;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use crate::observe::Metrics;
use crate::schema::Digest;
use crate::snapshot::shadow::Beside;
use crate::snapshot::shadow::Copy;
use crate::snapshot::shadow::Direction;
use crate::snapshot::shadow::QUEUE_MAX;
use crate::snapshot::shadow::Shadow;
use crate::snapshot::shadow::Watched;
use crate::snapshot::shadow::compare::Outcome;
use crate::snapshot::shadow::compare::Texts;
use crate::transcode::Plans;

/// All versions in shadows of the process, and the thread that reads for them. It starts with the first of
/// them, and ends when this drops.
pub struct Shadows {
    metrics: Arc<Metrics>,
    held: Arc<AtomicUsize>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashMap<Identity, Weak<Shadow>>,
    thread: Option<Thread>,
}

/// Names of API and label, and the version.
type Identity = (String, String, Digest);

struct Thread {
    /// The only one that lasts: with it the queue ends.
    queue: Arc<SyncSender<Job>>,
    ended: Arc<AtomicBool>,
    running: JoinHandle<()>,
}

/// A message to be read.
pub(super) struct Job {
    pub(super) watched: Arc<Watched>,
    pub(super) direction: Direction,
    pub(super) copy: Copy,
}

impl Shadows {
    /// None yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, held: Arc::default(), state: Mutex::default() }
    }

    /// The shadow of this API, label and version: the one there is, with what it saw, or a new one.
    pub(in crate::snapshot) fn of(
        &self,
        api: &str,
        label: &str,
        digest: Digest,
        plans: Arc<Plans>,
    ) -> Arc<Shadow> {
        let mut state = self.lock();
        state.known.retain(|_, shadow| shadow.strong_count() > 0);
        let identity = (api.to_owned(), label.to_owned(), digest);
        if let Some(shadow) = state.known.get(&identity).and_then(Weak::upgrade) {
            return shadow;
        }
        if state.thread.is_none() {
            match start(self.metrics.clone()) {
                Ok(thread) => state.thread = Some(thread),
                Err(error) => {
                    tracing::error!(%error, "no thread for what shadows read: they skip all messages")
                }
            }
        }
        let shadow = Arc::new(Shadow {
            api: api.into(),
            label: label.into(),
            digest,
            plans,
            counts: self.metrics.shadow_messages(api, label),
            read: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            failures: Mutex::default(),
            queue: state.thread.as_ref().map(|thread| Arc::downgrade(&thread.queue)).unwrap_or_default(),
            held: self.held.clone(),
        });
        state.known.insert(identity, Arc::downgrade(&shadow));
        shadow
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shadows {
    fn drop(&mut self) {
        let Some(Thread { queue, ended, running }) = self.lock().thread.take() else { return };
        ended.store(true, Ordering::Relaxed);
        drop(queue);
        // It is done with one message at most; what waits is let go.
        let _ = running.join();
    }
}

fn start(metrics: Arc<Metrics>) -> io::Result<Thread> {
    let (queue, jobs) = sync_channel(QUEUE_MAX);
    let ended = Arc::new(AtomicBool::new(false));
    let told = ended.clone();
    let running = std::thread::Builder::new()
        .name("transom-shadow".into())
        .spawn(move || run(&jobs, &told, &metrics))?;
    Ok(Thread { queue: Arc::new(queue), ended, running })
}

fn run(jobs: &Receiver<Job>, ended: &AtomicBool, metrics: &Metrics) {
    step_back();
    let mut texts = Texts::default();
    while let Ok(job) = jobs.recv() {
        if ended.load(Ordering::Relaxed) {
            return;
        }
        read(job, &mut texts, metrics);
    }
}

/// Lets workers go before this thread. On Linux a thread has a priority of its own, which those that it starts take
/// over; elsewhere this would slow all of them down.
pub(crate) fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "a thread beside the workers has their priority");
    }
}

fn read(job: Job, texts: &mut Texts, metrics: &Metrics) {
    let Job { watched, direction, copy } = job;
    let outcome = match &watched.beside {
        Beside::Fails(problem) => Outcome::Differs((*problem).to_owned()),
        Beside::Reads(beside) => {
            let compare = || texts.compare(&watched.serving, beside, direction, &copy.bytes);
            // The texts are emptied before each use, so it is no matter in which state they are left.
            catch_unwind(AssertUnwindSafe(compare)).unwrap_or_else(|_| {
                metrics.panics.increment();
                Outcome::Differs("reading it panicked: this is a bug of the gateway".into())
            })
        }
    };
    let shadow = &watched.shadow;
    match outcome {
        Outcome::Unread => return shadow.skipped(),
        Outcome::Alike => shadow.counts.increment("ok"),
        Outcome::Differs(problem) => {
            shadow.lock().add(&watched.method, direction, problem);
            shadow.counts.increment("failed");
        }
    }
    shadow.read.fetch_add(1, Ordering::Relaxed);
}

/// Half of the way to the lowest priority.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

#[cfg(test)]
impl Shadows {
    /// Waits until everything that was handed over is read; nothing is read after it.
    pub(crate) fn drain(&self) {
        let Some(Thread { queue, ended: _, running }) = self.lock().thread.take() else { return };
        drop(queue);
        running.join().unwrap();
    }
}

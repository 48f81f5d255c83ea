//! Frees the snapshots that no longer serve: beside the workers, since a large version takes a while.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::server::control::Control;
use crate::snapshot::Retired;
use crate::snapshot::Snapshot;

/// What no longer serves, as long as a worker or a call looks at it: whoever lets go last frees it.
#[derive(Default)]
pub(super) struct Retiring {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    snapshots: Vec<Arc<Snapshot>>,
    versions: Vec<Retired>,
}

impl Retiring {
    /// Takes the snapshot that served until now.
    pub(super) fn take(&self, snapshot: Arc<Snapshot>) {
        self.lock().snapshots.push(snapshot);
    }

    /// Frees what nobody looks at. Whether anything is left.
    fn sweep(&self) -> bool {
        let mut waiting = self.lock();
        let (mut free, mut looked_at) = (Vec::new(), Vec::new());
        for snapshot in std::mem::take(&mut waiting.snapshots) {
            match Arc::try_unwrap(snapshot) {
                Ok(snapshot) => waiting.versions.extend(snapshot.retire()),
                Err(snapshot) => looked_at.push(snapshot),
            }
        }
        waiting.snapshots = looked_at;
        for version in std::mem::take(&mut waiting.versions) {
            if version.is_idle() { &mut free } else { &mut waiting.versions }.push(version);
        }
        let is_left = !waiting.snapshots.is_empty() || !waiting.versions.is_empty();
        drop(waiting);
        drop(free);
        is_left
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Frees what each new snapshot leaves behind, until the runtime ends.
    pub(super) async fn free_retired(self: Arc<Self>) {
        let mut generations = self.generations();
        loop {
            let control = self.clone();
            // A panic there is reported by the runtime; what is left is looked at again.
            let sweep = tokio::task::spawn_blocking(move || control.retiring().sweep());
            let is_left = sweep.await.unwrap_or(true);
            if is_left {
                // Calls of an old version may last for days; only new ones are sure to be over soon.
                let _ = tokio::time::timeout(LOOK_EVERY, generations.changed()).await;
            } else if generations.changed().await.is_err() {
                return;
            }
        }
    }
}

/// How often calls of old versions are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

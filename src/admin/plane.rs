//! What the Admin API needs of the process, implemented by whoever assembles it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::admin::pb;
use crate::config::Config;
use crate::config::Report;
use crate::config::resource::Kind;
use crate::config::resource::Resource;
use crate::schema::Schema;
use crate::snapshot::Modules;
use crate::snapshot::Snapshot;
use crate::store::Batch;
use crate::store::Store;
use crate::store::StoreError;

/// The process, as the Admin API sees it. All calls block.
pub trait Plane: Send + Sync + 'static {
    /// Where resources live; `None` where the configuration names no store.
    fn store(&self) -> Option<Arc<dyn Store>>;

    /// What serves.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// The descriptors that labels point at.
    fn modules(&self) -> Modules;

    /// The resources of the store.
    fn resources(&self) -> Arc<Resources>;

    /// Decides on a change and makes it, one after the other: nothing else changes meanwhile. The change is built
    /// beside what serves; if that succeeds it is written down, and then served. Says the generation that serves.
    ///
    /// # Errors
    /// What `decide` says against it, or why it can't be built or written down: then nothing is changed.
    fn change(
        &self,
        decide: &mut dyn FnMut(&Standing<'_>) -> Result<Change, Refused>,
    ) -> Result<u64, Refused>;

    /// What the process does.
    fn status(&self) -> pb::GetStatusResponse;
}

/// What holds while a change is decided.
pub struct Standing<'a> {
    /// The configuration that serves.
    pub config: &'a Config,
    /// The resources of the store.
    pub resources: &'a Resources,
    /// The descriptors that labels point at.
    pub modules: &'a Modules,
    /// The store.
    pub store: &'a dyn Store,
    /// The generation that serves.
    pub generation: u64,
}

/// The resources of the store by kind and name.
pub type Resources = BTreeMap<(Kind, String), Stored>;

/// A resource of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The resource as the configuration reads it.
    pub resource: Resource,
    /// When it was changed last, in milliseconds since 1970.
    pub updated_ms: u64,
    /// Names this state.
    pub etag: String,
}

/// A change that was decided upon.
#[derive(Default)]
pub struct Change {
    /// Labels that are to point elsewhere: module, label, and what to; `None` takes a label away.
    pub labels: Vec<(String, String, Option<Schema>)>,
    /// What the resources of the store are to be, where they change.
    pub resources: Option<Resources>,
    /// Modules whose versions all go with the batch.
    pub gone: Vec<String>,
    /// What is to be written down.
    pub batch: Batch,
    /// Only says whether it could be made.
    pub dry_run: bool,
}

/// Why a change wasn't made.
pub enum Refused {
    /// The status says it.
    Status(Box<tonic::Status>),
    /// The configuration that it would give is at fault.
    Report(Report),
    /// The store can't do it.
    Store(StoreError),
}

impl From<tonic::Status> for Refused {
    fn from(status: tonic::Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Report> for Refused {
    fn from(report: Report) -> Self {
        Self::Report(report)
    }
}

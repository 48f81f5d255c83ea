//! The store of this process, opened once, with what it had at the start.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::admin;
use crate::admin::Resources;
use crate::config;
use crate::config::Config;
use crate::config::Report;
use crate::config::resource::Kind;
use crate::config::resource::Resource;
use crate::registry::Catalog;
use crate::server::control::environment;
use crate::server::pushed;
use crate::snapshot::Modules;
use crate::store::Embedded;
use crate::store::Store;
use crate::store::StoreError;

/// An open store.
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) store: Arc<dyn Store>,
    /// What labels pointed at when it was opened.
    pub(super) pushed: Modules,
    /// The resources that it had.
    pub(super) resources: Resources,
}

impl Opened {
    /// Opens the store at `path` and reads it.
    ///
    /// # Errors
    /// Where it can't be opened or read, or isn't what was written.
    pub(super) fn at(path: &Path) -> Result<Self, StoreError> {
        let store = Embedded::open(path)?;
        // What the disk changed would otherwise be missing, and the rest served as if that were all.
        store.check()?;
        let store: Arc<dyn Store> = Arc::new(store);
        let resources = admin::load(&*store)?;
        let pushed = pushed::read(&*store)?;
        Ok(Self { path: path.into(), store, pushed, resources })
    }

    /// Reads a configuration file with those of the resources in `left` that make no fault; the others are told, and
    /// taken out of it. One of them must not keep a gateway from starting: it is mended through the Admin API.
    ///
    /// # Errors
    /// Faults of the file.
    pub(super) fn load_sound(&self, path: &Path, left: &mut Resources) -> Result<Config, Report> {
        loop {
            match self.load(path, left, &[]) {
                Ok(config) => return Ok(config),
                Err(report) => shed(report, left)?,
            }
        }
    }

    /// Reads a configuration file with resources of the store, as if the modules `gone` weren't there any more.
    pub(super) fn load(&self, path: &Path, resources: &Resources, gone: &[String]) -> Result<Config, Report> {
        config::load_with(path, &environment, &self.with_modules(resources, gone))
    }

    /// Resources, and those modules that have versions and were never configured: APIs may name them.
    fn with_modules(&self, resources: &Resources, gone: &[String]) -> Vec<Resource> {
        let mut all: Vec<Resource> = resources.values().map(|stored| stored.resource.clone()).collect();
        let names = Catalog::new(&*self.store).modules(None, usize::MAX).unwrap_or_else(|error| {
            tracing::error!(%error, "the modules of the store can't be listed");
            Vec::new()
        });
        let unknown = names
            .into_iter()
            .filter(|name| !gone.contains(name) && !resources.contains_key(&(Kind::Module, name.clone())));
        all.extend(unknown.map(|name| Resource { kind: Kind::Module, name, text: "{}".into() }));
        all
    }
}

/// Takes the resources that are at fault out of `left`.
///
/// # Errors
/// The report, where none of them is.
pub(super) fn shed(report: Report, left: &mut Resources) -> Result<(), Report> {
    let before = left.len();
    for fault in report.faults() {
        if let Some((kind, name)) = fault.at.resource()
            && left.remove(&(kind, name.to_owned())).is_some()
        {
            tracing::error!(%fault, "a resource of the store is left out: mend it through the Admin API");
        }
    }
    if left.len() < before { Ok(()) } else { Err(report) }
}

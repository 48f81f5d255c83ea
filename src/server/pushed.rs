//! Reads the versions that labels point at from the store, at the start.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::registry::Catalog;
use crate::schema::Limits;
use crate::schema::Schema;
use crate::snapshot::Modules;
use crate::store::Store;
use crate::store::StoreError;

/// The modules of a store. A version that this Transom has something against is reported and left out: the others
/// serve on.
///
/// # Errors
/// Where the store can't be read.
pub(super) fn read(store: &dyn Store) -> Result<Modules, StoreError> {
    let catalog = Catalog::new(store);
    let labels = catalog.all_labels()?;
    let mut wanted: Vec<(&str, &str)> =
        labels.iter().map(|(module, _, digest)| (module.as_str(), digest.as_str())).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let (next, compiled) = (AtomicUsize::new(0), Mutex::new(HashMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                while let Some((module, digest)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(schema) = schema(&catalog, module, digest) {
                        let mut compiled = compiled.lock().unwrap_or_else(PoisonError::into_inner);
                        compiled.insert((*module, *digest), schema);
                    }
                }
            });
        }
    });
    let compiled = compiled.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut modules = Modules::new();
    for (module, label, digest) in &labels {
        if let Some(schema) = compiled.get(&(module.as_str(), digest.as_str())) {
            modules.entry(module.clone()).or_default().set(label, schema.clone());
        }
    }
    Ok(modules)
}

fn schema(catalog: &Catalog<'_>, module: &str, digest: &str) -> Option<Schema> {
    let version = match catalog.version(module, digest) {
        Ok(Some(version)) => version,
        Ok(None) => {
            tracing::error!(
                module,
                digest,
                "a label points at a version that is not in the store: push it again"
            );
            return None;
        }
        Err(error) => {
            tracing::error!(module, digest, %error, "a version can't be read");
            return None;
        }
    };
    match catalog.schema(&version, &Limits::default()) {
        Ok(schema) => Some(schema),
        Err(faults) => {
            let why = faults.first().map(ToString::to_string).unwrap_or_default();
            tracing::error!(module, digest, %why, "a version of the store is not served: push it again");
            None
        }
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

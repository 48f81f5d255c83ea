//! Whether the process can take calls.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;

/// Whether the process can take calls.
#[derive(Debug, Default)]
pub struct Readiness {
    loaded: AtomicBool,
    draining: AtomicBool,
    /// Modules whose server is yet to be asked for the first time.
    asking: AtomicU8,
    /// Probes have an address of their own.
    apart: AtomicBool,
}

impl Readiness {
    /// A snapshot serves.
    pub fn loaded(&self) {
        self.loaded.store(true, Ordering::Relaxed);
    }

    /// The process goes away.
    pub fn draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// This many modules are yet to be asked of their servers.
    pub fn asking(&self, modules: usize) {
        self.asking.store(u8::try_from(modules).unwrap_or(u8::MAX), Ordering::Relaxed);
    }

    /// Whether probes and metrics have an address of their own.
    pub fn status_apart(&self, apart: bool) {
        self.apart.store(apart, Ordering::Relaxed);
    }

    /// Why calls should go elsewhere; `None` when they may come.
    pub(super) fn hindered(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Some("draining");
        }
        if !self.loaded.load(Ordering::Relaxed) {
            return Some("no configuration is loaded yet");
        }
        (self.asking.load(Ordering::Relaxed) > 0).then_some("descriptors are still asked of their servers")
    }
}

impl Readiness {
    /// Whether probes and metrics have an address of their own, so that the Admin API's doesn't answer them.
    pub(super) fn is_status_apart(&self) -> bool {
        self.apart.load(Ordering::Relaxed)
    }
}

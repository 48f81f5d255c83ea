//! Counts and writes down what happens, and is only ever told: nothing here asks another room.
//!
//! The contract: telling costs a worker no lock, no shared cache line and no allocation after the first
//! call of a method; nothing that reads (a scrape, the access log's writer) ever holds a worker up. All of
//! it is bounded: series by what is published, labels by `SETS_MAX` a family, lines by `LINE_BYTES_MAX`
//! each and `Limits::queue_bytes` a worker. What does not fit is dropped and counted.
//!
//! A worker is told apart by its index below `Metrics::new(workers)`. Only one thread may tell as one
//! index; whoever runs elsewhere (tests, the control plane) tells as `ANYWHERE`.

pub mod access;
pub mod handle;
mod line;
pub mod metrics;
mod polls;
mod process;
pub mod series;
mod text;

use std::sync::Arc;

pub use access::AccessLog;
pub use access::Limits;
pub use access::Target;
pub use access::Unfinished;
pub use handle::Counter;
pub use handle::Counters;
pub use handle::Gauge;
pub use handle::Held;
pub use line::Entry;
pub use line::LINE_BYTES_MAX;
pub use metrics::EndpointMetrics;
pub use metrics::ListenerMetrics;
pub use metrics::Metrics;
pub use polls::Polls;
pub use series::ANYWHERE;
pub use series::Ended;
pub use series::Series;

/// Everything that is told about a process.
#[derive(Debug)]
pub struct Observe {
    /// Counters, gauges and histograms, for `/metrics`.
    pub metrics: Arc<Metrics>,
    /// One line a call, where it is wanted.
    pub access: Option<AccessLog>,
}

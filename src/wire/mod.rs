//! Protocol code that owns bytes and state only: no socket, no clock, no task; the caller feeds and asks.

pub mod coalesce;
pub mod compress;
pub mod frame;
pub mod h1_guard;
pub mod h2_guard;
pub mod h3_scan;
pub mod proxy;
pub mod send;

//! The gateway's own calls to others: bounded, timed, made by the control plane and never by a worker.

pub mod acme;

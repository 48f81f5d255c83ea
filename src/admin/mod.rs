//! The Admin API, and what probes and operators ask.
//!
//! [`Surface`] answers an address: probes and metrics by itself, all else by [`Api`], which stands behind a gateway
//! of its own, so that it speaks every dialect. Who may do what is decided by [`access`], before and in that
//! gateway. What changes something goes through [`Plane::change`], one change after the other.

pub mod access;
mod api;
mod audit;
mod audit_hash;
mod checks;
mod configuration;
mod desk;
mod diff;
mod faults;
mod json;
mod labels;
mod modules;
mod plane;
mod proto;
mod push;
mod reach;
mod readiness;
mod resources;
mod status;
mod stored;
mod surface;

pub use api::Api;
pub use api::NAME;
pub use api::own_configuration;
pub use api::own_schema;
pub use audit_hash::audit_hash;
pub use checks::sound;
pub use plane::Change;
pub use plane::Plane;
pub use plane::Refused;
pub use plane::Resources;
pub use plane::Standing;
pub use plane::Stored;
pub use proto::FILE_DESCRIPTOR_SET;
pub use proto::HttpBody;
pub use proto::pb;
pub use reach::check as reachable;
pub use readiness::Readiness;
pub use stored::load;
pub use surface::Door;
pub use surface::Scope;
pub use surface::Surface;

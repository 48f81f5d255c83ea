//! What a checked configuration says of the Admin API, who may use it, and where it keeps things.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::fault::At;
use crate::config::types::Tls;

/// The Admin API.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where that was written.
    pub address_at: At,
    /// One upload, in bytes.
    pub max_upload: u64,
    /// Speaks TLS; `None` is in the clear. Never with `acme`.
    pub tls: Option<Tls>,
    /// Who may use it by a bearer token. Without these and `clients` only loopback peers may.
    pub tokens: Vec<AdminToken>,
    /// Who may use it by a client certificate; only with `tls` that has `clients`.
    pub clients: Vec<AdminClient>,
    /// Names by which it may be asked besides IP addresses and `localhost`: lower case, no port, no final dot.
    pub hosts: Vec<String>,
    /// Origins of web pages that may call it, in lower case.
    pub origins: Vec<String>,
}

/// A bearer token of the Admin API.
#[derive(Clone)]
pub struct AdminToken {
    /// Where it was written.
    pub at: At,
    /// Its holder; unique among tokens.
    pub name: String,
    /// Of the token; unique among tokens.
    pub sha256: [u8; 32],
    /// What the holder may do.
    pub role: Role,
    /// To which modules: names in which `*` is any run of characters. Empty is to none.
    pub modules: Vec<String>,
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, name, role, modules, .. } = self;
        let mut out = f.debug_struct("AdminToken");
        out.field("at", at).field("name", name).field("role", role).field("modules", modules);
        out.finish_non_exhaustive()
    }
}

/// A client certificate of the Admin API.
#[derive(Debug, Clone)]
pub struct AdminClient {
    /// Where it was written.
    pub at: At,
    /// Its holder; unique among clients.
    pub name: String,
    /// A DNS name, URI or e-mail in its subjectAltName, exactly; unique among clients.
    pub san: String,
    /// What the holder may do.
    pub role: Role,
    /// To which modules: names in which `*` is any run of characters. Empty is to none.
    pub modules: Vec<String>,
}

/// What a caller of the Admin API may do; each may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Pushes and promotes versions of modules as well.
    Developer,
    /// Changes everything.
    Admin,
}

/// Where resources of the Admin API and uploads live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The file of the embedded store; made when absent.
    pub path: PathBuf,
    /// Where it was written.
    pub at: At,
}

//! Turns what is checked of the Admin API and its store into types.

use crate::config::build::address;
use crate::config::build::path;
use crate::config::build::size;
use crate::config::build::text;
use crate::config::build::texts;
use crate::config::build::tls::Named;
use crate::config::build::tls::tls;
use crate::config::host::HostPattern;
use crate::config::raw::Raw;
use crate::config::types::Admin;
use crate::config::types::AdminClient;
use crate::config::types::AdminToken;
use crate::config::types::Role;
use crate::config::types::Store;

pub(super) fn admin(raw: &Raw, named: &Named<'_>) -> Admin {
    let items = |name: &str| raw.get(name).map(Raw::items).unwrap_or_default().iter();
    let (address, address_at) = address(raw);
    Admin {
        address,
        address_at,
        max_upload: size(raw, "max_upload"),
        tls: raw.get("tls").map(|raw| tls(raw, named)),
        tokens: items("tokens").map(token).collect(),
        clients: items("clients").map(client).collect(),
        hosts: items("hosts").filter_map(|item| host(item.text()?)).collect(),
        origins: texts(raw, "origins").iter().map(|text| text.to_ascii_lowercase()).collect(),
    }
}

/// `None` where it lives elsewhere than in a file.
pub(super) fn store(raw: &Raw) -> Option<Store> {
    let embedded = raw.get("embedded")?;
    Some(Store { path: path(embedded, "path"), at: embedded.get("path").unwrap_or(embedded).at() })
}

fn host(text: &str) -> Option<String> {
    match HostPattern::parse(text) {
        Ok(HostPattern::Exact(name)) => Some(name),
        _ => None,
    }
}

fn token(raw: &Raw) -> AdminToken {
    let role = role(raw);
    AdminToken {
        at: raw.at(),
        name: text(raw, "name"),
        sha256: digest(&text(raw, "sha256")),
        role,
        modules: modules(raw, role),
    }
}

fn client(raw: &Raw) -> AdminClient {
    let role = role(raw);
    AdminClient {
        at: raw.at(),
        name: text(raw, "name"),
        san: text(raw, "san"),
        role,
        modules: modules(raw, role),
    }
}

fn role(raw: &Raw) -> Role {
    match text(raw, "role").as_str() {
        "admin" => Role::Admin,
        "developer" => Role::Developer,
        _ => Role::Viewer,
    }
}

/// Whoever may change versions of modules alone is told of which.
fn modules(raw: &Raw, role: Role) -> Vec<String> {
    match (raw.get("modules"), role) {
        (Some(_), _) => texts(raw, "modules"),
        (None, Role::Developer) => Vec::new(),
        (None, Role::Viewer | Role::Admin) => vec!["*".to_owned()],
    }
}

/// 64 hexadecimal digits, as was checked.
fn digest(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
    }
    out
}

//! Who may do what: tokens, client certificates and their roles, and whom a page in a browser can't make call.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;
use sha2::Digest;
use sha2::Sha256;

use crate::call::Call;
use crate::call::ClientName;
use crate::call::Connection;
use crate::call::Reason;
use crate::call::Refusal;
use crate::config::types::Admin;
use crate::config::types::Role;
use crate::policy::Check;
use crate::policy::Policy;

/// Somebody who may use the Admin API.
#[derive(Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name of the token or the client; `loopback` for this machine where there are neither.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Globs of the modules whose versions they may change.
    pub modules: Vec<String>,
}

impl Actor {
    /// Whether they may push to a module and move its labels.
    pub fn may_change(&self, module: &str) -> bool {
        Role::Developer <= self.role && self.modules.iter().any(|glob| matches(glob, module))
    }
}

/// Who is let in, by the configuration that serves.
#[derive(Debug)]
pub struct Access {
    /// By the SHA-256 of the token: looking one up takes no secret's time.
    tokens: HashMap<[u8; 32], Arc<Actor>>,
    /// By a name in the subjectAltName.
    clients: HashMap<String, Arc<Actor>>,
    /// By what the gateway itself says to the services behind.
    by_id: HashMap<String, Arc<Actor>>,
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// The access that holds, swapped with each configuration.
pub type Current = ArcSwap<Access>;

impl Access {
    /// What a configuration says.
    pub fn new(admin: &Admin) -> Self {
        let mut access = Self {
            tokens: HashMap::new(),
            clients: HashMap::new(),
            by_id: HashMap::new(),
            hosts: admin.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            origins: admin.origins.clone(),
        };
        let actor = |name: &String, role, modules: &Vec<String>| {
            Arc::new(Actor { name: name.clone(), role, modules: modules.clone() })
        };
        for token in &admin.tokens {
            let actor = actor(&token.name, token.role, &token.modules);
            access.by_id.insert(format!("token:{}", token.name), actor.clone());
            access.tokens.insert(token.sha256, actor);
        }
        for client in &admin.clients {
            let actor = actor(&client.name, client.role, &client.modules);
            access.by_id.insert(format!("client:{}", client.name), actor.clone());
            access.clients.insert(client.san.clone(), actor);
        }
        if access.is_open() {
            access.by_id.insert(LOOPBACK.into(), actor(&LOOPBACK.into(), Role::Admin, &vec!["*".into()]));
        }
        access
    }

    /// Whether nobody has a token or a certificate: then this machine alone may ask.
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.clients.is_empty()
    }

    /// The actor whom [`Gate`] told the service behind it.
    pub fn told(&self, metadata: &HeaderMap) -> Option<Arc<Actor>> {
        self.by_id.get(metadata.get(ACTOR)?.to_str().ok()?).cloned()
    }

    /// Why a peer isn't answered at all.
    pub fn stranger(&self, connection: &Connection) -> Option<&'static str> {
        let is_here = connection.peer.ip().to_canonical().is_loopback();
        (self.is_open() && !is_here)
            .then_some("without admin tokens only this machine is answered: set `admin.tokens`")
    }

    /// Why a request to the Admin API is not to be looked at: it was sent by a page in a browser that has no business
    /// here, or through a proxy to an API that is open to this machine.
    ///
    /// The Host check keeps out names that were bound to this machine's address anew (DNS rebinding), the Origin
    /// check requests that a page of somebody else makes its visitor send.
    pub fn intruder(&self, connection: &Connection, host: &str, headers: &HeaderMap) -> Option<&'static str> {
        if let Some(why) = self.stranger(connection) {
            return Some(why);
        }
        if self.is_open() && headers.keys().any(|name| is_of_a_proxy(name.as_str())) {
            return Some(
                "this came through a proxy, and without admin tokens only this machine is answered: set \
                 `admin.tokens`",
            );
        }
        if !self.knows_host(host) {
            return Some(
                "this host is not one of the Admin API: ask by an IP address or localhost, or add the name to \
                 `admin.hosts`",
            );
        }
        let is_foreign = match headers.get(header::ORIGIN) {
            Some(origin) => !self.knows_origin(origin, host),
            None => headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site"),
        };
        is_foreign.then_some("pages of other origins may not call the Admin API: see `admin.origins`")
    }

    fn knows_host(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        name.is_empty()
            || name == "localhost"
            || literal.parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|known| known == name)
    }

    fn knows_origin(&self, origin: &HeaderValue, host: &str) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        let own = ["http://", "https://"].iter().any(|scheme| origin.strip_prefix(scheme) == Some(host));
        own || self.origins.iter().any(|known| known == origin)
    }

    /// Who calls, and by which name the services behind know them.
    fn actor(&self, connection: &Connection, headers: &HeaderMap) -> Result<(Arc<Actor>, String), Refusal> {
        if self.is_open() {
            let loopback = self.by_id.get(LOOPBACK).cloned();
            return loopback.map(|actor| (actor, LOOPBACK.into())).ok_or_else(missing);
        }
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let token = bearer(value).ok_or_else(|| invalid("it is not of the form `Bearer TOKEN`"))?;
            let hash: [u8; 32] = Sha256::digest(token).into();
            let actor = self.tokens.get(&hash).ok_or_else(|| invalid("it is not a token of this gateway"))?;
            return Ok((actor.clone(), format!("token:{}", actor.name)));
        }
        let shown = connection.client_certificate().map(|client| client.names.as_slice()).unwrap_or_default();
        let actor = shown.iter().find_map(|name| match name {
            ClientName::Dns(name) | ClientName::Uri(name) | ClientName::Email(name) => {
                self.clients.get(&**name)
            }
            ClientName::Ip(_) => None,
        });
        let actor = actor.ok_or_else(missing)?;
        Ok((actor.clone(), format!("client:{}", actor.name)))
    }
}

/// The policy of the Admin API's own gateway: finds out who calls, and whether their role is enough.
#[derive(Debug)]
pub struct Gate {
    access: Arc<Current>,
}

impl Gate {
    /// A gate by the access that holds at each call.
    pub fn new(access: Arc<Current>) -> Self {
        Self { access }
    }
}

impl Policy for Gate {
    fn slot(&self) -> &'static str {
        "auth"
    }

    fn check(&self, call: &mut Call) -> Check {
        let access = self.access.load();
        let (actor, id) = match access.actor(&call.connection, &call.metadata) {
            Ok(found) => found,
            Err(refusal) => return Check::Refuse(Box::new(refusal)),
        };
        let needed = needed(&call.method.path);
        if actor.role < needed {
            let told = format!(
                "{} has the role {}, and {} wants the role {}",
                actor.name,
                Shown(actor.role),
                call.method.path,
                Shown(needed)
            );
            return Check::Refuse(Box::new(Refusal::new(Reason::AccessDenied, told)));
        }
        call.metadata.remove(header::AUTHORIZATION);
        // Whatever the client sent by that name is replaced.
        match HeaderValue::try_from(id) {
            Ok(id) => call.metadata.insert(ACTOR, id),
            Err(_) => call.metadata.remove(ACTOR),
        };
        Check::Pass
    }
}

/// The least role that a method wants. What changes nothing is for everyone who is let in.
fn needed(path: &str) -> Role {
    match path.rsplit_once('/') {
        Some((
            "/transom.admin.v1.Modules",
            "CreateVersion" | "Diff" | "Promote" | "Rollback" | "DeleteLabel",
        )) => Role::Developer,
        Some(("/transom.admin.v1.Resources", "PutResource" | "DeleteResource"))
        | Some(("/transom.admin.v1.Configuration", "ApplyConfig" | "ValidateConfig")) => Role::Admin,
        _ => Role::Viewer,
    }
}

/// The word of a role.
pub struct Shown(pub Role);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Role::Viewer => "viewer",
            Role::Developer => "developer",
            Role::Admin => "admin",
        })
    }
}

/// Whether a glob, in which `*` is any run of characters, fits a whole name.
fn matches(glob: &str, name: &str) -> bool {
    let Some((before, rest)) = glob.split_once('*') else { return glob == name };
    let Some(name) = name.strip_prefix(before) else { return false };
    // The shortest run for all but the last part leaves the most for what follows.
    let mut parts = rest.split('*').peekable();
    let mut name = name;
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return name.ends_with(part);
        }
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    true
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let value = value.as_bytes();
    let (scheme, token) = value.split_at_checked(BEARER.len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(BEARER) && !token.is_empty()).then_some(token)
}

fn missing() -> Refusal {
    let told = "send a token of the Admin API: authorization: Bearer TOKEN";
    Refusal::new(Reason::CredentialMissing, told).offering(OFFER)
}

fn invalid(why: &str) -> Refusal {
    Refusal::new(Reason::CredentialInvalid, format!("the token is not taken: {why}")).offering(OFFER)
}

fn is_of_a_proxy(name: &str) -> bool {
    matches!(name, "forwarded" | "via" | "x-real-ip") || name.starts_with("x-forwarded-")
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// How the services behind the gate are told who calls.
const ACTOR: HeaderName = HeaderName::from_static("transom-actor");
/// The name of whoever calls from this machine where there are no tokens.
const LOOPBACK: &str = "loopback";
const BEARER: &[u8] = b"Bearer ";
const OFFER: &str = "Bearer realm=\"transom admin\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_fit_whole_names() {
        for (glob, name, fits) in [
            ("*", "pets", true),
            ("*", "", true),
            ("pets", "pets", true),
            ("pets", "pets2", false),
            ("team-*", "team-a", true),
            ("team-*", "a-team-a", false),
            ("*-api", "pets-api", true),
            ("*-api", "pets-apis", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abcbc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a**a", "aa", true),
        ] {
            assert_eq!(matches(glob, name), fits, "{glob} {name}");
        }
    }

    #[test]
    fn a_bearer_is_read_whatever_its_case() {
        let read = |text: &str| bearer(&HeaderValue::from_str(text).unwrap()).map(<[u8]>::to_vec);
        assert_eq!(read("Bearer abc"), Some(b"abc".to_vec()));
        assert_eq!(read("bearer  abc "), Some(b"abc".to_vec()));
        assert_eq!(read("Basic abc"), None);
        assert_eq!(read("Bearer "), None);
        assert_eq!(read("B"), None);
    }

    #[test]
    fn each_method_that_changes_something_wants_a_role() {
        let pool =
            prost_reflect::DescriptorPool::decode(crate::admin::FILE_DESCRIPTOR_SET).expect("it is compiled");
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            let reads = ["Get", "List"].iter().any(|verb| method.name().starts_with(verb));
            assert_eq!(needed(&path) == Role::Viewer, reads, "{path}");
        }
    }
}

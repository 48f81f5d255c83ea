//! Checks between sections: names that exist, names alike, addresses that overlap.

mod modules;

use std::collections::HashMap;
use std::net::IpAddr;
use std::net::SocketAddr;

use crate::config::fault::Diag;
use crate::config::raw::Raw;
use crate::config::shape::Thing;

/// The names that a file defines.
pub(super) struct Names {
    lists: Vec<(Thing, Vec<String>, HashMap<String, u32>)>,
}

impl Names {
    /// Those of a tree that need not be checked yet.
    pub(super) fn gather(root: &Raw) -> Self {
        let things = [Thing::Module, Thing::Upstream, Thing::Consumer, Thing::Certificate];
        let lists = things.map(|thing| {
            let names: Vec<String> =
                named(root, thing.list_name()).map(|(name, _)| name.to_owned()).collect();
            let known = names.iter().map(|name| (name.clone(), 0)).collect();
            (thing, names, known)
        });
        Self { lists: lists.into() }
    }

    pub(super) fn has(&self, thing: Thing, name: &str) -> bool {
        self.lists.iter().any(|(of, _, known)| *of == thing && known.contains_key(name))
    }

    /// In file order.
    pub(super) fn of(&self, thing: Thing) -> impl Iterator<Item = &str> {
        self.lists
            .iter()
            .filter(move |(of, ..)| *of == thing)
            .flat_map(|(_, names, _)| names.iter().map(String::as_str))
    }
}

/// Reports what only shows between sections.
pub(super) fn check(root: &Raw, diag: &mut Diag) {
    for list in ["listeners", "certificates", "modules", "upstreams", "apis", "consumers"] {
        alike(named(root, list), list, diag);
    }
    if let Some(raw) = root.get("admin") {
        admin(raw, diag);
    }
    modules::check(root, diag);
    overlaps(root, diag);
    for listener in root.get("listeners").map(Raw::items).unwrap_or_default() {
        if let Some(http3) = listener.get("http3").filter(|http3| http3.boolean() == Some(true))
            && listener.get("tls").is_none()
        {
            diag.fault(&http3.at(), "HTTP/3 needs TLS", "give the listener `tls`, or leave `http3` out");
        }
    }
    nobody_trusted(root, diag);
    for slots in levels(root) {
        cookies_for_all(slots, diag);
    }
    for slot in root.get("enforced").map(Raw::entries).unwrap_or_default() {
        if slot.value().is_word("off") {
            diag.fault(&slot.value().at(), "an enforced slot can't be `off`", "leave it out");
        }
    }
}

/// A holder is known by one token or certificate, and one name.
fn admin(raw: &Raw, diag: &mut Diag) {
    for (list, key) in [("tokens", "sha256"), ("clients", "san")] {
        alike(named(raw, list), list, diag);
        let mut first = HashMap::new();
        for value in listed(raw, list).filter_map(|item| item.get(key)) {
            let Some(text) = value.text().map(str::to_ascii_lowercase) else { continue };
            if let Some(line) = first.insert(text, value.place.line) {
                let help = format!("the other one is on line {line}; each holder has one of its own");
                diag.fault(&value.at(), format!("two {list} have this `{key}`"), help);
            }
        }
    }
    let is_checked = raw.get("tls").is_some_and(|tls| tls.is_faulty() || tls.get("client_ca").is_some());
    if let Some(client) = listed(raw, "clients").next().filter(|_| !is_checked) {
        let help = "add `tls: { client_ca: ... }`, which says who signs their certificates";
        diag.fault(&client.at(), "no client can show a certificate here", help);
    }
}

/// Every place that has policy slots.
fn levels(root: &Raw) -> impl Iterator<Item = &Raw> {
    let all = ["policies", "enforced"].into_iter().filter_map(|name| root.get(name));
    let apis = root.get("apis").map(Raw::items).unwrap_or_default().iter();
    let of_apis = apis.flat_map(|api| {
        let methods = api.get("methods").map(Raw::entries).unwrap_or_default().iter();
        let of_methods = methods.filter_map(|method| method.value().get("policies"));
        api.get("policies").into_iter().chain(of_methods)
    });
    all.chain(of_apis)
}

/// With cookies every page there is would call as its visitor.
fn cookies_for_all(slots: &Raw, diag: &mut Diag) {
    let Some(cors) = slots.get("cors") else { return };
    if cors.get("credentials").and_then(Raw::boolean) != Some(true) {
        return;
    }
    let origins = cors.get("origins").map(Raw::items).unwrap_or_default();
    if let Some(every) = origins.iter().find(|origin| origin.is_word("*")) {
        let help =
            "list the origins, or leave `credentials` out: pages of any site would call as their visitor";
        diag.fault(&every.at(), "`*` can't stand beside `credentials: true`", help);
    }
}

/// Where PROXY headers are due and nobody may send one, nobody could connect.
fn nobody_trusted(root: &Raw, diag: &mut Diag) {
    let trusted = root.get("server").and_then(|server| server.get("trusted_proxies"));
    if trusted.is_some_and(|list| !list.items().is_empty()) {
        return;
    }
    let listeners = root.get("listeners").map(Raw::items).unwrap_or_default().iter();
    for asked in listeners.filter_map(|listener| listener.get("proxy_protocol")) {
        if asked.boolean() == Some(true) {
            let help = "list your proxies in `server`: `trusted_proxies: [\"10.0.0.0/8\"]`";
            diag.fault(&asked.at(), "no proxy is trusted to send PROXY headers", help);
        }
    }
}

fn alike<'a>(named: impl Iterator<Item = (&'a str, &'a Raw)>, list: &str, diag: &mut Diag) {
    let mut first: HashMap<&str, &Raw> = HashMap::new();
    for (name, raw) in named {
        if let Some(other) = first.get(name) {
            let help = format!("the other one is {}; names are unique", other.place.whereabouts());
            diag.fault(&raw.at(), format!("two {list} are called {}", raw.shown()), help);
        } else {
            first.insert(name, raw);
        }
    }
}

fn named<'a>(root: &'a Raw, list: &str) -> impl Iterator<Item = (&'a str, &'a Raw)> {
    let names = listed(root, list).filter_map(|item| item.get("name"));
    names.filter_map(|name| Some((name.text()?, name)))
}

fn listed<'a>(root: &'a Raw, list: &str) -> std::slice::Iter<'a, Raw> {
    root.get(list).map(Raw::items).unwrap_or_default().iter()
}

fn overlaps(root: &Raw, diag: &mut Diag) {
    let listeners = root.get("listeners").map(Raw::items).unwrap_or_default();
    let others = ["admin", "status"].iter().filter_map(|name| root.get(name));
    let mut by_port: HashMap<u16, Vec<(IpAddr, &Raw)>> = HashMap::new();
    for raw in listeners.iter().chain(others).filter_map(|section| section.get("address")) {
        let Some(address) = raw.text().and_then(|text| text.parse::<SocketAddr>().ok()) else { continue };
        if address.port() == 0 {
            continue;
        }
        let taken = by_port.entry(address.port()).or_default();
        let ip = address.ip().to_canonical();
        if let Some((_, other)) = taken.iter().find(|(other, _)| overlap(*other, ip)) {
            // A default was written by nobody: the fault belongs to the line that was.
            let (at, against) = if raw.is_written() { (raw, *other) } else { (*other, raw) };
            let whose = match against.is_written() {
                true => format!("{} of line {}", against.shown(), against.place.line),
                false => format!("{}, the default of `{}`", against.shown(), against.at().path),
            };
            diag.fault(&at.at(), format!("{} overlaps {whose}", at.shown()), "give one of them another port");
        } else if taken.len() < ADDRESSES_A_PORT_MAX {
            taken.push((ip, raw));
        }
    }
}

/// `::` takes IPv4 as well, unless a socket is told not to.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    let covers = |wide: IpAddr, other: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || other.is_ipv4());
    a == b || covers(a, b) || covers(b, a)
}

/// Each is compared with each: a hostile file must not buy the square of its size.
const ADDRESSES_A_PORT_MAX: usize = 256;

//! The tries of each owner by host pattern.

use std::borrow::Cow;
use std::sync::Arc;

use crate::config::host;
use crate::config::host::HostPattern;
use crate::route::Owner;
use crate::route::Rank;
use crate::route::map::Map;
use crate::route::rest::trie::Trie;

/// One trie a rank.
#[derive(Debug, Clone)]
pub(super) struct Hosts<T> {
    team: ByHost<T>,
    gateway: ByHost<T>,
}

/// No trie in it is empty.
#[derive(Debug, Clone)]
struct ByHost<T> {
    exact: Map<Arc<Trie<T>>>,
    /// By suffix, which starts with a dot.
    suffix: Map<Arc<Trie<T>>>,
    any: Option<Arc<Trie<T>>>,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { team: ByHost::default(), gateway: ByHost::default() }
    }
}

impl<T> Default for ByHost<T> {
    fn default() -> Self {
        Self { exact: Map::default(), suffix: Map::default(), any: None }
    }
}

impl<T: Clone> Hosts<T> {
    /// The trie of a rank, to publish in.
    pub(super) fn trie_mut(&mut self, rank: &Rank) -> &mut Trie<T> {
        let hosts = self.owned_mut(rank.owner);
        let trie = match &rank.host {
            HostPattern::Exact(name) => hosts.exact.entry(name, Arc::default),
            HostPattern::Suffix(suffix) => hosts.suffix.entry(suffix, Arc::default),
            HostPattern::Any => hosts.any.get_or_insert_default(),
        };
        Arc::make_mut(trie)
    }

    /// Takes away what `take` takes out of the trie of a rank, and the trie if nothing is left in it.
    pub(super) fn cut(&mut self, rank: &Rank, take: impl FnOnce(&mut Trie<T>) -> bool) -> bool {
        let hosts = self.owned_mut(rank.owner);
        let trie = match &rank.host {
            HostPattern::Exact(name) => hosts.exact.get_mut(name),
            HostPattern::Suffix(suffix) => hosts.suffix.get_mut(suffix),
            HostPattern::Any => hosts.any.as_mut(),
        };
        let Some(trie) = trie.map(Arc::make_mut) else { return false };
        let is_found = take(trie);
        if trie.is_empty() {
            match &rank.host {
                HostPattern::Exact(name) => hosts.exact.remove(name),
                HostPattern::Suffix(suffix) => hosts.suffix.remove(suffix),
                HostPattern::Any => hosts.any.take(),
            };
        }
        is_found
    }

    fn owned_mut(&mut self, owner: Owner) -> &mut ByHost<T> {
        match owner {
            Owner::Team => &mut self.team,
            Owner::Gateway => &mut self.gateway,
        }
    }
}

impl<T> Hosts<T> {
    /// The tries of a [`folded`] host, in the order of [`Rank`].
    pub(super) fn of<'t, 'h>(&'t self, host: &'h str) -> impl Iterator<Item = &'t Trie<T>> + use<'t, 'h, T> {
        [&self.team, &self.gateway].into_iter().flat_map(move |hosts| hosts.of(host))
    }
}

impl<T> ByHost<T> {
    fn of<'t, 'h>(&'t self, host: &'h str) -> impl Iterator<Item = &'t Trie<T>> + use<'t, 'h, T> {
        let exact = (!self.exact.is_empty()).then(|| self.exact.get(host)).flatten();
        let suffixes = (!self.suffix.is_empty()).then(|| suffixes(host)).into_iter().flatten();
        let suffixed = suffixes.filter_map(|suffix| self.suffix.get(suffix));
        exact.into_iter().chain(suffixed).chain(&self.any).map(|trie| &**trie)
    }
}

/// What follows each leading label, longest first, from its dot on. Ends at an empty label.
fn suffixes(host: &str) -> impl Iterator<Item = &str> {
    let mut label_start = 0;
    memchr::memchr_iter(b'.', host.as_bytes())
        .map_while(move |dot| {
            let is_label = label_start < dot;
            label_start = dot + 1;
            is_label.then(|| &host[dot..])
        })
        .take(LABELS_MAX)
}

/// As [`host::fold`], without a copy of what is folded already, but for its port.
pub(super) fn folded(host: &str) -> Cow<'_, str> {
    let name = match host.split_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    match name.bytes().all(is_plain) && !name.ends_with('.') {
        true => Cow::Borrowed(name),
        false => Cow::Owned(host::fold(host)),
    }
}

/// A host name of 253 characters has no more.
const LABELS_MAX: usize = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_is_that_of_patterns() {
        for host in [
            "api.example.com",
            "API.x:80",
            "a.b:8443",
            "a.b.:80",
            "a.b.",
            "a:",
            "[::1]:80",
            "[::1]",
            "::1",
            "",
            ":80",
            "a:b",
        ] {
            assert_eq!(folded(host), host::fold(host), "{host}");
        }
        assert!(matches!(folded("api.example.com:8443"), Cow::Borrowed("api.example.com")));
    }

    #[test]
    fn tries_come_in_the_order_of_ranks_and_only_where_the_pattern_matches() {
        let patterns = ["*", "*.com", "*.example.com", "*.eu.example.com", "a.eu.example.com", "[::1]"];
        let mut ranks: Vec<Rank> = [Owner::Gateway, Owner::Team]
            .into_iter()
            .flat_map(|owner| patterns.map(|text| Rank { owner, host: HostPattern::parse(text).unwrap() }))
            .collect();
        let mut hosts: Hosts<()> = Hosts::default();
        for rank in &ranks {
            hosts.trie_mut(rank);
        }
        ranks.sort();
        let known: Vec<*const Trie<()>> =
            ranks.iter().map(|rank| std::ptr::from_ref(hosts.trie_mut(rank))).collect();
        for host in [
            "a.eu.example.com:1",
            "B.eu.example.com.",
            "example.com",
            ".example.com",
            "a..example.com",
            "com",
            "",
            "[::1]:8",
            "x.org",
        ] {
            let want: Vec<_> = ranks
                .iter()
                .zip(&known)
                .filter(|(rank, _)| rank.host.matches(host))
                .map(|(_, trie)| *trie)
                .collect();
            let folded = folded(host);
            let got: Vec<_> = hosts.of(&folded).map(std::ptr::from_ref).collect();
            assert_eq!(got, want, "{host}");
        }
    }
}

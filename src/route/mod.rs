//! Finds what a request asks for, by path and host, before any policy runs.
//!
//! Precedence is the order of [`Rank`]: what a team publishes before what the gateway serves
//! itself, then the most specific host.

mod map;
pub mod rest;

use std::sync::Arc;

use crate::config::host::HostPattern;
use crate::route::map::Map;

/// Methods by path and host. A copy shares with the other all that neither of them changes.
#[derive(Debug, Clone)]
pub struct Table<T> {
    /// Ascending by rank.
    paths: Map<Arc<[(Rank, T)]>>,
}

/// How specific one entry is; the least wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Who publishes it.
    pub owner: Owner,
    /// On which hosts.
    pub host: HostPattern,
}

/// Who publishes a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// An API.
    Team,
    /// The gateway.
    Gateway,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { paths: Map::default() }
    }
}

impl<T: Clone> Table<T> {
    /// Publishes `target` at `path`.
    ///
    /// # Errors
    /// What already stands there, if the rank is the same.
    pub fn publish(&mut self, path: &str, rank: Rank, target: T) -> Result<(), &T> {
        let ranked = self.paths.entry(path, || Arc::new([]));
        match ranked.binary_search_by(|(there, _)| there.cmp(&rank)) {
            Ok(at) => Err(&ranked[at].1),
            Err(at) => {
                let (before, behind) = ranked.split_at(at);
                *ranked =
                    before.iter().cloned().chain([(rank, target)]).chain(behind.iter().cloned()).collect();
                Ok(())
            }
        }
    }

    /// Takes away what is published at `path` with this rank. Whether anything was.
    pub fn unpublish(&mut self, path: &str, rank: &Rank) -> bool {
        let Some(ranked) = self.paths.get_mut(path) else { return false };
        let rest: Arc<[(Rank, T)]> = ranked.iter().filter(|(there, _)| there != rank).cloned().collect();
        let is_found = rest.len() < ranked.len();
        if rest.is_empty() {
            self.paths.remove(path);
        } else {
            *ranked = rest;
        }
        is_found
    }
}

impl<T> Table<T> {
    /// Whether nothing is published in it.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// What is published at `path` on `host`.
    pub fn find(&self, host: &str, path: &str) -> Option<&T> {
        let ranked = self.paths.get(path)?;
        ranked.iter().find(|(rank, _)| rank.host.matches(host)).map(|(_, target)| target)
    }

    /// Everything that is published, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Rank, &T)> {
        self.paths
            .iter()
            .flat_map(|(path, ranked)| ranked.iter().map(move |(rank, target)| (path, rank, target)))
    }
}

#[cfg(test)]
mod tests {
    use super::Owner;
    use super::Rank;
    use super::Table;
    use crate::config::host::HostPattern;

    fn rank(owner: Owner, host: &str) -> Rank {
        Rank { owner, host: HostPattern::parse(host).unwrap() }
    }

    #[test]
    fn the_most_specific_host_of_a_team_wins() {
        let mut table = Table::default();
        let entries = [
            (Owner::Gateway, "*", "own"),
            (Owner::Team, "*.example.com", "wild"),
            (Owner::Team, "api.example.com", "exact"),
            (Owner::Team, "*.eu.example.com", "longer"),
        ];
        for (owner, host, target) in entries {
            assert!(table.publish("/a.B/C", rank(owner, host), target).is_ok());
        }
        let table_of_hosts = [
            ("api.example.com:8080", Some("exact")),
            ("x.example.com", Some("wild")),
            ("x.eu.example.com", Some("longer")),
            ("other.org", Some("own")),
        ];
        for (host, want) in table_of_hosts {
            assert_eq!(table.find(host, "/a.B/C").copied(), want, "{host}");
        }
        assert!(table.find("api.example.com", "/a.B/D").is_none());
        assert_eq!(table.publish("/a.B/C", rank(Owner::Team, "api.example.com"), "second"), Err(&"exact"));
        let before = table.clone();
        assert!(table.unpublish("/a.B/C", &rank(Owner::Team, "api.example.com")));
        assert!(!table.unpublish("/a.B/C", &rank(Owner::Team, "api.example.com")));
        assert_eq!(table.find("api.example.com", "/a.B/C"), Some(&"wild"));
        assert_eq!(before.find("api.example.com", "/a.B/C"), Some(&"exact"));
    }
}

//! A map by text, whose copies share what neither of them changes.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// A map by text. A copy of a large one costs a reference count for some dozens of entries; whoever changes one
/// then copies that part alone.
#[derive(Debug, Clone)]
pub(super) struct Map<V> {
    parts: Parts<V>,
    len: usize,
}

#[derive(Debug, Clone)]
enum Parts<V> {
    One(Vec<Entry<V>>),
    /// A power of two, by the first bits of the hash.
    Many(Vec<Arc<Vec<Entry<V>>>>),
}

/// Ascending by hash within its part.
#[derive(Debug, Clone)]
struct Entry<V> {
    hash: u64,
    name: Arc<str>,
    value: V,
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self { parts: Parts::One(Vec::new()), len: 0 }
    }
}

impl<V> Map<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn get(&self, name: &str) -> Option<&V> {
        let hash = hash(name);
        let part = match &self.parts {
            Parts::One(part) => part,
            Parts::Many(parts) => &*parts[place(hash, parts.len())],
        };
        seek(part, hash, name).ok().map(|at| &part[at].value)
    }

    /// All entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        let (one, many) = match &self.parts {
            Parts::One(part) => (Some(part), &[][..]),
            Parts::Many(parts) => (None, parts.as_slice()),
        };
        let parts = one.into_iter().chain(many.iter().map(|part| &**part));
        parts.flatten().map(|entry| (&*entry.name, &entry.value))
    }
}

impl<V: Clone> Map<V> {
    /// The value of this name, to change it.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        let hash = hash(name);
        let part = self.part_mut(hash);
        let at = seek(part, hash, name).ok()?;
        Some(&mut part[at].value)
    }

    /// The value of this name, to change it; where there is none, what `make` gives is put there.
    pub(super) fn entry(&mut self, name: &str, make: impl FnOnce() -> V) -> &mut V {
        self.make_room();
        let hash = hash(name);
        if let Err(at) = seek(self.part_mut(hash), hash, name) {
            self.part_mut(hash).insert(at, Entry { hash, name: name.into(), value: make() });
            self.len += 1;
        }
        let part = self.part_mut(hash);
        let at = seek(part, hash, name).unwrap_or_else(|at| at);
        &mut part[at].value
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<V> {
        let hash = hash(name);
        let part = self.part_mut(hash);
        let at = seek(part, hash, name).ok()?;
        let removed = part.remove(at);
        self.len -= 1;
        Some(removed.value)
    }

    fn part_mut(&mut self, hash: u64) -> &mut Vec<Entry<V>> {
        match &mut self.parts {
            Parts::One(part) => part,
            Parts::Many(parts) => {
                let at = place(hash, parts.len());
                Arc::make_mut(&mut parts[at])
            }
        }
    }

    /// Doubles the parts when they are full on average. Names of equal hashes stay together whatever their
    /// number, so nobody can make it double without end.
    fn make_room(&mut self) {
        let count = match &self.parts {
            Parts::One(_) => 1,
            Parts::Many(parts) => parts.len(),
        };
        if self.len < count * PART_ENTRIES {
            return;
        }
        let old = match std::mem::replace(&mut self.parts, Parts::One(Vec::new())) {
            Parts::One(part) => vec![Arc::new(part)],
            Parts::Many(parts) => parts,
        };
        let mut new = Vec::with_capacity(count * 2);
        for (at, part) in old.into_iter().enumerate() {
            let mut left = Arc::unwrap_or_clone(part);
            let cut = left.partition_point(|entry| place(entry.hash, count * 2) <= at * 2);
            let right = left.split_off(cut);
            left.shrink_to_fit();
            new.extend([Arc::new(left), Arc::new(right)]);
        }
        self.parts = Parts::Many(new);
    }
}

/// Where the entry is, or would be.
#[inline]
fn seek<V>(part: &[Entry<V>], hash: u64, name: &str) -> Result<usize, usize> {
    let mut at = part.partition_point(|entry| entry.hash < hash);
    while let Some(entry) = part.get(at)
        && entry.hash == hash
    {
        if *entry.name == *name {
            return Ok(at);
        }
        at += 1;
    }
    Err(at)
}

/// The part of a hash, by its first bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "it is less than `parts`, which is a usize")]
fn place(hash: u64, parts: usize) -> usize {
    ((u128::from(hash) * parts as u128) >> u64::BITS) as usize
}

/// Clients ask for names and never add any, so it needs no secret.
#[inline]
fn hash(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// Entries of a part, on average at most.
const PART_ENTRIES: usize = 32;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn entries(map: &Map<u32>) -> BTreeMap<String, u32> {
        map.iter().map(|(name, value)| (name.to_owned(), *value)).collect()
    }

    proptest! {
        #[test]
        fn it_is_a_map_and_copies_stay_as_they_were(
            changes in prop::collection::vec((0..400_u32, any::<Option<u32>>()), 0..600),
            copied_at in 0..600_usize,
        ) {
            let mut map = Map::default();
            let mut want = BTreeMap::new();
            let mut copy = (map.clone(), want.clone());
            for (at, (name, value)) in changes.into_iter().enumerate() {
                if at == copied_at {
                    copy = (map.clone(), want.clone());
                }
                let name = format!("name-{name}");
                match value {
                    Some(value) => {
                        *map.entry(&name, || 0) = value;
                        want.insert(name, value);
                    }
                    None => prop_assert_eq!(map.remove(&name), want.remove(&name)),
                }
            }
            prop_assert_eq!(entries(&map), want.clone());
            prop_assert_eq!(map.is_empty(), want.is_empty());
            prop_assert_eq!(entries(&copy.0), copy.1);
            for name in (0..400).map(|name| format!("name-{name}")) {
                prop_assert_eq!(map.get(&name), want.get(&name));
                prop_assert_eq!(map.get_mut(&name).copied(), want.get(&name).copied());
            }
        }
    }

    #[test]
    fn a_change_copies_one_part_alone() {
        let mut map = Map::default();
        for at in 0..10_000_u32 {
            *map.entry(&format!("name-{at}"), || 0) = at;
        }
        let before = map.clone();
        *map.entry("name-77", || 0) = 1;
        let (Parts::Many(old), Parts::Many(new)) = (&before.parts, &map.parts) else {
            panic!("it has many parts")
        };
        assert_eq!(old.iter().zip(new).filter(|(old, new)| !Arc::ptr_eq(old, new)).count(), 1);
        assert!(old.iter().map(|part| part.len()).max() < Some(4 * PART_ENTRIES));
    }
}

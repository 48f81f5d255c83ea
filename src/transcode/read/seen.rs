//! Remembers which fields of a message and which keys of a map have come, to refuse a second time.

use std::borrow::Cow;
use std::collections::HashSet;

/// A set of small numbers; the first 64 cost nothing.
#[derive(Debug, Default)]
pub(super) struct Seen {
    low: u64,
    high: Vec<u64>,
}

impl Seen {
    /// Adds `index`; false if it was there.
    #[inline]
    pub(super) fn insert(&mut self, index: usize) -> bool {
        let word = match index.checked_sub(64) {
            None => &mut self.low,
            Some(above) => {
                if self.high.len() <= above / 64 {
                    self.high.resize(above / 64 + 1, 0);
                }
                &mut self.high[above / 64]
            }
        };
        let bit = 1 << (index % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Takes `index` out again.
    pub(super) fn remove(&mut self, index: usize) {
        let word = match index.checked_sub(64) {
            None => Some(&mut self.low),
            Some(above) => self.high.get_mut(above / 64),
        };
        if let Some(word) = word {
            *word &= !(1 << (index % 64));
        }
    }
}

/// A key of a map, by value: `1` and `1e0` are one.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Key<'t> {
    /// A number or a boolean.
    Bits(u64),
    /// A string.
    Text(Cow<'t, str>),
}

/// The keys of one map.
#[derive(Debug, Default)]
pub(super) struct Keys<'t> {
    few: Vec<Key<'t>>,
    many: HashSet<Key<'t>>,
}

impl<'t> Keys<'t> {
    /// Adds `key`; false if it was there.
    pub(super) fn insert(&mut self, key: Key<'t>) -> bool {
        if !self.many.is_empty() {
            return self.many.insert(key);
        }
        if self.few.contains(&key) {
            return false;
        }
        self.few.push(key);
        if self.few.len() > FEW_MAX {
            self.many.extend(self.few.drain(..));
        }
        true
    }
}

/// Keys up to this number are compared one by one.
const FEW_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_every_index() {
        let mut seen = Seen::default();
        for index in [0, 63, 64, 65, 127, 128, 5000, 200] {
            assert!(seen.insert(index), "{index}");
            assert!(!seen.insert(index), "{index}");
            seen.remove(index);
            assert!(seen.insert(index), "{index}");
        }
        assert!(seen.insert(1));
    }

    #[test]
    fn remembers_few_and_many_keys() {
        let mut keys = Keys::default();
        for n in 0..100_u64 {
            assert!(keys.insert(Key::Bits(n)), "{n}");
            assert!(keys.insert(Key::Text(Cow::Owned(n.to_string()))), "{n}");
            assert!(!keys.insert(Key::Bits(n / 2)), "{n}");
            assert!(!keys.insert(Key::Text(Cow::Owned((n / 2).to_string()))), "{n}");
        }
    }
}

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

/// The keys of one map; few of them are in a list of all maps that have begun, one within the other.
#[derive(Debug)]
pub(super) struct Keys<'t> {
    begin: usize,
    many: Option<HashSet<Key<'t>>>,
}

impl<'t> Keys<'t> {
    /// No keys, from the end of `few` on.
    pub(super) fn begin(few: &[Key<'t>]) -> Self {
        Self { begin: few.len(), many: None }
    }

    /// Adds `key`; false if it was there.
    pub(super) fn insert(&mut self, key: Key<'t>, few: &mut Vec<Key<'t>>) -> bool {
        if let Some(many) = &mut self.many {
            return many.insert(key);
        }
        if few[self.begin..].contains(&key) {
            return false;
        }
        few.push(key);
        if few.len() - self.begin > FEW_MAX {
            self.many = Some(few.drain(self.begin..).collect());
        }
        true
    }

    /// Takes the keys out of `few` again.
    pub(super) fn end(self, few: &mut Vec<Key<'t>>) {
        few.truncate(self.begin);
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
        let mut few = vec![Key::Bits(0)];
        let mut keys = Keys::begin(&few);
        for n in 0..100_u64 {
            assert!(keys.insert(Key::Bits(n), &mut few), "{n}");
            assert!(keys.insert(Key::Text(Cow::Owned(n.to_string())), &mut few), "{n}");
            assert!(!keys.insert(Key::Bits(n / 2), &mut few), "{n}");
            assert!(!keys.insert(Key::Text(Cow::Owned((n / 2).to_string())), &mut few), "{n}");
            // A map within.
            let mut inner = Keys::begin(&few);
            assert!((0..n).all(|n| inner.insert(Key::Bits(n), &mut few)), "{n}");
            assert!(!(0..n).any(|n| inner.insert(Key::Bits(n), &mut few)), "{n}");
            inner.end(&mut few);
        }
        keys.end(&mut few);
        assert_eq!(few, [Key::Bits(0)]);
    }
}

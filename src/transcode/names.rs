//! A hash of names that is quick, for tables that only a schema fills.

use std::hash::Hasher;

/// The hash of one name. Clients ask for names and never add any, so it needs no secret.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NameHasher(u64);

impl Hasher for NameHasher {
    #[inline]
    fn write(&mut self, name: &[u8]) {
        let words = name.as_chunks().0;
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        // The last bytes once more, together with those that are left.
        match (name.last_chunk(), name.first_chunk(), name.last_chunk()) {
            (Some(last), ..) => self.mix(u64::from_le_bytes(*last)),
            (None, Some(&[a, b, c, d]), Some(&[e, f, g, h])) => {
                self.mix(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
            }
            _ => {
                if let (Some(first), Some(last)) = (name.first(), name.last()) {
                    self.mix(u64::from_le_bytes([*first, name[name.len() / 2], *last, 0, 0, 0, 0, 0]));
                }
            }
        }
    }

    #[inline]
    fn write_usize(&mut self, len: usize) {
        self.mix(len as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

impl NameHasher {
    /// Both halves of the product: each bit depends on all of the word.
    #[inline]
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ SEED) * u128::from(FACTOR);
        let [a, b, c, d, e, f, g, h, rest @ ..] = product.to_le_bytes();
        self.0 = u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ u64::from_le_bytes(rest);
    }
}

/// The digits of pi.
const SEED: u64 = 0x243f_6a88_85a3_08d3;
/// Odd, and without a pattern: the digits of the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;
    use std::hash::BuildHasherDefault;

    use super::*;

    #[test]
    fn names_that_differ_little_are_far_apart() {
        let hash = |name: &str| BuildHasherDefault::<NameHasher>::default().hash_one(name.as_bytes());
        let names: Vec<String> = (0..10_000)
            .flat_map(|at| [format!("f{at}"), format!("field_{at}"), format!("{at}_of_a_long_name")])
            .collect();
        let hashes: Vec<u64> = names.iter().map(|name| hash(name)).collect();
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), names.len());
        // A table looks at the low bits for a place and at the high ones for a tag.
        for shift in [0, 57] {
            let mut counts = [0_usize; 128];
            for hash in &hashes {
                counts[usize::try_from(hash >> shift & 127).unwrap()] += 1;
            }
            let even = names.len() / 128;
            assert!(counts.iter().all(|count| (even / 2..even * 2).contains(count)), "{counts:?}");
        }
    }
}

//! Which fields and oneofs of a message were there.

use crate::transcode::plan::Message;

/// Which fields and oneofs of a message were there.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    fields: Bits,
    oneofs: Bits,
}

impl Seen {
    pub(super) fn new(plan: &Message) -> Self {
        Self { fields: Bits::new(plan.fields.len()), oneofs: Bits::new(plan.oneofs) }
    }

    /// Takes in a field; false if it was there.
    #[inline]
    pub(super) fn enter(&mut self, at: usize) -> bool {
        self.fields.set(at)
    }

    /// Takes in a oneof; false if one of its members was there.
    #[inline]
    pub(super) fn enter_oneof(&mut self, at: usize) -> bool {
        self.oneofs.set(at)
    }

    pub(super) fn has(&self, at: usize) -> bool {
        self.fields.has(at)
    }
}

/// Bits, without allocation for the first 64.
#[derive(Debug, Clone)]
struct Bits {
    small: u64,
    large: Vec<u64>,
}

impl Bits {
    #[inline]
    fn new(count: usize) -> Self {
        let words = if count > 64 { (count - 1) / 64 } else { 0 };
        Self { small: 0, large: vec![0; words] }
    }

    /// Sets a bit; false if it was set.
    #[inline]
    fn set(&mut self, at: usize) -> bool {
        let word = if at < 64 { &mut self.small } else { &mut self.large[at / 64 - 1] };
        let bit = 1 << (at % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    fn has(&self, at: usize) -> bool {
        let word = if at < 64 { self.small } else { self.large[at / 64 - 1] };
        word >> (at % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_is_its_own() {
        for count in [1, 63, 64, 65, 128, 129, 1000] {
            let mut bits = Bits::new(count);
            for at in (0..count).rev() {
                assert!(!bits.has(at), "{at} of {count}");
                assert!(bits.set(at), "{at} of {count}");
                assert!(!bits.set(at), "{at} of {count}");
            }
            assert!((0..count).all(|at| bits.has(at)));
        }
    }
}

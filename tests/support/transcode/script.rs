//! Choices from bytes: the same for a fuzzer's script and for a seed.

/// What is left of a script; once it is used up, every choice is the first.
pub(crate) struct Script<'s> {
    bytes: &'s [u8],
}

impl<'s> Script<'s> {
    pub(crate) fn new(bytes: &'s [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *byte
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end <= 1 {
            return 0;
        }
        let wide = end > 128;
        (usize::from(self.byte()) | if wide { usize::from(self.byte()) << 8 } else { 0 }) % end
    }

    /// False once the script is over, whatever `n`.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        n > 0 && !self.is_over() && self.below(n) == n - 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }

    fn wide(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// An integer that is small, anything, or at the edge.
    pub(crate) fn bits(&mut self) -> u64 {
        match self.below(5) {
            0 => u64::from(self.byte()),
            1 => self.wide(),
            2 => u64::MAX - u64::from(self.byte()),
            3 => self.pick(&[
                0,
                u64::MAX,
                1 << 63,
                i64::MAX.cast_unsigned(),
                0x7fff_ffff,
                0x8000_0000,
                0xffff_ffff,
                1 << 53,
                (1 << 53) + 1,
                0xffff_ffff_8000_0000,
            ]),
            _ => {
                let shift = self.below(64);
                self.wide() >> shift
            }
        }
    }

    pub(crate) fn double(&mut self) -> f64 {
        match self.below(3) {
            0 => f64::from_bits(self.wide()),
            1 => self.pick(&[
                0.0,
                -0.0,
                1.5,
                -2.0,
                f64::MAX,
                f64::MIN_POSITIVE,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::NAN,
                5e-324,
                1e22,
                0.1,
                16_777_217.0,
                9_007_199_254_740_993.0,
            ]),
            _ => f64::from(self.byte()) / 100.0 - 1.0,
        }
    }

    pub(crate) fn float(&mut self) -> f32 {
        match self.below(3) {
            0 => f32::from_le_bytes(std::array::from_fn(|_| self.byte())),
            1 => self.pick(&[
                0.0,
                -0.0,
                0.1,
                f32::MIN_POSITIVE,
                f32::INFINITY,
                f32::NAN,
                1e-45,
                16_777_216.0,
                -1.5,
            ]),
            _ => f32::from(self.byte()) / 100.0 - 1.0,
        }
    }

    pub(crate) fn text(&mut self) -> String {
        let long = if self.one_in(24) { 200 } else { 8 };
        let letters = [
            'a', 'Z', '"', '\\', '/', '\n', '\t', '\0', '\u{7f}', 'ä', '谷', '😀', ' ', '\u{2028}', 'u', '0',
        ];
        (0..self.below(long)).map(|_| self.pick(&letters)).collect()
    }

    pub(crate) fn some_bytes(&mut self) -> Vec<u8> {
        (0..self.below(9)).map(|_| self.byte()).collect()
    }
}

/// A script from a seed (splitmix64).
pub(crate) fn seeded(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0xd134_2543_de82_ef95);
    let mut script = Vec::with_capacity(len + 8);
    while script.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        script.extend((mixed ^ (mixed >> 31)).to_le_bytes());
    }
    script.truncate(len);
    script
}

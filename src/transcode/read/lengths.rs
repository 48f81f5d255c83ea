//! Writes length-delimited messages in place: the length is known only after the content.

use crate::transcode::text::wire;

/// The lengths that don't fit into the one byte that was left for them.
///
/// Short contents are shifted at once. Long ones are noted and shifted all together at the end, so
/// that deep nesting doesn't move the same bytes once a level.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    gaps: Vec<Gap>,
    /// Bytes that the gaps will add.
    extra: usize,
}

/// Where a length is to be written.
#[derive(Debug)]
#[must_use]
pub(super) struct Mark {
    /// The first byte of the content.
    at: usize,
    gaps: usize,
    extra: usize,
}

#[derive(Debug)]
struct Gap {
    /// The byte that was left for the length.
    at: usize,
    len: usize,
}

impl Lengths {
    /// Leaves room for a length; the content comes next.
    #[inline]
    pub(super) fn open(&self, out: &mut Vec<u8>) -> Mark {
        out.push(0);
        Mark { at: out.len(), gaps: self.gaps.len(), extra: self.extra }
    }

    /// Writes the length of all that was written since `mark`.
    #[inline]
    pub(super) fn close(&mut self, mark: &Mark, out: &mut Vec<u8>) {
        let written = out.len() - mark.at;
        match u8::try_from(written) {
            Ok(len @ 0..0x80) => out[mark.at - 1] = len,
            _ => self.close_long(mark, written, out),
        }
    }

    /// Forgets `mark` and all within it; the caller removes what was written.
    pub(super) fn abandon(&mut self, mark: &Mark) {
        self.gaps.truncate(mark.gaps);
        self.extra = mark.extra;
    }

    /// Writes the lengths that were only noted.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) {
        if self.gaps.is_empty() {
            return;
        }
        self.gaps.sort_unstable_by_key(|gap| gap.at);
        let mut from_end = out.len();
        out.resize(from_end + self.extra, 0);
        let mut to_end = out.len();
        for gap in self.gaps.iter().rev() {
            let content = gap.at + 1..from_end;
            let to = to_end - content.len();
            out.copy_within(content, to);
            let (bytes, len) = encode(gap.len);
            to_end = to - len;
            out[to_end..to].copy_from_slice(&bytes[..len]);
            from_end = gap.at;
        }
    }

    #[inline(never)]
    fn close_long(&mut self, mark: &Mark, written: usize, out: &mut Vec<u8>) {
        let len = written + (self.extra - mark.extra);
        let (bytes, bytes_len) = encode(len);
        if written > SHIFTED_BYTES_MAX {
            self.gaps.push(Gap { at: mark.at - 1, len });
            self.extra += bytes_len - 1;
            return;
        }
        out.resize(out.len() + bytes_len - 1, 0);
        out.copy_within(mark.at..mark.at + written, mark.at + bytes_len - 1);
        out[mark.at - 1..mark.at - 1 + bytes_len].copy_from_slice(&bytes[..bytes_len]);
    }
}

fn encode(len: usize) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let count = wire::varint_len(len as u64);
    let mut rest = len as u64;
    for byte in &mut bytes[..count] {
        *byte = rest.to_le_bytes()[0] | 0x80;
        rest >>= 7;
    }
    bytes[count - 1] &= 0x7f;
    (bytes, count)
}

/// Contents up to this are shifted at once.
const SHIFTED_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Tree {
        Bytes(usize),
        Message(Vec<Self>),
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let sizes = prop_oneof![0..200_usize, 900..1200_usize, Just(16_000), Just(17_000)];
        sizes
            .prop_map(Tree::Bytes)
            .prop_recursive(8, 64, 6, |inner| prop::collection::vec(inner, 0..6).prop_map(Tree::Message))
    }

    fn write(tree: &Tree, lengths: &mut Lengths, out: &mut Vec<u8>) {
        match tree {
            Tree::Bytes(len) => out.extend((0..*len).map(|i| u8::try_from(i % 251).unwrap())),
            Tree::Message(parts) => {
                let mark = lengths.open(out);
                parts.iter().for_each(|part| write(part, lengths, out));
                lengths.close(&mark, out);
            }
        }
    }

    fn plain(tree: &Tree) -> Vec<u8> {
        match tree {
            Tree::Bytes(len) => (0..*len).map(|i| u8::try_from(i % 251).unwrap()).collect(),
            Tree::Message(parts) => {
                let mut out = Vec::new();
                wire::delimited(&parts.iter().flat_map(plain).collect::<Vec<u8>>(), &mut out);
                out
            }
        }
    }

    proptest! {
        #[test]
        fn writes_the_lengths_of_any_tree(tree in tree(), dropped in tree()) {
            let mut lengths = Lengths::default();
            let mut out = b"before".to_vec();
            let tree = Tree::Message(vec![tree.clone(), tree]);
            let whole = lengths.open(&mut out);
            write(&tree, &mut lengths, &mut out);
            let len = out.len();
            let mark = lengths.open(&mut out);
            write(&dropped, &mut lengths, &mut out);
            lengths.abandon(&mark);
            out.truncate(len);
            write(&tree, &mut lengths, &mut out);
            lengths.close(&whole, &mut out);
            lengths.finish(&mut out);
            let expected = [b"before".to_vec(), plain(&Tree::Message(vec![tree.clone(), tree]))].concat();
            prop_assert_eq!(out, expected);
        }
    }
}

//! Copies messages out of a direction as its bytes pass: it holds nothing up, and refuses nothing.

use std::sync::Arc;

use crate::snapshot::Copy;
use crate::snapshot::Direction;
use crate::snapshot::Watched;

/// Copies the messages of one direction of a call.
pub(super) struct Tap {
    watched: Arc<Watched>,
    direction: Direction,
    /// The header of the open message, and how much of it is here.
    head: [u8; HEADER_BYTES],
    have: usize,
    /// Bytes of the open message that are still to come.
    left: usize,
    /// `None` where the open message is left out.
    copy: Option<Copy>,
}

impl Tap {
    pub(super) fn new(watched: Arc<Watched>, direction: Direction) -> Self {
        Self { watched, direction, head: [0; HEADER_BYTES], have: 0, left: 0, copy: None }
    }

    /// The next bytes; their frames have been found good.
    pub(super) fn see(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            if self.have < HEADER_BYTES {
                let part = split(&mut rest, HEADER_BYTES - self.have);
                self.head[self.have..][..part.len()].copy_from_slice(part);
                self.have += part.len();
                if self.have < HEADER_BYTES {
                    return;
                }
                let [flag, len @ ..] = self.head;
                self.left = u32::from_be_bytes(len) as usize;
                self.copy = self.watched.copy(flag != 0, self.left);
            }
            let part = split(&mut rest, self.left);
            self.left -= part.len();
            self.copy = self.copy.take().and_then(|mut copy| copy.add(part).then_some(copy));
            if self.left == 0 {
                self.have = 0;
                self.watched.passed(self.direction, self.copy.take());
            }
        }
    }
}

fn split<'b>(rest: &mut &'b [u8], most: usize) -> &'b [u8] {
    let (part, later) = rest.split_at(most.min(rest.len()));
    *rest = later;
    part
}

/// A flag and a length of 32 bits.
const HEADER_BYTES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Metrics;
    use crate::snapshot::losing;
    use crate::wire::frame::encode_header;

    /// A message with a text of this length, in its frame.
    fn frame(compressed: bool, len: u8) -> Vec<u8> {
        let message = [&[0x0a, len], &vec![b'x'; len.into()][..]].concat();
        let header = encode_header(compressed, u32::try_from(message.len()).unwrap());
        [&header[..], &message].concat()
    }

    #[test]
    fn sees_every_message_however_the_bytes_are_cut() {
        let empty = encode_header(false, 0).to_vec();
        let large = encode_header(false, 300 << 10).to_vec();
        let stream = [
            frame(false, 5),
            empty.clone(),
            frame(true, 7),
            frame(false, 100),
            [large, vec![0; 300 << 10]].concat(),
            frame(false, 1),
            empty,
        ]
        .concat();
        for piece in [1, 2, 3, 4, 5, 6, 7, 11, 64, 16 << 10, stream.len()] {
            let (shadows, watched) = losing(&Metrics::new(1));
            let mut tap = Tap::new(watched.clone(), Direction::Reply);
            stream.chunks(piece).for_each(|chunk| tap.see(chunk));
            // One more that never ends.
            tap.see(&frame(false, 50)[..20]);
            drop(tap);
            shadows.drain();
            let report = watched.report();
            assert_eq!((report.messages, report.skipped), (5, 2), "in pieces of {piece}");
            assert_eq!((report.failures.len(), report.failures[0].count), (1, 3), "in pieces of {piece}");
            assert_eq!(report.failures[0].direction, Direction::Reply);
        }
    }
}

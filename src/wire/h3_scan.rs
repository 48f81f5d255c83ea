//! Reads the headers of an HTTP/3 stream's frames, and bounds what its codec would hold of one.
//!
//! A codec keeps a frame of fields until all of it is here, whatever length it announces. What is read here first
//! never gets to it where it is too long.

/// Where a stream stands between its frames (RFC 9114, section 7.1).
#[derive(Debug)]
pub struct FrameScan {
    held_max: u64,
    header: [u8; HEADER_BYTES_MAX],
    have: usize,
    /// Bytes of the payload that are to come.
    left: u64,
}

/// A frame that would have to be held whole, and is longer than that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// Its length, in bytes.
    pub len: u64,
}

impl FrameScan {
    /// The beginning of a stream whose frames, but those of DATA, have at most `held_max` bytes.
    pub fn new(held_max: u64) -> Self {
        Self { held_max, header: [0; HEADER_BYTES_MAX], have: 0, left: 0 }
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// The first frame that is too long; nothing may be fed after it.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while let Some(first) = bytes.first() {
            if self.left > 0 {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.header[self.have] = *first;
            self.have += 1;
            bytes = &bytes[1..];
            if let Some((kind, len)) = header(&self.header[..self.have]) {
                if kind != DATA && self.held_max < len {
                    return Err(TooLong { len });
                }
                self.have = 0;
                self.left = len;
            }
        }
        Ok(())
    }
}

/// The type and the length of a frame, once both are here.
fn header(bytes: &[u8]) -> Option<(u64, u64)> {
    let (kind, rest) = varint(bytes)?;
    let (len, _) = varint(rest)?;
    Some((kind, len))
}

/// A number of QUIC's and what follows it (RFC 9000, section 16).
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = number[1..].iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, rest))
}

const DATA: u64 = 0;
/// Two numbers of eight bytes.
const HEADER_BYTES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::FrameScan;
    use super::TooLong;

    fn feed(stream: &[u8], cut: usize) -> Result<(), TooLong> {
        let mut scan = FrameScan::new(100);
        stream.chunks(cut).try_for_each(|chunk| scan.feed(chunk))
    }

    #[test]
    fn frames_are_as_long_as_they_may_be_at_any_cut() {
        let fields = [&[1, 0x40, 100][..], &[7; 100]].concat();
        let data = [&[0, 0x80, 0, 4, 0][..], &[7; 1024]].concat();
        // Types may be written longer than they need to be.
        let odd = [0xc0, 0, 0, 0, 0, 0, 0, 0x21, 2, 9, 9];
        let good = [&fields[..], &data, &[0, 0], &odd, &fields].concat();
        let bad = [&fields[..], &data, &[1, 0x40, 101]].concat();
        let huge = [&data[..], &[0x21, 0xff, 255, 255, 255, 255, 255, 255, 255]].concat();
        for cut in [1, 2, 3, 7, 64, 4096] {
            assert_eq!(feed(&good, cut), Ok(()), "{cut}");
            assert_eq!(feed(&bad, cut), Err(TooLong { len: 101 }), "{cut}");
            assert_eq!(feed(&huge, cut), Err(TooLong { len: (1 << 62) - 1 }), "{cut}");
        }
    }
}

//! Content codings as bounded streams: gzip, brotli and zstd.

mod decode;
mod encode;

use std::fmt;

pub use decode::Decoder;
pub use decode::STEP_BYTES;
pub use decode::Step;
pub use encode::Encoder;

/// A content coding of HTTP (RFC 9110, section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// The bytes as they are.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878, with the window that RFC 9659 allows.
    Zstd,
}

impl Encoding {
    /// Every coding, the one that the gateway likes best first.
    pub const ALL: [Self; 4] = [Self::Brotli, Self::Zstd, Self::Gzip, Self::Identity];

    /// The name in `Content-Encoding` and `Accept-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The coding of a name, in any case; `x-gzip` is gzip (RFC 9110, section 8.4.1.3).
    pub fn from_name(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }
}

/// What decoded bytes may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most bytes that come out altogether.
    pub bytes_max: u64,
    /// The most bytes that come out for one that goes in, beyond [`FREE_BYTES`].
    pub ratio_max: u32,
}

impl Limits {
    /// A limit of bytes, with the usual ratio.
    pub fn bytes(bytes_max: u64) -> Self {
        Self { bytes_max, ratio_max: RATIO_MAX }
    }
}

/// Why a coded body is refused; its text says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodingFault {
    /// More bytes than the limit.
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// More bytes for each that was sent than the limit.
    Ratio {
        /// The limit.
        ratio_max: u32,
    },
    /// Not what the coding says.
    Malformed(Encoding),
    /// A window that needs more memory than the coding may have.
    Window(Encoding),
    /// The body ended inside the coding.
    Truncated(Encoding),
    /// Bytes after the end of the coding.
    Trailing(Encoding),
    /// The codec has no memory.
    Codec(Encoding),
}

impl fmt::Display for CodingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLarge { bytes_max } => {
                write!(f, "the body is over {bytes_max} bytes when decompressed: send less")
            }
            Self::Ratio { ratio_max } => write!(
                f,
                "the body grows more than {ratio_max} times when decompressed: send it without content-encoding"
            ),
            Self::Malformed(coding) => {
                write!(f, "the body is not {}: name its real content-encoding", coding.name())
            }
            Self::Window(coding) => write!(
                f,
                "the {} window of the body is over {WINDOW_BYTES_MAX} bytes: compress with a smaller one",
                coding.name()
            ),
            Self::Truncated(coding) => {
                write!(f, "the body ends inside its {} stream: send it whole", coding.name())
            }
            Self::Trailing(coding) => {
                write!(f, "bytes follow the end of the {} stream: send only the stream", coding.name())
            }
            Self::Codec(coding) => write!(f, "the gateway has no memory for {}: try again", coding.name()),
        }
    }
}

impl std::error::Error for CodingFault {}

/// Decodes a whole body. `codings` are in the order in which they were applied, as
/// `Content-Encoding` lists them.
///
/// # Errors
/// What [`Decoder`] refuses; `out` may then hold a part.
pub fn decode(
    codings: &[Encoding],
    body: &[u8],
    limits: Limits,
    out: &mut Vec<u8>,
) -> Result<(), CodingFault> {
    let mut decoder = Decoder::new(codings, limits)?;
    decoder.push(body, out)?;
    decoder.finish()
}

/// Encodes a whole body.
///
/// # Errors
/// [`CodingFault::Codec`] where the codec has no memory.
pub fn encode(coding: Encoding, body: &[u8], out: &mut Vec<u8>) -> Result<(), CodingFault> {
    let mut encoder = Encoder::new(coding)?;
    encoder.push(body, out)?;
    encoder.finish(out)
}

/// Growth that is never legitimate for messages: what Envoy allows as well. Deflate can reach 1032, zstd and
/// brotli far more.
pub const RATIO_MAX: u32 = 100;
/// What may come out whatever the ratio: small bodies of one repeated byte harm nobody.
pub const FREE_BYTES: u64 = 1 << 20;
/// The window that RFC 9659 grants to zstd. Brotli's is 16 MiB at most by RFC 7932, gzip's 32 KiB.
const WINDOW_BYTES_MAX: u32 = 1 << WINDOW_LOG_MAX;
const WINDOW_LOG_MAX: u32 = 23;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::CodingFault;
    use super::Decoder;
    use super::Encoder;
    use super::Encoding;
    use super::Limits;
    use super::decode;
    use super::encode;

    const REAL: [Encoding; 3] = [Encoding::Brotli, Encoding::Zstd, Encoding::Gzip];
    const ROOMY: Limits = Limits { bytes_max: 64 << 20, ratio_max: 100 };

    fn encoded(coding: Encoding, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(coding, body, &mut out).unwrap();
        out
    }

    fn decoded(codings: &[Encoding], body: &[u8], limits: Limits) -> Result<Vec<u8>, CodingFault> {
        let mut out = Vec::new();
        decode(codings, body, limits, &mut out).map(|()| out)
    }

    #[test]
    fn names_are_read_in_any_case() {
        for coding in Encoding::ALL {
            assert_eq!(Encoding::from_name(coding.name().to_uppercase().as_bytes()), Some(coding));
        }
        assert_eq!(Encoding::from_name(b"X-Gzip"), Some(Encoding::Gzip));
        for odd in ["", "deflate", "compress", "snappy", "gzip ", "*"] {
            assert_eq!(Encoding::from_name(odd.as_bytes()), None, "{odd:?}");
        }
    }

    #[test]
    fn bombs_are_refused_before_they_burst() {
        let zeros = vec![0; 32 << 20];
        for coding in REAL {
            let bomb = encoded(coding, &zeros);
            let mut out = Vec::new();
            let fault = decode(&[coding], &bomb, ROOMY, &mut out).unwrap_err();
            assert_eq!(fault, CodingFault::Ratio { ratio_max: 100 }, "{coding:?}");
            assert!(out.len() <= (1 << 20) + 100 * bomb.len() + (64 << 10), "{coding:?}: {}", out.len());
            let small = Limits { bytes_max: 5000, ratio_max: u32::MAX };
            let mut out = Vec::new();
            let fault = decode(&[coding], &bomb, small, &mut out).unwrap_err();
            assert_eq!(fault, CodingFault::TooLarge { bytes_max: 5000 }, "{coding:?}");
            assert!(out.len() <= 5000, "{coding:?}: {}", out.len());
        }
    }

    #[test]
    fn a_bomb_inside_a_bomb_is_refused_at_each_layer() {
        let zeros = vec![0; 128 << 20];
        let inner = encoded(Encoding::Zstd, &zeros);
        let outer = encoded(Encoding::Gzip, &inner);
        let limits = Limits { bytes_max: u64::MAX, ratio_max: 100 };
        let fault = decoded(&[Encoding::Zstd, Encoding::Gzip], &outer, limits).unwrap_err();
        assert_eq!(fault, CodingFault::Ratio { ratio_max: 100 });
    }

    #[test]
    fn the_limit_is_exact() {
        let body = b"0123456789".repeat(7000);
        let len = body.len() as u64;
        for coding in Encoding::ALL {
            let coded = encoded(coding, &body);
            assert_eq!(decoded(&[coding], &coded, Limits::bytes(len)).unwrap(), body, "{coding:?}");
            let fault = decoded(&[coding], &coded, Limits::bytes(len - 1)).unwrap_err();
            assert_eq!(fault, CodingFault::TooLarge { bytes_max: len - 1 }, "{coding:?}");
        }
    }

    #[test]
    fn every_truncation_is_seen() {
        let body = b"a body that is long enough to be worth the while, while it is not long".repeat(3);
        for coding in REAL {
            let coded = encoded(coding, &body);
            for len in 0..coded.len() {
                let fault = decoded(&[coding], &coded[..len], ROOMY).unwrap_err();
                assert_eq!(fault, CodingFault::Truncated(coding), "{coding:?} at {len} of {}", coded.len());
            }
        }
    }

    #[test]
    fn empty_chunks_are_nothing() {
        for coding in REAL {
            let body = b"a body".repeat(20);
            let (mut decoder, mut out) = (Decoder::new(&[coding], ROOMY).unwrap(), Vec::new());
            for byte in encoded(coding, &body) {
                decoder.push(&[byte], &mut out).unwrap();
                for _ in 0..50 {
                    decoder.push(&[], &mut out).unwrap_or_else(|fault| panic!("{coding:?}: {fault}"));
                }
            }
            assert_eq!((decoder.finish(), &out), (Ok(()), &body), "{coding:?}");
        }
    }

    #[test]
    fn what_follows_the_end_is_refused() {
        for coding in REAL {
            for tail in [&b"x"[..], b"\n", b"\0", b"garbage that is longer than a header"] {
                let mut coded = encoded(coding, b"body");
                coded.extend_from_slice(tail);
                let fault = decoded(&[coding], &coded, ROOMY).unwrap_err();
                let is_named = match coding {
                    // A second frame begins with four bytes: fewer are a truncated one.
                    Encoding::Zstd => {
                        matches!(fault, CodingFault::Trailing(_) | CodingFault::Truncated(_))
                    }
                    _ => fault == CodingFault::Trailing(coding),
                };
                assert!(is_named, "{coding:?} {tail:?}: {fault:?}");
            }
        }
    }

    #[test]
    fn members_and_frames_may_follow_each_other() {
        for coding in [Encoding::Gzip, Encoding::Zstd] {
            let mut coded = encoded(coding, b"one ");
            coded.extend_from_slice(&encoded(coding, b""));
            coded.extend_from_slice(&encoded(coding, b"two"));
            assert_eq!(decoded(&[coding], &coded, ROOMY).unwrap(), b"one two");
        }
    }

    #[test]
    fn garbage_is_refused() {
        for coding in REAL {
            for garbage in [&b"{\"a\":1} plain JSON, not coded at all"[..], &[0xff; 40], &[0; 40]] {
                assert!(decoded(&[coding], garbage, ROOMY).is_err(), "{coding:?} {garbage:?}");
            }
        }
        // A checksum that is wrong.
        let mut coded = encoded(Encoding::Gzip, b"body");
        let at = coded.len() - 8;
        coded[at] ^= 1;
        assert_eq!(decoded(&[Encoding::Gzip], &coded, ROOMY), Err(CodingFault::Malformed(Encoding::Gzip)));
    }

    #[test]
    fn wide_windows_are_refused() {
        // A zstd frame header: no single segment, window descriptor of 2^24 bytes.
        let wide = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (24 - 10) << 3, 0x01, 0x00, 0x00];
        assert_eq!(decoded(&[Encoding::Zstd], &wide, ROOMY), Err(CodingFault::Window(Encoding::Zstd)));
        let fits = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (23 - 10) << 3, 0x01, 0x00, 0x00];
        assert_eq!(decoded(&[Encoding::Zstd], &fits, ROOMY).unwrap(), b"");
        // Brotli's large-window form is not `br`.
        assert!(decoded(&[Encoding::Brotli], &[0x11, 30, 0x03, 0x00], ROOMY).is_err());
    }

    #[test]
    fn a_flush_sends_what_was_pushed() {
        for coding in Encoding::ALL {
            let mut encoder = Encoder::new(coding).unwrap();
            let mut decoder = Decoder::new(&[coding], ROOMY).unwrap();
            for at in 0..5 {
                let message = format!("message {at}\n");
                let (mut wire, mut got) = (Vec::new(), Vec::new());
                encoder.push(message.as_bytes(), &mut wire).unwrap();
                encoder.flush(&mut wire).unwrap();
                decoder.push(&wire, &mut got).unwrap();
                assert_eq!(String::from_utf8(got).unwrap(), message, "{coding:?}");
            }
            let (mut wire, mut got) = (Vec::new(), Vec::new());
            encoder.finish(&mut wire).unwrap();
            decoder.push(&wire, &mut got).unwrap();
            assert!(got.is_empty());
            decoder.finish().unwrap();
        }
    }

    #[test]
    fn a_fault_stays() {
        let mut decoder = Decoder::new(&[Encoding::Gzip], ROOMY).unwrap();
        let fault = decoder.push(b"not gzip at all", &mut Vec::new()).unwrap_err();
        assert_eq!(decoder.push(&encoded(Encoding::Gzip, b"x"), &mut Vec::new()), Err(fault));
        assert_eq!(decoder.finish(), Err(fault));
    }

    fn coding() -> impl Strategy<Value = Encoding> {
        prop::sample::select(Encoding::ALL.to_vec())
    }

    /// Bytes that compress well and bytes that don't.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec((any::<u8>(), 1usize..200), 0..80)
            .prop_map(|runs| runs.into_iter().flat_map(|(byte, len)| vec![byte; len]).collect())
    }

    proptest! {
        #[test]
        fn any_body_comes_back_however_it_is_cut(
            body in body(), codings in prop::collection::vec(coding(), 0..3), cuts in prop::collection::vec(1usize..90, 1..9)
        ) {
            let mut coded = body.clone();
            for coding in &codings {
                coded = encoded(*coding, &coded);
            }
            let mut decoder = Decoder::new(&codings, ROOMY).unwrap();
            let (mut rest, mut out) = (&coded[..], Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                decoder.push(now, &mut out).unwrap();
                rest = later;
            }
            decoder.finish().unwrap();
            prop_assert_eq!(out, body);
        }

        #[test]
        fn a_damaged_body_never_panics(body in body(), coding in coding(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut coded = encoded(coding, &body);
            if !coded.is_empty() {
                let at = at.index(coded.len());
                coded[at] = byte;
            }
            let _ = decoded(&[coding], &coded, Limits::bytes(1 << 20));
        }

        #[test]
        fn noise_never_panics(noise: Vec<u8>, coding in coding()) {
            let _ = decoded(&[coding], &noise, Limits::bytes(1 << 20));
        }
    }
}

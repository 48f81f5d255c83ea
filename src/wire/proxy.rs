//! Reads the header by which a proxy of TCP says whose connection it passes on: the PROXY protocol, versions 1
//! and 2 (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).
//!
//! Own code and not proxy-protocol-rs, which wraps the stream: TLS is read from the bare socket behind it, so
//! here it matters to the byte where a header ends.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How long it is; what stands behind it is the client's.
    pub bytes: usize,
    /// Which version it is written in.
    pub version: Version,
    /// Who connected to the proxy. `None` where the proxy speaks for itself, to see whether we live (`LOCAL`),
    /// or can't say (`UNKNOWN`, other families than TCP over IPv4 and IPv6).
    pub source: Option<SocketAddr>,
}

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// They begin otherwise: the client's own bytes came.
    Missing,
    /// They begin as one, and go on wrong.
    Malformed,
    /// It is longer than a header may be.
    TooLong,
}

impl Fault {
    /// The word in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
        }
    }
}

/// Reads the header at the start of a connection's bytes; `None` while it isn't whole. All bytes of a header that
/// isn't whole belong to it.
///
/// # Errors
/// As soon as the bytes can't become a header any more. More of them don't change that.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(SIGNATURE_V2) {
        parse_v2(bytes)
    } else if begins(SIGNATURE_V1) {
        parse_v1(bytes)
    } else {
        Err(Fault::Missing)
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let seen = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
        return if seen.len() == V1_BYTES_MAX { Err(Fault::TooLong) } else { Ok(None) };
    };
    let source = std::str::from_utf8(&seen[..end]).ok().and_then(line_v1).ok_or(Fault::Malformed)?;
    Ok(Some(Header { bytes: end + 1, version: Version::V1, source }))
}

/// Reads a line without its line feed; the outer `None` is a fault.
fn line_v1(line: &str) -> Option<Option<SocketAddr>> {
    let line = line.strip_suffix('\r')?.strip_prefix("PROXY ")?;
    // "the receiver must ignore anything presented before the CRLF is found".
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let mut words = line.split(' ');
    let (family, source, target) = (words.next()?, words.next()?, words.next()?);
    let (source_port, target_port) = (words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    address(target)?;
    port_v1(target_port)?;
    Some(Some(SocketAddr::new(address(source)?, port_v1(source_port)?)))
}

/// A port in decimal, without signs and leading zeros.
fn port_v1(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

fn parse_v2(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let at = |index: usize| bytes.get(index).copied();
    let command = match at(12) {
        None => return Ok(None),
        Some(0x20) => Command::Local,
        Some(0x21) => Command::Proxy,
        Some(_) => return Err(Fault::Malformed),
    };
    let family = match (command, at(13)) {
        (_, None) => return Ok(None),
        // "The receiver must […] discard the protocol block including the family".
        (Command::Local, Some(_)) => Family::Other,
        (Command::Proxy, Some(0x11)) => Family::Tcp4,
        (Command::Proxy, Some(0x21)) => Family::Tcp6,
        // Unspecified, datagrams, Unix sockets.
        (Command::Proxy, Some(0x00 | 0x12 | 0x22 | 0x31 | 0x32)) => Family::Other,
        (Command::Proxy, Some(_)) => return Err(Fault::Malformed),
    };
    let (Some(high), Some(low)) = (at(14), at(15)) else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len < family.len() {
        return Err(Fault::Malformed);
    }
    if len > V2_LENGTH_MAX {
        return Err(Fault::TooLong);
    }
    let Some(block) = bytes.get(V2_HEAD_BYTES..V2_HEAD_BYTES + len) else { return Ok(None) };
    // What follows the addresses are extensions, which are skipped.
    let source = family.source(block);
    Ok(Some(Header { bytes: V2_HEAD_BYTES + len, version: Version::V2, source }))
}

/// What a header of version 2 is for.
#[derive(Debug, Clone, Copy)]
enum Command {
    Local,
    Proxy,
}

/// What the addresses of version 2 are.
#[derive(Debug, Clone, Copy)]
enum Family {
    Tcp4,
    Tcp6,
    Other,
}

impl Family {
    /// Bytes of both addresses and both ports.
    fn len(self) -> usize {
        match self {
            Self::Tcp4 => 12,
            Self::Tcp6 => 36,
            Self::Other => 0,
        }
    }

    fn source(self, block: &[u8]) -> Option<SocketAddr> {
        let port = |at: usize| Some(u16::from_be_bytes([*block.get(at)?, *block.get(at + 1)?]));
        match self {
            Self::Tcp4 => Some((Ipv4Addr::from(*block.first_chunk::<4>()?), port(8)?).into()),
            Self::Tcp6 => Some((Ipv6Addr::from(*block.first_chunk::<16>()?), port(32)?).into()),
            Self::Other => None,
        }
    }
}

const SIGNATURE_V1: &[u8] = b"PROXY ";
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end.
const V1_BYTES_MAX: usize = 107;
/// What stands before the addresses in version 2.
const V2_HEAD_BYTES: usize = 16;
/// The longest addresses and extensions of version 2 that are read.
pub const V2_LENGTH_MAX: usize = 4 << 10;

/// Reads the bytes of a script as a connection's first, for the fuzzer and the tests. A first byte below 128
/// puts the start of a header before them.
///
/// # Panics
/// When a law is broken: a header is found when its last byte came and not before, whatever follows, and a fault
/// is final.
pub fn drive(script: &[u8]) {
    let Some((&first, rest)) = script.split_first() else { return };
    let start: &[u8] = match first {
        0..32 => SIGNATURE_V2,
        32..64 => b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0",
        64..80 => b"PROXY ",
        80..128 => b"PROXY TCP4 1.2.3.4 ",
        _ => b"",
    };
    let bytes = [start, rest].concat();
    let whole = parse(&bytes);
    let mut before = Ok(None);
    for end in 0..=bytes.len() {
        let now = parse(&bytes[..end]);
        assert!(before == Ok(None) || now == before, "what is found at one byte holds at all later ones");
        if before == Ok(None)
            && let Ok(Some(header)) = now
        {
            assert_eq!(header.bytes, end, "a header is found when its last byte came");
            assert!(end <= V2_HEAD_BYTES + V2_LENGTH_MAX, "it is bounded");
        }
        before = now;
    }
    assert_eq!(before, whole);
    assert!(whole != Ok(None) || bytes.len() < V2_HEAD_BYTES + V2_LENGTH_MAX, "waiting is bounded");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let len = u16::try_from(block.len()).unwrap().to_be_bytes();
        [SIGNATURE_V2, &[command, family], &len, block].concat()
    }

    fn source(bytes: &[u8]) -> Result<Option<String>, Fault> {
        let behind = [bytes, b"PRI * HTTP/2.0\r\n"].concat();
        let header = parse(&behind)?.expect("it is whole");
        assert_eq!(header.bytes, bytes.len(), "nothing behind it belongs to it");
        Ok(header.source.map(|source| source.to_string()))
    }

    #[test]
    fn lines_of_version_1() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(107 - 16));
        for (line, want) in [
            ("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n", Some("192.0.2.1:56324")),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Some("255.255.255.255:65535")),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 0 0\r\n", Some("192.0.2.1:0")),
            ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", Some("[2001:db8::1]:1")),
            (
                "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 whatever 1\r\n", None),
            (&longest, None),
        ] {
            assert_eq!(source(line.as_bytes()), Ok(want.map(str::to_owned)), "{line}");
        }
        for line in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY tcp4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 2 \r\n",
            "PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n",
            "PROXY TCP4 192.0.2.01 10.0.0.1 1 2\r\n",
            "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 01 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 nonsense 1 2\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(Fault::Malformed), "{line}");
        }
        assert_eq!(parse(b"PROXY TCP4 \xff\r\n"), Err(Fault::Malformed));
        assert_eq!(parse(longest.replace('\r', "ff").as_bytes()), Err(Fault::TooLong));
        for other in
            ["GET / HTTP/1.1\r\n", "PRI * HTTP/2.0", "PROXZ", "proxy tcp4", "\r\n\r\nGET", "\x16\x03\x01"]
        {
            assert_eq!(parse(other.as_bytes()), Err(Fault::Missing), "{other}");
        }
        for begun in ["", "P", "PR", "PROXY TCP4 192", "\r", "\r\n\r\n\0\r\nQUIT"] {
            assert_eq!(parse(begun.as_bytes()), Ok(None), "{begun}");
        }
    }

    #[test]
    fn blocks_of_version_2() {
        let inet = [192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb];
        let mut inet6 = [0; 36];
        inet6[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        (inet6[15], inet6[33]) = (1, 80);
        let tlvs = [&inet[..], &[3, 0, 4, 1, 2, 3, 4, 0x20, 0, 2, 9, 9]].concat();
        let full = [&inet[..], &[0; V2_LENGTH_MAX - 12]].concat();
        for (command, family, block, want) in [
            (0x21, 0x11, &inet[..], Some("192.0.2.1:56324")),
            (0x21, 0x11, &tlvs, Some("192.0.2.1:56324")),
            (0x21, 0x11, &full, Some("192.0.2.1:56324")),
            (0x21, 0x21, &inet6, Some("[2001:db8::1]:80")),
            (0x21, 0x12, &inet, None),
            (0x21, 0x22, &inet6, None),
            (0x21, 0x31, &[b'/'; 216], None),
            (0x21, 0x00, &[], None),
            (0x21, 0x00, &[1, 2, 3], None),
            (0x20, 0x00, &[], None),
            (0x20, 0x11, &inet, None),
            (0x20, 0xff, &[7], None),
        ] {
            let bytes = v2(command, family, block);
            assert_eq!(source(&bytes), Ok(want.map(str::to_owned)), "{command:x} {family:x} {}", block.len());
        }
        for (command, family, block) in [
            (0x11, 0x11, &inet[..]),
            (0x31, 0x11, &inet),
            (0x22, 0x11, &inet),
            (0x21, 0x13, &inet),
            (0x21, 0x10, &inet),
            (0x21, 0x41, &inet),
            (0x21, 0x11, &inet[..11]),
            (0x21, 0x21, &inet6[..35]),
        ] {
            let bytes = v2(command, family, block);
            assert_eq!(parse(&bytes), Err(Fault::Malformed), "{command:x} {family:x} {}", block.len());
        }
        let long = v2(0x21, 0x11, &[0; V2_LENGTH_MAX + 1]);
        assert_eq!(parse(&long[..V2_HEAD_BYTES]), Err(Fault::TooLong), "before it is read");
    }

    #[test]
    fn seeded_scripts_keep_the_laws() {
        let words: [&[u8]; 16] = [
            b"PROXY ",
            b"TCP4 ",
            b"TCP6 ",
            b"UNKNOWN",
            b"1.2.3.4",
            b"::1",
            b" ",
            b"1 ",
            b"65535",
            b"\r\n",
            b"\r",
            b"\n",
            b"\x21\x11\0\x0c",
            b"\x20\0\0\x01",
            b"\x21\x21\0\x24",
            b"\0\0\0\0\0\0\0\0\0\0\0\0",
        ];
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut script = Vec::new();
        for _ in 0..100_000 {
            script.clear();
            script.push(random.to_le_bytes()[5]);
            for _ in 0..random % 12 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                script.extend_from_slice(words[usize::from(random.to_le_bytes()[3]) % words.len()]);
            }
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            drive(&script);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_keep_the_laws(script in prop::collection::vec(any::<u8>(), 0..200)) {
            drive(&script);
        }
    }
}

//! Reads what proxies say of a request's way: `X-Forwarded-For` and `Forwarded` (RFC 7239).
//!
//! Each proxy adds the address of its own client at the right. So both are read from the right, as long as what
//! is named is a trusted proxy: the first other address is the client, and what stands left of it is only
//! what that client says. What can't be read ends the way as well; the address before it holds then.

use std::borrow::Cow;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use crate::call::Trusted;

/// Who calls, as far as it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The client's address; IPv4 is never written in IPv6.
    pub address: IpAddr,
    /// What the client itself spoke.
    pub scheme: Scheme,
}

/// Whether a client speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As URLs have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Reads it in any case. Some proxies say `wss` of a WebSocket.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let is = |name: &str| text.eq_ignore_ascii_case(name.as_bytes());
        if is("https") || is("wss") {
            return Some(Self::Https);
        }
        (is("http") || is("ws")).then_some(Self::Http)
    }
}

/// The client by the lines of `X-Forwarded-For` that came from a trusted proxy of the address `from`.
pub fn by_list<'a>(
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    from: IpAddr,
    trusted: &Trusted,
) -> IpAddr {
    let elements = lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    let elements = elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty());
    let mut client = from;
    for element in elements.take(HOPS_MAX) {
        let Some(address) = node(element) else { break };
        client = address;
        if !trusted.has(address) {
            break;
        }
    }
    client
}

/// The client by the lines of `Forwarded` that came from `from`, a trusted proxy; its scheme holds where none
/// is said.
pub fn by_elements<'a>(
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    from: Origin,
    trusted: &Trusted,
) -> Origin {
    let elements = lines.rev().flat_map(|line| Elements(Some(line)));
    let elements = elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty());
    let mut client = from;
    for element in elements.take(HOPS_MAX) {
        let Some(hop) = Hop::read(element) else { break };
        client.scheme = hop.scheme.unwrap_or(client.scheme);
        let Some(address) = hop.address else { break };
        client.address = address;
        if !trusted.has(address) {
            break;
        }
    }
    client
}

/// The last one of the schemes that `X-Forwarded-Proto` has, which the nearest proxy wrote.
pub fn last_scheme<'a>(mut lines: impl DoubleEndedIterator<Item = &'a [u8]>) -> Option<Scheme> {
    let last = lines.next_back()?.rsplit(|byte| *byte == b',').next()?;
    Scheme::parse(last.trim_ascii())
}

/// The elements of a line of `Forwarded`, the last one first.
///
/// They are cut from the right, so that a quote which a client left open hides nothing of what its proxy
/// wrote behind it.
struct Elements<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = self.0.take()?;
        let mut quoted = false;
        for (at, byte) in line.iter().enumerate().rev() {
            match byte {
                b'"' if !is_escaped(&line[..at]) => quoted = !quoted,
                b',' if !quoted => {
                    self.0 = Some(&line[..at]);
                    return Some(&line[at + 1..]);
                }
                _ => {}
            }
        }
        Some(line)
    }
}

/// Whether the byte behind these stands after a backslash that counts.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// One element of `Forwarded`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hop {
    /// `None` where it is not told, or hidden behind `unknown` or a name.
    address: Option<IpAddr>,
    scheme: Option<Scheme>,
}

impl Hop {
    //= https://www.rfc-editor.org/rfc/rfc7239#section-4
    //# forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair ] )
    fn read(mut rest: &[u8]) -> Option<Self> {
        let (mut node_said, mut scheme_said) = (None, None);
        loop {
            rest = rest.trim_ascii_start();
            match rest.first() {
                None => break,
                Some(b';') => {
                    rest = &rest[1..];
                    continue;
                }
                Some(_) => {}
            }
            let end = rest.iter().position(|byte| *byte == b'=')?;
            let name = &rest[..end];
            let (value, behind) = value(&rest[end + 1..])?;
            rest = behind;
            //= https://www.rfc-editor.org/rfc/rfc7239#section-4
            //# Each parameter MUST NOT occur more than once per field-value.
            let said = match name {
                _ if !name.iter().copied().all(is_token) || name.is_empty() => return None,
                _ if name.eq_ignore_ascii_case(b"for") => node_said.replace(value),
                _ if name.eq_ignore_ascii_case(b"proto") => scheme_said.replace(value),
                _ => None,
            };
            if said.is_some() {
                return None;
            }
        }
        Some(Self {
            address: node_said.and_then(|said| node(&said)),
            scheme: scheme_said.and_then(|said| Scheme::parse(&said)),
        })
    }
}

/// The value at the start of a text, and what follows it: nothing, or a semicolon.
fn value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| *byte == b';').unwrap_or(text.len());
        let value = text[..end].trim_ascii_end();
        // Proxies write IPv6 without quotes, against the RFC; a colon and brackets do no harm.
        let is_plain = |byte: u8| is_token(byte) || matches!(byte, b':' | b'[' | b']');
        let is_good = !value.is_empty() && value.iter().copied().all(is_plain);
        return is_good.then_some((value.into(), &text[end..]));
    };
    let end = (0..quoted.len()).find(|at| quoted[*at] == b'"' && !is_escaped(&quoted[..*at]))?;
    let behind = quoted[end + 1..].trim_ascii_start();
    if !matches!(behind.first(), None | Some(b';')) {
        return None;
    }
    let mut value = Cow::Borrowed(&quoted[..end]);
    if value.contains(&b'\\') {
        let mut bytes = value.iter().copied();
        let mut plain = Vec::with_capacity(end);
        while let Some(byte) = bytes.next() {
            plain.push(if byte == b'\\' { bytes.next()? } else { byte });
        }
        value = plain.into();
    }
    Some((value, behind))
}

/// The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`; `None` for
/// everything else, `unknown` and names that hide one (`_gazonk`) among it.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, behind) = rest.split_once(']')?;
        let is_good = behind.is_empty() || behind.strip_prefix(':').is_some_and(is_port);
        let address: Ipv6Addr = address.parse().ok().filter(|_| is_good)?;
        return Some(IpAddr::V6(address).to_canonical());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = text.split_once(':')?;
    let address: Ipv4Addr = address.parse().ok().filter(|_| is_port(port))?;
    Some(IpAddr::V4(address))
}

/// A port, or a name that hides it (RFC 7239, section 6).
fn is_port(text: &str) -> bool {
    let hides = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match text.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(hides),
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Proxies that are looked at in one request; who is behind more of them isn't found out.
const HOPS_MAX: usize = 32;

/// Reads a script as a value of both headers, for the fuzzer and the tests.
///
/// # Panics
/// When a law is broken: the cut into lines doesn't matter, and whatever a client says, the address that its
/// proxy adds is the one that is found.
pub fn drive(script: &[u8]) {
    let proxy = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let from = Origin { address: proxy, scheme: Scheme::Http };
    let trusted = Trusted::new(&["10.0.0.0/8".parse().expect("it is a network")]);
    let list = by_list([script].into_iter(), proxy, &trusted);
    let cut: Vec<&[u8]> = script.split(|byte| *byte == b',').collect();
    assert_eq!(by_list(cut.into_iter(), proxy, &trusted), list, "the cut into lines doesn't matter");
    let origin = by_elements([script].into_iter(), from, &trusted);
    let mut cut: Vec<&[u8]> = Elements(Some(script)).collect();
    cut.reverse();
    assert_eq!(by_elements(cut.into_iter(), from, &trusted), origin, "the cut into lines doesn't matter");
    assert!(node(script).is_none_or(|said| said == list), "it says one address");

    let client = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    for added in [&b", 203.0.113.7"[..], b",203.0.113.7:80", b", 203.0.113.7, 10.9.9.9, ,"] {
        let line = [script, added].concat();
        assert_eq!(by_list([&*line].into_iter(), proxy, &trusted), client, "what the proxy adds is believed");
    }
    for added in [
        &b", for=203.0.113.7;proto=https"[..],
        b",Proto=\"https\"; For=\"203.0.113.7:_x\", for=10.9.9.9;by=_y",
    ] {
        let line = [script, added].concat();
        let want = Origin { address: client, scheme: Scheme::Https };
        assert_eq!(
            by_elements([&*line].into_iter(), from, &trusted),
            want,
            "what the proxy adds is believed"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trusted() -> Trusted {
        Trusted::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()])
    }

    const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    fn bytes<'a>(lines: &'a [&str]) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        lines.iter().map(|line| line.as_bytes())
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right() {
        let table: [(&[&str], &str); 24] = [
            (&[], "10.0.0.1"),
            (&["192.0.2.1"], "192.0.2.1"),
            (&["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
            (&["6.6.6.6, 192.0.2.1, 10.0.0.9,10.0.0.8"], "192.0.2.1"),
            (&["6.6.6.6", "192.0.2.1", "10.0.0.9"], "192.0.2.1"),
            // All are trusted: the first of them is the client.
            (&["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
            // Empty elements are none (RFC 9110, section 5.6.1).
            (&[" , 192.0.2.1 ,\t,", ""], "192.0.2.1"),
            (&["", ","], "10.0.0.1"),
            (&["192.0.2.1:8080"], "192.0.2.1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["[2001:db8::1]:8080, fd00::1"], "2001:db8::1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, ::ffff:10.0.0.8"], "192.0.2.1"),
            // What can't be read ends the way, and the last good one holds.
            (&["192.0.2.1, unknown"], "10.0.0.1"),
            (&["192.0.2.1, unknown, 10.0.0.9"], "10.0.0.9"),
            (&["192.0.2.1, _hidden, 10.0.0.9"], "10.0.0.9"),
            (&["192.0.2.01"], "10.0.0.1"),
            (&["192.0.2.1:"], "10.0.0.1"),
            (&["192.0.2.1:123456"], "10.0.0.1"),
            (&["[192.0.2.1]"], "10.0.0.1"),
            (&["[2001:db8::1"], "10.0.0.1"),
            (&["fe80::1%eth0"], "10.0.0.1"),
            (&["\"192.0.2.1\""], "10.0.0.1"),
        ];
        for (lines, client) in table {
            let found = by_list(bytes(lines), PROXY, &trusted());
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{lines:?}");
        }
        assert_eq!(by_list([&b"\xff"[..]].into_iter(), PROXY, &trusted()), PROXY);
    }

    #[test]
    fn hops_are_bounded() {
        let proxies = |count| std::iter::repeat_n("10.0.0.7", count).collect::<Vec<_>>().join(", ");
        let line = |count| format!("192.0.2.1, {}", proxies(count));
        let found = |line: &str| by_list(bytes(&[line]), PROXY, &trusted()).to_string();
        assert_eq!(found(&line(HOPS_MAX - 1)), "192.0.2.1");
        assert_eq!(found(&line(HOPS_MAX)), "10.0.0.7");
    }

    #[test]
    fn forwarded_is_read_from_the_right() {
        use Scheme::Http;
        use Scheme::Https;
        let table: [(&[&str], &str, Scheme); 34] = [
            (&[], "10.0.0.1", Http),
            (&["for=192.0.2.1"], "192.0.2.1", Http),
            (&["for=192.0.2.1;proto=https"], "192.0.2.1", Https),
            (&["FOR=192.0.2.1 ; Proto=HTTPS;by=203.0.113.43;host=a.test"], "192.0.2.1", Https),
            (&["proto=https;for=192.0.2.1;"], "192.0.2.1", Https),
            (&["for=6.6.6.6, for=192.0.2.1, for=10.0.0.9"], "192.0.2.1", Http),
            (&["for=6.6.6.6", "for=192.0.2.1", "for=10.0.0.9"], "192.0.2.1", Http),
            // The scheme is that of the client's own element, or else of the one nearest to it.
            (&["for=192.0.2.1;proto=https, for=10.0.0.9;proto=http"], "192.0.2.1", Https),
            (&["for=192.0.2.1, for=10.0.0.9;proto=https"], "192.0.2.1", Https),
            (&["for=6.6.6.6;proto=https, for=192.0.2.1"], "192.0.2.1", Http),
            (&["for=192.0.2.1;proto=gopher"], "192.0.2.1", Http),
            (&["for=10.0.0.9, for=10.0.0.8"], "10.0.0.9", Http),
            (&["for=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17", Http),
            (&["for=\"[2001:db8::1]\";proto=\"https\", for=\"[fd00::1]:80\""], "2001:db8::1", Https),
            (&["for=\"192.0.2.1:_obfuscated\""], "192.0.2.1", Http),
            (&["for=192.0.2.1:80"], "192.0.2.1", Http),
            (&["for=2001:db8::1"], "2001:db8::1", Http),
            (&["for=[2001:db8::1]:80"], "2001:db8::1", Http),
            (&["for=\"192\\.0.2.1\""], "192.0.2.1", Http),
            (&["for=192.0.2.1;host=\"a,b;for=6.6.6.6\\\"\""], "192.0.2.1", Http),
            (&[", ,for=192.0.2.1, ,", ""], "192.0.2.1", Http),
            // Hidden, or not said: the last good one holds.
            (&["for=192.0.2.1, for=unknown"], "10.0.0.1", Http),
            (&["for=192.0.2.1, for=_gazonk, for=10.0.0.9"], "10.0.0.9", Http),
            (&["for=192.0.2.1, for=\"_SEVKISEK\""], "10.0.0.1", Http),
            (&["for=192.0.2.1, proto=https"], "10.0.0.1", Https),
            // Broken.
            (&["for=192.0.2.1;for=192.0.2.2"], "10.0.0.1", Http),
            (&["for = 192.0.2.1"], "10.0.0.1", Http),
            (&["for="], "10.0.0.1", Http),
            (&["192.0.2.1"], "10.0.0.1", Http),
            (&["for=\"192.0.2.1\"x"], "10.0.0.1", Http),
            (&["for=192.0.2.1, ;=x"], "10.0.0.1", Http),
            (&["for=192.0.2.1 10.0.0.1"], "10.0.0.1", Http),
            // A quote that a client left open hides nothing of what its proxy wrote.
            (&["for=6.6.6.6;host=\", for=192.0.2.1;proto=https"], "192.0.2.1", Https),
            (&["for=6.6.6.6;host=\"\\, for=\"[2001:db8::1]:9\""], "2001:db8::1", Http),
        ];
        let from = Origin { address: PROXY, scheme: Http };
        for (lines, client, scheme) in table {
            let found = by_elements(bytes(lines), from, &trusted());
            assert_eq!(found, Origin { address: client.parse().unwrap(), scheme }, "{lines:?}");
        }
    }

    #[test]
    fn the_nearest_proxy_says_the_scheme() {
        for (lines, scheme) in [
            (&[][..], None),
            (&["https"], Some(Scheme::Https)),
            (&[" HTTP\t"], Some(Scheme::Http)),
            (&["http, https"], Some(Scheme::Https)),
            (&["https", "http"], Some(Scheme::Http)),
            (&["wss"], Some(Scheme::Https)),
            (&["https,"], None),
            (&["https;"], None),
        ] {
            assert_eq!(last_scheme(bytes(lines)), scheme, "{lines:?}");
        }
    }

    #[test]
    fn seeded_scripts_keep_the_laws() {
        let words: [&[u8]; 24] = [
            b"for=",
            b"For=",
            b"proto=",
            b"https",
            b"http",
            b"by=",
            b"192.0.2.1",
            b"10.0.0.9",
            b"2001:db8::1",
            b"[2001:db8::1]",
            b":80",
            b":_x",
            b"unknown",
            b"_x",
            b"\"",
            b"\\",
            b"\\\"",
            b",",
            b", ",
            b";",
            b"; ",
            b"=",
            b" ",
            b"\xff",
        ];
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut script = Vec::new();
        for _ in 0..200_000 {
            script.clear();
            for _ in 0..random % 14 {
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
        fn any_bytes_keep_the_laws(script in prop::collection::vec(any::<u8>(), 0..80)) {
            drive(&script);
        }
    }
}

//! Who calls, by the connection and by what trusted proxies say, and what upstreams are told of it.
//!
//! Of the two headers that proxies use, `X-Forwarded-For` is believed where it came, and `Forwarded` where only
//! that came: most proxies know one of them, and pass on what their clients say in the other. What isn't believed
//! isn't passed on.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

use crate::call::Connection;
use crate::call::Origin;
use crate::call::Scheme;
use crate::call::forwarded;
use crate::call::metadata::CLIENT_CERTIFICATE;
use crate::call::metadata::says_origin;

/// What upstreams are told of who calls.
#[derive(Debug)]
pub struct Onward {
    scheme: Scheme,
    /// `None`: the peer itself calls.
    way: Option<Box<Way>>,
}

/// What trusted proxies said, and what the gateway adds.
#[derive(Debug)]
struct Way {
    forwarded_for: HeaderValue,
    forwarded: Option<HeaderValue>,
    /// What else they said, such as `X-Forwarded-Host`.
    others: Vec<(HeaderName, HeaderValue)>,
}

impl Onward {
    /// Reads the head of a request as it came, before a bridge makes metadata of it.
    pub fn read(connection: &Connection, headers: &HeaderMap) -> (Origin, Self) {
        let peer = connection.origin();
        if !connection.is_trusted() || !headers.keys().any(|name| says_origin(name.as_str())) {
            return (peer, Self { scheme: peer.scheme, way: None });
        }
        let mut origin = peer;
        let mut forwarded = None;
        let mut forwarded_for = connection.peer_text().clone();
        if headers.contains_key(FORWARDED_FOR) {
            origin.address =
                forwarded::by_list(lines(headers, FORWARDED_FOR), peer.address, &connection.trusted);
            forwarded_for = append(lines(headers, FORWARDED_FOR), forwarded_for);
        } else if headers.contains_key(header::FORWARDED) {
            origin = forwarded::by_elements(lines(headers, header::FORWARDED), peer, &connection.trusted);
            forwarded = Some(append(lines(headers, header::FORWARDED), element(peer)));
            if origin.address != peer.address {
                let client = origin.address.to_string();
                forwarded_for = append([client.as_bytes()].into_iter(), forwarded_for);
            }
        }
        if let Some(scheme) = forwarded::last_scheme(lines(headers, FORWARDED_PROTO)) {
            origin.scheme = scheme;
        }
        let others = headers.iter().filter(|(name, _)| is_other(name.as_str()));
        let others = others.map(|(name, value)| (name.clone(), value.clone())).collect();
        let way = Some(Box::new(Way { forwarded_for, forwarded, others }));
        (origin, Self { scheme: origin.scheme, way })
    }

    /// Says it in the metadata of a call.
    pub fn tell(self, connection: &Connection, metadata: &mut HeaderMap) {
        metadata.insert(FORWARDED_PROTO, HeaderValue::from_static(self.scheme.name()));
        let Some(way) = self.way else {
            metadata.insert(FORWARDED_FOR, connection.peer_text().clone());
            return;
        };
        let Way { forwarded_for, forwarded, others } = *way;
        metadata.insert(FORWARDED_FOR, forwarded_for);
        if let Some(forwarded) = forwarded {
            metadata.insert(header::FORWARDED, forwarded);
        }
        for (name, value) in others {
            metadata.append(name, value);
        }
    }
}

fn lines(headers: &HeaderMap, name: HeaderName) -> impl DoubleEndedIterator<Item = &[u8]> {
    headers.get_all(name).into_iter().map(HeaderValue::as_bytes)
}

/// One line of all of them and a last element.
fn append<'a>(lines: impl Iterator<Item = &'a [u8]>, last: HeaderValue) -> HeaderValue {
    let mut all = Vec::new();
    for line in lines.map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        all.extend_from_slice(line);
        all.extend_from_slice(b", ");
    }
    all.extend_from_slice(last.as_bytes());
    HeaderValue::try_from(all).unwrap_or(last)
}

/// The element of `Forwarded` for a request that this peer sent (RFC 7239, section 6: IPv6 is in brackets and
/// quotes).
fn element(peer: Origin) -> HeaderValue {
    let scheme = peer.scheme.name();
    let text = match peer.address.is_ipv6() {
        true => format!("for=\"[{}]\";proto={scheme}", peer.address),
        false => format!("for={};proto={scheme}", peer.address),
    };
    HeaderValue::try_from(text).expect("digits, letters and signs")
}

/// Whether a trusted proxy's field goes on as it came; what is written with underscores is no proxy's.
fn is_other(name: &str) -> bool {
    let is_own = matches!(name, "x-forwarded-for" | "x-forwarded-proto" | "forwarded" | CLIENT_CERTIFICATE);
    says_origin(name) && !name.contains('_') && !is_own
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Trusted;

    /// What comes of a request from `peer` with these fields: who calls, and what upstreams are told.
    fn told(peer: &str, fields: &[(&'static str, &str)]) -> (String, String) {
        let trusted = Trusted::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let connection = Connection::new(peer.parse().unwrap(), "main".into(), 100, trusted);
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let (origin, onward) = Onward::read(&connection, &headers);
        crate::call::metadata::clean_request(&mut headers);
        onward.tell(&connection, &mut headers);
        let mut said: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        said.sort();
        (format!("{}://{}", origin.scheme.name(), origin.address), said.join("\n"))
    }

    #[test]
    fn nobody_believes_a_stranger() {
        let forged = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.test"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6;proto=https"),
            ("x-mine", "1"),
        ];
        let want = "x-forwarded-for: 192.0.2.1\nx-forwarded-proto: http";
        assert_eq!(
            told("192.0.2.1:99", &forged),
            ("http://192.0.2.1".into(), format!("{want}\nx-mine: 1")),
            "all of it is gone"
        );
        assert_eq!(told("192.0.2.1:99", &[]), ("http://192.0.2.1".into(), want.into()));
        let mapped = told("[::ffff:192.0.2.1]:99", &[]);
        assert_eq!(mapped, ("http://192.0.2.1".into(), want.into()), "IPv4 on a socket of IPv6 is IPv4");
    }

    #[test]
    fn trusted_proxies_are_believed_and_their_address_is_added() {
        type Row<'a> = (&'a str, &'a [(&'static str, &'a str)], &'a str, &'a str);
        let table: [Row<'_>; 9] = [
            ("10.0.0.1:1", &[], "http://10.0.0.1", "x-forwarded-for: 10.0.0.1\nx-forwarded-proto: http"),
            (
                "10.0.0.1:1",
                &[("x-forwarded-for", "6.6.6.6, 192.0.2.1"), ("x-forwarded-for", "10.0.0.2")],
                "http://192.0.2.1",
                "x-forwarded-for: 6.6.6.6, 192.0.2.1, 10.0.0.2, 10.0.0.1\nx-forwarded-proto: http",
            ),
            (
                "[fd00::1]:1",
                &[("x-forwarded-for", "2001:db8::1"), ("x-forwarded-proto", "HTTPS")],
                "https://2001:db8::1",
                "x-forwarded-for: 2001:db8::1, fd00::1\nx-forwarded-proto: https",
            ),
            (
                "[fd00::1]:1",
                &[("forwarded", "for=6.6.6.6, for=192.0.2.1;proto=https")],
                "https://192.0.2.1",
                "forwarded: for=6.6.6.6, for=192.0.2.1;proto=https, for=\"[fd00::1]\";proto=http\n\
                 x-forwarded-for: 192.0.2.1, fd00::1\nx-forwarded-proto: https",
            ),
            (
                "10.0.0.1:1",
                &[("forwarded", "for=unknown")],
                "http://10.0.0.1",
                "forwarded: for=unknown, for=10.0.0.1;proto=http\n\
                 x-forwarded-for: 10.0.0.1\nx-forwarded-proto: http",
            ),
            // A proxy that knows one header passes on what its client says in the other.
            (
                "10.0.0.1:1",
                &[("forwarded", "for=6.6.6.6;proto=https"), ("x-forwarded-for", "192.0.2.1")],
                "http://192.0.2.1",
                "x-forwarded-for: 192.0.2.1, 10.0.0.1\nx-forwarded-proto: http",
            ),
            (
                "10.0.0.1:1",
                &[("x-forwarded-for", " , ")],
                "http://10.0.0.1",
                "x-forwarded-for: ,, 10.0.0.1\nx-forwarded-proto: http",
            ),
            (
                "10.0.0.1:1",
                &[
                    ("x-forwarded-host", "a.test"),
                    ("x-forwarded-host", "b.test"),
                    ("x-forwarded-port", "443"),
                    ("x_forwarded_host", "forged"),
                    ("x-real-ip", "192.0.2.1"),
                    ("x-forwarded-client-cert", "Hash=00"),
                ],
                "http://10.0.0.1",
                "x-forwarded-for: 10.0.0.1\nx-forwarded-host: a.test\nx-forwarded-host: b.test\n\
                 x-forwarded-port: 443\nx-forwarded-proto: http\nx-real-ip: 192.0.2.1",
            ),
            (
                "10.0.0.1:1",
                &[("x-forwarded-proto", "gopher"), ("x-forwarded-for", "nonsense")],
                "http://10.0.0.1",
                "x-forwarded-for: nonsense, 10.0.0.1\nx-forwarded-proto: http",
            ),
        ];
        for (peer, fields, origin, said) in table {
            assert_eq!(told(peer, fields), (origin.into(), said.into()), "{peer} {fields:?}");
        }
    }

    #[test]
    fn a_told_peer_is_judged_by_its_own_address() {
        let trusted = Trusted::new(&["10.0.0.0/8".parse().unwrap()]);
        let mut connection = Connection::new("10.0.0.1:1".parse().unwrap(), "main".into(), 100, trusted);
        assert!(connection.is_trusted());
        connection.tell_peer("192.0.2.1:2".parse().unwrap());
        assert!(!connection.is_trusted(), "what a client says through a proxy of TCP is its own word");
        assert_eq!(connection.socket.to_string(), "10.0.0.1:1");
        assert_eq!(connection.peer_text(), "192.0.2.1");
    }
}

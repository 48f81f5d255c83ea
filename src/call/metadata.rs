//! Which headers are metadata, and which belong to HTTP or to the gateway.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

/// Removes from a client's head what belongs to its own hop or only the gateway may say. Who calls is told
/// anew by [`Onward`](crate::call::Onward).
///
/// Names that `Connection` lists are hop-by-hop too (RFC 9110, section 7.6.1); over HTTP/2
/// the field itself is malformed and never gets here.
pub fn clean_request(headers: &mut HeaderMap) {
    clean(headers, |name| {
        is_of_the_hop(name)
            || matches!(name, "host" | "content-length" | "accept-encoding")
            || says_origin(name)
            || (name.starts_with('x') && IDENTITY.iter().any(|own| same_but_for_underscores(name, own)))
    });
}

/// Makes metadata of the head of a client that doesn't speak gRPC itself: `Grpc-Metadata-X` is
/// `x`, and other fields of gRPC's own and of HTTP's representation are dropped.
///
/// The prefix goes first, so that nothing hides behind it.
pub fn adopt_request(headers: &mut HeaderMap) {
    let prefixed: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in prefixed {
        let Ok(bare) = HeaderName::from_bytes(&name.as_str().as_bytes()[PREFIX.len()..]) else {
            headers.remove(&name);
            continue;
        };
        let values: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
        headers.remove(&name);
        for value in values {
            headers.append(bare.clone(), value);
        }
    }
    let own: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.starts_with("grpc-")
                || name.starts_with("sec-websocket-")
                || matches!(name, "content-encoding" | "content-type" | "expect" | "if-none-match")
        })
        .cloned()
        .collect();
    for name in own {
        headers.remove(name);
    }
    clean_request(headers);
}

/// Removes from an upstream's head what means nothing to a client that doesn't speak gRPC, or
/// would belie the response that the gateway writes.
pub fn adopt_reply(headers: &mut HeaderMap) {
    clean(headers, |name| {
        is_of_the_hop(name)
            || matches!(name, "content-length" | "content-encoding" | "content-type" | "trailer")
            || name.starts_with("grpc-")
            || name.starts_with("access-control-")
    });
}

/// Removes from an upstream's head what belongs to its own hop, or would speak for the gateway to a
/// web page.
pub fn clean_web_reply(headers: &mut HeaderMap) {
    clean(headers, |name| {
        is_of_the_hop(name)
            || matches!(name, "content-length" | "content-encoding" | "trailer")
            || name.starts_with("access-control-")
    });
}

/// Removes from an upstream's head what belongs to its own hop, or would speak for the gateway to a
/// web page.
pub fn clean_reply(headers: &mut HeaderMap) {
    clean(headers, |name| {
        is_of_the_hop(name) || name == "content-length" || name.starts_with("access-control-")
    });
}

/// One look at each name costs less than a look-up of each that may not pass.
fn clean(headers: &mut HeaderMap, is_dropped: impl Fn(&str) -> bool) {
    if !headers.keys().any(|name| is_dropped(name.as_str())) {
        return;
    }
    if headers.contains_key(header::CONNECTION) {
        remove_listed(headers);
    }
    let dropped: Vec<HeaderName> = headers.keys().filter(|name| is_dropped(name.as_str())).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
}

/// Whether a field belongs to one connection (RFC 9110, section 7.6.1).
fn is_of_the_hop(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'c') => name == "connection",
        Some(b'k') => name == "keep-alive",
        Some(b'p') => matches!(name, "proxy-authenticate" | "proxy-authorization" | "proxy-connection"),
        Some(b't') => matches!(name, "te" | "transfer-encoding"),
        Some(b'u') => name == "upgrade",
        _ => false,
    }
}

/// Whether a field says where a request comes from, to any reader: clients may say what they like in it.
pub fn says_origin(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'f') => name == "forwarded",
        Some(b'x') => {
            let begins =
                |with: &str| name.get(..with.len()).is_some_and(|n| same_but_for_underscores(n, with));
            begins("x-forwarded-") || same_but_for_underscores(name, "x-real-ip")
        }
        _ => false,
    }
}

/// Compares names as CGI-like backends do, which read `_` and `-` alike.
fn same_but_for_underscores(name: &str, own: &str) -> bool {
    name.len() == own.len() && name.bytes().zip(own.bytes()).all(|(a, b)| a == b || (a == b'_' && b == b'-'))
}

fn remove_listed(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in listed {
        headers.remove(name);
    }
}

/// The names under which the gateway tells the upstream who calls.
pub const IDENTITY: [&str; 4] =
    ["x-consumer-name", "x-consumer-groups", "x-credential-id", CLIENT_CERTIFICATE];

/// The name under which the gateway tells the upstream of the client's certificate.
pub const CLIENT_CERTIFICATE: &str = "x-forwarded-client-cert";

/// What stands before metadata in the headers of clients that don't speak gRPC.
const PREFIX: &str = "grpc-metadata-";

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::HeaderValue;

    use super::clean_request;

    #[test]
    fn identity_and_hop_by_hop_headers_go_and_metadata_stays() {
        let mut headers = HeaderMap::new();
        for name in [
            "x-consumer-name",
            "x_consumer_name",
            "x-consumer_groups",
            "x-credential-id",
            "x-forwarded-client-cert",
            "x_forwarded_client-cert",
            "x-forwarded-for",
            "x-forwarded_for",
            "x_forwarded_host",
            "x-forwarded-proto",
            "x-forwarded-port",
            "x-real-ip",
            "x_real_ip",
            "forwarded",
            "te",
        ] {
            headers.insert(name, HeaderValue::from_static("forged"));
        }
        headers.insert("connection", HeaderValue::from_static("x-hop, keep-alive"));
        headers.insert("x-hop", HeaderValue::from_static("1"));
        headers.append("x-many", HeaderValue::from_static("a"));
        headers.append("x-many", HeaderValue::from_static("b"));
        headers.insert("trace-bin", HeaderValue::from_static("AAE"));
        clean_request(&mut headers);
        let mut left: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(left, [("trace-bin", "AAE"), ("x-many", "a"), ("x-many", "b")]);
    }

    #[test]
    fn heads_of_other_dialects_become_metadata() {
        let mut headers = HeaderMap::new();
        let sent = [
            ("grpc-metadata-x-tenant", "a"),
            ("grpc-metadata-x-consumer-name", "forged"),
            ("grpc-metadata-grpc-status", "0"),
            ("grpc-metadata-x-forwarded-for", "6.6.6.6"),
            ("grpc-metadata-forwarded", "for=6.6.6.6"),
            ("grpc-status", "0"),
            ("content-type", "application/json"),
            ("content-length", "2"),
            ("accept-encoding", "br"),
            ("x-plain", "b"),
        ];
        for (name, value) in sent {
            headers.append(name, HeaderValue::from_static(value));
        }
        super::adopt_request(&mut headers);
        let mut left: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(left, [("x-plain", "b"), ("x-tenant", "a")]);
    }
}

//! The handshake of a WebSocket: an upgrade in HTTP/1.1 (RFC 6455), CONNECT in HTTP/2 and 3 (RFC 8441, RFC 9220).

use base64::Engine;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Response;
use http::StatusCode;
use http::Version;
use http::header;
use http::request::Parts;
use tungstenite::handshake::derive_accept_key;

use crate::bridge::rest::negotiate::members;
use crate::call::Reason;
use crate::call::Refusal;

/// How a client asks for a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// GET with `Upgrade`.
    Upgrade,
    /// CONNECT with `:protocol`.
    Connect,
}

/// A handshake that the gateway can accept.
#[derive(Debug)]
pub struct Opening {
    /// What the key of an upgrade is answered with.
    accept: Option<HeaderValue>,
    /// Whether `transom.v1` was offered, and so is chosen.
    is_named: bool,
    /// The credential of `bearer.TOKEN`, as a value of `Authorization` that is never logged.
    pub authorization: Option<HeaderValue>,
}

/// Whether and how a head asks for a WebSocket.
pub fn asked(head: &Parts) -> Option<Asked> {
    if head.method == Method::CONNECT {
        let protocol = head.extensions.get::<h2::ext::Protocol>()?;
        return protocol.as_str().eq_ignore_ascii_case("websocket").then_some(Asked::Connect);
    }
    let lists = |name: HeaderName, token: &[u8]| {
        members(&head.headers, name).any(|member| member.eq_ignore_ascii_case(token))
    };
    let is_upgrade = head.version == Version::HTTP_11
        && lists(header::CONNECTION, b"upgrade")
        && lists(header::UPGRADE, b"websocket");
    is_upgrade.then_some(Asked::Upgrade)
}

/// Reads a handshake, and takes off the head what belongs to it, the credential among it.
///
/// # Errors
/// 405 for another method than GET, 400 for what RFC 6455 doesn't allow, with `Sec-WebSocket-Version` where the
/// version is another.
pub fn open(head: &mut Parts, asked: Asked) -> Result<Opening, Refusal> {
    if asked == Asked::Upgrade && head.method != Method::GET {
        let told = "a WebSocket is opened by GET: send GET";
        return Err(Refusal::new(Reason::MethodNotAllowed, told).offering("GET"));
    }
    let version = single(head, &header::SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version.as_bytes().trim_ascii() != VERSION.as_bytes()) {
        return Err(invalid("send sec-websocket-version: 13, once").offering(VERSION));
    }
    let accept = match asked {
        Asked::Upgrade => Some(accept(head)?),
        Asked::Connect => None,
    };
    let (is_named, authorization) = protocols(head)?;
    for name in OWN {
        head.headers.remove(name);
    }
    Ok(Opening { accept, is_named, authorization })
}

impl Opening {
    /// The head of the answer: 101 for an upgrade, 200 for CONNECT.
    pub fn response(&self) -> Response<()> {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        if self.is_named {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        }
        if let Some(accept) = &self.accept {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept.clone());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        response
    }
}

fn accept(head: &Parts) -> Result<HeaderValue, Refusal> {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1
    //# A |Sec-WebSocket-Key| header field with a base64-encoded value that, when decoded, is 16 bytes in length.
    let key = single(head, &header::SEC_WEBSOCKET_KEY).map(|key| key.as_bytes().trim_ascii());
    let is_key = |key: &&[u8]| BASE64.decode(key).is_ok_and(|key| key.len() == 16);
    let key =
        key.filter(is_key).ok_or_else(|| invalid("send sec-websocket-key, once: 16 bytes in base64"))?;
    HeaderValue::from_str(&derive_accept_key(key)).map_err(|_| invalid("send another sec-websocket-key"))
}

/// Whether our protocol is offered, and the credential beside it.
fn protocols(head: &Parts) -> Result<(bool, Option<HeaderValue>), Refusal> {
    let (mut is_named, mut authorization) = (false, None);
    for protocol in members(&head.headers, header::SEC_WEBSOCKET_PROTOCOL) {
        if protocol == PROTOCOL.as_bytes() {
            is_named = true;
        } else if let Some(token) = protocol.strip_prefix(b"bearer.") {
            let value = HeaderValue::from_bytes(&[&b"Bearer "[..], token].concat());
            let mut value = value.ok().filter(|_| is_token68(token));
            // The refusal must not show what was sent.
            let Some(value) = value.as_mut() else { return Err(invalid("send a token behind `bearer.`")) };
            value.set_sensitive(true);
            if authorization.replace(value.clone()).is_some() {
                return Err(invalid("send one `bearer.` protocol"));
            }
        }
    }
    Ok((is_named, authorization))
}

/// The value of a field that may be there once.
fn single<'a>(head: &'a Parts, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = head.headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// RFC 6750's `b64token`, as far as a protocol's name can carry it.
fn is_token68(token: &[u8]) -> bool {
    !token.is_empty() && token.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte))
}

fn invalid(told: &'static str) -> Refusal {
    Refusal::new(Reason::RequestInvalid, told)
}

const VERSION: &str = "13";
const PROTOCOL: &str = "transom.v1";
/// What belongs to the handshake, and is nobody's metadata.
const OWN: [HeaderName; 6] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
];
const BASE64: base64::engine::GeneralPurpose = base64::engine::general_purpose::STANDARD;

#[cfg(test)]
mod tests {
    use h2::ext::Protocol;
    use http::Method;
    use http::Request;
    use http::request::Parts;

    use super::Asked;
    use super::asked;
    use super::open;

    /// The example of RFC 6455, section 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn head(fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::get("/v1/chat");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn upgrade(more: &[(&str, &str)]) -> Parts {
        let fields = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
        ];
        head(&[&fields[..], more].concat())
    }

    #[test]
    fn upgrades_and_connects_are_told_from_others() {
        assert_eq!(asked(&upgrade(&[])), Some(Asked::Upgrade));
        assert_eq!(asked(&head(&[("upgrade", "websocket")])), None);
        assert_eq!(asked(&head(&[("connection", "upgrade")])), None);
        assert_eq!(asked(&head(&[("connection", "upgrade"), ("upgrade", "h2c")])), None);
        let mut old = upgrade(&[]);
        old.version = http::Version::HTTP_10;
        assert_eq!(asked(&old), None);
        let mut connect = head(&[]);
        connect.method = Method::CONNECT;
        assert_eq!(asked(&connect), None);
        connect.extensions.insert(Protocol::from_static("connect-udp"));
        assert_eq!(asked(&connect), None);
        connect.extensions.insert(Protocol::from_static("websocket"));
        assert_eq!(asked(&connect), Some(Asked::Connect));
    }

    #[test]
    fn an_upgrade_is_answered_by_the_key() {
        let mut head =
            upgrade(&[("sec-websocket-key", KEY), ("x-other", "1"), ("sec-websocket-extensions", "x")]);
        let response = open(&mut head, Asked::Upgrade).unwrap().response();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()["connection"], "upgrade");
        assert_eq!(response.headers()["upgrade"], "websocket");
        assert!(!response.headers().contains_key("sec-websocket-protocol"));
        assert!(!response.headers().contains_key("sec-websocket-extensions"));
        assert_eq!(head.headers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["x-other"]);
    }

    #[test]
    fn a_connect_needs_no_key() {
        let mut head = head(&[("sec-websocket-version", "13"), ("sec-websocket-protocol", "transom.v1")]);
        let response = open(&mut head, Asked::Connect).unwrap().response();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["sec-websocket-protocol"], "transom.v1");
        assert_eq!(response.headers().len(), 1);
    }

    #[test]
    fn credentials_leave_the_protocols_and_are_never_shown() {
        let table: [(&[&str], bool, Option<&str>); 7] = [
            (&[], false, None),
            (&["transom.v1"], true, None),
            (&["chat, transom.v1"], true, None),
            (&["Transom.v1"], false, None),
            (&["transom.v1, bearer.abc.d-e_f~="], true, Some("Bearer abc.d-e_f~=")),
            (&["bearer.xyz"], false, Some("Bearer xyz")),
            (&["bearer.xyz", "transom.v1"], true, Some("Bearer xyz")),
        ];
        for (lines, is_named, authorization) in table {
            let mut fields = vec![("sec-websocket-key", KEY)];
            fields.extend(lines.iter().map(|line| ("sec-websocket-protocol", *line)));
            let mut head = upgrade(&fields);
            let opening = open(&mut head, Asked::Upgrade).unwrap();
            let got = opening.authorization.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(got, authorization, "{lines:?}");
            let chosen = opening.response().headers().get("sec-websocket-protocol").cloned();
            assert_eq!(chosen.is_some_and(|chosen| chosen == "transom.v1"), is_named, "{lines:?}");
            assert!(!head.headers.contains_key("sec-websocket-protocol"));
            let shown = format!("{opening:?} {:?}", opening.response());
            assert!(!shown.contains("xyz") && !shown.contains("abc"), "{shown}");
        }
    }

    #[test]
    fn bad_handshakes_are_refused() {
        let version = |version| ("sec-websocket-version", version);
        let table: [(&str, Vec<(&str, &str)>); 9] = [
            ("no key", vec![version("13")]),
            ("a short key", vec![version("13"), ("sec-websocket-key", "AAAA")]),
            (
                "a key that is not base64",
                vec![version("13"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ!!")],
            ),
            ("two keys", vec![version("13"), ("sec-websocket-key", KEY), ("sec-websocket-key", KEY)]),
            ("no version", vec![("sec-websocket-key", KEY)]),
            ("version 8", vec![version("8"), ("sec-websocket-key", KEY)]),
            ("two versions", vec![version("13"), version("8"), ("sec-websocket-key", KEY)]),
            (
                "no token",
                vec![version("13"), ("sec-websocket-key", KEY), ("sec-websocket-protocol", "bearer.")],
            ),
            (
                "two tokens",
                vec![
                    version("13"),
                    ("sec-websocket-key", KEY),
                    ("sec-websocket-protocol", "bearer.a1, bearer.b2"),
                ],
            ),
        ];
        for (name, fields) in table {
            let refusal = open(&mut head(&fields), Asked::Upgrade).unwrap_err();
            assert_eq!(refusal.http_status(), 400, "{name}");
            let is_version = name.contains("version");
            assert_eq!(refusal.offers.as_deref(), is_version.then_some("13"), "{name}");
            assert!(!refusal.told.contains("a1"), "{name}");
        }
        let mut post = upgrade(&[("sec-websocket-key", KEY)]);
        post.method = Method::POST;
        assert_eq!(open(&mut post, Asked::Upgrade).unwrap_err().http_status(), 405);
    }
}

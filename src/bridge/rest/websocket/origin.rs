//! Which pages may open a WebSocket.
//!
//! Browsers let every page open a WebSocket to every server, with the server's cookies, and CORS has no say in
//! it: only the server can look at `Origin`. A page opens one where the `cors` policy names its origin, and where
//! it came from itself: the host and the port of `Origin` are those that the request asks for. Schemes aren't
//! compared, since TLS may end before the gateway. Clients that are no browsers send no `Origin`.

use http::header;
use http::request::Parts;

use crate::call::Reason;
use crate::call::Refusal;

/// Says in a request's extensions that the policy of its method allows its origin.
#[derive(Debug, Clone, Copy)]
pub struct Allowed;

/// Refuses the pages of other origins.
///
/// # Errors
/// 403 with what to do instead.
pub(super) fn check(head: &Parts) -> Result<(), Refusal> {
    if head.extensions.get::<Allowed>().is_some() {
        return Ok(());
    }
    let mut origins = head.headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(()) };
    let host = match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => head.headers.get(header::HOST).and_then(|host| host.to_str().ok()),
    };
    let is_same = match (origin.to_str(), host, origins.next()) {
        (Ok(origin), Some(host), None) => is_same(origin, host),
        _ => false,
    };
    if is_same { Ok(()) } else { Err(Refusal::new(Reason::AccessDenied, TOLD)) }
}

/// Whether an origin is at this host and port; a port that its scheme has by default goes without saying.
fn is_same(origin: &str, host: &str) -> bool {
    let (port, rest) = match origin.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (":80", rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (":443", rest),
        _ => return false,
    };
    let bare = |at: &str| at.strip_suffix(port).unwrap_or(at).to_ascii_lowercase();
    !rest.is_empty() && bare(rest) == bare(host)
}

const TOLD: &str = "a page of this origin may not open a WebSocket here: list its origin in `origins` of the slot `cors`, or serve the page and the API on one host and port";

#[cfg(test)]
mod tests {
    use http::Request;

    use super::check;

    #[test]
    fn only_pages_of_the_same_host_may_open_one() {
        let table: [(&str, &[&str], bool); 15] = [
            ("a.test", &[], true),
            ("a.test", &["http://a.test"], true),
            ("A.test:8080", &["http://a.TEST:8080"], true),
            ("a.test:443", &["https://a.test"], true),
            ("a.test", &["HTTPS://a.test:443"], true),
            ("[::1]:80", &["http://[::1]"], true),
            ("a.test:80", &["https://a.test"], false),
            ("a.test", &["http://b.test"], false),
            ("a.test", &["http://a.test.b.test"], false),
            ("a.test:8080", &["http://a.test:8081"], false),
            ("a.test", &["null"], false),
            ("a.test", &["a.test"], false),
            ("a.test", &["file://a.test"], false),
            ("a.test", &[""], false),
            ("a.test", &["http://a.test", "http://a.test"], false),
        ];
        for (host, origins, want) in table {
            let mut request = Request::get("/x").header("host", host);
            for origin in origins {
                request = request.header("origin", *origin);
            }
            let head = request.body(()).unwrap().into_parts().0;
            let got = check(&head);
            assert_eq!(got.is_ok(), want, "{origins:?} at {host}");
            if let Err(refusal) = got {
                assert_eq!(refusal.http_status(), 403);
            }
        }
        let request = Request::get("http://a.test:1/x").header("origin", "http://a.test:1");
        assert!(check(&request.body(()).unwrap().into_parts().0).is_ok(), "the target names the host");
        let request = Request::get("/x").header("origin", "http://");
        assert!(check(&request.body(()).unwrap().into_parts().0).is_err(), "no host is nobody's");
    }
}

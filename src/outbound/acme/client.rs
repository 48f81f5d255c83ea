//! Speaks HTTPS with an authority: each request timed, each answer bounded, nothing in the clear.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Request;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Limited;
use hyper_rustls::HttpsConnector;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::BodyWrapper;
use instant_acme::BytesResponse;
use instant_acme::Error;
use instant_acme::HttpClient;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use sha2::Digest;
use sha2::Sha256;

use crate::tls;

/// The connections of one attempt; they close with it.
pub(super) struct Client {
    https: legacy::Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    again: Again,
}

/// When an authority that refused wants to be asked again.
#[derive(Debug, Clone, Default)]
pub(super) struct Again(Arc<Mutex<Option<Duration>>>);

impl Again {
    pub(super) fn load(&self) -> Option<Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, wait: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = wait;
    }
}

impl Client {
    /// A client that trusts these authorities of servers, or those that the system does.
    pub(super) fn new(
        roots: Option<Arc<RootCertStore>>,
        provider: Arc<CryptoProvider>,
        again: Again,
    ) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = match roots {
            Some(roots) => config.with_root_certificates(roots),
            None => config.with_root_certificates(tls::system_authorities(&mut Sha256::new())),
        };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config.with_no_client_auth())
            .https_only()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self { https: legacy::Client::builder(TokioExecutor::new()).build(connector), again })
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (asked, again) = (self.https.request(request), self.again.clone());
        Box::pin(async move {
            let answer = async {
                let (mut head, body) =
                    asked.await.map_err(|error| Error::Other(Box::new(error)))?.into_parts();
                let wait = retry_after(&mut head.headers, SystemTime::now());
                let is_problem = head
                    .headers
                    .get(header::CONTENT_TYPE)
                    .is_some_and(|kind| kind.as_bytes().starts_with(PROBLEM));
                if head.status.is_client_error() || head.status.is_server_error() {
                    again.store(wait);
                    if !is_problem {
                        return Err(other(format!("the answer is {}", head.status)));
                    }
                }
                let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(Error::Other)?;
                Ok(BytesResponse { parts: head, body: Box::new(body.to_bytes()) })
            };
            let timed = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
            timed.unwrap_or_else(|_| Err(other(format!("no answer in {ANSWER_TIMEOUT:?}"))))
        })
    }
}

fn other(why: String) -> Error {
    Error::Other(why.into())
}

/// Takes `Retry-After` (RFC 9110, section 10.2.3) to a number of seconds that can be counted with: what reads
/// it later adds it to the time.
fn retry_after(headers: &mut HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.remove(header::RETRY_AFTER)?;
    let text = text.to_str().ok()?.trim();
    let wait = match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true if text.is_empty() => return None,
        true => text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs),
        false => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    let wait = wait.min(RETRY_AFTER_MAX);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    Some(wait)
}

/// An error with all that led to it, on one line and of bounded length: an authority may have written it.
pub(super) fn told(error: &dyn StdError) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string();
        // Many errors repeat what they come from.
        if !text.contains(&part) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&part);
        }
        next = error.source();
    }
    plain(&text)
}

/// A text of a stranger as it may stand in a log.
pub(super) fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).take(TOLD_CHARS_MAX).collect()
}

/// The type of what says why (RFC 8555, section 6.7).
const PROBLEM: &[u8] = b"application/problem+json";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the first byte of a request to the last of its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A chain of certificates has some kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const RETRY_AFTER_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
const TOLD_CHARS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_more_than_can_be_counted_with() {
        let now = httpdate::parse_http_date("Tue, 24 Nov 2026 12:00:00 GMT").unwrap();
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            let wait = retry_after(&mut headers, now);
            let left = headers.get(header::RETRY_AFTER).map(|left| left.to_str().unwrap().to_owned());
            assert_eq!(left, wait.map(|wait| wait.as_secs().to_string()), "{text}");
            wait.map(|wait| wait.as_secs())
        };
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("Tue, 24 Nov 2026 12:01:00 GMT"), Some(60));
        assert_eq!(read("Tue, 24 Nov 2026 11:00:00 GMT"), Some(0));
        let most = Some(RETRY_AFTER_MAX.as_secs());
        assert_eq!(read("18446744073709551615"), most);
        assert_eq!(read("99999999999999999999999"), most);
        assert_eq!(read("Fri, 31 Dec 9999 23:59:59 GMT"), most);
        for none in ["", "soon", "-1", "1.5"] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_told_is_one_bounded_line() {
        let error = std::io::Error::other("a\nb\u{1b}[0m".repeat(1000));
        let text = told(&error);
        assert!(text.starts_with("a b [0ma b") && text.chars().count() == TOLD_CHARS_MAX, "{text}");
    }
}

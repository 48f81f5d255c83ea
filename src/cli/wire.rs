//! What carries calls to the Admin API: it shows the token, counts what is sent, and knows gRPC from other answers.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::header;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::Limited;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::Service;
use tower::ServiceExt;

use crate::cli::output::clean;

/// One connection to an Admin API.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) channel: Channel,
    pub(super) authorization: Option<HeaderValue>,
    /// Bytes of requests that the connection took so far.
    pub(super) sent: Arc<AtomicU64>,
    /// The URL, for messages.
    pub(super) shown: Arc<str>,
}

/// Why there is no reply of gRPC: what to tell the user.
#[derive(Debug)]
pub(super) struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Broken {}

impl Service<Request<Body>> for Wire {
    type Response = Response<Body>;
    type Error = Broken;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Broken>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { mut channel, authorization, sent, shown } = self.clone();
        let mut request = request.map(|body| Body::new(Counted { body, left: Bytes::new(), sent }));
        if let Some(authorization) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization);
        }
        Box::pin(async move {
            let channel = channel.ready().await.map_err(|error| lost(&shown, &error))?;
            let response = channel.call(request).await.map_err(|error| lost(&shown, &error))?;
            if is_grpc(&response) { Ok(response) } else { Err(other(&shown, response).await) }
        })
    }
}

fn is_grpc(response: &Response<Body>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    kind.strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// What somebody says who doesn't speak gRPC, such as a proxy.
async fn other(shown: &str, response: Response<Body>) -> Broken {
    let status = response.status().as_u16();
    let kind =
        response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_text = kind.starts_with("text/plain");
    let said = match Limited::new(response.into_body(), SAID_BYTES_MAX).collect().await {
        Ok(body) if is_text => String::from_utf8_lossy(&body.to_bytes()).trim().lines().next().map(clean),
        _ => None,
    };
    let said = said.map(|said| format!(" (\"{said}\")")).unwrap_or_default();
    Broken(format!(
        "{shown} answers HTTP {status}{said}, which isn't gRPC: is that the Admin API? --admin says where it is"
    ))
}

/// Why the connection gave no answer.
pub(super) fn lost(shown: &str, error: &(dyn Error + 'static)) -> Broken {
    let causes = || std::iter::successors(Some(error), |&error| error.source());
    let h2 = || causes().find_map(|error| error.downcast_ref::<h2::Error>());
    let io = causes()
        .find_map(|error| error.downcast_ref::<io::Error>())
        .or_else(|| h2().and_then(h2::Error::get_io));
    let tls = io.and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::AlertReceived(alert)) = tls {
        // With TLS 1.3 a server says so only after this side's handshake is done.
        return Broken(format!(
            "{shown} refuses the connection ({alert:?}): --cert and --key show a certificate"
        ));
    }
    match h2().and_then(h2::Error::reason) {
        Some(h2::Reason::FRAME_SIZE_ERROR | h2::Reason::PROTOCOL_ERROR | h2::Reason::HTTP_1_1_REQUIRED) => {
            Broken(format!(
                "{shown} answers, but not in HTTP/2, which gRPC needs: is that the Admin API, and does it want \
                 https://? --admin says where it is"
            ))
        }
        _ => {
            let last = causes().last().map(ToString::to_string).unwrap_or_default();
            Broken(format!("the connection to {shown} broke off ({}): ask again", clean(&last)))
        }
    }
}

/// A body that goes out in pieces and counts them.
struct Counted {
    body: Body,
    left: Bytes,
    sent: Arc<AtomicU64>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = self.get_mut();
        if this.left.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.left = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let piece = this.left.split_to(this.left.len().min(PIECE_BYTES));
        this.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.body.is_end_stream()
    }
}

const SAID_BYTES_MAX: usize = 4096;
/// What is counted at once.
const PIECE_BYTES: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_goes_out_in_pieces_that_are_counted() {
        let bytes = Bytes::from_iter((0..100_000_u32).map(|at| at.to_le_bytes()[0]));
        let sent = Arc::new(AtomicU64::new(0));
        let body = Body::new(http_body_util::Full::new(bytes.clone()).map_err(|never| match never {}));
        let mut counted = Counted { body, left: Bytes::new(), sent: sent.clone() };
        let mut seen = Vec::new();
        while let Some(frame) = counted.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES);
            seen.extend_from_slice(&piece);
            assert_eq!(sent.load(Ordering::Relaxed), seen.len() as u64);
        }
        assert_eq!(seen, bytes);
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        let cases = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
            ("", false),
        ];
        for (kind, expected) in cases {
            let mut response = Response::new(Body::empty());
            if !kind.is_empty() {
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            }
            assert_eq!(is_grpc(&response), expected, "{kind}");
        }
    }
}

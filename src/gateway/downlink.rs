//! The reply of a call, from the upstream to the client's dialect.

use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use http::HeaderMap;
use http::Response;
use http::StatusCode;
use http::header;

use crate::call::BodyFault;
use crate::call::Code;
use crate::call::Reason;
use crate::call::Refusal;
use crate::call::Retry;
use crate::call::metadata::clean_reply;
use crate::gateway::lane::Lane;
use crate::gateway::lane::LaneFault;
use crate::gateway::lane::Way;
use crate::gateway::lane::refuse_frame;
use crate::policy::Holds;
use crate::upstream::stream::Receiving;

/// The reply's way, once its head is here.
pub(super) struct Downlink {
    receiving: Receiving,
    lane: Lane,
    data_ended: bool,
}

/// A reply's head in gRPC terms.
pub(super) enum Head {
    /// Messages follow.
    Leading(HeaderMap, Receiving),
    /// It is all there is.
    Only(HeaderMap),
}

/// Reads the head of an upstream's reply.
///
/// # Errors
/// When it isn't gRPC, or ends without a status.
pub(super) fn read_head(response: Response<Receiving>) -> Result<Head, Refusal> {
    let (mut head, receiving) = response.into_parts();
    let is_grpc = head.headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        value.as_bytes().get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
    });
    let has_status = head.headers.contains_key("grpc-status");
    if head.status != StatusCode::OK || !(is_grpc || has_status) {
        let code = Code::from_http_status(head.status);
        let kind = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        return Err(Refusal::new(Reason::UpstreamNotGrpc, "the service didn't answer with gRPC")
            .with_code(code)
            .logged(format!("HTTP {}, content-type {}", head.status.as_u16(), kind.unwrap_or("none"))));
    }
    clean_reply(&mut head.headers);
    if !receiving.is_end() {
        return Ok(Head::Leading(head.headers, receiving));
    }
    if has_status { Ok(Head::Only(head.headers)) } else { Err(no_status()) }
}

impl Downlink {
    pub(super) fn new(receiving: Receiving, lane: Lane) -> Self {
        Self { receiving, lane, data_ended: false }
    }

    pub(super) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// The next bytes of frames, or the trailers at the end.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        holds: &mut Holds,
    ) -> Poll<Result<Next, Refusal>> {
        if !self.data_ended {
            let receiving = &mut self.receiving;
            match std::task::ready!(self.lane.poll_next(cx, holds, |cx| source(receiving, cx))) {
                Some(Ok(bytes)) => return Poll::Ready(Ok(Next::Frames(bytes))),
                Some(Err(LaneFault::Frame(fault))) => {
                    return Poll::Ready(Err(refuse_frame(fault, Way::Reply)));
                }
                Some(Err(LaneFault::Body(fault))) => return Poll::Ready(Err(broken(&fault))),
                Some(Err(LaneFault::Refused(refusal))) => return Poll::Ready(Err(refusal)),
                None => self.data_ended = true,
            }
        }
        Poll::Ready(match std::task::ready!(self.receiving.poll_trailers(cx)) {
            Ok(Some(mut trailers)) if trailers.contains_key("grpc-status") => {
                clean_reply(&mut trailers);
                Ok(Next::Trailers(trailers))
            }
            Ok(_) => Err(no_status()),
            Err(fault) => Err(broken(&fault)),
        })
    }
}

fn source(receiving: &mut Receiving, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, LaneFault>>> {
    receiving.poll_chunk(cx).map(|chunk| chunk.map(|chunk| chunk.map_err(LaneFault::from)))
}

/// What comes next of a reply.
pub(super) enum Next {
    /// Bytes of frames.
    Frames(Bytes),
    /// The end, with a status.
    Trailers(HeaderMap),
}

/// The refusal of a call whose upstream stream broke.
pub(super) fn broken(fault: &BodyFault) -> Refusal {
    match fault {
        BodyFault::Reset(reason) => {
            let refusal = Refusal::new(Reason::UpstreamReset, "the service broke the call off")
                .with_code(Code::from_reset(*reason))
                .logged(format!("RST_STREAM {reason:?}"));
            match *reason {
                h2::Reason::REFUSED_STREAM => refusal.with_retry(Retry::IfUnsent),
                _ => refusal,
            }
        }
        BodyFault::Unprocessed(reason) => {
            Refusal::new(Reason::UpstreamUnreachable, "the service is going away: try again")
                .logged(format!("GOAWAY {reason:?} without the call"))
        }
        BodyFault::Connection(why) => {
            Refusal::new(Reason::UpstreamReset, "the connection to the service was lost")
                .with_code(Code::Unavailable)
                .logged(why.clone())
        }
    }
}

fn no_status() -> Refusal {
    Refusal::new(Reason::UpstreamNoStatus, "the service ended the call without a status")
}

//! The two halves of a call's stream towards an upstream, on a connection or in the process.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use bytes::BytesMut;
use futures_util::StreamExt;
use h2::SendStream;
use h2::client::ResponseFuture;
use http::HeaderMap;
use http::Request;
use http::Response;
use http_body::Body as _;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::PollSender;
use tonic::body::Body;

use crate::call::BodyFault;
use crate::call::H2Body;
use crate::policy::Admitted;
use crate::upstream::Lease;
use crate::upstream::in_process::InProcess;
use crate::upstream::in_process::Replying;
use crate::wire::send::Last;
use crate::wire::send::poll_send;

/// The request's half.
pub enum Sending {
    /// An HTTP/2 stream.
    H2(SendStream<Bytes>, First),
    /// A service in the process, one chunk at a time; `None` once it is ended.
    InProcess(Option<PollSender<Bytes>>),
}

impl Sending {
    /// Sends as much of `chunk` as the other side takes; ready once it is empty.
    ///
    /// # Errors
    /// When the other side takes no more; what it said instead is the reply's business.
    pub fn poll_send(
        &mut self,
        chunk: &mut Bytes,
        last: Last,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Gone>> {
        match self {
            Self::H2(stream, first) => {
                if std::mem::replace(first, First::Sent) == First::Due && chunk.len() <= FIRST_BYTES_MAX {
                    return Poll::Ready(
                        stream.send_data(std::mem::take(chunk), last == Last::Yes).map_err(|_| Gone),
                    );
                }
                poll_send(stream, chunk, last, cx).map_err(|_| Gone)
            }
            Self::InProcess(None) => Poll::Ready(Err(Gone)),
            Self::InProcess(Some(sender)) => {
                std::task::ready!(sender.poll_reserve(cx)).map_err(|_| Gone)?;
                let sent = sender.send_item(std::mem::take(chunk)).map_err(|_| Gone);
                if last == Last::Yes {
                    *self = Self::InProcess(None);
                }
                Poll::Ready(sent)
            }
        }
    }

    /// Ends the stream after what was sent.
    pub fn end(&mut self) {
        match self {
            // It fails only for a stream that is over already.
            Self::H2(stream, _) => drop(stream.send_data(Bytes::new(), true)),
            Self::InProcess(sender) => *sender = None,
        }
    }
}

/// Whether a stream has taken its first bytes.
///
/// A stream has no window before its head is written, which is a turn of the event loop later. The first
/// bytes don't wait for it where they are few: head and message leave together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Nothing was sent yet.
    Due,
    /// Something was.
    Sent,
}

/// The other side takes no more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// The reply's head, on its way.
pub enum Heading {
    /// On an HTTP/2 stream.
    H2(ResponseFuture),
    /// From a service in the process.
    InProcess(Replying),
}

impl Heading {
    /// The head, and the half that the rest comes on.
    ///
    /// # Errors
    /// When the stream broke before.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Receiving>, BodyFault>> {
        match self {
            Self::H2(response) => Pin::new(response).poll(cx).map(|outcome| match outcome {
                Ok(response) => Ok(response.map(|stream| Receiving::H2(H2Body::new(stream)))),
                Err(error) => Err(error.into()),
            }),
            Self::InProcess(reply) => reply
                .as_mut()
                .poll(cx)
                .map(|response| Ok(response.map(|body| Receiving::InProcess { body, trailers: None }))),
        }
    }
}

/// The reply's half.
pub enum Receiving {
    /// An HTTP/2 stream.
    H2(H2Body),
    /// A service in the process.
    InProcess {
        /// Its body.
        body: Body,
        /// Trailers that came.
        trailers: Option<HeaderMap>,
    },
}

impl Receiving {
    /// The next bytes: all that are here, up to [`GATHER_BYTES`], as one chunk, so that a
    /// burst of small messages costs the client's connection one frame.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        match self {
            Self::H2(stream) => gather(stream, cx),
            Self::InProcess { body, trailers } => loop {
                match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(Err(status)) => {
                        return Poll::Ready(Some(Err(BodyFault::Connection(status.to_string()))));
                    }
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => return Poll::Ready(Some(Ok(data))),
                        Err(frame) => *trailers = frame.into_trailers().ok(),
                    },
                }
            },
        }
    }

    /// The trailers, after the end of the bytes.
    pub fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, BodyFault>> {
        match self {
            Self::H2(stream) => stream.poll_trailers(cx),
            Self::InProcess { trailers, .. } => Poll::Ready(Ok(trailers.take())),
        }
    }

    /// Whether nothing can follow.
    pub fn is_end(&self) -> bool {
        match self {
            Self::H2(stream) => stream.is_end(),
            Self::InProcess { body, .. } => body.is_end_stream(),
        }
    }
}

fn gather(stream: &mut H2Body, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
    let first = match std::task::ready!(stream.poll_chunk(cx)) {
        Some(Ok(first)) if first.len() < GATHER_BYTES => first,
        other => return Poll::Ready(other),
    };
    let Poll::Ready(Some(Ok(second))) = stream.poll_more(cx) else { return Poll::Ready(Some(Ok(first))) };
    let mut all = BytesMut::with_capacity(GATHER_BYTES.max(first.len() + second.len()));
    all.extend_from_slice(&first);
    all.extend_from_slice(&second);
    while all.len() < GATHER_BYTES {
        // An error or the end is said again by the next poll.
        let Poll::Ready(Some(Ok(more))) = stream.poll_more(cx) else { break };
        all.extend_from_slice(&more);
    }
    Poll::Ready(Some(Ok(all.freeze())))
}

/// Opens the stream of an admitted call on a connection.
///
/// # Errors
/// When the connection takes none; nothing was sent then.
pub fn open(
    _: &Admitted,
    lease: &mut Lease,
    head: Request<()>,
    last: Last,
) -> Result<(Heading, Sending), BodyFault> {
    let (heading, sending) = lease.open(head, last == Last::Yes)?;
    Ok((Heading::H2(heading), Sending::H2(sending, First::Due)))
}

/// Opens the stream of an admitted call to a service in the process.
pub fn open_in_process(_: &Admitted, service: &dyn InProcess, head: Request<()>) -> (Heading, Sending) {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let chunks = ReceiverStream::new(receiver).map(|chunk| Ok::<_, tonic::Status>(Frame::data(chunk)));
    let request = head.map(|()| Body::new(StreamBody::new(chunks)));
    (Heading::InProcess(service.call(request)), Sending::InProcess(Some(PollSender::new(sender))))
}

/// The most that a stream takes before it has a window.
const FIRST_BYTES_MAX: usize = 4 << 10;
/// What small chunks are gathered to: one DATA frame of the default size.
const GATHER_BYTES: usize = 16 << 10;

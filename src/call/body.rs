//! The body of a request as it arrives, whatever the HTTP version.

use std::fmt;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;

/// A request body. Bytes count against the sender's window until the next chunk is asked
/// for, so a consumer that doesn't ask holds the sender back.
pub enum Body {
    /// No bytes.
    Empty,
    /// Bytes at hand.
    Full(Bytes),
    /// An HTTP/2 stream.
    H2(H2Body),
    /// Any other HTTP body.
    Other(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyFault> + Send>>),
}

impl Body {
    /// The body of an HTTP/2 stream.
    pub fn h2(stream: h2::RecvStream) -> Self {
        if stream.is_end_stream() { Self::Empty } else { Self::H2(H2Body { stream, held: 0 }) }
    }

    /// The next bytes, `None` at the end. Trailers of requests mean nothing in gRPC and are
    /// dropped.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
            }
            Self::H2(body) => body.poll_chunk(cx),
            Self::Other(body) => loop {
                match std::task::ready!(body.as_mut().poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Poll::Ready(Some(Ok(data)));
                        }
                    }
                }
            },
        }
    }

    /// Whether the end is known to be reached.
    pub fn is_end(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::H2(body) => body.stream.is_end_stream(),
            Self::Other(body) => body.is_end_stream(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Body::Empty",
            Self::Full(_) => "Body::Full",
            Self::H2(_) => "Body::H2",
            Self::Other(_) => "Body::Other",
        })
    }
}

/// The received half of an HTTP/2 stream, either a client's or an upstream's.
pub struct H2Body {
    stream: h2::RecvStream,
    /// Bytes handed out whose window hasn't been given back.
    held: usize,
}

impl H2Body {
    /// Wraps a stream of which nothing was read.
    pub fn new(stream: h2::RecvStream) -> Self {
        Self { stream, held: 0 }
    }

    /// The next bytes, `None` at the end of data.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        self.release();
        self.poll_more(cx)
    }

    /// The next bytes, keeping the window of those handed out before.
    pub fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        match std::task::ready!(self.stream.poll_data(cx)) {
            Some(Ok(bytes)) => {
                self.held += bytes.len();
                Poll::Ready(Some(Ok(bytes)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            None => Poll::Ready(None),
        }
    }

    /// The trailers, to be asked for after the end of data.
    pub fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, BodyFault>> {
        self.stream.poll_trailers(cx).map_err(BodyFault::from)
    }

    /// Whether neither data nor trailers can follow.
    pub fn is_end(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn release(&mut self) {
        if self.held > 0 {
            // It fails only for more than was received, which `held` never is.
            let _ = self.stream.flow_control().release_capacity(self.held);
            self.held = 0;
        }
    }
}

/// Why a body ended before its end.
#[derive(Debug)]
pub enum BodyFault {
    /// RST_STREAM with this code.
    Reset(h2::Reason),
    /// GOAWAY with this code left the stream out, so the peer did nothing with it.
    Unprocessed(h2::Reason),
    /// The connection broke, or broke its protocol.
    Connection(String),
}

impl From<h2::Error> for BodyFault {
    fn from(error: h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_reset() => Self::Reset(reason),
            Some(reason) if error.is_go_away() && error.is_remote() => Self::Unprocessed(reason),
            _ => Self::Connection(error.to_string()),
        }
    }
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset(reason) => write!(f, "the stream was reset: {reason}"),
            Self::Unprocessed(reason) => write!(f, "the connection is going away: {reason}"),
            Self::Connection(why) => write!(f, "the connection broke: {why}"),
        }
    }
}

impl std::error::Error for BodyFault {}

//! One call over a WebSocket: its handshake, and what its reader and its writer share.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::header;
use http::request::Parts;

use crate::bridge::Aside;
use crate::bridge::Bridge;
use crate::bridge::Early;
use crate::bridge::Opened;
use crate::bridge::rest::Method;
use crate::bridge::rest::adopt;
use crate::bridge::rest::endpoint::Endpoint;
use crate::bridge::rest::errors;
use crate::bridge::rest::websocket::Asked;
use crate::bridge::rest::websocket::Socket;
use crate::bridge::rest::websocket::handshake;
use crate::bridge::rest::websocket::origin;
use crate::bridge::rest::websocket::read::Reader;
use crate::bridge::rest::websocket::write::Writer;
use crate::call::Dialect;
use crate::call::Handover;
use crate::call::Reason;
use crate::call::Refusal;

/// REST over a WebSocket, for one handshake whose path fits a rule or names a method.
pub struct WebSocket {
    endpoint: Arc<Endpoint>,
    /// Decoded, in the order of the rule's variables.
    captures: Vec<String>,
    asked: Asked,
}

impl WebSocket {
    /// A handshake for the method of `endpoint`, which takes a stream.
    pub fn new(endpoint: Arc<Endpoint>, captures: Vec<String>, asked: Asked) -> Self {
        Self { endpoint, captures, asked }
    }
}

impl Bridge for WebSocket {
    fn dialect(&self) -> Dialect {
        Dialect::Rest
    }

    fn open(&self, head: &mut Parts, _: Option<&Arc<Method>>) -> Result<Opened, Refusal> {
        let opening = handshake::open(head, self.asked)?;
        origin::check(head)?;
        let body = match self.asked {
            Asked::Connect => None,
            Asked::Upgrade => {
                let handover = head.extensions.remove::<Handover>();
                let body = handover.and_then(|handover| handover.take()).ok_or_else(|| {
                    Refusal::new(Reason::RequestInvalid, "a handshake has no body: send none with it")
                })?;
                Some(body)
            }
        };
        if let Some(authorization) = &opening.authorization {
            head.headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let query = head.uri.query().unwrap_or_default().to_owned();
        let bounds = adopt(head)?;
        let line = Line::default();
        Ok(Opened {
            bounds,
            compressed: false,
            decoder: Some(Box::new(Reader::new(
                self.endpoint.clone(),
                self.captures.clone(),
                query,
                line.clone(),
            ))),
            encoder: Box::new(Writer::new(self.endpoint.clone(), line.clone())),
            early: Some(Early { head: opening.response(), body, aside: Box::new(line) }),
        })
    }

    fn refuse(&self, refusal: &Refusal, _: Option<&HeaderValue>) -> Response<Bytes> {
        errors::refuse(refusal, self.endpoint.options().errors, &*self.endpoint)
    }
}

/// The WebSocket of one call, for all that speak on it; they take turns in one task.
#[derive(Debug, Clone, Default)]
pub(super) struct Line(Arc<Mutex<State>>);

/// What is known of it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) socket: Socket,
    pub(super) form: Form,
    /// The last pong that isn't sent, or the answer to a close. Of many pings the last one is answered (RFC
    /// 6455, section 5.5.3), so a client that takes nothing piles nothing up.
    pub(super) owed: Vec<u8>,
}

impl Default for State {
    fn default() -> Self {
        // The size is set before any byte comes.
        Self { socket: Socket::new(0), form: Form::Unknown, owed: Vec::new() }
    }
}

/// What messages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The client has sent none; it gets text.
    Unknown,
    /// Its first one was a text, JSON.
    Text,
    /// Its first one was binary, protobuf.
    Binary,
}

impl Line {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Aside for Line {
    fn owed(&mut self) -> Option<Bytes> {
        let mut state = self.lock();
        // What answers a close ends the call, which is for the writer to say; after ours nothing is said.
        if state.owed.is_empty() || state.socket.is_closed_by_us() {
            return None;
        }
        Some(std::mem::take(&mut state.owed).into())
    }

    fn beat(&mut self) -> Option<Bytes> {
        let mut ping = Vec::new();
        self.lock().socket.ping(&mut ping);
        (!ping.is_empty()).then(|| ping.into())
    }

    fn every(&self) -> Duration {
        PING_INTERVAL
    }

    fn awaits(&self) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-7.1.1
        //# the server MUST close the WebSocket connection immediately after both sending and receiving a
        //# Close message
        let state = self.lock();
        state.socket.is_closed_by_us() && !state.socket.is_over()
    }
}

/// How often the client hears something, so that nobody between takes the connection for dead.
const PING_INTERVAL: Duration = Duration::from_secs(30);

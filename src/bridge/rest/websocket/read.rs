//! Reads the messages of a WebSocket into gRPC frames.

use std::sync::Arc;

use bytes::Bytes;

use crate::bridge::Decode;
use crate::bridge::Standing;
use crate::bridge::inflow::append_frame;
use crate::bridge::rest::endpoint::Endpoint;
use crate::bridge::rest::endpoint::Sent;
use crate::bridge::rest::websocket::Event;
use crate::bridge::rest::websocket::Socket;
use crate::bridge::rest::websocket::call::Form;
use crate::bridge::rest::websocket::call::Line;
use crate::call::Reason;
use crate::call::Refusal;

/// The reader of one call.
pub(super) struct Reader {
    endpoint: Arc<Endpoint>,
    /// Decoded captures, in the order of the rule's variables.
    captures: Vec<String>,
    /// The raw query.
    query: String,
    line: Line,
    bytes_max: usize,
    standing: Standing,
}

impl Reader {
    pub(super) fn new(endpoint: Arc<Endpoint>, captures: Vec<String>, query: String, line: Line) -> Self {
        Self { endpoint, captures, query, line, bytes_max: 0, standing: Standing::Open }
    }

    fn message(&self, sent: Sent<'_>, frames: &mut Vec<u8>) -> Result<(), Refusal> {
        append_frame(frames, self.bytes_max, |out| {
            self.endpoint.read_message(sent, &self.captures, &self.query, out)
        })
    }
}

impl Decode for Reader {
    fn limit(&mut self, message_bytes_max: usize) -> Result<(), Refusal> {
        self.bytes_max = message_bytes_max;
        self.line.lock().socket = Socket::new(message_bytes_max);
        Ok(())
    }

    fn push(&mut self, chunk: Bytes, frames: &mut Vec<u8>) -> Result<(), Refusal> {
        self.line.lock().socket.push(&chunk);
        // A message of two bytes gets all that the target binds, so what comes out isn't bounded by what came.
        while frames.len() < ENOUGH_BYTES {
            let (event, form) = {
                let mut state = self.line.lock();
                let mut answer = Vec::new();
                let event = state.socket.next_event(&mut answer).map_err(|fault| fault.refusal())?;
                if !answer.is_empty() {
                    state.owed = answer;
                }
                (event, state.form)
            };
            let Some(event) = event else {
                if self.standing == Standing::Held {
                    self.standing = Standing::Open;
                }
                return Ok(());
            };
            if form == Form::Unknown {
                self.line.lock().form = match event {
                    Event::Text(_) => Form::Text,
                    Event::Binary(_) => Form::Binary,
                    _ => Form::Unknown,
                };
            }
            match event {
                Event::Text(json) => self.message(Sent::Json(&json), frames)?,
                Event::Binary(message) => self.message(Sent::Protobuf(&message), frames)?,
                Event::HalfClose => self.standing = Standing::Whole,
                Event::Ping | Event::Pong => {}
                Event::Close(_) => return Err(gone("the client closed the WebSocket")),
            }
        }
        if self.standing != Standing::Whole {
            self.standing = Standing::Held;
        }
        Ok(())
    }

    fn end(&mut self, _: &mut Vec<u8>) -> Result<(), Refusal> {
        Err(gone("the client went away without closing the WebSocket"))
    }

    fn held(&self) -> usize {
        self.line.lock().socket.held_bytes()
    }

    fn standing(&self) -> Standing {
        self.standing
    }

    fn lingers(&self) -> bool {
        true
    }
}

fn gone(told: &'static str) -> Refusal {
    Refusal::new(Reason::ClientCancelled, told)
}

/// What is worth passing on before more is read.
const ENOUGH_BYTES: usize = 64 << 10;

//! WebSockets as a call's carrier (RFC 6455), with no I/O: bytes in, messages out, and back.

mod call;
mod frame;
mod handshake;
mod origin;
mod read;
mod write;

use std::fmt;
use std::mem;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;

use crate::bridge::rest::websocket::frame::Head;
use crate::bridge::rest::websocket::frame::Opcode;
use crate::call::Code;
use crate::call::Reason;
use crate::call::Refusal;

pub use call::WebSocket;
pub use handshake::Asked;
pub use handshake::Opening;
pub use handshake::asked;
pub use handshake::open;
pub use origin::Allowed;

/// The server's side of one WebSocket.
///
/// It keeps what was pushed and not read yet, and of a message that isn't whole what came of it, which is at most
/// `message_bytes_max`: the length that a frame announces reserves nothing.
#[derive(Debug)]
pub struct Socket {
    message_bytes_max: usize,
    inbox: BytesMut,
    /// The data frame whose payload is being read, and how much of it was.
    open: Option<(Head, u64)>,
    /// The message so far, and its kind once its first frame began.
    message: BytesMut,
    kind: Option<Opcode>,
    is_half_closed: bool,
    /// We sent our close: nothing may follow it.
    is_closed_by_us: bool,
    /// The peer sent its close, or a fault: nothing more is read.
    is_over: bool,
    fault: Option<SocketFault>,
}

/// What the client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A text message: JSON.
    Text(Bytes),
    /// A binary message: protobuf.
    Binary(Bytes),
    /// An empty text message: the client sends no more.
    HalfClose,
    /// A ping; its pong is already written.
    Ping,
    /// A pong.
    Pong,
    /// The client closes; the answer is already written. Without a code it gave none.
    Close(Option<u16>),
}

/// Why a WebSocket is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketFault {
    /// Against RFC 6455, and how.
    Protocol(&'static str),
    /// A text that is not UTF-8.
    NotUtf8,
    /// A message over its limit.
    TooLarge {
        /// The limit.
        message_bytes_max: usize,
    },
    /// A message after the empty text that ended the stream.
    AfterHalfClose,
}

impl SocketFault {
    /// The code to close with: those of RFC 6455 for faults of its protocol, else that of the refusal.
    pub fn close_code(&self) -> u16 {
        match self {
            Self::Protocol(_) => PROTOCOL_ERROR,
            Self::NotUtf8 => NOT_UTF8,
            Self::TooLarge { .. } | Self::AfterHalfClose => close_code(self.refusal().code.number()),
        }
    }

    /// The refusal that ends the call.
    pub fn refusal(&self) -> Refusal {
        let reason = match self {
            Self::TooLarge { .. } => Reason::MessageTooLarge,
            _ => Reason::RequestInvalid,
        };
        Refusal::new(reason, self.to_string())
    }
}

impl fmt::Display for SocketFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(what) => write!(f, "the WebSocket protocol is broken: {what}"),
            Self::NotUtf8 => {
                f.write_str("a text is not UTF-8: send JSON in UTF-8, protobuf in binary messages")
            }
            Self::TooLarge { message_bytes_max } => {
                write!(f, "a message is over {message_bytes_max} bytes: send smaller ones")
            }
            Self::AfterHalfClose => {
                f.write_str("a message follows the empty one that ended the stream: send none after it")
            }
        }
    }
}

impl std::error::Error for SocketFault {}

impl Socket {
    /// A WebSocket whose handshake is done.
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            inbox: BytesMut::new(),
            open: None,
            message: BytesMut::new(),
            kind: None,
            is_half_closed: false,
            is_closed_by_us: false,
            is_over: false,
            fault: None,
        }
    }

    /// Bytes that came and are not given out.
    pub fn held_bytes(&self) -> usize {
        self.inbox.len() + self.message.len()
    }

    /// Takes the next bytes of the connection. Call [`Socket::next_event`] until it gives nothing before the next
    /// push, so that no more than one push waits here.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.is_over {
            self.inbox.extend_from_slice(bytes);
        }
    }

    /// The next thing that the client sent; pongs and the answer to a close are appended to `out`. `None` where
    /// more bytes are needed, or after a close.
    ///
    /// # Errors
    /// The first fault; it stays. End the call with [`Socket::fail`] and its refusal.
    pub fn next_event(&mut self, out: &mut Vec<u8>) -> Result<Option<Event>, SocketFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.is_over {
            return Ok(None);
        }
        let next = self.read(out);
        if let Err(fault) = next {
            self.fault = Some(fault);
            self.forget();
        }
        next
    }

    /// Whether the client's bytes end in the middle of something.
    pub fn is_between(&self) -> bool {
        self.inbox.is_empty() && self.open.is_none() && self.kind.is_none()
    }

    /// Whether the close was sent; the connection ends once it was received too.
    pub fn is_closed_by_us(&self) -> bool {
        self.is_closed_by_us
    }

    /// Whether the client sent its close.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Appends a text message.
    pub fn text(&self, json: &[u8], out: &mut Vec<u8>) {
        self.write(Opcode::Text, json, out);
    }

    /// Appends a binary message.
    pub fn binary(&self, message: &[u8], out: &mut Vec<u8>) {
        self.write(Opcode::Binary, message, out);
    }

    /// Appends a ping.
    pub fn ping(&self, out: &mut Vec<u8>) {
        self.write(Opcode::Ping, b"", out);
    }

    /// Appends the end of a call with OK.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.close(NORMAL, "", out);
    }

    /// Appends the end of a call that failed: `{"error": Status}` as a text, then the close. `status` is the JSON
    /// text of the `google.rpc.Status`, whose code and message the close repeats.
    pub fn fail(&mut self, status: &[u8], code: i32, message: &str, out: &mut Vec<u8>) {
        let code = self.fault.map_or_else(|| close_code(code), |fault| fault.close_code());
        let mut error = Vec::with_capacity(status.len() + 10);
        error.extend_from_slice(b"{\"error\":");
        error.extend_from_slice(status);
        error.push(b'}');
        self.text(&error, out);
        self.close(code, message, out);
    }

    fn close(&mut self, code: u16, reason: &str, out: &mut Vec<u8>) {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(cut(reason, REASON_BYTES_MAX).as_bytes());
        self.write(Opcode::Close, &payload, out);
        self.is_closed_by_us = true;
    }

    /// After the close nothing is written (RFC 6455, section 5.5.1).
    fn write(&self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        if !self.is_closed_by_us {
            frame::write(opcode, payload, out);
        }
    }

    fn read(&mut self, out: &mut Vec<u8>) -> Result<Option<Event>, SocketFault> {
        loop {
            if let Some((head, done)) = self.open {
                match self.read_payload(head, done)? {
                    Payload::Missing => return Ok(None),
                    Payload::Fragment => continue,
                    Payload::Message(event) => return Ok(Some(event)),
                }
            }
            let Some((head, len)) = Head::parse(&self.inbox)? else { return Ok(None) };
            if head.opcode.is_control() {
                let end = len + usize::try_from(head.payload_bytes).unwrap_or(usize::MAX);
                if self.inbox.len() < end {
                    return Ok(None);
                }
                let mut payload = self.inbox.split_to(end);
                payload.advance(len);
                frame::unmask(head.mask, 0, &mut payload);
                return self.control(head.opcode, &payload, out).map(Some);
            }
            self.begin(head)?;
            self.inbox.advance(len);
            self.open = Some((head, 0));
        }
    }

    /// Checks a data frame against the message that it belongs to, before any of its payload is read.
    fn begin(&mut self, head: Head) -> Result<(), SocketFault> {
        match (self.kind, head.opcode) {
            (None, Opcode::Continuation) => {
                return Err(SocketFault::Protocol("a continuation with nothing to continue"));
            }
            (Some(_), Opcode::Text | Opcode::Binary) => {
                return Err(SocketFault::Protocol("a new message inside another one"));
            }
            (None, kind) => self.kind = Some(kind),
            (Some(_), _) => (),
        }
        if self.is_half_closed {
            return Err(SocketFault::AfterHalfClose);
        }
        let room = (self.message_bytes_max - self.message.len()) as u64;
        if head.payload_bytes > room {
            return Err(SocketFault::TooLarge { message_bytes_max: self.message_bytes_max });
        }
        Ok(())
    }

    fn read_payload(&mut self, head: Head, done: u64) -> Result<Payload, SocketFault> {
        let left = head.payload_bytes - done;
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.inbox.len());
        let from = self.message.len();
        self.message.extend_from_slice(&self.inbox[..here]);
        self.inbox.advance(here);
        frame::unmask(head.mask, done, &mut self.message[from..]);
        if (here as u64) < left {
            self.open = Some((head, done + here as u64));
            return Ok(Payload::Missing);
        }
        self.open = None;
        if !head.is_last {
            return Ok(Payload::Fragment);
        }
        let message = mem::take(&mut self.message).freeze();
        if self.kind.take() == Some(Opcode::Binary) {
            return Ok(Payload::Message(Event::Binary(message)));
        }
        if message.is_empty() {
            self.is_half_closed = true;
            return Ok(Payload::Message(Event::HalfClose));
        }
        if std::str::from_utf8(&message).is_err() {
            return Err(SocketFault::NotUtf8);
        }
        Ok(Payload::Message(Event::Text(message)))
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) -> Result<Event, SocketFault> {
        match opcode {
            Opcode::Ping => {
                self.write(Opcode::Pong, payload, out);
                Ok(Event::Ping)
            }
            Opcode::Close => {
                let code = frame::close_code_of(payload)?;
                //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
                //# When sending a Close frame in response, the endpoint typically echos the status code it
                //# received.
                self.write(Opcode::Close, &payload[..payload.len().min(2)], out);
                self.is_closed_by_us = true;
                self.forget();
                Ok(Event::Close(code))
            }
            _ => Ok(Event::Pong),
        }
    }

    /// Nothing more is read; what was kept is given back.
    fn forget(&mut self) {
        self.is_over = true;
        self.inbox = BytesMut::new();
        self.message = BytesMut::new();
        self.open = None;
        self.kind = None;
    }
}

/// What reading a data frame gave.
enum Payload {
    Missing,
    Fragment,
    Message(Event),
}

/// The close code of a gRPC status.
fn close_code(code: i32) -> u16 {
    match u16::try_from(code) {
        Ok(0) => NORMAL,
        Ok(code @ 1..1000) => GRPC_BASE + code,
        _ => GRPC_BASE + u16::try_from(Code::Unknown.number()).unwrap_or(0),
    }
}

/// The beginning of a text that has at most so many bytes, cut at a character.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const NOT_UTF8: u16 = 1007;
const GRPC_BASE: u16 = 4000;
/// A control frame has at most 125 bytes, two of which are the code.
const REASON_BYTES_MAX: usize = 123;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;

    use bytes::Bytes;
    use proptest::prelude::*;
    use tungstenite::Message;
    use tungstenite::protocol::Role;
    use tungstenite::protocol::WebSocket;

    use crate::bridge::rest::websocket::Event;
    use crate::bridge::rest::websocket::Socket;
    use crate::bridge::rest::websocket::SocketFault;
    use crate::bridge::rest::websocket::cut;

    const MESSAGE_BYTES_MAX: usize = 1000;
    const MASK: [u8; 4] = [0x12, 0xff, 0x00, 0x9b];

    /// A client's frame: `first` is its first byte.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            len @ ..=125 => out.push(0x80 | u8::try_from(len).unwrap()),
            len @ ..=0xffff => {
                out.push(0x80 | 126);
                out.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
            }
            len => {
                out.push(0x80 | 127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&MASK);
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// A name, the frames, the events that they are, and what is answered.
    type Row = (&'static str, Vec<Vec<u8>>, Vec<Event>, Vec<u8>);
    type Read = (Vec<Event>, Option<SocketFault>, Vec<u8>);

    fn read(bytes: &[u8], cuts: &[usize]) -> Read {
        let (mut socket, mut events, mut out) = (Socket::new(MESSAGE_BYTES_MAX), Vec::new(), Vec::new());
        let (mut rest, mut cuts) = (bytes, cuts.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            rest = later;
            socket.push(now);
            loop {
                match socket.next_event(&mut out) {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(fault) => {
                        socket.push(b"more");
                        assert_eq!(socket.next_event(&mut out), Err(fault), "a fault stays");
                        return (events, Some(fault), out);
                    }
                }
            }
        }
        (events, None, out)
    }

    fn text(text: &str) -> Event {
        Event::Text(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn frames_become_events() {
        let close =
            |code: u16, reason: &str| frame(0x88, &[&code.to_be_bytes()[..], reason.as_bytes()].concat());
        let long = "x".repeat(700);
        let table: Vec<Row> = vec![
            ("text", vec![frame(0x81, b"{}")], vec![text("{}")], vec![]),
            (
                "binary",
                vec![frame(0x82, &[0xff, 0])],
                vec![Event::Binary(Bytes::from_static(&[0xff, 0]))],
                vec![],
            ),
            ("empty binary", vec![frame(0x82, b"")], vec![Event::Binary(Bytes::new())], vec![]),
            ("16-bit length", vec![frame(0x81, long.as_bytes())], vec![text(&long)], vec![]),
            (
                "fragments, a character and a ping between them",
                vec![frame(0x01, b"a\xe2\x82"), frame(0x89, b"p"), frame(0x00, b""), frame(0x80, b"\xacb")],
                vec![Event::Ping, text("a\u{20ac}b")],
                vec![0x8a, 1, b'p'],
            ),
            ("half-close", vec![frame(0x81, b"")], vec![Event::HalfClose], vec![]),
            (
                "half-close in fragments",
                vec![frame(0x01, b""), frame(0x80, b"")],
                vec![Event::HalfClose],
                vec![],
            ),
            ("pong", vec![frame(0x8a, b"x")], vec![Event::Pong], vec![]),
            (
                "a close is echoed, and nothing is read after it",
                vec![close(1001, "bye"), frame(0x81, b"1"), frame(0x89, b"")],
                vec![Event::Close(Some(1001))],
                vec![0x88, 2, 0x03, 0xe9],
            ),
            ("an empty close", vec![frame(0x88, b"")], vec![Event::Close(None)], vec![0x88, 0]),
            (
                "control frames after the half-close",
                vec![frame(0x81, b""), frame(0x89, b""), close(4123, "")],
                vec![Event::HalfClose, Event::Ping, Event::Close(Some(4123))],
                vec![0x8a, 0, 0x88, 2, 0x10, 0x1b],
            ),
        ];
        for (name, frames, events, out) in table {
            for cuts in [&[1][..], &[2, 7], &[4096]] {
                assert_eq!(
                    read(&frames.concat(), cuts),
                    (events.clone(), None, out.clone()),
                    "{name} {cuts:?}"
                );
            }
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_refused_with_its_code() {
        let mut unmasked = frame(0x81, b"{}");
        unmasked[1] &= 0x7f;
        let oversized = |first: u8, len: u64| [&[first, 0xff][..], &len.to_be_bytes()].concat();
        let with_mask = |head: Vec<u8>| [head, MASK.to_vec()].concat();
        let table: Vec<(&str, Vec<u8>, u16)> = vec![
            ("unmasked", unmasked, 1002),
            ("rsv1", frame(0xc1, b"{}"), 1002),
            ("rsv3", frame(0x91, b"{}"), 1002),
            ("opcode 3", frame(0x83, b""), 1002),
            ("opcode 11", frame(0x8b, b""), 1002),
            ("fragmented ping", frame(0x09, b""), 1002),
            ("long ping", frame(0x89, &[0; 126]), 1002),
            ("lone continuation", frame(0x80, b"x"), 1002),
            ("text inside text", [frame(0x01, b"x"), frame(0x81, b"y")].concat(), 1002),
            ("binary inside text", [frame(0x01, b"x"), frame(0x82, b"y")].concat(), 1002),
            ("16-bit length of 125", vec![0x81, 0x80 | 126, 0, 125], 1002),
            ("64-bit length of 65535", oversized(0x81, 65535), 1002),
            ("64-bit length with its high bit", oversized(0x81, 1 << 63), 1002),
            ("half a close code", frame(0x88, &[3]), 1002),
            ("close 1005", frame(0x88, &1005u16.to_be_bytes()), 1002),
            ("close 999", frame(0x88, &999u16.to_be_bytes()), 1002),
            ("close 1016", frame(0x88, &1016u16.to_be_bytes()), 1002),
            ("close 5000", frame(0x88, &5000u16.to_be_bytes()), 1002),
            ("close with a reason that is not UTF-8", frame(0x88, &[3, 0xe8, 0xff]), 1007),
            ("text that is not UTF-8", frame(0x81, &[0xff]), 1007),
            ("text that ends inside a character", frame(0x81, b"\xe2\x82"), 1007),
            ("a surrogate", frame(0x81, b"\xed\xa0\x80"), 1007),
            ("too large, from its head alone", with_mask(oversized(0x82, 1 << 40)), 4008),
            ("too large by one", frame(0x82, &[0; MESSAGE_BYTES_MAX + 1]), 4008),
            (
                "too large in fragments",
                [frame(0x02, &[0; 900]), frame(0x00, &[0; 100]), frame(0x80, &[0; 1])].concat(),
                4008,
            ),
            ("a message after the half-close", [frame(0x81, b""), frame(0x81, b"1")].concat(), 4003),
            ("a second half-close", [frame(0x81, b""), frame(0x81, b"")].concat(), 4003),
        ];
        for (name, bytes, code) in table {
            for cuts in [&[1][..], &[3], &[4096]] {
                let (_, fault, out) = read(&bytes, cuts);
                let fault = fault.unwrap_or_else(|| panic!("{name} {cuts:?} is taken"));
                assert_eq!(fault.close_code(), code, "{name} {cuts:?}: {fault}");
                assert_eq!(out, b"", "{name}");
            }
        }
        let fits = [frame(0x02, &[0; 900]), frame(0x80, &[0; 100])].concat();
        assert_eq!(read(&fits, &[7]).1, None);
    }

    #[test]
    fn an_announced_length_reserves_nothing() {
        let mut socket = Socket::new(64 << 20);
        socket.push(&[&[0x82, 0xff][..], &(64u64 << 20).to_be_bytes(), &MASK, b"few"].concat());
        assert_eq!(socket.next_event(&mut Vec::new()), Ok(None));
        assert!(!socket.is_between());
        assert!(socket.message.capacity() + socket.inbox.capacity() < 4096);
    }

    #[test]
    fn the_close_carries_the_status() {
        let table =
            [(1, 4001), (5, 4005), (16, 4016), (99, 4099), (1000, 4002), (-1, 4002), (i32::MAX, 4002)];
        for (code, want) in table {
            let (mut socket, mut out) = (Socket::new(MESSAGE_BYTES_MAX), Vec::new());
            socket.fail(b"{}", code, "why", &mut out);
            let want =
                [&[0x81, 12][..], b"{\"error\":{}}", &[0x88, 5], &u16::to_be_bytes(want), b"why"].concat();
            assert_eq!(out, want, "{code}");
            // Nothing follows the close.
            socket.text(b"1", &mut out);
            socket.ping(&mut out);
            socket.end(&mut out);
            socket.push(&frame(0x89, b"x"));
            assert_eq!(socket.next_event(&mut out), Ok(Some(Event::Ping)));
            socket.push(&frame(0x88, b""));
            assert_eq!(socket.next_event(&mut out), Ok(Some(Event::Close(None))));
            assert_eq!(out, want, "{code}");
        }
        let (mut socket, mut out) = (Socket::new(MESSAGE_BYTES_MAX), Vec::new());
        socket.end(&mut out);
        assert_eq!(out, [0x88, 2, 0x03, 0xe8]);
    }

    #[test]
    fn reasons_are_cut_at_a_character() {
        let long = "\u{20ac}".repeat(60);
        assert_eq!(cut(&long, 123).len(), 123);
        assert_eq!(cut(&format!("a{long}"), 123).len(), 121);
        assert_eq!(cut("short", 123), "short");
        let (mut socket, mut out) = (Socket::new(MESSAGE_BYTES_MAX), Vec::new());
        socket.fail(b"{}", 3, &format!("a{long}"), &mut out);
        let close = &out[14..];
        assert_eq!((close[0], close[1], close.len()), (0x88, 123, 125));
        assert!(std::str::from_utf8(&close[4..]).is_ok());
    }

    /// A connection whose other end is the test.
    #[derive(Default)]
    struct Pipe {
        to_client: VecDeque<u8>,
        to_server: Vec<u8>,
    }

    impl io::Read for Pipe {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match io::Read::read(&mut self.to_client, into)? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                len => Ok(len),
            }
        }
    }

    impl io::Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.to_server.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn another_implementation_understands_us_and_is_understood() {
        let mut client = WebSocket::from_raw_socket(Pipe::default(), Role::Client, None);
        let (mut socket, mut out) = (Socket::new(1 << 20), Vec::new());
        let long = "y".repeat(70_000);
        for message in [
            Message::text("{}"),
            Message::binary(vec![1, 2]),
            Message::text(long.clone()),
            Message::Ping("hi".into()),
        ] {
            client.send(message).unwrap();
        }
        socket.push(&std::mem::take(&mut client.get_mut().to_server));
        let mut events = Vec::new();
        while let Some(event) = socket.next_event(&mut out).unwrap() {
            events.push(event);
        }
        assert_eq!(
            events,
            [text("{}"), Event::Binary(Bytes::from_static(&[1, 2])), text(&long), Event::Ping]
        );
        assert!(socket.is_between());

        socket.text(b"{\"a\":1}", &mut out);
        socket.binary(&[7; 300], &mut out);
        socket.text(long.as_bytes(), &mut out);
        socket.fail(b"{\"code\":5}", 5, "no such pet", &mut out);
        client.get_mut().to_client.extend(out.drain(..));
        let got: Vec<Message> = (0..6).map(|_| client.read().unwrap()).collect();
        assert_eq!(got[0], Message::Pong("hi".into()));
        assert_eq!(got[1], Message::text("{\"a\":1}"));
        assert_eq!(got[2], Message::binary(vec![7; 300]));
        assert_eq!(got[3], Message::text(long));
        assert_eq!(got[4], Message::text("{\"error\":{\"code\":5}}"));
        let Message::Close(Some(close)) = &got[5] else { panic!("{:?}", got[5]) };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (4005, "no such pet"));

        client.flush().ok();
        socket.push(&std::mem::take(&mut client.get_mut().to_server));
        assert_eq!(socket.next_event(&mut out), Ok(Some(Event::Close(Some(4005)))));
        assert!(out.is_empty() && socket.is_over() && socket.is_closed_by_us());
    }

    fn part() -> impl Strategy<Value = Vec<u8>> {
        let payload = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..140),
            "[a-z\u{20ac}]{0,40}".prop_map(String::into_bytes),
        ];
        let first =
            prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88, 0x83, 0xc1]);
        (first, payload).prop_map(|(first, payload)| frame(first, &payload))
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(
            parts in prop::collection::vec(part(), 0..8), cuts in prop::collection::vec(1usize..50, 1..9)
        ) {
            let bytes = parts.concat();
            let whole = read(&bytes, &[1 << 20]);
            prop_assert_eq!(&read(&bytes, &cuts), &whole);
            prop_assert_eq!(&read(&bytes, &[1]), &whole);
        }

        #[test]
        fn any_text_comes_back_however_it_is_fragmented(
            text in ".{1,60}", at in prop::collection::vec(any::<prop::sample::Index>(), 0..4), cuts in prop::collection::vec(1usize..20, 1..5)
        ) {
            let mut ends: Vec<usize> = at.iter().map(|at| at.index(text.len())).collect();
            ends.sort_unstable();
            ends.push(text.len());
            let (mut bytes, mut from) = (Vec::new(), 0);
            for (number, end) in ends.iter().enumerate() {
                let last = if number + 1 == ends.len() { 0x80 } else { 0 };
                bytes.extend(frame(last | u8::from(number == 0), &text.as_bytes()[from..*end]));
                from = *end;
            }
            prop_assert_eq!(read(&bytes, &cuts), (vec![self::text(&text)], None, vec![]));
        }

        #[test]
        fn noise_never_panics(bytes: Vec<u8>, cuts in prop::collection::vec(1usize..9, 1..9)) {
            read(&bytes, &cuts);
        }
    }
}

//! Refuses HTTP/1.1 bytes that two parsers could read in two ways, before any parser sees them.
//!
//! The server behind the guard accepts a bare line feed and drops a Content-Length beside Transfer-Encoding, as many
//! do; request smuggling lives on such kindness. The guard reads the bytes as they come, knows where each request
//! begins and ends, and holds to the letter of RFC 9112 and a little less. It changes no byte and holds none but a
//! short field value: bytes pass as soon as they are judged, and no request is complete behind the guard that wasn't
//! complete and good before it.
//!
//! After a GET that asks for a WebSocket the guard stands aside for good, whatever follows: the server answers with
//! 101, or closes after its answer.

mod drive;
mod fields;

use std::error::Error;
use std::fmt;

use crate::wire::h1_guard::fields::Body;
use crate::wire::h1_guard::fields::Fields;
use crate::wire::h1_guard::fields::Problem;
use crate::wire::h1_guard::fields::Text;

pub use drive::drive;

/// How much of a request's head is borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, request line and empty line included, and of a trailer section; 64 KiB.
    pub header_bytes: usize,
    /// Fields of a head, and of a trailer section; 100.
    pub header_count: usize,
    /// Bytes after the semicolon of one chunk's extensions; 256. Their sum in a body is left to the server.
    pub chunk_extension_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header_bytes: 64 * 1024, header_count: 100, chunk_extension_bytes: 256 }
    }
}

/// Why a connection can't be read on: answer, if nothing was answered yet for the request in question, and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct H1Fault {
    /// 400, 431 (head over the limits), 501 (CONNECT) or 505 (version).
    pub status: u16,
    /// What is wrong and what to send instead, for the client.
    pub problem: &'static str,
    /// Bytes at the beginning of the refused chunk that may pass: earlier requests, or the good part of a body.
    pub good: usize,
    /// Whether the fault is in a body or its trailers, so that the server has the request's head already.
    pub place: Place,
}

impl fmt::Display for H1Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.problem)
    }
}

impl Error for H1Fault {}

/// Where in the stream of requests a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before the first byte of a request.
    Between,
    /// In a request line or header fields.
    Head,
    /// In a body, its chunks or its trailers.
    Body,
    /// After a request to switch to WebSocket: no longer HTTP.
    Detached,
}

/// Watches one inbound HTTP/1.1 connection from its first byte on.
#[derive(Clone, Debug)]
pub struct H1Guard {
    limits: Limits,
    state: State,
    fields: Fields,
    /// Method, scheme, version, field name or value, whichever is being read.
    text: Text,
    /// Bytes and fields of the head or trailer section being read, and where it began in the chunk being fed.
    section_bytes: usize,
    section_fields: usize,
    section_at: usize,
    requests: u64,
    fault: Option<H1Fault>,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of a request yet; whether an empty line was skipped, as RFC 9112 section 2.2 asks for.
    Start(Skipped),
    StartLf,
    Method,
    TargetStart,
    Scheme,
    /// In the authority of an absolute target.
    Authority,
    Target,
    Version,
    LineLf,
    FieldStart,
    Name,
    Value,
    ValueLf,
    EndLf,
    /// Bytes of the body to come.
    Length(u64),
    /// Digits and value of a chunk size so far.
    Size(u8, u64),
    /// Value of the chunk size, and bytes of its extensions so far.
    Extension(u64, usize),
    SizeLf(u64),
    /// Bytes of the chunk to come.
    Chunk(u64),
    ChunkCr,
    ChunkLf,
    Detached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skipped {
    Nothing,
    EmptyLine,
}

impl H1Guard {
    /// A guard for a connection that begins.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Start(Skipped::Nothing),
            fields: Fields::default(),
            text: Text::default(),
            section_bytes: 0,
            section_fields: 0,
            section_at: 0,
            requests: 0,
            fault: None,
        }
    }

    /// Judges the next inbound bytes. When it is `Ok`, all of them may pass, and their number is returned.
    ///
    /// # Errors
    /// The first fault, with the number of bytes that may pass all the same; every later call reports it again. To
    /// answer it, let the server finish the requests that passed before, then write the answer and close.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, H1Fault> {
        if let Some(fault) = self.fault {
            return Err(H1Fault { good: 0, ..fault });
        }
        self.section_at = 0;
        let mut at = 0;
        while at < bytes.len() {
            match self.step(bytes, at) {
                Ok(used) => at += used,
                Err((status, problem)) => return Err(self.refuse(at, status, problem)),
            }
        }
        Ok(bytes.len())
    }

    /// Heads that were whole and good so far.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Where the connection stands, for the timers of heads and idle connections.
    pub fn place(&self) -> Place {
        match self.state {
            State::Start(_) | State::StartLf => Place::Between,
            State::Detached => Place::Detached,
            State::Length(_) | State::Size(..) | State::Extension(..) | State::SizeLf(_) => Place::Body,
            State::Chunk(_) | State::ChunkCr | State::ChunkLf => Place::Body,
            _ if self.fields.trailers => Place::Body,
            _ => Place::Head,
        }
    }

    fn refuse(&mut self, at: usize, status: u16, problem: &'static str) -> H1Fault {
        let good = if self.in_section() { self.section_at } else { at };
        let place = if self.place() == Place::Body { Place::Body } else { Place::Head };
        let fault = H1Fault { status, problem, good, place };
        self.fault = Some(fault);
        fault
    }

    /// Reads some bytes from `at` on, at least one, and says how many.
    fn step(&mut self, bytes: &[u8], at: usize) -> Result<usize, Problem> {
        let rest = &bytes[at..];
        let in_section = self.in_section();
        let used = if in_section {
            let room = self.limits.header_bytes.saturating_sub(self.section_bytes);
            if room == 0 {
                return Err(fields::TOO_LARGE);
            }
            self.section(&rest[..rest.len().min(room)])?
        } else {
            self.body(rest)?
        };
        if in_section && self.in_section() && self.state != State::Start(Skipped::Nothing) {
            self.section_bytes += used;
        } else {
            // If a section follows, it begins here.
            (self.section_bytes, self.section_fields, self.section_at) = (0, 0, at + used);
        }
        Ok(used)
    }

    /// Reads on in a head or trailer section.
    fn section(&mut self, rest: &[u8]) -> Result<usize, Problem> {
        match self.state {
            State::FieldStart | State::Name | State::Value | State::ValueLf | State::EndLf => {
                self.field(rest)
            }
            _ => self.request_line(rest),
        }
    }

    fn request_line(&mut self, rest: &[u8]) -> Result<usize, Problem> {
        let Some(&byte) = rest.first() else { return Ok(0) };
        match (self.state, byte) {
            (State::Start(Skipped::Nothing), b'\r') => self.state = State::StartLf,
            (State::StartLf, b'\n') => self.state = State::Start(Skipped::EmptyLine),
            (State::Start(_), byte) if fields::is_token(byte) => {
                self.fields = Fields::default();
                self.text.start(byte);
                self.state = State::Method;
            }
            (State::Method, byte) if fields::is_token(byte) => self.text.push(&[byte]),
            (State::Method, b' ') => {
                self.fields.method(&self.text)?;
                self.state = State::TargetStart;
            }
            (State::TargetStart, b'/') => self.state = State::Target,
            (State::TargetStart, b'*') if self.fields.is_options() => self.state = State::Target,
            (State::TargetStart, byte) if byte.is_ascii_alphabetic() => {
                self.text.start(byte);
                self.state = State::Scheme;
            }
            (State::Scheme, b'h' | b't' | b'p' | b's' | b'H' | b'T' | b'P' | b'S' | b':' | b'/') => {
                self.text.push(&[byte]);
                if self.text.is(b"http://") || self.text.is(b"https://") {
                    self.text.clear();
                    self.state = State::Authority;
                }
            }
            (State::Authority, b'/' | b'?') => {
                Fields::authority(&self.text)?;
                self.state = State::Target;
            }
            (State::Authority, byte) if fields::is_host(byte) => self.text.push(&[byte]),
            (State::Authority | State::Target, b' ') => {
                if self.state == State::Authority {
                    Fields::authority(&self.text)?;
                }
                self.text.clear();
                self.state = State::Version;
            }
            (State::Target, byte) if fields::is_target(byte) => {
                return Ok(rest.iter().take_while(|&&byte| fields::is_target(byte)).count());
            }
            (State::Version, b'\r') => {
                self.fields.version(&self.text)?;
                self.state = State::LineLf;
            }
            (State::Version, byte) if byte.is_ascii_graphic() => self.text.push(&[byte]),
            (State::LineLf, b'\n') => self.state = State::FieldStart,
            (state, byte) => return Err(bad_request_line(state, byte)),
        }
        Ok(1)
    }

    fn field(&mut self, rest: &[u8]) -> Result<usize, Problem> {
        let Some(&byte) = rest.first() else { return Ok(0) };
        match (self.state, byte) {
            (State::FieldStart, b'\r') => self.state = State::EndLf,
            (State::FieldStart, byte) if fields::is_token(byte) => {
                self.section_fields += 1;
                if self.limits.header_count < self.section_fields {
                    return Err(fields::TOO_MANY);
                }
                self.text.start(byte);
                self.state = State::Name;
            }
            (State::Name, byte) if fields::is_token(byte) => {
                let used = rest.iter().take_while(|&&byte| fields::is_token(byte)).count();
                self.text.push(&rest[..used]);
                return Ok(used);
            }
            (State::Name, b':') => {
                self.fields.name(&self.text)?;
                self.text.clear();
                self.state = State::Value;
            }
            (State::Value, byte) if fields::is_value(byte) => {
                let used = rest.iter().take_while(|&&byte| fields::is_value(byte)).count();
                if self.fields.reads_value() {
                    self.text.push(&rest[..used]);
                }
                return Ok(used);
            }
            (State::Value, b'\r') => {
                self.fields.value(&self.text)?;
                self.state = State::ValueLf;
            }
            (State::ValueLf, b'\n') => self.state = State::FieldStart,
            (State::EndLf, b'\n') => self.state = self.after_section()?,
            (state, byte) => return Err(bad_field(state, byte)),
        }
        Ok(1)
    }

    /// What follows the empty line that was read: a body, or the next request.
    fn after_section(&mut self) -> Result<State, Problem> {
        if self.fields.trailers {
            return Ok(State::Start(Skipped::Nothing));
        }
        let body = self.fields.end()?;
        self.requests += 1;
        Ok(match body {
            Body::Length(0) => State::Start(Skipped::Nothing),
            Body::Length(len) => State::Length(len),
            Body::Chunked => State::Size(0, 0),
            Body::Switch => State::Detached,
        })
    }

    fn body(&mut self, rest: &[u8]) -> Result<usize, Problem> {
        let Some(&byte) = rest.first() else { return Ok(0) };
        match (self.state, byte) {
            (State::Detached, _) => return Ok(rest.len()),
            (State::Length(left), _) => {
                let (used, left) = skip(left, rest);
                self.state = if left == 0 { State::Start(Skipped::Nothing) } else { State::Length(left) };
                return Ok(used);
            }
            (State::Chunk(left), _) => {
                let (used, left) = skip(left, rest);
                self.state = if left == 0 { State::ChunkCr } else { State::Chunk(left) };
                return Ok(used);
            }
            (State::Size(digits, size), byte) if byte.is_ascii_hexdigit() => {
                self.state = State::Size(digits + 1, fields::chunk_size(digits, size, byte)?);
            }
            (State::Size(1.., size), b'\r') | (State::Extension(size, _), b'\r') => {
                self.state = State::SizeLf(size)
            }
            (State::Size(1.., size), b';') => self.state = State::Extension(size, 0),
            (State::Extension(size, len), b' '..=b'~' | b'\t') => {
                if self.limits.chunk_extension_bytes <= len {
                    return Err(fields::EXTENSION_TOO_LONG);
                }
                self.state = State::Extension(size, len + 1);
            }
            (State::SizeLf(0), b'\n') => {
                self.fields.trailers = true;
                self.state = State::FieldStart;
            }
            (State::SizeLf(size), b'\n') => self.state = State::Chunk(size),
            (State::ChunkCr, b'\r') => self.state = State::ChunkLf,
            (State::ChunkLf, b'\n') => self.state = State::Size(0, 0),
            (state, byte) => return Err(bad_body(state, byte)),
        }
        Ok(1)
    }

    /// Whether the next byte belongs to a head or a trailer section, of which nothing passes once it is bad.
    fn in_section(&self) -> bool {
        !matches!(
            self.state,
            State::Length(_)
                | State::Size(..)
                | State::Extension(..)
                | State::SizeLf(_)
                | State::Chunk(_)
                | State::ChunkCr
                | State::ChunkLf
                | State::Detached
        )
    }
}

/// How many bytes of `rest` belong to the `left` bytes to come, and how many are left then.
fn skip(left: u64, rest: &[u8]) -> (usize, u64) {
    let used = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
    (used, left - used as u64)
}

fn bad_request_line(state: State, byte: u8) -> Problem {
    match (state, byte) {
        (_, b'\n') => fields::BARE_LF,
        (State::StartLf | State::LineLf, _) => fields::BARE_CR,
        (State::Start(Skipped::EmptyLine), b'\r') => {
            fields::bad("empty lines before the request line, send none")
        }
        (State::Start(_) | State::Method, _) => {
            fields::bad("method is not a token, send one such as GET or POST")
        }
        (State::TargetStart | State::Scheme | State::Authority, _) => {
            fields::bad("request target is not a path, send one that begins with a slash, or an http URL")
        }
        (State::Target, _) => {
            fields::bad("character that may not stand in a request target, percent-encode it")
        }
        (_, b' ' | b'\t') => {
            fields::bad("more than two spaces in the request line, percent-encode those of the target")
        }
        _ => fields::BAD_VERSION,
    }
}

fn bad_field(state: State, byte: u8) -> Problem {
    match (state, byte) {
        (State::ValueLf | State::EndLf, byte) if byte != b'\n' => fields::BARE_CR,
        (_, b'\n') => fields::BARE_LF,
        (State::FieldStart, b' ' | b'\t') => fields::bad("header folded over lines, send it in one line"),
        (State::FieldStart, b':') => fields::bad("header without a name, send one before the colon"),
        (State::Name, b' ' | b'\t') => fields::bad("space before the colon of a header, send none"),
        (State::Name, b'\r') => {
            fields::bad("header without a colon, send name and value with a colon between")
        }
        (State::Value, _) => fields::bad("control character in a header value, send visible characters"),
        _ => fields::bad("character that may not stand in a header name, send letters, digits and hyphens"),
    }
}

fn bad_body(state: State, byte: u8) -> Problem {
    match (state, byte) {
        (State::SizeLf(_), _) => fields::BARE_CR,
        (State::Size(..) | State::Extension(..), b'\n') => fields::BARE_LF,
        (State::Extension(..), _) => fields::bad("control character in a chunk extension, send none"),
        (State::ChunkCr | State::ChunkLf, _) => {
            fields::bad("chunk longer than its size says, end it with CR LF there")
        }
        _ => fields::bad(
            "chunk size is not hexadecimal digits alone, send up to 16 of them, without 0x or spaces",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::Mutex;

    use http_body_util::BodyExt;
    use http_body_util::Empty;
    use hyper::Request;
    use hyper::Response;
    use hyper::body::Bytes;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;

    use super::*;

    const GOOD: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /a/b;c=d/%2F?q=%20&r=[{|}] HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        b"GET http://a.example:80/x HTTP/1.1\r\nHost:a.example:80\r\n\r\n",
        b"GET HTTPS://a.example?x HTTP/1.1\r\nHost:\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH:\t 0011 \t\r\n\r\nGET / \nHTTP",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\n\n\r\n00A;x=\"y z\"\r\n0123456789\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;last\r\nx: y\r\nz:\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Text: caf\xc3\xa9\t!\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    ];

    /// A POST whose head holds these lines besides Host, and a GET that a smuggler hides behind it.
    fn post(lines: &str) -> Vec<u8> {
        format!(
            "POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n5\r\nabcde\r\n0\r\n\r\nGET /admin HTTP/1.1\r\n\r\n"
        )
        .into()
    }

    /// A chunked POST with this body.
    fn chunked(body: &str) -> Vec<u8> {
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into()
    }

    /// A GET with this head.
    fn head(text: &str) -> Vec<u8> {
        format!("{text}\r\n\r\n").into()
    }

    fn feed_all(stream: &[u8], piece: usize) -> Result<u64, H1Fault> {
        let mut guard = H1Guard::new(Limits::default());
        stream.chunks(piece).try_for_each(|chunk| guard.feed(chunk).map(drop)).map(|()| guard.requests())
    }

    /// Each bad stream, its status, and words of the problem.
    fn bad_streams() -> Vec<(Vec<u8>, u16, &'static str)> {
        let mut all: Vec<(Vec<u8>, u16, &'static str)> = Vec::new();
        let te = "Transfer-Encoding: chunked\r\n";
        for (lines, problem) in [
            (format!("Content-Length: 4\r\n{te}"), "both"),
            (format!("{te}Content-Length: 4\r\n"), "both"),
            (format!("Content-Length: 0\r\n{te}"), "both"),
            ("Content-Length: 4\r\nContent-Length: 4\r\n".into(), "repeated"),
            ("Content-Length: 4\r\nContent-Length: 5\r\n".into(), "repeated"),
            ("Content-Length: 4\r\ncontent-length: 0\r\n".into(), "repeated"),
            (format!("{te}{te}"), "repeated"),
            (format!("{te}Transfer-Encoding: identity\r\n"), "repeated"),
        ] {
            all.push((post(&lines), 400, problem));
        }
        for value in [
            "+5",
            "-5",
            "5,5",
            "5, 5",
            "5 5",
            "0x5",
            "5.0",
            "",
            " ",
            "9223372036854775808",
            "00000000000000000005",
            "5\u{664}",
        ] {
            all.push((post(&format!("Content-Length: {value}\r\n")), 400, "content-length is not a number"));
        }
        for value in [
            "xchunked",
            "chunkedx",
            "chunked, identity",
            "identity",
            "gzip",
            "gzip, chunked",
            "chunked,chunked",
            "\"chunked\"",
            "chunked;q=1",
            "",
            ",chunked",
            "chunked,",
        ] {
            all.push((post(&format!("Transfer-Encoding: {value}\r\n")), 400, "other than chunked"));
        }
        all.extend(bad_fields());
        all.extend(bad_lines());
        all.extend(bad_chunks());
        all
    }

    fn bad_fields() -> impl Iterator<Item = (Vec<u8>, u16, &'static str)> {
        [
            ("Transfer-Encoding : chunked\r\n", "space before the colon"),
            ("Transfer-Encoding\t: chunked\r\n", "space before the colon"),
            ("Transfer-Encoding\x0b: chunked\r\n", "header name"),
            ("Transfer-Encoding\0: chunked\r\n", "header name"),
            ("Transfer-Encoding: \x0bchunked\r\n", "control character"),
            ("Transfer-Encoding: chunked\x0c\r\n", "control character"),
            ("Transfer-Encoding: \x00chunked\r\n", "control character"),
            ("Transfer-Encoding:\r\n chunked\r\n", "other than chunked"),
            ("X: y\r\n Transfer-Encoding: chunked\r\n", "folded"),
            ("X: y\r\n\tz\r\n", "folded"),
            (" X: y\r\n", "folded"),
            ("X: y\nTransfer-Encoding: chunked\r\n", "line feed without"),
            ("X: y\rTransfer-Encoding: chunked\r\n", "carriage return without"),
            ("X: y\r\rTransfer-Encoding: chunked\r\n", "carriage return without"),
            ("X\nTransfer-Encoding: chunked\r\n", "line feed without"),
            ("X\r\n", "without a colon"),
            (": y\r\n", "without a name"),
            ("X y: z\r\n", "space before the colon"),
            ("X(y): z\r\n", "header name"),
            ("X\u{e9}: z\r\n", "header name"),
            ("X: \x7f\r\n", "control character"),
            ("X: \x1b[0m\r\n", "control character"),
            ("Host: a\r\n", "repeated"),
            ("\n", "line feed without"),
            ("\rX", "carriage return without"),
        ]
        .into_iter()
        .map(|(line, problem)| (post(line), 400, problem))
    }

    fn bad_lines() -> impl Iterator<Item = (Vec<u8>, u16, &'static str)> {
        [
            ("GET / HTTP/1.1", 400, "no host"),
            ("GET / HTTP/1.1\r\nHost: a, b", 400, "not a host"),
            ("GET / HTTP/1.1\r\nHost: u@b", 400, "not a host"),
            ("GET / HTTP/1.1\r\nHost: a/b", 400, "not a host"),
            ("GET / HTTP/1.1\r\nHost: a b", 400, "not a host"),
            ("GET / HTTP/1.0\r\nHost: a\r\nHost: b", 400, "repeated"),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked", 400, "HTTP/1.0"),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a", 501, "CONNECT"),
            ("GET a:443 HTTP/1.1\r\nHost: a", 400, "not a path"),
            ("GET ftp://a/ HTTP/1.1\r\nHost: a", 400, "not a path"),
            ("GET http:///x HTTP/1.1\r\nHost: a", 400, "no host"),
            ("GET http://:80/x HTTP/1.1\r\nHost: a", 400, "no host"),
            ("GET http://a:8x HTTP/1.1\r\nHost: a", 400, "no host"),
            ("GET / HTTP/1.1\r\nHost: a:b", 400, "not a host"),
            ("GET / HTTP/1.1\r\nHost: a:1:2", 400, "not a host"),
            ("GET / HTTP/1.1\r\nHost: [a]b", 400, "not a host"),
            ("GET / HTTP/1.1\r\nHost: [::1", 400, "not a host"),
            ("GET / HTTP/1.1\r\nHost: []", 400, "not a host"),
            ("GET / HTTP/1.1\r\nHost: %61", 400, "not a host"),
            ("GET http://u@a/x HTTP/1.1\r\nHost: a", 400, "not a path"),
            ("GET * HTTP/1.1\r\nHost: a", 400, "not a path"),
            ("GET  / HTTP/1.1\r\nHost: a", 400, "not a path"),
            ("GET /a b HTTP/1.1\r\nHost: a", 400, "spaces"),
            ("GET /  HTTP/1.1\r\nHost: a", 400, "spaces"),
            ("GET / HTTP/1.1 \r\nHost: a", 400, "spaces"),
            ("GET /#x HTTP/1.1\r\nHost: a", 400, "percent-encode"),
            ("GET /\t HTTP/1.1\r\nHost: a", 400, "percent-encode"),
            ("GET /\0 HTTP/1.1\r\nHost: a", 400, "percent-encode"),
            ("GET /\u{e9} HTTP/1.1\r\nHost: a", 400, "percent-encode"),
            ("GET /\r\nHost: a", 400, "percent-encode"),
            ("GET /\nHost: a", 400, "line feed"),
            ("GET / HTTP/1.1\nHost: a", 400, "line feed"),
            ("GET / HTTP/1.1\rHost: a", 400, "carriage return"),
            ("GET / HTTP/1.2\r\nHost: a", 505, "HTTP/1.1"),
            ("GET / HTTP/0.9\r\nHost: a", 505, "HTTP/1.1"),
            ("PRI * HTTP/2.0", 400, "not a path"),
            ("GET / HTTP/2.0", 505, "HTTP/1.1"),
            ("GET / HTTP/1.10\r\nHost: a", 400, "version"),
            ("GET / http/1.1\r\nHost: a", 400, "version"),
            ("GET / HTTP/1.1\x0b\r\nHost: a", 400, "version"),
            ("G(T / HTTP/1.1\r\nHost: a", 400, "token"),
            (" GET / HTTP/1.1\r\nHost: a", 400, "token"),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a", 400, "empty lines"),
            ("\nGET / HTTP/1.1\r\nHost: a", 400, "line feed"),
            ("\rGET / HTTP/1.1\r\nHost: a", 400, "carriage return"),
            ("\x16\x03\x01", 400, "token"),
        ]
        .into_iter()
        .map(|(text, status, problem)| (head(text), status, problem))
    }

    fn bad_chunks() -> impl Iterator<Item = (Vec<u8>, u16, &'static str)> {
        let long = Box::leak(format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(257)).into_boxed_str());
        [
            ("0x5\r\nabcde\r\n", "hexadecimal"),
            (" 5\r\nabcde\r\n", "hexadecimal"),
            ("5 \r\nabcde\r\n", "hexadecimal"),
            ("5\t;x\r\nabcde\r\n", "hexadecimal"),
            ("+5\r\nabcde\r\n", "hexadecimal"),
            ("\r\n", "hexadecimal"),
            (";x\r\n", "hexadecimal"),
            ("5\nabcde\r\n", "line feed"),
            ("5\rabcde\r\n", "carriage return"),
            ("00000000000000005\r\nabcde\r\n", "16 digits"),
            ("8000000000000000\r\n", "2^63"),
            ("ffffffffffffffff\r\n", "2^63"),
            ("5\r\nabcdefg\r\n", "longer than its size"),
            ("5\r\nabcde\n0\r\n\r\n", "longer than its size"),
            ("5\r\nabcde\r0\r\n\r\n", "longer than its size"),
            ("5;x\nabcde\r\n", "line feed"),
            ("5;x\rabcde\r\n", "carriage return"),
            ("5;x\0\r\nabcde\r\n", "control character"),
            (long, "extension too long"),
            ("0\r\nx : y\r\n\r\n", "space before the colon"),
            ("0\r\nx: y\n\r\n", "line feed"),
            ("0\r\nx: y\r\n z\r\n\r\n", "folded"),
            ("0\r\nContent-Length: 5\r\n\r\n", "in trailers"),
            ("0\r\nTransfer-Encoding: chunked\r\n\r\n", "in trailers"),
            ("0\r\nHost: b\r\n\r\n", "in trailers"),
            ("0\r\n\n", "line feed"),
            ("0\r\n\rx", "carriage return"),
        ]
        .into_iter()
        .map(|(body, problem)| (chunked(body), 400, problem))
    }

    #[test]
    fn good_streams_pass_whatever_the_cut() {
        for stream in GOOD {
            let requests = feed_all(stream, stream.len());
            assert!(requests.is_ok(), "{}: {requests:?}", stream.escape_ascii());
            for piece in 1..stream.len() {
                assert_eq!(feed_all(stream, piece), requests, "{} by {piece}", stream.escape_ascii());
            }
        }
        assert_eq!(feed_all(GOOD[1], 1000), Ok(2));
        assert_eq!(feed_all(GOOD[8], 1000), Ok(1), "a body hides no request");
        assert_eq!(feed_all(GOOD[10], 1000), Ok(2), "a request follows trailers");
    }

    #[test]
    fn bad_streams_are_refused_whatever_the_cut() {
        for (stream, status, problem) in bad_streams() {
            for at in 0..stream.len() {
                let mut guard = H1Guard::new(Limits::default());
                let fault = guard.feed(&stream[..at]).and_then(|_| guard.feed(&stream[at..]));
                let text = stream.escape_ascii();
                let fault = fault.expect_err(&format!("{text} passed, cut at {at}"));
                assert_eq!(fault.status, status, "{text}: {}", fault.problem);
                assert!(fault.problem.contains(problem), "{text}: {}", fault.problem);
                assert_eq!(
                    guard.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                    Err(H1Fault { good: 0, ..fault })
                );
            }
        }
    }

    #[test]
    fn a_fault_lets_the_requests_before_it_pass() {
        let good = GOOD[7];
        for (bad, ..) in bad_streams() {
            let mut guard = H1Guard::new(Limits::default());
            let fault = guard.feed(&[good, &bad].concat()).unwrap_err();
            let blank = if bad.starts_with(b"\r\n") { 2 } else { 0 };
            match fault.place {
                Place::Head => assert!(fault.good <= good.len() + blank, "{}", bad.escape_ascii()),
                _ => assert!(good.len() < fault.good, "{}", bad.escape_ascii()),
            }
            assert!(good.len() <= fault.good, "{}", bad.escape_ascii());
            assert_eq!(guard.requests(), 2 + u64::from(fault.place == Place::Body));
        }
        let fault = feed_all(&chunked("3\r\nabc\r\n4x"), 1000).unwrap_err();
        assert_eq!(fault.good, chunked("3\r\nabc\r\n4").len(), "a body passes up to its fault");
    }

    #[test]
    fn heads_are_bounded_in_bytes_and_fields() {
        let limits = Limits { header_bytes: 60, header_count: 3, ..Limits::default() };
        let judge = |stream: &[u8]| H1Guard::new(limits).feed(stream).map_err(|fault| fault.status);
        let exact = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(28));
        assert_eq!((exact.len(), judge(exact.as_bytes())), (60, Ok(60)));
        assert_eq!(judge(exact.replace("x:", "xx:").as_bytes()), Err(431));
        assert_eq!(judge(format!("GET /{}", "x".repeat(100)).as_bytes()), Err(431));
        assert_eq!(judge(b"GET / HTTP/1.1\r\nHost: a\r\na:\r\nb:\r\n\r\n").map(drop), Ok(()));
        assert_eq!(judge(b"GET / HTTP/1.1\r\nHost: a\r\na:\r\nb:\r\nc:\r\n\r\n"), Err(431));
        let three = exact.repeat(3);
        assert_eq!(judge(three.as_bytes()), Ok(180), "each head has its own bound");
        let limits = Limits { header_bytes: 100, header_count: 3, ..limits };
        let judge = |body: &str| {
            H1Guard::new(limits).feed(&chunked(body)).map_err(|fault| (fault.status, fault.place))
        };
        assert_eq!(judge("0\r\na:\r\nb:\r\nc:\r\n\r\n").map(drop), Ok(()));
        assert_eq!(judge("0\r\na:\r\nb:\r\nc:\r\nd:\r\n\r\n"), Err((431, Place::Body)));
        assert_eq!(judge(&format!("0\r\na:{}\r\n\r\n", "x".repeat(100))), Err((431, Place::Body)));
    }

    #[test]
    fn the_place_is_known() {
        let mut guard = H1Guard::new(Limits::default());
        let mut after = |bytes: &[u8]| {
            guard.feed(bytes).unwrap();
            guard.place()
        };
        assert_eq!(after(b""), Place::Between);
        assert_eq!(after(b"\r\n"), Place::Between);
        assert_eq!(after(b"P"), Place::Head);
        assert_eq!(after(b"OST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r"), Place::Head);
        assert_eq!(after(b"\n"), Place::Body);
        assert_eq!(after(b"3\r\nabc\r\n0\r\nx: y"), Place::Body);
        assert_eq!(after(b"\r\n\r\n"), Place::Between);
        assert_eq!(after(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab"), Place::Body);
        assert_eq!(after(b"c"), Place::Between);
        assert_eq!(after(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x, WebSocket\r\n\r\n"), Place::Detached);
        assert_eq!(after(b"\n\0anything"), Place::Detached);
    }

    #[test]
    fn only_a_whole_get_that_asks_for_a_websocket_ends_the_watch() {
        let table = [
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nUpgrade: websocket", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nContent-Length: 0", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websockets", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nX-Upgrade: websocket", false),
            ("get / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket", false),
            ("POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket", false),
            ("GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket", false),
        ];
        for (text, want) in table {
            let stream = head(text);
            for piece in [1, stream.len()] {
                let mut guard = H1Guard::new(Limits::default());
                for chunk in stream.chunks(piece) {
                    assert_ne!(guard.place(), Place::Detached, "{text}: before its end");
                    guard.feed(chunk).unwrap();
                }
                assert_eq!(guard.place() == Place::Detached, want, "{text}");
                assert_eq!(guard.requests(), 1, "{text}");
                assert_eq!(guard.feed(b"GET / HTTP/1.1\n").is_ok(), want, "{text}");
            }
        }
        let body = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc\n";
        assert!(feed_all(body.as_bytes(), 1000).is_err(), "a body is no part of a handshake");
    }

    #[test]
    fn seeded_scripts_keep_the_laws() {
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut script = Vec::new();
        for _ in 0..200_000 {
            script.clear();
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // The first snippets are whole requests: half of the scripts begin with a few of them.
            let bytes = random.to_le_bytes();
            script.extend(bytes.iter().enumerate().map(|(at, byte)| if at < 3 { byte % 8 } else { *byte }));
            drive(if random & 1 == 0 { &script } else { &bytes });
        }
    }

    proptest! {
        #[test]
        fn any_bytes_keep_the_laws(script in prop::collection::vec(any::<u8>(), 0..40)) {
            drive(&script);
        }

        #[test]
        fn one_changed_byte_smuggles_nothing(which in 0..GOOD.len(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut stream = GOOD[which].to_vec();
            let at = at.index(stream.len());
            stream[at] = byte;
            agree(&stream);
        }
    }

    #[test]
    fn the_server_sees_the_same_requests() {
        GOOD.iter().for_each(|stream| agree(stream));
        bad_streams().iter().for_each(|(stream, ..)| agree(stream));
    }

    /// Hands what passes the guard to the server, which must see no other requests than the guard did.
    fn agree(stream: &[u8]) {
        let mut guard = H1Guard::new(Limits::default());
        let passed = guard.feed(stream).unwrap_or_else(|fault| fault.good);
        let (seen, refused) = serve(&stream[..passed]);
        let text = stream.escape_ascii();
        assert!(seen <= guard.requests(), "{text}: {seen}");
        // After these the server closes by right, and reads no second request; it may also be stricter than the guard.
        let closes = stream.windows(8).any(|window| window == b"HTTP/1.0") || refused;
        assert!(closes || seen == guard.requests(), "{text}: {seen} of {}", guard.requests());
    }

    /// How many requests the server behind the guard makes of these bytes, and whether it refuses one by itself.
    fn serve(stream: &[u8]) -> (u64, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let seen = Arc::new(Mutex::new(0));
        let count = seen.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            *count.lock().unwrap() += 1;
            async move {
                let _cut = request.into_body().collect().await.is_err();
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        let reply = runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(64 * 1024);
            let talk = async {
                client.write_all(stream).await.unwrap();
                client.shutdown().await.unwrap();
                let mut reply = Vec::new();
                client.read_to_end(&mut reply).await.unwrap();
                reply
            };
            let serve = hyper::server::conn::http1::Builder::new()
                .half_close(true)
                .serve_connection(TokioIo::new(server), service);
            let (reply, _served) = tokio::join!(talk, serve);
            reply
        });
        let refused = reply.windows(12).any(|window| window == b"HTTP/1.1 400");
        (*seen.lock().unwrap(), refused)
    }
}

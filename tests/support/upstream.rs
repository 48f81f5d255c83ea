//! Upstreams written by hand, frame by frame, for what no HTTP/2 library sends.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Buf;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::PATIENCE;
use crate::support::frame;

/// What an upstream has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    pub(crate) open: usize,
    pub(crate) calls: usize,
    /// Requests that came to their end.
    pub(crate) ended: usize,
    /// Streams that the gateway reset, and the code of the last.
    pub(crate) resets: usize,
    pub(crate) reset_code: u32,
}

/// One thing that an upstream does.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Headers(Vec<(&'static str, &'static str)>, Last),
    Data(Bytes, Last),
    /// RST_STREAM with a code.
    Reset(u32),
    /// GOAWAY with the last stream it knows, and a code.
    GoAway(u32, u32),
    /// GOAWAY with this stream as the last.
    GoAwayAfter,
    /// Bytes as they are, on the connection.
    Bytes(Bytes),
    /// The connection is closed.
    Close,
}

/// Whether a frame ends its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    No,
    Yes,
}

/// When an upstream acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At the head of a request.
    Head,
    /// At its end.
    End,
    /// When the test says so.
    Released,
}

pub(crate) type Script = (When, Vec<Act>);

/// A well-formed reply of one message.
pub(crate) fn good() -> Vec<Act> {
    vec![
        Act::Headers(vec![(":status", "200"), ("content-type", "application/grpc")], Last::No),
        Act::Data(frame(0, b"\x0a\x01y"), Last::No),
        Act::Headers(vec![("grpc-status", "0")], Last::Yes),
    ]
}

/// A hand-written upstream.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) seen: watch::Receiver<Seen>,
    pub(crate) release: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

/// What a script is asked for: the connection and the call of the upstream, both from 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) connection: usize,
    pub(crate) call: usize,
}

impl Upstream {
    pub(crate) fn start(script: impl Fn(Turn) -> Script + Send + Sync + 'static) -> Self {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.set_nonblocking(true).expect("sockets can be so");
        let address = socket.local_addr().expect("a bound socket has an address");
        let listener = TcpListener::from_std(socket).expect("tests run inside a runtime");
        let (tell, seen) = watch::channel(Seen::default());
        let (release, released) = watch::channel(false);
        let script = Arc::new(script);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut connections, mut at) = (JoinSet::new(), 0);
            loop {
                let (socket, _) = listener.accept().await.expect("a connection");
                tell.send_modify(|seen| {
                    (seen.connections, seen.open) = (seen.connections + 1, seen.open + 1)
                });
                let wire = Wire { socket, read: BytesMut::new(), tell: tell.clone(), pending: Vec::new() };
                connections.spawn(wire.serve(at, script.clone(), released.clone()));
                at += 1;
            }
        });
        Self { address, seen, release, _tasks: tasks }
    }

    /// Waits until what was seen is as it should be.
    pub(crate) async fn until(&self, what: &str, holds: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        let found = tokio::time::timeout(PATIENCE, seen.wait_for(holds)).await;
        match found {
            Ok(seen) => *seen.expect("the upstream is still there"),
            Err(_) => panic!("in vain: {what}: {:?}", *self.seen.borrow()),
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.seen.borrow()
    }
}

/// One connection of an upstream, frame by frame.
struct Wire {
    socket: TcpStream,
    read: BytesMut,
    tell: watch::Sender<Seen>,
    /// Streams whose script is yet to run.
    pending: Vec<(u32, Script)>,
}

impl Wire {
    async fn serve(
        mut self,
        at: usize,
        script: Arc<dyn Fn(Turn) -> Script + Send + Sync>,
        mut released: watch::Receiver<bool>,
    ) {
        // A gateway that closes is no fault of the test's.
        let _ = self.speak(at, &*script, &mut released).await;
        self.tell.send_modify(|seen| seen.open -= 1);
    }

    async fn speak(
        &mut self,
        at: usize,
        script: &(dyn Fn(Turn) -> Script + Send + Sync),
        released: &mut watch::Receiver<bool>,
    ) -> std::io::Result<()> {
        // The settings, and a window for everything that a test may send.
        self.socket.write_all(&frame_of(4, 0, 0, &[])).await?;
        self.socket.write_all(&frame_of(8, 0, 0, &(1u32 << 30).to_be_bytes())).await?;
        let mut begun = false;
        loop {
            let preface = if begun { 0 } else { PREFACE_BYTES };
            if let Some((kind, flags, stream, len)) = header(&self.read, preface) {
                begun = true;
                self.read.advance(preface + 9);
                let payload = self.read.split_to(len).freeze();
                let mut opened = None;
                if kind == HEADERS {
                    let call = self.tell.borrow().calls;
                    opened = Some(script(Turn { connection: at, call }));
                }
                if !self.take(kind, flags, stream, &payload, opened).await? {
                    return Ok(());
                }
                continue;
            }
            tokio::select! {
                read = self.socket.read_buf(&mut self.read) => if read? == 0 { return Ok(()) },
                changed = released.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let (due, kept) = std::mem::take(&mut self.pending)
                        .into_iter()
                        .partition(|(_, (when, _))| *when == When::Released);
                    self.pending = kept;
                    for (stream, (_, acts)) in due {
                        if !self.act(stream, acts).await? {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// Takes one frame; false once the connection is to be closed.
    async fn take(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        opened: Option<Script>,
    ) -> std::io::Result<bool> {
        let end = matches!(kind, DATA | HEADERS) && flags & END != 0;
        match kind {
            SETTINGS if flags & ACK == 0 => self.socket.write_all(&frame_of(SETTINGS, ACK, 0, &[])).await?,
            PING if flags & ACK == 0 => self.socket.write_all(&frame_of(PING, ACK, 0, payload)).await?,
            RST_STREAM => {
                let code = u32::from_be_bytes(payload.try_into().expect("RST_STREAM has four bytes"));
                self.pending.retain(|(pending, _)| *pending != stream);
                self.tell.send_modify(|seen| (seen.resets, seen.reset_code) = (seen.resets + 1, code));
            }
            _ => {}
        }
        if let Some((when, acts)) = opened {
            self.tell.send_modify(|seen| seen.calls += 1);
            if when == When::Head {
                if !self.act(stream, acts).await? {
                    return Ok(false);
                }
            } else {
                self.pending.push((stream, (when, acts)));
            }
        }
        if end {
            self.tell.send_modify(|seen| seen.ended += 1);
            let due = |(pending, (when, _)): &(u32, Script)| *pending == stream && *when == When::End;
            if let Some(at) = self.pending.iter().position(due) {
                let (_, (_, acts)) = self.pending.swap_remove(at);
                return self.act(stream, acts).await;
            }
        }
        Ok(true)
    }

    async fn act(&mut self, stream: u32, acts: Vec<Act>) -> std::io::Result<bool> {
        let mut out = BytesMut::new();
        let mut open = true;
        for act in acts {
            let flag = |last: Last| if last == Last::Yes { END } else { 0 };
            match act {
                Act::Headers(fields, last) => {
                    out.extend_from_slice(&frame_of(
                        HEADERS,
                        flag(last) | END_HEADERS,
                        stream,
                        &block(&fields),
                    ));
                }
                Act::Data(data, last) => out.extend_from_slice(&frame_of(DATA, flag(last), stream, &data)),
                Act::Reset(code) => {
                    out.extend_from_slice(&frame_of(RST_STREAM, 0, stream, &code.to_be_bytes()))
                }
                Act::GoAway(last, code) => out.extend_from_slice(&go_away(last, code)),
                Act::GoAwayAfter => out.extend_from_slice(&go_away(stream, 0)),
                Act::Bytes(bytes) => out.extend_from_slice(&bytes),
                Act::Close => open = false,
            }
        }
        self.socket.write_all(&out).await?;
        Ok(open)
    }
}

/// The next frame's kind, flags, stream and length, once all of it is here.
fn header(read: &[u8], skip: usize) -> Option<(u8, u8, u32, usize)> {
    let head = read.get(skip..skip + 9)?;
    let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    (read.len() >= skip + 9 + len).then_some((head[3], head[4], stream, len))
}

/// One HTTP/2 frame.
pub(crate) fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(9 + payload.len());
    bytes.put_uint(payload.len() as u64, 3);
    bytes.put_u8(kind);
    bytes.put_u8(flags);
    bytes.put_u32(stream);
    bytes.extend_from_slice(payload);
    bytes.freeze()
}

fn go_away(last: u32, code: u32) -> Bytes {
    let mut payload = [0; 8];
    payload[..4].copy_from_slice(&last.to_be_bytes());
    payload[4..].copy_from_slice(&code.to_be_bytes());
    frame_of(7, 0, 0, &payload)
}

/// A header block of literals, without an index (RFC 7541, section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Bytes {
    let mut bytes = BytesMut::new();
    for (name, value) in fields {
        bytes.put_u8(0);
        for text in [name, value] {
            let mut len = text.len();
            if len < 127 {
                bytes.put_u8(u8::try_from(len).expect("it is below 127"));
            } else {
                // An integer beyond its prefix of seven bits (RFC 7541, section 5.1).
                bytes.put_u8(127);
                len -= 127;
                while len >= 128 {
                    bytes.put_u8(u8::try_from(len % 128).expect("it is below 128") | 128);
                    len /= 128;
                }
                bytes.put_u8(u8::try_from(len).expect("it is below 128"));
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes.freeze()
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const END: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PREFACE_BYTES: usize = PREFACE.len();

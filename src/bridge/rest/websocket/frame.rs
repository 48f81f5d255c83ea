//! The frames of RFC 6455, section 5.

use crate::bridge::rest::websocket::SocketFault;

/// The head of a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) opcode: Opcode,
    pub(super) is_last: bool,
    pub(super) mask: [u8; 4],
    pub(super) payload_bytes: u64,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    /// Whether the frame stands by itself, between the frames of a message.
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn from_bits(bits: u8) -> Option<Self> {
        let all = [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong];
        all.into_iter().find(|opcode| *opcode as u8 == bits)
    }
}

impl Head {
    /// Reads the head of a frame and says how long the head is; `None` where bytes are missing. What the first
    /// bytes show to be wrong is refused before the others are there.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, SocketFault> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(SocketFault::Protocol("a reserved bit is set, but no extension was agreed on"));
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(SocketFault::Protocol("an unknown opcode"))?;
        let is_last = first & 0x80 != 0;
        if second & 0x80 == 0 {
            //= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
            //# The server MUST close the connection upon receiving a frame that is not masked.
            return Err(SocketFault::Protocol("a frame is not masked"));
        }
        let short = second & 0x7f;
        if opcode.is_control() && (!is_last || short > 125) {
            return Err(SocketFault::Protocol("a control frame is fragmented or over 125 bytes"));
        }
        let Some((payload_bytes, len_bytes)) = payload_len(short, rest)? else { return Ok(None) };
        let Some(mask) = rest[len_bytes..].first_chunk() else { return Ok(None) };
        let head = Self { opcode, is_last, mask: *mask, payload_bytes };
        Ok(Some((head, 2 + len_bytes + 4)))
    }
}

/// The length of the payload, and how many bytes say so after the first two.
fn payload_len(short: u8, rest: &[u8]) -> Result<Option<(u64, usize)>, SocketFault> {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.2
    //# Note that in all cases, the minimal number of bytes MUST be used to encode the length
    let (len, bytes, least) = match short {
        126 => match rest.first_chunk::<2>() {
            Some(len) => (u64::from(u16::from_be_bytes(*len)), 2, 126),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(len) => (u64::from_be_bytes(*len), 8, 1 << 16),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, 0),
    };
    if len < least || len >> 63 != 0 {
        return Err(SocketFault::Protocol("the length of a frame is not in its shortest form"));
    }
    Ok(Some((len, bytes)))
}

/// Takes the mask off payload bytes, the first of which is number `from` of the payload.
pub(super) fn unmask(mask: [u8; 4], from: u64, payload: &mut [u8]) {
    let mut mask = mask;
    mask.rotate_left(usize::from(from.to_le_bytes()[0] & 3));
    let (words, tail) = payload.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// The code in the payload of a close frame, if there is one.
pub(super) fn close_code_of(payload: &[u8]) -> Result<Option<u16>, SocketFault> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(SocketFault::Protocol("a close with half a code")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if std::str::from_utf8(reason).is_err() {
        return Err(SocketFault::NotUtf8);
    }
    //= https://www.rfc-editor.org/rfc/rfc6455#section-7.4
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(SocketFault::Protocol("a close with a code that must not be sent"));
    }
    Ok(Some(code))
}

/// Appends a whole frame of the server.
pub(super) fn write(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode as u8);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ ..=125), _) => out.push(len),
        (_, Ok(len)) => {
            out.push(126);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

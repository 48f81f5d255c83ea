//! What the lines of an HTTP/1.1 head mean for where its body ends, and which bytes may stand in them.

/// The status and the text of a refusal.
pub(super) type Problem = (u16, &'static str);

/// What a head says of itself that decides about framing.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    /// Whether these are the trailers of a chunked body.
    pub(super) trailers: bool,
    method: Method,
    version: Version,
    host: Seen,
    length: Option<u64>,
    chunked: Seen,
    websocket: Seen,
    /// The field being read.
    name: Name,
}

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// By its length in bytes; 0 when there is no body.
    Length(u64),
    /// By chunks.
    Chunked,
    /// None; and what follows the head is no HTTP, unless the server refuses to switch.
    Switch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Method {
    Get,
    Options,
    #[default]
    Other,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Version {
    Http10,
    #[default]
    Http11,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Seen {
    #[default]
    Never,
    Once,
}

/// The fields whose value the guard reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Name {
    Host,
    ContentLength,
    TransferEncoding,
    Upgrade,
    #[default]
    Other,
}

impl Fields {
    pub(super) fn method(&mut self, text: &Text) -> Result<(), Problem> {
        if text.over {
            return Err(bad("method too long, send a registered one"));
        }
        if text.is(b"CONNECT") {
            return Err((501, "CONNECT is not served here, send another method"));
        }
        self.method = match text.bytes() {
            b"GET" => Method::Get,
            b"OPTIONS" => Method::Options,
            _ => Method::Other,
        };
        Ok(())
    }

    pub(super) fn is_options(&self) -> bool {
        self.method == Method::Options
    }

    /// The authority of an absolute target.
    pub(super) fn authority(text: &Text) -> Result<(), Problem> {
        if text.over || !is_authority(text.bytes()) {
            return Err(bad("request target has no host with an optional port, send one after http://"));
        }
        Ok(())
    }

    pub(super) fn version(&mut self, text: &Text) -> Result<(), Problem> {
        self.version = match text.bytes() {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err((505, "HTTP version is not served in this form, send HTTP/1.1"));
            }
            _ => return Err(BAD_VERSION),
        };
        Ok(())
    }

    pub(super) fn name(&mut self, text: &Text) -> Result<(), Problem> {
        const KNOWN: [(&[u8], Name); 4] = [
            (b"host", Name::Host),
            (b"content-length", Name::ContentLength),
            (b"transfer-encoding", Name::TransferEncoding),
            (b"upgrade", Name::Upgrade),
        ];
        let known = KNOWN.iter().find(|(name, _)| text.is(name));
        self.name = known.map_or(Name::Other, |(_, name)| *name);
        if self.trailers && self.name != Name::Other {
            return Err(bad(
                "host, content-length, transfer-encoding or upgrade in trailers, send it in the head",
            ));
        }
        Ok(())
    }

    /// Whether [`Fields::value`] needs the value of the field being read.
    pub(super) fn reads_value(&self) -> bool {
        self.name != Name::Other
    }

    pub(super) fn value(&mut self, text: &Text) -> Result<(), Problem> {
        if text.over {
            return Err(bad(
                "host, content-length, transfer-encoding or upgrade too long, send at most 264 bytes",
            ));
        }
        let value = trim(text.bytes());
        match self.name {
            Name::Other => Ok(()),
            Name::Host => self.read_host(value),
            Name::ContentLength => self.read_length(value),
            Name::TransferEncoding => self.read_encoding(value),
            Name::Upgrade => {
                self.read_upgrade(value);
                Ok(())
            }
        }
    }

    /// The head is whole: where its body ends.
    pub(super) fn end(&self) -> Result<Body, Problem> {
        if self.version == Version::Http11 && self.host == Seen::Never {
            return Err(bad("no host header, send one"));
        }
        match (self.chunked, self.length) {
            (Seen::Never, None | Some(0)) if self.switches() => Ok(Body::Switch),
            (Seen::Never, length) => Ok(Body::Length(length.unwrap_or(0))),
            (Seen::Once, Some(_)) => Err(bad("both content-length and transfer-encoding, send one of them")),
            (Seen::Once, None) if self.version == Version::Http10 => {
                Err(bad("transfer-encoding in HTTP/1.0, send content-length or HTTP/1.1"))
            }
            (Seen::Once, None) => Ok(Body::Chunked),
        }
    }

    /// Whether the server may answer with 101 (RFC 6455, section 4.1).
    fn switches(&self) -> bool {
        self.websocket == Seen::Once && self.method == Method::Get && self.version == Version::Http11
    }

    /// Other protocols than WebSocket, `h2c` among them, are left alone.
    fn read_upgrade(&mut self, value: &[u8]) {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-7.8
        //# A server MAY ignore a received Upgrade header field if it wishes to continue using the current
        //# protocol on that connection.
        let is_websocket = |item: &[u8]| trim(item).eq_ignore_ascii_case(b"websocket");
        if value.split(|&byte| byte == b',').any(is_websocket) {
            self.websocket = Seen::Once;
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc9112#section-3.2
    fn read_host(&mut self, value: &[u8]) -> Result<(), Problem> {
        if self.host == Seen::Once {
            return Err(bad("host header repeated, send one"));
        }
        if !value.is_empty() && !is_authority(value) {
            return Err(bad("host header is not a host with an optional port, send such a one"));
        }
        self.host = Seen::Once;
        Ok(())
    }

    /// RFC 9110 lets equal repetitions through; they are refused here, as nobody needs them but a smuggler.
    fn read_length(&mut self, value: &[u8]) -> Result<(), Problem> {
        if self.length.is_some() {
            return Err(bad("content-length repeated, send it once"));
        }
        let digits =
            std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = digits.filter(|text| text.len() <= 19).and_then(|text| text.parse().ok());
        match length {
            Some(length) if length <= LENGTH_MAX => self.length = Some(length),
            _ => return Err(bad("content-length is not a number below 2^63, send digits alone")),
        }
        Ok(())
    }

    fn read_encoding(&mut self, value: &[u8]) -> Result<(), Problem> {
        if self.chunked == Seen::Once {
            return Err(bad("transfer-encoding repeated, send it once"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(bad("transfer-encoding other than chunked, send chunked alone"));
        }
        self.chunked = Seen::Once;
        Ok(())
    }
}

/// Whether these bytes are a host name or address, the latter in brackets if of version 6, with an optional port.
fn is_authority(value: &[u8]) -> bool {
    let (host, rest) = match value.iter().position(|&byte| byte == b']') {
        Some(end) => value.split_at(end + 1),
        None => value.split_at(value.iter().position(|&byte| byte == b':').unwrap_or(value.len())),
    };
    let inner = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    let is_host = match inner {
        Some(address) => {
            !address.is_empty()
                && address.iter().all(|&byte| byte.is_ascii_hexdigit() || b":.".contains(&byte))
        }
        None => !host.is_empty() && host.iter().all(|&byte| is_host(byte) && !b"[]:".contains(&byte)),
    };
    let is_port = |port: &[u8]| port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    is_host && (rest.is_empty() || rest.strip_prefix(b":").is_some_and(is_port))
}

/// The chunk size after one more hexadecimal digit.
pub(super) fn chunk_size(digits: u8, size: u64, digit: u8) -> Result<u64, Problem> {
    let digit = char::from(digit).to_digit(16).map_or(0, u64::from);
    match size.checked_mul(16).map(|size| size + digit) {
        Some(size) if digits < 16 && size <= LENGTH_MAX => Ok(size),
        _ => Err(bad("chunk size over 2^63 or over 16 digits, send smaller chunks")),
    }
}

fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii() // only spaces and tabs get here: the other blanks are no value bytes
}

/// A short text that arrives in pieces; `over` says that it was longer and is cut.
#[derive(Clone, Debug)]
pub(super) struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    len: usize,
    over: bool,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; TEXT_BYTES_MAX], len: 0, over: false }
    }
}

impl Text {
    pub(super) fn clear(&mut self) {
        (self.len, self.over) = (0, false);
    }

    pub(super) fn start(&mut self, byte: u8) {
        self.clear();
        self.push(&[byte]);
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let step = bytes.len().min(TEXT_BYTES_MAX - self.len);
        self.bytes[self.len..self.len + step].copy_from_slice(&bytes[..step]);
        self.len += step;
        self.over |= step < bytes.len();
    }

    /// Whether it is this text, whatever the case.
    pub(super) fn is(&self, text: &[u8]) -> bool {
        !self.over && self.bytes().eq_ignore_ascii_case(text)
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

pub(super) fn is_token(byte: u8) -> bool {
    CLASS[usize::from(byte)] & TOKEN != 0
}

pub(super) fn is_value(byte: u8) -> bool {
    CLASS[usize::from(byte)] & VALUE != 0
}

pub(super) fn is_target(byte: u8) -> bool {
    CLASS[usize::from(byte)] & TARGET != 0
}

/// Bytes of a host with its port: no user before it, no comma that would make it a list, no percent that would
/// give it two spellings.
pub(super) fn is_host(byte: u8) -> bool {
    CLASS[usize::from(byte)] & HOST != 0
}

pub(super) const fn bad(problem: &'static str) -> Problem {
    (400, problem)
}

pub(super) const BARE_LF: Problem = bad("line feed without a carriage return, end lines with CR LF");
pub(super) const BARE_CR: Problem = bad("carriage return without a line feed, end lines with CR LF");
pub(super) const BAD_VERSION: Problem = bad("request line does not end with a version, send HTTP/1.1");
pub(super) const EXTENSION_TOO_LONG: Problem = bad("chunk extension too long, send none");
pub(super) const TOO_LARGE: Problem = (431, "headers larger than header_bytes, send fewer or shorter ones");
pub(super) const TOO_MANY: Problem = (431, "more headers than header_count, send fewer");

/// The longest host is 253 bytes with a port of 6; nothing else that is read is longer.
const TEXT_BYTES_MAX: usize = 264;
/// 2^63 - 1.
const LENGTH_MAX: u64 = u64::MAX >> 1;

const TOKEN: u8 = 1;
const VALUE: u8 = 2;
const TARGET: u8 = 4;
const HOST: u8 = 8;

/// The classes of every byte.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0u8;
    loop {
        let alphanumeric = byte.is_ascii_alphanumeric();
        let at = byte as usize;
        if alphanumeric || is_one_of(byte, b"!#$%&'*+-.^_`|~") {
            class[at] |= TOKEN;
        }
        if byte == b'\t' || (b' ' <= byte && byte != 127) {
            class[at] |= VALUE;
        }
        if byte.is_ascii_graphic() && byte != b'#' {
            class[at] |= TARGET;
        }
        if alphanumeric || is_one_of(byte, b"-._~[]:!$&'()*+;=") {
            class[at] |= HOST;
        }
        if byte == u8::MAX {
            break class;
        }
        byte += 1;
    }
};

const fn is_one_of(byte: u8, set: &[u8]) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

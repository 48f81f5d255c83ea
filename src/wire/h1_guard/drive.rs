//! The laws of the HTTP/1.1 guard, run over scripts by the fuzzer and the tests.

use crate::wire::h1_guard::H1Fault;
use crate::wire::h1_guard::H1Guard;
use crate::wire::h1_guard::Limits;
use crate::wire::h1_guard::Place;

/// Builds a stream from a script and feeds it to guards in pieces of different sizes.
///
/// Each byte of the script appends one of [`SNIPPETS`] or, from 192 on, the next byte of the script as it is.
///
/// # Panics
/// When a law is broken: the cut of the bytes doesn't matter to the verdict, nothing passes after a fault, what
/// passed is good by itself, and a plain parser finds the same requests in it.
pub fn drive(script: &[u8]) {
    let mut stream = Vec::new();
    let mut ops = script.iter().copied();
    while let Some(op) = ops.next() {
        match op {
            0..192 => stream.extend_from_slice(SNIPPETS[usize::from(op) % SNIPPETS.len()]),
            _ => stream.extend(ops.next()),
        }
    }
    let (whole, whole_passed, whole_guard) = run(&stream, stream.len());
    let piece = script.first().map_or(1, |&first| usize::from(first % 7) + 2);
    for piece in [1, piece] {
        let (fault, passed, guard) = run(&stream, piece);
        assert_eq!(guard.requests(), whole_guard.requests(), "the cut doesn't matter to the count");
        assert_eq!(fault.map(told), whole.map(told), "the cut doesn't matter to the verdict");
        assert!(whole_passed <= passed && passed <= stream.len(), "a coarser cut passes no more");
        let in_body = whole.is_none_or(|fault| fault.place == Place::Body && !guard.fields.trailers);
        assert!(!in_body || passed == whole_passed, "a body passes up to its fault");
    }
    let (again, _, guard) = run(&stream[..whole_passed], whole_passed);
    assert_eq!(again, None, "what passed is good by itself");
    assert_eq!(guard.requests(), whole_guard.requests(), "a refused head is not counted");
    let (requests, is_between) = recount(&stream[..whole_passed]);
    assert_eq!(requests, guard.requests(), "a plain parser finds the same requests");
    assert_eq!(is_between, guard.place() == Place::Between, "and the same end of the last one");
}

/// Feeds a stream in pieces: the fault, how much passed, and the guard.
fn run(stream: &[u8], piece: usize) -> (Option<H1Fault>, usize, H1Guard) {
    let limits = Limits { header_bytes: 150, header_count: 5, chunk_extension_bytes: 8 };
    let mut guard = H1Guard::new(limits);
    let mut passed = 0;
    for chunk in stream.chunks(piece.max(1)) {
        match guard.feed(chunk) {
            Ok(all) => {
                assert_eq!(all, chunk.len(), "a good chunk passes whole");
                passed += all;
            }
            Err(fault) => {
                assert!(fault.good < chunk.len(), "a fault keeps something back");
                assert_eq!(guard.feed(chunk), Err(H1Fault { good: 0, ..fault }), "a fault is final");
                return (Some(fault), passed + fault.good, guard);
            }
        }
    }
    (None, passed, guard)
}

fn told(fault: H1Fault) -> (u16, &'static str, Place) {
    (fault.status, fault.problem, fault.place)
}

/// Counts the requests of a good stream in the plainest way, from the whole of it, and says whether it ends with one.
fn recount(stream: &[u8]) -> (u64, bool) {
    let (mut rest, mut requests) = (stream, 0);
    loop {
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        let Some((head, body)) = split_at(rest, b"\r\n\r\n") else {
            return (requests, matches!(rest, b"" | b"\r"));
        };
        requests += 1;
        rest = body;
        let is_get = head.starts_with(b"GET ");
        let head = head.to_ascii_lowercase();
        assert!(!head.is_empty(), "a head has a request line");
        let value = |name: &[u8]| split_at(&head, name).map(|(_, after)| line(after).trim_ascii());
        let length = value(b"\r\ncontent-length:");
        let is_empty = length.is_none_or(|length| length.iter().all(|&byte| byte == b'0'));
        let is_chunked = value(b"\r\ntransfer-encoding:").is_some();
        if is_get && is_empty && !is_chunked && asks_for_websocket(&head) {
            return (requests, false);
        }
        if let Some(length) = length {
            let length = String::from_utf8_lossy(length).parse().expect("digits passed");
            let Some(after) = rest.get(length..) else { return (requests, false) };
            rest = after;
        } else if is_chunked {
            let Some(after) = after_chunks(rest) else { return (requests, false) };
            rest = after;
        }
    }
}

/// Whether a head in lower case is of HTTP/1.1 and has an Upgrade to WebSocket among its fields.
fn asks_for_websocket(head: &[u8]) -> bool {
    let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    lines.next().is_some_and(|line| line.ends_with(b" http/1.1"))
        && lines.any(|line| {
            line.strip_prefix(b"upgrade:").is_some_and(|value| {
                value.split(|&byte| byte == b',').any(|item| item.trim_ascii() == b"websocket")
            })
        })
}

/// What follows a chunked body, if it is whole.
fn after_chunks(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (size, after) = split_at(rest, b"\r\n")?;
        let digits = size.split(|&byte| byte == b';').next().unwrap_or_default();
        let size =
            usize::from_str_radix(&String::from_utf8_lossy(digits), 16).expect("hexadecimal digits passed");
        if size == 0 {
            return after
                .strip_prefix(b"\r\n")
                .or_else(|| split_at(after, b"\r\n\r\n").map(|(_, after)| after));
        }
        rest = after.get(size.checked_add(2)?..)?;
    }
}

fn split_at<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}

fn line(bytes: &[u8]) -> &[u8] {
    split_at(bytes, b"\r\n").map_or(bytes, |(line, _)| line)
}

/// What requests are made of, good and bad.
const SNIPPETS: [&[u8]; 48] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x HTTP/1.1\r\nhost:a\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\ncontent-length: 7\r\n\r\n",
    b"GET / HTTP/1.1\r\n",
    b"POST /pets.v1/Get?a=b HTTP/1.1\r\n",
    b"GET http://a.example:80/ HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"GET / HTTP/1.0\r\n",
    b"GET / HTTP/2.0\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n",
    b"Host: a\r\n",
    b"hOST:\t b:80 \r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: +3\r\n",
    b"Content-Length: 3, 3\r\n",
    b"Content-Length : 3\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: \tCHUNKED \r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding\x0b: chunked\r\n",
    b"Transfer-Encoding: \x0bchunked\r\n",
    b"Upgrade: h2c\r\n",
    b"Upgrade: websocket\r\n",
    b"x: y\r\n",
    b" folded\r\n",
    b": nameless\r\n",
    b"x: \0\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"3\r\nabc\r\n",
    b"00a\r\n0123456789\r\n",
    b"0\r\n\r\n",
    b"0\r\n",
    b"0;x=\"y\"\r\n",
    b"1;\n",
    b"0x3\r\nabc\r\n",
    b"ffffffffffffffff\r\n",
    b"3 \r\nabc\r\n",
    b"abc",
    b"GET",
    b" ",
];

//! Base64 that may be padded at any flush, as gRPC-Web's text form has it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Decodes quantum by quantum, whatever the chunks are.
#[derive(Debug, Default)]
pub(super) struct Quanta {
    /// The beginning of a quantum.
    begun: [u8; QUANTUM],
    len: usize,
}

/// The text isn't base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotBase64;

impl Quanta {
    /// Takes the next characters and appends the bytes that they complete.
    ///
    /// # Errors
    /// What no quantum may hold.
    pub(super) fn push(&mut self, mut text: &[u8], out: &mut Vec<u8>) -> Result<(), NotBase64> {
        //= https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md#protocol-differences-vs-grpc-over-http2
        //# The gRPC-Web runtime library only supports base64 encoded stream with padding at any flush
        while !text.is_empty() {
            if self.len == 0 {
                let run = memchr::memchr(b'=', text).unwrap_or(text.len()) / QUANTUM * QUANTUM;
                let (whole, rest) = text.split_at(run);
                decode(whole, out)?;
                text = rest;
            }
            let take = (QUANTUM - self.len).min(text.len());
            self.begun[self.len..self.len + take].copy_from_slice(&text[..take]);
            self.len += take;
            text = &text[take..];
            if self.len == QUANTUM {
                self.len = 0;
                decode(&self.begun, out)?;
            }
        }
        Ok(())
    }

    /// Says whether the text may end here.
    ///
    /// # Errors
    /// Inside a quantum.
    pub(super) fn end(&self) -> Result<(), NotBase64> {
        if self.len == 0 { Ok(()) } else { Err(NotBase64) }
    }
}

fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), NotBase64> {
    STANDARD.decode_vec(text, out).map_err(|_| NotBase64)
}

/// Bytes as one padded piece of text.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Characters that stand for one to three bytes.
const QUANTUM: usize = 4;

#[cfg(test)]
mod tests {
    use super::NotBase64;
    use super::Quanta;
    use super::encode;

    fn decode(text: &[u8], size: usize) -> Result<Vec<u8>, NotBase64> {
        let (mut quanta, mut out) = (Quanta::default(), Vec::new());
        text.chunks(size).try_for_each(|chunk| quanta.push(chunk, &mut out))?;
        quanta.end().map(|()| out)
    }

    #[test]
    fn pieces_may_be_padded_anywhere_and_cut_anywhere() {
        let parts: [&[u8]; 6] = [b"a", b"", b"bc", b"def", b"g", b"hijklmnopqrstuvwxyz"];
        let text: String = parts.iter().map(|part| encode(part)).collect();
        for size in 1..=text.len() {
            assert_eq!(decode(text.as_bytes(), size).unwrap(), parts.concat(), "chunks of {size}");
        }
    }

    #[test]
    fn what_is_not_base64_is_refused_however_it_is_cut() {
        for bad in
            ["a", "ab", "abc", "====", "=abc", "a=bc", "ab=c", "a b=", "YQ=", "YQ==Y", "ab-_", "YR==", "é"]
        {
            for size in 1..=bad.len() {
                assert_eq!(decode(bad.as_bytes(), size), Err(NotBase64), "{bad:?} in chunks of {size}");
            }
        }
    }
}

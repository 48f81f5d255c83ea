//! Encodes content codings; a flush sends everything that was pushed.

use std::fmt;
use std::io;
use std::io::Write;
use std::mem;

use brotli::CompressorWriter;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::wire::compress::CodingFault;
use crate::wire::compress::Encoding;

/// Encodes one body. Its memory is bounded by the small windows below: a gateway has many streams open.
pub struct Encoder {
    coding: Encoding,
    engine: Engine,
}

enum Engine {
    Identity,
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Encoder {
    /// An encoder at the beginning of a body.
    ///
    /// # Errors
    /// [`CodingFault::Codec`] where the codec has no memory.
    pub fn new(coding: Encoding) -> Result<Self, CodingFault> {
        let engine = match coding {
            Encoding::Identity => Engine::Identity,
            Encoding::Gzip => {
                Engine::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))))
            }
            Encoding::Brotli => Engine::Brotli(Box::new(CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER_BYTES,
                BROTLI_QUALITY,
                BROTLI_WINDOW_LOG,
            ))),
            Encoding::Zstd => {
                let fault = |_| CodingFault::Codec(coding);
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).map_err(fault)?;
                encoder.window_log(ZSTD_WINDOW_LOG).map_err(fault)?;
                Engine::Zstd(Box::new(encoder))
            }
        };
        Ok(Self { coding, engine })
    }

    /// Takes the next bytes; what comes out at once is appended to `out`.
    ///
    /// # Errors
    /// [`CodingFault::Codec`] where the codec has no memory.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), CodingFault> {
        self.write(out, |writer, out| match writer {
            Some(writer) => writer.write_all(bytes),
            None => {
                out.extend_from_slice(bytes);
                Ok(())
            }
        })
    }

    /// Appends everything that was pushed, so that the peer can decode it now.
    ///
    /// # Errors
    /// [`CodingFault::Codec`] where the codec has no memory.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), CodingFault> {
        self.write(out, |writer, _| writer.map_or(Ok(()), Write::flush))
    }

    /// Appends the rest and the end of the coding.
    ///
    /// # Errors
    /// [`CodingFault::Codec`] where the codec has no memory.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), CodingFault> {
        let rest = match self.engine {
            Engine::Identity => Ok(Vec::new()),
            Engine::Gzip(encoder) => encoder.finish(),
            Engine::Brotli(encoder) => Ok(encoder.into_inner()),
            Engine::Zstd(encoder) => encoder.finish(),
        };
        out.append(&mut rest.map_err(|_| CodingFault::Codec(self.coding))?);
        Ok(())
    }

    /// Lets `step` write, and moves what came out to `out`.
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        step: impl FnOnce(Option<&mut dyn Write>, &mut Vec<u8>) -> io::Result<()>,
    ) -> Result<(), CodingFault> {
        let written = match &mut self.engine {
            Engine::Identity => step(None, out),
            Engine::Gzip(encoder) => {
                let written = step(Some(encoder.as_mut()), out);
                out.append(&mut mem::take(encoder.get_mut()));
                written
            }
            Engine::Brotli(encoder) => {
                let written = step(Some(encoder.as_mut()), out);
                out.append(&mut mem::take(encoder.get_mut()));
                written
            }
            Engine::Zstd(encoder) => {
                let written = step(Some(encoder.as_mut()), out);
                out.append(&mut mem::take(encoder.get_mut()));
                written
            }
        };
        written.map_err(|_| CodingFault::Codec(self.coding))
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("coding", &self.coding).finish_non_exhaustive()
    }
}

const GZIP_LEVEL: u32 = 5;
const BROTLI_BUFFER_BYTES: usize = 4 << 10;
const BROTLI_QUALITY: u32 = 4;
const BROTLI_WINDOW_LOG: u32 = 18;
const ZSTD_LEVEL: i32 = 3;
const ZSTD_WINDOW_LOG: u32 = 19;

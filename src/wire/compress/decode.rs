//! Decodes content codings step by step, so that no input makes much output at once.

use std::fmt;

use brotli::BrotliDecompressStream;
use brotli::BrotliResult;
use brotli::BrotliState;
use brotli::enc::StandardAlloc;
use flate2::Decompress;
use flate2::FlushDecompress;
use zstd::stream::raw::DParameter;
use zstd::stream::raw::Operation;

use crate::wire::compress::CodingFault;
use crate::wire::compress::Encoding;
use crate::wire::compress::FREE_BYTES;
use crate::wire::compress::Limits;
use crate::wire::compress::WINDOW_LOG_MAX;

/// Decodes a body that one or several codings were applied to.
pub struct Decoder {
    /// The coding that was applied last is the first one here.
    stages: Vec<Stage>,
    limits: Limits,
    made_bytes: u64,
    fault: Option<CodingFault>,
}

/// Whether a step left something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Call again, even with no further input.
    More,
    /// Everything that the input so far can give is out.
    Drained,
}

impl Decoder {
    /// A decoder of `codings`, in the order in which they were applied, as `Content-Encoding` lists them.
    ///
    /// # Errors
    /// [`CodingFault::Codec`] where a codec has no memory.
    pub fn new(codings: &[Encoding], limits: Limits) -> Result<Self, CodingFault> {
        let real = codings.iter().rev().filter(|coding| **coding != Encoding::Identity);
        let stages = real.map(|coding| Stage::new(*coding)).collect::<Result<_, _>>()?;
        Ok(Self { stages, limits, made_bytes: 0, fault: None })
    }

    /// Decodes everything that `input` gives.
    ///
    /// # Errors
    /// The first fault of the body; it stays.
    pub fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), CodingFault> {
        while self.step(&mut input, out)? == Step::More {}
        Ok(())
    }

    /// Decodes at most [`STEP_BYTES`] more and takes what it read off `input`: for callers that wait for room
    /// between the steps.
    ///
    /// # Errors
    /// The first fault of the body; it stays.
    pub fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Step, CodingFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let stepped = self.step_any(input, out);
        self.fault = stepped.err();
        stepped
    }

    /// Says whether the body may end here.
    ///
    /// # Errors
    /// [`CodingFault::Truncated`] inside a coding, or the fault found before.
    pub fn finish(&mut self) -> Result<(), CodingFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        match self.stages.iter().find(|stage| !stage.engine.is_between()) {
            None => Ok(()),
            Some(stage) => Err(CodingFault::Truncated(stage.coding)),
        }
    }

    /// Bytes that came out so far.
    pub fn made_bytes(&self) -> u64 {
        self.made_bytes
    }

    fn step_any(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Step, CodingFault> {
        let room = usize::try_from(self.limits.bytes_max - self.made_bytes).unwrap_or(usize::MAX);
        // One byte over the limit shows that there is more than the limit.
        let most = room.saturating_add(1).min(STEP_BYTES);
        let begun = out.len();
        let step = if self.stages.is_empty() {
            let (now, later) = input.split_at(most.min(input.len()));
            out.extend_from_slice(now);
            *input = later;
            if later.is_empty() { Step::Drained } else { Step::More }
        } else {
            out.resize(begun + most, 0);
            let run = self.run_stages(input, &mut out[begun..]);
            out.truncate(begun + run.as_ref().map_or(0, |(made, _)| *made));
            run?.1
        };
        let made = out.len() - begun;
        if made > room {
            out.truncate(begun + room);
            return Err(CodingFault::TooLarge { bytes_max: self.limits.bytes_max });
        }
        self.made_bytes += made as u64;
        Ok(step)
    }

    /// Runs the stages from the last to the first until one makes output, so that what lies between them is
    /// never more than one step.
    fn run_stages(&mut self, input: &mut &[u8], out: &mut [u8]) -> Result<(usize, Step), CodingFault> {
        let last = self.stages.len() - 1;
        let mut at = last;
        loop {
            let (before, here) = self.stages.split_at_mut(at);
            let stage = &mut here[0];
            let (made, moved) = match before.last_mut() {
                None => stage.run(input, out, last == at, self.limits)?,
                Some(from) => {
                    let mut pending = &from.made[from.at..];
                    let run = stage.run(&mut pending, out, last == at, self.limits)?;
                    from.at = from.made.len() - pending.len();
                    run
                }
            };
            if at == last && made > 0 {
                return Ok((made, Step::More));
            }
            if moved {
                // A stage that did something may have fed the next one.
                at = if made > 0 { at + 1 } else { at };
                continue;
            }
            if at == 0 {
                return Ok((0, Step::Drained));
            }
            at -= 1;
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codings: Vec<_> = self.stages.iter().map(|stage| stage.coding).collect();
        f.debug_struct("Decoder").field("codings", &codings).field("made_bytes", &self.made_bytes).finish()
    }
}

/// One coding, and what it made for the next.
struct Stage {
    coding: Encoding,
    engine: Engine,
    made: Vec<u8>,
    at: usize,
    taken_bytes: u64,
    made_bytes: u64,
}

impl Stage {
    fn new(coding: Encoding) -> Result<Self, CodingFault> {
        Ok(Self {
            coding,
            engine: Engine::new(coding)?,
            made: Vec::new(),
            at: 0,
            taken_bytes: 0,
            made_bytes: 0,
        })
    }

    /// How many bytes were made, and whether anything moved. The last stage writes into `out`, others into
    /// their own buffer once that is empty.
    fn run(
        &mut self,
        input: &mut &[u8],
        out: &mut [u8],
        is_last: bool,
        limits: Limits,
    ) -> Result<(usize, bool), CodingFault> {
        let target = if is_last {
            out
        } else {
            if self.at < self.made.len() {
                return Ok((0, false));
            }
            self.at = 0;
            self.made.resize(STEP_BYTES, 0);
            &mut self.made[..]
        };
        let run = self.engine.run(input, target);
        let (taken, made) = run.as_ref().copied().unwrap_or((0, 0));
        if !is_last {
            self.made.truncate(made);
        }
        run?;
        *input = &input[taken..];
        self.taken_bytes += taken as u64;
        self.made_bytes += made as u64;
        let fair = FREE_BYTES.saturating_add(self.taken_bytes.saturating_mul(u64::from(limits.ratio_max)));
        if self.made_bytes > fair {
            return Err(CodingFault::Ratio { ratio_max: limits.ratio_max });
        }
        Ok((made, taken > 0 || made > 0))
    }
}

/// The decompressor of one coding. `run` says what it read and what it wrote.
enum Engine {
    Gzip { inflate: Box<Decompress>, member: Member },
    Brotli { state: Box<Brotli>, is_done: bool },
    Zstd { frame: zstd::stream::raw::Decoder<'static>, member: Member, owed: Owed },
}

/// Where the engine stands among the members (gzip) or frames (zstd) of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    /// Before the first byte of the first one.
    First,
    /// Inside one.
    Inside { is_first: bool },
    /// After the end of one.
    Ended,
}

/// Whether output may wait in the codec, since there was no more room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    Nothing,
    Output,
}

impl Member {
    fn begin(&mut self) {
        *self = match *self {
            Self::First => Self::Inside { is_first: true },
            Self::Ended => Self::Inside { is_first: false },
            inside @ Self::Inside { .. } => inside,
        };
    }
}

impl Engine {
    fn new(coding: Encoding) -> Result<Self, CodingFault> {
        match coding {
            Encoding::Brotli => {
                let alloc = StandardAlloc::default;
                // The strict form refuses the large windows that are not RFC 7932's.
                let state = Box::new(BrotliState::new_strict(alloc(), alloc(), alloc()));
                Ok(Self::Brotli { state, is_done: false })
            }
            Encoding::Zstd => {
                let fault = |_| CodingFault::Codec(coding);
                let mut frame = zstd::stream::raw::Decoder::new().map_err(fault)?;
                frame.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(fault)?;
                Ok(Self::Zstd { frame, member: Member::First, owed: Owed::Nothing })
            }
            Encoding::Gzip | Encoding::Identity => Ok(Self::Gzip {
                inflate: Box::new(Decompress::new_gzip(GZIP_WINDOW_LOG)),
                member: Member::First,
            }),
        }
    }

    /// Whether the stream may end here.
    fn is_between(&self) -> bool {
        match self {
            Self::Gzip { member, .. } | Self::Zstd { member, .. } => *member == Member::Ended,
            Self::Brotli { is_done, .. } => *is_done,
        }
    }

    fn run(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize), CodingFault> {
        match self {
            Self::Gzip { inflate, member } => gunzip(inflate, member, input, out),
            Self::Brotli { state, is_done } => unbrotli(state, is_done, input, out),
            Self::Zstd { frame, member, owed } => unzstd(frame, member, owed, input, out),
        }
    }
}

fn gunzip(
    inflate: &mut Box<Decompress>,
    member: &mut Member,
    input: &[u8],
    out: &mut [u8],
) -> Result<(usize, usize), CodingFault> {
    //= https://www.rfc-editor.org/rfc/rfc1952#section-2.2
    //# A gzip file consists of a series of "members" (compressed data sets).
    if matches!(member, Member::First | Member::Ended) {
        let Some(first) = input.first() else { return Ok((0, 0)) };
        if *member == Member::Ended {
            if *first != GZIP_MAGIC {
                return Err(CodingFault::Trailing(Encoding::Gzip));
            }
            **inflate = Decompress::new_gzip(GZIP_WINDOW_LOG);
        }
    }
    member.begin();
    let (taken, made) = (inflate.total_in(), inflate.total_out());
    let status = inflate.decompress(input, out, FlushDecompress::None);
    let status = status.map_err(|_| CodingFault::Malformed(Encoding::Gzip))?;
    if status == flate2::Status::StreamEnd {
        *member = Member::Ended;
    }
    // Both differences are at most the lengths of the two slices.
    let lens = (usize::try_from(inflate.total_in() - taken), usize::try_from(inflate.total_out() - made));
    match lens {
        (Ok(taken), Ok(made)) => Ok((taken, made)),
        _ => Err(CodingFault::Malformed(Encoding::Gzip)),
    }
}

fn unbrotli(
    state: &mut Brotli,
    is_done: &mut bool,
    input: &[u8],
    out: &mut [u8],
) -> Result<(usize, usize), CodingFault> {
    if *is_done {
        return if input.is_empty() { Ok((0, 0)) } else { Err(CodingFault::Trailing(Encoding::Brotli)) };
    }
    let (mut left_in, mut left_out) = (input.len(), out.len());
    let (mut taken, mut made, mut total) = (0, 0, 0);
    let result = BrotliDecompressStream(
        &mut left_in,
        &mut taken,
        input,
        &mut left_out,
        &mut made,
        out,
        &mut total,
        state,
    );
    match result {
        BrotliResult::ResultFailure => return Err(CodingFault::Malformed(Encoding::Brotli)),
        BrotliResult::ResultSuccess => *is_done = true,
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => (),
    }
    Ok((taken, made))
}

fn unzstd(
    frame: &mut zstd::stream::raw::Decoder<'static>,
    member: &mut Member,
    owed: &mut Owed,
    input: &[u8],
    out: &mut [u8],
) -> Result<(usize, usize), CodingFault> {
    //= https://www.rfc-editor.org/rfc/rfc8878#section-3
    //# Zstandard compressed data is made up of one or more frames.
    // Of calls that move nothing the codec takes a few only, and clients may send empty frames.
    let is_idle = matches!(member, Member::First | Member::Ended) || *owed == Owed::Nothing;
    if is_idle && input.is_empty() {
        return Ok((0, 0));
    }
    member.begin();
    let status = frame.run_on_buffers(input, out).map_err(|fault| zstd_fault(&fault, *member))?;
    if status.remaining == 0 {
        *member = Member::Ended;
    }
    *owed = if status.bytes_written == out.len() { Owed::Output } else { Owed::Nothing };
    Ok((status.bytes_read, status.bytes_written))
}

/// The zstd crate hands its faults on as text only.
fn zstd_fault(fault: &std::io::Error, member: Member) -> CodingFault {
    let text = fault.to_string();
    let is_magic = text.contains("Unknown frame descriptor");
    match member {
        _ if text.contains("too much memory") => CodingFault::Window(Encoding::Zstd),
        Member::Inside { is_first: false } if is_magic => CodingFault::Trailing(Encoding::Zstd),
        _ => CodingFault::Malformed(Encoding::Zstd),
    }
}

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// The most bytes that one step makes.
pub const STEP_BYTES: usize = 32 << 10;
const GZIP_WINDOW_LOG: u8 = 15;
const GZIP_MAGIC: u8 = 0x1f;

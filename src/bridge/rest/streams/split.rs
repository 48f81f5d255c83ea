//! Finds the JSON texts of a client stream in its body, byte by byte, each as soon as it is whole.

use std::fmt;
use std::mem;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;

use crate::call::Reason;
use crate::call::Refusal;

/// How the texts of a body lie beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitShape {
    /// One a line (`application/x-ndjson`, `application/jsonl`). Empty lines don't count.
    Lines,
    /// The elements of one array (`application/json`). A body that doesn't begin with `[` is one or more texts
    /// with white space between them.
    Array,
}

/// What one text may cost.
#[derive(Debug, Clone, Copy)]
pub struct SplitLimits {
    /// The most bytes of a text.
    pub message_bytes_max: usize,
    /// The most brackets that may be open in a text.
    pub depth_max: u32,
}

/// Splits one body. It keeps the chunk that was pushed and, of a text that began in an earlier chunk, at most
/// `message_bytes_max` bytes. It looks for where texts end and no deeper: whoever reads them refuses what
/// isn't JSON.
#[derive(Debug)]
pub struct Splitter {
    shape: SplitShape,
    limits: SplitLimits,
    chunk: Bytes,
    /// The text that began in an earlier chunk.
    begun: BytesMut,
    place: Place,
    /// Bytes of the body before `chunk`.
    offset: u64,
    is_ended: bool,
    fault: Option<SplitFault>,
}

/// Why a body is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitFault {
    /// A text over its limit.
    TooLarge {
        /// The limit.
        message_bytes_max: usize,
    },
    /// Too many open brackets.
    TooDeep {
        /// The limit.
        depth_max: u32,
    },
    /// A byte that nothing can begin or end with there.
    Unexpected {
        /// Where it is in the body.
        offset: u64,
        /// What belongs there.
        wanted: &'static str,
    },
    /// The body ended too early.
    Truncated {
        /// What is missing.
        wanted: &'static str,
    },
}

impl SplitFault {
    /// The refusal that tells the client.
    pub fn refusal(&self) -> Refusal {
        let reason = match self {
            Self::TooLarge { .. } => Reason::MessageTooLarge,
            _ => Reason::RequestInvalid,
        };
        Refusal::new(reason, self.to_string())
    }
}

impl fmt::Display for SplitFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { message_bytes_max } => {
                write!(f, "a message is over {message_bytes_max} bytes: send smaller ones")
            }
            Self::TooDeep { depth_max } => {
                write!(f, "a message is nested deeper than {depth_max}: send a flatter one")
            }
            Self::Unexpected { offset, wanted } => {
                write!(f, "the body is not a stream of JSON texts at byte {offset}: send {wanted} there")
            }
            Self::Truncated { wanted } => {
                write!(f, "the body ends too early: send {wanted} before its end")
            }
        }
    }
}

impl std::error::Error for SplitFault {}

/// Where the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before anything but white space.
    Start,
    /// After `[`.
    ArrayBegun,
    /// After a comma of the array.
    ElementDue,
    /// After an element of the array.
    ElementDone,
    /// After the closing bracket.
    ArrayDone,
    /// Between texts that no array holds.
    Between,
    /// After a text of a line, before the line's end.
    LineDone,
    /// In a text.
    Inside { text: Text, is_element: bool },
}

/// Where the next byte is in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// A number, `true`, `false` or `null`.
    Bare,
    /// A string with `depth` brackets open around it.
    Quoted { depth: u32, is_escaped: bool },
    /// Among the tokens of an object or array.
    Nested { depth: u32 },
}

/// How far a text goes.
enum Found {
    /// It ends before this byte of the chunk.
    Ends(usize),
    /// It goes on after the chunk.
    GoesOn(Text),
}

impl Splitter {
    /// A splitter at the beginning of a body.
    pub fn new(shape: SplitShape, limits: SplitLimits) -> Self {
        Self {
            shape,
            limits,
            chunk: Bytes::new(),
            begun: BytesMut::new(),
            place: Place::Start,
            offset: 0,
            is_ended: false,
            fault: None,
        }
    }

    /// Bytes that came and are not given out.
    pub fn held_bytes(&self) -> usize {
        self.begun.len() + self.chunk.len()
    }

    /// Takes the next bytes. Call [`Splitter::next_text`] until it gives nothing before the next push: bytes that
    /// weren't read yet are joined, which costs a copy.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else if !chunk.is_empty() {
            let mut joined = BytesMut::from(mem::take(&mut self.chunk));
            joined.extend_from_slice(&chunk);
            self.chunk = joined.freeze();
        }
    }

    /// Says that the body is over.
    pub fn end(&mut self) {
        self.is_ended = true;
    }

    /// Whether bytes wait to be read.
    pub fn is_drained(&self) -> bool {
        self.chunk.is_empty()
    }

    /// The next text that is whole; `None` where more bytes are needed, or where all is read after
    /// [`Splitter::end`].
    ///
    /// # Errors
    /// The first fault of the body; it stays.
    pub fn next_text(&mut self) -> Result<Option<Bytes>, SplitFault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let next = self.find();
        if let Err(fault) = &next {
            self.fault = Some(fault.clone());
            self.chunk = Bytes::new();
            self.begun = BytesMut::new();
        }
        next
    }

    fn find(&mut self) -> Result<Option<Bytes>, SplitFault> {
        loop {
            let Place::Inside { text, is_element } = self.place else {
                if !self.seek()? {
                    return if self.is_ended { self.finish().map(|()| None) } else { Ok(None) };
                }
                continue;
            };
            match self.scan(text)? {
                Found::Ends(at) => return self.take(at, is_element).map(Some),
                Found::GoesOn(text) => {
                    let len = self.chunk.len();
                    self.check_len(len)?;
                    self.begun.extend_from_slice(&self.chunk);
                    self.skip(len);
                    self.place = Place::Inside { text, is_element };
                    if !self.is_ended {
                        return Ok(None);
                    }
                    if text != Text::Bare {
                        return Err(SplitFault::Truncated { wanted: "the rest of the last message" });
                    }
                    return self.take(0, is_element).map(Some);
                }
            }
        }
    }

    /// Goes over what lies between texts. True where one begins.
    fn seek(&mut self) -> Result<bool, SplitFault> {
        while let Some(byte) = self.chunk.first().copied() {
            let place = match (self.place, byte) {
                (Place::LineDone, b'\n') => Place::Between,
                (place, b' ' | b'\t' | b'\n' | b'\r') => place,
                (Place::Start, b'[') if self.shape == SplitShape::Array => Place::ArrayBegun,
                (Place::ArrayBegun | Place::ElementDone, b']') => Place::ArrayDone,
                (Place::ElementDone, b',') => Place::ElementDue,
                (Place::ElementDone, _) => return Err(self.unexpected("`,` or `]`")),
                (Place::ArrayDone, _) => return Err(self.unexpected("nothing after the `]`")),
                (Place::LineDone, _) => return Err(self.unexpected("a line break after each message")),
                (place, _) => {
                    let text = begins(byte).ok_or_else(|| self.unexpected("a JSON text"))?;
                    let is_element = matches!(place, Place::ArrayBegun | Place::ElementDue);
                    self.place = Place::Inside { text, is_element };
                    return Ok(true);
                }
            };
            self.place = place;
            self.skip(1);
        }
        Ok(false)
    }

    /// Looks for the end of a text from the first byte of the chunk on. The bracket or quote that opens a text is
    /// read here too, since nothing of it is in `begun` then.
    fn scan(&self, mut text: Text) -> Result<Found, SplitFault> {
        // One byte over the limit is enough: what comes after it is no fault before the length is.
        let room = self.limits.message_bytes_max.saturating_sub(self.begun.len()).saturating_add(1);
        let bytes = &self.chunk[..room.min(self.chunk.len())];
        let mut at = 0;
        if self.begun.is_empty()
            && let Text::Quoted { depth: 0, .. } = text
        {
            at = 1;
        }
        while at < bytes.len() {
            let byte = bytes[at];
            match text {
                Text::Bare if is_bare(byte) => at += 1,
                Text::Bare if self.ends_bare(byte) => return Ok(Found::Ends(at)),
                Text::Bare => return Err(self.unexpected_at(at, "white space or `,` after a number or word")),
                Text::Quoted { depth, is_escaped: true } => {
                    text = Text::Quoted { depth, is_escaped: false };
                    at += 1;
                }
                Text::Quoted { depth, is_escaped: false } => {
                    let Some(found) = memchr::memchr3(b'"', b'\\', b'\n', &bytes[at..]) else { break };
                    at += found + 1;
                    text = match bytes[at - 1] {
                        b'\\' => Text::Quoted { depth, is_escaped: true },
                        b'\n' => return Err(self.unexpected_at(at - 1, "`\\n` for a line break in a string")),
                        _ if depth == 0 => return Ok(Found::Ends(at)),
                        _ => Text::Nested { depth },
                    };
                }
                Text::Nested { depth } => {
                    at += 1;
                    text = match byte {
                        b'"' => Text::Quoted { depth, is_escaped: false },
                        b'{' | b'[' if depth >= self.limits.depth_max => {
                            return Err(SplitFault::TooDeep { depth_max: self.limits.depth_max });
                        }
                        b'{' | b'[' => Text::Nested { depth: depth + 1 },
                        b'}' | b']' if depth <= 1 => return Ok(Found::Ends(at)),
                        b'}' | b']' => Text::Nested { depth: depth - 1 },
                        b'\n' if self.shape == SplitShape::Lines => {
                            return Err(self.unexpected_at(at - 1, "each message on one line"));
                        }
                        _ => text,
                    };
                }
            }
        }
        Ok(Found::GoesOn(text))
    }

    /// What may follow a number or word.
    fn ends_bare(&self, byte: u8) -> bool {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => true,
            b',' | b']' => matches!(self.place, Place::Inside { is_element: true, .. }),
            _ => false,
        }
    }

    /// Takes a text that ends before byte `at` of the chunk.
    fn take(&mut self, at: usize, is_element: bool) -> Result<Bytes, SplitFault> {
        self.check_len(at)?;
        self.place = match (self.shape, is_element) {
            (SplitShape::Lines, _) => Place::LineDone,
            (SplitShape::Array, true) => Place::ElementDone,
            (SplitShape::Array, false) => Place::Between,
        };
        self.offset += at as u64;
        let tail = self.chunk.split_to(at);
        if self.begun.is_empty() {
            return Ok(tail);
        }
        self.begun.extend_from_slice(&tail);
        Ok(mem::take(&mut self.begun).freeze())
    }

    fn check_len(&self, more: usize) -> Result<(), SplitFault> {
        let message_bytes_max = self.limits.message_bytes_max;
        if self.begun.len().saturating_add(more) > message_bytes_max {
            return Err(SplitFault::TooLarge { message_bytes_max });
        }
        Ok(())
    }

    /// Whether the body may end here, between texts.
    fn finish(&self) -> Result<(), SplitFault> {
        let wanted = match self.place {
            Place::ArrayBegun | Place::ElementDone => "the `]` of the array",
            Place::ElementDue => "the element after the `,`",
            _ => return Ok(()),
        };
        Err(SplitFault::Truncated { wanted })
    }

    fn skip(&mut self, len: usize) {
        self.chunk.advance(len);
        self.offset += len as u64;
    }

    fn unexpected(&self, wanted: &'static str) -> SplitFault {
        self.unexpected_at(0, wanted)
    }

    fn unexpected_at(&self, at: usize, wanted: &'static str) -> SplitFault {
        SplitFault::Unexpected { offset: self.offset + at as u64, wanted }
    }
}

/// Which text begins with a byte.
fn begins(byte: u8) -> Option<Text> {
    match byte {
        b'{' | b'[' => Some(Text::Nested { depth: 0 }),
        b'"' => Some(Text::Quoted { depth: 0, is_escaped: false }),
        b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => Some(Text::Bare),
        _ => None,
    }
}

/// A byte of a number or word; the reader sees whether it is a good one.
fn is_bare(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::SplitFault;
    use super::SplitLimits;
    use super::SplitShape;
    use super::Splitter;
    use crate::call::Reason;

    const LIMITS: SplitLimits = SplitLimits { message_bytes_max: 64, depth_max: 8 };

    /// The texts of a body that comes in chunks of these lengths, in turn.
    fn split(shape: SplitShape, body: &[u8], cuts: &[usize]) -> (Vec<String>, Option<SplitFault>) {
        let (mut splitter, mut texts) = (Splitter::new(shape, LIMITS), Vec::new());
        let mut rest = body;
        let mut cuts = cuts.iter().cycle();
        loop {
            let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            splitter.push(Bytes::copy_from_slice(now));
            if later.is_empty() {
                splitter.end();
            }
            loop {
                match splitter.next_text() {
                    Ok(Some(text)) => texts.push(String::from_utf8_lossy(&text).into_owned()),
                    Ok(None) => break,
                    Err(fault) => {
                        assert_eq!(splitter.next_text(), Err(fault.clone()), "a fault stays");
                        return (texts, Some(fault));
                    }
                }
            }
            if later.is_empty() {
                return (texts, None);
            }
            rest = later;
        }
    }

    #[test]
    fn texts_are_found_in_every_shape() {
        use SplitShape::Array;
        use SplitShape::Lines;
        let table: [(SplitShape, &str, &[&str]); 24] = [
            (Array, "", &[]),
            (Array, " \r\n\t", &[]),
            (Array, "[]", &[]),
            (Array, " [ ] \n", &[]),
            (Array, "[1]", &["1"]),
            (Array, "[1,2 , 3\n]", &["1", "2", "3"]),
            (
                Array,
                "[{\"a\":[1,{}]},[],[[2]],\"x\",null,-1.5e+3]",
                &["{\"a\":[1,{}]}", "[]", "[[2]]", "\"x\"", "null", "-1.5e+3"],
            ),
            (Array, "[\"]\\\",[\\\\\",{\"}\\\"\":\"{\"}]", &["\"]\\\",[\\\\\"", "{\"}\\\"\":\"{\"}"]),
            (Array, "{\"a\":1}", &["{\"a\":1}"]),
            (
                Array,
                "{\"a\":1}{\"b\":2} 3 4\n\"x\"\"y\"",
                &["{\"a\":1}", "{\"b\":2}", "3", "4", "\"x\"", "\"y\""],
            ),
            (Array, "{\n \"a\":\n1}\n", &["{\n \"a\":\n1}"]),
            (Array, "12", &["12"]),
            (Array, "{}[1]", &["{}", "[1]"]),
            (Array, "\"\"", &["\"\""]),
            (Lines, "", &[]),
            (Lines, "\n\r\n  \n", &[]),
            (Lines, "1", &["1"]),
            (Lines, "1\n", &["1"]),
            (Lines, "{\"a\":1}\r\n\r\n{\"b\":2}\n", &["{\"a\":1}", "{\"b\":2}"]),
            (Lines, "[1,2]\n[]\n", &["[1,2]", "[]"]),
            (Lines, "  true \t\n false", &["true", "false"]),
            (Lines, "\"a\\\\\"\n\"\\\"\"", &["\"a\\\\\"", "\"\\\"\""]),
            (Lines, "[[1],\n", &[]),
            (Lines, "12,", &[]),
        ];
        for (shape, body, want) in table {
            for cuts in [&[1][..], &[2], &[3], &[1, 5], &[1000]] {
                let (texts, fault) = split(shape, body.as_bytes(), cuts);
                assert_eq!(texts, want, "{shape:?} {body:?} {cuts:?}");
                let is_refused = matches!((shape, body), (Lines, "[[1],\n" | "12,"));
                assert_eq!(fault.is_some(), is_refused, "{shape:?} {body:?} {cuts:?}: {fault:?}");
            }
        }
    }

    #[test]
    fn what_lies_between_texts_is_refused_at_its_byte() {
        use SplitShape::Array;
        use SplitShape::Lines;
        let table = [
            (Array, "x", 0),
            (Array, "\u{feff}[1]", 0),
            (Array, "[,1]", 1),
            (Array, "[1,]", 3),
            (Array, "[1,,2]", 3),
            (Array, "[1 2]", 3),
            (Array, "[{}{}]", 3),
            (Array, "[1}", 2),
            (Array, "[1\"x\"]", 2),
            (Array, "[1:2]", 2),
            (Array, "[1] 2", 4),
            (Array, "[][]", 2),
            (Array, "{},{}", 2),
            (Array, "1,2", 1),
            (Array, "12{}", 2),
            (Array, "'a'", 0),
            (Array, "]", 0),
            (Array, "[\"a\nb\"]", 3),
            (Lines, "1 2", 2),
            (Lines, "{} {}", 3),
            (Lines, "{}{}", 2),
            (Lines, "{\n}", 1),
            (Lines, "\"a\nb\"", 2),
            (Lines, "\n\n,", 2),
            (Lines, "1\n}", 2),
        ];
        for (shape, body, want) in table {
            for cuts in [&[1][..], &[2], &[1000]] {
                match split(shape, body.as_bytes(), cuts).1 {
                    Some(SplitFault::Unexpected { offset, .. }) => {
                        assert_eq!(offset, want, "{shape:?} {body:?} {cuts:?}");
                    }
                    other => panic!("{shape:?} {body:?} {cuts:?}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn bodies_that_end_too_early_are_refused() {
        use SplitShape::Array;
        use SplitShape::Lines;
        let table = [
            (Array, "["),
            (Array, "[1"),
            (Array, "[1,"),
            (Array, "[{}"),
            (Array, "[\"a"),
            (Array, "[\"a\\\""),
            (Array, "{\"a\":1"),
            (Array, "{\"a\":\"}"),
            (Lines, "{"),
            (Lines, "1\n\""),
        ];
        for (shape, body) in table {
            for cuts in [&[1][..], &[1000]] {
                let fault = split(shape, body.as_bytes(), cuts).1;
                assert!(matches!(fault, Some(SplitFault::Truncated { .. })), "{shape:?} {body:?}: {fault:?}");
            }
        }
    }

    #[test]
    fn texts_come_as_soon_as_they_are_whole() {
        let table = [
            (SplitShape::Array, "[{}", "{}"),
            (SplitShape::Array, "[1,", "1"),
            (SplitShape::Array, "{}", "{}"),
            (SplitShape::Array, "[\"x\"", "\"x\""),
            (SplitShape::Lines, "{}", "{}"),
            (SplitShape::Lines, "1\n", "1"),
        ];
        for (shape, body, want) in table {
            let mut splitter = Splitter::new(shape, LIMITS);
            splitter.push(Bytes::from_static(body.as_bytes()));
            assert_eq!(splitter.next_text().unwrap().unwrap(), want, "{shape:?} {body:?}");
            assert_eq!(splitter.next_text(), Ok(None));
        }
    }

    #[test]
    fn a_whole_text_is_not_copied() {
        let chunk = Bytes::from_static(b"[{\"a\":1},{\"b\":2}]");
        let mut splitter = Splitter::new(SplitShape::Array, LIMITS);
        splitter.push(chunk.clone());
        let text = splitter.next_text().unwrap().unwrap();
        assert_eq!(text.as_ptr(), chunk[1..].as_ptr());
    }

    #[test]
    fn size_and_depth_are_bounded_before_the_text_is_whole() {
        let fits = format!("\"{}\"", "x".repeat(62));
        let over = format!("\"{}", "x".repeat(64));
        let digits = "1".repeat(65);
        let too_large = Some(SplitFault::TooLarge { message_bytes_max: 64 });
        for cuts in [&[1][..], &[7], &[1000]] {
            for shape in [SplitShape::Array, SplitShape::Lines] {
                assert_eq!(split(shape, fits.as_bytes(), cuts), (vec![fits.clone()], None));
                assert_eq!(split(shape, over.as_bytes(), cuts).1, too_large);
                assert_eq!(split(shape, digits.as_bytes(), cuts).1, too_large);
                let deep = "{\"a\":".repeat(9);
                assert_eq!(split(shape, deep.as_bytes(), cuts).1, Some(SplitFault::TooDeep { depth_max: 8 }));
                let fits = "[".repeat(8) + &"]".repeat(8);
                let fits = if shape == SplitShape::Array { format!("[{fits}]") } else { fits };
                assert_eq!(split(shape, fits.as_bytes(), cuts).1, None);
            }
            // White space is no part of a text.
            let wide = format!("[1,{}2]", " ".repeat(500));
            assert_eq!(split(SplitShape::Array, wide.as_bytes(), cuts), (vec!["1".into(), "2".into()], None));
        }
        assert_eq!(SplitFault::TooLarge { message_bytes_max: 1 }.refusal().reason, Reason::MessageTooLarge);
        assert_eq!(SplitFault::TooDeep { depth_max: 1 }.refusal().http_status(), 400);
    }

    #[test]
    fn the_limit_is_met_before_a_later_fault() {
        let too_large = Some(SplitFault::TooLarge { message_bytes_max: 64 });
        for (opening, fault) in [("{\"a\":", "\n"), ("\"a", "\n"), ("1", "{"), ("[", "[[[[[[[[[[")] {
            let body = format!("{opening}{}{fault}", "1".repeat(100));
            for cuts in [&[1][..], &[7], &[1000]] {
                let (texts, fault) = split(SplitShape::Lines, body.as_bytes(), cuts);
                assert_eq!((texts, fault), (Vec::new(), too_large.clone()), "{body:?} {cuts:?}");
            }
        }
    }

    #[test]
    fn pushes_may_come_before_the_last_chunk_is_read() {
        let mut splitter = Splitter::new(SplitShape::Array, LIMITS);
        for chunk in ["[1", "2,", "", "3]"] {
            splitter.push(Bytes::from_static(chunk.as_bytes()));
        }
        splitter.end();
        assert_eq!(splitter.next_text().unwrap().unwrap(), "12");
        assert!(!splitter.is_drained());
        assert_eq!(splitter.next_text().unwrap().unwrap(), "3");
        assert_eq!(splitter.next_text(), Ok(None));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i32>().prop_map(Into::into),
            "[\\[\\]{}\",\\\\\n a]{0,6}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 6, 2, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
                prop::collection::vec(("[a-c\"\\\\{]{0,2}", inner), 0..3)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_texts(
            values in prop::collection::vec(json(), 0..6), cuts in prop::collection::vec(1usize..20, 1..9)
        ) {
            let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
            prop_assume!(texts.iter().all(|text| text.len() <= LIMITS.message_bytes_max));
            let array = format!(" [{}]\n", texts.join(" , "));
            prop_assert_eq!(split(SplitShape::Array, array.as_bytes(), &cuts), (texts.clone(), None));
            let lines = texts.join("\r\n");
            prop_assert_eq!(split(SplitShape::Lines, lines.as_bytes(), &cuts), (texts.clone(), None));
            if texts.first().is_none_or(|text| !text.starts_with('[')) {
                prop_assert_eq!(split(SplitShape::Array, texts.join(" ").as_bytes(), &cuts), (texts, None));
            }
        }

        #[test]
        fn any_cut_of_any_bytes_gives_the_same(
            body in "[\\[\\]{}\",:\\\\\n 1ta]{0,60}", cuts in prop::collection::vec(1usize..9, 1..9)
        ) {
            for shape in [SplitShape::Array, SplitShape::Lines] {
                let whole = split(shape, body.as_bytes(), &[1000]);
                prop_assert_eq!(split(shape, body.as_bytes(), &cuts), whole.clone());
                prop_assert_eq!(split(shape, body.as_bytes(), &[1]), whole);
            }
        }

        #[test]
        fn noise_never_panics(body: Vec<u8>, cuts in prop::collection::vec(1usize..9, 1..9)) {
            split(SplitShape::Array, &body, &cuts);
            split(SplitShape::Lines, &body, &cuts);
        }
    }
}

//! Reads one message by two versions, and tells where they differ.

use std::sync::Arc;

use serde_json::Value;

use crate::snapshot::shadow::Direction;
use crate::transcode;
use crate::transcode::MessageId;
use crate::transcode::Plans;
use crate::transcode::WriteOptions;

/// The messages of a method, as one version has them.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) plans: Arc<Plans>,
    pub(super) input: MessageId,
    pub(super) output: MessageId,
}

impl Side {
    fn message(&self, direction: Direction) -> MessageId {
        match direction {
            Direction::Request => self.input,
            Direction::Reply => self.output,
        }
    }
}

/// What comes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All that the serving version reads in it, the other one reads too. It may read more.
    Alike,
    /// The other one can't read it, or reads something else.
    Differs(String),
    /// The serving version can't read it, so there is nothing to compare with.
    Unread,
}

/// Room for both texts, kept from message to message.
#[derive(Default)]
pub(super) struct Texts {
    serving: Vec<u8>,
    beside: Vec<u8>,
}

impl Texts {
    pub(super) fn compare(
        &mut self,
        serving: &Side,
        beside: &Side,
        direction: Direction,
        message: &[u8],
    ) -> Outcome {
        for text in [&mut self.serving, &mut self.beside] {
            text.clear();
            text.shrink_to(TEXT_BYTES_KEPT);
        }
        let options = WriteOptions { bytes_max: TEXT_BYTES_MAX, ..WriteOptions::default() };
        let write = |side: &Side, out: &mut Vec<u8>| {
            transcode::write(&side.plans, side.message(direction), message, &options, out)
        };
        if write(serving, &mut self.serving).is_err() {
            return Outcome::Unread;
        }
        if let Err(error) = write(beside, &mut self.beside) {
            return Outcome::Differs(cut(format!("can't be read: {error}")));
        }
        if self.serving == self.beside {
            return Outcome::Alike;
        }
        let values = (serde_json::from_slice(&self.serving), serde_json::from_slice(&self.beside));
        let (Ok(serving), Ok(beside)) = values else {
            // JSON that is nested deeper than its reader goes.
            return Outcome::Differs("reads differently".into());
        };
        difference(&serving, &beside, &mut Vec::new())
            .map_or(Outcome::Alike, |problem| Outcome::Differs(cut(problem)))
    }
}

/// A step on the way to a value.
#[derive(Clone, Copy)]
enum Step<'v> {
    Member(&'v str),
    Item(usize),
}

/// Where `beside` doesn't say all that `serving` says. The problem names members, never what is in them: who may
/// read the report may not be one who may read the messages. As deep as the JSON reader goes, no deeper.
fn difference<'v>(serving: &'v Value, beside: &Value, at: &mut Vec<Step<'v>>) -> Option<String> {
    match (serving, beside) {
        (Value::Object(serving), Value::Object(beside)) => serving.iter().find_map(|(name, value)| {
            at.push(Step::Member(name));
            let found = match beside.get(name) {
                None => Some(format!("`{}` would be dropped", path(at))),
                Some(other) => difference(value, other, at),
            };
            at.pop();
            found
        }),
        (Value::Array(serving), Value::Array(beside)) if serving.len() == beside.len() => {
            serving.iter().zip(beside).enumerate().find_map(|(index, (value, other))| {
                at.push(Step::Item(index));
                let found = difference(value, other, at);
                at.pop();
                found
            })
        }
        _ if serving == beside => None,
        _ if at.is_empty() => Some("reads differently".into()),
        _ => Some(format!("reads differently at `{}`{}", path(at), kinds(serving, beside))),
    }
}

fn kinds(serving: &Value, beside: &Value) -> String {
    let (from, to) = (kind(serving), kind(beside));
    if from == to { String::new() } else { format!(": {from} has become {to}") }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn path(at: &[Step<'_>]) -> String {
    let mut path = String::new();
    for step in at {
        match step {
            Step::Member(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.extend(name.chars().take(NAME_CHARS_SHOWN).map(|letter| match letter {
                    '`' => '\'',
                    letter if letter.is_control() => ' ',
                    letter => letter,
                }));
            }
            Step::Item(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

fn cut(mut problem: String) -> String {
    problem.truncate(problem.floor_char_boundary(PROBLEM_BYTES_MAX));
    problem
}

/// JSON that a message of 256 KiB may make.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// What is kept of the room for a text.
const TEXT_BYTES_KEPT: usize = 1 << 20;
const PROBLEM_BYTES_MAX: usize = 500;
const NAME_CHARS_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::schema::Traits;

    fn side(text: &str) -> Side {
        let text = format!("syntax = \"proto3\"; package t; import \"google/protobuf/any.proto\"; {text}");
        let file = protox::file::File::from_source("t.proto", &text).unwrap();
        let mut pool = DescriptorPool::global();
        pool.add_file_descriptor_proto(file.file_descriptor_proto().clone()).unwrap();
        let plans = Plans::new(pool, Traits::default());
        let id = plans.find("t.M").unwrap();
        Side { plans: Arc::new(plans), input: id, output: id }
    }

    const SERVING: &str = "
        enum Color { NONE = 0; RED = 1; BLUE = 2; }
        message Part { string name = 1; int32 size = 2; }
        message M {
          string text = 1; int32 count = 2; bytes raw = 3; Part part = 4; repeated Part parts = 5;
          map<string, int32> sizes = 6; Color color = 7; google.protobuf.Any any = 8; double mean = 9;
        }";

    /// What comes of a message when the serving version has been changed like this.
    fn outcome(from: &str, to: &str, message: &[u8]) -> Outcome {
        assert!(SERVING.contains(from), "{from}");
        let (serving, beside) = (side(SERVING), side(&SERVING.replace(from, to)));
        Texts::default().compare(&serving, &beside, Direction::Reply, message)
    }

    #[track_caller]
    fn differs(from: &str, to: &str, message: &[u8], problem: &str) {
        assert_eq!(outcome(from, to, message), Outcome::Differs(problem.into()));
    }

    const TEXT: &[u8] = b"\x0a\x02hi";
    const COUNT: &[u8] = b"\x10\x07";
    const RAW: &[u8] = b"\x1a\x01\xff";
    /// `part: {name: "a", size: 3}`
    const PART: &[u8] = b"\x22\x05\x0a\x01a\x10\x03";
    /// `parts: [{name: "a"}, {size: 3}]`
    const PARTS: &[u8] = b"\x2a\x03\x0a\x01a\x2a\x02\x10\x03";
    const BLUE: &[u8] = b"\x38\x02";
    /// A field that nobody knows.
    const NEW: &[u8] = b"\xa0\x06\x01";

    #[test]
    fn what_reads_the_same_is_alike_and_so_is_what_reads_more() {
        let all = [TEXT, COUNT, RAW, PART, PARTS, BLUE, NEW].concat();
        assert_eq!(outcome("message Part", "message Part", &all), Outcome::Alike);
        assert_eq!(outcome("double mean = 9;", "double mean = 9; int32 later = 100;", &all), Outcome::Alike);
        // What is gone but isn't there is no loss.
        assert_eq!(outcome("string text = 1;", "", COUNT), Outcome::Alike);
        assert_eq!(outcome("string text = 1;", "", b"\x0a\x00"), Outcome::Alike, "it has its default");
        assert_eq!(outcome("BLUE = 2;", "", b"\x38\x01"), Outcome::Alike);
    }

    #[test]
    fn what_would_be_dropped_is_told_with_its_path() {
        differs("string text = 1;", "", &[COUNT, TEXT].concat(), "`text` would be dropped");
        differs("string text = 1;", "string words = 1;", TEXT, "`text` would be dropped");
        differs("int32 size = 2;", "", PART, "`part.size` would be dropped");
        differs("int32 size = 2;", "", PARTS, "`parts[1].size` would be dropped");
        differs("int32 size = 2;", "string size = 2;", PART, "`part.size` would be dropped");
        let sizes = b"\x32\x05\x0a\x01k\x10\x05";
        differs("map<string, int32> sizes = 6;", "", sizes, "`sizes` would be dropped");
    }

    #[test]
    fn what_reads_differently_is_told_without_what_it_says() {
        let text = "reads differently at `count`: a number has become a string";
        differs("int32 count = 2;", "int64 count = 2;", COUNT, text);
        differs("int32 count = 2;", "sint32 count = 2;", COUNT, "reads differently at `count`");
        let text = "reads differently at `color`: a string has become a number";
        differs("BLUE = 2;", "", BLUE, text);
        let text = "reads differently at `parts`: a list has become an object";
        differs("repeated Part parts", "Part parts", PARTS, text);
        differs("string text = 1;", "bytes text = 1;", TEXT, "reads differently at `text`");
    }

    #[test]
    fn what_can_not_be_read_is_told_with_the_reason() {
        let Outcome::Differs(problem) = outcome("bytes raw = 3;", "string raw = 3;", RAW) else { panic!() };
        assert!(problem.starts_with("can't be read: raw: ") && problem.contains("UTF-8"), "{problem}");
        // A message's bytes are a field header of a wire type that there isn't.
        let Outcome::Differs(problem) = outcome("bytes raw = 3;", "Part raw = 3;", b"\x1a\x01\x0f") else {
            panic!()
        };
        assert!(problem.starts_with("can't be read: raw"), "{problem}");
        let any = [&[0x0a, 7][..], b"/t.Part", &[0x12, 5], &PART[2..]].concat();
        let any = [&[0x42, u8::try_from(any.len()).unwrap()], &any[..]].concat();
        let renamed = SERVING.replace("Part", "Piece");
        let (serving, beside) = (side(SERVING), side(&renamed));
        let outcome = Texts::default().compare(&serving, &beside, Direction::Request, &any);
        let Outcome::Differs(problem) = outcome else { panic!("{outcome:?}") };
        assert!(problem.starts_with("can't be read: any") && problem.contains("/t.Part"), "{problem}");
    }

    #[test]
    fn what_the_serving_version_can_not_read_is_no_failure() {
        for bytes in [&b"\x0a\xff"[..], b"\x0f", b"\x0a\x01\xff", b"\x42\x04\x0a\x02/x"] {
            assert_eq!(outcome("string text = 1;", "", bytes), Outcome::Unread, "{bytes:?}");
        }
    }

    #[test]
    fn names_out_of_messages_are_cut_and_cleaned() {
        let entry = |key: &str| {
            let entry = [&[0x0a, u8::try_from(key.len()).unwrap()], key.as_bytes(), &[0x10, 5]].concat();
            [&[0x32, u8::try_from(entry.len()).unwrap()], &entry[..]].concat()
        };
        let (from, to) = ("map<string, int32> sizes", "map<string, int64> sizes");
        let kinds = ": a number has become a string";
        differs(from, to, &entry("a`\n\u{85}b"), &format!("reads differently at `sizes.a'  b`{kinds}"));
        let long = format!("reads differently at `sizes.{}`{kinds}", "k".repeat(60));
        differs(from, to, &entry(&"k".repeat(100)), &long);
        let text = cut("é".repeat(400));
        assert_eq!(text.len(), PROBLEM_BYTES_MAX);
    }

    #[test]
    fn texts_are_used_again_and_do_not_stay_large() {
        let (serving, beside) = (side(SERVING), side(&SERVING.replace("string text = 1;", "")));
        let mut texts = Texts::default();
        let long = [&[0x0a, 0x80, 0x80, 0x80, 0x01][..], &vec![b'x'; 1 << 21]].concat();
        let dropped = Outcome::Differs("`text` would be dropped".into());
        assert_eq!(texts.compare(&serving, &beside, Direction::Reply, &long), dropped);
        assert_eq!(texts.compare(&serving, &beside, Direction::Reply, COUNT), Outcome::Alike);
        assert!(texts.serving.capacity() <= TEXT_BYTES_KEPT, "{}", texts.serving.capacity());
        let many = [&[0x0a, 0x80, 0x80, 0x80, 0x02][..], &vec![b'x'; 1 << 22]].concat();
        assert_eq!(texts.compare(&serving, &beside, Direction::Reply, &[TEXT, &many].concat()), dropped);
    }
}

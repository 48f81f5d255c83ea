//! How replies are shown: tables and sentences for people, proto JSON for programs.

use std::fmt::Write as _;
use std::io;
use std::io::IsTerminal;
use std::io::Write;

use clap::ValueEnum;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::Timestamp;

use crate::admin;
use crate::admin::pb::Finding;
use crate::cli::failure::Failure;
use crate::schema::Traits;
use crate::transcode;
use crate::transcode::Plans;
use crate::transcode::UnknownAny;
use crate::transcode::WriteOptions;

/// In which form a reply is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Tables and sentences
    Table,
    /// The reply of the Admin API as JSON
    Json,
}

/// Rows under a head; columns are as wide as what is in them.
pub(super) struct Table {
    head: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &'static [&'static str]) -> Self {
        Self { head, rows: Vec::new() }
    }

    /// A row with a cell for each column. An empty cell is shown as a dash.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.head.len());
        let shown = |cell: String| if cell.is_empty() { "-".to_owned() } else { clean(&cell) };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, a line a row.
    pub(super) fn text(&self, paint: Paint) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(self.head[column].len())
        };
        let widths: Vec<_> = (0..self.head.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (cell, width) in cells.zip(&widths) {
                let _ = write!(line, "{cell:<width$}  ");
            }
            line.truncate(line.trim_end().len());
            line
        };
        let mut text = paint.bold(&line(&mut self.head.iter().copied()));
        text.push('\n');
        for row in &self.rows {
            text.push_str(&line(&mut row.iter().map(String::as_str)));
            text.push('\n');
        }
        text
    }
}

/// Whether there are colours: on a terminal, unless `NO_COLOR` is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Colours,
}

impl Paint {
    /// For standard output.
    pub(super) fn of_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if io::stdout().is_terminal() && !set("NO_COLOR") && !dumb { Self::Colours } else { Self::Plain }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colours => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// Writes to standard output. A reader that is gone already has what it wanted.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::unasked(format_args!("the output can't be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Shows a reply: the message `name` of the Admin API as JSON, or what `told` says of it.
pub(super) fn show(
    format: Format,
    name: &str,
    reply: &impl Message,
    told: impl FnOnce(Paint) -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table => print(&told(Paint::of_stdout())),
        Format::Json => print(&json(&format!("transom.admin.v1.{name}"), reply)?),
    }
}

/// A message of the Admin API as indented JSON with a final line break. Fields have their defaults, so that programs
/// find each of them.
pub(super) fn json(name: &str, message: &impl Message) -> Result<String, Failure> {
    let inexpressible = |why: &dyn std::fmt::Display| {
        Failure::Refused(format!("the reply can't be shown as JSON: {}", clean(&why.to_string())))
    };
    let pool = DescriptorPool::decode(admin::FILE_DESCRIPTOR_SET).map_err(|error| inexpressible(&error))?;
    let plans = Plans::new(pool, Traits::default());
    let root = plans.find(name).ok_or_else(|| inexpressible(&format_args!("there is no {name}")))?;
    let options =
        WriteOptions { emit_defaults: true, unknown_any: UnknownAny::Bytes, ..WriteOptions::default() };
    let mut out = Vec::new();
    transcode::write(&plans, root, &message.encode_to_vec(), &options, &mut out)
        .map_err(|error| inexpressible(&error))?;
    Ok(indented(&String::from_utf8_lossy(&out)))
}

/// Breaks compact JSON into lines. Fields keep their order.
fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut text = Text::Outside;
    let mut rest = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = rest.next() {
        match (text, c) {
            (Text::Escaped, _) => text = Text::Inside,
            (Text::Inside, '\\') => text = Text::Escaped,
            (Text::Inside, '"') => text = Text::Outside,
            (Text::Inside, _) => (),
            (Text::Outside, '"') => text = Text::Inside,
            (Text::Outside, '{' | '[') => {
                out.push(c);
                if let Some(end) = rest.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
                continue;
            }
            (Text::Outside, '}' | ']') => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
            }
            (Text::Outside, ',') => {
                out.push(c);
                line(&mut out, depth);
                continue;
            }
            (Text::Outside, ':') => {
                out.push_str(": ");
                continue;
            }
            (Text::Outside, _) => (),
        }
        out.push(c);
    }
    out.push('\n');
    out
}

#[derive(Clone, Copy)]
enum Text {
    Outside,
    Inside,
    Escaped,
}

/// What a server says, without what could move the cursor of a terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// The first digits of a digest.
pub(super) fn short(digest: &str) -> String {
    clean(&digest.chars().take(DIGITS).collect::<String>())
}

/// How many there are of something: `1 file`, `2 files`.
pub(super) fn counted(count: impl Into<i64>, noun: &str) -> String {
    let count = count.into();
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A time as RFC 3339 in UTC, to the second.
pub(super) fn time(at: Option<&Timestamp>) -> String {
    let known = at.filter(|at| SECONDS.contains(&at.seconds));
    known.map(|at| Timestamp { seconds: at.seconds, nanos: 0 }.to_string()).unwrap_or_default()
}

/// A breaking change on one line: `file:line: RULE element: problem (breaks ...)`.
pub(super) fn finding(found: &Finding) -> String {
    let mut text = String::new();
    if !found.file.is_empty() {
        text.push_str(&clean(&found.file));
        if 0 < found.line {
            let _ = write!(text, ":{}", found.line);
        }
        text.push_str(": ");
    }
    let _ = write!(text, "{} {}: {}", clean(&found.rule), clean(&found.element), clean(&found.problem));
    if !found.breaks.is_empty() {
        let _ = write!(text, " (breaks {})", clean(&found.breaks));
    }
    text
}

/// How a breaking change is let through.
pub(super) fn let_through(rule: &str, element: &str) -> String {
    format!("if nobody depends on it, let it through: --allow-breaking {rule}@{element}")
}

/// The digits of a digest that are shown; a gateway takes as many for the whole.
const DIGITS: usize = 12;
/// The years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::pb;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&["NAME", "TLS"]);
        table.row(["päckchen".into(), "yes".into()]);
        table.row([String::new(), "no\n".into()]);
        assert_eq!(table.text(Paint::Plain), "NAME      TLS\npäckchen  yes\n-         no\\n\n");
        assert!(table.text(Paint::Colours).starts_with("\x1b[1mNAME      TLS\x1b[0m\n"));
    }

    #[test]
    fn json_is_indented_and_keeps_its_order() {
        let text = indented(r#"{"b":[],"a":[1,{"x":"{\"[,:"},{}],"c":"\\"}"#);
        let lines = "{\n  \"b\": [],\n  \"a\": [\n    1,\n    {\n      \"x\": \"{\\\"[,:\"\n    },\n    {}\n  ],\n  \"c\": \"\\\\\"\n}\n";
        assert_eq!(text, lines);
        assert_eq!(indented("]]}\"\\"), "\n]\n]\n}\"\\\n");
    }

    #[test]
    fn replies_are_proto_json() {
        let reply =
            pb::PromoteResponse { module: "pets".into(), generation: 7, ..pb::PromoteResponse::default() };
        let text = json("transom.admin.v1.PromoteResponse", &reply).unwrap();
        let expected = "{\n  \"module\": \"pets\",\n  \"generation\": \"7\",\n  \"label\": \"\",\n  \"before\": \"\",\n  \"digest\": \"\",\n  \"allowed\": []\n}\n";
        assert_eq!(text, expected);
        let version = pb::Version {
            created: Some(Timestamp { seconds: i64::MAX, nanos: -1 }),
            ..pb::Version::default()
        };
        let Err(Failure::Refused(why)) = json("transom.admin.v1.Version", &version) else {
            panic!("no such time")
        };
        assert!(why.starts_with("the reply can't be shown as JSON: created: "), "{why}");
    }

    #[test]
    fn times_are_told_to_the_second() {
        assert_eq!(
            time(Some(&Timestamp { seconds: 1_700_000_000, nanos: 999_999_999 })),
            "2023-11-14T22:13:20Z"
        );
        assert_eq!(time(None), "");
        assert_eq!(time(Some(&Timestamp { seconds: i64::MIN, nanos: i32::MIN })), "");
    }

    #[test]
    fn findings_say_where_what_and_for_whom() {
        let mut found = Finding {
            rule: "FIELD_NO_DELETE".into(),
            file: "pets.proto".into(),
            line: 12,
            element: "pets.v1.Pet.name".into(),
            problem: "the field is gone".into(),
            breaks: "readers of JSON".into(),
        };
        let whole =
            "pets.proto:12: FIELD_NO_DELETE pets.v1.Pet.name: the field is gone (breaks readers of JSON)";
        assert_eq!(finding(&found), whole);
        (found.line, found.breaks) = (0, String::new());
        assert_eq!(finding(&found), "pets.proto: FIELD_NO_DELETE pets.v1.Pet.name: the field is gone");
        found.file = String::new();
        assert_eq!(finding(&found), "FIELD_NO_DELETE pets.v1.Pet.name: the field is gone");
    }
}

//! Writes the Prometheus text format, version 0.0.4.

use std::fmt::Display;
use std::fmt::Write;

/// What the samples of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
}

/// A page of samples, family after family.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// Starts a family; all its samples must follow before the next one starts.
    pub(super) fn family(&mut self, name: &str, kind: Type, help: &str) {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One sample; `labels` is empty or what `labels` made.
    pub(super) fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        if labels.is_empty() {
            self.put(format_args!("{name} {value}\n"));
        } else {
            self.put(format_args!("{name}{{{labels}}} {value}\n"));
        }
    }

    /// A histogram of `counts`, of which the last is over all `bounds`.
    pub(super) fn histogram<'b>(
        &mut self,
        name: &str,
        labels: &str,
        (bounds, counts): (impl Iterator<Item = &'b str>, &[u64]),
        sum: impl Display,
    ) {
        let mut total = 0_u64;
        let (comma, open, close) = if labels.is_empty() { ("", "", "") } else { (",", "{", "}") };
        for (bound, count) in bounds.chain(["+Inf"]).zip(counts) {
            total = total.wrapping_add(*count);
            self.put(format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}\n"));
        }
        self.put(format_args!("{name}_sum{open}{labels}{close} {sum}\n"));
        self.put(format_args!("{name}_count{open}{labels}{close} {total}\n"));
    }

    /// The whole page.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a String takes every write");
    }
}

/// Label pairs as they stand between the braces, values escaped and cut at `VALUE_BYTES_MAX`.
pub(super) fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(32 * pairs.len());
    for (at, (name, value)) in pairs.iter().enumerate() {
        if at != 0 {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for letter in value[..value.floor_char_boundary(VALUE_BYTES_MAX)].chars() {
            match letter {
                '\\' => text.push_str(r"\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str(r"\n"),
                letter => text.push(letter),
            }
        }
        text.push('"');
    }
    text
}

/// Longer than any name that can be configured, shorter than what an attacker would like to see kept.
const VALUE_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped_and_cut() {
        assert_eq!(labels(&[]), "");
        assert_eq!(labels(&[("a", "x"), ("b", "\\ \" \n é")]), r#"a="x",b="\\ \" \n é""#);
        let cut = labels(&[("a", &"é".repeat(300))]);
        assert_eq!(cut, format!("a=\"{}\"", "é".repeat(256)));
        let cut = labels(&[("a", &format!("x{}", "é".repeat(300)))]);
        assert_eq!(cut, format!("a=\"x{}\"", "é".repeat(255)));
    }

    #[test]
    fn help_is_escaped() {
        let mut text = Text::default();
        text.family("a_total", Type::Counter, "one\ntwo \\ \"three\"");
        text.sample("a_total", "", 1);
        assert_eq!(
            text.finish(),
            "# HELP a_total one\\ntwo \\\\ \"three\"\n# TYPE a_total counter\na_total 1\n"
        );
    }

    #[test]
    fn buckets_are_cumulative() {
        let mut text = Text::default();
        text.histogram("h", "a=\"b\"", (["1", "2"].into_iter(), &[3, 0, 4]), "9.5");
        let lines = [
            r#"h_bucket{a="b",le="1"} 3"#,
            r#"h_bucket{a="b",le="2"} 3"#,
            r#"h_bucket{a="b",le="+Inf"} 7"#,
            r#"h_sum{a="b"} 9.5"#,
            r#"h_count{a="b"} 7"#,
        ];
        assert_eq!(text.finish(), lines.join("\n") + "\n");
    }
}

//! Spells out extension ranges of a single number, which the parser takes no options for.

/// The text with `extensions 7 [..]` written as `extensions 7 to 7 [..]`, which means the same: the newest
/// `google/protobuf/descriptor.proto` has such ranges. None if there is nothing to write. Lines stay as they are.
pub(super) fn spelled_out(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    let mut statement = Statement::Start;
    let mut at = 0;
    while let Some(token) = next(text, at) {
        at = token.end;
        let word = &text[token.start..token.end];
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        statement = match (statement, word) {
            (_, ";" | "{" | "}") => Statement::Start,
            (Statement::Start, "extensions") | (Statement::Single(_) | Statement::Pair, ",") => {
                Statement::Ranges
            }
            (Statement::Ranges, _) if is_number => Statement::Single(token),
            (Statement::Single(_), "to") => Statement::Pair,
            (Statement::Pair, _) if is_number || word == "max" => Statement::Pair,
            (Statement::Single(number), "[") => {
                out.push_str(&text[copied..number.end]);
                out.push_str(" to ");
                out.push_str(&text[number.start..number.end]);
                copied = number.end;
                Statement::Other
            }
            _ => Statement::Other,
        };
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&text[copied..]);
    Some(out)
}

#[derive(Clone, Copy)]
enum Statement {
    Start,
    /// Of `extensions`, where a range begins.
    Ranges,
    /// A number was read.
    Single(Token),
    /// The range has a `to`.
    Pair,
    Other,
}

#[derive(Clone, Copy)]
struct Token {
    start: usize,
    end: usize,
}

/// The first token from `at` on: a word, a text or a single character; comments and spaces are none.
fn next(text: &str, mut at: usize) -> Option<Token> {
    loop {
        let rest = &text[at..];
        let start = at + rest.find(|c: char| !c.is_whitespace())?;
        let rest = &text[start..];
        let after = |end: Option<usize>, length: usize| end.map_or(text.len(), |end| start + end + length);
        if rest.starts_with("//") {
            at = after(rest.find('\n'), 1);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            at = after(comment.find("*/"), 4);
        } else {
            let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
            let end = match rest.chars().next()? {
                quote @ ('"' | '\'') => after(end_of_text(rest, quote), 0),
                c if is_word(c) => after(rest.find(|c| !is_word(c)), 0),
                c => start + c.len_utf8(),
            };
            return Some(Token { start, end });
        }
    }
}

/// Past the closing quote, or the end of the line that lacks it.
fn end_of_text(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return Some(at),
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::spelled_out;

    #[test]
    fn only_single_numbers_before_options_are_spelled_out() {
        for (text, want) in [
            (
                "message M { extensions 7 [declaration = { number: 7 }]; }",
                "message M { extensions 7 to 7 [declaration = { number: 7 }]; }",
            ),
            (
                "extensions 1, 2 to 4, 0x9 /* [ */\n [x = 1];",
                "extensions 1, 2 to 4, 0x9 to 0x9 /* [ */\n [x = 1];",
            ),
            ("extensions 5 // only\n[a = \"é\"]; é", "extensions 5 to 5 // only\n[a = \"é\"]; é"),
        ] {
            assert_eq!(spelled_out(text).as_deref(), Some(want));
        }
        for text in [
            "",
            "extensions 7;",
            "extensions 7 to 9 [x = 1];",
            "extensions 1, 7 to max [x = 1];",
            "extensions extensions = 7 [deprecated = true];",
            "// extensions 7 [x = 1];",
            "/* extensions 7 [x = 1]; ",
            "string a = 1 [default = \"; extensions 7 [\"];",
            "string a = 1 [default = '\\'; extensions 7 [",
            "int32 extensions = 7 [x = 1];",
            "extensions",
            "extensions 7",
        ] {
            assert_eq!(spelled_out(text), None, "{text}");
        }
    }
}

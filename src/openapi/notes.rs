//! Makes summaries and descriptions of the comments of `.proto` files.

/// The text of a comment without indents, lint directives and `(-- internal notes --)`; none if nothing is
/// left.
pub(super) fn clean(comment: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = comment;
    while let Some((before, inner)) = rest.split_once("(--") {
        text.push_str(before);
        rest = inner.split_once("--)").map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    let lines = text.lines().filter(|line| {
        let line = line.trim_start();
        !["buf:lint:", "@ignore-comment", "protolint:"].iter().any(|mark| line.starts_with(mark))
    });
    let lines: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    let text = lines.join("\n");
    let text = cut(text.trim(), COMMENT_BYTES_MAX);
    (!text.is_empty()).then(|| text.to_owned())
}

/// The first sentence for a summary, without its full stop, if it is short, and the description: all of the
/// text where there is more than that.
pub(super) fn split(text: &str) -> (Option<String>, Option<String>) {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let end = paragraph
        .match_indices('.')
        .map(|(at, _)| at)
        .find(|at| paragraph[at + 1..].chars().next().is_none_or(char::is_whitespace));
    let sentence = end.map_or(paragraph, |end| &paragraph[..end]);
    let summary = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
    if summary.is_empty() || SUMMARY_BYTES_MAX < summary.len() {
        return (None, Some(text.to_owned()));
    }
    let is_all = sentence.len() + usize::from(end.is_some()) == text.len();
    (Some(summary), (!is_all).then(|| text.to_owned()))
}

/// Adds a sentence or paragraph to a description.
pub(super) fn join(text: Option<String>, more: &str) -> String {
    match text {
        Some(text) => format!("{text}\n\n{more}"),
        None => more.to_owned(),
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

const COMMENT_BYTES_MAX: usize = 16 << 10;
const SUMMARY_BYTES_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_lose_what_is_not_for_readers() {
        let comment = " A store.\n\n   - one\n buf:lint:ignore X\n (-- api-linter: a\n  b --)\n Two.  \n";
        assert_eq!(clean(comment).unwrap(), "A store.\n\n  - one\n\nTwo.");
        assert_eq!(clean(" (-- open"), None);
        assert_eq!(clean(" \n"), None);
        assert_eq!(clean(&"é".repeat(COMMENT_BYTES_MAX)).unwrap().len(), COMMENT_BYTES_MAX);
    }

    #[test]
    fn a_summary_is_the_first_sentence() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(split("Returns a pet."), (some("Returns a pet"), None));
        assert_eq!(split("Returns pets.v1\nPet"), (some("Returns pets.v1 Pet"), None));
        assert_eq!(split("One. Two."), (some("One"), some("One. Two.")));
        assert_eq!(split("One\n\nTwo"), (some("One"), some("One\n\nTwo")));
        let long = "long ".repeat(100);
        assert_eq!(split(&long), (None, Some(long.clone())));
        assert_eq!(split(""), (None, some("")));
    }
}

//! Renders the table of keys as Markdown.

use std::fmt::Write;

use crate::config::check::expected;
use crate::config::check::list;
use crate::config::shape::Need;
use crate::config::shape::Rule;
use crate::config::shape::Section;
use crate::config::shape::Shape;
use crate::config::shape::Stage;
use crate::config::table::FILE;

/// Every key of the configuration: its shape, default and meaning, one Markdown table a section.
pub fn reference() -> String {
    let mut out = String::from("# Configuration reference\n");
    let mut sections: Vec<(String, &'static Section)> = vec![(String::new(), &FILE)];
    let mut next = 0;
    while let Some((path, section)) = sections.get(next).cloned() {
        let title = if path.is_empty() { "The file" } else { &path };
        let _ = writeln!(out, "\n## `{title}`\n\n| key | value | default | meaning |\n|---|---|---|---|");
        for key in section.keys {
            let below = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
            let shape = shape(&key.shape, &below, &mut sections);
            let default = match key.need {
                Need::Must => "required".to_owned(),
                Need::May => "-".to_owned(),
                Need::Or("") => "empty".to_owned(),
                Need::Or(text) => format!("`{text}`"),
            };
            let later = if key.stage == Stage::Later { " (not built yet)" } else { "" };
            let row =
                format!("| `{}` | {shape} | {default} | {}{later} |", key.name, key.help.replace('|', "\\|"));
            let _ = writeln!(out, "{row}");
        }
        for rule in section.rules {
            let rule = match rule {
                Rule::One(names) => format!("Exactly one of {}.", list(names.iter().copied())),
                Rule::AtMostOne(names) => format!("At most one of {}.", list(names.iter().copied())),
                Rule::Some(names) => format!("At least one of {}.", list(names.iter().copied())),
                Rule::Needs(name, other) => format!("`{name}` needs `{other}`."),
            };
            let _ = writeln!(out, "\n{rule}");
        }
        next += 1;
    }
    out
}

/// What a value is; sections are put into the list of those to write, each once.
fn shape(of: &Shape, path: &str, sections: &mut Vec<(String, &'static Section)>) -> String {
    match of {
        Shape::Section(section) => {
            let known = sections
                .iter()
                .find(|(_, known)| std::ptr::eq(*known, *section))
                .map(|(path, _)| path.clone());
            let path = known.unwrap_or_else(|| {
                sections.push((path.to_owned(), section));
                path.to_owned()
            });
            format!("section `{path}`")
        }
        Shape::List(item, _) => format!("list of: {}", shape(item, &format!("{path}[]"), sections)),
        Shape::Map(kind, item) => {
            format!("map from {} to: {}", kind.what, shape(item, &format!("{path}.*"), sections))
        }
        Shape::Or(words, inner) => {
            let words = list(words.iter().copied().filter(|word| !word.is_empty()));
            let inner = shape(inner, path, sections);
            if words.is_empty() { inner } else { format!("{words}, or {inner}") }
        }
        Shape::Either(scalar, other) => {
            format!("{}, or {}", shape(scalar, path, sections), shape(other, path, sections))
        }
        Shape::Choice(words) => {
            let name =
                |stage: Stage| list(words.iter().filter(|word| word.stage == stage).map(|word| word.name));
            match (name(Stage::Built), name(Stage::Later)) {
                (built, later) if later.is_empty() => built,
                (built, later) => format!("{built} (not built yet: {later})"),
            }
        }
        leaf => expected(leaf).0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_complete_and_every_default_fits() {
        let mut sections: Vec<(String, &'static Section)> = vec![(String::new(), &FILE)];
        let mut next = 0;
        while let Some((path, section)) = sections.get(next).cloned() {
            for (index, key) in section.keys.iter().enumerate() {
                let at = format!("{path}.{}", key.name);
                assert!(
                    !key.help.is_empty() && !key.help.ends_with('.'),
                    "{at} has no help, or one with a full stop"
                );
                assert!(
                    section.keys[..index].iter().all(|other| other.name != key.name),
                    "{at} is there twice"
                );
                shape(&key.shape, &at, &mut sections);
                assert!(
                    section.wrong.iter().all(|(wrong, _)| *wrong != key.name),
                    "{at} is also a wrong key"
                );
            }
            let names = section.rules.iter().flat_map(|rule| match rule {
                Rule::One(names) | Rule::AtMostOne(names) | Rule::Some(names) => names.to_vec(),
                Rule::Needs(name, other) => vec![*name, *other],
            });
            for name in names {
                assert!(section.key(name).is_some(), "a rule of {path} names `{name}`, which is no key");
            }
            next += 1;
        }
        assert!(40 < sections.len(), "the walk found only {} sections", sections.len());
    }

    #[test]
    fn the_reference_names_every_section() {
        let text = reference();
        for part in [
            "## `listeners[].limits`",
            "## `policies.timeout`",
            "| `http3` | a boolean | `false` |",
            "(not built yet)",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        assert_eq!(text.matches("## `policies`\n").count(), 1);
    }
}

//! What differs between two texts of a resource, a line each.

use std::collections::HashMap;
use std::path::Path;

use crate::config::fault::Diag;
use crate::config::json;
use crate::config::raw::Entry;
use crate::config::raw::Raw;
use crate::config::raw::Value;
use crate::config::raw::clip;
use crate::config::yaml;

/// What differs between two texts of a resource, such as `weight: absent -> 3`; secrets are `...`.
/// An empty text is that of no resource.
pub fn differences(before: &str, after: &str) -> Vec<String> {
    let (Some(before), Some(after)) = (read(before), read(after)) else {
        return vec!["the texts can't be compared".to_owned()];
    };
    let mut found = Found { lines: Vec::new(), more: 0 };
    found.compare("", Some(&before), Some(&after), Secret::No);
    if 0 < found.more {
        found.more += found.lines.len() + 1 - LINES_MAX;
        found.lines.truncate(LINES_MAX - 1);
        found.lines.push(format!("{} more", found.more));
    }
    found.lines
}

/// A text of a resource with `...` for each secret; nothing where it can't be read.
pub fn redacted(text: &str) -> String {
    read(text).map(|raw| json::shown(&raw)).unwrap_or_default()
}

fn read(text: &str) -> Option<Raw> {
    let file = Path::new("text");
    if super::FILE_BYTES_MAX < text.len() {
        return None;
    }
    let raw = yaml::read(text, file, &mut Diag::new())?;
    Some(if raw.shown() == "nothing" { Raw::empty_map(file) } else { raw })
}

struct Found {
    lines: Vec<String>,
    more: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Secret {
    No,
    Yes,
}

impl Found {
    fn compare(&mut self, path: &str, before: Option<&Raw>, after: Option<&Raw>, secret: Secret) {
        match (before.map(|raw| &raw.value), after.map(|raw| &raw.value)) {
            (Some(Value::Map(old)), Some(Value::Map(new))) if secret == Secret::No => {
                self.maps(path, old, new)
            }
            (Some(Value::List(old)), Some(Value::List(new))) if secret == Secret::No => {
                for index in 0..old.len().max(new.len()) {
                    self.compare(&format!("{path}[{index}]"), old.get(index), new.get(index), secret);
                }
            }
            _ => {
                let told = |raw: Option<&Raw>| raw.map(|raw| json::text(raw, &[]));
                if told(before) != told(after) {
                    self.line(path, before, after, secret);
                }
            }
        }
    }

    fn maps(&mut self, path: &str, old: &[Entry], new: &[Entry]) {
        let (in_old, in_new) = (by_name(old), by_name(new));
        let added = new.iter().filter(|entry| !in_old.contains_key(entry.name()));
        for entry in old.iter().chain(added) {
            let name = entry.name();
            let (before, after) = (in_old.get(name).copied(), in_new.get(name).copied());
            let is_secret = json::is_secret(name, old) || json::is_secret(name, new);
            let secret = if is_secret { Secret::Yes } else { Secret::No };
            self.compare(&below(path, name), before, after, secret);
        }
    }

    fn line(&mut self, path: &str, before: Option<&Raw>, after: Option<&Raw>, secret: Secret) {
        if LINES_MAX <= self.lines.len() {
            self.more += 1;
            return;
        }
        let shown = |raw: Option<&Raw>| match raw {
            None => "absent".to_owned(),
            Some(_) if secret == Secret::Yes => json::HIDDEN.to_owned(),
            Some(raw) => clip(&json::shown(raw)),
        };
        let path = if path.is_empty() { "all of it" } else { path };
        self.lines.push(format!("{path}: {} -> {}", shown(before), shown(after)));
    }
}

fn by_name(entries: &[Entry]) -> HashMap<&str, &Raw> {
    entries.iter().map(|entry| (entry.name(), entry.value())).collect()
}

fn below(path: &str, name: &str) -> String {
    let is_simple =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (path, is_simple) {
        ("", true) => name.to_owned(),
        (_, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{:?}]", clip(name)),
    }
}

/// A change that nobody would read to its end.
const LINES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_a_line() {
        let before = r#"{"endpoints":[{"address":"127.0.0.1:1"},{"address":"b:1"}],"authority":"client","pool":{"connections":2},"same":[1,{"a":null}]}"#;
        let after = r#"{"same":[1,{"a":null}],"endpoints":[{"address":"127.0.0.1:2","weight":3}],"pool":{"connections":"2"},"methods":{"p.S/M":{}}}"#;
        assert_eq!(
            differences(before, after),
            [
                r#"endpoints[0].address: "127.0.0.1:1" -> "127.0.0.1:2""#,
                "endpoints[0].weight: absent -> 3",
                r#"endpoints[1]: {"address":"b:1"} -> absent"#,
                r#"authority: "client" -> absent"#,
                r#"pool.connections: 2 -> "2""#,
                r#"methods: absent -> {"p.S/M":{}}"#,
            ]
        );
        assert!(differences(before, before).is_empty() && differences("", "{}").is_empty());
        assert_eq!(differences("", r#"{"p.S/M":1}"#), [r#"["p.S/M"]: absent -> 1"#]);
        assert_eq!(differences("{", "{}"), ["the texts can't be compared"]);
        assert_eq!(differences("[]", "{}"), ["all of it: [] -> {}"]);
    }

    #[test]
    fn secrets_never_show() {
        let text = |secret: &str| {
            format!(
                r#"{{"cert":"c","key":"{secret}","credentials":[{{"api_key":{{"sha256":"{secret}"}}}},{{"hmac":{{"id":"i","secret":{{"deep":"{secret}"}}}}}}]}}"#
            )
        };
        let lines = differences(&text("one"), &text("two"));
        assert_eq!(
            lines,
            [
                "key: ... -> ...",
                "credentials[0].api_key.sha256: ... -> ...",
                "credentials[1].hmac.secret: ... -> ..."
            ]
        );
        let made = differences("", &text("one")).join("\n");
        assert!(!made.contains("one") && made.contains("key: absent -> ..."), "{made}");
        assert!(!redacted(&text("one")).contains("one"));
        assert_eq!(redacted(r#"{"key":"ip"}"#), r#"{"key":"ip"}"#);
    }

    #[test]
    fn a_large_change_is_bounded() {
        let many = |value: &str| {
            let keys: Vec<String> = (0..20_000).map(|n| format!("\"k{n}\":{value}")).collect();
            format!("{{{}}}", keys.join(","))
        };
        let lines = differences(&many("1"), &many("2"));
        assert_eq!((lines.len(), lines[99].as_str()), (100, "19901 more"));
        let long = differences("{}", &format!(r#"{{"a":"{}"}}"#, "x".repeat(10_000)));
        assert!(long[0].len() < 200, "{}", long[0]);
    }
}

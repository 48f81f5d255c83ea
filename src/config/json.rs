//! Writes what somebody wrote as compact JSON, and shows it without its secrets.

use std::fmt::Write;

use crate::config::raw::Entry;
use crate::config::raw::Raw;
use crate::config::raw::Scalar;
use crate::config::raw::Value;

/// A tree as it was written: without defaults, with `${...}` as itself, and without these keys of its own.
pub(super) fn text(raw: &Raw, without: &[&str]) -> String {
    let mut out = String::new();
    write(raw, without, Secrets::Told, &mut out);
    out
}

/// The same with `...` for each secret.
pub(super) fn shown(raw: &Raw) -> String {
    let mut out = String::new();
    write(raw, &[], Secrets::Hidden, &mut out);
    out
}

/// Whether the value of a key is one that nobody should read who may read the rest.
pub(super) fn is_secret(name: &str, siblings: &[Entry]) -> bool {
    match name {
        "secret" | "client_secret" | "password" | "argon2" | "sha256" | "token" => true,
        // A private key stands beside its certificate; what limits and balancers count by is called the same.
        "key" => siblings.iter().any(|entry| entry.name() == "cert"),
        _ => false,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrets {
    Told,
    Hidden,
}

fn write(raw: &Raw, without: &[&str], secrets: Secrets, out: &mut String) {
    match &raw.value {
        Value::Scalar(scalar) => leaf(scalar, secrets, out),
        Value::List(items) => {
            out.push('[');
            for (at, item) in items.iter().filter(|item| item.is_written()).enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                write(item, &[], secrets, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            let is_told = |entry: &&Entry| entry.value.is_written() && !without.contains(&entry.name());
            for (at, entry) in entries.iter().filter(is_told).enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                string(entry.name(), out);
                out.push(':');
                if secrets == Secrets::Hidden && is_secret(entry.name(), entries) {
                    string(HIDDEN, out);
                } else {
                    write(&entry.value, &[], secrets, out);
                }
            }
            out.push('}');
        }
        Value::Faulty => out.push_str("null"),
    }
}

fn leaf(scalar: &Scalar, secrets: Secrets, out: &mut String) {
    match &scalar.source {
        Some(source) => string(source, out),
        None if scalar.is_null() => out.push_str("null"),
        None if secrets == Secrets::Hidden && scalar.text.contains("PRIVATE KEY") => string(HIDDEN, out),
        None if !scalar.quoted && is_bare(&scalar.text) => out.push_str(&scalar.text),
        None => string(&scalar.text, out),
    }
}

/// A boolean, or a number that every reader of JSON takes for the same one.
fn is_bare(text: &str) -> bool {
    if matches!(text, "true" | "false") {
        return true;
    }
    let number = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let has_leading_zero = whole.len() != 1 && whole.starts_with('0');
    text.len() <= NUMBER_BYTES_MAX && is_digits(whole) && is_digits(fraction) && !has_leading_zero
}

/// In a form that is the same in JSON and YAML, whatever the text has.
fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // What YAML takes for breaks, for nothing, or doesn't take.
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
            {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A double holds fifteen decimal digits.
const NUMBER_BYTES_MAX: usize = 15;
pub(super) const HIDDEN: &str = "...";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::fault::Diag;
    use crate::config::yaml;

    fn read(text: &str) -> Raw {
        let mut diag = Diag::new();
        let raw = yaml::read(text, Path::new("t"), &mut diag);
        diag.finish().unwrap();
        raw.unwrap()
    }

    #[test]
    fn what_was_written_is_said_in_the_order_it_was() {
        for (yaml, json) in [
            (
                "{ b: 1, a: [x, 'y', \"z\", 1.5, '2', true, 'false', yes, ~, null, ''] }",
                r#"{"b":1,"a":["x","y","z",1.5,"2",true,"false","yes",null,null,""]}"#,
            ),
            (
                "a: 007\nb: 0\nc: -3\nd: 1e5\ne: 1.\nf: .5\ng: 1e\nh: 0x1F",
                r#"{"a":"007","b":0,"c":-3,"d":"1e5","e":"1.","f":".5","g":"1e","h":"0x1F"}"#,
            ),
            ("k: |\n  one\n  two\n", r#"{"k":"one\ntwo\n"}"#),
            ("x: &a { p: q }\ny: *a", r#"{"x":{"p":"q"},"y":{"p":"q"}}"#),
            ("{}", "{}"),
            ("[]", "[]"),
        ] {
            assert_eq!(text(&read(yaml), &[]), json);
        }
    }

    #[test]
    fn secrets_are_hidden() {
        let raw = read(
            "{ cert: c, key: k, limit: { key: ip }, hmac: { secret: s }, api_key: { sha256: h }, x: '-----BEGIN PRIVATE KEY-----' }",
        );
        let hidden = r#"{"cert":"c","key":"...","limit":{"key":"ip"},"hmac":{"secret":"..."},"api_key":{"sha256":"..."},"x":"..."}"#;
        assert_eq!(shown(&raw), hidden);
    }

    proptest::proptest! {
        #[test]
        fn json_reads_back_as_the_same(key in ".{0,40}", value in "\\PC{0,40}", any in proptest::collection::vec(proptest::char::any(), 0..20)) {
            let any: String = any.into_iter().collect();
            let mut written = String::new();
            for (at, part) in [&key, &value, &any].into_iter().enumerate() {
                written.push_str(if at == 0 { "{" } else if at == 1 { ":[" } else { "," });
                string(part, &mut written);
            }
            written.push_str("]}");
            let json: serde_json::Value = serde_json::from_str(&written).unwrap();
            proptest::prop_assert_eq!(&json[&key][0], &value);
            let raw = read(&written);
            proptest::prop_assert_eq!(raw.get(&key).unwrap().items()[0].text(), Some(value.as_str()));
            proptest::prop_assert_eq!(raw.get(&key).unwrap().items()[1].text(), Some(any.as_str()));
            proptest::prop_assert_eq!(text(&raw, &[]), written);
        }

        #[test]
        fn plain_words_stay_what_they_are(word in "[0-9a-z.+][0-9a-z.+-]{0,7}|-[0-9][0-9.e-]{0,4}") {
            let written = text(&read(&format!("a: {word}")), &[]);
            let json: serde_json::Value = serde_json::from_str(&written).unwrap();
            let again = read(&written);
            proptest::prop_assert_eq!(again.get("a").unwrap().text(), if word == "null" { Some("null") } else { Some(word.as_str()) }, "{}", json);
        }
    }
}

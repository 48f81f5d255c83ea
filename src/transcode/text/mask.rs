//! Reads the text of `google.protobuf.FieldMask`.

use crate::transcode::text::Problem;
use crate::transcode::text::wire;
use crate::transcode::text::wire::WireType;

/// Appends the body of the field mask that `text` is: paths in lowerCamelCase with commas between them.
///
/// A segment may be `*`, which masks use for everything, or a number, which is the key of a map.
///
/// # Errors
/// Underscores, empty paths, what no path of field names has, and more of it than any message calls for.
pub(crate) fn field_mask(text: &str, out: &mut Vec<u8>) -> Result<(), Problem> {
    if text.is_empty() {
        return Ok(());
    }
    for (index, path) in text.split(',').enumerate() {
        if index == PATHS_MAX {
            return Err(Problem::new(format!(
                "has more than {PATHS_MAX} paths: name whole messages, or less at once"
            )));
        }
        for (depth, segment) in path.split('.').enumerate() {
            if depth == SEGMENTS_MAX {
                let what =
                    format!("has a path of more than {SEGMENTS_MAX} parts: name a message that is less deep");
                return Err(Problem::new(what));
            }
            check(segment)?;
        }
        let underscores = path.bytes().filter(u8::is_ascii_uppercase).count();
        wire::tag(1, WireType::Len, out);
        wire::varint((path.len() + underscores) as u64, out);
        for byte in path.bytes() {
            if byte.is_ascii_uppercase() {
                out.push(b'_');
            }
            out.push(byte.to_ascii_lowercase());
        }
    }
    Ok(())
}

fn check(segment: &str) -> Result<(), Problem> {
    if segment == "*" {
        return Ok(());
    }
    if segment.contains('_') {
        return Err(UNDERSCORE);
    }
    if !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(MASK)
}

/// Paths of one mask.
pub(crate) const PATHS_MAX: usize = 1000;
/// Parts of one path, as in the name of a query parameter.
pub(crate) const SEGMENTS_MAX: usize = 32;
const UNDERSCORE: Problem =
    Problem::fixed("has an underscore: paths of a field mask are in lowerCamelCase, as \"user.displayName\"");
const MASK: Problem =
    Problem::fixed("is not a field mask: write paths with commas between, as \"name,user.displayName\"");

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Result<Vec<String>, Problem> {
        let mut out = Vec::new();
        field_mask(text, &mut out)?;
        let mask: prost_types::FieldMask = prost::Message::decode(out.as_slice()).unwrap();
        Ok(mask.paths)
    }

    #[test]
    fn reads_paths() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("a", &["a"]),
            ("user.displayName,photo", &["user.display_name", "photo"]),
            ("aBC.d2", &["a_b_c.d2"]),
            ("Foo", &["_foo"]),
            ("*", &["*"]),
            ("reviews.*.author", &["reviews.*.author"]),
            // The writer has these too.
            ("byId.12.firstName,0", &["by_id.12.first_name", "0"]),
        ];
        for (text, expected) in cases {
            let expected: Vec<String> = expected.iter().map(|path| (*path).to_owned()).collect();
            assert_eq!(paths(text), Ok(expected), "{text}");
        }
        // Every letter becomes two, and the length takes two bytes.
        assert_eq!(paths(&"A".repeat(100)), Ok(vec!["_a".repeat(100)]));
    }

    #[test]
    fn refuses_what_is_no_mask() {
        for text in ["a_b", "a,b_c", ",", "a,", ",a", "a..b", ".a", "a.", "a b", "a-b", "a[0]", "ä", "a,*b"]
        {
            assert!(paths(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds_paths_and_their_parts() {
        let cases = [
            (["a"; PATHS_MAX].join(","), None),
            (["a"; PATHS_MAX + 1].join(","), Some("more than 1000 paths")),
            (["a"; SEGMENTS_MAX].join("."), None),
            (["a"; SEGMENTS_MAX + 1].join("."), Some("more than 32 parts")),
            (["a.b.c"; 10_000].join("."), Some("more than 32 parts")),
            (["a.b.c"; 10_000].join(","), Some("more than 1000 paths")),
        ];
        for (text, problem) in cases {
            match (paths(&text), problem) {
                (Ok(paths), None) => assert_eq!(paths.join(","), text),
                (Err(found), Some(problem)) => assert!(found.to_string().contains(problem), "{found}"),
                (found, _) => panic!("{} bytes: {found:?}", text.len()),
            }
        }
    }
}

//! A request path, split while it is percent-encoded and checked.

use std::borrow::Cow;
use std::ops::Range;

use crate::route::rest::BadPath;
use crate::route::rest::SEGMENTS_MAX;
use crate::schema::http::percent;
use crate::schema::http::percent::Slash;

/// A well-formed path and where its segments end.
#[derive(Debug, Clone)]
pub(super) struct Path<'p> {
    /// From its first slash to the verb or the end.
    raw: &'p str,
    ends: Ends,
    /// Each segment decoded; empty where nothing is encoded.
    decoded: Vec<Cow<'p, str>>,
}

/// One past each segment's last byte.
#[derive(Debug, Clone)]
enum Ends {
    Few([usize; FEW], usize),
    Many(Vec<usize>),
}

impl<'p> Path<'p> {
    pub(super) fn read(raw: &'p str) -> Result<Self, BadPath> {
        let ends = split(raw)?;
        let is_encoded = memchr::memchr(b'%', raw.as_bytes()).is_some();
        if is_encoded {
            // Slashes are ASCII: the whole can be decoded exactly if each segment can.
            percent::decode(raw, Slash::Decode).map_err(BadPath::Malformed)?;
        }
        let mut path = Self { raw, ends, decoded: Vec::new() };
        if (0..path.len()).any(|at| matches!(path.raw(at..at + 1), "." | "..")) {
            return Err(BadPath::DotSegment);
        }
        if is_encoded {
            path.decoded = (0..path.len()).map(|at| decode(path.raw(at..at + 1), Slash::Decode)).collect();
        }
        Ok(path)
    }

    /// How many segments there are: none in `/`, two in `/a/`.
    pub(super) fn len(&self) -> usize {
        self.ends().len()
    }

    /// A segment, decoded.
    pub(super) fn segment(&self, at: usize) -> &str {
        match self.decoded.get(at) {
            Some(decoded) => decoded,
            None => self.raw(at..at + 1),
        }
    }

    /// Segments as they came, with the slashes between them.
    pub(super) fn raw(&self, segments: Range<usize>) -> &'p str {
        if segments.is_empty() {
            return "";
        }
        let ends = self.ends();
        let start = segments.start.checked_sub(1).map_or(1, |before| ends[before] + 1);
        &self.raw[start..ends[segments.end - 1]]
    }

    /// What follows the last colon of the last segment, decoded. An encoded colon is none.
    pub(super) fn verb(&self) -> Option<Cow<'p, str>> {
        Some(decode(&self.raw[self.colon()? + 1..], Slash::Decode))
    }

    /// The path up to its verb.
    pub(super) fn before_verb(&self) -> Option<Self> {
        let colon = self.colon()?;
        let last = self.len().checked_sub(1)?;
        let mut before = self.clone();
        before.raw = &self.raw[..colon];
        match &mut before.ends {
            Ends::Few(ends, _) => ends[last] = colon,
            Ends::Many(ends) => ends[last] = colon,
        }
        let cut = decode(before.raw(last..last + 1), Slash::Decode);
        if let Some(decoded) = before.decoded.get_mut(last) {
            *decoded = cut;
        }
        Some(before)
    }

    fn colon(&self) -> Option<usize> {
        let last = self.len().checked_sub(1)?;
        let segment = self.raw(last..last + 1);
        let colon = memchr::memrchr(b':', segment.as_bytes())?;
        Some(self.raw.len() - segment.len() + colon)
    }

    fn ends(&self) -> &[usize] {
        match &self.ends {
            Ends::Few(ends, len) => &ends[..*len],
            Ends::Many(ends) => ends,
        }
    }
}

/// Text of a path that was found to be well-formed.
pub(super) fn decode(raw: &str, slash: Slash) -> Cow<'_, str> {
    percent::decode(raw, slash).unwrap_or(Cow::Borrowed(raw))
}

fn split(raw: &str) -> Result<Ends, BadPath> {
    if !raw.starts_with('/') {
        return Err(BadPath::NoSlash);
    }
    if raw.len() == 1 {
        return Ok(Ends::Few([0; FEW], 0));
    }
    let bytes = raw.as_bytes();
    let ends = memchr::memchr_iter(b'/', &bytes[1..]).map(|slash| slash + 1).chain([raw.len()]);
    let mut few = [0; FEW];
    let mut len = 0;
    for end in ends.clone() {
        if SEGMENTS_MAX <= len {
            return Err(BadPath::TooManySegments);
        }
        if let Some(slot) = few.get_mut(len) {
            *slot = end;
        }
        len += 1;
    }
    Ok(if len <= FEW { Ends::Few(few, len) } else { Ends::Many(ends.collect()) })
}

/// Segments that need no allocation.
const FEW: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(raw: &str) -> Vec<String> {
        let path = Path::read(raw).unwrap();
        (0..path.len()).map(|at| path.segment(at).to_owned()).collect()
    }

    #[test]
    fn splits_before_it_decodes() {
        for (raw, want) in [
            ("/", &[][..]),
            ("//", &["", ""]),
            ("/a", &["a"]),
            ("/a/", &["a", ""]),
            ("/a%2Fb/c%20d", &["a/b", "c d"]),
            ("//v1//x", &["", "v1", "", "x"]),
            ("/%2E%2E/..;x/a\\b", &["..", "..;x", "a\\b"]),
            ("/%E8%B0%B7/é", &["谷", "é"]),
        ] {
            assert_eq!(segments(raw), want, "{raw}");
        }
        let long = "/a".repeat(SEGMENTS_MAX);
        assert_eq!(segments(&long).len(), SEGMENTS_MAX);
        assert_eq!(Path::read(&long).unwrap().raw(100..103), "a/a/a");
    }

    #[test]
    fn malformed_paths_are_refused() {
        for (raw, why) in [
            ("", BadPath::NoSlash),
            ("*", BadPath::NoSlash),
            ("v1/x", BadPath::NoSlash),
            ("/a/../b", BadPath::DotSegment),
            ("/.", BadPath::DotSegment),
            ("/a%", BadPath::Malformed(percent::Malformed::Escape(2))),
            ("/a%2/F", BadPath::Malformed(percent::Malformed::Escape(2))),
            ("/%00", BadPath::Malformed(percent::Malformed::Nul(1))),
            ("/%E8/%B0%B7", BadPath::Malformed(percent::Malformed::NotUtf8)),
        ] {
            assert_eq!(Path::read(raw).unwrap_err(), why, "{raw}");
        }
        assert_eq!(Path::read(&"/a".repeat(10_000)).unwrap_err(), BadPath::TooManySegments);
        assert_eq!(Path::read(&"/".repeat(SEGMENTS_MAX + 1)).unwrap_err(), BadPath::TooManySegments);
    }

    #[test]
    fn the_last_raw_colon_of_the_last_segment_begins_a_verb() {
        for (raw, before, verb) in [
            ("/v1/a:b:cancel", "a:b", Some("cancel")),
            ("/v1/%61:c%61ncel", "a", Some("cancel")),
            ("/v1/:x", "", Some("x")),
            ("/v1/x:", "x", Some("")),
            ("/v1:x/y", "", None),
            ("/v1/7%3Acancel", "", None),
            ("/", "", None),
        ] {
            let path = Path::read(raw).unwrap();
            assert_eq!(path.verb().as_deref(), verb, "{raw}");
            let cut = path.before_verb();
            assert_eq!(cut.is_some(), verb.is_some(), "{raw}");
            if let Some(cut) = cut {
                assert_eq!(cut.segment(cut.len() - 1), before, "{raw}");
            }
        }
    }
}

//! The field mask of a PATCH whose client sent none: the fields that its JSON body names.

use std::borrow::Cow;

use crate::transcode::bind::Binding;
use crate::transcode::bind::BoundBody;
use crate::transcode::bind::fault::BindError;
use crate::transcode::bind::fault::refused;
use crate::transcode::bind::pairs::decode;
use crate::transcode::bind::pairs::pairs;
use crate::transcode::plan::Form;
use crate::transcode::plan::Message;
use crate::transcode::plan::MessageId;
use crate::transcode::plan::Plans;
use crate::transcode::plan::Shape;
use crate::transcode::text::mask::PATHS_MAX;
use crate::transcode::text::mask::SEGMENTS_MAX;
use crate::transcode::text::wire;
use crate::transcode::text::wire::WireType;

impl Binding {
    /// The field of the request that is its mask: the only `google.protobuf.FieldMask` beside the field that
    /// is the body, if the path doesn't set it.
    pub fn mask_field(&self, plans: &Plans) -> Option<usize> {
        let BoundBody::Field(body) = self.body else { return None };
        let mut masks = plans.message(self.input).fields.iter().enumerate().filter(|(index, field)| {
            let is_mask = field.message().is_some_and(|id| plans.message(id).form == Form::FieldMask);
            is_mask && *index != body && field.shape == Shape::Single
        });
        let (index, field) = masks.next().filter(|_| masks.next().is_none())?;
        (!self.bound.owns(field.number)).then_some(index)
    }

    /// Appends the mask of the fields that the body names, unless `query` has one; whether it did. `json` is a
    /// body that was read, of a message.
    ///
    /// # Errors
    /// Bodies that name more fields than a mask may have.
    pub fn add_mask(
        &self,
        plans: &Plans,
        query: &str,
        json: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, BindError> {
        let BoundBody::Field(body) = self.body else { return Ok(false) };
        let fields = &plans.message(self.input).fields;
        let (Some(mask), Some(message)) = (self.mask_field(plans), fields[body].message()) else {
            return Ok(false);
        };
        let mask = &fields[mask];
        let is_mask = |name: &str| name == &*mask.name || name == &*mask.json_name;
        if pairs(query).any(|pair| decode(pair.name).is_ok_and(|name| is_mask(&name))) {
            return Ok(false);
        }
        let is_message = fields[body].shape == Shape::Single && plans.message(message).form == Form::Object;
        // A body of `null` sets nothing, so there is nothing to name.
        if !is_message || json.trim_ascii() == b"null" {
            return Ok(false);
        }
        let paths = patch_mask(plans, message, json).map_err(|what| refused(&mask.name, what))?;
        let lens = paths.iter().map(|path| 1 + wire::varint_len(path.len() as u64) + path.len());
        out.extend_from_slice(mask.tag.bytes());
        wire::varint(lens.sum::<usize>() as u64, out);
        for path in &paths {
            wire::tag(1, WireType::Len, out);
            wire::delimited(path.as_bytes(), out);
        }
        Ok(true)
    }
}

/// The paths of the fields that the JSON object `json` names, by proto names: within messages, but not within
/// lists, maps and types whose JSON is no object of their fields. `null` is named like any other value.
///
/// The text is one that was read: this finds its way through it, but leaves most of its checks out.
///
/// # Errors
/// Texts that are no object, and those that name too many fields.
pub fn patch_mask(plans: &Plans, message: MessageId, json: &[u8]) -> Result<Vec<String>, String> {
    let text = std::str::from_utf8(json).map_err(|_| NOT_JSON)?;
    let mut scan = Scan { plans, text, at: 0, path: String::new(), paths: Vec::new() };
    scan.members(plans.message(message), DEPTH_MAX)?;
    Ok(scan.paths)
}

struct Scan<'p, 't> {
    plans: &'p Plans,
    text: &'t str,
    at: usize,
    path: String,
    paths: Vec<String>,
}

impl<'p, 't> Scan<'p, 't> {
    /// The members of an object; how many there were.
    fn members(&mut self, message: &'p Message, depth_left: usize) -> Result<usize, String> {
        self.expect(b'{')?;
        let mut count = 0;
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(count);
        }
        loop {
            let name = self.string()?;
            self.expect(b':')?;
            count += 1;
            match message.by_name(name.as_bytes()) {
                Some((_, field)) if field.name.starts_with('[') => {
                    return Err(format!("no mask can name the extension {}: send the mask", field.name));
                }
                Some((_, field)) => {
                    let len = self.path.len();
                    if len > 0 {
                        self.path.push('.');
                    }
                    self.path.push_str(&field.name);
                    let inner = field.message().map(|id| self.plans.message(id));
                    let inner = inner.filter(|inner| {
                        field.shape == Shape::Single && inner.form == Form::Object && depth_left > 0
                    });
                    self.value(inner, depth_left)?;
                    self.path.truncate(len);
                }
                None => self.skip()?,
            }
            match self.peek() {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(count);
                }
                _ => return Err(NOT_JSON.to_owned()),
            }
        }
    }

    /// The value of the field that the path names.
    fn value(&mut self, message: Option<&'p Message>, depth_left: usize) -> Result<(), String> {
        if let Some(message) = message.filter(|_| self.peek() == b'{') {
            if self.members(message, depth_left - 1)? > 0 {
                return Ok(());
            }
        } else {
            self.skip()?;
        }
        if PATHS_MAX <= self.paths.len() {
            return Err(format!("the body names more than {PATHS_MAX} fields: send a mask, or less at once"));
        }
        self.paths.push(self.path.clone());
        Ok(())
    }

    /// Steps over a value of any kind.
    fn skip(&mut self) -> Result<(), String> {
        let mut open = 0_usize;
        loop {
            match self.peek() {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    open += 1;
                    self.at += 1;
                }
                b'}' | b']' | b',' | b':' if open > 0 => {
                    open -= usize::from(matches!(self.peek(), b'}' | b']'));
                    self.at += 1;
                }
                _ => {
                    let rest = &self.text.as_bytes()[self.at..];
                    let len = rest.iter().take_while(|byte| is_scalar(**byte)).count();
                    if len == 0 {
                        return Err(NOT_JSON.to_owned());
                    }
                    self.at += len;
                }
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    fn string(&mut self) -> Result<Cow<'t, str>, String> {
        self.expect(b'"')?;
        let begin = self.at;
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(_) => self.at += 1,
                None => return Err(NOT_JSON.to_owned()),
            }
        }
        self.at += 1;
        if escaped {
            let quoted = self.text.get(begin - 1..self.at).ok_or(NOT_JSON)?;
            return serde_json::from_str(quoted).map(Cow::Owned).map_err(|_| NOT_JSON.to_owned());
        }
        Ok(Cow::Borrowed(&self.text[begin..self.at - 1]))
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.peek() != byte {
            return Err(NOT_JSON.to_owned());
        }
        self.at += 1;
        Ok(())
    }

    /// The next byte that is not white space; 0 at the end.
    fn peek(&mut self) -> u8 {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return *byte,
                None => return 0,
            }
        }
    }
}

fn is_scalar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

const NOT_JSON: &str = "the body is not a JSON object";
/// Messages deeper than this are named as a whole, so that no path has more parts than one that is sent.
const DEPTH_MAX: usize = SEGMENTS_MAX - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcode::bind::BindOptions;
    use crate::transcode::bind::Body;
    use crate::transcode::bind::tests::decoded;
    use crate::transcode::bind::tests::schema;

    fn paths(json: &str) -> Result<Vec<String>, String> {
        let (plans, _) = schema();
        patch_mask(&plans, plans.find("t.Req").unwrap(), json.as_bytes())
    }

    #[test]
    fn names_what_the_body_names() {
        let cases: &[(&str, &[&str])] = &[
            ("{}", &[]),
            (" {\"id\" : \"a,}\\\"\" , \"pageSize\":1}\n", &["id", "page_size"]),
            (r#"{"page_size":null}"#, &["page_size"]),
            (r#"{"p\u0061geSize":1}"#, &["page_size"]),
            (r#"{"nested":{"name":"x","child":{"count":0}}}"#, &["nested.name", "nested.child.count"]),
            (r#"{"nested":{}}"#, &["nested"]),
            (r#"{"nested":null}"#, &["nested"]),
            (r#"{"nested":{"child":{ }}}"#, &["nested.child"]),
            (r#"{"items":[{"name":"x"},{"count":[1,{"a":2}]}],"attrs":{"k":"}"}}"#, &["items", "attrs"]),
            (r#"{"at":"2024-01-01T00:00:00Z","st":{"a":{"b":[1]}},"size":5}"#, &["at", "st", "size"]),
            (r#"{"unknown":{"a":[1,2,-1.5e+3,true,null,"]"]},"id":""}"#, &["id"]),
        ];
        for (json, expected) in cases {
            assert_eq!(paths(json).unwrap(), *expected, "{json}");
        }
    }

    #[test]
    fn bounds_depth_and_number() {
        let deep = format!("{{\"nested\":{}1{}}}", "{\"child\":".repeat(500), "}".repeat(500));
        let found = paths(&deep).unwrap();
        assert_eq!(found, [format!("nested{}", ".child".repeat(DEPTH_MAX))]);
        let many = format!("{{{}\"id\":1}}", "\"id\":1,".repeat(PATHS_MAX));
        assert!(paths(&many).unwrap_err().contains("1000 fields"));
    }

    #[test]
    fn never_panics_on_other_text() {
        for json in [
            "",
            "[]",
            "1",
            "{",
            "{\"id",
            "{\"id\\",
            "{\"id\":",
            "{\"id\":1",
            "{\"id\":1,",
            "{\"id\":}",
            "{\"id\":[}",
            "{\"id\":\"\\",
            "{\"\\ä\":1}",
            "{\"id\":1]",
            "{id:1}",
        ] {
            assert!(paths(json).is_err(), "{json}");
        }
        let _ = paths(&"{\"id\":[".repeat(10_000));
    }

    #[test]
    fn adds_the_mask_that_the_query_lacks() {
        let (plans, pool) = schema();
        let root = plans.find("t.Update").unwrap();
        let options = BindOptions::default();
        let binding = Binding::compile(&plans, root, &[], Body::Field("req"), &options).unwrap();
        let mut out = Vec::new();
        let json = br#"{"nested":{"name":"x"},"pageSize":null}"#;
        assert_eq!(binding.add_mask(&plans, "other=1", json, &mut out), Ok(true));
        assert_eq!(
            decoded(&pool, "t.Update", &out),
            serde_json::json!({"updateMask": "nested.name,pageSize"})
        );
        for query in ["updateMask=id", "a=1&update_mask=", "update%4dask=id"] {
            assert_eq!(binding.add_mask(&plans, query, json, &mut out), Ok(false), "{query}");
        }
        assert_eq!(binding.add_mask(&plans, "", b" null\n", &mut out), Ok(false));
        let whole = Binding::compile(&plans, root, &[], Body::All, &options).unwrap();
        assert_eq!(whole.mask_field(&plans), None);
        let mask = Binding::compile(&plans, root, &[], Body::Field("update_mask"), &options).unwrap();
        assert_eq!(mask.mask_field(&plans), None);
    }
}

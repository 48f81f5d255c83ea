//! `google.protobuf.Any`: the JSON of what it holds, with its type; what can't be told is shown as bytes.

use crate::transcode::plan::Form;
use crate::transcode::plan::MessageId;
use crate::transcode::write::UnknownAny;
use crate::transcode::write::Writer;
use crate::transcode::write::fault::Fault;
use crate::transcode::write::sets;
use crate::transcode::write::text;
use crate::transcode::write::wire::Raw;
use crate::transcode::write::wire::Wire;

/// How much of an `Any` could be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// What it holds.
    Whole,
    /// Its type and its bytes.
    Bytes,
}

impl Writer<'_, '_> {
    pub(super) fn any(&mut self, bytes: &[u8]) -> Result<Told, Fault> {
        let (mut url, mut content): (&str, &[u8]) = ("", &[]);
        let mut wire = Wire::new(bytes);
        while let Some((number, raw)) = wire.next()? {
            match (number, raw) {
                (1, Raw::Bytes(bytes)) => {
                    url = std::str::from_utf8(bytes)
                        .map_err(|_| Fault::malformed("the type of an Any is not UTF-8"))?;
                }
                (2, Raw::Bytes(bytes)) => content = bytes,
                _ => {}
            }
        }
        self.out.push(b'{');
        if url.is_empty() && content.is_empty() {
            self.out.push(b'}');
            return Ok(Told::Whole);
        }
        self.out.extend_from_slice(b"\"@type\":");
        text::string(url.as_bytes(), self.out);
        let start = self.out.len();
        let (depth_left, members) = (self.depth_left, self.members.len());
        let known = url.rsplit_once('/').and_then(|(_, name)| self.plans.find(name));
        let told = match known.map(|id| self.any_content(id, content)) {
            Some(Ok(())) => true,
            Some(Err(fault)) if self.options.unknown_any == UnknownAny::Refuse || self.is_over() => {
                // The message is well-formed, whatever the bytes in it are.
                return Err(fault.made_inexpressible());
            }
            None if self.options.unknown_any == UnknownAny::Refuse => {
                let url: String = url.chars().take(URL_SHOWN).collect();
                return Err(Fault::new(format!("an Any holds {url:?}, a type that this API doesn't have")));
            }
            _ => false,
        };
        if !told {
            // Unresolved or malformed, it must not cost the whole reply.
            self.depth_left = depth_left;
            self.members.truncate(members);
            self.out.truncate(start);
            self.out.extend_from_slice(b",\"value\":");
            text::base64(content, self.out);
        }
        self.out.push(b'}');
        Ok(if told { Told::Whole } else { Told::Bytes })
    }

    fn any_content(&mut self, id: MessageId, content: &[u8]) -> Result<(), Fault> {
        let plan = self.plans.message(id);
        if plan.form.is_special() {
            self.out.extend_from_slice(b",\"value\":");
            return self.message(id, content);
        }
        let Some(left) = self.depth_left.checked_sub(1) else { return Err(Fault::too_deep()) };
        self.depth_left = left;
        let plain;
        let content = match plan.form {
            Form::MessageSet => {
                plain = sets::plain(content)?;
                &plain
            }
            _ => content,
        };
        self.members(plan, content)?;
        self.depth_left += 1;
        Ok(())
    }
}

/// Characters of a type's URL that an error shows.
const URL_SHOWN: usize = 100;

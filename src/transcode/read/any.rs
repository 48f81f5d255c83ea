//! Reads `google.protobuf.Any`: its `@type` says what the other members are, and may come last.

use std::borrow::Cow;

use crate::transcode::bound::Bound;
use crate::transcode::plan::Form;
use crate::transcode::plan::Message;
use crate::transcode::plan::MessageId;
use crate::transcode::read::Reader;
use crate::transcode::read::cursor::Token;
use crate::transcode::read::fault::Fault;
use crate::transcode::read::fault::Read;
use crate::transcode::read::objects::TypeMember;
use crate::transcode::text::wire;

/// The member that names the type.
pub(super) const TYPE: &str = "@type";
const VALUE: &str = "value";

impl<'t> Reader<'_, 't, '_> {
    /// The content of an `Any`.
    pub(super) fn any(&mut self) -> Read<()> {
        let Some((token, url)) = self.type_ahead()? else {
            return match self.begin(b'{', "an object with \"@type\"")? {
                true => Ok(()),
                false => {
                    let what = "an Any needs the member \"@type\", as \"type.googleapis.com/pkg.Message\"";
                    Err(Fault::new(self.cursor.offset(), what))
                }
            };
        };
        let id = self.resolve(token, &url)?;
        let message = self.plans.message(id);
        self.out.push(TYPE_URL);
        wire::delimited(url.as_bytes(), self.out);
        let begin = self.out.len();
        self.out.push(CONTENT);
        let mark = self.lengths.open(self.out);
        let content = self.out.len();
        let is_plain = matches!(message.form, Form::Object | Form::MapEntry | Form::MessageSet);
        if is_plain && &*message.name != EMPTY {
            self.object(message, &Bound::empty(), TypeMember::Allowed)?;
        } else {
            self.value_member(id, message)?;
        }
        if self.out.len() == content {
            self.out.truncate(begin);
        } else {
            self.lengths.close(&mark, self.out);
        }
        Ok(())
    }

    /// The members of an Any whose content has a JSON form of its own, in `value`.
    fn value_member(&mut self, id: MessageId, message: &Message) -> Read<()> {
        // There is a member at least: `@type`.
        self.begin(b'{', "an object with \"@type\"")?;
        let (mut types, mut values) = (0, 0);
        loop {
            self.count()?;
            let key = self.cursor.key()?;
            let name = key.text()?;
            let count = match &*name {
                TYPE => &mut types,
                VALUE => &mut values,
                _ => {
                    self.unknown(message, key)?;
                    if self.cursor.next_or(b'}')? {
                        continue;
                    }
                    break;
                }
            };
            *count += 1;
            if *count > 1 {
                return Err(
                    Fault::new(key.offset, "this member is there twice: send it once").in_field(&name)
                );
            }
            if *name == *TYPE {
                self.cursor.skip(self.depth_left)?;
            } else {
                self.message(id, &Bound::empty()).map_err(|fault| fault.in_field(VALUE))?;
            }
            if !self.cursor.next_or(b'}')? {
                break;
            }
        }
        self.depth_left += 1;
        if values == 0 && &*message.name != EMPTY {
            let what = format!("{} in an Any is written in the member \"value\": add it", message.name);
            return Err(Fault::new(self.cursor.offset(), what));
        }
        Ok(())
    }

    /// The value of `@type`, looked for among all members of the object that comes next.
    fn type_ahead(&mut self) -> Read<Option<(Token<'t>, Cow<'t, str>)>> {
        let mut ahead = self.cursor;
        if !ahead.take(b'{') || ahead.take(b'}') {
            return Ok(None);
        }
        let depth_left = self.cursor.deeper(self.depth_left)?;
        loop {
            let key = ahead.key()?;
            if key.text()? == TYPE {
                let token = ahead.string("the URL of a type").map_err(|fault| fault.in_field(TYPE))?;
                return Ok(Some((token, token.text()?)));
            }
            let begin = ahead.offset();
            ahead.skip(depth_left)?;
            let Some(left) = self.ahead_left.checked_sub(ahead.offset() - begin) else {
                let what = "\"@type\" comes after too much else: put it first, in Anys within Anys above all";
                return Err(Fault::new(self.cursor.offset(), what));
            };
            self.ahead_left = left;
            if !ahead.next_or(b'}')? {
                return Ok(None);
            }
        }
    }

    fn resolve(&self, token: Token<'_>, url: &str) -> Read<MessageId> {
        let named = url.rsplit_once('/').filter(|(_, name)| !name.is_empty());
        let Some((_, name)) = named else {
            let what = "is no type URL: write \"type.googleapis.com/pkg.Message\"";
            return Err(of_type(token, url, what));
        };
        self.plans.find(name).ok_or_else(|| {
            of_type(token, url, "is a type that this API doesn't have: check the name after the last slash")
        })
    }
}

#[cold]
fn of_type(token: Token<'_>, url: &str, what: &'static str) -> Box<Fault> {
    Fault::of_value(token.offset, url, &crate::transcode::text::Problem::fixed(what)).in_field(TYPE)
}

/// A plain message, but some write it in `value` as those with a form of their own.
const EMPTY: &str = "google.protobuf.Empty";
// Tags of google/protobuf/any.proto.
const TYPE_URL: u8 = 1 << 3 | 2;
const CONTENT: u8 = 2 << 3 | 2;

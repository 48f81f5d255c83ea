//! Finds the field that a path of names means, and says why one can't be set there.

use crate::call::nearest;
use crate::transcode::bind::fault::shown;
use crate::transcode::bound::Bound;
use crate::transcode::plan::Field;
use crate::transcode::plan::Form;
use crate::transcode::plan::Message;
use crate::transcode::plan::Plans;
use crate::transcode::plan::Shape;
use crate::transcode::text;

/// One field of a path: from the request to the field that is meant, each is within the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'p> {
    pub(super) message: &'p Message,
    /// Index into the fields of `message`.
    pub(super) index: usize,
    pub(super) field: &'p Field,
}

/// Why a name sets nothing.
#[derive(Debug)]
pub(super) enum Refused<'p> {
    /// The message has no such field, which some ignore: the sentence is only made where it is told.
    Missing { message: &'p Message, name: String, naming: Naming },
    /// What is named is within a field that is no message, which some ignore too.
    Beyond(String),
    /// There is such a field, but not to be set here, which nobody may ignore.
    Known(String),
}

impl Refused<'_> {
    /// Whether there is no such field.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Beyond(_))
    }

    /// The sentence, with the nearest name where there is one.
    pub(super) fn into_sentence(self) -> String {
        match self {
            Self::Missing { message, name, naming } => unknown_field(message, &name, naming),
            Self::Beyond(what) | Self::Known(what) => what,
        }
    }

    /// The same without the search for the nearest name, which costs more than all else.
    pub(super) fn into_plain_sentence(self) -> String {
        match self {
            Self::Missing { message, name, .. } => no_such_field(message, &name),
            Self::Beyond(what) | Self::Known(what) => what,
        }
    }
}

/// Which names a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// Its proto name, as rules are written.
    Proto,
    /// Its JSON name, its proto name, or `[pkg.extension]`.
    Any,
}

/// Where names begin, and what they may reach.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'p, 'b> {
    pub(super) plans: &'p Plans,
    pub(super) root: &'p Message,
    /// What the path owns below `root`.
    pub(super) bound: &'b Bound,
    pub(super) naming: Naming,
    pub(super) depth_max: usize,
}

impl<'p, 'b> Scope<'p, 'b> {
    /// Appends to `steps` the way from the root to the field that `name` means, one that a text can be.
    pub(super) fn resolve(&self, name: &str, steps: &mut Vec<Step<'p>>) -> Result<(), Refused<'p>> {
        self.walk(name, steps)?;
        steps.last().map_or(Ok(()), |leaf| self.check_leaf(leaf.field))
    }

    /// The same for a field of any kind; what the path owns within it.
    pub(super) fn walk(
        &self,
        name: &str,
        steps: &mut Vec<Step<'p>>,
    ) -> Result<Option<&'b Bound>, Refused<'p>> {
        let mut message = self.root;
        let mut bound = Some(self.bound);
        let mut rest = name;
        for _ in 0..self.depth_max {
            let (first, after) = split(rest);
            let Some((index, field)) = self.find(message, first) else {
                return Err(Refused::Missing { message, name: first.to_owned(), naming: self.naming });
            };
            if bound.is_some_and(|bound| bound.owns(field.number)) {
                return Err(Refused::Known(
                    "is set by the path of the request: leave it out here".to_owned(),
                ));
            }
            steps.push(Step { message, index, field });
            bound = bound.and_then(|bound| bound.child(field.number));
            let Some(after) = after else { return Ok(bound) };
            message = self.enter(field, first, after)?;
            rest = after;
        }
        let what = format!("has more than {} parts: send nested messages in a body", self.depth_max);
        Err(Refused::Known(what))
    }

    fn find(&self, message: &'p Message, name: &str) -> Option<(usize, &'p Field)> {
        match self.naming {
            Naming::Any => message.by_name(name.as_bytes()),
            Naming::Proto => message.fields.iter().enumerate().find(|(_, field)| *field.name == *name),
        }
    }

    /// The message that a field holds, whose fields may be named.
    fn enter(&self, field: &Field, name: &str, after: &str) -> Result<&'p Message, Refused<'p>> {
        let Some(id) = field.message() else {
            let what = format!("unknown field {}: {name} is not a message", shown(after));
            return Err(Refused::Beyond(what));
        };
        let message = self.plans.message(id);
        let what = match (field.shape, message.form) {
            (Shape::Map { .. }, _) => {
                format!("{name} is a map, which parameters can't set: send it in a body")
            }
            (Shape::Repeated { .. }, _) => {
                format!("{name} is a list of messages, which parameters can't set: send it in a body")
            }
            (Shape::Single, Form::Object) => return Ok(message),
            _ if text::is_text(self.plans, &field.kind) => {
                format!("{name} is a {}, written as one text: give it as {name} itself", message.name)
            }
            _ => no_text(message),
        };
        Err(Refused::Known(what))
    }

    fn check_leaf(&self, field: &Field) -> Result<(), Refused<'p>> {
        if let Shape::Map { .. } = field.shape {
            return Err(Refused::Known("is a map, which parameters can't set: send it in a body".to_owned()));
        }
        if text::is_text(self.plans, &field.kind) {
            return Ok(());
        }
        let message = field.message().map(|id| self.plans.message(id));
        let what = match (message, field.shape) {
            (_, Shape::Repeated { .. }) => {
                "is a list of messages, which parameters can't set: send it in a body".to_owned()
            }
            (Some(message), _) if message.form == Form::Object => match message.fields.first() {
                Some(inner) => {
                    format!("is a message: set its fields, such as {}.{}", field.json_name, inner.json_name)
                }
                None => "is a message without fields: send it in a body".to_owned(),
            },
            (Some(message), _) => no_text(message),
            (None, _) => "has no form as a text: send it in a body".to_owned(),
        };
        Err(Refused::Known(what))
    }
}

fn no_text(message: &Message) -> String {
    format!("is a {}, which parameters can't set: send it in a body", message.name)
}

/// The first part of a path, and what comes after the dot. The dots of `[pkg.extension]` divide nothing.
fn split(path: &str) -> (&str, Option<&str>) {
    let begin = if path.starts_with('[') { path.find(']').unwrap_or(0) } else { 0 };
    match path[begin..].find('.') {
        Some(dot) => (&path[..begin + dot], Some(&path[begin + dot + 1..])),
        None => (path, None),
    }
}

/// The sentence about a field that `message` doesn't have.
#[cold]
pub(super) fn unknown_field(message: &Message, name: &str, naming: Naming) -> String {
    let names = message.fields.iter().flat_map(|field| {
        let json_name = (naming == Naming::Any).then_some(&*field.json_name);
        json_name.into_iter().chain([&*field.name])
    });
    match nearest(name, names) {
        Some(near) => format!("unknown field {}: did you mean {near:?}?", shown(name)),
        None => no_such_field(message, name),
    }
}

#[cold]
fn no_such_field(message: &Message, name: &str) -> String {
    format!("unknown field {}: {} has no such field", shown(name), message.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_dots_outside_of_brackets() {
        let cases = [
            ("a", "a", None),
            ("a.b.c", "a", Some("b.c")),
            ("[p.q.ext].b", "[p.q.ext]", Some("b")),
            ("[p.q.ext]", "[p.q.ext]", None),
            ("[p.q", "[p", Some("q")),
            ("[p]x.y", "[p]x", Some("y")),
            ("", "", None),
            (".", "", Some("")),
            ("a.", "a", Some("")),
        ];
        for (path, first, rest) in cases {
            assert_eq!(split(path), (first, rest), "{path}");
        }
    }
}

//! Why and where JSON text is refused, as it is put together on the way out.

use crate::call::nearest;
use crate::transcode::plan::Message;
use crate::transcode::read::ReadError;
use crate::transcode::text::Problem;

/// A result on the way through the text; the fault is boxed so that the good case stays small.
pub(super) type Read<T> = Result<T, Box<Fault>>;

/// A fault and the path to it, innermost step first.
#[derive(Debug)]
pub(super) struct Fault {
    what: String,
    offset: usize,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Field(String),
    Index(usize),
    Key(String),
}

impl Fault {
    #[cold]
    pub(super) fn new(offset: usize, what: impl Into<String>) -> Box<Self> {
        Box::new(Self { what: what.into(), offset, steps: Vec::new() })
    }

    /// The fault of a value, which the sentence begins with.
    #[cold]
    pub(super) fn of_value(offset: usize, value: &str, problem: &Problem) -> Box<Self> {
        Self::new(offset, format!("{:?} {problem}", cut(value)))
    }

    /// The same fault, seen from the message that has the field.
    #[cold]
    pub(super) fn in_field(mut self: Box<Self>, name: &str) -> Box<Self> {
        self.steps.push(Step::Field(name.to_owned()));
        self
    }

    /// The same fault, seen from the array that has the element.
    #[cold]
    pub(super) fn in_element(mut self: Box<Self>, index: usize) -> Box<Self> {
        self.steps.push(Step::Index(index));
        self
    }

    /// The same fault, seen from the map that has the key.
    #[cold]
    pub(super) fn in_key(mut self: Box<Self>, key: &str) -> Box<Self> {
        self.steps.push(Step::Key(cut(key)));
        self
    }

    pub(super) fn into_error(self) -> ReadError {
        let mut path = String::new();
        for step in self.steps.iter().rev() {
            match step {
                Step::Field(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
                Step::Key(key) => path.push_str(&format!("[{key:?}]")),
            }
        }
        ReadError { path, what: self.what, offset: self.offset }
    }
}

/// The sentence about a member that `message` doesn't have.
#[cold]
pub(super) fn unknown_field(message: &Message, key: &str) -> String {
    let shown = cut(key);
    let names = message.fields.iter().flat_map(|field| [&*field.json_name, &*field.name]);
    match nearest(key, names) {
        Some(name) => format!("unknown field {shown:?}: did you mean {name:?}?"),
        None => format!("unknown field {shown:?}: {} has no such field", message.name),
    }
}

/// At most the first 48 characters of what a client sent.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

const SHOWN_MAX: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_path_from_the_outside() {
        let fault = Fault::new(7, "is bad").in_field("price").in_element(3).in_field("items").in_key("a\"b");
        let error = fault.in_field("orders").into_error();
        assert_eq!(error.path, r#"orders["a\"b"].items[3].price"#);
    }

    #[test]
    fn cuts_at_characters() {
        assert_eq!(cut(&"ä".repeat(48)), "ä".repeat(48));
        assert_eq!(cut(&"ä".repeat(49)), format!("{}…", "ä".repeat(48)));
    }
}

//! JSON whose members keep the order they were set in, so that a document reads as it was written.

use std::borrow::Cow;

use serde_json::Number;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'static, str>),
    List(Vec<Self>),
    Object(Object),
}

/// A JSON object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Object(Vec<(Cow<'static, str>, Node)>);

impl Object {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// An object of a lone `type`, to be built upon.
    pub(super) fn of_type(name: &'static str) -> Self {
        Self::new().with("type", name)
    }

    /// Adds a member whose name is known to be new, as it is for members with names out of a set.
    pub(super) fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Node>) {
        self.0.push((name.into(), value.into()));
    }

    /// Sets a member; one of that name is replaced where it stands.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Node>) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value.into(),
            None => self.push(name, value),
        }
    }

    /// The same in a chain.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Node>) -> Self {
        self.set(name, value);
        self
    }

    pub(super) fn member(&self, name: &str) -> Option<&Node> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.member(name)? {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn member_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.0.iter_mut().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text, indented by two spaces a level, with a line feed at its end.
    pub(super) fn pretty(&self) -> String {
        let mut out = String::new();
        write_object(self, 0, &mut out);
        out.push('\n');
        out
    }
}

impl From<bool> for Node {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Node {
    fn from(value: u64) -> Self {
        Self::Number(value.into())
    }
}

impl From<i64> for Node {
    fn from(value: i64) -> Self {
        Self::Number(value.into())
    }
}

impl From<&'static str> for Node {
    fn from(value: &'static str) -> Self {
        Self::Text(value.into())
    }
}

impl From<String> for Node {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl From<Object> for Node {
    fn from(value: Object) -> Self {
        Self::Object(value)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Node {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl From<serde_json::Value> for Node {
    /// Recursive; the parser that made the value bounds how deep it is.
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(value) => Self::Number(value),
            serde_json::Value::String(value) => value.into(),
            serde_json::Value::Array(values) => values.into(),
            serde_json::Value::Object(members) => {
                let member = |(name, value): (String, serde_json::Value)| (name.into(), value.into());
                Self::Object(Object(members.into_iter().map(member).collect()))
            }
        }
    }
}

/// A whole number as one, so that `minimum` reads 3 and not 3.0; none for what JSON has no number for.
pub(super) fn number(value: f64) -> Option<Node> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        let text = format!("{value:.0}");
        return text.parse::<i64>().ok().map(Node::from);
    }
    Number::from_f64(value).map(Node::Number)
}

fn write_node(node: &Node, level: usize, out: &mut String) {
    match node {
        Node::Null => out.push_str("null"),
        Node::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Node::Number(value) => out.push_str(&value.to_string()),
        Node::Text(text) => write_text(text, out),
        Node::List(items) if items.is_empty() => out.push_str("[]"),
        Node::List(items) => {
            for (at, item) in items.iter().enumerate() {
                out.push(if at == 0 { '[' } else { ',' });
                indent(level + 1, out);
                write_node(item, level + 1, out);
            }
            indent(level, out);
            out.push(']');
        }
        Node::Object(object) => write_object(object, level, out),
    }
}

fn write_object(object: &Object, level: usize, out: &mut String) {
    if object.is_empty() {
        out.push_str("{}");
        return;
    }
    for (at, (name, value)) in object.0.iter().enumerate() {
        out.push(if at == 0 { '{' } else { ',' });
        indent(level + 1, out);
        write_text(name, out);
        out.push_str(": ");
        write_node(value, level + 1, out);
    }
    indent(level, out);
    out.push('}');
}

fn indent(level: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", level));
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Markup in a description stays text where a page carries the document in a script element.
            '<' | '\u{2028}' | '\u{2029}' | '\u{7f}' => escape(c, out),
            c if c < ' ' => escape(c, out),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn escape(c: char, out: &mut String) {
    out.push_str(&format!("\\u{:04x}", u32::from(c)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_json_and_keeps_its_order() {
        let mut object = Object::of_type("z").with("a", vec!["</script>", "\u{1}\t\"\\é"]);
        object.set("type", "y");
        object.push("empty".to_owned(), Object::new());
        object.push("none", Node::Null);
        object.push("list", Vec::<Node>::new());
        object.push("numbers", vec![number(3.0).unwrap(), number(-0.5).unwrap(), number(1e300).unwrap()]);
        let text = object.pretty();
        assert!(text.starts_with("{\n  \"type\": \"y\",\n  \"a\": [\n    \"\\u003c/script>\""), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "type": "y", "a": ["</script>", "\u{1}\t\"\\é"], "empty": {}, "none": null, "list": [],
            "numbers": [3, -0.5, 1e300],
        });
        assert_eq!(value, expected);
        assert_eq!(number(f64::NAN), None);
    }
}

//! Reads YAML or JSON text into a tree with lines, bounded in depth and size.

use granit_parser::Event;
use granit_parser::Parser;

/// A value and where it starts.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: u32,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    /// Text, numbers, booleans and null alike.
    Scalar(Box<str>),
    List(Vec<Node>),
    /// In the order of the text; a key may be there twice.
    Map(Vec<(Box<str>, Node)>),
}

/// Why text can't be read at all.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) line: u32,
    pub(super) problem: String,
    pub(super) help: &'static str,
}

/// The tree of one text; none for an empty one.
pub(super) fn read(text: &str) -> Result<Option<Node>, Unreadable> {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_comments: false,
        flow_nesting_limit: DEPTH_MAX + 1,
        block_nesting_limit: DEPTH_MAX + 1,
        simple_key_max_lookahead: 1024,
    };
    if TEXT_BYTES_MAX < text.len() {
        let problem = format!("a file of {} bytes, {TEXT_BYTES_MAX} is the most", text.len());
        return Err(Unreadable { line: 1, problem, help: "split it" });
    }
    let mut tree = Tree { open: Vec::new(), nodes: 0, root: None };
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| Unreadable {
            line: line(error.marker().line()),
            problem: format!("not YAML: {}", error.info()),
            help: "check indentation, colons, brackets and quotes, here and just before",
        })?;
        let at = line(span.start.line());
        tree.take(event, at).map_err(|(problem, help)| Unreadable { line: at, problem, help })?;
    }
    Ok(tree.root)
}

struct Tree {
    open: Vec<Open>,
    nodes: usize,
    root: Option<Node>,
}

/// A list or map whose end was not seen yet.
struct Open {
    line: u32,
    value: Value,
    key: Option<Box<str>>,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, line: u32) -> Result<(), (String, &'static str)> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(("a second document in one file".into(), "keep one"))
            }
            Event::Alias(_) => Err(("an alias".into(), "write the value out")),
            Event::Scalar(text, ..) => {
                if let Some(Open { key: key @ None, value: Value::Map(_), .. }) = self.open.last_mut() {
                    *key = Some(text.into());
                    return Ok(());
                }
                self.count()?;
                self.put(Node { line, value: Value::Scalar(text.into()) });
                Ok(())
            }
            Event::SequenceStart(..) => self.start(line, Value::List(Vec::new())),
            Event::MappingStart(..) => self.start(line, Value::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { line, value, .. }) = self.open.pop() {
                    self.put(Node { line, value });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, line: u32, value: Value) -> Result<(), (String, &'static str)> {
        if let Some(Open { key: None, value: Value::Map(_), .. }) = self.open.last() {
            return Err(("a list or map can't be a key".into(), "write a plain word before the colon"));
        }
        if DEPTH_MAX <= self.open.len() {
            return Err((
                format!("more than {DEPTH_MAX} levels deep"),
                "check the indentation and the brackets",
            ));
        }
        self.count()?;
        self.open.push(Open { line, value, key: None });
        Ok(())
    }

    fn put(&mut self, node: Node) {
        let Some(Open { value, key, .. }) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => entries.extend(key.take().map(|key| (key, node))),
            Value::Scalar(_) => (),
        }
    }

    fn count(&mut self) -> Result<(), (String, &'static str)> {
        self.nodes += 1;
        if NODES_MAX < self.nodes {
            return Err((format!("more than {NODES_MAX} values"), "split the file"));
        }
        Ok(())
    }
}

fn line(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

/// Trees are dropped by recursion: the depth is bounded for that, too.
const DEPTH_MAX: usize = 64;
const NODES_MAX: usize = 200_000;
const TEXT_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_make_the_same_tree() {
        for text in ["a:\n- x: '1'\n  y: two\n- []\n", r#"{"a": [{"x": "1", "y": "two"}, []]}"#] {
            let root = read(text).unwrap().unwrap();
            let Value::Map(entries) = root.value else { panic!("{text}") };
            let [(key, Node { value: Value::List(items), .. })] = &entries[..] else { panic!("{text}") };
            assert_eq!(&**key, "a");
            let [Node { value: Value::Map(first), .. }, Node { value: Value::List(second), .. }] = &items[..]
            else {
                panic!("{text}")
            };
            assert_eq!(first.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["x", "y"]);
            assert!(second.is_empty());
        }
        assert!(read("# nothing\n").unwrap().is_none());
    }

    #[test]
    fn hostile_text_is_refused() {
        let deep = "[".repeat(100_000);
        let block: String = (0..100).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        let long = format!("[{}]", "1,".repeat(NODES_MAX + 1));
        let bomb = "a: &a [1,2]\nb: [*a,*a]\n";
        for text in
            [&*deep, &*block, &*long, bomb, "a: 1\n---\nb: 1\n", "? [a]\n: 1\n", "a: [", "%YAML 1.2\n---\na"]
        {
            let error = read(text).unwrap_err();
            assert!(!error.problem.is_empty() && !error.help.is_empty());
        }
    }
}

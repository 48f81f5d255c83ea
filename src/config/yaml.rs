//! Reads YAML text into a located tree, bounded in depth, values and keys.

use std::collections::HashMap;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use granit_parser::ErrorKind;
use granit_parser::Event;
use granit_parser::Marker;
use granit_parser::Parser;
use granit_parser::ScalarStyle;
use granit_parser::ScanError;

use crate::config::fault::Diag;
use crate::config::raw::Entry;
use crate::config::raw::Part;
use crate::config::raw::Place;
use crate::config::raw::Raw;
use crate::config::raw::Scalar;
use crate::config::raw::Step;
use crate::config::raw::Value;
use crate::config::raw::clip;
use crate::config::scalar;

/// The tree of one file, an empty map that nobody wrote where it has nothing; `None` where it can't be
/// read at all. Faults go to `diag` either way.
pub(super) fn read(text: &str, file: &Path, diag: &mut Diag) -> Option<Raw> {
    read_with(text, file, Lines::Counted, diag)
}

/// The tree of one resource, whose places have no lines.
pub(super) fn read_resource(text: &str, file: &Path, diag: &mut Diag) -> Option<Raw> {
    read_with(text, file, Lines::None, diag)
}

fn read_with(text: &str, file: &Path, lines: Lines, diag: &mut Diag) -> Option<Raw> {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_comments: false,
        flow_nesting_limit: DEPTH_MAX + 1,
        block_nesting_limit: DEPTH_MAX + 1,
        simple_key_max_lookahead: 1024,
    };
    let mut tree = Tree {
        file: file.into(),
        lines,
        open: Vec::new(),
        anchors: HashMap::new(),
        values: 0,
        copied: 0,
        root: None,
    };
    for next in Parser::new_from_str_with_options(text, options) {
        let step = match next {
            Ok((event, span)) => tree.take(event, span.start, diag),
            Err(error) => Err(unreadable(&error)),
        };
        if let Err(stop) = step {
            let place = tree.place(None, stop.mark);
            diag.fault(&place.at(), stop.problem, stop.help);
            return None;
        }
    }
    let start = Place { written: false, ..tree.place(None, Marker::new(0, 1, 0)) };
    Some(tree.root.unwrap_or(Raw { value: Value::Map(Vec::new()), place: start }))
}

/// A fault after which nothing more can be read.
struct Stop {
    mark: Marker,
    problem: String,
    help: String,
}

struct Tree {
    file: Arc<Path>,
    lines: Lines,
    open: Vec<Open>,
    anchors: HashMap<usize, Raw>,
    values: usize,
    /// Bytes of texts that anchors and aliases copied.
    copied: usize,
    root: Option<Raw>,
}

/// Whether places have lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    Counted,
    None,
}

/// A list or map whose end was not seen yet.
struct Open {
    place: Place,
    anchor: usize,
    node: Node,
}

enum Node {
    List(Vec<Raw>),
    /// `seen` and `entries` differ where a key is written twice.
    Map {
        entries: Vec<Entry>,
        seen: HashSet<Arc<str>>,
        key: Option<(Arc<str>, Place, Fate)>,
    },
}

/// What becomes of the value after a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Keep,
    Drop,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, mark: Marker, diag: &mut Diag) -> Result<(), Stop> {
        let tag = event.tag().map(ToString::to_string);
        if let Some(tag) = tag {
            return stop(
                mark,
                format!("the tag `{}` means nothing here", clip(&tag)),
                "leave it out; quotes make a text",
            );
        }
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                stop(mark, "a second document in one file", "write one file a configuration")
            }
            Event::Scalar(text, style, anchor, _) => {
                if self.wants_key() {
                    return self.key(&text, mark, diag);
                }
                let scalar = Scalar { text: text.into(), source: None, quoted: style != ScalarStyle::Plain };
                let value = Value::Scalar(scalar);
                self.value(value, mark, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.open(Node::List(Vec::new()), mark, anchor),
            Event::MappingStart(_, anchor, _) => {
                let node = Node::Map { entries: Vec::new(), seen: HashSet::new(), key: None };
                self.open(node, mark, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let value = match open.node {
                        Node::List(items) => Value::List(items),
                        Node::Map { entries, .. } => Value::Map(entries),
                    };
                    return self.put(Raw { value, place: open.place }, open.anchor, mark);
                }
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, mark),
            _ => Ok(()),
        }
    }

    fn open(&mut self, node: Node, mark: Marker, anchor: usize) -> Result<(), Stop> {
        if self.wants_key() {
            return stop(mark, "a list or map can't be a key", "write a plain word before the colon");
        }
        if DEPTH_MAX <= self.open.len() {
            return stop(mark, too_deep(), "no setting is that deep; check the indentation");
        }
        self.count(1, mark)?;
        let place = self.place(self.next_step(), mark);
        self.open.push(Open { place, anchor, node });
        Ok(())
    }

    fn key(&mut self, text: &str, mark: Marker, diag: &mut Diag) -> Result<(), Stop> {
        if KEY_BYTES_MAX < text.len() {
            return stop(
                mark,
                format!("a key of {} bytes", text.len()),
                format!("a key has at most {KEY_BYTES_MAX} bytes"),
            );
        }
        let name: Arc<str> = text.into();
        let parent = self.open.last().and_then(|open| open.place.step.clone());
        let step = Arc::new(Step { parent, part: Part::Key(Arc::clone(&name)) });
        let place = self.place(Some(step), mark);
        let Some(Open { node: Node::Map { seen, key, .. }, .. }) = self.open.last_mut() else {
            return Ok(());
        };
        let fate = if seen.insert(Arc::clone(&name)) { Fate::Keep } else { Fate::Drop };
        if fate == Fate::Drop {
            diag.fault(&place.at(), "this key is here twice", "keep one of them");
        }
        *key = Some((name, place, fate));
        Ok(())
    }

    fn value(&mut self, value: Value, mark: Marker, anchor: usize) -> Result<(), Stop> {
        self.count(1, mark)?;
        let place = self.place(self.next_step(), mark);
        self.put(Raw { value, place }, anchor, mark)
    }

    fn alias(&mut self, anchor: usize, mark: Marker) -> Result<(), Stop> {
        if self.wants_key() {
            return stop(mark, "an alias can't be a key", "write the key out");
        }
        let Some(size) = self.anchors.get(&anchor).map(measure) else {
            return stop(mark, "an alias inside its own anchor", "write the value out");
        };
        self.count_copy(&size, mark)?;
        if DEPTH_MAX < self.open.len() + size.depth {
            return stop(mark, too_deep(), "write the value out");
        }
        // The copy keeps the lines of its anchor, where the value can be read, under its own path.
        match self.anchors.get(&anchor).cloned() {
            Some(found) => self.put(moved(found, self.next_step()), 0, mark),
            None => Ok(()),
        }
    }

    fn put(&mut self, raw: Raw, anchor: usize, mark: Marker) -> Result<(), Stop> {
        if anchor != 0 {
            self.count_copy(&measure(&raw), mark)?;
            self.anchors.insert(anchor, raw.clone());
        }
        match self.open.last_mut().map(|open| &mut open.node) {
            None => self.root = Some(raw),
            Some(Node::List(items)) => items.push(raw),
            Some(Node::Map { entries, key, .. }) => {
                if let Some((name, place, Fate::Keep)) = key.take() {
                    entries.push(Entry { name, place, value: raw });
                }
            }
        }
        Ok(())
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { node: Node::Map { key: None, .. }, .. }))
    }

    /// The path of the value that comes next.
    fn next_step(&self) -> Option<Arc<Step>> {
        let open = self.open.last()?;
        match &open.node {
            Node::List(items) => {
                Some(Arc::new(Step { parent: open.place.step.clone(), part: Part::Index(items.len()) }))
            }
            Node::Map { key, .. } => key.as_ref().and_then(|(_, place, _)| place.step.clone()),
        }
    }

    fn place(&self, step: Option<Arc<Step>>, mark: Marker) -> Place {
        let line = match self.lines {
            Lines::Counted => u32::try_from(mark.line()).unwrap_or(u32::MAX),
            Lines::None => 0,
        };
        let column = u32::try_from(mark.col() + 1).unwrap_or(u32::MAX);
        Place { file: Arc::clone(&self.file), step, line, column, written: true }
    }

    fn count_copy(&mut self, size: &Size, mark: Marker) -> Result<(), Stop> {
        self.count(size.nodes, mark)?;
        self.copied += size.bytes;
        if self.copied <= COPIED_BYTES_MAX {
            return Ok(());
        }
        stop(
            mark,
            format!("anchors and aliases copy more than {}", scalar::size_text(COPIED_BYTES_MAX as u64)),
            "write long values once",
        )
    }

    fn count(&mut self, nodes: usize, mark: Marker) -> Result<(), Stop> {
        self.values += nodes;
        if self.values <= VALUES_MAX {
            return Ok(());
        }
        stop(
            mark,
            format!("more than {VALUES_MAX} values, what anchors and aliases copy counted"),
            "split the configuration",
        )
    }
}

/// A fault of the YAML itself.
fn unreadable(error: &ScanError) -> Stop {
    let tabs = "indent with spaces";
    let (problem, help) = match error.kind() {
        ErrorKind::RecursionLimitExceeded => (too_deep(), "no setting is that deep; check the brackets"),
        ErrorKind::UnknownAnchor => {
            ("an alias without its anchor".into(), "write `&name` before the value it stands for")
        }
        ErrorKind::DirectiveDisallowed => ("YAML directives mean nothing here".into(), "leave the line out"),
        ErrorKind::TabNotAllowed => (error.info(), tabs),
        ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation => (error.info(), tabs),
        _ => (
            format!("not YAML: {}", error.info()),
            "check indentation, colons, brackets and quotes, here and just before",
        ),
    };
    Stop { mark: *error.marker(), problem, help: help.into() }
}

fn too_deep() -> String {
    format!("more than {DEPTH_MAX} levels deep")
}

fn stop(mark: Marker, problem: impl Into<String>, help: impl Into<String>) -> Result<(), Stop> {
    Err(Stop { mark, problem: problem.into(), help: help.into() })
}

/// What a copy of a tree would take.
struct Size {
    nodes: usize,
    depth: usize,
    /// Of its texts.
    bytes: usize,
}

fn measure(raw: &Raw) -> Size {
    let add = |size: Size, child: &Raw| {
        let more = measure(child);
        Size {
            nodes: size.nodes + more.nodes,
            depth: size.depth.max(more.depth + 1),
            bytes: size.bytes + more.bytes,
        }
    };
    let of = |depth: usize, bytes: usize| Size { nodes: 1, depth, bytes };
    match &raw.value {
        Value::List(items) => items.iter().fold(of(1, 0), add),
        Value::Map(entries) => entries.iter().map(Entry::value).fold(of(1, 0), add),
        Value::Scalar(scalar) => of(0, scalar.text.len()),
        Value::Faulty => of(0, 0),
    }
}

/// The same tree under another path.
fn moved(mut raw: Raw, step: Option<Arc<Step>>) -> Raw {
    let below = |part: Part| Some(Arc::new(Step { parent: step.clone(), part }));
    raw.value = match raw.value {
        Value::List(items) => {
            let items = items.into_iter().enumerate();
            Value::List(items.map(|(index, item)| moved(item, below(Part::Index(index)))).collect())
        }
        Value::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|mut entry| {
                    let step = below(Part::Key(Arc::clone(&entry.name)));
                    entry.place.step.clone_from(&step);
                    entry.value = moved(entry.value, step);
                    entry
                })
                .collect(),
        ),
        other => other,
    };
    raw.place.step = step;
    raw
}

/// Levels of lists and maps.
const DEPTH_MAX: usize = 64;
/// Values of one file, those that aliases copy counted again.
const VALUES_MAX: usize = 200_000;
/// Texts that anchors and aliases copy: one long text named a thousand times must not fill the memory.
const COPIED_BYTES_MAX: usize = 16 << 20;
const KEY_BYTES_MAX: usize = 512;

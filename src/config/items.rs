//! What a configuration was made of: each item as it was written, where it is from, and what refers to it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::config::json;
use crate::config::raw::Part;
use crate::config::raw::Place;
use crate::config::raw::Raw;
use crate::config::raw::Step;
use crate::config::resource::Kind;
use crate::config::types::Config;

/// Where an item is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The configuration file.
    File,
    /// Elsewhere: a resource that was given beside it.
    Store,
}

/// A name that somewhere refers to an item.
pub(super) struct Reference {
    pub(super) to: Kind,
    pub(super) name: String,
    pub(super) from: Place,
}

/// The items of the lists that resources can add to.
#[derive(Clone, Default)]
pub(super) struct Items {
    all: Arc<BTreeMap<Kind, BTreeMap<String, Item>>>,
}

struct Item {
    origin: Origin,
    text: Arc<str>,
    users: Vec<String>,
}

/// Hides the texts, which may have secrets.
impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} items", self.all.values().map(BTreeMap::len).sum::<usize>())
    }
}

/// Gathers items before anything is known of them.
#[derive(Default)]
pub(super) struct Gathered {
    all: BTreeMap<Kind, BTreeMap<String, Item>>,
}

impl Gathered {
    /// Those of the file.
    pub(super) fn of_file(root: &Raw) -> Self {
        let mut gathered = Self::default();
        for kind in Kind::ALL {
            for item in root.get(kind.list_name()).map(Raw::items).unwrap_or_default() {
                if let Some(name) = item.get("name").and_then(Raw::text) {
                    gathered.add(kind, name, Origin::File, json::text(item, &["name"]).into());
                }
            }
        }
        gathered
    }

    pub(super) fn add(&mut self, kind: Kind, name: &str, origin: Origin, text: Arc<str>) {
        let item = Item { origin, text, users: Vec::new() };
        self.all.entry(kind).or_default().insert(name.to_owned(), item);
    }

    pub(super) fn has(&self, kind: Kind, name: &str) -> bool {
        self.all.get(&kind).is_some_and(|items| items.contains_key(name))
    }

    /// All of them, once it is known what refers to what in the tree of `root`.
    pub(super) fn used(mut self, references: &[Reference], root: &Raw) -> Items {
        for Reference { to, name, from } in references {
            let item = self.all.get_mut(to).and_then(|items| items.get_mut(name));
            let (Some(item), Some(user)) = (item, user(from, root)) else { continue };
            // One refers to another many times in a row, if at all: its references come together.
            if item.users.last() != Some(&user) {
                item.users.push(user);
            }
        }
        Items { all: Arc::new(self.all) }
    }
}

impl Items {
    fn get(&self, kind: Kind, name: &str) -> Option<&Item> {
        self.all.get(&kind)?.get(name)
    }
}

impl Config {
    /// Where an item is written; `None` where there is none.
    pub fn origin(&self, kind: Kind, name: &str) -> Option<Origin> {
        self.items.get(kind, name).map(|item| item.origin)
    }

    /// An item as it was written, as JSON: without its name and without defaults, and with `${...}` as itself.
    pub fn written(&self, kind: Kind, name: &str) -> Option<Arc<str>> {
        self.items.get(kind, name).map(|item| Arc::clone(&item.text))
    }

    /// What refers to an item, such as `API "pets"` or `listener "secure"`.
    pub fn users(&self, kind: Kind, name: &str) -> Vec<String> {
        self.items.get(kind, name).map(|item| item.users.clone()).unwrap_or_default()
    }

    /// The names of a kind, sorted.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.items.all.get(&kind).into_iter().flat_map(|items| items.keys().map(String::as_str))
    }
}

/// Who says what is written there.
fn user(place: &Place, root: &Raw) -> Option<String> {
    if let Some((kind, name)) = place.resource() {
        return Some(said(kind.list_name(), name));
    }
    let mut first: (Option<&Arc<Step>>, Option<&Arc<Step>>) = (None, None);
    let mut next = place.step.as_ref();
    while let Some(step) = next {
        first = (Some(step), first.0);
        next = step.parent.as_ref();
    }
    let (Part::Key(section), second) = (&first.0?.part, first.1) else { return None };
    let index = match second.map(|step| &step.part) {
        Some(Part::Index(index)) => *index,
        _ => return Some(format!("`{section}`")),
    };
    let name = root.get(section)?.items().get(index)?.get("name")?.text()?;
    Some(said(section, name))
}

fn said(list: &str, name: &str) -> String {
    match Kind::named(list) {
        Some(Kind::Api) => format!("API {name:?}"),
        Some(kind) => format!("{} {name:?}", kind.one()),
        None => format!("{} {name:?}", list.trim_end_matches('s')),
    }
}

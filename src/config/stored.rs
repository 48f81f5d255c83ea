//! Adds resources to the lists of a file's tree, before names are gathered and anything is checked.

use std::collections::HashSet;

use crate::config::fault::Diag;
use crate::config::items::Gathered;
use crate::config::items::Origin;
use crate::config::raw::Entry;
use crate::config::raw::Place;
use crate::config::raw::Raw;
use crate::config::raw::Scalar;
use crate::config::raw::Value;
use crate::config::resource;
use crate::config::resource::Kind;
use crate::config::resource::Resource;

/// Those that the file has too are left out, since the file's win, and come back.
pub(super) fn add(
    root: &mut Raw,
    resources: &[Resource],
    gathered: &mut Gathered,
    diag: &mut Diag,
) -> Vec<(Kind, String)> {
    let in_file: HashSet<(Kind, &str)> = resources
        .iter()
        .map(|resource| (resource.kind, resource.name.as_str()))
        .filter(|(kind, name)| gathered.has(*kind, name))
        .collect();
    let mut shadowed = Vec::new();
    for Resource { kind, name, text } in resources {
        if in_file.contains(&(*kind, name.as_str())) {
            shadowed.push((*kind, name.clone()));
            continue;
        }
        let Some(mut item) = resource::read(*kind, name, text, diag) else { continue };
        let Value::Map(entries) = &mut item.value else { continue };
        entries.insert(0, named(name, &item.place));
        gathered.add(*kind, name, Origin::Store, text.clone());
        append(root, *kind, item);
    }
    shadowed
}

fn named(name: &str, around: &Place) -> Entry {
    let place = around.below_key("name");
    let scalar = Scalar { text: name.into(), source: None, quoted: true };
    Entry { name: "name".into(), place: place.clone(), value: Raw { value: Value::Scalar(scalar), place } }
}

fn append(root: &mut Raw, kind: Kind, item: Raw) {
    let around = root.place.clone();
    let Value::Map(entries) = &mut root.value else { return };
    let at = entries.iter().position(|entry| entry.name() == kind.list_name()).unwrap_or_else(|| {
        // Nobody wrote the list: what is said of it belongs to its first item.
        let value = Raw { value: Value::List(Vec::new()), place: around.below_key(kind.list_name()) };
        entries.push(Entry { name: kind.list_name().into(), place: item.place.clone(), value });
        entries.len() - 1
    });
    if let Value::List(items) = &mut entries[at].value.value {
        items.push(item);
    }
}

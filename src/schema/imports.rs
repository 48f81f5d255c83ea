//! Orders files so that each comes after what it imports, and says which files each one sees.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use crate::schema::Fault;
use crate::schema::Limits;
use crate::schema::draft::Draft;
use crate::schema::scan::file;

/// How files import each other. Files are named by their index in the drafts.
pub(super) struct Imports {
    /// Imported files first.
    pub(super) order: Vec<usize>,
    /// For each file: itself, its imports, and what those import publicly, however far.
    pub(super) visible: Vec<HashSet<usize>>,
}

impl Imports {
    /// Refuses cycles, repeated imports and more imports than `limits` allow. All imports must be among
    /// the drafts.
    pub(super) fn of(drafts: &[Draft], limits: &Limits) -> Result<Self, Vec<Fault>> {
        let by_name: HashMap<&str, usize> = (0..).zip(drafts).map(|(at, draft)| (&*draft.name, at)).collect();
        let mut faults = Vec::new();
        let mut direct = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let mut imports = Vec::with_capacity(draft.proto.dependency.len());
            for (at, import) in (0..).zip(&draft.proto.dependency) {
                let Some(file) = by_name.get(import.as_str()).copied() else { continue };
                if imports.contains(&file) {
                    let problem = format!("it imports \"{import}\" twice");
                    faults.push(draft.fault(&[path::DEPENDENCY, at], problem, "remove one of the two"));
                }
                imports.push(file);
            }
            check_indices(draft, &mut faults);
            direct.push(imports);
            if limits.faults_max < faults.len() {
                break;
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let order = order(drafts, &direct).map_err(|fault| vec![fault])?;
        let visible = visible(drafts, &direct, &order, limits).map_err(|fault| vec![fault])?;
        Ok(Self { order, visible })
    }
}

/// Public and weak imports are numbers that point into the list of imports.
fn check_indices(draft: &Draft, faults: &mut Vec<Fault>) {
    let count = draft.proto.dependency.len();
    let mut numbers = draft.proto.public_dependency.iter().chain(&draft.proto.weak_dependency);
    if numbers.any(|number| usize::try_from(*number).map_or(true, |number| count <= number)) {
        let problem = "one of its public or weak imports does not exist";
        faults.push(Fault::new(&*draft.name, problem, "write the set anew with protoc or buf build"));
    }
}

/// Depth first, without recursion: chains of imports may be as long as there are files.
fn order(drafts: &[Draft], direct: &[Vec<usize>]) -> Result<Vec<usize>, Fault> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut states = vec![State::New; drafts.len()];
    let mut order = Vec::with_capacity(drafts.len());
    let mut open: Vec<(usize, usize)> = Vec::new(); // a file, and how many of its imports are done
    for start in 0..drafts.len() {
        if states[start] == State::New {
            states[start] = State::Open;
            open.push((start, 0));
        }
        while let Some((file, done)) = open.last_mut() {
            let Some(import) = direct[*file].get(*done).copied() else {
                states[*file] = State::Done;
                order.push(*file);
                open.pop();
                continue;
            };
            *done += 1;
            match states[import] {
                State::Done => (),
                State::New => {
                    states[import] = State::Open;
                    open.push((import, 0));
                }
                State::Open => return Err(cycle(drafts, &open, import)),
            }
        }
    }
    Ok(order)
}

fn cycle(drafts: &[Draft], open: &[(usize, usize)], import: usize) -> Fault {
    let from = open.iter().position(|(file, _)| *file == import).unwrap_or_default();
    let mut names: Vec<&str> = open[from..].iter().map(|(file, _)| &*drafts[*file].name).collect();
    if CYCLE_FILES_MAX < names.len() {
        names.splice(CYCLE_FILES_MAX / 2..names.len() - CYCLE_FILES_MAX / 2, ["..."]);
    }
    names.push(&drafts[import].name);
    let problem = format!("its imports lead back to it: {}", names.join(" -> "));
    let at = open[from].1.checked_sub(1).and_then(|at| i32::try_from(at).ok()).unwrap_or_default();
    drafts[import].fault(&[path::DEPENDENCY, at], problem, "move what both need into a file of its own")
}

fn visible(
    drafts: &[Draft],
    direct: &[Vec<usize>],
    order: &[usize],
    limits: &Limits,
) -> Result<Vec<HashSet<usize>>, Fault> {
    // What an importer of each file sees through it.
    let mut public: Vec<Vec<usize>> = vec![Vec::new(); drafts.len()];
    let mut visible = vec![HashSet::new(); drafts.len()];
    let mut work = 0;
    for &file in order {
        let mut seen = HashSet::from([file]);
        let mut passed_on = HashSet::new();
        for (at, &import) in (0..).zip(&direct[file]) {
            work += 1 + public[import].len();
            if limits.imports_max < work {
                let problem = format!("there are more than {} imports up to this file", limits.imports_max);
                return Err(Fault::new(&*drafts[file].name, problem, "use fewer public imports"));
            }
            let through = std::iter::once(import).chain(public[import].iter().copied());
            if drafts[file].proto.public_dependency.contains(&at) {
                passed_on.extend(through.clone());
            }
            seen.extend(through);
        }
        public[file] = passed_on.into_iter().collect();
        visible[file] = seen;
    }
    Ok(visible)
}

/// Import names of a file as they were declared.
pub(super) fn declared(draft: &Draft) -> Vec<Arc<str>> {
    draft.proto.dependency.iter().map(|name| name.as_str().into()).collect()
}

/// Field numbers as they stand in a descriptor path.
mod path {
    pub(super) const DEPENDENCY: i32 = 3;
}

/// The wire fields that hold imports.
pub(super) const FIELDS: [u64; 3] = [file::DEPENDENCY, file::PUBLIC_DEPENDENCY, file::WEAK_DEPENDENCY];
/// Files listed of one cycle.
const CYCLE_FILES_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(name: &str, imports: &[&str]) -> Draft {
        let imports: String = imports.iter().map(|import| format!("import {import};\n")).collect();
        let text = format!("syntax = \"proto3\";\n{imports}");
        Draft::from_text(name, text.into(), &Limits::default()).ok().unwrap()
    }

    fn refusal(drafts: &[Draft], limits: &Limits) -> String {
        Imports::of(drafts, limits).err().unwrap()[0].to_string()
    }

    #[test]
    fn public_imports_are_seen_however_far() {
        let drafts = [
            draft("x", &["\"a\""]),
            draft("a", &["public \"b\"", "\"e\""]),
            draft("b", &["public \"c\""]),
            draft("c", &["public \"d\""]),
            draft("d", &[]),
            draft("e", &[]),
        ];
        let imports = Imports::of(&drafts, &Limits::default()).ok().unwrap();
        assert_eq!(imports.visible[0], HashSet::from([0, 1, 2, 3, 4]));
        let place = |file| imports.order.iter().position(|at| *at == file).unwrap();
        assert!(place(4) < place(3) && place(3) < place(2) && place(1) < place(0));
    }

    #[test]
    fn a_cycle_is_named() {
        let drafts = [
            draft("x", &["\"a\""]),
            draft("a", &["\"b\""]),
            draft("b", &["\"c\"", "\"a\""]),
            draft("c", &[]),
        ];
        let found = refusal(&drafts, &Limits::default());
        assert!(found.starts_with("a:2: its imports lead back to it: a -> b -> a"), "{found}");
        let drafts = [draft("a", &["\"a\""])];
        assert!(refusal(&drafts, &Limits::default()).contains("a -> a"));
    }

    #[test]
    fn long_chains_and_wide_webs_are_bounded() {
        let chain: Vec<Draft> =
            (0..3_000).map(|at| draft(&format!("f{at}"), &[format!("\"f{}\"", at + 1).as_str()])).collect();
        assert_eq!(Imports::of(&chain, &Limits::default()).ok().unwrap().order.len(), 3_000);
        // Each file imports all earlier ones publicly: a naive walk would double with each file.
        let web: Vec<Draft> = (0..60)
            .map(|at| {
                let imports: Vec<String> = (0..at).map(|other| format!("public \"f{other}\"")).collect();
                draft(&format!("f{at}"), &imports.iter().map(String::as_str).collect::<Vec<_>>())
            })
            .collect();
        assert!(Imports::of(&web, &Limits::default()).is_ok());
        let limits = Limits { imports_max: 1_000, ..Limits::default() };
        assert!(refusal(&web, &limits).contains("more than 1000 imports"));
    }

    #[test]
    fn an_import_listed_twice_is_refused_at_its_line() {
        let drafts = [draft("a", &["\"b\"", "\"b\""]), draft("b", &[])];
        assert!(refusal(&drafts, &Limits::default()).starts_with("a:3: it imports \"b\" twice"));
    }
}

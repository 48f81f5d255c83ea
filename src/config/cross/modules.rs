//! Checks between modules: imports in a circle, packages that two reserve.

use std::collections::HashMap;

use crate::config::cross::listed;
use crate::config::fault::Diag;
use crate::config::raw::Raw;
use crate::config::raw::clip;

pub(super) fn check(root: &Raw, diag: &mut Diag) {
    cycles(root, diag);
    reserved_twice(root, diag);
}

/// What one is imported from must be there before it: in a circle nothing is first.
fn cycles(root: &Raw, diag: &mut Diag) {
    let named = listed(root, "modules").filter_map(|module| Some((module.get("name")?.text()?, module)));
    let modules: Vec<(&str, &Raw)> = named.collect();
    let by_name: HashMap<&str, usize> =
        modules.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect();
    let mut states = vec![State::New; modules.len()];
    for from in 0..modules.len() {
        // Of its own, not of the thread's stack: a file may chain as many modules as it has lines.
        let mut way: Vec<(usize, std::slice::Iter<'_, Raw>)> = Vec::new();
        enter(from, &modules, &mut states, &mut way);
        while let Some((at, deps)) = way.last_mut() {
            let Some(dep) = deps.next() else {
                states[*at] = State::Done;
                way.pop();
                continue;
            };
            let Some(&next) = dep.text().and_then(|name| by_name.get(name)) else { continue };
            if states[next] == State::OnTheWay {
                circle(dep, next, &way, &modules, diag);
            } else {
                enter(next, &modules, &mut states, &mut way);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    OnTheWay,
    Done,
}

fn enter<'a>(
    at: usize,
    modules: &[(&str, &'a Raw)],
    states: &mut [State],
    way: &mut Vec<(usize, std::slice::Iter<'a, Raw>)>,
) {
    if states[at] == State::New {
        states[at] = State::OnTheWay;
        way.push((at, listed(modules[at].1, "deps")));
    }
}

fn circle(
    dep: &Raw,
    back: usize,
    way: &[(usize, std::slice::Iter<'_, Raw>)],
    modules: &[(&str, &Raw)],
    diag: &mut Diag,
) {
    if diag.is_full() {
        return diag.count();
    }
    let start = way.iter().position(|(at, _)| *at == back).unwrap_or_default();
    let around = &way[start..];
    let name = |at: usize| format!("`{}`", clip(modules[at].0));
    let all = if around.len() < SHOWN_MAX {
        let names = around.iter().map(|(at, _)| name(*at)).chain([name(back)]);
        names.collect::<Vec<_>>().join(" imports ")
    } else {
        format!("{} imports itself by way of {} others", name(back), around.len() - 1)
    };
    let problem = if around.len() == 1 {
        "this module imports itself".to_owned()
    } else {
        format!("modules import each other in a circle: {all}")
    };
    diag.fault(&dep.at(), problem, "move what both need into a module of its own");
}

/// A package is reserved for one module.
fn reserved_twice(root: &Raw, diag: &mut Diag) {
    let mut first: HashMap<&str, (usize, &Raw)> = HashMap::new();
    for (index, module) in listed(root, "modules").enumerate() {
        for package in listed(module, "packages") {
            let Some(name) = package.text() else { continue };
            let (owner, other) = *first.entry(name).or_insert((index, package));
            if owner != index {
                let help = format!("the other one is {}; keep one of them", other.place.whereabouts());
                diag.fault(
                    &package.at(),
                    format!("two modules reserve the package {}", package.shown()),
                    help,
                );
            }
        }
    }
}

const SHOWN_MAX: usize = 8;

//! Gives every rule its place: the OpenAPI path of its template, and a verb that no other rule has there.

use std::collections::HashMap;
use std::fmt::Write;

use crate::openapi::Bare;
use crate::openapi::Options;
use crate::schema::Rpc;
use crate::schema::http::BodyRule;
use crate::schema::http::Rule;
use crate::schema::http::Segment;
use crate::schema::http::Template;
use crate::schema::http::Variable;
use crate::schema::http::Verb;

/// One path of the document.
#[derive(Debug)]
pub(super) struct Path {
    /// With its parameters in braces.
    pub(super) text: String,
    /// Names of its parameters, from left to right.
    pub(super) names: Vec<String>,
    /// By verb, in the order of the methods and rules.
    pub(super) routes: Vec<(&'static str, Route)>,
}

/// What is called at one path and verb.
#[derive(Debug)]
pub(super) enum Route {
    /// A rule of a method, by their indices.
    Rule { method: usize, rule: usize },
    /// The method itself, at `POST /pkg.Service/Method`.
    Bare { method: usize },
}

impl Route {
    pub(super) fn method(&self) -> usize {
        match self {
            Self::Rule { method, .. } | Self::Bare { method } => *method,
        }
    }

    fn order(&self) -> (usize, usize) {
        match self {
            Self::Rule { method, rule } => (*method, *rule),
            Self::Bare { method } => (*method, usize::MAX),
        }
    }
}

/// One parameter of a path: what one wildcard of the template matches.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    /// What it would be called if it were alone.
    pub(super) name: String,
    /// The variable that it is part of; none for a wildcard that no field takes.
    pub(super) variable: Option<&'a Variable>,
    /// Whether it is `**`.
    pub(super) is_rest: bool,
}

/// Where everything is told.
#[derive(Debug)]
pub(super) struct Places {
    /// In the order of the methods and rules.
    pub(super) paths: Vec<Path>,
    /// The rules of each method that have no place: another has it, or their verb is none of OpenAPI's.
    pub(super) untold: Vec<Vec<usize>>,
}

/// The path of every rule that can be told, and of every method that has none.
pub(super) fn assign(methods: &[(&Rpc, &[Rule])], options: &Options<'_>) -> Places {
    let mut table = Table::default();
    let mut untold: Vec<Vec<usize>> = vec![Vec::new(); methods.len()];
    // What routing prefers is placed first: no `**` before `**`, one verb before all verbs.
    for rank in 0..4 {
        for (method, (_, rules)) in methods.iter().enumerate() {
            for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| self::rank(rule) == rank) {
                let verbs = verbs(rule);
                let key = key(&rule.template, options.prefix);
                if !table.place(&key, rule, verbs, Route::Rule { method, rule: at }, options) {
                    untold[method].push(at);
                }
            }
        }
    }
    for (method, (rpc, rules)) in methods.iter().enumerate() {
        if untold[method].len() == rules.len() && options.bare != Bare::Absent {
            table.add(&rpc.method.path, "post", Route::Bare { method }, || {
                (rpc.method.path.to_string(), Vec::new())
            });
        }
    }
    let mut paths = table.paths;
    for path in &mut paths {
        path.routes.sort_by_key(|(_, route)| route.order());
    }
    paths.sort_by_key(|path| path.routes.first().map(|(_, route)| route.order()));
    untold.iter_mut().for_each(|rules| rules.sort_unstable());
    Places { paths, untold }
}

/// The parameters of a template, from left to right.
pub(super) fn slots(template: &Template) -> Vec<Slot<'_>> {
    let mut slots = Vec::new();
    for (at, segment) in template.segments.iter().enumerate() {
        if matches!(segment, Segment::Literal(_)) {
            continue;
        }
        let variable = template.variables.iter().find(|variable| variable.segments.contains(&at));
        let is_rest = *segment == Segment::StarStar;
        let before = at.checked_sub(1).and_then(|before| template.segments.get(before));
        let name = match (variable, before) {
            (Some(variable), _) if is_rest || variable.segments.len() == 1 => variable.name(),
            (_, Some(Segment::Literal(text))) => singular(text),
            (Some(variable), _) => variable.name(),
            (None, _) => "segment".to_owned(),
        };
        slots.push(Slot { name, variable, is_rest });
    }
    slots
}

#[derive(Default)]
struct Table {
    paths: Vec<Path>,
    /// By path with the names of parameters left out: OpenAPI holds paths that differ in these for one.
    by_key: HashMap<String, usize>,
}

impl Table {
    fn place(
        &mut self,
        key: &str,
        rule: &Rule,
        verbs: &[&'static str],
        route: Route,
        options: &Options<'_>,
    ) -> bool {
        let is_free = |verb: &&&'static str| match self.by_key.get(key) {
            Some(at) => self.paths[*at].routes.iter().all(|(taken, _)| taken != *verb),
            None => true,
        };
        let Some(verb) = verbs.iter().find(is_free) else { return false };
        self.add(key, verb, route, || {
            let names = names(&rule.template);
            (text(&rule.template, options.prefix, &names), names)
        });
        true
    }

    /// Adds a route where its verb is free.
    fn add(
        &mut self,
        key: &str,
        verb: &'static str,
        route: Route,
        path: impl FnOnce() -> (String, Vec<String>),
    ) {
        let at = *self.by_key.entry(key.to_owned()).or_insert_with(|| {
            let (text, names) = path();
            self.paths.push(Path { text, names, routes: Vec::new() });
            self.paths.len() - 1
        });
        let routes = &mut self.paths[at].routes;
        if routes.iter().all(|(taken, _)| *taken != verb) {
            routes.push((verb, route));
        }
    }
}

fn rank(rule: &Rule) -> usize {
    let rest = usize::from(rule.template.star_star().is_some());
    rest + 2 * usize::from(rule.verb == Verb::Any)
}

/// The verbs that a rule may be told at, the best first; none where OpenAPI has no word for it.
fn verbs(rule: &Rule) -> &'static [&'static str] {
    match &rule.verb {
        Verb::Get => &["get"],
        Verb::Put => &["put"],
        Verb::Post => &["post"],
        Verb::Delete => &["delete"],
        Verb::Patch => &["patch"],
        Verb::Any if rule.body == BodyRule::None => &["get", "post", "put", "patch", "delete"],
        Verb::Any => &["post", "put", "patch", "get", "delete"],
        Verb::Custom(kind) => match &**kind {
            "HEAD" => &["head"],
            "OPTIONS" => &["options"],
            "TRACE" => &["trace"],
            _ => &[],
        },
    }
}

fn key(template: &Template, prefix: &str) -> String {
    let names = vec![String::new(); template.segments.len()];
    text(template, prefix, &names)
}

fn text(template: &Template, prefix: &str, names: &[String]) -> String {
    let mut text = prefix.trim_end_matches('/').to_owned();
    let mut names = names.iter();
    for segment in &template.segments {
        text.push('/');
        match segment {
            Segment::Literal(literal) => encode(literal, &mut text),
            Segment::Star | Segment::StarStar => {
                text.push('{');
                text.push_str(names.next().map(String::as_str).unwrap_or_default());
                text.push('}');
            }
        }
    }
    if template.segments.is_empty() {
        text.push('/');
    }
    if let Some(verb) = &template.verb {
        text.push(':');
        encode(verb, &mut text);
    }
    text
}

/// The names of a template's parameters, each once.
fn names(template: &Template) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for slot in slots(template) {
        let mut name = slot.name.clone();
        let mut count = 1;
        while names.contains(&name) {
            count += 1;
            name = format!("{}_{count}", slot.name);
        }
        names.push(name);
    }
    names
}

/// Percent-encodes what may not stand in a path.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes all text");
        }
    }
}

/// One of what a literal such as `shelves` names: an English guess, and any name would do.
fn singular(plural: &str) -> String {
    const ENDINGS: &[(&str, &str)] = &[
        ("ies", "y"),
        ("lves", "lf"),
        ("sses", "ss"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("xes", "x"),
        ("ss", "ss"),
        ("us", "us"),
        ("s", ""),
    ];
    let found = ENDINGS.iter().find_map(|(ending, one)| Some((plural.strip_suffix(ending)?, one)));
    let singular = found.map_or_else(|| plural.to_owned(), |(stem, one)| format!("{stem}{one}"));
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if singular.is_empty() || !singular.chars().all(is_word) { "segment".to_owned() } else { singular }
}

#[cfg(test)]
mod tests {
    use crate::schema::http::Grammar;

    use super::*;

    fn path(template: &str) -> String {
        let template = Template::parse(template, Grammar::default()).unwrap();
        text(&template, "/api/", &names(&template))
    }

    #[test]
    fn wildcards_become_parameters() {
        assert_eq!(path("/v1/{name=shelves/*/books/*}:read"), "/api/v1/shelves/{shelf}/books/{book}:read");
        assert_eq!(path("/v1/pets/{pet.id}"), "/api/v1/pets/{pet.id}");
        assert_eq!(path("/v1/{id}/x/{name=a/*/a/*}"), "/api/v1/{id}/x/a/{a}/a/{a_2}");
        assert_eq!(path("/v1/{name=files/**}"), "/api/v1/files/{name}");
        assert_eq!(path("/v1/{name=buckets/*/**}"), "/api/v1/buckets/{bucket}/{name}");
        assert_eq!(path("/*/x%20y/**"), "/api/{segment}/x%20y/{segment_2}");
    }

    #[test]
    fn the_names_of_parameters_are_singular() {
        let words = ["shelves", "addresses", "cities", "boxes", "buses", "pet", "status", "s", "a{b"];
        let singles = ["shelf", "address", "city", "box", "buse", "pet", "status", "segment", "segment"];
        assert_eq!(words.map(singular), singles);
    }
}

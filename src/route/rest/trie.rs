//! A tree over path segments, of one host.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use crate::route::rest::Mount;
use crate::route::rest::path;
use crate::route::rest::path::Path;
use crate::schema::http::Rule;
use crate::schema::http::Segment;
use crate::schema::http::Verb;
use crate::schema::http::percent::Slash;

#[derive(Debug)]
pub(super) struct Trie<T> {
    /// The first is the root.
    nodes: Vec<Node>,
    routes: Vec<Route<T>>,
    /// Numbers of the verbs of templates, from 1.
    verbs: HashMap<Box<str>, usize>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, usize>,
    star: Option<usize>,
    star_star: Option<usize>,
    /// For a node behind `**`: bit `n` says that some template ends `n` segments farther.
    tails: u64,
    /// What ends here, by verb, ascending.
    ends: Vec<(usize, Methods)>,
}

/// Routes of one shape by HTTP method, ascending, so that [`Verb::Any`] is last.
#[derive(Debug, Default)]
pub(super) struct Methods {
    by_verb: Vec<(Verb, usize)>,
}

/// What is published at one method and shape.
#[derive(Debug)]
pub(super) struct Route<T> {
    pub(super) target: T,
    captures: Box<[Capture]>,
    /// Of the template and its prefix.
    segments: usize,
    /// Where `**` is among them.
    star_star: Option<usize>,
}

#[derive(Debug)]
struct Capture {
    segments: Range<usize>,
    slash: Slash,
}

/// What a walk came to.
pub(super) struct End {
    /// Whether any template fits.
    pub(super) fits: bool,
    /// The route that was taken.
    pub(super) route: Option<usize>,
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], routes: Vec::new(), verbs: HashMap::new() }
    }
}

impl<T> Trie<T> {
    pub(super) fn publish(&mut self, mount: &Mount, rule: &Rule, target: T) -> Result<(), &T> {
        let prefix = mount.prefix.segments();
        let segments: Vec<&Segment> = prefix.iter().chain(&rule.template.segments).collect();
        let star_star = segments.iter().position(|segment| **segment == Segment::StarStar);
        let verb = match &rule.template.verb {
            Some(verb) => {
                let next = self.verbs.len() + 1;
                *self.verbs.entry(verb.clone()).or_insert(next)
            }
            None => NO_VERB,
        };
        let mut node = 0;
        for (at, segment) in segments.iter().enumerate() {
            node = self.child(node, segment);
            if Some(at) == star_star {
                // A template has at most 64 segments, so there are at most 63 behind one of them.
                self.nodes[node].tails |= 1 << (segments.len() - at - 1).min(63);
            }
        }
        let route = self.routes.len();
        if let Err(there) = self.nodes[node].methods_mut(verb).insert(&rule.verb, route) {
            return Err(&self.routes[there].target);
        }
        let shift = |range: &Range<usize>| range.start + prefix.len()..range.end + prefix.len();
        let captures = rule.template.variables.iter().map(|variable| Capture {
            segments: shift(&variable.segments),
            slash: if variable.multi { mount.expansion.into() } else { Slash::Decode },
        });
        let captures = captures.collect();
        self.routes.push(Route { target, captures, segments: segments.len(), star_star });
        Ok(())
    }

    pub(super) fn route(&self, at: usize) -> &Route<T> {
        &self.routes[at]
    }

    /// The number of the path's verb, if a template here has it.
    pub(super) fn verb(&self, path: &Path<'_>) -> Option<usize> {
        if self.verbs.is_empty() {
            return None;
        }
        self.verbs.get(&*path.verb()?).copied()
    }

    /// Goes through the templates of this verb that fit `path`, the most specific first, until `pick` takes a
    /// route.
    ///
    /// The work is bounded by the table, not by the path: each node is reached in one way, or behind `**` in
    /// one way for each length of its tail, and no deeper than templates are long.
    pub(super) fn walk<'t, P>(&'t self, path: &Path<'_>, verb: usize, pick: P) -> End
    where
        P: FnMut(&'t Methods, &'t [Route<T>]) -> Option<usize>,
    {
        let mut walk = Walk { trie: self, path, verb, pick, fits: false };
        let route = walk.node(0, 0);
        End { fits: walk.fits, route }
    }

    fn child(&mut self, node: usize, segment: &Segment) -> usize {
        let next = self.nodes.len();
        let node = &mut self.nodes[node];
        let child = match segment {
            Segment::Literal(text) => *node.literals.entry(text.clone()).or_insert(next),
            Segment::Star => *node.star.get_or_insert(next),
            Segment::StarStar => *node.star_star.get_or_insert(next),
        };
        if child == next {
            self.nodes.push(Node::default());
        }
        child
    }
}

struct Walk<'t, 'w, T, P> {
    trie: &'t Trie<T>,
    path: &'w Path<'w>,
    verb: usize,
    pick: P,
    fits: bool,
}

impl<'t, T, P> Walk<'t, '_, T, P>
where
    P: FnMut(&'t Methods, &'t [Route<T>]) -> Option<usize>,
{
    /// What lies below a node, when the segments before `at` have led to it.
    fn node(&mut self, node: usize, at: usize) -> Option<usize> {
        let node = &self.trie.nodes[node];
        let found = if at == self.path.len() { self.end(node) } else { self.step(node, at) };
        if found.is_some() {
            return found;
        }
        let behind = &self.trie.nodes[node.star_star?];
        let mut tails = behind.tails;
        // The longest tail first: `**` takes a segment only if nothing more specific does.
        while tails != 0 {
            let tail = tails.ilog2();
            tails &= !(1 << tail);
            let Some(from) = self.path.len().checked_sub(tail as usize).filter(|from| at <= *from) else {
                continue;
            };
            let found = if tail == 0 { self.end(behind) } else { self.step(behind, from) };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn step(&mut self, node: &'t Node, at: usize) -> Option<usize> {
        let segment = self.path.segment(at);
        if segment.is_empty() {
            return None;
        }
        if let Some(child) = node.literals.get(segment)
            && let Some(found) = self.node(*child, at + 1)
        {
            return Some(found);
        }
        self.node(node.star?, at + 1)
    }

    fn end(&mut self, node: &'t Node) -> Option<usize> {
        let at = node.ends.binary_search_by_key(&self.verb, |(verb, _)| *verb).ok()?;
        self.fits = true;
        (self.pick)(&node.ends[at].1, &self.trie.routes)
    }
}

impl Node {
    fn methods_mut(&mut self, verb: usize) -> &mut Methods {
        let at = match self.ends.binary_search_by_key(&verb, |(verb, _)| *verb) {
            Ok(at) => at,
            Err(at) => {
                self.ends.insert(at, (verb, Methods::default()));
                at
            }
        };
        &mut self.ends[at].1
    }
}

impl Methods {
    /// The route of an HTTP method; of GET for HEAD; of all methods.
    pub(super) fn pick(&self, method: &http::Method) -> Option<usize> {
        let exact =
            |name: &str| self.by_verb.iter().find(|(verb, _)| verb.as_str() == name).map(|(_, route)| *route);
        exact(method.as_str())
            .or_else(|| if method == http::Method::HEAD { exact("GET") } else { None })
            .or_else(|| exact(Verb::Any.as_str()))
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = usize> {
        self.by_verb.iter().map(|(_, route)| *route)
    }

    pub(super) fn verbs(&self) -> impl Iterator<Item = &str> {
        self.by_verb.iter().map(|(verb, _)| verb.as_str())
    }

    /// Fails with the route that is there already.
    fn insert(&mut self, verb: &Verb, route: usize) -> Result<(), usize> {
        match self.by_verb.binary_search_by(|(there, _)| there.cmp(verb)) {
            Ok(at) => Err(self.by_verb[at].1),
            Err(at) => {
                self.by_verb.insert(at, (verb.clone(), route));
                Ok(())
            }
        }
    }
}

impl<T> Route<T> {
    /// The values of the variables, for a path that was led here.
    pub(super) fn captures<'p>(&self, path: &Path<'p>) -> Vec<Cow<'p, str>> {
        let place = |boundary: usize| match self.star_star {
            Some(star_star) if star_star < boundary => path.len() - (self.segments - boundary),
            _ => boundary,
        };
        let value = |capture: &Capture| {
            path::decode(path.raw(place(capture.segments.start)..place(capture.segments.end)), capture.slash)
        };
        self.captures.iter().map(value).collect()
    }
}

/// The number of no verb.
pub(super) const NO_VERB: usize = 0;

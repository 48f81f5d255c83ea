//! A tree over path segments, of one host.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::route::map::Map;
use crate::route::rest::Mount;
use crate::route::rest::path;
use crate::route::rest::path::Path;
use crate::schema::http::Rule;
use crate::schema::http::Segment;
use crate::schema::http::Verb;
use crate::schema::http::percent::Slash;

/// A copy shares with the other all that neither of them changes.
#[derive(Debug, Clone)]
pub(super) struct Trie<T> {
    root: Arc<Node<T>>,
    /// The verbs of templates.
    verbs: Map<Named>,
    /// The number that the last new verb got.
    last_verb: usize,
}

/// A verb of templates.
#[derive(Debug, Clone, Copy)]
struct Named {
    /// From 1.
    number: usize,
    /// How many routes have it.
    routes: usize,
}

#[derive(Debug, Clone)]
struct Node<T> {
    literals: Map<Arc<Self>>,
    star: Option<Arc<Self>>,
    star_star: Option<Arc<Self>>,
    /// For a node behind `**`: bit `n` says that some template ends `n` segments farther.
    tails: u64,
    /// How many templates each of these bits speaks for.
    tail_uses: Option<Box<[u32; u64::BITS as usize]>>,
    /// What ends here, by verb, ascending.
    ends: Vec<(usize, Methods<T>)>,
}

/// Routes of one shape by HTTP method, ascending, so that [`Verb::Any`] is last.
#[derive(Debug, Clone)]
pub(super) struct Methods<T> {
    by_verb: Vec<(Verb, Arc<Route<T>>)>,
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
pub(super) struct End<'t, T> {
    /// Whether any template fits.
    pub(super) fits: bool,
    /// The route that was taken.
    pub(super) route: Option<&'t Route<T>>,
}

/// The segments of a rule behind its prefix, and where `**` is among them.
struct Way<'r> {
    segments: Vec<&'r Segment>,
    star_star: Option<usize>,
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self { root: Arc::default(), verbs: Map::default(), last_verb: NO_VERB }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            literals: Map::default(),
            star: None,
            star_star: None,
            tails: 0,
            tail_uses: None,
            ends: Vec::new(),
        }
    }
}

impl<T> Default for Methods<T> {
    fn default() -> Self {
        Self { by_verb: Vec::new() }
    }
}

impl<T: Clone> Trie<T> {
    pub(super) fn publish(&mut self, mount: &Mount, rule: &Rule, target: T) -> Result<(), &T> {
        let way = Way::of(mount, rule);
        if self.standing(&way, rule).is_none() {
            self.insert(&way, mount, rule, target);
            return Ok(());
        }
        self.standing(&way, rule).map_or(Ok(()), |there| Err(&there.target))
    }

    /// Takes away the route of a rule. Whether there was one.
    pub(super) fn unpublish(&mut self, mount: &Mount, rule: &Rule) -> bool {
        let way = Way::of(mount, rule);
        if self.standing(&way, rule).is_none() {
            return false;
        }
        let verb = self.number(rule);
        Arc::make_mut(&mut self.root).remove(&way, 0, verb, &rule.verb);
        if let Some(verb) = &rule.template.verb
            && let Some(named) = self.verbs.get_mut(verb)
        {
            named.routes -= 1;
            if named.routes == 0 {
                self.verbs.remove(verb);
            }
        }
        true
    }

    fn insert(&mut self, way: &Way<'_>, mount: &Mount, rule: &Rule, target: T) {
        if let Some(verb) = &rule.template.verb {
            let next = self.last_verb + 1;
            let named = self.verbs.entry(verb, || Named { number: next, routes: 0 });
            named.routes += 1;
            self.last_verb = self.last_verb.max(named.number);
        }
        let verb = self.number(rule);
        let mut node = Arc::make_mut(&mut self.root);
        for (at, segment) in way.segments.iter().enumerate() {
            node = Arc::make_mut(node.child_mut(segment));
            if Some(at) == way.star_star {
                node.count_tail(way.tail(at));
            }
        }
        let shift = mount.prefix.segments().len();
        let captures = rule.template.variables.iter().map(|variable| Capture {
            segments: variable.segments.start + shift..variable.segments.end + shift,
            slash: if variable.multi { mount.expansion.into() } else { Slash::Decode },
        });
        let route = Route {
            target,
            captures: captures.collect(),
            segments: way.segments.len(),
            star_star: way.star_star,
        };
        node.methods_mut(verb).insert(&rule.verb, route);
    }
}

impl<T> Trie<T> {
    /// Whether nothing is published in it.
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    /// The number of the path's verb, if a template here has it.
    pub(super) fn verb(&self, path: &Path<'_>) -> Option<usize> {
        if self.verbs.is_empty() {
            return None;
        }
        self.verbs.get(&path.verb()?).map(|named| named.number)
    }

    /// Goes through the templates of this verb that fit `path`, the most specific first, until `pick` takes a
    /// route.
    ///
    /// The work is bounded by the table, not by the path: each node is reached in one way, or behind `**` in
    /// one way for each length of its tail, and no deeper than templates are long.
    pub(super) fn walk<'t, P>(&'t self, path: &Path<'_>, verb: usize, pick: P) -> End<'t, T>
    where
        P: FnMut(&'t Methods<T>) -> Option<&'t Route<T>>,
    {
        let mut walk = Walk { path, verb, pick, fits: false };
        let route = walk.node(&self.root, 0);
        End { fits: walk.fits, route }
    }

    /// The number of a rule's verb; that of no verb also where no template has it.
    fn number(&self, rule: &Rule) -> usize {
        let verb = rule.template.verb.as_ref();
        verb.and_then(|verb| self.verbs.get(verb)).map_or(NO_VERB, |named| named.number)
    }

    /// The route of the same shape and HTTP method as a rule.
    fn standing(&self, way: &Way<'_>, rule: &Rule) -> Option<&Route<T>> {
        let verb = match &rule.template.verb {
            Some(verb) => self.verbs.get(verb)?.number,
            None => NO_VERB,
        };
        let mut node = &self.root;
        for segment in &way.segments {
            node = match segment {
                Segment::Literal(text) => node.literals.get(text)?,
                Segment::Star => node.star.as_ref()?,
                Segment::StarStar => node.star_star.as_ref()?,
            };
        }
        node.methods(verb)?.exact(&rule.verb)
    }
}

impl<'r> Way<'r> {
    fn of(mount: &'r Mount, rule: &'r Rule) -> Self {
        let segments: Vec<&Segment> = mount.prefix.segments().iter().chain(&rule.template.segments).collect();
        let star_star = segments.iter().position(|segment| **segment == Segment::StarStar);
        Self { segments, star_star }
    }

    /// How many segments are behind one of them. A template has at most 64 segments, so at most 63.
    fn tail(&self, at: usize) -> usize {
        (self.segments.len() - at - 1).min(63)
    }
}

struct Walk<'w, P> {
    path: &'w Path<'w>,
    verb: usize,
    pick: P,
    fits: bool,
}

impl<P> Walk<'_, P> {
    /// What lies below a node, when the segments before `at` have led to it.
    fn node<'t, T>(&mut self, node: &'t Node<T>, at: usize) -> Option<&'t Route<T>>
    where
        P: FnMut(&'t Methods<T>) -> Option<&'t Route<T>>,
    {
        let found = if at == self.path.len() { self.end(node) } else { self.step(node, at) };
        if found.is_some() {
            return found;
        }
        let behind = node.star_star.as_ref()?;
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

    fn step<'t, T>(&mut self, node: &'t Node<T>, at: usize) -> Option<&'t Route<T>>
    where
        P: FnMut(&'t Methods<T>) -> Option<&'t Route<T>>,
    {
        let segment = self.path.segment(at);
        if segment.is_empty() {
            return None;
        }
        if let Some(child) = node.literals.get(segment)
            && let Some(found) = self.node(child, at + 1)
        {
            return Some(found);
        }
        self.node(node.star.as_ref()?, at + 1)
    }

    fn end<'t, T>(&mut self, node: &'t Node<T>) -> Option<&'t Route<T>>
    where
        P: FnMut(&'t Methods<T>) -> Option<&'t Route<T>>,
    {
        let methods = node.methods(self.verb)?;
        self.fits = true;
        (self.pick)(methods)
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.star.is_none() && self.star_star.is_none() && self.ends.is_empty()
    }

    fn methods(&self, verb: usize) -> Option<&Methods<T>> {
        let at = self.ends.binary_search_by_key(&verb, |(verb, _)| *verb).ok()?;
        Some(&self.ends[at].1)
    }

    fn methods_mut(&mut self, verb: usize) -> &mut Methods<T> {
        let at = match self.ends.binary_search_by_key(&verb, |(verb, _)| *verb) {
            Ok(at) => at,
            Err(at) => {
                self.ends.insert(at, (verb, Methods::default()));
                at
            }
        };
        &mut self.ends[at].1
    }

    fn count_tail(&mut self, tail: usize) {
        self.tail_uses.get_or_insert_with(|| Box::new([0; _]))[tail] += 1;
        self.tails |= 1 << tail;
    }

    fn uncount_tail(&mut self, tail: usize) {
        let Some(uses) = &mut self.tail_uses else { return };
        uses[tail] -= 1;
        if uses[tail] == 0 {
            self.tails &= !(1 << tail);
        }
    }
}

impl<T: Clone> Node<T> {
    fn child_mut(&mut self, segment: &Segment) -> &mut Arc<Self> {
        match segment {
            Segment::Literal(text) => self.literals.entry(text, Arc::default),
            Segment::Star => self.star.get_or_insert_default(),
            Segment::StarStar => self.star_star.get_or_insert_default(),
        }
    }

    /// Takes away a route that stands `at` segments into its way, and all that led to it alone.
    fn remove(&mut self, way: &Way<'_>, at: usize, verb: usize, method: &Verb) {
        let Some(segment) = way.segments.get(at) else {
            let methods = self.methods_mut(verb);
            methods.by_verb.retain(|(there, _)| there != method);
            if methods.by_verb.is_empty() {
                self.ends.retain(|(there, _)| *there != verb);
            }
            return;
        };
        let child = match segment {
            Segment::Literal(text) => self.literals.get_mut(text),
            Segment::Star => self.star.as_mut(),
            Segment::StarStar => self.star_star.as_mut(),
        };
        let Some(child) = child.map(Arc::make_mut) else { return };
        child.remove(way, at + 1, verb, method);
        if Some(at) == way.star_star {
            child.uncount_tail(way.tail(at));
        }
        if child.is_empty() {
            match segment {
                Segment::Literal(text) => self.literals.remove(text),
                Segment::Star => self.star.take(),
                Segment::StarStar => self.star_star.take(),
            };
        }
    }
}

impl<T> Methods<T> {
    /// The route of an HTTP method; of GET for HEAD; of all methods.
    pub(super) fn pick(&self, method: &http::Method) -> Option<&Route<T>> {
        let exact = |name: &str| {
            self.by_verb.iter().find(|(verb, _)| verb.as_str() == name).map(|(_, route)| &**route)
        };
        exact(method.as_str())
            .or_else(|| if method == http::Method::HEAD { exact("GET") } else { None })
            .or_else(|| exact(Verb::Any.as_str()))
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = &Route<T>> {
        self.by_verb.iter().map(|(_, route)| &**route)
    }

    pub(super) fn verbs(&self) -> impl Iterator<Item = &str> {
        self.by_verb.iter().map(|(verb, _)| verb.as_str())
    }

    fn exact(&self, verb: &Verb) -> Option<&Route<T>> {
        let at = self.by_verb.binary_search_by(|(there, _)| there.cmp(verb)).ok()?;
        Some(&self.by_verb[at].1)
    }

    fn insert(&mut self, verb: &Verb, route: Route<T>) {
        let at = self.by_verb.partition_point(|(there, _)| there < verb);
        self.by_verb.insert(at, (verb.clone(), Arc::new(route)));
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

//! Finds the method that a REST request asks for, by host, HTTP method and raw path.
//!
//! Paths are split while they are still percent-encoded and decoded once, segment by segment, so nothing that
//! is encoded ever splits or joins segments. No segment is ever resolved or dropped: `..` and `.` as they are,
//! bad escapes, `%00` and bytes that are not UTF-8 make a [`Found::BadRequest`]; `%2E%2E`, `;`, `\` and empty
//! segments are data, the last for `**` only.
//!
//! Of several templates that fit a path, the first in the order of [`Rank`] is taken, and for one rank a literal
//! before `*` before `**`, from left to right; at equal shapes the exact HTTP method before `*`. A template
//! whose HTTP method doesn't fit is passed over. Whatever the order of publishing, the result is the same.

mod hosts;
mod path;
mod trie;

use std::borrow::Cow;
use std::fmt;

use crate::route::Rank;
use crate::route::rest::hosts::Hosts;
use crate::route::rest::path::Path;
use crate::route::rest::trie::Methods;
use crate::route::rest::trie::Route;
use crate::schema::http::Prefix;
use crate::schema::http::Rule;
use crate::schema::http::percent::Malformed;
use crate::schema::http::percent::Slash;

/// REST routes by host, path and HTTP method. A copy shares with the other all that neither of them changes.
#[derive(Debug, Clone)]
pub struct RestTable<T> {
    hosts: Hosts<T>,
}

/// What holds for all rules of an API.
#[derive(Debug, Clone, Default)]
pub struct Mount {
    /// In front of each template.
    pub prefix: Prefix,
    /// How multi-segment captures are decoded.
    pub expansion: Expansion,
}

/// What becomes of `%2F` in a variable that is made for several segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expansion {
    /// It stays, so that it can be told from a real slash.
    #[default]
    KeepSlash,
    /// It becomes `/`: `fully_decode_reserved_expansion`.
    DecodeAll,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'t, 'p, T> {
    /// A route.
    Match {
        /// What was published there.
        target: &'t T,
        /// The decoded value of each variable of the rule's template, in its order.
        captures: Vec<Cow<'p, str>>,
    },
    /// No template fits the path.
    NotFound,
    /// Templates fit the path, but none of them this HTTP method.
    MethodNotAllowed {
        /// The HTTP methods that rules name there, sorted.
        allow: Vec<&'t str>,
    },
    /// The path is malformed.
    BadRequest(BadPath),
}

/// Why a path can't be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPath {
    /// It doesn't start with a slash.
    NoSlash,
    /// What it stands for is no text.
    Malformed(Malformed),
    /// A segment `.` or `..`.
    DotSegment,
    /// More than [`SEGMENTS_MAX`].
    TooManySegments,
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlash => f.write_str("the path doesn't start with /"),
            Self::Malformed(why) => write!(f, "the path has {why}"),
            Self::DotSegment => f.write_str(
                "the path has a segment that is . or ..: resolve it first, or write its dots as %2E if they are data",
            ),
            Self::TooManySegments => write!(f, "the path has more than {SEGMENTS_MAX} segments: shorten it"),
        }
    }
}

impl<T> Default for RestTable<T> {
    fn default() -> Self {
        Self { hosts: Hosts::default() }
    }
}

impl<T: Clone> RestTable<T> {
    /// Publishes `target` where `rule` says.
    ///
    /// # Errors
    /// What already stands there if rank, HTTP method and shape are the same; nothing is changed then, so
    /// whoever lets the first rule win goes on.
    pub fn publish(&mut self, rank: Rank, mount: &Mount, rule: &Rule, target: T) -> Result<(), &T> {
        self.hosts.trie_mut(&rank).publish(mount, rule, target)
    }

    /// Takes away what was published where `rule` says. Whether anything was.
    pub fn unpublish(&mut self, rank: &Rank, mount: &Mount, rule: &Rule) -> bool {
        self.hosts.cut(rank, |trie| trie.unpublish(mount, rule))
    }
}

impl<T> RestTable<T> {
    /// What `method` on `path` asks for on `host`. The path has no query and isn't decoded yet. HEAD is
    /// answered by GET routes where no rule names it.
    pub fn find<'t, 'p>(&'t self, host: &str, method: &http::Method, path: &'p str) -> Found<'t, 'p, T> {
        match self.walk(host, path, |methods| methods.pick(method)) {
            Ok(Some((route, path))) => {
                Found::Match { target: &route.target, captures: route.captures(&path) }
            }
            Ok(None) => match self.allowed(host, path) {
                allow if allow.is_empty() => Found::NotFound,
                allow => Found::MethodNotAllowed { allow },
            },
            Err(why) => Found::BadRequest(why),
        }
    }

    /// The first route whose path fits, whatever its HTTP method, of those that `wanted` takes: what a
    /// WebSocket handshake asks for.
    pub fn find_any_method<'t, 'p>(
        &'t self,
        host: &str,
        path: &'p str,
        wanted: impl Fn(&T) -> bool,
    ) -> Found<'t, 'p, T> {
        let pick = |methods: &'t Methods<T>| methods.routes().find(|route| wanted(&route.target));
        match self.walk(host, path, pick) {
            Ok(Some((route, path))) => {
                Found::Match { target: &route.target, captures: route.captures(&path) }
            }
            Ok(None) => Found::NotFound,
            Err(why) => Found::BadRequest(why),
        }
    }

    /// The HTTP methods that rules name at `path` on `host`, sorted; `*` is among them if a rule takes every
    /// method. What HTTP adds to them by itself (HEAD to GET, OPTIONS) is for the caller to say. Empty if no
    /// template fits.
    pub fn allowed<'t>(&'t self, host: &str, path: &str) -> Vec<&'t str> {
        let mut verbs = Vec::new();
        // Refusing each route walks through all of them.
        let gather = |methods: &'t Methods<T>| {
            verbs.extend(methods.verbs());
            None
        };
        let _nothing = self.walk(host, path, gather);
        verbs.sort_unstable();
        verbs.dedup();
        verbs
    }

    /// The first route that `pick` takes. Templates with a verb come first; where one of them fits the path,
    /// whatever its HTTP method, the verb is none of the data.
    fn walk<'t, 'p>(
        &'t self,
        host: &str,
        path: &'p str,
        mut pick: impl FnMut(&'t Methods<T>) -> Option<&'t Route<T>>,
    ) -> Result<Option<(&'t Route<T>, Path<'p>)>, BadPath> {
        let host = hosts::folded(host);
        let mut whole = None;
        let mut is_verb = false;
        for trie in self.hosts.of(&host) {
            let path = match &whole {
                Some(whole) => whole,
                None => whole.insert(Path::read(path)?),
            };
            if let Some((verb, before)) = trie.verb(path).zip(path.before_verb()) {
                let end = trie.walk(&before, verb, &mut pick);
                is_verb |= end.fits;
                if let Some(route) = end.route {
                    return Ok(Some((route, before)));
                }
            }
            if is_verb {
                continue;
            }
            if let Some(route) = trie.walk(path, trie::NO_VERB, &mut pick).route {
                return Ok(Some((route, path.clone())));
            }
        }
        Ok(None)
    }
}

/// Segments of a path. Templates have fewer; only what `**` takes can be as long.
pub const SEGMENTS_MAX: usize = 256;

impl From<Expansion> for Slash {
    fn from(expansion: Expansion) -> Self {
        match expansion {
            Expansion::KeepSlash => Self::Keep,
            Expansion::DecodeAll => Self::Decode,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::host::HostPattern;
    use crate::route::Owner;
    use crate::schema::http::BodyRule;
    use crate::schema::http::Grammar;
    use crate::schema::http::Segment;
    use crate::schema::http::Template;
    use crate::schema::http::Verb;

    fn rule(verb: &str, template: &str) -> Rule {
        let grammar = Grammar { allow_mid_double_star: true, allow_root: true };
        Rule {
            verb: Verb::parse(verb).unwrap(),
            template: Template::parse(template, grammar).unwrap(),
            body: BodyRule::None,
            response_body: None,
            at: "test".into(),
        }
    }

    fn rank(owner: Owner, host: &str) -> Rank {
        Rank { owner, host: HostPattern::parse(host).unwrap() }
    }

    fn table(rules: &[(&str, &'static str)]) -> RestTable<&'static str> {
        let mut table = RestTable::default();
        for (verb, template) in rules {
            let published =
                table.publish(rank(Owner::Team, "*"), &Mount::default(), &rule(verb, template), *template);
            assert!(published.is_ok(), "{template}");
        }
        table
    }

    fn method(name: &str) -> http::Method {
        http::Method::from_bytes(name.as_bytes()).unwrap()
    }

    /// The target and its captures with `|` between them, or what else was found.
    fn show(found: &Found<'_, '_, &'static str>) -> String {
        match found {
            Found::Match { target, captures } if captures.is_empty() => (*target).to_string(),
            Found::Match { target, captures } => format!("{target} {}", captures.join("|")),
            Found::NotFound => "404".into(),
            Found::MethodNotAllowed { allow } => format!("405 {}", allow.join(",")),
            Found::BadRequest(why) => format!("400 {why}"),
        }
    }

    fn find(table: &RestTable<&'static str>, verb: &str, path: &str) -> String {
        show(&table.find("any.host", &method(verb), path))
    }

    #[test]
    fn head_is_answered_by_get_unless_a_rule_names_it() {
        let table = table(&[
            ("GET", "/a"),
            ("*", "/a"),
            ("HEAD", "/b"),
            ("GET", "/b"),
            ("POST", "/c"),
            ("*", "/{d}/x"),
        ]);
        let head = |path| match table.find("", &http::Method::HEAD, path) {
            Found::Match { target, .. } => (*target).to_owned(),
            other => show(&other),
        };
        assert_eq!(head("/a"), "/a");
        assert_eq!(head("/b"), "/b");
        assert_eq!(head("/c"), "405 POST");
        assert_eq!(head("/d/x"), "/{d}/x");
        assert_eq!(table.allowed("", "/b"), ["GET", "HEAD"]);
        assert_eq!(table.allowed("", "/a"), ["*", "GET"]);
        assert!(table.allowed("", "/nothing").is_empty());
    }

    #[test]
    fn hosts_are_asked_in_order_until_path_and_method_fit() {
        let mut table = RestTable::default();
        for (owner, host, verb, template, target) in [
            (Owner::Gateway, "a.com", "GET", "/x", "own"),
            (Owner::Team, "*", "GET", "/{any}", "any"),
            (Owner::Team, "*", "DELETE", "/x", "any delete"),
            (Owner::Team, "*.com", "GET", "/x", "wild"),
            (Owner::Team, "a.com", "POST", "/x", "exact post"),
            (Owner::Team, "a.com", "POST", "/{x}:go", "exact go"),
        ] {
            assert!(
                table.publish(rank(owner, host), &Mount::default(), &rule(verb, template), target).is_ok()
            );
        }
        for (host, verb, path, want) in [
            ("a.com:80", "POST", "/x", "exact post"),
            ("A.COM.", "GET", "/x", "wild"),
            ("b.org", "GET", "/x", "any x"),
            ("a.com", "DELETE", "/x", "any delete"),
            ("a.com", "PUT", "/x", "405 DELETE,GET,POST"),
            ("b.org", "POST", "/x", "405 DELETE,GET"),
            // The verb is one on this host only.
            ("a.com", "GET", "/x:go", "405 POST"),
            ("b.org", "GET", "/x:go", "any x:go"),
        ] {
            assert_eq!(show(&table.find(host, &method(verb), path)), want, "{host} {verb} {path}");
        }
    }

    #[test]
    fn equal_shapes_conflict_unless_host_verb_or_prefix_differ() {
        let mut table = RestTable::default();
        let mount = Mount::default();
        let team = || rank(Owner::Team, "a.com");
        assert_eq!(table.publish(team(), &mount, &rule("GET", "/v1/{a}:x"), 1), Ok(()));
        assert_eq!(table.publish(team(), &mount, &rule("GET", "/v1/{b=*}:%78"), 2), Err(&1));
        assert_eq!(table.publish(team(), &mount, &rule("GET", "/v1/*:y"), 3), Ok(()));
        assert_eq!(table.publish(team(), &mount, &rule("*", "/v1/*:x"), 4), Ok(()));
        assert_eq!(table.publish(rank(Owner::Team, "*"), &mount, &rule("GET", "/v1/*:x"), 5), Ok(()));
        let prefixed = Mount { prefix: Prefix::parse("/v1").unwrap(), ..Mount::default() };
        assert_eq!(table.publish(team(), &prefixed, &rule("GET", "/{c}:x"), 6), Err(&1));
        assert_eq!(table.publish(team(), &prefixed, &rule("GET", "/v1/{c}:x"), 7), Ok(()));
        // A conflict leaves what was there.
        assert!(matches!(table.find("a.com", &http::Method::GET, "/v1/7:x"), Found::Match { target: 1, .. }));
    }

    #[test]
    fn a_prefix_shifts_captures_and_is_literal() {
        let mut table = RestTable::default();
        let mount = Mount { prefix: Prefix::parse("/api/v2").unwrap(), ..Mount::default() };
        for template in ["/{a=x/*}/{b}", "/{p=**}/end", "/"] {
            assert!(table.publish(rank(Owner::Team, "*"), &mount, &rule("GET", template), template).is_ok());
        }
        for (path, want) in [
            ("/api/v2/x/1/2", "/{a=x/*}/{b} x/1|2"),
            ("/api/v2/a/b/c/end", "/{p=**}/end a/b/c"),
            ("/api/v2/end", "/{p=**}/end "),
            ("/api/v2", "/"),
            ("/x/1/2", "404"),
            ("/", "404"),
        ] {
            assert_eq!(find(&table, "GET", path), want, "{path}");
        }
    }

    #[test]
    fn a_double_star_in_the_middle_takes_as_little_as_it_can() {
        let table = table(&[
            ("GET", "/g/{x=**}/h"),
            ("GET", "/g/{x=**}/{y}/h"),
            ("GET", "/g/{x=**}"),
            ("GET", "/g/{x=**}/h/{y}/{z}:v"),
            ("POST", "/g/a/{x=**}/c"),
        ]);
        for (path, want) in [
            ("/g/h", "/g/{x=**}/h "),
            ("/g/a/h", "/g/{x=**}/{y}/h |a"),
            ("/g/a/b/c/h", "/g/{x=**}/{y}/h a/b|c"),
            ("/g/a//h", "/g/{x=**}/h a/"),
            ("/g/h/h/h/1/2:v", "/g/{x=**}/h/{y}/{z}:v h/h|1|2"),
            ("/g/a/b/c", "/g/{x=**} a/b/c"),
            ("/g", "/g/{x=**} "),
        ] {
            assert_eq!(find(&table, "GET", path), want, "{path}");
        }
        assert_eq!(find(&table, "POST", "/g/a/b/c"), "/g/a/{x=**}/c b");
    }

    #[test]
    fn hostile_paths_are_data_or_malformed_but_never_resolved() {
        let table = table(&[("GET", "/v1/{id}"), ("GET", "/files/{path=**}"), ("GET", "/v1/admin")]);
        for (path, want) in [
            ("//v1/x", "404"),
            ("/v1//x", "404"),
            ("/v1/", "404"),
            (
                "/v1/a/../admin",
                "400 the path has a segment that is . or ..: resolve it first, or write its dots as %2E if they are data",
            ),
            (
                "/v1/./admin",
                "400 the path has a segment that is . or ..: resolve it first, or write its dots as %2E if they are data",
            ),
            ("/v1/%2e%2E", "/v1/{id} .."),
            ("/v1/..;x", "/v1/{id} ..;x"),
            ("/v1/admin;a=b", "/v1/{id} admin;a=b"),
            ("/v1;a=b/admin", "404"),
            ("/v1\\admin", "404"),
            ("/v1/a\\b%5Cc", "/v1/{id} a\\b\\c"),
            ("/v1%2Fadmin", "404"),
            ("/v1/%61dmin", "/v1/admin"),
            ("/v1/admin%00", "400 the path has %00, which no path may have: leave it out"),
            ("/nowhere/%zz", "400 the path has a % without two hex digits: write a % itself as %25"),
            ("/v1/%FF", "400 the path has percent-encoded bytes that are not UTF-8: encode text as UTF-8"),
            ("/files//a/%2Fb/", "/files/{path=**} /a/%2Fb/"),
            ("", "400 the path doesn't start with /"),
            ("v1/admin", "400 the path doesn't start with /"),
        ] {
            assert_eq!(find(&table, "GET", path), want, "{path}");
        }
        for segments in [255, 256, 10_000] {
            let path = format!("/files{}", "/a".repeat(segments));
            assert_eq!(find(&table, "GET", &path).starts_with("400"), SEGMENTS_MAX <= segments, "{segments}");
        }
        // Where no rule is published there is nothing to ask for.
        assert_eq!(find(&RestTable::default(), "GET", "/%zz"), "404");
    }

    #[test]
    fn full_expansion_decodes_slashes() {
        let mut table = RestTable::default();
        let mount = Mount { expansion: Expansion::DecodeAll, ..Mount::default() };
        assert!(table.publish(rank(Owner::Team, "*"), &mount, &rule("GET", "/v1/{p=**}"), "p").is_ok());
        assert_eq!(find(&table, "GET", "/v1/a%2Fb/c%2f"), "p a/b/c/");
    }

    #[test]
    fn a_handshake_takes_the_first_route_that_is_wanted() {
        let table = table(&[("POST", "/v1/chat"), ("GET", "/v1/{room}"), ("PUT", "/v1/{room}:join")]);
        let any =
            |path, wanted: &[&str]| show(&table.find_any_method("h", path, |target| wanted.contains(target)));
        assert_eq!(any("/v1/chat", &["/v1/chat", "/v1/{room}"]), "/v1/chat");
        assert_eq!(any("/v1/chat", &["/v1/{room}"]), "/v1/{room} chat");
        assert_eq!(any("/v1/a:join", &["/v1/{room}:join"]), "/v1/{room}:join a");
        assert_eq!(any("/v1/a:join", &["/v1/{room}"]), "404");
        assert_eq!(any("/v1/..", &[]).split(' ').next(), Some("400"));
    }

    /// Counts ends that are visited: backtracking must be bounded by the table.
    #[test]
    fn hostile_tables_and_paths_cost_no_more_than_the_table() {
        let mut table = RestTable::default();
        let mut nodes = 0;
        // Every mix of `a` and `*` over 12 segments: as much to backtrack through as nodes allow.
        for mix in 0..1_u32 << 12 {
            let template: String = (0..12).map(|bit| if mix >> bit & 1 == 0 { "/a" } else { "/*" }).collect();
            for template in [format!("{template}/end"), format!("/**{template}")] {
                assert!(
                    table
                        .publish(rank(Owner::Team, "*"), &Mount::default(), &rule("GET", &template), mix)
                        .is_ok()
                );
                nodes += 1;
            }
        }
        for path in ["/a".repeat(256), format!("{}/end", "/a".repeat(12)), format!("{}/b", "/a".repeat(255))]
        {
            let mut ends = 0;
            let count = |_: &Methods<u32>| {
                ends += 1;
                None
            };
            assert!(table.walk("h", &path, count).is_ok());
            assert!(ends <= nodes, "{ends}");
        }
    }

    fn template() -> impl Strategy<Value = String> {
        let segment = prop_oneof![Just("a"), Just("b"), Just("*"), Just("**")];
        (prop::collection::vec(segment, 1..4), prop::option::of(prop_oneof![Just("x"), Just("y")])).prop_map(
            |(segments, verb)| {
                let mut text = String::new();
                let mut starred = false;
                for segment in segments {
                    let again = starred && segment == "**";
                    starred |= segment == "**";
                    text.push('/');
                    text.push_str(if again { "*" } else { segment });
                }
                verb.into_iter().for_each(|verb| text.extend([":", verb]));
                text
            },
        )
    }

    /// Whether a template fits a path, said without a tree.
    fn fits(template: &[Segment], path: &[&str]) -> bool {
        match (template.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((Segment::StarStar, rest)), None) => fits(rest, path),
            (Some((Segment::StarStar, rest)), Some((_, later))) => fits(rest, path) || fits(template, later),
            (Some((Segment::Star, rest)), Some((first, later))) => !first.is_empty() && fits(rest, later),
            (Some((Segment::Literal(text), rest)), Some((first, later))) => {
                &**text == *first && fits(rest, later)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_order_of_publishing_does_not_matter(
            rules in prop::collection::btree_map(
                (template(), prop_oneof![Just("GET"), Just("POST"), Just("*")]), any::<u64>(), 1..12),
            path in "(/(a|b|c|))(/(a|b|c|)){0,3}(:x|:y|:z)?",
            verb in prop_oneof![Just("GET"), Just("POST"), Just("PUT")],
        ) {
            let tables = [false, true].map(|shuffled| {
                let mut rules: Vec<_> = rules.iter().collect();
                if shuffled {
                    rules.sort_by_key(|(_, key)| **key);
                }
                let mut table = RestTable::default();
                for ((template, verb), _) in rules {
                    let target = format!("{verb} {template}");
                    let published =
                        table.publish(rank(Owner::Team, "*"), &Mount::default(), &rule(verb, template), target);
                    assert!(published.is_ok());
                }
                table
            });
            let method = method(verb);
            prop_assert_eq!(tables[0].find("h", &method, &path), tables[1].find("h", &method, &path));

            // What was found fits, and something is found where anything fits.
            let last = path.rsplit('/').next().unwrap_or_default();
            let cut = last.split_once(':').map(|(_, verb)| (&path[..path.len() - verb.len() - 1], verb));
            let all: Vec<_> = rules.keys().map(|(template, verb)| (rule(verb, template), template)).collect();
            let of = |path: &str, verb: Option<&str>| {
                let segments: Vec<&str> = if path == "/" { Vec::new() } else { path[1..].split('/').collect() };
                let fit = |rule: &Rule| rule.template.verb.as_deref() == verb && fits(&rule.template.segments, &segments);
                all.iter().filter(|(rule, _)| fit(rule)).map(|(rule, text)| (rule.verb.clone(), *text)).collect::<Vec<_>>()
            };
            let mut candidates = cut.map(|(path, verb)| of(path, Some(verb))).unwrap_or_default();
            if candidates.is_empty() {
                candidates = of(&path, None);
            }
            let answers = |name: &Verb| *name == Verb::Any || name.as_str() == verb;
            match tables[0].find("h", &method, &path) {
                Found::Match { target, .. } => {
                    let is_found = |(name, text): &(Verb, &String)| *target == format!("{name} {text}");
                    prop_assert!(candidates.iter().any(|found| answers(&found.0) && is_found(found)));
                }
                Found::NotFound => prop_assert!(candidates.is_empty()),
                Found::MethodNotAllowed { allow } => {
                    prop_assert!(!candidates.iter().any(|(name, _)| answers(name)));
                    let mut want: Vec<_> = candidates.iter().map(|(name, _)| name.as_str().to_owned()).collect();
                    want.sort();
                    want.dedup();
                    prop_assert_eq!(allow, want);
                }
                Found::BadRequest(why) => prop_assert!(false, "{}", why),
            }
        }

        #[test]
        fn what_is_taken_away_leaves_nothing_behind(
            rules in prop::collection::btree_map(
                (template(), prop_oneof![Just("GET"), Just("POST"), Just("*")], 0..3_usize), any::<bool>(), 1..16),
            paths in prop::collection::vec("(/(a|b|c|))(/(a|b|c|)){0,3}(:x|:y|:z)?", 8),
        ) {
            let host = |at: usize| rank(Owner::Team, ["*", "*.com", "a.com"][at]);
            let publish = |table: &mut RestTable<String>, (template, verb, at): &(String, &str, usize)| {
                let target = format!("{at} {verb} {template}");
                assert!(table.publish(host(*at), &Mount::default(), &rule(verb, template), target).is_ok());
            };
            let (mut all, mut few) = (RestTable::default(), RestTable::default());
            for (named, stays) in &rules {
                publish(&mut all, named);
                if *stays {
                    publish(&mut few, named);
                }
            }
            let mut cut = all.clone();
            for ((template, verb, at), _) in rules.iter().filter(|(_, stays)| !**stays) {
                assert!(cut.unpublish(&host(*at), &Mount::default(), &rule(verb, template)));
                assert!(!cut.unpublish(&host(*at), &Mount::default(), &rule(verb, template)));
            }
            let mut again = cut.clone();
            for (named, _) in rules.iter().filter(|(_, stays)| !**stays) {
                publish(&mut again, named);
            }
            for path in paths.iter().map(String::as_str).chain(["/%zz"]) {
                for (host, verb) in ["a.com", "b.com", "c.org"].into_iter().flat_map(|host| ["GET", "PUT"].map(|verb| (host, verb))) {
                    let verb = method(verb);
                    prop_assert_eq!(cut.find(host, &verb, path), few.find(host, &verb, path));
                    prop_assert_eq!(again.find(host, &verb, path), all.find(host, &verb, path));
                }
            }
        }

        #[test]
        fn any_path_is_answered(path in "[/a:%2F.e*\\\\;é]{0,40}") {
            let table = table(&[("GET", "/{a}/{b=**}"), ("GET", "/{a=**}:a"), ("GET", "/a/{b=**}/{c}")]);
            let _found = table.find("h", &http::Method::GET, &path);
        }
    }
}

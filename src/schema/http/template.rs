//! Path templates of `google.api.http`, parsed once into segments, variables and a verb.

use std::fmt;
use std::ops::Range;

use crate::schema::http::percent;
use crate::schema::http::percent::Malformed;
use crate::schema::http::percent::Slash;

/// A path template, such as `/v1/{name=shelves/*/books/*}:read`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// As it was written.
    pub text: Box<str>,
    /// What each segment of a path must be; none for the bare root.
    pub segments: Vec<Segment>,
    /// In the order of the template. No variable's field is, or is inside, another's.
    pub variables: Vec<Variable>,
    /// What follows the last colon, decoded.
    pub verb: Option<Box<str>>,
}

/// What one segment of a path must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// This text, percent-decoded.
    Literal(Box<str>),
    /// `*`: any one segment that isn't empty.
    Star,
    /// `**`: any number of segments, none included.
    StarStar,
}

/// A field of the request message that is taken from the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Proto names of the fields that lead to it; at least one.
    pub path: Vec<Box<str>>,
    /// Which of the template's segments it is taken from; at least one.
    pub segments: Range<usize>,
    /// Whether it is made for more than one segment (`**`, or several): such a value keeps its `%2F`.
    pub multi: bool,
}

/// What is read beyond the grammar of `google/api/http.proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grammar {
    /// Lets segments follow `**`.
    pub allow_mid_double_star: bool,
    /// Lets `/` alone be a template.
    pub allow_root: bool,
}

/// Literal segments in front of every template of an API.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prefix {
    segments: Vec<Segment>,
}

/// Why text is no template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// The character, counted from 1; one past the end where something is missing.
    pub at: usize,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub help: &'static str,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The first fault, with its place.
    pub fn parse(text: &str, grammar: Grammar) -> Result<Self, TemplateError> {
        let mut parser = Parser::new(text, grammar);
        let verb = parser.template()?;
        let Parser { segments, variables, .. } = parser;
        Ok(Self { text: text.into(), segments, variables, verb })
    }

    /// Where `**` stands among the segments.
    pub fn star_star(&self) -> Option<usize> {
        self.segments.iter().position(|segment| *segment == Segment::StarStar)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Variable {
    /// The field path with dots: `book.name`.
    pub fn name(&self) -> String {
        self.path.join(".")
    }
}

impl Prefix {
    /// Reads `/api` or `/api/v2`; an empty text and `/` are no prefix.
    ///
    /// # Errors
    /// The first fault, with its place.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.is_empty() || text == "/" {
            return Ok(Self::default());
        }
        let mut parser = Parser::new(text, Grammar::default());
        let verb = parser.template()?;
        let is_plain = verb.is_none() && parser.segments.iter().all(|s| matches!(s, Segment::Literal(_)));
        if !is_plain {
            let help = "write plain segments, such as /api/v2";
            return Err(TemplateError {
                at: 1,
                problem: "a prefix has no wildcard and no verb".into(),
                help,
            });
        }
        Ok(Self { segments: parser.segments })
    }

    /// Literals only.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}; {}", self.at, self.problem, self.help)
    }
}

impl std::error::Error for TemplateError {}

struct Parser<'a> {
    text: &'a str,
    grammar: Grammar,
    /// The byte that comes next.
    at: usize,
    segments: Vec<Segment>,
    variables: Vec<Variable>,
    /// Whether `**` was there.
    starred: bool,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, grammar: Grammar) -> Self {
        Self { text, grammar, at: 0, segments: Vec::new(), variables: Vec::new(), starred: false }
    }

    /// The whole text; gives the verb.
    fn template(&mut self) -> Result<Option<Box<str>>, TemplateError> {
        if TEMPLATE_BYTES_MAX < self.text.len() {
            let problem =
                format!("the template has {} bytes, {TEMPLATE_BYTES_MAX} is the most", self.text.len());
            return self.fail(0, problem, "write a shorter path");
        }
        if !self.eat('/') {
            return self.fail(0, "a template starts with /", "write a path such as /v1/pets/{id}");
        }
        if self.peek().is_none() {
            if self.grammar.allow_root {
                return Ok(None);
            }
            return self.fail(
                1,
                "the bare root is no template",
                "name at least one segment, or set `rest.allow_root: true`",
            );
        }
        loop {
            self.segment(Within::Path)?;
            match self.peek() {
                None => return Ok(None),
                Some('/') => self.at += 1,
                Some(':') => return self.verb().map(Some),
                Some(other) => return self.unexpected(other),
            }
        }
    }

    fn segment(&mut self, within: Within) -> Result<(), TemplateError> {
        let start = self.at;
        match self.peek() {
            Some('*') => {
                self.at += 1;
                let segment = if self.eat('*') { Segment::StarStar } else { Segment::Star };
                self.push(segment, start)
            }
            Some('{') if within == Within::Path => self.variable(),
            Some('{') => self.fail(start, "a variable inside a variable", "close the first one before it"),
            Some(c) if is_literal(c) => {
                let literal = self.literal()?;
                if &*literal == "." || &*literal == ".." {
                    let help = "name the segment otherwise";
                    return self.fail(start, "a dot segment, which no request can name", help);
                }
                self.push(Segment::Literal(literal), start)
            }
            None | Some('/' | ':' | '}') => self.fail(
                start,
                "an empty segment",
                "write a name, *, ** or {field} here, or leave the / out",
            ),
            Some(other) => self.unexpected(other),
        }
    }

    fn push(&mut self, segment: Segment, start: usize) -> Result<(), TemplateError> {
        if SEGMENTS_MAX <= self.segments.len() {
            return self.fail(start, format!("more than {SEGMENTS_MAX} segments"), "write a shorter path");
        }
        if self.starred {
            if segment == Segment::StarStar {
                return self.fail(start, "a second **", "one ** matches any number of segments already");
            }
            if !self.grammar.allow_mid_double_star {
                let help = "move ** to the end of the path, or set `rest.allow_mid_double_star: true`";
                return self.fail(start, "a segment after **, which must be the last", help);
            }
        }
        self.starred |= segment == Segment::StarStar;
        self.segments.push(segment);
        Ok(())
    }

    /// From `{` to `}`.
    fn variable(&mut self) -> Result<(), TemplateError> {
        let start = self.at;
        let first = self.segments.len();
        self.at += 1;
        let path = self.field_path()?;
        match self.peek() {
            Some('}') => self.push(Segment::Star, start)?,
            Some('=') => loop {
                self.at += 1; // the `=`, then each `/`
                self.segment(Within::Variable)?;
                match self.peek() {
                    Some('/') => (),
                    Some('}') => break,
                    None => return self.unclosed(start),
                    Some(':') => {
                        let help = "write it after the }, at the end of the template";
                        return self.fail(self.at, "a verb inside a variable", help);
                    }
                    Some(other) => return self.unexpected(other),
                }
            },
            None => return self.unclosed(start),
            Some(_) => {
                let help =
                    "write {field}, {field.subfield} or {field=pattern}, with the names of the .proto file";
                return self.fail(self.at, "not a field name", help);
            }
        }
        self.at += 1; // the `}`
        if let Some(other) = self.variables.iter().find(|other| overlap(&other.path, &path)) {
            let problem = format!("the field is bound by {{{}}} already", other.name());
            return self.fail(start, problem, "bind each field once");
        }
        let segments = first..self.segments.len();
        let multi = 1 < segments.len() || self.segments[first] == Segment::StarStar;
        self.variables.push(Variable { path, segments, multi });
        Ok(())
    }

    fn field_path(&mut self) -> Result<Vec<Box<str>>, TemplateError> {
        let mut path = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let name = &rest[..end];
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
                let help =
                    "write {field}, {field.subfield} or {field=pattern}, with the names of the .proto file";
                return self.fail(self.at, "a field name is missing", help);
            }
            if FIELDS_MAX <= path.len() {
                return self.fail(
                    self.at,
                    format!("a field more than {FIELDS_MAX} deep"),
                    "bind a nearer field",
                );
            }
            path.push(name.into());
            self.at += end;
            if !self.eat('.') {
                return Ok(path);
            }
        }
    }

    /// From `:` to the end.
    fn verb(&mut self) -> Result<Box<str>, TemplateError> {
        self.at += 1;
        if !self.peek().is_some_and(is_literal) {
            return self.fail(
                self.at,
                "a verb is missing after the :",
                "write a name after it, or %3A for a colon",
            );
        }
        let verb = self.literal()?;
        match self.peek() {
            None => Ok(verb),
            Some('/') => {
                self.fail(self.at, "a verb before the end", "move it to the end, or write %3A for a colon")
            }
            Some(':') => self.fail(self.at, "a second verb", "keep one, or write %3A for a colon"),
            Some(other) => self.unexpected(other),
        }
    }

    fn literal(&mut self) -> Result<Box<str>, TemplateError> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c| !is_literal(c)).unwrap_or(rest.len());
        let start = self.at;
        self.at += end;
        match percent::decode(&rest[..end], Slash::Decode) {
            Ok(text) => Ok(text.into()),
            Err(Malformed::Escape(at)) => {
                self.fail(start + at, "a % without two hex digits", "write a % itself as %25")
            }
            Err(Malformed::Nul(at)) => {
                self.fail(start + at, "%00, which no request can name", "leave it out")
            }
            Err(Malformed::NotUtf8) => self.fail(start, "escapes that are not UTF-8", "encode text as UTF-8"),
        }
    }

    /// A character that can't follow what was read.
    fn unexpected<T>(&self, c: char) -> Result<T, TemplateError> {
        let help = match c {
            '{' | '*' => "a variable or wildcard is a whole segment: put a / before it",
            '}' => "there is no { before it",
            '?' | '#' => {
                "leave the query and fragment out: other fields become query parameters by themselves"
            }
            ' ' | '\t' | '\r' | '\n' => "leave spaces out, or write %20",
            c if is_literal(c) => "a variable or wildcard is a whole segment: put a / after it",
            _ => "write it percent-encoded",
        };
        self.fail(self.at, format!("`{}` can't stand here", c.escape_debug()), help)
    }

    fn unclosed<T>(&self, start: usize) -> Result<T, TemplateError> {
        self.fail(start, "a { without its }", "close the variable")
    }

    fn fail<T>(&self, byte: usize, what: impl Into<String>, help: &'static str) -> Result<T, TemplateError> {
        let at = 1 + self.text.char_indices().take_while(|(start, _)| *start < byte).count();
        Err(TemplateError { at, problem: what.into(), help })
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, c: char) -> bool {
        let there = self.peek() == Some(c);
        if there {
            self.at += c.len_utf8();
        }
        there
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Path,
    Variable,
}

/// Whether one field is the other or inside it.
fn overlap(a: &[Box<str>], b: &[Box<str>]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b)
}

/// What RFC 3986 lets stand in a segment, less the `:` and `*` of templates, and letters beyond ASCII.
fn is_literal(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        '-' | '.' | '_' | '~' | '%' | '!' | '$' | '&' | '\'' | '(' | ')' | '+' | ',' | ';' | '=' | '@' => {
            true
        }
        c => !c.is_ascii() && !c.is_whitespace() && !c.is_control(),
    }
}

const TEMPLATE_BYTES_MAX: usize = 2048;
/// A router's tree is at most twice as deep: the prefix is a template too.
const SEGMENTS_MAX: usize = 64;
const FIELDS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Template {
        Template::parse(text, Grammar::default()).unwrap()
    }

    fn fault(text: &str) -> String {
        Template::parse(text, Grammar::default()).unwrap_err().to_string()
    }

    fn literal(text: &str) -> Segment {
        Segment::Literal(text.into())
    }

    #[test]
    fn segments_variables_and_verb_are_told_apart() {
        let template = parse("/v1/{name=shelves/*/books/**}:read");
        assert_eq!(
            template.segments,
            [literal("v1"), literal("shelves"), Segment::Star, literal("books"), Segment::StarStar]
        );
        assert_eq!(template.variables.len(), 1);
        assert_eq!(template.variables[0].name(), "name");
        assert_eq!(template.variables[0].segments, 1..5);
        assert!(template.variables[0].multi);
        assert_eq!(template.verb.as_deref(), Some("read"));
        assert_eq!(template.star_star(), Some(4));
        assert_eq!(template.to_string(), "/v1/{name=shelves/*/books/**}:read");
    }

    #[test]
    fn a_variable_is_multi_by_its_template() {
        for (text, multi) in
            [("/{a}", false), ("/{a=*}", false), ("/{a=x}", false), ("/{a=**}", true), ("/{a=x/*}", true)]
        {
            assert_eq!(parse(text).variables[0].multi, multi, "{text}");
        }
    }

    #[test]
    fn literals_are_decoded() {
        assert_eq!(
            parse("/a%2Cb/%7euser/foo@bar=c").segments,
            [literal("a,b"), literal("~user"), literal("foo@bar=c")]
        );
        assert_eq!(parse("/x%3Ay:%67o").verb.as_deref(), Some("go"));
        assert_eq!(parse("/größe").segments, [literal("größe")]);
    }

    #[test]
    fn faults_are_located_and_say_what_to_do() {
        for (text, want) in [
            ("", "at character 1: a template starts with /; write a path such as /v1/pets/{id}"),
            ("v1/x", "at character 1: a template starts with /; write a path such as /v1/pets/{id}"),
            (
                "/",
                "at character 2: the bare root is no template; name at least one segment, or set `rest.allow_root: true`",
            ),
            (
                "/v1/",
                "at character 5: an empty segment; write a name, *, ** or {field} here, or leave the / out",
            ),
            (
                "/v1/x{a}",
                "at character 6: `{` can't stand here; a variable or wildcard is a whole segment: put a / before it",
            ),
            (
                "/v1/{a}x",
                "at character 8: `x` can't stand here; a variable or wildcard is a whole segment: put a / after it",
            ),
            ("/v1/{a", "at character 5: a { without its }; close the variable"),
            ("/v1/{a=x", "at character 5: a { without its }; close the variable"),
            (
                "/v1/ä/{ä}",
                "at character 8: a field name is missing; write {field}, {field.subfield} or {field=pattern}, with the names of the .proto file",
            ),
            (
                "/v1/**/x",
                "at character 8: a segment after **, which must be the last; move ** to the end of the path, or set `rest.allow_mid_double_star: true`",
            ),
            ("/v1/%zz", "at character 5: a % without two hex digits; write a % itself as %25"),
            ("/v1/{a}/{a.b}", "at character 9: the field is bound by {a} already; bind each field once"),
            (
                "/v1/x?y=1",
                "at character 6: `?` can't stand here; leave the query and fragment out: other fields become query parameters by themselves",
            ),
        ] {
            assert_eq!(fault(text), want, "{text}");
        }
    }

    #[test]
    fn what_the_grammar_does_not_have_is_refused() {
        for text in [
            "//v1",
            "/v1//x",
            "/v1/{}",
            "/v1/id}",
            "/v1/{id=}",
            "/v1/{=*}",
            "/v1/{a.}",
            "/v1/{.a}",
            "/v1/{a..b}",
            "/v1/{1a}",
            "/v1/{a-b}",
            "/v1/{a b}",
            "/v1/{a={b}}",
            "/v1/{a=x/{b}}",
            "/v1/{a}{b}",
            "/v1/***",
            "/v1/*x",
            "/v1/x*",
            "/v1/**/**",
            "/v1/{a=**}/{b=**}",
            "/v1/{a=**/x}",
            "/v1/{a=**}/x",
            "/v1/x:",
            "/v1/:x",
            "/:x",
            "/v1/x:a/b",
            "/v1/x:a:b",
            "/v1/x:*",
            "/v1/x:{a}",
            "/v1/{a}/{a}",
            "/v1/a b",
            "/v1/x#y",
            "/v1/%",
            "/v1/%00",
            "/v1/%ff",
            "/v1/{a=b:c}",
            "/v1/{a=/b}",
            "/v1/{a=b/}",
            "/v1/..",
            "/./a",
            "/v1/%2e%2E",
            "/v1/a\\b",
            "/v1/<x>",
            "/v1/x\u{0}",
            "/v1/\u{a0}",
            "/v1/{a=x}}",
            "/v1/{{a}}",
            "/v1/x:a?b",
            "{a}",
            " /v1",
        ] {
            assert!(Template::parse(text, Grammar::default()).is_err(), "{text}");
        }
        for text in
            [format!("/{}", "a".repeat(5000)), "/a".repeat(65), format!("/{{{}}}", vec!["a"; 33].join("."))]
        {
            assert!(Template::parse(&text, Grammar::default()).is_err());
        }
    }

    #[test]
    fn the_switches_widen_the_grammar() {
        let wide = Grammar { allow_mid_double_star: true, allow_root: true };
        assert!(Template::parse("/", wide).unwrap().segments.is_empty());
        assert_eq!(Template::parse("/g/{x=**}/h:verb", wide).unwrap().star_star(), Some(1));
        for text in ["/**/a/**", "/:x", "", "//"] {
            assert!(Template::parse(text, wide).is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_is_literal() {
        assert!(Prefix::parse("").unwrap().segments().is_empty());
        assert!(Prefix::parse("/").unwrap().segments().is_empty());
        assert_eq!(Prefix::parse("/api/v2").unwrap().segments(), [literal("api"), literal("v2")]);
        for text in ["api", "/api/", "/*", "/{a}", "/a:b", "/a//b"] {
            assert!(Prefix::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[/{}*:=.a%2 é]{0,24}") {
            for grammar in [Grammar::default(), Grammar { allow_mid_double_star: true, allow_root: true }] {
                if let Ok(template) = Template::parse(&text, grammar) {
                    proptest::prop_assert!(template.variables.iter().all(|v| v.segments.end <= template.segments.len()));
                }
            }
        }
    }
}

//! Walks a raw tree beside the table: reports every fault and fills defaults in.

use std::sync::Arc;

use crate::call::nearest;
use crate::config::cross::Names;
use crate::config::fault::Diag;
use crate::config::items::Reference;
use crate::config::raw::Entry;
use crate::config::raw::Part;
use crate::config::raw::Place;
use crate::config::raw::Raw;
use crate::config::raw::Scalar;
use crate::config::raw::Step;
use crate::config::raw::Value;
use crate::config::raw::clip;
use crate::config::scalar;
use crate::config::scalar::Kind;
use crate::config::shape::Key;
use crate::config::shape::Need;
use crate::config::shape::Rule;
use crate::config::shape::Section;
use crate::config::shape::Shape;
use crate::config::shape::Stage;
use crate::config::shape::Thing;
use crate::config::shape::Word;

/// Checks a whole section and everything below it; which names refer to what comes back.
pub(super) fn check(raw: &mut Raw, section: &Section, names: &Names, diag: &mut Diag) -> Vec<Reference> {
    let mut checker = Checker { names, diag, outside: Stage::Built, references: Vec::new() };
    checker.section(raw, section);
    checker.references
}

struct Checker<'a> {
    names: &'a Names,
    diag: &'a mut Diag,
    /// `Later` below a key that is reported as not built: one fault is enough for all of it.
    outside: Stage,
    references: Vec<Reference>,
}

impl Checker<'_> {
    fn section(&mut self, raw: &mut Raw, section: &Section) {
        let place = raw.place.clone();
        let Value::Map(entries) = &mut raw.value else {
            let keys = section.names();
            return self.misfit(
                raw,
                "a section",
                &format!("write keys below it, or `{{}}`; they are {}", list(keys)),
                "",
            );
        };
        self.rules(entries, section, &place);
        for entry in entries.iter_mut() {
            match section.key(&entry.name) {
                Some(key) => self.key(entry, key),
                None => self.unknown(entry, section),
            }
        }
        self.missing(entries, section, &place);
    }

    fn key(&mut self, entry: &mut Entry, key: &Key) {
        let around = self.outside;
        if key.stage == Stage::Later && !is_inert(&entry.value, key) {
            self.not_built(&entry.place, key.help);
            self.outside = Stage::Later;
        }
        self.value(&mut entry.value, &key.shape);
        if let (Shape::List(_, least), Value::List(items)) = (&key.shape, &entry.value.value)
            && items.len() < *least
        {
            let help = match key.need {
                Need::Must => "write at least one entry",
                Need::May | Need::Or(_) => "write at least one entry, or leave the key out",
            };
            self.fault(&entry.place, "this list is empty", help);
        }
        self.outside = around;
    }

    fn unknown(&mut self, entry: &Entry, section: &Section) {
        if self.diag.is_full() {
            return self.diag.count();
        }
        let wrong = section.wrong.iter().chain(WRONG_ANYWHERE).find(|(wrong, _)| *wrong == &*entry.name);
        let help = match (wrong, nearest(&entry.name, section.names())) {
            (Some((_, instead)), _) => (*instead).into(),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) if section.keys.is_empty() => "no keys belong here".into(),
            (None, None) => format!("the keys here are {}", list(section.names())),
        };
        self.fault(&entry.place, format!("unknown key `{}`", clip(&entry.name)), help);
    }

    fn rules(&mut self, entries: &[Entry], section: &Section, place: &Place) {
        for rule in section.rules {
            match rule {
                Rule::One(names) | Rule::AtMostOne(names) => {
                    let mut set = entries.iter().filter(|entry| names.contains(&&*entry.name));
                    match (set.next(), rule) {
                        (None, Rule::One(_)) => self.none_of(names, section, place),
                        (None, _) => (),
                        (Some(first), _) => set.for_each(|second| {
                            let problem = format!("`{}` can't stand beside `{}`", second.name, first.name);
                            self.fault(&second.place, problem, "keep one of them");
                        }),
                    }
                }
                Rule::Some(names) => {
                    if !entries.iter().any(|entry| names.contains(&&*entry.name)) {
                        self.none_of(names, section, place);
                    }
                }
                Rule::Needs(name, other) => {
                    let entry = |name: &str| entries.iter().find(|entry| &*entry.name == name);
                    if let (Some(entry), None) = (entry(name), entry(other)) {
                        let help = format!("add `{other}`: {}", section.help(other));
                        self.fault(&entry.place, format!("`{name}` needs `{other}` beside it"), help);
                    }
                }
            }
        }
    }

    fn none_of(&mut self, names: &[&str], section: &Section, place: &Place) {
        match names {
            [] => (),
            [name] => self.fault(
                place,
                format!("`{name}` is missing"),
                format!("add `{name}`: {}", section.help(name)),
            ),
            [first, ..] => {
                let problem = format!("one of {} is missing", list(names.iter().copied()));
                self.fault(place, problem, format!("add one, such as `{first}`: {}", section.help(first)));
            }
        }
    }

    /// Reports what must be there, and fills in what has a default.
    fn missing(&mut self, entries: &mut Vec<Entry>, section: &Section, place: &Place) {
        for key in section.keys {
            if entries.iter().any(|entry| &*entry.name == key.name) {
                continue;
            }
            match key.need {
                Need::May => (),
                Need::Must => {
                    self.fault(
                        place,
                        format!("`{}` is missing", key.name),
                        format!("add `{}`: {}", key.name, key.help),
                    );
                }
                Need::Or(text) => {
                    let name: Arc<str> = key.name.into();
                    let step = Step { parent: place.step.clone(), part: Part::Key(Arc::clone(&name)) };
                    let place = Place { step: Some(Arc::new(step)), written: false, ..place.clone() };
                    let mut value = Raw { value: default(text), place: place.clone() };
                    self.value(&mut value, &key.shape);
                    entries.push(Entry { name, place, value });
                }
            }
        }
    }

    fn value(&mut self, raw: &mut Raw, shape: &Shape) {
        if raw.is_faulty() {
            return;
        }
        match shape {
            Shape::Section(section) => self.section(raw, section),
            Shape::List(item, _) => match &mut raw.value {
                Value::List(items) => items.iter_mut().for_each(|raw| self.value(raw, item)),
                Value::Scalar(scalar) if !scalar.is_null() && !matches!(item, Shape::Section(_)) => {
                    let help = format!(
                        "write it in brackets: `[{}]`",
                        clip(scalar.source.as_deref().unwrap_or(&scalar.text))
                    );
                    self.misfit(raw, "a list", &help, "");
                }
                _ => self.misfit(raw, "a list", "write `[a, b]`, or a line with `- ` for each entry", ""),
            },
            Shape::Map(kind, item) => match &mut raw.value {
                Value::Map(entries) => {
                    entries.iter_mut().for_each(|entry| self.free_entry(entry, kind, item))
                }
                _ => self.misfit(
                    raw,
                    "a map",
                    "write `{ key: value }`, or a line with `key: value` for each",
                    "",
                ),
            },
            Shape::Or(words, _) if words.iter().any(|word| raw.is_word(word)) => (),
            Shape::Or(words, inner) => self.or(raw, words, inner),
            Shape::Either(scalar, other) => match raw.value {
                Value::Scalar(_) => self.value(raw, scalar),
                _ => self.value(raw, other),
            },
            scalar => self.scalar(raw, scalar, ""),
        }
    }

    fn or(&mut self, raw: &mut Raw, words: &[&str], inner: &Shape) {
        let words = words.iter().filter(|word| !word.is_empty()).map(|word| format!("`{word}`"));
        let words = words.collect::<Vec<_>>().join(" or ");
        let is_container = matches!(inner, Shape::Section(_) | Shape::List(..) | Shape::Map(..));
        match raw.value {
            Value::Scalar(_) if is_container => {
                let (what, help) = match inner {
                    Shape::Section(section) => {
                        ("a section", format!("write {words}, or keys below it: {}", list(section.names())))
                    }
                    _ => ("a list", format!("write {words}, or a line with `- ` for each entry")),
                };
                self.misfit(raw, &format!("{words} or {what}"), &help, "");
            }
            _ if is_container => self.value(raw, inner),
            _ => self.scalar(raw, inner, &words),
        }
    }

    fn free_entry(&mut self, entry: &mut Entry, kind: &Kind, shape: &Shape) {
        if let Err(why) = (kind.check)(&entry.name) {
            let help = if why.is_empty() { format!("write {}", kind.example) } else { why };
            self.fault(&entry.place, format!("the key `{}` is not {}", clip(&entry.name), kind.what), help);
        }
        self.value(&mut entry.value, shape);
    }

    /// A leaf; `words` says what may stand there instead.
    fn scalar(&mut self, raw: &mut Raw, shape: &Shape, words: &str) {
        let Some(scalar) = raw.scalar().filter(|scalar| !scalar.is_null()) else {
            let (what, example) = expected(shape);
            return self.misfit(raw, &what, &format!("write {example}"), words);
        };
        match shape {
            Shape::Name(thing) => return self.name(raw, *thing),
            Shape::Choice(choice) => return self.choice(raw, choice),
            Shape::Scalar(kind) if raw.place.resource().is_some() => {
                if let Some((problem, help)) = from_afar(&scalar.text, kind, &raw.place) {
                    return self.fault(&raw.place, problem, help);
                }
            }
            _ => (),
        }
        let Err(why) = fits(scalar, shape) else { return };
        let (what, example) = expected(shape);
        // A reason may repeat the text: never one that was put in, never a long one.
        let may_tell = scalar.source.is_none() && scalar.text.len() <= REASON_BYTES_MAX;
        let help = if why.is_empty() || !may_tell { format!("write {example}") } else { why };
        self.misfit(raw, &what, &help, words);
    }

    fn choice(&mut self, raw: &Raw, words: &[Word]) {
        let text = raw.text().unwrap_or_default();
        match words.iter().find(|word| word.name == text) {
            Some(word) if word.stage == Stage::Built => (),
            Some(_) => {
                let built = words.iter().filter(|word| word.stage == Stage::Built).map(|word| word.name);
                self.later_word(&raw.place, text, &list(built));
            }
            None => {
                let all = words.iter().map(|word| word.name);
                let help = match nearest(text, all.clone()) {
                    Some(near) if raw.scalar().is_some_and(|scalar| scalar.source.is_none()) => {
                        format!("did you mean `{near}`?")
                    }
                    _ => format!("write {}", list(all.clone())),
                };
                self.fault(&raw.place, format!("{} is not one of {}", raw.shown(), list(all)), help);
            }
        }
    }

    fn name(&mut self, raw: &Raw, thing: Thing) {
        let text = raw.text().unwrap_or_default();
        if self.names.has(thing, text) {
            let (name, from) = (text.to_owned(), raw.place.clone());
            return self.references.push(Reference { to: thing, name, from });
        }
        if self.diag.is_full() {
            return self.diag.count();
        }
        let help = match nearest(text, self.names.of(thing)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add it to `{}`", thing.list_name()),
        };
        self.fault(&raw.place, format!("no {} is called {}", thing.one(), raw.shown()), help);
    }

    /// Says that a value is not what is needed.
    fn misfit(&mut self, raw: &Raw, what: &str, help: &str, words: &str) {
        let (or, also) = match words {
            "" => (String::new(), String::new()),
            words => (format!("{words} or "), format!("; or {words}")),
        };
        let problem = match &raw.value {
            Value::Scalar(scalar) if scalar.is_null() => {
                format!("nothing is written here, {or}{what} is needed")
            }
            _ => format!("{} is not {or}{what}", raw.shown()),
        };
        self.fault(&raw.place, problem, format!("{help}{also}"));
    }

    fn not_built(&mut self, place: &Place, meaning: &str) {
        if self.outside == Stage::Built {
            self.fault(
                place,
                "not built yet",
                format!("this version can't do it, leave it out (its meaning: {meaning})"),
            );
        }
    }

    fn later_word(&mut self, place: &Place, word: &str, built: &str) {
        if self.outside == Stage::Built {
            self.fault(place, format!("`{word}` is not built yet"), format!("this version has {built}"));
        }
    }

    fn fault(&mut self, place: &Place, problem: impl Into<String>, help: impl Into<String>) {
        if self.diag.is_full() {
            return self.diag.count();
        }
        self.diag.fault(&place.at(), problem, help);
    }
}

/// A resource comes from whoever may write one, and the gateway's files are none of its business.
fn from_afar(text: &str, kind: &'static Kind, place: &Place) -> Option<(&'static str, &'static str)> {
    if std::ptr::eq(kind, &scalar::PEM_PATH) {
        let problem = "a resource holds the PEM itself, not the path of a file";
        let help = "write the text of the file, which begins with `-----BEGIN`";
        return (!text.starts_with(scalar::PEM_START)).then_some((problem, help));
    }
    if !std::ptr::eq(kind, &scalar::PATH) {
        return None;
    }
    let is_source =
        |part: &Part| matches!(part, Part::Key(name) if matches!(&**name, "protos" | "descriptor_set"));
    let help = match &place.step {
        Some(step) if is_source(&step.part) => "leave it out, and push the files as a version of the module",
        _ => "leave it out here; the configuration file may name files",
    };
    Some(("a resource can't name a file of the gateway", help))
}

/// Whether a key that is not built yet is set to what it means anyway.
fn is_inert(raw: &Raw, key: &Key) -> bool {
    let is_off = match &key.shape {
        Shape::Or(words, _) => ["off", "none"].iter().any(|word| words.contains(word) && raw.is_word(word)),
        _ => false,
    };
    let is_default = match (key.need, &raw.value) {
        (Need::Or("{}"), Value::Map(entries)) => entries.is_empty(),
        (Need::Or("[]"), Value::List(items)) => items.is_empty(),
        (Need::Or(text), Value::Scalar(_)) => raw.is_word(text),
        _ => false,
    };
    is_off || is_default
}

/// The value that a default's text stands for.
fn default(text: &str) -> Value {
    match text {
        "{}" => Value::Map(Vec::new()),
        "[]" => Value::List(Vec::new()),
        _ => Value::Scalar(Scalar { text: text.into(), source: None, quoted: text.is_empty() }),
    }
}

/// Whether a leaf fits; `Err` may say why not.
fn fits(scalar: &Scalar, shape: &Shape) -> Result<(), String> {
    let text = scalar.text.as_str();
    let plain = || if scalar.quoted { Err("leave the quotes out".into()) } else { Ok(()) };
    match shape {
        Shape::Bool if matches!(text, "true" | "false") => plain(),
        Shape::Bool => Err(String::new()),
        Shape::Integer(least, most) => {
            let value = scalar::integer(text)?;
            let is_within = *least <= value && value <= *most;
            if is_within { plain() } else { Err(format!("write one from {least} to {most}")) }
        }
        Shape::Ratio => scalar::ratio(text).and_then(|_| plain()),
        Shape::Size(least, most) => {
            let value = scalar::size(text)?;
            let is_within = *least <= value && value <= *most;
            let (least, most) = (scalar::size_text(*least), scalar::size_text(*most));
            if is_within { Ok(()) } else { Err(format!("write one from {least} to {most}")) }
        }
        Shape::Scalar(kind) => (kind.check)(text),
        _ => Ok(()),
    }
}

/// What a leaf must be, with its article, and an example.
pub(super) fn expected(shape: &Shape) -> (String, String) {
    match shape {
        Shape::Bool => ("a boolean".into(), "`true` or `false`".into()),
        Shape::Integer(least, most) => {
            (format!("a whole number from {least} to {most}"), "it in plain digits, without quotes".into())
        }
        Shape::Ratio => ("a number from 0 to 1".into(), "it as a decimal, such as `0.25`".into()),
        Shape::Size(least, most) => (
            format!("a size from {} to {}", scalar::size_text(*least), scalar::size_text(*most)),
            "a whole number and its unit, such as `64KiB` or `4MiB`".into(),
        ),
        Shape::Scalar(kind) => (kind.what.into(), kind.example.into()),
        Shape::Choice(words) => {
            let words = list(words.iter().map(|word| word.name));
            (format!("one of {words}"), words)
        }
        Shape::Name(thing) => (
            format!("the name of {}", thing.with_article()),
            format!("a name out of `{}`", thing.list_name()),
        ),
        Shape::List(..) => ("a list".into(), "`[a, b]`".into()),
        Shape::Map(..) => ("a map".into(), "`{ key: value }`".into()),
        Shape::Section(_) => ("a section".into(), "keys below it".into()),
        Shape::Or(_, inner) | Shape::Either(inner, _) => expected(inner),
    }
}

/// Names in backquotes.
pub(super) fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Keys that belong nowhere, and what to write instead.
const WRONG_ANYWHERE: &[(&str, &str)] =
    &[("<<", "merge keys are not read; write the keys out, or alias the whole value")];
/// A reason that repeats a text is told for texts up to this length.
const REASON_BYTES_MAX: usize = 100;

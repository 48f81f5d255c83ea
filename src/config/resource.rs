//! Resources: what one item of the file's lists says, kept elsewhere as text.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::call::nearest;
use crate::config::fault::At;
use crate::config::fault::Diag;
use crate::config::fault::Report;
use crate::config::json;
use crate::config::raw::Entry;
use crate::config::raw::Raw;
use crate::config::raw::Value;
use crate::config::raw::clip;
use crate::config::scalar;
use crate::config::table::FILE;
use crate::config::yaml;

/// What has a name that other keys refer to: the lists that the Admin API can add to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `modules`.
    Module,
    /// `upstreams`.
    Upstream,
    /// `apis`.
    Api,
    /// `consumers`.
    Consumer,
    /// `certificates`.
    Certificate,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Module, Self::Upstream, Self::Api, Self::Consumer, Self::Certificate];

    /// The top-level list that defines it: `upstreams`.
    pub fn list_name(self) -> &'static str {
        match self {
            Self::Module => "modules",
            Self::Upstream => "upstreams",
            Self::Api => "apis",
            Self::Consumer => "consumers",
            Self::Certificate => "certificates",
        }
    }

    /// The kind of a list: that of `upstreams`.
    pub fn named(list: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.list_name() == list)
    }

    /// One of it: `upstream`.
    pub fn one(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Upstream => "upstream",
            Self::Api => "api",
            Self::Consumer => "consumer",
            Self::Certificate => "certificate",
        }
    }

    pub(super) fn with_article(self) -> String {
        let article = if matches!(self, Self::Upstream | Self::Api) { "an" } else { "a" };
        format!("{article} {}", self.one())
    }
}

/// One item of a list, as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// Of which list.
    pub kind: Kind,
    /// Unique among its kind.
    pub name: String,
    /// The item as a JSON object, without its name.
    pub text: Arc<str>,
}

/// Hides the text, which may have a private key.
impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ({} bytes)", self.kind.list_name(), self.name, self.text.len())
    }
}

impl Resource {
    /// One of a text in JSON or YAML: a map, which may have its own name among its keys. What the
    /// map says is checked when a configuration is made of it.
    ///
    /// # Errors
    /// A name that isn't one, a text that can't be read, that is too long or names another resource.
    pub fn new(kind: Kind, name: &str, text: &str) -> Result<Self, Report> {
        let list = Path::new(kind.list_name());
        if (scalar::NAME.check)(name).is_err() {
            let problem = format!("\"{}\" is not a name", clip(name).escape_debug());
            return Err(Report::of_file(list, problem, format!("write {}", scalar::NAME.example)));
        }
        let mut diag = Diag::new();
        let raw = read(kind, name, text, &mut diag);
        diag.finish()?;
        let text = json::text(&raw.unwrap_or_else(|| Raw::empty_map(list)), &["name"]);
        bounded(&text)
            .map_err(|(problem, help)| Report::of(At::resource_of(&file(kind, name)), problem, help))?;
        Ok(Self { kind, name: name.to_owned(), text: text.into() })
    }
}

/// Where faults of a resource are.
pub(super) fn file(kind: Kind, name: &str) -> PathBuf {
    format!("{}/{name}", kind.list_name()).into()
}

/// The tree of one resource, which is a map without a name; faults go to `diag`.
pub(super) fn read(kind: Kind, name: &str, text: &str, diag: &mut Diag) -> Option<Raw> {
    let file = file(kind, name);
    if let Err((problem, help)) = bounded(text) {
        diag.fault(&At::resource_of(&file), problem, help);
        return None;
    }
    let mut raw = yaml::read_resource(text, &file, diag)?;
    if !raw.is_written() {
        diag.fault(
            &raw.at(),
            format!("nothing is not {}", kind.with_article()),
            "write a map of its keys, or `{}`",
        );
        return None;
    }
    let Value::Map(entries) = &mut raw.value else {
        let problem = format!("{} is not {}", raw.shown(), kind.with_article());
        diag.fault(&raw.at(), problem, "write a map of its keys");
        return None;
    };
    if let Some(at) = entries.iter().position(|entry| entry.name() == "name") {
        let entry = entries.remove(at);
        if !entry.value.is_word(name) {
            let problem = format!("{} is the name of another one", entry.value.shown());
            diag.fault(&entry.at(), problem, format!("leave `name` out here, or write `{name}`"));
            return None;
        }
    }
    refuse_replacement(&mut raw, diag);
    Some(raw)
}

/// It would hand the gateway's environment and files to whoever may write a resource.
fn refuse_replacement(raw: &mut Raw, diag: &mut Diag) {
    match &mut raw.value {
        Value::List(items) => items.iter_mut().for_each(|item| refuse_replacement(item, diag)),
        Value::Map(entries) => {
            entries.iter_mut().for_each(|entry| refuse_replacement(&mut entry.value, diag));
        }
        Value::Scalar(scalar) if scalar.text.contains("${") => {
            let help =
                "write the value itself; variables and files are put into the configuration file alone";
            diag.fault(&raw.place.at(), "`${...}` is not replaced in a resource", help);
            raw.value = Value::Faulty;
        }
        Value::Scalar(_) | Value::Faulty => (),
    }
}

fn bounded(text: &str) -> Result<(), (String, &'static str)> {
    match text.len() <= RESOURCE_BYTES_MAX {
        true => Ok(()),
        false => Err((
            format!("larger than {}", scalar::size_text(RESOURCE_BYTES_MAX as u64)),
            "split it, or move what is long into the configuration file",
        )),
    }
}

/// The same JSON or YAML as compact JSON, its keys in the order in which they were written.
///
/// # Errors
/// A text that can't be read.
pub fn canonical(text: &str) -> Result<String, Report> {
    let file = Path::new("text");
    if super::FILE_BYTES_MAX < text.len() {
        return Err(super::too_large(file));
    }
    let mut diag = Diag::new();
    let raw = yaml::read(text, file, &mut diag);
    diag.finish()?;
    Ok(json::text(&raw.unwrap_or_else(|| Raw::empty_map(file)), &[]))
}

/// The resources of a document in YAML or JSON that has the lists of a configuration file. Nothing
/// is replaced in it: a dollar is a dollar. `name` is what faults call the document.
///
/// # Errors
/// Every fault of the document's form; what its items say is checked when a configuration is made of them.
pub fn document(text: &str, name: &str) -> Result<Vec<Resource>, Report> {
    let file = Path::new(name);
    if super::FILE_BYTES_MAX < text.len() {
        return Err(super::too_large(file));
    }
    let mut diag = Diag::new();
    let Some(mut root) = yaml::read(text, file, &mut diag) else {
        diag.finish()?;
        return Err(Report::of_file(file, "can't be read", "write YAML or JSON"));
    };
    let mut all = Vec::new();
    refuse_replacement(&mut root, &mut diag);
    match &root.value {
        Value::Map(entries) if root.is_written() => {
            entries.iter().for_each(|entry| section(entry, &mut all, &mut diag))
        }
        _ => {
            let help = format!("write the lists {}, or `{{}}` for no resources at all", lists());
            let what = if root.is_written() { root.shown() } else { "nothing".into() };
            diag.fault(&root.at(), format!("{what} is not a document"), help);
        }
    }
    diag.finish()?;
    Ok(all)
}

fn section(entry: &Entry, all: &mut Vec<Resource>, diag: &mut Diag) {
    let Some(kind) = Kind::named(entry.name()) else {
        if diag.is_full() {
            return diag.count();
        }
        let (problem, help) = match FILE.key(entry.name()) {
            Some(key) => (
                format!("`{}` belongs to the configuration file", key.name),
                format!("leave it out here; resources are {}", lists()),
            ),
            None => (
                format!("unknown key `{}`", clip(entry.name())),
                match nearest(entry.name(), Kind::ALL.into_iter().map(Kind::list_name)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("resources are {}", lists()),
                },
            ),
        };
        return diag.fault(&entry.at(), problem, help);
    };
    let Value::List(items) = &entry.value.value else {
        if !entry.value.is_faulty() {
            let problem = format!("{} is not a list", entry.value.shown());
            diag.fault(&entry.value.at(), problem, "write a line with `- ` for each entry, or `[]`");
        }
        return;
    };
    let mut first: HashMap<&str, u32> = HashMap::new();
    for item in items {
        item_of(kind, item, &mut first, all, diag);
    }
}

fn item_of<'a>(
    kind: Kind,
    item: &'a Raw,
    first: &mut HashMap<&'a str, u32>,
    all: &mut Vec<Resource>,
    diag: &mut Diag,
) {
    if diag.is_full() {
        return diag.count();
    }
    if !matches!(item.value, Value::Map(_)) {
        if !item.is_faulty() {
            let problem = format!("{} is not {}", item.shown(), kind.with_article());
            diag.fault(&item.at(), problem, "write a map of its keys");
        }
        return;
    }
    let Some(raw) = item.get("name") else {
        return diag.fault(&item.at(), "`name` is missing", format!("add `name`: {}", scalar::NAME.example));
    };
    let Some(name) = raw.text().filter(|name| (scalar::NAME.check)(name).is_ok()) else {
        if !raw.is_faulty() {
            let help = format!("write {}", scalar::NAME.example);
            diag.fault(&raw.at(), format!("{} is not a name", raw.shown()), help);
        }
        return;
    };
    if let Some(line) = first.insert(name, raw.place.line) {
        let help = format!("the other one is on line {line}; names are unique");
        return diag.fault(&raw.at(), format!("two {} are called {}", kind.list_name(), raw.shown()), help);
    }
    let text = json::text(item, &["name"]);
    if let Err((problem, help)) = bounded(&text) {
        return diag.fault(&item.at(), problem, help);
    }
    all.push(Resource { kind, name: name.to_owned(), text: text.into() });
}

fn lists() -> String {
    Kind::ALL.map(|kind| format!("`{}`", kind.list_name())).join(", ")
}

/// One resource, in bytes.
pub const RESOURCE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::Origin;
    use crate::config::parse_with;
    use crate::config::types::CertificateSource;

    const FILE: &str = "
listeners: [{ name: a, address: '127.0.0.1:0' }, { name: tls, address: '127.0.0.1:0', tls: { certificates: [web] } }]
modules: [{ name: common, protos: common }]
upstreams: [{ name: pets, endpoints: [{ address: '${HOST}:1', tags: { dollar: '$$x' } }] }]
apis: [{ name: of-file, module: stored, upstream: pets }]
";

    fn resource(kind: Kind, name: &str, text: &str) -> Resource {
        Resource { kind, name: name.into(), text: text.into() }
    }

    fn parsed(resources: &[Resource]) -> Result<Config, Report> {
        let env = |name: &str| (name == "HOST").then(|| "pets.internal".to_owned());
        parse_with(FILE, Path::new("dir/t.yaml"), &env, resources)
    }

    fn needed() -> Vec<Resource> {
        let pem =
            r#"{"cert":"-----BEGIN CERTIFICATE-----\nAA==\n","key":"-----BEGIN PRIVATE KEY-----\nAA==\n"}"#;
        vec![
            resource(Kind::Certificate, "web", pem),
            resource(Kind::Module, "stored", r#"{"deps":["common"]}"#),
            resource(
                Kind::Api,
                "other",
                r#"{"module":"stored","upstream":"there","hosts":["x.example.com"]}"#,
            ),
            resource(Kind::Upstream, "there", r#"{"endpoints":[{"address":"127.0.0.1:2"}]}"#),
        ]
    }

    #[test]
    fn resources_and_the_file_refer_to_each_other() {
        let mut resources = needed();
        resources.push(resource(Kind::Upstream, "pets", "{ nonsense"));
        let config = parsed(&resources).unwrap();
        assert_eq!(config.shadowed, [(Kind::Upstream, "pets".to_owned())]);
        assert_eq!(config.apis.iter().map(|api| &*api.name).collect::<Vec<_>>(), ["of-file", "other"]);
        assert_eq!(config.upstreams[0].endpoints[0].host, "pets.internal");
        assert_eq!(config.modules[1].deps, ["common"]);
        assert_eq!(config.apis[1].at.resource(), Some((Kind::Api, "other")));
        assert_eq!(config.apis[1].upstream_at.to_string(), "apis/other: upstream");
        assert_eq!((config.apis[0].at.resource(), config.apis[0].upstream_at.line), (None, 5));
        let tls = config.listeners[1].tls.as_ref().unwrap();
        let CertificateSource::Given(given) = &tls.certificates[0].source else { panic!("it is PEM") };
        assert!(given.key.contains("PRIVATE KEY") && given.cert.contains("CERTIFICATE"));
        assert_eq!(tls.certificates[0].at.resource(), Some((Kind::Certificate, "web")));
        assert!(!format!("{config:?} {resources:?}").contains("PRIVATE KEY"));
    }

    #[test]
    fn each_item_tells_where_it_is_from_and_who_uses_it() {
        let config = parsed(&needed()).unwrap();
        assert_eq!(config.origin(Kind::Upstream, "pets"), Some(Origin::File));
        assert_eq!(config.origin(Kind::Upstream, "there"), Some(Origin::Store));
        assert_eq!(config.origin(Kind::Upstream, "other"), None);
        assert_eq!(
            config.written(Kind::Upstream, "pets").as_deref(),
            Some(r#"{"endpoints":[{"address":"${HOST}:1","tags":{"dollar":"$x"}}]}"#)
        );
        assert_eq!(config.written(Kind::Module, "stored").as_deref(), Some(r#"{"deps":["common"]}"#));
        assert_eq!(config.names(Kind::Upstream).collect::<Vec<_>>(), ["pets", "there"]);
        for (kind, name, users) in [
            (Kind::Module, "stored", &["API \"of-file\"", "API \"other\""][..]),
            (Kind::Module, "common", &["module \"stored\""]),
            (Kind::Upstream, "pets", &["API \"of-file\""]),
            (Kind::Certificate, "web", &["listener \"tls\""]),
            (Kind::Api, "other", &[]),
        ] {
            assert_eq!(config.users(kind, name), users, "{name}");
        }
    }

    #[test]
    fn faults_of_a_resource_are_found_in_it() {
        for (kind, text, fault) in [
            (
                Kind::Upstream,
                r#"{"endpoints":[{"address":"nowhere"}]}"#,
                "upstreams/x: endpoints[0].address: \"nowhere\" is not the address of a server",
            ),
            (Kind::Upstream, "[]", "upstreams/x: a list is not an upstream"),
            (Kind::Upstream, "{", "upstreams/x: not YAML"),
            (
                Kind::Upstream,
                r#"{"name":"y","endpoints":[]}"#,
                "upstreams/x: name: \"y\" is the name of another one",
            ),
            (
                Kind::Upstream,
                r#"{"endpoints":[{"address":"${HOST}:1"}]}"#,
                "upstreams/x: endpoints[0].address: `${...}` is not replaced in a resource",
            ),
            (
                Kind::Upstream,
                r#"{"endpoints":[{"address":"a:1"}],"tls":{"ca":"/etc/ca.pem"}}"#,
                "upstreams/x: tls.ca: a resource can't name a file of the gateway",
            ),
            (
                Kind::Module,
                r#"{"protos":"/etc"}"#,
                "modules/x: protos: a resource can't name a file of the gateway",
            ),
            (
                Kind::Module,
                r#"{"descriptor_set":"/etc/passwd"}"#,
                "modules/x: descriptor_set: a resource can't name a file of the gateway",
            ),
            (
                Kind::Module,
                r#"{"rules":"/etc/passwd"}"#,
                "modules/x: rules: a resource can't name a file of the gateway",
            ),
            (Kind::Module, r#"{"deps":["x"]}"#, "modules/x: deps[0]: this module imports itself"),
            (Kind::Module, r#"{"deps":["nobody"]}"#, "modules/x: deps[0]: no module is called \"nobody\""),
            (
                Kind::Certificate,
                r#"{"cert":"/etc/c.pem","key":"k"}"#,
                "certificates/x: cert: a resource holds the PEM itself",
            ),
            (Kind::Api, r#"{"module":"stored"}"#, "apis/x: one of `upstream`, `split` is missing"),
            (Kind::Consumer, "{}", "consumers/x: not built yet"),
        ] {
            let mut resources = needed();
            resources.push(resource(kind, "x", text));
            let report = parsed(&resources).unwrap_err();
            let at = report.faults()[0].at.resource();
            assert!(report.to_string().starts_with(fault), "{report}");
            assert_eq!(at, Some((kind, "x")), "{report}");
        }
        let twice =
            [needed(), vec![resource(Kind::Upstream, "there", r#"{"endpoints":[{"address":"a:1"}]}"#)]]
                .concat();
        let report = parsed(&twice).unwrap_err().to_string();
        assert!(
            report.contains("two upstreams are called") && report.contains("`upstreams/there`"),
            "{report}"
        );
    }

    #[test]
    fn a_resource_is_made_of_json_or_yaml() {
        let made = |text: &str| Resource::new(Kind::Upstream, "x", text);
        let one = made("endpoints:\n- address: a:1\n  weight: 3\nname: x").unwrap();
        assert_eq!(&*one.text, r#"{"endpoints":[{"address":"a:1","weight":3}]}"#);
        assert_eq!(made(&one.text), Ok(one));
        let long = format!("{{\"authority\":\"{}\"}}", "x".repeat(RESOURCE_BYTES_MAX));
        for text in ["[]", "{", "", "1", "{ name: y }", "{ a: '${B}' }", "a: 1\na: 2", long.as_str()] {
            let report = made(text).unwrap_err();
            assert_eq!(report.faults()[0].at.resource(), Some((Kind::Upstream, "x")), "{report}");
        }
        for name in ["", "../x", "a/b", "a b", "-a", &"x".repeat(129)] {
            let report = Resource::new(Kind::Api, name, "{}").unwrap_err().to_string();
            assert!(report.contains("is not a name"), "{report}");
        }
        assert_eq!(canonical("{ b: 1,  a: [x] }").as_deref(), Ok(r#"{"b":1,"a":["x"]}"#));
        assert!(canonical("{").is_err());
    }

    #[test]
    fn a_document_is_lists_of_resources() {
        let text = "
modules: [{ name: m, packages: [p.v1] }]
upstreams:
- name: u
  endpoints: [{ address: a:1 }]
apis: [{ name: a, module: m, upstream: u }, { name: b, module: m, upstream: u }]
certificates: []
";
        let resources = document(text, "apply.yaml").unwrap();
        let shown: Vec<String> =
            resources.iter().map(|one| format!("{} {} {}", one.kind.one(), one.name, one.text)).collect();
        assert_eq!(
            shown,
            [
                r#"module m {"packages":["p.v1"]}"#,
                r#"upstream u {"endpoints":[{"address":"a:1"}]}"#,
                r#"api a {"module":"m","upstream":"u"}"#,
                r#"api b {"module":"m","upstream":"u"}"#,
            ]
        );
        assert_eq!(document(r#"{"apis":[{"name":"\ud83d\ude00"}]}"#, "d").unwrap_err().faults().len(), 1);
        assert_eq!(document("{}", "d"), Ok(Vec::new()));
    }

    #[test]
    fn a_bad_document_is_refused_at_its_lines() {
        for (text, fault) in [
            ("", "d:1:1: nothing is not a document"),
            ("a", "d:1:1: `a` is not a document"),
            ("listeners: []", "d:1:1: listeners: `listeners` belongs to the configuration file"),
            ("\nupstream: []", "d:2:1: upstream: unknown key `upstream`\n  help: did you mean `upstreams`?"),
            ("apis: {}", "d:1:7: apis: a map is not a list"),
            ("apis: [a]", "d:1:8: apis[0]: `a` is not an api"),
            ("apis: [{}]", "d:1:8: apis[0]: `name` is missing"),
            ("apis: [{ name: a/b }]", "d:1:16: apis[0].name: `a/b` is not a name"),
            ("apis: [{ name: [] }]", "d:1:16: apis[0].name: a list is not a name"),
            (
                "apis:\n- name: a\n- name: a",
                "d:3:9: apis[1].name: two apis are called `a`\n  help: the other one is on line 2; names are unique",
            ),
            (
                "apis: [{ name: a, x: '${HOME}' }]",
                "d:1:22: apis[0].x: `${...}` is not replaced in a resource",
            ),
            ("apis: [{ name: '${HOME}' }]", "d:1:16: apis[0].name: `${...}` is not replaced in a resource"),
        ] {
            let report = document(text, "d").unwrap_err();
            assert!(report.to_string().starts_with(fault), "{text}\n{report}");
            assert_eq!(report.faults().len(), 1, "{report}");
        }
        let bomb =
            format!("apis: [&a {{ name: x, y: '{}' }}, {}]", "y".repeat(1 << 20), "*a,".repeat(10_000));
        let report = document(&bomb, "d").unwrap_err().to_string();
        assert!(report.contains("anchors and aliases copy more than 16MiB"), "{report}");
        assert!(document(&"x".repeat((16 << 20) + 1), "d").is_err());
        assert!(document(&("apis: [".to_owned() + &"a,".repeat(100_000) + "]"), "d").is_err());
    }

    #[test]
    fn thousands_of_resources_are_taken() {
        let mut resources = needed();
        for n in 0..2000 {
            let deps = if n == 0 { "common".to_owned() } else { format!("m{}", n - 1) };
            resources.push(resource(
                Kind::Module,
                &format!("m{n}"),
                &format!(r#"{{"deps":["{deps}"],"packages":["p{n}.v1"]}}"#),
            ));
            let api = format!(
                r#"{{"module":"m{n}","upstream":"pets","hosts":["h{n}.example.com"],"services":["p{n}.v1.S"]}}"#
            );
            resources.push(resource(Kind::Api, &format!("a{n}"), &api));
        }
        let config = parsed(&resources).unwrap();
        assert_eq!((config.modules.len(), config.apis.len()), (2002, 2002));
        assert_eq!(config.users(Kind::Upstream, "pets").len(), 2001);
        assert_eq!(config.users(Kind::Module, "m1998"), ["module \"m1999\"", "API \"a1998\""]);
        let index = resources.iter().position(|one| one.name == "m0").unwrap();
        resources[index].text = r#"{"deps":["m1999"]}"#.into();
        let report = parsed(&resources).unwrap_err().to_string();
        assert!(report.contains("imports itself by way of 1999 others"), "{report}");
    }

    #[test]
    fn only_a_resource_is_one() {
        let at = |file: &str, line: u32| At { line, ..At::file(Path::new(file)) };
        assert_eq!(at("upstreams/pets", 0).resource(), Some((Kind::Upstream, "pets")));
        assert_eq!(at("upstreams/pets", 1).resource(), None);
        assert_eq!(at("dir/pets", 0).resource(), None);
        assert_eq!(at("transom demo", 0).resource(), None);
        assert!(Kind::ALL.into_iter().all(|kind| Kind::named(kind.list_name()) == Some(kind)));
        assert_eq!(Kind::named("listeners"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-z:{}\\[\\],&*!|>'\"#%@`$ \n\t\\-?~0-9é]{0,200}") {
            let _ = document(&text, "d");
            let _ = document(&format!("apis: [{text}]"), "d");
            if let Ok(one) = Resource::new(Kind::Api, "a", &text) {
                proptest::prop_assert_eq!(Resource::new(Kind::Api, "a", &one.text), Ok(one.clone()));
                let _ = parsed(&[one]);
            }
        }
    }
}

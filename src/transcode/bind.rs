//! Turns path captures, a query and a form into protobuf bytes, by a `google.api.http` rule compiled once.

use crate::transcode::bind::claims::Claims;
use crate::transcode::bind::claims::Rival;
use crate::transcode::bind::fault::refused;
use crate::transcode::bind::fill::Fill;
use crate::transcode::bind::multipart::Parts;
use crate::transcode::bind::names::Naming;
use crate::transcode::bind::names::Scope;
use crate::transcode::bind::names::Step;
use crate::transcode::bind::pairs::decode;
use crate::transcode::bind::pairs::pairs;
use crate::transcode::bound::Bound;
use crate::transcode::plan::Form;
use crate::transcode::plan::Message;
use crate::transcode::plan::MessageId;
use crate::transcode::plan::Plans;
use crate::transcode::plan::Shape;
use crate::transcode::read::Unknown;

mod claims;
mod fault;
mod fill;
mod mask;
mod multipart;
mod names;
mod pairs;

pub use crate::transcode::bind::fault::BindError;
pub use crate::transcode::bind::mask::patch_mask;

/// How parameters are read, and what they may cost.
#[derive(Debug, Clone)]
pub struct BindOptions {
    /// What happens to parameters that name no field, and to names that an enum doesn't have.
    pub unknown_query: Unknown,
    /// Parameters that never mean a field, such as those of trackers.
    pub ignored_query_parameters: Vec<String>,
    /// Whether `1` and `0` are booleans too.
    pub lenient_bool: bool,
    /// Parameters of one query or form.
    pub parameters_max: usize,
    /// Parts of one field path.
    pub depth_max: usize,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self {
            unknown_query: Unknown::Reject,
            ignored_query_parameters: Vec::new(),
            lenient_bool: false,
            parameters_max: 1000,
            depth_max: 32,
        }
    }
}

impl BindOptions {
    fn ignores(&self, name: &str) -> bool {
        self.ignored_query_parameters.iter().any(|ignored| ignored == name)
    }
}

/// What a rule says of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// There is none.
    None,
    /// `body: "*"`: it has all fields that are not in the path, and there is no query.
    All,
    /// It is one field of the request.
    Field(&'a str),
}

/// What the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundBody {
    /// There is none.
    None,
    /// The request, without what the path has of it.
    All,
    /// One field of the request: the index into its fields.
    Field(usize),
}

/// A rule, compiled.
#[derive(Debug)]
pub struct Binding {
    input: MessageId,
    variables: Box<[Variable]>,
    bound: Bound,
    body: BoundBody,
    options: BindOptions,
}

/// A variable of the path: the field that it sets.
#[derive(Debug)]
struct Variable {
    path: Box<str>,
    /// From the request to the field: each a message, and the index of a field of it.
    steps: Box<[(MessageId, usize)]>,
}

impl Variable {
    fn steps<'p>(&self, plans: &'p Plans) -> impl Iterator<Item = Step<'p>> {
        self.steps.iter().map(|(id, index)| step_of(plans.message(*id), *index))
    }
}

impl Binding {
    /// Compiles a rule over the request `input`: the field path of each variable, in order, and the body.
    ///
    /// # Errors
    /// A sentence for whoever wrote the rule: names that are no fields, and fields that can't be there.
    pub fn compile(
        plans: &Plans,
        input: MessageId,
        variables: &[&[Box<str>]],
        body: Body<'_>,
        options: &BindOptions,
    ) -> Result<Self, String> {
        let message = plans.message(input);
        let body = match body {
            Body::None => BoundBody::None,
            Body::All => BoundBody::All,
            Body::Field(name) => {
                let found = field_index(plans, input, name);
                BoundBody::Field(found.map_err(|why| format!("body: {why}"))?)
            }
        };
        let scope = Scope {
            plans,
            root: message,
            bound: &NOTHING,
            naming: Naming::Proto,
            depth_max: options.depth_max.min(DEPTH_CEILING),
        };
        let mut claims = Claims::default();
        let mut bound = Bound::empty();
        let mut compiled = Vec::with_capacity(variables.len());
        for names in variables {
            let path = names.join(".");
            let steps = variable_steps(scope, &path, &mut claims)?;
            let numbers: Vec<u32> = steps.iter().map(|step| step.field.number).collect();
            if !bound.own(&numbers) {
                return Err(format!("two variables of the path set the field {path:?}: take one out"));
            }
            check_beside_body(&path, &steps, message, body)?;
            compiled.push(Variable { path: path.into(), steps: ids(input, &steps) });
        }
        let options = BindOptions { depth_max: scope.depth_max, ..options.clone() };
        Ok(Self { input, variables: compiled.into(), bound, body, options })
    }

    /// The fields that the path sets, which a body must not.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// What the body is.
    pub fn body(&self) -> BoundBody {
        self.body
    }

    /// Refuses a body where the rule has none.
    ///
    /// # Errors
    /// A body that is not empty and that no field would take.
    pub fn check_body(&self, body: &[u8]) -> Result<(), BindError> {
        if self.body == BoundBody::None && !body.is_empty() {
            return Err(refused("", "this method takes no body: send the fields as query parameters"));
        }
        Ok(())
    }

    /// Appends the fields that the path and the query set: a decoded text for each variable, and the query
    /// as it was sent, without its question mark.
    ///
    /// # Errors
    /// Texts that are no values of their fields, parameters that set no field or one that is not theirs;
    /// what `out` has is of no use then.
    pub fn bind(
        &self,
        plans: &Plans,
        captures: &[String],
        query: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), BindError> {
        if captures.len() != self.variables.len() {
            let what = format!("{} values for {} path variables", captures.len(), self.variables.len());
            return Err(refused("", what));
        }
        let mut fill = self.fill(plans);
        if let BoundBody::Field(index) = self.body {
            fill = fill.beside(step_of(plans.message(self.input), index));
        }
        for (variable, capture) in self.variables.iter().zip(captures) {
            fill.variable(&variable.path, variable.steps(plans), capture, out);
        }
        if self.body == BoundBody::All {
            self.refuse_query(query, &mut fill);
        } else if !query.is_empty() {
            self.claim_variables(plans, &mut fill);
            fill.parameters(query, out);
        }
        fill.faults.finish()
    }

    /// Appends the fields that a body of `application/x-www-form-urlencoded` sets.
    ///
    /// # Errors
    /// As of [`Binding::bind`], and forms for a body that is no message.
    pub fn bind_form(&self, plans: &Plans, form: &[u8], out: &mut Vec<u8>) -> Result<(), BindError> {
        let form = std::str::from_utf8(form).map_err(|_| {
            refused("", "the form is not UTF-8: escape the bytes of UTF-8, or send it as UTF-8")
        })?;
        let mut fill = self.body_fill(plans)?;
        self.claim_variables(plans, &mut fill);
        fill.parameters(form, out);
        fill.faults.finish()
    }

    /// Appends the fields that a body of `multipart/form-data` sets; `content_type` is that of the request.
    ///
    /// Texts are read as those of a form are. A file sets a field of bytes, or a `google.api.HttpBody`.
    ///
    /// # Errors
    /// As of [`Binding::bind_form`], and bodies that RFC 7578 doesn't know.
    pub fn bind_multipart(
        &self,
        plans: &Plans,
        content_type: &str,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), BindError> {
        let parts = Parts::new(content_type, body).map_err(|what| refused("", what))?;
        let mut fill = self.body_fill(plans)?;
        self.claim_variables(plans, &mut fill);
        for part in parts {
            let part = part.map_err(|what| refused("", what))?;
            if !fill.count() {
                break;
            }
            fill.part(&part, out);
            if fill.faults.is_full() {
                break;
            }
        }
        fill.faults.finish()
    }

    fn fill<'p, 's>(&'s self, plans: &'p Plans) -> Fill<'p, 's, 's> {
        let depth_max = self.options.depth_max;
        let root = plans.message(self.input);
        Fill::new(Scope { plans, root, bound: &self.bound, naming: Naming::Any, depth_max }, &self.options)
    }

    /// What sets fields by the names that a form has.
    fn body_fill<'p, 's>(&'s self, plans: &'p Plans) -> Result<Fill<'p, 's, 's>, BindError> {
        let index = match self.body {
            BoundBody::None => {
                let what = "this method takes no body: send the fields as query parameters";
                return Err(refused("", what));
            }
            BoundBody::All => return Ok(self.fill(plans)),
            BoundBody::Field(index) => index,
        };
        let prefix = step_of(plans.message(self.input), index);
        let message = prefix.field.message().map(|id| plans.message(id));
        let message = message.filter(|message| message.form == Form::Object);
        let Some(root) = message.filter(|_| prefix.field.shape == Shape::Single) else {
            let what =
                format!("the body is the field {}, which a form can't be: send JSON", prefix.field.name);
            return Err(refused("", what));
        };
        let bound = self.bound.child(prefix.field.number).unwrap_or(&NOTHING);
        let depth_max = self.options.depth_max;
        let scope = Scope { plans, root, bound, naming: Naming::Any, depth_max };
        Ok(Fill::new(scope, &self.options).within(prefix))
    }

    fn claim_variables<'p>(&self, plans: &'p Plans, fill: &mut Fill<'p, '_, '_>) {
        for variable in &self.variables {
            fill.claim(variable.steps(plans));
        }
    }

    /// Refuses the query of a rule whose body is the whole request.
    fn refuse_query(&self, query: &str, fill: &mut Fill<'_, '_, '_>) {
        if self.options.unknown_query == Unknown::Ignore {
            return;
        }
        for pair in pairs(query) {
            let is_ignored = decode(pair.name).is_ok_and(|name| self.options.ignores(&name));
            if !fill.count() || fill.faults.is_full() {
                return;
            }
            if !is_ignored {
                fill.faults.push(pair.name, "this method takes no query parameters: send it in the body");
            }
        }
    }
}

/// The index of the field of `message` that has the proto name `name`.
///
/// # Errors
/// A sentence, with the nearest name, if there is none.
pub fn field_index(plans: &Plans, message: MessageId, name: &str) -> Result<usize, String> {
    let message = plans.message(message);
    let found = message.fields.iter().position(|field| *field.name == *name);
    found.ok_or_else(|| names::unknown_field(message, name, Naming::Proto))
}

fn step_of(message: &Message, index: usize) -> Step<'_> {
    Step { message, index, field: &message.fields[index] }
}

/// The fields on the way to the one that a variable sets.
fn variable_steps<'p>(
    scope: Scope<'p, '_>,
    path: &str,
    claims: &mut Claims,
) -> Result<Vec<Step<'p>>, String> {
    let mut steps = Vec::new();
    scope
        .resolve(path, &mut steps)
        .map_err(|refused| format!("the path variable {path:?}: {}", refused.into_sentence()))?;
    if steps.last().is_some_and(|leaf| leaf.field.shape != Shape::Single) {
        return Err(format!(
            "the path variable {path:?} is a list, but a path has one value: bind another field"
        ));
    }
    match claims.claim(&steps) {
        Ok(()) => Ok(steps),
        Err(Rival::Itself) => Err(format!("two variables of the path set the field {path:?}: take one out")),
        Err(Rival::Member(other)) => Err(format!(
            "the path variable {path:?} is of the same oneof as {other:?}, which the path sets too"
        )),
    }
}

/// Checks that the body and a variable can both be there.
fn check_beside_body(
    path: &str,
    steps: &[Step<'_>],
    message: &Message,
    body: BoundBody,
) -> Result<(), String> {
    let (BoundBody::Field(index), Some(first)) = (body, steps.first()) else { return Ok(()) };
    let field = &message.fields[index];
    if first.index == index {
        if steps.len() == 1 {
            return Err(format!("the path and the body both set the field {path:?}: choose one"));
        }
    } else if field.oneof.is_some() && field.oneof == first.field.oneof {
        return Err(format!("the path variable {path:?} is of the same oneof as the body, {:?}", field.name));
    }
    Ok(())
}

/// The same steps by the ids of their messages.
fn ids(input: MessageId, steps: &[Step<'_>]) -> Box<[(MessageId, usize)]> {
    let parents = steps.iter().map(|step| step.field.message());
    std::iter::once(Some(input))
        .chain(parents)
        .zip(steps)
        .filter_map(|(message, step)| Some((message?, step.index)))
        .collect()
}

static NOTHING: Bound = Bound::empty();
/// Deeper messages are refused by parsers.
const DEPTH_CEILING: usize = 100;

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;
    use prost_reflect::DynamicMessage;
    use protox::file::ChainFileResolver;
    use protox::file::File;
    use protox::file::FileResolver;
    use protox::file::GoogleFileResolver;
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::schema::Traits;

    struct Source;

    impl FileResolver for Source {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            match name {
                "t.proto" => File::from_source(name, PROTO3),
                "old.proto" => File::from_source(name, PROTO2),
                "google/api/httpbody.proto" => File::from_source(name, HTTP_BODY),
                _ => Err(protox::Error::file_not_found(name)),
            }
        }
    }

    pub(super) fn schema() -> (Plans, DescriptorPool) {
        let mut resolver = ChainFileResolver::new();
        resolver.add(GoogleFileResolver::new());
        resolver.add(Source);
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.include_imports(true);
        compiler.open_files(["t.proto", "old.proto"]).unwrap();
        let pool = DescriptorPool::from_file_descriptor_set(compiler.file_descriptor_set()).unwrap();
        (Plans::new(pool.clone(), Traits::default()), pool)
    }

    pub(super) fn decoded(pool: &DescriptorPool, name: &str, bytes: &[u8]) -> Value {
        let message = DynamicMessage::decode(pool.get_message_by_name(name).unwrap(), bytes).unwrap();
        assert_eq!(message.unknown_fields().count(), 0);
        serde_json::to_value(&message).unwrap()
    }

    /// A rule over one message: `paths` with their captures, and the body.
    struct Rule {
        plans: Plans,
        pool: DescriptorPool,
        name: &'static str,
        captures: Vec<String>,
        binding: Binding,
    }

    impl Rule {
        fn new(name: &'static str, paths: &[(&str, &str)], body: Body<'_>, options: &BindOptions) -> Self {
            let (plans, pool) = schema();
            let binding = compile(
                &plans,
                name,
                &paths.iter().map(|(path, _)| *path).collect::<Vec<_>>(),
                body,
                options,
            );
            let captures = paths.iter().map(|(_, text)| (*text).to_owned()).collect();
            Self { binding: binding.unwrap(), plans, pool, name, captures }
        }

        fn finish(&self, bound: Result<(), BindError>, out: &[u8]) -> Result<Value, String> {
            bound.map(|()| decoded(&self.pool, self.name, out)).map_err(|error| error.to_string())
        }

        fn query(&self, query: &str) -> Result<Value, String> {
            let mut out = Vec::new();
            self.finish(self.binding.bind(&self.plans, &self.captures, query, &mut out), &out)
        }

        fn form(&self, form: &str) -> Result<Value, String> {
            let mut out = Vec::new();
            self.finish(self.binding.bind_form(&self.plans, form.as_bytes(), &mut out), &out)
        }

        fn multipart(&self, body: &[u8]) -> Result<Value, String> {
            let mut out = Vec::new();
            let content_type = "multipart/form-data; boundary=xx";
            self.finish(self.binding.bind_multipart(&self.plans, content_type, body, &mut out), &out)
        }
    }

    fn compile(
        plans: &Plans,
        name: &str,
        paths: &[&str],
        body: Body<'_>,
        options: &BindOptions,
    ) -> Result<Binding, String> {
        let split: Vec<Vec<Box<str>>> =
            paths.iter().map(|path| path.split('.').map(Into::into).collect()).collect();
        let variables: Vec<&[Box<str>]> = split.iter().map(Vec::as_slice).collect();
        Binding::compile(plans, plans.find(name).unwrap(), &variables, body, options)
    }

    fn strict(paths: &[(&str, &str)], body: Body<'_>) -> Rule {
        Rule::new("t.Req", paths, body, &BindOptions::default())
    }

    #[track_caller]
    fn refuses(result: Result<Value, String>, sentence: &str) {
        let error = result.unwrap_err();
        assert!(error.contains(sentence), "{error}");
    }

    #[test]
    fn binds_path_and_query_together() {
        let rule = strict(&[("id", "a/b"), ("nested.child.count", "7"), ("size", "0")], Body::None);
        let found =
            rule.query("nested.name=n&tags=x&nested.child.child.labels=1&tags=y&nested.child.child.labels=2");
        let child = json!({"count": 7, "child": {"labels": ["1", "2"]}});
        let nested = json!({"name": "n", "child": child});
        let expected = json!({"id": "a/b", "nested": nested, "size": "0", "tags": ["x", "y"]});
        assert_eq!(found, Ok(expected));
        refuses(rule.query("nested.child.count=8"), "set by the path");
        refuses(rule.query("id=8"), "id: is set by the path");
        refuses(rule.query("size=8"), "set by the path");
        refuses(strict(&[("size", "x")], Body::None).query(""), "size: \"x\" is not");
    }

    #[test]
    fn writes_long_values_far_down() {
        let long = "x".repeat(300);
        let query = format!("nested{}.name={long}", ".child".repeat(30));
        let mut found = strict(&[], Body::None).query(&query).unwrap();
        for step in std::iter::once("nested").chain(std::iter::repeat_n("child", 30)) {
            found = found[step].take();
        }
        assert_eq!(found, json!({"name": long}));
        let deep = format!("nested{}.name=x", ".child".repeat(31));
        refuses(strict(&[], Body::None).query(&deep), "more than 32 parts");
    }

    #[test]
    fn writes_groups_packed_lists_and_extensions() {
        let rule = Rule::new("old.Old", &[("grp.text", "g")], Body::None, &BindOptions::default());
        let found = rule.query("nums=1&grp.num=-5&nums=0&[old.ext]=e&kind=B&[old.sub].text=s");
        let expected = json!({"nums": [1, 0], "grp": {"text": "g", "num": "-5"}, "[old.ext]": "e", "kind": "B",
            "[old.sub]": {"text": "s"}});
        assert_eq!(found, Ok(expected));
        refuses(rule.query("kind=7"), "closed enum");
        refuses(rule.query("kind=7&kind=8"), "closed enum");
        assert_eq!(rule.query("grp.num=0").unwrap()["grp"], json!({"text": "g", "num": "0"}));
    }

    #[test]
    fn refuses_two_members_of_a_oneof() {
        let rule = strict(&[], Body::None);
        refuses(rule.query("left=1&right=2"), "right: is of the same oneof as left");
        refuses(rule.query("left=1&deep.name=2"), "same oneof");
        refuses(rule.query("deep.child.name=1&left=2"), "same oneof");
        assert_eq!(rule.query("deep.name=1&deep.count=2"), Ok(json!({"deep": {"name": "1", "count": 2}})));
        refuses(strict(&[("left", "1")], Body::None).query("right=2"), "same oneof as left");
        refuses(strict(&[], Body::Field("deep")).query("left=2"), "same oneof as deep");
        refuses(strict(&[("left", "1")], Body::All).form("right=2"), "same oneof as left");
    }

    #[test]
    fn refuses_a_second_value() {
        let rule = strict(&[], Body::None);
        for query in [
            "id=1&id=1",
            "pageSize=1&page_size=1",
            "nested.name=1&nested%2ename=1",
            "at=1970-01-01T00:00:00Z&at=x",
        ] {
            refuses(rule.query(query), "is there twice");
        }
    }

    #[test]
    fn keeps_query_and_body_apart() {
        let rule = strict(&[("id", "1"), ("nested.name", "n")], Body::Field("nested"));
        assert_eq!(rule.query("pageSize=2"), Ok(json!({"id": "1", "pageSize": 2, "nested": {"name": "n"}})));
        refuses(rule.query("nested.count=2"), "set by the body");
        refuses(rule.query("nested.nope=2"), "set by the body");
        refuses(rule.query("nested=2"), "set by the body");
        let whole = strict(&[("id", "1")], Body::All);
        assert_eq!(whole.query(""), Ok(json!({"id": "1"})));
        refuses(whole.query("pageSize=1"), "no query parameters");
        let options = BindOptions { unknown_query: Unknown::Ignore, ..BindOptions::default() };
        let lenient = Rule::new("t.Req", &[("id", "1")], Body::All, &options);
        assert_eq!(lenient.query("pageSize=1&id=2"), Ok(json!({"id": "1"})));
        assert!(whole.binding.check_body(b"{}").is_ok());
        let none = strict(&[], Body::None);
        assert!(none.binding.check_body(b"").is_ok());
        assert!(none.binding.check_body(b"{}").is_err());
    }

    #[test]
    fn ignores_what_it_is_told_to() {
        let options = BindOptions {
            unknown_query: Unknown::Ignore,
            ignored_query_parameters: vec!["utm".to_owned(), "nested".to_owned()],
            lenient_bool: true,
            ..BindOptions::default()
        };
        let rule = Rule::new("t.Req", &[("id", "1")], Body::Field("st"), &options);
        let found =
            rule.query("nope=1&nested.nope=%&tags.x=1&color=GREEN&utm=%zz&nested=1&flag=1&page_size=3");
        assert_eq!(found, Ok(json!({"id": "1", "flag": true, "pageSize": 3})));
        for query in [
            "id=2",
            "st=1",
            "st.a=1",
            "page_size=x",
            "page_size=1&page_size=1",
            "%zz=1",
            "items=1",
            "at.seconds=1",
        ] {
            assert!(rule.query(query).is_err(), "{query}");
        }
    }

    #[test]
    fn says_what_to_do_instead() {
        let rule = strict(&[], Body::None);
        for (query, sentence) in [
            ("page_sise=1", "page_sise: unknown field \"page_sise\": did you mean \"page_size\"?"),
            ("nested.nam=1", "did you mean \"name\"?"),
            ("nested=1", "set its fields, such as nested.name"),
            ("items=1", "list of messages"),
            ("items.name=1", "list of messages"),
            ("attrs=1", "is a map"),
            ("attrs.key=1", "is a map"),
            ("st=1", "google.protobuf.Struct"),
            ("st.a=1", "google.protobuf.Struct"),
            ("at.seconds=1", "give it as at itself"),
            ("id.x=1", "id is not a message"),
            ("=1", "unknown field"),
            (".=1", "unknown field"),
            ("nested.=1", "unknown field"),
            ("at=1970-01-01T00:00:00+01:00", "write a plus as %2B"),
            ("id=%ff", "not UTF-8"),
            ("%zz=1", "the name has a %"),
            ("page_size=1.5", "page_size: \"1.5\""),
        ] {
            refuses(rule.query(query), sentence);
        }
        let mut out = Vec::new();
        let error = rule.binding.bind(&rule.plans, &[], &"nope=1&".repeat(100), &mut out).unwrap_err();
        assert_eq!(error.violations.len(), 20);
        let error = rule.binding.bind(&rule.plans, &[], &"page_sise=1&".repeat(20), &mut out).unwrap_err();
        let suggested = error.violations.iter().filter(|(_, what)| what.contains("did you mean")).count();
        assert_eq!((error.violations.len(), suggested), (20, 3));
        assert!(rule.binding.bind(&rule.plans, &["x".to_owned()], "", &mut out).is_err());
    }

    #[test]
    fn bounds_the_number_of_parameters() {
        let options = BindOptions { unknown_query: Unknown::Ignore, ..BindOptions::default() };
        for rule in [strict(&[], Body::None), Rule::new("t.Req", &[], Body::None, &options)] {
            let found = rule.query(&"tags=x&".repeat(1000)).unwrap();
            assert_eq!(found["tags"].as_array().unwrap().len(), 1000);
            refuses(rule.query(&"tags=x&".repeat(1001)), "more than 1000 parameters");
        }
        refuses(
            Rule::new("t.Req", &[], Body::None, &options).query(&"a.b.c=x&".repeat(10_000)),
            "more than 1000",
        );
    }

    #[test]
    fn binds_forms() {
        let rule = strict(&[("id", "1"), ("nested.name", "n")], Body::All);
        assert_eq!(
            rule.form("nested.count=2&tags=a+b"),
            Ok(json!({"nested": {"count": 2}, "tags": ["a b"]}))
        );
        refuses(rule.form("id=2"), "set by the path");
        refuses(rule.form("nested.name=2"), "set by the path");
        let rule = strict(&[("nested.name", "n"), ("id", "1")], Body::Field("nested"));
        assert_eq!(
            rule.form("count=2&child.count=3"),
            Ok(json!({"nested": {"count": 2, "child": {"count": 3}}}))
        );
        refuses(rule.form("name=2"), "set by the path");
        refuses(rule.form("id=2"), "unknown field");
        refuses(strict(&[], Body::Field("items")).form("name=2"), "a form can't be");
        refuses(strict(&[], Body::Field("st")).form("name=2"), "a form can't be");
        refuses(strict(&[], Body::None).form("id=2"), "takes no body");
        let mut out = Vec::new();
        assert!(rule.binding.bind_form(&rule.plans, b"count=\xff", &mut out).is_err());
    }

    #[test]
    fn binds_multipart_forms() {
        let part = |head: &str, content: &str| {
            format!("--xx\r\nContent-Disposition: form-data; name={head}\r\n\r\n{content}\r\n")
        };
        let whole = |parts: &[String]| format!("{}--xx--\r\n", parts.concat()).into_bytes();
        let rule = strict(&[("id", "1")], Body::All);
        let image = "\"images\"; filename=\"a.png\"\r\nContent-Type: image/png";
        let body = whole(&[
            part("nested.name", "a+b%20"),
            part(image, "12"),
            part("pageSize", "5"),
            part("images", "34"),
            part("data; filename=x", "ab"),
            part("nested.child.data", "YWI="),
        ]);
        let images = json!([{"contentType": "image/png", "data": "MTI="}, {"contentType": "text/plain", "data": "MzQ="}]);
        let nested = json!({"name": "a+b%20", "child": {"data": "YWI="}});
        let expected = json!({"nested": nested, "images": images, "pageSize": 5, "data": "YWI="});
        assert_eq!(rule.multipart(&body), Ok(expected));
        for (head, content, sentence) in [
            ("id", "2", "set by the path"),
            ("pageSize; filename=x", "2", "neither bytes nor"),
            ("nope; filename=x", "2", "unknown field"),
            ("pageSize", "x", "pageSize: \"x\""),
            ("tags\r\nContent-Type: text/plain; charset=latin1", "x", "UTF-8"),
        ] {
            refuses(rule.multipart(&whole(&[part(head, content)])), sentence);
        }
        refuses(rule.multipart(&whole(&[part("image", "1"), part("image.data", "AA")])), "twice");
        refuses(rule.multipart(&whole(&[part("image.data", "AA"), part("image", "1")])), "twice");
        refuses(rule.multipart(&whole(&[part("data; filename=x", "1"), part("data", "AA")])), "twice");
        refuses(rule.multipart(b"--xx\r\n"), "head of a part");
        refuses(rule.multipart(&whole(&vec![part("tags", "x"); 1001])), "more than 1000");
        let rule = strict(&[("image.content_type", "image/png")], Body::All);
        refuses(rule.multipart(&whole(&[part("image", "1")])), "in part set by the path");
    }

    #[test]
    fn refuses_rules_that_cannot_be() {
        let (plans, _) = schema();
        let options = BindOptions::default();
        let cases: &[(&[&str], Body<'_>, &str)] = &[
            (&["idd"], Body::None, "did you mean \"id\"?"),
            (&["pageSize"], Body::None, "did you mean \"page_size\"?"),
            (&["nested.nope"], Body::None, "t.Nested has no such field"),
            (&["nested"], Body::None, "is a message"),
            (&["tags"], Body::None, "is a list"),
            (&["times"], Body::None, "is a list"),
            (&["attrs"], Body::None, "is a map"),
            (&["items.name"], Body::None, "list of messages"),
            (&["st"], Body::None, "google.protobuf.Struct"),
            (&["any"], Body::None, "google.protobuf.Any"),
            (&["at.seconds"], Body::None, "give it as at itself"),
            (&["id", "id"], Body::None, "two variables"),
            (&["left", "right"], Body::None, "same oneof"),
            (&["left", "deep.name"], Body::None, "same oneof"),
            (&["id"], Body::Field("id"), "both set"),
            (&["left"], Body::Field("deep"), "same oneof"),
            (&[], Body::Field("nestd"), "did you mean \"nested\"?"),
            (&[], Body::Field("nested.name"), "no such field"),
        ];
        for (paths, body, sentence) in cases {
            let error = compile(&plans, "t.Req", paths, *body, &options).unwrap_err();
            assert!(error.contains(sentence), "{paths:?}: {error}");
        }
        for path in ["id", "nested.child.name", "at", "size", "mask", "flag", "color", "data"] {
            let binding = compile(&plans, "t.Req", &[path], Body::All, &options).unwrap();
            assert!(!binding.bound().is_empty(), "{path}");
        }
        let root = plans.find("t.Req").unwrap();
        assert_eq!(
            &*plans.message(root).fields[field_index(&plans, root, "page_size").unwrap()].name,
            "page_size"
        );
        assert!(field_index(&plans, root, "pageSize").is_err());
    }

    proptest::proptest! {
        /// Whatever comes is refused, or is a message.
        #[test]
        fn takes_any_text(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40)) {
            let text = pieces.concat();
            let (paths, options) = ([("nested.name", "n")], BindOptions::default());
            let lenient = BindOptions { unknown_query: Unknown::Ignore, ..options.clone() };
            for (body, options) in [(Body::None, &options), (Body::None, &lenient), (Body::All, &lenient)] {
                let rule = Rule::new("t.Req", &paths, body, options);
                if let Ok(found) = rule.query(&text) {
                    assert_eq!(found["nested"]["name"], "n");
                }
                if let Ok(found) = rule.form(&text) {
                    assert!(found["nested"].get("name").is_none());
                }
                let _ = rule.multipart(text.replace('&', "\r\n").as_bytes());
            }
        }
    }

    const PIECES: &[&str] = &[
        "&",
        "&",
        "&",
        "=",
        "=",
        ".",
        "id",
        "nested",
        "child",
        "name",
        "count",
        "tags",
        "deep",
        "left",
        "data",
        "1",
        "%",
        "%2",
        "%26",
        "%ff",
        "+",
        "[",
        "]",
        "ä",
        "at",
        "1970-01-01T00:00:00Z",
        "attrs",
        "items",
        "page_size=",
        "nested.child.",
        "--xx",
        "--",
        "Content-Disposition: form-data; name=id",
        "&&",
        "\"",
        "\\",
        "nested.count=",
        "nested.name=",
    ];
    const PROTO3: &str = r#"
        syntax = "proto3";
        package t;
        import "google/api/httpbody.proto";
        import "google/protobuf/any.proto";
        import "google/protobuf/field_mask.proto";
        import "google/protobuf/struct.proto";
        import "google/protobuf/timestamp.proto";
        import "google/protobuf/wrappers.proto";
        message Req {
          string id = 1;
          int32 page_size = 2;
          repeated string tags = 3;
          Nested nested = 4;
          repeated Nested items = 5;
          map<string, string> attrs = 6;
          google.protobuf.Timestamp at = 7;
          google.protobuf.Struct st = 8;
          google.protobuf.Int64Value size = 9;
          google.protobuf.FieldMask mask = 10;
          bool flag = 11;
          Color color = 12;
          bytes data = 13;
          google.protobuf.Any any = 14;
          repeated google.protobuf.Timestamp times = 15;
          repeated google.api.HttpBody images = 16;
          google.api.HttpBody image = 17;
          oneof choice {
            string left = 20;
            int32 right = 21;
            Nested deep = 22;
          }
        }
        message Nested {
          string name = 1;
          int32 count = 2;
          Nested child = 3;
          repeated string labels = 4;
          bytes data = 5;
        }
        message Update {
          Req req = 1;
          google.protobuf.FieldMask update_mask = 2;
          string other = 3;
        }
        enum Color { NONE = 0; RED = 1; }
    "#;
    const PROTO2: &str = r#"
        syntax = "proto2";
        package old;
        message Old {
          repeated int32 nums = 1 [packed = true];
          optional group Grp = 2 {
            optional string text = 3;
            optional sint64 num = 4;
          }
          optional Kind kind = 5;
          extensions 100 to 200;
        }
        message Sub { optional string text = 1; }
        enum Kind { A = 1; B = 2; }
        extend Old {
          optional string ext = 100;
          optional Sub sub = 101;
        }
    "#;
    const HTTP_BODY: &str = r#"
        syntax = "proto3";
        package google.api;
        import "google/protobuf/any.proto";
        message HttpBody {
          string content_type = 1;
          bytes data = 2;
          repeated google.protobuf.Any extensions = 3;
        }
    "#;
}

//! Rules about the HTTP bindings of methods, which REST clients know.

use std::collections::HashMap;

use prost_reflect::Kind;
use prost_reflect::MessageDescriptor;
use prost_reflect::MethodDescriptor;

use crate::registry::breaking::report::Check;
use crate::registry::breaking::report::quoted;
use crate::registry::breaking::rules;
use crate::schema::Service;
use crate::schema::http;
use crate::schema::http::BodyRule;
use crate::schema::http::Segment;
use crate::schema::http::ServiceConfig;
use crate::schema::http::Verb;

/// Methods that are gone are reported as such, without what they were bound to.
pub(super) fn compare(
    check: &mut Check<'_>,
    old_rules: Option<&ServiceConfig>,
    new_rules: Option<&ServiceConfig>,
) {
    let (old, new) = (check.old, check.new);
    let same_config = match (old_rules, new_rules) {
        (Some(old_rules), Some(new_rules)) => std::ptr::eq(old_rules, new_rules),
        (old_rules, new_rules) => old_rules.is_none() && new_rules.is_none(),
    };
    // Most files of a new version are as they were, and reading their rules is most of the work.
    let mut untouched: HashMap<&str, bool> = HashMap::new();
    for service in old.services() {
        let is_untouched = untouched.entry(&service.file).or_insert_with(|| {
            let files = (old.file(&service.file), new.file(&service.file));
            same_config && matches!(files, (Some(was), Some(is)) if was.has_same_services(is))
        });
        if !*is_untouched {
            compare_service(check, service, old_rules, new_rules);
        }
    }
}

fn compare_service(
    check: &mut Check<'_>,
    service: &Service,
    old_rules: Option<&ServiceConfig>,
    new_rules: Option<&ServiceConfig>,
) {
    let new = check.new;
    for before in &service.methods {
        let Some(after) = new.method(&before.method.path) else { continue };
        let (before, after) = (&before.descriptor, &after.descriptor);
        let bindings = bindings(before, old_rules);
        if bindings.is_empty() {
            continue;
        }
        let left = self::bindings(after, new_rules);
        let left = Served::of(&left);
        for binding in bindings {
            let Some(same) = left.answers(&binding) else {
                let problem = format!("{} is no longer bound to it", shown(&binding));
                let place = check.at(&after.parent_file(), after.path());
                check.report(&rules::TRANSOM_HTTP_BINDING_NO_DELETE, place, before.full_name(), problem);
                continue;
            };
            for change in changes(&Side { rpc: before, rule: &binding }, &Side { rpc: after, rule: same }) {
                let problem = format!("{}: {change}", shown(&binding));
                let place = check.at(&after.parent_file(), after.path());
                check.report(&rules::TRANSOM_HTTP_BINDING_SAME, place, before.full_name(), problem);
            }
        }
    }
}

fn shown(binding: &http::Rule) -> String {
    format!("{} {}", binding.verb, quoted(&binding.template.text))
}

/// Rules that can't be read are not served, and so are none. All that some API may allow is read.
fn bindings(rpc: &MethodDescriptor, config: Option<&ServiceConfig>) -> Vec<http::Rule> {
    if config.is_none() && rpc.method_descriptor_proto().options.is_none() {
        return Vec::new();
    }
    http::rules_and_faults(rpc, GRAMMAR, config).0
}

/// Bindings by the paths that they take, whatever their variables are called, and by their verb.
struct Served<'a>(HashMap<(&'a [Segment], Option<&'a str>, &'a Verb), &'a http::Rule>);

impl<'a> Served<'a> {
    /// Of two that take the same requests the first one does.
    fn of(rules: &'a [http::Rule]) -> Self {
        let mut served = HashMap::with_capacity(rules.len());
        for rule in rules {
            served.entry(key(rule, &rule.verb)).or_insert(rule);
        }
        Self(served)
    }

    /// The binding that takes the requests of another one.
    fn answers(&self, binding: &http::Rule) -> Option<&'a http::Rule> {
        let of = |verb| self.0.get(&key(binding, verb)).copied();
        of(&binding.verb).or_else(|| of(&Verb::Any))
    }
}

fn key<'a>(rule: &'a http::Rule, verb: &'a Verb) -> (&'a [Segment], Option<&'a str>, &'a Verb) {
    (&rule.template.segments, rule.template.verb.as_deref(), verb)
}

/// A binding and its method.
struct Side<'a> {
    rpc: &'a MethodDescriptor,
    rule: &'a http::Rule,
}

fn changes(old: &Side<'_>, new: &Side<'_>) -> Vec<String> {
    let (before, after) = (old.rule, new.rule);
    let inputs = (old.rpc.input(), new.rpc.input());
    let outputs = (old.rpc.output(), new.rpc.output());
    let mut changes = Vec::new();
    let same_body = match (&before.body, &after.body) {
        (BodyRule::Field(was), BodyRule::Field(is)) => {
            is_same_field(&inputs, std::slice::from_ref(was), std::slice::from_ref(is))
        }
        (was, is) => was == is,
    };
    if !same_body {
        changes.push(format!("the body was {}, and is {} now", body(&before.body), body(&after.body)));
    }
    let whole = |field: &Option<Box<str>>| match field {
        Some(name) => format!("field {name}"),
        None => "the whole reply".to_owned(),
    };
    let same_response = match (&before.response_body, &after.response_body) {
        (Some(was), Some(is)) => is_same_field(&outputs, std::slice::from_ref(was), std::slice::from_ref(is)),
        (was, is) => was == is,
    };
    if !same_response {
        let (was, is) = (whole(&before.response_body), whole(&after.response_body));
        changes.push(format!("the response body was {was}, and is {is} now"));
    }
    let same_variables = before.template.variables.len() == after.template.variables.len()
        && before
            .template
            .variables
            .iter()
            .zip(&after.template.variables)
            .all(|(was, is)| was.segments == is.segments && is_same_field(&inputs, &was.path, &is.path));
    if !same_variables {
        let text = quoted(&after.template.text);
        changes.push(format!("the path sets other fields, as {text} says"));
    }
    changes
}

fn body(rule: &BodyRule) -> String {
    match rule {
        BodyRule::None => "none".to_owned(),
        BodyRule::All => "the whole request".to_owned(),
        BodyRule::Field(name) => format!("field {name}"),
    }
}

/// Whether two paths of names lead to the same field: by the same names, or, in the same message, by the same
/// numbers, for a field may be renamed.
fn is_same_field(
    (old, new): &(MessageDescriptor, MessageDescriptor),
    was: &[Box<str>],
    is: &[Box<str>],
) -> bool {
    was == is
        || old.full_name() == new.full_name()
            && numbers(old, was).is_some_and(|was| Some(was) == numbers(new, is))
}

fn numbers(message: &MessageDescriptor, path: &[Box<str>]) -> Option<Vec<u32>> {
    let mut numbers = Vec::with_capacity(path.len());
    let mut message = Some(message.clone());
    for name in path {
        let field = message?.get_field_by_name(name)?;
        numbers.push(field.number());
        message = match field.kind() {
            Kind::Message(message) => Some(message),
            _ => None,
        };
    }
    Some(numbers)
}

const GRAMMAR: http::Grammar = http::Grammar { allow_mid_double_star: true, allow_root: true };

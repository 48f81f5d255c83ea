//! Paths that two rules or documents claim: which one goes first, and how that is told.

use std::sync::Arc;

use crate::config::host::HostPattern;
use crate::config::types;
use crate::schema::http::Rule;
use crate::snapshot::Document;
use crate::snapshot::LIVE;
use crate::snapshot::MethodPlan;
use crate::snapshot::RestRoute;
use crate::snapshot::RestTarget;
use crate::snapshot::compile::Build;

/// What stands where one rule or document was to be published.
#[derive(Default)]
pub(super) struct Conflicts {
    /// Each once, with the hosts where it is.
    there: Vec<(RestTarget, Vec<HostPattern>)>,
}

impl Conflicts {
    pub(super) fn add(&mut self, target: &RestTarget, host: &HostPattern) {
        let is_same = |(known, _): &&mut (RestTarget, _)| match (known, target) {
            (RestTarget::Rule(known), RestTarget::Rule(route)) => Arc::ptr_eq(&known.rule, &route.rule),
            (RestTarget::Document(known), RestTarget::Document(document)) => Arc::ptr_eq(known, document),
            _ => false,
        };
        match self.there.iter_mut().find(is_same) {
            Some((_, hosts)) => hosts.push(host.clone()),
            None => self.there.push((target.clone(), vec![host.clone()])),
        }
    }

    /// On how many hosts something stands.
    pub(super) fn hosts(&self) -> usize {
        self.there.iter().map(|(_, hosts)| hosts.len()).sum()
    }
}

impl Build<'_> {
    /// Refuses a rule that others go before, or warns where the configuration lets the first one serve.
    pub(super) fn report(&mut self, api: &types::Api, route: &RestRoute, conflicts: Conflicts) {
        let (rule, plan) = (&*route.rule, &route.plan);
        for (first, hosts) in conflicts.there {
            let first = match first {
                RestTarget::Rule(first) => first,
                RestTarget::Document(document) => {
                    self.document_and_rule(&document, &hosts, plan, &rule.at);
                    continue;
                }
            };
            let is_other_api = first.plan.api.name != plan.api.name;
            if is_other_api && first.plan.method.path == plan.method.path {
                continue; // The method itself collides, which is told once for its service.
            }
            let problem = problem(api, rule, plan, &first, &hosts);
            let serves = format!("{} serves", full_name(&first.plan));
            if api.rest.first_of_conflicts {
                self.conflicts += 1;
                if self.conflicts <= WARNINGS_MAX {
                    tracing::warn!("{problem}: {serves}, by `rest.conflicts: first` of API \"{}\"", api.name);
                }
                continue;
            }
            let way_out = format!("set `rest.conflicts: first` on API \"{}\": {serves} then", api.name);
            let help = match is_other_api {
                true => format!("give one of the APIs other `hosts` or another `rest.prefix`, or {way_out}"),
                false if first.plan.method.path == plan.method.path => "remove one of the two rules".into(),
                false => format!("change one of the two rules, or {way_out}"),
            };
            self.diag.collision(&api.module_at, problem, help);
        }
    }

    /// Refuses a document whose path a rule or another document claims.
    ///
    /// Whatever `rest.conflicts` says of rules: the path of a document is the operator's own choice.
    pub(super) fn report_document(&mut self, document: &Document, conflicts: Conflicts) {
        for (first, hosts) in conflicts.there {
            let first = match first {
                RestTarget::Rule(route) => {
                    self.document_and_rule(document, &hosts, &route.plan, &route.rule.at);
                    continue;
                }
                RestTarget::Document(first) => first,
            };
            if first.api == document.api {
                continue; // A host is listed twice, which is told once for each service.
            }
            let problem = format!(
                "GET {} {} is claimed by the OpenAPI document of API \"{}\" ({}) and by that of API \"{}\"",
                document.path,
                places(&hosts),
                first.api,
                first.at.file_and_line(),
                document.api,
            );
            self.diag.collision(
                &document.at,
                problem,
                "give one of the APIs another `openapi.path` or other `hosts`",
            );
        }
    }

    /// Refuses a document whose path a rule claims too, whichever came first.
    fn document_and_rule(
        &mut self,
        document: &Document,
        hosts: &[HostPattern],
        plan: &MethodPlan,
        rule_at: &str,
    ) {
        let name = full_name(plan);
        let is_other_api = plan.api.name != document.api;
        let whose = if is_other_api { format!(", API \"{}\"", plan.api.name) } else { String::new() };
        let problem = format!(
            "GET {} {} is claimed by the OpenAPI document of API \"{}\" and by {name} ({}{whose})",
            document.path,
            places(hosts),
            document.api,
            place(rule_at, &name),
        );
        let help = match is_other_api {
            true => "give the document another `openapi.path`, or one of the APIs other `hosts`",
            false => "give the document another `openapi.path`, or change the rule",
        };
        self.diag.collision(&document.at, problem, help);
    }

    /// Says how many warnings were kept back.
    pub(super) fn end_of_conflicts(&self) {
        if WARNINGS_MAX < self.conflicts {
            let more = self.conflicts - WARNINGS_MAX;
            tracing::warn!("{more} more rules are left out, since another one of the same path goes first");
        }
    }

    /// Refuses rules of service configurations, of the modules that are wanted, that are for no method.
    pub(super) fn check_selectors(&mut self, is_wanted: impl Fn(&str) -> bool) {
        let config = self.inputs.config.clone();
        for module in config.modules.iter().filter(|module| is_wanted(&module.name)) {
            let Some(rules) = self.inputs.rules.get(&module.name) else { continue };
            // What other labels point at may have methods that are new, or gone.
            let labels = self.inputs.modules.get(&module.name);
            let Some(schema) = labels.and_then(|labels| labels.get(LIVE)) else { continue };
            let at = module.rules.as_ref().map_or(&module.at, |rules| &rules.at);
            let methods = schema.services().iter().flat_map(|service| &service.methods);
            let names = methods.map(|rpc| rpc.descriptor.full_name());
            for fault in rules.unknown(names.clone()) {
                let line = fault.line.map(|line| format!(":{line}")).unwrap_or_default();
                let problem = format!("module \"{}\": {}{line}: {}", module.name, fault.file, fault.problem);
                self.diag.fault(at, problem, fault.help);
            }
            for mixin in rules.absent_mixins(names) {
                tracing::warn!(
                    "{at}: module \"{}\" has no {mixin}: its rules are left out; to serve it, add the file that declares it",
                    module.name
                );
            }
        }
    }
}

fn problem(
    api: &types::Api,
    rule: &Rule,
    plan: &MethodPlan,
    first: &RestRoute,
    hosts: &[HostPattern],
) -> String {
    let path = format!("{} {}{}", rule.verb, api.rest.prefix, rule.template);
    let places = places(hosts);
    let (one, other) = (full_name(&first.plan), full_name(plan));
    let mut known = vec![place(&first.rule.at, &one).to_owned()];
    let mut new = vec![place(&rule.at, &other).to_owned()];
    if first.rule.template.text != rule.template.text {
        known.push(format!("as {}", first.rule.template));
    }
    if first.plan.api.name != plan.api.name {
        for (place, plan) in [(&mut known, &*first.plan), (&mut new, plan)] {
            place.push(format!("API \"{}\" of module \"{}\"", plan.api.name, plan.api.module));
        }
    }
    let (known, new) = (known.join(", "), new.join(", "));
    if first.plan.method.path == plan.method.path {
        return format!("{path} {places} is claimed twice by {one} ({known})");
    }
    format!("{path} {places} is claimed by {one} ({known}) and by {other} ({new})")
}

fn places(hosts: &[HostPattern]) -> String {
    match hosts {
        [HostPattern::Any] => "on every host".into(),
        [host] => format!("on host \"{host}\""),
        hosts => {
            let hosts: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
            format!("on hosts {}", hosts.join(", "))
        }
    }
}

/// `pkg.Service.Method`
fn full_name(plan: &MethodPlan) -> String {
    format!("{}.{}", plan.method.service, plan.method.name)
}

/// The file, and the line if it is known, of what `at` says.
fn place<'a>(at: &'a str, method: &str) -> &'a str {
    at.strip_suffix(method).and_then(|at| at.strip_suffix(": ")).unwrap_or(at)
}

/// Warnings of one compilation: a hostile module must not fill the log.
const WARNINGS_MAX: usize = 100;

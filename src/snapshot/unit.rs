//! Compiles one version of one API: its methods, its rules and its document, before they meet others.

use std::collections::HashSet;
use std::sync::Arc;

use crate::bridge::rest::Endpoint;
use crate::bridge::rest::Method as Messages;
use crate::call::Dialect;
use crate::call::nearest;
use crate::config::host::HostPattern;
use crate::config::types;
use crate::config::types::Located;
use crate::config::types::Slots;
use crate::policy::Cors;
use crate::policy::Needs;
use crate::policy::Policy;
use crate::policy::merge;
use crate::policy::merge::Levels;
use crate::route::rest::Mount;
use crate::schema::Schema;
use crate::schema::Service;
use crate::snapshot::Api;
use crate::snapshot::Document;
use crate::snapshot::LIVE;
use crate::snapshot::MethodPlan;
use crate::snapshot::OwnService;
use crate::snapshot::RestRoute;
use crate::snapshot::compile::Build;
use crate::transcode::Plans;
use crate::upstream::Upstream;

/// One version of one API. Snapshots share it as long as nothing that it comes from changes.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) api: Arc<Api>,
    /// The compiled messages of its version.
    pub(super) plans: Arc<Plans>,
    pub(super) methods: Vec<Arc<MethodPlan>>,
    /// In the order of the methods.
    pub(super) rules: Vec<RestRoute>,
    pub(super) mount: Mount,
    /// As it is where all rules are served.
    pub(super) document: Option<Arc<Document>>,
    /// What web pages may do with the document.
    pub(super) cors: Option<Cors>,
}

/// Which version of an API is compiled.
#[derive(Clone, Copy)]
pub(super) struct Version<'a> {
    pub(super) api: &'a types::Api,
    pub(super) label: &'a str,
    pub(super) schema: &'a Schema,
    /// The version in its shadow.
    pub(super) beside: Option<&'a Schema>,
    pub(super) upstream: &'a Upstream,
}

impl Version<'_> {
    /// Whether it is the one that calls get which ask for none.
    pub(super) fn is_served(&self) -> bool {
        self.label == self.api.label
    }
}

impl Build<'_> {
    /// Compiles one version of an API, whatever was compiled before.
    pub(super) fn compile_unit(&mut self, version: Version<'_>) -> Unit {
        let Version { api, schema, .. } = version;
        let services = self.services(version);
        if version.is_served() {
            self.check_rules(api, &services);
        }
        let rest = self.rest(version);
        let speaks_rest = api.dialects.contains(&types::Dialect::Rest);
        let cast = self.cast(version);
        let shadow = cast.as_ref().map(|cast| cast.shadow.clone());
        let published = Arc::new(Api { shadow, ..published(version, &services) });
        let common = self.policies(&api.policies, &Slots::default());
        let cors = cors(&common);
        let mut methods = Vec::new();
        let mut documented = Vec::new();
        for service in &services {
            for rpc in &service.methods {
                let rule = api
                    .methods
                    .iter()
                    .find(|rule| *rule.service == *rpc.method.service && *rule.method == *rpc.method.name);
                let policies = match rule {
                    Some(rule) if !rule.policies.is_empty() => self.policies(&api.policies, &rule.policies),
                    _ => common.clone(),
                };
                let messages = rest.method(rpc);
                let shadow = cast.as_ref().and_then(|cast| cast.watch(rpc, messages.as_deref()));
                let plan =
                    self.plan(&published, &rpc.method, policies, version.upstream, messages, speaks_rest);
                let plan = Arc::new(MethodPlan { shadow, ..plan });
                if speaks_rest {
                    documented.push((rpc, self.rules(version, &rest, rpc, &plan)));
                }
                methods.push(plan);
            }
        }
        let document = match version.is_served() {
            true => self.document(api, schema, &documented, cors.clone()),
            false => None,
        };
        let rules = documented.into_iter().flat_map(|(_, routes)| routes).collect();
        Unit { api: published, plans: rest.plans, methods, rules, mount: rest.mount, document, cors }
    }

    /// Compiles one of the gateway's own services.
    pub(super) fn compile_own(&mut self, own: &OwnService) -> Option<Unit> {
        let service = own.schema.service(&own.service)?;
        let policies = self.policies(&Slots::default(), &Slots::default());
        let api = Arc::new(Api {
            name: "".into(),
            module: "".into(),
            label: LIVE.into(),
            label_header: None,
            hosts: vec![HostPattern::Any],
            dialects: vec![Dialect::Grpc, Dialect::GrpcWeb, Dialect::Connect],
            services: vec![service.name.clone()],
            schema: own.schema.clone(),
            upstream: None,
            shadow: None,
        });
        let rest = self.own_rest(&own.schema);
        let upstream = Upstream::InProcess(own.run.clone());
        let plan = |rpc: &crate::schema::Rpc| {
            Arc::new(self.plan(&api, &rpc.method, policies.clone(), &upstream, rest.method(rpc), false))
        };
        let methods = service.methods.iter().map(plan).collect();
        Some(Unit {
            api: api.clone(),
            plans: rest.plans,
            methods,
            rules: Vec::new(),
            mount: rest.mount,
            document: None,
            cors: None,
        })
    }

    /// The services of an API: those it lists, or all of the module's but those that every
    /// gateway serves itself. A version that is only asked for may lack some that are listed.
    fn services<'s>(&mut self, version: Version<'s>) -> Vec<&'s Service> {
        let Version { api, schema, .. } = version;
        if api.services.is_empty() {
            let own = |service: &&Service| !self.inputs.own.iter().any(|own| own.service == service.name);
            return schema.services().iter().filter(own).collect();
        }
        let mut found = Vec::new();
        for Located { value, at } in &api.services {
            match schema.service(value) {
                Some(service) => found.push(service),
                None if !version.is_served() => (),
                None => {
                    let known = schema.services().iter().map(|service| &*service.name);
                    let help = did_you_mean(value, known, "the module declares no service");
                    self.diag.fault(
                        at,
                        format!("module \"{}\" has no service \"{value}\"", api.module),
                        help,
                    );
                }
            }
        }
        found
    }

    fn check_rules(&mut self, api: &types::Api, services: &[&Service]) {
        for rule in &api.methods {
            let service = services.iter().find(|service| *service.name == *rule.service);
            let names: Vec<String> = services
                .iter()
                .flat_map(|service| service.methods.iter())
                .map(|rpc| format!("{}/{}", rpc.method.service, rpc.method.name))
                .collect();
            let known = service.is_some_and(|s| s.methods.iter().any(|rpc| *rpc.method.name == *rule.method));
            if !known {
                let asked = format!("{}/{}", rule.service, rule.method);
                let help = did_you_mean(&asked, names.iter().map(String::as_str), "the API has no method");
                self.diag.fault(&rule.at, format!("API \"{}\" has no method \"{asked}\"", api.name), help);
            }
        }
    }

    pub(super) fn policies(&mut self, api: &Slots, method: &Slots) -> Arc<[Arc<dyn Policy>]> {
        let config = self.inputs.config.clone();
        let levels = Levels { general: &config.policies, api, method, enforced: &config.enforced };
        let effective = merge::effective(self.inputs.kinds, levels);
        let mut policies = merge::compile(self.inputs.kinds, &effective, &mut self.diag);
        policies.extend(self.inputs.extra.iter().cloned());
        policies.into()
    }

    fn plan(
        &self,
        api: &Arc<Api>,
        method: &Arc<crate::call::Method>,
        policies: Arc<[Arc<dyn Policy>]>,
        upstream: &Upstream,
        messages: Option<Arc<Messages>>,
        speaks_rest: bool,
    ) -> MethodPlan {
        let needs = policies.iter().map(|policy| policy.needs()).max().unwrap_or(Needs::Head);
        let cors = cors(&policies);
        let series = self.inputs.metrics.series(&api.name, &method.path);
        let (method, api, upstream) = (method.clone(), api.clone(), upstream.clone());
        let json = messages.clone().filter(|_| speaks_rest);
        let json = json.and_then(|messages| Endpoint::without_rule(messages).ok()).map(Arc::new);
        MethodPlan { method, api, policies, needs, shadow: None, cors, series, upstream, messages, json }
    }
}

fn published(version: Version<'_>, services: &[&Service]) -> Api {
    let Version { api, label, schema, upstream, .. } = version;
    Api {
        name: api.name.as_str().into(),
        module: api.module.as_str().into(),
        label: label.into(),
        label_header: api.label_header.clone(),
        hosts: api.hosts.iter().map(|host| host.value.clone()).collect(),
        dialects: api.dialects.iter().map(|dialect| dialect_of(*dialect)).collect(),
        services: services.iter().map(|service| service.name.clone()).collect(),
        schema: schema.clone(),
        upstream: Some(upstream.clone()),
        shadow: None,
    }
}

/// What the policies of a method say about web pages.
pub(super) fn cors(policies: &[Arc<dyn Policy>]) -> Option<Cors> {
    policies.iter().find_map(|policy| policy.cors())
}

fn dialect_of(dialect: types::Dialect) -> Dialect {
    match dialect {
        types::Dialect::Grpc => Dialect::Grpc,
        types::Dialect::GrpcWeb => Dialect::GrpcWeb,
        types::Dialect::Connect => Dialect::Connect,
        types::Dialect::Rest => Dialect::Rest,
    }
}

fn did_you_mean<'a>(asked: &str, known: impl Iterator<Item = &'a str>, none: &str) -> String {
    let known: HashSet<&str> = known.collect();
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_unstable();
    if known.is_empty() {
        return none.into();
    }
    match nearest(asked, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => {
            known.truncate(NAMES_SHOWN);
            format!("write one of: {}", known.join(", "))
        }
    }
}

const NAMES_SHOWN: usize = 8;

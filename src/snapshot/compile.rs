//! Builds the next snapshot beside the live one.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use crate::bridge::rest::Endpoint;
use crate::bridge::rest::Method as Messages;
use crate::call::Dialect;
use crate::call::nearest;
use crate::config::fault::At;
use crate::config::fault::Diag;
use crate::config::fault::Report;
use crate::config::types;
use crate::config::types::Config;
use crate::config::types::Located;
use crate::config::types::Slots;
use crate::observe::Metrics;
use crate::policy::Cors;
use crate::policy::Kind;
use crate::policy::Needs;
use crate::policy::Policy;
use crate::policy::merge;
use crate::policy::merge::Levels;
use crate::route::Owner;
use crate::route::Rank;
use crate::schema::Schema;
use crate::schema::Service;
use crate::schema::http::ServiceConfig;
use crate::snapshot::Api;
use crate::snapshot::Document;
use crate::snapshot::MethodPlan;
use crate::snapshot::Modules;
use crate::snapshot::Snapshot;
use crate::upstream::InProcess;
use crate::upstream::Specs;
use crate::upstream::Tls;
use crate::upstream::Upstream;

/// What a snapshot is compiled from.
pub struct Inputs<'a> {
    /// The configuration.
    pub config: Arc<Config>,
    /// Descriptors of its modules. One that reflection hasn't given yet may be absent: its
    /// APIs are then left out.
    pub modules: &'a Modules,
    /// Service configurations of modules, whose HTTP rules go before those in the `.proto` files.
    pub rules: &'a HashMap<String, Arc<ServiceConfig>>,
    /// The snapshot before: what hasn't changed is taken over.
    pub before: Option<&'a Snapshot>,
    /// The gateway's own services.
    pub own: &'a [OwnService],
    /// The kinds of policies, in their order.
    pub kinds: &'a [&'a dyn Kind],
    /// Policies of the embedding program, for every API, after the slots.
    pub extra: &'a [Arc<dyn Policy>],
    /// Documents of the embedding program, before those of the APIs.
    pub documents: &'a [Document],
    /// The upstreams of the process.
    pub specs: &'a Specs,
    /// TLS of the upstreams that ask for it, by name.
    pub upstream_tls: &'a HashMap<String, Arc<Tls>>,
    /// Where calls are counted.
    pub metrics: &'a Metrics,
    /// The number of the new snapshot.
    pub generation: u64,
}

/// One service that the gateway serves itself, on every host.
#[derive(Clone)]
pub struct OwnService {
    /// Its full name.
    pub service: Arc<str>,
    /// What declares it.
    pub schema: Schema,
    /// What answers.
    pub run: Arc<dyn InProcess>,
}

/// Compiles a snapshot.
///
/// # Errors
/// Every fault that only the descriptors show: unknown services and methods, HTTP rules that can't
/// be served, and methods and paths that are published twice on the same host.
pub fn compile(inputs: &Inputs<'_>) -> Result<Snapshot, Report> {
    let mut build = Build { inputs, diag: Diag::new(), snapshot: Snapshot::empty(), conflicts: 0 };
    build.snapshot.generation = inputs.generation;
    build.snapshot.config = Some(inputs.config.clone());
    build.snapshot.modules =
        inputs.modules.iter().map(|(name, schema)| (name.clone(), schema.clone())).collect();
    let none = Slots::default();
    build.snapshot.cors = cors(&build.policies(&none, &none));
    build.check_selectors();
    for api in &inputs.config.apis {
        build.api(api);
    }
    for own in inputs.own {
        build.own(own);
    }
    build.own_documents();
    build.end_of_conflicts();
    build.diag.finish()?;
    Ok(build.snapshot)
}

pub(super) struct Build<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) diag: Diag,
    pub(super) snapshot: Snapshot,
    /// Rules that another one goes before, by `rest.conflicts: first`.
    pub(super) conflicts: usize,
}

impl Build<'_> {
    fn api(&mut self, api: &types::Api) {
        let config = self.inputs.config.clone();
        let Some(schema) = self.inputs.modules.get(&api.module) else { return self.no_descriptors(api) };
        let module = config.modules.iter().find(|module| module.name == api.module);
        if module.is_some_and(|module| module.rules.is_some()) && !self.inputs.rules.contains_key(&api.module)
        {
            return; // They are at fault; without them the methods would collide where they don't.
        }
        let Some(upstream) = config.upstreams.iter().find(|upstream| upstream.name == api.upstream) else {
            return;
        };
        let tls = self.inputs.upstream_tls.get(&upstream.name);
        if upstream.tls.is_some() != tls.is_some() {
            return; // Its files are at fault.
        }
        let services = self.services(api, schema);
        self.check_rules(api, &services);
        let rest = self.rest(api, schema);
        let speaks_rest = api.dialects.contains(&types::Dialect::Rest);
        let upstream = Upstream::Network(self.inputs.specs.of(upstream, tls));
        let published = Arc::new(Api {
            name: api.name.as_str().into(),
            hosts: api.hosts.iter().map(|host| host.value.clone()).collect(),
            dialects: api.dialects.iter().map(|dialect| dialect_of(*dialect)).collect(),
            services: services.iter().map(|service| service.name.clone()).collect(),
            schema: schema.clone(),
            upstream: Some(upstream.clone()),
        });
        let none = Slots::default();
        let common = self.policies(&api.policies, &none);
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
                let plan =
                    self.plan(&published, &rpc.method, policies, upstream.clone(), messages, speaks_rest);
                self.publish(api, plan.clone());
                if speaks_rest {
                    documented.push((rpc, self.publish_rules(api, &rest, rpc, &plan)));
                }
            }
        }
        self.document(api, schema, &documented, cors(&common));
        self.snapshot.apis.push(published);
    }

    /// A server may yet tell its descriptors; a module without a source never gets any.
    fn no_descriptors(&mut self, api: &types::Api) {
        let module = self.inputs.config.modules.iter().find(|module| module.name == api.module);
        if let Some(types::Module { at, source: types::ModuleSource::Upload, .. }) = module {
            self.diag.fault(
                at,
                format!("module \"{}\" has no descriptors", api.module),
                "give it `protos`, `descriptor_set` or `reflection`: uploads are not built yet",
            );
        }
    }

    /// The services of an API: those it lists, or all of the module's but those that every
    /// gateway serves itself.
    fn services<'s>(&mut self, api: &types::Api, schema: &'s Schema) -> Vec<&'s Service> {
        if api.services.is_empty() {
            let own = |service: &&Service| !self.inputs.own.iter().any(|own| own.service == service.name);
            return schema.services().iter().filter(own).collect();
        }
        let mut found = Vec::new();
        for Located { value, at } in &api.services {
            match schema.service(value) {
                Some(service) => found.push(service),
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

    fn policies(&mut self, api: &Slots, method: &Slots) -> Arc<[Arc<dyn Policy>]> {
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
        upstream: Upstream,
        messages: Option<Arc<Messages>>,
        speaks_rest: bool,
    ) -> Arc<MethodPlan> {
        let needs = policies.iter().map(|policy| policy.needs()).max().unwrap_or(Needs::Head);
        let cors = cors(&policies);
        let series = self.inputs.metrics.series(&api.name, &method.path);
        let (method, api) = (method.clone(), api.clone());
        let json = messages.clone().filter(|_| speaks_rest);
        let json = json.and_then(|messages| Endpoint::without_rule(messages).ok()).map(Arc::new);
        Arc::new(MethodPlan { method, api, policies, needs, cors, series, upstream, messages, json })
    }

    fn publish(&mut self, api: &types::Api, plan: Arc<MethodPlan>) {
        for Located { value: host, at } in &api.hosts {
            let rank = Rank { owner: Owner::Team, host: host.clone() };
            if let Err(there) = self.snapshot.routes.publish(&plan.method.path, rank, plan.clone()) {
                // One fault a service is enough: all its methods collide.
                let first = there.api.schema.service(&plan.method.service);
                if first
                    .and_then(|s| s.methods.first())
                    .is_some_and(|rpc| rpc.method.path == plan.method.path)
                {
                    let other = there.api.name.clone();
                    self.collision(api, &other, &plan.method.service, host.to_string().as_str(), at);
                }
            }
        }
    }

    fn collision(&mut self, api: &types::Api, other: &str, service: &str, host: &str, at: &At) {
        let at = if at.line == 0 && at.resource().is_none() { &api.at } else { at };
        let problem = format!(
            "service \"{service}\" is published on host \"{host}\" by API \"{other}\" and by API \"{}\"",
            api.name
        );
        self.diag.fault(at, problem, "give one of them other `hosts`, or list other `services`");
    }

    fn own(&mut self, own: &OwnService) {
        let Some(service) = own.schema.service(&own.service) else { return };
        let none = Slots::default();
        let policies = self.policies(&none, &none);
        let hosts = vec![crate::config::host::HostPattern::Any];
        let api = Arc::new(Api {
            name: "".into(),
            hosts: hosts.clone(),
            dialects: vec![Dialect::Grpc, Dialect::GrpcWeb, Dialect::Connect],
            services: vec![service.name.clone()],
            schema: own.schema.clone(),
            upstream: None,
        });
        let rest = self.own_rest(&own.schema);
        for rpc in &service.methods {
            let run = Upstream::InProcess(own.run.clone());
            let plan = self.plan(&api, &rpc.method, policies.clone(), run, rest.method(rpc), false);
            let rank = Rank { owner: Owner::Gateway, host: hosts[0].clone() };
            // The gateway's services are its own choice: no two are alike.
            let _ = self.snapshot.routes.publish(&rpc.method.path, rank, plan);
        }
        self.snapshot.apis.push(api);
    }
}

/// What the policies of a method say about web pages.
fn cors(policies: &[Arc<dyn Policy>]) -> Option<Cors> {
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

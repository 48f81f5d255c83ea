//! Compiles the REST half of an API: its rules, its options, and the messages they read.

use std::sync::Arc;

use ::http::HeaderValue;
use ::http::header::CONTENT_TYPE;

use crate::bridge::rest::Endpoint;
use crate::bridge::rest::Method;
use crate::bridge::rest::Options;
use crate::bridge::rest::errors::ErrorForm;
use crate::config::types;
use crate::openapi;
use crate::policy::Cors;
use crate::route::Owner;
use crate::route::Rank;
use crate::route::rest::Expansion;
use crate::route::rest::Mount;
use crate::schema::Rpc;
use crate::schema::Schema;
use crate::schema::http;
use crate::schema::http::ServiceConfig;
use crate::snapshot::Document;
use crate::snapshot::MethodPlan;
use crate::snapshot::RestRoute;
use crate::snapshot::RestTarget;
use crate::snapshot::compile::Build;
use crate::snapshot::conflict::Conflicts;
use crate::transcode::BindOptions;
use crate::transcode::Int64;
use crate::transcode::Plans;
use crate::transcode::ReadOptions;
use crate::transcode::Unknown;
use crate::transcode::UnknownAny;
use crate::transcode::WriteOptions;

/// What the methods of one API share.
pub(super) struct Rest {
    plans: Arc<Plans>,
    options: Arc<Options>,
    config: Option<Arc<ServiceConfig>>,
    grammar: http::Grammar,
    mount: Mount,
}

impl Rest {
    /// How the messages of one method are read and written.
    pub(super) fn method(&self, rpc: &Rpc) -> Option<Arc<Method>> {
        let id = |name: &str| self.plans.find(name);
        Some(Arc::new(Method {
            plans: self.plans.clone(),
            input: id(rpc.descriptor.input().full_name())?,
            output: id(rpc.descriptor.output().full_name())?,
            kind: rpc.method.kind,
            idempotency: rpc.method.idempotency,
            options: self.options.clone(),
        }))
    }
}

impl Build<'_> {
    pub(super) fn plans(&mut self, schema: &Schema) -> Arc<Plans> {
        let digest = schema.digest();
        let before = self.inputs.before.and_then(|before| before.plans.get(&digest)).cloned();
        let plans = self.snapshot.plans.entry(digest).or_insert_with(|| {
            before.unwrap_or_else(|| Arc::new(Plans::new(schema.pool().clone(), schema.traits().clone())))
        });
        plans.clone()
    }

    /// How the JSON of the gateway's own services is read and written.
    pub(super) fn own_rest(&mut self, schema: &Schema) -> Rest {
        Rest {
            plans: self.plans(schema),
            options: Arc::default(),
            config: None,
            grammar: http::Grammar::default(),
            mount: Mount::default(),
        }
    }

    pub(super) fn rest(&mut self, api: &types::Api, schema: &Schema) -> Rest {
        let (plans, options) = (self.plans(schema), Arc::new(options(&api.rest)));
        let config = self.inputs.rules.get(&api.module).cloned();
        let decode_all = api.rest.decode_slashes
            || config.as_ref().and_then(|config| config.fully_decode_reserved_expansion()).unwrap_or(false);
        let expansion = if decode_all { Expansion::DecodeAll } else { Expansion::KeepSlash };
        let prefix = http::Prefix::parse(&api.rest.prefix).unwrap_or_else(|error| {
            self.diag.fault(
                &api.at,
                format!("`rest.prefix` of API \"{}\": {error}", api.name),
                "write it as /api",
            );
            http::Prefix::default()
        });
        let grammar = http::Grammar {
            allow_mid_double_star: api.rest.allow_mid_double_star,
            allow_root: api.rest.allow_root,
        };
        Rest { plans, options, config, grammar, mount: Mount { prefix, expansion } }
    }

    /// Publishes the rules of one method on every host of its API, and returns those that are served on any.
    pub(super) fn publish_rules(
        &mut self,
        api: &types::Api,
        rest: &Rest,
        rpc: &Rpc,
        plan: &Arc<MethodPlan>,
    ) -> Vec<http::Rule> {
        let (mut rules, faults) =
            http::rules_and_faults(&rpc.descriptor, rest.grammar, rest.config.as_deref());
        for fault in faults {
            let line = fault.line.map(|line| format!(":{line}")).unwrap_or_default();
            let problem = format!("{}{line}: {}", fault.file, fault.problem);
            self.diag.fault(&api.module_at, problem, fault.help);
        }
        let Some(method) = plan.messages.clone() else { return rules };
        rules.retain(|rule| match Endpoint::new(method.clone(), rule) {
            Ok(endpoint) => self.publish_rule(api, &rest.mount, rule, plan, &Arc::new(endpoint)),
            Err(problem) => {
                let problem = format!("{}: {} {}: {problem}", rule.at, rule.verb, rule.template);
                self.diag.fault(
                    &api.module_at,
                    problem,
                    "write fields as the .proto file of the message names them",
                );
                false
            }
        });
        rules
    }

    /// Writes the OpenAPI document of an API that serves one, and publishes it on every host of its API.
    pub(super) fn document(
        &mut self,
        api: &types::Api,
        schema: &Schema,
        methods: &[(&Rpc, Vec<http::Rule>)],
        cors: Option<Cors>,
    ) {
        let Some(path) = &api.openapi else { return };
        let template = match plain_path(&path.value) {
            Ok(template) => template,
            Err(problem) => {
                let problem = format!("\"{}\" is no path for a document: {problem}", path.value);
                return self.diag.fault(&path.at, problem, "write plain segments, such as /openapi.json");
            }
        };
        let options = openapi::Options {
            prefix: &api.rest.prefix,
            preserve_names: api.rest.preserve_names,
            enums_as_numbers: api.rest.enums_as_numbers,
            int64: if api.rest.int64_as_number { openapi::Int64::Number } else { openapi::Int64::String },
            errors: match api.rest.errors {
                types::ErrorForm::Status => openapi::Errors::Status,
                types::ErrorForm::Aip193 => openapi::Errors::Aip193,
                types::ErrorForm::Problem => openapi::Errors::Problem,
            },
            bare: bare(&api.dialects),
            ..openapi::Options::default()
        };
        let methods = methods.iter().map(|(rpc, rules)| (*rpc, rules.as_slice()));
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
        let document = Document {
            api: api.name.as_str().into(),
            path: path.value.as_str().into(),
            hosts: api.hosts.iter().map(|host| host.value.clone()).collect(),
            at: path.at.clone(),
            text: openapi::document(schema, methods, &options).into(),
            headers,
            cors,
        };
        self.publish_document(Owner::Team, template, Arc::new(document));
    }

    /// Publishes the pages of the embedding program, behind all that an API has on their paths.
    pub(super) fn own_documents(&mut self) {
        for document in self.inputs.documents {
            if let Ok(template) = plain_path(&document.path) {
                self.publish_document(Owner::Gateway, template, Arc::new(document.clone()));
            }
        }
    }

    fn publish_document(&mut self, owner: Owner, template: http::Template, document: Arc<Document>) {
        let (body, at) = (http::BodyRule::None, "".into());
        let rule = http::Rule { verb: http::Verb::Get, template, body, response_body: None, at };
        let mut conflicts = Conflicts::default();
        for host in &document.hosts {
            let rank = Rank { owner, host: host.clone() };
            let target = RestTarget::Document(document.clone());
            if let Err(there) = self.snapshot.rest.publish(rank, &Mount::default(), &rule, target) {
                conflicts.add(there, host);
            }
        }
        self.report_document(&document, conflicts);
    }

    /// Whether any host serves it.
    fn publish_rule(
        &mut self,
        api: &types::Api,
        mount: &Mount,
        rule: &http::Rule,
        plan: &Arc<MethodPlan>,
        endpoint: &Arc<Endpoint>,
    ) -> bool {
        let mut conflicts = Conflicts::default();
        for host in &api.hosts {
            let rank = Rank { owner: Owner::Team, host: host.value.clone() };
            let route = RestRoute {
                plan: plan.clone(),
                endpoint: endpoint.clone(),
                at: rule.at.clone(),
                template: rule.template.text.clone(),
            };
            if let Err(there) = self.snapshot.rest.publish(rank, mount, rule, RestTarget::Rule(route)) {
                conflicts.add(there, &host.value);
            }
        }
        let served = conflicts.hosts() < api.hosts.len();
        self.report(api, rule, plan, conflicts);
        served
    }
}

/// What answers the JSON form of methods without a rule.
fn bare(dialects: &[types::Dialect]) -> openapi::Bare {
    if dialects.contains(&types::Dialect::Connect) {
        openapi::Bare::Connect
    } else if dialects.contains(&types::Dialect::Rest) {
        openapi::Bare::Rest
    } else {
        openapi::Bare::Absent
    }
}

/// A path as the template that only this path fits.
fn plain_path(path: &str) -> Result<http::Template, String> {
    let grammar = http::Grammar { allow_root: true, ..http::Grammar::default() };
    let template = http::Template::parse(path, grammar)
        .map_err(|error| format!("at character {}: {}", error.at, error.problem))?;
    match template.segments.iter().all(|segment| matches!(segment, http::Segment::Literal(_))) {
        true => Ok(template),
        false => Err("it has a wildcard".into()),
    }
}

fn options(rest: &types::Rest) -> Options {
    let unknown = |unknown| match unknown {
        types::Unknown::Reject => Unknown::Reject,
        types::Unknown::Ignore => Unknown::Ignore,
    };
    Options {
        read: ReadOptions { unknown_fields: unknown(rest.unknown_fields), ..ReadOptions::default() },
        write: WriteOptions {
            emit_defaults: rest.emit_defaults,
            preserve_names: rest.preserve_names,
            enums_as_numbers: rest.enums_as_numbers,
            int64: if rest.int64_as_number { Int64::Number } else { Int64::String },
            unknown_any: UnknownAny::Bytes,
            ..WriteOptions::default()
        },
        bind: BindOptions {
            unknown_query: unknown(rest.unknown_query),
            ignored_query_parameters: rest.ignored_query_parameters.clone(),
            lenient_bool: rest.lenient_bool,
            ..BindOptions::default()
        },
        errors: match rest.errors {
            types::ErrorForm::Status => ErrorForm::Status,
            types::ErrorForm::Aip193 => ErrorForm::Aip193,
            types::ErrorForm::Problem => ErrorForm::Problem,
        },
        patch_mask: rest.patch_mask,
    }
}

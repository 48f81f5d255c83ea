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
use crate::route::rest::Expansion;
use crate::route::rest::Mount;
use crate::schema::Rpc;
use crate::schema::Schema;
use crate::schema::http;
use crate::schema::http::ServiceConfig;
use crate::snapshot::Document;
use crate::snapshot::MethodPlan;
use crate::snapshot::RestRoute;
use crate::snapshot::compile::Build;
use crate::snapshot::unit::Unit;
use crate::snapshot::unit::Version;
use crate::transcode::BindOptions;
use crate::transcode::Int64;
use crate::transcode::Plans;
use crate::transcode::ReadOptions;
use crate::transcode::Unknown;
use crate::transcode::UnknownAny;
use crate::transcode::WriteOptions;

/// What the methods of one API share.
pub(super) struct Rest {
    pub(super) plans: Arc<Plans>,
    options: Arc<Options>,
    config: Option<Arc<ServiceConfig>>,
    grammar: http::Grammar,
    pub(super) mount: Mount,
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

    pub(super) fn rest(&mut self, version: Version<'_>) -> Rest {
        let api = version.api;
        let (plans, options) = (self.plans(version.schema), Arc::new(options(&api.rest)));
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

    /// The rules of one method that can be served.
    pub(super) fn rules(
        &mut self,
        version: Version<'_>,
        rest: &Rest,
        rpc: &Rpc,
        plan: &Arc<MethodPlan>,
    ) -> Vec<RestRoute> {
        let api = version.api;
        let whose = match version.is_served() {
            true => String::new(),
            false => format!("label \"{}\": ", version.label),
        };
        let (rules, faults) = http::rules_and_faults(&rpc.descriptor, rest.grammar, rest.config.as_deref());
        for fault in faults {
            let line = fault.line.map(|line| format!(":{line}")).unwrap_or_default();
            let problem = format!("{whose}{}{line}: {}", fault.file, fault.problem);
            self.diag.fault(&api.module_at, problem, fault.help);
        }
        let Some(method) = &plan.messages else { return Vec::new() };
        let mut routes = Vec::with_capacity(rules.len());
        for rule in rules {
            match Endpoint::new(method.clone(), &rule) {
                Ok(endpoint) => {
                    let (endpoint, rule) = (Arc::new(endpoint), Arc::new(rule));
                    routes.push(RestRoute { plan: plan.clone(), endpoint, rule });
                }
                Err(problem) => {
                    let problem = format!("{whose}{}: {} {}: {problem}", rule.at, rule.verb, rule.template);
                    let help = "write fields as the .proto file of the message names them";
                    self.diag.fault(&api.module_at, problem, help);
                }
            }
        }
        routes
    }

    /// Writes the OpenAPI document of an API that serves one.
    pub(super) fn document(
        &mut self,
        api: &types::Api,
        schema: &Schema,
        methods: &[(&Rpc, Vec<RestRoute>)],
        cors: Option<Cors>,
    ) -> Option<Arc<Document>> {
        let path = api.openapi.as_ref()?;
        if let Err(problem) = plain_path(&path.value) {
            let problem = format!("\"{}\" is no path for a document: {problem}", path.value);
            self.diag.fault(&path.at, problem, "write plain segments, such as /openapi.json");
            return None;
        }
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
        let rules =
            |routes: &[RestRoute]| routes.iter().map(|route| http::Rule::clone(&route.rule)).collect();
        let methods: Vec<(&Rpc, Vec<http::Rule>)> =
            methods.iter().map(|(rpc, routes)| (*rpc, rules(routes))).collect();
        let methods = methods.iter().map(|(rpc, rules)| (*rpc, rules.as_slice()));
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
        Some(Arc::new(Document {
            api: api.name.as_str().into(),
            path: path.value.as_str().into(),
            hosts: api.hosts.iter().map(|host| host.value.clone()).collect(),
            at: path.at.clone(),
            text: openapi::document(schema, methods, &options).into(),
            headers,
            cors,
        }))
    }

    /// The document of a unit some of whose rules are served on no host, since others go before them.
    pub(super) fn document_without(
        &mut self,
        api: &types::Api,
        unit: &Unit,
        unserved: &[&Arc<http::Rule>],
    ) -> Option<Arc<Document>> {
        unit.document.as_ref()?;
        let mut methods: Vec<(&Rpc, Vec<RestRoute>)> = unit
            .methods
            .iter()
            .filter_map(|plan| Some((unit.api.schema.method(&plan.method.path)?, Vec::new())))
            .collect();
        let mut at = 0;
        for route in
            unit.rules.iter().filter(|route| !unserved.iter().any(|rule| Arc::ptr_eq(rule, &route.rule)))
        {
            // Both are in the order of methods.
            while methods.get(at).is_some_and(|(rpc, _)| rpc.method.path != route.plan.method.path) {
                at += 1;
            }
            if let Some((_, routes)) = methods.get_mut(at) {
                routes.push(route.clone());
            }
        }
        self.document(api, &unit.api.schema, &methods, unit.cors.clone())
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
pub(super) fn plain_path(path: &str) -> Result<http::Template, String> {
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

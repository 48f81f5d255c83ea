//! Builds the next snapshot out of the one before, where nothing but versions of modules has changed.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use crate::config::types::Config;
use crate::policy::Kind;
use crate::policy::Policy;
use crate::schema::http::ServiceConfig;
use crate::snapshot::Document;
use crate::snapshot::Inputs;
use crate::snapshot::Labels;
use crate::snapshot::Modules;
use crate::snapshot::OwnService;
use crate::snapshot::Snapshot;
use crate::snapshot::Versions;
use crate::snapshot::compile::Build;
use crate::snapshot::unit::Unit;
use crate::upstream::InProcess;
use crate::upstream::Tls;

/// What a snapshot was compiled from besides configuration and modules.
pub(super) struct Basis {
    pub(super) rules: HashMap<String, Arc<ServiceConfig>>,
    upstream_tls: HashMap<String, Arc<Tls>>,
    in_process: HashMap<String, Arc<dyn InProcess>>,
    own: Vec<OwnService>,
    kinds: Vec<&'static str>,
    extra: Vec<Arc<dyn Policy>>,
    documents: Vec<Document>,
}

impl Basis {
    pub(super) fn of(inputs: &Inputs<'_>) -> Self {
        Self {
            rules: inputs.rules.clone(),
            upstream_tls: inputs.upstream_tls.clone(),
            in_process: inputs.in_process.clone(),
            own: inputs.own.to_vec(),
            kinds: slots(inputs.kinds),
            extra: inputs.extra.to_vec(),
            documents: inputs.documents.to_vec(),
        }
    }

    /// Whether units that were compiled with `config` are right if their own section, their rules and their
    /// upstream are the same too.
    pub(super) fn fits_units(&self, config: &Config, inputs: &Inputs<'_>) -> bool {
        let own = |all: &[OwnService]| all.iter().map(|own| own.service.clone()).collect::<Vec<_>>();
        self.kinds == slots(inputs.kinds)
            && are_same(&self.extra, inputs.extra, Arc::ptr_eq)
            && own(&self.own) == own(inputs.own)
            && config.policies == inputs.config.policies
            && config.enforced == inputs.config.enforced
    }

    /// Whether a snapshot of the same configuration differs in its modules alone.
    fn fits(&self, inputs: &Inputs<'_>) -> bool {
        let is_same_own = |a: &OwnService, b: &OwnService| {
            a.service == b.service && a.schema.digest() == b.schema.digest() && Arc::ptr_eq(&a.run, &b.run)
        };
        let is_same_document = |a: &Document, b: &Document| {
            (&a.api, &a.path, &a.hosts, &a.text, &a.headers)
                == (&b.api, &b.path, &b.hosts, &b.text, &b.headers)
        };
        self.fits_units(&inputs.config, inputs)
            && have_same(&self.rules, inputs.rules, Arc::ptr_eq)
            && have_same(&self.upstream_tls, inputs.upstream_tls, Arc::ptr_eq)
            && have_same(&self.in_process, inputs.in_process, Arc::ptr_eq)
            && are_same(&self.own, inputs.own, is_same_own)
            && are_same(&self.documents, inputs.documents, is_same_document)
    }
}

impl fmt::Debug for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basis").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

impl Build<'_> {
    /// The next snapshot, if only versions of modules have changed, and nothing is at fault and nothing meets.
    pub(super) fn change(&mut self) -> Option<Snapshot> {
        let inputs = self.inputs;
        let before = inputs.before?;
        let basis = before.basis.as_ref()?;
        if !before.config.as_ref().is_some_and(|config| Arc::ptr_eq(config, &inputs.config))
            || !basis.fits(inputs)
        {
            return None;
        }
        let changed = changed(&before.modules, inputs.modules);
        let is_changed = |module: &str| changed.contains(module);
        self.check_selectors(is_changed);
        // To look for the same messages among all versions would cost by the registry's size.
        let sections = inputs.config.apis.iter().zip(&before.units);
        let touched = sections.filter(|(api, _)| is_changed(&api.module)).flat_map(|(_, known)| known.all());
        self.know_plans(touched);
        let mut units = before.units.clone();
        let mut touched = Vec::new();
        for ((api, known), versions) in inputs.config.apis.iter().zip(&before.units).zip(&mut units) {
            if !is_changed(&api.module) {
                continue;
            }
            if before.contested.contains(api.name.as_str()) {
                return None;
            }
            *versions = self.versions(api, Some(known));
            touched.push((api, known, versions));
        }
        if !self.diag.is_clean() {
            return None;
        }
        self.served = before.served.clone();
        self.labelled.clone_from(&before.labelled);
        // What goes makes room for what comes, whichever API it is of.
        for (api, known, versions) in &touched {
            known.without(versions).for_each(|unit| self.unpublish(api, unit));
        }
        for (api, known, versions) in &touched {
            versions.without(known).for_each(|unit| self.publish(api, unit));
        }
        if !self.diag.is_clean() || !self.contested.is_empty() {
            return None;
        }
        let mut snapshot = Snapshot::empty();
        snapshot.generation = inputs.generation;
        snapshot.config.clone_from(&before.config);
        snapshot.modules.clone_from(inputs.modules);
        snapshot.basis = Some(basis.clone());
        snapshot.label_headers = before.label_headers.clone();
        snapshot.cors.clone_from(&before.cors);
        snapshot.units = units;
        snapshot.own.clone_from(&before.own);
        self.contested = HashSet::clone(&before.contested);
        self.finish(&mut snapshot);
        Some(snapshot)
    }
}

impl Versions {
    /// The units that are not among those of `other`.
    fn without(&self, other: &Self) -> impl Iterator<Item = &Arc<Unit>> {
        self.all().filter(|unit| !other.all().any(|known| Arc::ptr_eq(known, unit)))
    }
}

/// The modules that are new or gone, or some of whose labels point at something else.
fn changed<'m>(was: &'m Modules, now: &'m Modules) -> HashSet<&'m str> {
    let is_same = |name: &str, now: &Labels| was.get(name).is_some_and(|was| was.is(now));
    let new = now.iter().filter(|(name, labels)| !is_same(name, labels)).map(|(name, _)| name);
    let gone = was.keys().filter(|name| !now.contains_key(*name));
    new.chain(gone).map(String::as_str).collect()
}

impl Labels {
    /// Whether the labels are the same, and point at the same.
    fn is(&self, other: &Self) -> bool {
        let (own, others) = (self.iter(), other.iter());
        let others = others.map(|(label, schema)| (label, schema.digest()));
        self.shares(other) || own.map(|(label, schema)| (label, schema.digest())).eq(others)
    }
}

fn slots(kinds: &[&dyn Kind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.slot()).collect()
}

fn are_same<T>(a: &[T], b: &[T], is_same: impl Fn(&T, &T) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
}

fn have_same<T: ?Sized>(
    a: &HashMap<String, Arc<T>>,
    b: &HashMap<String, Arc<T>>,
    is_same: impl Fn(&Arc<T>, &Arc<T>) -> bool,
) -> bool {
    a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| is_same(a, b)))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::LazyLock;

    use http::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::config;
    use crate::config::fault::Report;
    use crate::observe::Metrics;
    use crate::policy;
    use crate::route::rest::Found;
    use crate::schema::Limits;
    use crate::schema::Schema;
    use crate::schema::compile::protos;
    use crate::snapshot::LIVE;
    use crate::snapshot::RestTarget;
    use crate::snapshot::Shadows;
    use crate::snapshot::Tables;
    use crate::snapshot::compile;
    use crate::upstream::Specs;

    const MODULES: usize = 4;
    const VERSIONS: usize = 12;
    const HOSTS: [&str; 3] = ["a.com", "b.com", "c.org"];

    /// What compiles snapshots, and the process around them.
    pub(in crate::snapshot) struct World {
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        specs: Specs,
        shadows: Shadows,
    }

    impl World {
        pub(in crate::snapshot) fn new(config: &str) -> Self {
            let metrics = Metrics::new(1);
            let config = config::parse(config, Path::new("test.yaml"), &|_| None);
            let config = Arc::new(config.unwrap_or_else(|report| panic!("{report}")));
            let (specs, shadows) = (Specs::new(1, metrics.clone()), Shadows::new(metrics.clone()));
            Self { config, specs, shadows, metrics }
        }

        fn with<T>(
            &self,
            modules: &Modules,
            before: Option<&Snapshot>,
            then: impl FnOnce(&Inputs<'_>) -> T,
        ) -> T {
            then(&Inputs {
                config: self.config.clone(),
                modules,
                rules: &HashMap::new(),
                before,
                own: &[],
                kinds: policy::TABLE,
                extra: &[],
                documents: &[],
                in_process: &HashMap::new(),
                specs: &self.specs,
                shadows: &self.shadows,
                upstream_tls: &HashMap::new(),
                metrics: &self.metrics,
                generation: before.map_or(1, |before| before.generation + 1),
            })
        }

        pub(in crate::snapshot) fn compile(
            &self,
            modules: &Modules,
            before: Option<&Snapshot>,
        ) -> Result<Snapshot, Report> {
            self.with(modules, before, compile)
        }

        /// Whether a change needs no table to be built anew.
        fn is_change(&self, modules: &Modules, before: &Snapshot) -> bool {
            self.with(modules, Some(before), |inputs| Build::new(inputs).change().is_some())
        }
    }

    /// Modules that meet on some paths and some services, on the same hosts and on others.
    pub(in crate::snapshot) fn config(first: bool) -> String {
        let conflicts = if first { ", rest: { conflicts: first }" } else { "" };
        format!(
            "listeners: [{{ name: l, address: '127.0.0.1:0' }}]
upstreams: [{{ name: u, endpoints: [{{ address: '127.0.0.1:1' }}] }}]
modules: [{{ name: m0 }}, {{ name: m1 }}, {{ name: m2 }}, {{ name: m3 }}]
apis:
  - {{ name: a0, module: m0, upstream: u, label_header: x-label, openapi: {{ path: /a0.json }}{conflicts} }}
  - {{ name: a1, module: m1, upstream: u, label_header: x-label, hosts: [a.com, '*.com']{conflicts} }}
  - {{ name: a2, module: m2, upstream: u, hosts: [c.org, a.com], openapi: {{ path: /v1/two/doc }}{conflicts} }}
  - {{ name: b2, module: m2, label: canary, upstream: u, hosts: [b.com]{conflicts} }}
  - {{ name: a3, module: m3, services: [m3.Listed], upstream: u{conflicts} }}
"
        )
    }

    pub(in crate::snapshot) fn schema(text: &str) -> Schema {
        protos(vec![("t.proto".into(), text.into())], &[], &Limits::default()).unwrap()
    }

    /// One of the versions of a module: its methods and rules differ, and those of some are like another module's.
    fn version(module: usize, version: usize) -> String {
        // Any mix will do that isn't the same everywhere.
        let mut mix = (module * VERSIONS + version + 1).wrapping_mul(0x9e37_79b9);
        let mut pick = |of: usize| {
            mix = mix.wrapping_mul(0x5851_f42d_4c95_7f2d_usize).wrapping_add(0x1405_7b7e_f767_814f_usize);
            (mix >> 33) % of
        };
        let service = |name: &str, pick: &mut dyn FnMut(usize) -> usize| {
            let mut methods = String::new();
            for method in ["A", "B", "C"] {
                let rule = match pick(14) {
                    0 | 1 => continue,
                    2 => String::new(),
                    3 => "get: '/v1/one/{id}'".into(),
                    4 => "post: '/v1/one/{id}' additional_bindings { get: '/v1/{name=**}' }".into(),
                    5 => "get: '/v1/two/doc'".into(),
                    6 => format!("get: '/{name}/{{name=**}}:go'"),
                    other => {
                        format!(
                            "get: '/{name}/{method}/{other}/{{id}}' additional_bindings {{ put: '/{name}/{{id}}/{method}' }}"
                        )
                    }
                };
                methods +=
                    &format!("rpc {method}(M) returns (M) {{ option (google.api.http) = {{ {rule} }}; }}\n")
                        .replace("option (google.api.http) = {  };", "");
            }
            format!("service {name} {{ {methods} }}\n")
        };
        // Mostly a package of its own.
        let package = if pick(8) == 0 { "shared".into() } else { format!("m{module}") };
        let name = if pick(6) == 0 { "Renamed" } else { "Listed" };
        let services = [service(name, &mut pick), service(&format!("Own{module}"), &mut pick)].concat();
        format!(
            "syntax = 'proto3'; package {package}; import 'google/api/annotations.proto';\n\
             message M {{ string id = 1; string name = 2; }}\n{services}"
        )
    }

    static ALL: LazyLock<Vec<Vec<Schema>>> = LazyLock::new(|| {
        let versions = |module| (0..VERSIONS).map(|at| schema(&version(module, at))).collect();
        (0..MODULES).map(versions).collect()
    });

    /// Everything that can be found in these tables, in words.
    fn tables(tables: &Tables, out: &mut BTreeSet<String>) {
        for (path, rank, plan) in tables.routes.iter() {
            out.insert(format!(
                "{path} {rank:?} {} {} {}",
                plan.api.name,
                plan.api.label,
                plan.api.schema.digest()
            ));
        }
        let templates = ["/v1/one/7", "/v1/two/doc", "/v1/x/y", "/a0.json", "/v1/x:go", "/%zz", "/"];
        let mut paths: Vec<String> = templates.map(str::to_owned).into();
        for name in ["Listed", "Renamed", "Own0", "Own1", "Own2", "Own3"] {
            paths.extend([format!("/{name}/x/y:go"), format!("/{name}/7/A"), format!("/{name}/7/B")]);
            let methods = ["A", "B", "C"].into_iter().flat_map(|method| (7..14).map(move |at| (method, at)));
            paths.extend(methods.map(|(method, at)| format!("/{name}/{method}/{at}/x")));
        }
        for (host, path) in HOSTS.into_iter().flat_map(|host| paths.iter().map(move |path| (host, path))) {
            for verb in [Method::GET, Method::POST, Method::PUT] {
                let found = match tables.rest.find(host, &verb, path) {
                    Found::Match { target: RestTarget::Rule(route), captures } => format!(
                        "{} {} {} {} {captures:?}",
                        route.plan.api.name,
                        route.plan.api.label,
                        route.plan.method.path,
                        route.rule.template
                    ),
                    Found::Match { target: RestTarget::Document(document), .. } => {
                        String::from_utf8_lossy(&document.text).into_owned()
                    }
                    Found::NotFound => continue,
                    Found::MethodNotAllowed { allow } => allow.join(","),
                    Found::BadRequest(why) => why.to_string(),
                };
                out.insert(format!("{host} {verb} {path}: {found}"));
            }
        }
    }

    fn words(snapshot: &Snapshot) -> BTreeSet<String> {
        let mut out = BTreeSet::new();
        tables(&snapshot.served, &mut out);
        for (label, labelled) in &snapshot.labelled {
            let mut of_label = BTreeSet::new();
            tables(labelled, &mut of_label);
            out.extend(of_label.into_iter().map(|line| format!("{label}: {line}")));
        }
        for (at, api) in snapshot.apis.iter().enumerate() {
            out.insert(format!("{at} {} {} {:?}", api.name, api.schema.digest(), api.services));
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn changes_one_by_one_come_to_what_a_whole_build_makes(
            first in any::<bool>(),
            changes in prop::collection::vec((0..MODULES, prop::bool::weighted(0.7), prop::option::weighted(0.85, 0..VERSIONS)), 1..24),
        ) {
            let world = World::new(&config(first));
            let mut modules = Modules::new();
            let mut before = world.compile(&modules, None).unwrap();
            for (module, is_live, version) in changes {
                let mut next = modules.clone();
                let labels = next.entry(format!("m{module}")).or_default();
                let label = if is_live { LIVE } else { "canary" };
                match version {
                    Some(version) => labels.set(label, ALL[module][version].clone()),
                    None => drop(labels.remove(label)),
                }
                match (world.compile(&next, Some(&before)), world.compile(&next, None)) {
                    (Ok(changed), Ok(whole)) => {
                        prop_assert_eq!(words(&changed), words(&whole));
                        (before, modules) = (changed, next);
                    }
                    (Err(changed), Err(whole)) => prop_assert_eq!(changed.to_string(), whole.to_string()),
                    (changed, whole) => prop_assert!(
                        false,
                        "{:?} but {:?}",
                        changed.err().map(|report| report.to_string()),
                        whole.err().map(|report| report.to_string())
                    ),
                }
            }
        }
    }

    pub(in crate::snapshot) const PLAIN: &str =
        "syntax = 'proto3'; package m0; import 'google/api/annotations.proto';
message M { string id = 1; }
service S { rpc Get(M) returns (M) { option (google.api.http) = { get: '/v1/s/{id}' }; } }";

    #[test]
    fn what_has_not_changed_is_shared() {
        let world = World::new(&config(true));
        let modules = |versions: &[(&str, &str)]| -> Modules {
            versions.iter().map(|(name, text)| ((*name).to_owned(), Labels::live(schema(text)))).collect()
        };
        let [zero, one] = ["m1", "m2"].map(|name| PLAIN.replace("m0", name).replace("v1/s", name));
        let before = world.compile(&modules(&[("m1", &zero), ("m2", &one)]), None).unwrap();
        let newer = zero.replace("rpc Get", "rpc Take");
        let after = modules(&[("m1", &newer), ("m2", &one)]);
        assert!(world.is_change(&after, &before));
        let after = world.compile(&after, Some(&before)).unwrap();
        let plan = |snapshot: &Snapshot, path| snapshot.served.routes.find("a.com", path).cloned();
        let [old, new] = [&before, &after].map(|snapshot| plan(snapshot, "/m2.S/Get").unwrap());
        assert!(Arc::ptr_eq(&old, &new), "nothing of m2 is compiled again");
        assert!(plan(&after, "/m1.S/Get").is_none() && plan(&after, "/m1.S/Take").is_some());
        assert!(plan(&before, "/m1.S/Get").is_some(), "what serves stays as it is");

        // Where rules meet, it depends on the order of all which one serves.
        let meets = one.replace("get: '/m2/{id}'", "get: '/m1/{id}'");
        let met = modules(&[("m1", &zero), ("m2", &meets)]);
        assert!(!world.is_change(&met, &before));
        let met = world.compile(&met, Some(&before)).unwrap();
        assert!(!world.is_change(&modules(&[("m1", &newer), ("m2", &meets)]), &met), "m1 may give way now");
    }

    #[test]
    fn a_section_that_is_the_same_keeps_its_units_in_another_configuration() {
        let mut world = World::new(&config(false));
        let modules = [("m0".to_owned(), Labels::live(schema(PLAIN)))].into();
        let before = world.compile(&modules, None).unwrap();
        let plan = |snapshot: &Snapshot| snapshot.served.routes.find("a.com", "/m0.S/Get").cloned().unwrap();
        let parsed = |text: &str| Arc::new(config::parse(text, Path::new("test.yaml"), &|_| None).unwrap());
        let more = config(false)
            + "  - { name: more, module: m3, services: [m3.Other], upstream: u, hosts: [x.org] }\n";
        world.config = parsed(&more);
        let after = world.compile(&modules, Some(&before)).unwrap();
        assert!(Arc::ptr_eq(&plan(&before), &plan(&after)));
        world.config = parsed(&(more + "policies: { timeout: { default: 1s } }\n"));
        let limited = world.compile(&modules, Some(&after)).unwrap();
        assert!(!Arc::ptr_eq(&plan(&after), &plan(&limited)), "the general policies are others");
    }

    #[test]
    fn owners_of_what_is_published_twice_are_named() {
        let two = "upstreams: [{ name: u, endpoints: [{ address: '127.0.0.1:1' }] }]
listeners: [{ name: l, address: '127.0.0.1:0' }]
modules: [{ name: m0 }, { name: m1 }]
apis:
  - { name: one, module: m0, upstream: u, hosts: [a.com] }
  - { name: two, module: m1, upstream: u, hosts: [b.com, a.com] }
";
        let world = World::new(two);
        let told = |other: &str| {
            let both = [("m0", PLAIN), ("m1", other)];
            let modules = both.map(|(name, text)| (name.to_owned(), Labels::live(schema(text)))).into();
            world.compile(&modules, None).unwrap_err().to_string()
        };
        let service = "service \"m0.S\" is published on host \"a.com\" by API \"one\" of module \"m0\" and by API \
                       \"two\" of module \"m1\"";
        let once = told(PLAIN);
        assert!(once.contains(service) && once.ends_with("1 fault"), "{once}");
        let rule = "GET /v1/s/{id} on host \"a.com\" is claimed by m0.S.Get (t.proto, API \"one\" of module \"m0\") and \
                    by m1.S.Get (t.proto, API \"two\" of module \"m1\")";
        let once = told(&PLAIN.replace("m0", "m1"));
        assert!(once.contains(rule) && once.ends_with("1 fault"), "{once}");
    }
}

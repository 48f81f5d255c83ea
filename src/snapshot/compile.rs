//! Builds the next snapshot beside the live one.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use http::HeaderName;

use crate::config::fault::Diag;
use crate::config::fault::Report;
use crate::config::types;
use crate::config::types::Config;
use crate::config::types::Slots;
use crate::observe::Metrics;
use crate::policy::Kind;
use crate::policy::Policy;
use crate::schema::Digest;
use crate::schema::Schema;
use crate::schema::http::ServiceConfig;
use crate::snapshot::Document;
use crate::snapshot::LIVE;
use crate::snapshot::Modules;
use crate::snapshot::Shadows;
use crate::snapshot::Snapshot;
use crate::snapshot::Tables;
use crate::snapshot::Versions;
use crate::snapshot::change::Basis;
use crate::snapshot::unit::Unit;
use crate::snapshot::unit::Version;
use crate::snapshot::unit::cors;
use crate::transcode::Plans;
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
    /// What answers in the process, by the names of upstreams: whatever the configuration says of the
    /// endpoints of these.
    pub in_process: &'a HashMap<String, Arc<dyn InProcess>>,
    /// The upstreams of the process.
    pub specs: &'a Specs,
    /// The versions in shadows of the process.
    pub shadows: &'a Shadows,
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
/// Where nothing but versions of modules has changed since the one before, it costs by what has changed. The
/// outcome is the same as without one before.
///
/// # Errors
/// Every fault that only the descriptors show: unknown services and methods, HTTP rules that can't
/// be served, and methods and paths that are published twice on the same host.
pub fn compile(inputs: &Inputs<'_>) -> Result<Snapshot, Report> {
    let mut build = Build::new(inputs);
    if let Some(snapshot) = build.change() {
        return Ok(snapshot);
    }
    build.begin_anew();
    build.whole()
}

/// Two APIs, the service that both publish, and the host.
type Collided = (Arc<str>, Arc<str>, Arc<str>, String);

pub(super) struct Build<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) diag: Diag,
    pub(super) served: Tables,
    pub(super) labelled: HashMap<Arc<str>, Arc<Tables>>,
    pub(super) contested: HashSet<Arc<str>>,
    /// Services that were told to be published twice: by which APIs, and on which host.
    pub(super) collided: HashSet<Collided>,
    /// Whether faults and conflicts are told; otherwise they only end an attempt.
    pub(super) tells: bool,
    /// Rules that another one goes before, by `rest.conflicts: first`.
    pub(super) conflicts: usize,
    /// Faultless units of an attempt that came to nothing.
    pub(super) fresh: HashMap<(Arc<str>, Arc<str>), Arc<Unit>>,
    /// The compiled messages of versions, by the digest of their descriptors.
    plans: HashMap<Digest, Arc<Plans>>,
    /// The units of the snapshot before by the name of their API, where they may be taken over.
    kept: HashMap<&'a str, (&'a types::Api, &'a Versions)>,
}

impl<'a> Build<'a> {
    pub(super) fn new(inputs: &'a Inputs<'a>) -> Self {
        Self {
            inputs,
            diag: Diag::new(),
            served: Tables::default(),
            labelled: HashMap::new(),
            contested: HashSet::new(),
            collided: HashSet::new(),
            tells: false,
            conflicts: 0,
            fresh: HashMap::new(),
            plans: HashMap::new(),
            kept: HashMap::new(),
        }
    }

    /// Forgets what an attempt came to, but for its faultless units.
    fn begin_anew(&mut self) {
        self.diag = Diag::new();
        self.served = Tables::default();
        self.labelled = HashMap::new();
        self.contested = HashSet::new();
        self.collided = HashSet::new();
        self.tells = true;
        let Some(before) = self.inputs.before else { return };
        self.know_plans(before.units.iter().flat_map(Versions::all).chain(&before.own));
        let Some(config) = &before.config else { return };
        if before.basis.as_ref().is_some_and(|basis| basis.fits_units(config, self.inputs)) {
            let sections = config.apis.iter().zip(&before.units);
            self.kept = sections.map(|(api, units)| (api.name.as_str(), (api, units))).collect();
        }
    }

    /// Compiles all of it; of the snapshot before, units that are still right are taken over.
    fn whole(mut self) -> Result<Snapshot, Report> {
        let inputs = self.inputs;
        let none = Slots::default();
        let mut snapshot = Snapshot::empty();
        snapshot.generation = inputs.generation;
        snapshot.config = Some(inputs.config.clone());
        snapshot.modules = inputs.modules.clone();
        snapshot.basis = Some(Arc::new(Basis::of(inputs)));
        snapshot.label_headers = label_headers(&inputs.config);
        snapshot.cors = cors(&self.policies(&none, &none));
        self.check_selectors(|_| true);
        for api in &inputs.config.apis {
            let versions = self.versions(api, None);
            for unit in versions.served.iter().chain(&versions.others) {
                self.publish(api, unit);
            }
            snapshot.units.push(versions);
        }
        for own in inputs.own {
            if let Some(unit) = self.compile_own(own) {
                self.publish_own(&unit);
                snapshot.own.push(Arc::new(unit));
            }
        }
        self.publish_own_documents();
        self.end_of_conflicts();
        std::mem::take(&mut self.diag).finish()?;
        self.finish(&mut snapshot);
        Ok(snapshot)
    }

    /// Puts the tables into a snapshot whose units are known.
    pub(super) fn finish(&mut self, snapshot: &mut Snapshot) {
        snapshot.served = std::mem::take(&mut self.served);
        snapshot.labelled = std::mem::take(&mut self.labelled);
        snapshot.labelled.retain(|_, tables| !tables.routes.is_empty());
        snapshot.contested = Arc::new(std::mem::take(&mut self.contested));
        let served = snapshot.units.iter().filter_map(|versions| versions.served.as_ref());
        snapshot.apis = served.chain(&snapshot.own).map(|unit| unit.api.clone()).collect();
    }

    /// The units of one API, where it may be served at all; those of `before` that are still right among them.
    pub(super) fn versions(&mut self, api: &types::Api, before: Option<&Versions>) -> Versions {
        let inputs = self.inputs;
        let labels = inputs.modules.get(&api.module);
        let schema = labels.and_then(|labels| labels.get(&api.label));
        if schema.is_none() {
            self.no_version(api);
        }
        let module = inputs.config.modules.iter().find(|module| module.name == api.module);
        if module.is_some_and(|module| module.rules.is_some()) && !inputs.rules.contains_key(&api.module) {
            return Versions::default(); // They are at fault; without them the methods would collide where they don't.
        }
        let Some(upstream) = self.upstream(api) else { return Versions::default() };
        let beside = schema.and_then(|schema| self.beside(api, labels?, schema));
        let asked = labels.filter(|_| api.label_header.is_some());
        let others = asked.into_iter().flat_map(|labels| labels.iter());
        let others: Vec<_> = others.filter(|(label, _)| *label != api.label).collect();
        let mut unit = |label, schema, beside| {
            self.unit(Version { api, label, schema, beside, upstream: &upstream }, before)
        };
        Versions {
            served: schema.map(|schema| unit(&api.label, schema, beside)),
            others: others.into_iter().map(|(label, schema)| unit(label, schema, None)).collect(),
        }
    }

    /// One version of an API: one that is there already, if it is right.
    fn unit(&mut self, version: Version<'_>, before: Option<&Versions>) -> Arc<Unit> {
        let Version { api, label, schema, beside, .. } = version;
        let is_right = |unit: &&Arc<Unit>| {
            *unit.api.label == *label
                && unit.api.schema.digest() == schema.digest()
                && unit.api.shadow.as_ref().map(|shadow| shadow.digest()) == beside.map(Schema::digest)
        };
        if let Some(unit) = before.and_then(|versions| versions.all().find(is_right)) {
            return unit.clone();
        }
        let key = (Arc::from(api.name.as_str()), Arc::from(label));
        if let Some(unit) = self.fresh.get(&key) {
            return unit.clone();
        }
        if let Some((section, versions)) = self.kept.get(api.name.as_str())
            && *section == api
            && self.has_same_rules(api)
            && let Some(unit) = versions.all().find(is_right)
            && unit.api.upstream.as_ref().is_some_and(|before| before.is(version.upstream))
        {
            return unit.clone();
        }
        let unit = Arc::new(self.compile_unit(version));
        if !self.tells && self.diag.is_clean() {
            self.fresh.insert(key, unit.clone());
        }
        unit
    }

    /// Whether an API's module has the same service configuration as before.
    fn has_same_rules(&self, api: &types::Api) -> bool {
        let before = self.inputs.before.and_then(|before| before.basis.as_ref());
        let before = before.and_then(|basis| basis.rules.get(&api.module));
        before.map(Arc::as_ptr) == self.inputs.rules.get(&api.module).map(Arc::as_ptr)
    }

    /// Where the calls of an API go; `None` where that is at fault.
    fn upstream(&self, api: &types::Api) -> Option<Upstream> {
        if let Some(run) = self.inputs.in_process.get(&api.upstream) {
            return Some(Upstream::InProcess(run.clone()));
        }
        let upstream = self.inputs.config.upstreams.iter().find(|upstream| upstream.name == api.upstream)?;
        let tls = self.inputs.upstream_tls.get(&upstream.name);
        // Where only one of them has TLS, its files are at fault.
        let is_whole = upstream.tls.is_some() == tls.is_some();
        is_whole.then(|| Upstream::Network(self.inputs.specs.of(upstream, tls)))
    }

    /// Without its version an API is left out: it may yet be pushed, or told by a server. What nobody pushes has
    /// one label alone.
    fn no_version(&mut self, api: &types::Api) {
        let module = self.inputs.config.modules.iter().find(|module| module.name == api.module);
        let is_pushed = module.is_none_or(|module| matches!(module.source, types::ModuleSource::Upload));
        if !is_pushed && api.label != LIVE {
            self.diag.fault(
                &api.at,
                format!("API \"{}\": module \"{}\" has no label \"{}\"", api.name, api.module, api.label),
                "leave `label` out: only modules that are pushed have other labels than `live`",
            );
        }
    }

    /// Lets versions with the descriptors of these units take over their compiled messages.
    pub(super) fn know_plans<'u>(&mut self, units: impl Iterator<Item = &'u Arc<Unit>>) {
        self.plans.extend(units.map(|unit| (unit.api.schema.digest(), unit.plans.clone())));
    }

    /// The compiled messages of a version.
    pub(super) fn plans(&mut self, schema: &Schema) -> Arc<Plans> {
        let make = || Arc::new(Plans::new(schema.pool().clone(), schema.traits().clone()));
        self.plans.entry(schema.digest()).or_insert_with(make).clone()
    }
}

impl Versions {
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Unit>> {
        self.served.iter().chain(&self.others)
    }
}

/// Each once, in the order of the APIs.
fn label_headers(config: &Config) -> Arc<[HeaderName]> {
    let mut names: Vec<HeaderName> = Vec::new();
    for name in config.apis.iter().filter_map(|api| api.label_header.as_ref()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names.into()
}

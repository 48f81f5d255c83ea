//! Reads the descriptors that a configuration names, and keeps what hasn't changed.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::config::Diag;
use crate::config::fault::At;
use crate::config::types::Module;
use crate::config::types::ModuleSource;
use crate::registry::Source;
use crate::schema::Fault;
use crate::schema::Limits;
use crate::schema::Schema;
use crate::schema::http::ServiceConfig;
use crate::snapshot::LIVE;
use crate::snapshot::Modules;

/// Descriptors of one module as they were last read.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) schema: Schema,
}

/// Reads every module that comes from files, each after those that it imports from; `others` are those that come
/// from elsewhere. A module whose content is the same keeps the pool that it has.
pub(super) fn read(
    config: &Config,
    before: &HashMap<String, Loaded>,
    others: &Modules,
    diag: &mut Diag,
) -> HashMap<String, Loaded> {
    let mut all: HashMap<String, Loaded> = HashMap::new();
    let sources = config.modules.iter().filter_map(|module| Some((module, source(module)?)));
    let mut left: Vec<(&Module, Source)> = sources.collect();
    let mut unread: Vec<String> = Vec::new();
    while !left.is_empty() {
        let waits = |module: &Module| {
            let is_left = |dep: &String| left.iter().any(|(other, _)| other.name == *dep);
            module.deps.iter().any(is_left)
        };
        // A cycle was reported when the configuration was checked.
        let Some(at) = left.iter().position(|(module, _)| !waits(module)) else { break };
        let (module, source) = left.swap_remove(at);
        if module.deps.iter().any(|dep| unread.contains(dep)) {
            unread.push(module.name.clone());
            continue; // What it imports from is at fault, and says so.
        }
        let live = |dep: &String| match all.get(dep) {
            Some(loaded) => Some(loaded.schema.clone()),
            None => others.get(dep).and_then(|labels| labels.get(LIVE)).cloned(),
        };
        let deps: Vec<Schema> = module.deps.iter().filter_map(live).collect();
        match source.load_blocking(&deps, &Limits::default()) {
            Ok(schema) => {
                let same = before.get(&module.name).filter(|old| old.schema.digest() == schema.digest());
                let loaded = same.cloned().unwrap_or(Loaded { schema });
                all.insert(module.name.clone(), loaded);
            }
            Err(faults) => {
                unread.push(module.name.clone());
                faults.iter().for_each(|fault| report(module, &module.source_at, fault, diag));
            }
        }
    }
    all
}

fn source(module: &Module) -> Option<Source> {
    match &module.source {
        ModuleSource::Protos(path) => Some(Source::Directory(path.clone())),
        ModuleSource::DescriptorSet(path) => Some(Source::DescriptorSet(path.clone())),
        ModuleSource::Upload | ModuleSource::Reflection { .. } => None,
    }
}

/// Reads the service configuration of every module that has one.
pub(super) fn rules(config: &Config, diag: &mut Diag) -> HashMap<String, Arc<ServiceConfig>> {
    let mut all = HashMap::new();
    for module in &config.modules {
        let Some(rules) = &module.rules else { continue };
        let name = rules.value.display().to_string();
        let text = match read_text(&rules.value) {
            Ok(text) => text,
            Err(why) => {
                let help = "write the path of a service configuration in YAML";
                diag.fault(&rules.at, format!("module \"{}\": {name}: {why}", module.name), help);
                continue;
            }
        };
        match ServiceConfig::parse(&text, &name) {
            Ok(parsed) => {
                all.insert(module.name.clone(), Arc::new(parsed));
            }
            Err(faults) => faults.iter().for_each(|fault| report(module, &rules.at, fault, diag)),
        }
    }
    all
}

fn read_text(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = file.take(RULES_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if read as u64 > RULES_BYTES_MAX {
        return Err(format!("it is over {RULES_BYTES_MAX} bytes"));
    }
    Ok(text)
}

/// A fault of a file, at the place that names it.
fn report(module: &Module, at: &At, fault: &Fault, diag: &mut Diag) {
    let line = fault.line.map(|line| format!(":{line}")).unwrap_or_default();
    diag.fault(
        at,
        format!("module \"{}\": {}{line}: {}", module.name, fault.file, fault.problem),
        fault.help.as_str(),
    );
}

/// The largest service configuration, in bytes.
const RULES_BYTES_MAX: u64 = 16 << 20;

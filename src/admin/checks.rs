//! What must hold before a version serves: whose module it is, whose packages, and whom it would break.

use std::collections::HashMap;

use tonic::Code;
use tonic::Status;

use crate::admin::audit;
use crate::admin::desk;
use crate::admin::faults;
use crate::admin::faults::Reason;
use crate::admin::pb;
use crate::admin::plane::Refused;
use crate::admin::plane::Standing;
use crate::config::Config;
use crate::config::types::ModuleSource;
use crate::registry::Catalog;
use crate::registry::breaking;
use crate::registry::breaking::Allowed;
use crate::registry::breaking::Category;
use crate::registry::breaking::Finding;
use crate::registry::breaking::Verdict;
use crate::registry::catalog::LABELS_MAX;
use crate::schema::Schema;
use crate::snapshot::Modules;

/// How strict the check of a change is, and what is let through.
pub(super) struct Leniency {
    category: Category,
    allowed: Vec<Allowed>,
}

impl Leniency {
    /// Reads what a request says.
    pub(super) fn read(category: &str, allow_breaking: &[String]) -> Result<Self, Status> {
        let category = match category {
            "" => Category::default(),
            name => Category::named(name).ok_or_else(|| {
                let names = Category::ALL.map(Category::name).join(", ");
                faults::invalid("category", format!("there is no such one: write one of {names}"))
            })?,
        };
        if ALLOWED_MAX < allow_breaking.len() {
            let told = format!("more than {ALLOWED_MAX} changes are let through: make the change in steps");
            return Err(faults::invalid("allow_breaking", told));
        }
        let allowed = allow_breaking
            .iter()
            .map(|text| Allowed::parse(text).map_err(|told| faults::invalid("allow_breaking", told)));
        Ok(Self { category, allowed: allowed.collect::<Result<_, _>>()? })
    }

    /// What breaks between two versions.
    pub(super) fn judge(&self, old: &Schema, new: &Schema) -> Verdict {
        breaking::split(breaking::compare(old, new, None, None, self.category), &self.allowed)
    }
}

/// Refuses a module whose descriptors come from elsewhere.
pub(super) fn uploadable(config: &Config, module: &str) -> Result<(), Status> {
    let Some(known) = config.modules.iter().find(|known| known.name == module) else { return Ok(()) };
    let from = match &known.source {
        ModuleSource::Upload => return Ok(()),
        ModuleSource::Protos(_) => "`protos`",
        ModuleSource::DescriptorSet(_) => "`descriptor_set`",
        ModuleSource::Reflection { .. } => "`reflection`",
    };
    let told = format!(
        "module \"{module}\" can't be pushed to: it has {from} in the configuration (line {}); change what that \
         names, or remove it there to upload versions",
        known.source_at.line
    );
    Err(faults::status(Code::FailedPrecondition, Reason::InFile, told))
}

/// Refuses services in packages that are reserved for another module.
pub(super) fn reserved(standing: &Standing<'_>, module: &str, schema: &Schema) -> Result<(), Status> {
    let others = standing.config.modules.iter().filter(|other| other.name != module);
    for other in others.filter(|other| !other.packages.is_empty()) {
        if let Some(service) = within(schema, &other.packages) {
            return Err(taken(service, module, &other.name));
        }
    }
    Ok(())
}

/// What must hold of a configuration that is to serve with these descriptors, besides what it says itself.
///
/// # Errors
/// A package that is reserved and has services of others.
pub fn sound(config: &Config, modules: &Modules) -> Result<(), Status> {
    let owned =
        config.modules.iter().flat_map(|owner| owner.packages.iter().map(|name| (&**name, &*owner.name)));
    let owners: HashMap<&str, &str> = owned.collect();
    if owners.is_empty() {
        return Ok(());
    }
    let mut names: Vec<_> = modules.keys().collect();
    names.sort_unstable();
    for name in names {
        for (_, schema) in modules.get(name).into_iter().flat_map(|labels| labels.iter()) {
            for service in schema.services() {
                let package = service.name.rsplit_once('.').map_or("", |(package, _)| package);
                if let Some(owner) = owners.get(package).filter(|owner| *owner != name) {
                    return Err(taken(&service.name, name, owner));
                }
            }
        }
    }
    Ok(())
}

fn within<'s>(schema: &'s Schema, packages: &[String]) -> Option<&'s str> {
    let package =
        |service: &str| service.rsplit_once('.').map_or(String::new(), |(package, _)| package.into());
    schema.services().iter().map(|service| &*service.name).find(|name| packages.contains(&package(name)))
}

fn taken(service: &str, module: &str, owner: &str) -> Status {
    let told = format!(
        "service \"{service}\" of module \"{module}\" is in a package that is reserved for module \"{owner}\": \
         move it to another package, or let that module give it up (`packages`)"
    );
    faults::status(Code::AlreadyExists, Reason::Collision, told)
}

/// Refuses what would break those who use the version that a label points at: for a new label, those of `live`.
pub(super) fn compatible(
    standing: &Standing<'_>,
    module: &str,
    label: &str,
    schema: &Schema,
    leniency: &Leniency,
) -> Result<Verdict, Status> {
    let labels = standing.modules.get(module);
    let before = labels.and_then(|labels| labels.get(label).or_else(|| labels.get(desk::LIVE)));
    let Some(before) = before else { return Ok(Verdict::default()) };
    let verdict = leniency.judge(before, schema);
    if !verdict.refused.is_empty() {
        return Err(faults::of_breaking(module, label, &verdict.refused));
    }
    Ok(verdict)
}

/// Whether a version is what a label's calls get.
pub(super) fn is_served(standing: &Standing<'_>, module: &str, label: &str, digest: &str) -> bool {
    let served = standing.modules.get(module).and_then(|labels| labels.get(label));
    served.is_some_and(|schema| schema.digest().hex() == digest)
}

/// Refuses a new label of a module that has enough of them.
pub(super) fn room_for(catalog: &Catalog<'_>, module: &str, label: &str) -> Result<(), Refused> {
    let labels = catalog.labels(module)?;
    if labels.len() < LABELS_MAX || labels.contains_key(label) {
        return Ok(());
    }
    let told = format!("\"{module}\" has {LABELS_MAX} labels already: take one away first");
    Err(faults::status(Code::FailedPrecondition, Reason::InUse, told).into())
}

/// Breaking changes that were let through, as they are written down.
pub(super) fn let_through(verdict: &Verdict) -> Vec<String> {
    verdict.allowed.iter().map(|finding| format!("{}@{}", finding.rule, finding.element)).collect()
}

/// What the audit log says of a move.
pub(super) fn note(label: &str, promotes: bool, verdict: &Verdict) -> String {
    let mut note = match promotes {
        true => format!("label {label}"),
        false => "not promoted".to_owned(),
    };
    let through = let_through(verdict);
    if !through.is_empty() {
        note.push_str("; let through ");
        note.push_str(&audit::listed(&through));
    }
    note
}

/// A finding as the Admin API tells it.
pub(super) fn finding(finding: &Finding) -> pb::Finding {
    pb::Finding {
        rule: finding.rule.into(),
        file: finding.file.clone(),
        line: finding.line.and_then(|line| i32::try_from(line).ok()).unwrap_or(0),
        element: finding.element.clone(),
        problem: finding.problem.clone(),
        breaks: finding.breaks.clone(),
    }
}

const ALLOWED_MAX: usize = 1_000;

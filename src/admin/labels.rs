//! Moves of labels: promotion, the way back, and taking one away.

use tonic::Code;

use crate::admin::audit;
use crate::admin::audit::Asker;
use crate::admin::audit::Deed;
use crate::admin::checks;
use crate::admin::checks::Leniency;
use crate::admin::desk;
use crate::admin::desk::Desk;
use crate::admin::faults;
use crate::admin::faults::Reason;
use crate::admin::pb;
use crate::admin::plane::Change;
use crate::admin::plane::Refused;
use crate::admin::plane::Standing;
use crate::registry::Catalog;
use crate::registry::breaking::Verdict;
use crate::registry::catalog;
use crate::registry::catalog::Move;
use crate::registry::record::VersionRecord;
use crate::schema::Limits;
use crate::schema::Schema;

/// Lets a label point at a version that is there.
pub(super) fn promote(
    desk: &Desk,
    asker: &Asker,
    request: &pb::PromoteRequest,
) -> Result<pb::PromoteResponse, Refused> {
    let label = desk::label(&request.label)?;
    let leniency = Leniency::read(&request.category, &request.allow_breaking)?;
    let store = desk.store()?;
    let catalog = Catalog::new(&*store);
    let version = find(&catalog, &request.module, &request.version)?;
    let target = Target { module: &request.module, label, version: Some(&version), reason: PROMOTE };
    let schema = schema(desk, &catalog, &version)?;
    point(desk, asker, &target, Some((&schema, Some(&leniency))), request.dry_run)
}

/// Lets a label point again at the version before its last move. What that breaks was so before.
pub(super) fn rollback(
    desk: &Desk,
    asker: &Asker,
    request: &pb::RollbackRequest,
) -> Result<pb::PromoteResponse, Refused> {
    let label = desk::label(&request.label)?;
    let store = desk.store()?;
    let catalog = Catalog::new(&*store);
    let nothing = || {
        let told = format!("label \"{label}\" of \"{}\" has no version to go back to", request.module);
        faults::status(Code::FailedPrecondition, Reason::NotFound, told)
    };
    let before = catalog.before(&request.module, label)?.ok_or_else(nothing)?;
    let version = find(&catalog, &request.module, &before)?;
    let reason = catalog::ROLLBACK;
    let target = Target { module: &request.module, label, version: Some(&version), reason };
    let schema = schema(desk, &catalog, &version)?;
    point(desk, asker, &target, Some((&schema, None)), request.dry_run)
}

/// Takes a label away.
pub(super) fn delete(
    desk: &Desk,
    asker: &Asker,
    request: &pb::DeleteLabelRequest,
) -> Result<pb::DeleteLabelResponse, Refused> {
    let label = desk::name("label", &request.label)?;
    let target = Target { module: &request.module, label, version: None, reason: "delete" };
    point(desk, asker, &target, None, false)?;
    Ok(pb::DeleteLabelResponse {})
}

/// What is to become of a label.
struct Target<'a> {
    module: &'a str,
    label: &'a str,
    version: Option<&'a VersionRecord>,
    reason: &'a str,
}

fn point(
    desk: &Desk,
    asker: &Asker,
    target: &Target<'_>,
    schema: Option<(&Schema, Option<&Leniency>)>,
    dry_run: bool,
) -> Result<pb::PromoteResponse, Refused> {
    let mut answer = pb::PromoteResponse {
        module: target.module.into(),
        label: target.label.into(),
        digest: target.version.map(|version| version.digest.clone()).unwrap_or_default(),
        ..Default::default()
    };
    answer.generation = desk.plane.change(&mut |standing| {
        let mut change = Change { dry_run, ..Change::default() };
        decide(standing, asker, target, schema, &mut change, &mut answer)?;
        Ok(change)
    })?;
    Ok(answer)
}

fn decide(
    standing: &Standing<'_>,
    asker: &Asker,
    target: &Target<'_>,
    schema: Option<(&Schema, Option<&Leniency>)>,
    change: &mut Change,
    answer: &mut pb::PromoteResponse,
) -> Result<(), Refused> {
    let Target { module, label, version, reason } = *target;
    checks::uploadable(standing.config, module)?;
    let catalog = Catalog::new(standing.store);
    let before = catalog.label(module, label)?;
    answer.before = before.clone().unwrap_or_default();
    let after = version.map(|version| version.digest.as_str());
    if before.as_deref() == after {
        return match after {
            Some(_) => Ok(()),
            None => {
                let told = format!("module \"{module}\" has no label \"{label}\"");
                Err(faults::status(Code::NotFound, Reason::NotFound, told).into())
            }
        };
    }
    // What was found before the lock was taken may be gone, or another one's turn.
    let is_there = match version {
        Some(version) => catalog.version(module, &version.digest)?.is_some(),
        None => true,
    };
    let is_due = reason != catalog::ROLLBACK || catalog.before(module, label)?.as_deref() == after;
    if !is_there || !is_due {
        let told = "the versions of the module were changed meanwhile: look again, and repeat it";
        return Err(faults::status(Code::Aborted, Reason::Conflict, told).into());
    }
    if before.is_none() {
        checks::room_for(&catalog, module, label)?;
    }
    let mut verdict = Verdict::default();
    match schema {
        Some((schema, leniency)) => {
            checks::reserved(standing, module, schema)?;
            if let Some(leniency) = leniency {
                verdict = checks::compatible(standing, module, label, schema, leniency)?;
            }
        }
        None => unused(standing, module, label)?,
    }
    answer.allowed = verdict.allowed.iter().map(checks::finding).collect();
    let actor = &asker.actor.name;
    let moved = Move { module, label, before: before.as_deref(), after, actor, reason, now_ms: asker.now_ms };
    catalog.move_label(moved, &mut change.batch)?;
    let schema = schema.map(|(schema, _)| schema.clone());
    change.labels.push((module.to_owned(), label.to_owned(), schema));
    let (what, note) = (format!("modules/{module}"), checks::note(label, true, &verdict));
    let deed = Deed {
        method: method(reason),
        target: &what,
        before: before.as_deref().unwrap_or_default(),
        after: after.unwrap_or_default(),
        note: &note,
    };
    audit::add(standing.store, asker, deed, &mut change.batch)?;
    Ok(())
}

/// Refuses to take a label away that an API serves.
fn unused(standing: &Standing<'_>, module: &str, label: &str) -> Result<(), Refused> {
    let serves = |api: &&crate::config::types::Api| {
        api.module == module && (api.label == label || api.shadow.as_deref() == Some(label))
    };
    let users: Vec<String> =
        standing.config.apis.iter().filter(serves).map(|api| format!("API \"{}\"", api.name)).collect();
    if users.is_empty() {
        return Ok(());
    }
    let told = format!(
        "label \"{label}\" of \"{module}\" is used by {}: let it serve another first",
        audit::listed(&users)
    );
    Err(faults::status(Code::FailedPrecondition, Reason::InUse, told).into())
}

fn find(catalog: &Catalog<'_>, module: &str, asked: &str) -> Result<VersionRecord, Refused> {
    catalog.find(module, asked).map_err(|error| faults::of_version(module, asked, error).into())
}

/// The descriptors of a version: those that are served already, or else compiled anew.
fn schema(desk: &Desk, catalog: &Catalog<'_>, version: &VersionRecord) -> Result<Schema, Refused> {
    let modules = desk.plane.modules();
    let served = modules.get(&version.module).and_then(|labels| {
        labels.iter().map(|(_, schema)| schema).find(|schema| schema.digest().hex() == version.digest)
    });
    if let Some(schema) = served {
        return Ok(schema.clone());
    }
    let schema = catalog.schema(version, &Limits::default());
    schema.map_err(|all| faults::of_faults(&format!("module \"{}\"", version.module), &all).into())
}

fn method(reason: &str) -> &'static str {
    match reason {
        PROMOTE => "transom.admin.v1.Modules/Promote",
        catalog::ROLLBACK => "transom.admin.v1.Modules/Rollback",
        _ => "transom.admin.v1.Modules/DeleteLabel",
    }
}

const PROMOTE: &str = "promote";

//! Uploads of versions: compiled beside everything, then checked, kept and promoted in one step.

use bytes::Bytes;
use tonic::Code;
use tonic::Status;

use crate::admin::HttpBody;
use crate::admin::audit;
use crate::admin::audit::Asker;
use crate::admin::audit::Deed;
use crate::admin::checks;
use crate::admin::checks::Leniency;
use crate::admin::desk;
use crate::admin::desk::Desk;
use crate::admin::faults;
use crate::admin::faults::Reason;
use crate::admin::modules::describe;
use crate::admin::pb;
use crate::admin::plane::Change;
use crate::admin::plane::Refused;
use crate::admin::plane::Standing;
use crate::registry::Catalog;
use crate::registry::Content;
use crate::registry::breaking::Verdict;
use crate::registry::catalog::Move;
use crate::registry::record::PinRecord;
use crate::registry::record::VersionRecord;
use crate::schema::Limits;
use crate::schema::Schema;

/// An upload that was compiled.
pub(super) struct Compiled {
    pub(super) schema: Schema,
    pub(super) digest: String,
    pub(super) deps: Vec<PinRecord>,
}

/// What an upload is compiled with.
pub(super) struct Wanted<'a> {
    pub(super) module: &'a str,
    pub(super) label: &'a str,
    pub(super) update_deps: bool,
    pub(super) content: Option<HttpBody>,
}

/// Compiles an upload with the versions of other modules that it is pinned to.
pub(super) fn compile(desk: &Desk, wanted: Wanted<'_>) -> Result<Compiled, Refused> {
    let Wanted { module, label, update_deps, content } = wanted;
    let store = desk.store()?;
    let snapshot = desk.plane.snapshot();
    if let Some(config) = &snapshot.config {
        checks::uploadable(config, module)?;
    }
    let content = content.unwrap_or_default();
    let content = Content::of(&content.content_type, Bytes::from(content.data));
    let content = content.map_err(|told| faults::invalid("content", told))?;
    let catalog = Catalog::new(&*store);
    let before = match catalog.label(module, label)? {
        Some(digest) => catalog.version(module, &digest)?,
        None => None,
    };
    // A new label begins with what `live` is compiled with.
    let before = match before {
        Some(version) => Some(version),
        None => match catalog.label(module, desk::LIVE)? {
            Some(digest) => catalog.version(module, &digest)?,
            None => None,
        },
    };
    let pinned = before.filter(|_| !update_deps).map(|version| version.deps).unwrap_or_default();
    let config = snapshot.config.as_ref();
    let deps = config.and_then(|config| config.modules.iter().find(|known| known.name == module));
    let deps: &[String] = deps.map(|known| known.deps.as_slice()).unwrap_or_default();
    let modules = desk.plane.modules();
    let (mut pins, mut schemas) = (Vec::new(), Vec::new());
    for dep in deps {
        let live = modules.get(dep).and_then(|labels| labels.get(desk::LIVE)).cloned();
        let pin = pinned.iter().find(|pin| pin.module == *dep);
        let schema = match (pin, live) {
            (Some(pin), Some(live)) if live.digest().hex() == pin.digest => live,
            (Some(pin), _) => pinned_schema(&catalog, pin)?,
            (None, Some(live)) => live,
            (None, None) => {
                let told =
                    format!("\"{dep}\", which \"{module}\" imports from, has no version yet: push it first");
                return Err(faults::status(Code::FailedPrecondition, Reason::NotFound, told).into());
            }
        };
        let digest = pin.map_or_else(|| schema.digest().hex(), |pin| pin.digest.clone());
        pins.push(PinRecord { module: dep.clone(), digest });
        schemas.push(schema);
    }
    let schema = content.compile(&schemas, &Limits::default());
    let schema = schema.map_err(|all| faults::of_faults(&format!("module \"{module}\""), &all))?;
    let digest = schema.digest().hex();
    Ok(Compiled { schema, digest, deps: pins })
}

fn pinned_schema(catalog: &Catalog<'_>, pin: &PinRecord) -> Result<Schema, Refused> {
    let gone = || {
        let told = format!(
            "version {} of \"{}\", which it was compiled with, is gone: push it with update_deps",
            pin.digest, pin.module
        );
        faults::status(Code::FailedPrecondition, Reason::NotFound, told)
    };
    let version = catalog.version(&pin.module, &pin.digest)?.ok_or_else(gone)?;
    let schema = catalog.schema(&version, &Limits::default());
    schema.map_err(|all| faults::of_faults(&format!("module \"{}\"", pin.module), &all).into())
}

/// An upload as it was asked for, without its content.
pub(super) struct Asked {
    pub(super) request: pb::CreateVersionRequest,
    pub(super) asker: Asker,
}

/// Checks a version, keeps it and promotes it.
pub(super) fn create(
    desk: &Desk,
    asked: &Asked,
    compiled: Compiled,
) -> Result<pb::CreateVersionResponse, Refused> {
    let mut answer = pb::CreateVersionResponse { dry_run: asked.request.dry_run, ..Default::default() };
    let generation = desk.plane.change(&mut |standing| decide(asked, &compiled, standing, &mut answer))?;
    if answer.promoted && !answer.dry_run {
        answer.generation = generation;
    }
    Ok(answer)
}

fn decide(
    asked: &Asked,
    compiled: &Compiled,
    standing: &Standing<'_>,
    answer: &mut pb::CreateVersionResponse,
) -> Result<Change, Refused> {
    let Asked { request, asker } = asked;
    let (module, label) = (request.module.as_str(), desk::label(&request.label)?);
    checks::uploadable(standing.config, module)?;
    checks::reserved(standing, module, &compiled.schema)?;
    let catalog = Catalog::new(standing.store);
    let digest = compiled.digest.as_str();
    let known = catalog.version(module, digest)?;
    let before = catalog.label(module, label)?;
    let moves = request.promote.unwrap_or(true) && before.as_deref() != Some(digest);
    // What was found damaged at the start is not served, though its label points at it: pushing it again mends it.
    let is_lost = before.as_deref() == Some(digest) && !checks::is_served(standing, module, label, digest);
    let promotes = moves || is_lost;
    answer.unchanged = known.is_some();
    answer.promoted = promotes;
    let mut allowed = Verdict::default();
    if promotes {
        let leniency = Leniency::read(&request.category, &request.allow_breaking)?;
        allowed = checks::compatible(standing, module, label, &compiled.schema, &leniency)?;
    }
    answer.allowed = allowed.allowed.iter().map(checks::finding).collect();
    let mut change = Change { dry_run: request.dry_run, ..Change::default() };
    let version = match known {
        Some(version) if is_lost => catalog.restore(version, &compiled.schema, &mut change.batch)?,
        Some(version) => version,
        None => catalog.add(record(asked, compiled, &allowed), &compiled.schema, &mut change.batch)?,
    };
    if moves {
        checks::room_for(&catalog, module, label)?;
        let before = before.as_deref();
        let moved = Move {
            module,
            label,
            before,
            after: Some(digest),
            actor: &asker.actor.name,
            reason: "push",
            now_ms: asker.now_ms,
        };
        catalog.move_label(moved, &mut change.batch)?;
    }
    if promotes {
        change.labels.push((module.to_owned(), label.to_owned(), Some(compiled.schema.clone())));
    }
    if !answer.unchanged || promotes {
        let note = checks::note(label, promotes, &allowed);
        let target = format!("modules/{module}");
        let before = before.as_deref().unwrap_or_default();
        let deed = Deed { method: METHOD, target: &target, before, after: digest, note: &note };
        audit::add(standing.store, asker, deed, &mut change.batch)?;
    }
    let mut labels = catalog.labels(module)?;
    if promotes {
        labels.insert(label.to_owned(), digest.to_owned());
    }
    answer.version = Some(describe(&version, &labels, Some(&compiled.schema)));
    Ok(change)
}

fn record(asked: &Asked, compiled: &Compiled, verdict: &Verdict) -> VersionRecord {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let schema = &compiled.schema;
    VersionRecord {
        module: asked.request.module.clone(),
        digest: compiled.digest.clone(),
        source: asked.request.source.clone(),
        uploader: asked.asker.actor.name.clone(),
        created_ms: asked.asker.now_ms,
        deps: compiled.deps.clone(),
        allowed_breaking: checks::let_through(verdict),
        file_count: count(schema.files().iter().filter(|file| file.own).count()),
        method_count: count(schema.services().iter().map(|service| service.methods.len()).sum()),
        ..VersionRecord::default()
    }
}

/// What a request may say of where its content is from.
pub(super) fn source(text: &str) -> Result<(), Status> {
    if SOURCE_CHARS_MAX < text.chars().count() || text.chars().any(char::is_control) {
        let told =
            format!("write one line of at most {SOURCE_CHARS_MAX} characters, such as a revision of git");
        return Err(faults::invalid("source", told));
    }
    Ok(())
}

const METHOD: &str = "transom.admin.v1.Modules/CreateVersion";
const SOURCE_CHARS_MAX: usize = 200;

//! The service `transom.admin.v1.Configuration`: all resources of the store at once.

use std::collections::BTreeSet;

use prost_types::ListValue;
use prost_types::Struct;
use prost_types::Value;
use prost_types::value;
use sha2::Digest;
use sha2::Sha256;
use tonic::Code;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::admin::audit;
use crate::admin::audit::Asker;
use crate::admin::audit::Deed;
use crate::admin::desk;
use crate::admin::desk::Desk;
use crate::admin::faults;
use crate::admin::faults::Reason;
use crate::admin::json;
use crate::admin::pb;
use crate::admin::pb::configuration_server::Configuration;
use crate::admin::pb::resource_change::Kind as What;
use crate::admin::plane::Change;
use crate::admin::plane::Refused;
use crate::admin::plane::Resources;
use crate::admin::plane::Standing;
use crate::admin::plane::Stored;
use crate::admin::resources::may_change;
use crate::admin::resources::not_in_file;
use crate::admin::resources::whole;
use crate::admin::stored;
use crate::config::differences;
use crate::config::redacted;
use crate::config::resource;
use crate::config::resource::Kind;
use crate::config::resource::Resource;

/// The configuration as a whole.
pub(super) struct Service(pub(super) Desk);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Configuration for Service {
    async fn get_config(&self, _: Request<pb::GetConfigRequest>) -> Answer<pb::GetConfigResponse> {
        let get = |desk: &Desk| {
            let all = desk.plane.resources();
            Ok(pb::GetConfigResponse { config: Some(document(&all)), etag: etag(&all) })
        };
        self.0.beside(get).await.map(Response::new)
    }

    async fn apply_config(
        &self,
        request: Request<pb::ApplyConfigRequest>,
    ) -> Answer<pb::ApplyConfigResponse> {
        let asker = self.0.asker(&request)?;
        let request = request.into_inner();
        self.0.beside(move |desk| apply(desk, &asker, &request)).await.map(Response::new)
    }

    async fn validate_config(
        &self,
        request: Request<pb::ApplyConfigRequest>,
    ) -> Answer<pb::ApplyConfigResponse> {
        let asker = self.0.asker(&request)?;
        let request = pb::ApplyConfigRequest { dry_run: true, ..request.into_inner() };
        self.0.beside(move |desk| apply(desk, &asker, &request)).await.map(Response::new)
    }
}

fn apply(
    desk: &Desk,
    asker: &Asker,
    request: &pb::ApplyConfigRequest,
) -> Result<pb::ApplyConfigResponse, Refused> {
    desk.store()?;
    let content = request.content.clone().unwrap_or_default();
    let text = String::from_utf8(content.data).map_err(|_| faults::invalid("content", "it is not UTF-8"))?;
    let asked = resource::document(&text, "document")?;
    for Resource { kind, name, text } in &asked {
        desk::name("name", name)?;
        may_change(asker, *kind, name)?;
        whole(*kind, name, text)?;
    }
    let mut answer = pb::ApplyConfigResponse { dry_run: request.dry_run, ..Default::default() };
    answer.generation =
        desk.plane.change(&mut |standing| decide(standing, asker, request, &asked, &mut answer))?;
    Ok(answer)
}

fn decide(
    standing: &Standing<'_>,
    asker: &Asker,
    request: &pb::ApplyConfigRequest,
    asked: &[Resource],
    answer: &mut pb::ApplyConfigResponse,
) -> Result<Change, Refused> {
    let before = etag(standing.resources);
    if !matches!(request.etag.as_str(), "" | "*") && request.etag != before {
        let told = "the store isn't in that state any more: read it again and repeat the change";
        return Err(faults::status(Code::Aborted, Reason::Conflict, told).into());
    }
    let mut change = Change { dry_run: request.dry_run, ..Change::default() };
    let mut resources = standing.resources.clone();
    let mut changes = Vec::new();
    let mut kept = BTreeSet::new();
    for Resource { kind, name, text } in asked {
        not_in_file(standing.config, *kind, name)?;
        let key = (*kind, name.clone());
        let there = standing.resources.get(&key);
        if there.is_none_or(|there| there.resource.text != *text) {
            let after = Stored::new(*kind, name, text, asker.now_ms);
            stored::write(there, *kind, name, Some(&after), &mut change.batch);
            changes.push(told(there, *kind, name, Some(text)));
            resources.insert(key.clone(), after);
        }
        kept.insert(key);
    }
    if request.prune {
        for ((kind, name), there) in standing.resources.iter().filter(|(key, _)| !kept.contains(key)) {
            stored::write(Some(there), *kind, name, None, &mut change.batch);
            changes.push(told(Some(there), *kind, name, None));
            resources.remove(&(*kind, name.clone()));
        }
    }
    answer.etag = etag(&resources);
    answer.changes = changes;
    if answer.changes.is_empty() {
        return Ok(change);
    }
    let note: Vec<String> = answer
        .changes
        .iter()
        .take(NOTED_MAX)
        .map(|change| format!("{}/{}", change.kind, change.name))
        .collect();
    let note = format!("{} changes: {}", answer.changes.len(), note.join(", "));
    let method = "transom.admin.v1.Configuration/ApplyConfig";
    let deed = Deed { method, target: "config", before: &before, after: &answer.etag, note: &note };
    audit::add(standing.store, asker, deed, &mut change.batch)?;
    change.resources = Some(resources);
    Ok(change)
}

fn told(before: Option<&Stored>, kind: Kind, name: &str, after: Option<&str>) -> pb::ResourceChange {
    let (change, differences) = match (before, after) {
        (Some(before), Some(after)) => (What::Updated, differences(&before.resource.text, after)),
        (None, _) => (What::Created, Vec::new()),
        (_, None) => (What::Deleted, Vec::new()),
    };
    pb::ResourceChange {
        change: change.into(),
        kind: kind.list_name().into(),
        name: name.into(),
        differences,
    }
}

/// All resources as one document.
fn document(all: &Resources) -> Struct {
    let mut document = Struct::default();
    for ((kind, name), there) in all {
        let mut item = json::to_struct(&redacted(&there.resource.text));
        item.fields.insert("name".into(), Value { kind: Some(value::Kind::StringValue(name.clone())) });
        let item = Value { kind: Some(value::Kind::StructValue(item)) };
        let list = document.fields.entry(kind.list_name().into()).or_default();
        match &mut list.kind {
            Some(value::Kind::ListValue(list)) => list.values.push(item),
            kind => *kind = Some(value::Kind::ListValue(ListValue { values: vec![item] })),
        }
    }
    document
}

/// Names the state of all resources.
fn etag(all: &Resources) -> String {
    let mut hash = Sha256::new();
    for ((kind, name), there) in all {
        for part in [kind.list_name(), name, &there.etag] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Names in the audit log of one change; the rest is counted.
const NOTED_MAX: usize = 50;

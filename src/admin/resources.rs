//! The service `transom.admin.v1.Resources`: what a configuration file lists, one by one.

use http::header;
use serde_json::Value as Json;
use tonic::Code;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::metadata::MetadataValue;

use crate::admin::audit;
use crate::admin::audit::Asker;
use crate::admin::audit::Deed;
use crate::admin::audit::timestamp;
use crate::admin::desk;
use crate::admin::desk::Desk;
use crate::admin::faults;
use crate::admin::faults::Reason;
use crate::admin::json;
use crate::admin::pb;
use crate::admin::pb::resources_server::Resources;
use crate::admin::plane::Change;
use crate::admin::plane::Refused;
use crate::admin::plane::Standing;
use crate::admin::plane::Stored;
use crate::admin::stored;
use crate::config::Config;
use crate::config::Origin;
use crate::config::differences;
use crate::config::redacted;
use crate::config::resource::Kind;
use crate::config::resource::Resource;
use crate::registry::Catalog;

/// Resources of all kinds.
pub(super) struct Service(pub(super) Desk);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Resources for Service {
    async fn list_resources(
        &self,
        request: Request<pb::ListResourcesRequest>,
    ) -> Answer<pb::ListResourcesResponse> {
        let request = request.into_inner();
        let kind = kind(&request.kind)?;
        let (size, after) = (desk::page_size(request.page_size)?, desk::after(&request.page_token)?);
        let list = move |desk: &Desk| {
            let config = desk.plane.snapshot().config.clone();
            let stored = desk.plane.resources();
            let mut names: Vec<String> =
                config.iter().flat_map(|config| config.names(kind)).map(str::to_owned).collect();
            names.extend(stored.keys().filter(|(known, _)| *known == kind).map(|(_, name)| name.clone()));
            names.retain(|name| after.as_ref().is_none_or(|after| after < name));
            names.sort();
            names.dedup();
            let next = names.get(size).and_then(|_| names.get(size - 1));
            let next_page_token = next.map(|last| desk::page_token(last)).unwrap_or_default();
            let resources = names.iter().take(size).filter_map(|name| {
                resource(config.as_deref(), stored.get(&(kind, name.clone())), kind, name)
            });
            Ok(pb::ListResourcesResponse { resources: resources.collect(), next_page_token })
        };
        self.0.beside(list).await.map(Response::new)
    }

    async fn get_resource(&self, request: Request<pb::GetResourceRequest>) -> Answer<pb::Resource> {
        let request = request.into_inner();
        let kind = kind(&request.kind)?;
        let get = move |desk: &Desk| {
            let config = desk.plane.snapshot().config.clone();
            let stored = desk.plane.resources();
            let stored = stored.get(&(kind, request.name.clone()));
            resource(config.as_deref(), stored, kind, &request.name)
                .ok_or_else(|| unknown(kind, &request.name).into())
        };
        let found = self.0.beside(get).await?;
        let etag = found.etag.clone();
        Ok(tagged(found, &etag))
    }

    async fn put_resource(
        &self,
        request: Request<pb::PutResourceRequest>,
    ) -> Answer<pb::PutResourceResponse> {
        let asker = self.0.asker(&request)?;
        let if_match = if_match(&request);
        let mut request = request.into_inner();
        let kind = kind(&request.kind)?;
        desk::name("name", &request.name)?;
        if request.etag.is_empty() {
            request.etag = if_match;
        }
        may_change(&asker, kind, &request.name)?;
        let put = move |desk: &Desk| {
            desk.store()?;
            let text = Resource::new(kind, &request.name, &text(&request)?)?.text;
            whole(kind, &request.name, &text)?;
            let mut answer = pb::PutResourceResponse::default();
            answer.generation = desk
                .plane
                .change(&mut |standing| put(standing, &asker, kind, &request, &text, &mut answer))?;
            Ok(answer)
        };
        let answer = self.0.beside(put).await?;
        let etag = answer.resource.as_ref().map(|resource| resource.etag.clone()).unwrap_or_default();
        Ok(tagged(answer, &etag))
    }

    async fn delete_resource(
        &self,
        request: Request<pb::DeleteResourceRequest>,
    ) -> Answer<pb::DeleteResourceResponse> {
        let asker = self.0.asker(&request)?;
        let if_match = if_match(&request);
        let mut request = request.into_inner();
        let kind = kind(&request.kind)?;
        if request.etag.is_empty() {
            request.etag = if_match;
        }
        may_change(&asker, kind, &request.name)?;
        let delete = move |desk: &Desk| {
            desk.store()?;
            let generation = desk.plane.change(&mut |standing| delete(standing, &asker, kind, &request))?;
            Ok(pb::DeleteResourceResponse { generation })
        };
        self.0.beside(delete).await.map(Response::new)
    }
}

fn put(
    standing: &Standing<'_>,
    asker: &Asker,
    kind: Kind,
    request: &pb::PutResourceRequest,
    text: &str,
    answer: &mut pb::PutResourceResponse,
) -> Result<Change, Refused> {
    let name = request.name.as_str();
    not_in_file(standing.config, kind, name)?;
    let key = (kind, name.to_owned());
    let before = standing.resources.get(&key);
    check_etag(before, &request.etag, kind, name)?;
    let mut change = Change { dry_run: request.dry_run, ..Change::default() };
    answer.unchanged = before.is_some_and(|before| *before.resource.text == *text);
    let after = match before {
        Some(before) if answer.unchanged => before.clone(),
        _ => Stored::new(kind, name, text, asker.now_ms),
    };
    answer.resource = Some(described(&after));
    if answer.unchanged {
        return Ok(change);
    }
    stored::write(before, kind, name, Some(&after), &mut change.batch);
    let target = format!("{}/{name}", kind.list_name());
    let note = before.map(|before| audit::listed(&differences(&before.resource.text, text)));
    let deed = Deed {
        method: "transom.admin.v1.Resources/PutResource",
        target: &target,
        before: before.map(|before| before.etag.as_str()).unwrap_or_default(),
        after: &after.etag,
        note: note.as_deref().unwrap_or("new"),
    };
    audit::add(standing.store, asker, deed, &mut change.batch)?;
    let mut resources = standing.resources.clone();
    resources.insert(key, after);
    change.resources = Some(resources);
    Ok(change)
}

fn delete(
    standing: &Standing<'_>,
    asker: &Asker,
    kind: Kind,
    request: &pb::DeleteResourceRequest,
) -> Result<Change, Refused> {
    let name = request.name.as_str();
    not_in_file(standing.config, kind, name)?;
    let key = (kind, name.to_owned());
    let before = standing.resources.get(&key);
    let catalog = Catalog::new(standing.store);
    let has_versions = kind == Kind::Module && 0 < catalog.version_count(name)?;
    if before.is_none() && !has_versions {
        return Err(unknown(kind, name).into());
    }
    check_etag(before, &request.etag, kind, name)?;
    unused(standing.config, kind, name)?;
    let mut change = Change { dry_run: request.dry_run, ..Change::default() };
    if before.is_some() {
        stored::write(before, kind, name, None, &mut change.batch);
    }
    if has_versions {
        let labels = catalog.remove(name, &mut change.batch)?;
        change.gone.push(name.to_owned());
        change.labels = labels.into_iter().map(|label| (name.to_owned(), label, None)).collect();
    }
    let target = format!("{}/{name}", kind.list_name());
    let before = before.map(|before| before.etag.as_str()).unwrap_or_default();
    let method = "transom.admin.v1.Resources/DeleteResource";
    let deed = Deed { method, target: &target, before, ..Deed::default() };
    audit::add(standing.store, asker, deed, &mut change.batch)?;
    let mut resources = standing.resources.clone();
    resources.remove(&key);
    change.resources = Some(resources);
    Ok(change)
}

/// Modules are those of the asker alone, for an admin too.
pub(super) fn may_change(asker: &Asker, kind: Kind, name: &str) -> Result<(), Status> {
    if kind != Kind::Module || asker.actor.may_change(name) {
        return Ok(());
    }
    let told = format!("{} may not change module \"{}\": see its `modules`", asker.actor.name, shown(name));
    Err(faults::status(Code::PermissionDenied, Reason::AccessDenied, told))
}

/// Refuses a text that was read here, where secrets are not told: writing it back would lose them.
pub(super) fn whole(kind: Kind, name: &str, text: &str) -> Result<(), Status> {
    if !text.contains(UNTOLD) {
        return Ok(());
    }
    let field = format!("{}/{name}", kind.list_name());
    Err(faults::invalid(&field, "`...` stands for a secret that isn't told: write the secret itself"))
}

/// Refuses what is written in the configuration file.
pub(super) fn not_in_file(config: &Config, kind: Kind, name: &str) -> Result<(), Status> {
    if config.origin(kind, name) != Some(Origin::File) {
        return Ok(());
    }
    let told = format!(
        "{} \"{name}\" is in the configuration file: change it there, or remove it there first",
        kind.one()
    );
    Err(faults::status(Code::FailedPrecondition, Reason::InFile, told))
}

/// Refuses to remove what is used, naming the users.
pub(super) fn unused(config: &Config, kind: Kind, name: &str) -> Result<(), Status> {
    let users = config.users(kind, name);
    if users.is_empty() {
        return Ok(());
    }
    let told = format!("{} \"{name}\" is used by {}: change them first", kind.one(), audit::listed(&users));
    Err(faults::status(Code::FailedPrecondition, Reason::InUse, told))
}

fn check_etag(before: Option<&Stored>, etag: &str, kind: Kind, name: &str) -> Result<(), Status> {
    let holds = match (etag, before) {
        ("", _) => true,
        ("*", before) => before.is_some(),
        (etag, Some(before)) => before.etag == etag,
        (_, None) => false,
    };
    if holds {
        return Ok(());
    }
    let told = format!(
        "{} \"{name}\" isn't in that state any more: read it again and repeat the change",
        kind.one()
    );
    Err(faults::status(Code::Aborted, Reason::Conflict, told))
}

/// What `If-Match` asks for, without quotes (RFC 9110, section 13.1.1).
fn if_match<T>(request: &Request<T>) -> String {
    let value = request.metadata().get(header::IF_MATCH.as_str()).and_then(|value| value.to_str().ok());
    value.map(|value| value.trim().trim_matches('"').to_owned()).unwrap_or_default()
}

/// An answer with its `ETag` (RFC 9110, section 8.8.3).
fn tagged<T>(answer: T, etag: &str) -> Response<T> {
    let mut response = Response::new(answer);
    if let Ok(value) = MetadataValue::try_from(format!("\"{etag}\""))
        && !etag.is_empty()
    {
        response.metadata_mut().insert(header::ETAG.as_str(), value);
    }
    response
}

/// The kind of a path.
fn kind(name: &str) -> Result<Kind, Status> {
    Kind::named(name).ok_or_else(|| {
        let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.list_name()).collect();
        let told = format!("there are no {:?}: ask for {}", shown(name), names.join(", "));
        faults::status(Code::NotFound, Reason::NotFound, told)
    })
}

fn unknown(kind: Kind, name: &str) -> Status {
    let list = kind.list_name();
    let told = format!("there is no {} \"{}\": `GET /admin/v1/{list}` lists them", kind.one(), shown(name));
    faults::status(Code::NotFound, Reason::NotFound, told)
}

fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

/// The JSON of the resource, without its name.
fn text(request: &pb::PutResourceRequest) -> Result<String, Status> {
    let mut map = json::from_struct(request.spec.clone().unwrap_or_default());
    match map.remove("name") {
        Some(Json::String(name)) if name != request.name => {
            let told = format!("it says \"{}\", and the path says \"{}\"", shown(&name), request.name);
            Err(faults::invalid("spec.name", told))
        }
        _ => Ok(Json::Object(map).to_string()),
    }
}

fn resource(
    config: Option<&Config>,
    stored: Option<&Stored>,
    kind: Kind,
    name: &str,
) -> Option<pb::Resource> {
    let in_file = config.filter(|config| config.origin(kind, name) == Some(Origin::File));
    if let Some(written) = in_file.and_then(|config| config.written(kind, name)) {
        let spec = Some(json::to_struct(&redacted(&written)));
        let origin = pb::Origin::File.into();
        let (kind, name) = (kind.list_name().into(), name.into());
        return Some(pb::Resource { kind, name, spec, origin, etag: String::new(), updated: None });
    }
    stored.map(described)
}

/// A resource of the store as the Admin API tells it.
fn described(stored: &Stored) -> pb::Resource {
    pb::Resource {
        kind: stored.resource.kind.list_name().into(),
        name: stored.resource.name.clone(),
        spec: Some(json::to_struct(&redacted(&stored.resource.text))),
        etag: stored.etag.clone(),
        origin: pb::Origin::Store.into(),
        updated: Some(timestamp(stored.updated_ms)),
    }
}

/// What [`redacted`] writes in the place of a secret, as JSON.
const UNTOLD: &str = "\"...\"";

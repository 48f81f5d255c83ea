//! The service `transom.admin.v1.Modules`: what there is, uploads, and moves of labels.

use std::collections::BTreeMap;
use std::sync::Arc;

use tonic::Code;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::admin::HttpBody;
use crate::admin::audit::Asker;
use crate::admin::audit::timestamp;
use crate::admin::desk;
use crate::admin::desk::Desk;
use crate::admin::diff;
use crate::admin::faults;
use crate::admin::faults::Reason;
use crate::admin::labels;
use crate::admin::pb;
use crate::admin::pb::modules_server::Modules;
use crate::admin::plane::Refused;
use crate::admin::push;
use crate::config::Config;
use crate::config::types::ModuleSource;
use crate::registry::Catalog;
use crate::registry::record::VersionRecord;
use crate::schema::Limits;
use crate::schema::Schema;
use crate::schema::http;
use crate::snapshot::ShadowFailure;
use crate::snapshot::ShadowReport;

/// Uploads, versions and labels.
pub(super) struct Service(pub(super) Desk);

type Answer<T> = Result<Response<T>, Status>;

impl Service {
    /// Who asks to change a module; refuses those that may not.
    fn asker<T>(&self, request: &Request<T>, module: &str) -> Result<Asker, Status> {
        desk::name("module", module)?;
        let asker = self.0.asker(request)?;
        if asker.actor.may_change(module) {
            return Ok(asker);
        }
        let told = format!("{} may not change module \"{module}\": see its `modules`", asker.actor.name);
        Err(faults::status(Code::PermissionDenied, Reason::AccessDenied, told))
    }
}

#[tonic::async_trait]
impl Modules for Service {
    async fn list_modules(
        &self,
        request: Request<pb::ListModulesRequest>,
    ) -> Answer<pb::ListModulesResponse> {
        let request = request.into_inner();
        let (size, after) = (desk::page_size(request.page_size)?, desk::after(&request.page_token)?);
        let list = move |desk: &Desk| {
            let names = names(desk, after.as_deref(), size + 1)?;
            let next = names.get(size).and_then(|_| names.get(size - 1));
            let next_page_token = next.map(|last| desk::page_token(last)).unwrap_or_default();
            let modules = names.iter().take(size).map(|name| module(desk, name));
            Ok(pb::ListModulesResponse { modules: modules.collect::<Result<_, _>>()?, next_page_token })
        };
        self.0.beside(list).await.map(Response::new)
    }

    async fn get_module(&self, request: Request<pb::GetModuleRequest>) -> Answer<pb::Module> {
        let name = request.into_inner().module;
        self.0.beside(move |desk| existing(desk, &name)).await.map(Response::new)
    }

    async fn list_versions(
        &self,
        request: Request<pb::ListVersionsRequest>,
    ) -> Answer<pb::ListVersionsResponse> {
        let request = request.into_inner();
        let (size, before) = (desk::page_size(request.page_size)?, desk::before(&request.page_token)?);
        let list = move |desk: &Desk| {
            existing(desk, &request.module)?;
            let store = desk.store()?;
            let catalog = Catalog::new(&*store);
            let labels = catalog.labels(&request.module)?;
            let mut all = catalog.versions(&request.module)?;
            all.retain(|version| before.is_none_or(|before| version.number < before));
            let next = all.get(size).and_then(|_| all.get(size - 1));
            let next_page_token =
                next.map(|last| desk::page_token(&last.number.to_string())).unwrap_or_default();
            let versions = all.iter().take(size).map(|version| describe(version, &labels, None)).collect();
            Ok(pb::ListVersionsResponse { versions, next_page_token })
        };
        self.0.beside(list).await.map(Response::new)
    }

    async fn get_version(&self, request: Request<pb::GetVersionRequest>) -> Answer<pb::Version> {
        let request = request.into_inner();
        let get = move |desk: &Desk| {
            let (version, schema) = version(desk, &request)?;
            let store = desk.store()?;
            let labels = Catalog::new(&*store).labels(&request.module)?;
            Ok(describe(&version, &labels, Some(&schema)))
        };
        self.0.read(get).await.map(Response::new)
    }

    async fn get_descriptor_set(&self, request: Request<pb::GetVersionRequest>) -> Answer<HttpBody> {
        let request = request.into_inner();
        let get = move |desk: &Desk| {
            let (_, schema) = version(desk, &request)?;
            let data = schema.descriptor_set().to_vec();
            Ok(HttpBody { content_type: "application/x-protobuf".into(), data, extensions: Vec::new() })
        };
        self.0.read(get).await.map(Response::new)
    }

    async fn create_version(
        &self,
        request: Request<pb::CreateVersionRequest>,
    ) -> Answer<pb::CreateVersionResponse> {
        let asker = self.asker(&request, &request.get_ref().module)?;
        let mut request = request.into_inner();
        push::source(&request.source)?;
        desk::label(&request.label)?;
        let content = request.content.take();
        let (module, label, update_deps) =
            (request.module.clone(), request.label.clone(), request.update_deps);
        let compile = move |desk: &Desk| {
            let label = desk::label(&label)?;
            push::compile(desk, push::Wanted { content, module: &module, label, update_deps })
        };
        let compiled = self.0.compile(compile).await?;
        let create = move |desk: &Desk| push::create(desk, &push::Asked { request, asker }, compiled);
        self.0.beside(create).await.map(Response::new)
    }

    async fn diff(&self, request: Request<pb::DiffRequest>) -> Answer<pb::DiffResponse> {
        self.asker(&request, &request.get_ref().module)?;
        let request = request.into_inner();
        self.0.compile(move |desk| diff::diff(desk, request)).await.map(Response::new)
    }

    async fn promote(&self, request: Request<pb::PromoteRequest>) -> Answer<pb::PromoteResponse> {
        let asker = self.asker(&request, &request.get_ref().module)?;
        let request = request.into_inner();
        self.0.beside(move |desk| labels::promote(desk, &asker, &request)).await.map(Response::new)
    }

    async fn rollback(&self, request: Request<pb::RollbackRequest>) -> Answer<pb::PromoteResponse> {
        let asker = self.asker(&request, &request.get_ref().module)?;
        let request = request.into_inner();
        self.0.beside(move |desk| labels::rollback(desk, &asker, &request)).await.map(Response::new)
    }

    async fn delete_label(
        &self,
        request: Request<pb::DeleteLabelRequest>,
    ) -> Answer<pb::DeleteLabelResponse> {
        let asker = self.asker(&request, &request.get_ref().module)?;
        let request = request.into_inner();
        self.0.beside(move |desk| labels::delete(desk, &asker, &request)).await.map(Response::new)
    }

    async fn list_history(
        &self,
        request: Request<pb::ListHistoryRequest>,
    ) -> Answer<pb::ListHistoryResponse> {
        let request = request.into_inner();
        let (size, before) = (desk::page_size(request.page_size)?, desk::before(&request.page_token)?);
        let list = move |desk: &Desk| {
            existing(desk, &request.module)?;
            let store = desk.store()?;
            let found = Catalog::new(&*store).moves(&request.module, before, size)?;
            let last = found.last().map(|(number, _)| *number).filter(|number| 1 < *number);
            let next_page_token =
                last.map(|number| desk::page_token(&number.to_string())).unwrap_or_default();
            let moves = found.into_iter().map(|(_, moved)| pb::Move {
                time: Some(timestamp(moved.time_ms)),
                label: moved.label,
                before: moved.before,
                after: moved.after,
                actor: moved.actor,
                reason: moved.reason,
            });
            Ok(pb::ListHistoryResponse { moves: moves.collect(), next_page_token })
        };
        self.0.beside(list).await.map(Response::new)
    }

    async fn get_shadow(&self, request: Request<pb::GetShadowRequest>) -> Answer<pb::GetShadowResponse> {
        let name = request.into_inner().module;
        let get = move |desk: &Desk| {
            let apis = existing(desk, &name)?.apis;
            let snapshot = desk.plane.snapshot();
            let shadows = snapshot.apis.iter().filter(|api| apis.iter().any(|known| **known == *api.name));
            let shadows = shadows.filter_map(|api| Some(shadow(api.shadow.as_ref()?.report())));
            Ok(pb::GetShadowResponse { shadows: shadows.collect() })
        };
        self.0.beside(get).await.map(Response::new)
    }
}

fn shadow(report: ShadowReport) -> pb::Shadow {
    let failure = |failure: ShadowFailure| pb::ShadowFailure {
        method: failure.method.to_string(),
        direction: failure.direction.name().into(),
        count: failure.count,
        problem: failure.problem,
    };
    pb::Shadow {
        api: report.api.to_string(),
        label: report.label.to_string(),
        digest: report.digest.hex(),
        messages: report.messages,
        skipped: report.skipped,
        failures: report.failures.into_iter().map(failure).collect(),
    }
}

/// Names of modules after `after`: those of the configuration and those of the store.
fn names(desk: &Desk, after: Option<&str>, limit: usize) -> Result<Vec<String>, Refused> {
    let config = desk.plane.snapshot().config.clone();
    let configured = config.iter().flat_map(|config| config.modules.iter().map(|module| module.name.clone()));
    let mut names: Vec<String> =
        configured.filter(|name| after.is_none_or(|after| after < &**name)).collect();
    if let Some(store) = desk.plane.store() {
        names.extend(Catalog::new(&*store).modules(after, limit)?);
    }
    names.sort();
    names.dedup();
    names.truncate(limit);
    Ok(names)
}

/// A module that there is.
fn existing(desk: &Desk, name: &str) -> Result<pb::Module, Refused> {
    let found = module(desk, name)?;
    let config = desk.plane.snapshot().config.clone();
    let is_configured = config.is_some_and(|config| config.modules.iter().any(|known| known.name == name));
    if found.versions == 0 && !is_configured {
        let told = format!(
            "there is no module \"{}\": `GET /admin/v1/modules` lists them",
            name.chars().take(100).flat_map(char::escape_debug).collect::<String>()
        );
        return Err(faults::status(Code::NotFound, Reason::NotFound, told).into());
    }
    Ok(found)
}

fn module(desk: &Desk, name: &str) -> Result<pb::Module, Refused> {
    let snapshot = desk.plane.snapshot();
    let config: Option<&Arc<Config>> = snapshot.config.as_ref();
    let known = config.and_then(|config| config.modules.iter().find(|known| known.name == name));
    let source = match known.map(|known| &known.source) {
        None | Some(ModuleSource::Upload) => pb::ModuleSource::Upload,
        Some(ModuleSource::Protos(_) | ModuleSource::DescriptorSet(_)) => pb::ModuleSource::File,
        Some(ModuleSource::Reflection { .. }) => pb::ModuleSource::Reflection,
    };
    let mut labels: std::collections::HashMap<String, String> = desk
        .plane
        .modules()
        .get(name)
        .map(|labels| {
            labels.iter().map(|(label, schema)| (label.to_owned(), schema.digest().hex())).collect()
        })
        .unwrap_or_default();
    let mut versions = 0;
    if let Some(store) = desk.plane.store()
        && source == pb::ModuleSource::Upload
    {
        let catalog = Catalog::new(&*store);
        versions = catalog.version_count(name)?;
        labels.extend(catalog.labels(name)?);
    }
    let apis = config.into_iter().flat_map(|config| &config.apis).filter(|api| api.module == name);
    Ok(pb::Module {
        name: name.into(),
        source: source.into(),
        labels,
        deps: known.map(|known| known.deps.clone()).unwrap_or_default(),
        packages: known.map(|known| known.packages.clone()).unwrap_or_default(),
        versions: i32::try_from(versions).unwrap_or(i32::MAX),
        apis: apis.map(|api| api.name.clone()).collect(),
    })
}

fn version(desk: &Desk, request: &pb::GetVersionRequest) -> Result<(VersionRecord, Schema), Refused> {
    existing(desk, &request.module)?;
    let store = desk.store()?;
    let catalog = Catalog::new(&*store);
    let version = catalog.find(&request.module, &request.version);
    let version = version.map_err(|error| faults::of_version(&request.module, &request.version, error))?;
    let schema = catalog.schema(&version, &Limits::default());
    let what = format!("module \"{}\"", request.module);
    Ok((version, schema.map_err(|all| faults::of_faults(&what, &all))?))
}

/// A version as the Admin API tells it; with its files and services where its descriptors are given.
pub(super) fn describe(
    version: &VersionRecord,
    labels: &BTreeMap<String, String>,
    schema: Option<&Schema>,
) -> pb::Version {
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let pointing = labels.iter().filter(|(_, digest)| **digest == version.digest);
    let deps = version.deps.iter();
    let own = schema.into_iter().flat_map(|schema| schema.files()).filter(|file| file.own);
    pb::Version {
        module: version.module.clone(),
        digest: version.digest.clone(),
        labels: pointing.map(|(label, _)| label.clone()).collect(),
        source: version.source.clone(),
        uploader: version.uploader.clone(),
        created: Some(timestamp(version.created_ms)),
        deps: deps.map(|pin| pb::Pin { module: pin.module.clone(), digest: pin.digest.clone() }).collect(),
        allowed_breaking: version.allowed_breaking.clone(),
        files: own.map(|file| file.name.to_string()).collect(),
        services: schema.map(services).unwrap_or_default(),
        file_count: count(version.file_count),
        method_count: count(version.method_count),
    }
}

fn services(schema: &Schema) -> Vec<pb::Service> {
    let method = |rpc: &crate::schema::Rpc| {
        let (rules, _) = http::rules_and_faults(&rpc.descriptor, http::Grammar::default(), None);
        pb::Method {
            name: rpc.method.name.to_string(),
            input: rpc.descriptor.input().full_name().into(),
            output: rpc.descriptor.output().full_name().into(),
            client_streaming: rpc.descriptor.is_client_streaming(),
            server_streaming: rpc.descriptor.is_server_streaming(),
            http: rules.iter().map(|rule| format!("{} {}", rule.verb, rule.template)).collect(),
        }
    };
    let service = |service: &crate::schema::Service| pb::Service {
        name: service.name.to_string(),
        file: service.file.to_string(),
        methods: service.methods.iter().map(method).collect(),
    };
    schema.services().iter().map(service).collect()
}

//! `transom apply`, `get` and `delete`: resources through the Admin API.

use std::fs::File;
use std::io;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::ValueEnum;

use crate::admin::HttpBody;
use crate::admin::pb::ApplyConfigRequest;
use crate::admin::pb::ApplyConfigResponse;
use crate::admin::pb::DeleteResourceRequest;
use crate::admin::pb::GetResourceRequest;
use crate::admin::pb::ListResourcesRequest;
use crate::admin::pb::ListResourcesResponse;
use crate::admin::pb::Origin;
use crate::admin::pb::Resource;
use crate::admin::pb::resource_change;
use crate::cli::client::Options;
use crate::cli::failure::Failure;
use crate::cli::failure::Outcome;
use crate::cli::help;
use crate::cli::output::Format;
use crate::cli::output::Paint;
use crate::cli::output::Table;
use crate::cli::output::clean;
use crate::cli::output::json;
use crate::cli::output::print;
use crate::cli::output::show;
use crate::cli::output::time;
use crate::cli::pages;
use crate::cli::push::generation;

/// Kinds of resources.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    #[value(alias = "module")]
    Modules,
    #[value(alias = "upstream")]
    Upstreams,
    #[value(alias = "api")]
    Apis,
    #[value(alias = "consumer")]
    Consumers,
    #[value(alias = "certificate")]
    Certificates,
}

impl Kind {
    /// As the Admin API calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Modules => "modules",
            Self::Upstreams => "upstreams",
            Self::Apis => "apis",
            Self::Consumers => "consumers",
            Self::Certificates => "certificates",
        }
    }
}

/// Make the resources of the store those of a file, in one step
///
/// The file has the lists of a configuration file: modules, upstreams, apis, consumers, certificates.
#[derive(Debug, Args)]
#[command(after_long_help = help::client(&[
    "transom apply -f resources.yaml --dry-run",
    "transom apply -f resources.yaml --prune",
    "sed s/HOST/$HOST/ resources.yaml | transom apply -f -",
]))]
pub(super) struct Apply {
    /// YAML or JSON; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Remove the resources of the store that the file lacks
    #[arg(long)]
    prune: bool,
    /// Only if the store is in this state
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    /// Say what would come of it, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    gateway: Options,
}

/// Show one resource, or list all of a kind
#[derive(Debug, Args)]
#[command(after_long_help = help::client(&["transom get upstreams", "transom get api pets -o json"]))]
pub(super) struct Get {
    /// The kind
    #[arg(value_enum)]
    kind: Kind,
    /// The name; all of the kind unless given
    name: Option<String>,
    /// At most this many of a list
    #[arg(long, value_name = "N", default_value = "1000")]
    limit: NonZeroUsize,
    #[command(flatten)]
    gateway: Options,
}

/// Remove a resource that nothing uses
#[derive(Debug, Args)]
#[command(after_long_help = help::client(&["transom delete upstream pets", "transom delete api pets --dry-run"]))]
pub(super) struct Delete {
    /// The kind
    #[arg(value_enum)]
    kind: Kind,
    /// The name
    name: String,
    /// Only if it is in this state
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    /// Say what would come of it, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    gateway: Options,
}

pub(super) async fn apply(args: &Apply) -> Outcome {
    let is_json = args.file.extension().is_some_and(|extension| extension == "json");
    let content_type = if is_json { "application/json" } else { "application/yaml" };
    let data = document(&args.file)?;
    let request = ApplyConfigRequest {
        content: Some(HttpBody { content_type: content_type.into(), data, extensions: Vec::new() }),
        etag: args.etag.clone().unwrap_or_default(),
        prune: args.prune,
        dry_run: args.dry_run,
    };
    let admin = args.gateway.connect().await?;
    // Whoever may look may ask for a dry run, too.
    let reply = match args.dry_run {
        true => admin.reply(admin.configuration().validate_config(request)).await?,
        false => admin.reply(admin.configuration().apply_config(request)).await?,
    };
    show(args.gateway.output, "ApplyConfigResponse", &reply, |paint| applied(&reply, args.dry_run, paint))?;
    Ok(ExitCode::SUCCESS)
}

fn applied(reply: &ApplyConfigResponse, dry_run: bool, paint: Paint) -> String {
    let mut text = String::new();
    for change in &reply.changes {
        let name = format!("{}/{}", clean(&change.kind), clean(&change.name));
        text.push_str(&match change.change() {
            resource_change::Kind::Created => paint.green(&format!("+ {name}")),
            resource_change::Kind::Deleted => paint.red(&format!("- {name}")),
            _ => format!("~ {name}"),
        });
        text.push('\n');
        for difference in &change.differences {
            text.push_str(&format!("    {}\n", clean(difference)));
        }
    }
    text.push_str(&match (reply.changes.len(), dry_run) {
        (0, _) => "nothing differs\n".to_owned(),
        (_, true) => "nothing was changed: it was a dry run\n".to_owned(),
        (1, false) => format!("1 change{}\n", generation(reply.generation)),
        (count, false) => format!("{count} changes{}\n", generation(reply.generation)),
    });
    text
}

/// What is to be applied.
fn document(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    let read = |from: &mut dyn Read| {
        let mut bytes = Vec::new();
        from.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes).map(|_| bytes)
    };
    let bytes = match path == Path::new("-") {
        true => read(&mut io::stdin().lock()),
        false => File::open(path).and_then(|mut file| read(&mut file)),
    };
    let bytes = bytes.map_err(|error| Failure::unasked(format_args!("{shown} can't be read: {error}")))?;
    if DOCUMENT_BYTES_MAX < bytes.len() as u64 {
        return Err(Failure::unasked(format_args!(
            "{shown} has more than {DOCUMENT_BYTES_MAX} bytes: split it"
        )));
    }
    Ok(bytes)
}

pub(super) async fn get(args: &Get) -> Outcome {
    let admin = args.gateway.connect().await?;
    let kind = args.kind.name();
    if let Some(name) = &args.name {
        let request = GetResourceRequest { kind: kind.into(), name: name.clone() };
        let reply = admin.reply(admin.resources().get_resource(request)).await?;
        match args.gateway.output {
            Format::Json => show(Format::Json, "Resource", &reply, |_| String::new())?,
            Format::Table => print(&one(&reply)?)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let listed = pages::read(args.limit.get(), |page_size, page_token| {
        let request = ListResourcesRequest { kind: kind.into(), page_size, page_token };
        let admin = &admin;
        async move {
            let reply = admin.reply(admin.resources().list_resources(request)).await?;
            Ok((reply.resources, reply.next_page_token))
        }
    });
    let listed = listed.await?;
    if args.gateway.output == Format::Table {
        listed.tell_of_rest();
    }
    let reply = ListResourcesResponse { resources: listed.all, next_page_token: listed.rest };
    show(args.gateway.output, "ListResourcesResponse", &reply, |paint| {
        let mut table = Table::new(&["NAME", "WRITTEN IN", "CHANGED", "ETAG"]);
        for resource in &reply.resources {
            let changed = time(resource.updated.as_ref());
            table.row([resource.name.clone(), origin(resource).into(), changed, resource.etag.clone()]);
        }
        if table.is_empty() { format!("there are no {kind}\n") } else { table.text(paint) }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A resource as it would be written, in JSON, which is YAML as well; what isn't written are comments.
fn one(resource: &Resource) -> Result<String, Failure> {
    let mut text = format!(
        "# {}/{}, written in the {}\n",
        clean(&resource.kind),
        clean(&resource.name),
        origin(resource)
    );
    let updated = time(resource.updated.as_ref());
    if !updated.is_empty() {
        text.push_str(&format!("# changed {updated}\n"));
    }
    if !resource.etag.is_empty() {
        text.push_str(&format!("# etag {}\n", clean(&resource.etag)));
    }
    let spec = json("google.protobuf.Struct", &resource.spec.clone().unwrap_or_default())?;
    Ok(text + &spec)
}

fn origin(resource: &Resource) -> &'static str {
    match resource.origin() {
        Origin::File => "file",
        Origin::Store => "store",
        Origin::Unspecified => "",
    }
}

pub(super) async fn delete(args: &Delete) -> Outcome {
    let kind = args.kind.name();
    let request = DeleteResourceRequest {
        kind: kind.into(),
        name: args.name.clone(),
        etag: args.etag.clone().unwrap_or_default(),
        dry_run: args.dry_run,
    };
    let admin = args.gateway.connect().await?;
    let reply = admin.reply(admin.resources().delete_resource(request)).await?;
    show(args.gateway.output, "DeleteResourceResponse", &reply, |_| {
        let name = clean(&args.name);
        match args.dry_run {
            true => format!("{kind}/{name} could be removed: nothing was changed\n"),
            false => format!("{kind}/{name} is removed{}\n", generation(reply.generation)),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// As much as a configuration file may have.
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_an_end() {
        let Err(Failure::Unasked(why)) = document(Path::new("/dev/zero")) else { panic!("it is endless") };
        assert_eq!(why, "/dev/zero has more than 16777216 bytes: split it");
        let Err(Failure::Unasked(why)) = document(Path::new("/nonexistent.yaml")) else {
            panic!("it isn't there")
        };
        assert!(why.starts_with("/nonexistent.yaml can't be read: "), "{why}");
    }
}

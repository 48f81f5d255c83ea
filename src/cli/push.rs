//! `transom push` and `transom diff`: a new version of a module, or what it would change.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use prost::Message;

use crate::admin::pb::CreateVersionRequest;
use crate::admin::pb::CreateVersionResponse;
use crate::admin::pb::DiffRequest;
use crate::admin::pb::DiffResponse;
use crate::admin::pb::Finding;
use crate::admin::pb::change::Kind;
use crate::cli::client::Options;
use crate::cli::content;
use crate::cli::failure::Failure;
use crate::cli::failure::Outcome;
use crate::cli::help;
use crate::cli::output::Paint;
use crate::cli::output::clean;
use crate::cli::output::counted;
use crate::cli::output::finding;
use crate::cli::output::let_through;
use crate::cli::output::short;
use crate::cli::output::show;
use crate::cli::progress;

/// Upload `.proto` files or a descriptor set as a new version of a module
///
/// A directory is sent with the `.proto` files in it, each named by its path from there, as imports name it. A file is
/// a descriptor set, as `buf build -o image.binpb` and `protoc --include_imports --descriptor_set_out` write it. The
/// version is checked against the one that the label points at, kept, and the label is moved to it.
#[derive(Debug, Args)]
#[command(after_long_help = help::client(&[
    "transom push pets ./protos",
    "transom push pets image.binpb --source $(git rev-parse HEAD)",
    "transom push pets ./protos --label canary",
    "transom push pets ./protos --allow-breaking FIELD_NO_DELETE@pets.v1.Pet.name",
]))]
pub(super) struct Push {
    #[command(flatten)]
    what: What,
    /// Where the files are from; the commit of their directory unless given
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// Say what would come of it, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Keep the version, and leave the label where it is
    #[arg(long)]
    no_promote: bool,
    #[command(flatten)]
    gateway: Options,
}

/// Say what an upload would change and what it would break; exit 1 on a break
#[derive(Debug, Args)]
#[command(after_long_help = format!("{}\n\n{DIFF_EXIT_CODES}", help::examples(&[
    "transom diff pets ./protos",
    "transom diff pets image.binpb --category FILE -o json",
])))]
pub(super) struct Diff {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    gateway: Options,
}

const DIFF_EXIT_CODES: &str = "Exit codes:\n  0  nothing breaks\n  1  something breaks\n  2  anything else";

#[derive(Debug, Args)]
struct What {
    /// The module
    module: String,
    /// A directory of `.proto` files, or a descriptor set
    #[arg(value_name = "DIR_OR_FILE")]
    path: PathBuf,
    /// Let one breaking change through; may be given several times
    #[arg(long, value_name = "RULE@ELEMENT")]
    allow_breaking: Vec<String>,
    /// The label to compare with, and to move; `live` unless given
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Compile with the versions that the dependencies have now
    #[arg(long)]
    update_deps: bool,
    /// How strict the check is: WIRE, WIRE_JSON, PACKAGE or FILE; WIRE_JSON unless given
    #[arg(long, value_name = "CATEGORY")]
    category: Option<String>,
}

impl What {
    fn label(&self) -> String {
        self.label.clone().unwrap_or_default()
    }

    fn category(&self) -> String {
        self.category.clone().unwrap_or_default()
    }
}

pub(super) async fn push(args: &Push) -> Outcome {
    let what = &args.what;
    let content = content::read(&what.path)?;
    let source = args.source.clone().or_else(|| content::revision(&what.path)).unwrap_or_default();
    let request = CreateVersionRequest {
        module: what.module.clone(),
        content: Some(content),
        source,
        allow_breaking: what.allow_breaking.clone(),
        dry_run: args.dry_run,
        promote: args.no_promote.then_some(false),
        label: what.label(),
        update_deps: what.update_deps,
        category: what.category(),
    };
    let admin = args.gateway.connect().await?;
    let total = request.encoded_len() as u64 + FRAME_HEAD_BYTES;
    let mut modules = admin.modules();
    let call = admin.reply(modules.create_version(request));
    let reply = progress::upload(call, admin.sent(), total).await?;
    show(args.gateway.output, "CreateVersionResponse", &reply, |paint| pushed(args, &reply, paint))?;
    Ok(ExitCode::SUCCESS)
}

/// What came of an upload.
fn pushed(args: &Push, reply: &CreateVersionResponse, paint: Paint) -> String {
    let version = reply.version.clone().unwrap_or_default();
    let (module, digest) = (clean(&args.what.module), short(&version.digest));
    let label = clean(args.what.label.as_deref().unwrap_or("live"));
    let mut lines = Vec::new();
    let size =
        format!("{}, {}", counted(version.file_count, "file"), counted(version.method_count, "method"));
    lines.push(match reply.unchanged {
        true => format!("{module} {digest}: unchanged, it was there already"),
        false => format!("{module} {digest}: {size}"),
    });
    let would = if reply.dry_run { "would point" } else { "points" };
    lines.push(match (reply.promoted, args.no_promote) {
        (true, _) => paint.green(&format!("{label} {would} at {digest}{}", generation(reply.generation))),
        (false, true) => format!("no label was moved: `transom promote {module} {digest}` moves one"),
        (false, false) => format!("{label} points at {digest} already"),
    });
    lines.extend(reply.allowed.iter().map(|found| format!("let through: {}", finding(found))));
    if reply.dry_run {
        lines.push("nothing was kept: it was a dry run".into());
    }
    lines.join("\n") + "\n"
}

pub(super) async fn diff(args: &Diff) -> Outcome {
    compared(args).await.map_err(Failure::apart)
}

async fn compared(args: &Diff) -> Outcome {
    let what = &args.what;
    let request = DiffRequest {
        module: what.module.clone(),
        content: Some(content::read(&what.path)?),
        label: what.label(),
        category: what.category(),
        allow_breaking: what.allow_breaking.clone(),
        update_deps: what.update_deps,
    };
    let admin = args.gateway.connect().await?;
    let total = request.encoded_len() as u64 + FRAME_HEAD_BYTES;
    let mut modules = admin.modules();
    let reply = progress::upload(admin.reply(modules.diff(request)), admin.sent(), total).await?;
    show(args.gateway.output, "DiffResponse", &reply, |paint| differs(what, &reply, paint))?;
    Ok(if reply.breaking.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn differs(what: &What, reply: &DiffResponse, paint: Paint) -> String {
    let label = clean(what.label.as_deref().unwrap_or("live"));
    let mut lines = Vec::new();
    lines.push(match (reply.before.as_str(), reply.unchanged) {
        ("", _) => format!("{label} points at nothing yet: this would be {}", short(&reply.digest)),
        (before, true) => format!("unchanged: {label} points at {} already", short(before)),
        (before, false) => format!("{label} {} -> {}", short(before), short(&reply.digest)),
    });
    lines.extend(reply.changes.iter().map(|change| {
        let sign = match change.kind() {
            Kind::Added => "+",
            Kind::Removed => "-",
            Kind::Changed => "~",
            Kind::Unspecified => "?",
        };
        format!("{sign} {} {}", clean(&change.what), clean(&change.name))
    }));
    lines.extend(reply.allowed.iter().map(|found| format!("let through: {}", finding(found))));
    lines.extend(reply.breaking.iter().map(|found| paint.red(&finding(found))));
    if let Some(first) = reply.breaking.first() {
        lines.push(breaks(reply.breaking.len(), first));
    }
    lines.join("\n") + "\n"
}

/// How many changes break somebody, and the way past one.
fn breaks(count: usize, first: &Finding) -> String {
    let changes = counted(i64::try_from(count).unwrap_or(i64::MAX), "breaking change");
    format!("{changes}; {}", let_through(&clean(&first.rule), &clean(&first.element)))
}

/// Where a change is served since which generation.
pub(super) fn generation(generation: u64) -> String {
    if generation == 0 { String::new() } else { format!(", generation {generation}") }
}

/// What gRPC puts before a message.
const FRAME_HEAD_BYTES: u64 = 5;

//! `transom promote`, `rollback`, `versions` and `history`: what labels point at, and what they pointed at.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::Args;

use crate::admin::pb::ListHistoryRequest;
use crate::admin::pb::ListHistoryResponse;
use crate::admin::pb::ListVersionsRequest;
use crate::admin::pb::ListVersionsResponse;
use crate::admin::pb::PromoteRequest;
use crate::admin::pb::PromoteResponse;
use crate::admin::pb::RollbackRequest;
use crate::cli::client::Options;
use crate::cli::failure::Outcome;
use crate::cli::help;
use crate::cli::output::Format;
use crate::cli::output::Paint;
use crate::cli::output::Table;
use crate::cli::output::clean;
use crate::cli::output::finding;
use crate::cli::output::short;
use crate::cli::output::show;
use crate::cli::output::time;
use crate::cli::pages;
use crate::cli::push::generation;

/// Let a label point at a version that is there
#[derive(Debug, Args)]
#[command(after_long_help = help::client(&[
    "transom promote pets 3f2a9c01b7de",
    "transom promote pets canary --label live",
]))]
pub(super) struct Promote {
    /// The module
    module: String,
    /// The version: a digest, its first 8 digits or more, or a label that points at it
    version: String,
    /// The label to move
    #[arg(long, value_name = "LABEL", default_value = "live")]
    label: String,
    /// Let one breaking change through; may be given several times
    #[arg(long, value_name = "RULE@ELEMENT")]
    allow_breaking: Vec<String>,
    /// How strict the check is: WIRE, WIRE_JSON, PACKAGE or FILE; WIRE_JSON unless given
    #[arg(long, value_name = "CATEGORY")]
    category: Option<String>,
    /// Say what would come of it, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    gateway: Options,
}

/// Let a label point again at the version before its last move
#[derive(Debug, Args)]
#[command(after_long_help = help::client(&["transom rollback pets", "transom rollback pets --label canary"]))]
pub(super) struct Rollback {
    /// The module
    module: String,
    /// The label to move
    #[arg(long, value_name = "LABEL", default_value = "live")]
    label: String,
    /// Say what would come of it, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    gateway: Options,
}

/// List the versions of a module, the newest first
#[derive(Debug, Args)]
#[command(after_long_help = help::client(&["transom versions pets", "transom versions pets -o json"]))]
pub(super) struct Versions {
    /// The module
    module: String,
    /// At most this many
    #[arg(long, value_name = "N", default_value = "100")]
    limit: NonZeroUsize,
    #[command(flatten)]
    gateway: Options,
}

/// List the moves of a module's labels, the newest first
#[derive(Debug, Args)]
#[command(after_long_help = help::client(&["transom history pets", "transom history pets --limit 10"]))]
pub(super) struct History {
    /// The module
    module: String,
    /// At most this many
    #[arg(long, value_name = "N", default_value = "100")]
    limit: NonZeroUsize,
    #[command(flatten)]
    gateway: Options,
}

pub(super) async fn promote(args: &Promote) -> Outcome {
    let request = PromoteRequest {
        module: args.module.clone(),
        version: args.version.clone(),
        label: args.label.clone(),
        allow_breaking: args.allow_breaking.clone(),
        dry_run: args.dry_run,
        category: args.category.clone().unwrap_or_default(),
    };
    let admin = args.gateway.connect().await?;
    let reply = admin.reply(admin.modules().promote(request)).await?;
    show(args.gateway.output, "PromoteResponse", &reply, |paint| moved(&reply, args.dry_run, paint))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn rollback(args: &Rollback) -> Outcome {
    let request =
        RollbackRequest { module: args.module.clone(), label: args.label.clone(), dry_run: args.dry_run };
    let admin = args.gateway.connect().await?;
    let reply = admin.reply(admin.modules().rollback(request)).await?;
    show(args.gateway.output, "PromoteResponse", &reply, |paint| moved(&reply, args.dry_run, paint))?;
    Ok(ExitCode::SUCCESS)
}

/// What came of the move of a label.
fn moved(reply: &PromoteResponse, dry_run: bool, paint: Paint) -> String {
    let (module, label, digest) = (clean(&reply.module), clean(&reply.label), short(&reply.digest));
    let mut text = if reply.before == reply.digest {
        format!("{module}: {label} points at {digest} already\n")
    } else {
        let before = if reply.before.is_empty() { "nothing".into() } else { short(&reply.before) };
        paint.green(&format!("{module}: {label} {before} -> {digest}{}", generation(reply.generation))) + "\n"
    };
    for found in &reply.allowed {
        text.push_str(&format!("let through: {}\n", finding(found)));
    }
    if dry_run {
        text.push_str("nothing was moved: it was a dry run\n");
    }
    text
}

pub(super) async fn versions(args: &Versions) -> Outcome {
    let admin = args.gateway.connect().await?;
    let listed = pages::read(args.limit.get(), |page_size, page_token| {
        let request = ListVersionsRequest { module: args.module.clone(), page_size, page_token };
        let admin = &admin;
        async move {
            let reply = admin.reply(admin.modules().list_versions(request)).await?;
            Ok((reply.versions, reply.next_page_token))
        }
    });
    let listed = listed.await?;
    if args.gateway.output == Format::Table {
        listed.tell_of_rest();
    }
    let reply = ListVersionsResponse { versions: listed.all, next_page_token: listed.rest };
    show(args.gateway.output, "ListVersionsResponse", &reply, |paint| {
        let head = &["VERSION", "LABELS", "CREATED", "BY", "SOURCE", "FILES", "METHODS", "LET THROUGH"];
        let mut table = Table::new(head);
        for version in &reply.versions {
            table.row([
                short(&version.digest),
                version.labels.join(","),
                time(version.created.as_ref()),
                version.uploader.clone(),
                version.source.clone(),
                version.file_count.to_string(),
                version.method_count.to_string(),
                version.allowed_breaking.join(" "),
            ]);
        }
        if table.is_empty() {
            format!("{} has no versions\n", clean(&args.module))
        } else {
            table.text(paint)
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn history(args: &History) -> Outcome {
    let admin = args.gateway.connect().await?;
    let listed = pages::read(args.limit.get(), |page_size, page_token| {
        let request = ListHistoryRequest { module: args.module.clone(), page_size, page_token };
        let admin = &admin;
        async move {
            let reply = admin.reply(admin.modules().list_history(request)).await?;
            Ok((reply.moves, reply.next_page_token))
        }
    });
    let listed = listed.await?;
    if args.gateway.output == Format::Table {
        listed.tell_of_rest();
    }
    let reply = ListHistoryResponse { moves: listed.all, next_page_token: listed.rest };
    show(args.gateway.output, "ListHistoryResponse", &reply, |paint| {
        let mut table = Table::new(&["TIME", "LABEL", "BEFORE", "AFTER", "BY", "REASON"]);
        for one in &reply.moves {
            table.row([
                time(one.time.as_ref()),
                one.label.clone(),
                short(&one.before),
                short(&one.after),
                one.actor.clone(),
                one.reason.clone(),
            ]);
        }
        if table.is_empty() {
            format!("no label of {} was moved\n", clean(&args.module))
        } else {
            table.text(paint)
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

//! The commands of the `transom` program.

mod address;
mod audit;
mod client;
mod completions;
mod content;
mod demo;
mod explain;
mod failure;
mod help;
mod output;
mod pages;
mod progress;
mod push;
mod resources;
mod serve;
mod status;
mod store;
mod token;
mod versions;
mod wire;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::FromArgMatches;
use clap::Parser;
use clap::Subcommand;
use tracing_subscriber::EnvFilter;

use crate::config;
use crate::config::Config;
use crate::config::Report;

/// A gRPC-first API gateway.
#[derive(Parser)]
#[command(name = "transom", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a sample gRPC service and the gateway in front of it, and print commands to try
    #[command(after_long_help = help::examples(&["transom demo"]))]
    Demo {
        /// Where the gateway listens
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Where the gateway listens for TLS, with a certificate made at start
        #[arg(long, default_value = "127.0.0.1:8443")]
        listen_tls: SocketAddr,
        /// Where probes and metrics are answered
        #[arg(long, default_value = "127.0.0.1:9900")]
        admin: SocketAddr,
    },
    /// Run the gateway in the foreground; SIGTERM drains, SIGHUP reloads
    #[command(after_long_help = help::examples(&["transom serve -c transom.yaml"]))]
    Serve {
        /// The configuration file
        #[arg(short, long, default_value = "transom.yaml")]
        config: PathBuf,
    },
    /// Report every fault of a configuration; exit 1 if there is any
    #[command(after_long_help = help::examples(&["transom check -c transom.yaml"]))]
    Check {
        /// The configuration file
        #[arg(short, long, default_value = "transom.yaml")]
        config: PathBuf,
    },
    /// Print the policies that a method gets, and where each comes from
    #[command(after_long_help = help::examples(&["transom explain -c transom.yaml pets.v1.Pets/GetPet"]))]
    Explain {
        /// The configuration file
        #[arg(short, long, default_value = "transom.yaml")]
        config: PathBuf,
        /// The method, as pkg.Service/Method
        method: String,
    },
    Push(push::Push),
    Diff(push::Diff),
    Promote(versions::Promote),
    Rollback(versions::Rollback),
    Versions(versions::Versions),
    History(versions::History),
    Apply(resources::Apply),
    Get(resources::Get),
    Delete(resources::Delete),
    Status(status::Status),
    Audit(audit::Audit),
    #[command(subcommand)]
    Store(store::Store),
    Completions(completions::Completions),
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    log();
    match cli.command {
        Command::Demo { listen, listen_tls, admin } => {
            demo::run(&demo::Addresses { listen, listen_tls, admin })
        }
        Command::Serve { config } => serve::run(&config),
        Command::Check { config } => check(&config),
        Command::Explain { config, method } => explain::run(&config, &method),
        Command::Push(args) => client::run(push::push(&args)),
        Command::Diff(args) => client::run(push::diff(&args)),
        Command::Promote(args) => client::run(versions::promote(&args)),
        Command::Rollback(args) => client::run(versions::rollback(&args)),
        Command::Versions(args) => client::run(versions::versions(&args)),
        Command::History(args) => client::run(versions::history(&args)),
        Command::Apply(args) => client::run(resources::apply(&args)),
        Command::Get(args) => client::run(resources::get(&args)),
        Command::Delete(args) => client::run(resources::delete(&args)),
        Command::Status(args) => client::run(status::run(&args)),
        Command::Audit(args) => client::run(audit::run(&args)),
        Command::Store(args) => failure::exit(store::run(&args)),
        Command::Completions(args) => failure::exit(completions::run(&args)),
    }
}

/// All commands with their flags.
fn command() -> clap::Command {
    help::grouped(<Cli as clap::CommandFactory>::command())
}

/// The program's own log goes to standard error; `RUST_LOG` says how much of it.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

fn load(path: &Path) -> Result<Config, Report> {
    config::load(path, &|name| std::env::var(name).ok())
}

fn check(path: &Path) -> ExitCode {
    match load(path).and_then(|config| crate::server::check(&config)) {
        Ok(()) => failure::exit(
            output::print(&format!("{}: no faults\n", path.display())).map(|()| ExitCode::SUCCESS),
        ),
        Err(report) => fail(&report),
    }
}

fn fail(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

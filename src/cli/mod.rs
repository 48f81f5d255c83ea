//! The commands of the `transom` program.

mod demo;
mod explain;
mod serve;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

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
    Serve {
        /// The configuration file
        #[arg(short, long, default_value = "transom.yaml")]
        config: PathBuf,
    },
    /// Report every fault of a configuration; exit 1 if there is any
    Check {
        /// The configuration file
        #[arg(short, long, default_value = "transom.yaml")]
        config: PathBuf,
    },
    /// Print the policies that a method gets, and where each comes from
    Explain {
        /// The configuration file
        #[arg(short, long, default_value = "transom.yaml")]
        config: PathBuf,
        /// The method, as pkg.Service/Method
        method: String,
    },
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    log();
    match cli.command {
        Command::Demo { listen, listen_tls, admin } => {
            demo::run(&demo::Addresses { listen, listen_tls, admin })
        }
        Command::Serve { config } => serve::run(&config),
        Command::Check { config } => check(&config),
        Command::Explain { config, method } => explain::run(&config, &method),
    }
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
        Ok(()) => {
            println!("{}: no faults", path.display());
            ExitCode::SUCCESS
        }
        Err(report) => fail(&report),
    }
}

fn fail(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

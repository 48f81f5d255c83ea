//! `transom serve`: the gateway in the foreground.

use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::cli::fail;
use crate::cli::load;
use crate::server::Server;
use crate::server::Setup;
use crate::server::Watch;

pub(super) fn run(path: &Path) -> ExitCode {
    let config = match load(path) {
        Ok(config) => config,
        Err(report) => return fail(&report),
    };
    let setup = Setup { watch: Watch::Yes, ..Setup::default() };
    match Server::start(config, setup) {
        Ok(server) => until_signalled(server),
        Err(error) => fail(&error),
    }
}

/// Serves until SIGTERM or SIGINT, and drains then. SIGHUP reads the configuration again.
pub(super) fn until_signalled(server: Server) -> ExitCode {
    let signals = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let waited = signals.and_then(|runtime| runtime.block_on(wait(&server)));
    if let Err(error) = waited {
        return fail(&format_args!("signals can't be waited for: {error}"));
    }
    tracing::info!("draining");
    server.drain();
    tracing::info!("ended");
    ExitCode::SUCCESS
}

async fn wait(server: &Server) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => server.reload(),
        }
    }
}

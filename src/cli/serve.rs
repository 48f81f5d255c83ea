//! `transom serve`: the gateway in the foreground.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use tokio::runtime::Builder;
use tokio::runtime::Runtime;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::cli::fail;
use crate::server::Server;
use crate::server::Setup;
use crate::server::Watch;

pub(super) fn run(path: &Path) -> ExitCode {
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return fail(&error),
    };
    let setup = Setup { watch: Watch::Yes, ..Setup::default() };
    match Server::open(path, setup) {
        Ok(server) => signals.until_ended(server),
        Err(error) => fail(&error),
    }
}

/// What the process is told from outside. It is caught before anybody can reach the gateway: a signal that
/// comes sooner than that ends the process, a later one drains.
pub(super) struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Catches SIGTERM, SIGINT and SIGHUP from now on.
    ///
    /// # Errors
    /// What the system says against it.
    pub(super) fn catch() -> io::Result<Self> {
        let explain = |error| io::Error::other(format!("signals can't be waited for: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(explain)?;
        let caught = || -> io::Result<[Signal; 3]> {
            let _inside = runtime.enter();
            let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
            let [terminate, interrupt, hangup] = kinds.map(signal);
            Ok([terminate?, interrupt?, hangup?])
        };
        let [terminate, interrupt, hangup] = caught().map_err(explain)?;
        Ok(Self { runtime, terminate, interrupt, hangup })
    }

    /// Serves until SIGTERM or SIGINT, and drains then. SIGHUP reads the configuration again.
    pub(super) fn until_ended(mut self, server: Server) -> ExitCode {
        self.runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = self.terminate.recv() => return,
                    _ = self.interrupt.recv() => return,
                    _ = self.hangup.recv() => server.reload(),
                }
            }
        });
        tracing::info!("draining");
        server.drain();
        tracing::info!("ended");
        ExitCode::SUCCESS
    }
}

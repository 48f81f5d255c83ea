//! The real program: `transom serve` with a store of its own, and the commands that ask it.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::io::BufRead;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Output;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A running `transom serve`; dropping it kills it.
pub(crate) struct Program {
    child: Child,
    addresses: HashMap<String, SocketAddr>,
    log: Option<JoinHandle<String>>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("the program ends by itself"),
            stdout: String::from_utf8(output.stdout).expect("it writes UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("it writes UTF-8"),
        }
    }
}

/// The program without what the environment of the tests may say.
pub(crate) fn transom() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_transom"));
    for name in ["RUST_LOG", "TRANSOM_ADMIN", "TRANSOM_ADMIN_TOKEN", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    command.output().expect("the program starts").into()
}

impl Program {
    /// Serves the configuration of a file, once it listens at all of `listeners`.
    pub(crate) fn serve(config: &Path, listeners: &[&str]) -> Self {
        let mut command = transom();
        command.arg("serve").arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (tell, told) = mpsc::sync_channel(1_000);
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                if let Some(found) = listening(&line) {
                    // Nobody may be left who wants to know.
                    drop(tell.try_send(found));
                }
                log.push_str(&line);
                log.push('\n');
            }
            log
        });
        let mut addresses = HashMap::new();
        while !listeners.iter().all(|name| addresses.contains_key(*name)) {
            match told.recv_timeout(PATIENCE) {
                Ok((name, address)) => addresses.insert(name, address),
                Err(error) => {
                    drop(child.kill());
                    drop(child.wait());
                    panic!("it doesn't listen ({error}):\n{}", log.join().expect("reading doesn't panic"));
                }
            };
        }
        Self { child, addresses, log: Some(log) }
    }

    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.addresses[listener]
    }

    /// A command that asks this gateway.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Ended {
        run(transom().env("TRANSOM_ADMIN", format!("http://{}", self.address("admin"))).args(arguments))
    }

    /// A command that must do what it was asked for; what it said.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let ended = self.ask(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.stdout
    }

    /// SIGKILL. It may be amid anything.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM; how it ended, and all that it logged.
    pub(crate) fn terminate(mut self) -> (ExitStatus, String) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("there is `kill`");
        assert!(sent.success(), "{sent}");
        let ended = self.child.wait().expect("it ends");
        let log = self.log.take().expect("only this takes it").join().expect("reading doesn't panic");
        (ended, log)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A line such as `INFO listening listener=main address=127.0.0.1:8080 http3=false`.
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let (_, fields) = line.split_once(" listening listener=")?;
    let (name, rest) = fields.split_once(" address=")?;
    Some((name.to_owned(), rest.split(' ').next()?.parse().ok()?))
}

const PATIENCE: Duration = Duration::from_secs(60);

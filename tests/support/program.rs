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
        Self::start(config, listeners).unwrap_or_else(|log| panic!("it doesn't listen:\n{log}"))
    }

    /// The same where it may refuse to; what it logged then.
    pub(crate) fn start(config: &Path, listeners: &[&str]) -> Result<Self, String> {
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
                Err(_) => {
                    drop(child.kill());
                    drop(child.wait());
                    return Err(log.join().expect("reading doesn't panic"));
                }
            };
        }
        Ok(Self { child, addresses, log: Some(log) })
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

/// An answer over HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the fields, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| *key == name)
            .map(|(_, v)| v)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test where it is another status, or says nothing of these.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, parts: &[&str]) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        for part in parts {
            assert!(self.body.contains(part), "{part}: {self:?}");
        }
        self
    }
}

/// Sends a request and reads the answer to its end; `host` is sent unless it is among the fields.
pub(crate) fn http(address: SocketAddr, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
    use std::io::Read;
    use std::io::Write;

    let mut head = format!("{target} HTTP/1.1\r\nconnection: close\r\n");
    if !fields.iter().any(|(name, _)| *name == "host") {
        head.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !target.starts_with("GET") && !fields.iter().any(|(name, _)| *name == "content-length") {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    let mut socket = std::net::TcpStream::connect(address).expect("connections are taken");
    socket.set_read_timeout(Some(PATIENCE)).expect("the option is known");
    socket.write_all(head.as_bytes()).expect("the head is taken");
    // What is too large may be refused before all of it is sent.
    for target in [&b"\r\n"[..], body] {
        drop(socket.write_all(target));
    }
    let mut all = Vec::new();
    // A server that closes with bytes unread may reset the connection after its answer.
    drop(socket.read_to_end(&mut all));
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("{all:?}"));
    let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
    let mut rest = &all[end + 4..];
    let mut body = Vec::new();
    if head.contains("transfer-encoding: chunked") {
        while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
            let size = String::from_utf8_lossy(&rest[..line]).into_owned();
            let size = usize::from_str_radix(&size, 16).unwrap_or(0);
            if size == 0 || rest.len() < line + 2 + size + 2 {
                break;
            }
            body.extend_from_slice(&rest[line + 2..line + 2 + size]);
            rest = &rest[line + 2 + size + 2..];
        }
    } else {
        body.extend_from_slice(rest);
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head, body: String::from_utf8_lossy(&body).into_owned() }
}

/// A zip of these files.
pub(crate) fn zipped(files: &[(&str, &str)]) -> Vec<u8> {
    use std::io::Write;

    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).expect("memory takes it");
        zip.write_all(text.as_bytes()).expect("memory takes it");
    }
    zip.finish().expect("memory takes it").into_inner()
}

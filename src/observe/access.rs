//! Writes the access log from a thread of its own, so that a slow disk or pipe never holds up a call.
//!
//! A worker formats a line into a buffer that only it and the writer know. The writer looks in ten times a
//! second, or when a buffer has grown to `WAKE_BYTES`, and takes the whole buffer in exchange for an empty
//! one. Each worker has two: the writer locks one at a time, so the other is always free and a worker never
//! waits. Lines of one worker keep their order but for those few that came while the writer had the first.

use std::fmt;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::TryLockError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::thread::Thread;
use std::time::Duration;

use super::handle::Counter;
use super::line;
use super::line::Entry;
use super::line::LINE_BYTES_MAX;

/// Where lines go.
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to, and opened anew when it was renamed or deleted.
    File(PathBuf),
    /// Anything else; it gets whole lines, many at a time.
    Other(Box<dyn Write + Send>),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("Stdout"),
            Self::Stderr => f.write_str("Stderr"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Other(_) => f.write_str("Other"),
        }
    }
}

/// Bounds of an access log.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes that may wait for the writer, for each worker; at least `LINE_BYTES_MAX` are taken.
    pub queue_bytes: usize,
    /// How long a line waits at most before the writer looks for it.
    pub interval: Duration,
}

impl Default for Limits {
    /// 4 MiB a worker, about a quarter of a second of its busiest; 100 ms.
    fn default() -> Self {
        Self { queue_bytes: 4 << 20, interval: Duration::from_millis(100) }
    }
}

/// The writer had not finished in time: its target is blocked. What it has not written is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished;

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the access log could not be written out in time; check what reads it or its disk")
    }
}

impl std::error::Error for Unfinished {}

/// An access log that is open until it is closed or dropped.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    thread: Thread,
    /// The sender is the writer's; it is gone when the writer has ended.
    running: Mutex<Option<(JoinHandle<()>, mpsc::Receiver<()>)>>,
}

impl AccessLog {
    /// Opens `target` and starts the writer. `workers` as for `Metrics::new`; `dropped` counts lines that
    /// were not written. Fails if the target can't be opened or no thread be started.
    pub fn start(target: Target, workers: usize, dropped: Counter, limits: Limits) -> io::Result<Self> {
        let mut output = Output::open(target)?;
        let shared = Arc::new(Shared {
            workers: (0..=workers).map(|_| Pair::default()).collect(),
            queue_bytes: limits.queue_bytes.max(LINE_BYTES_MAX),
            dropped,
            closing: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
        });
        let (ended, running) = mpsc::sync_channel(0);
        let writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("transom-access".into()).spawn(move || {
            writer.run(&mut output, limits.interval);
            drop(ended);
        })?;
        Ok(Self { shared, thread: thread.thread().clone(), running: Mutex::new(Some((thread, running))) })
    }

    /// Writes down a call; `worker` as for `Series::started`. Drops and counts it if the writer is behind.
    pub fn write(&self, worker: usize, entry: &Entry<'_>) {
        let pair = &self.shared.workers[worker.min(self.shared.workers.len() - 1)];
        let Queued::Enough = pair.free().push(entry, &self.shared) else { return };
        self.thread.unpark();
    }

    /// Has the file opened anew, for whoever has just moved it away. Other targets stay as they are.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Writes everything out and ends the writer. It blocks up to `timeout`: call it when no worker needs the
    /// thread any more. Lines that come later are dropped and counted.
    pub fn close(&self, timeout: Duration) -> Result<(), Unfinished> {
        let Some((thread, running)) = lock(&self.running).take() else { return Ok(()) };
        self.shared.closing.store(true, Ordering::Release);
        self.thread.unpark();
        if running.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout) {
            self.shared.give_up();
            return Err(Unfinished);
        }
        thread.join().map_err(|_| Unfinished)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        // Whoever wants to know closes it before.
        _ = self.close(Duration::from_secs(1));
    }
}

#[derive(Debug)]
struct Shared {
    /// One a worker, and the last for `ANYWHERE`.
    workers: Box<[Pair]>,
    queue_bytes: usize,
    dropped: Counter,
    closing: AtomicBool,
    reopen: AtomicBool,
}

impl Shared {
    fn run(&self, output: &mut Output, interval: Duration) {
        let mut spare = Vec::new();
        loop {
            // Read before the buffers are: what came before `close` is written by this pass or an earlier one.
            let closing = self.closing.load(Ordering::Acquire);
            if self.reopen.swap(false, Ordering::Acquire) {
                output.reopen();
            }
            for queue in self.workers.iter().flat_map(|pair| &pair.0) {
                let (mut batch, lines) = queue.take(std::mem::take(&mut spare), closing);
                if lines != 0 {
                    self.dropped.add(lines - output.put(&batch, lines));
                }
                if batch.capacity() <= SPARE_BYTES_MAX {
                    batch.clear();
                    spare = batch;
                }
            }
            if closing {
                return;
            }
            std::thread::park_timeout(interval);
        }
    }

    /// Drops what the writer, which is blocked, will not take.
    fn give_up(&self) {
        for queue in self.workers.iter().flat_map(|pair| &pair.0) {
            let (_, lines) = queue.take(Vec::new(), true);
            self.dropped.add(lines);
        }
    }
}

#[derive(Debug, Default)]
struct Pair([Queue; 2]);

impl Pair {
    /// A buffer that is not locked. Only if several threads tell as one worker can both be, and then it waits
    /// for as long as one of them takes to format a line.
    fn free(&self) -> MutexGuard<'_, Buffer> {
        let [first, second] = &self.0;
        match first.0.try_lock() {
            Ok(buffer) => buffer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => lock(&second.0),
        }
    }
}

/// 128 bytes: two workers must not fight over a pair of cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Queue(Mutex<Buffer>);

impl Queue {
    /// What has come since, in exchange for `empty`.
    fn take(&self, empty: Vec<u8>, closing: bool) -> (Vec<u8>, u64) {
        let mut buffer = lock(&self.0);
        buffer.closed |= closing;
        buffer.woken = false;
        if buffer.lines == 0 {
            return (empty, 0);
        }
        (std::mem::replace(&mut buffer.bytes, empty), std::mem::take(&mut buffer.lines))
    }
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    lines: u64,
    woken: bool,
    closed: bool,
}

/// Whether the writer should be woken.
enum Queued {
    Little,
    Enough,
}

impl Buffer {
    fn push(&mut self, entry: &Entry<'_>, shared: &Shared) -> Queued {
        if self.closed || shared.queue_bytes - LINE_BYTES_MAX < self.bytes.len() {
            shared.dropped.increment();
            return Queued::Little;
        }
        line::write(&mut self.bytes, entry);
        self.lines += 1;
        if self.woken || self.bytes.len() < WAKE_BYTES {
            return Queued::Little;
        }
        self.woken = true;
        Queued::Enough
    }
}

/// The target, as the writer has it open.
struct Output {
    to: Box<dyn Write + Send>,
    file: Option<OpenFile>,
    /// A line was cut short by a fault: the next one needs a line feed before it.
    torn: bool,
    failing: bool,
}

/// The file behind `Output::to`, by name and by what it is.
struct OpenFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Output {
    fn open(target: Target) -> io::Result<Self> {
        let mut file = None;
        let to: Box<dyn Write + Send> = match target {
            // A copy of the descriptor has no buffer of its own that could tear lines.
            Target::Stdout => Box::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            Target::Stderr => Box::new(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
            Target::File(path) => {
                let (open, identity) = open(&path)?;
                file = Some(OpenFile { path, identity });
                Box::new(open)
            }
            Target::Other(to) => to,
        };
        Ok(Self { to, file, torn: false, failing: false })
    }

    /// Opens the file again; if that fails, the old one stays in use, and false.
    fn reopen(&mut self) -> bool {
        let Some(file) = &mut self.file else { return true };
        match open(&file.path) {
            Ok((open, identity)) => {
                file.identity = identity;
                self.to = Box::new(open);
                self.torn = false;
                true
            }
            Err(error) => {
                self.report(&error);
                false
            }
        }
    }

    /// Writes a batch and returns how many of its lines got out whole.
    fn put(&mut self, batch: &[u8], lines: u64) -> u64 {
        let moved = self.file.as_ref().is_some_and(|file| identity(&file.path) != Some(file.identity));
        let in_place = !moved || self.reopen();
        if self.torn {
            match self.write_all(b"\n") {
                Ok(()) => self.torn = false,
                Err((_, error)) => {
                    self.report(&error);
                    return 0;
                }
            }
        }
        let Err((written, error)) = self.write_all(batch) else {
            if in_place && std::mem::take(&mut self.failing) {
                tracing::info!("the access log can be written again");
            }
            return lines;
        };
        self.report(&error);
        let written = &batch[..written];
        self.torn = written.last().is_some_and(|byte| *byte != b'\n');
        written.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        let mut waits = 0;
        while written < bytes.len() {
            match self.to.write(&bytes[written..]) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(more) => (written, waits) = (written + more, 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                // Somebody made the pipe or terminal that we were given non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && waits < WAITS_MAX => {
                    waits += 1;
                    std::thread::park_timeout(WAIT);
                }
                Err(error) => return Err((written, error)),
            }
        }
        self.to.flush().map_err(|error| (written, error))
    }

    /// Tells the operator once, not with every batch.
    fn report(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(
                %error,
                "the access log can't be written, its lines are dropped; check its disk, path and permissions"
            );
        }
    }
}

fn open(path: &Path) -> io::Result<(File, (u64, u64))> {
    // Lines hold addresses of people: not for everybody.
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    let about = file.metadata()?;
    Ok((file, (about.dev(), about.ino())))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|about| (about.dev(), about.ino()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The size of a buffer that wakes the writer: some 200 lines, so that waking costs a call next to nothing.
const WAKE_BYTES: usize = 64 * 1024;
/// Buffers up to this size are used again.
const SPARE_BYTES_MAX: usize = 256 * 1024;
/// How often, and how long each time, the writer waits for a target that says it would block.
const WAITS_MAX: u32 = 100;
const WAIT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Code;
    use crate::call::Dialect;
    use crate::observe::ANYWHERE;
    use std::time::SystemTime;

    const LONG: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_secs(60);

    fn entry(method: &str) -> Entry<'_> {
        Entry {
            time: SystemTime::UNIX_EPOCH,
            api: "pets",
            method: method.as_bytes(),
            path: b"",
            dialect: Dialect::Grpc,
            version: http::Version::HTTP_2,
            host: b"localhost",
            peer: None,
            client: None,
            scheme: crate::call::Scheme::Http,
            code: Code::Ok,
            http_status: None,
            duration: Duration::from_millis(1),
            request_bytes: 0,
            reply_bytes: 0,
            request_messages: 1,
            reply_messages: 1,
            endpoint: "",
            attempts: 1,
            reason: "",
            logged: "",
            user_agent: b"",
            trace_id: None,
            client_subject: "",
            client_fingerprint: "",
        }
    }

    fn methods(written: &[u8]) -> Vec<String> {
        let text = str::from_utf8(written).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        let method = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["method"].clone();
        text.lines().map(|line| method(line).as_str().unwrap().to_owned()).collect()
    }

    fn limits(queue_bytes: usize, interval: Duration) -> Limits {
        Limits { queue_bytes, interval }
    }

    /// Passes on what is written.
    struct Sent(mpsc::SyncSender<Vec<u8>>);

    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sent() -> (Target, mpsc::Receiver<Vec<u8>>) {
        let (sender, written) = mpsc::sync_channel(100_000);
        (Target::Other(Box::new(Sent(sender))), written)
    }

    /// Says that it is being written to, then blocks until the gate opens for good.
    struct Gated(Sent, mpsc::SyncSender<()>, mpsc::Receiver<()>);

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            _ = self.1.try_send(());
            _ = self.2.recv();
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Blocked in writing its first batch, a line named `first`; dropping the gate unblocks it.
    fn blocked(queue_bytes: usize) -> (AccessLog, Counter, mpsc::SyncSender<()>, mpsc::Receiver<Vec<u8>>) {
        let (sender, written) = mpsc::sync_channel(1_000);
        let (at_gate, blocked) = mpsc::sync_channel(1);
        let (gate, opened) = mpsc::sync_channel(0);
        let target = Target::Other(Box::new(Gated(Sent(sender), at_gate, opened)));
        let dropped = Counter::default();
        let interval = Duration::from_millis(1);
        let log = AccessLog::start(target, 1, dropped.clone(), limits(queue_bytes, interval)).unwrap();
        log.write(0, &entry("first"));
        blocked.recv_timeout(SOON).unwrap();
        (log, dropped, gate, written)
    }

    /// What a disk does that is full after some bytes, until somebody makes room.
    struct Full(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room) = &mut *lock(&self.0);
            let fits = bytes.len().min(*room);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= fits;
            written.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_lone_line_appears_by_itself() {
        let (target, written) = sent();
        let log =
            AccessLog::start(target, 1, Counter::default(), limits(0, Duration::from_millis(20))).unwrap();
        log.write(0, &entry("one"));
        assert_eq!(methods(&written.recv_timeout(SOON).unwrap()), ["one"]);
        log.write(ANYWHERE, &entry("two"));
        assert_eq!(methods(&written.recv_timeout(SOON).unwrap()), ["two"]);
    }

    #[test]
    fn a_big_buffer_wakes_the_writer() {
        let (target, written) = sent();
        let log = AccessLog::start(target, 1, Counter::default(), limits(4 << 20, LONG)).unwrap();
        // The writer looks once by itself when it starts; the second round has nothing but the waking.
        for _ in 0..2 {
            for _ in 0..4 * WAKE_BYTES / 100 {
                log.write(0, &entry("m"));
            }
            let mut bytes = 0;
            while bytes < WAKE_BYTES {
                bytes += written.recv_timeout(SOON).unwrap().len();
            }
        }
        assert_eq!(log.close(SOON), Ok(()), "the interval does not hold it up");
    }

    #[test]
    fn nothing_is_lost_or_mixed_up_when_there_is_room() {
        const LINES: usize = 4_000;
        let (target, written) = sent();
        let dropped = Counter::default();
        let log =
            AccessLog::start(target, 2, dropped.clone(), limits(16 << 20, Duration::from_millis(1))).unwrap();
        std::thread::scope(|scope| {
            // Two workers, and two that are none.
            for worker in [0, 1, 2, ANYWHERE] {
                let log = &log;
                scope.spawn(move || {
                    for line in 0..LINES {
                        log.write(worker, &entry(&format!("{worker}/{line}")));
                    }
                });
            }
        });
        assert_eq!(log.close(SOON), Ok(()));
        let mut names = methods(&written.try_iter().collect::<Vec<_>>().concat());
        names.sort();
        let mut expected: Vec<String> = [0, 1, 2, ANYWHERE]
            .iter()
            .flat_map(|w| (0..LINES).map(move |line| format!("{w}/{line}")))
            .collect();
        expected.sort();
        assert!(names == expected, "{} of {} lines", names.len(), expected.len());
        assert_eq!(dropped.value(), 0);
    }

    #[test]
    fn a_blocked_writer_costs_lines_and_no_worker_waits() {
        const LINES: u64 = 1_000;
        let (log, dropped, gate, written) = blocked(2 * LINE_BYTES_MAX);
        // Would this wait for the writer, it would wait for ever.
        for _ in 0..LINES {
            log.write(0, &entry("more"));
        }
        let lost = dropped.value();
        assert!(0 < lost && lost < LINES);
        drop(gate);
        assert_eq!(log.close(SOON), Ok(()));
        let names = methods(&written.try_iter().collect::<Vec<_>>().concat());
        assert_eq!(names.len() as u64 + lost, LINES + 1);
        assert_eq!(names[0], "first");
        log.write(0, &entry("late"));
        assert_eq!(dropped.value(), lost + 1, "closed");
        assert_eq!(log.close(SOON), Ok(()), "again");
    }

    #[test]
    fn while_the_writer_has_one_buffer_the_other_is_free() {
        let shared = Shared {
            workers: Box::default(),
            queue_bytes: LINE_BYTES_MAX,
            dropped: Counter::default(),
            closing: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
        };
        let pair = Pair::default();
        let taken = lock(&pair.0[0].0);
        pair.free().push(&entry("m"), &shared);
        assert_eq!((taken.lines, lock(&pair.0[1].0).lines), (0, 1));
    }

    #[test]
    fn a_file_is_opened_anew_when_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let log =
            AccessLog::start(Target::File(path.clone()), 1, Counter::default(), limits(0, LONG)).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        log.close(SOON).unwrap();
        assert!(path.exists(), "without a line to write");
    }

    #[test]
    fn closing_gives_a_blocked_writer_up() {
        let (log, dropped, gate, written) = blocked(2 * LINE_BYTES_MAX);
        log.write(0, &entry("more"));
        assert_eq!(log.close(Duration::from_millis(10)), Err(Unfinished));
        assert_eq!(dropped.value(), 1);
        drop((gate, log));
        assert_eq!(methods(&written.iter().collect::<Vec<_>>().concat()), ["first"], "ends all the same");
    }

    #[test]
    fn a_full_disk_costs_lines_and_tears_none_that_follow() {
        let line = {
            let mut line = Vec::new();
            line::write(&mut line, &entry("m"));
            line.len()
        };
        let disk = Arc::new(Mutex::new((Vec::new(), 2 * line + 10)));
        let mut output = Output::open(Target::Other(Box::new(Full(Arc::clone(&disk))))).unwrap();
        let mut batch = Vec::new();
        for _ in 0..3 {
            line::write(&mut batch, &entry("m"));
        }
        assert_eq!(output.put(&batch, 3), 2);
        assert_eq!(output.put(&batch, 3), 0, "still full");
        lock(&disk).1 = usize::MAX;
        assert_eq!(output.put(&batch, 3), 3);
        let text = String::from_utf8(lock(&disk).0.clone()).unwrap();
        let whole = |line: &&str| serde_json::from_str::<serde_json::Value>(line).is_ok();
        assert_eq!(text.lines().filter(whole).count(), 5);
        assert_eq!(text.lines().count(), 6, "one is torn");
    }

    #[test]
    fn what_a_full_disk_costs_is_counted() {
        let disk = Arc::new(Mutex::new((Vec::new(), 0)));
        let dropped = Counter::default();
        let target = Target::Other(Box::new(Full(disk)));
        let log = AccessLog::start(target, 1, dropped.clone(), limits(0, LONG)).unwrap();
        log.write(0, &entry("a"));
        log.write(0, &entry("b"));
        assert_eq!(log.close(SOON), Ok(()));
        assert_eq!(dropped.value(), 2);
    }

    #[test]
    fn a_file_is_appended_to_and_opened_anew_when_it_was_moved() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let lines = |path: &Path| methods(&std::fs::read(path).unwrap());
        let start =
            || AccessLog::start(Target::File(path.clone()), 1, Counter::default(), limits(0, LONG)).unwrap();
        for name in ["a", "b"] {
            let log = start();
            log.write(0, &entry(name));
            log.close(SOON).unwrap();
        }
        assert_eq!(lines(&path), ["a", "b"]);
        let log = start();
        std::fs::rename(&path, &moved).unwrap();
        log.write(0, &entry("c"));
        log.close(SOON).unwrap();
        assert_eq!((lines(&moved), lines(&path)), (vec!["a".into(), "b".into()], vec!["c".into()]));
    }

    #[test]
    fn a_file_that_cannot_be_opened_anew_stays_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let mut output = Output::open(Target::File(path.clone())).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(!output.reopen());
        assert_eq!(output.put(b"{}\n", 1), 1);
        assert!(output.failing, "and the operator is told once");
        std::fs::remove_dir(&path).unwrap();
        assert_eq!(output.put(b"[]\n", 1), 1);
        assert!(!output.failing);
        assert_eq!(std::fs::read(&moved).unwrap(), b"{}\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"[]\n");
    }

    #[test]
    fn a_target_that_cannot_be_opened_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::File(dir.path().join("absent/access.log"));
        let error = AccessLog::start(target, 1, Counter::default(), Limits::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

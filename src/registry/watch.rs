//! Says when files or directories have changed, however an editor or an orchestrator changes them.
//!
//! Not the files are watched but the directories that hold their names, where they really are: so a file
//! that is replaced, a link that is swapped and a file that is yet to come are all seen.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use std::time::Instant;

use notify::Event;
use notify::EventKind;
use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher as _;
use notify::event::AccessKind;
use notify::event::AccessMode;
use tokio::sync::watch;

/// Watches until it is dropped.
pub struct Watcher {
    state: Arc<State>,
}

struct State {
    /// Held by the one who sets new paths and by the thread that watches anew.
    watching: Mutex<Watching>,
    hints: mpsc::SyncSender<()>,
}

struct Watching {
    paths: Vec<PathBuf>,
    /// Ends its watches when it is dropped.
    running: Option<RecommendedWatcher>,
}

impl Watcher {
    /// Watches files, directories with all that is below them, and paths where neither is yet. The number
    /// received counts up once each time that something has changed and then nothing for `quiet`, or that
    /// changes have gone on for ten times as long. Changes after this call are seen; so read first after it.
    ///
    /// # Errors
    ///
    /// That the system has no more watches or threads to give.
    pub fn start(paths: Vec<PathBuf>, quiet: Duration) -> io::Result<(Self, watch::Receiver<u64>)> {
        // One hint is as good as many.
        let (hints, hinted) = mpsc::sync_channel(1);
        let watching = Watching { paths: Vec::new(), running: None };
        let state = Arc::new(State { watching: Mutex::new(watching), hints });
        let (changes, changed) = watch::channel(0);
        let weak = Arc::downgrade(&state);
        let this = Self { state };
        this.set_paths(paths)?;
        let thread = std::thread::Builder::new().name("transom-watch".to_owned());
        thread.spawn(move || run(&hinted, quiet, &weak, &changes))?;
        Ok((this, changed))
    }

    /// Watches these paths instead. Changes after this call are seen.
    ///
    /// # Errors
    ///
    /// That the system has no more watches to give; then those before go on.
    pub fn set_paths(&self, paths: Vec<PathBuf>) -> io::Result<()> {
        let mut watching = self.state.watching.lock().unwrap_or_else(PoisonError::into_inner);
        watching.running = Some(watch(&paths, &self.state.hints)?);
        watching.paths = paths;
        Ok(())
    }
}

/// Turns hints into changes. Ends when the watcher is gone: then nobody is left to hint.
fn run(hinted: &mpsc::Receiver<()>, quiet: Duration, state: &Weak<State>, changes: &watch::Sender<u64>) {
    while hinted.recv().is_ok() {
        if settle(hinted, quiet).is_err() {
            return;
        }
        {
            let Some(state) = state.upgrade() else { return };
            let mut watching = state.watching.lock().unwrap_or_else(PoisonError::into_inner);
            // What a change has moved or made is watched before the change is told, so that whoever reads
            // then misses nothing. The old watches end only after the new ones began.
            match watch(&watching.paths, &state.hints) {
                Ok(anew) => watching.running = Some(anew),
                Err(error) => {
                    tracing::warn!(%error, "some paths can't be watched: changes there will be missed")
                }
            }
        }
        changes.send_modify(|changes| *changes += 1);
    }
}

/// Waits until there was no hint for a while.
#[expect(clippy::disallowed_methods, reason = "this is the edge that reads the clock")]
fn settle(hinted: &mpsc::Receiver<()>, quiet: Duration) -> Result<(), RecvTimeoutError> {
    let started = Instant::now();
    while started.elapsed() < quiet.saturating_mul(PATIENCE) {
        match hinted.recv_timeout(quiet) {
            Ok(()) => (),
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(gone) => return Err(gone),
        }
    }
    Ok(())
}

fn watch(paths: &[PathBuf], hints: &mpsc::SyncSender<()>) -> io::Result<RecommendedWatcher> {
    let targets = Targets::of(paths);
    let directories = targets.directories.clone();
    let hints = hints.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error means that something was missed, which is a reason to look.
        if event.map_or(true, |event| targets.concerns(&event)) {
            let _ = hints.try_send(()); // full: a hint is there already
        }
    })
    .map_err(unwatchable)?;
    for (directory, mode) in directories {
        match watcher.watch(&directory, mode) {
            Err(error) if !is_gone(&error) => return Err(unwatchable(error)),
            // Gone again: the directory above is watched too.
            _ => (),
        }
    }
    Ok(watcher)
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

fn unwatchable(error: notify::Error) -> io::Error {
    match error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            io::Error::other("the system has no more watches to give; raise fs.inotify.max_user_watches")
        }
        notify::ErrorKind::Io(error) => error,
        _ => io::Error::other(error),
    }
}

/// What to watch for a set of paths as they are now.
#[derive(Debug, Default, PartialEq, Eq)]
struct Targets {
    /// Real paths, and how deep.
    directories: BTreeMap<PathBuf, RecursiveMode>,
    /// Real paths of directories of which every part is of interest.
    trees: BTreeSet<PathBuf>,
    /// Names of interest, each in its real directory.
    names: BTreeSet<PathBuf>,
}

impl Targets {
    fn of(paths: &[PathBuf]) -> Self {
        let mut targets = Self::default();
        for path in paths {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            targets.follow(&path);
        }
        targets
    }

    /// Adds a path, and what its links lead to.
    fn follow(&mut self, path: &Path) {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            let place = self.name(&path);
            match place.and_then(|place| fs::read_link(&place).ok().map(|target| (place, target))) {
                Some((place, target)) => path = place.parent().unwrap_or(&place).join(target),
                None => break,
            }
        }
        match fs::canonicalize(&path) {
            Ok(real) if real.is_dir() => {
                self.directories.insert(real.clone(), RecursiveMode::Recursive);
                self.trees.insert(real);
            }
            _ => (),
        }
    }

    /// Adds a name in the directory that holds it, or if there is none, the name of what is missing in the
    /// nearest one above; gives the real path of the name if its directory is there.
    fn name(&mut self, path: &Path) -> Option<PathBuf> {
        let mut missing = path;
        loop {
            let above = missing.parent()?;
            if let Ok(real) = fs::canonicalize(above)
                && real.is_dir()
            {
                let name = real.join(missing.file_name()?);
                // The directories on the way may be links that are swapped, as in `..data/pets.proto`.
                if real != above {
                    self.links(above);
                }
                self.directories.entry(real).or_insert(RecursiveMode::NonRecursive);
                self.names.insert(name.clone());
                return (missing == path).then_some(name);
            }
            missing = above;
        }
    }

    /// Adds each part of a path that is a link.
    fn links(&mut self, path: &Path) {
        for part in path.ancestors() {
            let is_link = fs::symlink_metadata(part).is_ok_and(|metadata| metadata.is_symlink());
            let (Some(above), Some(name)) = (part.parent(), part.file_name()) else { break };
            if is_link && let Ok(real) = fs::canonicalize(above) {
                self.names.insert(real.join(name));
                self.directories.entry(real).or_insert(RecursiveMode::NonRecursive);
            }
        }
    }

    /// Whether an event is a change of what is watched, and not only that someone reads it.
    fn concerns(&self, event: &Event) -> bool {
        let only_read = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
            EventKind::Access(_) => true,
            _ => false,
        };
        if event.need_rescan() {
            return true;
        }
        !only_read && event.paths.iter().any(|path| self.has(path))
    }

    fn has(&self, path: &Path) -> bool {
        // A watched directory is itself moved or removed.
        if self.names.contains(path) || self.directories.contains_key(path) {
            return true;
        }
        // What a mounted ConfigMap swaps.
        let swapped = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
        let beside = |above: &Path| swapped && self.directories.contains_key(above);
        path.parent().is_some_and(beside)
            || path.ancestors().any(|above| self.trees.contains(above) && wanted(above, path))
    }
}

/// Whether a part of a tree is of interest: not what version control and editors keep there.
fn wanted(tree: &Path, path: &Path) -> bool {
    let within = path.strip_prefix(tree).unwrap_or(path);
    let hidden = |part: &OsStr| {
        let part = part.as_encoded_bytes();
        part.starts_with(b".") && !part.starts_with(b"..")
    };
    !within.iter().any(hidden)
}

/// A change is told at the latest after this many times the quiet that was asked for.
const PATIENCE: u32 = 10;
/// Links in a row.
const LINKS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use notify::event::CreateKind;

    use super::*;

    struct Place {
        root: tempfile::TempDir,
        _watcher: Watcher,
        changed: watch::Receiver<u64>,
    }

    impl Place {
        fn watching(root: tempfile::TempDir, paths: &[&str]) -> Self {
            let paths = paths.iter().map(|path| root.path().join(path)).collect();
            let (watcher, changed) = Watcher::start(paths, Duration::from_millis(20)).unwrap();
            Self { root, _watcher: watcher, changed }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        async fn change(&mut self) {
            let seen = tokio::time::timeout(Duration::from_secs(20), self.changed.changed()).await;
            seen.expect("the change is seen").expect("the watcher runs");
            self.changed.borrow_and_update();
        }
    }

    fn root() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[tokio::test]
    async fn writes_and_renames_are_seen() {
        let root = root();
        fs::write(root.path().join("a.yaml"), "1").unwrap();
        let mut place = Place::watching(root, &["a.yaml"]);
        fs::write(place.path("a.yaml"), "2").unwrap();
        place.change().await;
        for _ in 0..3 {
            fs::write(place.path("a.yaml.tmp"), "3").unwrap();
            fs::rename(place.path("a.yaml.tmp"), place.path("a.yaml")).unwrap();
            place.change().await;
        }
        fs::remove_file(place.path("a.yaml")).unwrap();
        place.change().await;
        fs::write(place.path("a.yaml"), "4").unwrap();
        place.change().await;
    }

    #[tokio::test]
    async fn the_link_swap_of_a_config_map_is_seen_again_and_again() {
        for watched in ["a.yaml", "."] {
            let root = root();
            let version = |version: u32| {
                let name = format!("..2024_{version}");
                fs::create_dir(root.path().join(&name)).unwrap();
                fs::write(root.path().join(&name).join("a.yaml"), version.to_string()).unwrap();
                symlink(&name, root.path().join("..data_tmp")).unwrap();
                fs::rename(root.path().join("..data_tmp"), root.path().join("..data")).unwrap();
            };
            version(0);
            symlink("..data/a.yaml", root.path().join("a.yaml")).unwrap();
            let paths = vec![root.path().join(watched)];
            let (_watcher, mut changed) = Watcher::start(paths, Duration::from_millis(20)).unwrap();
            for next in 1..4 {
                version(next);
                fs::remove_dir_all(root.path().join(format!("..2024_{}", next - 1))).unwrap();
                let seen = tokio::time::timeout(Duration::from_secs(20), changed.changed()).await;
                seen.expect("the swap is seen").unwrap();
                assert_eq!(fs::read_to_string(root.path().join("a.yaml")).unwrap(), next.to_string());
            }
        }
    }

    #[tokio::test]
    async fn what_comes_later_is_seen() {
        let mut place = Place::watching(root(), &["etc/transom/a.yaml"]);
        fs::create_dir_all(place.path("etc/transom")).unwrap();
        place.change().await;
        fs::write(place.path("etc/transom/a.yaml"), "1").unwrap();
        place.change().await;
        fs::remove_dir_all(place.path("etc")).unwrap();
        place.change().await;
        fs::create_dir_all(place.path("etc/transom")).unwrap();
        place.change().await;
        fs::write(place.path("etc/transom/a.yaml"), "2").unwrap();
        place.change().await;
    }

    #[tokio::test]
    async fn directories_are_seen_in_depth() {
        let root = root();
        fs::create_dir(root.path().join("protos")).unwrap();
        let mut place = Place::watching(root, &["protos"]);
        fs::create_dir_all(place.path("protos/pets/v1")).unwrap();
        place.change().await;
        fs::write(place.path("protos/pets/v1/pets.proto"), "1").unwrap();
        place.change().await;
        fs::write(place.path("protos/pets/v1/pets.proto"), "2").unwrap();
        place.change().await;
        fs::rename(place.path("protos"), place.path("old")).unwrap();
        fs::create_dir(place.path("protos")).unwrap();
        place.change().await;
        fs::write(place.path("protos/new.proto"), "3").unwrap();
        place.change().await;
    }

    #[tokio::test]
    async fn the_file_behind_a_link_is_seen() {
        let root = root();
        fs::create_dir_all(root.path().join("live")).unwrap();
        fs::create_dir_all(root.path().join("archive")).unwrap();
        fs::write(root.path().join("archive/1.pem"), "1").unwrap();
        symlink("../archive/1.pem", root.path().join("live/a.pem")).unwrap();
        let mut place = Place::watching(root, &["live/a.pem"]);
        fs::write(place.path("archive/1.pem"), "2").unwrap();
        place.change().await;
        fs::write(place.path("archive/2.pem"), "3").unwrap();
        symlink("../archive/2.pem", place.path("live/b.pem")).unwrap();
        fs::rename(place.path("live/b.pem"), place.path("live/a.pem")).unwrap();
        place.change().await;
        fs::write(place.path("archive/2.pem"), "4").unwrap();
        place.change().await;
    }

    #[tokio::test]
    async fn the_swap_of_a_directory_above_is_seen() {
        let root = root();
        for release in ["1", "2", "3"] {
            fs::create_dir_all(root.path().join("releases").join(release).join("etc")).unwrap();
            fs::write(root.path().join("releases").join(release).join("etc/a.yaml"), release).unwrap();
        }
        symlink("releases/1", root.path().join("current")).unwrap();
        let mut place = Place::watching(root, &["current/etc/a.yaml", "current/etc"]);
        for release in ["2", "3"] {
            symlink(Path::new("releases").join(release), place.path("next")).unwrap();
            fs::rename(place.path("next"), place.path("current")).unwrap();
            place.change().await;
        }
        fs::write(place.path("releases/3/etc/a.yaml"), "4").unwrap();
        place.change().await;
    }

    #[tokio::test]
    async fn other_paths_can_be_watched_instead() {
        let mut place = Place::watching(root(), &["a.yaml"]);
        place._watcher.set_paths(vec![place.path("b.yaml")]).unwrap();
        fs::write(place.path("b.yaml"), "1").unwrap();
        place.change().await;
    }

    #[tokio::test]
    async fn dropping_the_watcher_ends_it() {
        let Place { _watcher, mut changed, .. } = Place::watching(root(), &["a.yaml"]);
        drop(_watcher);
        let ended = tokio::time::timeout(Duration::from_secs(20), changed.changed()).await;
        assert!(ended.expect("the thread ends").is_err());
    }

    #[test]
    fn readers_and_neighbours_are_no_changes() {
        let root = root();
        let real = fs::canonicalize(root.path()).unwrap();
        fs::create_dir(real.join("protos")).unwrap();
        let targets = Targets::of(&[real.join("a.yaml"), real.join("protos")]);
        let event = |kind, path: &str| Event::new(kind).add_path(real.join(path));
        let made = EventKind::Create(CreateKind::File);
        assert!(targets.concerns(&event(made, "a.yaml")));
        assert!(targets.concerns(&event(made, "..data")));
        assert!(targets.concerns(&event(made, "protos/pets/v1/a.proto")));
        assert!(!targets.concerns(&event(made, "b.yaml")));
        assert!(!targets.concerns(&event(made, "protos/.git/index")));
        let read = EventKind::Access(AccessKind::Close(AccessMode::Read));
        assert!(!targets.concerns(&event(read, "a.yaml")));
        assert!(!targets.concerns(&event(EventKind::Access(AccessKind::Open(AccessMode::Any)), "a.yaml")));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(targets.concerns(&event(written, "a.yaml")));
    }
}

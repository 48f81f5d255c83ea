//! Keeps accounts and certificates in a directory that only the gateway reads.

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use rustix::fs::Access;
use sha2::Digest;
use sha2::Sha256;

/// One directory. Several gateways may share it: each file is written beside its place and renamed, so it is
/// whole at any time.
#[derive(Debug, Clone)]
pub(super) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Opens a directory, which is made where there is none, and proves that it can be written.
    ///
    /// # Errors
    /// A sentence that says why it can't.
    pub(super) fn open(directory: &Path) -> Result<Self, String> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)
            .map_err(|error| format!("the directory can't be made: {error}"))?;
        let store = Self { directory: directory.into() };
        let probed = store.beside("probe").and_then(|(file, path)| {
            drop(file);
            fs::remove_file(path)
        });
        probed.map_err(|error| format!("the directory can't be written: {error}"))?;
        let mode = fs::metadata(directory).map(|metadata| metadata.permissions().mode()).unwrap_or_default();
        if mode & OTHERS != 0 {
            let shown = directory.display();
            tracing::warn!("{shown} is open to others than the gateway: `chmod 700 {shown}`");
        }
        Ok(store)
    }

    /// Whether [`Store::open`] would succeed, without making anything.
    ///
    /// # Errors
    /// A sentence that says why it wouldn't.
    pub(super) fn probe(directory: &Path) -> Result<(), String> {
        let there =
            directory.ancestors().map(|path| if path == Path::new("") { Path::new(".") } else { path });
        let Some(there) = there.into_iter().find(|path| path.exists()) else {
            return Err("the directory can't be made".into());
        };
        if !there.is_dir() {
            return Err(format!("{} is no directory", there.display()));
        }
        rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| format!("{} can't be written: {error}", there.display()))
    }

    /// Reads a file; `None` where there is none.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.directory.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        if file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)? as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other(format!("it is over {FILE_BYTES_MAX} bytes")));
        }
        Ok(Some(bytes))
    }

    /// Writes a file in one step: whoever reads it finds the old one or the new one.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (mut file, beside) = self.beside(name)?;
        let written = file
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&beside, self.directory.join(name)));
        if written.is_err() {
            // What is left of it would be a key that nobody needs.
            let _ = fs::remove_file(&beside);
        }
        written?;
        // The name too is to survive a loss of power.
        File::open(&self.directory)?.sync_all()
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Where a file is, for logs.
    pub(super) fn shown(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// A new file that no other process or thread has.
    fn beside(&self, name: &str) -> io::Result<(File, PathBuf)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(FILE_MODE);
        for _ in 0..ATTEMPTS {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = self.directory.join(format!(".{name}.{}.{number}.new", std::process::id()));
            match options.open(&path) {
                Ok(file) => return Ok((file, path)),
                // Left by a process of the same number that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("too many files of processes that were killed are left there"))
    }
}

/// The file of the certificate that this authority issued for these domains: readable by its beginning, and
/// another one for any other set.
pub(super) fn certificate_name(directory: &str, domains: &[String]) -> String {
    let first = domains.first().map(String::as_str).unwrap_or_default();
    let is_safe = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let first: String = first.chars().filter(is_safe).take(NAME_BYTES_MAX).collect();
    let first = first.trim_start_matches('.');
    let parts = std::iter::once(directory).chain(domains.iter().map(String::as_str));
    format!("{first}-{}.pem", digest(parts))
}

/// The file of the account at this authority.
pub(super) fn account_name(directory: &str, email: Option<&str>) -> String {
    format!("account-{}.json", digest([directory].into_iter().chain(email)))
}

fn digest<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The gateway alone reads and writes.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
/// What others than the owner may do.
const OTHERS: u32 = 0o077;
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How much of a domain a file's name has.
const NAME_BYTES_MAX: usize = 100;
/// How many names are tried for a new file.
const ATTEMPTS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn names(path: &Path) -> Vec<String> {
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn files_and_the_directory_are_for_the_gateway_alone_and_replaced_whole() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("data/acme");
        let store = Store::open(&directory).unwrap();
        assert_eq!(mode(&directory), 0o700);
        assert!(names(&directory).is_empty(), "the probe is gone");
        assert_eq!(store.read("a.pem").unwrap(), None);
        store.write("a.pem", b"one").unwrap();
        store.write("a.pem", b"two").unwrap();
        assert_eq!(store.read("a.pem").unwrap().unwrap(), b"two");
        assert_eq!(mode(&directory.join("a.pem")), 0o600);
        assert_eq!(names(&directory), ["a.pem"], "nothing is left beside it");
        store.remove("a.pem").unwrap();
        store.remove("a.pem").unwrap();
        assert_eq!(store.read("a.pem").unwrap(), None);
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_a_fault_also_beforehand() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            assert!(Store::open(&path).unwrap_err().contains("can't be made"));
            assert!(Store::probe(&path).unwrap_err().contains("is no directory"));
        }
        let missing = root.path().join("not/yet");
        Store::probe(&missing).unwrap();
        assert!(!missing.exists() && !root.path().join("not").exists(), "nothing was made");
        Store::probe(Path::new("not-there")).unwrap();
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        fs::create_dir(root.path().join("a.pem")).unwrap();
        fs::write(root.path().join("a.pem/x"), "").unwrap();
        store.write("a.pem", b"new").unwrap_err();
        assert_eq!(names(root.path()), ["a.pem"]);
        store.read("a.pem").unwrap_err();
    }

    #[test]
    fn names_are_safe_and_differ_by_what_they_are_of() {
        let of = |directory: &str, domains: &[&str]| {
            certificate_name(directory, &domains.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        let name = of("https://a/", &["api.example.com", "b.example.com"]);
        assert!(name.starts_with("api.example.com-") && name.ends_with(".pem"), "{name}");
        let others = [
            of("https://b/", &["api.example.com", "b.example.com"]),
            of("https://a/", &["api.example.com"]),
            of("https://a/", &["api.example.comb.example.com"]),
        ];
        assert!(!others.contains(&name));
        for hostile in ["../../etc/passwd", "..", "a/b", "a\0b", &"x".repeat(300)] {
            let name = of("https://a/", &[hostile]);
            assert!(!name.contains(['/', '\0']) && !name.starts_with('.') && name.len() < 200, "{name}");
        }
        assert_ne!(account_name("https://a/", None), account_name("https://a/", Some("x@a")));
    }
}

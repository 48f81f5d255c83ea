//! A store in one file of this machine, by redb.

use std::fs;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::path::PathBuf;

use redb::Database;
use redb::DatabaseError;
use redb::ReadableDatabase;
use redb::ReadableTable;
use redb::StorageBackend;
use redb::TableDefinition;
use redb::backends::InMemoryBackend;

use super::Batch;
use super::Entry;
use super::Store;
use super::StoreError;
use super::Table;

/// The version of the format that this program writes, and the newest that it reads.
pub const FORMAT: u64 = 1;

/// Facts about the file itself.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
const CACHE_BYTES: usize = 16 << 20;
const FILE_MODE: u32 = 0o600;

const fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

/// One file, open in this process alone.
#[derive(Debug)]
pub struct Embedded {
    path: PathBuf,
    database: Database,
}

impl Embedded {
    /// Opens the store at `path`, which is made, with its directory, where there is none. It is made whole beside
    /// its place before it gets its name, so a file that is there and isn't a store is never the trace of a crash:
    /// it is refused.
    ///
    /// # Errors
    /// Where the file can't be made, is in use, is damaged, or has a newer format.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        match fs::symlink_metadata(path) {
            Ok(_) => Self::open_existing(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(path)?;
                Self::open_existing(path)
            }
            Err(error) => Err(io_error(path, &error)),
        }
    }

    /// Opens the store at `path` only if it is there.
    ///
    /// # Errors
    /// As [`Embedded::open`], and where there is no file.
    pub fn open_existing(path: &Path) -> Result<Self, StoreError> {
        let length = fs::metadata(path).map_err(|error| io_error(path, &error))?.len();
        if length == 0 {
            return Err(damaged(path, "it is empty"));
        }
        let store = guarded(path, || {
            let database = Database::builder()
                .set_cache_size(CACHE_BYTES)
                .open(path)
                .map_err(|error| open_error(path, error))?;
            Ok(Self { path: path.into(), database })
        })?;
        match guarded(path, || store.format())? {
            FORMAT => Ok(store),
            found if FORMAT < found => Err(StoreError::Newer { path: path.into(), found, known: FORMAT }),
            found => Err(damaged(path, format!("it says it has format {found}, which never was"))),
        }
    }

    /// Reads the whole file and compares its checksums. The file stays as it is: redb would mend it by going back to
    /// an older state, so it is given a copy in memory.
    ///
    /// # Errors
    /// What is damaged.
    pub fn check(&self) -> Result<(), StoreError> {
        let path = &self.path;
        let copy = InMemoryBackend::new();
        let copied = fs::read(path).and_then(|bytes| {
            copy.set_len(bytes.len() as u64)?;
            copy.write(0, &bytes)
        });
        copied.map_err(|error| io_error(path, &error))?;
        let sound = guarded(path, || {
            let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(copy);
            let mut database = database.map_err(|error| open_error(path, error))?;
            database.check_integrity().map_err(|error| open_error(path, error))
        })?;
        if sound { Ok(()) } else { Err(damaged(path, "checksums don't match what is stored")) }
    }

    fn format(&self) -> Result<u64, StoreError> {
        let read = self.database.begin_read().map_err(|error| self.failed(error))?;
        let meta = read.open_table(META).map_err(|error| damaged(&self.path, error.to_string()))?;
        let format = meta.get(FORMAT_KEY).map_err(|error| self.failed(error))?;
        format.map(|format| format.value()).ok_or_else(|| damaged(&self.path, "it doesn't say its format"))
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        match error.into() {
            redb::Error::Corrupted(reason) => damaged(&self.path, reason),
            error => StoreError::Io { path: self.path.clone(), reason: error.to_string() },
        }
    }

    /// Reads a table in one consistent view.
    fn read<T>(
        &self,
        table: Table,
        read: impl FnOnce(&redb::ReadOnlyTable<&'static [u8], &'static [u8]>) -> Result<T, redb::StorageError>,
    ) -> Result<T, StoreError> {
        guarded(&self.path, || {
            let view = self.database.begin_read().map_err(|error| self.failed(error))?;
            let table = view.open_table(definition(table)).map_err(|error| self.failed(error))?;
            read(&table).map_err(|error| self.failed(error))
        })
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let write = self.database.begin_write().map_err(|error| self.failed(error))?;
        for cell in &batch.expected {
            let table = write.open_table(definition(cell.table)).map_err(|error| self.failed(error))?;
            let found = table.get(cell.key.as_slice()).map_err(|error| self.failed(error))?;
            if found.as_ref().map(|found| found.value()) != cell.value.as_deref() {
                return Err(StoreError::Conflict { table: cell.table, key: cell.key.clone() });
            }
        }
        for cell in &batch.written {
            let mut table = write.open_table(definition(cell.table)).map_err(|error| self.failed(error))?;
            match &cell.value {
                Some(value) => table.insert(cell.key.as_slice(), value.as_slice()).map(drop),
                None => table.remove(cell.key.as_slice()).map(drop),
            }
            .map_err(|error| self.failed(error))?;
        }
        write.commit().map_err(|error| self.failed(error))
    }
}

impl Store for Embedded {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(table, |table| Ok(table.get(key)?.map(|value| value.value().to_vec())))
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let from = match after {
            Some(after) if prefix <= after => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.read(table, |table| {
            let mut found = Vec::new();
            for entry in table.range::<&[u8]>((from, Bound::Unbounded))?.take(limit) {
                let (key, value) = entry?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(found)
        })
    }

    fn last(&self, table: Table, prefix: &[u8]) -> Result<Option<Entry>, StoreError> {
        let end = end_of(prefix);
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.read(table, |table| {
            let entry = table.range::<&[u8]>((Bound::Included(prefix), end))?.next_back().transpose()?;
            Ok(entry.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
        })
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        guarded(&self.path, || self.write(batch))
    }
}

/// Makes an empty store beside `path`, has it written to the disk, and gives it its name.
fn make(path: &Path) -> Result<(), StoreError> {
    let directory = parent(path);
    let io = |error: io::Error| io_error(path, &error);
    make_directory(directory).map_err(io)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = directory.join(name);
    let _ = fs::remove_file(&beside); // of a crash; where it can't be removed, the next line says so
    let made = fill(&beside).map_err(|error| io_error(path, &error)).and_then(|()| {
        // A link, unlike a rename, takes nobody else's place: of two that start at once, one made the store.
        match fs::hard_link(&beside, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io(error)),
            _ => Ok(()),
        }
    });
    let _ = fs::remove_file(&beside); // a second name of the store, or of nothing
    made?;
    sync(directory).map_err(io)
}

/// Makes a directory with those it is in, and has each of them written to the disk.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = parent(directory);
    make_directory(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync(parent),
    }
}

/// The directory that `path` is in; a bare name is in the working directory.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or_else(|| Path::new("."))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes an empty store that only the gateway's user reads: certificates have keys.
fn fill(path: &Path) -> Result<(), redb::Error> {
    File::options().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    let database = Database::create(path)?;
    let write = database.begin_write()?;
    write.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
    for table in Table::ALL {
        write.open_table(definition(table))?;
    }
    write.commit()?;
    drop(database);
    File::open(path)?.sync_all()?;
    Ok(())
}

/// The least key after all keys that begin with `prefix`.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let at = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=at].to_vec();
    end[at] += 1;
    Some(end)
}

/// Runs what reads the file. A damaged file may fail an assertion of redb: that is damage, not the end of the
/// gateway.
fn guarded<T>(path: &Path, run: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    panic::catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(damaged(path, "what is stored contradicts itself")))
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.into()),
        DatabaseError::Storage(redb::StorageError::Io(error))
            if error.kind() != io::ErrorKind::InvalidData =>
        {
            match error.kind() {
                io::ErrorKind::UnexpectedEof => damaged(path, "it is cut short"),
                _ => io_error(path, &error),
            }
        }
        error => damaged(path, error.to_string()),
    }
}

fn damaged(path: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Damaged { path: path.into(), reason: reason.into() }
}

fn io_error(path: &Path, error: &dyn std::error::Error) -> StoreError {
    StoreError::Io { path: path.into(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn store() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("data/transom.redb");
        (directory, path)
    }

    fn put(store: &Embedded, key: &str, value: &str) {
        let mut batch = Batch::default();
        store.commit(batch.put(Table::Resources, key, value)).expect("it is written");
    }

    fn keys(store: &Embedded, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let found = store.scan(Table::Resources, prefix.as_bytes(), after.map(str::as_bytes), limit);
        let found = found.expect("it is read");
        found.into_iter().map(|(key, _)| String::from_utf8(key).expect("text")).collect()
    }

    #[test]
    fn what_was_committed_is_there_after_reopening() {
        let (_directory, path) = store();
        let opened = Embedded::open(&path).expect("it is made");
        put(&opened, "upstreams/pets", "one");
        drop(opened);
        let opened = Embedded::open(&path).expect("it is opened again");
        assert_eq!(opened.get(Table::Resources, b"upstreams/pets").unwrap(), Some(b"one".to_vec()));
        assert_eq!(
            opened.get(Table::Labels, b"upstreams/pets").unwrap(),
            None,
            "each table has its own keys"
        );
        let beside = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1, "nothing is left beside the store");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE, "keys are for the gateway alone");
    }

    #[test]
    fn a_batch_whose_expectation_fails_changes_nothing() {
        let (_directory, path) = store();
        let opened = Embedded::open(&path).expect("it is made");
        put(&opened, "a", "1");
        let mut batch = Batch::default();
        batch.expect(Table::Resources, "a", Some(b"2".to_vec())).put(Table::Resources, "b", "new");
        let error = opened.commit(&batch).expect_err("a is 1");
        assert_eq!(
            error.to_string(),
            "resources a was changed meanwhile: read it again and repeat the change"
        );
        let mut batch = Batch::default();
        batch.expect(Table::Resources, "a", None).delete(Table::Resources, "a");
        opened.commit(&batch).expect_err("a is there");
        assert_eq!(keys(&opened, "", None, 10), ["a"]);
        let mut batch = Batch::default();
        batch
            .expect(Table::Resources, "a", Some(b"1".to_vec()))
            .expect(Table::Resources, "b", None)
            .delete(Table::Resources, "a")
            .put(Table::Resources, "b", "new");
        opened.commit(&batch).expect("both hold");
        assert_eq!(keys(&opened, "", None, 10), ["b"]);
    }

    #[test]
    fn scans_page_through_a_prefix() {
        let (_directory, path) = store();
        let opened = Embedded::open(&path).expect("it is made");
        for key in ["a/1", "b/1", "b/2", "b/3", "c/1", "b0"] {
            put(&opened, key, key);
        }
        assert_eq!(keys(&opened, "b/", None, 2), ["b/1", "b/2"]);
        assert_eq!(keys(&opened, "b/", Some("b/2"), 2), ["b/3"]);
        assert_eq!(keys(&opened, "b/", Some("a/1"), 1), ["b/1"], "what is before the prefix skips nothing");
        assert_eq!(keys(&opened, "b/", Some("z"), 9), [""; 0]);
        let last = |prefix: &[u8]| opened.last(Table::Resources, prefix).unwrap().map(|(key, _)| key);
        assert_eq!(last(b"b/"), Some(b"b/3".to_vec()));
        assert_eq!(last(b""), Some(b"c/1".to_vec()));
        assert_eq!(last(b"\xff"), None);
        assert_eq!(end_of(b"a\xff\xff"), Some(b"b".to_vec()));
    }

    #[test]
    fn one_process_has_a_store_at_a_time() {
        let (_directory, path) = store();
        let opened = Embedded::open(&path).expect("it is made");
        let error = Embedded::open(&path).expect_err("it is open");
        assert!(matches!(error, StoreError::InUse(_)), "{error}");
        drop(opened);
        Embedded::open(&path).expect("it is free again");
    }

    #[test]
    fn a_newer_format_is_refused_with_a_sentence() {
        let (_directory, path) = store();
        drop(Embedded::open(&path).expect("it is made"));
        let database = Database::open(&path).expect("redb opens it");
        let write = database.begin_write().expect("it can be written");
        write.open_table(META).expect("a table").insert(FORMAT_KEY, 7).expect("written");
        write.commit().expect("committed");
        drop(database);
        let error = Embedded::open(&path).expect_err("it is newer").to_string();
        assert!(error.contains("has format 7, and this Transom reads up to format 1"), "{error}");
    }

    #[test]
    fn what_is_no_store_is_refused_and_left_as_it_is() {
        let (_directory, path) = store();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for text in ["", "listeners: []\n", &"x".repeat(100_000)] {
            fs::write(&path, text).unwrap();
            let error = Embedded::open(&path).expect_err("it is no store");
            assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let missing = Embedded::open_existing(&path.with_extension("other")).expect_err("it isn't there");
        assert!(matches!(missing, StoreError::Io { .. }), "{missing}");
    }

    #[test]
    fn a_damaged_store_never_panics_and_never_reads_as_something_else() {
        let (_directory, path) = store();
        let opened = Embedded::open(&path).expect("it is made");
        for number in 0..200 {
            put(&opened, &format!("key/{number:03}"), &"value ".repeat(50));
        }
        drop(opened);
        let sound = fs::read(&path).unwrap();
        let (mut cuts, mut noticed_cuts, mut noticed_fills) = (0, 0, 0);
        let step = sound.len() / 120;
        for at in (0..sound.len()).step_by(step) {
            let mut bytes = sound.clone();
            let cut = at % (2 * step) == 0;
            cuts += u32::from(cut);
            if cut {
                bytes.truncate(at);
            } else {
                let end = bytes.len().min(at + 64);
                bytes[at..end].fill(0xa5);
            }
            fs::write(&path, &bytes).unwrap();
            let read = Embedded::open(&path).and_then(|store| {
                store.check()?;
                store.scan(Table::Resources, b"", None, 1_000)
            });
            match read {
                Ok(entries) => {
                    assert_eq!(entries.len(), 200, "damage at {at}: an unused page");
                    assert!(entries.iter().all(|(_, value)| *value == "value ".repeat(50).as_bytes()));
                }
                Err(_) if cut => noticed_cuts += 1,
                Err(_) => noticed_fills += 1,
            }
        }
        assert_eq!(noticed_cuts, cuts, "each cut is noticed");
        assert!(20 <= noticed_fills, "damage of a page that is used is noticed: {noticed_fills}");
    }
}

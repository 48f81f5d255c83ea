//! Reads `.proto` files and descriptor sets from disk, within limits.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use bytes::Bytes;

use crate::schema::Fault;
use crate::schema::Limits;

/// Reads a directory of `.proto` files, each named by its path from there, or a single such file, named by
/// its last part. Hidden entries are passed over, symbolic links followed. Blocks.
///
/// # Errors
///
/// What can't be read, links that lead back, and more than `limits` allow.
pub fn protos(path: &Path, limits: &Limits) -> Result<Vec<(String, Vec<u8>)>, Vec<Fault>> {
    let metadata = fs::metadata(path).map_err(|error| vec![unreadable(path, &error)])?;
    let mut reading = Reading { limits, files: BTreeMap::new(), bytes: 0, faults: Vec::new() };
    if metadata.is_dir() {
        reading.directory(path, "", &mut Vec::new());
    } else {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        reading.file(path, name);
    }
    if reading.files.is_empty() && reading.faults.is_empty() {
        let problem = "there is no .proto file in it";
        reading.faults.push(Fault::new(
            path.display().to_string(),
            problem,
            "name the directory that imports start from",
        ));
    }
    if reading.faults.is_empty() { Ok(reading.files.into_iter().collect()) } else { Err(reading.faults) }
}

/// Reads a descriptor set. Blocks.
///
/// # Errors
///
/// What can't be read, and a file of more than `bytes_max`.
pub fn descriptor_set(path: &Path, limits: &Limits) -> Result<Bytes, Vec<Fault>> {
    match read(path, limits.bytes_max) {
        Ok(Some(bytes)) => Ok(bytes.into()),
        Ok(None) => Err(vec![too_long(path, limits.bytes_max)]),
        Err(error) => Err(vec![unreadable(path, &error)]),
    }
}

struct Reading<'a> {
    limits: &'a Limits,
    /// By import name.
    files: BTreeMap<String, Vec<u8>>,
    bytes: usize,
    faults: Vec<Fault>,
}

impl Reading<'_> {
    /// `open` has the real paths of the directories above.
    fn directory(&mut self, path: &Path, prefix: &str, open: &mut Vec<PathBuf>) {
        let (real, entries) = match fs::canonicalize(path).and_then(|real| Ok((real, fs::read_dir(path)?))) {
            Ok(found) => found,
            Err(error) => return self.faults.push(unreadable(path, &error)),
        };
        if open.contains(&real) {
            let problem = "this symbolic link leads back to a directory above it";
            return self.faults.push(Fault::new(path.display().to_string(), problem, "remove the link"));
        }
        if self.limits.directory_depth_max < open.len() {
            let problem = format!("it is more than {} directories deep", self.limits.directory_depth_max);
            return self.faults.push(Fault::new(
                path.display().to_string(),
                problem,
                "name a directory further down",
            ));
        }
        open.push(real);
        for (entries_read, entry) in entries.enumerate() {
            if self.is_full(path, entries_read) {
                break;
            }
            match entry {
                Ok(entry) => self.entry(&entry, prefix, open),
                Err(error) => self.faults.push(unreadable(path, &error)),
            }
        }
        open.pop();
    }

    fn entry(&mut self, entry: &fs::DirEntry, prefix: &str, open: &mut Vec<PathBuf>) {
        let path = entry.path();
        let name = entry.file_name();
        // Among the hidden are the directories that a mounted ConfigMap's links point to.
        if name.as_encoded_bytes().starts_with(b".") {
            return;
        }
        let is_proto = path.extension().is_some_and(|extension| extension == "proto");
        let Some(name) = name.to_str() else {
            if is_proto {
                let problem = "its name is not UTF-8";
                self.faults.push(Fault::new(path.display().to_string(), problem, "rename it"));
            }
            return;
        };
        let name = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => self.directory(&path, &name, open),
            Ok(_) if is_proto => self.file(&path, name),
            Ok(_) => (),
            Err(error) if is_proto || error.kind() != io::ErrorKind::NotFound => {
                self.faults.push(unreadable(&path, &error));
            }
            Err(_) => (), // a dangling link to something that is no .proto file
        }
    }

    fn file(&mut self, path: &Path, name: String) {
        match read(path, self.limits.file_bytes_max) {
            Ok(Some(bytes)) => {
                self.bytes = self.bytes.saturating_add(bytes.len());
                self.files.insert(name, bytes);
            }
            Ok(None) => self.faults.push(too_long(path, self.limits.file_bytes_max)),
            Err(error) => self.faults.push(unreadable(path, &error)),
        }
    }

    fn is_full(&mut self, path: &Path, entries_read: usize) -> bool {
        let limits = self.limits;
        let problem = if limits.files_max < self.files.len() {
            format!("there are more than {} .proto files", limits.files_max)
        } else if limits.bytes_max < self.bytes {
            format!("the .proto files have more than {} bytes together", limits.bytes_max)
        } else if ENTRIES_MAX < entries_read {
            format!("a directory has more than {ENTRIES_MAX} entries")
        } else {
            return limits.faults_max < self.faults.len();
        };
        if self.faults.iter().all(|fault| fault.problem != problem) {
            self.faults.push(Fault::new(
                path.display().to_string(),
                problem,
                "name a directory further down",
            ));
        }
        true
    }
}

/// The bytes of a regular file; none if there are more than `bytes_max`.
fn read(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    // Opening a pipe would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take((bytes_max as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= bytes_max).then_some(bytes))
}

fn unreadable(path: &Path, error: &io::Error) -> Fault {
    let help = match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "let this program read it",
        _ => "mend it, or name another path",
    };
    Fault::new(path.display().to_string(), format!("it can't be read: {error}").to_lowercase(), help)
}

fn too_long(path: &Path, bytes_max: usize) -> Fault {
    Fault::new(path.display().to_string(), format!("it has more than {bytes_max} bytes"), "split it")
}

/// Entries of one directory, whatever they are.
const ENTRIES_MAX: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        root
    }

    fn names(root: &Path, limits: &Limits) -> Vec<String> {
        protos(root, limits).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    fn problem(root: &Path, limits: &Limits) -> String {
        protos(root, limits).unwrap_err()[0].to_string()
    }

    #[test]
    fn files_are_named_from_the_root() {
        let root = tree(&["pets/v1/pets.proto", "a.proto", "README.md", ".git/x.proto"]);
        assert_eq!(names(root.path(), &Limits::default()), ["a.proto", "pets/v1/pets.proto"]);
        assert_eq!(names(&root.path().join("pets/v1/pets.proto"), &Limits::default()), ["pets.proto"]);
    }

    #[test]
    fn a_mounted_config_map_is_read_once() {
        let root = tree(&["..2024/pets.proto"]);
        std::os::unix::fs::symlink("..2024", root.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/pets.proto", root.path().join("pets.proto")).unwrap();
        assert_eq!(names(root.path(), &Limits::default()), ["pets.proto"]);
    }

    #[test]
    fn links_that_lead_back_are_refused() {
        let root = tree(&["a/b/c.proto"]);
        std::os::unix::fs::symlink("../..", root.path().join("a/b/up")).unwrap();
        assert!(problem(root.path(), &Limits::default()).contains("leads back"));
        let root = tree(&["b.proto"]);
        std::os::unix::fs::symlink("a.proto", root.path().join("a.proto")).unwrap();
        assert!(problem(root.path(), &Limits::default()).contains("it can't be read"));
    }

    #[test]
    fn limits_hold() {
        let root = tree(&["a.proto", "b.proto", "c/c/c/c.proto"]);
        let limits = Limits::default();
        assert!(
            problem(root.path(), &Limits { files_max: 1, ..limits }).contains("more than 1 .proto files")
        );
        assert!(problem(root.path(), &Limits { file_bytes_max: 3, ..limits }).contains("more than 3 bytes"));
        assert!(
            problem(root.path(), &Limits { bytes_max: 3, ..limits }).contains("more than 3 bytes together")
        );
        assert!(
            problem(root.path(), &Limits { directory_depth_max: 2, ..limits }).contains("2 directories deep")
        );
        assert!(problem(&root.path().join("none"), &limits).contains("check the path"));
        assert!(problem(tree(&["x.txt"]).path(), &limits).contains("no .proto file"));
        assert!(descriptor_set(root.path(), &limits).unwrap_err()[0].problem.contains("not a regular file"));
    }
}

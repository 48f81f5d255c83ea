//! What is uploaded: a zip of `.proto` files or a descriptor set, and where it is from.

use std::io::Cursor;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use zip::CompressionMethod;
use zip::DateTime;
use zip::ZipWriter;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;

use crate::admin::HttpBody;
use crate::cli::failure::Failure;
use crate::schema::Fault;
use crate::schema::Limits;
use crate::schema::source;

/// Reads what is to be uploaded: the `.proto` files of a directory, a single one, or a descriptor set.
pub(super) fn read(path: &Path) -> Result<HttpBody, Failure> {
    let limits = Limits::default();
    let is_proto = path.extension().is_some_and(|extension| extension == "proto");
    if !path.is_dir() && !is_proto {
        let set = source::descriptor_set(path, &limits).map_err(|faults| faulty(&faults))?;
        return Ok(body("application/x-protobuf", set.into()));
    }
    let files = source::protos(path, &limits).map_err(|faults| faulty(&faults))?;
    let zip = zipped(&files)
        .map_err(|error| Failure::unasked(format_args!("{} can't be zipped: {error}", path.display())))?;
    Ok(body("application/zip", zip))
}

fn body(content_type: &str, data: Vec<u8>) -> HttpBody {
    HttpBody { content_type: content_type.into(), data, extensions: Vec::new() }
}

fn faulty(faults: &[Fault]) -> Failure {
    Failure::Unasked(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// A zip that depends on names and contents alone, so that the same files are the same bytes everywhere.
fn zipped(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, ZipError> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        zip.start_file(name.as_str(), options)?;
        zip.write_all(text)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// The commit that a directory is checked out at, with `-dirty` where its files differ from that; none where git
/// doesn't know it or doesn't answer soon.
pub(super) fn revision(directory: &Path) -> Option<String> {
    if !directory.is_dir() {
        return None;
    }
    let child = Command::new("git")
        .arg("-C")
        .arg(directory)
        // A repository may name a program that is run for a status.
        .args(["-c", "core.fsmonitor=false"])
        .args(["status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--", "."])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    commit(&said(child, GIT_WAIT)?)
}

/// What a process writes until it ends, or the first of it; none if that takes longer than `wait`. The process is
/// ended.
fn said(mut child: Child, wait: Duration) -> Option<Vec<u8>> {
    let stdout = child.stdout.take();
    let (tell, told) = mpsc::sync_channel(1);
    // The thread ends with the process.
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let read = stdout.map(|stdout| stdout.take(GIT_BYTES_MAX).read_to_end(&mut said));
        // Nobody may wait any longer.
        let _ = tell.send(matches!(read, Some(Ok(_))).then_some(said));
    });
    let said = told.recv_timeout(wait).ok().flatten();
    // It may have ended already.
    let _ = child.kill();
    let _ = child.wait();
    said
}

/// The commit in what `git status --porcelain=v2 --branch` says.
fn commit(status: &[u8]) -> Option<String> {
    let mut lines = status.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let commit = lines.find_map(|line| line.strip_prefix(b"# branch.oid "))?;
    let is_commit = matches!(commit.len(), 40 | 64) && commit.iter().all(u8::is_ascii_hexdigit);
    let dirty = if lines.any(|line| !line.starts_with(b"# ")) { "-dirty" } else { "" };
    is_commit.then(|| format!("{}{dirty}", String::from_utf8_lossy(commit)))
}

const GIT_WAIT: Duration = Duration::from_secs(2);
/// More than this is a directory that differs, whatever follows.
const GIT_BYTES_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::fs;

    use zip::ZipArchive;

    use super::*;

    fn files(names: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for name in names {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("// {name}\n").repeat(100)).unwrap();
        }
        root
    }

    #[test]
    fn a_directory_is_the_same_zip_wherever_and_whenever_it_is() {
        let one = read(files(&["b/v1/b.proto", "a.proto", "README.md", ".git/x.proto"]).path()).unwrap();
        let later = files(&["a.proto", "b/v1/b.proto", "b/notes.txt"]);
        let old = fs::File::options().write(true).open(later.path().join("a.proto")).unwrap();
        old.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
        let other = read(later.path()).unwrap();
        assert_eq!(one, other);
        assert_eq!(one.content_type, "application/zip");

        let mut archive = ZipArchive::new(Cursor::new(one.data)).unwrap();
        let names: Vec<_> = archive.file_names().map(str::to_owned).collect();
        assert_eq!(names, ["a.proto", "b/v1/b.proto"]);
        let mut text = String::new();
        archive.by_name("b/v1/b.proto").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "// b/v1/b.proto\n".repeat(100));
    }

    #[test]
    fn a_file_is_a_descriptor_set_unless_its_name_says_proto() {
        let root = files(&["a.proto", "image.binpb"]);
        let one = read(&root.path().join("a.proto")).unwrap();
        assert_eq!(
            ZipArchive::new(Cursor::new(one.data)).unwrap().file_names().collect::<Vec<_>>(),
            ["a.proto"]
        );
        let set = read(&root.path().join("image.binpb")).unwrap();
        assert_eq!(
            (set.content_type.as_str(), set.data.starts_with(b"// image")),
            ("application/x-protobuf", true)
        );
    }

    #[test]
    fn what_can_not_be_read_is_said() {
        let root = files(&["README.md"]);
        for (path, why) in
            [(root.path().to_owned(), "no .proto file"), (root.path().join("none"), "check the path")]
        {
            let Err(Failure::Unasked(said)) = read(&path) else { panic!("{path:?} is nothing") };
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn a_commit_is_what_git_says_and_nothing_else() {
        let oid = "0123456789abcdef0123456789abcdef01234567";
        let clean = format!("# branch.oid {oid}\n# branch.head main\n");
        assert_eq!(commit(clean.as_bytes()).as_deref(), Some(oid));
        let dirty = format!("{clean}? new.proto\n");
        assert_eq!(commit(dirty.as_bytes()), Some(format!("{oid}-dirty")));
        let cut = format!("# branch.oid {oid}\n1 .M N... 100644");
        assert_eq!(commit(cut.as_bytes()), Some(format!("{oid}-dirty")));
        for bad in
            ["", "\n", "# branch.oid (initial)\n", "# branch.oid \n", "# branch.oid 0123\n", "fatal: x\n"]
        {
            assert_eq!(commit(bad.as_bytes()), None, "{bad:?}");
        }
        let strange = [b"# branch.oid ", &[0xff; 40][..], b"\n"].concat();
        assert_eq!(commit(&strange), None);
    }

    #[test]
    fn a_process_that_says_nothing_is_left() {
        // It would wait for its standard input, which stays open.
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(said(child, Duration::from_millis(10)), None);
    }

    #[test]
    fn a_directory_outside_of_git_has_no_revision() {
        let root = files(&["a.proto"]);
        assert_eq!(revision(root.path()), None);
        assert_eq!(revision(&root.path().join("a.proto")), None);
    }
}

//! Reads what was uploaded as a version of a module: a zip of `.proto` files, or a descriptor set.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::io::Read;

use bytes::Bytes;
use zip::ZipArchive;
use zip::result::ZipError;

use crate::schema::Fault;
use crate::schema::Limits;
use crate::schema::Schema;
use crate::schema::compile;

/// What was uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// `.proto` files, named from the root that imports start at.
    Zip(Bytes),
    /// A serialized `google.protobuf.FileDescriptorSet`, such as `protoc` and `buf build` write.
    Set(Bytes),
}

impl Content {
    /// What bytes of a media type are; where it says nothing of use, the bytes do.
    ///
    /// # Errors
    /// Where it is neither; what to send instead.
    pub fn of(media_type: &str, bytes: Bytes) -> Result<Self, String> {
        let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_zip = bytes.starts_with(ZIP) || bytes.starts_with(EMPTY_ZIP);
        match essence.as_str() {
            _ if bytes.is_empty() => Err(format!("nothing was uploaded: send {TAKEN}")),
            "application/zip" | "application/x-zip-compressed" if is_zip => Ok(Self::Zip(bytes)),
            "application/zip" | "application/x-zip-compressed" => {
                Err(format!("the content is no zip archive: send {TAKEN}"))
            }
            "application/x-protobuf" | "application/protobuf" | "application/vnd.google.protobuf" => {
                Ok(Self::Set(bytes))
            }
            "" | "application/octet-stream" if is_zip => Ok(Self::Zip(bytes)),
            "" | "application/octet-stream" => Ok(Self::Set(bytes)),
            _ => {
                let shown: String = essence.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
                Err(format!("a module isn't uploaded as {shown}: send {TAKEN}"))
            }
        }
    }

    /// Unpacks and compiles it. Imports that it lacks are sought in `deps`.
    ///
    /// # Errors
    ///
    /// Every fault that can be found, at least one.
    pub fn compile(self, deps: &[Schema], limits: &Limits) -> Result<Schema, Vec<Fault>> {
        match self {
            Self::Zip(bytes) => {
                compile::protos(unpack(&bytes, limits).map_err(|fault| vec![fault])?, deps, limits)
            }
            Self::Set(bytes) => compile::descriptor_set(&bytes, deps, limits),
        }
    }
}

/// The `.proto` files of an archive, in the order of their names. What else is in it is passed over.
fn unpack(bytes: &[u8], limits: &Limits) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    bounded(bytes)?;
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| unreadable(ARCHIVE, &error))?;
    if ENTRIES_MAX < archive.len() {
        let problem = format!("it has {} entries, and {ENTRIES_MAX} are allowed", archive.len());
        return Err(Fault::new(ARCHIVE, problem, "leave out what is no .proto file"));
    }
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut bytes_left = limits.bytes_max;
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(|error| unreadable(ARCHIVE, &error))?;
        let Some(name) = name_of(entry.name_raw(), entry.is_file(), limits)? else { continue };
        if limits.files_max <= files.len() {
            let problem = format!("there are more than {} .proto files", limits.files_max);
            return Err(Fault::new(ARCHIVE, problem, "upload them as several modules"));
        }
        // What an entry says of its size is its word alone.
        let allowed = limits.file_bytes_max.min(bytes_left);
        let mut text = Vec::new();
        (&mut entry)
            .take(allowed as u64 + 1)
            .read_to_end(&mut text)
            .map_err(|error| Fault::new(&*name, format!("it can't be unpacked: {error}"), AGAIN))?;
        if allowed < text.len() {
            let (what, max) = match allowed == limits.file_bytes_max {
                true => ("it has more than", limits.file_bytes_max),
                false => ("the .proto files have more than", limits.bytes_max),
            };
            return Err(Fault::new(name, format!("{what} {max} bytes"), "split it"));
        }
        bytes_left -= text.len();
        if files.insert(name.clone(), text).is_some() {
            return Err(Fault::new(name, "it is there twice in the archive", "remove one of the two"));
        }
    }
    if files.is_empty() {
        return Err(Fault::new(ARCHIVE, "there is no .proto file in it", "upload at least one"));
    }
    Ok(files.into_iter().collect())
}

/// Refuses an archive whose directory would cost more to read than its files: the reader takes in all of it first, and
/// tries each end of a directory that it finds.
fn bounded(bytes: &[u8]) -> Result<(), Fault> {
    let refused = |problem: String| Err(Fault::new(ARCHIVE, problem, AGAIN));
    let ends: Vec<usize> = memchr::memmem::find_iter(bytes, EMPTY_ZIP).take(ENDS_MAX + 1).collect();
    if ENDS_MAX < ends.len() {
        return refused(format!("it has more than {ENDS_MAX} ends of a directory"));
    }
    // How many entries a directory of 64-bit numbers has, at an offset of 32 bytes.
    for at in memchr::memmem::find_iter(bytes, ZIP64_END).take(ENDS_MAX) {
        let count =
            bytes.get(at + 32..at + 40).and_then(|count| count.try_into().ok()).map(u64::from_le_bytes);
        if count.is_some_and(|count| ENTRIES_MAX as u64 <= count) {
            return refused(format!("it has over {ENTRIES_MAX} entries"));
        }
    }
    Ok(())
}

/// The import name of an entry; `None` for what is no `.proto` file, or hidden.
fn name_of(raw: &[u8], is_file: bool, limits: &Limits) -> Result<Option<String>, Fault> {
    if !is_file || !raw.ends_with(b".proto") {
        return Ok(None);
    }
    let shown = || String::from_utf8_lossy(&raw[..raw.len().min(SHOWN_CHARS)]).escape_debug().to_string();
    let Ok(name) = std::str::from_utf8(raw) else {
        return Err(Fault::new(shown(), "its name is not UTF-8", "rename it"));
    };
    let name = name.strip_prefix("./").unwrap_or(name);
    let parts: Vec<&str> = name.split('/').collect();
    if parts.iter().any(|part| part.starts_with('.') && *part != ".." && *part != ".") {
        return Ok(None);
    }
    if parts.iter().any(|part| matches!(*part, "" | "." | "..")) || name.contains('\\') {
        let problem = "its name is no path below the archive's root";
        return Err(Fault::new(shown(), problem, "name files as imports do, such as pets/v1/pets.proto"));
    }
    if limits.directory_depth_max < parts.len() || NAME_BYTES_MAX < name.len() {
        return Err(Fault::new(shown(), "its name is too long or too deep", "name a directory further down"));
    }
    Ok(Some(name.to_owned()))
}

fn unreadable(file: &str, error: &ZipError) -> Fault {
    Fault::new(file, format!("it is no whole zip archive: {error}").to_lowercase(), AGAIN)
}

const ZIP: &[u8] = b"PK\x03\x04";
const EMPTY_ZIP: &[u8] = b"PK\x05\x06";
const ZIP64_END: &[u8] = b"PK\x06\x06";
/// Ends of a directory: one, and what looks like it by chance in packed bytes.
const ENDS_MAX: usize = 8;
const TAKEN: &str = "a zip of .proto files (application/zip) or a descriptor set (application/x-protobuf)";
const ARCHIVE: &str = "(archive)";
const AGAIN: &str = "pack it anew, with no compression or deflate, without a password";
/// Entries of an archive, whatever they are.
const ENTRIES_MAX: usize = 200_000;
const NAME_BYTES_MAX: usize = 1_000;
const SHOWN_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn packed(files: &[(&str, &[u8])]) -> Bytes {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in files {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(text).unwrap();
        }
        writer.finish().unwrap().into_inner().into()
    }

    const PETS: &[u8] = b"syntax = \"proto3\"; package p; message A {} service S { rpc M(A) returns (A); }";

    fn problem(files: &[(&str, &[u8])], limits: &Limits) -> String {
        Content::Zip(packed(files)).compile(&[], limits).unwrap_err()[0].to_string()
    }

    #[test]
    fn an_archive_is_compiled_by_the_names_of_its_files() {
        let files: &[(&str, &[u8])] = &[
            ("p/a.proto", PETS),
            ("b.proto", b"syntax = \"proto3\"; import \"p/a.proto\"; message B { p.A a = 1; }"),
            ("README.md", b"text"),
            (".git/x.proto", b"no proto"),
        ];
        let content = Content::of("application/zip", packed(files)).unwrap();
        let schema = content.compile(&[], &Limits::default()).unwrap();
        assert!(schema.method("/p.S/M").is_some());
        let names: Vec<_> = schema.files().iter().map(|file| &*file.name).collect();
        assert_eq!(names, ["p/a.proto", "b.proto"]);
        let set = Content::of("application/x-protobuf", schema.descriptor_set()).unwrap();
        assert_eq!(set.compile(&[], &Limits::default()).unwrap().digest(), schema.digest());
    }

    #[test]
    fn the_bytes_say_what_they_are_where_the_type_does_not() {
        let zip = packed(&[("a.proto", PETS)]);
        assert!(matches!(Content::of("application/octet-stream", zip.clone()), Ok(Content::Zip(_))));
        assert!(matches!(Content::of("", Bytes::from_static(b"\n\0")), Ok(Content::Set(_))));
        assert!(matches!(Content::of("Application/ZIP; x=y", zip), Ok(Content::Zip(_))));
        for (kind, bytes) in [("application/zip", "no zip"), ("text/html", "<p>"), ("application/zip", "")] {
            let error = Content::of(kind, Bytes::from_static(bytes.as_bytes())).unwrap_err();
            assert!(error.contains("send a zip of .proto files"), "{error}");
        }
    }

    #[test]
    fn names_stay_below_the_root() {
        for name in ["../a.proto", "/a.proto", "a/../b.proto", "a//b.proto", "a\\b.proto", "./../x.proto"] {
            let problem = problem(&[(name, PETS)], &Limits::default());
            assert!(problem.contains("no path below the archive's root"), "{name}: {problem}");
        }
        let deep = "d/".repeat(40) + "a.proto";
        assert!(problem(&[(&deep, PETS)], &Limits::default()).contains("too deep"));
    }

    #[test]
    fn limits_hold_whatever_an_archive_says() {
        let limits = Limits::default();
        let zeros = vec![b' '; 1 << 20];
        let small = Limits { file_bytes_max: 1 << 10, ..limits };
        assert!(problem(&[("a.proto", &zeros)], &small).contains("it has more than 1024 bytes"));
        let small = Limits { bytes_max: 1 << 10, ..limits };
        assert!(problem(&[("a.proto", PETS), ("b.proto", &zeros)], &small).contains("more than 1024 bytes"));
        let small = Limits { files_max: 1, ..limits };
        assert!(
            problem(&[("a.proto", PETS), ("b.proto", PETS)], &small).contains("more than 1 .proto files")
        );
        assert!(problem(&[("a.txt", PETS)], &limits).contains("no .proto file in it"));
    }

    #[test]
    fn a_directory_that_costs_more_than_its_files_is_refused() {
        let zip = packed(&[("a.proto", PETS)]);
        let mut many = zip.to_vec();
        many.extend(EMPTY_ZIP.repeat(100));
        let problem = Content::Zip(many.into()).compile(&[], &Limits::default()).unwrap_err()[0].to_string();
        assert!(problem.contains("ends of a directory"), "{problem}");
        let mut claims = ZIP64_END.to_vec();
        claims.extend([0; 28]);
        claims.extend(2_000_000_u64.to_le_bytes());
        claims.extend(zip);
        let problem =
            Content::Zip(claims.into()).compile(&[], &Limits::default()).unwrap_err()[0].to_string();
        assert!(problem.contains("entries"), "{problem}");
    }

    #[test]
    fn a_damaged_archive_is_refused() {
        let zip = packed(&[("a.proto", PETS), ("b/c.proto", &PETS.repeat(100))]);
        let mut refused = 0;
        for at in 0..zip.len() {
            let cut = Content::Zip(zip.slice(..at)).compile(&[], &Limits::default());
            assert!(cut.is_err(), "cut at {at}");
            let mut changed = zip.to_vec();
            changed[at] ^= 0x55;
            refused += usize::from(Content::Zip(changed.into()).compile(&[], &Limits::default()).is_err());
        }
        assert!(zip.len() / 2 < refused, "most damage is noticed: {refused} of {}", zip.len());
    }
}

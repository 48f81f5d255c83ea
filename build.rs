//! Compiles `protos/transom/*` to Rust and to descriptor sets, without protoc.
//!
//! Each directory NAME under `protos/transom` becomes `OUT_DIR/NAME/mod.rs`, a tree of modules that is
//! to be included, and `OUT_DIR/NAME.binpb`, the serialized `FileDescriptorSet` with its imports, its
//! options and its comments.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

const HTTP_BODY: &str = "google/api/httpbody.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("protos");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed={}", root.display());
    for set in sorted(&root.join("transom"))?.into_iter().filter(|path| path.is_dir()) {
        compile(&root, &set, &out)?;
    }
    Ok(())
}

/// Compiles the files of one set, `protos/transom/NAME`.
fn compile(root: &Path, set: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let name = set.file_name().and_then(|name| name.to_str()).ok_or("a directory name is not UTF-8")?;
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(protos(set)?)?;
    // These bytes keep custom options such as google.api.http; prost-types would drop them.
    fs::write(out.join(format!("{name}.binpb")), compiler.encode_file_descriptor_set())?;

    // No code for the options in google.api: they are read by reflection. HttpBody is a message that
    // methods carry, and prost has the types of google.protobuf.
    let mut files = compiler.file_descriptor_set();
    files.file.retain(|file| !file.package().starts_with("google.api") || file.name() == HTTP_BODY);
    let code = out.join(name);
    fs::create_dir_all(&code)?;
    tonic_prost_build::configure().out_dir(&code).include_file("mod.rs").compile_fds(files)?;
    Ok(())
}

/// The `.proto` files below a directory, in the order of their names.
fn protos(dir: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for path in sorted(dir)? {
        if path.is_dir() {
            found.extend(protos(&path)?);
        } else if path.extension().is_some_and(|ext| ext == "proto") {
            found.push(path);
        }
    }
    Ok(found)
}

fn sorted(dir: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries = fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort();
    Ok(paths)
}

//! Compiles `proto/bench.proto` to the descriptor set that Envoy's transcoder reads.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::Parser;

#[derive(Parser)]
struct Args {
    /// Where to write the `FileDescriptorSet`.
    out: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let out = Args::parse().out;
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let includes = [here.join("proto"), here.join("../../protos")]; // the latter has google/api
    let mut compiler = protox::Compiler::new(includes)?;
    compiler.include_imports(true).open_file("bench.proto")?;
    if let Some(dir) = out.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(out, compiler.encode_file_descriptor_set())?;
    Ok(())
}

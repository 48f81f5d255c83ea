//! The `transom` program: flags, signals and exit codes.

use std::process::ExitCode;

use transom::cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}

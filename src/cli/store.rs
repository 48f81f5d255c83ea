//! `transom store`: the file of a gateway that doesn't run.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::BufReader;
use std::io::BufWriter;
use std::io::IsTerminal;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::failure::Failure;
use crate::cli::failure::Outcome;
use crate::cli::help;
use crate::cli::output::print;
use crate::store;
use crate::store::Embedded;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::archive;

/// Check, export or import the store of a gateway that doesn't run
#[derive(Debug, Subcommand)]
#[command(after_long_help = help::examples(&[
    "transom store check /var/lib/transom/store.redb",
    "transom store export /var/lib/transom/store.redb backup.transom",
    "transom store export /var/lib/transom/store.redb - | gzip > backup.gz",
    "transom store import new.redb backup.transom",
]))]
pub(super) enum Store {
    /// Read all of a store and compare its checksums
    Check {
        /// The store
        #[arg(value_name = "STORE")]
        path: PathBuf,
    },
    /// Write all of a store to an archive
    Export {
        /// The store
        #[arg(value_name = "STORE")]
        path: PathBuf,
        /// The archive, replaced if it is there; `-` is standard output
        file: PathBuf,
    },
    /// Fill a new store from an archive
    Import {
        /// The store, made if it isn't there
        #[arg(value_name = "STORE")]
        path: PathBuf,
        /// The archive; `-` is standard input
        file: PathBuf,
    },
}

pub(super) fn run(args: &Store) -> Outcome {
    match args {
        Store::Check { path } => check(path)?,
        Store::Export { path, file } => export(path, file)?,
        Store::Import { path, file } => import(path, file)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check(path: &Path) -> Result<(), Failure> {
    let store = Embedded::open_existing(path).map_err(refused)?;
    store.check().map_err(refused)?;
    let mut counts = Vec::new();
    for table in Table::ALL {
        counts.push(format!("{} {}", count(&store, table).map_err(refused)?, table.name()));
    }
    print(&format!("{}: no faults; {}\n", path.display(), counts.join(", ")))
}

fn count(store: &dyn store::Store, table: Table) -> Result<usize, StoreError> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = store.scan(table, b"", after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(count) };
        after = Some(last.clone());
        count += page.len();
    }
}

fn export(path: &Path, file: &Path) -> Result<(), Failure> {
    let store = Embedded::open_existing(path).map_err(refused)?;
    if file == Path::new("-") {
        let out = io::stdout();
        if out.is_terminal() {
            return Err(Failure::unasked("an archive isn't text: name a file, or pipe it on"));
        }
        archive::export(&store, &mut BufWriter::new(out.lock())).map_err(refused)?;
        return Ok(());
    }
    let unwritable =
        |error: io::Error| Failure::Refused(format!("{} can't be written: {error}", file.display()));
    // It has its name only when it is whole.
    let mut partial = file.as_os_str().to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    let partial = PathBuf::from(partial);
    let written = || -> Result<u64, Failure> {
        // It holds keys and what else is secret.
        let out =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial).map_err(unwritable)?;
        let mut out = BufWriter::new(out);
        let records = archive::export(&store, &mut out).map_err(refused)?;
        out.into_inner().map_err(|error| unwritable(error.into_error()))?.sync_all().map_err(unwritable)?;
        std::fs::rename(&partial, file).map_err(unwritable)?;
        Ok(records)
    };
    let records = written().inspect_err(|_| {
        // It may not have been made.
        let _ = std::fs::remove_file(&partial);
    })?;
    print(&format!("{}: {records} entries\n", file.display()))
}

fn import(path: &Path, file: &Path) -> Result<(), Failure> {
    let is_stdin = file == Path::new("-");
    let archive = match is_stdin {
        true => None,
        false => Some(
            File::open(file)
                .map_err(|error| Failure::Refused(format!("{} can't be read: {error}", file.display())))?,
        ),
    };
    let store = Embedded::open(path).map_err(refused)?;
    let records = match archive {
        Some(archive) => archive::import(&store, &mut BufReader::new(archive)),
        None => archive::import(&store, &mut io::stdin().lock()),
    };
    print(&format!("{}: {} entries\n", path.display(), records.map_err(refused)?))
}

fn refused(error: StoreError) -> Failure {
    Failure::Refused(error.to_string())
}

const PAGE: usize = 64;

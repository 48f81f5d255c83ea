//! Export and import of a whole store, for backups, for moves and for older formats.
//!
//! An archive is the line [`MAGIC`], then length-delimited protobuf records, and last a record that says how many
//! there were and their SHA-256: one that was cut short or changed is refused as a whole.

use std::io;
use std::io::Read;
use std::io::Write;

use prost::Message;
use sha2::Digest;
use sha2::Sha256;

use super::Batch;
use super::Store;
use super::StoreError;
use super::Table;

/// The first line of an archive; its number is the version of the format.
pub const MAGIC: &str = "transom store 1\n";

/// The longest record, in bytes: an uploaded module with its key.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

const PAGE: usize = 64;

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(string, tag = "1")]
    table: String,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    value: Vec<u8>,
    /// Of the last record alone: how many came before.
    #[prost(uint64, optional, tag = "4")]
    records: Option<u64>,
    /// Of the last record alone: the SHA-256 of all before.
    #[prost(bytes = "vec", tag = "5")]
    sha256: Vec<u8>,
}

/// Writes all of a store to `out`; says how many entries that were. It reads page after page, so nobody may write
/// to the store meanwhile.
///
/// # Errors
/// Where the store can't be read or `out` can't be written.
pub fn export(store: &dyn Store, out: &mut dyn Write) -> Result<u64, StoreError> {
    let unwritable = |error: io::Error| StoreError::Archive(format!("it can't be written: {error}"));
    out.write_all(MAGIC.as_bytes()).map_err(unwritable)?;
    let mut records = 0;
    let mut hash = Sha256::new();
    for table in Table::ALL {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = store.scan(table, b"", after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, value) in page {
                let record = Record { table: table.name().into(), key, value, ..Record::default() };
                let bytes = record.encode_length_delimited_to_vec();
                hash.update(&bytes);
                out.write_all(&bytes).map_err(unwritable)?;
                records += 1;
            }
        }
    }
    let sha256 = hash.finalize().to_vec();
    let end = Record { records: Some(records), sha256, ..Record::default() };
    out.write_all(&end.encode_length_delimited_to_vec()).map_err(unwritable)?;
    out.flush().map_err(unwritable)?;
    Ok(records)
}

/// Reads an archive into an empty store, in one batch; says how many entries that were. All of it is held in memory
/// until its end has proved it whole.
///
/// # Errors
/// Where the archive isn't whole, the store isn't empty, or the store can't be written. Then nothing is changed.
pub fn import(store: &dyn Store, input: &mut dyn Read) -> Result<u64, StoreError> {
    for table in Table::ALL {
        if store.last(table, b"")?.is_some() {
            return Err(StoreError::Archive(format!(
                "the store has {} already: import into a new one",
                table.name()
            )));
        }
    }
    let mut magic = vec![0; MAGIC.len()];
    exactly(input, &mut magic)?;
    if magic != MAGIC.as_bytes() {
        return Err(StoreError::Archive(format!("it doesn't begin with {:?}", MAGIC.trim_end())));
    }
    let mut batch = Batch::default();
    let mut records = 0;
    let mut hash = Sha256::new();
    loop {
        let (bytes, record) = record(input)?;
        if let Some(told) = record.records {
            let whole = told == records && record.sha256 == hash.finalize().as_slice();
            if !whole || input.read(&mut [0]).is_ok_and(|more| more != 0) {
                return Err(StoreError::Archive("its checksum doesn't match: it was changed or cut".into()));
            }
            store.commit(&batch)?;
            return Ok(records);
        }
        hash.update(&bytes);
        records += 1;
        let table = Table::named(&record.table).ok_or_else(|| {
            StoreError::Archive(format!("it has a table {:?}, which this Transom doesn't know", record.table))
        })?;
        batch.put(table, record.key, record.value);
    }
}

/// The next record, with its bytes as they are stored.
fn record(input: &mut dyn Read) -> Result<(Vec<u8>, Record), StoreError> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        exactly(input, &mut byte)?;
        bytes.push(byte[0]);
        if byte[0] < 0x80 || bytes.len() == prost::length_delimiter_len(usize::MAX) {
            break;
        }
    }
    let length = prost::decode_length_delimiter(bytes.as_slice()).unwrap_or(usize::MAX);
    if RECORD_BYTES_MAX < length {
        return Err(StoreError::Archive(format!("a record is longer than {RECORD_BYTES_MAX} bytes")));
    }
    let from = bytes.len();
    // As it arrives, so that a length alone takes no memory.
    let read = input.take(length as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    if read != length {
        return Err(short());
    }
    let record = Record::decode(&bytes[from..]);
    let record = record.map_err(|error| StoreError::Archive(format!("a record is damaged: {error}")))?;
    Ok((bytes, record))
}

fn exactly(input: &mut dyn Read, bytes: &mut [u8]) -> Result<(), StoreError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => short(),
        _ => unreadable(error),
    })
}

fn short() -> StoreError {
    StoreError::Archive("it is cut short".into())
}

fn unreadable(error: io::Error) -> StoreError {
    StoreError::Archive(format!("it can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::Embedded;
    use super::*;

    fn open(directory: &tempfile::TempDir, name: &str) -> Embedded {
        Embedded::open(&directory.path().join(name)).expect("a store is made")
    }

    fn filled(directory: &tempfile::TempDir) -> (Embedded, Vec<u8>) {
        let store = open(directory, "from");
        let mut batch = Batch::default();
        for number in 0..200 {
            batch.put(Table::Resources, format!("upstreams/{number:03}"), format!("value {number}"));
        }
        batch.put(Table::Blobs, [0, 255, 1], vec![7; 100_000]).put(
            Table::Audit,
            1_u64.to_be_bytes(),
            "first",
        );
        store.commit(&batch).expect("it is written");
        let mut archive = Vec::new();
        assert_eq!(export(&store, &mut archive).expect("it is exported"), 202);
        (store, archive)
    }

    #[test]
    fn an_archive_brings_back_what_was_exported() {
        let directory = tempfile::tempdir().expect("a directory");
        let (from, archive) = filled(&directory);
        let to = open(&directory, "to");
        assert_eq!(import(&to, &mut archive.as_slice()).expect("it is imported"), 202);
        for table in Table::ALL {
            let all = |store: &Embedded| store.scan(table, b"", None, 1_000).expect("it is read");
            assert_eq!(all(&from), all(&to));
        }
        let error = import(&to, &mut archive.as_slice()).expect_err("it isn't empty").to_string();
        let said = "the archive can't be imported: the store has resources already: import into a new one";
        assert_eq!(error, said);
    }

    #[test]
    fn an_archive_that_was_cut_or_changed_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let (_from, archive) = filled(&directory);
        let to = open(&directory, "to");
        for at in (0..archive.len()).step_by(97) {
            import(&to, &mut &archive[..at]).expect_err("it is cut");
            let mut changed = archive.clone();
            changed[at] ^= 0x10;
            import(&to, &mut changed.as_slice()).expect_err("it is changed");
        }
        let mut longer = archive.clone();
        longer.push(0);
        import(&to, &mut longer.as_slice()).expect_err("something follows the end");
        let mut claims = MAGIC.as_bytes().to_vec();
        claims.extend([0xff; 10]);
        import(&to, &mut claims.as_slice()).expect_err("it claims to be endless");
        for table in Table::ALL {
            assert_eq!(to.last(table, b"").expect("it is read"), None);
        }
    }
}

//! The audit log: who changed what, each entry with the hash of the one before it.

use prost::Message;

use crate::admin::access::Actor;
use crate::admin::access::Shown;
use crate::admin::audit_hash::audit_hash;
use crate::admin::pb;
use crate::store::Batch;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;

/// Who asks, and for what.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub(super) actor: std::sync::Arc<Actor>,
    /// The address of the peer.
    pub(super) peer: String,
    /// When, in milliseconds since 1970.
    pub(super) now_ms: u64,
}

/// What is done to a thing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Deed<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) before: &'a str,
    pub(super) after: &'a str,
    pub(super) note: &'a str,
}

/// Writes an entry down in the batch of the change itself. One batch has one entry.
///
/// # Errors
/// Where the store can't be read.
pub(super) fn add(
    store: &dyn Store,
    asker: &Asker,
    deed: Deed<'_>,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let last = store.last(Table::Audit, b"")?;
    // One that can't be read breaks the chain, which `transom audit --verify` tells, but no change.
    let sequence = last.as_ref().map_or(1, |(key, _)| number(key) + 1);
    let last = last.and_then(|(_, value)| pb::AuditEntry::decode(value.as_slice()).ok());
    let mut entry = pb::AuditEntry {
        sequence,
        time: Some(timestamp(asker.now_ms)),
        actor: asker.actor.name.clone(),
        role: Shown(asker.actor.role).to_string(),
        peer: asker.peer.clone(),
        method: deed.method.into(),
        target: deed.target.into(),
        before: deed.before.into(),
        after: deed.after.into(),
        note: deed.note.into(),
        previous: last.map(|last| last.hash).unwrap_or_default(),
        hash: String::new(),
    };
    entry.hash = audit_hash(&entry).iter().map(|byte| format!("{byte:02x}")).collect();
    let key = sequence.to_be_bytes();
    batch.expect(Table::Audit, key, None).put(Table::Audit, key, entry.encode_to_vec());
    Ok(())
}

/// Entries before the number `before`, the newest first.
///
/// # Errors
/// Where the store can't be read.
pub(super) fn list(
    store: &dyn Store,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<pb::AuditEntry>, StoreError> {
    let newest = match before {
        Some(before) => before.saturating_sub(1),
        None => match store.last(Table::Audit, b"")? {
            Some((key, _)) => number(&key),
            None => 0,
        },
    };
    let mut all = Vec::new();
    for sequence in (1..=newest).rev().take(limit) {
        let found = store.get(Table::Audit, &sequence.to_be_bytes())?;
        all.extend(found.and_then(|value| pb::AuditEntry::decode(value.as_slice()).ok()));
    }
    Ok(all)
}

fn number(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

/// Names in a row, as many as are of use: the rest is counted.
pub(super) fn listed(names: &[String]) -> String {
    let shown: Vec<String> =
        names.iter().take(LISTED_MAX).map(|name| name.chars().take(LISTED_CHARS_MAX).collect()).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A moment as protobuf has it.
pub(super) fn timestamp(ms: u64) -> prost_types::Timestamp {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(ms % 1_000 * 1_000_000).unwrap_or(0);
    prost_types::Timestamp { seconds, nanos }
}

const LISTED_MAX: usize = 20;
const LISTED_CHARS_MAX: usize = 200;

//! Resources as the store keeps them.

use std::sync::Arc;

use prost::Message;
use sha2::Digest;
use sha2::Sha256;

use crate::admin::plane::Resources;
use crate::admin::plane::Stored;
use crate::config::resource::Kind;
use crate::config::resource::Resource;
use crate::store::Batch;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;

/// The value of a resource; kind and name are its key.
#[derive(Clone, PartialEq, Eq, Message)]
struct ResourceRecord {
    /// JSON, as the item would be written in the file, without its name.
    #[prost(string, tag = "1")]
    text: String,
    /// When it was changed last, in milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    updated_ms: u64,
}

impl Stored {
    /// A resource that is changed now.
    pub(super) fn new(kind: Kind, name: &str, text: &str, now_ms: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(now_ms.to_be_bytes());
        hash.update(text.as_bytes());
        let etag = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let resource = Resource { kind, name: name.into(), text: Arc::from(text) };
        Self { resource, updated_ms: now_ms, etag }
    }

    fn encode(&self) -> Vec<u8> {
        let text = self.resource.text.to_string();
        ResourceRecord { text, updated_ms: self.updated_ms }.encode_to_vec()
    }
}

/// All resources of a store.
///
/// # Errors
/// Where the store can't be read.
pub fn load(store: &dyn Store) -> Result<Resources, StoreError> {
    let mut all = Resources::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = store.scan(Table::Resources, b"", after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(all) };
        after = Some(last.clone());
        for (key, value) in page {
            let parts = std::str::from_utf8(&key).ok().and_then(|key| key.split_once('/'));
            let Some((kind, name)) = parts.and_then(|(kind, name)| Some((Kind::named(kind)?, name))) else {
                tracing::error!(key = %key.escape_ascii(), "the store has a resource of a kind that isn't known");
                continue;
            };
            let Ok(record) = ResourceRecord::decode(value.as_slice()) else {
                tracing::error!(key = %key.escape_ascii(), "the store has a resource that can't be read");
                continue;
            };
            let stored = Stored::new(kind, name, &record.text, record.updated_ms);
            all.insert((kind, name.to_owned()), stored);
        }
    }
}

/// Writes down what a resource is to be; `None` removes it. It is expected to be as it was.
pub(super) fn write(
    before: Option<&Stored>,
    kind: Kind,
    name: &str,
    after: Option<&Stored>,
    batch: &mut Batch,
) {
    let key = format!("{}/{name}", kind.list_name());
    batch.expect(Table::Resources, key.as_str(), before.map(Stored::encode));
    match after {
        Some(after) => batch.put(Table::Resources, key, after.encode()),
        None => batch.delete(Table::Resources, key),
    };
}

const PAGE: usize = 256;

//! The modules of a store: reads versions and labels, and writes down what is to be changed.
//!
//! Nothing is cached: the store is asked. What changes goes into a [`Batch`] with what it was decided upon, so that
//! a version, the label that points at it and the trace of both are there together or not at all.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use sha2::Digest as _;
use sha2::Sha256;

use crate::registry::record;
use crate::registry::record::LabelRecord;
use crate::registry::record::MoveRecord;
use crate::registry::record::VersionRecord;
use crate::schema;
use crate::schema::Fault;
use crate::schema::File;
use crate::schema::Limits;
use crate::schema::Schema;
use crate::schema::compile;
use crate::store::Batch;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;

/// The modules of a store.
#[derive(Clone, Copy)]
pub struct Catalog<'a> {
    store: &'a dyn Store,
}

/// A move of a label that is to be written down.
#[derive(Debug, Clone, Copy)]
pub struct Move<'a> {
    /// The module.
    pub module: &'a str,
    /// Its label.
    pub label: &'a str,
    /// The digest that it points at; `None` where it is new.
    pub before: Option<&'a str>,
    /// The digest that it is to point at; `None` takes it away.
    pub after: Option<&'a str>,
    /// Who does it.
    pub actor: &'a str,
    /// `push`, `promote`, `rollback` or `delete`.
    pub reason: &'a str,
    /// When, in milliseconds since 1970.
    pub now_ms: u64,
}

/// Why a version that a caller names can't be had.
#[derive(Debug)]
pub enum VersionError {
    /// There is none of that name.
    Unknown,
    /// Several begin with these digits.
    Ambiguous,
    /// The store can't be read.
    Store(StoreError),
}

impl From<StoreError> for VersionError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<'a> Catalog<'a> {
    /// The modules of `store`.
    pub fn new(store: &'a dyn Store) -> Self {
        Self { store }
    }

    /// Names of modules after `after`, in their order, at most `limit`.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub fn modules(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
        let mut names: Vec<String> = Vec::new();
        let mut from = after.map(end_of);
        while names.len() < limit {
            let found = self.store.scan(Table::Versions, b"", from.as_deref(), 1)?;
            let Some((module, _)) = found.first().and_then(|(key, _)| record::parts(key)) else { break };
            from = Some(end_of(module));
            names.push(module.to_owned());
        }
        Ok(names)
    }

    /// The labels of a module, and the digests that they point at.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub fn labels(&self, module: &str) -> Result<BTreeMap<String, String>, StoreError> {
        let found = self.store.scan(Table::Labels, &record::of_module(module), None, LABELS_MAX)?;
        let label = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let (_, label) = record::parts(key)?;
            Some((label.to_owned(), LabelRecord::decode(value.as_slice()).ok()?.digest))
        };
        Ok(found.iter().filter_map(label).collect())
    }

    /// All labels of all modules.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub fn all_labels(&self) -> Result<Vec<(String, String, String)>, StoreError> {
        let mut all = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.store.scan(Table::Labels, b"", after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            after = Some(last.clone());
            all.extend(page.iter().filter_map(|(key, value)| {
                let (module, label) = record::parts(key)?;
                let digest = LabelRecord::decode(value.as_slice()).ok()?.digest;
                Some((module.to_owned(), label.to_owned(), digest))
            }));
        }
    }

    /// The digest that a label points at.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub fn label(&self, module: &str, label: &str) -> Result<Option<String>, StoreError> {
        let found = self.store.get(Table::Labels, &record::in_module(module, label))?;
        Ok(found.and_then(|value| LabelRecord::decode(value.as_slice()).ok()).map(|record| record.digest))
    }

    /// A version by its whole digest.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub fn version(&self, module: &str, digest: &str) -> Result<Option<VersionRecord>, StoreError> {
        let found = self.store.get(Table::Versions, &record::in_module(module, digest))?;
        Ok(found.and_then(|value| VersionRecord::decode(value.as_slice()).ok()))
    }

    /// A version by a label, its digest, or the first digits of that, 8 or more.
    ///
    /// # Errors
    /// Where there is none or more than one, or the store can't be read.
    pub fn find(&self, module: &str, asked: &str) -> Result<VersionRecord, VersionError> {
        if let Some(digest) = self.label(module, asked)? {
            return self.version(module, &digest)?.ok_or(VersionError::Unknown);
        }
        let digits = asked.to_ascii_lowercase();
        if digits.len() < DIGITS_MIN || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(VersionError::Unknown);
        }
        let found = self.store.scan(Table::Versions, &record::in_module(module, &digits), None, 2)?;
        match found.as_slice() {
            [] => Err(VersionError::Unknown),
            [(_, value)] => VersionRecord::decode(value.as_slice()).map_err(|_| VersionError::Unknown),
            _ => Err(VersionError::Ambiguous),
        }
    }

    /// All versions of a module, the newest first.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub fn versions(&self, module: &str) -> Result<Vec<VersionRecord>, StoreError> {
        let mut all: Vec<VersionRecord> = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page =
                self.store.scan(Table::Versions, &record::of_module(module), after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            all.extend(page.iter().filter_map(|(_, value)| VersionRecord::decode(value.as_slice()).ok()));
        }
        all.sort_by_key(|version| std::cmp::Reverse(version.number));
        Ok(all)
    }

    /// Moves of a module's labels before the number `before`, the newest first, with their numbers.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub fn moves(
        &self,
        module: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, MoveRecord)>, StoreError> {
        let last = self.last_move(module)?;
        let newest = before.map_or(last, |before| before.saturating_sub(1).min(last));
        let mut all = Vec::new();
        for number in (1..=newest).rev().take(limit) {
            let found = self.store.get(Table::History, &record::numbered(module, number))?;
            if let Some(moved) = found.and_then(|value| MoveRecord::decode(value.as_slice()).ok()) {
                all.push((number, moved));
            }
        }
        Ok(all)
    }

    /// The version that a label pointed at before its last move that wasn't a rollback undone.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub fn before(&self, module: &str, label: &str) -> Result<Option<String>, StoreError> {
        // Walking back over moves, each rollback takes the push or promotion before it with it: rolling back twice
        // goes two versions back, not forth again.
        let mut undone = 0_usize;
        let mut before = None;
        loop {
            let page = self.moves(module, before, PAGE)?;
            let Some((oldest, _)) = page.last() else { return Ok(None) };
            before = Some(*oldest);
            for (_, moved) in page.into_iter().filter(|(_, moved)| moved.label == label) {
                match moved.reason.as_str() {
                    ROLLBACK => undone += 1,
                    _ if 0 < undone => undone -= 1,
                    _ => return Ok(Some(moved.before).filter(|digest| !digest.is_empty())),
                }
            }
        }
    }

    /// The descriptors of a version.
    ///
    /// # Errors
    /// What this Transom has against them, or that the store doesn't have them.
    pub fn schema(&self, version: &VersionRecord, limits: &Limits) -> Result<Schema, Vec<Fault>> {
        let own = self.blob(&version.own)?;
        let imported = match version.imported.is_empty() {
            true => None,
            false => Some(compile::descriptor_set(&self.blob(&version.imported)?, &[], limits)?),
        };
        compile::descriptor_set(&own, imported.as_slice(), limits)
    }

    fn blob(&self, key: &[u8]) -> Result<Bytes, Vec<Fault>> {
        let fault = |problem: String| vec![Fault::new("(store)", problem, "push the version again")];
        let found = self.store.get(Table::Blobs, key).map_err(|error| fault(error.to_string()))?;
        found.map(Bytes::from).ok_or_else(|| fault("the descriptors are missing".into()))
    }

    /// Writes a new version down. `number` and the blobs of `version` are filled in.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub fn add(
        &self,
        mut version: VersionRecord,
        schema: &Schema,
        batch: &mut Batch,
    ) -> Result<VersionRecord, StoreError> {
        let key = record::in_module(&version.module, &version.digest);
        let counter = record::in_module(&version.module, COUNTER);
        let counted = self.store.get(Table::History, &counter)?;
        version.number = counted.as_deref().map_or(1, |bytes| number(bytes) + 1);
        self.add_files(&mut version, schema, batch)?;
        batch.expect(Table::Versions, key.clone(), None).put(Table::Versions, key, version.encode_to_vec());
        batch.expect(Table::History, counter.clone(), counted);
        batch.put(Table::History, counter, version.number.to_be_bytes());
        Ok(version)
    }

    /// Writes a version's descriptors down again, where they are missing or damaged.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub fn restore(
        &self,
        mut version: VersionRecord,
        schema: &Schema,
        batch: &mut Batch,
    ) -> Result<VersionRecord, StoreError> {
        self.add_files(&mut version, schema, batch)?;
        let key = record::in_module(&version.module, &version.digest);
        batch.put(Table::Versions, key, version.encode_to_vec());
        Ok(version)
    }

    fn add_files(
        &self,
        version: &mut VersionRecord,
        schema: &Schema,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        version.own = self.add_blob(set(schema.files().iter().filter(|file| file.own)), batch)?;
        // Another module may have a file of a bundled name, and then it is that one which was compiled.
        let has_deps = !version.deps.is_empty();
        let is_imported = |file: &&File| !file.own && (has_deps || !schema::is_bundled(&file.name));
        let imported: Vec<&File> = schema.files().iter().filter(is_imported).collect();
        if !imported.is_empty() {
            version.imported = self.add_blob(set(imported.into_iter()), batch)?;
        }
        Ok(())
    }

    fn add_blob(&self, bytes: Vec<u8>, batch: &mut Batch) -> Result<Vec<u8>, StoreError> {
        let key = Sha256::digest(&bytes).to_vec();
        if self.store.get(Table::Blobs, &key)?.is_none() {
            batch.put(Table::Blobs, key.clone(), bytes);
        }
        Ok(key)
    }

    /// Writes a move of a label down.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub fn move_label(&self, asked: Move<'_>, batch: &mut Batch) -> Result<(), StoreError> {
        let key = record::in_module(asked.module, asked.label);
        let record = |digest: &str| LabelRecord { digest: digest.into() }.encode_to_vec();
        batch.expect(Table::Labels, key.clone(), asked.before.map(record));
        match asked.after {
            Some(after) => batch.put(Table::Labels, key, record(after)),
            None => batch.delete(Table::Labels, key),
        };
        let moved = MoveRecord {
            time_ms: asked.now_ms,
            label: asked.label.into(),
            before: asked.before.unwrap_or_default().into(),
            after: asked.after.unwrap_or_default().into(),
            actor: asked.actor.into(),
            reason: asked.reason.into(),
        };
        let number = self.last_move(asked.module)? + 1;
        let key = record::numbered(asked.module, number);
        batch.expect(Table::History, key.clone(), None).put(Table::History, key, moved.encode_to_vec());
        batch.put(Table::History, record::in_module(asked.module, MOVES), number.to_be_bytes());
        Ok(())
    }

    /// Writes down that a module goes, with its versions, its labels and their moves; says which labels it had.
    /// Descriptors stay: versions of other modules may have the same.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub fn remove(&self, module: &str, batch: &mut Batch) -> Result<Vec<String>, StoreError> {
        let labels = self.labels(module)?;
        for (label, digest) in &labels {
            let key = record::in_module(module, label);
            let record = LabelRecord { digest: digest.clone() }.encode_to_vec();
            batch.expect(Table::Labels, key.clone(), Some(record)).delete(Table::Labels, key);
        }
        for table in [Table::Versions, Table::History] {
            let mut after: Option<Vec<u8>> = None;
            loop {
                let page = self.store.scan(table, &record::of_module(module), after.as_deref(), PAGE)?;
                let Some((last, _)) = page.last() else { break };
                after = Some(last.clone());
                for (key, _) in page {
                    batch.delete(table, key);
                }
            }
        }
        Ok(labels.into_keys().collect())
    }

    /// How many versions a module has had.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub fn version_count(&self, module: &str) -> Result<u64, StoreError> {
        let counted = self.store.get(Table::History, &record::in_module(module, COUNTER))?;
        Ok(counted.as_deref().map_or(0, number))
    }

    fn last_move(&self, module: &str) -> Result<u64, StoreError> {
        let counted = self.store.get(Table::History, &record::in_module(module, MOVES))?;
        Ok(counted.as_deref().map_or(0, number))
    }
}

/// A serialized `FileDescriptorSet` of some files of a schema.
fn set<'a>(files: impl Iterator<Item = &'a File>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for file in files {
        prost::encoding::bytes::encode(1, &file.bytes, &mut bytes);
    }
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// A key behind all of a module's, and before those of the next.
fn end_of(module: &str) -> Vec<u8> {
    let mut key = record::of_module(module);
    key.push(0xff);
    key
}

/// The reason of a move that goes back.
pub const ROLLBACK: &str = "rollback";
/// Labels of one module.
pub const LABELS_MAX: usize = 64;
/// The fewest digits that name a version.
const DIGITS_MIN: usize = 8;
/// The keys of a module's counters; a number is eight bytes, so never one of them.
const COUNTER: &str = "count.versions";
const MOVES: &str = "count.moves";
const PAGE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Embedded;

    fn schema(text: &str) -> Schema {
        let text = format!("syntax = \"proto3\"; package p; {text}");
        compile::protos(vec![("p/a.proto".into(), text.into_bytes())], &[], &Limits::default()).unwrap()
    }

    fn store() -> (tempfile::TempDir, Embedded) {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(&directory.path().join("store")).unwrap();
        (directory, store)
    }

    fn push(store: &Embedded, module: &str, schema: &Schema, label: &str, reason: &str) -> String {
        let catalog = Catalog::new(store);
        let mut batch = Batch::default();
        let digest = schema.digest().hex();
        if catalog.version(module, &digest).unwrap().is_none() {
            let version =
                VersionRecord { module: module.into(), digest: digest.clone(), ..Default::default() };
            catalog.add(version, schema, &mut batch).unwrap();
        }
        let before = catalog.label(module, label).unwrap();
        let before = before.as_deref();
        let moved = Move { module, label, before, after: Some(&digest), actor: "ann", reason, now_ms: 7 };
        catalog.move_label(moved, &mut batch).unwrap();
        store.commit(&batch).unwrap();
        digest
    }

    #[test]
    fn a_version_comes_back_with_what_it_imports() {
        let (_directory, store) = store();
        let common = schema("message Shared { string id = 1; }");
        let text =
            "syntax = \"proto3\"; package q; import \"p/a.proto\"; import \"google/api/annotations.proto\";
            service S { rpc M(p.Shared) returns (p.Shared) { option (google.api.http) = { get: \"/m\" }; } }";
        let files = vec![("q.proto".to_owned(), text.as_bytes().to_vec())];
        let pets = compile::protos(files, std::slice::from_ref(&common), &Limits::default()).unwrap();
        let digest = push(&store, "pets", &pets, "live", "push");
        let catalog = Catalog::new(&store);
        let version = catalog.find("pets", "live").unwrap();
        assert_eq!((version.digest.as_str(), version.number), (digest.as_str(), 1));
        let again = catalog.schema(&version, &Limits::default()).unwrap();
        assert_eq!(again.digest(), pets.digest());
        let own: Vec<_> = again.files().iter().filter(|file| file.own).map(|file| &*file.name).collect();
        assert_eq!(own, ["q.proto"], "what is another module's stays so");
        assert!(again.method("/q.S/M").is_some());
    }

    #[test]
    fn versions_are_found_by_label_and_by_digits() {
        let (_directory, store) = store();
        let one = push(&store, "pets", &schema("message A {}"), "live", "push");
        let two = push(&store, "pets", &schema("message B {}"), "canary", "push");
        push(&store, "pets-next", &schema("message A {}"), "live", "push");
        let catalog = Catalog::new(&store);
        assert_eq!(catalog.find("pets", "canary").unwrap().digest, two);
        assert_eq!(catalog.find("pets", &one[..8].to_uppercase()).unwrap().digest, one);
        for asked in ["", "next", &one[..7], "../live", "zzzzzzzzzz"] {
            assert!(matches!(catalog.find("pets", asked), Err(VersionError::Unknown)), "{asked}");
        }
        let newest: Vec<_> = catalog.versions("pets").unwrap().into_iter().map(|v| v.digest).collect();
        assert_eq!(newest, [two.clone(), one.clone()]);
        assert_eq!(catalog.modules(None, 10).unwrap(), ["pets", "pets-next"]);
        assert_eq!(catalog.modules(Some("pets"), 10).unwrap(), ["pets-next"]);
        let labels = catalog.labels("pets").unwrap();
        assert_eq!(labels, BTreeMap::from([("canary".into(), two), ("live".into(), one)]));
        assert_eq!(catalog.all_labels().unwrap().len(), 3);
    }

    #[test]
    fn going_back_twice_goes_two_versions_back() {
        let (_directory, store) = store();
        let all = ["message A {}", "message B {}", "message C {}"].map(schema);
        let digests = all.each_ref().map(|schema| push(&store, "pets", schema, "live", "push"));
        push(&store, "pets", &all[0], "canary", "push");
        let catalog = Catalog::new(&store);
        assert_eq!(catalog.before("pets", "live").unwrap(), Some(digests[1].clone()));
        push(&store, "pets", &all[1], "live", ROLLBACK);
        assert_eq!(catalog.before("pets", "live").unwrap(), Some(digests[0].clone()));
        push(&store, "pets", &all[0], "live", ROLLBACK);
        assert_eq!(catalog.before("pets", "live").unwrap(), None, "before the first there was none");
        push(&store, "pets", &all[2], "live", "promote");
        assert_eq!(catalog.before("pets", "live").unwrap(), Some(digests[0].clone()));
        let moves = catalog.moves("pets", None, 3).unwrap();
        let told: Vec<_> = moves.iter().map(|(number, moved)| (*number, moved.reason.as_str())).collect();
        assert_eq!(told, [(7, "promote"), (6, ROLLBACK), (5, ROLLBACK)]);
        assert_eq!(catalog.moves("pets", Some(5), 10).unwrap().len(), 4);
        assert_eq!(catalog.version_count("pets").unwrap(), 3);
    }

    #[test]
    fn two_who_move_a_label_at_once_do_not_both() {
        let (_directory, store) = store();
        let [one, two] = ["message A {}", "message B {}"].map(schema);
        push(&store, "pets", &one, "live", "push");
        let catalog = Catalog::new(&store);
        let batch = |schema: &Schema| {
            let (mut batch, digest) = (Batch::default(), schema.digest().hex());
            let before = catalog.label("pets", "live").unwrap();
            let before = before.as_deref();
            let after = Some(digest.as_str());
            let moved =
                Move { module: "pets", label: "live", before, after, actor: "a", reason: "push", now_ms: 1 };
            catalog.move_label(moved, &mut batch).unwrap();
            batch
        };
        let (first, second) = (batch(&two), batch(&two));
        store.commit(&first).unwrap();
        assert!(matches!(store.commit(&second), Err(StoreError::Conflict { .. })));
    }

    #[test]
    fn a_module_that_is_removed_leaves_no_version() {
        let (_directory, store) = store();
        push(&store, "pets", &schema("message A {}"), "live", "push");
        push(&store, "pets2", &schema("message A {}"), "live", "push");
        let catalog = Catalog::new(&store);
        let mut batch = Batch::default();
        assert_eq!(catalog.remove("pets", &mut batch).unwrap(), ["live"]);
        store.commit(&batch).unwrap();
        assert_eq!(catalog.modules(None, 10).unwrap(), ["pets2"]);
        assert!(catalog.versions("pets").unwrap().is_empty() && catalog.labels("pets").unwrap().is_empty());
        assert_eq!(catalog.version_count("pets").unwrap(), 0);
        assert!(catalog.find("pets2", "live").is_ok());
    }
}

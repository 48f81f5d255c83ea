//! Makes a [`Schema`] of what was uploaded, read or fetched.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::schema::Fault;
use crate::schema::Limits;
use crate::schema::Schema;
use crate::schema::bundled;
use crate::schema::bundled::Bundled;
use crate::schema::draft;
use crate::schema::draft::Draft;
use crate::schema::fault;
use crate::schema::imports::Imports;
use crate::schema::link;
use crate::schema::scan;
use crate::schema::scan::Value;
use crate::schema::symbols::Symbols;

/// Compiles `.proto` texts, each with its import name. Imports are sought among the files themselves, then
/// in `deps`, then among those that are bundled.
///
/// # Errors
///
/// Every fault that can be found, at least one.
pub fn protos(files: Vec<(String, Vec<u8>)>, deps: &[Schema], limits: &Limits) -> Result<Schema, Vec<Fault>> {
    check_sum(files.iter().map(|(_, text)| text.len()), limits)?;
    if files.is_empty() {
        return Err(vec![Fault::new("(all files)", "there is no .proto file", "upload at least one")]);
    }
    apart(limits, || {
        let mut gather = Gather::new(limits);
        for (name, text) in files {
            gather.add(Draft::from_text(&name, text, limits));
        }
        gather.finish(deps)
    })
}

/// Compiles a serialized `google.protobuf.FileDescriptorSet`; what `buf build` writes is one too.
///
/// # Errors
///
/// Every fault that can be found, at least one.
pub fn descriptor_set(set: &Bytes, deps: &[Schema], limits: &Limits) -> Result<Schema, Vec<Fault>> {
    check_sum([set.len()], limits)?;
    let malformed = || {
        let help = match set.get(..2) {
            Some(b"\x1f\x8b") => "it is compressed: unpack it first",
            _ => "upload what protoc --descriptor_set_out --include_imports or buf build -o set.binpb wrote",
        };
        vec![Fault::new("(descriptor set)", "it is not a serialized FileDescriptorSet", help)]
    };
    let mut files = Vec::new();
    for field in scan::fields(set) {
        let field = field.map_err(|_| malformed())?;
        if let (1, Value::Bytes(file)) = (field.number, field.value) {
            files.push(set.slice_ref(file));
        }
        check_count(files.len(), limits)?;
    }
    if files.is_empty() {
        return Err(malformed());
    }
    descriptors(files, deps, limits)
}

/// Compiles serialized `google.protobuf.FileDescriptorProto`s in any order, as server reflection gives
/// them. A file may come more than once if it is the same each time.
///
/// # Errors
///
/// Every fault that can be found, at least one.
pub fn descriptors(files: Vec<Bytes>, deps: &[Schema], limits: &Limits) -> Result<Schema, Vec<Fault>> {
    check_sum(files.iter().map(Bytes::len), limits)?;
    if files.is_empty() {
        return Err(vec![Fault::new("(all files)", "there is no file descriptor", "upload at least one")]);
    }
    apart(limits, || {
        let mut gather = Gather::new(limits);
        let mut seen = HashSet::new();
        for file in files {
            if seen.insert(file.clone()) {
                gather.add(Draft::from_descriptor(&file, limits));
            }
        }
        gather.finish(deps)
    })
}

/// Collects well-formed files and the faults of the others.
struct Gather<'a> {
    limits: &'a Limits,
    drafts: Vec<Draft>,
    by_name: HashMap<Arc<str>, usize>,
    declarations: usize,
    faults: Vec<Fault>,
}

impl<'a> Gather<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self { limits, drafts: Vec::new(), by_name: HashMap::new(), declarations: 0, faults: Vec::new() }
    }

    fn add(&mut self, draft: Result<Draft, Vec<Fault>>) {
        if self.is_full() {
            return;
        }
        let draft = match draft {
            Ok(draft) => draft,
            Err(faults) => return self.faults.extend(faults),
        };
        self.declarations += draft.declarations;
        if self.limits.declarations_max < self.declarations {
            self.faults.push(draft::too_many(&draft.name, self.limits));
            return;
        }
        if self.by_name.insert(draft.name.clone(), self.drafts.len()).is_some() {
            self.faults.push(Fault::new(
                &*draft.name,
                "there are two files of this name",
                "remove one of the two",
            ));
        }
        self.drafts.push(draft);
    }

    fn is_full(&self) -> bool {
        self.limits.faults_max < self.faults.len() || self.limits.declarations_max < self.declarations
    }

    fn finish(mut self, deps: &[Schema]) -> Result<Schema, Vec<Fault>> {
        self.fetch_imports(deps);
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        let imports = Imports::of(&self.drafts, self.limits)?;
        let symbols = Symbols::of(&self.drafts, &imports, self.limits)?;
        link::link(&self.drafts, &imports, symbols, self.limits)
    }

    /// Adds what the files import and don't contain, and what that imports.
    fn fetch_imports(&mut self, deps: &[Schema]) {
        let mut at = 0;
        while at < self.drafts.len() && !self.is_full() {
            for (import_at, import) in (0..).zip(self.drafts[at].proto.dependency.clone()) {
                if self.by_name.contains_key(import.as_str()) {
                    continue;
                }
                if let Some(found) = self.find(&import, deps) {
                    self.add(found);
                    continue;
                }
                let draft = &self.drafts[at];
                let shown: String = import.chars().take(200).flat_map(char::escape_debug).collect();
                let problem = format!("it imports \"{shown}\", which is not there");
                let help = "upload that file too, or list the module that has it under deps; \
                            protoc wants --include_imports";
                self.faults.push(draft.fault(&[3, import_at], problem, help));
                if self.is_full() {
                    return;
                }
            }
            self.fetch_option_imports(at, deps);
            at += 1;
        }
        if let Err(faults) = check_count(self.drafts.len(), self.limits) {
            self.faults.extend(faults);
        }
    }

    /// What options mean is known to the pool as a whole, so it is enough that these files are in it.
    fn fetch_option_imports(&mut self, at: usize, deps: &[Schema]) {
        let Some(in_edition) = &self.drafts[at].edition else { return };
        for import in in_edition.option_imports() {
            if !self.by_name.contains_key(import.as_str())
                && !self.is_full()
                && let Some(found) = self.find(&import, deps)
            {
                self.add(found);
            }
        }
    }

    fn find(&self, import: &str, deps: &[Schema]) -> Option<Result<Draft, Vec<Fault>>> {
        let dep = deps.iter().find_map(|dep| dep.file(import));
        let found = match dep {
            Some(file) => Draft::from_descriptor(&file.bytes, self.limits),
            None => match bundled::find(import)? {
                Bundled::Text(text) => Draft::from_text(import, text.into(), self.limits),
                Bundled::Descriptor(bytes) => Draft::from_descriptor(&bytes, self.limits),
            },
        };
        Some(found.map(Draft::borrowed))
    }
}

fn check_sum(sizes: impl IntoIterator<Item = usize>, limits: &Limits) -> Result<(), Vec<Fault>> {
    let (count, bytes) =
        sizes.into_iter().fold((0, 0_usize), |(n, sum), size| (n + 1, sum.saturating_add(size)));
    check_count(count, limits)?;
    if limits.bytes_max < bytes {
        let problem = format!("they have {bytes} bytes together, and a module may have {}", limits.bytes_max);
        return Err(vec![Fault::new("(all files)", problem, "upload them as several modules")]);
    }
    Ok(())
}

fn check_count(count: usize, limits: &Limits) -> Result<(), Vec<Fault>> {
    if limits.files_max < count {
        let problem = format!("there are more than {} files", limits.files_max);
        return Err(vec![Fault::new("(all files)", problem, "upload them as several modules")]);
    }
    Ok(())
}

/// Compiles on a thread of its own: its stack suits the deepest nesting that passes the limits, and a
/// panic in a library ends that thread and nothing else.
fn apart(
    limits: &Limits,
    compile: impl FnOnce() -> Result<Schema, Vec<Fault>> + Send,
) -> Result<Schema, Vec<Fault>> {
    let done = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("transom-schema".to_owned()).stack_size(STACK_BYTES);
        thread.spawn_scoped(scope, compile).map(std::thread::ScopedJoinHandle::join)
    });
    let faults = match done {
        Ok(Ok(Ok(schema))) => return Ok(schema),
        Ok(Ok(Err(faults))) => faults,
        Ok(Err(_)) => {
            let problem = "the compiler gave up on these files";
            vec![Fault::new(
                "(all files)",
                problem,
                "check them with protoc or buf; if they pass, report this",
            )]
        }
        Err(error) => {
            let problem = format!("no thread to compile them on: {error}");
            vec![Fault::new("(all files)", problem, "raise the limit of threads or memory, and try again")]
        }
    };
    Err(fault::tidy(faults, limits.faults_max))
}

/// Stack of the compiling thread; only what is used of it takes memory.
const STACK_BYTES: usize = 64 << 20;

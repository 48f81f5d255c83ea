//! Turns drafts that fit together into one descriptor pool, and checks what the pool takes on trust.

use std::collections::HashMap;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;

use bytes::Bytes;
use miette::Diagnostic;
use prost::Message;
use prost_reflect::DescriptorError;
use prost_reflect::DescriptorPool;
use prost_reflect::FileDescriptor;
use prost_reflect::Kind;
use prost_reflect::MessageDescriptor;
use prost_types::FileDescriptorProto;

use crate::schema::Fault;
use crate::schema::File;
use crate::schema::Limits;
use crate::schema::Schema;
use crate::schema::Traits;
use crate::schema::comments::Comments;
use crate::schema::draft::Draft;
use crate::schema::draft::plain;
use crate::schema::imports;
use crate::schema::imports::Imports;
use crate::schema::model::Parts;
use crate::schema::scan;
use crate::schema::symbols::Symbols;

/// Links all files, or reports the faults of each file that can't be.
pub(super) fn link(
    drafts: &[Draft],
    imports: &Imports,
    symbols: Symbols,
    limits: &Limits,
) -> Result<Schema, Vec<Fault>> {
    let pool = pool(drafts, imports, limits)?;
    let faults = distrust(&pool, drafts, limits);
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut places = HashMap::with_capacity(drafts.len());
    let mut files = Vec::with_capacity(drafts.len());
    let mut comments = HashMap::new();
    let mut lines = HashMap::new();
    for &at in &imports.order {
        let draft = &drafts[at];
        let Some(linked) = pool.get_file_by_name(&draft.name) else {
            return Err(vec![Fault::new(&*draft.name, "it was lost when it was linked", "report this")]);
        };
        places.insert(at, u32::try_from(files.len()).unwrap_or(u32::MAX));
        files.push(file(draft, &linked)?);
        if !draft.info.location.is_empty() {
            comments.insert(draft.name.clone(), Comments::of(&draft.info));
        }
        if draft.own {
            lines.insert(draft.name.clone(), draft.lines.clone());
        }
    }
    let symbols = symbols.into_files().filter_map(|(name, at)| Some((name, *places.get(&at)?))).collect();
    let traits = Traits::new(
        drafts.iter().filter_map(|draft| draft.edition.as_ref()).map(|in_edition| &in_edition.traits),
    );
    Ok(Schema::new(Parts { pool, traits, files, symbols, comments, lines }))
}

/// A fresh pool, always: one in which a load failed can't be used again.
fn pool(drafts: &[Draft], imports: &Imports, limits: &Limits) -> Result<DescriptorPool, Vec<Fault>> {
    let mut pool = DescriptorPool::new();
    let mut faults = Vec::new();
    let mut lost: HashSet<usize> = HashSet::new();
    let mut loaded: Vec<usize> = Vec::new();
    for &at in &imports.order {
        if imports.visible[at].iter().any(|seen| lost.contains(seen)) {
            lost.insert(at); // its own faults can't be told from those of what it imports
            continue;
        }
        let added = load(&mut pool, &linkable(drafts, imports, at));
        let Err(error) = added else {
            loaded.push(at);
            continue;
        };
        let error = located(drafts, imports, &loaded, at).unwrap_or(error);
        faults.extend(link_faults(&drafts[at], &error, limits));
        lost.insert(at);
        if FAILED_FILES_MAX <= lost.len() || limits.faults_max < faults.len() {
            break;
        }
        pool = reload(drafts, imports, &loaded);
    }
    if faults.is_empty() { Ok(pool) } else { Err(faults) }
}

/// A pool of files that have been loaded before.
fn reload(drafts: &[Draft], imports: &Imports, loaded: &[usize]) -> DescriptorPool {
    let mut pool = DescriptorPool::new();
    for &file in loaded {
        if load(&mut pool, &linkable(drafts, imports, file)).is_err() {
            break; // it can't be: the same files came in the same order
        }
    }
    pool
}

/// The error of a file once more, with the places of all that is wrong with it. Not done in the first
/// place, nor for big files, because setting an option would then walk all places of its file.
fn located(drafts: &[Draft], imports: &Imports, loaded: &[usize], at: usize) -> Option<DescriptorError> {
    let draft = &drafts[at];
    let (text, info) = draft.places().filter(|_| draft.declarations <= LOCATED_DECLARATIONS_MAX)?;
    let mut bytes = linkable(drafts, imports, at);
    let places = FileDescriptorProto { source_code_info: Some(info), ..FileDescriptorProto::default() };
    bytes.extend_from_slice(&places.encode_to_vec());
    let error = load(&mut reload(drafts, imports, loaded), &bytes).err()?;
    Some(error.with_source_code(text))
}

fn load(pool: &mut DescriptorPool, bytes: &[u8]) -> Result<(), DescriptorError> {
    pool.decode_file_descriptor_proto(bytes)
}

fn linkable(drafts: &[Draft], imports: &Imports, at: usize) -> Vec<u8> {
    let draft = &drafts[at];
    // prost-reflect does not follow public imports of public imports, and where it follows them it can
    // take exponential time; so it is given what they come to as plain imports.
    let mut bytes = scan::without(&draft.bytes, &imports::FIELDS).unwrap_or_default();
    let seen = imports.visible[at].iter().filter(|seen| **seen != at);
    let mut dependency: Vec<String> = seen.map(|seen| drafts[*seen].name.as_ref().to_owned()).collect();
    dependency.sort_unstable();
    let dependencies = FileDescriptorProto { dependency, ..FileDescriptorProto::default() };
    bytes.extend_from_slice(&dependencies.encode_to_vec());
    bytes
}

/// A linked file as others shall see it: with the imports that it declares, and its comments. One of an
/// edition is shown as it came, for what was linked is a copy in other words.
fn file(draft: &Draft, linked: &FileDescriptor) -> Result<File, Vec<Fault>> {
    let malformed = |_| vec![Fault::new(&*draft.name, "it was not linked into a descriptor", "report this")];
    let whole = match &draft.edition {
        Some(in_edition) => in_edition.bytes.clone(),
        None => linked.encode_to_vec().into(),
    };
    let mut bytes = scan::without(&whole, &imports::FIELDS).map_err(malformed)?;
    let declared = FileDescriptorProto {
        dependency: draft.proto.dependency.clone(),
        public_dependency: draft.proto.public_dependency.clone(),
        weak_dependency: draft.proto.weak_dependency.clone(),
        source_code_info: (!draft.info.location.is_empty()).then(|| draft.info.clone()),
        ..FileDescriptorProto::default()
    };
    bytes.extend_from_slice(&declared.encode_to_vec());
    let imports: Vec<Arc<str>> = imports::declared(draft);
    Ok(File { name: draft.name.clone(), bytes: Bytes::from(bytes), imports, own: draft.own })
}

fn link_faults(draft: &Draft, error: &DescriptorError, limits: &Limits) -> Vec<Fault> {
    let related = error.related().into_iter().flatten();
    let all =
        std::iter::once(error as &dyn Diagnostic).chain(related).take(limits.faults_max.saturating_add(1));
    all.enumerate()
        .map(|(at, error_at)| {
            // Without places, only the first says where it is.
            let first = || (at == 0).then(|| error.path().and_then(|path| draft.line(path))).flatten();
            let line = place(error_at).and_then(|offset| draft.line_of_offset(offset)).or_else(first);
            let mut problem = plain(&error_at.to_string());
            if let Some(cause) = error_at.diagnostic_source() {
                problem = format!("{problem}: {}", plain(&cause.to_string()));
            }
            let help = error_at.help().map(|help| plain(&help.to_string()));
            let unknown = problem.ends_with("is not defined");
            let help = help.unwrap_or_else(|| {
                let help =
                    if unknown { "declare it, or import the file that does" } else { "mend the declaration" };
                help.to_owned()
            });
            Fault::new(&*draft.name, problem, help).at(line)
        })
        .collect()
}

/// Where in the text an error was found, not where what it collides with is declared.
fn place(error: &dyn Diagnostic) -> Option<usize> {
    let labels: Vec<_> = error.labels()?.collect();
    let named =
        |names: &[&str]| labels.iter().find(|label| label.label().is_some_and(|name| names.contains(&name)));
    let label = named(&["found here", "defined again here"]).or_else(|| named(&["defined here"]));
    label.or_else(|| labels.first()).map(|label| label.offset())
}

/// What prost-reflect takes from a descriptor set without a look, and trips over when it is used.
fn distrust(pool: &DescriptorPool, drafts: &[Draft], limits: &Limits) -> Vec<Fault> {
    let by_name: HashMap<&str, &Draft> = drafts.iter().map(|draft| (&*draft.name, draft)).collect();
    let mut faults = Vec::new();
    for message in pool.all_messages() {
        let Some(problem) = flaw(&message) else { continue };
        if let Some(draft) = by_name.get(message.parent_file().name()) {
            let problem = format!("message \"{}\" {problem}", message.full_name());
            faults.push(draft.fault(message.path(), problem, "write the set anew with protoc or buf build"));
        }
        if limits.faults_max < faults.len() {
            return faults;
        }
    }
    for file in pool.files() {
        // Options are decoded anew, by all extensions of the pool, whenever they are asked for, and a
        // failure is a panic; so it is sought here.
        if catch_unwind(AssertUnwindSafe(|| read_options(&file))).is_err() {
            let problem = "one of its options is malformed or nested too deeply";
            faults.push(Fault::new(file.name(), problem, "write the set anew with protoc or buf build"));
        }
    }
    faults
}

fn flaw(message: &MessageDescriptor) -> Option<&'static str> {
    for oneof in message.oneofs() {
        if oneof.fields().any(|field| field.is_list()) {
            return Some("has a repeated field in a oneof");
        }
    }
    if !message.is_map_entry() {
        return None;
    }
    let (Some(key), Some(value)) = (message.get_field(1), message.get_field(2)) else {
        return Some("is a map entry without key or value");
    };
    let key_kind =
        !matches!(key.kind(), Kind::Double | Kind::Float | Kind::Bytes | Kind::Message(_) | Kind::Enum(_));
    if message.fields().len() != 2 || key.is_list() || value.is_list() || value.is_map() || !key_kind {
        return Some("is a map entry with fields that no map has");
    }
    None
}

fn read_options(file: &FileDescriptor) {
    // The values are of no interest; that they can be had is.
    let _ = file.options();
    for extension in file.extensions() {
        let _ = extension.options();
    }
    for declared in file.enums() {
        let _ = declared.options();
        declared.values().for_each(|value| drop(value.options()));
    }
    for service in file.services() {
        let _ = service.options();
        service.methods().for_each(|method| drop(method.options()));
    }
    file.messages().for_each(|message| read_message_options(&message));
}

fn read_message_options(message: &MessageDescriptor) {
    let _ = message.options();
    message.fields().for_each(|field| drop(field.options()));
    message.oneofs().for_each(|oneof| drop(oneof.options()));
    message.child_extensions().for_each(|extension| drop(extension.options()));
    for declared in message.child_enums() {
        let _ = declared.options();
        declared.values().for_each(|value| drop(value.options()));
    }
    message.child_messages().for_each(|nested| read_message_options(&nested));
}

/// Declarations of a file whose faults are all located.
const LOCATED_DECLARATIONS_MAX: usize = 3_000;
/// Files whose faults are reported in one run: after each the pool is built anew.
const FAILED_FILES_MAX: usize = 16;

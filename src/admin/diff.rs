//! What an upload would change and what it would break.

use std::collections::BTreeMap;
use std::collections::HashSet;

use crate::admin::checks;
use crate::admin::checks::Leniency;
use crate::admin::desk;
use crate::admin::desk::Desk;
use crate::admin::pb;
use crate::admin::pb::change::Kind;
use crate::admin::plane::Refused;
use crate::admin::push;
use crate::schema::Schema;

/// Compares an upload with what a label points at, or else with `live`.
pub(super) fn diff(desk: &Desk, mut request: pb::DiffRequest) -> Result<pb::DiffResponse, Refused> {
    let label = desk::label(&request.label)?;
    let leniency = Leniency::read(&request.category, &request.allow_breaking)?;
    let (module, update_deps) = (request.module.as_str(), request.update_deps);
    let content = request.content.take();
    let compiled = push::compile(desk, push::Wanted { module, label, update_deps, content })?;
    let modules = desk.plane.modules();
    let labels = modules.get(module);
    let before = labels.and_then(|labels| labels.get(label).or_else(|| labels.get(desk::LIVE)));
    let mut answer = pb::DiffResponse { digest: compiled.digest, ..Default::default() };
    match before {
        None => answer.changes = changes(&BTreeMap::new(), &things(&compiled.schema)),
        Some(before) => {
            answer.before = before.digest().hex();
            answer.unchanged = answer.before == answer.digest;
            answer.changes = changes(&things(before), &things(&compiled.schema));
            let verdict = leniency.judge(before, &compiled.schema);
            answer.breaking = verdict.refused.iter().take(SHOWN_MAX).map(checks::finding).collect();
            answer.allowed = verdict.allowed.iter().take(SHOWN_MAX).map(checks::finding).collect();
        }
    }
    Ok(answer)
}

/// What a schema declares, each by what it is and its name, with what it says.
type Things = BTreeMap<(&'static str, String), Vec<u8>>;

fn things(schema: &Schema) -> Things {
    let mut all = Things::new();
    let own: Vec<_> = schema.files().iter().filter(|file| file.own).collect();
    all.extend(own.iter().map(|file| (("file", file.name.to_string()), file.bytes.to_vec())));
    for service in schema.services() {
        all.insert(("service", service.name.to_string()), Vec::new());
        for rpc in &service.methods {
            let name = format!("{}/{}", service.name, rpc.method.name);
            // The raw form has custom options too, such as HTTP rules.
            let options = prost::Message::encode_to_vec(&rpc.descriptor.options());
            let proto = prost::Message::encode_to_vec(rpc.descriptor.method_descriptor_proto());
            all.insert(("method", name), [proto, options].concat());
        }
    }
    let own_files: HashSet<&str> = own.iter().map(|file| &*file.name).collect();
    for message in schema.pool().all_messages() {
        if own_files.contains(message.parent_file().name()) && !message.is_map_entry() {
            let proto = prost::Message::encode_to_vec(message.descriptor_proto());
            all.insert(("message", message.full_name().to_owned()), proto);
        }
    }
    for of in schema.pool().all_enums() {
        if own_files.contains(of.parent_file().name()) {
            let proto = prost::Message::encode_to_vec(of.enum_descriptor_proto());
            all.insert(("enum", of.full_name().to_owned()), proto);
        }
    }
    all
}

fn changes(before: &Things, after: &Things) -> Vec<pb::Change> {
    let mut all = Vec::new();
    let change = |kind: Kind, (what, name): &(&'static str, String)| pb::Change {
        kind: kind.into(),
        what: (*what).into(),
        name: name.clone(),
    };
    for (key, content) in after {
        match before.get(key) {
            None => all.push(change(Kind::Added, key)),
            Some(old) if old != content => all.push(change(Kind::Changed, key)),
            Some(_) => {}
        }
    }
    all.extend(before.keys().filter(|key| !after.contains_key(key)).map(|key| change(Kind::Removed, key)));
    all.truncate(SHOWN_MAX);
    all
}

/// What an answer lists of each; a change of more is read elsewhere.
const SHOWN_MAX: usize = 10_000;

//! Rules about a message as a whole: what it no longer has.

use std::collections::HashSet;

use prost_reflect::FieldDescriptor;
use prost_reflect::MessageDescriptor;

use crate::registry::breaking::ranges;
use crate::registry::breaking::report::Check;
use crate::registry::breaking::report::Place;
use crate::registry::breaking::report::is_own;
use crate::registry::breaking::report::join;
use crate::registry::breaking::report::quoted;
use crate::registry::breaking::rules;
use crate::registry::breaking::rules::Rule;

pub(super) fn compare(check: &mut Check<'_>) {
    let (old, new) = (check.old, check.new);
    for before in old.pool().all_messages() {
        if let (true, Some(after)) =
            (is_own(old, &before.parent_file()), new.pool().get_message_by_name(before.full_name()))
        {
            deleted_fields(check, &before, &after);
            deleted_oneofs(check, &before, &after);
            deleted_ranges(check, &before, &after);
            required_fields(check, &before, &after);
            options(check, &before, &after);
        }
    }
}

fn deleted_fields(check: &mut Check<'_>, before: &MessageDescriptor, after: &MessageDescriptor) {
    let mut gone = before.fields().filter(|field| after.get_field(field.number()).is_none()).peekable();
    if gone.peek().is_none() {
        return;
    }
    let place = check.at_message(after);
    let names: HashSet<&str> = after.reserved_names().collect();
    let numbers = ranges::merged(reserved(after));
    for field in gone {
        let (number, name) = (field.number(), quoted(field.name()));
        let mut report = |rule: &Rule, how: &str| {
            let problem = format!("field {number} was deleted{how}");
            check.report(rule, place.clone(), field.full_name(), problem);
        };
        report(&rules::FIELD_NO_DELETE, "");
        if !ranges::contains(&numbers, number.into()) {
            let how = format!(", and its number is not reserved: write reserved {number};");
            report(&rules::FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED, &how);
        }
        if !names.contains(field.name()) {
            let how = format!(", and its name is not reserved: write reserved {name};");
            report(&rules::FIELD_NO_DELETE_UNLESS_NAME_RESERVED, &how);
        }
    }
}

fn deleted_oneofs(check: &mut Check<'_>, before: &MessageDescriptor, after: &MessageDescriptor) {
    // An optional field of proto3 is a oneof by itself, of which nobody knows.
    let mut written = before.oneofs().filter(|oneof| !oneof.is_synthetic()).peekable();
    if written.peek().is_none() {
        return;
    }
    let left: Vec<_> = after.oneofs().collect();
    let left: HashSet<&str> = left.iter().map(|oneof| oneof.name()).collect();
    for oneof in written.filter(|oneof| !left.contains(oneof.name())) {
        let place = check.at_message(after);
        check.report(&rules::ONEOF_NO_DELETE, place, oneof.full_name(), "the oneof was deleted");
    }
}

fn deleted_ranges(check: &mut Check<'_>, before: &MessageDescriptor, after: &MessageDescriptor) {
    let element = before.full_name();
    let rule = &rules::RESERVED_MESSAGE_NO_DELETE;
    compare_ranges(check, rule, element, (reserved(before), reserved(after)), || Target::Message(after));
    let extensions = (extensions(before), extensions(after));
    compare_ranges(check, &rules::EXTENSION_MESSAGE_NO_DELETE, element, extensions, || {
        Target::Message(after)
    });
    let left: HashSet<&str> = after.reserved_names().collect();
    for name in before.reserved_names().filter(|name| !left.contains(name)) {
        let place = check.at_message(after);
        check.report(rule, place, element, format!("the name {} is no longer reserved", quoted(name)));
    }
}

fn required_fields(check: &mut Check<'_>, before: &MessageDescriptor, after: &MessageDescriptor) {
    let rule = &rules::MESSAGE_SAME_REQUIRED_FIELDS;
    let lacks = |message: &MessageDescriptor, field: &FieldDescriptor| {
        field.is_required() && !message.get_field(field.number()).is_some_and(|field| field.is_required())
    };
    for field in before.fields().filter(|field| lacks(after, field)) {
        let place = check.at_message(after);
        let problem = format!("field {} was required, and is no longer", field.number());
        check.report(rule, place, field.full_name(), problem);
    }
    for field in after.fields().filter(|field| lacks(before, field)) {
        let place = check.at(&field.parent_file(), field.path());
        let problem = format!("field {} is required, and was not", field.number());
        check.report(rule, place, join(before.full_name(), field.name()), problem);
    }
}

fn options(check: &mut Check<'_>, before: &MessageDescriptor, after: &MessageDescriptor) {
    let is_off = |message: &MessageDescriptor| {
        let options = message.descriptor_proto().options.as_ref();
        options.is_some_and(prost_types::MessageOptions::no_standard_descriptor_accessor)
    };
    let (file, path) = (after.parent_file(), after.path());
    if is_off(after) && !is_off(before) {
        let place = check.at_part(&file, path, &[OPTIONS, NO_STANDARD_DESCRIPTOR_ACCESSOR]);
        let problem = "option no_standard_descriptor_accessor was turned on";
        check.report(
            &rules::MESSAGE_NO_REMOVE_STANDARD_DESCRIPTOR_ACCESSOR,
            place,
            before.full_name(),
            problem,
        );
    }
    let allowed = check.old.traits().allows_json(&before.parent_file(), before.full_name());
    if allowed && !check.new.traits().allows_json(&file, after.full_name()) {
        let place = match check.new.traits().is_edition(&file) {
            true if !after.is_map_entry() => check.at_part(&file, path, &[OPTIONS, FEATURES, JSON_FORMAT]),
            _ => check.at_message(after),
        };
        let problem = "its JSON is only a best effort now";
        check.report(&rules::MESSAGE_SAME_JSON_FORMAT, place, before.full_name(), problem);
    }
}

/// Reserved numbers, both ends included.
fn reserved(message: &MessageDescriptor) -> impl Iterator<Item = (i64, i64)> {
    message.reserved_ranges().map(|range| (range.start.into(), i64::from(range.end) - 1))
}

fn extensions(message: &MessageDescriptor) -> impl Iterator<Item = (i64, i64)> {
    message.extension_ranges().map(|range| (range.start.into(), i64::from(range.end) - 1))
}

/// What has ranges.
pub(super) enum Target<'a> {
    Message(&'a MessageDescriptor),
    Enum(&'a prost_reflect::EnumDescriptor),
}

impl Target<'_> {
    fn place(&self, check: &Check<'_>) -> Place {
        match self {
            Self::Message(message) => check.at_message(message),
            Self::Enum(declared) => check.at(&declared.parent_file(), declared.path()),
        }
    }
}

/// Reports each range of the first that isn't wholly in the second.
pub(super) fn compare_ranges<'a>(
    check: &mut Check<'_>,
    rule: &'static Rule,
    element: &str,
    (before, after): (impl Iterator<Item = (i64, i64)>, impl Iterator<Item = (i64, i64)>),
    target: impl Fn() -> Target<'a>,
) {
    let mut before = before.peekable();
    if !check.wants(rule) || before.peek().is_none() {
        return;
    }
    let after = ranges::merged(after);
    let what =
        if rule.id == rules::EXTENSION_MESSAGE_NO_DELETE.id { "open to extensions" } else { "reserved" };
    for range in before {
        if let Some(missing) = ranges::missing(range, &after) {
            let problem = format!("of {}, no longer {what}: {missing}", ranges::show(range));
            let place = target().place(check);
            check.report(rule, place, element, problem);
        }
    }
}

/// Fields of `google.protobuf.DescriptorProto`, its options and features.
const OPTIONS: i32 = 7;
const NO_STANDARD_DESCRIPTOR_ACCESSOR: i32 = 2;
const FEATURES: i32 = 12;
const JSON_FORMAT: i32 = 6;

//! Rules about enums and their values.

use std::collections::BTreeMap;
use std::collections::HashSet;

use prost_reflect::EnumDescriptor;

use crate::registry::breaking::messages::Target;
use crate::registry::breaking::messages::compare_ranges;
use crate::registry::breaking::ranges;
use crate::registry::breaking::report::Check;
use crate::registry::breaking::report::is_own;
use crate::registry::breaking::report::join;
use crate::registry::breaking::report::quoted;
use crate::registry::breaking::rules;
use crate::registry::breaking::rules::Rule;

pub(super) fn compare(check: &mut Check<'_>) {
    let (old, new) = (check.old, check.new);
    for before in old.pool().all_enums() {
        if let (true, Some(after)) =
            (is_own(old, &before.parent_file()), new.pool().get_enum_by_name(before.full_name()))
        {
            let (values_before, values_after) = (values(&before), values(&after));
            deleted_values(check, &after, &values_before, &values_after);
            renamed_values(check, &after, &values_before, &values_after);
            no_longer_reserved(check, &before, &after);
            features(check, &before, &after);
        }
    }
}

/// The names of each number, and where they stand in the enum.
type Values<'a> = BTreeMap<i32, Vec<(&'a str, i32)>>;

fn values(declared: &EnumDescriptor) -> Values<'_> {
    let mut values = Values::new();
    for (at, value) in (0..).zip(&declared.enum_descriptor_proto().value) {
        values.entry(value.number()).or_default().push((value.name(), at));
    }
    values
}

fn deleted_values(check: &mut Check<'_>, after: &EnumDescriptor, old: &Values<'_>, new: &Values<'_>) {
    let mut gone = old.iter().filter(|(number, _)| !new.contains_key(number)).peekable();
    if gone.peek().is_none() {
        return;
    }
    let place = check.at(&after.parent_file(), after.path());
    let reserved_names: HashSet<&str> = after.reserved_names().collect();
    let numbers = ranges::merged(reserved(after));
    for (number, names) in gone {
        let element = full_name(after, names[0].0);
        let mut report = |rule: &Rule, how: &str| {
            let problem = format!("value {number} was deleted{how}");
            check.report(rule, place.clone(), element.as_str(), problem);
        };
        report(&rules::ENUM_VALUE_NO_DELETE, "");
        if !ranges::contains(&numbers, (*number).into()) {
            let how = format!(", and its number is not reserved: write reserved {number};");
            report(&rules::ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED, &how);
        }
        if let Some((name, _)) = names.iter().find(|(name, _)| !reserved_names.contains(name)) {
            let how = format!(", and its name is not reserved: write reserved {};", quoted(name));
            report(&rules::ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED, &how);
        }
    }
}

/// A number may get more names, not lose one.
fn renamed_values(check: &mut Check<'_>, after: &EnumDescriptor, old: &Values<'_>, new: &Values<'_>) {
    for (number, names) in old {
        let Some(left) = new.get(number) else { continue };
        let known: HashSet<&str> = left.iter().map(|(name, _)| *name).collect();
        let Some((lost, _)) = names.iter().find(|(name, _)| !known.contains(name)) else { continue };
        for (name, at) in left {
            let place = check.at_part(&after.parent_file(), after.path(), &[VALUE, *at, NUMBER]);
            let problem = format!("value {number} is no longer called {} but {}", quoted(lost), quoted(name));
            check.report(&rules::ENUM_VALUE_SAME_NAME, place, full_name(after, lost), problem);
        }
    }
}

fn no_longer_reserved(check: &mut Check<'_>, before: &EnumDescriptor, after: &EnumDescriptor) {
    let rule = &rules::RESERVED_ENUM_NO_DELETE;
    let element = before.full_name();
    compare_ranges(check, rule, element, (reserved(before), reserved(after)), || Target::Enum(after));
    let left: HashSet<&str> = after.reserved_names().collect();
    for name in before.reserved_names().filter(|name| !left.contains(name)) {
        let place = check.at(&after.parent_file(), after.path());
        check.report(rule, place, element, format!("the name {} is no longer reserved", quoted(name)));
    }
}

fn features(check: &mut Check<'_>, before: &EnumDescriptor, after: &EnumDescriptor) {
    let file = after.parent_file();
    let (old, new) = (check.old.traits(), check.new.traits());
    let place = |check: &Check<'_>, feature: i32| match new.is_edition(&file) {
        true => check.at_part(&file, after.path(), &[OPTIONS, FEATURES, feature]),
        false => check.at(&file, after.path()),
    };
    if old.is_open(before) != new.is_open(after) {
        let (was, is) = if new.is_open(after) { ("closed", "open") } else { ("open", "closed") };
        let problem = format!("the enum was {was} and is {is} now");
        let place = place(check, ENUM_TYPE);
        check.report(&rules::ENUM_SAME_TYPE, place, before.full_name(), problem);
    }
    if old.allows_json(&before.parent_file(), before.full_name())
        && !new.allows_json(&file, after.full_name())
    {
        let place = place(check, JSON_FORMAT);
        let problem = "its JSON is only a best effort now";
        check.report(&rules::ENUM_SAME_JSON_FORMAT, place, before.full_name(), problem);
    }
}

/// Reserved numbers, both ends included.
fn reserved(declared: &EnumDescriptor) -> impl Iterator<Item = (i64, i64)> {
    declared.reserved_ranges().map(|range| ((*range.start()).into(), (*range.end()).into()))
}

/// Values are named beside their enum, as protobuf has it.
fn full_name(declared: &EnumDescriptor, value: &str) -> String {
    let scope = declared.full_name().rsplit_once('.').map_or("", |(scope, _)| scope);
    join(scope, value)
}

/// Fields of `google.protobuf.EnumDescriptorProto`, its values, options and features.
const VALUE: i32 = 2;
const NUMBER: i32 = 2;
const OPTIONS: i32 = 3;
const FEATURES: i32 = 7;
const ENUM_TYPE: i32 = 2;
const JSON_FORMAT: i32 = 6;

//! Rules about fields and extensions that are still there, by their number.

use std::collections::HashMap;

use prost_reflect::ExtensionDescriptor;
use prost_reflect::FieldDescriptor;
use prost_reflect::FileDescriptor;
use prost_reflect::Kind;
use prost_reflect::OneofDescriptor;
use prost_types::FieldOptions;

use crate::registry::breaking::field::Field;
use crate::registry::breaking::field::shown;
use crate::registry::breaking::report::Check;
use crate::registry::breaking::report::Place;
use crate::registry::breaking::report::is_own;
use crate::registry::breaking::report::quoted;
use crate::registry::breaking::rules;
use crate::registry::breaking::rules::Rule;
use crate::registry::breaking::types;

pub(super) fn compare(check: &mut Check<'_>) {
    let (old, new) = (check.old, check.new);
    for message in old.pool().all_messages().filter(|message| is_own(old, &message.parent_file())) {
        let Some(same) = new.pool().get_message_by_name(message.full_name()) else { continue };
        let same_words = have_same_words(check, &message.parent_file(), &same.parent_file());
        for before in message.fields() {
            let Some(after) = same.get_field(before.number()) else { continue };
            if !same_words || !is_untouched(&before, &after) {
                compare_pair(check, &Field::Member(before), &Field::Member(after));
            }
        }
    }
    // A message finds its extensions one after the other, and there may be many.
    let extended = |extension: &ExtensionDescriptor| {
        (extension.containing_message().full_name().to_owned(), extension.number())
    };
    let known: HashMap<(String, u32), ExtensionDescriptor> =
        new.pool().all_extensions().map(|extension| (extended(&extension), extension)).collect();
    for before in old.pool().all_extensions().filter(|extension| is_own(old, &extension.parent_file())) {
        if let Some(after) = known.get(&extended(&before)) {
            compare_pair(check, &Field::Extension(before), &Field::Extension(after.clone()));
        }
    }
}

/// Whether what a field says means the same in both files.
fn have_same_words(check: &Check<'_>, before: &FileDescriptor, after: &FileDescriptor) -> bool {
    let is_edition = check.old.traits().is_edition(before) || check.new.traits().is_edition(after);
    !is_edition && before.syntax() == after.syntax() && java_checks(before) == java_checks(after)
}

/// Whether a field says the same and means nothing that is said elsewhere: no type and no oneof. Most are so, and
/// this is found out much faster than rule by rule.
fn is_untouched(before: &FieldDescriptor, after: &FieldDescriptor) -> bool {
    let (was, is) = (before.field_descriptor_proto(), after.field_descriptor_proto());
    was.type_name.is_none() && (was.oneof_index.is_none() || was.proto3_optional()) && was == is
}

fn compare_pair(check: &mut Check<'_>, before: &Field, after: &Field) {
    let mut pair = Pair { check, before, after };
    pair.types();
    pair.cardinality();
    pair.names();
    pair.default();
    pair.oneof();
    pair.options();
    pair.utf8();
}

/// The same field before and after.
struct Pair<'a, 'b> {
    check: &'a mut Check<'b>,
    before: &'a Field,
    after: &'a Field,
}

impl Pair<'_, '_> {
    /// A part of the field, where it is written, or else the field. Keys and values of maps have no place of their
    /// own.
    fn at(&self, part: &[i32]) -> Place {
        let file = self.after.file();
        match self.after {
            Field::Member(field) if self.after.is_of_map() => {
                match self.check.map_of(field.parent_message().full_name()) {
                    Some(map) => self.check.at_part(&file, map, &[TYPE_NAME]),
                    None => self.check.at(&file, field.path()),
                }
            }
            _ => self.check.at_part(&file, self.after.path(), part),
        }
    }

    fn report(&mut self, rule: &Rule, part: &[i32], problem: impl FnOnce() -> String) {
        if self.check.wants(rule) {
            let problem = format!("field {} {}", self.after.number(), problem());
            let place = self.at(part);
            self.check.report(rule, place, self.before.full_name(), problem);
        }
    }

    fn types(&mut self) {
        let (before, after) = (self.before, self.after);
        if types::is_same(before, after) {
            return;
        }
        let (was, is) = (before.kind(), after.kind());
        let part = if matches!(is, Kind::Message(_) | Kind::Enum(_)) { TYPE_NAME } else { TYPE };
        let problem = || {
            let (was, is) = (shown(&was, before.is_group()), shown(&is, after.is_group()));
            format!("was of type {was}, and is of type {is} now")
        };
        self.report(&rules::FIELD_SAME_TYPE, &[part], problem);
        if !types::is_same_in_json(before, after) {
            self.report(&rules::FIELD_WIRE_JSON_COMPATIBLE_TYPE, &[part], problem);
        }
        if !types::is_same_on_the_wire(before, after) {
            self.report(&rules::FIELD_WIRE_COMPATIBLE_TYPE, &[part], problem);
        }
    }

    fn cardinality(&mut self) {
        if self.before.is_of_map() && self.after.is_of_map() {
            return;
        }
        let was = self.before.cardinality(self.check.old.traits());
        let is = self.after.cardinality(self.check.new.traits());
        if was == is {
            return;
        }
        let problem = || format!("was {}, and is {} now", was.name(), is.name());
        self.report(&rules::FIELD_SAME_CARDINALITY, &[], problem);
        if !was.is_same_in_json(is) {
            self.report(&rules::FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY, &[], problem);
        }
        if !was.is_same_on_the_wire(is) {
            self.report(&rules::FIELD_WIRE_COMPATIBLE_CARDINALITY, &[], problem);
        }
    }

    fn names(&mut self) {
        let changed = |was: &str, is: &str| format!("changed from {} to {}", quoted(was), quoted(is));
        match (self.before, self.after) {
            (Field::Member(before), Field::Member(after)) => {
                if before.name() != after.name() {
                    self.report(&rules::FIELD_SAME_NAME, &[NAME], || {
                        format!("is named otherwise: {}", changed(before.name(), after.name()))
                    });
                }
                if before.json_name() != after.json_name() {
                    self.report(&rules::FIELD_SAME_JSON_NAME, &[JSON_NAME], || {
                        format!("has another JSON name: {}", changed(before.json_name(), after.json_name()))
                    });
                }
            }
            (before, after) => {
                if before.full_name() != after.full_name() {
                    self.report(&rules::FIELD_SAME_NAME, &[NAME], || {
                        format!("is named otherwise: {}", changed(before.full_name(), after.full_name()))
                    });
                }
            }
        }
    }

    fn default(&mut self) {
        let (Some(was), Some(is)) = (self.before.default(), self.after.default()) else { return };
        if !was.is_same(&is) {
            self.report(&rules::FIELD_SAME_DEFAULT, &[DEFAULT_VALUE], || {
                format!("had the default {}, and has {} now", was.show(), is.show())
            });
        }
    }

    fn oneof(&mut self) {
        let oneof = |field: &Field| match field {
            Field::Member(field) => field.containing_oneof().filter(|oneof| !oneof.is_synthetic()),
            Field::Extension(_) => None,
        };
        let (was, is) = (oneof(self.before), oneof(self.after));
        if was.as_ref().map(OneofDescriptor::name) == is.as_ref().map(OneofDescriptor::name) {
            return;
        }
        let shown = |oneof: &Option<OneofDescriptor>| match oneof {
            Some(oneof) => format!("in oneof {}", oneof.name()),
            None => "in no oneof".to_owned(),
        };
        self.report(&rules::FIELD_SAME_ONEOF, &[], || {
            format!("was {}, and is {} now", shown(&was), shown(&is))
        });
    }

    fn options(&mut self) {
        let none = FieldOptions::default();
        let was = self.before.proto().options.as_ref().unwrap_or(&none);
        let is = self.after.proto().options.as_ref().unwrap_or(&none);
        let (old, new) = (self.before.kind(), self.after.kind());
        let part = |number: i32, is_set: bool| if is_set { vec![OPTIONS, number] } else { Vec::new() };
        if is_64_bits(&old) && is_64_bits(&new) && was.jstype() != is.jstype() {
            self.report(&rules::FIELD_SAME_JSTYPE, &part(JSTYPE, is.jstype.is_some()), || {
                let (was, is) = (was.jstype().as_str_name(), is.jstype().as_str_name());
                format!("had jstype {was}, and has {is} now")
            });
        }
        let (before, after) = (was.ctype(), is.ctype());
        // A string is all that a string piece is.
        let is_fine = before == after
            || before == prost_types::field_options::CType::StringPiece
                && after == prost_types::field_options::CType::String;
        if is_text(&old) && is_text(&new) && !self.before.is_of_map() && !is_fine {
            self.report(&rules::FIELD_SAME_CPP_STRING_TYPE, &part(CTYPE, is.ctype.is_some()), || {
                format!("had ctype {}, and has {} now", before.as_str_name(), after.as_str_name())
            });
        }
    }

    fn utf8(&mut self) {
        if !matches!((self.before.kind(), self.after.kind()), (Kind::String, Kind::String)) {
            return;
        }
        let was = self.before.verifies_utf8(self.check.old.traits());
        let is = self.after.verifies_utf8(self.check.new.traits());
        let shown =
            |checked| if checked { "is checked to be UTF-8 now" } else { "is no longer checked to be UTF-8" };
        let file = self.after.file();
        let is_edition = self.check.new.traits().is_edition(&file);
        if was != is {
            let part: &[i32] = if is_edition { &[OPTIONS, FEATURES, UTF8_VALIDATION] } else { &[] };
            self.report(&rules::FIELD_SAME_UTF8_VALIDATION, part, || shown(is).to_owned());
        }
        let (was, is) = (was || java_checks(&self.before.file()), is || java_checks(&file));
        if was != is && self.check.wants(&rules::FIELD_SAME_JAVA_UTF8_VALIDATION) {
            let options = file.file_descriptor_proto().options.as_ref();
            let place = match options.is_some_and(|options| options.java_string_check_utf8.is_some()) {
                true => self.check.at(&file, &[FILE_OPTIONS, JAVA_STRING_CHECK_UTF8]),
                false => self.at(&[]),
            };
            let problem = format!("field {} {} in Java", self.after.number(), shown(is));
            let rule = &rules::FIELD_SAME_JAVA_UTF8_VALIDATION;
            self.check.report(rule, place, self.before.full_name(), problem);
        }
    }
}

fn java_checks(file: &FileDescriptor) -> bool {
    let options = file.file_descriptor_proto().options.as_ref();
    options.is_some_and(prost_types::FileOptions::java_string_check_utf8)
}

fn is_64_bits(kind: &Kind) -> bool {
    matches!(kind, Kind::Int64 | Kind::Sint64 | Kind::Uint64 | Kind::Fixed64 | Kind::Sfixed64)
}

fn is_text(kind: &Kind) -> bool {
    matches!(kind, Kind::String | Kind::Bytes)
}

/// Fields of `google.protobuf.FieldDescriptorProto`, its options and features.
const NAME: i32 = 1;
const TYPE: i32 = 5;
const TYPE_NAME: i32 = 6;
const DEFAULT_VALUE: i32 = 7;
const OPTIONS: i32 = 8;
const JSON_NAME: i32 = 10;
const CTYPE: i32 = 1;
const JSTYPE: i32 = 6;
const FEATURES: i32 = 21;
const UTF8_VALIDATION: i32 = 4;
/// Of files.
const FILE_OPTIONS: i32 = 8;
const JAVA_STRING_CHECK_UTF8: i32 = 27;

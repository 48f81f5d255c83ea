//! Rules about files and packages as a whole.

use std::borrow::Cow;
use std::collections::BTreeMap;

use prost_reflect::FileDescriptor;
use prost_reflect::Syntax;
use prost_types::FileOptions;
use prost_types::file_options::OptimizeMode;

use crate::registry::breaking::report::Check;
use crate::registry::breaking::report::Place;
use crate::registry::breaking::report::is_own;
use crate::registry::breaking::report::quoted;
use crate::registry::breaking::rules;
use crate::registry::breaking::rules::Rule;
use crate::schema::Schema;

pub(super) fn compare(check: &mut Check<'_>) {
    let (old, new) = (check.old, check.new);
    for file in old.pool().files().filter(|file| is_own(old, file)) {
        match new.pool().get_file_by_name(file.name()) {
            Some(same) => compare_pair(check, &file, &same),
            None => {
                check.report(&rules::FILE_NO_DELETE, Place::file(file.name()), file.name(), "it was deleted");
            }
        }
    }
    if check.wants(&rules::PACKAGE_NO_DELETE) {
        compare_packages(check);
    }
}

/// A package that is gone stands at the first of its files.
fn compare_packages(check: &mut Check<'_>) {
    let old = check.old;
    let mut gone: BTreeMap<String, String> = BTreeMap::new();
    for file in old.pool().files().filter(|file| is_own(old, file)) {
        if check.has_package(file.package_name()) {
            continue;
        }
        let first = gone.entry(file.package_name().to_owned()).or_insert_with(|| file.name().to_owned());
        if file.name() < first.as_str() {
            *first = file.name().to_owned();
        }
    }
    for (package, file) in gone {
        let problem = format!("no file is in package {} any more", quoted(&package));
        // What is in no package has no name to call the package by.
        let element = if package.is_empty() { file.clone() } else { package };
        check.report(&rules::PACKAGE_NO_DELETE, Place::file(&file), element, problem);
    }
}

fn compare_pair(check: &mut Check<'_>, old: &FileDescriptor, new: &FileDescriptor) {
    if old.package_name() != new.package_name() {
        let problem = changed("package", old.package_name(), new.package_name());
        let place = check.at(new, &[PACKAGE]);
        check.report(&rules::FILE_SAME_PACKAGE, place, old.name(), problem);
    }
    let (before, after) = (syntax(check.old, old), syntax(check.new, new));
    if before != after {
        let path = if check.new.traits().is_edition(new) { EDITION } else { SYNTAX };
        let place = match check.at(new, &[path]) {
            // Some write the edition's place where that of the syntax would be.
            place if place.is_whole_file() => check.at(new, &[SYNTAX]),
            place => place,
        };
        check.report(&rules::FILE_SAME_SYNTAX, place, old.name(), changed("syntax", before, after));
    }
    let none = FileOptions::default();
    let before = old.file_descriptor_proto().options.as_ref().unwrap_or(&none);
    let after = new.file_descriptor_proto().options.as_ref().unwrap_or(&none);
    for option in OPTIONS {
        let (was, is) = ((option.read)(before), (option.read)(after));
        if was.value == is.value {
            continue;
        }
        let place = match is.is_set {
            true => check.at(new, &[FILE_OPTIONS, option.number]),
            false => Place::file(new.name()),
        };
        let problem = changed(option.name, &was.value, &is.value);
        check.report(option.rule, place, old.name(), problem);
    }
}

fn syntax(schema: &Schema, file: &FileDescriptor) -> &'static str {
    match file.syntax() {
        _ if schema.traits().is_edition(file) => "editions",
        Syntax::Proto2 => "proto2",
        Syntax::Proto3 => "proto3",
    }
}

fn changed(what: &str, before: &str, after: &str) -> String {
    format!("{what} changed from {} to {}", quoted(before), quoted(after))
}

/// An option of files that generated code depends on.
struct FileOption {
    rule: &'static Rule,
    name: &'static str,
    number: i32,
    read: fn(&FileOptions) -> Setting<'_>,
}

struct Setting<'a> {
    is_set: bool,
    value: Cow<'a, str>,
}

fn text(value: Option<&String>) -> Setting<'_> {
    Setting { is_set: value.is_some(), value: value.map(String::as_str).unwrap_or_default().into() }
}

fn flag<'a>(value: Option<bool>, default: bool) -> Setting<'a> {
    let shown = if value.unwrap_or(default) { "true" } else { "false" };
    Setting { is_set: value.is_some(), value: shown.into() }
}

fn mode<'a>(value: Option<i32>) -> Setting<'a> {
    let shown = match value.map(OptimizeMode::try_from) {
        None => OptimizeMode::Speed.as_str_name().into(),
        Some(Ok(mode)) => mode.as_str_name().into(),
        Some(Err(unknown)) => unknown.to_string().into(),
    };
    Setting { is_set: value.is_some(), value: shown }
}

macro_rules! options {
    ($($rule:ident $name:ident $number:literal $read:expr;)*) => {
        &[$(FileOption {
            rule: &rules::$rule,
            name: concat!("option ", stringify!($name)),
            number: $number,
            read: |options| $read(options.$name.as_ref()),
        }),*]
    };
}

static OPTIONS: &[FileOption] = options! {
    FILE_SAME_JAVA_PACKAGE java_package 1 text;
    FILE_SAME_JAVA_OUTER_CLASSNAME java_outer_classname 8 text;
    FILE_SAME_OPTIMIZE_FOR optimize_for 9 |value: Option<&i32>| mode(value.copied());
    FILE_SAME_JAVA_MULTIPLE_FILES java_multiple_files 10 |value: Option<&bool>| flag(value.copied(), false);
    FILE_SAME_GO_PACKAGE go_package 11 text;
    FILE_SAME_CC_GENERIC_SERVICES cc_generic_services 16 |value: Option<&bool>| flag(value.copied(), false);
    FILE_SAME_JAVA_GENERIC_SERVICES java_generic_services 17 |value: Option<&bool>| flag(value.copied(), false);
    FILE_SAME_PY_GENERIC_SERVICES py_generic_services 18 |value: Option<&bool>| flag(value.copied(), false);
    FILE_SAME_CC_ENABLE_ARENAS cc_enable_arenas 31 |value: Option<&bool>| flag(value.copied(), true);
    FILE_SAME_OBJC_CLASS_PREFIX objc_class_prefix 36 text;
    FILE_SAME_CSHARP_NAMESPACE csharp_namespace 37 text;
    FILE_SAME_SWIFT_PREFIX swift_prefix 39 text;
    FILE_SAME_PHP_CLASS_PREFIX php_class_prefix 40 text;
    FILE_SAME_PHP_NAMESPACE php_namespace 41 text;
    FILE_SAME_PHP_METADATA_NAMESPACE php_metadata_namespace 44 text;
    FILE_SAME_RUBY_PACKAGE ruby_package 45 text;
};

/// Fields of `google.protobuf.FileDescriptorProto`.
const PACKAGE: i32 = 2;
const FILE_OPTIONS: i32 = 8;
const SYNTAX: i32 = 12;
const EDITION: i32 = 14;

//! Rules about types and services that are gone from their file or their package.

use prost_reflect::FileDescriptor;

use crate::registry::breaking::report::Check;
use crate::registry::breaking::report::Place;
use crate::registry::breaking::report::is_own;
use crate::registry::breaking::report::join;
use crate::registry::breaking::report::quoted;
use crate::registry::breaking::rules;
use crate::registry::breaking::rules::Rule;
use crate::schema::Schema;

pub(super) fn compare(check: &mut Check<'_>) {
    let old = check.old;
    for message in old.pool().all_messages() {
        look_for(check, &MESSAGE, &message.parent_file(), message.full_name());
    }
    for declared in old.pool().all_enums() {
        look_for(check, &ENUM, &declared.parent_file(), declared.full_name());
    }
    for extension in old.pool().all_extensions() {
        look_for(check, &EXTENSION, &extension.parent_file(), extension.full_name());
    }
    for service in old.services() {
        let reported = look_for(check, &SERVICE, &service.descriptor.parent_file(), &service.name);
        if !reported && check.new.service(&service.name).is_none() {
            let place = Place::file(&service.file);
            check.report(&rules::TRANSOM_SERVICE_NO_DELETE, place, &*service.name, "the service was deleted");
        }
    }
}

/// One kind of declaration.
struct Declared {
    name: &'static str,
    in_file: &'static Rule,
    in_package: &'static Rule,
    /// The file that declares one of this kind by this full name.
    find: fn(&Schema, &str) -> Option<FileDescriptor>,
}

static MESSAGE: Declared = Declared {
    name: "message",
    in_file: &rules::MESSAGE_NO_DELETE,
    in_package: &rules::PACKAGE_MESSAGE_NO_DELETE,
    find: |schema, name| schema.pool().get_message_by_name(name).map(|message| message.parent_file()),
};
static ENUM: Declared = Declared {
    name: "enum",
    in_file: &rules::ENUM_NO_DELETE,
    in_package: &rules::PACKAGE_ENUM_NO_DELETE,
    find: |schema, name| schema.pool().get_enum_by_name(name).map(|declared| declared.parent_file()),
};
static EXTENSION: Declared = Declared {
    name: "extension",
    in_file: &rules::EXTENSION_NO_DELETE,
    in_package: &rules::PACKAGE_EXTENSION_NO_DELETE,
    find: |schema, name| schema.pool().get_extension_by_name(name).map(|extension| extension.parent_file()),
};
static SERVICE: Declared = Declared {
    name: "service",
    in_file: &rules::SERVICE_NO_DELETE,
    in_package: &rules::PACKAGE_SERVICE_NO_DELETE,
    find: |schema, name| schema.pool().get_service_by_name(name).map(|service| service.parent_file()),
};

/// Reports what is gone, and whether it did. In a file that is in another package now, it is sought by its name in
/// that one.
fn look_for(check: &mut Check<'_>, declared: &Declared, file: &FileDescriptor, full_name: &str) -> bool {
    let (in_file, in_package) = (check.wants(declared.in_file), check.wants(declared.in_package));
    if !in_file && !in_package || !is_own(check.old, file) {
        return false;
    }
    let new = check.new;
    let package = file.package_name();
    let nested = full_name.strip_prefix(package).unwrap_or(full_name);
    let nested = nested.strip_prefix('.').unwrap_or(nested);
    if in_file {
        // That the file itself is gone is said once.
        let Some(now) = new.pool().get_file_by_name(file.name()) else { return false };
        let name = join(now.package_name(), nested);
        if (declared.find)(new, &name).is_some_and(|found| found.name() == file.name()) {
            return false;
        }
        let place = around(check, &now, nested, Some(file.name()));
        let problem = format!("the {} was deleted from its file", declared.name);
        check.report(declared.in_file, place, full_name, problem);
        return true;
    }
    if !check.has_package(package)
        || (declared.find)(new, full_name).is_some_and(|found| found.package_name() == package)
    {
        return false;
    }
    let place = match new.pool().get_file_by_name(file.name()) {
        Some(now) => around(check, &now, nested, None),
        None => Place::file(file.name()),
    };
    let problem = format!("the {} was deleted from package {}", declared.name, quoted(package));
    check.report(declared.in_package, place, full_name, problem);
    true
}

/// The innermost message that is still there of those that were around a declaration, or else the file.
fn around(check: &Check<'_>, file: &FileDescriptor, nested: &str, only: Option<&str>) -> Place {
    let mut outer = nested;
    while let Some((scope, _)) = outer.rsplit_once('.') {
        let message = check.new.pool().get_message_by_name(&join(file.package_name(), scope));
        let message = message.filter(|message| only.is_none_or(|only| message.parent_file().name() == only));
        if let Some(message) = message {
            return check.at_message(&message);
        }
        outer = scope;
    }
    Place::file(file.name())
}

//! Knows every name that files declare, and finds the types that nobody does.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use prost_types::DescriptorProto;
use prost_types::EnumDescriptorProto;
use prost_types::FieldDescriptorProto;
use prost_types::FileDescriptorProto;
use prost_types::field_descriptor_proto::Type;

use crate::schema::Fault;
use crate::schema::Limits;
use crate::schema::draft::Draft;
use crate::schema::imports::Imports;

/// All names that a set of files declares.
pub(super) struct Symbols {
    by_name: HashMap<Box<str>, Symbol>,
}

#[derive(Debug, Clone, Copy)]
struct Symbol {
    /// Index of the draft; of a package, the first that names it.
    file: usize,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Package,
    Message,
    Enum,
    Other,
}

impl Symbols {
    /// Takes in all names and resolves all types. Reports every name that is malformed or declared twice,
    /// or else every type that is not found.
    pub(super) fn of(drafts: &[Draft], imports: &Imports, limits: &Limits) -> Result<Self, Vec<Fault>> {
        let mut walk = Walk {
            drafts,
            imports,
            limits,
            symbols: Self { by_name: HashMap::new() },
            name_bytes: 0,
            step: Step::Declare,
            file: 0,
            path: Vec::new(),
            faults: Vec::new(),
        };
        for step in [Step::Declare, Step::Resolve] {
            walk.step = step;
            for &file in &imports.order {
                walk.file = file;
                walk.path.clear();
                walk.file(&drafts[file].proto);
                if limits.faults_max < walk.faults.len() {
                    break;
                }
            }
            if !walk.faults.is_empty() {
                return Err(walk.faults);
            }
        }
        Ok(walk.symbols)
    }

    /// Full names and the drafts that declare them, packages left out.
    pub(super) fn into_files(self) -> impl Iterator<Item = (Box<str>, usize)> {
        let declared = self.by_name.into_iter().filter(|(_, symbol)| symbol.kind != Kind::Package);
        declared.map(|(name, symbol)| (name, symbol.file))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Declare,
    Resolve,
}

struct Walk<'a> {
    drafts: &'a [Draft],
    imports: &'a Imports,
    limits: &'a Limits,
    symbols: Symbols,
    name_bytes: usize,
    step: Step,
    file: usize,
    /// Of the descriptor that is looked at, as source info has it.
    path: Vec<i32>,
    faults: Vec<Fault>,
}

impl Walk<'_> {
    fn file(&mut self, file: &FileDescriptorProto) {
        let package = file.package();
        if self.step == Step::Declare && !self.package(package) {
            return;
        }
        self.each(4, &file.message_type, |this, message| this.message(message, package));
        self.each(5, &file.enum_type, |this, declared| this.enumeration(declared, package));
        self.each(7, &file.extension, |this, field| this.field(field, package));
        self.each(6, &file.service, |this, service| {
            let scope = this.declare(package, service.name(), Kind::Other);
            this.each(2, &service.method, |this, method| {
                this.declare(&scope, method.name(), Kind::Other);
                this.refer(&scope, method.input_type(), 2, Wanted::Message);
                this.refer(&scope, method.output_type(), 3, Wanted::Message);
            });
        });
    }

    /// Whether the package has a name that can be declared.
    fn package(&mut self, package: &str) -> bool {
        if package.is_empty() {
            return true;
        }
        if NAME_BYTES_MAX < package.len() || NAME_PARTS_MAX < package.split('.').count() {
            let problem =
                format!("its package has more than {NAME_BYTES_MAX} bytes or {NAME_PARTS_MAX} parts");
            self.fault(&[2], problem, "choose a shorter one");
            return false;
        }
        if !package.split('.').all(is_identifier) {
            self.fault(&[2], "its package is not made of identifiers", "choose one such as pets.v1");
            return false;
        }
        let ends = package.match_indices('.').map(|(at, _)| at).chain([package.len()]);
        for end in ends {
            self.insert(package[..end].to_owned(), Kind::Package, &[2]);
        }
        true
    }

    fn message(&mut self, message: &DescriptorProto, scope: &str) {
        let scope = self.declare(scope, message.name(), Kind::Message);
        self.each(2, &message.field, |this, field| this.field(field, &scope));
        self.each(8, &message.oneof_decl, |this, oneof| {
            this.declare(&scope, oneof.name(), Kind::Other);
        });
        self.each(6, &message.extension, |this, field| this.field(field, &scope));
        self.each(4, &message.enum_type, |this, declared| this.enumeration(declared, &scope));
        // The scan has bounded how deeply messages nest.
        self.each(3, &message.nested_type, |this, nested| this.message(nested, &scope));
    }

    fn enumeration(&mut self, declared: &EnumDescriptorProto, scope: &str) {
        self.declare(scope, declared.name(), Kind::Enum);
        self.each(2, &declared.value, |this, value| {
            // Values live beside their enum, not in it.
            this.declare(scope, value.name(), Kind::Other);
        });
    }

    fn field(&mut self, field: &FieldDescriptorProto, scope: &str) {
        self.declare(scope, field.name(), Kind::Other);
        if self.step == Step::Declare && NAME_BYTES_MAX < field.json_name().len() {
            self.fault(
                &[10],
                format!("its JSON name has more than {NAME_BYTES_MAX} bytes"),
                "choose a shorter one",
            );
        }
        let needs_type =
            matches!(field.r#type(), Type::Message | Type::Enum | Type::Group) && field.r#type.is_some();
        if needs_type || field.type_name.is_some() {
            self.refer(scope, field.type_name(), 6, Wanted::FieldType);
        }
        if field.extendee.is_some() {
            self.refer(scope, field.extendee(), 2, Wanted::Message);
        }
    }

    fn each<T>(&mut self, number: i32, items: &[T], mut visit: impl FnMut(&mut Self, &T)) {
        let depth = self.path.len();
        for (at, item) in (0..).zip(items) {
            if self.limits.faults_max < self.faults.len() {
                break;
            }
            self.path.truncate(depth);
            self.path.extend([number, at]);
            visit(self, item);
        }
        self.path.truncate(depth);
    }

    /// Takes a name in, on the first walk; gives its full name.
    fn declare(&mut self, scope: &str, name: &str, kind: Kind) -> String {
        let full = if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") };
        if self.step == Step::Resolve {
            return full;
        }
        if !is_identifier(name) {
            let shown: String = name.chars().take(100).flat_map(char::escape_debug).collect();
            self.fault(
                &[1],
                format!("\"{shown}\" is not an identifier"),
                "use letters, digits and underscores",
            );
        } else if NAME_BYTES_MAX < full.len() {
            let problem = format!("the full name of \"{name}\" has more than {NAME_BYTES_MAX} bytes");
            self.fault(&[1], problem, "choose shorter names");
        } else {
            self.insert(full.clone(), kind, &[1]);
        }
        full
    }

    fn insert(&mut self, full: String, kind: Kind, path: &[i32]) {
        self.name_bytes += full.len();
        if self.limits.bytes_max < self.name_bytes {
            let problem =
                format!("the full names of all files have more than {} bytes", self.limits.bytes_max);
            self.fault(path, problem, "upload it as several modules");
            return;
        }
        match self.symbols.by_name.entry(full.into()) {
            Entry::Vacant(entry) => {
                entry.insert(Symbol { file: self.file, kind });
            }
            Entry::Occupied(entry) if kind == Kind::Package && entry.get().kind == Kind::Package => (),
            Entry::Occupied(entry) => {
                let name = entry.key();
                let first = entry.get().file;
                let (problem, help) = if first == self.file {
                    (format!("\"{name}\" is declared twice"), "rename one of the two")
                } else {
                    let other = &self.drafts[first].name;
                    (
                        format!("\"{name}\" is declared in \"{other}\" as well"),
                        "rename or remove one of the two",
                    )
                };
                self.fault(path, problem, help);
            }
        }
    }

    /// Looks a type up, on the second walk. `number` is the field that names it.
    fn refer(&mut self, scope: &str, name: &str, number: i32, wanted: Wanted) {
        if self.step == Step::Declare {
            return;
        }
        if let Err((problem, help)) = self.resolve(scope, name, wanted) {
            self.fault(&[number], problem, help);
        }
    }

    /// More lenient than protobuf about which scope wins, so that only names that nobody can mean are
    /// reported here; the linker has the last word.
    fn resolve(&self, scope: &str, name: &str, wanted: Wanted) -> Result<(), (String, String)> {
        let what = wanted.name();
        let shown: String = name.strip_prefix('.').unwrap_or(name).chars().take(NAME_BYTES_MAX).collect();
        let not_found = || {
            let help = "declare it, or upload and import the file that does".to_owned();
            (format!("{what} \"{shown}\" not found"), help)
        };
        if name.is_empty() {
            return Err((
                format!("a {what} is missing"),
                "write the set anew with protoc or buf build".to_owned(),
            ));
        }
        if NAME_BYTES_MAX < name.len() {
            return Err(not_found());
        }
        let mut why = None;
        let mut scope = if name.starts_with('.') { "" } else { scope };
        let name = name.strip_prefix('.').unwrap_or(name);
        loop {
            let full = if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") };
            match self.symbols.by_name.get(full.as_str()) {
                Some(symbol) if !wanted.accepts(symbol.kind) => {
                    let help = format!("name a {what}");
                    why = why.or_else(|| Some((format!("\"{full}\" is not a {what}"), help)));
                }
                Some(symbol) if self.imports.visible[self.file].contains(&symbol.file) => return Ok(()),
                Some(symbol) => {
                    let other = &self.drafts[symbol.file].name;
                    let problem =
                        format!("{what} \"{full}\" is declared in \"{other}\", which is not imported");
                    why = Some((problem, format!("add: import \"{other}\";")));
                }
                None => (),
            }
            if scope.is_empty() {
                return Err(why.unwrap_or_else(not_found));
            }
            scope = scope.rsplit_once('.').map_or("", |(outer, _)| outer);
        }
    }

    fn fault(&mut self, path: &[i32], problem: impl Into<String>, help: impl Into<String>) {
        if self.limits.faults_max < self.faults.len() {
            return;
        }
        let path = [&self.path, path].concat();
        self.faults.push(self.drafts[self.file].fault(&path, problem, help));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Message,
    FieldType,
}

impl Wanted {
    fn accepts(self, kind: Kind) -> bool {
        kind == Kind::Message || self == Self::FieldType && kind == Kind::Enum
    }

    fn name(self) -> &'static str {
        match self {
            Self::Message => "message type",
            Self::FieldType => "message or enum type",
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    starts && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Bytes of a full name.
const NAME_BYTES_MAX: usize = 512;
/// Parts of a package: each type is looked up in each of them.
const NAME_PARTS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(files: &[(&str, &str)]) -> Vec<String> {
        let limits = Limits::default();
        let draft = |(name, text): &(&str, &str)| {
            Draft::from_text(name, text.as_bytes().to_vec(), &limits).ok().unwrap()
        };
        let drafts: Vec<Draft> = files.iter().map(draft).collect();
        let imports = Imports::of(&drafts, &limits).ok().unwrap();
        let faults = Symbols::of(&drafts, &imports, &limits).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_types_that_nobody_declares_are_reported() {
        let text = "syntax = \"proto3\";\npackage p;\nmessage A {\n  Foo foo = 1;\n  p.A self = 2;\n  q.Bar bar = 3;\n}\n\
                    service S {\n  rpc M(A) returns (Baz);\n}\n";
        assert_eq!(
            faults(&[("a.proto", text)]),
            [
                "a.proto:4: message or enum type \"Foo\" not found; declare it, or upload and import the file that does",
                "a.proto:6: message or enum type \"q.Bar\" not found; declare it, or upload and import the file that does",
                "a.proto:9: message type \"Baz\" not found; declare it, or upload and import the file that does",
            ]
        );
    }

    #[test]
    fn a_missing_import_is_suggested() {
        let used = "syntax = \"proto3\";\npackage p;\nmessage A {}\n";
        let user = "syntax = \"proto3\";\npackage p.q;\nmessage B { A a = 1; }\n";
        let found = faults(&[("a.proto", used), ("b.proto", user)]);
        assert_eq!(
            found,
            ["b.proto:3: message or enum type \"p.A\" is declared in \"a.proto\", which is not imported; \
              add: import \"a.proto\";"]
        );
    }

    #[test]
    fn names_declared_twice_are_reported_with_both_files() {
        let text = "syntax = \"proto3\";\npackage p;\nmessage A {}\nenum E { ZERO = 0; }\nmessage ZERO {}\n";
        let other = "syntax = \"proto3\";\npackage p;\n\nmessage A {}\n";
        let found = faults(&[("a.proto", text), ("b.proto", other)]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("\"p.ZERO\" is declared twice"), "{found:?}");
        assert!(found[1].starts_with("b.proto:4: \"p.A\" is declared in \"a.proto\" as well"), "{found:?}");
    }

    #[test]
    fn a_value_is_no_type() {
        let text = "syntax = \"proto3\";\nmessage A { int32 x = 1; }\nservice S { rpc M(E) returns (A); }\nenum E { Z = 0; }\n";
        assert_eq!(
            faults(&[("a.proto", text)]),
            ["a.proto:3: \"E\" is not a message type; name a message type"]
        );
    }

    #[test]
    fn packages_without_end_are_refused() {
        let text = format!("syntax = \"proto3\";\npackage {};\n", vec!["a"; 100].join("."));
        assert!(faults(&[("a.proto", &text)])[0].contains("its package has more than"));
    }
}

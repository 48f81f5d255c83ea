//! Makes schemas at random: a proto2 file, and a proto3 file that uses it.

use std::fmt;

use prost_reflect::DescriptorPool;
use prost_reflect::Kind;
use prost_reflect::MessageDescriptor;
use prost_types::DescriptorProto;
use prost_types::EnumDescriptorProto;
use prost_types::EnumOptions;
use prost_types::EnumValueDescriptorProto;
use prost_types::FieldDescriptorProto;
use prost_types::FieldOptions;
use prost_types::FileDescriptorProto;
use prost_types::MessageOptions;
use prost_types::OneofDescriptorProto;
use prost_types::descriptor_proto::ExtensionRange;
use prost_types::field_descriptor_proto::Label;
use prost_types::field_descriptor_proto::Type;
use transom::schema::Traits;
use transom::transcode::MessageId;
use transom::transcode::Plans;

use super::script::Script;

/// A schema, and both implementations for it.
pub(crate) struct World {
    pub(crate) root: MessageDescriptor,
    pub(crate) id: MessageId,
    pub(crate) plans: Plans,
    /// Names of enum values that share their number with another.
    pub(crate) aliases: Vec<String>,
    /// Names of repeated fields whose elements may be null.
    pub(crate) nullable: Vec<String>,
    files: Vec<FileDescriptorProto>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "root {}", self.root.full_name())?;
        self.files.iter().try_for_each(|file| writeln!(f, "{file:#?}"))
    }
}

impl World {
    /// The schema that a script makes.
    pub(crate) fn new(script: &mut Script<'_>) -> Self {
        let mut maker = Maker { script, names: 0 };
        let two = maker.file(Syntax::Two, "two", &[]);
        let known: Vec<String> = two.message_type.iter().map(|m| format!(".two.{}", m.name())).collect();
        let three = maker.file(Syntax::Three, "three", &known);
        let package = if script.one_in(4) { "two.M0" } else { "three.M0" };
        Self::with(vec![two, three], package)
    }

    /// A schema of given files.
    pub(crate) fn with(files: Vec<FileDescriptorProto>, root: &str) -> Self {
        let mut pool = DescriptorPool::global();
        for file in &files {
            pool.add_file_descriptor_proto(file.clone())
                .unwrap_or_else(|error| panic!("the schema is at fault: {error:?}\n{file:#?}"));
        }
        let plans = Plans::new(pool.clone(), Traits::default());
        let id = plans.find(root).expect("the root is in the schema");
        let root = pool.get_message_by_name(root).expect("the root is in the schema");
        let mut aliases = Vec::new();
        for enumeration in pool.all_enums() {
            let values: Vec<_> = enumeration.values().collect();
            let twins =
                values.iter().filter(|a| values.iter().filter(|b| a.number() == b.number()).count() > 1);
            aliases.extend(twins.map(|value| value.name().to_owned()));
        }
        let mut nullable = Vec::new();
        for field in pool.all_messages().flat_map(|message| message.fields().collect::<Vec<_>>()) {
            if field.is_list() && is_nullable(&field.kind()) {
                nullable.extend([field.name().to_owned(), field.json_name().to_owned()]);
            }
        }
        for extension in pool.all_extensions().filter(|ext| ext.is_list() && is_nullable(&ext.kind())) {
            nullable.push(extension.json_name().to_owned());
        }
        Self { root, id, plans, aliases, nullable, files }
    }
}

/// Whether null is a value of a kind.
pub(crate) fn is_nullable(kind: &Kind) -> bool {
    match kind {
        Kind::Message(message) => message.full_name() == "google.protobuf.Value",
        Kind::Enum(declared) => declared.full_name() == "google.protobuf.NullValue",
        _ => false,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Two,
    Three,
}

struct Maker<'m, 's> {
    script: &'m mut Script<'s>,
    names: usize,
}

impl Maker<'_, '_> {
    fn file(&mut self, syntax: Syntax, package: &str, known: &[String]) -> FileDescriptorProto {
        let count = 1 + self.script.below(3);
        let mut types: Vec<String> = (0..count).map(|at| format!(".{package}.M{at}")).collect();
        types.extend_from_slice(known);
        let enums = [format!(".{package}.E0"), format!(".{package}.E1")];
        let scope = Scope { syntax, types, enums };
        let mut file = FileDescriptorProto {
            name: Some(format!("{package}.proto")),
            package: Some(package.to_owned()),
            dependency: WELL_KNOWN_FILES.iter().map(|name| (*name).to_owned()).collect(),
            syntax: Some(if syntax == Syntax::Two { "proto2" } else { "proto3" }.to_owned()),
            enum_type: (0..2).map(|at| self.enumeration(syntax, &format!("E{at}"))).collect(),
            ..FileDescriptorProto::default()
        };
        if syntax == Syntax::Three {
            file.dependency.push("two.proto".to_owned());
        }
        for at in 0..count {
            let name = format!("M{at}");
            let message = self.message(&scope, package, &name);
            file.message_type.push(message);
        }
        if syntax == Syntax::Two {
            for at in 0..self.script.below(4) {
                let mut extension = self.field(&scope, i32::try_from(1000 + at).unwrap_or(1000));
                extension.name = Some(format!("ext_{at}"));
                extension.json_name = None;
                extension.extendee = Some(".two.M0".to_owned());
                if extension.label() == Label::Required {
                    extension.set_label(Label::Optional);
                }
                if at % 2 == 1 {
                    file.message_type[0].extension.push(extension);
                } else {
                    file.extension.push(extension);
                }
            }
        }
        file
    }

    fn enumeration(&mut self, syntax: Syntax, name: &str) -> EnumDescriptorProto {
        let numbers = [0, 1, 2, 7, -1, i32::MAX, i32::MIN, 130];
        let mut numbers = numbers[..2 + self.script.below(7)].to_vec();
        if syntax == Syntax::Two {
            self.script.shuffle(&mut numbers);
        }
        let value = |at: usize, number: i32| EnumValueDescriptorProto {
            name: Some(format!("{name}_V{at}")),
            number: Some(number),
            options: None,
        };
        let mut values: Vec<_> = numbers.iter().enumerate().map(|(at, number)| value(at, *number)).collect();
        let mut options = None;
        if self.script.one_in(6) {
            values.push(value(100, numbers[self.script.below(numbers.len())]));
            options = Some(EnumOptions { allow_alias: Some(true), ..EnumOptions::default() });
        }
        EnumDescriptorProto { name: Some(name.to_owned()), value: values, options, ..Default::default() }
    }

    fn message(&mut self, scope: &Scope, package: &str, name: &str) -> DescriptorProto {
        let mut message = DescriptorProto { name: Some(name.to_owned()), ..DescriptorProto::default() };
        let mut number = 0;
        let many = if self.script.one_in(20) { 80 } else { 12 };
        let full_name = format!(".{package}.{name}");
        for _ in 0..1 + self.script.below(many) {
            number += match self.script.below(12) {
                10 => 1 + i32::try_from(self.script.below(600)).unwrap_or(0),
                11 if number > 900 && self.script.one_in(4) => 19_000_000,
                _ => 1,
            };
            if (900..20_000).contains(&number) {
                number = 20_000;
            }
            self.add_field(scope, &full_name, &mut message, number);
        }
        if scope.syntax == Syntax::Two {
            message.extension_range =
                vec![ExtensionRange { start: Some(1000), end: Some(2000), options: None }];
        }
        // Those that `optional` makes come last.
        for field in &mut message.field {
            if field.proto3_optional() {
                field.oneof_index = i32::try_from(message.oneof_decl.len()).ok();
                message
                    .oneof_decl
                    .push(OneofDescriptorProto { name: Some(format!("_{}", field.name())), options: None });
            }
        }
        message
    }

    fn add_field(&mut self, scope: &Scope, full_name: &str, message: &mut DescriptorProto, number: i32) {
        let mut field = self.field(scope, number);
        match self.script.below(8) {
            0 => self.make_map(scope, full_name, message, &mut field),
            1 | 2 => {
                // Members of one oneof stand together.
                let goes_on = message.field.last().is_some_and(|last| last.oneof_index.is_some());
                if !goes_on || self.script.one_in(4) {
                    let at = message.oneof_decl.len();
                    message
                        .oneof_decl
                        .push(OneofDescriptorProto { name: Some(format!("one_{at}")), options: None });
                }
                field.set_label(Label::Optional);
                field.oneof_index = i32::try_from(message.oneof_decl.len() - 1).ok();
                field.options = None;
                field.default_value = None;
            }
            3 if scope.syntax == Syntax::Three && field.label() == Label::Optional => {
                field.proto3_optional = Some(true);
            }
            4 if scope.syntax == Syntax::Two => {
                let name = format!("Group{number}");
                let inner = self.field(scope, 1);
                message.nested_type.push(DescriptorProto {
                    name: Some(name.clone()),
                    field: vec![inner],
                    ..DescriptorProto::default()
                });
                field.name = Some(name.to_lowercase());
                field.json_name = None;
                field.type_name = Some(format!("{full_name}.{name}"));
                field.set_type(Type::Group);
                field.default_value = None;
                field.options = None;
            }
            _ => {}
        }
        message.field.push(field);
    }

    fn make_map(
        &mut self,
        scope: &Scope,
        full_name: &str,
        message: &mut DescriptorProto,
        field: &mut FieldDescriptorProto,
    ) {
        let name = format!("Map{}Entry", field.number());
        let mut key = self.field(scope, 1);
        key.set_type(self.script.pick(KEYS));
        key.type_name = None;
        let mut value = self.field(scope, 2);
        for (part, name) in [(&mut key, "key"), (&mut value, "value")] {
            part.name = Some(name.to_owned());
            part.json_name = None;
            part.set_label(Label::Optional);
            part.options = None;
            part.default_value = None;
        }
        message.nested_type.push(DescriptorProto {
            name: Some(name.clone()),
            field: vec![key, value],
            options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
            ..DescriptorProto::default()
        });
        field.set_label(Label::Repeated);
        field.set_type(Type::Message);
        field.type_name = Some(format!("{full_name}.{name}"));
        field.options = None;
        field.default_value = None;
    }

    /// A field of any type, singular or repeated.
    fn field(&mut self, scope: &Scope, number: i32) -> FieldDescriptorProto {
        self.names += 1;
        let at = self.names;
        let name = match self.script.below(6) {
            0 => format!("camelCase{at}"),
            1 => format!("_x{at}"),
            2 => format!("two_words_{at}"),
            3 => format!("value_{at}_"),
            _ => format!("f{at}"),
        };
        let json_name = match self.script.below(16) {
            0 => Some(format!("@odd{at}")),
            1 => Some(format!("ä\"\\ {at}")),
            2 => Some(format!("other-{at}")),
            _ => None,
        };
        let mut field = FieldDescriptorProto {
            name: Some(name),
            json_name,
            number: Some(number),
            ..FieldDescriptorProto::default()
        };
        field.set_label(if self.script.below(3) == 0 { Label::Repeated } else { Label::Optional });
        match self.script.below(28) {
            16 | 17 => {
                field.set_type(Type::Enum);
                field.type_name = Some(scope.enums[self.script.below(2)].clone());
            }
            18..=22 => {
                field.set_type(Type::Message);
                field.type_name = Some(scope.types[self.script.below(scope.types.len())].clone());
            }
            23..=26 => {
                field.set_type(Type::Message);
                field.type_name = Some(format!(".google.protobuf.{}", self.script.pick(WELL_KNOWN)));
            }
            27 => {
                field.set_type(Type::Enum);
                field.type_name = Some(".google.protobuf.NullValue".to_owned());
            }
            at => field.set_type(SCALARS[at % SCALARS.len()]),
        }
        let packable = !matches!(field.r#type(), Type::String | Type::Bytes | Type::Message | Type::Group);
        if packable && field.label() == Label::Repeated && self.script.below(2) == 0 {
            let packed = Some(self.script.below(2) == 0);
            field.options = Some(FieldOptions { packed, ..FieldOptions::default() });
        }
        if scope.syntax == Syntax::Two && field.label() == Label::Optional {
            match self.script.below(6) {
                0 => field.set_label(Label::Required),
                1 => {
                    field.default_value = match field.r#type() {
                        Type::Bool => Some("true".to_owned()),
                        Type::String => Some("some \"text\"".to_owned()),
                        Type::Bytes | Type::Enum | Type::Message | Type::Group => None,
                        _ => Some("7".to_owned()),
                    }
                }
                _ => {}
            }
        }
        field
    }
}

/// What a file's fields may name.
struct Scope {
    syntax: Syntax,
    types: Vec<String>,
    enums: [String; 2],
}

const SCALARS: &[Type] = &[
    Type::Double,
    Type::Float,
    Type::Int64,
    Type::Uint64,
    Type::Int32,
    Type::Fixed64,
    Type::Fixed32,
    Type::Bool,
    Type::String,
    Type::Bytes,
    Type::Uint32,
    Type::Sfixed32,
    Type::Sfixed64,
    Type::Sint32,
    Type::Sint64,
    Type::String,
];
const KEYS: &[Type] = &[
    Type::String,
    Type::Bool,
    Type::Int32,
    Type::Int64,
    Type::Uint32,
    Type::Uint64,
    Type::Sint32,
    Type::Sint64,
    Type::Fixed32,
    Type::Fixed64,
    Type::Sfixed32,
    Type::Sfixed64,
    Type::String,
];
const WELL_KNOWN: &[&str] = &[
    "Any",
    "Timestamp",
    "Duration",
    "FieldMask",
    "Struct",
    "Value",
    "ListValue",
    "Empty",
    "BoolValue",
    "Int32Value",
    "Int64Value",
    "UInt32Value",
    "UInt64Value",
    "FloatValue",
    "DoubleValue",
    "StringValue",
    "BytesValue",
    "Any",
    "Value",
];
const WELL_KNOWN_FILES: &[&str] = &[
    "google/protobuf/any.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/empty.proto",
    "google/protobuf/field_mask.proto",
    "google/protobuf/struct.proto",
    "google/protobuf/timestamp.proto",
    "google/protobuf/wrappers.proto",
];

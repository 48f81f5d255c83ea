//! Which changes of a field's type and cardinality readers don't notice, and which writers of JSON don't either.

use prost_reflect::EnumDescriptor;
use prost_reflect::Kind;

use crate::registry::breaking::field::Cardinality;
use crate::registry::breaking::field::Field;
use crate::registry::breaking::field::type_name;

/// Whether the type is exactly the same.
pub(super) fn is_same(before: &Field, after: &Field) -> bool {
    let (was, is) = (before.kind(), after.kind());
    std::mem::discriminant(&was) == std::mem::discriminant(&is)
        && before.is_group() == after.is_group()
        && type_name(&was) == type_name(&is)
}

/// Whether old bytes are read by the new type, and new ones by the old type.
pub(super) fn is_same_on_the_wire(before: &Field, after: &Field) -> bool {
    let (was, is) = (before.kind(), after.kind());
    // Any string is good bytes; not all bytes are a good string.
    matches!((&was, &is), (Kind::String, Kind::Bytes))
        || wire_group(&was, before.is_group()) == wire_group(&is, after.is_group())
            && is_same_named(&was, &is)
}

/// Whether that holds for their JSON as well.
pub(super) fn is_same_in_json(before: &Field, after: &Field) -> bool {
    let (was, is) = (before.kind(), after.kind());
    json_group(&was, before.is_group()) == json_group(&is, after.is_group()) && is_same_named(&was, &is)
}

/// Types of one group are written in the same way, as far as a value fits into both.
fn wire_group(kind: &Kind, is_group: bool) -> u8 {
    match kind {
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Bool => 1,
        Kind::Sint32 | Kind::Sint64 => 2,
        Kind::String => 3,
        Kind::Bytes => 4,
        Kind::Fixed32 | Kind::Sfixed32 => 5,
        Kind::Fixed64 | Kind::Sfixed64 => 6,
        Kind::Double => 7,
        Kind::Float => 8,
        Kind::Message(_) if is_group => 9,
        Kind::Message(_) => 10,
        // Open or closed, it may be read as a number; it is taken for one only by those who know the values.
        Kind::Enum(_) => 11,
    }
}

/// In JSON, 64 bits are a string and a bool is no number.
fn json_group(kind: &Kind, is_group: bool) -> u8 {
    match kind {
        Kind::Int32 | Kind::Uint32 => 1,
        Kind::Int64 | Kind::Uint64 => 12,
        Kind::Bool => 13,
        Kind::Sint32 => 2,
        Kind::Sint64 => 14,
        other => wire_group(other, is_group),
    }
}

/// An enum may be replaced by one of the same short name that has all its values; a message by none.
fn is_same_named(was: &Kind, is: &Kind) -> bool {
    match (was, is) {
        (Kind::Enum(was), Kind::Enum(is)) => {
            was.full_name() == is.full_name() || was.name() == is.name() && has_all_values(is, was)
        }
        (was, is) => type_name(was) == type_name(is),
    }
}

fn has_all_values(all: &EnumDescriptor, of: &EnumDescriptor) -> bool {
    let known: std::collections::HashMap<&str, i32> =
        all.enum_descriptor_proto().value.iter().map(|value| (value.name(), value.number())).collect();
    let mut values = of.enum_descriptor_proto().value.iter();
    values.all(|value| known.get(value.name()) == Some(&value.number()))
}

impl Cardinality {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Explicit => "optional with presence",
            Self::Implicit => "optional without presence",
            Self::Required => "required",
            Self::Repeated => "repeated",
            Self::Map => "a map",
        }
    }

    pub(super) fn is_same_on_the_wire(self, other: Self) -> bool {
        let is_many = |cardinality| matches!(cardinality, Self::Repeated | Self::Map);
        self.is_same_in_json(other) || is_many(self) && is_many(other)
    }

    pub(super) fn is_same_in_json(self, other: Self) -> bool {
        let is_optional = |cardinality| matches!(cardinality, Self::Explicit | Self::Implicit);
        self == other || is_optional(self) && is_optional(other)
    }
}

//! A field or an extension, and what the rules about fields ask of it.

use prost_reflect::Cardinality as Label;
use prost_reflect::EnumDescriptor;
use prost_reflect::ExtensionDescriptor;
use prost_reflect::FieldDescriptor;
use prost_reflect::FileDescriptor;
use prost_reflect::Kind;
use prost_reflect::Value;
use prost_types::FieldDescriptorProto;

use crate::registry::breaking::report::quoted;
use crate::schema::Traits;

/// A field of a message, whoever declares it.
#[derive(Debug, Clone)]
pub(super) enum Field {
    Member(FieldDescriptor),
    Extension(ExtensionDescriptor),
}

/// How often a field may be there, and whether its absence is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cardinality {
    Explicit,
    Implicit,
    Required,
    Repeated,
    Map,
}

impl Field {
    pub(super) fn proto(&self) -> &FieldDescriptorProto {
        match self {
            Self::Member(field) => field.field_descriptor_proto(),
            Self::Extension(extension) => extension.field_descriptor_proto(),
        }
    }

    pub(super) fn full_name(&self) -> &str {
        match self {
            Self::Member(field) => field.full_name(),
            Self::Extension(extension) => extension.full_name(),
        }
    }

    pub(super) fn file(&self) -> FileDescriptor {
        match self {
            Self::Member(field) => field.parent_file(),
            Self::Extension(extension) => extension.parent_file(),
        }
    }

    pub(super) fn path(&self) -> &[i32] {
        match self {
            Self::Member(field) => field.path(),
            Self::Extension(extension) => extension.path(),
        }
    }

    pub(super) fn number(&self) -> u32 {
        match self {
            Self::Member(field) => field.number(),
            Self::Extension(extension) => extension.number(),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Member(field) => field.kind(),
            Self::Extension(extension) => extension.kind(),
        }
    }

    pub(super) fn is_group(&self) -> bool {
        match self {
            Self::Member(field) => field.is_group(),
            Self::Extension(extension) => extension.is_group(),
        }
    }

    /// Whether it is the key or the value of a map.
    pub(super) fn is_of_map(&self) -> bool {
        matches!(self, Self::Member(field) if field.parent_message().is_map_entry())
    }

    pub(super) fn cardinality(&self, traits: &Traits) -> Cardinality {
        let (label, is_map) = match self {
            Self::Member(field) => (field.cardinality(), field.is_map()),
            Self::Extension(extension) => (extension.cardinality(), extension.is_map()),
        };
        match (label, self) {
            (Label::Repeated, _) if is_map => Cardinality::Map,
            (Label::Repeated, _) => Cardinality::Repeated,
            (Label::Required, _) => Cardinality::Required,
            (Label::Optional, Self::Member(field)) if traits.is_implicit(field) => Cardinality::Implicit,
            (Label::Optional, _) => Cardinality::Explicit,
        }
    }

    pub(super) fn verifies_utf8(&self, traits: &Traits) -> bool {
        match self {
            Self::Member(field) => traits.verifies_utf8(field),
            Self::Extension(extension) => traits.extension_verifies_utf8(extension),
        }
    }

    /// What readers take where none is sent; none of lists and messages.
    pub(super) fn default(&self) -> Option<Default> {
        let (label, kind) = match self {
            Self::Member(field) => (field.cardinality(), field.kind()),
            Self::Extension(extension) => (extension.cardinality(), extension.kind()),
        };
        if label == Label::Repeated || matches!(kind, Kind::Message(_)) {
            return None;
        }
        Default::of(match self {
            Self::Member(field) => field.default_value(),
            Self::Extension(extension) => extension.default_value(),
        })
    }
}

/// The default value of a field. Numbers are compared whatever their types.
#[derive(Debug, Clone)]
pub(super) enum Default {
    Text(Vec<u8>),
    Whole(i128),
    Single(f32),
    Double(f64),
}

impl Default {
    fn of(value: Value) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Self::Whole(value.into()),
            Value::I32(value) | Value::EnumNumber(value) => Self::Whole(value.into()),
            Value::I64(value) => Self::Whole(value.into()),
            Value::U32(value) => Self::Whole(value.into()),
            Value::U64(value) => Self::Whole(value.into()),
            Value::F32(value) => Self::Single(value),
            Value::F64(value) => Self::Double(value),
            Value::String(value) => Self::Text(value.into_bytes()),
            Value::Bytes(value) => Self::Text(value.to_vec()),
            Value::Message(_) | Value::List(_) | Value::Map(_) => return None,
        })
    }

    /// Whether it is what a field has that says nothing: no text, or zero.
    fn is_zero(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Whole(number) => *number == 0,
            Self::Single(number) => *number == 0.0,
            Self::Double(number) => *number == 0.0,
        }
    }

    /// Whether readers of both see the same. Zero and no text are.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        if self.is_zero() && other.is_zero() {
            return true;
        }
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Text(_), _) | (_, Self::Text(_)) => false,
            (Self::Whole(a), Self::Whole(b)) => a == b,
            (Self::Single(a), Self::Single(b)) => a == b || a.is_nan() && b.is_nan(),
            (Self::Double(a), Self::Double(b)) => a == b || a.is_nan() && b.is_nan(),
            (Self::Single(a), Self::Double(b)) | (Self::Double(b), Self::Single(a)) => {
                *a == single(*b) || a.is_nan() && b.is_nan()
            }
            (Self::Whole(whole), Self::Single(number)) | (Self::Single(number), Self::Whole(whole)) => {
                is_whole((*number).into(), *whole)
            }
            (Self::Whole(whole), Self::Double(number)) | (Self::Double(number), Self::Whole(whole)) => {
                is_whole(*number, *whole)
            }
        }
    }

    pub(super) fn show(&self) -> String {
        match self {
            Self::Text(text) => quoted(&String::from_utf8_lossy(text)),
            Self::Whole(number) => number.to_string(),
            Self::Single(number) => number.to_string(),
            Self::Double(number) => number.to_string(),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "what a float can hold of it is compared")]
fn single(number: f64) -> f32 {
    number as f32
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a number without a fraction, or else it is no whole one"
)]
fn is_whole(number: f64, whole: i128) -> bool {
    number.is_finite() && number.fract() == 0.0 && number as i128 == whole
}

/// The type of a field for a reader: `string`, `message pets.v1.Pet`.
pub(super) fn shown(kind: &Kind, is_group: bool) -> String {
    match kind {
        Kind::Message(message) if is_group => format!("group {}", message.full_name()),
        Kind::Message(message) => format!("message {}", message.full_name()),
        Kind::Enum(declared) => format!("enum {}", declared.full_name()),
        scalar => format!("{scalar:?}"),
    }
}

/// The name of the message or enum that a field is of.
pub(super) fn type_name(kind: &Kind) -> Option<&str> {
    match kind {
        Kind::Message(message) => Some(message.full_name()),
        Kind::Enum(declared) => Some(EnumDescriptor::full_name(declared)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_compared_by_what_they_mean() {
        let text = |text: &str| Default::Text(text.as_bytes().to_vec());
        for (a, b, same) in [
            (text(""), Default::Whole(0), true),
            (text("0"), Default::Whole(0), false),
            (text("a"), text("a"), true),
            (text("a"), text("b"), false),
            (Default::Whole(1), Default::Whole(1), true),
            (Default::Whole(1), Default::Double(1.0), true),
            (Default::Whole(1), Default::Single(1.5), false),
            (Default::Whole(u64::MAX.into()), Default::Double(18_446_744_073_709_551_615.0), false),
            (Default::Whole(0), Default::Double(-0.0), true),
            (Default::Single(0.1), Default::Double(0.1), true),
            (Default::Single(0.1), Default::Double(0.2), false),
            (Default::Single(f32::NAN), Default::Double(f64::NAN), true),
            (Default::Double(f64::NAN), Default::Double(f64::NAN), true),
            (Default::Double(f64::INFINITY), Default::Whole(i128::MAX), false),
            (Default::Double(f64::NAN), Default::Whole(0), false),
        ] {
            assert_eq!(a.is_same(&b), same, "{a:?} {b:?}");
            assert_eq!(b.is_same(&a), same, "{b:?} {a:?}");
        }
    }
}

//! Reads the features of editions out of options, and knows what each edition starts from.

use crate::schema::scan;
use crate::schema::scan::Malformed;
use crate::schema::scan::Value;

/// The editions that can be read. Files of proto2 and proto3 have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edition {
    Of2023,
    Of2024,
}

/// `google.protobuf.FeatureSet` as far as it changes bytes on the wire or their JSON: naming style and
/// visibility are the compiler's business, and JSON names are judged by what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Features {
    pub(super) presence: Presence,
    pub(super) enums: Enums,
    pub(super) repeated: Repeated,
    pub(super) utf8: Utf8,
    pub(super) messages: Messages,
    pub(super) json: Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Explicit,
    Implicit,
    LegacyRequired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enums {
    Open,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeated {
    Packed,
    Expanded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Utf8 {
    Verify,
    Unchecked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Messages {
    LengthPrefixed,
    Delimited,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Json {
    Allow,
    LegacyBestEffort,
}

/// Why features can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreadable {
    Malformed,
    /// A feature, and a value of it that is not known.
    Value(&'static str, u64),
    /// An open enum that does not start with zero.
    FirstValue(String),
}

impl From<Malformed> for Unreadable {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Edition {
    /// By its number in `google.protobuf.Edition`.
    pub(super) fn of_number(number: u64) -> Option<Self> {
        match number {
            1000 => Some(Self::Of2023),
            1001 => Some(Self::Of2024),
            _ => None,
        }
    }
}

impl Features {
    /// What holds where nothing is said.
    pub(super) fn of(edition: Edition) -> Self {
        match edition {
            // The two differ in what a compiler demands, not in what is on the wire.
            Edition::Of2023 | Edition::Of2024 => Self {
                presence: Presence::Explicit,
                enums: Enums::Open,
                repeated: Repeated::Packed,
                utf8: Utf8::Verify,
                messages: Messages::LengthPrefixed,
                json: Json::Allow,
            },
        }
    }

    /// What holds inside a declaration with these serialized options, whose field `number` has features.
    pub(super) fn with(mut self, options: &[u8], number: u64) -> Result<Self, Unreadable> {
        for option in scan::fields(options) {
            let option = option?;
            if let (true, Value::Bytes(set)) = (option.number == number, option.value) {
                self.take(set)?;
            }
        }
        Ok(self)
    }

    fn take(&mut self, set: &[u8]) -> Result<(), Unreadable> {
        for feature in scan::fields(set) {
            let feature = feature?;
            let Value::Varint(value) = feature.value else { continue };
            let unknown = |name| Unreadable::Value(name, value);
            match (feature.number, value) {
                (1, 1) => self.presence = Presence::Explicit,
                (1, 2) => self.presence = Presence::Implicit,
                (1, 3) => self.presence = Presence::LegacyRequired,
                (1, _) => return Err(unknown("field_presence")),
                (2, 1) => self.enums = Enums::Open,
                (2, 2) => self.enums = Enums::Closed,
                (2, _) => return Err(unknown("enum_type")),
                (3, 1) => self.repeated = Repeated::Packed,
                (3, 2) => self.repeated = Repeated::Expanded,
                (3, _) => return Err(unknown("repeated_field_encoding")),
                (4, 2) => self.utf8 = Utf8::Verify,
                (4, 3) => self.utf8 = Utf8::Unchecked,
                (4, _) => return Err(unknown("utf8_validation")),
                (5, 1) => self.messages = Messages::LengthPrefixed,
                (5, 2) => self.messages = Messages::Delimited,
                (5, _) => return Err(unknown("message_encoding")),
                (6, 1) => self.json = Json::Allow,
                (6, 2) => self.json = Json::LegacyBestEffort,
                (6, _) => return Err(unknown("json_format")),
                _ => (),
            }
        }
        Ok(())
    }
}

/// The field of each kind of options that has its features.
pub(super) mod field {
    pub(in crate::schema) const FILE: u64 = 50;
    pub(in crate::schema) const MESSAGE: u64 = 12;
    pub(in crate::schema) const FIELD: u64 = 21;
    pub(in crate::schema) const ONEOF: u64 = 1;
    pub(in crate::schema) const EXTENSION_RANGE: u64 = 50;
    pub(in crate::schema) const ENUM: u64 = 7;
    pub(in crate::schema) const ENUM_VALUE: u64 = 2;
    pub(in crate::schema) const SERVICE: u64 = 34;
    pub(in crate::schema) const METHOD: u64 = 35;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_is_read_and_the_last_one_counts() {
        let start = Features::of(Edition::Of2023);
        let with = |set: &[u8]| {
            // Field 12, as messages have it.
            let options = [&[0x18, 1, 0x62, u8::try_from(set.len()).unwrap()][..], set].concat();
            start.with(&options, field::MESSAGE)
        };
        assert_eq!(with(b""), Ok(start));
        assert_eq!(with(b"\x08\x02"), Ok(Features { presence: Presence::Implicit, ..start }));
        assert_eq!(with(b"\x08\x03"), Ok(Features { presence: Presence::LegacyRequired, ..start }));
        assert_eq!(with(b"\x08\x02\x08\x01"), Ok(start));
        assert_eq!(with(b"\x10\x02"), Ok(Features { enums: Enums::Closed, ..start }));
        assert_eq!(with(b"\x18\x02"), Ok(Features { repeated: Repeated::Expanded, ..start }));
        assert_eq!(with(b"\x20\x03"), Ok(Features { utf8: Utf8::Unchecked, ..start }));
        assert_eq!(with(b"\x28\x02"), Ok(Features { messages: Messages::Delimited, ..start }));
        assert_eq!(with(b"\x30\x02"), Ok(Features { json: Json::LegacyBestEffort, ..start }));
        // Naming style, and an extension such as pb.cpp.
        assert_eq!(with(b"\x38\x01\xc2\x3e\x02\x08\x01"), Ok(start));
        assert_eq!(with(b"\x20\x01"), Err(Unreadable::Value("utf8_validation", 1)));
        assert_eq!(with(b"\x08\x00"), Err(Unreadable::Value("field_presence", 0)));
        assert_eq!(with(b"\x08"), Err(Unreadable::Malformed));
    }

    #[test]
    fn features_in_two_pieces_are_merged() {
        let start = Features::of(Edition::Of2024);
        let options = b"\x62\x02\x08\x02\x62\x02\x10\x02";
        let want = Features { presence: Presence::Implicit, enums: Enums::Closed, ..start };
        assert_eq!(start.with(options, field::MESSAGE), Ok(want));
        assert_eq!(start.with(options, field::FIELD), Ok(start), "another field is no feature");
    }
}

//! Files that resolve although nobody uploads them.

use bytes::Bytes;
use prost_reflect::DescriptorPool;

/// Whether an import of this name resolves without being uploaded.
pub fn is_bundled(name: &str) -> bool {
    declared(name).is_some() || is_well_known(name)
}

/// What a bundled file is made of.
pub(super) enum Bundled {
    /// Its `.proto` text.
    Text(&'static str),
    /// Its serialized descriptor.
    Descriptor(Bytes),
}

/// The bundled file of an import name.
pub(super) fn find(name: &str) -> Option<Bundled> {
    if let Some(text) = declared(name) {
        return Some(Bundled::Text(text));
    }
    if !is_well_known(name) {
        return None;
    }
    let file = DescriptorPool::global().get_file_by_name(name)?;
    Some(Bundled::Descriptor(file.encode_to_vec().into()))
}

fn declared(name: &str) -> Option<&'static str> {
    let at = DECLARED.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    Some(DECLARED[at].1)
}

fn is_well_known(name: &str) -> bool {
    name.strip_prefix("google/protobuf/").is_some_and(|name| WELL_KNOWN.contains(&name))
}

/// What prost-reflect carries.
const WELL_KNOWN: &[&str] = &[
    "any.proto",
    "api.proto",
    "compiler/plugin.proto",
    "descriptor.proto",
    "duration.proto",
    "empty.proto",
    "field_mask.proto",
    "source_context.proto",
    "struct.proto",
    "timestamp.proto",
    "type.proto",
    "wrappers.proto",
];

macro_rules! declared {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../protos/", $name)))),*]
    };
}

/// By import name, sorted.
const DECLARED: &[(&str, &str)] = declared![
    "buf/validate/validate.proto",
    "google/api/annotations.proto",
    "google/api/client.proto",
    "google/api/distribution.proto",
    "google/api/error_reason.proto",
    "google/api/field_behavior.proto",
    "google/api/field_info.proto",
    "google/api/http.proto",
    "google/api/httpbody.proto",
    "google/api/label.proto",
    "google/api/launch_stage.proto",
    "google/api/metric.proto",
    "google/api/monitored_resource.proto",
    "google/api/resource.proto",
    "google/api/routing.proto",
    "google/api/visibility.proto",
    "google/rpc/code.proto",
    "google/rpc/context/attribute_context.proto",
    "google/rpc/error_details.proto",
    "google/rpc/http.proto",
    "google/rpc/status.proto",
    "google/type/calendar_period.proto",
    "google/type/color.proto",
    "google/type/date.proto",
    "google/type/datetime.proto",
    "google/type/dayofweek.proto",
    "google/type/decimal.proto",
    "google/type/expr.proto",
    "google/type/fraction.proto",
    "google/type/interval.proto",
    "google/type/latlng.proto",
    "google/type/localized_text.proto",
    "google/type/money.proto",
    "google/type/month.proto",
    "google/type/phone_number.proto",
    "google/type/postal_address.proto",
    "google/type/quaternion.proto",
    "google/type/timeofday.proto",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_so_that_they_are_found() {
        assert!(DECLARED.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn each_well_known_file_is_there() {
        for name in WELL_KNOWN {
            assert!(
                matches!(find(&format!("google/protobuf/{name}")), Some(Bundled::Descriptor(_))),
                "{name}"
            );
        }
        assert!(find("google/protobuf/cpp_features.proto").is_none());
    }
}

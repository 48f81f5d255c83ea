//! JSON texts of resources as `google.protobuf.Struct`, and back.

use prost_types::ListValue;
use prost_types::Struct;
use prost_types::Value;
use prost_types::value::Kind;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value as Json;

/// A JSON object as a struct; an empty one for what is none.
pub(super) fn to_struct(text: &str) -> Struct {
    match serde_json::from_str(text) {
        Ok(Json::Object(map)) => object(map),
        _ => Struct::default(),
    }
}

/// A struct as a JSON object.
pub(super) fn from_struct(from: Struct) -> Map<String, Json> {
    from.fields.into_iter().map(|(name, value)| (name, json(value))).collect()
}

fn object(map: Map<String, Json>) -> Struct {
    Struct { fields: map.into_iter().map(|(name, value)| (name, value_of(value))).collect() }
}

fn value_of(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(0.0)),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => {
            Kind::ListValue(ListValue { values: items.into_iter().map(value_of).collect() })
        }
        Json::Object(map) => Kind::StructValue(object(map)),
    };
    Value { kind: Some(kind) }
}

fn json(value: Value) -> Json {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => Json::Bool(value),
        Some(Kind::NumberValue(value)) => number(value),
        Some(Kind::StringValue(text)) => Json::String(text),
        Some(Kind::ListValue(list)) => Json::Array(list.values.into_iter().map(json).collect()),
        Some(Kind::StructValue(map)) => Json::Object(from_struct(map)),
    }
}

/// Whole numbers are written as such: a struct knows them as doubles alone.
fn number(value: f64) -> Json {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and within the bound")]
        let whole = value as i64;
        return Json::Number(whole.into());
    }
    Number::from_f64(value).map_or(Json::Null, Json::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_comes_back_as_it_was() {
        let text = r#"{"endpoints":[{"address":"127.0.0.1:1","weight":3}],"ratio":0.25,"big":-9007199254740991,"on":true,"none":null}"#;
        let there: Json = serde_json::from_str(text).unwrap();
        assert_eq!(Json::Object(from_struct(to_struct(text))), there);
        assert_eq!(to_struct("[]"), Struct::default());
        assert_eq!(number(f64::NAN), Json::Null);
    }
}

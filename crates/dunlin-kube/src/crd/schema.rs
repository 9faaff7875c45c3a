//! A schema as types give it → one as an API server takes it ("structural"), and as YAML.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

/// What an API server has no use for or refuses. Defaults are the agent's: what nobody wrote does not stand in objects.
const DROPPED: [&str; 5] = ["$schema", "title", "default", "nullable", "format"];

/// The greatest number of 32 bits.
const MAX_U32: u64 = 0xFFFF_FFFF;

/// Makes a schema structural: no references, one type each, no `null`, no closed objects (what is unknown is refused by
/// strict field validation), bounds instead of the formats of Rust's numbers.
pub(super) fn structural(mut schema: Value) -> Value {
    if let Value::Object(schema) = &mut schema {
        make_structural(schema);
    }
    schema
}

fn make_structural(schema: &mut Map<String, Value>) {
    unwrap_option(schema);
    let format = schema
        .get("format")
        .and_then(Value::as_str)
        .map(str::to_owned);
    for key in DROPPED {
        schema.remove(key);
    }
    match format.as_deref() {
        Some("uint8" | "uint16") => {
            schema.insert("format".to_owned(), "int32".into());
        }
        Some("uint32") => {
            schema.insert("format".to_owned(), "int64".into());
            schema.entry("maximum").or_insert_with(|| MAX_U32.into());
        }
        Some(format @ ("int32" | "int64" | "date-time")) => {
            schema.insert("format".to_owned(), format.into());
        }
        _ => {}
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = unfold(text);
    }
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        schema.remove("additionalProperties");
    }
    for key in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(key) {
            make_structural(inner);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut() {
            if let Value::Object(property) = property {
                make_structural(property);
            }
        }
    }
}

/// Takes `null` out of what a value may be: a field is there or left out.
fn unwrap_option(schema: &mut Map<String, Value>) {
    let is_null = |value: &Value| {
        value.get("type").and_then(Value::as_str) == Some("null")
            || value.get("const") == Some(&Value::Null)
    };
    let int_or_string = schema.contains_key("x-kubernetes-int-or-string");
    if !int_or_string && let Some(Value::Array(mut choices)) = schema.remove("anyOf") {
        choices.retain(|choice| !is_null(choice));
        if let [Value::Object(only)] = choices.as_mut_slice() {
            for (key, value) in std::mem::take(only) {
                schema.entry(key).or_insert(value);
            }
        } else {
            schema.insert("anyOf".to_owned(), Value::Array(choices));
        }
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
}

/// Joins the lines of a paragraph.
fn unfold(text: &str) -> String {
    let paragraphs = text
        .split("\n\n")
        .map(|paragraph| paragraph.replace('\n', " "));
    paragraphs.collect::<Vec<String>>().join("\n\n")
}

/// The order of keys that people read first; the others follow by name.
const FIRST: [&str; 14] = [
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "status",
    "name",
    "group",
    "scope",
    "names",
    "versions",
    "served",
    "storage",
    "description",
    "type",
];

/// A value whose keys come in the same order whoever else is built into the program.
struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => {
                let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
                let rank = |key: &str| {
                    FIRST
                        .iter()
                        .position(|first| *first == key)
                        .unwrap_or(FIRST.len())
                };
                fields.sort_by_key(|(key, _)| (rank(key), *key));
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, &Ordered(value))?;
                }
                map.end()
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Ordered)),
            value => value.serialize(serializer),
        }
    }
}

/// The value as YAML.
pub(super) fn yaml(value: &Value) -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string(&Ordered(value))
}

#[cfg(test)]
mod tests;

use super::*;
use crate::manifest::{Format, read};
use dunlin_intent::Fact;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The schema of the objects of a kind.
fn schema_of(kind: &str) -> Value {
    let words = WORDS.iter().find(|words| words.kind == kind);
    object_schema(words.unwrap_or_else(|| panic!("{kind} is one of ours")))
}

#[test]
fn the_files_in_deploy_are_what_the_types_say() {
    let dir = repository().join("deploy/crds");
    for (plural, text) in yaml() {
        let path = dir.join(format!("{plural}.yaml"));
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == text,
            "{plural}.yaml is not what the types say: run `cargo run -p dunlin -- crds --directory deploy/crds`"
        );
    }
    let files: BTreeSet<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let names: BTreeSet<String> = WORDS.iter().map(|w| format!("{}.yaml", w.plural)).collect();
    assert_eq!(files, names, "nothing else lies there");
}

#[test]
fn definitions_are_definitions_and_their_text_says_the_same() {
    for ((plural, value), (_, text)) in definitions().into_iter().zip(yaml()) {
        let typed: CustomResourceDefinition = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(typed.metadata.name.unwrap(), format!("{plural}.dunlin.dev"));
        let read: CustomResourceDefinition = serde_saphyr::from_str(&text).unwrap();
        let typed: CustomResourceDefinition = serde_json::from_value(value).unwrap();
        assert_eq!(read.spec, typed.spec, "{plural}");
    }
}

#[test]
fn each_kind_that_is_read_is_defined_once() {
    let defined: BTreeSet<(&str, &str)> = WORDS.iter().map(|w| (w.kind, w.plural)).collect();
    let mut read: BTreeSet<(&str, &str)> = Resource::ALL
        .iter()
        .filter(|r| r.group == GROUP)
        .map(|r| (r.kind.as_str(), r.plural))
        .collect();
    read.insert((BGP_NODE, BGP_NODE_PLURAL));
    assert_eq!(defined, read);
    let short: BTreeSet<&str> = WORDS.iter().flat_map(|w| w.short_names).copied().collect();
    assert_eq!(short.len(), WORDS.len());
}

/// The rules of structural schemas, the bounds that rules need, and a text on every field.
#[test]
fn schemas_are_structural_and_explain_themselves() {
    fn check(schema: &Value, path: &str, faults: &mut Vec<String>) {
        let fields = schema
            .as_object()
            .unwrap_or_else(|| panic!("{path} is no object: {schema}"));
        let int_or_string = fields.contains_key("x-kubernetes-int-or-string");
        if !fields.get("type").is_some_and(Value::is_string) && !int_or_string {
            faults.push(format!("{path} has no type: {schema}"));
        }
        for key in [
            "$ref", "oneOf", "allOf", "nullable", "default", "title", "const",
        ] {
            if fields.contains_key(key) {
                faults.push(format!("{path} has {key}"));
            }
        }
        if fields.contains_key("anyOf") && !int_or_string {
            faults.push(format!("{path} has anyOf"));
        }
        if let Some(format) = fields.get("format").and_then(Value::as_str)
            && !["int32", "int64", "date-time"].contains(&format)
        {
            faults.push(format!("{path} has format {format}"));
        }
        if fields.get("type").is_some_and(|t| t == "array") && !fields.contains_key("maxItems") {
            faults.push(format!("{path} has no maxItems"));
        }
        for inner in ["items", "additionalProperties"] {
            if let Some(inner) = fields.get(inner) {
                check(inner, &format!("{path}[]"), faults);
            }
        }
        let properties = fields.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let path = format!("{path}.{name}");
            if property.get("description").is_none() && name != "metadata" {
                faults.push(format!("{path} has no description"));
            }
            check(property, &path, faults);
        }
    }
    let mut faults = Vec::new();
    for words in &WORDS {
        check(&object_schema(words), words.kind, &mut faults);
    }
    assert_eq!(faults, Vec::<String>::new());
}

/// What of an object is not as the schema says; rules and patterns are for an API server to check.
fn misfits(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let mut outside = |key: &str, number: f64, lower: bool| {
        if bound(key).is_some_and(|bound| {
            if lower {
                number < bound
            } else {
                number > bound
            }
        }) {
            found.push(format!("{path}: {number} is outside {key}"));
        }
    };
    match value {
        Value::Number(number) => {
            outside("minimum", number.as_f64().unwrap(), true);
            outside("maximum", number.as_f64().unwrap(), false);
        }
        Value::String(text) => {
            outside("minLength", text.chars().count() as f64, true);
            outside("maxLength", text.chars().count() as f64, false);
        }
        Value::Array(items) => {
            outside("minItems", items.len() as f64, true);
            outside("maxItems", items.len() as f64, false);
        }
        _ => {}
    }
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let wanted = schema.get("type").and_then(Value::as_str);
    let fits = wanted.map_or(matches!(is, "integer" | "string"), |wanted| wanted == is);
    if !fits {
        found.push(format!("{path} is of type {is}, not {wanted:?}"));
        return;
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array)
        && !words.contains(value)
    {
        found.push(format!("{path}: {value} is none of {words:?}"));
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        misfits(&schema["items"], item, &format!("{path}[{at}]"), found);
    }
    let Some(fields) = value.as_object() else {
        return;
    };
    for name in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if !fields.contains_key(name.as_str().unwrap()) {
            found.push(format!("{path}.{name} is missing"));
        }
    }
    // Like `metadata`, which the API server knows.
    let open = schema.get("properties").is_none() && schema.get("additionalProperties").is_none();
    for (name, field) in fields {
        let path = format!("{path}.{name}");
        let property = schema
            .get("properties")
            .and_then(|properties| properties.get(name))
            .or(schema.get("additionalProperties"));
        match property {
            Some(property) => misfits(property, field, &path, found),
            None if open && name != "podCIDRs" && path.contains("metadata") => {}
            None => found.push(format!("{path} is unknown")),
        }
    }
}

/// All YAML that the documents and the tests of the readers show.
fn shown() -> Vec<(String, String)> {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).unwrap();
    let docs = read("docs/objects.md");
    let blocks = docs.split("```yaml\n").skip(1);
    let mut all: Vec<(String, String)> = blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .enumerate()
        .map(|(at, text)| (format!("docs/objects.md, example {}", at + 1), text))
        .collect();
    for path in ["testdata/peering.yaml", "testdata/cluster.yaml"] {
        all.push((path.to_owned(), read(&format!("crates/dunlin-kube/{path}"))));
    }
    all
}

#[test]
fn what_the_documents_show_is_read_without_fault_and_fits_the_schema() {
    let mut kinds = BTreeSet::new();
    for (place, text) in shown() {
        let facts = read(&text, Format::Yaml).unwrap_or_else(|fault| panic!("{place}: {fault}"));
        for located in facts {
            let malformed = match located.fact {
                Fact::Configuration(fact) => fact.malformed,
                Fact::Peer(fact) => fact.malformed,
                Fact::Advertisement(fact) => fact.malformed,
                Fact::Filter(fact) => fact.malformed,
                Fact::Pool(fact) => fact.malformed,
                Fact::Service(fact) => fact.malformed,
                Fact::Node(fact) => fact.malformed,
                _ => Vec::new(),
            };
            assert_eq!(malformed, [], "{place}:{}", located.line);
        }
        for document in text.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(document).unwrap();
            let kind = object["kind"].as_str().unwrap().to_owned();
            if object["apiVersion"] == format!("{GROUP}/{VERSION}").as_str() {
                let mut found = Vec::new();
                misfits(&schema_of(&kind), &object, &kind, &mut found);
                assert_eq!(found, Vec::<String>::new(), "{place}");
                kinds.insert(kind);
            }
        }
    }
    for words in &WORDS {
        assert!(
            kinds.contains(words.kind),
            "the documents show a {}",
            words.kind
        );
    }
}

#[test]
fn the_check_itself_finds_what_does_not_fit() {
    for (kind, spec, said) in [
        (
            "BGPPeer",
            json!({"peerASN": 1, "peerAs": 2}),
            "peerAs is unknown",
        ),
        ("BGPPeer", json!({}), "peerASN\" is missing"),
        ("BGPPeer", json!({"peerASN": true}), "of type boolean"),
        (
            "BGPPeer",
            json!({"peerASN": 1, "port": 70000}),
            "outside maximum",
        ),
        (
            "BGPPeer",
            json!({"peerASN": 1, "nextHop": "self"}),
            "none of",
        ),
        (
            "LoadBalancerPool",
            json!({"addresses": []}),
            "outside minItems",
        ),
        ("BGPConfiguration", json!({"asn": "1"}), "of type string"),
        ("BGPConfiguration", json!({"asn": null}), "of type null"),
        (
            "BGPAdvertisement",
            json!({"podCIDRs": {"all": true}}),
            "all is unknown",
        ),
    ] {
        let object =
            json!({"apiVersion": "x", "kind": kind, "metadata": {"name": "a"}, "spec": spec});
        let mut found = Vec::new();
        misfits(&schema_of(kind), &object, kind, &mut found);
        assert!(found.iter().any(|f| f.contains(said)), "{spec}: {found:?}");
    }
}

/// A field that the schema has and the reader does not would be lost in silence; the other way round it could not be given.
#[test]
fn the_reader_takes_every_field_of_the_schema() {
    fn sample(schema: &Value) -> Value {
        if let Some(word) = schema.get("enum").and_then(|words| words.get(0)) {
            return word.clone();
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("object") => {
                let properties = schema.get("properties").and_then(Value::as_object);
                properties
                    .into_iter()
                    .flatten()
                    .map(|(name, property)| (name.clone(), sample(property)))
                    .collect()
            }
            Some("array") => json!([sample(&schema["items"])]),
            Some("string") => json!("192.0.2.1"),
            Some("boolean") => json!(true),
            _ => json!(schema.get("minimum").and_then(Value::as_u64).unwrap_or(1)),
        }
    }
    for words in WORDS.iter().filter(|words| words.kind != BGP_NODE) {
        let spec = sample(&schema_of(words.kind)["properties"]["spec"]);
        let resource = Resource::named(&format!("{GROUP}/{VERSION}"), words.kind).unwrap();
        let object = json!({"metadata": {"name": "a"}, "spec": spec});
        let said = crate::object::read_value(resource, &object);
        assert!(said.is_ok(), "{}: {}", words.kind, said.unwrap_err());
    }
}

use super::*;
use serde_json::json;

#[test]
fn options_are_left_out_or_there() {
    let schema = json!({"type": "object", "additionalProperties": false, "title": "T", "properties": {
        "a": {"type": ["string", "null"], "description": "x\ny\n\nz"},
        "b": {"description": "outer", "anyOf": [{"type": "object", "description": "inner", "properties": {}}, {"type": "null"}]},
        "c": {"enum": ["A", null], "type": ["string", "null"]},
        "default": {"type": "integer", "format": "uint32", "minimum": 0, "default": 3},
        "small": {"type": ["integer", "null"], "format": "uint16", "minimum": 1, "maximum": 65535},
        "asn": {"anyOf": [{"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}, {"type": "null"}]},
        "map": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
    }});
    assert_eq!(
        structural(schema),
        json!({"type": "object", "properties": {
            "a": {"type": "string", "description": "x y\n\nz"},
            "b": {"type": "object", "description": "outer", "properties": {}},
            "c": {"enum": ["A"], "type": "string"},
            "default": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 4294967295u32},
            "small": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535},
            "asn": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
        }})
    );
}

#[test]
fn keys_come_in_one_order() {
    let text = yaml(&json!({"zeta": 1, "spec": {"b": [1], "a": "yes", "type": "x"}, "kind": "K", "apiVersion": "v1"})).unwrap();
    let keys: Vec<&str> = text
        .lines()
        .map(|line| line.trim().split(':').next().unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "apiVersion",
            "kind",
            "spec",
            "type",
            "a",
            "b",
            "- 1",
            "zeta"
        ],
        "{text}"
    );
    // What YAML 1.1 would take for a truth value is quoted.
    assert!(text.contains("\"yes\"") || text.contains("'yes'"), "{text}");
}

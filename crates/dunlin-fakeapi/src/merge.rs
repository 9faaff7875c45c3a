//! Patches.

use serde_json::{Map, Value};

/// A merge patch (RFC 7386).
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (name, value) in fields {
        if value.is_null() {
            if let Some(object) = target.as_object_mut() {
                object.remove(name);
            }
        } else {
            merge(&mut target[name.as_str()], value);
        }
    }
}

/// Takes the server-side apply of a manager for a merge, and notes the manager.
pub(crate) fn apply(target: &mut Value, patch: &Value, manager: &str) {
    merge(target, patch);
    let meta = &mut target["metadata"];
    let managers = meta["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if managers.iter().all(|entry| entry["manager"] != manager) {
        let mut managers = managers;
        managers.push(serde_json::json!({"manager": manager, "operation": "Apply"}));
        meta["managedFields"] = managers.into();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::merge;

    #[test]
    fn a_merge_patch_sets_and_removes() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "l": [1]});
        merge(
            &mut object,
            &json!({"a": {"b": null, "d": {"e": 3}}, "l": [2], "n": 4}),
        );
        assert_eq!(
            object,
            json!({"a": {"c": 2, "d": {"e": 3}}, "l": [2], "n": 4})
        );
    }
}

//! Lists and single objects.

use serde::Serializer as _;
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::request::{Target, parameter};
use crate::selector::matches;
use crate::store::Store;

/// One object.
pub(crate) fn get(store: &Store, target: &Target, name: &str) -> Answer {
    match store.get(&target.collection, &target.place(name)) {
        Some(object) => answer::json(200, object),
        None => answer::not_found(&format!("{} {name:?}", target.plural)),
    }
}

/// What a request selects.
pub(crate) struct Selection {
    namespace: Option<String>,
    labels: String,
    fields: String,
}

impl Selection {
    pub(crate) fn of(target: &Target, query: &str) -> Selection {
        Selection {
            namespace: target.namespace.clone(),
            labels: parameter(query, "labelSelector").unwrap_or_default(),
            fields: parameter(query, "fieldSelector").unwrap_or_default(),
        }
    }

    pub(crate) fn takes(&self, object: &Value) -> bool {
        let namespace = object["metadata"]["namespace"].as_str();
        let here = self.namespace.is_none() || self.namespace.as_deref() == namespace;
        here && matches(object, &self.labels, &self.fields)
    }
}

/// A list, or a page of one.
pub(crate) fn list(store: &Store, target: &Target, query: &str) -> Answer {
    let selection = Selection::of(target, query);
    let token = parameter(query, "continue").unwrap_or_default();
    let (version, after) = match token.split_once(':') {
        None => (store.version, None),
        Some((version, place)) => (version.parse().unwrap_or(0), Some(place.to_owned())),
    };
    if version < store.forgotten {
        let message =
            "The provided continue parameter is too old to display a consistent list result";
        return answer::failure(410, "Expired", message);
    }
    let asked = parameter(query, "resourceVersion").unwrap_or_default();
    if let Some(refusal) = too_new(store, &asked) {
        return refusal;
    }
    let limit = parameter(query, "limit").and_then(|limit| limit.parse().ok());
    let limit: usize = match limit {
        Some(limit) if limit > 0 => limit,
        _ => usize::MAX,
    };
    let mut text = Vec::new();
    let mut taken = 0;
    let mut next = String::new();
    let mut last = "";
    for (place, entry) in store.objects_after(&target.collection, after.as_deref()) {
        if !selection.takes(&entry.object) {
            continue;
        }
        if taken == limit {
            next = format!("{version}:{last}");
            break;
        }
        if taken > 0 {
            text.push(b',');
        }
        text.extend_from_slice(entry.text());
        taken += 1;
        last = place;
    }
    let mut meta = json!({"resourceVersion": version.to_string()});
    if !next.is_empty() {
        meta["continue"] = next.into();
    }
    let head = format!(
        r#"{{"kind":{:?},"apiVersion":{:?},"metadata":{meta},"items":["#,
        list_kind(store, target),
        target.api_version
    );
    let mut whole = head.into_bytes();
    whole.append(&mut text);
    whole.extend_from_slice(b"]}\n");
    answer::text(200, whole)
}

/// What a list says it is. Of a collection without objects nobody knows of what kind they would be.
fn list_kind(store: &Store, target: &Target) -> String {
    let first = store.objects(&target.collection).next();
    let kind = first.and_then(|object| object["kind"].as_str());
    format!("{}List", kind.unwrap_or_default())
}

/// An object's text in a list. Items of the server's own kinds do not say what they are.
pub(crate) fn item(object: &Value) -> Vec<u8> {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let is_custom = group.contains('.') && !group.ends_with(".k8s.io");
    let mut text = Vec::new();
    let written = match object.as_object() {
        Some(fields) if !is_custom => {
            let named = |(name, _): &(&String, &Value)| !matches!(&name[..], "kind" | "apiVersion");
            serde_json::Serializer::new(&mut text).collect_map(fields.iter().filter(named))
        }
        _ => serde_json::to_writer(&mut text, object),
    };
    written.expect("JSON can be written to memory");
    text
}

/// The refusal of a version that is not there yet.
pub(crate) fn too_new(store: &Store, asked: &str) -> Option<Answer> {
    let asked: u64 = asked.parse().ok()?;
    let current = store.version;
    (asked > current).then(|| {
        let message = format!("Too large resource version: {asked}, current: {current}");
        answer::failure(504, "Timeout", &message)
    })
}

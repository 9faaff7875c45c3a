//! What of an object is worth keeping: as text, without what facts never read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Annotations that facts read.
const OUR_ANNOTATIONS: &str = "dunlin.dev/";

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Slim<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metadata: Meta<'a>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    spec: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    address_type: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    endpoints: Option<Vec<Endpoint<'a>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    ports: Option<&'a RawValue>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow)]
    name: &'a RawValue,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    uid: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    generation: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    labels: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<Cow<'a, str>, &'a RawValue>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    creation_timestamp: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    deletion_timestamp: Option<&'a RawValue>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    addresses: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    load_balancer: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    conditions: Option<Vec<Condition<'a>>>,
}

/// An endpoint without what says which pod it is, which is most of it.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    addresses: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    conditions: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    node_name: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    zone: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    hints: Option<&'a RawValue>,
}

/// A condition without its times, which change with every heartbeat.
#[derive(Deserialize, Serialize)]
struct Condition<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a RawValue,
    #[serde(borrow)]
    status: &'a RawValue,
}

/// An object's text without what facts never read; nothing if it is no object.
pub(super) fn slim(text: &[u8]) -> Option<Vec<u8>> {
    let mut slim: Slim<'_> = serde_json::from_slice(text).ok()?;
    if let Some(annotations) = &mut slim.metadata.annotations {
        annotations.retain(|name, _| name.starts_with(OUR_ANNOTATIONS));
    }
    // Seldom more than half of it is kept.
    let mut kept = Vec::with_capacity(text.len() / 2);
    serde_json::to_writer(&mut kept, &slim).ok()?;
    kept.shrink_to_fit();
    Some(kept)
}

#[cfg(test)]
mod tests;

use std::sync::Arc;

use dunlin_intent::{Labels, NamespacedName, Timestamp};
use serde::Deserialize;

use super::value::Values;

/// The namespace of an object that names none, as with kubectl.
const DEFAULT_NAMESPACE: &str = "default";

/// What every object has; the rest of it is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    #[serde(default)]
    pub(crate) api_version: String,
    #[serde(default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) metadata: Place,
}

/// The place of an object.
#[derive(Default, Deserialize)]
pub(crate) struct Place {
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
}

impl Place {
    /// The name, if it is one that Kubernetes would take (RFC 1123 subdomain), in a namespace that it would take.
    pub(crate) fn checked_name(&self) -> Result<&str, String> {
        let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.');
        let name = self.name.as_deref().unwrap_or_default();
        let namespace = self.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        if name.is_empty() {
            Err("metadata.name is missing".to_owned())
        } else if name.len() > 253 || !name.bytes().all(good) {
            Err(format!(
                "metadata.name {name:?} is no name: at most 253 lower-case letters, digits, '-' and '.'"
            ))
        } else if namespace.is_empty()
            || namespace.len() > 63
            || !namespace.bytes().all(|c| c != b'.' && good(c))
        {
            Err(format!(
                "metadata.namespace {namespace:?} is no namespace: at most 63 lower-case letters, digits and '-'"
            ))
        } else {
            Ok(name)
        }
    }
}

/// `metadata`, as far as it matters. The maps of an EndpointSlice are not read by this: there are too many of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) uid: Option<String>,
    labels: Option<Labels>,
    #[serde(default)]
    annotations: Option<Annotations>,
    creation_timestamp: Option<String>,
}

/// The annotations that are read.
#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "dunlin.dev/drain")]
    drain: Option<String>,
}

impl Meta {
    /// Whether the annotation `dunlin.dev/drain` asks for the node to be drained. What is neither yes nor no asks for
    /// nothing: taking a node out of use by mistake is worse than keeping it.
    pub(super) fn drain(&self, values: &mut Values) -> bool {
        match self.annotations.as_ref().and_then(|a| a.drain.as_deref()) {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                let message = format!(
                    "{other:?} is neither \"true\" nor \"false\": the node is not drained by it"
                );
                values.fault("metadata.annotations[dunlin.dev/drain]", message);
                false
            }
        }
    }

    pub(crate) fn labels(&mut self) -> Labels {
        self.labels.take().unwrap_or_default()
    }

    pub(crate) fn created(&self, values: &mut Values) -> Option<Timestamp> {
        created(self.creation_timestamp.as_deref(), values)
    }
}

pub(super) fn created(text: Option<&str>, values: &mut Values) -> Option<Timestamp> {
    let text = text?;
    let created = Timestamp::parse_rfc3339(text);
    if created.is_none() {
        values.fault(
            "metadata.creationTimestamp",
            format!("{text:?} is no time: write 2026-01-31T12:34:56Z"),
        );
    }
    created
}

pub(super) fn namespaced(
    namespace: Option<impl Into<Arc<str>>>,
    name: impl Into<Arc<str>>,
) -> NamespacedName {
    match namespace {
        Some(namespace) => NamespacedName::new(namespace, name),
        None => NamespacedName::new(DEFAULT_NAMESPACE, name),
    }
}

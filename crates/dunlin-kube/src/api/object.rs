//! Which object a text is of.

use dunlin_intent::Key;
use serde::Deserialize;

use crate::object::Resource;

/// An object, of which only the place matters.
#[derive(Deserialize)]
pub(super) struct Envelope {
    #[serde(default)]
    pub(super) metadata: EnvelopeMeta,
}

/// What matters of an object before its kind is looked at.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct EnvelopeMeta {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) resource_version: String,
    annotations: Option<Bookmark>,
}

#[derive(Default, Deserialize)]
struct Bookmark {
    #[serde(default, rename = "k8s.io/initial-events-end")]
    initial_events_end: Option<String>,
}

impl EnvelopeMeta {
    /// Whether this bookmark ends the list that a stream began with.
    pub(super) fn ends_initial_events(&self) -> bool {
        let end = self.annotations.as_ref();
        end.and_then(|a| a.initial_events_end.as_deref()) == Some("true")
    }
}

impl Envelope {
    pub(super) fn read(text: &[u8]) -> Result<Envelope, String> {
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }

    pub(super) fn key(&self, resource: Resource) -> Option<Key> {
        resource.key_of(self.metadata.namespace.as_deref(), &self.metadata.name)
    }
}

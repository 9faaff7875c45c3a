//! Which object a text is of.

use std::fmt;

use dunlin_intent::Key;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::object::Resource;

/// An object, of which only the place matters.
#[derive(Default)]
pub(super) struct Envelope {
    pub(super) metadata: EnvelopeMeta,
}

/// Finds `metadata` among an object's members.
struct Finder<'a>(&'a mut Option<EnvelopeMeta>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Member {
    Metadata,
    #[serde(other)]
    Other,
}

impl<'de> Visitor<'de> for Finder<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(member) = members.next_key()? {
            match member {
                Member::Metadata => {
                    *self.0 = Some(members.next_value()?);
                    return Ok(());
                }
                Member::Other => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
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
    /// Reads as far as `metadata`, which API servers write first: what is behind it is not looked at.
    pub(super) fn read(text: &[u8]) -> Result<Envelope, String> {
        let mut found = None;
        let mut text = serde_json::Deserializer::from_slice(text);
        let outcome = text.deserialize_map(Finder(&mut found));
        match (found, outcome) {
            // That there is more behind it is no error here.
            (Some(metadata), _) => Ok(Envelope { metadata }),
            (None, Ok(())) => Ok(Envelope::default()),
            (None, Err(error)) => Err(error.to_string()),
        }
    }

    pub(super) fn key(&self, resource: Resource) -> Option<Key> {
        resource.key_of(self.metadata.namespace.as_deref(), &self.metadata.name)
    }
}

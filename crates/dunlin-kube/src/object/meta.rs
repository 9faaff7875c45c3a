use std::collections::BTreeMap;

use dunlin_intent::{Labels, Timestamp};
use serde::Deserialize;

use super::value::Values;

/// What every object has; the rest of it is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) metadata: Meta,
}

/// `metadata`, as far as it matters.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta {
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) uid: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<String>,
}

impl Meta {
    /// The name, if it is one that Kubernetes would take (RFC 1123 subdomain).
    pub(crate) fn checked_name(&self) -> Result<&str, String> {
        let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.');
        let name = self.name.as_str();
        if name.is_empty() {
            Err("metadata.name is missing".to_owned())
        } else if name.len() > 253 || !name.bytes().all(good) {
            Err(format!(
                "metadata.name {name:?} is no name: at most 253 lower-case letters, digits, '-' and '.'"
            ))
        } else {
            Ok(name)
        }
    }

    pub(crate) fn labels(&mut self) -> Labels {
        self.labels.take().unwrap_or_default()
    }

    pub(crate) fn created(&self, values: &mut Values) -> Option<Timestamp> {
        let text = self.creation_timestamp.as_deref()?;
        let created = Timestamp::parse_rfc3339(text);
        if created.is_none() {
            values.fault(
                "metadata.creationTimestamp",
                format!("{text:?} is no time: write 2026-01-31T12:34:56Z"),
            );
        }
        created
    }
}

//! A Lease as the API has it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

/// What of a Lease matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// `metadata.resourceVersion`.
    pub version: String,
    /// `spec.holderIdentity`; empty if nobody holds it.
    pub holder: String,
    /// `spec.leaseDurationSeconds`.
    pub duration: Duration,
    /// `spec.acquireTime`, as it is written there.
    pub acquired: Option<String>,
    /// `spec.leaseTransitions`.
    pub transitions: u32,
}

/// A Lease to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseWrite {
    /// The version to replace; none to create it.
    pub version: Option<String>,
    /// Who holds it from then on; empty for nobody.
    pub holder: String,
    /// How long others wait.
    pub duration: Duration,
    /// When the holder came to hold it, if that is not now.
    pub acquired: Option<String>,
    /// How often it changed hands.
    pub transitions: u32,
}

impl LeaseWrite {
    /// To take or to renew it.
    pub(super) fn take(
        seen: Option<&LeaseRecord>,
        identity: &str,
        duration: Duration,
    ) -> LeaseWrite {
        let same = seen.is_some_and(|record| record.holder == identity);
        LeaseWrite {
            version: seen.map(|record| record.version.clone()),
            holder: identity.to_owned(),
            duration,
            acquired: seen.filter(|_| same).and_then(|r| r.acquired.clone()),
            transitions: match (seen, same) {
                (None, _) => 0,
                (Some(record), true) => record.transitions,
                (Some(record), false) => record.transitions.saturating_add(1),
            },
        }
    }

    /// To give it up.
    pub(super) fn release(seen: &LeaseRecord) -> LeaseWrite {
        LeaseWrite {
            version: Some(seen.version.clone()),
            holder: String::new(),
            // As others do: whoever sees it need not wait.
            duration: Duration::from_secs(1),
            acquired: None,
            transitions: seen.transitions,
        }
    }

    /// The object. `now` is the wall clock, which only people read, with microseconds: `2026-01-31T12:34:56.000000Z`.
    pub fn object(&self, namespace: &str, name: &str, now: &str) -> Value {
        let mut metadata = json!({ "name": name, "namespace": namespace });
        if let Some(version) = &self.version {
            metadata["resourceVersion"] = version.as_str().into();
        }
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": self.duration.as_secs().max(1),
                "acquireTime": self.acquired.as_deref().unwrap_or(now),
                "renewTime": now,
                "leaseTransitions": self.transitions,
            },
        })
    }
}

impl LeaseRecord {
    /// From the object's JSON; none if it is no Lease.
    pub fn parse(text: &[u8]) -> Option<LeaseRecord> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Meta,
            #[serde(default)]
            spec: Spec,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Meta {
            resource_version: String,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Spec {
            holder_identity: Option<String>,
            lease_duration_seconds: Option<i64>,
            acquire_time: Option<String>,
            lease_transitions: Option<i64>,
        }
        let object: Object = serde_json::from_slice(text).ok()?;
        let secs = object.spec.lease_duration_seconds.unwrap_or_default();
        let transitions = object.spec.lease_transitions.unwrap_or_default();
        Some(LeaseRecord {
            version: object.metadata.resource_version,
            holder: object.spec.holder_identity.unwrap_or_default(),
            duration: Duration::from_secs(u64::try_from(secs).unwrap_or(0)),
            acquired: object.spec.acquire_time,
            transitions: u32::try_from(transitions).unwrap_or(0),
        })
    }
}

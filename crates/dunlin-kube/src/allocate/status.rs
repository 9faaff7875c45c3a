//! What is written into a Service's status.

use std::net::IpAddr;

use dunlin_intent::pools::{Outcome, Remark, Shortfall};
use serde::Deserialize;
use serde_json::{Value, json};

/// The condition of a Service that says whether it has the addresses it should have.
pub const CONDITION: &str = "dunlin.dev/Allocated";
/// The most characters of a message (the API's limit is 32 kB).
const MESSAGE_CHARS: usize = 2000;

/// What of a Service matters to whoever writes its status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Marks {
    pub(super) metadata: MarksMeta,
    pub(super) status: MarksStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct MarksMeta {
    pub(super) resource_version: String,
    pub(super) uid: Option<String>,
    pub(super) generation: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MarksStatus {
    /// All of them, also other people's, which are written back as they are.
    pub(super) conditions: Option<Vec<Value>>,
}

impl Marks {
    /// The version as a number that grows, where the server has such.
    fn number(&self) -> Option<u64> {
        self.metadata.resource_version.parse().ok()
    }

    /// Whether another view of the same Service is older.
    pub(super) fn is_newer_than(&self, other: &Marks) -> bool {
        self.metadata.uid == other.metadata.uid
            && matches!((self.number(), other.number()), (Some(ours), Some(theirs)) if ours > theirs)
    }

    fn condition(&self) -> Option<&Value> {
        let conditions = self.status.conditions.as_ref()?;
        conditions.iter().find(|c| c["type"] == CONDITION)
    }

    /// Whether the condition says this of the outcome.
    pub(super) fn says(&self, outcome: &Outcome) -> bool {
        self.condition().is_some_and(|condition| {
            condition["status"] == status(outcome)
                && condition["reason"] == outcome.reason()
                && condition["message"] == message(outcome).as_str()
        })
    }

    /// The status is to stay as it is: another controller's, as far as can be told.
    pub(super) fn leave_alone(&self, outcome: &Outcome, differs: bool) -> bool {
        if outcome.shortfall == Some(Shortfall::AnotherController) {
            return true;
        }
        // It came with addresses that no pool has ever had, and lacks none: nothing was done for it.
        let foreign = |ip: &IpAddr| {
            let outside = Remark::KeptOutsidePools(*ip);
            outcome.remarks.contains(&outside)
        };
        !differs
            && outcome.complete()
            && self.condition().is_none()
            && outcome.addresses.iter().all(foreign)
    }

    /// The patch that makes the status show the outcome, of just this version of just this Service.
    pub(super) fn patch(&self, outcome: &Outcome, now: &str) -> Value {
        let before = self.condition();
        let same = before.is_some_and(|condition| condition["status"] == status(outcome));
        let since = before.map(|condition| &condition["lastTransitionTime"]);
        let mut condition = json!({
            "type": CONDITION,
            "status": status(outcome),
            "reason": outcome.reason(),
            "message": message(outcome),
            "lastTransitionTime": match since {
                Some(since) if same && since.is_string() => since.clone(),
                _ => now.into(),
            },
        });
        if let Some(generation) = self.metadata.generation {
            condition["observedGeneration"] = generation.into();
        }
        let others = self.status.conditions.iter().flatten();
        let others = others.filter(|c| c["type"] != CONDITION).cloned();
        let conditions: Vec<Value> = others.chain([condition]).collect();
        let entry = |ip: &IpAddr| json!({ "ip": ip, "ipMode": "VIP" });
        let ingress: Vec<Value> = outcome.addresses.iter().map(entry).collect();
        json!({
            "metadata": {
                "uid": self.metadata.uid,
                "resourceVersion": self.metadata.resource_version,
            },
            "status": {
                "loadBalancer": {
                    "ingress": if ingress.is_empty() { Value::Null } else { ingress.into() },
                },
                "conditions": conditions,
            },
        })
    }
}

fn status(outcome: &Outcome) -> &'static str {
    match outcome.complete() {
        true => "True",
        false => "False",
    }
}

fn message(outcome: &Outcome) -> String {
    outcome.to_string().chars().take(MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests;

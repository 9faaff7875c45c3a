//! What is written into the `status` of our objects.
//!
//! Every list has a bound, so that no object grows with the cluster: what does not fit is counted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The condition of an object that says whether it is in force as it stands.
pub const ACCEPTED: &str = "Accepted";
/// The condition of a `BGPNode` that says whether the node routes.
pub const READY: &str = "Ready";

/// The most sessions that a `BGPNode` lists.
pub const MAX_SESSIONS: usize = 256;
/// The most originations that a `BGPNode` lists.
pub const MAX_ORIGINATIONS: usize = 256;
/// The most problems that a `BGPNode` lists.
pub const MAX_PROBLEMS: usize = 64;
/// The most octets of a text for people.
pub const MAX_TEXT: usize = 1024;

/// What agents say of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus {
    /// How the object stands. Accepted says whether it is in force as it stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
}

/// What the agents say of the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// How the pool stands. Accepted says whether addresses are given out of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
    /// How many addresses Services have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated: Option<u32>,
    /// How many addresses are left; more than 4294967295 count as that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<u32>,
}

/// One aspect of how an object stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, as one word.
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    )]
    pub reason: String,
    /// What, where and what to do.
    #[serde(default)]
    #[schemars(length(max = 32768))]
    pub message: String,
    /// When the status last changed.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// The generation of the object that this was said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "a variant with a text would be a schema of its own"
)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// How a node stands, as its agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BgpNodeStatus {
    /// How the node stands. Ready says whether it routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
    /// The version of the agent.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub agent_version: String,
    /// When the agent started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub agent_started: Option<String>,
    /// What the node is to the other nodes: Mesh peers with all, a Client with the Reflectors, None with no node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<NodeRole>,
    /// The AS number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// The router id.
    #[serde(rename = "routerID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15))]
    pub router_id: Option<String>,
    /// How many sessions there are.
    pub session_counts: SessionCounts,
    /// How many routes there are.
    pub route_counts: RouteCounts,
    /// How many problems there are.
    pub problem_count: u32,
    /// The sessions, by peer; those that are not up come first if not all fit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_SESSIONS), extend("x-kubernetes-list-type" = "atomic"))]
    pub sessions: Vec<SessionStatus>,
    /// What the node announces of itself, and where it stands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_ORIGINATIONS), extend("x-kubernetes-list-type" = "atomic"))]
    pub originations: Vec<OriginationStatus>,
    /// What is wrong, as this node sees it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_PROBLEMS), extend("x-kubernetes-list-type" = "atomic"))]
    pub problems: Vec<ProblemStatus>,
    /// How many entries did not fit the lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated: Option<Truncated>,
}

/// What a node is to the other nodes: Mesh peers with all, a Client with the Reflectors, None with no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "a variant with a text would be a schema of its own"
)]
pub enum NodeRole {
    Mesh,
    Reflector,
    Client,
    None,
}

/// How many sessions there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SessionCounts {
    /// How many are up.
    pub established: u32,
    /// How many there should be.
    pub expected: u32,
}

/// How many routes there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RouteCounts {
    /// Prefixes that peers told.
    pub learned: u32,
    /// Prefixes that are in the kernel.
    pub installed: u32,
    /// Prefixes that the kernel refused.
    pub failed: u32,
    /// Prefixes that the node announces of itself.
    pub originated: u32,
}

/// A session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SessionStatus {
    /// The Node or the BGPPeer.
    #[schemars(length(max = 253))]
    pub peer: String,
    /// The kind of the peer: Node or BGPPeer.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// The address peered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub address: Option<String>,
    /// The peer's AS, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// The state (RFC 4271 section 8.2.2): Idle, Connect, Active, OpenSent, OpenConfirm or Established.
    #[schemars(length(max = 63))]
    pub state: String,
    /// Since when it is up, or down.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub since: Option<String>,
    /// Why it is down, or was last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_TEXT))]
    pub last_error: Option<String>,
    /// The hold time in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_time_seconds: Option<u16>,
    /// The keepalive interval in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_seconds: Option<u16>,
    /// Prefixes that the peer told.
    pub received: u32,
    /// Of those, how many passed.
    pub accepted: u32,
    /// Prefixes that the peer was told.
    pub advertised: u32,
}

/// A prefix that the node announces of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct OriginationStatus {
    /// The prefix.
    #[schemars(length(max = 64))]
    pub prefix: String,
    /// The object it is of, such as Node/n1 or Service/shop/web.
    #[schemars(length(max = 512))]
    pub object: String,
    /// How many peers have been told.
    pub advertised: u32,
    /// How many peers are to be told.
    pub wanted: u32,
    /// Why it is not told, or not to all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_TEXT))]
    pub reason: Option<String>,
}

/// Something that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ProblemStatus {
    /// The object, such as BGPPeer/tor.
    #[schemars(length(max = 512))]
    pub object: String,
    /// Why, as one word.
    #[schemars(length(max = 63))]
    pub reason: String,
    /// The field, where one is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub field: Option<String>,
    /// What, where and what to do.
    #[schemars(length(max = MAX_TEXT))]
    pub message: String,
}

/// How many entries did not fit the lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Truncated {
    /// Sessions that are not listed.
    pub sessions: u32,
    /// Originations that are not listed.
    pub originations: u32,
    /// Problems that are not listed.
    pub problems: u32,
}

impl BgpNodeStatus {
    /// The same within the bounds of the lists and texts, with what was left out counted. Of the sessions those that are
    /// not up are kept first. `session_counts` and `problem_count` are the caller's.
    pub fn bounded(mut self) -> BgpNodeStatus {
        if self.sessions.len() > MAX_SESSIONS {
            self.sessions
                .sort_by_key(|session| session.state == "Established");
        }
        let truncated = Truncated {
            sessions: cut(&mut self.sessions, MAX_SESSIONS),
            originations: cut(&mut self.originations, MAX_ORIGINATIONS),
            problems: cut(&mut self.problems, MAX_PROBLEMS),
        };
        self.truncated = (truncated != Truncated::default()).then_some(truncated);
        for session in &mut self.sessions {
            session.last_error.iter_mut().for_each(clip);
        }
        for origination in &mut self.originations {
            origination.reason.iter_mut().for_each(clip);
        }
        self.problems
            .iter_mut()
            .for_each(|problem| clip(&mut problem.message));
        self
    }
}

/// Cuts a list to its bound and says how much went.
fn cut<T>(list: &mut Vec<T>, bound: usize) -> u32 {
    let over = list.len().saturating_sub(bound);
    list.truncate(bound);
    over.try_into().unwrap_or(u32::MAX)
}

/// Cuts a text to its bound, at the end of a character.
fn clip(text: &mut String) {
    const MARK: &str = "…";
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT - MARK.len()));
        text.push_str(MARK);
    }
}

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use dunlin_net::IpNet;

use crate::ObjectProblem;

/// Where a [`PlanRequest`] is posted, as JSON; the reply's body is a [`Plan`], or an [`ErrorBody`](crate::ErrorBody) where the
/// status is not 200.
pub const PLAN_PATH: &str = "/v1/plan";

/// Asks what a change of objects would come to on the agent's node. Nothing changes by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PlanRequest {
    /// The objects to apply, in order.
    pub files: Vec<PlanFile>,
    /// The objects to delete, as `BGPPeer/tor-1` or `Service/shop/web`; they go before others come.
    pub delete: Vec<String>,
    /// At most so many items in each list; what is left out is counted. At most [`PlanRequest::MAX_ITEMS`].
    pub limit: Option<u32>,
}

impl PlanRequest {
    /// The most octets of all files together.
    pub const MAX_BYTES: usize = 1 << 20;
    /// The most objects to delete.
    pub const MAX_DELETIONS: usize = 10_000;
    /// The most items in a list.
    pub const MAX_ITEMS: u32 = 10_000;
    /// As many items if nothing is said.
    pub const DEFAULT_ITEMS: u32 = 100;

    /// How many items a list has at most.
    pub fn items(&self) -> usize {
        let limit = self.limit.unwrap_or(PlanRequest::DEFAULT_ITEMS);
        limit.min(PlanRequest::MAX_ITEMS) as usize
    }
}

/// A file of objects.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PlanFile {
    /// What people call it.
    pub name: String,
    /// YAML with any number of documents, or JSON if the name ends in `.json`.
    pub text: String,
}

/// What is in it may be secret.
impl fmt::Debug for PlanFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlanFile")
            .field("name", &self.name)
            .field("octets", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// What a change of objects would come to on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Plan {
    /// The node whose agent answers: of other nodes nothing is said.
    pub node: String,
    /// Where a file does not parse. If any does not, nothing else is worked out.
    pub faults: Vec<PlanFault>,
    /// The objects of the request.
    pub objects: Listed<PlannedObject>,
    /// What would be wrong: problems that would be new, and those of the request's objects.
    pub problems: Listed<ObjectProblem>,
    /// Problems there are now and would not be then.
    pub solved: Listed<ObjectProblem>,
    /// What to know when reading the rest.
    pub notes: Vec<String>,
    /// What would change for the node as a whole: its AS, addresses, masquerade, and so on.
    pub node_changes: Vec<FieldChange>,
    /// Sessions that would not stay as they are; those with the same fate together.
    pub sessions: Listed<PlannedSessions>,
    /// What peers would be told and not be told; those told the same together.
    pub exports: Listed<PlannedExports>,
    /// What peers announce that would be accepted and rejected.
    pub imports: Listed<PlannedImports>,
    /// Routes in the kernel, by what is learned by now.
    pub routes: PlannedPrefixes,
    /// Destinations that would be kept from masquerade, and those that would not be any more.
    pub masquerade_exclusions: PlannedPrefixes,
    /// Ranges that only Services have addresses in, and that nothing is forwarded to.
    pub service_ranges: PlannedPrefixes,
}

impl Plan {
    /// Whether it found something wrong.
    pub fn has_problems(&self) -> bool {
        !self.faults.is_empty() || !self.problems.is_empty()
    }

    /// Whether the change would come to anything, but for problems.
    pub fn is_idle(&self) -> bool {
        self.node_changes.is_empty()
            && self.sessions.is_empty()
            && self.exports.is_empty()
            && self.imports.is_empty()
            && self.routes.is_empty()
            && self.masquerade_exclusions.is_empty()
            && self.service_ranges.is_empty()
    }
}

/// The first items of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed<T> {
    /// The first of them.
    pub items: Vec<T>,
    /// How many there are besides.
    pub more: u64,
}

impl<T> Default for Listed<T> {
    fn default() -> Listed<T> {
        Listed {
            items: Vec::new(),
            more: 0,
        }
    }
}

impl<T> Listed<T> {
    /// Adds an item, or counts it if there are `limit` already.
    pub fn add(&mut self, limit: usize, item: T) {
        if self.items.len() < limit {
            self.items.push(item);
        } else {
            self.more += 1;
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.more == 0
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.more + self.items.len() as u64
    }
}

/// A place in a file that does not parse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PlanFault {
    /// The file.
    pub file: String,
    /// The document, from 1.
    pub document: u32,
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1; none if there is none to tell.
    pub column: Option<u64>,
    /// What is wrong.
    pub message: String,
}

/// An object of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PlannedObject {
    /// Its kind and name: `BGPPeer/tor-1`.
    pub object: String,
    /// What would become of it.
    pub change: ObjectChange,
    /// The file that it stands in.
    pub file: Option<String>,
    /// The line that it begins at, from 1.
    pub line: Option<u64>,
}

/// What would become of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ObjectChange {
    /// There is none of its name now.
    #[default]
    Created,
    /// It takes the place of the one there is.
    Replaced,
    /// It goes.
    Deleted,
    /// It is to go, and there is none.
    NotFound,
    /// It is of a kind that says nothing to routing.
    Ignored,
}

/// A value that would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FieldChange {
    /// Which, as objects or RFCs name it.
    pub field: String,
    /// What it is; absent if it is not set.
    pub before: Option<String>,
    /// What it would be; absent if it would not be set.
    pub after: Option<String>,
}

/// Sessions with the same fate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PlannedSessions {
    /// What would become of them.
    pub effect: SessionEffect,
    /// Why.
    pub reasons: Vec<FieldChange>,
    /// Why they would not even be tried.
    pub not_tried: Option<String>,
    /// Whom with.
    pub peers: Listed<PlannedPeer>,
    /// How many of them are Established.
    pub established: u64,
}

/// What would become of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SessionEffect {
    /// It would end, for good.
    #[default]
    Ends,
    /// It would end and come up again.
    Resets,
    /// There is none now, and there would be.
    Starts,
    /// Its settings would change without a reset, or it is not up.
    Changes,
    /// What is learned or told would be judged otherwise, without a reset.
    Policy,
}

/// A peer in a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PlannedPeer {
    /// The Node's or the `BGPPeer`'s name, with the address after a slash for one who came from a `peerRange`.
    pub name: String,
    /// Its address; absent for a range.
    pub address: Option<IpAddr>,
    /// How the session stands now (RFC 4271 8.2.2); absent if there is none.
    pub state: Option<String>,
}

/// What peers would be told and not be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PlannedExports {
    /// The peers, by name. Where they are several, none of them is told of the prefixes whose origin it is itself.
    pub peers: Listed<String>,
    /// The prefixes.
    pub prefixes: PlannedPrefixes,
}

/// What of a peer's announcements would be accepted and rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PlannedImports {
    /// The peer's name.
    pub peer: String,
    /// The prefixes: those that would be accepted appear, those that would not go.
    pub prefixes: PlannedPrefixes,
}

/// Prefixes that would not stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PlannedPrefixes {
    /// They would be there.
    pub appear: Listed<PlannedPrefix>,
    /// They would not be there any more.
    pub go: Listed<PlannedPrefix>,
    /// They would stay, and something about them would not.
    pub change: Listed<PlannedPrefix>,
}

impl PlannedPrefixes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.appear.is_empty() && self.go.is_empty() && self.change.is_empty()
    }
}

/// A prefix that would not stay as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedPrefix {
    /// The prefix.
    pub prefix: IpNet,
    /// Where it comes from: `Node/n1`, `Service/ns/name`, or the neighbor it was learned from.
    #[serde(default)]
    pub origin: Option<String>,
    /// Why it is or would be rejected.
    #[serde(default)]
    pub reason: Option<String>,
    /// What of it would change.
    #[serde(default)]
    pub changes: Vec<FieldChange>,
}

impl PlannedPrefix {
    /// A prefix of which nothing else is told.
    pub fn new(prefix: IpNet) -> PlannedPrefix {
        PlannedPrefix {
            prefix,
            origin: None,
            reason: None,
            changes: Vec::new(),
        }
    }
}

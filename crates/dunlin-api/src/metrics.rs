use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{BfdFigures, Neighbor, NeighborCounters, Status};

/// What the metrics endpoint shows. Node peers are summed up, so that a cluster's metrics grow with its nodes and not
/// with their square.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metrics {
    /// The screen of figures.
    pub status: Status,
    /// External peers, and those accepted from a range; the first 1,000 by name.
    pub external: Vec<Neighbor>,
    /// Node peers by FSM state.
    pub node_states: BTreeMap<String, u32>,
    /// Messages of all node peers together.
    pub node_counters: NeighborCounters,
    /// Times any node peer left Established.
    pub node_flaps: u64,
    /// BFD sessions by `node` or `external`, then by state.
    pub bfd_states: BTreeMap<String, BTreeMap<String, u32>>,
    /// Times BFD found any node peer dead.
    pub node_bfd_failures: u64,
    /// What the BFD thread counts; none where it does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BfdFigures>,
    /// Router advertisements and solicitations by what became of them, if there are unnumbered peers.
    pub router_discovery: BTreeMap<String, u64>,
    /// Paths that are received and not used, by reason.
    pub rejected_by_reason: BTreeMap<String, u64>,
    /// Connections to the listening port that were refused since start, by reason.
    pub refused_connections: BTreeMap<String, u64>,
    /// Requests of peers to be told everything again that came while one of theirs waited already.
    pub refreshes_melted: u64,
    /// What sources said of objects, by kind.
    pub source_events: BTreeMap<String, u64>,
    /// From a change of a Service or its endpoints to the UPDATEs written that follow from it.
    pub service_announce: Histogram,
    /// From a change of what the service proxy should do to the kernel's acknowledgement of it; none where it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_program: Option<Histogram>,
}

/// Times, counted by how long they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Histogram {
    /// The greatest time that each count is of, seconds, ascending.
    pub bounds_secs: Vec<f64>,
    /// How many were within each bound and not within the one before; one more, for those beyond all.
    pub counts: Vec<u64>,
    /// All together, seconds.
    pub sum_secs: f64,
}

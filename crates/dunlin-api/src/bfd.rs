use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The BFD session beside a BGP session (RFC 5880). What the peer says is zero or absent while it is not heard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NeighborBfd {
    /// `AdminDown`, `Down`, `Init` or `Up`.
    pub state: String,
    /// Seconds in this state.
    pub since_secs: u64,
    /// Whether the peer may be behind routers (RFC 5883), or is a neighbour on a link (RFC 5881).
    pub multihop: bool,
    /// The interface that packets must come in by, if that is known.
    pub interface: Option<String>,
    /// Our address, if it is set.
    pub local_address: Option<IpAddr>,
    /// What the peer says of its own state.
    pub remote_state: Option<String>,
    /// Between our packets as agreed, before jitter, milliseconds.
    pub transmit_interval_millis: u64,
    /// After so long without a packet the peer is dead, milliseconds.
    pub detection_time_millis: Option<u64>,
    /// Times it was found dead.
    pub failures: u64,
    /// Why it last went down.
    pub last_down: Option<String>,
    /// Seconds since.
    pub last_down_secs: Option<u64>,
    /// Packets sent.
    pub sent: u64,
    /// Packets received and taken.
    pub received: u64,
    /// Packets of the peer that were dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Packets that could not be sent.
    pub send_errors: u64,
    /// The last such error, as the system numbers it.
    pub last_send_error: Option<i32>,
    /// Why the session is not there although it is wanted.
    pub problem: Option<String>,
}

/// What the BFD thread counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BfdFigures {
    /// Packets received.
    pub received: u64,
    /// Packets dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Packets that the kernel dropped because they were not read in time.
    pub overruns: u64,
    /// Packets that could not be sent.
    pub send_errors: u64,
    /// The longest that the thread was late for a deadline, microseconds.
    pub most_late_micros: u64,
}

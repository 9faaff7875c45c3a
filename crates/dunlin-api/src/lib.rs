//! The admin API: requests and answers, as JSON over HTTP on the agent's Unix socket.
//!
//! Times in answers are ages (`…_secs`: seconds before the answer was made), so that they need no shared clock.
#![forbid(unsafe_code)]

mod explain;
mod query;
mod status;
mod tables;

pub use explain::{Explanation, Step, Verdict};
pub use query::{Answer, Query, RouteFilter, RouteView};
pub use status::{DataplaneStatus, GateStatus, Problem, RouteCounts, SessionCounts, Status};
pub use tables::{
    AdvertisedTo, Advertisement, FamilyCounts, Neighbor, NeighborCounters, Node, NotificationSeen,
    Path, Route, RouteState,
};

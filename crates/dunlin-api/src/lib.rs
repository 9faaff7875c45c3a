//! The admin API: requests and answers, as JSON over HTTP on the agent's Unix socket.
//!
//! Times in answers are ages (`…_secs`: seconds before the answer was made), so that they need no shared clock.
#![forbid(unsafe_code)]

mod bfd;
mod bmp;
#[cfg(feature = "client")]
mod client;
mod dump;
mod explain;
mod frontends;
mod metrics;
mod plan;
mod pools;
mod query;
mod report;
mod services;
mod status;
mod tables;

pub use bfd::{BfdFigures, NeighborBfd};
pub use bmp::BmpStation;
#[cfg(feature = "client")]
pub use client::{Client, ClientError, DEFAULT_SOCKET};
pub use dump::{DumpRequest, DumpedTable, MRT_PATH};
pub use explain::{Explanation, Step, Verdict};
pub use frontends::{
    Action, Frontend, FrontendOwner, FrontendState, FrontendTreatment, ProxyStatus,
    ServiceEndpoint, ServiceFrontend,
};
pub use metrics::{Histogram, Metrics};
pub use plan::{
    FieldChange, Listed, ObjectChange, PLAN_PATH, Plan, PlanFault, PlanFile, PlanRequest,
    PlannedExports, PlannedImports, PlannedObject, PlannedPeer, PlannedPrefix, PlannedPrefixes,
    PlannedSessions, SessionEffect,
};
pub use pools::{Pool, PoolCounts};
pub use query::{Answer, ErrorBody, QUERY_PATH, Query, RouteFilter, RouteView};
pub use report::{NodeReport, ObjectProblem, ObjectReport, OriginationReport, SessionReport};
pub use services::{
    AnnouncedPrefix, EndpointCounts, ProgrammedCounts, Service, ServiceAddress, ServiceCounts,
    ServiceFilter,
};
pub use status::{
    CniState, CniStatus, DataplaneStatus, DrainStatus, GateStatus, Problem, RouteCounts,
    SessionCounts, Status, TopologyStatus,
};
pub use tables::{
    AdvertisedTo, Advertisement, FamilyCounts, Neighbor, NeighborCounters, NeighborDown,
    NeighborLimit, Node, NotificationSeen, Path, Route, RouteState, ToldPath,
};

#[cfg(test)]
mod tests;

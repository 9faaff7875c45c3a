use serde::{Deserialize, Serialize};

use dunlin_net::{Afi, IpNet};

use crate::{
    Advertisement, Explanation, Frontend, FrontendOwner, Metrics, Neighbor, Node, NodeReport,
    ObjectReport, Pool, Route, Service, ServiceFilter, Status,
};

/// Where a [`Query`] is posted, as JSON; the reply's body is an [`Answer`], or an [`ErrorBody`] where the status is not 200.
pub const QUERY_PATH: &str = "/v1/query";

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// What, and what to do.
    pub error: String,
}

/// What can be asked of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Query {
    /// One screen about the node.
    Status,
    /// All sessions.
    Neighbors,
    /// Routes with their paths and what the kernel says of them.
    Routes(RouteFilter),
    /// What is announced, and to whom.
    Advertisements(RouteFilter),
    /// The cluster's nodes as this agent sees them.
    Nodes,
    /// The whole chain of one prefix, from the object to the kernel, or where and why it stops.
    ExplainPrefix(IpNet),
    /// Why a neighbor is as it is: by address or name.
    ExplainNeighbor(String),
    /// Services, where their addresses stand, and why.
    Services(ServiceFilter),
    /// The pools that Services get addresses from.
    Pools,
    /// The whole chain of a Service's addresses, from the object to each neighbor, or where and why it stops.
    ExplainService {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Whose frontends are, and how far the kernel is with them; at most 10,000. Those that nobody knows are left out.
    Frontends(Vec<Frontend>),
    /// Figures for the metrics endpoint.
    Metrics,
    /// What the node tells the cluster of itself.
    NodeReport,
    /// How the objects of our kinds stand, and whether it is us who writes that into them.
    ObjectReport,
}

/// Which routes are wanted; everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RouteFilter {
    /// Only this prefix and what lies within it.
    pub prefix: Option<IpNet>,
    /// Only this family.
    pub family: Option<Afi>,
    /// Only what came from (routes) or goes to (advertisements) this neighbor: its address or name.
    pub peer: Option<String>,
    /// Only what concerns this node: what it owns or announces.
    pub node: Option<String>,
    /// At most so many; the answer says when there were more. Default and maximum 10,000.
    pub limit: Option<u32>,
}

/// Rows, and whether the limit cut the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteView<T> {
    /// The rows; routes and advertisements by family, then prefix, Services by namespace, then name.
    pub items: Vec<T>,
    /// Whether more matched.
    pub truncated: bool,
}

/// An agent's answer to a [`Query`], of the same name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// To [`Query::Status`].
    Status(Box<Status>),
    /// To [`Query::Neighbors`].
    Neighbors(Vec<Neighbor>),
    /// To [`Query::Routes`].
    Routes(RouteView<Route>),
    /// To [`Query::Advertisements`].
    Advertisements(RouteView<Advertisement>),
    /// To [`Query::Nodes`].
    Nodes(Vec<Node>),
    /// To [`Query::Services`].
    Services(RouteView<Service>),
    /// To [`Query::Pools`].
    Pools(Vec<Pool>),
    /// To [`Query::ExplainPrefix`], [`Query::ExplainNeighbor`] and [`Query::ExplainService`].
    Explanation(Explanation),
    /// To [`Query::Frontends`].
    Frontends(Vec<FrontendOwner>),
    /// To [`Query::Metrics`].
    Metrics(Box<Metrics>),
    /// To [`Query::NodeReport`].
    NodeReport(Box<NodeReport>),
    /// To [`Query::ObjectReport`].
    ObjectReport(Box<ObjectReport>),
    /// What was asked about does not exist; the text says what was looked for.
    NotFound(String),
}

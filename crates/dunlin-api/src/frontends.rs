use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use dunlin_net::IpNet;
use dunlin_net::service;

/// Where clients reach a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Frontend {
    /// The address.
    pub address: IpAddr,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port.
    pub port: u16,
}

impl From<service::Frontend> for Frontend {
    fn from(frontend: service::Frontend) -> Frontend {
        Frontend {
            address: frontend.addr,
            protocol: frontend.protocol.name().into(),
            port: frontend.port,
        }
    }
}

impl Frontend {
    /// The same as the rest of us says it; none for a protocol that nobody knows.
    pub fn known(&self) -> Option<service::Frontend> {
        let mut protocols = service::Protocol::ALL.into_iter();
        Some(service::Frontend {
            addr: self.address,
            protocol: protocols.find(|protocol| protocol.name() == self.protocol)?,
            port: self.port,
        })
    }
}

/// A [`Frontend`] of a Service, and what the service proxy of the node does for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceFrontend {
    /// Where clients come to.
    #[serde(flatten)]
    pub frontend: Frontend,
    /// `ClusterIP`, `ExternalIP`, `LoadBalancerIP` or `NodePort`.
    pub kind: String,
    /// `spec.ports[].name`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub port_name: String,
    /// The traffic policy that it goes by: `Cluster` or `Local`.
    pub policy: String,
    /// How far the kernel is.
    pub state: FrontendState,
    /// More of that: what the kernel said, who else has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How many elements the kernel's tables have of it.
    pub elements: u64,
    /// How many connections to it have begun since it was first counted; only with `--service-counters on`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// What becomes of connections from the node and its pods; none where nothing is delivered to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<FrontendTreatment>,
    /// The same for connections from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<FrontendTreatment>,
    /// The only sources that may come from elsewhere; none given means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<IpNet>>,
    /// The endpoints of its port, also those that get no connections.
    pub endpoints: Vec<ServiceEndpoint>,
}

/// How far the kernel is with a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrontendState {
    /// Connections are treated as the Service wants.
    Programmed,
    /// They are treated as it wanted until lately; what it wants now is on its way.
    Changing,
    /// They are not treated as it wants yet.
    Pending,
    /// The kernel refused.
    Failed,
    /// Another Service has it.
    Conflict,
    /// Its address can be no Service's.
    Unfit,
    /// No Service wants it; it is about to go.
    Stale,
}

impl FrontendState {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            FrontendState::Programmed => "Programmed",
            FrontendState::Changing => "Changing",
            FrontendState::Pending => "Pending",
            FrontendState::Failed => "Failed",
            FrontendState::Conflict => "Conflict",
            FrontendState::Unfit => "Unfit",
            FrontendState::Stale => "Stale",
        }
    }
}

/// What becomes of new connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendTreatment {
    /// Which.
    pub action: Action,
    /// How an endpoint is chosen, where connections are balanced: `Random` or `Maglev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<String>,
    /// For so long a client comes back to the endpoint it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity_secs: Option<u32>,
    /// Why it is as it is, in a sentence.
    pub why: String,
}

/// What becomes of new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// They go to an endpoint.
    Balance,
    /// They are refused: a TCP reset, or an ICMP unreachable.
    Reject,
    /// They are dropped.
    Drop,
}

/// An endpoint of a [`ServiceFrontend`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEndpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The Node it is on, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Whether that is this one.
    pub here: bool,
    /// `Ready`, `Terminating` (it serves until it ends) or `NotReady`.
    pub state: String,
    /// Whether it gets connections from the node and its pods.
    pub inside: bool,
    /// Whether it gets connections from elsewhere.
    pub outside: bool,
}

/// Whose a frontend is, for who found it in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendOwner {
    /// Which.
    pub frontend: Frontend,
    /// The Service, as `namespace/name`.
    pub service: Option<String>,
    /// How far the kernel is with it.
    pub state: FrontendState,
    /// What the kernel said, where it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What the service proxy of a node has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProxyStatus {
    /// Services that are delivered to.
    pub services: u64,
    /// Addresses with a protocol and port that are wanted.
    pub frontends: u64,
    /// Of those, not programmed as wanted yet, without those that failed.
    pub pending: u64,
    /// Of those, refused by the kernel, to be tried again.
    pub failed: u64,
    /// Those that an older Service has, too.
    pub conflicts: u64,
    /// Slots filled: an endpoint counts for each frontend that it serves, and in a table of hashes often.
    pub slots: u64,
    /// Elements that the kernel has, as far as is known.
    pub elements: u64,
    /// Elements written since the start, each addition and removal.
    pub operations: u64,
    /// Transactions given to the kernel since the start.
    pub batches: u64,
    /// Of those, refused, or with an unknown end.
    pub refused: u64,
    /// Transactions after which something that should be forgotten was not: a flow, a client that comes back.
    pub unforgotten: u64,
    /// Times the tables were read.
    pub reads: u64,
    /// Times somebody else's changes of the tables were found, and repaired.
    pub repairs: u64,
    /// Seconds since that was last so.
    pub repair_age_secs: Option<u64>,
    /// Milliseconds from the start until all that was wanted by then was programmed; none before.
    pub first_sync_millis: Option<u64>,
    /// What the kernel said last, if it has done nothing since.
    pub last_error: Option<String>,
}

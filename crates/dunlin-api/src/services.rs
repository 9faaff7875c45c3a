use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use dunlin_net::IpNet;

use crate::ServiceFrontend;

/// Which Services are wanted; everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceFilter {
    /// Only those of this namespace.
    pub namespace: Option<String>,
    /// Only those of this name.
    pub name: Option<String>,
    /// Only those with an address that is announced.
    pub announced: bool,
    /// With their frontends and endpoints. At most [`ServiceFilter::MAX_ENDPOINTS`] endpoints are told, whole Services at a
    /// time; the answer says when there were more.
    pub frontends: bool,
    /// At most so many; the answer says when there were more. Default and maximum 10,000.
    pub limit: Option<u32>,
}

impl ServiceFilter {
    /// The most endpoints in an answer, counted at each frontend.
    pub const MAX_ENDPOINTS: usize = 50_000;
}

/// A Service as the agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Service {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.type`.
    #[serde(rename = "type")]
    pub service_type: String,
    /// `spec.internalTrafficPolicy`: of its cluster IPs.
    pub internal_traffic_policy: String,
    /// `spec.externalTrafficPolicy`: of its other addresses.
    pub external_traffic_policy: String,
    /// How many endpoints it has; one of both families counts once.
    pub endpoints: EndpointCounts,
    /// Its addresses, cluster IPs first.
    pub addresses: Vec<ServiceAddress>,
    /// How much of it the service proxy of the node has programmed; none where that is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programmed: Option<ProgrammedCounts>,
    /// Where it is delivered, in order of address, where that was asked for; none without the service proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontends: Option<Vec<ServiceFrontend>>,
}

/// How far the kernel is with a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProgrammedCounts {
    /// Its addresses with a protocol and port.
    pub frontends: u32,
    /// Those that connections are delivered to.
    pub programmed: u32,
}

/// How many endpoints there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointCounts {
    /// All.
    pub total: u32,
    /// Of those, ready.
    pub ready: u32,
    /// Of those, on this node.
    pub local_ready: u32,
    /// Those that are not ready but serve while they terminate.
    pub terminating: u32,
}

/// An address of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAddress {
    /// The address.
    pub address: IpAddr,
    /// `ClusterIP`, `ExternalIP` or `LoadBalancerIP`.
    pub kind: String,
    /// As what this node announces it: the address itself, aggregates that cover it, or nothing.
    pub announced: Vec<AnnouncedPrefix>,
    /// Why it is not announced, in one word.
    #[serde(default)]
    pub reason: Option<String>,
    /// The same in a sentence.
    #[serde(default)]
    pub message: Option<String>,
    /// The Services that have this address, oldest first, as `namespace/name`, where there are several.
    #[serde(default)]
    pub shared_by: Vec<String>,
}

/// What an address is announced as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnnouncedPrefix {
    /// The prefix.
    pub prefix: IpNet,
    /// The `BGPAdvertisement`s that announce it because of this Service.
    pub advertisements: Vec<String>,
}

/// Services in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceCounts {
    /// Services known.
    pub known: u64,
    /// Addresses of Services that this node announces; one that several Services have counts for each.
    pub announced: u64,
    /// Addresses of Services that this node does not announce, by reason.
    pub withheld: BTreeMap<String, u64>,
}

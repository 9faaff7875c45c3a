use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use dunlin_net::service::{Choice, Protocol};
use dunlin_net::{Afi, IpNet};

use super::{Malformed, Timestamp};
use crate::selector::{Labels, Selector};

/// The place of an object that lives in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamespacedName {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl NamespacedName {
    /// An object's place.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> NamespacedName {
        NamespacedName {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl Ord for NamespacedName {
    fn cmp(&self, other: &NamespacedName) -> Ordering {
        // Objects of a namespace mostly share its text, which then need not be looked at.
        let namespaces = match Arc::ptr_eq(&self.namespace, &other.namespace) {
            true => Ordering::Equal,
            false => self.namespace.cmp(&other.namespace),
        };
        namespaces.then_with(|| match Arc::ptr_eq(&self.name, &other.name) {
            true => Ordering::Equal,
            false => self.name.cmp(&other.name),
        })
    }
}

impl PartialOrd for NamespacedName {
    fn partial_cmp(&self, other: &NamespacedName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Kubernetes Service, as far as its addresses go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceFact {
    /// Where it is.
    pub name: NamespacedName,
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `spec.type`.
    pub service_type: ServiceType,
    /// `spec.clusterIPs`; empty for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress`.
    pub ingress: Vec<IngressFact>,
    /// `spec.internalTrafficPolicy`.
    pub internal_traffic_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: TrafficPolicy,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready_addresses: bool,
    /// `spec.ipFamilies`.
    pub ip_families: Vec<Afi>,
    /// `spec.ipFamilyPolicy`.
    pub ip_family_policy: IpFamilyPolicy,
    /// `spec.loadBalancerClass`.
    pub load_balancer_class: Option<String>,
    /// The addresses asked for: the annotation `dunlin.dev/load-balancer-ips`, else `spec.loadBalancerIP`.
    pub requested_ips: Vec<IpAddr>,
    /// The pool asked for: the annotation `dunlin.dev/load-balancer-pool`.
    pub requested_pool: Option<String>,
    /// The annotation `dunlin.dev/sharing-key`: Services with the same one may share an address.
    pub sharing_key: Option<String>,
    /// `spec.ports`.
    pub ports: Vec<ServicePortFact>,
    /// `spec.sessionAffinity` is `ClientIP`, and for so many seconds
    /// (`spec.sessionAffinityConfig.clientIP.timeoutSeconds`).
    pub session_affinity_secs: Option<u32>,
    /// `spec.healthCheckNodePort`.
    pub health_check_node_port: Option<u16>,
    /// `spec.loadBalancerSourceRanges`, in order, without bits beyond their length.
    pub load_balancer_source_ranges: Vec<IpNet>,
    /// `spec.trafficDistribution`. Who writes EndpointSlices turns it into hints, and endpoints are chosen by those.
    pub traffic_distribution: Option<TrafficDistribution>,
    /// How an endpoint is chosen: the annotations `dunlin.dev/load-balancing` and `dunlin.dev/maglev-table-size`.
    pub choice: Choice,
    /// Another proxy than the cluster's delivers to it: the label `service.kubernetes.io/service-proxy-name` is there.
    pub foreign_proxy: bool,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Fields that do not parse.
    pub malformed: Vec<Malformed>,
}

impl ServiceFact {
    /// The field of [`ServiceFact::load_balancer_source_ranges`], as what is malformed in it is told.
    pub const SOURCE_RANGES: &str = "spec.loadBalancerSourceRanges";

    /// A Service of type ClusterIP with nothing but a name.
    pub fn new(namespace: &str, name: &str) -> ServiceFact {
        ServiceFact::named(NamespacedName::new(namespace, name))
    }

    /// The same with a name as it is.
    pub fn named(name: NamespacedName) -> ServiceFact {
        ServiceFact {
            name,
            uid: None,
            created: None,
            labels: Labels::default(),
            service_type: ServiceType::ClusterIp,
            cluster_ips: Vec::new(),
            external_ips: Vec::new(),
            ingress: Vec::new(),
            internal_traffic_policy: TrafficPolicy::Cluster,
            external_traffic_policy: TrafficPolicy::Cluster,
            publish_not_ready_addresses: false,
            ip_families: Vec::new(),
            ip_family_policy: IpFamilyPolicy::SingleStack,
            load_balancer_class: None,
            requested_ips: Vec::new(),
            requested_pool: None,
            sharing_key: None,
            ports: Vec::new(),
            session_affinity_secs: None,
            health_check_node_port: None,
            load_balancer_source_ranges: Vec::new(),
            traffic_distribution: None,
            choice: Choice::Random,
            foreign_proxy: false,
            deleting: false,
            malformed: Vec::new(),
        }
    }
}

/// `spec.type` of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceType {
    /// Reached by its cluster IPs.
    ClusterIp,
    /// And by a port of each node.
    NodePort,
    /// And by addresses from outside the cluster.
    LoadBalancer,
    /// A DNS alias, without addresses.
    ExternalName,
    /// A type that is not known here.
    Unknown,
}

/// `internalTrafficPolicy` and `externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrafficPolicy {
    /// Any endpoint.
    #[default]
    Cluster,
    /// Only endpoints on the node that the packet came to.
    Local,
}

/// `spec.trafficDistribution`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrafficDistribution {
    /// Endpoints in the client's zone; also called `PreferClose`.
    PreferSameZone,
    /// Endpoints on the client's node, else in its zone.
    PreferSameNode,
}

/// `spec.ipFamilyPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IpFamilyPolicy {
    /// One family.
    #[default]
    SingleStack,
    /// Both where the cluster has both.
    PreferDualStack,
    /// Both, or none.
    RequireDualStack,
}

/// One entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IngressFact {
    /// Its address; none for a host name.
    pub ip: Option<IpAddr>,
    /// Whether packets come with this address as destination (`ipMode: VIP`), or by a proxy with a node's (`Proxy`).
    pub vip: bool,
}

/// One entry of `spec.ports` of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePortFact {
    /// `name`; empty if it has none.
    pub name: Arc<str>,
    /// `protocol`.
    pub protocol: Protocol,
    /// `port`.
    pub port: u16,
    /// `nodePort`.
    pub node_port: Option<u16>,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointSliceFact {
    /// Where it is.
    pub name: NamespacedName,
    /// The Service it belongs to, in the same namespace: the label `kubernetes.io/service-name`.
    pub service: Option<Arc<str>>,
    /// `addressType`; none for one that is not of addresses.
    pub address_type: Option<Afi>,
    /// `ports`, without those that have no name or no number: they are of no Service's port.
    pub ports: Vec<EndpointPortFact>,
    /// `endpoints`.
    pub endpoints: Vec<EndpointFact>,
    /// Fields that do not parse.
    pub malformed: Vec<Malformed>,
}

/// One entry of `ports` of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointPortFact {
    /// `name`; that of the Service's port. Empty for a Service's only port without a name.
    pub name: Arc<str>,
    /// `protocol`.
    pub protocol: Protocol,
    /// `port`.
    pub port: u16,
}

/// One endpoint of an EndpointSlice. One that nothing is said of is ready.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointFact {
    /// The first of `addresses`, the only one that means anything.
    pub address: Option<IpAddr>,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// `conditions.ready`; one that is not given counts as true.
    pub ready: bool,
    /// `conditions.serving`; one that is not given counts as `ready`.
    pub serving: bool,
    /// `conditions.terminating`.
    pub terminating: bool,
    /// `hints.forZones`: the zones whose clients should go there.
    pub zone_hints: Vec<Arc<str>>,
    /// `hints.forNodes`: the Nodes whose clients should go there.
    pub node_hints: Vec<Arc<str>>,
}

impl Default for EndpointFact {
    fn default() -> EndpointFact {
        EndpointFact {
            address: None,
            node: None,
            ready: true,
            serving: true,
            terminating: false,
            zone_hints: Vec::new(),
            node_hints: Vec::new(),
        }
    }
}

/// A Namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NamespaceFact {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`.
    pub labels: Labels,
}

/// A `ServiceCIDR` (networking.k8s.io/v1): ranges that cluster IPs are taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServiceCidrFact {
    /// `metadata.name`.
    pub name: String,
    /// `spec.cidrs`.
    pub cidrs: Vec<IpNet>,
    /// Fields that do not parse.
    pub malformed: Vec<Malformed>,
}

/// A `LoadBalancerPool`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolFact {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `spec.addresses`, in order.
    pub addresses: Vec<AddressRange>,
    /// The Services that may have an address of it; none given means all.
    pub service_selector: Option<Selector>,
    /// The Namespaces, by their labels, whose Services may; none given means all.
    pub namespace_selector: Option<Selector>,
    /// Whether Services get an address of it without asking for this pool or one of its addresses. Default true.
    pub auto_assign: bool,
    /// Whether the first and last address of each IPv4 CIDR are left out. Default false.
    pub avoid_first_last: bool,
    /// Fields that do not parse.
    pub malformed: Vec<Malformed>,
}

/// One entry of a pool's addresses: both ends are in it, and of one family, the first not above the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressRange {
    /// The first address.
    pub first: IpAddr,
    /// The last address.
    pub last: IpAddr,
    /// It was written as a CIDR, whose ends `avoidFirstLast` leaves out.
    pub is_cidr: bool,
}

impl fmt::Display for AddressRange {
    /// As `spec.addresses` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host_bits = match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                (first.to_bits() ^ last.to_bits()).count_ones()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                (first.to_bits() ^ last.to_bits()).count_ones()
            }
            _ => 0,
        };
        let bits = u32::from(Afi::of(self.first).bits());
        match self.is_cidr {
            true => write!(f, "{}/{}", self.first, bits.saturating_sub(host_bits)),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

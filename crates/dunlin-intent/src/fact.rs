//! What the sources say of the cluster, in plain types.
//!
//! A value that a source could not parse becomes a [`Malformed`] of the fact, so that one bad field is a problem
//! of its own object and of nothing else.

mod objects;
mod secret;
mod service;
mod timestamp;

use std::net::IpAddr;

use dunlin_net::IpNet;

pub use objects::{
    AddPathFact, AdvertisementFact, Attributes, BfdProfileFact, BmpStationFact, ConfigurationFact,
    FilterFact, FilterRuleFact, GracefulRestartFact, MaxPrefixesAction, MaxPrefixesFact,
    MonitoredTable, PeerAsn, PeerFact, PodEgressFact, Prepend, ReflectorsFact, ServiceAddressKind,
    ServicesFact, TimersFact, TopologyMode,
};
pub use secret::{Secret, SecretFact, SecretRef};
pub use service::{
    AddressRange, Choice, EndpointFact, EndpointPortFact, EndpointSliceFact, IngressFact,
    IpFamilyPolicy, NamespaceFact, NamespacedName, PoolFact, Protocol, ServiceCidrFact,
    ServiceFact, ServicePortFact, ServiceType, TrafficDistribution, TrafficPolicy,
};
pub use timestamp::Timestamp;

use crate::problem::{ObjectRef, Problem};
use crate::selector::Labels;

/// What a source of facts tells, whether a manifest directory or an API server.
// Most events are facts, so a pointer to each would cost more than it saves.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// An object is there, new or changed.
    Apply(Fact),
    /// An object is gone.
    Remove(Key),
    /// All objects of a kind have been told once.
    Synced(Kind),
    /// What the source finds wrong with an object or a file; replaces what it said of it before, and none means that
    /// all is well.
    Problems(ObjectRef, Vec<Problem>),
    /// The API server's addresses, which no route may capture; replaces those told before.
    ApiServers(Vec<IpAddr>),
}

/// One object as a source gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// A Kubernetes Node.
    Node(NodeFact),
    /// A `BGPConfiguration`.
    Configuration(ConfigurationFact),
    /// A `BGPPeer`.
    Peer(PeerFact),
    /// A `BGPAdvertisement`.
    Advertisement(AdvertisementFact),
    /// A `BGPFilter`.
    Filter(FilterFact),
    /// A Secret.
    Secret(SecretFact),
    /// A Service.
    Service(ServiceFact),
    /// An EndpointSlice.
    EndpointSlice(EndpointSliceFact),
    /// A Namespace.
    Namespace(NamespaceFact),
    /// A `ServiceCIDR`.
    ServiceCidr(ServiceCidrFact),
    /// A `LoadBalancerPool`.
    Pool(PoolFact),
    /// A `BFDProfile`.
    BfdProfile(BfdProfileFact),
}

impl Fact {
    /// Which object this is.
    pub fn key(&self) -> Key {
        match self {
            Fact::Node(fact) => Key::Node(fact.name.clone()),
            Fact::Configuration(fact) => Key::Configuration(fact.name.clone()),
            Fact::Peer(fact) => Key::Peer(fact.name.clone()),
            Fact::Advertisement(fact) => Key::Advertisement(fact.name.clone()),
            Fact::Filter(fact) => Key::Filter(fact.name.clone()),
            Fact::Secret(fact) => Key::Secret(fact.at.clone()),
            Fact::Service(fact) => Key::Service(fact.name.clone()),
            Fact::EndpointSlice(fact) => Key::EndpointSlice(fact.name.clone()),
            Fact::Namespace(fact) => Key::Namespace(fact.name.clone()),
            Fact::ServiceCidr(fact) => Key::ServiceCidr(fact.name.clone()),
            Fact::Pool(fact) => Key::Pool(fact.name.clone()),
            Fact::BfdProfile(fact) => Key::BfdProfile(fact.name.clone()),
        }
    }
}

/// Which object a fact is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A Kubernetes Node, by name.
    Node(String),
    /// A `BGPConfiguration`, by name.
    Configuration(String),
    /// A `BGPPeer`, by name.
    Peer(String),
    /// A `BGPAdvertisement`, by name.
    Advertisement(String),
    /// A `BGPFilter`, by name.
    Filter(String),
    /// A Secret.
    Secret(SecretRef),
    /// A Service.
    Service(NamespacedName),
    /// An EndpointSlice.
    EndpointSlice(NamespacedName),
    /// A Namespace, by name.
    Namespace(String),
    /// A `ServiceCIDR`, by name.
    ServiceCidr(String),
    /// A `LoadBalancerPool`, by name.
    Pool(String),
    /// A `BFDProfile`, by name.
    BfdProfile(String),
}

impl Key {
    /// The object as problems name it.
    pub fn object(&self) -> ObjectRef {
        use crate::problem::ObjectKind as K;
        match self {
            Key::Node(name) => ObjectRef::new(K::Node, name),
            Key::Configuration(name) => ObjectRef::new(K::BgpConfiguration, name),
            Key::Peer(name) => ObjectRef::new(K::BgpPeer, name),
            Key::Advertisement(name) => ObjectRef::new(K::BgpAdvertisement, name),
            Key::Filter(name) => ObjectRef::new(K::BgpFilter, name),
            Key::Secret(at) => ObjectRef::new(K::Secret, at.to_string()),
            Key::Service(name) => ObjectRef::new(K::Service, name.to_string()),
            Key::EndpointSlice(name) => ObjectRef::new(K::EndpointSlice, name.to_string()),
            Key::Namespace(name) => ObjectRef::new(K::Namespace, name),
            Key::ServiceCidr(name) => ObjectRef::new(K::ServiceCidr, name),
            Key::Pool(name) => ObjectRef::new(K::LoadBalancerPool, name),
            Key::BfdProfile(name) => ObjectRef::new(K::BfdProfile, name),
        }
    }
}

/// The kinds of facts that a source tells the end of: "that was all there is for now".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Nodes.
    Node,
    /// `BGPConfiguration`s.
    Configuration,
    /// `BGPPeer`s.
    Peer,
    /// `BGPAdvertisement`s.
    Advertisement,
    /// `BGPFilter`s.
    Filter,
    /// Secrets.
    Secret,
    /// Services.
    Service,
    /// EndpointSlices.
    EndpointSlice,
    /// Namespaces.
    Namespace,
    /// `ServiceCIDR`s.
    ServiceCidr,
    /// `LoadBalancerPool`s.
    Pool,
    /// `BFDProfile`s.
    BfdProfile,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 12] = [
        Kind::Node,
        Kind::Configuration,
        Kind::Peer,
        Kind::Advertisement,
        Kind::Filter,
        Kind::Secret,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Namespace,
        Kind::ServiceCidr,
        Kind::Pool,
        Kind::BfdProfile,
    ];
}

/// A field whose value could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Malformed {
    /// The field, as a path: `spec.podCIDRs[1]`.
    pub field: String,
    /// What is wrong with it, with the value.
    pub message: String,
}

impl Malformed {
    /// A malformed field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Malformed {
        Malformed {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// A Kubernetes Node, as far as routing goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeFact {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// `metadata.creationTimestamp`. A Node without one counts as younger than all that have one.
    pub created: Option<Timestamp>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `status.addresses` of type InternalIP, in order.
    pub internal_ips: Vec<IpAddr>,
    /// `spec.podCIDRs`, in order.
    pub pod_cidrs: Vec<IpNet>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// The annotation `dunlin.dev/drain` is `true`.
    pub drain: bool,
    /// The status of the condition Ready, if there is one.
    pub ready: Option<bool>,
    /// Whether the condition NetworkUnavailable is True.
    pub network_unavailable: bool,
    /// Addresses and subnets that do not parse.
    pub malformed: Vec<Malformed>,
}

impl NodeFact {
    /// A Node with nothing but a name.
    pub fn new(name: impl Into<String>) -> NodeFact {
        NodeFact {
            name: name.into(),
            ..NodeFact::default()
        }
    }

    /// The same with one more InternalIP.
    pub fn with_internal_ip(mut self, addr: IpAddr) -> NodeFact {
        self.internal_ips.push(addr);
        self
    }

    /// The same with one more pod subnet.
    pub fn with_pod_cidr(mut self, net: IpNet) -> NodeFact {
        self.pod_cidrs.push(net);
        self
    }

    /// The same with one more label.
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> NodeFact {
        self.labels.insert(key.into(), value.into());
        self
    }
}

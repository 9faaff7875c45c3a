//! Cluster facts in plain types, turned into peers, originations and problems.
//!
//! [`Cluster`] is fed facts in any order and says, level-triggered, what has changed of what this node wants:
//! which peers, which of its own prefixes, who owns which pod subnet, what is wrong with which object.
//! It knows neither Kubernetes types nor sockets nor clocks.
#![forbid(unsafe_code)]

mod bfd;
mod claims;
mod cluster;
pub mod cni;
pub mod community;
mod configured;
mod dense;
pub mod fact;
mod few;
mod filters;
mod fixed_hash;
pub mod intent;
pub mod origin;
pub mod pools;
pub mod problem;
mod reflectors;
mod router_ids;
pub mod selector;
mod settings;

pub use cluster::{
    AddressStanding, AnnouncedPrefix, Candidacy, Cluster, EndpointCondition, EndpointCounts,
    EndpointView, FrontendOffer, HealthCheck, Hint, NodeRole, NodeView, PodSubnet, PoolStanding,
    ServiceAddressView, ServiceCounts, ServiceView, SubnetStanding, WithheldReason,
};
pub use fact::{
    AddPathFact, AddressRange, AdvertisementFact, Attributes, BfdProfileFact, BmpStationFact,
    Choice, ConfigurationFact, EndpointFact, EndpointPortFact, EndpointSliceFact, Fact, FilterFact,
    FilterRuleFact, GracefulRestartFact, IngressFact, IpFamilyPolicy, Key, Kind, Malformed,
    MaxPrefixesAction, MaxPrefixesFact, MonitoredTable, NamespaceFact, NamespacedName, NodeFact,
    PeerAsn, PeerFact, PodEgressFact, PoolFact, Prepend, Protocol, ReflectorsFact, Secret,
    SecretFact, SecretRef, ServiceAddressKind, ServiceCidrFact, ServiceFact, ServicePortFact,
    ServiceType, ServicesFact, SourceEvent, TimersFact, Timestamp, TopologyMode,
    TrafficDistribution, TrafficPolicy,
};
pub use filters::MAX_FILTER_RULES;
pub use intent::{
    AddPath, Auth, BMP_STATIONS, BfdIntent, BmpStation, Change, DrainCause, ExportFilter,
    ExportPolicy, GracefulRestart, ImportPolicy, Initiative, LocalIntent, MaxPrefixes, NextHopMode,
    OriginKind, Origination, PeerIntent, PeerKey, PodEgress, PolicyIntent, Remote, RemoteAsn,
    RouteInstallation, ServiceClass, SessionIntent, Timers,
};
pub use origin::{OriginValidation, Owner, Protected, RouteSource};
pub use problem::{ObjectKind, ObjectRef, Problem, Reason};
pub use selector::{Labels, Operator, Requirement, Selector};
pub use settings::{
    CONFIGURATION, DEFAULT_ASN, DEFAULT_MESH_LIMIT, DEFAULT_PORT, DEFAULT_RESTART_SECS,
};

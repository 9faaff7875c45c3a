//! Cluster facts in plain types, turned into peers, originations and problems.
//!
//! [`Cluster`] is fed facts in any order and says, level-triggered, what has changed of what this node wants:
//! which peers, which of its own prefixes, who owns which pod subnet, what is wrong with which object.
//! It knows neither Kubernetes types nor sockets nor clocks.
#![forbid(unsafe_code)]

pub mod cni;
pub mod community;
pub mod fact;
pub mod intent;
pub mod origin;
pub mod problem;
pub mod selector;

pub use fact::{
    AdvertisementFact, Attributes, ConfigurationFact, Fact, FilterFact, FilterRuleFact,
    GracefulRestartFact, Key, Kind, Malformed, NodeFact, PeerAsn, PeerFact, PodEgressFact, Prepend,
    Secret, SecretFact, SecretRef, ServicesFact, TimersFact, Timestamp, TopologyMode,
};
pub use intent::{
    Auth, Change, ExportFilter, ExportPolicy, GracefulRestart, ImportPolicy, LocalIntent,
    NextHopMode, OriginKind, Origination, PeerIntent, PeerKey, PodEgress, PolicyIntent, Remote,
    RemoteAsn, RouteInstallation, SessionIntent, Timers,
};
pub use origin::{OriginValidation, Owner, RouteSource};
pub use problem::{ObjectKind, ObjectRef, Problem, Reason};
pub use selector::{Labels, Operator, Requirement, Selector};

//! Services as they stand, for people to look at.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_net::{Afi, IpNet, PerFamily};

use super::announce::RouteState;
use super::{Address, Cluster, EndpointCounts, Service};
use crate::claims::Age;
use crate::fact::{NamespacedName, ServiceAddressKind, ServiceType, Timestamp, TrafficPolicy};
use crate::intent::ServiceClass;

/// A Service as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView<'a> {
    /// Where it is.
    pub name: &'a NamespacedName,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `spec.type`.
    pub service_type: ServiceType,
    /// `spec.internalTrafficPolicy`: of its cluster IPs.
    pub internal_traffic_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`: of its other addresses.
    pub external_traffic_policy: TrafficPolicy,
    /// `spec.publishNotReadyAddresses`: endpoints count as ready that are not.
    pub publish_not_ready_addresses: bool,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Its endpoints, by family of slices.
    pub endpoints: PerFamily<EndpointCounts>,
    /// Its addresses, cluster IPs first.
    pub addresses: Vec<ServiceAddressView<'a>>,
}

impl ServiceView<'_> {
    /// How many endpoints it has, one that is of both families counted once.
    pub fn endpoint_counts(&self) -> EndpointCounts {
        self.endpoints.v4.max(&self.endpoints.v6)
    }
}

/// An address of a Service as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAddressView<'a> {
    /// The address.
    pub address: IpAddr,
    /// What it is to the Service.
    pub kind: ServiceAddressKind,
    /// The endpoints that it goes by.
    pub endpoints: EndpointCounts,
    /// Whether this node announces it.
    pub standing: AddressStanding,
    /// The Services that have this address, oldest first, where there are several: the first that has it announced counts as its
    /// owner.
    pub shared_by: Vec<&'a NamespacedName>,
}

/// Whether this node announces an address of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressStanding {
    /// It does, as one or several prefixes.
    Announced(Vec<AnnouncedPrefix>),
    /// It does not.
    Withheld(WithheldReason),
}

/// A prefix that an address is announced as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedPrefix {
    /// The address itself, or an aggregate that covers it.
    pub prefix: IpNet,
    /// The `BGPAdvertisement`s that announce it because of this Service, by name.
    pub advertisements: Vec<Arc<str>>,
}

/// Why this node does not announce an address of a Service. The name of the variant is what machines are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WithheldReason {
    /// The Service is a DNS alias.
    ExternalName,
    /// The Service is of a type that is not known here.
    UnknownType,
    /// The Service has no cluster IP.
    Headless,
    /// A load balancer's proxy delivers to the nodes' own addresses.
    IpModeProxy,
    /// No `BGPAdvertisement` that selects this node announces it.
    NotSelected,
    /// It is no unicast address.
    NotUnicast,
    /// It is the address of a Node.
    NodeAddress,
    /// It is the address of a `BGPPeer`.
    PeerAddress,
    /// It is the address of an API server.
    ApiServerAddress,
    /// It lies within a pod subnet.
    WithinPodSubnet,
    /// This Node is excluded from external load balancers by its label.
    NodeExcluded,
    /// This Node is drained.
    Draining,
    /// This Node or the configuration is not known yet.
    NodeUnknown,
    /// This Node has no InternalIP of the family.
    NoNextHop,
    /// No endpoint is ready anywhere.
    NoReadyEndpoint,
    /// No endpoint on this node is ready, and the traffic policy is Local.
    NoReadyLocalEndpoint,
    /// It has not been judged yet.
    Pending,
}

impl WithheldReason {
    /// It is a problem of the Service.
    pub(super) fn is_complained_of(self) -> bool {
        use WithheldReason::{
            ApiServerAddress, NodeAddress, NotUnicast, PeerAddress, WithinPodSubnet,
        };
        matches!(
            self,
            NotUnicast | NodeAddress | PeerAddress | ApiServerAddress | WithinPodSubnet
        )
    }

    /// The reason as machines are told.
    pub fn as_str(self) -> &'static str {
        match self {
            WithheldReason::ExternalName => "ExternalName",
            WithheldReason::UnknownType => "UnknownType",
            WithheldReason::Headless => "Headless",
            WithheldReason::IpModeProxy => "IpModeProxy",
            WithheldReason::NotSelected => "NotSelected",
            WithheldReason::NotUnicast => "NotUnicast",
            WithheldReason::NodeAddress => "NodeAddress",
            WithheldReason::PeerAddress => "PeerAddress",
            WithheldReason::ApiServerAddress => "ApiServerAddress",
            WithheldReason::WithinPodSubnet => "WithinPodSubnet",
            WithheldReason::NodeExcluded => "NodeExcluded",
            WithheldReason::Draining => "Draining",
            WithheldReason::NodeUnknown => "NodeUnknown",
            WithheldReason::NoNextHop => "NoNextHop",
            WithheldReason::NoReadyEndpoint => "NoReadyEndpoint",
            WithheldReason::NoReadyLocalEndpoint => "NoReadyLocalEndpoint",
            WithheldReason::Pending => "Pending",
        }
    }
}

impl fmt::Display for WithheldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WithheldReason::ExternalName => {
                "a Service of type ExternalName has no addresses of its own"
            }
            WithheldReason::UnknownType => "the Service is of a type that is not known here",
            WithheldReason::Headless => "the Service is headless: it has no cluster IP",
            WithheldReason::IpModeProxy => {
                "ipMode Proxy: a proxy delivers to the nodes' own addresses"
            }
            WithheldReason::NotSelected => {
                "no BGPAdvertisement of this node selects the Service with this kind of address"
            }
            WithheldReason::NotUnicast => "it is no unicast address",
            WithheldReason::NodeAddress => "it is the address of a Node",
            WithheldReason::PeerAddress => "it is the address of a BGPPeer",
            WithheldReason::ApiServerAddress => "it is the address of an API server",
            WithheldReason::WithinPodSubnet => "it lies within a pod subnet",
            WithheldReason::NodeExcluded => {
                "the Node is labelled node.kubernetes.io/exclude-from-external-load-balancers"
            }
            WithheldReason::Draining => "the node is drained: `dunlin undrain` brings it back",
            WithheldReason::NodeUnknown => "the own Node or the BGPConfiguration is not known yet",
            WithheldReason::NoNextHop => {
                "the Node has no InternalIP of this family to be the next hop"
            }
            WithheldReason::NoReadyEndpoint => "no endpoint is ready",
            WithheldReason::NoReadyLocalEndpoint => {
                "no endpoint on this node is ready, and the traffic policy is Local"
            }
            WithheldReason::Pending => "it has not been judged yet",
        })
    }
}

impl Cluster {
    /// All Services, by namespace and name, as of the last poll.
    pub fn services(&self) -> impl Iterator<Item = ServiceView<'_>> {
        let services = self.services.services.iter();
        services.map(|(name, service)| self.service_view(name, service))
    }

    /// One Service, as of the last poll.
    pub fn service(&self, name: &NamespacedName) -> Option<ServiceView<'_>> {
        let (name, service) = self.services.services.get_key_value(name)?;
        Some(self.service_view(name, service))
    }

    /// The Services with an address within a prefix, in order of address, then oldest first.
    pub fn services_within(&self, net: IpNet) -> Vec<(IpAddr, &NamespacedName)> {
        let mut found: Vec<_> = self.services.at(net).map(|(a, name)| (*a, name)).collect();
        found.sort_by_cached_key(|(addr, name)| (*addr, self.service_age(name)));
        found
    }

    /// The `BGPAdvertisement`s of a class of service addresses, by name.
    pub fn class_advertisements(&self, class: ServiceClass) -> &[Arc<str>] {
        self.services.classes.names(class)
    }

    pub(super) fn service_age(&self, name: &NamespacedName) -> Age {
        let service = self.services.services.get(name);
        let created = service.and_then(|service| service.spec.created);
        Age::new(created, name.to_string().into())
    }

    fn service_view<'a>(
        &'a self,
        name: &'a NamespacedName,
        service: &'a Service,
    ) -> ServiceView<'a> {
        let spec = &service.spec;
        let addresses = spec.addresses.iter().enumerate();
        ServiceView {
            name,
            created: spec.created,
            service_type: spec.service_type,
            internal_traffic_policy: spec.internal,
            external_traffic_policy: spec.external,
            publish_not_ready_addresses: spec.publish_not_ready,
            deleting: spec.deleting,
            endpoints: self.services.endpoints.behind(name).counts,
            addresses: addresses
                .map(|(at, address)| self.address_view(name, service, at, address))
                .collect(),
        }
    }

    fn address_view<'a>(
        &'a self,
        name: &NamespacedName,
        service: &Service,
        at: usize,
        address: &Address,
    ) -> ServiceAddressView<'a> {
        let family = Afi::of(address.addr);
        let verdict = service.verdicts.get(at).copied();
        let routes = service.routes.iter();
        let standing = match verdict.unwrap_or(Some(WithheldReason::Pending)) {
            Some(reason) => AddressStanding::Withheld(reason),
            None => AddressStanding::Announced(
                routes
                    .filter(|route| (route.addr, route.kind) == (address.addr, address.kind))
                    .filter(|route| route.state == RouteState::Announced)
                    .map(|route| AnnouncedPrefix {
                        prefix: route.net,
                        advertisements: self.class_advertisements(route.class).to_vec(),
                    })
                    .collect(),
            ),
        };
        let sharing = self.services_within(IpNet::from(address.addr));
        let shared_by = match sharing.len() {
            0 | 1 => Vec::new(),
            _ => sharing.into_iter().map(|(_, name)| name).collect(),
        };
        ServiceAddressView {
            address: address.addr,
            kind: address.kind,
            endpoints: self.services.endpoints.behind(name).of(family),
            standing,
            shared_by,
        }
    }
}

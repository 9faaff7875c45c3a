//! Services: what is kept of them, and what has to be judged again when a fact changes.

mod advertisements;
mod announce;
mod classes;
mod counts;
mod endpoints;
mod foresight;
mod hosts;
mod labels;
mod pools;
mod prefixes;
mod ranges;
mod treatments;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_net::IpNet;

use super::Cluster;
use crate::dense::DenseMap;
use crate::fact::{
    EndpointSliceFact, Kind, Malformed, NamespaceFact, NamespacedName, ServiceAddressKind,
    ServiceFact, ServiceType, Timestamp, TrafficPolicy,
};
use crate::intent::ServiceClass;
use crate::origin::PrefixMap;
use crate::problem::{ObjectKind, ObjectRef};
use crate::settings::Faults;

use advertisements::Active;
pub(super) use advertisements::advertisement_problems;
use announce::Route;
pub(super) use classes::Classes;
pub use counts::ServiceCounts;
pub use endpoints::EndpointCounts;
use endpoints::Endpoints;
pub(super) use endpoints::Places;
use labels::PackedLabels;
pub use pools::PoolStanding;
use prefixes::{Aggregate, Prefix};
pub(super) use ranges::Ranges;
use treatments::{Delivery, Treatments};
pub use treatments::{EndpointCondition, EndpointView, FrontendOffer, HealthCheck, Hint};
pub use view::{AddressStanding, AnnouncedPrefix, ServiceAddressView, ServiceView, WithheldReason};

/// The Services and all that bears on their addresses.
///
/// A change of an endpoint costs what its slice costs, and nothing more unless something began or ended for its Service; a
/// change of a Service costs that Service; a change of a Node what lies at its prefixes. All Services are judged again
/// only when the advertisements that this node heeds, its labels or its next hops change.
#[derive(Clone, Debug, Default)]
pub(super) struct Services {
    services: DenseMap<NamespacedName, Service>,
    endpoints: Endpoints,
    /// The EndpointSlices that have problems.
    faulty_slices: BTreeSet<NamespacedName>,
    namespaces: BTreeMap<Arc<str>, PackedLabels>,
    /// The labels of a Namespace that was not told.
    unlabelled: PackedLabels,
    /// Which Services have an address.
    by_address: DenseMap<(IpAddr, NamespacedName), ()>,
    /// The advertisements of services that this node heeds, by name.
    active: Vec<Active>,
    /// The class of each of them alone: held while it is heeded, so that peers know it before the first address comes.
    alone: Vec<ServiceClass>,
    /// This node announces no external addresses.
    excluded: bool,
    /// This node is drained, and peers have had the time to move: it announces no service addresses.
    pub(super) withdrawn: bool,
    pub(super) classes: Classes,
    /// What is announced.
    prefixes: BTreeMap<IpNet, Prefix>,
    /// Which aggregates were asked for.
    aggregates: PrefixMap<Aggregate>,
    /// What is on this node.
    places: Places,
    /// What the service proxy needs, with it.
    treatments: Option<Box<Treatments>>,
    pub(super) dirty: Dirty,
}

/// What has to be judged again.
#[derive(Clone, Debug, Default)]
pub(super) struct Dirty {
    /// What is on this node.
    pub(super) places: bool,
    /// Which advertisements this node heeds, and whether it is excluded.
    pub(super) active: bool,
    /// Every Service.
    pub(super) all: bool,
    /// Pod subnets and node addresses that came or went.
    pub(super) nets: BTreeSet<IpNet>,
    services: BTreeSet<NamespacedName>,
    pub(super) prefixes: BTreeSet<IpNet>,
    /// The advertisements' problems.
    pub(super) advertisements: bool,
    /// The ranges of pools and `ServiceCIDR`s.
    ranges: bool,
}

/// A Service, and what comes of it.
#[derive(Clone, Debug)]
struct Service {
    spec: Spec,
    /// Why each address is withheld, in the order of `spec.addresses`; none given for one that is announced.
    verdicts: Box<[Option<WithheldReason>]>,
    /// What each address asks for; each holds its class.
    routes: Box<[Route]>,
    faulty: bool,
}

/// What is kept of a Service's fact.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spec {
    created: Option<Timestamp>,
    labels: PackedLabels,
    service_type: ServiceType,
    headless: bool,
    internal: TrafficPolicy,
    external: TrafficPolicy,
    publish_not_ready: bool,
    deleting: bool,
    addresses: Box<[Address]>,
    /// With the service proxy, if it is one that connections are delivered to.
    delivery: Option<Box<Delivery>>,
    malformed: Box<[Malformed]>,
}

/// An address of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    addr: IpAddr,
    kind: ServiceAddressKind,
    /// Packets come with this address as destination.
    vip: bool,
}

impl Address {
    /// Where it stands in the Service.
    fn field(&self) -> &'static str {
        match self.kind {
            ServiceAddressKind::ClusterIp => "spec.clusterIPs",
            ServiceAddressKind::ExternalIp => "spec.externalIPs",
            ServiceAddressKind::LoadBalancerIp => "status.loadBalancer.ingress",
        }
    }
}

impl Spec {
    fn new(mut fact: ServiceFact, delivered: bool) -> Spec {
        let delivery = delivered.then(|| Delivery::new(&mut fact)).flatten();
        let address = |kind| {
            move |addr| Address {
                addr,
                kind,
                vip: true,
            }
        };
        let cluster_ips = fact.cluster_ips.iter().copied();
        let external_ips = fact.external_ips.iter().copied();
        let mut addresses: Vec<Address> = cluster_ips
            .map(address(ServiceAddressKind::ClusterIp))
            .chain(external_ips.map(address(ServiceAddressKind::ExternalIp)))
            .collect();
        // A Service that is of another type now may still show what it had.
        if fact.service_type == ServiceType::LoadBalancer {
            addresses.extend(fact.ingress.iter().filter_map(|ingress| {
                Some(Address {
                    addr: ingress.ip?,
                    kind: ServiceAddressKind::LoadBalancerIp,
                    vip: ingress.vip,
                })
            }));
        }
        let mut seen = BTreeSet::new();
        addresses.retain(|a| seen.insert((a.addr, a.kind, a.vip)));
        Spec {
            created: fact.created,
            labels: PackedLabels::new(&fact.labels),
            service_type: fact.service_type,
            headless: fact.cluster_ips.is_empty(),
            internal: fact.internal_traffic_policy,
            external: fact.external_traffic_policy,
            publish_not_ready: fact.publish_not_ready_addresses,
            deleting: fact.deleting,
            addresses: addresses.into(),
            delivery,
            malformed: fact.malformed.into(),
        }
    }

    /// The policy that addresses of a kind go by.
    fn policy(&self, kind: ServiceAddressKind) -> TrafficPolicy {
        match kind {
            ServiceAddressKind::ClusterIp => self.internal,
            ServiceAddressKind::ExternalIp | ServiceAddressKind::LoadBalancerIp => self.external,
        }
    }
}

impl Services {
    pub(super) fn new(node: Arc<str>) -> Services {
        Services {
            places: Places {
                node,
                ..Places::default()
            },
            ..Services::default()
        }
    }

    /// Who has an address within a prefix, in order of address, then name.
    fn at(&self, net: IpNet) -> impl Iterator<Item = &(IpAddr, NamespacedName)> {
        let from = (net.network(), NamespacedName::new("", ""));
        let last = net.broadcast();
        let from = self.by_address.starting_at(&from);
        from.map(|(at, ())| at)
            .take_while(move |(addr, _)| *addr <= last)
    }

    fn mark_at(&mut self, net: IpNet) {
        let names: Vec<NamespacedName> = self.at(net).map(|(_, name)| name.clone()).collect();
        names.iter().cloned().for_each(|name| self.treat(name));
        self.dirty.services.extend(names);
    }
}

impl Cluster {
    pub(super) fn apply_service(&mut self, fact: ServiceFact) {
        let name = fact.name.clone();
        let services = &mut self.services;
        let spec = Spec::new(fact, services.treatments.is_some());
        let (claims, delivered) = (spec.claims(), spec.delivery.is_some());
        let has: Vec<IpAddr> = spec.addresses.iter().map(|a| a.addr).collect();
        let had = match services.services.get_mut(&name) {
            Some(service) if service.spec == spec => return,
            // The routes stay until the Service is judged again, and with them the numbers of their classes.
            Some(service) => {
                service.verdicts = Box::default();
                Some(std::mem::replace(&mut service.spec, spec))
            }
            None => {
                let service = Service {
                    spec,
                    verdicts: Box::default(),
                    routes: Box::default(),
                    faulty: false,
                };
                services.services.insert(name.clone(), service);
                None
            }
        };
        for address in had.iter().flat_map(|had| &had.addresses) {
            services.by_address.remove(&(address.addr, name.clone()));
        }
        for addr in has {
            services.by_address.insert((addr, name.clone()), ());
        }
        services.treat_service(&name, had.as_ref(), &claims, delivered);
        services.dirty.services.insert(name);
    }

    pub(super) fn remove_service(&mut self, name: &NamespacedName) {
        let Some(service) = self.services.services.remove(name) else {
            return;
        };
        for address in &service.spec.addresses {
            let at = (address.addr, name.clone());
            self.services.by_address.remove(&at);
        }
        let none = BTreeSet::new();
        self.services
            .treat_service(name, Some(&service.spec), &none, false);
        self.release_routes(&service.routes);
        if service.faulty {
            self.set_object_problems(service_object(name), Vec::new());
        }
    }

    pub(super) fn apply_slice(&mut self, fact: &EndpointSliceFact) {
        let services = &mut self.services;
        let before = services.endpoints.service_of(&fact.name);
        let changed = &mut services.dirty.services;
        let of = fact.service.as_ref().map(|service| {
            let of = NamespacedName::new(fact.name.namespace.clone(), service.clone());
            let known = services.services.get_key_value(&of);
            known.map_or(of, |(known, _)| known.clone())
        });
        let places = &services.places;
        services.endpoints.apply(fact, of, places, changed);
        let now = services.endpoints.service_of(&fact.name);
        services.treat_slice(fact, before, now);
        let object = || ObjectRef::new(ObjectKind::EndpointSlice, fact.name.to_string());
        if !fact.malformed.is_empty() {
            let mut faults = Faults::new(object());
            faults.malformed(&fact.malformed);
            self.set_object_problems(object(), faults.problems);
            self.services.faulty_slices.insert(fact.name.clone());
        } else if self.services.faulty_slices.remove(&fact.name) {
            self.set_object_problems(object(), Vec::new());
        }
    }

    pub(super) fn remove_slice(&mut self, name: &NamespacedName) {
        let services = &mut self.services;
        let of = services.endpoints.service_of(name);
        let changed = &mut services.dirty.services;
        services.endpoints.remove(name, &services.places, changed);
        services.untreat_slice(name, of);
        if self.services.faulty_slices.remove(name) {
            let object = ObjectRef::new(ObjectKind::EndpointSlice, name.to_string());
            self.set_object_problems(object, Vec::new());
        }
    }

    pub(super) fn apply_namespace(&mut self, fact: &NamespaceFact) {
        let labels = PackedLabels::new(&fact.labels);
        let before = self.services.namespaces.get(fact.name.as_str());
        if before != Some(&labels) {
            let name: Arc<str> = fact.name.as_str().into();
            self.services.namespaces.insert(name.clone(), labels);
            self.services.mark_namespace(&name);
        }
    }

    pub(super) fn remove_namespace(&mut self, name: &str) {
        if let Some((name, _)) = self.services.namespaces.remove_entry(name) {
            self.services.mark_namespace(&name);
        }
    }

    /// Judges again what has to be, of Services and of all that hangs on them.
    pub(super) fn settle_services(&mut self) {
        if std::mem::take(&mut self.services.dirty.places) {
            self.evaluate_places();
        }
        if std::mem::take(&mut self.services.dirty.active) {
            self.evaluate_active();
        }
        while let Some(net) = self.services.dirty.nets.pop_first() {
            self.evaluate_net(net);
        }
        if std::mem::take(&mut self.services.dirty.all) {
            let services = &mut self.services;
            let names = services.services.keys().cloned();
            services.dirty.services.extend(names);
            let nets = services.prefixes.keys().copied();
            services.dirty.prefixes.extend(nets);
        }
        while let Some(name) = self.services.dirty.services.pop_first() {
            self.evaluate_service(&name);
        }
        while let Some(net) = self.services.dirty.prefixes.pop_first() {
            self.evaluate_prefix(net);
        }
        if std::mem::take(&mut self.services.dirty.ranges) {
            self.evaluate_ranges();
        }
        self.tell_ranges();
        if std::mem::take(&mut self.services.dirty.advertisements) {
            self.evaluate_advertisements();
        }
        if std::mem::take(&mut self.services.classes.changed) {
            self.mark_all_configured();
        }
    }

    /// What is told of Namespaces in full: a Namespace that was not told has no labels but its name.
    pub(super) fn namespaces_synced(&mut self) {
        let by_namespace = |a: &Active| a.namespace_selector.is_some();
        self.services.dirty.all |= self.services.active.iter().any(by_namespace);
    }

    /// The labels of a Namespace, if they are known.
    fn namespace_labels(&self, name: &str) -> Option<&PackedLabels> {
        let labels = self.services.namespaces.get(name);
        let synced = self.synced.contains(&Kind::Namespace);
        labels.or_else(|| synced.then_some(&self.services.unlabelled))
    }

    fn evaluate_places(&mut self) {
        let own = self.nodes.get(&self.own);
        let places = Places {
            node: self.own.clone(),
            addresses: own.map_or(Vec::new(), |node| node.addresses.clone()),
            subnets: self
                .local
                .as_ref()
                .map_or(Vec::new(), |local| local.pod_subnets.clone()),
        };
        let zone_changed = self.evaluate_zone();
        let services = &mut self.services;
        if zone_changed || places != services.places {
            services.treat_all();
        }
        if places != services.places {
            let changed = &mut services.dirty.services;
            services
                .endpoints
                .move_places(&services.places, &places, changed);
            services.places = places;
        }
    }
}

impl Services {
    fn mark_namespace(&mut self, name: &Arc<str>) {
        let by_namespace = |a: &Active| a.namespace_selector.is_some();
        if self.active.iter().any(by_namespace) {
            let from = NamespacedName::new(name.clone(), "");
            let within = self.services.starting_at(&from).map(|(at, _)| at);
            let within = within.take_while(|at| at.namespace == *name);
            self.dirty.services.extend(within.cloned());
        }
    }
}

/// A Service as problems name it.
fn service_object(name: &NamespacedName) -> ObjectRef {
    ObjectRef::new(ObjectKind::Service, name.to_string())
}

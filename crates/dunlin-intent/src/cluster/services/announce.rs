//! Whether an address of a Service is announced, and as what.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_net::{Afi, IpNet};

use super::hosts::Host;
use super::{Address, Cluster, Spec, WithheldReason, service_object};
use crate::configured::unicast_fault;
use crate::fact::{NamespacedName, ServiceAddressKind, ServiceType, TrafficPolicy};
use crate::intent::ServiceClass;
use crate::problem::Reason;
use crate::settings::Faults;

/// A prefix that a Service asks for because of one of its addresses, through the advertisements of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) addr: IpAddr,
    pub(super) kind: ServiceAddressKind,
    pub(super) net: IpNet,
    pub(super) class: ServiceClass,
    pub(super) state: RouteState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteState {
    Announced,
    /// Not now; the class is held all the same, so that peers need not be told of it again.
    Withheld,
    /// An aggregate that would cover what it must not.
    Refused,
}

impl Route {
    pub(super) fn is_aggregate(&self) -> bool {
        is_aggregate(self.net)
    }
}

pub(super) fn is_aggregate(net: IpNet) -> bool {
    net.prefix_len() < net.max_prefix_len()
}

/// A [`Route`] before its class has a number: by which of the heeded advertisements.
struct Asked {
    address: Address,
    net: IpNet,
    by: Vec<usize>,
    state: RouteState,
}

/// What makes an address none for a Service.
#[derive(Debug)]
pub(super) enum Unfit {
    NotUnicast(String),
    Host(Host),
    /// It lies within this pod subnet, of this Node.
    Pods(IpNet, String),
}

impl Unfit {
    fn withheld(&self) -> WithheldReason {
        match self {
            Unfit::NotUnicast(_) => WithheldReason::NotUnicast,
            Unfit::Host(Host::Node(_)) => WithheldReason::NodeAddress,
            Unfit::Host(Host::Peer(_)) => WithheldReason::PeerAddress,
            Unfit::Host(Host::ApiServer) => WithheldReason::ApiServerAddress,
            Unfit::Pods(..) => WithheldReason::WithinPodSubnet,
        }
    }

    /// Says that this is why an address is not announced, or delivered.
    pub(super) fn complain(&self, addr: IpAddr, field: &str, is_not: &str, faults: &mut Faults) {
        if let Unfit::NotUnicast(fault) = self {
            return faults.invalid(field, fault);
        }
        let message =
            format!("{addr} {self} and is not {is_not}: give the Service another address");
        faults.add(Reason::ServiceAddressInUse, field, message);
    }
}

/// What the address is or does.
impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::NotUnicast(_) => f.write_str("is no unicast address"),
            Unfit::Host(host) => write!(f, "is the address of {host}"),
            Unfit::Pods(subnet, node) => {
                write!(f, "lies within the pod subnet {subnet} of the Node {node}")
            }
        }
    }
}

#[derive(Default)]
struct Judged {
    verdicts: Vec<Option<WithheldReason>>,
    asked: Vec<Asked>,
}

impl Cluster {
    /// Judges a Service again, and what it asks for.
    pub(super) fn evaluate_service(&mut self, name: &NamespacedName) {
        let Some(service) = self.services.services.get(name) else {
            return;
        };
        let (spec, was_faulty) = (&service.spec, service.faulty);
        let mut faults = Faults::new(service_object(name));
        faults.malformed(&spec.malformed);
        let judged = self.judge_service(name, spec, &mut faults);
        self.complain_of_delivery(name, spec, &judged.verdicts, &mut faults);
        let faulty = !faults.problems.is_empty();
        if faulty || was_faulty {
            self.set_object_problems(service_object(name), faults.problems);
        }
        let routes: Vec<Route> = judged
            .asked
            .into_iter()
            .map(|a| self.hold_route(a))
            .collect();
        if let Some(service) = self.services.services.get_mut(name) {
            service.faulty = faulty;
            service.verdicts = judged.verdicts.into();
            let before = std::mem::replace(&mut service.routes, routes.into());
            self.release_routes(&before);
        }
    }

    fn judge_service(&self, name: &NamespacedName, spec: &Spec, faults: &mut Faults) -> Judged {
        let mut judged = Judged::default();
        let selected = self.selecting(name, spec);
        for address in &spec.addresses {
            let active = &self.services.active;
            let by = selected.iter().copied();
            let by: Vec<usize> = by
                .filter(|i| {
                    active
                        .get(*i)
                        .is_some_and(|a| a.kinds.contains(&address.kind))
                })
                .collect();
            let never = self.never(spec, address, by.is_empty(), faults);
            let verdict = never.or_else(|| self.not_now(name, spec, address));
            judged.verdicts.push(verdict);
            if never.is_none() {
                let state = match verdict {
                    None => RouteState::Announced,
                    Some(_) => RouteState::Withheld,
                };
                self.ask(*address, by, state, &mut judged.asked);
            }
        }
        judged
    }

    /// The heeded advertisements that select a Service.
    fn selecting(&self, name: &NamespacedName, spec: &Spec) -> Vec<usize> {
        let namespace = self.namespace_labels(&name.namespace);
        let selects = |a: &super::Active| {
            let by_service = a.selector.as_ref();
            let by_namespace = a.namespace_selector.as_ref();
            by_service.is_none_or(|s| spec.labels.are_selected(s))
                && by_namespace.is_none_or(|s| {
                    namespace.is_some_and(|labels| labels.select_namespace(&name.namespace, s))
                })
        };
        let active = self.services.active.iter().enumerate();
        active.filter(|(_, a)| selects(a)).map(|(i, _)| i).collect()
    }

    /// What keeps an address from being announced, however many endpoints there are.
    fn never(
        &self,
        spec: &Spec,
        address: &Address,
        unselected: bool,
        faults: &mut Faults,
    ) -> Option<WithheldReason> {
        match spec.service_type {
            ServiceType::ExternalName => return Some(WithheldReason::ExternalName),
            ServiceType::Unknown => return Some(WithheldReason::UnknownType),
            ServiceType::ClusterIp | ServiceType::NodePort | ServiceType::LoadBalancer => {}
        }
        if spec.headless {
            return Some(WithheldReason::Headless);
        }
        if !address.vip {
            return Some(WithheldReason::IpModeProxy);
        }
        if unselected {
            return Some(WithheldReason::NotSelected);
        }
        let unfit = self.unfit(address.addr, address.kind)?;
        unfit.complain(address.addr, address.field(), "announced", faults);
        Some(unfit.withheld())
    }

    /// What makes an address none for a Service.
    pub(super) fn unfit(&self, addr: IpAddr, kind: ServiceAddressKind) -> Option<Unfit> {
        if let Some(fault) = unicast_fault(addr) {
            return Some(Unfit::NotUnicast(fault));
        }
        match self.host_at(addr) {
            // It may be by their own cluster IP that we reach them.
            Some(Host::ApiServer) if kind == ServiceAddressKind::ClusterIp => {}
            Some(host) => return Some(Unfit::Host(host)),
            None => {}
        }
        let (subnet, owner) = self.origin.owner_covering(IpNet::from(addr))?;
        Some(Unfit::Pods(subnet, owner.node.clone()))
    }

    /// What keeps an address from being announced by this node at the moment.
    fn not_now(
        &self,
        name: &NamespacedName,
        spec: &Spec,
        address: &Address,
    ) -> Option<WithheldReason> {
        let family = Afi::of(address.addr);
        let external = address.kind != ServiceAddressKind::ClusterIp;
        if self.services.withdrawn {
            return Some(WithheldReason::Draining);
        }
        if external && self.services.excluded {
            return Some(WithheldReason::NodeExcluded);
        }
        let Some(local) = &self.local else {
            return Some(WithheldReason::NodeUnknown);
        };
        if local.next_hops.get(family).is_none() {
            return Some(WithheldReason::NoNextHop);
        }
        let counts = self.services.endpoints.behind(name).of(family);
        let (ready, local_ready) = match spec.publish_not_ready {
            true => (counts.total, counts.local),
            false => (counts.ready, counts.local_ready),
        };
        // Those that only finish what they have count if nobody else is there.
        let (any, any_local) = match ready {
            0 => (counts.terminating, counts.local_terminating),
            _ => (ready, local_ready),
        };
        match (spec.policy(address.kind), external) {
            (TrafficPolicy::Cluster, false) => None,
            (TrafficPolicy::Cluster, true) => (any == 0).then_some(WithheldReason::NoReadyEndpoint),
            (TrafficPolicy::Local, _) if any == 0 => Some(WithheldReason::NoReadyEndpoint),
            (TrafficPolicy::Local, _) => {
                (any_local == 0).then_some(WithheldReason::NoReadyLocalEndpoint)
            }
        }
    }

    /// What an address is announced as: its own prefix, or by some advertisements the aggregate that covers it.
    fn ask(&self, address: Address, by: Vec<usize>, state: RouteState, asked: &mut Vec<Asked>) {
        let host = IpNet::from(address.addr);
        let family = Afi::of(address.addr);
        let mut by_net: BTreeMap<IpNet, Vec<usize>> = BTreeMap::new();
        for i in by {
            let active = self.services.active.get(i);
            let length = active.and_then(|a| *a.aggregation.get(family));
            let net = length.and_then(|len| IpNet::new(address.addr, len).ok());
            let net = net.map_or(host, |net| net.trunc());
            by_net.entry(net).or_default().push(i);
        }
        let mut refused = Vec::new();
        for (net, by) in &by_net {
            if is_aggregate(*net) && self.aggregate_conflict(*net).is_some() {
                refused.push((*net, by.clone()));
            }
        }
        for (net, by) in refused {
            by_net.remove(&net);
            by_net.entry(host).or_default().extend(by.iter().copied());
            let state = RouteState::Refused;
            asked.push(Asked {
                address,
                net,
                by,
                state,
            });
        }
        for (net, mut by) in by_net {
            by.sort_unstable();
            asked.push(Asked {
                address,
                net,
                by,
                state,
            });
        }
    }

    fn hold_route(&mut self, asked: Asked) -> Route {
        let services = &mut self.services;
        let active = |i: &usize| services.active.get(*i).map(|a| a.name.clone());
        let names: Vec<Arc<str>> = asked.by.iter().filter_map(active).collect();
        let route = Route {
            addr: asked.address.addr,
            kind: asked.address.kind,
            net: asked.net,
            class: services.classes.hold(&names),
            state: asked.state,
        };
        if route.is_aggregate() {
            self.hold_aggregate(route.net, route.class);
        }
        if route.state != RouteState::Refused {
            self.add_range(IpNet::from(route.addr));
        }
        if route.state == RouteState::Announced {
            self.services.announce(route.net, route.class);
        }
        route
    }

    /// Undoes what holding the routes did.
    pub(super) fn release_routes(&mut self, routes: &[Route]) {
        for route in routes {
            if route.state == RouteState::Announced {
                self.services.withdraw(route.net, route.class);
            }
            if route.state != RouteState::Refused {
                self.remove_range(IpNet::from(route.addr));
            }
            if route.is_aggregate() {
                self.services.release_aggregate(route.net, route.class);
            }
            self.services.classes.release(route.class);
        }
    }
}

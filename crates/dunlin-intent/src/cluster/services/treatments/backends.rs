//! The endpoints of slices, kept small.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dunlin_net::Afi;

use super::choose::{Candidate, Marks, sort};
use crate::cluster::services::Places;
use crate::fact::{EndpointPortFact, EndpointSliceFact, NamespacedName, ServicePortFact};

/// What is kept of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slice {
    family: Afi,
    ports: Box<[EndpointPortFact]>,
    /// The different lists of zones that its endpoints have hints for.
    zones: Box<[Box<[Arc<str>]>]>,
    endpoints: Box<[Endpoint]>,
}

/// An endpoint, be it that connections may go to it or not: 20 octets, as there may be a hundred thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Endpoint {
    addr: IpAddr,
    marks: Marks,
    /// From 1, which of the slice's lists of zones it has; 0 for none. An API server lets a slice have 1,000 endpoints; by
    /// hand, what is beyond this number counts as without hints.
    zones: u16,
}

impl Slice {
    /// None for one that connections can not go to.
    fn new(fact: &EndpointSliceFact, node: &str) -> Option<Slice> {
        let family = fact.address_type?;
        let mut lists: BTreeMap<&[Arc<str>], u16> = BTreeMap::new();
        let mut endpoints = Vec::with_capacity(fact.endpoints.len());
        for endpoint in &fact.endpoints {
            let Some(addr) = endpoint.address else {
                continue;
            };
            let serves = endpoint.ready || (endpoint.serving && endpoint.terminating);
            if Afi::of(addr) != family {
                continue;
            }
            let local = endpoint.node.as_deref() == Some(node);
            let this_node = endpoint.node_hints.iter().any(|hint| **hint == *node);
            let next = u16::try_from(lists.len() + 1).unwrap_or_default();
            let zones = match endpoint.zone_hints.as_slice() {
                [] => 0,
                list => match lists.get(list) {
                    Some(known) => *known,
                    None if next == 0 => 0,
                    None => *lists.entry(list).or_insert(next),
                },
            };
            let marks = Marks::default()
                .with(Marks::READY, endpoint.ready)
                .with(Marks::SERVES, serves)
                .with(Marks::LOCAL, local)
                .with(Marks::UNPLACED, endpoint.node.is_none())
                .with(Marks::NODES, !endpoint.node_hints.is_empty())
                .with(Marks::THIS_NODE, this_node);
            endpoints.push(Endpoint { addr, marks, zones });
        }
        let mut zones: Vec<(u16, &[Arc<str>])> = lists.into_iter().map(|(l, n)| (n, l)).collect();
        zones.sort_unstable_by_key(|(number, _)| *number);
        Some(Slice {
            family,
            ports: fact.ports.as_slice().into(),
            zones: zones.into_iter().map(|(_, list)| list.into()).collect(),
            endpoints: endpoints.into(),
        })
    }

    /// Whether connections go to the same endpoints as by another.
    fn serves_like(&self, other: &Slice) -> bool {
        let serving = |slice: &Slice| -> Vec<Endpoint> {
            let endpoints = slice.endpoints.iter();
            endpoints
                .filter(|endpoint| endpoint.marks.has(Marks::SERVES))
                .copied()
                .collect()
        };
        (self.family, &self.ports, &self.zones) == (other.family, &other.ports, &other.zones)
            && serving(self) == serving(other)
    }

    /// The endpoints with all that is known of them.
    fn marked<'a>(
        &'a self,
        places: &'a Places,
        zone: Option<&'a str>,
    ) -> impl Iterator<Item = (IpAddr, Marks)> {
        let of_zone = |list: &[Arc<str>]| list.iter().any(|hint| Some(&**hint) == zone);
        let ours: Vec<bool> = self.zones.iter().map(|list| of_zone(list)).collect();
        self.endpoints.iter().map(move |endpoint| {
            let here = endpoint.marks.has(Marks::UNPLACED) && places.holds(endpoint.addr);
            let list = usize::from(endpoint.zones).checked_sub(1);
            let this_zone = list.and_then(|at| ours.get(at)).copied();
            let marks = endpoint
                .marks
                .with(Marks::LOCAL, here)
                .with(Marks::ZONES, list.is_some())
                .with(Marks::THIS_ZONE, this_zone.unwrap_or(false));
            (endpoint.addr, marks)
        })
    }
}

/// The slices of each Service, whether there is such a Service or not.
#[derive(Clone, Debug, Default)]
pub(super) struct Backends {
    /// Most Services have one or two slices: lists of just that length are far smaller than maps.
    slices: BTreeMap<NamespacedName, Vec<(Arc<str>, Slice)>>,
}

impl Backends {
    /// Takes in a slice of a Service; returns whether anything is another for connections.
    pub(super) fn apply(
        &mut self,
        service: &NamespacedName,
        fact: &EndpointSliceFact,
        node: &str,
    ) -> bool {
        let Some(slice) = Slice::new(fact, node) else {
            return self.remove(service, &fact.name.name);
        };
        let slices = self.slices.entry(service.clone()).or_default();
        let name = &fact.name.name;
        match slices.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => {
                let changed = !known.serves_like(&slice);
                *known = slice;
                return changed;
            }
            None => {
                slices.reserve_exact(1);
                slices.push((name.clone(), slice));
            }
        }
        true
    }

    /// Takes in that a slice is gone; returns whether it was there.
    pub(super) fn remove(&mut self, service: &NamespacedName, slice: &str) -> bool {
        let Some(slices) = self.slices.get_mut(service) else {
            return false;
        };
        let at = slices.iter().position(|(name, _)| **name == *slice);
        if let Some(at) = at {
            slices.swap_remove(at);
        }
        if slices.is_empty() {
            self.slices.remove(service);
        }
        at.is_some()
    }

    fn of(&self, service: &NamespacedName, family: Afi) -> impl Iterator<Item = &Slice> {
        let slices = self.slices.get(service).into_iter().flatten();
        let slices = slices.map(|(_, slice)| slice);
        slices.filter(move |slice| slice.family == family)
    }

    /// What connections to a port of a Service may go to, in order, each once.
    pub(super) fn behind(
        &self,
        service: &NamespacedName,
        family: Afi,
        port: &ServicePortFact,
        places: &Places,
        zone: Option<&str>,
    ) -> Vec<Candidate> {
        let mut candidates = self.all_behind(service, family, port, places, zone);
        candidates.retain(Candidate::serves);
        sort(&mut candidates);
        candidates
    }

    /// The same with those that connections may not go to, as they come. A port of a slice is of the Service's with the same
    /// name and protocol.
    pub(super) fn all_behind(
        &self,
        service: &NamespacedName,
        family: Afi,
        port: &ServicePortFact,
        places: &Places,
        zone: Option<&str>,
    ) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for slice in self.of(service, family) {
            let fits = |p: &&EndpointPortFact| *p.name == *port.name && p.protocol == port.protocol;
            for to in slice.ports.iter().filter(fits) {
                let marked = slice.marked(places, zone);
                candidates.extend(marked.map(|(addr, marks)| Candidate {
                    addr: SocketAddr::new(addr, to.port),
                    marks,
                }));
            }
        }
        candidates
    }

    /// How many addresses on this node are ready, at any port.
    pub(super) fn local_ready(
        &self,
        service: &NamespacedName,
        family: Afi,
        places: &Places,
    ) -> u32 {
        let with_ports = self.of(service, family).filter(|s| !s.ports.is_empty());
        let marked = with_ports.flat_map(|slice| slice.marked(places, None));
        let ready = marked.filter(|(_, m)| m.has(Marks::READY) && m.has(Marks::LOCAL));
        let ready: BTreeSet<IpAddr> = ready.map(|(addr, _)| addr).collect();
        u32::try_from(ready.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_small() {
        assert!(size_of::<Endpoint>() <= 20);
    }
}

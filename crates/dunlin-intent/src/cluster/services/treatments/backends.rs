//! The endpoints of slices, kept small.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dunlin_net::Afi;

use super::choose::{Candidate, Marks, sort};
use crate::cluster::services::Places;
use crate::dense::DenseMap;
use crate::fact::{EndpointPortFact, EndpointSliceFact, NamespacedName, ServicePortFact};

/// What is kept of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slice {
    family: Afi,
    ports: Box<[EndpointPortFact]>,
    /// The different lists of zones that its endpoints have hints for.
    zones: Box<[Box<[Arc<str>]>]>,
    endpoints: Packed,
}

/// Endpoints of one family, without a word too many, as there may be hundreds of thousands: marks, zones, address. The
/// family is told with each call, as it is the slice's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Packed(Box<[u8]>);

impl Packed {
    /// They are of the family.
    fn new(afi: Afi, endpoints: &[Endpoint]) -> Packed {
        let mut packed = Vec::with_capacity(endpoints.len() * octets(afi));
        for endpoint in endpoints {
            packed.push(endpoint.marks.bits());
            packed.extend_from_slice(&endpoint.zones.to_be_bytes());
            match endpoint.addr {
                IpAddr::V4(addr) => packed.extend_from_slice(&addr.octets()),
                IpAddr::V6(addr) => packed.extend_from_slice(&addr.octets()),
            }
        }
        Packed(packed.into())
    }

    fn iter(&self, afi: Afi) -> impl Iterator<Item = Endpoint> + '_ {
        self.0.chunks_exact(octets(afi)).filter_map(|packed| {
            let (&[marks, high, low], addr) = packed.split_first_chunk()?;
            let addr = match <[u8; 4]>::try_from(addr) {
                Ok(v4) => IpAddr::from(v4),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(addr).ok()?),
            };
            Some(Endpoint {
                addr,
                marks: Marks::of_bits(marks),
                zones: u16::from_be_bytes([high, low]),
            })
        })
    }
}

fn octets(afi: Afi) -> usize {
    usize::from(afi.bits()) / 8 + 3
}

/// An endpoint, be it that connections may go to it or not.
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
            endpoints: Packed::new(family, &endpoints),
        })
    }

    /// Whether connections go to the same endpoints as by another.
    fn serves_like(&self, other: &Slice) -> bool {
        let serving = |slice: &Slice| -> Vec<Endpoint> {
            let endpoints = slice.endpoints.iter(slice.family);
            endpoints
                .filter(|endpoint| endpoint.marks.has(Marks::SERVES))
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
        self.endpoints.iter(self.family).map(move |endpoint| {
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
    slices: DenseMap<NamespacedName, Vec<(Arc<str>, Slice)>>,
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
        let slices = self.slices.get_or_default(service.clone());
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
    fn an_endpoint_is_packed_and_comes_back() {
        let endpoints = |addrs: [&str; 2]| -> Vec<Endpoint> {
            let zones = [0, 515];
            let of = |(addr, zones): (&str, u16)| Endpoint {
                addr: addr.parse().unwrap(),
                marks: Marks::default().with(Marks::SERVES, zones > 0),
                zones,
            };
            addrs.into_iter().zip(zones).map(of).collect()
        };
        for (afi, addrs, octets) in [
            (Afi::Ipv4, ["10.0.0.1", "10.255.0.2"], 14),
            (Afi::Ipv6, ["fd00::1", "::"], 38),
        ] {
            let endpoints = endpoints(addrs);
            let packed = Packed::new(afi, &endpoints);
            assert_eq!(packed.0.len(), octets);
            assert!(packed.iter(afi).eq(endpoints));
        }
    }
}

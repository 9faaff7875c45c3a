//! What is kept of EndpointSlices: how many endpoints of which kind, never the endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_net::{Afi, IpNet, PerFamily};

use crate::dense::DenseMap;
use crate::fact::{EndpointFact, EndpointSliceFact, NamespacedName};

/// How many endpoints of a Service there are, in one address family. One that is in several slices is counted in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointCounts {
    /// All.
    pub total: u32,
    /// All on this node.
    pub local: u32,
    /// Ready ones.
    pub ready: u32,
    /// Ready ones on this node.
    pub local_ready: u32,
    /// Those that are not ready but serve while they terminate.
    pub terminating: u32,
    /// Those on this node that are not ready but serve while they terminate.
    pub local_terminating: u32,
}

impl EndpointCounts {
    fn each(&self) -> [u32; 6] {
        [
            self.total,
            self.local,
            self.ready,
            self.local_ready,
            self.terminating,
            self.local_terminating,
        ]
    }

    fn combine(&self, other: &EndpointCounts, f: fn(u32, u32) -> u32) -> EndpointCounts {
        EndpointCounts {
            total: f(self.total, other.total),
            local: f(self.local, other.local),
            ready: f(self.ready, other.ready),
            local_ready: f(self.local_ready, other.local_ready),
            terminating: f(self.terminating, other.terminating),
            local_terminating: f(self.local_terminating, other.local_terminating),
        }
    }

    /// The greater of each count: a dual-stack pod is an endpoint of both families.
    pub fn max(&self, other: &EndpointCounts) -> EndpointCounts {
        self.combine(other, u32::max)
    }

    /// Adds one endpoint.
    fn count(&mut self, ready: bool, terminating: bool, local: bool) {
        let add = |count: &mut u32, local_count: &mut u32| {
            *count = count.saturating_add(1);
            *local_count = local_count.saturating_add(u32::from(local));
        };
        add(&mut self.total, &mut self.local);
        if ready {
            add(&mut self.ready, &mut self.local_ready);
        } else if terminating {
            add(&mut self.terminating, &mut self.local_terminating);
        }
    }
}

/// What is on this node: its endpoints, and those without `nodeName` that have one of its addresses or lie within its
/// pod subnets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cluster) struct Places {
    pub(in crate::cluster) node: Arc<str>,
    pub(in crate::cluster) addresses: Vec<IpAddr>,
    pub(in crate::cluster) subnets: Vec<IpNet>,
}

impl Places {
    pub(super) fn holds(&self, addr: IpAddr) -> bool {
        self.addresses.contains(&addr) || self.subnets.iter().any(|net| net.contains(&addr))
    }
}

/// An endpoint without `nodeName`: the only kind whose address is kept, since which node it is on may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unplaced {
    addr: IpAddr,
    ready: bool,
    terminating: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slice {
    service: Arc<str>,
    family: Option<Afi>,
    /// Endpoints that say their node.
    placed: EndpointCounts,
    unplaced: Box<[Unplaced]>,
}

impl Slice {
    fn new(service: Arc<str>, fact: &EndpointSliceFact, node: &str) -> Slice {
        let mut placed = EndpointCounts::default();
        let mut unplaced = Vec::new();
        for endpoint in &fact.endpoints {
            let Some(addr) = endpoint.address else {
                continue;
            };
            let EndpointFact { ready, serving, .. } = *endpoint;
            let terminating = serving && endpoint.terminating;
            match &endpoint.node {
                Some(on) => placed.count(ready, terminating, **on == *node),
                None => unplaced.push(Unplaced {
                    addr,
                    ready,
                    terminating,
                }),
            }
        }
        Slice {
            service,
            family: fact.address_type,
            placed,
            unplaced: unplaced.into(),
        }
    }

    fn counts(&self, places: &Places) -> EndpointCounts {
        let mut counts = self.placed;
        for endpoint in &self.unplaced {
            let local = places.holds(endpoint.addr);
            counts.count(endpoint.ready, endpoint.terminating, local);
        }
        counts
    }
}

/// The endpoints behind a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backing {
    /// How many slices of each family there are.
    slices: PerFamily<u32>,
    pub(super) counts: PerFamily<EndpointCounts>,
}

impl Backing {
    /// The counts that addresses of a family go by. Without any slice of the family those of the other stand in: nothing is
    /// said of this one, and who carries packets from one family to the other knows best.
    pub(super) fn of(&self, family: Afi) -> EndpointCounts {
        let other = match family {
            Afi::Ipv4 => Afi::Ipv6,
            Afi::Ipv6 => Afi::Ipv4,
        };
        match *self.slices.get(family) {
            0 => *self.counts.get(other),
            _ => *self.counts.get(family),
        }
    }

    /// All that announcing depends on: which counts are not zero.
    fn reach(&self) -> [[bool; 6]; 2] {
        Afi::ALL.map(|family| self.of(family).each().map(|count| count > 0))
    }

    fn add(&mut self, family: Afi, counts: &EndpointCounts) {
        *self.slices.get_mut(family) += 1;
        let sum = self.counts.get_mut(family);
        *sum = sum.combine(counts, u32::saturating_add);
    }

    fn take(&mut self, family: Afi, counts: &EndpointCounts) {
        let slices = self.slices.get_mut(family);
        *slices = slices.saturating_sub(1);
        let sum = self.counts.get_mut(family);
        *sum = sum.combine(counts, u32::saturating_sub);
    }

    fn is_empty(&self) -> bool {
        self.slices.v4 == 0 && self.slices.v6 == 0
    }
}

/// All slices, and what they come to for each Service, whether there is such a Service or not.
#[derive(Clone, Debug, Default)]
pub(super) struct Endpoints {
    slices: DenseMap<NamespacedName, Slice>,
    backings: DenseMap<NamespacedName, Backing>,
    /// The slices with endpoints that do not say their node.
    unplaced: BTreeSet<NamespacedName>,
}

impl Endpoints {
    /// Whether the slice is known.
    pub(super) fn knows(&self, name: &NamespacedName) -> bool {
        self.slices.contains_key(name)
    }

    /// What is behind a Service.
    pub(super) fn behind(&self, service: &NamespacedName) -> Backing {
        self.backings.get(service).copied().unwrap_or_default()
    }

    /// The Service that a slice is of.
    pub(super) fn service_of(&self, slice: &NamespacedName) -> Option<NamespacedName> {
        let (at, slice) = self.slices.get_key_value(slice)?;
        Some(NamespacedName::new(
            at.namespace.clone(),
            slice.service.clone(),
        ))
    }

    /// Takes in a slice of a Service, new or changed; adds the Services for which something began or ended to `changed`.
    pub(super) fn apply(
        &mut self,
        fact: &EndpointSliceFact,
        service: Option<NamespacedName>,
        places: &Places,
        changed: &mut BTreeSet<NamespacedName>,
    ) {
        let Some(of) = service else {
            return self.remove(&fact.name, places, changed);
        };
        // The text of the Service's name is shared by its slices.
        let known = self.backings.get_key_value(&of);
        let of = known.map_or(of, |(known, _)| known.clone());
        let slice = Slice::new(of.name.clone(), fact, &places.node);
        let before = self.slices.get(&fact.name);
        if before == Some(&slice) {
            return;
        }
        let before = before.cloned();
        match slice.unplaced.is_empty() {
            true => self.unplaced.remove(&fact.name),
            false => self.unplaced.insert(fact.name.clone()),
        };
        let had = before.as_ref().map(|b| (b, b.counts(places)));
        let has = (&slice, slice.counts(places));
        self.shift(&of.namespace, had, Some(has), changed);
        match self.slices.get_mut(&fact.name) {
            Some(place) => *place = slice,
            None => {
                let name = NamespacedName::new(of.namespace, fact.name.name.clone());
                self.slices.insert(name, slice);
            }
        }
    }

    /// Takes in that a slice is gone.
    pub(super) fn remove(
        &mut self,
        name: &NamespacedName,
        places: &Places,
        changed: &mut BTreeSet<NamespacedName>,
    ) {
        if let Some(slice) = self.slices.remove(name) {
            self.unplaced.remove(name);
            let counts = slice.counts(places);
            self.shift(&name.namespace, Some((&slice, counts)), None, changed);
        }
    }

    /// Takes in that what is on this node changed.
    pub(super) fn move_places(
        &mut self,
        before: &Places,
        now: &Places,
        changed: &mut BTreeSet<NamespacedName>,
    ) {
        for name in self.unplaced.clone() {
            if let Some(slice) = self.slices.get(&name).cloned() {
                let (had, has) = (slice.counts(before), slice.counts(now));
                if had != has {
                    let (had, has) = ((&slice, had), (&slice, has));
                    self.shift(&name.namespace, Some(had), Some(has), changed);
                }
            }
        }
    }

    /// Takes a slice's counts from its Service and gives them to another, or the same.
    fn shift(
        &mut self,
        namespace: &Arc<str>,
        had: Option<(&Slice, EndpointCounts)>,
        has: Option<(&Slice, EndpointCounts)>,
        changed: &mut BTreeSet<NamespacedName>,
    ) {
        let at = |slice: &Slice| NamespacedName::new(namespace.clone(), slice.service.clone());
        let mut services = [had, has].map(|s| s.map(|(slice, _)| at(slice)));
        if services[0] == services[1] {
            services[1] = None;
        }
        let before = services
            .clone()
            .map(|s| s.map(|s| (self.behind(&s).reach(), s)));
        if let Some((slice, counts)) = had
            && let Some(family) = slice.family
            && let Some(backing) = self.backings.get_mut(&at(slice))
        {
            backing.take(family, &counts);
        }
        if let Some((slice, counts)) = has
            && let Some(family) = slice.family
        {
            self.backings.get_or_default(at(slice)).add(family, &counts);
        }
        for (reach, service) in before.into_iter().flatten() {
            if self.backings.get(&service).is_some_and(Backing::is_empty) {
                self.backings.remove(&service);
            }
            if self.behind(&service).reach() != reach {
                changed.insert(service);
            }
        }
    }
}

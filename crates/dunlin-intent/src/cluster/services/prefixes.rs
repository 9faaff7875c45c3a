//! The prefixes that Services ask for, whoever asks.

use std::net::IpAddr;
use std::sync::Arc;

use dunlin_net::{Afi, IpNet};

use super::announce::is_aggregate;
use super::{Cluster, Services};
use crate::intent::{OriginKind, Origination, ServiceClass};

/// Classes, and how many ask for each.
type Counted = Vec<(ServiceClass, u32)>;

/// A prefix that is announced, or was when it was last looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Prefix {
    wanted: Counted,
    /// The advertisements of all that want it; held.
    class: Option<ServiceClass>,
}

/// An aggregate that is asked for, whether anything is announced in it at the moment or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Aggregate {
    pub(super) classes: Counted,
    /// What it would cover and must not.
    pub(super) conflict: Option<Conflict>,
}

/// What an aggregate or a range of service addresses must not cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    NodeAddress(IpAddr),
    PodSubnet(IpNet),
}

impl Services {
    pub(super) fn announce(&mut self, net: IpNet, class: ServiceClass) {
        count(&mut self.prefixes.entry(net).or_default().wanted, class);
        self.dirty.prefixes.insert(net);
    }

    pub(super) fn withdraw(&mut self, net: IpNet, class: ServiceClass) {
        if let Some(prefix) = self.prefixes.get_mut(&net) {
            discount(&mut prefix.wanted, class);
            self.dirty.prefixes.insert(net);
        }
    }

    pub(super) fn release_aggregate(&mut self, net: IpNet, class: ServiceClass) {
        let Some(aggregate) = self.aggregates.get_mut(net) else {
            return;
        };
        if discount(&mut aggregate.classes, class) {
            self.dirty.advertisements |= aggregate.conflict.is_some();
            if aggregate.classes.is_empty() {
                self.aggregates.set(net, None);
            }
        }
    }
}

impl Cluster {
    /// What an aggregate would cover and must not.
    pub(super) fn aggregate_conflict(&self, net: IpNet) -> Option<Conflict> {
        match self.services.aggregates.get(net) {
            Some(aggregate) => aggregate.conflict,
            None => self.conflict(net),
        }
    }

    /// What of the cluster a prefix would cover, or lie within.
    pub(super) fn conflict(&self, net: IpNet) -> Option<Conflict> {
        let address = self.origin.node_address_in(net);
        address.map(Conflict::NodeAddress).or_else(|| {
            let subnet = self.origin.owner_overlapping(net)?;
            Some(Conflict::PodSubnet(subnet))
        })
    }

    pub(super) fn hold_aggregate(&mut self, net: IpNet, class: ServiceClass) {
        if self.services.aggregates.get(net).is_none() {
            let aggregate = Aggregate {
                classes: Vec::new(),
                conflict: self.conflict(net),
            };
            self.services.aggregates.set(net, Some(aggregate));
        }
        let services = &mut self.services;
        if let Some(aggregate) = services.aggregates.get_mut(net)
            && count(&mut aggregate.classes, class)
        {
            services.dirty.advertisements |= aggregate.conflict.is_some();
        }
    }

    /// Takes in that a pod subnet or a node address came or went here.
    pub(super) fn evaluate_net(&mut self, net: IpNet) {
        self.services.mark_at(net);
        let aggregates = &self.services.aggregates;
        let concerned = aggregates.covering(net).chain(aggregates.within(net));
        let changed: Vec<(IpNet, Option<Conflict>)> = concerned
            .map(|(net, aggregate)| (net, aggregate.conflict, self.conflict(net)))
            .filter(|(_, before, now)| before != now)
            .map(|(net, _, now)| (net, now))
            .collect();
        for (net, conflict) in changed {
            if let Some(aggregate) = self.services.aggregates.get_mut(net) {
                let turned = aggregate.conflict.is_some() != conflict.is_some();
                aggregate.conflict = conflict;
                self.services.dirty.advertisements = true;
                if turned {
                    self.services.mark_at(net);
                }
            }
        }
        self.services.dirty.ranges |= self.ranges.concerns(net);
    }

    /// Brings what is originated in line with what Services ask for.
    pub(super) fn evaluate_prefix(&mut self, net: IpNet) {
        let services = &mut self.services;
        let Some(prefix) = services.prefixes.get_mut(&net) else {
            return;
        };
        let class = match prefix.wanted.as_slice() {
            [] => None,
            wanted => {
                let mut names: Vec<Arc<str>> = wanted
                    .iter()
                    .flat_map(|(class, _)| services.classes.names(*class).iter().cloned())
                    .collect();
                names.sort();
                names.dedup();
                Some(services.classes.hold(&names))
            }
        };
        let before = std::mem::replace(&mut prefix.class, class);
        if let Some(before) = before {
            services.classes.release(before);
        }
        if class.is_none() {
            services.prefixes.remove(&net);
        }
        // The addresses themselves are ranges for as long as they are asked for.
        match (before, class) {
            (None, Some(_)) if is_aggregate(net) => self.add_range(net),
            (Some(_), None) if is_aggregate(net) => self.remove_range(net),
            _ => {}
        }
        let next_hop = self
            .local
            .as_ref()
            .and_then(|local| *local.next_hops.get(Afi::of_net(net)));
        let origination = class.zip(next_hop).map(|(class, next_hop)| Origination {
            kind: OriginKind::Service(class),
            next_hop,
        });
        let is_pods = |o: &Origination| o.kind == OriginKind::PodSubnet;
        if self.originations.get(&net).is_some_and(is_pods) {
            return;
        }
        match origination {
            Some(origination) => self.originations.insert(net, origination),
            None => self.originations.remove(&net),
        };
        self.dirty.originations.insert(net);
    }
}

/// Returns whether the class is new.
fn count(counted: &mut Counted, class: ServiceClass) -> bool {
    match counted.iter_mut().find(|(c, _)| *c == class) {
        Some((_, count)) => {
            *count += 1;
            false
        }
        None => {
            counted.push((class, 1));
            true
        }
    }
}

/// Returns whether the class is gone.
fn discount(counted: &mut Counted, class: ServiceClass) -> bool {
    let Some(at) = counted.iter().position(|(c, _)| *c == class) else {
        return false;
    };
    let gone = counted.get_mut(at).is_some_and(|(_, count)| {
        *count -= 1;
        *count == 0
    });
    if gone {
        counted.swap_remove(at);
    }
    gone
}

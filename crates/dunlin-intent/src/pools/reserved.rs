//! Addresses that are never given: those of Nodes, of their pods, and cluster IPs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dunlin_net::{Afi, IpNet, PerFamily};

use super::intervals::{Intervals, number};
use crate::fact::{Key, NodeFact, ServiceCidrFact};

type Span = (Afi, u128, u128);

/// What is in use otherwise, by the object that says so.
#[derive(Debug, Default)]
pub(super) struct Reserved {
    spans: BTreeMap<Key, Vec<Span>>,
    merged: PerFamily<Intervals>,
    /// `merged` does not hold all of `spans` alone.
    stale: bool,
}

impl Reserved {
    /// Sets what an object says. Says whether that changes anything.
    pub(super) fn set(&mut self, key: Key, spans: Vec<Span>) -> bool {
        let before = match spans.is_empty() {
            true => self.spans.remove(&key).unwrap_or_default(),
            false => self
                .spans
                .insert(key.clone(), spans.clone())
                .unwrap_or_default(),
        };
        if before == spans {
            return false;
        }
        match before.is_empty() {
            // The common case while everything is told for the first time.
            true => put(&mut self.merged, &spans),
            // Another object may say the same: only all of them together tell.
            false => self.stale = true,
        }
        true
    }

    /// Makes the answers right again; called once after any number of changes.
    pub(super) fn refresh(&mut self) {
        if std::mem::take(&mut self.stale) {
            self.merged = PerFamily::default();
            for spans in self.spans.values() {
                put(&mut self.merged, spans);
            }
        }
    }

    pub(super) fn of(&self, afi: Afi) -> &Intervals {
        self.merged.get(afi)
    }

    pub(super) fn is_reserved(&self, ip: IpAddr) -> bool {
        self.of(Afi::of(ip)).covering(number(ip)).is_some()
    }
}

fn put(merged: &mut PerFamily<Intervals>, spans: &[Span]) {
    for &(afi, first, last) in spans {
        merged.get_mut(afi).insert(first, last);
    }
}

/// What a Node uses.
pub(super) fn of_node(fact: &NodeFact) -> Vec<Span> {
    let addresses = fact.internal_ips.iter();
    let addresses = addresses.map(|ip| (Afi::of(*ip), number(*ip), number(*ip)));
    addresses.chain(nets(&fact.pod_cidrs)).collect()
}

/// What cluster IPs are taken from.
pub(super) fn of_service_cidr(fact: &ServiceCidrFact) -> Vec<Span> {
    nets(&fact.cidrs).collect()
}

fn nets(nets: &[IpNet]) -> impl Iterator<Item = Span> {
    nets.iter().map(|net| {
        (
            Afi::of_net(*net),
            number(net.network()),
            number(net.broadcast()),
        )
    })
}

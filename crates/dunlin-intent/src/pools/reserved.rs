//! Addresses that are never given: those of Nodes, of their pods, of BGP peers and of API servers, and cluster IPs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use dunlin_net::{Afi, IpNet, PerFamily};

use super::intervals::{Intervals, address, number};
use crate::fact::{Key, NodeFact, PeerFact, ServiceCidrFact};
use crate::problem::ObjectRef;

type Span = (Afi, u128, u128);

/// Who uses addresses that are therefore not given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReservedBy {
    /// A Node and its pods, a `BGPPeer`, or a `ServiceCIDR`, out of which cluster IPs are taken.
    Object(ObjectRef),
    /// The API servers.
    ApiServers,
}

impl fmt::Display for ReservedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReservedBy::Object(object) => object.fmt(f),
            ReservedBy::ApiServers => f.write_str("an API server"),
        }
    }
}

impl From<Key> for ReservedBy {
    fn from(key: Key) -> ReservedBy {
        ReservedBy::Object(key.object())
    }
}

/// What is in use otherwise, by the object that says so.
#[derive(Debug, Default)]
pub(super) struct Reserved {
    spans: BTreeMap<ReservedBy, Vec<Span>>,
    merged: PerFamily<Intervals>,
    /// `merged` does not hold all of `spans` alone.
    stale: bool,
}

impl Reserved {
    /// Sets what an object says. Says whether that changes anything.
    pub(super) fn set(&mut self, by: ReservedBy, spans: Vec<Span>) -> bool {
        let before = match spans.is_empty() {
            true => self.spans.remove(&by).unwrap_or_default(),
            false => self.spans.insert(by, spans.clone()).unwrap_or_default(),
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

    /// The first address in a range that somebody uses, and who; costs a step for each object that uses any, if so.
    pub(super) fn first_in(
        &self,
        afi: Afi,
        first: u128,
        last: u128,
    ) -> Option<(IpAddr, &ReservedBy)> {
        if !self.of(afi).touches(first, last) {
            return None;
        }
        let spans = self.spans.iter();
        let all = spans.flat_map(|(by, spans)| spans.iter().map(move |span| (*span, by)));
        let within = all.filter(|((of, from, to), _)| *of == afi && *from <= last && first <= *to);
        let found = within.map(|((_, from, _), by)| (from.max(first), by));
        let (number, by) = found.min_by_key(|(number, _)| *number)?;
        Some((address(afi, number), by))
    }
}

/// What none of many objects leaves to be given.
#[derive(Debug, Default)]
pub(crate) struct Taken(PerFamily<Intervals>);

impl Taken {
    pub(crate) fn node(&mut self, fact: &NodeFact) {
        put(&mut self.0, &of_node(fact));
    }

    pub(crate) fn service_cidr(&mut self, fact: &ServiceCidrFact) {
        put(&mut self.0, &of_service_cidr(fact));
    }

    pub(crate) fn addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        put(&mut self.0, &of_addresses(addresses).collect::<Vec<_>>());
    }

    pub(crate) fn has(&self, addr: IpAddr) -> bool {
        self.0.get(Afi::of(addr)).covering(number(addr)).is_some()
    }

    /// How many addresses from `first` to `last`, of one family, are taken; saturates.
    pub(crate) fn within(&self, first: IpAddr, last: IpAddr) -> u128 {
        let of_family = self.0.get(Afi::of(first));
        of_family.len_within(number(first), number(last))
    }
}

fn put(merged: &mut PerFamily<Intervals>, spans: &[Span]) {
    for &(afi, first, last) in spans {
        merged.get_mut(afi).insert(first, last);
    }
}

/// What a Node uses.
pub(super) fn of_node(fact: &NodeFact) -> Vec<Span> {
    let addresses = of_addresses(fact.internal_ips.iter().copied());
    addresses.chain(nets(&fact.pod_cidrs)).collect()
}

/// What a peer outside uses; those of a range are not known by their addresses.
pub(super) fn of_peer(fact: &PeerFact) -> Vec<Span> {
    of_addresses(fact.peer_address).collect()
}

/// Addresses, each by itself.
pub(super) fn of_addresses(
    addresses: impl IntoIterator<Item = IpAddr>,
) -> impl Iterator<Item = Span> {
    let addresses = addresses.into_iter();
    addresses.map(|ip| (Afi::of(ip), number(ip), number(ip)))
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

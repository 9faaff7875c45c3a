//! Origin validation: what may be believed of a route, judged by what the cluster itself says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dunlin_bgp::policy::RejectReason;
use dunlin_net::{Afi, IpNet, PerFamily};

/// The Node that owns a pod subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The Node's name.
    pub node: String,
    /// Its first InternalIP of each family: the next hop it announces.
    pub next_hops: PerFamily<Option<IpAddr>>,
    /// All its InternalIPs; any of them is a next hop to be believed.
    pub addresses: Vec<IpAddr>,
}

/// Where a route came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteSource<'a> {
    /// The session with this Node.
    Node(&'a str),
    /// The session with a `BGPPeer`, after its import filter.
    Configured,
    /// The session with a `BGPPeer` that is a router of the fabric, after its import filter.
    Fabric,
}

/// What an address is protected as; the reason a route that captures it is rejected for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protected {
    /// The InternalIP of a Node.
    Node,
    /// The address of the API server.
    ApiServer,
    /// The address of a peer that we have a session with.
    Session,
}

impl Protected {
    fn reason(self) -> RejectReason {
        match self {
            Protected::Node => RejectReason::CoversNodeAddress,
            Protected::ApiServer => RejectReason::CoversApiServer,
            Protected::Session => RejectReason::CoversSession,
        }
    }
}

/// The tables that routes are judged by. Filled by [`crate::Cluster`]; pure to query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginValidation {
    owners: PrefixMap<Owner>,
    /// How many times each address is protected, and as what.
    addresses: BTreeMap<IpAddr, BTreeMap<Protected, u32>>,
    own_addresses: BTreeSet<IpAddr>,
    own_pod_subnets: BTreeSet<IpNet>,
    /// The prefixes that only Services have addresses in.
    service_ranges: PrefixMap<()>,
    /// The subnets on our links: an address in one of them is reached over the link, unless a longer route captures it.
    on_link: PrefixMap<()>,
}

impl OriginValidation {
    /// The owner of exactly this pod subnet.
    pub fn owner_of(&self, net: IpNet) -> Option<&Owner> {
        self.owners.get(net)
    }

    /// The owner of the pod subnet that `net` lies within (equal counts), and that subnet.
    pub fn owner_covering(&self, net: IpNet) -> Option<(IpNet, &Owner)> {
        self.owners.longest_covering(net)
    }

    /// All pod subnets with their owners, in order of prefix.
    pub fn owners(&self) -> impl Iterator<Item = (IpNet, &Owner)> {
        self.owners.iter()
    }

    /// What is surely no service's within a prefix: pod subnets, and the addresses of Nodes, of the API server and of
    /// peers. Prefixes may overlap, and reach beyond.
    pub fn taken_within(&self, net: IpNet) -> impl Iterator<Item = IpNet> {
        let net = net.trunc();
        let addresses = self.addresses.range(net.network()..=net.broadcast());
        let covering = self.owners.covering(net).map(|(subnet, _)| subnet);
        let within = self.owners.within(net).map(|(subnet, _)| subnet);
        let addresses = addresses.map(|(addr, _)| IpNet::from(*addr));
        covering.chain(within).chain(addresses)
    }

    /// Whether a route may be installed.
    ///
    /// From a node: a prefix equal to one of a Node's pod subnets with an address of that Node as next hop. From a
    /// configured peer (after its filter): anything that does not lie within another Node's pod subnet, unless it
    /// is that Node who is the next hop or the route is for exactly that subnet, comes from a router of the fabric and
    /// does not name a third Node as next hop; nor within a range of service addresses: where those are, this node knows by
    /// itself, and our own announcements come back. From nobody: what lies within our own pod subnets, and what would capture
    /// the traffic to a protected address, which is a prefix that contains the address and is longer than the
    /// on-link subnet it is reached by. A default route is longer than none and captures nothing.
    ///
    /// # Errors
    /// The reason that [`explain`](RejectReason) shows.
    pub fn judge(
        &self,
        net: IpNet,
        next_hop: IpAddr,
        from: RouteSource<'_>,
    ) -> Result<(), RejectReason> {
        let net = net.trunc();
        if self.own_addresses.contains(&next_hop) {
            return Err(RejectReason::NextHopIsSelf);
        }
        if self.own_pod_subnets.iter().any(|own| own.contains(&net)) {
            return Err(RejectReason::WithinOwnPodSubnet);
        }
        if let Some((_, protected)) = self.captured(net) {
            return Err(protected.reason());
        }
        match (from, self.owners.longest_covering(net)) {
            (_, Some((subnet, owner))) if subnet == net => {
                let by_fabric = from == RouteSource::Fabric && !self.is_node_address(next_hop);
                if by_fabric || owner.addresses.contains(&next_hop) {
                    Ok(())
                } else {
                    Err(RejectReason::NextHopNotOwner)
                }
            }
            (RouteSource::Node(_), _) if self.is_service_address(net) => {
                Err(RejectReason::ServiceAddress)
            }
            (RouteSource::Node(_), _) | (RouteSource::Fabric, Some(_)) => {
                Err(RejectReason::NotAPodSubnet)
            }
            (RouteSource::Configured, Some(_)) => Err(RejectReason::NextHopNotOwner),
            (_, None) if self.is_service_address(net) => Err(RejectReason::WithinServiceRange),
            (RouteSource::Configured | RouteSource::Fabric, None) => Ok(()),
        }
    }

    /// Whether a prefix is, or lies within, a range that only Services have addresses in.
    pub fn is_service_address(&self, net: IpNet) -> bool {
        self.service_ranges.longest_covering(net).is_some()
    }

    /// The first protected address whose traffic a route for `net` would capture.
    pub fn captured(&self, net: IpNet) -> Option<(IpAddr, Protected)> {
        if net.prefix_len() == 0 {
            return None;
        }
        let last = net.broadcast();
        let mut from = net.network();
        // Each step ends or jumps past an on-link subnet, so their number bounds the steps.
        loop {
            let (&addr, kinds) = self.addresses.range(from..=last).next()?;
            let reached_by = self
                .on_link
                .longest_covering(IpNet::from(addr))
                .filter(|(link, ())| link.prefix_len() >= net.prefix_len());
            let Some((link, ())) = reached_by else {
                let kind = kinds.keys().next().copied().unwrap_or(Protected::Node);
                return Some((addr, kind));
            };
            from = next_addr(link.broadcast()).filter(|next| *next <= last)?;
        }
    }

    fn is_node_address(&self, addr: IpAddr) -> bool {
        let kinds = self.addresses.get(&addr);
        kinds.is_some_and(|kinds| kinds.contains_key(&Protected::Node))
    }

    /// Whether a prefix contains the address of any Node.
    pub(crate) fn node_address_in(&self, net: IpNet) -> Option<IpAddr> {
        self.addresses
            .range(net.network()..=net.broadcast())
            .find(|(_, kinds)| kinds.contains_key(&Protected::Node))
            .map(|(addr, _)| *addr)
    }

    /// The first pod subnet that shares addresses with a prefix: one that covers it, else one within it.
    pub(crate) fn owner_overlapping(&self, net: IpNet) -> Option<IpNet> {
        let mut overlapping = self.owners.covering(net).chain(self.owners.within(net));
        overlapping.next().map(|(subnet, _)| subnet)
    }

    pub(crate) fn set_owner(&mut self, net: IpNet, owner: Option<Owner>) -> bool {
        self.owners.set(net, owner)
    }

    /// Returns whether the address's protection changed in kind.
    pub(crate) fn protect(&mut self, addr: IpAddr, kind: Protected) -> bool {
        let count = self
            .addresses
            .entry(addr)
            .or_default()
            .entry(kind)
            .or_default();
        *count += 1;
        *count == 1
    }

    /// Undoes one [`OriginValidation::protect`]; returns whether the protection changed in kind.
    pub(crate) fn unprotect(&mut self, addr: IpAddr, kind: Protected) -> bool {
        let Some(kinds) = self.addresses.get_mut(&addr) else {
            return false;
        };
        let Some(count) = kinds.get_mut(&kind) else {
            return false;
        };
        *count -= 1;
        let gone = *count == 0;
        if gone {
            kinds.remove(&kind);
        }
        if kinds.is_empty() {
            self.addresses.remove(&addr);
        }
        gone
    }

    pub(crate) fn set_own_addresses(&mut self, addresses: BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        std::mem::replace(&mut self.own_addresses, addresses)
    }

    pub(crate) fn set_own_pod_subnets(&mut self, subnets: BTreeSet<IpNet>) -> BTreeSet<IpNet> {
        std::mem::replace(&mut self.own_pod_subnets, subnets)
    }

    /// Says whether only Services have addresses in a prefix; returns whether that is news. Routes that are it or lie
    /// within it are to be judged again then.
    pub(crate) fn set_service_range(&mut self, net: IpNet, is: bool) -> bool {
        self.service_ranges.set(net.trunc(), is.then_some(()))
    }

    /// Returns the subnets that are there now and were not before, or the other way round.
    pub(crate) fn set_on_link(&mut self, subnets: &BTreeSet<IpNet>) -> Vec<IpNet> {
        let before: BTreeSet<IpNet> = self.on_link.iter().map(|(net, ())| net).collect();
        let changed: Vec<IpNet> = before.symmetric_difference(subnets).copied().collect();
        for net in &changed {
            self.on_link.set(*net, subnets.contains(net).then_some(()));
        }
        changed
    }
}

fn next_addr(addr: IpAddr) -> Option<IpAddr> {
    match addr {
        IpAddr::V4(addr) => u32::from(addr).checked_add(1).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(addr) => u128::from(addr)
            .checked_add(1)
            .map(|n| IpAddr::V6(n.into())),
    }
}

/// Values by prefix, with a lookup of the longest prefix that covers another: one probe per prefix length in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrefixMap<T> {
    entries: BTreeMap<IpNet, T>,
    lengths: PerFamily<BTreeMap<u8, u32>>,
}

impl<T> Default for PrefixMap<T> {
    fn default() -> PrefixMap<T> {
        PrefixMap {
            entries: BTreeMap::new(),
            lengths: PerFamily::default(),
        }
    }
}

impl<T: PartialEq> PrefixMap<T> {
    pub(crate) fn get(&self, net: IpNet) -> Option<&T> {
        self.entries.get(&net)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpNet, &T)> {
        self.entries.iter().map(|(net, value)| (*net, value))
    }

    /// Sets or removes a value; returns whether that changed anything.
    pub(crate) fn set(&mut self, net: IpNet, value: Option<T>) -> bool {
        let lengths = self.lengths.get_mut(Afi::of_net(net));
        match value {
            Some(value) => match self.entries.insert(net, value) {
                Some(before) => self.entries.get(&net) != Some(&before),
                None => {
                    *lengths.entry(net.prefix_len()).or_default() += 1;
                    true
                }
            },
            None => {
                let removed = self.entries.remove(&net).is_some();
                if removed && let Some(count) = lengths.get_mut(&net.prefix_len()) {
                    *count -= 1;
                    if *count == 0 {
                        lengths.remove(&net.prefix_len());
                    }
                }
                removed
            }
        }
    }

    /// A value to change in place.
    pub(crate) fn get_mut(&mut self, net: IpNet) -> Option<&mut T> {
        self.entries.get_mut(&net)
    }

    /// The prefixes that cover `net`, longest first, itself included.
    pub(crate) fn covering(&self, net: IpNet) -> impl Iterator<Item = (IpNet, &T)> {
        self.lengths
            .get(Afi::of_net(net))
            .range(..=net.prefix_len())
            .rev()
            .filter_map(move |(&len, _)| {
                let key = IpNet::new(net.addr(), len).ok()?.trunc();
                self.entries.get_key_value(&key)
            })
            .map(|(net, value)| (*net, value))
    }

    /// The prefixes strictly within `net`.
    pub(crate) fn within(&self, net: IpNet) -> impl Iterator<Item = (IpNet, &T)> {
        use std::ops::Bound::{Excluded, Included};
        let last = IpNet::from(net.broadcast());
        // A range needs its start before its end: a host prefix has nothing within it.
        let range = (last > net).then(|| self.entries.range((Excluded(net), Included(last))));
        range
            .into_iter()
            .flatten()
            .map(|(net, value)| (*net, value))
    }

    pub(crate) fn longest_covering(&self, net: IpNet) -> Option<(IpNet, &T)> {
        self.covering(net).next()
    }
}

#[cfg(test)]
mod tests;

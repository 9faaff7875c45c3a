//! The ranges that only Services have addresses in.
//!
//! An address that an advertisement of this node selects is one whether or not it is announced just now: while a withdrawal is
//! under way its packets still come, and must not go back where they came from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dunlin_net::{Afi, IpNet};

use super::Cluster;
use super::prefixes::Conflict;
use crate::claims::Age;
use crate::fact::{AddressRange, Key, PoolFact, ServiceCidrFact};
use crate::origin::PrefixMap;
use crate::problem::{ObjectKind, ObjectRef, Problem, Reason};
use crate::settings::{Faults, host_bits_fault};

/// `ServiceCIDR`s, pools, the aggregates announced, and the addresses of Services that advertisements select.
#[derive(Clone, Debug, Default)]
pub(in crate::cluster) struct Ranges {
    cidrs: BTreeMap<String, ServiceCidrFact>,
    pools: BTreeMap<String, PoolFact>,
    /// The prefixes of both that are of use.
    accepted: BTreeSet<IpNet>,
    /// The prefixes of both, of use or not.
    claimed: PrefixMap<()>,
    /// All that is a range, and for how many reasons each is there.
    members: PrefixMap<u32>,
    /// Those of them that lie within no other have changed since this was last taken.
    pub(in crate::cluster) changed: bool,
    /// The members that came or went since this was last taken.
    moved: BTreeSet<IpNet>,
}

impl Ranges {
    /// All pools, by name.
    pub(super) fn pools(&self) -> impl Iterator<Item = &PoolFact> {
        self.pools.values()
    }

    /// All `ServiceCIDR`s, by name.
    pub(super) fn service_cidrs(&self) -> impl Iterator<Item = &ServiceCidrFact> {
        self.cidrs.values()
    }

    /// Whether the `ServiceCIDR` or pool is known.
    pub(in crate::cluster) fn knows(&self, key: &Key) -> bool {
        match key {
            Key::ServiceCidr(name) => self.cidrs.contains_key(name),
            Key::Pool(name) => self.pools.contains_key(name),
            _ => false,
        }
    }

    /// Whether a prefix shares addresses with a pool or a `ServiceCIDR`.
    pub(super) fn concerns(&self, net: IpNet) -> bool {
        let mut shared = self.claimed.covering(net).chain(self.claimed.within(net));
        shared.next().is_some()
    }

    fn add(&mut self, net: IpNet) {
        match self.members.get_mut(net) {
            Some(count) => *count += 1,
            None => {
                self.members.set(net, Some(1));
                self.moved.insert(net);
                self.changed |= !self.is_covered(net);
            }
        }
    }

    fn remove(&mut self, net: IpNet) {
        let Some(count) = self.members.get_mut(net) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.members.set(net, None);
            self.moved.insert(net);
            self.changed |= !self.is_covered(net);
        }
    }

    /// Whether another member covers this prefix.
    fn is_covered(&self, net: IpNet) -> bool {
        self.members.covering(net).any(|(other, _)| other != net)
    }

    /// The members that lie within no other.
    pub(in crate::cluster) fn iter(&self) -> impl Iterator<Item = IpNet> {
        let mut last: Option<IpNet> = None;
        // A prefix comes before those within it.
        self.members.iter().filter_map(move |(net, _)| {
            if last.is_some_and(|last| last.contains(&net)) {
                return None;
            }
            last = Some(net);
            last
        })
    }
}

impl Cluster {
    pub(in crate::cluster) fn apply_service_cidr(&mut self, fact: ServiceCidrFact) {
        self.ranges.cidrs.insert(fact.name.clone(), fact);
        self.services.dirty.ranges = true;
    }

    pub(in crate::cluster) fn remove_service_cidr(&mut self, name: &str) {
        if self.ranges.cidrs.remove(name).is_some() {
            let object = ObjectRef::new(ObjectKind::ServiceCidr, name);
            self.set_object_problems(object, Vec::new());
            self.services.dirty.ranges = true;
        }
    }

    pub(in crate::cluster) fn apply_pool(&mut self, fact: PoolFact) {
        self.ranges.pools.insert(fact.name.clone(), fact);
        self.services.dirty.ranges = true;
    }

    pub(in crate::cluster) fn remove_pool(&mut self, name: &str) {
        if self.ranges.pools.remove(name).is_some() {
            let object = ObjectRef::new(ObjectKind::LoadBalancerPool, name);
            self.set_object_problems(object, Vec::new());
            self.services.dirty.ranges = true;
        }
    }

    pub(super) fn add_range(&mut self, net: IpNet) {
        self.ranges.add(net);
    }

    pub(super) fn remove_range(&mut self, net: IpNet) {
        self.ranges.remove(net);
    }

    /// Lets routes be judged by the ranges as they are now.
    pub(super) fn tell_ranges(&mut self) {
        for net in std::mem::take(&mut self.ranges.moved) {
            let is = self.ranges.members.get(net).is_some();
            if self.origin.set_service_range(net, is) && !self.ranges.is_covered(net) {
                self.dirty.protection.insert(net);
            }
        }
    }

    /// Judges all pools and `ServiceCIDR`s again.
    pub(super) fn evaluate_ranges(&mut self) {
        let mut judged = Judged::default();
        for fact in self.ranges.cidrs.values() {
            self.judge_cidr(fact, &mut judged);
        }
        let mut pools: Vec<&PoolFact> = self.ranges.pools.values().collect();
        pools.sort_by_cached_key(|fact| Age::new(fact.created, fact.name.as_str().into()));
        for fact in pools {
            self.judge_pool(fact, &mut judged);
        }
        let accepted: BTreeSet<IpNet> = judged
            .cidrs
            .iter()
            .chain(judged.pools.iter())
            .map(|(net, _)| net)
            .collect();
        for net in &accepted {
            if !self.ranges.accepted.contains(net) {
                self.add_range(*net);
                self.exclude_from_masquerade(*net, true);
            }
        }
        let before = std::mem::replace(&mut self.ranges.accepted, accepted);
        for net in before {
            if !self.ranges.accepted.contains(&net) {
                self.remove_range(net);
                self.exclude_from_masquerade(net, false);
            }
        }
        self.ranges.claimed = judged.claimed;
        for (object, problems) in judged.problems {
            self.set_object_problems(object, problems);
        }
    }

    fn judge_cidr(&self, fact: &ServiceCidrFact, judged: &mut Judged) {
        let object = ObjectRef::new(ObjectKind::ServiceCidr, &fact.name);
        let mut faults = Faults::new(object.clone());
        faults.malformed(&fact.malformed);
        for (at, net) in fact.cidrs.iter().enumerate() {
            let field = format!("spec.cidrs[{at}]");
            if !faults.check(field.clone(), host_bits_fault(*net)) {
                continue;
            }
            judged.claimed.set(*net, Some(()));
            match self.conflict(*net) {
                Some(conflict) => overlaps(&mut faults, field, &net.to_string(), conflict),
                None => {
                    judged.cidrs.set(*net, Some(fact.name.clone()));
                }
            }
        }
        judged.problems.push((object, faults.problems));
    }

    fn judge_pool(&self, fact: &PoolFact, judged: &mut Judged) {
        let object = ObjectRef::new(ObjectKind::LoadBalancerPool, &fact.name);
        let mut faults = Faults::new(object.clone());
        faults.malformed(&fact.malformed);
        for (selector, field) in [
            (&fact.service_selector, "spec.serviceSelector"),
            (&fact.namespace_selector, "spec.namespaceSelector"),
        ] {
            if let Some(fault) = selector.as_ref().and_then(|s| s.fault()) {
                faults.invalid(field, fault);
            }
        }
        for (at, range) in fact.addresses.iter().enumerate() {
            let field = format!("spec.addresses[{at}]");
            let nets = prefixes(range);
            let what = format!("{}-{}", range.first, range.last);
            if nets.is_empty() {
                faults.invalid(
                    field,
                    format!("{what} is no range: give the lower address first"),
                );
                continue;
            }
            for net in &nets {
                judged.claimed.set(*net, Some(()));
            }
            if let Some(conflict) = nets.iter().find_map(|net| self.conflict(*net)) {
                overlaps(&mut faults, field, &what, conflict);
                continue;
            }
            if let Some((net, name)) = nets.iter().find_map(|net| overlapping(&judged.cidrs, *net))
            {
                faults.add(
                    Reason::OverlappingRange,
                    field,
                    format!("{what} overlaps {net} of the ServiceCIDR {name}, from which cluster IPs are taken, and is not used: give another range"),
                );
                continue;
            }
            // The rest of the range is as good as any.
            if let Some((addr, host)) = nets.iter().find_map(|net| self.outside_host_in(*net)) {
                faults.add(
                    Reason::OverlappingRange,
                    field.clone(),
                    format!("{what} contains {addr}, the address of {host}, which no Service is given: take it out"),
                );
            }
            let other = nets.iter().find_map(|net| overlapping(&judged.pools, *net));
            if let Some((net, name)) = other {
                let what = match *name == fact.name {
                    true => {
                        format!("{what} overlaps {net} of this very pool: give each address once")
                    }
                    false => format!(
                        "{what} overlaps {net} of the LoadBalancerPool {name}, which is older: give each address to one pool"
                    ),
                };
                faults.add(Reason::OverlappingRange, field, what);
            }
            for net in nets {
                if judged.pools.get(net).is_none() {
                    judged.pools.set(net, Some(fact.name.clone()));
                }
            }
        }
        judged.problems.push((object, faults.problems));
    }
}

/// What has been judged so far: accepted prefixes with the object that they are of.
#[derive(Default)]
struct Judged {
    cidrs: PrefixMap<String>,
    pools: PrefixMap<String>,
    claimed: PrefixMap<()>,
    problems: Vec<(ObjectRef, Vec<Problem>)>,
}

fn overlapping(nets: &PrefixMap<String>, net: IpNet) -> Option<(IpNet, &String)> {
    nets.covering(net).chain(nets.within(net)).next()
}

fn overlaps(faults: &mut Faults, field: String, what: &str, conflict: Conflict) {
    let with = match conflict {
        Conflict::NodeAddress(addr) => format!("contains the Node address {addr}"),
        Conflict::PodSubnet(net) => format!("overlaps the pod subnet {net}"),
    };
    faults.add(
        Reason::OverlappingRange,
        field,
        format!("{what} {with} and is not used: give another range"),
    );
}

/// The fewest prefixes that a range consists of: at most two of each length. None if its ends do not fit together.
pub(super) fn prefixes(range: &AddressRange) -> Vec<IpNet> {
    let family = Afi::of(range.first);
    let bits = family.bits();
    let mut nets = Vec::new();
    if Afi::of(range.last) != family {
        return nets;
    }
    let (mut from, last) = (number(range.first), number(range.last));
    while from <= last {
        // As many host bits as the start has zeros, and as fit before the end.
        let zeros = from.trailing_zeros().min(u32::from(bits));
        let left = (last - from).checked_add(1);
        let fits = left.map_or(u32::from(bits), |left| left.ilog2());
        let host_bits = zeros.min(fits);
        let length = u32::from(bits).saturating_sub(host_bits);
        let length = u8::try_from(length).unwrap_or(bits);
        let Ok(net) = IpNet::new(address(family, from), length) else {
            break;
        };
        nets.push(net);
        let next = 1u128
            .checked_shl(host_bits)
            .and_then(|size| from.checked_add(size));
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    nets
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(u32::from(addr)),
        IpAddr::V6(addr) => u128::from(addr),
    }
}

fn address(family: Afi, number: u128) -> IpAddr {
    match family {
        // What is above 32 bits is never asked for: a range of the family ends below.
        Afi::Ipv4 => IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()),
        Afi::Ipv6 => IpAddr::V6(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: &str, last: &str) -> Vec<String> {
        let range = AddressRange {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
            is_cidr: false,
        };
        prefixes(&range).iter().map(IpNet::to_string).collect()
    }

    #[test]
    fn a_range_is_the_fewest_prefixes() {
        assert_eq!(range("192.0.2.7", "192.0.2.7"), ["192.0.2.7/32"]);
        assert_eq!(range("0.0.0.0", "255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(
            range("192.0.2.5", "192.0.2.16"),
            [
                "192.0.2.5/32",
                "192.0.2.6/31",
                "192.0.2.8/29",
                "192.0.2.16/32"
            ]
        );
        assert_eq!(
            range("255.255.255.254", "255.255.255.255"),
            ["255.255.255.254/31"]
        );
        assert_eq!(
            range("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ["::/0"]
        );
        assert_eq!(
            range("2001:db8::ffff", "2001:db8::1:0"),
            ["2001:db8::ffff/128", "2001:db8::1:0/128"]
        );
        assert!(range("192.0.2.2", "192.0.2.1").is_empty());
        assert!(range("192.0.2.2", "::").is_empty());
    }
}

//! What our nf_tables table holds: which pod traffic leaves with the node's address (pod sources to destinations outside
//! the cluster), and which forwarded traffic goes nowhere (to a service address that nobody translated, so that it never
//! loops between a router and a node), in both families.
//!
//! The rules are few and constant; only the sets they look into change. The model is data: disjoint address ranges per
//! set, so a change of one node or one range is a change of a few elements, whatever the cluster's size.

use std::net::IpAddr;

use dunlin_net::{Afi, IpNet, PerFamily};

#[cfg(test)]
mod tests;

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Sources: the pod subnets whose traffic is rewritten.
    pub pods: PerFamily<Ranges>,
    /// Destinations never rewritten: pod subnets, node addresses, `podEgress.exclude`. Service ranges need not be among
    /// them: what goes to them untranslated is dropped before.
    pub cluster: PerFamily<Ranges>,
    /// Destinations that nothing is forwarded to: service addresses, which only translation makes a destination of.
    pub services: PerFamily<Ranges>,
}

impl Rules {
    /// From prefixes of either family, in any order, overlapping or not.
    pub fn new(
        pods: impl IntoIterator<Item = IpNet>,
        cluster: impl IntoIterator<Item = IpNet>,
        services: impl IntoIterator<Item = IpNet>,
    ) -> Rules {
        Rules {
            pods: ranges(pods),
            cluster: ranges(cluster),
            services: ranges(services),
        }
    }

    /// Whether no packet would be treated otherwise than without the table.
    pub fn is_idle(&self) -> bool {
        let none = |ranges: &PerFamily<Ranges>| {
            Afi::ALL
                .iter()
                .all(|afi| ranges.get(*afi).as_slice().is_empty())
        };
        none(&self.pods) && none(&self.services)
    }

    /// The ranges of one set.
    pub fn ranges(&self, set: SetName) -> &Ranges {
        match set.role {
            Role::Pods => self.pods.get(set.afi),
            Role::Cluster => self.cluster.get(set.afi),
            Role::Services => self.services.get(set.afi),
        }
    }

    /// The ranges of one set.
    pub fn ranges_mut(&mut self, set: SetName) -> &mut Ranges {
        match set.role {
            Role::Pods => self.pods.get_mut(set.afi),
            Role::Cluster => self.cluster.get_mut(set.afi),
            Role::Services => self.services.get_mut(set.afi),
        }
    }

    /// What to remove from and add to each set to come from `self` to `wanted`. Sets without a change are left out.
    /// Removals precede additions: ranges that touch are merged, so the two may overlap.
    pub fn changes(&self, wanted: &Rules) -> Vec<SetChange> {
        SetName::all()
            .filter_map(|set| {
                let (remove, add) = self.ranges(set).difference(wanted.ranges(set));
                let change = SetChange { set, remove, add };
                (!change.remove.is_empty() || !change.add.is_empty()).then_some(change)
            })
            .collect()
    }
}

/// What a set means to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Sources that are rewritten.
    Pods,
    /// Destinations that exempt from it.
    Cluster,
    /// Destinations that nothing is forwarded to.
    Services,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Pods, Role::Cluster, Role::Services];
}

/// One of the sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetName {
    /// The family of its addresses.
    pub afi: Afi,
    /// What it means.
    pub role: Role,
}

impl SetName {
    /// All sets: those of IPv4 first.
    pub fn all() -> impl Iterator<Item = SetName> {
        let of = |afi| Role::ALL.into_iter().map(move |role| SetName { afi, role });
        Afi::ALL.into_iter().flat_map(of)
    }

    /// Its name in the kernel.
    pub fn name(self) -> &'static str {
        match (self.role, self.afi) {
            (Role::Pods, Afi::Ipv4) => "pods4",
            (Role::Pods, Afi::Ipv6) => "pods6",
            (Role::Cluster, Afi::Ipv4) => "cluster4",
            (Role::Cluster, Afi::Ipv6) => "cluster6",
            (Role::Services, Afi::Ipv4) => "services4",
            (Role::Services, Afi::Ipv6) => "services6",
        }
    }
}

/// A change of one set's elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetChange {
    /// The set.
    pub set: SetName,
    /// Goes first.
    pub remove: Vec<Range>,
    /// Goes second.
    pub add: Vec<Range>,
}

/// What applying [`Rules`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Set elements added.
    pub added: usize,
    /// Set elements removed.
    pub removed: usize,
    /// The table was absent or not as it should be, and was written anew.
    pub rebuilt: bool,
    /// Nobody asked: somebody else had changed the table.
    pub repaired: bool,
}

/// An inclusive range of addresses of one family. The bits of an IPv4 address are the low 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Range {
    /// The first address.
    pub first: u128,
    /// The last address.
    pub last: u128,
}

/// Disjoint ranges that do not touch, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range>);

impl Ranges {
    /// Merges ranges in any order.
    pub fn new(ranges: impl IntoIterator<Item = Range>) -> Ranges {
        let mut ranges: Vec<Range> = ranges.into_iter().collect();
        ranges.sort_unstable();
        let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.first <= last.last.saturating_add(1) => {
                    last.last = last.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        Ranges(merged)
    }

    /// The ranges, ascending.
    pub fn as_slice(&self) -> &[Range] {
        &self.0
    }

    /// Whether an address (as bits) lies in one of the ranges.
    pub fn contains(&self, addr: u128) -> bool {
        let after = self.0.partition_point(|range| range.first <= addr);
        after
            .checked_sub(1)
            .and_then(|at| self.0.get(at))
            .is_some_and(|range| addr <= range.last)
    }

    /// The addresses of `self` that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Ranges) -> Ranges {
        let mut left = Vec::new();
        for range in &self.0 {
            let mut first = Some(range.first);
            let from = other.0.partition_point(|taken| taken.last < range.first);
            let taken = other.0.get(from..).unwrap_or_default();
            for taken in taken.iter().take_while(|taken| taken.first <= range.last) {
                if let Some(first) = first
                    && first < taken.first
                {
                    let last = taken.first - 1;
                    left.push(Range { first, last });
                }
                first = taken.last.checked_add(1);
            }
            if let Some(first) = first.filter(|first| *first <= range.last) {
                let last = range.last;
                left.push(Range { first, last });
            }
        }
        Ranges(left)
    }

    /// Ranges only in `self`, and ranges only in `wanted`.
    fn difference(&self, wanted: &Ranges) -> (Vec<Range>, Vec<Range>) {
        let only = |a: &Ranges, b: &Ranges| -> Vec<Range> {
            a.0.iter()
                .filter(|range| b.0.binary_search(range).is_err())
                .copied()
                .collect()
        };
        (only(self, wanted), only(wanted, self))
    }
}

/// The bits of an address, as [`Range`] holds them.
pub fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

/// The addresses of prefixes of either family, in any order, overlapping or not.
pub fn ranges(nets: impl IntoIterator<Item = IpNet>) -> PerFamily<Ranges> {
    let mut ranges: PerFamily<Vec<Range>> = PerFamily::default();
    for net in nets {
        let range = Range {
            first: bits(net.network()),
            last: bits(net.broadcast()),
        };
        ranges.get_mut(Afi::of_net(net)).push(range);
    }
    PerFamily {
        v4: Ranges::new(ranges.v4),
        v6: Ranges::new(ranges.v6),
    }
}

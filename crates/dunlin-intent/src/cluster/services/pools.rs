//! How pools stand by what Services show, for whoever asks an agent that gives no addresses out itself.

use std::net::IpAddr;

use dunlin_net::{Afi, PerFamily};

use super::Cluster;
use crate::fact::{NamespacedName, PoolFact};
use crate::pools::{self, Taken};

/// A pool and how many of its addresses Services have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStanding<'a> {
    /// What the source says of it.
    pub fact: &'a PoolFact,
    /// How many addresses can be given of it; saturates.
    pub total: PerFamily<u128>,
    /// How many of them are in the status or among the external addresses of any Service.
    pub used: PerFamily<u64>,
    /// How many can still be given: no Service has them, and no Node, pod, BGP peer, API server or `ServiceCIDR`; saturates.
    pub free: PerFamily<u128>,
}

impl Cluster {
    /// The pools, by name. Costs a step for each Node, and for each address of a Service that is in one.
    pub fn pools(&self) -> impl Iterator<Item = PoolStanding<'_>> {
        let taken = self.taken();
        self.ranges.pools().map(move |fact| {
            let mut standing = PoolStanding {
                fact,
                total: PerFamily::default(),
                used: PerFamily::default(),
                free: PerFamily::default(),
            };
            for (first, last) in pools::spans(fact) {
                let afi = Afi::of(first);
                let total = standing.total.get_mut(afi);
                let len = pools::span_len(first, last);
                *total = total.saturating_add(len);
                let (mut used, mut untaken) = (0, 0);
                for addr in self.held(first, last) {
                    used += 1;
                    untaken += u128::from(!taken.has(addr));
                }
                *standing.used.get_mut(afi) += used;
                let gone = taken.within(first, last).saturating_add(untaken);
                let free = standing.free.get_mut(afi);
                *free = free.saturating_add(len.saturating_sub(gone));
            }
            standing
        })
    }

    /// What is given to no Service, as whoever gives addresses out has it.
    fn taken(&self) -> Taken {
        let mut taken = Taken::default();
        self.nodes.values().for_each(|node| taken.node(&node.fact));
        let cidrs = self.ranges.service_cidrs();
        cidrs.for_each(|cidr| taken.service_cidr(cidr));
        taken.addresses(self.places.addresses.keys().copied());
        taken.addresses(self.api_servers.iter().copied());
        taken
    }

    /// The addresses from `first` to `last` that any Service has, each once.
    fn held(&self, first: IpAddr, last: IpAddr) -> impl Iterator<Item = IpAddr> {
        let from = (first, NamespacedName::new("", ""));
        let by_address = self.services.by_address.starting_at(&from);
        let mut before = None;
        let within = by_address.map(|((addr, _), ())| *addr);
        let within = within.take_while(move |addr| *addr <= last);
        within.filter(move |addr| before.replace(*addr) != Some(*addr))
    }
}

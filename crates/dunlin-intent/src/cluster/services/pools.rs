//! How pools stand by what Services show, for whoever asks an agent that gives no addresses out itself.

use std::net::IpAddr;

use dunlin_net::{Afi, PerFamily};

use super::Cluster;
use crate::fact::{NamespacedName, PoolFact};
use crate::pools;

/// A pool and how many of its addresses Services have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStanding<'a> {
    /// What the source says of it.
    pub fact: &'a PoolFact,
    /// How many addresses can be given of it; saturates.
    pub total: PerFamily<u128>,
    /// How many of them are in the status or among the external addresses of any Service.
    pub used: PerFamily<u64>,
}

impl Cluster {
    /// The pools, by name. Costs a step for each address of a Service that is in one.
    pub fn pools(&self) -> impl Iterator<Item = PoolStanding<'_>> {
        self.ranges.pools().map(|fact| {
            let mut standing = PoolStanding {
                fact,
                total: PerFamily::default(),
                used: PerFamily::default(),
            };
            for (first, last) in pools::spans(fact) {
                let afi = Afi::of(first);
                let total = standing.total.get_mut(afi);
                *total = total.saturating_add(pools::span_len(first, last));
                *standing.used.get_mut(afi) += self.held(first, last);
            }
            standing
        })
    }

    /// How many addresses from `first` to `last` any Service has.
    fn held(&self, first: IpAddr, last: IpAddr) -> u64 {
        let from = (first, NamespacedName::new("", ""));
        let by_address = self.services.by_address.range(from..);
        let mut before = None;
        let within = by_address.take_while(|(addr, _)| *addr <= last);
        let each = within.filter(|(addr, _)| before.replace(*addr) != Some(*addr));
        u64::try_from(each.count()).unwrap_or(u64::MAX)
    }
}

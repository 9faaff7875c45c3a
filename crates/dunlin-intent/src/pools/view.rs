//! How the pools stand, for metrics, conditions and whoever asks.

use std::fmt;
use std::net::IpAddr;

use dunlin_net::{Afi, PerFamily};

use super::intervals::address;
use super::{Outcome, Pools, ReservedBy};
use crate::fact::NamespacedName;

/// How a pool stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolView {
    /// `metadata.name`.
    pub name: String,
    /// How many addresses can be given of it; saturates.
    pub total: PerFamily<u128>,
    /// How many of them are held, by whomever.
    pub used: PerFamily<usize>,
    /// Nothing can be given of it any more, though it has addresses of the family.
    pub exhausted: PerFamily<bool>,
    /// What is wrong with it.
    pub defects: Vec<PoolDefect>,
}

/// What is wrong with a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolDefect {
    /// These fields are not understood.
    Malformed(Vec<String>),
    /// A selector is not understood, so it is for no Service.
    Refused,
    /// It has no addresses.
    Empty,
    /// Another pool, which comes first, has addresses of it: they are given only once all the same.
    Overlaps(String),
    /// Addresses of it, the first of them this, are in use by somebody else and not given.
    Reserved(IpAddr, ReservedBy),
}

impl PoolDefect {
    /// The reason as a condition spells it.
    pub fn reason(&self) -> &'static str {
        match self {
            PoolDefect::Malformed(_) => "Invalid",
            PoolDefect::Refused => "Refused",
            PoolDefect::Empty => "Empty",
            PoolDefect::Overlaps(_) => "Overlaps",
            PoolDefect::Reserved(..) => "Reserved",
        }
    }
}

impl fmt::Display for PoolDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolDefect::Malformed(fields) => {
                write!(f, "{} cannot be understood: correct it", fields.join(", "))
            }
            PoolDefect::Refused => {
                f.write_str("a selector cannot be understood, so no Service gets an address of it")
            }
            PoolDefect::Empty => f.write_str("has no addresses: add some to spec.addresses"),
            PoolDefect::Overlaps(other) => write!(
                f,
                "has addresses that the LoadBalancerPool {other} has too: take them out of one; each is given only once"
            ),
            PoolDefect::Reserved(addr, by) => write!(
                f,
                "has {addr}, which {by} uses and no Service is given: take out what is not for Services"
            ),
        }
    }
}

impl Pools {
    /// How the pools stand, by name. Costs a step for each address that is held.
    pub fn pools(&self) -> Vec<PoolView> {
        self.pools.keys().map(|name| self.view(name)).collect()
    }

    fn view(&self, name: &str) -> PoolView {
        let mut view = PoolView {
            name: name.to_owned(),
            ..PoolView::default()
        };
        let Some(pool) = self.pools.get(name) else {
            return view;
        };
        if !pool.malformed.is_empty() {
            view.defects
                .push(PoolDefect::Malformed(pool.malformed.clone()));
        }
        if pool.refused {
            view.defects.push(PoolDefect::Refused);
        }
        for afi in Afi::ALL {
            let all = pool.all.get(afi);
            *view.total.get_mut(afi) = all.len();
            let count = |(first, last)| self.book.count(address(afi, first), address(afi, last));
            *view.used.get_mut(afi) = all.iter().map(count).sum();
            let has_any = all.iter().next().is_some();
            *view.exhausted.get_mut(afi) = has_any && self.next_free(pool, afi).is_none();
            let mut ranges = all.iter();
            let reserved =
                ranges.find_map(|(first, last)| self.reserved.first_in(afi, first, last));
            if let Some((addr, by)) = reserved {
                view.defects.push(PoolDefect::Reserved(addr, by.clone()));
            }
        }
        if Afi::ALL.iter().all(|afi| pool.ranges.get(*afi).is_empty()) {
            view.defects.push(PoolDefect::Empty);
        }
        let overlaps = |afi: &Afi, other: &super::Pool| {
            let mut ranges = pool.all.get(*afi).iter();
            ranges.any(|(first, last)| other.all.get(*afi).touches(first, last))
        };
        let before = self.pools.iter().take_while(|(other, _)| &***other < name);
        for (other, there) in before {
            if Afi::ALL.iter().any(|afi| overlaps(afi, there)) {
                view.defects.push(PoolDefect::Overlaps(other.to_string()));
            }
        }
        view
    }

    /// All Services that are ours, with what stands for them.
    pub fn outcomes(&self) -> impl Iterator<Item = (&NamespacedName, &Outcome)> {
        let ours = self.services.iter().filter(|(_, s)| s.wish.ours);
        ours.map(|(name, service)| (name, &service.outcome))
    }

    /// The addresses that the status of a Service of type LoadBalancer shows, as far as is known.
    pub fn shown(&self, name: &NamespacedName) -> &[IpAddr] {
        let service = self.services.get(name);
        service.map_or(&[], |service| &service.observed)
    }

    /// Who holds which address, by status or by decision, of whichever class.
    pub fn holders(&self) -> impl Iterator<Item = (IpAddr, Vec<NamespacedName>)> {
        let holders = self.book.holders();
        holders.map(|(ip, names)| (ip, names.into_iter().cloned().collect()))
    }
}

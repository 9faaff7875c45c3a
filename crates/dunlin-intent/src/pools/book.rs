//! Who holds which address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_net::{Afi, PerFamily};

use super::intervals::{Intervals, number};
use crate::fact::{NamespacedName, Protocol};

/// What lets Services have one address together: the same key, no port in common, and `externalTrafficPolicy: Cluster`
/// on all of them. Under `Local` an address is announced by the nodes with an endpoint, which are others for each Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sharing {
    pub(super) key: Arc<str>,
    /// In order, without repeats.
    pub(super) ports: Vec<(Protocol, u16)>,
    pub(super) cluster_policy: bool,
}

impl Sharing {
    fn agrees_with(&self, other: &Sharing) -> bool {
        let common = |port| other.ports.binary_search(port).is_ok();
        self.key == other.key
            && self.cluster_policy
            && other.cluster_policy
            && !self.ports.iter().any(common)
    }
}

/// How a Service holds an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// It is ours and shall have it; otherwise its status shows it and that is all.
    pub(super) given: bool,
    pub(super) sharing: Option<Arc<Sharing>>,
}

/// What a change of a hold may mean for those who wait.
#[derive(Debug, Default)]
pub(super) struct Effect {
    /// Anything changed at all.
    pub(super) changed: bool,
    /// Nobody holds the address any more.
    pub(super) freed: bool,
    /// The key it was held with, and the one it is held with.
    pub(super) keys: [Option<Arc<str>>; 2],
}

/// All addresses that any Service holds.
#[derive(Debug, Default)]
pub(super) struct Book {
    holds: BTreeMap<IpAddr, BTreeMap<NamespacedName, Hold>>,
    occupied: PerFamily<Intervals>,
    /// The addresses held with a key.
    shared: BTreeMap<Arc<str>, BTreeMap<IpAddr, usize>>,
}

impl Book {
    /// Sets how a Service holds an address, or that it does not.
    pub(super) fn set(
        &mut self,
        addr: IpAddr,
        name: &NamespacedName,
        hold: Option<Hold>,
    ) -> Effect {
        let holders = self.holds.entry(addr).or_default();
        let key = |hold: &Option<Hold>| -> Option<Arc<str>> {
            Some(hold.as_ref()?.sharing.as_ref()?.key.clone())
        };
        let (was_empty, new_key) = (holders.is_empty(), key(&hold));
        let (before, changed) = match hold {
            Some(hold) => {
                let before = holders.insert(name.clone(), hold.clone());
                let changed = before.as_ref() != Some(&hold);
                (before, changed)
            }
            None => {
                let before = holders.remove(name);
                let changed = before.is_some();
                (before, changed)
            }
        };
        let is_empty = holders.is_empty();
        let occupied = self.occupied.get_mut(Afi::of(addr));
        if is_empty {
            self.holds.remove(&addr);
            occupied.remove(number(addr));
        } else if was_empty {
            occupied.insert(number(addr), number(addr));
        }
        let old_key = key(&before);
        if old_key != new_key {
            self.count_key(old_key.as_ref(), addr, false);
            self.count_key(new_key.as_ref(), addr, true);
        }
        Effect {
            changed,
            freed: is_empty && !was_empty,
            keys: [old_key, new_key],
        }
    }

    fn count_key(&mut self, key: Option<&Arc<str>>, addr: IpAddr, more: bool) {
        let Some(key) = key else {
            return;
        };
        let addresses = self.shared.entry(key.clone()).or_default();
        let count = addresses.entry(addr).or_default();
        *count = match more {
            true => *count + 1,
            false => count.saturating_sub(1),
        };
        if *count == 0 {
            addresses.remove(&addr);
        }
        if addresses.is_empty() {
            self.shared.remove(key);
        }
    }

    /// Who keeps an address from being given to a Service.
    pub(super) fn taken_by(
        &self,
        addr: IpAddr,
        name: &NamespacedName,
        sharing: Option<&Sharing>,
    ) -> Option<&NamespacedName> {
        self.in_the_way(addr, name, sharing, false)
    }

    /// Who keeps a Service from keeping an address: only another to whom it was given too.
    pub(super) fn kept_from_by(
        &self,
        addr: IpAddr,
        name: &NamespacedName,
        sharing: Option<&Sharing>,
    ) -> Option<&NamespacedName> {
        self.in_the_way(addr, name, sharing, true)
    }

    fn in_the_way(
        &self,
        addr: IpAddr,
        name: &NamespacedName,
        sharing: Option<&Sharing>,
        given_only: bool,
    ) -> Option<&NamespacedName> {
        let holders = self.holds.get(&addr)?;
        let in_the_way = |(other, hold): &(&NamespacedName, &Hold)| {
            let agree = match (sharing, &hold.sharing) {
                (Some(ours), Some(theirs)) => ours.agrees_with(theirs),
                _ => false,
            };
            *other != name && (hold.given || !given_only) && !agree
        };
        holders.iter().find(in_the_way).map(|(other, _)| other)
    }

    /// The addresses that are held with a key, lowest first.
    pub(super) fn with_key(&self, key: &str) -> impl Iterator<Item = IpAddr> {
        let addresses = self.shared.get(key).into_iter().flatten();
        addresses.map(|(addr, _)| *addr)
    }

    /// The addresses that anybody holds.
    pub(super) fn occupied(&self, afi: Afi) -> &Intervals {
        self.occupied.get(afi)
    }

    /// How many addresses from `first` to `last` are held.
    pub(super) fn count(&self, first: IpAddr, last: IpAddr) -> usize {
        self.holds.range(first..=last).count()
    }

    /// The holders of all addresses.
    pub(super) fn holders(&self) -> impl Iterator<Item = (IpAddr, BTreeSet<&NamespacedName>)> {
        let holds = self.holds.iter();
        holds.map(|(addr, holders)| (*addr, holders.keys().collect()))
    }
}

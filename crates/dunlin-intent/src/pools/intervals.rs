//! Sets of addresses as disjoint intervals, so that a whole IPv6 subnet costs as much as one address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dunlin_net::Afi;

/// An address as a number.
pub(super) fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u32::from(addr).into(),
        IpAddr::V6(addr) => addr.into(),
    }
}

/// A number as an address; what is beyond the family's space is cut off, which no caller has.
pub(super) fn address(afi: Afi, number: u128) -> IpAddr {
    match afi {
        Afi::Ipv4 => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Afi::Ipv6 => Ipv6Addr::from(number).into(),
    }
}

/// Disjoint intervals that do not touch: from the first to the last number, both within.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intervals(BTreeMap<u128, u128>);

impl Intervals {
    /// Puts in all from `first` to `last`.
    pub(super) fn insert(&mut self, first: u128, last: u128) {
        let (mut first, mut last) = (first, last.max(first));
        if let Some((&from, &to)) = self.0.range(..first).next_back()
            && to >= first - 1
        {
            first = from;
            last = last.max(to);
        }
        while let Some((&from, &to)) = self.0.range(first..=last.saturating_add(1)).next() {
            self.0.remove(&from);
            last = last.max(to);
        }
        self.0.insert(first, last);
    }

    /// Takes one number out.
    pub(super) fn remove(&mut self, number: u128) {
        let Some((first, last)) = self.covering(number) else {
            return;
        };
        self.0.remove(&first);
        if first < number {
            self.0.insert(first, number - 1);
        }
        if number < last {
            self.0.insert(number + 1, last);
        }
    }

    /// The interval that a number is in.
    pub(super) fn covering(&self, number: u128) -> Option<(u128, u128)> {
        let (&first, &last) = self.0.range(..=number).next_back()?;
        (number <= last).then_some((first, last))
    }

    /// Whether any number from `first` to `last` is in.
    pub(super) fn touches(&self, first: u128, last: u128) -> bool {
        let before = self.0.range(..=last).next_back();
        before.is_some_and(|(_, &to)| to >= first)
    }

    /// How many numbers from `first` to `last` are in; saturates.
    pub(super) fn len_within(&self, first: u128, last: u128) -> u128 {
        let from = self.covering(first).map_or(first, |(from, _)| from);
        let touching = self.0.range(from..=last);
        touching.fold(0, |sum: u128, (&from, &to)| {
            let len = to.min(last) - from.max(first);
            sum.saturating_add(len.saturating_add(1))
        })
    }

    /// The intervals, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, u128)> {
        self.0.iter().map(|(&first, &last)| (first, last))
    }

    /// How many numbers are in; saturates.
    pub(super) fn len(&self) -> u128 {
        self.iter().fold(0, |sum: u128, (first, last)| {
            sum.saturating_add((last - first).saturating_add(1))
        })
    }
}

/// The lowest number from `first` to `last` that none of the sets holds. Costs a step for each interval that lies in the way.
pub(super) fn first_absent(sets: [&Intervals; 2], first: u128, last: u128) -> Option<u128> {
    let mut at = first;
    while at <= last {
        match sets.iter().find_map(|set| set.covering(at)) {
            None => return Some(at),
            Some((_, to)) => at = to.checked_add(1)?,
        }
    }
    None
}

#[cfg(test)]
mod tests;

//! One pool: which addresses it has, and for whom.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_net::{Afi, PerFamily};

use super::intervals::{Intervals, address, number};
use crate::fact::{AddressRange, PoolFact};
use crate::selector::{Labels, Selector};

/// A `LoadBalancerPool` as it is used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pool {
    /// What can be given of it, in the order of `spec.addresses`.
    pub(super) ranges: PerFamily<Vec<(u128, u128)>>,
    /// The same as a set.
    pub(super) all: PerFamily<Intervals>,
    pub(super) auto_assign: bool,
    /// A selector is not understood: for whom it is cannot be told, so it is for nobody.
    pub(super) refused: bool,
    /// The fields that are not understood.
    pub(super) malformed: Vec<String>,
    service_selector: Option<Selector>,
    namespace_selector: Option<Selector>,
}

impl Pool {
    pub(super) fn new(fact: PoolFact) -> Pool {
        let mut ranges: PerFamily<Vec<(u128, u128)>> = PerFamily::default();
        let mut all: PerFamily<Intervals> = PerFamily::default();
        for range in &fact.addresses {
            if let Some((afi, first, last)) = usable(range, fact.avoid_first_last) {
                ranges.get_mut(afi).push((first, last));
                all.get_mut(afi).insert(first, last);
            }
        }
        let selectors = [&fact.service_selector, &fact.namespace_selector];
        let faulty = selectors.into_iter().flatten().any(|s| s.fault().is_some());
        let unread =
            |field: &String| field.starts_with("spec.") && !field.starts_with("spec.addresses");
        let malformed: Vec<String> = fact.malformed.into_iter().map(|m| m.field).collect();
        Pool {
            ranges,
            all,
            auto_assign: fact.auto_assign,
            refused: faulty || malformed.iter().any(unread),
            malformed,
            service_selector: fact.service_selector,
            namespace_selector: fact.namespace_selector,
        }
    }

    /// Whether it has this address.
    pub(super) fn contains(&self, addr: IpAddr) -> bool {
        let all = self.all.get(Afi::of(addr));
        all.covering(number(addr)).is_some()
    }

    /// Whether a Service with these labels, in a Namespace with those, may have an address of it. What is not known of the
    /// Namespace does not satisfy a selector.
    pub(super) fn selects(&self, service: &Labels, namespace: Option<&Labels>) -> bool {
        !self.refused
            && self
                .service_selector
                .as_ref()
                .is_none_or(|selector| selector.matches(service))
            && match (&self.namespace_selector, namespace) {
                (None, _) => true,
                (Some(selector), Some(labels)) => selector.matches(labels),
                (Some(_), None) => false,
            }
    }

    /// Pools with more selectors come first, then by name.
    pub(super) fn preference(&self, name: &Arc<str>) -> (Reverse<usize>, Arc<str>) {
        let selectors = [&self.service_selector, &self.namespace_selector];
        let given = selectors.into_iter().flatten();
        let narrowing = given.filter(|selector| **selector != Selector::default());
        (Reverse(narrowing.count()), name.clone())
    }
}

/// What can be given of a pool, as spans that share no address.
pub(crate) fn spans(fact: &PoolFact) -> Vec<(IpAddr, IpAddr)> {
    let all = Pool::new(fact.clone()).all;
    let each = Afi::ALL.into_iter().flat_map(|afi| {
        let spans = all.get(afi).iter();
        spans.map(move |(first, last)| (address(afi, first), address(afi, last)))
    });
    each.collect()
}

/// How many addresses a span has; saturates.
pub(crate) fn span_len(first: IpAddr, last: IpAddr) -> u128 {
    number(last).saturating_sub(number(first)).saturating_add(1)
}

/// What can be given of a range. A CIDR of one or two addresses has no ends to leave out (RFC 3021).
fn usable(range: &AddressRange, avoid_first_last: bool) -> Option<(Afi, u128, u128)> {
    let afi = Afi::of(range.first);
    let (first, last) = (number(range.first), number(range.last));
    if Afi::of(range.last) != afi || first > last {
        return None;
    }
    match avoid_first_last && range.is_cidr && afi == Afi::Ipv4 && last - first >= 2 {
        true => Some((afi, first + 1, last - 1)),
        false => Some((afi, first, last)),
    }
}

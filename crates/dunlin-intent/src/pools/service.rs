//! A Service of type LoadBalancer, or with external addresses of its own, as far as allocation goes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_net::Afi;

use super::LOAD_BALANCER_CLASS;
use super::book::Sharing;
use super::outcome::Outcome;
use crate::fact::{
    IpFamilyPolicy, NamespacedName, ServiceFact, ServiceType, Timestamp, TrafficPolicy,
};
use crate::selector::Labels;

/// A Service's place in the order of age: creation, then name; those without a creation time last.
pub(super) type Rank = (bool, Option<Timestamp>, NamespacedName);

/// What is asked for a Service.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) rank: Rank,
    pub(super) uid: Option<String>,
    pub(super) labels: Labels,
    /// It is of our class, or of none and we are the default.
    pub(super) ours: bool,
    pub(super) deleting: bool,
    /// In order, without repeats; never empty.
    pub(super) families: Vec<Afi>,
    pub(super) require_both: bool,
    pub(super) requested: Vec<IpAddr>,
    pub(super) request_invalid: bool,
    pub(super) requested_pool: Option<String>,
    pub(super) sharing: Option<Arc<Sharing>>,
    /// Another controller wrote its status.
    pub(super) elsewhere: bool,
    /// `spec.externalIPs`, which nobody else is given.
    pub(super) external: Vec<IpAddr>,
}

impl Wish {
    /// What is asked for, and the addresses that the status shows; none if the Service is not of type LoadBalancer and has
    /// no external addresses.
    pub(super) fn new(mut fact: ServiceFact, default_class: bool) -> Option<(Wish, Vec<IpAddr>)> {
        let balanced = fact.service_type == ServiceType::LoadBalancer;
        // An alias has none, whatever it says.
        if fact.service_type == ServiceType::ExternalName {
            fact.external_ips.clear();
        }
        if !balanced && fact.external_ips.is_empty() {
            return None;
        }
        if !balanced {
            // What it may still show it had when it was of that type.
            fact.ingress.clear();
        }
        let ours = balanced
            && match fact.load_balancer_class.as_deref() {
                Some(class) => class == LOAD_BALANCER_CLASS,
                None => default_class,
            };
        let by_others = |i: &crate::fact::IngressFact| i.ip.is_none() || !i.vip;
        let elsewhere = fact.load_balancer_class.is_none() && fact.ingress.iter().any(by_others);
        let observed = without_repeats(fact.ingress.iter().filter_map(|i| i.ip));
        let mut families = without_repeats(fact.ip_families.iter().copied());
        if families.is_empty() {
            families = without_repeats(fact.cluster_ips.iter().map(|ip| Afi::of(*ip)));
        }
        if families.is_empty() {
            families.push(Afi::Ipv4);
        }
        if fact.ip_family_policy == IpFamilyPolicy::SingleStack {
            families.truncate(1);
        }
        let ports: BTreeSet<_> = fact.ports.iter().map(|p| (p.protocol, p.port)).collect();
        let sharing = fact.sharing_key.as_deref().map(|key| Sharing {
            key: key.into(),
            ports: ports.into_iter().collect(),
            cluster_policy: fact.external_traffic_policy == TrafficPolicy::Cluster,
        });
        let of_request =
            |field: &str| field.contains("load-balancer-ips") || field.contains("loadBalancerIP");
        let wish = Wish {
            rank: (fact.created.is_none(), fact.created, fact.name),
            uid: fact.uid,
            labels: fact.labels,
            ours,
            deleting: fact.deleting,
            families,
            require_both: fact.ip_family_policy == IpFamilyPolicy::RequireDualStack,
            requested: without_repeats(fact.requested_ips.iter().copied()),
            request_invalid: fact.malformed.iter().any(|m| of_request(&m.field)),
            requested_pool: fact.requested_pool,
            sharing: sharing.map(Arc::new),
            elsewhere,
            external: without_repeats(fact.external_ips.iter().copied()),
        };
        Some((wish, observed))
    }

    pub(super) fn name(&self) -> &NamespacedName {
        &self.rank.2
    }
}

fn without_repeats<T: Copy + PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

/// A Service with what became of it.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) wish: Wish,
    /// What its status shows, as far as is known.
    pub(super) observed: Vec<IpAddr>,
    /// What its status showed when it was first seen has been taken over.
    pub(super) adopted: bool,
    /// What writes were begun to give it, of which it is not certain that they failed: it may have it.
    pub(super) attempted: BTreeSet<IpAddr>,
    /// Of one of these writes nobody knows what came.
    pub(super) doubtful: bool,
    /// What the book has of it.
    pub(super) held: BTreeSet<IpAddr>,
    /// How the book has it shared: as of the last decision, so that a change of it is at its own cost.
    pub(super) sharing: Option<Arc<Sharing>>,
    pub(super) outcome: Outcome,
    /// An outcome has been told.
    pub(super) told: bool,
    /// What it waits for.
    pub(super) waits: Vec<Wait>,
}

impl Service {
    pub(super) fn new(wish: Wish, observed: Vec<IpAddr>) -> Service {
        Service {
            wish,
            observed,
            adopted: false,
            attempted: BTreeSet::new(),
            doubtful: false,
            held: BTreeSet::new(),
            sharing: None,
            outcome: Outcome::default(),
            told: false,
            waits: Vec::new(),
        }
    }

    /// Whether its status shows other addresses than it shall have; their order does not count. What another controller
    /// writes is none of our business.
    pub(super) fn differs(&self) -> bool {
        let wanted = &self.outcome.addresses;
        if self.wish.elsewhere {
            return false;
        }
        self.observed.len() != wanted.len() || self.observed.iter().any(|ip| !wanted.contains(ip))
    }
}

/// What could help a Service that lacks something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// This address is held in another way, or no longer.
    Address(IpAddr),
    /// Somebody else than a Service begins or ends to use an address.
    Unreserved,
    /// An address of this pool and family comes free.
    Room(Arc<str>, Afi),
    /// Somebody with this key has an address, or other ports.
    Key(Arc<str>),
}

//! What became of a Service, and why.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_net::Afi;

use super::ReservedBy;
use crate::fact::NamespacedName;

/// What a Service has, and why it has no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The addresses it shall have, in the order of its families.
    pub addresses: Vec<IpAddr>,
    /// Why it has not all it should have.
    pub shortfall: Option<Shortfall>,
    /// What is odd about the addresses it has.
    pub remarks: Vec<Remark>,
}

impl Outcome {
    /// The reason as a condition spells it.
    pub fn reason(&self) -> &'static str {
        match (&self.shortfall, self.remarks.first()) {
            (Some(shortfall), _) => shortfall.reason(),
            (None, Some(remark)) => remark.reason(),
            (None, None) => "Allocated",
        }
    }

    /// Whether it has all it should have.
    pub fn complete(&self) -> bool {
        self.shortfall.is_none()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addresses.as_slice() {
            [] => f.write_str("has no address")?,
            [first, rest @ ..] => {
                write!(f, "has {first}")?;
                rest.iter().try_for_each(|addr| write!(f, ", {addr}"))?;
            }
        }
        if let Some(shortfall) = &self.shortfall {
            write!(f, "; {shortfall}")?;
        }
        self.remarks
            .iter()
            .try_for_each(|remark| write!(f, "; {remark}"))
    }
}

/// Why a Service has not all the addresses it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shortfall {
    /// No pool that gives addresses by itself selects it.
    NoPool,
    /// The pool it asks for does not exist.
    PoolMissing(String),
    /// The pool it asks for has a selector that is not understood.
    PoolRefused(String),
    /// The pool it asks for does not select it.
    PoolNotForService(String),
    /// No pool for it has addresses of this family.
    NoFamily(Afi),
    /// All addresses of this family are held, in all pools for it.
    Exhausted(Afi, Vec<Arc<str>>),
    /// The addresses it asks for do not parse.
    RequestInvalid,
    /// It asks for more addresses than [`super::MAX_REQUESTED`].
    RequestTooLong,
    /// The address it asks for is of a family that it has not.
    RequestedFamily(IpAddr),
    /// The address it asks for is in no pool, or not in the pool it asks for.
    RequestedOutsidePools(IpAddr),
    /// The pool with the address it asks for does not select it.
    RequestedNotForService(IpAddr, Arc<str>),
    /// The address it asks for is held by another Service with which it cannot share.
    RequestedTaken(IpAddr, NamespacedName),
    /// The address it asks for is in use by somebody else than a Service.
    RequestedReserved(IpAddr, ReservedBy),
    /// It requires both families and `ipFamilies` names one.
    OneFamilyOnly,
    /// Another controller wrote its status: a host name, or addresses of its proxy.
    AnotherController,
}

impl Shortfall {
    /// The reason as a condition spells it.
    pub fn reason(&self) -> &'static str {
        match self {
            Shortfall::NoPool => "NoPool",
            Shortfall::PoolMissing(_) => "PoolMissing",
            Shortfall::PoolRefused(_) => "PoolRefused",
            Shortfall::PoolNotForService(_) => "PoolNotForService",
            Shortfall::NoFamily(_) => "NoFamily",
            Shortfall::Exhausted(..) => "Exhausted",
            Shortfall::RequestInvalid => "RequestInvalid",
            Shortfall::RequestTooLong => "RequestTooLong",
            Shortfall::RequestedFamily(_) => "RequestedFamily",
            Shortfall::RequestedOutsidePools(_) => "RequestedOutsidePools",
            Shortfall::RequestedNotForService(..) => "RequestedNotForService",
            Shortfall::RequestedTaken(..) => "RequestedTaken",
            Shortfall::RequestedReserved(..) => "RequestedReserved",
            Shortfall::OneFamilyOnly => "OneFamilyOnly",
            Shortfall::AnotherController => "AnotherController",
        }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shortfall::NoPool => f.write_str(
                "no LoadBalancerPool that gives addresses by itself selects it: create one, or name one with the annotation dunlin.dev/load-balancer-pool",
            ),
            Shortfall::PoolMissing(pool) => {
                write!(f, "there is no LoadBalancerPool {pool}: create it, or name another")
            }
            Shortfall::PoolRefused(pool) => write!(
                f,
                "a selector of the LoadBalancerPool {pool} is not understood: correct it"
            ),
            Shortfall::PoolNotForService(pool) => write!(
                f,
                "the LoadBalancerPool {pool} does not select it: change its selectors, or name another"
            ),
            Shortfall::NoFamily(afi) => write!(
                f,
                "no LoadBalancerPool for it has {afi} addresses: add some, or leave the family out of ipFamilies"
            ),
            Shortfall::Exhausted(afi, pools) => write!(
                f,
                "all {afi} addresses are in use in {}: add some",
                pools.join(", ")
            ),
            Shortfall::RequestInvalid => f.write_str(
                "the addresses it asks for do not parse: correct the annotation dunlin.dev/load-balancer-ips or spec.loadBalancerIP",
            ),
            Shortfall::RequestTooLong => write!(
                f,
                "it asks for more than {} addresses: ask for fewer",
                super::MAX_REQUESTED
            ),
            Shortfall::RequestedFamily(addr) => write!(
                f,
                "it asks for {addr}, whose family is not in its ipFamilies: add the family, or ask for another address"
            ),
            Shortfall::RequestedOutsidePools(addr) => write!(
                f,
                "it asks for {addr}, which is in no LoadBalancerPool that it may use: add it to one, or ask for another"
            ),
            Shortfall::RequestedNotForService(addr, pool) => write!(
                f,
                "it asks for {addr}, but the LoadBalancerPool {pool} does not select it: change its selectors, or ask for another"
            ),
            Shortfall::RequestedTaken(addr, other) => write!(
                f,
                "it asks for {addr}, which the Service {other} has: ask for another, or let them share it by the annotation dunlin.dev/sharing-key, distinct ports and externalTrafficPolicy Cluster on both"
            ),
            Shortfall::RequestedReserved(addr, by) => {
                write!(f, "it asks for {addr}, which {by} uses: ask for another")
            }
            Shortfall::OneFamilyOnly => f.write_str(
                "ipFamilyPolicy requires both families and ipFamilies names one: the cluster must have both",
            ),
            Shortfall::AnotherController => f.write_str(
                "another load-balancer controller wrote its status: set loadBalancerClass to say whose it is",
            ),
        }
    }
}

/// What is odd about an address that a Service has and keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remark {
    /// No pool has the address any more.
    KeptOutsidePools(IpAddr),
    /// The pool with the address does not select the Service any more.
    KeptNotSelected(IpAddr, Arc<str>),
    /// The status of another Service, which is not ours, shows the address too.
    AlsoHeldBy(IpAddr, NamespacedName),
}

impl Remark {
    /// The reason as a condition spells it.
    pub fn reason(&self) -> &'static str {
        match self {
            Remark::KeptOutsidePools(_) => "KeptOutsidePools",
            Remark::KeptNotSelected(..) => "KeptNotSelected",
            Remark::AlsoHeldBy(..) => "AlsoHeldBy",
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::KeptOutsidePools(addr) => write!(
                f,
                "{addr} is in no LoadBalancerPool any more and is kept: make the Service anew for another"
            ),
            Remark::KeptNotSelected(addr, pool) => write!(
                f,
                "{addr} is kept although the LoadBalancerPool {pool} does not select the Service any more"
            ),
            Remark::AlsoHeldBy(addr, other) => write!(
                f,
                "the Service {other} of another controller has {addr} too: take it out of one of them"
            ),
        }
    }
}

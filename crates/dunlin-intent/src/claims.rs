//! Which Node owns which pod subnet, where several claim overlapping ones: the oldest.
//!
//! A claim is owned if no older claim of another Node that overlaps it is owned. A change is followed only through
//! the claims that overlap, oldest first, so each is settled once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_net::IpNet;

use crate::fact::Timestamp;
use crate::few::Few;
use crate::origin::PrefixMap;

/// A Node's place in the order of age: creation, then name; those without a creation time last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age {
    unknown: bool,
    created: Option<Timestamp>,
    pub(crate) name: Arc<str>,
}

impl Age {
    pub(crate) fn new(created: Option<Timestamp>, name: Arc<str>) -> Age {
        Age {
            unknown: created.is_none(),
            created,
            name,
        }
    }
}

/// How a claim stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Owned,
    /// This older Node's subnet overlaps.
    Overlaps(Arc<str>, IpNet),
    /// The subnet contains this Node address.
    Covers(IpAddr),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    /// The owned older claims of other Nodes that overlap.
    blockers: u32,
    /// The Node address that it contains, which rules it out.
    covers: Option<IpAddr>,
    /// As last told to the claims that overlap.
    owned: bool,
}

/// Claims whose standing, or the reason for it, may have changed.
pub(crate) type Touched = BTreeSet<(IpNet, Arc<str>)>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    nets: PrefixMap<Few<Age, Claim>>,
}

impl Claims {
    /// Adds a Node's claim. A Node claims a subnet once.
    pub(crate) fn add(
        &mut self,
        net: IpNet,
        age: &Age,
        covers: Option<IpAddr>,
        touched: &mut Touched,
    ) {
        let blockers = self
            .overlapping(net, age)
            .into_iter()
            .filter(|(other_net, other)| other < age && self.is_owned(*other_net, other))
            .count();
        let claim = Claim {
            blockers: u32::try_from(blockers).unwrap_or(u32::MAX),
            covers,
            owned: false,
        };
        touched.insert((net, age.name.clone()));
        match self.nets.get_mut(net) {
            Some(claims) => {
                claims.insert(age.clone(), claim);
            }
            None => {
                let mut claims = Few::default();
                claims.insert(age.clone(), claim);
                self.nets.set(net, Some(claims));
            }
        }
        self.settle(net, age, touched);
    }

    /// Takes a Node's claim back.
    pub(crate) fn remove(&mut self, net: IpNet, age: &Age, touched: &mut Touched) {
        let Some(claim) = self.claim_mut(net, age) else {
            return;
        };
        // What is ruled out is owned by nobody, so those it blocked are settled as if it were gone.
        claim.covers = Some(net.addr());
        self.settle(net, age, touched);
        if let Some(claims) = self.nets.get_mut(net) {
            claims.remove(age);
            if claims.is_empty() {
                self.nets.set(net, None);
            }
        }
        touched.insert((net, age.name.clone()));
    }

    /// Judges again the claims that contain an address, after Node addresses changed there.
    pub(crate) fn recheck_covers(
        &mut self,
        addr: IpAddr,
        address_in: impl Fn(IpNet) -> Option<IpAddr>,
        touched: &mut Touched,
    ) {
        let nets: Vec<IpNet> = self
            .nets
            .covering(IpNet::from(addr))
            .map(|(net, _)| net)
            .collect();
        for net in nets {
            let covers = address_in(net);
            let mut changed = Vec::new();
            if let Some(claims) = self.nets.get_mut(net) {
                for (age, claim) in claims.iter_mut() {
                    if claim.covers != covers {
                        claim.covers = covers;
                        changed.push(age.clone());
                    }
                }
            }
            for age in changed {
                touched.insert((net, age.name.clone()));
                self.settle(net, &age, touched);
            }
        }
    }

    /// The Node that owns exactly this subnet.
    pub(crate) fn owner(&self, net: IpNet) -> Option<&Age> {
        let claims = self.nets.get(net)?;
        claims
            .iter()
            .find(|(_, claim)| claim.owned)
            .map(|(age, _)| age)
    }

    /// How a Node's claim stands; `None` if it has none on this subnet.
    pub(crate) fn standing(&self, net: IpNet, age: &Age) -> Option<Standing> {
        let claim = self.nets.get(net)?.get(age)?;
        if let Some(addr) = claim.covers {
            return Some(Standing::Covers(addr));
        }
        let blocker = self
            .overlapping(net, age)
            .into_iter()
            .filter(|(other_net, other)| other < age && self.is_owned(*other_net, other))
            .min_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
        Some(match blocker {
            Some((other_net, other)) => Standing::Overlaps(other.name, other_net),
            None => Standing::Owned,
        })
    }

    /// Follows a change of one claim through those that overlap it.
    fn settle(&mut self, net: IpNet, age: &Age, touched: &mut Touched) {
        let mut pending = BTreeSet::from([(age.clone(), net)]);
        while let Some((age, net)) = pending.pop_first() {
            let Some(claim) = self.claim_mut(net, &age) else {
                continue;
            };
            let owned = claim.covers.is_none() && claim.blockers == 0;
            if claim.owned == owned {
                continue;
            }
            claim.owned = owned;
            touched.insert((net, age.name.clone()));
            for (other_net, other) in self.overlapping(net, &age) {
                if other < age {
                    continue;
                }
                if let Some(claim) = self.claim_mut(other_net, &other) {
                    claim.blockers = match owned {
                        true => claim.blockers.saturating_add(1),
                        false => claim.blockers.saturating_sub(1),
                    };
                    touched.insert((other_net, other.name.clone()));
                    pending.insert((other, other_net));
                }
            }
        }
    }

    /// The claims of other Nodes that overlap a subnet.
    fn overlapping(&self, net: IpNet, age: &Age) -> Vec<(IpNet, Age)> {
        self.nets
            .covering(net)
            .chain(self.nets.within(net))
            .flat_map(|(net, claims)| claims.keys().map(move |other| (net, other)))
            .filter(|(_, other)| other.name != age.name)
            .map(|(net, other)| (net, other.clone()))
            .collect()
    }

    fn is_owned(&self, net: IpNet, age: &Age) -> bool {
        self.nets
            .get(net)
            .and_then(|claims| claims.get(age))
            .is_some_and(|claim| claim.owned)
    }

    fn claim_mut(&mut self, net: IpNet, age: &Age) -> Option<&mut Claim> {
        self.nets.get_mut(net)?.get_mut(age)
    }
}

#[cfg(test)]
mod tests;

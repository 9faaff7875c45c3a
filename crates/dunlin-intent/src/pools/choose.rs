//! Which addresses a Service shall have.

use std::net::IpAddr;
use std::sync::Arc;

use dunlin_net::Afi;

use super::intervals::{address, first_absent, number};
use super::outcome::{Outcome, Remark, Shortfall};
use super::pool::Pool;
use super::service::{Service, Wait, Wish};
use super::{MAX_REQUESTED, Pools};

/// How many addresses held with its key are tried for a Service, lowest first, before it gets one of its own.
const MAX_SHARED_TRIED: usize = 256;

/// What a Service shall have, and what could help if that is not all.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) outcome: Outcome,
    pub(super) waits: Vec<Wait>,
}

/// Why an address could not be had, and what would help.
struct Miss {
    shortfall: Shortfall,
    waits: Vec<Wait>,
}

impl From<Shortfall> for Miss {
    fn from(shortfall: Shortfall) -> Miss {
        Miss {
            shortfall,
            waits: Vec::new(),
        }
    }
}

impl Pools {
    /// Decides from what is known now; the addresses given before stay if they may.
    pub(super) fn choose(&self, service: &Service) -> Choice {
        let wish = &service.wish;
        if !wish.ours {
            return Choice::default();
        }
        if wish.elsewhere {
            return self.finish(wish, Vec::new(), Some(Shortfall::AnotherController.into()));
        }
        let before = &service.outcome.addresses;
        let may_keep = |ip: &&IpAddr| {
            wish.families.contains(&Afi::of(**ip))
                && self
                    .book
                    .kept_from_by(**ip, wish.name(), wish.sharing.as_deref())
                    .is_none()
        };
        let kept: Vec<IpAddr> = before.iter().filter(may_keep).copied().collect();
        if wish.deleting {
            return self.finish(wish, kept, None);
        }
        match self.fill(wish, &kept) {
            Ok((given, miss)) => self.finish(wish, given, miss),
            Err(miss) => self.finish(wish, kept, Some(miss)),
        }
    }

    /// What it shall have, or why no more than it keeps.
    fn fill(&self, wish: &Wish, kept: &[IpAddr]) -> Result<(Vec<IpAddr>, Option<Miss>), Miss> {
        if wish.request_invalid {
            return Err(Shortfall::RequestInvalid.into());
        }
        if wish.requested.len() > MAX_REQUESTED {
            return Err(Shortfall::RequestTooLong.into());
        }
        if wish.require_both && wish.families.len() < Afi::ALL.len() {
            return Err(Shortfall::OneFamilyOnly.into());
        }
        let asked_pool = match &wish.requested_pool {
            Some(name) => Some(self.asked_pool(wish, name)?),
            None => None,
        };
        // All that it asks for, or nothing of it.
        for ip in &wish.requested {
            if asked_pool.is_none() && kept.contains(ip) {
                continue;
            }
            self.obtain(wish, *ip, asked_pool)?;
        }
        let mut given = Vec::new();
        let mut first_miss: Option<Miss> = None;
        for &afi in &wish.families {
            let of_family = |ip: &&IpAddr| Afi::of(**ip) == afi;
            let mut ours: Vec<IpAddr> = wish.requested.iter().filter(of_family).copied().collect();
            let kept: Vec<IpAddr> = kept.iter().filter(of_family).copied().collect();
            if ours.is_empty() {
                let fits = |ip: &&IpAddr| asked_pool.is_none_or(|(_, pool)| pool.contains(**ip));
                ours = kept.iter().filter(fits).copied().collect();
            }
            if ours.is_empty() {
                match self.pick(wish, afi, asked_pool) {
                    Ok(ip) => ours.push(ip),
                    Err(miss) => {
                        ours = kept;
                        // What it keeps in another pool than it asks for is a shortfall too.
                        match &mut first_miss {
                            Some(first) => first.waits.extend(miss.waits),
                            None => first_miss = Some(miss),
                        }
                    }
                }
            }
            given.extend(ours);
        }
        let has = |afi: &Afi| given.iter().any(|ip| Afi::of(*ip) == *afi);
        match first_miss {
            // What the others of its addresses lack is told; none of them is taken for half of what is required.
            Some(miss) if wish.require_both && !wish.families.iter().all(has) => Err(miss),
            miss => Ok((given, miss)),
        }
    }

    /// The pool it asks for.
    fn asked_pool<'a>(
        &'a self,
        wish: &Wish,
        name: &str,
    ) -> Result<(&'a Arc<str>, &'a Pool), Shortfall> {
        let found = self.pools.get_key_value(name);
        let (name, pool) = found.ok_or_else(|| Shortfall::PoolMissing(name.to_owned()))?;
        if pool.refused {
            return Err(Shortfall::PoolRefused(name.to_string()));
        }
        if !self.selects(pool, wish) {
            return Err(Shortfall::PoolNotForService(name.to_string()));
        }
        Ok((name, pool))
    }

    fn selects(&self, pool: &Pool, wish: &Wish) -> bool {
        let namespace = self.namespaces.get(&wish.name().namespace);
        pool.selects(&wish.labels, namespace)
    }

    /// Whether it can have an address that it asks for.
    fn obtain(
        &self,
        wish: &Wish,
        ip: IpAddr,
        asked_pool: Option<(&Arc<str>, &Pool)>,
    ) -> Result<(), Miss> {
        if !wish.families.contains(&Afi::of(ip)) {
            return Err(Shortfall::RequestedFamily(ip).into());
        }
        match asked_pool {
            Some((_, pool)) if !pool.contains(ip) => {
                return Err(Shortfall::RequestedOutsidePools(ip).into());
            }
            Some(_) => {}
            None => {
                let mut holding = self.pools_with(ip).peekable();
                let Some(&(first, _)) = holding.peek() else {
                    return Err(Shortfall::RequestedOutsidePools(ip).into());
                };
                if !holding.any(|(_, pool)| self.selects(pool, wish)) {
                    return Err(Shortfall::RequestedNotForService(ip, first.clone()).into());
                }
            }
        }
        let taken = self.book.taken_by(ip, wish.name(), wish.sharing.as_deref());
        if let Some(other) = taken {
            return Err(Miss {
                shortfall: Shortfall::RequestedTaken(ip, other.clone()),
                waits: vec![Wait::Address(ip)],
            });
        }
        let number = number(ip);
        if let Some((_, by)) = self.reserved.first_in(Afi::of(ip), number, number) {
            return Err(Miss {
                shortfall: Shortfall::RequestedReserved(ip, by.clone()),
                waits: vec![Wait::Unreserved],
            });
        }
        Ok(())
    }

    /// The pools that have an address, in the order of their names.
    pub(super) fn pools_with(&self, ip: IpAddr) -> impl Iterator<Item = (&Arc<str>, &Pool)> {
        self.pools.iter().filter(move |(_, pool)| pool.contains(ip))
    }

    /// An address of a family that it does not ask for by itself.
    fn pick(
        &self,
        wish: &Wish,
        afi: Afi,
        asked_pool: Option<(&Arc<str>, &Pool)>,
    ) -> Result<IpAddr, Miss> {
        let eligible: Vec<(&Arc<str>, &Pool)> = match asked_pool {
            Some(pool) => vec![pool],
            None => {
                let ordered = self
                    .order
                    .iter()
                    .filter_map(|(_, name)| self.pools.get_key_value(name));
                let for_it = ordered.filter(|(_, p)| p.auto_assign && self.selects(p, wish));
                for_it.collect()
            }
        };
        if eligible.is_empty() {
            return Err(Shortfall::NoPool.into());
        }
        let mut full = Vec::new();
        for (name, pool) in eligible {
            if pool.ranges.get(afi).is_empty() {
                continue;
            }
            if let Some(ip) = self.shared(wish, afi, pool) {
                return Ok(ip);
            }
            if let Some(ip) = self.next_free(pool, afi) {
                return Ok(ip);
            }
            full.push(name.clone());
        }
        if full.is_empty() {
            return Err(Shortfall::NoFamily(afi).into());
        }
        let rooms = full.iter().map(|name| Wait::Room(name.clone(), afi));
        let key = wish.sharing.as_ref().map(|s| Wait::Key(s.key.clone()));
        let waits = rooms.chain(key).collect();
        Err(Miss {
            shortfall: Shortfall::Exhausted(afi, full),
            waits,
        })
    }

    /// An address of the pool that others hold with its key and can be shared with them.
    fn shared(&self, wish: &Wish, afi: Afi, pool: &Pool) -> Option<IpAddr> {
        let sharing = wish.sharing.as_deref()?;
        let held = self.book.with_key(&sharing.key);
        held.filter(|ip| Afi::of(*ip) == afi && pool.contains(*ip))
            .take(MAX_SHARED_TRIED)
            .find(|ip| {
                self.book
                    .taken_by(*ip, wish.name(), Some(sharing))
                    .is_none()
                    && !self.reserved.is_reserved(*ip)
            })
    }

    /// The lowest address of the first range that has one nobody holds.
    pub(super) fn next_free(&self, pool: &Pool, afi: Afi) -> Option<IpAddr> {
        let sets = [self.book.occupied(afi), self.reserved.of(afi)];
        let mut ranges = pool.ranges.get(afi).iter();
        let free = ranges.find_map(|&(first, last)| first_absent(sets, first, last))?;
        Some(address(afi, free))
    }

    /// Puts the addresses in order and says what is odd about them.
    fn finish(&self, wish: &Wish, mut given: Vec<IpAddr>, miss: Option<Miss>) -> Choice {
        let place = |ip: &IpAddr| wish.families.iter().position(|afi| *afi == Afi::of(*ip));
        given.sort_by_key(place);
        let remarks = given
            .iter()
            .flat_map(|ip| self.remarks(wish, *ip))
            .collect();
        let (shortfall, waits) = match miss {
            Some(Miss { shortfall, waits }) => (Some(shortfall), waits),
            None => (None, Vec::new()),
        };
        Choice {
            outcome: Outcome {
                addresses: given,
                shortfall,
                remarks,
            },
            waits,
        }
    }

    fn remarks(&self, wish: &Wish, ip: IpAddr) -> Vec<Remark> {
        let mut remarks = Vec::new();
        let mut holding = self.pools_with(ip).peekable();
        match holding.peek().map(|(name, _)| (*name).clone()) {
            None => remarks.push(Remark::KeptOutsidePools(ip)),
            Some(first) => {
                if !holding.any(|(_, pool)| self.selects(pool, wish)) {
                    remarks.push(Remark::KeptNotSelected(ip, first));
                }
            }
        }
        let other = self.book.taken_by(ip, wish.name(), wish.sharing.as_deref());
        if let Some(other) = other
            && self.services.get(other).is_some_and(|s| !s.wish.ours)
        {
            remarks.push(Remark::AlsoHeldBy(ip, other.clone()));
        }
        remarks
    }
}

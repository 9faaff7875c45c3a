//! A kernel made of maps, as unkind as the real one: it refuses, drops what hangs on a link without a word, and loses
//! notifications.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dunlin_net::{Instant, IpNet};

use crate::fib::{
    Action, Batch, BatchDone, DumpItem, Fib, Hop, NexthopContent, Op, OpError, RouteChange,
    RouteEvent, Target,
};
use crate::mark::ROUTE_PROTOCOL;

pub(super) const ENOENT: i32 = 2;
pub(super) const ESRCH: i32 = 3;
pub(super) const ENOMEM: i32 = 12;
pub(super) const EEXIST: i32 = 17;
pub(super) const EINVAL: i32 = 22;
pub(super) const ENETDOWN: i32 = 100;
pub(super) const STATIC: u8 = 4;

#[derive(Clone, Debug)]
pub(super) enum Note {
    Route(RouteEvent),
    Nexthop(u32),
    Link(u32),
    Overrun,
}

#[derive(Debug, Default)]
pub(super) struct FakeKernel {
    pub(super) nexthops: BTreeMap<u32, (u8, NexthopContent)>,
    pub(super) routes: BTreeMap<(IpNet, u32), (u8, Target)>,
    pub(super) down: BTreeSet<u32>,
    /// Told to the machine only when delivered.
    pub(super) notes: VecDeque<Note>,
    /// Every operation executed, in order, with its error.
    pub(super) log: Vec<(Op, Option<i32>)>,
    /// Draws whether the next operation fails for no reason of its own; 0 never.
    pub(super) fail_percent: u32,
    pub(super) random: u64,
}

impl FakeKernel {
    fn draw(&mut self) -> u32 {
        // An xorshift: the test only needs it to be repeatable.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u32::try_from(self.random >> 40).unwrap_or(0)
    }

    pub(super) fn execute(&mut self, batch: &Batch) -> BatchDone {
        let mut errors = Vec::new();
        for (index, op) in (0u32..).zip(&batch.ops) {
            let unlucky = self.fail_percent > 0 && self.draw() % 100 < self.fail_percent;
            let result = if unlucky { Err(ENOMEM) } else { self.apply(op) };
            self.log.push((op.clone(), result.err()));
            if let Err(errno) = result {
                errors.push(OpError {
                    index,
                    errno,
                    message: Some("refused".into()),
                });
            }
        }
        BatchDone {
            id: batch.id,
            errors,
            lost: false,
        }
    }

    fn apply(&mut self, op: &Op) -> Result<(), i32> {
        match op {
            Op::Nexthop {
                id,
                content,
                replace,
            } => self.set_nexthop(*id, content, *replace),
            Op::NexthopDelete { id } => {
                let found = self.nexthops.contains_key(id).then_some(()).ok_or(ENOENT);
                self.drop_nexthop(*id);
                found
            }
            Op::Route {
                net,
                metric,
                target,
                replace,
            } => self.set_route(*net, *metric, *target, *replace),
            Op::RouteDelete { net, metric } => match self.routes.get(&(*net, *metric)) {
                Some((ROUTE_PROTOCOL, _)) => {
                    self.routes.remove(&(*net, *metric));
                    Ok(())
                }
                _ => Err(ESRCH),
            },
        }
    }

    fn set_nexthop(&mut self, id: u32, content: &NexthopContent, replace: bool) -> Result<(), i32> {
        let old = self.nexthops.get(&id).map(|(_, content)| content);
        match (old, replace) {
            (Some(_), false) => return Err(EEXIST),
            (None, true) => return Err(ENOENT),
            _ => {}
        }
        match (content, old) {
            (NexthopContent::Single(hop), _) if self.down.contains(&hop.ifindex) => {
                return Err(ENETDOWN);
            }
            (NexthopContent::Single(_), Some(NexthopContent::Group(_)))
            | (NexthopContent::Group(_), Some(NexthopContent::Single(_))) => return Err(EINVAL),
            (NexthopContent::Group(ids), _) => {
                let single =
                    |id| matches!(self.nexthops.get(id), Some((_, NexthopContent::Single(_))));
                if ids.is_empty() || !ids.iter().all(single) {
                    return Err(EINVAL);
                }
            }
            _ => {}
        }
        self.nexthops.insert(id, (ROUTE_PROTOCOL, content.clone()));
        Ok(())
    }

    fn set_route(
        &mut self,
        net: IpNet,
        metric: u32,
        target: Target,
        replace: bool,
    ) -> Result<(), i32> {
        match (self.routes.get(&(net, metric)), replace) {
            (Some(_), false) => return Err(EEXIST),
            (None, true) => return Err(ENOENT),
            (Some((protocol, _)), true) => {
                assert_eq!(
                    *protocol, ROUTE_PROTOCOL,
                    "a foreign route was overwritten: {net}"
                );
            }
            _ => {}
        }
        if let Target::Nexthop(id) = target {
            let hops = self.hops(id).ok_or(EINVAL)?;
            if matches!(net, IpNet::V6(_)) && hops.iter().any(|hop| hop.gateway.is_ipv4()) {
                return Err(EINVAL);
            }
        }
        self.routes.insert((net, metric), (ROUTE_PROTOCOL, target));
        Ok(())
    }

    /// The hops a nexthop leads to.
    pub(super) fn hops(&self, id: u32) -> Option<Vec<Hop>> {
        match &self.nexthops.get(&id)?.1 {
            NexthopContent::Single(hop) => Some(vec![*hop]),
            NexthopContent::Group(ids) => {
                let hops: Vec<Hop> = ids
                    .iter()
                    .filter_map(|id| self.hops(*id))
                    .flatten()
                    .collect();
                Some(hops)
            }
            NexthopContent::Other => None,
        }
    }

    /// The kernel's silent cascade: groups lose the member, empty groups go, and routes go with what they name.
    pub(super) fn drop_nexthop(&mut self, id: u32) {
        if self.nexthops.remove(&id).is_none() {
            return;
        }
        self.routes
            .retain(|_, (_, target)| *target != Target::Nexthop(id));
        let mut empty = Vec::new();
        for (group, (_, content)) in &mut self.nexthops {
            if let NexthopContent::Group(ids) = content {
                ids.retain(|member| *member != id);
                if ids.is_empty() {
                    empty.push(*group);
                }
            }
        }
        for group in empty {
            self.drop_nexthop(group);
        }
    }

    pub(super) fn set_link(&mut self, ifindex: u32, up: bool) {
        if up {
            self.down.remove(&ifindex);
        } else {
            self.down.insert(ifindex);
            let on_link = |content: &NexthopContent| matches!(content, NexthopContent::Single(hop) if hop.ifindex == ifindex);
            let gone: Vec<u32> = self
                .nexthops
                .iter()
                .filter(|(_, (_, content))| on_link(content))
                .map(|(id, _)| *id)
                .collect();
            for id in gone {
                self.drop_nexthop(id);
            }
        }
        self.notes.push_back(Note::Link(ifindex));
    }

    /// Somebody else sets or deletes a route.
    pub(super) fn meddle(&mut self, net: IpNet, metric: u32, route: Option<(u8, Target)>) {
        let old = self.routes.remove(&(net, metric));
        let event = |protocol, change| {
            Note::Route(RouteEvent {
                net,
                metric,
                protocol,
                change,
            })
        };
        match (route, old) {
            (Some((protocol, target)), old) => {
                self.routes.insert((net, metric), (protocol, target));
                let change = RouteChange::New {
                    target,
                    replaced: old.is_some(),
                };
                self.notes.push_back(event(protocol, change));
            }
            (None, Some((protocol, _))) => {
                self.notes.push_back(event(protocol, RouteChange::Deleted));
            }
            (None, None) => {}
        }
    }

    pub(super) fn lose_notes(&mut self) {
        self.notes.clear();
        self.notes.push_back(Note::Overrun);
    }

    pub(super) fn deliver(&mut self, fib: &mut Fib, now: Instant) -> bool {
        match self.notes.pop_front() {
            None => return false,
            Some(Note::Route(event)) => fib.on_route(now, &event),
            Some(Note::Nexthop(id)) => fib.on_nexthop_changed(now, id),
            Some(Note::Link(ifindex)) => fib.on_link(now, ifindex),
            Some(Note::Overrun) => fib.on_overrun(now),
        }
        true
    }

    pub(super) fn dump(&mut self, fib: &mut Fib, now: Instant, complete: bool) {
        while self.deliver(fib, now) {}
        fib.on_dump_begin();
        for (id, (protocol, content)) in &self.nexthops {
            let (id, protocol, content) = (*id, *protocol, content.clone());
            fib.on_dump_item(&DumpItem::Nexthop {
                id,
                protocol,
                content,
            });
        }
        let all = if complete {
            self.routes.len()
        } else {
            self.routes.len() / 2
        };
        for ((net, metric), (protocol, target)) in self.routes.iter().take(all) {
            let (net, metric, protocol, target) = (*net, *metric, *protocol, *target);
            fib.on_dump_item(&DumpItem::Route {
                net,
                metric,
                protocol,
                target,
            });
        }
        fib.on_dump_end(now, complete);
    }

    /// Does one thing the machine asks for. False if it asks for nothing.
    pub(super) fn step(&mut self, fib: &mut Fib, now: Instant) -> bool {
        match fib.poll(now) {
            None => return false,
            Some(Action::Dump) => self.dump(fib, now, true),
            Some(Action::Batch(batch)) => {
                let done = self.execute(&batch);
                fib.on_batch_done(now, &done);
            }
        }
        true
    }

    /// Runs until the machine asks for nothing now or later; gives up after `limit` steps.
    pub(super) fn settle(&mut self, fib: &mut Fib, now: &mut Instant, limit: usize) {
        for _ in 0..limit {
            while self.deliver(fib, *now) {}
            if self.step(fib, *now) {
                continue;
            }
            let Some(deadline) = fib.next_deadline() else {
                return;
            };
            // Conflicts are tried for ever; everything else must end.
            let stuck = [dunlin_net::Afi::Ipv4, dunlin_net::Afi::Ipv6]
                .into_iter()
                .flat_map(|afi| fib.routes(afi))
                .filter_map(|route| match route.state {
                    crate::fib::RouteState::Failed(failure) => Some(failure.reason),
                    _ => None,
                })
                .all(|reason| {
                    use crate::fib::Reason;
                    matches!(reason, Reason::Conflict | Reason::FamilyMismatch)
                });
            if stuck && deadline.since(*now) >= std::time::Duration::from_secs(4) {
                return;
            }
            *now = (*now).max(deadline);
        }
        panic!("not settled after {limit} steps: {:?}", fib.counters());
    }
}

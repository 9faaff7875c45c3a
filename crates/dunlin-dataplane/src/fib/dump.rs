//! Read-backs: when one is due, and what it makes of what is believed.

use std::time::Duration;

use dunlin_net::{Family, Instant, IpNet};
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::nexthops::{ABSENT, FOREIGN, Kind, NO_SET, ObjectId, Phase};
use super::retry::Key;
use super::routes::{EVENTED, FAILED, FREE, RELEASED, Routes, SEEN};
use super::types::{Class, DumpItem, NexthopContent, Target};
use super::{DUMP_GAP, Env, Fib, with_routes};
use crate::mark;

/// After this long without a read-back the next one need not wait.
const CALM: Duration = Duration::from_secs(10);
const MAX_GAP: Duration = Duration::from_secs(2);
/// After an incomplete read-back.
const RETRY_GAP: Duration = Duration::from_millis(500);

#[derive(Debug)]
enum State {
    Idle,
    /// Wanted, not before this time.
    Wanted(Instant),
    Requested,
    /// Under way: nexthops read so far, until the first route.
    Nexthops(HashMap<u32, NexthopContent, foldhash::fast::FixedState>),
    Routes,
}

/// When to read back. Read-backs that follow each other closely are spaced out.
#[derive(Debug)]
pub(super) struct DumpGate {
    state: State,
    last: Option<Instant>,
    streak: u32,
    synced: bool,
    pub(super) completed: u64,
}

impl DumpGate {
    pub(super) fn new() -> DumpGate {
        let state = State::Wanted(Instant::ZERO);
        DumpGate {
            state,
            last: None,
            streak: 0,
            synced: false,
            completed: 0,
        }
    }

    /// Wants a read-back soon.
    pub(super) fn want(&mut self, now: Instant) {
        if matches!(self.state, State::Wanted(_) | State::Requested) {
            return;
        }
        let at = match self.last {
            Some(last) if now.since(last) < CALM => {
                let gap = DUMP_GAP
                    .saturating_mul(1 << self.streak.min(8))
                    .min(MAX_GAP);
                (last + gap).max(now)
            }
            _ => now,
        };
        self.want_at(at);
    }

    /// Wants a read-back before anything else.
    pub(super) fn want_at_once(&mut self, now: Instant) {
        if !matches!(self.state, State::Requested) {
            self.want_at(now);
        }
    }

    fn want_at(&mut self, at: Instant) {
        self.state = State::Wanted(at);
    }

    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        match self.state {
            State::Wanted(at) if at <= now => {
                self.state = State::Requested;
                true
            }
            _ => false,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        matches!(
            self.state,
            State::Requested | State::Nexthops(_) | State::Routes
        )
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Wanted(at) => Some(at),
            _ => None,
        }
    }

    fn end(&mut self, now: Instant, complete: bool) {
        self.state = State::Idle;
        let calm = self.last.is_none_or(|last| now.since(last) >= CALM);
        self.streak = if calm { 0 } else { self.streak + 1 };
        self.last = Some(now);
        if complete {
            self.synced = true;
            self.completed += 1;
        } else {
            self.want_at(now + RETRY_GAP);
        }
    }
}

impl Fib {
    /// A read-back starts.
    pub fn on_dump_begin(&mut self) {
        self.env.nexthops.taken.clear();
        for class in Class::ALL {
            with_routes!(self, class, |routes| {
                routes.slots.iter_mut().for_each(|slot| slot.flags &= !SEEN);
            });
        }
        let hasher = self.env.nexthops.by_id.hasher().clone();
        self.env.gate.state = State::Nexthops(HashMap::with_hasher(hasher));
    }

    /// A piece of the read-back. What is foreign is skipped.
    pub fn on_dump_item(&mut self, item: &DumpItem) {
        match item {
            DumpItem::Nexthop {
                id,
                protocol,
                content,
            } => {
                if !mark::is_our_nexthop_id(*id) {
                    return;
                }
                if *protocol != mark::ROUTE_PROTOCOL {
                    self.env.nexthops.taken.insert(*id);
                } else if let State::Nexthops(read) = &mut self.env.gate.state {
                    read.insert(*id, content.clone());
                }
            }
            DumpItem::Route {
                net,
                metric,
                protocol,
                target,
            } => {
                if *protocol != mark::ROUTE_PROTOCOL {
                    return;
                }
                self.env.end_nexthops();
                let blackhole = match *metric {
                    mark::ROUTE_METRIC => false,
                    mark::BLACKHOLE_METRIC => true,
                    _ => return,
                };
                let (env, target) = (&mut self.env, *target);
                match (net, blackhole) {
                    (IpNet::V4(net), false) => seen(&mut self.via.v4, env, net.trunc(), target),
                    (IpNet::V4(net), true) => seen(&mut self.holes.v4, env, net.trunc(), target),
                    (IpNet::V6(net), false) => seen(&mut self.via.v6, env, net.trunc(), target),
                    (IpNet::V6(net), true) => seen(&mut self.holes.v6, env, net.trunc(), target),
                }
            }
        }
    }

    /// The read-back is over. `complete`: what was not met does not exist.
    pub fn on_dump_end(&mut self, now: Instant, complete: bool) {
        if !self.env.gate.is_busy() {
            return;
        }
        self.env.end_nexthops();
        let first = complete && !self.env.gate.is_synced();
        for class in Class::ALL {
            with_routes!(self, class, |routes| {
                if complete {
                    forget_unseen(routes, &mut self.env);
                }
                if first {
                    self.env.adopted += routes.iter().filter(|(_, slot)| slot.is_ours()).count();
                }
            });
        }
        self.env.distrust = !complete;
        self.env.missed &= !complete;
        self.env.rescan = true;
        self.env.moves = true;
        self.env.gate.end(now, complete);
        // The moves look at the queue, so it must be filled before the next plan: `poll` does, as `rescan` is set.
    }
}

impl Env {
    /// All nexthops were read: objects are as read.
    fn end_nexthops(&mut self) {
        if !matches!(self.gate.state, State::Nexthops(_)) {
            return;
        }
        let State::Nexthops(mut read) = std::mem::replace(&mut self.gate.state, State::Routes)
        else {
            return;
        };
        let known: Vec<(ObjectId, u32)> = self
            .nexthops
            .iter()
            .map(|(at, object)| (at, object.id))
            .collect();
        let mut groups = Vec::new();
        for (at, id) in known {
            match read.remove(&id) {
                Some(content) => self.read_object(at, content, &mut groups),
                None => {
                    self.nexthops.object_mut(at).phase = Phase::Absent;
                    self.nexthops.set_members(at, SmallVec::new());
                    if self.nexthops.taken.contains(&id) {
                        self.nexthops.renumber(at);
                    }
                }
            }
        }
        let mut strange: Vec<(u32, NexthopContent)> = read.into_iter().collect();
        strange.sort_unstable_by_key(|(id, _)| *id);
        for (id, content) in strange {
            let at = self.nexthops.adopt_object(id, Kind::Single);
            self.read_object(at, content, &mut groups);
        }
        for (at, ids) in groups {
            self.read_group(at, &ids);
        }
        self.nexthops.choose_objects();
        let all: Vec<ObjectId> = self.nexthops.iter().map(|(at, _)| at).collect();
        self.nexthops.idle = all;
    }

    fn read_object(
        &mut self,
        at: ObjectId,
        content: NexthopContent,
        groups: &mut Vec<(ObjectId, SmallVec<[u32; 4]>)>,
    ) {
        self.retries.clear(Key::Object(at));
        let object = self.nexthops.object_mut(at);
        object.phase = Phase::Present;
        object.fixed = false;
        object.kind = Kind::Single;
        match content {
            NexthopContent::Group(ids) => {
                object.kind = Kind::Group;
                groups.push((at, ids));
            }
            NexthopContent::Single(hop) => {
                let set = self.nexthops.intern(&[hop]);
                self.nexthops.set_members(at, SmallVec::new());
                self.nexthops.set_content(at, set);
            }
            NexthopContent::Other => {
                self.nexthops.object_mut(at).fixed = true;
                self.nexthops.set_members(at, SmallVec::new());
                self.nexthops.set_content(at, NO_SET);
            }
        }
    }

    fn read_group(&mut self, at: ObjectId, ids: &[u32]) {
        let members: Option<SmallVec<[ObjectId; 4]>> = ids
            .iter()
            .map(|id| self.nexthops.by_id.get(id).copied())
            .collect();
        let known = |&member: &ObjectId| {
            let member = self.nexthops.object(member);
            member.kind == Kind::Single && member.phase == Phase::Present && member.set != NO_SET
        };
        let members = members.filter(|members| !members.is_empty() && members.iter().all(known));
        let mut set = NO_SET;
        for &member in members.iter().flatten() {
            let hops = self.nexthops.object(member).set;
            set = if set == NO_SET {
                hops
            } else {
                self.nexthops.union(set, hops)
            };
        }
        self.nexthops.set_members(at, members.unwrap_or_default());
        self.nexthops.set_content(at, set);
    }
}

/// A route of ours was read.
fn seen<F: Family>(routes: &mut Routes<F>, env: &mut Env, net: F::Net, target: Target) {
    let at = routes.ensure(net);
    let object = env.object_of(routes.class, target);
    let slot = &mut routes.slots[at as usize];
    slot.flags = (slot.flags | SEEN) & !EVENTED;
    if slot.believed == FOREIGN && slot.has(FAILED) {
        slot.flags &= !FAILED;
        env.retries.clear(Key::Route(routes.class, at));
    }
    env.believe(slot, object);
}

fn forget_unseen<F: Family>(routes: &mut Routes<F>, env: &mut Env) {
    let class = routes.class;
    for (at, slot) in (0u32..).zip(&mut routes.slots) {
        if slot.has(FREE) {
            continue;
        }
        if !slot.has(SEEN) {
            let hearsay = slot.has(EVENTED) || env.missed;
            slot.flags &= !(EVENTED | RELEASED);
            if slot.is_ours() {
                env.believe(slot, ABSENT);
            } else if slot.believed == FOREIGN && hearsay {
                // It may have gone without our knowing; an exclusive insert will tell.
                env.believe(slot, ABSENT);
                slot.flags &= !FAILED;
                env.retries.clear(Key::Route(class, at));
            }
        }
    }
}

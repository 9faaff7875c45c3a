//! From what is wanted and believed to a batch of operations.

use std::collections::BTreeSet;

use dunlin_net::{Afi, Family, Instant};
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::nexthops::{ABSENT, HOLE, HOLE_SET, Kind, NO_SET, Nexthops, ObjectId, Phase, SetId};
use super::retry::Key;
use super::routes::{EVENTED, FAILED, FREE, IN_FLIGHT, REGROUP, RELEASED, Routes, Slot};
use super::types::{Batch, BatchId, Class, MAX_OPS, NexthopContent, Op, Reason, Target};
use super::{Env, Fib, with_routes};

/// The batch that is not yet acknowledged: what each operation was for.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) id: BatchId,
    pub(super) metas: Vec<Meta>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Meta {
    /// The slot's route will name `object`; [`ABSENT`] if it is deleted.
    Route {
        class: Class,
        at: u32,
        object: ObjectId,
        replace: bool,
        evented: bool,
    },
    Made(ObjectId),
    Moved(ObjectId),
    Deleted(ObjectId),
}

/// Operations by the order in which they must run.
#[derive(Debug, Default)]
pub(super) struct Plan {
    singles: Vec<(Op, Meta)>,
    groups: Vec<(Op, Meta)>,
    routes: Vec<(Op, Meta)>,
    deletes: Vec<(Op, Meta)>,
    nexthop_deletes: Vec<(Op, Meta)>,
    /// It inserts routes whose absence is only hearsay: if they do exist, deleting the nexthop they name would take them along.
    hearsay: bool,
    /// The objects without routes that its own will name.
    named: BTreeSet<ObjectId>,
}

impl Plan {
    pub(super) fn push_single(&mut self, op: Op, meta: Meta) {
        self.singles.push((op, meta));
    }

    fn len(&self) -> usize {
        self.singles.len()
            + self.groups.len()
            + self.routes.len()
            + self.deletes.len()
            + self.nexthop_deletes.len()
    }
}

/// Where the routes of one object want to go.
struct Exodus {
    to: SetId,
    routes: u32,
    /// They do not all want the same.
    mixed: bool,
}

impl Fib {
    pub(super) fn plan(&mut self, now: Instant) -> Option<Batch> {
        let mut plan = Plan::default();
        // Before any route of this batch is counted on an object.
        for at in 0..self.env.nexthops.idle.len() {
            self.env.nexthops.hand_over(self.env.nexthops.idle[at]);
        }
        if self.env.is_certain() {
            self.env.plan_failover(now, &mut plan);
            if plan.len() > 0 {
                return self.give(plan);
            }
            if std::mem::take(&mut self.env.moves) {
                self.plan_moves(now, &mut plan);
            }
        }
        for class in Class::ALL {
            with_routes!(self, class, |routes| plan_routes(
                routes,
                &mut self.env,
                now,
                &mut plan
            ));
        }
        self.env.plan_idle(now, &mut plan);
        self.give(plan)
    }

    fn give(&mut self, plan: Plan) -> Option<Batch> {
        self.env.nexthops.sweep_sets();
        if plan.len() == 0 {
            return None;
        }
        self.batches += 1;
        let id = BatchId(self.batches);
        let (ops, metas) = plan
            .singles
            .into_iter()
            .chain(plan.groups)
            .chain(plan.routes)
            .chain(plan.deletes)
            .chain(plan.nexthop_deletes)
            .unzip();
        self.in_flight = Some(InFlight { id, metas });
        Some(Batch { id, ops })
    }

    /// Where all routes of an object want to lead to the same other hops, the object is rewritten and they stay.
    fn plan_moves(&mut self, now: Instant, plan: &mut Plan) {
        let mut exodus: HashMap<ObjectId, Exodus, _> = HashMap::with_hasher(self.env.hasher());
        count_moves(&self.via.v4, &mut self.env, &mut exodus);
        count_moves(&self.via.v6, &mut self.env, &mut exodus);
        let mut objects: Vec<ObjectId> = exodus.keys().copied().collect();
        objects.sort_unstable();
        for object in objects {
            let Exodus { to, routes, mixed } = exodus[&object];
            if !mixed && routes == self.env.nexthops.object(object).routes {
                self.env.plan_move(now, object, to, plan);
            }
        }
    }
}

fn count_moves<F: Family, S: std::hash::BuildHasher>(
    routes: &Routes<F>,
    env: &mut Env,
    exodus: &mut HashMap<ObjectId, Exodus, S>,
) {
    for slot in routes.dirty() {
        let object = slot.believed;
        if !Nexthops::is_object(object) || env.nexthops.object(object).fixed {
            continue;
        }
        let to = env.target(slot);
        let entry = exodus.entry(object).or_insert(Exodus {
            to,
            routes: 0,
            mixed: false,
        });
        entry.routes += 1;
        entry.mixed |= to != entry.to
            || to == NO_SET
            || to == env.nexthops.content(object)
            || (F::AFI == Afi::Ipv6 && env.nexthops.has_v4_hop(to));
    }
}

fn plan_routes<F: Family>(routes: &mut Routes<F>, env: &mut Env, now: Instant, plan: &mut Plan) {
    while plan.len() < MAX_OPS {
        let Some(at) = routes.pop_dirty() else { break };
        plan_slot(routes, env, now, at, plan);
    }
}

fn plan_slot<F: Family>(
    routes: &mut Routes<F>,
    env: &mut Env,
    now: Instant,
    at: u32,
    plan: &mut Plan,
) {
    let class = routes.class;
    let key = Key::Route(class, at);
    let slot = &mut routes.slots[at as usize];
    if slot.has(FREE) || (slot.has(FAILED) && env.retries.waits(key, now)) {
        return;
    }
    let ours = slot.is_ours();
    let to = env.target(slot);
    let in_sync = ours && to != NO_SET && env.nexthops.content(slot.believed) == to;
    let moves_over = in_sync && env.moves_over(slot);
    if (in_sync && !moves_over) || (!ours && to == NO_SET) {
        slot.flags &= !REGROUP;
        if slot.has(FAILED) {
            slot.flags &= !FAILED;
            env.retries.clear(key);
        }
        if !ours {
            env.believe(slot, ABSENT);
            routes.free(at);
        }
        return;
    }
    if ours && !env.is_certain() {
        // It may be gone and somebody else's in its place. The read-back queues it again.
        env.placing.due |= slot.has(REGROUP);
        slot.flags &= !REGROUP;
        return;
    }
    if to == NO_SET {
        if !env.hold || slot.has(RELEASED) {
            plan_delete(slot, class, at, plan);
        }
        return;
    }
    if F::AFI == Afi::Ipv6 && env.nexthops.has_v4_hop(to) {
        slot.flags |= FAILED;
        env.retries.fail(now, key, Reason::FamilyMismatch, 0, None);
        return;
    }
    let Some((object, target)) = plan_target(slot, env, now, to, plan) else {
        return;
    };
    if object == slot.believed && in_sync {
        return;
    }
    if env.nexthops.object(object).routes == 0 {
        plan.named.insert(object);
    }
    plan_write(slot, class, at, (object, target), plan);
}

/// The route as it is to be: in place of ours, or only where there is none.
fn plan_write<F: Family>(
    slot: &mut Slot<F>,
    class: Class,
    at: u32,
    (object, target): (ObjectId, Target),
    plan: &mut Plan,
) {
    let replace = slot.is_ours();
    let evented = take_off(slot);
    plan.hearsay |= evented && !replace;
    let meta = Meta::Route {
        class,
        at,
        object,
        replace,
        evented,
    };
    let op = Op::Route {
        net: slot.net.into(),
        metric: class.metric(),
        target,
        replace,
    };
    plan.routes.push((op, meta));
}

/// What the route is to name, once it can be named.
fn plan_target<F: Family>(
    slot: &mut Slot<F>,
    env: &mut Env,
    now: Instant,
    to: u32,
    plan: &mut Plan,
) -> Option<(u32, Target)> {
    if to == HOLE_SET {
        return Some((HOLE, Target::Blackhole));
    }
    let placed = env.place(now, slot, to, plan);
    slot.flags &= !REGROUP;
    let object = placed?;
    Some((object, Target::Nexthop(env.nexthops.object(object).id)))
}

fn plan_delete<F: Family>(slot: &mut Slot<F>, class: Class, at: u32, plan: &mut Plan) {
    let meta = Meta::Route {
        class,
        at,
        object: ABSENT,
        replace: false,
        evented: take_off(slot),
    };
    let op = Op::RouteDelete {
        net: slot.net.into(),
        metric: class.metric(),
    };
    plan.deletes.push((op, meta));
}

/// The slot's operation goes into the batch. Whether somebody else had changed the route before.
fn take_off<F: Family>(slot: &mut Slot<F>) -> bool {
    let evented = slot.has(EVENTED);
    slot.flags = (slot.flags | IN_FLIGHT) & !EVENTED;
    evented
}

impl Env {
    fn hasher(&self) -> foldhash::fast::FixedState {
        self.nexthops.by_id.hasher().clone()
    }

    /// Whether no read-back is due: what is believed to be ours may be replaced and deleted.
    pub(super) fn is_certain(&self) -> bool {
        self.gate.is_idle()
    }

    /// The object that holds `set`, made in this batch if the kernel lacks it. `None` while it cannot be made.
    pub(super) fn ensure(&mut self, now: Instant, set: SetId, plan: &mut Plan) -> Option<ObjectId> {
        let existing = self.nexthops.set(set).object;
        if existing != 0 {
            match self.nexthops.object(existing).phase {
                Phase::Present | Phase::InFlight => return Some(existing),
                _ if self.retries.waits(Key::Object(existing), now) => return None,
                _ => {}
            }
        }
        let hops = self.nexthops.set(set).hops.clone();
        let group = hops.len() > 1;
        let members = if group {
            self.ensure_members(now, set, plan)?
        } else {
            SmallVec::new()
        };
        let kind = if group { Kind::Group } else { Kind::Single };
        let object = match existing {
            0 => self.nexthops.add_object(kind, set)?,
            existing => existing,
        };
        let content = if group {
            let ids = members
                .iter()
                .map(|&member| self.nexthops.object(member).id)
                .collect();
            NexthopContent::Group(ids)
        } else {
            NexthopContent::Single(*hops.first()?)
        };
        self.nexthops.set_members(object, members);
        let made = self.nexthops.object_mut(object);
        made.phase = Phase::InFlight;
        let op = Op::Nexthop {
            id: made.id,
            content,
            replace: false,
        };
        let list = if group {
            &mut plan.groups
        } else {
            &mut plan.singles
        };
        list.push((op, Meta::Made(object)));
        Some(object)
    }

    /// Single objects for every hop of `set`.
    fn ensure_members(
        &mut self,
        now: Instant,
        set: SetId,
        plan: &mut Plan,
    ) -> Option<SmallVec<[ObjectId; 4]>> {
        let hops = self.nexthops.set(set).hops.clone();
        hops.iter()
            .map(|hop| {
                let single = self.nexthops.intern(std::slice::from_ref(hop));
                self.ensure(now, single, plan)
            })
            .collect()
    }

    fn plan_move(&mut self, now: Instant, object: ObjectId, to: SetId, plan: &mut Plan) {
        let single = self.nexthops.object(object).kind == Kind::Single;
        // An object that holds the hop already is used instead.
        if !single || self.nexthops.set(to).object == 0 {
            self.plan_rewrite(now, object, to, plan);
        }
    }

    /// Rewrites an object in place, if the kernel can do that.
    pub(super) fn plan_rewrite(
        &mut self,
        now: Instant,
        object: ObjectId,
        to: SetId,
        plan: &mut Plan,
    ) {
        let moved = self.nexthops.object(object);
        if moved.phase != Phase::Present || moved.moving != NO_SET {
            return;
        }
        let id = moved.id;
        let (content, members) = match moved.kind {
            Kind::Group => {
                let Some(members) = self.ensure_members(now, to, plan) else {
                    return;
                };
                let ids = members
                    .iter()
                    .map(|&member| self.nexthops.object(member).id)
                    .collect();
                (NexthopContent::Group(ids), members)
            }
            Kind::Single => {
                let set = self.nexthops.set(to);
                let [hop] = *set.hops else { return };
                // A group that contains it must not change.
                if moved.groups > 0 {
                    return;
                }
                (NexthopContent::Single(hop), SmallVec::new())
            }
        };
        let single = matches!(content, NexthopContent::Single(_));
        self.nexthops.begin_move(object, to, members);
        let op = Op::Nexthop {
            id,
            content,
            replace: true,
        };
        let list = if single {
            &mut plan.singles
        } else {
            &mut plan.groups
        };
        list.push((op, Meta::Moved(object)));
    }

    /// Deletes the objects nobody uses any more.
    fn plan_idle(&mut self, now: Instant, plan: &mut Plan) {
        let mut idle = std::mem::take(&mut self.nexthops.idle);
        idle.sort_unstable();
        idle.dedup();
        for at in idle {
            let object = self.nexthops.object(at);
            if !Nexthops::is_object(at)
                || object.phase == Phase::Free
                || self.nexthops.is_needed(at)
            {
                continue;
            }
            let (phase, id, set) = (object.phase, object.id, object.set);
            match phase {
                Phase::Absent => {
                    // Routes may have waited for its next attempt; another object serves them.
                    self.rescan |= self.retries.clear(Key::Object(at)).is_some();
                    self.nexthops.free_object(at);
                }
                Phase::Present if !self.is_certain() => {}
                Phase::Present if self.hold || self.retries.waits(Key::Object(at), now) => {}
                Phase::Present
                    if plan.hearsay || plan.named.contains(&at) || plan.len() >= MAX_OPS =>
                {
                    self.nexthops.idle.push(at)
                }
                Phase::Present => {
                    if self.nexthops.set(set).object == at {
                        self.nexthops.sets[set as usize].object = 0;
                    }
                    self.nexthops.object_mut(at).phase = Phase::InFlight;
                    plan.nexthop_deletes
                        .push((Op::NexthopDelete { id }, Meta::Deleted(at)));
                }
                Phase::InFlight | Phase::Free => {}
            }
        }
    }
}

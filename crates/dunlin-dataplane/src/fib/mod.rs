//! Routes and the nexthop objects they name: wanted against believed, and the least operations between.
//!
//! Two levels. A *nexthop object* is a single hop or a group of them; a *route* names one. Many routes share an object, so
//! moving them all is one operation. Per prefix only two numbers are held: the hop set wanted, the object believed.
//!
//! How to drive it: feed `want`, events and acknowledgements, then take [`Fib::poll`] until it gives nothing, and come
//! back at [`Fib::next_deadline`]. One thing is outstanding at a time, a batch or a read-back, so what is believed is never
//! ambiguous for long. Where a notification may be older than our own last write, a read-back decides.
//!
//! When a hop dies, what shares an object moves by one operation (`failover`); routes share one if they have the same hop and
//! the same backup (`placing`).
//!
//! What belongs to others is safe by construction: a first insert is exclusive, a replacement only follows a
//! read-back or an acknowledgement, a delete names our protocol.

mod ack;
mod backups;
mod dump;
mod failover;
mod nexthops;
mod placing;
mod plan;
mod retry;
mod routes;
mod types;
mod view;
mod want;

#[cfg(test)]
mod tests;

use std::time::Duration;

use dunlin_net::{Family, Instant, IpNet, PerFamily, V4, V6};
use foldhash::fast::FixedState;

use backups::NO_BACKUP;
use dump::DumpGate;
use failover::Dead;
use nexthops::{ABSENT, FOREIGN, HOLE, NO_SET, Nexthops, ObjectId, SetId, UNKNOWN};
use placing::Placing;
use plan::InFlight;
use retry::{Key, Retries};
use routes::{EVENTED, FAILED, IN_FLIGHT, RELEASED, Routes, Slot};
use types::Class;
pub use types::{
    Action, Batch, BatchDone, BatchId, Counters, DumpItem, Failure, Hop, Hops, MAX_OPS,
    NexthopContent, Op, OpError, Reason, RouteChange, RouteEvent, RouteState, RouteView, Target,
    Wanted,
};

/// Runs `$body` with the routes of `$class`, whatever their family.
macro_rules! with_routes {
    ($fib:expr, $class:expr, |$routes:ident| $body:expr) => {
        match ($class.afi, $class.blackhole) {
            (dunlin_net::Afi::Ipv4, false) => {
                let $routes = &mut $fib.via.v4;
                $body
            }
            (dunlin_net::Afi::Ipv6, false) => {
                let $routes = &mut $fib.via.v6;
                $body
            }
            (dunlin_net::Afi::Ipv4, true) => {
                let $routes = &mut $fib.holes.v4;
                $body
            }
            (dunlin_net::Afi::Ipv6, true) => {
                let $routes = &mut $fib.holes.v6;
                $body
            }
        }
    };
}
use with_routes;

/// The machine. See the module's documentation.
#[derive(Debug)]
pub struct Fib {
    via: PerFamily<Routes<V4>, Routes<V6>>,
    holes: PerFamily<Routes<V4>, Routes<V6>>,
    env: Env,
    in_flight: Option<InFlight>,
    batches: u64,
}

/// All that is not per prefix.
#[derive(Debug)]
struct Env {
    nexthops: Nexthops,
    retries: Retries,
    gate: DumpGate,
    dead: Dead,
    placing: Placing,
    /// Deletes and removals of hops wait.
    hold: bool,
    /// Look at every slot: what blocked some of them may be gone.
    rescan: bool,
    /// Installed routes may have changed in unison: look for objects to rewrite instead.
    moves: bool,
    /// A read-back was incomplete: absence is not certain.
    distrust: bool,
    /// Notifications were lost since the last read-back.
    missed: bool,
    adopted: usize,
    ops_done: u64,
    ops_failed: u64,
}

impl Fib {
    /// Wants nothing, knows nothing, holds deletes ([`Fib::hold_deletes`]), and first asks for a read-back. `seed` keys the
    /// hash tables: prefixes come from outside.
    pub fn new(seed: u64) -> Fib {
        let hasher = FixedState::with_seed(seed);
        let routes = |blackhole| PerFamily {
            v4: Routes::new(blackhole, &hasher),
            v6: Routes::new(blackhole, &hasher),
        };
        Fib {
            via: routes(false),
            holes: routes(true),
            env: Env {
                nexthops: Nexthops::new(&hasher),
                retries: Retries::new(&hasher),
                gate: DumpGate::new(),
                dead: Dead::default(),
                placing: Placing::default(),
                hold: true,
                rescan: false,
                moves: false,
                distrust: false,
                missed: false,
                adopted: 0,
                ops_done: 0,
                ops_failed: 0,
            },
            in_flight: None,
            batches: 0,
        }
    }

    /// The restart gate. While held (as at the start) nothing is deleted and no route loses a hop; additions go at once: a
    /// route whose wanted hops lack some that the kernel has gets both.
    pub fn hold_deletes(&mut self, hold: bool) {
        if self.env.hold && !hold {
            self.env.rescan = true;
            self.env.moves = true;
            self.env.nexthops.idle.clear();
            let all: Vec<ObjectId> = self.env.nexthops.iter().map(|(at, _)| at).collect();
            self.env.nexthops.idle = all;
        }
        if hold {
            self.env.forget_dead();
        }
        self.env.hold = hold;
    }

    /// Somebody else changed a route.
    pub fn on_route(&mut self, now: Instant, event: &RouteEvent) {
        let blackhole = match event.metric {
            crate::mark::ROUTE_METRIC => false,
            crate::mark::BLACKHOLE_METRIC => true,
            _ => return,
        };
        match (event.net, blackhole) {
            (IpNet::V4(net), false) => {
                on_route_in(&mut self.via.v4, &mut self.env, now, net.trunc(), event);
            }
            (IpNet::V4(net), true) => {
                on_route_in(&mut self.holes.v4, &mut self.env, now, net.trunc(), event);
            }
            (IpNet::V6(net), false) => {
                on_route_in(&mut self.via.v6, &mut self.env, now, net.trunc(), event);
            }
            (IpNet::V6(net), true) => {
                on_route_in(&mut self.holes.v6, &mut self.env, now, net.trunc(), event);
            }
        }
    }

    /// Somebody else changed or deleted a nexthop. Its routes may have gone with it, untold: a read-back follows.
    pub fn on_nexthop_changed(&mut self, now: Instant, id: u32) {
        if crate::mark::is_our_nexthop_id(id) {
            self.env.gate.want(now);
        }
    }

    /// A link or its addresses changed so that next hops may resolve differently
    /// ([`crate::links::LinkChange::Reachability`]). The kernel may have dropped nexthops and routes on it, untold: if
    /// anything of ours uses it, a read-back follows and what failed is tried again.
    pub fn on_link(&mut self, now: Instant, ifindex: u32) {
        let uses = |hop: &Hop| hop.ifindex == ifindex;
        if self
            .env
            .nexthops
            .sets
            .iter()
            .any(|set| set.hops.iter().any(uses))
        {
            self.env.gate.want(now);
            self.env.retries.hasten(now);
        }
    }

    /// Notifications were lost: everything is read back.
    pub fn on_overrun(&mut self, now: Instant) {
        self.env.missed = true;
        self.env.gate.want(now);
    }

    /// What to do now, if anything. Call again after every input until it gives `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.in_flight.is_some() || self.env.gate.is_busy() {
            return None;
        }
        if self.env.gate.take_due(now) {
            return Some(Action::Dump);
        }
        if !self.env.gate.is_synced() {
            return None;
        }
        loop {
            self.expire(now);
            if let Some(batch) = self.plan(now) {
                return Some(Action::Batch(batch));
            }
            // Objects that were freed may free others, or what waited for them.
            let again = self.env.rescan || !self.env.nexthops.idle.is_empty();
            if !again && !self.regroup(now) {
                return None;
            }
        }
    }

    /// When to call [`Fib::poll`] though nothing happened.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.in_flight.is_some() || self.env.gate.is_busy() {
            return None;
        }
        let retry = self
            .env
            .retries
            .next_deadline()
            .filter(|_| self.env.gate.is_synced());
        let regroup = self.regroup_at();
        let own = self.env.gate.deadline().into_iter().chain(regroup);
        own.chain(retry).min()
    }

    /// Whether a read-back has told what the kernel holds.
    pub fn is_synced(&self) -> bool {
        self.env.gate.is_synced()
    }

    /// Whether the kernel holds all that is wanted and nothing else, as far as is known: nothing is in flight, waits or
    /// failed. Held deletes do not count.
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_none()
            && self.env.gate.is_idle()
            && !self.env.rescan
            && self.env.dead.is_empty()
            && self.env.retries.next_deadline().is_none()
            && !self.via.v4.has_dirty()
            && !self.via.v6.has_dirty()
            && !self.holes.v4.has_dirty()
            && !self.holes.v6.has_dirty()
    }

    fn expire(&mut self, now: Instant) {
        while let Some(key) = self.env.retries.pop_due(now) {
            match key {
                Key::Object(object) => {
                    self.env.rescan = true;
                    self.env.nexthops.idle.push(object);
                }
                Key::Route(class, at) => with_routes!(self, class, |routes| routes.mark_dirty(at)),
            }
        }
        if std::mem::take(&mut self.env.rescan) {
            for class in Class::ALL {
                with_routes!(self, class, |routes| rescan(routes, &self.env));
            }
        }
    }
}

impl Env {
    /// What the slot's route should lead to now: what is wanted, and while deletes are held also what the kernel has.
    fn target<F: Family>(&mut self, slot: &Slot<F>) -> SetId {
        let wanted = self.detour(slot.wanted, slot.backup);
        let has = self.nexthops.content(slot.believed);
        if !self.hold
            || slot.has(RELEASED)
            || wanted == NO_SET
            || has == NO_SET
            || self.nexthops.is_subset(has, wanted)
        {
            wanted
        } else if self.nexthops.is_subset(wanted, has) {
            has
        } else {
            self.nexthops.union(wanted, has)
        }
    }

    /// Notes which object a slot's route names.
    fn believe<F: Family>(&mut self, slot: &mut Slot<F>, object: ObjectId) {
        let old = std::mem::replace(&mut slot.believed, object);
        if old == object {
            return;
        }
        if Nexthops::is_object(object) {
            let now = self.nexthops.object_mut(object);
            now.routes += 1;
            if now.routes == 1 && now.label != NO_BACKUP {
                // What led there before may serve nobody now.
                let set = now.set;
                let serves = self.nexthops.set(set).object;
                self.nexthops.idle.push(serves);
            }
        }
        if Nexthops::is_object(old) {
            let was = self.nexthops.object_mut(old);
            was.routes = was.routes.saturating_sub(1);
            if was.routes == 0 {
                self.nexthops.idle.push(old);
            }
        }
    }

    /// The object a route in the kernel names.
    fn object_of(&self, class: Class, target: Target) -> ObjectId {
        match target {
            Target::Blackhole if class.blackhole => HOLE,
            Target::Nexthop(id) if !class.blackhole => {
                self.nexthops.by_id.get(&id).copied().unwrap_or(UNKNOWN)
            }
            _ => UNKNOWN,
        }
    }
}

fn on_route_in<F: Family>(
    routes: &mut Routes<F>,
    env: &mut Env,
    now: Instant,
    net: F::Net,
    event: &RouteEvent,
) {
    let ours = event.protocol == crate::mark::ROUTE_PROTOCOL;
    let at = match (routes.find(net), event.change) {
        (Some(at), _) => at,
        (None, RouteChange::New { .. }) if ours => routes.ensure(net),
        (None, _) => return,
    };
    let class = routes.class;
    let slot = &mut routes.slots[at as usize];
    if slot.has(IN_FLIGHT) {
        // Before or after our own operation? The acknowledgement will ask for a read-back.
        slot.flags |= EVENTED;
        return;
    }
    match (ours, event.change) {
        (true, RouteChange::New { target, .. }) => {
            let object = env.object_of(class, target);
            env.believe(slot, object);
        }
        (true, RouteChange::Deleted) => env.believe(slot, ABSENT),
        (false, RouteChange::Deleted) if slot.believed == FOREIGN => env.believe(slot, ABSENT),
        (false, RouteChange::New { replaced, .. }) => {
            if slot.is_ours() && !replaced {
                // Ours went untold, or both stand side by side.
                env.gate.want(now);
            }
            env.believe(slot, FOREIGN);
            if slot.wanted != NO_SET {
                slot.flags |= FAILED;
                env.retries
                    .fail(now, Key::Route(class, at), Reason::Conflict, 0, None);
            }
        }
        (false, RouteChange::Deleted) => return,
    }
    if slot.has(FAILED) && slot.believed != FOREIGN {
        slot.flags &= !FAILED;
        env.retries.clear(Key::Route(class, at));
    }
    slot.flags |= EVENTED;
    routes.mark_dirty(at);
}

/// Queues every slot whose route is not as wanted.
fn rescan<F: Family>(routes: &mut Routes<F>, env: &Env) {
    for at in 0..u32::try_from(routes.slots.len()).unwrap_or(u32::MAX) {
        let slot = &routes.slots[at as usize];
        if !slot.has(routes::FREE)
            && (slot.wanted == NO_SET || env.nexthops.content(slot.believed) != slot.wanted)
        {
            routes.mark_dirty(at);
        }
    }
}

/// How long after one read-back the next may start, while they follow each other closely.
const DUMP_GAP: Duration = Duration::from_millis(50);

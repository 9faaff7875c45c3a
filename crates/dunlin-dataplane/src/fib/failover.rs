//! Next hops that have died: what all routes through them do at once, before anybody has decided about each.
//!
//! A group loses the dead hop; a single object becomes its backup. That is one operation for each object, however many routes
//! name it. It is a view of what is wanted, not an edit: while hops are told dead every route's target is what is wanted
//! without them, and when they are no longer told so, it is what is wanted again. So the end is what the wishes say,
//! whatever happened in between.

use dunlin_net::{Instant, ScopedAddr};
use smallvec::SmallVec;

use super::backups::{BackupId, NO_BACKUP};
use super::nexthops::{HOLE_SET, Kind, NO_SET, ObjectId, Phase, SetId};
use super::plan::Plan;
use super::types::{Hop, Hops};
use super::{Env, Fib};

/// Hops that are told dead.
#[derive(Debug, Default)]
pub(super) struct Dead {
    /// As many as are told: those of the peers whose end is not yet drawn from.
    gateways: SmallVec<[ScopedAddr; 4]>,
    /// Objects that lead to them were not yet looked at.
    due: bool,
    /// Something was led past them.
    used: bool,
}

impl Dead {
    pub(super) fn is_empty(&self) -> bool {
        self.gateways.is_empty()
    }

    fn contains(&self, hop: &Hop) -> bool {
        self.gateways.iter().any(|dead| {
            dead.addr == hop.gateway && (dead.interface == 0 || dead.interface == hop.ifindex)
        })
    }
}

impl Fib {
    /// These next hops are dead, and what is wanted will say so soon: until [`Fib::on_dead_settled`] all that leads to them
    /// goes by the other hops of its route, or by its backup. While deletes are held nothing of this is done. One without an
    /// interface is dead on all.
    pub fn on_dead(&mut self, gateways: impl IntoIterator<Item = impl Into<ScopedAddr>>) {
        if self.env.hold {
            return;
        }
        for gateway in gateways.into_iter().map(Into::into) {
            if !self.env.dead.gateways.contains(&gateway) {
                self.env.dead.gateways.push(gateway);
                self.env.dead.due = true;
            }
        }
    }

    /// What is wanted has been said anew for everything by way of the dead hops.
    pub fn on_dead_settled(&mut self) {
        self.env.forget_dead();
    }

    /// Whether routes are to be led past a dead hop before anything else is decided.
    pub fn has_failover(&self) -> bool {
        self.env.dead.due
    }

    /// Whether hops are told dead.
    pub fn has_dead(&self) -> bool {
        !self.env.dead.is_empty()
    }
}

impl Env {
    pub(super) fn forget_dead(&mut self) {
        if self.dead.is_empty() {
            return;
        }
        if std::mem::take(&mut self.dead).used {
            self.rescan = true;
            self.moves = true;
            self.placing.due = true;
        }
    }

    /// What is wanted, past the dead hops. A route all of whose ways are dead stays as it is.
    pub(super) fn detour(&mut self, wanted: SetId, backup: BackupId) -> SetId {
        if self.dead.is_empty() || wanted == NO_SET || wanted == HOLE_SET {
            return wanted;
        }
        let dead = |hop: &&Hop| self.dead.contains(hop);
        let hops = &self.nexthops.set(wanted).hops;
        let alive: Hops = hops.iter().filter(|hop| !dead(hop)).copied().collect();
        if alive.len() == hops.len() {
            return wanted;
        }
        self.dead.used = true;
        if !alive.is_empty() {
            return self.nexthops.intern(&alive);
        }
        let backup = self.nexthops.backups.get(backup);
        match backup.filter(|hop| !self.dead.contains(hop)) {
            Some(hop) => self.nexthops.intern(&[hop]),
            None => wanted,
        }
    }

    /// Rewrites every object that leads to a dead hop. Routes that stand elsewhere than they should are looked at next.
    pub(super) fn plan_failover(&mut self, now: Instant, plan: &mut Plan) {
        if !std::mem::take(&mut self.dead.due) {
            return;
        }
        let used = self.nexthops.iter().filter(|(_, object)| {
            let single = object.kind == Kind::Single;
            object.phase == Phase::Present
                && object.routes > 0
                && !object.fixed
                && !(single && (object.groups > 0 || object.label == NO_BACKUP))
        });
        let used: Vec<(ObjectId, SetId, BackupId)> = used
            .map(|(at, object)| (at, object.set, object.label))
            .collect();
        for (at, from, label) in used {
            let to = self.detour(from, label);
            if to != from {
                self.plan_rewrite(now, at, to, plan);
                self.rescan = true;
            }
        }
    }
}

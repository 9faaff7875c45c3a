//! Which object a route stands on: routes with one hop and the same backup share one, so that rewriting it moves them all.
//!
//! Where a route leads is decided at once; on which of several objects that lead there it stands may wait for a quiet moment.
//! So an object's backup follows what most of its routes want, which costs no operation, and only the others move.

use std::collections::BTreeMap;
use std::time::Duration;

use dunlin_net::{Family, Instant};
use smallvec::SmallVec;

use super::backups::{BackupId, NO_BACKUP};
use super::nexthops::{Kind, Nexthops, ObjectId, Phase, SetId};
use super::plan::{Meta, Plan};
use super::routes::{FAILED, FREE, IN_FLIGHT, REGROUP, Routes, Slot};
use super::types::{NexthopContent, Op};
use super::{Env, Fib};

/// After a change of backups, before the objects are looked at.
const QUIET: Duration = Duration::from_millis(100);

/// Time between two looks for each route: a look walks all of them, at some nanoseconds each.
const GAP_PER_ROUTE: Duration = Duration::from_micros(1);

/// Objects with a backup. What is more shares the objects without.
const MAX_LABELLED: usize = 4096;

/// When objects and backups are brought together.
#[derive(Debug, Default)]
pub(super) struct Placing {
    /// Backups have changed.
    pub(super) due: bool,
    at: Option<Instant>,
    last: Option<Instant>,
}

/// Routes by the object they stand on and the backup they want.
type Tally = BTreeMap<(ObjectId, BackupId), u32>;

impl Fib {
    /// Brings objects and backups together, if it is time. Whether routes are to move.
    pub(super) fn regroup(&mut self, now: Instant) -> bool {
        let env = &mut self.env;
        let calm = env.placing.due && !env.hold && env.dead.is_empty() && env.is_certain();
        if !calm {
            env.placing.at = None;
            return false;
        }
        let routes = self.via.v4.slots.len() + self.via.v6.slots.len();
        let gap = GAP_PER_ROUTE.saturating_mul(u32::try_from(routes).unwrap_or(u32::MAX));
        let earliest = env.placing.last.map_or(now, |last| last + gap);
        let at = *env.placing.at.get_or_insert((now + QUIET).max(earliest));
        if at > now {
            return false;
        }
        env.placing = Placing {
            due: false,
            at: None,
            last: Some(now),
        };
        let mut tally = Tally::new();
        count(&self.via.v4, &self.env, &mut tally);
        count(&self.via.v6, &self.env, &mut tally);
        if !self.env.label_objects(&tally) {
            return false;
        }
        let moved = misplace(&mut self.via.v4, &self.env);
        misplace(&mut self.via.v6, &self.env) || moved
    }

    /// When backups are next looked at.
    pub(super) fn regroup_at(&self) -> Option<Instant> {
        self.env.placing.at
    }
}

impl Env {
    /// Whether a route stands where its hop is, though not with its backup.
    fn is_misplaced<F: Family>(&self, slot: &Slot<F>) -> bool {
        self.is_placed(slot) && self.nexthops.object(slot.believed).label != slot.backup
    }

    /// Whether a route stands on a single object that leads where it is wanted.
    fn is_placed<F: Family>(&self, slot: &Slot<F>) -> bool {
        let object = self.nexthops.object(slot.believed);
        !slot.has(FREE | IN_FLIGHT | FAILED)
            && Nexthops::is_object(slot.believed)
            && object.kind == Kind::Single
            && object.phase == Phase::Present
            && object.set == slot.wanted
    }

    /// Every object gets the backup that most of its routes want. Whether others want another.
    fn label_objects(&mut self, tally: &Tally) -> bool {
        let mut mixed = false;
        let mut best: BTreeMap<ObjectId, (u32, BackupId)> = BTreeMap::new();
        for (&(at, backup), &routes) in tally {
            let object = self.nexthops.object(at);
            // Groups hold it for what it is.
            let backup = if object.groups > 0 { NO_BACKUP } else { backup };
            let chosen = best.entry(at).or_insert((routes, backup));
            let kept = routes == chosen.0 && backup == object.label;
            if routes > chosen.0 || kept {
                *chosen = (routes, backup);
            }
        }
        for (&at, &(_, backup)) in &best {
            let full = self.nexthops.labelled.len() >= MAX_LABELLED;
            let label = self.nexthops.object(at).label;
            if backup != label && (backup == NO_BACKUP || !full) {
                self.nexthops.set_label(at, backup);
            }
        }
        for &(at, backup) in tally.keys() {
            mixed |= self.nexthops.object(at).label != backup;
        }
        mixed
    }

    /// The object a route is to stand on, made in this batch if the kernel lacks it. `None` while it cannot be made.
    pub(super) fn place<F: Family>(
        &mut self,
        now: Instant,
        slot: &Slot<F>,
        to: SetId,
        plan: &mut Plan,
    ) -> Option<ObjectId> {
        let regroup = slot.has(REGROUP);
        if !regroup && self.nexthops.set(to).object == 0 {
            // One that leads there already, until a quiet moment.
            if let Some(at) = self.nexthops.labelled_to(to) {
                self.placing.due = true;
                return Some(at);
            }
        }
        if slot.backup == NO_BACKUP || to != slot.wanted {
            return self.ensure(now, to, plan);
        }
        let labelled = self.nexthops.labelled.get(&(to, slot.backup)).copied();
        let usable = labelled.filter(|&at| {
            let object = self.nexthops.object(at);
            object.groups == 0 && matches!(object.phase, Phase::Present | Phase::InFlight)
        });
        match usable {
            Some(at) => Some(at),
            None if regroup && labelled.is_none() => self.make_labelled(to, slot.backup, plan),
            None => {
                self.placing.due = true;
                self.ensure(now, to, plan)
            }
        }
    }

    fn make_labelled(&mut self, set: SetId, backup: BackupId, plan: &mut Plan) -> Option<ObjectId> {
        let hop = *self.nexthops.set(set).hops.first()?;
        let at = self.nexthops.add_object(Kind::Single, set)?;
        self.nexthops.set_label(at, backup);
        let made = self.nexthops.object_mut(at);
        made.phase = Phase::InFlight;
        let op = Op::Nexthop {
            id: made.id,
            content: NexthopContent::Single(hop),
            replace: false,
        };
        self.nexthops.set_members(at, SmallVec::new());
        plan.push_single(op, Meta::Made(at));
        Some(at)
    }

    /// Whether a route that leads where it should is to be written all the same, to stand with its backup.
    pub(super) fn moves_over<F: Family>(&self, slot: &Slot<F>) -> bool {
        slot.has(REGROUP)
            && self.is_misplaced(slot)
            && (slot.backup == NO_BACKUP
                || self.nexthops.labelled.len() < MAX_LABELLED
                || self
                    .nexthops
                    .labelled
                    .contains_key(&(slot.wanted, slot.backup)))
    }
}

fn count<F: Family>(routes: &Routes<F>, env: &Env, tally: &mut Tally) {
    // Neighbours mostly stand on the same.
    let mut run = ((0, NO_BACKUP), 0);
    for (_, slot) in routes.iter().filter(|(_, slot)| env.is_placed(slot)) {
        let key = (slot.believed, slot.backup);
        if run.0 != key {
            if run.1 > 0 {
                *tally.entry(run.0).or_default() += run.1;
            }
            run = (key, 0);
        }
        run.1 += 1;
    }
    if run.1 > 0 {
        *tally.entry(run.0).or_default() += run.1;
    }
}

/// Queues the routes that do not stand with their backup. Whether there are any.
fn misplace<F: Family>(routes: &mut Routes<F>, env: &Env) -> bool {
    let mut any = false;
    for at in 0..u32::try_from(routes.slots.len()).unwrap_or(u32::MAX) {
        let slot = &mut routes.slots[at as usize];
        if env.is_misplaced(slot) {
            slot.flags |= REGROUP;
            if env.moves_over(slot) {
                any = true;
                routes.mark_dirty(at);
            } else {
                slot.flags &= !REGROUP;
            }
        }
    }
    any
}

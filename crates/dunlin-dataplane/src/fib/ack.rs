//! What the kernel made of a batch.

use dunlin_net::{Family, Instant};

use super::nexthops::{ABSENT, FOREIGN, NO_SET, Nexthops, ObjectId, Phase};
use super::plan::Meta;
use super::retry::Key;
use super::routes::{EVENTED, FAILED, IN_FLIGHT, Routes};
use super::types::{BatchDone, OpError, Reason};
use super::{Env, Fib, with_routes};

const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ENETUNREACH: i32 = 101;
const EHOSTUNREACH: i32 = 113;

/// What became of one operation.
enum Fate<'a> {
    Done,
    Refused(&'a OpError),
    /// Nobody knows; a read-back will tell.
    Lost,
}

/// One route operation and its slot.
struct RouteOp {
    at: u32,
    object: ObjectId,
    replace: bool,
    evented: bool,
}

impl Fib {
    /// Takes the answer to the outstanding batch. Any other is ignored.
    pub fn on_batch_done(&mut self, now: Instant, done: &BatchDone) {
        let Some(batch) = self.in_flight.take_if(|batch| batch.id == done.id) else {
            return;
        };
        let mut errors = done.errors.iter().peekable();
        for (index, meta) in (0u32..).zip(batch.metas) {
            while errors.next_if(|error| error.index < index).is_some() {}
            let fate = match errors.next_if(|error| error.index == index) {
                Some(error) => Fate::Refused(error),
                None if done.lost => Fate::Lost,
                None => Fate::Done,
            };
            match fate {
                Fate::Done => self.env.ops_done += 1,
                Fate::Refused(_) => self.env.ops_failed += 1,
                Fate::Lost => {}
            }
            match meta {
                Meta::Route {
                    class,
                    at,
                    object,
                    replace,
                    evented,
                } => {
                    let op = RouteOp {
                        at,
                        object,
                        replace,
                        evented,
                    };
                    with_routes!(self, class, |routes| {
                        route_done(routes, &mut self.env, now, &op, &fate);
                    });
                }
                Meta::Made(object) => self.env.made(now, object, &fate),
                Meta::Moved(object) => self.env.moved(now, object, &fate),
                Meta::Deleted(object) => self.env.deleted(now, object, &fate),
            }
        }
        if done.lost {
            self.env.gate.want_at_once(now);
        }
    }
}

impl Env {
    fn made(&mut self, now: Instant, at: ObjectId, fate: &Fate<'_>) {
        let key = Key::Object(at);
        let object = self.nexthops.object_mut(at);
        object.phase = if matches!(fate, Fate::Done) {
            Phase::Present
        } else {
            Phase::Absent
        };
        // Whatever was to use it may have come to nothing.
        self.nexthops.idle.push(at);
        match fate {
            Fate::Done => {
                self.rescan |= self.retries.clear(key).is_some();
                return;
            }
            Fate::Lost => {}
            Fate::Refused(error) if error.errno == EEXIST => {
                self.nexthops.renumber(at);
                self.gate.want(now);
                self.rescan = true;
            }
            Fate::Refused(error) => {
                let present =
                    |&member: &ObjectId| self.nexthops.object(member).phase == Phase::Present;
                // A group without a member fails with it and is made again when the member is.
                if self.nexthops.object(at).members.iter().all(present) {
                    let message = error.message.as_deref();
                    self.retries
                        .fail(now, key, Reason::NexthopRefused, error.errno, message);
                    self.gate.want(now);
                }
            }
        }
        self.nexthops.set_members(at, smallvec::SmallVec::new());
    }

    fn moved(&mut self, now: Instant, at: ObjectId, fate: &Fate<'_>) {
        let done = matches!(fate, Fate::Done);
        self.nexthops.finish_move(at, done);
        if !done {
            // Objects planned on top of it may hold something else than thought.
            self.nexthops.object_mut(at).fixed = true;
            self.rescan = true;
            self.gate.want_at_once(now);
        }
    }

    fn deleted(&mut self, now: Instant, at: ObjectId, fate: &Fate<'_>) {
        let key = Key::Object(at);
        match fate {
            Fate::Refused(error) if error.errno != ENOENT => {
                self.nexthops.object_mut(at).phase = Phase::Present;
                let message = error.message.as_deref();
                self.retries
                    .fail(now, key, Reason::DeleteRefused, error.errno, message);
            }
            Fate::Lost => self.nexthops.object_mut(at).phase = Phase::Present,
            Fate::Done | Fate::Refused(_) => {
                self.retries.clear(key);
                self.nexthops.free_object(at);
            }
        }
    }

    /// Whether the object a route was to name is in the kernel.
    fn is_present(&self, object: ObjectId) -> bool {
        self.nexthops.object(object).phase == Phase::Present
    }
}

fn route_done<F: Family>(
    routes: &mut Routes<F>,
    env: &mut Env,
    now: Instant,
    op: &RouteOp,
    fate: &Fate<'_>,
) {
    let key = Key::Route(routes.class, op.at);
    let slot = &mut routes.slots[op.at as usize];
    let mut failure = None;
    slot.flags &= !IN_FLIGHT;
    match fate {
        Fate::Lost => slot.flags |= EVENTED,
        Fate::Done => env.believe(slot, op.object),
        Fate::Refused(error) => match (error.errno, op.object) {
            (ENOENT | ESRCH, ABSENT) => env.believe(slot, ABSENT),
            (_, ABSENT) => failure = Some((Reason::DeleteRefused, *error)),
            (EEXIST, _) if !op.replace => {
                // Ours after all, if what made us think it absent was older than our own write.
                if op.evented || env.distrust {
                    env.gate.want(now);
                    slot.flags |= EVENTED;
                }
                env.believe(slot, FOREIGN);
                failure = Some((Reason::Conflict, *error));
            }
            (ENOENT | ESRCH, _) if op.replace => {
                env.believe(slot, ABSENT);
                slot.flags |= EVENTED;
            }
            (_, object) if Nexthops::is_object(object) && !env.is_present(object) => {}
            (errno, _) => {
                let suspect =
                    matches!(errno, EINVAL | ENOENT | ENODEV | ENETUNREACH | EHOSTUNREACH);
                if suspect && env.retries.get(key).is_none() {
                    env.gate.want(now);
                }
                failure = Some((Reason::RouteRefused, *error));
            }
        },
    }
    if slot.has(EVENTED) && matches!(fate, Fate::Done) {
        // Somebody changed it while ours was in flight: which came last?
        env.gate.want(now);
    }
    let wanted = slot.wanted;
    match failure {
        // What failed is not wanted any more, or something else is: that deserves an attempt at once.
        Some((reason, error)) if (wanted == NO_SET) == (op.object == ABSENT) => {
            slot.flags |= FAILED;
            env.retries
                .fail(now, key, reason, error.errno, error.message.as_deref());
        }
        _ if slot.has(FAILED) => {
            slot.flags &= !FAILED;
            env.retries.clear(key);
        }
        _ => {}
    }
    let blocked = Nexthops::is_object(op.object) && !env.is_present(op.object);
    let in_sync = wanted != NO_SET && env.nexthops.content(slot.believed) == wanted;
    if !in_sync && !blocked {
        routes.mark_dirty(op.at);
    }
}

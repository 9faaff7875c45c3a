//! Taking in what is wanted.

use dunlin_net::{Family, IpNet};

use super::backups::NO_BACKUP;
use super::nexthops::{FOREIGN, HOLE_SET, NO_SET, Nexthops, SetId};
use super::retry::Key;
use super::routes::{FAILED, FREE, RELEASED, Routes};
use super::types::{Class, Hop, Wanted};
use super::{Env, Fib, with_routes};

impl Fib {
    /// Says what `net` should lead to from now on; host bits are ignored. Saying the same again costs nothing and changes
    /// nothing.
    pub fn want(&mut self, net: IpNet, wanted: Option<&Wanted>) {
        self.want_with_backup(net, wanted, None);
    }

    /// The same, and where packets go at once if the only hop is told dead ([`Fib::on_dead`]). Routes with the same hop and
    /// backup move together. A backup of another family than the hop, or beside several hops, means none.
    pub fn want_with_backup(&mut self, net: IpNet, wanted: Option<&Wanted>, backup: Option<Hop>) {
        let set = self.env.nexthops.intern_wanted(wanted);
        let (via, hole) = if set == HOLE_SET {
            (NO_SET, set)
        } else {
            (set, NO_SET)
        };
        let backup = backup.filter(|backup| self.env.nexthops.may_back(via, backup));
        let env = &mut self.env;
        match net {
            IpNet::V4(net) => {
                want_in(&mut self.via.v4, env, net.trunc(), via, backup);
                want_in(&mut self.holes.v4, env, net.trunc(), hole, None);
            }
            IpNet::V6(net) => {
                want_in(&mut self.via.v6, env, net.trunc(), via, backup);
                want_in(&mut self.holes.v6, env, net.trunc(), hole, None);
            }
        }
        self.env.nexthops.sweep_sets();
    }

    /// Nobody has said yet what is wanted, as after a start: all that the kernel holds for us stays, held, until it is
    /// wanted again or let go.
    pub fn start_anew(&mut self) {
        self.env.hold = true;
        self.env.forget_dead();
        for class in Class::ALL {
            with_routes!(self, class, |routes| unwant_all(routes, &mut self.env));
        }
        self.env.nexthops.sweep_sets();
    }

    /// Lets one prefix through the gate: it is certain that nobody will want what the kernel holds for it. Until it is wanted
    /// again.
    pub fn release(&mut self, net: IpNet) {
        match net {
            IpNet::V4(net) => {
                release_in(&mut self.via.v4, net.trunc());
                release_in(&mut self.holes.v4, net.trunc());
            }
            IpNet::V6(net) => {
                release_in(&mut self.via.v6, net.trunc());
                release_in(&mut self.holes.v6, net.trunc());
            }
        }
    }
}

impl Nexthops {
    /// Whether a single object that holds `set` can become this hop.
    fn may_back(&self, set: SetId, backup: &Hop) -> bool {
        match &*self.set(set).hops {
            [hop] => hop != backup && hop.gateway.is_ipv4() == backup.gateway.is_ipv4(),
            _ => false,
        }
    }
}

fn want_in<F: Family>(
    routes: &mut Routes<F>,
    env: &mut Env,
    net: F::Net,
    set: SetId,
    backup: Option<Hop>,
) {
    let at = match (set, routes.find(net)) {
        (NO_SET, None) => return,
        (_, Some(at)) => at,
        (_, None) => routes.ensure(net),
    };
    let key = Key::Route(routes.class, at);
    let slot = &mut routes.slots[at as usize];
    let backups = &mut env.nexthops.backups;
    let backup = backups.acquire(backup);
    let before = std::mem::replace(&mut slot.backup, backup);
    backups.release(before);
    env.placing.due |= before != backup;
    if slot.wanted == set {
        return;
    }
    env.nexthops.rewant(slot.wanted, set);
    slot.wanted = set;
    // A conflict does not go away by wanting something else.
    if slot.has(FAILED) && (set == NO_SET || slot.believed != FOREIGN) {
        env.retries.clear(key);
        slot.flags &= !FAILED;
    }
    if set != NO_SET {
        slot.flags &= !RELEASED;
    }
    env.moves |= Nexthops::is_object(slot.believed);
    routes.mark_dirty(at);
}

fn unwant_all<F: Family>(routes: &mut Routes<F>, env: &mut Env) {
    for at in 0..u32::try_from(routes.slots.len()).unwrap_or(u32::MAX) {
        let slot = &mut routes.slots[at as usize];
        if slot.has(FREE) {
            continue;
        }
        slot.flags &= !RELEASED;
        if slot.wanted == NO_SET {
            continue;
        }
        let backup = std::mem::replace(&mut slot.backup, NO_BACKUP);
        env.nexthops.backups.release(backup);
        env.nexthops.rewant(slot.wanted, NO_SET);
        slot.wanted = NO_SET;
        if slot.has(FAILED) && slot.believed != FOREIGN {
            env.retries.clear(Key::Route(routes.class, at));
            slot.flags &= !FAILED;
        }
        routes.mark_dirty(at);
    }
}

fn release_in<F: Family>(routes: &mut Routes<F>, net: F::Net) {
    if let Some(at) = routes.find(net) {
        routes.slots[at as usize].flags |= RELEASED;
        routes.mark_dirty(at);
    }
}

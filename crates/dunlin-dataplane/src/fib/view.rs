//! What is shown of the machine.

use dunlin_net::{Afi, Family, IpNet};

use super::nexthops::{ABSENT, HOLE_SET, NO_SET, Nexthops, Phase, SetId};
use super::retry::Key;
use super::routes::{FAILED, IN_FLIGHT, RELEASED, Routes, Slot};
use super::types::{Counters, Failure, Reason, RouteState, RouteView};
use super::{Env, Fib};

impl Fib {
    /// All routes of a family, blackholes last, otherwise in no particular (but repeatable) order.
    pub fn routes(&self, afi: Afi) -> Box<dyn Iterator<Item = RouteView<'_>> + '_> {
        let env = &self.env;
        match afi {
            Afi::Ipv4 => Box::new(views(&self.via.v4, env).chain(views(&self.holes.v4, env))),
            Afi::Ipv6 => Box::new(views(&self.via.v6, env).chain(views(&self.holes.v6, env))),
        }
    }

    /// The route of one prefix; the blackhole if there is no other.
    pub fn route(&self, net: IpNet) -> Option<RouteView<'_>> {
        let env = &self.env;
        match net {
            IpNet::V4(net) => {
                let net = net.trunc();
                view(&self.via.v4, env, net).or_else(|| view(&self.holes.v4, env, net))
            }
            IpNet::V6(net) => {
                let net = net.trunc();
                view(&self.via.v6, env, net).or_else(|| view(&self.holes.v6, env, net))
            }
        }
    }

    /// Routes the kernel holds that nobody wants: what goes when deletes are no longer held, or is [`Fib::release`]d.
    pub fn stale(&self) -> impl Iterator<Item = IpNet> + '_ {
        Afi::ALL
            .into_iter()
            .flat_map(|afi| self.routes(afi))
            .filter(|route| route.state == RouteState::Stale)
            .map(|route| route.net)
    }

    /// Routes of ours that the first read-back found in the kernel.
    pub fn adopted(&self) -> usize {
        self.env.adopted
    }

    /// Counts by looking at every route.
    pub fn counters(&self) -> Counters {
        let env = &self.env;
        let mut counters = Counters {
            nexthops: env
                .nexthops
                .iter()
                .filter(|(_, object)| object.phase == Phase::Present)
                .count(),
            adopted: env.adopted,
            ops_done: env.ops_done,
            ops_failed: env.ops_failed,
            dumps: env.gate.completed,
            ..Counters::default()
        };
        count(&self.via.v4, env, &mut counters);
        count(&self.via.v6, env, &mut counters);
        count(&self.holes.v4, env, &mut counters);
        count(&self.holes.v6, env, &mut counters);
        counters
    }

    /// Octets held for prefixes, by capacity.
    pub fn memory(&self) -> usize {
        self.via.v4.memory()
            + self.via.v6.memory()
            + self.holes.v4.memory()
            + self.holes.v6.memory()
    }
}

fn views<'a, F: Family>(
    routes: &'a Routes<F>,
    env: &'a Env,
) -> impl Iterator<Item = RouteView<'a>> + 'a {
    routes
        .iter()
        .filter_map(move |(at, slot)| slot_view(routes, env, at, slot))
}

fn view<'a, F: Family>(routes: &'a Routes<F>, env: &'a Env, net: F::Net) -> Option<RouteView<'a>> {
    let at = routes.find(net)?;
    slot_view(routes, env, at, routes.slots.get(at as usize)?)
}

fn slot_view<'a, F: Family>(
    routes: &Routes<F>,
    env: &'a Env,
    at: u32,
    slot: &Slot<F>,
) -> Option<RouteView<'a>> {
    let state = state(routes, env, at, slot)?;
    let set = match slot.wanted {
        NO_SET => env.nexthops.object(slot.believed).set,
        wanted => wanted,
    };
    Some(RouteView {
        net: slot.net.into(),
        metric: routes.class.metric(),
        state,
        hops: &env.nexthops.set(set).hops,
        blackhole: routes.class.blackhole,
    })
}

/// `None` if there is nothing to show: not wanted, and not ours.
fn state<F: Family>(routes: &Routes<F>, env: &Env, at: u32, slot: &Slot<F>) -> Option<RouteState> {
    let has = env.nexthops.object(slot.believed).set;
    let held = env.hold && !slot.has(RELEASED);
    if slot.wanted == NO_SET && !slot.is_ours() {
        return None;
    }
    if slot.has(FAILED)
        && let Some(failure) = env.retries.get(Key::Route(routes.class, at))
    {
        return Some(RouteState::Failed(failure.clone()));
    }
    let state = if slot.wanted == NO_SET {
        if held {
            RouteState::Stale
        } else {
            RouteState::Pending
        }
    } else if slot.believed != ABSENT
        && !slot.has(IN_FLIGHT)
        && (has == slot.wanted || (held && env.nexthops.is_subset(slot.wanted, has)))
    {
        RouteState::Installed
    } else {
        match env.nexthop_failure(slot.wanted) {
            Some(failure) => RouteState::Failed(failure.clone()),
            None => RouteState::Pending,
        }
    };
    Some(state)
}

impl Env {
    /// Why an object that `set` needs cannot be made.
    fn nexthop_failure(&self, set: SetId) -> Option<&Failure> {
        if set == HOLE_SET {
            return None;
        }
        let of = |object| self.retries.get(Key::Object(object));
        let set = self.nexthops.set(set);
        let member = |hop| {
            let single = self.nexthops.find(std::slice::from_ref(hop))?;
            of(self.nexthops.set(single).object)
        };
        let object = set.object;
        let own = if Nexthops::is_object(object) {
            of(object)
        } else {
            None
        };
        own.or_else(|| set.hops.iter().find_map(member))
    }
}

fn count<F: Family>(routes: &Routes<F>, env: &Env, counters: &mut Counters) {
    for (at, slot) in routes.iter() {
        counters.wanted += usize::from(slot.wanted != NO_SET);
        match state(routes, env, at, slot) {
            Some(RouteState::Installed) => counters.installed += 1,
            Some(RouteState::Pending) => counters.pending += 1,
            Some(RouteState::Stale) => counters.stale += 1,
            Some(RouteState::Failed(failure)) => {
                counters.failed += 1;
                counters.conflicts += usize::from(failure.reason == Reason::Conflict);
            }
            None => {}
        }
    }
}

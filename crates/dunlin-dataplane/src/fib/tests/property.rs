//! Against a naive map: whatever the kernel refuses, drops or keeps to itself, the tables end as wanted, and what belongs
//! to others is never touched.

use std::collections::BTreeMap;
use std::time::Duration;

use dunlin_net::{Instant, IpNet};
use proptest::prelude::*;

use super::fake::{FakeKernel, Note, STATIC};
use crate::fib::{Action, Fib, Hop, NexthopContent, Op, Reason, RouteState, Target, Wanted};
use crate::mark::{BLACKHOLE_METRIC, ROUTE_METRIC, ROUTE_PROTOCOL};

#[derive(Clone, Debug)]
enum Act {
    Want {
        prefix: u8,
        wanted: u8,
    },
    WantAll {
        wanted: u8,
    },
    Step {
        times: u8,
        fail_percent: u8,
    },
    /// Execute a batch, with things happening between its execution and the answer, or a lost answer.
    Race {
        with: Box<Act>,
        before: bool,
        lost: bool,
    },
    Deliver {
        count: u8,
    },
    LoseNotes,
    Link {
        ifindex: u8,
        up: bool,
    },
    DeleteRoute {
        prefix: u8,
    },
    AlterRoute {
        prefix: u8,
    },
    DeleteNexthop {
        nth: u8,
    },
    ForeignAdd {
        prefix: u8,
    },
    ForeignDelete {
        prefix: u8,
    },
    Hold(bool),
    /// A gateway is told dead.
    Dead {
        hop: u8,
    },
    DeadSettled,
    HalfDump,
    Wait {
        millis: u16,
    },
    Restart,
}

const PREFIXES: [&str; 8] = [
    "10.0.0.0/24",
    "10.0.1.0/24",
    "10.0.1.0/25",
    "0.0.0.0/0",
    "fd00::/64",
    "fd00:0:0:1::/64",
    "::/0",
    "10.9.0.0/16",
];

fn prefix(at: u8) -> IpNet {
    PREFIXES[usize::from(at) % PREFIXES.len()].parse().unwrap()
}

fn hop_of(net: IpNet, n: u32, ifindex: u32) -> Hop {
    let v4 = std::net::Ipv4Addr::from_bits(0xC000_0200 + n).into();
    let v6 = std::net::Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(n)).into();
    Hop {
        gateway: if matches!(net, IpNet::V4(_)) { v4 } else { v6 },
        ifindex,
    }
}

fn backup(at: u8, net: IpNet) -> Option<Hop> {
    match at / 9 % 4 {
        0 => None,
        1 => Some(hop_of(net, 3, 3)),
        2 => Some(hop_of(net, 2, 2)),
        _ => Some(hop_of(net, 1, 1)),
    }
}

fn wanted(at: u8, net: IpNet) -> Option<Wanted> {
    let hop = |n: u32, ifindex: u32| hop_of(net, n, ifindex);
    Some(match at % 9 {
        0 => return None,
        1 => Wanted::Blackhole,
        2 => Wanted::Via([hop(1, 1)].into_iter().collect()),
        3 => Wanted::Via([hop(2, 2)].into_iter().collect()),
        4 => Wanted::Via([hop(2, 2), hop(1, 1)].into_iter().collect()),
        5 => Wanted::Via([hop(2, 2), hop(3, 3), hop(1, 1)].into_iter().collect()),
        6 => Wanted::Via([hop(3, 3), hop(1, 1)].into_iter().collect()),
        7 => Wanted::Via([hop(4, 1)].into_iter().collect()),
        _ => Wanted::Via([hop(3, 3)].into_iter().collect()),
    })
}

fn simple_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (any::<u8>(), any::<u8>()).prop_map(|(prefix, wanted)| Act::Want { prefix, wanted }),
        2 => any::<u8>().prop_map(|wanted| Act::WantAll { wanted }),
        1 => (0u8..4).prop_map(|count| Act::Deliver { count }),
        1 => Just(Act::LoseNotes),
        2 => (1u8..4, any::<bool>()).prop_map(|(ifindex, up)| Act::Link { ifindex, up }),
        2 => any::<u8>().prop_map(|prefix| Act::DeleteRoute { prefix }),
        1 => any::<u8>().prop_map(|prefix| Act::AlterRoute { prefix }),
        2 => any::<u8>().prop_map(|nth| Act::DeleteNexthop { nth }),
        2 => any::<u8>().prop_map(|prefix| Act::ForeignAdd { prefix }),
        2 => any::<u8>().prop_map(|prefix| Act::ForeignDelete { prefix }),
        1 => any::<bool>().prop_map(Act::Hold),
        2 => (1u8..5).prop_map(|hop| Act::Dead { hop }),
        1 => Just(Act::DeadSettled),
        1 => Just(Act::HalfDump),
        1 => (0u16..3000).prop_map(|millis| Act::Wait { millis }),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => simple_act(),
        4 => (1u8..6, prop_oneof![3 => Just(0u8), 1 => 1u8..60])
            .prop_map(|(times, fail_percent)| Act::Step { times, fail_percent }),
        2 => (simple_act(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(with, before, lost)| Act::Race { with: Box::new(with), before, lost }),
        1 => Just(Act::Restart),
    ]
}

struct World {
    fib: Fib,
    kernel: FakeKernel,
    now: Instant,
    wanted: BTreeMap<IpNet, Wanted>,
    hold: bool,
    foreign: BTreeMap<IpNet, ()>,
    /// What the batch under way replaces: a foreign route that takes its place just now would be overwritten, as nothing
    /// could prevent in the real kernel.
    replacing: Vec<IpNet>,
}

impl World {
    fn new() -> World {
        let kernel = FakeKernel {
            random: 0x9E37_79B9_7F4A_7C15,
            ..FakeKernel::default()
        };
        let now = Instant::from_micros(1_000_000);
        World {
            fib: Fib::new(1),
            kernel,
            now,
            wanted: BTreeMap::new(),
            hold: true,
            foreign: BTreeMap::new(),
            replacing: Vec::new(),
        }
    }

    fn want(&mut self, net: IpNet, at: u8) {
        let wanted = wanted(at, net);
        let backup = backup(at, net);
        self.fib.want_with_backup(net, wanted.as_ref(), backup);
        match wanted {
            Some(wanted) => self.wanted.insert(net, wanted),
            None => self.wanted.remove(&net),
        };
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Want { prefix: at, wanted } => self.want(prefix(*at), *wanted),
            Act::WantAll { wanted } => (0..8).for_each(|at| self.want(prefix(at), *wanted)),
            Act::Step {
                times,
                fail_percent,
            } => {
                self.kernel.fail_percent = u32::from(*fail_percent);
                for _ in 0..*times {
                    self.kernel.step(&mut self.fib, self.now);
                }
                self.kernel.fail_percent = 0;
            }
            Act::Race { with, before, lost } => self.race(with, *before, *lost),
            Act::Deliver { count } => {
                for _ in 0..*count {
                    self.kernel.deliver(&mut self.fib, self.now);
                }
            }
            Act::LoseNotes => self.kernel.lose_notes(),
            Act::Link { ifindex, up } => self.kernel.set_link(u32::from(*ifindex), *up),
            Act::DeleteRoute { prefix: at } => {
                let net = prefix(*at);
                if self.ours(net) {
                    self.kernel.meddle(net, ROUTE_METRIC, None);
                }
            }
            Act::AlterRoute { prefix: at } => {
                let net = prefix(*at);
                if self.ours(net) {
                    let altered = Some((ROUTE_PROTOCOL, Target::Other));
                    self.kernel.meddle(net, ROUTE_METRIC, altered);
                }
            }
            Act::DeleteNexthop { nth } => {
                let count = self.kernel.nexthops.len().max(1);
                if let Some(&id) = self.kernel.nexthops.keys().nth(usize::from(*nth) % count) {
                    self.kernel.drop_nexthop(id);
                    self.kernel.notes.push_back(Note::Nexthop(id));
                }
            }
            Act::ForeignAdd { prefix: at } => self.foreign_add(prefix(*at)),
            Act::ForeignDelete { prefix: at } => {
                let net = prefix(*at);
                if self.foreign.remove(&net).is_some() {
                    self.kernel.meddle(net, ROUTE_METRIC, None);
                }
            }
            Act::Hold(hold) => {
                self.hold = *hold;
                self.fib.hold_deletes(*hold);
            }
            Act::Dead { hop } => {
                let nets = [prefix(0), prefix(4)];
                let gateway = |net| hop_of(net, u32::from(*hop), 0).gateway;
                self.fib.on_dead(nets.map(gateway));
            }
            Act::DeadSettled => self.fib.on_dead_settled(),
            Act::HalfDump => {
                self.fib.on_overrun(self.now);
                if let Some(deadline) = self.fib.next_deadline() {
                    self.now = self.now.max(deadline);
                }
                match self.fib.poll(self.now) {
                    Some(Action::Dump) => self.kernel.dump(&mut self.fib, self.now, false),
                    Some(Action::Batch(batch)) => {
                        let done = self.kernel.execute(&batch);
                        self.fib.on_batch_done(self.now, &done);
                    }
                    None => {}
                }
            }
            Act::Wait { millis } => self.now = self.now + Duration::from_millis(u64::from(*millis)),
            Act::Restart => {
                self.fib = Fib::new(2);
                self.hold = true;
                self.kernel.notes.clear();
                for (net, wanted) in &self.wanted {
                    self.fib.want(*net, Some(wanted));
                }
            }
        }
    }

    fn ours(&self, net: IpNet) -> bool {
        matches!(
            self.kernel.routes.get(&(net, ROUTE_METRIC)),
            Some((ROUTE_PROTOCOL, _))
        )
    }

    /// Where there is no route, or in place of ours, told before anything else is asked.
    fn foreign_add(&mut self, net: IpNet) {
        if self.replacing.contains(&net) {
            return;
        }
        self.kernel
            .meddle(net, ROUTE_METRIC, Some((STATIC, Target::Other)));
        self.foreign.insert(net, ());
        while self.kernel.deliver(&mut self.fib, self.now) {}
    }

    fn race(&mut self, with: &Act, before: bool, lost: bool) {
        match self.fib.poll(self.now) {
            None => self.act(with),
            Some(Action::Dump) => {
                self.act(with);
                self.kernel.dump(&mut self.fib, self.now, true);
            }
            Some(Action::Batch(batch)) => {
                let replaced = |op: &Op| match op {
                    Op::Route {
                        net, replace: true, ..
                    } => Some(*net),
                    _ => None,
                };
                self.replacing = batch.ops.iter().filter_map(replaced).collect();
                if before {
                    self.act(with);
                }
                let mut done = self.kernel.execute(&batch);
                if !before {
                    self.act(with);
                }
                self.replacing.clear();
                if lost {
                    done.errors.clear();
                    done.lost = true;
                }
                self.fib.on_batch_done(self.now, &done);
            }
        }
    }

    /// Held deletes do not happen.
    fn check_hold(&mut self, held_before: bool) {
        let deletes = |(op, _): &(Op, Option<i32>)| {
            matches!(op, Op::RouteDelete { .. } | Op::NexthopDelete { .. })
        };
        if self.hold && held_before {
            let found = self.kernel.log.iter().find(|entry| deletes(entry));
            assert!(found.is_none(), "deleted while held: {found:?}");
        }
        self.kernel.log.clear();
    }

    fn check_foreign(&self) {
        for net in self.foreign.keys() {
            let route = self.kernel.routes.get(&(*net, ROUTE_METRIC));
            assert_eq!(route, Some(&(STATIC, Target::Other)), "foreign {net}");
        }
    }

    fn check_converged(&self) {
        let mut expected = BTreeMap::new();
        for (net, wanted) in &self.wanted {
            match wanted {
                Wanted::Blackhole => {
                    expected.insert((*net, BLACKHOLE_METRIC), Vec::new());
                }
                Wanted::Via(_) if self.foreign.contains_key(net) => {
                    match self.fib.route(*net).map(|route| route.state) {
                        Some(RouteState::Failed(failure)) => {
                            assert_eq!(failure.reason, Reason::Conflict);
                        }
                        other => panic!("{net} should be a conflict: {other:?}"),
                    }
                }
                Wanted::Via(hops) => {
                    let mut hops = hops.to_vec();
                    hops.sort_unstable();
                    expected.insert((*net, ROUTE_METRIC), hops);
                    let state = self.fib.route(*net).map(|route| route.state);
                    assert_eq!(state, Some(RouteState::Installed), "{net}");
                }
            }
        }
        let mut found = BTreeMap::new();
        let mut used = Vec::new();
        for (key, (protocol, target)) in &self.kernel.routes {
            if *protocol != ROUTE_PROTOCOL {
                continue;
            }
            let hops = match target {
                Target::Nexthop(id) => {
                    used.push(*id);
                    let mut hops = self.kernel.hops(*id).expect("the nexthop exists");
                    hops.sort_unstable();
                    hops
                }
                Target::Blackhole => Vec::new(),
                Target::Other => panic!("{key:?} was altered and not repaired"),
            };
            found.insert(*key, hops);
        }
        assert_eq!(found, expected);
        for id in used.clone() {
            if let Some((_, NexthopContent::Group(ids))) = self.kernel.nexthops.get(&id) {
                used.extend(ids);
            }
        }
        // What a conflict keeps out is ready for the day it ends.
        let mut ready: Vec<Hop> = Vec::new();
        for net in self.foreign.keys() {
            if let Some(Wanted::Via(hops)) = self.wanted.get(net) {
                ready.extend(hops);
            }
        }
        for id in self.kernel.nexthops.keys() {
            let hops = self.kernel.hops(*id).unwrap_or_default();
            assert!(
                used.contains(id) || hops.iter().all(|hop| ready.contains(hop)),
                "nexthop {id:#x} is left over: {:?}",
                self.kernel
            );
        }
        assert_eq!(self.fib.counters().pending, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_as_wanted(acts in prop::collection::vec(act(), 1..40)) {
        let mut world = World::new();
        for act in &acts {
            let held = world.hold;
            world.act(act);
            world.check_hold(held);
            world.check_foreign();
        }
        world.act(&Act::Hold(false));
        world.act(&Act::DeadSettled);
        for ifindex in 1..4 {
            world.act(&Act::Link { ifindex, up: true });
        }
        world.kernel.settle(&mut world.fib, &mut world.now, 400);
        world.check_foreign();
        world.check_converged();
        // Then there is peace: another look finds nothing to do.
        world.kernel.log.clear();
        world.fib.on_overrun(world.now);
        world.kernel.settle(&mut world.fib, &mut world.now, 40);
        // But for what a conflict is tried again with.
        let done = |(op, error): &&(Op, Option<i32>)| {
            error.is_none() && !matches!(op, Op::Nexthop { replace: false, .. })
        };
        let kept: Vec<_> = world.kernel.log.iter().filter(done).collect();
        prop_assert!(kept.is_empty(), "{kept:?}");
    }
}

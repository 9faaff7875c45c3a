//! Hops that die: how many operations it takes until no route leads to them, and that the end is what is wanted.

use std::net::IpAddr;

use dunlin_net::{Instant, IpNet, ScopedAddr};

use super::fake::FakeKernel;
use crate::fib::{Action, Fib, Hop, Op, Target, Wanted};
use crate::mark::ROUTE_METRIC;

const MANY: u32 = 1000;
const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";
const C: &str = "192.0.2.3";

fn net(at: u32) -> IpNet {
    let addr = std::net::Ipv4Addr::from_bits(0x0A00_0000 + (at << 8));
    format!("{addr}/24").parse().unwrap()
}

fn hop(gateway: &str) -> Hop {
    Hop {
        gateway: gateway.parse().unwrap(),
        ifindex: 2,
    }
}

fn addr(gateway: &str) -> IpAddr {
    gateway.parse().unwrap()
}

struct World {
    fib: Fib,
    kernel: FakeKernel,
    now: Instant,
}

impl World {
    fn new() -> World {
        let mut world = World {
            fib: Fib::new(7),
            kernel: FakeKernel::default(),
            now: Instant::from_micros(1_000_000),
        };
        world.fib.hold_deletes(false);
        world.settle();
        world
    }

    fn settle(&mut self) {
        self.kernel.settle(&mut self.fib, &mut self.now, 50);
    }

    fn want(&mut self, at: u32, hops: &[&str], backup: Option<&str>) {
        let wanted = Wanted::Via(hops.iter().map(|gateway| hop(gateway)).collect());
        self.fib
            .want_with_backup(net(at), Some(&wanted), backup.map(hop));
    }

    fn want_all(&mut self, hops: &[&str], backup: Option<&str>) {
        (0..MANY).for_each(|at| self.want(at, hops, backup));
    }

    /// The gateways of a route in the kernel.
    fn leads(&self, at: u32) -> Vec<IpAddr> {
        let Some((_, Target::Nexthop(id))) = self.kernel.routes.get(&(net(at), ROUTE_METRIC))
        else {
            return Vec::new();
        };
        let hops = self.kernel.hops(*id).unwrap();
        hops.iter().map(|hop| hop.gateway).collect()
    }

    fn all_lead(&self, to: &[&str]) -> bool {
        let to: Vec<IpAddr> = to.iter().map(|gateway| addr(gateway)).collect();
        (0..MANY).all(|at| self.leads(at) == to)
    }

    /// Executes the first batch after a death, and gives how many operations it was.
    fn first_batch(&mut self) -> usize {
        self.kernel.log.clear();
        let Some(Action::Batch(batch)) = self.fib.poll(self.now) else {
            panic!("nothing is done about the death");
        };
        let done = self.kernel.execute(&batch);
        self.fib.on_batch_done(self.now, &done);
        batch.ops.len()
    }

    fn route_ops(&self) -> usize {
        let of_routes =
            |op: &&(Op, Option<i32>)| matches!(op.0, Op::Route { .. } | Op::RouteDelete { .. });
        self.kernel.log.iter().filter(of_routes).count()
    }
}

#[test]
fn a_group_loses_the_dead_hop_by_one_operation() {
    let mut world = World::new();
    world.want_all(&[A, B, C], None);
    world.settle();
    world.fib.on_dead([addr(A)]);
    assert_eq!(world.first_batch(), 1);
    assert!(world.all_lead(&[B, C]));
    // The table is decided anew in pieces; nothing moves any more.
    for at in 0..MANY {
        world.want(at, &[B, C], None);
        if at % 100 == 0 {
            world.settle();
        }
    }
    world.settle();
    world.fib.on_dead_settled();
    world.settle();
    assert_eq!(world.route_ops(), 0, "{:?}", world.kernel.log);
    assert!(world.all_lead(&[B, C]));
}

#[test]
fn all_routes_with_one_backup_move_by_one_operation() {
    let mut world = World::new();
    world.want_all(&[A], None);
    world.settle();
    world.kernel.log.clear();
    // The second router's routes come later. That one could stand in costs nothing.
    world.want_all(&[A], Some(B));
    world.settle();
    assert!(world.kernel.log.is_empty(), "{:?}", world.kernel.log);

    world.fib.on_dead([addr(A)]);
    assert_eq!(world.first_batch(), 1);
    assert!(world.all_lead(&[B]));
    for at in 0..MANY {
        world.want(at, &[B], None);
        if at % 100 == 0 {
            world.settle();
        }
    }
    world.fib.on_dead_settled();
    world.settle();
    assert_eq!(world.route_ops(), 0, "{:?}", world.kernel.log);
    assert!(world.all_lead(&[B]));
    assert!(world.fib.is_settled());
}

#[test]
fn each_backup_has_an_object_of_its_own() {
    let mut world = World::new();
    world.want_all(&[A], None);
    world.settle();
    for at in 0..MANY {
        let backup = match at % 10 {
            0 => None,
            1..3 => Some(C),
            _ => Some(B),
        };
        world.want(at, &[A], backup);
    }
    world.kernel.log.clear();
    world.settle();
    // The many stay where they are, the few move.
    assert_eq!(world.route_ops(), 300);
    world.fib.on_dead([addr(A)]);
    assert_eq!(world.first_batch(), 2);
    for at in 0..MANY {
        let to = match at % 10 {
            0 => A,
            1..3 => C,
            _ => B,
        };
        assert_eq!(world.leads(at), [addr(to)]);
    }
}

#[test]
fn a_backup_that_is_dead_too_helps_nobody() {
    let mut world = World::new();
    world.want_all(&[A], Some(B));
    world.settle();
    world.fib.on_dead([addr(A), addr(B)]);
    world.settle();
    assert!(world.all_lead(&[A]));
}

#[test]
fn a_death_that_turns_out_to_be_none_is_taken_back() {
    let mut world = World::new();
    world.want_all(&[A], Some(B));
    world.want(MANY, &[A, B], None);
    world.settle();
    world.fib.on_dead([addr(A)]);
    world.settle();
    assert!(world.all_lead(&[B]));
    assert_eq!(world.leads(MANY), [addr(B)]);
    assert!(!world.fib.is_settled());
    world.fib.on_dead_settled();
    world.settle();
    assert!(world.all_lead(&[A]));
    assert_eq!(world.leads(MANY), [addr(A), addr(B)]);
    assert!(world.fib.is_settled());
}

#[test]
fn an_object_that_groups_hold_is_not_rewritten_under_them() {
    let mut world = World::new();
    world.want(0, &[A, B], None);
    world.want(1, &[A], Some(C));
    world.settle();
    world.fib.on_dead([addr(A)]);
    world.settle();
    assert_eq!(world.leads(0), [addr(B)]);
    assert_eq!(world.leads(1), [addr(C)]);
}

#[test]
fn while_deletes_are_held_nobody_is_led_past_a_death() {
    let mut world = World::new();
    world.want_all(&[A], Some(B));
    world.settle();
    world.fib.hold_deletes(true);
    world.fib.on_dead([addr(A)]);
    assert!(!world.fib.has_failover());
    world.settle();
    assert!(world.all_lead(&[A]));
}

#[test]
fn a_hop_that_is_dead_on_one_link_lives_on_another() {
    let mut world = World::new();
    world.want_all(&[A, B], None);
    world.settle();
    let elsewhere = ScopedAddr {
        addr: addr(A),
        interface: u32::MAX,
    };
    world.fib.on_dead([elsewhere]);
    assert!(world.fib.has_dead());
    world.settle();
    assert!(world.all_lead(&[A, B]));
}

#[test]
fn an_object_that_lost_its_last_route_is_kept_for_the_next() {
    let mut world = World::new();
    world.want(0, &[A], Some(B));
    world.settle();
    // Somebody deletes the only route on it: the same batch must not delete what it writes the route with.
    world.kernel.meddle(net(0), ROUTE_METRIC, None);
    world.settle();
    assert_eq!(world.leads(0), [addr(A)]);
    // The only route leaves, and its place is taken while nobody has yet looked after the object.
    world.want(0, &[C], None);
    world.kernel.step(&mut world.fib, world.now);
    world.want(1, &[A], Some(B));
    world.settle();
    assert_eq!(
        (world.leads(0), world.leads(1)),
        (vec![addr(C)], vec![addr(A)])
    );
    assert_eq!(world.fib.counters().pending, 0);
}

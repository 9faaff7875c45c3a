use std::time::Duration;

use dunlin_net::{Afi, Instant, IpNet};

use super::fake::{EEXIST, FakeKernel, STATIC};
use crate::fib::{Action, Fib, Hop, NexthopContent, Op, Reason, RouteState, Target, Wanted};
use crate::mark::{BLACKHOLE_METRIC, NEXTHOP_FIRST, ROUTE_METRIC, ROUTE_PROTOCOL};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn hop(gateway: &str, ifindex: u32) -> Hop {
    Hop {
        gateway: gateway.parse().unwrap(),
        ifindex,
    }
}

fn via(hops: &[(&str, u32)]) -> Wanted {
    Wanted::Via(
        hops.iter()
            .map(|(gateway, ifindex)| hop(gateway, *ifindex))
            .collect(),
    )
}

/// A machine that knows an empty kernel and holds nothing.
fn start() -> (Fib, FakeKernel, Instant) {
    let (mut fib, mut kernel, mut now) = (
        Fib::new(7),
        FakeKernel::default(),
        Instant::from_micros(1_000_000),
    );
    fib.hold_deletes(false);
    kernel.settle(&mut fib, &mut now, 10);
    (fib, kernel, now)
}

/// A machine after a restart: it holds deletes and has read back.
fn restart(kernel: &mut FakeKernel, now: &mut Instant) -> Fib {
    let mut fib = Fib::new(8);
    kernel.log.clear();
    kernel.settle(&mut fib, now, 10);
    fib
}

fn state(fib: &Fib, prefix: &str) -> Option<RouteState> {
    fib.route(net(prefix)).map(|route| route.state)
}

fn route_hops(kernel: &FakeKernel, prefix: &str) -> Option<Vec<Hop>> {
    match kernel.routes.get(&(net(prefix), ROUTE_METRIC))? {
        (ROUTE_PROTOCOL, Target::Nexthop(id)) => kernel.hops(*id),
        _ => None,
    }
}

#[test]
fn nothing_is_written_before_the_first_read_back() {
    let mut fib = Fib::new(0);
    fib.want(net("10.0.0.0/24"), Some(&via(&[("192.0.2.1", 2)])));
    assert!(matches!(fib.poll(Instant::ZERO), Some(Action::Dump)));
    assert!(fib.poll(Instant::ZERO).is_none());
    fib.on_dump_begin();
    assert!(fib.poll(Instant::ZERO).is_none());
    fib.on_dump_end(Instant::ZERO, true);
    assert!(matches!(fib.poll(Instant::ZERO), Some(Action::Batch(_))));
}

#[test]
fn nexthops_precede_the_routes_that_name_them_and_are_shared() {
    let (mut fib, mut kernel, mut now) = start();
    fib.want(
        net("10.0.0.0/24"),
        Some(&via(&[("192.0.2.2", 2), ("192.0.2.1", 2)])),
    );
    fib.want(
        net("10.0.1.0/24"),
        Some(&via(&[
            ("192.0.2.1", 2),
            ("192.0.2.2", 2),
            ("192.0.2.1", 2),
        ])),
    );
    fib.want(net("10.0.2.0/24"), Some(&via(&[("192.0.2.1", 2)])));
    assert_eq!(state(&fib, "10.0.0.0/24"), Some(RouteState::Pending));
    kernel.settle(&mut fib, &mut now, 10);
    assert_eq!(
        kernel.nexthops.len(),
        3,
        "two hops and one group: {:?}",
        kernel.nexthops
    );
    assert_eq!(kernel.log.len(), 6);
    assert!(kernel.log.iter().all(|(_, error)| error.is_none()));
    assert_eq!(
        route_hops(&kernel, "10.0.1.0/24"),
        Some(vec![hop("192.0.2.1", 2), hop("192.0.2.2", 2)])
    );
    assert_eq!(state(&fib, "10.0.0.0/24"), Some(RouteState::Installed));
    let counters = fib.counters();
    assert_eq!(
        (counters.installed, counters.nexthops, counters.pending),
        (3, 3, 0)
    );
}

#[test]
fn wanting_the_same_again_asks_for_nothing() {
    let (mut fib, mut kernel, mut now) = start();
    fib.want(net("10.0.0.0/24"), Some(&via(&[("192.0.2.1", 2)])));
    kernel.settle(&mut fib, &mut now, 10);
    fib.want(net("10.0.0.9/24"), Some(&via(&[("192.0.2.1", 2)])));
    assert!(fib.poll(now).is_none());
    assert!(fib.is_settled());
}

#[test]
fn a_withdrawn_route_takes_its_nexthops_with_it_in_a_later_batch() {
    let (mut fib, mut kernel, mut now) = start();
    fib.want(
        net("10.0.0.0/24"),
        Some(&via(&[("192.0.2.1", 2), ("192.0.2.2", 2)])),
    );
    kernel.settle(&mut fib, &mut now, 10);
    fib.want(net("10.0.0.0/24"), None);
    let Some(Action::Batch(batch)) = fib.poll(now) else {
        panic!("nothing to do")
    };
    assert_eq!(
        batch.ops,
        [Op::RouteDelete {
            net: net("10.0.0.0/24"),
            metric: ROUTE_METRIC
        }]
    );
    let done = kernel.execute(&batch);
    fib.on_batch_done(now, &done);
    kernel.settle(&mut fib, &mut now, 10);
    assert!(
        kernel.routes.is_empty() && kernel.nexthops.is_empty(),
        "{kernel:?}"
    );
    assert_eq!(fib.routes(Afi::Ipv4).count(), 0);
}

#[test]
fn a_thousand_routes_of_a_group_move_with_one_replacement() {
    let (mut fib, mut kernel, mut now) = start();
    let prefixes: Vec<IpNet> = (0..1000u32)
        .map(|i| format!("10.{}.{}.0/24", i / 256, i % 256).parse().unwrap())
        .collect();
    let both = via(&[("192.0.2.1", 2), ("192.0.2.2", 2)]);
    prefixes
        .iter()
        .for_each(|prefix| fib.want(*prefix, Some(&both)));
    kernel.settle(&mut fib, &mut now, 10);
    kernel.log.clear();
    // One of the two dies: all routes of the group want the other.
    prefixes
        .iter()
        .for_each(|prefix| fib.want(*prefix, Some(&via(&[("192.0.2.2", 2)]))));
    kernel.settle(&mut fib, &mut now, 10);
    let kinds: Vec<&Op> = kernel.log.iter().map(|(op, _)| op).collect();
    assert!(
        matches!(
            kinds[..],
            [
                Op::Nexthop {
                    replace: true,
                    content: NexthopContent::Group(_),
                    ..
                },
                Op::NexthopDelete { .. }
            ]
        ),
        "{kinds:?}"
    );
    assert_eq!(
        route_hops(&kernel, "10.1.7.0/24"),
        Some(vec![hop("192.0.2.2", 2)])
    );
    assert_eq!(fib.counters().installed, 1000);
    // And back.
    kernel.log.clear();
    prefixes
        .iter()
        .for_each(|prefix| fib.want(*prefix, Some(&both)));
    kernel.settle(&mut fib, &mut now, 10);
    assert_eq!(kernel.log.len(), 2, "{:?}", kernel.log);
    assert_eq!(fib.counters().installed, 1000);
}

#[test]
fn a_route_never_vanishes_while_its_next_hop_changes() {
    let (mut fib, mut kernel, mut now) = start();
    fib.want(net("10.0.0.0/24"), Some(&via(&[("192.0.2.1", 2)])));
    fib.want(net("10.0.1.0/24"), Some(&via(&[("192.0.2.1", 2)])));
    kernel.settle(&mut fib, &mut now, 10);
    kernel.log.clear();
    fib.want(net("10.0.0.0/24"), Some(&via(&[("192.0.2.7", 2)])));
    kernel.settle(&mut fib, &mut now, 10);
    assert!(
        kernel
            .log
            .iter()
            .all(|(op, _)| !matches!(op, Op::RouteDelete { .. }))
    );
    assert_eq!(
        route_hops(&kernel, "10.0.0.0/24"),
        Some(vec![hop("192.0.2.7", 2)])
    );
    assert_eq!(
        route_hops(&kernel, "10.0.1.0/24"),
        Some(vec![hop("192.0.2.1", 2)])
    );
}

#[test]
fn a_foreign_route_is_a_conflict_until_it_goes() {
    let (mut fib, mut kernel, mut now) = start();
    kernel
        .routes
        .insert((net("10.0.0.0/24"), ROUTE_METRIC), (STATIC, Target::Other));
    fib.want(net("10.0.0.0/24"), Some(&via(&[("192.0.2.1", 2)])));
    kernel.settle(&mut fib, &mut now, 10);
    match state(&fib, "10.0.0.0/24") {
        Some(RouteState::Failed(failure)) => {
            assert_eq!((failure.reason, failure.errno), (Reason::Conflict, EEXIST));
            assert!(failure.retry_at.is_some());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fib.counters().conflicts, 1);
    // Wanting something else does not make it ours.
    fib.want(net("10.0.0.0/24"), Some(&via(&[("192.0.2.9", 2)])));
    kernel.settle(&mut fib, &mut now, 10);
    assert_eq!(kernel.routes[&(net("10.0.0.0/24"), ROUTE_METRIC)].0, STATIC);
    kernel.meddle(net("10.0.0.0/24"), ROUTE_METRIC, None);
    kernel.settle(&mut fib, &mut now, 10);
    assert_eq!(state(&fib, "10.0.0.0/24"), Some(RouteState::Installed));
}

#[test]
fn a_foreign_route_that_replaced_ours_is_left_alone() {
    let (mut fib, mut kernel, mut now) = start();
    fib.want(net("10.0.0.0/24"), Some(&via(&[("192.0.2.1", 2)])));
    kernel.settle(&mut fib, &mut now, 10);
    kernel.meddle(
        net("10.0.0.0/24"),
        ROUTE_METRIC,
        Some((STATIC, Target::Other)),
    );
    kernel.settle(&mut fib, &mut now, 10);
    let conflict = |fib: &Fib| match state(fib, "10.0.0.0/24") {
        Some(RouteState::Failed(failure)) => failure.reason == Reason::Conflict,
        _ => false,
    };
    assert!(conflict(&fib));
    fib.want(net("10.0.0.0/24"), None);
    kernel.settle(&mut fib, &mut now, 10);
    assert_eq!(kernel.routes.len(), 1, "the foreign route stays");
}

#[test]
fn a_deleted_route_is_repaired_at_once() {
    let (mut fib, mut kernel, mut now) = start();
    fib.want(net("10.0.0.0/24"), Some(&via(&[("192.0.2.1", 2)])));
    kernel.settle(&mut fib, &mut now, 10);
    let before = now;
    kernel.meddle(net("10.0.0.0/24"), ROUTE_METRIC, None);
    kernel.settle(&mut fib, &mut now, 10);
    assert_eq!(
        route_hops(&kernel, "10.0.0.0/24"),
        Some(vec![hop("192.0.2.1", 2)])
    );
    assert!(now.since(before) < Duration::from_millis(500));
}

#[test]
fn routes_lost_with_a_link_are_back_when_it_is() {
    let (mut fib, mut kernel, mut now) = start();
    fib.want(net("10.0.0.0/24"), Some(&via(&[("192.0.2.1", 2)])));
    fib.want(
        net("10.0.1.0/24"),
        Some(&via(&[("192.0.2.1", 2), ("198.51.100.1", 3)])),
    );
    kernel.settle(&mut fib, &mut now, 10);
    kernel.set_link(2, false);
    for _ in 0..20 {
        while kernel.deliver(&mut fib, now) {}
        if !kernel.step(&mut fib, now) {
            now = fib.next_deadline().unwrap();
        }
    }
    match state(&fib, "10.0.0.0/24") {
        Some(RouteState::Failed(failure)) => assert_eq!(failure.reason, Reason::NexthopRefused),
        other => panic!("{other:?}"),
    }
    let before = now;
    kernel.set_link(2, true);
    kernel.settle(&mut fib, &mut now, 20);
    assert!(
        now.since(before) < Duration::from_millis(2500),
        "{:?}",
        now.since(before)
    );
    assert_eq!(fib.counters().installed, 2);
    assert_eq!(
        route_hops(&kernel, "10.0.1.0/24").map(|hops| hops.len()),
        Some(2)
    );
}

#[test]
fn a_restart_without_a_change_does_nothing() {
    let (mut fib, mut kernel, mut now) = start();
    let want = |fib: &mut Fib| {
        fib.want(net("10.0.0.0/24"), Some(&via(&[("192.0.2.1", 2)])));
        fib.want(
            net("10.0.1.0/24"),
            Some(&via(&[("192.0.2.1", 2), ("192.0.2.2", 2)])),
        );
        fib.want(net("10.0.9.0/24"), Some(&Wanted::Blackhole));
        fib.want(net("fd00::/64"), Some(&via(&[("2001:db8::1", 2)])));
    };
    want(&mut fib);
    kernel.settle(&mut fib, &mut now, 10);
    assert_eq!(
        kernel.routes.get(&(net("10.0.9.0/24"), BLACKHOLE_METRIC)),
        Some(&(ROUTE_PROTOCOL, Target::Blackhole))
    );
    let mut fib = restart(&mut kernel, &mut now);
    assert_eq!(fib.counters().adopted, 4);
    assert_eq!(fib.stale().count(), 4);
    want(&mut fib);
    fib.hold_deletes(false);
    kernel.settle(&mut fib, &mut now, 10);
    assert!(kernel.log.is_empty(), "{:?}", kernel.log);
    assert_eq!(fib.counters().installed, 4);
}

#[test]
fn held_deletes_wait_and_additions_do_not() {
    let (mut fib, mut kernel, mut now) = start();
    fib.want(net("10.0.0.0/24"), Some(&via(&[("192.0.2.1", 2)])));
    fib.want(
        net("10.0.1.0/24"),
        Some(&via(&[("192.0.2.1", 2), ("192.0.2.2", 2)])),
    );
    fib.want(net("10.0.2.0/24"), Some(&via(&[("192.0.2.1", 2)])));
    fib.want(net("10.0.3.0/24"), Some(&via(&[("192.0.2.5", 2)])));
    kernel.settle(&mut fib, &mut now, 10);

    let mut fib = restart(&mut kernel, &mut now);
    fib.want(net("10.0.1.0/24"), Some(&via(&[("192.0.2.2", 2)])));
    fib.want(net("10.0.2.0/24"), Some(&via(&[("192.0.2.3", 2)])));
    fib.want(net("10.0.4.0/24"), Some(&via(&[("192.0.2.4", 2)])));
    kernel.settle(&mut fib, &mut now, 10);
    let hops = |kernel: &FakeKernel, prefix| route_hops(kernel, prefix).map(|hops| hops.len());
    assert_eq!(hops(&kernel, "10.0.0.0/24"), Some(1), "nobody wants it yet");
    assert_eq!(state(&fib, "10.0.0.0/24"), Some(RouteState::Stale));
    assert_eq!(
        hops(&kernel, "10.0.1.0/24"),
        Some(2),
        "it keeps the hop not yet confirmed"
    );
    assert_eq!(state(&fib, "10.0.1.0/24"), Some(RouteState::Installed));
    assert_eq!(
        hops(&kernel, "10.0.2.0/24"),
        Some(2),
        "the new hop joins the old"
    );
    assert_eq!(
        hops(&kernel, "10.0.4.0/24"),
        Some(1),
        "additions go at once"
    );

    // A prefix that is certainly nobody's goes before the gate opens.
    fib.release(net("10.0.3.0/24"));
    kernel.settle(&mut fib, &mut now, 10);
    assert_eq!(hops(&kernel, "10.0.3.0/24"), None);
    assert_eq!(hops(&kernel, "10.0.0.0/24"), Some(1));

    fib.hold_deletes(false);
    kernel.settle(&mut fib, &mut now, 10);
    assert_eq!(hops(&kernel, "10.0.0.0/24"), None);
    assert_eq!(
        route_hops(&kernel, "10.0.1.0/24"),
        Some(vec![hop("192.0.2.2", 2)])
    );
    assert_eq!(
        route_hops(&kernel, "10.0.2.0/24"),
        Some(vec![hop("192.0.2.3", 2)])
    );
    // A group narrowed to one hop may still be a group.
    assert!(kernel.nexthops.len() <= 5, "{:?}", kernel.nexthops);
}

#[test]
fn a_foreign_nexthop_in_our_range_is_not_touched() {
    let (mut fib, mut kernel, mut now) = start();
    let foreign = NexthopContent::Single(hop("203.0.113.1", 9));
    kernel
        .nexthops
        .insert(NEXTHOP_FIRST, (STATIC, foreign.clone()));
    fib.want(net("10.0.0.0/24"), Some(&via(&[("192.0.2.1", 2)])));
    kernel.settle(&mut fib, &mut now, 10);
    assert_eq!(state(&fib, "10.0.0.0/24"), Some(RouteState::Installed));
    fib.want(net("10.0.0.0/24"), None);
    kernel.settle(&mut fib, &mut now, 10);
    assert_eq!(
        kernel.nexthops.into_iter().collect::<Vec<_>>(),
        [(NEXTHOP_FIRST, (STATIC, foreign))]
    );
}

#[test]
fn an_ipv6_route_through_an_ipv4_hop_is_refused_with_a_reason() {
    let (mut fib, mut kernel, mut now) = start();
    fib.want(net("fd00::/64"), Some(&via(&[("192.0.2.1", 2)])));
    kernel.settle(&mut fib, &mut now, 10);
    match state(&fib, "fd00::/64") {
        Some(RouteState::Failed(failure)) => {
            assert_eq!(
                (failure.reason, failure.retry_at),
                (Reason::FamilyMismatch, None)
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(kernel.log.is_empty());
    fib.want(net("fd00::/64"), Some(&via(&[("2001:db8::1", 2)])));
    kernel.settle(&mut fib, &mut now, 10);
    assert_eq!(state(&fib, "fd00::/64"), Some(RouteState::Installed));
}

#[test]
fn a_refused_operation_is_tried_again_less_and_less_often() {
    let (mut fib, mut kernel, mut now) = start();
    kernel.random = 1;
    kernel.fail_percent = 100;
    fib.want(net("10.0.0.0/24"), Some(&Wanted::Blackhole));
    let mut waits = Vec::new();
    for _ in 0..12 {
        while kernel.step(&mut fib, now) {}
        let at = fib.next_deadline().unwrap();
        waits.push(at.since(now).as_millis());
        now = at;
    }
    assert_eq!(waits[..4], [100, 200, 400, 800]);
    assert_eq!(waits[11], 60_000);
    match state(&fib, "10.0.0.0/24") {
        Some(RouteState::Failed(failure)) => {
            assert_eq!(failure.message.as_deref(), Some("refused"))
        }
        other => panic!("{other:?}"),
    }
    kernel.fail_percent = 0;
    kernel.settle(&mut fib, &mut now, 10);
    assert_eq!(state(&fib, "10.0.0.0/24"), Some(RouteState::Installed));
}

#[test]
fn a_batch_is_bounded_and_one_is_outstanding() {
    let (mut fib, mut kernel, mut now) = start();
    for i in 0..40_000u32 {
        let prefix = format!("10.{}.{}.{}/32", i >> 16, (i >> 8) & 255, i & 255);
        fib.want(net(&prefix), Some(&via(&[("192.0.2.1", 2)])));
    }
    let Some(Action::Batch(batch)) = fib.poll(now) else {
        panic!("nothing to do")
    };
    assert!(
        batch.ops.len() <= crate::fib::MAX_OPS + 1,
        "{}",
        batch.ops.len()
    );
    assert!(fib.poll(now).is_none());
    let done = kernel.execute(&batch);
    fib.on_batch_done(now, &done);
    kernel.settle(&mut fib, &mut now, 10);
    assert_eq!(kernel.routes.len(), 40_000);
}

#[test]
fn a_million_prefixes_cost_less_than_forty_octets_each() {
    let (mut fib, _, _) = start();
    let wanted = via(&[("192.0.2.1", 2)]);
    for i in 0..1_000_000u32 {
        let addr = std::net::Ipv4Addr::from_bits(0x0A00_0000 + (i << 4));
        fib.want(IpNet::new(addr.into(), 28).unwrap(), Some(&wanted));
    }
    assert!(fib.memory() / 1_000_000 < 40, "{} octets", fib.memory());
}

//! One rule at a time: which elements, which operations, what is forgotten.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use dunlin_net::Instant;
use dunlin_net::service::{Balance, Choice, FrontendRule, Treatment, View};

use super::kernel::{Kernel, Walk};
use super::{balance, endpoints, frontend, name, rule, to};
use crate::proxy::maglev::{table, table_slots};
use crate::proxy::{Command, Element, Forget, FrontendState, Note, Op, Proxy, notes};

const T0: Instant = Instant::ZERO;
const AT: &str = "10.96.0.1:80";

fn started() -> (Proxy, Kernel) {
    let mut proxy = Proxy::new(7);
    let mut kernel = Kernel::default();
    proxy.set_enabled(true);
    proxy.synced();
    kernel.run(&mut proxy, T0);
    (proxy, kernel)
}

fn reaches(texts: &[&str]) -> Walk {
    Walk::Reaches(endpoints(texts).iter().copied().collect::<BTreeSet<_>>())
}

/// What one rule in place of another does: words for each operation, and what is forgotten.
fn change(from: FrontendRule, into: Option<FrontendRule>) -> (Vec<String>, Vec<String>) {
    let (mut proxy, mut kernel) = started();
    proxy.set(&name("a/b"), vec![from]);
    kernel.run(&mut proxy, T0);
    proxy.set(&name("a/b"), into.into_iter().collect());
    let Some(Command::Submit(batch)) = proxy.next(T0) else {
        return (Vec::new(), Vec::new());
    };
    let mut ops: Vec<String> = batch.ops.iter().map(words).collect();
    ops.sort_unstable();
    let forget = batch.forget.iter().map(|forget| match forget {
        Forget::Flows { endpoint, .. } => format!("flows to {endpoint}"),
        Forget::Untranslated { frontend } => format!("untranslated to {frontend}"),
        Forget::Clients { endpoint, .. } => format!("clients of {endpoint}"),
    });
    (ops, forget.collect())
}

fn words(op: &Op) -> String {
    let (sign, element) = match op {
        Op::Add(element) => ('+', element),
        Op::Remove(element) => ('-', element),
    };
    match element {
        Element::Member { set, .. } => format!("{sign}{set:?}"),
        Element::Slot { view, slot, to, .. } => format!("{sign}{view:?} {slot} {to}"),
        Element::Allowed { source, .. } => format!("{sign}{source}"),
        Element::Hairpin(addr) => format!("{sign}hairpin {addr}"),
        Element::Near(net) => format!("{sign}near {net}"),
        Element::Served(block) => format!("{sign}served {block}"),
    }
}

fn sticky(texts: &[&str], secs: u32) -> Treatment {
    Treatment::Balance(Arc::new(Balance {
        affinity_secs: Some(secs),
        ..balance(texts)
    }))
}

#[test]
fn a_service_is_programmed_changed_and_removed() {
    let (mut proxy, mut kernel) = started();
    assert!(kernel.intact);
    let at = frontend(AT);
    let service = name("a/b");
    proxy.set(
        &service,
        vec![rule(AT, to(&["10.0.0.1:80", "10.0.0.2:80"]))],
    );
    assert!(!proxy.is_programmed(&at));
    assert_eq!(proxy.service("a/b")[0].state, FrontendState::Pending);
    kernel.run(&mut proxy, T0);
    assert!(proxy.is_programmed(&at));
    assert_eq!(proxy.take_changed(), [service.clone()].into());
    for view in View::ALL {
        assert_eq!(
            kernel.walk(at, view, None),
            reaches(&["10.0.0.1:80", "10.0.0.2:80"])
        );
    }
    proxy.set(
        &service,
        vec![rule(AT, to(&["10.0.0.1:80", "10.0.0.3:80"]))],
    );
    assert_eq!(proxy.service("a/b")[0].state, FrontendState::Behind);
    assert!(proxy.is_programmed(&at));
    kernel.run(&mut proxy, T0);
    assert_eq!(proxy.service("a/b")[0].state, FrontendState::Current);
    assert_eq!(
        kernel.walk(at, View::Inside, None),
        reaches(&["10.0.0.1:80", "10.0.0.3:80"])
    );
    assert!(proxy.take_changed().is_empty());
    proxy.set(&service, Vec::new());
    assert_eq!(proxy.take_changed(), [service].into());
    kernel.run(&mut proxy, T0);
    assert_eq!(kernel.walk(at, View::Inside, None), Walk::Untouched);
    assert!(kernel.set().is_empty());
    assert!(proxy.is_settled());
    assert_eq!(proxy.frontends().count(), 0);
}

#[test]
fn slots_are_filled_without_holes_by_the_least_operations() {
    let abc = rule(AT, to(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]));
    let of = |texts: &[&str]| change(abc.clone(), Some(rule(AT, to(texts)))).0;
    assert_eq!(of(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]), [""; 0]);
    // One more goes to the end, wherever it stands in order.
    assert_eq!(
        of(&["10.0.0.0:1", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]),
        ["+Inside 3 10.0.0.0:1"]
    );
    // The last moves into the hole, and two are chosen among by one bit.
    assert_eq!(
        of(&["10.0.0.2:1", "10.0.0.3:1"]),
        [
            "+Inside 0 10.0.0.3:1",
            "+Random { view: Inside, slots: 2 }",
            "-Inside 0 10.0.0.1:1",
            "-Inside 2 10.0.0.3:1",
            "-Random { view: Inside, slots: 4 }",
        ]
    );
    assert_eq!(
        of(&["10.0.0.1:1", "10.0.0.3:1", "10.0.0.9:1"]),
        ["+Inside 1 10.0.0.9:1", "-Inside 1 10.0.0.2:1"]
    );
    // Those of no use are as if they were not there.
    assert_eq!(
        of(&[
            "10.0.0.1:1",
            "10.0.0.2:1",
            "10.0.0.3:1",
            "10.0.0.4:0",
            "[::1]:1"
        ]),
        [""; 0]
    );
}

#[test]
fn without_endpoints_connections_are_refused_or_dropped() {
    let one = rule(AT, to(&["10.0.0.1:1"]));
    let slots = ["-Inside 0 10.0.0.1:1", "-Random { view: Inside, slots: 1 }"];
    for treatment in [Treatment::Reject, to(&[]), to(&["[::1]:1"])] {
        let (ops, _) = change(one.clone(), Some(rule(AT, treatment)));
        assert_eq!(ops, [&["+Refused"], &slots[..]].concat());
    }
    let (ops, _) = change(one, Some(rule(AT, Treatment::Drop)));
    assert_eq!(ops, [&["+Dropped { view: Inside }"], &slots[..]].concat());
}

#[test]
fn outside_is_said_only_where_it_differs() {
    let one = rule(AT, to(&["10.0.0.1:1", "10.0.0.2:1"]));
    let of = |outside: Treatment| {
        let into = FrontendRule {
            outside: Some(outside),
            ..one.clone()
        };
        (notes(&into), change(one.clone(), Some(into)).0)
    };
    assert_eq!(of(one.inside.clone()), (vec![], vec![]));
    let (_, ops) = of(to(&["10.0.0.2:1"]));
    assert_eq!(
        ops,
        [
            "+Outside 0 10.0.0.2:1",
            "+Random { view: Outside, slots: 1 }"
        ]
    );
    let (_, ops) = of(Treatment::Drop);
    assert_eq!(ops, ["+Dropped { view: Outside }"]);
    let (notes, ops) = of(Treatment::Reject);
    assert_eq!(ops, ["+Dropped { view: Outside }"]);
    assert_eq!(notes, [Note::DroppedInsteadOfRefused]);
}

#[test]
fn what_gets_the_nodes_source_is_marked_so() {
    let one = rule(AT, to(&["10.0.0.1:1"]));
    let into = FrontendRule {
        masquerade: true,
        ..one.clone()
    };
    assert_eq!(change(one.clone(), Some(into.clone())).0, ["+Masqueraded"]);
    assert_eq!(change(into, Some(one)).0, ["-Masqueraded"]);
}

#[test]
fn sources_do_not_overlap_and_are_of_the_family() {
    let one = rule(AT, to(&["10.0.0.1:1"]));
    let guarded = |texts: &[&str]| FrontendRule {
        sources: Some(texts.iter().map(|text| text.parse().unwrap()).collect()),
        ..one.clone()
    };
    let wide = guarded(&[
        "192.0.2.0/25",
        "192.0.2.128/25",
        "192.0.2.7/32",
        "2001:db8::/32",
    ]);
    let (ops, _) = change(one.clone(), Some(wide.clone()));
    assert_eq!(ops, ["+192.0.2.0/24", "+Guarded"]);
    let (ops, _) = change(wide.clone(), Some(guarded(&["192.0.2.9/24"])));
    assert_eq!(ops, [""; 0]);
    let (ops, _) = change(wide.clone(), Some(guarded(&["2001:db8::/32"])));
    assert_eq!(ops, ["-192.0.2.0/24"], "nobody of this family may come");
    let (ops, _) = change(wide, Some(guarded(&["0.0.0.0/0"])));
    assert_eq!(ops, ["-192.0.2.0/24", "-Guarded"]);
}

#[test]
fn clients_forget_endpoints_that_are_gone() {
    let two = rule(AT, sticky(&["10.0.0.1:1", "10.0.0.2:1"], 60));
    let (ops, forget) = change(
        two.clone(),
        Some(rule(AT, sticky(&["10.0.0.2:1", "10.0.0.1:1"], 90))),
    );
    assert_eq!(ops, ["+Sticky { secs: 90 }", "-Sticky { secs: 60 }"]);
    assert_eq!(forget, [""; 0]);
    let (_, forget) = change(two.clone(), Some(rule(AT, sticky(&["10.0.0.1:1"], 60))));
    assert_eq!(forget, ["clients of 10.0.0.2:1"]);
    let all = ["clients of 10.0.0.1:1", "clients of 10.0.0.2:1"];
    let (_, forget) = change(
        two.clone(),
        Some(rule(AT, to(&["10.0.0.1:1", "10.0.0.2:1"]))),
    );
    assert_eq!(forget, all, "it is not sticky any more");
    let (_, forget) = change(two.clone(), None);
    assert_eq!(forget, all);
    // Clients from outside would come back to where only those from inside may go now.
    let local = FrontendRule {
        outside: Some(sticky(&["10.0.0.2:1"], 60)),
        ..two.clone()
    };
    assert_eq!(change(two, Some(local)).1, ["clients of 10.0.0.1:1"]);
}

#[test]
fn only_udp_flows_are_forgotten_and_only_to_what_is_gone() {
    let udp = "10.96.0.1:53/UDP";
    let two = |at| rule(at, to(&["10.0.0.1:1", "10.0.0.2:1"]));
    let one = |at| Some(rule(at, to(&["10.0.0.2:1"])));
    assert_eq!(change(two(AT), one(AT)).1, [""; 0]);
    assert_eq!(change(two(udp), one(udp)).1, ["flows to 10.0.0.1:1"]);
    let (_, forget) = change(two(udp), None);
    assert_eq!(forget, ["flows to 10.0.0.1:1", "flows to 10.0.0.2:1"]);
    let (_, forget) = change(rule(udp, Treatment::Reject), one(udp));
    assert_eq!(forget, ["untranslated to 10.96.0.1:53/UDP"]);
    // One that terminates and still serves keeps them, too.
    let leaving = |serving: &[&str]| FrontendRule {
        serving: Some(endpoints(serving)),
        ..rule(udp, to(&["10.0.0.2:1"]))
    };
    let serves = leaving(&["10.0.0.1:1", "10.0.0.2:1"]);
    assert_eq!(change(two(udp), Some(serves.clone())).1, [""; 0]);
    assert_eq!(change(serves, Some(leaving(&[]))).1, [""; 0], "it had none");
    // One that still serves somebody keeps its flows.
    let local = FrontendRule {
        outside: Some(to(&["10.0.0.2:1"])),
        ..two(udp)
    };
    assert_eq!(change(two(udp), Some(local)).1, [""; 0]);
}

#[test]
fn a_table_is_full_even_and_the_same_everywhere() {
    let all: Vec<SocketAddr> = (1..=10)
        .map(|n| SocketAddr::from(([10, 0, n, 7], 8080)))
        .collect();
    let first = table(&all, 1021);
    assert_eq!(first.len(), 1021);
    for index in 0..10 {
        let share = first.iter().filter(|of| **of == index).count();
        assert!((102..=103).contains(&share), "{share}");
    }
    // Never to change: nodes of other versions have this table, too.
    assert_eq!(table(&all, 13), PINNED);
    let v6: Vec<SocketAddr> = vec![
        "[fd00::1]:53".parse().unwrap(),
        "[fd00::2]:53".parse().unwrap(),
    ];
    assert_eq!(table(&v6, 7), PINNED_V6);
    // The tenth goes: its slots, and few others, lead elsewhere.
    let moved = table(&all[..9], 1021);
    let others = first.iter().zip(&moved);
    let others = others.filter(|(was, is)| **was != 9 && was != is).count();
    assert!(others < 100, "{others}");
    assert_eq!(table(&[], 13), [0; 0]);
    assert_eq!(
        [0, 2, 90, 1021, 70_000].map(table_slots),
        [2, 2, 97, 1021, 65_537]
    );
}

const PINNED: [u32; 13] = [2, 9, 4, 7, 0, 3, 5, 1, 1, 8, 2, 6, 0];
const PINNED_V6: [u32; 7] = [1, 1, 0, 1, 0, 0, 0];

#[test]
fn a_hashed_frontend_has_all_its_slots() {
    let maglev = |texts: &[&str]| {
        let choice = Choice::Maglev { slots: 100 };
        let balance = Balance {
            choice,
            ..balance(texts)
        };
        rule(AT, Treatment::Balance(Arc::new(balance)))
    };
    let (mut proxy, mut kernel) = started();
    proxy.set(&name("a/b"), vec![maglev(&["10.0.0.1:1", "10.0.0.2:1"])]);
    kernel.run(&mut proxy, T0);
    assert_eq!(proxy.counters().endpoints, 101);
    assert_eq!(
        kernel.walk(frontend(AT), View::Outside, None),
        reaches(&["10.0.0.1:1", "10.0.0.2:1"])
    );
    let coarse = Note::CoarseTable {
        view: View::Inside,
        slots: 101,
        endpoints: 2,
    };
    assert_eq!(notes(&maglev(&["10.0.0.1:1", "10.0.0.2:1"])), [coarse]);
    assert_eq!(notes(&maglev(&["10.0.0.1:1"])), []);
    proxy.set(&name("a/b"), vec![rule(AT, to(&["10.0.0.2:1"]))]);
    kernel.run(&mut proxy, T0);
    assert_eq!(kernel.set().len(), 3);
}

#[test]
fn of_too_many_endpoints_the_first_are_used() {
    let all: Vec<SocketAddr> = (0..20_000_u32)
        .map(|n| SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0A00_0000 + n), 80)))
        .collect();
    let many = Treatment::Balance(Arc::new(Balance {
        endpoints: all.into(),
        ..balance(&[])
    }));
    let many = rule(AT, many);
    assert!(matches!(
        notes(&many)[..],
        [Note::TooManyEndpoints {
            given: 20_000,
            used: 16_384,
            ..
        }]
    ));
    let (mut proxy, mut kernel) = started();
    proxy.set(&name("a/b"), vec![many]);
    kernel.run(&mut proxy, T0);
    assert_eq!(proxy.counters().endpoints, 16_384);
    assert!(proxy.is_settled());
}

#[test]
fn a_frontend_is_of_the_first_that_wants_it() {
    let (mut proxy, mut kernel) = started();
    let (one, two) = (name("a/one"), name("a/two"));
    proxy.set(&one, vec![rule(AT, to(&["10.0.0.1:1"]))]);
    kernel.run(&mut proxy, T0);
    proxy.take_changed();
    proxy.set(&two, vec![rule(AT, to(&["10.0.0.2:1"]))]);
    assert_eq!(proxy.take_changed(), [two.clone()].into());
    kernel.run(&mut proxy, T0);
    assert_eq!(
        kernel.walk(frontend(AT), View::Inside, None),
        reaches(&["10.0.0.1:1"])
    );
    let holder = one.clone();
    assert_eq!(
        proxy.service("a/two")[0].state,
        FrontendState::Conflict { holder }
    );
    assert_eq!(proxy.counters().conflicts, 1);
    proxy.set(&one, Vec::new());
    kernel.run(&mut proxy, T0);
    assert_eq!(
        kernel.walk(frontend(AT), View::Inside, None),
        reaches(&["10.0.0.2:1"])
    );
    assert_eq!(proxy.service("a/two")[0].state, FrontendState::Current);
    assert_eq!(proxy.take_changed(), [one, two].into());
    assert_eq!(proxy.counters().conflicts, 0);
}

#[test]
fn pods_of_this_node_that_are_endpoints_may_reach_themselves() {
    let (mut proxy, mut kernel) = started();
    let near = |proxy: &mut Proxy, pods: &[&str]| {
        let pods: Vec<_> = pods.iter().map(|net| net.parse().unwrap()).collect();
        proxy.set_near(&pods, &["192.0.2.1".parse().unwrap()]);
    };
    near(&mut proxy, &["10.0.0.0/24"]);
    proxy.set(
        &name("a/b"),
        vec![rule(AT, to(&["10.0.0.1:1", "10.0.1.1:1", "192.0.2.1:1"]))],
    );
    proxy.set(
        &name("a/c"),
        vec![rule("10.96.0.2:80", to(&["10.0.0.1:1"]))],
    );
    kernel.run(&mut proxy, T0);
    let hairpin = |last: [u8; 4]| Element::Hairpin(last.into());
    assert!(kernel.has(&hairpin([10, 0, 0, 1])));
    assert!(!kernel.has(&hairpin([192, 0, 2, 1])));
    proxy.set(&name("a/b"), Vec::new());
    kernel.run(&mut proxy, T0);
    assert!(
        kernel.has(&hairpin([10, 0, 0, 1])),
        "the other service has it"
    );
    near(&mut proxy, &["10.0.0.0/25", "10.0.0.128/25"]);
    assert_eq!(proxy.next(T0), None, "the same addresses");
    near(&mut proxy, &["10.0.1.0/24"]);
    kernel.run(&mut proxy, T0);
    assert!(!kernel.has(&hairpin([10, 0, 0, 1])));
    assert!(kernel.has(&Element::Near("10.0.1.0/24".parse().unwrap())));
    proxy.set(&name("a/c"), Vec::new());
    near(&mut proxy, &[]);
    kernel.run(&mut proxy, T0);
    assert_eq!(kernel.set().len(), 1);
}

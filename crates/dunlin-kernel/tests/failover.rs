//! Ten thousand routes led past a dead next hop by a few operations, in the real kernel; `ip` is the judge.

mod support;

use dunlin_dataplane::fib::{Hop, Wanted};
use dunlin_net::IpNet;
use support::*;

const MANY: u32 = 10_000;

/// Generous: the machine may be busy. It takes a millisecond or two.
const BOUND: std::time::Duration = std::time::Duration::from_secs(2);

fn nets() -> impl Iterator<Item = (IpNet, bool)> {
    let v4 = (0..MANY / 2).map(|at| {
        let addr = std::net::Ipv4Addr::from_bits(0x0A00_0000 + (at << 8));
        (IpNet::new(addr.into(), 24).unwrap(), true)
    });
    let v6 = (0..MANY / 2).map(|at| {
        let addr = std::net::Ipv6Addr::from_bits((0xfd77 << 112) + (u128::from(at) << 64));
        (IpNet::new(addr.into(), 64).unwrap(), false)
    });
    v4.chain(v6)
}

fn hop(node: &Node, gateway: &str) -> Hop {
    let gateway = gateway.parse().unwrap();
    Hop {
        gateway,
        ifindex: node.links.resolve(gateway).unwrap(),
    }
}

/// How many of our routes lead to these gateways.
fn leading(v4: &[&str], v6: &[&str]) -> usize {
    let shown = shown();
    shown.values().filter(|to| **to == v4 || **to == v6).count()
}

#[test]
fn ten_thousand_routes_with_a_backup_move_by_an_operation_a_family() {
    in_netns(|| {
        two_links();
        let mut node = Node::start();
        node.fib.hold_deletes(false);
        let first = [hop(&node, "192.0.2.2"), hop(&node, "2001:db8::2")];
        let second = [hop(&node, "198.51.100.2"), hop(&node, "2001:db8:1::2")];
        let [wanted4, wanted6] = first.map(|hop| Wanted::Via([hop].into_iter().collect()));
        for (net, v4) in nets() {
            let (wanted, backup) = match v4 {
                true => (&wanted4, second[0]),
                false => (&wanted6, second[1]),
            };
            node.fib.want_with_backup(net, Some(wanted), Some(backup));
        }
        node.settle();
        // The objects get their backups in a quiet moment.
        node.until("backups", |node| node.fib.next_deadline().is_none());
        assert_eq!(leading(&["192.0.2.2"], &["2001:db8::2"]), MANY as usize);

        let before = node.fib.counters().ops_done;
        node.fib.on_dead(first.map(|hop| hop.gateway));
        let moved = node.until("the failover", |node| {
            node.fib.counters().ops_done >= before + 2
        });
        assert!(moved < BOUND, "{moved:?}");
        assert_eq!(
            leading(&["198.51.100.2"], &["2001:db8:1::2"]),
            MANY as usize
        );

        // The RIB catches up, and the kernel holds already what it says.
        let [wanted4, wanted6] = second.map(|hop| Wanted::Via([hop].into_iter().collect()));
        for (net, v4) in nets() {
            node.fib
                .want(net, Some(if v4 { &wanted4 } else { &wanted6 }));
        }
        node.fib.on_dead_settled();
        node.settle();
        assert_eq!(node.fib.counters().ops_done, before + 2);
        assert_eq!(node.fib.counters().installed, MANY as usize);
        assert_eq!(
            leading(&["198.51.100.2"], &["2001:db8:1::2"]),
            MANY as usize
        );
    });
}

#[test]
fn ten_thousand_routes_over_two_links_lose_one_by_an_operation_a_family() {
    in_netns(|| {
        two_links();
        let mut node = Node::start();
        node.fib.hold_deletes(false);
        let wanted4 = via(&node.links, &["192.0.2.2", "198.51.100.2"]);
        let wanted6 = via(&node.links, &["2001:db8::2", "2001:db8:1::2"]);
        for (net, v4) in nets() {
            node.fib
                .want(net, Some(if v4 { &wanted4 } else { &wanted6 }));
        }
        node.settle();
        let before = node.fib.counters().ops_done;
        let dead = ["192.0.2.2", "2001:db8::2"];
        node.fib
            .on_dead(dead.map(|gateway| gateway.parse::<std::net::IpAddr>().unwrap()));
        let moved = node.until("the failover", |node| {
            node.fib.counters().ops_done >= before + 2
        });
        assert!(moved < BOUND, "{moved:?}");
        assert_eq!(
            leading(&["198.51.100.2"], &["2001:db8:1::2"]),
            MANY as usize
        );
        // It was a mistake: what is wanted is what stands again, as cheaply.
        node.fib.on_dead_settled();
        node.settle();
        let both = leading(
            &["192.0.2.2", "198.51.100.2"],
            &["2001:db8:1::2", "2001:db8::2"],
        );
        assert_eq!(both, MANY as usize);
        // The dead hop's own objects may have gone in between, and come back.
        assert!(node.fib.counters().ops_done <= before + 8);
    });
}

//! Routes against the real kernel, in network namespaces; `ip` is the judge.

mod support;

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

use dunlin_dataplane::fib::{Reason, RouteState, Wanted};
use dunlin_kernel::Options;
use support::*;

fn key(net: &str) -> (String, u64) {
    (net.to_owned(), 512)
}

fn state(node: &Node, net: &str) -> Option<RouteState> {
    node.fib
        .route(net.parse().unwrap())
        .map(|route| route.state)
}

#[test]
fn routes_of_both_families_are_installed_replaced_and_withdrawn() {
    in_netns(|| {
        two_links();
        let mut node = Node::start();
        node.fib.hold_deletes(false);
        node.want("10.0.0.0/24", &["192.0.2.2"]);
        node.want("10.0.1.0/24", &["192.0.2.2", "198.51.100.2"]);
        node.want("0.0.0.0/0", &["192.0.2.3"]);
        node.want("fd00:1::/64", &["2001:db8::2"]);
        node.want("fd00:2::/64", &["2001:db8::2", "2001:db8:1::2"]);
        node.fib
            .want("10.9.0.0/24".parse().unwrap(), Some(&Wanted::Blackhole));
        node.fib
            .want("fd00:9::/64".parse().unwrap(), Some(&Wanted::Blackhole));
        node.settle();
        let mut expected = std::collections::BTreeMap::new();
        let mut expect = |net: &str, metric, gateways: &[&str]| {
            let gateways = gateways.iter().map(|&gateway| gateway.to_owned()).collect();
            expected.insert((net.to_owned(), metric), gateways);
        };
        expect("10.0.0.0/24", 512, &["192.0.2.2"]);
        expect("10.0.1.0/24", 512, &["192.0.2.2", "198.51.100.2"]);
        expect("default", 512, &["192.0.2.3"]);
        expect("fd00:1::/64", 512, &["2001:db8::2"]);
        expect("fd00:2::/64", 512, &["2001:db8:1::2", "2001:db8::2"]);
        expect("10.9.0.0/24", 4096, &[]);
        expect("fd00:9::/64", 4096, &[]);
        assert_eq!(shown(), expected);
        assert_eq!(node.fib.counters().installed, 7);

        node.want("10.0.0.0/24", &["192.0.2.2", "192.0.2.9"]);
        node.want("10.0.1.0/24", &["192.0.2.2"]);
        node.want("fd00:1::/64", &["2001:db8:1::7"]);
        node.settle();
        let now = shown();
        assert_eq!(now[&key("10.0.0.0/24")], ["192.0.2.2", "192.0.2.9"]);
        assert_eq!(now[&key("10.0.1.0/24")], ["192.0.2.2"]);
        assert_eq!(now[&key("fd00:1::/64")], ["2001:db8:1::7"]);

        for net in ["10.0.0.0/24", "10.0.1.0/24", "0.0.0.0/0", "10.9.0.0/24"] {
            node.unwant(net);
        }
        for net in ["fd00:1::/64", "fd00:2::/64", "fd00:9::/64"] {
            node.unwant(net);
        }
        node.settle();
        assert!(shown().is_empty());
        assert_eq!(shown_nexthops(), 0);
    });
}

#[test]
fn what_somebody_deletes_or_alters_is_back_within_a_second() {
    in_netns(|| {
        two_links();
        let mut node = Node::start();
        node.fib.hold_deletes(false);
        node.want("10.0.0.0/24", &["192.0.2.2"]);
        node.want("10.0.1.0/24", &["192.0.2.2", "198.51.100.2"]);
        node.want("fd00:1::/64", &["2001:db8::2"]);
        node.settle();
        let before = shown();
        for damage in [
            "ip route del 10.0.0.0/24 metric 512",
            "ip -6 route del fd00:1::/64 metric 512",
            "ip route replace 10.0.1.0/24 via 192.0.2.77 metric 512 proto 68",
            "ip nexthop flush proto 68",
            "ip route del 10.0.1.0/24 metric 512",
        ] {
            run(damage);
            assert_ne!(shown(), before, "{damage} did nothing");
            let took = node.until(damage, |_| shown() == before);
            assert!(took < Duration::from_secs(1), "{damage}: {took:?}");
            node.settle();
        }
    });
}

#[test]
fn routes_are_back_after_their_link_was_down() {
    in_netns(|| {
        two_links();
        let mut node = Node::start();
        node.fib.hold_deletes(false);
        for i in 0..200 {
            node.want(&format!("10.0.{i}.0/24"), &["192.0.2.2"]);
            node.want(&format!("10.1.{i}.0/24"), &["192.0.2.2", "198.51.100.2"]);
            node.want(&format!("fd00:{i:x}::/64"), &["2001:db8::2"]);
        }
        node.settle();
        let before = shown();
        // Administratively; the IPv6 address goes with it, and must be put back for the gateway to be on-link.
        run("ip link set d0 down");
        assert_ne!(shown(), before);
        run("ip link set d0 up");
        attempt("ip addr add 2001:db8::1/64 dev d0 nodad");
        let took = node.until("the routes on d0", |_| shown() == before);
        assert!(took < Duration::from_secs(3), "{took:?}");
        // By carrier, long enough to be noticed as down.
        run("ip link set d1 down");
        node.until("d0 to be seen down", |node| {
            node.links.by_name("d0").is_some_and(|link| !link.up)
        });
        run("ip link set d1 up");
        node.until("the routes on d0", |_| shown() == before);
        node.settle();
        assert_eq!(node.fib.counters().installed, 600);
    });
}

#[test]
fn a_foreign_route_of_the_same_key_is_reported_and_left() {
    in_netns(|| {
        two_links();
        let foreign = "10.0.0.0/24 via 192.0.2.9 dev d0 proto static metric 512";
        run(&format!("ip route add {foreign}"));
        run("ip -6 route add fd00:1::/64 via 2001:db8::9 proto static metric 512");
        let mut node = Node::start();
        node.fib.hold_deletes(false);
        node.want("10.0.0.0/24", &["192.0.2.2"]);
        node.want("fd00:1::/64", &["2001:db8::2"]);
        let conflict = |node: &Node, net| match state(node, net) {
            Some(RouteState::Failed(failure)) => failure.reason == Reason::Conflict,
            _ => false,
        };
        node.until("both conflicts", |node| {
            conflict(node, "10.0.0.0/24") && conflict(node, "fd00:1::/64")
        });
        assert!(shown().is_empty());
        assert!(run("ip route show proto static").contains("via 192.0.2.9"));
        assert!(run("ip -6 route show proto static").contains("via 2001:db8::9"));
        // A replacement by others takes ours over, and is respected too.
        run("ip route del 10.0.0.0/24 metric 512");
        node.until("ours in its place", |_| {
            shown().contains_key(&key("10.0.0.0/24"))
        });
        run(&format!("ip route replace {foreign}"));
        node.until("the conflict", |node| conflict(node, "10.0.0.0/24"));
        node.unwant("10.0.0.0/24");
        node.until("nothing wanted", |node| {
            state(node, "10.0.0.0/24").is_none()
        });
        assert!(run("ip route show proto static").contains("via 192.0.2.9"));
    });
}

/// What `ip monitor` tells until the mark.
struct Watch {
    lines: BufReader<std::process::ChildStdout>,
    child: std::process::Child,
}

impl Watch {
    fn start() -> Watch {
        let mut child = Command::new("ip")
            .args(["-o", "monitor", "route", "nexthop"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut watch = Watch { lines, child };
        // It has begun to listen when it tells the first mark.
        let mut told = false;
        while !told {
            run("ip route replace 203.0.113.1/32 dev lo");
            run("ip route del 203.0.113.1/32 dev lo");
            told = watch.ready();
        }
        watch
    }

    fn ready(&mut self) -> bool {
        let fd = std::os::fd::AsFd::as_fd(self.lines.get_ref());
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(
            fd,
            rustix::event::PollFlags::IN,
        )];
        let timeout = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        rustix::event::poll(&mut fds, Some(&timeout)).unwrap() > 0
    }

    /// All changes until now of what is ours.
    fn stop(mut self) -> Vec<String> {
        run("ip route add 203.0.113.2/32 dev lo");
        let mut found = Vec::new();
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 && !line.contains("203.0.113.2") {
            if line.contains("proto dunlin") || line.contains("proto 68") {
                found.push(std::mem::take(&mut line));
            }
            line.clear();
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        found
    }
}

#[test]
fn a_restart_without_a_change_changes_nothing() {
    in_netns(|| {
        two_links();
        let want = |node: &mut Node| {
            for i in 0..300 {
                node.want(&format!("10.{}.{}.0/24", i / 256, i % 256), &["192.0.2.2"]);
            }
            node.want("10.9.0.0/24", &["192.0.2.2", "198.51.100.2"]);
            node.want("fd00:1::/64", &["2001:db8::2"]);
            node.want("fd00:2::/64", &["2001:db8::2", "2001:db8:1::2"]);
            node.fib
                .want("10.8.0.0/24".parse().unwrap(), Some(&Wanted::Blackhole));
            node.fib
                .want("fd00:8::/64".parse().unwrap(), Some(&Wanted::Blackhole));
        };
        let mut node = Node::start();
        want(&mut node);
        node.fib.hold_deletes(false);
        node.settle();
        let before = shown();
        drop(node);

        let watch = Watch::start();
        let mut node = Node::start();
        assert_eq!(node.fib.counters().adopted, 305);
        want(&mut node);
        node.settle();
        node.fib.hold_deletes(false);
        node.settle();
        assert_eq!(node.fib.counters().installed, 305);
        drop(node);
        assert_eq!(watch.stop(), Vec::<String>::new());
        assert_eq!(shown(), before);
    });
}

#[test]
fn a_route_that_lost_its_owner_goes_after_a_restart_and_nothing_else_moves() {
    in_netns(|| {
        two_links();
        let mut node = Node::start();
        node.want("10.0.0.0/24", &["192.0.2.2"]);
        node.want("10.0.1.0/24", &["192.0.2.2"]);
        node.want("10.0.2.0/24", &["192.0.2.3"]);
        node.settle();
        drop(node);
        let watch = Watch::start();
        let mut node = Node::start();
        node.want("10.0.0.0/24", &["192.0.2.2"]);
        node.settle();
        assert_eq!(node.fib.stale().count(), 2);
        node.fib.release("10.0.2.0/24".parse().unwrap());
        node.settle();
        let left: Vec<String> = shown().into_keys().map(|(net, _)| net).collect();
        assert_eq!(left, ["10.0.0.0/24", "10.0.1.0/24"]);
        drop(node);
        let told = watch.stop();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("Deleted 10.0.2.0/24"), "{told:?}");
    });
}

#[test]
fn lost_notifications_lead_to_a_read_back() {
    in_netns(|| {
        two_links();
        // A buffer for a handful of notifications, and a storm of those that pass the filter.
        let mut node = Node::start_with(Options {
            monitor_buffer: Some(4096),
        });
        node.fib.hold_deletes(false);
        for i in 0..100 {
            node.want(&format!("10.0.{i}.0/24"), &["192.0.2.2"]);
        }
        node.settle();
        let before = shown();
        let mut storm = String::new();
        for i in 0..100_000u32 {
            let net = Ipv4Addr::from_bits(0x1400_0000 + (i << 8));
            storm += &format!("route add {net}/24 via 192.0.2.2 metric 512\n");
            if i == 50_000 {
                storm += "route del 10.0.7.0/24 metric 512\n";
            }
        }
        feed("ip -batch -", &storm);
        node.until("the deleted route", |_| shown() == before);
        node.settle();
        assert!(node.overruns > 0);
        assert_eq!(node.fib.counters().installed, 100);
        let foreign = run("ip route show proto boot");
        assert_eq!(foreign.lines().count(), 100_000);
    });
}

#[test]
fn foreign_routes_at_other_metrics_do_not_reach_us() {
    in_netns(|| {
        two_links();
        let mut node = Node::start_with(Options {
            monitor_buffer: Some(4096),
        });
        let mut storm = String::new();
        for i in 0..20_000u32 {
            let net = Ipv4Addr::from_bits(0x1400_0000 + (i << 8));
            storm += &format!("route add {net}/24 via 192.0.2.2 metric 100\n");
            storm += &format!("route add {net}/24 via 192.0.2.2 metric 512 table 100\n");
        }
        feed("ip -batch -", &storm);
        // What happens behind the storm is told, so the storm was not.
        run("ip link add f0 type veth peer name f1");
        node.until("the new link", |node| node.links.by_name("f0").is_some());
        assert_eq!((node.overruns, node.fib.counters().dumps), (0, 1));
    });
}

#[test]
fn a_hundred_thousand_routes_come_move_and_go() {
    in_netns(|| {
        two_links();
        let mut node = Node::start();
        node.fib.hold_deletes(false);
        let nets: Vec<dunlin_net::IpNet> = (0..100_000u32)
            .map(|i| {
                format!("{}/24", Ipv4Addr::from_bits(0x1400_0000 + (i << 8)))
                    .parse()
                    .unwrap()
            })
            .collect();
        let count = || {
            run("ip route show proto 68")
                .lines()
                .filter(|line| line.starts_with("2"))
                .count()
        };
        let (one, two) = (
            via(&node.links, &["192.0.2.2"]),
            via(&node.links, &["198.51.100.2"]),
        );
        nets.iter().for_each(|net| node.fib.want(*net, Some(&one)));
        node.settle();
        assert_eq!(count(), 100_000);
        nets.iter().for_each(|net| node.fib.want(*net, Some(&two)));
        node.settle();
        assert_eq!(
            run("ip route show via 198.51.100.2 proto 68")
                .lines()
                .count(),
            100_000
        );
        nets.iter().for_each(|net| node.fib.want(*net, None));
        node.settle();
        assert_eq!((count(), shown_nexthops()), (0, 0));
    });
}

#[test]
fn a_next_hop_that_is_not_on_link_fails_with_the_kernels_words() {
    in_netns(|| {
        two_links();
        let mut node = Node::start();
        let hop = dunlin_dataplane::fib::Hop {
            gateway: "203.0.113.1".parse().unwrap(),
            ifindex: node.links.by_name("d0").unwrap().ifindex,
        };
        let wanted = Wanted::Via(smallvec::smallvec![hop]);
        node.fib.want("10.0.0.0/24".parse().unwrap(), Some(&wanted));
        node.want("10.0.1.0/24", &["192.0.2.2"]);
        node.until("the refusal", |node| match state(node, "10.0.0.0/24") {
            Some(RouteState::Failed(failure)) => {
                assert_eq!(failure.reason, Reason::NexthopRefused);
                assert_eq!(failure.errno, libc::ENETUNREACH);
                assert_eq!(
                    failure.message.as_deref(),
                    Some("Nexthop has invalid gateway")
                );
                true
            }
            _ => false,
        });
        assert_eq!(state(&node, "10.0.1.0/24"), Some(RouteState::Installed));
        run("ip addr add 203.0.113.2/24 dev d0");
        let took = node.until("the route", |_| shown().contains_key(&key("10.0.0.0/24")));
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
}

#[test]
fn an_idle_thread_does_not_wake() {
    in_netns(|| {
        // No links: duplicate address detection would wake it.
        let _node = Node::start();
        let switches = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            // Other tests of this process have such threads too; ours is the one in this namespace.
            let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
            let mut found = Vec::new();
            for task in tasks.flatten() {
                let path = task.path();
                let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
                let net = std::fs::read_link(path.join("ns/net")).unwrap_or_default();
                if name.trim() == "kernel" && net == own {
                    found.push(std::fs::read_to_string(path.join("status")).unwrap());
                }
            }
            assert_eq!(found.len(), 1);
            let line = found[0]
                .lines()
                .find(|line| line.starts_with("voluntary_ctxt_switches"));
            line.unwrap()
                .split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        let before = switches();
        // The measurement is of a time in which nothing happens.
        std::thread::sleep(Duration::from_millis(1500));
        assert!(switches() - before <= 1, "{} wake-ups", switches() - before);
    });
}

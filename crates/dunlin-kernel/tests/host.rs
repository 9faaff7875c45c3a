//! nf_tables, sysctls, capabilities and cleanup against the real kernel, in network namespaces.

mod support;

use std::time::Duration;

use dunlin_dataplane::proxy::Batch;
use dunlin_dataplane::rules::{Outcome, Rules};
use dunlin_kernel::nft::{RuleKeeper, proxy::ProxyTables};
use dunlin_kernel::{Error, check_net_admin, cleanup, sysctl};
use dunlin_net::IpNet;
use support::*;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn model() -> Rules {
    Rules::new(
        nets(&["10.244.1.0/24", "fd00:1::/64"]),
        nets(&[
            "10.244.0.0/16",
            "192.0.2.0/24",
            "198.51.100.7/32",
            "fd00::/16",
            "2001:db8::/64",
        ]),
        nets(&["10.96.0.0/12", "203.0.113.80/32", "fd10::/108"]),
    )
}

const LISTING: &str = "table inet dunlin {
	set pods4 {
		type ipv4_addr
		flags interval
		elements = { 10.244.1.0/24 }
	}

	set cluster4 {
		type ipv4_addr
		flags interval
		elements = { 10.244.0.0/16, 192.0.2.0/24,
			     198.51.100.7 }
	}

	set services4 {
		type ipv4_addr
		flags interval
		elements = { 10.96.0.0/12, 203.0.113.80 }
	}

	set pods6 {
		type ipv6_addr
		flags interval
		elements = { fd00:1::/64 }
	}

	set cluster6 {
		type ipv6_addr
		flags interval
		elements = { 2001:db8::/64,
			     fd00::/16 }
	}

	set services6 {
		type ipv6_addr
		flags interval
		elements = { fd10::/108 }
	}

	chain pod_egress {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr @pods4 ip daddr != @cluster4 masquerade comment \"dunlin pod egress 1\"
		ip6 saddr @pods6 ip6 daddr != @cluster6 masquerade comment \"dunlin pod egress 1\"
	}

	chain service_drop {
		type filter hook forward priority filter + 10; policy accept;
		ip daddr @services4 counter packets 0 bytes 0 drop comment \"dunlin service drop 1\"
		ip6 daddr @services6 counter packets 0 bytes 0 drop comment \"dunlin service drop 1\"
	}
}
";

fn table() -> String {
    attempt("nft list table inet dunlin").1
}

#[test]
fn the_rules_are_those_that_nft_shows() {
    in_netns(|| {
        let mut keeper = RuleKeeper::open().unwrap();
        let outcome = keeper.apply(Some(&model())).unwrap();
        assert_eq!(
            outcome,
            Outcome {
                added: 10,
                removed: 0,
                rebuilt: true,
                repaired: false
            }
        );
        assert_eq!(table(), LISTING);
        // Another process finds them as they should be and changes nothing.
        let outcome = RuleKeeper::open().unwrap().apply(Some(&model())).unwrap();
        assert_eq!(outcome, Outcome::default());
        assert_eq!(table(), LISTING);
        assert!(keeper.apply(None).unwrap().rebuilt);
        assert!(table().contains("No such file"), "{}", table());
        assert_eq!(keeper.apply(None).unwrap(), Outcome::default());
    });
}

#[test]
fn a_table_that_is_not_as_we_write_it_is_written_anew() {
    in_netns(|| {
        for strange in [
            "table inet dunlin { chain other { }; }\n",
            "table inet dunlin { set pods4 { type ipv4_addr; flags interval; }; \
             chain pod_egress { type nat hook postrouting priority 100; }; }\n",
        ] {
            feed("nft -f -", strange);
            assert!(
                RuleKeeper::open()
                    .unwrap()
                    .apply(Some(&model()))
                    .unwrap()
                    .rebuilt
            );
            assert_eq!(table(), LISTING);
            run("nft delete table inet dunlin");
        }
    });
}

#[test]
fn a_change_of_the_cluster_changes_elements_only() {
    in_netns(|| {
        let node = |i: u32| {
            IpNet::from(dunlin_net::Ipv4Net::new((0x0A00_0000 + (i << 8)).into(), 24).unwrap())
        };
        // Every other block, so that few ranges touch.
        let cluster = |count: u32| (0..count).map(|i| node(i * 2));
        let mut keeper = RuleKeeper::open().unwrap();
        let with = |nets: Vec<IpNet>| Rules::new(vec![node(0)], nets, Vec::new());
        keeper.apply(Some(&with(cluster(5000).collect()))).unwrap();
        let outcome = keeper.apply(Some(&with(cluster(5001).collect()))).unwrap();
        assert_eq!(
            outcome,
            Outcome {
                added: 1,
                ..Outcome::default()
            }
        );
        // A gap closes: two ranges become one, in one transaction.
        let closed: Vec<IpNet> = cluster(5001).chain([node(1)]).collect();
        let outcome = keeper.apply(Some(&with(closed.clone()))).unwrap();
        assert_eq!(
            outcome,
            Outcome {
                added: 1,
                removed: 2,
                ..Outcome::default()
            }
        );
        let outcome = RuleKeeper::open()
            .unwrap()
            .apply(Some(&with(closed)))
            .unwrap();
        assert_eq!(outcome, Outcome::default());
        let outcome = keeper.apply(Some(&with(cluster(5000).collect()))).unwrap();
        assert_eq!(
            outcome,
            Outcome {
                added: 2,
                removed: 2,
                ..Outcome::default()
            }
        );
        let text = run("nft get element inet dunlin cluster4 { 10.0.0.5 }");
        assert!(text.contains("10.0.0.0/24"), "{text}");
        assert!(!attempt("nft get element inet dunlin cluster4 { 10.0.1.5 }").0);
    });
}

#[test]
fn the_ends_of_the_address_space_are_kept() {
    in_netns(|| {
        let edges = Rules::new(
            nets(&["0.0.0.0/0", "::/0"]),
            nets(&["0.0.0.0/8", "240.0.0.0/4", "::/16", "ff00::/8"]),
            Vec::new(),
        );
        let mut keeper = RuleKeeper::open().unwrap();
        keeper.apply(Some(&edges)).unwrap();
        assert_eq!(
            RuleKeeper::open().unwrap().apply(Some(&edges)).unwrap(),
            Outcome::default()
        );
        assert!(
            run("nft get element inet dunlin cluster4 { 255.255.255.255 }").contains("240.0.0.0/4")
        );
        assert!(keeper.apply(Some(&model())).is_ok());
        assert_eq!(table(), LISTING);
    });
}

#[test]
fn damage_by_others_is_repaired_within_a_second() {
    in_netns(|| {
        let mut node = Node::start();
        node.kernel.set_rules(Some(model())).unwrap();
        node.until("the rules", |node| !node.rules.is_empty());
        assert_eq!(table(), LISTING);
        for damage in [
            "nft flush ruleset",
            "nft flush chain inet dunlin service_drop",
            "nft delete element inet dunlin services4 { 203.0.113.80 }",
        ] {
            run(damage);
            let took = node.until(damage, |_| table() == LISTING);
            assert!(took < Duration::from_secs(1), "{damage}: {took:?}");
        }
        node.until("the repairs to be told", |node| node.rules.len() == 4);
        let repaired =
            |result: &Result<Outcome, _>| result.as_ref().is_ok_and(|done| done.repaired);
        assert!(node.rules[1..].iter().all(repaired), "{:?}", node.rules);
        // Somebody else's table is not our business.
        run("nft add table inet other");
        node.kernel.set_rules(None).unwrap();
        node.until("the removal", |node| node.rules.len() == 5);
        assert_eq!(run("nft list tables").trim(), "table inet other");
    });
}

#[test]
fn pods_leave_the_cluster_with_the_nodes_address_and_stay_themselves_inside() {
    in_netns(|| {
        // pod (10.244.1.2) – node (192.0.2.1) – outside (192.0.2.9, 203.0.113.9)
        run("ip link add p0 type veth peer name p1");
        run("ip link add u0 type veth peer name u1");
        let (pod, outside) = (Space::new(), Space::new());
        pod.take("p1");
        outside.take("u1");
        run("ip link set lo up");
        run("ip addr add 10.244.1.1/24 dev p0");
        run("ip addr add 192.0.2.1/24 dev u0");
        run("ip link set p0 up");
        run("ip link set u0 up");
        run("ip route add 203.0.113.0/24 via 192.0.2.9");
        sysctl::Sysctl::default().forward_ipv4().unwrap();
        pod.run("ip addr add 10.244.1.2/24 dev p1");
        pod.run("ip link set p1 up");
        pod.run("ip route add default via 10.244.1.1");
        outside.run("ip addr add 192.0.2.9/24 dev u1");
        outside.run("ip addr add 203.0.113.9/32 dev u1");
        outside.run("ip link set u1 up");
        outside.run("ip route add 10.244.1.0/24 via 192.0.2.1");
        let mut keeper = RuleKeeper::open().unwrap();
        keeper
            .apply(Some(&Rules::new(
                nets(&["10.244.1.0/24"]),
                nets(&["192.0.2.0/24", "10.244.0.0/16"]),
                Vec::new(),
            )))
            .unwrap();
        assert_eq!(seen_source(&pod, &outside, "192.0.2.9:9001"), "10.244.1.2");
        assert_eq!(seen_source(&pod, &outside, "203.0.113.9:9001"), "192.0.2.1");
    });
}

#[test]
fn what_nobody_translated_is_dropped_and_counted_instead_of_looping() {
    in_netns(|| {
        // router (192.0.2.9) – node (192.0.2.1): the router sends service addresses to the node, whose default route
        // leads back. 192.0.2.9 stands for an endpoint as well: what is translated to it passes.
        run("ip link add u0 type veth peer name u1");
        let router = Space::new();
        router.take("u1");
        run("ip link set lo up");
        for line in [
            "ip addr add 192.0.2.1/24 dev u0",
            "ip addr add 2001:db8::1/64 dev u0 nodad",
            "ip link set u0 up",
            "ip route add default via 192.0.2.9",
            "ip -6 route add default via 2001:db8::9",
        ] {
            run(line);
        }
        let sysctl = sysctl::Sysctl::default();
        sysctl.forward_ipv4().unwrap();
        sysctl.forward_ipv6().unwrap();
        for line in [
            "ip link set lo up",
            "ip addr add 192.0.2.9/24 dev u1",
            "ip addr add 2001:db8::9/64 dev u1 nodad",
            "ip link set u1 up",
            "ip route add 198.51.100.0/24 via 192.0.2.1",
            "ip -6 route add fd10::/108 via 2001:db8::1",
        ] {
            router.run(line);
        }
        let rules = Rules::new(
            Vec::new(),
            Vec::new(),
            nets(&["198.51.100.0/24", "fd10::/108"]),
        );
        RuleKeeper::open().unwrap().apply(Some(&rules)).unwrap();
        feed(
            "nft -f -",
            "table inet proxy { chain pre { type nat hook prerouting priority dstnat; \
             ip daddr 198.51.100.1 udp dport 53 dnat to 192.0.2.9:9053; }; \
             chain post { type nat hook postrouting priority srcnat; \
             ip daddr 192.0.2.9 udp dport 9053 masquerade; }; }\n",
        );
        // Used: a datagram to the translated address arrives, and its answer comes back.
        let endpoint = router.with(|| std::net::UdpSocket::bind("192.0.2.9:9053").unwrap());
        let client = router.with(|| std::net::UdpSocket::bind("192.0.2.9:0").unwrap());
        endpoint.set_read_timeout(Some(DEADLINE)).unwrap();
        client.send_to(b"hello", "198.51.100.1:53").unwrap();
        let (_, from) = endpoint.recv_from(&mut [0; 16]).unwrap();
        assert_eq!(from.ip().to_string(), "192.0.2.1");
        assert_eq!(dropped(), [0, 0]);
        // Unused: gone at the first pass.
        client.send_to(b"hello", "198.51.100.2:53").unwrap();
        client.send_to(b"hello", "198.51.100.1:54").unwrap();
        let client = router.with(|| std::net::UdpSocket::bind("[2001:db8::9]:0").unwrap());
        client.send_to(b"hello", "[fd10::2]:53").unwrap();
        let until = std::time::Instant::now() + DEADLINE;
        while dropped() != [2, 1] {
            assert!(std::time::Instant::now() < until, "{}", table());
            std::thread::sleep(Duration::from_millis(10));
        }
        // Had it looped, the hop limit would have sent it by some sixty times.
        let back = || {
            run("ip -s link show dev u0")
                .lines()
                .last()
                .map(str::to_owned)
        };
        assert_eq!(dropped(), [2, 1], "{:?}", back());
    });
}

/// How many packets the rules for service addresses have dropped, by family.
fn dropped() -> [u64; 2] {
    let text = table();
    let mut counts = text
        .lines()
        .filter_map(|line| line.split_once("counter packets "))
        .map(|(_, rest)| rest.split(' ').next().unwrap().parse().unwrap());
    [counts.next().unwrap(), counts.next().unwrap()]
}

/// From which address a datagram of the pod arrives.
fn seen_source(pod: &Space, outside: &Space, to: &'static str) -> String {
    let server = outside.with(move || std::net::UdpSocket::bind(to).unwrap());
    server.set_read_timeout(Some(DEADLINE)).unwrap();
    let client = pod.with(|| std::net::UdpSocket::bind("10.244.1.2:0").unwrap());
    client.send_to(b"hello", to).unwrap();
    let (_, from) = server.recv_from(&mut [0; 16]).unwrap();
    from.ip().to_string()
}

#[test]
fn forwarding_is_turned_on_once() {
    in_netns(|| {
        run("ip link set lo up");
        let sysctl = sysctl::Sysctl::default();
        let names = |changes: Vec<sysctl::SysctlChange>| -> Vec<String> {
            changes.into_iter().map(|change| change.name).collect()
        };
        assert_eq!(
            names(sysctl.forward_ipv4().unwrap()),
            ["net.ipv4.ip_forward"]
        );
        // A default route by router advertisement, as the kernel would have made it.
        two_links();
        run("ip -6 route add default via 2001:db8::9 dev d0 proto ra");
        assert_eq!(
            names(sysctl.forward_ipv6().unwrap()),
            ["net.ipv6.conf.d0.accept_ra", "net.ipv6.conf.all.forwarding"]
        );
        assert_eq!(sysctl.read("net/ipv6/conf/d0/accept_ra").unwrap(), "2");
        assert!(sysctl.forward_ipv4().unwrap().is_empty());
        assert!(sysctl.forward_ipv6().unwrap().is_empty());
    });
}

#[test]
fn cleanup_removes_what_is_ours_and_nothing_else() {
    in_netns(|| {
        two_links();
        let dir = std::env::temp_dir().join(format!("dunlin-cleanup-{}", std::process::id()));
        dunlin_kernel::protocol_name::write(&dir).unwrap();
        let mut node = Node::start();
        node.want("10.0.0.0/24", &["192.0.2.2"]);
        node.want("10.0.1.0/24", &["192.0.2.2", "198.51.100.2"]);
        node.want("fd00:1::/64", &["2001:db8::2"]);
        node.settle();
        drop(node);
        RuleKeeper::open().unwrap().apply(Some(&model())).unwrap();
        let services = Batch {
            rebuild: true,
            ..Batch::default()
        };
        let made = ProxyTables::open().unwrap().apply(&services);
        assert_eq!(made.result, Ok(()));
        run("nft add table inet other");
        run("ip nexthop add id 7 via 192.0.2.7 dev d0");
        run("ip route add 10.5.0.0/24 nhid 7 metric 512");
        run("ip route add 10.6.0.0/24 via 192.0.2.2 proto 68 metric 9");
        let removed = cleanup::cleanup(&dir).unwrap();
        let expected = cleanup::Removed {
            routes: 3,
            nexthops: 4,
            nft_table: true,
            nft_service_tables: true,
            protocol_name: true,
            problems: Vec::new(),
        };
        assert_eq!(removed, expected);
        assert_eq!(shown_nexthops(), 1);
        assert!(run("ip route show").contains("10.5.0.0/24 nhid 7"));
        assert!(run("ip route show").contains("10.6.0.0/24"));
        assert_eq!(run("nft list tables").trim(), "table inet other");
        assert_eq!(cleanup::cleanup(&dir).unwrap(), cleanup::Removed::default());
        std::fs::remove_dir_all(dir).unwrap();
    });
}

#[test]
fn without_the_capability_the_error_says_what_to_do() {
    in_netns(|| {
        check_net_admin().unwrap();
        // Of this thread alone.
        let mut sets = rustix::thread::capabilities(None).unwrap();
        sets.effective
            .remove(rustix::thread::CapabilitySet::NET_ADMIN);
        rustix::thread::set_capabilities(None, sets).unwrap();
        let error = check_net_admin().unwrap_err();
        assert!(matches!(error, Error::NetAdmin), "{error}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        let sink = |_| {};
        let refused = dunlin_kernel::KernelThread::spawn(dunlin_kernel::Options::default(), sink);
        assert!(matches!(refused, Err(Error::NetAdmin)));
    });
}

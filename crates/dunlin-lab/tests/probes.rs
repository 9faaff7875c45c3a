//! The probes tell the truth: about replies, loss, paths and routes.

mod support;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use dunlin_lab::probe::pinger::Pinger;
use dunlin_lab::probe::{icmp, tcp};
use dunlin_lab::routes::{self, Change, RouteWatch};
use support::{Spaces, await_reply, is_root};

/// a - r - b, both families.
fn line(prefix: &str) -> Spaces {
    let spaces = Spaces::new(prefix, 3);
    let end = |i: usize| spaces[i].name().to_owned();
    for (index, space) in spaces.iter().enumerate() {
        space
            .sysctls(&[
                ("net/ipv6/conf/all/forwarding", "1"),
                ("net/ipv4/ip_forward", "1"),
            ])
            .expect("sysctls");
        spaces.ip(index, &["link set lo up"]);
    }
    spaces.ip(
        1,
        &[
            &format!(
                "link add name a up type veth peer name eth0 netns {}",
                end(0)
            ),
            &format!(
                "link add name b up type veth peer name eth0 netns {}",
                end(2)
            ),
            "addr add 192.0.2.1/25 dev a",
            "addr add 192.0.2.129/25 dev b",
            "addr add 2001:db8:a::1/64 dev a nodad",
            "addr add 2001:db8:b::1/64 dev b nodad",
        ],
    );
    for (index, host, gateway, host6, gateway6) in [
        (
            0,
            "192.0.2.2",
            "192.0.2.1",
            "2001:db8:a::2",
            "2001:db8:a::1",
        ),
        (
            2,
            "192.0.2.130",
            "192.0.2.129",
            "2001:db8:b::2",
            "2001:db8:b::1",
        ),
    ] {
        spaces.ip(
            index,
            &[
                "link set eth0 up",
                &format!("addr add {host}/25 dev eth0"),
                &format!("addr add {host6}/64 dev eth0 nodad"),
                &format!("route add default via {gateway}"),
                &format!("route add default via {gateway6}"),
            ],
        );
    }
    FAR.iter().for_each(|far| await_reply(&spaces[0], ip(far)));
    spaces
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

const FAR: [&str; 2] = ["192.0.2.130", "2001:db8:b::2"];

#[test]
fn echo_traceroute_and_tcp_reach_the_far_end_in_both_families() {
    if !is_root() {
        return;
    }
    let spaces = line("probe");
    let patience = Duration::from_secs(20);
    let routers = ["192.0.2.1", "2001:db8:a::1"];
    let own = ["192.0.2.2", "2001:db8:a::2"];
    for ((far, router), own) in FAR.into_iter().zip(routers).zip(own) {
        icmp::ping(&spaces[0], ip(far), patience).expect("echo");
        let hops = icmp::trace(&spaces[0], ip(far), 8, patience).expect("path");
        assert_eq!(hops, [ip(router), ip(far)]);
        let transfer = tcp::transfer(&spaces[0], &spaces[2], ip(far), 1_000_003, patience);
        assert_eq!(transfer.expect("every octet").peer, ip(own));
    }
    icmp::ping(&spaces[0], ip("192.0.2.77"), Duration::from_millis(200)).expect_err("nobody");
    let error = icmp::trace(&spaces[0], ip("203.0.113.1"), 8, patience).expect_err("no route");
    assert!(error.to_string().contains("unreachable"), "{error:#}");
}

#[test]
fn a_pinger_counts_each_lost_echo_and_nothing_else() {
    if !is_root() {
        return;
    }
    let spaces = line("loss");
    let holes = ["192.0.2.2/32", "2001:db8:a::2/128"];
    for (far, hole) in FAR.into_iter().zip(holes) {
        let pinger = Pinger::start(&spaces[0], ip(far), 200).expect("pinger");
        let wait_for = |count: usize| {
            let deadline = Instant::now() + Duration::from_secs(60);
            while pinger.report().sent < count {
                assert!(Instant::now() < deadline, "too few echoes");
                std::thread::yield_now();
            }
        };
        wait_for(50);
        let before = pinger.report();
        let before_hole = pinger.report().sent;
        // The router drops the replies without a word.
        spaces.ip(1, &[&format!("route add blackhole {hole}")]);
        let hole_begins = pinger.report().sent;
        wait_for(hole_begins + 20);
        let hole_ends = pinger.report().sent;
        spaces.ip(1, &[&format!("route del blackhole {hole}")]);
        let after_hole = pinger.report().sent;
        wait_for(after_hole + 50);
        let report = pinger.stop().expect("its report");
        assert!(before.lost() <= 2, "before the hole: {before}");
        assert_eq!(report.gaps.len(), 1, "one hole: {report}");
        assert!(report.lost() >= hole_ends - hole_begins - 2, "{report}");
        // The commands themselves take time, during which it may or may not be open.
        assert!(report.lost() <= after_hole - before_hole + 2, "{report}");
        assert_eq!(report.received + report.lost(), report.sent);
    }
}

#[test]
fn a_watch_hears_every_change_and_a_dump_agrees_with_ip() {
    if !is_root() {
        return;
    }
    let spaces = line("routes");
    let mut watch = RouteWatch::open(&spaces[0]).expect("watch");
    let via = ["192.0.2.1", "2001:db8:a::1"];
    for (prefix, via) in ["10.9.0.0/16", "2001:db8:9::/48"].into_iter().zip(via) {
        spaces.ip(
            0,
            &[&format!("route add {prefix} via {via} proto 68 metric 512")],
        );
        spaces.ip(
            0,
            &[&format!(
                "route replace {prefix} via {via} proto 68 metric 512 mtu 1400"
            )],
        );
        let there = routes::installed_by(&spaces[0], 68).expect("dump");
        assert_eq!(there.len(), 1);
        assert_eq!(there[0].prefix.to_string(), prefix);
        assert_eq!(
            (there[0].metric, there[0].gateways.as_slice()),
            (512, &[ip(via)][..])
        );
        spaces.ip(0, &[&format!("route del {prefix} proto 68")]);
        let heard: Vec<_> = watch
            .events()
            .expect("nothing lost")
            .into_iter()
            .filter(|event| event.route.protocol == 68)
            .map(|event| (event.route.prefix.to_string(), event.change))
            .collect();
        let expected = [Change::Added, Change::Replaced, Change::Deleted];
        assert_eq!(heard, expected.map(|change| (prefix.to_owned(), change)));
    }
}

#[test]
fn a_dump_of_many_routes_is_complete() {
    if !is_root() {
        return;
    }
    let spaces = line("dump");
    let lines: Vec<String> = (0..5000)
        .map(|i| {
            format!(
                "route add 10.{}.{}.0/24 via 192.0.2.1 proto 68",
                i / 256,
                i % 256
            )
        })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    spaces.ip(0, &lines);
    assert_eq!(
        routes::installed_by(&spaces[0], 68).expect("dump").len(),
        5000
    );
}

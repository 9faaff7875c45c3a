//! A hundred thousand router advertisements, of many routers, on the link of an unnumbered peer: the right one stays, and nothing
//! grows.
#![allow(clippy::print_stderr)]

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::thread;
use std::time::{Duration, Instant};

use dunlin_abuse::agent::Agent;
use dunlin_abuse::cluster::Cluster;
use dunlin_abuse::witness::Witness;
use dunlin_abuse::{PATIENCE, can_run, wait_for};
use dunlin_lab::netns::Netns;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// The link of both agents and of the host that floods. Each takes the other for a router of another AS.
const PEERS: &str = "apiVersion: dunlin.dev/v1alpha1
kind: BGPPeer
metadata: {name: to-n2}
spec: {interface: eth0, peerASN: 65002, localASN: 65001, nodeSelector: {matchLabels: {name: n1}}}
---
apiVersion: dunlin.dev/v1alpha1
kind: BGPPeer
metadata: {name: to-n1}
spec: {interface: eth0, peerASN: 65001, localASN: 65002, nodeSelector: {matchLabels: {name: n2}}}
---
apiVersion: dunlin.dev/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec: {timers: {holdTimeSeconds: 9}}
";

/// As many as are far too many for one link, and few enough for the kernel: it keeps a neighbour for each that any host hears, a
/// thousand of all namespaces together.
const ROUTERS: u32 = 64;
const MESSAGES: u32 = 100_000;
/// How many of them are heard at once, as fast as they can be sent; the others one after the other.
const AT_ONCE: u32 = 50_000;
/// For those: longer than the nine seconds in which a router that is doubted has to answer.
const LENGTH: Duration = Duration::from_secs(20);

/// What may be added to an agent's memory: 5 MB.
const GROWTH_KIB: u64 = 5_000_000 / 1024;

/// The whole packet of the router of this number: one that wants to be everybody's default router for half an hour.
fn advertisement(number: u32) -> Vec<u8> {
    let router = (number % ROUTERS) as u16;
    let from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0xbad, 0, 0, router);
    let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    // Type, code, checksum, hop limit, flags, router lifetime, reachable time, retransmission time; the link-layer address.
    let mut message = vec![
        134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0,
    ];
    message.extend(u32::from(router).to_be_bytes());
    let len = message.len() as u16;
    let pseudo = [
        &from.octets()[..],
        &to.octets(),
        &u32::from(len).to_be_bytes(),
        &[0, 0, 0, 58],
    ];
    let words = [pseudo.concat(), message.clone()].concat();
    let sum: u32 = (words.chunks(2))
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let head = [0x60, 0, 0, 0, (len >> 8) as u8, len as u8, 58, 255];
    [&head[..], &from.octets(), &to.octets(), &message].concat()
}

/// Sends them all from the attacker's link.
fn flood(netns: &Netns, link: u32) {
    netns.enter().expect("a namespace");
    // IPPROTO_RAW: the header is ours, and its source is not looked at.
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(255))).expect("a socket");
    socket.set_multicast_loop_v6(false).expect("an option");
    let to = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0, 0, link);
    let to = SockAddr::from(SocketAddr::V6(to));
    let begun = Instant::now();
    for number in 0..MESSAGES {
        // Not a wait for anything to happen: the pace of the flood itself.
        let part = f64::from(number.saturating_sub(AT_ONCE)) / f64::from(MESSAGES - AT_ONCE);
        thread::sleep((begun + LENGTH.mul_f64(part)).saturating_duration_since(Instant::now()));
        socket
            .send_to(&advertisement(number), &to)
            .expect("it is sent");
    }
}

/// The index of the attacker's link.
fn link_of(cluster: &Cluster) -> u32 {
    let said = cluster.ip_says("atk", &["-o", "link", "show", "dev", "eth0"]);
    let index = said
        .split(':')
        .next()
        .and_then(|text| text.trim().parse().ok());
    index.unwrap_or_else(|| panic!("no index: {said}"))
}

fn await_up(agent: &Agent, name: &str) {
    wait_for("the session over the link is up", PATIENCE, || {
        let neighbor = agent.neighbor(name);
        let up = neighbor.state == "Established";
        up.then_some(()).ok_or(format!("{neighbor:?}"))
    });
}

fn heard(agent: &Agent, result: &str) -> f64 {
    let series = format!("dunlin_router_discovery_messages_total{{result=\"{result}\"}}");
    agent.metric(&series)
}

#[test]
fn a_hundred_thousand_router_advertisements_change_nothing() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    // The switch is none that hears.
    let deaf = [("net/ipv6/conf/all/disable_ipv6", "1")];
    cluster.netns("sw").sysctls(&deaf).expect("a sysctl");
    cluster.put("peers.yaml", PEERS);
    let (n1, n2) = cluster.start_pair();
    let sides = [(&n1, "to-n2"), (&n2, "to-n1")];
    sides.iter().for_each(|(agent, name)| await_up(agent, name));
    let before = sides.map(|(agent, name)| (agent.usage(), agent.neighbor(name)));
    let mut witness = Witness::new(&[&n1, &n2]);

    let (attacker, link) = (cluster.attacker(), link_of(&cluster));
    thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&attacker, link));
        while !flooding.is_finished() {
            // It answers all the time.
            n1.status();
            thread::sleep(Duration::from_millis(200));
        }
        flooding.join().expect("the flood");
    });

    for ((agent, name), (usage, neighbor)) in sides.into_iter().zip(before) {
        let (after, now) = (agent.usage(), agent.neighbor(name));
        eprintln!(
            "{name}: memory {} -> {} KiB, {:.1?} of CPU, {} taken, {} too many, {} lost by the kernel",
            usage.resident_kib,
            after.resident_kib,
            after.cpu - usage.cpu,
            heard(agent, "taken"),
            heard(agent, "too-many-routers-on-the-link"),
            heard(agent, "overrun"),
        );
        assert!(
            after.resident_kib < usage.resident_kib + GROWTH_KIB,
            "{name}"
        );
        assert_eq!(after.threads, usage.threads, "{name}");
        agent.await_files(usage.files);
        // The first that was heard, and not one of those.
        assert_eq!(now.address, neighbor.address, "{name}");
        assert_eq!(
            (now.state.as_str(), now.flaps),
            ("Established", 0),
            "{name}: {now:?}"
        );
        let problem = agent.await_problem("SeveralRouters", name);
        assert!(problem.contains("fe80::bad:0:"), "{problem}");
    }
    witness.nothing_changed();
}

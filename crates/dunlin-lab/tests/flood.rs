//! "It must hold up", bad input: a flood of connections to port 179 of a node that carries traffic.

mod support;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use dunlin_lab::iproute::Batch;
use dunlin_lab::netns::Netns;
use dunlin_lab::plan::Plan;
use dunlin_lab::topology::ROUTER;
use dunlin_net::Afi;
use socket2::{Domain, Protocol, Socket, Type};
use support::cluster::{Pings, Watches, settle, up_and_settled};
use support::{config, dunlin, is_root};

const NODES: [u16; 3] = [1, 2, 3];
const PER_SECOND: u32 = 2000;
const LASTS: Duration = Duration::from_secs(30);
/// A stranger on the underlay.
const STRANGER: &str = "172.30.200.1";

/// Dials `to` from `from`, `PER_SECOND` times a second in all; says something senseless on every second connection.
/// Returns how many were accepted.
fn flood(netns: &Netns, from: IpAddr, to: SocketAddr, per_second: u32) -> u32 {
    netns.enter().expect("the namespace");
    let began = Instant::now();
    let (mut dialled, mut accepted) = (0u32, 0);
    while began.elapsed() < LASTS {
        let due = Duration::from_secs(1) * dialled / per_second;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        dialled += 1;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("socket");
        // A reset at the end: else the flood would end by its own lack of ports.
        socket.set_linger(Some(Duration::ZERO)).expect("linger");
        socket.bind(&SocketAddr::new(from, 0).into()).expect("bind");
        if socket
            .connect_timeout(&to.into(), Duration::from_secs(1))
            .is_ok()
        {
            accepted += 1;
            if dialled % 2 == 0 {
                let _ = (&socket).write_all(&[0x5a; 64]);
            }
        }
    }
    accepted
}

/// Of each session of a host: its peer, its state, and how often it was lost.
fn sessions(lab: &dunlin_lab::Lab, host: &str) -> Vec<(String, String, u64)> {
    let client = dunlin_api::Client::new(lab.host_dir(host).join("agent.sock"));
    match client
        .ask_blocking(&dunlin_api::Query::Neighbors)
        .expect("an answer")
    {
        dunlin_api::Answer::Neighbors(all) => all
            .into_iter()
            .map(|n| (n.name, n.state, n.flaps))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_thousand_connections_a_second_disturb_no_session_and_leave_no_memory_behind() {
    if !is_root() {
        return;
    }
    let lab = up_and_settled(config("flood", 3, dunlin()));
    let mut batch = Batch::new();
    batch.push(format_args!("addr add {STRANGER}/16 dev eth0"));
    batch.run(&lab.ns(ROUTER)).expect("ip");
    let agent = lab.state().daemon("n1").expect("n1").process;
    let memory = || agent.resident_kib().expect("it runs");
    let (sessions_before, memory_before) = (sessions(&lab, "n1"), memory());
    let mut watches = Watches::open(&lab, &NODES);
    let pings = Pings::with_outside(&lab, &NODES);
    let to = SocketAddr::new(Plan::node_address(1, Afi::Ipv4), 179);
    let stranger: IpAddr = STRANGER.parse().expect("an address");
    let peer = Plan::node_address(3, Afi::Ipv4);
    let (outside, n3) = (lab.ns(ROUTER), lab.ns("n3"));
    let accepted = std::thread::scope(|scope| {
        let from_stranger = scope.spawn(|| flood(&outside, stranger, to, PER_SECOND / 2));
        let from_peer = scope.spawn(|| flood(&n3, peer, to, PER_SECOND / 2));
        [from_stranger, from_peer].map(|flood| flood.join().expect("the flood"))
    });
    let grown = memory().saturating_sub(memory_before);
    assert!(accepted[0] > 1000, "the stranger was heard: {accepted:?}");
    assert_eq!(sessions(&lab, "n1"), sessions_before);
    assert_eq!(watches.deletions(), Vec::<String>::new());
    assert!(grown < 5 * 1024, "{grown} KiB more");
    settle(&lab, &NODES);
    pings.assert_no_loss();
}

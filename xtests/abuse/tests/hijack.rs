//! A router that may announce whatever it likes, and does: nothing of the cluster's own moves, and each refusal has its
//! reason.
#![allow(clippy::print_stderr)]

use std::net::Ipv4Addr;
use std::time::Instant;

use dunlin_abuse::agent::Agent;
use dunlin_abuse::bgp::{Connection, Open, good_attributes, kind, update};
use dunlin_abuse::cluster::{Cluster, PEER_ASN, peer_address};
use dunlin_abuse::witness::Witness;
use dunlin_abuse::{PATIENCE, can_run, wait_for};

const N1: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Two nodes at rest, n1 with a router beside.
struct Bed {
    // In the order that they end in.
    n1: Agent,
    n2: Agent,
    cluster: Cluster,
}

impl Bed {
    fn new() -> Bed {
        let cluster = Cluster::new(2);
        cluster.write_peers(1, "  peerASN: 65010\n");
        let (n1, n2) = cluster.start_pair();
        Bed { n1, n2, cluster }
    }

    fn witness(&self) -> Witness<'_> {
        Witness::new(&[&self.n1, &self.n2])
    }

    /// n1's session with the router.
    fn router(&self) -> Connection {
        let mut router = Connection::dial(&self.cluster.attacker(), peer_address(0), N1);
        router.establish(&Open::new(PEER_ASN, peer_address(0)));
        wait_for("the session is up", PATIENCE, || {
            let state = self.n1.neighbor("p0").state;
            (state == "Established").then_some(()).ok_or(state)
        });
        router
    }

    /// What n1's kernel has for a prefix, of whomever.
    fn kernel(&self, net: &str) -> String {
        let said = ["route", "show", "exact", net];
        self.cluster.ip_says("n1", &said)
    }

    /// Announces, and waits until the agent has taken it in: an explanation is given by the thread that decides.
    fn announce(&self, router: &mut Connection, next_hop: Ipv4Addr, nets: &[(Vec<u8>, String)]) {
        let n1 = &self.n1;
        let before = n1.neighbor("p0").counters.updates_received;
        for (wire, _) in nets {
            let good = good_attributes(PEER_ASN, next_hop);
            router.send(&update(&good, wire));
        }
        wait_for("the UPDATEs are taken in", PATIENCE, || {
            let now = n1.neighbor("p0").counters.updates_received;
            let enough = now >= before + nets.len() as u64;
            enough.then_some(()).ok_or(format!("{now}"))
        });
        n1.await_status("nothing is under way", |status| {
            status.routes.installed + status.routes.failed + status.routes.conflicts
                >= status.routes.wanted
        });
    }

    /// What comes last, and is in order, is installed: all before it has been judged.
    fn announce_good(&self, router: &mut Connection) {
        self.announce(router, peer_address(0), &[good()]);
        self.await_good();
    }

    fn await_good(&self) {
        wait_for("the good route is installed", PATIENCE, || {
            let found = self.kernel(&good().1);
            (!found.is_empty()).then_some(()).ok_or(found)
        });
    }
}

/// A prefix that the router may announce.
fn good() -> (Vec<u8>, String) {
    prefix(203, 0, 113, 0, 24)
}

/// A prefix as on the wire, and as text.
fn prefix(a: u8, b: u8, c: u8, d: u8, len: u8) -> (Vec<u8>, String) {
    let mut wire = vec![len];
    wire.extend_from_slice(&[a, b, c, d][..usize::from(len.div_ceil(8))]);
    (wire, format!("{}/{len}", Ipv4Addr::new(a, b, c, d)))
}

#[test]
fn routes_that_would_capture_the_clusters_own_traffic_are_not_installed() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let mut witness = bed.witness();
    let mut router = bed.router();
    let captures = [
        // Another node, this node, the router itself, all of them at once but not the whole link.
        prefix(192, 0, 2, 2, 32),
        prefix(192, 0, 2, 1, 32),
        prefix(192, 0, 2, 10, 32),
        prefix(192, 0, 2, 0, 28),
        // Within and exactly the pod subnets of both nodes.
        prefix(10, 244, 2, 0, 24),
        prefix(10, 244, 2, 0, 25),
        prefix(10, 244, 2, 7, 32),
        prefix(10, 244, 1, 0, 24),
        prefix(10, 244, 1, 128, 25),
    ];
    bed.announce(&mut router, peer_address(0), &captures);
    bed.announce_good(&mut router);
    for (_, net) in &captures {
        let found = bed.kernel(net);
        assert!(!found.contains("192.0.2.10"), "{net}: {found}");
        let explanation = format!("{:?}", bed.n1.explain(net));
        assert!(explanation.contains("p0"), "{explanation}");
    }
    assert!(bed.n1.metric("dunlin_routes_rejected") >= captures.len() as f64 - 1.0);
    assert!(
        bed.n1
            .metrics()
            .contains("dunlin_routes_rejected_by_reason{")
    );
    witness.nothing_changed();
}

#[test]
fn next_hops_that_lead_nowhere_or_to_ourselves_are_not_used() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let mut witness = bed.witness();
    let mut router = bed.router();
    let hops = [
        N1,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::new(192, 0, 2, 255),
        Ipv4Addr::new(10, 244, 2, 1),
        Ipv4Addr::new(10, 244, 1, 1),
        Ipv4Addr::new(198, 51, 100, 1),
        Ipv4Addr::new(250, 1, 1, 1),
    ];
    for (hop, third) in hops.into_iter().zip(0u8..) {
        let net = prefix(203, 0, third, 0, 24);
        bed.announce(&mut router, hop, std::slice::from_ref(&net));
    }
    bed.announce_good(&mut router);
    for (hop, third) in hops.into_iter().zip(0u8..) {
        let found = bed.kernel(&format!("203.0.{third}.0/24"));
        assert_eq!(found.trim(), "", "next hop {hop}");
    }
    assert_eq!(
        bed.n1.metric("dunlin_routes_failed"),
        0.0,
        "none was even tried: {:#?}",
        bed.n1.status().problems
    );
    assert_eq!(
        (
            bed.n1.neighbor("p0").state.as_str(),
            bed.n1.neighbor("p0").flaps
        ),
        ("Established", 0)
    );
    witness.nothing_changed();
}

/// A route that comes and goes as fast as the wire allows ends as it was said last, and costs no memory.
#[test]
fn a_storm_of_updates_ends_in_what_was_said_last() {
    if !can_run() {
        return;
    }
    let bed = Bed::new();
    let mut witness = bed.witness();
    let mut router = bed.router();
    let announced = update(&good_attributes(PEER_ASN, peer_address(0)), &good().0);
    let withdrawn = {
        let body = [&[0, 4], good().0.as_slice(), &[0, 0]].concat();
        dunlin_abuse::bgp::message(kind::UPDATE, &body)
    };
    let pair = [announced.clone(), withdrawn].concat().repeat(100);
    let (before, began) = (bed.n1.usage(), Instant::now());
    for _ in 0..500 {
        router.send(&pair);
    }
    router.send(&announced);
    wait_for("all of it is taken in", PATIENCE, || {
        let taken = bed.n1.neighbor("p0").counters.updates_received;
        (taken == 100_001).then_some(()).ok_or(taken.to_string())
    });
    let took = began.elapsed();
    bed.await_good();
    let after = bed.n1.usage();
    eprintln!(
        "100,000 UPDATEs of one prefix in {took:.1?}; memory {} -> {} KiB, agent CPU {:.1?}",
        before.resident_kib,
        after.resident_kib,
        after.cpu - before.cpu
    );
    assert!(after.resident_kib < before.resident_kib + 8000);
    witness.nothing_changed();
}

/// With a handful of file descriptors left, sessions stay, strangers are turned away, and it is over when they are gone.
#[test]
fn without_file_descriptors_sessions_stay_and_it_is_counted() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    cluster.put(
        "range.yaml",
        "apiVersion: dunlin.dev/v1alpha1\nkind: BGPPeer\nmetadata: {name: racks}\nspec: {peerRange: 192.0.2.0/25, peerASN: external}\n",
    );
    let place = cluster.place("n1");
    let mut command = place.program("prlimit");
    command
        .arg("--nofile=48:48")
        .arg(dunlin_abuse::dunlin())
        .args(place.agent_args());
    let n1 = place.spawn(command);
    let n2 = cluster.start("n2");
    n1.await_status("the session is up", |status| {
        status.sessions.nodes_up == 1 && status.routes.installed == status.routes.wanted
    });
    n1.metrics();
    let mut witness = Witness::new(&[&n2]);
    let files = n1.usage().files;
    let mut crowd = Vec::new();
    for index in 0..80 {
        crowd.extend(dunlin_abuse::bgp::try_dial(
            &cluster.attacker(),
            peer_address(index),
            N1,
            179,
        ));
    }
    n1.logged("cannot accept a connection");
    witness.nothing_changed();
    drop(crowd);
    n1.await_files(files);
    assert!(n1.metric("dunlin_connections_refused_total{reason=\"accept-error\"}") >= 1.0);
    witness.nothing_changed();
    let status = n1.status();
    assert_eq!(status.sessions.nodes_up, 1);
}

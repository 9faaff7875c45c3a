//! A peer that announces two million prefixes where a thousand are allowed: it costs next to nothing and disturbs nobody.
#![allow(clippy::print_stderr)]

use std::net::Ipv4Addr;
use std::time::Instant;

use dunlin_abuse::bgp::{Connection, Open, good_attributes, update};
use dunlin_abuse::cluster::{Cluster, PEER_ASN, peer_address};
use dunlin_abuse::witness::Witness;
use dunlin_abuse::{PATIENCE, can_run, wait_for};

const N1: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PREFIXES: u32 = 2_000_000;
/// In one UPDATE of at most 4,096 octets.
const AT_ONCE: u32 = 700;
/// What may be added to the agent's memory at any time: a few batches and a thousand routes, of two million none.
const GROWTH_KIB: u64 = 32 << 10;

/// Writes until all is written or nobody takes it any more.
fn floods(stream: &mut Connection) {
    let attributes = good_attributes(PEER_ASN, peer_address(0));
    for first in (0..PREFIXES).step_by(AT_ONCE as usize) {
        let nets: Vec<u8> = (first..first + AT_ONCE)
            .flat_map(|n| {
                let [_, b, c, d] = n.to_be_bytes();
                [32, 100, 64 + b, c, d]
            })
            .collect();
        stream.send(&update(&attributes, &nets));
    }
}

#[test]
fn two_million_prefixes_past_a_limit_cost_nothing_and_disturb_nobody() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    cluster.write_peers(
        2,
        "  peerASN: 65010\n  maxPrefixes: {limit: 1000, restartAfterSeconds: 3600}\n",
    );
    let (n1, n2) = cluster.start_pair();
    let mut good = Connection::dial(&cluster.attacker(), peer_address(1), N1);
    good.establish(&Open::new(PEER_ASN, peer_address(1)));
    let attributes = good_attributes(PEER_ASN, peer_address(1));
    good.send(&update(&attributes, &[24, 198, 51, 100]));
    n1.await_status("the good one is up", |status| {
        status.sessions.external_up == 1 && status.routes.wanted == status.routes.installed
    });
    let mut witness = Witness::new(&[&n2]);
    let (before, began) = (n1.usage(), Instant::now());
    let mut bad = Connection::dial(&cluster.attacker(), peer_address(0), N1);
    bad.establish(&Open::new(PEER_ASN, peer_address(0)));
    let mut most = 0;
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| floods(&mut bad));
        wait_for("the session is ended for it", PATIENCE, || {
            most = most.max(n1.usage().resident_kib);
            let told = n1.neighbor("p0").notification_sent;
            let told = told.ok_or("no NOTIFICATION was sent")?;
            told.text
                .contains("Maximum Number of Prefixes Reached")
                .then_some(())
                .ok_or(told.text)
        });
        flood.join().expect("it ends");
    });
    most = most.max(n1.usage().resident_kib);
    eprintln!(
        "{PREFIXES} prefixes past a limit of 1000 in {:.1?}: memory {} -> at most {most} KiB",
        began.elapsed(),
        before.resident_kib
    );
    assert!(most - before.resident_kib < GROWTH_KIB);
    let shown = n1.neighbor("p0");
    let limit = shown.max_prefixes.expect("a limit");
    assert_eq!((limit.exceeded, shown.state.as_str()), (1, "Idle"));
    assert!(limit.held_down_seconds.is_some_and(|secs| secs > 3000));
    let error = shown.last_error.expect("a reason");
    assert!(error.contains("more than 1000 ipv4 prefixes"), "{error}");
    n1.await_status("its routes are gone, the others' are not", |status| {
        let routes = &status.routes;
        routes.received < 10 && routes.wanted == routes.installed
    });
    // It may dial as often as it likes.
    for _ in 0..100 {
        let mut again = Connection::dial(&cluster.attacker(), peer_address(0), N1);
        again.send(&Open::new(PEER_ASN, peer_address(0)).encode());
    }
    assert_eq!(n1.neighbor("p0").state, "Idle");
    let good = n1.neighbor("p1");
    assert_eq!((good.state.as_str(), good.flaps), ("Established", 0));
    assert_eq!(n1.neighbor("n2").flaps, 0);
    witness.nothing_changed();
}

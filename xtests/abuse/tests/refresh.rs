//! ROUTE-REFRESH without end from one peer: it is answered now and then, the last request too, and nobody else notices.
#![allow(clippy::print_stderr)]

use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dunlin_abuse::bgp::{
    Connection, Open, good_attributes, host_prefixes, keepalive, kind, message, try_dial, update,
};
use dunlin_abuse::cluster::{Cluster, PEER_ASN, peer_address};
use dunlin_abuse::witness::Witness;
use dunlin_abuse::{PATIENCE, can_run, http, wait_for};

const N1: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Prefixes that each answer consists of.
const ROUTES: u32 = 20_000;

/// How long the peer asks.
const LENGTH: Duration = Duration::from_secs(12);

/// How far apart answers begin.
const APART: Duration = Duration::from_secs(5);

/// What may be added to the agent's memory: what is on the way to the peer at a time, and what is worked out for it.
const GROWTH_KIB: u64 = 8_000_000 / 1024;

/// Announces [`ROUTES`] host prefixes.
fn announce(source: &mut Connection) {
    let hosts: Vec<u32> = (0..ROUTES).collect();
    for some in hosts.chunks(500) {
        let host = |n: &u32| {
            let [_, b, c, d] = n.to_be_bytes();
            [32, 100, 64 + b, c, d]
        };
        let nlri: Vec<u8> = some.iter().flat_map(host).collect();
        source.send(&update(&good_attributes(PEER_ASN, peer_address(0)), &nlri));
    }
}

/// Asks as fast as the other end takes it; how often.
fn ask_without_end(asker: &mut Connection) -> u64 {
    let refresh = message(kind::ROUTE_REFRESH, &[0, 1, 0, 1]);
    let many = refresh.repeat(1000);
    let (began, mut asked) = (Instant::now(), 0);
    while began.elapsed() < LENGTH {
        asker.send(&many);
        asker.send(&keepalive());
        asked += 1000;
    }
    asked
}

#[test]
fn a_peer_that_asks_without_end_is_answered_now_and_then() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    cluster.write_relay(2);
    let (n1, n2) = cluster.start_pair();
    // n1 hears of more routes than a witness could.
    let mut witness = Witness::new(&[&n2]);
    let dial = |index: u8| -> TcpStream {
        try_dial(&cluster.attacker(), peer_address(index), N1, 179).expect("n1 listens")
    };
    let mut source = Connection::new(dial(0));
    source.establish(&Open::new(PEER_ASN, peer_address(0)));
    let stream = dial(1);
    let mut asker = Connection::new(stream.try_clone().expect("a socket"));
    asker.establish(&Open::new(PEER_ASN, peer_address(1)));
    n1.await_status("both are up", |status| status.sessions.external_up == 2);

    // The asker reads all along: what it cannot take is not told, and would hold nothing up.
    let told = AtomicU32::new(0);
    let seen = || told.load(Ordering::Relaxed);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reader = Connection::new(stream.try_clone().expect("a socket"));
            loop {
                match reader.receive(Instant::now() + PATIENCE) {
                    Ok((kind::UPDATE, body)) => {
                        told.fetch_add(host_prefixes(&body), Ordering::Relaxed);
                    }
                    Ok((kind::NOTIFICATION, body)) => panic!("NOTIFICATION {body:?}"),
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        announce(&mut source);
        let all =
            |at_least: u32| move || (seen() >= at_least).then_some(()).ok_or(seen().to_string());
        wait_for("all is told once", PATIENCE, all(ROUTES));
        let before = (n1.usage(), Instant::now());
        let asked = thread::scope(|scope| {
            let asking = scope.spawn(|| ask_without_end(&mut asker));
            while !asking.is_finished() {
                assert_eq!(http::get(&n1.place.netns, "/healthz").status, 200);
                n1.status();
                thread::sleep(Duration::from_millis(200));
            }
            asking.join().expect("the asker")
        });
        let (after, took) = (n1.usage(), before.1.elapsed());
        let during = seen() - ROUTES;
        eprintln!(
            "{asked} requests in {took:.1?}: {during} prefixes told again, memory {} -> {} KiB, agent CPU {:.0} %",
            before.0.resident_kib,
            after.resident_kib,
            100.0 * (after.cpu - before.0.cpu).as_secs_f64() / took.as_secs_f64(),
        );
        assert!(after.resident_kib < before.0.resident_kib + GROWTH_KIB);
        // What waits is answered, and the last request is one of those that it stands for.
        let melted = n1.metric("dunlin_refreshes_melted_total");
        assert!(melted > 0.0, "{melted}");
        let last = seen() + ROUTES;
        wait_for("the last request is answered", PATIENCE, all(last));
        let most = u32::try_from(before.1.elapsed().as_secs() / APART.as_secs()).expect("few") + 2;
        assert!(
            seen() <= (1 + most) * ROUTES,
            "{} prefixes, {most} answers",
            seen()
        );
        witness.nothing_changed();
        for peer in ["p0", "p1", "n2"] {
            let neighbor = n1.neighbor(peer);
            let stands = (neighbor.state.as_str(), neighbor.flaps);
            assert_eq!(stands, ("Established", 0), "{peer}");
        }
        stream.shutdown(std::net::Shutdown::Both).expect("a socket");
        reader.join().expect("the reader");
    });
}

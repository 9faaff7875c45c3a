//! Two thousand connections a second to port 179: sessions stay as they are, and nothing grows.
//!
//! Five seconds each; `DUNLIN_FLOOD_SECS=30` for the whole length.
#![allow(clippy::print_stderr)]

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dunlin_abuse::agent::Agent;
use dunlin_abuse::bgp::{Connection, Open};
use dunlin_abuse::cluster::{Cluster, PEER_ASN, STRANGER, peer_address};
use dunlin_abuse::witness::Witness;
use dunlin_abuse::{PATIENCE, can_run, http, wait_for};
use dunlin_lab::netns::Netns;
use socket2::{Domain, Socket, Type};

const N1: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const RATE: u64 = 2000;
const THREADS: u64 = 4;

/// Shorter than the flood: sessions that were not served meanwhile would end.
const HOLD_TIMERS: &str = "apiVersion: dunlin.dev/v1alpha1\nkind: BGPConfiguration\nmetadata: {name: default}\nspec: {timers: {holdTimeSeconds: 4}}\n";

/// What may be added to an agent's memory: 5 MB.
const GROWTH_KIB: u64 = 5_000_000 / 1024;

fn length() -> Duration {
    let given = std::env::var("DUNLIN_FLOOD_SECS").ok();
    Duration::from_secs(given.and_then(|text| text.parse().ok()).unwrap_or(5))
}

/// One connection, reset when dropped so that no port is used up.
fn connect(from: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    let to = SocketAddr::from((N1, 179));
    socket.connect_timeout(&to.into(), Duration::from_millis(200))?;
    Ok(socket.into())
}

/// Dials at [`RATE`] for so long from these addresses in turn; each connection stays for a moment and says nothing.
/// Gives how many were dialled, and how many of those were taken by the kernel at least.
fn flood(netns: &Netns, sources: &[Ipv4Addr], length: Duration) -> (u64, u64) {
    let taken = AtomicU64::new(0);
    let each = RATE * length.as_secs() / THREADS;
    let step = Duration::from_secs(1) * u32::try_from(THREADS).expect("few")
        / u32::try_from(RATE).expect("few");
    thread::scope(|scope| {
        for worker in 0..THREADS {
            let taken = &taken;
            scope.spawn(move || {
                netns.enter().expect("a namespace");
                let mut kept = VecDeque::new();
                let start = Instant::now();
                for number in 0..each {
                    let at = start + step * u32::try_from(number).expect("few");
                    // Not a wait for anything to happen: the pace of the flood itself.
                    thread::sleep(at.saturating_duration_since(Instant::now()));
                    let turn = usize::try_from(number * THREADS + worker).expect("few");
                    if let Ok(stream) = connect(sources[turn % sources.len()]) {
                        taken.fetch_add(1, Ordering::Relaxed);
                        kept.push_back(stream);
                    }
                    if kept.len() > 64 {
                        kept.pop_front();
                    }
                }
            });
        }
    });
    (each * THREADS, taken.into_inner())
}

/// Floods n1 and checks everything that must not change. At least `share` of what was taken is refused.
fn survives(
    what: &str,
    cluster: &Cluster,
    n1: &Agent,
    n2: &Agent,
    sources: &[Ipv4Addr],
    reasons: &[&str],
    share: f64,
) {
    // What is allocated once and for all is so after the first connections.
    flood(&cluster.attacker(), sources, Duration::from_secs(1));
    let mut witness = Witness::new(&[n1, n2]);
    let refused = || -> f64 {
        let one = |reason| {
            n1.metric(&format!(
                "dunlin_connections_refused_total{{reason=\"{reason}\"}}"
            ))
        };
        reasons.iter().map(one).sum()
    };
    let (before, refused_before, began) = (n1.usage(), refused(), Instant::now());
    let attacker = cluster.attacker();
    let (dialled, taken) = thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&attacker, sources, length()));
        let mut slowest = Duration::ZERO;
        while !flooding.is_finished() {
            let asked = Instant::now();
            assert_eq!(http::get(&n1.place.netns, "/healthz").status, 200, "{what}");
            n1.status();
            slowest = slowest.max(asked.elapsed());
            thread::sleep(Duration::from_millis(200));
        }
        eprintln!("{what}: slowest answer of /healthz and status together: {slowest:?}");
        flooding.join().expect("the flood")
    });
    let (after, took) = (n1.usage(), began.elapsed());
    eprintln!(
        "{what}: {dialled} dialled and {taken} taken in {took:.1?}; memory {} -> {} KiB, files {} -> {}, threads {} -> {}, \
         agent CPU {:.0} %, {} refused",
        before.resident_kib,
        after.resident_kib,
        before.files,
        after.files,
        before.threads,
        after.threads,
        100.0 * (after.cpu - before.cpu).as_secs_f64() / took.as_secs_f64(),
        refused() - refused_before,
    );
    assert!(taken > dialled / 2, "{what}: the flood did not get through");
    assert!(
        after.resident_kib < before.resident_kib + GROWTH_KIB,
        "{what}"
    );
    assert_eq!(after.threads, before.threads, "{what}");
    // Every connection that was taken was also refused and counted, but for the few that were let in.
    wait_for("the refusals are counted", PATIENCE, || {
        let counted = refused() - refused_before;
        let enough = counted >= taken as f64 * share;
        enough.then_some(()).ok_or(format!("{counted} of {taken}"))
    });
    // The two pending connections of a peer may still wait for an OPEN.
    n1.await_files(before.files + 2);
    witness.nothing_changed();
}

#[test]
fn a_flood_from_an_unknown_source_changes_nothing() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    cluster.put("hold.yaml", HOLD_TIMERS);
    let (n1, n2) = cluster.start_pair();
    survives(
        "unknown source",
        &cluster,
        &n1,
        &n2,
        &[STRANGER],
        &["unknown-source"],
        0.9,
    );
}

#[test]
fn a_flood_from_a_peers_own_address_does_not_even_touch_its_session() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    cluster.put("hold.yaml", HOLD_TIMERS);
    cluster.write_peers(1, "  peerASN: 65010\n  timers: {holdTimeSeconds: 90}\n");
    let (n1, n2) = cluster.start_pair();
    let mut session = Connection::dial(&cluster.attacker(), peer_address(0), N1);
    session.establish(&Open::new(PEER_ASN, peer_address(0)));
    wait_for("the session is up", PATIENCE, || {
        let state = n1.neighbor("p0").state;
        (state == "Established").then_some(()).ok_or(state)
    });
    survives(
        "peer's address",
        &cluster,
        &n1,
        &n2,
        &[peer_address(0)],
        &["too-many-connections"],
        0.9,
    );
    let peer = n1.neighbor("p0");
    assert_eq!((peer.state.as_str(), peer.flaps), ("Established", 0));
}

#[test]
fn a_flood_from_a_peer_range_is_bounded_by_its_size() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    cluster.put("hold.yaml", HOLD_TIMERS);
    cluster.put(
        "range.yaml",
        "apiVersion: dunlin.dev/v1alpha1\nkind: BGPPeer\nmetadata: {name: racks}\nspec: {peerRange: 192.0.2.0/25, peerASN: external}\n",
    );
    let (n1, n2) = cluster.start_pair();
    let sources: Vec<Ipv4Addr> = (0..80).map(peer_address).collect();
    survives(
        "peer range",
        &cluster,
        &n1,
        &n2,
        &sources,
        &["too-many-connections", "range-full", "held-back"],
        0.2,
    );
}

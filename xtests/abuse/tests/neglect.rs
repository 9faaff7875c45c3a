//! What is around the agent fails it: nobody takes its log, a peer does not read, signals that mean nothing to it.
#![allow(clippy::print_stderr)]

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Instant;

use dunlin_abuse::agent::Agent;
use dunlin_abuse::bgp::{
    Connection, Open, attribute, good_attributes, host_prefixes, kind, try_dial, update,
};
use dunlin_abuse::cluster::{Cluster, PEER_ASN, STRANGER, await_rest, peer_address};
use dunlin_abuse::witness::Witness;
use dunlin_abuse::{PATIENCE, can_run, http, wait_for};
use dunlin_api::Route;
use socket2::{Domain, Socket, Type};

const N1: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// n1's agent, with a log of much going there.
fn logging_to(cluster: &Cluster, log: Stdio) -> Agent {
    let place = cluster.place("n1");
    let mut command = place.dunlin();
    command.args(place.agent_args()).args(["--log", "debug"]);
    command.stdout(Stdio::null()).stderr(log);
    place.spawn_as_it_is(command)
}

/// n1 under conditions of its own, n2 as always; what n1 would log comes up in between.
fn outlives(cluster: &Cluster, mut n1: Agent) {
    let n2 = cluster.start("n2");
    await_rest(&n1);
    await_rest(&n2);
    drop(n2);
    n1.await_status("the session is down", |status| {
        status.sessions.nodes_up == 0
    });
    let _n2 = cluster.start("n2");
    await_rest(&n1);
    assert!(n1.is_running());
    n1.signal(rustix::process::Signal::TERM);
    assert_eq!(n1.ended().code(), Some(0), "it ends in order");
}

#[test]
fn the_agent_outlives_the_reader_of_its_log() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let mut n1 = logging_to(&cluster, Stdio::piped());
    // A log collector that dies.
    drop(n1.take_stderr());
    n1.await_status("it answers", |_| true);
    outlives(&cluster, n1);
}

#[test]
fn the_agent_outlives_a_full_disk_under_its_log() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let full = std::fs::File::options().write(true).open("/dev/full");
    let n1 = logging_to(&cluster, full.expect("/dev/full").into());
    wait_for("it answers", PATIENCE, || n1.try_status().map(drop));
    outlives(&cluster, n1);
}

/// A reader that is there and does not read: the pipe fills, and the agent goes on.
#[test]
fn the_agent_outlives_a_log_that_nobody_takes() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let mut n1 = logging_to(&cluster, Stdio::piped());
    let reader = n1.take_stderr().expect("a pipe");
    wait_for("it answers", PATIENCE, || n1.try_status().map(drop));
    // Each makes a line; a pipe holds some 500 of them.
    for _ in 0..2000 {
        let refused = http::say_to_admin(&cluster.place("n1").socket(), b"nonsense\r\n\r\n");
        assert_eq!(refused.status, 400);
    }
    outlives(&cluster, n1);
    let log = std::io::read_to_string(reader).expect("a log");
    assert!(log.contains("starting"), "{log}");
}

/// Prefixes that the source announces, each with attributes of its own.
const ROUTES: u32 = 60_000;

/// Announces so many of them, with this in the upper half of each MULTI_EXIT_DISC.
fn flood_of_routes(stream: &mut Connection, routes: u32, round: u16) {
    let mut batch = Vec::new();
    for n in 0..routes {
        let mut attributes = good_attributes(PEER_ASN, peer_address(0));
        let med = u32::from(round) << 16 | n;
        attributes.push(attribute(0x80, 4, &med.to_be_bytes()));
        // Communities that make each UPDATE long enough for buffers to fill.
        let communities: Vec<u8> = (0..16u32)
            .flat_map(|i| (n * 16 + i).to_be_bytes())
            .collect();
        attributes.push(attribute(0xc0, 8, &communities));
        let [_, b, c, d] = n.to_be_bytes();
        batch.extend_from_slice(&update(&attributes, &[32, 100, 64 + b, c, d]));
        if batch.len() > 1 << 16 {
            stream.send(&batch);
            batch.clear();
        }
    }
    stream.send(&batch);
}

/// Reads until so many prefixes have been announced.
fn read_routes(stream: &mut Connection) {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = 0;
    while seen < ROUTES {
        match stream.receive(deadline) {
            Ok((kind::UPDATE, body)) => seen += host_prefixes(&body),
            Ok(_) => {}
            Err(end) => panic!("{end:?} after {seen} prefixes"),
        }
    }
}

#[test]
fn a_peer_that_never_reads_holds_nobody_else_up() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    cluster.write_relay(3);
    let (n1, n2) = cluster.start_pair();
    // n1 hears of more changes than a witness could.
    let mut witness = Witness::new(&[&n2]);
    // The path has this AS in it: told to peers of it all the same, theirs to drop.
    let dial = |index: u8| -> TcpStream {
        try_dial(&cluster.attacker(), peer_address(index), N1, 179).expect("n1 listens")
    };
    let deaf = dial(1);
    socket2::SockRef::from(&deaf)
        .set_recv_buffer_size(4096)
        .expect("an option");
    let mut deaf = Connection::new(deaf);
    deaf.establish(&Open::new(PEER_ASN, peer_address(1)));
    let mut source = Connection::new(dial(0));
    source.establish(&Open::new(PEER_ASN, peer_address(0)));
    let mut reader = Connection::new(dial(2));
    reader.establish(&Open::new(PEER_ASN, peer_address(2)));
    n1.await_status("all are up", |status| status.sessions.external_up == 3);
    let (before, began) = (n1.usage(), Instant::now());
    std::thread::scope(|scope| {
        scope.spawn(|| flood_of_routes(&mut source, ROUTES, 0));
        scope.spawn(|| read_routes(&mut reader));
    });
    let took = began.elapsed();
    let after = n1.usage();
    let queued = n1.neighbor("p1").output_queue_bytes;
    eprintln!(
        "{ROUTES} routes past a deaf peer in {took:.1?}: memory {} -> {} KiB, {queued} octets wait for it",
        before.resident_kib, after.resident_kib
    );
    assert!(queued > 0, "it was not deaf enough");
    assert!(queued < 4 << 20, "{queued} octets wait");
    for peer in ["p0", "p1", "p2"] {
        let neighbor = n1.neighbor(peer);
        assert_eq!(
            (neighbor.state.as_str(), neighbor.flaps),
            ("Established", 0),
            "{peer}"
        );
    }
    // Once it listens, it is told everything.
    read_routes(&mut deaf);
    witness.nothing_changed();
    let with_n2 = n1.neighbor("n2");
    assert_eq!((with_n2.state.as_str(), with_n2.flaps), ("Established", 0));
}

/// Of these, some octets more than what may be on the way to a station are told of.
const WATCHED_ROUTES: u32 = 30_000;

/// A message of BMP without its common header, and its type.
type Message = (u8, Vec<u8>);

/// The next; `None` at the end of the connection.
fn next_message(stream: &mut TcpStream) -> Option<Message> {
    let mut header = [0; 6];
    stream.read_exact(&mut header).ok()?;
    let [3, a, b, c, d, kind] = header else {
        panic!("no message of BMP: {header:?}");
    };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    let mut body = vec![0; len.checked_sub(6).expect("a length")];
    stream.read_exact(&mut body).ok()?;
    Some((kind, body))
}

/// The rounds and numbers of the routes in an UPDATE of [`flood_of_routes`], body only.
fn rounds(body: &[u8]) -> Vec<(u32, u16)> {
    let count = host_prefixes(body) as usize;
    let mut at = 4;
    let mut round = None;
    while round.is_none() && count > 0 {
        let (flags, code) = (body[at], body[at + 1]);
        assert_eq!(flags & 0x10, 0, "short attributes come first");
        let len = usize::from(body[at + 2]);
        if code == 4 {
            round = Some(u16::from_be_bytes([body[at + 3], body[at + 4]]));
        }
        at += 3 + len;
    }
    let nets = body[body.len() - 5 * count..].chunks(5);
    nets.map(|net| {
        let number = u32::from_be_bytes([0, net[2] - 64, net[3], net[4]]);
        (number, round.expect("a metric"))
    })
    .collect()
}

#[test]
fn a_station_that_never_reads_holds_nobody_up_and_is_told_later_what_is_so_then() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let listener = cluster.attacker().run(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Connections take it over.
        socket.set_recv_buffer_size(4096)?;
        socket.bind(&SocketAddr::from((STRANGER, 11019)).into())?;
        socket.listen(1)?;
        Ok(TcpListener::from(socket))
    });
    let listener = listener.expect("a station");
    cluster.put(
        "station.yaml",
        format!(
            "apiVersion: dunlin.dev/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\nspec:\n  \
             bmp: [{{address: {STRANGER}, statisticsSeconds: 0}}]\n"
        ),
    );
    cluster.write_peers(1, "  peerASN: 65010\n");
    let (n1, n2) = cluster.start_pair();
    let mut witness = Witness::new(&[&n2]);
    let dialled = try_dial(&cluster.attacker(), peer_address(0), N1, 179);
    let mut source = Connection::new(dialled.expect("n1 listens"));
    source.establish(&Open::new(PEER_ASN, peer_address(0)));
    n1.await_status("the station is there", |status| status.bmp[0].connected);
    let has_all = |round: u16| {
        let last = format!(
            "100.64.{}.{}/32",
            (WATCHED_ROUTES - 1) >> 8 & 255,
            (WATCHED_ROUTES - 1) & 255
        );
        let med = Some(u32::from(round) << 16 | (WATCHED_ROUTES - 1));
        wait_for("the last route is there", PATIENCE, || {
            let found: Vec<Route> = n1.json(&["get", "routes", "--prefix", &last]);
            let right = found
                .iter()
                .flat_map(|route| &route.paths)
                .any(|path| path.med == med);
            right.then_some(()).ok_or_else(|| format!("{found:?}"))
        });
    };
    flood_of_routes(&mut source, WATCHED_ROUTES, 0);
    has_all(0);
    let before = n1.usage();
    for round in 1..=3 {
        flood_of_routes(&mut source, WATCHED_ROUTES, round);
        has_all(round);
    }
    let (after, station) = (n1.usage(), n1.status().bmp.remove(0));
    eprintln!(
        "all of {WATCHED_ROUTES} routes changed three times past a deaf station: memory {} -> {} KiB, {station:?}",
        before.resident_kib, after.resident_kib
    );
    assert!(station.queued_bytes < 2 << 20, "{station:?}");
    assert!(
        after.resident_kib < before.resident_kib + (16 << 10),
        "memory grows while it does not read"
    );
    for peer in ["p0", "n2"] {
        let neighbor = n1.neighbor(peer);
        let stands = (neighbor.state.as_str(), neighbor.flaps);
        assert_eq!(stands, ("Established", 0), "{peer}");
    }
    witness.nothing_changed();
    // It reads. Had it not for too long, it was cut off, and is told everything on another connection.
    let mut told = BTreeMap::new();
    let mut heard = 0;
    let deadline = Instant::now() + 2 * PATIENCE;
    listener.set_nonblocking(false).expect("an option");
    while told.len() < WATCHED_ROUTES as usize || told.values().any(|round| *round != 3) {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        while let Some((kind, body)) = next_message(&mut stream) {
            assert!(Instant::now() < deadline, "{} are told", told.len());
            // Route Monitoring of a peer: 42 octets of header, then 19 of an UPDATE's.
            if kind == 0 && body[0] == 0 && body[14 + 8..26] == peer_address(0).octets() {
                let routes = rounds(&body[42 + 19..]);
                heard += routes.len();
                told.extend(routes);
            }
            if told.len() == WATCHED_ROUTES as usize && told.values().all(|round| *round == 3) {
                break;
            }
        }
    }
    assert!(
        heard < 2 * told.len(),
        "{heard} routes of {} were told",
        told.len()
    );
}

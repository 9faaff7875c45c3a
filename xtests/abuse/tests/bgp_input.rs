//! Whatever a peer says, it gets the NOTIFICATION that the RFCs name, it is shown, and nothing else changes.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use dunlin_abuse::agent::Agent;
use dunlin_abuse::bgp::{
    Connection, End, Notification, Open, attribute, good_attributes, header, keepalive, kind,
    message, of_length, try_dial, update,
};
use dunlin_abuse::cluster::{Cluster, PEER_ASN, STRANGER, peer_address};
use dunlin_abuse::witness::Witness;
use dunlin_abuse::{PATIENCE, can_run, wait_for};

const N1: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const EXTERNAL: &str = "  peerASN: 65010\n";

fn open(index: u8) -> Open {
    Open::new(PEER_ASN, peer_address(index))
}

fn changed(index: u8, change: impl FnOnce(&mut Open)) -> Vec<u8> {
    let mut open = open(index);
    change(&mut open);
    open.encode()
}

fn told(code: u8, subcode: u8, data: &[u8]) -> End {
    End::Told(Notification {
        code,
        subcode,
        data: data.to_vec(),
    })
}

/// What was sent to peer `name` is shown by `get neighbors`, by `explain` and by the metrics.
#[track_caller]
fn is_shown(agent: &Agent, name: &str, address: Ipv4Addr, code: u8, subcode: u8) {
    let neighbor = agent.neighbor(name);
    let sent = neighbor.notification_sent.expect("a NOTIFICATION was sent");
    assert_eq!(
        (sent.code, sent.subcode),
        (code, subcode),
        "{name}: {sent:?}"
    );
    let error = neighbor.last_error.expect("an error is shown");
    assert!(!error.is_empty());
    let explanation = agent.explain(name);
    let said = format!("{explanation:?}");
    assert!(said.contains(&format!("({code}/{subcode})")), "{said}");
    assert!(!explanation.ok, "{said}");
    let series = format!(
        "dunlin_neighbor_notifications_total{{neighbor=\"{name}\",address=\"{address}\",direction=\"sent\"}}"
    );
    assert!(agent.metric(&series) >= 1.0, "{series}");
}

/// What is said first on a connection, and the answer.
type Row = (&'static str, Vec<u8>, u8, u8, Vec<u8>);

fn faults_before_the_open(first: u8) -> Vec<Row> {
    let mut wrong_marker = open(first).encode();
    wrong_marker[3] = 0;
    // The parameters' length says more than there is.
    let mut half = open(first).encode();
    half.truncate(29);
    half[16..18].copy_from_slice(&29u16.to_be_bytes());
    half[28] = 200;
    let mut short = header(29, kind::OPEN);
    short.resize(29, 0);
    vec![
        (
            "garbage",
            b"GET / HTTP/1.1\r\nHost: bgp\r\n\r\n".to_vec(),
            1,
            1,
            vec![],
        ),
        ("a wrong marker", wrong_marker, 1, 1, vec![]),
        (
            "a length of 18",
            of_length(18, kind::OPEN),
            1,
            2,
            vec![0, 18],
        ),
        ("a length of 0", header(0, kind::OPEN), 1, 2, vec![0, 0]),
        (
            "a length of 4097",
            of_length(4097, kind::UPDATE),
            1,
            2,
            vec![16, 1],
        ),
        (
            "64 KiB unasked",
            of_length(65535, kind::UPDATE),
            1,
            2,
            vec![255, 255],
        ),
        ("an unknown type", message(77, &[]), 1, 3, vec![77]),
        ("half an OPEN", half, 2, 0, vec![]),
        ("an OPEN of zeros", short, 2, 1, vec![0, 4]),
        (
            "version 3",
            changed(first, |o| o.version = 3),
            2,
            1,
            vec![0, 4],
        ),
        (
            "a wrong AS",
            changed(first, |o| *o = Open::new(65011, o.id)),
            2,
            2,
            vec![],
        ),
        (
            "router id 0.0.0.0",
            changed(first, |o| o.id = Ipv4Addr::UNSPECIFIED),
            2,
            3,
            vec![],
        ),
        (
            "a hold time of 1",
            changed(first, |o| o.hold_time = 1),
            2,
            6,
            vec![],
        ),
        (
            "a hold time of 2",
            changed(first, |o| o.hold_time = 2),
            2,
            6,
            vec![],
        ),
        (
            "no family of ours",
            changed(first, |o| o.capabilities = vec![(1, vec![0, 25, 0, 65])]),
            2,
            7,
            vec![1, 4, 0, 1, 0, 1],
        ),
        ("an UPDATE before the OPEN", update(&[], &[]), 5, 1, vec![2]),
        ("a KEEPALIVE before the OPEN", keepalive(), 5, 1, vec![4]),
        (
            "a ROUTE-REFRESH before the OPEN",
            message(kind::ROUTE_REFRESH, &[0, 1, 0, 1]),
            5,
            1,
            vec![5],
        ),
    ]
}

#[test]
fn each_fault_on_a_fresh_connection_gets_its_notification_and_harms_nobody() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let table = faults_before_the_open(0);
    let count = u8::try_from(table.len()).expect("few rows");
    cluster.write_peers(count, EXTERNAL);
    let (n1, n2) = cluster.start_pair();
    let mut witness = Witness::new(&[&n1, &n2]);
    for ((what, bytes, code, subcode, data), index) in table.into_iter().zip(0u8..) {
        let from = peer_address(index);
        let mut connection = Connection::dial(&cluster.attacker(), from, N1);
        connection.send(&bytes);
        assert_eq!(connection.end(), told(code, subcode, &data), "{what}");
        is_shown(&n1, &format!("p{index}"), from, code, subcode);
        let status = n1.status();
        let object = format!("BGPPeer/p{index}");
        let problem = status.problems.iter().find(|p| p.object == object);
        let problem = problem.unwrap_or_else(|| panic!("{what}: {:#?}", status.problems));
        assert_eq!(problem.reason, "SessionDown", "{what}");
    }
    let down = f64::from(count);
    assert_eq!(n1.metric("dunlin_problems{reason=\"SessionDown\"}"), down);
    witness.nothing_changed();
}

#[test]
fn our_own_router_id_is_refused_within_our_as() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    cluster.write_peers(1, "  peerASN: internal\n");
    let (n1, n2) = cluster.start_pair();
    let mut witness = Witness::new(&[&n1, &n2]);
    let mut connection = Connection::dial(&cluster.attacker(), peer_address(0), N1);
    connection.send(&Open::new(64512, N1).encode());
    assert_eq!(connection.end(), told(2, 3, &[]));
    is_shown(&n1, "p0", peer_address(0), 2, 3);
    let error = n1.neighbor("p0").last_error.unwrap_or_default();
    assert!(error.contains("192.0.2.1"), "{error}");
    witness.nothing_changed();
}

/// A refused OPEN holds the peer back: it is told so, and counted.
#[test]
fn a_peer_whose_open_was_refused_is_held_back_for_a_moment_and_let_in_again() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(1);
    cluster.write_peers(1, EXTERNAL);
    let n1 = cluster.start("n1");
    let attacker = cluster.attacker();
    let mut connection = Connection::dial(&attacker, peer_address(0), N1);
    connection.send(&changed(0, |o| o.hold_time = 1));
    assert_eq!(connection.end(), told(2, 6, &[]));
    let mut connection = Connection::dial(&attacker, peer_address(0), N1);
    assert_eq!(connection.end(), told(6, 5, &[]), "held back");
    let refused = "dunlin_connections_refused_total{reason=\"held-back\"}";
    assert_eq!(n1.metric(refused), 1.0);
    wait_for("it is let in again", PATIENCE, || {
        let mut connection = Connection::dial(&attacker, peer_address(0), N1);
        connection.send(&open(0).encode());
        match connection.receive(std::time::Instant::now() + PATIENCE) {
            Ok((kind::OPEN, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// Connections that bring nothing, and those that end in the middle of a message.
#[test]
fn an_open_that_stops_half_way_holds_nothing_for_long() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    cluster.write_peers(3, EXTERNAL);
    let (n1, n2) = cluster.start_pair();
    let mut witness = Witness::new(&[&n1, &n2]);
    let attacker = cluster.attacker();
    let files = n1.usage().files;
    // It goes away in the middle.
    let mut gone = Connection::dial(&attacker, peer_address(0), N1);
    gone.send(&open(0).encode()[..25]);
    gone.finish();
    assert_eq!(gone.end(), End::Silent, "nothing is left to say to it");
    // It stays, and says no more: the OPEN is waited for 15 s at most.
    let mut silent = Connection::dial(&attacker, peer_address(1), N1);
    silent.send(&open(1).encode()[..25]);
    assert_eq!(silent.end_within(Duration::from_secs(40)), told(4, 0, &[]));
    is_shown(&n1, "p1", peer_address(1), 4, 0);
    n1.await_files(files);
    // One octet at a time is as good as all at once.
    let mut slow = Connection::dial(&attacker, peer_address(2), N1);
    for octet in open(2).encode() {
        slow.send(&[octet]);
    }
    slow.await_message(kind::KEEPALIVE);
    for octet in keepalive() {
        slow.send(&[octet]);
    }
    wait_for("the session is up", PATIENCE, || established(&n1, "p2"));
    witness.nothing_changed();
}

fn established(agent: &Agent, name: &str) -> Result<(), String> {
    let neighbors = agent.neighbors();
    let state = neighbors
        .into_iter()
        .find(|n| n.name == name)
        .map(|n| n.state);
    if state.as_deref() == Some("Established") {
        Ok(())
    } else {
        Err(format!("{state:?}"))
    }
}

/// The session of peer `index` with n1, Established on both sides.
fn session(cluster: &Cluster, agent: &Agent, index: u8) -> Connection {
    let mut connection = Connection::dial(&cluster.attacker(), peer_address(index), N1);
    connection.establish(&open(index));
    wait_for("the session is up", PATIENCE, || {
        established(agent, &format!("p{index}"))
    });
    connection
}

#[test]
fn each_fault_on_an_established_session_gets_its_notification_and_harms_nobody() {
    if !can_run() {
        return;
    }
    let table: Vec<(&str, Vec<u8>, u8, u8)> = vec![
        ("a second OPEN", open(0).encode(), 5, 3),
        ("a wrong marker", vec![0; 64], 1, 1),
        ("a length of 18", of_length(18, kind::UPDATE), 1, 2),
        (
            "a length of 4097 without extended messages",
            of_length(4097, kind::UPDATE),
            1,
            2,
        ),
        ("64 KiB unasked", of_length(65535, kind::UPDATE), 1, 2),
        (
            "attributes overrun the message",
            message(kind::UPDATE, &[0, 0, 0, 9]),
            3,
            1,
        ),
        (
            "withdrawn routes overrun the message",
            message(kind::UPDATE, &[0, 9, 0, 0]),
            3,
            1,
        ),
        (
            "a prefix of 33 bits",
            update(
                &good_attributes(PEER_ASN, peer_address(6)),
                &[33, 1, 2, 3, 4, 5],
            ),
            3,
            10,
        ),
        (
            "a prefix cut off",
            update(&good_attributes(PEER_ASN, peer_address(7)), &[24, 203, 0]),
            3,
            10,
        ),
        (
            "MP_REACH_NLRI twice",
            update(&[mp_reach(), mp_reach(), attribute(0x40, 1, &[0])], &[]),
            3,
            1,
        ),
    ];
    let cluster = Cluster::new(2);
    cluster.write_peers(u8::try_from(table.len()).expect("few rows"), EXTERNAL);
    let (n1, n2) = cluster.start_pair();
    let mut witness = Witness::new(&[&n1, &n2]);
    for ((what, bytes, code, subcode), index) in table.into_iter().zip(0u8..) {
        let mut connection = session(&cluster, &n1, index);
        connection.send(&bytes);
        match connection.end() {
            End::Told(sent) => assert_eq!((sent.code, sent.subcode), (code, subcode), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        is_shown(
            &n1,
            &format!("p{index}"),
            peer_address(index),
            code,
            subcode,
        );
        let flaps = format!(
            "dunlin_neighbor_flaps_total{{neighbor=\"p{index}\",address=\"{}\"}}",
            peer_address(index)
        );
        assert_eq!(n1.metric(&flaps), 1.0, "{what}");
    }
    witness.nothing_changed();
}

fn mp_reach() -> Vec<u8> {
    let mut value = vec![0, 2, 1, 16];
    value.extend_from_slice(
        &"fd00:2::99"
            .parse::<std::net::Ipv6Addr>()
            .expect("an address")
            .octets(),
    );
    value.extend_from_slice(&[0, 32, 0x20, 0x01, 0x0d, 0xb8]);
    attribute(0x80, 14, &value)
}

/// 203.0.113.0/24.
const PREFIX: [u8; 4] = [24, 203, 0, 113];

fn has_route(agent: &Agent) -> bool {
    let found: Vec<serde_json::Value> =
        agent.json(&["get", "routes", "--prefix", "203.0.113.0/24"]);
    !found.is_empty()
}

/// RFC 7606: the session stays, the routes of the UPDATE go, and it is counted.
#[test]
fn malformed_attributes_withdraw_their_routes_and_keep_the_session() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    cluster.write_peers(1, EXTERNAL);
    let (n1, n2) = cluster.start_pair();
    let mut witness = Witness::new(&[&n1, &n2]);
    let mut peer = session(&cluster, &n1, 0);
    let good = good_attributes(PEER_ASN, peer_address(0));
    let with = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut attributes = good.clone();
        change(&mut attributes);
        update(&attributes, &PREFIX)
    };
    let table: Vec<(&str, Vec<u8>)> = vec![
        (
            "ORIGIN with the flags of an optional attribute",
            with(&|a| a[0][0] = 0xc0),
        ),
        ("NEXT_HOP marked optional", with(&|a| a[2][0] = 0x80)),
        (
            "ORIGIN of two octets",
            with(&|a| a[0] = attribute(0x40, 1, &[0, 0])),
        ),
        ("ORIGIN 9", with(&|a| a[0] = attribute(0x40, 1, &[9]))),
        (
            "AS_PATH cut off",
            with(&|a| a[1] = attribute(0x40, 2, &[2, 3, 0, 0])),
        ),
        (
            "the last attribute longer than what is left",
            with(&|a| a[2] = vec![0x40, 3, 9, 192, 0, 2, 10]),
        ),
        ("no NEXT_HOP", with(&|a| drop(a.pop()))),
        ("no AS_PATH", with(&|a| drop(a.remove(1)))),
        (
            "a community of three octets",
            with(&|a| a.push(attribute(0xc0, 8, &[1, 2, 3]))),
        ),
        (
            "the path of another AS",
            with(&|a| a[1] = attribute(0x40, 2, &[2, 1, 0, 0, 0xfd, 0xe9])),
        ),
    ];
    let labels = format!("{{neighbor=\"p0\",address=\"{}\"}}", peer_address(0));
    let counter = format!("dunlin_neighbor_treated_as_withdraw_total{labels}");
    for ((what, bytes), before) in table.into_iter().zip(0u32..) {
        peer.send(&update(&good, &PREFIX));
        wait_for("the good route is there", PATIENCE, || {
            has_route(&n1).then_some(()).ok_or_else(|| what.to_owned())
        });
        assert_eq!(n1.metric(&counter), f64::from(before), "{what}");
        peer.send(&bytes);
        wait_for("the route is withdrawn", PATIENCE, || {
            (!has_route(&n1))
                .then_some(())
                .ok_or_else(|| what.to_owned())
        });
        assert_eq!(n1.metric(&counter), f64::from(before + 1), "{what}");
        assert_eq!(
            n1.neighbor("p0").counters.treated_as_withdraw,
            u64::from(before + 1)
        );
    }
    // A second attribute of a kind is dropped, the first counts.
    let twice = with(&|a| a.push(attribute(0x40, 1, &[2])));
    peer.send(&twice);
    wait_for("the route is there", PATIENCE, || {
        has_route(&n1).then_some(()).ok_or("no".into())
    });
    let discarded = format!("dunlin_neighbor_attributes_discarded_total{labels}");
    assert_eq!(n1.metric(&discarded), 1.0);
    let explanation = n1.explain("203.0.113.0/24");
    assert!(format!("{explanation:?}").contains("p0"), "{explanation:?}");
    let neighbor = n1.neighbor("p0");
    assert_eq!(
        (neighbor.state.as_str(), neighbor.flaps),
        ("Established", 0)
    );
    witness.nothing_changed();
}

/// Who dials must say why it hangs up, also when it was we who dialled.
#[test]
fn garbage_from_a_peer_that_we_dialled_is_answered_too() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let address = peer_address(0);
    let listener = cluster
        .attacker()
        .run(|| Ok(TcpListener::bind((address, 179))?));
    let listener = listener.expect("a listener");
    cluster.write_peers(1, EXTERNAL);
    let (n1, n2) = cluster.start_pair();
    let mut witness = Witness::new(&[&n1, &n2]);
    let (stream, from) = listener.accept().expect("n1 dials");
    assert_eq!(from.ip(), N1);
    let mut connection = Connection::new(stream);
    connection.await_message(kind::OPEN);
    connection.send(&[
        0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
    assert_eq!(connection.end(), told(1, 1, &[]));
    is_shown(&n1, "p0", address, 1, 1);
    witness.nothing_changed();
}

#[test]
fn a_stranger_gets_no_word_and_is_counted() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let (n1, n2) = cluster.start_pair();
    let mut witness = Witness::new(&[&n1, &n2]);
    let refused = "dunlin_connections_refused_total{reason=\"unknown-source\"}";
    // n2 may have dialled before n1 had read its object.
    let before = n1.metric(refused);
    match try_dial(&cluster.attacker(), STRANGER, N1, 179) {
        Ok(stream) => {
            let mut connection = Connection::new(stream);
            connection.send(&Open::new(64512, STRANGER).encode());
            // The writing may have been told of the reset, and the reading finds only the end.
            let end = connection.end();
            assert!(matches!(end, End::Reset | End::Silent), "{end:?}");
        }
        // It was quicker than we.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    assert_eq!(n1.metric(refused), before + 1.0);
    witness.nothing_changed();
}

/// Random octets after a good OPEN, and in place of one: no panic, no effect elsewhere.
#[test]
fn random_octets_never_end_the_agent() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    cluster.write_peers(40, EXTERNAL);
    let (mut n1, n2) = cluster.start_pair();
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    {
        let mut witness = Witness::new(&[&n1, &n2]);
        for index in 0..40 {
            let mut connection = Connection::dial(&cluster.attacker(), peer_address(index), N1);
            if index % 2 == 0 {
                connection.establish(&open(index));
                // A body that is noise behind a header that is right, one after the other.
                for _ in 0..50 {
                    let len = usize::try_from(next() % 200).expect("small");
                    let body: Vec<u8> = (0..len).map(|_| next().to_le_bytes()[0]).collect();
                    connection.send(&message(kind::UPDATE, &body));
                }
            }
            let noise: Vec<u8> = (0..500).map(|_| next().to_le_bytes()[0]).collect();
            connection.send(&noise);
            let end = connection.end();
            assert!(matches!(end, End::Told(_)), "peer {index}: {end:?}");
        }
        witness.nothing_changed();
    }
    assert!(n1.is_running());
    assert!(!n1.log().contains("panicked"), "{}", n1.log());
}

//! What monitoring stations are told, and that a slow one costs nobody anything.

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use std::time::Duration;

use dunlin_bgp::bmp::{StationCommand, StationEvent, StationId};
use dunlin_intent::{BmpStationFact, ConfigurationFact, Fact, MonitoredTable};
use dunlin_net::Instant;
use support::*;

const WALL: u64 = 1_700_000_000;

fn secs(secs: u64) -> Instant {
    Instant::from_micros(secs * 1_000_000)
}

fn configuration(stations: Vec<BmpStationFact>) -> Fact {
    Fact::Configuration(ConfigurationFact {
        name: "default".into(),
        bmp: stations,
        ..ConfigurationFact::default()
    })
}

fn station() -> BmpStationFact {
    BmpStationFact {
        address: Some("192.0.2.9".parse().unwrap()),
        statistics_secs: Some(0),
        ..BmpStationFact::default()
    }
}

/// A core with these stations, a router's session not up yet.
fn bench(stations: Vec<BmpStationFact>) -> Bench {
    let mut bench = Bench::importing();
    bench.apply(configuration(stations));
    bench.sync();
    bench
}

/// The station that was asked for.
fn wanted(bench: &mut Bench) -> StationId {
    let commands = std::mem::take(&mut bench.stations);
    let [StationCommand::Set { station, addr }] = commands[..] else {
        panic!("one station is wanted: {commands:?}");
    };
    assert_eq!(addr.to_string(), "192.0.2.9:11019");
    station
}

fn connect(bench: &mut Bench, station: StationId, conn: u32) {
    bench.station(StationEvent::Connected {
        station,
        conn,
        wall: Duration::from_secs(WALL),
    });
}

/// One message, by its type; of the per-peer header what tests look at.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    kind: &'static str,
    /// 0 for a peer, 3 for the Loc-RIB.
    of: u8,
    at: u32,
    body: Vec<u8>,
}

/// Takes what was sent since, on this connection.
fn sent(bench: &mut Bench, on: u32) -> Vec<u8> {
    let mut all = Vec::new();
    for command in std::mem::take(&mut bench.stations) {
        match command {
            StationCommand::Send { conn, bytes, .. } => {
                assert_eq!(conn, on);
                all.extend(bytes);
            }
            other => panic!("something is sent: {other:?}"),
        }
    }
    all
}

fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let [3, a, b, c, d, kind, ..] = *bytes {
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        let (message, rest) = bytes.split_at(len);
        bytes = rest;
        let names = [
            "Routes",
            "Statistics",
            "Down",
            "Up",
            "Initiation",
            "Termination",
        ];
        let of_peer = kind < 4;
        messages.push(Message {
            kind: names[usize::from(kind)],
            of: if of_peer { message[6] } else { 0 },
            at: if of_peer {
                u32::from_be_bytes(message[40..44].try_into().unwrap())
            } else {
                0
            },
            body: message[if of_peer { 48 } else { 6 }..].to_vec(),
        });
    }
    assert!(bytes.is_empty(), "whole messages");
    messages
}

/// Each with whose it is; End-of-RIB by that name.
fn names(messages: &[Message]) -> Vec<(&'static str, u8)> {
    let name = |message: &Message| match message.kind {
        // Nothing withdrawn, and no attributes but those that end IPv6.
        "Routes" if message.body.len() <= 30 && message.body[21..23] < [0, 12][..] => "End",
        kind => kind,
    };
    messages.iter().map(|m| (name(m), m.of)).collect()
}

#[test]
fn a_station_is_told_all_there_is_and_then_what_happens() {
    let mut bench = bench(vec![station()]);
    bench.up();
    bench.learns(&["198.51.100.0/24", "203.0.113.0/24"]);
    let station = wanted(&mut bench);
    assert!(bench.stations.is_empty(), "nothing before it is connected");
    bench.at(secs(100));
    connect(&mut bench, station, 1);
    let told = messages(&sent(&mut bench, 1));
    assert_eq!(
        names(&told),
        [
            ("Initiation", 0),
            ("Up", 3),
            ("Up", 0),
            // The own pod subnet, then what was learned; then what the peer told.
            ("Routes", 3),
            ("Routes", 3),
            ("Routes", 0),
            ("End", 3),
            ("End", 3),
            ("End", 0),
            ("End", 0),
        ]
    );
    assert!(
        told.iter().all(|message| message.at == 0),
        "since unknown when"
    );
    bench.at(secs(105));
    bench.learns(&["192.0.2.0/24"]);
    let told = messages(&sent(&mut bench, 1));
    assert_eq!(names(&told), [("Routes", 3), ("Routes", 0)]);
    assert!(told.iter().all(|message| message.at == WALL as u32 + 5));
    // The end of the session withdraws what the peer told; from the Loc-RIB each route goes by itself.
    bench.down();
    let told = messages(&sent(&mut bench, 1));
    assert_eq!(names(&told), [("Down", 0), ("Routes", 3)]);
    assert_eq!(told[0].body, [4], "the connection ended without a word");
    bench.up();
    assert_eq!(
        names(&messages(&sent(&mut bench, 1))),
        [("Up", 0), ("End", 0), ("End", 0)]
    );
}

#[test]
fn a_station_is_told_of_the_tables_it_asks_for() {
    for (table, of) in [(MonitoredTable::AdjRibIn, 0), (MonitoredTable::LocRib, 3)] {
        let mut bench = bench(vec![BmpStationFact {
            monitor: vec![table],
            ..station()
        }]);
        bench.up();
        bench.learns(&["198.51.100.0/24"]);
        let station = wanted(&mut bench);
        connect(&mut bench, station, 1);
        bench.down();
        let told = messages(&sent(&mut bench, 1));
        assert!(told.len() > 3);
        assert!(told[1..].iter().all(|message| message.of == of), "{told:?}");
    }
}

#[test]
fn without_credit_nothing_more_is_sent_and_later_only_what_is_so_then() {
    let mut bench = bench(vec![station()]);
    bench.up();
    let station = wanted(&mut bench);
    connect(&mut bench, station, 1);
    let mut on_the_way = sent(&mut bench, 1).len();
    // Each alone, so that each is a message of its own.
    let nets: Vec<String> = (0..20_000_u32)
        .map(|number| format!("100.{}.{}.0/24", number / 256, number % 256))
        .collect();
    for nets in nets.chunks(100) {
        let nets: Vec<&str> = nets.iter().map(String::as_str).collect();
        bench.learns(&nets);
        on_the_way += sent(&mut bench, 1).len();
        assert!(on_the_way <= StationCommand::CREDIT + (1 << 17));
    }
    let sends = StationCommand::SENDS;
    assert!(bench.status().bmp[0].queued_bytes as usize == on_the_way);
    // Sends are as scarce as octets.
    assert!(
        on_the_way < 20_000 * 60,
        "{on_the_way} octets in {sends} sends"
    );
    assert!(bench.status().bmp[0].behind > 10_000, "what waits is shown");
    // Now only withdrawals of what was told, or not even that, are left to tell.
    bench.down();
    bench.up();
    assert!(sent(&mut bench, 1).is_empty());
    bench.station(StationEvent::Written {
        station,
        conn: 1,
        octets: on_the_way,
    });
    let told = names(&messages(&sent(&mut bench, 1)));
    assert_eq!(told.first(), Some(&("Down", 0)));
    assert_eq!(told.iter().filter(|name| **name == ("Up", 0)).count(), 1);
    assert!(!told.contains(&("Routes", 0)), "{told:?}");
    assert!(told.len() < 40, "{}", told.len());
}

#[test]
fn a_station_that_is_too_far_behind_is_cut_off_and_told_everything_anew() {
    let mut bench = bench(vec![station()]);
    bench.up();
    let station = wanted(&mut bench);
    connect(&mut bench, station, 1);
    let nets: Vec<String> = (0..300_000_u32)
        .map(|number| {
            let [a, b, c, _] = (0x0B00_0000 + (number << 8)).to_be_bytes();
            format!("{a}.{b}.{c}.0/24")
        })
        .collect();
    for nets in nets.chunks(3_000) {
        let nets: Vec<&str> = nets.iter().map(String::as_str).collect();
        bench.learns(&nets);
    }
    sent(&mut bench, 1);
    // More withdrawals from the Loc-RIB than are kept.
    bench.down();
    assert!(
        matches!(bench.stations[..], [StationCommand::Reset { conn: 1, .. }])
            || bench.stations.is_empty(),
        "without credit nothing is noticed"
    );
    bench.stations.clear();
    bench.station(StationEvent::Written {
        station,
        conn: 1,
        octets: usize::MAX,
    });
    let status = bench.status().bmp;
    assert!(
        !status[0].connected && status[0].overruns == 1,
        "{status:?}"
    );
    bench.stations.clear();
    connect(&mut bench, station, 2);
    let told = messages(&sent(&mut bench, 2));
    assert_eq!(
        names(&told),
        [
            ("Initiation", 0),
            ("Up", 3),
            ("Routes", 3),
            ("End", 3),
            ("End", 3)
        ]
    );
}

#[test]
fn statistics_come_when_they_are_due() {
    let mut bench = bench(vec![BmpStationFact {
        statistics_secs: Some(30),
        ..station()
    }]);
    bench.up();
    bench.learns(&["198.51.100.0/24"]);
    let station = wanted(&mut bench);
    connect(&mut bench, station, 1);
    sent(&mut bench, 1);
    bench.until(secs(29));
    assert!(sent(&mut bench, 1).is_empty());
    bench.until(secs(30));
    let told = messages(&sent(&mut bench, 1));
    assert_eq!(names(&told), [("Statistics", 3), ("Statistics", 0)]);
    // Three of them, the first all routes: type 7, eight octets, one route.
    assert_eq!(
        told[1].body[..16],
        [0, 0, 0, 3, 0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1]
    );
    bench.until(secs(100));
    assert_eq!(messages(&sent(&mut bench, 1)).len(), 4, "at 60 s and 90 s");
}

#[test]
fn a_station_that_is_removed_is_told_so_and_one_that_is_down_is_a_problem() {
    let mut bench = bench(vec![station()]);
    let id = wanted(&mut bench);
    assert_eq!(bench.reasons(), [""; 0]);
    bench.station(StationEvent::Lost {
        station: id,
        why: "connection refused".into(),
    });
    bench.until(secs(60));
    assert_eq!(bench.reasons(), ["BMPStationDown"]);
    connect(&mut bench, id, 1);
    assert_eq!(bench.reasons(), [""; 0]);
    bench.stations.clear();
    bench.apply(configuration(Vec::new()));
    let commands = std::mem::take(&mut bench.stations);
    let [StationCommand::Remove { station, last }] = &commands[..] else {
        panic!("{commands:?}");
    };
    assert_eq!(*station, id);
    assert_eq!(names(&messages(last)), [("Termination", 0)]);
    // Nobody is told anything any more.
    bench.up();
    bench.learns(&["198.51.100.0/24"]);
    assert!(bench.stations.is_empty());
    assert!(bench.status().bmp.is_empty());
}

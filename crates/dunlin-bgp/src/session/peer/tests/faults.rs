//! Fault → NOTIFICATION, code and subcode.

use std::time::Duration;

use dunlin_net::{Afi, Asn};

use super::bench::*;
use crate::session::*;
use crate::wire::{AfiSafi, Capability, KEEPALIVE, Notification, Open};

fn codes(notification: Option<Notification>) -> (u8, u8, Vec<u8>) {
    let sent = notification.expect("a NOTIFICATION");
    (sent.code, sent.subcode, sent.data)
}

fn changed(change: impl FnOnce(&mut Open)) -> Vec<u8> {
    let mut open = open();
    change(&mut open);
    encoded(&open)
}

#[test]
fn each_fault_before_the_open_has_its_notification() {
    let mut not_synchronised = encoded(&open());
    not_synchronised[3] = 0;
    let mut version_3 = encoded(&open());
    version_3[19] = 3;
    let mut half = encoded(&open());
    half[17] = 29;
    half.truncate(29);
    half[28] = 200;
    let mut parameter = changed(|open| open.capabilities.clear());
    parameter[28] = 3;
    parameter.extend_from_slice(&[99, 1, 0]);
    parameter[17] += 3;
    type Row = (&'static str, Vec<u8>, u8, u8, Vec<u8>);
    let table: Vec<Row> = vec![
        ("wrong marker", not_synchronised, 1, 1, vec![]),
        ("length 18", raw(18, 1), 1, 2, vec![0, 18]),
        ("length 4097", raw(4097, 2), 1, 2, vec![16, 1]),
        ("length 65535 unasked", raw(65535, 2), 1, 2, vec![255, 255]),
        ("an OPEN of 28 octets", raw(28, 1), 1, 2, vec![0, 28]),
        ("a KEEPALIVE of 20 octets", raw(20, 4), 1, 2, vec![0, 20]),
        ("unknown type", raw(19, 9), 1, 3, vec![9]),
        ("version 3", version_3, 2, 1, vec![0, 4]),
        (
            "wrong AS",
            changed(|o| {
                o.asn = Asn(65001);
                o.capabilities[3] = Capability::FourOctetAs(Asn(65001));
            }),
            2,
            2,
            vec![],
        ),
        (
            "our own router id",
            changed(|o| o.router_id = OUR_ID),
            2,
            3,
            vec![],
        ),
        (
            "router id zero",
            changed(|o| o.router_id.0 = [0; 4].into()),
            2,
            3,
            vec![],
        ),
        (
            "hold time 1",
            changed(|o| o.hold_time_secs = 1),
            2,
            6,
            vec![],
        ),
        (
            "hold time 2",
            changed(|o| o.hold_time_secs = 2),
            2,
            6,
            vec![],
        ),
        (
            "no family of ours",
            changed(|o| {
                o.capabilities = vec![Capability::Multiprotocol(AfiSafi { afi: 25, safi: 65 })];
            }),
            2,
            7,
            vec![1, 4, 0, 1, 0, 1],
        ),
        ("half an OPEN", half, 2, 0, vec![]),
        ("unknown optional parameter", parameter, 2, 4, vec![]),
        ("KEEPALIVE before OPEN", KEEPALIVE.to_vec(), 5, 1, vec![4]),
        ("UPDATE before OPEN", end_of_rib(), 5, 1, vec![2]),
        (
            "ROUTE-REFRESH before OPEN",
            refresh(AfiSafi::unicast(Afi::Ipv4)),
            5,
            1,
            vec![5],
        ),
    ];
    for (what, bytes, code, subcode, data) in table {
        let (mut bench, conn) = Bench::accepted(config());
        bench.bytes(conn, &bytes);
        assert_eq!(
            codes(bench.closed_with(conn)),
            (code, subcode, data),
            "{what}"
        );
        assert!(bench.peer.stats().last_error.is_some(), "{what}");
    }
}

#[test]
fn each_fault_after_the_open_has_its_notification() {
    let update = |body: &[u8]| {
        let mut bytes = raw(19 + body.len() as u16, 2);
        bytes[19..].copy_from_slice(body);
        bytes
    };
    let table: Vec<(&str, Vec<u8>, u8, u8)> = vec![
        ("a second OPEN", encoded(&open()), 5, 3),
        ("length 4097 without extended messages", raw(4097, 2), 1, 2),
        (
            "withdrawn routes overrun the message",
            update(&[0, 9, 0, 0]),
            3,
            1,
        ),
        (
            "attributes overrun the message",
            update(&[0, 0, 0, 9]),
            3,
            1,
        ),
        (
            "a prefix of 33 bits withdrawn",
            update(&[0, 6, 33, 1, 2, 3, 4, 5, 0, 0]),
            3,
            10,
        ),
    ];
    for (what, bytes, code, subcode) in table {
        let (mut bench, conn) = Bench::established(config());
        bench.bytes(conn, &bytes);
        let sent = codes(bench.closed_with(conn));
        assert_eq!((sent.0, sent.1), (code, subcode), "{what}");
    }
}

#[test]
fn each_message_out_of_place_in_open_confirm_has_its_subcode() {
    for (bytes, message) in [
        (encoded(&open()), 1),
        (end_of_rib(), 2),
        (refresh(AfiSafi::unicast(Afi::Ipv4)), 5),
    ] {
        let (mut bench, conn) = Bench::accepted(config());
        bench.bytes(conn, &encoded(&open()));
        bench.bytes(conn, &bytes);
        assert_eq!(codes(bench.closed_with(conn)), (5, 2, vec![message]));
    }
}

#[test]
fn silence_has_its_notification_in_each_state() {
    let (mut bench, conn) = Bench::accepted(config());
    bench.pass(Duration::from_secs(14));
    assert_eq!(bench.peer.state().0, FsmState::OpenSent);
    bench.pass(Duration::from_secs(1));
    assert_eq!(codes(bench.closed_with(conn)), (4, 0, vec![]));
    let reason = &bench.peer.stats().last_error.as_ref().unwrap().1;
    assert_eq!(*reason, DownReason::OpenTimedOut);

    for established in [false, true] {
        let (mut bench, conn) = Bench::accepted(config());
        bench.bytes(conn, &encoded(&open()));
        if established {
            bench.bytes(conn, &KEEPALIVE);
        }
        bench.pass(Duration::from_secs(89));
        assert!(bench.peer.has_connections());
        bench.pass(Duration::from_secs(1));
        assert_eq!(codes(bench.closed_with(conn)), (4, 0, vec![]));
    }
}

#[test]
fn a_peer_that_never_reads_is_dropped_by_the_send_hold_timer() {
    let (mut bench, conn) = Bench::established(config());
    bench.on(Input::Written {
        conn,
        pending: true,
    });
    for _ in 0..8 {
        bench.pass(Duration::from_secs(59));
        bench.bytes(conn, &KEEPALIVE);
    }
    assert_eq!(bench.peer.state().0, FsmState::Established);
    bench.pass(Duration::from_secs(8));
    assert_eq!(codes(bench.closed_with(conn)), (8, 0, vec![]));
}

#[test]
fn a_notification_is_never_answered() {
    for state in 0..3 {
        let (mut bench, conn) = Bench::accepted(config());
        if state > 0 {
            bench.bytes(conn, &encoded(&open()));
        }
        if state > 1 {
            bench.bytes(conn, &KEEPALIVE);
        }
        bench.bytes(conn, &notification(6, 2));
        assert_eq!(bench.closed_with(conn), None);
        let (_, received) = bench.peer.stats().last_received.clone().unwrap();
        assert_eq!((received.code, received.subcode), (6, 2));
    }
}

#[test]
fn the_same_router_id_is_refused_only_within_one_as() {
    let mut external = config();
    external.remote_asn = RemoteAsn::External;
    let (mut bench, conn) = Bench::accepted(external);
    let theirs = changed(|open| {
        open.router_id = OUR_ID;
        open.asn = Asn(65001);
        open.capabilities[3] = Capability::FourOctetAs(Asn(65001));
    });
    bench.bytes(conn, &theirs);
    assert_eq!(bench.peer.state().0, FsmState::OpenConfirm);
}

#[test]
fn a_64_kib_message_is_taken_once_both_sides_offered_it() {
    let (mut bench, conn) = Bench::accepted(config());
    let extended = changed(|open| open.capabilities.push(Capability::ExtendedMessage));
    bench.bytes(conn, &extended);
    bench.bytes(conn, &KEEPALIVE);
    let mut update = raw(65535, 2);
    // One unknown optional attribute of the whole length.
    let attrs = 65535 - 23;
    update[19..23].copy_from_slice(&[0, 0, (attrs >> 8) as u8, attrs as u8]);
    let value = attrs - 4;
    update[23..27].copy_from_slice(&[0x90, 200, (value >> 8) as u8, value as u8]);
    bench.bytes(conn, &update);
    assert_eq!(bench.peer.state().0, FsmState::Established);
    assert_eq!(bench.peer.stats().received.updates, 1);
}

#[test]
fn a_refresh_of_a_family_not_negotiated_is_ignored() {
    let (mut bench, conn) = Bench::established(config());
    bench.bytes(conn, &refresh(AfiSafi { afi: 1, safi: 128 }));
    assert_eq!(bench.did(), []);
    bench.bytes(conn, &refresh(AfiSafi::unicast(Afi::Ipv6)));
    assert_eq!(bench.did(), [Did::Refresh(conn, Afi::Ipv6)]);
}

//! Marks around what is told again (RFC 7313).

use dunlin_net::Afi;

use super::bench::*;
use crate::session::*;
use crate::wire::{AfiSafi, Capability, KEEPALIVE, RefreshSubtype, RouteRefresh};

/// A session with a peer that knows the marks, or does not.
fn established(knows: bool) -> (Bench, ConnId) {
    let (mut bench, conn) = Bench::accepted(config());
    let mut theirs = open();
    if knows {
        theirs.capabilities.push(Capability::EnhancedRouteRefresh);
    }
    bench.bytes(conn, &encoded(&theirs));
    bench.bytes(conn, &KEEPALIVE);
    let (_, negotiated) = bench.peer.established().expect("it is up");
    assert_eq!(negotiated.enhanced_route_refresh, knows);
    bench.did();
    (bench, conn)
}

fn mark(family: AfiSafi, subtype: RefreshSubtype) -> Vec<u8> {
    let mut bytes = Vec::new();
    RouteRefresh { family, subtype }.encode(&mut bytes);
    bytes
}

/// A ROUTE-REFRESH with such a subtype and so many octets of body.
fn of_length(subtype: u8, len: usize) -> Vec<u8> {
    let mut bytes = raw(19 + len as u16, 5);
    if let Some(octet) = bytes.get_mut(21) {
        *octet = subtype;
    }
    bytes
}

#[test]
fn marks_are_told_and_only_where_both_know_them() {
    let v6 = AfiSafi::unicast(Afi::Ipv6);
    let (mut bench, conn) = established(true);
    bench.bytes(conn, &mark(v6, RefreshSubtype::Begin));
    bench.bytes(conn, &mark(v6, RefreshSubtype::End));
    bench.bytes(conn, &refresh(v6));
    let did = [
        Did::Mark(conn, Afi::Ipv6, true),
        Did::Mark(conn, Afi::Ipv6, false),
        Did::Refresh(conn, Afi::Ipv6),
    ];
    assert_eq!(bench.did(), did);
    // Another meaning, or another family, may come one day.
    bench.bytes(conn, &mark(v6, RefreshSubtype::Unknown(3)));
    bench.bytes(conn, &mark(v6, RefreshSubtype::Unknown(255)));
    bench.bytes(
        conn,
        &mark(AfiSafi { afi: 1, safi: 128 }, RefreshSubtype::Begin),
    );
    assert_eq!(bench.did(), []);
    assert_eq!(bench.peer.state().0, FsmState::Established);
    let (mut bench, conn) = established(false);
    bench.bytes(conn, &mark(v6, RefreshSubtype::Begin));
    bench.bytes(conn, &mark(v6, RefreshSubtype::End));
    assert_eq!(bench.did(), []);
    assert_eq!(bench.peer.state().0, FsmState::Established);
}

#[test]
fn routes_that_came_before_a_mark_are_told_before_it() {
    let (mut bench, conn) = established(true);
    let mut bytes = end_of_rib();
    bytes.extend(mark(AfiSafi::unicast(Afi::Ipv4), RefreshSubtype::Begin));
    bytes.extend(end_of_rib());
    bench.bytes(conn, &bytes);
    let did = [
        Did::Routes(conn),
        Did::Mark(conn, Afi::Ipv4, true),
        Did::Routes(conn),
    ];
    assert_eq!(bench.did(), did);
}

#[test]
fn a_mark_of_another_length_is_an_error_of_its_own_and_given_back() {
    for (knows, subtype, len) in [
        (true, 1, 3),
        (true, 1, 5),
        (true, 2, 3),
        (true, 2, 5),
        (true, 1, 4056),
    ] {
        let (mut bench, conn) = established(knows);
        let message = of_length(subtype, len);
        bench.bytes(conn, &message);
        let told = bench.closed_with(conn).expect("why");
        assert_eq!((told.code, told.subcode), (7, 1), "{subtype}, {len}");
        assert_eq!(told.data, message);
    }
    // All others are errors of the header.
    for (knows, subtype, len) in [
        (true, 0, 3),
        (true, 0, 5),
        (true, 1, 2),
        (true, 1, 4057),
        (false, 1, 3),
        (false, 1, 5),
        (false, 0, 5),
    ] {
        let (mut bench, conn) = established(knows);
        bench.bytes(conn, &of_length(subtype, len));
        let told = bench.closed_with(conn).expect("why");
        assert_eq!((told.code, told.subcode), (1, 2), "{subtype}, {len}");
    }
}

#[test]
fn marks_are_offered_with_route_refresh_alone_and_counted_as_what_they_are() {
    let mut config = config();
    config.capabilities.route_refresh = false;
    let (mut bench, conn) = Bench::accepted(config);
    let mut theirs = open();
    theirs.capabilities.push(Capability::EnhancedRouteRefresh);
    bench.bytes(conn, &encoded(&theirs));
    bench.bytes(conn, &KEEPALIVE);
    let (_, negotiated) = bench.peer.established().expect("it is up");
    assert!(!negotiated.enhanced_route_refresh && !negotiated.route_refresh);
    let (mut bench, conn) = established(true);
    let bytes = mark(AfiSafi::unicast(Afi::Ipv4), RefreshSubtype::Begin).into();
    let before = bench.peer.stats().sent.updates;
    let messages = 1;
    bench.on(Input::Send {
        conn,
        bytes,
        messages,
    });
    let sent = &bench.peer.stats().sent;
    assert_eq!((sent.updates, sent.refreshes), (before, 1));
}

#[test]
fn requests_that_come_at_once_are_one_of_each_family() {
    let (mut bench, conn) = established(true);
    let both: Vec<u8> = Afi::ALL
        .iter()
        .flat_map(|&afi| refresh(AfiSafi::unicast(afi)))
        .collect();
    bench.bytes(conn, &both.repeat(100));
    let each = [Did::Refresh(conn, Afi::Ipv4), Did::Refresh(conn, Afi::Ipv6)];
    assert_eq!(bench.did(), each);
    // What was taken stands for nothing that comes after it.
    bench.bytes(conn, &both);
    assert_eq!(bench.did(), each);
}

//! Bytes in any portions.

use super::bench::*;
use crate::session::*;
use crate::wire::KEEPALIVE;

/// What a session does with a stream must not depend on how it is cut.
#[test]
fn a_stream_means_the_same_however_it_is_cut() {
    let mut stream = encoded(&open());
    stream.extend_from_slice(&KEEPALIVE);
    for _ in 0..3 {
        stream.extend_from_slice(&end_of_rib());
        stream.extend_from_slice(&KEEPALIVE);
    }
    for size in 1..stream.len() {
        let (mut bench, conn) = Bench::accepted(config());
        for portion in stream.chunks(size) {
            bench.bytes(conn, portion);
        }
        assert_eq!(
            bench.peer.state().0,
            FsmState::Established,
            "portions of {size}"
        );
        let received = bench.peer.stats().received;
        assert_eq!(
            (received.updates, received.keepalives),
            (3, 4),
            "portions of {size}"
        );
    }
}

#[test]
fn a_wrong_marker_is_told_at_its_first_octet_in_any_portions() {
    for size in 1..5 {
        let (mut bench, conn) = Bench::accepted(config());
        for portion in [0xff, 0xff, 0xff, 0xff, 0x0d].chunks(size) {
            bench.bytes(conn, portion);
        }
        let sent = bench.closed_with(conn).unwrap();
        assert_eq!((sent.code, sent.subcode), (1, 1));
    }
}

#[test]
fn nothing_after_the_end_of_a_connection_counts() {
    let (mut bench, conn) = Bench::established(config());
    let mut stream = notification(6, 4);
    stream.extend_from_slice(&end_of_rib());
    bench.bytes(conn, &stream);
    let did = bench.did();
    assert!(did.contains(&Did::Down(conn, false)));
    assert!(!did.contains(&Did::Routes(conn)));
    bench.bytes(conn, &end_of_rib());
    assert_eq!(bench.did(), []);
    assert_eq!(bench.peer.stats().late_inputs, 1);
}

#[test]
fn routes_before_a_fault_in_the_same_bytes_come_before_the_end() {
    let (mut bench, conn) = Bench::established(config());
    let mut stream = end_of_rib();
    stream.extend_from_slice(&[0; 19]);
    bench.bytes(conn, &stream);
    let did = bench.did();
    let place = |wanted: Did| did.iter().position(|did| *did == wanted);
    let (routes, down) = (place(Did::Routes(conn)), place(Did::Down(conn, false)));
    assert!(routes.is_some() && routes < down, "{did:?}");
}

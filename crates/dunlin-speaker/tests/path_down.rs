//! BFD has found a path dead: what that means to the connection, and whose word comes first.

mod support;

use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use dunlin_bgp::session::{
    Command, ConnId, DownReason, GracefulRestart, SessionEvent, TransportError,
};
use dunlin_bgp::wire::{KEEPALIVE, UpdateWriter, cease, code};
use dunlin_net::{Afi, PeerId};
use support::*;

fn path_down(node: &mut Node, conn: ConnId) {
    node.handle.command(Command::PathDown {
        peer: PeerId(1),
        conn,
        idle_hold: Duration::from_secs(1),
    });
}

#[test]
fn a_dead_path_ends_the_session_and_no_side_keeps_routes() {
    let restart = GracefulRestart {
        notification: true,
        ..GracefulRestart::default()
    };
    let (mut left, mut right) = pair_with("127.11.60.1", "127.11.60.2", |config| {
        config.graceful_restart = Some(restart);
    });
    let conn = left.wait_up(1);
    right.wait_up(2);
    path_down(&mut left, conn);
    for (node, peer) in [(&mut left, PeerId(1)), (&mut right, PeerId(2))] {
        let (reason, stale) = node.wait("Down", |event| match event {
            SessionEvent::Down {
                peer: down,
                reason,
                stale,
                ..
            } if *down == peer => Some((reason.clone(), *stale)),
            _ => None,
        });
        let (DownReason::Reset(told) | DownReason::NotificationReceived(told)) = reason else {
            panic!("{reason}");
        };
        assert!(told.is_hard_reset(), "{told}");
        let inner = told.inner().expect("a Hard Reset has one");
        assert_eq!((inner.code, inner.subcode), (code::CEASE, cease::BFD_DOWN));
        assert_eq!(stale, None);
    }
}

#[test]
fn without_the_n_bit_the_peer_is_told_plainly() {
    let mut node = Node::at("127.11.61.1");
    let config = node.config(SocketAddr::new(ip("127.11.61.2"), 1));
    node.set(1, config);
    let mut bare = Bare::establish("127.11.61.2", node.addr, 90);
    let conn = node.wait_up(1);
    path_down(&mut node, conn);
    let told = bare.last_words().expect("a NOTIFICATION");
    assert_eq!((told.code, told.subcode), (code::CEASE, cease::BFD_DOWN));
}

#[test]
fn an_end_that_has_come_and_is_not_read_yet_stands_before_it() {
    // Room for one event: the core takes nothing until it wants to, so nothing is read.
    let mut node = Node::with("127.11.62.1", 1, 1);
    let config = node.config(SocketAddr::new(ip("127.11.62.2"), 1));
    node.set(1, config);
    let mut bare = Bare::dial("127.11.62.2", node.addr);
    bare.send(&open_of([9; 4], 90));
    bare.send(&KEEPALIVE);
    let conn = node.wait_up(1);
    let mut end_of_rib = Vec::new();
    UpdateWriter::end_of_rib(Afi::Ipv4, &mut end_of_rib);
    eventually("reading stops", || {
        bare.send(&end_of_rib);
        node.handle.report().counters.read_pauses > 0
    });
    bare.send(&end_of_rib);
    bare.stream.shutdown(Shutdown::Write).expect("FIN");
    path_down(&mut node, conn);
    // The command has been taken when this is answered.
    node.handle.report();
    assert_eq!(
        node.wait_down(1),
        DownReason::Transport(TransportError::Eof),
        "the peer restarts"
    );
}

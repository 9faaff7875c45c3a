//! Speakers with each other and with bare sockets, over the loopback interface.

mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dunlin_bgp::session::{
    Command, DownReason, FsmState, GracefulRestart, Remote, Seeds, SessionEvent, Stop,
    TransportError,
};
use dunlin_bgp::wire::{KEEPALIVE, MessageType, UpdateWriter};
use dunlin_net::{Afi, PeerId};
use dunlin_speaker::{Clock, Speaker, SpeakerConfig, SpeakerError};
use support::*;

fn end_of_rib(times: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..times {
        UpdateWriter::end_of_rib(Afi::Ipv4, &mut bytes);
    }
    bytes
}

#[test]
fn two_speakers_come_up_and_every_octet_arrives_and_gives_its_credit_back() {
    let (mut left, mut right) = pair("127.11.0.1", "127.11.0.2");
    let conn = left.wait_up(1);
    right.wait_up(2);
    let bytes: bytes::Bytes = end_of_rib(20_000).into();
    const TIMES: usize = 8;
    for _ in 0..TIMES {
        left.handle.command(Command::Send {
            peer: PeerId(1),
            conn,
            bytes: bytes.clone(),
            messages: 20_000,
        });
    }
    let mut items = 0;
    right.wait("all End-of-RIBs", |event| match event {
        SessionEvent::Routes { batch, .. } => {
            items += batch.items.len();
            Some(())
        }
        _ => None,
    });
    while items < TIMES * 20_000 {
        right.wait("more End-of-RIBs", |event| match event {
            SessionEvent::Routes { batch, .. } => {
                items += batch.items.len();
                Some(())
            }
            _ => None,
        });
    }
    assert_eq!(items, TIMES * 20_000);
    let mut credit = 0;
    while credit < TIMES * bytes.len() {
        credit += left.wait("credit", |event| match event {
            SessionEvent::Drained { bytes, .. } => Some(*bytes),
            _ => None,
        });
    }
    assert_eq!(credit, TIMES * bytes.len());
    let report = left.handle.report();
    assert_eq!(report.peers[0].stats.sent.updates, (TIMES * 20_000) as u64);
    assert_eq!(report.peers[0].output_queue_bytes, 0);
}

#[test]
fn an_ipv6_session_comes_up() {
    let (mut left, mut right) = (Node::at("::1"), Node::at("127.11.1.2"));
    // Both ends on one address: the second only listens on another family and dials from here.
    let mut to_left = right.config(left.addr);
    to_left.local_address = None;
    let mut to_right = left.config(SocketAddr::new(ip("::1"), 1));
    to_right.passive = true;
    left.set(1, to_right);
    right.set(2, to_left);
    left.wait_up(1);
    right.wait_up(2);
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let node = Node::at("127.11.2.1");
    let mut config = SpeakerConfig::new(0, Seeds::default(), Clock::start());
    config.listen = vec![node.addr];
    let error = Speaker::spawn(&config, |_| |_, _: &dunlin_speaker::Waker| Ok(())).err();
    let error = error.expect("it cannot start");
    assert!(matches!(error, SpeakerError::PortInUse { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&node.addr.to_string()) && text.contains("ss -tlnp"),
        "{text}"
    );
}

#[test]
fn an_unknown_source_is_closed_at_once_and_counted() {
    let node = Node::at("127.11.3.1");
    for count in 1..=3 {
        // A RST may come while the connection is still being made.
        if let Ok(mut stream) = dial("127.11.3.9", node.addr) {
            assert!(
                matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)),
                "an octet came"
            );
        }
        eventually("it is counted", || {
            node.handle.report().refused.unknown_source == count
        });
    }
    assert_eq!(node.handle.report().counters.connections, 0);
}

#[test]
fn garbage_is_answered_with_its_notification_and_nothing_else_changes() {
    let (mut left, _right) = pair("127.11.4.1", "127.11.4.2");
    left.wait_up(1);
    let mut garbage = left.config(SocketAddr::new(ip("127.11.4.3"), 179));
    garbage.passive = true;
    left.set(3, garbage);
    let mut wrong_marker = KEEPALIVE;
    wrong_marker[5] = 0;
    let mut long = KEEPALIVE;
    long[16..18].copy_from_slice(&4097_u16.to_be_bytes());
    long[18] = 2;
    let mut short = KEEPALIVE;
    short[17] = 18;
    for (bytes, code, subcode) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 1, 1),
        (wrong_marker.to_vec(), 1, 1),
        (long.to_vec(), 1, 2),
        (short.to_vec(), 1, 2),
        (KEEPALIVE.to_vec(), 5, 1),
        (end_of_rib(1), 5, 1),
    ] {
        let mut bare = Bare::dial("127.11.4.3", left.addr);
        bare.send(&bytes);
        let sent = bare.last_words().expect("a NOTIFICATION");
        assert_eq!((sent.code, sent.subcode), (code, subcode));
    }
    assert_eq!(left.state(1), FsmState::Established);
    assert!(!left.any_down());
}

#[test]
fn a_stopped_peer_gets_the_text_for_its_operator() {
    let mut node = Node::at("127.11.5.1");
    let config = node.config(SocketAddr::new(ip("127.11.5.2"), 1));
    node.set(1, config);
    let mut bare = Bare::establish("127.11.5.2", node.addr, 90);
    node.wait_up(1);
    node.handle.command(Command::Stop {
        peer: PeerId(1),
        stop: Stop::Administrative {
            text: "moving house".into(),
        },
    });
    let sent = bare.last_words().expect("a NOTIFICATION");
    assert_eq!((sent.code, sent.subcode), (6, 2));
    assert_eq!(sent.shutdown_text().as_deref(), Some("moving house"));
    let mut again = Bare::dial("127.11.5.2", node.addr);
    let refused = again.last_words().map(|sent| (sent.code, sent.subcode));
    assert_eq!(refused, Some((6, 5)));
}

#[test]
fn last_words_are_not_lost_behind_what_waits_to_be_written() {
    let mut node = Node::at("127.11.6.1");
    let config = node.config(SocketAddr::new(ip("127.11.6.2"), 1));
    node.set(1, config);
    let mut bare = Bare::establish("127.11.6.2", node.addr, 90);
    let conn = node.wait_up(1);
    let bytes: bytes::Bytes = end_of_rib(50_000).into();
    for _ in 0..12 {
        node.handle.command(Command::Send {
            peer: PeerId(1),
            conn,
            bytes: bytes.clone(),
            messages: 50_000,
        });
    }
    eventually("the socket is full", || {
        node.handle.report().peers[0].output_queue_bytes > 0
    });
    node.handle.command(Command::RemovePeer { peer: PeerId(1) });
    node.wait_down(1);
    let mut updates = 0;
    let last = loop {
        match bare.next_message().expect("not without a NOTIFICATION") {
            (MessageType::Update, _) => updates += 1,
            (MessageType::Keepalive, _) => {}
            (MessageType::Notification, body) => break body,
            (kind, _) => panic!("{kind:?}"),
        }
    };
    assert_eq!(last[..2], [6, 3]);
    assert!(updates < 12 * 50_000, "what had not begun was dropped");
}

#[test]
fn a_shutdown_for_a_restart_closes_without_a_word() {
    let mut node = Node::at("127.11.7.1");
    let mut config = node.config(SocketAddr::new(ip("127.11.7.2"), 1));
    config.graceful_restart = Some(GracefulRestart::default());
    node.set(1, config);
    let mut bare = Bare::dial("127.11.7.2", node.addr);
    let mut open = dunlin_bgp::wire::Open::new(AS, 90, dunlin_net::RouterId([9; 4].into()));
    open.capabilities = vec![
        dunlin_bgp::wire::Capability::FourOctetAs(AS),
        dunlin_bgp::wire::Capability::GracefulRestart(Default::default()),
    ];
    let mut bytes = Vec::new();
    open.encode(&mut bytes);
    bytes.extend_from_slice(&KEEPALIVE);
    bare.send(&bytes);
    node.wait_up(1);
    // Unread bytes in our socket must not turn the FIN into a RST.
    bare.send(&end_of_rib(100));
    node.handle.shutdown(&Stop::GracefulRestart).unwrap();
    assert_eq!(bare.last_words(), None);
}

#[test]
fn a_peer_that_does_not_read_holds_up_nobody_else() {
    let mut node = Node::at("127.11.8.1");
    for (peer, addr) in [(1, "127.11.8.2"), (2, "127.11.8.3")] {
        let config = node.config(SocketAddr::new(ip(addr), 1));
        node.set(peer, config);
    }
    let _slow = Bare::establish("127.11.8.2", node.addr, 90);
    let slow_conn = node.wait_up(1);
    let mut quick = Bare::establish("127.11.8.3", node.addr, 90);
    let conn = node.wait_up(2);
    let bytes: bytes::Bytes = end_of_rib(45_000).into();
    let send = |node: &mut Node, peer, conn| {
        node.handle.command(Command::Send {
            peer: PeerId(peer),
            conn,
            bytes: bytes.clone(),
            messages: 45_000,
        });
    };
    for _ in 0..12 {
        send(&mut node, 1, slow_conn);
    }
    for _ in 0..3 {
        send(&mut node, 2, conn);
        let mut updates = 0;
        while updates < 45_000 {
            updates += usize::from(quick.next() == Some(MessageType::Update));
        }
    }
    let report = node.handle.report();
    assert!(report.peers[0].output_queue_bytes > 0);
    assert_eq!(report.peers[1].output_queue_bytes, 0);
    assert!(!node.any_down());
}

#[test]
fn while_the_core_is_behind_reading_stops_and_no_hold_timer_expires() {
    // Room for one event: the core takes nothing until it wants to.
    let mut node = Node::with("127.11.9.1", 1, 1);
    let config = node.config(SocketAddr::new(ip("127.11.9.2"), 1));
    node.set(1, config);
    let mut seen = Vec::new();
    let mut bare = Bare::dial("127.11.9.2", node.addr);
    bare.send(&open_of([9; 4], 3));
    bare.send(&KEEPALIVE);
    node.wait_up(1);
    // More than all buffers hold: the peer is stopped by TCP.
    let routes = end_of_rib(10_000);
    bare.stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let end = Instant::now() + Duration::from_secs(5);
    let mut from = routes.iter().copied().cycle().collect_portion();
    while Instant::now() < end {
        match bare.stream.write(&from) {
            Ok(count) => {
                sent += count;
                from.rotate_left(count % routes.len());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    assert!(sent > 0);
    let report = node.handle.report();
    assert!(report.counters.read_pauses > 0);
    // Longer than the hold time of 3 s has passed, and the session stands.
    assert_eq!(report.peers[0].state, FsmState::Established);
    assert!(
        report.peers[0].stats.sent.keepalives >= 4,
        "writing goes on"
    );
    // The core is back: everything comes.
    bare.stream.set_nonblocking(false).unwrap();
    let mut items = 0;
    let end = Instant::now() + PATIENCE;
    while items < sent / 23 {
        assert!(Instant::now() < end, "{items} of {}", sent / 23);
        seen.append(&mut node.seen);
        node.inbox.receive(&mut seen, Some(Duration::from_secs(1)));
        for event in seen.drain(..) {
            match event {
                SessionEvent::Routes { batch, .. } => items += batch.items.len(),
                SessionEvent::Down { reason, .. } => panic!("{reason}"),
                _ => {}
            }
        }
    }
}

trait Portion {
    fn collect_portion(self) -> Vec<u8>;
}

impl<I: Iterator<Item = u8>> Portion for I {
    fn collect_portion(self) -> Vec<u8> {
        self.take(230_000).collect()
    }
}

#[test]
fn a_silent_peer_is_dropped_at_its_hold_time() {
    let mut node = Node::at("127.11.10.1");
    let config = node.config(SocketAddr::new(ip("127.11.10.2"), 1));
    node.set(1, config);
    let mut bare = Bare::establish("127.11.10.2", node.addr, 3);
    node.wait_up(1);
    let begun = Instant::now();
    let sent = bare.last_words().expect("a NOTIFICATION");
    assert_eq!((sent.code, sent.subcode), (4, 0));
    let took = begun.elapsed();
    assert!(
        took > Duration::from_millis(2500) && took < Duration::from_millis(4500),
        "{took:?}"
    );
    assert_eq!(
        node.wait_down(1),
        DownReason::HoldTimerExpired { hold_time_secs: 3 }
    );
}

#[test]
fn peers_of_a_range_come_and_are_told_apart_over_three_threads() {
    let mut node = Node::with("127.11.13.1", 3, 4 << 20);
    let mut config = node.config(SocketAddr::new(ip("127.11.13.99"), 1));
    config.remote = Remote::Range {
        prefix: "127.11.14.0/24".parse().unwrap(),
        max_peers: 60,
    };
    node.set(1, config);
    let mut named = node.config(SocketAddr::new(ip("127.11.14.5"), 1));
    named.passive = true;
    node.set(2, named);
    let mut bares = Vec::new();
    let mut peers = std::collections::BTreeSet::new();
    for last in 1..=12 {
        bares.push(Bare::establish(&format!("127.11.14.{last}"), node.addr, 90));
        let peer = node.wait("Up", |event| match event {
            SessionEvent::Up { peer, .. } => Some(*peer),
            _ => None,
        });
        assert_eq!(peer.0 == 2, last == 5);
        assert!(peers.insert(peer), "two peers with one id");
    }
    // Commands find the threads of peers that came from a range too.
    let from_range = *peers.last().unwrap();
    node.handle.command(Command::Stop {
        peer: from_range,
        stop: Stop::PeerRemoved,
    });
    node.wait_down(from_range.0);
}

#[test]
fn an_idle_speaker_sleeps() {
    let (mut left, mut right) = pair("127.11.15.1", "127.11.15.2");
    left.wait_up(1);
    right.wait_up(2);
    // What the beginning left behind ends within seconds: looks at the dial's patience, last words of a collision.
    eventually("quiet", || {
        let turns = left.handle.report().counters.turns;
        std::thread::sleep(Duration::from_millis(1500));
        left.handle.report().counters.turns <= turns + 1
    });
    let before = left.handle.report().counters.turns;
    // The time is what is measured here.
    std::thread::sleep(Duration::from_secs(3));
    let turns = left.handle.report().counters.turns - before;
    // One is for the report itself.
    assert!(turns <= 3, "{turns} wakeups in three idle seconds");
}

#[test]
fn a_source_address_that_is_not_ours_is_named_as_the_reason() {
    let mut node = Node::at("127.11.17.1");
    let mut config = node.config(SocketAddr::new(ip("127.11.17.2"), 9));
    config.local_address = Some(ip("192.0.2.77"));
    node.set(1, config);
    let reason = node.wait("a reason", |event| match event {
        SessionEvent::State { reason, .. } => reason.clone(),
        _ => None,
    });
    assert_eq!(reason, DownReason::Transport(TransportError::SourceAddress));
}

#[test]
fn the_port_changes_while_sessions_stay() {
    let (mut left, mut right) = pair("127.11.18.1", "127.11.18.2");
    left.wait_up(1);
    right.wait_up(2);
    let taken = left.handle.listen(&[right.addr]);
    assert!(matches!(taken, Err(SpeakerError::PortInUse { .. })));
    assert_eq!(
        left.handle.local_addrs(),
        [left.addr],
        "a failure changes nothing"
    );
    let other = SocketAddr::new(ip("127.11.18.3"), 0);
    left.handle.listen(&[other]).unwrap();
    let other = left.handle.local_addrs()[0];
    let mut config = left.config(SocketAddr::new(ip("127.11.18.4"), 1));
    config.passive = true;
    left.set(3, config);
    eventually("nobody listens at the old address", || {
        dial("127.11.18.4", left.addr).is_err()
    });
    let _bare = Bare::establish("127.11.18.4", other, 90);
    left.wait_up(3);
    assert!(!left.any_down() && !right.any_down());
}

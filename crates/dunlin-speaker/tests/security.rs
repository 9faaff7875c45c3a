//! Passwords and TTL security on real sockets.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use dunlin_bgp::session::{
    Command, DownReason, FsmState, Password, Remote, SessionEvent, TransportError, Ttl,
};
use dunlin_net::{PeerId, RouterId};
use support::netns::{Netns, in_netns, run};
use support::*;

#[test]
fn equal_passwords_let_a_session_up_and_unequal_ones_do_not() {
    let password = |key: &[u8]| Password::new(key);
    let (mut left, mut right) = pair_with("127.11.11.1", "127.11.11.2", |config| {
        config.transport.password = password(b"correct horse");
    });
    left.wait_up(1);
    right.wait_up(2);

    let (mut left, right) = (Node::at("127.11.11.3"), Node::at("127.11.11.4"));
    let mut config = left.config(right.addr);
    config.transport.password = password(b"correct horse");
    left.set(1, config);
    let mut right = right;
    let mut config = right.config(left.addr);
    config.transport.password = password(b"battery staple");
    right.set(2, config);
    let reason = left.wait("a reason", |event| match event {
        SessionEvent::State { reason, .. } => reason.clone(),
        _ => None,
    });
    assert_eq!(reason, DownReason::Transport(TransportError::TimedOut));
    eventually("the kernel has counted the wrong signature", || {
        left.handle.report().md5.wrong > 0
    });
    // Without a key nobody gets in from that address.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::new(ip("127.11.11.4"), 0).into())
        .unwrap();
    let connected = socket.connect_timeout(&left.addr.into(), Duration::from_millis(300));
    let error = connected.expect_err("an unsigned connection was let in");
    // Not even refused: the kernel drops it.
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    // The rotation of a key on one side and then on the other brings the session up.
    let mut config = right.config(left.addr);
    config.transport.password = password(b"correct horse");
    right.set(2, config);
    left.wait_up(1);
}

#[test]
fn a_changed_password_on_both_ends_keeps_the_session() {
    let (mut left, mut right) = pair_with("127.11.12.1", "127.11.12.2", |config| {
        config.timers.hold_time_secs = 3;
        config.timers.keepalive_time_secs = 1;
        config.transport.password = Password::new(b"old");
    });
    left.wait_up(1);
    right.wait_up(2);
    let (mut to_right, mut to_left) = (left.config(right.addr), right.config(left.addr));
    for config in [&mut to_right, &mut to_left] {
        config.timers.hold_time_secs = 3;
        config.timers.keepalive_time_secs = 1;
        config.transport.password = Password::new(b"new");
    }
    left.set(1, to_right);
    right.set(2, to_left);
    let before = left.handle.report().peers[0].stats.received.keepalives;
    eventually("five KEEPALIVEs under the new key", || {
        left.handle.report().peers[0].stats.received.keepalives >= before + 5
    });
    assert!(!left.any_down() && !right.any_down());
}

/// The kernel holds some 960 keys a listener: who comes after that is not let in unsigned, and disturbs nobody.
#[test]
fn more_passwords_than_a_listener_holds_leave_the_others_alone() {
    let (mut left, mut right) = pair_with("127.11.14.1", "127.11.14.2", |config| {
        config.transport.password = Password::new(b"first");
    });
    left.wait_up(1);
    right.wait_up(2);
    let mut number = 100;
    // More than any machine holds is not asked for.
    while left.handle.report().counters.key_errors == 0 && number < 20_000 {
        for _ in 0..500 {
            let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
            let mut config = left.config(SocketAddr::new([127, 20, high, low].into(), 179));
            config.passive = true;
            config.transport.password = Password::new(b"another");
            left.set(number, config);
            number += 1;
        }
    }
    assert!(
        left.handle.report().counters.key_errors > 0,
        "{number} keys"
    );
    // The last of them has no key, so nothing that comes from there is trusted.
    let [high, low] = u16::try_from(number - 1).unwrap().to_be_bytes();
    let mut unsigned = dial(&format!("127.20.{high}.{low}"), left.addr).expect("TCP has no key");
    let mut octet = [0];
    let read = std::io::Read::read(&mut unsigned, &mut octet);
    assert!(matches!(read, Ok(0) | Err(_)), "it was spoken to");
    let why = TransportError::NoRoomForKey;
    assert!(why.to_string().contains("net.core.optmem_max"));
    refused_with(&mut left, number - 1, &why);
    // Who has no password, and who had one before, is none the worse.
    let mut plain = Node::at("127.11.14.3");
    let config = left.config(plain.addr);
    left.set(3, config);
    let config = plain.config(left.addr);
    plain.set(4, config);
    left.wait_up(3);
    assert!(!left.any_down() && !right.any_down());
}

#[test]
fn ttl_security_lets_near_peers_in_and_sends_with_255() {
    let (mut left, mut right) = pair_with("127.11.16.1", "127.11.16.2", |config| {
        config.transport.ttl = Ttl::Security { hops: 1 };
    });
    left.wait_up(1);
    right.wait_up(2);
    // A peer that does not send with 255 looks like one from far away.
    let mut far = Node::at("127.11.16.3");
    let mut config = left.config(far.addr);
    config.passive = true;
    config.transport.ttl = Ttl::Security { hops: 1 };
    left.set(3, config);
    let mut config = far.config(left.addr);
    config.transport.ttl = Ttl::Hops(64);
    far.set(4, config);
    refused_as_too_far(&mut left, 3, 1);
    assert_eq!(left.state(1), FsmState::Established);
    assert!(!left.any_down());
}

/// The peer dials over and over, and none of its connections gets anywhere.
fn refused_as_too_far(node: &mut Node, peer: u32, hops: u8) {
    refused_with(node, peer, &TransportError::TooFar { hops });
}

fn refused_with(node: &mut Node, peer: u32, why: &TransportError) {
    let why = DownReason::Transport(*why);
    node.wait("a reason", |event| match event {
        SessionEvent::State {
            peer: of,
            reason: Some(reason),
            ..
        } if of.0 == peer && *reason == why => Some(()),
        _ => None,
    });
    assert!(node.state(peer) < FsmState::OpenSent);
}

/// A dials B over a router between them, in both families: two links, which is one too many for some.
#[test]
fn ttl_security_counts_the_links_to_a_peer_in_both_families() {
    in_netns(&["/sbin/ip"], || {
        let router = Netns::beside();
        let far = Netns::new();
        router.link_to(&far, "east", "theirs");
        run("ip address add 10.9.1.1/24 dev ours");
        run("ip address add fd09:1::1/64 dev ours nodad");
        router.run("ip address add 10.9.1.2/24 dev theirs");
        router.run("ip address add fd09:1::2/64 dev theirs nodad");
        router.run("ip address add 10.9.2.2/24 dev east");
        router.run("ip address add fd09:2::2/64 dev east nodad");
        far.run("ip address add 10.9.2.1/24 dev theirs");
        far.run("ip address add fd09:2::1/64 dev theirs nodad");
        router.run("sysctl -qw net.ipv4.ip_forward=1");
        router.run("sysctl -qw net.ipv6.conf.all.forwarding=1");
        run("ip route add default via 10.9.1.2");
        run("ip route add default via fd09:1::2");
        far.run("ip route add default via 10.9.2.2");
        far.run("ip route add default via fd09:2::2");
        for (near, there) in [("10.9.1.1", "10.9.2.1"), ("fd09:1::1", "fd09:2::1")] {
            let mut left = Node::at(near);
            let there = there.to_owned();
            let mut right = far.enter(move || Node::at(&there));
            let config = |node: &Node, addr, hops, passive| {
                let mut config = node.config(addr);
                // Of an IPv6 address the other would get the same.
                config.router_id = RouterId([10, 0, 0, 1 + u8::from(passive)].into());
                config.passive = passive;
                config.transport.ttl = Ttl::Security { hops };
                config
            };
            // It sends with 255 and two links take one from it: 254 comes.
            let to_left = config(&right, left.addr, 2, false);
            right.set(1, to_left);
            let to_right = config(&left, right.addr, 1, true);
            left.set(1, to_right);
            refused_as_too_far(&mut left, 1, 1);
            let to_right = config(&left, right.addr, 2, true);
            left.set(1, to_right);
            left.wait_up(1);
            right.wait_up(1);
            // From a range, too.
            let mut ranged = config(&left, right.addr, 2, true);
            ranged.remote = Remote::Range {
                prefix: if near.contains(':') {
                    "fd09:2::/64"
                } else {
                    "10.9.2.0/24"
                }
                .parse()
                .unwrap(),
                max_peers: 4,
            };
            left.handle.command(Command::RemovePeer { peer: PeerId(1) });
            left.set(2, ranged.clone());
            right.wait_down(1);
            right.wait_up(1);
            // Made stricter, it drops what the living session sends from too far.
            ranged.transport.ttl = Ttl::Security { hops: 1 };
            ranged.timers.hold_time_secs = 3;
            left.set(2, ranged);
            right.wait_down(1);
            eventually("its connections are refused", || {
                right.handle.report().peers[0].stats.dials > 4
            });
            assert!(right.state(1) < FsmState::Established);
        }
    });
}

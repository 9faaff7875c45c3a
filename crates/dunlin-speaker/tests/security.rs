//! Passwords and TTL security on real sockets.

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dunlin_bgp::session::{DownReason, FsmState, Password, SessionEvent, TransportError, Ttl};
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
    // Its OPEN may have come before the connection was this peer's; nothing after it does.
    eventually("a connection is made", || {
        left.state(3) >= FsmState::OpenSent
    });
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        assert_ne!(left.state(3), FsmState::Established);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(left.state(1), FsmState::Established);
}

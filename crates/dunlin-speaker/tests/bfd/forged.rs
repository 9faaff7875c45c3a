//! Packets of somebody who is not the peer.

use std::net::{SocketAddr, UdpSocket};

use dunlin_bfd::{ControlPacket, Diagnostic, DropReason, State};

use crate::daemon::{Daemon, Kind};
use crate::support::{eventually, ip};
use crate::{ID, NEAR, NEAR_SIX, OTHER, Ours, beside, config, ms};

/// What an attacker who knows everything would say.
fn forged(state: State, mine: u32, yours: u32) -> [u8; 24] {
    ControlPacket {
        diagnostic: Diagnostic::NONE,
        state,
        poll: true,
        is_final: true,
        control_plane_independent: false,
        authenticated: false,
        demand: false,
        detect_mult: 1,
        my_discriminator: mine,
        your_discriminator: yours,
        desired_min_tx_micros: 1,
        required_min_rx_micros: 0,
        required_min_echo_rx_micros: 0,
    }
    .encode()
}

pub(crate) fn packets_from_afar_and_garbage_change_nothing(kind: Kind) {
    let there = beside();
    let theirs = Daemon::start(kind, "forged", &there, &[NEAR, NEAR_SIX], ms(500), 10);
    there.run("ip addr add 10.9.0.3/24 dev theirs");
    let mut ours = Ours::start();
    for (id, told) in [(ID, NEAR), (OTHER, NEAR_SIX)] {
        ours.set(id, config(told, ms(500)));
    }
    ours.wait(ID, State::Up);
    ours.wait(OTHER, State::Up);
    let names = [ID, OTHER].map(|id| {
        let snapshot = ours.settle(id).snapshot;
        (
            snapshot.remote_discriminator,
            snapshot.local_discriminator.0.get(),
        )
    });
    let before = [ID, OTHER].map(|id| ours.session(id).snapshot);
    // As if a router had passed them on.
    there.enter(move || {
        for (told, (mine, yours)) in [NEAR, NEAR_SIX].into_iter().zip(names) {
            let socket = UdpSocket::bind(SocketAddr::new(ip(told.theirs), 0)).expect("a socket");
            let socket2 = socket2::SockRef::from(&socket);
            if told.ours.contains(':') {
                socket2.set_unicast_hops_v6(254).expect("it can");
            } else {
                socket2.set_ttl_v4(254).expect("it can");
            }
            for octets in [
                forged(State::Down, 7, 0),
                forged(State::Down, mine, yours),
                forged(State::AdminDown, mine, yours),
                forged(State::Init, mine, yours),
            ] {
                let to = SocketAddr::new(ip(told.ours), 3784);
                socket.send_to(&octets, to).expect("it is sent");
            }
        }
    });
    eventually("all are dropped", || {
        let dropped = |id| ours.session(id).snapshot.stats.dropped.of(DropReason::Ttl);
        dropped(ID) == 4 && dropped(OTHER) == 4
    });
    // From near, with nothing that is ours.
    there.enter(move || {
        let stranger = UdpSocket::bind("10.9.0.3:0").expect("a socket");
        let peer = UdpSocket::bind("10.9.0.2:0").expect("a socket");
        for socket in [&stranger, &peer] {
            socket2::SockRef::from(socket)
                .set_ttl_v4(255)
                .expect("it can");
        }
        let mut octets = [0; 60];
        let (_, yours) = names[0];
        for round in 0..60_000_u32 {
            let noise = u64::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for (at, octet) in octets.iter_mut().enumerate() {
                *octet = (noise >> (at % 57)) as u8;
            }
            // The version of no packet, so that none of the noise is good by chance.
            octets[0] |= 0x40;
            let length = round as usize % 60;
            let sent = match round % 3 {
                0 => peer.send_to(&octets[..length], "10.9.0.1:3784"),
                1 => stranger.send_to(&forged(State::Down, round | 1, 0), "10.9.0.1:3784"),
                _ => stranger.send_to(&forged(State::AdminDown, 1, yours), "10.9.0.1:3784"),
            };
            // A full buffer drops what it likes.
            let _ = sent;
        }
    });
    eventually("garbage is seen", || {
        let dropped = ours.report().dropped;
        [
            DropReason::Version,
            DropReason::Truncated,
            DropReason::UnknownPeer,
            DropReason::WrongPath,
        ]
        .into_iter()
        .all(|reason| dropped.of(reason) > 0)
    });
    for (id, before) in [ID, OTHER].into_iter().zip(before) {
        let now = ours.session(id).snapshot;
        assert_eq!((now.state, now.since), (State::Up, before.since));
        assert_eq!(now.stats.transitions, before.stats.transitions);
        assert_eq!(now.transmit_interval, before.transmit_interval);
        assert_eq!(now.detection_time, before.detection_time);
        assert_eq!(now.remote_discriminator, before.remote_discriminator);
    }
    assert!(theirs.is_up(NEAR.ours) && theirs.is_up(NEAR_SIX.ours));
    let report = ours.report();
    println!("{kind:?}: {:?} {:?}", report.counters, report.dropped);
}

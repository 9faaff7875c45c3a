use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use super::*;
use crate::{Diagnostic, State};

const NOW: Instant = Instant::ZERO;

fn peer(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn table() -> Sessions {
    let seeds = Seeds {
        discriminators: [1, 2],
        chance: 3,
    };
    Sessions::new(seeds, 100)
}

fn outputs(table: &mut Sessions) -> Vec<Output> {
    std::iter::from_fn(|| table.poll_output()).collect()
}

fn hello(your: u32) -> [u8; crate::CONTROL_LEN] {
    ControlPacket {
        diagnostic: Diagnostic::NONE,
        state: State::Down,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        authenticated: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: 77,
        your_discriminator: your,
        desired_min_tx_micros: 1_000_000,
        required_min_rx_micros: 50_000,
        required_min_echo_rx_micros: 0,
    }
    .encode()
}

fn datagram(from: IpAddr, payload: &[u8]) -> Datagram<'_> {
    Datagram {
        hops: Hops::Single,
        from,
        to: peer(254),
        interface: 2,
        ttl: 255,
        payload,
    }
}

fn discriminator(table: &Sessions, id: u32) -> u32 {
    let snapshot = table.snapshot(SessionId(id)).expect("it is there");
    snapshot.local_discriminator.0.get()
}

#[test]
fn a_packet_without_our_discriminator_goes_to_the_most_exact_session() {
    let mut table = table();
    let any = SessionConfig::single_hop(peer(1));
    let by_interface = SessionConfig {
        interface: Some(2),
        ..any.clone()
    };
    let exact = SessionConfig {
        local: Some(peer(254)),
        ..by_interface.clone()
    };
    let far = SessionConfig::multi_hop(peer(1), peer(254));
    for (id, config) in [any, by_interface, exact, far].into_iter().enumerate() {
        assert_eq!(table.set(NOW, SessionId(id as u32), config), Ok(()));
    }
    let octets = hello(0);
    let near = datagram(peer(1), &octets);
    let mut came = |datagram: Datagram<'_>| table.receive(NOW, &datagram).map(|id| id.0);
    assert_eq!(came(near), Ok(2));
    assert_eq!(
        came(Datagram {
            to: peer(9),
            ..near
        }),
        Ok(1)
    );
    assert_eq!(
        came(Datagram {
            interface: 9,
            ..near
        }),
        Ok(0)
    );
    let multi = Datagram {
        hops: Hops::Multi,
        ttl: 60,
        ..near
    };
    assert_eq!(came(multi), Ok(3));
    assert_eq!(
        came(Datagram {
            to: peer(9),
            ..multi
        }),
        Err(DropReason::UnknownPeer)
    );
    assert_eq!(
        came(datagram(peer(8), &octets)),
        Err(DropReason::UnknownPeer)
    );
}

#[test]
fn a_packet_with_our_discriminator_must_come_by_the_session_s_path() {
    let mut table = table();
    let config = SessionConfig {
        interface: Some(2),
        local: Some(peer(254)),
        ..SessionConfig::single_hop(peer(1))
    };
    assert_eq!(table.set(NOW, SessionId(1), config), Ok(()));
    let octets = hello(discriminator(&table, 1));
    let good = datagram(peer(1), &octets);
    for wrong in [
        Datagram {
            from: peer(2),
            ..good
        },
        Datagram {
            to: peer(2),
            ..good
        },
        Datagram {
            interface: 3,
            ..good
        },
        Datagram {
            hops: Hops::Multi,
            ..good
        },
    ] {
        assert_eq!(table.receive(NOW, &wrong), Err(DropReason::WrongPath));
    }
    let unknown = hello(discriminator(&table, 1) ^ 1);
    assert_eq!(
        table.receive(NOW, &datagram(peer(1), &unknown)),
        Err(DropReason::UnknownDiscriminator)
    );
    let mapped = Datagram {
        from: Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201]).into(),
        ..good
    };
    assert_eq!(table.receive(NOW, &mapped), Ok(SessionId(1)));
    let stats = table.snapshot(SessionId(1)).expect("there").stats;
    assert_eq!(stats.dropped.of(DropReason::WrongPath), 4);
    assert_eq!(table.dropped().total(), 5);
    assert_eq!(stats.received, 1);
}

#[test]
fn what_came_too_far_is_dropped() {
    let mut table = table();
    let far = SessionConfig {
        min_ttl: 250,
        ..SessionConfig::multi_hop(peer(1), peer(254))
    };
    assert_eq!(table.set(NOW, SessionId(1), far), Ok(()));
    let near = SessionConfig::single_hop(peer(2));
    assert_eq!(table.set(NOW, SessionId(2), near), Ok(()));
    let octets = hello(0);
    for ttl in 0..=255 {
        let multi = Datagram {
            hops: Hops::Multi,
            ttl,
            ..datagram(peer(1), &octets)
        };
        assert_eq!(table.receive(NOW, &multi).is_ok(), ttl >= 250);
        let single = Datagram {
            ttl,
            ..datagram(peer(2), &octets)
        };
        assert_eq!(table.receive(NOW, &single).is_ok(), ttl == 255);
    }
    let dropped = |id| table.snapshot(SessionId(id)).expect("there").stats.dropped;
    assert_eq!(dropped(1).of(DropReason::Ttl), 250);
    assert_eq!(dropped(2).of(DropReason::Ttl), 255);
}

#[test]
fn discriminators_are_different_and_differ_with_the_seed() {
    let names = |seed| {
        let mut table = Sessions::new(
            Seeds {
                discriminators: [seed, 0],
                chance: 0,
            },
            200,
        );
        for last in 0..200 {
            let config = SessionConfig::single_hop(peer(last));
            assert_eq!(table.set(NOW, SessionId(last.into()), config), Ok(()));
        }
        (0..200)
            .map(|id| discriminator(&table, id))
            .collect::<BTreeSet<u32>>()
    };
    let (one, other) = (names(1), names(2));
    assert_eq!(one.len(), 200);
    assert!(!one.contains(&0));
    assert_eq!(one.intersection(&other).count(), 0);
    assert_eq!(one, names(1), "and can be repeated");
}

#[test]
fn two_sessions_cannot_share_a_path_and_a_table_has_an_end() {
    let mut table = Sessions::new(Seeds::default(), 2);
    let set = |table: &mut Sessions, id, last| {
        table.set(NOW, SessionId(id), SessionConfig::single_hop(peer(last)))
    };
    assert_eq!(set(&mut table, 1, 1), Ok(()));
    let owner = SessionId(1);
    assert_eq!(set(&mut table, 2, 1), Err(ConfigError::PathTaken { owner }));
    assert_eq!(set(&mut table, 2, 2), Ok(()));
    assert_eq!(set(&mut table, 3, 3), Err(ConfigError::TooMany(2)));
    assert_eq!(set(&mut table, 2, 4), Ok(()), "another path for the same");
    assert_eq!(table.len(), 2);
}

#[test]
fn nonsense_is_refused() {
    let good = SessionConfig::single_hop(peer(1));
    let link_local: IpAddr = [0xfe80, 0, 0, 0, 0, 0, 0, 1].into();
    let cases = [
        SessionConfig {
            peer: [0, 0, 0, 0].into(),
            ..good.clone()
        },
        SessionConfig {
            peer: [224, 0, 0, 1].into(),
            ..good.clone()
        },
        SessionConfig {
            local: Some(link_local),
            ..good.clone()
        },
        SessionConfig {
            detect_mult: 0,
            ..good.clone()
        },
        SessionConfig {
            desired_min_tx: Duration::from_millis(9),
            ..good.clone()
        },
        SessionConfig {
            required_min_rx: Duration::from_secs(61),
            ..good.clone()
        },
        SessionConfig::single_hop(link_local),
        SessionConfig {
            interface: Some(1),
            ..SessionConfig::multi_hop(link_local, link_local)
        },
    ];
    for config in cases {
        let mut table = table();
        assert!(
            table.set(NOW, SessionId(1), config.clone()).is_err(),
            "{config:?}"
        );
        assert!(table.is_empty());
    }
    let bound = SessionConfig {
        interface: Some(1),
        ..SessionConfig::single_hop(link_local)
    };
    assert_eq!(bound.check(), Ok(()));
}

#[test]
fn a_removed_session_makes_room_for_one_on_the_same_path() {
    let mut table = table();
    let config = SessionConfig::single_hop(peer(1));
    assert_eq!(table.set(NOW, SessionId(1), config.clone()), Ok(()));
    let octets = hello(discriminator(&table, 1));
    assert!(table.receive(NOW, &datagram(peer(1), &octets)).is_ok());
    let first = table
        .snapshot(SessionId(1))
        .expect("there")
        .local_discriminator;
    outputs(&mut table);
    table.remove(NOW, SessionId(1));
    assert_eq!(table.len(), 1, "it says farewell");
    assert!(table.snapshots().is_empty());
    assert_eq!(table.set(NOW, SessionId(2), config), Ok(()));
    assert!(outputs(&mut table).contains(&Output::Closed(first)));
    assert_eq!(table.len(), 1);
    let octets = hello(0);
    assert_eq!(
        table.receive(NOW, &datagram(peer(1), &octets)),
        Ok(SessionId(2))
    );
}

#[test]
fn coming_and_going_leaves_nothing_behind() {
    let mut table = Sessions::new(Seeds::default(), 4);
    let octets = hello(0);
    for round in 0..1000_u32 {
        let last = (round % 100) as u8;
        let config = SessionConfig::single_hop(peer(last));
        assert_eq!(table.set(NOW, SessionId(round), config), Ok(()));
        assert!(table.receive(NOW, &datagram(peer(last), &octets)).is_ok());
        table.remove(NOW, SessionId(round));
        assert!(table.len() <= 5, "as many as are allowed say farewell");
        outputs(&mut table);
    }
    let mut now = NOW;
    while let Some(next) = table.next_deadline() {
        now = now.max(next);
        table.on_deadline(now);
        outputs(&mut table);
    }
    assert!(table.is_empty() && table.by_path.is_empty() && table.by_id.is_empty());
}

#[test]
fn deadlines_drawn_nearer_over_and_over_do_not_pile_up() {
    let mut table = table();
    let config = SessionConfig::single_hop(peer(1));
    assert_eq!(table.set(NOW, SessionId(1), config), Ok(()));
    let name = discriminator(&table, 1);
    let mut octets = hello(name);
    octets[1] |= 0x20;
    let mut now = NOW;
    for _ in 0..100_000 {
        now = now + Duration::from_micros(100);
        let _ = table.receive(now, &datagram(peer(1), &octets));
        table.on_deadline(now);
        outputs(&mut table);
        assert!(!table.deadlines.is_overgrown(1));
    }
}

#[test]
fn time_that_goes_back_stands_still() {
    let mut table = table();
    let at = |secs| NOW + Duration::from_secs(secs);
    let config = SessionConfig::single_hop(peer(1));
    assert_eq!(table.set(at(1000), SessionId(1), config), Ok(()));
    let octets = hello(0);
    let came = table.receive(at(5), &datagram(peer(1), &octets));
    assert_eq!(came, Ok(SessionId(1)));
    table.on_deadline(at(1001));
    let snapshot = table.snapshot(SessionId(1)).expect("there");
    assert_eq!(
        snapshot.state,
        State::Init,
        "heard a second ago, not a thousand"
    );
}

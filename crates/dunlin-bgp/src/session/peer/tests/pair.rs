//! Two peers with each other, over a network on a virtual clock.

use std::sync::Arc;
use std::time::Duration;

use dunlin_net::PerFamily;

use super::net::{Net, config, with_restart};
use crate::session::*;

const SECOND: Duration = Duration::from_secs(1);

fn pair() -> Net {
    Net::new([config(0), config(1)])
}

fn graceful_pair(notification: bool) -> Net {
    Net::new([0, 1].map(|side| with_restart(config(side), notification)))
}

#[test]
fn two_peers_that_dial_each_other_come_up_on_one_connection_and_stay_up() {
    let mut net = pair();
    net.run(SECOND);
    assert!(net.is_up_on_one_link());
    net.run(100 * SECOND);
    assert!(net.is_up_on_one_link());
    for side in 0..2 {
        assert_eq!(net.downs(side), []);
        assert_eq!(net.peers[side].stats().ups, 1);
    }
}

#[test]
fn one_connection_survives_a_collision_in_every_order_of_deliveries() {
    // Each choice list is one order; depth first over all of them, by replay.
    let mut orders = 0;
    let mut choices: Vec<usize> = Vec::new();
    loop {
        let mut net = pair();
        let mut widths = Vec::new();
        for step in 0.. {
            let options = net.deliverable();
            if options.is_empty() {
                break;
            }
            if step == choices.len() {
                choices.push(0);
            }
            widths.push(options.len());
            net.deliver(options[choices[step]]);
        }
        assert!(net.is_up_on_one_link(), "order {choices:?}");
        assert!(
            net.downs(0).is_empty() && net.downs(1).is_empty(),
            "order {choices:?}"
        );
        orders += 1;
        choices.truncate(widths.len());
        while let Some(last) = choices.pop() {
            if last + 1 < widths[choices.len()] {
                choices.push(last + 1);
                break;
            }
        }
        if choices.is_empty() {
            break;
        }
    }
    assert!(orders > 1000, "only {orders} orders were tried");
}

#[test]
fn a_silent_peer_is_dropped_at_the_hold_time_and_back_within_two_seconds_of_healing() {
    for notification in [false, true] {
        let mut net = graceful_pair(notification);
        net.run(SECOND);
        net.cut = true;
        net.run(10 * SECOND);
        for side in 0..2 {
            let hold = DownReason::HoldTimerExpired { hold_time_secs: 9 };
            assert_eq!(net.downs(side), [(hold, None)]);
            let (_, sent) = net.peers[side].stats().last_sent.clone().unwrap();
            assert_eq!(
                (sent.code, sent.subcode),
                if notification { (6, 9) } else { (4, 0) }
            );
            assert_eq!(
                sent.inner().map(|n| (n.code, n.subcode)),
                notification.then_some((4, 0))
            );
        }
        net.run(60 * SECOND);
        net.cut = false;
        net.run(2 * SECOND);
        assert!(net.is_up_on_one_link());
    }
}

#[test]
fn a_restarted_peer_replaces_its_established_session_and_its_routes_stay_as_stale() {
    let mut net = graceful_pair(false);
    net.run(3 * SECOND);
    let told = net.peers[1].stats().sent.notifications;
    // The host loses power: no FIN. The old connection still looks alive to the other side.
    net.replace(0, with_restart(config(0), false));
    net.run(2 * SECOND);
    assert!(net.is_up_on_one_link());
    let stale = StaleInfo {
        restart_time_secs: 120,
        families: PerFamily { v4: true, v6: true },
        ..StaleInfo::default()
    };
    assert_eq!(net.downs(1), [(DownReason::ReplacedByRestart, Some(stale))]);
    assert_eq!(net.peers[1].stats().sent.notifications, told);
}

#[test]
fn without_graceful_restart_an_established_session_is_not_replaced() {
    let mut net = pair();
    net.run(3 * SECOND);
    net.replace(0, config(0));
    net.run(2 * SECOND);
    assert_eq!(net.downs(1), []);
    let (_, sent) = net.peers[1].stats().last_sent.clone().unwrap();
    assert_eq!((sent.code, sent.subcode), (6, 7));
    net.run(20 * SECOND);
    assert!(net.is_up_on_one_link());
}

#[test]
fn a_graceful_stop_is_silent_without_the_n_bit_and_a_soft_cease_with_it() {
    for (notification, sent, received) in [
        (false, None, DownReason::Transport(TransportError::Eof)),
        (
            true,
            Some((6, 4)),
            DownReason::NotificationReceived(crate::wire::Notification::new(6, 4)),
        ),
    ] {
        let mut net = graceful_pair(notification);
        net.run(SECOND);
        net.run(SECOND);
        net.on(0, Input::Stop(Stop::GracefulRestart));
        let last = net.peers[0].stats().last_sent.as_ref();
        let last = last.filter(|(at, _)| *at == net.now);
        assert_eq!(last.map(|(_, n)| (n.code, n.subcode)), sent);
        net.run(SECOND / 100);
        let downs = net.downs(1);
        assert_eq!(downs.len(), 1);
        assert_eq!(downs[0].0, received);
        assert!(downs[0].1.is_some(), "routes are kept");
    }
}

#[test]
fn a_removed_or_administratively_stopped_peer_is_told_to_drop_everything() {
    for (stop, subcode) in [
        (Stop::PeerRemoved, 3),
        (
            Stop::Administrative {
                text: "maintenance".into(),
            },
            2,
        ),
    ] {
        for notification in [false, true] {
            let mut net = graceful_pair(notification);
            net.run(SECOND);
            net.on(0, Input::Stop(stop.clone()));
            net.run(SECOND / 100);
            let (_, sent) = net.peers[0].stats().last_sent.clone().unwrap();
            let told = if notification {
                sent.inner().unwrap()
            } else {
                sent
            };
            assert_eq!((told.code, told.subcode), (6, subcode));
            assert_eq!(net.downs(1).len(), 1);
            assert_eq!(net.downs(1)[0].1, None, "routes are dropped");
            assert_eq!(net.peers[0].state().0, FsmState::Idle);
        }
    }
}

#[test]
fn a_stopped_peer_stays_down_until_it_is_started() {
    let mut net = pair();
    net.run(SECOND);
    net.on(
        0,
        Input::Stop(Stop::Administrative {
            text: String::new(),
        }),
    );
    net.run(60 * SECOND);
    assert_eq!(net.peers[0].state().0, FsmState::Idle);
    assert!(!net.is_up());
    net.on(0, Input::Start);
    net.run(6 * SECOND);
    assert!(net.is_up_on_one_link());
}

#[test]
fn only_what_the_open_carries_resets_a_session() {
    let quiet: [fn(&mut PeerConfig); 7] = [
        |c| c.timers.keepalive_time_secs = 1,
        |c| c.timers.connect_retry_secs = 7,
        |c| c.name = "other".into(),
        |c| c.passive = true,
        |c| c.transport.ttl = Ttl::Hops(3),
        |c| c.transport.password = Password::new(b"secret"),
        |c| c.graceful_restart.as_mut().unwrap().restarting = true,
    ];
    let loud: [fn(&mut PeerConfig); 8] = [
        |c| c.timers.hold_time_secs = 30,
        |c| c.router_id.0 = [9, 9, 9, 9].into(),
        |c| c.families.v6 = false,
        |c| c.capabilities.extended_message = false,
        |c| c.capabilities.extended_next_hop = true,
        |c| c.graceful_restart = None,
        |c| c.graceful_restart.as_mut().unwrap().restart_time_secs = 5,
        |c| c.graceful_restart.as_mut().unwrap().long_lived_stale_secs = 5,
    ];
    for (changes, resets) in [(&quiet[..], 0), (&loud[..], 1)] {
        for (number, change) in changes.iter().enumerate() {
            let mut net = graceful_pair(true);
            net.run(SECOND);
            let mut changed = with_restart(config(0), true);
            change(&mut changed);
            net.on(0, Input::Configure(Arc::new(changed)));
            net.run(3 * SECOND);
            assert!(net.is_up_on_one_link(), "change {number}");
            assert_eq!(net.downs(0).len(), resets, "change {number}");
            if resets == 1 {
                assert_eq!(net.downs(0)[0].0, DownReason::ConfigChanged);
                let (_, sent) = net.peers[0].stats().last_sent.clone().unwrap();
                assert_eq!((sent.code, sent.subcode), (6, 6));
            }
        }
    }
}

#[test]
fn a_peer_that_flaps_every_second_is_held_back_and_one_restarted_a_few_times_is_not() {
    let mut net = pair();
    for _ in 0..5 {
        net.run(3 * SECOND);
        assert!(net.is_up(), "a few restarts in a row are forgiven");
        let (conn, _) = net.peers[1].established().unwrap();
        let notification = crate::wire::Notification::new(6, 4);
        let idle_hold = Duration::ZERO;
        net.on(
            1,
            Input::Reset {
                conn,
                notification,
                idle_hold,
            },
        );
    }
    let ups = net.peers[0].stats().ups;
    for _ in 0..60 {
        net.run(SECOND);
        if let Some((conn, _)) = net.peers[1].established() {
            let notification = crate::wire::Notification::new(6, 4);
            let idle_hold = Duration::ZERO;
            net.on(
                1,
                Input::Reset {
                    conn,
                    notification,
                    idle_hold,
                },
            );
        }
    }
    assert!(
        net.peers[0].stats().ups - ups < 10,
        "{}",
        net.peers[0].stats().ups - ups
    );
}

#[test]
fn a_refused_open_is_retried_ever_more_slowly() {
    let mut wrong = config(1);
    wrong.remote_asn = RemoteAsn::Exact(dunlin_net::Asn(65000));
    let mut net = Net::new([config(0), wrong]);
    net.run(120 * SECOND);
    assert!(!net.is_up());
    let opens = net.peers[1].stats().received.opens;
    assert!((3..20).contains(&opens), "{opens} OPENs in two minutes");
}

#[test]
fn ipv6_next_hops_for_ipv4_prefixes_are_agreed_on_where_both_offer_them() {
    for (offers, agreed) in [
        ([true, true], true),
        ([true, false], false),
        ([false, true], false),
    ] {
        let configs = [0, 1].map(|side| {
            let mut config = config(side);
            config.capabilities.extended_next_hop = offers[side];
            config
        });
        let mut net = Net::new(configs);
        net.run(SECOND);
        for peer in &net.peers {
            let (_, negotiated) = peer.established().expect("up");
            assert_eq!(negotiated.extended_next_hop, agreed, "{offers:?}");
        }
    }
}

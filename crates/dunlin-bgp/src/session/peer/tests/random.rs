//! Any inputs in any order: no panic, and the promises of [`Peer`] hold.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dunlin_net::Afi;
use proptest::prelude::*;

use super::bench::*;
use crate::session::*;
use crate::wire::{AfiSafi, Capability, KEEPALIVE, Notification};

#[derive(Clone, Debug)]
enum Step {
    Pass(u16),
    Accept,
    Connected(u8),
    Lost(u8),
    Bytes(u8, Vec<u8>),
    Paused(u8, bool),
    Written(u8, bool),
    Send(u8),
    AskRefresh(u8),
    Reset(u8),
    Start,
    Stop,
    Configure(bool, u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let gr = Capability::GracefulRestart(crate::wire::GracefulRestart {
        restart_time_secs: 60,
        notification: true,
        ..Default::default()
    });
    let mut graceful = open();
    graceful.capabilities.push(gr);
    let good = prop::sample::select(vec![
        encoded(&open()),
        [encoded(&graceful), KEEPALIVE.to_vec()].concat(),
        KEEPALIVE.to_vec(),
        end_of_rib(),
        refresh(AfiSafi::unicast(Afi::Ipv4)),
        notification(6, 4),
    ]);
    let conn = 0..12_u8;
    let bytes = prop_oneof![
        6 => good.clone(),
        4 => prop::collection::vec(good, 2..6).prop_map(|several| several.concat()),
        1 => prop::collection::vec(any::<u8>(), 0..60),
        1 => prop::collection::vec(any::<u8>(), 0..8).prop_map(|tail| [KEEPALIVE.to_vec(), tail].concat()),
    ];
    let step = prop_oneof![
        3 => (0..9000_u16).prop_map(Step::Pass),
        3 => Just(Step::Accept),
        3 => conn.clone().prop_map(Step::Connected),
        1 => conn.clone().prop_map(Step::Lost),
        12 => (conn.clone(), bytes).prop_map(|(conn, bytes)| Step::Bytes(conn, bytes)),
        1 => (conn.clone(), any::<bool>()).prop_map(|(conn, on)| Step::Paused(conn, on)),
        1 => (conn.clone(), any::<bool>()).prop_map(|(conn, on)| Step::Written(conn, on)),
        1 => conn.clone().prop_map(Step::Send),
        1 => conn.clone().prop_map(Step::AskRefresh),
        1 => conn.prop_map(Step::Reset),
        1 => Just(Step::Start),
        1 => Just(Step::Stop),
        1 => (any::<bool>(), 3..90_u16).prop_map(|(passive, hold)| Step::Configure(passive, hold)),
    ];
    prop::collection::vec(step, 0..80)
}

/// What an observer of all actions may believe.
#[derive(Default)]
struct Watch {
    live: HashSet<ConnId>,
    up: Option<ConnId>,
}

impl Watch {
    fn see(&mut self, action: Action) {
        match action {
            Action::Dial { conn, .. } => assert!(self.live.insert(conn), "a name used twice"),
            Action::Write { conn, .. } | Action::Retune { conn } => {
                assert!(self.live.contains(&conn), "an action for a dead connection");
            }
            Action::Close { conn, .. } => {
                assert!(self.live.remove(&conn), "a dead connection closed");
                assert_ne!(self.up, Some(conn), "closed before Down");
            }
            Action::Event(event) => self.hear(event),
        }
    }

    fn hear(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Up { conn, .. } => {
                assert_eq!(self.up, None, "two sessions");
                assert!(self.live.contains(&conn));
                self.up = Some(conn);
            }
            SessionEvent::Routes { conn, .. }
            | SessionEvent::RefreshRequested { conn, .. }
            | SessionEvent::RefreshBegins { conn, .. }
            | SessionEvent::RefreshEnds { conn, .. } => {
                assert_eq!(self.up, Some(conn), "outside of Up and Down");
            }
            SessionEvent::Down { conn, .. } => assert_eq!(self.up.take(), Some(conn)),
            SessionEvent::State { .. } => {}
            other => panic!("not of one peer: {other:?}"),
        }
    }

    fn watch(&mut self, bench: &mut Bench) {
        while let Some(action) = bench.peer.poll_action() {
            self.see(action);
        }
        let up = bench.peer.established().map(|(conn, _)| conn);
        assert_eq!(up, self.up);
        assert!(self.live.len() <= 4, "more connections than promised");
    }
}

fn take(bench: &mut Bench, watch: &mut Watch, step: Step) {
    // Most of the time one that lives.
    let mut live: Vec<ConnId> = watch.live.iter().copied().collect();
    live.sort_unstable();
    let conn = |number: u8| match live.get(usize::from(number) % live.len().max(1)) {
        Some(conn) if number < 10 => *conn,
        _ => ConnId(number.into()),
    };
    match step {
        Step::Pass(millis) => bench.pass(Duration::from_millis(millis.into())),
        Step::Accept => {
            if let Ok(conn) = bench.peer.accept(bench.now, ours(), theirs()) {
                assert!(watch.live.insert(conn), "a name used twice");
            }
        }
        Step::Connected(number) => bench.on(Input::Connected {
            conn: conn(number),
            local: ours(),
            remote: theirs(),
        }),
        Step::Lost(number) => {
            bench.on(Input::Closed {
                conn: conn(number),
                error: TransportError::Reset,
            });
            // The transport knows; nothing is left to close.
            watch.watch(bench);
            watch.live.remove(&conn(number));
        }
        Step::Bytes(number, bytes) => bench.bytes(conn(number), &bytes),
        Step::Paused(number, paused) => bench.on(Input::ReadPaused {
            conn: conn(number),
            paused,
        }),
        Step::Written(number, pending) => bench.on(Input::Written {
            conn: conn(number),
            pending,
        }),
        Step::Send(number) => bench.on(Input::Send {
            conn: conn(number),
            bytes: KEEPALIVE.as_slice().into(),
            messages: 1,
        }),
        Step::AskRefresh(number) => bench.on(Input::RequestRefresh {
            conn: conn(number),
            afi: Afi::Ipv4,
        }),
        Step::Reset(number) => bench.on(Input::Reset {
            conn: conn(number),
            notification: Notification::hard_reset(&Notification::new(6, 10)),
            idle_hold: Duration::from_secs(1),
        }),
        Step::Start => bench.on(Input::Start),
        Step::Stop => bench.on(Input::Stop(Stop::GracefulRestart)),
        Step::Configure(passive, hold_time_secs) => {
            let mut config = graceful();
            config.passive = passive;
            config.timers.hold_time_secs = hold_time_secs;
            bench.on(Input::Configure(Arc::new(config)));
        }
    }
}

fn graceful() -> PeerConfig {
    let mut config = config();
    config.graceful_restart = Some(GracefulRestart {
        notification: true,
        ..GracefulRestart::default()
    });
    config
}

proptest! {
    #[test]
    fn the_promises_of_a_peer_hold_under_any_inputs(steps in steps()) {
        let mut bench = Bench::new(graceful());
        let mut watch = Watch::default();
        watch.watch(&mut bench);
        for step in steps {
            take(&mut bench, &mut watch, step);
            watch.watch(&mut bench);
            // A deadline in the past would make the driver spin.
            bench.pass(Duration::ZERO);
            watch.watch(&mut bench);
            prop_assert!(bench.peer.next_deadline().is_none_or(|at| at > bench.now));
        }
    }
}

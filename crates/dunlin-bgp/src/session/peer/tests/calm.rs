//! Whatever happened before, calm brings the session up.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::net::{Net, config, with_restart};
use crate::session::*;
use crate::wire::Notification;

#[derive(Clone, Debug)]
enum Step {
    Run(u16),
    Cut(bool),
    Die(usize),
    Stop(usize, bool),
    Start(usize),
    Reset(usize),
    Configure(usize, u16),
    Slow(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let side = 0..2_usize;
    let step = prop_oneof![
        6 => (0..4000_u16).prop_map(Step::Run),
        2 => any::<bool>().prop_map(Step::Cut),
        2 => side.clone().prop_map(Step::Die),
        1 => (side.clone(), any::<bool>()).prop_map(|(side, graceful)| Step::Stop(side, graceful)),
        2 => side.clone().prop_map(Step::Start),
        2 => side.clone().prop_map(Step::Reset),
        1 => (side, 3..20_u16).prop_map(|(side, hold)| Step::Configure(side, hold)),
        1 => (0..800_u16).prop_map(Step::Slow),
    ];
    prop::collection::vec(step, 0..40)
}

fn take(net: &mut Net, step: Step, make: impl Fn(usize) -> PeerConfig) {
    match step {
        Step::Run(millis) => net.run(Duration::from_millis(millis.into())),
        Step::Cut(cut) => net.cut = cut,
        Step::Die(side) => net.replace(side, make(side)),
        Step::Stop(side, true) => net.on(side, Input::Stop(Stop::GracefulRestart)),
        Step::Stop(side, false) => net.on(side, Input::Stop(Stop::PeerRemoved)),
        Step::Start(side) => net.on(side, Input::Start),
        Step::Reset(side) => {
            if let Some((conn, _)) = net.peers[side].established() {
                let input = Input::Reset {
                    conn,
                    notification: Notification::new(6, 4),
                    idle_hold: Duration::from_secs(2),
                };
                net.on(side, input);
            }
        }
        Step::Configure(side, hold_time_secs) => {
            let mut config = make(side);
            config.timers.hold_time_secs = hold_time_secs;
            net.on(side, Input::Configure(Arc::new(config)));
        }
        Step::Slow(millis) => net.delay = Duration::from_millis(millis.into()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn after_any_history_calm_brings_both_up_on_one_connection_and_keeps_them_up(
        steps in steps(),
        restart in prop::option::of(any::<bool>()),
        passive in prop::option::of(0..2_usize),
    ) {
        let make = |side: usize| {
            let mut config = config(side);
            config.passive = passive == Some(side);
            match restart {
                Some(notification) => with_restart(config, notification),
                None => config,
            }
        };
        let mut net = Net::new([make(0), make(1)]);
        for step in steps {
            take(&mut net, step, make);
        }
        net.cut = false;
        net.delay = Duration::from_millis(1);
        for side in 0..2 {
            net.on(side, Input::Start);
        }
        // The longest there is to wait for: what is left of an old session, and a penalty.
        net.run(Duration::from_secs(60));
        prop_assert!(net.is_up_on_one_link());
        let flaps = net.peers.each_ref().map(|peer| peer.stats().flaps);
        net.run(Duration::from_secs(120));
        prop_assert!(net.is_up_on_one_link());
        prop_assert_eq!(net.peers.each_ref().map(|peer| peer.stats().flaps), flaps);
    }
}

//! Long-lived graceful restart in OPENs and at the end of sessions (RFC 9494).

use std::sync::Arc;
use std::time::Duration;

use dunlin_net::{Afi, PerFamily};

use super::net::*;
use crate::session::{DownReason, Input, PeerConfig, StaleInfo, Stop, TransportError};
use crate::wire::{AfiSafi, Capability};

const SECOND: Duration = Duration::from_secs(1);

fn lingering(side: usize, secs: u32) -> PeerConfig {
    let mut config = with_restart(config(side), false);
    if let Some(restart) = &mut config.graceful_restart {
        restart.long_lived_stale_secs = secs;
        restart.forwarding = PerFamily {
            v4: true,
            v6: false,
        };
    }
    config
}

/// What side 1 keeps when side 0 goes away for a while.
fn kept(left: PeerConfig, right: PeerConfig) -> (DownReason, Option<StaleInfo>) {
    let mut net = Net::new([left, right]);
    net.run(3 * SECOND);
    assert!(net.is_up_on_one_link());
    net.on(0, Input::Stop(Stop::GracefulRestart));
    net.run(SECOND);
    net.downs(1)[0].clone()
}

#[test]
fn the_lesser_of_both_times_is_kept_after_the_restart_time() {
    for (ours, theirs, want) in [(60, 3600, 60), (3600, 60, 60), (0, 60, 0), (60, 0, 0)] {
        let (reason, stale) = kept(lingering(0, theirs), lingering(1, ours));
        assert_eq!(reason, DownReason::Transport(TransportError::Eof));
        let want = StaleInfo {
            restart_time_secs: 120,
            families: PerFamily { v4: true, v6: true },
            long_lived_stale_secs: PerFamily { v4: want, v6: want },
        };
        assert_eq!(stale, Some(want), "{ours} {theirs}");
    }
}

#[test]
fn what_was_agreed_says_whose_forwarding_survived_and_who_takes_what_is_stale() {
    let mut net = Net::new([lingering(0, 60), lingering(1, 0)]);
    net.run(3 * SECOND);
    let (_, with) = net.peers[1].established().unwrap();
    assert!(with.takes_long_lived_stale());
    let restart = with.graceful_restart.unwrap();
    assert_eq!(
        restart.long_lived_forwarding,
        PerFamily {
            v4: true,
            v6: false
        }
    );
    let (_, with) = net.peers[0].established().unwrap();
    assert!(!with.takes_long_lived_stale());

    // The capability alone says nothing (RFC 9494 3.1).
    let mut alone = with.as_ref().clone();
    alone.capabilities = vec![Capability::LongLivedGracefulRestart(Vec::new())];
    assert!(!alone.takes_long_lived_stale());
    let restart = crate::wire::GracefulRestart::default();
    alone
        .capabilities
        .push(Capability::GracefulRestart(restart));
    assert!(alone.takes_long_lived_stale());
}

#[test]
fn a_family_not_offered_is_not_kept() {
    let mut left = lingering(0, 60);
    left.families = PerFamily {
        v4: true,
        v6: false,
    };
    let (_, stale) = kept(left, lingering(1, 60));
    let stale = stale.unwrap();
    assert_eq!(
        stale.families,
        PerFamily {
            v4: true,
            v6: false
        }
    );
    assert_eq!(stale.long_lived_stale_secs, PerFamily { v4: 60, v6: 0 });
}

#[test]
fn the_capability_never_goes_without_that_of_graceful_restart() {
    let offers = |config: PeerConfig| {
        let mut net = Net::new([config, with_restart(super::net::config(1), false)]);
        net.run(3 * SECOND);
        let (_, with) = net.peers[1].established().unwrap();
        let codes: Vec<u8> = with.capabilities.iter().map(Capability::code).collect();
        (codes.contains(&64), codes.contains(&71))
    };
    assert_eq!(offers(lingering(0, 60)), (true, true));
    assert_eq!(offers(lingering(0, 0)), (true, false));
    assert_eq!(offers(config(0)), (false, false));
}

#[test]
fn a_time_that_does_not_fit_is_refused() {
    let mut config = lingering(0, (1 << 24) - 1);
    assert_eq!(config.check(), Ok(()));
    config
        .graceful_restart
        .as_mut()
        .unwrap()
        .long_lived_stale_secs = 1 << 24;
    assert!(config.check().is_err());
}

#[test]
fn the_forwarding_bits_alone_reset_nothing() {
    let mut net = Net::new([lingering(0, 60), lingering(1, 60)]);
    net.run(3 * SECOND);
    let mut changed = lingering(0, 60);
    changed.graceful_restart.as_mut().unwrap().forwarding = PerFamily { v4: true, v6: true };
    net.on(0, Input::Configure(Arc::new(changed)));
    net.run(3 * SECOND);
    assert_eq!(net.downs(0), []);
    let (_, with) = net.peers[1].established().unwrap();
    let named = with.capabilities.iter().find_map(|it| match it {
        Capability::LongLivedGracefulRestart(families) => Some(families.clone()),
        _ => None,
    });
    let families: Vec<AfiSafi> = named.unwrap().iter().map(|it| it.family).collect();
    assert_eq!(families, Afi::ALL.map(AfiSafi::unicast));
}

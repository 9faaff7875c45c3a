//! Routes that outlive their session: graceful restart as a helper (RFC 4724, RFC 8538), and long-lived (RFC 9494).

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use dunlin_bgp::session::{PeerRestart, StaleInfo};
use dunlin_net::PerFamily;
use support::kept::*;

#[test]
fn routes_are_stale_for_the_restart_time_then_long_lived_then_gone() {
    let mut world = World::new();
    world.breaks(Some(stale(600)));
    assert_eq!(world.routes(), ["stale", "stale"]);
    let shown = world.neighbor();
    assert_eq!(
        (shown.stale, shown.long_lived_stale, shown.stale_ends_secs),
        (true, false, Some(720))
    );
    world.0.until(secs(119));
    assert_eq!(world.routes(), ["stale", "stale"]);
    world.0.until(secs(120));
    assert_eq!(world.routes(), ["long", "long"]);
    let shown = world.neighbor();
    assert_eq!(
        (shown.stale, shown.long_lived_stale, shown.stale_ends_secs),
        (true, true, Some(600))
    );
    world.0.until(secs(719));
    assert_eq!(world.routes(), ["long", "long"]);
    world.0.until(secs(720));
    assert_eq!(world.routes(), ["gone", "gone"]);
    assert!(!world.neighbor().stale);
}

#[test]
fn without_the_long_lived_time_they_go_with_the_restart_time() {
    let mut world = World::new();
    world.breaks(Some(stale(0)));
    world.0.until(secs(119));
    assert_eq!(world.routes(), ["stale", "stale"]);
    world.0.until(secs(120));
    assert_eq!(world.routes(), ["gone", "gone"]);
}

#[test]
fn where_there_is_no_restart_time_they_are_long_lived_at_once() {
    for families in [BOTH, PerFamily::default()] {
        let mut world = World::new();
        world.breaks(Some(StaleInfo {
            restart_time_secs: if families == BOTH { 0 } else { 120 },
            families,
            ..stale(600)
        }));
        assert_eq!(world.routes(), ["long", "long"]);
        world.0.until(secs(600));
        assert_eq!(world.routes(), ["gone", "gone"]);
    }
}

#[test]
fn a_session_that_ends_for_good_keeps_nothing_whatever_was_kept_before() {
    let mut world = World::new();
    world.breaks(None);
    assert_eq!(world.routes(), ["gone", "gone"]);

    let mut world = World::new();
    world.breaks(Some(stale(600)));
    world.0.until(secs(200));
    world.comes_back(Some(restart(600)));
    assert_eq!(world.routes(), ["long", "long"]);
    world.breaks(None);
    assert_eq!(world.routes(), ["gone", "gone"]);
    assert!(!world.neighbor().stale);
}

#[test]
fn a_peer_that_comes_back_with_fewer_routes_loses_the_others_at_end_of_rib() {
    for wait in [10, 200] {
        let mut world = World::new();
        world.breaks(Some(stale(600)));
        world.0.until(secs(wait));
        world.comes_back(Some(restart(600)));
        world.0.learns(&NETS[..1]);
        let kept = if wait == 10 { "stale" } else { "long" };
        assert_eq!(world.routes(), ["fresh", kept]);
        assert!(world.neighbor().stale);
        world.tells_all();
        assert_eq!(world.routes(), ["fresh", "gone"]);
        assert!(!world.neighbor().stale);
        // Nothing is left to run out.
        world.0.until(secs(2_000));
        assert_eq!(world.routes(), ["fresh", "gone"]);
    }
}

#[test]
fn without_end_of_rib_what_is_not_told_anew_goes_at_the_deadline() {
    let mut world = World::new();
    world.breaks(Some(stale(600)));
    world.0.until(secs(10));
    world.comes_back(Some(restart(600)));
    world.0.learns(&NETS[..1]);
    world.0.until(secs(129));
    assert_eq!(world.routes(), ["fresh", "stale"]);
    world.0.until(secs(130));
    assert_eq!(world.routes(), ["fresh", "gone"]);
}

#[test]
fn a_peer_with_no_restart_time_has_time_to_tell_all_when_it_is_back() {
    let mut world = World::new();
    world.breaks(Some(stale(600)));
    let hasty = PeerRestart {
        restart_time_secs: 0,
        ..restart(600)
    };
    world.comes_back(Some(hasty));
    world.0.until(secs(5));
    assert_eq!(world.routes(), ["stale", "stale"]);
    world.0.until(secs(31));
    assert_eq!(world.routes(), ["gone", "gone"]);
}

#[test]
fn what_the_peer_did_not_keep_forwarding_for_goes_when_it_is_back() {
    let clear = PerFamily::default();
    let cases = [
        // Within the restart time, the bit of graceful restart counts.
        (
            10,
            PeerRestart {
                forwarding: clear,
                ..restart(600)
            },
            "gone",
        ),
        (
            10,
            PeerRestart {
                long_lived_forwarding: clear,
                ..restart(600)
            },
            "stale",
        ),
        // After it, that of the long-lived capability.
        (
            200,
            PeerRestart {
                forwarding: clear,
                ..restart(600)
            },
            "long",
        ),
        (
            200,
            PeerRestart {
                long_lived_forwarding: clear,
                ..restart(600)
            },
            "gone",
        ),
        // A family left out, or all of them.
        (
            10,
            PeerRestart {
                families: clear,
                forwarding: clear,
                ..restart(600)
            },
            "gone",
        ),
        (
            200,
            PeerRestart {
                long_lived_forwarding: clear,
                ..restart(0)
            },
            "gone",
        ),
    ];
    for (number, (wait, restart, want)) in cases.into_iter().enumerate() {
        let mut world = World::new();
        world.breaks(Some(stale(600)));
        world.0.until(secs(wait));
        world.comes_back(Some(restart));
        assert_eq!(world.routes(), [want, want], "case {number}");
    }
    for wait in [10, 200] {
        let mut world = World::new();
        world.breaks(Some(stale(600)));
        world.0.until(secs(wait));
        world.comes_back(None);
        assert_eq!(world.routes(), ["gone", "gone"], "no capability, {wait} s");
    }
}

#[test]
fn a_second_break_before_all_is_told_drops_what_was_stale_and_keeps_the_rest() {
    let mut world = World::new();
    world.breaks(Some(stale(600)));
    world.0.until(secs(10));
    world.comes_back(Some(restart(600)));
    world.0.learns(&NETS[..1]);
    world.breaks(Some(stale(600)));
    assert_eq!(world.routes(), ["stale", "gone"]);
    world.0.until(secs(129));
    assert_eq!(world.routes(), ["stale", "gone"], "the time begins anew");
    world.0.until(secs(130));
    assert_eq!(world.routes(), ["long", "gone"]);
}

#[test]
fn a_second_break_while_long_lived_keeps_all_and_the_time_goes_on() {
    let mut world = World::new();
    world.breaks(Some(stale(600)));
    world.0.until(secs(200));
    world.comes_back(Some(restart(600)));
    world.0.learns(&NETS[..1]);
    world.breaks(Some(stale(600)));
    assert_eq!(world.routes(), ["stale", "long"]);
    world.0.until(secs(320));
    assert_eq!(world.routes(), ["long", "long"]);
    world.0.until(secs(719));
    assert_eq!(world.routes(), ["long", "long"]);
    world.0.until(secs(720));
    assert_eq!(world.routes(), ["gone", "gone"]);
}

#[test]
fn once_all_is_told_a_later_break_has_its_whole_time() {
    let mut world = World::new();
    world.breaks(Some(stale(600)));
    world.0.until(secs(200));
    world.comes_back(Some(restart(600)));
    world.0.learns(&NETS);
    world.tells_all();
    assert_eq!(world.routes(), ["fresh", "fresh"]);
    world.breaks(Some(stale(600)));
    world.0.until(secs(919));
    assert_eq!(world.routes(), ["long", "long"]);
    world.0.until(secs(920));
    assert_eq!(world.routes(), ["gone", "gone"]);
}

#[test]
fn a_peer_too_slow_to_tell_all_in_time_keeps_what_it_told_unless_it_breaks() {
    let mut world = World::new();
    world.breaks(Some(stale(600)));
    world.0.until(secs(200));
    world.comes_back(Some(restart(600)));
    world.0.learns(&NETS[..1]);
    world.0.until(secs(720));
    assert_eq!(world.routes(), ["fresh", "gone"]);
    world.breaks(Some(stale(600)));
    assert_eq!(world.routes(), ["gone", "gone"]);
}

#[test]
fn an_object_that_asks_for_less_ends_what_lingers_and_the_session_is_not_needed_for_it() {
    let mut world = World::new();
    world.breaks(Some(stale(600)));
    world.0.until(secs(200));
    world.0.apply(router(30));
    world.0.until(secs(229));
    assert_eq!(world.routes(), ["long", "long"]);
    world.0.until(secs(230));
    assert_eq!(world.routes(), ["gone", "gone"]);

    let mut world = World::new();
    world.breaks(Some(stale(600)));
    world.0.until(secs(200));
    world.0.apply(router(0));
    assert_eq!(world.routes(), ["gone", "gone"]);

    let mut world = World::new();
    world.breaks(Some(stale(600)));
    world.0.apply(router(0));
    world.0.until(secs(119));
    assert_eq!(world.routes(), ["stale", "stale"]);
    world.0.until(secs(120));
    assert_eq!(world.routes(), ["gone", "gone"]);
}

#[test]
fn the_kernel_hears_nothing_of_it_until_they_go() {
    let mut world = World::new();
    let before = world.0.kernel_operations;
    world.breaks(Some(stale(600)));
    world.0.until(secs(200));
    world.comes_back(Some(restart(600)));
    world.0.learns(&NETS);
    world.tells_all();
    assert_eq!(world.routes(), ["fresh", "fresh"]);
    assert_eq!(world.0.kernel_operations, before);
    world.breaks(None);
    assert!(world.0.kernel_operations > before);
}

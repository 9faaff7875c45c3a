//! What a peer tells again between marks (RFC 7313).

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use dunlin_api::{Answer, Query};
use dunlin_intent::Fact;
use dunlin_net::Afi;
use support::kept::*;
use support::plans::pods;

#[test]
fn what_is_not_told_again_between_marks_is_gone_with_the_second() {
    let mut world = World::new();
    world.marks(true);
    assert_eq!(world.routes(), ["stale", "stale"]);
    world.0.learns(&NETS[..1]);
    // Another End-of-RIB is not the mark.
    world.tells_all();
    assert_eq!(world.routes(), ["fresh", "stale"]);
    world.marks(false);
    assert_eq!(world.routes(), ["fresh", "gone"]);
    // A second mark alone means nothing.
    world.marks(false);
    assert_eq!(world.routes(), ["fresh", "gone"]);
    // Without the second one it ends by itself.
    world.0.learns(&NETS);
    world.marks(true);
    world.0.learns(&NETS[..1]);
    world.0.until(secs(359));
    assert_eq!(world.routes(), ["fresh", "stale"]);
    world.0.until(secs(361));
    assert_eq!(world.routes(), ["fresh", "gone"]);
}

#[test]
fn a_mark_before_the_end_begins_the_wait_anew() {
    let mut world = World::new();
    world.marks(true);
    world.0.until(secs(100));
    world.marks(true);
    world.0.until(secs(361));
    assert_eq!(world.routes(), ["stale", "stale"]);
    world.0.learns(&NETS[..1]);
    world.0.until(secs(461));
    assert_eq!(world.routes(), ["fresh", "gone"]);
}

#[test]
fn marks_and_end_of_rib_keep_apart() {
    // Before End-of-RIB the first mark means nothing, so neither does the second.
    let mut world = World::new();
    world.breaks(Some(stale(0)));
    world.comes_back(Some(restart(0)));
    world.0.learns(&NETS);
    world.marks(true);
    assert_eq!(world.routes(), ["fresh", "fresh"]);
    world.marks(false);
    assert_eq!(world.routes(), ["fresh", "fresh"]);
    // What the restart still waits for in the other family does not end it, nor does its time.
    world.tells_all_of(&[Afi::Ipv4]);
    world.marks(true);
    world.tells_all_of(&[Afi::Ipv4]);
    assert_eq!(world.routes(), ["stale", "stale"]);
    world.0.until(secs(200));
    assert_eq!(world.routes(), ["stale", "stale"]);
    world.marks(false);
    assert_eq!(world.routes(), ["gone", "gone"]);
}

#[test]
fn a_break_between_marks_keeps_what_was_not_told_again_yet() {
    let mut world = World::new();
    world.marks(true);
    world.0.learns(&NETS[..1]);
    world.breaks(Some(stale(600)));
    assert_eq!(world.routes(), ["stale", "stale"]);
    world.comes_back(Some(restart(600)));
    world.0.learns(&NETS[1..]);
    world.tells_all();
    assert_eq!(world.routes(), ["gone", "fresh"]);
    // The session of the first mark is over, and so is its time.
    world.0.until(secs(400));
    world.marks(false);
    assert_eq!(world.routes(), ["gone", "fresh"]);
}

#[test]
fn requests_that_come_too_soon_are_answered_as_one() {
    let mut world = World::new();
    world.0.apply(Fact::Advertisement(pods()));
    let own = |world: &mut World| world.0.told().announced.len();
    assert_eq!(own(&mut world), 1);
    world.asks(Afi::Ipv4);
    assert_eq!(own(&mut world), 1, "the first is answered at once");
    for _ in 0..1000 {
        world.asks(Afi::Ipv4);
    }
    world.0.until(secs(4));
    assert_eq!(own(&mut world), 0, "the others wait");
    world.0.until(secs(6));
    assert_eq!(own(&mut world), 1, "and are answered as one");
    // The next waits for that one's time.
    world.asks(Afi::Ipv4);
    assert_eq!(own(&mut world), 0);
    world.0.until(secs(11));
    assert_eq!(own(&mut world), 1);
    world.0.until(secs(100));
    assert_eq!(own(&mut world), 0, "nothing was asked");
    world.asks(Afi::Ipv4);
    assert_eq!(own(&mut world), 1);
    let Answer::Metrics(metrics) = world.0.ask(&Query::Metrics) else {
        panic!("metrics were asked for");
    };
    assert_eq!(metrics.refreshes_melted, 999);
}

#[test]
fn a_new_session_may_ask_at_once_and_owes_nothing_to_the_last() {
    let mut world = World::new();
    world.0.apply(Fact::Advertisement(pods()));
    world.asks(Afi::Ipv4);
    world.asks(Afi::Ipv4);
    world.breaks(None);
    world.comes_back(None);
    world.0.told();
    world.asks(Afi::Ipv4);
    assert_eq!(world.0.told().announced.len(), 1);
    world.0.until(secs(60));
    assert_eq!(world.0.told().announced.len(), 0);
}

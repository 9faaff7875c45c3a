//! A peer that announces more than it may.

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use std::time::Duration;

use dunlin_api::Neighbor;
use dunlin_bgp::wire::cease;
use dunlin_intent::{Fact, MaxPrefixesAction, MaxPrefixesFact, PeerAsn, PeerFact};
use dunlin_net::{Asn, Instant};
use support::*;

const ALL: [&str; 5] = [
    "198.51.100.0/28",
    "198.51.100.16/28",
    "198.51.100.32/28",
    "198.51.100.48/28",
    "198.51.100.64/28",
];

fn router(max: Option<MaxPrefixesFact>) -> Fact {
    Fact::Peer(PeerFact {
        name: "tor".into(),
        peer_address: Some("10.0.0.201".parse().unwrap()),
        peer_asn: Some(PeerAsn::Number(Asn(65001))),
        import_filter: Some("all".into()),
        max_prefixes: max,
        ..PeerFact::default()
    })
}

fn limit(limit: u32, action: MaxPrefixesAction) -> Option<MaxPrefixesFact> {
    Some(MaxPrefixesFact {
        limit: Some(limit),
        action: Some(action),
        ..MaxPrefixesFact::default()
    })
}

fn bench(max: Option<MaxPrefixesFact>) -> Bench {
    let mut bench = Bench::importing();
    bench.apply(router(max.clone()));
    bench.sync();
    bench.up_as(router(max));
    bench
}

/// What the router announced that is held.
fn held(bench: &mut Bench) -> usize {
    let all = bench.routes().into_iter();
    all.filter(|route| route.paths.iter().any(|path| path.from != "local"))
        .count()
}

fn neighbor(bench: &mut Bench) -> Neighbor {
    bench.neighbors().into_iter().next().expect("the router")
}

#[test]
fn one_prefix_too_many_ends_the_session_and_is_never_held() {
    let mut bench = bench(limit(4, MaxPrefixesAction::Reset));
    bench.learns(&ALL[..2]);
    assert_eq!(bench.reasons(), [""; 0]);
    bench.learns(&ALL[..4]);
    assert_eq!(held(&mut bench), 4, "the same again is not more");
    assert_eq!(bench.reasons(), ["NearMaxPrefixes"]);
    assert!(bench.resets.is_empty());
    bench.learns(&ALL[4..]);
    let (notification, idle) = bench.resets.pop().expect("it is ended");
    let inner = notification.inner().expect("for good");
    assert_eq!((inner.code, inner.subcode), (6, cease::MAX_PREFIXES));
    assert_eq!(inner.data, [0, 1, 1, 0, 0, 0, 4], "IPv4 unicast, four");
    assert_eq!(idle, Duration::from_secs(300));
    assert_eq!(held(&mut bench), 0, "all it announced is gone at once");
    // What is on its way still is nobody's.
    bench.learns(&ALL[..1]);
    assert_eq!(held(&mut bench), 0);
    bench.down();
    assert_eq!(bench.reasons(), ["SessionDown"]);
    bench.at(Instant::from_micros(100_000_000));
    let shown = neighbor(&mut bench);
    let error = shown.last_error.expect("a reason");
    assert!(
        error.contains("more than 4 ipv4 prefixes") && error.contains("held down for 300 s"),
        "{error}"
    );
    let shown = shown.max_prefixes.expect("a limit");
    assert_eq!((shown.exceeded, shown.held_down_seconds), (1, Some(200)));
    // Another limit is another try, at once.
    bench.starts = 0;
    bench.up_as(router(limit(5, MaxPrefixesAction::Reset)));
    assert_eq!(bench.starts, 1);
    bench.learns(&ALL);
    assert_eq!(held(&mut bench), 5);
    assert!(bench.resets.is_empty());
}

#[test]
fn what_is_withdrawn_makes_room() {
    let mut bench = bench(limit(2, MaxPrefixesAction::Reset));
    bench.learns(&ALL[..2]);
    bench.withdraws(&ALL[..1]);
    bench.learns(&ALL[2..3]);
    assert_eq!(held(&mut bench), 2);
    assert!(bench.resets.is_empty());
}

#[test]
fn a_new_session_counts_from_nothing_though_stale_routes_are_kept() {
    let mut bench = bench(limit(3, MaxPrefixesAction::Reset));
    bench.learns(&ALL[..3]);
    bench.router_restarts();
    assert_eq!(held(&mut bench), 3, "kept as stale");
    bench.up_as(router(limit(3, MaxPrefixesAction::Reset)));
    // Two that it had and one that is new: three.
    bench.learns(&ALL[2..]);
    assert!(bench.resets.is_empty());
    bench.learns(&ALL[..1]);
    assert_eq!(bench.resets.len(), 1, "a fourth, though an old one");
}

#[test]
fn a_lower_limit_ends_a_session_that_is_beyond_it_and_a_plan_says_so() {
    let mut bench = bench(None);
    bench.learns(&ALL);
    for (max, ends) in [(10, false), (5, false), (4, true)] {
        let fact = router(limit(max, MaxPrefixesAction::Reset));
        assert_eq!(bench.plan_resets(fact.clone()), usize::from(ends), "{max}");
        bench.apply(fact);
        assert_eq!(bench.resets.len(), usize::from(ends), "{max}");
    }
}

#[test]
fn to_warn_is_to_warn_alone() {
    let mut bench = bench(limit(4, MaxPrefixesAction::Warn));
    bench.learns(&ALL);
    assert_eq!(held(&mut bench), 5);
    assert!(bench.resets.is_empty());
    assert_eq!(bench.reasons(), ["NearMaxPrefixes"]);
    let shown = neighbor(&mut bench).max_prefixes.expect("a limit");
    assert_eq!(shown.near, [dunlin_net::Afi::Ipv4]);
    bench.withdraws(&ALL[..3]);
    assert_eq!(bench.reasons(), [""; 0]);
    bench.apply(router(None));
    assert_eq!(neighbor(&mut bench).max_prefixes, None);
}

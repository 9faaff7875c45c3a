//! What BFD sessions are wanted beside the peers, and what their end means to BGP.

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use std::net::IpAddr;
use std::time::Duration;

use dunlin_bfd::{Cause, Diagnostic, Hops, Role, State};
use dunlin_intent::{BfdProfileFact, ConfigurationFact, Fact, Key, NodeFact, PeerAsn, PeerFact};
use dunlin_net::{Asn, Instant};
use support::bfd::profile;
use support::*;

const LEARNED: &str = "198.51.100.0/24";

fn secs(secs: u64) -> Instant {
    Instant::from_micros(secs * 1_000_000)
}

fn router(change: impl FnOnce(&mut PeerFact)) -> Fact {
    let mut fact = PeerFact {
        name: "tor".into(),
        peer_address: Some("10.0.0.201".parse().unwrap()),
        peer_asn: Some(PeerAsn::Number(Asn(65001))),
        bfd_profile: Some("fast".into()),
        import_filter: Some("all".into()),
        ..PeerFact::default()
    };
    change(&mut fact);
    Fact::Peer(fact)
}

/// A router with BFD; the session is not up.
fn watching(change: impl FnOnce(&mut PeerFact)) -> Bench {
    let mut bench = Bench::importing();
    bench.apply(profile(50));
    bench.apply(router(change));
    bench.sync();
    bench
}

/// The session and BFD are up, and a route is learned.
fn learned() -> Bench {
    let mut bench = watching(|_| {});
    bench.up_as(router(|_| {}));
    bench.bfd_comes_up();
    bench.learns(&[LEARNED]);
    assert_eq!(routes(&mut bench), [(LEARNED.to_owned(), false)]);
    bench
}

/// The learned routes, and whether each is stale.
fn routes(bench: &mut Bench) -> Vec<(String, bool)> {
    let all = bench.routes().into_iter();
    all.filter(|route| route.paths.iter().any(|path| path.from != "local"))
        .map(|route| (route.prefix.to_string(), route.paths[0].stale))
        .collect()
}

#[test]
fn a_peer_with_a_profile_is_watched_as_it_says() {
    let mut bench = watching(|_| {});
    let (id, config) = bench.bfd.only();
    let config = config.clone();
    assert_eq!(config.peer, "10.0.0.201".parse::<IpAddr>().unwrap());
    assert_eq!((config.hops, config.interface), (Hops::Single, Some(2)));
    assert_eq!(config.desired_min_tx, Duration::from_millis(50));
    assert_eq!(config.required_min_rx, Duration::from_millis(300));
    assert_eq!((config.detect_mult, config.role), (3, Role::Active));
    let commands = bench.peer_commands;
    bench.apply(profile(100));
    let (same, config) = bench.bfd.only();
    assert_eq!(
        (same, config.desired_min_tx),
        (id, Duration::from_millis(100)),
        "it goes on, at another pace"
    );
    assert_eq!(bench.peer_commands, commands, "and BGP is not touched");
    let told = bench.bfd.commands;
    bench.apply(router(|_| {}));
    assert_eq!(bench.bfd.commands, told, "the same again is nothing new");
    bench.apply(router(|fact| fact.bfd_profile = None));
    assert!(bench.bfd.sessions.is_empty());
    bench.apply(router(|_| {}));
    assert_ne!(
        bench.bfd.only().0,
        id,
        "a late word of the old is none of the new"
    );
    bench.remove(Key::Peer("tor".into()));
    assert!(bench.bfd.sessions.is_empty());
}

#[test]
fn a_peer_behind_routers_is_watched_over_several_hops() {
    let mut bench = watching(|fact| {
        fact.peer_address = Some("192.0.2.9".parse().unwrap());
        fact.ebgp_multihop = Some(4);
    });
    let (_, config) = bench.bfd.only();
    assert_eq!((config.hops, config.interface), (Hops::Multi, None));
    assert_eq!(config.local, Some(IpAddr::V4(Bench::own())));
    assert_eq!(config.min_ttl, 1, "BIRD sends with 64");
    bench.apply(Fact::BfdProfile(BfdProfileFact {
        name: "fast".into(),
        minimum_ttl: Some(250),
        passive: Some(true),
        ..BfdProfileFact::default()
    }));
    let (_, config) = bench.bfd.only();
    assert_eq!((config.min_ttl, config.role), (250, Role::Passive));
}

#[test]
fn an_internal_peer_is_a_neighbour_if_it_is_on_a_link() {
    for (addr, hops, interface) in [
        ("10.0.0.7", Hops::Single, Some(2)),
        ("192.0.2.9", Hops::Multi, None),
    ] {
        let bench = watching(|fact| {
            fact.peer_address = Some(addr.parse().unwrap());
            fact.peer_asn = Some(PeerAsn::Internal);
        });
        let (_, config) = bench.bfd.only();
        assert_eq!((config.hops, config.interface), (hops, interface), "{addr}");
    }
}

#[test]
fn nodes_are_watched_where_the_configuration_asks_for_it() {
    let mut bench = Bench::new();
    let other = NodeFact::new("n2").with_internal_ip("10.0.0.2".parse().unwrap());
    bench.apply(Fact::Node(other));
    bench.apply(profile(50));
    bench.sync();
    assert!(bench.bfd.sessions.is_empty(), "not by default");
    let configuration = ConfigurationFact {
        name: "default".into(),
        bfd_profile: Some("fast".into()),
        ..ConfigurationFact::default()
    };
    bench.apply(Fact::Configuration(configuration));
    let (_, config) = bench.bfd.only();
    assert_eq!((config.hops, config.interface), (Hops::Single, Some(2)));
    assert_eq!(config.local, Some(IpAddr::V4(Bench::own())));
    bench.remove(Key::Node("n2".into()));
    assert!(bench.bfd.sessions.is_empty());
}

#[test]
fn a_failure_takes_the_routes_at_once_and_resets_that_session_alone() {
    let mut bench = learned();
    bench.bfd(State::Up, State::Down, Cause::DetectionTimeExpired, 1);
    assert_eq!(routes(&mut bench), [], "none is kept as stale");
    assert_eq!(bench.bfd.resets, 1);
    let bfd = bench.shown_bfd("tor").unwrap();
    assert_eq!((bfd.state.as_str(), bfd.failures), ("Down", 1));
    assert!(bfd.last_down.unwrap().contains("detection time"));
}

fn millis(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

#[test]
fn a_peer_that_misses_our_packets_is_as_dead() {
    let mut bench = learned();
    bench.peer_says_down(Diagnostic::DETECTION_TIME_EXPIRED, 1);
    assert_eq!((routes(&mut bench), bench.bfd.resets), (vec![], 1));
}

#[test]
fn a_peer_that_says_down_for_another_reason_may_be_about_to_close() {
    let mut bench = learned();
    bench.peer_says_down(Diagnostic::NEIGHBOR_SIGNALED_DOWN, 1);
    bench.until(millis(49));
    assert_eq!((routes(&mut bench).len(), bench.bfd.resets), (1, 0));
    bench.until(millis(50));
    assert_eq!((routes(&mut bench), bench.bfd.resets), (vec![], 1));

    let mut bench = learned();
    bench.peer_says_down(Diagnostic::NEIGHBOR_SIGNALED_DOWN, 1);
    bench.until(millis(10));
    bench.router_restarts();
    bench.until(secs(1));
    assert_eq!(routes(&mut bench), [(LEARNED.to_owned(), true)]);
    assert_eq!(bench.bfd.resets, 0);
}

#[test]
fn an_end_that_tcp_knew_of_first_is_a_restart() {
    let mut bench = learned();
    bench.bfd.tcp_is_first = true;
    bench.bfd(State::Up, State::Down, Cause::DetectionTimeExpired, 1);
    assert_eq!(routes(&mut bench).len(), 1, "nothing goes by BFD alone");
    bench.router_restarts();
    assert_eq!(routes(&mut bench), [(LEARNED.to_owned(), true)]);
}

#[test]
fn after_fin_the_peer_restarts_and_bfd_says_nothing_until_it_is_back() {
    let mut bench = learned();
    bench.router_restarts();
    let stale = [(LEARNED.to_owned(), true)];
    assert_eq!(routes(&mut bench), stale);
    bench.bfd(State::Up, State::Down, Cause::DetectionTimeExpired, 1);
    assert_eq!(routes(&mut bench), stale, "a restart is no dead node");
    assert_eq!(bench.bfd.resets, 0);
    bench.up_as(router(|_| {}));
    assert_eq!(bench.bfd.resets, 0, "what was told is not told again");
    bench.learns(&[LEARNED]);
    bench.bfd(State::Down, State::Up, Cause::Handshake, 1);
    assert_eq!(routes(&mut bench), [(LEARNED.to_owned(), false)]);
    bench.bfd(State::Up, State::Down, Cause::DetectionTimeExpired, 2);
    assert_eq!((routes(&mut bench), bench.bfd.resets), (vec![], 1));
}

#[test]
fn what_was_switched_off_or_began_anew_has_not_failed() {
    for cause in [
        Cause::RemoteAdminDown,
        Cause::RemoteRestarted,
        Cause::Disabled,
    ] {
        let mut bench = learned();
        bench.bfd(State::Up, State::Down, cause, 0);
        assert_eq!(routes(&mut bench).len(), 1, "{cause}");
        assert_eq!(bench.bfd.resets, 0, "{cause}");
    }
}

#[test]
fn a_failure_that_is_over_when_it_is_told_is_one() {
    let mut bench = learned();
    // Changes were merged on their way: it was down in between.
    bench.bfd(State::Up, State::Up, Cause::Handshake, 1);
    assert_eq!((routes(&mut bench), bench.bfd.resets), (vec![], 1));
}

#[test]
fn a_session_that_never_came_up_does_not_keep_bgp_down() {
    let mut bench = watching(|_| {});
    bench.up_as(router(|_| {}));
    bench.learns(&[LEARNED]);
    bench.bfd(State::Down, State::Init, Cause::Handshake, 0);
    bench.bfd(State::Init, State::Down, Cause::DetectionTimeExpired, 0);
    assert_eq!(routes(&mut bench).len(), 1);
    assert_eq!(bench.bfd.resets, 0);
    assert_eq!(bench.problems(), [], "it may only be on its way");
    bench.until(secs(11));
    let [(reason, message)] = &bench.problems()[..] else {
        panic!("{:?}", bench.problems());
    };
    assert_eq!(reason, "BFDDown", "{message}");
}

#[test]
fn late_words_of_a_session_that_is_gone_mean_nothing() {
    let mut bench = learned();
    let (old, _) = bench.bfd.only();
    bench.apply(router(|fact| fact.bfd_profile = None));
    bench.bfd_of(old, State::Up, State::Down, Cause::DetectionTimeExpired, 1);
    bench.apply(router(|_| {}));
    bench.bfd_of(old, State::Up, State::Down, Cause::DetectionTimeExpired, 2);
    assert_eq!(routes(&mut bench).len(), 1);
    assert_eq!(bench.bfd.resets, 0);
}

#[test]
fn a_link_that_loses_its_address_does_not_end_the_watch_over_it() {
    let mut bench = watching(|fact| fact.peer_asn = Some(PeerAsn::Internal));
    let internal = || router(|fact| fact.peer_asn = Some(PeerAsn::Internal));
    bench.up_as(internal());
    bench.bfd_comes_up();
    let (id, config) = bench.bfd.only();
    let config = config.clone();
    bench.on_link("10.0.0.0/24", false);
    assert_eq!(bench.bfd.only(), (id, &config), "it has to fail first");
    bench.bfd(State::Up, State::Down, Cause::DetectionTimeExpired, 1);
    assert_eq!(bench.bfd.resets, 1);
    let (other, config) = bench.bfd.only();
    assert_eq!((other == id, config.hops), (false, Hops::Multi));
    bench.on_link("10.0.0.0/24", true);
    assert_eq!(bench.bfd.only().1.hops, Hops::Single);
}

#[test]
fn what_cannot_be_is_said_and_asked_for_again() {
    let mut bench = watching(|_| {});
    let (id, _) = bench.bfd.only();
    let told = bench.bfd.commands;
    bench.bfd_refused("another process has UDP port 3784");
    let [(reason, message)] = &bench.problems()[..] else {
        panic!("{:?}", bench.problems());
    };
    assert_eq!(reason, "BFDRefused");
    assert!(message.contains("another process has"), "{message}");
    let shown = bench.shown_bfd("tor").unwrap().problem;
    assert_eq!(shown.as_deref(), Some("another process has UDP port 3784"));
    bench.until(secs(29));
    assert_eq!(bench.bfd.commands, told);
    bench.until(secs(31));
    assert_eq!((bench.bfd.only().0, bench.bfd.commands), (id, told + 1));
    assert_eq!(bench.problems(), []);
    assert_eq!(bench.shown_bfd("tor").unwrap().problem, None);
}

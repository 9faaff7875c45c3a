//! Peers at the other end of a link: where they are, and what becomes of their sessions when that changes.

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use dunlin_api::Neighbor;
use dunlin_bgp::session::{Remote, Ttl};
use dunlin_core::{DiscoveryCommand, Input};
use dunlin_dataplane::links::LinkEvent;
use dunlin_intent::{Fact, Key, PeerAsn, PeerFact};
use dunlin_net::Instant;
use support::bfd::profile;
use support::links::local;
use support::*;

const ETH1: u32 = 5;

fn peer(name: &str, interface: &str) -> Fact {
    Fact::Peer(PeerFact {
        name: name.into(),
        interface: Some(interface.into()),
        peer_asn: Some(PeerAsn::External),
        import_filter: Some("all".into()),
        ..PeerFact::default()
    })
}

/// The peer of `eth1`, with the link, and nobody there.
fn waiting() -> Bench {
    let mut bench = Bench::new();
    bench.apply(peer("uplink", "eth1"));
    bench.sync();
    bench.link(ETH1, "eth1", true);
    bench.link_address(ETH1, 1);
    bench
}

fn watch(interface: u32, last: u16) -> DiscoveryCommand {
    let local = local(last);
    DiscoveryCommand::Watch { interface, local }
}

fn at(router: u16, interface: u32) -> Remote {
    let place = SocketAddrV6::new(local(router), 179, 0, interface);
    Remote::Address(SocketAddr::V6(place))
}

fn neighbor(bench: &mut Bench) -> Neighbor {
    bench
        .neighbors()
        .into_iter()
        .next()
        .expect("the peer is wanted")
}

fn why(bench: &mut Bench) -> String {
    neighbor(bench).last_error.unwrap_or_default()
}

#[test]
fn a_peer_is_tried_once_its_interface_is_there_and_a_router_was_heard() {
    let mut bench = Bench::new();
    bench.apply(peer("uplink", "eth1"));
    bench.sync();
    assert!(why(&mut bench).contains("no interface of that name"));
    bench.link(ETH1, "eth1", true);
    assert!(why(&mut bench).contains("no link-local IPv6 address"));
    assert_eq!(bench.watched(), []);
    bench.link_address(ETH1, 1);
    assert!(why(&mut bench).contains("no router has advertised itself"));
    assert_eq!(bench.watched(), [watch(ETH1, 1)]);
    assert_eq!(neighbor(&mut bench).address, None);
    assert!(bench.config_of("uplink").is_none());

    bench.hears_router(ETH1, 2, &[]);
    let config = bench.config_of("uplink").expect("it is tried");
    assert_eq!(config.remote, at(2, ETH1));
    assert_eq!(config.transport.ttl, Ttl::Hops(1));
    assert!(config.capabilities.extended_next_hop);
    let shown = neighbor(&mut bench);
    assert_eq!(shown.address, Some(IpAddr::V6(local(2))));
    assert_eq!(shown.interface.as_deref(), Some("eth1"));
    assert_eq!(shown.last_error, None);

    bench.remove(Key::Peer("uplink".into()));
    let interface = ETH1;
    assert_eq!(bench.watched(), [DiscoveryCommand::Unwatch { interface }]);
}

#[test]
fn a_neighbour_that_is_another_gets_a_session_of_its_own() {
    let mut bench = waiting();
    bench.hears_router(ETH1, 2, &[]);
    bench.hears_router(ETH1, 2, &[]);
    assert_eq!(bench.peer_commands, 1, "the same is nothing new");
    bench.hears_router(ETH1, 3, &[]);
    assert_eq!(bench.peer_commands, 2);
    assert_eq!(bench.config_of("uplink").unwrap().remote, at(3, ETH1));
    // What comes late of a link that nobody watches is nobody's.
    bench.hears_router(ETH1 + 1, 4, &[]);
    assert_eq!(bench.peer_commands, 2);
}

#[test]
fn an_interface_that_goes_or_is_called_otherwise_takes_the_session_with_it() {
    for (change, words) in [
        (
            (|bench: &mut Bench| bench.link(ETH1, "wan0", true)) as fn(&mut Bench),
            "no interface of that name",
        ),
        (
            |bench| {
                bench.link_event(LinkEvent::LinkGone { ifindex: ETH1 });
            },
            "no interface of that name",
        ),
    ] {
        let mut bench = waiting();
        bench.hears_router(ETH1, 2, &[]);
        bench.watched();
        change(&mut bench);
        assert!(bench.config_of("uplink").is_none());
        assert!(why(&mut bench).contains(words));
        let interface = ETH1;
        assert_eq!(bench.watched(), [DiscoveryCommand::Unwatch { interface }]);
        // It comes back as another link, with another neighbour.
        bench.link(9, "eth1", true);
        bench.link_address(9, 1);
        assert_eq!(bench.watched(), [watch(9, 1)]);
        bench.hears_router(9, 2, &[]);
        assert_eq!(bench.config_of("uplink").unwrap().remote, at(2, 9));
    }
}

#[test]
fn a_link_that_was_down_is_asked_anew_and_keeps_its_session() {
    let mut bench = waiting();
    bench.hears_router(ETH1, 2, &[]);
    bench.watched();
    let commands = bench.peer_commands;
    bench.link(ETH1, "eth1", false);
    assert_eq!(bench.watched(), []);
    bench.link(ETH1, "eth1", true);
    assert_eq!(bench.watched(), [watch(ETH1, 1)]);
    assert_eq!(bench.peer_commands, commands);
}

#[test]
fn two_links_may_have_neighbours_of_one_address() {
    let mut bench = waiting();
    bench.link(6, "eth2", true);
    bench.link_address(6, 1);
    bench.apply(peer("second", "eth2"));
    bench.hears_router(ETH1, 2, &[]);
    bench.hears_router(6, 2, &[]);
    assert_eq!(bench.config_of("uplink").unwrap().remote, at(2, ETH1));
    assert_eq!(bench.config_of("second").unwrap().remote, at(2, 6));
    // One interface has one peer.
    bench.apply(peer("third", "eth2"));
    assert!(bench.config_of("third").is_none());
    let told = bench.problems();
    assert!(
        told.iter().any(|(reason, _)| reason == "DuplicateAddress"),
        "{told:?}"
    );
}

#[test]
fn several_routers_on_a_link_are_a_problem_that_names_them() {
    let mut bench = waiting();
    bench.hears_router(ETH1, 2, &[3, 4]);
    assert_eq!(bench.config_of("uplink").unwrap().remote, at(2, ETH1));
    let said = |bench: &mut Bench| {
        let told = bench.problems().into_iter();
        let mut several = told.filter(|(reason, _)| reason == "SeveralRouters");
        several.next().map(|(_, message)| message)
    };
    let message = said(&mut bench).expect("a problem");
    assert!(
        message.contains("fe80::2 was heard first on eth1"),
        "{message}"
    );
    assert!(message.contains("fe80::3, fe80::4 advertises"), "{message}");
    bench.hears_router(ETH1, 2, &[]);
    assert_eq!(said(&mut bench), None);
}

#[test]
fn where_nothing_can_be_heard_that_is_said_and_tried_again() {
    let mut bench = waiting();
    bench.watched();
    bench.feed(Input::DiscoveryRefused("no raw socket".into()));
    assert!(why(&mut bench).contains("cannot be heard"));
    let told_of = bench.problems();
    let failed = |(reason, message): &(String, String)| {
        reason == "DiscoveryFailed" && message.contains("no raw socket")
    };
    assert!(told_of.iter().any(failed), "{told_of:?}");
    assert_eq!(bench.watched(), []);
    let later = Instant::from_micros(31_000_000);
    bench.until(later);
    bench.at(later);
    assert_eq!(bench.watched(), [watch(ETH1, 1)]);
    assert!(why(&mut bench).contains("no router has advertised itself"));
}

#[test]
fn bfd_watches_the_neighbour_on_its_interface() {
    let mut bench = waiting();
    bench.apply(profile(50));
    let Fact::Peer(mut fact) = peer("uplink", "eth1") else {
        unreachable!("made above");
    };
    fact.bfd_profile = Some("fast".into());
    bench.apply(Fact::Peer(fact));
    assert!(bench.bfd.sessions.is_empty(), "nobody is there yet");
    bench.hears_router(ETH1, 2, &[]);
    let (_, config) = bench.bfd.only();
    assert_eq!(config.check(), Ok(()));
    assert_eq!(config.peer, IpAddr::V6(local(2)));
    assert_eq!(config.interface, Some(ETH1));
    bench.hears_router(ETH1, 3, &[]);
    let (_, config) = bench.bfd.only();
    assert_eq!(config.peer, IpAddr::V6(local(3)));
}

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dunlin_net::{Asn, Instant, PeerId, RouterId};

use super::*;
use crate::session::{RemoteAsn, TransportError};
use crate::wire::{Capability, KEEPALIVE, Open};

const SECOND: Duration = Duration::from_secs(1);

fn at(secs: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(secs)
}

fn addr(text: &str) -> SocketAddr {
    SocketAddr::new(text.parse().unwrap(), 179)
}

fn config(name: &str, remote: Remote) -> PeerConfig {
    let mut config = PeerConfig::new(name, remote, Asn(64512), RouterId([1, 1, 1, 1].into()));
    config.passive = true;
    config
}

fn named(address: &str) -> PeerConfig {
    config(address, Remote::Address(addr(address)))
}

fn range(prefix: &str, max_peers: u32) -> PeerConfig {
    let prefix = prefix.parse().unwrap();
    config("range", Remote::Range { prefix, max_peers })
}

struct Host {
    now: Instant,
    sessions: Sessions,
}

impl Host {
    fn new(peers: &[(u32, PeerConfig)]) -> Host {
        let mut host = Host {
            now: Instant::ZERO,
            sessions: Sessions::new(Seeds::default()),
        };
        for (id, config) in peers {
            assert_eq!(host.set(*id, config.clone()), None);
        }
        host
    }

    fn set(&mut self, id: u32, config: PeerConfig) -> Option<ConfigError> {
        let command = Command::SetPeer {
            peer: PeerId(id),
            config: Arc::new(config),
        };
        self.sessions.command(self.now, command);
        self.events().into_iter().find_map(|event| match event {
            SessionEvent::ConfigRefused { error, .. } => Some(error),
            _ => None,
        })
    }

    fn accept(&mut self, remote: &str) -> Result<(PeerId, ConnId), RefusedWhy> {
        let accepted = self
            .sessions
            .accept(self.now, addr("10.0.0.1"), addr(remote));
        accepted.map_err(|refusal| refusal.why)
    }

    fn bytes(&mut self, (peer, conn): (PeerId, ConnId), bytes: &[u8]) {
        self.sessions
            .on(self.now, peer, Input::Bytes { conn, bytes });
    }

    /// A session from this address comes up.
    fn up(&mut self, remote: &str) -> (PeerId, ConnId) {
        let id = self.accept(remote).unwrap();
        let mut open = Open::new(Asn(64512), 90, RouterId([2, 2, 2, 2].into()));
        open.capabilities.push(Capability::FourOctetAs(Asn(64512)));
        let mut bytes = Vec::new();
        open.encode(&mut bytes);
        bytes.extend_from_slice(&KEEPALIVE);
        self.bytes(id, &bytes);
        id
    }

    fn events(&mut self) -> Vec<SessionEvent> {
        let mut events = Vec::new();
        while let Some((_, action)) = self.sessions.poll_action() {
            if let Action::Event(event) = action {
                events.push(event);
            }
        }
        events
    }

    fn names(&mut self) -> Vec<String> {
        let events = self.events();
        let told = events
            .iter()
            .filter(|e| !matches!(e, SessionEvent::State { .. }));
        told.map(|event| {
            let text = format!("{event:?}");
            text.split(' ').next().unwrap_or_default().to_owned()
        })
        .collect()
    }

    fn run_until(&mut self, end: Instant) {
        while let Some(next) = self.sessions.next_deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.sessions.on_deadline(self.now);
        }
        self.now = end;
    }
}

#[test]
fn an_exact_address_comes_before_ranges_and_a_longer_range_before_a_shorter() {
    let mut host = Host::new(&[
        (1, range("10.0.0.0/8", 9)),
        (2, range("10.1.0.0/16", 9)),
        (3, named("10.1.2.3")),
    ]);
    assert_eq!(host.accept("10.1.2.3").unwrap().0, PeerId(3));
    let (in_longer, _) = host.up("10.1.2.4");
    let (in_shorter, _) = host.up("10.2.2.4");
    let origins: Vec<_> = host
        .events()
        .into_iter()
        .filter_map(|event| match event {
            SessionEvent::DynamicPeer { peer, range, .. } => Some((peer, range)),
            _ => None,
        })
        .collect();
    assert_eq!(origins, [(in_longer, PeerId(2)), (in_shorter, PeerId(1))]);
    assert_eq!(host.accept("11.0.0.1"), Err(RefusedWhy::UnknownSource));
    assert_eq!(host.sessions.refused().unknown_source, 1);
}

#[test]
fn an_ipv4_peer_on_a_dual_stack_socket_is_known_by_its_ipv4_address() {
    let mut host = Host::new(&[(3, named("10.1.2.3"))]);
    assert_eq!(host.accept("::ffff:10.1.2.3").unwrap().0, PeerId(3));
}

#[test]
fn a_peer_from_a_range_is_told_when_it_is_up_and_forgotten_after_it_stayed_away() {
    let mut host = Host::new(&[(1, range("10.0.0.0/8", 9))]);
    let (peer, conn) = host.up("10.1.2.4");
    assert_eq!(host.names(), ["DynamicPeer", "Up"]);
    let error = TransportError::Reset;
    host.sessions
        .on(host.now, peer, Input::Closed { conn, error });
    assert_eq!(host.names(), ["Down"]);
    host.run_until(at(30));
    assert_eq!(host.up("10.1.2.4").0, peer, "it keeps its name");
    host.events();
    let (_, conn) = (peer, ConnId(2));
    host.sessions
        .on(host.now, peer, Input::Closed { conn, error });
    host.run_until(at(89));
    assert_eq!(host.names(), ["Down"]);
    host.run_until(at(91));
    assert_eq!(host.names(), ["DynamicPeerGone"]);
    assert_ne!(host.up("10.1.2.4").0, peer);
}

#[test]
fn garbage_from_a_range_leaves_nothing_behind_and_the_core_never_hears_of_it() {
    let mut host = Host::new(&[(1, range("10.0.0.0/8", 2))]);
    for number in 0..1000 {
        let id = host
            .accept(&format!("10.0.{}.{}", number / 250, number % 250))
            .unwrap();
        assert_eq!(
            id.0,
            PeerId(DYNAMIC_PEERS),
            "ids that nobody heard of are used again"
        );
        host.bytes(id, &[0; 30]);
        assert!(host.names().is_empty());
    }
    assert_eq!(host.sessions.snapshots().len(), 1);
}

#[test]
fn a_full_range_refuses_and_takes_again_once_there_is_room() {
    let mut host = Host::new(&[(1, range("10.0.0.0/8", 2))]);
    let (first, conn) = host.accept("10.0.0.2").unwrap();
    host.up("10.0.0.3");
    assert_eq!(host.accept("10.0.0.4"), Err(RefusedWhy::RangeFull));
    let error = TransportError::Eof;
    host.sessions
        .on(host.now, first, Input::Closed { conn, error });
    assert!(host.accept("10.0.0.4").is_ok());
}

#[test]
fn a_third_connection_without_an_open_is_refused() {
    let mut host = Host::new(&[(3, named("10.1.2.3"))]);
    assert!(host.accept("10.1.2.3").is_ok());
    assert!(host.accept("10.1.2.3").is_ok());
    assert_eq!(host.accept("10.1.2.3"), Err(RefusedWhy::TooManyConnections));
    // Those that bring no OPEN make room again.
    host.run_until(at(16));
    assert!(host.accept("10.1.2.3").is_ok());
}

#[test]
fn removing_a_range_removes_the_peers_that_came_from_it() {
    let mut host = Host::new(&[(1, range("10.0.0.0/8", 9))]);
    host.up("10.0.0.2");
    host.events();
    host.sessions
        .command(host.now, Command::RemovePeer { peer: PeerId(1) });
    assert_eq!(host.names(), ["Down", "DynamicPeerGone"]);
    assert_eq!(host.accept("10.0.0.2"), Err(RefusedWhy::UnknownSource));
    assert!(host.sessions.snapshots().is_empty());
}

#[test]
fn a_peer_that_takes_an_id_again_has_connections_of_other_names() {
    let mut host = Host::new(&[(1, named("10.0.0.2"))]);
    let (_, before) = host.up("10.0.0.2");
    host.sessions
        .command(host.now, Command::RemovePeer { peer: PeerId(1) });
    host.set(1, named("10.0.0.2"));
    assert!(host.up("10.0.0.2").1 > before);
}

#[test]
fn a_smaller_range_removes_only_the_peers_outside_of_it() {
    let mut host = Host::new(&[(1, range("10.0.0.0/8", 9))]);
    let (inside, _) = host.up("10.1.0.2");
    let (outside, _) = host.up("10.2.0.2");
    host.events();
    assert_eq!(host.set(1, range("10.1.0.0/16", 9)), None);
    let all = host.sessions.snapshots();
    assert!(
        all.iter()
            .any(|p| p.peer == inside && p.state == FsmState::Established)
    );
    assert!(all.iter().all(|p| p.peer != outside));
}

#[test]
fn a_named_peer_takes_over_the_address_of_one_from_a_range() {
    let mut host = Host::new(&[(1, range("10.0.0.0/8", 9))]);
    host.up("10.0.0.2");
    host.events();
    let command = Command::SetPeer {
        peer: PeerId(2),
        config: Arc::new(named("10.0.0.2")),
    };
    host.sessions.command(host.now, command);
    assert_eq!(host.names(), ["Down", "DynamicPeerGone"]);
    assert_eq!(host.accept("10.0.0.2").unwrap().0, PeerId(2));
}

#[test]
fn two_peers_cannot_have_one_address_and_the_first_keeps_it() {
    let mut host = Host::new(&[(1, named("10.0.0.2")), (2, named("10.0.0.3"))]);
    let taken = host.set(2, named("10.0.0.2"));
    assert!(matches!(taken, Some(ConfigError::AddressTaken { .. })));
    assert_eq!(host.accept("10.0.0.2").unwrap().0, PeerId(1));
    assert_eq!(host.accept("10.0.0.3").unwrap().0, PeerId(2));
    // An address given up can be taken.
    assert_eq!(host.set(1, named("10.0.0.9")), None);
    assert_eq!(host.set(2, named("10.0.0.2")), None);
    assert_eq!(host.accept("10.0.0.2").unwrap().0, PeerId(2));
}

#[test]
fn a_refused_configuration_leaves_the_one_before() {
    let mut host = Host::new(&[(1, named("10.0.0.2"))]);
    host.up("10.0.0.2");
    host.events();
    let mut bad = named("10.0.0.2");
    bad.timers.hold_time_secs = 2;
    assert_eq!(host.set(1, bad), Some(ConfigError::HoldTime(2)));
    let state = host.sessions.snapshots()[0].state;
    assert_eq!(state, FsmState::Established);
}

#[test]
fn deadlines_of_thousands_of_peers_each_come_in_their_time() {
    let mut host = Host::new(&[]);
    for number in 0..2000_u32 {
        let mut config = named(&format!("10.0.{}.{}", number / 250, number % 250 + 1));
        config.timers.hold_time_secs = 3 + (number % 50) as u16;
        config.remote_asn = RemoteAsn::Internal;
        host.set(number, config);
        host.up(&format!("10.0.{}.{}", number / 250, number % 250 + 1));
    }
    host.events();
    for secs in 1..60 {
        host.run_until(at(secs));
        let downs = host
            .names()
            .into_iter()
            .filter(|name| name == "Down")
            .count();
        let expected = if (3..53).contains(&secs) { 40 } else { 0 };
        assert_eq!(downs, expected, "after {secs} s");
    }
}

#[test]
fn a_deadline_that_is_put_off_wakes_no_more_often_than_it_is_put_off() {
    let mut host = Host::new(&[(1, named("10.0.0.2"))]);
    let (peer, conn) = host.up("10.0.0.2");
    let mut wakeups = 0;
    for tenth in 0..3000_u32 {
        let end = Instant::ZERO + SECOND / 10 * tenth;
        while let Some(next) = host.sessions.next_deadline().filter(|next| *next <= end) {
            host.now = host.now.max(next);
            host.sessions.on_deadline(host.now);
            wakeups += 1;
        }
        host.now = end;
        host.bytes((peer, conn), &KEEPALIVE);
    }
    // A KEEPALIVE every 22 to 30 s is 10 to 14 wakeups in 300 s; the rest are looks at a hold timer that was put off.
    assert!(wakeups < 25, "{wakeups} wakeups");
    assert_eq!(host.sessions.snapshots()[0].state, FsmState::Established);
}

#[test]
fn neighbours_of_one_link_local_address_are_told_apart_by_their_links() {
    let on = |interface| {
        let far = "fe80::2".parse().unwrap();
        SocketAddr::V6(std::net::SocketAddrV6::new(far, 179, 0, interface))
    };
    let named = |interface| config("far", Remote::Address(on(interface)));
    let mut host = Host::new(&[(1, named(5)), (2, named(6))]);
    let local = addr("fe80::1");
    let mut accept = |interface| {
        let accepted = host.sessions.accept(host.now, local, on(interface));
        accepted
            .map(|(peer, _)| peer)
            .map_err(|refusal| refusal.why)
    };
    assert_eq!(accept(5), Ok(PeerId(1)));
    assert_eq!(accept(6), Ok(PeerId(2)));
    assert_eq!(accept(7), Err(RefusedWhy::UnknownSource));
    // One that is found on another link leaves its place to whoever comes.
    assert_eq!(host.set(1, named(7)), None);
    assert_eq!(host.set(3, named(5)), None);
    assert!(matches!(
        host.set(4, named(6)),
        Some(ConfigError::AddressTaken { .. })
    ));
}

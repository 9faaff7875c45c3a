//! Octets as what comes over a peer's connections: an entry point for a fuzzer, and a test that runs it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_bgp::policy::Role;
use dunlin_bgp::session::{
    Action, AddPath, ConnId, GracefulRestart, Input, Peer, PeerConfig, Remote, RemoteAsn, Seeds,
    SessionEvent, TransportError,
};
use dunlin_bgp::wire::{KEEPALIVE, Limits, MessageType, Notification, Open, frame};
use dunlin_net::{Afi, Asn, Instant, PeerId, PerFamily, RouterId};

/// The most connections of a peer: two that it made and that are no session yet, ours, and the session's.
const CONNECTIONS: usize = 4;

/// A peer, and what its transport knows.
struct Bench {
    peer: Peer,
    now: Instant,
    dialled: BTreeSet<ConnId>,
    open: Vec<ConnId>,
    up: Option<ConnId>,
    local: SocketAddr,
    remote: SocketAddr,
}

/// One of several peers, by the bits of `how`.
fn config(how: u8, remote: SocketAddr) -> PeerConfig {
    let id = RouterId([192, 0, 2, 2].into());
    let mut config = PeerConfig::new("peer", Remote::Address(remote), Asn(64_512), id);
    config.remote_asn = match how & 3 {
        0 => RemoteAsn::Internal,
        1 => RemoteAsn::External,
        _ => RemoteAsn::Exact(Asn(65_001)),
    };
    if how & 4 != 0 {
        let both = AddPath {
            send: true,
            receive: true,
        };
        config.add_path = PerFamily { v4: both, v6: both };
        config.capabilities.extended_next_hop = true;
    }
    if how & 8 != 0 {
        config.graceful_restart = Some(GracefulRestart {
            long_lived_stale_secs: 600,
            ..GracefulRestart::default()
        });
    }
    if how & 16 != 0 && how & 3 != 0 {
        config.role = Some(Role::Customer);
        config.strict_role = how & 32 != 0;
    }
    config.passive = how & 64 != 0;
    config.families.v6 = how & 128 == 0;
    assert_eq!(config.check(), Ok(()));
    config
}

impl Bench {
    fn new(how: u8) -> Bench {
        let remote = SocketAddr::from(([192, 0, 2, 1], 179));
        let config = Arc::new(config(how, remote));
        let now = Instant::ZERO;
        let mut bench = Bench {
            peer: Peer::new(now, PeerId(1), config, Seeds::default()),
            now,
            dialled: BTreeSet::new(),
            open: Vec::new(),
            up: None,
            local: SocketAddr::from(([192, 0, 2, 2], 40_000)),
            remote,
        };
        bench.poll();
        bench
    }

    fn on(&mut self, input: Input<'_>) {
        self.peer.on(self.now, input);
        self.poll();
    }

    /// Does what the session wants, and looks whether it may want that.
    fn poll(&mut self) {
        while let Some(action) = self.peer.poll_action() {
            match action {
                Action::Dial { conn, .. } => assert!(self.dialled.insert(conn)),
                Action::Write { conn, bytes, .. } => {
                    assert!(self.open.contains(&conn), "written to none");
                    check_messages(&bytes);
                }
                Action::Close { conn, notification } => {
                    self.open.retain(|open| *open != conn);
                    self.dialled.remove(&conn);
                    if let Some(octets) = notification {
                        check_messages(&octets);
                    }
                }
                Action::Retune { .. } => {}
                Action::Event(event) => self.event(event),
            }
        }
        assert!(self.open.len() + self.dialled.len() <= CONNECTIONS);
    }

    fn event(&mut self, event: SessionEvent) {
        assert!(event.weight() > 0);
        match event {
            SessionEvent::Up { conn, .. } => {
                assert_eq!(self.up.replace(conn), None, "up twice");
                assert!(self.open.contains(&conn));
            }
            SessionEvent::Down { conn, reason, .. } => {
                assert_eq!(self.up.take(), Some(conn), "down without up");
                assert!(!reason.to_string().is_empty());
            }
            SessionEvent::Routes { conn, .. }
            | SessionEvent::RefreshRequested { conn, .. }
            | SessionEvent::RefreshBegins { conn, .. }
            | SessionEvent::RefreshEnds { conn, .. }
            | SessionEvent::Drained { conn, .. } => assert_eq!(self.up, Some(conn)),
            SessionEvent::State { reason, .. } => {
                assert!(reason.is_none_or(|reason| !reason.to_string().is_empty()));
            }
            SessionEvent::DynamicPeer { .. }
            | SessionEvent::DynamicPeerGone { .. }
            | SessionEvent::ConfigRefused { .. } => panic!("{event:?}"),
        }
    }

    /// The peer dials us.
    fn accept(&mut self) {
        let remote = SocketAddr::new(self.remote.ip(), 50_000);
        if let Ok(conn) = self.peer.accept(self.now, self.local, remote) {
            self.open.push(conn);
        }
        self.poll();
    }

    /// Our dials come to something, or not.
    fn answer(&mut self, connected: bool) {
        for conn in std::mem::take(&mut self.dialled) {
            let (local, remote) = (self.local, self.remote);
            if connected {
                self.open.push(conn);
                self.on(Input::Connected {
                    conn,
                    local,
                    remote,
                });
            } else {
                let error = TransportError::Refused;
                self.on(Input::DialFailed { conn, error });
            }
        }
    }

    fn deadline(&mut self) {
        self.on(Input::Deadline);
        let next = self.peer.next_deadline();
        assert!(next.is_none_or(|at| at > self.now), "it would spin");
    }
}

/// What is written is whole messages that the peer can read.
fn check_messages(mut bytes: &[u8]) {
    let limits = Limits {
        extended_message: true,
        enhanced_refresh: true,
    };
    assert!(!bytes.is_empty());
    while !bytes.is_empty() {
        let message = frame(bytes, limits).expect("our header is right");
        let message = message.expect("a whole message");
        match message.kind {
            MessageType::Open => assert!(Open::parse(message.body).is_ok()),
            MessageType::Notification => assert!(Notification::parse(message.body).is_ok()),
            _ => {}
        }
        bytes = &bytes[message.wire_len()..];
    }
}

/// Reads `data` as the peer (one octet), then a list of: what happens (one octet), time that passes (one octet, in units of
/// 250 ms), length (one octet), octets of that length.
pub fn fuzz_session(data: &[u8]) {
    let Some((how, mut rest)) = data.split_first() else {
        return;
    };
    let mut bench = Bench::new(*how);
    while let [what, time, length, more @ ..] = rest {
        let length = usize::from(*length).min(more.len());
        let (payload, after) = more.split_at(length);
        rest = after;
        bench.now = bench.now + Duration::from_millis(u64::from(*time) * 250);
        bench.deadline();
        let at = usize::from(what >> 5);
        let conn = bench.open.get(at % bench.open.len().max(1)).copied();
        match (what & 15, conn) {
            (0, _) => bench.accept(),
            (1, _) => bench.answer(true),
            (2, _) => bench.answer(false),
            (3, Some(conn)) => {
                bench.open.retain(|open| *open != conn);
                let error = TransportError::Eof;
                bench.on(Input::Closed { conn, error });
            }
            (4, Some(conn)) => {
                let paused = what & 16 != 0;
                bench.on(Input::ReadPaused { conn, paused });
            }
            (5, Some(conn)) => {
                let pending = what & 16 != 0;
                bench.on(Input::Written { conn, pending });
            }
            (6, Some(conn)) if bench.up == Some(conn) => {
                let afi = Afi::Ipv4;
                bench.on(Input::RequestRefresh { conn, afi });
            }
            (7, Some(conn)) if bench.up == Some(conn) => {
                let bytes = Bytes::from_static(&KEEPALIVE);
                let messages = 1;
                bench.on(Input::Send {
                    conn,
                    bytes,
                    messages,
                });
            }
            (8..=11, Some(conn)) => bench.on(Input::Bytes {
                conn,
                bytes: payload,
            }),
            // A message, whose header few inputs would guess: its type, and its body.
            (12.., Some(conn)) => {
                let bytes = message(payload);
                bench.on(Input::Bytes {
                    conn,
                    bytes: &bytes,
                });
            }
            _ => {}
        }
    }
}

fn message(payload: &[u8]) -> Vec<u8> {
    let len = 18 + payload.len().max(1) as u16;
    let mut bytes = [&[0xff; 16][..], &len.to_be_bytes()].concat();
    bytes.extend(payload);
    if payload.is_empty() {
        bytes.push(4);
    }
    bytes
}

/// A record of what happens.
fn record(what: u8, time: u8, payload: &[u8]) -> Vec<u8> {
    [&[what, time, payload.len() as u8], payload].concat()
}

/// The OPEN of AS 65001, or of 64512, with all that is agreed on by capabilities; its type first.
fn open(asn: u16) -> Vec<u8> {
    let [high, low] = asn.to_be_bytes();
    let capabilities = [
        &[1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 2, 0, 6, 0, 70, 0][..],
        &[64, 10, 0x40, 120, 0, 1, 1, 0x80, 0, 2, 1, 0x80],
        &[
            71, 14, 0, 1, 1, 0x80, 0, 0, 60, 0, 2, 1, 0x80, 0, 0, 60, 9, 1, 0,
        ],
        &[65, 4, 0, 0, high, low, 69, 8, 0, 1, 1, 3, 0, 2, 1, 3],
    ]
    .concat();
    let len = capabilities.len() as u8;
    let fixed = [1, 4, high, low, 0, 9, 192, 0, 2, 1, len + 2, 2, len];
    [&fixed[..], &capabilities].concat()
}

/// A session that comes up, hears a route, its withdrawal, a refresh and the end.
fn story(how: u8, asn: u16, accepted: bool) -> Vec<u8> {
    let update = [
        &[2, 0, 0, 0, 20, 0x40, 1, 1, 0][..],
        &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9],
        &[0x40, 3, 4, 192, 0, 2, 1, 24, 10, 1, 2],
    ]
    .concat();
    [
        vec![how],
        record(u8::from(!accepted), 0, &[]),
        record(12, 1, &open(asn)),
        record(12, 1, &[4]),
        record(12, 1, &update),
        record(12, 1, &[2, 0, 0, 0, 0]),
        record(12, 1, &[2, 0, 4, 24, 10, 1, 2, 0, 0]),
        record(12, 1, &[5, 0, 1, 0, 1]),
        record(0, 1, &[]),
        record(44, 1, &open(asn)),
        record(12, 20, &[4]),
        record(12, 1, &[3, 6, 2, 3, b'b', b'y', b'e']),
    ]
    .concat()
}

#[test]
fn nothing_that_comes_upsets_a_session() {
    let mut chance = dunlin_net::Chance::new(7);
    for how in 0..=255 {
        for (asn, accepted) in [
            (64_512, true),
            (64_512, false),
            (65_001, true),
            (65_001, false),
        ] {
            let good = story(how, asn, accepted);
            fuzz_session(&good);
            for _ in 0..20 {
                let mut bad = good.clone();
                for _ in 0..=chance.below(4) {
                    let at = chance.below(bad.len() as u64) as usize;
                    match chance.below(3) {
                        0 => bad[at] = chance.draw() as u8,
                        1 => bad[at] ^= 1 << chance.below(8),
                        _ => drop(bad.remove(at)),
                    }
                }
                fuzz_session(&bad);
            }
        }
    }
}

#[test]
fn the_stories_themselves_bring_sessions_up() {
    let ups = |how, asn| {
        let mut bench = Bench::new(how);
        bench.accept();
        let conn = bench.open[0];
        for payload in [open(asn), vec![4]] {
            let bytes = message(&payload);
            bench.on(Input::Bytes {
                conn,
                bytes: &bytes,
            });
        }
        bench.up.is_some()
    };
    assert!(ups(0, 64_512) && ups(1, 65_001) && ups(2 | 4 | 8 | 16, 65_001));
    assert!(!ups(0, 65_001));
}

//! One peer under test, and the bytes that the other side would send.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dunlin_net::{Afi, Asn, Instant, PeerId, RouterId};

use crate::session::*;
use crate::wire::{
    AfiSafi, Capability, KEEPALIVE, Limits, MessageType, Notification, Open, RefreshSubtype,
    RouteRefresh, UpdateWriter, frame,
};

pub(super) const US: Asn = Asn(64512);
pub(super) const OUR_ID: RouterId = RouterId(Ipv4Addr::new(1, 1, 1, 1));
pub(super) const THEIR_ID: RouterId = RouterId(Ipv4Addr::new(2, 2, 2, 2));

pub(super) fn ours() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, 0, 0, 1).into(), 179)
}

pub(super) fn theirs() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, 0, 0, 2).into(), 179)
}

pub(super) fn config() -> PeerConfig {
    PeerConfig::new("peer", Remote::Address(theirs()), US, OUR_ID)
}

/// What the peer under test did to its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Did {
    Dial(ConnId),
    Sent(ConnId, MessageType),
    Closed(ConnId, Option<Notification>),
    Retuned(ConnId),
    Up(ConnId),
    Down(ConnId, bool),
    Routes(ConnId),
    Refresh(ConnId, Afi),
    /// A mark of RFC 7313; whether it is the first.
    Mark(ConnId, Afi, bool),
    State(FsmState),
}

pub(super) struct Bench {
    pub(super) now: Instant,
    pub(super) peer: Peer,
}

impl Bench {
    pub(super) fn new(config: PeerConfig) -> Bench {
        let seeds = Seeds {
            chance: 5,
            attr_hash: 6,
        };
        Bench {
            now: Instant::ZERO,
            peer: Peer::new(Instant::ZERO, PeerId(3), Arc::new(config), seeds),
        }
    }

    /// A passive peer with one connection accepted.
    pub(super) fn accepted(mut config: PeerConfig) -> (Bench, ConnId) {
        config.passive = true;
        let mut bench = Bench::new(config);
        let conn = bench.accept();
        (bench, conn)
    }

    pub(super) fn accept(&mut self) -> ConnId {
        self.peer.accept(self.now, ours(), theirs()).unwrap()
    }

    /// A passive peer with one Established connection.
    pub(super) fn established(config: PeerConfig) -> (Bench, ConnId) {
        let (mut bench, conn) = Bench::accepted(config);
        bench.bytes(conn, &encoded(&open()));
        bench.bytes(conn, &KEEPALIVE);
        assert_eq!(bench.peer.state().0, FsmState::Established);
        bench.did();
        (bench, conn)
    }

    pub(super) fn on(&mut self, input: Input<'_>) {
        self.peer.on(self.now, input);
    }

    pub(super) fn bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        self.on(Input::Bytes { conn, bytes });
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.on(Input::Deadline);
    }

    pub(super) fn did(&mut self) -> Vec<Did> {
        let mut did = Vec::new();
        while let Some(action) = self.peer.poll_action() {
            match action {
                Action::Dial { conn, .. } => did.push(Did::Dial(conn)),
                Action::Write { conn, bytes, .. } => {
                    did.extend(kinds(&bytes).into_iter().map(|kind| Did::Sent(conn, kind)));
                }
                Action::Close { conn, notification } => {
                    did.push(Did::Closed(conn, notification.map(|bytes| parsed(&bytes))));
                }
                Action::Retune { conn } => did.push(Did::Retuned(conn)),
                Action::Event(event) => did.extend(seen(event)),
            }
        }
        did
    }

    /// The NOTIFICATION with which the connection was closed.
    pub(super) fn closed_with(&mut self, conn: ConnId) -> Option<Notification> {
        let mut closed = self.did().into_iter().filter_map(|did| match did {
            Did::Closed(closed, notification) if closed == conn => Some(notification),
            _ => None,
        });
        closed.next().expect("the connection was closed")
    }
}

fn seen(event: SessionEvent) -> Option<Did> {
    Some(match event {
        SessionEvent::Up { conn, .. } => Did::Up(conn),
        SessionEvent::Down { conn, stale, .. } => Did::Down(conn, stale.is_some()),
        SessionEvent::Routes { conn, .. } => Did::Routes(conn),
        SessionEvent::RefreshRequested { conn, afi, .. } => Did::Refresh(conn, afi),
        SessionEvent::RefreshBegins { conn, afi, .. } => Did::Mark(conn, afi, true),
        SessionEvent::RefreshEnds { conn, afi, .. } => Did::Mark(conn, afi, false),
        SessionEvent::State { state, .. } => Did::State(state),
        _ => return None,
    })
}

fn kinds(mut bytes: &[u8]) -> Vec<MessageType> {
    let limits = Limits {
        extended_message: true,
        ..Limits::default()
    };
    let mut kinds = Vec::new();
    while let Some(message) = frame(bytes, limits).expect("we send good messages") {
        kinds.push(message.kind);
        bytes = &bytes[message.wire_len()..];
    }
    assert!(bytes.is_empty(), "we send whole messages");
    kinds
}

fn parsed(bytes: &[u8]) -> Notification {
    let message = frame(bytes, Limits::default()).unwrap().unwrap();
    assert_eq!(message.kind, MessageType::Notification);
    Notification::parse(message.body).unwrap()
}

/// A good OPEN of the other side.
pub(super) fn open() -> Open {
    let mut open = Open::new(US, 90, THEIR_ID);
    open.capabilities = vec![
        Capability::Multiprotocol(AfiSafi::unicast(Afi::Ipv4)),
        Capability::Multiprotocol(AfiSafi::unicast(Afi::Ipv6)),
        Capability::RouteRefresh,
        Capability::FourOctetAs(US),
    ];
    open
}

pub(super) fn encoded(open: &Open) -> Vec<u8> {
    let mut bytes = Vec::new();
    open.encode(&mut bytes);
    bytes
}

pub(super) fn notification(code: u8, subcode: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    Notification::new(code, subcode).encode(&mut bytes);
    bytes
}

pub(super) fn end_of_rib() -> Vec<u8> {
    let mut bytes = Vec::new();
    UpdateWriter::end_of_rib(Afi::Ipv4, &mut bytes);
    bytes
}

pub(super) fn refresh(family: AfiSafi) -> Vec<u8> {
    let mut bytes = Vec::new();
    RouteRefresh {
        family,
        subtype: RefreshSubtype::Request,
    }
    .encode(&mut bytes);
    bytes
}

/// A header with these fields, and zeros to its length.
pub(super) fn raw(len: u16, kind: u8) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.push(kind);
    bytes.resize(usize::from(len).max(19), 0);
    bytes
}

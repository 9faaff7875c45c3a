//! Two peers, a clock and a network that obeys the test.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dunlin_net::{Asn, Instant, PeerId, RouterId};

use crate::session::*;

/// What is under way on a link, in order of each direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Packet {
    Syn,
    SynAck,
    Bytes(Vec<u8>),
    Fin,
}

/// A TCP connection between the two sides, each known there by its `ConnId` once it exists there.
#[derive(Clone, Debug)]
struct Link {
    dialled_by: usize,
    names: [Option<ConnId>; 2],
    /// By sender.
    flight: [VecDeque<(Instant, Packet)>; 2],
}

pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) peers: [Peer; 2],
    pub(super) events: [Vec<SessionEvent>; 2],
    pub(super) delay: Duration,
    /// Packets vanish.
    pub(super) cut: bool,
    links: Vec<Link>,
}

pub(super) fn addr(side: usize) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, 0, 0, side as u8 + 1).into(), 179)
}

pub(super) fn config(side: usize) -> PeerConfig {
    let mut config = PeerConfig::new(
        ["left", "right"][1 - side],
        Remote::Address(addr(1 - side)),
        Asn(64512),
        RouterId(Ipv4Addr::new(1, 1, 1, side as u8 + 1)),
    );
    config.timers.hold_time_secs = 9;
    config.timers.keepalive_time_secs = 3;
    config
}

pub(super) fn with_restart(mut config: PeerConfig, notification: bool) -> PeerConfig {
    config.graceful_restart = Some(GracefulRestart {
        notification,
        ..GracefulRestart::default()
    });
    config
}

impl Net {
    pub(super) fn new(configs: [PeerConfig; 2]) -> Net {
        let [left, right] = configs;
        let seeds = |chance| Seeds {
            chance,
            attr_hash: 7,
        };
        let mut net = Net {
            now: Instant::ZERO,
            peers: [
                Peer::new(Instant::ZERO, PeerId(0), Arc::new(left), seeds(1)),
                Peer::new(Instant::ZERO, PeerId(1), Arc::new(right), seeds(2)),
            ],
            events: [Vec::new(), Vec::new()],
            delay: Duration::from_millis(1),
            cut: false,
            links: Vec::new(),
        };
        net.obey(0);
        net.obey(1);
        net
    }

    /// A peer process dies without a word and another takes its place.
    pub(super) fn replace(&mut self, side: usize, config: PeerConfig) {
        for link in &mut self.links {
            link.names[side] = None;
        }
        let seeds = Seeds {
            chance: 99,
            attr_hash: 7,
        };
        self.peers[side] = Peer::new(self.now, PeerId(side as u32), Arc::new(config), seeds);
        self.obey(side);
    }

    pub(super) fn on(&mut self, side: usize, input: Input<'_>) {
        self.peers[side].on(self.now, input);
        self.obey(side);
    }

    fn obey(&mut self, side: usize) {
        while let Some(action) = self.peers[side].poll_action() {
            match action {
                Action::Dial { conn, .. } => {
                    let mut link = Link {
                        dialled_by: side,
                        names: [None; 2],
                        flight: Default::default(),
                    };
                    link.names[side] = Some(conn);
                    self.links.push(link);
                    let link = self.links.len() - 1;
                    self.send(side, link, Packet::Syn);
                }
                Action::Write { conn, bytes, .. } => {
                    if let Some(link) = self.link(side, conn) {
                        self.send(side, link, Packet::Bytes(bytes.to_vec()));
                    }
                }
                Action::Close { conn, notification } => {
                    if let Some(link) = self.link(side, conn) {
                        if let Some(bytes) = notification {
                            self.send(side, link, Packet::Bytes(bytes));
                        }
                        self.send(side, link, Packet::Fin);
                        self.links[link].names[side] = None;
                    }
                }
                Action::Retune { .. } => {}
                Action::Event(event) => self.events[side].push(event),
            }
        }
    }

    fn link(&self, side: usize, conn: ConnId) -> Option<usize> {
        self.links
            .iter()
            .position(|link| link.names[side] == Some(conn))
    }

    fn send(&mut self, side: usize, link: usize, packet: Packet) {
        if !self.cut {
            let at = self.now + self.delay;
            self.links[link].flight[side].push_back((at, packet));
        }
    }

    /// The packets that may be delivered next, as (link, sender).
    pub(super) fn deliverable(&self) -> Vec<(usize, usize)> {
        let each = self.links.iter().enumerate();
        each.flat_map(|(index, link)| {
            (0..2)
                .filter(|sender| !link.flight[*sender].is_empty())
                .map(move |sender| (index, sender))
        })
        .collect()
    }

    pub(super) fn deliver(&mut self, (link, sender): (usize, usize)) {
        let Some((_, packet)) = self.links[link].flight[sender].pop_front() else {
            return;
        };
        let receiver = 1 - sender;
        let dialler = self.links[link].dialled_by;
        match (packet, self.links[link].names[receiver]) {
            (Packet::Syn, _) => {
                let (local, remote) = (addr(receiver), addr(sender));
                match self.peers[receiver].accept(self.now, local, remote) {
                    Ok(conn) => {
                        self.links[link].names[receiver] = Some(conn);
                        self.send(receiver, link, Packet::SynAck);
                    }
                    Err(_) => {
                        self.send(receiver, link, Packet::SynAck);
                        self.send(receiver, link, Packet::Fin);
                    }
                }
            }
            (Packet::SynAck, Some(conn)) if receiver == dialler => {
                let (local, remote) = (addr(receiver), addr(sender));
                let connected = Input::Connected {
                    conn,
                    local,
                    remote,
                };
                self.peers[receiver].on(self.now, connected);
            }
            (Packet::Bytes(bytes), Some(conn)) => {
                let bytes = Input::Bytes {
                    conn,
                    bytes: &bytes,
                };
                self.peers[receiver].on(self.now, bytes);
            }
            (Packet::Fin, Some(conn)) => {
                let error = TransportError::Eof;
                self.peers[receiver].on(self.now, Input::Closed { conn, error });
                self.links[link].names[receiver] = None;
            }
            (_, _) => {}
        }
        self.obey(receiver);
    }

    /// Runs until nothing is left to happen before `span` is over.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let packet = self
                .deliverable()
                .into_iter()
                .min_by_key(|(link, sender)| self.links[*link].flight[*sender][0].0);
            let packet_at = packet.map(|(link, sender)| self.links[link].flight[sender][0].0);
            let deadlines = self.peers.iter().filter_map(Peer::next_deadline);
            let Some(next) = deadlines.chain(packet_at).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            match packet {
                Some(packet) if packet_at <= Some(next) => self.deliver(packet),
                _ => {
                    for side in 0..2 {
                        if self.peers[side]
                            .next_deadline()
                            .is_some_and(|at| at <= self.now)
                        {
                            self.on(side, Input::Deadline);
                        }
                    }
                }
            }
        }
        self.now = end;
    }

    pub(super) fn is_up(&self) -> bool {
        self.peers.iter().all(|peer| peer.established().is_some())
    }

    /// Both ends of one and the same connection are Established.
    pub(super) fn is_up_on_one_link(&self) -> bool {
        self.links.iter().any(|link| {
            (0..2).all(|side| {
                let up = self.peers[side].established().map(|(conn, _)| conn);
                up.is_some() && link.names[side] == up
            })
        })
    }

    pub(super) fn downs(&self, side: usize) -> Vec<(DownReason, Option<StaleInfo>)> {
        let events = self.events[side].iter();
        events
            .filter_map(|event| match event {
                SessionEvent::Down { reason, stale, .. } => Some((reason.clone(), *stale)),
                _ => None,
            })
            .collect()
    }
}

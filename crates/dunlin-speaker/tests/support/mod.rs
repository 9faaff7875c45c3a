//! Speakers on loopback addresses, and peers made of bare sockets.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod netns;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_bgp::session::{
    Command, ConnId, DownReason, FsmState, PeerConfig, Remote, Seeds, SessionEvent,
};
use dunlin_bgp::wire::{Capability, KEEPALIVE, Limits, MessageType, Notification, Open, frame};
use dunlin_net::{Asn, PeerId, RouterId};
use dunlin_speaker::{Clock, Inbox, InboxSink, Lane, Speaker, SpeakerConfig, SpeakerHandle, inbox};
use socket2::{Domain, Socket, Type};

pub(crate) const AS: Asn = Asn(64512);
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A speaker with an inbox for its events.
pub(crate) struct Node {
    pub(crate) handle: SpeakerHandle,
    pub(crate) inbox: Inbox<SessionEvent>,
    pub(crate) addr: SocketAddr,
    pub(crate) seen: Vec<SessionEvent>,
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn router_id(addr: IpAddr) -> RouterId {
    match addr {
        IpAddr::V4(addr) => RouterId(addr),
        IpAddr::V6(_) => RouterId([6, 6, 6, 6].into()),
    }
}

impl Node {
    pub(crate) fn at(addr: &str) -> Node {
        Node::with(addr, 1, 4 << 20)
    }

    /// A speaker that listens on some port of this address.
    pub(crate) fn with(addr: &str, threads: usize, capacity: usize) -> Node {
        let inbox = inbox();
        let mut config = SpeakerConfig::new(0, Seeds::default(), Clock::start());
        config.listen = vec![SocketAddr::new(ip(addr), 0)];
        config.threads = threads;
        let lane = Lane { capacity };
        let handle = Speaker::spawn(&config, |_| InboxSink::new(&inbox, lane, |event| event))
            .expect("it starts");
        let addr = handle.local_addrs()[0];
        Node {
            handle,
            inbox,
            addr,
            seen: Vec::new(),
        }
    }

    pub(crate) fn config(&self, remote: SocketAddr) -> PeerConfig {
        let id = router_id(self.addr.ip());
        let mut config = PeerConfig::new("peer", Remote::Address(remote), AS, id);
        config.local_address = Some(self.addr.ip());
        config
    }

    pub(crate) fn set(&mut self, peer: u32, config: PeerConfig) {
        self.handle.command(Command::SetPeer {
            peer: PeerId(peer),
            config: Arc::new(config),
        });
    }

    /// Waits for an event that `wanted` makes something of.
    pub(crate) fn wait<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&SessionEvent) -> Option<T>,
    ) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let mut at = 0;
            while at < self.seen.len() {
                let event = self.seen.remove(at);
                if let Some(found) = wanted(&event) {
                    return found;
                }
                self.seen.insert(at, event);
                at += 1;
            }
            let patience = end.saturating_duration_since(Instant::now());
            let mut fresh = Vec::new();
            if !self.inbox.receive(&mut fresh, Some(patience)) {
                panic!("no {what} came; seen: {:#?}", self.seen);
            }
            self.seen.extend(fresh);
        }
    }

    pub(crate) fn wait_up(&mut self, peer: u32) -> ConnId {
        self.wait("Up", |event| match event {
            SessionEvent::Up { peer: up, conn, .. } if up.0 == peer => Some(*conn),
            _ => None,
        })
    }

    pub(crate) fn wait_down(&mut self, peer: u32) -> DownReason {
        self.wait("Down", |event| match event {
            SessionEvent::Down {
                peer: down, reason, ..
            } if down.0 == peer => Some(reason.clone()),
            _ => None,
        })
    }

    pub(crate) fn state(&self, peer: u32) -> FsmState {
        let report = self.handle.report();
        let found = report.peers.iter().find(|found| found.peer.0 == peer);
        found.expect("the peer is there").state
    }

    /// Whether a session has ended so far.
    pub(crate) fn any_down(&mut self) -> bool {
        self.inbox.receive(&mut self.seen, Some(Duration::ZERO));
        self.seen
            .iter()
            .any(|event| matches!(event, SessionEvent::Down { .. }))
    }
}

/// Waits until something holds, looking at it again and again.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A peer made of a bare socket.
pub(crate) struct Bare {
    pub(crate) stream: TcpStream,
    bytes: Vec<u8>,
}

pub(crate) fn dial(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(ip(from), 0).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(crate) fn open_of(id: [u8; 4], hold_time_secs: u16) -> Vec<u8> {
    let mut open = Open::new(AS, hold_time_secs, RouterId(id.into()));
    open.capabilities = vec![Capability::FourOctetAs(AS), Capability::RouteRefresh];
    let mut bytes = Vec::new();
    open.encode(&mut bytes);
    bytes
}

impl Bare {
    pub(crate) fn dial(from: &str, to: SocketAddr) -> Bare {
        Bare {
            stream: dial(from, to).expect("it connects"),
            bytes: Vec::new(),
        }
    }

    pub(crate) fn establish(from: &str, to: SocketAddr, hold_time_secs: u16) -> Bare {
        let mut bare = Bare::dial(from, to);
        bare.send(&open_of([9, 9, 9, 9], hold_time_secs));
        bare.send(&KEEPALIVE);
        assert_eq!(bare.next(), Some(MessageType::Open));
        assert_eq!(bare.next(), Some(MessageType::Keepalive));
        bare
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it is written");
    }

    /// The type of the next message; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<MessageType> {
        self.next_message().map(|(kind, _)| kind)
    }

    pub(crate) fn next_message(&mut self) -> Option<(MessageType, Vec<u8>)> {
        let limits = Limits {
            extended_message: true,
            ..Limits::default()
        };
        loop {
            if let Some(message) = frame(&self.bytes, limits).expect("a good message") {
                let found = (message.kind, message.body.to_vec());
                let len = message.wire_len();
                self.bytes.drain(..len);
                return Some(found);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(error) => panic!("while reading: {error}"),
            }
        }
    }

    /// The NOTIFICATION that comes before the end, skipping what comes before.
    pub(crate) fn last_words(&mut self) -> Option<Notification> {
        while let Some((kind, body)) = self.next_message() {
            if kind == MessageType::Notification {
                assert_eq!(self.next_message(), None, "it is the last");
                return Notification::parse(&body).ok();
            }
        }
        None
    }
}

pub(crate) fn pair(first: &str, second: &str) -> (Node, Node) {
    pair_with(first, second, |_| {})
}

pub(crate) fn pair_with(
    first: &str,
    second: &str,
    change: impl Fn(&mut PeerConfig),
) -> (Node, Node) {
    let (mut left, mut right) = (Node::at(first), Node::at(second));
    let (mut to_right, mut to_left) = (left.config(right.addr), right.config(left.addr));
    change(&mut to_right);
    change(&mut to_left);
    left.set(1, to_right);
    right.set(2, to_left);
    (left, right)
}

//! The BFD thread.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use dunlin_bfd::{
    ConfigError, Datagram, Discriminator, Output, SessionId, Sessions, StateChange, Transmit,
};
use dunlin_net::{Afi, Chance, Instant};
use mio::{Events, Interest, Poll, Token};
use socket2::Socket;

use super::urgency::Urgency;
use super::{BfdCounters, BfdEvent, BfdReport, BfdSession, BfdSink, Message, Port};
use crate::datagram::{self, Batch, Outgoing};
use crate::{Clock, Waker};

pub(super) const WAKER: Token = Token(0);

/// Calls of `recvmmsg` for one socket in one turn.
const BATCHES_A_TURN: usize = 32;

/// Longer than any control packet may say that it is.
const PAYLOAD: usize = 256;

/// How long stopping may take.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Source ports (RFC 5881 4).
const FIRST_PORT: u16 = 49152;
const PORTS: u16 = 16384;

/// Ports tried for one session before it is left to the next packet.
const PORTS_TRIED: u16 = 256;

pub(super) struct Parts {
    pub(super) poll: Poll,
    pub(super) waker: Waker,
    pub(super) clock: Clock,
    pub(super) inbox: Receiver<Message>,
    pub(super) sessions: Sessions,
    pub(super) port_seed: u64,
    pub(super) sink: Box<dyn BfdSink>,
}

struct Listener {
    port: Port,
    socket: mio::net::UdpSocket,
    token: Token,
    /// Whether there may be something to read.
    ready: bool,
    /// As the kernel counts, since the socket was made.
    overruns: u32,
}

#[derive(Default)]
struct Sender {
    socket: Option<(Socket, u16)>,
    errors: u64,
    last_error: Option<i32>,
}

pub(super) struct Worker {
    poll: Poll,
    waker: Waker,
    clock: Clock,
    inbox: Receiver<Message>,
    sessions: Sessions,
    sink: Box<dyn BfdSink>,
    listeners: Vec<Listener>,
    next_token: usize,
    senders: HashMap<Discriminator, Sender>,
    ports: HashSet<u16>,
    chance: Chance,
    batch: Batch<PAYLOAD>,
    /// What the owner had no room for yet.
    changes: BTreeMap<SessionId, StateChange>,
    refused: BTreeMap<SessionId, ConfigError>,
    counters: BfdCounters,
    /// Set once stopping; then the time to be gone.
    stop_at: Option<Instant>,
}

impl Worker {
    pub(super) fn new(parts: Parts) -> Worker {
        Worker {
            poll: parts.poll,
            waker: parts.waker,
            clock: parts.clock,
            inbox: parts.inbox,
            sessions: parts.sessions,
            sink: parts.sink,
            listeners: Vec::new(),
            next_token: WAKER.0 + 1,
            senders: HashMap::new(),
            ports: HashSet::new(),
            chance: Chance::new(parts.port_seed),
            batch: Batch::new(),
            changes: BTreeMap::new(),
            refused: BTreeMap::new(),
            counters: BfdCounters::default(),
            stop_at: None,
        }
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut urgency = Urgency::begin();
        let mut events = Events::with_capacity(16);
        // Commands may have come before the waker could be heard.
        let mut busy = true;
        while !self.is_done() {
            self.wait(&mut events, busy)?;
            self.counters.turns += 1;
            self.waker.awake();
            for event in &events {
                let token = event.token();
                for listener in self.listeners.iter_mut().filter(|l| l.token == token) {
                    listener.ready = true;
                }
            }
            busy = self.take_messages();
            let mut flooded = false;
            for at in 0..self.listeners.len() {
                flooded |= self.read(at);
            }
            urgency.set(!flooded);
            busy |= flooded;
            self.on_deadlines();
            self.act();
            self.tell();
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.stop_at
            .is_some_and(|at| self.sessions.is_empty() || at <= self.clock.now())
    }

    fn wait(&mut self, events: &mut Events, busy: bool) -> io::Result<()> {
        if !busy {
            let deadline = [self.sessions.next_deadline(), self.stop_at];
            let deadline = deadline.into_iter().flatten().min();
            let timeout = deadline.map(|at| self.clock.until(at));
            datagram::wait(self.poll.as_raw_fd(), timeout)?;
        }
        match self.poll.poll(events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            polled => polled,
        }
    }

    fn on_deadlines(&mut self) {
        let now = self.clock.now();
        if let Some(due) = self.sessions.next_deadline() {
            let late = now.since(due);
            self.counters.most_late = self.counters.most_late.max(late);
        }
        self.sessions.on_deadline(now);
    }

    /// Takes commands; whether there may be more.
    fn take_messages(&mut self) -> bool {
        for _ in 0..super::COMMANDS {
            match self.inbox.try_recv() {
                Ok(message) => self.take(message),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => {
                    self.stop();
                    return false;
                }
            }
        }
        true
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Set(session, config) => {
                let now = self.clock.now();
                if let Err(error) = self.sessions.set(now, session, config) {
                    self.refused.insert(session, error);
                }
            }
            Message::Remove(session) => self.sessions.remove(self.clock.now(), session),
            Message::Listen(port, socket) => self.listen(port, socket),
            Message::Report(reply) => {
                self.act();
                // Who asked may have gone.
                let _ = reply.send(self.report());
            }
            Message::Stop => self.stop(),
        }
    }

    fn stop(&mut self) {
        if self.stop_at.is_none() {
            let now = self.clock.now();
            self.sessions.remove_all(now);
            self.stop_at = Some(now + STOP_PATIENCE);
        }
    }

    fn listen(&mut self, port: Port, socket: Option<mio::net::UdpSocket>) {
        self.listeners.retain(|listener| listener.port != port);
        let Some(mut socket) = socket else {
            return;
        };
        let token = Token(self.next_token);
        self.next_token += 1;
        let registered = self
            .poll
            .registry()
            .register(&mut socket, token, Interest::READABLE);
        if let Err(error) = registered {
            tracing::error!(%error, "BFD packets cannot be waited for");
            return;
        }
        self.listeners.push(Listener {
            port,
            socket,
            token,
            ready: true,
            overruns: 0,
        });
    }

    /// Reads from a socket; whether there may be more.
    fn read(&mut self, at: usize) -> bool {
        let Some(listener) = self.listeners.get_mut(at) else {
            return false;
        };
        for _ in 0..BATCHES_A_TURN {
            if !listener.ready {
                return false;
            }
            listener.ready = match self.batch.read(&listener.socket) {
                Ok(more) => more,
                Err(error) => {
                    tracing::debug!(%error, "BFD packets cannot be read");
                    false
                }
            };
            let now = self.clock.now();
            for received in self.batch.datagrams() {
                self.counters.received += 1;
                let lost = received.overruns.wrapping_sub(listener.overruns);
                listener.overruns = received.overruns;
                self.counters.overruns += u64::from(lost);
                let datagram = Datagram {
                    hops: listener.port.hops,
                    from: received.from,
                    to: received.to,
                    interface: received.interface,
                    ttl: received.ttl,
                    payload: received.payload,
                };
                // What is wrong with it is counted there.
                let _ = self.sessions.receive(now, &datagram);
            }
        }
        true
    }

    /// Does what the sessions want done.
    fn act(&mut self) {
        while let Some(output) = self.sessions.poll_output() {
            match output {
                Output::Transmit(transmit) => self.transmit(&transmit),
                Output::Changed(change) => self.note(change),
                Output::Closed(session) => {
                    let sender = self.senders.remove(&session);
                    if let Some((_, port)) = sender.and_then(|sender| sender.socket) {
                        self.ports.remove(&port);
                    }
                }
            }
        }
    }

    fn note(&mut self, change: StateChange) {
        tracing::debug!(session = %change.session, from = %change.from, to = %change.to, cause = %change.cause, "BFD");
        match self.changes.get_mut(&change.session) {
            Some(waiting) => {
                let from = waiting.from;
                *waiting = StateChange { from, ..change };
            }
            None => {
                let event = BfdEvent::Changed(change);
                if self.sink.try_send(event, &self.waker).is_err() {
                    self.changes.insert(change.session, change);
                }
            }
        }
    }

    fn transmit(&mut self, transmit: &Transmit) {
        if let Err(error) = self.try_transmit(transmit) {
            self.counters.send_errors += 1;
            let sender = self.senders.entry(transmit.session).or_default();
            sender.errors += 1;
            sender.last_error = error.raw_os_error();
            tracing::debug!(peer = %transmit.peer, %error, "a BFD packet cannot be sent");
        }
    }

    fn try_transmit(&mut self, transmit: &Transmit) -> io::Result<()> {
        let sender = self.senders.entry(transmit.session).or_default();
        let (socket, _) = match &sender.socket {
            Some(open) => open,
            None => {
                let afi = Afi::of(transmit.peer);
                let open = open(afi, &mut self.ports, &mut self.chance)?;
                sender.socket.insert(open)
            }
        };
        let outgoing = Outgoing {
            to: SocketAddr::new(transmit.peer, transmit.hops.port()),
            local: transmit.local,
            interface: transmit.interface.unwrap_or(0),
            octets: &transmit.octets,
        };
        datagram::send(socket, &outgoing)
    }

    /// Tells the owner what it can take.
    fn tell(&mut self) {
        while let Some((session, error)) = self.refused.pop_first() {
            let event = BfdEvent::Refused { session, error };
            if let Err(BfdEvent::Refused { session, error }) =
                self.sink.try_send(event, &self.waker)
            {
                self.refused.insert(session, error);
                return;
            }
        }
        while let Some((session, change)) = self.changes.pop_first() {
            let event = BfdEvent::Changed(change);
            if self.sink.try_send(event, &self.waker).is_err() {
                self.changes.insert(session, change);
                return;
            }
        }
    }

    fn report(&self) -> BfdReport {
        let with_sockets = |snapshot: dunlin_bfd::SessionSnapshot| {
            let sender = self.senders.get(&snapshot.local_discriminator);
            BfdSession {
                source_port: sender
                    .and_then(|s| s.socket.as_ref())
                    .map(|(_, port)| *port),
                send_errors: sender.map_or(0, |sender| sender.errors),
                last_send_error: sender.and_then(|sender| sender.last_error),
                snapshot,
            }
        };
        let sessions = self.sessions.snapshots().into_iter();
        BfdReport {
            sessions: sessions.map(with_sockets).collect(),
            dropped: *self.sessions.dropped(),
            counters: self.counters,
        }
    }
}

/// A socket at a port that no other session has.
fn open(afi: Afi, ports: &mut HashSet<u16>, chance: &mut Chance) -> io::Result<(Socket, u16)> {
    let start = (chance.draw() % u64::from(PORTS)) as u16; // below 16,384
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for offset in 0..PORTS_TRIED {
        let port = FIRST_PORT + (start + offset) % PORTS;
        if ports.contains(&port) {
            continue;
        }
        match datagram::sender(afi, port) {
            Ok(socket) => {
                ports.insert(port);
                return Ok((socket, port));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

//! One I/O thread.

mod accept;
mod connection;
mod keys;
mod outbox;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use dunlin_bgp::session::{
    Action, Command, ConnId, Input, PeerSnapshot, RefusalCounts, Sessions, Stop, TransportError,
};
use dunlin_net::{Instant, PeerId};
use mio::{Events, Poll, Token};

use self::accept::Acceptor;
pub(crate) use self::accept::Directory;
use self::connection::{Connections, Phase};
use self::keys::Keys;
pub(crate) use self::keys::Listeners;
use self::outbox::Outbox;
use crate::{Clock, EventSink, Waker, socket};

/// The token of the waker; listeners come next, connections from [`FIRST_CONNECTION`] on.
pub(crate) const WAKER: Token = Token(0);
const FIRST_LISTENER: usize = 1;
const FIRST_CONNECTION: usize = 1024;

/// Bytes read at once. One such buffer serves all connections of the thread.
const READ_BUFFER: usize = 256 * 1024;

/// Commands taken in one turn: what is told to thousands of sessions is a command each, and all that one session is told in
/// a turn is one write.
const COMMANDS_A_TURN: usize = 64 * 1024;

/// Octets whose credit is given back at once; less waits until the queue is empty.
const CREDIT_STEP: usize = 64 * 1024;

/// How long an ended connection may take to bring its last words across.
const LINGER: Duration = Duration::from_secs(2);

/// How long stopping may take.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// What a thread is told.
pub(crate) enum Message {
    Command(Command),
    /// The listening thread has accepted a connection for one of this thread's peers.
    Accepted(mio::net::TcpStream, std::net::SocketAddr),
    /// Listen here from now on; only the accepting thread gets sockets, all get them to set keys on.
    Listen(Vec<mio::net::TcpListener>, Arc<Listeners>),
    Report(Sender<WorkerReport>),
    Stop(Stop),
}

/// What a thread tells when asked.
pub(crate) struct WorkerReport {
    pub(crate) peers: Vec<PeerSnapshot>,
    pub(crate) refused: RefusalCounts,
    pub(crate) counters: WorkerCounters,
}

/// What I/O threads count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerCounters {
    /// Connections accepted from the kernel, refused ones included.
    pub accepted: u64,
    /// Accepts that failed, most likely for want of file descriptors.
    pub accept_errors: u64,
    /// Accepted connections dropped because the thread of their peer was too busy.
    pub accept_overruns: u64,
    /// TCP MD5 keys that the kernel refused for a listener.
    pub key_errors: u64,
    /// Times that reading stopped because the core was behind.
    pub read_pauses: u64,
    /// Times that the thread woke up.
    pub turns: u64,
    /// Connections open now, those that linger included.
    pub connections: usize,
}

/// What a thread is made of.
pub(crate) struct Parts {
    pub(crate) poll: Poll,
    pub(crate) waker: Waker,
    pub(crate) clock: Clock,
    pub(crate) inbox: Receiver<Message>,
    pub(crate) sessions: Sessions,
    pub(crate) sink: Box<dyn EventSink>,
    pub(crate) listeners: Arc<Listeners>,
    /// The listening sockets, for the thread that accepts.
    pub(crate) listening: Vec<mio::net::TcpListener>,
    pub(crate) directory: Directory,
}

pub(crate) struct Worker {
    poll: Poll,
    waker: Waker,
    clock: Clock,
    inbox: Receiver<Message>,
    sessions: Sessions,
    outbox: Outbox,
    connections: Connections,
    /// Connections that may be read or written without waiting.
    ready: VecDeque<usize>,
    /// Connections that have got something to write.
    dirty: Vec<usize>,
    /// Connections with bytes to read while the core is behind.
    held: Vec<usize>,
    /// Ended connections and when they are closed at the latest.
    lingering: BTreeSet<(Instant, usize)>,
    acceptor: Acceptor,
    keys: Keys,
    directory: Directory,
    buffer: Box<[u8]>,
    counters: WorkerCounters,
    /// Set once stopping; then the time to be gone.
    stop_at: Option<Instant>,
}

impl Worker {
    pub(crate) fn new(parts: Parts) -> io::Result<Worker> {
        let acceptor = Acceptor::new(parts.listening, parts.poll.registry())?;
        Ok(Worker {
            outbox: Outbox::new(parts.sink, parts.waker.clone()),
            connections: Connections::default(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            held: Vec::new(),
            lingering: BTreeSet::new(),
            acceptor,
            keys: Keys::new(parts.listeners),
            directory: parts.directory,
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            counters: WorkerCounters::default(),
            stop_at: None,
            poll: parts.poll,
            waker: parts.waker,
            clock: parts.clock,
            inbox: parts.inbox,
            sessions: parts.sessions,
        })
    }

    /// Runs until told to stop.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        // Commands may have come before the waker could be heard.
        let mut more_commands = true;
        while !self.is_done() {
            self.wait(&mut events, more_commands)?;
            self.counters.turns += 1;
            self.waker.awake();
            for event in &events {
                self.note(event);
            }
            self.flush_events();
            more_commands = self.take_commands();
            self.accept_some();
            for _ in 0..self.ready.len() {
                if let Some(index) = self.ready.pop_front() {
                    self.turn(index);
                }
            }
            self.on_deadlines();
            self.act();
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.stop_at
            .is_some_and(|at| self.connections.is_empty() || at <= self.clock.now())
    }

    fn wait(&mut self, events: &mut Events, more_commands: bool) -> io::Result<()> {
        let busy = more_commands || !self.ready.is_empty() || self.acceptor.has_more();
        let lingering = self.lingering.first().map(|(at, _)| *at);
        let deadline = [self.sessions.next_deadline(), lingering, self.stop_at]
            .into_iter()
            .flatten()
            .min();
        let timeout = if busy {
            Some(Duration::ZERO)
        } else {
            deadline.map(|at| self.clock.until(at))
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            polled => polled,
        }
    }

    fn note(&mut self, event: &mio::event::Event) {
        match event.token().0 {
            token if token >= FIRST_CONNECTION => {
                let index = token - FIRST_CONNECTION;
                if let Some(connection) = self.connections.get_mut(index) {
                    connection.note(event);
                    self.ready.push_back(index);
                }
            }
            token if token >= FIRST_LISTENER => self.acceptor.note(token - FIRST_LISTENER),
            _ => {}
        }
    }

    /// Whether more may be waiting.
    fn take_commands(&mut self) -> bool {
        let mut more = true;
        for _ in 0..COMMANDS_A_TURN {
            match self.inbox.try_recv() {
                Ok(message) => self.obey_message(message),
                Err(TryRecvError::Empty) => {
                    more = false;
                    break;
                }
                Err(TryRecvError::Disconnected) => {
                    // The core is gone without a word: what remains is to leave as for a restart.
                    self.stop(&Stop::GracefulRestart);
                    more = false;
                    break;
                }
            }
        }
        // Together, so that what goes to one peer is written at once.
        self.act();
        more
    }

    fn obey_message(&mut self, message: Message) {
        match message {
            Message::Command(command) => self.command(command),
            Message::Accepted(stream, remote) => self.admit(stream, remote),
            Message::Listen(listening, listeners) => self.listen(listening, listeners),
            Message::Report(reply) => {
                self.act();
                // Whoever asked may have stopped waiting.
                let _ = reply.send(self.report());
            }
            Message::Stop(stop) => self.stop(&stop),
        }
    }

    fn command(&mut self, command: Command) {
        let now = self.clock.now();
        if let Command::PathDown { peer, conn, .. } = &command
            && self.has_ended(*peer, *conn)
        {
            return;
        }
        let changed = match &command {
            Command::SetPeer { peer, .. } | Command::RemovePeer { peer } => Some(*peer),
            _ => None,
        };
        self.sessions.command(now, command);
        if let Some(peer) = changed {
            let config = self.sessions.config(peer);
            if let Err(error) = self.keys.set(peer, config.map(AsRef::as_ref)) {
                self.counters.key_errors += 1;
                tracing::warn!(%peer, %error, "the kernel refused a TCP MD5 key for the listener; the peer is only dialled");
            }
        }
    }

    /// Whether the other end of a connection has ended it, which may not have been read yet.
    fn has_ended(&self, peer: PeerId, conn: ConnId) -> bool {
        let index = self.connections.find(peer, conn);
        index
            .and_then(|index| self.connections.get(index))
            .is_some_and(|connection| socket::has_ended(connection.stream.as_raw_fd()))
    }

    fn listen(&mut self, listening: Vec<mio::net::TcpListener>, listeners: Arc<Listeners>) {
        let refused = self.keys.move_to(listeners);
        if refused > 0 {
            self.counters.key_errors += refused;
            tracing::warn!(
                refused,
                "the kernel refused TCP MD5 keys for the new listener"
            );
        }
        // What is already connected waits to be accepted, so no edge is missed.
        if let Err(error) = self.acceptor.replace(listening, self.poll.registry()) {
            tracing::error!(%error, "cannot watch a listening socket; nobody can dial us");
        }
    }

    fn stop(&mut self, stop: &Stop) {
        if self.stop_at.is_none() {
            let now = self.clock.now();
            self.stop_at = Some(now + STOP_PATIENCE);
            self.acceptor.close();
            self.sessions.stop_all(now, stop);
            self.act();
        }
    }

    fn report(&self) -> WorkerReport {
        let mut peers = self.sessions.snapshots();
        for peer in &mut peers {
            let queued = peer
                .conn
                .and_then(|conn| self.connections.find(peer.peer, conn))
                .and_then(|index| self.connections.get(index));
            peer.output_queue_bytes = queued.map_or(0, |connection| connection.out.len());
        }
        let mut counters = self.counters;
        counters.connections = self.connections.len();
        counters.read_pauses = self.outbox.pauses();
        WorkerReport {
            peers,
            refused: self.sessions.refused(),
            counters,
        }
    }

    fn on_deadlines(&mut self) {
        let now = self.clock.now();
        while let Some((at, index)) = self.lingering.first().copied() {
            if at > now {
                break;
            }
            self.lingering.pop_first();
            self.connections.remove(index);
        }
        if self.sessions.next_deadline().is_some_and(|at| at <= now) {
            self.shield_held(now);
            self.sessions.on_deadline(now);
        }
    }

    /// Peers whose bytes we do not read because the core is behind are not silent.
    fn shield_held(&mut self, now: Instant) {
        for index in &self.held {
            if let Some(connection) = self.connections.get_mut(*index)
                && !connection.shielded
            {
                connection.shielded = true;
                let conn = connection.conn;
                let input = Input::ReadPaused { conn, paused: true };
                self.sessions.on(now, connection.peer, input);
            }
        }
    }

    /// Offers the core again what it had no room for; if it takes all, reading goes on.
    fn flush_events(&mut self) {
        if !self.outbox.is_blocked() || !self.outbox.flush() {
            return;
        }
        let now = self.clock.now();
        for index in std::mem::take(&mut self.held) {
            let Some(connection) = self.connections.get_mut(index) else {
                continue;
            };
            connection.held = false;
            self.ready.push_back(index);
            if std::mem::take(&mut connection.shielded) {
                let input = Input::ReadPaused {
                    conn: connection.conn,
                    paused: false,
                };
                self.sessions.on(now, connection.peer, input);
            }
        }
        for index in self.outbox.take_owed() {
            self.give_credit(index);
        }
    }

    /// Does what the sessions want, and writes what there is to write.
    fn act(&mut self) {
        loop {
            while let Some((peer, action)) = self.sessions.poll_action() {
                self.obey(peer, action);
            }
            if self.dirty.is_empty() {
                return;
            }
            for index in std::mem::take(&mut self.dirty) {
                if let Some(connection) = self.connections.get_mut(index) {
                    connection.dirty = false;
                    self.flush(index);
                }
            }
        }
    }

    fn obey(&mut self, peer: PeerId, action: Action) {
        match action {
            Action::Event(event) => self.outbox.send(event),
            Action::Write {
                conn,
                bytes,
                credited,
            } => {
                let found = self.connections.find(peer, conn);
                if let Some(index) = found
                    && let Some(connection) = self.connections.get_mut(index)
                {
                    connection.out.push(bytes, credited);
                    if !std::mem::replace(&mut connection.dirty, true) {
                        self.dirty.push(index);
                    }
                }
            }
            Action::Dial {
                conn,
                remote,
                local,
            } => {
                if let Err(error) = self.dial(peer, conn, remote, local) {
                    let input = Input::DialFailed { conn, error };
                    self.sessions.on(self.clock.now(), peer, input);
                }
            }
            Action::Close { conn, notification } => {
                if let Some(index) = self.connections.find(peer, conn) {
                    self.close(index, notification);
                }
            }
            Action::Retune { conn } => self.retune(peer, conn),
        }
    }

    fn dial(
        &mut self,
        peer: PeerId,
        conn: ConnId,
        remote: std::net::SocketAddr,
        local: Option<std::net::IpAddr>,
    ) -> Result<(), TransportError> {
        let Some(config) = self.sessions.config(peer) else {
            return Err(TransportError::Os(0));
        };
        let stream = socket::dial(config, remote, local)?.into_stream();
        self.connections
            .add(self.poll.registry(), stream, peer, conn, Phase::Dialing)
            .map_err(|error| socket::transport_error(&error))?;
        Ok(())
    }

    fn retune(&mut self, peer: PeerId, conn: ConnId) {
        let found = self.connections.find(peer, conn);
        let (Some(index), Some(config)) = (found, self.sessions.config(peer)) else {
            return;
        };
        let Some(connection) = self.connections.get(index) else {
            return;
        };
        let remote = connection.stream.peer_addr().map(|addr| addr.ip());
        let applied = match remote {
            Ok(remote) => socket::apply(&connection.stream, remote, config),
            Err(error) => Err(socket::transport_error(&error)),
        };
        if let Err(error) = applied {
            self.lost(index, error);
        }
    }
}

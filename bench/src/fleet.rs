//! The driver: any number of BGP sessions toward one daemon, on one thread and one epoll.
//!
//! Senders write bytes that were encoded before the clock started; monitors keep a [`Table`].

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::daemon::LOCAL_AS;
use crate::interrupt;
use crate::netns::DAEMON_ADDRESS;
use crate::table::Table;
use crate::wire::{self, Fault};

const BGP_PORT: u16 = 179;
/// Where the routes of internal sessions come from.
const OUTSIDE_AS: u32 = 65_099;
/// Offered; no daemon's own default is shorter, so all of them send and expect KEEPALIVEs alike.
const HOLD_TIME_SECS: u16 = 90;
const KEEPALIVE_EVERY: Duration = Duration::from_secs(29);
const RECONNECT_AFTER: Duration = Duration::from_millis(50);
/// A dial that brought no OPEN for so long is given up, as a router would; the n-th one after n
/// times as long. A daemon with a short listen backlog drops SYNs, and TCP alone retries too late.
const DIAL_PATIENCE: Duration = Duration::from_secs(3);
/// Bytes read or written for one session before the others have their turn.
const TURN: usize = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No socket; dial again at `Session::dial_at`.
    Idle,
    Connecting,
    OpenSent,
    OpenConfirm,
    Established,
    Closed,
}

/// Who a session claims to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    /// Also its router id.
    pub(crate) address: Ipv4Addr,
    pub(crate) asn: u32,
}

impl Identity {
    /// Routes of its own, by way of itself.
    pub(crate) fn announcer(self) -> wire::Announcer {
        let internal = self.asn == LOCAL_AS;
        wire::Announcer {
            // A path that begins with our own AS would be a loop.
            asn: if internal { OUTSIDE_AS } else { self.asn },
            internal,
            next_hop: self.address,
            second_choice: false,
        }
    }
}

#[derive(Debug)]
struct Session {
    identity: Identity,
    state: State,
    stream: Option<TcpStream>,
    /// When to dial, and once dialled when to give that dial up.
    dial_at: Instant,
    dials: u32,
    out: VecDeque<Arc<[u8]>>,
    /// Bytes of `out`'s first chunk already written.
    written: usize,
    /// The beginning of a message whose rest has not arrived; below `MESSAGE_MAX` bytes.
    partial: Vec<u8>,
    table: Option<Table>,
    readable: bool,
    writable: bool,
    /// In `Fleet::turns`.
    waiting: bool,
}

/// All sessions of one run. A session that the daemon closes after it was established, or that
/// receives anything unexpected, fails the run.
#[derive(Debug)]
pub(crate) struct Fleet {
    poll: Poll,
    sessions: Vec<Session>,
    turns: VecDeque<usize>,
    buffer: Vec<u8>,
    established: usize,
    keepalive: Arc<[u8]>,
    /// The next session in line for a KEEPALIVE, and when: they are spread over the interval.
    keepalive_next: usize,
    keepalive_at: Instant,
    last_refusal: Option<String>,
}

impl Fleet {
    /// Sessions are numbered in the order given; one with a table is a monitor. To be made and
    /// used on a thread inside the driver's namespace.
    pub(crate) fn new(
        sessions: impl IntoIterator<Item = (Identity, Option<Table>)>,
    ) -> Result<Self> {
        let now = Instant::now();
        let sessions = sessions.into_iter().map(|(identity, table)| Session {
            identity,
            state: State::Idle,
            stream: None,
            dial_at: now,
            dials: 0,
            out: VecDeque::new(),
            written: 0,
            partial: Vec::new(),
            table,
            readable: false,
            writable: false,
            waiting: false,
        });
        Ok(Self {
            poll: Poll::new()?,
            sessions: sessions.collect(),
            turns: VecDeque::new(),
            buffer: vec![0; TURN + wire::MESSAGE_MAX],
            established: 0,
            keepalive: wire::keepalive().into(),
            keepalive_next: 0,
            keepalive_at: now,
            last_refusal: None,
        })
    }

    /// Dials until every session is established.
    pub(crate) fn establish(&mut self, deadline: Instant) -> Result<Duration> {
        let started = Instant::now();
        let outcome = self.run_until(deadline, "sessions to be established", |fleet| {
            fleet.established == fleet.sessions.len()
        });
        outcome.with_context(|| {
            let refusal = self.last_refusal.as_deref().unwrap_or("none was refused");
            format!(
                "{} of {} sessions up; {refusal}",
                self.established,
                self.sessions.len()
            )
        })?;
        Ok(started.elapsed())
    }

    /// Queues encoded messages on a session.
    pub(crate) fn send(&mut self, session: usize, bytes: Arc<[u8]>) {
        self.sessions[session].out.push_back(bytes);
        self.give_turn(session);
    }

    /// Sends Cease and closes.
    pub(crate) fn close(&mut self, session: usize) {
        let session = &mut self.sessions[session];
        if let Some(mut stream) = session.stream.take() {
            // A full socket may refuse the NOTIFICATION; closing says the same.
            let _ = stream.write(&wire::cease());
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        session.state = State::Closed;
    }

    /// How many prefixes a monitor holds.
    pub(crate) fn held(&self, session: usize) -> u32 {
        self.sessions[session].table.as_ref().map_or(0, Table::held)
    }

    /// Keeps the sessions alive for a while.
    pub(crate) fn idle(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let slack = Duration::from_secs(10);
        self.run_until(end + slack, "the idle time to end", |_| {
            Instant::now() >= end
        })?;
        Ok(())
    }

    /// Runs the sessions until `done`, looked at after every turn of events; says when that was.
    pub(crate) fn run_until(
        &mut self,
        deadline: Instant,
        what: &str,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<Instant> {
        let mut events = Events::with_capacity(1024);
        loop {
            if done(self) {
                return Ok(Instant::now());
            }
            interrupt::check(deadline, what)?;
            self.on_time(Instant::now())?;
            let patience = if self.turns.is_empty() {
                Duration::from_millis(20)
            } else {
                Duration::ZERO
            };
            match self.poll.poll(&mut events, Some(patience)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                let session = &mut self.sessions[event.token().0];
                session.readable |= event.is_readable() || event.is_error();
                session.writable |= event.is_writable();
                self.give_turn(event.token().0);
            }
            for _ in 0..self.turns.len() {
                let Some(index) = self.turns.pop_front() else {
                    break;
                };
                self.sessions[index].waiting = false;
                self.take_turn(index)?;
            }
        }
    }

    fn give_turn(&mut self, index: usize) {
        let session = &mut self.sessions[index];
        if !session.waiting {
            session.waiting = true;
            self.turns.push_back(index);
        }
    }

    fn on_time(&mut self, now: Instant) -> Result<()> {
        if self.established < self.sessions.len() {
            for index in 0..self.sessions.len() {
                let session = &self.sessions[index];
                let pending = matches!(
                    session.state,
                    State::Idle | State::Connecting | State::OpenSent
                );
                if pending && session.dial_at <= now {
                    self.dial(index, now)?;
                }
            }
        }
        while self.keepalive_at <= now {
            let index = self.keepalive_next;
            let session = &self.sessions[index];
            // Queued UPDATEs keep the session alive as well.
            if session.state == State::Established && session.out.is_empty() {
                self.send(index, self.keepalive.clone());
            }
            self.keepalive_next = (index + 1) % self.sessions.len();
            self.keepalive_at += KEEPALIVE_EVERY / u32::try_from(self.sessions.len())?;
        }
        Ok(())
    }

    fn dial(&mut self, index: usize, now: Instant) -> Result<()> {
        let session = &mut self.sessions[index];
        session.stream = None;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SockAddr::from(SocketAddr::from((
            session.identity.address,
            0,
        ))))?;
        let daemon = SockAddr::from(SocketAddr::from((DAEMON_ADDRESS, BGP_PORT)));
        match socket.connect(&daemon) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                session.dial_at = now + RECONNECT_AFTER;
                self.last_refusal = Some(format!("last dial: {error}"));
                return Ok(());
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(index), interest)?;
        session.stream = Some(stream);
        session.state = State::Connecting;
        session.dials += 1;
        session.dial_at = now + DIAL_PATIENCE * session.dials;
        session.partial.clear();
        session.out.clear();
        (session.written, session.readable, session.writable) = (0, false, false);
        Ok(())
    }

    /// One bounded turn of writing and reading; asks for another turn if more is to be done.
    fn take_turn(&mut self, index: usize) -> Result<()> {
        let outcome = self.turn(index);
        let session = &mut self.sessions[index];
        match outcome {
            Ok(()) => {
                let more = session.readable || (session.writable && !session.out.is_empty());
                if more && session.stream.is_some() {
                    self.give_turn(index);
                }
                Ok(())
            }
            Err(error) if matches!(session.state, State::Established | State::Closed) => {
                let identity = session.identity.address;
                Err(error.context(format!("the established session from {identity} ended")))
            }
            Err(error) => {
                self.last_refusal = Some(format!("last refusal: {error:#}"));
                session.stream = None;
                session.state = State::Idle;
                session.dial_at = Instant::now() + RECONNECT_AFTER;
                Ok(())
            }
        }
    }

    fn turn(&mut self, index: usize) -> Result<()> {
        let session = &mut self.sessions[index];
        let Some(stream) = &mut session.stream else {
            return Ok(());
        };
        if session.state == State::Connecting {
            if let Some(error) = stream.take_error()? {
                return Err(error.into());
            }
            if !session.writable {
                return Ok(());
            }
            let Identity { address, asn } = session.identity;
            session
                .out
                .push_back(wire::open(asn, HOLD_TIME_SECS, address).into());
            session.state = State::OpenSent;
        }
        session.write()?;
        if session.readable {
            self.read(index)?;
            // What reading queued: KEEPALIVE.
            self.sessions[index].write()?;
        }
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<()> {
        let session = &mut self.sessions[index];
        let Some(stream) = &mut session.stream else {
            return Ok(());
        };
        let kept = session.partial.len();
        self.buffer[..kept].copy_from_slice(&session.partial);
        let len = match stream.read(&mut self.buffer[kept..kept + TURN]) {
            Ok(0) => bail!("the daemon closed the connection"),
            Ok(len) => kept + len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                session.readable = false;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let mut rest = &self.buffer[..len];
        while let Some(message) = wire::frame(rest).map_err(unexpected)? {
            if session.on_message(message.kind, message.body, &self.keepalive)? {
                self.established += 1;
            }
            rest = &rest[message.len..];
        }
        session.partial.clear();
        session.partial.extend_from_slice(rest);
        Ok(())
    }
}

fn unexpected(fault: Fault) -> anyhow::Error {
    anyhow::anyhow!("received {fault}")
}

impl Session {
    fn write(&mut self) -> Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let mut budget = TURN;
        while self.writable && budget > 0 {
            let Some(chunk) = self.out.front() else {
                return Ok(());
            };
            let end = chunk.len().min(self.written + budget);
            match stream.write(&chunk[self.written..end]) {
                Ok(len) => {
                    budget -= len;
                    self.written += len;
                    if self.written == chunk.len() {
                        self.out.pop_front();
                        self.written = 0;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Returns whether the session became established by this message.
    fn on_message(&mut self, kind: u8, body: &[u8], keepalive: &Arc<[u8]>) -> Result<bool> {
        match (kind, self.state) {
            (wire::OPEN, State::OpenSent) => {
                self.state = State::OpenConfirm;
                self.out.push_back(keepalive.clone());
            }
            (wire::KEEPALIVE, State::OpenConfirm) => {
                self.state = State::Established;
                return Ok(true);
            }
            (wire::UPDATE, State::Established) => {
                if let Some(table) = &mut self.table {
                    table
                        .apply(body)
                        .map_err(|fault| anyhow::anyhow!("received {fault}"))?;
                }
            }
            (wire::KEEPALIVE | wire::ROUTE_REFRESH, State::Established) => {}
            (wire::NOTIFICATION, _) => {
                let [code, subcode, ..] = body else {
                    bail!("a NOTIFICATION without a code")
                };
                bail!("the daemon sent NOTIFICATION {code}/{subcode}");
            }
            (kind, state) => bail!("message type {kind} in state {state:?}"),
        }
        Ok(false)
    }
}

//! The TCP connections of a thread, and what is read from and written to them.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::Shutdown;

use dunlin_bgp::session::{ConnId, Input, SessionEvent, TransportError};
use dunlin_net::PeerId;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::{CREDIT_STEP, FIRST_CONNECTION, LINGER, Worker};
use crate::socket;
use crate::write_queue::WriteQueue;

/// Ended connections that linger at a time.
const MAX_LINGERING: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The dial is under way.
    Dialing,
    /// Bytes go to and from the session.
    Open,
    /// The session is done with it: last words are written, what comes is thrown away.
    Lingering {
        /// Everything is written and our direction is closed.
        shut: bool,
    },
}

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: PeerId,
    pub(super) conn: ConnId,
    phase: Phase,
    /// Edge-triggered: until a read or write says that it would block.
    readable: bool,
    writable: bool,
    /// The peer has closed its direction: read until the end is seen.
    read_closed: bool,
    pub(super) out: WriteQueue,
    /// Octets written whose credit was not given back yet.
    credit: usize,
    /// The session knows that octets wait.
    told_pending: bool,
    /// Listed as having something to write.
    pub(super) dirty: bool,
    /// Listed as not read because the core is behind.
    pub(super) held: bool,
    /// The session knows that it is not read.
    pub(super) shielded: bool,
    /// Listed as owed credit.
    owed: bool,
}

impl Connection {
    pub(super) fn note(&mut self, event: &mio::event::Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.read_closed |= event.is_read_closed();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }
}

/// The connections, by index; an index is used again after its connection is gone.
#[derive(Default)]
pub(super) struct Connections {
    all: Vec<Option<Connection>>,
    free: Vec<usize>,
    by_id: HashMap<(PeerId, ConnId), usize>,
}

impl Connections {
    pub(super) fn add(
        &mut self,
        registry: &Registry,
        mut stream: TcpStream,
        peer: PeerId,
        conn: ConnId,
        phase: Phase,
    ) -> io::Result<usize> {
        let index = self.free.pop().unwrap_or(self.all.len());
        let token = Token(FIRST_CONNECTION + index);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = registry.register(&mut stream, token, interest) {
            if index < self.all.len() {
                self.free.push(index);
            }
            return Err(error);
        }
        let connection = Some(Connection {
            stream,
            peer,
            conn,
            phase,
            readable: false,
            writable: phase == Phase::Open,
            read_closed: false,
            out: WriteQueue::default(),
            credit: 0,
            told_pending: false,
            dirty: false,
            held: false,
            shielded: false,
            owed: false,
        });
        match self.all.get_mut(index) {
            Some(slot) => *slot = connection,
            None => self.all.push(connection),
        }
        self.by_id.insert((peer, conn), index);
        Ok(index)
    }

    pub(super) fn find(&self, peer: PeerId, conn: ConnId) -> Option<usize> {
        self.by_id.get(&(peer, conn)).copied()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Connection> {
        self.all.get(index)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Connection> {
        self.all.get_mut(index)?.as_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The session no longer speaks of it.
    fn unlist(&mut self, index: usize) {
        if let Some(connection) = self.all.get(index).and_then(Option::as_ref) {
            let id = (connection.peer, connection.conn);
            if self.by_id.get(&id) == Some(&index) {
                self.by_id.remove(&id);
            }
        }
    }

    /// Forgets the connection; dropping it closes it and ends its registration.
    pub(super) fn remove(&mut self, index: usize) -> Option<Connection> {
        self.unlist(index);
        let removed = self.all.get_mut(index)?.take()?;
        self.free.push(index);
        Some(removed)
    }
}

impl Worker {
    /// A connection may be ready.
    pub(super) fn turn(&mut self, index: usize) {
        let Some(connection) = self.connections.get(index) else {
            return;
        };
        match connection.phase {
            Phase::Dialing => self.finish_dial(index),
            Phase::Open => {
                if connection.writable && !connection.out.is_empty() {
                    self.flush(index);
                }
                if self.outbox.is_blocked() {
                    self.hold(index);
                } else {
                    self.read(index);
                }
            }
            Phase::Lingering { .. } => self.linger(index),
        }
        self.act();
    }

    fn hold(&mut self, index: usize) {
        if let Some(connection) = self.connections.get_mut(index)
            && connection.readable
            && !std::mem::replace(&mut connection.held, true)
        {
            self.held.push(index);
        }
    }

    fn finish_dial(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        if !connection.writable {
            return;
        }
        let outcome = match connection.stream.take_error() {
            Ok(None) => connection
                .stream
                .peer_addr()
                .and_then(|remote| Ok((connection.stream.local_addr()?, remote))),
            Ok(Some(error)) | Err(error) => Err(error),
        };
        let now = self.clock.now();
        let (peer, conn) = (connection.peer, connection.conn);
        match outcome {
            Ok((local, remote)) => {
                connection.phase = Phase::Open;
                let input = Input::Connected {
                    conn,
                    local,
                    remote,
                };
                self.sessions.on(now, peer, input);
                self.ready.push_back(index);
            }
            // Not connected and no error: a wakeup too early.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                connection.writable = false
            }
            Err(error) => {
                self.connections.remove(index);
                let error = socket::transport_error(&error);
                self.sessions
                    .on(now, peer, Input::DialFailed { conn, error });
            }
        }
    }

    /// Reads one buffer full at most, so that all connections get their turn.
    fn read(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let (peer, conn) = (connection.peer, connection.conn);
        let mut filled = 0;
        let mut end = None;
        while connection.readable && end.is_none() {
            let room = self.buffer.get_mut(filled..).unwrap_or_default();
            if room.is_empty() {
                break;
            }
            match connection.stream.read(room) {
                Ok(0) => end = Some(TransportError::Eof),
                Ok(count) => {
                    // Less than was asked for: nothing is left, but for an end that was announced.
                    connection.readable = count == room.len() || connection.read_closed;
                    filled += count;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => connection.readable = false,
                    io::ErrorKind::Interrupted => {}
                    _ => end = Some(socket::transport_error(&error)),
                },
            }
        }
        let again = connection.readable;
        if filled > 0 {
            let bytes = self.buffer.get(..filled).unwrap_or_default();
            let input = Input::Bytes { conn, bytes };
            self.sessions.on(self.clock.now(), peer, input);
            self.act();
        }
        // The bytes may have ended the connection.
        if self.connections.find(peer, conn) != Some(index) {
            return;
        }
        match end {
            Some(error) => self.lost(index, error),
            None if again => self.ready.push_back(index),
            None => {}
        }
    }

    /// The connection has ended without our doing.
    pub(super) fn lost(&mut self, index: usize, error: TransportError) {
        if let Some(connection) = self.connections.remove(index) {
            let conn = connection.conn;
            let input = Input::Closed { conn, error };
            self.sessions.on(self.clock.now(), connection.peer, input);
        }
    }

    /// Writes what waits; gives credit back; tells the session whether something still waits.
    pub(super) fn flush(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        match connection.phase {
            Phase::Dialing => return,
            Phase::Lingering { .. } => return self.linger(index),
            Phase::Open => {}
        }
        if !connection.writable {
            return;
        }
        let flushed = match connection.out.flush(&connection.stream) {
            Ok(flushed) => flushed,
            Err(error) => return self.lost(index, socket::transport_error(&error)),
        };
        let pending = !connection.out.is_empty();
        connection.writable = !pending;
        connection.credit += flushed.credited;
        let news = pending != connection.told_pending || (pending && flushed.bytes > 0);
        connection.told_pending = pending;
        let (peer, conn) = (connection.peer, connection.conn);
        if connection.credit >= CREDIT_STEP || (connection.credit > 0 && !pending) {
            self.give_credit(index);
        }
        if news {
            let input = Input::Written { conn, pending };
            self.sessions.on(self.clock.now(), peer, input);
        }
    }

    pub(super) fn give_credit(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        if self.outbox.is_blocked() {
            if !std::mem::replace(&mut connection.owed, true) {
                self.outbox.owe(index);
            }
            return;
        }
        connection.owed = false;
        let bytes = std::mem::take(&mut connection.credit);
        if bytes > 0 && connection.phase == Phase::Open {
            self.outbox.send(SessionEvent::Drained {
                peer: connection.peer,
                conn: connection.conn,
                bytes,
            });
        }
    }

    /// The session is done with a connection: writes its last words and waits until the peer has them.
    pub(super) fn close(&mut self, index: usize, notification: Option<Vec<u8>>) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        if connection.phase == Phase::Dialing {
            self.connections.remove(index);
            return;
        }
        connection.out.finish_with(notification.unwrap_or_default());
        connection.phase = Phase::Lingering { shut: false };
        connection.readable = true;
        self.connections.unlist(index);
        if self.lingering.len() < MAX_LINGERING {
            self.lingering.insert((self.clock.now() + LINGER, index));
        }
        self.linger(index);
        if !self.lingering.iter().any(|(_, listed)| *listed == index) {
            // Written as far as possible; there are too many to wait for this one.
            self.connections.remove(index);
        }
    }

    /// Without this a close would turn into a RST, which can overtake a NOTIFICATION.
    fn linger(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let mut dead = connection.out.flush(&connection.stream).is_err();
        if connection.out.is_empty() && connection.phase == (Phase::Lingering { shut: false }) {
            connection.phase = Phase::Lingering { shut: true };
            dead |= connection.stream.shutdown(Shutdown::Write).is_err();
        }
        // A peer that sends without end is not listened to for ever: it is closed when the time is over.
        for _ in 0..16 {
            if dead || !connection.readable {
                break;
            }
            match connection.stream.read(&mut self.buffer) {
                Ok(0) => dead = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.readable = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => dead = true,
            }
        }
        if dead {
            self.connections.remove(index);
            self.lingering.retain(|(_, listed)| *listed != index);
        } else if connection.readable {
            self.ready.push_back(index);
        }
    }
}

//! Accepting: bounded in each turn, and nothing kept of those whom nobody knows.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, PoisonError, RwLock};

use dunlin_bgp::session::Input;
use dunlin_net::ScopedAddr;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use super::connection::Phase;
use super::{FIRST_LISTENER, Message, Worker};
use crate::{Waker, socket};

/// Connections accepted in one turn, over all listeners.
const ACCEPTS_A_TURN: usize = 128;

/// The listening sockets of the thread that accepts; the others have none.
pub(super) struct Acceptor {
    listeners: Vec<(TcpListener, bool)>,
    /// Given up for a moment when there are no more descriptors, to accept and close instead of spinning.
    reserve: Option<File>,
}

impl Acceptor {
    pub(super) fn new(listening: Vec<TcpListener>, registry: &Registry) -> io::Result<Acceptor> {
        let mut acceptor = Acceptor {
            listeners: Vec::new(),
            reserve: None,
        };
        acceptor.replace(listening, registry)?;
        Ok(acceptor)
    }

    /// Accepts from these sockets, and no longer from those before.
    pub(super) fn replace(
        &mut self,
        listening: Vec<TcpListener>,
        registry: &Registry,
    ) -> io::Result<()> {
        self.listeners.clear();
        for (index, mut listener) in listening.into_iter().enumerate() {
            let token = Token(FIRST_LISTENER + index);
            registry.register(&mut listener, token, Interest::READABLE)?;
            self.listeners.push((listener, false));
        }
        if !self.listeners.is_empty() && self.reserve.is_none() {
            self.reserve = Some(File::open("/dev/null")?);
        }
        Ok(())
    }

    pub(super) fn note(&mut self, listener: usize) {
        if let Some((_, ready)) = self.listeners.get_mut(listener) {
            *ready = true;
        }
    }

    /// Whether connections may wait to be accepted.
    pub(super) fn has_more(&self) -> bool {
        self.listeners.iter().any(|(_, ready)| *ready)
    }

    pub(super) fn close(&mut self) {
        self.listeners.clear();
    }

    fn next(&mut self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        let (listener, ready) = self.listeners.iter_mut().find(|(_, ready)| *ready)?;
        match listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                *ready = false;
                self.next()
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                // Makes room for one, closes it, and takes the room again.
                self.reserve = None;
                match listener.accept() {
                    Ok((stream, _)) => socket::abort(stream),
                    Err(_) => *ready = false,
                }
                self.reserve = File::open("/dev/null").ok();
                Some(Err(error))
            }
            accepted => Some(accepted),
        }
    }
}

/// Which thread a peer belongs to.
#[derive(Clone, Default)]
pub(crate) struct Directory {
    /// Peers by address; who is not here belongs to the thread that the hash of the address says.
    by_address: Arc<RwLock<HashMap<ScopedAddr, usize>>>,
    /// All threads; empty if there is only one.
    pub(crate) threads: Vec<(SyncSender<Message>, Waker)>,
    /// Which of them this one is.
    this: usize,
}

impl Directory {
    /// The thread for an address that no named peer has.
    pub(crate) fn by_hash(address: ScopedAddr, threads: usize) -> usize {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(address);
        // The remainder is below `threads`.
        (hash % (threads.max(1) as u64)) as usize
    }

    /// The same directory for one of the threads.
    pub(crate) fn for_thread(&self, this: usize) -> Directory {
        Directory {
            this,
            ..self.clone()
        }
    }

    /// The peer with this address lives in this thread.
    pub(crate) fn put(&self, address: ScopedAddr, thread: usize) {
        let named = self.by_address.write();
        named
            .unwrap_or_else(PoisonError::into_inner)
            .insert(address, thread);
    }

    /// Takes that back.
    pub(crate) fn take(&self, address: ScopedAddr, thread: usize) {
        let mut named = self
            .by_address
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if named.get(&address) == Some(&thread) {
            named.remove(&address);
        }
    }

    fn of(&self, address: ScopedAddr) -> usize {
        if self.threads.is_empty() {
            return self.this;
        }
        let named = self
            .by_address
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let named = named.get(&address).copied();
        named.unwrap_or_else(|| Directory::by_hash(address, self.threads.len()))
    }
}

impl Worker {
    pub(super) fn accept_some(&mut self) {
        for _ in 0..ACCEPTS_A_TURN {
            match self.acceptor.next() {
                None => return,
                Some(Ok((stream, remote))) => {
                    self.counters.accepted += 1;
                    let thread = self.directory.of(remote.into());
                    if thread == self.directory.this {
                        self.admit(stream, remote);
                        self.act();
                    } else {
                        self.pass(thread, stream, remote);
                    }
                }
                Some(Err(error)) => {
                    self.counters.accept_errors += 1;
                    if self.counters.accept_errors.is_power_of_two() {
                        tracing::warn!(%error, count = self.counters.accept_errors, "cannot accept a connection");
                    }
                }
            }
        }
    }

    fn pass(&mut self, thread: usize, stream: TcpStream, remote: SocketAddr) {
        let Some((inbox, waker)) = self.directory.threads.get(thread) else {
            return socket::abort(stream);
        };
        match inbox.try_send(Message::Accepted(stream, remote)) {
            Ok(()) => waker.wake(),
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                self.counters.accept_overruns += 1;
                if let Message::Accepted(stream, _) = message {
                    socket::abort(stream);
                }
            }
        }
    }

    /// Finds the peer whose connection this is, or closes it.
    pub(super) fn admit(&mut self, mut stream: TcpStream, remote: SocketAddr) {
        let now = self.clock.now();
        let Ok(local) = stream.local_addr() else {
            return socket::abort(stream);
        };
        if self.stop_at.is_some() {
            return socket::abort(stream);
        }
        match self.sessions.accept(now, local, remote) {
            Ok((peer, conn)) => {
                let config = self.sessions.config(peer);
                let secured = match (config, self.keys.refused(peer)) {
                    (Some(config), None) => {
                        socket::secure(stream, remote.ip().to_canonical(), config)
                    }
                    (_, number) => Err(socket::refused_setting(number.unwrap_or(0))),
                };
                let added = secured.and_then(|secured| {
                    let registry = self.poll.registry();
                    self.connections
                        .add(registry, secured.into_stream(), peer, conn, Phase::Open)
                        .map_err(|error| socket::transport_error(&error))
                });
                if let Err(error) = added {
                    self.sessions.on(now, peer, Input::Closed { conn, error });
                }
            }
            Err(refusal) => match refusal.notification {
                // Best effort: it fits an empty socket buffer, or nothing is said.
                Some(bytes) => drop(stream.write(&bytes)),
                None => socket::abort(stream),
            },
        }
    }
}

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dunlin_bgp::session::{
    Command, DYNAMIC_PEERS, PeerConfig, PeerSnapshot, RefusalCounts, Remote, Sessions, Stop,
};
use dunlin_net::{PeerId, ScopedAddr};

use crate::worker::{
    Directory, Listeners, Message, Parts, WAKER, Worker, WorkerCounters, WorkerReport,
};
use crate::{EventSink, Md5Mismatches, SpeakerConfig, SpeakerError, Waker, socket};

/// Commands on the way to one thread.
const COMMANDS: usize = 16 * 1024;

/// How long a thread may take to answer a question: one turn of its loop.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// A speaker: listening sockets and I/O threads.
pub struct Speaker;

/// The end of a speaker that the core holds. Dropping it stops the threads as for a graceful restart, without waiting.
pub struct SpeakerHandle {
    threads: Vec<Thread>,
    directory: Directory,
    places: HashMap<PeerId, Place>,
    /// What was asked for.
    listen: Vec<SocketAddr>,
    local_addrs: Vec<SocketAddr>,
}

struct Thread {
    inbox: SyncSender<Message>,
    waker: Waker,
    join: JoinHandle<io::Result<()>>,
}

/// Where a peer lives.
#[derive(Clone, Copy)]
enum Place {
    Thread(usize, ScopedAddr),
    /// A range: in all threads, each for the addresses whose hash is its own.
    Everywhere,
}

/// What a speaker tells when asked.
#[derive(Clone, Debug, Default)]
pub struct SpeakerReport {
    /// All peers and ranges, by id.
    pub peers: Vec<PeerSnapshot>,
    /// Incoming connections refused, by reason.
    pub refused: RefusalCounts,
    /// What the threads count, summed.
    pub counters: WorkerCounters,
    /// What the kernel dropped for its TCP MD5 signature, since the network namespace was made.
    pub md5: Md5Mismatches,
}

impl Speaker {
    /// Listens, and starts the threads. `sink` makes the way to the core for each thread, by its number.
    ///
    /// # Errors
    /// If an address cannot be listened on, or there are no more descriptors or threads.
    pub fn spawn<S: EventSink>(
        config: &SpeakerConfig,
        mut sink: impl FnMut(usize) -> S,
    ) -> Result<SpeakerHandle, SpeakerError> {
        let (listening, listeners, local_addrs) = listen_all(&config.listen)?;
        let listeners = Arc::new(listeners);
        let count = config.threads.clamp(1, 64);
        let mut inboxes = Vec::new();
        let mut ends = Vec::new();
        for _ in 0..count {
            let poll = mio::Poll::new().map_err(SpeakerError::Thread)?;
            let waker = mio::Waker::new(poll.registry(), WAKER).map_err(SpeakerError::Thread)?;
            let (sender, receiver) = mpsc::sync_channel(COMMANDS);
            inboxes.push((sender, Waker::new(waker)));
            ends.push((poll, receiver));
        }
        let mut directory = Directory::default();
        if count > 1 {
            directory.threads = inboxes.clone();
        }
        let mut listening = Some(listening);
        let mut threads = Vec::new();
        for (index, ((poll, receiver), (inbox, waker))) in ends.into_iter().zip(inboxes).enumerate()
        {
            let shard = (index as u32, count as u32); // at most 64
            let parts = Parts {
                poll,
                waker: waker.clone(),
                clock: config.clock,
                inbox: receiver,
                sessions: Sessions::shard(config.seeds, shard.0, shard.1),
                sink: Box::new(sink(index)),
                listeners: Arc::clone(&listeners),
                listening: listening.take().unwrap_or_default(),
                directory: directory.for_thread(index),
            };
            let worker = Worker::new(parts).map_err(SpeakerError::Thread)?;
            let join = thread::Builder::new()
                .name(format!("bgp-io-{index}"))
                .spawn(move || worker.run())
                .map_err(SpeakerError::Thread)?;
            threads.push(Thread { inbox, waker, join });
        }
        Ok(SpeakerHandle {
            threads,
            directory,
            places: HashMap::new(),
            listen: config.listen.clone(),
            local_addrs,
        })
    }
}

type Listening = (Vec<mio::net::TcpListener>, Listeners, Vec<SocketAddr>);

fn listen_all(addrs: &[SocketAddr]) -> Result<Listening, SpeakerError> {
    let mut listening = Vec::new();
    let mut listeners = Listeners::default();
    let mut local_addrs = Vec::new();
    for addr in addrs {
        let failed = |error| SpeakerError::listen(*addr, error);
        let Some(listener) = socket::listen(*addr).map_err(failed)? else {
            continue;
        };
        listeners.add(*addr, socket::share(&listener).map_err(failed)?);
        local_addrs.push(listener.local_addr().map_err(failed)?);
        listening.push(listener);
    }
    Ok((listening, listeners, local_addrs))
}

impl SpeakerHandle {
    /// Where it listens.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Listens there, and no longer where it listened before. Sessions stay. The new sockets are made before the old ones
    /// are closed, so an address and port of before can be kept only by asking for all of the same again.
    ///
    /// # Errors
    /// If an address cannot be listened on; then everything stays as it was.
    pub fn listen(&mut self, addrs: &[SocketAddr]) -> Result<(), SpeakerError> {
        if self.listen == addrs {
            return Ok(());
        }
        let (listening, listeners, local_addrs) = listen_all(addrs)?;
        self.listen = addrs.to_vec();
        self.local_addrs = local_addrs;
        let listeners = Arc::new(listeners);
        let mut listening = Some(listening);
        for thread in &self.threads {
            let mine = listening.take().unwrap_or_default();
            let message = Message::Listen(mine, Arc::clone(&listeners));
            if thread.inbox.send(message).is_ok() {
                thread.waker.wake();
            }
        }
        Ok(())
    }

    /// Whether all threads run. One that does not has met a failure of the system's epoll, or a bug.
    pub fn is_alive(&self) -> bool {
        self.threads.iter().all(|thread| !thread.join.is_finished())
    }

    /// Gives a command. Waits while 16,384 are on the way to the thread, which never waits for the core.
    pub fn command(&mut self, command: Command) {
        let peer = match &command {
            Command::SetPeer { peer, config } => {
                self.place(*peer, config);
                *peer
            }
            Command::RemovePeer { peer }
            | Command::Stop { peer, .. }
            | Command::Start { peer }
            | Command::PathDown { peer, .. }
            | Command::Reset { peer, .. }
            | Command::Send { peer, .. }
            | Command::RequestRefresh { peer, .. } => *peer,
        };
        let place = self.places.get(&peer).copied();
        if let Command::RemovePeer { peer } = command {
            self.displace(peer);
        }
        match place {
            Some(Place::Thread(thread, _)) => self.send(thread, command),
            Some(Place::Everywhere) => {
                for thread in 0..self.threads.len() {
                    self.send(thread, self.share_of(&command));
                }
            }
            None if peer.0 >= DYNAMIC_PEERS => {
                // Each thread gives ids of its own remainder.
                let thread = (peer.0 - DYNAMIC_PEERS) as usize % self.threads.len().max(1);
                self.send(thread, command);
            }
            None => {}
        }
    }

    fn place(&mut self, peer: PeerId, config: &PeerConfig) {
        let count = self.threads.len();
        let place = match (config.remote, self.places.get(&peer)) {
            (Remote::Range { .. }, _) => Place::Everywhere,
            // It stays where it is, so that its connections and their ids do.
            (Remote::Address(remote), Some(Place::Thread(thread, _))) => {
                Place::Thread(*thread, remote.into())
            }
            (Remote::Address(remote), _) => {
                let address = remote.into();
                Place::Thread(Directory::by_hash(address, count), address)
            }
        };
        let was_everywhere = matches!(self.places.get(&peer), Some(Place::Everywhere));
        if was_everywhere && matches!(place, Place::Thread(..)) {
            for thread in 0..count {
                self.send(thread, Command::RemovePeer { peer });
            }
        }
        if let (Place::Everywhere, Some(Place::Thread(thread, _))) = (place, self.places.get(&peer))
        {
            self.send(*thread, Command::RemovePeer { peer });
        }
        self.displace(peer);
        if let Place::Thread(thread, address) = place {
            self.directory.put(address, thread);
        }
        self.places.insert(peer, place);
    }

    fn displace(&mut self, peer: PeerId) {
        if let Some(Place::Thread(thread, address)) = self.places.remove(&peer) {
            self.directory.take(address, thread);
        }
    }

    /// A range is shared by the threads, and its limit with it.
    fn share_of(&self, command: &Command) -> Command {
        let mut command = command.clone();
        if let Command::SetPeer { config, .. } = &mut command
            && self.threads.len() > 1
            && let Remote::Range { max_peers, .. } = &mut Arc::make_mut(config).remote
        {
            *max_peers = max_peers.div_ceil(self.threads.len() as u32); // at most 64
        }
        command
    }

    fn send(&self, thread: usize, command: Command) {
        if let Some(thread) = self.threads.get(thread)
            // A thread that is gone is told by `is_alive`.
            && thread.inbox.send(Message::Command(command)).is_ok()
        {
            thread.waker.wake();
        }
    }

    /// All peers as they are now, and the counters. Waits for one turn of each thread; one that does not answer within two
    /// seconds is left out.
    pub fn report(&self) -> SpeakerReport {
        let (reply, answers) = mpsc::channel::<WorkerReport>();
        let mut report = SpeakerReport::default();
        for thread in &self.threads {
            if thread.inbox.send(Message::Report(reply.clone())).is_ok() {
                thread.waker.wake();
            }
        }
        drop(reply);
        while let Ok(answer) = answers.recv_timeout(ANSWER_PATIENCE) {
            report.add(answer);
        }
        report.peers.sort_by_key(|peer| peer.peer);
        // A range is in all threads.
        report.peers.dedup_by_key(|peer| peer.peer);
        report.md5 = Md5Mismatches::read();
        report
    }

    /// Ends all sessions this way, waits up to a second until peers have the last words, and ends the threads.
    ///
    /// # Errors
    /// If a thread had ended in failure.
    pub fn shutdown(mut self, stop: &Stop) -> io::Result<()> {
        let threads = std::mem::take(&mut self.threads);
        for thread in &threads {
            if thread.inbox.send(Message::Stop(stop.clone())).is_ok() {
                thread.waker.wake();
            }
        }
        let mut outcome = Ok(());
        for thread in threads {
            let ended = thread.join.join();
            outcome = outcome.and(ended.unwrap_or_else(|_| {
                Err(io::Error::other("an I/O thread of the speaker panicked"))
            }));
        }
        outcome
    }
}

impl Drop for SpeakerHandle {
    fn drop(&mut self) {
        for thread in &self.threads {
            // A thread with a full inbox finds the inbox closed once it has emptied it.
            let _ = thread.inbox.try_send(Message::Stop(Stop::GracefulRestart));
            thread.waker.wake();
        }
    }
}

impl SpeakerReport {
    fn add(&mut self, answer: WorkerReport) {
        self.peers.extend(answer.peers);
        let (to, from) = (&mut self.refused, answer.refused);
        to.unknown_source += from.unknown_source;
        to.stopped += from.stopped;
        to.held_back += from.held_back;
        to.too_many_connections += from.too_many_connections;
        to.range_full += from.range_full;
        let (to, from) = (&mut self.counters, answer.counters);
        to.accepted += from.accepted;
        to.accept_errors += from.accept_errors;
        to.accept_overruns += from.accept_overruns;
        to.key_errors += from.key_errors;
        to.read_pauses += from.read_pauses;
        to.turns += from.turns;
        to.connections += from.connections;
    }
}

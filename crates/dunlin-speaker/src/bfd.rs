//! UDP sockets around the BFD sessions ([`dunlin_bfd::Sessions`]): a thread of its own, which no burst of routes delays.
//!
//! ```text
//!  owner ── set, remove ──► bounded channel ──► BFD thread: ppoll ⇄ Sessions ── BfdEvent ──► BfdSink
//! ```
//!
//! The thread sleeps until a datagram, a command or the earliest deadline, to the microsecond as the system has it; nothing
//! ticks. Where it may, it is a real-time thread of the least priority, but not while it is flooded. In one turn it reads first and looks at deadlines then, so that no session ends while its packet lies unread.
//!
//! Bounds, and what happens there:
//!
//! | what | bound | then |
//! |---|---|---|
//! | sessions | [`BfdConfig::limit`] | refused, told by an event |
//! | sockets | one a session, and one a port and family | sending fails and is counted, and is tried again with the next packet |
//! | commands on the way | 4,096 | the owner waits |
//! | events on the way | the sink's | merged: one change a session waits, which tells the state now and the failures so far |
//! | datagrams read in one turn | 1,024 a socket | deadlines come first, then the rest; what the kernel drops meanwhile is counted |

mod urgency;
mod worker;

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dunlin_bfd::{
    ConfigError, Drops, Hops, Seeds, SessionConfig, SessionId, SessionSnapshot, Sessions,
    StateChange,
};
use dunlin_net::Afi;

use self::worker::{Parts, WAKER, Worker};
use crate::{Clock, Waker, datagram};

/// Commands on the way to the thread.
const COMMANDS: usize = 4096;

/// How long the thread may take to answer a question.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// What the BFD thread is told to be.
#[derive(Clone, Debug)]
pub struct BfdConfig {
    /// Seeds of the sessions: from the system's random numbers, or discriminators could be guessed.
    pub seeds: Seeds,
    /// The clock that the machine is fed.
    pub clock: Clock,
    /// The most sessions.
    pub limit: usize,
}

/// Why there is no BFD, or no session.
#[derive(Debug, thiserror::Error)]
pub enum BfdError {
    /// Someone else does BFD on this machine.
    #[error(
        "cannot receive BFD packets on UDP port {port}: another process has it; find it with `ss -ulnp sport = :{port}` and stop it, or do without BFD"
    )]
    PortInUse {
        /// 3784 or 4784.
        port: u16,
    },
    /// Any other failure to receive, for example a machine without IPv6.
    #[error("cannot receive BFD packets on UDP port {port}: {source}")]
    Receive {
        /// 3784 or 4784.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The session makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No epoll, no thread.
    #[error("cannot start the BFD thread: {0}")]
    Thread(#[source] io::Error),
}

/// What the thread tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BfdEvent {
    /// A session has changed its state. If its [`StateChange::failures`] are more than those last told, it has failed since,
    /// even if it is up again.
    Changed(StateChange),
    /// A session was refused, and is what it was before.
    Refused {
        /// Which.
        session: SessionId,
        /// Why.
        error: ConfigError,
    },
}

impl BfdEvent {
    /// Of which session.
    pub fn session(&self) -> SessionId {
        match self {
            BfdEvent::Changed(change) => change.session,
            BfdEvent::Refused { session, .. } => *session,
        }
    }
}

/// Takes the events of the BFD thread. It must not block.
pub trait BfdSink: Send + 'static {
    /// Takes an event, or gives it back if there is no room. Then `waker` must be woken when there is room again.
    fn try_send(&mut self, event: BfdEvent, waker: &Waker) -> Result<(), BfdEvent>;
}

impl<F> BfdSink for F
where
    F: FnMut(BfdEvent, &Waker) -> Result<(), BfdEvent> + Send + 'static,
{
    fn try_send(&mut self, event: BfdEvent, waker: &Waker) -> Result<(), BfdEvent> {
        self(event, waker)
    }
}

/// A session with what its sockets know.
#[derive(Clone, Debug)]
pub struct BfdSession {
    /// The session.
    pub snapshot: SessionSnapshot,
    /// The source port of its packets; none before the first is sent.
    pub source_port: Option<u16>,
    /// Packets that could not be sent.
    pub send_errors: u64,
    /// The last such error, as the system numbers it.
    pub last_send_error: Option<i32>,
}

/// What the BFD thread counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BfdCounters {
    /// Times that the thread woke up.
    pub turns: u64,
    /// Datagrams read.
    pub received: u64,
    /// Datagrams that the kernel dropped because they were not read in time.
    pub overruns: u64,
    /// Packets that could not be sent.
    pub send_errors: u64,
    /// The longest that the thread was late for a deadline: more than an interval or two of a session, and its peer may
    /// have given us up for want of processor time.
    pub most_late: Duration,
}

/// What the BFD thread tells when asked.
#[derive(Clone, Debug, Default)]
pub struct BfdReport {
    /// All sessions, by id.
    pub sessions: Vec<BfdSession>,
    /// Packets dropped, by reason.
    pub dropped: Drops,
    /// What is counted.
    pub counters: BfdCounters,
}

enum Message {
    Set(SessionId, SessionConfig),
    Remove(SessionId),
    /// Read these datagrams from now on, or no longer.
    Listen(Port, Option<mio::net::UdpSocket>),
    Report(Sender<BfdReport>),
    Stop,
}

/// A receiving socket, by what it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Port {
    hops: Hops,
    afi: Afi,
}

impl Port {
    fn of(config: &SessionConfig) -> Port {
        Port {
            hops: config.hops,
            afi: Afi::of(config.peer.to_canonical()),
        }
    }
}

/// The end of the BFD thread that its owner holds. Dropping it ends all sessions as [`BfdHandle::shutdown`] does, without
/// waiting.
pub struct BfdHandle {
    inbox: SyncSender<Message>,
    waker: Waker,
    join: Option<JoinHandle<io::Result<()>>>,
    /// By which sockets sessions receive: a socket is there while a session wants it.
    ports: HashMap<SessionId, Port>,
}

impl BfdHandle {
    /// Starts the thread. It has no socket until there is a session.
    ///
    /// # Errors
    /// If there are no more descriptors or threads.
    pub fn spawn(config: &BfdConfig, sink: impl BfdSink) -> Result<BfdHandle, BfdError> {
        let poll = mio::Poll::new().map_err(BfdError::Thread)?;
        let waker = mio::Waker::new(poll.registry(), WAKER).map_err(BfdError::Thread)?;
        let waker = Waker::new(waker);
        let (inbox, receiver) = mpsc::sync_channel(COMMANDS);
        let worker = Worker::new(Parts {
            poll,
            waker: waker.clone(),
            clock: config.clock,
            inbox: receiver,
            sessions: Sessions::new(config.seeds, config.limit),
            port_seed: config.seeds.chance,
            sink: Box::new(sink),
        });
        let join = thread::Builder::new()
            .name("bfd-io".to_owned())
            .spawn(move || worker.run())
            .map_err(BfdError::Thread)?;
        Ok(BfdHandle {
            inbox,
            waker,
            join: Some(join),
            ports: HashMap::new(),
        })
    }

    /// Makes a session this ([`Sessions::set`]).
    ///
    /// # Errors
    /// If its packets cannot be received, or it makes no sense. What only the thread can see comes as
    /// [`BfdEvent::Refused`].
    pub fn set(&mut self, session: SessionId, config: SessionConfig) -> Result<(), BfdError> {
        config.check()?;
        let port = Port::of(&config);
        if !self.ports.values().any(|other| *other == port) {
            let number = port.hops.port();
            let socket = datagram::listen(port.afi, number).map_err(|source| {
                if source.kind() == io::ErrorKind::AddrInUse {
                    BfdError::PortInUse { port: number }
                } else {
                    BfdError::Receive {
                        port: number,
                        source,
                    }
                }
            })?;
            self.tell(Message::Listen(port, Some(socket)));
        }
        let before = self.ports.insert(session, port);
        self.tell(Message::Set(session, config));
        self.close_unused(before);
        Ok(())
    }

    /// Ends a session ([`Sessions::remove`]).
    pub fn remove(&mut self, session: SessionId) {
        self.tell(Message::Remove(session));
        let before = self.ports.remove(&session);
        self.close_unused(before);
    }

    fn close_unused(&self, port: Option<Port>) {
        if let Some(port) = port
            && !self.ports.values().any(|other| *other == port)
        {
            self.tell(Message::Listen(port, None));
        }
    }

    fn tell(&self, message: Message) {
        // A thread that is gone is told by `is_alive`.
        if self.inbox.send(message).is_ok() {
            self.waker.wake();
        }
    }

    /// Whether the thread runs. If not, it has met a failure of the system's poll, or a bug.
    pub fn is_alive(&self) -> bool {
        self.join.as_ref().is_some_and(|join| !join.is_finished())
    }

    /// All sessions as they are now, and the counters; none if the thread does not answer within two seconds.
    pub fn report(&self) -> Option<BfdReport> {
        let (reply, answer) = mpsc::channel();
        self.tell(Message::Report(reply));
        answer.recv_timeout(ANSWER_PATIENCE).ok()
    }

    /// Tells all peers AdminDown, waits up to a second until they must have heard it, and ends the thread.
    ///
    /// # Errors
    /// If the thread had ended in failure.
    pub fn shutdown(mut self) -> io::Result<()> {
        self.tell(Message::Stop);
        let Some(join) = self.join.take() else {
            return Ok(());
        };
        let ended = join.join();
        ended.unwrap_or_else(|_| Err(io::Error::other("the BFD thread panicked")))
    }
}

impl Drop for BfdHandle {
    fn drop(&mut self) {
        // A thread with a full inbox finds the inbox closed once it has emptied it.
        let _ = self.inbox.try_send(Message::Stop);
        self.waker.wake();
    }
}

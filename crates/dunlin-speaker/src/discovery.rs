//! An ICMPv6 socket around [`dunlin_bgp::discovery`]: a thread of its own, which sleeps until a message, a command or the
//! earliest deadline.
//!
//! One raw socket serves all interfaces. The kernel lets nothing through to it but router solicitations and advertisements
//! whose checksum is right; the hop limit is looked at by the machine. Opening it takes `CAP_NET_RAW`.
//!
//! Bounds, and what happens there:
//!
//! | what | bound | then |
//! |---|---|---|
//! | commands on the way | 1,024 | the owner waits |
//! | events on the way | the sink's | merged: one a link waits, the latest |
//! | messages read in one turn | 256 | deadlines come first, then the rest; what the kernel drops meanwhile is counted |
//! | what the kernel keeps for us | 64 KiB | it drops more, and that is counted |

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dunlin_bgp::discovery::{
    Counts, Datagram, Discovery, HOP_LIMIT, Neighbour, Output, Transmit, kind,
};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::datagram::{self, Batch, Outgoing, TRAFFIC_CLASS};
use crate::socket::set_option;
use crate::{Clock, Waker};

const WAKER: Token = Token(0);
const SOCKET: Token = Token(1);

/// Commands on the way to the thread.
const COMMANDS: usize = 1024;

/// How long the thread may take to answer a question.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// Longer than an advertisement on any link of 1,500 octets; one that is longer is dropped as malformed.
const PAYLOAD: usize = 2048;

/// Calls of `recvmmsg` in one turn, of 32 messages each.
const BATCHES_A_TURN: usize = 8;

/// What the kernel keeps for us while we are busy. Whoever floods us cannot have more.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// Routers listen here for solicitations.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Why neighbours cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// No capability, or no IPv6.
    #[error(
        "cannot listen to router advertisements: {0}; it takes CAP_NET_RAW and a kernel with IPv6"
    )]
    Socket(#[source] io::Error),
    /// No epoll, no thread.
    #[error("cannot start the thread that listens to router advertisements: {0}")]
    Thread(#[source] io::Error),
}

/// What the thread counts.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryReport {
    /// Messages taken and dropped.
    pub counts: Counts,
    /// Messages that the kernel dropped because they were not read in time.
    pub overruns: u64,
    /// Messages that could not be sent.
    pub send_errors: u64,
}

/// Takes what becomes known of a link, or gives it back if there is no room: then the waker must be woken when there is.
pub type DiscoverySink = Box<dyn FnMut(Neighbour, &Waker) -> Result<(), Neighbour> + Send>;

enum Message {
    Watch(u32, Ipv6Addr),
    Unwatch(u32),
    Report(Sender<DiscoveryReport>),
}

/// The end of the thread that its owner holds. Dropping it ends the thread, without waiting.
pub struct DiscoveryHandle {
    inbox: Option<SyncSender<Message>>,
    waker: Waker,
    join: JoinHandle<io::Result<()>>,
}

impl DiscoveryHandle {
    /// Opens the socket and starts the thread. The seed is for jitter.
    ///
    /// # Errors
    /// If there is no such socket to be had, or no more descriptors or threads.
    pub fn spawn(
        clock: Clock,
        seed: u64,
        sink: DiscoverySink,
    ) -> Result<DiscoveryHandle, DiscoveryError> {
        let mut socket = open().map_err(DiscoveryError::Socket)?;
        let poll = Poll::new().map_err(DiscoveryError::Thread)?;
        let waker = mio::Waker::new(poll.registry(), WAKER).map_err(DiscoveryError::Thread)?;
        let waker = Waker::new(waker);
        poll.registry()
            .register(&mut socket, SOCKET, Interest::READABLE)
            .map_err(DiscoveryError::Thread)?;
        let (inbox, receiver) = mpsc::sync_channel(COMMANDS);
        let worker = Worker {
            poll,
            socket,
            waker: waker.clone(),
            clock,
            inbox: receiver,
            discovery: Discovery::new(seed),
            sink,
            batch: Batch::new(),
            joined: BTreeSet::new(),
            waiting: BTreeMap::new(),
            overruns: 0,
            report: DiscoveryReport::default(),
        };
        let join = thread::Builder::new()
            .name("discovery".to_owned())
            .spawn(move || worker.run())
            .map_err(DiscoveryError::Thread)?;
        Ok(DiscoveryHandle {
            inbox: Some(inbox),
            waker,
            join,
        })
    }

    /// Watches a link ([`Discovery::watch`]).
    pub fn watch(&self, interface: u32, local: Ipv6Addr) {
        self.tell(Message::Watch(interface, local));
    }

    /// Watches a link no longer. What was told of it before may still be on its way.
    pub fn unwatch(&self, interface: u32) {
        self.tell(Message::Unwatch(interface));
    }

    /// Whether the thread runs. If not, it has met a failure of the system's epoll, or a bug.
    pub fn is_alive(&self) -> bool {
        !self.join.is_finished()
    }

    /// What is counted; none if the thread does not answer within two seconds.
    pub fn report(&self) -> Option<DiscoveryReport> {
        let (reply, answer) = mpsc::channel();
        self.tell(Message::Report(reply));
        answer.recv_timeout(ANSWER_PATIENCE).ok()
    }

    fn tell(&self, message: Message) {
        // A thread that is gone is told by `is_alive`.
        if let Some(inbox) = &self.inbox
            && inbox.send(message).is_ok()
        {
            self.waker.wake();
        }
    }
}

impl Drop for DiscoveryHandle {
    fn drop(&mut self) {
        self.inbox = None;
        self.waker.wake();
    }
}

/// The socket, of which the kernel writes and checks the checksums (RFC 3542 3.1).
fn open() -> io::Result<mio::net::UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_nonblocking(true)?;
    let fd = socket.as_raw_fd();
    filter(fd)?;
    let hops = i32::from(HOP_LIMIT);
    for (name, value) in [
        (libc::IPV6_RECVHOPLIMIT, 1),
        (libc::IPV6_RECVPKTINFO, 1),
        (libc::IPV6_MULTICAST_HOPS, hops),
        (libc::IPV6_UNICAST_HOPS, hops),
        (libc::IPV6_MULTICAST_LOOP, 0),
        (libc::IPV6_TCLASS, TRAFFIC_CLASS),
    ] {
        set_option(fd, libc::IPPROTO_IPV6, name, &value)?;
    }
    set_option(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &1_i32)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    // SAFETY: the descriptor is taken out of the socket, so it has one owner. No more is done with it than to wait for it, and
    // to send and receive messages with addresses.
    Ok(unsafe { mio::net::UdpSocket::from_raw_fd(socket.into_raw_fd()) })
}

/// Lets two types through (RFC 3542 3.2).
fn filter(fd: i32) -> io::Result<()> {
    /// Of `linux/icmpv6.h`; a bit that is set blocks its type.
    const ICMPV6_FILTER: i32 = 1;
    let mut blocked = [u32::MAX; 8];
    for kind in [kind::SOLICITATION, kind::ADVERTISEMENT] {
        if let Some(word) = blocked.get_mut(usize::from(kind >> 5)) {
            *word &= !(1 << (kind & 31));
        }
    }
    set_option(fd, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &blocked)
}

struct Worker {
    poll: Poll,
    socket: mio::net::UdpSocket,
    waker: Waker,
    clock: Clock,
    inbox: Receiver<Message>,
    discovery: Discovery,
    sink: DiscoverySink,
    batch: Batch<PAYLOAD>,
    /// Links of whose routers' group we are.
    joined: BTreeSet<u32>,
    /// What the owner had no room for yet.
    waiting: BTreeMap<u32, Neighbour>,
    /// As the kernel counts.
    overruns: u32,
    report: DiscoveryReport,
}

impl Worker {
    /// Runs until the owner is gone.
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(4);
        // Commands may have come before the waker could be heard.
        let mut busy = true;
        let mut readable = true;
        loop {
            self.wait(&mut events, busy)?;
            self.waker.awake();
            readable |= events.iter().any(|event| event.token() == SOCKET);
            let Some(more) = self.take_messages() else {
                return Ok(());
            };
            readable = readable && self.read();
            busy = more || readable;
            self.discovery.on_deadline(self.clock.now());
            self.act();
            self.tell_waiting();
        }
    }

    fn wait(&mut self, events: &mut Events, busy: bool) -> io::Result<()> {
        let timeout = match (busy, self.discovery.next_deadline()) {
            (true, _) => Some(Duration::ZERO),
            (false, at) => at.map(|at| self.clock.until(at)),
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            polled => polled,
        }
    }

    /// Takes commands; whether there may be more. None: there will never be more.
    fn take_messages(&mut self) -> Option<bool> {
        for _ in 0..COMMANDS {
            match self.inbox.try_recv() {
                Ok(Message::Watch(interface, local)) => {
                    self.join(interface);
                    let now = self.clock.now();
                    self.discovery.watch(now, interface, local);
                }
                Ok(Message::Unwatch(interface)) => {
                    self.discovery.unwatch(interface);
                    self.waiting.remove(&interface);
                    if self.joined.remove(&interface) {
                        // A link that is gone has taken the membership with it.
                        let _ = self.membership(libc::IPV6_DROP_MEMBERSHIP, interface);
                    }
                }
                Ok(Message::Report(reply)) => {
                    let mut report = self.report.clone();
                    report.counts = self.discovery.counts().clone();
                    // Who asked may have gone.
                    let _ = reply.send(report);
                }
                Err(TryRecvError::Empty) => return Some(false),
                Err(TryRecvError::Disconnected) => return None,
            }
        }
        Some(true)
    }

    /// Listens to solicitations too. If it cannot be, it is tried again with the next message sent there; advertisements,
    /// which go to all nodes, are heard anyway.
    fn join(&mut self, interface: u32) {
        if self.joined.contains(&interface) {
            return;
        }
        match self.membership(libc::IPV6_ADD_MEMBERSHIP, interface) {
            Ok(()) => drop(self.joined.insert(interface)),
            Err(error) => tracing::debug!(interface, %error, "cannot join the routers of a link"),
        }
    }

    fn membership(&self, name: i32, interface: u32) -> io::Result<()> {
        let group = libc::ipv6_mreq {
            ipv6mr_multiaddr: libc::in6_addr {
                s6_addr: ALL_ROUTERS.octets(),
            },
            ipv6mr_interface: interface,
        };
        set_option(self.socket.as_raw_fd(), libc::IPPROTO_IPV6, name, &group)
    }

    /// Reads what is there; whether there may be more.
    fn read(&mut self) -> bool {
        for _ in 0..BATCHES_A_TURN {
            let more = match self.batch.read(&self.socket) {
                Ok(more) => more,
                Err(error) => {
                    tracing::debug!(%error, "router advertisements cannot be read");
                    return false;
                }
            };
            let now = self.clock.now();
            for received in self.batch.datagrams() {
                let lost = received.overruns.wrapping_sub(self.overruns);
                self.overruns = received.overruns;
                self.report.overruns += u64::from(lost);
                let IpAddr::V6(from) = received.from else {
                    continue;
                };
                let datagram = Datagram {
                    from,
                    interface: received.interface,
                    hop_limit: received.ttl,
                    payload: received.payload,
                };
                // What is wrong with it is counted there.
                let _ = self.discovery.receive(now, &datagram);
            }
            if !more {
                return false;
            }
        }
        true
    }

    /// Does what the machine wants done.
    fn act(&mut self) {
        while let Some(output) = self.discovery.poll_output() {
            match output {
                Output::Transmit(transmit) => self.transmit(&transmit),
                Output::Changed(neighbour) => {
                    self.waiting.insert(neighbour.interface, neighbour);
                }
            }
        }
    }

    fn transmit(&mut self, transmit: &Transmit) {
        self.join(transmit.interface);
        let outgoing = Outgoing {
            to: SocketAddr::new(transmit.to.into(), 0),
            local: Some(transmit.from.into()),
            interface: transmit.interface,
            octets: &transmit.octets,
        };
        if let Err(error) = datagram::send(&self.socket, &outgoing) {
            self.report.send_errors += 1;
            let interface = transmit.interface;
            tracing::debug!(interface, %error, "cannot send to a link");
        }
    }

    fn tell_waiting(&mut self) {
        while let Some((interface, neighbour)) = self.waiting.pop_first() {
            if let Err(neighbour) = (self.sink)(neighbour, &self.waker) {
                self.waiting.insert(interface, neighbour);
                return;
            }
        }
    }
}

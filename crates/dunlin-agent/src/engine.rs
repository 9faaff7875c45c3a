//! The core thread: the one place where facts, session events and kernel events meet.
//!
//! ```text
//!  main thread ── requests ─┐                         ┌─► speaker (I/O thread)
//!  I/O thread ── sessions ──┼─► inbox ─► core thread ─┼─► kernel thread
//!  kernel thread ─ events ──┤                         ├─► BFD thread
//!  BFD thread ─── changes ──┤                         ├─► BMP thread, if there are stations
//!  BMP thread ── credit ────┤                         ├─► discovery thread, if there are unnumbered peers
//!  discovery ── neighbours ─┘                         └─► watched state ─► main thread
//! ```
//!
//! The thread sleeps until something arrives or the earliest deadline of the core; nothing ticks. Each sender has a lane
//! of its own in the inbox, so none can starve another.

mod bfd;
mod discovery;
mod report;
mod sessions;
mod stations;

use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use dunlin_bgp::batch::RouteBatch;
use dunlin_bgp::bmp::StationEvent;
use dunlin_bgp::discovery::Neighbour;
use dunlin_bgp::session::{Seeds, SessionEvent, Stop};
use dunlin_core::{Action, Core, CoreConfig, Input, Restart, Revisions};
use dunlin_kernel::sysctl::Sysctl;
use dunlin_kernel::{KernelEvent, KernelHandle, KernelThread};
use dunlin_net::{Afi, Instant, PerFamily};
use dunlin_speaker::bfd::BfdEvent;
use dunlin_speaker::{Clock, Inbox, Lane, SendError, inbox};
use tokio::sync::{oneshot, watch};

use crate::engine_handle::{
    EngineHandle, EngineRequest, EngineStart, EngineState, PodNetwork, ShutdownMode,
};
use bfd::Bfd;
use discovery::Discovery;
use sessions::Sessions;
use stations::Stations;

/// Requests that wait; beyond, the main thread waits.
const REQUESTS: Lane = Lane { capacity: 256 };

/// Kernel events that wait, in items of a read-back; beyond, the kernel thread waits, and the kernel's own buffer fills.
const KERNEL_EVENTS: Lane = Lane {
    capacity: 64 * 1024,
};

/// What reaches the core thread.
pub(crate) enum Message {
    Request(EngineRequest),
    Session(SessionEvent),
    /// With the time of it.
    Kernel(KernelEvent, Instant),
    Bfd(BfdEvent),
    Station(StationEvent),
    Discovery(Neighbour),
}

/// Starts the kernel thread and the core thread.
///
/// # Errors
/// If the kernel cannot be spoken to, or there are no more threads.
pub(crate) fn spawn(start: &EngineStart) -> Result<EngineHandle> {
    let inbox = inbox();
    let requests = inbox.sender(REQUESTS);
    let (state, watched) = watch::channel(EngineState::default());
    let (revisions, counted) = watch::channel(Revisions::default());
    let events = inbox.sender(KERNEL_EVENTS);
    let clock = Clock::start();
    let kernel = KernelThread::spawn(Default::default(), move |event| {
        let weight = match &event {
            KernelEvent::DumpItems(items) => items.len().max(1),
            _ => 1,
        };
        // A core that is gone has no use for it.
        let _ = events.send(weight, Message::Kernel(event, clock.now()));
    })
    .context("cannot speak with the kernel's routing")?;
    let seed = random_seed()?;
    let config = CoreConfig {
        node_name: start.node_name.as_str().into(),
        seed,
        restart: Restart {
            restarting: start.same_boot,
            forwarding_preserved: start.same_boot,
        },
        service_proxy: start.service_proxy.clone(),
    };
    let seeds = Seeds {
        chance: seed.rotate_left(32),
        attr_hash: seed,
    };
    let engine = Engine {
        core: Core::new(config, clock.now()),
        sessions: Sessions::new(seeds, clock),
        bfd: Bfd::new(clock),
        stations: Stations::new(clock),
        discovery: Discovery::new(clock, seed.rotate_left(16)),
        clock,
        inbox,
        kernel,
        state,
        revisions,
        unsettled: 0,
    };
    thread::Builder::new()
        .name("core".into())
        .spawn(move || engine.run())
        .context("cannot start the core thread")?;
    Ok(EngineHandle::new(
        move |request| {
            requests
                .try_send(1, Message::Request(request))
                .map_err(|error| match error {
                    SendError::Full(message) => TrySend::Full(request_of(message)),
                    SendError::Closed(message) => TrySend::Disconnected(request_of(message)),
                })
        },
        watched,
    )
    .with_revisions(counted))
}

type TrySend = std::sync::mpsc::TrySendError<EngineRequest>;

fn request_of(message: Message) -> EngineRequest {
    match message {
        Message::Request(request) => request,
        Message::Session(..)
        | Message::Kernel(..)
        | Message::Bfd(_)
        | Message::Station(_)
        | Message::Discovery(_) => {
            unreachable!("the inbox gives back what was put in")
        }
    }
}

/// Keys hash tables and jitter: not to be guessed from outside.
fn random_seed() -> Result<u64> {
    let mut octets = [0; 8];
    rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty())
        .context("cannot get randomness")?;
    Ok(u64::from_ne_bytes(octets))
}

struct Engine {
    core: Core,
    sessions: Sessions,
    bfd: Bfd,
    stations: Stations,
    discovery: Discovery,
    clock: Clock,
    inbox: Inbox<Message>,
    kernel: KernelHandle,
    state: watch::Sender<EngineState>,
    revisions: watch::Sender<Revisions>,
    /// Prefixes taken in since the core last drew its conclusions.
    unsettled: usize,
}

/// Why the loop ends.
enum End {
    /// Asked to, by this; told when all is closed.
    Asked(oneshot::Sender<()>),
    /// It cannot go on.
    Failed(String),
}

impl Engine {
    fn run(mut self) {
        let end = self.turn_until_end();
        match end {
            End::Asked(done) => {
                self.shutdown();
                drop(self.kernel);
                // Nobody may be waiting any more.
                let _ = done.send(());
            }
            End::Failed(why) => {
                tracing::error!("{why}");
                self.state.send_modify(|state| state.failure = Some(why));
                self.shutdown();
            }
        }
    }

    /// BGP first: a peer that has been told of a restart may think of BFD what it likes, while there are those that take an
    /// AdminDown for a failure (FRR, BIRD) and would drop what they are to keep. BFD goes on meanwhile, and then says
    /// AdminDown.
    fn shutdown(&mut self) {
        self.sessions.shutdown(&Stop::GracefulRestart);
        self.bfd.shutdown();
        self.stations.shutdown();
    }

    fn turn_until_end(&mut self) -> End {
        let mut arrived = Vec::new();
        let mut more = self.settle();
        loop {
            let patience = if more {
                Some(std::time::Duration::ZERO)
            } else {
                let deadline = self.core.next_deadline();
                deadline.map(|at| self.clock.until(at))
            };
            self.inbox.receive(&mut arrived, patience);
            for message in arrived.drain(..) {
                if let Some(end) = self.take(message) {
                    return end;
                }
            }
            let now = self.clock.now();
            if self.core.next_deadline().is_some_and(|at| at <= now) {
                self.core.on_time(now);
            }
            more = self.settle();
            let failure = self.sessions.failure().or_else(|| self.bfd.failure());
            let failure = failure.or_else(|| self.stations.failure());
            if let Some(why) = failure.or_else(|| self.discovery.failure()) {
                return End::Failed(why);
            }
        }
    }

    /// Takes one message in. Routes are settled in portions: so large that many small UPDATEs cost the peers one telling, so
    /// small that kernel and peers work on the first while the next is decided.
    fn take(&mut self, message: Message) -> Option<End> {
        match message {
            Message::Kernel(event, at) => self.core.on(at, Input::Kernel(event)),
            Message::Session(event) => {
                if let SessionEvent::Routes { batch, .. } = &event {
                    self.unsettled += batch.nlri.v4.len() + batch.nlri.v6.len();
                }
                sessions::log(&self.core, &event);
                self.core.on(self.clock.now(), Input::Session(event));
                if self.unsettled >= RouteBatch::FULL_PREFIXES {
                    self.settle();
                }
            }
            Message::Bfd(event) => {
                bfd::log(&self.core, &event);
                self.core.on(self.clock.now(), bfd::input(event));
            }
            Message::Station(event) => {
                stations::log(&self.core, &event);
                self.core.on(self.clock.now(), Input::Station(event));
            }
            Message::Discovery(neighbour) => {
                discovery::log(&neighbour);
                self.core.on(self.clock.now(), Input::Neighbour(neighbour));
            }
            Message::Request(request) => return self.serve(request),
        }
        None
    }

    fn serve(&mut self, request: EngineRequest) -> Option<End> {
        match request {
            EngineRequest::Fact(event, heard) => {
                let heard = self.clock.reading(heard);
                self.core.on(heard, Input::Source(*event));
            }
            EngineRequest::Ask(query, reply) => {
                if !reply.is_closed() {
                    self.settle();
                    let outside = report::outside(
                        &self.sessions,
                        &self.bfd,
                        &self.discovery,
                        Core::needs_sessions(&query),
                    );
                    let answer = self.core.answer(self.clock.now(), &query, &outside);
                    let _ = reply.send(answer);
                }
            }
            EngineRequest::Plan(steps, limit, reply) => {
                if !reply.is_closed() {
                    self.settle();
                    let _ = reply.send(self.core.plan(steps, limit));
                }
            }
            EngineRequest::Dump(mut dump, reply) => {
                if !reply.is_closed() {
                    let piece = self.core.dump(&mut dump);
                    let _ = reply.send((dump, piece));
                }
            }
            EngineRequest::Ping(reply) => {
                let _ = reply.send(());
            }
            EngineRequest::Shutdown(ShutdownMode::KeepForwarding, reply) => {
                return Some(End::Asked(reply));
            }
        }
        None
    }

    /// Lets the core draw its conclusions and does what it wants. Whether there is more to do at once.
    fn settle(&mut self) -> bool {
        self.unsettled = 0;
        self.core.hasten(self.clock.now());
        self.act();
        let more = self.core.settle(self.clock.now());
        self.act();
        let revisions = self.core.revisions();
        self.revisions.send_if_modified(|told| {
            let changed = *told != revisions;
            *told = revisions;
            changed
        });
        more
    }

    /// Does what the core wants.
    fn act(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Session(command) => self.sessions.command(command),
                Action::Bfd(command) => {
                    if let Err(refused) = self.bfd.command(command, &self.inbox) {
                        let input = Input::BfdRefused(refused.session, refused.why);
                        self.core.on(self.clock.now(), input);
                    }
                }
                Action::Station(command) => self.stations.command(command, &self.inbox),
                Action::Discovery(command) => {
                    if let Err(why) = self.discovery.command(command, &self.inbox) {
                        let input = Input::DiscoveryRefused(why);
                        self.core.on(self.clock.now(), input);
                    }
                }
                Action::Kernel(command) => {
                    if let Err(error) = self.kernel.command(command) {
                        tracing::error!(%error, "the kernel thread takes no more commands");
                    }
                }
                Action::Listen(port) => self.sessions.listen(port, &self.inbox),
                Action::EnableForwarding(families) => {
                    let result = enable_forwarding(families);
                    self.core.on(self.clock.now(), Input::Forwarding(result));
                }
                Action::HealthPorts(ports) => {
                    let ports = Arc::new(ports);
                    self.state.send_modify(|state| state.health_ports = ports);
                }
                Action::Delivering => {
                    self.state.send_modify(|state| state.delivering = true);
                }
                Action::PodNetwork(network) => {
                    self.state.send_modify(|state| {
                        state.pod_network = Some(PodNetwork {
                            pod_cidrs: network.pod_cidrs,
                            mtu: network.mtu,
                        });
                    });
                }
            }
        }
    }
}

fn enable_forwarding(families: PerFamily<bool>) -> Result<(), String> {
    let sysctl = Sysctl::default();
    for afi in Afi::ALL {
        if !families.get(afi) {
            continue;
        }
        let changes = match afi {
            Afi::Ipv4 => sysctl.forward_ipv4(),
            Afi::Ipv6 => sysctl.forward_ipv6(),
        };
        for change in changes.map_err(|error| error.to_string())? {
            tracing::info!(
                sysctl = change.name,
                from = change.from,
                to = change.to,
                "changed"
            );
        }
    }
    Ok(())
}

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use dunlin_bgp::session::{
    Action as SessionAction, ConnId, Input as SessionInput, SessionEvent, Sessions,
};
use dunlin_bgp::session::{Seeds, TransportError};
use dunlin_core::{Action, Core, CoreConfig, Input, PodNetwork, Restart};
use dunlin_intent::{Kind, SourceEvent};
use dunlin_net::{Instant, PeerId};

use crate::kernel::SimKernel;
use crate::world::News;

/// What a host wants of the network.
#[derive(Debug)]
pub(crate) enum Want {
    Dial {
        peer: PeerId,
        conn: ConnId,
        remote: SocketAddr,
    },
    Write {
        peer: PeerId,
        conn: ConnId,
        bytes: Bytes,
    },
    Close {
        peer: PeerId,
        conn: ConnId,
        last: Option<Vec<u8>>,
    },
}

/// The agent of a host, while it runs.
struct Agent {
    core: Core,
    sessions: Sessions,
}

/// One machine: a kernel, and an agent while it runs.
pub struct Host {
    /// The name of its Node object.
    pub name: Arc<str>,
    /// Its address.
    pub addr: IpAddr,
    /// Its kernel, which outlives the agent.
    pub kernel: SimKernel,
    /// What its CNI configuration would say.
    pub pod_network: Option<PodNetwork>,
    agent: Option<Agent>,
    /// When it is already due to be woken.
    pub(crate) scheduled: Option<Instant>,
    seed: u64,
}

impl Host {
    pub(crate) fn new(name: Arc<str>, addr: IpAddr, kernel: SimKernel, seed: u64) -> Host {
        Host {
            name,
            addr,
            kernel,
            pod_network: None,
            agent: None,
            scheduled: None,
            seed,
        }
    }

    pub(crate) fn move_to(&mut self, addr: IpAddr, on_link: dunlin_net::IpNet) {
        self.addr = addr;
        self.kernel.set_address(addr, on_link);
    }

    /// Whether the agent runs.
    pub fn is_running(&self) -> bool {
        self.agent.is_some()
    }

    /// The agent's core, to be asked.
    pub fn core(&mut self) -> Option<&mut Core> {
        self.agent.as_mut().map(|agent| &mut agent.core)
    }

    pub(crate) fn start(&mut self, now: Instant, restarted: bool) {
        let config = CoreConfig {
            node_name: self.name.clone(),
            seed: self.seed,
            restart: Restart {
                restarting: restarted,
                forwarding_preserved: restarted,
            },
            service_proxy: None,
        };
        let seeds = Seeds {
            chance: self.seed,
            attr_hash: self.seed,
        };
        self.seed = self.seed.wrapping_add(1);
        self.scheduled = None;
        self.agent = Some(Agent {
            core: Core::new(config, now),
            sessions: Sessions::new(seeds),
        });
    }

    /// The agent is gone from one moment to the next.
    pub(crate) fn kill(&mut self) {
        self.agent = None;
        self.scheduled = None;
    }

    pub(crate) fn apply(&mut self, now: Instant, news: &News) {
        if let Some(agent) = &mut self.agent {
            for fact in news.facts.iter() {
                agent
                    .core
                    .on(now, Input::Source(SourceEvent::Apply(fact.clone())));
            }
            for key in news.gone.iter() {
                agent
                    .core
                    .on(now, Input::Source(SourceEvent::Remove(key.clone())));
            }
        }
    }

    pub(crate) fn synced(&mut self, now: Instant) {
        if let Some(agent) = &mut self.agent {
            for kind in Kind::ALL {
                agent.core.on(now, Input::Source(SourceEvent::Synced(kind)));
            }
        }
    }

    pub(crate) fn session(&mut self, now: Instant, peer: PeerId, input: SessionInput<'_>) {
        if let Some(agent) = &mut self.agent {
            agent.sessions.on(now, peer, input);
        }
    }

    pub(crate) fn accept(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(PeerId, ConnId), TransportError> {
        let agent = self.agent.as_mut().ok_or(TransportError::Refused)?;
        agent
            .sessions
            .accept(now, local, remote)
            .map_err(|_| TransportError::Eof)
    }

    pub(crate) fn kernel_event(&mut self, now: Instant, event: dunlin_dataplane::KernelEvent) {
        if let Some(agent) = &mut self.agent {
            agent.core.on(now, Input::Kernel(event));
        }
    }

    pub(crate) fn on_time(&mut self, now: Instant) {
        if let Some(agent) = &mut self.agent {
            agent.sessions.on_deadline(now);
            agent.core.on_time(now);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let agent = self.agent.as_ref()?;
        let deadlines = [agent.core.next_deadline(), agent.sessions.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Lets core, sessions and kernel answer each other until none has anything more to say at this moment.
    pub(crate) fn pump(&mut self, now: Instant, wants: &mut VecDeque<Want>) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        loop {
            let mut busy = agent.core.settle(now);
            while let Some(action) = agent.core.poll_action() {
                busy = true;
                match action {
                    Action::Session(command) => agent.sessions.command(now, command),
                    Action::Kernel(command) => {
                        for event in self.kernel.execute(command) {
                            agent.core.on(now, Input::Kernel(event));
                        }
                    }
                    Action::Listen(_) => {}
                    Action::PodNetwork(network) => self.pod_network = Some(network),
                    Action::Bfd(_)
                    | Action::Station(_)
                    | Action::Discovery(_)
                    | Action::HealthPorts(_)
                    | Action::Delivering => {}
                    Action::EnableForwarding(_) => {
                        agent.core.on(now, Input::Forwarding(Ok(())));
                    }
                }
            }
            while let Some((peer, action)) = agent.sessions.poll_action() {
                busy = true;
                match action {
                    SessionAction::Dial { conn, remote, .. } => {
                        wants.push_back(Want::Dial { peer, conn, remote });
                    }
                    SessionAction::Write {
                        conn,
                        bytes,
                        credited,
                    } => {
                        if credited {
                            let bytes = bytes.len();
                            let drained = SessionEvent::Drained { peer, conn, bytes };
                            agent.core.on(now, Input::Session(drained));
                        }
                        wants.push_back(Want::Write { peer, conn, bytes });
                    }
                    SessionAction::Close { conn, notification } => {
                        let last = notification;
                        wants.push_back(Want::Close { peer, conn, last });
                    }
                    SessionAction::Retune { .. } => {}
                    SessionAction::Event(event) => agent.core.on(now, Input::Session(event)),
                }
            }
            if !busy {
                return;
            }
        }
    }
}

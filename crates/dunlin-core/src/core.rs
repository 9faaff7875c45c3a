use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use dunlin_bfd::{SessionId, StateChange};
use dunlin_bgp::bmp::{StationCommand, StationEvent};
use dunlin_bgp::discovery::Neighbour;
use dunlin_bgp::session::{Command, SessionEvent};
use dunlin_dataplane::fib::{self, Fib};
use dunlin_dataplane::links::Links;
use dunlin_dataplane::{KernelCommand, KernelEvent};
use dunlin_intent::{Change, Cluster, Initiative, LocalIntent, PeerKey, SourceEvent};
use dunlin_net::service::ProxyOptions;
use dunlin_net::{Instant, IpNet, PeerId, PerFamily};

use crate::announcing::Announcing;
use crate::bfd::{Bfd, BfdCommand};
use crate::bmp::Bmp;
use crate::delivery::{Delivery, HealthPort};
use crate::drain::Drain;
use crate::failover::Failover;
use crate::gate::{Awaited, Gate};
use crate::handover::Handover;
use crate::local::{Egress, Forwarding};
use crate::peer_config::Restart;
use crate::peers::{Peer, Peers};
use crate::revisions::Revisions;
use crate::routes::Routing;
use crate::unnumbered::{DiscoveryCommand, Unnumbered};

/// What a core is made with.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// The name of our Node object.
    pub node_name: Arc<str>,
    /// Keys the hash tables; the one the sessions hash attributes with.
    pub seed: u64,
    /// What is known of the agent's last run.
    pub restart: Restart,
    /// How this node delivers what is sent to service addresses, if it does.
    pub service_proxy: Option<ProxyOptions>,
}

/// What happens to the core.
#[expect(
    clippy::large_enum_variant,
    reason = "taken in at once, never stored in numbers"
)]
#[derive(Debug)]
pub enum Input {
    /// From a source of objects.
    Source(SourceEvent),
    /// From the sessions.
    Session(SessionEvent),
    /// From the kernel.
    Kernel(KernelEvent),
    /// From the BFD sessions.
    Bfd(StateChange),
    /// A BFD session cannot be as last asked for, and why.
    BfdRefused(SessionId, String),
    /// From the connections to monitoring stations.
    Station(StationEvent),
    /// Who is at the other end of a link that is watched.
    Neighbour(Neighbour),
    /// No link can be watched as last asked for, and why.
    DiscoveryRefused(String),
    /// Forwarding is enabled as last asked by [`Action::EnableForwarding`], or why it is not.
    Forwarding(Result<(), String>),
}

/// What the core wants done.
#[derive(Debug)]
pub enum Action {
    /// For the sessions.
    Session(Command),
    /// For the BFD sessions.
    Bfd(BfdCommand),
    /// For the connections to monitoring stations.
    Station(StationCommand),
    /// For the thread that hears router advertisements.
    Discovery(DiscoveryCommand),
    /// For the kernel.
    Kernel(KernelCommand),
    /// Listen for peers on this port of every address.
    Listen(u16),
    /// Let the kernel forward packets of these families; answered by [`Input::Forwarding`].
    EnableForwarding(PerFamily<bool>),
    /// What the CNI configuration has to say.
    PodNetwork(PodNetwork),
    /// The health-check node ports to serve from now on, by port.
    HealthPorts(BTreeMap<u16, HealthPort>),
    /// For the first time the service proxy's tables hold all that is wanted.
    Delivering,
}

/// What the CNI configuration has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// The node's own pod subnets.
    pub pod_cidrs: Vec<IpNet>,
    /// MTU of the uplink, octets.
    pub mtu: u32,
}

/// The engine. Feed it with [`Core::on`], take [`Core::poll_action`] until it gives nothing, call [`Core::on_time`] at
/// [`Core::next_deadline`], and [`Core::settle`] when no more input waits: that is when it decides and encodes.
#[derive(Debug)]
pub struct Core {
    pub(crate) config: CoreConfig,
    pub(crate) started: Instant,
    pub(crate) cluster: Cluster,
    pub(crate) local: Option<Arc<LocalIntent>>,
    pub(crate) peers: Peers,
    pub(crate) routing: Option<Routing>,
    pub(crate) fib: Fib,
    pub(crate) links: Links,
    pub(crate) gate: Gate,
    pub(crate) egress: Egress,
    pub(crate) forwarding: Forwarding,
    /// The sources have told everything once.
    pub(crate) synced: bool,
    /// The same for these prefixes alone.
    pub(crate) release_soon: BTreeSet<IpNet>,
    /// What the restart gate lets go has to be looked at: the gate moved.
    pub(crate) release_due: bool,
    /// Peers were told that from here on a new session does not mean a new process.
    pub(crate) told_open: bool,
    /// Next hops have to be resolved again.
    pub(crate) links_changed: bool,
    /// Sessions that live on have to be told our new next hops.
    pub(crate) regroup_due: bool,
    /// The read-back found routes of ours.
    pub(crate) adopted: bool,
    /// The kernel has been read back, so it is known whether forwarding survived a restart.
    pub(crate) read_back: bool,
    /// Peers wanted before the read-back.
    pub(crate) waiting: BTreeSet<PeerKey>,
    /// Deadlines of peers; entries whose peer has another deadline by now mean nothing.
    pub(crate) timers: BTreeSet<(Instant, PeerId)>,
    /// Requests to tell everything again that came while one waited already.
    pub(crate) melted_refreshes: u64,
    /// Prefixes whose facts changed: routes around them are judged again.
    pub(crate) rejudge: BTreeSet<IpNet>,
    pub(crate) actions: VecDeque<Action>,
    pub(crate) listening: Option<u16>,
    pub(crate) pod_network: Option<PodNetwork>,
    pub(crate) counters: Counters,
    pub(crate) announcing: Announcing,
    pub(crate) revisions: Revisions,
    pub(crate) drain: Drain,
    pub(crate) delivery: Delivery,
    pub(crate) bfd: Bfd,
    pub(crate) unnumbered: Unnumbered,
    pub(crate) failover: Failover,
    pub(crate) bmp: Bmp,
    pub(crate) handover: Handover,
    /// When the source last said anything.
    pub(crate) source_heard: Option<Instant>,
    /// When the kernel was last seen to hold all that is wanted.
    pub(crate) fib_settled: Option<Instant>,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) overruns: u64,
    pub(crate) repairs: u64,
}

/// How many prefixes of waiting RIB work one [`Core::settle`] does.
const WORK_BUDGET: usize = 32 * 1024;

impl Core {
    /// Knows nothing, and first wants to read the kernel back.
    pub fn new(config: CoreConfig, now: Instant) -> Core {
        Core {
            started: now,
            cluster: match config.service_proxy.clone() {
                Some(options) => Cluster::new(config.node_name.clone())
                    .with_service_proxy()
                    .with_proxy_options(options),
                None => Cluster::new(config.node_name.clone()),
            },
            local: None,
            peers: Peers::default(),
            routing: None,
            fib: Fib::new(config.seed),
            links: Links::new(),
            gate: Gate::new(),
            egress: Egress::default(),
            forwarding: Forwarding::default(),
            synced: false,
            release_soon: BTreeSet::new(),
            release_due: false,
            told_open: false,
            links_changed: false,
            regroup_due: false,
            adopted: false,
            read_back: false,
            waiting: BTreeSet::new(),
            timers: BTreeSet::new(),
            melted_refreshes: 0,
            rejudge: BTreeSet::new(),
            actions: VecDeque::new(),
            listening: None,
            pod_network: None,
            counters: Counters::default(),
            announcing: Announcing::default(),
            revisions: Revisions::default(),
            drain: Drain::default(),
            delivery: Delivery::new(&config),
            bfd: Bfd::default(),
            unnumbered: Unnumbered::default(),
            failover: Failover::default(),
            bmp: Bmp::default(),
            handover: Handover::default(),
            source_heard: None,
            fib_settled: None,
            config,
        }
    }

    /// Takes an input. What a source said may have been heard a little before the inputs that came first: how long what
    /// follows takes counts from then.
    pub fn on(&mut self, now: Instant, input: Input) {
        self.revisions.on_input(&input, &self.config.node_name);
        match input {
            Input::Source(event) => {
                self.source_heard = Some(now);
                self.announcing.on_source(now, &event);
                self.delivery.on_source(now);
                self.cluster.on_source(event);
            }
            Input::Session(event) => self.on_session(now, event),
            Input::Kernel(event) => self.on_kernel(now, event),
            Input::Bfd(change) => self.on_bfd(now, change),
            Input::BfdRefused(session, why) => self.on_bfd_refused(now, session, why),
            Input::Station(event) => self.on_station(now, event),
            Input::Neighbour(neighbour) => self.on_neighbour(neighbour),
            Input::DiscoveryRefused(why) => self.on_discovery_refused(now, why),
            Input::Forwarding(result) => self.forwarding.on_result(now, result),
        }
    }

    /// A deadline may have passed.
    pub fn on_time(&mut self, now: Instant) {
        if self.gate.on_time(now) {
            self.revisions.changes += 1;
            self.release_due = true;
            self.on_gate_moved();
        }
        if self.forwarding.retry_at.is_some_and(|at| at <= now) {
            self.ask_forwarding();
        }
        self.on_drain_time(now);
        self.on_delivery_time(now);
        self.on_peer_timers(now);
        self.on_bfd_time(now);
        self.on_handover_time(now);
        self.on_discovery_time(now);
    }

    /// Draws the conclusions that connections wait for, ahead of [`Core::settle`]: the kernel can begin while the rest is
    /// decided. What is dead is led past before all else; returns whether there was such, and nothing more was done.
    pub fn hasten(&mut self, now: Instant) -> bool {
        if self.begin_failover(now) {
            return true;
        }
        while let Some(change) = self.cluster.poll_change() {
            self.on_change(now, change);
        }
        self.announcing.begin(self.gate.is_synced());
        // Without our own Node nobody is wanted, which must not look as if nobody could announce anything.
        self.settle_delivery(now);
        false
    }

    /// Draws the conclusions from everything taken in so far. Returns whether there is more to do at once: call again.
    pub fn settle(&mut self, now: Instant) -> bool {
        if self.hasten(now) {
            return true;
        }
        let known = self.synced && self.read_back && self.local.is_some();
        if known && self.delivery.has_begun() && !self.gate.is_synced() {
            self.on_synced(now);
        }
        self.start_waiting_peers(now);
        self.settle_unnumbered();
        self.settle_bfd(now);
        let more = self.settle_routing(WORK_BUDGET);
        self.settle_announcing(more);
        self.settle_stations(now);
        // Only when nothing is left to be decided is it certain what nobody wants.
        if self.release_due && !more {
            self.release_due = false;
            self.release_soon.clear();
            self.release_all();
        }
        if !more {
            for net in std::mem::take(&mut self.release_soon) {
                self.release_if_free(net);
            }
        }
        self.end_failover(more);
        self.settle_egress();
        self.settle_pod_network();
        self.settle_fib(now);
        more
    }

    /// What to do, oldest first.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Counts what changed of what reports tell. Whoever shows them compares with the last he saw.
    pub fn revisions(&self) -> Revisions {
        self.revisions
    }

    /// What people call a peer.
    pub fn peer_name(&self, id: PeerId) -> Option<String> {
        self.peers.get(id).map(crate::peers::Peer::name)
    }

    /// What people call the peer of a BFD session.
    pub fn bfd_peer_name(&self, session: SessionId) -> Option<String> {
        self.peer_name(self.bfd.peer_of(session)?)
    }

    /// When to call [`Core::on_time`] and [`Core::settle`] though nothing happened.
    pub fn next_deadline(&self) -> Option<Instant> {
        [
            self.gate.next_deadline(),
            self.fib.next_deadline(),
            self.forwarding.retry_at,
            self.drain.next_deadline(),
            self.delivery.next_deadline(),
            self.bfd.next_deadline(),
            self.bmp.next_deadline(),
            self.handover.next_deadline(),
            self.unnumbered.next_deadline(),
            self.timers.first().map(|(at, _)| *at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn on_change(&mut self, now: Instant, change: Change) {
        self.revisions.on_change(&change);
        match change {
            Change::LocalChanged(local) => self.on_local(now, local),
            Change::Originate(net, origination) => self.originate_delivered(net, &origination),
            Change::OriginateGone(net) => self.originate_delivered_gone(now, net),
            Change::PeerWanted(key, intent) => self.on_peer_wanted(now, key, intent),
            Change::PeerGone(key) => self.on_peer_gone(now, &key),
            Change::OwnerChanged(net) => self.on_owner_changed(net),
            Change::ProtectionChanged(net) => self.on_protection_changed(net),
            Change::EgressExclusionChanged(_) => self.egress.dirty = true,
            Change::ServiceRangesChanged => self.egress.services_dirty = true,
            // They are read from the cluster when asked for.
            Change::ProblemsChanged => {}
            Change::Synced => self.synced = true,
        }
    }

    /// The sources have told everything once, our own Node among it: from now on it is known whom to wait for.
    fn on_synced(&mut self, now: Instant) {
        // A first start has nothing that could be taken away too early: nobody is waited for.
        let survived = self.adopted || self.config.restart.restarting;
        let awaited = |peer: &&Peer| {
            let ours = peer.intent.initiative == Initiative::Ours;
            let announces = (peer.key().is_node() && ours) || peer.imports_from_outside();
            survived && announces && !peer.is_complete()
        };
        let peers: Vec<Awaited> = self
            .peers
            .iter()
            .filter(awaited)
            .map(|peer| Awaited {
                peer: peer.id,
                outside: peer.imports_from_outside(),
                reflector: peer.intent.reflector,
                // Nobody knows who of a range will come, so nothing but what they may have announced waits for them.
                range: peer.is_range(),
            })
            .collect();
        self.gate.on_synced(now, peers);
        self.release_due = true;
        self.on_gate_moved();
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.actions.push_back(Action::Session(command));
    }

    pub(crate) fn kernel(&mut self, command: KernelCommand) {
        self.actions.push_back(Action::Kernel(command));
    }

    pub(crate) fn settle_fib(&mut self, now: Instant) {
        while let Some(action) = self.fib.poll(now) {
            let command = match action {
                fib::Action::Dump => KernelCommand::Dump,
                fib::Action::Batch(batch) => KernelCommand::Submit(batch),
            };
            self.kernel(command);
        }
        if self.fib.is_settled() {
            self.fib_settled = Some(now);
        }
    }
}

//! A core with a kernel that obeys and one router outside that listens.

mod answers;
pub(crate) mod bfd;
mod delivery;
mod fields;
pub(crate) mod kept;
pub(crate) mod limits;
pub(crate) mod links;
pub(crate) mod many;
pub(crate) mod plans;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dunlin_bgp::bmp::{StationCommand, StationEvent};
use dunlin_bgp::policy::PeerType;
use dunlin_bgp::session::{
    Command, ConnId, DownReason, Negotiated, Opens, PeerConfig, SessionEvent, TransportError,
};
use dunlin_bgp::wire::Notification;
use dunlin_core::{
    Action, Core, CoreConfig, DiscoveryCommand, HealthPort, Input, Outside, Restart,
};
use dunlin_dataplane::fib::BatchDone;
use dunlin_dataplane::links::{Address, Link};
use dunlin_dataplane::proxy::{self, Element, Found};
use dunlin_dataplane::rules::{Outcome, Rules};
use dunlin_dataplane::{KernelCommand, KernelEvent};
use dunlin_intent::{
    EndpointFact, EndpointSliceFact, Fact, IngressFact, Key, Kind, NamespacedName, NodeFact,
    PeerAsn, PeerFact, Selector, ServiceFact, ServiceType, SourceEvent,
};
use dunlin_net::{Afi, Asn, Instant, IpNet, Ipv4Net, PeerId, PerFamily, RouterId};

const SEED: u64 = 7;
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 201);
pub(crate) const CONN: ConnId = ConnId(1);

/// The load-balancer address with a number: of 203.0.113.0/24.
pub(crate) fn address(number: u32) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_bits(0xcb00_7100 + number), 32)
}

pub(crate) fn label(key: &str, value: &str) -> Selector {
    Selector {
        match_labels: [(key.to_owned(), value.to_owned())].into_iter().collect(),
        ..Selector::default()
    }
}

/// A Service in the namespace `shop` with one load-balancer address.
pub(crate) fn service(name: &str, tier: &str, number: u32) -> Fact {
    let mut fact = ServiceFact::new("shop", name);
    fact.service_type = ServiceType::LoadBalancer;
    fact.labels.insert("tier".into(), tier.into());
    fact.ingress = vec![IngressFact {
        ip: Some(IpAddr::V4(address(number).addr())),
        vip: true,
    }];
    fact.cluster_ips = vec![IpAddr::V4(Ipv4Addr::from_bits(0x0A60_0000 + number))];
    Fact::Service(fact)
}

/// The Service's slice, with so many ready endpoints elsewhere.
pub(crate) fn slice(service: &str, ready: u8) -> Fact {
    let endpoint = |number: u8| EndpointFact {
        address: Some(IpAddr::from([10, 244, 9, number])),
        node: Some("n9".into()),
        ..EndpointFact::default()
    };
    Fact::EndpointSlice(EndpointSliceFact {
        name: NamespacedName::new("shop", format!("{service}-1")),
        service: Some(service.into()),
        address_type: Some(Afi::Ipv4),
        ports: Vec::new(),
        endpoints: (0..ready).map(endpoint).collect(),
        malformed: Vec::new(),
    })
}

/// What the router was told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) announced: Vec<Ipv4Net>,
    pub(crate) withdrawn: Vec<Ipv4Net>,
    /// Of each UPDATE that has one.
    pub(crate) meds: Vec<u32>,
    /// Of each UPDATE that has some.
    pub(crate) communities: Vec<u32>,
    /// UPDATEs that say something of IPv4 prefixes.
    pub(crate) updates: usize,
    /// End-of-RIB markers.
    pub(crate) ends: usize,
}

/// The own Node.
pub(crate) fn node() -> NodeFact {
    NodeFact::new("n1")
        .with_internal_ip(IpAddr::V4(OWN))
        .with_pod_cidr("10.244.1.0/24".parse().unwrap())
}

pub(crate) struct Bench {
    pub(crate) core: Core,
    pub(crate) now: Instant,
    pub(crate) router: Option<PeerId>,
    /// Who is wanted as a peer, by name.
    peers: BTreeMap<String, PeerId>,
    /// What each peer was last told to be.
    configs: BTreeMap<PeerId, Arc<PeerConfig>>,
    /// The peers that were told to stop.
    stopped: BTreeSet<PeerId>,
    /// What sessions were ended with, and how long they are held down.
    pub(crate) resets: Vec<(Notification, Duration)>,
    /// How often a session was to be tried at once.
    pub(crate) starts: usize,
    is_up: bool,
    sent: Vec<u8>,
    unwritten: usize,
    /// How often the sessions were told of the router: each may be a reset.
    pub(crate) peer_commands: usize,
    pub(crate) rules: Option<Rules>,
    /// The router's routes are let in by the filter `all`.
    pub(crate) import_all: bool,
    /// What the kernel holds for the service proxy.
    pub(crate) elements: BTreeSet<Element>,
    /// Batches of the service proxy wait here until they are let go.
    pub(crate) proxy_waits: Option<Vec<proxy::Batch>>,
    pub(crate) health_ports: BTreeMap<u16, HealthPort>,
    /// It was told that all services are programmed.
    pub(crate) delivering: bool,
    pub(crate) bfd: bfd::BfdSeen,
    /// What was told to whoever hears router advertisements.
    pub(crate) discovery: Vec<DiscoveryCommand>,
    /// How many batches of routes the kernel was given.
    pub(crate) kernel_operations: usize,
    /// What the connections to monitoring stations were told.
    pub(crate) stations: Vec<StationCommand>,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::on(node())
    }

    /// That takes in what the router tells.
    pub(crate) fn importing() -> Bench {
        let mut bench = Bench::new();
        bench.import_all = true;
        bench.apply(Fact::Filter(many::all()));
        bench
    }

    /// With this Node as its own.
    pub(crate) fn on(node: NodeFact) -> Bench {
        Bench::with(node, false, BTreeSet::new())
    }

    /// One that delivers what is sent to services, in a kernel that holds these elements.
    pub(crate) fn delivering(elements: BTreeSet<Element>) -> Bench {
        Bench::with(node(), true, elements)
    }

    pub(crate) fn with(node: NodeFact, service_proxy: bool, elements: BTreeSet<Element>) -> Bench {
        let config = CoreConfig {
            node_name: "n1".into(),
            seed: SEED,
            restart: Restart::default(),
            service_proxy: service_proxy.then(Default::default),
        };
        let mut bench = Bench {
            core: Core::new(config, Instant::ZERO),
            now: Instant::ZERO,
            router: None,
            peers: BTreeMap::new(),
            configs: BTreeMap::new(),
            stopped: BTreeSet::new(),
            resets: Vec::new(),
            starts: 0,
            is_up: false,
            sent: Vec::new(),
            unwritten: 0,
            peer_commands: 0,
            rules: None,
            import_all: false,
            elements,
            proxy_waits: None,
            health_ports: BTreeMap::new(),
            delivering: false,
            bfd: Default::default(),
            discovery: Vec::new(),
            kernel_operations: 0,
            stations: Vec::new(),
        };
        bench.settle();
        bench.apply(Fact::Node(node));
        bench
    }

    /// All kinds have been told in full, and the router is a peer.
    pub(crate) fn sync(&mut self) {
        for kind in Kind::ALL {
            self.source(SourceEvent::Synced(kind));
        }
    }

    pub(crate) fn at(&mut self, now: Instant) {
        self.now = now;
    }

    /// Time passes up to then: the core is woken when it asked to be, and not otherwise.
    pub(crate) fn until(&mut self, end: Instant) {
        for _ in 0..1000 {
            let Some(at) = self.core.next_deadline().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.core.on_time(self.now);
            self.settle();
        }
        panic!(
            "the core asks to be woken without end: {:?}",
            self.core.next_deadline()
        );
    }

    pub(crate) fn take(&mut self, fact: Fact) {
        let event = SourceEvent::Apply(fact);
        self.core.on(self.now, Input::Source(event));
    }

    pub(crate) fn apply(&mut self, fact: Fact) {
        self.source(SourceEvent::Apply(fact));
    }

    pub(crate) fn remove(&mut self, key: Key) {
        self.source(SourceEvent::Remove(key));
    }

    pub(crate) fn source(&mut self, event: SourceEvent) {
        self.core.on(self.now, Input::Source(event));
        self.settle();
    }

    pub(crate) fn session(&mut self, event: SessionEvent) {
        self.core.on(self.now, Input::Session(event));
        self.settle();
    }

    /// The session with the router comes up.
    pub(crate) fn up(&mut self) {
        let import_filter = self.import_all.then(|| "all".to_owned());
        self.up_as(Fact::Peer(PeerFact {
            name: "tor".into(),
            peer_address: Some(IpAddr::V4(ROUTER)),
            peer_asn: Some(PeerAsn::Number(Asn(65001))),
            import_filter,
            ..PeerFact::default()
        }));
    }

    /// The session with this router comes up.
    pub(crate) fn up_as(&mut self, router: Fact) {
        self.apply(router);
        let peer = self.router.expect("the router is wanted");
        self.is_up = true;
        let negotiated = Arc::new(negotiated());
        self.session(SessionEvent::Up {
            peer,
            conn: CONN,
            negotiated,
        });
    }

    pub(crate) fn down(&mut self) {
        self.lose(self.router.expect("the router is wanted"));
    }

    /// The session with a node comes up.
    pub(crate) fn node_up(&mut self, name: &str) {
        let peer = self.peers[name];
        let negotiated = Arc::new(Negotiated {
            remote_asn: Asn(64512),
            peer_type: PeerType::Internal,
            ..negotiated()
        });
        self.session(SessionEvent::Up {
            peer,
            conn: CONN,
            negotiated,
        });
    }

    /// The session with a node is lost.
    pub(crate) fn node_down(&mut self, name: &str) {
        self.lose(self.peers[name]);
    }

    fn lose(&mut self, peer: PeerId) {
        self.session(SessionEvent::Down {
            peer,
            conn: CONN,
            reason: DownReason::Transport(TransportError::Reset),
            sent: None,
            stale: None,
        });
    }

    /// The session has written so many octets more, or all.
    pub(crate) fn written(&mut self, bytes: usize) {
        let bytes = bytes.min(self.unwritten);
        self.unwritten -= bytes;
        let peer = self.router.expect("the router is wanted");
        self.session(SessionEvent::Drained {
            peer,
            conn: CONN,
            bytes,
        });
    }

    /// The router announces these prefixes.
    pub(crate) fn learns(&mut self, nets: &[&str]) {
        let peer = self.router.expect("the router is wanted");
        self.announced(peer, nets, ROUTER);
    }

    /// Does what the core wants.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut busy = self.core.settle(self.now);
            while let Some(action) = self.core.poll_action() {
                busy = true;
                self.act(action);
            }
            if !busy {
                return;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Session(Command::SetPeer { peer, config }) => {
                self.peer_commands += 1;
                self.router = Some(peer);
                self.peers.insert(config.name.clone(), peer);
                self.configs.insert(peer, config);
            }
            Action::Session(Command::RemovePeer { peer }) => {
                self.configs.remove(&peer);
            }
            Action::Bfd(command) => self.bfd.act(command),
            Action::Station(command) => self.stations.push(command),
            Action::Discovery(command) => self.discovery.push(command),
            Action::Session(Command::PathDown { peer, conn, .. }) => {
                self.bfd.resets += 1;
                self.path_down(peer, conn);
            }
            Action::Session(Command::Stop { peer, .. }) => {
                self.stopped.insert(peer);
            }
            Action::Session(Command::Reset {
                notification,
                idle_hold,
                ..
            }) => self.resets.push((notification, idle_hold)),
            Action::Session(Command::Start { .. }) => self.starts += 1,
            Action::Session(Command::Send { bytes, .. }) => {
                self.unwritten += bytes.len();
                self.sent.extend_from_slice(&bytes);
            }
            Action::Kernel(KernelCommand::Dump) => self.dump(),
            Action::Kernel(KernelCommand::Submit(batch)) => {
                self.kernel_operations += 1;
                let done = BatchDone {
                    id: batch.id,
                    errors: Vec::new(),
                    lost: false,
                };
                self.kernel(KernelEvent::BatchDone(done));
            }
            Action::Kernel(KernelCommand::SetRules(rules)) => {
                self.rules = rules;
                self.kernel(KernelEvent::RulesDone(Ok(Outcome::default())));
            }
            Action::Kernel(KernelCommand::SubmitProxy(batch)) => match &mut self.proxy_waits {
                Some(waiting) => waiting.push(batch),
                None => self.submit_proxy(batch, Ok(())),
            },
            Action::Kernel(KernelCommand::ReadProxy) => self.read_proxy(),
            Action::Kernel(KernelCommand::RemoveProxy) => {
                self.elements.clear();
                self.kernel(KernelEvent::ProxyFound(Ok(Found::default())));
            }
            Action::HealthPorts(ports) => self.health_ports = ports,
            Action::Delivering => self.delivering = true,
            Action::EnableForwarding(_) => self.core.on(self.now, Input::Forwarding(Ok(()))),
            Action::Session(_) | Action::Listen(_) | Action::PodNetwork(_) => {}
        }
    }

    fn dump(&mut self) {
        self.kernel(KernelEvent::DumpBegin);
        self.kernel(KernelEvent::DumpLinks(vec![Link {
            ifindex: 2,
            name: "eth0".into(),
            up: true,
            loopback: false,
            mtu: 1500,
        }]));
        self.kernel(KernelEvent::DumpAddresses(vec![Address {
            ifindex: 2,
            local: IpAddr::V4(OWN),
            on_link: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 24)),
        }]));
        self.kernel(KernelEvent::DumpEnd { complete: true });
    }

    /// From the connections to monitoring stations.
    pub(crate) fn station(&mut self, event: StationEvent) {
        self.core.on(self.now, Input::Station(event));
        self.settle();
    }

    fn kernel(&mut self, event: KernelEvent) {
        self.core.on(self.now, Input::Kernel(event));
    }

    /// What the router was told since this was last asked; all of it counts as written where nobody looks at that.
    pub(crate) fn told(&mut self) -> Told {
        let mut told = Told::default();
        let sent = std::mem::take(&mut self.sent);
        let mut rest = sent.as_slice();
        while let Some(length) = rest.get(16..18) {
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            let (message, after) = rest.split_at(length);
            told.read(message);
            rest = after;
        }
        if self.is_up && self.unwritten > 0 {
            self.written(usize::MAX);
        }
        told
    }
}

pub(crate) fn negotiated() -> Negotiated {
    let at = |addr, port| SocketAddr::new(IpAddr::V4(addr), port);
    Negotiated {
        remote_asn: Asn(65001),
        local_asn: Asn(64512),
        remote_router_id: RouterId(ROUTER),
        local_router_id: RouterId(OWN),
        peer_type: PeerType::External,
        local: at(OWN, 179),
        remote: at(ROUTER, 40_000),
        families: PerFamily { v4: true, v6: true },
        four_octet_as: true,
        extended_message: true,
        extended_next_hop: false,
        route_refresh: true,
        enhanced_route_refresh: true,
        add_path: PerFamily::default(),
        hold_time_secs: 90,
        keepalive_time_secs: 30,
        graceful_restart: None,
        capabilities: Vec::new(),
        opens: Opens::default(),
    }
}

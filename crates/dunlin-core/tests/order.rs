//! Any interleaving of what sources, sessions and the kernel say ends in the same tables.

#[path = "support/update.rs"]
mod update;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use dunlin_api::{Answer, Query, Route, RouteFilter, RouteState};
use dunlin_bgp::batch::{BatchItem, RouteBatch};
use dunlin_bgp::policy::PeerType;
use dunlin_bgp::session::{Command, ConnId, Negotiated, Opens, SessionEvent};
use dunlin_core::{Action, Core, CoreConfig, Input, Outside, Restart};
use dunlin_dataplane::fib::BatchDone;
use dunlin_dataplane::links::{Address, Link, LinkEvent};
use dunlin_dataplane::rules::Outcome;
use dunlin_dataplane::{KernelCommand, KernelEvent};
use dunlin_intent::{Fact, Key, Kind, NodeFact, SourceEvent};
use dunlin_net::{Afi, Asn, Instant, IpNet, Ipv4Net, PeerId, PerFamily, RouterId};
use proptest::prelude::*;

const SEED: u64 = 7;
const NODES: u8 = 4;

/// Something that happens, in the order of its stream.
#[expect(clippy::large_enum_variant, reason = "a few dozen in a test")]
#[derive(Clone, Debug)]
enum Event {
    Source(SourceEvent),
    /// Of node `0`: the session comes up and says its routes.
    Up(u8),
    /// Of node `.0`: these prefixes with this next hop.
    Announce(u8, Vec<Ipv4Net>, Ipv4Addr),
    /// Of node `.0`.
    Withdraw(u8, Vec<Ipv4Net>),
    EndOfRib(u8),
    Link(LinkEvent),
}

fn addr(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, node)
}

fn subnet(node: u8, version: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(10, 64 + version, node, 0), 24)
}

fn node(number: u8, subnets: &[Ipv4Net]) -> SourceEvent {
    let mut fact = NodeFact::new(format!("n{number}")).with_internal_ip(IpAddr::V4(addr(number)));
    for net in subnets {
        fact = fact.with_pod_cidr(IpNet::V4(*net));
    }
    SourceEvent::Apply(Fact::Node(fact))
}

/// What each party says, each in an order of its own.
fn streams() -> Vec<Vec<Event>> {
    let mut streams = vec![
        // Node 4 is there for a while only; node 2 gets another subnet.
        vec![Event::Source(node(1, &[subnet(1, 0)]))],
        vec![
            Event::Source(node(2, &[subnet(2, 0)])),
            Event::Source(node(2, &[subnet(2, 1)])),
        ],
        vec![Event::Source(node(3, &[subnet(3, 0)]))],
        vec![
            Event::Source(node(4, &[subnet(4, 0)])),
            Event::Source(SourceEvent::Remove(Key::Node("n4".into()))),
        ],
        vec![
            Event::Up(2),
            Event::Announce(2, vec![subnet(2, 0)], addr(2)),
            Event::EndOfRib(2),
            Event::Announce(2, vec![subnet(2, 1)], addr(2)),
            Event::Withdraw(2, vec![subnet(2, 0)]),
        ],
        vec![
            Event::Up(3),
            // One that is not its own, one with another's next hop, one of its own.
            Event::Announce(3, vec![subnet(2, 1), subnet(9, 0)], addr(3)),
            Event::Announce(3, vec![subnet(3, 0)], addr(3)),
            Event::EndOfRib(3),
        ],
        vec![
            Event::Up(4),
            Event::Announce(4, vec![subnet(4, 0)], addr(4)),
            Event::EndOfRib(4),
        ],
    ];
    let link = |up| {
        Event::Link(LinkEvent::Link(Link {
            ifindex: 2,
            name: "eth0".into(),
            up,
            loopback: false,
            mtu: 1500,
        }))
    };
    streams.push(vec![link(false), link(true)]);
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Node) {
        streams.push(vec![Event::Source(SourceEvent::Synced(kind))]);
    }
    streams
}

/// A core, the kernel that obeys it, and the peers it asked for.
struct Bench {
    core: Core,
    peers: BTreeMap<String, PeerId>,
    /// What nodes say before anybody listens, and go on to say when somebody does.
    unheard: BTreeMap<u8, Vec<Event>>,
    up: BTreeMap<u8, PeerId>,
}

const NOW: Instant = Instant::ZERO;

impl Bench {
    fn new() -> Bench {
        let config = CoreConfig {
            node_name: "n1".into(),
            seed: SEED,
            restart: Restart::default(),
            service_proxy: None,
        };
        let mut bench = Bench {
            core: Core::new(config, NOW),
            peers: BTreeMap::new(),
            unheard: BTreeMap::new(),
            up: BTreeMap::new(),
        };
        bench.settle();
        bench
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Source(event) => self.core.on(NOW, Input::Source(event)),
            Event::Link(event) => {
                self.core.on(NOW, Input::Kernel(KernelEvent::Link(event)));
            }
            Event::Up(node)
            | Event::Announce(node, ..)
            | Event::Withdraw(node, _)
            | Event::EndOfRib(node) => {
                self.unheard.entry(node).or_default().push(event);
            }
        }
        self.settle();
    }

    /// Does what the core wants, as an obedient kernel and network would.
    fn settle(&mut self) {
        loop {
            let mut busy = self.core.settle(NOW);
            while let Some(action) = self.core.poll_action() {
                busy = true;
                self.act(action);
            }
            busy |= self.speak();
            if !busy {
                return;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Session(Command::SetPeer { peer, config }) => {
                self.peers.insert(config.name.clone(), peer);
            }
            Action::Session(Command::RemovePeer { peer }) => {
                self.peers.retain(|_, id| *id != peer);
                self.up.retain(|_, id| *id != peer);
            }
            Action::Kernel(KernelCommand::Dump) => self.dump(),
            Action::Kernel(KernelCommand::Submit(batch)) => {
                let done = BatchDone {
                    id: batch.id,
                    errors: Vec::new(),
                    lost: false,
                };
                self.kernel(KernelEvent::BatchDone(done));
            }
            Action::Kernel(KernelCommand::SetRules(_)) => {
                self.kernel(KernelEvent::RulesDone(Ok(Outcome::default())));
            }
            Action::Kernel(
                KernelCommand::SubmitProxy(_)
                | KernelCommand::ReadProxy
                | KernelCommand::RemoveProxy,
            ) => {}
            Action::EnableForwarding(_) => self.core.on(NOW, Input::Forwarding(Ok(()))),
            Action::Session(_)
            | Action::Bfd(_)
            | Action::Station(_)
            | Action::Discovery(_)
            | Action::Listen(_)
            | Action::PodNetwork(_)
            | Action::HealthPorts(_)
            | Action::Delivering => {}
        }
    }

    /// A kernel without routes, with one link that is up.
    fn dump(&mut self) {
        let on_link = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 24);
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
            local: IpAddr::V4(addr(1)),
            on_link: IpNet::V4(on_link),
        }]));
        self.kernel(KernelEvent::DumpEnd { complete: true });
    }

    fn kernel(&mut self, event: KernelEvent) {
        self.core.on(NOW, Input::Kernel(event));
    }

    /// Lets nodes that are listened to say what they have to.
    fn speak(&mut self) -> bool {
        let mut spoke = false;
        for node in 2..=NODES {
            let Some(&peer) = self.peers.get(&format!("n{node}")) else {
                continue;
            };
            for event in self.unheard.remove(&node).unwrap_or_default() {
                spoke = true;
                let event = self.said(node, peer, event);
                self.core.on(NOW, Input::Session(event));
            }
        }
        spoke
    }

    fn said(&mut self, node: u8, peer: PeerId, event: Event) -> SessionEvent {
        let conn = ConnId(u32::from(node));
        let batch = match event {
            Event::Up(_) => {
                self.up.insert(node, peer);
                return SessionEvent::Up {
                    peer,
                    conn,
                    negotiated: Arc::new(negotiated(node)),
                };
            }
            Event::Announce(_, nets, next_hop) => update::announce(SEED, nets, next_hop, Some(100)),
            Event::Withdraw(_, nets) => update::withdraw(nets),
            _ => RouteBatch {
                items: Afi::ALL.into_iter().map(BatchItem::EndOfRib).collect(),
                ..RouteBatch::default()
            },
        };
        SessionEvent::Routes { peer, conn, batch }
    }

    /// Every prefix with its paths, why each is used or not, and what the kernel holds.
    fn tables(&mut self) -> Vec<Route> {
        let query = Query::Routes(RouteFilter::default());
        match self.core.answer(NOW, &query, &Outside::default()) {
            Answer::Routes(view) => view.items,
            other => panic!("routes were asked for: {other:?}"),
        }
    }
}

fn negotiated(node: u8) -> Negotiated {
    let at = |addr, port| SocketAddr::new(IpAddr::V4(addr), port);
    Negotiated {
        remote_asn: Asn(64512),
        local_asn: Asn(64512),
        remote_router_id: RouterId(addr(node)),
        local_router_id: RouterId(addr(1)),
        peer_type: PeerType::Internal,
        local: at(addr(1), 179),
        remote: at(addr(node), 40_000),
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

/// Plays the streams, each next from the one that `choices` names; then nodes are complete, and what is still waited for
/// comes.
fn play(choices: &[usize]) -> Vec<Route> {
    let mut streams: Vec<std::collections::VecDeque<Event>> =
        streams().into_iter().map(Into::into).collect();
    let mut bench = Bench::new();
    let mut choices = choices.iter().copied();
    loop {
        streams.retain(|stream| !stream.is_empty());
        if streams.is_empty() {
            break;
        }
        let at = choices.next().unwrap_or_default() % streams.len();
        if let Some(event) = streams[at].pop_front() {
            bench.take(event);
        }
    }
    bench.take(Event::Source(SourceEvent::Synced(Kind::Node)));
    bench.tables()
}

#[test]
fn in_plain_order_exactly_the_owners_routes_are_wanted() {
    let installed: Vec<(IpNet, Option<IpAddr>)> = play(&[])
        .into_iter()
        .filter(|route| route.kernel == RouteState::Installed)
        .map(|route| (route.prefix, route.paths[0].next_hop))
        .collect();
    let expected = vec![
        (IpNet::V4(subnet(1, 0)), None),
        (IpNet::V4(subnet(3, 0)), Some(IpAddr::V4(addr(3)))),
        (IpNet::V4(subnet(2, 1)), Some(IpAddr::V4(addr(2)))),
    ];
    assert_eq!(installed, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_interleaving_ends_in_the_same_tables(choices in prop::collection::vec(0usize..1000, 40)) {
        prop_assert_eq!(play(&choices), play(&[]));
    }
}

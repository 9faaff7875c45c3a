//! Several peers, and what a plan says of them.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_api::{Answer, Plan, Query, RouteFilter};
use dunlin_bgp::attrs::{AttrBuilder, Origin};
use dunlin_bgp::batch::RouteBatch;
use dunlin_bgp::policy::Role;
use dunlin_bgp::session::{Remote, RemoteAsn};
use dunlin_bgp::wire::{AddPathFamily, AddPathMode, AfiSafi, Capability};
use dunlin_core::{PlanStep, PlannedChange};
use dunlin_intent::FilterFact;
use dunlin_intent::FilterRuleFact;

use super::*;

/// A step of a plan.
pub(crate) fn applies(fact: Fact) -> PlanStep {
    PlanStep {
        change: PlannedChange::Apply(fact),
        at: None,
    }
}

/// A step of a plan.
pub(crate) fn deletes(key: Key) -> PlanStep {
    PlanStep {
        change: PlannedChange::Delete(key),
        at: None,
    }
}

/// Another node: `n2` has the address 10.0.0.2 and the pod subnet 10.244.2.0/24.
pub(crate) fn other_node(number: u8) -> NodeFact {
    NodeFact::new(format!("n{number}"))
        .with_internal_ip(IpAddr::from([10, 0, 0, number]))
        .with_pod_cidr(IpNet::new_assert(IpAddr::from([10, 244, number, 0]), 24))
}

/// A router: `tor-1` has the address 10.0.0.101 and lets in what the filter `all` does.
pub(crate) fn router(number: u8) -> PeerFact {
    PeerFact {
        name: format!("tor-{number}"),
        peer_address: Some(IpAddr::from([10, 0, 0, 100 + number])),
        peer_asn: Some(PeerAsn::Number(Asn(65001))),
        import_filter: Some("all".into()),
        ..PeerFact::default()
    }
}

/// The filter that lets everything in, as it is.
pub(crate) fn all() -> FilterFact {
    FilterFact {
        name: "all".into(),
        rules: vec![FilterRuleFact::accept_all()],
        malformed: Vec::new(),
    }
}

impl Bench {
    /// A peer announces these prefixes with this next hop.
    pub(super) fn announced(&mut self, peer: PeerId, nets: &[&str], next_hop: Ipv4Addr) {
        let attrs = AttrBuilder::originated(Origin::Igp);
        self.announced_with(peer, nets, next_hop, &attrs);
    }

    fn announced_with(
        &mut self,
        peer: PeerId,
        nets: &[&str],
        next_hop: Ipv4Addr,
        attrs: &AttrBuilder,
    ) {
        let nets: Vec<Ipv4Net> = nets.iter().map(|net| net.parse().unwrap()).collect();
        let batch = update::announce_with(SEED, nets, next_hop, attrs);
        self.hands_over(peer, batch);
    }

    fn hands_over(&mut self, peer: PeerId, batch: RouteBatch) {
        let conn = CONN;
        self.session(SessionEvent::Routes { peer, conn, batch });
    }

    fn peer(&self, name: &str) -> PeerId {
        let named = |(_, config): &(&PeerId, &Arc<PeerConfig>)| config.name == name;
        let found = self.configs.iter().find(named);
        *found.unwrap_or_else(|| panic!("{name} is no peer")).0
    }

    /// What each peer is told to be, by name.
    pub(crate) fn peers(&self) -> BTreeMap<String, Arc<PeerConfig>> {
        let named = |config: &Arc<PeerConfig>| (config.name.clone(), config.clone());
        self.configs.values().map(named).collect()
    }

    /// The session with a peer comes up, dialled by it.
    pub(crate) fn comes_up(&mut self, name: &str) {
        let peer = self.peer(name);
        let negotiated = Arc::new(agreed(&self.configs[&peer]));
        let conn = CONN;
        self.session(SessionEvent::Up {
            peer,
            conn,
            negotiated,
        });
    }

    /// A peer announces these prefixes with its own address as next hop.
    pub(crate) fn hears(&mut self, name: &str, nets: &[&str]) {
        self.hears_with(name, nets, &AttrBuilder::originated(Origin::Igp));
    }

    /// And with ONLY_TO_CUSTOMER of this AS, or of the peer's own (RFC 9234 5).
    pub(crate) fn hears_marked(&mut self, name: &str, nets: &[&str], mark: Option<Asn>) {
        let own = || agreed(&self.configs[&self.peer(name)]).remote_asn;
        let mark = mark.unwrap_or_else(own);
        let attrs = AttrBuilder::originated(Origin::Igp).only_to_customer(mark);
        self.hears_with(name, nets, &attrs);
    }

    fn hears_with(&mut self, name: &str, nets: &[&str], attrs: &AttrBuilder) {
        let peer = self.peer(name);
        let Remote::Address(remote) = self.configs[&peer].remote else {
            panic!("{name} is a range");
        };
        let IpAddr::V4(next_hop) = remote.ip() else {
            panic!("{name} has no IPv4 address");
        };
        if !agreed(&self.configs[&peer]).receives_paths().v4 {
            return self.announced_with(peer, nets, next_hop, attrs);
        }
        // Who may tells a second path; that of a router leads elsewhere.
        let nets: Vec<Ipv4Net> = nets.iter().map(|net| net.parse().unwrap()).collect();
        let [a, b, c, host] = next_hop.octets();
        let elsewhere = match name.starts_with("tor-") {
            true => Ipv4Addr::new(a, b, c, host + 50),
            false => next_hop,
        };
        for (path_id, next_hop, med) in [(1, next_hop, 0), (2, elsewhere, 7)] {
            let attrs = attrs.clone().med(med);
            let mut batch = update::announce_with(SEED, nets.clone(), next_hop, &attrs);
            batch.path_ids.v4 = vec![path_id; nets.len()];
            self.hands_over(peer, batch);
        }
    }

    /// Takes in a whole change before any conclusion is drawn, and does what sessions do about it: those that stand on
    /// something that is no longer so end and come up again, those that are new come up. Gives the names of the first.
    pub(crate) fn undergoes(&mut self, steps: Vec<PlanStep>) -> BTreeSet<String> {
        let (ids, before) = (self.configs.clone(), self.peers());
        self.stopped.clear();
        for step in steps {
            let event = match step.change {
                PlannedChange::Apply(fact) => SourceEvent::Apply(fact),
                PlannedChange::Delete(key) => SourceEvent::Remove(key),
            };
            self.core.on(self.now, Input::Source(event));
        }
        self.settle();
        for peer in ids.into_keys() {
            if !self.configs.contains_key(&peer) {
                self.goes_down(peer);
            }
        }
        let mut reset = BTreeSet::new();
        for (name, config) in self.peers() {
            let peer = self.peer(&name);
            let Some(old) = before.get(&name) else {
                self.comes_up(&name);
                continue;
            };
            let must = old.remote != config.remote
                || old.must_reset(&config, &agreed(old), false)
                || self.stopped.contains(&peer);
            if must {
                self.goes_down(peer);
                self.comes_up(&name);
                reset.insert(name);
            }
        }
        reset
    }

    /// A peer asks for everything again.
    pub(crate) fn asks_again(&mut self, name: &str) {
        let (peer, conn, afi) = (self.peer(name), CONN, Afi::Ipv4);
        self.session(SessionEvent::RefreshRequested { peer, conn, afi });
    }

    fn goes_down(&mut self, peer: PeerId) {
        self.session(SessionEvent::Down {
            peer,
            conn: CONN,
            reason: DownReason::ConfigChanged,
            sent: None,
            stale: None,
        });
    }

    pub(crate) fn plan(&self, steps: Vec<PlanStep>) -> Plan {
        self.plan_within(steps, 1000)
    }

    /// In lists of at most so many items.
    pub(crate) fn plan_within(&self, steps: Vec<PlanStep>, limit: usize) -> Plan {
        self.core.plan(steps, limit)
    }

    /// Everything the core holds, as text.
    pub(crate) fn held(&self) -> String {
        format!("{:?}", self.core)
    }

    /// What each peer is told or about to be told.
    pub(crate) fn told_to(&mut self) -> BTreeMap<String, BTreeSet<IpNet>> {
        let Answer::Advertisements(view) = self.ask(&Query::Advertisements(RouteFilter::default()))
        else {
            panic!("advertisements were asked for");
        };
        let mut told: BTreeMap<String, BTreeSet<IpNet>> = BTreeMap::new();
        for item in view.items {
            for to in item.to.into_iter().filter(|to| to.next_hop.is_some()) {
                told.entry(to.name).or_default().insert(item.prefix);
            }
        }
        told
    }

    /// By which next hops each peer is told each prefix, or about to be told.
    pub(crate) fn told_by(&mut self) -> BTreeMap<(String, IpNet), Vec<IpAddr>> {
        let Answer::Advertisements(view) = self.ask(&Query::Advertisements(RouteFilter::default()))
        else {
            panic!("advertisements were asked for");
        };
        let mut told = BTreeMap::new();
        for item in view.items {
            for to in item.to.into_iter().filter(|to| to.next_hop.is_some()) {
                let mut hops: Vec<IpAddr> = match to.paths.is_empty() {
                    true => to.next_hop.into_iter().collect(),
                    false => to.paths.iter().filter_map(|path| path.next_hop).collect(),
                };
                hops.sort_unstable();
                told.insert((to.name, item.prefix), hops);
            }
        }
        told
    }

    /// The prefixes that are accepted of what each peer announces.
    pub(crate) fn used(&mut self) -> BTreeMap<String, BTreeSet<IpNet>> {
        let mut used: BTreeMap<String, BTreeSet<IpNet>> = BTreeMap::new();
        for route in self.routes() {
            for path in route.paths.iter().filter(|path| path.from != "local") {
                let reason = path.reason.as_deref();
                // One that lost to another is used as little as that matters here.
                if reason.is_none_or(|reason| reason.starts_with("another")) {
                    used.entry(path.from.clone())
                        .or_default()
                        .insert(route.prefix);
                }
            }
        }
        used
    }
}

/// The router that says what it is to us (RFC 9234 4).
pub(crate) const SAYS_ROLE: &str = "tor-3";

/// The one that knows nothing of several paths (RFC 7911).
pub(crate) const ONE_PATH: &str = "tor-2";

/// A router has its identifier wherever it is; a node's is its address.
fn router_id(name: &str, address: Ipv4Addr) -> RouterId {
    let number = name.strip_prefix("tor-").and_then(|n| n.parse().ok());
    let of_router = number.map(|number| Ipv4Addr::new(192, 0, 2, number));
    RouterId(of_router.unwrap_or(address))
}

/// What is negotiated with a peer that is as the configuration wants it.
pub(crate) fn agreed(config: &PeerConfig) -> Negotiated {
    let Remote::Address(remote) = config.remote else {
        panic!("{} is a range", config.name);
    };
    let IpAddr::V4(address) = remote.ip() else {
        panic!("{} has no IPv4 address", config.name);
    };
    let says_role = config.name == SAYS_ROLE;
    let several = Afi::ALL.map(|afi| AddPathFamily {
        family: AfiSafi::unicast(afi),
        mode: AddPathMode::Both,
    });
    let takes_several = config.name != ONE_PATH;
    let theirs = config.role.map_or(Role::Provider, Role::counterpart);
    Negotiated {
        capabilities: [
            says_role.then(|| Capability::Role(theirs.number())),
            takes_several.then(|| Capability::AddPath(several.to_vec())),
        ]
        .into_iter()
        .flatten()
        .collect(),
        add_path: match takes_several {
            true => config.add_path,
            false => PerFamily::default(),
        },
        remote_asn: match config.remote_asn {
            RemoteAsn::Exact(asn) => asn,
            RemoteAsn::Internal => config.local_asn,
            RemoteAsn::External => Asn(65099),
        },
        local_asn: config.local_asn,
        remote_router_id: router_id(&config.name, address),
        peer_type: config.remote_asn.peer_type(config.local_asn),
        families: config.families,
        remote: SocketAddr::new(remote.ip(), 40_000),
        ..negotiated()
    }
}

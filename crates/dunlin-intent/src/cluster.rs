//! The cluster as this node sees it: facts in, changes out.

mod bfd;
mod drain;
mod foresight;
mod local;
mod nodes;
mod objects;
mod peers;
mod poll;
mod services;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_bgp::policy::AttrEdits;
use dunlin_net::{IpNet, RouterId};

use crate::claims::{Age, Claims};
use crate::fact::{Fact, Key, Kind, Secret, SecretRef, SourceEvent};
use crate::few::Few;
use crate::intent::{LocalIntent, OriginKind, Origination, PeerIntent, PeerKey};
use crate::origin::{OriginValidation, Protected};
use crate::problem::{ObjectKind, ObjectRef, Problem};
use crate::router_ids::RouterIds;
use crate::settings::Settings;

use nodes::Node;
pub use nodes::{NodeView, PodSubnet, SubnetStanding};
use objects::{Advertisement, Filter};
use peers::{Configured, Places};
use poll::{Dirty, Told};
pub use services::{
    AddressStanding, AnnouncedPrefix, EndpointCondition, EndpointCounts, EndpointView,
    FrontendOffer, HealthCheck, Hint, PoolStanding, ServiceAddressView, ServiceCounts, ServiceView,
    WithheldReason,
};
use services::{Ranges, Services};
use topology::Topology;
pub use topology::{Candidacy, NodeRole};

/// All facts, and what this node wants because of them.
///
/// Facts may come, change and go in any order: what is wanted depends on the facts alone, but for whether sessions beside
/// those with reflectors are kept near `meshLimit`, and with whom a former reflector goes on. Nothing is wanted before the
/// own Node is known and the `BGPConfiguration` is known or known not to exist.
///
/// A change of a Node costs what depends on that Node; only a change of the own Node or of the configuration
/// costs something for every Node. State is bounded by the facts held.
#[derive(Clone, Debug)]
pub struct Cluster {
    own: Arc<str>,
    nodes: BTreeMap<Arc<str>, Box<Node>>,
    configurations: BTreeMap<String, crate::fact::ConfigurationFact>,
    /// The effective configuration; `None` until it is known.
    settings: Option<Settings>,
    topology: Topology,
    /// What every node is told of what this one originates.
    told_nodes: Arc<BTreeMap<OriginKind, AttrEdits>>,
    configured: BTreeMap<Arc<str>, Configured>,
    places: Places,
    advertisements: BTreeMap<String, Advertisement>,
    filters: BTreeMap<String, Filter>,
    services: Services,
    ranges: Ranges,
    secrets: BTreeMap<SecretRef, Option<Secret>>,
    bfd_profiles: BTreeMap<String, bfd::Profile>,
    synced: BTreeSet<Kind>,
    claims: Claims,
    /// The Nodes by the addresses that sessions and next hops use, oldest first.
    hosts: BTreeMap<IpAddr, Few<Age>>,
    router_ids: RouterIds,
    origin: OriginValidation,
    api_servers: BTreeSet<IpAddr>,
    /// Destinations kept from masquerade, and for how many reasons each.
    egress: BTreeMap<IpNet, u32>,
    problems: BTreeMap<ObjectRef, Vec<Problem>>,
    /// Problems that sources found.
    source_problems: BTreeMap<ObjectRef, Vec<Problem>>,
    // What is wanted now.
    local: Option<Arc<LocalIntent>>,
    originations: BTreeMap<IpNet, Origination>,
    peers: BTreeMap<PeerKey, Arc<PeerIntent>>,
    dirty: Dirty,
    /// What was told last.
    told: Told,
}

impl Cluster {
    /// A cluster of which nothing is known, seen by the Node of this name.
    pub fn new(node_name: impl Into<Arc<str>>) -> Cluster {
        let own: Arc<str> = node_name.into();
        Cluster {
            services: Services::new(own.clone()),
            ranges: Ranges::default(),
            own,
            nodes: BTreeMap::new(),
            configurations: BTreeMap::new(),
            settings: None,
            topology: Topology::default(),
            told_nodes: Arc::default(),
            configured: BTreeMap::new(),
            places: Places::default(),
            advertisements: BTreeMap::new(),
            filters: BTreeMap::new(),
            secrets: BTreeMap::new(),
            bfd_profiles: BTreeMap::new(),
            synced: BTreeSet::new(),
            claims: Claims::default(),
            hosts: BTreeMap::new(),
            router_ids: RouterIds::default(),
            origin: OriginValidation::default(),
            api_servers: BTreeSet::new(),
            egress: BTreeMap::new(),
            problems: BTreeMap::new(),
            source_problems: BTreeMap::new(),
            local: None,
            originations: BTreeMap::new(),
            peers: BTreeMap::new(),
            dirty: Dirty::default(),
            told: Told::default(),
        }
    }

    /// Takes in what a source tells.
    pub fn on_source(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Apply(fact) => self.apply(fact),
            SourceEvent::Remove(key) => self.remove(&key),
            SourceEvent::Synced(kind) => self.synced(kind),
            SourceEvent::Problems(object, problems) => self.set_source_problems(object, problems),
            SourceEvent::ApiServers(addresses) => self.set_api_servers(addresses),
        }
    }

    /// Takes in an object, new or changed.
    pub fn apply(&mut self, fact: Fact) {
        match fact {
            Fact::Node(fact) => self.apply_node(fact),
            Fact::Configuration(fact) => self.apply_configuration(fact),
            Fact::Peer(fact) => self.apply_peer(fact),
            Fact::Advertisement(fact) => self.apply_advertisement(fact),
            Fact::Filter(fact) => self.apply_filter(fact),
            Fact::Secret(fact) => self.set_secret(fact.at, Some(fact.password)),
            Fact::Service(fact) => self.apply_service(fact),
            Fact::EndpointSlice(fact) => self.apply_slice(&fact),
            Fact::Namespace(fact) => self.apply_namespace(&fact),
            Fact::ServiceCidr(fact) => self.apply_service_cidr(fact),
            Fact::Pool(fact) => self.apply_pool(fact),
            Fact::BfdProfile(fact) => self.apply_bfd_profile(fact),
        }
    }

    /// Takes in that an object is gone.
    pub fn remove(&mut self, key: &Key) {
        match key {
            Key::Node(name) => self.remove_node(name),
            Key::Configuration(name) => self.remove_configuration(name),
            Key::Peer(name) => self.remove_peer(name),
            Key::Advertisement(name) => self.remove_advertisement(name),
            Key::Filter(name) => self.remove_filter(name),
            Key::Secret(at) => self.set_secret(at.clone(), None),
            Key::Service(name) => self.remove_service(name),
            Key::EndpointSlice(name) => self.remove_slice(name),
            Key::Namespace(name) => self.remove_namespace(name),
            Key::ServiceCidr(name) => self.remove_service_cidr(name),
            Key::Pool(name) => self.remove_pool(name),
            Key::BfdProfile(name) => self.remove_bfd_profile(name),
        }
    }

    /// Takes in that all objects of a kind have been told once.
    pub fn synced(&mut self, kind: Kind) {
        if !self.synced.insert(kind) {
            return;
        }
        match kind {
            Kind::Configuration => self.refresh_settings(),
            // A reference to nothing becomes a problem only now.
            Kind::Filter => self.mark_all_configured(),
            Kind::Secret => {
                self.mark_all_configured();
                self.dirty.mesh = true;
            }
            Kind::BfdProfile => self.mark_bfd_users(None),
            Kind::Namespace => self.namespaces_synced(),
            Kind::Node
            | Kind::Peer
            | Kind::Advertisement
            | Kind::Service
            | Kind::EndpointSlice
            | Kind::ServiceCidr
            | Kind::Pool => {}
        }
    }

    /// Whether all objects of every kind have been told once.
    pub fn is_synced(&self) -> bool {
        self.synced.len() == Kind::ALL.len()
    }

    /// Says the subnets on this node's links. A route may cover a protected address that is reached over a link; none given
    /// means that it never may.
    pub fn set_on_link(&mut self, subnets: impl IntoIterator<Item = IpNet>) {
        let subnets = subnets.into_iter().map(|net| net.trunc()).collect();
        let changed = self.origin.set_on_link(&subnets);
        self.dirty.protection.extend(changed);
    }

    /// Says the API server's addresses, which no route may capture and no Service may have.
    pub fn set_api_servers(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        let addresses: BTreeSet<IpAddr> = addresses.into_iter().collect();
        for addr in self.api_servers.difference(&addresses) {
            if self.origin.unprotect(*addr, Protected::ApiServer) {
                self.dirty.protection.insert(IpNet::from(*addr));
            }
        }
        let changed = self.api_servers.symmetric_difference(&addresses);
        let changed = changed.map(|addr| IpNet::from(*addr));
        self.services.dirty.nets.extend(changed);
        for addr in addresses.difference(&self.api_servers) {
            if self.origin.protect(*addr, Protected::ApiServer) {
                self.dirty.protection.insert(IpNet::from(*addr));
            }
        }
        self.api_servers = addresses;
    }

    /// Says what a source finds wrong with an object or a file; none means nothing any more.
    pub fn set_source_problems(&mut self, object: ObjectRef, problems: Vec<Problem>) {
        set_problems(
            &mut self.source_problems,
            &mut self.dirty.problems,
            object,
            problems,
        );
    }

    /// The tables that routes are judged by.
    pub fn origin(&self) -> &OriginValidation {
        &self.origin
    }

    /// Whether pods' packets to exactly this destination are kept from masquerade.
    pub fn egress_excluded(&self, net: IpNet) -> bool {
        self.egress.contains_key(&net)
    }

    /// All destinations kept from masquerade: pod subnets, node addresses, the ranges of Services and
    /// `podEgress.exclude`.
    pub fn egress_exclusions(&self) -> impl Iterator<Item = IpNet> {
        self.egress.keys().copied()
    }

    /// The prefixes that only Services may have addresses in: `ServiceCIDR`s, pools, announced aggregates, and outside all
    /// of them the service addresses that this node's advertisements select. A forwarded packet to one of them that
    /// nobody translated goes nowhere.
    pub fn service_ranges(&self) -> impl Iterator<Item = IpNet> {
        self.ranges.iter()
    }

    /// All problems, by object, then as found.
    pub fn problems(&self) -> Vec<&Problem> {
        let mut problems: Vec<&Problem> = self
            .problems
            .values()
            .chain(self.source_problems.values())
            .flatten()
            .collect();
        problems.sort_by(|a, b| a.object.cmp(&b.object));
        problems
    }

    /// What concerns this node as a whole, as last told.
    pub fn local(&self) -> Option<&Arc<LocalIntent>> {
        self.told.local.as_ref()
    }

    /// The wanted peers, as last told.
    pub fn peers(&self) -> impl Iterator<Item = &Arc<PeerIntent>> {
        self.told.peers.values()
    }

    /// What this node originates, as last told.
    pub fn originations(&self) -> impl Iterator<Item = (IpNet, &Origination)> {
        self.told
            .originations
            .iter()
            .map(|(net, what)| (*net, what))
    }

    /// The name of this node.
    pub fn node_name(&self) -> &str {
        &self.own
    }

    /// The router id of a Node, as of the last poll.
    pub fn router_id(&self, node: &str) -> Option<RouterId> {
        self.router_ids.get(node)
    }

    /// Whether this is the own Node's name.
    fn is_own(&self, name: &str) -> bool {
        *self.own == *name
    }

    fn set_object_problems(&mut self, object: ObjectRef, problems: Vec<Problem>) {
        set_problems(
            &mut self.problems,
            &mut self.dirty.problems,
            object,
            problems,
        );
    }

    fn node_object(name: &str) -> ObjectRef {
        ObjectRef::new(ObjectKind::Node, name)
    }

    /// Adds or takes back a reason for a destination to be kept from masquerade.
    fn exclude_from_masquerade(&mut self, net: IpNet, add: bool) {
        let count = self.egress.entry(net).or_default();
        if add {
            *count += 1;
        } else {
            *count = count.saturating_sub(1);
        }
        let count = *count;
        if count == 0 {
            self.egress.remove(&net);
        }
        if count == u32::from(add) {
            self.dirty.egress.insert(net);
        }
    }
}

fn set_problems(
    table: &mut BTreeMap<ObjectRef, Vec<Problem>>,
    changed: &mut bool,
    object: ObjectRef,
    problems: Vec<Problem>,
) {
    if problems.is_empty() {
        *changed |= table.remove(&object).is_some();
    } else if table.get(&object) != Some(&problems) {
        table.insert(object, problems);
        *changed = true;
    }
}

#[cfg(test)]
mod tests;

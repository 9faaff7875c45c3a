//! Nodes: their addresses, their pod subnets, and the session with each.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_bgp::policy::{AttrEdits, PeerType};
use dunlin_net::{Afi, IpNet, PerFamily, RouterId};

use super::Cluster;
use crate::claims::{Age, Standing, Touched};
use crate::configured::unicast_fault;
use crate::fact::{NodeFact, TopologyMode};
use crate::few::Few;
use crate::intent::{
    AddPath, Auth, DrainCause, ExportFilter, ExportPolicy, ImportPolicy, NextHopMode, OriginKind,
    PeerIntent, PeerKey, PolicyIntent, Remote, RemoteAsn, SessionIntent,
};
use crate::origin::{Owner, Protected};
use crate::problem::{Problem, Reason};
use crate::reflectors;
use crate::settings::{Faults, Settings, graceful_restart, host_bits_fault};

/// A Node, with what is usable of its fact.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) fact: NodeFact,
    pub(super) age: Age,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) next_hops: PerFamily<Option<IpAddr>>,
    pub(super) subnets: Vec<IpNet>,
    /// Where it stands among those of its zone that may be reflectors.
    pub(super) place: u64,
    faults: Vec<Problem>,
}

impl Node {
    fn new(fact: NodeFact) -> Node {
        let mut faults = Faults::new(Cluster::node_object(&fact.name));
        faults.malformed(&fact.malformed);
        let mut addresses = Vec::new();
        for addr in &fact.internal_ips {
            if faults.check("status.addresses", unicast_fault(*addr)) && !addresses.contains(addr) {
                addresses.push(*addr);
            }
        }
        let mut subnets = Vec::new();
        for (at, net) in fact.pod_cidrs.iter().enumerate() {
            let fault = host_bits_fault(*net).or_else(|| {
                (net.prefix_len() == 0).then(|| format!("{net} is everything, not a pod subnet"))
            });
            if faults.check(format!("spec.podCIDRs[{at}]"), fault) && !subnets.contains(net) {
                subnets.push(*net);
            }
        }
        let first = |afi| addresses.iter().copied().find(|addr| Afi::of(*addr) == afi);
        Node {
            place: reflectors::place(&fact.name),
            age: Age::new(fact.created, fact.name.as_str().into()),
            next_hops: PerFamily {
                v4: first(Afi::Ipv4),
                v6: first(Afi::Ipv6),
            },
            addresses,
            subnets,
            faults: faults.problems,
            fact,
        }
    }

    fn hosts(&self) -> impl Iterator<Item = IpAddr> {
        [self.next_hops.v4, self.next_hops.v6].into_iter().flatten()
    }
}

/// A Node as it stands, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView<'a> {
    /// What the source says of it.
    pub fact: &'a NodeFact,
    /// Its usable InternalIPs.
    pub addresses: &'a [IpAddr],
    /// Its first InternalIP of each family.
    pub next_hops: PerFamily<Option<IpAddr>>,
    /// Its router id.
    pub router_id: Option<RouterId>,
    /// Its pod subnets.
    pub pod_subnets: Vec<PodSubnet>,
    /// Whether this is the node we run on.
    pub is_own: bool,
    /// Why it is drained, if it is.
    pub draining: Option<DrainCause>,
}

/// A pod subnet of a Node and whether the Node owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSubnet {
    /// The subnet.
    pub net: IpNet,
    /// Whether the Node owns it.
    pub standing: SubnetStanding,
}

/// Whether a Node owns a pod subnet that it claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubnetStanding {
    /// It does.
    Owned,
    /// This older Node owns an overlapping one.
    Overlaps(Arc<str>),
    /// It contains this Node address.
    Covers(IpAddr),
}

impl Cluster {
    /// All Nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.nodes.values().map(|node| self.view(node))
    }

    /// The Node of this name.
    pub fn node(&self, name: &str) -> Option<NodeView<'_>> {
        self.nodes.get(name).map(|node| self.view(node))
    }

    fn view<'a>(&'a self, node: &'a Node) -> NodeView<'a> {
        let pod_subnets = node.subnets.iter().filter_map(|net| {
            let standing = match self.claims.standing(*net, &node.age)? {
                Standing::Owned => SubnetStanding::Owned,
                Standing::Overlaps(name, _) => SubnetStanding::Overlaps(name),
                Standing::Covers(addr) => SubnetStanding::Covers(addr),
            };
            Some(PodSubnet {
                net: *net,
                standing,
            })
        });
        NodeView {
            fact: &node.fact,
            addresses: &node.addresses,
            next_hops: node.next_hops,
            router_id: self.router_ids.get(&node.fact.name),
            pod_subnets: pod_subnets.collect(),
            is_own: self.is_own(&node.fact.name),
            draining: self.drain_cause(&node.fact),
        }
    }

    pub(super) fn apply_node(&mut self, fact: NodeFact) {
        let before = self.nodes.get(fact.name.as_str());
        if before.is_some_and(|node| node.fact == fact) {
            return;
        }
        if before.is_some_and(|node| node.fact.created != fact.created) {
            let name = fact.name.clone();
            self.remove_node(&name);
        }
        let node = Node::new(fact);
        self.replace_node(node.age.clone(), Some(node));
    }

    pub(super) fn remove_node(&mut self, name: &str) {
        if let Some(node) = self.nodes.get(name) {
            self.replace_node(node.age.clone(), None);
        }
    }

    /// Puts a Node in the place of the one of the same age, touching only what differs.
    fn replace_node(&mut self, age: Age, node: Option<Node>) {
        let name = age.name.clone();
        let before = self.nodes.remove(&name).map(|node| *node);
        let had = |f: fn(&Node) -> &[IpAddr]| before.as_ref().map_or(&[][..], f);
        let has = |f: fn(&Node) -> &[IpAddr]| node.as_ref().map_or(&[][..], f);
        let (gone, new) = differences(had(|n| &n.addresses), has(|n| &n.addresses));
        let mut touched = Touched::new();
        self.move_addresses(&gone, &new, &mut touched);

        let old_hosts: Vec<IpAddr> = before.iter().flat_map(Node::hosts).collect();
        let new_hosts: Vec<IpAddr> = node.iter().flat_map(Node::hosts).collect();
        let (left, joined) = differences(&old_hosts, &new_hosts);
        for addr in left {
            self.move_host(addr, &age, false);
        }
        for addr in joined {
            self.move_host(addr, &age, true);
        }

        let no_nets: &[IpNet] = &[];
        let had = before.as_ref().map_or(no_nets, |n| &n.subnets);
        let has = node.as_ref().map_or(no_nets, |n| &n.subnets);
        let (gone, new) = differences(had, has);
        for net in gone {
            self.claims.remove(net, &age, &mut touched);
        }
        for net in new {
            let covers = self.origin.node_address_in(net);
            self.claims.add(net, &age, covers, &mut touched);
        }
        // Owners carry their addresses.
        touched.extend(has.iter().map(|net| (*net, name.clone())));

        let router_id_from = node.as_ref().map(|node| match node.next_hops.v4 {
            Some(IpAddr::V4(addr)) => Some(addr),
            _ => None,
        });
        self.router_ids.set(&name, router_id_from);
        self.dirty.mesh |= before.is_some() != node.is_some();
        self.topology_touched(before.as_ref(), node.as_ref());
        if self.is_own(&name) {
            self.own_node_changed(before.as_ref(), node.as_ref());
        }
        if let Some(node) = node {
            self.nodes.insert(name.clone(), Box::new(node));
        }
        self.dirty.nodes.insert(name);
        self.settle_touched(touched);
    }

    fn move_addresses(&mut self, gone: &[IpAddr], new: &[IpAddr], touched: &mut Touched) {
        let moves = gone
            .iter()
            .map(|a| (*a, false))
            .chain(new.iter().map(|a| (*a, true)));
        for (addr, add) in moves {
            let changed = match add {
                true => self.origin.protect(addr, Protected::Node),
                false => self.origin.unprotect(addr, Protected::Node),
            };
            self.exclude_from_masquerade(IpNet::from(addr), add);
            // Whose it is is said where a Service has it.
            self.services.dirty.nets.insert(IpNet::from(addr));
            if changed {
                self.dirty.protection.insert(IpNet::from(addr));
                let origin = &self.origin;
                self.claims
                    .recheck_covers(addr, |net| origin.node_address_in(net), touched);
            }
        }
    }

    /// Adds a Node to those with an address or takes it out. If the oldest of them changes, all have to look again.
    fn move_host(&mut self, addr: IpAddr, age: &Age, add: bool) {
        let hosts = self.hosts.entry(addr).or_default();
        let first = hosts.first().cloned();
        if add {
            hosts.insert(age.clone(), ());
        } else {
            hosts.remove(age);
        }
        if hosts.first() != first.as_ref() {
            self.services.dirty.nets.insert(IpNet::from(addr));
            self.dirty
                .nodes
                .extend(hosts.keys().map(|h| h.name.clone()));
        }
        if hosts.is_empty() {
            self.hosts.remove(&addr);
        }
    }

    fn own_node_changed(&mut self, before: Option<&Node>, node: Option<&Node>) {
        self.dirty.local = true;
        let hops = |node: Option<&Node>| node.map(|n| n.next_hops);
        if hops(before) != hops(node) {
            self.mark_all_nodes();
        }
        let addresses = |node: Option<&Node>| -> BTreeSet<IpAddr> {
            node.into_iter()
                .flat_map(|n| n.addresses.iter().copied())
                .collect()
        };
        let (had, has) = (addresses(before), addresses(node));
        let labels_changed = before.map(|n| &n.fact.labels) != node.map(|n| &n.fact.labels);
        if labels_changed || had != has {
            self.dirty.selection = true;
        }
        self.services.dirty.active |= labels_changed;
        if had != has {
            let changed = had
                .symmetric_difference(&has)
                .map(|addr| IpNet::from(*addr));
            self.dirty.protection.extend(changed);
            self.origin.set_own_addresses(has);
        }
    }

    /// Brings the owner table in line with the claims.
    fn settle_touched(&mut self, touched: Touched) {
        for (net, name) in touched {
            let owner = self.claims.owner(net).and_then(|age| {
                let node = self.nodes.get(&age.name)?;
                Some(Owner {
                    node: node.fact.name.clone(),
                    next_hops: node.next_hops,
                    addresses: node.addresses.clone(),
                })
            });
            let (had, has) = (self.origin.owner_of(net).is_some(), owner.is_some());
            if self.origin.set_owner(net, owner) {
                self.dirty.owners.insert(net);
                // Who owns it is said where a Service's address lies within it.
                self.services.dirty.nets.insert(net);
            }
            if had != has {
                self.exclude_from_masquerade(net, has);
            }
            self.dirty.local |= self.is_own(&name);
            self.dirty.nodes.insert(name);
        }
    }

    pub(super) fn mark_all_nodes(&mut self) {
        self.dirty.nodes.extend(self.nodes.keys().cloned());
    }

    /// Works out what every node is told, before Nodes are judged.
    pub(super) fn settle_told_nodes(&mut self) {
        let mut told = [(OriginKind::PodSubnet, AttrEdits::default())].into();
        self.shut_down_gracefully(&mut told, PeerType::Internal);
        if *self.told_nodes != told {
            self.told_nodes = Arc::new(told);
        }
    }

    /// Judges a Node again: its problems, and whether there is a session with it.
    pub(super) fn evaluate_node(&mut self, name: &Arc<str>) {
        let object = Cluster::node_object(name);
        let Some(node) = self.nodes.get(name) else {
            self.set_object_problems(object, Vec::new());
            self.set_peer(PeerKey::Node(name.clone()), None);
            return;
        };
        let mut faults = Faults::new(object.clone());
        faults.problems.clone_from(&node.faults);
        self.check_node(node, &mut faults);
        let peer = self.node_peer(name, node, &mut faults);
        self.set_object_problems(object, faults.problems);
        self.set_peer(PeerKey::Node(name.clone()), peer);
    }

    fn check_node(&self, node: &Node, faults: &mut Faults) {
        if node.addresses.is_empty() {
            faults.add(
                Reason::NoAddress,
                "status.addresses",
                "has no usable InternalIP, so no node peers with it: give the Node one",
            );
        } else {
            for afi in Afi::ALL {
                let subnet = node.subnets.iter().find(|net| Afi::of_net(**net) == afi);
                if let (Some(net), None) = (subnet, node.next_hops.get(afi)) {
                    faults.add(
                        Reason::NoNextHop,
                        "status.addresses",
                        format!("{net} is not announced: the Node has no {afi} InternalIP to be its next hop"),
                    );
                }
            }
        }
        for net in &node.subnets {
            match self.claims.standing(*net, &node.age) {
                Some(Standing::Overlaps(other, other_net)) => faults.add(
                    Reason::OverlappingPodSubnet,
                    "spec.podCIDRs",
                    format!("{net} overlaps {other_net} of the older Node {other}, which keeps it: give this Node another subnet"),
                ),
                Some(Standing::Covers(addr)) => faults.add(
                    Reason::CoversNodeAddress,
                    "spec.podCIDRs",
                    format!("{net} contains the Node address {addr} and is not used: give this Node another subnet"),
                ),
                Some(Standing::Owned) | None => {}
            }
        }
        if let Some((id, keeper)) = self.router_ids.collision(&node.fact.name) {
            let own = self.router_ids.get(&node.fact.name).unwrap_or(id);
            faults.add(
                Reason::RouterIdCollision,
                "status.addresses",
                format!("the router id {id} belongs to the Node {keeper} too, which keeps it; this Node uses {own}"),
            );
        }
        for addr in node.hosts() {
            if let Some(holder) = self.hosts.get(&addr).and_then(Few::first)
                && holder.name != node.age.name
            {
                faults.add(
                    Reason::DuplicateAddress,
                    "status.addresses",
                    format!("{addr} belongs to the older Node {} too, which keeps the session: delete the Node that is gone", holder.name),
                );
            }
        }
    }

    /// The session with another Node, if there is to be one.
    fn node_peer(&self, name: &Arc<str>, node: &Node, faults: &mut Faults) -> Option<PeerIntent> {
        let settings = self.settings.as_ref()?;
        let own = self.nodes.get(&self.own)?;
        if self.is_own(name) || node.addresses.is_empty() || settings.topology == TopologyMode::None
        {
            return None;
        }
        let common = Afi::ALL
            .into_iter()
            .find_map(|afi| Some(((*own.next_hops.get(afi))?, (*node.next_hops.get(afi))?)));
        let Some((local, remote)) = common else {
            if !own.addresses.is_empty() {
                faults.add(
                    Reason::NoCommonFamily,
                    "status.addresses",
                    format!("has no InternalIP of a family that the Node {} has one of, so the two do not peer", self.own),
                );
            }
            return None;
        };
        let holder = self.hosts.get(&remote).and_then(Few::first);
        if local == remote || holder.is_none_or(|holder| holder.name != *name) {
            return None;
        }
        let tie = self.tie(name);
        Some(PeerIntent {
            key: PeerKey::Node(name.clone()),
            session: self.node_session(settings, local, remote),
            policy: PolicyIntent {
                import: ImportPolicy::OriginValidation,
                allow_own_as: 0,
                export: ExportPolicy {
                    originated: self.told_nodes.clone(),
                    filter: ExportFilter::None,
                    next_hop: NextHopMode::SelfAddress,
                },
            },
            bfd: self.bfd(settings.bfd_profile.as_ref()),
            reflector_client: tie.client,
            reflector: tie.reflector,
            initiative: tie.initiative,
            max_prefixes: None,
        })
    }

    fn node_session(&self, settings: &Settings, local: IpAddr, remote: IpAddr) -> SessionIntent {
        SessionIntent {
            remote: Remote::Address(remote, settings.listen_port),
            local_address: Some(local),
            local_asn: settings.asn,
            remote_asn: RemoteAsn::Exactly(settings.asn),
            families: Afi::ALL.to_vec(),
            timers: settings.timers,
            graceful_restart: graceful_restart(
                settings.restart_secs,
                settings.long_lived_secs,
                true,
            ),
            auth: match &settings.password {
                None => Auth::None,
                Some(at) => self.auth(at),
            },
            ebgp_multihop: None,
            // Whether a session has a reflector at an end changes with the Nodes and the mode, and must not reset it.
            add_path: AddPath::BOTH,
            ttl_security_hops: None,
            role: None,
            strict_role: false,
        }
    }
}

/// What is only in the first, and what is only in the second.
fn differences<T: PartialEq + Copy>(before: &[T], after: &[T]) -> (Vec<T>, Vec<T>) {
    let only = |a: &[T], b: &[T]| a.iter().filter(|x| !b.contains(x)).copied().collect();
    (only(before, after), only(after, before))
}

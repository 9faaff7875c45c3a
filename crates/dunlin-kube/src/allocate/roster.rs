//! Who is asked to give out addresses: what every agent knows of the cluster anyway decides who looks after the Lease.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use dunlin_intent::{Fact, Key, Kind, NodeFact, PeerFact, ServiceCidrFact, SourceEvent};
use dunlin_net::IpNet;

/// How many nodes look after the Lease closely. The others do so rarely, in case no agent runs on any of these.
const WATCHFUL: usize = 3;
/// How often the watchful look.
const WATCHFUL_PACE: Duration = Duration::from_millis(1500);
/// How often the others look at the most, each.
const RARE_PACE: Duration = Duration::from_secs(30);
/// All others together look this often a second at the most.
const RARE_PER_SECOND: u32 = 5;

/// What of the cluster's facts matters to allocation without a watch of its own: it is fed what the source of facts tells.
#[derive(Debug, Default)]
pub struct Roster {
    nodes: BTreeMap<String, Member>,
    nodes_synced: bool,
    pools: BTreeSet<String>,
    service_cidrs: BTreeMap<String, Vec<IpNet>>,
    /// The addresses of the `BGPPeer`s that name one.
    peers: BTreeMap<String, IpAddr>,
    api_servers: Vec<IpAddr>,
}

#[derive(Debug, PartialEq, Eq)]
struct Member {
    ready: bool,
    addresses: Vec<IpAddr>,
    pod_cidrs: Vec<IpNet>,
}

impl Roster {
    /// Takes in what the source tells. Whether anything that matters here changed.
    pub fn note(&mut self, event: &SourceEvent) -> bool {
        match event {
            SourceEvent::Apply(Fact::Node(fact)) => {
                let member = Member {
                    ready: fact.ready != Some(false),
                    addresses: fact.internal_ips.clone(),
                    pod_cidrs: fact.pod_cidrs.clone(),
                };
                if self.nodes.get(&fact.name) == Some(&member) {
                    return false;
                }
                self.nodes.insert(fact.name.clone(), member);
                true
            }
            SourceEvent::Remove(Key::Node(name)) => self.nodes.remove(name).is_some(),
            SourceEvent::Synced(Kind::Node) => !std::mem::replace(&mut self.nodes_synced, true),
            SourceEvent::Apply(Fact::Pool(fact)) => self.pools.insert(fact.name.clone()),
            SourceEvent::Remove(Key::Pool(name)) => self.pools.remove(name),
            SourceEvent::Apply(Fact::ServiceCidr(fact)) => {
                let before = self
                    .service_cidrs
                    .insert(fact.name.clone(), fact.cidrs.clone());
                before.as_ref() != Some(&fact.cidrs)
            }
            SourceEvent::Remove(Key::ServiceCidr(name)) => {
                self.service_cidrs.remove(name).is_some()
            }
            SourceEvent::Apply(Fact::Peer(fact)) => match fact.peer_address {
                Some(addr) => self.peers.insert(fact.name.clone(), addr) != Some(addr),
                None => self.peers.remove(&fact.name).is_some(),
            },
            SourceEvent::Remove(Key::Peer(name)) => self.peers.remove(name).is_some(),
            SourceEvent::ApiServers(addresses) => {
                let before = std::mem::replace(&mut self.api_servers, addresses.clone());
                before != *addresses
            }
            _ => false,
        }
    }

    /// Whether there is anything to give out, and it is known who should.
    pub(super) fn in_use(&self) -> bool {
        self.nodes_synced && !self.pools.is_empty()
    }

    /// How often this node looks after the Lease, and whether it is one of the watchful.
    pub(super) fn pace(&self, node: &str) -> (Duration, bool) {
        fn rank<'a>(name: &'a str, member: Option<&Member>) -> (bool, u64, &'a str) {
            (!member.is_some_and(|m| m.ready), spread(name), name)
        }
        let ours = rank(node, self.nodes.get(node));
        let others = self.nodes.iter();
        let before = others
            .filter(|(name, member)| rank(name, Some(member)) < ours)
            .take(WATCHFUL)
            .count();
        if before < WATCHFUL && self.nodes.contains_key(node) {
            return (WATCHFUL_PACE, true);
        }
        let count = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let rare = Duration::from_secs(u64::from(count / RARE_PER_SECOND));
        (rare.max(RARE_PACE), false)
    }

    /// What Nodes, peers, API servers and cluster IPs use, as facts.
    pub(super) fn events(&self) -> impl Iterator<Item = SourceEvent> {
        let nodes = self.nodes.iter().map(|(name, member)| {
            Fact::Node(NodeFact {
                internal_ips: member.addresses.clone(),
                pod_cidrs: member.pod_cidrs.clone(),
                ..NodeFact::new(name)
            })
        });
        let cidrs = self.service_cidrs.iter().map(|(name, cidrs)| {
            Fact::ServiceCidr(ServiceCidrFact {
                name: name.clone(),
                cidrs: cidrs.clone(),
                malformed: Vec::new(),
            })
        });
        let peers = self.peers.iter().map(|(name, addr)| {
            Fact::Peer(PeerFact {
                name: name.clone(),
                peer_address: Some(*addr),
                ..PeerFact::default()
            })
        });
        let servers = SourceEvent::ApiServers(self.api_servers.clone());
        let facts = nodes.chain(cidrs).chain(peers);
        facts.map(SourceEvent::Apply).chain([servers])
    }

    /// The objects that [`Roster::events`] tells of.
    pub(super) fn keys(&self) -> BTreeSet<Key> {
        let nodes = self.nodes.keys().cloned().map(Key::Node);
        let cidrs = self.service_cidrs.keys().cloned().map(Key::ServiceCidr);
        let peers = self.peers.keys().cloned().map(Key::Peer);
        nodes.chain(cidrs).chain(peers).collect()
    }
}

/// A number for a name, the same everywhere (FNV-1a, 64 bits): so that it is not always the first by name, which often are
/// the control plane's.
fn spread(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;

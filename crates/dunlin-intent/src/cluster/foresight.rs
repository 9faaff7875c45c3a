//! What it takes to try a change on a copy: a [`Cluster`] is a value, and a clone of it may be told anything.

use super::Cluster;
use crate::fact::{Fact, Key, NodeFact};

impl Cluster {
    /// Whether the object is known.
    pub fn knows(&self, key: &Key) -> bool {
        match key {
            Key::Node(name) => self.nodes.contains_key(name.as_str()),
            Key::Configuration(name) => self.configurations.contains_key(name),
            Key::Peer(name) => self.configured.contains_key(name.as_str()),
            Key::Advertisement(name) => self.advertisements.contains_key(name),
            Key::Filter(name) => self.filters.contains_key(name),
            Key::Secret(at) => self.secrets.contains_key(at),
            Key::ServiceCidr(_) | Key::Pool(_) => self.ranges.knows(key),
            Key::Service(_) | Key::EndpointSlice(_) | Key::Namespace(_) => self.services.knows(key),
            Key::BfdProfile(name) => self.bfd_profiles.contains_key(name),
        }
    }

    /// A fact read from what people write, with what the cluster itself fills in and they leave out: a Node's addresses and
    /// pod subnets, a Service's cluster IPs and the addresses of its load balancer stay as they are known.
    pub fn completed(&self, fact: Fact) -> Fact {
        match fact {
            Fact::Node(fact) => Fact::Node(self.completed_node(fact)),
            Fact::Service(fact) => Fact::Service(self.services.completed(fact)),
            other => other,
        }
    }

    fn completed_node(&self, mut fact: NodeFact) -> NodeFact {
        let Some(known) = self.nodes.get(fact.name.as_str()).map(|node| &node.fact) else {
            return fact;
        };
        fact.uid = fact.uid.or_else(|| known.uid.clone());
        fact.created = fact.created.or(known.created);
        fact.ready = fact.ready.or(known.ready);
        if fact.internal_ips.is_empty() {
            fact.internal_ips.clone_from(&known.internal_ips);
        }
        if fact.pod_cidrs.is_empty() {
            fact.pod_cidrs.clone_from(&known.pod_cidrs);
        }
        fact
    }
}

//! What must hold once a cluster is at rest.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use dunlin_intent::Key;
use dunlin_net::IpNet;

use crate::host::Host;
use crate::world::World;

/// A route that should not be there, or is not there and should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Orphan {
    /// A host has no route to another's pod subnet.
    Missing {
        /// The host.
        at: Arc<str>,
        /// The subnet.
        net: IpNet,
    },
    /// A host has a route that leads elsewhere, or to a subnet that nobody has.
    Wrong {
        /// The host.
        at: Arc<str>,
        /// The prefix.
        net: IpNet,
    },
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Orphan::Missing { at, net } => write!(f, "{at} has no route to {net}"),
            Orphan::Wrong { at, net } => write!(f, "{at} has a wrong route to {net}"),
        }
    }
}

impl World {
    /// What differs from a cluster at rest in which every running host that has a Node object hears every other: each has
    /// exactly the others' pod subnets, by their addresses.
    pub fn orphans(&self) -> Vec<Orphan> {
        let is_node = |host: &Host| self.objects.contains_key(&Key::Node(host.name.to_string()));
        let nodes: Vec<bool> = self.hosts.iter().map(is_node).collect();
        let subnets = (0..self.hosts.len()).filter(|host| nodes[*host]);
        let owners: BTreeMap<IpNet, usize> =
            subnets.map(|host| (self.subnet(host), host)).collect();
        let mut orphans = Vec::new();
        for (at, host) in self.hosts.iter().enumerate() {
            if !host.is_running() || !nodes[at] {
                continue;
            }
            for (&net, &other) in &owners {
                let owner = &self.hosts[other];
                let reaches = !self.net.is_cut(at, other);
                if other != at && owner.is_running() && reaches {
                    let hops = host.kernel.gateways(net);
                    let right = |hops: &Vec<dunlin_dataplane::fib::Hop>| {
                        hops.len() == 1 && hops[0].gateway == owner.addr
                    };
                    if !hops.as_ref().is_some_and(right) && !host.kernel.has_foreign(net) {
                        orphans.push(Orphan::Missing {
                            at: host.name.clone(),
                            net,
                        });
                    }
                }
            }
            // Routes to subnets that no Node has, or to its own.
            let wrong = |net: &IpNet| owners.get(net).is_none_or(|owner| *owner == at);
            let wrong = host.kernel.our_routes().filter(wrong);
            orphans.extend(wrong.map(|net| Orphan::Wrong {
                at: host.name.clone(),
                net,
            }));
        }
        orphans
    }
}

//! What must hold once a cluster is at rest.

use std::fmt;
use std::sync::Arc;

use dunlin_intent::Key;
use dunlin_net::IpNet;

use crate::host::Host;
use crate::places::subnet;
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
        let mut orphans = Vec::new();
        for (at, host) in self.hosts.iter().enumerate() {
            if !host.is_running() || !is_node(host) {
                continue;
            }
            for (other, owner) in self.hosts.iter().enumerate() {
                let reaches = !self.net.is_cut(at, other);
                if other != at && owner.is_running() && is_node(owner) && reaches {
                    let net = subnet(u16::try_from(other).unwrap_or_default());
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
            orphans.extend(self.wrong_routes(at));
        }
        orphans
    }

    /// Routes of a host to subnets that no Node has, or to its own.
    fn wrong_routes(&self, at: usize) -> Vec<Orphan> {
        let host = &self.hosts[at];
        let owned = |net: &IpNet| {
            (0..self.hosts.len()).any(|other| {
                let key = Key::Node(self.hosts[other].name.to_string());
                other != at && self.subnet(other) == *net && self.objects.contains_key(&key)
            })
        };
        host.kernel
            .our_routes()
            .filter(|net| !owned(net))
            .map(|net| Orphan::Wrong {
                at: host.name.clone(),
                net,
            })
            .collect()
    }
}

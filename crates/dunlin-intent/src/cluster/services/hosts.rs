//! Whose an address is that can be no Service's.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_net::IpNet;

use super::Cluster;
use crate::few::Few;

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Node(Arc<str>),
    Peer(Arc<str>),
    ApiServer,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Node(name) => write!(f, "the Node {name}"),
            Host::Peer(name) => write!(f, "the BGPPeer {name}"),
            Host::ApiServer => f.write_str("an API server"),
        }
    }
}

impl Cluster {
    /// Who has an address, whether this node has a session with it or not: all nodes judge alike.
    pub(super) fn host_at(&self, addr: IpAddr) -> Option<Host> {
        if self.origin.node_address_in(IpNet::from(addr)).is_some() {
            return Some(Host::Node(self.node_at(addr)?));
        }
        self.outside_host_in(IpNet::from(addr))
            .map(|(_, host)| host)
    }

    /// The first address in a prefix that a BGPPeer, or else an API server, has.
    pub(super) fn outside_host_in(&self, net: IpNet) -> Option<(IpAddr, Host)> {
        let within = net.network()..=net.broadcast();
        let mut peers = self.places.addresses.range(within.clone());
        let peer =
            peers.find_map(|(addr, names)| Some((*addr, Host::Peer(names.first()?.clone()))));
        peer.or_else(|| {
            let addr = self.api_servers.range(within).next()?;
            Some((*addr, Host::ApiServer))
        })
    }

    /// The Node with an address: the oldest of those that peer at it, else the first by name. All Nodes are looked at only
    /// for an address that none peers at.
    pub(super) fn node_at(&self, addr: IpAddr) -> Option<Arc<str>> {
        let peering = self.hosts.get(&addr).and_then(Few::first);
        let any = || {
            let mut nodes = self.nodes.iter();
            nodes.find(|(_, node)| node.addresses.contains(&addr))
        };
        peering
            .map(|age| age.name.clone())
            .or_else(|| any().map(|(name, _)| name.clone()))
    }
}

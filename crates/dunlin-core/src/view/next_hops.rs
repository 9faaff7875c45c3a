//! Nodes whose next hop is on no link of ours: on a network of several subnets nothing is installed by them directly.

use dunlin_api::Problem;
use dunlin_bgp::policy::RejectReason;
use dunlin_bgp::rib::RibFamily;
use dunlin_dataplane::links::Unresolved;
use dunlin_net::{IpNet, V4, V6};

use crate::core::Core;

/// The most Nodes that are named.
const SHOWN: usize = 100;

impl Core {
    /// One problem a Node that announces a pod subnet with a next hop that no link leads to, where no other path is used.
    pub(super) fn next_hop_problems(&self, problems: &mut Vec<Problem>) {
        if !self.installs() || !self.read_back {
            return;
        }
        let named = self.cluster.nodes().filter(|node| !node.is_own);
        let unreached = named.filter_map(|node| {
            let nets = node.pod_subnets.iter().map(|subnet| subnet.net);
            let mut found = nets.filter_map(|net| Some((net, self.off_link(net)?)));
            found
                .next()
                .map(|(net, hop)| (node.fact.name.clone(), net, hop))
        });
        problems.extend(unreached.take(SHOWN).map(|(node, net, hop)| Problem {
            object: format!("Node/{node}"),
            reason: "NextHopNotOnLink".into(),
            message: format!(
                "its next hop {hop} for {net} is on no link of this node, so pods there cannot be reached: a router between the \
                 nodes has to announce the prefix, by a BGPPeer with fabric: true"
            ),
        }));
    }

    fn off_link(&self, net: IpNet) -> Option<std::net::IpAddr> {
        match net {
            IpNet::V4(net) => self.off_link_of::<V4>(net),
            IpNet::V6(net) => self.off_link_of::<V6>(net),
        }
    }

    /// The next hop of a path that is good but for that, if there is no best path.
    fn off_link_of<F: RibFamily>(&self, net: F::Net) -> Option<std::net::IpAddr> {
        let view = self.routing.as_ref()?.rib.lookup::<F>(net)?;
        if view.paths.iter().any(|path| path.best) {
            return None;
        }
        let unresolved = |path: &&dunlin_bgp::rib::PathView<'_>| {
            path.used.is_ok() || path.used == Err(RejectReason::NextHopUnresolved)
        };
        let hops = view.paths.iter().filter(unresolved);
        hops.map(|path| path.next_hop.addr)
            .find(|hop| self.links.resolve(*hop) == Err(Unresolved::NotOnLink))
    }
}

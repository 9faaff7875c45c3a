//! Who is who in a lab: names, addresses and subnets, computed from the options alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dunlin_net::Afi;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// AS of the nodes.
pub const NODE_ASN: u32 = 64512;
/// AS of the router outside the cluster.
pub const ROUTER_ASN: u32 = 65000;
/// The most nodes that the address plan holds.
pub const MAX_NODES: u16 = 1000;
/// The most pods on a node that the address plan holds.
pub const MAX_PODS: u16 = 100;

/// Which address families a lab uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Families {
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// Both.
    Dual,
}

impl Families {
    /// The families, IPv4 first.
    pub fn list(self) -> &'static [Afi] {
        match self {
            Families::Ipv4 => &[Afi::Ipv4],
            Families::Ipv6 => &[Afi::Ipv6],
            Families::Dual => &Afi::ALL,
        }
    }
}

/// The names and addresses of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How many nodes, at most [`MAX_NODES`].
    pub nodes: u16,
    /// How many pods on each node, at most [`MAX_PODS`].
    pub pods_per_node: u16,
    /// The address families.
    pub families: Families,
}

/// A pod: the `index`-th (from 1) on a node (from 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodName {
    /// The node's number.
    pub node: u16,
    /// The pod's number on the node.
    pub index: u16,
}

impl std::fmt::Display for PodName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "n{}p{}", self.node, self.index)
    }
}

impl Plan {
    /// The name of a node.
    pub fn node_name(node: u16) -> String {
        format!("n{node}")
    }

    /// The numbers of all nodes.
    pub fn node_numbers(&self) -> std::ops::RangeInclusive<u16> {
        1..=self.nodes
    }

    /// All pods, node by node.
    pub fn pods(&self) -> Vec<PodName> {
        self.node_numbers()
            .flat_map(|node| (1..=self.pods_per_node).map(move |index| PodName { node, index }))
            .collect()
    }

    /// The families, IPv4 first.
    pub fn families(&self) -> &'static [Afi] {
        self.families.list()
    }

    /// The prefix that the nodes and the router share.
    pub fn underlay(afi: Afi) -> IpNet {
        match afi {
            Afi::Ipv4 => v4(172, 30, 0, 0, 16),
            Afi::Ipv6 => v6([0xfd30, 0, 0, 0, 0, 0, 0, 0], 64),
        }
    }

    /// A node's address on the underlay.
    pub fn node_address(node: u16, afi: Afi) -> IpAddr {
        match afi {
            Afi::Ipv4 => {
                let (high, low) = split(node);
                Ipv4Addr::new(172, 30, high, low + 1).into()
            }
            Afi::Ipv6 => Ipv6Addr::new(0xfd30, 0, 0, 0, 0, 0, 0, decimal_as_hex(node)).into(),
        }
    }

    /// The router's address on the underlay.
    pub fn router_address(afi: Afi) -> IpAddr {
        match afi {
            Afi::Ipv4 => Ipv4Addr::new(172, 30, 255, 254).into(),
            Afi::Ipv6 => Ipv6Addr::new(0xfd30, 0, 0, 0, 0, 0, 0, 0xffff).into(),
        }
    }

    /// The network behind the router.
    pub fn outside(afi: Afi) -> IpNet {
        match afi {
            Afi::Ipv4 => v4(198, 51, 100, 0, 24),
            Afi::Ipv6 => v6([0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0], 64),
        }
    }

    /// The host-th address of the network behind the router: 1 is the router, 2 the client.
    pub fn outside_address(host: u8, afi: Afi) -> IpAddr {
        nth(Plan::outside(afi), host.into())
    }

    /// A node's pod subnet.
    pub fn pod_cidr(node: u16, afi: Afi) -> IpNet {
        match afi {
            Afi::Ipv4 => {
                let [high, low] = node.to_be_bytes();
                v4(10, 244 + high, low, 0, 24)
            }
            Afi::Ipv6 => v6([0xfd44, 0, 0, decimal_as_hex(node), 0, 0, 0, 0], 64),
        }
    }

    /// What holds every pod subnet, and the length of each.
    pub fn all_pods(afi: Afi) -> (IpNet, u8) {
        match afi {
            Afi::Ipv4 => (v4(10, 244, 0, 0, 14), 24),
            Afi::Ipv6 => (v6([0xfd44, 0, 0, 0, 0, 0, 0, 0], 48), 64),
        }
    }

    /// The range of the cluster IPs.
    pub fn services(afi: Afi) -> IpNet {
        match afi {
            Afi::Ipv4 => v4(10, 96, 0, 0, 16),
            Afi::Ipv6 => v6([0xfd96, 0, 0, 0, 0, 0, 0, 0], 112),
        }
    }

    /// The number-th cluster IP.
    pub fn service_address(number: u8, afi: Afi) -> IpAddr {
        nth(Plan::services(afi), number.into())
    }

    /// What the router outside takes from nodes, and the length of each: pod subnets and cluster IPs.
    pub fn announced(afi: Afi) -> [(IpNet, u8); 2] {
        [Plan::all_pods(afi), (Plan::services(afi), afi.bits())]
    }

    /// The gateway of a node's pods.
    pub fn pod_gateway(node: u16, afi: Afi) -> IpAddr {
        nth(Plan::pod_cidr(node, afi), 1)
    }

    /// A pod's address, where no plugin gave one.
    pub fn pod_address(pod: PodName, afi: Afi) -> IpAddr {
        nth(Plan::pod_cidr(pod.node, afi), u32::from(pod.index) + 1)
    }

    /// The hardware address of a node's uplink; the router is number 0.
    pub fn mac(node: u16) -> String {
        let [high, low] = node.to_be_bytes();
        format!("02:d0:00:00:{high:02x}:{low:02x}")
    }
}

fn v4(a: u8, b: u8, c: u8, d: u8, len: u8) -> IpNet {
    let net = Ipv4Net::new(Ipv4Addr::new(a, b, c, d), len);
    IpNet::V4(net.unwrap_or_default())
}

fn v6(segments: [u16; 8], len: u8) -> IpNet {
    let net = Ipv6Net::new(Ipv6Addr::from(segments), len);
    IpNet::V6(net.unwrap_or_default())
}

fn nth(net: IpNet, n: u32) -> IpAddr {
    match net.network() {
        IpAddr::V4(base) => Ipv4Addr::from(u32::from(base).wrapping_add(n)).into(),
        IpAddr::V6(base) => Ipv6Addr::from(u128::from(base).wrapping_add(n.into())).into(),
    }
}

/// Two hundred nodes to each third octet, so that addresses read like the names.
fn split(node: u16) -> (u8, u8) {
    let index = node.saturating_sub(1);
    let octet = |n: u16| u8::try_from(n).unwrap_or(u8::MAX);
    (octet(index / 200), octet(index % 200))
}

/// 12 becomes 0x12: IPv6 addresses then read like the names.
fn decimal_as_hex(node: u16) -> u16 {
    let (mut left, mut shift, mut out) = (node, 0, 0);
    while left > 0 && shift < 16 {
        out |= (left % 10) << shift;
        left /= 10;
        shift += 4;
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_thousand_nodes_have_distinct_addresses_inside_the_right_prefixes() {
        for afi in Afi::ALL {
            let (mut addresses, mut subnets, mut macs) =
                (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            let (pods, len) = Plan::all_pods(afi);
            addresses.insert(Plan::router_address(afi));
            for node in 1..=MAX_NODES {
                let address = Plan::node_address(node, afi);
                let cidr = Plan::pod_cidr(node, afi);
                assert!(Plan::underlay(afi).contains(&address), "{address}");
                assert!(pods.contains(&cidr) && cidr.prefix_len() == len, "{cidr}");
                assert!(addresses.insert(address), "{address} twice");
                assert!(subnets.insert(cidr), "{cidr} twice");
                assert!(macs.insert(Plan::mac(node)));
                let last = PodName {
                    node,
                    index: MAX_PODS,
                };
                assert!(cidr.contains(&Plan::pod_address(last, afi)));
            }
            assert!(!macs.contains(&Plan::mac(0)), "the router's");
        }
    }

    #[test]
    fn addresses_read_like_the_names() {
        let of = |node, afi| Plan::node_address(node, afi).to_string();
        assert_eq!(of(1, Afi::Ipv4), "172.30.0.1");
        assert_eq!(of(12, Afi::Ipv6), "fd30::12");
        assert_eq!(Plan::pod_cidr(3, Afi::Ipv6).to_string(), "fd44:0:0:3::/64");
    }
}

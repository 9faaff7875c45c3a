//! Hosts on one bridge, each a network namespace.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dunlin_lab::iproute::{self, Batch};
use dunlin_lab::netns::{self, NETNS_DIR, Netns};
use dunlin_lab::process::ProcessId;
use ipnet::IpNet;

/// The host of the control plane.
pub const CONTROL: &str = "control";
/// The router outside the cluster, every host's default gateway.
pub const ROUTER: &str = "tor";
/// How many hosts can be nodes: `n1` to `n4`.
pub const NODES: u8 = 4;

const CONTROL_NUMBER: u8 = 200;
const ROUTER_NUMBER: u8 = 254;

/// Namespaces; all gone when dropped.
#[derive(Debug)]
pub struct Network {
    prefix: String,
}

/// A host's addresses, IPv4 first.
///
/// # Panics
/// If there is no such host.
pub fn addresses(host: &str) -> [IpAddr; 2] {
    let number = match host {
        CONTROL => CONTROL_NUMBER,
        ROUTER => ROUTER_NUMBER,
        node => node[1..].parse().expect("a node's name"),
    };
    [
        Ipv4Addr::new(192, 0, 2, number).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, number.into()).into(),
    ]
}

/// The names of the hosts that can be nodes.
pub fn nodes() -> impl Iterator<Item = String> {
    (1..=NODES).map(|number| format!("n{number}"))
}

/// The host of a node's pod.
pub fn pod(node: &str) -> String {
    format!("{node}p")
}

fn host(subnet: &IpNet, number: usize) -> IpAddr {
    let mut hosts = subnet.hosts().filter(|host| *host != subnet.network());
    hosts.nth(number).expect("an address")
}

/// The addresses of a node's pod, from the node's subnets.
pub fn pod_addresses(subnets: &[IpNet]) -> Vec<IpAddr> {
    subnets.iter().map(|subnet| host(subnet, 1)).collect()
}

fn hosts() -> Vec<String> {
    let fixed = [CONTROL, ROUTER].map(str::to_owned);
    fixed.into_iter().chain(nodes()).collect()
}

impl Network {
    /// Makes the namespaces of this process, with addresses, links and default routes.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn new() -> Network {
        remove_leftovers();
        let network = Network {
            prefix: format!("e2e{}", std::process::id()),
        };
        let names: Vec<String> = network.names().collect();
        netns::create(&names).expect("namespaces");
        for name in &names {
            let space = Netns::open(name).expect("a namespace");
            // Else every IPv6 address waits a second for duplicates.
            let keys = ["all", "default"].map(|link| format!("net/ipv6/conf/{link}/accept_dad"));
            let values = keys.each_ref().map(|key| (key.as_str(), "0"));
            space.sysctls(&values).expect("sysctls");
        }
        let mut bridge = Batch::new();
        bridge.push("link add br0 up type bridge stp_state 0 forward_delay 0 mcast_snooping 0");
        for host in hosts() {
            let space = network.netns(&host);
            bridge.push(format_args!(
                "link add {host} up master br0 type veth peer name eth0 netns {}",
                space.name()
            ));
        }
        bridge.run(&network.netns("sw")).expect("a bridge");
        for host in hosts() {
            network.set_up(&host);
        }
        network
    }

    fn set_up(&self, host: &str) {
        let mut batch = Batch::new();
        batch.push("link set lo up");
        batch.push("link set eth0 up");
        for address in addresses(host) {
            let (len, flag) = if address.is_ipv4() {
                (24, "")
            } else {
                (64, " nodad")
            };
            batch.push(format_args!("addr add {address}/{len} dev eth0{flag}"));
        }
        if host != ROUTER {
            for gateway in addresses(ROUTER) {
                batch.push(format_args!("route add default via {gateway}"));
            }
        }
        batch.run(&self.netns(host)).expect("addresses");
    }

    /// Attaches the pod of a node, with the second address of each subnet, the first being the gateway's: the way
    /// CNI's `ptp` does it.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn attach_pod(&self, node: &str, subnets: &[IpNet]) {
        let space = self.netns(&pod(node));
        let (mut outer, mut inner) = (Batch::new(), Batch::new());
        outer.push(format_args!(
            "link add pod up type veth peer name eth0 netns {}",
            space.name()
        ));
        inner.push("link set lo up");
        inner.push("link set eth0 up");
        for subnet in subnets {
            let (gateway, address) = (host(subnet, 0), host(subnet, 1));
            let (len, flag) = match address {
                IpAddr::V4(_) => (32, ""),
                IpAddr::V6(_) => (128, " nodad"),
            };
            outer.push(format_args!("addr add {gateway}/{len} dev pod{flag}"));
            outer.push(format_args!("route add {address}/{len} dev pod"));
            inner.push(format_args!("addr add {address}/{len} dev eth0{flag}"));
            inner.push(format_args!("route add {gateway}/{len} dev eth0"));
            inner.push(format_args!("route add default via {gateway} dev eth0"));
        }
        outer.run(&self.netns(node)).expect("the node's end");
        inner.run(&space).expect("the pod's end");
    }

    /// Takes the pod of a node away.
    ///
    /// # Panics
    /// If it is not there.
    pub fn detach_pod(&self, node: &str) {
        self.ip(node, &["link delete pod"]);
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let pods = nodes().map(|node| pod(&node));
        let hosts = hosts().into_iter().chain(pods).chain(["sw".to_owned()]);
        hosts.map(|host| format!("{}-{host}", self.prefix))
    }

    /// The namespace of a host.
    ///
    /// # Panics
    /// If there is none.
    pub fn netns(&self, host: &str) -> Netns {
        Netns::open(&format!("{}-{host}", self.prefix)).expect("a host")
    }

    /// Runs `ip` commands on a host.
    #[track_caller]
    pub fn ip(&self, host: &str, lines: &[&str]) {
        let mut batch = Batch::new();
        lines.iter().for_each(|line| batch.push(line));
        batch.run(&self.netns(host)).expect("ip");
    }

    /// What `ip` prints on a host.
    #[track_caller]
    pub fn ip_says(&self, host: &str, args: &[&str]) -> String {
        iproute::output(&self.netns(host), args).expect("ip")
    }
}

/// Takes away the namespaces of test programs that were killed.
fn remove_leftovers() {
    let names = std::fs::read_dir(NETNS_DIR).into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner = name
            .strip_prefix("e2e")
            .and_then(|rest| rest.split_once('-'));
        let owner = owner.and_then(|(pid, _)| pid.parse().ok());
        if owner.is_some_and(|pid| ProcessId::of(pid).is_none()) {
            let _ = netns::delete(&name);
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Network::new()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.names() {
            let _ = netns::delete(&name);
        }
    }
}

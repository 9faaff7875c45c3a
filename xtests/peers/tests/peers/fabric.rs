//! A network of two racks, a subnet for each link, in IPv4 or in IPv6, routed by FRR: a spine (AS 65000), two top-of-rack switches of rack 1
//! (AS 65011 and 65012), to both of which node 1 has a link, and one of rack 2 (AS 65021) with node 2.
//!
//!     pod 1 – n1 =(eth0)= tor1a – spine – tor2 =(eth0)= n2 – pod 2
//!               =(eth1)= tor1b –'

mod draining;
mod frr;
mod uplinks;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dunlin_lab::iproute::{output, text_of};
use dunlin_lab::netns::Netns;
use dunlin_lab::plan::Plan;
use dunlin_lab::probe::icmp;
use dunlin_lab::process::{ProcessId, wait_until_ended};
use dunlin_net::Afi;
use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use crate::agent::{Agent, tail};
use crate::bed::{END_PATIENCE, end, signal_group};
use crate::check::until_ok;
use crate::daemon::Kind;
use crate::support::{Scratch, Spaces};
use frr::Router;

/// In the order of the namespaces.
const NODES: [usize; 2] = [0, 1];
const PODS: [usize; 2] = [2, 3];
const TOR1A: usize = 4;
const TOR1B: usize = 5;
const TOR2: usize = 6;
const SPINE: usize = 7;

/// A link: its two ends as namespace, interface and host number, and the numbers of its subnet.
type Link = ([(usize, &'static str, u8); 2], (u8, u8));

const LINKS: [Link; 6] = [
    ([(NODES[0], "eth0", 11), (TOR1A, "node", 1)], (1, 1)),
    ([(NODES[0], "eth1", 11), (TOR1B, "node", 1)], (1, 2)),
    ([(NODES[1], "eth0", 11), (TOR2, "node", 1)], (2, 1)),
    ([(TOR1A, "uplink", 2), (SPINE, "tor1a", 1)], (9, 1)),
    ([(TOR1B, "uplink", 2), (SPINE, "tor1b", 1)], (9, 2)),
    ([(TOR2, "uplink", 2), (SPINE, "tor2", 1)], (9, 3)),
];

/// How long a ping may take.
const ANSWER: Duration = Duration::from_secs(2);

pub(crate) fn trials() -> Vec<Trial> {
    let racks = |name: &str, afi| {
        let test = move || run(afi).map_err(|error| Failed::from(format!("{error:#}")));
        Trial::test(name, test)
    };
    vec![
        racks("two-racks::frr", Afi::Ipv4),
        racks("two-racks-ipv6::frr", Afi::Ipv6),
        uplinks::trial(),
        draining::trial(),
    ]
}

fn run(afi: Afi) -> Result<()> {
    crate::run_with(Kind::Frr, || {
        let mut fabric = Fabric::new(afi)?;
        let done = fabric.play();
        done.map_err(|error| {
            let logs: Vec<_> = fabric.agents.iter().map(|a| tail(&a.log(), 20)).collect();
            error.context(logs.join("\n---\n"))
        })
    })
}

struct Fabric {
    net: Net,
    agents: Vec<Agent>,
    routers: Vec<Router>,
    running: Vec<ProcessId>,
    spaces: Spaces,
    _scratch: Scratch,
}

/// The addresses of a family.
#[derive(Clone, Copy)]
struct Net(Afi);

impl Net {
    /// A host on the link of these numbers: 10.X.Y.HOST, or fd0a:X:Y::HOST.
    fn at(self, (x, y): (u8, u8), host: u8) -> IpAddr {
        match self.0 {
            Afi::Ipv4 => Ipv4Addr::new(10, x, y, host).into(),
            Afi::Ipv6 => Ipv6Addr::new(0xfd0a, x.into(), y.into(), 0, 0, 0, 0, host.into()).into(),
        }
    }

    /// The same as text.
    fn text(self, link: (u8, u8), host: u8) -> String {
        self.at(link, host).to_string()
    }

    /// How many bits a link's subnet has.
    fn subnet_bits(self) -> u8 {
        match self.0 {
            Afi::Ipv4 => 24,
            Afi::Ipv6 => 64,
        }
    }

    /// All links.
    fn everything(self) -> &'static str {
        match self.0 {
            Afi::Ipv4 => "10.0.0.0/8",
            Afi::Ipv6 => "fd0a::/16",
        }
    }

    /// What `addressFamilies` calls it.
    fn word(self) -> &'static str {
        match self.0 {
            Afi::Ipv4 => "IPv4",
            Afi::Ipv6 => "IPv6",
        }
    }

    /// Of node 1, the two switches of its rack.
    fn tors(self) -> [String; 2] {
        [(1, 1), (1, 2)].map(|link| self.text(link, 1))
    }

    /// An address in a node's pod subnet.
    fn in_pods(self, node: u16, host: u8) -> IpAddr {
        match Plan::pod_cidr(node, self.0).network() {
            IpAddr::V4(first) => Ipv4Addr::from(u32::from(first) + u32::from(host)).into(),
            IpAddr::V6(first) => Ipv6Addr::from(u128::from(first) + u128::from(host)).into(),
        }
    }

    fn pod(self, node: u16) -> IpAddr {
        self.in_pods(node, 2)
    }

    /// The gateways of a node's route to another's pods.
    fn gateways(self, node: &Netns, other: u16) -> Result<Vec<String>> {
        let net = Plan::pod_cidr(other, self.0).to_string();
        let family = match self.0 {
            Afi::Ipv4 => "-4",
            Afi::Ipv6 => "-6",
        };
        let text = output(node, &[family, "route", "show", &net, "proto", "68"])?;
        let mut words = text.split_whitespace();
        let mut found = Vec::new();
        while let Some(word) = words.next() {
            // A next hop whose link is down does not count.
            if word == "via"
                && let Some(gateway) = words.next()
            {
                found.push(gateway.to_owned());
            }
        }
        found.sort();
        Ok(found)
    }
}

impl Fabric {
    fn new(afi: Afi) -> Result<Fabric> {
        let net = Net(afi);
        let scratch = Scratch::new(&format!("two-racks-{}", net.word()));
        let spaces = Spaces::new(&format!("racks-{}", net.word()), 8);
        for space in spaces.iter() {
            space.sysctls(&[
                ("net/ipv4/ip_forward", "1"),
                ("net/ipv6/conf/all/forwarding", "1"),
                // A link that comes back keeps its addresses, as it does in IPv4.
                ("net/ipv6/conf/all/keep_addr_on_down", "1"),
                // Else every address waits a second for duplicates.
                ("net/ipv6/conf/all/accept_dad", "0"),
                ("net/ipv6/conf/default/accept_dad", "0"),
            ])?;
        }
        for at in 0..8 {
            spaces.ip(at, &["link set lo up"]);
        }
        for (ends, link) in LINKS {
            let [(a, a_name, a_host), (b, b_name, b_host)] = ends;
            let other = spaces[b].name().to_owned();
            let make = format!("link add {a_name} type veth peer name {b_name} netns {other}");
            let up = |name: &str| format!("link set {name} up");
            let bits = net.subnet_bits();
            let addr =
                |host: u8, name: &str| format!("addr add {}/{bits} dev {name}", net.at(link, host));
            spaces.ip(a, &[&make, &addr(a_host, a_name), &up(a_name)]);
            spaces.ip(b, &[&addr(b_host, b_name), &up(b_name)]);
        }
        // What the nodes need of the network besides: to each other, for their own session.
        let (all, [one, other]) = (net.everything(), net.tors());
        let by_both = format!("route add {all} nexthop via {one} nexthop via {other}");
        spaces.ip(NODES[0], &[&by_both]);
        let by_tor2 = format!("route add {all} via {}", net.at((2, 1), 1));
        spaces.ip(NODES[1], &[&by_tor2]);
        for (number, (node, pod_space)) in (1..).zip(NODES.into_iter().zip(PODS)) {
            let other = spaces[pod_space].name().to_owned();
            let make = format!("link add pod type veth peer name eth0 netns {other}");
            let (address, gateway) = (net.pod(number), net.in_pods(number, 1));
            let bits = afi.bits();
            let own = format!("addr add {gateway}/{bits} dev pod");
            let to_pod = format!("route add {address}/{bits} dev pod");
            spaces.ip(node, &[&make, "link set pod up", &own, &to_pod]);
            let own = format!("addr add {address}/{bits} dev eth0");
            let to_gateway = format!("route add {gateway}/{bits} dev eth0");
            let default = format!("route add default via {gateway}");
            spaces.ip(
                pod_space,
                &["link set eth0 up", &own, &to_gateway, &default],
            );
        }
        let mut routers = Vec::new();
        for (space, name, asn, node, spine) in [
            (TOR1A, "tor1a", 65011, (1, 1), (9, 1)),
            (TOR1B, "tor1b", 65012, (1, 2), (9, 2)),
            (TOR2, "tor2", 65021, (2, 1), (9, 3)),
        ] {
            let config = frr::tor(afi, asn, net.at(node, 11), net.at(spine, 1));
            routers.push(Router::new(&spaces[space], &scratch.0.join(name), &config)?);
        }
        let tors = [(1, 65011), (2, 65012), (3, 65021)];
        let tors = tors.map(|(number, asn)| (net.at((9, number), 2), asn));
        let config = frr::spine(afi, net.at((2, 1), 11), &tors);
        routers.push(Router::new(
            &spaces[SPINE],
            &scratch.0.join("spine"),
            &config,
        )?);
        let mut agents = Vec::new();
        for (number, node) in (1u16..).zip(NODES) {
            let directory = scratch.0.join(Plan::node_name(number));
            agents.push(Agent::of(number, spaces[node].clone(), directory)?);
        }
        Ok(Fabric {
            net,
            agents,
            routers,
            running: Vec::new(),
            spaces,
            _scratch: scratch,
        })
    }

    /// Gives every agent a file.
    fn put(&self, file: &str, text: &str) -> Result<()> {
        let mut agents = self.agents.iter();
        agents.try_for_each(|agent| agent.put(file, text))
    }

    fn play(&mut self) -> Result<()> {
        let net = self.net;
        let [tor1a, tor1b] = &net.tors();
        let both = [tor1a.as_str(), tor1b.as_str()];
        self.put("nodes.yaml", &net.nodes())?;
        for agent in &self.agents {
            self.running.push(agent.start()?);
        }
        for router in &mut self.routers {
            router.start()?;
        }
        // The nodes have a session, and yet no way: the other's address is on no link.
        until_ok(|| self.has_problem("NextHopNotOnLink"))?;
        ensure!(
            net.gateways(&self.spaces[NODES[0]], 2)?.is_empty(),
            "a route"
        );

        self.put("fabric.yaml", &net.peers("fabric: true"))?;
        // The racks' nodes share an AS, which stands in the path.
        until_ok(|| self.path_reason(0, 2, "tor-1a", "our AS is in its path"))?;
        let flaps = self.flaps()?;
        self.put("fabric.yaml", &net.peers("fabric: true\n  allowOwnAS: 1"))?;
        self.settles(&both)?;
        ensure!(self.flaps()? == flaps, "a session was reset");
        ensure!(self.has_problem("NextHopNotOnLink").is_err(), "a problem");
        let hops = icmp::trace(&self.spaces[PODS[0]], net.pod(2), 8, ANSWER)?;
        ensure!(hops.len() == 6, "by {hops:?}");
        let second: IpAddr = hops[1];
        let by_tor = both.map(str::parse::<IpAddr>);
        ensure!(by_tor.contains(&Ok(second)), "by {hops:?}");

        // One uplink of the rack dies, then the other comes to do it all.
        self.spaces.ip(TOR1A, &["link set uplink down"]);
        self.settles(&[tor1b])?;
        self.spaces.ip(TOR1A, &["link set uplink up"]);
        self.settles(&both)?;
        // A switch dies.
        self.routers[1].kill()?;
        self.settles(&[tor1a])?;
        self.routers[1].start()?;
        self.settles(&both)?;
        // The node's link to a switch dies: here the kernel itself takes the next hop away.
        self.spaces.ip(TOR1B, &["link set node down"]);
        self.settles(&[tor1a])?;
        self.spaces.ip(TOR1B, &["link set node up"]);
        self.settles(&both)?;
        self.reaches_a_router_two_hops_away()?;
        self.restarts()
    }

    /// Node 2 has a session with the spine: packets need a second hop, which `ebgpMultihop` allows.
    fn reaches_a_router_two_hops_away(&self) -> Result<()> {
        let spine = |fields: &str| {
            self.net
                .peer("spine", "r2", self.net.at((9, 3), 1), 65000, fields)
        };
        let stands = |state: &str| {
            let all = self.agents[1].neighbors()?;
            let found = all.iter().find(|neighbor| neighbor.name == "spine");
            let right = found.is_some_and(|spine| match state {
                "Established" => spine.state == state,
                words => {
                    spine.state != "Established"
                        && (spine.last_error.as_ref()).is_some_and(|error| error.contains(words))
                }
            });
            ensure!(right, "{found:?}");
            Ok(())
        };
        self.put("spine.yaml", &spine(""))?;
        // In IPv6 the kernel tries twice before it says so, and the spine dials in between.
        let reason = match self.net.0 {
            Afi::Ipv4 => "unreachable",
            Afi::Ipv6 => "",
        };
        until_ok(|| stands(reason))?;
        self.put("spine.yaml", &spine("ebgpMultihop: 2"))?;
        until_ok(|| stands("Established"))
    }

    /// An agent that comes back keeps the routes that it has by the fabric, until that has spoken.
    fn restarts(&mut self) -> Result<()> {
        let mut watch = dunlin_lab::routes::RouteWatch::open(&self.spaces[NODES[0]])?;
        end(self.running[0], Signal::KILL)?;
        self.running[0] = self.agents[0].start()?;
        let tors = self.net.tors();
        self.settles(&tors.each_ref().map(String::as_str))?;
        until_ok(|| {
            ensure!(self.agents[0].status()?.gate.open, "the gate is closed");
            Ok(())
        })?;
        let to: ipnet::IpNet = Plan::pod_cidr(2, self.net.0);
        let events = watch.events()?;
        let gone = events.iter().any(|event| {
            event.route.prefix == to && event.change == dunlin_lab::routes::Change::Deleted
        });
        ensure!(!gone, "the route was deleted");
        Ok(())
    }

    /// Waits until node 1's route to node 2's pods has these gateways, and node 2's one its own, and pods reach each other.
    fn settles(&self, by: &[&str]) -> Result<()> {
        until_ok(|| {
            let net = self.net;
            let found = net.gateways(&self.spaces[NODES[0]], 2)?;
            ensure!(found == by, "node 1 has {found:?}");
            let found = net.gateways(&self.spaces[NODES[1]], 1)?;
            ensure!(found == [net.text((2, 1), 1)], "node 2 has {found:?}");
            icmp::ping(&self.spaces[PODS[0]], net.pod(2), ANSWER)?;
            icmp::ping(&self.spaces[PODS[1]], net.pod(1), ANSWER)?;
            Ok(())
        })
    }

    fn has_problem(&self, reason: &str) -> Result<()> {
        let problems = self.agents[0].status()?.problems;
        let found = problems.iter().any(|problem| problem.reason == reason);
        ensure!(found, "{problems:?}");
        Ok(())
    }

    fn path_reason(&self, agent: usize, node: u16, from: &str, words: &str) -> Result<()> {
        let net = Plan::pod_cidr(node, self.net.0);
        let routes = self.agents[agent].routes()?;
        let of_net = routes.iter().filter(|route| route.prefix == net);
        let paths: Vec<_> = of_net.flat_map(|route| &route.paths).collect();
        let said = paths.iter().any(|path| {
            let reason = path.reason.as_deref().unwrap_or_default();
            path.from == from && reason.contains(words)
        });
        ensure!(said, "{paths:?}");
        Ok(())
    }

    /// How often each session went down.
    fn flaps(&self) -> Result<Vec<(String, u64)>> {
        let all = self.agents[0].neighbors()?;
        let of = |neighbor: &dunlin_api::Neighbor| (neighbor.name.clone(), neighbor.flaps);
        Ok(all.iter().map(of).collect())
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        let of_routers = self.routers.iter().flat_map(Router::processes);
        for process in self.running.iter().copied().chain(of_routers) {
            let _ = signal_group(process, Signal::KILL);
            wait_until_ended(process, Instant::now() + END_PATIENCE);
        }
    }
}

impl Net {
    fn nodes(self) -> String {
        let node = |number: u16, link| {
            let (name, net) = (Plan::node_name(number), Plan::pod_cidr(number, self.0));
            format!(
                "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{rack: r{number}}}}}\n\
                 spec: {{podCIDRs: [\"{net}\"]}}\n\
                 status: {{addresses: [{{type: InternalIP, address: \"{}\"}}]}}\n---\n",
                self.at(link, 11)
            )
        };
        node(1, (1, 1)) + &node(2, (2, 1))
    }

    fn peer(self, name: &str, rack: &str, address: IpAddr, asn: u32, fields: &str) -> String {
        format!(
            "apiVersion: dunlin.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {name}}}\nspec:\n  \
             nodeSelector: {{matchLabels: {{rack: {rack}}}}}\n  peerAddress: \"{address}\"\n  peerASN: {asn}\n  \
             addressFamilies: [{}]\n  {fields}\n---\n",
            self.word()
        )
    }

    fn peers(self, fields: &str) -> String {
        self.peer("tor-1a", "r1", self.at((1, 1), 1), 65011, fields)
            + &self.peer("tor-1b", "r1", self.at((1, 2), 1), 65012, fields)
            + &self.peer("tor-2", "r2", self.at((2, 1), 1), 65021, fields)
            + "apiVersion: dunlin.dev/v1alpha1\nkind: BGPAdvertisement\nmetadata: {name: pods}\n\
               spec: {podCIDRs: {}}\n"
    }
}

/// What a command of a router's console says.
fn said(command: &mut std::process::Command) -> Result<String> {
    text_of(command)
}

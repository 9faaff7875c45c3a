//! Two nodes with the same service address, and two routers outside, FRR and BIRD, each with a client behind it. A node is
//! made the last choice, then drained and ended (RFC 8326).
//!
//!     client – router (FRR) –+– n1
//!     client – router (BIRD) –+– n2

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use dunlin_lab::iproute::{output, text_of};
use dunlin_lab::netns::Netns;
use dunlin_lab::plan::Plan;
use dunlin_lab::probe::pinger::Pinger;
use dunlin_lab::process::{ProcessId, start_daemon, wait_until_ended};
use dunlin_net::Afi;
use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use super::frr::Router;
use super::said;
use crate::agent::{Agent, tail};
use crate::bed::{END_PATIENCE, end, signal_group};
use crate::check::until_ok;
use crate::daemon::Kind;
use crate::support::{Scratch, Spaces};

const NODES: [u16; 2] = [1, 2];
/// The first has FRR, the second BIRD; each with the number of its address, its AS and its client's network.
const ROUTERS: [(u16, u32, [&str; 2]); 2] = [
    (11, 65001, ["198.18.1.", "fd18:1::"]),
    (12, 65002, ["198.18.2.", "fd18:2::"]),
];
/// Namespaces: the nodes, the routers, their clients, the switch.
const ROUTER: usize = 2;
const CLIENT: usize = 4;
const SWITCH: usize = 6;

/// The addresses of the service in both families, without their last digit; both nodes have them all. Routers choose a node by
/// the address.
const SERVICE: [&str; 2] = ["198.51.100.5", "2001:db8:77::5"];
const ADDRESSES: u8 = 4;

/// Echoes a second to each.
const RATE: u32 = 50;

pub(super) fn trial() -> Trial {
    let test = || run().map_err(|error| Failed::from(format!("{error:#}")));
    Trial::test("drained-node-two-routers::frr-bird", test)
}

fn run() -> Result<()> {
    crate::run_with(Kind::Bird, || {
        crate::run_with(Kind::Frr, || {
            let mut place = Place::new()?;
            let done = place.play();
            done.map_err(|error| {
                let mut logs: Vec<_> = place.agents.iter().map(|a| tail(&a.log(), 20)).collect();
                logs.push(tail(&place.bird.join("log"), 10));
                error.context(logs.join("\n---\n"))
            })
        })
    })
}

struct Place {
    agents: Vec<Agent>,
    running: Vec<ProcessId>,
    frr: Router,
    bird: PathBuf,
    others: Vec<ProcessId>,
    spaces: Spaces,
    _scratch: Scratch,
}

fn at(afi: Afi) -> usize {
    match afi {
        Afi::Ipv4 => 0,
        Afi::Ipv6 => 1,
    }
}

/// All addresses of the service.
fn services(afi: Afi) -> impl Iterator<Item = String> {
    (0..ADDRESSES).map(move |number| format!("{}{number}", SERVICE[at(afi)]))
}

/// The first of them.
fn service(afi: Afi) -> String {
    format!("{}0", SERVICE[at(afi)])
}

impl Place {
    fn new() -> Result<Place> {
        let scratch = Scratch::new("draining");
        let spaces = Spaces::new("draining", 7);
        for space in spaces.iter() {
            space.sysctls(&[
                ("net/ipv4/ip_forward", "1"),
                ("net/ipv6/conf/all/forwarding", "1"),
                // Else every address waits a second for duplicates.
                ("net/ipv6/conf/all/accept_dad", "0"),
                ("net/ipv6/conf/default/accept_dad", "0"),
            ])?;
        }
        on_link(&spaces);
        behind_routers(&spaces);
        for node in 0..NODES.len() {
            for address in Afi::ALL.into_iter().flat_map(services) {
                spaces.ip(node, &[&format!("addr add {address} dev lo")]);
            }
        }
        let frr = Router::new(&spaces[ROUTER], &scratch.0.join("frr"), &frr_config())?;
        let bird = scratch.0.join("bird");
        fs::create_dir_all(&bird)?;
        fs::write(bird.join("bird.conf"), bird_config())?;
        let mut agents = Vec::new();
        for (index, number) in NODES.into_iter().enumerate() {
            let directory = scratch.0.join(Plan::node_name(number));
            agents.push(Agent::of(number, spaces[index].clone(), directory)?);
        }
        Ok(Place {
            agents,
            running: Vec::new(),
            frr,
            bird,
            others: Vec::new(),
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
        self.put("nodes.yaml", &nodes(false))?;
        self.put("objects.yaml", &objects())?;
        for agent in &self.agents {
            self.running.push(agent.start()?);
        }
        self.frr.start()?;
        let mut bird = self.spaces[ROUTER + 1].command("/usr/sbin/bird");
        bird.arg("-f").arg("-c").arg(self.bird.join("bird.conf"));
        bird.arg("-s").arg(self.bird.join("bird.ctl"));
        bird.arg("-P").arg(self.bird.join("bird.pid"));
        let bird = start_daemon(&mut bird, &self.bird.join("log"), true)?;
        self.others.push(bird);
        self.settles(&[1, 2])?;
        let flaps = self.flaps()?;
        let pingers = self.pingers()?;

        // The first node is the last choice: both routers still hear of it, and send it nothing.
        self.put("last.yaml", LAST_CHOICE)?;
        self.settles(&[2])?;
        until_ok(|| self.heard(&[(1, true), (2, false)]))?;
        for agent in &self.agents {
            fs::remove_file(agent.manifests().join("last.yaml"))?;
        }
        self.settles(&[1, 2])?;
        until_ok(|| self.heard(&[(1, false), (2, false)]))?;

        // It is drained: in the end they do not even hear of it, and it may go.
        self.put("nodes.yaml", &nodes(true))?;
        self.settles(&[2])?;
        until_ok(|| self.heard(&[(2, false)]))?;
        ensure!(self.flaps()? == flaps, "a session was reset");
        for afi in Afi::ALL {
            for address in services(afi) {
                let gone = format!("addr del {address}/{} dev lo", afi.bits());
                self.spaces.ip(0, &[&gone]);
            }
        }
        end(self.running[0], Signal::TERM)?;
        self.settles(&[2])?;
        for (name, pinger) in pingers {
            let report = pinger.stop()?;
            ensure!(report.sent > 0 && report.lost() == 0, "{name}: {report}");
        }
        Ok(())
    }

    /// Echoes to the service from both clients.
    fn pingers(&self) -> Result<Vec<(String, Pinger)>> {
        let mut pingers = Vec::new();
        for (index, (number, ..)) in ROUTERS.into_iter().enumerate() {
            for afi in Afi::ALL {
                // BIRD takes an IPv6 route away before it writes it anew.
                if index == 1 && afi == Afi::Ipv6 {
                    continue;
                }
                for address in services(afi) {
                    let client = &self.spaces[CLIENT + index];
                    let pinger = Pinger::start(client, address.parse()?, RATE)?;
                    pingers.push((format!("by router {number}"), pinger));
                }
            }
        }
        Ok(pingers)
    }

    /// Waits until the kernels of both routers send packets to the service to just these nodes.
    fn settles(&self, nodes: &[u16]) -> Result<()> {
        until_ok(|| {
            for router in [ROUTER, ROUTER + 1] {
                for afi in Afi::ALL {
                    let found = gateways(&self.spaces[router], afi)?;
                    let wanted: Vec<String> = nodes
                        .iter()
                        .map(|node| Plan::node_address(*node, afi).to_string())
                        .collect();
                    ensure!(found == wanted, "router {router}, {afi:?}: {found:?}");
                }
            }
            Ok(())
        })
    }

    /// Both routers have paths of just these nodes, and those that are said to be carry GRACEFUL_SHUTDOWN.
    fn heard(&self, wanted: &[(u16, bool)]) -> Result<()> {
        for afi in Afi::ALL {
            let wanted: Vec<(IpAddr, bool)> = wanted
                .iter()
                .map(|(node, last)| (Plan::node_address(*node, afi), *last))
                .collect();
            for found in [self.heard_by_frr(afi)?, self.heard_by_bird(afi)?] {
                ensure!(found == wanted, "{found:?}, not {wanted:?}");
            }
        }
        Ok(())
    }

    fn heard_by_frr(&self, afi: Afi) -> Result<Vec<(IpAddr, bool)>> {
        let family = ["ipv4", "ipv6"][at(afi)];
        let mut command = Command::new("/usr/bin/vtysh");
        command.arg("--vty_socket").arg(self.frr.directory());
        let show = format!("show bgp {family} unicast {} json", service(afi));
        let text = said(command.args(["-d", "bgpd", "-c", &show]))?;
        let table: serde_json::Value = serde_json::from_str(&text).context(text)?;
        let mut found = Vec::new();
        for path in table["paths"].as_array().into_iter().flatten() {
            let hops = path["nexthops"].as_array().into_iter().flatten();
            let global = hops.filter(|hop| hop["scope"] != "link-local");
            let hop = global
                .filter_map(|hop| hop["ip"].as_str()?.parse().ok())
                .next();
            let communities = path["community"]["string"].as_str().unwrap_or_default();
            found.push((
                hop.context("no next hop")?,
                communities == "graceful-shutdown",
            ));
        }
        found.sort_unstable();
        Ok(found)
    }

    fn heard_by_bird(&self, afi: Afi) -> Result<Vec<(IpAddr, bool)>> {
        let mut command = Command::new("/usr/sbin/birdc");
        command.arg("-s").arg(self.bird.join("bird.ctl"));
        let text = text_of(command.args(["show", "route", "for", &service(afi), "all"]))?;
        let mut found: Vec<(IpAddr, bool)> = Vec::new();
        for line in text.lines() {
            match line.trim().split_once(": ") {
                Some(("BGP.next_hop", hop)) => {
                    let hop = hop.split_whitespace().next().unwrap_or_default();
                    found.push((hop.parse()?, false));
                }
                Some(("BGP.community", "(65535,0)")) => {
                    found.last_mut().context("no next hop")?.1 = true;
                }
                _ => {}
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// How often each session of the nodes went down.
    fn flaps(&self) -> Result<Vec<(String, u64)>> {
        let mut all = Vec::new();
        for agent in &self.agents {
            all.extend(
                agent
                    .neighbors()?
                    .into_iter()
                    .map(|one| (one.name, one.flaps)),
            );
        }
        Ok(all)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let all = self.running.iter().chain(&self.others).copied();
        for process in all.chain(self.frr.processes()) {
            let _ = signal_group(process, Signal::KILL);
            wait_until_ended(process, Instant::now() + END_PATIENCE);
        }
    }
}

/// Nodes and routers, on a switch.
fn on_link(spaces: &Spaces) {
    spaces.ip(SWITCH, &["link add br0 type bridge", "link set br0 up"]);
    let numbers = [1, 2, ROUTERS[0].0, ROUTERS[1].0];
    for (space, number) in numbers.into_iter().enumerate() {
        let switch = spaces[SWITCH].name().to_owned();
        let mut lines = vec![
            "link set lo up".to_owned(),
            format!("link add eth0 type veth peer name p{number} netns {switch}"),
        ];
        lines.extend(Afi::ALL.map(|afi| {
            let bits = Plan::underlay(afi).prefix_len();
            format!(
                "addr add {}/{bits} dev eth0",
                Plan::node_address(number, afi)
            )
        }));
        lines.push("link set eth0 up".to_owned());
        spaces.ip(space, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let port = format!("link set p{number} master br0 up");
        spaces.ip(SWITCH, &[&port]);
    }
}

/// The clients, and the way back to them.
fn behind_routers(spaces: &Spaces) {
    for (index, (number, _, nets)) in ROUTERS.into_iter().enumerate() {
        let client = spaces[CLIENT + index].name().to_owned();
        spaces.ip(
            ROUTER + index,
            &[
                &format!("link add client type veth peer name eth0 netns {client}"),
                "link set client up",
            ],
        );
        spaces.ip(CLIENT + index, &["link set lo up", "link set eth0 up"]);
        for afi in Afi::ALL {
            let (net, bits) = (nets[at(afi)], [24, 64][at(afi)]);
            let router = format!("addr add {net}1/{bits} dev client");
            spaces.ip(ROUTER + index, &[&router]);
            let own = format!("addr add {net}2/{bits} dev eth0");
            let default = format!("route add default via {net}1");
            spaces.ip(CLIENT + index, &[&own, &default]);
            // The way back, which no router announces.
            let (to, by) = (format!("{net}2"), Plan::node_address(number, afi));
            for node in 0..NODES.len() {
                let back = format!("route add {to} via {by}");
                spaces.ip(node, &[&back]);
            }
        }
    }
}

/// Where a router's kernel sends what goes to the service.
fn gateways(router: &Netns, afi: Afi) -> Result<Vec<String>> {
    let family = ["-4", "-6"][at(afi)];
    let text = output(router, &[family, "route", "show", &service(afi)])?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let via = words.windows(2).filter(|pair| pair[0] == "via");
    let mut found: Vec<String> = via.map(|pair| pair[1].to_owned()).collect();
    found.sort();
    Ok(found)
}

fn frr_config() -> String {
    let (_, asn, _) = ROUTERS[0];
    let mut text = format!(
        "frr defaults datacenter\nhostname router\nrouter bgp {asn}\n bgp router-id 192.0.2.1\n \
         no bgp ebgp-requires-policy\n"
    );
    let nodes = NODES.map(|node| Plan::node_address(node, Afi::Ipv4));
    for node in nodes {
        text += &format!(" neighbor {node} remote-as 64512\n neighbor {node} timers connect 1\n");
    }
    text += " address-family ipv6 unicast\n";
    for node in nodes {
        text += &format!("  neighbor {node} activate\n");
    }
    text + " exit-address-family\nexit\n"
}

fn bird_config() -> String {
    let (number, asn, _) = ROUTERS[1];
    let own = Plan::node_address(number, Afi::Ipv4);
    let mut text = String::from(
        "log stderr all;\nrouter id 192.0.2.2;\nprotocol device {}\n\
         filter gently { if (65535, 0) ~ bgp_community then bgp_local_pref = 0; accept; }\n\
         protocol kernel { ipv4 { import none; export all; }; merge paths on; }\n\
         protocol kernel { ipv6 { import none; export all; }; merge paths on; }\n",
    );
    for node in NODES {
        let address = Plan::node_address(node, Afi::Ipv4);
        text += &format!(
            "protocol bgp n{node} {{\n  local {own} as {asn};\n  neighbor {address} as 64512;\n  direct;\n  \
             connect delay time 1; connect retry time 2; error wait time 1, 2;\n  \
             ipv4 {{ import filter gently; export none; }};\n  ipv6 {{ import filter gently; export none; }};\n}}\n"
        );
    }
    text
}

fn nodes(first_drained: bool) -> String {
    let mut text = String::new();
    for number in NODES {
        let (name, nets) = (
            Plan::node_name(number),
            Afi::ALL.map(|afi| Plan::pod_cidr(number, afi)),
        );
        let own = Afi::ALL.map(|afi| Plan::node_address(number, afi));
        let drained = match first_drained && number == 1 {
            true => ", annotations: {dunlin.dev/drain: \"true\"}",
            false => "",
        };
        text += &format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{name: {name}}}{drained}}}\n\
             spec: {{podCIDRs: [\"{}\", \"{}\"]}}\n\
             status: {{addresses: [{{type: InternalIP, address: \"{}\"}}, {{type: InternalIP, address: \"{}\"}}]}}\n---\n",
            nets[0], nets[1], own[0], own[1],
        );
    }
    text
}

/// Adds the community to what the first node announces.
const LAST_CHOICE: &str = "apiVersion: dunlin.dev/v1alpha1
kind: BGPAdvertisement
metadata: {name: last}
spec:
  nodeSelector: {matchLabels: {name: n1}}
  services: {addresses: [ExternalIP]}
  attributes: {communities: {wellKnown: [graceful-shutdown]}}
";

fn objects() -> String {
    let external = Afi::ALL.into_iter().flat_map(services);
    let external: Vec<String> = external.map(|address| format!("\"{address}\"")).collect();
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{clusterIPs: [10.96.0.10], externalIPs: [{}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-1, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nendpoints: [{{addresses: [10.244.2.2], nodeName: n2}}]\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-2, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv6\nendpoints: [{{addresses: [\"fd44:0:0:2::2\"], nodeName: n2}}]\n---\n\
         apiVersion: dunlin.dev/v1alpha1\nkind: BGPAdvertisement\nmetadata: {{name: services}}\n\
         spec: {{services: {{addresses: [ExternalIP]}}}}\n",
        external.join(", ")
    );
    for (number, asn, _) in ROUTERS {
        let address = Plan::node_address(number, Afi::Ipv4);
        text += &format!(
            "---\napiVersion: dunlin.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: router-{number}}}\n\
             spec: {{peerAddress: {address}, peerASN: {asn}}}\n"
        );
    }
    text
}

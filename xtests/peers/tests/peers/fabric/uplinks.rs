//! A node with two uplinks and no address on either: each leads to a router (FRR) of the very same link-local address.
//!
//!     n1 =(eth0)= router a
//!        =(eth1)= router b

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use dunlin_api::Neighbor;
use dunlin_lab::iproute::output;
use dunlin_lab::plan::Plan;
use dunlin_lab::probe::icmp;
use dunlin_lab::process::{ProcessId, wait_until_ended};
use dunlin_net::Afi;
use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use super::ANSWER;
use super::frr::Router;
use crate::agent::{Agent, tail};
use crate::bed::{AGENT, END_PATIENCE, signal_group};
use crate::check::until_ok;
use crate::daemon::{Kind, link_local};
use crate::support::{Scratch, Spaces};

const NODE: usize = 0;
const ROUTERS: [(usize, &str, u32); 2] = [(1, "eth0", 65001), (2, "eth1", 65002)];

/// What both routers announce, and an address of theirs in it.
const NETS: [(&str, &str); 2] = [
    ("198.51.100.0/24", "198.51.100.1"),
    ("2001:db8:77::/64", "2001:db8:77::1"),
];

pub(super) fn trial() -> Trial {
    let test = || run().map_err(|error| Failed::from(format!("{error:#}")));
    Trial::test("unnumbered-uplinks::frr", test)
}

fn run() -> Result<()> {
    crate::run_with(Kind::Frr, || {
        let mut uplinks = Uplinks::new()?;
        let done = uplinks.play();
        done.map_err(|error| error.context(tail(&uplinks.agent.log(), 40)))
    })
}

struct Uplinks {
    agent: Agent,
    routers: Vec<Router>,
    running: Vec<ProcessId>,
    spaces: Spaces,
    _scratch: Scratch,
}

/// The AS of a router that goes by its interface, and lets in and out what the node and it have.
fn config(asn: u32) -> String {
    let nets = NETS.map(|(net, _)| net);
    format!(
        "frr defaults datacenter\nhostname router\nrouter bgp {asn}\n bgp router-id 192.0.2.{}\n \
         no bgp ebgp-requires-policy\n no bgp network import-check\n neighbor eth0 interface remote-as 64512\n \
         neighbor eth0 timers connect 1\n \
         address-family ipv4 unicast\n  network {}\n exit-address-family\n \
         address-family ipv6 unicast\n  neighbor eth0 activate\n  network {}\n exit-address-family\nexit\n",
        asn - 65000,
        nets[0],
        nets[1],
    )
}

impl Uplinks {
    fn new() -> Result<Uplinks> {
        let scratch = Scratch::new("uplinks");
        let spaces = Spaces::new("uplinks", 1 + ROUTERS.len());
        let own = Afi::ALL.map(|afi| Plan::node_address(AGENT, afi));
        let on_lo = own.map(|addr| format!("addr add {addr} dev lo"));
        spaces.ip(NODE, &["link set lo up", &on_lo[0], &on_lo[1]]);
        let mut routers = Vec::new();
        for (at, interface, asn) in ROUTERS {
            let other = spaces[at].name().to_owned();
            let make = format!("link add {interface} type veth peer name eth0 netns {other}");
            spaces.ip(NODE, &[&make]);
            for (space, interface, number) in [(NODE, interface, 1), (at, "eth0", 2)] {
                let local = link_local(number);
                let none = format!("link set {interface} addrgenmode none");
                let address = format!("addr add {local}/64 dev {interface} nodad");
                let up = format!("link set {interface} up");
                spaces.ip(space, &[&none, &address, &up]);
            }
            spaces[at].sysctls(&[
                ("net/ipv4/ip_forward", "1"),
                ("net/ipv6/conf/all/forwarding", "1"),
            ])?;
            spaces.ip(at, &["link set lo up"]);
            for (_, address) in NETS {
                spaces.ip(at, &[&format!("addr add {address} dev lo")]);
            }
            // The way back to the node itself, which it does not announce.
            for addr in own {
                let inet6 = if addr.is_ipv4() { "inet6 " } else { "" };
                let back = format!("route add {addr} via {inet6}{} dev eth0", link_local(1));
                spaces.ip(at, &[&back]);
            }
            let place = scratch.0.join(interface);
            routers.push(Router::new(&spaces[at], &place, &config(asn))?);
        }
        let agent = Agent::of(AGENT, spaces[NODE].clone(), scratch.0.join("agent"))?;
        Ok(Uplinks {
            agent,
            routers,
            running: Vec::new(),
            spaces,
            _scratch: scratch,
        })
    }

    fn play(&mut self) -> Result<()> {
        fs::write(self.agent.manifests().join("objects.yaml"), objects())?;
        self.running.push(self.agent.start()?);
        until_ok(|| self.down(0, "no router has advertised itself"))?;
        for router in &mut self.routers {
            router.start()?;
        }
        self.settles(&["eth0", "eth1"])?;
        for at in 0..ROUTERS.len() {
            let shown = self.neighbor(at)?;
            ensure!(shown.address == Some(link_local(2).into()), "{shown:?}");
        }

        // A router dies: what it had goes by the other.
        self.routers[1].kill()?;
        self.settles(&["eth0"])?;
        self.routers[1].start()?;
        self.settles(&["eth0", "eth1"])?;
        // A link dies.
        self.spaces.ip(ROUTERS[0].0, &["link set eth0 down"]);
        self.settles(&["eth1"])?;
        // It takes the routes that lead by it, and the address, from whoever has it.
        let address = format!("addr replace {}/64 dev eth0 nodad", link_local(2));
        self.spaces
            .ip(ROUTERS[0].0, &["link set eth0 up", &address]);
        self.back(0);
        self.settles(&["eth0", "eth1"])?;
        // Another router in the place of the one before.
        let gone = format!("addr del {}/64 dev eth0", link_local(2));
        let come = format!("addr add {}/64 dev eth0 nodad", link_local(3));
        self.spaces.ip(ROUTERS[1].0, &[&come, &gone]);
        until_ok(|| {
            let shown = self.neighbor(1)?;
            let there = shown.address == Some(link_local(3).into());
            ensure!(there && shown.state == "Established", "{shown:?}");
            Ok(())
        })?;
        self.settles(&["eth0", "eth1"])?;
        // The link is called otherwise: nobody meant that one.
        self.spaces
            .ip(NODE, &["link set eth1 down", "link set eth1 name wan1"]);
        until_ok(|| self.down(1, "no interface of that name"))?;
        self.settles(&["eth0"])
    }

    /// What a link that was down has lost.
    fn back(&self, at: usize) {
        let (space, ..) = ROUTERS[at];
        for addr in Afi::ALL.map(|afi| Plan::node_address(AGENT, afi)) {
            let inet6 = if addr.is_ipv4() { "inet6 " } else { "" };
            let back = format!("route replace {addr} via {inet6}{} dev eth0", link_local(1));
            self.spaces.ip(space, &[&back]);
        }
    }

    fn neighbor(&self, at: usize) -> Result<Neighbor> {
        let name = format!("uplink-{}", ROUTERS[at].1);
        let mut all = self.agent.neighbors()?.into_iter();
        all.find(|neighbor| neighbor.name == name)
            .context("no such neighbor")
    }

    fn down(&self, at: usize, words: &str) -> Result<()> {
        let shown = self.neighbor(at)?;
        let error = shown.last_error.as_deref().unwrap_or_default();
        ensure!(
            shown.state != "Established" && error.contains(words),
            "{shown:?}"
        );
        Ok(())
    }

    /// Waits until the node's routes lead by these links, and packets by them come back.
    fn settles(&self, by: &[&str]) -> Result<()> {
        let wanted: BTreeSet<&str> = by.iter().copied().collect();
        until_ok(|| {
            for (net, address) in NETS {
                let address: IpAddr = address.parse()?;
                let family = if address.is_ipv4() { "-4" } else { "-6" };
                let show = [family, "route", "show", net, "proto", "68"];
                let text = output(&self.spaces[NODE], &show)?;
                let words: Vec<&str> = text.split_whitespace().collect();
                let links = words.windows(2).filter(|pair| pair[0] == "dev");
                let links: BTreeSet<&str> = links.map(|pair| pair[1]).collect();
                ensure!(links == wanted, "{net}: {text}");
                icmp::ping(&self.spaces[NODE], address, ANSWER)?;
            }
            Ok(())
        })
    }
}

impl Drop for Uplinks {
    fn drop(&mut self) {
        let of_routers = self.routers.iter().flat_map(Router::processes);
        for process in self.running.iter().copied().chain(of_routers) {
            let _ = signal_group(process, Signal::KILL);
            wait_until_ended(process, Instant::now() + END_PATIENCE);
        }
    }
}

fn objects() -> String {
    let name = Plan::node_name(AGENT);
    let nets = Afi::ALL.map(|afi| Plan::pod_cidr(AGENT, afi));
    let own = Afi::ALL.map(|afi| Plan::node_address(AGENT, afi));
    let mut text = format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nspec: {{podCIDRs: [\"{}\", \"{}\"]}}\n\
         status: {{addresses: [{{type: InternalIP, address: \"{}\"}}, {{type: InternalIP, address: \"{}\"}}]}}\n---\n\
         apiVersion: dunlin.dev/v1alpha1\nkind: BGPFilter\nmetadata: {{name: all}}\n\
         spec: {{rules: [{{match: {{cidr: {}}}, action: Accept}}, {{match: {{cidr: \"{}\"}}, action: Accept}}]}}\n---\n\
         apiVersion: dunlin.dev/v1alpha1\nkind: BGPAdvertisement\nmetadata: {{name: pods}}\nspec: {{podCIDRs: {{}}}}\n",
        nets[0], nets[1], own[0], own[1], NETS[0].0, NETS[1].0,
    );
    for (_, interface, asn) in ROUTERS {
        text += &format!(
            "---\napiVersion: dunlin.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: uplink-{interface}}}\n\
             spec: {{interface: {interface}, peerASN: {asn}, importFilter: all}}\n"
        );
    }
    text
}

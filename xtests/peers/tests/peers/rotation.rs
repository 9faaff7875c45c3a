//! A TCP MD5 password that changes at two agents, one after the other, while their session is up. No other daemon at hand changes
//! one without ending the session.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use dunlin_api::Neighbor;
use dunlin_lab::iproute::text_of;
use dunlin_lab::plan::Plan;
use dunlin_lab::process::{ProcessId, wait_until_ended};
use dunlin_lab::routes::{PROTOCOL_DUNLIN, installed_by};
use dunlin_net::Afi;
use ipnet::IpNet;
use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use crate::agent::{Agent, tail};
use crate::bed::{AGENT, DAEMON, END_PATIENCE, end, link, signal_group};
use crate::check::until_ok;
use crate::support::{Scratch, Spaces};

/// The nodes at both ends, each a cluster of one, and their AS numbers.
const ENDS: [(u16, u32); 2] = [(AGENT, 65001), (DAEMON, 65002)];

/// The first one, and those that come after it: one that changes first at the first end, one that does so at the second.
const OLD: &str = "correct-horse";
const PASSWORDS: [&str; 2] = ["battery-staple", "paper-clip"];

pub(crate) fn trial() -> Trial {
    let test = || run().map_err(|error| Failed::from(format!("{error:#}")));
    Trial::test("password-rotation::dunlin", test)
}

fn run() -> Result<()> {
    crate::run_unless(crate::able(), || {
        let mut ends = Ends::new()?;
        let done = ends.play();
        done.map_err(|error| {
            let logs: Vec<_> = ends.agents.iter().map(|a| tail(&a.log(), 20)).collect();
            error.context(logs.join("\n---\n"))
        })
    })
}

struct Ends {
    agents: Vec<Agent>,
    running: Vec<ProcessId>,
    spaces: Spaces,
    _scratch: Scratch,
}

impl Ends {
    fn new() -> Result<Ends> {
        let scratch = Scratch::new("rotation");
        let spaces = Spaces::new("rotation", ENDS.len());
        link(&spaces, false);
        let mut agents = Vec::new();
        for (space, (number, _)) in spaces.iter().zip(ENDS) {
            let directory = scratch.0.join(Plan::node_name(number));
            agents.push(Agent::of(number, space.clone(), directory)?);
        }
        Ok(Ends {
            agents,
            running: Vec::new(),
            spaces,
            _scratch: scratch,
        })
    }

    fn play(&mut self) -> Result<()> {
        for end in 0..ENDS.len() {
            self.agents[end].put("objects.yaml", &objects(end))?;
            self.agents[end].put("secret.yaml", &secret(OLD))?;
            self.agents[end].put("node.yaml", &node(end, &[]))?;
            self.running.push(self.agents[end].start()?);
        }
        for end in 0..ENDS.len() {
            self.has(end, Plan::pod_cidr(ENDS[1 - end].0, Afi::Ipv4))?;
        }
        let before = self.sessions()?;
        let since = Instant::now();
        for (first, password) in PASSWORDS.into_iter().enumerate() {
            self.rotates(first, password)
                .with_context(|| format!("first at {first}"))?;
        }
        let after = self.sessions()?;
        for (before, after) in before.iter().zip(&after) {
            ensure!(after.flaps == 0, "it went down: {after:?}");
            // Whole seconds of two clocks that began at different times.
            let least = before.since_secs + since.elapsed().as_secs();
            ensure!(after.since_secs + 2 >= least, "not that one: {after:?}");
        }
        self.comes_back_under_the_last_one()
    }

    /// The password changes at one end, and at the other when the first has used it. What both had to say arrives.
    fn rotates(&self, first: usize, password: &str) -> Result<()> {
        let other = 1 - first;
        let dropped = self.dropped(other)?;
        self.agents[first].put("secret.yaml", &secret(password))?;
        let told = self.tells(first, first)?;
        until_ok(|| {
            let now = self.dropped(other)?;
            ensure!(now > dropped, "nothing has another signature");
            Ok(())
        })?;
        self.agents[other].put("secret.yaml", &secret(password))?;
        self.has(other, told)?;
        let told = self.tells(other, first)?;
        self.has(first, told)
    }

    /// Neither end has the old one in any place.
    fn comes_back_under_the_last_one(&mut self) -> Result<()> {
        end(self.running[0], Signal::KILL)?;
        self.running[0] = self.agents[0].start()?;
        until_ok(|| {
            let back = self.sessions()?;
            ensure!(back[1].flaps == 1, "{:?}", back[1]);
            Ok(())
        })?;
        for agent in &self.agents {
            let log = fs::read_to_string(agent.log())?;
            for word in PASSWORDS.into_iter().chain([OLD]) {
                ensure!(!log.contains(word), "a password is in the log");
            }
        }
        Ok(())
    }

    /// One end has one more pod subnet to tell of, another with each round.
    fn tells(&self, end: usize, round: usize) -> Result<IpNet> {
        let net = format!("10.128.{}.0/24", ENDS.len() * round + end);
        self.agents[end].put("node.yaml", &node(end, &[&net]))?;
        net.parse().context(net)
    }

    /// Waits until the kernel at one end has a route by the other.
    fn has(&self, end: usize, net: IpNet) -> Result<()> {
        let by = Plan::node_address(ENDS[1 - end].0, Afi::Ipv4);
        until_ok(|| {
            let routes = installed_by(&self.spaces[end], PROTOCOL_DUNLIN)?;
            let there = routes
                .iter()
                .any(|route| route.prefix == net && route.gateways == [by]);
            ensure!(there, "no {net} among {routes:?}");
            Ok(())
        })
    }

    /// The session as both ends see it, when it is up.
    fn sessions(&self) -> Result<Vec<Neighbor>> {
        let mut sessions = Vec::new();
        for (agent, (other, _)) in self.agents.iter().zip([ENDS[1], ENDS[0]]) {
            let session = agent.neighbor(Plan::node_address(other, Afi::Ipv4))?;
            ensure!(session.state == "Established", "{session:?}");
            sessions.push(session);
        }
        Ok(sessions)
    }

    /// How many segments the kernel at one end has dropped for their signature.
    fn dropped(&self, end: usize) -> Result<u64> {
        let mut command = self.spaces[end].command("/bin/cat");
        let text = text_of(command.arg("/proc/self/net/netstat"))?;
        // Pairs of lines: names, then values in the same order.
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, values) = (
            lines.next().context("names")?,
            lines.next().context("values")?,
        );
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        let (_, value) = (pairs.find(|(name, _)| *name == "TCPMD5Failure")).context("a counter")?;
        value.parse().context("a number")
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        for process in self.running.iter().copied() {
            let _ = signal_group(process, Signal::KILL);
            wait_until_ended(process, Instant::now() + END_PATIENCE);
        }
    }
}

fn secret(password: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: bgp, namespace: kube-system}}\n\
         type: kubernetes.io/basic-auth\nstringData: {{password: {password}}}\n"
    )
}

fn node(end: usize, more: &[&str]) -> String {
    let number = ENDS[end].0;
    let own = Plan::pod_cidr(number, Afi::Ipv4).to_string();
    let nets: Vec<_> = [own.as_str()]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: {}}}\nspec: {{podCIDRs: {nets:?}}}\n\
         status: {{addresses: [{{type: InternalIP, address: {}}}]}}\n",
        Plan::node_name(number),
        Plan::node_address(number, Afi::Ipv4),
    )
}

fn objects(end: usize) -> String {
    let ((_, asn), (other, other_asn)) = (ENDS[end], ENDS[1 - end]);
    let address = Plan::node_address(other, Afi::Ipv4);
    format!(
        "apiVersion: dunlin.dev/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\nspec: {{asn: {asn}, timers: {{keepaliveSeconds: 3}}}}\n---\n\
         apiVersion: dunlin.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: other}}\nspec:\n  peerAddress: {address}\n  \
         peerASN: {other_asn}\n  importFilter: all\n  passwordSecretRef: {{name: bgp}}\n---\n\
         apiVersion: dunlin.dev/v1alpha1\nkind: BGPFilter\nmetadata: {{name: all}}\nspec: {{rules: [{{action: Accept}}]}}\n---\n\
         apiVersion: dunlin.dev/v1alpha1\nkind: BGPAdvertisement\nmetadata: {{name: pods}}\nspec: {{podCIDRs: {{}}}}\n"
    )
}

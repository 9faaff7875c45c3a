//! Where a scenario happens: a node with the agent and a router with the daemon, each a namespace, and a link between.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dunlin_lab::manifests::{remove_node, write_node};
use dunlin_lab::netns::Netns;
use dunlin_lab::plan::{Families, Plan};
use dunlin_lab::process::{ProcessId, wait_until_ended};
use dunlin_lab::routes::{Change, RouteWatch};
use dunlin_net::Afi;
use ipnet::{IpNet, Ipv4Net};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::agent::{Agent, tail};
use crate::check::until_ok;
use crate::cut;
use crate::daemon::{Daemon, Kind, link_local};
use crate::others::OtherSpeaker;
use crate::scenario::{Announce, Entry, Happening, Other, Scenario, Step, Who};
use crate::station::Station;
use crate::support::{Scratch, Spaces, unique};
use crate::wire::Wire;

/// The node of the agent, and the one whose addresses the daemon has.
pub(crate) const AGENT: u16 = 1;
pub(crate) const DAEMON: u16 = 2;

pub(crate) const END_PATIENCE: Duration = Duration::from_secs(60);

/// Cease, Connection Collision Resolution (RFC 4486).
const COLLISION: (u8, u8) = (6, 7);

/// Route protocol numbers under which BIRD and zebra install what they learn by BGP.
const PEER_PROTOCOLS: [u8; 2] = [12, 186];

/// One run of a scenario.
pub(crate) struct Bed {
    pub(crate) agent: Agent,
    pub(crate) daemon: Daemon,
    pub(crate) node: Netns,
    pub(crate) wire: Wire,
    pub(crate) station: Option<Station>,
    others: Vec<OtherSpeaker>,
    plan: Plan,
    running: Option<ProcessId>,
    watches: Option<(RouteWatch, RouteWatch)>,
    cut: Option<Instant>,
    // Last, so that they go when nobody uses them any more.
    scratch: Scratch,
    spaces: Spaces,
}

impl Bed {
    /// Makes the namespaces and writes the first objects.
    pub(crate) fn new(kind: Kind, scenario: &Scenario) -> Result<Bed> {
        let folder = scenario.folder.file_name().unwrap_or_default();
        let name = format!("{}-{}", folder.to_string_lossy(), kind.name());
        let scratch = Scratch::new(&name);
        let spaces = Spaces::new(&name, if scenario.others.is_empty() { 2 } else { 3 });
        let (node, router) = (spaces[0].clone(), spaces[1].clone());
        link(&spaces, scenario.speaker.unnumbered);
        let mut others = Vec::new();
        if !scenario.others.is_empty() {
            link_others(&spaces, &scenario.others);
        }
        for other in &scenario.others {
            let place = scratch.0.join(format!("other-{}", other.number));
            others.push(OtherSpeaker::new(other.clone(), spaces[2].clone(), place)?);
        }
        let agent = Agent::new(node.clone(), scratch.0.join("agent"))?;
        let daemon = Daemon::new(
            kind,
            router,
            scratch.0.join("daemon"),
            scenario.speaker.clone(),
        )?;
        let plan = Plan {
            nodes: DAEMON,
            pods_per_node: 0,
            families: Families::Dual,
        };
        let bed = Bed {
            wire: Wire::open(
                &node,
                [
                    Plan::node_address(AGENT, Afi::Ipv4),
                    Plan::node_address(AGENT, Afi::Ipv6),
                    link_local(AGENT).into(),
                ],
            )?,
            agent,
            daemon,
            node,
            station: None,
            others,
            plan,
            running: None,
            watches: None,
            cut: None,
            scratch,
            spaces,
        };
        for number in &scenario.nodes {
            write_node(&bed.agent.manifests(), &bed.plan, *number)?;
        }
        Ok(bed)
    }

    /// Does every step; says where it failed, and what both sides logged last.
    pub(crate) fn run(mut self, scenario: &Scenario) -> Result<()> {
        for (at, Entry { unless, step }) in scenario.steps.iter().enumerate() {
            if unless.contains(&self.daemon.kind) {
                continue;
            }
            if let Err(error) = self.step(scenario, step) {
                if let Some(place) = std::env::var_os("DUNLIN_KEEP_LOGS") {
                    self.keep(place);
                }
                let number = at + 1;
                bail!(
                    "step {number}, {step:?}: {error:#}\n  the daemon's log ends:\n    {}\n  the agent's log ends:\n    {}",
                    tail(&self.daemon.log(), 12),
                    tail(&self.agent.log(), 25),
                );
            }
        }
        Ok(())
    }

    fn keep(&self, place: std::ffi::OsString) {
        let to = std::path::Path::new(&place).join(unique(&self.daemon.dir_name()));
        let _ = std::process::Command::new("cp")
            .arg("-r")
            .args([&self.scratch.0, &to])
            .status();
    }

    fn step(&mut self, scenario: &Scenario, step: &Step) -> Result<()> {
        let manifests = self.agent.manifests();
        match step {
            Step::Start(Who::Agent) => {
                let process = self.agent.start()?;
                self.running = Some(process);
                until_ok(|| {
                    ensure!(process.is_alive(), "it ended");
                    ensure!(self.agent.status()?.source_synced, "no objects yet");
                    Ok(())
                })?;
            }
            Step::Start(Who::Daemon) => self.daemon.start()?,
            Step::StartOthers(()) => {
                for other in &mut self.others {
                    other.start(&self.daemon.speaker)?;
                }
            }
            Step::KillOther(number) => {
                let mut others = self.others.iter();
                let other = others.find(|one| one.other.number == *number);
                let process = other.and_then(OtherSpeaker::process);
                signal_group(process.context("it was not started")?, Signal::KILL)?;
            }
            Step::Kill(who) => self.signal(*who, Signal::KILL, true)?,
            Step::Terminate(who) => self.signal(*who, Signal::TERM, true)?,
            Step::Pause(who) => self.signal(*who, Signal::STOP, false)?,
            Step::Resume(who) => self.signal(*who, Signal::CONT, false)?,
            Step::Apply(file) => self.put(scenario, file, file)?,
            Step::Replace { file, with } => self.put(scenario, with, file)?,
            Step::Remove(file) => fs::remove_file(manifests.join(file)).context(file.clone())?,
            Step::AddNode(number) => write_node(&manifests, &self.plan, *number)?,
            Step::RemoveNode(number) => remove_node(&manifests, *number)?,
            Step::ManyPodSubnets(count) => self.many_pod_subnets(*count)?,
            Step::Announce(more) => {
                let mut all = self.daemon.speaker.announce.clone();
                all.extend(more.iter().cloned());
                self.daemon.change(all)?;
            }
            Step::AnnounceMany(count) => {
                let mut all = self.daemon.speaker.announce.clone();
                all.extend(nets(Ipv4Addr::new(100, 64, 0, 0), 26, *count).map(Announce::plain));
                self.daemon.change(all)?;
            }
            Step::Withdraw(prefixes) => {
                let mut all = self.daemon.speaker.announce.clone();
                all.retain(|route| !prefixes.contains(&route.prefix));
                self.daemon.change(all)?;
            }
            Step::Forget(prefixes) => {
                let all = &mut self.daemon.speaker.announce;
                all.retain(|route| !prefixes.contains(&route.prefix));
            }
            Step::WithdrawAll => self.daemon.change(Vec::new())?,
            Step::Refresh => self.daemon.refresh()?,
            Step::Password(password) => self.daemon.change_password(password)?,
            Step::TellAgain(()) => self.daemon.tell_again()?,
            Step::Shutdown(words) => self.daemon.shutdown(words)?,
            Step::Watch => {
                self.watches = Some((
                    RouteWatch::open(&self.node)?,
                    RouteWatch::open(&self.daemon.netns)?,
                ));
                self.wire.reset();
            }
            Step::StartStation(()) => self.station = Some(Station::listen(&self.daemon.netns)?),
            Step::EndStation(()) => self.station = None,
            Step::Cut(()) => {
                cut::cut(&self.spaces);
                self.cut = Some(Instant::now());
            }
            Step::Mend(()) => cut::mend(&self.spaces),
            Step::GoneWithinMillis(most) => {
                let (watch, _) = self.watches.as_mut().context("`watch` comes first")?;
                let cut = self.cut.context("`cut` comes first")?;
                cut::gone_within(&self.node, watch, cut, Duration::from_millis(*most))?;
            }
            Step::Never(happenings) => self.never(happenings)?,
            expectation => self.expect(expectation)?,
        }
        Ok(())
    }

    fn put(&self, scenario: &Scenario, from: &str, to: &str) -> Result<()> {
        let text = fs::read_to_string(scenario.folder.join(from)).context(from.to_owned())?;
        self.agent.put(to, &text)
    }

    fn many_pod_subnets(&self, count: u32) -> Result<()> {
        let manifests = self.agent.manifests();
        let name = format!("node-{}.yaml", Plan::node_name(AGENT));
        let (head, status) = {
            let text = fs::read_to_string(manifests.join(&name))?;
            let at = text.find("status:").context("a Node has a status")?;
            (text[..at].to_owned(), text[at..].to_owned())
        };
        let more: String = nets(Ipv4Addr::new(10, 128, 0, 0), 28, count)
            .map(|net| format!("    - \"{net}\"\n"))
            .collect();
        self.agent.put(&name, &(head + &more + &status))
    }

    fn signal(&mut self, who: Who, signal: Signal, ends: bool) -> Result<()> {
        let process = match who {
            Who::Agent => self.running,
            Who::Daemon => self.daemon.process(),
        };
        let process = process.context("it was not started")?;
        match ends {
            true => end(process, signal),
            false => signal_group(process, signal),
        }
    }

    fn never(&mut self, happenings: &[Happening]) -> Result<()> {
        let heard = self.wire.heard();
        let (node, router) = self.watches.as_mut().context("`watch` comes first")?;
        for happening in happenings {
            let seen = match happening {
                Happening::KernelDelete => deleted(node, &[dunlin_lab::routes::PROTOCOL_DUNLIN])?,
                Happening::PeerKernelDelete => deleted(router, &PEER_PROTOCOLS)?,
                Happening::Withdrawal => format_set(&heard.withdrawn),
                Happening::Notification => {
                    // A collision ends the second connection, not the session.
                    let all = heard.notifications.iter().filter(|one| **one != COLLISION);
                    all.map(|(code, sub)| format!("{code}/{sub} ")).collect()
                }
            };
            ensure!(seen.is_empty(), "{happening:?} did happen: {seen}");
        }
        Ok(())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let others = self.others.iter().filter_map(OtherSpeaker::process);
        let daemon = self.daemon.processes();
        for process in self.running.into_iter().chain(daemon).chain(others) {
            let _ = signal_group(process, Signal::KILL);
            wait_until_ended(process, Instant::now() + END_PATIENCE);
        }
    }
}

/// Has a process end by a signal, and waits for it.
pub(crate) fn end(process: ProcessId, signal: Signal) -> Result<()> {
    signal_group(process, signal)?;
    let ended = wait_until_ended(process, Instant::now() + END_PATIENCE);
    ensure!(ended, "it did not end");
    Ok(())
}

/// Every process here leads a group of its own, with those it started (OpenBGPD is three).
pub(crate) fn signal_group(process: ProcessId, signal: Signal) -> Result<()> {
    ensure!(process.is_alive(), "it does not run");
    let pid = Pid::from_raw(process.pid).context("a process id")?;
    kill_process_group(pid, signal).context("cannot send a signal")
}

/// A link between the first two namespaces, with the addresses of node 1 and node 2 at its ends.
pub(crate) fn link(spaces: &Spaces, unnumbered: bool) {
    let peer = spaces[1].name().to_owned();
    let own = |number| {
        Afi::ALL.map(|afi| {
            let address = Plan::node_address(number, afi);
            let len = Plan::underlay(afi).prefix_len();
            let flag = if afi == Afi::Ipv6 { " nodad" } else { "" };
            format!("addr add {address}/{len} dev eth0{flag}")
        })
    };
    let make = format!("link add eth0 type veth peer name eth0 netns {peer}");
    spaces.ip(0, &["link set lo up", &make]);
    spaces.ip(1, &["link set lo up"]);
    for (space, number) in [(0, AGENT), (1, DAEMON)] {
        let [v4, v6] = own(number);
        if unnumbered {
            // One that the test knows, and no other; the agent has its addresses for its own purposes.
            let local = format!("addr add {}/64 dev eth0 nodad", link_local(number));
            spaces.ip(space, &["link set eth0 addrgenmode none", &local]);
        }
        spaces.ip(space, &["link set eth0 up"]);
        if !unnumbered || space == 0 {
            let dev = |line: &str| {
                line.replace("dev eth0", if unnumbered { "dev lo" } else { "dev eth0" })
            };
            spaces.ip(space, &[&dev(&v4), &dev(&v6)]);
        }
    }
}

/// A bridge in the daemon's namespace, which then has its addresses, to one more namespace with those of all others.
fn link_others(spaces: &Spaces, others: &[Other]) {
    let own = |number: u16| {
        Afi::ALL.map(|afi| {
            let address = Plan::node_address(number, afi);
            let len = Plan::underlay(afi).prefix_len();
            (
                format!("{address}/{len}"),
                if afi == Afi::Ipv6 { " nodad" } else { "" },
            )
        })
    };
    let peer = spaces[2].name().to_owned();
    let make = format!("link add others type veth peer name eth0 netns {peer}");
    let mut lines = vec!["link add br0 type bridge".to_owned(), make];
    for (address, flag) in own(DAEMON) {
        lines.push(format!("addr del {address} dev eth0"));
        lines.push(format!("addr add {address} dev br0{flag}"));
    }
    for port in ["eth0", "others"] {
        lines.push(format!("link set {port} master br0"));
        lines.push(format!("link set {port} up"));
    }
    lines.push("link set br0 up".to_owned());
    spaces.ip(1, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    let mut lines = vec!["link set lo up".to_owned(), "link set eth0 up".to_owned()];
    for other in others {
        for (address, flag) in own(other.number) {
            lines.push(format!("addr add {address} dev eth0{flag}"));
        }
    }
    spaces.ip(2, &lines.iter().map(String::as_str).collect::<Vec<_>>());
}

/// So many networks of a length, one after the other.
fn nets(first: Ipv4Addr, len: u8, count: u32) -> impl Iterator<Item = IpNet> {
    let step = 1u32 << (32 - u32::from(len));
    (0..count).filter_map(move |index| {
        let address = Ipv4Addr::from(u32::from(first) + index * step);
        Ipv4Net::new(address, len).ok().map(IpNet::V4)
    })
}

fn deleted(watch: &mut RouteWatch, protocols: &[u8]) -> Result<String> {
    let events = watch.events()?;
    let gone: BTreeSet<_> = events
        .iter()
        .filter(|event| event.change == Change::Deleted)
        .filter(|event| event.route.is_unicast_in_main())
        .filter(|event| protocols.contains(&event.route.protocol))
        .map(|event| event.route.prefix)
        .collect();
    Ok(format_set(&gone))
}

fn format_set(prefixes: &BTreeSet<IpNet>) -> String {
    prefixes
        .iter()
        .take(10)
        .map(|prefix| format!("{prefix} "))
        .collect()
}

//! The daemons: how each is configured, started, asked and changed. One module each.

mod bird;
mod exabgp;
mod frr;
mod gobgp;
mod openbgpd;

use std::cell::RefCell;
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use dunlin_lab::iproute::text_of;
use dunlin_lab::netns::Netns;
use dunlin_lab::plan::Plan;
use dunlin_lab::process::{ProcessId, start_daemon};
use dunlin_net::Afi;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use crate::bed::{AGENT, DAEMON};
use crate::check::{Seen, Table, until_ok};
use crate::scenario::{Announce, Speaker};

/// Which daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// BIRD 2.
    Bird,
    /// FRRouting: bgpd beside zebra.
    Frr,
    /// GoBGP.
    Gobgp,
    /// OpenBGPD.
    Openbgpd,
    /// ExaBGP.
    Exabgp,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Kind; 5] = [
        Kind::Bird,
        Kind::Frr,
        Kind::Gobgp,
        Kind::Openbgpd,
        Kind::Exabgp,
    ];

    /// As it stands in the name of a test.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Bird => "bird",
            Kind::Frr => "frr",
            Kind::Gobgp => "gobgp",
            Kind::Openbgpd => "openbgpd",
            Kind::Exabgp => "exabgp",
        }
    }

    /// Whether its programs are installed; says which package has them if not.
    pub(crate) fn find(self) -> Result<()> {
        let (programs, package) = match self {
            Kind::Bird => (["/usr/sbin/bird", "/usr/sbin/birdc"], "bird2"),
            Kind::Frr => (["/usr/lib/frr/bgpd", "/usr/bin/vtysh"], "frr"),
            Kind::Gobgp => (["/usr/bin/gobgpd", "/usr/bin/gobgp"], "gobgpd"),
            Kind::Openbgpd => (["/usr/sbin/bgpd", "/usr/sbin/bgpctl"], "openbgpd"),
            Kind::Exabgp => (["/usr/sbin/exabgp", "/usr/bin/python3"], "exabgp"),
        };
        for program in programs {
            let there = Path::new(program).is_file();
            anyhow::ensure!(there, "needs {program} (package {package})");
        }
        Ok(())
    }
}

/// A daemon in its namespace.
pub(crate) struct Daemon {
    pub(crate) kind: Kind,
    pub(crate) netns: Netns,
    pub(crate) speaker: Speaker,
    directory: PathBuf,
    /// The one that speaks BGP.
    bgp: Option<ProcessId>,
    /// FRR's zebra and bfdd, which outlive it.
    helpers: Vec<ProcessId>,
    /// What ExaBGP has told.
    heard: RefCell<exabgp::Heard>,
}

impl Daemon {
    /// Makes its directory.
    pub(crate) fn new(
        kind: Kind,
        netns: Netns,
        directory: PathBuf,
        speaker: Speaker,
    ) -> Result<Daemon> {
        fs::create_dir_all(&directory)?;
        Ok(Daemon {
            kind,
            netns,
            speaker,
            directory,
            bgp: None,
            helpers: Vec::new(),
            heard: RefCell::default(),
        })
    }

    /// Where the agent finds it.
    pub(crate) fn address(&self) -> IpAddr {
        self.local()
    }

    /// The address of a family.
    fn own(afi: Afi) -> IpAddr {
        Plan::node_address(DAEMON, afi)
    }

    /// Its end of the session.
    fn local(&self) -> IpAddr {
        if self.speaker.unnumbered {
            return link_local(DAEMON).into();
        }
        Daemon::own(self.speaker.over)
    }

    /// The agent's end of the session.
    fn peer(&self) -> IpAddr {
        if self.speaker.unnumbered {
            return link_local(AGENT).into();
        }
        Plan::node_address(AGENT, self.speaker.over)
    }

    fn router_id(&self) -> IpAddr {
        let given = self.speaker.router_id.map(IpAddr::V4);
        given.unwrap_or(Daemon::own(Afi::Ipv4))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A name for what is kept of it.
    pub(crate) fn dir_name(&self) -> String {
        self.kind.name().to_owned()
    }

    /// Its log.
    pub(crate) fn log(&self) -> PathBuf {
        self.path("log")
    }

    /// The process that speaks BGP.
    pub(crate) fn process(&self) -> Option<ProcessId> {
        self.bgp
    }

    /// All its processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = ProcessId> + use<> {
        self.bgp.into_iter().chain(self.helpers.clone())
    }

    /// Writes a file that only its owner may read (OpenBGPD insists).
    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }

    fn launch(&self, command: &mut Command) -> Result<ProcessId> {
        start_daemon(command, &self.log(), true)
    }

    /// Starts it, and waits until it can be asked. A second start is a restart.
    pub(crate) fn start(&mut self) -> Result<()> {
        let again = self.bgp.is_some();
        let process = match self.kind {
            Kind::Bird => bird::start(self, again)?,
            Kind::Frr => frr::start(self)?,
            Kind::Gobgp => gobgp::start(self, again)?,
            Kind::Openbgpd => openbgpd::start(self)?,
            Kind::Exabgp => exabgp::start(self)?,
        };
        self.bgp = Some(process);
        until_ok(|| {
            anyhow::ensure!(process.is_alive(), "it ended");
            self.is_up().map(|_| ())
        })?;
        if self.kind == Kind::Gobgp {
            gobgp::change(self, &[], &self.speaker.announce)?;
            gobgp::enable(self)?;
        }
        Ok(())
    }

    /// Announces exactly `routes` from now on.
    pub(crate) fn change(&mut self, routes: Vec<Announce>) -> Result<()> {
        let old = std::mem::replace(&mut self.speaker.announce, routes);
        match self.kind {
            Kind::Bird => bird::reload(self),
            Kind::Frr => frr::change(self, &old),
            Kind::Gobgp => gobgp::change(self, &old, &self.speaker.announce),
            Kind::Openbgpd => openbgpd::reload(self),
            Kind::Exabgp => exabgp::change(self, &old, &self.speaker.announce),
        }
    }

    /// Asks the agent for everything anew.
    pub(crate) fn refresh(&self) -> Result<()> {
        match self.kind {
            Kind::Bird => bird::refresh(self),
            Kind::Frr => frr::refresh(self),
            Kind::Gobgp => gobgp::refresh(self),
            Kind::Openbgpd => openbgpd::refresh(self),
            Kind::Exabgp => exabgp::refresh(self),
        }
    }

    /// It has another TCP MD5 password.
    pub(crate) fn change_password(&mut self, password: &str) -> Result<()> {
        self.speaker.password = Some(password.to_owned());
        match self.kind {
            Kind::Bird => bird::reload(self),
            Kind::Frr => frr::change_password(self, password),
            Kind::Openbgpd => openbgpd::reload(self),
            Kind::Exabgp => exabgp::reload(self),
            Kind::Gobgp => anyhow::bail!("GoBGP was not asked to change a password"),
        }
    }

    /// It tells everything anew by itself.
    pub(crate) fn tell_again(&self) -> Result<()> {
        match self.kind {
            Kind::Bird => bird::tell_again(self),
            other => anyhow::bail!("{other:?} was not asked to tell everything anew"),
        }
    }

    /// Ends the session for good, saying why.
    pub(crate) fn shutdown(&self, words: &str) -> Result<()> {
        let mut command = match self.kind {
            Kind::Bird => bird::shutdown(self, words),
            Kind::Frr => frr::shutdown(self, words),
            Kind::Gobgp => gobgp::shutdown(self, words),
            Kind::Openbgpd => openbgpd::shutdown(self, words),
            Kind::Exabgp => anyhow::bail!("ExaBGP has no words of its own for that"),
        };
        self.text(&mut command).map(|_| ())
    }

    /// Whether it thinks the session is established.
    pub(crate) fn is_up(&self) -> Result<bool> {
        match self.kind {
            Kind::Bird => bird::is_up(self),
            Kind::Frr => frr::is_up(self),
            Kind::Gobgp => gobgp::is_up(self),
            Kind::Openbgpd => openbgpd::is_up(self),
            Kind::Exabgp => exabgp::is_up(self),
        }
    }

    /// Whether it thinks the BFD session is up.
    pub(crate) fn is_bfd_up(&self) -> Result<bool> {
        match self.kind {
            Kind::Bird => bird::is_bfd_up(self),
            Kind::Frr => frr::is_bfd_up(self),
            Kind::Gobgp | Kind::Openbgpd | Kind::Exabgp => anyhow::bail!("it has no BFD"),
        }
    }

    /// What it has learned from the agent.
    pub(crate) fn table(&self) -> Result<Table> {
        match self.kind {
            Kind::Bird => bird::table(self),
            Kind::Frr => frr::table(self),
            Kind::Gobgp => gobgp::table(self),
            Kind::Openbgpd => openbgpd::table(self),
            Kind::Exabgp => exabgp::table(self),
        }
    }

    /// How many routes it has learned from the agent.
    pub(crate) fn count(&self) -> Result<usize> {
        match self.kind {
            Kind::Frr => frr::count(self),
            _ => Ok(self.table()?.len()),
        }
    }

    fn text(&self, command: &mut Command) -> Result<String> {
        text_of(command)
    }

    fn json(&self, command: &mut Command) -> Result<Value> {
        let text = text_of(command)?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text:.200}"))
    }
}

/// The link-local address of one of the two where they have no other.
pub(crate) fn link_local(node: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, node)
}

/// What was removed, and what is new.
fn difference<'a>(
    old: &'a [Announce],
    new: &'a [Announce],
) -> (Vec<&'a Announce>, Vec<&'a Announce>) {
    let lacks = |all: &[Announce]| {
        let all: std::collections::BTreeSet<IpNet> = all.iter().map(|r| r.prefix).collect();
        move |route: &&Announce| !all.contains(&route.prefix)
    };
    (
        old.iter().filter(lacks(new)).collect(),
        new.iter().filter(lacks(old)).collect(),
    )
}

pub(crate) fn afi_of(prefix: &IpNet) -> Afi {
    match prefix {
        IpNet::V4(_) => Afi::Ipv4,
        IpNet::V6(_) => Afi::Ipv6,
    }
}

/// `ipv4`, `ipv6`: all these daemons say so.
pub(crate) fn word(afi: Afi) -> &'static str {
    match afi {
        Afi::Ipv4 => "ipv4",
        Afi::Ipv6 => "ipv6",
    }
}

/// Notes the paths of one prefix: the first stands for all but the next hops and AS paths.
fn add(table: &mut Table, prefix: IpNet, paths: impl Iterator<Item = Seen>) {
    for path in paths {
        let seen = table.entry(prefix).or_insert_with(|| path.clone());
        seen.next_hops.extend(path.next_hop);
        seen.as_paths.insert(path.as_path);
    }
}

fn u32_of(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

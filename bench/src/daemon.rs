//! The daemons under test: how each is configured and started as a plain transit router.

mod bird;
mod dunlin;
mod frr;
mod gobgp;
mod openbgpd;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::fleet::Identity;
use crate::netns::{DAEMON_ADDRESS, Netns};
use crate::process::{Processes, Scratch};

/// The AS of the daemon under test.
pub(crate) const LOCAL_AS: u32 = 65_000;

/// What the daemon under test has to be: a router that accepts everything from `peers` and tells everything to all of them. Those
/// with [`LOCAL_AS`] are internal, which are not told of each other; if there are any, the last of `peers` is the one that is not.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) peers: Vec<Identity>,
    /// Whether learned routes go into the kernel's table.
    pub(crate) install: bool,
}

/// A daemon this program knows how to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// The project's own agent
    Dunlin,
    /// BIRD 2
    Bird,
    /// FRRouting: bgpd with zebra
    Frr,
    /// OpenBGPD
    Openbgpd,
    /// GoBGP
    Gobgp,
}

impl Kind {
    /// All of them, ours first.
    pub(crate) const ALL: [Self; 5] = [
        Self::Dunlin,
        Self::Bird,
        Self::Frr,
        Self::Openbgpd,
        Self::Gobgp,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Dunlin => "Dunlin",
            Self::Bird => "BIRD",
            Self::Frr => "FRR",
            Self::Openbgpd => "OpenBGPD",
            Self::Gobgp => "GoBGP",
        }
    }

    /// More routes than this are not asked of the daemon: it would run for minutes.
    pub(crate) fn route_limit(self) -> u32 {
        match self {
            Self::Gobgp => 100_000,
            _ => u32::MAX,
        }
    }

    /// Whether it puts routes into Linux's table (Debian's OpenBGPD does not, GoBGP needs zebra).
    pub(crate) fn installs_routes(self) -> bool {
        matches!(self, Self::Dunlin | Self::Bird | Self::Frr)
    }

    /// More sessions than this, each told everything, are not asked of it.
    pub(crate) fn session_limit(self) -> u32 {
        match self {
            Self::Gobgp => 500,
            _ => u32::MAX,
        }
    }
}

/// A daemon found on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    pub(crate) kind: Kind,
    /// Name and version, as the tables show it.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
}

impl Daemon {
    /// Looks for a daemon; the error says where it was looked for. `dunlin` is the path of the
    /// program built from this repository.
    pub(crate) fn find(kind: Kind, dunlin: &Path) -> Result<Self, String> {
        let (program, version_arg) = match kind {
            Kind::Dunlin => (dunlin, "--version"),
            Kind::Bird => (Path::new("/usr/sbin/bird"), "--version"),
            Kind::Frr => (Path::new("/usr/lib/frr/bgpd"), "--version"),
            Kind::Openbgpd => (Path::new("/usr/sbin/bgpd"), "-V"),
            Kind::Gobgp => (Path::new("/usr/bin/gobgpd"), "--version"),
        };
        let output = Command::new(program)
            .arg(version_arg)
            .output()
            .map_err(|error| format!("{}: {}: {error}", kind.label(), program.display()))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().next().unwrap_or_default();
        let version = line
            .split_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let name = format!("{} {}", kind.label(), version.unwrap_or("?"));
        Ok(Self {
            kind,
            name,
            program: program.to_owned(),
        })
    }

    /// Starts the daemon in `namespace`. It may need some more time until it listens.
    pub(crate) fn start(
        &self,
        router: &Router,
        namespace: &Netns,
        scratch: &Scratch,
    ) -> Result<Processes> {
        let mut processes = Processes::default();
        let launch = Launch {
            program: &self.program,
            router,
            namespace,
            scratch,
        };
        match self.kind {
            Kind::Dunlin => dunlin::start(&launch, &mut processes)?,
            Kind::Bird => bird::start(&launch, &mut processes)?,
            Kind::Frr => frr::start(&launch, &mut processes)?,
            Kind::Openbgpd => openbgpd::start(&launch, &mut processes)?,
            Kind::Gobgp => gobgp::start(&launch, &mut processes)?,
        }
        Ok(processes)
    }
}

/// What a daemon's module needs to start it.
struct Launch<'a> {
    program: &'a Path,
    router: &'a Router,
    namespace: &'a Netns,
    scratch: &'a Scratch,
}

impl Launch<'_> {
    /// The external peer among internal ones.
    fn outsider(&self) -> Option<&Identity> {
        let peers = &self.router.peers;
        let internal = peers.first().is_some_and(|peer| peer.asn == LOCAL_AS);
        peers.last().filter(|_| internal)
    }

    fn run(&self, processes: &mut Processes, args: &str, ready: Option<&Path>) -> Result<()> {
        self.run_program(processes, self.program, args, ready)
    }

    /// `args` are separated by spaces; no path here contains one.
    fn run_program(
        &self,
        processes: &mut Processes,
        program: &Path,
        args: &str,
        ready: Option<&Path>,
    ) -> Result<()> {
        let mut argv = vec![program.display().to_string()];
        argv.extend(args.split_whitespace().map(str::to_owned));
        processes.start(self.namespace, self.scratch, &argv, ready)
    }

    /// One configuration block a peer.
    fn for_each_peer(&self, block: impl Fn(&Identity) -> String) -> String {
        self.router.peers.iter().map(block).collect()
    }

    fn path(&self, name: &str) -> String {
        self.scratch.path().join(name).display().to_string()
    }
}

/// The daemon's own address and router id.
const ADDRESS: std::net::Ipv4Addr = DAEMON_ADDRESS;

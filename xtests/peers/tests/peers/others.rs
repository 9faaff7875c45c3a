//! More speakers on the link, beside the daemon: BIRD, each with an address and a process of its own.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use dunlin_lab::netns::Netns;
use dunlin_lab::plan::Plan;
use dunlin_lab::process::{ProcessId, start_daemon};
use dunlin_net::Afi;

use crate::bed::{AGENT, DAEMON};
use crate::daemon::{afi_of, word};
use crate::scenario::{Other, Speaker, Who};

/// One of them.
pub(crate) struct OtherSpeaker {
    pub(crate) other: Other,
    netns: Netns,
    directory: PathBuf,
    process: Option<ProcessId>,
}

impl OtherSpeaker {
    pub(crate) fn new(other: Other, netns: Netns, directory: PathBuf) -> Result<OtherSpeaker> {
        fs::create_dir_all(&directory)?;
        Ok(OtherSpeaker {
            other,
            netns,
            directory,
            process: None,
        })
    }

    /// The process, if it was started.
    pub(crate) fn process(&self) -> Option<ProcessId> {
        self.process
    }

    pub(crate) fn start(&mut self, daemon: &Speaker) -> Result<()> {
        let file = self.directory.join("bird.conf");
        fs::write(&file, self.config(daemon)).context("bird.conf")?;
        let mut command = self.netns.command("/usr/sbin/bird");
        command.arg("-f").arg("-c").arg(file);
        command.arg("-s").arg(self.directory.join("bird.ctl"));
        command.arg("-P").arg(self.directory.join("bird.pid"));
        let log = self.directory.join("log");
        self.process = Some(start_daemon(&mut command, &log, true)?);
        Ok(())
    }

    fn config(&self, daemon: &Speaker) -> String {
        let other = &self.other;
        let [own, own_v6] = Afi::ALL.map(|afi| Plan::node_address(other.number, afi));
        let (peer, peer_asn) = match other.to {
            Who::Agent => (AGENT, daemon.peer_asn),
            Who::Daemon => (DAEMON, daemon.asn),
        };
        let peer = Plan::node_address(peer, Afi::Ipv4);
        let mut text = format!(
            "log stderr all;\nrouter id {own};\nprotocol device {{}}\nprotocol direct {{ ipv4; ipv6; }}\n"
        );
        let mut channels = String::new();
        for (afi, own) in [(Afi::Ipv4, own), (Afi::Ipv6, own_v6)] {
            let family = word(afi);
            let mut routes = String::new();
            for prefix in other.announce.iter().filter(|prefix| afi_of(prefix) == afi) {
                let _ = writeln!(routes, "  route {prefix} blackhole;");
            }
            let _ = writeln!(text, "protocol static {{\n  {family};\n{routes}}}");
            let _ = writeln!(
                channels,
                "  {family} {{ import all; export where source = RTS_STATIC; next hop address {own}; }};"
            );
        }
        let _ = write!(
            text,
            "protocol bgp peer {{\n  local {own} as {}; strict bind;\n  neighbor {peer} as {peer_asn};\n  direct;\n  \
             connect delay time 1; connect retry time 2; error wait time 1, 2;\n{channels}}}\n",
            other.asn,
        );
        text
    }
}
